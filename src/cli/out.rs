//! Output of all commands: results go to stdout, everything else to stderr, and this file alone decides what is shown.
//!
//! A closed pipe or a full disk behind stdout or stderr never ends the work: text that cannot be written is dropped. A closed
//! pipe means that nobody is reading and is not an error; any other failure of stdout is reported at the end with exit code 1.

use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Output settings of this process.
#[derive(Debug, Default)]
struct Manner {
    /// Only errors and JSON are printed.
    is_quiet: bool,
    /// An error is also a JSON object on stdout.
    is_json: bool,
    /// Stdout carries a file, so lines for people go to stderr.
    stdout_is_data: bool,
    /// Why stdout could not be written; a closed pipe is not a failure.
    failure: Option<String>,
}

static MANNER: Mutex<Manner> =
    Mutex::new(Manner { is_quiet: false, is_json: false, stdout_is_data: false, failure: None });

fn manner() -> MutexGuard<'static, Manner> {
    MANNER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets how this process prints; `verbosity` is the number of `-v` flags.
pub fn set(is_quiet: bool, is_json: bool, verbosity: u8) {
    let mut manner = manner();
    (manner.is_quiet, manner.is_json) = (is_quiet, is_json);
    let level = match (is_quiet, verbosity) {
        (true, _) => log::LevelFilter::Off,
        (_, 0) => log::LevelFilter::Warn,
        (_, 1) => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    log::set_max_level(level);
    // Fails if a logger is already set, which then stays.
    let _ = log::set_logger(&Logger);
}

/// Reserves stdout for a file; from now on, lines for people go to stderr.
pub fn stdout_is_data() {
    manner().stdout_is_data = true;
}

/// Returns whether only errors and JSON are to be printed.
pub fn is_quiet() -> bool {
    manner().is_quiet
}

/// Prints a result for people on stdout.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::out::print(format_args!($($text)*)) };
}
/// Prints a remark on stderr.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::out::remark(format_args!($($text)*)) };
}
/// Prints a problem that did not stop the work on stderr.
macro_rules! warning {
    ($($text:tt)*) => { $crate::cli::out::remark(format_args!("warning: {}", format_args!($($text)*))) };
}
pub(crate) use {note, say, warning};

/// See [`say!`].
pub fn print(text: Arguments) {
    let (is_quiet, is_data) = {
        let manner = manner();
        (manner.is_quiet, manner.stdout_is_data)
    };
    match (is_quiet, is_data) {
        (true, _) => {}
        (false, true) => to_stderr(text),
        (false, false) => to_stdout(text),
    }
}

/// See [`note!`].
pub fn remark(text: Arguments) {
    if !is_quiet() {
        to_stderr(text);
    }
}

/// Prints an error of one of many inputs; the work continues.
pub fn error(error: &Error) {
    to_stderr(format_args!("error: {}", one_line(&error.to_string())));
}

/// Prints the one JSON object of `--json` as the last line of stdout.
pub fn json(object: &Value) {
    to_stdout(format_args!("{object}"));
}

/// Writes a file to stdout. If the reader closes the pipe, the rest is dropped.
pub fn data(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", e)),
        _ => Ok(()),
    }
}

/// Formats a duration: `35 ms`, `1.2 s`, `2 min 5 s`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", 1e3 * s),
        s if s < 99.95 => format!("{s:.1} s"),
        s => format!("{:.0} min {:.0} s", (s.round() / 60.0).floor(), s.round() % 60.0),
    }
}

/// Prints a text that is itself the requested result on stdout, even under --quiet.
pub fn product(text: &str) {
    to_stdout(format_args!("{}", text.trim_end()));
}

/// Returns the maximum number of characters in a table line, which [`crate::plan::Plan`] and others take as their precision. This
/// is the width of the terminal behind stdout. If stdout is not a terminal, it is the value of the environment variable COLUMNS,
/// or else unlimited, so that a pipe gets everything.
pub fn width() -> usize {
    /// The largest precision of a format string.
    const ANY: usize = u16::MAX as usize;
    let terminal = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(columns).filter(|&width| width > 0).map_or(ANY, |width: usize| width.min(ANY))
}

fn to_stderr(text: Arguments) {
    // If even this fails, there is nobody left to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn to_stdout(text: Arguments) {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    if let Err(e) = written
        && e.kind() != ErrorKind::BrokenPipe
    {
        manner().failure.get_or_insert_with(|| e.to_string());
    }
}

/// Reports the end of a command and returns the exit code: 130 after Ctrl-C, 1 for an error or if stdout could not be
/// written, otherwise the command's own.
pub fn end(result: Result<u8>) -> u8 {
    let code = match result {
        Ok(code) => code,
        Err(e) => report(&e),
    };
    let failure = manner().failure.take();
    match failure {
        Some(problem) => {
            to_stderr(format_args!("error: standard output: {problem}; what was written there is incomplete"));
            code.max(1)
        }
        None => code,
    }
}

fn report(e: &Error) -> u8 {
    let code = if matches!(e, Error::Interrupted) { 130 } else { 1 };
    let message = one_line(&e.to_string());
    match e {
        Error::Interrupted => to_stderr(format_args!("{message}")),
        _ => to_stderr(format_args!("error: {message}")),
    }
    fail_in_json(&message, code);
    code
}

