//! Networks written as formulas: a [`Var`] is a value of a [`Draft`], which keeps the first error instead of returning it.

use super::{Graph, Init, NodeId};
use crate::error::{Error, Result};
use crate::ops::Op;
use crate::ops::avg_pool2d::AvgPool2d;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d::Conv2d;
use crate::ops::cumulative_sum::CumulativeSum;
use crate::ops::dropout::Dropout;
use crate::ops::extremum::Extremum;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::local_conv2d::LocalConv2d;
use crate::ops::loss::Reduction;
use crate::ops::matmul::Matmul;
use crate::ops::max_pool2d::MaxPool2d;
use crate::ops::normalize::Normalize;
use crate::ops::one_hot::OneHot;
use crate::ops::pixel_shuffle::PixelShuffle;
use crate::ops::quintuplet::Quintuplet;
use crate::ops::reduce::{Axes, Kind, Reduce};
use crate::ops::resize::{Resize, Taps};
use crate::ops::scatter_add::ScatterAdd;
use crate::ops::softmax::Softmax;
use crate::ops::top_k::TopK;
use crate::ops::view::{Border, View};
use crate::ops::warp::Warp;
use crate::tensor::{DType, SCALAR, Shape, Tensor};
use std::cell::RefCell;
use std::panic::Location;

/// A graph in the making, for one combination of input shapes.
///
/// A network is a function that gets a draft: it asks for its inputs by name, computes with [`Var`]s, and names its outputs and
/// losses. The first error is kept, with the caller's line, and comes out when the network is compiled; what follows it is ignored.
#[derive(Debug)]
pub struct Draft(RefCell<State>);

#[derive(Debug)]
struct State {
    graph: Graph,
    given: Vec<Given>,
    is_training: bool,
    outputs: Vec<(String, NodeId)>,
    losses: Vec<(String, NodeId)>,
    error: Option<Error>,
}

/// Name, shape and element type of a given input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub name: String,
    pub shape: Shape,
    pub dtype: DType,
}

impl Given {
    /// Describes a tensor of f32.
    pub fn new(name: &str, shape: impl Into<Shape>) -> Self {
        Self { name: name.to_owned(), shape: shape.into(), dtype: DType::F32 }
    }
}

impl From<(&str, &Tensor)> for Given {
    fn from((name, tensor): (&str, &Tensor)) -> Self {
        Self { name: name.to_owned(), shape: tensor.shape(), dtype: tensor.dtype() }
    }
}

/// A finished draft.
#[derive(Debug)]
pub struct Drafted {
    pub graph: Graph,
    pub outputs: Vec<(String, NodeId)>,
    /// Empty unless the draft was one for training.
    pub losses: Vec<(String, NodeId)>,
}

impl Drafted {
    /// Calls `build` with a draft for the inputs `given`, in which losses count if `is_training` is set.
    ///
    /// # Errors
    /// The first error of the draft; there is no output and no loss.
    pub fn new(given: &[Given], is_training: bool, build: impl FnOnce(&Draft)) -> Result<Self> {
        let (graph, given) = (Graph::new(), given.to_vec());
        let (outputs, losses) = (Vec::new(), Vec::new());
        let draft = Draft(RefCell::new(State { graph, given, is_training, outputs, losses, error: None }));
        build(&draft);
        let State { graph, outputs, losses, error, .. } = draft.0.into_inner();
        if let Some(error) = error {
            return Err(error);
        }
        if outputs.is_empty() && losses.is_empty() {
            return Err(Error::Usage("the network has no outputs; name one with Draft::output".into()));
        }
        Ok(Self { graph, outputs, losses })
    }
}

/// A value of a [`Draft`]: a handle that is copied, and computed with by methods and operators. After an error it stands for nothing
/// and has the shape of what it would have been computed from.
#[derive(Debug, Clone, Copy)]
pub struct Var<'d> {
    draft: &'d Draft,
    node: Option<NodeId>,
    shape: Shape,
}

/// Returns the part of a node's name to which an operation on it adds its own name: `conv3` for `conv3.relu` in the current scope;
/// `None` for a node of another scope.
fn stem<'n>(name: &'n str, scope: &str) -> Option<&'n str> {
    let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
    let stem = last.split('.').next().unwrap_or(last);
    (above == scope && !stem.is_empty()).then(|| &name[..name.len() - last.len() + stem.len()])
}

