//! The command line as people and programs use it: results, `--json`, exit codes, and messages for bad input.
// Signals, pipes and process limits are tested only on Linux.
#![cfg_attr(not(target_os = "linux"), allow(unused_imports, unused_variables))]

#[path = "common/attributes.rs"]
mod attributes;
#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/faces.rs"]
mod faces;
#[path = "common/onnx.rs"]
mod onnx;

use attributes::attribute_folder;
use command::{Folder, json, lineament, noise as picture, ok, run};
use faces::face_folder;
use lineament::image::{Channels, Picture, Samples};
use lineament::rng::Rng;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the only line on stderr of a command that must fail with exit code 1.
fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{arguments:?}: {stderr}");
    lines[0].to_owned()
}

impl Folder {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn help_shows_examples_everywhere() {
    for arguments in [
        &["--help"][..],
        &["devices", "--help"],
        &["upscale", "--help"],
        &["eval", "upscale", "--help"],
        &["ops", "--help"],
        &["check", "ops", "--help"],
        &["plan", "upscale", "--help"],
        &["profile", "--help"],
        &["profile", "upscale", "--help"],
        &["bench", "--help"],
        &["convert", "--help"],
        &["train", "upscale", "--help"],
        &["train", "hallucinate", "--help"],
        &["hallucinate", "--help"],
        &["eval", "hallucinate", "--help"],
        &["reproduce", "cbn", "--help"],
    ] {
        assert!(ok(arguments).contains("Examples:"), "{arguments:?}");
    }
    assert_eq!(run(&["upscale"]).status.code(), Some(2), "wrong usage has exit code 2");
}

#[test]
fn devices_and_ops_print_json() {
    let devices = json(&["devices", "--json"]);
    if common::device().is_some() {
        let default = devices["default"].as_u64().unwrap() as usize;
        assert_eq!(devices["adapters"][default]["default"], true);
        assert!(devices["why"].is_string());
    }
    let ops = json(&["ops", "--json"]);
    assert_eq!(ops["ops"].as_array().unwrap().len(), lineament::ops::registry().len());
}

#[test]
fn check_ops_reports_every_field() {
    let report = json(&["check", "ops", "relu", "--device", "cpu", "--json"]);
    assert_eq!(report["failed"], 0);
    assert!(report["cases"].as_u64().unwrap() >= 5);
    let relu = &report["ops"][0];
    assert_eq!(relu["name"], "relu");
    assert!(relu["max_grad_error"].is_number() && relu["max_gpu_error"].is_number());
    assert!(
        fails(&["check", "ops", "nonsense"]).contains("there is no operation \"nonsense\"; there are abs, adam, add")
    );
}

#[test]
fn a_picture_and_a_folder_are_enlarged() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path("in")).unwrap();
    picture(&folder.path("in/a.png"), 20, 14);
    picture(&folder.path("in/b.bmp"), 17, 30);
    std::fs::write(folder.path("in/notes.txt"), "not a picture").unwrap();

    let (input, output) = (folder.text("in/a.png"), folder.text("a3.png"));
    let report = json(&["upscale", &input, &output, "--scale", "3", "--json"]);
    let one = &report["pictures"][0];
    assert_eq!((one["width"].as_u64(), one["height"].as_u64(), one["tiles"].as_u64()), (Some(60), Some(42), Some(1)));
    assert!(one["ms"].as_f64().unwrap() > 0.0 && report["device"].is_string());
    let tiled = folder.text("tiled.png");
    let report = json(&["upscale", &input, &tiled, "--scale", "3", "--tile", "18", "--json"]);
    assert!(report["pictures"][0]["tiles"].as_u64().unwrap() > 1);
    let same = Picture::open(&output).unwrap().samples() == Picture::open(&tiled).unwrap().samples();
    assert!(same, "the result depends on --tile");

    let report = json(&["upscale", &folder.text("in"), &folder.text("out"), "--scale", "3", "--json"]);
    assert_eq!(report["pictures"].as_array().unwrap().len(), 2);
    let big = Picture::open(folder.path("out/b.bmp")).unwrap();
    assert_eq!((big.width(), big.height()), (51, 90));
    assert!(!folder.path("out/notes.txt").exists() && folder.path("in/notes.txt").exists());

    let exists = fails(&["upscale", &input, &output, "--scale", "3"]);
    assert!(exists.contains("a3.png: exists; give --overwrite"), "{exists}");
    ok(&["upscale", &input, &output, "--scale", "3", "--overwrite", "--compare", &folder.text("both.png")]);
    let both = Picture::open(folder.path("both.png")).unwrap();
    assert_eq!((both.width(), both.height()), (120, 42));
}

#[test]
fn one_broken_picture_does_not_stop_a_folder() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path("in")).unwrap();
    picture(&folder.path("in/good.png"), 9, 8);
    std::fs::write(folder.path("in/bad.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    let error = fails(&["upscale", &folder.text("in"), &folder.text("out"), "--scale", "3"]);
    assert!(error.contains("bad.png"), "{error}");
    assert!(folder.path("out/good.png").exists());
}

#[test]
fn bad_requests_name_file_and_remedy() {
    let folder = Folder::new();
    picture(&folder.path("a.png"), 9, 8);
    let (a, out) = (folder.text("a.png"), folder.text("out.png"));
    let cpu = ["--device", "cpu"];
    let upscale = |extra: &[&str]| {
        let mut all = vec!["upscale"];
        all.extend(extra);
        fails(&all)
    };
    let expect = |error: String, parts: &[&str]| {
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    };
    expect(upscale(&[&a, &a, "--scale", "3"]), &["a.png: is the input", "choose another output"]);
    expect(upscale(&[&folder.text("none.png"), &out, "--scale", "3", cpu[0], cpu[1]]), &["none.png"]);
    expect(upscale(&[&a, &out, "--scale", "3", "--model", "vdsr"]), &["no model \"vdsr\"", "fsrcnn"]);
    expect(
        upscale(&[&a, &out, "--scale", "4", "--model", "srcnn-9-3-5", cpu[0], cpu[1]]),
        &["no weights of srcnn-9-3-5 for scale 4", "fsrcnn x3", "--weights FILE"],
    );
    expect(upscale(&[&a, &out, "--scale", "3", "--device", "voodoo"]), &["voodoo", "--device cpu"]);
    expect(upscale(&[&a, &out, "--scale", "3", "--device", "99"]), &["99", "--device cpu"]);
    expect(upscale(&[&a, &folder.text("out.xyz"), "--scale", "3"]), &["out.xyz", "png"]);
    expect(upscale(&[&a, &folder.text("no/such/out.png"), "--scale", "3"]), &["no/such", "create it first"]);
    expect(upscale(&[&a, "/proc/out.png", "--scale", "3", cpu[0], cpu[1]]), &["/proc/out.png", "cannot be written"]);
    std::fs::write(folder.path("w.safetensors"), b"").unwrap();
    expect(
        upscale(&[&a, &out, "--scale", "3", "--weights", &folder.text("w.safetensors"), cpu[0], cpu[1]]),
        &["w.safetensors"],
    );
    std::fs::create_dir(folder.path("empty")).unwrap();
    expect(upscale(&[&folder.text("empty"), &out, "--scale", "3"]), &["empty: holds no picture"]);
    assert_eq!(folder.names(), ["a.png", "empty", "w.safetensors"], "nothing was written");
}

#[test]
fn weights_of_another_network_are_refused() {
    let folder = Folder::new();
    picture(&folder.path("a.png"), 9, 8);
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/fsrcnn_x3.safetensors");
    let error = |extra: &[&str]| {
        let (a, out) = (folder.text("a.png"), folder.text("out.png"));
        let mut all = vec!["upscale", &a, &out, "--weights", weights, "--device", "cpu"];
        all.extend(extra);
        fails(&all)
    };
    let hr = folder.text("");
    let e = fails(&["eval", "upscale", "--weights", weights, "--scale", "2", "--hr", &hr, "--device", "cpu"]);
    assert!(e.contains("fsrcnn_x3.safetensors: holds scale 3, asked for 2"), "{e}");
    let e = error(&["--scale", "3", "--model", "fsrcnn-s"]);
    assert!(e.contains("fsrcnn_x3.safetensors: holds model fsrcnn, asked for fsrcnn-s"), "{e}");
}

/// The tree is kept, existing outputs are skipped, pictures in OUT are not inputs, and files equal those of single pictures.
#[test]
fn upscale_keeps_the_tree_of_a_folder_and_continues() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("in/sub/deep")).unwrap();
    // Consecutive pictures of one size share a session.
    for (name, width) in [("a.png", 12), ("b.webp", 12), ("sub/c.bmp", 12), ("sub/deep/d.tif", 9), ("sub/e.png", 12)] {
        picture(&folder.path("in").join(name), width, 9);
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path("in"), folder.path("in/sub/again")).unwrap();
    let (input, out) = (folder.text("in"), folder.text("in/out"));
    let upscale = |extra: &[&str]| json(&[&["upscale", &input, &out, "--scale", "3", "--json"], extra].concat());
    let names = |report: &Value| -> Vec<String> {
        let pictures = report["pictures"].as_array().unwrap().iter();
        pictures
            .map(|p| Path::new(p["output"].as_str().unwrap()).strip_prefix(&out).unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let report = upscale(&["--format", "png"]);
    assert_eq!(names(&report), ["a.png", "b.png", "sub/c.png", "sub/deep/d.png", "sub/e.png"]);
    assert_eq!((report["skipped"].as_u64(), report["failed"].as_u64()), (Some(0), Some(0)));
    let waited = report["waited_share"].as_f64().unwrap();
    assert!(waited > 0.0 && waited < 1.0, "{waited}");
    let (single, d) = (folder.text("single.png"), folder.text("in/sub/deep/d.tif"));
    ok(&["upscale", &d, &single, "--scale", "3"]);
    let read = |path: &str| std::fs::read(path).unwrap();
    assert_eq!(read(&single), read(&format!("{out}/sub/deep/d.png")), "a folder's picture is that of one alone");

    // What a killed process left the day before, and a file that the user made.
    let stale = format!("{out}/sub/.lineament-0123456789abcdef-1f369a02.part");
    let own = format!("{out}/.lineament-notes");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(90_000);
    for path in [&stale, &own] {
        std::fs::File::create(path).unwrap().set_modified(long_ago).unwrap();
    }
    let kept = format!("{out}/a.png");
    let before = std::fs::metadata(&kept).unwrap().modified().unwrap();
    std::fs::remove_file(format!("{out}/sub/c.png")).unwrap();
    let report = upscale(&["--format", "png"]);
    assert_eq!((names(&report), report["skipped"].as_u64()), (vec!["sub/c.png".to_owned()], Some(4)));
    assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), before);
    assert!(!Path::new(&stale).exists(), "a stale file was left");
    assert!(Path::new(&own).exists(), "a user's file was removed");
    let report = upscale(&["--format", "png"]);
    assert_eq!((names(&report).len(), report["skipped"].as_u64()), (0, Some(5)));
    assert_eq!(names(&upscale(&["--format", "png", "--overwrite"])).len(), 5);

    let output = run(&["upscale", &input, &out, "--scale", "2", "--format", "png"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("out/a.png: exists, but is not") && stderr.contains("enlarged 2 times"), "{stderr}");
}

