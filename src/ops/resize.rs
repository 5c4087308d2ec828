//! resize: enlarges or shrinks pictures as MATLAB's imresize does.
//!
//! `y[n,c,i,j]` = Σ_{r,s} `a[i,r]` · `b[j,s]` · `x[n,c,r,s]`, with the weights a of rows and b of columns from [`taps`].
//!
//! | name | shape         | meaning                                                       |
//! |------|---------------|---------------------------------------------------------------|
//! | x    | `[N,C,H,W]`   | input                                                         |
//! | y    | `[N,C,Ho,Wo]` | output; Ho = ⌈H·scale⌉ unless [`Resize::size`] says otherwise |
//!
//! Gradient: for x, the exact adjoint, gathered (the border included); backward reads only dy.
//! Errors: a scale of zero, an output without elements, fractions too large for 32-bit positions.
//! Numerics: positions are exact integers; a `bicubic` weight has a relative error of at most 30·2⁻²³. `nearest` is exact.
//! Cost: 2·(taps of a row) + 2·(taps of a column) FLOP per element of the two passes; 4 taps when `bicubic` enlarges.
//! Source: imresize of MATLAB's Image Processing Toolbox; the cubic is Keys 1981, a = −1/2.
//!
//! Differs from MATLAB: the scale is a fraction, so that ⌈H·scale⌉ and the nearest neighbour halfway between two
//! pixels (the later one) do not depend on rounding; `nearest` is never antialiased.

use super::{Call, Caps, Case, Cost, EPS, Io, Launch, Op, Scalar, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::Shape;
use std::ops::Range;

/// The function that weights an input pixel by its distance from the output pixel's centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// The pixel whose area contains the centre; on a border between two, the later one.
    Nearest,
    /// 1 − |d| for |d| < 1.
    Bilinear,
    /// Keys 1981 with a = −1/2: piecewise cubic for |d| < 2.
    Bicubic,
}

impl Kernel {
    /// Returns the length of the interval on which the kernel is not zero, in input pixels.
    pub fn width(self) -> f64 {
        match self {
            Self::Nearest => 1.0,
            Self::Bilinear => 2.0,
            Self::Bicubic => 4.0,
        }
    }
    /// Returns the kernel's value at distance `d` in input pixels.
    pub fn at(self, d: f64) -> f64 {
        let a = d.abs();
        match self {
            Self::Nearest => f64::from((-0.5..0.5).contains(&d)),
            Self::Bilinear => (1.0 - a).max(0.0),
            Self::Bicubic if a <= 1.0 => 1.5 * a * a * a - 2.5 * a * a + 1.0,
            Self::Bicubic if a <= 2.0 => -0.5 * a * a * a + 2.5 * a * a - 4.0 * a + 2.0,
            Self::Bicubic => 0.0,
        }
    }
}

/// What lies beyond the borders of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// The picture's mirror image, with the border pixel doubled: MATLAB's imresize today.
    Mirror,
    /// The border pixel, repeated: MATLAB's imresize at the time of the super-resolution papers. The low-resolution test
    /// pictures of SelfExSR (2015) equal ours with this border in every sample, and with no other.
    Clamp,
}

/// For every output along one axis, the inputs that contribute to it and their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    /// Inputs per output; some weights may be 0.
    pub count: usize,
    /// Input indices, `count` for each output in turn; near the borders an index may occur several times.
    pub indices: Vec<u32>,
    /// Weights in the same order; those of one output sum to 1.
    pub weights: Vec<f64>,
}

impl Taps {
    /// Returns the pairs (input, weight) of output `o`.
    pub fn of(&self, o: usize) -> impl Iterator<Item = (usize, f64)> + Clone + '_ {
        let range = o * self.count..(o + 1) * self.count;
        self.indices[range.clone()].iter().map(|&i| i as usize).zip(self.weights[range].iter().copied())
    }
    /// Returns the number of outputs.
    pub fn out_len(&self) -> usize {
        self.indices.len() / self.count
    }
    /// Returns how many outputs read the most used input: the length of the adjoint's sums.
    fn largest_use(&self, in_len: usize) -> usize {
        let mut uses = vec![0usize; in_len];
        self.indices.iter().zip(&self.weights).filter(|(_, w)| **w != 0.0).for_each(|(&i, _)| uses[i as usize] += 1);
        uses.into_iter().max().unwrap_or(0)
    }
}

