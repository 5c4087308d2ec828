//! max_pool2d: the largest value of each window of k × k pixels, k = kernel.
//!
//! `y[n,c,i,j] = max of x[n,c,i·stride+u−padding,j·stride+v−padding] over 0 ≤ u,v < k inside the image`
//!
//! | name | shape         | meaning                                   |
//! |------|---------------|-------------------------------------------|
//! | x    | `[N,C,H,W]`   | input                                     |
//! | y    | `[N,C,H',W']` | output, H' = ⌊(H+2·padding−k)/stride⌋ + 1 |
//!
//! Gradient: for x; each dy goes to its window's maximum, or to the first of several in row order, as in PyTorch.
//! Windows may overlap; a pixel sums their dy in row order. Backward reads x, y and dy.
//! Errors: kernel or stride is 0, padding exceeds half the kernel, the window exceeds the padded image.
//! Numerics: y is exact; dx sums at most ⌈k/stride⌉² values.
//! Source: definition as in torch.nn.functional.max_pool2d (ceil_mode false); as there, NaN propagates.

use super::{
    Call, Caps, Case, Cost, EPS, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::rng::Rng;
use crate::tensor::{Shape, len};

/// Square windows.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool2d {
    /// Side of the window in pixels, 1 to 65535.
    pub kernel: usize,
    /// Pixels from one window to the next, 1 to 65535.
    pub stride: usize,
    /// Pixels added at each border, never chosen as the maximum; at most half the kernel.
    pub padding: usize,
}

impl MaxPool2d {
    /// Creates square windows without padding.
    pub fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: 0 }
    }
}

/// Returns the shape of `x` after pooling with square windows, for both kinds of pooling.
pub(super) fn pooled(x: Shape, kernel: usize, stride: usize, padding: usize) -> Result<Shape, ShapeError> {
    // The bounds keep the shader's u32 arithmetic exact: kernel² and every padded coordinate stay below 2³².
    const LARGEST: usize = 65_535;
    if !(1..=LARGEST).contains(&kernel) {
        return Err(ShapeError::value("kernel", format!("1 to {LARGEST}"), kernel));
    }
    if !(1..=LARGEST).contains(&stride) {
        return Err(ShapeError::value("stride", format!("1 to {LARGEST}"), stride));
    }
    if padding > kernel / 2 {
        return Err(ShapeError::value("padding", format!("at most {}, half the kernel", kernel / 2), padding));
    }
    let windows = |size: usize| {
        let padded = size.checked_add(2 * padding).filter(|&s| s >= kernel && u32::try_from(s).is_ok())?;
        Some((padded - kernel) / stride + 1)
    };
    let [n, c, h, w] = x.nchw();
    match (windows(h), windows(w)) {
        (Some(high), Some(wide)) => Ok([n, c, high, wide].into()),
        _ => {
            let least = kernel - 2 * padding;
            Err(ShapeError::shape(
                "x",
                format!("[N, C, H, W], H and W at least {least} and below 2^32 with padding"),
                x,
            ))
        }
    }
}

impl MaxPool2d {
    /// Calls `f` with every output's index and the index of its window's first maximum; NaN counts as the largest value.
    fn maxima(&self, io: &Io, x: &[f64], mut f: impl FnMut(usize, usize)) {
        let [_, _, height, width] = io.x[0].nchw();
        let [n, c, high, wide] = io.y.nchw();
        for plane in 0..n * c {
            for i in 0..high {
                for j in 0..wide {
                    let mut best: Option<usize> = None;
                    for u in 0..self.kernel {
                        for v in 0..self.kernel {
                            let (r, s) = (i * self.stride + u, j * self.stride + v);
                            let inside = |k: usize, size| k >= self.padding && k - self.padding < size;
                            if !inside(r, height) || !inside(s, width) {
                                continue;
                            }
                            let at = (plane * height + r - self.padding) * width + s - self.padding;
                            let is_first_nan = |b: usize| x[at].is_nan() && !x[b].is_nan();
                            if best.is_none_or(|b| x[at] > x[b] || is_first_nan(b)) {
                                best = Some(at);
                            }
                        }
                    }
                    f((plane * high + i) * wide + j, best.expect("padding is at most half the kernel"));
                }
            }
        }
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
            Kernel::new(wgsl!("max_pool2d/plain" + "is_nan"), plain),
            Kernel::new(wgsl!("max_pool2d/quads" + "texels"), quads).only(Family::Software),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        pooled(x[0], self.kernel, self.stride, self.padding)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let flops = io.y_len() * self.kernel * self.kernel;
        let floats = if method == "forward" { io.x_len(0) + io.y_len() } else { 2 * io.x_len(0) + 2 * io.y_len() };
        Cost::new(flops, floats)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.maxima(io, &x[0], |i, at| y[i] = x[0][at]);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.maxima(io, &x[0], |i, at| dx[0][at] += dy[i]);
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        if output == "y" {
            return Tolerance::Terms(0);
        }
        // Not `Terms`: absolute values of x would have their maxima elsewhere.
        let mut size = vec![0.0; len(&io.x[0])];
        self.maxima(io, &at.x[0], |i, k| size[k] += at.dy[i].abs());
        let additions = self.kernel.div_ceil(self.stride).pow(2) - 1;
        Tolerance::Each(size.into_iter().map(|s| additions as f64 * EPS * s).collect())
    }
}

