//! A fused convolution whose channels each have a filter of their own.

use super::{Conv2d, PIXELS_AT_ONCE, fits};
use crate::ops::{Call, Caps, Launch, Work};
use std::ops::RangeInclusive;

/// Rows of y that a thread may compute.
const ROWS: RangeInclusive<usize> = 1..=8;

/// Products with texels of weights that a thread with several rows may make, all in straight-line code.
const PRODUCTS: usize = 256;

/// Texels of weights in workgroup memory (16 KiB).
const TEXELS: usize = 1024;

/// `shaders/conv2d/depthwise.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let ([n, _, h, w], [_, co, ho, wo], [_, in_group, kh, kw]) = (io.x[0].nchw(), io.y.nchw(), io.x[1].nchw());
    // With groups a fusion does not shuffle (`Conv2d::shape`).
    if fusion.adjoint
        || fusion.pooled
        || op.dilation != [1, 1]
        || op.groups == 1
        || op.groups != co
        || in_group != 1
        || kh * kw + 2 > TEXELS
    {
        return None;
    }
    let (quads, fill) = (co.div_ceil(4), kh * kw + 2);
    // Rows of x that a thread reads.
    let span = |rows: usize| (rows - 1) * op.stride[0] + kh;
    // Measured for eight lanes on a thread of a Zen 4 under Mesa 22.3.6.
    let ns = |rows: usize| {
        let (loads, products) = (span(rows) * kw, rows * kh * kw);
        let of_a_block = 6.0 * loads as f64 + products as f64 + 85.0 * rows as f64 + 47.0;
        of_a_block * (n * quads * ho.div_ceil(rows) * wo) as f64 / PIXELS_AT_ONCE
    };
    let rows = ROWS.filter(|rows| *rows == 1 || rows * kh * kw <= PRODUCTS).min_by(|a, b| ns(*a).total_cmp(&ns(*b)))?;
    let blocks = ho.div_ceil(rows) * wo;
    let lanes = blocks.next_multiple_of(8).min(256);
    let (threads, scratch) = (quads * fill, vec![("t2", quads * fill)]);
    let launch = |entry: &str| {
        let groups: [u32; 3] = match entry {
            "forward_1" => [threads.div_ceil(64).try_into().ok()?, 1, 1],
            "forward_2" => [(n * quads).try_into().ok()?, blocks.div_ceil(lanes).try_into().ok()?, 1],
            _ => return None,
        };
        let params = [
            ("c_out", co.into()),
            ("height", h.into()),
            ("width", w.into()),
            ("out_height", ho.into()),
            ("out_width", wo.into()),
            ("stride_w", op.stride[1].into()),
            ("pad_h", op.padding[0].into()),
            ("pad_w", op.padding[1].into()),
            ("replicate", u32::from(op.replicate).into()),
            ("quads", quads.into()),
            ("blocks", blocks.into()),
            ("slope", fusion.combine.code().1.into()),
            ("threads", threads.into()),
        ];
        let launch = Launch::groups(groups, params.into_iter().chain(fusion.parameters()));
        let launch = launch
            .with("KH", kh)
            .with("KW", kw)
            .with("ROWS", rows)
            .with("STRIDE_H", op.stride[0])
            .with("SPAN", span(rows))
            .with("LANES", lanes);
        Some(
            launch
                .with("FILL", fill)
                .with("COPIES", fill.div_ceil(lanes))
                .with("COMBINE", fusion.combine.code().0 as usize),
        )
    };
    let work = call.work(caps, |entry| launch(entry).filter(|_| fits(&scratch, io)))?;
    Some(work.scratch(scratch).modelled(ns(rows), caps))
}