/// Reports wrong arguments in one line and returns exit code 2. A requested help or version is not an error.
pub fn wrong_usage(e: &clap::Error, is_json: bool) -> u8 {
    use clap::error::ErrorKind as Kind;
    if !e.use_stderr() || e.kind() == Kind::DisplayHelpOnMissingArgumentOrSubcommand {
        let failed = e.print().err().filter(|e| e.kind() != ErrorKind::BrokenPipe);
        return if failed.is_some() { 1 } else { e.exit_code().clamp(0, 2) as u8 };
    }
    manner().is_json = is_json;
    let text = e.render().to_string();
    // The usage and the pointer to --help follow the problem and the tips.
    let parts = text.split("\n\n").take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let message = one_line(&parts.map(str::trim).collect::<Vec<_>>().join("; "));
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    to_stderr(format_args!("error: {message}; --help shows the usage"));
    fail_in_json(&message, 2);
    2
}

fn fail_in_json(message: &str, code: u8) {
    if manner().is_json {
        json(&json!({ "error": message, "exit_code": code }));
    }
}

/// Maximum number of characters in a message; text from a file must not fill the screen.
const MAX_MESSAGE: usize = 2000;

/// Returns `text` as one line: lines are joined and control characters escaped, so that a file's name cannot control the
/// terminal. A text that is too long loses its middle, because a message ends with the remedy.
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = escaped(&lines.join(" "));
    let length = line.chars().count();
    if length <= MAX_MESSAGE {
        return line;
    }
    let part = |skip: usize, take: usize| line.chars().skip(skip).take(take).collect::<String>();
    let end = MAX_MESSAGE / 4;
    format!("{} […] {}", part(0, MAX_MESSAGE - end), part(length - end, end))
}

fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Formats a count: `1 run`, `2 runs`. `thing` is in the singular.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Formats a path for people: bytes that are not UTF-8 become U+FFFD, and control characters are escaped.
pub fn shown(path: impl AsRef<Path>) -> String {
    escaped(&path.as_ref().to_string_lossy())
}

/// Formats a path for programs, without loss. A UTF-8 name is unchanged. In any other name, each byte that is not UTF-8 becomes
/// U+0000, which no name can contain, and two hexadecimal digits; on Windows, each unpaired surrogate becomes U+0000 and four.
pub fn path(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    if let Some(text) = path.to_str() {
        return text.into();
    }
    #[cfg(unix)]
    let text = {
        use std::os::unix::ffi::OsStrExt;
        let mut text = String::new();
        for chunk in path.as_os_str().as_bytes().utf8_chunks() {
            text += chunk.valid();
            chunk.invalid().iter().for_each(|byte| text += &format!("\0{byte:02x}"));
        }
        text
    };
    #[cfg(windows)]
    let text: String = {
        use std::os::windows::ffi::OsStrExt;
        let units = char::decode_utf16(path.as_os_str().encode_wide());
        units.map(|unit| unit.map_or_else(|e| format!("\0{:04x}", e.unpaired_surrogate()), String::from)).collect()
    };
    #[cfg(not(any(unix, windows)))]
    let text = path.to_string_lossy().into_owned();
    text.into()
}

/// Writes records of this crate, and with -vv warnings of any other, to stderr.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        let is_ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        metadata.level() <= log::max_level()
            && (is_ours || log::max_level() >= log::Level::Debug && metadata.level() <= log::Level::Warn)
    }
    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            to_stderr(format_args!("{level}: {}", one_line(&record.args().to_string())));
        }
    }
    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_that_cannot_drive_a_terminal() {
        assert_eq!(one_line("a.toml: wrong\n  |\n3 | x\n"), "a.toml: wrong | 3 | x");
        assert_eq!(one_line("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        let long = one_line(&format!("begin{}end", "\u{1b}".repeat(1_000_000)));
        assert!(
            long.starts_with("begin") && long.ends_with("end") && long.contains(" […] ") && long.len() < 2100,
            "{long}"
        );
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown("größe → 人"), "größe → 人");
    }

    #[test]
    fn counts_and_times_are_english() {
        assert_eq!([0, 1, 2].map(|n| count(n, "tile")), ["0 tiles", "1 tile", "2 tiles"]);
        let times = [0.0004, 0.035, 0.9999, 1.25, 99.96, 119.7, 3725.0].map(duration);
        assert_eq!(times, ["0 ms", "35 ms", "1.0 s", "1.2 s", "1 min 40 s", "2 min 0 s", "62 min 5 s"]);
    }

    #[cfg(unix)]
    #[test]
    fn paths_in_json_lose_nothing() {
        use std::os::unix::ffi::OsStrExt;
        let of = |bytes: &[u8]| path(std::ffi::OsStr::from_bytes(bytes));
        assert_eq!(of("a/ü\\xff.png".as_bytes()), "a/ü\\xff.png");
        assert_eq!(of(b"a\xff\xfeb\xc3"), "a\0ff\0feb\0c3");
        assert_eq!(shown(std::ffi::OsStr::from_bytes(b"a\xffb")), "a\u{fffd}b");
    }
}
