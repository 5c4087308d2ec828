//! leaky_relu: y = x where x > 0, else slope·x, element by element.
//!
//! | name | shape     | meaning |
//! |------|-----------|---------|
//! | x    | any shape | input   |
//! | y    | any shape | output  |
//!
//! Gradient: for x; backward reads x and dy. At x = 0 it is slope·dy, as in PyTorch.
//! Errors: the slope is infinite or NaN.
//! Numerics: exact where x > 0, else one rounding.
//! Source: Maas, Hannun, Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013, section 2;
//! definition as in torch.nn.functional.leaky_relu.

use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl, with_zeros,
};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// One slope for all channels, not learned.
#[derive(Debug, Clone, PartialEq)]
pub struct LeakyRelu {
    /// Factor applied to values at and below zero; any finite number.
    pub slope: f32,
}

impl Default for LeakyRelu {
    /// The slope 0.01, as in PyTorch.
    fn default() -> Self {
        Self { slope: 0.01 }
    }
}

impl Op for LeakyRelu {
    fn name(&self) -> &'static str {
        "leaky_relu"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("leaky_relu/plain" + "one"), |call, caps| rows(call, caps, 1))];
        fours::with_sibling(KERNELS, |call, caps| rows(call, caps, 4))
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if !self.slope.is_finite() {
            return Err(ShapeError::value("slope", "finite", self.slope));
        }
        Ok(x[0])
    }
    fn fusible(&self) -> Option<super::Fusible> {
        Some(super::Fusible::Slope(self.slope))
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, &x) in y.iter_mut().zip(&x[0]) {
            *y = if x > 0.0 { x } else { f64::from(self.slope) * x };
        }
    }
    fn reference_grad(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for ((dx, &x), &dy) in dx[0].iter_mut().zip(&x[0]).zip(dy) {
            *dx = if x > 0.0 { dy } else { f64::from(self.slope) * dy };
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        // Not `Terms`: the absolute value of x falls on the side without the slope.
        let factors = if output == "y" { &at.x[0] } else { at.dy };
        let slope = f64::from(self.slope);
        let bound = |(&x, &factor): (&f64, &f64)| if x > 0.0 { 0.0 } else { EPS * (slope * factor).abs() };
        Tolerance::Each(at.x[0].iter().zip(factors).map(bound).collect())
    }
}

/// `shaders/leaky_relu/plain.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let (op, len) = (call.op::<LeakyRelu>()?, fours::units(call.io.y_len(), width)?);
    let work = call.work(caps, |_| Some(Launch::threads(len, [("len", len.into()), ("slope", op.slope.into())])))?;
    Some(work.faster(fours::gain(width)))
}

pub fn cases() -> Vec<Case> {
    let case = |slope, x| Case::new(LeakyRelu { slope }, &[x]).gap(1e-3);
    vec![
        case(0.01, [1, 1, 1, 1]),
        case(0.2, [2, 3, 5, 7]),
        case(-0.3, [1, 1, 1, 257]),
        case(1.7, [1, 5, 13, 4]),
        // At 0 the gradient is that of the sloped side.
        case(0.2, [2, 5, 3, 7]).fill(0, Fill::With(with_zeros)).rough(),
        Case::new(LeakyRelu { slope: 0.3 }, &[[130]]).gap(1e-3),
        Case::new(LeakyRelu { slope: 0.3 }, &[[2, 3, 4, 2, 3]]).gap(1e-3),
        case(0.01, [1, 64, 64, 64]).real(),
    ]
}
