//! conv3x3: 3×3 convolution, stride 1, zero padding 1; the picture keeps its size.
//!
//! `y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n,c,i+u−1,j+v−1], where x is 0 outside of the picture`
//!
//! | name | shape         | meaning |
//! |------|---------------|---------|
//! | x    | `[N,Ci,H,W]`  | input   |
//! | w    | `[Co,Ci,3,3]` | filters |
//! | b    | `[1,Co,1,1]`  | bias    |
//! | y    | `[N,Co,H,W]`  | output  |
//!
//! Gradients: for x, w and b. Backward reads x, w and dy.
//! Errors: w or b disagrees with x in Ci or Co; w is not 3×3.
//! Numerics: f32 sums in an order that does not depend on the picture's size or the place in it, so tiles equal the
//! whole picture bit for bit. The gradients for w and b are sums of partial sums in a fixed order. Winograd's tiles
//! (`conv3x3_winograd`, and `conv_act_winograd` where the planner fuses) round by their place in the picture; same device, same bits.
//! Source: definition as in torch.nn.functional.conv2d (cross-correlation: the filter is not flipped).

use super::conv2d::{self, Conv2d};
use super::{Accuracy, Case, Cost, Io, Launch, Op, Source, Tolerance, Values, shaders};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv3x3;

/// Rows and channels of the block that a thread keeps in registers.
const ROWS: usize = 8;
const CHANNELS: usize = 4;

/// Partial sums of the gradients for w and b.
fn walkers(method: &str, io: &Io) -> usize {
    let ([n, ci, h, w], co) = (io.x[0], io.y[1]);
    match method {
        "backward_w" => conv2d::walkers(n * w, 3 * co.div_ceil(CHANNELS) * ci.div_ceil(CHANNELS)),
        _ => conv2d::walkers(h * w, co),
    }
}

/// Positions of a tile of F(4×4, 3×3).
const POSITIONS: usize = 36;

/// How `conv3x3_winograd` lays out the gradients for w and b.
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
        let ([n, ci, h, w], co) = (io.x[0], io.y[1]);
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
    /// Texels from one position to the next, so that positions do not share a cache's set.
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
        let ([_, ci, h, w], co) = (io.x[0], io.y[1]);
        let layout = crate::layout::Layout::Quads;
        let fits = |texels: usize| texels <= crate::layout::MAX_TEXELS;
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

/// Threads of `conv3x3_tile`'s backward_w_1 that share the tiles of a block of filters: enough groups for a large GPU, of
/// eight tiles each at least.
fn tile_walkers(io: &Io) -> usize {
    let ([n, ci, h, w], co) = (io.x[0], io.y[1]);
    let blocks = co.div_ceil(32) * ci.div_ceil(8);
    (n * h.div_ceil(4) * w.div_ceil(16)).div_ceil(8).min(1024usize.div_ceil(blocks))
}

