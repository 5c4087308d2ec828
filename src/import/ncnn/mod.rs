//! Reads ncnn's files: the layers of a `.param`, as text or binary, and the weights of its `.bin`.
//!
//! A network is a list of layers in the order in which they run. Layers exchange blobs, which have names and no batch dimension:
//! `C×H×W`, `H×W` or `W`. A layer's parameters have small numbers instead of names; what they mean depends on its kind.
//!
//! [`open`] and [`read`] make a [`Model`] of a network, [`parse`] its plain layers.
//!
//! | part of a file                  | what is read                                                                       |
//! |---------------------------------|------------------------------------------------------------------------------------|
//! | `.param`, text                  | kinds, names, blobs; parameters: numbers, arrays in either notation, quoted texts  |
//! | `.param.bin`                    | the same without names, with ncnn's number of each kind                            |
//! | `.bin`                          | f32, f16, int8 with its scales, tables of 256 values; a tag before a blob decides  |
//!
//! A layer of an unknown kind is kept by its name. Only ncnn's own kinds have weights that this room knows: a foreign layer with
//! weights makes the rest of the `.bin` unreadable, and the error then names it.
//!
//! Source: `src/net.cpp`, `paramdict.cpp`, `modelbin.cpp` and `load_model` of `src/layer/*.cpp` of
//! <https://github.com/Tencent/ncnn> at a4d2ea1 (2026-07).

pub(super) mod layers;
mod model;
mod param;
mod weights;

use super::model::Model;
use crate::error::{self, Error};
#[cfg(feature = "files")]
use crate::weights::Weights;
use param::KINDS;
use std::collections::{BTreeMap, HashSet};

/// A network as its files state it.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    /// In the order of the file: every blob is produced, by one layer, before it is read.
    pub layers: Vec<Layer>,
}

/// One layer of a [`Net`].
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// ncnn's word for what it computes, e.g. `Convolution`.
    pub kind: String,
    pub name: String,
    /// Names of the blobs that it reads.
    pub inputs: Vec<String>,
    /// Names of the blobs that it produces.
    pub outputs: Vec<String>,
    /// Parameters by number; ncnn's defaults are left out.
    pub params: BTreeMap<i32, Param>,
    /// Weights in the order of ncnn's `load_model`, without those that are absent: of a Convolution, filters and bias. They are
    /// finite, and int8 values are divided by their scales.
    pub weights: Vec<Vec<f32>>,
}

/// The value of a layer's parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    Int(i32),
    Float(f32),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
    Text(String),
    /// The bits of an i32 or f32: a binary file does not say which, the layer's kind does.
    Word(u32),
    /// The same for an array.
    Words(Vec<u32>),
}

/// Reads a network from the bytes of its `.param`, as text or binary, and of its `.bin`; `name` is for messages.
///
/// # Errors
/// The `.param` is not one of ncnn's, is truncated or damaged, exceeds a limit, or its counts differ from its layers; a blob is
/// produced twice or read before it is produced; the `.bin` ends too early or too late; a weight is NaN or infinite. Takes no
/// more memory than some 30 times the `.param` and four times the `.bin`.
pub fn parse(name: &str, param: &[u8], bin: &[u8]) -> error::Result<Net> {
    let mut net = parse_param(name, param)?;
    weights::read(&mut net.layers, bin).map_err(|problem| Error::import(name, problem))?;
    Ok(net)
}

/// Reads only the layers from the bytes of a `.param`, without their weights.
///
/// # Errors
/// Those of [`parse`] that concern the `.param`.
pub fn parse_param(name: &str, param: &[u8]) -> error::Result<Net> {
    let layers = param::read(param).map_err(|problem| Error::import(name, problem))?;
    Ok(Net { layers })
}

/// Reads a network as a [`Model`]; see [`parse`] and [`Net::model`].
///
/// # Errors
/// Those of [`parse`] and [`Net::model`].
pub fn read(name: &str, param: &[u8], bin: &[u8]) -> error::Result<Model> {
    parse(name, param, bin)?.model(name)
}

