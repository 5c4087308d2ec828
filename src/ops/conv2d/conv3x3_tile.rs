//! A 3×3 convolution by tiles in workgroup memory, for hardware adapters.

use super::Conv2d;
use crate::ops::{Call, Caps, Io, Launch, Work};

/// Returns the number of workgroups of backward_w_1 that share the tiles of a block of filters: enough for a large GPU,
/// each with at least eight tiles.
fn tile_walkers(io: &Io) -> usize {
    let ([n, ci, h, w], co) = (io.x[0].nchw(), io.y[1]);
    let blocks = co.div_ceil(32) * ci.div_ceil(8);
    (n * h.div_ceil(4) * w.div_ceil(16)).div_ceil(8).min(1024usize.div_ceil(blocks))
}

fn launch_tile(entry: &str, io: &Io) -> Option<Launch> {
    let ([n, ci, h, w], co) = (io.x[0].nchw(), io.y[1]);
    let rows = if entry.starts_with("backward_w") { 4 } else { 16 };
    let tiles_of_picture = h.div_ceil(rows) * w.div_ceil(16);
    let (tiles, in_blocks, walkers) = (n * tiles_of_picture, ci.div_ceil(8), tile_walkers(io));
    let params = [
        ("c_in", ci.into()),
        ("c_out", co.into()),
        ("height", h.into()),
        ("width", w.into()),
        ("tiles_x", w.div_ceil(16).into()),
        ("tiles_of_picture", tiles_of_picture.into()),
        ("tiles", tiles.into()),
        ("walkers", walkers.into()),
        ("in_blocks", in_blocks.into()),
        ("threads", io.x_len(1).into()),
    ];
    let groups = match entry {
        "forward" => [tiles, co.div_ceil(32), 1],
        "backward_x" => [tiles, ci.div_ceil(32), 1],
        "backward_w_1" => [co.div_ceil(32) * in_blocks, walkers, 1],
        "backward_w_2" => return Some(Launch::threads(io.x_len(1), params)),
        _ => return None,
    };
    let groups = groups.map(|g| u32::try_from(g).unwrap_or(u32::MAX));
    groups.iter().all(|g| *g <= 65_535).then(|| Launch::groups(groups, params))
}

/// `shaders/conv2d/conv3x3_tile.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    if !call.op::<Conv2d>()?.is_same_3x3(io) {
        return None;
    }
    let work = call.work(caps, |entry| launch_tile(entry, io))?;
    // A guess, not measured. Few channels leave most of a tile empty.
    let gain = if io.x[0][1].min(io.y[1]) >= 4 { 8.0 } else { 0.5 };
    Some(work.scratch(vec![("t0", tile_walkers(io) * io.x_len(1))]).faster(gain))
}
