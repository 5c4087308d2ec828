//! conv_act: convolution with stride 1 and zero padding, a slope a channel for negative results, and what follows it.
//!
//! `y[n,o,i,j] = h(f_o(b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n,c,i+u−p₀,j+v−p₁]), z[n,o,i,j])`, `f_o(s) = s` where s > 0, else `a[o]·s`;
//! `h(s, z)` is s, s + z, s·z or (s where z > 0, else a slope times s), as [`Combine`] says. With a `factor` r above 1, `f_o`
//! lies at channel o / r², row i·r + (o % r²) / r, column j·r + o % r of y and z, as after pixel_shuffle.
//!
//! with padding p; outside of the picture x is 0, or with `replicate` its nearest pixel. With `adjoint` the filter is `w[c,o,Kh−1−u,Kw−1−v]`, as in the gradient
//! of a convolution for its input.
//!
//! | name | shape                                       | meaning                                   |
//! |------|---------------------------------------------|-------------------------------------------|
//! | x    | `[N,Ci,H,W]`                                | input                                     |
//! | w    | `[Co,Ci,Kh,Kw]`, adjoint `[Ci,Co,Kh,Kw]`    | filters                                   |
//! | b    | `[1,Co,1,1]`                                | bias                                      |
//! | a    | `[1,Co,1,1]`                                | slopes: 0 is ReLU, 1 no activation        |
//! | z    | as y                                        | what the result is combined with; without [`Combine`] any value, which is not read |
//! | y    | `[N,Co/r²,(H+2p₀−Kh+1)·r,(W+2p₁−Kw+1)·r]`   | output                                    |
//!
//! Gradients: none. The planner puts this operation in the place of a convolution and what follows it (src/plan/fuse.rs), whose
//! gradients stay their own.
//! Errors: w, b, a or z disagrees with x; the filter is larger than the padded picture.
//! Numerics: f32. `conv_act/winograd` multiplies transformed filters and pictures, whose rounding errors are larger than
//! those of a direct sum: `winograd_tolerance` has the bound; measured, about 1e-6 of the output's RMS a layer.
//! Source: fused layers as in cuDNN; Winograd: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

use super::kernel::ToleranceOf;
use super::{Accuracy, Call, Caps, Case, Cost, Family, Io, Kernel, Launch, Op, Promise, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS, TEXELS_A_ROW};
use crate::tensor::{Shape, len};

/// The attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvAct {
    /// Zero rows and columns on both sides.
    pub padding: [usize; 2],
    /// The added rows and columns repeat the nearest one of the picture instead of being 0.
    pub replicate: bool,
    /// Filters lie `[Ci,Co,Kh,Kw]` and are turned by 180°.
    pub adjoint: bool,
    /// What becomes of the result and `z`.
    pub combine: Combine,
    /// r: r² channels become a block of r × r pixels; 1 leaves them.
    pub factor: usize,
}

/// What becomes of a convolution's result s and a value z at the same place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Combine {
    /// s; z is not read.
    Nothing,
    /// s + z: a residual connection.
    Add,
    /// s · z: a gate.
    Multiply,
    /// s where z > 0, else this slope times s: the gradient of an activation with the result z.
    Mask(f32),
}

impl Combine {
    /// `COMBINE` and `slope` in the shaders.
    fn code(self) -> (u32, f32) {
        match self {
            Self::Nothing => (0, 0.0),
            Self::Add => (1, 0.0),
            Self::Multiply => (2, 0.0),
            Self::Mask(slope) => (3, slope),
        }
    }
    fn of(self, s: f64, z: f64) -> f64 {
        match self {
            Self::Nothing => s,
            Self::Add => s + z,
            Self::Multiply => s * z,
            Self::Mask(slope) => {
                if z <= 0.0 {
                    f64::from(slope) * s
                } else {
                    s
                }
            }
        }
    }
}

