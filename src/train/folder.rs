//! The folder of a run: marked by `lineament-run.json` and locked by one process at a time.

use crate::error::{Error, Result};
use crate::files;
use serde_json::{Value, json};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that marks a folder as that of a run. Whoever trains in the folder holds its lock.
pub const MARKER: &str = "lineament-run.json";

/// The folder of a run, or of a part of one; locked until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    held: Arc<Held>,
}

/// A marker that this process has locked.
#[derive(Debug)]
struct Held {
    folder: PathBuf,
    /// Locked while it is open.
    _marker: File,
    id: String,
    /// Whether the folder did not exist before.
    is_new: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A run that was refused before it wrote anything leaves nothing behind. Failing to remove it does no harm.
        if self.is_new && is_empty(&self.folder).unwrap_or(false) {
            let _ = std::fs::remove_file(self.folder.join(MARKER));
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

impl Folder {
    /// Locks the folder of a new run of `kind`, the name of its command under `train`. A missing folder is created; an existing
    /// one must be empty, or belong to a run of this kind that has not written a log yet.
    ///
    /// # Errors
    /// It holds foreign files, another kind of run, or a run that has begun; another process holds it; it cannot be created.
    pub fn create(path: &Path, kind: &str) -> Result<Self> {
        let foreign = || {
            let mut problem = format!("holds files, but no {MARKER} marks it as a run's folder");
            problem += "; name a new or an empty folder with --out";
            if path.join("config.toml").is_file() && path.join("log.jsonl").is_file() {
                problem += ", or continue the run of an older version with --resume";
            }
            refused(path, &problem)
        };
        let folder = Self::claim(path, kind, &|_| Err(foreign()))?;
        if folder.log().exists() {
            return Err(refused(path, "holds a run already; continue it with --resume, or name another --out"));
        }
        Ok(folder)
    }

    /// Locks the folder of a run that continues, or of a new one as [`Folder::create`] does. `is_older` decides whether files
    /// without a marker belong to a run of this kind, made by a version that wrote no marker.
    ///
    /// # Errors
    /// It holds foreign files or another kind of run; another process holds it; it cannot be created.
    pub fn resume(path: &Path, kind: &str, is_older: impl Fn(&Path) -> bool) -> Result<Self> {
        let adopt = |path: &Path| {
            if is_older(path) {
                return Ok(());
            }
            let problem = format!("holds no run of `lineament train {kind}`: there is no {MARKER}");
            Err(refused(path, &format!("{problem}; name the run's folder, or a new one without --resume")))
        };
        Self::claim(path, kind, &adopt)
    }

    /// Locks the folder of a run of `kind`: a new one, or that of a run which continues.
    ///
    /// # Errors
    /// As [`Folder::resume`].
    pub fn open(path: &Path, kind: &str) -> Result<Self> {
        Self::resume(path, kind, |_| false)
    }

    /// Locks the folder; `adopt` decides about files that no marker claims.
    fn claim(path: &Path, kind: &str, adopt: &dyn Fn(&Path) -> Result<()>) -> Result<Self> {
        if path.is_file() {
            return Err(refused(path, "is a file; --out names the folder of a run"));
        }
        let is_new = !path.is_dir();
        std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        let marker = path.join(MARKER);
        let io = |e| Error::io(&marker, e);
        // Checked before the marker is created, so that a refused folder stays unchanged. A process that is killed while it
        // creates one leaves an empty marker.
        let is_marked = marker.metadata().is_ok_and(|m| m.is_file() && m.len() > 0);
        if !is_marked && !is_empty(path)? {
            adopt(path)?;
        }
        let Some(mut file) = files::try_lock(&marker)? else {
            return Err(refused(path, "another process is training in it; wait for it to end, or name another --out"));
        };
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let id = match text.trim() {
            "" => {
                let id = format!("{:016x}", RandomState::new().build_hasher().finish());
                let version = env!("CARGO_PKG_VERSION");
                let said = json!({ "tool": "lineament", "run": kind, "version": version, "id": id });
                file.write_all(format!("{said}\n").as_bytes()).map_err(io)?;
                id
            }
            text => identity(text, kind).map_err(|problem| refused(path, &problem))?,
        };
        Ok(Self { path: path.to_owned(), held: Arc::new(Held { folder: path.to_owned(), _marker: file, id, is_new }) })
    }

    /// Returns the folder of a part of the run, inside that of the run.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn part(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self { path, held: self.held.clone() })
    }

    /// Returns the unique identifier of this run, as stored in its marker.
    pub fn id(&self) -> &str {
        &self.held.id
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }
    pub fn log(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }
    pub fn weights(&self) -> PathBuf {
        self.path.join("weights.safetensors")
    }
    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.png")
    }
}