fn launch_tile(entry: &str, io: &Io) -> Option<Launch> {
    let ([n, ci, h, w], co) = (io.x[0], io.y[1]);
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

impl Op for Conv3x3 {
    fn name(&self) -> &'static str {
        "conv3x3"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b"]
    }
    fn shaders(&self) -> &'static [Source] {
        shaders![
            "conv3x3",
            "conv3x3_tile",
            "conv3x3_winograd" + "texels" + "bound" + "winograd6",
            "conv2d_quads" + "correlate" + "texels" + "bound",
            "conv2d_texels" + "bound"
        ]
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, ci, h, w] = x[0];
        let co = x[1][0];
        if x[1][1..] != [ci, 3, 3] {
            return Err(ShapeError::shape("w", format!("[Co, Ci={ci}, 3, 3]"), x[1]));
        }
        if x[2] != [1, co, 1, 1] {
            return Err(ShapeError::shape("b", format!("[1, Co={co}, 1, 1]"), x[2]));
        }
        Ok([n, co, h, w])
    }
    fn launch(&self, stem: &str, entry: &str, io: &Io) -> Option<Launch> {
        if stem == "conv2d_texels" {
            return Conv2d::same(3).launch_texels(entry, io);
        }
        if stem == "conv3x3_tile" {
            return launch_tile(entry, io);
        }
        if stem == "conv2d_quads" {
            return Conv2d::same(3).launch_quads(entry, io);
        }
        if stem == "conv3x3_winograd" {
            return Winograd::new(io).launch(entry, io);
        }
        let ([n, ci, h, w], co) = (io.x[0], io.y[1]);
        let (row_blocks, in_blocks, out_blocks) = (h.div_ceil(ROWS), ci.div_ceil(CHANNELS), co.div_ceil(CHANNELS));
        let walkers = walkers(crate::ops::method_of(entry), io);
        let threads = match entry {
            "forward" => n * out_blocks * row_blocks * w,
            "backward_x" => n * in_blocks * row_blocks * w,
            "backward_w_1" => out_blocks * in_blocks * 3 * walkers,
            "backward_w_2" => io.x_len(1),
            "backward_b_1" => co * walkers,
            "backward_b_2" => co,
            _ => return None,
        };
        Some(Launch::threads(
            threads,
            [
                ("batch", n.into()),
                ("c_in", ci.into()),
                ("c_out", co.into()),
                ("height", h.into()),
                ("width", w.into()),
                ("row_blocks", row_blocks.into()),
                ("in_blocks", in_blocks.into()),
                ("out_blocks", out_blocks.into()),
                ("walkers", walkers.into()),
                ("threads", threads.into()),
            ],
        ))
    }
    fn scratch(&self, stem: &str, method: &str, io: &Io) -> Vec<(&'static str, usize)> {
        if stem == "conv2d_texels" {
            return Conv2d::same(3).scratch_texels(method, io);
        }
        if stem == "conv3x3_tile" {
            return if method == "backward_w" { vec![("t0", tile_walkers(io) * io.x_len(1))] } else { Vec::new() };
        }
        if stem == "conv2d_quads" {
            return Conv2d::same(3).scratch_quads(io);
        }
        if stem == "conv3x3_winograd" {
            return Winograd::new(io).scratch();
        }
        match method {
            "backward_w" => vec![("t0", walkers(method, io) * io.x_len(1))],
            "backward_b" => vec![("t0", walkers(method, io) * io.y[1])],
            _ => Vec::new(),
        }
    }
    fn fusible(&self) -> Option<super::Fusible> {
        Some(super::Fusible::Convolution { padding: [1, 1], replicate: false })
    }
    fn speed(&self, stem: &str, io: &Io) -> f64 {
        match stem {
            // Measured on whole layers of 64 and 128 channels; few channels fill no block of eight.
            "conv3x3_winograd" if io.x[0][1].min(io.y[1]) >= 32 => 10.0,
            "conv2d_quads" => 6.0,
            // On hardware, where alone it serves: a guess. Few channels leave most of a tile empty.
            "conv3x3_tile" => {
                if io.x[0][1].min(io.y[1]) >= 4 {
                    8.0
                } else {
                    0.5
                }
            }
            "conv2d_texels" => 3.0,
            _ => 1.0,
        }
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        conv2d::cost(method, io)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let plane = io.y[2] * io.y[3];
        for (k, y) in y.iter_mut().enumerate() {
            *y = x[2][k / plane % io.y[1]];
        }
        each_product(io, |yi, xi, wi| y[yi] += x[1][wi] * x[0][xi]);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let plane = io.y[2] * io.y[3];
        for (k, dy) in dy.iter().enumerate() {
            dx[2][k / plane % io.y[1]] += dy;
        }
        each_product(io, |yi, xi, wi| {
            dx[0][xi] += x[1][wi] * dy[yi];
            dx[1][wi] += x[0][xi] * dy[yi];
        });
    }
    fn tolerance_of(&self, stem: &str, output: &str, io: &Io, at: &Values) -> Tolerance {
        if stem != "conv3x3_winograd" {
            return self.tolerance(output, io, at);
        }
        // Every |x| of a channel and |dy| at most its largest: Gᵀ, Bᵀ and A in absolute values scale a tile's part by at
        // most (Σ_i |G_iu| Σ_j |B_ji| Σ_k |A_ki|)² = (2·(1/6)·10·4 + 2·(1/6)·6·15 + 1·10·1)² < 53.4²; the transforms round 38
        // times, the sum over tiles twice a tile, and lanes once each.
        let tiles = Winograd::new(io).tiles as f64;
        let ([n, ci, h, w], co) = (io.x[0], io.y[1]);
        let most = |values: &[f64], channels: usize, c: usize| {
            let planes = (0..n).flat_map(|n| &values[(n * channels + c) * h * w..][..h * w]);
            planes.fold(0.0, |m: f64, v| m.max(v.abs()))
        };
        let x: Vec<f64> = (0..ci).map(|c| most(&at.x[0], ci, c)).collect();
        let dy: Vec<f64> = (0..co).map(|o| most(at.dy, co, o)).collect();
        let rounds = super::EPS * (2.0 * tiles + 46.0);
        Tolerance::Each(if output == "dw" {
            (0..io.x_len(1)).map(|k| rounds * tiles * 53.4 * 53.4 * x[k / 9 % ci] * dy[k / 9 / ci]).collect()
        } else {
            dy.iter().map(|dy| rounds * tiles * 16.0 * dy).collect()
        })
    }
    fn accuracy(&self, stem: &str, _output: &str) -> Accuracy {
        if stem == "conv3x3_winograd" { Accuracy::TRANSFORMED } else { Accuracy::DIRECT }
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let pixels = io.y[0] * io.y[2] * io.y[3];
        Tolerance::Terms(match output {
            // A product and an addition each, and the bias.
            "y" => 9 * io.x[0][1] + 2,
            "dx" => 9 * io.y[1] + 1,
            // At most one addition a pixel and one a walker, of whom there are no more than pixels.
            _ => 2 * pixels + 1,
        })
    }
}

/// Calls `f` with the indices in y, x and w of every product w · x that the formula adds to y.
fn each_product(io: &Io, mut f: impl FnMut(usize, usize, usize)) {
    let ([n, ci, h, w], co) = (io.x[0], io.y[1]);
    for n in 0..n {
        for o in 0..co {
            for i in 0..h {
                for j in 0..w {
                    for c in 0..ci {
                        for u in 0..3 {
                            for v in 0..3 {
                                let (r, s) = (i + u, j + v);
                                if r < 1 || r > h || s < 1 || s > w {
                                    continue;
                                }
                                f(
                                    ((n * co + o) * h + i) * w + j,
                                    ((n * ci + c) * h + r - 1) * w + s - 1,
                                    ((o * ci + c) * 3 + u) * 3 + v,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

pub fn cases() -> Vec<Case> {
    let case = |x: Shape, co: usize| Case::new(Conv3x3, &[x, [co, x[1], 3, 3], [1, co, 1, 1]]);
    vec![
        case([1, 1, 1, 1], 1),
        case([2, 3, 5, 7], 4),
        // One more than a workgroup's lanes, and more rows than a thread's block.
        case([1, 2, 2, 65], 1),
        case([1, 1, 17, 4], 6),
        // Channels just past the blocks of both sides.
        case([3, 5, 9, 2], 9),
        // More than one iteration over tiles, channels past a block of eight on both sides.
        case([3, 9, 13, 18], 17),
        // A mapping layer of FSRCNN(56,12,4) in training.
        case([16, 12, 16, 16], 12).real(),
    ]
}