/// Bytes of V and M that a block of tiles may take: what stays in the last-level cache beside the weights. On a Zen 3 with
/// 32 MB in Mesa 22.3.6, 4 to 6 MB beat 10 MB by an eighth (64 channels) or were equal, unless 128 tiles, which share a
/// copy of the weights, do not fit: then 10 MB were better by a tenth (128 channels).
const BLOCK_BYTES: usize = 5 << 20;
const MAX_BLOCK_BYTES: usize = 10 << 20;

/// How `shaders/conv_act/winograd.wgsl` and `winograd8.wgsl` lay out a layer.
struct Winograd {
    /// Points of the transforms, taps of a filter and outputs of a tile, a side.
    points: usize,
    taps: usize,
    tile: usize,
    /// Channels out of a group; a multiple of 4.
    oc: usize,
    quads_in: usize,
    quads_out: usize,
    groups_out: usize,
    tiles_x: usize,
    tiles_of_picture: usize,
    tiles: usize,
    /// Pixels out, of all pictures.
    pixels: usize,
    /// Lanes of a group of the multiplication: tiles.
    lanes: usize,
    /// Chunks of eight tiles in a block.
    chunks: usize,
    blocks: usize,
    /// Chunks in a row of texels.
    v_chunks: usize,
    m_chunks: usize,
}

impl ConvAct {
    /// A convolution with nothing behind it.
    pub fn new(padding: [usize; 2], replicate: bool, adjoint: bool) -> Self {
        Self { padding, replicate, adjoint, combine: Combine::Nothing, factor: 1 }
    }

    /// The shape of the convolution, before pixels are shuffled.
    fn sums(&self, io: &Io) -> Shape {
        let ([n, c, h, w], r) = (io.y, self.factor);
        [n, c * r * r, h / r, w / r]
    }

    /// `None` where the filter is neither 3×3 nor 5×5, or the tables do not fit.
    fn winograd(&self, points: usize, io: &Io) -> Option<Winograd> {
        let ([n, ci, ..], [_, co, ho, wo]) = (io.x[0], io.y);
        if self.factor != 1 || self.padding[0] != self.padding[1] {
            return None;
        }
        let taps = match io.x[1][2..] {
            [3, 3] => 3,
            [5, 5] => 5,
            _ => return None,
        };
        let (positions, tile) = (points * points, points + 1 - taps);
        let (quads_in, quads_out) = (ci.div_ceil(4), co.div_ceil(4));
        // 2,048 multiply-adds of straight-line code and 16 KiB of workgroup memory at most.
        let oc = [16, 8, 4].into_iter().find(|oc| 4 * quads_in * oc <= 2048)?.min(4 * quads_out);
        let groups_out = co.div_ceil(oc);
        let (tiles_y, tiles_x) = (ho.div_ceil(tile), wo.div_ceil(tile));
        let tiles = n * tiles_x * tiles_y;
        let m_quads = groups_out * oc / 4;
        let tile_bytes = positions * 16 * (quads_in + m_quads);
        // A whole number of copies fills the weights.
        let block_bytes = (128 * tile_bytes).clamp(BLOCK_BYTES, MAX_BLOCK_BYTES);
        let most = (block_bytes / tile_bytes).min(tiles.next_multiple_of(8));
        let lanes = [256, 128, 64].into_iter().find(|lanes| *lanes <= most).unwrap_or(most.max(8));
        // Blocks of equal size, each of whole groups.
        let most = (block_bytes / tile_bytes / lanes).max(1);
        let groups = tiles.div_ceil(lanes);
        let blocks = groups.div_ceil(most);
        let chunks = groups.div_ceil(blocks) * lanes / 8;
        // A row of texels begins with up to eight texels of shift a position.
        let in_row = |quads: usize| (TEXELS_A_ROW - 8 * positions) / (8 * quads);
        let (v_chunks, m_chunks) = (in_row(quads_in), in_row(m_quads));
        (v_chunks > 0 && m_chunks > 0).then_some(Winograd {
            points,
            taps,
            tile,
            oc,
            quads_in,
            quads_out,
            groups_out,
            tiles_x,
            tiles_of_picture: tiles_x * tiles_y,
            tiles,
            pixels: n * ho * wo,
            lanes,
            chunks,
            blocks,
            v_chunks,
            m_chunks,
        })
    }
}

