//! `lineament profile --shader`: a WGSL file and its translations.

use super::out::{self, say};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::lab::roof;
use crate::ops::{Source, kernels};
use crate::shader::reflect;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

/// Language in [`crate::shader::Shader::translate`], title of its section, extension of its file.
const LANGUAGES: [(&str, &str, &str); 3] =
    [("spirv", "SPIR-V", "spv"), ("msl", "MSL", "metal"), ("hlsl", "HLSL", "hlsl")];

/// Returns every built-in shader once, in alphabetical order of stems.
fn sources() -> Vec<Source> {
    let roofs = roof::cases().concat();
    let mut all: Vec<Source> = roofs.iter().flat_map(|c| c.op.kernels()).chain(&kernels()).map(|k| k.source).collect();
    all.sort_unstable_by_key(|s| s.stem);
    all.dedup_by_key(|s| s.stem);
    all
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    Error::Usage(format!("there is no {what} {name:?}; there are {}", known.collect::<Vec<_>>().join(", ")))
}

/// The shader's source, or an entry's translation to one language.
struct Piece {
    title: String,
    /// Its file name in the folder.
    file: String,
    text: String,
    bytes: Vec<u8>,
}

/// Prints or writes the WGSL of `name`, a stem or `STEM.ENTRY`, and the translations of that entry or of all entries, with default
/// overrides. The name of an operation means its plain shader. SPIR-V is printed as words in hexadecimal and written as a binary
/// module.
///
/// # Errors
/// There is no such shader or entry; `out` cannot be written or contains a file that must not be replaced, and nothing is written.
pub fn run(name: &str, out: Option<&Path>, existing: Existing, as_json: bool) -> Result<u8> {
    let (stem, wanted) = name.split_once('.').map_or((name, None), |(stem, entry)| (stem, Some(entry)));
    let all = sources();
    let plain = format!("{stem}/plain");
    let source = all.iter().find(|s| s.stem == stem || s.stem == plain);
    let source = source.ok_or_else(|| unknown("shader", stem, all.iter().map(|s| s.stem)))?;
    let stem = source.stem;
    let file_stem = stem.trim_end_matches("/plain").replace('/', "_");
    let shader = reflect(source)?;
    let names = || shader.entries.iter().map(|e| e.name.as_str());
    if let Some(entry) = wanted
        && shader.entry(entry).is_none()
    {
        return Err(unknown(&format!("entry of {stem}"), entry, names()));
    }
    let mut pieces = vec![Piece {
        title: format!("{stem}: WGSL"),
        file: format!("{file_stem}.wgsl"),
        text: source.text.to_owned(),
        bytes: source.text.as_bytes().to_vec(),
    }];
    let mut entries = Map::new();
    for entry in names().filter(|e| wanted.is_none_or(|w| w == *e)) {
        let translated = shader.translate(entry, &[])?;
        let mut texts = Map::new();
        for (language, section, extension) in LANGUAGES {
            let text = &translated[language];
            let is_words = language == "spirv";
            let (text, bytes) = if is_words { words(text) } else { (text.clone(), text.clone().into_bytes()) };
            texts.insert(language.into(), text.clone().into());
            let title = format!("{stem}.{entry}: {section}");
            pieces.push(Piece { title, file: format!("{file_stem}.{entry}.{extension}"), text, bytes });
        }
        entries.insert(entry.into(), Value::Object(texts));
    }
    let mut written = Vec::new();
    if let Some(folder) = out {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        for piece in &pieces {
            files::check_output(&folder.join(&piece.file), existing)?;
        }
        for piece in &pieces {
            let path = folder.join(&piece.file);
            files::write_whole(&path, existing, |file| file.write_all(&piece.bytes).map_err(|e| Error::io(&path, e)))?;
            say!("{}", out::shown(&path));
            written.push(out::path(&path));
        }
    } else {
        for piece in &pieces {
            say!("==== {}\n{}", piece.title, piece.text.trim_end());
        }
    }
    if as_json {
        out::json(&json!({ "shader": stem, "wgsl": source.text, "entries": entries, "files": written }));
    }
    Ok(0)
}

/// Reads hexadecimal words, one per line, and returns them as text with eight per line and as the bytes of the module.
fn words(lines: &str) -> (String, Vec<u8>) {
    let words: Vec<&str> = lines.lines().collect();
    let text = words.chunks(8).map(|line| line.join(" ") + "\n").collect();
    let bytes = words.iter().filter_map(|w| u32::from_str_radix(w, 16).ok()).flat_map(u32::to_le_bytes).collect();
    (text, bytes)
}
