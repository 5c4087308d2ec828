//! Which pixels of a picture the elements of a graph depend on: from these follow the halo of a window and the grid on which windows lie.
//!
//! Along the rows of the picture, and likewise along its columns, the element `[i₀, i₁, …]` of a tensor depends on the pixels
//! `Σₖ stepₖ·iₖ + from` to `Σₖ stepₖ·iₖ + to`, and the elements of each axis from one to another are those that depend on nothing beyond
//! the window's borders, be it padding or a pixel. Convolutions, pools and interpolations change all of these, and views and reshapes move
//! them to other axes, so that a pixel shuffle made of a reshape, a transpose and a reshape is nothing special.
//!
//! Whatever is not described that way, such as the mean of a whole picture, has global reach.

use crate::graph::{Graph, Kind, NodeId};
use crate::ops::Op;
use crate::ops::avg_pool2d::AvgPool2d;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::cast::Cast;
use crate::ops::concat::Concat;
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d::Conv2d;
use crate::ops::extremum::Extremum;
use crate::ops::gate::Gate;
use crate::ops::gather::Gather;
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::matmul::Matmul;
use crate::ops::max_pool2d::MaxPool2d;
use crate::ops::normalize::{Normalize, Over};
use crate::ops::not::Not;
use crate::ops::pixel_shuffle::PixelShuffle;
use crate::ops::pointwise::{Binary, Compare, Unary};
use crate::ops::prelu::Prelu;
use crate::ops::reduce::{Axes, Reduce};
use crate::ops::relu::Relu;
use crate::ops::resample::Resample;
use crate::ops::resize::{Resize, taps};
use crate::ops::select::Select;
use crate::ops::softmax::Softmax;
use crate::ops::view::View;
use crate::ops::windows::Windows;
use crate::tensor::{MAX_RANK, Shape, Tensor};
use std::any::Any;

/// Steps that differ by less are equal: they are quotients of small integers in f64.
const SAME: f64 = 1e-9;

/// Largest denominator of a step.
const MAX_DENOMINATOR: u32 = 64;

/// The pixels along the rows or along the columns of the picture on which an element depends; see the head of this file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Side {
    /// Pixels from one element to the next, along each axis.
    pub steps: [f64; MAX_RANK],
    pub from: f64,
    pub to: f64,
}

/// The first and the last of some positions on an axis; there are none if the last comes first.
pub type Span = [i64; 2];

/// What a tensor depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// For rows and columns; `None` if no window of pixels describes it.
    pub sides: Option<[Side; 2]>,
    /// Along each axis, the elements that depend on nothing outside of the window.
    pub inside: [Span; MAX_RANK],
    /// The rest of the picture, or the place in it, matters too.
    pub is_global: bool,
}

/// Depends on everything, in no order that is known.
const GLOBAL: Reach = Reach { sides: None, inside: [NOWHERE; MAX_RANK], is_global: true };

const NOWHERE: Span = [0, -1];

/// Returns all positions on each axis.
fn everywhere(shape: &Shape) -> [Span; MAX_RANK] {
    let mut all = [NOWHERE; MAX_RANK];
    for (span, &size) in all.iter_mut().zip(shape.iter()) {
        *span = [0, size as i64 - 1];
    }
    all
}

fn both(a: Span, b: Span) -> Span {
    [a[0].max(b[0]), a[1].min(b[1])]
}

/// The reach of a graph's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traced {
    pub reach: Reach,
    /// Pixels by which a window must be moved so that each of its tensors moves by whole elements.
    pub multiple: usize,
}

