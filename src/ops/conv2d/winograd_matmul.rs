//! A fused 3×3 convolution by Winograd's F(4×4, 3×3) as products of matrices, for GPUs.
//!
//! Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

use super::Conv2d;
use super::winograd::of_six_points;
use crate::ops::product::Product;
use crate::ops::{Accuracy, Call, Caps, Promise, Work};

/// Side of the outputs of a tile, and positions in it where it is transformed.
const TILE: usize = 4;
const POSITIONS: usize = 36;

/// Multiply-adds in the time in which a byte is moved, and in that in which a pass begins: those of an H100 (docs/profile.md), where
/// passes lie 5 µs apart.
const OF_BYTE: f64 = 11.6;
const OF_PASS: f64 = 1.5e8;

/// `shaders/conv2d/winograd_matmul.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let ([n, ci, h, w], [_, co, ho, wo]) = (io.x[0].nchw(), io.y.nchw());
    let is_spread = op.spread() != [1, 1];
    if !op.is_dense() || is_spread || fusion.factor != 1 || fusion.pooled || io.x[1][2..] != [3, 3] {
        return None;
    }
    let (tiles_y, tiles_x) = (ho.div_ceil(TILE), wo.div_ceil(TILE));
    let tiles = n * tiles_y * tiles_x;
    // The distances are those of the products of operations, which the transforms do not have.
    let product =
        Product { matrices: [POSITIONS; 3], rows_a: tiles, rows_b: co, terms: ci, a: [0; 2], b: [0; 2], y: [0; 2] };
    let params = [
        ("height", h.into()),
        ("width", w.into()),
        ("out_height", ho.into()),
        ("out_width", wo.into()),
        ("pad_h", op.padding[0].into()),
        ("pad_w", op.padding[1].into()),
        ("adjoint", u32::from(fusion.adjoint).into()),
        ("replicate", u32::from(op.replicate).into()),
        ("tiles_x", tiles_x.into()),
        ("tiles", tiles.into()),
        ("tiles_of_picture", (tiles_y * tiles_x).into()),
        ("slope", fusion.combine.code().1.into()),
        fusion.parameters()[0],
        fusion.parameters()[1],
    ];
    // A thread transforms all positions of a value.
    let constants = [("COMBINE", fusion.combine.code().0 as usize)];
    let work = product.serve_by(call, caps, &params, &constants, |vectors| 4 * vectors / POSITIONS)?;
    let promise = Promise { accuracy: Some(Accuracy::TRANSFORMED), tolerance: Some(of_six_points) };
    // V and M are written and read, and U read, beside x and y. A fifth is taken off, because no GPU has confirmed this: the kernel serves
    // layers of many channels and pixels, where it should be much faster than a direct convolution.
    let values = 2 * POSITIONS * tiles * (ci + co) + POSITIONS * ci * co + io.x_len(0) + io.y_len();
    let multiplied = product.instructions(caps) + 4.0 * OF_BYTE * values as f64 + 2.0 * OF_PASS;
    let direct = (n * ho * wo * ci * co * 9) as f64;
    Some(work.faster((0.8 * 20.0 * direct / multiplied).max(1.1)).promise(promise))
}
