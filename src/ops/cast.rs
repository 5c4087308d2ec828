//! cast: the elements as another type, f32 as u32 or u32 as f32.
//!
//! | name | shape                 | meaning                                                                |
//! |------|-----------------------|------------------------------------------------------------------------|
//! | x    | any shape, f32 or u32 | input                                                                  |
//! | y    | as x, the other type  | as u32, x rounded towards zero and clamped to 0 to 2³² − 1; NaN is 0   |
//!
//! Gradients: none; an integer is not differentiable.
//! Errors: y would be neither of f32 nor of u32.
//! Numerics: y of u32 is exact. A u32 above 2²⁴ becomes the nearest f32; an adapter may take the neighbour.
//! Source: definition, as Cast of ONNX, which leaves NaN and numbers out of range open; there it is `as` of Rust.

use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl, with_nan};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{DType, Shape, len};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The type of y: u32 for x of f32, f32 for x of u32.
    pub to: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn dtype(&self, name: &str) -> DType {
        match self.to {
            _ if name == "y" => self.to,
            DType::F32 => DType::U32,
            DType::I32 | DType::U32 => DType::F32,
        }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const INTEGERS: &[Kernel] = &[Kernel::new(wgsl!("cast/plain"), plain)];
        const FLOATS: &[Kernel] = &[Kernel::new(wgsl!("cast/floats"), plain)];
        if self.to == DType::F32 { FLOATS } else { INTEGERS }
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if self.to == DType::I32 {
            return Err(ShapeError::value("to", "f32 or u32", self.to));
        }
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), 2 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let cast = |x: f64| if self.to == DType::F32 { x } else { f64::from(x as u32) };
        y.iter_mut().zip(&x[0]).for_each(|(y, &x)| *y = cast(x));
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "an integer is not differentiable")]
    }
    fn tolerance(&self, _output: &str, _io: &Io, at: &Values) -> Tolerance {
        let is_exact = |y: f64| self.to == DType::U32 || y <= 16_777_216.0;
        Tolerance::Each(at.y.iter().map(|&y| if is_exact(y) { 0.0 } else { EPS * y }).collect())
    }
}

/// `shaders/cast/plain.wgsl` and `floats.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let len = call.io.y_len();
    call.work(caps, |_| Some(Launch::threads(len, [("len", len.into())])))
}

/// Draws numbers at and around the borders of the branches, of both signs.
fn borders(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    const ALL: [f64; 12] =
        [0.0, -0.0, 0.999_999_94, 1.0, -1.0, -2.5, 16_777_217.0, 4_294_967_040.0, 4_294_967_296.0, 1e30, -1e30, 1e-40];
    (0..len(&x[k])).map(|_| ALL[rng.below(ALL.len())]).collect()
}

fn infinities(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| [f64::INFINITY, f64::NEG_INFINITY, 3.75][rng.below(3)]).collect()
}

/// Draws integers of any size.
fn integers(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| (rng.below(1 << 16) << rng.below(17)) as f64).collect()
}

pub fn cases() -> Vec<Case> {
    let case = |to, x: &[usize]| Case::new(Cast { to }, &[Shape::new(x).expect("a case has one to six dimensions")]);
    let wide = Fill::Uniform { low: -10.0, high: 1000.0, gap: 0.0 };
    let to_u32 = |x: &[usize]| case(DType::U32, x).fill(0, wide);
    let to_f32 = |x: &[usize]| case(DType::F32, x).fill(0, Fill::With(integers));
    vec![
        to_u32(&[1]),
        to_u32(&[2, 3, 5, 7]),
        to_u32(&[2, 3, 2, 5, 2, 3]),
        to_u32(&[257]).fill(0, Fill::With(borders)),
        to_u32(&[13, 5]).fill(0, Fill::With(infinities)).rough(),
        to_u32(&[9, 5]).fill(0, Fill::With(with_nan)).rough(),
        to_u32(&[1, 64, 64, 64]).real(),
        to_f32(&[1]),
        to_f32(&[2, 3, 5, 7]),
        to_f32(&[257]),
        to_f32(&[2, 3, 2, 5, 2, 3]),
        to_f32(&[1, 64, 64, 64]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_rust() {
        let x = vec![-1.5, 2.999, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 4_294_967_295.5];
        let io = Io { x: &[[6].into()], y: [6].into() };
        let y = crate::ops::reference(&Cast { to: DType::U32 }, &io, &[x]);
        assert_eq!(y, [0.0, 2.0, 0.0, 4_294_967_295.0, 0.0, 4_294_967_295.0]);
        let error = Cast { to: DType::I32 }.shape(&[[6].into()]).unwrap_err().to_string();
        assert_eq!(error, "to must be f32 or u32, got i32");
    }
}
