//! The choices of a run: `config.toml`, and what must agree between a run and its continuation.

use crate::error::{Error, Result};
use crate::files;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Largest file of choices, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads choices as written by [`save`].
///
/// # Errors
/// The file is missing or is not such TOML; the error names line and column.
pub(crate) fn open<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let fail = |problem: String| Error::import(path.display().to_string(), problem);
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => fail("there is no such file; check the path".into()),
        std::io::ErrorKind::InvalidData => fail("is not UTF-8 text; give a file such as a run's config.toml".into()),
        _ => Error::io(path, e),
    };
    let mut text = String::new();
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(fail("is larger than 1 MiB; give a file such as a run's config.toml".into()));
    }
    toml::from_str(&text).map_err(|e| {
        let before = &text[..e.span().map_or(0, |span| span.start).min(text.len())];
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let line = before.matches('\n').count() + 1;
        let message = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
        let remedy = "correct that line, or remove it to take the default";
        Error::import(format!("{}:{line}:{column}", path.display()), format!("{message}; {remedy}"))
    })
}

/// Writes choices as TOML.
///
/// # Errors
/// The file cannot be written; TOML cannot hold a number or a path.
pub(crate) fn save(choices: &impl Serialize, path: &Path) -> Result<()> {
    let text = toml::to_string(choices).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
    files::write_whole(path, files::Existing::Replace, |out| {
        out.write_all(text.as_bytes()).map_err(|e| Error::io(path, e))
    })
}

/// Refuses what was made with choices other than `wanted`, and names the first that differs. A choice that `saved` lacks did not
/// exist yet when it was made.
pub(crate) fn same(saved: &Value, wanted: &Map<String, Value>) -> std::result::Result<(), String> {
    let other = wanted.iter().find_map(|(key, value)| Some((key, saved.get(key).filter(|was| *was != value)?, value)));
    match other {
        Some((key, ..)) if key == "data" => {
            let remedy = "restore it or start anew";
            Err(format!("was made with other data: a file was added, changed or removed since; {remedy}"))
        }
        Some((key, was, value)) => {
            Err(format!("was made with {key} {was}, this run asks for {value}; give the same options or start anew"))
        }
        None => Ok(()),
    }
}

/// Refuses values that `config.toml` cannot hold, naming the option.
///
/// # Errors
/// A path is not UTF-8; the seed is 2⁶³ or more.
pub(crate) fn check(paths: &[(&str, &Path)], seed: u64) -> Result<()> {
    if let Some((option, path)) = paths.iter().find(|(_, path)| path.to_str().is_none()) {
        let problem = "is not UTF-8, which config.toml cannot hold; rename it, or give a link to it";
        return Err(Error::Usage(format!("{option} {}: {problem}", path.display())));
    }
    if i64::try_from(seed).is_err() {
        return Err(Error::Usage(format!("--seed must be below 2^63, got {seed}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(dead_code, reason = "only reading them is tested")]
    struct Example {
        model: String,
        scale: usize,
        steps: u64,
        batch: usize,
        seed: u64,
        loss: Loss,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Loss {
        #[default]
        Mse,
    }

    #[test]
    fn a_wrong_choice_is_named_on_one_line_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let error = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            open::<Example>(&path).unwrap_err().to_string()
        };
        for (text, place, problem) in [
            (&b"batch = 2\n  batches = 3\n"[..], "a.toml:2:3: ", "unknown field `batches`, expected one of `model`"),
            (b"scale = 3\nsteps = \"many\"\n", "a.toml:2:9: ", "invalid type: string \"many\", expected u64"),
            ("loss = 'größe'\n".as_bytes(), "a.toml:1:8: ", "unknown variant `größe`, expected `mse`"),
            (b"batch = \n", "a.toml:1:", "string values must be quoted"),
            (b"\xff\xfe", "a.toml: ", "is not UTF-8 text"),
        ] {
            let error = error(text);
            assert!(error.contains(place) && error.contains(problem) && !error.contains('\n'), "{error}");
        }
        assert!(error(b"seed = -1\n").ends_with("; correct that line, or remove it to take the default"));
        std::fs::remove_file(&path).unwrap();
        let error = open::<Example>(&path).unwrap_err().to_string();
        assert!(error.ends_with("a.toml: there is no such file; check the path"), "{error}");
    }
}