/// Reads the files of a network as a [`Model`]; see [`load`] and [`Net::model`].
///
/// # Errors
/// Those of [`load`] and [`Net::model`].
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<std::path::Path>) -> error::Result<Model> {
    let path = path.as_ref();
    load(path)?.model(&path.display().to_string())
}

/// Reads the weights of a network as f32, by the names of their layers. Quantised weights are left out.
///
/// # Errors
/// Those of [`open`]; a tensor has more than six dimensions; two have one name.
#[cfg(feature = "files")]
pub fn weights(path: impl AsRef<std::path::Path>) -> error::Result<Weights> {
    let path = path.as_ref();
    load(path)?.as_stored(&path.display().to_string())?.stored()
}

/// Returns whether a name is that of a network's layers, `NAME.param` or `NAME.param.bin`.
#[cfg(feature = "files")]
pub fn is_param(path: &std::path::Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".param") || name.ends_with(".param.bin")
}

/// Reads `NAME.param` or `NAME.param.bin` and the weights in `NAME.bin` beside it; see [`parse`].
///
/// # Errors
/// Those of [`parse`]; a file is missing, a folder, empty or cannot be read. A network without weights needs no `.bin`.
#[cfg(feature = "files")]
pub fn load(path: impl AsRef<std::path::Path>) -> error::Result<Net> {
    let path = path.as_ref();
    let fail = |file, problem| Error::Import { file, problem };
    let name = path.display().to_string();
    let text = path.to_string_lossy();
    if !is_param(path) {
        return Err(Error::import(
            name,
            "expected a name that ends in .param or .param.bin; give that of the two files",
        ));
    }
    let mut net = parse_param(&name, &crate::files::read(path, fail)?)?;
    if weights::read(&mut net.layers, &[]).is_err() {
        let stem = if text.ends_with(".bin") { path.with_extension("") } else { path.to_owned() };
        let bin = stem.with_extension("bin");
        let bytes = crate::files::read(&bin, fail)?;
        weights::read(&mut net.layers, &bytes).map_err(|problem| Error::import(bin.display().to_string(), problem))?;
    }
    Ok(net)
}

impl Net {
    /// Returns the names of the blobs that a run must be given: the outputs of the layers Input, in the file's order.
    pub fn inputs(&self) -> Vec<&str> {
        let layers = self.layers.iter().filter(|layer| layer.kind == "Input");
        layers.flat_map(|layer| &layer.outputs).map(String::as_str).collect()
    }

    /// Returns the names of the blobs that no layer reads, in the file's order.
    pub fn outputs(&self) -> Vec<&str> {
        let read: HashSet<&str> = self.layers.iter().flat_map(|layer| &layer.inputs).map(String::as_str).collect();
        let made = self.layers.iter().flat_map(|layer| &layer.outputs).map(String::as_str);
        made.filter(|blob| !read.contains(blob)).collect()
    }
}

/// Parameters with ncnn's defaults (`pd.get`). An error names the layer; the caller adds the file.
impl Layer {
    /// Returns the integer `id`, or `default` if the file does not give it.
    ///
    /// # Errors
    /// The parameter is not an integer.
    pub fn int(&self, id: i32, default: i32) -> error::Result<i32> {
        self.integer(id, default).map_err(|problem| Error::import(self.label(), problem))
    }

    /// Returns the number `id`, or `default` if the file does not give it. An integer counts as a number; ncnn would take its bits
    /// for those of a float.
    ///
    /// # Errors
    /// The parameter is not a number or is NaN.
    pub fn float(&self, id: i32, default: f32) -> error::Result<f32> {
        match self.params.get(&id) {
            None => Ok(default),
            Some(Param::Int(v)) => Ok(*v as f32),
            Some(Param::Float(v)) if !v.is_nan() => Ok(*v),
            Some(Param::Word(bits)) if !f32::from_bits(*bits).is_nan() => Ok(f32::from_bits(*bits)),
            Some(got) => self.refuse(id, "a number", got),
        }
    }

    /// Returns the integers `id`; none if the file does not give them.
    ///
    /// # Errors
    /// The parameter is not an array of integers.
    pub fn ints(&self, id: i32) -> error::Result<Vec<i32>> {
        match self.params.get(&id) {
            None => Ok(Vec::new()),
            Some(Param::Ints(v)) => Ok(v.clone()),
            Some(Param::Words(bits)) => Ok(bits.iter().map(|b| b.cast_signed()).collect()),
            Some(got) => self.refuse(id, "an array of integers", got),
        }
    }