#[test]
fn upscale_keeps_the_frames_of_an_animation() {
    use lineament::image::{Format, Frames, FramesWriter, Plays, Sequence};
    if common::device().is_none() {
        return;
    }
    // A disc moves over a transparent ground, then over a grey one.
    const FRAMES: usize = 7;
    let frame = |k: usize| {
        let pixel = |i: usize, j: usize| match (i as i32 - 9).pow(2) + (j as i32 - 6 - k as i32).pow(2) < 30 {
            true => [220, 40, 90, 255],
            false => [90, 90, 90, if k < 4 { 0 } else { 255 }],
        };
        let samples = (0..18 * 24).flat_map(|p| pixel(p / 24, p % 24)).collect();
        Picture::from_samples("frame", 24, 18, Channels::Rgba, Samples::U8(samples)).unwrap()
    };
    let folder = Folder::new();
    let (input, out) = (folder.text("a.gif"), folder.text("b.gif"));
    let (file, sequence) = (std::fs::File::create(&input).unwrap(), Sequence::Animation(Plays::Again(4)));
    let mut writer = FramesWriter::new(file, "a.gif", &Format::Gif.into(), sequence, FRAMES, &frame(0)).unwrap();
    (0..FRAMES).for_each(|k| writer.add(&frame(k), 30 + 10 * k as u32).unwrap());
    writer.finish().unwrap();
    let upscale = ["upscale", &input, &out, "--scale", "3", "--json"];
    let report = json(&upscale);
    let one = &report["pictures"][0];
    assert_eq!((&one["frames"], &one["width"], &one["tiles"]), (&json!(FRAMES), &json!(72), &json!(FRAMES)));
    let waited = report["waited_share"].as_f64().unwrap();
    assert!(waited > 0.0 && waited < 1.0, "{waited}");

    let device = lineament::Device::open(&lineament::Select::Default).unwrap();
    let model = lineament::models::SuperResolution::new("fsrcnn", 3).unwrap();
    let weights = lineament::models::shipped::open("fsrcnn", 3).unwrap().unwrap();
    let upscaler = lineament::tasks::upscale::Upscaler::new(device, model, weights, None).unwrap();
    let (mut before, mut after) = (Frames::open(&input).unwrap(), Frames::open(&out).unwrap());
    assert_eq!((after.count(), after.plays()), (FRAMES, Some(Plays::Again(4))));
    let u8s = |p: &Picture| {
        let Samples::U8(samples) = p.samples() else { panic!("8 bit") };
        samples
            .chunks_exact(p.channels().count())
            .map(|s| [s[0], s[1], s[2], *s.get(3).unwrap_or(&255)])
            .collect::<Vec<_>>()
    };
    while let Some(frame) = before.next_frame().unwrap() {
        let big = after.next_frame().unwrap().unwrap();
        assert_eq!(big.delay_ms, frame.delay_ms);
        let (expected, _) = upscaler.picture(&frame.picture, &mut |_, _| true).unwrap();
        let (mut error, mut opaque) = (0, 0);
        for (e, g) in u8s(&expected).into_iter().zip(u8s(&big.picture)) {
            assert_eq!(g[3] == 255, e[3] >= 128);
            if g[3] == 255 {
                opaque += 3;
                error += (0..3).map(|c| u64::from(e[c].abs_diff(g[c]))).sum::<u64>();
            }
        }
        // A palette of 256 colours for a frame that has few.
        assert!(opaque > 0 && error as f64 / f64::from(opaque) < 2.0, "{error} over {opaque}");
    }
    assert!(after.next_frame().unwrap().is_none());

    let error = fails(&["upscale", &input, &folder.text("b.jpg"), "--scale", "3"]);
    assert!(error.contains("a.gif: is an animation of 7 frames, and JPEG shows one picture; choose GIF,"), "{error}");
    let error = fails(&[&upscale[..], &["--overwrite", "--compare", &folder.text("c.png")]].concat());
    assert!(error.contains("a.gif: holds several pictures; --compare shows one"), "{error}");
    // In a folder, a finished output is skipped; a truncated input is refused.
    let (frames, big) = (folder.text("in"), folder.text("out"));
    std::fs::create_dir(&frames).unwrap();
    std::fs::copy(&input, folder.path("in/a.gif")).unwrap();
    let all = ["upscale", &frames, &big, "--scale", "3", "--json"];
    assert_eq!(json(&all)["pictures"][0]["frames"], FRAMES);
    assert_eq!(json(&all)["skipped"], 1);
    let bytes = std::fs::read(&input).unwrap();
    std::fs::write(&input, &bytes[..bytes.len() / 2]).unwrap();
    let error = fails(&[&upscale[..], &["--overwrite"]].concat());
    assert!(error.contains("a.gif: ") && error.contains("truncated"), "{error}");
}

