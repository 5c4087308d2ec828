//! resample: weighted sums of rows of x that a table chooses: interpolation along an axis, or sums of windows.
//!
//! `y[…,j,…] = Σ_t w[j,t] · x[…,indices[j,t],…]`
//!
//! | name    | shape                          | meaning                                                              |
//! |---------|--------------------------------|----------------------------------------------------------------------|
//! | x       | any shape                      | input                                                                |
//! | indices | `[J,T]`, u32                   | the positions on the axis of x that output j reads, in any order     |
//! | w       | `[J,T]`                        | their weights                                                        |
//! | y       | as x, but J on the axis        | output                                                               |
//!
//! [`Graph::resample`](crate::Graph::resample) makes both tables from [`Taps`].
//!
//! A tap of weight 0 has no effect, even where it would read NaN or past the end of the axis, so that outputs may have different numbers of
//! taps. Any other index past the end gives NaN, and adds nothing to the gradient.
//! Gradient: for x; every element sums the weighted dy of the taps that read it, in their order. Backward reads indices, w and dy, and
//! sorts the indices as [gather](super::gather) does. Indices and weights have none.
//! Errors: the axis does not exist; the shapes do not fit.
//! Numerics: sums are in a fixed order, in parts of 64.
//! Kernel `resample/fours`: the taps are read once for four elements.
//! Source: definition. It covers the modes of ONNX's Resize, an axis at a time, and the sums over channels of its LRN.

use super::gather::{Lines, PART, below, few, past_end};
use super::resize::Taps;
use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, wgsl, with_nan,
    with_zeros,
};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{DType, Shape, Tensor};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resample {
    pub axis: usize,
}

impl Resample {
    fn lines(&self, io: &Io) -> Lines {
        Lines::new(io.x[0], io.x[1], self.axis, false)
    }

    /// Calls `f` for every tap of every element of y, unless its weight is 0, with the element's index, the tap's in the table, and that of
    /// the element of x; `None` for an index past the end.
    fn each(&self, io: &Io, x: &[Vec<f64>], mut f: impl FnMut(usize, usize, Option<usize>)) {
        let lines = self.lines(io);
        let [outputs, taps] = [io.x[1][0], io.x[1][1]];
        lines.each(&x[1], |at, from| {
            let k = at / lines.inner % lines.count;
            let outer = at / lines.inner / lines.count;
            if x[2][k] != 0.0 {
                f((outer * outputs + k / taps) * lines.inner + at % lines.inner, k, from);
            }
        });
    }
}

/// Returns the inputs `indices` and `w` for an axis of x.
///
/// # Errors
/// There is no such axis; there is no output, or not the same number of taps for each; an index is past the end of the axis; a weight is not
/// finite as f32.
pub fn tables(x: Shape, axis: usize, taps: &Taps) -> Result<[Tensor; 2], ShapeError> {
    let Some(&size) = x.get(axis) else {
        return Err(ShapeError::value("axis", format!("0 to {}", x.rank() - 1), axis));
    };
    let Taps { count, indices, weights } = taps;
    if indices.is_empty() || indices.len() != weights.len() || !indices.len().is_multiple_of(*count) {
        let expected = format!("as many indices as weights, {count} for each of at least one output");
        return Err(ShapeError::value("taps", expected, format!("{} and {}", indices.len(), weights.len())));
    }
    if let Some(index) = indices.iter().find(|&&index| index as usize >= size) {
        return Err(ShapeError::value("taps", format!("indices below {size}, the axis's size"), index));
    }
    if let Some(weight) = weights.iter().find(|&&weight| !(weight as f32).is_finite()) {
        return Err(ShapeError::value("taps", "weights that f32 can represent", format!("{weight:e}")));
    }
    let shape = [indices.len() / count, *count];
    let w = weights.iter().map(|&w| w as f32).collect();
    let tensors = Tensor::new(shape, indices.clone()).and_then(|indices| Ok([indices, Tensor::new(shape, w)?]));
    tensors.map_err(|e| ShapeError::value("taps", "a table", e))
}

