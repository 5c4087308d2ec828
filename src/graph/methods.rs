//! The built-in operations as methods of a [`Graph`]; [`Graph::add`] takes any other.

use super::{Graph, Init, NodeId};
use crate::error::{Error, Result, ShapeError};
use crate::ops::adam::Adam;
use crate::ops::avg_pool2d::AvgPool2d;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::cast::Cast;
use crate::ops::clip::Clip;
use crate::ops::concat::Concat;
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d::Conv2d;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::cumulative_sum::CumulativeSum;
use crate::ops::dropout::Dropout;
use crate::ops::ema::Ema;
use crate::ops::extremum::Extremum;
use crate::ops::field::Field;
use crate::ops::gate::Gate;
use crate::ops::gather::Gather;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::linear::Linear;
use crate::ops::local_conv2d::LocalConv2d;
use crate::ops::loss::{Loss, Penalty, Reduction};
use crate::ops::matmul::Matmul;
use crate::ops::max_pool2d::MaxPool2d;
use crate::ops::normalize::Normalize;
use crate::ops::not::Not;
use crate::ops::one_hot::OneHot;
use crate::ops::pairwise_distance::PairwiseDistance;
use crate::ops::pixel_shuffle::PixelShuffle;
use crate::ops::pointwise::{Binary, Compare, Unary, binary, compare, unary};
use crate::ops::prelu::Prelu;
use crate::ops::quintuplet::Quintuplet;
use crate::ops::reduce::Reduce;
use crate::ops::relu::Relu;
use crate::ops::resample::{self, Resample};
use crate::ops::resize::{Resize, Taps};
use crate::ops::scatter_add::ScatterAdd;
use crate::ops::select::Select;
use crate::ops::sgd::Sgd;
use crate::ops::softmax::Softmax;
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::ops::top_k::TopK;
use crate::ops::view::{Border, View};
use crate::ops::warp::Warp;
use crate::tensor::{DType, Shape, Tensor};

fn no_function<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Error {
    Error::Usage(format!("there is no function {name:?}; there are {}", names.collect::<Vec<_>>().join(", ")))
}

impl Graph {
    /// Adds a step of Adam with inputs as in the table of [`crate::ops::adam`]. The node has no value.
    ///
    /// # Errors
    /// The shapes do not fit; `w`, `m` or `v` is not a parameter, a state or a pack of them.
    pub fn adam(&mut self, [w, dw, m, v]: [NodeId; 4], [h, k, s]: [NodeId; 3]) -> Result<NodeId> {
        self.update(Adam, &[w, dw, m, v, h, k, s])
    }

    /// Adds `a + b`, with broadcasting.
    ///
    /// # Errors
    /// As [`Graph::binary`].
    pub fn plus(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.add(binary::add(), &[a, b])
    }

    /// Adds the mean of every window.
    ///
    /// # Errors
    /// The window does not fit the image; a node belongs to another graph.
    pub fn avg_pool2d(&mut self, x: NodeId, op: AvgPool2d) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds the elements of `x` as f32 or u32; as u32, they are rounded towards zero and clamped to 0 to 2³² − 1, and NaN is 0. A node that
    /// has this type is returned unchanged.
    ///
    /// # Errors
    /// `x` or `to` is i32; `x` belongs to another graph.
    pub fn cast(&mut self, x: NodeId, to: DType) -> Result<NodeId> {
        if self.node(x)?.dtype == to { Ok(x) } else { self.add(Cast { to }, &[x]) }
    }

    /// Adds the factor and the norm `[1,2,1,1]` of the gradient `x` for [`Clip::limit`] `limit`.
    ///
    /// # Errors
    /// The limit is not above 0.
    pub fn clip(&mut self, x: NodeId, limit: f32) -> Result<NodeId> {
        self.add(Clip { limit }, &[x])
    }

    /// Normalises the channels of `x` `[N, C, …]`, with scale `w` and shift `b` `[C]`. Also adds the states `mean` and `variance` of
    /// earlier batches, which the operation updates in training.
    ///
    /// # Errors
    /// The shapes do not fit; there is one value per channel in training; an attribute is out of range.
    pub fn batch_norm(&mut self, x: NodeId, w: NodeId, b: NodeId, op: BatchNorm) -> Result<NodeId> {
        let channels = self.shape(x)?.get(1).copied().unwrap_or(1);
        let path = self.fresh("batch_norm");
        let mean = self.state_at(self.unique(format!("{path}.mean")), [channels], Init::Constant(0.0))?;
        let variance = self.state_at(self.unique(format!("{path}.variance")), [channels], Init::Constant(1.0))?;
        self.add_op(path, std::sync::Arc::new(op), &[x, w, b, mean, variance])
    }

