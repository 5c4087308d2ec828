//! `log.jsonl` of a run: one line per step and one per validation.

use super::history::History;
use crate::error::{Error, Result};
use crate::files;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The log, and the history for its picture.
pub struct Log {
    path: PathBuf,
    file: File,
    /// Time of all steps.
    pub ms: f64,
    pub history: History,
}

impl Log {
    /// Opens the log and cuts it back to the lines of steps before `first`.
    pub fn open(path: &Path, first: u64) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut log = Self {
            path: path.to_owned(),
            file: File::options().create(true).append(true).open(path).map_err(io)?,
            ms: 0.0,
            history: History::default(),
        };
        let mut kept = Vec::new();
        for line in BufReader::new(File::open(path).map_err(io)?).split(b'\n') {
            let line = line.map_err(io)?;
            let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
            if value["step"].as_u64().is_some_and(|step| step < first) {
                log.note(&value);
                kept.extend(line);
                kept.push(b'\n');
            }
        }
        files::write_whole(path, files::Existing::Replace, |out| out.write_all(&kept).map_err(io))?;
        log.file = File::options().append(true).open(path).map_err(io)?;
        Ok(log)
    }

    fn note(&mut self, line: &Value) {
        let Some(step) = line["step"].as_u64() else { return };
        self.ms += line["ms"].as_f64().unwrap_or_default();
        if let Some(loss) = line["loss"].as_f64() {
            self.history.loss.push(step, loss);
        }
        let validation = line.as_object().into_iter().flatten().find(|(key, _)| key.starts_with("val_"));
        if let Some((key, value)) = validation
            && let Some(value) = value.as_f64()
        {
            self.history.criterion = key.trim_start_matches("val_").to_owned();
            self.history.validations.push((step, value));
        }
    }

    pub fn write(&mut self, line: &Value) -> Result<()> {
        self.note(line);
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::io(&self.path, e))
    }

    /// Returns whether the log has the result of a validation after `step`.
    pub fn has_validation(&self, step: u64) -> bool {
        self.history.validations.iter().any(|&(of, _)| of == step)
    }

    /// Returns the value of the best validation.
    pub fn best(&self) -> Option<f64> {
        self.history.validations.iter().map(|&(_, value)| value).reduce(f64::max)
    }
}
