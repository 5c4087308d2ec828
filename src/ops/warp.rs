//! warp: samples x bilinearly at a dense field of positions.
//!
//! `y[n,c,i,j] = Σ_{r,s} x[n,c,r,s] · max(0, 1 − |v − r|) · max(0, 1 − |u − s|), u = f[n,0,i,j], v = f[n,1,i,j]`
//!
//! | name | shape         | meaning                                                                       |
//! |------|---------------|-------------------------------------------------------------------------------|
//! | x    | `[N,C,H,W]`   | picture                                                                       |
//! | f    | `[N,2,Ho,Wo]` | absolute positions in pixels: channel 0 the column (x), channel 1 the row (y) |
//! | y    | `[N,C,Ho,Wo]` | samples                                                                       |
//!
//! Positions: pixel centres lie at integers; the first pixel's is (0, 0), the last one's (W − 1, H − 1). The field holds
//! positions, not displacements.
//!
//! Border: [`Border::Zero`]: pixels outside the picture are 0. [`Border::Clamp`]: positions are first clamped to the
//! picture, so that the border's pixels extend without end.
//!
//! Any f32 is a valid position. Positions of magnitude 2²⁴ or more, infinities included, lie beyond the edge on the side of
//! their sign; a NaN lies before the first pixel. They give 0 with Zero, and a pixel of the edge with Clamp.
//!
//! Gradients: for x and f. The one for f is the right-hand derivative where the position is an integer, and 0 where Clamp
//! moved the position. The one for x is a scatter: each element is summed in fixed point with its own scale, which a
//! first pass finds, so that small gradients next to large ones lose nothing and no sum overflows. A non-finite dy makes
//! the elements of dx that it reaches non-finite.
//! Errors: f is not `[N,2,Ho,Wo]`; H or W is above 2²⁴, where f32 cannot represent every pixel; Ho·Wo is above 2²⁸, where
//! a sum in fixed point could overflow; the scratch, N·(C + 1)·H·W elements, has more than 2³² − 1.
//! Numerics: y and df: f32 sums of 4 and 4·C terms. dx: an element with k terms, none larger than m, has a rounding error
//! of at most k²·m·2⁻²⁹ from the fixed point, besides those of the terms; for the k = 4 of a smooth field this is m·2⁻²⁵.
//! The same bits in every run.
//! Source: Jaderberg et al. 2015 (Spatial Transformer Networks) eq. 5 to 7; as torch.nn.functional.grid_sample with
//! align_corners=True, which uses units of −1 to 1.
//! Differs from grid_sample: the derivative at the clamped border's own pixel centres (0 on both sides in grid_sample) is
//! the right-hand one, as everywhere else.

use super::{Call, Caps, Case, Cost, EPS, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{Shape, len};

/// Maximum pixels per side; above it, f32 has no odd numbers.
const SIDE_LIMIT: usize = 1 << 24;

/// Maximum samples per picture; each gives an element of dx at most four terms, and a sum in fixed point holds 2³⁰ terms.
const SAMPLES_LIMIT: usize = 1 << 28;

/// Channels per thread.
const BLOCK: usize = 8;

/// What lies outside the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Border {
    /// Zeros.
    #[default]
    Zero,
    /// The nearest pixel of the picture.
    Clamp,
}

/// The operation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Warp {
    pub border: Border,
}

/// Returns the lower of the two pixels between which a coordinate lies, the higher one's weight, and the derivative of the
/// clamped coordinate with respect to the field's value.
fn locate(coordinate: f64, size: usize, border: Border) -> (i64, f64, f64) {
    let finite = if coordinate.is_nan() { -2.0 } else { coordinate.clamp(-2.0, size as f64 + 1.0) };
    let last = (size - 1) as f64;
    let (v, slope) = match border {
        Border::Zero => (finite, 1.0),
        Border::Clamp if finite < 0.0 => (0.0, 0.0),
        Border::Clamp if finite > last => (last, 0.0),
        Border::Clamp => (finite, 1.0),
    };
    (v.floor() as i64, v - v.floor(), slope)
}

/// The four taps of a sample.
struct Taps {
    /// Offset in a plane of x; `None` outside a picture with a border of zeros.
    offset: [Option<usize>; 4],
    weight: [f64; 4],
    /// Derivatives of the weight with respect to the field's two channels.
    by_column: [f64; 4],
    by_row: [f64; 4],
}

impl Warp {
    fn taps(&self, shape: Shape, column: f64, row: f64) -> Taps {
        let [_, _, h, w] = shape.nchw();
        let (s, a, column_slope) = locate(column, w, self.border);
        let (r, b, row_slope) = locate(row, h, self.border);
        let offset = [(r, s), (r, s + 1), (r + 1, s), (r + 1, s + 1)].map(|(r, s)| {
            let (height, width) = (h as i64, w as i64);
            match self.border {
                Border::Zero if r < 0 || s < 0 || r >= height || s >= width => None,
                _ => Some((r.clamp(0, height - 1) * width + s.clamp(0, width - 1)) as usize),
            }
        });
        Taps {
            offset,
            weight: [(1.0 - b) * (1.0 - a), (1.0 - b) * a, b * (1.0 - a), b * a],
            by_column: [b - 1.0, 1.0 - b, -b, b].map(|d| d * column_slope),
            by_row: [a - 1.0, -a, 1.0 - a, a].map(|d| d * row_slope),
        }
    }