/// Returns the weights of MATLAB's `imresize` along one axis of `in_len` pixels.
///
/// Output o (from 1) has its centre at u = o / scale + (1 − 1/scale) / 2. Inputs within the kernel's width of u get the
/// kernel's value there, normalised to sum 1; those beyond the borders are replaced as `border` says. With `antialias`
/// and a scale below 1, the kernel is stretched by 1/scale. The scale of axis `axis` (0 for rows, 1 for columns) of `op` is
/// used even if `out_len` is not in_len · scale, since MATLAB uses the scale that it was called with.
///
/// `in_len` must not be zero and the scale must be a fraction above 0, as [`Op::shape`] checks.
///
/// Source: `contributions` in imresize.m. Differs from it: for [`Kernel::Nearest`] a centre within 10⁻⁷ pixels of a
/// border between two pixels counts as on it, where MATLAB leaves the choice to the rounding of u.
pub fn taps(op: &Resize, axis: usize, in_len: usize, out_len: usize) -> Taps {
    taps_range(op, axis, in_len, 0..out_len)
}

/// Returns [`taps`] for the outputs in `range` only; the numbers are the same.
pub fn taps_range(op: &Resize, axis: usize, in_len: usize, range: Range<usize>) -> Taps {
    let (kernel, scale) = (op.kernel, op.scale[axis].as_f64());
    let stretch = if op.antialias && scale < 1.0 && kernel != Kernel::Nearest { scale } else { 1.0 };
    let width = kernel.width() / stretch;
    let count = if kernel == Kernel::Nearest { 1 } else { width.ceil() as usize + 2 };
    let mut indices = Vec::with_capacity(range.len() * count);
    let mut weights: Vec<f64> = Vec::with_capacity(range.len() * count);
    let len = in_len as i64;
    for o in range {
        let u = (o + 1) as f64 / scale + 0.5 * (1.0 - 1.0 / scale);
        let left = if kernel == Kernel::Nearest { (u + 0.5 + 1e-7).floor() } else { (u - width / 2.0).floor() };
        let first = weights.len();
        for t in 0..count {
            let at = left + t as f64;
            weights.push(if kernel == Kernel::Nearest { 1.0 } else { stretch * kernel.at(stretch * (u - at)) });
            let s = at as i64 - 1;
            let m = s.rem_euclid(2 * len);
            let index = match op.border {
                Border::Clamp => s.clamp(0, len - 1),
                Border::Mirror if m < len => m,
                Border::Mirror => 2 * len - 1 - m,
            };
            indices.push(index as u32);
        }
        let sum: f64 = weights[first..].iter().sum();
        weights[first..].iter_mut().for_each(|w| *w /= sum);
    }
    drop_unused(Taps { count, indices, weights })
}

/// Drops the columns of the table that are zero for every output, as MATLAB does. Sums keep their bits, since such
/// columns add nothing.
fn drop_unused(taps: Taps) -> Taps {
    let used: Vec<bool> =
        (0..taps.count).map(|t| taps.weights.iter().skip(t).step_by(taps.count).any(|&w| w != 0.0)).collect();
    let keep = |i: usize| used[i % taps.count];
    Taps {
        count: used.iter().filter(|&&u| u).count().max(1),
        indices: taps.indices.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, &v)| v).collect(),
        weights: taps.weights.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, &v)| v).collect(),
    }
}

/// A scale as a fraction: 3 is `Ratio { num: 3, den: 1 }`, a third is `Ratio { num: 1, den: 3 }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    pub num: u32,
    pub den: u32,
}

impl Ratio {
    /// Returns the nearest f64, which [`taps`] uses.
    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }
    /// Returns ⌈len · num / den⌉, MATLAB's output size.
    pub fn size_of(self, len: usize) -> usize {
        (len as u128 * u128::from(self.num)).div_ceil(u128::from(self.den.max(1))) as usize
    }
}