    /// Adds the cross entropy of the probabilities sigmoid(a) and the targets `b`, in `[0, 1]` and of the same shape; `[1,1,1,1]`.
    ///
    /// # Errors
    /// `a` and `b` have different shapes.
    pub fn bce_with_logits(&mut self, a: NodeId, b: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(Loss { penalty: Penalty::BinaryCrossEntropy, reduction, weighted: false }, &[a, b])
    }

    /// Applies the predicate `name` of `src/ops/pointwise/compare.rs` to each pair of elements of `a` and `b`, with NumPy's broadcasting;
    /// 1 or 0, as u32.
    ///
    /// # Errors
    /// There is no such predicate; a dimension is larger than 1 in both and differs; the elements have another type.
    pub fn compare(&mut self, a: NodeId, b: NodeId, name: &str) -> Result<NodeId> {
        let op = Compare::named(name).ok_or_else(|| no_function(name, compare::ROWS.iter().map(|row| row.name)))?;
        self.add(op, &[a, b])
    }

    /// Adds the elements of `a` along an axis, followed by those of `b`.
    ///
    /// # Errors
    /// There is no such axis; `a` and `b` differ on another one; one is of i32, or only one of u32; a node belongs to another graph.
    pub fn concat(&mut self, a: NodeId, b: NodeId, axis: usize) -> Result<NodeId> {
        let dtype = self.node(a)?.dtype;
        self.add(Concat { axis, dtype }, &[a, b])
    }

    /// Adds the elements of all `parts` along an axis, in order. Halves are joined recursively, so that the elements of k parts are
    /// copied ⌈log₂ k⌉ times instead of k − 1 times. A single part is returned unchanged.
    ///
    /// # Errors
    /// As [`Graph::concat`]; `parts` is empty.
    pub fn concat_all(&mut self, parts: &[NodeId], axis: usize) -> Result<NodeId> {
        match parts {
            [] => Err(Error::graph("concat", "there is nothing to concatenate; pass at least one node")),
            [one] => self.node(*one).map(|_| *one),
            _ => {
                let (left, right) = parts.split_at(parts.len().div_ceil(2));
                let (left, right) = (self.concat_all(left, axis)?, self.concat_all(right, axis)?);
                self.concat(left, right, axis)
            }
        }
    }

    /// Adds the convolution of `x` `[N,Ci,H,W]` with filters `w` `[Co,Ci/groups,Kh,Kw]` and bias `b` `[1,Co,1,1]`, or `None`:
    /// `[N,Co,Ho,Wo]`.
    ///
    /// # Errors
    /// The shapes of `w` or `b` or an attribute do not fit.
    pub fn conv2d(&mut self, x: NodeId, w: NodeId, b: impl Into<Option<NodeId>>, op: Conv2d) -> Result<NodeId> {
        let channels = self.shape(w)?.nchw()[0];
        let b = self.bias(b.into(), channels)?;
        self.add(op, &[x, w, b])
    }

    /// Returns the bias `b`, or zeros for so many channels if there is none.
    pub(super) fn bias(&mut self, b: Option<NodeId>, channels: usize) -> Result<NodeId> {
        match b {
            Some(b) => Ok(b),
            None => self.constant_at(self.fresh("no_bias"), Tensor::filled([1, channels, 1, 1], 0.0)),
        }
    }

    /// Adds the 3×3 convolution of `x` `[N,Ci,H,W]` with filters `w` `[Co,Ci,3,3]` and bias `b` `[1,Co,1,1]`, with stride 1 and
    /// zero padding 1: `[N,Co,H,W]`.
    ///
    /// # Errors
    /// The shapes of `w` or `b` do not fit.
    pub fn conv3x3(&mut self, x: NodeId, w: NodeId, b: NodeId) -> Result<NodeId> {
        self.add(Conv2d::same(3), &[x, w, b])
    }

    /// Applies the function `name` of `src/ops/pointwise/unary.rs` to each element of `x`, which may have any shape.
    ///
    /// # Errors
    /// There is no such function.
    pub fn pointwise(&mut self, x: NodeId, name: &str) -> Result<NodeId> {
        let op = Unary::named(name).ok_or_else(|| no_function(name, unary::ROWS.iter().map(|row| row.name)))?;
        self.add(op, &[x])
    }

