//! The command line when things go wrong: existing files, names that are not UTF-8, readers that leave, signals, sizes beyond
//! any memory. Also what users expect of such tools: completions, man pages, tables that fit.
// Signals, pipes and process limits are tested only on Linux.
#![cfg_attr(not(target_os = "linux"), allow(unused_imports, unused_variables))]

#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/onnx.rs"]
mod onnx;

use command::{Folder, json, lineament, ok, run, text};
use lineament::image::{Channels, Picture, Samples};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Returns the only line on stderr of a command that must fail with `code`.
fn fails(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{arguments:?}: {stderr}");
    stderr
}

impl Folder {
    /// Writes a file and returns its path.
    fn with(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.text(name)
    }
    fn picture(&self, name: &str, width: usize, height: usize) -> String {
        draw(&self.path(name), width, height);
        self.text(name)
    }
}

fn draw(path: &Path, width: usize, height: usize) {
    let samples = Samples::U8((0..width * height).map(|k| (k * 7 % 251) as u8).collect());
    Picture::from_samples("drawn", width, height, Channels::Grey, samples).unwrap().save(path).unwrap();
}

/// Returns a line for `name` of 68 landmarks on a grid of 9 columns, `step` pixels apart.
fn landmarks(name: &str, step: f64, shift: f64) -> String {
    let points = (0..68).map(|l| format!(",{},{}", shift + step * f64::from(l % 9), shift + step * f64::from(l / 9)));
    format!("{name}{}\n", points.collect::<String>())
}

/// Item 5: without --overwrite existing files stay, and they are found before any work. Item 7: so are missing folders.
#[test]
fn outputs_that_exist_stay_and_missing_folders_are_found_before_the_work() {
    let folder = Folder::new();
    let input = folder.picture("a.png", 40, 40);
    std::fs::create_dir(folder.path("set5")).unwrap();
    draw(&folder.path("set5/a.png"), 24, 24);
    let (data, old) = (folder.text(""), folder.with("old", "older"));
    let (old_png, new_png) = (folder.with("old.png", "older"), folder.text("new.png"));
    std::fs::create_dir(folder.path("dump")).unwrap();
    let dump = folder.text("dump");
    folder.with("dump/relu.forward.spv", "older");
    let commands: [&[&str]; 6] = [
        &["profile", "upscale", "--scale", "3", "--size", "24x24", "--runs", "1", "--trace", &old],
        &["profile", "--shader", "relu", "--out", &dump],
        &["reproduce", "sr", "--data", &data, "--sets", "set5", "--out", &old],
        &["hallucinate", &input, &old_png],
        &["hallucinate", &input, &new_png, "--sheet", &old_png],
        &["man", &dump],
    ];
    folder.with("dump/lineament-man.1", "older");
    for command in commands {
        // The device does not exist, so whatever is reported before that is found before the work.
        let is_device = !["man", "--shader"].iter().any(|word| command.contains(word));
        let none: &[&str] = if is_device { &["--device", "none such"] } else { &[] };
        let error = fails(1, &[command, none].concat());
        assert!(error.contains("exists; give --overwrite"), "{command:?}: {error}");
    }
    for file in ["old", "old.png", "dump/relu.forward.spv", "dump/lineament-man.1"] {
        assert_eq!(std::fs::read(folder.path(file)).unwrap(), b"older", "{file}");
    }
    assert_eq!(std::fs::read_dir(folder.path("dump")).unwrap().count(), 2, "something was written before the refusal");
    for (option, command) in [("--trace", commands[0]), ("--out", commands[2]), ("--sheet", commands[4])] {
        let missing = folder.text("no/such.png");
        let at = command.iter().position(|word| *word == option).unwrap() + 1;
        let mut command = [command, &["--device", "none such"]].concat();
        command[at] = &missing;
        let error = fails(1, &command);
        assert!(error.contains("there is no folder") && error.contains("create it first"), "{command:?}: {error}");
    }
    // A sheet with the same path as the face, spelt differently.
    let twice = format!("{}/dump/../new.png", folder.0.path().display());
    assert!(fails(1, &["hallucinate", &input, &new_png, "--sheet", &twice]).contains("is both the face and the sheet"));
    ok(&[commands[1], &["--overwrite"]].concat());
    assert!(std::fs::read(folder.path("dump/relu.forward.spv")).unwrap() != b"older");
    if common::device().is_some() {
        ok(&[commands[0], &["--overwrite"]].concat());
        assert!(serde_json::from_slice::<Value>(&std::fs::read(&old).unwrap()).is_ok());
    }
}

