//! clip: the factor that scales a gradient's norm down to a limit, and the norm.
//!
//! y₁ = ‖x‖ = √(Σ x²);  y₀ = min(1, limit / ‖x‖), or 0 if the norm is not finite.
//!
//! | name | shape       | meaning                                                       |
//! |------|-------------|---------------------------------------------------------------|
//! | x    | `[N,C,H,W]` | a gradient, or a pack of gradients, whose joint norm is taken |
//! | y    | `[1,2,1,1]` | factor and norm; optimisers read it as s                      |
//!
//! An infinite limit never scales, but still gives 0 for a gradient with a NaN. Optimisers then change nothing, so that the
//! state before it can be inspected.
//! Gradients: none; a step of training is not differentiated.
//! Errors: the limit is not above 0.
//! Numerics: an f32 sum in a fixed order, in two passes; past a norm of 10¹⁹ it overflows, and the factor is 0.
//! Source: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.

use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Largest norm that is left unchanged; may be infinite.
    pub limit: f32,
}

/// Maximum number of elements per partial sum.
const EACH: usize = 64;

impl Op for Clip {
    fn name(&self) -> &'static str {
        "clip"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("clip/plain" + "total"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, _x: &[Shape]) -> Result<Shape, ShapeError> {
        if self.limit.is_nan() || self.limit <= 0.0 {
            return Err(ShapeError::value("limit", "above 0", self.limit));
        }
        Ok([1, 2, 1, 1].into())
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(2 * io.x_len(0), io.x_len(0) + 2)
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y[1] = x[0].iter().map(|v| v * v).sum::<f64>().sqrt();
        y[0] = if !y[1].is_finite() {
            0.0
        } else if y[1] > f64::from(self.limit) {
            f64::from(self.limit) / y[1]
        } else {
            1.0
        };
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "a step of training is not differentiated")]
    }
    fn tolerance(&self, _output: &str, io: &Io, at: &Values) -> Tolerance {
        // The square, the additions of one thread, of one lane over the threads and of the 64 lanes; the root halves these
        // and adds 3 (WGSL: 2 ULP of the inverse root, and a division); then the division adds 3.
        let roundings = 1 + EACH + io.x_len(0).div_ceil(EACH).div_ceil(64) + 64;
        let relative = EPS * (roundings as f64 / 2.0 + 6.0);
        Tolerance::Each(at.y.iter().map(|y| relative * y.abs()).collect())
    }
}

/// `shaders/clip/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Clip>()?, &call.io);
    let scratch = vec![("t0", io.x_len(0).div_ceil(EACH))];
    let work = call.work(caps, |entry| {
        let len = io.x_len(0);
        let threads = len.div_ceil(EACH);
        // A shader has no infinity; no f32 norm exceeds the largest number.
        let limit = Scalar::F32(op.limit.min(f32::MAX));
        let params = [("len", len.into()), ("threads", threads.into()), ("limit", limit)];
        Some(match entry {
            "forward_1" => Launch::threads(threads, params),
            _ => Launch::groups([1, 1, 1], params),
        })
    })?;
    Some(work.scratch(scratch))
}

pub fn cases() -> Vec<Case> {
    let case = |x: [usize; 4], limit| Case::new(Clip { limit }, &[x]);
    vec![
        case([1, 1, 1, 1], f32::INFINITY),
        case([2, 3, 5, 7], 1.0),
        case([1, 1, 1, 257], 0.1),
        case([1, 5, 13, 4], 1e6),
        case([1, 1, 66, 64], f32::INFINITY),
        // A norm half a per cent above the limit: 20 · 0.201.
        case([1, 5, 8, 10], 4.0).fill(0, Fill::With(|_, x, k| vec![0.201; crate::tensor::len(&x[k])])),
        Case::new(Clip { limit: 1.0 }, &[[3, 50]]),
        // The parameters of FSRCNN.
        case([1, 1, 1, 12_992], 1.0).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_gives_zero() {
        for x in [f64::NAN, f64::INFINITY] {
            let mut y = [9.0; 2];
            Clip { limit: f32::INFINITY }.reference(
                &Io { x: &[[1, 2, 1, 1].into()], y: [1, 2, 1, 1].into() },
                &[vec![1.0, x]],
                &mut y,
            );
            assert_eq!(y[0], 0.0);
        }
    }
}