    /// Returns the numbers `id`; none if the file does not give them.
    ///
    /// # Errors
    /// The parameter is not an array of numbers, or one is NaN.
    pub fn floats(&self, id: i32) -> error::Result<Vec<f32>> {
        let got = match self.params.get(&id) {
            None => return Ok(Vec::new()),
            Some(got) => got,
        };
        let values: Vec<f32> = match got {
            Param::Ints(v) => v.iter().map(|&v| v as f32).collect(),
            Param::Floats(v) => v.clone(),
            Param::Words(bits) => bits.iter().map(|&b| f32::from_bits(b)).collect(),
            _ => return self.refuse(id, "an array of numbers", got),
        };
        if values.iter().any(|v| v.is_nan()) { self.refuse(id, "an array without NaN", got) } else { Ok(values) }
    }

    /// Returns the text `id`, if the file gives it.
    ///
    /// # Errors
    /// The parameter is not a text.
    pub fn text(&self, id: i32) -> error::Result<Option<&str>> {
        match self.params.get(&id) {
            None => Ok(None),
            Some(Param::Text(v)) => Ok(Some(v)),
            Some(got) => self.refuse(id, "a text", got),
        }
    }

    /// [`Layer::int`] with an error that names no layer.
    fn integer(&self, id: i32, default: i32) -> Result<i32, String> {
        match self.params.get(&id) {
            None => Ok(default),
            Some(Param::Int(v)) => Ok(*v),
            Some(Param::Word(bits)) => Ok(bits.cast_signed()),
            Some(got) => Err(wrong(id, "an integer", got)),
        }
    }

    fn refuse<T>(&self, id: i32, expected: &str, got: &Param) -> error::Result<T> {
        Err(Error::import(self.label(), wrong(id, expected, got)))
    }

    /// Returns kind and name, as messages give them.
    fn label(&self) -> String {
        format!("{} {:?}", self.kind, self.name)
    }
}