    /// Applies the function `name` of `src/ops/pointwise/unary.rs` with these values of its parameters to each element of `x`.
    ///
    /// # Errors
    /// There is no such function of so many parameters; one is not finite.
    pub fn pointwise_with(&mut self, x: NodeId, name: &str, parameters: &[f32]) -> Result<NodeId> {
        let rows = || unary::ROWS.iter().filter(|row| row.parameters.len() == parameters.len()).map(|row| row.name);
        let op = Unary::with(name, parameters).ok_or_else(|| no_function(name, rows()))?;
        self.add(op, &[x])
    }

    /// Applies the function `name` of `src/ops/pointwise/binary.rs` to each pair of elements of `a` and `b`, with NumPy's broadcasting.
    ///
    /// # Errors
    /// There is no such function; a dimension is larger than 1 in both and differs.
    pub fn binary(&mut self, a: NodeId, b: NodeId, name: &str) -> Result<NodeId> {
        let names = || binary::rows().into_iter().map(|row| row.name);
        let op = Binary::named(name).ok_or_else(|| no_function(name, names()))?;
        self.add(op, &[a, b])
    }

    /// Transposed convolution of `x` `[N,Ci,H,W]` with the filters `w` `[Ci,Co/groups,Kh,Kw]` and the bias `b` `[1,Co,1,1]`, or `None`.
    ///
    /// # Errors
    /// The shapes or attributes do not fit; see [`ConvTranspose2d`].
    pub fn conv_transpose2d(
        &mut self,
        x: NodeId,
        w: NodeId,
        b: impl Into<Option<NodeId>>,
        op: ConvTranspose2d,
    ) -> Result<NodeId> {
        let channels = self.shape(w)?.nchw()[1].saturating_mul(op.groups.max(1));
        let b = self.bias(b.into(), channels)?;
        self.add(op, &[x, w, b])
    }

    /// Adds the cross entropy of scores `x` `[N, C, …]` and labels `t` of u32, which has x's shape without axis 1, with softmax over the
    /// classes; `[1,1,1,1]`. Labels that are not below C are ignored.
    ///
    /// # Errors
    /// The shape of `t` does not fit; `t` is not a tensor of u32.
    pub fn cross_entropy(&mut self, x: NodeId, t: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(CrossEntropy { reduction }, &[x, t])
    }

    /// Adds the sums of the elements of `x` up to each position along an axis; has the shape of `x`.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn cumulative_sum(&mut self, x: NodeId, op: CumulativeSum) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Drops elements of `x` with the operation's probability, different ones in every run. Also adds the state that counts the runs.
    ///
    /// # Errors
    /// The probability is not in `[0, 1)`.
    pub fn dropout(&mut self, x: NodeId, op: Dropout) -> Result<NodeId> {
        let path = self.fresh("dropout");
        let count = self.state_at(self.unique(format!("{path}.count")), [1], Init::Constant(0.0))?;
        self.add_op(path, std::sync::Arc::new(op), &[x, count])
    }

    /// Adds an update of the average `e` of `w` by the last of the hyperparameters `h`. The node has no value.
    ///
    /// # Errors
    /// The shapes do not fit; `e` is not a parameter, a state or a pack of them.
    pub fn ema(&mut self, e: NodeId, w: NodeId, h: NodeId) -> Result<NodeId> {
        self.update(Ema, &[e, w, h])
    }

    /// Adds the largest or smallest elements of `x` along some axes, and their positions there as u32.
    ///
    /// # Errors
    /// There are no axes, one occurs twice or does not exist.
    pub fn extremum(&mut self, x: NodeId, op: Extremum) -> Result<(NodeId, NodeId)> {
        let y = self.add(op, &[x])?;
        Ok((y, self.output(y, "indices")?))
    }

    /// Repeats `x` along axes of size 1, and along new axes before its own, so that it has this shape.
    ///
    /// # Errors
    /// `x` has more axes than the shape; a size of `x` is neither 1 nor that of the shape.
    pub fn expand(&mut self, x: NodeId, shape: impl Into<Shape>) -> Result<NodeId> {
        let y = shape.into();
        self.view_of(x, |shape| View::expand(shape, y))
    }

    /// Adds `z + B·c`: the positions `z` `[1, 2, H, W]` displaced by the bases `b` `[2, K, H, W]` with the coefficients `c`
    /// `[N, K, 1, 1]`; `[N, 2, H, W]`.
    ///
    /// # Errors
    /// The shapes do not fit; a node belongs to another graph.
    pub fn field(&mut self, z: NodeId, b: NodeId, c: NodeId) -> Result<NodeId> {
        self.add(Field, &[z, b, c])
    }

