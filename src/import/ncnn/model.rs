//! Turns the layers of a [`Net`] into the operators of a [`Model`].
//!
//! ncnn's blobs have no batch dimension; inside, all values have a leading 1, which inputs get and outputs lose. A layer whose meaning
//! does not depend on the rank or size of its inputs becomes operators of ONNX here; any other becomes `ncnn.<kind>` with its parameters
//! as attributes, and [`super::layers`] adds it to a graph when the sizes are known. So does a layer that is not covered, which is
//! then reported with the others.

use super::{Layer, Net, Param};
use crate::error::{Error, Result};
use crate::import::array::{Array, Kind};
use crate::import::lower::{Attribute, Known, LATEST, Node, clean};
use crate::import::model::{Dimension, Model, Port};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Follows the name of an input or output inside, where it has a batch dimension. Names in a file have no spaces.
const INSIDE: &str = " [1]";

/// Parameters that are floats, of the kinds that become `ncnn.<kind>`: a binary file does not tell, and a text may write `1`.
const FLOATS: [(&str, &[i32]); 9] = [
    ("BinaryOp", &[2]),
    ("GroupNorm", &[2]),
    ("InstanceNorm", &[1]),
    ("Interp", &[1, 2]),
    ("LayerNorm", &[1]),
    ("Normalize", &[2]),
    ("Padding", &[5]),
    ("Reduction", &[2]),
    ("RMSNorm", &[1]),
];

/// Operators of ONNX by the number of a UnaryOp, one after the other; none where there is no such operator.
const UNARY: [&[&str]; 28] = [
    &["Abs"],
    &["Neg"],
    &["Floor"],
    &["Ceil"],
    &["square"],
    &["Sqrt"],
    &["Sqrt", "Reciprocal"],
    &["Exp"],
    &["Log"],
    &["Sin"],
    &["Cos"],
    &["Tan"],
    &[],
    &[],
    &[],
    &["Reciprocal"],
    &["Tanh"],
    &["Log", "/ln 10"],
    &["Round"],
    &[],
    &["Sign"],
    &["Exp", "-1"],
    &["Sinh"],
    &["Asinh"],
    &["Cosh"],
    &["Acosh"],
    &["Atanh"],
    &["+1", "Log"],
];

/// Kinds whose results have the channels of their input.
const KEEPS_CHANNELS: [&str; 12] = [
    "BinaryOp", "Split", "UnaryOp", "Noop", "Dropout", "Interp", "Padding", "ReLU", "Clip", "Sigmoid", "Pooling",
    "Crop",
];

