//! Reads and writes ONNX files.
//!
//! [`open`] and [`read`] make a [`Model`] of a file, whatever its operators are: those that cannot be run are reported together when
//! the network is added to a graph. Versions 7 to 23 of ONNX's operators are read. Weights may lie in the file, in Constant nodes, or
//! in files of its folder ([`open`] only); float16, bfloat16 and float64 are computed in float32.
//!
//! A node's operations have paths that begin with its name in the file, or that of its output if it has none, without a leading `/`.
//! Parameters have the names of their initializers.
//!
//! Source: onnx.proto and Operators.md of <https://github.com/onnx/onnx>.

pub mod export;
mod parts;
mod proto;

use super::array::{Array, Data, Kind, count};
use super::lower::{Attribute, Branch, Known, Node, clean};
use super::model::{Dimension, Model, Port};
use crate::error::{Error, Result};
#[cfg(feature = "files")]
use crate::weights::Weights;
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The newest version of ONNX's operators whose changes are known here.
const NEWEST: i64 = 24;

/// Most inputs, and most outputs, of a network. Those with a cache for each layer have a few hundred.
const MAX_PORTS: usize = 4096;

/// Bytes of another file in which values lie: its name, the offset of the first byte, and the number of bytes if it is given.
pub type Outside<'a> = dyn FnMut(&str, u64, Option<u64>) -> Result<Vec<u8>> + 'a;

/// Reads the ONNX file `bytes`; `name` is for messages.
///
/// # Errors
/// The file is not an ONNX file, is truncated or damaged, or has more than two million parts; its values lie in other files. No
/// allocation is larger than some gigabyte and a few times the file.
pub fn read(name: &str, bytes: &[u8]) -> Result<Model> {
    let mut outside = |location: &str, _: u64, _: Option<u64>| -> Result<Vec<u8>> {
        Err(Error::import(name, format!("has values in the file {location:?}; open it by its path")))
    };
    Ok(read_with(name, bytes, &mut outside)?.simplified())
}

/// Reads an ONNX file; values that lie outside of it are read from files in its own folder.
///
/// # Errors
/// Those of [`read`]; a file is missing, a folder, empty or cannot be read, or lies outside of the folder.
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<std::path::Path>) -> Result<Model> {
    Ok(open_as_stored(path.as_ref())?.simplified())
}

/// Reads the weights in an ONNX file as f32, by their names there, with what the file says of itself as the manifest. Integers and tensors
/// without elements are left out.
///
/// # Errors
/// Those of [`open`]; a tensor has more than six dimensions; two have one name.
#[cfg(feature = "files")]
pub fn weights(path: impl AsRef<std::path::Path>) -> Result<Weights> {
    open_as_stored(path.as_ref())?.stored()
}

#[cfg(feature = "files")]
fn open_as_stored(path: &std::path::Path) -> Result<Model> {
    let name = path.display().to_string();
    let bytes = crate::files::read(path, |file, problem| Error::Import { file, problem })?;
    let mut outside =
        |location: &str, offset: u64, length: Option<u64>| crate::files::part(path, location, offset, length);
    read_with(&name, &bytes, &mut outside)
}

fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Reads an ONNX file whose values may lie outside of it, as it is.
fn read_with(name: &str, bytes: &[u8], outside: &mut Outside) -> Result<Model> {
    let fail = |problem: String| Error::import(name, problem);
    let damaged =
        |why: &str| fail(format!("is not an ONNX file, or is truncated or damaged{why}; export or download it again"));
    match parts::count(bytes) {
        None => return Err(damaged("")),
        Some(parts) if parts > parts::MAX_PARTS => {
            return Err(fail(format!(
                "has more than {} nodes, attributes, tensors and names; simplify or split the network",
                parts::MAX_PARTS
            )));
        }
        Some(_) => {}
    }
    let model = proto::Model::decode(bytes).map_err(|e| damaged(&format!(": {e}")))?;
    let Some(graph) = model.graph else {
        return Err(fail(
            "holds no graph, so it is not an ONNX file or is truncated; export or download it again".into(),
        ));
    };
    // A file without any operator of ONNX's own names no version of them.
    let is_other = |set: &&proto::OperatorSet| !is_onnx(&set.domain);
    let version = model.opset_import.iter().find(|set| is_onnx(&set.domain)).map(|set| set.version);
    let version = version.or_else(|| model.opset_import.iter().find(is_other).map(|_| NEWEST));
    let Some(opset) = version.filter(|&version| version >= 1) else {
        return Err(fail(
            "names no version of ONNX's operators, so it is not an ONNX file or is truncated; export or download it again"
                .into(),
        ));
    };
    if opset > NEWEST {
        return Err(fail(format!(
            "uses version {opset} of ONNX's operators, known are 1 to {NEWEST}; export it with an older one"
        )));
    }
    let mut reader = Reader { file: name, outside };
    let mut initializers = BTreeMap::new();
    for tensor in graph.initializer {
        let array = reader.array(&tensor, &format!("initializer {:?}", tensor.name))?;
        let parameter = array.kind().is_float().then(|| clean(&tensor.name));
        let known = Known { array: Arc::new(array), name: parameter };
        if initializers.insert(tensor.name.clone(), known).is_some() {
            return Err(fail(format!("has two initializers {:?}; export it again", tensor.name)));
        }
    }
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut made = HashSet::new();
    for node in graph.node {
        let node = reader.node(node)?;
        for output in node.outputs.iter().filter(|output| !output.is_empty()) {
            if initializers.contains_key(output) || !made.insert(output.clone()) {
                return Err(fail(format!(
                    "node {:?} ({}): its output {output:?} must be a unique name; export it again",
                    node.label(),
                    node.op
                )));
            }
        }
        nodes.push(node);
    }
    let mut inputs = Vec::new();
    for input in &graph.input {
        // An initializer that is also an input has a default, which is used.
        if !initializers.contains_key(&input.name) {
            inputs.push(reader.port(input, "input")?);
        }
    }
    let outputs: Vec<Port> = graph.output.iter().map(|output| reader.port(output, "output")).collect::<Result<_>>()?;
    if outputs.is_empty() {
        return Err(fail("has no outputs".into()));
    }
    if inputs.len().max(outputs.len()) > MAX_PORTS {
        return Err(fail(format!("has more than {MAX_PORTS} inputs or outputs; split the network")));
    }
    let mut metadata: Vec<(String, String)> = Vec::new();
    for (key, value) in
        [("producer", &model.producer_name), ("producer version", &model.producer_version), ("domain", &model.domain)]
    {
        if !value.is_empty() {
            metadata.push((key.to_owned(), value.clone()));
        }
    }
    metadata.push(("opset".to_owned(), opset.to_string()));
    if !model.doc_string.trim().is_empty() {
        metadata.push(("description".to_owned(), model.doc_string.trim().to_owned()));
    }
    metadata.extend(model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)));
    Ok(Model {
        file: name.to_owned(),
        nodes,
        initializers,
        inputs,
        outputs,
        opset,
        metadata,
        operators: BTreeMap::new(),
    })
}

struct Reader<'a, 'b> {
    file: &'a str,
    outside: &'a mut Outside<'b>,
}