/// Returns the reach of `output`; `None` if it does not depend on `input`, a picture whose rows and columns are the axes `axes`.
pub fn trace(graph: &Graph, input: NodeId, axes: [usize; 2], output: NodeId) -> Option<Traced> {
    let nodes = graph.nodes();
    let mut needed = vec![false; nodes.len()];
    needed[output.index] = true;
    for index in (0..nodes.len()).rev().filter(|&index| index <= output.index) {
        if needed[index] {
            nodes[index].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    let mut known: Vec<Option<Reach>> = vec![None; nodes.len()];
    let mut multiple = Some(1);
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let inputs: Vec<Option<Reach>> = node.inputs.iter().map(|&input| known[input]).collect();
        known[index] = match &node.kind {
            _ if index == input.index => {
                Some(Reach { sides: Some(axes.map(Side::along)), inside: everywhere(&node.shape), is_global: false })
            }
            _ if inputs.iter().all(Option::is_none) => None,
            Kind::Reshape => {
                let from = nodes[node.inputs[0]].shape;
                inputs[0].map(|x| {
                    x.each(|side| side.reshaped(&from, &node.shape)).with(reshaped(&x.inside, &from, &node.shape))
                })
            }
            Kind::Op(op) => {
                let shapes: Vec<Shape> = node.inputs.iter().map(|&input| nodes[input].shape).collect();
                let fixed = |i: usize| match &nodes[node.inputs[i]].kind {
                    Kind::Constant(tensor) => Some(&**tensor),
                    _ => None,
                };
                Some(Call { op: &**op, x: &shapes, y: node.shape, inputs: &inputs }.reach(&fixed).unwrap_or(GLOBAL))
            }
            _ => Some(GLOBAL),
        };
        for side in known[index].and_then(|reach| reach.sides).into_iter().flatten() {
            for (step, _) in side.steps.iter().zip(node.shape.iter()).filter(|(step, size)| **step > SAME && **size > 1)
            {
                multiple = multiple.and_then(|m| lcm(m, numerator(*step)?));
            }
        }
    }
    let mut reach = known[output.index]?;
    // Steps that are no fractions of pixels do not repeat.
    reach.is_global |= multiple.is_none();
    Some(Traced { reach, multiple: multiple.unwrap_or(1) })
}

/// Returns p of the fraction p/q that a step is.
fn numerator(step: f64) -> Option<usize> {
    let scaled = (1..=MAX_DENOMINATOR).map(|q| step * f64::from(q));
    scaled.into_iter().find(|p| (p - p.round()).abs() < 1e-6 && p.round() >= 1.0).map(|p| p.round() as usize)
}

fn lcm(a: usize, b: usize) -> Option<usize> {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).checked_mul(b)
}

impl Side {
    fn along(axis: usize) -> Self {
        let mut steps = [0.0; MAX_RANK];
        steps[axis] = 1.0;
        Self { steps, from: 0.0, to: 0.0 }
    }

    /// Element j of the result reads the elements `step·j + first` to `step·j + last` of an axis.
    fn window(mut self, axis: usize, step: f64, first: f64, last: f64) -> Self {
        let own = self.steps[axis];
        self.steps[axis] = own * step;
        self.from += (own * first).min(own * last);
        self.to += (own * first).max(own * last);
        self
    }

    /// Each element of the result reads all of an axis, whose size does not depend on the picture's.
    fn sum(self, axis: usize, size: usize) -> Self {
        self.window(axis, 0.0, 0.0, size.saturating_sub(1) as f64)
    }

    /// Returns whether positions on an axis are places in the picture.
    fn walks(&self, axis: usize) -> bool {
        self.steps[axis].abs() > SAME
    }

    /// An output reads what a table says: the least and the largest element for each output.
    fn table(self, axis: usize, size: usize, rows: &[(usize, usize)]) -> Option<Self> {
        if !self.walks(axis) {
            return Some(self);
        }
        let ratio = size as f64 / rows.len() as f64;
        let at = |(o, index): (usize, usize)| index as f64 - o as f64 * ratio;
        let first = rows.iter().enumerate().map(|(o, row)| at((o, row.0))).fold(f64::INFINITY, f64::min);
        let last = rows.iter().enumerate().map(|(o, row)| at((o, row.1))).fold(f64::NEG_INFINITY, f64::max);
        // In another order, or only a part of them.
        let read = self.window(axis, ratio, first, last);
        (last - first <= size as f64 / 2.0).then_some(read)
    }

    /// The same elements with other dimensions.
    fn reshaped(self, from: &Shape, to: &Shape) -> Option<Self> {
        let mut reshaped = Self { steps: [0.0; MAX_RANK], ..self };
        for [before, after] in groups(from, to)? {
            let step = reshaped.merged(&self, from, before)?;
            let mut inner = 1;
            for axis in after.rev() {
                reshaped.steps[axis] = step * inner as f64;
                inner *= to[axis];
            }
        }
        Some(reshaped)
    }