#[test]
fn the_files_of_reproduce_cbn_stay() {
    let folder = Folder::new();
    let faces = "helen68_testset_128";
    std::fs::create_dir(folder.path(faces)).unwrap();
    draw(&folder.path(faces).join("a.png"), 64, 64);
    folder.with(&format!("{faces}.csv"), landmarks("a.png", 6.0, 4.0));
    std::fs::create_dir(folder.path("out")).unwrap();
    folder.with("out/ghosting.png", "older");
    let (data, out) = (folder.text(""), folder.text("out"));
    let error = fails(1, &["reproduce", "cbn", "--data", &data, "--out", &out, "--device", "none such"]);
    assert!(error.contains("ghosting.png: exists; give --overwrite"), "{error}");
}

/// Item 6: several networks are tuned at once.
#[test]
fn what_parallel_tunings_find_is_all_remembered() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    let tune = |arguments: &[&str]| {
        let mut command = lineament();
        command.arg("tune").args(arguments).arg("--json").env("XDG_CACHE_HOME", folder.0.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let layers = |child: Child| -> Vec<String> {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let stdout = text(&output.stdout);
        let object: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        object["layers"].as_object().unwrap().keys().cloned().collect()
    };
    // One layer each.
    let nets = [[4, 4], [4, 8], [8, 4], [2, 4]]
        .map(|[i, o]| folder.with(&format!("{i}to{o}.onnx"), onnx::bytes(&onnx::chain(&[i, o], 8))));
    let children: Vec<Child> = nets.iter().map(|net| tune(&[net])).collect();
    let mut found: Vec<String> = children.into_iter().flat_map(layers).collect();
    found.sort();
    found.dedup();
    assert!(found.len() >= 4, "{found:?}");
    assert_eq!(layers(tune(&["--show"])), found);
}

/// Item 8: file names that are not UTF-8 work as inputs and outputs like any other, and are lossless in JSON.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_are_taken_and_told() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    let path = |name: &[u8]| folder.0.path().join(OsString::from_vec(name.to_vec()));
    let escaped = |name: &str| format!("{}/{name}", folder.0.path().display());
    std::fs::create_dir(path(b"hr\xff")).unwrap();
    draw(&path(b"hr\xff").join(OsString::from_vec(b"\xfe.png".to_vec())), 36, 36);
    draw(&path(b"in\xff.png"), 32, 32);
    std::fs::write(path(b"net\xff.onnx"), onnx::bytes(&onnx::chain(&[1, 2], 4))).unwrap();
    let json = |arguments: &[&str], paths: &[(&str, PathBuf)]| -> Value {
        let mut command = lineament();
        command.args(arguments).arg("--json");
        for (option, path) in paths {
            command.args(Some(option).filter(|option| !option.is_empty())).arg(path);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        let stdout = String::from_utf8(output.stdout).expect("stdout is UTF-8");
        serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
    };
    let report = json(
        &["hallucinate", "--aligned"],
        &[("--sheet", path(b"sheet\xff.png")), ("", path(b"in\xff.png")), ("", path(b"out\xfe.png"))],
    );
    for (key, name) in [("input", "in\0ff.png"), ("sheet", "sheet\0ff.png")] {
        assert_eq!(report[key], escaped(name));
    }
    assert_eq!(report["faces"][0]["output"], escaped("out\0fe.png"));
    assert!(path(b"out\xfe.png").is_file() && path(b"sheet\xff.png").is_file());
    let report = json(&["eval", "upscale", "--scale", "3"], &[("--hr", path(b"hr\xff"))]);
    assert_eq!((&report["hr"], &report["images"]), (&escaped("hr\0ff").into(), &1.into()));
    let report = json(&["bench", "--runs", "1"], &[("", path(b"net\xff.onnx"))]);
    assert_eq!(report["net"], escaped("net\0ff.onnx"));
    let size = ["profile", "upscale", "--scale", "3", "--size", "16x16", "--runs", "1"];
    assert_eq!(json(&size, &[("--trace", path(b"t\xff"))])["trace"], escaped("t\0ff"));
    let report = json(&["profile", "--shader", "relu.forward"], &[("--out", path(b"dump\xff"))]);
    assert_eq!(report["files"][0], escaped("dump\0ff/relu.wgsl"));
}

/// Item 9: a reader that leaves changes nothing. A full disk behind stdout is one error, behind stderr it is no error.
#[cfg(target_os = "linux")]
#[test]
fn readers_that_leave_and_full_disks_never_stop_the_work() {
    let shell = |script: &str| {
        let script = script.replace("lineament", env!("CARGO_BIN_EXE_lineament"));
        let output = Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    for command in
        ["ops", "devices", "plan upscale --scale 3 --device cpu", "completions bash", "profile --shader relu"]
    {
        // The reader leaves before the first line.
        let (code, _, stderr) = shell(&format!("(sleep 0.2; lineament {command}) | true"));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{command}");
        let (code, _, stderr) = shell(&format!("lineament {command} > /dev/full"));
        assert_eq!(code, Some(1), "{command}: {stderr}");
        assert!(stderr.starts_with("error: standard output: ") && stderr.lines().count() == 1, "{command}: {stderr}");
        let (code, stdout, _) = shell(&format!("lineament {command} -v 2> /dev/full"));
        assert!(code == Some(0) && !stdout.is_empty(), "{command}: {code:?}");
    }
    let (code, stdout, _) = shell("lineament check ops relu --device cpu 2> /dev/full | head -1");
    assert!(code == Some(0) && stdout.lines().count() == 1, "{stdout}");
    let (code, _, stderr) = shell("lineament --help > /dev/full");
    assert!(code == Some(1) && stderr.lines().count() <= 1, "{code:?} {stderr}");
}

/// Item 10: sizes beyond any memory are refused with the numbers before anything is allocated, within 1.5 GB.
#[cfg(target_os = "linux")]
#[test]
fn sizes_are_bounded_before_memory_is_asked_for() {
    let folder = Folder::new();
    let limited = |arguments: &str| {
        let script = format!("ulimit -v 1500000; exec {} {arguments}", env!("CARGO_BIN_EXE_lineament"));
        let mut command = Command::new("bash");
        let output = command.args(["-c", &script]).env("LINEAMENT_TUNE", "off").output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let claims = folder.with("claims.onnx", onnx::bytes(&onnx::chain(&[1, 1], 32_768)));
    assert!(std::fs::metadata(&claims).unwrap().len() < 1000);
    let small = folder.with("small.onnx", onnx::bytes(&onnx::chain(&[1, 1], 64)));
    let npy = folder.with("claims.npy", {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 32768, 32768), }\n";
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()
    });
    let weights = folder.with("claims.safetensors", {
        let header = r#"{"feature.w":{"dtype":"F32","shape":[32768,32768],"data_offsets":[0,4294967296]}}"#;
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()
    });
    for (arguments, parts) in [
        (
            format!("bench {claims} --device cpu"),
            &["12884901928 bytes for tensors", "536870912", "use a smaller input or batch"],
        ),
        (format!("bench {small} --batch 100000 --device cpu"), &["bytes for tensors", "allows 536870912", "batch"]),
        (format!("bench {small} --train --batch 100000 --device cpu"), &["bytes for tensors", "536870912", "batch"]),
        (format!("bench {small} --size 300000x1000 --device cpu"), &["bytes for tensors", "536870912", "smaller"]),
        (
            format!("bench {claims} --input {npy} --device cpu"),
            &["claims.npy", "4294967296 bytes of elements", "has 16"],
        ),
        (
            format!("plan upscale --scale 3 --weights {weights} --device cpu"),
            &["claims.safetensors", "truncated", "of which there are 16"],
        ),
    ] {
        let (code, stderr) = limited(&arguments);
        assert!(code == Some(1) && stderr.lines().count() == 1, "{arguments}: {code:?} {stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{arguments}: {stderr}");
    }
    for (arguments, message) in [
        ("plan upscale --scale 3 --device cpu --size 9999999999x9999999999", "each 1 to 1048576"),
        ("reproduce speed --device cpu --sizes 128,100000", "100000 is not in 1..=8192"),
        ("reproduce speed --device cpu --size 100000", "100000 is not in 1..=8192"),
    ] {
        let (code, stderr) = limited(arguments);
        assert!(code == Some(2) && stderr.contains(message), "{arguments}: {code:?} {stderr}");
    }
    // The largest size plans one window like any other.
    let (code, stderr) = limited("plan upscale --scale 3 --device cpu --size 1048576x1048576");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    if common::device().is_some() {
        let error = fails(1, &["bench", &claims]);
        assert!(error.contains("plan: ") && error.contains("use a smaller input or batch"), "{error}");
    }
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "the work was over too early");
}