impl Reader<'_, '_> {
    fn fail<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(Error::import(self.file, problem))
    }

    fn port(&self, value: &proto::ValueInfo, what: &str) -> Result<Port> {
        let about = format!("{what} {:?}", value.name);
        let Some(tensor) = value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
            // An output may be declared by its name alone.
            if what == "output" && value.r#type.is_none() {
                return Ok(Port { name: value.name.clone(), kind: Kind::F32, dims: None });
            }
            return self.fail(format!("{about} is not a tensor; sequences, maps and optional values are not covered"));
        };
        let Some(kind) = Kind::from_onnx(tensor.elem_type) else {
            return self.fail(format!(
                "{about} has elements of type {}, which is not covered",
                element_type(tensor.elem_type)
            ));
        };
        let dims = tensor.shape.as_ref().map(|shape| {
            let dim = |dim: &proto::Dimension| match dim.dim_value.map(usize::try_from) {
                Some(Ok(size)) if size > 0 || what == "input" => Dimension::Fixed(size),
                // Some exporters write -1 or 0 for any size.
                Some(_) => Dimension::Any(String::new()),
                None => Dimension::Any(dim.dim_param.clone().unwrap_or_default()),
            };
            shape.dim.iter().map(dim).collect()
        });
        Ok(Port { name: value.name.clone(), kind, dims })
    }

    fn node(&mut self, node: proto::Node) -> Result<Node> {
        let op = if is_onnx(&node.domain) { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
        let label =
            if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() };
        let mut attributes: Vec<(String, Attribute)> = Vec::with_capacity(node.attribute.len());
        let mut names = HashSet::new();
        for attribute in node.attribute {
            if !names.insert(attribute.name.clone()) || !attribute.ref_attr_name.is_empty() {
                return self.fail(format!(
                    "node {label:?} ({op}): the attribute {:?} is given twice or by a function; export it again",
                    attribute.name
                ));
            }
            let about = format!("the attribute {} of node {label:?} ({op})", attribute.name);
            attributes.push((attribute.name.clone(), self.attribute(attribute, &about)?));
        }
        let mut inputs = node.input;
        let mut read: HashSet<String> = inputs.iter().cloned().collect();
        for (_, attribute) in &attributes {
            // What a branch reads from the graph around it is read by its node.
            if let Attribute::Branch(branch) = attribute {
                inputs.extend(branch.captured().into_iter().filter(|name| read.insert(name.clone())));
            }
        }
        Ok(Node { op, name: node.name, inputs, outputs: node.output, attributes })
    }

    /// Reads the graph of a branch.
    fn branch(&mut self, graph: proto::Graph, about: &str) -> Result<Branch> {
        let mut initializers = Vec::with_capacity(graph.initializer.len());
        for tensor in graph.initializer {
            let array = self.array(&tensor, &format!("{about}, initializer {:?}", tensor.name))?;
            initializers.push((tensor.name, Known { array: Arc::new(array), name: None }));
        }
        let nodes = graph.node.into_iter().map(|node| self.node(node)).collect::<Result<_>>()?;
        let inputs = graph.input.into_iter().map(|input| input.name).collect();
        Ok(Branch {
            inputs,
            nodes,
            initializers,
            outputs: graph.output.into_iter().map(|output| output.name).collect(),
        })
    }

    fn attribute(&mut self, attribute: proto::Attribute, about: &str) -> Result<Attribute> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match attribute.r#type {
            1 => Attribute::Float(attribute.f.unwrap_or(0.0)),
            2 => Attribute::Int(attribute.i.unwrap_or(0)),
            3 => Attribute::Text(text(&attribute.s.unwrap_or_default())),
            4 => match &attribute.t {
                Some(tensor) => Attribute::Tensor(Arc::new(self.array(tensor, about)?)),
                None => return self.fail(format!("{about} has no tensor; export the file again")),
            },
            6 => Attribute::Floats(attribute.floats),
            7 => Attribute::Ints(attribute.ints),
            8 => Attribute::Texts(attribute.strings.iter().map(|bytes| text(bytes)).collect()),
            5 => match attribute.g {
                Some(graph) => Attribute::Branch(Arc::new(self.branch(graph, about)?)),
                None => return self.fail(format!("{about} has no graph; export the file again")),
            },
            10 => Attribute::Other("graphs"),
            9 => Attribute::Other("tensors"),
            11 | 12 => Attribute::Other("a sparse tensor"),
            13 | 14 => Attribute::Other("a type"),
            // Old files leave the type out.
            _ => match attribute {
                proto::Attribute { f: Some(value), .. } => Attribute::Float(value),
                proto::Attribute { i: Some(value), .. } => Attribute::Int(value),
                proto::Attribute { s: Some(value), .. } => Attribute::Text(text(&value)),
                proto::Attribute { t: Some(tensor), .. } => Attribute::Tensor(Arc::new(self.array(&tensor, about)?)),
                proto::Attribute { floats, .. } if !floats.is_empty() => Attribute::Floats(floats),
                proto::Attribute { strings, .. } if !strings.is_empty() => {
                    Attribute::Texts(strings.iter().map(|bytes| text(bytes)).collect())
                }
                proto::Attribute { ints, .. } => Attribute::Ints(ints),
            },
        })
    }

    /// Returns the values of a tensor.
    fn array(&mut self, tensor: &proto::Tensor, about: &str) -> Result<Array> {
        let Some(kind) = Kind::from_onnx(tensor.data_type) else {
            return self.fail(format!(
                "{about} has elements of type {}, which is not covered",
                element_type(tensor.data_type)
            ));
        };
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let Some((dims, elements)) = dims.and_then(|dims| count(&dims).map(|n| (dims, n))) else {
            return self.fail(format!(
                "{about} is {:?}, expected sizes of at least 0 and fewer than 2^32 elements",
                tensor.dims
            ));
        };
        let wrong = |file: &str, got: usize| {
            let dims = &tensor.dims;
            Error::import(
                file,
                format!(
                    "{about} is {dims:?} of {kind} and has {got} values or bytes; the file is damaged, export it again"
                ),
            )
        };
        if tensor.data_location != 0 {
            let entry = |key: &str| {
                tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
            };
            let number = |key: &str| entry(key).map(|value| value.parse::<u64>()).transpose();
            let (Some(location), Ok(offset), Ok(length)) = (entry("location"), number("offset"), number("length"))
            else {
                return self.fail(format!("{about} lies in another file, but not where; export it again"));
            };
            let expected = elements as u64 * kind.bytes() as u64;
            if length.is_some_and(|length| length != expected) {
                return self
                    .fail(format!("{about} needs {expected} bytes, but {} lie in {location:?}", length.unwrap_or(0)));
            }
            let bytes = (self.outside)(location, offset.unwrap_or(0), Some(expected))?;
            return Array::from_bytes(&dims, kind, &bytes).map_err(|_| wrong(self.file, bytes.len()));
        }
        if let Some(raw) = tensor.raw_data.as_ref().filter(|raw| !raw.is_empty() || elements == 0) {
            return Array::from_bytes(&dims, kind, raw).map_err(|_| wrong(self.file, raw.len()));
        }
        let ints = |values: Vec<i64>| Data::Int(values);
        let narrow = || tensor.int32_data.iter().map(|&v| i64::from(v)).collect::<Vec<_>>();
        let bits = || tensor.int32_data.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect::<Vec<u8>>();
        let wide = || tensor.uint64_data.iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect::<Vec<_>>();
        let data = match kind {
            Kind::F32 => Data::F32(tensor.float_data.clone()),
            Kind::F64 => Data::F64(tensor.double_data.clone()),
            Kind::I64 => ints(tensor.int64_data.clone()),
            Kind::U32 | Kind::U64 => ints(wide()),
            Kind::F16 | Kind::BF16 => {
                let bytes = bits();
                return Array::from_bytes(&dims, kind, &bytes).map_err(|_| wrong(self.file, bytes.len()));
            }
            _ => ints(narrow()),
        };
        let array = Array::new(&dims, kind, data);
        array.map_err(|_| wrong(self.file, tensor.float_data.len() + tensor.int32_data.len() + tensor.int64_data.len()))
    }
}

/// Returns the name of an element type that is not covered.
fn element_type(number: i32) -> String {
    match number {
        8 => "string".into(),
        14 | 15 => "complex".into(),
        17..=20 => "float8".into(),
        21 | 22 => "4-bit integer".into(),
        23 => "float4".into(),
        other => other.to_string(),
    }
}
