//! conv2d on rows as texels, for adapters that load a texel much faster than an element of a buffer: strides, dilations and groups.

use super::{Conv2d, ROWS};
use crate::layout::MAX_TEXELS;
use crate::ops::{Call, Caps, Launch, Work};
use crate::tensor::len;

/// `shaders/conv2d/texels.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let ([n, ..], [_, co, ho, wo]) = (io.x[0].nchw(), io.y.nchw());
    let (groups, is_w) = (op.groups, call.method == "backward_w");
    let (out_group, taps) = (co / groups, len(&io.x[1]) / co);
    // Nanoseconds on lavapipe (Zen 3, Mesa 22.3.6): 7 per channel and 7 for its load in backward_w, where eight loads of x serve all
    // channels; elsewhere four channels share a load of 5, and one load of x serves all.
    let cost = |width: usize| out_group.div_ceil(width) * if is_w { 56 + 14 * width } else { 7 + 8 * width };
    let width = if cost(8) < cost(4) { 8 } else { 4 };
    let (blocks, quads) = (out_group.div_ceil(width), out_group.div_ceil(4));
    let (row_blocks, tap_blocks) = (ho.div_ceil(ROWS), taps.div_ceil(ROWS));
    // Two vectors of eight lanes, or more if there are fewer than 16 blocks for the processor's threads.
    let most = 16 * 16usize.div_ceil(groups * blocks * tap_blocks);
    let walkers = (ho * wo).div_ceil((ho * wo).div_ceil(most));
    let scratch = match is_w {
        true => ("t0", walkers * (io.x_len(1) + co)),
        false => ("t1", groups * quads * (taps + 1)),
    };
    if io.x.iter().chain([&io.y]).map(len).chain([scratch.1]).any(|texels| texels > MAX_TEXELS) {
        return None;
    }
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "forward_1" => groups * quads * (taps + 1),
            "forward_2" => n * groups * blocks * row_blocks * wo,
            "backward_w_1" => groups * blocks * tap_blocks * walkers,
            "backward_w_2" => io.x_len(1) + co,
            _ => return None,
        };
        u32::try_from(threads).ok()?;
        let more = [
            ("row_blocks", row_blocks.into()),
            ("blocks", blocks.into()),
            ("taps", taps.into()),
            ("tap_blocks", tap_blocks.into()),
            ("quads", quads.into()),
            ("walkers", walkers.into()),
            ("threads", threads.into()),
        ];
        let launch = Launch::threads(threads, op.geometry(io).into_iter().chain(more));
        let launch = launch.with("OC", width).with("SLIDING", usize::from(op.stride[0] == op.dilation[0]));
        let [.., kh, kw] = io.x[1].nchw();
        Some(match entry {
            "forward_2" => launch.loops(&[taps / (kh * kw), kw, kh]),
            // Few threads, each with much work: small groups distribute them evenly.
            "backward_w_1" => launch.with("WG", 16).loops(&[n, (ho * wo).div_ceil(walkers)]),
            _ => launch.loops(&[walkers]),
        })
    })?;
    Some(work.scratch(vec![scratch]).faster(3.0))
}