    /// Makes one axis of some of `of`, widens the bounds by what it blurs, and returns its step.
    fn merged(&mut self, of: &Self, shape: &Shape, axes: std::ops::Range<usize>) -> Option<f64> {
        let mut merged: Option<(f64, usize)> = None;
        for axis in axes.rev().filter(|&axis| shape[axis] > 1) {
            let (step, size) = (of.steps[axis], shape[axis]);
            merged = Some(match merged {
                None => (step, size),
                Some((inner, count)) if (step - inner * count as f64).abs() < SAME => (inner, size * count),
                // Places behind channels: the picture's size would decide what belongs together.
                Some((inner, _)) if step.abs() <= SAME && inner.abs() > SAME => return None,
                Some((inner, count)) => {
                    let blurred = step / count as f64;
                    let slack = (inner - blurred) * (count - 1) as f64;
                    self.from += slack.min(0.0);
                    self.to += slack.max(0.0);
                    (blurred, size * count)
                }
            });
        }
        Some(merged.map_or(0.0, |(step, _)| step))
    }

    /// The same element for every position of an axis of one element, as NumPy broadcasts `from` to `to`.
    fn broadcast(self, from: &Shape, to: &Shape) -> Option<Self> {
        let before = to.rank().checked_sub(from.rank())?;
        let mut steps = [0.0; MAX_RANK];
        for axis in (0..from.rank()).filter(|&axis| from[axis] > 1) {
            steps[axis + before] = self.steps[axis];
        }
        Some(Self { steps, ..self })
    }

    fn union(self, other: Self) -> Option<Self> {
        let is_same = self.steps.iter().zip(other.steps).all(|(a, b)| (a - b).abs() < SAME);
        let union = Self { from: self.from.min(other.from), to: self.to.max(other.to), ..self };
        is_same.then_some(union)
    }
}

/// Returns the shortest runs of axes that hold the same elements before and after a reshape.
fn groups(from: &Shape, to: &Shape) -> Option<Vec<[std::ops::Range<usize>; 2]>> {
    let mut groups = Vec::new();
    let (mut a, mut b) = (0, 0);
    while a < from.rank() || b < to.rank() {
        let (mut c, mut d) = (a, b);
        let (mut before, mut after) = (1_usize, 1_usize);
        while before != after || c + d == a + b {
            if before <= after && c < from.rank() {
                before *= from[c];
                c += 1;
            } else if d < to.rank() {
                after *= to[d];
                d += 1;
            } else {
                return None;
            }
        }
        // Axes of one element that follow belong to the run too, so that none is left over at the end.
        c += from[c..].iter().take_while(|&&size| size == 1).count();
        d += to[d..].iter().take_while(|&&size| size == 1).count();
        groups.push([a..c, b..d]);
        (a, b) = (c, d);
    }
    Some(groups)
}

/// Returns which elements are inside after a reshape.
fn reshaped(inside: &[Span; MAX_RANK], from: &Shape, to: &Shape) -> [Span; MAX_RANK] {
    let mut spans = [NOWHERE; MAX_RANK];
    for [before, after] in groups(from, to).unwrap_or_default() {
        let mut span: Span = [0, 0];
        let mut count = 1_i64;
        for axis in before.rev().filter(|&axis| from[axis] > 1) {
            let [first, last] = inside[axis];
            let is_whole = span == [0, count - 1];
            let is_all = [first, last] == [0, from[axis] as i64 - 1];
            span = match (is_whole, is_all) {
                (true, _) => [first * count, last * count + count - 1],
                // The borders of parts that lie behind each other are everywhere.
                (false, _) => NOWHERE,
            };
            count *= from[axis] as i64;
        }
        let is_whole = span == [0, count - 1];
        let mut inner = count;
        for axis in after {
            let size = to[axis] as i64;
            inner /= size;
            spans[axis] = match size {
                _ if is_whole || size == 1 => [0, size - 1],
                // The first axis of more than one element has the borders.
                _ if inner * size == count => {
                    [span[0].div_euclid(inner) + i64::from(span[0] % inner > 0), (span[1] + 1).div_euclid(inner) - 1]
                }
                _ => [0, size - 1],
            };
        }
    }
    spans
}