#[test]
fn upscale_never_writes_over_an_input() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("in/sub")).unwrap();
    std::fs::create_dir(folder.path("out")).unwrap();
    picture(&folder.path("in/a.png"), 9, 8);
    picture(&folder.path("in/sub/b.png"), 9, 8);
    let bytes = || ["in/a.png", "in/sub/b.png"].map(|name| std::fs::read(folder.path(name)).unwrap());
    let before = bytes();
    let (input, out) = (folder.text("in"), folder.text("out"));
    let refused = |input: &str, output: &str, extra: &[&str], problem: &str| {
        let common = ["upscale", input, output, "--scale", "3", "--overwrite", "--device", "cpu"];
        let error = fails(&[&common, extra].concat());
        assert!(error.contains(problem), "{error:?} lacks {problem:?}");
    };
    refused(&input, &input, &[], "in: is the input");
    let (a, one) = (folder.text("in/a.png"), folder.text("one.png"));
    refused(&a, &one, &["--compare", &a], "in/a.png: is the input or the output");
    refused(&a, &one, &["--compare", &one], "one.png: is the input or the output");
    refused(&a, &one, &["--format", "jpg"], "one.png: names another format than --format jpg");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(&a, folder.path("out/a.png")).unwrap();
        refused(&input, &out, &[], "out/a.png: is the input");
        refused(&a, &folder.text("out/a.png"), &[], "out/a.png: is the input");
        std::fs::remove_file(folder.path("out/a.png")).unwrap();
        symlink(folder.path("in/sub"), folder.path("out/sub")).unwrap();
        refused(&input, &out, &[], "out/sub/b.png: is the input");
        std::fs::remove_file(folder.path("out/sub")).unwrap();
        symlink(&input, folder.path("link")).unwrap();
        refused(&input, &folder.text("link"), &[], "link: is the input");
    }
    assert_eq!(bytes(), before);
    assert!(std::fs::read_dir(folder.path("out")).unwrap().next().is_none(), "nothing was written");
}

/// SIGKILL in the middle: every file under a final name is complete, and the same command makes the rest.
#[cfg(unix)]
#[test]
fn upscale_of_a_folder_continues_after_a_kill() {
    if common::device().is_none() {
        return;
    }
    const PICTURES: u64 = 24;
    let folder = Folder::new();
    std::fs::create_dir(folder.path("in")).unwrap();
    for k in 0..PICTURES {
        picture(&folder.path(&format!("in/{k:02}.png")), 24, 18);
    }
    let arguments = ["upscale", &folder.text("in"), &folder.text("out"), "--scale", "3", "--json"];
    let mut child = lineament().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !folder.path("out/02.png").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    let written = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.path("out")).unwrap();
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "png")).collect()
    };
    let whole = written();
    for path in &whole {
        assert_eq!(Picture::open(path).unwrap().width(), 72);
    }
    // What the killed process was writing becomes stale after a day.
    for entry in std::fs::read_dir(folder.path("out")).unwrap().flatten().filter(|e| !whole.contains(&e.path())) {
        let file = std::fs::File::options().write(true).open(entry.path()).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600)).unwrap();
    }
    let report = json(&arguments);
    assert_eq!(report["skipped"].as_u64(), Some(whole.len() as u64));
    assert_eq!(report["pictures"].as_array().unwrap().len() as u64, PICTURES - whole.len() as u64);
    let names = std::fs::read_dir(folder.path("out")).unwrap().count();
    assert_eq!((written().len() as u64, names as u64), (PICTURES, PICTURES), "a temporary file was left");
}

/// Activations that overflow f32 but not f64 simulate an adapter that computes wrongly.
#[test]
fn upscale_refuses_to_write_what_the_self_check_finds_wrong() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path("in")).unwrap();
    picture(&folder.path("in/a.png"), 12, 9);
    picture(&folder.path("in/b.png"), 9, 12);
    let shipped = lineament::models::shipped::open("fsrcnn", 3).unwrap().unwrap();
    let mut tensors = shipped.tensors().clone();
    for (name, factor) in [("feature.w", 1e30), ("shrink.w", 1e20), ("expand.w", 1e-20), ("deconv.w", 1e-30)] {
        tensors.get_mut(name).unwrap().data_mut().iter_mut().for_each(|v| *v *= factor);
    }
    let weights = folder.text("w.safetensors");
    lineament::Weights::from_tensors(tensors).save(&weights).unwrap();
    let (input, out) = (folder.text("in"), folder.text("out"));
    let arguments = ["upscale", &input, &out, "--scale", "3", "--self-check"];
    let error = fails(&[&arguments[..], &["--weights", &weights]].concat());
    // Black or one value everywhere: WGSL does not define max of a NaN.
    for part in ["in/a.png", "computes this picture wrongly: a tile is", "give a picture", "--device cpu"] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    let pictures = std::fs::read_dir(&out).map_or(0, |entries| entries.count());
    assert_eq!(pictures, 0, "nothing was written");
    let text = ok(&arguments);
    assert!(text.contains("self-check: a tile of"), "{text}");
    let error = fails(&[&arguments[..], &["--overwrite", "--device", "cpu"]].concat());
    assert!(error.contains("references cannot be checked against themselves"), "{error}");
}

