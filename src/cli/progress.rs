//! Progress bars on stderr; silent if stderr is not a terminal, and under --quiet.

use super::{interrupt, out};
use crate::error::Result;
use crate::vision::training::attributes::data::Faces;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;

/// Returns a bar of `length` units with the elapsed and remaining time; `{msg}` stands at its end.
pub fn bar(length: u64, unit: &str) -> ProgressBar {
    if out::is_quiet() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{elapsed}}, {{eta}} left {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// Shows a bar while `open` reads faces.
///
/// # Errors
/// Those of `open`; Ctrl-C was pressed.
pub fn faces(open: impl FnOnce(&mut dyn FnMut(usize, usize) -> bool) -> Result<Faces>) -> Result<Faces> {
    let bar = bar(0, "faces");
    let faces = open(&mut |read, all| {
        bar.set_length(all as u64);
        bar.set_position(read as u64);
        !interrupt::is_requested()
    });
    bar.finish_and_clear();
    faces
}

/// Reads the faces in `data` and, as further training faces, those of LFWA in `more`.
///
/// # Errors
/// Those of [`Faces::open`] and [`Faces::lfwa`]; `more` lacks an attribute; Ctrl-C was pressed.
pub fn faces_and_more(data: &Path, more: Option<&Path>) -> Result<Faces> {
    let own = faces(|tell| Faces::open(data, tell))?;
    match more {
        Some(folder) => own.with_more(&faces(|tell| Faces::lfwa(folder, tell))?),
        None => Ok(own),
    }
}
