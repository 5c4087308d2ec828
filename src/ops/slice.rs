//! slice: `len` channels of x, starting at channel `start`.
//!
//! `y[n,c,i,j] = x[n,start+c,i,j], 0 ≤ c < len`
//!
//! | name | shape         | meaning |
//! |------|---------------|---------|
//! | x    | `[N,C,H,W]`   | input   |
//! | y    | `[N,len,H,W]` | output  |
//!
//! Gradient: dy in the slice, 0 in the other channels.
//! Errors: `len` is 0, or the slice reaches past C.
//! Numerics: exact.
//! Source: definition as in torch.narrow(x, 1, start, len).

use super::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// Channels `start … start + len − 1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The first channel, from 0.
    pub start: usize,
    /// Number of channels, at least 1.
    pub len: usize,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("slice/plain"), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, c, h, w] = x[0].nchw();
        if self.start >= c {
            return Err(ShapeError::value("start", format!("below C={c}"), self.start));
        }
        if self.len == 0 || self.len > c - self.start {
            let most = c - self.start;
            return Err(ShapeError::value("len", format!("1 to {most} (C={c} from {})", self.start), self.len));
        }
        Ok([n, self.len, h, w].into())
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let written = if method == "backward" { io.x_len(0) } else { io.y_len() };
        Cost::new(0, io.y_len() + written)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let [_, c, h, w] = io.x[0].nchw();
        for (y, x) in y.chunks_exact_mut(self.len * h * w).zip(x[0].chunks_exact(c * h * w)) {
            y.copy_from_slice(&x[self.start * h * w..][..self.len * h * w]);
        }
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let [_, c, h, w] = io.x[0].nchw();
        for (dy, dx) in dy.chunks_exact(self.len * h * w).zip(dx[0].chunks_exact_mut(c * h * w)) {
            dx[self.start * h * w..][..self.len * h * w].copy_from_slice(dy);
        }
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// `shaders/slice/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Slice>()?, &call.io);
    call.work(caps, |entry| {
        let [_, c, h, w] = io.x[0].nchw();
        let threads = if entry == "backward" { io.x_len(0) } else { io.y_len() };
        let params = [
            ("threads", threads.into()),
            ("image", (c * h * w).into()),
            ("skip", (op.start * h * w).into()),
            ("taken", (op.len * h * w).into()),
        ];
        Some(Launch::threads(threads, params))
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(Slice { start: 0, len: 1 }, &[[1, 1, 1, 1]]),
        Case::new(Slice { start: 1, len: 2 }, &[[2, 4, 5, 7]]),
        Case::new(Slice { start: 0, len: 2 }, &[[2, 3, 5, 7]]),
        Case::new(Slice { start: 1, len: 1 }, &[[1, 2, 1, 257]]),
        Case::new(Slice { start: 3, len: 4 }, &[[3, 7, 3, 2]]),
        Case::new(Slice { start: 16, len: 32 }, &[[1, 64, 48, 40]]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_when_slice_leaves_the_channels_is_refused() {
        let shape = |start, len| Slice { start, len }.shape(&[[1, 5, 2, 2].into()]).map_err(|e| e.to_string());
        assert_eq!(shape(2, 3), Ok([1, 3, 2, 2].into()));
        assert_eq!(shape(5, 1), Err("start must be below C=5, got 5".into()));
        assert_eq!(shape(2, 0), Err("len must be 1 to 3 (C=5 from 2), got 0".into()));
        assert_eq!(shape(2, usize::MAX), Err(format!("len must be 1 to 3 (C=5 from 2), got {}", usize::MAX)));
    }
}