/// Item 11: whatever it is doing, a command ends soon after a signal, with 130; a busy machine gets more time.
#[cfg(unix)]
#[test]
fn signals_end_every_command_soon() {
    let folder = Folder::new();
    let net = folder.with("net.onnx", onnx::bytes(&onnx::chain(&[1, 64, 64, 64, 1], 160)));
    let cache = folder.text("cache");
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["check", "ops", "--device", "cpu"],
        vec!["bench", &net, "--device", "cpu"],
        vec!["profile", "upscale", "--scale", "3", "--size", "288x288", "--device", "cpu"],
    ];
    if common::device().is_some() {
        commands.push(vec!["check", "ops"]);
        commands.push(vec!["tune", "upscale", "--scale", "3"]);
    }
    for (k, arguments) in commands.iter().enumerate() {
        let mut command = lineament();
        command.args(arguments).env("XDG_CACHE_HOME", &cache).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let begin = Instant::now();
        signal(&child, if k % 2 == 0 { "-INT" } else { "-TERM" });
        let output = child.wait_with_output().unwrap();
        let (took, stderr) = (begin.elapsed(), text(&output.stderr));
        assert_eq!(output.status.code(), Some(130), "{arguments:?}: {stderr}");
        assert!(took < Duration::from_secs(4), "{arguments:?} took {took:?}");
        assert!(stderr.contains("stopping; Ctrl-C again stops at once"), "{arguments:?}: {stderr}");
        assert!(stderr.ends_with("interrupted; nothing half-written was left\n"), "{arguments:?}: {stderr}");
    }
}

