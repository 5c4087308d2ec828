//! relu: y = max(x, 0), element by element.
//!
//! | name | shape     | meaning |
//! |------|-----------|---------|
//! | x    | any shape | input   |
//! | y    | any shape | output  |
//!
//! Gradient: for x; backward reads y and dy, not x (y > 0 exactly where x > 0). At x = 0 it is 0, as in PyTorch.
//! NaN propagates: where x is NaN, y is NaN and dx is dy.
//! Numerics: exact.
//! Source: definition as in torch.nn.functional.relu.

use super::{
    Call, Caps, Case, Cost, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Relu;

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("relu/plain" + "one"), |call, caps| rows(call, caps, 1)),
            Kernel::new(wgsl!("relu/quads"), quads).only(Family::Software),
        ];
        fours::with_sibling(KERNELS, |call, caps| rows(call, caps, 4))
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn fusible(&self) -> Option<super::Fusible> {
        Some(super::Fusible::Slope(0.0))
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, &x) in y.iter_mut().zip(&x[0]) {
            *y = if x < 0.0 { 0.0 } else { x };
        }
    }
    fn reference_grad(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for ((dx, &x), &dy) in dx[0].iter_mut().zip(&x[0]).zip(dy) {
            *dx = if x <= 0.0 { 0.0 } else { dy };
        }
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// `shaders/relu/plain.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let len = fours::units(call.io.y_len(), width)?;
    call.work(caps, |_| Some(Launch::threads(len, [("len", len.into())]))).map(|work| work.faster(fours::gain(width)))
}

/// `shaders/relu/quads.wgsl`: pays off only if its neighbours lie in channel quads.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let len = Layout::Quads.elements(&call.io.y);
    let launch = || Launch::threads(len, [("len", len.into())]);
    call.work(caps, |_| (len <= MAX_TEXELS).then(launch)).map(|work| work.faster(1.5))
}

pub fn cases() -> Vec<Case> {
    [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 1, 257], [1, 5, 13, 4]]
        .map(|x| Case::new(Relu, &[x]).gap(1e-3))
        .into_iter()
        .chain([
            Case::new(Relu, &[[2, 5, 3, 7]]).fill(0, Fill::With(with_nan)).rough(),
            Case::new(Relu, &[[257]]).gap(1e-3),
            Case::new(Relu, &[[3, 9, 5]]).gap(1e-3),
            Case::new(Relu, &[[2, 3, 5, 2, 3, 2]]).gap(1e-3),
            Case::new(Relu, &[[1, 64, 64, 64]]).gap(1e-3).real(),
        ])
        .collect()
}
