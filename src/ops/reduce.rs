//! reduce: the sum, the mean, the Euclidean length or the product of the elements along some dimensions.
//!
//! y = Σ x, Σ x / the number of terms, √(Σ x²), or Π x, over all positions on the given axes
//!
//! | name | shape                                                        | meaning |
//! |------|--------------------------------------------------------------|---------|
//! | x    | any shape                                                    | input   |
//! | y    | as x with 1 on the axes, or without them; `[1]` without all  | result  |
//!
//! Gradient: for x. Backward reads dy, for the length x and y too, for the product x; the length 0 has the derivative 0, as in PyTorch. That
//! of a product multiplies the other elements, in parts, so that zeros are nothing special.
//! Errors: there are no axes, one occurs twice or does not exist.
//! Numerics: f32 sums and products in a fixed order, in two passes. Squares and products beyond the range of f32 overflow.
//! Source: definitions, as ReduceSum, ReduceMean, ReduceL2 and ReduceProd of ONNX. [extremum](super::extremum) has the maximum and minimum.

use super::Fill;
use super::pointwise::broadcast::{members, padded, terms};
use super::{
    Accuracy, Call, Caps, Case, Cost, EPS, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, parts_of, wgsl,
    with_nan, with_zeros,
};
use crate::error::ShapeError;
use crate::tensor::{MAX_RANK, Shape, len};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    Sum,
    Mean,
    /// The root of the sum of squares.
    L2,
    Product,
}

/// Dimensions to reduce over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axes {
    /// Positions in x's shape, each once, in any order.
    pub axes: Vec<usize>,
    /// Keeps the dimensions, with size 1; otherwise the output lacks them.
    pub keep: bool,
}

impl Axes {
    /// Creates axes that the output lacks.
    pub fn without(axes: &[usize]) -> Self {
        Self { axes: axes.to_vec(), keep: false }
    }

    /// Returns the shape of the result for `x`.
    ///
    /// # Errors
    /// There are no axes, one occurs twice or does not exist.
    pub(super) fn shape(&self, x: Shape) -> Result<Shape, ShapeError> {
        let is_repeated = |(k, axis): (usize, &usize)| self.axes[..k].contains(axis);
        if self.axes.is_empty()
            || self.axes.iter().any(|axis| *axis >= x.rank())
            || self.axes.iter().enumerate().any(is_repeated)
        {
            let expected = format!("one or more of 0 to {}, each once", x.rank() - 1);
            return Err(ShapeError::value("axes", expected, format!("{:?}", self.axes)));
        }
        let kept = self.kept(x);
        let is_left = |axis: &usize| self.keep || !self.axes.contains(axis);
        let sizes: Vec<usize> = (0..x.rank()).filter(is_left).map(|axis| kept[axis]).collect();
        Ok(Shape::new(&sizes).unwrap_or([1].into()))
    }

    /// Returns x's shape with 1 on the axes.
    fn kept(&self, x: Shape) -> Shape {
        let size = |(axis, size): (usize, &usize)| if self.axes.contains(&axis) { 1 } else { *size };
        let sizes: Vec<usize> = x.iter().enumerate().map(size).collect();
        Shape::new(&sizes).unwrap_or(x)
    }

    /// Returns the number of terms of each result.
    pub(super) fn terms(&self, x: Shape) -> usize {
        self.axes.iter().map(|axis| x[*axis]).product()
    }

    /// Returns, for every element of x, the result that it belongs to, and which term it is there, in row-major order.
    pub(super) fn homes(&self, x: Shape) -> Vec<(usize, usize)> {
        let (sizes, kept) = (padded(&x), padded(&self.kept(x)));
        let home = |i: usize| {
            let (mut rest, mut element, mut term, mut elements, mut terms) = (i, 0, 0, 1, 1);
            for d in (0..MAX_RANK).rev() {
                let position = rest % sizes[d];
                rest /= sizes[d];
                if kept[d] == sizes[d] {
                    element += position * elements;
                    elements *= sizes[d];
                } else {
                    term += position * terms;
                    terms *= sizes[d];
                }
            }
            (element, term)
        };
        (0..len(&x)).map(home).collect()
    }

    /// Returns the members of P that the shaders of reductions have in common, for `threads` threads and `parts` of each result.
    pub(super) fn params(&self, io: &Io, threads: usize, parts: usize) -> Vec<(&'static str, Scalar)> {
        let (x, count) = (io.x[0], self.terms(io.x[0]));
        let mut params = [members('s', padded(&x)), terms(Some(&self.kept(x)), &x)].concat();
        params.extend([
            ("threads", threads.into()),
            ("elements", io.y_len().into()),
            ("terms", count.into()),
            ("parts", parts.into()),
        ]);
        params
    }

