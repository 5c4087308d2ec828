//! extremum: the largest or smallest element along some dimensions, and where it is.
//!
//! | name    | shape                                                       | meaning                                                     |
//! |---------|-------------------------------------------------------------|-------------------------------------------------------------|
//! | x       | any shape                                                   | input                                                       |
//! | y       | as x with 1 on the axes, or without them; `[1]` without all | the largest element, or the smallest                        |
//! | indices | as y, u32                                                   | its position on the axes; on several, in row-major order    |
//!
//! Among equal elements, the first one counts. NaN counts as the extreme, as in PyTorch.
//! Gradient: for x, dy at the element that was chosen; backward reads indices and dy. `indices` has none.
//! Errors: there are no axes, one occurs twice or does not exist.
//! Numerics: exact.
//! Source: definitions, as ReduceMax, ReduceMin, ArgMax and ArgMin of ONNX.

use super::reduce::Axes;
use super::{
    Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, parts_of, wgsl, with_nan, with_zeros,
};
use crate::error::ShapeError;
use crate::tensor::{DType, Shape};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extremum {
    /// Selects the largest element; otherwise the smallest.
    pub largest: bool,
    pub axes: Axes,
}

impl Extremum {
    /// Returns the index in x and the term of every result.
    fn chosen(&self, io: &Io, x: &[f64]) -> Vec<(usize, usize)> {
        let mut best: Vec<Option<(usize, usize)>> = vec![None; io.y_len()];
        // Terms of one result occur in ascending order.
        for (i, (element, term)) in self.axes.homes(io.x[0]).into_iter().enumerate() {
            let is_better = |(b, _): (usize, usize)| {
                let is_beyond = if self.largest { x[i] > x[b] } else { x[i] < x[b] };
                !x[b].is_nan() && (is_beyond || x[i].is_nan())
            };
            if best[element].is_none_or(is_better) {
                best[element] = Some((i, term));
            }
        }
        best.into_iter().flatten().collect()
    }
}

impl Op for Extremum {
    fn name(&self) -> &'static str {
        "extremum"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn outputs(&self) -> &'static [&'static str] {
        &["y", "indices"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "indices" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("extremum/plain" + "terms" + "home"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        self.axes.shape(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(4 * io.x_len(0), io.x_len(0) + 2 * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.iter_mut().zip(self.chosen(io, &x[0])).for_each(|(y, (i, _))| *y = x[0][i]);
    }
    fn reference_more(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], more: &mut [Vec<f64>]) {
        more[0].iter_mut().zip(self.chosen(io, &x[0])).for_each(|(index, (_, term))| *index = term as f64);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.chosen(io, &x[0]).into_iter().zip(dy).for_each(|((i, _), dy)| dx[0][i] = *dy);
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Each(vec![0.0; if output == "dx" { io.x_len(0) } else { io.y_len() }])
    }
}

/// `shaders/extremum/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Extremum>()?, &call.io);
    let elements = io.y_len();
    let parts = parts_of(op.axes.terms(io.x[0]), elements);
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "forward_1" => elements * parts,
            "forward_2" => elements,
            _ => io.x_len(0),
        };
        let mut params = op.axes.params(io, threads, parts);
        params.push(("smallest", u32::from(!op.largest).into()));
        Some(Launch::threads(threads, params))
    })?;
    Some(if call.method == "forward" { work.scratch(vec![("t0", elements * parts)]) } else { work })
}

pub fn cases() -> Vec<Case> {
    let of = |largest| {
        let case = |x: &[usize], axes| {
            let shape = Shape::new(x).expect("a case has one to six dimensions");
            Case::new(Extremum { largest, axes }, &[shape])
        };
        let mut cases = Axes::cases(case);
        // Equal elements, also in different parts, and NaN.
        for fill in [with_zeros, with_nan] {
            for x in [[3, 23], [2, 500]] {
                cases.push(case(&x, Axes { axes: vec![1], keep: false }).fill(0, Fill::With(fill)).rough());
            }
        }
        let infinite = Fill::With(|_, _, _| [1.0, f64::INFINITY, f64::NEG_INFINITY].repeat(3));
        cases.push(case(&[3, 3], Axes { axes: vec![1], keep: false }).fill(0, infinite).rough());
        let few = Fill::With(|rng, _, _| (0..1000).map(|_| rng.below(3) as f64).collect());
        cases.push(case(&[2, 500], Axes { axes: vec![1], keep: false }).fill(0, few).rough());
        cases
    };
    [true, false].into_iter().flat_map(of).collect()
}