#[test]
fn upscale_stays_within_its_memory() {
    let folder = Folder::new();
    picture(&folder.path("a.png"), 12, 9);
    let (a, out) = (folder.text("a.png"), folder.text("out.png"));
    let mut arguments = vec!["upscale", &a, &out, "--scale", "3", "--model", "fsrcnn", "--overwrite", "--json"];
    if common::device().is_none() {
        arguments.extend(["--device", "cpu"]);
    }
    let error = fails(&[&arguments[..], &["--vram", "20K"]].concat());
    let smallest = error.split("allow ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let bytes: u64 = smallest.parse().unwrap_or_else(|e| panic!("{e}: {error}"));
    assert!(bytes > 20 << 10 && error.contains("more than the 20480 that are allowed"), "{error}");
    json(&[&arguments[..], &["--vram", smallest]].concat());
    json(&[&arguments[..], &["--vram", "0.5G"]].concat());
    fails(&[&arguments[..], &["--vram", &(bytes - 1).to_string()]].concat());
    for wrong in [&["--vram", "12X"][..], &["--vram", "-1"], &["--vram", "1G", "--tile", "32"]] {
        assert_eq!(run(&[&arguments[..], wrong].concat()).status.code(), Some(2), "{wrong:?}");
    }
}

/// Ctrl-C in the middle: exit code 130, no output, no half-written file.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_half_written() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    // Takes ten seconds and more on two cores.
    picture(&folder.path("a.png"), 2000, 1600);
    let child = lineament()
        .args(["upscale", &folder.text("a.png"), &folder.text("out.png"), "--scale", "3", "--tile", "40"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "the work was over too early");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted; nothing half-written was left"), "{stderr}");
    assert_eq!(folder.names(), ["a.png"]);
}

#[test]
fn plan_and_profile_print_tables_and_json() {
    let arguments = ["plan", "upscale", "--scale", "3", "--size", "24x20", "--json"];
    let plan = json(&[&arguments[..], &["--device", "cpu"]].concat());
    assert!(plan["peak_bytes"].as_u64().unwrap() > 0);
    assert_eq!(plan["steps"][0]["node"], "feature");
    if common::device().is_some() {
        let plan = json(&arguments);
        let arguments = ["profile", "upscale", "--scale", "3", "--size", "24x20", "--runs", "2", "--json"];
        let profile = json(&arguments);
        let rows = profile["rows"].as_array().unwrap();
        let dispatches = rows.iter().filter(|r| r["workgroups"].is_array()).count();
        assert_eq!(dispatches, plan["steps"].as_array().unwrap().len());
        assert!(profile["host"]["wait_ms"].as_f64().unwrap() > 0.0);
        if profile["unreliable"].is_null() {
            let share: f64 = rows.iter().map(|r| r["share"].as_f64().unwrap()).sum();
            assert!((share - 1.0).abs() < 1e-6);
            assert!(rows.iter().all(|r| r["of_roof"].is_number() && (r["roof"] == "memory" || r["roof"] == "compute")));
            assert!(profile["roofs"]["gflops"].as_f64().unwrap() > 0.0);
        } else {
            assert!(rows.iter().all(|r| r["ms"].is_null()) && profile["roofs"].is_null());
        }
    }
    assert_eq!(run(&["plan", "upscale", "--scale", "3", "--size", "24"]).status.code(), Some(2));
}

#[test]
fn bench_times_a_network_and_compares_its_output() {
    let folder = Folder::new();
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::chain(&[2, 8, 3], 12))).unwrap();
    let mut rng = Rng::new(4);
    let x: Vec<f32> = (0..2 * 12 * 12).map(|_| rng.unit() as f32).collect();
    let x = lineament::Tensor::new([1, 2, 12, 12], x).unwrap();
    // The result of the references.
    let mut g = lineament::Graph::new();
    let bytes = std::fs::read(folder.path("net.onnx")).unwrap();
    let net = lineament::import::onnx::read("net.onnx", &bytes).unwrap().add(&mut g, &[vec![1, 2, 12, 12]]).unwrap();
    let cpu = lineament::Device::open(&lineament::Select::Cpu).unwrap();
    let mut y = cpu.compile(&g, &net.fetches(), net.weights).unwrap().run(&[("x", &x)]).unwrap().remove(0);
    let write = |name: &str, t: &lineament::Tensor| {
        std::fs::write(folder.path(name), lineament::import::npy::write(t)).unwrap();
    };
    write("x.npy", &x);
    write("y.npy", &y);
    y.data_mut()[77] += 0.25;
    write("wrong.npy", &y);
    let (net, x, y) = (folder.text("net.onnx"), folder.text("x.npy"), folder.text("y.npy"));
    let wrong = folder.text("wrong.npy");
    let device = if common::device().is_some() { vec![] } else { vec!["--device", "cpu"] };

    let all = |arguments: &[&str]| -> Vec<String> {
        ["bench", &net, "--json"].iter().chain(arguments).chain(&device).map(|a| (*a).to_owned()).collect()
    };
    let json = |arguments: &[&str]| json(&all(arguments).iter().map(String::as_str).collect::<Vec<_>>());
    let report = json(&["--input", &x, "--expect", &y]);
    assert!(report["runs"].as_u64().unwrap() >= 5);
    for key in ["median_ms", "min_ms", "gflops", "first_run_ms", "peak_bytes", "rms"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key} in {report}");
    }
    assert!(report["min_ms"].as_f64() <= report["median_ms"].as_f64());
    assert!(report["max_abs_err"].as_f64().unwrap() <= 1e-5, "{report}");
    // The direct convolutions: 2·2·8·9·144 + 2·8·3·9·144 operations.
    let flops = report["gflops"].as_f64().unwrap() * report["median_ms"].as_f64().unwrap() * 1e6;
    assert!((flops / 103_680.0 - 1.0).abs() < 1e-6, "{flops}");

    let report = json(&["--runs", "3", "--size", "16x9", "--batch", "2"]);
    assert_eq!((report["runs"].as_u64(), &report["max_abs_err"]), (Some(3), &Value::Null));

    // A different output, and one of a different shape.
    let output = lineament().args(all(&["--input", &x, "--expect", &wrong, "--runs", "1"])).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("wrong.npy: the output is off by 2.50e-1, allowed"), "{stderr}");
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert!((report["max_abs_err"].as_f64().unwrap() - 0.25).abs() < 1e-4);
    let error = fails(&["bench", &net, "--input", &x, "--expect", &x]);
    assert!(error.contains("x.npy: is [1, 2, 12, 12], the network's output is [1, 3, 12, 12]"), "{error}");
    let error = fails(&["bench", &net, "--input", &x, "--size", "9x8"]);
    assert!(error.contains("x.npy: is [1, 2, 12, 12]") && error.contains("takes [1, 2, 8, 9]"), "{error}");
    let error = fails(&["bench", &folder.text("none.onnx")]);
    assert!(error.contains("none.onnx: there is no such file"), "{error}");
    let error = fails(&["bench", &x]);
    assert!(error.contains("x.npy: is not an ONNX file"), "{error}");
    let error = fails(&["bench", &net, "--runs", "0"]);
    assert!(error.contains("--runs must be at least 1"), "{error}");
    assert_eq!(run(&["bench", &net, "--expect", &y]).status.code(), Some(2), "--expect needs --input");
}

#[test]
fn bench_times_training_steps() {
    let folder = Folder::new();
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::chain(&[1, 4, 1], 6))).unwrap();
    let net = folder.text("net.onnx");
    let mut arguments = vec!["bench", &net, "--train", "--batch", "3", "--size", "7x5", "--runs", "40", "--json"];
    if common::device().is_none() {
        arguments.extend(["--device", "cpu"]);
    }
    let report = json(&arguments);
    let (first, last) = (report["loss_first"].as_f64().unwrap(), report["loss_last"].as_f64().unwrap());
    assert!(last < first, "the loss went from {first} to {last}");
    assert_eq!(report["max_abs_err"], Value::Null);
    // Three passes of 3·(2·4·9·35 + 2·4·9·35) operations.
    let flops = report["gflops"].as_f64().unwrap() * report["median_ms"].as_f64().unwrap() * 1e6;
    assert!((flops / 45_360.0 - 1.0).abs() < 1e-6, "{flops}");
}

#[test]
fn a_trace_holds_the_times_of_the_profile() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    let path = folder.text("steps.json");
    std::fs::write(&path, "an older trace").unwrap();
    let size = ["profile", "upscale", "--scale", "3", "--size", "24x20"];
    let refused = fails(&[&size[..], &["--runs", "1", "--trace", &path]].concat());
    assert!(refused.contains("steps.json: exists; give --overwrite or another output"), "{refused}");
    let profile = json(&[&size[..], &["--runs", "1", "--trace", &path, "--overwrite", "--json"]].concat());
    let trace: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let track = |categories: &[&str]| -> Vec<&Value> {
        events.iter().filter(|e| e["cat"].as_str().is_some_and(|c| categories.contains(&c))).collect()
    };
    let number = |event: &Value, key: &str| event[key].as_f64().unwrap_or_else(|| panic!("{key} in {event}"));
    let (steps, host) = (track(&["dispatch", "copy"]), track(&["host"]));
    assert!(["record", "submit", "wait"].iter().all(|p| host.iter().any(|e| e["name"] == *p)), "{host:?}");
    for track in [&steps, &host] {
        assert!(track.iter().all(|e| e["ph"] == "X" && e["pid"] == 1 && e["tid"] == track[0]["tid"]));
        for pair in track.windows(2) {
            // Allow a nanosecond for the rounding of sums.
            assert!(number(pair[0], "ts") + number(pair[0], "dur") <= number(pair[1], "ts") + 1e-3, "{pair:?}");
        }
    }
    for track in ["host", "adapter"] {
        assert!(events.iter().any(|e| e["ph"] == "M" && e["name"] == "thread_name" && e["args"]["name"] == track));
    }
    if profile["unreliable"].is_null() {
        let rows = profile["rows"].as_array().unwrap();
        assert_eq!(rows.len(), steps.len());
        for (row, step) in rows.iter().zip(&steps) {
            assert_eq!(row["node"], step["name"]);
            assert!((row["ms"].as_f64().unwrap() * 1e3 - number(step, "dur")).abs() < 1e-6, "{row} {step}");
            for key in ["entry", "workgroups", "flops", "bytes", "gflops"] {
                assert_eq!(row[key], step["args"][key], "{key}");
            }
        }
    }
    let missing = fails(&[&size[..], &["--runs", "1", "--trace", &folder.text("no/steps.json")]].concat());
    assert!(missing.contains("there is no folder"), "{missing}");
}

