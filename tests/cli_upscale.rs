//! `lineament upscale` as people use it with other tools, and `lineament models`: names, pipes, several inputs, any scale.

#[path = "common/command.rs"]
mod command;
mod common;

use command::{Folder, lineament, noise, text};
use lineament::image::{Channel, Picture};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// A small network on the references: tiny pictures take milliseconds.
const SMALL: [&str; 4] = ["--model", "fsrcnn-s", "--device", "cpu"];

impl Folder {
    /// Writes a picture under this name and creates its folders.
    fn picture(&self, name: impl AsRef<Path>, width: usize, height: usize) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        noise(&path, width, height);
        path
    }
    /// Runs `upscale` in this folder with the small network.
    fn upscale(&self, arguments: &[&str]) -> Output {
        lineament().current_dir(self.0.path()).arg("upscale").args(SMALL).args(arguments).output().unwrap()
    }
    /// Returns the standard output of [`Folder::upscale`], which must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.upscale(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
    fn json(&self, arguments: &[&str]) -> Value {
        last_line(&self.ok(&[arguments, &["--json"]].concat()))
    }
    /// Returns the only line on stderr of [`Folder::upscale`], which must fail with `code`.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.upscale(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{arguments:?}: {stderr}");
        errors[0].to_owned()
    }
    fn size(&self, name: &str) -> (usize, usize) {
        let picture = Picture::open(self.path(name)).unwrap();
        (picture.width(), picture.height())
    }
    /// Returns the names below a folder, in order.
    fn names(&self, name: &str) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec![self.path(name)]);
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(self.path(name)).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }
}

fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn expect(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

/// Issue 15, item 5.
#[test]
fn an_output_that_appears_during_the_work_stays() {
    let folder = Folder::new();
    folder.picture("a.png", 60, 50);
    let mut child = lineament()
        .current_dir(folder.0.path())
        .args(["upscale", "a.png", "out.png", "--scale", "3", "--device", "cpu", "--tile", "24"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("fsrcnn ×3 on cpu"), "{line}");
    assert!(!folder.path("out.png").exists());
    std::fs::write(folder.path("out.png"), "another's").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    expect(&rest, &["error: out.png: exists; give --overwrite"]);
    assert_eq!(std::fs::read(folder.path("out.png")).unwrap(), b"another's");
    assert_eq!(folder.names(""), ["a.png", "out.png"], "a temporary file was left");
}

/// Issue 15, item 5.
#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_an_output_that_exists() {
    let folder = Folder::new();
    folder.picture("in/a.png", 6, 5);
    std::fs::create_dir(folder.path("out")).unwrap();
    let (link, to) = (folder.path("out/a.png"), folder.path("nowhere.png"));
    std::os::unix::fs::symlink(&to, &link).unwrap();
    expect(&folder.fails(1, &["in/a.png", "out/a.png"]), &["out/a.png: exists; give --overwrite"]);
    expect(&folder.fails(1, &["in", "out"]), &["out/a.png: exists, but is not in/a.png enlarged 3 times"]);
    expect(
        &folder.fails(1, &["in/a.png", "b.png", "--compare", "out/a.png"]),
        &["out/a.png: exists; give --overwrite"],
    );
    assert!(link.is_symlink() && !to.exists() && !folder.path("b.png").exists());
    folder.ok(&["in", "out", "--overwrite"]);
    assert!(!link.is_symlink() && !to.exists());
    assert_eq!(folder.size("out/a.png"), (18, 15));
}

/// Issue 15, item 7.
#[test]
fn a_comparison_that_cannot_be_written_is_found_before_the_work() {
    let folder = Folder::new();
    folder.picture("a.png", 6, 5);
    expect(
        &folder.fails(1, &["a.png", "b.png", "--compare", "none/c.png"]),
        &["none/c.png: cannot be written", "no folder none"],
    );
    assert!(!folder.path("b.png").exists(), "the work was done");
    folder.ok(&["a.png", "b.png", "--compare", "c.png"]);
    assert_eq!(folder.size("c.png"), (36, 15));
    expect(&folder.fails(1, &["a.png", "d.png", "--compare", "c.png"]), &["c.png: exists; give --overwrite"]);
}

/// Issue 15, item 8.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_are_pictures_like_all_others() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    folder.picture("in/z.png", 6, 5);
    let odd = Path::new("in").join(OsStr::from_bytes(b"\xfe")).join(OsStr::from_bytes(b"a\xff\n.png"));
    folder.picture(&odd, 5, 6);
    let report = folder.json(&["in", "out", "--format", "bmp"]);
    assert_eq!(report["pictures"][0]["input"], "in/z.png");
    assert_eq!(report["pictures"][1]["input"], "in/\0fe/a\0ff\n.png");
    assert_eq!(report["pictures"][1]["output"], "out/\0fe/a\0ff\n.bmp");
    let written = Path::new("out").join(OsStr::from_bytes(b"\xfe")).join(OsStr::from_bytes(b"a\xff\n.bmp"));
    assert!(folder.0.path().join(&written).exists());
    let again = folder.json(&["in", "out", "--format", "bmp"]);
    assert_eq!((&again["skipped"], &again["existing"][1]["output"]), (&json!(2), &report["pictures"][1]["output"]));
    // For people, one line without anything that a terminal would interpret as a command.
    let text = folder.ok(&["in", "out", "--format", "bmp", "--overwrite"]);
    assert!(text.contains("in/\u{fffd}/a\u{fffd}\\n.png → out/\u{fffd}/a\u{fffd}\\n.bmp: 15 × 18"), "{text}");
    // As a single file, and as a broken one.
    let single =
        lineament().current_dir(folder.0.path()).arg("upscale").args(SMALL).arg(&odd).arg("one.png").output().unwrap();
    assert!(single.status.success(), "{}", self::text(&single.stderr));
    std::fs::write(folder.0.path().join(&odd), "nothing").unwrap();
    let output = folder.upscale(&["in", "out", "--overwrite", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = last_line(&self::text(&output.stdout));
    assert_eq!((&report["errors"][0]["input"], &report["failed"]), (&json!("in/\0fe/a\0ff\n.png"), &json!(1)));
}

/// Issue 15, item 9: the work continues to the end even if nobody reads, and a full disk is reported once.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_pipe_and_a_full_disk_behind_it_do_not_stop_the_work() {
    let folder = Folder::new();
    const PICTURES: usize = 6;
    for k in 0..PICTURES {
        folder.picture(format!("in/{k}.png"), 6, 5);
    }
    let command = |out: &str| {
        let mut command = lineament();
        command.current_dir(folder.0.path()).arg("upscale").args(SMALL).args(["in", out]);
        command
    };
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());

    let mut child = command("pipe").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(folder.names("pipe").len(), PICTURES);
    assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{stderr}");

    let output = command("full").stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    expect(errors[0], &["standard output", "No space left"]);
    assert_eq!(folder.names("full").len(), PICTURES);

    let output = command("mute").stderr(full()).output().unwrap();
    assert_eq!((output.status.code(), folder.names("mute").len()), (Some(0), PICTURES));

    // A picture on standard output.
    let mut single = lineament();
    single.current_dir(folder.0.path()).arg("upscale").args(SMALL).args(["in/0.png", "-"]);
    let output = single.stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    expect(&text(&output.stderr), &["error: standard output: No space left"]);
}

