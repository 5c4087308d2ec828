//! Choices on disk: one JSON file per adapter, written atomically and trusted only if everything in it fits.
//!
//! A file holds the [`Fingerprint`] of what was measured: adapter, backend, driver, environment, kernels. A file that is
//! broken, has another fingerprint or schema, or names a shader that does not exist is treated as missing, and the next [`add`]
//! replaces it.

use super::{Candidate, Choice, Choices, Outcome};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::files;
use crate::lab::roof;
use crate::ops::registry;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Version of the file's meaning.
const SCHEMA: u64 = 1;

/// Environment variables that change what the driver compiles or how many threads run it.
pub const ENVIRONMENT: [&str; 2] = ["LP_NUM_THREADS", "LP_NATIVE_VECTOR_WIDTH"];

/// Times are valid only if all of this is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    pub adapter: String,
    pub backend: String,
    pub driver: String,
    /// Values of [`ENVIRONMENT`], as `NAME=value`; unset variables are left out.
    pub environment: Vec<String>,
    /// Checksum of this library's version and all built-in shaders, in hexadecimal.
    pub kernels: String,
}

impl Fingerprint {
    /// Returns the fingerprint of `device`, given those of [`ENVIRONMENT`] that are set, or `None` for the references, which have
    /// no shaders.
    pub fn new(device: &Device, environment: &[(&str, String)]) -> Option<Self> {
        let info = device.info()?;
        Some(Self {
            adapter: info.name.clone(),
            backend: info.backend.clone(),
            driver: info.driver.clone(),
            environment: environment.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            kernels: kernels(),
        })
    }

    /// Returns the adapter's file in the user's cache folder `cache`. It is the same for other kernels, so that old times get
    /// replaced.
    pub fn path(&self, cache: &Path) -> PathBuf {
        let words = [&self.adapter, &self.backend, &self.driver].map(String::as_str);
        let hash = hex(words.into_iter().chain(self.environment.iter().map(String::as_str)));
        let readable: String = self.adapter.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let readable: String = readable.chars().take(40).collect();
        cache.join("lineament").join("tune").join(format!("{readable}-{}.json", &hash[..12]))
    }

    fn to_json(&self) -> Value {
        json!({
            "adapter": self.adapter, "backend": self.backend, "driver": self.driver, "environment": self.environment,
            "kernels": self.kernels,
        })
    }
}

/// Returns the SHA-256 of words with their lengths.
fn hex<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for word in words {
        hash.update((word.len() as u64).to_le_bytes());
        hash.update(word.as_bytes());
    }
    files::hex(&hash.finalize())
}

/// Returns the text of every built-in shader by its stem.
fn shaders() -> BTreeMap<&'static str, &'static str> {
    let cases = registry().into_iter().flat_map(|r| (r.cases)()).chain(roof::cases().concat());
    cases.flat_map(|case| case.op.kernels()).map(|kernel| (kernel.stem(), kernel.source.text)).collect()
}

fn kernels() -> String {
    hex([env!("CARGO_PKG_VERSION")].into_iter().chain(shaders().into_iter().flat_map(|(stem, text)| [stem, text])))
}

/// Reads the choices in the file `path`.
///
/// # Errors
/// There is no file; it is broken; it was measured under another fingerprint.
pub fn load(path: &Path, fingerprint: &Fingerprint) -> std::result::Result<Choices, &'static str> {
    const BROKEN: &str = "the file is broken or from another version of lineament";
    if !path.exists() {
        return Err("nothing was measured on this adapter");
    }
    let bytes = crate::files::read(path, Error::import).map_err(|_| BROKEN)?;
    let file: Value = serde_json::from_slice(&bytes).map_err(|_| BROKEN)?;
    if file["schema"] == SCHEMA && file["measured_on"] != fingerprint.to_json() {
        return Err("it was measured with another driver, environment or version of lineament");
    }
    choices(&file).ok_or(BROKEN)
}

fn choices(file: &Value) -> Option<Choices> {
    if file["schema"] != SCHEMA {
        return None;
    }
    let known = shaders();
    let stem = |value: &Value| value.as_str().filter(|stem| known.contains_key(stem)).map(str::to_owned);
    let candidate = |value: &Value| -> Option<Candidate> {
        let outcome = match (&value["ms"], &value["banned"]) {
            (Value::Number(ms), Value::Null) => Outcome::Ms(ms.as_f64().filter(|ms| *ms > 0.0)?),
            (Value::Null, Value::String(why)) => Outcome::Banned(why.clone()),
            _ => return None,
        };
        Some(Candidate { stem: stem(&value["stem"])?, outcome })
    };
    let mut choices = Choices::default();
    for (key, layer) in file["layers"].as_object()? {
        let candidates = layer["candidates"].as_array()?.iter().map(candidate).collect::<Option<Vec<_>>>()?;
        choices.layers.insert(key.clone(), Choice { stem: stem(&layer["chosen"])?, candidates });
    }
    Some(choices)
}

