//! Progress bars on stderr; silent where stderr is no terminal, and under --quiet.

use super::out;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` units with rate and time left; `{msg}` stands at its end.
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