/// Why a layer does not become operators here.
enum Stop {
    /// It becomes `ncnn.<kind>`.
    Later,
    /// It cannot be run, for this reason.
    Refused(String),
    /// A parameter is wrong.
    Broken(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<&str> for Stop {
    fn from(reason: &str) -> Self {
        Self::Refused(reason.to_owned())
    }
}

type Done = std::result::Result<(), Stop>;

impl Net {
    /// Returns the network as a model whose inputs and outputs have the names of the file and ncnn's dimensions: `[C, H, W]`, `[H, W]`
    /// or `[W]`. An input that is a picture takes any height and width; `name` is for messages.
    ///
    /// # Errors
    /// A parameter has the wrong type; weights do not fit the parameters. What is not covered is reported by [`Model::add`].
    pub fn model(&self, name: &str) -> Result<Model> {
        Ok(self.as_stored(name)?.simplified())
    }

    /// Returns [`Net::model`] with the weights of the file.
    pub(super) fn as_stored(&self, name: &str) -> Result<Model> {
        let fail = |error: Error| Error::import(name, error.to_string());
        let (given, made) = (self.inputs(), self.outputs());
        let outside: HashSet<&str> = given.iter().chain(&made).copied().collect();
        let mut builder = Builder {
            nodes: Vec::new(),
            initializers: BTreeMap::new(),
            aliases: HashMap::new(),
            outside,
            blobs: self.layers.iter().flat_map(|layer| &layer.outputs).map(String::as_str).collect(),
        };
        let mut inputs = Vec::new();
        for layer in &self.layers {
            if layer.kind == "Input" {
                for blob in &layer.outputs {
                    inputs.push(Port {
                        name: blob.clone(),
                        kind: Kind::F32,
                        dims: self.dims(layer, blob).map_err(fail)?,
                    });
                    let axes = builder.constant(Array::ints([0]));
                    builder.push("Unsqueeze", &layer.name, vec![blob.clone(), axes], builder.inside(blob), vec![]);
                }
                continue;
            }
            let before = builder.nodes.len();
            let reason = match builder.layer(layer) {
                Ok(()) => continue,
                Err(Stop::Broken(error)) => return Err(fail(error)),
                Err(Stop::Refused(reason)) => Some(reason),
                Err(Stop::Later) => None,
            };
            builder.nodes.truncate(before);
            builder.later(layer, reason).map_err(fail)?;
        }
        let mut outputs = Vec::new();
        for blob in made {
            let axes = builder.constant(Array::ints([0]));
            let from = builder.value(blob);
            // An input that nothing reads is an output too, under another name.
            let own = if given.contains(&blob) { format!("{blob}.out") } else { blob.to_owned() };
            builder.push("Squeeze", blob, vec![from, axes], own.clone(), vec![]);
            outputs.push(Port { name: own, kind: Kind::F32, dims: None });
        }
        if outputs.is_empty() {
            return Err(Error::import(name, "has no outputs: every blob is read; convert the network again"));
        }
        let metadata = vec![("format".to_owned(), "ncnn".to_owned())];
        Ok(Model {
            file: name.to_owned(),
            nodes: builder.nodes,
            initializers: builder.initializers,
            inputs,
            outputs,
            opset: LATEST,
            metadata,
            operators: BTreeMap::new(),
        })
    }

    /// Returns the dimensions of an input. ncnn's sizes of a picture are a hint; without them, the first convolution tells its channels.
    fn dims(&self, layer: &Layer, blob: &str) -> Result<Option<Vec<Dimension>>> {
        let any = || Dimension::Any(String::new());
        let size = |id| -> Result<usize> { Ok(usize::try_from(layer.int(id, 0)?).unwrap_or(0)) };
        let [w, h, c, d] = [size(0)?, size(1)?, size(2)?, size(11)?];
        Ok(match [c, d, h, w] {
            [0, 0, 0, 0] => self.channels(blob)?.map(|c| vec![Dimension::Fixed(c), any(), any()]),
            [0, 0, 0, w] => Some(vec![Dimension::Fixed(w)]),
            [0, 0, h, w] => Some(vec![Dimension::Fixed(h), Dimension::Fixed(w)]),
            [c, 0, ..] => Some(vec![Dimension::Fixed(c), any(), any()]),
            _ => None,
        })
    }

    /// Returns the channels that the first convolution of a blob, or of what it becomes, expects.
    fn channels(&self, blob: &str) -> Result<Option<usize>> {
        let mut seen: HashSet<&str> = HashSet::from([blob]);
        for layer in &self.layers {
            if !layer.inputs.first().is_some_and(|input| seen.contains(input.as_str())) {
                continue;
            }
            let kind = layer.kind.as_str();
            if matches!(kind, "Convolution" | "ConvolutionDepthWise") && layer.int(19, 0)? == 0 {
                let [_, i, ..] = filters(layer)?[..] else { return Ok(None) };
                return Ok(i.checked_mul(usize::try_from(layer.int(7, 1)?.max(1)).unwrap_or(1)));
            }
            if KEEPS_CHANNELS.contains(&kind) {
                seen.extend(layer.outputs.iter().map(String::as_str));
            }
        }
        Ok(None)
    }
}

/// Returns the dimensions of a layer's filters: outputs, inputs of a group, then rows and columns, or taps.
fn filters(layer: &Layer) -> Result<Vec<usize>> {
    let wrong = || {
        Error::import(
            format!("{} {:?}", layer.kind, layer.name),
            "its filters, outputs, kernel and groups do not fit; convert the network again",
        )
    };
    let positive = |id, default| -> Result<usize> {
        usize::try_from(layer.int(id, default)?).ok().filter(|&n| n > 0).ok_or_else(wrong)
    };
    let (outputs, w) = (positive(0, 0)?, positive(1, 0)?);
    let kernel = if layer.kind.ends_with("1D") { vec![w] } else { vec![positive(11, layer.int(1, 0)?)?, w] };
    let groups = if layer.kind.contains("DepthWise") { positive(7, 1)? } else { 1 };
    let each = kernel.iter().try_fold(outputs, |n, &k| n.checked_mul(k)).ok_or_else(wrong)?;
    let total = layer.weights.first().map_or(0, Vec::len);
    if total == 0 || !total.is_multiple_of(each) || !outputs.is_multiple_of(groups) {
        return Err(wrong());
    }
    Ok([&[outputs, total / each][..], &kernel].concat())
}

struct Builder<'n> {
    nodes: Vec<Node>,
    initializers: BTreeMap<String, Known>,
    /// Blobs that are others.
    aliases: HashMap<String, String>,
    /// Inputs and outputs of the network.
    outside: HashSet<&'n str>,
    blobs: HashSet<&'n str>,
}

fn floats(values: &[f32]) -> Attribute {
    Attribute::Floats(values.to_vec())
}

fn ints<const N: usize>(values: [i32; N]) -> Attribute {
    Attribute::Ints(values.map(i64::from).to_vec())
}

impl Builder<'_> {
    /// Returns the name of a blob's value with a batch dimension, at the layer that produces it.
    fn inside(&self, blob: &str) -> String {
        if self.outside.contains(blob) { format!("{blob}{INSIDE}") } else { blob.to_owned() }
    }