#[test]
fn a_shader_is_dumped_in_every_language() {
    let text = ok(&["profile", "--shader", "relu"]);
    for section in [
        "relu/plain: WGSL\n// relu/plain: y = max",
        "relu/plain.forward: SPIR-V\n07230203",
        "relu/plain.backward: HLSL\n",
    ] {
        assert!(text.contains(&format!("==== {section}")), "{section} in {text}");
    }
    let one = json(&["profile", "--shader", "relu.backward", "--json"]);
    assert_eq!(one["entries"].as_object().unwrap().keys().collect::<Vec<_>>(), ["backward"]);
    assert!(one["entries"]["backward"]["msl"].as_str().unwrap().contains("kernel void"));
    let folder = Folder::new();
    ok(&["profile", "--shader", "roof/copy.forward", "--out", &folder.text("dump")]);
    let names = ["roof_copy.forward.hlsl", "roof_copy.forward.metal", "roof_copy.forward.spv", "roof_copy.wgsl"];
    for name in names {
        assert!(folder.path("dump").join(name).exists(), "{name}");
    }
    let module = std::fs::read(folder.path("dump/roof_copy.forward.spv")).unwrap();
    assert_eq!((&module[..4], module.len() % 4), (&0x0723_0203_u32.to_le_bytes()[..], 0));
    assert!(
        fails(&["profile", "--shader", "rely"])
            .contains("there is no shader \"rely\"; there are adam/fours, adam/plain, avg_pool2d/fours")
    );
    let entry = fails(&["profile", "--shader", "relu.forwards"]);
    assert!(entry.contains("there is no entry of relu/plain \"forwards\"; there are forward, backward"), "{entry}");
}

#[test]
fn reproduce_prints_measured_beside_published() {
    let folder = Folder::new();
    let set = folder.path("set5");
    std::fs::create_dir(&set).unwrap();
    // At x4 a border of 4 leaves the 11 × 11 pixels that SSIM needs.
    picture(&set.join("a.png"), 24, 28);
    let (data, out) = (folder.0.path().to_str().unwrap(), folder.path("table.md"));
    let message = fails(&["reproduce", "sr", "--data", data, "--sets", "set5,set14"]);
    assert!(message.contains("set14: is not a folder"), "{message}");
    if common::device().is_none() {
        return;
    }
    let object = json(&["reproduce", "sr", "--data", data, "--sets", "set5", "--out", out.to_str().unwrap(), "--json"]);
    let row = &object["rows"].as_array().unwrap().iter().find(|r| r["model"] == "fsrcnn" && r["scale"] == 3).unwrap();
    assert_eq!(row["published"], 33.06);
    assert!(row["psnr"].as_f64().unwrap() > 5.0 && row["images"] == 1, "{row}");
    assert!(std::fs::read_to_string(out).unwrap().contains("| fsrcnn x3 | set5 |"));

    let object = json(&["reproduce", "speed", "--size", "16", "--sizes", "16,24", "--runs", "1", "--json"]);
    assert!(object["srcnn_over_fsrcnn"].as_f64().unwrap() > 0.0, "{object}");
    for size in object["sizes"].as_array().unwrap() {
        let Some(allocated) = size["allocated_bytes"].as_f64() else { continue };
        let ratio = size["predicted_bytes"].as_f64().unwrap() / allocated;
        assert!((0.95..=1.05).contains(&ratio), "the plan predicts what is allocated within 5 %: {object}");
    }
}

#[test]
fn eval_prints_means() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path("hr")).unwrap();
    picture(&folder.path("hr/a.png"), 50, 44);
    picture(&folder.path("hr/b.png"), 41, 60);
    let report = json(&["eval", "upscale", "--model", "fsrcnn", "--scale", "3", "--hr", &folder.text("hr"), "--json"]);
    assert_eq!(report["images"], 2);
    for key in ["psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y"] {
        assert!(report[key].as_f64().unwrap().is_finite(), "{key}");
    }
}

/// Waits until `is_there`, or until the child has ended.
fn wait_for(child: &mut std::process::Child, is_there: impl Fn() -> bool) {
    while !is_there() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Trains on a small tmpfs, fills it after the first checkpoint, and keeps its files. Exits with 77 if mounting is not allowed.
const ON_A_FULL_DISK: &str = r#"
disk=$1 kept=$2
shift 2
mount -t tmpfs -o size=2m tmpfs "$disk" || exit 77
"$@" --out "$disk/run" >/dev/null 2>"$kept/stderr" &
while [ ! -e "$disk/run/last.safetensors" ]; do
  kill -0 $! || exit 1
  sleep 0.01
done
cat /dev/zero >"$disk/filler" 2>/dev/null
wait $!
echo $? >"$kept/code"
cp -r "$disk/run" "$kept/run"
"#;

#[test]
fn a_full_disk_stops_a_training_and_leaves_its_checkpoint() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    for name in ["data", "disk", "kept"] {
        std::fs::create_dir(folder.path(name)).unwrap();
    }
    picture(&folder.path("data/a.png"), 48, 40);
    let data = folder.text("data");
    let train =
        ["train", "upscale", "--model", "fsrcnn-s", "--scale", "2", "--batch", "2", "--patch", "8", "--data", &data];
    let full = || {
        // As root, or else as root of a new namespace, whose mounts end with it.
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", ON_A_FULL_DISK, "sh"]);
        command.args([folder.path("disk"), folder.path("kept")]).arg(env!("CARGO_BIN_EXE_lineament"));
        command.args(train).args(["--steps", "100000", "--checkpoint-every", "3"]).env("LINEAMENT_TUNE", "off");
        command.status().ok().filter(|status| status.code() != Some(77))
    };
    let Some(status) = full() else {
        eprintln!("SKIPPED (no tmpfs may be mounted)");
        return;
    };
    if !folder.path("kept/code").exists() {
        eprintln!("SKIPPED (unshare: {status})");
        return;
    }
    let text = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    assert_eq!(text("kept/code"), "1\n");
    assert!(text("kept/stderr").contains("No space left on device"), "{}", text("kept/stderr"));
    let run = folder.text("kept/run");
    let checkpoint = lineament::Weights::open(folder.path("kept/run/last.safetensors")).unwrap();
    let step: u64 = checkpoint.manifest()["step"].parse().unwrap();
    assert!(step > 0 && step.is_multiple_of(3), "{step}");
    let names = std::fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with('.')), "a temporary file stayed");
    // With space again, it continues as if nothing had happened.
    let steps = (step + 4).to_string();
    ok(&[&train[..], &["--out", &run, "--resume", "--steps", &steps]].concat());
    let whole = folder.text("whole");
    ok(&[&train[..], &["--out", &whole, "--steps", &steps]].concat());
    let losses = |run: &str| -> Vec<String> {
        let text = std::fs::read_to_string(Path::new(run).join("log.jsonl")).unwrap();
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["loss"].to_string()).collect()
    };
    assert_eq!(losses(&run), losses(&whole));
}