/// Issue 15, item 21: the report has one shape for one picture, for several, for none, and for failures.
#[test]
fn the_report_has_one_shape() {
    let folder = Folder::new();
    folder.picture("in/a.png", 6, 5);
    folder.picture("in/b.png", 5, 5);
    std::fs::write(folder.path("bad.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    let fields = |report: &Value| report.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let one = folder.json(&["in/a.png", "a3.png"]);
    let picture = &one["pictures"][0];
    assert_eq!(
        (
            &picture["input"],
            &picture["output"],
            &picture["width"],
            &picture["height"],
            &picture["frames"],
            &picture["tiles"]
        ),
        (&json!("in/a.png"), &json!("a3.png"), &json!(18), &json!(15), &json!(1), &json!(1))
    );
    assert!(picture["ms"].as_f64().unwrap() > 0.0);
    for field in ["pictures", "errors", "failed", "skipped", "existing", "device", "waited_share", "scale", "stages"] {
        assert!(one.get(field).is_some(), "{one} lacks {field}");
    }
    let many = folder.json(&["in", "out"]);
    let none = folder.json(&["in", "out"]);
    assert_eq!((fields(&many), fields(&none)), (fields(&one), fields(&one)));
    assert_eq!((many["pictures"].as_array().unwrap().len(), &many["skipped"]), (2, &json!(0)));
    assert_eq!((none["pictures"].as_array().unwrap().len(), &none["skipped"]), (0, &json!(2)));
    assert_eq!(none["existing"][1], json!({ "input": "in/b.png", "output": "out/b.png" }));
    let bad = folder.upscale(&["bad.png", "out.png", "--json"]);
    assert_eq!(bad.status.code(), Some(1));
    let report = last_line(&text(&bad.stdout));
    assert_eq!((fields(&report), &report["failed"]), (fields(&one), &json!(1)));
    assert_eq!(report["errors"][0]["input"], "bad.png");
    let error = report["errors"][0]["error"].as_str().unwrap();
    assert!(error.contains("bad.png: ") && text(&bad.stderr).contains(&format!("error: {error}\n")), "{report}");
    // An error that stops the whole command is one object too.
    let refused = folder.upscale(&["none.png", "out.png", "--json"]);
    let report = last_line(&text(&refused.stdout));
    assert_eq!(report, json!({ "error": "none.png: there is no such file; check the path", "exit_code": 1 }));
}

#[test]
fn a_picture_goes_through_pipes() {
    let folder = Folder::new();
    let path = folder.picture("a.png", 6, 5);
    let through = |arguments: &[&str], input: &[u8]| {
        let mut command = lineament();
        command.current_dir(folder.0.path()).arg("upscale").args(SMALL).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that refuses before it reads closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    };
    folder.ok(&["a.png", "file.png"]);
    let (bytes, expected) = (std::fs::read(&path).unwrap(), std::fs::read(folder.path("file.png")).unwrap());
    let output = through(&["-", "-"], &bytes);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout == expected, "the bytes of the file, and nothing else");
    expect(&text(&output.stderr), &["standard input → standard output: 18 × 15"]);
    let output = through(&["-i", "-", "-o", "-", "-f", "JPEG", "--quiet"], &bytes);
    let picture = Picture::decode(&output.stdout, "out").unwrap();
    assert_eq!((picture.width(), &output.stdout[..2], text(&output.stderr).as_str()), (18, &b"\xff\xd8"[..], ""));
    let output = through(&["-", "b.webp", "--json"], &bytes);
    assert_eq!(last_line(&text(&output.stdout))["pictures"][0]["input"], "-");
    assert_eq!(folder.size("b.webp"), (18, 15));

    let refused = |arguments: &[&str], input: &[u8], parts: &[&str]| {
        let output = through(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        expect(&text(&output.stderr), parts);
    };
    refused(&["a.png", "-", "--json"], b"", &["standard output cannot take both", "leave --json out"]);
    refused(&["-", "c.png"], b"", &["standard input: is empty"]);
    refused(&["-", "c.png"], b"not a picture", &["standard input: "]);
    refused(&["-", "a.png", "out"], &bytes, &["-: stands for the one picture of standard input"]);
    refused(&["a.png", "b.webp", "-"], b"", &["standard output takes one picture"]);
    refused(&["-", "."], &bytes, &[".: is a folder; name the file to write"]);
    assert!(!folder.path("c.png").exists() && !folder.path("out").exists());
}

#[test]
fn several_inputs_go_to_a_folder_under_names_that_differ() {
    let folder = Folder::new();
    folder.picture("a.png", 6, 5);
    folder.picture("a.bmp", 5, 4);
    folder.picture("scans/b.png", 4, 4);
    folder.picture("scans/sub/b.png", 4, 3);
    let all = ["a.png", "a.bmp", "scans", "out", "-f", "webp"];
    folder.ok(&all);
    let names = ["a.bmp.webp", "a.png.webp", "scans/b.webp", "scans/sub/b.webp"];
    assert_eq!(folder.names("out"), names);
    assert_eq!((folder.size("out/a.png.webp"), folder.size("out/a.bmp.webp")), ((18, 15), (15, 12)));
    // The same command finds them again, in any order.
    let again = folder.json(&["-i", "scans/", "-i", "a.bmp", "--input", "a.png", "--output", "out/", "-f", "webp"]);
    assert_eq!((&again["skipped"], again["pictures"].as_array().unwrap().len()), (&json!(4), 0));
    assert_eq!(folder.names("out"), names);
    // A trailing slash requests a folder that does not exist yet.
    folder.ok(&["a.png", "new/", "-f", "tiff"]);
    assert_eq!(folder.names("new"), ["a.tiff"]);

    expect(
        &folder.fails(1, &["a.png", "a.bmp", "a.png.webp"]),
        &["a.png.webp: is a file; several pictures go to a folder"],
    );
    expect(&folder.fails(1, &["a.png", "scans", "a.bmp"]), &["a.bmp: is a file; several pictures go to a folder"]);
    folder.picture("other/a.png", 4, 4);
    expect(
        &folder.fails(1, &["a.png", "other/a.png", "out2"]),
        &["other/a.png: and a.png would both become out2/a.png"],
    );
    expect(&folder.fails(1, &["a.png", "typo.png", "out2"]), &["typo.png: there is no such file"]);
    assert!(!folder.path("out2").exists());
    for wrong in [&[][..], &["a.png"], &["-i", "a.png"], &["-o", "b.png"]] {
        folder.fails(2, wrong);
    }
}

/// Networks in stages and a bicubic step are reported in text and in JSON; the picture is about as bright as before.
#[test]
fn any_scale_is_reached_and_said() {
    let folder = Folder::new();
    let path = folder.picture("a.png", 6, 5);
    let mean = |path: &Path| {
        let picture = Picture::open(path).unwrap();
        let plane = picture.plane(Channel::Y, picture.whole()).unwrap();
        plane.iter().map(|v| f64::from(*v)).sum::<f64>() / plane.len() as f64
    };
    let brightness = mean(&path);
    for (scale, size, stages, bicubic) in [
        (None, (18, 15), json!([3]), Value::Null),
        (Some("1.1"), (7, 6), json!([3]), json!(1.1 / 3.0)),
        (Some("2.5"), (15, 13), json!([3]), json!(2.5 / 3.0)),
        (Some("9"), (54, 45), json!([3, 3]), Value::Null),
        (Some("10"), (60, 50), json!([3, 3, 3]), json!(10.0 / 27.0)),
    ] {
        let mut arguments = vec!["a.png", "b.png", "--overwrite"];
        scale.iter().for_each(|scale| arguments.extend(["-s", scale]));
        let line = folder.ok(&arguments);
        let report = folder.json(&arguments);
        assert_eq!(folder.size("b.png"), size, "{scale:?}");
        assert_eq!(
            (&report["stages"], report["scale"].as_f64().unwrap()),
            (&stages, scale.map_or(3.0, |s| s.parse().unwrap()))
        );
        match bicubic.as_f64() {
            None => assert!(report["bicubic"].is_null() && !line.contains("bicubic"), "{line}"),
            Some(rest) => {
                assert!((report["bicubic"].as_f64().unwrap() - rest).abs() < 1e-12, "{report}");
                assert!(line.contains(&format!("then bicubic to ×{}", scale.unwrap())), "{line}");
            }
        }
        assert!((mean(&folder.path("b.png")) - brightness).abs() < 0.03, "{scale:?}");
        // The result does not depend on the windows.
        let whole = std::fs::read(folder.path("b.png")).unwrap();
        folder.ok(&[&arguments[..], &["-t", "11"]].concat());
        assert!(whole == std::fs::read(folder.path("b.png")).unwrap(), "{scale:?} depends on --tile");
    }
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/fsrcnn_x2.safetensors");
    let own = |arguments: &[&str]| {
        let all = ["upscale", "a.png", "b.png", "--overwrite", "--device", "cpu", "--json", "--weights", weights];
        let output = lineament().current_dir(folder.0.path()).args(all).args(arguments).output().unwrap();
        last_line(&text(&output.stdout))
    };
    let report = own(&[]);
    assert_eq!((&report["scale"], &report["model"], &report["stages"]), (&json!(2.0), &json!("fsrcnn"), &json!([2])));
    assert_eq!(own(&["--scale", "3"])["stages"], json!([2, 2]));
    for wrong in ["1", "1.09", "16.5", "0", "-3", "three", "2,5", "1e1", "2.3456", ""] {
        let error = folder.fails(2, &["a.png", "c.png", &format!("--scale={wrong}")]);
        expect(&error, &["expected a number from 1.1 to 16", "such as 2, 4 or 2.5"]);
    }
}

/// Issue 15, item 10, for the thread counts here.
#[test]
fn numbers_out_of_range_are_refused_with_what_would_do() {
    let folder = Folder::new();
    folder.picture("a.png", 6, 5);
    for (option, values, part) in [
        ("--threads", &["0", "257", "100000", "18446744073709551615", "1:2", "x"][..], "1 to 256 threads"),
        ("--tile", &["x", "1.5"], "expected pixels, such as 256"),
        ("--quality", &["0", "101", "best"], "expected 1 (smallest file) to 100"),
        ("--format", &["psd", ""], "expected a picture format"),
    ] {
        for value in values {
            let error = folder.fails(2, &["a.png", "b.png", &format!("{option}={value}")]);
            expect(&error, &[part]);
            assert!(!error.contains("invalid digit"), "{error}");
        }
    }
    folder.ok(&["a.png", "b.png", "-j", "256"]);
    folder.ok(&["a.png", "c.png", "-j", "1:2:2"]);
    assert!(std::fs::read(folder.path("b.png")).unwrap() == std::fs::read(folder.path("c.png")).unwrap());
    let eval = ["eval", "upscale", "--scale", "2.5", "--hr", "."];
    let output = lineament().current_dir(folder.0.path()).args(eval).output().unwrap();
    expect(&text(&output.stderr), &["expected 2, 3 or 4"]);
}

#[test]
fn quality_reaches_the_file() {
    let folder = Folder::new();
    folder.picture("a.png", 40, 40);
    let length = |name: &str, arguments: &[&str]| {
        folder.ok(&[&["a.png", name, "--overwrite"], arguments].concat());
        std::fs::metadata(folder.path(name)).unwrap().len()
    };
    for name in ["b.jpg", "b.webp"] {
        let [best, low] = [length(name, &[]), length(name, &["--quality", "20"])];
        assert!(3 * low < best, "{name}: {low} and {best} bytes");
    }
}

#[test]
fn lines_are_short_and_the_device_is_named_once() {
    let folder = Folder::new();
    folder.picture("in/a.png", 6, 5);
    folder.picture("in/b.png", 30, 5);
    let output = folder.upscale(&["in", "out", "--tile", "24"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(stderr, "fsrcnn-s ×3 on cpu (f64 references)\n");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{stdout}");
    assert!(lines[0].starts_with("in/a.png → out/a.png: 18 × 15, ") && lines[0].ends_with("s, 1 tile"), "{stdout}");
    assert!(lines[1].starts_with("in/b.png → out/b.png: 90 × 15, ") && lines[1].ends_with("s, 2 tiles"), "{stdout}");
    assert!(lines[2].starts_with("2 pictures in "), "{stdout}");
    assert!(!stdout.contains("waited"), "{stdout}");
    assert_eq!(
        folder.ok(&["in", "out"]),
        "skipped 2 pictures whose output exists; --overwrite replaces existing outputs\n"
    );
    std::fs::remove_file(folder.path("out/b.png")).unwrap();
    assert!(folder.ok(&["in", "out"]).contains("skipped 1 picture whose output exists"));
    let quiet = folder.upscale(&["in", "out", "--overwrite", "--quiet"]);
    assert_eq!((text(&quiet.stdout), text(&quiet.stderr)), (String::new(), String::new()));
    let verbose = text(&folder.upscale(&["in", "out", "--overwrite", "-vv", "-s", "5"]).stderr);
    expect(
        &verbose,
        &[
            "info: networks: fsrcnn-s ×3 ×3, then bicubic to ×5: the smallest product of available scales (x3)",
            "info: windows of fsrcnn-s x3: 288 pixels a side: ",
            "info: threads: ",
            "debug: in/a.png: 6 × 5, 1 picture to Encoding { format: Png",
        ],
    );
}

#[test]
fn models_are_listed_with_what_their_weights_say() {
    let run = |arguments: &[&str]| text(&lineament().arg("models").args(arguments).output().unwrap().stdout);
    let shown = run(&[]);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    for part in ["fsrcnn: ", "×4 ", "53 KiB", "36.984 dB", "training data: T91", "MIT OR Apache-2.0", "cbn-small-8px: "]
    {
        assert!(shown.contains(part), "{shown} lacks {part:?}");
    }
    let report = last_line(&run(&["--quiet", "--json"]));
    let models = report["models"].as_array().unwrap();
    assert_eq!(models.len(), lineament::models::shipped::all().len());
    for (model, shipped) in models.iter().zip(lineament::models::shipped::all()) {
        assert_eq!((&model["name"], &model["scale"]), (&json!(shipped.model), &json!(shipped.scale)));
        assert_eq!(model["file_bytes"], shipped.bytes.len());
        for field in ["measured", "data_terms", "licence", "sha256", "command"] {
            assert!(model[field].as_str().is_some_and(|text| !text.is_empty()), "{model} lacks {field}");
        }
    }
    assert!(run(&["--help"]).contains("Examples:"));
}