impl Reach {
    fn with(self, inside: [Span; MAX_RANK]) -> Self {
        Self { inside, ..self }
    }

    /// Changes which elements of an axis are inside.
    fn on(mut self, axis: usize, span: Span) -> Self {
        self.inside[axis] = span;
        self
    }

    fn each(self, f: impl Fn(Side) -> Option<Side>) -> Self {
        let sides = self.sides.and_then(|[rows, columns]| Some([f(rows)?, f(columns)?]));
        Self { sides, is_global: self.is_global || sides.is_none(), ..self }
    }

    fn union(self, other: Self) -> Self {
        let is_global = self.is_global || other.is_global;
        match (self.sides, other.sides) {
            (Some(a), Some(b)) => {
                let sides = a[0].union(b[0]).zip(a[1].union(b[1])).map(<[Side; 2]>::from);
                let inside = std::array::from_fn(|axis| both(self.inside[axis], other.inside[axis]));
                Self { sides, inside, is_global: is_global || sides.is_none() }
            }
            (_, None) => Self { is_global: true, ..self },
            (None, _) => Self { is_global: true, ..other },
        }
    }

    fn walks(&self, axis: usize) -> bool {
        self.sides.is_none_or(|sides| sides.iter().any(|side| side.walks(axis)))
    }
}

/// An operation and what its inputs depend on.
struct Call<'a> {
    op: &'a dyn Op,
    x: &'a [Shape],
    y: Shape,
    inputs: &'a [Option<Reach>],
}

