//! The gradient of conv2d for w as an implicit matrix product, for GPUs.

use super::Conv2d;
use crate::ops::{Call, Caps, Io, Launch, Work};

/// Threads of a workgroup, each with a block of 8 output channels, or 4 where registers are few, × 8 taps.
const THREADS: usize = 256;

/// Rows of dy that make a walker's work worth its partial sums.
const ROWS_EACH: usize = 8;

/// `shaders/conv2d/gradients.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    tiles(call.op::<Conv2d>()?, &call.io, call, caps)
}

/// `shaders/shared/filter_gradients.wgsl` for the filters of `op` between pictures of the shapes in `io`; the call may be another operation's.
pub fn tiles(op: &Conv2d, io: &Io, call: &Call, caps: &Caps) -> Option<Work> {
    let (n, [co, in_group, kh, kw]) = (io.x[0][0], io.x[1].nchw());
    let [_, _, ho, wo] = io.y.nchw();
    let (out_group, taps, rows) = (co / op.groups, in_group * kh * kw, n * ho);
    let size = |each: usize, lanes: usize| (each * lanes, 8 * THREADS / lanes);
    let copies = |each: usize, lanes: usize| {
        let (out, taps_each) = size(each, lanes);
        [out, taps_each].map(|channels| (2 * channels).div_ceil(THREADS))
    };
    let padded = |each: usize, lanes: usize| {
        let (out, taps_each) = size(each, lanes);
        out_group.next_multiple_of(out) * taps.next_multiple_of(taps_each)
    };
    // Sums, a quad of pixels of each channel and of a tap, and what is copied next, with where it lies.
    let fits = |each: usize, lanes: usize| {
        caps.holds(8 * each + 4 * each + 4 + 12 * copies(each, lanes).iter().sum::<usize>())
    };
    // The lanes along channels that leave least of the blocks empty. Workgroup memory holds eight pixels of up to 320 channels and taps.
    let best = |each: usize| [8, 16, 32].into_iter().filter(|l| fits(each, *l)).min_by_key(|l| padded(each, *l));
    let (each, lanes) = [8, 4].into_iter().find_map(|each| Some((each, best(each)?)))?;
    let (out, taps_each) = size(each, lanes);
    let [dy_copies, x_copies] = copies(each, lanes);
    let (blocks, tap_blocks) = (out_group.div_ceil(out), taps.div_ceil(taps_each));
    let groups = op.groups * blocks * tap_blocks;
    let most = (2 * caps.busy_workgroups).div_ceil(groups).min(rows.div_ceil(ROWS_EACH));
    let rows_each = rows.div_ceil(most);
    let walkers = rows.div_ceil(rows_each);
    let shape = caps.workgroups([groups, walkers, 1])?;
    let work = call.work(caps, |entry| {
        let params = op.geometry(io).into_iter().filter(|(name, _)| !matches!(*name, "batch" | "replicate"));
        let more = [
            ("taps", taps.into()),
            ("tap_blocks", tap_blocks.into()),
            ("blocks", blocks.into()),
            ("rows", rows.into()),
            ("rows_each", rows_each.into()),
            ("walkers", walkers.into()),
            ("threads", io.x_len(1).into()),
        ];
        let launch = match entry {
            "backward_w_1" => Launch::groups(shape, params.chain(more)),
            "backward_w_2" => Launch::threads(io.x_len(1), params.chain(more)),
            _ => return None,
        };
        let constants = [
            ("OUT_LANES", lanes),
            ("OUT_EACH", each),
            ("TAP_LANES", THREADS / lanes),
            ("DY_COPIES", dy_copies),
            ("X_COPIES", x_copies),
            ("REPLICATE", usize::from(op.replicate)),
            ("WHOLE", usize::from(wo.is_multiple_of(8))),
        ];
        Some(launch.with_all(constants))
    })?;
    // A guess, not measured: as in layer.rs, less what is padded.
    let useful = (out_group * taps * wo) as f64 / (padded(each, lanes) * wo.next_multiple_of(8)) as f64;
    Some(work.scratch(vec![("t0", walkers * io.x_len(1))]).faster(18.0 * useful))
}