impl Draft {
    /// Calls `f` unless there is an error already, and keeps its error with the place `at`. Operations are named after `first`.
    fn apply<'d>(
        &'d self,
        at: &'static Location<'static>,
        first: Option<Var<'d>>,
        f: impl FnOnce(&mut State) -> Result<NodeId>,
    ) -> Var<'d> {
        let mut state = self.0.borrow_mut();
        let mut var = Var { draft: self, node: None, shape: first.map_or(SCALAR, |var| var.shape) };
        if state.error.is_some() {
            return var;
        }
        let name =
            first.and_then(|var| var.node).and_then(|id| state.graph.node(id).ok()).map(|node| node.name.clone());
        let scope = state.graph.scope.join("/");
        state.graph.stem = name.as_deref().and_then(|name| stem(name, &scope)).map(str::to_owned);
        let added = f(&mut state);
        state.graph.stem = None;
        match added.and_then(|id| Ok((id, state.graph.shape(id)?))) {
            Ok((id, shape)) => (var.node, var.shape) = (Some(id), shape),
            Err(source) => state.error = Some(Error::At { at: at.to_string(), source: Box::new(source) }),
        }
        var
    }

    /// Returns the input `name`, with the shape and element type of the tensor that is given for it.
    #[track_caller]
    pub fn input(&self, name: &str) -> Var<'_> {
        self.apply(Location::caller(), None, |state| {
            let path = state.graph.path(name);
            if let Some(known) = state.graph.find(&path) {
                return Ok(known);
            }
            let Some(given) = state.given.iter().find(|given| given.name == path) else {
                let names: Vec<&str> = state.given.iter().map(|given| given.name.as_str()).collect();
                return Err(Error::graph(path, format!("this input was not given; given are {names:?}")));
            };
            state.graph.input_of(given.dtype, name, given.shape)
        })
    }

    /// Returns whether the losses count: the graph is for [`Network::train`](crate::Network).
    pub fn is_training(&self) -> bool {
        self.0.borrow().is_training
    }

    /// Adds a trainable parameter.
    #[track_caller]
    pub fn param(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Var<'_> {
        let shape = shape.into();
        self.apply(Location::caller(), None, |state| state.graph.param(name, shape, init))
    }

    /// Adds a value that is kept between runs and is not trained.
    #[track_caller]
    pub fn state(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Var<'_> {
        let shape = shape.into();
        self.apply(Location::caller(), None, |state| state.graph.state(name, shape, init))
    }

    /// Adds a fixed value.
    #[track_caller]
    pub fn constant(&self, name: &str, value: Tensor) -> Var<'_> {
        self.apply(Location::caller(), None, |state| state.graph.constant(name, value))
    }

    /// Adds any operation, built-in or the caller's own. `inputs` is not empty.
    #[track_caller]
    pub fn add<'d>(&'d self, op: impl Op + 'static, inputs: &[Var<'d>]) -> Var<'d> {
        self.apply(Location::caller(), inputs.first().copied(), |state| state.graph.add(op, &ids(inputs)?))
    }

    /// Adds what `f` adds to the graph itself, such as one of [`crate::models`].
    #[track_caller]
    pub fn graph<'d>(&'d self, inputs: &[Var<'d>], f: impl FnOnce(&mut Graph, &[NodeId]) -> Result<NodeId>) -> Var<'d> {
        self.apply(Location::caller(), None, |state| f(&mut state.graph, &ids(inputs)?))
    }

    /// Adds what `f` adds to the graph, which gets the inputs that are given, and makes the nodes that it returns outputs.
    pub(crate) fn extend(&self, f: impl FnOnce(&mut Graph, &[Given]) -> Result<Vec<(String, NodeId)>>) {
        let mut state = self.0.borrow_mut();
        let State { graph, given, outputs, error, .. } = &mut *state;
        match f(graph, given) {
            _ if error.is_some() => {}
            Ok(added) => outputs.extend(added),
            Err(problem) => *error = Some(problem),
        }
    }

    /// Calls `f` to add values whose names begin with `scope/`.
    pub fn within<T>(&self, scope: &str, f: impl FnOnce() -> T) -> T {
        self.0.borrow_mut().graph.scope.push(scope.to_owned());
        let result = f();
        self.0.borrow_mut().graph.scope.pop();
        result
    }

    /// Makes `var` an output of the network.
    #[track_caller]
    pub fn output(&self, name: &str, var: Var) {
        self.name(Location::caller(), name, var, |state| &mut state.outputs);
    }

    /// Adds a loss, the scalar that `loss` returns, if the graph is for training; otherwise `loss` is not called, and what it asks
    /// for need not be given. Training minimises the sum of all losses.
    #[track_caller]
    pub fn loss<'d>(&'d self, name: &str, loss: impl FnOnce() -> Var<'d>) {
        let at = Location::caller();
        if self.is_training() {
            self.name(at, name, loss(), |state| &mut state.losses);
        }
    }

    fn name(
        &self,
        at: &'static Location<'static>,
        name: &str,
        var: Var,
        list: fn(&mut State) -> &mut Vec<(String, NodeId)>,
    ) {
        let _ = self.apply(at, None, |state| {
            let id = var.id()?;
            state.graph.node(id)?;
            if state.outputs.iter().chain(&state.losses).any(|(known, _)| known == name) {
                return Err(Error::graph(name, "is the name of another output or loss"));
            }
            list(state).push((name.to_owned(), id));
            Ok(id)
        });
    }
}

