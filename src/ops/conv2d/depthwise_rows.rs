//! A fused convolution whose channels each have a filter of their own, for GPUs.

use super::{Conv2d, Fusion};
use crate::ops::{Call, Caps, Io, Launch, Scalar, Work};

/// Values of x that a thread keeps of a row, and products that it makes, all in straight-line code.
const REACH: usize = 16;
const PRODUCTS: usize = 1024;

/// How the kernels for GPUs divide a depthwise convolution: a thread has four columns of some rows of a channel.
pub(super) struct Rows {
    pub op: Conv2d,
    pub fusion: Fusion,
    /// Rows of a thread.
    pub rows: usize,
    /// Threads per channel.
    tiles: usize,
    shape: [u32; 3],
}

impl Rows {
    /// Returns `None` if the call is not for a fused depthwise convolution whose pixels lie side by side.
    pub fn new(call: &Call, caps: &Caps) -> Option<Self> {
        let (op, io) = (call.op::<Conv2d>()?, &call.io);
        let fusion = op.fusion?;
        let ([n, ci, ..], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), io.y.nchw(), io.x[1].nchw());
        // With groups a fusion does not shuffle (`Conv2d::shape`).
        if op.groups == 1 || op.groups != ci || op.spread() != [1, 1] || fusion.pooled {
            return None;
        }
        let tiles = |rows: usize| ho.div_ceil(rows) * wo.div_ceil(4);
        let groups = |rows: usize| tiles(rows).div_ceil(64) * co * n;
        let fits =
            |rows: &usize| 4 * rows * kh * kw <= PRODUCTS && (*rows == 1 || groups(*rows) >= 4 * caps.busy_workgroups);
        let rows = [8, 4, 2, 1].into_iter().find(fits)?;
        let shape = caps.workgroups([tiles(rows).div_ceil(64), co, n])?;
        Some(Self { op: op.clone(), fusion, rows, tiles: tiles(rows), shape })
    }

    /// Returns the launch with `params` of one kernel and those of both, and the constants of the fusion.
    pub fn launch(&self, io: &Io, params: impl IntoIterator<Item = (&'static str, Scalar)>) -> Launch {
        let (combine, slope) = self.fusion.combine.code();
        let common = [
            ("c_in", io.x[0][1].into()),
            ("c_out", io.y[1].into()),
            ("height", io.x[0][2].into()),
            ("out_height", io.y[2].into()),
            ("pad_h", self.op.padding[0].into()),
            ("out_group", (io.y[1] / self.op.groups).into()),
            ("tiles", self.tiles.into()),
            ("slope", slope.into()),
        ];
        let params = params.into_iter().chain(common).chain(self.fusion.parameters());
        let constants = [("ADJOINT", usize::from(self.fusion.adjoint)), ("COMBINE", combine as usize)];
        Launch::groups(self.shape, params).with_all(constants)
    }
}

/// `shaders/conv2d/depthwise_rows.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (rows, io) = (Rows::new(call, caps)?, &call.io);
    let ([_, _, kh, kw], stride, dilation) = (io.x[1].nchw(), rows.op.stride, rows.op.dilation);
    // What the rows and the four columns of a thread meet.
    let reach_h = (rows.rows - 1) * stride[0] + (kh - 1) * dilation[0] + 1;
    let reach_w = Some(3 * stride[1] + (kw - 1) * dilation[1] + 1).filter(|reach| *reach <= REACH)?;
    let work = call.work(caps, |_| {
        let params = [
            ("width", io.x[0][3].into()),
            ("out_width", io.y[3].into()),
            ("pad_w", rows.op.padding[1].into()),
            ("tiles_x", io.y[3].div_ceil(4).into()),
        ];
        Some(rows.launch(io, params).with_all([
            ("KERNEL_H", kh),
            ("KERNEL_W", kw),
            ("STRIDE_H", stride[0]),
            ("STRIDE_W", stride[1]),
            ("DILATION_H", dilation[0]),
            ("DILATION_W", dilation[1]),
            ("ROWS", rows.rows),
            ("REACH_H", reach_h),
            ("REACH_W", reach_w),
            ("REPLICATE", usize::from(rows.op.replicate)),
        ]))
    })?;
    // A guess, not measured: it loads a pixel once for a column of taps, the plain kernel once for each.
    Some(work.faster(3.0))
}
