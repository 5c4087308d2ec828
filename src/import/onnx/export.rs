//! Writes a network as an ONNX file, opset 17, for other programs to run.
//!
//! An operation becomes the ONNX operator of its meaning or, where there is none, a few operators. A value has the path of its node,
//! and a weight its own name. Integers are int64, which ONNX's operators take as indices. What exists only in training, such as a
//! loss or dropout, is refused.
//!
//! Source: Operators.md of <https://github.com/onnx/onnx>, version 17.

mod operators;

use super::proto::{self, Attribute, Dimension, Dimensions, Entry, OperatorSet, TensorType, Type, ValueInfo};
use crate::error::{Error, Result};
use crate::exec::Network;
use crate::graph::{Drafted, Given, Graph, Kind, Node, NodeId};
use crate::tensor::{DType, Shape};
use crate::weights::Weights;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// The version of ONNX's operators that files name.
const OPSET: i64 = 17;

/// The version of the format that came with it.
const IR: i64 = 8;

/// onnx.proto's numbers for element types.
const FLOAT: i32 = 1;
const INT64: i32 = 7;

impl Network {
    /// Returns the network as an ONNX file for inputs of these shapes, with its current weights. Dimensions N, H and W of inputs that the
    /// operations do not depend on are left open, so that other programs may choose them.
    ///
    /// # Errors
    /// An operation has no form in ONNX (the error names the node); those of the function that builds the network; the device fails.
    pub fn to_onnx(&self, given: &[Given]) -> Result<Vec<u8>> {
        let weights = pollster::block_on(self.known_weights_async())?;
        let model_of = |given: &[Given]| model(&self.draft(given, false)?, &weights);
        let mut written = model_of(given)?;
        for (axis, letter) in [(0, "N"), (2, "H"), (3, "W")] {
            let is_spatial = |given: &Given| given.shape.rank() == 4;
            let larger = |given: &Given| {
                let mut dimensions = given.shape.to_vec();
                if axis == 0 || is_spatial(given) {
                    dimensions[axis] *= 2;
                }
                Given { shape: Shape::new(&dimensions).unwrap_or(given.shape), ..given.clone() }
            };
            let others: Vec<Given> = given.iter().map(larger).collect();
            if others == given {
                continue;
            }
            // A network that refuses the other size depends on this one.
            if let Ok(other) = model_of(&others) {
                leave_open(&mut written, &other, axis, letter);
            }
        }
        Ok(written.encode_to_vec())
    }
}

/// Replaces dimensions that differ between two models by names, if nothing else differs.
fn leave_open(model: &mut proto::Model, other: &proto::Model, axis: usize, letter: &str) {
    let (Some(mine), Some(theirs)) = (&mut model.graph, &other.graph) else { return };
    if mine.node != theirs.node || mine.initializer != theirs.initializer {
        return;
    }
    let inputs = mine.input.len();
    let pairs = mine.input.iter_mut().chain(&mut mine.output).zip(theirs.input.iter().chain(&theirs.output));
    for (k, (mine, theirs)) in pairs.enumerate() {
        let name = mine.name.clone();
        for (position, (dim, other)) in dims(mine).into_iter().zip(dims(&mut theirs.clone())).enumerate() {
            if dim.dim_value.is_some() && dim.dim_value != other.dim_value {
                let own = if k < inputs && position == axis { letter.to_owned() } else { format!("{name}.{position}") };
                let own = if position == 0 && axis == 0 { letter.to_owned() } else { own };
                *dim = Dimension { dim_param: Some(own), ..Dimension::default() };
            }
        }
    }
}

fn dims(value: &mut ValueInfo) -> Vec<&mut Dimension> {
    let tensor = value.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
    tensor.and_then(|t| t.shape.as_mut()).map(|shape| shape.dim.iter_mut().collect()).unwrap_or_default()
}

/// Returns a drafted network as an ONNX file with `weights`.
///
/// # Errors
/// An operation has no form in ONNX; a weight is missing.
pub fn write(drafted: &Drafted, weights: &Weights) -> Result<Vec<u8>> {
    Ok(model(drafted, weights)?.encode_to_vec())
}

