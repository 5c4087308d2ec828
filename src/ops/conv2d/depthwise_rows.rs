//! A fused convolution whose channels each have a filter of their own, for GPUs.

use super::Conv2d;
use crate::ops::{Call, Caps, Launch, Work};

/// Values of x that a thread keeps of a row, and products that it makes, all in straight-line code.
const REACH: usize = 16;
const PRODUCTS: usize = 1024;

/// `shaders/conv2d/depthwise_rows.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), io.y.nchw(), io.x[1].nchw());
    // With groups a fusion does not shuffle (`Conv2d::shape`).
    if op.groups == 1 || op.groups != ci || op.spread() != [1, 1] {
        return None;
    }
    let reach_w = 3 * op.stride[1] + (kw - 1) * op.dilation[1] + 1;
    let tiles = |rows: usize| ho.div_ceil(rows) * wo.div_ceil(4);
    let groups = |rows: usize| tiles(rows).div_ceil(64) * co * n;
    let fits =
        |rows: &usize| 4 * rows * kh * kw <= PRODUCTS && (*rows == 1 || groups(*rows) >= 4 * caps.busy_workgroups);
    let rows = [8, 4, 2, 1].into_iter().find(fits).filter(|_| reach_w <= REACH)?;
    let shape = caps.workgroups([tiles(rows).div_ceil(64), co, n])?;
    let (combine, slope) = fusion.combine.code();
    let work = call.work(caps, |_| {
        let params = [
            ("c_in", ci.into()),
            ("c_out", co.into()),
            ("height", h.into()),
            ("width", w.into()),
            ("out_height", ho.into()),
            ("out_width", wo.into()),
            ("pad_h", op.padding[0].into()),
            ("pad_w", op.padding[1].into()),
            ("out_group", (co / op.groups).into()),
            ("tiles_x", wo.div_ceil(4).into()),
            ("tiles", tiles(rows).into()),
            ("slope", slope.into()),
        ];
        let constants = [
            ("KERNEL_H", kh),
            ("KERNEL_W", kw),
            ("STRIDE_H", op.stride[0]),
            ("STRIDE_W", op.stride[1]),
            ("DILATION_H", op.dilation[0]),
            ("DILATION_W", op.dilation[1]),
            ("ADJOINT", usize::from(fusion.adjoint)),
            ("ROWS", rows),
            ("REACH_H", (rows - 1) * op.stride[0] + (kh - 1) * op.dilation[0] + 1),
            ("REACH_W", reach_w),
            ("REPLICATE", usize::from(op.replicate)),
            ("COMBINE", combine as usize),
        ];
        let launch = Launch::groups(shape, params.into_iter().chain(fusion.parameters()));
        Some(launch.with_all(constants))
    })?;
    // A guess, not measured: it loads a pixel once for a column of taps, the plain kernel once for each.
    Some(work.faster(3.0))
}
