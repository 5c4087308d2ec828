//! Fuses nodes into one operation ([`Fusion`]) if the adapter has a kernel for it: a convolution, the activation after it, a
//! pixel_shuffle after that, and the sum or product with another value, or a max_pool2d; and the gradient of a convolution for its input with
//! that of the activation before it.
//!
//! The graph keeps its nodes, so that gradients still belong to the operations they were made from; a fused node only
//! records how its value is computed ([`Node::fused`](crate::graph::Node)).

use crate::error::Result;
use crate::graph::{Fused, Graph, Kind, Node, NodeId};
use crate::ops::conv2d::{Combine, Conv2d, Fusion};
use crate::ops::output_of;
use crate::ops::{Family, Fusible, Io, Op};
use crate::plan::Options;
use crate::shader::reflect;
use crate::tensor::{Shape, Tensor};
use std::sync::Arc;

/// A convolution fused with its shuffle is used if this factor times its time is at most the time of one without: the saved pass
/// reads and writes every pixel.
const WORTH_SHUFFLING: f64 = 0.8;

/// Returns `graph` with nodes fused for an adapter with `options.caps`; its values are the same.
///
/// # Errors
/// A shader breaks its contract.
pub fn fuse(graph: &Graph, fetches: &[NodeId], options: &Options) -> Result<Graph> {
    let mut fused = graph.clone();
    if options.kernel.is_some() {
        return Ok(fused);
    }
    let nodes = graph.nodes();
    // On software adapters, a transposed convolution of one channel has kernels of its own.
    let has_own = options.caps.family == Family::Software;
    // The readers of each node's value, including gradients whose shader reads it.
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for &input in &node.inputs {
            readers[input].push(index);
        }
        if let Kind::Grad { of, input } = node.kind
            && let Kind::Op(op) = &nodes[of].kind
        {
            let shader = reflect(&op.kernels()[0].source)?;
            let method = shader.gradient_method(op.inputs()[input]).unwrap_or_default().to_owned();
            for name in shader.passes(&method).iter().flat_map(|pass| &pass.reads) {
                // An activation whose gradient reads y must be a separate value: otherwise it would be computed a second time.
                if let Some(k) = output_of(&**op, name) {
                    readers[of + k].push(index);
                }
                if let Some(k) = op.inputs().iter().position(|i| i == name) {
                    readers[nodes[of].inputs[k]].push(index);
                }
            }
        }
    }
    for &id in fetches {
        readers[id.index].push(usize::MAX);
    }
    for index in 0..nodes.len() {
        let node = &nodes[index];
        match &node.kind {
            Kind::Op(op) => {
                let shape = |k: usize| nodes[node.inputs[k]].shape;
                let op = match op.fusible() {
                    Some(Fusible::Convolution { stride, dilation, padding, replicate, groups }) => {
                        Conv2d { stride, dilation, padding, replicate, groups, fusion: Some(Fusion::default()) }
                    }
                    Some(Fusible::Transposed { stride, dilation, padding: [top, left], groups })
                        if node.shape[1] > 1 || !has_own =>
                    {
                        let padding = [top, left, 0, 0];
                        let of = Conv2d { stride, dilation, padding, groups, ..Conv2d::default() };
                        let Some(op) = spread(of, shape(1), shape(0), node.shape) else { continue };
                        op
                    }
                    _ => continue,
                };
                let fusion = op.fusion.unwrap_or_default();
                let [x, w, b] = node.inputs[..] else { continue };
                let Some(ns) = estimate_ns(&op, graph, [x, w, b], node.shape, options)? else { continue };
                let channels = node.shape[1];
                let activation =
                    only_reader(nodes, &readers, index).filter(|(reader, _)| nodes[*reader].inputs[0] == index);
                let (at, a, activation) = match activation {
                    Some((reader, Fusible::Slope(slope))) => (reader, fused.constant_of(channels, slope)?, None),
                    Some((reader, Fusible::Slopes)) => (reader, nodes[reader].inputs[1], None),
                    Some((reader, Fusible::Activation(f))) => (reader, fused.constant_of(channels, 1.0)?, Some(f)),
                    _ => (index, fused.constant_of(channels, 1.0)?, None),
                };
                let fusion = Fusion { activation, ..fusion };
                // A shuffle becomes part of a store's address if the shader that does so is about as fast as the best one.
                let (at, fusion) = match only_reader(nodes, &readers, at) {
                    Some((reader, Fusible::Shuffle(factor))) => {
                        let shuffling = Fusion { factor, ..fusion };
                        let op = Conv2d { fusion: Some(shuffling), ..op.clone() };
                        let own_ns = estimate_ns(&op, graph, [x, w, b], nodes[reader].shape, options)?;
                        if own_ns.is_some_and(|own_ns| own_ns * WORTH_SHUFFLING <= ns) {
                            (reader, shuffling)
                        } else {
                            (at, fusion)
                        }
                    }
                    // Pooling may cost a convolution its fastest kernel.
                    Some((reader, Fusible::Pool)) => {
                        let pooling = Fusion { pooled: true, ..fusion };
                        let op = Conv2d { fusion: Some(pooling), ..op.clone() };
                        let own_ns = estimate_ns(&op, graph, [x, w, b], nodes[reader].shape, options)?;
                        let pool_ns = pool_ns(graph, at, reader, options)?;
                        if own_ns.is_some_and(|own_ns| own_ns <= ns + pool_ns) {
                            (reader, pooling)
                        } else {
                            (at, fusion)
                        }
                    }
                    _ => (at, fusion),
                };
                // The other operand of a sum or product, unless that operand has already been fused with it.
                let combined = only_reader(nodes, &readers, at).filter(|_| !fusion.pooled);
                let combined = combined.and_then(|(reader, fusible)| {
                    let combine = match fusible {
                        Fusible::Sum => Combine::Add,
                        Fusible::Product => Combine::Multiply,
                        _ => return None,
                    };
                    let z = nodes[reader].inputs.iter().copied().find(|&i| i != at)?;
                    fused.nodes()[reader].fused.is_none().then_some((reader, combine, z))
                });
                fused.fuse_at(at, combined, op, fusion, [x, w, b, a]);
            }
            Kind::Grad { of, input: 0 } => {
                let Kind::Op(op) = &nodes[*of].kind else { continue };
                let (dy, Some(&w)) = (node.inputs[0], nodes[*of].inputs.get(1)) else { continue };
                let (kernel, from) = (nodes[w].shape, nodes[dy].shape);
                let op = match op.fusible() {
                    Some(Fusible::Convolution { stride, dilation, padding, replicate: false, groups }) => {
                        let of = Conv2d { stride, dilation, padding, groups, ..Conv2d::default() };
                        spread(of, kernel, from, node.shape)
                    }
                    Some(Fusible::Transposed { stride, dilation, padding: [top, left], groups })
                        if from[1] > 1 || !has_own =>
                    {
                        let padding = [top, left, 0, 0];
                        let of = Conv2d { stride, dilation, padding, groups, ..Conv2d::default() };
                        Some(gathered(of, kernel, from, node.shape))
                    }
                    _ => None,
                };
                let Some(op) = op else { continue };
                let fusion = op.fusion.unwrap_or_default();
                let channels = node.shape[1];
                let b = fused.constant_of(channels, 0.0)?;
                if estimate_ns(&op, &fused, [dy, w, b], node.shape, options)?.is_none() {
                    continue;
                }
                let a = fused.constant_of(channels, 1.0)?;
                // The gradient of an activation before the convolution; the activation's result tells where it was positive.
                let mask = match readers[index][..] {
                    [reader] if reader != usize::MAX => match nodes[reader].kind {
                        Kind::Grad { of, input: 0 } => {
                            slope_of(&nodes[of]).map(|slope| (reader, Combine::Mask(slope), of))
                        }
                        _ => None,
                    },
                    _ => None,
                };
                fused.fuse_at(index, mask, op, fusion, [dy, w, b, a]);
            }
            _ => {}
        }
    }
    Ok(fused)
}