impl<'a> Call<'a> {
    fn is<T: Op>(&self) -> Option<&'a T> {
        (self.op as &dyn Any).downcast_ref()
    }

    /// Returns what the first input depends on, if it alone depends on the picture.
    fn only(&self) -> Option<Reach> {
        self.inputs[0].filter(|_| self.inputs[1..].iter().all(Option::is_none))
    }

    /// Returns the reach of the result; `None` if it is not known. `fixed` returns an input that is a constant.
    fn reach(&self, fixed: &dyn Fn(usize) -> Option<&'a Tensor>) -> Option<Reach> {
        if let Some(op) = self.is::<Conv2d>() {
            let window = |d: usize| {
                let taps = self.x[1].nchw()[2 + d].saturating_sub(1) * op.dilation[d];
                Window::sliding(op.stride[d], op.padding[d], taps)
            };
            return Some(self.windows(self.only()?, true, window));
        }
        if let Some(op) = self.is::<ConvTranspose2d>() {
            let window = |d: usize| {
                let taps = (self.x[1].nchw()[2 + d].saturating_sub(1) * op.dilation[d]) as i64;
                let (stride, pad) = (op.stride[d] as i64, op.padding[d] as i64);
                // Element j reads those i for which a tap is j + pad − i·stride.
                let inside =
                    move |[first, last]: Span| [(first - 1) * stride + 1 - pad + taps, (last + 1) * stride - 1 - pad];
                let stride = stride as f64;
                Window {
                    step: 1.0 / stride,
                    first: (pad - taps) as f64 / stride,
                    last: pad as f64 / stride,
                    inside: Box::new(inside),
                }
            };
            return Some(self.windows(self.only()?, true, window));
        }
        if let Some(PixelShuffle { factor }) = self.is() {
            let window = |_| {
                let (r, whole) = (*factor as f64, *factor as i64);
                let inside = move |[first, last]: Span| [first * whole, last * whole + whole - 1];
                Window { step: 1.0 / r, first: (1.0 - r) / r, last: 0.0, inside: Box::new(inside) }
            };
            return Some(self.windows(self.only()?, true, window));
        }
        if let Some(windows) =
            self.is::<AvgPool2d>().map(|op| &op.windows).or_else(|| self.is::<MaxPool2d>().map(|op| &op.windows))
        {
            let Windows::Sliding(op) = windows else { return None };
            let window = |d: usize| Window::sliding(op.stride[d], op.padding[d], (op.kernel[d] - 1) * op.dilation[d]);
            return Some(self.windows(self.only()?, false, window));
        }
        if let Some(op) = self.is::<Resize>() {
            let tables = [0, 1].map(|d| {
                let taps = taps(op, d, self.x[0][2 + d], self.y[2 + d]);
                (0..taps.out_len()).map(|o| bounds(taps.of(o))).collect::<Option<Vec<_>>>()
            });
            let [Some(rows), Some(columns)] = tables else { return None };
            let resize = |side: Side| side.table(2, self.x[0][2], &rows)?.table(3, self.x[0][3], &columns);
            let x = self.only()?;
            let [down, right] =
                [(2, &rows), (3, &columns)].map(|(axis, rows)| read(x.inside[axis], self.x[0][axis], rows));
            return Some(x.each(resize).on(2, down).on(3, right));
        }
        if let Some(Resample { axis }) = self.is() {
            let (indices, weights) = (fixed(1)?.elements::<u32>()?, fixed(2)?.elements::<f32>()?);
            let taps = indices.iter().map(|&i| i as usize).zip(weights.iter().map(|&w| f64::from(w)));
            let taps: Vec<(usize, f64)> = taps.collect();
            let rows: Option<Vec<_>> = taps.chunks(self.x[1][1]).map(|taps| bounds(taps.iter().copied())).collect();
            let rows = rows?;
            let x = self.only()?;
            let size = self.x[0][*axis];
            let reach = x.each(|side| side.table(*axis, size, &rows)).on(*axis, self.listed(&x, *axis, &rows));
            let repeats = |side: &Side| !side.walks(*axis) || repeats(weights, self.x[1][1], rows.len());
            let is_even = reach.sides.is_some_and(|sides| sides.iter().all(repeats));
            return Some(Reach { is_global: reach.is_global || !is_even, ..reach });
        }
        if let Some(Gather { axis, elements: false }) = self.is() {
            let indices = fixed(1).filter(|indices| indices.shape().rank() == 1)?.elements::<u32>()?;
            let rows: Vec<_> = indices.iter().map(|&i| (i as usize, i as usize)).collect();
            let x = self.only()?;
            return Some(
                x.each(|side| side.table(*axis, self.x[0][*axis], &rows)).on(*axis, self.listed(&x, *axis, &rows)),
            );
        }
        if let Some(view) = self.is::<View>() {
            let x = self.only()?;
            return Some(x.each(|side| viewed(side, view)).with(seen(&x.inside, view)));
        }
        if let Some(Concat { axis, .. }) = self.is() {
            let before = self.x[0][*axis] as f64;
            let behind = |side: Side| {
                let shift = side.steps[*axis] * before;
                Some(Side { from: side.from - shift, to: side.to - shift, ..side })
            };
            let parts = [self.inputs[0], self.inputs[1].map(|b| b.each(behind))];
            let both = parts.into_iter().flatten().reduce(Reach::union)?;
            // Parts of the picture that are joined have borders inside.
            let span = if both.walks(*axis) { NOWHERE } else { [0, self.y[*axis] as i64 - 1] };
            return Some(both.on(*axis, span));
        }
        if let Some(axes) = self.is::<Reduce>().map(|op| &op.axes).or_else(|| self.is::<Extremum>().map(|op| &op.axes))
        {
            let (x, rank) = (self.only()?, self.x[0].rank());
            let kept = (0..rank).filter(|axis| axes.keep || !axes.axes.contains(axis));
            let mut inside = everywhere(&self.y);
            for (span, axis) in inside.iter_mut().zip(kept).filter(|(_, axis)| !axes.axes.contains(axis)) {
                *span = x.inside[axis];
            }
            return Some(x.each(|side| reduced(side, axes, rank)).with(inside));
        }
        if let Some(Softmax { axis, .. }) = self.is() {
            let x = self.only()?;
            return Some(Reach { is_global: x.is_global || x.walks(*axis), ..x });
        }
        if let Some(Normalize { over, .. }) = self.is() {
            let first = if let Over::AxesFrom(axis) = over { *axis } else { 1 };
            let x = self.only()?;
            return Some(Reach { is_global: x.is_global || (first..self.y.rank()).any(|axis| x.walks(axis)), ..x });
        }
        if let Some(Matmul { transpose_a: false, .. }) = self.is() {
            let x = self.only()?;
            let last = self.x[0].rank() - 1;
            // Batches of matrices that are broadcast move the axes.
            let is_alike = self.x[0].rank() == self.y.rank() && self.x[0][..last] == self.y[..last];
            return (is_alike && !x.walks(last)).then(|| x.on(last, [0, self.y[last] as i64 - 1]));
        }
        let is_pointwise = self.is::<Binary>().is_some()
            || self.is::<Compare>().is_some()
            || self.is::<Unary>().is_some()
            || self.is::<Select>().is_some()
            || self.is::<Gate>().is_some()
            || self.is::<Cast>().is_some()
            || self.is::<Relu>().is_some()
            || self.is::<LeakyRelu>().is_some()
            || self.is::<Not>().is_some();
        if is_pointwise {
            return self.pointwise(fixed);
        }
        let is_by_channel =
            self.is::<Prelu>().is_some() || self.is::<BatchNorm>().is_some_and(|batch_norm| !batch_norm.training);
        if is_by_channel { self.only() } else { None }
    }

    /// Each pixel of the result reads a window of pixels of one channel, or of all if it `sums` them.
    fn windows(&self, x: Reach, sums: bool, window: impl Fn(usize) -> Window) -> Reach {
        let windows = [window(0), window(1)];
        let along = |side: Side, d: usize| side.window(2 + d, windows[d].step, windows[d].first, windows[d].last);
        let side = |side: Side| Some(along(along(if sums { side.sum(1, self.x[0][1]) } else { side }, 0), 1));
        let span = |d: usize| both((windows[d].inside)(x.inside[2 + d]), [0, self.y[2 + d] as i64 - 1]);
        x.each(side).on(1, [0, self.y[1] as i64 - 1]).on(2, span(0)).on(3, span(1))
    }

    /// Returns which outputs along an axis are inside, of which a table says what they read.
    fn listed(&self, x: &Reach, axis: usize, rows: &[(usize, usize)]) -> Span {
        if x.walks(axis) { read(x.inside[axis], self.x[0][axis], rows) } else { [0, rows.len() as i64 - 1] }
    }

    /// Each element of the result reads one of each input.
    fn pointwise(&self, fixed: &dyn Fn(usize) -> Option<&'a Tensor>) -> Option<Reach> {
        let broadcast = |(x, shape): (&Option<Reach>, &Shape)| {
            let mut inside = everywhere(&self.y);
            let before = self.y.rank().saturating_sub(shape.rank());
            for axis in (0..shape.rank()).filter(|&axis| shape[axis] > 1) {
                inside[axis + before] = (*x)?.inside[axis];
            }
            x.map(|x| x.each(|side| side.broadcast(shape, &self.y)).with(inside))
        };
        let reach = self.inputs.iter().zip(self.x).filter_map(broadcast).reduce(Reach::union)?;
        // A factor that depends on the place makes the result depend on it.
        let mut is_global = reach.is_global;
        for (i, shape) in self.x.iter().enumerate().filter(|(i, _)| self.inputs[*i].is_none()) {
            let before = self.y.rank().saturating_sub(shape.rank());
            for axis in (0..shape.rank()).filter(|&axis| shape[axis] > 1) {
                let is_line = shape.iter().product::<usize>() == shape[axis];
                let weights = fixed(i).filter(|_| is_line).and_then(|tensor| tensor.elements::<f32>());
                is_global |=
                    reach.walks(axis + before) && !weights.is_some_and(|weights| repeats(weights, 1, shape[axis]));
            }
        }
        Some(Reach { is_global, ..reach })
    }
}

