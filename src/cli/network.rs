//! Networks from files, and the tensors that commands give them.

use crate::error::{Error, Result};
use crate::files;
use crate::import::array::{Array, Data, Kind, MAX_MADE_UP, count};
use crate::import::model::{Dimension, InputSize, Model, Port};
use crate::import::{ncnn, npy, onnx};
use crate::ops::resize::{Kernel, Resize};
use crate::rng::Rng;
use crate::vision::image::{Channel, Format, Picture, Rect};
use crate::weights::Weights;
use clap::Args;
use std::path::{Path, PathBuf};

use super::inspect::Size;

/// Largest allowed error against --expect, relative to the expected output's root mean square.
pub const MAX_RELATIVE_ERROR: f64 = 1e-3;

/// What a network gets, and how large its inputs are.
#[derive(Args, Clone)]
pub struct Given {
    /// An input of the network: a .npy array or a picture, or NAME=FILE if there are several inputs; may be repeated. Inputs that are
    /// not given get seeded values in 0..1.
    #[arg(long, value_name = "[NAME=]FILE")]
    pub input: Vec<String>,
    /// Of pictures: subtracted from the samples, which are 0 to 255. One number, or one for each channel, red first.
    #[arg(long, value_name = "R,G,B", value_parser = numbers, allow_hyphen_values = true)]
    pub mean: Option<Numbers>,
    /// Of pictures: divides what is left. Without it 255, so that values lie in 0..1; 1 keeps 0 to 255.
    #[arg(long, value_name = "R,G,B", value_parser = divisors, allow_hyphen_values = true)]
    pub std: Option<Numbers>,
    /// Of pictures: blue first, as networks from Caffe and OpenCV take them.
    #[arg(long)]
    pub bgr: bool,
    /// Pictures per run, instead of the file's batch.
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Width and height of the input, instead of the file's.
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
}

/// Opens the network in a file.
pub fn open(path: &Path) -> Result<Model> {
    if ncnn::is_param(path) { ncnn::open(path) } else { onnx::open(path) }
}

/// Returns whether a name is that of a network's file.
pub fn is_network(path: &Path) -> bool {
    ncnn::is_param(path) || path.to_string_lossy().ends_with(".onnx")
}

