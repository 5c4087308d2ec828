//! A fused convolution whose channels each have a filter of their own, for GPUs, where widths are multiples of four.

use super::Conv2d;
use super::depthwise_rows::Rows;
use crate::ops::{Call, Caps, Io, Work};

/// Quads of x that a thread keeps of a row.
const REACH: usize = 5;

/// What filters of a single channel meet of x from four neighbouring columns of some rows, as `shaders/shared/four_rows.wgsl` reads it.
pub(super) struct Reach {
    /// Vectors in a row of x, and of y.
    pub quads: usize,
    pub out_quads: usize,
    /// Vectors of x that a thread meets in a row, and in all of its rows.
    pub reach: usize,
    pub loads: usize,
    /// The constants of the shader.
    pub constants: [(&'static str, usize); 14],
}

impl Reach {
    /// Returns `None` if a width is not a multiple of four, or a thread would meet too much of a row.
    pub fn new(op: &Conv2d, io: &Io, rows: usize) -> Option<Self> {
        let ([_, _, h, w], [_, _, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), io.y.nchw(), io.x[1].nchw());
        let ([top, left, ..], stride, dilation) = (op.padding, op.stride, op.dilation);
        if op.replicate || !w.is_multiple_of(4) || !wo.is_multiple_of(4) {
            return None;
        }
        let (quads, out_quads, before) = (w / 4, wo / 4, left.div_ceil(4));
        let shift = before * 4 - left;
        let reach_h = (rows - 1) * stride[0] + (kh - 1) * dilation[0] + 1;
        let reach_w = shift + 3 * stride[1] + (kw - 1) * dilation[1] + 1;
        let reach = Some(reach_w.div_ceil(4)).filter(|reach| *reach <= REACH)?;
        // What the threads of the last rows and columns still find in the picture; those of the first begin above and to the left of it.
        let last_row = (ho.div_ceil(rows) - 1) * rows * stride[0];
        let inside_to = (h + top).saturating_sub(last_row).min(reach_h);
        let quads_to = (quads + before).saturating_sub((out_quads - 1) * stride[1]).min(reach);
        let constants = [
            ("KERNEL_H", kh),
            ("KERNEL_W", kw),
            ("STRIDE_H", stride[0]),
            ("STRIDE_W", stride[1]),
            ("DILATION_H", dilation[0]),
            ("DILATION_W", dilation[1]),
            ("ROWS", rows),
            ("REACH_H", reach_h),
            ("REACH", reach),
            ("BEFORE", before),
            ("SHIFT", shift),
            ("INSIDE_FROM", top),
            ("INSIDE_TO", inside_to),
            ("QUADS_TO", quads_to),
        ];
        Some(Self { quads, out_quads, reach, loads: reach * reach_h, constants })
    }
}

/// `shaders/conv2d/depthwise_fours.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (rows, io) = (Rows::new(call, caps)?, &call.io);
    let reach = Reach::new(&rows.op, io, rows.rows)?;
    let params = [("quads", reach.quads.into()), ("out_quads", reach.out_quads.into())];
    let work = call.work(caps, |_| Some(rows.launch(io, params).with_all(reach.constants)))?;
    // A guess, not measured: it loads four pixels at a time.
    Some(work.faster(4.0))
}
