//! conv2d on rows as texels, for adapters that load a texel much faster than an element of a buffer: strides, dilations and groups.

use super::Conv2d;
use crate::layout::MAX_TEXELS;
use crate::ops::{Call, Caps, Io, Launch, Work};
use crate::tensor::len;

/// Rows (taps in backward_w) of the block that a thread keeps in registers.
const ROWS: usize = 8;

/// A correlation in `shaders/conv2d/texels.wgsl`, as forward, backward_x or backward_w see it.
struct Texels {
    /// Rows and columns before the picture; negative where it is cut.
    pad: [i64; 2],
    c_in: usize,
    c_out: usize,
    size: [usize; 2],
    out_size: [usize; 2],
    /// Written channels of a block.
    width: usize,
    /// Groups × blocks in a group.
    blocks: usize,
    /// Length of a filter.
    taps: usize,
    /// Quads of written channels in a group.
    quads: usize,
    /// Partial sums of backward_w.
    walkers: usize,
}

impl Conv2d {
    fn texels(&self, method: &str, io: &Io) -> Texels {
        let ([_, ci, h, w], [co, _, kh, kw], [_, _, ho, wo]) = (io.x[0], io.x[1], io.y);
        let is_x = method == "backward_x";
        let (c_in, c_out) = if is_x { (co, ci) } else { (ci, co) };
        let (size, out_size) = if is_x { ([ho, wo], [h, w]) } else { ([h, w], [ho, wo]) };
        let reach = [(kh - 1) * self.dilation[0], (kw - 1) * self.dilation[1]];
        let pad = [0, 1].map(|d| match is_x {
            true => reach[d] as i64 - self.padding[d] as i64,
            false => self.padding[d] as i64,
        });
        let out_group = c_out / self.groups;
        // Nanoseconds on lavapipe (Zen 3, Mesa 22.3.6): 7 a channel and 7 for its load in backward_w, where eight loads
        // of x serve all channels; elsewhere four channels share a load of 5, and one of x serves all.
        let cost = |width: usize| match method {
            "backward_w" => out_group.div_ceil(width) * (56 + 14 * width),
            _ => out_group.div_ceil(width) * (7 + 8 * width),
        };
        let width = if cost(8) < cost(4) { 8 } else { 4 };
        let blocks = self.groups * out_group.div_ceil(width);
        let taps = c_in / self.groups * kh * kw;
        // Two vectors of eight lanes, more where there are fewer than 16 blocks for the processor's threads.
        let most = 16 * 16usize.div_ceil(blocks * taps.div_ceil(ROWS));
        let pixels = out_size[0] * out_size[1];
        let walkers = pixels.div_ceil(pixels.div_ceil(most));
        Texels { pad, c_in, c_out, size, out_size, width, blocks, taps, quads: out_group.div_ceil(4), walkers }
    }

    fn launch_texels(&self, entry: &str, t: &Texels, io: &Io) -> Option<Launch> {
        let ([n, ..], [co, _, kh, kw]) = (io.x[0], io.x[1]);
        let groups = self.groups;
        let row_blocks = t.out_size[0].div_ceil(ROWS);
        let tap_blocks = t.taps.div_ceil(ROWS);
        let threads = match entry {
            "forward_1" => groups * t.quads * (t.taps + 1),
            "backward_x_1" => groups * t.quads * t.taps,
            "forward_2" | "backward_x_2" => n * t.blocks * row_blocks * t.out_size[1],
            "backward_w_1" => t.blocks * tap_blocks * t.walkers,
            "backward_w_2" => io.x_len(1) + co,
            _ => return None,
        };
        u32::try_from(threads).ok()?;
        let launch = Launch::threads(
            threads,
            [
                ("batch", n.into()),
                ("c_in", t.c_in.into()),
                ("c_out", t.c_out.into()),
                ("height", t.size[0].into()),
                ("width", t.size[1].into()),
                ("out_height", t.out_size[0].into()),
                ("out_width", t.out_size[1].into()),
                ("kernel_h", kh.into()),
                ("kernel_w", kw.into()),
                ("stride_h", self.stride[0].into()),
                ("stride_w", self.stride[1].into()),
                ("dilation_h", self.dilation[0].into()),
                ("dilation_w", self.dilation[1].into()),
                ("pad_h", (t.pad[0] as u32).into()),
                ("pad_w", (t.pad[1] as u32).into()),
                ("replicate", u32::from(self.replicate).into()),
                ("in_group", (t.c_in / groups).into()),
                ("out_group", (t.c_out / groups).into()),
                ("row_blocks", row_blocks.into()),
                ("blocks", (t.blocks / groups).into()),
                ("taps", t.taps.into()),
                ("tap_blocks", tap_blocks.into()),
                ("quads", t.quads.into()),
                ("walkers", t.walkers.into()),
                ("threads", threads.into()),
            ],
        );
        let launch = launch.with("OC", t.width).with("SLIDING", usize::from(self.stride[0] == self.dilation[0]));
        // Few threads with much work each: small groups share them out evenly.
        Some(if entry == "backward_w_1" { launch.with("WG", 16) } else { launch })
    }
}

/// `shaders/conv2d/texels.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    if call.method == "backward_x" && (op.replicate || op.stride != [1, 1]) {
        return None;
    }
    let t = op.texels(call.method, io);
    let scratch = match call.method {
        "backward_w" => ("t0", t.walkers * (io.x_len(1) + io.y[1])),
        _ => ("t1", op.groups * t.quads * (t.taps + 1)),
    };
    if io.x.iter().chain([&io.y]).map(len).chain([scratch.1]).any(|texels| texels > MAX_TEXELS) {
        return None;
    }
    let work = call.work(caps, |entry| op.launch_texels(entry, &t, io))?;
    Some(work.scratch(vec![scratch]).faster(3.0))
}
