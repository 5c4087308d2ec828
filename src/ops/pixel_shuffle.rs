//! pixel_shuffle: turns channels into pixels, every r² channels into a block of r × r.
//!
//! `y[n,c,i·r+u,j·r+v] = x[n,c·r²+u·r+v,i,j], 0 ≤ u,v < r`
//!
//! | name | shape           | meaning                         |
//! |------|-----------------|---------------------------------|
//! | x    | `[N,C·r²,H,W]`  | input; r² neighbouring channels |
//! |      |                 | make one channel of y           |
//! | y    | `[N,C,H·r,W·r]` | output                          |
//!
//! Gradient: for x, dy moved back to the channels.
//! Errors: the factor r is 0, or r² does not divide the channels.
//! Numerics: exact.
//! Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
//! Neural Network", 2016, eq. 4, with the order of channels of torch.nn.functional.pixel_shuffle.

use super::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// Enlarges by an integer factor.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelShuffle {
    /// r, at least 1.
    pub factor: usize,
}

impl PixelShuffle {
    /// Calls `f` with the index of every element of x and of the element of y that it becomes.
    fn pairs(&self, io: &Io, mut f: impl FnMut(usize, usize)) {
        let r = self.factor;
        let [n, c, h, w] = io.y.nchw();
        for n in 0..n {
            for c in 0..c {
                for i in 0..h {
                    for j in 0..w {
                        let channel = c * r * r + i % r * r + j % r;
                        let x = ((n * io.x[0][1] + channel) * (h / r) + i / r) * (w / r) + j / r;
                        f(x, ((n * io.y[1] + c) * h + i) * w + j);
                    }
                }
            }
        }
    }
}

impl Op for PixelShuffle {
    fn name(&self) -> &'static str {
        "pixel_shuffle"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("pixel_shuffle/plain"), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, c, h, w] = x[0].nchw();
        let r = self.factor;
        let Some(square) = r.checked_mul(r).filter(|&s| s > 0 && s <= c) else {
            return Err(ShapeError::value("factor", format!("at least 1, with factor² at most C={c}"), r));
        };
        match (h.checked_mul(r), w.checked_mul(r)) {
            (Some(high), Some(wide)) if c % square == 0 => Ok([n, c / square, high, wide].into()),
            _ => Err(ShapeError::shape("x", format!("[N, C·{square}, H, W]"), x[0])),
        }
    }
    fn fusible(&self) -> Option<super::Fusible> {
        Some(super::Fusible::Shuffle(self.factor))
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(0, 2 * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.pairs(io, |from, to| y[to] = x[0][from]);
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.pairs(io, |to, from| dx[0][to] = dy[from]);
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// `shaders/pixel_shuffle/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<PixelShuffle>()?, &call.io);
    call.work(caps, |_| {
        let [_, _, height, width] = io.x[0].nchw();
        let threads = io.x_len(0) / (op.factor * op.factor);
        let params = [
            ("threads", threads.into()),
            ("height", height.into()),
            ("width", width.into()),
            ("factor", op.factor.into()),
        ];
        Some(Launch::threads(threads, params))
    })
}

pub fn cases() -> Vec<Case> {
    let case = |factor, x| Case::new(PixelShuffle { factor }, &[x]);
    vec![
        case(1, [1, 1, 1, 1]),
        case(2, [2, 12, 3, 5]),
        case(3, [2, 9, 2, 3]),
        case(2, [1, 4, 1, 257]),
        case(4, [1, 32, 3, 2]),
        case(3, [1, 27, 48, 40]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_when_one_pixel_puts_channels_in_row_order() {
        let op = PixelShuffle { factor: 2 };
        let x = [[1, 8, 1, 1]];
        let io = Io { x: &x.map(Into::into), y: op.shape(&x.map(Into::into)).expect("8 is 2·2²") };
        assert_eq!(io.y, [1, 2, 2, 2]);
        let mut y = vec![0.0; 8];
        op.reference(&io, &[(0..8).map(f64::from).collect()], &mut y);
        assert_eq!(y, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn shape_when_factor_does_not_fit_is_refused() {
        let shape = |factor| PixelShuffle { factor }.shape(&[[1, 12, 2, 2].into()]).map_err(|e| e.to_string());
        assert_eq!(shape(0), Err("factor must be at least 1, with factor² at most C=12, got 0".into()));
        assert_eq!(shape(3), Err("x must be [N, C·9, H, W], got [1, 12, 2, 2]".into()));
        assert!(shape(usize::MAX).is_err());
    }
}