/// Returns the fused convolution whose pictures of shape `to` hold, for each pixel of those of shape `from`, that pixel times the filter
/// where `of` read them from: the gradient of `of` for its input, or a transposed convolution. Of the padding of `of`, the first two count.
/// `None` if sums are cut off that a convolution must compute, or if both strides and dilations keep them apart.
fn spread(of: Conv2d, kernel: Shape, from: Shape, to: Shape) -> Option<Conv2d> {
    let ends = |d: usize| {
        let reach = (kernel[2 + d] - 1) * of.dilation[d];
        let begin = reach.checked_sub(of.padding[d])?;
        let whole = (from[2 + d] - 1) * of.stride[d] + 1 + begin;
        Some((begin, (to[2 + d] + reach).checked_sub(whole)?))
    };
    let ((top, bottom), (left, right)) = (ends(0)?, ends(1)?);
    let fusion = Fusion { adjoint: true, ..Fusion::default() };
    let is_possible = of.stride == [1, 1] || of.dilation == [1, 1];
    is_possible.then_some(Conv2d { padding: [top, left, bottom, right], fusion: Some(fusion), ..of })
}

/// Returns the convolution that computes the gradient of a transposed one for its input of shape `to` from that for its result of
/// shape `from`: `of`, whose padding below and to the right is what that shape needs.
fn gathered(of: Conv2d, kernel: Shape, from: Shape, to: Shape) -> Conv2d {
    let [top, left, ..] = of.padding;
    let end = |d: usize, begin: usize| {
        let reach = (to[2 + d] - 1) * of.stride[d] + (kernel[2 + d] - 1) * of.dilation[d] + 1;
        reach.saturating_sub(from[2 + d] + begin)
    };
    Conv2d { padding: [top, left, end(0, top), end(1, left)], fusion: Some(Fusion::default()), ..of }
}

