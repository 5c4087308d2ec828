//! Reads ONNX files: convolutional networks trained elsewhere, as nodes of a [`Graph`] and their [`Weights`].
//!
//! | operator | becomes                                                       | refused                                      |
//! |----------|---------------------------------------------------------------|----------------------------------------------|
//! | Conv     | `conv3x3` (stride 1, zero padding 1, one group) or `conv2d`   | 1-D, 3-D, filters that are computed, SAME_*  |
//! |          | with stride, four pads, dilation, groups; no bias is one of 0 | padding                                      |
//! | Relu     | `relu`                                                        |                                              |
//!
//! Every other operator is an error that names it. There must be one input and one output, float32 `[N,C,H,W]`. A symbolic N
//! becomes 1; the other dimensions must be numbers or be given. Initializers must be finite float32 inside the file.
//!
//! A node's path is its name in the file, or that of its output if it has none, without a leading `/`. Parameters have the names
//! of their initializers; a missing bias becomes `<node>.b`. A second node with the same name becomes `<name>_2`.
//!
//! Source: onnx.proto and Operators.md of <https://github.com/onnx/onnx>. Conv and Relu mean the same in all versions.

pub mod export;
mod proto;

use crate::error::{Error, Result};
use crate::graph::{Graph, Init, NodeId};
use crate::ops::conv2d::Conv2d;
use crate::ops::relu::Relu;
use crate::tensor::{Shape, Tensor};
use crate::weights::Weights;
use prost::Message;
use std::collections::{BTreeMap, HashMap};

/// The supported operators, as messages list them.
const COVERED: &str = "covered are Conv (2-D, stride, dilation, groups, four pads) and Relu";

/// onnx.proto's number for float32.
const FLOAT: i32 = 1;

/// A network that was added to a graph.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The input's path, under which a run takes its tensor, and its node.
    pub input: (String, NodeId),
    pub output: NodeId,
    /// Values of all parameters that were added.
    pub weights: Weights,
}

/// Dimensions that replace those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputSize {
    /// N.
    pub batch: Option<usize>,
    /// H.
    pub height: Option<usize>,
    /// W.
    pub width: Option<usize>,
}

/// Adds the network in `bytes` to `graph`; `name` is for messages. Compile the output with the weights.
///
/// # Errors
/// The file is not an ONNX file, is truncated or damaged; an operator, attribute, element type or shape is not covered, with the
/// node's name; nothing computes a name; a value is NaN or infinite. `graph` is then unchanged. No allocation is larger than
/// twice the file.
pub fn read(name: &str, bytes: &[u8], graph: &mut Graph) -> Result<Imported> {
    read_sized(name, bytes, InputSize::default(), graph)
}

/// Like [`read`], but with an input of another size than in the file.
///
/// # Errors
/// Those of [`read`]; the network does not accept an input of this size.
pub fn read_sized(name: &str, bytes: &[u8], size: InputSize, graph: &mut Graph) -> Result<Imported> {
    let fail = |problem: String| Error::import(name, problem);
    let model = proto::Model::decode(bytes).map_err(|e| {
        fail(format!("is not an ONNX file, or is truncated or damaged: {e}; export or download it again"))
    })?;
    let Some(network) = &model.graph else {
        return Err(fail(
            "holds no graph, so it is not an ONNX file or is truncated; export or download it again".into(),
        ));
    };
    if !model.opset_import.iter().any(|s| is_onnx(&s.domain) && s.version >= 1) {
        return Err(fail(
            "names no version of ONNX's operators, so it is not an ONNX file or is truncated; export or download it again"
                .into(),
        ));
    }
    // Nodes are added to a copy, so that a refused file leaves nothing behind.
    let mut extended = graph.clone();
    let imported = Reader::new(name, network, &mut extended)?.read(network, size)?;
    *graph = extended;
    Ok(imported)
}

/// Reads an ONNX file; see [`read_sized`].
///
/// # Errors
/// Those of [`read_sized`]; the file is missing, a folder, empty or cannot be read.
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<std::path::Path>, size: InputSize, graph: &mut Graph) -> Result<Imported> {
    let path = path.as_ref();
    let bytes = crate::files::read(path, |file, problem| Error::Import { file, problem })?;
    read_sized(&path.display().to_string(), &bytes, size, graph)
}

fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

struct Reader<'a> {
    file: &'a str,
    graph: &'a mut Graph,
    initializers: HashMap<&'a str, &'a proto::Tensor>,
    /// The input and the values computed so far.
    values: HashMap<&'a str, NodeId>,
    /// Initializers that became parameters.
    parameters: HashMap<&'a str, NodeId>,
    tensors: BTreeMap<String, Tensor>,
    /// Names in use, and how often each was requested.
    names: HashMap<String, usize>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str, network: &'a proto::Graph, graph: &'a mut Graph) -> Result<Self> {
        let mut initializers = HashMap::new();
        for tensor in &network.initializer {
            if initializers.insert(tensor.name.as_str(), tensor).is_some() {
                return Err(Error::import(file, format!("has two initializers {:?}; export it again", tensor.name)));
            }
        }
        Ok(Self {
            file,
            graph,
            initializers,
            values: HashMap::new(),
            parameters: HashMap::new(),
            tensors: BTreeMap::new(),
            names: HashMap::new(),
        })
    }

    fn fail<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(Error::import(self.file, problem))
    }

    /// Returns a name for the graph: `wanted` without characters that would break a table, numbered if it is in use.
    fn name(&mut self, wanted: &str) -> String {
        let clean: String =
            wanted.trim_start_matches('/').chars().map(|c| if c.is_control() { '_' } else { c }).collect();
        let base = if clean.is_empty() { "node".to_owned() } else { clean };
        let mut name = base.clone();
        let mut count = self.names.get(&base).copied().unwrap_or(0);
        while self.names.contains_key(&name) {
            count += 1;
            name = format!("{base}_{}", count.max(2));
        }
        self.names.insert(base, count.max(1));
        self.names.entry(name.clone()).or_insert(1);
        name
    }

    fn read(mut self, network: &'a proto::Graph, size: InputSize) -> Result<Imported> {
        let given: Vec<&proto::ValueInfo> =
            network.input.iter().filter(|i| !self.initializers.contains_key(i.name.as_str())).collect();
        let [input] = given[..] else {
            let names: Vec<&str> = given.iter().map(|i| i.name.as_str()).collect();
            return self.fail(format!("has {} inputs {names:?}, expected one", given.len()));
        };
        let shape = self.input_shape(input, size)?;
        let path = self.name(&input.name);
        let id = self.graph.input(&path, shape).map_err(|e| Error::import(self.file, e.to_string()))?;
        let path = self.graph.node(id)?.name.clone();
        self.values.insert(&input.name, id);
        for node in &network.node {
            self.add(node)?;
        }
        let [output] = &network.output[..] else {
            let names: Vec<&str> = network.output.iter().map(|o| o.name.as_str()).collect();
            return self.fail(format!("has {} outputs {names:?}, expected one", names.len()));
        };
        match self.values.get(output.name.as_str()) {
            Some(&node) if node != id => {
                Ok(Imported { input: (path, id), output: node, weights: Weights::from_tensors(self.tensors) })
            }
            _ => self.fail(format!("output {:?} is not computed by any node", output.name)),
        }
    }

    fn input_shape(&self, input: &proto::ValueInfo, size: InputSize) -> Result<Shape> {
        let about = format!("input {:?}", input.name);
        let Some(tensor) = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
            return self.fail(format!("{about} is not a tensor, expected float32 [N,C,H,W]"));
        };
        if tensor.elem_type != FLOAT {
            return self.fail(format!("{about} has elements of type {}, expected float32 (1)", tensor.elem_type));
        }
        let dims = tensor.shape.as_ref().map_or(&[][..], |s| &s.dim);
        if dims.len() != 4 {
            return self.fail(format!("{about} has {} dimensions, expected [N,C,H,W]", dims.len()));
        }
        let wanted = [size.batch.or(Some(1).filter(|_| dims[0].dim_value.is_none())), None, size.height, size.width];
        let mut shape = [0; 4];
        for (k, dim) in dims.iter().enumerate() {
            let value = match (wanted[k], dim.dim_value) {
                (Some(wanted), _) => Some(wanted),
                (None, Some(value)) => usize::try_from(value).ok(),
                (None, None) => None,
            };
            let Some(value) = value.filter(|&v| v > 0) else {
                let got = match (dim.dim_value, dim.dim_param.as_deref()) {
                    (Some(value), _) => value.to_string(),
                    (None, name) => format!("{:?}", name.unwrap_or_default()),
                };
                let letter = ["N", "C", "H", "W"][k];
                return self.fail(format!(
                    "dimension {letter} of {about} is {got}, expected a number of at least 1; export with a fixed size or give one"
                ));
            };
            shape[k] = value;
        }
        Ok(shape.into())
    }

    fn add(&mut self, node: &'a proto::Node) -> Result<()> {
        let label = if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name };
        let operator =
            if is_onnx(&node.domain) { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
        let at = |problem: String| Error::import(self.file, format!("node {label:?} ({operator}): {problem}"));
        if !["Conv", "Relu"].contains(&operator.as_str()) {
            return Err(at(format!("this operator is not covered; {COVERED}")));
        }
        let [output] = &node.output[..] else {
            return Err(at(format!("has {} outputs, expected one", node.output.len())));
        };
        if output.is_empty()
            || self.values.contains_key(output.as_str())
            || self.initializers.contains_key(output.as_str())
        {
            return Err(at(format!("its output {output:?} must be a unique name; export it again")));
        }
        let inputs = if operator == "Conv" { 2..=3 } else { 1..=1 };
        if !inputs.contains(&node.input.len()) {
            return Err(at(format!("has {} inputs, expected {inputs:?}", node.input.len())));
        }
        let Some(&x) = self.values.get(node.input[0].as_str()) else {
            return Err(at(format!(
                "reads {:?}, which is neither the input nor computed before it; export the file again",
                node.input[0]
            )));
        };
        let problem = if operator == "Conv" { self.conv(node, label, x) } else { self.relu(node, label, x) };
        let at = |problem: String| Error::import(self.file, format!("node {label:?} ({operator}): {problem}"));
        let id = problem.map_err(|e| match e {
            // The graph's message names its own path; ours begins with the name from the file.
            Error::Shape { source, .. } => at(source.to_string()),
            Error::Graph { problem, .. } => at(problem),
            Error::Import { problem, .. } => at(problem),
            other => at(other.to_string()),
        })?;
        self.values.insert(output, id);
        Ok(())
    }

    fn relu(&mut self, node: &proto::Node, label: &str, x: NodeId) -> Result<NodeId> {
        if let Some(attribute) = node.attribute.first() {
            return self.fail(format!("has the attribute {:?}, expected none", attribute.name));
        }
        let path = self.name(label);
        self.graph.add_named(&path, Relu, &[x])
    }

    fn conv(&mut self, node: &'a proto::Node, label: &str, x: NodeId) -> Result<NodeId> {
        let path = self.name(label);
        let w = self.parameter(&node.input[1], "filters", 4)?;
        let [channels, _, rows, columns] = self.graph.shape(w)?.nchw();
        let b = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => self.parameter(name, "bias", 1)?,
            None => {
                let name = self.name(&format!("{path}.b"));
                self.new_parameter(&name, Tensor::zeros([1, channels, 1, 1]))?
            }
        };
        let op = self.conv_attributes(node, [rows, columns])?;
        self.graph.add_named(&path, op, &[x, w, b])
    }

    fn conv_attributes(&self, node: &proto::Node, kernel: [usize; 2]) -> Result<Conv2d> {
        let mut op = Conv2d::default();
        let mut seen: Vec<&str> = Vec::new();
        for attribute in &node.attribute {
            let name = attribute.name.as_str();
            let numbers = |count: usize| -> Result<Vec<usize>> {
                let found: Vec<usize> = attribute.ints.iter().filter_map(|&v| usize::try_from(v).ok()).collect();
                if found.len() != count || attribute.ints.len() != count {
                    return self
                        .fail(format!("{name} is {:?}, expected {count} numbers of at least 0", attribute.ints));
                }
                Ok(found)
            };
            if seen.contains(&name) || !attribute.ref_attr_name.is_empty() {
                return self.fail(format!("the attribute {name:?} is given twice or by a function; export it again"));
            }
            seen.push(name);
            match name {
                "kernel_shape" => {
                    let given = numbers(2)?;
                    if given != kernel {
                        return self.fail(format!("kernel_shape is {given:?}, the filters are {kernel:?}"));
                    }
                }
                "strides" => op.stride = [numbers(2)?[0], numbers(2)?[1]],
                "dilations" => op.dilation = [numbers(2)?[0], numbers(2)?[1]],
                "pads" => {
                    op.padding.copy_from_slice(&numbers(4)?);
                }
                "group" => match attribute.i.and_then(|v| usize::try_from(v).ok()) {
                    Some(groups) => op.groups = groups,
                    None => return self.fail(format!("group is {:?}, expected a number of at least 1", attribute.i)),
                },
                // VALID means no padding, the default.
                "auto_pad" if matches!(attribute.s.as_deref(), Some(b"NOTSET" | b"VALID")) => {}
                "auto_pad" => {
                    let got = String::from_utf8_lossy(attribute.s.as_deref().unwrap_or_default()).into_owned();
                    return self.fail(format!("auto_pad is {got:?}, expected NOTSET; export it with pads"));
                }
                _ => return self.fail(format!("the attribute {name:?} is unknown; {COVERED}")),
            }
        }
        Ok(op)
    }

    /// Returns the parameter for the initializer `name`, which must have `rank` dimensions.
    fn parameter(&mut self, name: &'a str, role: &str, rank: usize) -> Result<NodeId> {
        let about = format!("its {role} {name:?}");
        let Some(&tensor) = self.initializers.get(name) else {
            return self.fail(format!("{about} must be an initializer of the file; {COVERED}"));
        };
        if tensor.dims.len() != rank {
            return self.fail(format!("{about} is {:?}, expected {rank} dimensions; {COVERED}", tensor.dims));
        }
        if let Some(&id) = self.parameters.get(name) {
            return Ok(id);
        }
        let dims: Vec<usize> = tensor.dims.iter().filter_map(|&d| usize::try_from(d).ok()).collect();
        let shape = match dims[..] {
            [c] => Shape::from([1, c, 1, 1]),
            [o, i, h, w] => Shape::from([o, i, h, w]),
            _ => return self.fail(format!("{about} is {:?}, expected dimensions of at least 1", tensor.dims)),
        };
        let data = self.data(tensor, &shape, &about)?;
        let path = self.name(name);
        let id = self.new_parameter(&path, Tensor::new(shape, data)?)?;
        self.parameters.insert(name, id);
        Ok(id)
    }

    fn new_parameter(&mut self, name: &str, tensor: Tensor) -> Result<NodeId> {
        let id = self.graph.param(name, tensor.shape(), Init::Constant(0.0))?;
        // The path includes the graph's scope.
        self.tensors.insert(self.graph.node(id)?.name.clone(), tensor);
        Ok(id)
    }

    fn data(&self, tensor: &proto::Tensor, shape: &Shape, about: &str) -> Result<Vec<f32>> {
        if tensor.data_type != FLOAT {
            let got = tensor.data_type;
            return self.fail(format!("{about} has elements of type {got}, expected float32 (1); convert it"));
        }
        if tensor.data_location != 0 {
            return self.fail(format!("the values of {about} lie in another file; export them inside the ONNX file"));
        }
        let data: Vec<f32> = match &tensor.raw_data {
            Some(raw) if raw.len() % 4 == 0 => {
                raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Some(raw) => return self.fail(format!("{about} has {} bytes, expected a multiple of 4", raw.len())),
            None => tensor.float_data.clone(),
        };
        let expected = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if expected != Some(data.len()) || data.is_empty() {
            return self.fail(format!(
                "{about} is {:?} and has {} values; the file is damaged, export it again",
                tensor.dims,
                data.len()
            ));
        }
        let bad = data.iter().filter(|v| !v.is_finite()).count();
        if bad > 0 {
            return self.fail(format!("{about} has {bad} values that are NaN or infinite"));
        }
        Ok(data)
    }
}