impl Winograd {
    fn positions(&self) -> usize {
        self.points * self.points
    }
    fn m_quads(&self) -> usize {
        self.groups_out * self.oc / 4
    }
    /// First texel of the biases in t2.
    fn biases(&self) -> usize {
        self.positions() * self.groups_out * self.quads_in * self.oc
    }
    fn scratch(&self) -> Vec<(&'static str, usize)> {
        let texels = |in_row: usize| self.positions() * self.chunks.div_ceil(in_row) * TEXELS_A_ROW;
        vec![("t0", texels(self.v_chunks)), ("t1", texels(self.m_chunks)), ("t2", self.biases() + 2 * self.m_quads())]
    }
    fn launch(&self, op: &ConvAct, entry: &str, io: &Io) -> Option<Launch> {
        let ([_, ci, h, w], [_, co, ho, wo]) = (io.x[0], io.y);
        let groups32 =
            |x: usize, y: usize, z: usize| Some([x.try_into().ok()?, y.try_into().ok()?, z.try_into().ok()?]);
        let threads = 4 * self.quads_in * self.m_quads() + 2 * self.m_quads();
        let groups = match entry {
            "forward_1" => [threads.div_ceil(64).try_into().ok()?, 1, 1],
            "forward_2" => groups32(self.quads_in.div_ceil(8), self.chunks, 1)?,
            "forward_3" => groups32(self.groups_out, self.positions(), 8 * self.chunks / self.lanes)?,
            "forward_4" => groups32(self.quads_out.div_ceil(8), self.chunks, 1)?,
            _ => return None,
        };
        let fill = self.quads_in * self.oc;
        let launch = Launch::groups(
            groups,
            [
                ("c_in", ci.into()),
                ("c_out", co.into()),
                ("height", h.into()),
                ("width", w.into()),
                ("out_height", ho.into()),
                ("out_width", wo.into()),
                ("pad", self.pad(op).into()),
                ("adjoint", u32::from(op.adjoint).into()),
                ("replicate", u32::from(op.replicate).into()),
                ("tiles_x", self.tiles_x.into()),
                ("tiles", self.tiles.into()),
                ("tiles_of_picture", self.tiles_of_picture.into()),
                ("block", 0u32.into()),
                ("chunks", self.chunks.into()),
                ("quads_in", self.quads_in.into()),
                ("quads_out", self.quads_out.into()),
                ("m_quads", self.m_quads().into()),
                ("v_chunks", self.v_chunks.into()),
                ("m_chunks", self.m_chunks.into()),
                ("groups_out", self.groups_out.into()),
                ("biases", self.biases().into()),
                ("slope", op.combine.code().1.into()),
                ("threads", threads.into()),
            ],
        );
        let launch = launch.with("N", self.points).with("R", self.taps).with("T", self.tile);
        let launch = launch.with("KQ", self.quads_in).with("OC", self.oc).with("OQ", self.oc / 4);
        let launch = launch.with("COMBINE", op.combine.code().0 as usize);
        Some(launch.with("LANES", self.lanes).with("FILL", fill).with("COPIES", fill.div_ceil(self.lanes)))
    }
    fn pad(&self, op: &ConvAct) -> usize {
        op.padding[0]
    }
}

/// How `shaders/conv_act/straight.wgsl` lays out a layer.
struct Straight {
    taps: usize,
    quads_in: usize,
    /// Real channels of a quad.
    channels: usize,
    /// Quads out of a group.
    oq: usize,
    groups_out: usize,
    quads_out: usize,
    is_dot: bool,
    /// Texels of weights of a group.
    fill: usize,
    pixels: usize,
    lanes: usize,
}

