//! max_pool2d: the largest value of each window.
//!
//! `y[n,c,i,j] = max of x[n,c,r,s] over the pixels (r, s) of window (i, j) inside the picture`
//!
//! | name | shape         | meaning                             |
//! |------|---------------|-------------------------------------|
//! | x    | `[N,C,H,W]`   | input                               |
//! | y    | `[N,C,H',W']` | output, a pixel per window          |
//!
//! [`Windows`] says where the windows are; padding is never the largest.
//! Gradient: for x; each dy goes to its window's maximum, or to the first of several in row order, as in PyTorch.
//! Windows may overlap; a pixel sums their dy in row order. Backward reads x, y and dy.
//! Errors: an attribute is out of range, the window exceeds the padded image, a window has padding alone.
//! Numerics: y is exact; dx sums the windows that have the pixel.
//! Source: definitions as in torch.nn.functional.max_pool2d and adaptive_max_pool2d; as there, NaN propagates.

use super::windows::{Sliding, Windows, layouts};
use super::{
    Call, Caps, Case, Cost, EPS, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::rng::Rng;
use crate::tensor::{Shape, len};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxPool2d {
    pub windows: Windows,
}

impl MaxPool2d {
    /// Creates square windows without padding.
    pub fn new(kernel: usize, stride: usize) -> Self {
        Self::sliding(Sliding::square(kernel, stride))
    }
    /// Creates windows of one size.
    pub fn sliding(windows: Sliding) -> Self {
        Self { windows: Windows::Sliding(windows) }
    }
    /// Creates the windows that make an output of this size.
    pub fn adaptive(size: [usize; 2]) -> Self {
        Self { windows: Windows::Adaptive(size) }
    }

    /// Calls `f` with every output's index and the index of its window's first maximum; NaN counts as the largest value.
    fn maxima(&self, io: &Io, x: &[f64], f: impl FnMut((usize, usize))) {
        let mut best: Vec<Option<usize>> = vec![None; io.y_len()];
        self.windows.each(io, |i, at| {
            let is_first_nan = |b: usize| x[at].is_nan() && !x[b].is_nan();
            if best[i].is_none_or(|b| x[at] > x[b] || is_first_nan(b)) {
                best[i] = Some(at);
            }
        });
        best.into_iter().enumerate().filter_map(|(i, at)| Some((i, at?))).for_each(f);
    }
}

impl Op for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("max_pool2d/plain" + "windows" + "is_nan"), plain),
            Kernel::new(wgsl!("max_pool2d/quads" + "texels"), quads).only(Family::Software),
            Kernel::new(wgsl!("max_pool2d/fours" + "window_rows" + "is_nan"), by_fours).only(Family::Hardware),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        self.windows.pooled(x[0])
    }
    fn fusible(&self) -> Option<super::Fusible> {
        (self.windows == Windows::Sliding(Sliding::square(2, 2))).then_some(super::Fusible::Pool)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let [rows, columns] = self.windows.axes(io).map(|axis| axis.most_pixels());
        let flops = io.y_len() * rows * columns;
        let floats = if method == "forward" { io.x_len(0) + io.y_len() } else { 2 * io.x_len(0) + 2 * io.y_len() };
        Cost::new(flops, floats)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.maxima(io, &x[0], |(i, at)| y[i] = x[0][at]);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.maxima(io, &x[0], |(i, at)| dx[0][at] += dy[i]);
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        if output == "y" {
            return Tolerance::Each(vec![0.0; io.y_len()]);
        }
        // Not `Terms`: absolute values of x would have their maxima elsewhere.
        let mut size = vec![0.0; len(&io.x[0])];
        self.maxima(io, &at.x[0], |(i, k)| size[k] += at.dy[i].abs());
        let [rows, columns] = self.windows.axes(io).map(|axis| axis.most_windows());
        let additions = rows * columns - 1;
        Tolerance::Each(size.into_iter().map(|s| additions as f64 * EPS * s).collect())
    }
}

/// `shaders/max_pool2d/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<MaxPool2d>()?, &call.io);
    call.work(caps, |entry| {
        let threads = if entry == "backward" { io.x_len(0) } else { io.y_len() };
        let launch = Launch::threads(threads, op.windows.params(io, threads));
        // For each window of a pixel, whether one of its pixels before is as large.
        let [windows, pixels] = ["backward", "forward"].map(|entry| op.windows.loops(io, entry));
        Some(if entry == "backward" { launch.loops(&[windows, pixels].concat()) } else { launch.loops(&pixels) })
    })
}

/// Most pixels that the windows around a block have together, each counted once for every window: all of them are unrolled.
const MOST_UNROLLED: usize = 81;

/// `shaders/max_pool2d/quads.wgsl`: small square windows that touch or overlap.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<MaxPool2d>()?, &call.io);
    let [rows, columns] = op.windows.axes(io);
    let ([kernel, stride, before_h], [wide, stride_w, before_w]) = (rows.dense()?, columns.dense()?);
    let windows = kernel.div_ceil(stride);
    let is_small = windows * windows * kernel * kernel <= MOST_UNROLLED;
    if [wide, stride_w] != [kernel, stride] || !is_small || Layout::Quads.elements(&io.x[0]) > MAX_TEXELS {
        return None;
    }
    let work = call.work(caps, |entry| {
        let ([n, c, height, width], [_, _, out_height, out_width]) = (io.x[0].nchw(), io.y.nchw());
        let cells = [height + before_h, width + before_w].map(|side| side.div_ceil(stride));
        let [high, wide] = if entry == "backward" { cells } else { [out_height, out_width] };
        let threads = n * c.div_ceil(4) * high * wide;
        let params = [
            ("threads", threads.into()),
            ("height", height.into()),
            ("width", width.into()),
            ("out_height", out_height.into()),
            ("out_width", out_width.into()),
            ("before_h", before_h.into()),
            ("before_w", before_w.into()),
            ("cells_high", cells[0].into()),
            ("cells_wide", cells[1].into()),
        ];
        Some(Launch::threads(threads, params).with("K", kernel).with("S", stride).with("MORE", windows - 1))
    })?;
    if call.method == "forward" {
        // For eight windows on a thread, as for a convolution's loads and stores.
        let ns = 6.0 * (kernel * kernel) as f64 + 75.0 + 50.0;
        return Some(work.modelled(ns * Layout::Quads.elements(&io.y) as f64 / 16.0, caps));
    }
    Some(work.faster(4.0))
}

