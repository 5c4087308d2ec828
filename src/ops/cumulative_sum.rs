//! cumulative_sum: the sum of the elements up to each position along an axis.
//!
//! `y[…, i, …] = Σ_{k ≤ i} x[…, k, …]`; k < i if `exclusive`, and from the other end if `reverse`.
//!
//! | name | shape     | meaning |
//! |------|-----------|---------|
//! | x    | any shape | input   |
//! | y    | as x      | sums    |
//!
//! Gradient: for x, the cumulative sum of dy from the other end; backward reads dy.
//! Errors: the axis does not exist.
//! Numerics: f32 sums in a fixed order, in blocks of 64.
//! Source: definition, as CumSum of ONNX.

use super::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl, with_nan};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CumulativeSum {
    pub axis: usize,
    /// Leaves out the element at the position itself: the first sum is 0.
    pub exclusive: bool,
    /// Adds up from the end of the axis.
    pub reverse: bool,
}

/// Elements per block; `BLOCK` in the shader.
const BLOCK: usize = 64;

impl CumulativeSum {
    /// Returns the number of elements on the axis and the distance between neighbours there.
    fn line(&self, x: Shape) -> (usize, usize) {
        (x[self.axis], x[self.axis + 1..].iter().product())
    }

    /// Writes the cumulative sums of `x` over `y`.
    fn sums(&self, io: &Io, reverse: bool, x: &[f64], y: &mut [f64]) {
        let (len, stride) = self.line(io.x[0]);
        for line in 0..x.len() / len {
            let mut sum = 0.0;
            for step in 0..len {
                let position = if reverse { len - 1 - step } else { step };
                let i = (line / stride * len + position) * stride + line % stride;
                y[i] = if self.exclusive { sum } else { sum + x[i] };
                sum += x[i];
            }
        }
    }
}

impl Op for CumulativeSum {
    fn name(&self) -> &'static str {
        "cumulative_sum"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("cumulative_sum/plain"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if self.axis >= x[0].rank() {
            return Err(ShapeError::value("axis", format!("0 to {}", x[0].rank() - 1), self.axis));
        }
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(3 * io.y_len(), 2 * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.sums(io, self.reverse, &x[0], y);
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.sums(io, !self.reverse, dy, &mut dx[0]);
    }
    fn tolerance(&self, _output: &str, io: &Io, _at: &Values) -> Tolerance {
        let (len, _) = self.line(io.x[0]);
        // The additions of a block, of the blocks before it, and of both.
        Tolerance::Terms(len.min(BLOCK) + len.div_ceil(BLOCK))
    }
}

/// `shaders/cumulative_sum/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<CumulativeSum>()?, &call.io);
    let (len, stride) = op.line(io.x[0]);
    let (lines, blocks) = (io.x_len(0) / len, len.div_ceil(BLOCK));
    let is_forward = call.method == "forward";
    let work = call.work(caps, |entry| {
        let threads = if entry.ends_with("_2") { lines } else { lines * blocks };
        let params = [
            ("threads", threads.into()),
            ("len", len.into()),
            ("stride", stride.into()),
            ("blocks", blocks.into()),
            ("reverse", u32::from(op.reverse == is_forward).into()),
            ("exclusive", u32::from(op.exclusive).into()),
        ];
        Some(Launch::threads(threads, params))
    })?;
    Some(work.scratch(vec![("t0", lines * blocks), ("t1", lines * blocks)]))
}

pub fn cases() -> Vec<Case> {
    let case = |x: &[usize], axis, exclusive, reverse| {
        let shape = Shape::new(x).expect("a case has one to six dimensions");
        Case::new(CumulativeSum { axis, exclusive, reverse }, &[shape])
    };
    vec![
        case(&[1], 0, false, false),
        case(&[5, 7], 1, true, false),
        case(&[2, 3, 5, 7], 1, false, true),
        case(&[2, 3, 2, 5, 2, 3], 3, true, true),
        case(&[257], 0, false, false),
        case(&[65, 3], 0, true, true),
        case(&[2, 130, 70], 1, true, false),
        case(&[300, 5], 1, false, true),
        case(&[3, 200], 1, false, false).fill(0, Fill::With(with_nan)).rough(),
        case(&[64, 4096], 1, false, false).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_kinds_are_those_of_onnx() {
        let io = Io { x: &[[3].into()], y: [3].into() };
        for (exclusive, reverse, expected) in [
            (false, false, [1.0, 3.0, 6.0]),
            (true, false, [0.0, 1.0, 3.0]),
            (false, true, [6.0, 5.0, 3.0]),
            (true, true, [5.0, 3.0, 0.0]),
        ] {
            let mut y = [9.0; 3];
            CumulativeSum { axis: 0, exclusive, reverse }.reference(&io, &[vec![1.0, 2.0, 3.0]], &mut y);
            assert_eq!(y, expected);
        }
    }

    #[test]
    fn an_axis_that_does_not_exist_is_refused() {
        assert!(CumulativeSum { axis: 2, ..CumulativeSum::default() }.shape(&[[2, 3].into()]).is_err());
    }
}