impl ConvAct {
    /// `None` where a pixel of four channels takes more multiply-adds than fit.
    fn straight(&self, io: &Io) -> Option<Straight> {
        let ([_, ci, ..], [n, co, ho, wo], [_, _, kh, kw]) = (io.x[0], self.sums(io), io.x[1]);
        let square = self.factor * self.factor;
        let quads_out = if co == square { co.div_ceil(4) } else { square * (co / square).div_ceil(4) };
        let (quads_in, taps) = (ci.div_ceil(4), kh * kw);
        let channels = ci.min(4);
        let is_dot = co == 1 && ci >= 4;
        let texels = taps * quads_in * if is_dot { 1 } else { channels };
        // Multiply-adds of a pixel and a quad, and texels of weights: 2,048 and 1,024 (16 KiB) at most.
        let most = if is_dot { (texels <= 512).then_some(1)? } else { (512 / texels).min(quads_out) };
        if most == 0 {
            return None;
        }
        let groups_out = quads_out.div_ceil(most);
        let oq = quads_out.div_ceil(groups_out);
        let pixels = n * ho * wo;
        let lanes = if pixels >= 1024 { 256 } else { (pixels.div_ceil(2)).next_multiple_of(8).min(256) };
        Some(Straight { taps, quads_in, channels, oq, groups_out, quads_out, is_dot, fill: texels * oq, pixels, lanes })
    }
}

impl Straight {
    fn scratch(&self) -> Vec<(&'static str, usize)> {
        vec![("t2", self.groups_out * (self.fill + 2 * self.oq))]
    }
    fn launch(&self, op: &ConvAct, entry: &str, io: &Io) -> Option<Launch> {
        let ([_, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0], op.sums(io), io.x[1]);
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
                ("pad_h", op.padding[0].into()),
                ("pad_w", op.padding[1].into()),
                ("adjoint", u32::from(op.adjoint).into()),
                ("replicate", u32::from(op.replicate).into()),
                ("quads_out", self.quads_out.into()),
                ("y_quads", io.y[1].div_ceil(4).into()),
                ("pixels", self.pixels.into()),
                ("groups_out", self.groups_out.into()),
                ("biases", biases.into()),
                ("slope", op.combine.code().1.into()),
                ("threads", threads.into()),
            ],
        );
        let launch = launch.with("KH", kh).with("KW", kw).with("KQ", self.quads_in).with("KC", self.channels);
        let launch = launch
            .with("OQ", self.oq)
            .with("DOT", usize::from(self.is_dot))
            .with("SPREAD", usize::from(!self.is_dot))
            .with("COMBINE", op.combine.code().0 as usize)
            .with("FACTOR", op.factor)
            .with("LONE", usize::from(op.factor > 1 && io.y[1] == 1))
            .with("LANES", self.lanes);
        Some(launch.with("FILL", self.fill).with("COPIES", self.fill.div_ceil(self.lanes)))
    }
    /// Nanoseconds for eight pixels on a thread of a Zen 3 under Mesa 22.3.6.
    fn ns(&self) -> f64 {
        let loads = (self.taps * self.quads_in * self.groups_out) as f64;
        let products = if self.is_dot { 4.0 } else { 4.0 * (self.channels * self.oq) as f64 };
        loads * (6.0 + 0.25 * products) + 75.0 * self.quads_out as f64 + 100.0
    }
}