/// A signal also ends a process whose stderr and stdout share a full pipe that nobody reads.
#[cfg(unix)]
#[test]
fn a_full_pipe_holds_up_no_signal() {
    let script = format!("exec {} profile --shader conv2d 2>&1", env!("CARGO_BIN_EXE_lineament"));
    // The pipe's other end is kept open but not read.
    let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none(), "what is printed fits into the pipe: the test needs a longer text");
    let begin = Instant::now();
    signal(&child, "-INT");
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(5), "the signal was held up by the pipe");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// What was measured before a signal is remembered.
#[cfg(unix)]
#[test]
fn an_interrupted_tuning_keeps_the_layers_that_it_measured() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    // Each takes about a second.
    let net = folder.with("net.onnx", onnx::bytes(&onnx::chain(&[1, 4, 2, 4, 3, 4, 4, 1], 8)));
    let mut command = lineament();
    command.args(["tune", &net]).env("XDG_CACHE_HOME", folder.0.path()).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let store = || {
        let files = std::fs::read_dir(folder.path("lineament/tune")).ok()?;
        files.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "json"))
    };
    while store().is_none() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "-INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    let kept: Value = serde_json::from_slice(&std::fs::read(store().unwrap()).unwrap()).unwrap();
    let count = kept["layers"].as_object().unwrap().len();
    assert!((1..5).contains(&count), "{count} layers are kept");
}