    /// Calls `case` for shapes and axes that cover borders.
    pub(super) fn cases(case: impl Fn(&[usize], Self) -> Case) -> Vec<Case> {
        let of = |x: &[usize], axes: &[usize], keep| case(x, Self { axes: axes.to_vec(), keep });
        vec![
            of(&[1], &[0], true),
            of(&[5, 7], &[1], false),
            of(&[2, 3, 5, 7], &[1], true),
            of(&[2, 3, 5, 7], &[3, 0], false),
            of(&[2, 3, 4, 2, 3, 5], &[1, 3, 5], true),
            of(&[2, 3, 4, 2, 3, 5], &[4, 0, 2], false),
            of(&[257], &[0], false),
            of(&[300, 2], &[1], true),
            of(&[3, 1, 70, 65], &[2, 3], false),
            // Many sums without parts, and with.
            of(&[65, 4, 65], &[1], false),
            of(&[4100, 70], &[1], false).real(),
            of(&[8, 64, 32, 32], &[0, 2, 3], true).real(),
            of(&[64, 64, 64], &[0, 1, 2], false).real(),
        ]
    }
}

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    pub kind: Kind,
    pub axes: Axes,
}

impl Reduce {
    /// Returns into how many parts each result is divided. The gradient of a product multiplies the other parts and the others of one part.
    fn parts(&self, io: &Io) -> usize {
        let terms = self.axes.terms(io.x[0]);
        if self.kind == Kind::Product { terms.isqrt().max(1) } else { parts_of(terms, io.y_len()) }
    }
    fn scale(&self, io: &Io) -> f64 {
        if self.kind == Kind::Mean { 1.0 / self.axes.terms(io.x[0]) as f64 } else { 1.0 }
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const SUMS: &[Kernel] = &[Kernel::new(wgsl!("reduce/plain" + "sums" + "terms" + "home"), plain)];
        const L2: &[Kernel] = &[Kernel::new(wgsl!("reduce/l2" + "sums" + "terms" + "home"), plain)];
        const PRODUCT: &[Kernel] = &[Kernel::new(wgsl!("reduce/product" + "terms" + "home"), plain)];
        match self.kind {
            Kind::Sum | Kind::Mean => SUMS,
            Kind::L2 => L2,
            Kind::Product => PRODUCT,
        }
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        self.axes.shape(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let steps = if self.kind == Kind::Product && method != "forward" { 2 * self.parts(io) } else { 2 };
        Cost::new(steps * io.x_len(0), io.total_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        if self.kind == Kind::Product {
            y.fill(1.0);
            return x[0].iter().zip(self.axes.homes(io.x[0])).for_each(|(x, (element, _))| y[element] *= x);
        }
        for (&x, (element, _)) in x[0].iter().zip(self.axes.homes(io.x[0])) {
            y[element] += if self.kind == Kind::L2 { x * x } else { x };
        }
        y.iter_mut().for_each(|y| *y = if self.kind == Kind::L2 { y.sqrt() } else { *y * self.scale(io) });
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        if self.kind == Kind::Product {
            // The elements before and behind each one.
            let homes = self.axes.homes(io.x[0]);
            let (mut before, mut behind) = (dy.to_vec(), vec![1.0; io.y_len()]);
            for (i, (element, _)) in homes.iter().enumerate() {
                dx[0][i] = before[*element];
                before[*element] *= x[0][i];
            }
            for (i, (element, _)) in homes.iter().enumerate().rev() {
                dx[0][i] *= behind[*element];
                behind[*element] *= x[0][i];
            }
            return;
        }
        for (i, (element, _)) in self.axes.homes(io.x[0]).into_iter().enumerate() {
            dx[0][i] = dy[element]
                * match self.kind {
                    Kind::L2 if y[element] == 0.0 => 0.0,
                    Kind::L2 => x[0][i] / y[element],
                    _ => self.scale(io),
                };
        }
    }
    fn accuracy(&self, _output: &str) -> Accuracy {
        // Every factor adds a relative error, which no sum averages out.
        if self.kind == Kind::Product { Accuracy { rms: 1e-5, ..Accuracy::DIRECT } } else { Accuracy::DIRECT }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        if self.kind == Kind::Product {
            let factor = EPS * self.axes.terms(io.x[0]) as f64;
            let mut dx = [vec![0.0; io.x_len(0)]];
            if output == "dx" {
                self.reference_grad(io, at.x, at.y, at.dy, &mut dx);
            }
            let of = if output == "dx" { &dx[0] } else { at.y };
            return Tolerance::Each(of.iter().map(|v| factor * v.abs()).collect());
        }
        if output == "dx" {
            // The division, or the scale's rounding, and the product.
            let mut dx = [vec![0.0; io.x_len(0)]];
            self.reference_grad(io, at.x, at.y, at.dy, &mut dx);
            return Tolerance::Each(dx[0].iter().map(|dx| 4.0 * EPS * dx.abs()).collect());
        }
        let terms = self.axes.terms(io.x[0]);
        let parts = self.parts(io);
        let roundings = (terms.div_ceil(parts) + parts) as f64;
        let mut bounds = vec![0.0; io.y_len()];
        for (x, (element, _)) in at.x[0].iter().zip(self.axes.homes(io.x[0])) {
            bounds[element] += if self.kind == Kind::L2 { x * x } else { x.abs() };
        }
        let bound = |sum: &f64| match self.kind {
            // The squares; a root halves the relative error and adds 4.5 of its own.
            Kind::L2 => EPS * ((roundings + 1.0) / 2.0 + 5.5) * sum.sqrt(),
            // The scale, its rounding and the product.
            _ => EPS * (roundings + 2.0) * self.scale(io) * sum,
        };
        Tolerance::Each(bounds.iter().map(bound).collect())
    }
}

/// `shaders/reduce/plain.wgsl`, `l2.wgsl` and `product.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Reduce>()?, &call.io);
    let elements = io.y_len();
    let (parts, is_product) = (op.parts(io), op.kind == Kind::Product);
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "forward_1" | "backward_x_1" => elements * parts,
            "forward_2" => elements,
            _ => io.x_len(0),
        };
        let mut params = op.axes.params(io, threads, parts);
        if !is_product {
            params.push(("scale", Scalar::F32(op.scale(io) as f32)));
        }
        Some(Launch::threads(threads, params))
    })?;
    let has_parts = call.method == "forward" || is_product;
    Some(if has_parts { work.scratch(vec![("t0", elements * parts)]) } else { work })
}