impl Winograd {
    /// Nanoseconds for eight pixels on a thread of a Zen 3 under Mesa 22.3.6.
    fn ns(&self) -> f64 {
        let (q_in, q_m) = (self.quads_in as f64, self.m_quads() as f64);
        let positions = self.positions() as f64;
        let of_tile = (self.tile * self.tile) as f64;
        let computed = self.tiles as f64 * of_tile;
        let stores = positions * 90.0 * (q_in + q_m) + of_tile * 90.0 * self.quads_out as f64;
        let fill = 40.0 * q_in * self.oc as f64 / (self.lanes as f64);
        let product = 4.0 * q_in * self.oc as f64 * 0.36 + 6.0 * q_in + fill;
        // Every block reads the weights of all positions again, 64 bytes a pair of quads at 5 bytes/ns.
        let weights = positions * 64.0 * q_in * q_m * self.blocks as f64 * 0.2 * 8.0 / computed;
        // Tiles reach past the picture's edge.
        ((stores + positions * product * self.groups_out as f64) / of_tile + weights) * computed / self.pixels as f64
    }
}

impl Op for ConvAct {
    fn name(&self) -> &'static str {
        "conv_act"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b", "a", "z"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("conv_act/plain"), plain),
            Kernel::new(
                wgsl!("conv_act/winograd" + "winograd_layer" + "winograd6" + "combine" + "texels"),
                |call, caps| winograd(call, caps, 6),
            )
            .only(Family::Software),
            Kernel::new(
                wgsl!("conv_act/winograd8" + "winograd_layer" + "winograd8" + "combine" + "texels"),
                |call, caps| winograd(call, caps, 8),
            )
            .only(Family::Software),
            Kernel::new(wgsl!("conv_act/straight" + "straight" + "combine" + "texels"), straight).only(Family::Software),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, ci, h, w] = x[0];
        let [first, second, kh, kw] = x[1];
        let (co, wanted) = if self.adjoint { (second, first) } else { (first, second) };
        if wanted != ci {
            return Err(ShapeError::shape("w", format!("{ci} channels in, as x"), x[1]));
        }
        for (name, shape) in [("b", x[2]), ("a", x[3])] {
            if shape != [1, co, 1, 1] {
                return Err(ShapeError::shape(name, format!("[1, Co={co}, 1, 1]"), shape));
            }
        }
        if let Some(padding) = self.padding.iter().find(|p| **p > 65_535) {
            return Err(ShapeError::value("padding", "0 to 65535", padding));
        }
        let size =
            |size: usize, padding: usize, taps: usize| (size + 2 * padding + 1).checked_sub(taps).filter(|s| *s > 0);
        match (size(h, self.padding[0], kh), size(w, self.padding[1], kw)) {
            (Some(ho), Some(wo)) => {
                let y = super::pixel_shuffle::PixelShuffle { factor: self.factor }.shape(&[[n, co, ho, wo]])?;
                if self.combine != Combine::Nothing && x[4] != y {
                    return Err(ShapeError::shape("z", format!("y's shape {y:?}"), x[4]));
                }
                Ok(y)
            }
            _ => Err(ShapeError::shape("w", "a filter no larger than the padded x".to_owned(), x[1])),
        }
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        let products = io.y_len() * len(&io.x[1]) / self.sums(io)[1];
        let unread = if self.combine == Combine::Nothing { io.x_len(4) } else { 0 };
        Cost::new(2 * products, io.total_len() - unread)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0], self.sums(io), io.x[1]);
        let r = self.factor;
        for n in 0..n {
            for o in 0..co {
                for i in 0..ho {
                    for j in 0..wo {
                        let mut sum = x[2][o];
                        for c in 0..ci {
                            for u in 0..kh {
                                for v in 0..kw {
                                    let (r, s) = (i + u, j + v);
                                    let (top, left) = (self.padding[0], self.padding[1]);
                                    let is_outside = r < top || r >= top + h || s < left || s >= left + w;
                                    if is_outside && !self.replicate {
                                        continue;
                                    }
                                    let row = r.saturating_sub(top).min(h - 1);
                                    let column = s.saturating_sub(left).min(w - 1);
                                    let filter = if self.adjoint {
                                        ((c * co + o) * kh + kh - 1 - u) * kw + kw - 1 - v
                                    } else {
                                        ((o * ci + c) * kh + u) * kw + v
                                    };
                                    sum += x[1][filter] * x[0][((n * ci + c) * h + row) * w + column];
                                }
                            }
                        }
                        let row = ((n * co + o) / (r * r) * ho + i) * r + o % (r * r) / r;
                        let at = (row * wo + j) * r + o % r;
                        let value = if sum > 0.0 { sum } else { x[3][o] * sum };
                        // Without Combine z may be smaller than y.
                        y[at] = self.combine.of(value, x[4].get(at).copied().unwrap_or(0.0));
                    }
                }
            }
        }
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const WHY: &str = "the planner makes this operation; gradients are those of the convolution and the activation";
        &[("x", WHY), ("w", WHY), ("b", WHY), ("a", WHY), ("z", WHY)]
    }
    fn tolerance(&self, _output: &str, io: &Io, at: &Values) -> Tolerance {
        self.combined(self.sum_bounds(io, at), at)
    }
}