/// Items 17 to 20: wrong arguments are reported on one line, with exit code 2 and the remedy if there is one.
#[test]
fn wrong_arguments_are_one_line() {
    let folder = Folder::new();
    let a = folder.picture("a.png", 64, 48);
    for (arguments, parts) in [
        (
            &["plan", "upscale", "--scale", "3", "--device", ""][..],
            &["'--device", "`lineament devices` lists them"][..],
        ),
        (&["plan", "upscale", "--scale", "3", "-g", "  "], &["'--device", "its index, or cpu"]),
        (&["upscale"], &["required arguments were not provided", "<IN... OUT>"]),
        (
            &["plan", "upscale", "--scale", "3", "--sizes", "3x3"],
            &["'--sizes'", "tip: a similar argument exists: '--size'"],
        ),
        (&["chek", "ops"], &["unrecognized subcommand 'chek'", "tip:", "'check'"]),
        (&["check", "ops", "--device"], &["a value is required for '--device"]),
        (&["hallucinate", &a, "b.png", "--preset", "tiny"], &["invalid value 'tiny'", "small, small-found, small-8px"]),
        (&["hallucinate", &a, "b.png", "--box", "1,2,3,4", "--points", "x"], &["cannot be used with"]),
        (&["hallucinate", &a, "b.png", "--box", "1,2,3"], &["expected X,Y,W,H in pixels"]),
        (&["hallucinate", &a, "b.png", "--box", "-1,2,-3,4"], &["expected X,Y,W,H in pixels"]),
        (&["bench", "net.onnx", "--runs", "-1"], &["invalid value '-1' for '--runs <N>'"]),
        (&["bench", "net.onnx", "--expect", "y.npy"], &["--input"]),
        (&["completions", "tcsh"], &["invalid value 'tcsh'", "zsh"]),
        (&["-q", "-v", "devices"], &["cannot be used with"]),
    ] {
        let error = fails(2, arguments);
        assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
        assert!(!error.contains(";  "), "{arguments:?}: {error}");
        let output = run(&[arguments, &["--json"]].concat());
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
        assert_eq!((&object["exit_code"], object["error"].is_string()), (&2.into(), true), "{arguments:?}: {object}");
    }
    for arguments in [&[][..], &["check"], &["eval"], &["profile"], &["reproduce"], &["train"]] {
        let output = run(arguments);
        let help = text(&output.stderr) + &text(&output.stdout);
        assert!(help.contains("Usage: lineament") && help.contains("Commands:"), "{arguments:?}: {help}");
    }
}

/// Item 19: negative numbers are values. Item 20: impossible places of faces are refused with the file's name.
#[test]
fn places_of_faces_are_checked() {
    let folder = Folder::new();
    let (a, face) = (folder.picture("a.png", 64, 48), folder.text("face.png"));
    // The device does not exist, so whatever is reported before that is found before the work.
    let refused = |more: &[&str]| fails(1, &[&["hallucinate", &a, &face, "--device", "none such"], more].concat());
    for taken in ["-20,-20,60,60", "-5.5,0,40,40", "0,0,64,48", "60,40,8,8"] {
        let error = refused(&["--box", taken]);
        assert!(error.contains("no adapter"), "{taken}: {error}");
    }
    for (area, message) in [
        ("0,0,1e30,1e30", "a.png: --box 0,0,1e30,1e30: the face would be 1e30 pixels wide, expected 1 to 256"),
        ("-1e300,-1e300,2e300,2e300", "the face would be 2e300 pixels wide"),
        ("1,1,1e-9,1e-9", "pixels wide, expected 1 to 256 in a picture of 64 × 48"),
        ("64,0,5,5", "a.png: --box 64,0,5,5: lies outside of the picture, which has 64 × 48 pixels"),
        ("1e300,0,5,5", "lies outside of the picture"),
    ] {
        let error = refused(&["--box", area]);
        assert!(error.contains(message), "{area}: {error}");
    }
    for (name, lines, message) in [
        (
            "far.csv",
            landmarks("a.png", 5.0, 900.0),
            "far.csv: the landmarks of a.png: only 0 of 68 landmarks lie in the picture",
        ),
        (
            "huge.csv",
            landmarks("a.png", 1e299, 0.0),
            "huge.csv: the landmarks of a.png: eyes and mouth lie in one place or at no",
        ),
        ("one.csv", landmarks("a.png", 0.0, 20.0), "one.csv: the landmarks of a.png: eyes and mouth lie in one place"),
        ("dot.csv", landmarks("a.png", 1e-4, 20.0), "dot.csv: the landmarks of a.png: the face would be"),
        (
            "other.csv",
            landmarks("b.png", 5.0, 4.0) + &landmarks("c.png", 5.0, 4.0),
            "other.csv: has no line for a.png; add one",
        ),
    ] {
        let error = refused(&["--points", &folder.with(name, lines)]);
        assert!(error.contains(message), "{name}: {error}");
    }
    let good = folder.with("good.csv", landmarks("a.png", 5.0, 4.0));
    assert!(refused(&["--points", &good]).contains("no adapter"));
}

