//! The gradients of a 3×3 convolution for w and b by Winograd's F(4×4, 3×3).
//!
//! Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

use super::Conv2d;
use crate::layout::{Layout, MAX_TEXELS};
use crate::ops::{Accuracy, Call, Caps, EPS, Io, Launch, Op, Promise, Tolerance, Values, Work};

/// Positions of a tile of F(4×4, 3×3).
const POSITIONS: usize = 36;

/// How `shaders/conv2d/conv3x3_winograd.wgsl` lays out the gradients for w and b.
struct Winograd {
    quads_in: usize,
    quads_out: usize,
    tiles_x: usize,
    tiles_of_picture: usize,
    tiles: usize,
    chunks: usize,
    in_blocks: usize,
    out_blocks: usize,
}

impl Winograd {
    fn new(io: &Io) -> Self {
        let ([n, ci, h, w], co) = (io.x[0].nchw(), io.y[1]);
        let tiles_of_picture = h.div_ceil(4) * w.div_ceil(4);
        let tiles = n * tiles_of_picture;
        Self {
            quads_in: ci.div_ceil(4),
            quads_out: co.div_ceil(4),
            tiles_x: w.div_ceil(4),
            tiles_of_picture,
            tiles,
            chunks: tiles.div_ceil(8).next_multiple_of(4),
            in_blocks: ci.div_ceil(8),
            out_blocks: co.div_ceil(8),
        }
    }
    /// Returns the texels from one position to the next, chosen so that positions do not share a cache set.
    fn stride(&self, quads: usize) -> usize {
        quads * self.chunks * 8 + 24
    }
    fn biases(&self) -> usize {
        POSITIONS * self.in_blocks * self.out_blocks * 128
    }
    fn scratch(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("t0", POSITIONS * self.stride(self.quads_in)),
            ("t1", POSITIONS * self.stride(self.quads_out)),
            ("t2", self.biases() + 16 * self.out_blocks),
        ]
    }
    fn launch(&self, entry: &str, io: &Io) -> Option<Launch> {
        let ([_, ci, h, w], co) = (io.x[0].nchw(), io.y[1]);
        let layout = Layout::Quads;
        let fits = |texels: usize| texels <= MAX_TEXELS;
        if !self.scratch().iter().all(|s| fits(s.1))
            || !fits(layout.elements(&io.x[0]))
            || !fits(layout.elements(&io.y))
        {
            return None;
        }
        let threads = ci * self.quads_out + self.quads_out;
        let group = |n: usize| u32::try_from(n).ok();
        let groups = match entry {
            "backward_w_1" => [group(self.quads_in.div_ceil(8))?, group(self.chunks)?, 1],
            "backward_w_2" => [group(self.quads_out.div_ceil(8))?, group(self.chunks)?, 1],
            "backward_w_3" => [group((self.in_blocks * self.out_blocks).div_ceil(8))?, POSITIONS as u32, 1],
            "backward_w_4" => [group(threads.div_ceil(64))?, 1, 1],
            _ => return None,
        };
        Some(Launch::groups(
            groups,
            [
                ("c_in", ci.into()),
                ("c_out", co.into()),
                ("height", h.into()),
                ("width", w.into()),
                ("quads_in", self.quads_in.into()),
                ("quads_out", self.quads_out.into()),
                ("tiles_x", self.tiles_x.into()),
                ("tiles", self.tiles.into()),
                ("tiles_of_picture", self.tiles_of_picture.into()),
                ("chunks", self.chunks.into()),
                ("in_blocks", self.in_blocks.into()),
                ("out_blocks", self.out_blocks.into()),
                ("v_stride", self.stride(self.quads_in).into()),
                ("d_stride", self.stride(self.quads_out).into()),
                ("biases", self.biases().into()),
                ("threads", threads.into()),
            ],
        ))
    }
}

/// `shaders/conv2d/conv3x3_winograd.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    if !call.op::<Conv2d>()?.is_same_3x3(io) {
        return None;
    }
    let winograd = Winograd::new(io);
    let work = call.work(caps, |entry| winograd.launch(entry, io))?;
    // Measured on whole layers of 64 and 128 channels; few channels do not fill a block of eight.
    let work = if io.x[0][1].min(io.y[1]) >= 32 { work.faster(10.0) } else { work };
    let promise = Promise { accuracy: Some(Accuracy::TRANSFORMED), tolerance: Some(tolerance) };
    Some(work.scratch(winograd.scratch()).promise(promise))
}

fn tolerance(_op: &dyn Op, output: &str, io: &Io, at: &Values) -> Option<Tolerance> {
    // Every |x| of a channel and |dy| is at most its largest, so Gᵀ, Bᵀ and A in absolute values scale a tile's part by at
    // most (Σ_i |G_iu| Σ_j |B_ji| Σ_k |A_ki|)² = (2·(1/6)·10·4 + 2·(1/6)·6·15 + 1·10·1)² < 53.4². The transforms round 38
    // times, the sum over tiles twice per tile, and the lanes once each.
    let tiles = Winograd::new(io).tiles as f64;
    let ([n, ci, h, w], co) = (io.x[0].nchw(), io.y[1]);
    let most = |values: &[f64], channels: usize, c: usize| {
        let planes = (0..n).flat_map(|n| &values[(n * channels + c) * h * w..][..h * w]);
        planes.fold(0.0, |m: f64, v| m.max(v.abs()))
    };
    let x: Vec<f64> = (0..ci).map(|c| most(&at.x[0], ci, c)).collect();
    let dy: Vec<f64> = (0..co).map(|o| most(at.dy, co, o)).collect();
    let rounds = EPS * (2.0 * tiles + 46.0);
    Some(Tolerance::Each(if output == "dw" {
        (0..io.x_len(1)).map(|k| rounds * tiles * 53.4 * 53.4 * x[k / 9 % ci] * dy[k / 9 / ci]).collect()
    } else {
        dy.iter().map(|dy| rounds * tiles * 16.0 * dy).collect()
    }))
}