/// How a pixel of a result reads a window: element j reads `step·j + first` to `step·j + last`.
struct Window {
    step: f64,
    first: f64,
    last: f64,
    /// Returns which elements of the result read only these of the input.
    inside: Box<dyn Fn(Span) -> Span>,
}

impl Window {
    /// Windows that reach `taps` beyond their first element.
    fn sliding(stride: usize, pad: usize, taps: usize) -> Self {
        let (step, before, reach) = (stride as i64, pad as i64, taps as i64);
        let inside = move |[first, last]: Span| {
            [(first + before + step - 1).div_euclid(step), (last + before - reach).div_euclid(step)]
        };
        let (first, last) = (-(pad as f64), taps as f64 - pad as f64);
        Self { step: stride as f64, first, last, inside: Box::new(inside) }
    }
}

/// Returns which outputs of a table are inside, if these of `size` inputs are. Near its ends, a table does not reach past the border; what it
/// reads a whole number of periods away, in the middle, tells how far it would.
fn read(inside: Span, size: usize, rows: &[(usize, usize)]) -> Span {
    let count = rows.len();
    let mut common = (size, count);
    while common.1 > 0 {
        common = (common.1, common.0 % common.1);
    }
    let [inputs, outputs] = [size, count].map(|n| n / common.0.max(1));
    let middle = |o: usize| {
        // The output as many whole periods away as lead to the middle.
        let periods = (count / 2) as i64 / outputs as i64 - (o / outputs) as i64;
        let row = rows[(o as i64 + periods * outputs as i64).clamp(0, count as i64 - 1) as usize];
        let shift = periods * inputs as i64;
        [row.0 as i64 - shift, row.1 as i64 - shift]
    };
    let is_inside = |&o: &usize| {
        let [first, last] = middle(o);
        first >= inside[0] && last <= inside[1]
    };
    match ((0..count).find(is_inside), (0..count).rev().find(is_inside)) {
        (Some(first), Some(last)) => [first as i64, last as i64],
        _ => NOWHERE,
    }
}

