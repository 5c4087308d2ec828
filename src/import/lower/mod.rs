//! Adds the operators of other programs' networks to a graph.
//!
//! Operators have the names, inputs and attributes of ONNX; readers of other formats call them too. Each is a function from a
//! [`Call`] to values. A [`Value`] is either known, when the network is built, or computed in every run. What depends only on
//! known values is evaluated here (`fold.rs`): the arithmetic of shapes exactly, everything else by the operations' references.
//!
//! Integers and truth values that are computed in a run are held in f32, as long as all their possible values fit
//! ([`Computed::limit`]); otherwise the operator is refused.

mod attention;
mod control;
mod fold;
mod layers;
mod losses;
mod pointwise;
mod quantized;
mod reductions;
mod resampling;
mod sampling;
mod selection;
mod views;

pub use control::Branch;

use super::array::{Array, Kind, MAX_MADE_UP, count};
use crate::error::Error;
use crate::exec::{Device, Select};
use crate::graph::{Graph, Init, NodeId};
use crate::ops::view::View;
use crate::tensor::{DType, MAX_RANK, Shape, Tensor, len};
use crate::weights::Weights;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The largest integer up to which f32 holds all of them.
const EXACT: f64 = 16_777_216.0;

/// The most steps that evaluating known values may take, all operators of a network together: elements that are read, and operations of
/// references. These are about a minute of work; networks of others need less than a tenth.
const MAX_STEPS: u64 = if cfg!(fuzzing) { 1 << 24 } else { 1 << 32 };

/// An attribute of a [`Node`].
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Arc<Array>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    /// A graph of its own.
    Branch(Arc<Branch>),
    /// Of a kind that no operator here takes, such as a sparse tensor.
    Other(&'static str),
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Float(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Tensor(array) => write!(f, "{} {:?}", array.kind(), array.dims()),
            Self::Floats(values) => write!(f, "{values:?}"),
            Self::Ints(values) => write!(f, "{values:?}"),
            Self::Texts(values) => write!(f, "{values:?}"),
            Self::Branch(branch) => write!(f, "a graph of {} nodes", branch.nodes.len()),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// One operator of a network, with the names of what it reads and writes. An empty name stands for an optional input that is left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// ONNX's name of the operator, such as `Conv`, after its domain if that is another than ONNX's own.
    pub op: String,
    pub name: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(String, Attribute)>,
}

impl Node {
    /// Returns how messages call the node: its name, or that of its first output.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.outputs.first().map_or("", String::as_str) } else { &self.name }
    }
}

/// Why an operator cannot be added.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub text: String,
    /// The name of the value that must be known before a run.
    pub needs: Option<String>,
}

/// Returns a problem of this text.
pub fn problem(text: String) -> Problem {
    Problem { text, needs: None }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        problem(text.to_owned())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        // The graph's message begins with its own path; ours begins with the node's name in the file.
        problem(match error {
            Error::Shape { source, .. } => source.to_string(),
            Error::Graph { problem, .. } | Error::Import { problem, .. } => problem,
            other => other.to_string(),
        })
    }
}

pub type Lowered<T = Vec<Value>> = std::result::Result<T, Problem>;

/// A value that is known before the network runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    pub array: Arc<Array>,
    /// The parameter that it is, if it is a weight of the file.
    pub name: Option<String>,
}

/// A value that is computed in every run: a node of the graph, whose shape is `dims`, or `[1]` if there are none.
#[derive(Debug, Clone)]
pub struct Computed {
    pub id: NodeId,
    pub dims: Vec<usize>,
    /// What the file says that it is; the node's elements are f32, or u32 for indices and truth values.
    pub kind: Kind,
    /// A bound of the magnitude of an integer; infinite if there is none, and for floats.
    pub limit: f64,
}

#[derive(Debug, Clone)]
pub enum Value {
    /// An optional input that is left out.
    Absent,
    Known(Known),
    Computed(Computed),
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Known(Known { array: Arc::new(array), name: None })
    }
}

/// A float32 without dimensions.
impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Array::float(value).into()
    }
}

