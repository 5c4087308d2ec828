//! add: y = a + b, element by element.
//!
//! | name | shape     | meaning |
//! |------|-----------|---------|
//! | a    | any shape | summand |
//! | b    | any shape | summand |
//! | y    | any shape | sum     |
//!
//! Gradients: dy for both.
//! Errors: a and b differ in shape.
//! Numerics: one rounding.
//! Source: definition.

use super::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("add/plain"), plain)];
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
        Some(super::Fusible::Sum)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let flops = if method == "forward" { io.y_len() } else { 0 };
        Cost::new(flops, 3 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for ((y, a), b) in y.iter_mut().zip(&x[0]).zip(&x[1]) {
            *y = a + b;
        }
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        dx[0].copy_from_slice(dy);
        dx[1].copy_from_slice(dy);
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(1)
    }
}

/// `shaders/add/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    call.work(caps, |_| Some(Launch::threads(io.y_len(), [("len", io.y_len().into())])))
}

pub fn cases() -> Vec<Case> {
    let mut all: Vec<Case> =
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 1, 257], [1, 5, 13, 4]].map(|x| Case::new(Add, &[x, x])).into();
    // Any rank.
    all.extend([Case::new(Add, &[[130], [130]]), Case::new(Add, &[[2, 3, 4, 2, 3, 2]; 2])]);
    all
}