/// Returns which elements of a view are inside.
fn seen(inside: &[Span; MAX_RANK], view: &View) -> [Span; MAX_RANK] {
    let mut spans = [NOWHERE; MAX_RANK];
    for (span, axis) in spans.iter_mut().zip(&view.axes) {
        let all = [0, axis.len as i64 - 1];
        let Some(source) = axis.source else {
            *span = all;
            continue;
        };
        let ([first, last], start) = (inside[source], view.start[source]);
        *span = match axis.step {
            step @ 1.. => both([(first - start + step - 1).div_euclid(step), (last - start).div_euclid(step)], all),
            0 if (first..=last).contains(&start) => all,
            _ => NOWHERE,
        };
    }
    let is_walked = |axis: usize| view.axes.iter().any(|a| a.source == Some(axis));
    let is_outside =
        |axis: &usize| !is_walked(*axis) && !(inside[*axis][0]..=inside[*axis][1]).contains(&view.start[*axis]);
    if (0..view.start.len()).any(|axis| is_outside(&axis)) { [NOWHERE; MAX_RANK] } else { spans }
}

/// Returns the first and the last element that has a weight.
fn bounds(taps: impl Iterator<Item = (usize, f64)>) -> Option<(usize, usize)> {
    taps.filter(|(_, weight)| *weight != 0.0).fold(None, |bounds, (i, _)| match bounds {
        None => Some((i, i)),
        Some((low, high)) => Some((i.min(low), i.max(high))),
    })
}

/// Returns whether rows of `width` weights repeat after a few, except near the ends.
fn repeats(weights: &[f32], width: usize, count: usize) -> bool {
    let inside = count / 4..count - count / 4;
    let row = |o: usize| &weights[o * width..(o + 1) * width];
    let is_same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6);
    (1..=inside.len() / 3).any(|period| inside.clone().skip(period).all(|o| is_same(row(o), row(o - period))))
}

fn viewed(side: Side, view: &View) -> Option<Side> {
    let mut steps = [0.0; MAX_RANK];
    for (axis, step) in view.axes.iter().zip(&mut steps) {
        let own = axis.source.map_or(0.0, |source| side.steps[source] * axis.step as f64);
        if own < -SAME {
            return None;
        }
        *step = own;
    }
    let shift: f64 = view.start.iter().zip(side.steps).map(|(&start, step)| step * start as f64).sum();
    Some(Side { steps, from: side.from + shift, to: side.to + shift })
}

fn reduced(side: Side, axes: &Axes, rank: usize) -> Option<Side> {
    if axes.axes.iter().any(|&axis| side.walks(axis)) {
        return None;
    }
    let mut steps = [0.0; MAX_RANK];
    let kept = (0..rank).filter(|axis| axes.keep || !axes.axes.contains(axis));
    for (to, axis) in steps.iter_mut().zip(kept) {
        *to = side.steps[axis];
    }
    Some(Side { steps, ..side })
}
