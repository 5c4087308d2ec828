//! A network of another program: its operators, weights, inputs and outputs, whatever format it came in.
//!
//! A [`Model`] knows no sizes but those of the file. [`Model::add`] adds it to a graph for inputs of given dimensions, and
//! [`Model::network`] makes a [`Network`] of it, which takes inputs of any size that the operators accept.

use super::array::{Array, Kind};
use super::lower::{Attribute, Call, Computed, Known, Lowering, Node, Problem, Value, clean, copy, covers, shape};
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Session};
use crate::graph::{Graph, Init, NodeId};
use crate::tensor::{Shape, Tensor};
use crate::weights::Weights;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Lines of a report; the rest is counted.
const MAX_LINES: usize = 30;

/// A dimension of an input or output, as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    Fixed(usize),
    /// Any size; equal names stand for equal sizes. The name may be empty.
    Any(String),
}

impl std::fmt::Display for Dimension {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Any(name) if name.is_empty() => f.write_str("?"),
            Self::Any(name) => f.write_str(name),
        }
    }
}

/// An input or output of a [`Model`].
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    pub name: String,
    pub kind: Kind,
    /// `None` if the file does not even say how many there are.
    pub dims: Option<Vec<Dimension>>,
}

impl Port {
    /// Returns the type and the dimensions, such as `float32 [N, 3, 224, 224]`.
    pub fn describe(&self) -> String {
        let dims = self.dims.as_ref().map_or("of any dimensions".to_owned(), |dims| {
            format!("[{}]", dims.iter().map(Dimension::to_string).collect::<Vec<_>>().join(", "))
        });
        format!("{} {dims}", self.kind)
    }

    /// Returns what the dimensions mean, by their number, one letter for each. Channels come last if the last dimension is 1, 3 or 4 and
    /// the one where they would be otherwise is not.
    pub(crate) fn letters(&self) -> &'static str {
        let dims = self.dims.as_deref().unwrap_or_default();
        let is_small = |k: usize| matches!(dims[k], Dimension::Fixed(1 | 3 | 4));
        match dims.len() {
            4 if is_small(3) && !is_small(1) => "NHWC",
            4 => "NCHW",
            3 if is_small(2) && !is_small(0) => "HWC",
            3 => "CHW",
            2 => "NC",
            _ => "N",
        }
    }
}

/// Sizes that replace those of the file, in inputs that are pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputSize {
    /// N.
    pub batch: Option<usize>,
    /// H.
    pub height: Option<usize>,
    /// W.
    pub width: Option<usize>,
}

/// Adds an operator that lineament does not have: it gets the graph, the nodes of the inputs, all of f32, and the file's node, and
/// returns the nodes of the outputs.
pub type Operator = Arc<dyn Fn(&mut Graph, &[NodeId], &Node) -> Result<Vec<NodeId>> + Send + Sync>;

/// A network of another program.
#[derive(Clone)]
pub struct Model {
    pub(super) file: String,
    pub(super) nodes: Vec<Node>,
    pub(super) initializers: BTreeMap<String, Known>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    /// The version of ONNX's operators.
    pub(super) opset: i64,
    /// What the file says of itself, such as its producer and its licence.
    pub(super) metadata: Vec<(String, String)>,
    pub(super) operators: BTreeMap<String, Operator>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("file", &self.file)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// An output of a network that was added to a graph.
#[derive(Debug, Clone)]
pub struct Output {
    pub name: String,
    pub value: Value,
}

/// A network that was added to a graph.
#[derive(Debug, Clone)]
pub struct Added {
    /// The inputs that a run takes: names in the file, paths and nodes. Those that are known, or that nothing reads, are not among them.
    pub inputs: Vec<(String, String, NodeId)>,
    pub outputs: Vec<Output>,
    /// Values of all parameters that were added.
    pub weights: Weights,
}

impl Added {
    /// Returns the nodes of the outputs that a run computes.
    pub fn fetches(&self) -> Vec<NodeId> {
        let computed =
            |output: &Output| if let Value::Computed(computed) = &output.value { Some(computed.id) } else { None };
        self.outputs.iter().filter_map(computed).collect()
    }
}

impl Model {
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// Returns what the file says of itself, such as its producer and its licence.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }
    /// Returns the number of weights: the elements of all initializers of floats.
    pub fn parameters(&self) -> usize {
        self.initializers.values().filter(|known| known.array.kind().is_float()).map(|known| known.array.len()).sum()
    }

