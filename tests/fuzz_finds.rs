//! What `tools/fuzz` found stays fixed: every file in tests/finds, and some that are too large to keep, is either refused in
//! one readable line or read, with little memory and time.
#![cfg(target_os = "linux")]

use lineament::image::{Channels, Picture, Samples};
use lineament::rng::Rng;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Address space for a run in KiB: what a good input takes, plus 1 GiB.
const ADDRESS_SPACE: u64 = 1_500_000;
/// Time limit of a run in seconds.
const LIMIT: u64 = 20;

/// Returns a folder with everything that a command needs besides the file in question.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(1);
    let samples = Samples::U8((0..24 * 24 * 3).map(|_| rng.below(256) as u8).collect());
    Picture::from_samples("a", 24, 24, Channels::Rgb, samples).unwrap().save(folder.path().join("a.png")).unwrap();
    folder
}

/// Returns the command that reads `file`, by its extension.
fn command(file: &str) -> String {
    match file.rsplit('.').next().unwrap() {
        "onnx" => format!("bench '{file}' --runs 1"),
        "safetensors" => format!("upscale a.png out.png --scale 3 --weights '{file}'"),
        "toml" => format!("train upscale --config '{file}' --steps 1 --out run"),
        "csv" => format!("hallucinate a.png out.png --points '{file}'"),
        _ => format!("upscale '{file}' out.png --scale 3"),
    }
}

/// Returns why a run of the binary on `file` is neither a clean refusal nor a success, if so.
fn problem(file: &Path) -> Option<String> {
    judge(file, &format!("exec timeout {LIMIT} '{}'", env!("CARGO_BIN_EXE_lineament")))
}

/// Like [`problem`], but with another program: a shell script before the arguments.
fn judge(file: &Path, program: &str) -> Option<String> {
    let folder = folder();
    let arguments = command(file.to_str().unwrap());
    let script = format!("ulimit -v {ADDRESS_SPACE}; {program} {arguments} --device cpu --json");
    let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let shown: String = stderr.chars().take(300).collect();
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    let last = stdout.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let wrong = match output.status.code() {
        Some(code @ (0 | 1)) if errors != usize::from(code == 1) => format!("{errors} error lines"),
        Some(0 | 1) if stderr.lines().any(|line| line.chars().count() > 4000) => "a line that fills the screen".into(),
        Some(0 | 1) if !last.as_ref().is_some_and(|object| object.is_object()) => "no JSON object".into(),
        Some(1) if folder.path().join("out.png").exists() => "an output in spite of an error".into(),
        Some(0 | 1) => return None,
        other => format!("exit code {other:?} (124: it took too long)"),
    };
    Some(format!("{}: {wrong}: {shown}", file.display()))
}

#[test]
fn every_find_is_refused_or_read() {
    let finds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/finds");
    let list = fs::read_to_string(finds.join("README.md")).unwrap();
    let files = fs::read_dir(&finds).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| !path.ends_with("README.md")).collect();
    assert!(files.len() >= 2, "{files:?}");
    let mut wrong: Vec<String> = files.iter().filter_map(|file| problem(file)).collect();
    wrong.extend(
        files
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap())
            .filter(|name| !list.contains(&format!("| `{name}` |")))
            .map(|name| format!("{name} is not in the list")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// 45 million dimensions in a header of 90 MB took 4 GB and 11 seconds to refuse.
#[test]
fn a_long_header_of_weights_takes_little() {
    let folder = folder();
    let ones = "1,".repeat(45_000_000);
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{ones}1],"data_offsets":[0,8]}}}}"#);
    let file = folder.path().join("long.safetensors");
    fs::write(&file, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()).unwrap();
    assert_eq!(problem(&file), None);
}

#[test]
fn a_run_that_misbehaves_is_noticed() {
    let says = |program: &str| judge(Path::new("a.png"), program);
    assert_eq!(says("echo {}; true"), None);
    assert_eq!(says("echo {}; echo error: a >&2; exit 1; true"), None);
    for (program, expected) in [
        ("kill -ABRT $$; true", "exit code None"),
        ("exit 101; true", "exit code Some(101)"),
        ("exec timeout 1 sleep 60; true", "it took too long"),
        ("echo x; true", "no JSON object"),
        ("echo {}; exit 1; true", "0 error lines"),
        ("echo {}; echo error: a >&2; true", "1 error lines"),
        ("printf 'error: %05000d\\n' 7 >&2; echo {}; exit 1; true", "fills the screen"),
        ("echo {}; echo error: a >&2; touch out.png; exit 1; true", "in spite of an error"),
    ] {
        assert!(says(program).is_some_and(|problem| problem.contains(expected)), "{program}");
    }
}