fn model(drafted: &Drafted, weights: &Weights) -> Result<proto::Model> {
    let graph = &drafted.graph;
    let mut writer = Writer {
        graph,
        weights,
        node: Vec::new(),
        initializer: Vec::new(),
        values: BTreeMap::new(),
        taken: graph.nodes().iter().map(|node| node.name.clone()).collect(),
        written: BTreeSet::new(),
        known: BTreeMap::new(),
        path: String::new(),
    };
    let needed = needed(graph, &drafted.outputs);
    let mut input = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
        if matches!(node.kind, Kind::Input) {
            input.push(value_info(&node.name, node.shape, node.dtype));
        }
        writer.add(index, node)?;
    }
    let mut output = Vec::new();
    for (name, id) in &drafted.outputs {
        let node = graph.node(*id)?;
        let value = writer.value(id.index);
        if *name != value {
            if writer.taken.contains(name) {
                let problem = "is the name of an output and of another value; give the output another name";
                return Err(Error::graph(name, problem));
            }
            // A computed value takes the output's name, unless it is another output too.
            if writer.written.contains(&value) && !writer.values.contains_key(&id.index) {
                writer.rename(&value, name);
                writer.values.insert(id.index, name.clone());
            } else {
                writer.put("Identity", &[&value], vec![], name);
            }
        }
        output.push(value_info(name, node.shape, node.dtype));
    }
    let (node, initializer) = (writer.node, writer.initializer);
    let network = proto::Graph { node, name: "lineament".into(), initializer, input, output };
    let entry = |(key, value): (&String, &String)| Entry { key: key.clone(), value: value.clone() };
    Ok(proto::Model {
        ir_version: IR,
        producer_name: "lineament".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        domain: String::new(),
        doc_string: String::new(),
        graph: Some(network),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: weights.manifest().iter().map(entry).collect(),
    })
}

/// Returns which nodes the outputs depend on.
fn needed(graph: &Graph, outputs: &[(String, NodeId)]) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    outputs.iter().for_each(|(_, id)| needed[id.index] = true);
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if needed[index] {
            node.inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    needed
}

fn value_info(name: &str, shape: Shape, dtype: DType) -> ValueInfo {
    let dim = shape.iter().map(|&d| Dimension { dim_value: Some(d as i64), ..Dimension::default() }).collect();
    let tensor_type = Some(TensorType { elem_type: element_type(dtype), shape: Some(Dimensions { dim }) });
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type }) }
}

fn element_type(dtype: DType) -> i32 {
    if dtype == DType::F32 { FLOAT } else { INT64 }
}

struct Writer<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    node: Vec<proto::Node>,
    initializer: Vec<proto::Tensor>,
    /// The names of values by node, where they differ from the node's path.
    values: BTreeMap<usize, String>,
    /// Names of values in use.
    taken: BTreeSet<String>,
    /// Names of values that an operator has computed.
    written: BTreeSet<String>,
    /// Initializers by node and dimensions.
    known: BTreeMap<(usize, Vec<usize>), String>,
    /// The path of the node that is being written.
    path: String,
}