/// After a kill at any moment, `--resume` gives the same remaining losses bit for bit; the final file carries its manifest.
#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path("data")).unwrap();
    picture(&folder.path("data/a.png"), 48, 40);
    let (data, a, b) = (folder.text("data"), folder.text("a"), folder.text("b"));
    let arguments = |out: &str| -> Vec<String> {
        ["train", "upscale", "--model", "fsrcnn-s", "--data", &data, "--scale", "2", "--steps", "60", "--batch", "2"]
            .into_iter()
            .chain(["--patch", "8", "--checkpoint-every", "5", "--seed", "2", "--out", out])
            .map(String::from)
            .collect()
    };
    let losses = |out: &str| -> Vec<String> {
        let text = std::fs::read_to_string(Path::new(out).join("log.jsonl")).unwrap();
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["loss"].to_string()).collect()
    };
    assert!(lineament().args(arguments(&a)).output().unwrap().status.success());
    let mut resume = arguments(&b);
    resume.push("--resume".into());
    let spawn = || lineament().args(&resume).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    // Killed before it has done anything, in its first steps, and after a checkpoint.
    for until in ["b", "b/log.jsonl", "b/last.safetensors"] {
        let mut child = spawn();
        wait_for(&mut child, || std::fs::metadata(folder.path(until)).is_ok_and(|m| m.is_dir() || m.len() > 0));
        let _ = child.kill();
        child.wait().unwrap();
    }
    // Ctrl-C: a checkpoint of the step that was done, and exit code 130.
    if cfg!(unix) {
        let mut child = spawn();
        let before = losses(&b).len();
        wait_for(&mut child, || losses(&b).len() > before);
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let code = child.wait().unwrap().code();
        let done = losses(&b);
        // It may have finished before.
        assert!(code == Some(130) || (code == Some(0) && done.len() == 60), "{code:?}");
        let checkpoint = lineament::Weights::open(folder.path("b/last.safetensors")).unwrap();
        assert_eq!(checkpoint.manifest()["step"], done.len().to_string());
    }
    let output = lineament().args(&resume).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(losses(&a), losses(&b));
    let weights = lineament::Weights::open(folder.path("b/weights.safetensors")).unwrap();
    let keys =
        ["model", "scale", "command", "data", "data_terms", "seed", "steps", "commit", "device", "licence", "time"];
    for key in keys {
        assert!(weights.manifest().contains_key(key), "the manifest lacks {key}");
    }
    assert_eq!(weights.manifest()["model"], "fsrcnn-s");

    for name in ["config.toml", "last.safetensors", "weights.safetensors", "curves.png"] {
        assert!(folder.path("b").join(name).is_file(), "{name}");
    }

    // A config repeats the same run, and flags override it.
    let config = folder.text("a/config.toml");
    let c = folder.text("c");
    let report = json(&["train", "upscale", "--config", &config, "--steps", "7", "--out", &c, "--json"]);
    assert_eq!(report["steps"], 7);
    assert!((0.0..=1.0).contains(&report["waited"].as_f64().unwrap()), "{report}");
    assert_eq!(losses(&c), losses(&a)[..7]);
    let text = std::fs::read_to_string(folder.path("c/config.toml")).unwrap();
    assert!(text.contains("\nsteps = 7\n") && text.contains("\nbatch = 2\n"), "{text}");

    let error = fails(&["train", "upscale", "--data", &data, "--scale", "2", "--out", &a]);
    assert!(error.contains("a: holds a run already; continue it with --resume, or name another --out"), "{error}");
    let train =
        |more: &[&str]| fails(&[&["train", "upscale", "--scale", "2", "--out", &folder.text("d")], more].concat());
    let error = train(&["--data", &folder.text("none")]);
    assert!(error.contains("none"), "{error}");
    assert!(train(&[]).contains("a run needs --data and --scale"));
    let error = train(&["--data", &data, "--group", "conv.*=0.1"]);
    assert!(error.contains("the group \"conv.*\" matches no parameter; there are feature.w, feature.b"), "{error}");
    let error = train(&["--data", &data, "--model", "fsrcnn-s", "--init", &b]);
    assert!(error.contains("is a folder, expected a file"), "{error}");
    std::fs::write(&config, "batch = 2\nbatches = 3\n").unwrap();
    let output = run(&["train", "upscale", "--config", &config, "--data", &data, "--scale", "2"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown field `batches`"), "{output:?}");
    let file = folder.text("data/a.png");
    let error = fails(&["train", "upscale", "--data", &data, "--scale", "2", "--out", &file]);
    assert!(error.contains("a.png: is a file; --out names the folder of a run"), "{error}");
}

#[test]
fn tuning_is_remembered_shown_followed_and_forgotten() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::chain(&[4, 8, 4], 12))).unwrap();
    let net = folder.text("net.onnx");
    let with = |mode: &str, arguments: &[&str]| {
        let mut command = lineament();
        let output =
            command.args(arguments).env("LINEAMENT_TUNE", mode).env("XDG_CACHE_HOME", folder.0.path()).output();
        let output = output.unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), stdout, stderr)
    };
    let json = |mode: &str, arguments: &[&str]| -> Value {
        let (code, stdout, stderr) = with(mode, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
    };
    let (code, _, stderr) = with("sometimes", &["bench", &net]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "error: LINEAMENT_TUNE must be off, cached or full, got \"sometimes\"\n");
    let (code, _, stderr) = with("off", &["tune", "upscale"]);
    assert_eq!((code, stderr.as_str()), (Some(1), "error: tune upscale needs --scale 2, 3 or 4\n"));
    assert_eq!(with("off", &["tune"]).0, Some(2), "nothing to tune");

    let tuned = json("cached", &["tune", &net, "--json"]);
    let file = PathBuf::from(tuned["file"].as_str().unwrap());
    assert!(file.starts_with(folder.0.path()) && file.is_file(), "{}", file.display());
    let shown = json("cached", &["tune", "--show", "--json"]);
    assert_eq!(shown["layers"], tuned["layers"]);
    // A broken file is treated as missing, and the next measurement replaces it.
    std::fs::write(&file, "{").unwrap();
    assert_eq!(json("cached", &["tune", "--show", "--json"])["layers"].as_object().unwrap().len(), 0);
    assert_eq!(with("cached", &["bench", &net, "--runs", "1"]).0, Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{", "`cached` never measures");
    assert_eq!(with("full", &["bench", &net, "--runs", "1"]).0, Some(0));
    let again = json("cached", &["tune", "--show", "--json"]);
    let keys = |value: &Value| value["layers"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&again), keys(&tuned));
    assert_eq!(json("cached", &["tune", "--clear", "--json"])["removed"], true);
    assert!(!file.exists());
}

#[test]
fn reproduce_cbn_measures_every_row_and_draws() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    face_folder(&folder.path("helen68_testset_128"), 2);
    let (data, out) = (folder.text(""), folder.text("out"));
    let object = json(&["reproduce", "cbn", "--data", &data, "--out", &out, "--runs", "0", "--json"]);
    let psnr = |row: &str| object[row]["psnr_face"].as_f64().unwrap();
    for row in ["bicubic", "common", "high_frequency", "fixed", "single"] {
        let lead = object[row]["full_above"].as_f64().unwrap();
        assert!((lead - (psnr("full") - psnr(row))).abs() < 1e-9, "{row}: {object}");
    }
    assert_eq!((object["faces"].as_u64(), object["level_ms"].as_object().unwrap().len()), (Some(2), 0));
    let table = std::fs::read_to_string(folder.path("out/table.md")).unwrap();
    assert!(table.contains("| bicubic |") && table.contains("| 20.28 |") && table.contains("ghosting: "), "{table}");
    let size = |file: &str| Picture::measure(folder.text(file)).map(|s| (s.width, s.height)).unwrap();
    // Two lines of titles.
    assert_eq!(size("out/sheet.png"), (8 * 128, 32 + 2 * 128));
    assert_eq!(size("out/ghosting.png"), (5 * 128, 16 + 128));
    let error = fails(&["reproduce", "cbn", "--data", &folder.text("none")]);
    assert!(error.contains("helen68_testset_128: is not a folder"), "{error}");
}