/// Every command has completions in every shell, and a man page.
#[test]
fn completions_and_man_pages_know_every_command() {
    let commands = [
        "devices",
        "upscale",
        "hallucinate",
        "eval",
        "ops",
        "check",
        "plan",
        "profile",
        "bench",
        "models",
        "tune",
        "train",
        "reproduce",
        "completions",
        "man",
    ];
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ok(&["completions", shell, "--quiet"]);
        for word in commands.iter().chain(&["speed", "--overwrite", "--sheet", "--device", "hallucinate"]) {
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let bash = ok(&["completions", "bash"]);
    let folder = Folder::new();
    let script = folder.with("lineament.bash", bash);
    let complete = format!(
        "source {script}; COMP_WORDS=(lineament check o); COMP_CWORD=2; _lineament lineament o check; echo \"${{COMPREPLY[@]}}\""
    );
    if let Ok(output) = Command::new("bash").args(["-c", &complete]).output() {
        assert_eq!(text(&output.stdout).trim(), "ops", "{}", text(&output.stderr));
    }

    let man = folder.text("man");
    let object = json(&["man", &man, "--json"]);
    let files: Vec<&str> = object["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    let pages = commands.iter().map(|c| format!("lineament-{c}.1"));
    let more = ["lineament.1", "lineament-check-ops.1", "lineament-reproduce-speed.1", "lineament-eval-hallucinate.1"];
    for page in pages.chain(more.map(String::from)) {
        let path = folder.path("man").join(&page);
        assert!(files.contains(&path.to_str().unwrap()), "{page}");
        let content = std::fs::read_to_string(&path).unwrap();
        assert!(content.contains(".SH NAME") && content.contains(".SH SYNOPSIS"), "{page}: {content}");
    }
    let page = std::fs::read_to_string(folder.path("man/lineament-hallucinate.1")).unwrap();
    assert!(page.contains("\\-\\-sheet") && page.contains("Examples:"), "{page}");
    assert_eq!(files.len(), std::fs::read_dir(&man).unwrap().count());
}

#[test]
fn the_version_is_one_line_with_commit_and_wgpu() {
    let version = ok(&["--version"]);
    assert_eq!(version, ok(&["-V"]));
    assert_eq!(version.lines().count(), 1);
    let begin = format!("lineament {} (", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&begin) && version.contains("wgpu ") && version.trim_end().ends_with(')'), "{version}");
    if let Some((_, rest)) = version.split_once("commit ") {
        assert!(rest[..7].chars().all(|c| c.is_ascii_hexdigit()) && [",", "-"].contains(&&rest[7..8]), "{version}");
    }
}

/// Tables keep to the given width, and a pipe gets everything.
#[test]
fn tables_fit_80_columns() {
    let cpu = ["--device", "cpu"];
    let table = |arguments: &[&str], columns: Option<&str>| {
        let mut command = lineament();
        columns.map(|columns| command.env("COLUMNS", columns));
        text(&command.args(arguments).output().unwrap().stdout)
    };
    let plan = ["plan", "upscale", "--scale", "3", "--size", "24x24", cpu[0], cpu[1]];
    let profile = ["profile", "upscale", "--scale", "3", "--size", "16x16", "--runs", "1", cpu[0], cpu[1]];
    let check = ["check", "ops", "relu", cpu[0], cpu[1]];
    let devices = ["devices"];
    for arguments in [&["ops"][..], &plan, &profile, &check] {
        let narrow = table(arguments, Some("80"));
        let wide: Vec<&str> = narrow.lines().filter(|line| line.chars().count() > 80).collect();
        // Sentences are not part of a table.
        let is_sentence = |line: &&str| ["longest dispatch", "total "].iter().any(|begin| line.starts_with(begin));
        assert!(wide.iter().all(is_sentence), "{arguments:?}: {wide:#?}");
        assert!(!table(arguments, None).contains("omitted"), "{arguments:?}");
    }
    let narrow = table(&plan, Some("80"));
    assert!(narrow.contains("(omitted to fit the width: reads (variable:slot)"), "{narrow}");
    assert!(table(&plan, None).contains("reads (variable:slot)"));
    assert!(table(&devices, None).lines().all(|line| line.chars().count() <= 120));
}

#[test]
fn no_color_means_none() {
    let help = |no_color: bool| {
        let mut command = lineament();
        command.env("CLICOLOR_FORCE", "1").arg("--help");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        text(&command.output().unwrap().stdout)
    };
    assert!(help(false).contains('\u{1b}'), "colours were forced, so that their absence means something");
    assert!(!help(true).contains('\u{1b}'));
}

/// With --json the object is the last line, after the text for people; with --quiet it is the only one.
#[test]
fn json_is_the_last_line_of_every_command() {
    let cpu = ["--device", "cpu"];
    let folder = Folder::new();
    let net = folder.with("net.onnx", onnx::bytes(&onnx::chain(&[1, 2], 4)));
    for arguments in [
        &["devices"][..],
        &["models"],
        &["ops"],
        &["check", "ops", "relu", cpu[0], cpu[1]],
        &["plan", "upscale", "--scale", "3", "--size", "16x16", cpu[0], cpu[1]],
        &["profile", "upscale", "--scale", "3", "--size", "16x16", "--runs", "1", cpu[0], cpu[1]],
        &["profile", "--shader", "relu"],
        &["bench", &net, "--runs", "1", cpu[0], cpu[1]],
    ] {
        let plain = ok(&[arguments, &["--json"]].concat());
        assert!(plain.lines().count() > 1, "{arguments:?}: {plain}");
        assert!(serde_json::from_str::<Value>(plain.lines().last().unwrap()).unwrap().is_object(), "{arguments:?}");
        let quiet = ok(&[arguments, &["--json", "--quiet"]].concat());
        assert_eq!(quiet.lines().count(), 1, "{arguments:?}: {quiet}");
        assert!(serde_json::from_str::<Value>(&quiet).unwrap().is_object(), "{arguments:?}");
        assert_eq!(ok(&[arguments, &["--quiet"]].concat()), "", "{arguments:?}");
    }
}

/// -v says which adapter was chosen and why, and which shaders.
#[test]
fn verbose_says_what_was_chosen_and_why() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    let stderr = |mode: &str, more: &[&str]| {
        let mut command = lineament();
        command.args(["plan", "upscale", "--scale", "3", "--size", "16x16"]).args(more);
        text(&command.env("LINEAMENT_TUNE", mode).env("XDG_CACHE_HOME", folder.0.path()).output().unwrap().stderr)
    };
    assert_eq!(stderr("cached", &[]), "");
    let said = stderr("cached", &["-v"]);
    assert!(
        said.starts_with("info: device: ") && said.contains("info: shaders by the built-in rule: nothing was measured"),
        "{said}"
    );
    let said = stderr("off", &["-v", "--device", "0"]);
    assert!(said.contains(": --device asks for it") && said.contains("LINEAMENT_TUNE is off"), "{said}");
}