/// Waits for other processes that write `path`, and locks them out until the returned file is closed. Creates missing folders.
/// The lock lies beside `path`, because every [`add`] replaces `path` itself.
///
/// # Errors
/// The operating system refuses.
pub fn hold(path: &Path) -> Result<File> {
    let folder = crate::files::folder_of(path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    crate::files::lock(&path.with_extension("lock"))
}

/// Adds to `known` what other processes have written to the file `path`, then `found`, and writes everything.
///
/// # Errors
/// The operating system refuses.
pub fn add(path: &Path, fingerprint: &Fingerprint, known: &Choices, found: Choices) -> Result<Choices> {
    let _held = hold(path)?;
    let mut all = known.clone();
    all.extend(load(path, fingerprint).unwrap_or_default());
    all.extend(found);
    save(path, fingerprint, &all)?;
    Ok(all)
}

/// Writes `choices`, measured under `fingerprint`, to `path`, whose folder must exist.
///
/// # Errors
/// The operating system refuses.
fn save(path: &Path, fingerprint: &Fingerprint, choices: &Choices) -> Result<()> {
    let file = json!({ "schema": SCHEMA, "measured_on": fingerprint.to_json(), "layers": to_json(choices) });
    crate::files::write_whole(path, crate::files::Existing::Replace, |writer| {
        serde_json::to_writer_pretty(writer, &file).map_err(|e| Error::io(path, e.into()))
    })
}

/// Returns the layers as a JSON object by their keys.
pub fn to_json(choices: &Choices) -> Value {
    let layer = |choice: &Choice| {
        let candidates = choice.candidates.iter().map(|c| match &c.outcome {
            Outcome::Ms(ms) => json!({ "stem": c.stem, "ms": ms }),
            Outcome::Banned(why) => json!({ "stem": c.stem, "banned": why }),
        });
        json!({ "chosen": choice.stem, "candidates": candidates.collect::<Vec<_>>() })
    };
    choices.layers.iter().map(|(key, choice)| (key.clone(), layer(choice))).collect::<Map<_, _>>().into()
}

/// Removes the file `path`. Returns whether there was one.
///
/// # Errors
/// The operating system refuses.
pub fn clear(path: &Path) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let _held = hold(path)?;
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint() -> Fingerprint {
        Fingerprint {
            adapter: "An adapter (of 2)".into(),
            backend: "vulkan".into(),
            driver: "some 1.2".into(),
            environment: vec!["LP_NUM_THREADS=2".into()],
            kernels: kernels(),
        }
    }

    fn choices() -> Choices {
        let candidates = vec![
            Candidate { stem: "conv2d/winograd".into(), outcome: Outcome::Ms(0.1 + 0.2) },
            Candidate { stem: "conv2d/straight".into(), outcome: Outcome::Banned("differs".into()) },
        ];
        let choice = Choice { stem: "conv2d/winograd".into(), candidates };
        Choices { layers: [("a layer".to_owned(), choice)].into() }
    }

    #[test]
    fn what_is_saved_is_loaded_and_nothing_else_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mine = fingerprint();
        let path = mine.path(folder.path());
        assert!(load(&path, &mine).is_err(), "there is no file");
        let save = || add(&path, &mine, &Choices::default(), choices()).unwrap();
        assert_eq!(save(), choices());
        assert_eq!(load(&path, &mine), Ok(choices()));

        // Older kernels share the file, another driver or number of threads has its own; neither is trusted.
        let older = Fingerprint { kernels: "0".into(), ..mine.clone() };
        assert_eq!(older.path(folder.path()), path);
        let others = [
            Fingerprint { driver: "some 1.3".into(), ..mine.clone() },
            Fingerprint { environment: vec![], ..mine.clone() },
        ];
        for other in &others {
            assert_ne!(other.path(folder.path()), path);
        }
        for other in others.iter().chain([&older]) {
            assert!(load(&path, other).is_err());
        }

        let text = std::fs::read_to_string(&path).unwrap();
        let broken = [
            String::new(),
            "garbage".into(),
            "[]".into(),
            text[..text.len() / 2].to_owned(),
            text.replace("\"schema\": 1", "\"schema\": 0"),
            text.replace("\"schema\": 1", "\"schema\": \"1\""),
            text.replace("conv2d/winograd", "conv2d/imagined"),
            text.replace("\"chosen\": \"conv2d/winograd\"", "\"chosen\": null"),
            text.replace("\"ms\": 0.3", "\"ms\": -0.3"),
            text.replace("\"candidates\": [", "\"others\": ["),
        ];
        for broken in broken {
            assert_ne!(broken, text);
            std::fs::write(&path, &broken).unwrap();
            assert!(load(&path, &mine).is_err(), "{broken}");
            save();
            assert_eq!(load(&path, &mine), Ok(choices()), "it is rebuilt");
        }
        assert!(clear(&path).unwrap());
        assert!(!clear(&path).unwrap());
    }

    #[test]
    fn what_many_add_at_once_is_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let mine = fingerprint();
        let path = mine.path(folder.path());
        let layer = |k: usize| Choices { layers: [(format!("layer {k}"), choices().layers["a layer"].clone())].into() };
        std::thread::scope(|threads| {
            for k in 0..8 {
                let (path, mine) = (&path, &mine);
                threads.spawn(move || {
                    for l in 0..4 {
                        add(path, mine, &Choices::default(), layer(4 * k + l)).unwrap();
                    }
                });
            }
        });
        assert_eq!(load(&path, &mine).unwrap().layers.len(), 32);
    }
}