    /// Returns the name of a blob's value with a batch dimension.
    fn value(&self, blob: &str) -> String {
        self.aliases.get(blob).cloned().unwrap_or_else(|| self.inside(blob))
    }

    fn push(&mut self, op: &str, name: &str, inputs: Vec<String>, output: String, attributes: Vec<(&str, Attribute)>) {
        let attributes = attributes.into_iter().map(|(name, attribute)| (name.to_owned(), attribute)).collect();
        self.nodes.push(Node { op: op.to_owned(), name: name.to_owned(), inputs, outputs: vec![output], attributes });
    }

    fn fresh(&self, wanted: &str) -> String {
        let is_taken = |name: &str| {
            let made = |node: &Node| node.outputs.iter().any(|output| output == name);
            self.initializers.contains_key(name) || self.blobs.contains(name) || self.nodes.last().is_some_and(made)
        };
        let names = std::iter::once(wanted.to_owned()).chain((2..).map(|k| format!("{wanted}_{k}")));
        names.into_iter().find(|name| !is_taken(name)).unwrap_or_default()
    }

    /// Adds a value that is no weight.
    fn constant(&mut self, array: Array) -> String {
        let name = format!("constant {}", self.initializers.len());
        self.initializers.insert(name.clone(), Known { array: Arc::new(array), name: None });
        name
    }

    fn scalar(&mut self, value: f32) -> Result<String> {
        Ok(self.constant(Array::float(value)))
    }

    /// Adds weights, whose parameter is named after the layer.
    fn weight(&mut self, layer: &Layer, role: &str, dims: &[usize], values: Vec<f32>) -> Result<String> {
        let len = values.len();
        let array = Array::floats(dims, values).map_err(|_| {
            Error::import(
                layer.label(),
                format!("its {role} has {len} values, expected {dims:?}; convert the network again"),
            )
        })?;
        let name = self.fresh(&clean(&format!("{}.{role}", layer.name)));
        self.initializers.insert(name.clone(), Known { array: Arc::new(array), name: Some(name.clone()) });
        Ok(name)
    }