impl Value {
    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Absent => &[],
            Self::Known(known) => known.array.dims(),
            Self::Computed(computed) => &computed.dims,
        }
    }
    pub fn kind(&self) -> Kind {
        match self {
            Self::Absent => Kind::F32,
            Self::Known(known) => known.array.kind(),
            Self::Computed(computed) => computed.kind,
        }
    }
    pub fn known(&self) -> Option<&Array> {
        if let Self::Known(known) = self { Some(&known.array) } else { None }
    }
    /// Returns a bound of the magnitude of the elements; infinite for floats.
    pub fn limit(&self) -> f64 {
        match self {
            Self::Absent => 0.0,
            Self::Computed(computed) => computed.limit,
            Self::Known(known) if known.array.kind().is_float() => f64::INFINITY,
            Self::Known(known) => known.array.to_f64().iter().fold(0.0, |limit, v| v.abs().max(limit)),
        }
    }
}

/// One use of an operator: the node and the values of its inputs.
#[derive(Debug)]
pub struct Call<'n> {
    pub node: &'n Node,
    pub inputs: Vec<Value>,
    /// The version of ONNX's operators.
    pub opset: i64,
    /// Names of the attributes that were looked at: any other would be ignored in silence.
    read: RefCell<BTreeSet<String>>,
}

impl<'n> Call<'n> {
    pub fn new(node: &'n Node, inputs: Vec<Value>, opset: i64) -> Self {
        Self { node, inputs, opset, read: RefCell::default() }
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.read.borrow_mut().insert(name.to_owned());
        self.node.attributes.iter().find(|(known, _)| known == name).map(|(_, attribute)| attribute)
    }

    fn wrong<T>(&self, name: &str, expected: &str, got: &Attribute) -> Lowered<T> {
        Err(problem(format!("the attribute {name} must be {expected}, got {got}")))
    }

    /// Marks attributes that change no result.
    pub fn ignore(&self, names: &[&str]) {
        self.read.borrow_mut().extend(names.iter().map(|&name| name.to_owned()));
    }

