//! Builds in which lineament and which wgpu this is: the commit, for manifests and `--version`.
//!
//! `LINEAMENT_COMMIT` is the hash of the checkout, with "-modified" where tracked files differ from it; empty where there is
//! no checkout, as in a published package. Set it to override. `LINEAMENT_WGPU` is wgpu's version from Cargo.lock.

use std::path::Path;
use std::process::Command;

/// What git prints; nothing where it fails. The checkout's own settings start no program.
fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]).args(arguments);
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn commit() -> Option<String> {
    // A checkout that merely contains this folder, such as one that vendors it, has other commits.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    let hash = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { hash } else { format!("{hash}-modified") })
}

fn wgpu_version() -> Option<String> {
    let lock = std::fs::read_to_string("Cargo.lock").ok()?;
    let entry = lock.split("[[package]]").find(|entry| entry.lines().any(|line| line == "name = \"wgpu\""))?;
    Some(entry.lines().find_map(|line| line.strip_prefix("version = "))?.trim_matches('"').to_owned())
}

fn main() {
    println!("cargo:rerun-if-env-changed=LINEAMENT_COMMIT");
    for path in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "shaders", "weights"] {
        println!("cargo:rerun-if-changed={path}");
    }
    // Where HEAD and its branch lie, also in a worktree; a commit changes one of them.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = std::env::var("LINEAMENT_COMMIT").ok().or_else(commit).unwrap_or_default();
    println!("cargo:rustc-env=LINEAMENT_COMMIT={commit}");
    println!("cargo:rustc-env=LINEAMENT_WGPU={}", wgpu_version().unwrap_or_default());
}