    /// Calls `each(offset of x, offset of y, offset of f's column, tap)` for every tap of every output.
    fn for_each_tap(&self, io: &Io, f: &[f64], mut each: impl FnMut(usize, usize, usize, Tap)) {
        let [n, c, h, w] = io.x[0].nchw();
        let plane = io.y[2] * io.y[3];
        for image in 0..n {
            for q in 0..plane {
                let column = image * 2 * plane + q;
                let taps = self.taps(io.x[0], f[column], f[column + plane]);
                for k in 0..4 {
                    let Some(offset) = taps.offset[k] else { continue };
                    let tap = Tap { weight: taps.weight[k], by_column: taps.by_column[k], by_row: taps.by_row[k] };
                    for channel in image * c..(image + 1) * c {
                        each(channel * h * w + offset, channel * plane + q, column, tap);
                    }
                }
            }
        }
    }
}

/// The weight of one tap and its derivatives with respect to the field's two channels.
#[derive(Clone, Copy)]
struct Tap {
    weight: f64,
    by_column: f64,
    by_row: f64,
}

impl Op for Warp {
    fn name(&self) -> &'static str {
        "warp"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "f"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("warp/plain" + "bilinear"), plain),
            Kernel::new(wgsl!("warp/fours" + "bilinear"), by_fours).only(Family::Hardware),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, c, h, w] = x[0].nchw();
        let [fn_, two, height, width] = x[1].nchw();
        if h > SIDE_LIMIT || w > SIDE_LIMIT {
            return Err(ShapeError::shape("x", "at most 16777216 pixels high and wide", x[0]));
        }
        if [n, c + 1, h, w].iter().try_fold(1u32, |k, &d| k.checked_mul(u32::try_from(d).ok()?)).is_none() {
            return Err(ShapeError::shape("x", "of at most 2^32 - 1 elements with one more channel", x[0]));
        }
        if [fn_, two] != [n, 2] {
            return Err(ShapeError::shape("f", format!("[N={n}, 2, Ho, Wo]"), x[1]));
        }
        if height.checked_mul(width).is_none_or(|samples| samples > SAMPLES_LIMIT) {
            return Err(ShapeError::shape("f", format!("of at most {SAMPLES_LIMIT} positions per picture"), x[1]));
        }
        Ok([n, c, height, width].into())
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        // An output is four products and their sum; so is each of its two derivatives, plus the differences before them.
        let (flops, floats) = match method {
            "backward_f" => (16 * io.y_len(), io.total_len() + io.x_len(1)),
            "backward_x" => (8 * io.y_len(), io.total_len()),
            _ => (7 * io.y_len(), io.total_len()),
        };
        Cost::new(flops, floats)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.for_each_tap(io, &x[1], |from, to, _, tap| y[to] += tap.weight * x[0][from]);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let plane = io.y[2] * io.y[3];
        let [dimage, dfield] = dx else { return };
        self.for_each_tap(io, &x[1], |from, to, column, tap| {
            dimage[from] += tap.weight * dy[to];
            dfield[column] += tap.by_column * x[0][from] * dy[to];
            dfield[column + plane] += tap.by_row * x[0][from] * dy[to];
        });
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        // Taking the absolute value of f would move the samples, so the sums of absolute terms are computed here. The higher
        // tap's weight on an axis is exact or, from −1/2 to 0 with Zero, where only that tap counts, rounded once; the lower
        // one's is rounded once. A weight over two axes thus has 3 roundings, and its product with a value 1 more.
        let plane = io.y[2] * io.y[3];
        let f = &at.x[1];
        match output {
            "y" => {
                let mut sum = vec![0.0; io.y_len()];
                self.for_each_tap(io, f, |from, to, _, tap| sum[to] += (tap.weight * at.x[0][from]).abs());
                // 4 roundings per term and 3 sums.
                Tolerance::Each(sum.iter().map(|s| 7.0 * EPS * s).collect())
            }
            "df" => {
                let mut sum = vec![0.0; io.x_len(1)];
                self.for_each_tap(io, f, |from, to, column, tap| {
                    sum[column] += (tap.by_column * at.x[0][from] * at.dy[to]).abs();
                    sum[column + plane] += (tap.by_row * at.x[0][from] * at.dy[to]).abs();
                });
                // One rounding per term of the weight, the difference, its product, the pair's sum and the product with
                // dy; then C sums.
                let roundings = (5 + io.x[0][1]) as f64;
                Tolerance::Each(sum.iter().map(|s| roundings * EPS * s).collect())
            }
            _ => {
                let mut terms = vec![(0.0f64, 0.0f64, 0.0f64); io.x_len(0)];
                self.for_each_tap(io, f, |from, to, _, tap| {
                    if tap.weight > 0.0 {
                        let term = (tap.weight * at.dy[to]).abs();
                        let (count, largest, sum) = &mut terms[from];
                        *count += 1.0;
                        *largest = largest.max(term);
                        *sum += term;
                    }
                });
                // Fixed point: k terms, rounded to half a quantum each; the quantum is 2^(ceil(log2 k) + E − 30) with
                // m < 2^E, thus at most 2k · 2m · 2⁻³⁰: together k²·m·2⁻²⁹. The terms themselves have 4 roundings, m is
                // rounded too, and the sum's conversion to f32 has one.
                let quantum = 2f64.powi(-29) * (1.0 + 8.0 * EPS);
                Tolerance::Each(
                    terms.iter().map(|(k, largest, sum)| k * k * largest * quantum + 5.0 * EPS * sum).collect(),
                )
            }
        }
    }
}

