//! Typical layers, one at a time, as a training step computes them.

use super::{Kernel, add_plan, plan};
use crate::error::Result;
use crate::graph::grad::backward;
use crate::graph::{Graph, Init, NodeId};
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d::Conv2d;
use crate::ops::loss::Reduction;
use crate::ops::matmul::Matmul;
use crate::ops::max_pool2d::MaxPool2d;
use crate::ops::warp::{Border, Warp};

/// A layer by its name: what it computes from its input, and that input's shape.
type Layer = (&'static str, [usize; 4], fn(&mut Graph, NodeId) -> Result<NodeId>);

/// Layers of the networks that lineament runs, and the products that they are made of. A name is filter, channels, input size.
const LAYERS: &[Layer] = &[
    ("3x3 64-64 128²", [1, 64, 128, 128], |g, x| conv(g, x, 64, 3, Conv2d::same(3))),
    // These three have enough work for the largest tiles.
    ("3x3 64-64 8 of 128²", [8, 64, 128, 128], |g, x| conv(g, x, 64, 3, Conv2d::same(3))),
    ("1x1 64-64 8 of 128²", [8, 64, 128, 128], |g, x| conv(g, x, 64, 1, Conv2d::same(1))),
    ("5x5 64-64 8 of 128²", [8, 64, 128, 128], |g, x| conv(g, x, 64, 5, Conv2d::same(5))),
    ("3x3 128-128 128² relu", [1, 128, 128, 128], |g, x| {
        let y = conv(g, x, 128, 3, Conv2d::same(3))?;
        g.relu(y)
    }),
    // Enough work for Winograd's transforms.
    ("3x3 128-128 256²", [1, 128, 256, 256], |g, x| conv(g, x, 128, 3, Conv2d::same(3))),
    ("3x3 512-512 14²", [1, 512, 14, 14], |g, x| conv(g, x, 512, 3, Conv2d::same(3))),
    ("3x3 1-64 128²", [1, 1, 128, 128], |g, x| conv(g, x, 64, 3, Conv2d::same(3))),
    ("1x1 64-64 128²", [1, 64, 128, 128], |g, x| conv(g, x, 64, 1, Conv2d::same(1))),
    ("9x9 1-64 256²", [1, 1, 256, 256], |g, x| conv(g, x, 64, 9, Conv2d::same(9))),
    ("5x5 64-32 256²", [1, 64, 256, 256], |g, x| conv(g, x, 32, 5, Conv2d::same(5))),
    ("5x5 32-1 256²", [1, 32, 256, 256], |g, x| conv(g, x, 1, 5, Conv2d::same(5))),
    ("3x3 64 depthwise 128²", [1, 64, 128, 128], |g, x| conv(g, x, 64, 3, Conv2d { groups: 64, ..Conv2d::same(3) })),
    ("3x3 64-64 stride 2 128²", [1, 64, 128, 128], |g, x| {
        conv(g, x, 64, 3, Conv2d { stride: [2, 2], ..Conv2d::same(3) })
    }),
    ("transposed 9x9 56-1 stride 3 128²", [1, 56, 128, 128], |g, x| {
        let op =
            ConvTranspose2d { stride: [3, 3], padding: [4, 4], output_padding: [2, 2], ..ConvTranspose2d::default() };
        transposed(g, x, 1, 9, op)
    }),
    ("transposed 4x4 64-64 stride 2 64²", [1, 64, 64, 64], |g, x| {
        let op = ConvTranspose2d { stride: [2, 2], padding: [1, 1], ..ConvTranspose2d::default() };
        transposed(g, x, 64, 4, op)
    }),
    ("linear 16 of 768-136", [16, 64, 3, 4], |g, x| {
        let w = g.param("w", [136, 768, 1, 1], Init::Constant(0.0))?;
        let b = g.param("b", [1, 136, 1, 1], Init::Constant(0.0))?;
        g.linear(x, w, b)
    }),
    ("3x3 12-12 prelu 16 of 64²", [16, 12, 64, 64], |g, x| {
        let y = conv(g, x, 12, 3, Conv2d::same(3))?;
        let a = g.param("a", [1, 12, 1, 1], Init::Constant(0.0))?;
        g.prelu(y, a)
    }),
    ("matmul 256³", [1, 1, 256, 256], |g, x| {
        let b = g.param("b", [1, 1, 256, 256], Init::Constant(0.0))?;
        g.matmul(x, b, Matmul::default())
    }),
    // Bound by bytes.
    ("sigmoid 64 of 128²", [1, 64, 128, 128], |g, x| g.pointwise(x, "sigmoid")),
    ("sum 64 of 128²", [1, 64, 128, 128], |g, x| {
        let b = g.param("b", [1, 64, 128, 128], Init::Constant(0.0))?;
        g.plus(x, b)
    }),
    ("gate 64 of 128²", [1, 64, 128, 128], |g, x| {
        let b = g.param("b", [1, 64, 128, 128], Init::Constant(0.0))?;
        let gate = g.param("g", [1, 1, 128, 128], Init::Constant(0.0))?;
        g.gate(x, b, gate)
    }),
    ("warp 16 of 128²", [1, 16, 128, 128], |g, x| {
        let f = g.param("f", [1, 2, 128, 128], Init::Constant(0.0))?;
        g.warp(x, f, Warp { border: Border::Clamp })
    }),
    ("max pool 64 of 128²", [1, 64, 128, 128], |g, x| g.max_pool2d(x, MaxPool2d::new(2, 2))),
    ("pairwise distances 256 x 256 of 64", [256, 64, 1, 1], |g, x| {
        let b = g.param("b", [256, 64, 1, 1], Init::Constant(0.0))?;
        g.pairwise_distance(x, b)
    }),
];

fn conv(g: &mut Graph, x: NodeId, filters: usize, side: usize, op: Conv2d) -> Result<NodeId> {
    let channels = g.shape(x)?[1] / op.groups;
    let w = g.param("w", [filters, channels, side, side], Init::Constant(0.0))?;
    let b = g.param("b", [1, filters, 1, 1], Init::Constant(0.0))?;
    g.conv2d(x, w, b, op)
}

fn transposed(g: &mut Graph, x: NodeId, filters: usize, side: usize, op: ConvTranspose2d) -> Result<NodeId> {
    let w = g.param("w", [g.shape(x)?[1], filters, side, side], Init::Constant(0.0))?;
    let b = g.param("b", [1, filters, 1, 1], Init::Constant(0.0))?;
    g.conv_transpose2d(x, w, b, op)
}

/// Returns the kernels of a standard set of layers, each planned alone for a discrete GPU as a training step: forward, mean squared
/// error, and the gradients of its input, filters and biases. `registers` is as in [`plan`].
///
/// # Errors
/// A layer cannot be planned, or a shader cannot be translated.
pub fn layers(registers: Option<usize>) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    for &(name, shape, build) in LAYERS {
        let mut g = Graph::new();
        // A parameter, so that the gradient of the layer's input is asked for too.
        let x = g.param("input", shape, Init::Constant(0.0))?;
        let y = build(&mut g, x)?;
        let target = g.input("target", g.shape(y)?)?;
        let loss = g.mse(y, target, Reduction::Mean)?;
        let wanted = g.parameters();
        let mut fetches = vec![y, loss];
        fetches.extend(backward(&mut g, loss, &wanted)?);
        add_plan(&mut kernels, Some(name), &plan(&g, &fetches, registers)?)?;
    }
    Ok(kernels)
}
