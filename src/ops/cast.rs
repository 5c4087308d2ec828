//! cast: converts elements from f32 to u32, or from u32 to f32.
//!
//! | name | shape                | meaning |
//! |------|----------------------|---------|
//! | x    | any shape, f32 or u32 | input  |
//! | y    | as x, the other type | output  |
//!
//! f32 to u32 truncates towards zero; what lies outside of 0 to 2³² − 1 becomes the nearer of these, and NaN becomes 0. u32 to f32 rounds
//! to the nearest, as values above 2²⁴ need.
//!
//! Gradients: none; integers are not differentiable.
//! Errors: the type is not f32 or u32.
//! Numerics: exact up to 2²⁴.
//! Source: definition, as Cast of ONNX between float and uint32, and the conversions of Rust's `as`.

use super::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::{DType, Shape, len};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The type of y: u32 for x of f32, or f32 for x of u32.
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
        match (name, self.to) {
            ("x", DType::F32) => DType::U32,
            ("x", _) => DType::F32,
            (_, to) => to,
        }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const TO_F32: &[Kernel] = &[Kernel::new(wgsl!("cast/to_f32"), converted)];
        const TO_U32: &[Kernel] = &[Kernel::new(wgsl!("cast/plain"), converted)];
        if self.to == DType::F32 { TO_F32 } else { TO_U32 }
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        match self.to {
            DType::I32 => Err(ShapeError::value("to", "f32 or u32", self.to)),
            _ => Ok(x[0]),
        }
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), 2 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let is_float = self.to == DType::F32;
        y.iter_mut()
            .zip(&x[0])
            .for_each(|(y, &x)| *y = if is_float { f64::from(x as f32) } else { f64::from(x as u32) });
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "integers are not differentiable")]
    }
    fn tolerance(&self, _output: &str, io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Each(vec![0.0; io.y_len()])
    }
}

/// `shaders/cast/plain.wgsl` and `shaders/cast/to_f32.wgsl`.
fn converted(call: &Call, caps: &Caps) -> Option<Work> {
    let len = call.io.y_len();
    call.work(caps, |_| Some(Launch::threads(len, [("len", len.into())])))
}

pub fn cases() -> Vec<Case> {
    let shape = |x: &[usize]| Shape::new(x).expect("a case has one to six dimensions");
    // Fractions, negative numbers, and now and then a NaN or what no u32 holds.
    let floats = |x: &[usize]| {
        let fill = Fill::With(|rng, x, k| {
            let odd = [f64::NAN, -3.5, 1e20, -1e20, 4_294_967_040.0, f64::INFINITY];
            let value = |i: usize, v: f64| if i % 7 == 3 { odd[i / 7 % odd.len()] } else { v };
            (0..len(&x[k])).map(|i| value(i, rng.uniform(-4.0, 900.0))).collect()
        });
        Case::new(Cast { to: DType::U32 }, &[shape(x)]).fill(0, fill).rough()
    };
    let integers = |x: &[usize]| {
        let fill = Fill::With(|rng, x, k| (0..len(&x[k])).map(|_| rng.below(1 << 24) as f64).collect());
        Case::new(Cast { to: DType::F32 }, &[shape(x)]).fill(0, fill)
    };
    vec![
        floats(&[1]),
        floats(&[2, 3, 5, 7]),
        floats(&[2, 3, 2, 5, 2, 3]),
        integers(&[1]),
        integers(&[257]),
        integers(&[2, 3, 5, 7]),
        integers(&[2, 3, 2, 5, 2, 3]),
        integers(&[1, 64, 64, 64]).real(),
    ]
}