    /// Adds a layer as `ncnn.<kind>`, with its parameters as attributes.
    fn later(&mut self, layer: &Layer, reason: Option<String>) -> Result<()> {
        let of_kind = FLOATS.iter().find(|(kind, _)| *kind == layer.kind).map_or(&[][..], |(_, ids)| ids);
        let mut attributes = Vec::new();
        // 30 and 31 are hints for ncnn: shapes, and features that are switched off.
        for (&id, param) in layer.params.iter().filter(|(id, _)| **id < 30) {
            let attribute = match param {
                _ if of_kind.contains(&id) => Attribute::Float(layer.float(id, 0.0)?),
                Param::Int(_) | Param::Word(_) => Attribute::Int(layer.int(id, 0)?.into()),
                Param::Ints(_) | Param::Words(_) => {
                    Attribute::Ints(layer.ints(id)?.into_iter().map(i64::from).collect())
                }
                Param::Float(v) => Attribute::Float(*v),
                Param::Floats(v) => floats(v),
                Param::Text(v) => Attribute::Text(v.clone()),
            };
            attributes.push((id.to_string(), attribute));
        }
        attributes.extend(reason.map(|reason| ("reason".to_owned(), Attribute::Text(reason))));
        let mut inputs: Vec<String> = layer.inputs.iter().map(|blob| self.value(blob)).collect();
        let act = match layer.kind.as_str() {
            "InnerProduct" if !layer.outputs.is_empty() => {
                let outputs = usize::try_from(layer.int(0, 0)?).unwrap_or(0).max(1);
                let len = layer.weights.first().map_or(0, Vec::len);
                for (k, values) in layer.weights.iter().enumerate() {
                    let (role, dims) =
                        if k == 0 { ("weight", vec![outputs, len / outputs]) } else { ("bias", vec![outputs]) };
                    inputs.push(self.weight(layer, role, &dims, values.clone())?);
                }
                attributes.retain(|(name, _)| !matches!(name.as_str(), "0" | "1" | "2" | "8" | "9" | "10"));
                true
            }
            _ => {
                for (values, role) in layer.weights.iter().zip(["weight", "bias"]) {
                    inputs.push(self.weight(layer, role, &[values.len()], values.clone())?);
                }
                false
            }
        };
        let mut outputs: Vec<String> = layer.outputs.iter().map(|blob| self.inside(blob)).collect();
        let last = outputs.first().cloned().unwrap_or_default();
        if act && layer.int(9, 0)? != 0 {
            outputs[0] = self.fresh(&format!("{last} before"));
        }
        let from = outputs.first().cloned().unwrap_or_default();
        self.nodes.push(Node {
            op: format!("ncnn.{}", layer.kind),
            name: layer.name.clone(),
            inputs,
            outputs,
            attributes,
        });
        if act && layer.int(9, 0)? != 0 {
            match self.activation(layer, from, last) {
                Ok(()) => {}
                Err(Stop::Broken(error)) => return Err(error),
                Err(_) => {
                    return Err(Error::import(
                        layer.label(),
                        format!("its activation is {}, expected 0 to 6", layer.int(9, 0)?),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Adds operators one after the other, from the layer's input to its output: names of operators of one value, or those of [`UNARY`].
    fn chain(&mut self, layer: &Layer, from: String, ops: &[&str]) -> Done {
        let mut from = from;
        for (k, op) in ops.iter().enumerate() {
            let to = if k + 1 == ops.len() {
                self.inside(&layer.outputs[0])
            } else {
                self.fresh(&format!("{} {k}", layer.outputs[0]))
            };
            let (op, other) = match *op {
                "square" => ("Mul", Some(from.clone())),
                "+1" => ("Add", Some(self.scalar(1.0)?)),
                "-1" => ("Sub", Some(self.scalar(1.0)?)),
                "/ln 10" => ("Mul", Some(self.scalar(std::f32::consts::LOG10_E)?)),
                op => (op, None),
            };
            self.push(op, &layer.name, [from].into_iter().chain(other).collect(), to.clone(), vec![]);
            from = to;
        }
        Ok(())
    }

    /// Adds the layer's fused activation, if it has one: its number is the parameter 9, its numbers are 10.
    fn activation(&mut self, layer: &Layer, from: String, to: String) -> Done {
        let values = layer.floats(10)?;
        let value = |k: usize| {
            let missing =
                || Error::import(layer.label(), "lacks a number of its activation; convert the network again");
            values.get(k).copied().ok_or_else(missing)
        };
        let name = format!("{}.activation", layer.name);
        match layer.int(9, 0)? {
            1 => self.push("Relu", &name, vec![from], to, vec![]),
            2 => self.push("LeakyRelu", &name, vec![from], to, vec![("alpha", Attribute::Float(value(0)?))]),
            3 => {
                let bounds = [self.scalar(value(0)?)?, self.scalar(value(1)?)?];
                self.push("Clip", &name, [from].into_iter().chain(bounds).collect(), to, vec![]);
            }
            4 => self.push("Sigmoid", &name, vec![from], to, vec![]),
            5 => self.push("Mish", &name, vec![from], to, vec![]),
            6 => self.hard_swish(&name, from, to, value(0)?, value(1)?),
            _ => return Err("this activation is not covered".into()),
        }
        Ok(())
    }

    /// x·clamp(αx + β, 0, 1).
    fn hard_swish(&mut self, name: &str, from: String, to: String, alpha: f32, beta: f32) {
        let gate = self.fresh(&format!("{to} gate"));
        let attributes = vec![("alpha", Attribute::Float(alpha)), ("beta", Attribute::Float(beta))];
        self.push("HardSigmoid", name, vec![from.clone()], gate.clone(), attributes);
        self.push("Mul", name, vec![from, gate], to, vec![]);
    }

    /// Adds a layer of any size as operators of ONNX.
    fn layer(&mut self, layer: &Layer) -> Done {
        let kind = layer.kind.as_str();
        let Some(output) = layer.outputs.first() else { return Err("has no outputs".into()) };
        let to = self.inside(output);
        let inputs: Vec<String> = layer.inputs.iter().map(|blob| self.value(blob)).collect();
        if kind == "MemoryData" {
            return self.memory(layer, to);
        }
        let Some(x) = inputs.first().cloned() else { return Err("has no inputs".into()) };
        let name = layer.name.as_str();
        match kind {
            // Types in memory are ours to choose.
            "Split" | "Noop" | "DeepCopy" | "Packing" => return self.alias(layer, &x),
            "Cast" if [layer.int(0, 0)?, layer.int(1, 0)?].iter().all(|t| matches!(t, 0 | 1 | 2 | 4)) => {
                return self.alias(layer, &x);
            }
            "Dropout" if layer.float(0, 1.0)? == 1.0 => return self.alias(layer, &x),
            _ if layer.outputs.len() != 1 => return Err(Stop::Later),
            "Convolution" | "ConvolutionDepthWise" | "Convolution1D" | "ConvolutionDepthWise1D" => {
                self.conv(layer, x, to)?
            }
            "Deconvolution" | "DeconvolutionDepthWise" | "Deconvolution1D" | "DeconvolutionDepthWise1D" => {
                self.deconv(layer, x, to)?
            }
            "BatchNorm" => self.batch_norm(layer, x, to)?,
            "Scale" if layer.weights.is_empty() => return Err(Stop::Later),
            "Scale" => self.affine(layer, x, to, layer.weights[0].clone(), layer.weights.get(1).cloned())?,
            "Bias" => self.affine(layer, x, to, vec![1.0; layer.weights[0].len()], Some(layer.weights[0].clone()))?,
            "InstanceNorm" | "GroupNorm" => self.group_norm(layer, x, to)?,
            "Dropout" => {
                let scale = self.scalar(layer.float(0, 1.0)?)?;
                self.push("Mul", name, vec![x, scale], to, vec![]);
            }
            "ReLU" => match layer.float(0, 0.0)? {
                0.0 => self.push("Relu", name, vec![x], to, vec![]),
                slope => self.push("LeakyRelu", name, vec![x], to, vec![("alpha", Attribute::Float(slope))]),
            },
            "Sigmoid" | "Mish" | "Softplus" | "Swish" => self.push(kind, name, vec![x], to, vec![]),
            "Erf" => self.push("Erf", name, vec![x], to, vec![]),
            "TanH" => self.push("Tanh", name, vec![x], to, vec![]),
            "AbsVal" => self.push("Abs", name, vec![x], to, vec![]),
            "ELU" => self.push("Elu", name, vec![x], to, vec![("alpha", Attribute::Float(layer.float(0, 0.1)?))]),
            "CELU" => self.push("Celu", name, vec![x], to, vec![("alpha", Attribute::Float(layer.float(0, 1.0)?))]),
            "SELU" => {
                let [alpha, gamma] = [layer.float(0, 1.673_263_2)?, layer.float(1, 1.050_701)?].map(Attribute::Float);
                self.push("Selu", name, vec![x], to, vec![("alpha", alpha), ("gamma", gamma)]);
            }
            "Shrink" => {
                let [bias, lambd] = [layer.float(0, 0.0)?, layer.float(1, 0.5)?].map(Attribute::Float);
                self.push("Shrink", name, vec![x], to, vec![("bias", bias), ("lambd", lambd)]);
            }
            "GELU" => {
                let how = if layer.int(0, 0)? == 0 { "none" } else { "tanh" };
                self.push("Gelu", name, vec![x], to, vec![("approximate", Attribute::Text(how.into()))]);
            }
            "HardSigmoid" => {
                let [alpha, beta] = [layer.float(0, 0.2)?, layer.float(1, 0.5)?].map(Attribute::Float);
                self.push("HardSigmoid", name, vec![x], to, vec![("alpha", alpha), ("beta", beta)]);
            }
            "HardSwish" => self.hard_swish(name, x, to, layer.float(0, 0.2)?, layer.float(1, 0.5)?),
            "Clip" => {
                let bounds = [self.scalar(layer.float(0, f32::MIN)?)?, self.scalar(layer.float(1, f32::MAX)?)?];
                self.push("Clip", name, [x].into_iter().chain(bounds).collect(), to, vec![]);
            }
            "UnaryOp" => {
                let number = layer.int(0, 0)?;
                match usize::try_from(number).ok().and_then(|number| UNARY.get(number)) {
                    Some(ops) if !ops.is_empty() => self.chain(layer, x, ops)?,
                    _ => return Err(Stop::Refused(format!("the function {number} is not covered"))),
                }
            }
            "Power" => {
                let [power, scale, shift] = [layer.float(0, 1.0)?, layer.float(1, 1.0)?, layer.float(2, 0.0)?];
                let [scaled, shifted] = ["scaled", "shifted"].map(|role| self.fresh(&format!("{output} {role}")));
                let [power, scale, shift] = [self.scalar(power)?, self.scalar(scale)?, self.scalar(shift)?];
                self.push("Mul", name, vec![x, scale], scaled.clone(), vec![]);
                self.push("Add", name, vec![scaled, shift], shifted.clone(), vec![]);
                self.push("Pow", name, vec![shifted, power], to, vec![]);
            }
            "BinaryOp" if layer.int(1, 0)? != 0 => {
                let b = self.scalar(layer.float(2, 0.0)?)?;
                let (op, is_reversed) = match layer.int(0, 0)? {
                    0 => ("Add", false),
                    1 => ("Sub", false),
                    2 => ("Mul", false),
                    3 => ("Div", false),
                    4 => ("Max", false),
                    5 => ("Min", false),
                    6 => ("Pow", false),
                    7 => ("Sub", true),
                    8 => ("Div", true),
                    9 => ("Pow", true),
                    _ => return Err(Stop::Later),
                };
                let inputs = if is_reversed { vec![b, x] } else { vec![x, b] };
                self.push(op, name, inputs, to, vec![]);
            }
            "Eltwise" => self.eltwise(layer, inputs, to)?,
            "Concat" | "Softmax" => {
                let axis = layer.int(0, 0)?;
                // Files from before a correction have other axes; ncnn refuses them too.
                if kind == "Softmax" && axis != 0 && layer.int(1, 0)? == 0 {
                    return Err(
                        "is in the form of before 2019, whose axis is not reliable; convert the network again".into()
                    );
                }
                // Negative axes count from the end, with or without a batch.
                let axis = i64::from(axis) + i64::from(axis >= 0);
                self.push(kind, name, inputs, to, vec![("axis", Attribute::Int(axis))]);
            }
            "Flatten" => self.push("Flatten", name, vec![x], to, vec![("axis", Attribute::Int(1))]),
            "PixelShuffle" => {
                let mode = if layer.int(1, 0)? == 0 { "CRD" } else { "DCR" };
                let attributes = vec![
                    ("blocksize", Attribute::Int(layer.int(0, 1)?.into())),
                    ("mode", Attribute::Text(mode.into())),
                ];
                self.push("DepthToSpace", name, vec![x], to, attributes);
            }
            "LRN" => {
                let size = layer.int(1, 5)?;
                if layer.int(0, 0)? != 0 || size % 2 == 0 {
                    return Err("within a channel, or over an even number of channels, is not covered".into());
                }
                let [alpha, beta, bias] =
                    [layer.float(2, 1.0)?, layer.float(3, 0.75)?, layer.float(4, 1.0)?].map(Attribute::Float);
                let size = Attribute::Int(size.into());
                self.push(
                    "LRN",
                    name,
                    vec![x],
                    to,
                    vec![("size", size), ("alpha", alpha), ("beta", beta), ("bias", bias)],
                );
            }
            "YoloV5Focus" => self.focus(layer, x, to)?,
            "Yolov3DetectionOutput" | "YoloDetectionOutput" | "DetectionOutput" | "PriorBox" | "Proposal" => {
                return Err("its result has a size that depends on the picture; cut the network before it and do this step on its inputs".into());
            }
            _ => return Err(Stop::Later),
        }
        Ok(())
    }

    fn alias(&mut self, layer: &Layer, x: &str) -> Done {
        for blob in &layer.outputs {
            self.aliases.insert(blob.clone(), x.to_owned());
        }
        Ok(())
    }

    fn memory(&mut self, layer: &Layer, to: String) -> Done {
        let mut dims = vec![1];
        for id in [2, 11, 1, 0] {
            dims.extend(usize::try_from(layer.int(id, 0)?).ok().filter(|&n| n > 0));
        }
        let Some(values) = layer.weights.first() else { return Err("has no values".into()) };
        let value = self.weight(layer, "value", &dims, values.clone())?;
        self.push("Identity", &layer.name, vec![value], to, vec![]);
        Ok(())
    }

    /// Returns the layer's result before its activation, which is added behind it.
    fn before_activation(&mut self, layer: &Layer, to: &str) -> Result<String> {
        Ok(if layer.int(9, 0)? == 0 { to.to_owned() } else { self.fresh(&format!("{to} before")) })
    }

    fn conv(&mut self, layer: &Layer, x: String, to: String) -> Done {
        if layer.int(19, 0)? != 0 {
            return Err("filters that are computed are not covered; convert the network with constant ones".into());
        }
        let dims = filters(layer)?;
        let is_line = layer.kind.ends_with("1D");
        let mut attributes = Vec::new();
        for (name, column, row) in [("dilations", 2, 12), ("strides", 3, 13)] {
            let column = layer.int(column, 1)?;
            let row = layer.int(row, column)?;
            attributes.push((name, if is_line { ints([column]) } else { ints([row, column]) }));
        }
        let left = layer.int(4, 0)?;
        let right = layer.int(15, left)?;
        let top = if is_line { left } else { layer.int(14, left)? };
        let bottom = if is_line { right } else { layer.int(16, top)? };
        let pads = [top, left, bottom, right];
        let value = layer.float(18, 0.0)?;
        let mut x = x;
        if pads.iter().any(|&pad| pad > 0) {
            if pads.iter().any(|&pad| pad < 0) {
                return Err(Stop::Refused(format!("the pads {pads:?} are not covered")));
            }
            let pads = if is_line { ints([left, right]) } else { ints(pads) };
            if value == 0.0 {
                attributes.push(("pads", pads));
            } else {
                let padded = self.fresh(&format!("{to} padded"));
                let around =
                    if is_line { vec![0, 0, left, 0, 0, right] } else { vec![0, 0, top, left, 0, 0, bottom, right] };
                let around = self.constant(Array::ints(around.into_iter().map(i64::from)));
                let value = self.scalar(value)?;
                self.push("Pad", &layer.name, vec![x, around, value], padded.clone(), vec![]);
                x = padded;
            }
        } else if let Some(mode) =
            [(-233, "SAME_UPPER"), (-234, "SAME_LOWER")].iter().find(|(code, _)| pads == [*code; 4])
        {
            if value != 0.0 {
                return Err("SAME padding by another value than 0 is not covered".into());
            }
            attributes.push(("auto_pad", Attribute::Text(mode.1.into())));
        }
        attributes.push((
            "group",
            Attribute::Int(if layer.kind.contains("DepthWise") { layer.int(7, 1)?.into() } else { 1 }),
        ));
        let mut inputs = vec![x, self.weight(layer, "weight", &dims, layer.weights[0].clone())?];
        if let Some(bias) = layer.weights.get(1) {
            inputs.push(self.weight(layer, "bias", &dims[..1], bias.clone())?);
        }
        let plain = self.before_activation(layer, &to)?;
        self.push("Conv", &layer.name, inputs, plain.clone(), attributes);
        if plain == to { Ok(()) } else { self.activation(layer, plain, to) }
    }

    fn deconv(&mut self, layer: &Layer, x: String, to: String) -> Done {
        if layer.int(28, 0)? != 0 {
            return Err("filters that are computed are not covered; convert the network with constant ones".into());
        }
        let dims = filters(layer)?;
        let is_line = layer.kind.ends_with("1D");
        let groups = if layer.kind.contains("DepthWise") { usize::try_from(layer.int(7, 1)?).unwrap_or(1) } else { 1 };
        let mut attributes = vec![("group", Attribute::Int(groups as i64))];
        let pair = |column: i32, row: i32, default: i32| -> Result<[i32; 2]> {
            let column = layer.int(column, default)?;
            Ok([if is_line { column } else { layer.int(row, column)? }, column])
        };
        let sizes = |[row, column]: [i32; 2]| if is_line { ints([column]) } else { ints([row, column]) };
        attributes.push(("dilations", sizes(pair(2, 12, 1)?)));
        attributes.push(("strides", sizes(pair(3, 13, 1)?)));
        attributes.push(("output_padding", sizes(pair(18, 19, 0)?)));
        let left = layer.int(4, 0)?;
        let right = layer.int(15, left)?;
        let [top, bottom] =
            if is_line { [left, right] } else { [layer.int(14, left)?, layer.int(16, layer.int(14, left)?)?] };
        let pads = [top, left, bottom, right];
        let output = pair(20, 21, 0)?;
        if pads.iter().any(|&pad| pad > 0) {
            if pads.iter().any(|&pad| pad < 0) {
                return Err(Stop::Refused(format!("the pads {pads:?} are not covered")));
            }
            attributes.push(("pads", if is_line { ints([left, right]) } else { ints(pads) }));
        } else if output.iter().all(|&n| n > 0) {
            let mode = match (pads.contains(&-233), pads.contains(&-234)) {
                (true, _) => "SAME_UPPER",
                (false, true) => "SAME_LOWER",
                _ => return Err("an output size without SAME padding is not covered".into()),
            };
            attributes.push(("output_shape", sizes(output)));
            attributes.push(("auto_pad", Attribute::Text(mode.into())));
        }
        // ncnn has outputs before inputs in each group, ONNX the other way round.
        let (o, i) = (dims[0] / groups, dims[1]);
        let taps: usize = dims[2..].iter().product();
        let w = &layer.weights[0];
        let mut values = Vec::with_capacity(w.len());
        for group in 0..groups {
            for input in 0..i {
                for output in 0..o {
                    let at = ((group * o + output) * i + input) * taps;
                    values.extend_from_slice(&w[at..at + taps]);
                }
            }
        }
        let own = [&[groups * i, o][..], &dims[2..]].concat();
        let mut inputs = vec![x, self.weight(layer, "weight", &own, values)?];
        if let Some(bias) = layer.weights.get(1) {
            inputs.push(self.weight(layer, "bias", &dims[..1], bias.clone())?);
        }
        let plain = self.before_activation(layer, &to)?;
        self.push("ConvTranspose", &layer.name, inputs, plain.clone(), attributes);
        if plain == to { Ok(()) } else { self.activation(layer, plain, to) }
    }

    fn batch_norm(&mut self, layer: &Layer, x: String, to: String) -> Done {
        let mut inputs = vec![x];
        let [slope, mean, variance, bias] = &layer.weights[..] else { return Err("lacks weights".into()) };
        for (role, values) in [("slope", slope), ("bias", bias), ("mean", mean), ("variance", variance)] {
            inputs.push(self.weight(layer, role, &[values.len()], values.clone())?);
        }
        self.push(
            "BatchNormalization",
            &layer.name,
            inputs,
            to,
            vec![("epsilon", Attribute::Float(layer.float(1, 0.0)?))],
        );
        Ok(())
    }

    /// A factor and a summand per channel are a batch normalisation with mean 0 and variance 1, which becomes a part of a convolution.
    fn affine(&mut self, layer: &Layer, x: String, to: String, scale: Vec<f32>, bias: Option<Vec<f32>>) -> Done {
        let channels = scale.len();
        let bias = bias.unwrap_or_else(|| vec![0.0; channels]);
        let mut inputs =
            vec![x, self.weight(layer, "scale", &[channels], scale)?, self.weight(layer, "bias", &[channels], bias)?];
        for (role, value) in [("mean", 0.0), ("variance", 1.0)] {
            inputs.push(self.weight(layer, role, &[channels], vec![value; channels])?);
        }
        self.push("BatchNormalization", &layer.name, inputs, to, vec![("epsilon", Attribute::Float(0.0))]);
        Ok(())
    }

    fn group_norm(&mut self, layer: &Layer, x: String, to: String) -> Done {
        // Without scale and bias, the channels are those of the input.
        let [scale, bias] = &layer.weights[..] else { return Err(Stop::Later) };
        let mut inputs = vec![x];
        for (role, values) in [("scale", scale), ("bias", bias)] {
            inputs.push(self.weight(layer, role, &[values.len()], values.clone())?);
        }
        if layer.kind == "GroupNorm" {
            let eps = ("epsilon", Attribute::Float(layer.float(2, 0.001)?));
            let groups = ("num_groups", Attribute::Int(layer.int(0, 1)?.into()));
            self.push("GroupNormalization", &layer.name, inputs, to, vec![eps, groups]);
        } else {
            let eps = ("epsilon", Attribute::Float(layer.float(1, 0.001)?));
            self.push("InstanceNormalization", &layer.name, inputs, to, vec![eps]);
        }
        Ok(())
    }

    fn eltwise(&mut self, layer: &Layer, inputs: Vec<String>, to: String) -> Done {
        let name = layer.name.as_str();
        let coefficients = layer.floats(1)?;
        match layer.int(0, 0)? {
            0 => {
                let (mut product, last) = (inputs[0].clone(), inputs.len() - 1);
                if last == 0 {
                    return Err("has one input, expected several".into());
                }
                for (k, other) in inputs.iter().enumerate().skip(1) {
                    let next = if k == last { to.clone() } else { self.fresh(&format!("{to} {k}")) };
                    self.push("Mul", name, vec![product, other.clone()], next.clone(), vec![]);
                    product = next;
                }
            }
            1 if coefficients.is_empty() => self.push("Sum", name, inputs, to, vec![]),
            1 if coefficients.len() >= inputs.len() => {
                let mut terms = Vec::new();
                for (k, (input, &coefficient)) in inputs.iter().zip(&coefficients).enumerate() {
                    if coefficient == 1.0 {
                        terms.push(input.clone());
                        continue;
                    }
                    let (term, coefficient) = (self.fresh(&format!("{to} {k}")), self.scalar(coefficient)?);
                    self.push("Mul", name, vec![input.clone(), coefficient], term.clone(), vec![]);
                    terms.push(term);
                }
                self.push("Sum", name, terms, to, vec![]);
            }
            1 => {
                return Err(Stop::Refused(format!(
                    "has {} coefficients for {} inputs",
                    coefficients.len(),
                    inputs.len()
                )));
            }
            2 => self.push("Max", name, inputs, to, vec![]),
            other => return Err(Stop::Refused(format!("the function {other} is not covered"))),
        }
        Ok(())
    }

    /// Every second row and column, four times, as channels: rows first.
    fn focus(&mut self, layer: &Layer, x: String, to: String) -> Done {
        let mut parts = Vec::new();
        let [ends, axes, steps] =
            [vec![i64::MAX; 2], vec![-2, -1], vec![2, 2]].map(|values| self.constant(Array::ints(values)));
        for [row, column] in [[0, 0], [1, 0], [0, 1], [1, 1]] {
            let starts = self.constant(Array::ints([row, column]));
            let part = self.fresh(&format!("{to} {row}{column}"));
            let inputs = vec![x.clone(), starts, ends.clone(), axes.clone(), steps.clone()];
            self.push("Slice", &layer.name, inputs, part.clone(), vec![]);
            parts.push(part);
        }
        self.push("Concat", &layer.name, parts, to, vec![("axis", Attribute::Int(1))]);
        Ok(())
    }
}