impl Op for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "indices", "w"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "indices" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] =
            &[Kernel::new(wgsl!("resample/plain" + "runs"), plain), Kernel::new(wgsl!("resample/fours"), fours)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let mut sizes = x[0].to_vec();
        let Some(size) = sizes.get_mut(self.axis) else {
            return Err(ShapeError::value("axis", format!("0 to {}", x[0].rank() - 1), self.axis));
        };
        if x[1].rank() != 2 {
            return Err(ShapeError::shape("indices", "[J, T], the taps of each output", x[1]));
        }
        if x[2] != x[1] {
            return Err(ShapeError::shape("w", format!("{:?}, as indices", x[1]), x[2]));
        }
        *size = x[1][0];
        Ok(Shape::new(&sizes).unwrap_or(x[0]))
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let sums = 2 * io.x[1][1] * io.y_len();
        match method {
            "forward" => Cost::new(sums, io.total_len()),
            _ => Cost::new(sums + self.lines(io).flops(), io.total_len()),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.each(io, x, |to, k, from| y[to] += x[2][k] * from.map_or(f64::NAN, |from| x[0][from]));
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.each(io, x, |to, k, from| {
            if let Some(from) = from {
                dx[0][from] += x[2][k] * dy[to];
            }
        });
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("indices", "indices are data, not computed"), ("w", "the weights of taps are data, not computed")]
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let taps = io.x[1][1];
        if output == "y" {
            // The product, and the additions of a part and of the parts.
            let roundings = EPS * (1 + taps.min(PART) + taps.div_ceil(PART)) as f64;
            let mut bounds = vec![0.0; io.y_len()];
            self.each(io, at.x, |to, k, from| {
                bounds[to] += roundings * from.map_or(f64::NAN, |from| (at.x[2][k] * at.x[0][from]).abs());
            });
            return Tolerance::Each(bounds);
        }
        let (lines, outputs) = (self.lines(io), io.x[1][0]);
        let term = |at_term: usize| {
            let (line, within) = (at_term / lines.inner, at_term % lines.inner);
            let (outer, k) = (line / lines.count, line % lines.count);
            at.x[2][k] * at.dy[(outer * outputs + k / taps) * lines.inner + within]
        };
        let terms: Vec<f64> = (0..lines.outer * lines.count * lines.inner).map(term).collect();
        lines.bounds(&at.x[1], &terms, vec![0.0; io.x_len(0)], 1)
    }
}

/// `shaders/resample/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Resample>()?, &call.io);
    let lines = op.lines(io);
    let mut work = if call.method == "forward" {
        call.work(caps, |_| Some(lines.launch(io.y_len())))?
    } else {
        lines.sums(call, caps)?
    };
    let table: [(&str, Scalar); 2] = [("outputs", io.x[1][0].into()), ("taps", io.x[1][1].into())];
    work.passes.iter_mut().for_each(|pass: &mut Launch| pass.params.extend(table));
    Some(work)
}

/// `shaders/resample/fours.wgsl`.
fn fours(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Resample>()?, &call.io);
    let Lines { outer, rows, inner, .. } = op.lines(io);
    let [outputs, taps] = [io.x[1][0], io.x[1][1]];
    let by_outer = inner < 4;
    let limit = if by_outer { outer } else { inner };
    let quarter = limit.div_ceil(4);
    let (width, lines) = if by_outer { (inner, quarter) } else { (quarter, outer) };
    // From one element before the axis to the next, or behind it.
    let [x_step, y_step] = [rows, outputs].map(|size| if by_outer { quarter * size * inner } else { quarter });
    let threads = lines * outputs * width;
    let work = call.work(caps, |_| {
        let params: [(&str, Scalar); 11] = [
            ("threads", threads.into()),
            ("rows", rows.into()),
            ("inner", inner.into()),
            ("outputs", outputs.into()),
            ("taps", taps.into()),
            ("width", width.into()),
            ("by_outer", u32::from(by_outer).into()),
            ("quarter", quarter.into()),
            ("limit", limit.into()),
            ("x_step", x_step.into()),
            ("y_step", y_step.into()),
        ];
        (limit >= 4).then(|| Launch::threads(threads, params))
    })?;
    Some(work.faster(1.25))
}