    /// Makes an operator known, such as `com.example.Swish`, or takes the place of a built-in one.
    pub fn register(
        &mut self,
        name: &str,
        operator: impl Fn(&mut Graph, &[NodeId], &Node) -> Result<Vec<NodeId>> + Send + Sync + 'static,
    ) {
        self.operators.insert(name.to_owned(), Arc::new(operator));
    }

    /// Makes an input known: all runs have this value.
    ///
    /// # Errors
    /// There is no such input; the value has another type or other dimensions than the input.
    pub fn bind(&mut self, name: &str, value: Array) -> Result<()> {
        let port = self.port(name)?.clone();
        self.check(&port, value.kind(), value.dims())?;
        self.initializers.insert(name.to_owned(), Known { array: Arc::new(value), name: None });
        self.inputs.retain(|port| port.name != name);
        Ok(())
    }

    fn port(&self, name: &str) -> Result<&Port> {
        self.inputs.iter().find(|port| port.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.inputs.iter().map(|port| port.name.as_str()).collect();
            Error::import(&self.file, format!("has no input {name:?}; there are {names:?}"))
        })
    }

    /// Checks that a tensor is what an input takes. Its sizes may be others than in the file, where exporters often leave those of an
    /// example: the operators refuse what they do not accept.
    pub(crate) fn check(&self, port: &Port, kind: Kind, dims: &[usize]) -> Result<()> {
        let fits = port.dims.as_ref().is_none_or(|wanted| wanted.len() == dims.len());
        if fits && kind == port.kind {
            return Ok(());
        }
        let (name, expected) = (&port.name, port.describe());
        Err(Error::import(&self.file, format!("input {name:?} is {expected}, got {kind} {dims:?}")))
    }

    /// Returns the dimensions of an input: those of the file, or of `size`, which names N, H and W of `[N, C, H, W]`, or of
    /// `[N, H, W, C]` if the last dimension is 1, 3 or 4 and the second is not. A batch of any size is 1.
    ///
    /// # Errors
    /// A dimension of any size is not given; one of the file is no number above 0.
    pub fn dims(&self, port: &Port, size: InputSize) -> Result<Vec<usize>> {
        let Some(dims) = &port.dims else {
            return Err(Error::import(
                &self.file,
                format!("input {:?} has no declared dimensions; give the tensor itself", port.name),
            ));
        };
        let letters = port.letters();
        let mut all = Vec::with_capacity(dims.len());
        for (k, dim) in dims.iter().enumerate() {
            let letter = letters.chars().nth(k).unwrap_or('?');
            let given = match letter {
                'N' => size.batch,
                'H' if dims.len() > 2 => size.height,
                'W' if dims.len() > 2 => size.width,
                _ => None,
            };
            all.push(match (given, dim) {
                (Some(given), _) => given,
                (None, Dimension::Fixed(size)) => *size,
                (None, Dimension::Any(_)) if k == 0 && letter == 'N' => 1,
                (None, Dimension::Any(name)) => {
                    let (input, described) = (&port.name, port.describe());
                    return Err(Error::import(
                        &self.file,
                        format!("dimension {letter} of input {input:?}, {described}, is {name:?}; give a size, such as --size 320x240"),
                    ));
                }
            });
        }
        Ok(all)
    }

