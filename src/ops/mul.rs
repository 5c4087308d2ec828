//! mul: y = a·b, element by element.
//!
//! | name | shape     | meaning |
//! |------|-----------|---------|
//! | a    | any shape | factor  |
//! | b    | any shape | factor  |
//! | y    | any shape | product |
//!
//! Gradients: dy·b for a, dy·a for b.
//! Errors: a and b differ in shape.
//! Numerics: one rounding.
//! Source: definition.

use super::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Mul;

impl Op for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("mul/plain"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if x[1] != x[0] {
            return Err(ShapeError::shape("b", format!("a's shape {:?}", x[0]), x[1]));
        }
        Ok(x[0])
    }
    fn fusible(&self) -> Option<super::Fusible> {
        Some(super::Fusible::Product)
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), 3 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for ((y, a), b) in y.iter_mut().zip(&x[0]).zip(&x[1]) {
            *y = a * b;
        }
    }
    fn reference_grad(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for (i, &dy) in dy.iter().enumerate() {
            dx[0][i] = dy * x[1][i];
            dx[1][i] = dy * x[0][i];
        }
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(1)
    }
}

/// `shaders/mul/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    call.work(caps, |_| Some(Launch::threads(io.y_len(), [("len", io.y_len().into())])))
}

pub fn cases() -> Vec<Case> {
    [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 1, 257], [1, 5, 13, 4]]
        .map(|x| Case::new(Mul, &[x, x]))
        .into_iter()
        .chain([Case::new(Mul, &[[7, 30]; 2]), Case::new(Mul, &[[2, 3, 4, 2, 3]; 2])])
        .chain([Case::new(Mul, &[[1, 64, 32, 32]; 2]).real()])
        .collect()
}
