//! The corpora of the fuzz targets (fuzz/README.md) are read again, by the targets' own functions: nothing panics, and nothing takes long.

#[path = "../fuzz/readers.rs"]
mod readers;

use std::path::Path;
use std::time::{Duration, Instant};

/// Longest that a file may take, in a build for tests on a busy machine. Most take a millisecond.
const LONGEST: Duration = Duration::from_secs(10);

/// Reads all files of a corpus; there are at least `least`.
fn replay(target: &str, least: usize, read: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= least, "{} has {} files", folder.display(), files.len());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let begin = Instant::now();
        // A panic's message is followed by the name of the test; the file is what one needs.
        if let Err(panic) = std::panic::catch_unwind(|| read(&bytes)) {
            eprintln!("{} is a find", file.display());
            std::panic::resume_unwind(panic);
        }
        assert!(begin.elapsed() < LONGEST, "{} took {:?}", file.display(), begin.elapsed());
    }
}

#[test]
fn onnx() {
    replay("onnx", 300, readers::onnx);
}

#[test]
fn ncnn() {
    replay("ncnn", 300, readers::ncnn);
}

#[test]
fn npy() {
    replay("npy", 50, readers::npy);
}

#[test]
fn safetensors() {
    replay("safetensors", 30, readers::safetensors);
}