/// `shaders/warp/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Warp>()?, &call.io);
    let [n, c, h, w] = io.x[0].nchw();
    let scratch =
        if call.method == "backward_x" { vec![("t0", n * c * h * w), ("t1", n * (c + 1) * h * w)] } else { Vec::new() };
    let work = call.work(caps, |entry| {
        let ([n, c, h, w], [.., height, width]) = (io.x[0].nchw(), io.y.nchw());
        let samples = n * height * width;
        let blocks = c.div_ceil(BLOCK);
        let scratch_len = n * (c + 1) * h * w;
        let threads = match entry {
            "backward_f" => samples,
            "backward_x_1" => scratch_len,
            "backward_x_4" => io.x_len(0),
            _ => samples * blocks,
        };
        let params = [
            ("channels", c.into()),
            ("height", h.into()),
            ("width", w.into()),
            ("out_height", height.into()),
            ("out_width", width.into()),
            ("samples", samples.into()),
            ("blocks", blocks.into()),
            ("image_len", io.x_len(0).into()),
            ("scratch_len", scratch_len.into()),
            ("clamped", u32::from(op.border == Border::Clamp).into()),
        ];
        Some(Launch::threads(threads, params))
    })?;
    Some(work.scratch(scratch))
}

/// `shaders/warp/fours.wgsl`.
fn by_fours(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Warp>()?, &call.io);
    let ([n, c, height, width], [.., out_height, out_width]) = (io.x[0].nchw(), io.y.nchw());
    let fours = fours::units(out_height * out_width, 4)?;
    let work = call.work(caps, |entry| {
        let blocks = if entry == "forward" { c.div_ceil(BLOCK) } else { 1 };
        let params =
            [("channels", c.into()), ("height", height.into()), ("width", width.into()), ("fours", fours.into())];
        let groups = caps.workgroups([fours.div_ceil(64), blocks, n])?;
        Some(Launch::groups(groups, params).with("CLAMPED", usize::from(op.border == Border::Clamp)))
    })?;
    Some(work.faster(fours::gain(4)))
}

/// Returns positions from 2 pixels before the picture to 2 after it, with fractional parts in `[0.1, 0.9]`, where there is no kink.
fn positions(rng: &mut Rng, shapes: &[Shape], input: usize) -> Vec<f64> {
    let [n, _, height, width] = shapes[input].nchw();
    let plane = height * width;
    (0..n * 2 * plane)
        .map(|e| {
            let size = if e / plane % 2 == 0 { shapes[0][3] } else { shapes[0][2] };
            rng.below(size + 3) as f64 - 2.0 + rng.uniform(0.1, 0.9)
        })
        .collect()
}

/// Returns the identity, moved by less than half a pixel.
fn jitter(rng: &mut Rng, shapes: &[Shape], input: usize) -> Vec<f64> {
    let [_, _, height, width] = shapes[input].nchw();
    let plane = height * width;
    (0..len(&shapes[input]))
        .map(|e| {
            let base = if e / plane % 2 == 0 { e % width } else { e / width % height };
            base as f64 + rng.uniform(0.1, 0.4)
        })
        .collect()
}

pub fn cases() -> Vec<Case> {
    let case = |border, x: [usize; 4], out: [usize; 2], fill| {
        Case::new(Warp { border }, &[x, [x[0], 2, out[0], out[1]]]).fill(1, Fill::With(fill))
    };
    vec![
        case(Border::Zero, [1, 1, 1, 1], [1, 1], jitter),
        case(Border::Zero, [2, 3, 5, 7], [4, 9], positions),
        case(Border::Clamp, [2, 3, 5, 7], [6, 3], positions),
        case(Border::Clamp, [1, 1, 1, 1], [2, 3], positions),
        // Just past a workgroup, and more channels than a block.
        case(Border::Zero, [1, 9, 4, 3], [1, 65], positions),
        // Many samples per pixel.
        case(Border::Clamp, [1, 1, 3, 2], [19, 27], positions),
        // By fours, more channels than a block, and two workgroups.
        case(Border::Zero, [2, 9, 5, 7], [6, 10], positions),
        case(Border::Clamp, [2, 3, 5, 7], [2, 130], positions),
        case(Border::Zero, [1, 64, 64, 64], [64, 64], jitter).real(),
    ]
}
