//! avg_pool2d: the mean of each window.
//!
//! `y[n,c,i,j] = Σ x[n,c,r,s] / area, over the pixels (r, s) of window (i, j) inside the picture`
//!
//! | name | shape         | meaning                                                     |
//! |------|---------------|-------------------------------------------------------------|
//! | x    | `[N,C,H,W]`   | input                                                       |
//! | y    | `[N,C,H',W']` | output, a pixel per window; the global form has H' = W' = 1 |
//!
//! [`Windows`] says where the windows are. The area is the number of the window's pixels inside the picture
//! and, if `count_include_pad` is set, inside its padding.
//! Gradient: for x; every pixel sums dy / area over the windows that contain it, in row order. Backward reads only dy.
//! Errors: an attribute is out of range, the window exceeds the padded image, a window has padding alone.
//! Numerics: sums of rows, then of these; one rounding per term, and 3 for the division (2.5 ULP in WGSL).
//! Kernel `avg_pool2d/global`: one window over the whole picture, with a workgroup per plane.
//! Source: definitions as in torch.nn.functional.avg_pool2d and adaptive_avg_pool2d; dilation as in AveragePool of ONNX.

use super::windows::{Axis, Sliding, Windows, layouts};
use super::{
    Call, Caps, Case, Cost, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvgPool2d {
    pub windows: Windows,
    /// Divides by the number of all pixels of a window even where they are padding; otherwise by those of the picture.
    pub count_include_pad: bool,
}

impl AvgPool2d {
    /// Creates square windows without padding.
    pub fn new(kernel: usize, stride: usize) -> Self {
        Self::sliding(Sliding::square(kernel, stride))
    }
    /// Creates windows of one size, whose padding counts.
    pub fn sliding(windows: Sliding) -> Self {
        Self { windows: Windows::Sliding(windows), count_include_pad: true }
    }
    /// Creates the windows that make an output of this size.
    pub fn adaptive(size: [usize; 2]) -> Self {
        Self { windows: Windows::Adaptive(size), count_include_pad: true }
    }
    /// Creates the global form, the mean of each channel: `[N,C,1,1]`.
    pub fn global() -> Self {
        Self::adaptive([1, 1])
    }

    /// Calls `f` for every pixel of every window, with the index of the output, that of the pixel, and the area to divide by.
    fn terms(&self, io: &Io, mut f: impl FnMut(usize, usize, f64)) {
        let [_, _, high, wide] = io.y.nchw();
        let [rows, columns] = self.windows.axes(io);
        let count = |axis: &Axis, i| if self.count_include_pad { axis.padded(i) } else { axis.pixels(i).len() };
        let count = |axis: &Axis| -> Vec<usize> { (0..axis.count).map(|i| count(axis, i)).collect() };
        let (of_rows, of_columns) = (count(&rows), count(&columns));
        self.windows.each(io, |i, at| f(i, at, (of_rows[i / wide % high] * of_columns[i % wide]) as f64));
    }
}

impl Op for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("avg_pool2d/plain" + "windows"), plain),
            Kernel::new(wgsl!("avg_pool2d/global"), global),
            Kernel::new(wgsl!("avg_pool2d/fours" + "window_rows"), by_fours).only(Family::Hardware),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        self.windows.pooled(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        let [rows, columns] = self.windows.axes(io).map(|axis| axis.most_pixels());
        Cost::new(io.y_len() * rows * columns, io.x_len(0) + io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.terms(io, |i, at, area| y[i] += x[0][at] / area);
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.terms(io, |i, at, area| dx[0][at] += dy[i] / area);
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let axes = self.windows.axes(io);
        let [rows, columns] = axes.map(|axis| if output == "y" { axis.most_pixels() } else { axis.most_windows() });
        // The additions of a row and of the rows, 2.5 for the division, and one for an area past 2²⁴.
        Tolerance::Terms(rows + columns + 3)
    }
}

/// `shaders/avg_pool2d/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<AvgPool2d>()?, &call.io);
    call.work(caps, |entry| {
        let threads = if entry == "backward" { io.x_len(0) } else { io.y_len() };
        let mut params = op.windows.params(io, threads);
        params.push(("count_pad", u32::from(op.count_include_pad).into()));
        Some(Launch::threads(threads, params).loops(&op.windows.loops(io, entry)))
    })
}

/// `shaders/avg_pool2d/global.wgsl`: a workgroup of 64 per plane.
fn global(call: &Call, caps: &Caps) -> Option<Work> {
    let [n, c, height, width] = call.io.x[0].nchw();
    let params = [("planes", (n * c).into()), ("pixels", (height * width).into())];
    let is_global = call.op::<AvgPool2d>()?.windows.axes(&call.io).iter().all(|axis| axis.is_whole());
    call.work(caps, |_| is_global.then(|| Launch::threads(64 * n * c, params).loops(&[(height * width).div_ceil(64)])))
}

/// `shaders/avg_pool2d/fours.wgsl`: windows within the picture.
fn by_fours(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<AvgPool2d>()?, &call.io);
    let work = call.work(caps, |entry| {
        let (mut launch, area) = op.windows.fours(io, entry)?;
        launch.params.push(("area", (area? as f32).into()));
        Some(launch)
    })?;
    Some(work.faster(fours::gain(4)))
}

pub fn cases() -> Vec<Case> {
    let case = |count_include_pad| {
        move |(windows, x): (Windows, Shape)| Case::new(AvgPool2d { windows, count_include_pad }, &[x])
    };
    let mut cases: Vec<Case> = [true, false].into_iter().flat_map(|pad| layouts().into_iter().map(case(pad))).collect();
    let padded = |kernel, stride| AvgPool2d::sliding(Sliding::square(kernel, stride).padded(kernel / 2));
    cases.extend([
        Case::new(AvgPool2d::global(), &[[1, 1, 1, 257]]),
        Case::new(AvgPool2d::new(7, 7), &[[1, 3, 7, 7]]),
        // By fours: side by side, overlapping, and with pixels past the last window.
        Case::new(AvgPool2d::new(2, 2), &[[2, 3, 6, 16]]),
        Case::new(AvgPool2d::new(3, 3), &[[1, 2, 9, 12]]),
        Case::new(AvgPool2d::new(2, 2), &[[1, 3, 5, 8]]).fill(0, Fill::With(with_nan)).rough(),
        Case::new(AvgPool2d::new(4, 3), &[[1, 3, 10, 16]]),
        Case::new(padded(3, 2), &[[2, 3, 9, 7]]).fill(0, Fill::With(with_nan)).rough(),
        Case::new(padded(3, 2), &[[1, 64, 40, 32]]).real(),
        Case::new(AvgPool2d::global(), &[[1, 128, 24, 20]]).real(),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn border_when_padding_is_not_counted_is_the_mean_of_the_pixels_inside() {
        let x = [[1, 1, 1, 3]];
        let mean = |count_include_pad| {
            let op = AvgPool2d { count_include_pad, ..AvgPool2d::sliding(Sliding::square(3, 2).padded(1)) };
            let io = Io { x: &x.map(Into::into), y: op.shape(&x.map(Into::into)).expect("fits") };
            let mut y = vec![0.0; io.y_len()];
            op.reference(&io, &[vec![3.0, 6.0, 9.0]], &mut y);
            y
        };
        assert_eq!(mean(true), [1.0, 9.0 / 9.0 + 6.0 / 9.0]);
        assert_eq!(mean(false), [4.5, 7.5]);
    }
}
