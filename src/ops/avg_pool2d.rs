//! avg_pool2d: the mean of each window of k × k pixels, or of the whole image.
//!
//! `y[n,c,i,j] = Σ_{0≤u,v<k} x[n,c,i·stride+u−padding,j·stride+v−padding] / area, with zeros outside the image`
//!
//! | name | shape         | meaning                                    |
//! |------|---------------|--------------------------------------------|
//! | x    | `[N,C,H,W]`   | input                                      |
//! | y    | `[N,C,H',W']` | output, H' = ⌊(H+2·padding−k)/stride⌋ + 1; |
//! |      |               | the global form has H' = W' = 1            |
//!
//! The area is k² or, if `count_include_pad` is false, the number of the window's pixels inside the image.
//! Gradient: for x; every pixel sums dy / area over the windows that contain it, in row order. Backward reads only dy.
//! Errors: kernel or stride is 0, padding exceeds half the kernel, the window exceeds the padded image; the global form
//! is given padding, or a stride other than 1.
//! Numerics: one rounding per term, and 3 for the division (2.5 ULP in WGSL).
//! Kernel `avg_pool2d/global`: the global form with a workgroup per plane.
//! Source: definition as in torch.nn.functional.avg_pool2d (ceil_mode false), adaptive_avg_pool2d(1).

use super::max_pool2d::pooled;
use super::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// Square windows, or one window over the whole image.
#[derive(Debug, Clone, PartialEq)]
pub struct AvgPool2d {
    /// Side of the window in pixels, 1 to 65535; `None` is the whole image.
    pub kernel: Option<usize>,
    /// Pixels from one window to the next, 1 to 65535.
    pub stride: usize,
    /// Zeros added at each border; at most half the kernel.
    pub padding: usize,
    /// Divides by k² even where the window reaches past the image; otherwise by the number of its pixels inside.
    pub count_include_pad: bool,
}

impl AvgPool2d {
    /// Creates square windows without padding.
    pub fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel: Some(kernel), stride, padding: 0, count_include_pad: true }
    }
    /// Creates the global form, the mean of each channel: `[N,C,1,1]`.
    pub fn global() -> Self {
        Self { kernel: None, stride: 1, padding: 0, count_include_pad: true }
    }
    /// Returns the height and width of the window.
    fn window(&self, io: &Io) -> [usize; 2] {
        let [_, _, h, w] = io.x[0].nchw();
        self.kernel.map_or([h, w], |k| [k, k])
    }
    /// Calls `f` for every pixel of every window, with the index of the output, that of the pixel, and the area to divide by.
    fn terms(&self, io: &Io, mut f: impl FnMut(usize, usize, f64)) {
        let [_, _, height, width] = io.x[0].nchw();
        let [n, c, high, wide] = io.y.nchw();
        let [kh, kw] = self.window(io);
        // The pixels of window i along one axis.
        let along = |i: usize, k: usize, size: usize| -> Vec<usize> {
            (i * self.stride..i * self.stride + k)
                .filter_map(|r| r.checked_sub(self.padding).filter(|&r| r < size))
                .collect()
        };
        for plane in 0..n * c {
            for i in 0..high {
                for j in 0..wide {
                    let (rows, columns) = (along(i, kh, height), along(j, kw, width));
                    let area = if self.count_include_pad { kh * kw } else { rows.len() * columns.len() };
                    for &r in &rows {
                        for &s in &columns {
                            let at = (plane * height + r) * width + s;
                            f((plane * high + i) * wide + j, at, area as f64);
                        }
                    }
                }
            }
        }
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
        const KERNELS: &[Kernel] =
            &[Kernel::new(wgsl!("avg_pool2d/plain"), plain), Kernel::new(wgsl!("avg_pool2d/global"), global)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let Some(kernel) = self.kernel else {
            if self.stride != 1 {
                return Err(ShapeError::value("stride", "1 when the window is the whole image", self.stride));
            }
            if self.padding != 0 {
                return Err(ShapeError::value("padding", "0 when the window is the whole image", self.padding));
            }
            let [n, c, _, _] = x[0].nchw();
            return Ok([n, c, 1, 1].into());
        };
        pooled(x[0], kernel, self.stride, self.padding)
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        let [kh, kw] = self.window(io);
        Cost::new(io.y_len() * kh * kw, io.x_len(0) + io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.terms(io, |i, at, area| y[i] += x[0][at] / area);
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.terms(io, |i, at, area| dx[0][at] += dy[i] / area);
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let [kh, kw] = self.window(io);
        let terms = if output == "y" { kh * kw } else { kh.div_ceil(self.stride) * kw.div_ceil(self.stride) };
        // terms − 1 additions in any order, 2.5 for the division, and one for an area past 2²⁴.
        Tolerance::Terms(terms + 3)
    }
}

/// `shaders/avg_pool2d/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<AvgPool2d>()?, &call.io);
    let ([_, _, height, width], [_, _, out_height, out_width]) = (io.x[0].nchw(), io.y.nchw());
    let [kh, kw] = op.window(io);
    call.work(caps, |entry| {
        let threads = if entry == "backward" { io.x_len(0) } else { io.y_len() };
        let params = [
            ("threads", threads.into()),
            ("height", height.into()),
            ("width", width.into()),
            ("out_height", out_height.into()),
            ("out_width", out_width.into()),
            ("kernel_height", kh.into()),
            ("kernel_width", kw.into()),
            ("stride", op.stride.into()),
            ("padding", op.padding.into()),
            ("area", if op.count_include_pad { kh * kw } else { 0 }.into()),
        ];
        Some(Launch::threads(threads, params))
    })
}

