//! What to compute: nodes with names and shapes, checked when they are added.

pub mod grad;
mod methods;
mod var;

pub use var::{Draft, Drafted, Given, Layer, Var};

use crate::error::{Error, Result, ShapeError};
use crate::layout::pack_offsets;
use crate::ops::Op;
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::view::View;
use crate::rng::Rng;
use crate::tensor::{DType, SCALAR, Shape, Tensor, len};
use crate::weights::Weights;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A node of one particular [`Graph`]; any other graph rejects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    pub(crate) graph: u32,
    pub(crate) index: usize,
}

/// How [`Graph::initialize`] fills a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    Constant(f32),
    /// Gaussian with this standard deviation.
    Normal(f32),
    /// Gaussian with variance 2 / ((1 + slope²)·fan_in), He et al. 2015 eq. 15; `slope` 0 is ReLU.
    He {
        fan_in: usize,
        slope: f32,
    },
    /// Uniform in ±√(6 / (fan_in + fan_out)), Glorot and Bengio 2010 eq. 16.
    Xavier {
        fan_in: usize,
        fan_out: usize,
    },
}

/// Where a node's value comes from.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Given for every run.
    Input,
    /// Lives on the device between runs. Trainable parameters come from a weights file; others, such as an optimiser's moments,
    /// start at their initial value.
    Param { init: Init, trainable: bool },
    /// Fixed when the graph is built.
    Constant(Arc<Tensor>),
    /// The first output of `op` applied to the inputs.
    Op(Arc<dyn Op>),
    /// A further output of the operation of node `of`, which is its only input; `output` is at least 1.
    Output { of: usize, output: usize },
    /// The gradient for input `input` of node `of`; its only input is the gradient for `of`.
    Grad { of: usize, input: usize },
    /// `op` overwrites some of its inputs after everything else has run; it has no value.
    Update(Arc<dyn Op>),
    /// The memory of its inputs as one tensor `[1, 1, 1, L]`, in which they follow each other, each aligned to
    /// [`PACK_ALIGN`](crate::layout::PACK_ALIGN) elements, with zeros between them. It needs no step: the planner places its inputs there.
    Pack,
    /// The elements of its input with other dimensions. It needs no step: it lies where its input lies.
    Reshape,
}

/// One tensor of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub shape: Shape,
    /// Position of its first element in the pack.
    pub first: usize,
}

/// One node of a [`Graph`].
#[derive(Debug, Clone)]
pub struct Node {
    /// A path that is unique in the graph, such as `cbn/level1/common/conv3`.
    pub name: String,
    pub kind: Kind,
    pub shape: Shape,
    pub dtype: DType,
    /// Indices of earlier nodes.
    pub inputs: Vec<usize>,
    /// Holds integers as f32, which f16 would round.
    pub(crate) is_exact: bool,
    /// Another way to compute the same value, which the planner prefers.
    pub(crate) fused: Option<Fused>,
}

/// An operation of other nodes whose result is a node's value.
#[derive(Debug, Clone)]
pub(crate) struct Fused {
    pub op: Arc<dyn Op>,
    pub inputs: Vec<usize>,
}

impl Node {
    /// Returns the operation whose forward pass computes the value, and its inputs; `None` for gradients and for nodes without an
    /// operation.
    pub(crate) fn computed_by(&self) -> Option<(&Arc<dyn Op>, &[usize])> {
        match (&self.fused, &self.kind) {
            (Some(fused), _) => Some((&fused.op, &fused.inputs)),
            (None, Kind::Op(op) | Kind::Update(op)) => Some((op, &self.inputs)),
            _ => None,
        }
    }
}

/// A directed graph of operations on tensors. Nodes are in topological order, since a node can only be
/// added after its inputs.
///
/// A clone accepts the nodes that the original had when it was cloned. Nodes that either of them adds later are foreign to the other.
#[derive(Debug)]
pub struct Graph {
    /// The id of the nodes that this graph adds itself.
    id: u32,
    /// The graphs that this one is a clone of, oldest first, each with its number of nodes when it was cloned.
    origins: Vec<(u32, usize)>,
    nodes: Vec<Node>,
    names: HashMap<String, usize>,
    scope: Vec<String>,
    /// What new operations are named after, with their own name: `conv3` for `conv3.relu`.
    stem: Option<String>,
}

