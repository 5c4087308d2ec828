//! sigmoid: y = 1 / (1 + exp(−x)), element by element.
//!
//! | name | shape     | meaning             |
//! |------|-----------|---------------------|
//! | x    | any shape | input               |
//! | y    | any shape | output, in `[0, 1]` |
//!
//! Gradient: for x, dy·y·(1 − y); backward reads y and dy, not x.
//! Numerics: computed from exp(−|x|), which cannot overflow. With WGSL's bounds on exp (3 + 2·|x| ULP) and division
//! (2.5 ULP) the relative error is at most 2⁻²³·(3.5 + (1 − y)·(3 + 2·|x|)).
//! Source: definition as in torch.sigmoid; accuracy: WGSL specification, section "Floating Point Accuracy".

use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sigmoid;

/// WGSL may flush results below 2⁻¹²⁶ to zero: once in exp, once in the quotient.
const FLUSH: f64 = 2.0 * f32::MIN_POSITIVE as f64;

/// Returns the error of `forward`. exp(−|x|) = e carries a relative error of δ = (3 + 2·|x|)·ε (ε = 2⁻²³, one ULP). It
/// enters the denominator 1 + e and, for x below zero, also the numerator: in both cases y changes by the factor
/// 1 + (1 − y)·δ. The sum 1 + e adds ε, the division 2.5·ε.
fn forward_error(x: f64, y: f64) -> f64 {
    EPS * y * (3.5 + (1.0 - y) * (3.0 + 2.0 * x.abs())) + FLUSH
}

impl Op for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("sigmoid/plain"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(3 * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, &x) in y.iter_mut().zip(&x[0]) {
            *y = 1.0 / (1.0 + (-x).exp());
        }
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for ((dx, &y), &dy) in dx[0].iter_mut().zip(y).zip(dy) {
            *dx = dy * y * (1.0 - y);
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        let bound = |i: usize| {
            let (x, y) = (at.x[0][i], at.y[i]);
            let error = forward_error(x, y);
            if output == "y" {
                return error;
            }
            // The y that backward reads is off by δ ≤ `error`, which changes y·(1 − y) by |δ·(1 − 2y) − δ²|; the
            // difference and the two products are rounded once each.
            let dy = at.dy[i].abs();
            let rounding = 3.0 * EPS * (y * (1.0 - y) + error);
            dy * ((1.0 - 2.0 * y).abs() * error + error * error + rounding) + (1.0 + dy) * FLUSH
        };
        Tolerance::Each((0..at.y.len()).map(bound).collect())
    }
}

/// `shaders/sigmoid/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    call.work(caps, |_| Some(Launch::threads(io.y_len(), [("len", io.y_len().into())])))
}

pub fn cases() -> Vec<Case> {
    // Far from zero, a plain exp(−x) would overflow f32 (|x| > 88.7), and y reaches 0 and 1.
    let far = |low, high| Fill::Uniform { low, high, gap: 0.0 };
    vec![
        Case::new(Sigmoid, &[[1, 1, 1, 1]]),
        Case::new(Sigmoid, &[[2, 3, 5, 7]]),
        Case::new(Sigmoid, &[[1, 1, 1, 257]]).fill(0, far(-9.0, 12.0)),
        Case::new(Sigmoid, &[[1, 5, 13, 4]]).fill(0, far(-300.0, 200.0)),
        Case::new(Sigmoid, &[[3, 50]]),
        Case::new(Sigmoid, &[[1, 1, 128, 128]]).fill(0, far(-4.0, 6.0)).real(),
    ]
}
