//! A fused convolution with every tap written out, for small filters.

use super::fusion::Fusion;
use super::{Conv2d, PIXELS_AT_ONCE, fits};
use crate::ops::{Call, Caps, Io, Launch, Work};

/// How a layer is laid out.
struct Straight {
    taps: usize,
    quads_in: usize,
    /// Real channels per quad.
    channels: usize,
    /// Output quads per group.
    oq: usize,
    groups_out: usize,
    quads_out: usize,
    is_dot: bool,
    /// Texels of weights per group.
    fill: usize,
    pixels: usize,
    lanes: usize,
}

impl Straight {
    /// Returns `None` if a pixel of four channels takes more multiply-adds than fit.
    fn new(op: &Conv2d, fusion: Fusion, io: &Io) -> Option<Self> {
        let ([_, ci, ..], [n, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), op.sums(io).nchw(), io.x[1].nchw());
        let square = fusion.factor * fusion.factor;
        let quads_out = if co == square { co.div_ceil(4) } else { square * (co / square).div_ceil(4) };
        let (quads_in, taps) = (ci.div_ceil(4), kh * kw);
        let channels = ci.min(4);
        let is_dot = co == 1 && ci >= 4;
        let texels = taps * quads_in * if is_dot { 1 } else { channels };
        // At most 2,048 multiply-adds per pixel and group, and 1,024 texels of weights (16 KiB).
        let most = if is_dot { (texels <= 512).then_some(1)? } else { (512 / texels).min(quads_out) };
        if most == 0 {
            return None;
        }
        let groups_out = quads_out.div_ceil(most);
        let oq = quads_out.div_ceil(groups_out);
        let pixels = n * ho * wo;
        let lanes = if pixels >= 1024 { 256 } else { (pixels.div_ceil(2)).next_multiple_of(8).min(256) };
        Some(Self { taps, quads_in, channels, oq, groups_out, quads_out, is_dot, fill: texels * oq, pixels, lanes })
    }

    fn scratch(&self) -> Vec<(&'static str, usize)> {
        vec![("t2", self.groups_out * (self.fill + 2 * self.oq))]
    }
    fn launch(&self, op: &Conv2d, fusion: Fusion, entry: &str, io: &Io) -> Option<Launch> {
        let ([_, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), op.sums(io).nchw(), io.x[1].nchw());
        let biases = self.groups_out * self.fill;
        let threads = biases + 2 * self.groups_out * self.oq;
        let groups: [u32; 3] = match entry {
            "forward_1" => [threads.div_ceil(64).try_into().ok()?, 1, 1],
            "forward_2" => [self.groups_out.try_into().ok()?, self.pixels.div_ceil(self.lanes).try_into().ok()?, 1],
            _ => return None,
        };
        let launch = Launch::groups(
            groups,
            [
                ("c_in", ci.into()),
                ("c_out", co.into()),
                ("height", h.into()),
                ("width", w.into()),
                ("out_height", ho.into()),
                ("out_width", wo.into()),
                ("stride_h", op.stride[0].into()),
                ("stride_w", op.stride[1].into()),
                ("pad_h", op.padding[0].into()),
                ("pad_w", op.padding[1].into()),
                ("adjoint", u32::from(fusion.adjoint).into()),
                ("replicate", u32::from(op.replicate).into()),
                ("quads_out", self.quads_out.into()),
                ("y_quads", io.y[1].div_ceil(4).into()),
                ("pixels", self.pixels.into()),
                ("groups_out", self.groups_out.into()),
                ("biases", biases.into()),
                ("slope", fusion.combine.code().1.into()),
                ("threads", threads.into()),
            ],
        );
        let launch = launch.with("KH", kh).with("KW", kw).with("KQ", self.quads_in).with("KC", self.channels);
        let launch = launch
            .with("OQ", self.oq)
            .with("DOT", usize::from(self.is_dot))
            .with("SPREAD", usize::from(!self.is_dot))
            .with("COMBINE", fusion.combine.code().0 as usize)
            .with("FACTOR", fusion.factor)
            .with("LONE", usize::from(fusion.factor > 1 && io.y[1] == 1))
            .with("LANES", self.lanes);
        Some(launch.with("FILL", self.fill).with("COPIES", self.fill.div_ceil(self.lanes)))
    }
    /// Returns the nanoseconds for eight pixels on a thread of a Zen 3 under Mesa 22.3.6.
    fn ns(&self) -> f64 {
        let loads = (self.taps * self.quads_in * self.groups_out) as f64;
        let products = if self.is_dot { 4.0 } else { 4.0 * (self.channels * self.oq) as f64 };
        loads * (6.0 + 0.25 * products) + 75.0 * self.quads_out as f64 + 100.0
    }
}

/// `shaders/conv2d/straight.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let layout = Straight::new(op, fusion, io)?;
    let scratch = layout.scratch();
    let work = call.work(caps, |entry| layout.launch(op, fusion, entry, io).filter(|_| fits(&scratch, io)))?;
    let ns = layout.ns() * layout.pixels as f64 / PIXELS_AT_ONCE;
    Some(work.scratch(scratch).modelled(ns, caps))
}