/// The operation's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resize {
    pub kernel: Kernel,
    /// Stretches the kernel if the scale is below 1, so that all input pixels count; MATLAB's default. Has no effect on
    /// [`Kernel::Nearest`].
    pub antialias: bool,
    pub border: Border,
    /// Scales of rows and of columns.
    pub scale: [Ratio; 2],
    /// Height and width of the output; ⌈size · scale⌉ if `None`.
    pub size: Option<[usize; 2]>,
}

impl Resize {
    /// Scales both sides by `num / den`, with antialiasing and a mirrored border.
    pub fn by(kernel: Kernel, num: u32, den: u32) -> Self {
        Self { kernel, antialias: true, border: Border::Mirror, scale: [Ratio { num, den }; 2], size: None }
    }

    /// Resizes pictures from `from` (height, width) to `to`, with antialiasing and a mirrored border. Each side's scale is the
    /// quotient.
    ///
    /// # Errors
    /// A size of 2³² or more.
    pub fn to(kernel: Kernel, from: [usize; 2], to: [usize; 2]) -> Result<Self, ShapeError> {
        let side = |k: usize| match (u32::try_from(to[k]), u32::try_from(from[k])) {
            (Ok(num), Ok(den)) => Ok(Ratio { num, den }),
            _ => Err(ShapeError::value("size", "below 2^32", format!("{from:?} to {to:?}"))),
        };
        Ok(Self { scale: [side(0)?, side(1)?], size: Some(to), ..Self::by(kernel, 1, 1) })
    }

    fn axes(&self, x: &Shape) -> Result<[Axis; 2], ShapeError> {
        let axis = |k: usize| Axis::new(self, x[2 + k], self.scale[k], self.size.map(|s| s[k]));
        Ok([axis(0)?, axis(1)?])
    }

    fn taps(&self, io: &Io) -> [Taps; 2] {
        [0, 1].map(|k| taps(self, k, io.x[0][2 + k], io.y[2 + k]))
    }
}

/// One axis in the shader's integers, which shaders/resize/plain.wgsl explains.
struct Axis {
    out_len: u32,
    num: u32,
    den: u32,
    start: u32,
    lift: u32,
    shift: u32,
    half: u32,
    unit: u32,
    taps: u32,
    before: u32,
    after: u32,
}