/// `shaders/max_pool2d/fours.wgsl`.
fn by_fours(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<MaxPool2d>()?, &call.io);
    let work = call.work(caps, |entry| {
        let (mut launch, _) = op.windows.fours(io, entry)?;
        launch.params.push(("lowest", f32::NEG_INFINITY.into()));
        Some(launch)
    })?;
    Some(work.faster(fours::gain(4)))
}

/// Returns values that differ pairwise by at least 0.01, so that no finite difference of 1e-5 moves a maximum.
fn apart(rng: &mut Rng, x: &[Shape], input: usize) -> Vec<f64> {
    let n = len(&x[input]);
    rng.permutation(n).into_iter().map(|k| (k as f64 - n as f64 / 3.0) * 0.01).collect()
}

/// Returns values as a ReLU leaves them: many zeros and few levels, so that most windows have several maxima.
fn ties(rng: &mut Rng, x: &[Shape], input: usize) -> Vec<f64> {
    (0..len(&x[input])).map(|_| (rng.below(7) as f64 - 4.0).max(0.0) * 0.5).collect()
}

/// Returns infinities and NaNs, in every order.
fn infinite(rng: &mut Rng, x: &[Shape], input: usize) -> Vec<f64> {
    let values = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.0];
    (0..len(&x[input])).map(|_| values[rng.below(4)]).collect()
}

pub fn cases() -> Vec<Case> {
    let case = |(windows, x): (Windows, Shape)| Case::new(MaxPool2d { windows }, &[x]).fill(0, Fill::With(apart));
    let square = |kernel, stride, padding, x: [usize; 4]| {
        case((Windows::Sliding(Sliding::square(kernel, stride).padded(padding)), x.into()))
    };
    let mut cases: Vec<Case> = layouts().into_iter().map(case).collect();
    let dilated = Sliding { dilation: [2, 3], ..Sliding::square(3, 2).padded(2) };
    cases.extend([
        square(3, 2, 1, [2, 3, 9, 7]).fill(0, Fill::With(with_nan)).rough(),
        case((Windows::Sliding(dilated), [1, 2, 9, 11].into())).fill(0, Fill::With(ties)).rough(),
        case((Windows::Adaptive([4, 3]), [1, 2, 9, 7].into())).fill(0, Fill::With(with_nan)).rough(),
        square(3, 2, 1, [1, 2, 7, 9]).fill(0, Fill::With(infinite)).rough(),
        square(2, 2, 0, [1, 5, 8, 8]).fill(0, Fill::With(infinite)).rough(),
        // Windows side by side, with pixels past the last one below and to the right.
        square(3, 3, 0, [2, 5, 11, 8]),
        square(4, 4, 0, [1, 6, 8, 21]),
        square(2, 2, 0, [2, 3, 9, 7]).fill(0, Fill::With(with_nan)).rough(),
        square(2, 2, 0, [1, 64, 41, 33]).fill(0, Fill::With(ties)).real(),
        // Overlapping ones: several to a block, with and without padding, infinite values in it, and ties.
        square(3, 2, 0, [2, 5, 11, 8]),
        square(3, 1, 1, [1, 6, 5, 9]),
        square(4, 3, 2, [1, 5, 9, 12]),
        square(2, 1, 1, [2, 3, 4, 7]).fill(0, Fill::With(infinite)).rough(),
        square(3, 2, 0, [1, 32, 25, 25]).fill(0, Fill::With(ties)).real(),
        // By fours: three rows of four windows, with what follows the last; more than one vector before the next; edges.
        square(3, 3, 0, [2, 3, 9, 12]),
        square(4, 4, 0, [1, 2, 8, 32]).fill(0, Fill::With(infinite)).rough(),
        square(2, 2, 0, [3, 5, 10, 16]).fill(0, Fill::With(ties)).rough(),
        square(2, 2, 0, [1, 3, 9, 8]).fill(0, Fill::With(with_nan)).rough(),
        square(3, 2, 1, [2, 3, 9, 16]).fill(0, Fill::With(infinite)).rough(),
        square(3, 1, 1, [1, 2, 5, 12]),
        // Ties are left out of the gradient check, where a finite difference would move the maximum.
        square(3, 2, 1, [1, 64, 40, 32]).fill(0, Fill::With(ties)).real(),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_when_pixels_tie_goes_to_the_first_in_row_order() {
        let op = MaxPool2d::new(2, 1);
        let x = [[1, 1, 2, 3]];
        let io = Io { x: &x.map(Into::into), y: op.shape(&x.map(Into::into)).expect("fits") };
        let mut dx = vec![vec![0.0; 6]];
        op.reference_grad(&io, &[vec![1.0, 2.0, 2.0, 2.0, 0.0, 2.0]], &[2.0, 2.0], &[3.0, 5.0], &mut dx);
        assert_eq!(dx[0], [0.0, 8.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