/// An operation of a layer with parameters, and whether these include a bias. An operation by itself becomes a layer with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer<O> {
    pub op: O,
    pub bias: bool,
}

impl<O> Layer<O> {
    /// Creates a layer without a bias, as before a normalisation.
    pub fn unbiased(op: O) -> Self {
        Self { op, bias: false }
    }
}

impl<O> From<O> for Layer<O> {
    fn from(op: O) -> Self {
        Self { op, bias: true }
    }
}

/// Returns the bias of the layer `name`: the parameter `name.b`, or zeros.
fn bias_of(g: &mut Graph, name: &str, channels: usize, bias: bool) -> Result<NodeId> {
    if bias { g.param(&format!("{name}.b"), [1, channels, 1, 1], Init::Constant(0.0)) } else { g.bias(None, channels) }
}

fn ids(vars: &[Var]) -> Result<Vec<NodeId>> {
    vars.iter().map(Var::id).collect()
}

impl<'d> Var<'d> {
    /// Returns the node; only a draft with an error has a value without one.
    fn id(&self) -> Result<NodeId> {
        self.node.ok_or_else(|| Error::Usage("this value belongs to a draft with an error".into()))
    }

    #[track_caller]
    fn then(self, f: impl FnOnce(&mut Graph, NodeId) -> Result<NodeId>) -> Self {
        self.draft.apply(Location::caller(), Some(self), |state| {
            let id = self.id()?;
            f(&mut state.graph, id)
        })
    }