impl Axis {
    fn new(op: &Resize, in_len: usize, scale: Ratio, out_len: Option<usize>) -> Result<Self, ShapeError> {
        if scale.num == 0 || scale.den == 0 {
            return Err(ShapeError::value("scale", "a fraction above 0", format!("{}/{}", scale.num, scale.den)));
        }
        if in_len == 0 {
            return Err(ShapeError::value("x", "an axis of at least 1", in_len));
        }
        let out_len = out_len.unwrap_or_else(|| scale.size_of(in_len)) as u128;
        if out_len == 0 {
            return Err(ShapeError::value("size", "at least [1, 1]", format!("{:?}", op.size)));
        }
        let divisor = gcd(scale.num, scale.den);
        let (num, den) = (u128::from(scale.num / divisor), u128::from(scale.den / divisor));
        let in_len = in_len as u128;
        let step = 2 * num;
        let shrinks = op.antialias && num < den && op.kernel != Kernel::Nearest;
        let unit = if shrinks { 2 * den } else { step };
        let half = match op.kernel {
            Kernel::Nearest => num,
            Kernel::Bilinear => unit,
            Kernel::Bicubic => 2 * unit,
        };
        let taps = (2 * half).div_ceil(step);
        let lift = (num + half) / step + 1;
        let start = den + lift * step - num - half;
        // The lowest input position of output o is first(o) - lift.
        let first = |o: u128| (2 * o * den + start) / step + 1;
        let below = lift.saturating_sub(first(0));
        let above = (first(out_len - 1) + taps).saturating_sub(lift + in_len);
        let (before, after, reach) = match op.border {
            Border::Mirror => {
                let [before, after] = [below, above].map(|v| v.div_ceil(in_len));
                (before, after, (before.max(after) + 1) * in_len)
            }
            Border::Clamp => (below, above, below.max(above) + in_len),
        };
        let shift = 1 + lift.div_ceil(2 * in_len) * 2 * in_len - lift;
        // Every position in the shader stays below 2^31, and every kernel argument is an exact f32.
        let largest = ((reach + 1) * step + 4 * half).max(2 * (out_len + 2) * den + start);
        if largest.max(in_len * 4 + shift) >= 1 << 31 || half >= 1 << 24 {
            return Err(ShapeError::value(
                "scale",
                format!("a fraction of smaller numbers for an axis of {in_len}"),
                format!("{}/{}", scale.num, scale.den),
            ));
        }
        let narrow = |v: u128| v as u32;
        Ok(Self {
            out_len: narrow(out_len),
            num: narrow(num),
            den: narrow(den),
            start: narrow(start),
            lift: narrow(lift),
            shift: narrow(shift),
            half: narrow(half),
            unit: narrow(unit),
            taps: narrow(taps),
            before: narrow(before),
            after: narrow(after),
        })
    }
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Calls `f(index of x, index of y, weight of the row, weight of the column)` for every product of the formula.
fn each_tap(io: &Io, [rows, columns]: &[Taps; 2], mut f: impl FnMut(usize, usize, f64, f64)) {
    let [n, c, h, w] = io.x[0].nchw();
    let [_, _, ho, wo] = io.y.nchw();
    for plane in 0..n * c {
        for i in 0..ho {
            for j in 0..wo {
                for (r, a) in rows.of(i) {
                    for (s, b) in columns.of(j) {
                        f((plane * h + r) * w + s, (plane * ho + i) * wo + j, a, b);
                    }
                }
            }
        }
    }
}

impl Op for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [super::Kernel] {
        const KERNELS: &[super::Kernel] = &[
            super::Kernel::new(wgsl!("resize/plain"), plain),
            super::Kernel::new(wgsl!("resize/quads" + "texels" + "quotient"), quads).only(super::Family::Software),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, c, _, _] = x[0].nchw();
        let [rows, columns] = self.axes(&x[0])?;
        Ok([n, c, rows.out_len as usize, columns.out_len as usize].into())
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        let [n, c, _, w] = io.x[0].nchw();
        let [_, _, ho, wo] = io.y.nchw();
        let Ok([rows, columns]) = self.axes(&io.x[0]) else { return Cost::default() };
        // The adjoint computes the same products in another order.
        let products = n * c * ho * (rows.taps as usize * w + columns.taps as usize * wo);
        Cost::new(2 * products, io.total_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.fill(0.0);
        each_tap(io, &self.taps(io), |from, to, a, b| y[to] += a * b * x[0][from]);
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        dx[0].fill(0.0);
        each_tap(io, &self.taps(io), |from, to, a, b| dx[0][from] += a * b * dy[to]);
    }
    /// In units of 2⁻²³, the relative error of a weight is at most 30 for `bicubic`, 2 for `bilinear` and 0 for `nearest`.
    /// For `bicubic`, in the order of shaders/resize/plain.wgsl: 2 for n, 5 for n², so 1 + n − 1.5·n² ≥ 0.5 is off by less
    /// than 14, a relative error of 27, and 3 for the factors. The norm Σw, with Σ|w| ≤ 1.5·Σw, is off by 1.5·(30 + taps),
    /// its reciprocal and their product by 4 more, and a sum of K terms by K. The bound is the sum over both axes times
    /// Σ|a·b·x|.
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let tables = self.taps(io);
        let mut units = 0.0;
        for (k, table) in tables.iter().enumerate() {
            let taps = table.count as f64;
            let terms = if output == "y" { taps } else { table.largest_use(io.x[0][2 + k]) as f64 };
            units += match self.kernel {
                Kernel::Nearest if output == "y" => 0.0,
                Kernel::Nearest => terms,
                Kernel::Bilinear => 2.0 + (2.0 + taps) + 4.0 + terms,
                Kernel::Bicubic => 30.0 + 1.5 * (30.0 + taps) + 4.0 + terms,
            };
        }
        let mut sums = vec![0.0; if output == "y" { io.y_len() } else { io.x_len(0) }];
        each_tap(io, &tables, |from, to, a, b| {
            let (value, into) = if output == "y" { (at.x[0][from], to) } else { (at.dy[to], from) };
            sums[into] += (a * b * value).abs();
        });
        Tolerance::Each(sums.into_iter().map(|s| units * EPS * s).collect())
    }
}