fn wrong(id: i32, expected: &str, got: &Param) -> String {
    let got = match got {
        Param::Int(v) => format!("the integer {v}"),
        Param::Float(v) => format!("the number {v:?}"),
        Param::Ints(v) => format!("an array of {} integers", v.len()),
        Param::Floats(v) => format!("an array of {} numbers", v.len()),
        Param::Text(v) => format!("the text {v:?}"),
        Param::Word(v) => format!("the bits {v:#010x}"),
        Param::Words(v) => format!("an array of {} values", v.len()),
    };
    format!("the parameter {id} is {got}, expected {expected}; convert the network again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A text with two inputs of each kind of parameter, and the weights of its layers.
    const PARAM: &str = "7767517\n4 4\nInput in 0 1 a 0=4 1=3 2=2\nConvolution conv 1 1 a b 0=2 1=3 5=1 6=36 9=2 -23310=1,0.1\n\
                         PReLU act 1 1 b c 0=2\nInnerProduct fc 1 1 c d 0=3 1=1 2=6 8=1\n";

    fn bin() -> Vec<u8> {
        let f32s = |n: usize| (0..n).flat_map(|v| (v as f32 / 4.0 - 1.0).to_le_bytes());
        let mut bytes = 0x0130_6B47u32.to_le_bytes().to_vec();
        bytes.extend((0..36u16).flat_map(|v| (0x3C00 + v).to_le_bytes()));
        bytes.extend(f32s(2).chain(f32s(2)));
        bytes.extend(0x000D_4B38u32.to_le_bytes());
        // Six values, padded to eight bytes, then bias, three scales and the input's scale.
        bytes.extend([1, 2, 254, 4, 5, 6, 0, 0u8]);
        bytes.extend(f32s(3).chain([2.0f32, 4.0, 0.5, 9.0].into_iter().flat_map(f32::to_le_bytes)));
        bytes
    }

    #[test]
    fn a_network_is_read_with_its_weights() {
        let net = parse("a", PARAM.as_bytes(), &bin()).unwrap();
        assert_eq!((net.inputs(), net.outputs()), (vec!["a"], vec!["d"]));
        let kinds: Vec<&str> = net.layers.iter().map(|l| l.kind.as_str()).collect();
        assert_eq!(kinds, ["Input", "Convolution", "PReLU", "InnerProduct"]);
        let [_, conv, act, fc] = &net.layers[..] else { panic!() };
        assert_eq!(conv.weights[0][35], 1.0 + 35.0 / 1024.0);
        assert_eq!(conv.weights[1], [-1.0, -0.75]);
        assert_eq!(act.weights, [[-1.0, -0.75]]);
        assert_eq!(fc.weights, [&[0.5, 1.0, -0.5, 1.0, 10.0, 12.0][..], &[-1.0, -0.75, -0.5]]);
        assert_eq!((conv.int(1, 9).unwrap(), conv.int(2, 9).unwrap(), conv.floats(10).unwrap()), (3, 9, vec![0.1]));
    }

    #[test]
    fn parameters_of_another_type_are_refused() {
        let text = "7767517\n1 1\nInput in 0 1 a 0=4 1=1.5 2=\"0w,1h\" -23303=2,1,2 4=1.0,2";
        let layer = &parse("a", text.as_bytes(), &[]).unwrap().layers[0];
        assert_eq!(
            (layer.int(0, 0).unwrap(), layer.float(0, 0.0).unwrap(), layer.float(1, 0.0).unwrap()),
            (4, 4.0, 1.5)
        );
        assert_eq!((layer.ints(3).unwrap(), layer.floats(3).unwrap()), (vec![1, 2], vec![1.0, 2.0]));
        assert_eq!((layer.floats(4).unwrap(), layer.text(2).unwrap()), (vec![1.0, 2.0], Some("0w,1h")));
        assert_eq!((layer.int(9, 8).unwrap(), layer.float(9, 8.0).unwrap(), layer.text(9).unwrap()), (8, 8.0, None));
        let error = layer.int(1, 0).unwrap_err().to_string();
        assert!(error.starts_with("Input \"in\": the parameter 1 is the number 1.5, expected an integer"), "{error}");
        for refused in [layer.int(2, 0).err(), layer.ints(4).err(), layer.floats(0).err(), layer.text(0).err()] {
            assert!(refused.is_some());
        }
        assert!(layer.float(3, 0.0).is_err());
        let nan = Layer { params: BTreeMap::from([(0, Param::Word(0x7FC0_0000))]), ..layer.clone() };
        assert_eq!((nan.int(0, 0).unwrap(), nan.float(0, 0.0).is_err()), (0x7FC0_0000, true));
        let nan = Layer { params: BTreeMap::from([(0, Param::Words(vec![0x7FC0_0000]))]), ..layer.clone() };
        assert_eq!((nan.ints(0).unwrap(), nan.floats(0).is_err()), (vec![0x7FC0_0000], true));
    }

    #[test]
    fn damaged_files_never_panic() {
        let (param, bin) = (PARAM.as_bytes(), bin());
        for len in 0..param.len() - 1 {
            // Without its last digits, a parameter may still be a number, but then the weights do not fit.
            let _ = parse_param("a", &param[..len]);
            assert!(parse("a", &param[..len], &bin).is_err(), "the first {len} bytes of the .param");
        }
        for len in 0..bin.len() {
            assert!(parse("a", param, &bin[..len]).is_err(), "the first {len} bytes of the .bin");
        }
        assert!(parse("a", param, &[&bin[..], &[0; 4]].concat()).is_err(), "four bytes too many");
        let mut rng = Rng::new(7);
        for _ in 0..20_000 {
            let (mut param, mut bin) = (param.to_vec(), bin.clone());
            for _ in 0..1 + rng.below(3) {
                let (at, byte) = (rng.below(param.len()), rng.below(256) as u8);
                // Digits and separators reach further than other bytes.
                param[at] = if rng.below(2) == 0 { b"0123456789-=,. \n\""[byte as usize % 17] } else { byte };
                let at = rng.below(bin.len());
                bin[at] = rng.below(256) as u8;
            }
            let _ = parse("a", &param, &bin);
        }
    }
}