/// `shaders/conv_act/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ConvAct>()?, &call.io);
    let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0], op.sums(io), io.x[1]);
    let threads = io.y_len();
    let params = [
            ("batch", n.into()),
            ("c_in", ci.into()),
            ("c_out", co.into()),
            ("height", h.into()),
            ("width", w.into()),
            ("out_height", ho.into()),
            ("out_width", wo.into()),
            ("kernel_h", kh.into()),
            ("kernel_w", kw.into()),
            ("pad_h", op.padding[0].into()),
            ("pad_w", op.padding[1].into()),
            ("adjoint", u32::from(op.adjoint).into()),
            ("replicate", u32::from(op.replicate).into()),
            ("combine", op.combine.code().0.into()),
            ("slope", op.combine.code().1.into()),
            ("factor", op.factor.into()),
            ("threads", threads.into()),
    ];
    call.work(caps, |_| Some(Launch::threads(threads, params)))
}

/// `shaders/conv_act/winograd.wgsl` with six points a side, `winograd8.wgsl` with eight.
fn winograd(call: &Call, caps: &Caps, points: usize) -> Option<Work> {
    let (op, io) = (call.op::<ConvAct>()?, &call.io);
    let layout = op.winograd(points, io)?;
    let scratch = layout.scratch();
    let work = call.work(caps, |entry| layout.launch(op, entry, io).filter(|_| fits(&scratch, io)))?;
    let tolerance: ToleranceOf = match points {
        6 => |op, _, io, at| winograd_tolerance(op, io, at, 6),
        _ => |op, _, io, at| winograd_tolerance(op, io, at, 8),
    };
    let promise = Promise { accuracy: Some(Accuracy::TRANSFORMED), tolerance: Some(tolerance) };
    let ns = layout.ns() * layout.pixels as f64 / PIXELS_AT_ONCE;
    Some(work.scratch(scratch).blocks(layout.blocks).modelled(ns, caps).promise(promise))
}

/// `shaders/conv_act/straight.wgsl`.
fn straight(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ConvAct>()?, &call.io);
    let layout = op.straight(io)?;
    let scratch = layout.scratch();
    let work = call.work(caps, |entry| layout.launch(op, entry, io).filter(|_| fits(&scratch, io)))?;
    let ns = layout.ns() * layout.pixels as f64 / PIXELS_AT_ONCE;
    Some(work.scratch(scratch).modelled(ns, caps))
}

/// Eight lanes on each of two threads.
const PIXELS_AT_ONCE: f64 = 16.0;

/// All textures are of sizes that can be had.
fn fits(scratch: &[(&str, usize)], io: &Io) -> bool {
    let tensors = [&io.x[0], &io.y].map(|s| Layout::Quads.elements(s));
    scratch.iter().map(|s| s.1).chain(tensors).all(|texels| texels <= MAX_TEXELS)
}

