//! What the tests share.
#![allow(dead_code)]

use lineament::{Device, Select};
use std::path::PathBuf;

/// The default adapter. Without one the test is skipped and says so; with LINEAMENT_REQUIRE_GPU=1 it fails.
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

/// A file or folder of ../shared, where there is one; else the test is skipped and says so.
pub fn shared(path: &str) -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if found.exists() {
        Some(found)
    } else {
        eprintln!("SKIPPED (no {})", found.display());
        None
    }
}
