//! `lineament run`: runs a network that others trained.

use super::Common;
use super::network::{self, Given};
use super::out::{self, say};
use crate::error::{Error, Result};
use crate::files;
use crate::import::array::Array;
use crate::import::npy;
use crate::lab::clock::ms_since;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament run net.onnx --input x.npy --output results
  lineament run net.onnx --input image=x.npy --input size=s.npy --json
  lineament run classifier.onnx --input cat.jpg --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4 --top 5 --labels labels.txt
  lineament run detector.onnx --input group.png --std 1 --bgr --output results
  lineament run net.onnx --size 320x240

A picture becomes what the input takes: [N, C, H, W] or [N, H, W, C], with one channel (the luminance), three, or four (with \
opacity), resized bilinearly to the file's height and width if they are fixed, or to --size. Floats are (sample - mean) / std, bytes \
the samples themselves.

Every output is written to DIR/NAME.npy with the type and dimensions of the file; characters of NAME outside of A-Za-z0-9_.- become _. \
Half precision and float64 are computed in float32.")]
pub struct Arguments {
    /// The network: an ONNX file, or the .param of an ncnn network with its .bin beside it.
    #[arg(value_name = "NET")]
    net: PathBuf,
    #[command(flatten)]
    given: Given,
    /// Folder for the outputs, which is created; existing files in it are replaced.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the largest elements of each output, and their positions.
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// Names of the classes for --top, one per line.
    #[arg(long, value_name = "FILE", requires = "top")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let labels = arguments.labels.as_deref().map(read_labels).transpose()?;
    let model = network::open(&arguments.net)?;
    let given = arguments.given.tensors(&model, &arguments.net)?;
    let device = arguments.common.open()?;
    let prepared = model.prepare(&device, &given)?;
    let begin = Instant::now();
    let outputs = prepared.run(&given)?;
    let ms = ms_since(begin);
    if let Some(folder) = &arguments.output {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    let mut rows = Vec::new();
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, array) in &outputs {
        let mut row = json!({ "name": name, "dtype": array.kind().name(), "shape": array.dims() });
        let mut line = format!("{name}: {} {:?}", array.kind(), array.dims());
        if let Some(folder) = &arguments.output {
            let path = folder.join(network::file_name(name));
            if written.contains(&path) {
                return Err(Error::import(
                    arguments.net.display().to_string(),
                    format!("output {name:?} would replace {}, which is another output", path.display()),
                ));
            }
            files::write_whole(&path, files::Existing::Replace, |file| {
                file.write_all(&npy::write_array(array)).map_err(|e| Error::io(&path, e))
            })?;
            line += &format!(" -> {}", out::shown(&path));
            row["file"] = out::path(&path);
            written.push(path);
        }
        say!("{line}");
        if let Some(k) = arguments.top {
            let top = top(array, k);
            row["top"] = top.iter().map(|&(at, value)| named(at, value, labels.as_deref())).collect();
            for (at, value) in top {
                let label = labels
                    .as_ref()
                    .and_then(|labels| labels.get(at))
                    .map_or(String::new(), |label| format!("  {label}"));
                say!("  {at:>6}  {value:>12.6}{label}");
            }
        }
        rows.push(row);
    }
    say!("{ms:.1} ms on {}", device.describe());
    if arguments.common.json {
        let net = out::path(&arguments.net);
        out::json(&json!({ "net": net, "device": device.describe(), "ms": ms, "outputs": rows }));
    }
    Ok(0)
}

fn named(at: usize, value: f64, labels: Option<&[String]>) -> Value {
    match labels.and_then(|labels| labels.get(at)) {
        Some(label) => json!({ "index": at, "value": value, "label": label }),
        None => json!({ "index": at, "value": value }),
    }
}

/// Returns the positions and values of the largest elements, largest first; of equal ones, the first.
fn top(array: &Array, k: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = array.to_f64().into_iter().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn read_labels(path: &Path) -> Result<Vec<String>> {
    let bytes = files::read(path, |file, problem| Error::Import { file, problem })?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}