impl Writer<'_> {
    fn shape(&self, index: usize) -> Shape {
        self.graph.nodes()[index].shape
    }

    /// Returns the name of a node's value.
    fn value(&mut self, index: usize) -> String {
        let node = &self.graph.nodes()[index];
        match node.kind {
            Kind::Param { .. } | Kind::Constant(_) => self.shaped(index, &node.shape),
            _ => self.values.get(&index).unwrap_or(&node.name).clone(),
        }
    }

    /// Gives a computed value another name.
    fn rename(&mut self, from: &str, to: &str) {
        for name in self.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
            if name == from {
                to.clone_into(name);
            }
        }
        self.taken.insert(to.to_owned());
        self.written.insert(to.to_owned());
    }

    /// Adds an operator that writes `output`.
    fn put(&mut self, op: &str, inputs: &[&str], attribute: Vec<Attribute>, output: &str) {
        self.put_all(op, inputs, attribute, &[output]);
    }

    fn put_all(&mut self, op: &str, inputs: &[&str], attribute: Vec<Attribute>, outputs: &[&str]) {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (input, output) = (own(inputs), own(outputs));
        let name = outputs.iter().find(|name| !name.is_empty()).copied().unwrap_or_default().to_owned();
        self.taken.extend(outputs.iter().map(|&name| name.to_owned()));
        self.written.extend(outputs.iter().map(|&name| name.to_owned()));
        self.node.push(proto::Node { input, output, name, op_type: op.into(), attribute, domain: String::new() });
    }

    /// Returns a new name that begins with the path of the node that is being written.
    fn fresh(&mut self, suffix: &str) -> String {
        let base = format!("{}.{suffix}", self.path);
        let mut name = base.clone();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{base}_{count}");
        }
        name
    }

    /// Adds an operator and returns its value.
    fn then(&mut self, op: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        let name = self.fresh(&op.to_lowercase());
        self.put(op, inputs, attribute, &name);
        name
    }

    fn floats(&mut self, suffix: &str, dims: &[usize], values: &[f32]) -> String {
        let name = self.fresh(suffix);
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer.push(initializer(&name, dims, FLOAT, raw));
        name
    }

    fn int64s(&mut self, suffix: &str, dims: &[usize], values: impl IntoIterator<Item = i64>) -> String {
        let name = self.fresh(suffix);
        let raw = values.into_iter().flat_map(i64::to_le_bytes).collect();
        self.initializer.push(initializer(&name, dims, INT64, raw));
        name
    }

    /// Returns the value of a node with other dimensions: a weight or constant as an initializer, anything else reshaped.
    fn shaped(&mut self, index: usize, dims: &[usize]) -> String {
        let node = &self.graph.nodes()[index];
        let tensor = match &node.kind {
            Kind::Constant(tensor) => Some((**tensor).clone()),
            Kind::Param { init, .. } => {
                // A state that no file has is still at its initial value.
                let own = self.weights.get(&node.name).cloned();
                Some(own.unwrap_or_else(|| init.fill(node.shape, 0, &node.name)))
            }
            _ => None,
        };
        let Some(tensor) = tensor else {
            let value = self.value(index);
            if node.shape[..] == *dims {
                return value;
            }
            return self.reshaped(&value, dims);
        };
        if let Some(known) = self.known.get(&(index, dims.to_vec())) {
            return known.clone();
        }
        // The first form has the weight's own name.
        let is_first = !self.known.keys().any(|(known, _)| *known == index);
        let name = if is_first { node.name.clone() } else { self.fresh(&format!("as_{}d", dims.len())) };
        let raw = match tensor.dtype() {
            DType::F32 => tensor.bytes().to_vec(),
            _ => tensor.to_f64().iter().flat_map(|&v| (v as i64).to_le_bytes()).collect(),
        };
        self.initializer.push(initializer(&name, dims, element_type(tensor.dtype()), raw));
        self.known.insert((index, dims.to_vec()), name.clone());
        name
    }

    fn reshaped(&mut self, value: &str, dims: &[usize]) -> String {
        let to = self.int64s("shape", &[dims.len()], dims.iter().map(|&d| d as i64));
        self.then("Reshape", &[value, &to], vec![])
    }

    fn put_reshaped(&mut self, value: &str, dims: &[usize], output: &str) {
        let to = self.int64s("shape", &[dims.len()], dims.iter().map(|&d| d as i64));
        self.put("Reshape", &[value, &to], vec![], output);
    }

    fn add(&mut self, index: usize, node: &Node) -> Result<()> {
        self.path.clone_from(&node.name);
        let no_form = |what: &str| {
            Err(Error::graph(
                &node.name,
                format!("{what} has no form in ONNX's opset {OPSET}; leave it out of the outputs"),
            ))
        };
        match &node.kind {
            // They are written where they are used.
            Kind::Input | Kind::Param { .. } | Kind::Constant(_) => Ok(()),
            Kind::Output { .. } if self.written.contains(&node.name) => Ok(()),
            Kind::Output { .. } => no_form("this output"),
            Kind::Reshape => {
                let x = self.value(node.inputs[0]);
                self.put_reshaped(&x, &node.shape, &node.name);
                Ok(())
            }
            Kind::Op(op) => match self.op(index, node, &**op)? {
                true => Ok(()),
                false => no_form(op.name()),
            },
            Kind::Grad { .. } => no_form("a gradient"),
            Kind::Update(_) | Kind::Pack => no_form("an update"),
        }
    }
}

fn initializer(name: &str, dims: &[usize], data_type: i32, raw: Vec<u8>) -> proto::Tensor {
    let dims = dims.iter().map(|&d| d as i64).collect();
    proto::Tensor { dims, data_type, name: name.into(), raw_data: Some(raw), ..proto::Tensor::default() }
}