impl ConvAct {
    /// The largest error of each element, where `bounds` has it before z.
    fn combined(&self, mut bounds: Vec<f64>, at: &Values) -> Tolerance {
        for (k, bound) in bounds.iter_mut().enumerate() {
            let z = at.x[4].get(k).map_or(0.0, |z| z.abs());
            // The error so far as the combination passes it on, and a rounding of its result.
            match self.combine {
                Combine::Nothing => {}
                Combine::Add => *bound += super::EPS * (*bound + at.y[k].abs()),
                Combine::Multiply => *bound = *bound * z * (1.0 + super::EPS) + super::EPS * at.y[k].abs(),
                Combine::Mask(slope) => {
                    *bound = *bound * f64::from(slope.abs()).max(1.0) * (1.0 + super::EPS) + super::EPS * at.y[k].abs();
                }
            }
        }
        Tolerance::Each(bounds)
    }

    /// The largest error of each element before z, of direct sums.
    fn sum_bounds(&self, io: &Io, at: &Values) -> Vec<f64> {
        let ([_, ci, ..], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0], self.sums(io), io.x[1]);
        // A product and an addition each, the bias and the slope, on the terms' absolute values.
        let absolute = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
        let ones = vec![1.0; co];
        let x = [absolute(&at.x[0]), absolute(&at.x[1]), absolute(&at.x[2]), ones, Vec::new()];
        let mut terms = vec![0.0; io.y_len()];
        Self { combine: Combine::Nothing, ..self.clone() }.reference(io, &x, &mut terms);
        let r = self.factor;
        let k = (ci * kh * kw + 3) as f64;
        // The channel of the convolution that an element of y comes from.
        let o = |index: usize| {
            let (map, row, column) = (index / (ho * wo * r * r), index / (wo * r), index % (wo * r));
            map * r * r % co + row % r * r + column % r
        };
        terms.iter().enumerate().map(|(i, t)| k * super::EPS * t * slope_bound(at, o(i))).collect()
    }
}

/// |f_o(s + e) − f_o(s)| ≤ this · |e|, and a rounded product by a.
fn slope_bound(at: &Values, o: usize) -> f64 {
    at.x[3][o].abs().max(1.0)
}

/// The worst case of Winograd's tiles of `points` a side. Every |w| of a filter and |x| of a channel at most its largest: Aᵀ, G and
/// Bᵀ in absolute values then scale an output by at most (max_k Σ_i |A_ki| Σ_u |G_iu| Σ_j |B_ij|)². Each transform rounds at most
/// as many terms as it has points, twice, for each of w, x and y, and the sum over c rounds 2·Ci times.
fn winograd_tolerance(op: &dyn Op, io: &Io, at: &Values, points: usize) -> Option<Tolerance> {
    let op = (op as &dyn std::any::Any).downcast_ref::<ConvAct>()?;
    let ([_, ci, h, w], [n, co, ho, wo], [_, _, kh, kw]) = (io.x[0], op.sums(io), io.x[1]);
    let growth: f64 = match (points, kh) {
        (6, 3) => 48.0,
        (6, _) => 57.7,
        (_, 3) => 67.7,
        _ => 86.8,
    };
    let (rounds, growth) = (2.0 * ci as f64 + 6.0 * points as f64 + 2.0, growth * growth);
    let most = |values: &[f64]| values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let bounds: Vec<f64> = (0..n * co)
        .map(|map| {
            let (n, o) = (map / co, map % co);
            let sum: f64 = (0..ci)
                .map(|c| {
                    let filter = if op.adjoint { c * co + o } else { o * ci + c };
                    let plane = (n * ci + c) * h * w;
                    most(&at.x[1][filter * kh * kw..][..kh * kw]) * most(&at.x[0][plane..plane + h * w])
                })
                .sum();
            slope_bound(at, o) * super::EPS * rounds * (growth * sum + at.x[2][o].abs())
        })
        .collect();
    let plane = ho * wo;
    Some(op.combined((0..io.y_len()).map(|k| bounds[k / plane]).collect(), at))
}

