//! Progress bars on stderr; silent if stderr is not a terminal, and under --quiet.

use super::out;
use indicatif::{ProgressBar, ProgressStyle};

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
