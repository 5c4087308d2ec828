//! concat: the elements of a along an axis, then those of b.
//!
//! `y[…,i,…] = a[…,i,…] for i < Sa, else b[…,i−Sa,…]`
//!
//! | name | shape                                  | meaning                       |
//! |------|----------------------------------------|-------------------------------|
//! | a    | any shape, Sa on the axis, f32 or u32  | the first Sa positions of y   |
//! | b    | as a, but Sb on the axis               | the last Sb positions of y    |
//! | y    | as a, but Sa+Sb on the axis            | output                        |
//!
//! Gradients: the part of dy that each input contributed; none for u32.
//! Errors: the axis does not exist; a and b differ on another axis; the elements have another type.
//! Numerics: exact.
//! Source: definition as in torch.cat and Concat of ONNX.

use super::{Call, Caps, Case, Cost, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl, with_nan};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::{DType, Shape, len};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concat {
    pub axis: usize,
    /// The type of all elements, f32 or u32.
    pub dtype: DType,
}

impl Concat {
    /// Returns how many elements a and b have in a row in y: those of the axis and the ones behind it.
    fn runs(&self, io: &Io) -> [usize; 2] {
        [0, 1].map(|k| io.x[k][self.axis..].iter().product())
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn dtype(&self, _name: &str) -> DType {
        self.dtype
    }
    fn kernels(&self) -> &'static [Kernel] {
        const FLOATS: &[Kernel] = &[
            Kernel::new(wgsl!("concat/plain" + "quotient"), plain),
            Kernel::new(wgsl!("concat/quads" + "texels" + "quotient"), quads).only(Family::Software),
        ];
        const INTEGERS: &[Kernel] = &[Kernel::new(wgsl!("concat/integers" + "quotient"), plain)];
        if self.dtype == DType::U32 { INTEGERS } else { FLOATS }
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if self.dtype == DType::I32 {
            return Err(ShapeError::value("a", "f32 or u32", self.dtype));
        }
        let (mut sizes, mut others) = (x[0].to_vec(), x[1].to_vec());
        let Some(size) = sizes.get_mut(self.axis) else {
            return Err(ShapeError::value("axis", format!("0 to {}", x[0].rank() - 1), self.axis));
        };
        let both = others.get_mut(self.axis).and_then(|other| size.checked_add(std::mem::replace(other, *size)));
        match both {
            Some(both) if *x[0] == *others => *size = both,
            _ => return Err(ShapeError::shape("b", format!("{:?} but for axis {}", x[0], self.axis), x[1])),
        }
        Ok(Shape::new(&sizes).unwrap_or(x[0]))
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let moved = match method {
            "backward_a" => io.x_len(0),
            "backward_b" => io.x_len(1),
            _ => io.y_len(),
        };
        Cost::new(0, 2 * moved)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let [run_a, run_b] = self.runs(io);
        for (n, y) in y.chunks_exact_mut(run_a + run_b).enumerate() {
            y[..run_a].copy_from_slice(&x[0][n * run_a..][..run_a]);
            y[run_a..].copy_from_slice(&x[1][n * run_b..][..run_b]);
        }
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let [run_a, run_b] = self.runs(io);
        for (n, dy) in dy.chunks_exact(run_a + run_b).enumerate() {
            dx[0][n * run_a..][..run_a].copy_from_slice(&dy[..run_a]);
            dx[1][n * run_b..][..run_b].copy_from_slice(&dy[run_a..]);
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const REASON: &str = "an integer is not differentiable";
        if self.dtype == DType::U32 { &[("a", REASON), ("b", REASON)] } else { &[] }
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// `shaders/concat/plain.wgsl` and `integers.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Concat>()?, &call.io);
    let [run_a, run_b] = op.runs(io);
    call.work(caps, |entry| {
        let threads = match entry {
            "backward_a" => io.x_len(0),
            "backward_b" => io.x_len(1),
            _ => io.y_len(),
        };
        Some(Launch::threads(threads, [("threads", threads.into()), ("run_a", run_a.into()), ("run_b", run_b.into())]))
    })
}

/// `shaders/concat/quads.wgsl`: channels, if those of a fill their quads.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Concat>()?, &call.io);
    let [n, c, ..] = io.x[0].nchw();
    let axis = 4 - io.y.rank().min(4) + op.axis;
    let texels = Layout::Quads.elements(&io.y);
    if axis != 1 || io.y.rank() > 4 || !c.is_multiple_of(4) || texels > MAX_TEXELS {
        return None;
    }
    let [run_a, run_b] = [0, 1].map(|k| Layout::Quads.elements(&io.x[k]) / n);
    let params = [("threads", texels.into()), ("run_a", run_a.into()), ("run_b", run_b.into())];
    Some(call.work(caps, |_| Some(Launch::threads(texels, params)))?.faster(1.5))
}

pub fn cases() -> Vec<Case> {
    let case = |axis, a: &[usize], b: &[usize]| {
        let shapes = [a, b].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        Case::new(Concat { axis, dtype: DType::F32 }, &shapes)
    };
    let integers = |axis, a: &[usize], b: &[usize]| {
        let shapes = [a, b].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        let any = Fill::With(|rng, x, k| (0..len(&x[k])).map(|_| rng.below(1 << 31) as f64).collect());
        Case::new(Concat { axis, dtype: DType::U32 }, &shapes).fill(0, any).fill(1, any)
    };
    vec![
        case(1, &[1, 1, 1, 1], &[1, 1, 1, 1]),
        case(1, &[2, 3, 5, 7], &[2, 2, 5, 7]),
        case(1, &[1, 1, 1, 257], &[1, 2, 1, 257]),
        case(1, &[2, 8, 5, 7], &[2, 3, 5, 7]),
        case(0, &[4, 5, 7], &[5, 5, 7]),
        case(0, &[300], &[1]),
        case(2, &[3, 5, 1], &[3, 5, 4]),
        case(4, &[2, 3, 2, 3, 4, 2], &[2, 3, 2, 3, 1, 2]),
        case(0, &[3, 17], &[2, 17]).fill(0, Fill::With(with_nan)).fill(1, Fill::With(with_nan)).rough(),
        case(1, &[1, 64, 48, 40], &[1, 14, 48, 40]).real(),
        integers(0, &[300], &[1]),
        integers(1, &[2, 3, 5, 7], &[2, 2, 5, 7]),
        integers(4, &[2, 3, 2, 3, 4, 2], &[2, 3, 2, 3, 1, 2]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_axis_may_differ() {
        let shape = |axis, a: &[usize], b: &[usize]| {
            Concat { axis, dtype: DType::F32 }
                .shape(&[a, b].map(|sizes| Shape::new(sizes).unwrap()))
                .map_err(|e| e.to_string())
        };
        assert_eq!(shape(2, &[2, 3, 5], &[2, 3, 1]), Ok([2, 3, 6].into()));
        assert_eq!(shape(1, &[2, 3, 5], &[2, 3, 1]), Err("b must be [2, 3, 5] but for axis 1, got [2, 3, 1]".into()));
        assert!(shape(2, &[2, 3, 5], &[2, 3]).is_err());
        assert_eq!(shape(3, &[2, 3, 5], &[2, 3, 5]), Err("axis must be 0 to 2, got 3".into()));
    }
}