    pub fn maybe_int(&self, name: &str) -> Lowered<Option<i64>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(*value)),
            Some(other) => self.wrong(name, "an integer", other),
        }
    }
    pub fn int(&self, name: &str, default: i64) -> Lowered<i64> {
        Ok(self.maybe_int(name)?.unwrap_or(default))
    }
    pub fn flag(&self, name: &str, default: bool) -> Lowered<bool> {
        Ok(self.int(name, default.into())? != 0)
    }
    pub fn maybe_float(&self, name: &str) -> Lowered<Option<f32>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Float(value)) => Ok(Some(*value)),
            Some(other) => self.wrong(name, "a float", other),
        }
    }
    pub fn float(&self, name: &str, default: f32) -> Lowered<f32> {
        Ok(self.maybe_float(name)?.unwrap_or(default))
    }
    pub fn text(&self, name: &str, default: &'static str) -> Lowered<&str> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Text(value)) => Ok(value),
            Some(other) => self.wrong(name, "a text", other),
        }
    }
    pub fn ints(&self, name: &str) -> Lowered<Option<&[i64]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            // Files without the field that tells the kind hold an empty list as nothing.
            Some(Attribute::Floats(values)) if values.is_empty() => Ok(Some(&[])),
            Some(other) => self.wrong(name, "integers", other),
        }
    }
    pub fn floats(&self, name: &str) -> Lowered<Option<&[f32]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Floats(values)) => Ok(Some(values)),
            Some(Attribute::Ints(values)) if values.is_empty() => Ok(Some(&[])),
            Some(other) => self.wrong(name, "floats", other),
        }
    }
    pub fn tensor(&self, name: &str) -> Lowered<Option<&Arc<Array>>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Tensor(array)) => Ok(Some(array)),
            Some(other) => self.wrong(name, "a tensor", other),
        }
    }
    /// Returns sizes of at least 0, as many as there should be.
    pub fn sizes<const N: usize>(&self, name: &str, default: [usize; N]) -> Lowered<[usize; N]> {
        let Some(given) = self.ints(name)? else { return Ok(default) };
        let sizes: Option<Vec<usize>> = given.iter().map(|&v| usize::try_from(v).ok()).collect();
        sizes
            .and_then(|sizes| sizes.try_into().ok())
            .ok_or_else(|| problem(format!("the attribute {name} must be {N} integers of at least 0, got {given:?}")))
    }

    pub fn value(&self, i: usize) -> &Value {
        self.inputs.get(i).unwrap_or(&Value::Absent)
    }
    pub fn has(&self, i: usize) -> bool {
        !matches!(self.value(i), Value::Absent)
    }
    /// Returns input `i`, which must be there.
    pub fn input(&self, i: usize) -> Lowered<&Value> {
        match self.value(i) {
            Value::Absent => Err(problem(format!("input {i} is missing"))),
            value => Ok(value),
        }
    }
    fn unknown(&self, i: usize, role: &str) -> Problem {
        let name = self.node.inputs.get(i).map_or("", String::as_str);
        let text = format!(
            "its {role}, {name:?}, depend on what the network computes in a run, but must be known before; export the network with \
             constant {role}"
        );
        Problem { text, needs: Some(name.to_owned()) }
    }
    /// Returns the integers of input `i`, which must be known; `None` if it is left out.
    pub fn known_ints(&self, i: usize, role: &str) -> Lowered<Option<Vec<i64>>> {
        match self.value(i) {
            Value::Absent => Ok(None),
            Value::Computed(_) => Err(self.unknown(i, role)),
            Value::Known(known) => match known.array.to_ints() {
                Some(values) => Ok(Some(values)),
                None => Err(problem(format!("its {role} must be integers, got {}", known.array.kind()))),
            },
        }
    }
    /// Returns the elements of input `i`, which must be known; `None` if it is left out.
    pub fn known_floats(&self, i: usize, role: &str) -> Lowered<Option<Vec<f64>>> {
        match self.value(i) {
            Value::Absent => Ok(None),
            Value::Computed(_) => Err(self.unknown(i, role)),
            Value::Known(known) => Ok(Some(known.array.to_f64())),
        }
    }

    /// Returns an axis of `rank` axes; negative numbers count from the end. A scalar has none.
    pub fn axis(axis: i64, rank: usize) -> Lowered<usize> {
        let from_start = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_start)
            .ok()
            .filter(|&axis| axis < rank)
            .ok_or_else(|| problem(format!("axis {axis} does not exist in {rank} dimensions")))
    }

    fn check_attributes(&self) -> Lowered<()> {
        let read = self.read.borrow();
        let ignored = self.node.attributes.iter().find(|(name, _)| !read.contains(name));
        match ignored {
            None => Ok(()),
            Some((name, value)) => Err(problem(format!("the attribute {name} ({value}) is not covered"))),
        }
    }
}

/// Adds one operator to the graph.
pub type Lower = fn(&mut Lowering, &Call) -> Lowered;

/// Returns the function that adds the operator `op`.
fn find(op: &str) -> Option<Lower> {
    pointwise::find(op)
        .or_else(|| layers::find(op))
        .or_else(|| reductions::find(op))
        .or_else(|| resampling::find(op))
        .or_else(|| quantized::find(op))
        .or_else(|| sampling::find(op))
        .or_else(|| losses::find(op))
        .or_else(|| control::find(op))
        .or_else(|| attention::find(op))
        .or_else(|| views::find(op))
        .or_else(|| super::ncnn::layers::find(op))
}

/// Returns whether there is an operator of this name.
pub fn covers(op: &str) -> bool {
    // A layer of ncnn that is not covered has a function too, which says so.
    if op.starts_with("ncnn.") { super::ncnn::layers::covers(op) } else { find(op).is_some() || fold::covers(op) }
}

/// A graph to which operators are added.
#[derive(Debug)]
pub struct Lowering<'g> {
    pub graph: &'g mut Graph,
    /// Values of the parameters that were added.
    weights: BTreeMap<String, Tensor>,
    /// Arrays and the nodes that hold them, by their address, which the array here keeps from being used again.
    constants: HashMap<usize, (Arc<Array>, NodeId)>,
    /// How many nodes have each name.
    labels: HashMap<String, usize>,
    /// Elements of all values that were evaluated.
    evaluated: usize,
    /// Steps that it took to evaluate them.
    steps: u64,
    /// Whether known values are evaluated, or added as constants.
    folds: bool,
}