    /// Adds the network to a graph, for inputs of these dimensions, in the order of [`Model::inputs`].
    ///
    /// # Errors
    /// An operator, attribute or shape is not covered: the error lists all of them. `graph` is then unchanged.
    pub fn add(&self, graph: &mut Graph, dims: &[Vec<usize>]) -> Result<Added> {
        // Nodes are added to a copy, so that a refused network leaves nothing behind.
        let mut extended = graph.clone();
        let mut values: HashMap<&str, Value> = HashMap::new();
        let mut inputs = Vec::new();
        for (port, dims) in self.inputs.iter().zip(dims) {
            self.check(port, port.kind, dims)?;
            let shape = shape(dims).map_err(|p| self.refused(&port.name, &p))?;
            let id = extended.input(&clean(&port.name), shape)?;
            inputs.push((port.name.clone(), extended.node(id)?.name.clone(), id));
            values.insert(&port.name, input_value(id, dims, port.kind));
        }
        let (outputs, weights) = self.lower(&mut extended, values)?;
        *graph = extended;
        Ok(Added { inputs, outputs, weights })
    }

    fn refused(&self, name: &str, problem: &Problem) -> Error {
        Error::import(&self.file, format!("{name:?}: {}", problem.text))
    }

    /// Adds all nodes, and returns the outputs and the parameters.
    fn lower<'a>(&'a self, graph: &mut Graph, mut values: HashMap<&'a str, Value>) -> Result<(Vec<Output>, Weights)> {
        for (name, known) in &self.initializers {
            values.insert(name, Value::Known(known.clone()));
        }
        let mut lowering = Lowering::new(graph);
        let mut report = Report::default();
        for node in self.needed() {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            let mut is_blocked = false;
            for name in &node.inputs {
                match values.get(name.as_str()) {
                    _ if name.is_empty() => inputs.push(Value::Absent),
                    Some(value) => inputs.push(value.clone()),
                    None if report.lost.contains(name.as_str()) => is_blocked = true,
                    None => {
                        report.add(
                            node,
                            &format!("reads {name:?}, which nothing before it computes; export the file again"),
                            None,
                        );
                        is_blocked = true;
                    }
                }
            }
            if is_blocked {
                // What it would say of its inputs is not known, but whether there is such an operator is.
                if !covers(&node.op) && !self.operators.contains_key(&node.op) {
                    report.add(node, "this operator is not covered", None);
                }
                report.lost.extend(node.outputs.iter().map(String::as_str));
                continue;
            }
            let call = Call::new(node, inputs, self.opset);
            let outputs = match self.operators.get(&node.op) {
                Some(operator) => lowering.custom(&call, operator),
                None => lowering.call(&call),
            };
            match outputs {
                Ok(outputs) => {
                    for (name, value) in node.outputs.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
                        values.insert(name, value);
                    }
                    let missing =
                        node.outputs.iter().find(|name| !name.is_empty() && !values.contains_key(name.as_str()));
                    if let Some(name) = missing {
                        report.add(node, &format!("its output {name:?} is not covered"), None);
                        report.lost.insert(name);
                    }
                }
                Err(problem) => {
                    report.add(node, &problem.text, problem.needs);
                    report.lost.extend(node.outputs.iter().map(String::as_str));
                }
            }
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for port in &self.outputs {
            match values.get(port.name.as_str()) {
                Some(value) => outputs.push(Output { name: port.name.clone(), value: value.clone() }),
                None if !report.is_empty() => {}
                None => {
                    return Err(Error::import(
                        &self.file,
                        format!("output {:?} is not computed by any node", port.name),
                    ));
                }
            }
        }
        let weights = lowering.into_weights();
        report.into_result(&self.file, self.nodes.len())?;
        // A run fetches what a step writes: an input that is an output is copied, as is a value that is two outputs.
        let mut fetched = BTreeSet::new();
        for output in &mut outputs {
            if let Value::Computed(Computed { id, dims, .. }) = &mut output.value
                && (!graph.is_written(*id)? || !fetched.insert(*id))
            {
                let again = copy(graph, *id).map_err(|p| self.refused(&output.name, &p))?;
                let wanted = shape(dims).map_err(|p| self.refused(&output.name, &p))?;
                *id = if graph.shape(again)? == wanted { again } else { graph.reshape(again, wanted)? };
                fetched.insert(*id);
            }
        }
        Ok((outputs, weights))
    }

    /// Returns the nodes on which the outputs depend, in the order of the file.
    fn needed(&self) -> Vec<&Node> {
        let mut wanted: BTreeSet<&str> = self.outputs.iter().map(|port| port.name.as_str()).collect();
        let mut needed = Vec::new();
        for node in self.nodes.iter().rev() {
            if node.outputs.iter().any(|name| wanted.contains(name.as_str())) {
                wanted.extend(node.inputs.iter().map(String::as_str));
                needed.push(node);
            }
        }
        needed.reverse();
        needed
    }

    /// Returns the values of the weights, by the names of their parameters.
    pub fn weights(&self) -> Weights {
        let tensor = |known: &Known| Some((known.name.clone()?, known.array.tensor().ok()?));
        Weights::from_tensors(self.initializers.values().filter_map(tensor).collect())
    }

    /// Returns the weights of a network that was not simplified, by the names of the file and as f32, with what the file says of itself as
    /// the manifest. Integers, such as quantised weights, and tensors without elements are left out.
    ///
    /// # Errors
    /// A tensor has more than six dimensions; two have one name.
    pub(super) fn stored(&self) -> Result<Weights> {
        let known = self.initializers.iter().filter(|(_, known)| known.name.is_some());
        let mut all: Vec<(String, &Array)> = known.map(|(name, known)| (name.clone(), &*known.array)).collect();
        for node in &self.nodes {
            for (key, attribute) in &node.attributes {
                let Attribute::Tensor(array) = attribute else { continue };
                let name = match node.outputs.first() {
                    Some(output) if node.op == "Constant" => output.clone(),
                    _ => format!("{}.{key}", node.label()),
                };
                all.push((name, array));
            }
        }
        let mut tensors = BTreeMap::new();
        for (name, array) in all.into_iter().filter(|(_, array)| array.kind().is_float() && !array.is_empty()) {
            let tensor = array
                .tensor()
                .map_err(|e| Error::import(&self.file, format!("the weight {name:?} cannot be stored: {e}")))?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(Error::import(&self.file, format!("has two weights {name:?}; rename one of them")));
            }
        }
        Ok(Weights::new(self.file.as_str(), tensors, self.metadata.iter().cloned().collect()))
    }

    /// Returns a network for inputs of any sizes that the operators accept. Inputs and outputs have their names in the file; integers are
    /// given, and returned, as f32.
    pub fn network(&self, device: &Device) -> Network {
        let (model, weights) = (self.clone(), self.weights());
        let all: Vec<(String, Shape)> = weights.tensors().iter().map(|(name, t)| (name.clone(), t.shape())).collect();
        device.network(weights, move |draft| {
            draft.extend(|graph, given| {
                let mut dims = Vec::with_capacity(model.inputs.len());
                for port in &model.inputs {
                    let name = clean(&port.name);
                    let Some(given) = given.iter().find(|given| given.name == name) else {
                        return Err(Error::import(
                            &model.file,
                            format!("input {name:?}, {}, was not given", port.describe()),
                        ));
                    };
                    let is_scalar = port.dims.as_ref().is_some_and(Vec::is_empty) && given.shape == [1];
                    dims.push(if is_scalar { vec![] } else { given.shape.to_vec() });
                }
                let added = model.add(graph, &dims)?;
                // Weights of which only the numbers are used belong to the network too.
                for (name, shape) in &all {
                    if graph.find(name).is_none() {
                        graph.param(name, *shape, Init::Constant(0.0))?;
                    }
                }
                let mut outputs = Vec::with_capacity(added.outputs.len());
                for Output { name, value } in added.outputs {
                    let id = match value {
                        Value::Computed(computed) => computed.id,
                        Value::Known(known) => {
                            let constant = graph.add_constant("constant", known.array.tensor()?)?;
                            copy(graph, constant).map_err(|p| model.refused(&name, &p))?
                        }
                        Value::Absent => continue,
                    };
                    outputs.push((name, id));
                }
                Ok(outputs)
            });
        })
    }

    /// Plans and compiles a run for these inputs.
    ///
    /// # Errors
    /// As [`Model::for_inputs`] and [`Device::compile`].
    pub fn prepare(&self, device: &Device, given: &[(String, Array)]) -> Result<Prepared> {
        let (graph, added) = self.for_inputs(given)?;
        Prepared::new(device, &graph, added)
    }

    /// Returns the network's graph for these inputs. Those that the operators need before a run, such as shapes, become a part of it, as
    /// do all integers of 16 bits and more.
    ///
    /// # Errors
    /// An input is missing, unknown, or of another type or other dimensions; as [`Model::add`].
    pub fn for_inputs(&self, given: &[(String, Array)]) -> Result<(Graph, Added)> {
        let mut model = self.clone();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (name, array) in given {
            let port = self.port(name)?;
            self.check(port, array.kind(), array.dims())?;
            if !names.insert(name) {
                return Err(Error::import(&self.file, format!("input {name:?} is given twice")));
            }
            let is_small = matches!(array.kind(), Kind::U8 | Kind::I8 | Kind::Bool);
            if (!array.kind().is_float() && !is_small) || array.is_empty() {
                model.bind(name, array.clone())?;
            }
        }
        if let Some(port) = self.inputs.iter().find(|port| !names.contains(port.name.as_str())) {
            return Err(Error::import(
                &self.file,
                format!("input {:?}, {}, was not given", port.name, port.describe()),
            ));
        }
        loop {
            let dims: Vec<Vec<usize>> = model
                .inputs
                .iter()
                .map(|port| {
                    given.iter().find(|(name, _)| *name == port.name).map_or_else(Vec::new, |(_, a)| a.dims().to_vec())
                })
                .collect();
            let mut graph = Graph::new();
            let needs = match model.add(&mut graph, &dims) {
                Ok(added) => return Ok((graph, added)),
                Err(Error::Unknown { needs, .. }) if model.inputs.iter().any(|port| needs.contains(&port.name)) => {
                    needs
                }
                Err(error) => return Err(error),
            };
            for (name, array) in given.iter().filter(|(name, _)| needs.contains(name)) {
                if model.inputs.iter().any(|port| port.name == *name) {
                    model.bind(name, array.clone())?;
                }
            }
        }
    }
}

