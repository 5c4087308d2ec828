//! Embeds the commit and the version of wgpu in the binary, for manifests and `--version`.
//!
//! `LINEAMENT_COMMIT` is the hash of the checkout, with "-modified" if tracked files differ from it, or empty if there is no
//! checkout, as in a published package. Set it to override it. `LINEAMENT_WGPU` is wgpu's version from Cargo.lock.

use std::path::Path;
use std::process::Command;

/// Returns git's output, or `None` if it fails. The checkout's own settings cannot start a program.
fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]).args(arguments);
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn commit() -> Option<String> {
    // A checkout that merely contains this folder, for example a vendored copy, has unrelated commits.
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
    // The paths of HEAD and its log, in a worktree too; a commit changes one of them.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = std::env::var("LINEAMENT_COMMIT").ok().or_else(commit).unwrap_or_default();
    println!("cargo:rustc-env=LINEAMENT_COMMIT={commit}");
    println!("cargo:rustc-env=LINEAMENT_WGPU={}", wgpu_version().unwrap_or_default());
}