pub fn cases() -> Vec<Case> {
    let of = |kind| {
        let case = |x: &[usize], axes| {
            let shape = Shape::new(x).expect("a case has one to six dimensions");
            Case::new(Reduce { kind, axes }, &[shape]).gap(1e-2)
        };
        let mut cases = Axes::cases(case);
        if kind == Kind::Product {
            let terms = |case: &Case| len(&case.x[0]) / case.op.shape(&case.x).map_or(1, |y| len(&y));
            // The errors of more factors are larger than what the check allows.
            cases.retain(|case| terms(case) < 10_000);
            // Products of many factors stay within the range of f32 if these are near 1.
            let near = Fill::Uniform { low: 0.98, high: 1.02, gap: 0.0 };
            cases = cases.into_iter().map(|case| if terms(&case) > 50 { case.fill(0, near) } else { case }).collect();
            // Lines with one zero and with several.
            cases.push(case(&[9, 5], Axes::without(&[1])).fill(0, Fill::With(with_zeros)));
            cases.push(case(&[5, 9], Axes::without(&[1])).fill(0, Fill::With(with_zeros)));
        }
        let axes = || Axes { axes: vec![1], keep: true };
        cases.push(case(&[9, 5], axes()).fill(0, Fill::With(with_nan)).rough());
        cases.push(case(&[9, 1], axes()).fill(0, Fill::With(with_zeros)).rough());
        cases
    };
    [Kind::Sum, Kind::Mean, Kind::L2, Kind::Product].into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_kept_or_dropped() {
        let shape = |axes: &[usize], keep| {
            let axes = Axes { axes: axes.to_vec(), keep };
            Reduce { kind: Kind::Sum, axes }.shape(&[[2, 3, 5].into()])
        };
        assert_eq!(shape(&[2, 0], true).unwrap(), [1, 3, 1]);
        assert_eq!(shape(&[2, 0], false).unwrap(), [3]);
        assert_eq!(shape(&[0, 1, 2], false).unwrap(), [1]);
        for axes in [&[][..], &[3], &[1, 1]] {
            assert!(shape(axes, true).is_err());
        }
    }
}
