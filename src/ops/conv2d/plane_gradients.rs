//! The gradient of conv2d for w, plane by plane of the filters, for GPUs, where widths are multiples of four.

use super::Conv2d;
use super::depthwise_fours::Reach;
use crate::ops::{Call, Caps, Launch, Work};

/// Blocks of rows that make a walker worth its partial sums.
const BLOCKS_EACH: usize = 4;

/// Products that a thread makes of a block of rows, all in straight-line code.
const PRODUCTS: usize = 1024;

/// `shaders/conv2d/plane_gradients.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let ([n, ci, h, _], [co, in_group, kh, kw]) = (io.x[0].nchw(), io.x[1].nchw());
    let (ho, taps, planes) = (io.y[2], kh * kw, co * in_group);
    let (rows, reach) = [4, 2, 1].into_iter().find_map(|rows| {
        let reach = Reach::new(op, io, rows)?;
        // Sums, rows of dy, a row of x, and which of its values are real.
        let is_held = caps.holds(taps + 4 * rows + 5 * reach.reach);
        (4 * rows * taps <= PRODUCTS && is_held).then_some((rows, reach))
    })?;
    let (row_blocks, out_quads) = (ho.div_ceil(rows), reach.out_quads);
    let blocks = n * row_blocks;
    let most = (blocks / BLOCKS_EACH).max(1);
    let strips = (64 * caps.busy_workgroups).div_ceil(planes * out_quads).clamp(1, most);
    let each = blocks.div_ceil(strips);
    let walkers = strips * out_quads;
    let partials = walkers * io.x_len(1);
    u32::try_from(partials).ok()?;
    let shape = caps.workgroups([walkers.div_ceil(64), planes, 1])?;
    let params = [
        ("c_in", ci.into()),
        ("c_out", co.into()),
        ("height", h.into()),
        ("out_height", ho.into()),
        ("pad_h", op.padding[0].into()),
        ("quads", reach.quads.into()),
        ("out_quads", out_quads.into()),
        ("in_group", in_group.into()),
        ("out_group", (co / op.groups).into()),
        ("row_blocks", row_blocks.into()),
        ("blocks", blocks.into()),
        ("strips", strips.into()),
        ("walkers", walkers.into()),
        ("threads", io.x_len(1).into()),
    ];
    let work = call.work(caps, |entry| {
        let launch = match entry {
            "backward_w_1" => Launch::groups(shape, params).loops(&[each]),
            "backward_w_2" => Launch::threads(io.x_len(1), params).loops(&[walkers]),
            _ => return None,
        };
        Some(launch.with_all(reach.constants))
    })?;
    // A guess, not measured, on the scale of layer.rs: a load of four pixels takes as long as 30 multiply-adds; a partial sum is written
    // and read.
    let (products, loads) = (each * 4 * rows * taps, each * (reach.loads + rows) + taps);
    let efficiency = products as f64 / (products + 30 * loads) as f64;
    Some(work.scratch(vec![("t0", partials)]).faster(20.0 * efficiency))
}
