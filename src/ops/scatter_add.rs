//! scatter_add: x, with updates added at positions along an axis that are data.
//!
//! `y[…,i,…] = x[…,i,…] + Σ u[…,j…,…]` over the j with `indices[j…] = i`, or with `elements` over the j with `indices[…,j,…] = i`
//!
//! | name    | shape                                                  | meaning                    |
//! |---------|--------------------------------------------------------|----------------------------|
//! | x       | any shape                                              | input                      |
//! | indices | any shape, u32; with `elements` x's but along the axis | positions on the axis of x |
//! | u       | x's with indices' in place of the axis, at most six    | updates                    |
//! |         | dimensions; with `elements` as indices                 |                            |
//! | y       | as x                                                   | output                     |
//!
//! An index past the end of the axis adds nothing. This is the transpose of [gather](super::gather), and computed as its gradient is.
//! Gradients: for x, dy; for u, the dy at its index, 0 for one past the end. Backward reads indices and dy. Indices have none.
//! Errors: the axis does not exist; the shapes do not fit.
//! Numerics: sums are in a fixed order, in parts of 64.
//! Source: definition, as ScatterElements of ONNX with reduction add, and torch.index_add; without negative indices.

use super::gather::{Lines, below, chosen, layouts, past_end};
use super::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl, with_nan};
use crate::error::ShapeError;
use crate::tensor::{DType, Shape};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScatterAdd {
    pub axis: usize,
    /// Every line of x along the axis has its own indices; otherwise all lines have the same ones.
    pub elements: bool,
}

impl ScatterAdd {
    fn lines(&self, io: &Io) -> Lines {
        Lines::new(io.x[0], io.x[1], self.axis, self.elements)
    }
}

impl Op for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "indices", "u"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "indices" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("scatter_add/plain" + "runs"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let expected = chosen(x[0], x[1], self.axis, self.elements)?;
        if x[2] != expected {
            return Err(ShapeError::shape(
                "u",
                format!("{expected:?}, as x {:?} and indices {:?} ask for", x[0], x[1]),
                x[2],
            ));
        }
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        match method {
            "forward" => Cost::new(self.lines(io).flops(), io.total_len()),
            "backward_x" => Cost::new(0, 2 * io.y_len()),
            _ => Cost::new(0, 2 * io.x_len(2) + io.x_len(1)),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.copy_from_slice(&x[0]);
        self.lines(io).each(&x[1], |at, to| {
            if let Some(to) = to {
                y[to] += x[2][at];
            }
        });
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        dx[0].copy_from_slice(dy);
        self.lines(io).each(&x[1], |at, from| dx[2][at] = from.map_or(0.0, |from| dy[from]));
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("indices", "indices are data, not computed")]
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        match output {
            "y" => {
                let size = at.x[0].iter().map(|x| x.abs()).collect();
                self.lines(io).bounds(&at.x[1], &at.x[2], size, 1)
            }
            "dx" => Tolerance::Each(vec![0.0; io.x_len(0)]),
            _ => Tolerance::Each(vec![0.0; io.x_len(2)]),
        }
    }
}

/// `shaders/scatter_add/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ScatterAdd>()?, &call.io);
    let lines = op.lines(io);
    let launch = |threads| -> Option<Launch> { Some(lines.launch(threads)) };
    match call.method {
        "forward" => lines.sums(call, caps),
        "backward_x" => call.work(caps, |_| launch(io.y_len())),
        _ => call.work(caps, |_| launch(io.x_len(2))),
    }
}

pub fn cases() -> Vec<Case> {
    let case = |(mut x, axis, elements, fill): (Vec<Shape>, _, _, _)| {
        x.push(chosen(x[0], x[1], axis, elements).expect("a case is valid"));
        Case::new(ScatterAdd { axis, elements }, &x).fill(1, fill)
    };
    let mut cases: Vec<Case> = layouts().into_iter().map(case).collect();
    let of = |x: [Shape; 2], axis, elements, fill| case((x.to_vec(), axis, elements, Fill::With(fill)));
    cases.extend([
        of([[2, 5, 3].into(), [17].into()], 1, false, past_end::<1>),
        of([[5, 3].into(), [8, 3].into()], 0, true, past_end::<0>),
        of([[9, 5].into(), [17].into()], 0, false, below::<0>).fill(0, Fill::With(with_nan)).rough(),
        of([[9, 5].into(), [17].into()], 0, false, below::<0>).fill(2, Fill::With(with_nan)).rough(),
        // Sums over the neighbours in a graph of 2,048 nodes.
        of([[2048, 32].into(), [8192].into()], 0, false, below::<0>).real(),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_have_the_shape_of_what_the_indices_choose() {
        let shape = |u: &[usize], elements| {
            let x = [[2, 5].into(), [2, 3].into(), Shape::new(u).unwrap()];
            ScatterAdd { axis: 1, elements }.shape(&x).map_err(|e| e.to_string())
        };
        assert_eq!(shape(&[2, 3], true), Ok([2, 5].into()));
        assert_eq!(shape(&[2, 2, 3], false), Ok([2, 5].into()));
        assert_eq!(
            shape(&[2, 5], true),
            Err("u must be [2, 3], as x [2, 5] and indices [2, 3] ask for, got [2, 5]".into())
        );
    }
}
