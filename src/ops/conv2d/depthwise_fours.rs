//! A fused convolution whose channels each have a filter of their own, for GPUs, where widths are multiples of four.

use super::depthwise_rows::Rows;
use crate::ops::{Call, Caps, Work};

/// Quads of x that a thread keeps of a row.
const REACH: usize = 5;

/// `shaders/conv2d/depthwise_fours.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (rows, io) = (Rows::new(call, caps)?, &call.io);
    let ([_, _, h, w], [_, _, ho, wo]) = (io.x[0].nchw(), io.y.nchw());
    let ([top, left, ..], stride) = (rows.op.padding, rows.op.stride);
    if rows.op.replicate || !w.is_multiple_of(4) || !wo.is_multiple_of(4) {
        return None;
    }
    let (quads, out_quads, before) = (w / 4, wo / 4, left.div_ceil(4));
    let shift = before * 4 - left;
    let reach = Some((shift + rows.reach_w(io)).div_ceil(4)).filter(|reach| *reach <= REACH)?;
    // What the threads of the last rows and columns still find in the picture; those of the first begin above and to the left of it.
    let last_row = (ho.div_ceil(rows.rows) - 1) * rows.rows * stride[0];
    let inside_to = (h + top).saturating_sub(last_row).min(rows.reach_h);
    let quads_to = (quads + before).saturating_sub((out_quads - 1) * stride[1]).min(reach);
    let work = call.work(caps, |_| {
        let constants = [
            ("REACH", reach),
            ("BEFORE", before),
            ("SHIFT", shift),
            ("INSIDE_FROM", top),
            ("INSIDE_TO", inside_to),
            ("QUADS_TO", quads_to),
        ];
        Some(rows.launch(io, [("quads", quads.into()), ("out_quads", out_quads.into())], constants))
    })?;
    // A guess, not measured: it loads four pixels at a time.
    Some(work.faster(4.0))
}