/// `shaders/max_pool2d/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<MaxPool2d>()?, &call.io);
    call.work(caps, |entry| {
        let [_, _, height, width] = io.x[0].nchw();
        let [_, _, out_height, out_width] = io.y.nchw();
        let threads = if entry == "backward" { io.x_len(0) } else { io.y_len() };
        let params = [
            ("threads", threads.into()),
            ("height", height.into()),
            ("width", width.into()),
            ("out_height", out_height.into()),
            ("out_width", out_width.into()),
            ("kernel", op.kernel.into()),
            ("stride", op.stride.into()),
            ("padding", op.padding.into()),
        ];
        Some(Launch::threads(threads, params))
    })
}

/// `shaders/max_pool2d/quads.wgsl`: windows side by side, at most 4 × 4 pixels, which are all unrolled.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<MaxPool2d>()?, &call.io);
    if op.kernel != op.stride || op.padding > 0 || op.kernel > 4 || Layout::Quads.elements(&io.x[0]) > MAX_TEXELS {
        return None;
    }
    let work = call.work(caps, |entry| {
        let ([n, c, height, width], [_, _, out_height, out_width]) = (io.x[0].nchw(), io.y.nchw());
        let cells = [height.div_ceil(op.kernel), width.div_ceil(op.kernel)];
        let [high, wide] = if entry == "backward" { cells } else { [out_height, out_width] };
        let threads = n * c.div_ceil(4) * high * wide;
        let params = [
            ("threads", threads.into()),
            ("height", height.into()),
            ("width", width.into()),
            ("out_height", out_height.into()),
            ("out_width", out_width.into()),
            ("cells_high", cells[0].into()),
            ("cells_wide", cells[1].into()),
        ];
        Some(Launch::threads(threads, params).with("K", op.kernel))
    })?;
    Some(work.faster(4.0))
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

pub fn cases() -> Vec<Case> {
    let case =
        |kernel, stride, padding, x| Case::new(MaxPool2d { kernel, stride, padding }, &[x]).fill(0, Fill::With(apart));
    vec![
        case(1, 1, 0, [1, 1, 1, 1]),
        case(2, 2, 0, [2, 3, 5, 7]),
        case(3, 2, 1, [2, 3, 5, 7]),
        case(3, 1, 1, [1, 1, 2, 129]),
        case(2, 3, 1, [1, 5, 13, 4]),
        case(3, 2, 1, [2, 3, 9, 7]).fill(0, Fill::With(with_nan)).rough(),
        // Windows side by side, with pixels past the last one below and to the right.
        case(3, 3, 0, [2, 5, 11, 8]),
        case(4, 4, 0, [1, 6, 8, 21]),
        case(2, 2, 0, [2, 3, 9, 7]).fill(0, Fill::With(with_nan)).rough(),
        case(2, 2, 0, [1, 64, 41, 33]).fill(0, Fill::With(ties)).real(),
        // Ties are left out of the gradient check, where a finite difference would move the maximum.
        case(3, 2, 1, [1, 64, 40, 32]).fill(0, Fill::With(ties)).real(),
    ]
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

    #[test]
    fn shape_when_windows_do_not_fit_is_refused() {
        let shape = |kernel, stride, padding| {
            MaxPool2d { kernel, stride, padding }.shape(&[[1, 2, 4, 5].into()]).map_err(|e| e.to_string())
        };
        assert_eq!(shape(3, 2, 1), Ok([1, 2, 2, 3].into()));
        assert_eq!(shape(2, 0, 0), Err("stride must be 1 to 65535, got 0".into()));
        assert_eq!(shape(0, 1, 0), Err("kernel must be 1 to 65535, got 0".into()));
        assert_eq!(shape(3, 1, 2), Err("padding must be at most 1, half the kernel, got 2".into()));
        let message = shape(5, 1, 0).expect_err("the image is 4 pixels high");
        assert_eq!(message, "x must be [N, C, H, W], H and W at least 5 and below 2^32 with padding, got [1, 2, 4, 5]");
    }
}
