//! Shared parts of the tests.
#![allow(dead_code)]

use lineament::{Device, Select};
use std::path::PathBuf;

/// Opens the default adapter. If there is none, the test is skipped with a message, or fails with LINEAMENT_REQUIRE_GPU=1.
pub fn device() -> Option<Device> {
    match Device::open(&Select::Default) {
        Ok(device) => Some(device),
        Err(e) if std::env::var("LINEAMENT_REQUIRE_GPU").is_ok_and(|v| v == "1") => {
            panic!("LINEAMENT_REQUIRE_GPU=1, but no adapter opens: {e}")
        }
        Err(e) => {
            eprintln!("SKIPPED (no adapter): {e}");
            None
        }
    }
}

/// Returns the path of a file or folder in ../shared. If it is missing, the test is skipped with a message.
pub fn shared(path: &str) -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if found.exists() {
        Some(found)
    } else {
        eprintln!("SKIPPED (no {})", found.display());
        None
    }
}