/// Returns the value of an input that each run gets.
fn input_value(id: NodeId, dims: &[usize], kind: Kind) -> Value {
    let (low, high) = kind.range();
    let limit = if kind.is_float() { f64::INFINITY } else { (high as f64).max(-(low as f64)) };
    Value::Computed(Computed { id, dims: dims.to_vec(), kind, limit })
}

/// A network that is compiled for inputs of certain dimensions.
#[derive(Debug)]
pub struct Prepared {
    /// `None` if nothing is left to compute.
    session: Option<Session>,
    /// Names in the file and paths.
    inputs: Vec<(String, String)>,
    outputs: Vec<Output>,
}

impl Prepared {
    fn new(device: &Device, graph: &Graph, added: Added) -> Result<Self> {
        let fetches = added.fetches();
        let session = if fetches.is_empty() { None } else { Some(device.compile(graph, &fetches, added.weights)?) };
        let inputs = added.inputs.into_iter().map(|(name, path, _)| (name, path)).collect();
        Ok(Self { session, inputs, outputs: added.outputs })
    }

    /// Returns the session; `None` if nothing is left to compute.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Runs the network on inputs of the dimensions for which it was prepared, and returns its outputs by name, with the types and
    /// dimensions of the file.
    ///
    /// # Errors
    /// As [`Session::run_async`].
    pub fn run(&self, given: &[(String, Array)]) -> Result<Vec<(String, Array)>> {
        let mut tensors: Vec<(&str, Tensor)> = Vec::new();
        if let Some(session) = &self.session {
            for (name, path) in &self.inputs {
                let is_read = session.plan().inputs.iter().any(|(input, _)| input == path);
                if let Some((_, array)) = given.iter().find(|(known, _)| known == name).filter(|_| is_read) {
                    tensors.push((path, array.tensor()?));
                }
            }
        }
        let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(path, tensor)| (*path, tensor)).collect();
        let computed = self.session.as_ref().map(|session| session.run(&inputs)).transpose()?.unwrap_or_default();
        let mut computed = computed.into_iter();
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for Output { name, value } in &self.outputs {
            let array = match value {
                Value::Known(known) => (*known.array).clone(),
                Value::Computed(Computed { dims, kind, .. }) => {
                    let tensor =
                        computed.next().ok_or_else(|| Error::Usage(format!("output {name:?} has no value")))?;
                    Array::from_tensor(&tensor, dims, *kind)?
                }
                Value::Absent => continue,
            };
            outputs.push((name.clone(), array));
        }
        Ok(outputs)
    }
}