impl<'g> Lowering<'g> {
    pub fn new(graph: &'g mut Graph) -> Self {
        let (weights, constants, labels) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { graph, weights, constants, labels, evaluated: 0, steps: 0, folds: true }
    }

    /// Returns the parameters that were added.
    pub fn into_weights(self) -> Weights {
        Weights::from_tensors(self.weights)
    }

    /// Adds an operator, or evaluates it if its inputs are known, and returns its outputs.
    ///
    /// # Errors
    /// The operator, an attribute or a shape is not covered.
    pub fn call(&mut self, call: &Call) -> Lowered {
        let op = call.node.op.as_str();
        let is_known = self.folds && call.inputs.iter().all(|input| !matches!(input, Value::Computed(_)));
        let mut is_evaluated = true;
        self.read(&call.inputs)?;
        let outputs = match fold::evaluate(call, is_known)? {
            Some(outputs) => outputs,
            None => {
                let computed = call.inputs.iter().position(|input| matches!(input, Value::Computed(_)));
                if let Some(i) = computed.filter(|_| fold::covers(op)) {
                    return Err(call.unknown(i, "elements"));
                }
                let lower = find(op).ok_or_else(|| problem("this operator is not covered".into()))?;
                if let Some(nothing) = pointwise::empty(call)? {
                    return Ok(vec![nothing]);
                }
                is_evaluated = is_known && op != "If";
                if is_evaluated {
                    self.evaluate(lower, call)?
                } else {
                    let first = self.graph.nodes().len();
                    let outputs = self.named(call, |lowering| lower(lowering, call))?;
                    let is_integer = |value: &Value| matches!(value, Value::Computed(v) if !v.kind.is_float() && v.kind != Kind::Bool);
                    if call.inputs.iter().chain(&outputs).any(is_integer) {
                        self.graph.keep_exact(first);
                    }
                    outputs
                }
            }
        };
        call.check_attributes()?;
        if is_evaluated {
            self.keep(&outputs)?;
        }
        Ok(outputs)
    }

    /// Counts known values that an operator reads.
    fn read(&mut self, inputs: &[Value]) -> Lowered<()> {
        self.take(inputs.iter().filter_map(Value::known).map(|array| array.len() as u64).sum())
    }