/// Reads the weights in a network's file, by their names there.
pub fn weights(path: &Path) -> Result<Weights> {
    if ncnn::is_param(path) { ncnn::weights(path) } else { onnx::weights(path) }
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

    /// Returns the arrays of the inputs that have files.
    ///
    /// # Errors
    /// Those of [`Given::files`]; a file cannot be read, or is not what the input takes.
    pub fn arrays(&self, model: &Model, net: &Path) -> Result<Vec<(String, Array)>> {
        let mut arrays = Vec::new();
        for (name, file) in self.files(model, net)? {
            let Some(port) = model.inputs().iter().find(|port| port.name == name) else { continue };
            let shown = file.display().to_string();
            let bytes = files::read(&file, |file, problem| Error::Import { file, problem })?;
            let array = if Format::of_content(&bytes).is_some() {
                let picture = Picture::decode(&bytes, &shown)?;
                self.pixels(&picture, port).map_err(|problem| Error::import(&shown, problem))?
            } else {
                if !bytes.starts_with(npy::MAGIC) {
                    return Err(Error::import(
                        shown,
                        "is neither a .npy array nor a picture; write it with numpy.save",
                    ));
                }
                fitted(npy::read_array(&shown, &bytes)?, port)
            };
            model.check(port, array.kind(), array.dims())?;
            let wanted = model.dims(port, self.input_size());
            if let Some(wanted) = wanted.ok().filter(|dims| self.is_sized() && dims != array.dims()) {
                let (got, net) = (array.dims(), net.display());
                let problem =
                    format!("is {got:?}, {net} takes {wanted:?}; give another --input, or --batch and --size");
                return Err(Error::import(shown, problem));
            }
            arrays.push((name, array));
        }
        Ok(arrays)
    }

    /// Returns whether sizes are given that replace those of the file.
    fn is_sized(&self) -> bool {
        self.batch.is_some() || self.size.is_some()
    }

    /// Returns an array for every input: from its file, or seeded values.
    ///
    /// # Errors
    /// Those of [`Given::arrays`]; a size is not known, or too large to make up.
    pub fn tensors(&self, model: &Model, net: &Path) -> Result<Vec<(String, Array)>> {
        let mut given = self.arrays(model, net)?;
        for (k, port) in model.inputs().iter().enumerate() {
            if !given.iter().any(|(name, _)| *name == port.name) {
                let array = random(1 + k as u64, port, &model.dims(port, self.input_size())?)?;
                given.push((port.name.clone(), array));
            }
        }
        Ok(given)
    }

    /// Returns a picture as an input takes it: resized if its height and width are fixed, and as often as its batch is large.
    fn pixels(&self, picture: &Picture, port: &Port) -> std::result::Result<Array, String> {
        let takes = |what: &str| Err(format!("is a picture, but input {:?}, {}, {what}", port.name, port.describe()));
        let letters = port.letters();
        let (Some(dims), true) = (&port.dims, letters.ends_with("HW") || letters.ends_with("HWC")) else {
            return takes("is none; give a .npy array");
        };
        let size = |letter: char| {
            letters.find(letter).and_then(|k| if let Dimension::Fixed(n) = dims[k] { Some(n) } else { None })
        };
        let channels = match size('C').unwrap_or(if picture.channels().is_grey() { 1 } else { 3 }) {
            1 => vec![None],
            n @ (3 | 4) => [Channel::Red, Channel::Green, Channel::Blue, Channel::Alpha].map(Some)[..n].to_vec(),
            _ => return takes("has other channels than the 1, 3 or 4 of pictures; give a .npy array"),
        };
        let is_float = port.kind.is_float();
        if !is_float && port.kind != Kind::U8 {
            return takes("has neither floats nor uint8; give a .npy array");
        }
        if !is_float && (self.mean.is_some() || self.std.is_some()) {
            return takes("takes the samples as they are; leave out --mean and --std");
        }
        let of = |option: &str, numbers: &Option<Numbers>, default: f64| match numbers.as_ref().map(|n| &n.0[..]) {
            None => Ok(vec![default; channels.len()]),
            Some(&[one]) => Ok(vec![one; channels.len()]),
            Some(all) if all.len() == channels.len() => Ok(all.to_vec()),
            Some(all) => Err(format!(
                "{option} has {} numbers, input {:?} has {} channels",
                all.len(),
                port.name,
                channels.len()
            )),
        };
        let (mean, std) = (of("--mean", &self.mean, 0.0)?, of("--std", &self.std, 255.0)?);

        let own = [picture.height(), picture.width()];
        let [height, width] = [
            self.size.map(|s| s.height).or(size('H')).unwrap_or(own[0]),
            self.size.map(|s| s.width).or(size('W')).unwrap_or(own[1]),
        ];
        let batch = self.batch.or(size('N')).unwrap_or(1);
        let all = letters.chars().map(|letter| match letter {
            'N' => batch,
            'C' => channels.len(),
            'H' => height,
            _ => width,
        });
        let all: Vec<usize> = all.collect();
        let Some(total) = count(&all).filter(|&n| (1..=MAX_MADE_UP).contains(&n)) else {
            return Err(format!(
                "would become {all:?}, expected 1 to {MAX_MADE_UP} elements; give another --size or --batch"
            ));
        };
        if own != [height, width] {
            log::info!(
                "{}: {}x{} resized to {width}x{height}, bilinearly with antialiasing",
                picture.name(),
                own[1],
                own[0]
            );
        }
        let resize = Resize::to(Kernel::Bilinear, own, [height, width]).map_err(|e| e.to_string())?;
        let whole = Rect { top: 0, left: 0, height, width };
        let plane = |channel: Channel| picture.resized_rect(channel, whole, &resize).map_err(|e| e.to_string());
        let mut planes: Vec<Vec<f32>> = Vec::with_capacity(channels.len());
        for (k, channel) in channels.iter().enumerate() {
            let samples = match channel {
                Some(channel) => plane(*channel)?,
                None if picture.channels().is_grey() => plane(Channel::Red)?,
                None => {
                    let [r, g, b] = [plane(Channel::Red)?, plane(Channel::Green)?, plane(Channel::Blue)?];
                    let mix = |i: usize| GREY[0] * r[i] + GREY[1] * g[i] + GREY[2] * b[i];
                    (0..r.len()).map(mix).collect()
                }
            };
            let value = |v: f32| {
                let sample = 255.0 * f64::from(v);
                if is_float {
                    ((sample - mean[k]) / std[k]) as f32
                } else {
                    (sample + 0.5).floor().clamp(0.0, 255.0) as f32
                }
            };
            planes.push(samples.into_iter().map(value).collect());
        }
        if self.bgr && planes.len() > 1 {
            planes.swap(0, 2);
        }
        let one: Vec<f32> = if letters.ends_with('C') {
            (0..height * width).flat_map(|i| planes.iter().map(move |plane| plane[i])).collect()
        } else {
            planes.concat()
        };
        let values: Vec<f32> = one.iter().copied().cycle().take(total).collect();
        let array = match port.kind {
            Kind::F32 => Array::floats(&all, values),
            kind => Array::from_f64(&all, kind, &values.iter().map(|&v| v.into()).collect::<Vec<_>>()),
        };
        array.map_err(|e| e.to_string())
    }
}

