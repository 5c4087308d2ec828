//! A fused convolution by Winograd tiles: F(4×4, 3×3) and F(2×2, 5×5) with six points per side, F(6×6, 3×3) and F(4×4, 5×5) with
//! eight.
//!
//! Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

use super::fusion::Fusion;
use super::{Conv2d, PIXELS_AT_ONCE, fits};
use crate::layout::TEXELS_PER_ROW;
use crate::ops::kernel::ToleranceOf;
use crate::ops::{Accuracy, Call, Caps, EPS, Io, Launch, Op, Promise, Tolerance, Values, Work};
use std::any::Any;

/// Bytes of V and M that a block of tiles may take, so that they stay in the last-level cache beside the weights. On a Zen 3
/// with 32 MB under Mesa 22.3.6, 4 to 6 MB beat 10 MB by an eighth (64 channels) or matched it, unless 128 tiles, which share
/// a copy of the weights, do not fit: then 10 MB was better by a tenth (128 channels).
const BLOCK_BYTES: usize = 5 << 20;
const MAX_BLOCK_BYTES: usize = 10 << 20;

/// How a layer is laid out.
struct Winograd {
    /// Points of the transforms, taps of a filter and outputs of a tile, each per side.
    points: usize,
    taps: usize,
    tile: usize,
    /// Output channels per group; a multiple of 4.
    oc: usize,
    quads_in: usize,
    quads_out: usize,
    groups_out: usize,
    tiles_x: usize,
    tiles_of_picture: usize,
    tiles: usize,
    /// Output pixels of all pictures.
    pixels: usize,
    /// Lanes, one per tile, of a group of the multiplication.
    lanes: usize,
    /// Chunks of eight tiles per block.
    chunks: usize,
    blocks: usize,
    /// Chunks per row of texels.
    v_chunks: usize,
    m_chunks: usize,
}