/// Returns the only node that reads the value of node `index`, and its role in fusion, if it is an operation that has one.
fn only_reader(nodes: &[Node], readers: &[Vec<usize>], index: usize) -> Option<(usize, Fusible)> {
    match readers[index][..] {
        [reader] if reader != usize::MAX => match &nodes[reader].kind {
            Kind::Op(op) => {
                let is_broadcast = |i: &usize| nodes[*i].shape != nodes[reader].shape;
                let of_pairs = |fusible: &Fusible| matches!(fusible, Fusible::Sum | Fusible::Product);
                let fusible = op.fusible();
                let fusible = fusible.filter(|f| !(of_pairs(f) && nodes[reader].inputs.iter().any(is_broadcast)));
                fusible.map(|fusible| (reader, fusible))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Returns the slope of an activation that keeps the sign of what it reads.
fn slope_of(node: &Node) -> Option<f32> {
    match &node.kind {
        Kind::Op(op) => match op.fusible() {
            Some(Fusible::Slope(slope)) if slope >= 0.0 => Some(slope),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the estimate of the fastest kernel for the operation other than the plain one, if one serves it on the adapter.
///
/// # Errors
/// A shader breaks its contract.
fn estimate_ns(op: &Conv2d, graph: &Graph, [x, w, b]: [usize; 3], y: Shape, options: &Options) -> Result<Option<f64>> {
    let shape = |i: usize| graph.nodes()[i].shape;
    let x = [shape(x), shape(w), shape(b), shape(b)];
    let serving = super::serving(op, &Io { x: &x, y }, None, options)?;
    let is_plain = |chosen: &&super::Chosen| op.kernels().first().is_some_and(|plain| plain.stem() == chosen.stem());
    Ok(serving.iter().filter(|chosen| !is_plain(chosen)).map(|chosen| chosen.work.ns).min_by(f64::total_cmp))
}

/// Returns the estimate of the fastest kernel for node `pool`, which reads `x`.
///
/// # Errors
/// A shader breaks its contract.
fn pool_ns(graph: &Graph, x: usize, pool: usize, options: &Options) -> Result<f64> {
    let node = &graph.nodes()[pool];
    let Kind::Op(op) = &node.kind else { return Ok(0.0) };
    let x = [graph.nodes()[x].shape];
    let serving = super::serving(&**op, &Io { x: &x, y: node.shape }, None, options)?;
    Ok(serving.iter().map(|chosen| chosen.work.ns).min_by(f64::total_cmp).unwrap_or(0.0))
}

impl Graph {
    /// Makes `op` with `fusion` compute node `at`, or the node that combines it with another value.
    fn fuse_at(
        &mut self,
        at: usize,
        combined: Option<(usize, Combine, usize)>,
        op: Conv2d,
        fusion: Fusion,
        inputs: [usize; 4],
    ) {
        let (at, combine) = combined.map_or((at, Combine::Nothing), |(reader, combine, _)| (reader, combine));
        let op = Conv2d { fusion: Some(Fusion { combine, ..fusion }), ..op };
        let inputs = inputs.into_iter().chain(combined.map(|(_, _, z)| z)).collect();
        self.set_fused(at, Fused { op: Arc::new(op), inputs });
    }

    /// Returns a constant `[1, channels, 1, 1]` filled with `value`, created once.
    fn constant_of(&mut self, channels: usize, value: f32) -> Result<usize> {
        let name = format!("fuse/{channels}x{value}");
        match self.find(&name) {
            Some(id) => Ok(id.index),
            None => Ok(self.constant_at(name, Tensor::filled([1, channels, 1, 1], value))?.index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Init;
    use crate::graph::grad;
    use crate::ops::conv_transpose2d::ConvTranspose2d;
    use crate::ops::loss::Reduction;
    use crate::ops::max_pool2d::MaxPool2d;
    use crate::ops::pixel_shuffle::PixelShuffle;
    use crate::plan::{Caps, Plan};

    #[test]
    fn what_follows_a_convolution_rides_along_where_nothing_else_reads_it() {
        let mut g = Graph::new();
        let x = g.input("x", [1, 8, 16, 12]).unwrap();
        let layer = |g: &mut Graph, x: NodeId, name: &str| {
            let w = g.param(&format!("{name}.w"), [8, 8, 3, 3], Init::Constant(0.1)).unwrap();
            let b = g.param(&format!("{name}.b"), [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
            g.add_named(name, Conv2d::same(3), &[x, w, b]).unwrap()
        };
        let one = layer(&mut g, x, "one");
        let one = g.relu(one).unwrap();
        let two = layer(&mut g, one, "two");
        let residual = g.plus(two, x).unwrap();
        let three = layer(&mut g, residual, "three");
        let gated = g.times(residual, three).unwrap();
        // Both operands are convolutions: one is fused with the sum, the other stays separate.
        let (four, five) = (layer(&mut g, gated, "four"), layer(&mut g, gated, "five"));
        let y = g.plus(four, five).unwrap();
        let ops = |fetches: &[NodeId]| {
            let caps = Caps::software();
            let options = Options { caps, ..Options::default() };
            let plan = Plan::new(&fuse(&g, fetches, &options).unwrap(), fetches, &options).unwrap();
            let count = |op: &str| plan.steps.iter().filter(|s| s.op == op).count();
            ["conv2d", "relu", "add", "mul"].map(count)
        };
        let convolutions = ops(&[y])[0];
        assert_eq!(ops(&[y])[1..], [0, 0, 0]);
        // A fetched sum is still a value; a fetched convolution before a sum is not combined with it.
        assert_eq!(ops(&[y, residual])[1..], [0, 0, 0]);
        assert_eq!(ops(&[y, two])[1..], [0, 1, 0]);
        assert!(convolutions > 0);
    }

    #[test]
    fn activations_ride_along_with_depthwise_and_grouped_convolutions_in_quads() {
        let mut g = Graph::new();
        let mut x = g.input("x", [1, 8, 12, 10]).unwrap();
        for (k, (groups, taps, f)) in [(1, 1, "silu"), (8, 3, "clamp"), (2, 1, "hard_swish")].into_iter().enumerate() {
            let w = g.param(&format!("w{k}"), [8, 8 / groups, taps, taps], Init::Constant(0.1)).unwrap();
            let b = g.param(&format!("b{k}"), [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
            x = g.add(Conv2d { groups, ..Conv2d::same(taps) }, &[x, w, b]).unwrap();
            x = g.pointwise(x, f).unwrap();
        }
        let options = Options { caps: Caps::software(), ..Options::default() };
        let plan = Plan::new(&fuse(&g, &[x], &options).unwrap(), &[x], &options).unwrap();
        let stems: Vec<&str> = plan.steps.iter().filter(|s| s.is_first_pass).map(|s| s.stem()).collect();
        // The host packs the input and unpacks the output.
        let expected = ["conv2d/straight_silu", "conv2d/depthwise_clamp", "conv2d/straight_hard_swish"];
        assert_eq!(stems, expected, "{plan}");
        // A sine takes one number at a time, a logarithm is not finite at 0, the value of channels past the last one, and a layer that
        // ends in a jump has no bound on its error.
        for f in ["sin", "log", "floor"] {
            let w = g.param(&format!("w_{f}"), [8, 8, 1, 1], Init::Constant(0.1)).unwrap();
            let b = g.param(&format!("b_{f}"), [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
            let y = g.add(Conv2d::default(), &[x, w, b]).unwrap();
            let y = g.pointwise(y, f).unwrap();
            let plan = Plan::new(&fuse(&g, &[y], &options).unwrap(), &[y], &options).unwrap();
            assert!(plan.steps.iter().any(|s| s.stem().starts_with(&format!("pointwise/{f}"))), "{plan}");
        }
    }

    #[test]
    fn a_pixel_shuffle_is_where_a_convolution_stores() {
        let mut g = Graph::new();
        let x = g.input("x", [1, 8, 16, 12]).unwrap();
        let w = g.param("w", [4, 8, 3, 3], Init::Constant(0.1)).unwrap();
        let b = g.param("b", [1, 4, 1, 1], Init::Constant(0.0)).unwrap();
        let y = g.add(Conv2d::same(3), &[x, w, b]).unwrap();
        let y = g.pixel_shuffle(y, PixelShuffle { factor: 2 }).unwrap();
        let options = Options { caps: Caps::software(), ..Options::default() };
        let plan = Plan::new(&fuse(&g, &[y], &options).unwrap(), &[y], &options).unwrap();
        assert!(plan.steps.iter().any(|s| s.stem() == "conv2d/straight"), "{plan}");
        assert!(plan.steps.iter().all(|s| s.op != "pixel_shuffle"), "{plan}");
    }

    #[test]
    fn a_convolution_stores_the_largest_of_four_where_that_costs_less() {
        let ops = |caps: Caps, channels: usize, pool: MaxPool2d, trains: bool| {
            let mut g = Graph::new();
            let x = g.input("x", [8, 3, 32, 31]).unwrap();
            let w = g.param("w", [channels, 3, 3, 3], Init::Constant(0.1)).unwrap();
            let b = g.param("b", [1, channels, 1, 1], Init::Constant(0.0)).unwrap();
            let y = g.add(Conv2d::same(3), &[x, w, b]).unwrap();
            let y = g.relu(y).unwrap();
            let y = g.add(pool, &[y]).unwrap();
            let mut fetches = vec![y];
            if trains {
                let loss = g.mse(y, y, Reduction::Mean).unwrap();
                fetches = grad::backward(&mut g, loss, &[w]).unwrap();
            }
            let options = Options { caps, ..Options::default() };
            let plan = Plan::new(&fuse(&g, &fetches, &options).unwrap(), &fetches, &options).unwrap();
            ["conv2d", "relu", "max_pool2d"].map(|op| plan.steps.iter().any(|s| s.op == op && s.is_first_pass))
        };
        let halved = || MaxPool2d::new(2, 2);
        assert_eq!(ops(Caps::software(), 16, halved(), false), [true, false, false]);
        // Backward needs what was pooled; other windows overlap; no kernel for GPUs pools.
        assert!(ops(Caps::software(), 16, halved(), true)[2]);
        assert!(ops(Caps::software(), 16, MaxPool2d::new(3, 2), false)[2]);
        assert!(ops(Caps::hardware(), 16, halved(), false)[2]);
    }

    /// Builds three convolutions, each followed by what `after` makes of its number, its input and its output. Returns the
    /// result and their filters.
    fn three_layers(
        g: &mut Graph,
        x: NodeId,
        after: impl Fn(&mut Graph, usize, NodeId, NodeId) -> NodeId,
    ) -> (NodeId, Vec<NodeId>) {
        let (mut y, mut filters) = (x, Vec::new());
        for k in 0..3 {
            let w = g.param(&format!("w{k}"), [8, 8, 3, 3], Init::Constant(0.1)).unwrap();
            let b = g.param(&format!("b{k}"), [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
            let z = g.add(Conv2d::same(3), &[y, w, b]).unwrap();
            y = after(g, k, y, z);
            filters.push(w);
        }
        (y, filters)
    }

    #[test]
    fn a_convolution_before_a_relu_and_a_sum_is_computed_once_in_training() {
        let mut g = Graph::new();
        let x = g.input("x", [1, 8, 16, 12]).unwrap();
        let (y, parameters) = three_layers(&mut g, x, |g, _, before, z| {
            let z = g.relu(z).unwrap();
            g.plus(z, before).unwrap()
        });
        let loss = g.mse(y, x, Reduction::Mean).unwrap();
        let mut fetches = vec![loss];
        fetches.extend(grad::backward(&mut g, loss, &parameters).unwrap());
        let caps = Caps::software();
        let options = Options { caps, ..Options::default() };
        let fused = fuse(&g, &fetches, &options).unwrap();
        let plan = Plan::new(&fused, &fetches, &options).unwrap();
        let is_forward = |node: usize| !matches!(fused.nodes()[node].kind, Kind::Grad { .. });
        let convolutions = plan
            .steps
            .iter()
            .filter(|s| s.is_first_pass && s.is_forward() && s.op.starts_with("conv") && is_forward(s.node));
        assert_eq!(convolutions.count(), 3, "{plan}");
        assert!(plan.steps.iter().all(|s| s.op != "relu" || !s.is_forward()), "{plan}");
    }

    #[test]
    fn the_gradient_of_a_relu_rides_along_with_that_of_the_convolution_after_it() {
        let mut g = Graph::new();
        let x = g.input("x", [1, 8, 16, 12]).unwrap();
        let (y, parameters) = three_layers(&mut g, x, |g, k, _, z| if k < 2 { g.relu(z).unwrap() } else { z });
        let loss = g.mse(y, x, Reduction::Mean).unwrap();
        let gradients = grad::backward(&mut g, loss, &parameters).unwrap();
        let caps = Caps::software();
        let options = Options { caps, ..Options::default() };
        let plan = Plan::new(&fuse(&g, &gradients, &options).unwrap(), &gradients, &options).unwrap();
        assert!(plan.steps.iter().all(|s| s.op != "relu"), "{plan}");
    }

    #[test]
    fn a_step_of_strided_layers_stays_in_quads() {
        let mut g = Graph::new();
        let mut x = g.input("x", [2, 4, 32, 24]).unwrap();
        let mut parameters = Vec::new();
        for k in 0..3 {
            let w = g.param(&format!("w{k}"), [4, 4, 3, 3], Init::Constant(0.1)).unwrap();
            let b = g.param(&format!("b{k}"), [1, 4, 1, 1], Init::Constant(0.0)).unwrap();
            x = g.add(Conv2d { stride: [2, 2], ..Conv2d::same(3) }, &[x, w, b]).unwrap();
            x = g.relu(x).unwrap();
            parameters.push(w);
        }
        let target = g.input("t", g.shape(x).unwrap()).unwrap();
        let loss = g.mse(x, target, Reduction::Mean).unwrap();
        let gradients = grad::backward(&mut g, loss, &parameters).unwrap();
        let options = Options { caps: Caps::software(), ..Options::default() };
        let plan = Plan::new(&fuse(&g, &gradients, &options).unwrap(), &gradients, &options).unwrap();
        let count = |op: &str| plan.steps.iter().filter(|s| s.op == op).count();
        // The loss reads and writes rows, and its gradient meets the last relu's by itself.
        assert_eq!((count("repack"), count("relu")), (2, 1), "{plan}");
    }

    #[test]
    fn a_transposed_convolution_is_a_convolution_of_a_spread_input() {
        let mut g = Graph::new();
        let x = g.input("x", [2, 8, 8, 6]).unwrap();
        let w = g.param("w", [8, 4, 4, 4], Init::Constant(0.1)).unwrap();
        let b = g.param("b", [1, 4, 1, 1], Init::Constant(0.0)).unwrap();
        let op = ConvTranspose2d { stride: [2, 2], padding: [1, 1], ..ConvTranspose2d::default() };
        let y = g.add(op, &[x, w, b]).unwrap();
        let y = g.relu(y).unwrap();
        let target = g.input("t", g.shape(y).unwrap()).unwrap();
        let loss = g.mse(y, target, Reduction::Mean).unwrap();
        let mut fetches = vec![y];
        fetches.extend(grad::backward(&mut g, loss, &[x, w, b]).unwrap());
        let options = Options { caps: Caps::software(), ..Options::default() };
        let plan = Plan::new(&fuse(&g, &fetches, &options).unwrap(), &fetches, &options).unwrap();
        let stems: std::collections::BTreeSet<&str> = plan.steps.iter().map(|s| s.stem()).collect();
        assert!(stems.contains("conv2d/straight") && stems.contains("conv_transpose2d/filters"), "{plan}");
        let is_plain = |s: &&crate::plan::Step| s.stem() == "conv_transpose2d/plain";
        assert!(plan.steps.iter().filter(is_plain).all(|s| s.entry.starts_with("backward_b")), "{plan}");
    }

    #[test]
    fn hardware_computes_convolutions_by_tiles() {
        let mut g = Graph::new();
        let x = g.input("x", [2, 16, 24, 24]).unwrap();
        let mut parameter = |name: &str, shape: [usize; 4]| g.param(name, shape, Init::Constant(0.1)).unwrap();
        let (w, b) = (parameter("w", [16, 16, 3, 3]), parameter("b", [1, 16, 1, 1]));
        let (v, c) = (parameter("v", [16, 1, 9, 9]), parameter("c", [1, 1, 1, 1]));
        let y = g.add_named("conv", Conv2d::same(3), &[x, w, b]).unwrap();
        let up =
            ConvTranspose2d { stride: [3, 3], padding: [4, 4], output_padding: [2, 2], ..ConvTranspose2d::default() };
        let z = g.add_named("up", up, &[y, v, c]).unwrap();
        let target = g.input("t", g.shape(z).unwrap()).unwrap();
        let loss = g.mse(z, target, Reduction::Mean).unwrap();
        let mut fetches = grad::backward(&mut g, loss, &[w, v]).unwrap();
        fetches.push(loss);
        let options = Options::default();
        let plan = Plan::new(&fuse(&g, &fetches, &options).unwrap(), &fetches, &options).unwrap();
        let stem = |name: &str| plan.steps.iter().find(|s| s.name == name).map(|s| s.stem());
        assert_eq!(stem("conv"), Some("conv2d/conv3x3_tile"), "{plan}");
        assert_eq!(stem("conv.backward_w"), Some("conv2d/plane_gradients"), "{plan}");
        // The single channel is nine, one for each pixel of a stride; its gradient reads every third pixel.
        assert_eq!([stem("up"), stem("up.dx")], [Some("conv2d/gemm"); 2], "{plan}");
    }
}
