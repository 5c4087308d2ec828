//! one_hot: turns class indices into vectors that are 1 at the class and 0 elsewhere.
//!
//! `y[…, k, …] = 1 if x[…] = k, else 0`, with k along a new axis.
//!
//! | name | shape                                 | meaning                                                              |
//! |------|---------------------------------------|----------------------------------------------------------------------|
//! | x    | any shape of up to 5 dimensions, u32  | class indices                                                        |
//! | y    | x's with `classes` inserted at `axis` | vectors, such as targets `[N,C,H,W]` of indices `[N,H,W]` for axis 1 |
//!
//! An index that is not below `classes` gives zeros, which masks its position in [softmax_cross_entropy](super::softmax_cross_entropy).
//! Gradients: none; indices are data.
//! Errors: there are no classes; the axis is larger than the rank of x; x has six dimensions.
//! Numerics: exact.
//! Source: definition, as OneHot of ONNX.

use super::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{DType, MAX_RANK, Shape, len};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneHot {
    /// Number of classes, the size of the new axis.
    pub classes: usize,
    /// Position of the new axis in the output.
    pub axis: usize,
}

impl OneHot {
    /// Returns the product of the sizes of the axes of x from `axis` on.
    fn inner(&self, io: &Io) -> usize {
        io.x[0][self.axis..].iter().product()
    }
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "x" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("one_hot/plain"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if self.classes == 0 {
            return Err(ShapeError::value("classes", "at least 1", self.classes));
        }
        let mut sizes = x[0].to_vec();
        if self.axis > sizes.len() {
            return Err(ShapeError::value("axis", format!("0 to {}", sizes.len()), self.axis));
        }
        sizes.insert(self.axis, self.classes);
        Shape::new(&sizes).ok_or_else(|| ShapeError::shape("x", format!("at most {} dimensions", MAX_RANK - 1), x[0]))
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), io.total_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let inner = self.inner(io);
        for (i, &class) in x[0].iter().enumerate() {
            if class < self.classes as f64 {
                y[(i / inner * self.classes + class as usize) * inner + i % inner] = 1.0;
            }
        }
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "indices are data, not computed")]
    }
    fn tolerance(&self, _output: &str, io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Each(vec![0.0; io.y_len()])
    }
}

/// `shaders/one_hot/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<OneHot>()?, &call.io);
    call.work(caps, |_| {
        let params = [("len", io.y_len().into()), ("classes", op.classes.into()), ("inner", op.inner(io).into())];
        Some(Launch::threads(io.y_len(), params))
    })
}

pub fn cases() -> Vec<Case> {
    let case = |classes, axis, x: &[usize]| {
        // Some indices are not below `classes`.
        let indices = |rng: &mut Rng, x: &[Shape], k: usize| (0..len(&x[k])).map(|_| rng.below(9) as f64).collect();
        let shape = Shape::new(x).expect("a case has one to five dimensions");
        Case::new(OneHot { classes, axis }, &[shape]).fill(0, Fill::With(indices))
    };
    vec![
        case(8, 1, &[5]),
        case(1, 0, &[7, 3]),
        case(7, 1, &[2, 5, 3]),
        case(3, 3, &[2, 5, 3]),
        case(5, 2, &[1, 2, 5, 3, 2]),
        // Targets of 40 classes for 4,096 faces.
        case(40, 1, &[4096]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_place_is_refused() {
        let shape = |classes, axis, x: &[usize]| OneHot { classes, axis }.shape(&[Shape::new(x).unwrap()]);
        assert_eq!(shape(7, 1, &[2, 5, 3]).unwrap(), [2, 7, 5, 3]);
        for (classes, axis, x) in [(0, 0, &[2][..]), (3, 2, &[2]), (3, 0, &[1; 6])] {
            assert!(shape(classes, axis, x).is_err());
        }
    }
}
