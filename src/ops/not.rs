//! not: y = 1 where x is 0, else 0, element by element.
//!
//! | name | shape          | meaning                            |
//! |------|----------------|------------------------------------|
//! | x    | any shape, u32 | truth values; every u32 but 0 is true |
//! | y    | as x, u32      | 1 or 0                             |
//!
//! Gradients: none; y is not differentiable.
//! Numerics: exact.
//! Source: definition, as Not of ONNX.

use super::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::{DType, Shape, len};

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Not;

impl Op for Not {
    fn name(&self) -> &'static str {
        "not"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn dtype(&self, _name: &str) -> DType {
        DType::U32
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("not/plain"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), 2 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.iter_mut().zip(&x[0]).for_each(|(y, &x)| *y = f64::from(x == 0.0));
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "a truth value is not differentiable")]
    }
    fn tolerance(&self, _output: &str, io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Each(vec![0.0; io.y_len()])
    }
}

/// `shaders/not/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let len = call.io.y_len();
    call.work(caps, |_| Some(Launch::threads(len, [("len", len.into())])))
}

pub fn cases() -> Vec<Case> {
    let case = |x: &[usize]| {
        let shape = Shape::new(x).expect("a case has one to six dimensions");
        let few = Fill::With(|rng, x, k| (0..len(&x[k])).map(|_| rng.below(3) as f64).collect());
        Case::new(Not, &[shape]).fill(0, few)
    };
    vec![case(&[1]), case(&[2, 3, 5, 7]), case(&[257]), case(&[2, 3, 2, 5, 2, 3]), case(&[1, 64, 64, 64]).real()]
}