/// Weights of red, green and blue in the luminance that networks of one channel get: ITU-R BT.601, in full range.
const GREY: [f32; 3] = [0.299, 0.587, 0.114];

/// One number, or one for each channel.
#[derive(Debug, Clone)]
pub struct Numbers(Vec<f64>);

fn numbers(text: &str) -> std::result::Result<Numbers, String> {
    let one = super::finite::<1>(text).map(Vec::from);
    let all =
        one.or_else(|| super::finite::<3>(text).map(Vec::from)).or_else(|| super::finite::<4>(text).map(Vec::from));
    all.map(Numbers).ok_or_else(|| "expected one number, or one for each channel, such as 123.7,116.3,103.5".to_owned())
}

fn divisors(text: &str) -> std::result::Result<Numbers, String> {
    numbers(text).and_then(|n| if n.0.contains(&0.0) { Err("expected other numbers than 0".to_owned()) } else { Ok(n) })
}

/// Returns an array with ones before its dimensions, as NumPy broadcasts, if an input wants more.
fn fitted(array: Array, port: &Port) -> Array {
    let wanted = port.dims.as_ref().map_or(0, Vec::len);
    let missing = wanted.saturating_sub(array.dims().len());
    let dims = [vec![1; missing], array.dims().to_vec()].concat();
    if missing == 0 { array } else { array.reshaped(&dims).unwrap_or(array) }
}

/// Returns seeded values: in 0..1, or 0 to 255 for bytes.
///
/// # Errors
/// There are more of them than operators may make up: a small file can claim an input of any size.
pub fn random(seed: u64, port: &Port, dims: &[usize]) -> Result<Array> {
    let mut rng = Rng::new(seed);
    let total = count(dims).filter(|&n| n <= MAX_MADE_UP).ok_or_else(|| {
        Error::Usage(format!(
            "input {:?} {dims:?} is too large to be made up; give --input, or another --size",
            port.name
        ))
    })?;
    if port.kind == Kind::F32 {
        return Array::new(dims, port.kind, Data::F32((0..total).map(|_| rng.unit() as f32).collect()));
    }
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