pub fn cases() -> Vec<Case> {
    let of = |x: &[usize], axis, table: [usize; 2], indices: fn(&mut Rng, &[Shape], usize) -> Vec<f64>| {
        let x = Shape::new(x).expect("a case has one to six dimensions");
        Case::new(Resample { axis }, &[x, table.into(), table.into()]).fill(1, Fill::With(indices))
    };
    vec![
        of(&[1], 0, [1, 1], below::<0>),
        of(&[7], 0, [5, 2], below::<0>),
        of(&[2, 5, 3], 1, [4, 3], below::<1>),
        of(&[2, 3, 2, 2, 4, 3], 4, [5, 2], below::<4>),
        // Quarters that reach past the end.
        of(&[2, 5, 9], 1, [4, 3], below::<1>),
        of(&[9, 5, 2], 1, [4, 3], below::<1>),
        of(&[5, 6], 1, [3, 3], below::<1>),
        // Taps in two parts.
        of(&[2, 3, 300], 2, [3, 70], below::<2>),
        of(&[3, 5, 2], 1, [7, 128], below::<1>),
        // Several chunks of indices, and runs in several parts.
        of(&[9, 2], 0, [225, 2], few::<0>),
        of(&[300, 2], 0, [140, 2], below::<0>),
        of(&[2, 6, 5], 1, [7, 3], below::<1>).fill(2, Fill::With(with_zeros)),
        of(&[2, 5, 3], 1, [17, 2], past_end::<1>).fill(2, Fill::With(with_zeros)).rough(),
        of(&[2, 5, 6], 1, [17, 2], past_end::<1>).fill(2, Fill::With(with_zeros)).rough(),
        of(&[6, 5, 2], 1, [17, 2], past_end::<1>).fill(2, Fill::With(with_zeros)).rough(),
        of(&[9, 5], 0, [17, 3], below::<0>).fill(0, Fill::With(with_nan)).fill(2, Fill::With(with_zeros)).rough(),
        // Rows and columns of pictures, and windows of channels.
        of(&[1, 32, 64, 64], 2, [128, 2], below::<2>).real(),
        of(&[1, 32, 64, 64], 3, [128, 4], below::<3>).real(),
        of(&[1, 64, 56, 56], 1, [64, 5], below::<1>).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::resize::{Kernel, Resize, taps};
    use super::*;

    #[test]
    fn a_table_must_fit_the_axis() {
        let x = Shape::from([2, 5]);
        let made = |count, indices: &[u32], weights: &[f64]| {
            let taps = Taps { count, indices: indices.to_vec(), weights: weights.to_vec() };
            tables(x, 1, &taps).map(|[indices, _]| indices.shape()).map_err(|e| e.to_string())
        };
        assert_eq!(made(2, &[0, 4, 1, 1], &[0.5; 4]), Ok([2, 2].into()));
        assert_eq!(made(1, &[0, 5], &[0.5; 2]), Err("taps must be indices below 5, the axis's size, got 5".into()));
        let expected = "taps must be as many indices as weights, 2 for each of at least one output, got 3 and 3";
        assert_eq!(made(2, &[0; 3], &[0.5; 3]), Err(expected.into()));
        assert!(made(2, &[0; 4], &[0.5; 2]).is_err() && made(0, &[0], &[0.5]).is_err() && made(1, &[], &[]).is_err());
        assert_eq!(made(1, &[0], &[1e39]), Err("taps must be weights that f32 can represent, got 1e39".into()));
        assert!(tables(x, 2, &Taps { count: 1, indices: vec![0], weights: vec![1.0] }).is_err());
    }

    #[test]
    fn rows_and_columns_together_are_resize() {
        let resize = Resize::by(Kernel::Bicubic, 3, 2);
        let shape = Shape::from([1, 2, 4, 6]);
        let mut rng = Rng::new(1);
        let x: Vec<f64> = (0..48).map(|_| rng.uniform(-1.0, 1.0)).collect();
        let io = Io { x: &[shape], y: resize.shape(&[shape]).expect("fits") };
        let wanted = crate::ops::reference(&resize, &io, std::slice::from_ref(&x));
        let (mut shape, mut values) = (shape, x);
        for axis in [2, 3] {
            let Taps { count, indices, weights } = taps(&resize, axis - 2, shape[axis], io.y[axis]);
            let table = Shape::from([io.y[axis], count]);
            let (op, inputs) = (Resample { axis }, [shape, table, table]);
            let y = op.shape(&inputs).expect("fits");
            let indices = indices.iter().map(|&index| f64::from(index)).collect();
            values = crate::ops::reference(&op, &Io { x: &inputs, y }, &[values, indices, weights]);
            shape = y;
        }
        assert_eq!(shape, io.y);
        assert!(values.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{values:?}\n{wanted:?}");
    }

    #[test]
    fn a_tap_of_weight_zero_has_no_effect() {
        let io = Io { x: &[[2].into(), [2, 2].into(), [2, 2].into()], y: [2].into() };
        let x = [vec![3.0, f64::NAN], vec![0.0, 1.0, 0.0, 9.0], vec![2.0, 0.0, 1.0, 0.5]];
        let y = crate::ops::reference(&Resample { axis: 0 }, &io, &x);
        assert!(y[0] == 6.0 && y[1].is_nan(), "{y:?}");
        let dx = crate::ops::reference_grad(&Resample { axis: 0 }, &io, &x, &y, &[1.0, 10.0]);
        assert_eq!(dx[0], [12.0, 0.0]);
    }
}