    /// Adds `x` with an axis in reverse order.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn flip(&mut self, x: NodeId, axis: usize) -> Result<NodeId> {
        self.view_of(x, |shape| View::flip(shape, axis))
    }

    /// Adds `(1 − g)·a + g·b`, where `a` and `b` have the same shape `[N,C,H,W]`, and `g` has this shape or one channel.
    ///
    /// # Errors
    /// The shapes do not fit; a node belongs to another graph.
    pub fn gate(&mut self, a: NodeId, b: NodeId, g: NodeId) -> Result<NodeId> {
        self.add(Gate, &[a, b, g])
    }

    /// Adds the elements of `x` along an axis at the positions `indices`, a tensor of u32 of any shape, which takes the place of the axis;
    /// NaN for an index past the end.
    ///
    /// # Errors
    /// There is no such axis; the result has more than six dimensions; `indices` is not a tensor of u32.
    pub fn gather(&mut self, x: NodeId, indices: NodeId, axis: usize) -> Result<NodeId> {
        self.add(Gather { axis, elements: false }, &[x, indices])
    }

    /// Adds `x[…, indices[…, j, …], …]`, in which every line along an axis has its own indices; NaN for an index past the end. On
    /// another axis, `indices`, a tensor of u32, may be smaller than `x`, of which the first elements are used then.
    ///
    /// # Errors
    /// There is no such axis; `indices` has another rank than `x`, or is larger on another axis.
    pub fn gather_elements(&mut self, x: NodeId, indices: NodeId, axis: usize) -> Result<NodeId> {
        let (mut from, wanted) = (x, self.shape(indices)?);
        let shape = self.shape(x)?;
        if shape.rank() == wanted.rank() {
            for d in (0..shape.rank()).filter(|d| *d != axis && wanted[*d] < shape[*d]) {
                from = self.narrow(from, d, 0, wanted[d])?;
            }
        }
        self.add(Gather { axis, elements: true }, &[from, indices])
    }

    /// Adds max(0, 1 − a·b) for scores `a` and classes `b` of −1 or 1, both of the same shape, as a mean or a sum; `[1,1,1,1]`.
    ///
    /// # Errors
    /// `a` and `b` have different shapes.
    pub fn hinge(&mut self, a: NodeId, b: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(Loss { penalty: Penalty::Hinge, reduction, weighted: false }, &[a, b])
    }

    /// Adds the error between `a` and `b`, both of the same shape, half its square up to `delta` and linear beyond; `[1,1,1,1]`.
    ///
    /// # Errors
    /// `a` and `b` have different shapes; `delta` is not above 0.
    pub fn huber(&mut self, a: NodeId, b: NodeId, delta: f32, reduction: Reduction) -> Result<NodeId> {
        self.add(Loss { penalty: Penalty::Huber { delta }, reduction, weighted: false }, &[a, b])
    }

    /// Adds one position on an axis of `x`, without that axis unless it is the only one.
    ///
    /// # Errors
    /// There is no such axis or position.
    pub fn index(&mut self, x: NodeId, axis: usize, position: usize) -> Result<NodeId> {
        self.view_of(x, |shape| View::index(shape, axis, position))
    }

    /// Divides each of the N·H vectors of C·W numbers of `x` by its length.
    ///
    /// # Errors
    /// ε is not above 0; a node belongs to another graph.
    pub fn l2_normalize(&mut self, x: NodeId, op: L2Normalize) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds `x` where it is positive, else `slope·x`; has the shape of `x`.
    ///
    /// # Errors
    /// The slope is not finite; a node belongs to another graph.
    pub fn leaky_relu(&mut self, x: NodeId, op: LeakyRelu) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds `b + w·x` for every picture of `x` `[N,C,H,W]`, with `w` `[O,C·H·W,1,1]` and `b` `[1,O,1,1]`, or `None`: `[N,O,1,1]`.
    ///
    /// # Errors
    /// `w` or `b` does not fit; a node belongs to another graph.
    pub fn linear(&mut self, x: NodeId, w: NodeId, b: impl Into<Option<NodeId>>) -> Result<NodeId> {
        let channels = self.shape(w)?.nchw()[0];
        let b = self.bias(b.into(), channels)?;
        self.add(Linear, &[x, w, b])
    }

    /// Adds the convolution of `x` `[N,Ci,H,W]` with filters `w` `[cells·Co,Ci,K,K]` and biases `b` `[1,cells·Co,1,1]` of their own for each
    /// cell of the output `[N,Co,H−K+1,W−K+1]`.
    ///
    /// # Errors
    /// `w` or `b` does not fit; cells do not divide the output; a node belongs to another graph.
    pub fn local_conv2d(&mut self, x: NodeId, w: NodeId, b: NodeId, op: LocalConv2d) -> Result<NodeId> {
        self.add(op, &[x, w, b])
    }

    /// Adds the squared error between `a` and `b`, both of the same shape, as a mean or a sum; `[1,1,1,1]`.
    ///
    /// # Errors
    /// `a` and `b` have different shapes.
    pub fn mse(&mut self, a: NodeId, b: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(Loss { reduction, ..Loss::default() }, &[a, b])
    }

    /// Adds [`Graph::mse`] with a weight `m` for each element. The mean is over all elements, regardless of the weights.
    ///
    /// # Errors
    /// The shape of `b` or `m` differs from that of `a`.
    pub fn mse_weighted(&mut self, a: NodeId, b: NodeId, m: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(Loss { reduction, weighted: true, ..Loss::default() }, &[a, b, m])
    }

    /// Spreads the channels of every group over all groups: channel g·C/groups + k becomes channel k·groups + g (Zhang et al. 2018,
    /// "ShuffleNet", figure 1).
    ///
    /// # Errors
    /// x is not `[N,C,H,W]`; C is not a multiple of `groups`.
    pub fn channel_shuffle(&mut self, x: NodeId, groups: usize) -> Result<NodeId> {
        let shape = self.shape(x)?;
        if shape.rank() != 4 || groups == 0 || shape[1] % groups != 0 {
            let problem = format!("x must be [N, C, H, W] with C a multiple of groups={groups}, got {shape:?}");
            return Err(Error::graph(&self.node(x)?.name, problem));
        }
        let [n, c, h, w] = shape.nchw();
        let grouped = self.reshape(x, [n, groups, c / groups, h, w])?;
        let spread = self.permute(grouped, &[0, 2, 1, 3, 4])?;
        self.reshape(spread, shape)
    }

    /// Adds the mean of the smooth absolute error between `a` and `b`, both of the same shape; `[1,1,1,1]`. `eps` is above 0.
    ///
    /// # Errors
    /// `a` and `b` have different shapes; `eps` is not above 0.
    pub fn charbonnier(&mut self, a: NodeId, b: NodeId, eps: f32) -> Result<NodeId> {
        self.add(Loss { penalty: Penalty::Charbonnier { eps }, ..Loss::default() }, &[a, b])
    }

    /// Adds [`Graph::charbonnier`] with a weight `m` for each element. The mean is over all elements, regardless of the weights.
    ///
    /// # Errors
    /// The shape of `b` or `m` differs from that of `a`; `eps` is not above 0.
    pub fn charbonnier_weighted(&mut self, a: NodeId, b: NodeId, m: NodeId, eps: f32) -> Result<NodeId> {
        self.add(Loss { penalty: Penalty::Charbonnier { eps }, weighted: true, ..Loss::default() }, &[a, b, m])
    }

    /// Adds the products of the matrices in the last two dimensions of `a` `[…, M, K]` and `b` `[…, K, N]`, with NumPy's broadcasting of
    /// the others: `[…, M, N]`.
    ///
    /// # Errors
    /// The shapes do not fit; see [`Matmul`].
    pub fn matmul(&mut self, a: NodeId, b: NodeId, op: Matmul) -> Result<NodeId> {
        self.add(op, &[a, b])
    }

    /// Adds the maximum of every window.
    ///
    /// # Errors
    /// The window does not fit the image; a node belongs to another graph.
    pub fn max_pool2d(&mut self, x: NodeId, op: MaxPool2d) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds `a·b` element by element, with broadcasting.
    ///
    /// # Errors
    /// As [`Graph::binary`].
    pub fn times(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.add(binary::mul(), &[a, b])
    }

    /// Adds `len` positions on an axis of `x`, from `start` on.
    ///
    /// # Errors
    /// There is no such axis; the range is empty or reaches past its end.
    pub fn narrow(&mut self, x: NodeId, axis: usize, start: usize, len: usize) -> Result<NodeId> {
        self.view_of(x, |shape| View::narrow(shape, axis, start, len))
    }

    /// Normalises lines of `x`, with scale `w` and shift `b`: layer, group or instance normalisation.
    ///
    /// # Errors
    /// The shapes or attributes do not fit; see [`Normalize`].
    pub fn normalize(&mut self, x: NodeId, w: NodeId, b: NodeId, op: Normalize) -> Result<NodeId> {
        self.add(op, &[x, w, b])
    }

    /// Adds 1 where `x`, a tensor of u32, is 0, else 0.
    ///
    /// # Errors
    /// `x` is not a tensor of u32.
    pub fn not(&mut self, x: NodeId) -> Result<NodeId> {
        self.add(Not, &[x])
    }

    /// Turns each index of `x`, a tensor of u32, into a vector that is 1 at the class and 0 elsewhere.
    ///
    /// # Errors
    /// `x` is not a tensor of u32; there is no such axis.
    pub fn one_hot(&mut self, x: NodeId, op: OneHot) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Surrounds `x` by `pads[k]` = (before, after) elements along each axis k.
    ///
    /// # Errors
    /// There is not one pair for each axis; a pad is larger than the border allows.
    pub fn pad(&mut self, x: NodeId, pads: &[(usize, usize)], border: Border) -> Result<NodeId> {
        self.view_of(x, |shape| View::pad(shape, pads, border))
    }

    /// Adds the squared Euclidean distances `[N, M, 1, 1]` between the rows of `a` `[N, D, 1, 1]` and those of `b` `[M, D, 1, 1]`.
    ///
    /// # Errors
    /// As [`Graph::add`].
    pub fn pairwise_distance(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.add(PairwiseDistance, &[a, b])
    }

    /// Adds `x` with its axes in another order: axis k is `axes[k]` of `x`.
    ///
    /// # Errors
    /// `axes` does not have every axis of `x` once.
    pub fn permute(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId> {
        self.view_of(x, |shape| View::permute(shape, axes))
    }

    /// Rearranges `x` from `[N,C·r²,H,W]` to `[N,C,H·r,W·r]`.
    ///
    /// # Errors
    /// The number of channels of `x` is not a multiple of r²; a node belongs to another graph.
    pub fn pixel_shuffle(&mut self, x: NodeId, op: PixelShuffle) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds `x` where it is positive, else `a · x`, for `x` `[N,C,H,W]` and `a` `[1,C,1,1]`; has the shape of `x`.
    ///
    /// # Errors
    /// The shape of `a` is not `[1, C, 1, 1]`.
    pub fn prelu(&mut self, x: NodeId, a: NodeId) -> Result<NodeId> {
        self.add(Prelu, &[x, a])
    }

    /// Adds the sum, the mean, the Euclidean length or the product of `x` along some axes.
    ///
    /// # Errors
    /// There are no axes, one occurs twice or does not exist.
    pub fn reduce(&mut self, x: NodeId, op: Reduce) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds `max(x, 0)`; has the shape of `x`.
    pub fn relu(&mut self, x: NodeId) -> Result<NodeId> {
        self.add(Relu, &[x])
    }

    /// Adds weighted sums of what `taps` choose along an axis of `x`, such as an interpolation: output j of the axis is
    /// Σ weight · `x[…, index, …]` over its taps. A tap of weight 0 has no effect.
    ///
    /// # Errors
    /// There is no such axis; an index is past its end; the taps are not the same number for every output, or there are none; a weight is not
    /// finite as f32.
    pub fn resample(&mut self, x: NodeId, axis: usize, taps: &Taps) -> Result<NodeId> {
        let path = self.fresh("resample");
        let tables = resample::tables(self.shape(x)?, axis, taps);
        let [indices, w] = tables.map_err(|source| Error::Shape { node: path.clone(), source })?;
        let indices = self.constant_at(self.unique(format!("{path}.indices")), indices)?;
        let w = self.constant_at(self.unique(format!("{path}.w")), w)?;
        self.add_op(path, std::sync::Arc::new(Resample { axis }), &[x, indices, w])
    }

    /// Resizes `x` as `op` specifies.
    ///
    /// # Errors
    /// A scale is zero or made of too large numbers; the output would have no elements; a node belongs to another graph.
    pub fn resize(&mut self, x: NodeId, op: Resize) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds `x`, with the updates `u` added along an axis at the positions that [`ScatterAdd`] chooses by `indices`, a tensor of u32.
    ///
    /// # Errors
    /// There is no such axis; the shapes do not fit; `indices` is not a tensor of u32.
    pub fn scatter_add(&mut self, x: NodeId, indices: NodeId, u: NodeId, op: ScatterAdd) -> Result<NodeId> {
        self.add(op, &[x, indices, u])
    }

    /// Adds `a` where `c`, a tensor of u32, is not 0, else `b`, with NumPy's broadcasting of all three.
    ///
    /// # Errors
    /// A dimension is larger than 1 in two of them and differs; `c` is not a tensor of u32.
    pub fn select(&mut self, c: NodeId, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.add(Select, &[c, a, b])
    }

    /// Adds a step of gradient descent with inputs as in the table of [`crate::ops::sgd`]. The node has no value.
    ///
    /// # Errors
    /// The shapes do not fit; `w` or `m` is not a parameter, a state or a pack of them.
    pub fn sgd(&mut self, [w, dw, m]: [NodeId; 3], [h, k, s]: [NodeId; 3]) -> Result<NodeId> {
        self.update(Sgd, &[w, dw, m, h, k, s])
    }

    /// Adds `1 / (1 + exp(−x))`; has the shape of `x` and values in `[0, 1]`.
    pub fn sigmoid(&mut self, x: NodeId) -> Result<NodeId> {
        self.pointwise(x, "sigmoid")
    }

    /// Adds the positions `start`, `start + step`, … before `stop` on an axis of `x`. As in NumPy and ONNX, negative numbers count from the
    /// end, and what lies outside `x` is cut off.
    ///
    /// # Errors
    /// There is no such axis; the step is 0; nothing is left.
    pub fn slice(&mut self, x: NodeId, axis: usize, start: i64, stop: i64, step: i64) -> Result<NodeId> {
        self.view_of(x, |shape| View::slice(shape, axis, start, stop, step))
    }

    /// Adds the triple-header hinge loss of embeddings `f` `[5N,D,1,1]`, anchors and then their four partners, with weights `m` `[N,3,1,1]`
    /// of the hinges; `[1,1,1,1]`.
    ///
    /// # Errors
    /// The shapes do not fit.
    pub fn quintuplet(&mut self, f: NodeId, m: NodeId, op: Quintuplet) -> Result<NodeId> {
        self.add(op, &[f, m])
    }

    /// Adds `exp(x) / Σ exp(x)` along an axis, or its logarithm; has the shape of `x`.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn softmax(&mut self, x: NodeId, op: Softmax) -> Result<NodeId> {
        self.add(op, &[x])
    }

    /// Adds the cross entropy of scores `x` and targets `t`, both of the same shape, with softmax over the channels; `[1,1,1,1]`.
    ///
    /// # Errors
    /// `x` and `t` have different shapes.
    pub fn softmax_cross_entropy(&mut self, x: NodeId, t: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(SoftmaxCrossEntropy { reduction }, &[x, t])
    }

    /// Adds consecutive ranges of an axis of `x`, of these sizes.
    ///
    /// # Errors
    /// There is no such axis; a size is 0; the sizes do not add up to that of the axis.
    pub fn split(&mut self, x: NodeId, axis: usize, sizes: &[usize]) -> Result<Vec<NodeId>> {
        self.check_split(x, axis, sizes)?;
        let mut start = 0;
        let mut part = |len: &usize| {
            start += len;
            self.narrow(x, axis, start - len, *len)
        };
        sizes.iter().map(&mut part).collect()
    }

    /// Checks that there is this axis and that the sizes add up to its own.
    pub(super) fn check_split(&self, x: NodeId, axis: usize, sizes: &[usize]) -> Result<()> {
        let shape = self.shape(x)?;
        let total = sizes.iter().fold(0usize, |sum, size| sum.saturating_add(*size));
        if shape.get(axis) != Some(&total) {
            let problem = format!("the sizes {sizes:?} do not add up to that of axis {axis} of {shape:?}");
            return Err(Error::graph(self.fresh("split"), problem));
        }
        Ok(())
    }

    /// Adds the k largest or smallest elements of `x` along an axis, and their positions as u32.
    ///
    /// # Errors
    /// There is no such axis; k is not between 1 and the size of the axis.
    pub fn top_k(&mut self, x: NodeId, op: TopK) -> Result<(NodeId, NodeId)> {
        let y = self.add(op, &[x])?;
        Ok((y, self.output(y, "indices")?))
    }

    /// Adds `x` with two of its axes exchanged.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn transpose(&mut self, x: NodeId, a: usize, b: usize) -> Result<NodeId> {
        self.view_of(x, |shape| {
            let exchange = |axis| {
                if axis == a {
                    b
                } else if axis == b {
                    a
                } else {
                    axis
                }
            };
            View::permute(shape, &(0..shape.rank().max(a + 1).max(b + 1)).map(exchange).collect::<Vec<_>>())
        })
    }

    /// Adds a strided copy of `x`, of the type of `x`.
    ///
    /// # Errors
    /// An axis of `x` does not exist or is walked twice; the border does not allow what lies outside `x`, or is no value of its type; `x` is
    /// of i32.
    pub fn view(&mut self, x: NodeId, op: View) -> Result<NodeId> {
        let dtype = self.node(x)?.dtype;
        self.add(View { dtype, ..op }, &[x])
    }

    /// Adds the view of `x` that `of` makes from its shape.
    fn view_of(
        &mut self,
        x: NodeId,
        of: impl FnOnce(Shape) -> std::result::Result<View, ShapeError>,
    ) -> Result<NodeId> {
        match of(self.shape(x)?) {
            Ok(op) => self.view(x, op),
            Err(source) => Err(Error::Shape { node: self.fresh("view"), source }),
        }
    }

    /// Samples `x` `[N, C, H, W]` at the positions `f` `[N, 2, Ho, Wo]` (column, then row, in pixels): `[N, C, Ho, Wo]`.
    ///
    /// # Errors
    /// As [`Graph::add`].
    pub fn warp(&mut self, x: NodeId, f: NodeId, op: Warp) -> Result<NodeId> {
        self.add(op, &[x, f])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concat_all_when_five_parts_keeps_their_order_and_channels() {
        let mut graph = Graph::new();
        let parts: Vec<NodeId> =
            (1..=5).map(|c| graph.input(&format!("x{c}"), [2, c, 3, 4]).expect("a fresh name")).collect();
        let y = graph.concat_all(&parts, 1).expect("shapes fit");
        assert_eq!(graph.shape(y).expect("own node"), [2, 15, 3, 4]);
        // Walks the tree from left to right.
        let mut order = Vec::new();
        let mut stack = vec![y.index];
        while let Some(index) = stack.pop() {
            let node = &graph.nodes()[index];
            if node.inputs.is_empty() {
                order.push(node.name.as_str());
            }
            stack.extend(node.inputs.iter().rev());
        }
        assert_eq!(order, ["x1", "x2", "x3", "x4", "x5"]);
        assert_eq!(graph.concat_all(&parts[..1], 1).expect("one part"), parts[0]);
        let message = graph.concat_all(&[], 1).expect_err("nothing to join").to_string();
        assert_eq!(message, "concat: there is nothing to concatenate; pass at least one node");
    }
    #[test]
    fn views_have_the_shapes_that_their_names_say() {
        let mut g = Graph::new();
        let x = g.input("x", [2, 3, 1, 5]).expect("a fresh name");
        let mut shape = |f: fn(&mut Graph, NodeId) -> Result<NodeId>| {
            f(&mut g, x).and_then(|y| g.shape(y)).map(|shape| shape.to_vec()).map_err(|e| e.to_string())
        };
        assert_eq!(shape(|g, x| g.permute(x, &[3, 1, 0, 2])).unwrap(), [5, 3, 2, 1]);
        assert_eq!(shape(|g, x| g.transpose(x, 3, 0)).unwrap(), [5, 3, 1, 2]);
        assert_eq!(shape(|g, x| g.slice(x, 3, -1, 0, -3)).unwrap(), [2, 3, 1, 2]);
        assert_eq!(shape(|g, x| g.index(x, 1, 2)).unwrap(), [2, 1, 5]);
        assert_eq!(shape(|g, x| g.expand(x, [4, 2, 3, 6, 5])).unwrap(), [4, 2, 3, 6, 5]);
        assert_eq!(shape(|g, x| g.pad(x, &[(0, 0), (1, 2), (0, 1), (3, 3)], Border::Edge)).unwrap(), [2, 6, 2, 11]);
        assert_eq!(shape(|g, x| g.split(x, 3, &[1, 4]).map(|all| all[1])).unwrap(), [2, 3, 1, 4]);
        assert_eq!(
            shape(|g, x| g.split(x, 3, &[1, usize::MAX]).map(|all| all[0])).unwrap_err(),
            format!("split: the sizes [1, {}] do not add up to that of axis 3 of [2, 3, 1, 5]", usize::MAX)
        );
        let error = shape(|g, x| g.transpose(x, 1, 4)).unwrap_err();
        assert!(error.ends_with(": axes must be 0 to 3 in any order, each once, got [0, 4, 2, 3, 1]"), "{error}");
    }
}