impl Clone for Graph {
    fn clone(&self) -> Self {
        let mut origins = self.origins.clone();
        origins.push((self.id, self.nodes.len()));
        let (nodes, names, scope) = (self.nodes.clone(), self.names.clone(), self.scope.clone());
        Self { id: new_id(), origins, nodes, names, scope, stem: None }
    }
}

/// Returns an id that no other graph of the process has.
fn new_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    pub fn new() -> Self {
        Self {
            id: new_id(),
            origins: Vec::new(),
            nodes: Vec::new(),
            names: HashMap::new(),
            scope: Vec::new(),
            stem: None,
        }
    }

    /// Returns all nodes; the inputs of a node come before it.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the node `id`.
    ///
    /// # Errors
    /// `id` belongs to another graph.
    pub fn node(&self, id: NodeId) -> Result<&Node> {
        if id.index >= self.nodes.len() || id != self.id_of(id.index) {
            return Err(Error::graph(
                format!("node {}", id.index),
                "belongs to another graph; pass nodes that this graph returned",
            ));
        }
        Ok(&self.nodes[id.index])
    }

    /// Returns the id of the node with this index, as issued by the graph that added it.
    fn id_of(&self, index: usize) -> NodeId {
        let origin = self.origins.iter().find(|(_, len)| index < *len);
        NodeId { graph: origin.map_or(self.id, |(id, _)| *id), index }
    }

    /// Returns the shape of node `id`.
    ///
    /// # Errors
    /// `id` belongs to another graph.
    pub fn shape(&self, id: NodeId) -> Result<Shape> {
        Ok(self.node(id)?.shape)
    }

    /// Returns the node with this path.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).map(|&index| self.id_of(index))
    }

    /// Calls `build` to add nodes whose names begin with `scope/`.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn within<T>(&mut self, scope: &str, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scope.push(scope.to_owned());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// Adds a value that is given for every run.
    ///
    /// # Errors
    /// The name is taken; the shape has no elements, or more than 2³² − 1.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>) -> Result<NodeId> {
        self.input_of(DType::F32, name, shape)
    }

    /// Adds a [`Graph::input`] with elements of this type, such as labels.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn input_of(&mut self, dtype: DType, name: &str, shape: impl Into<Shape>) -> Result<NodeId> {
        let path = self.path(name);
        self.push_of(dtype, path, Kind::Input, shape.into(), vec![])
    }

    /// Adds a trainable parameter.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn param(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<NodeId> {
        let path = self.path(name);
        self.push(path, Kind::Param { init, trainable: true }, shape.into(), vec![])
    }

    /// Adds a value that lives on the device between runs and is not a weight, such as an optimiser's moments.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn state(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<NodeId> {
        let path = self.path(name);
        self.state_at(path, shape, init)
    }

    /// Adds a [`Graph::state`] at this path, regardless of the current scope.
    pub(crate) fn state_at(&mut self, path: String, shape: impl Into<Shape>, init: Init) -> Result<NodeId> {
        self.push(path, Kind::Param { init, trainable: false }, shape.into(), vec![])
    }

    /// Adds a fixed value.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn constant(&mut self, name: &str, value: Tensor) -> Result<NodeId> {
        let path = self.path(name);
        self.constant_at(path, value)
    }

    /// Adds a [`Graph::constant`] at this path, regardless of the current scope.
    pub(crate) fn constant_at(&mut self, path: String, value: Tensor) -> Result<NodeId> {
        let (shape, dtype) = (value.shape(), value.dtype());
        self.push_of(dtype, path, Kind::Constant(Arc::new(value)), shape, vec![])
    }

    /// Returns whether a step of a plan writes the node's value: it is neither given nor fixed.
    pub(crate) fn is_written(&self, id: NodeId) -> Result<bool> {
        self.node(id)?;
        let kind = &self.nodes[self.unshaped(id.index)].kind;
        Ok(matches!(kind, Kind::Op(_) | Kind::Output { .. } | Kind::Grad { .. }))
    }

    /// Adds a fixed value under a name like that of an operation, which may be taken already.
    pub(crate) fn add_constant(&mut self, name: &str, value: Tensor) -> Result<NodeId> {
        self.constant_at(self.fresh(name), value)
    }

    /// Names operations that are added from now on after `stem`, such as `conv3.relu`, or after themselves alone.
    pub(crate) fn set_stem(&mut self, stem: Option<&str>) {
        self.stem = stem.map(|stem| self.path(stem));
    }

    pub(crate) fn set_fused(&mut self, node: usize, fused: Fused) {
        self.nodes[node].fused = Some(fused);
    }

    /// Adds any operation, built-in or the caller's own, and names the node after it.
    ///
    /// # Errors
    /// The number or shapes of the inputs do not fit (the error gives the node's path); a node belongs to another graph.
    pub fn add(&mut self, op: impl Op + 'static, inputs: &[NodeId]) -> Result<NodeId> {
        self.add_shared(Arc::new(op), inputs)
    }

    /// Adds an operation as [`Graph::add`] does, which others may hold too.
    ///
    /// # Errors
    /// As [`Graph::add`].
    pub fn add_shared(&mut self, op: Arc<dyn Op>, inputs: &[NodeId]) -> Result<NodeId> {
        let name = self.fresh(op.name());
        self.add_op(name, op, inputs)
    }

    /// Adds an operation as [`Graph::add`] does, under a name of the caller's choice.
    ///
    /// # Errors
    /// As [`Graph::add`]; the name is taken.
    pub fn add_named(&mut self, name: &str, op: impl Op + 'static, inputs: &[NodeId]) -> Result<NodeId> {
        let path = self.path(name);
        self.add_op(path, Arc::new(op), inputs)
    }

    pub(crate) fn add_op(&mut self, path: String, op: Arc<dyn Op>, inputs: &[NodeId]) -> Result<NodeId> {
        if op.outputs().is_empty() {
            return Err(Error::graph(path, format!("{} overwrites its inputs; add it with Graph::update", op.name())));
        }
        let (indices, shape) = self.check_call(&path, &*op, inputs)?;
        self.check_updates(&path, &*op, &indices)?;
        // No other node may use what the operation overwrites: it would be unclear whether the old or the new value is meant.
        for (name, &index) in op.inputs().iter().zip(&indices).filter(|(name, _)| op.updates().contains(name)) {
            if let Some(other) = self.nodes.iter().find(|node| node.inputs.contains(&index)) {
                return Err(Error::graph(
                    path,
                    format!(
                        "{} overwrites input {name}, {}, which {} uses; give each a state of its own",
                        op.name(),
                        self.nodes[index].name,
                        other.name
                    ),
                ));
            }
        }
        let shapes: Vec<Shape> = indices.iter().map(|&i| self.nodes[i].shape).collect();
        let more = op.more_shapes(&shapes, shape);
        if op.outputs()[0] != "y" || op.outputs().len() != 1 + more.len() {
            let problem = format!("{} has outputs {:?} and {} shapes after y's", op.name(), op.outputs(), more.len());
            return Err(Error::graph(path, problem));
        }
        let outputs: Vec<String> = op.outputs()[1..].iter().map(|name| self.unique(format!("{path}.{name}"))).collect();
        let first = self.push_of(op.dtype("y"), path, Kind::Op(op.clone()), shape, indices)?;
        for (k, (path, shape)) in outputs.into_iter().zip(more).enumerate() {
            let kind = Kind::Output { of: first.index, output: k + 1 };
            self.push_of(op.dtype(op.outputs()[k + 1]), path, kind, shape, vec![first.index])?;
        }
        Ok(first)
    }

    /// Returns the output `name` of the operation of `node`, such as `indices` of a `top_k`.
    ///
    /// # Errors
    /// `node` is not an operation; its operation has no such output (the error lists its outputs); `node` belongs to another graph.
    pub fn output(&self, node: NodeId, name: &str) -> Result<NodeId> {
        let Node { name: path, kind, .. } = self.node(node)?;
        let Kind::Op(op) = kind else {
            return Err(Error::graph(path, format!("is not an operation, so it has no output {name:?}")));
        };
        match op.outputs().iter().position(|output| *output == name) {
            Some(k) => Ok(self.id_of(node.index + k)),
            None => Err(Error::graph(path, format!("{} has outputs {:?}, not {name:?}", op.name(), op.outputs()))),
        }
    }

    /// Adds an operation that overwrites parameters in place after everything else in the plan has run. Pass the node to
    /// [`crate::Device::compile`] among the fetched nodes; it yields no value.
    ///
    /// # Errors
    /// As [`Graph::add`]; an overwritten input is not a parameter.
    pub fn update(&mut self, op: impl Op + 'static, inputs: &[NodeId]) -> Result<NodeId> {
        self.update_op(Arc::new(op), inputs)
    }

    pub(crate) fn update_op(&mut self, op: Arc<dyn Op>, inputs: &[NodeId]) -> Result<NodeId> {
        let path = self.fresh(op.name());
        let (indices, _) = self.check_call(&path, &*op, inputs)?;
        self.check_updates(&path, &*op, &indices)?;
        self.push(path, Kind::Update(op), SCALAR, indices)
    }

    /// Checks that what an operation overwrites is a parameter, a state or a pack of them.
    fn check_updates(&self, path: &str, op: &dyn Op, inputs: &[usize]) -> Result<()> {
        for (&name, &index) in op.inputs().iter().zip(inputs) {
            let is_param = |i: usize| matches!(self.nodes[i].kind, Kind::Param { .. });
            let node = &self.nodes[index];
            let may = is_param(index) || (matches!(node.kind, Kind::Pack) && is_param(node.inputs[0]));
            if op.updates().contains(&name) && !may {
                return Err(Error::graph(
                    path,
                    format!(
                        "{} overwrites input {name}, which must be a parameter, a state or a pack of them; {} is not",
                        op.name(),
                        self.nodes[index].name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Adds the memory of `members` as one tensor `[1, 1, 1, L]`, so that a single operation reads or overwrites all of them. They are
    /// either parameters and states, or computed values. Each is aligned to [`PACK_ALIGN`](crate::layout::PACK_ALIGN) elements
    /// ([`Graph::members`] returns their positions); between them are zeros.
    ///
    /// # Errors
    /// There are no members; a member is an input or a constant, is already in a pack, or occurs twice; parameters are mixed with
    /// computed values; the name is taken; a node belongs to another graph.
    pub fn pack(&mut self, name: &str, members: &[NodeId]) -> Result<NodeId> {
        let path = self.path(name);
        let mut members = members.to_vec();
        for member in &mut members {
            // A reshape lies where its input lies, and a member in its pack.
            if self.node(*member).is_ok_and(|node| matches!(node.kind, Kind::Reshape)) {
                *member = self.copy(*member)?;
            }
        }
        let fail = |problem: String| Err(Error::graph(path.clone(), problem));
        let mut indices = Vec::with_capacity(members.len());
        let mut params = 0;
        for id in members {
            let node = self.node(id).map_err(|e| Error::graph(path.clone(), e.to_string()))?;
            match node.kind {
                Kind::Param { .. } => params += 1,
                Kind::Op(_) | Kind::Grad { .. } if node.dtype == DType::F32 => {}
                _ => return fail(format!("packs parameters or computed values; {} is neither", node.name)),
            }
            let packed = self.nodes.iter().any(|n| matches!(n.kind, Kind::Pack) && n.inputs.contains(&id.index));
            if packed || indices.contains(&id.index) {
                return fail(format!("{} is packed already; memory lies in one place", node.name));
            }
            indices.push(id.index);
        }
        if indices.is_empty() || (params > 0 && params < indices.len()) {
            return fail(format!(
                "packs parameters or computed values, got {params} of {} as parameters",
                indices.len()
            ));
        }
        let (_, total) = pack_offsets(indices.iter().map(|&i| self.nodes[i].shape));
        self.push(path, Kind::Pack, [1, 1, 1, total].into(), indices)
    }

    /// Returns the members of a pack and their positions in it.
    ///
    /// # Errors
    /// The node is not a pack or belongs to another graph.
    pub fn members(&self, pack: NodeId) -> Result<Vec<Member>> {
        let node = self.node(pack)?;
        if !matches!(node.kind, Kind::Pack) {
            return Err(Error::graph(&node.name, "is not a pack; pass a node that Graph::pack returned"));
        }
        let (firsts, _) = pack_offsets(node.inputs.iter().map(|&i| self.nodes[i].shape));
        let member = |(&i, first): (&usize, usize)| {
            let Node { name, shape, .. } = &self.nodes[i];
            Member { name: name.clone(), shape: *shape, first }
        };
        Ok(node.inputs.iter().zip(firsts).map(member).collect())
    }

    /// Returns the elements of `x` in memory of their own.
    fn copy(&mut self, x: NodeId) -> Result<NodeId> {
        self.view(x, View::of(self.shape(x)?))
    }

    /// Returns the node whose elements node `index` holds: what it is a reshape of, or itself.
    pub(crate) fn unshaped(&self, mut index: usize) -> usize {
        while matches!(self.nodes[index].kind, Kind::Reshape) {
            index = self.nodes[index].inputs[0];
        }
        index
    }

    /// Returns the elements of `x` in the same order with the dimensions `shape`. This takes no time and no memory.
    ///
    /// # Errors
    /// The numbers of elements differ; `x` has no value or belongs to another graph.
    pub fn reshape(&mut self, x: NodeId, shape: impl Into<Shape>) -> Result<NodeId> {
        let path = self.fresh("reshape");
        let shape = shape.into();
        let node = self.node(x).map_err(|e| Error::graph(path.clone(), e.to_string()))?;
        if matches!(node.kind, Kind::Update(_)) {
            return Err(Error::graph(path, format!("{} is an update and has no value", node.name)));
        }
        if len(&node.shape) != len(&shape) {
            let problem = format!(
                "{} has {} elements, {:?}; as {shape:?} it would have {}",
                node.name,
                len(&node.shape),
                node.shape,
                len(&shape)
            );
            return Err(Error::graph(path, problem));
        }
        self.push_of(node.dtype, path, Kind::Reshape, shape, vec![x.index])
    }

    fn check_call(&self, path: &str, op: &dyn Op, inputs: &[NodeId]) -> Result<(Vec<usize>, Shape)> {
        if inputs.len() != op.inputs().len() {
            return Err(Error::graph(
                path,
                format!("{} takes {} inputs {:?}, got {}", op.name(), op.inputs().len(), op.inputs(), inputs.len()),
            ));
        }
        let mut shapes = Vec::with_capacity(inputs.len());
        for &id in inputs {
            let node = self.node(id).map_err(|e| Error::graph(path, e.to_string()))?;
            if matches!(node.kind, Kind::Update(_)) {
                return Err(Error::graph(path, format!("{} is an update and has no value", node.name)));
            }
            if node.shape.rank() != 4 && !op.takes_any_rank() {
                let source = ShapeError::shape(op.inputs()[shapes.len()], "[N, C, H, W]", node.shape);
                return Err(Error::Shape { node: path.to_owned(), source });
            }
            let name = op.inputs()[shapes.len()];
            if node.dtype != op.dtype(name) {
                let problem = format!("{name} must be {}, got {}, which is {}", op.dtype(name), node.name, node.dtype);
                return Err(Error::graph(path, problem));
            }
            let uses = |other: &Node| other.inputs.iter().position(|&input| input == id.index);
            let owns = |other: &&Node| match (&other.kind, uses(other)) {
                (Kind::Op(op), Some(k)) => op.updates().contains(&op.inputs()[k]),
                _ => false,
            };
            let is_param = matches!(node.kind, Kind::Param { .. });
            if let Some(owner) = is_param.then(|| self.nodes.iter().find(owns)).flatten() {
                let problem = format!("{} is overwritten by {}, which alone may use it", node.name, owner.name);
                return Err(Error::graph(path, problem));
            }
            shapes.push(node.shape);
        }
        let shape = op.shape(&shapes).map_err(|source| Error::Shape { node: path.to_owned(), source })?;
        Ok((inputs.iter().map(|id| id.index).collect(), shape))
    }

    /// Adds the gradient node for input `input` of `of`, given the gradient `dy` for `of`; called by [`crate::graph::grad`].
    pub(crate) fn gradient(&mut self, of: usize, input: usize, dy: NodeId) -> Result<NodeId> {
        let node = &self.nodes[of];
        let Kind::Op(op) = &node.kind else {
            return Err(Error::graph(&node.name, "only an operation has gradients"));
        };
        let name = op.inputs()[input];
        if let Some((_, reason)) = op.no_grad().iter().find(|(n, _)| *n == name) {
            return Err(Error::graph(&node.name, format!("{} has no gradient for {name}: {reason}", op.name())));
        }
        let shape = self.nodes[node.inputs[input]].shape;
        let path = self.unique(format!("{}.d{name}", node.name));
        self.push(path, Kind::Grad { of, input }, shape, vec![dy.index])
    }

    /// Returns all trainable parameters in the order in which they were added.
    pub fn parameters(&self) -> Vec<NodeId> {
        let is_trainable = |node: &Node| matches!(node.kind, Kind::Param { trainable: true, .. });
        let indices = (0..self.nodes.len()).filter(|&i| is_trainable(&self.nodes[i]));
        indices.map(|index| self.id_of(index)).collect()
    }

    /// Returns values for every parameter and state, drawn by its [`Init`]. They depend only on `seed` and the parameter's own name,
    /// so that adding a layer does not change the others.
    pub fn initialize(&self, seed: u64) -> Weights {
        let mut tensors = BTreeMap::new();
        for node in &self.nodes {
            if let Kind::Param { init, .. } = node.kind {
                tensors.insert(node.name.clone(), init.fill(node.shape, seed, &node.name));
            }
        }
        Weights::from_tensors(tensors)
    }

    /// Returns values as [`Graph::initialize`] does, but uses `scheme` for the weights, which are the trainable parameters that
    /// operations take as input `w`.
    pub fn initialize_by(&self, scheme: Scheme, seed: u64) -> Weights {
        let mut tensors = self.initialize(seed).tensors().clone();
        for node in &self.nodes {
            let Kind::Op(op) = &node.kind else { continue };
            let Some(k) = op.inputs().iter().position(|&input| input == "w") else { continue };
            let w = &self.nodes[node.inputs[k]];
            if matches!(w.kind, Kind::Param { trainable: true, .. }) {
                let [n, c, kh, kw] = w.shape.nchw();
                // The first dimension of a transposed convolution's filters counts input channels.
                let transposed = (&**op as &dyn std::any::Any).downcast_ref::<ConvTranspose2d>();
                let (to, from) = transposed.map_or((n, c), |op| (c, n / op.groups.max(1)));
                let init = scheme.init(from * kh * kw, to * kh * kw);
                tensors.insert(w.name.clone(), init.fill(w.shape, seed, &w.name));
            }
        }
        Weights::from_tensors(tensors)
    }

    fn path(&self, name: &str) -> String {
        let mut path = self.scope.join("/");
        if !path.is_empty() {
            path.push('/');
        }
        path + name
    }

    fn fresh(&self, name: &str) -> String {
        self.unique(self.stem.as_ref().map_or_else(|| self.path(name), |stem| format!("{stem}.{name}")))
    }

    /// Returns `path`, or `path_2`, `path_3`, … if it is taken.
    fn unique(&self, path: String) -> String {
        if !self.names.contains_key(&path) {
            return path;
        }
        let is_taken = |k: usize| self.names.contains_key(&format!("{path}_{k}"));
        // Numbers are given out in order, so that a search by halves finds the first one that is left.
        let (mut taken, mut free) = (1, 2);
        while is_taken(free) {
            (taken, free) = (free, 2 * free);
        }
        while free - taken > 1 {
            let middle = taken + (free - taken) / 2;
            if is_taken(middle) { taken = middle } else { free = middle }
        }
        format!("{path}_{free}")
    }

    fn push(&mut self, name: String, kind: Kind, shape: Shape, inputs: Vec<usize>) -> Result<NodeId> {
        self.push_of(DType::F32, name, kind, shape, inputs)
    }

    fn push_of(&mut self, dtype: DType, name: String, kind: Kind, shape: Shape, inputs: Vec<usize>) -> Result<NodeId> {
        if self.names.contains_key(&name) {
            return Err(Error::graph(name, "this name is taken; names are unique in a graph"));
        }
        let elements = shape.iter().try_fold(1u32, |n, &d| n.checked_mul(u32::try_from(d).ok()?));
        if elements.is_none_or(|n| n == 0) {
            return Err(Error::graph(name, format!("a tensor has 1 to 2^32 - 1 elements, got shape {shape:?}")));
        }
        let index = self.nodes.len();
        self.names.insert(name.clone(), index);
        self.nodes.push(Node { name, kind, shape, dtype, inputs, is_exact: false, fused: None });
        Ok(NodeId { graph: self.id, index })
    }

    /// Keeps what the nodes from `first` on compute in f32, whatever the precision of a plan.
    pub(crate) fn keep_exact(&mut self, first: usize) {
        let is_computed = |node: &&mut Node| matches!(node.kind, Kind::Op(_) | Kind::Output { .. } | Kind::Reshape);
        self.nodes[first..].iter_mut().filter(is_computed).for_each(|node| node.is_exact = true);
    }
}

/// A way to initialize weights; parses from `he`, `he-prelu`, `xavier` or `gaussian:0.001`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scheme {
    /// [`Init::He`]: slope 0 before ReLU, 0.25 before PReLU.
    He { slope: f32 },
    /// [`Init::Xavier`].
    Xavier,
    /// [`Init::Normal`].
    Gaussian(f32),
}

impl std::str::FromStr for Scheme {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let std = text.strip_prefix("gaussian:").and_then(|std| std.parse().ok());
        match (text, std) {
            ("he", _) => Ok(Self::He { slope: 0.0 }),
            ("he-prelu", _) => Ok(Self::He { slope: 0.25 }),
            ("xavier", _) => Ok(Self::Xavier),
            (_, Some(std)) if std > 0.0 && f32::is_finite(std) => Ok(Self::Gaussian(std)),
            _ => Err(Error::Usage(format!(
                "an initializer is he, he-prelu, xavier or gaussian:STD (such as gaussian:0.001), got {text:?}"
            ))),
        }
    }
}

impl Scheme {
    /// Returns the initializer of a weight with `fan_in` inputs per output and `fan_out` outputs per input.
    fn init(self, fan_in: usize, fan_out: usize) -> Init {
        match self {
            Self::He { slope } => Init::He { fan_in, slope },
            Self::Xavier => Init::Xavier { fan_in, fan_out },
            Self::Gaussian(std) => Init::Normal(std),
        }
    }
}

impl Init {
    pub(crate) fn fill(self, shape: Shape, seed: u64, name: &str) -> Tensor {
        // FNV-1a of the name, so that each parameter has its own stream.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
        let mut rng = Rng::new(seed ^ hash);
        let mut draw = |f: &mut dyn FnMut(&mut Rng) -> f64| (0..len(&shape)).map(|_| f(&mut rng) as f32).collect();
        let data: Vec<f32> = match self {
            Self::Constant(v) => return Tensor::filled(shape, v),
            Self::Normal(std) => draw(&mut |r| r.normal() * f64::from(std)),
            Self::He { fan_in, slope } => {
                let std = (2.0 / ((1.0 + f64::from(slope).powi(2)) * fan_in as f64)).sqrt();
                draw(&mut |r| r.normal() * std)
            }
            Self::Xavier { fan_in, fan_out } => {
                let bound = (6.0 / (fan_in + fan_out) as f64).sqrt();
                draw(&mut |r| r.uniform(-bound, bound))
            }
        };
        Tensor::new(shape, data).expect("one value per element was drawn")
    }
}