#[test]
fn reproduce_lmle_measures_every_row_and_continues() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    attribute_folder(&folder.path("celeba8k"), 24);
    let (data, out) = (folder.text(""), folder.text("out"));
    let short = ["--seeds", "2", "--steps", "2", "--head-steps", "4", "--json"];
    let all = |more: &[&str]| {
        let mut arguments = vec!["reproduce", "lmle", "--data", &data, "--out", &out];
        arguments.extend(short.iter().chain(more));
        json(&arguments)
    };
    let object = all(&[]);
    assert_eq!((object["judged"].as_str(), object["rows"].as_object().unwrap().len()), (Some("test"), 12));
    for row in object["rows"].as_object().unwrap().values() {
        let shares = row["attributes"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        let mean = shares.clone().sum::<f64>() / 3.0;
        assert!(shares.clone().all(|share| (0.0..=1.0).contains(&share)), "{row}");
        assert!((row["balanced"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{row}");
        assert!((0.0..=1.0).contains(&row["plain"]["mean"].as_f64().unwrap()), "{row}");
    }
    let table = std::fs::read_to_string(folder.path("out/table.md")).unwrap();
    assert!(table.contains("| LMLE-kNN | ") && table.contains("| 84.25 | ") && table.contains("| Bald | "), "{table}");
    assert!(table.contains("| 13000 | ") && !table.contains("NaN"), "{table}");
    let size = |file: &str| Picture::measure(folder.text(file)).map(|s| (s.width, s.height)).unwrap();
    assert_eq!((size("out/gain.png"), size("out/embedding.png")), ((960, 360), (1200, 400)));
    let error = fails(&["reproduce", "lmle", "--data", &data, "--out", &out]);
    assert!(error.contains("table.md"), "{error}");
    // The networks are there already, and give the same numbers.
    let trained = |name: &str| std::fs::metadata(folder.path(name)).unwrap().modified().unwrap();
    let before = trained("out/trunk-2.safetensors");
    let again = all(&["--overwrite"]);
    assert_eq!((trained("out/trunk-2.safetensors"), &again["rows"]), (before, &object["rows"]));
    let other = all(&["--overwrite", "--validation"]);
    assert_eq!(other["judged"], "validation");
    assert_ne!(other["rows"], object["rows"]);
    let error = fails(&["reproduce", "lmle", "--data", &folder.text("out"), "--out", &folder.text("none")]);
    assert!(error.contains("holds no faces; it needs list_attr_celeba.txt"), "{error}");
}

#[test]
fn a_cascade_is_trained_stopped_resumed_measured_and_draws_faces() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    face_folder(&folder.path("faces"), 5);
    let (faces, a, b) = (folder.text("faces"), folder.text("a"), folder.text("b"));
    let arguments = |out: &str| -> Vec<String> {
        ["train", "hallucinate", "--data", &faces, "--pretrain", "2", "--joint", "1", "--batch", "2", "--patch", "16"]
            .into_iter()
            .chain(["--checkpoint-every", "1", "--seed", "4", "--ablation", "common", "--out", out])
            .chain(["--more", &faces, "--more-square", "-4,4,72", "--hold-out", "2"])
            .map(String::from)
            .collect()
    };
    let output = lineament().args(arguments(&a)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Killed within a part and resumed, it gives the same bits.
    let mut resume = arguments(&b);
    resume.push("--resume".into());
    let mut child = lineament().args(&resume).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&mut child, || folder.path("b/level2/common/last.safetensors").is_file());
    let _ = child.kill();
    child.wait().unwrap();
    let output = lineament().args(&resume).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let open = |run: &str| lineament::Weights::open(folder.path(run).join("weights.safetensors")).unwrap();
    let (whole, again) = (open("a"), open("b"));
    assert_eq!(whole.tensors(), again.tensors());
    for key in ["model", "preset", "command", "data", "data_terms", "seed", "steps", "commit", "device", "licence"] {
        assert!(whole.manifest().contains_key(key), "the manifest lacks {key}");
    }
    assert!(
        whole.manifest()["data"].contains("(3 faces and their mirror images, one in 2 held out"),
        "{:?}",
        whole.manifest()
    );
    for name in ["config.toml", "log.jsonl", "prior_32.png", "prior_128.png", "level3/joint/curves.png"] {
        assert!(folder.path("a").join(name).is_file(), "{name}");
    }
    let log = std::fs::read_to_string(folder.path("a/log.jsonl")).unwrap();
    let parts: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let order: Vec<&str> = parts.iter().map(|l| l["part"].as_str().unwrap()).collect();
    assert_eq!(order[..5], ["level1/f", "level1/common", "level1/high_frequency", "level1/joint", "level2/f"]);
    assert_eq!(order.len(), 3 * 4 + 3, "{order:?}");

    let weights = folder.text("a/weights.safetensors");
    let eval = ["eval", "hallucinate", "--data", &faces, "--weights", &weights];
    assert!(fails(&[&eval[..], &["--held-out", "6"]].concat()).contains("faces: no face is left"));
    let report = json(&[&eval[..], &["--held-out", "2", "--json"]].concat());
    assert_eq!(report["faces"], 2);
    for row in ["bicubic", "common", "full"] {
        for key in ["psnr_face", "ssim_face", "psnr", "ssim"] {
            assert!(report[row][key].as_f64().is_some_and(f64::is_finite), "{row} {key}: {report}");
        }
    }
    assert!(report["fixed"].is_null() && report["single"].is_null() && report["high_frequency"].is_null());
    assert!(report["common"]["full_above"].is_f64() && report["common"]["full_above_error"].is_f64(), "{report}");
    assert!(report["full"]["full_above"].is_null(), "{report}");
    assert_eq!(report["landmark_error"].as_array().unwrap().len(), 4);

    // Frames that are not moved give the same numbers; moved ones lie further from the mean shape.
    let still = json(&[&eval[..], &["--held-out", "2", "--moved", "0,0,0", "--json"]].concat());
    for row in ["bicubic", "full"] {
        assert_eq!((&still["moved"][row], &still[row]), (&report[row], &report[row]));
    }
    let moved = json(&[&eval[..], &["--moved", "15,0.1,0.04", "--seed", "2", "--json"]].concat());
    let of_mean = |report: &Value| report["landmark_error"][0].as_f64().unwrap();
    assert!(of_mean(&moved["moved"]) > 1.5 * of_mean(&moved), "{moved}");
    assert_eq!(moved["moved"]["by"], json!({ "angle": 15.0, "scale": 0.1, "shift": 0.04, "seed": 2 }));
    assert_eq!(run(&[&eval[..], &["--moved", "50,0,0"]].concat()).status.code(), Some(2));

    let (input, face, sheet) = (folder.text("faces/0.png"), folder.text("face.png"), folder.text("sheet.png"));
    let (aligned, base) = (["--aligned"], vec!["hallucinate", &input, &face, "--weights", &weights]);
    fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
        [base, more].concat()
    }
    let report = json(&with(&base, &["--aligned", "--sheet", &sheet, "--json"]));
    assert_eq!(report["side"], 128);
    let [one] = &report["faces"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&one["output"], one["landmarks"].as_array().unwrap().len()), (&json!(face), 68));
    assert!(one["box"].is_null() && one["score"].is_null(), "{one}");
    let size = |file: &str| Picture::measure(file).map(|s| (s.width, s.height)).unwrap();
    assert_eq!((size(&face), size(&sheet)), ((128, 128), (8 * 128, 32 + 128)));
    assert!(fails(&with(&base, &aligned)).contains("face.png: exists; give --overwrite or another output"));
    let points = folder.text("faces.csv");
    ok(&with(&base, &["--overwrite", "--points", &points]));
    ok(&with(&base, &["--overwrite", "--box", "8,8,40,48"]));
    assert!(fails(&with(&base, &["--overwrite", "--box", "99,0,5,5"])).contains("lies outside of"));
    assert!(fails(&with(&base, &["--overwrite", "--points", &folder.text("no.csv")])).contains("name,x1,y1"));
    assert_eq!(run(&with(&base, &["--box", "1,2,3"])).status.code(), Some(2));
    let error = fails(&with(&base, &["--overwrite", "--aligned", "--threshold", "0.3"]));
    assert!(error.contains("leave out the options of a detector"), "{error}");

    // A network that finds white squares finds two faces, which are written in reading order.
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::face_finder())).unwrap();
    let squares = |name: &str, cells: &[[usize; 2]]| {
        let is_white = |q: usize| cells.contains(&[q % 64 / 8, q / 64 / 8]);
        let samples = (0..3 * 64 * 64).map(|k| if is_white(k / 3) { 255 } else { 0 }).collect();
        let squares = Picture::from_samples("squares", 64, 64, Channels::Rgb, Samples::U8(samples)).unwrap();
        squares.save(folder.path(name)).unwrap();
        folder.text(name)
    };
    let (net, two, none) = (folder.text("net.onnx"), squares("two.png", &[[5, 2], [1, 6]]), squares("none.png", &[]));
    let found = folder.text("found.png");
    let search = |input: &str, more: &[&str]| -> Vec<String> {
        let base = ["hallucinate", input, &found, "--weights", &weights, "--model", &net];
        base.iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let both = search(&two, &["--json", "--sheet", &folder.text("two_sheet.png")]);
    let report = json(&both.iter().map(String::as_str).collect::<Vec<_>>());
    let places: Vec<(&Value, &Value)> =
        report["faces"].as_array().unwrap().iter().map(|face| (&face["output"], &face["box"])).collect();
    let (first, second) = (folder.text("found_1.png"), folder.text("found_2.png"));
    assert_eq!(
        places,
        [(&json!(first), &json!([40.0, 16.0, 8.0, 8.0])), (&json!(second), &json!([8.0, 48.0, 8.0, 8.0]))]
    );
    assert_eq!(
        (size(&first), size(&second), size(&folder.text("two_sheet.png")).1),
        ((128, 128), (128, 128), 32 + 2 * 128)
    );
    assert!(!folder.path("found.png").exists());
    let refused = |input: &str| fails(&search(input, &[]).iter().map(String::as_str).collect::<Vec<_>>());
    assert!(refused(&two).contains("found_1.png: exists; give --overwrite"), "{}", refused(&two));
    let error = refused(&none);
    assert!(
        error.contains("none.png: no face found; give a lower --threshold, the face's --box, or --aligned"),
        "{error}"
    );

    let error = fails(&["hallucinate", &input, &input, "--overwrite"]);
    assert!(error.contains("0.png: is the input; choose another output"), "{error}");

    let error = fails(&["train", "hallucinate", "--data", &faces, "--hold-out", "1", "--out", &folder.text("c")]);
    assert!(error.contains("--hold-out 1 leaves no face to train on"), "{error}");
    let train = |more: &[&str]| fails(&[&["train", "hallucinate", "--out", &a], more].concat());
    assert!(train(&["--data", &faces]).contains("a: holds a run already; continue it with --resume"));
    let error = train(&["--resume", "--batch", "3"]);
    assert!(error.contains("was made with batch [2], this run asks for [3]"), "{error}");
    let fresh = |more: &[&str]| fails(&[&["train", "hallucinate", "--out", &folder.text("c")], more].concat());
    assert!(fresh(&[]).contains("a run needs --data"));
    assert!(fresh(&["--data", &folder.text("none")]).contains("none: is not a folder; give a folder of pictures"));
    assert!(fresh(&["--data", &faces, "--ablation", "all"]).contains("there is no variant \"all\"; there are full,"));
    assert!(fresh(&["--data", &faces, "--joint", "0"]).contains("must be at least 1"));
    let more = ["--data", &faces, "--more", &faces];
    assert!(fresh(&more).contains("--more needs --more-square X,Y,SIDE"));
    assert!(fresh(&[&more[..], &["--more-square", "70,0,8"]].concat()).contains("lies outside its pictures"));
    let error =
        fresh(&["--data", &faces, "--init", &folder.text("a/level1/joint/weights.safetensors"), "--joint", "1"]);
    assert!(
        error.contains("lacks level1/common/conv1.b of [1, 32, 1, 1]; start from a cascade of the same"),
        "{error}"
    );
    assert!(fresh(&["--data", &faces, "--pretrain", "0"]).contains("--pretrain must be at least 1, or 0 with --init"));
    assert!(fresh(&["--data", &faces, "--moved", "8,0.1,0.03"]).contains("give --jitter 1 or more"));
    // At a rate near zero the networks keep their initial weights.
    let (d, rows) = (folder.text("d"), folder.text("rows.safetensors"));
    let mut tensors = whole.tensors().clone();
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.starts_with("ablation/common/")) {
        let halves = tensor.data().iter().map(|v| v / 2.0).collect();
        *tensor = lineament::Tensor::new(tensor.shape(), halves).unwrap();
    }
    let mut changed = lineament::Weights::from_tensors(tensors);
    whole.manifest().iter().for_each(|(key, value)| changed.set_manifest(key, value));
    changed.set_manifest("init_commit", "where those began");
    changed.save(&rows).unwrap();
    let begin = ["train", "hallucinate", "--data", &faces, "--init", &rows, "--lr", "1e-9", "--out", &d];
    let steps = ["--jitter", "2", "--pretrain", "0", "--joint", "1", "--batch", "2", "--patch", "16"];
    ok(&[&begin[..], &steps, &["--ablation", "common,fixed"]].concat());
    let log = std::fs::read_to_string(folder.path("d/log.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|l| l.contains("joint")).count(), 3 * 3, "{log}");
    assert_eq!(log.lines().count(), 3 + 3 * 3, "{log}");
    let moved = open("d");
    assert_eq!(moved.manifest()["init_commit"], whole.manifest()["commit"]);
    assert_eq!(moved.manifest()["init_init_commit"], "where those began");
    let apart = |is: &str, was: &str| {
        let [is, was] =
            [(&moved, is), (&changed, was)].map(|(file, name)| file.get(&format!("{name}.w")).unwrap().data());
        is.iter().zip(was).fold(0.0, |most: f32, (x, y)| most.max((x - y).abs()))
    };
    for level in ["level1", "level2"] {
        // The file has a common branch that was trained alone, but no such high-frequency branch.
        let row = format!("ablation/common/{level}/common/conv2");
        for begins_there in [&format!("{level}/common/conv2"), &format!("ablation/fixed/{level}/common/conv2"), &row] {
            assert!(apart(begins_there, &row) < 1e-6, "{begins_there}");
        }
        assert!(apart(&format!("{level}/common/conv2"), &format!("{level}/common/conv2")) > 1e-3);
        let branch = format!("{level}/high_frequency/conv2");
        assert!(apart(&branch, &branch) < 1e-6);
        assert!(apart(&format!("{level}/gate/conv1"), &format!("{level}/gate/conv1")) > 1e-3, "the gate is new");
    }
    // In moved frames f_1 has a second step, and f_k is fitted on the copies too.
    let e = folder.text("e");
    let begin = ["train", "hallucinate", "--data", &faces, "--more", &faces, "--more-square", "-4,4,72", "--out", &e];
    let steps =
        ["--jitter", "1", "--moved", "8,0.1,0.03", "--pretrain", "1", "--joint", "1", "--batch", "2", "--patch", "16"];
    ok(&[&begin[..], &steps].concat());
    let names: Vec<String> = open("e").tensors().keys().filter(|n| n.contains("alignment")).cloned().collect();
    let has = |name: &str| names.iter().any(|n| n == name);
    assert!(has("level1/alignment2/r") && has("level3/alignment/r") && !has("level2/alignment2/r"), "{names:?}");
    let log = std::fs::read_to_string(folder.path("e/log.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|l| l.contains("landmark_error_moved")).count(), 4, "{log}");
    let fitted = lineament::Weights::open(folder.path("e/level1/fitted.safetensors")).unwrap();
    // Five faces, their mirror images, as many copies, and five without landmarks.
    assert_eq!(fitted.get("p").unwrap().shape()[0], 4 * 5 + 5);
    let error = fails(&["train", "hallucinate", "--out", &e, "--resume", "--moved", "9,0.1,0.03"]);
    assert!(error.contains("moved"), "{error}");
    ok(&["eval", "hallucinate", "--data", &faces, "--weights", &folder.text("e/weights.safetensors")]);

    // The frame of a box beside that of the landmarks.
    std::fs::create_dir(folder.path("boxed")).unwrap();
    std::fs::copy(&two, folder.path("boxed/a.png")).unwrap();
    let (side, anchors) = (1.1 * 1.3583 * 8.0, [(36..42, [0.25 / 0.7, 0.2 / 0.7]), (42..48, [0.45 / 0.7, 0.2 / 0.7])]);
    let [left, top] = [44.0 - 0.5 * side, 20.0 + 0.1553 * 8.0 - 0.5 * side];
    let mut places = [[0.5f64, 0.4]; 68];
    anchors.into_iter().for_each(|(group, place)| places[group].fill(place));
    (places[48], places[54]) = ([0.3743, 0.6], [0.6257, 0.6]);
    let list: Vec<String> =
        places.iter().map(|[x, y]| format!("{:.6},{:.6}", left + x * side, top + y * side)).collect();
    std::fs::write(folder.path("boxed.csv"), format!("a.png,{}\n", list.join(","))).unwrap();
    let boxed = folder.text("boxed");
    let report = json(&["eval", "hallucinate", "--data", &boxed, "--frames", "--model", &net, "--json"]);
    assert_eq!((&report["faces"], &report["found"]), (&json!(1), &json!(1)));
    let median = |key: &str| report[key]["median"].as_f64().unwrap();
    assert!((median("scale") - 1.1f64.ln()).abs() < 1e-4 && median("angle").abs() < 1e-3, "{report}");
    assert!(median("right").abs() < 1e-4 && median("down").abs() < 1e-4, "{report}");
    let error = fails(&["eval", "hallucinate", "--data", &faces, "--frames", "--model", &net, "--threshold", "1"]);
    assert!(error.contains("found none of 5 faces"), "{error}");

    // The second and the fourth face are held out.
    std::fs::remove_file(folder.path("faces/2.png")).unwrap();
    assert!(train(&["--resume"]).contains("2.png: there is no such file"));
}