/// `shaders/resize/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Resize>()?, &call.io);
    let [n, c, _, w] = io.x[0].nchw();
    let [_, _, ho, wo] = io.y.nchw();
    let between = ("t0", n * c * ho * w);
    let scratch = if call.method == "forward" { vec![between] } else { vec![between, ("t1", ho + wo)] };
    let work = call.work(caps, |entry| {
        let [n, c, h, w] = io.x[0].nchw();
        let [_, _, ho, wo] = io.y.nchw();
        let [rows, columns] = op.axes(&io.x[0]).ok()?;
        let planes = n * c;
        let threads = match entry {
            "forward_1" => planes * ho * w.div_ceil(4),
            "forward_2" => (planes * ho).div_ceil(4) * wo,
            "backward_1" => ho + wo,
            "backward_2" => (planes * ho).div_ceil(4) * w,
            _ => planes * h * w.div_ceil(4),
        };
        let kernel = match op.kernel {
            Kernel::Nearest => 0u32,
            Kernel::Bilinear => 1,
            Kernel::Bicubic => 2,
        };
        let mut params: Vec<(&'static str, Scalar)> = vec![
            ("planes", planes.into()),
            ("height", h.into()),
            ("width", w.into()),
            ("out_height", ho.into()),
            ("out_width", wo.into()),
            ("kernel", kernel.into()),
            ("border", u32::from(op.border == Border::Clamp).into()),
        ];
        params.extend([
            ("num_i", rows.num.into()),
            ("den_i", rows.den.into()),
            ("start_i", rows.start.into()),
            ("lift_i", rows.lift.into()),
            ("shift_i", rows.shift.into()),
            ("half_i", rows.half.into()),
            ("unit_i", rows.unit.into()),
            ("taps_i", rows.taps.into()),
            ("before_i", rows.before.into()),
            ("after_i", rows.after.into()),
        ]);
        params.extend([
            ("num_j", columns.num.into()),
            ("den_j", columns.den.into()),
            ("start_j", columns.start.into()),
            ("lift_j", columns.lift.into()),
            ("shift_j", columns.shift.into()),
            ("half_j", columns.half.into()),
            ("unit_j", columns.unit.into()),
            ("taps_j", columns.taps.into()),
            ("before_j", columns.before.into()),
            ("after_j", columns.after.into()),
        ]);
        Some(Launch::threads(threads, params))
    })?;
    Some(work.scratch(scratch))
}

/// `shaders/resize/quads.wgsl`: the nearest pixel, for a whole number of outputs per pixel.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Resize>()?, &call.io);
    let ([_, _, h, w], [_, _, out_height, out_width]) = (io.x[0].nchw(), io.y.nchw());
    let texels = Layout::Quads.elements(&io.y);
    let times =
        |k: usize| op.scale[k].num.checked_div(op.scale[k].den).filter(|t| t * op.scale[k].den == op.scale[k].num);
    let (times_i, times_j) = (times(0)?, times(1)?);
    let is_whole = out_height == h * times_i as usize && out_width == w * times_j as usize;
    if op.kernel != Kernel::Nearest || !is_whole || texels > MAX_TEXELS {
        return None;
    }
    let params = [
        ("threads", texels.into()),
        ("width", w.into()),
        ("out_height", out_height.into()),
        ("out_width", out_width.into()),
        ("times_i", times_i.into()),
        ("times_j", times_j.into()),
    ];
    Some(call.work(caps, |_| Some(Launch::threads(texels, params)))?.faster(1.5))
}

