//! The binary, and folders to run it in.
#![allow(dead_code)]

use lineament::image::{Channels, Picture, Samples};
use lineament::rng::Rng;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Returns the binary, isolated from what the developer's machine remembers and from the terminal.
pub fn lineament() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lineament"));
    command.env("LINEAMENT_TUNE", "off");
    for name in ["LINEAMENT_DEVICE", "COLUMNS", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn run(arguments: &[&str]) -> Output {
    lineament().args(arguments).output().unwrap()
}

/// Returns the standard output of a command that must succeed.
pub fn ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the last line of a successful command, as JSON.
pub fn json(arguments: &[&str]) -> Value {
    let stdout = ok(arguments);
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {stdout}"))
}

/// Writes a seeded RGB picture.
pub fn noise(path: &Path, width: usize, height: usize) {
    let mut rng = Rng::new(1);
    let samples = (0..width * height * 3).map(|_| rng.below(256) as u8).collect();
    Picture::from_samples("noise", width, height, Channels::Rgb, Samples::U8(samples)).unwrap().save(path).unwrap();
}

/// A temporary folder.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}