    #[track_caller]
    fn with(self, other: Self, f: impl FnOnce(&mut Graph, NodeId, NodeId) -> Result<NodeId>) -> Self {
        self.draft.apply(Location::caller(), Some(self), |state| {
            let (a, b) = (self.id()?, other.id()?);
            f(&mut state.graph, a, b)
        })
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Adds any operation of one input, built-in or the caller's own.
    #[track_caller]
    pub fn apply(self, op: impl Op + 'static) -> Self {
        self.then(|g, x| g.add(op, &[x]))
    }

    /// Applies the function `name` of `src/ops/pointwise/unary.rs` to each element.
    #[track_caller]
    pub fn pointwise(self, name: &str) -> Self {
        self.then(|g, x| g.pointwise(x, name))
    }

    /// Applies the function `name` of `src/ops/pointwise/binary.rs` to each pair of elements, with NumPy's broadcasting.
    #[track_caller]
    pub fn binary(self, other: Self, name: &str) -> Self {
        self.with(other, |g, a, b| g.binary(a, b, name))
    }

    /// Applies a function with parameters, such as `clamp`, to each element.
    #[track_caller]
    pub fn pointwise_with(self, name: &str, parameters: &[f32]) -> Self {
        self.then(|g, x| g.pointwise_with(x, name, parameters))
    }

    /// Compares pairs of elements by the function `name`, such as `less`, with NumPy's broadcasting: 1 or 0, as u32.
    #[track_caller]
    pub fn compare(self, other: Self, name: &str) -> Self {
        self.with(other, |g, a, b| g.compare(a, b, name))
    }

    /// `a` where this value, a u32, is not 0, else `b`, with NumPy's broadcasting.
    #[track_caller]
    pub fn select(self, a: Self, b: Self) -> Self {
        self.draft.add(crate::ops::select::Select, &[self, a, b])
    }

    /// Reduces any set of axes, such as to their mean.
    #[track_caller]
    pub fn reduce(self, op: Reduce) -> Self {
        self.apply(op)
    }

    /// The sum over these axes, which the result lacks.
    #[track_caller]
    pub fn sum(self, axes: &[usize]) -> Self {
        self.apply(Reduce { kind: Kind::Sum, axes: Axes::without(axes) })
    }

    /// The mean over these axes, which the result lacks.
    #[track_caller]
    pub fn mean(self, axes: &[usize]) -> Self {
        self.apply(Reduce { kind: Kind::Mean, axes: Axes::without(axes) })
    }

    /// The position of the largest element along an axis, which the result lacks, as u32.
    #[track_caller]
    pub fn arg_max(self, axis: usize) -> Self {
        self.extremum(Extremum { largest: true, axes: Axes::without(&[axis]) }).1
    }

    /// The maximum or minimum over any set of axes, and its position as u32.
    #[track_caller]
    pub fn extremum(self, op: Extremum) -> (Self, Self) {
        let y = self.apply(op);
        (y, y.then(|g, y| g.output(y, "indices")))
    }

    /// Probabilities along an axis, or their logarithms.
    #[track_caller]
    pub fn softmax(self, op: Softmax) -> Self {
        self.apply(op)
    }

    /// max(x, 0).
    #[track_caller]
    pub fn relu(self) -> Self {
        self.then(Graph::relu)
    }

    /// x where it is positive, else `slope`·x.
    #[track_caller]
    pub fn leaky_relu(self, slope: f32) -> Self {
        self.then(|g, x| g.leaky_relu(x, LeakyRelu { slope }))
    }

    /// x where it is positive, else a·x with a parameter `a` of one slope per channel, initially 0.25.
    #[track_caller]
    pub fn prelu(self, name: &str) -> Self {
        self.then(|g, x| {
            let channels = g.shape(x)?.nchw()[1];
            let a = g.param(&format!("{name}.a"), [1, channels, 1, 1], Init::Constant(0.25))?;
            g.add_named(name, crate::ops::prelu::Prelu, &[x, a])
        })
    }

    #[track_caller]
    pub fn sigmoid(self) -> Self {
        self.pointwise("sigmoid")
    }

    #[track_caller]
    pub fn tanh(self) -> Self {
        self.pointwise("tanh")
    }

    #[track_caller]
    pub fn exp(self) -> Self {
        self.pointwise("exp")
    }

    #[track_caller]
    pub fn abs(self) -> Self {
        self.pointwise("abs")
    }

    /// The larger of two values, with broadcasting.
    #[track_caller]
    pub fn max(self, other: Self) -> Self {
        self.binary(other, "max")
    }

    /// The smaller of two values, with broadcasting.
    #[track_caller]
    pub fn min(self, other: Self) -> Self {
        self.binary(other, "min")
    }

    /// The convolution with filters `w` `[Co,Ci/groups,Kh,Kw]` and biases `b` `[1,Co,1,1]`, or `None`.
    #[track_caller]
    pub fn conv2d(self, w: Self, b: impl Into<Option<Self>>, op: Conv2d) -> Self {
        let b = b.into().map(|b| b.id()).transpose();
        self.with(w, |g, x, w| g.conv2d(x, w, b?, op))
    }

    /// The transposed convolution with filters `w` `[Ci,Co/groups,Kh,Kw]` and biases `b` `[1,Co,1,1]`, or `None`.
    #[track_caller]
    pub fn conv_transpose2d(self, w: Self, b: impl Into<Option<Self>>, op: ConvTranspose2d) -> Self {
        let b = b.into().map(|b| b.id()).transpose();
        self.with(w, |g, x, w| g.conv_transpose2d(x, w, b?, op))
    }

    /// A convolution to `channels` channels by filters of `kernel` × `kernel` taps, with parameters `name.w` (He's initialization)
    /// and, unless it is [`Layer::unbiased`], `name.b` (zero).
    #[track_caller]
    pub fn conv(self, name: &str, channels: usize, kernel: usize, layer: impl Into<Layer<Conv2d>>) -> Self {
        let Layer { op, bias } = layer.into();
        self.then(|g, x| {
            let inputs = g.shape(x)?.nchw()[1] / op.groups.max(1);
            let init = Init::He { fan_in: inputs * kernel * kernel, slope: 0.0 };
            let w = g.param(&format!("{name}.w"), [channels, inputs, kernel, kernel], init)?;
            let b = bias_of(g, name, channels, bias)?;
            g.add_named(name, op, &[x, w, b])
        })
    }

    /// A transposed convolution to `channels` channels by filters of `kernel` × `kernel` taps, with parameters `name.w` (He's
    /// initialization) and, unless it is [`Layer::unbiased`], `name.b` (zero).
    #[track_caller]
    pub fn conv_transpose(
        self,
        name: &str,
        channels: usize,
        kernel: usize,
        layer: impl Into<Layer<ConvTranspose2d>>,
    ) -> Self {
        let Layer { op, bias } = layer.into();
        self.then(|g, x| {
            let (inputs, groups) = (g.shape(x)?.nchw()[1], op.groups.max(1));
            let init = Init::He { fan_in: inputs / groups * kernel * kernel, slope: 0.0 };
            let w = g.param(&format!("{name}.w"), [inputs, channels / groups, kernel, kernel], init)?;
            let b = bias_of(g, name, channels, bias)?;
            g.add_named(name, op, &[x, w, b])
        })
    }

    /// A locally connected layer to `channels` channels by filters of `kernel` × `kernel` taps, without padding: each cell of `side` × `side`
    /// positions of the output has filters of its own. Parameters are `name.w` (He's initialization) and `name.b` (zero).
    #[track_caller]
    pub fn local_conv(self, name: &str, channels: usize, kernel: usize, side: usize) -> Self {
        self.then(|g, x| {
            let [_, inputs, height, width] = g.shape(x)?.nchw();
            // The operation refuses sizes that do not fit, whatever this is then.
            let cells = |size: usize| ((size + 1).saturating_sub(kernel) / side.max(1)).max(1);
            let filters = cells(height) * cells(width) * channels;
            let init = Init::He { fan_in: inputs * kernel * kernel, slope: 0.0 };
            let w = g.param(&format!("{name}.w"), [filters, inputs, kernel, kernel], init)?;
            let b = g.param(&format!("{name}.b"), [1, filters, 1, 1], Init::Constant(0.0))?;
            g.add_named(name, LocalConv2d { side }, &[x, w, b])
        })
    }

    /// The locally connected layer with filters `w` `[cells·Co,Ci,K,K]` and biases `b` `[1,cells·Co,1,1]`.
    #[track_caller]
    pub fn local_conv2d(self, w: Self, b: Self, op: LocalConv2d) -> Self {
        self.draft.add(op, &[self, w, b])
    }

    /// A fully connected layer to `outputs` numbers per picture, `[N,outputs,1,1]`, with parameters `name.w` (He's initialization)
    /// and `name.b` (zero).
    #[track_caller]
    pub fn dense(self, name: &str, outputs: usize) -> Self {
        self.dense_with(name, outputs, true)
    }

    /// [`Var::dense`] without a bias.
    #[track_caller]
    pub fn dense_unbiased(self, name: &str, outputs: usize) -> Self {
        self.dense_with(name, outputs, false)
    }

    #[track_caller]
    fn dense_with(self, name: &str, outputs: usize, bias: bool) -> Self {
        self.then(|g, x| {
            let [_, c, h, w] = g.shape(x)?.nchw();
            let init = Init::He { fan_in: c * h * w, slope: 0.0 };
            let weights = g.param(&format!("{name}.w"), [outputs, c * h * w, 1, 1], init)?;
            let b = bias_of(g, name, outputs, bias)?;
            g.add_named(name, crate::ops::linear::Linear, &[x, weights, b])
        })
    }

    /// Normalises the channels with the batch's statistics in training, and with the running ones otherwise; scaled and shifted by the
    /// parameters `name.w` (one) and `name.b` (zero). The running statistics are `name.mean` and `name.variance`.
    #[track_caller]
    pub fn batch_norm(self, name: &str) -> Self {
        let op = BatchNorm { training: self.draft.is_training(), ..BatchNorm::default() };
        self.then(|g, x| {
            let channels = g.shape(x)?.get(1).copied().unwrap_or(1);
            let w = g.param(&format!("{name}.w"), [channels], Init::Constant(1.0))?;
            let b = g.param(&format!("{name}.b"), [channels], Init::Constant(0.0))?;
            let mean = g.state(&format!("{name}.mean"), [channels], Init::Constant(0.0))?;
            let variance = g.state(&format!("{name}.variance"), [channels], Init::Constant(1.0))?;
            g.add_named(name, op, &[x, w, b, mean, variance])
        })
    }

    /// Layer, group or instance normalisation with scale `w` and shift `b`.
    #[track_caller]
    pub fn normalize(self, w: Self, b: Self, op: Normalize) -> Self {
        self.draft.add(op, &[self, w, b])
    }

    /// Products of the matrices in the last two dimensions, with NumPy's broadcasting of the others.
    #[track_caller]
    pub fn matmul(self, other: Self) -> Self {
        self.with(other, |g, a, b| g.matmul(a, b, Matmul::default()))
    }

    /// Products of matrices of which either may be transposed.
    #[track_caller]
    pub fn matmul_with(self, other: Self, op: Matmul) -> Self {
        self.with(other, |g, a, b| g.matmul(a, b, op))
    }

    /// b + w·x for every picture, with `w` `[O,C·H·W,1,1]` and `b` `[1,O,1,1]`, or `None`: `[N,O,1,1]`.
    #[track_caller]
    pub fn linear(self, w: Self, b: impl Into<Option<Self>>) -> Self {
        let b = b.into().map(|b| b.id()).transpose();
        self.with(w, |g, x, w| g.linear(x, w, b?))
    }

    /// Sums of the elements up to each position along an axis.
    #[track_caller]
    pub fn cumulative_sum(self, op: CumulativeSum) -> Self {
        self.apply(op)
    }

    /// The maximum of each window of `kernel` × `kernel` pixels, side by side.
    #[track_caller]
    pub fn max_pool(self, kernel: usize) -> Self {
        self.apply(MaxPool2d::new(kernel, kernel))
    }

    /// The mean of each window of `kernel` × `kernel` pixels, side by side.
    #[track_caller]
    pub fn avg_pool(self, kernel: usize) -> Self {
        self.apply(AvgPool2d::new(kernel, kernel))
    }

    /// The maximum of each window.
    #[track_caller]
    pub fn max_pool2d(self, op: MaxPool2d) -> Self {
        self.apply(op)
    }

    /// The mean of each window.
    #[track_caller]
    pub fn avg_pool2d(self, op: AvgPool2d) -> Self {
        self.apply(op)
    }
    /// Weighted sums of what `taps` choose along an axis, such as an interpolation.
    #[track_caller]
    pub fn resample(self, axis: usize, taps: &Taps) -> Self {
        self.then(|g, x| g.resample(x, axis, taps))
    }

    /// Every `r`² channels become a block of `r` × `r` pixels.
    #[track_caller]
    pub fn pixel_shuffle(self, r: usize) -> Self {
        self.apply(PixelShuffle { factor: r })
    }

    #[track_caller]
    pub fn resize(self, op: Resize) -> Self {
        self.apply(op)
    }

    /// Samples `[N,C,H,W]` at the positions `field` `[N,2,Ho,Wo]` (column, then row, in pixels).
    #[track_caller]
    pub fn warp(self, field: Self, op: Warp) -> Self {
        self.with(field, |g, x, f| g.warp(x, f, op))
    }

    /// These positions `[1,2,H,W]` displaced by the bases `b` `[2,K,H,W]` with the coefficients `c` `[N,K,1,1]`: `[N,2,H,W]`.
    #[track_caller]
    pub fn field(self, b: Self, c: Self) -> Self {
        self.draft.add(crate::ops::field::Field, &[self, b, c])
    }

    /// (1 − g)·self + g·other, where `g` has the shape of both or one channel.
    #[track_caller]
    pub fn gate(self, other: Self, g: Self) -> Self {
        self.draft.add(crate::ops::gate::Gate, &[self, other, g])
    }

    /// The elements of this value along an axis, then those of the others.
    #[track_caller]
    pub fn concat(self, others: &[Self], axis: usize) -> Self {
        let others = ids(others);
        self.then(|g, x| {
            let all: Vec<NodeId> = std::iter::once(x).chain(others?).collect();
            g.concat_all(&all, axis)
        })
    }

    /// `len` channels from `start` on.
    #[track_caller]
    pub fn channels(self, start: usize, len: usize) -> Self {
        self.narrow(1, start, len)
    }

    /// `len` positions on an axis, from `start` on.
    #[track_caller]
    pub fn narrow(self, axis: usize, start: usize, len: usize) -> Self {
        self.then(|g, x| g.narrow(x, axis, start, len))
    }

    /// The positions `start`, `start + step`, … before `stop` on an axis. As in NumPy, negative numbers count from the end, and what
    /// lies outside is cut off.
    #[track_caller]
    pub fn slice(self, axis: usize, start: i64, stop: i64, step: i64) -> Self {
        self.then(|g, x| g.slice(x, axis, start, stop, step))
    }

    /// Consecutive ranges of an axis, of these sizes.
    #[track_caller]
    pub fn split<const K: usize>(self, axis: usize, sizes: [usize; K]) -> [Self; K] {
        let whole = self.then(|g, x| g.check_split(x, axis, &sizes).map(|()| x));
        let mut start = 0usize;
        sizes.map(|len| {
            let part = whole.narrow(axis, start, len);
            start = start.saturating_add(len);
            part
        })
    }

    /// One position on an axis, which the result lacks, unless it is the only one.
    #[track_caller]
    pub fn index(self, axis: usize, position: usize) -> Self {
        self.then(|g, x| g.index(x, axis, position))
    }

    /// The axes in another order: axis k is `axes[k]` of this value.
    #[track_caller]
    pub fn permute(self, axes: &[usize]) -> Self {
        self.then(|g, x| g.permute(x, axes))
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn transpose(self, a: usize, b: usize) -> Self {
        self.then(|g, x| g.transpose(x, a, b))
    }

    /// An axis in reverse order.
    #[track_caller]
    pub fn flip(self, axis: usize) -> Self {
        self.then(|g, x| g.flip(x, axis))
    }

    /// `pads[k]` = (before, after) elements around each axis k.
    #[track_caller]
    pub fn pad(self, pads: &[(usize, usize)], border: Border) -> Self {
        self.then(|g, x| g.pad(x, pads, border))
    }

    /// A strided copy.
    #[track_caller]
    pub fn view(self, op: View) -> Self {
        self.then(|g, x| g.view(x, op))
    }

    /// Repeated along axes of size 1, and along new axes before its own, to this shape.
    #[track_caller]
    pub fn expand(self, shape: impl Into<Shape>) -> Self {
        self.then(|g, x| g.expand(x, shape))
    }

    /// The elements along an axis at the positions `indices`, u32 of any shape, which takes the place of the axis.
    #[track_caller]
    pub fn gather(self, indices: Self, axis: usize) -> Self {
        self.with(indices, |g, x, indices| g.gather(x, indices, axis))
    }

    /// The elements along an axis, in which every line has its own indices, u32.
    #[track_caller]
    pub fn gather_elements(self, indices: Self, axis: usize) -> Self {
        self.with(indices, |g, x, indices| g.gather_elements(x, indices, axis))
    }

    /// This value with updates added along an axis at the positions `indices`, u32.
    #[track_caller]
    pub fn scatter_add(self, indices: Self, updates: Self, op: ScatterAdd) -> Self {
        self.draft.add(op, &[self, indices, updates])
    }

    /// Rows of a table, the parameter `name.w` `[rows, size]`, for indices of u32: their shape, followed by `size`. Rows are drawn from a
    /// normal distribution of deviation 1.
    #[track_caller]
    pub fn embedding(self, name: &str, rows: usize, size: usize) -> Self {
        self.then(|g, indices| {
            let w = g.param(&format!("{name}.w"), [rows, size], Init::Normal(1.0))?;
            g.add_named(name, crate::ops::gather::Gather { axis: 0, elements: false }, &[w, indices])
        })
    }

    /// While training, sets elements to zero with this probability and scales the others; otherwise changes nothing.
    #[track_caller]
    pub fn dropout(self, op: Dropout) -> Self {
        if self.draft.is_training() { self.then(|g, x| g.dropout(x, op)) } else { self }
    }

    /// Each of the N·H vectors of C·W numbers divided by its length.
    #[track_caller]
    pub fn l2_normalize(self, op: L2Normalize) -> Self {
        self.apply(op)
    }

    /// Squared Euclidean distances `[N,M,1,1]` between rows `[N,D,1,1]` and those of `other` `[M,D,1,1]`.
    #[track_caller]
    pub fn pairwise_distance(self, other: Self) -> Self {
        self.with(other, Graph::pairwise_distance)
    }

    /// The elements as f32 or u32; as u32, they are rounded towards zero and clamped.
    #[track_caller]
    pub fn cast(self, to: DType) -> Self {
        self.then(|g, x| g.cast(x, to))
    }

    /// Class indices, u32, as vectors of 0 and 1.
    #[track_caller]
    pub fn one_hot(self, op: OneHot) -> Self {
        self.apply(op)
    }

    /// The largest or smallest elements along an axis, and their positions as u32.
    #[track_caller]
    pub fn top_k(self, op: TopK) -> (Self, Self) {
        let y = self.apply(op);
        (y, y.then(|g, y| g.output(y, "indices")))
    }

    /// Spreads the channels of every group over all groups.
    #[track_caller]
    pub fn channel_shuffle(self, groups: usize) -> Self {
        self.then(|g, x| g.channel_shuffle(x, groups))
    }

    /// The same elements with other dimensions, which takes no time and no memory.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        self.then(|g, x| g.reshape(x, shape))
    }

    /// The same elements as `[N, L]`: one row per element of the first axis.
    #[track_caller]
    pub fn flatten(self) -> Self {
        let rows = self.shape[0];
        self.reshape([rows, crate::tensor::len(&self.shape) / rows])
    }

    /// The squared error.
    #[track_caller]
    pub fn mse(self, target: Self, reduction: Reduction) -> Self {
        self.with(target, |g, a, b| g.mse(a, b, reduction))
    }

    /// The squared error with a weight for each element; the mean is over all elements, regardless of the weights.
    #[track_caller]
    pub fn mse_weighted(self, target: Self, weights: Self, reduction: Reduction) -> Self {
        let weights = weights.id();
        self.with(target, |g, a, b| g.mse_weighted(a, b, weights?, reduction))
    }

    /// The mean of √(d² + ε²), where d is the error.
    #[track_caller]
    pub fn charbonnier(self, target: Self, eps: f32) -> Self {
        self.with(target, |g, a, b| g.charbonnier(a, b, eps))
    }

    /// The mean of √(d² + ε²) with a weight for each element; it is over all elements, regardless of the weights.
    #[track_caller]
    pub fn charbonnier_weighted(self, target: Self, weights: Self, eps: f32) -> Self {
        let weights = weights.id();
        self.with(target, |g, a, b| g.charbonnier_weighted(a, b, weights?, eps))
    }

    /// Half the squared error up to `delta`, and linear beyond.
    #[track_caller]
    pub fn huber(self, target: Self, delta: f32, reduction: Reduction) -> Self {
        self.with(target, |g, a, b| g.huber(a, b, delta, reduction))
    }

    /// max(0, 1 − score·class) for classes of −1 or 1.
    #[track_caller]
    pub fn hinge(self, class: Self, reduction: Reduction) -> Self {
        self.with(class, |g, a, b| g.hinge(a, b, reduction))
    }

    /// The cross entropy of the probabilities sigmoid(self) and targets in `[0, 1]`.
    #[track_caller]
    pub fn bce_with_logits(self, target: Self, reduction: Reduction) -> Self {
        self.with(target, |g, a, b| g.bce_with_logits(a, b, reduction))
    }

    /// The triple-header hinge loss of embeddings `[5N,D,1,1]`, anchors and then their four partners, with weights `[N,3,1,1]` of the
    /// hinges.
    #[track_caller]
    pub fn quintuplet(self, weights: Self, op: Quintuplet) -> Self {
        self.with(weights, |g, f, m| g.quintuplet(f, m, op))
    }

    /// The cross entropy of scores and target probabilities, with softmax over the channels.
    #[track_caller]
    pub fn softmax_cross_entropy(self, target: Self, reduction: Reduction) -> Self {
        self.with(target, |g, x, t| g.softmax_cross_entropy(x, t, reduction))
    }

    /// The cross entropy of scores and class indices, u32, with softmax over the second axis.
    #[track_caller]
    pub fn cross_entropy(self, labels: Self, reduction: Reduction) -> Self {
        self.with(labels, |g, x, t| g.cross_entropy(x, t, reduction))
    }

    /// A scalar as a constant.
    #[track_caller]
    fn scalar(self, value: f32) -> Self {
        self.draft.apply(Location::caller(), Some(self), |state| {
            let path = state.graph.fresh("constant");
            state.graph.constant_at(path, Tensor::new([1], vec![value])?)
        })
    }
}

/// Implements an operator for two values and for a value and a number.
macro_rules! operator {
    ($trait:ident, $method:ident, $name:literal) => {
        impl<'d> std::ops::$trait for Var<'d> {
            type Output = Var<'d>;
            #[track_caller]
            fn $method(self, other: Var<'d>) -> Var<'d> {
                self.binary(other, $name)
            }
        }
        impl<'d> std::ops::$trait<f32> for Var<'d> {
            type Output = Var<'d>;
            #[track_caller]
            fn $method(self, other: f32) -> Var<'d> {
                self.binary(self.scalar(other), $name)
            }
        }
        impl<'d> std::ops::$trait<Var<'d>> for f32 {
            type Output = Var<'d>;
            #[track_caller]
            fn $method(self, other: Var<'d>) -> Var<'d> {
                other.scalar(self).binary(other, $name)
            }
        }
    };
}

operator!(Add, add, "add");
operator!(Sub, sub, "sub");
operator!(Mul, mul, "mul");
operator!(Div, div, "div");

impl<'d> std::ops::Neg for Var<'d> {
    type Output = Var<'d>;
    #[track_caller]
    fn neg(self) -> Var<'d> {
        self * -1.0
    }
}

/// 1 where the value, a u32, is 0, else 0.
impl<'d> std::ops::Not for Var<'d> {
    type Output = Var<'d>;
    #[track_caller]
    fn not(self) -> Var<'d> {
        self.then(Graph::not)
    }
}
