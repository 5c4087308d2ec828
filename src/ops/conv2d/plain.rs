//! conv2d by its definition, with a block of outputs in registers: every case, and all gradients.

use super::{Conv2d, ROWS};
use crate::ops::{Call, Caps, Io, Launch, Work};

/// Returns the channels of a block: the width that needs the fewest loads for `channels` of a group, at eight rows.
fn block_channels(channels: usize) -> usize {
    [8, 4, 1].into_iter().min_by_key(|width| channels.div_ceil(*width) * (ROWS + width)).unwrap_or(1)
}

/// Returns the number of partial sums of a reduction over `items` when `blocks` independent reductions run side by side:
/// about 2,048 threads in all, at most 256 partial sums each, and equal shares if possible.
fn walkers(items: usize, blocks: usize) -> usize {
    let most = (2048 / blocks).clamp(8, 256).next_multiple_of(8);
    items.div_ceil(items.div_ceil(most))
}

/// Returns the number of partial sums of the gradient for w or b.
fn walkers_of(op: &Conv2d, method: &str, io: &Io) -> usize {
    let [_, co, ho, wo] = io.y.nchw();
    let out_group = co / op.groups;
    let blocks = match method {
        "backward_w" => {
            let taps = io.x_len(1) / co;
            op.groups * out_group.div_ceil(block_channels(out_group)) * taps.div_ceil(ROWS)
        }
        _ => co,
    };
    walkers(ho * wo, blocks)
}

/// `shaders/conv2d/plain.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let walkers = walkers_of(op, call.method, io);
    let scratch = walkers * if call.method == "backward_w" { io.x_len(1) } else { io.y[1] };
    let ([n, ci, h, w], [co, in_group, kh, kw]) = (io.x[0].nchw(), io.x[1].nchw());
    let [_, _, ho, wo] = io.y.nchw();
    let groups = op.groups;
    let out_group = co / groups;
    let work = call.work(caps, |entry| {
        // backward_x writes input channels, all others output channels.
        let (written, rows, columns) = if entry == "backward_x" { (in_group, h, w) } else { (out_group, ho, wo) };
        let width = block_channels(written);
        let blocks = written.div_ceil(width);
        let row_blocks = rows.div_ceil(ROWS);
        let taps = in_group * kh * kw;
        let tap_blocks = taps.div_ceil(ROWS);
        let block_threads = n * groups * blocks * row_blocks * columns;
        let border = match op.replicate {
            true => w * h.min(2) + w.min(2) * h.saturating_sub(2),
            false => 0,
        };
        let threads = match entry {
            "forward" => block_threads,
            "backward_x" => block_threads + n * ci * border,
            "backward_w_1" => groups * blocks * tap_blocks * walkers,
            "backward_w_2" => io.x_len(1),
            "backward_b_1" => co * walkers,
            "backward_b_2" => co,
            _ => return None,
        };
        u32::try_from(threads).ok()?;
        let launch = Launch::threads(
            threads,
            op.geometry(io).into_iter().chain([
                ("row_blocks", row_blocks.into()),
                ("blocks", blocks.into()),
                ("taps", taps.into()),
                ("tap_blocks", tap_blocks.into()),
                ("border", border.into()),
                ("border_threads", (n * ci * border).into()),
                ("walkers", walkers.into()),
                ("threads", threads.into()),
            ]),
        );
        let walk = (ho * wo).div_ceil(walkers);
        let loops: &[usize] = match entry {
            "forward" => &[in_group, kw, kh],
            "backward_x" => &[kh, kw, out_group],
            "backward_w_1" => &[walk, n],
            "backward_b_1" => &[n, walk],
            _ => &[walkers],
        };
        Some(launch.with("OC", width).loops(loops))
    })?;
    Some(work.scratch(vec![("t0", scratch)]))
}