/// `shaders/avg_pool2d/global.wgsl`: a workgroup of 64 per plane.
fn global(call: &Call, caps: &Caps) -> Option<Work> {
    let [n, c, height, width] = call.io.x[0].nchw();
    let params = [("planes", (n * c).into()), ("pixels", (height * width).into())];
    let is_global = call.op::<AvgPool2d>()?.kernel.is_none();
    call.work(caps, |_| is_global.then(|| Launch::threads(64 * n * c, params)))
}

pub fn cases() -> Vec<Case> {
    let padded = |kernel, stride, count_include_pad| AvgPool2d {
        padding: kernel / 2,
        count_include_pad,
        ..AvgPool2d::new(kernel, stride)
    };
    vec![
        Case::new(AvgPool2d::new(1, 1), &[[1, 1, 1, 1]]),
        Case::new(AvgPool2d::new(2, 2), &[[2, 3, 5, 7]]),
        Case::new(padded(3, 2, true), &[[2, 3, 5, 7]]),
        Case::new(padded(3, 1, false), &[[1, 1, 2, 129]]),
        Case::new(padded(2, 3, false), &[[1, 5, 13, 4]]),
        Case::new(AvgPool2d::global(), &[[2, 3, 5, 7]]),
        Case::new(AvgPool2d::global(), &[[1, 1, 1, 257]]),
        Case::new(padded(3, 2, true), &[[1, 64, 40, 32]]).real(),
        Case::new(AvgPool2d::global(), &[[1, 128, 24, 20]]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_when_global_is_one_pixel_and_takes_no_padding() {
        let shape = |op: AvgPool2d| op.shape(&[[2, 3, 4, 5].into()]).map_err(|e| e.to_string());
        assert_eq!(shape(AvgPool2d::global()), Ok([2, 3, 1, 1].into()));
        assert_eq!(
            shape(AvgPool2d { padding: 1, ..AvgPool2d::global() }),
            Err("padding must be 0 when the window is the whole image, got 1".into())
        );
        assert_eq!(
            shape(AvgPool2d { stride: 2, ..AvgPool2d::global() }),
            Err("stride must be 1 when the window is the whole image, got 2".into())
        );
    }

    #[test]
    fn border_when_padding_is_not_counted_is_the_mean_of_the_pixels_inside() {
        let x = [[1, 1, 1, 3]];
        let mean = |count_include_pad| {
            let op = AvgPool2d { padding: 1, count_include_pad, ..AvgPool2d::new(3, 2) };
            let io = Io { x: &x.map(Into::into), y: op.shape(&x.map(Into::into)).expect("fits") };
            let mut y = vec![0.0; io.y_len()];
            op.reference(&io, &[vec![3.0, 6.0, 9.0]], &mut y);
            y
        };
        assert_eq!(mean(true), [1.0, 9.0 / 9.0 + 6.0 / 9.0]);
        assert_eq!(mean(false), [4.5, 7.5]);
    }
}