pub fn cases() -> Vec<Case> {
    let plain = |op: Resize| Resize { antialias: false, ..op };
    let clamped = |op: Resize| Resize { border: Border::Clamp, ..op };
    let uneven = Resize {
        scale: [Ratio { num: 7, den: 5 }, Ratio { num: 3, den: 4 }],
        size: Some([11, 5]),
        ..Resize::by(Kernel::Bicubic, 1, 1)
    };
    let tripled =
        Resize { scale: [Ratio { num: 12, den: 4 }, Ratio { num: 2, den: 1 }], ..Resize::by(Kernel::Nearest, 1, 1) };
    vec![
        Case::new(Resize::by(Kernel::Bicubic, 2, 1), &[[1, 1, 1, 1]]),
        // The stretched kernel is wider than the picture, so the mirror is mirrored.
        Case::new(Resize::by(Kernel::Bicubic, 1, 2), &[[2, 3, 5, 7]]),
        Case::new(Resize::by(Kernel::Bilinear, 3, 2), &[[1, 1, 1, 257]]),
        Case::new(Resize::by(Kernel::Nearest, 2, 3), &[[1, 5, 13, 4]]),
        Case::new(Resize::by(Kernel::Nearest, 1, 2), &[[1, 2, 7, 6]]),
        Case::new(Resize::by(Kernel::Nearest, 2, 1), &[[2, 5, 7, 6]]),
        Case::new(tripled, &[[1, 3, 4, 5]]),
        Case::new(plain(Resize::by(Kernel::Bicubic, 1, 3)), &[[2, 1, 7, 9]]),
        Case::new(Resize::by(Kernel::Bilinear, 5, 13), &[[1, 2, 11, 8]]),
        Case::new(Resize::by(Kernel::Bicubic, 3, 1), &[[1, 2, 4, 6]]),
        Case::new(uneven.clone(), &[[1, 2, 9, 7]]),
        Case::new(clamped(uneven), &[[1, 2, 9, 7]]),
        Case::new(clamped(Resize::by(Kernel::Bicubic, 1, 3)), &[[2, 1, 5, 7]]),
        Case::new(Resize::by(Kernel::Bicubic, 3, 1), &[[1, 1, 85, 64]]).real(),
        Case::new(Resize::by(Kernel::Bicubic, 1, 4), &[[2, 3, 64, 96]]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_of_bicubic_doubling_are_matlabs() {
        // Output 6 has its centre at 2.75: Keys' cubic at 1.75, 0.75, 0.25 and 1.25.
        let table = taps(&Resize::by(Kernel::Bicubic, 2, 1), 0, 7, 14);
        let weights: Vec<f64> = table.of(6).map(|(_, w)| w).filter(|w| *w != 0.0).collect();
        assert_eq!(weights, [-0.0234375, 0.2265625, 0.8671875, -0.0703125]);
    }

    #[test]
    fn taps_mirror_with_the_border_pixel_doubled() {
        let table = taps(&Resize::by(Kernel::Bicubic, 1, 1), 0, 3, 3);
        assert_eq!((table.count, table.indices), (1, vec![0, 1, 2]));
        let table = taps(&Resize::by(Kernel::Bilinear, 1, 4), 0, 2, 1);
        assert!(table.of(0).all(|(i, _)| i < 2));
        assert!((table.weights.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        // The centre of the one output lies at 1.5 (from 0), past the last pixel: mirrored, both count the same 1/2.
        let ends: f64 = table.of(0).filter(|(i, _)| *i == 0).map(|(_, w)| w).sum();
        assert!((ends - 0.5).abs() < 0.04, "{ends}");
    }

    #[test]
    fn taps_of_nearest_take_the_later_pixel_on_a_tie() {
        let indices = |num, den, from, to| taps(&Resize::by(Kernel::Nearest, num, den), 1, from, to).indices;
        assert_eq!(indices(1, 2, 6, 3), [1, 3, 5]);
        assert_eq!(indices(1, 6, 12, 2), [3, 9]);
        assert_eq!(indices(3, 1, 2, 6), [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn shape_rounds_up_and_refuses_nonsense() {
        let shape = |op: Resize| op.shape(&[[1, 3, 10, 7].into()]);
        assert_eq!(shape(Resize::by(Kernel::Bicubic, 1, 3)).unwrap(), [1, 3, 4, 3]);
        assert_eq!(
            shape(Resize::by(Kernel::Bicubic, 0, 3)).unwrap_err().to_string(),
            "scale must be a fraction above 0, got 0/3"
        );
        assert!(shape(Resize::by(Kernel::Bicubic, 1, 0)).is_err());
        assert!(shape(Resize { size: Some([0, 4]), ..Resize::by(Kernel::Bicubic, 1, 3) }).is_err());
        assert!(shape(Resize::by(Kernel::Bicubic, u32::MAX, 1)).is_err());
        assert!(shape(Resize::by(Kernel::Bicubic, 1, u32::MAX)).is_err());
        assert!(shape(Resize { size: Some([usize::MAX; 2]), ..Resize::by(Kernel::Bicubic, 1, 3) }).is_err());
    }

    /// Evaluates in f64 the table that the shader's integers describe, as shaders/resize/plain.wgsl does: forward by
    /// outputs, or backward by inputs, with the normalisation of the outputs.
    fn dense(op: &Resize, in_len: usize, axis: &Axis, backward: bool) -> Vec<f64> {
        let (num, den, step, half) = (axis.num as i64, axis.den as i64, 2 * axis.num as i64, axis.half as i64);
        let weight =
            |b: i64| op.kernel.at(if op.kernel == Kernel::Nearest { 0.0 } else { b as f64 / axis.unit as f64 });
        let out_len = axis.out_len as usize;
        let mut table = vec![0.0; in_len * out_len];
        let mut norms = vec![0.0; out_len];
        for o in 0..out_len {
            let a = 2 * o as i64 * den + axis.start as i64;
            let q = a / step;
            let mut b = a - q * step + half - step;
            let mut m = (q + axis.shift as i64) as usize % (2 * in_len);
            let lowest = q + 1 - axis.lift as i64;
            for at in lowest..lowest + axis.taps as i64 {
                if b < -half {
                    break;
                }
                let s = match op.border {
                    Border::Clamp => at.clamp(0, in_len as i64 - 1) as usize,
                    Border::Mirror if m < in_len => m,
                    Border::Mirror => 2 * in_len - 1 - m,
                };
                table[o * in_len + s] += weight(b);
                norms[o] += weight(b);
                b -= step;
                m = (m + 1) % (2 * in_len);
            }
        }
        if backward {
            table.fill(0.0);
            for s in 0..in_len as i64 {
                let clamp = op.border == Border::Clamp;
                let low = if clamp && s != 0 { 0 } else { -(axis.before as i64) };
                let high = if clamp && s + 1 != in_len as i64 { 0 } else { axis.after as i64 };
                for k in low..=high {
                    let position = match k & 1 {
                        _ if clamp => (s + k) * step,
                        0 => (k * in_len as i64 + s) * step,
                        _ => (k * in_len as i64 + in_len as i64 - 1 - s) * step,
                    };
                    let v = position + num - den - 1;
                    let up_to = |v: i64| if v < 0 { 0 } else { v / (2 * den) + 1 };
                    for o in up_to(v - half)..up_to(v + half).min(out_len as i64) {
                        table[o as usize * in_len + s as usize] += weight((2 * o + 1) * den - num - position);
                    }
                }
            }
        }
        table.iter().enumerate().map(|(k, w)| w / norms[k / in_len]).collect()
    }

    #[test]
    fn integer_positions_of_the_shader_give_the_table() {
        for kernel in [Kernel::Nearest, Kernel::Bilinear, Kernel::Bicubic] {
            for (num, den) in
                [(1, 1), (2, 1), (3, 1), (7, 3), (5, 4), (999, 1000), (3, 4), (1, 2), (1, 3), (2, 7), (1, 16)]
            {
                for in_len in [1, 2, 3, 5, 8, 17, 33] {
                    for (antialias, extra, border) in [
                        (true, 0, Border::Mirror),
                        (false, 0, Border::Mirror),
                        (true, 5, Border::Mirror),
                        (true, 0, Border::Clamp),
                        (false, 5, Border::Clamp),
                    ] {
                        let ratio = Ratio { num, den };
                        let out_len = ratio.size_of(in_len) + extra;
                        let op = Resize { antialias, border, ..Resize::by(kernel, num, den) };
                        let axis = Axis::new(&op, in_len, ratio, Some(out_len)).unwrap();
                        let mut expected = vec![0.0; in_len * out_len];
                        let table = taps(&op, 0, in_len, out_len);
                        for o in 0..out_len {
                            table.of(o).for_each(|(s, w)| expected[o * in_len + s] += w);
                        }
                        for backward in [false, true] {
                            let got = dense(&op, in_len, &axis, backward);
                            for (k, (e, g)) in expected.iter().zip(&got).enumerate() {
                                assert!(
                                    (e - g).abs() < 1e-12,
                                    "{border:?} {kernel:?} {num}/{den} {in_len} to {out_len} antialias {antialias} backward {backward} \
                                     output {} input {}: {e} {g}",
                                    k / in_len,
                                    k % in_len
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