    /// Counts steps of an evaluation.
    fn take(&mut self, steps: u64) -> Lowered<()> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            return Err("evaluating what does not depend on the inputs takes too long; export the network with constants folded".into());
        }
        Ok(())
    }

    /// Counts values that were evaluated.
    fn keep(&mut self, outputs: &[Value]) -> Lowered<()> {
        let elements: usize = outputs.iter().filter_map(Value::known).map(Array::len).sum();
        self.evaluated = self.evaluated.saturating_add(elements);
        if self.evaluated > MAX_MADE_UP {
            return Err("the constants that the file's operators make up are too large together".into());
        }
        Ok(())
    }

    /// Calls `add`, which names operations after the node: a second one of a name is `name_2`.
    fn named<T>(&mut self, call: &Call, add: impl FnOnce(&mut Self) -> Lowered<T>) -> Lowered<T> {
        let label = clean(call.node.label());
        let count = self.labels.entry(label.clone()).or_insert(0);
        *count += 1;
        let stem = if *count == 1 { label } else { format!("{label}_{count}") };
        self.graph.set_stem(Some(&stem));
        let added = add(self);
        self.graph.set_stem(None);
        added
    }

    /// Adds an operator of the caller's.
    pub fn custom(&mut self, call: &Call, operator: &super::model::Operator) -> Lowered {
        let kind = call.inputs.first().map_or(Kind::F32, Value::kind);
        let ids: Vec<NodeId> = call.inputs.iter().map(|input| self.f32(input)).collect::<Lowered<_>>()?;
        let outputs = self.named(call, |lowering| Ok(operator(lowering.graph, &ids, call.node)?));
        outputs?.into_iter().map(|id| self.plain(id, kind)).collect()
    }

    /// Evaluates an operator whose inputs are known by the references.
    fn evaluate(&mut self, lower: Lower, call: &Call) -> Lowered {
        let mut graph = Graph::new();
        let mut lowering = Lowering { folds: false, ..Lowering::new(&mut graph) };
        let mut outputs = lower(&mut lowering, call)?;
        call.check_attributes()?;
        let weights = lowering.into_weights();
        let computed: Vec<NodeId> =
            outputs.iter().filter_map(|v| if let Value::Computed(c) = v { Some(c.id) } else { None }).collect();
        if computed.is_empty() {
            return Ok(outputs);
        }
        if let Some(node) = graph.nodes().iter().find(|node| len(&node.shape) > MAX_MADE_UP) {
            return Err(problem(format!("computes {:?} before a run, which is too large", node.shape)));
        }
        // Reading a constant needs a step that writes it.
        let fetches: Vec<NodeId> = computed.iter().map(|&id| copy(&mut graph, id)).collect::<Lowered<_>>()?;
        let session = Device::open(&Select::Cpu)?.compile(&graph, &fetches, weights)?;
        let cost = session.plan().cost();
        self.take(cost.flops.saturating_add(cost.bytes / 4))?;
        let mut tensors = session.run(&[])?.into_iter();
        for value in &mut outputs {
            if let Value::Computed(computed) = value {
                let tensor = tensors.next().ok_or("an output has no value")?;
                *value = Array::from_tensor(&tensor, &computed.dims, computed.kind)?.into();
            }
        }
        Ok(outputs)
    }

    /// Calls the operator `op`, as a reader of another format or an operator that consists of others does. Outputs that are needed
    /// beyond the first one need names.
    pub fn apply(&mut self, op: &str, inputs: &[Value], attributes: Vec<(&str, Attribute)>) -> Lowered<Value> {
        let attributes = attributes.into_iter().map(|(name, attribute)| (name.to_owned(), attribute)).collect();
        let node = Node { op: op.to_owned(), outputs: vec![String::new()], attributes, ..Node::default() };
        let call = Call::new(&node, inputs.to_vec(), LATEST);
        let is_known = self.folds && inputs.iter().all(|input| !matches!(input, Value::Computed(_)));
        self.read(inputs)?;
        let outputs = match fold::evaluate(&call, is_known)? {
            Some(arrays) => arrays,
            None => {
                let lower = find(op).ok_or_else(|| problem(format!("{op} is not covered")))?;
                if let Some(nothing) = pointwise::empty(&call)? {
                    return Ok(nothing);
                }
                if is_known { self.evaluate(lower, &call)? } else { lower(self, &call)? }
            }
        };
        call.check_attributes()?;
        if is_known {
            self.keep(&outputs)?;
        }
        outputs.into_iter().next().ok_or_else(|| problem(format!("{op} has no output")))
    }

    /// Returns the node of a value, of f32.
    pub fn f32(&mut self, value: &Value) -> Lowered<NodeId> {
        match value {
            Value::Absent => Err("an input is missing".into()),
            Value::Computed(computed) => Ok(self.graph.cast(computed.id, DType::F32)?),
            Value::Known(Known { array, name }) => {
                if let Some((_, id)) = self.constants.get(&Arc::as_ptr(array).addr()) {
                    return Ok(*id);
                }
                let tensor = array.tensor()?;
                let id = match name {
                    Some(name) if array.kind().is_float() => {
                        let id = self.graph.param(name, tensor.shape(), Init::Constant(0.0))?;
                        self.weights.insert(self.graph.node(id)?.name.clone(), tensor);
                        id
                    }
                    _ => self.graph.add_constant("constant", tensor)?,
                };
                self.constants.insert(Arc::as_ptr(array).addr(), (array.clone(), id));
                Ok(id)
            }
        }
    }

    /// Returns the node of a value, of u32: a truth value or an index.
    pub fn u32(&mut self, value: &Value) -> Lowered<NodeId> {
        if let Value::Known(known) = value {
            let values: Option<Vec<u32>> =
                known.array.to_ints().and_then(|all| all.into_iter().map(|v| u32::try_from(v).ok()).collect());
            let values = values.ok_or("expected integers from 0 to 2^32 - 1")?;
            return Ok(self.graph.add_constant("constant", Tensor::new(shape(known.array.dims())?, values)?)?);
        }
        let id = match value {
            Value::Computed(computed) => computed.id,
            _ => self.f32(value)?,
        };
        Ok(self.graph.cast(id, DType::U32)?)
    }

    /// Returns the node of a value, of f32, with other dimensions.
    pub fn shaped(&mut self, value: &Value, dims: &[usize]) -> Lowered<NodeId> {
        let id = self.f32(value)?;
        self.reshape(id, dims)
    }

    /// Returns a node's elements with other dimensions.
    pub fn reshape(&mut self, id: NodeId, dims: &[usize]) -> Lowered<NodeId> {
        let wanted = shape(dims)?;
        if self.graph.shape(id)? == wanted { Ok(id) } else { Ok(self.graph.reshape(id, wanted)?) }
    }

    /// Returns a node as a value of float elements with these dimensions.
    pub fn float(&mut self, id: NodeId, dims: &[usize], kind: Kind) -> Lowered<Value> {
        self.integer(id, dims, kind, f64::INFINITY)
    }

    /// Returns a node as a value of `kind` with these dimensions, whose elements are at most `limit` if they are integers.
    ///
    /// # Errors
    /// f32 does not hold all integers up to the limit.
    pub fn integer(&mut self, id: NodeId, dims: &[usize], kind: Kind, limit: f64) -> Lowered<Value> {
        let id = self.reshape(id, dims)?;
        Ok(Value::Computed(Computed { id, dims: dims.to_vec(), kind, limit }))
    }

    /// Returns a node as a value with the dimensions of its shape.
    pub fn plain(&mut self, id: NodeId, kind: Kind) -> Lowered<Value> {
        let dims = self.graph.shape(id)?.to_vec();
        self.float(id, &dims, kind)
    }
}