/// What a network lacks, operator by operator.
#[derive(Debug, Default)]
struct Report<'a> {
    /// Operator, problem, the first node's description, and the number of nodes.
    rows: Vec<(&'a str, String, String, usize)>,
    /// The rows by operator and problem.
    known: HashMap<(&'a str, String), usize>,
    /// Values that cannot be computed.
    lost: BTreeSet<&'a str>,
    needs: Vec<String>,
}

impl<'a> Report<'a> {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn add(&mut self, node: &'a Node, problem: &str, needs: Option<String>) {
        self.needs.extend(needs);
        let key = (node.op.as_str(), problem.to_owned());
        if let Some(&row) = self.known.get(&key) {
            self.rows[row].3 += 1;
            return;
        }
        self.known.insert(key, self.rows.len());
        let attributes: Vec<String> =
            node.attributes.iter().take(6).map(|(name, value)| format!("{name} = {value}")).collect();
        let attributes = if attributes.is_empty() { String::new() } else { format!(" with {}", attributes.join(", ")) };
        self.rows.push((&node.op, problem.to_owned(), format!("{:?}{attributes}", node.label()), 1));
    }

    fn into_result(self, file: &str, nodes: usize) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let count: usize = self.rows.iter().map(|row| row.3).sum();
        let mut text = format!("{count} of {nodes} nodes cannot be run");
        for (op, problem, first, count) in self.rows.iter().take(MAX_LINES) {
            let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            text += &format!("\n  {op} ({first}{more}): {problem}");
            if let Some(hint) = alternative(op) {
                text += &format!("; {hint}");
            }
        }
        if self.rows.len() > MAX_LINES {
            text += &format!("\n  and {} other problems", self.rows.len() - MAX_LINES);
        }
        if self.needs.is_empty() {
            return Err(Error::import(file, text));
        }
        Err(Error::Unknown { file: file.to_owned(), problem: text, needs: self.needs })
    }
}

/// Returns what to do about an operator that is not covered.
fn alternative(op: &str) -> Option<&'static str> {
    Some(match op {
        "LSTM" | "GRU" | "RNN" => "recurrent layers are not covered; unroll them into MatMul, Sigmoid and Tanh",
        "If" | "Loop" | "Scan" => {
            "control flow is not covered; export by tracing, with the branch and the number of rounds fixed"
        }
        "NonMaxSuppression" | "NonZero" | "Unique" => "cut the network before it and do this step on its outputs",
        "MultiHeadAttention" | "com.microsoft.Attention" => "export it as MatMul and Softmax",
        _ => return None,
    })
}
