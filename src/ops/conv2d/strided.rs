//! Gradients of conv2d for x with strides, phase by phase, for adapters that load a texel much faster than an element of a buffer.

use super::{Conv2d, ROWS};
use crate::layout::MAX_TEXELS;
use crate::ops::{Call, Caps, Launch, Work};
use crate::tensor::len;

/// `shaders/conv2d/strided.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    if op.dilation != [1, 1] || op.replicate {
        return None;
    }
    let ([n, _, h, w], [co, in_group, kh, kw]) = (io.x[0].nchw(), io.x[1].nchw());
    let (groups, [sh, sw]) = (op.groups, op.stride);
    let quads = in_group.div_ceil(4);
    let filters = groups * quads * (co / groups) * kh * kw;
    if len(&io.y).max(filters) > MAX_TEXELS {
        return None;
    }
    let width = if in_group > 4 { 8 } else { 4 };
    let blocks = in_group.div_ceil(width);
    let (rows, columns) = (h.div_ceil(sh), w.div_ceil(sw));
    let row_blocks = rows.div_ceil(ROWS);
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "backward_x_1" => filters,
            "backward_x_2" => n * groups * blocks * sh * sw * row_blocks * columns,
            _ => return None,
        };
        u32::try_from(threads).ok()?;
        // The members of `p` that describe the layer, without those of what is not served.
        let is_used = |name: &str| !["batch", "dilation_h", "dilation_w", "replicate"].contains(&name);
        let more = [
            ("rows", rows.into()),
            ("columns", columns.into()),
            ("row_blocks", row_blocks.into()),
            ("blocks", blocks.into()),
            ("quads", quads.into()),
            ("threads", threads.into()),
        ];
        let geometry = op.geometry(io).into_iter().filter(|(name, _)| is_used(name));
        let loops = [co / groups, kw.div_ceil(sw), kh.div_ceil(sh)];
        Some(Launch::threads(threads, geometry.chain(more)).with("OC", width).loops(&loops))
    })?;
    Some(work.scratch(vec![("t1", filters)]).faster(3.0))
}
