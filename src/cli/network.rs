//! Networks from files, and the tensors that commands give them.

use crate::error::{Error, Result};
use crate::import::array::{Array, Kind, count};
use crate::import::model::{InputSize, Model, Port};
use crate::import::{ncnn, npy, onnx};
use crate::rng::Rng;
use clap::Args;
use std::path::{Path, PathBuf};

use super::inspect::Size;

/// Largest allowed error against --expect, relative to the expected output's root mean square.
pub const MAX_RELATIVE_ERROR: f64 = 1e-3;

/// Which network, and how large its inputs are.
#[derive(Args, Clone)]
pub struct Given {
    /// A tensor of the network: a .npy file, or NAME=FILE if there are several inputs; may be repeated. Inputs that are not given get
    /// seeded values in 0..1.
    #[arg(long, value_name = "[NAME=]FILE")]
    pub input: Vec<String>,
    /// Pictures per run, instead of the file's batch.
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Width and height of the input, instead of the file's.
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
}

/// Opens the network in a file.
pub fn open(path: &Path) -> Result<Model> {
    let name = path.to_string_lossy();
    if name.ends_with(".param") || name.ends_with(".param.bin") { ncnn::open(path) } else { onnx::open(path) }
}

impl Given {
    pub fn input_size(&self) -> InputSize {
        InputSize { batch: self.batch, height: self.size.map(|s| s.height), width: self.size.map(|s| s.width) }
    }

    /// Returns the files that are given, by input.
    ///
    /// # Errors
    /// There is no such input; a name is missing or given twice.
    pub fn files(&self, model: &Model, net: &Path) -> Result<Vec<(String, PathBuf)>> {
        let names: Vec<&str> = model.inputs().iter().map(|port| port.name.as_str()).collect();
        let wrong = |problem: String| Error::Usage(format!("{}: {problem}; its inputs are {names:?}", net.display()));
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        for given in &self.input {
            // A name may contain "=" itself.
            let named = names.iter().find_map(|name| Some((*name, given.strip_prefix(name)?.strip_prefix('=')?)));
            let (name, file) = match (named, &names[..]) {
                (Some((name, file)), _) => (name, file),
                (None, [only]) if !given.contains('=') || Path::new(given).exists() => (*only, given.as_str()),
                (None, _) => return Err(wrong(format!("--input {given:?} names no input, expected NAME=FILE"))),
            };
            if files.iter().any(|(known, _)| known == name) {
                return Err(wrong(format!("input {name:?} is given twice")));
            }
            files.push((name.to_owned(), PathBuf::from(file)));
        }
        Ok(files)
    }

    /// Returns a tensor for every input: from its file, or seeded values.
    ///
    /// # Errors
    /// A file cannot be read or does not fit; a size is not known.
    pub fn tensors(&self, model: &Model, net: &Path) -> Result<Vec<(String, Array)>> {
        let files = self.files(model, net)?;
        let tensor = |(k, port): (usize, &Port)| {
            let array = match files.iter().find(|(name, _)| *name == port.name) {
                Some((_, file)) => fitted(npy::open_array(file)?, port),
                None => random(1 + k as u64, port, &model.dims(port, self.input_size())?)?,
            };
            Ok((port.name.clone(), array))
        };
        model.inputs().iter().enumerate().map(tensor).collect()
    }
}

/// Returns an array with ones before its dimensions, as NumPy broadcasts, if an input wants more.
fn fitted(array: Array, port: &Port) -> Array {
    let wanted = port.dims.as_ref().map_or(0, Vec::len);
    let missing = wanted.saturating_sub(array.dims().len());
    let dims = [vec![1; missing], array.dims().to_vec()].concat();
    if missing == 0 { array } else { array.reshaped(&dims).unwrap_or(array) }
}

/// Returns seeded values: in 0..1, or 0 to 255 for bytes.
fn random(seed: u64, port: &Port, dims: &[usize]) -> Result<Array> {
    let mut rng = Rng::new(seed);
    let total = count(dims).ok_or_else(|| Error::Usage(format!("input {:?} {dims:?} is too large", port.name)))?;
    let values: Vec<f64> = (0..total)
        .map(|_| match port.kind {
            Kind::U8 => (rng.unit() * 256.0).floor(),
            kind if kind.is_float() => rng.unit(),
            _ => 0.0,
        })
        .collect();
    Array::from_f64(dims, port.kind, &values)
}

/// Returns the name of the file for an output: characters that a file system may not take become `_`.
pub fn file_name(output: &str) -> String {
    let clean: String =
        output.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect();
    format!("{clean}.npy")
}