/// Returns the identifier stored in a marker, or why it is not the marker of a run of `kind`.
fn identity(marker: &str, kind: &str) -> std::result::Result<String, String> {
    let said: Value = serde_json::from_str(marker).unwrap_or_default();
    let entry = |key: &str| said[key].as_str().unwrap_or_default();
    let another = "name another --out";
    match (entry("tool"), entry("run"), entry("id")) {
        ("lineament", run, id) if run == kind && !id.is_empty() => Ok(id.to_owned()),
        ("lineament", run, _) if !run.is_empty() && run != kind => {
            Err(format!("holds a run of `lineament train {run}`, expected one of `lineament train {kind}`; {another}"))
        }
        _ => Err(format!("its {MARKER} does not say what kind of run it is; {another}")),
    }
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::Usage(format!("{}: {problem}", path.display()))
}

/// Returns whether a folder holds nothing but a marker.
fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == MARKER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(folder: Result<Folder>) -> String {
        folder.unwrap_err().to_string()
    }

    #[test]
    fn a_folder_is_a_runs_only_if_it_says_so() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        std::fs::create_dir(at("foreign")).unwrap();
        std::fs::write(at("foreign/config.toml"), "mine = true").unwrap();
        let error = fails(Folder::create(&at("foreign"), "upscale"));
        assert!(error.contains("foreign: holds files, but no lineament-run.json marks"), "{error}");
        assert!(!error.contains("--resume"), "{error}");
        let error = fails(Folder::resume(&at("foreign"), "upscale", |_| false));
        assert!(error.contains("foreign: holds no run of `lineament train upscale`"), "{error}");
        std::fs::write(at("foreign/log.jsonl"), "").unwrap();
        assert!(fails(Folder::create(&at("foreign"), "upscale")).ends_with("with --resume"));
        assert!(!at("foreign/lineament-run.json").exists(), "a refused folder was changed");
        // A folder made by a version that wrote no marker.
        drop(Folder::resume(&at("foreign"), "upscale", |_| true).unwrap());
        assert!(at("foreign/lineament-run.json").exists());
        let error = fails(Folder::resume(&at("foreign"), "hallucinate", |_| true));
        assert!(error.contains("holds a run of `lineament train upscale`, expected one of"), "{error}");

        let run = Folder::create(&at("new/run"), "upscale").unwrap();
        std::fs::write(run.log(), "").unwrap();
        let id = run.id().to_owned();
        drop(run);
        let error = fails(Folder::create(&at("new/run"), "upscale"));
        assert!(error.contains("holds a run already; continue it with --resume"), "{error}");
        assert_eq!(Folder::resume(&at("new/run"), "upscale", |_| false).unwrap().id(), id);
        std::fs::write(at("new/run/lineament-run.json"), "[1]").unwrap();
        let error = fails(Folder::resume(&at("new/run"), "upscale", |_| true));
        assert!(error.contains("does not say what kind of run it is"), "{error}");
        // Killed while creating the marker.
        std::fs::create_dir(at("killed")).unwrap();
        std::fs::write(at("killed/lineament-run.json"), "").unwrap();
        assert_eq!(Folder::create(&at("killed"), "upscale").unwrap().id().len(), 16);
    }

    #[test]
    fn one_process_holds_a_folder_and_nothing_stays_of_a_run_that_wrote_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("run");
        let folder = Folder::create(&path, "upscale").unwrap();
        let part = folder.part("level1/joint").unwrap();
        drop(folder);
        let error = fails(Folder::resume(&path, "upscale", |_| true));
        assert!(error.contains("run: another process is training in it; wait for it to end"), "{error}");
        std::fs::remove_dir_all(path.join("level1")).unwrap();
        drop(part);
        assert!(!path.exists());
        // A folder that the user made stays.
        std::fs::create_dir(&path).unwrap();
        drop(Folder::create(&path, "upscale").unwrap());
        assert!(path.is_dir());
    }
}
