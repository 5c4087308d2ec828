//! `lineament train` as people use it: what is checked before the first step, whose folder it is, and what a signal leaves.
// Signals, pipes and process limits are tested only on Linux.
#![cfg_attr(not(target_os = "linux"), allow(unused_imports, unused_variables))]

#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/faces.rs"]
mod faces;

use command::{lineament, noise as picture};
use faces::face_folder;
use lineament::Weights;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the error of a command that must fail with exit code 1, the last line of stderr.
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let errors = text.lines().filter(|line| line.starts_with("error: ")).count();
    let last = text.lines().last().unwrap_or_default().to_owned();
    assert!(errors == 1 && last.starts_with("error: "), "{text}");
    last
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// A folder with a folder of training pictures.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.at("data")).unwrap();
        picture(&place.at("data/a.png"), 48, 40);
        let small = "model = 'fsrcnn-s'\nscale = 2\nbatch = 2\npatch = 8\nthreads = 1\ndata = 'data'\n";
        std::fs::write(place.at("small.toml"), small).unwrap();
        place
    }
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Returns a command in this place, on the references.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = lineament();
        command.current_dir(self.0.path()).args(arguments).args(["--device", "cpu"]);
        command
    }
    /// Returns `train upscale` of a small network into `out`.
    fn train(&self, out: &str, more: &[&str]) -> Command {
        self.command(&[&["train", "upscale", "--config", "small.toml", "--out", out], more].concat())
    }
}