impl Winograd {
    /// Returns `None` if the filter is neither 3×3 nor 5×5, or the tables do not fit.
    fn new(op: &Conv2d, fusion: Fusion, points: usize, io: &Io) -> Option<Self> {
        let ([n, ci, ..], [_, co, ho, wo]) = (io.x[0].nchw(), io.y.nchw());
        if fusion.factor != 1 || fusion.pooled || !op.is_dense() || op.padding[0] != op.padding[1] {
            return None;
        }
        let taps = match io.x[1][2..] {
            [3, 3] => 3,
            [5, 5] => 5,
            _ => return None,
        };
        let (positions, tile) = (points * points, points + 1 - taps);
        let (quads_in, quads_out) = (ci.div_ceil(4), co.div_ceil(4));
        // At most 2,048 multiply-adds of straight-line code and 16 KiB of workgroup memory.
        let oc = [16, 8, 4].into_iter().find(|oc| 4 * quads_in * oc <= 2048)?.min(4 * quads_out);
        let groups_out = co.div_ceil(oc);
        let (tiles_y, tiles_x) = (ho.div_ceil(tile), wo.div_ceil(tile));
        let tiles = n * tiles_x * tiles_y;
        let m_quads = groups_out * oc / 4;
        let tile_bytes = positions * 16 * (quads_in + m_quads);
        // Large enough for 128 tiles, which share a copy of the weights, within the limits for the cache.
        let block_bytes = (128 * tile_bytes).clamp(BLOCK_BYTES, MAX_BLOCK_BYTES);
        let most = (block_bytes / tile_bytes).min(tiles.next_multiple_of(8));
        let lanes = [256, 128, 64].into_iter().find(|lanes| *lanes <= most).unwrap_or(most.max(8));
        // Blocks of equal size, each of whole groups.
        let most = (block_bytes / tile_bytes / lanes).max(1);
        let groups = tiles.div_ceil(lanes);
        let blocks = groups.div_ceil(most);
        let chunks = groups.div_ceil(blocks) * lanes / 8;
        // A row of texels begins with up to eight texels of shift per position.
        let in_row = |quads: usize| (TEXELS_PER_ROW - 8 * positions) / (8 * quads);
        let (v_chunks, m_chunks) = (in_row(quads_in), in_row(m_quads));
        (v_chunks > 0 && m_chunks > 0).then_some(Self {
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

    fn positions(&self) -> usize {
        self.points * self.points
    }
    fn m_quads(&self) -> usize {
        self.groups_out * self.oc / 4
    }
    /// Returns the first texel of the biases in t2.
    fn biases(&self) -> usize {
        self.positions() * self.groups_out * self.quads_in * self.oc
    }
    fn scratch(&self) -> Vec<(&'static str, usize)> {
        let texels = |in_row: usize| self.positions() * self.chunks.div_ceil(in_row) * TEXELS_PER_ROW;
        vec![("t0", texels(self.v_chunks)), ("t1", texels(self.m_chunks)), ("t2", self.biases() + 2 * self.m_quads())]
    }
    fn launch(&self, op: &Conv2d, fusion: Fusion, entry: &str, io: &Io) -> Option<Launch> {
        let ([_, ci, h, w], [_, co, ho, wo]) = (io.x[0].nchw(), io.y.nchw());
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
                ("pad", op.padding[0].into()),
                ("adjoint", u32::from(fusion.adjoint).into()),
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
                ("slope", fusion.combine.code().1.into()),
                ("threads", threads.into()),
            ]
            .into_iter()
            .chain(fusion.parameters()),
        );
        let launch = launch.with("N", self.points).with("R", self.taps).with("TILE", self.tile);
        let launch = launch.with("KQ", self.quads_in).with("OC", self.oc).with("OQ", self.oc / 4);
        let launch = launch.with("COMBINE", fusion.combine.code().0 as usize);
        Some(launch.with("LANES", self.lanes).with("FILL", fill).with("COPIES", fill.div_ceil(self.lanes)))
    }

    /// Returns the nanoseconds for eight pixels on a thread of a Zen 3 under Mesa 22.3.6.
    fn ns(&self) -> f64 {
        let (q_in, q_m) = (self.quads_in as f64, self.m_quads() as f64);
        let positions = self.positions() as f64;
        let of_tile = (self.tile * self.tile) as f64;
        let computed = self.tiles as f64 * of_tile;
        let stores = positions * 90.0 * (q_in + q_m) + of_tile * 90.0 * self.quads_out as f64;
        let fill = 40.0 * q_in * self.oc as f64 / (self.lanes as f64);
        let product = 4.0 * q_in * self.oc as f64 * 0.36 + 6.0 * q_in + fill;
        // Every block reads the weights of all positions again, 64 bytes per pair of quads at 5 bytes/ns.
        let weights = positions * 64.0 * q_in * q_m * self.blocks as f64 * 0.2 * 8.0 / computed;
        // Tiles reach past the picture's edge.
        ((stores + positions * product * self.groups_out as f64) / of_tile + weights) * computed / self.pixels as f64
    }
}

/// `shaders/conv2d/winograd.wgsl` with six points per side, `winograd8.wgsl` with eight.
pub fn serve(call: &Call, caps: &Caps, points: usize) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let layout = Winograd::new(op, fusion, points, io)?;
    let scratch = layout.scratch();
    let work = call.work(caps, |entry| layout.launch(op, fusion, entry, io).filter(|_| fits(&scratch, io)))?;
    let tolerance: ToleranceOf = match points {
        6 => of_six_points,
        _ => |op, _, io, at| tolerance(op, io, at, 8),
    };
    let promise = Promise { accuracy: Some(Accuracy::TRANSFORMED), tolerance: Some(tolerance) };
    let ns = layout.ns() * layout.pixels as f64 / PIXELS_AT_ONCE;
    Some(work.scratch(scratch).blocks(layout.blocks).modelled(ns, caps).promise(promise))
}

/// Bounds the errors of tiles with six points per side.
pub(super) fn of_six_points(op: &dyn Op, _output: &str, io: &Io, at: &Values) -> Option<Tolerance> {
    tolerance(op, io, at, 6)
}

/// Returns the worst case of Winograd tiles of `points` per side. Every |w| of a filter and |x| of a channel is at most its largest,
/// so Aᵀ, G and Bᵀ in absolute values scale an output by at most (max_k Σ_i |A_ki| Σ_u |G_iu| Σ_j |B_ij|)². Each transform rounds at
/// most as many terms as it has points, twice, for each of w, x and y, and the sum over c rounds 2·Ci times.
fn tolerance(op: &dyn Op, io: &Io, at: &Values, points: usize) -> Option<Tolerance> {
    let op = (op as &dyn Any).downcast_ref::<Conv2d>()?;
    let fusion = op.fusion?;
    let ([_, ci, h, w], [n, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), op.sums(io).nchw(), io.x[1].nchw());
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
                    let filter = if fusion.adjoint { c * co + o } else { o * ci + c };
                    let plane = (n * ci + c) * h * w;
                    most(&at.x[1][filter * kh * kw..][..kh * kw]) * most(&at.x[0][plane..plane + h * w])
                })
                .sum();
            EPS * rounds * (growth * sum + at.x[2][o].abs())
        })
        .collect();
    let plane = ho * wo;
    Some(fusion.bounds((0..io.y_len()).map(|k| bounds[k / plane]).collect(), op, io, at))
}