pub fn cases() -> Vec<Case> {
    let bordered = |replicate: bool, padding: usize, adjoint: bool, x: Shape, co: usize, k: usize| {
        let w = if adjoint { [x[1], co, k, k] } else { [co, x[1], k, k] };
        let op = ConvAct::new([padding; 2], replicate, adjoint);
        Case::new(op, &[x, w, [1, co, 1, 1], [1, co, 1, 1], [1, 1, 1, 1]])
    };
    let combined = |combine: Combine, adjoint: bool, x: Shape, co: usize, k: usize| {
        let w = if adjoint { [x[1], co, k, k] } else { [co, x[1], k, k] };
        let op = ConvAct { combine, ..ConvAct::new([k / 2; 2], false, adjoint) };
        Case::new(op, &[x, w, [1, co, 1, 1], [1, co, 1, 1], [x[0], co, x[2], x[3]]])
    };
    let shuffled = |combine: Combine, factor: usize, x: Shape, c: usize| {
        let (r, co) = (factor, c * factor * factor);
        let op = ConvAct { combine, factor, ..ConvAct::new([1; 2], true, false) };
        Case::new(op, &[x, [co, x[1], 3, 3], [1, co, 1, 1], [1, co, 1, 1], [x[0], c, x[2] * r, x[3] * r]])
    };
    let case = |padding, adjoint, x, co, k| bordered(false, padding, adjoint, x, co, k);
    vec![
        case(0, false, [1, 1, 1, 1], 1, 1),
        case(1, false, [2, 3, 5, 7], 4, 3),
        case(1, true, [2, 5, 9, 6], 3, 3),
        // No padding, and more than the filter needs.
        case(0, false, [1, 4, 6, 11], 5, 3),
        case(2, true, [1, 2, 3, 8], 17, 3),
        // One tile more than a group's lanes, and two groups of channels.
        case(1, false, [1, 8, 5, 257], 20, 3),
        // Taps as in srcnn, and one channel to many.
        case(2, false, [1, 4, 10, 9], 3, 5),
        case(1, true, [2, 6, 7, 12], 9, 5),
        case(4, false, [2, 1, 6, 13], 9, 9),
        case(0, true, [1, 9, 4, 5], 6, 1),
        // Borders repeated, wider than the picture is high.
        bordered(true, 1, false, [2, 5, 6, 9], 7, 3),
        bordered(true, 2, false, [1, 4, 1, 11], 9, 5),
        bordered(true, 4, false, [1, 1, 3, 6], 6, 9),
        // One channel out of many.
        case(1, false, [2, 10, 7, 5], 1, 3),
        // What may follow, with 8 points, 6 points and every tap written out.
        combined(Combine::Add, false, [2, 5, 13, 7], 6, 3),
        combined(Combine::Multiply, false, [1, 3, 5, 9], 9, 5),
        combined(Combine::Mask(0.0), true, [2, 4, 6, 5], 5, 3),
        combined(Combine::Mask(0.25), true, [1, 6, 5, 5], 3, 1),
        combined(Combine::Add, false, [2, 9, 4, 7], 1, 3),
        shuffled(Combine::Nothing, 3, [2, 5, 4, 7], 1),
        shuffled(Combine::Add, 2, [2, 3, 5, 6], 1),
        shuffled(Combine::Multiply, 2, [1, 6, 3, 5], 6),
        shuffled(Combine::Nothing, 3, [1, 2, 4, 3], 3),
        // Layers of cbn, small.
        case(1, false, [1, 64, 16, 12], 64, 3).real(),
        case(1, false, [1, 128, 8, 8], 128, 3).real(),
    ]
}