fn wait_for(child: &mut Child, is_there: impl Fn() -> bool) {
    while !is_there() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_a_run_needs_is_checked_before_its_first_step() {
    let place = Place::new();
    std::fs::create_dir(place.at("small")).unwrap();
    picture(&place.at("small/a.png"), 15, 48);
    std::fs::create_dir(place.at("broken")).unwrap();
    let mut bytes = std::fs::read(place.at("data/a.png")).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(place.at("broken/a.png"), bytes).unwrap();
    std::fs::create_dir(place.at("empty")).unwrap();
    for (more, problem) in [
        (["--val", "typo"], "--val typo: there is no such folder; give a folder of pictures"),
        (["--val", "data/a.png"], "--val data/a.png: is not a folder"),
        (["--val", "empty"], "empty: holds no picture"),
        (["--val", "small"], "small/a.png: has 15 × 48 pixels, a comparison at scale 2 needs 16 × 16 or more"),
        (["--val", "broken"], "broken/a.png: "),
        (["--data", "typo"], "--data typo: there is no such folder"),
        (["--init", "typo"], "typo: there is no such file"),
    ] {
        let error = fails(&mut place.train("run", &more));
        assert!(error.contains(problem), "{error}");
        assert!(!place.at("run").exists(), "{more:?} left a folder");
    }
    let error = fails(&mut place.command(&["train", "upscale", "--config", "typo", "--out", "run"]));
    assert!(error.contains("typo: there is no such file") && !place.at("run").exists(), "{error}");
    // An output folder that cannot be written.
    let error = fails(&mut place.train("/proc/run", &[]));
    assert!(error.contains("/proc/run"), "{error}");
    // The same options with the right folder go through.
    succeeds(&mut place.train("run", &["--val", "data", "--steps", "2"]));
    assert!(place.at("run/best.safetensors").is_file() && place.at("run/weights.safetensors").is_file());
    // What does not fit is refused before the choices of the run that it would continue are changed.
    let before = std::fs::read(place.at("run/config.toml")).unwrap();
    let error = fails(&mut place.train("run", &["--resume", "--seed", "7"]));
    assert!(error.contains("was made with seed 1, this run asks for 7"), "{error}");
    assert_eq!(std::fs::read(place.at("run/config.toml")).unwrap(), before);
}

#[test]
fn what_the_cascade_needs_is_checked_before_its_first_part() {
    let place = Place::new();
    face_folder(&place.at("faces"), 5);
    std::fs::write(place.at("faces.toml"), "data = 'faces'\n").unwrap();
    let train = |more: &[&str]| {
        let base = ["train", "hallucinate", "--config", "faces.toml", "--out", "run"];
        fails(&mut place.command(&[&base[..], more].concat()))
    };
    for (more, problem) in [
        (&["--init", "typo"][..], "typo: there is no such file"),
        (&["--data", "data"], "data.csv: there is no such file"),
        (&["--more", "typo", "--more-square", "0,0,64"], "typo: "),
        // The last level's batches, which would have taken too much only hours later.
        (&["--batch", "2,2,100000"], "--batch 100000 of faces of 128 pixels takes more than 1024 MiB; give fewer"),
        (
            &["--batch", "2,2,200", "--patch", "16,16,128"],
            "bytes for tensors, the device allows 536870912; use a smaller",
        ),
        (&["--jitter", "18446744073709551615"], "--jitter must be at most 1000 copies"),
        (&["--pretrain", "18446744073709551615"], "--pretrain and --joint must be at most 1000000000"),
        (&["--seed", "18446744073709551615"], "--seed must be below 2^63"),
    ] {
        let error = train(more);
        assert!(error.contains(problem), "{error}");
        assert!(!place.at("run").exists(), "{more:?} left a folder");
    }
}

#[test]
fn a_folder_with_foreign_files_is_refused_and_an_older_run_goes_on() {
    let place = Place::new();
    std::fs::create_dir(place.at("mine")).unwrap();
    let names = ["config.toml", "weights.safetensors", "curves.png"];
    for name in names {
        std::fs::write(place.at("mine").join(name), "mine").unwrap();
    }
    face_folder(&place.at("faces"), 5);
    let hallucinate = |out: &str| place.command(&["train", "hallucinate", "--data", "faces", "--out", out]);
    let error = fails(&mut hallucinate("mine"));
    assert!(
        error.contains("mine: holds files, but no lineament-run.json marks it as a run's folder; name a"),
        "{error}"
    );
    let error = fails(&mut place.train("mine", &["--steps", "1"]));
    assert!(
        error.contains("mine: holds files, but no lineament-run.json marks it as a run's folder; name a"),
        "{error}"
    );
    let error = fails(&mut place.train("mine", &["--steps", "1", "--resume"]));
    assert!(error.contains("mine: holds no run of `lineament train upscale`"), "{error}");
    assert_eq!(std::fs::read_dir(place.at("mine")).unwrap().count(), names.len(), "something was written");
    assert!(names.iter().all(|name| std::fs::read(place.at("mine").join(name)).unwrap() == b"mine"));

    // A run made by a version that wrote no marker.
    succeeds(&mut place.train("run", &["--steps", "3"]));
    let marker = place.at("run/lineament-run.json");
    let said: Value = serde_json::from_slice(&std::fs::read(&marker).unwrap()).unwrap();
    assert_eq!((&said["tool"], &said["run"]), (&"lineament".into(), &"upscale".into()));
    let weights = Weights::open(place.at("run/weights.safetensors")).unwrap();
    assert_eq!(said["id"], weights.manifest()["run"]);
    std::fs::remove_file(&marker).unwrap();
    let error = fails(&mut place.train("run", &["--steps", "4"]));
    assert!(error.contains("or continue the run of an older version with --resume"), "{error}");
    succeeds(&mut place.train("run", &["--steps", "4", "--resume"]));
    assert!(marker.is_file());
    let log = std::fs::read_to_string(place.at("run/log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 4, "{log}");
    // Another kind of run.
    assert!(fails(&mut hallucinate("run")).contains("run: holds a run of `lineament train upscale`, expected one of"));
}

#[test]
fn a_second_training_in_a_folder_is_refused() {
    let place = Place::new();
    let mut first = place.train("run", &["--steps", "1000000", "--checkpoint-every", "1000000"]);
    let mut first = first.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let log = place.at("run/log.jsonl");
    wait_for(&mut first, || std::fs::metadata(&log).is_ok_and(|m| m.len() > 0));
    for more in [&[][..], &["--resume"]] {
        let error = fails(&mut place.train("run", more));
        assert!(
            error.contains("run: another process is training in it; wait for it to end, or name another --out"),
            "{error}"
        );
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock ends with its process.
    succeeds(&mut place.train("run", &["--resume", "--steps", "2"]));
}

#[test]
fn sizes_are_bounded_before_memory_is_asked_for() {
    let place = Place::new();
    let huge = "18446744073709551615";
    for (more, problem) in [
        (&["--threads", "100000"][..], "--threads must be 1 to 256, or 0 for one per core, got 100000"),
        (&["--threads", huge], "--threads must be 1 to 256"),
        (&["--batch", "1000000000"], "--batch 1000000000 of --patch 8 with 1 threads takes up to"),
        (&["--batch", huge], "takes more bytes than can be counted"),
        (&["--patch", huge], "takes more bytes than can be counted"),
        (&["--patch", "100000"], "give a smaller --batch or --patch"),
        // Its batches are small, but its activations are not.
        (&["--batch", "200000"], "bytes for tensors, the device allows 536870912; use a smaller"),
        (&["--steps", huge], "--steps must be at most 1000000000"),
        (&["--cache-mib", huge], "--cache-mib must be at most 1048576"),
        (&["--seed", huge], "--seed must be below 2^63"),
    ] {
        let command = place.train("run", more);
        #[cfg(unix)]
        let command = {
            // Limited to less address space than any of them would take.
            let mut limited = Command::new("sh");
            limited.args(["-c", "ulimit -v 3000000; exec \"$@\"", "sh"]).arg(command.get_program());
            limited.args(command.get_args()).current_dir(place.0.path()).env("LINEAMENT_TUNE", "off");
            limited
        };
        let mut command = command;
        let error = fails(&mut command);
        assert!(error.contains(problem), "{error}");
        assert!(!place.at("run").exists(), "{more:?}");
    }
    succeeds(&mut place.train("run", &["--threads", "256", "--steps", "2"]));
    // The system has no room for a thread's stack: an error, not an abort.
    let mut command = place.train("other", &["--threads", "2", "--steps", "3"]);
    let error = fails(command.env("RUST_MIN_STACK", (1u64 << 46).to_string()));
    assert!(
        error.contains("the system cannot start more threads: ") && error.contains("give fewer --threads"),
        "{error}"
    );
}

/// Early in each stage, a signal ends the training within two seconds, and it resumes to the same bits.
#[cfg(unix)]
#[test]
fn an_interrupt_of_the_cascade_takes_no_longer_than_two_seconds() {
    if common::device().is_none() {
        return;
    }
    use std::os::unix::process::ExitStatusExt;
    let place = Place::new();
    face_folder(&place.at("faces"), 5);
    let train = |out: &str| {
        let mut command = lineament();
        command.current_dir(place.0.path()).args(["train", "hallucinate", "--data", "faces", "--out", out, "--resume"]);
        command.args(["--pretrain", "1", "--joint", "2", "--batch", "2", "--patch", "16", "--checkpoint-every", "1"]);
        command
    };
    succeeds(&mut train("whole"));
    let mut stopped = 0;
    for (until, seconds) in [
        ("config.toml", 0.0),
        ("config.toml", 0.3),
        ("level1/fitted.safetensors", 0.0),
        ("level2/joint/log.jsonl", 0.0),
    ] {
        let mut child = train("part").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        wait_for(&mut child, || place.at("part").join(until).is_file());
        std::thread::sleep(Duration::from_secs_f64(seconds));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let asked = Instant::now();
        let output = child.wait_with_output().unwrap();
        let took = asked.elapsed();
        // It may have finished before, or may not listen for signals yet.
        let has_begun = output.status.signal() != Some(2);
        if has_begun && output.status.code() != Some(0) {
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(130), "{said}");
            // Two seconds, and two more for a busy machine.
            assert!(took < Duration::from_secs(4), "{until}: {took:?}");
            assert!(
                said.contains("stopping; Ctrl-C again stops at once") || said.contains("finishing a step"),
                "{said}"
            );
            stopped += 1;
        }
    }
    assert!(stopped >= 2, "it was never stopped");
    succeeds(&mut train("part"));
    let open = |run: &str| Weights::open(place.at(run).join("weights.safetensors")).unwrap();
    assert_eq!(open("part").tensors(), open("whole").tensors());
}

/// Starts neither git nor anything that a repository would make git start; the manifest's commit is that of lineament.
#[cfg(unix)]
#[test]
fn no_program_is_started() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    std::fs::create_dir(place.at("bin")).unwrap();
    let script = |name: &str| {
        let path = place.at(name);
        let started = place.at("started");
        std::fs::write(&path, format!("#!/bin/sh\necho {name} >>'{}'\n", started.display())).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    let monitor = script("monitor");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments).current_dir(place.0.path());
        git.output().ok().filter(|output| output.status.success())
    };
    if git(&["init"]).is_none() || git(&["commit", "--allow-empty", "-m", "theirs"]).is_none() {
        eprintln!("SKIPPED (no git)");
        return;
    }
    git(&["config", "core.fsmonitor", monitor.to_str().unwrap()]).unwrap();
    for name in ["git", "sh", "hg"] {
        script(&format!("bin/{name}"));
    }
    let path = format!("{}:{}", place.at("bin").display(), std::env::var("PATH").unwrap());
    succeeds(place.train("run", &["--steps", "1"]).env("PATH", path));
    assert!(!place.at("started").exists(), "{:?}", std::fs::read_to_string(place.at("started")));
    let said = String::from_utf8(succeeds(lineament().arg("--version")).stdout).unwrap();
    let commit = said.split("(commit ").nth(1).and_then(|rest| rest.split([',', ')', '-']).next()).unwrap_or_default();
    let weights = Weights::open(place.at("run/weights.safetensors")).unwrap();
    let kept = &weights.manifest()["commit"];
    let is_ours = if commit.is_empty() { kept.starts_with("lineament ") } else { kept.starts_with(commit) };
    assert!(is_ours, "{kept} {said}");
    let theirs = git(&["rev-parse", "HEAD"]).unwrap().stdout;
    assert!(!kept.contains(String::from_utf8(theirs).unwrap().trim()), "{kept}");
}

#[test]
fn wrong_choices_are_one_line_with_their_place() {
    let place = Place::new();
    std::fs::write(place.at("a.toml"), "scale = 2\n\nbatch = \"many\"\n").unwrap();
    let error = fails(&mut place.command(&["train", "upscale", "--config", "a.toml", "--out", "run"]));
    let expected = "error: a.toml:3:9: invalid type: string \"many\", expected usize; correct that line, or remove it";
    assert!(error.starts_with(expected), "{error}");
    std::fs::write(place.at("b.toml"), "preset = 'small'\njoint = [1, 2\nlr = 1.0\n").unwrap();
    let error = fails(&mut place.command(&["train", "hallucinate", "--config", "b.toml", "--out", "run"]));
    assert!(error.starts_with("error: b.toml:") && error.contains("; correct that line"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_are_said_without_loss_or_refused() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let odd = std::ffi::OsStr::from_bytes(b"r\xffn");
    let mut command = place.command(&["train", "upscale", "--config", "small.toml", "--steps", "1", "--json"]);
    let output = succeeds(command.arg("--out").arg(odd));
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&report["out"], &report["log"]), (&"r\0ffn".into(), &"r\0ffn/log.jsonl".into()));
    // Waiting is not reported in a run this short.
    assert!(!stderr(&succeeds(&mut place.train("short", &["--steps", "1"]))).contains("waited"));
    std::fs::rename(place.at("data"), place.at("").join(odd).join("data")).unwrap();
    let error = fails(place.train("run", &[]).arg("--data").arg(Path::new(odd).join("data")));
    assert!(error.contains("r\u{fffd}n/data: is not UTF-8, which config.toml cannot hold; rename it"), "{error}");
}

/// The networks of a band are trained one after the other: windows proposed, mistakes shown again, windows judged.
#[test]
fn a_band_is_trained_and_learns_from_its_mistakes() {
    if common::device().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("data/negatives")).unwrap();
    face_folder(&at("data/helen68_trainset_128"), 24);
    (0..24).for_each(|k| picture(&at(&format!("data/negatives/{k}.png")), 50, 40 + k));
    let command = |arguments: &[&str]| {
        let mut command = lineament();
        command.current_dir(folder.path()).args(["train", "detect"]).args(arguments);
        command
    };
    let json = |arguments: &[&str]| -> Value {
        let output = succeeds(&mut command(&[arguments, &["--json"]].concat()));
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap()
    };
    let small = ["--data", "data", "--band", "1", "--steps", "3", "--batch", "4", "--windows", "300"];
    let first = json(&[&["--out", "a"][..], &small].concat());
    let measured = first["measured"].as_str().unwrap();
    assert!(measured.contains("2048 held-out patches") && measured.contains("pasted"), "{measured}");
    let weights = Weights::open(at("a/weights.safetensors")).unwrap();
    assert_eq!((&weights.manifest()["model"][..], &weights.manifest()["mistakes"][..]), ("band1 proposals", "0"));
    assert!(weights.manifest()["data"].ends_with("24 faces, 24 pictures without"), "{:?}", weights.manifest());
    assert_eq!(json(&["--out", "a", "--resume"])["measured"], first["measured"], "a finished run is measured again");

    // What has hardly been trained takes every window for a face.
    let teacher = ["--init", "a/weights.safetensors", "--mistakes-of", "a/weights.safetensors"];
    json(&[&["--out", "b"][..], &small, &teacher].concat());
    let again = Weights::open(at("b/weights.safetensors")).unwrap();
    assert_eq!(again.manifest()["mistakes"], "300");
    json(&[&["--out", "c", "--stage", "judge"][..], &small, &teacher].concat());
    let judge = Weights::open(at("c/weights.safetensors")).unwrap();
    assert_eq!(judge.manifest()["model"], "band1 judgements");
    assert!(judge.get("verdict.w").is_some() && judge.get("box.w").is_some(), "{:?}", judge.tensors().keys());

    let error = |arguments: &[&str]| fails(&mut command(arguments));
    assert!(
        error(&[&["--out", "b", "--resume"][..], &["--mistakes-of", "b/weights.safetensors"]].concat())
            .contains("mistakes_of")
    );
    assert!(error(&["--out", "d", "--band", "1"]).contains("needs --data"));
    assert!(error(&["--out", "d"]).contains("needs --data"), "nor does the whole cascade go without");
    assert!(
        error(&["--out", "d", "--data", "data", "--band", "5", "--steps", "3"])
            .contains("--band must be 1 to 4, got 5")
    );
    assert!(error(&[&["--out", "d", "--init", "none.safetensors"][..], &small].concat()).contains("none.safetensors"));
    std::fs::remove_dir_all(at("data/negatives")).unwrap();
    assert!(error(&[&["--out", "d"][..], &small].concat()).contains("24 faces and 0 pictures without"));
}