/// The version of ONNX's operators of which [`Lowering::apply`] uses the attributes and inputs.
pub const LATEST: i64 = 21;

/// Refuses arithmetic on integers whose values f32 might not hold.
pub fn check_exact(kind: Kind, limit: f64) -> Lowered<()> {
    if kind.is_float() || limit <= EXACT {
        return Ok(());
    }
    Err(problem(format!(
        "computes with {kind} in a run, where only integers up to 2^24 are exact; make this input a constant, or convert it to float32"
    )))
}

/// Returns the elements of `id`, as f32, in memory of their own.
pub fn copy(graph: &mut Graph, id: NodeId) -> Lowered<NodeId> {
    let node = graph.node(id)?;
    let (dtype, view) = (node.dtype, View::of(node.shape));
    Ok(if dtype == DType::F32 { graph.view(id, view)? } else { graph.cast(id, DType::F32)? })
}

/// Returns the number of elements of these dimensions, which must be few enough to be held by the host.
pub fn held(dims: &[usize]) -> Lowered<usize> {
    let total = count(dims).filter(|&n| n <= MAX_MADE_UP);
    total.ok_or_else(|| problem(format!("{dims:?} is too large to be computed before a run")))
}

/// Returns dimensions as a shape: none as `[1]`.
pub fn shape(dims: &[usize]) -> Lowered<Shape> {
    let dims = if dims.is_empty() { &[1][..] } else { dims };
    if count(dims).is_none_or(|n| n == 0) {
        return Err(problem(format!("a tensor {dims:?} has no elements, or more than 2^32 - 1")));
    }
    Shape::new(dims).ok_or_else(|| problem(format!("a tensor {dims:?} has more than {MAX_RANK} dimensions")))
}

/// Returns the dimensions of two values that are broadcast as NumPy does.
pub fn broadcast(a: &[usize], b: &[usize]) -> Lowered<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], d: usize| if d + dims.len() >= rank { dims[d + dims.len() - rank] } else { 1 };
    (0..rank)
        .map(|d| match (at(a, d), at(b, d)) {
            (m, n) if m == n || n == 1 => Ok(m),
            (1, n) => Ok(n),
            _ => Err(problem(format!("{a:?} and {b:?} cannot be broadcast"))),
        })
        .collect()
}

/// Returns a name without what would break a table or a path.
pub fn clean(name: &str) -> String {
    let clean: String = name.trim_start_matches('/').chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    if clean.is_empty() { "node".to_owned() } else { clean }
}
