//! gather: elements of x along an axis, at positions that are data.
//!
//! `y[…,j…,…] = x[…,indices[j…],…]`, or with `elements` `y[…,j,…] = x[…,indices[…,j,…],…]`
//!
//! | name    | shape                                                  | meaning                                   |
//! |---------|--------------------------------------------------------|-------------------------------------------|
//! | x       | any shape                                              | input, such as a table of embeddings      |
//! | indices | any shape, u32; with `elements` x's but along the axis | positions on the axis of x                |
//! | y       | x's with indices' in place of the axis, at most six    | output; with `elements` as indices        |
//! |         | dimensions                                             |                                           |
//!
//! An index past the end of the axis gives NaN, and adds nothing to the gradient.
//! Gradient: for x; every element sums the dy of the positions that read it, in their order. Backward reads indices and dy, sorts the
//! indices of each line by ranks in chunks and of chunks, and adds up each run of equal ones: n·√n steps for n indices, whatever the size
//! of x. Indices have none.
//! Errors: the axis does not exist; the shapes do not fit.
//! Numerics: y is exact; sums are in a fixed order, in parts of 64.
//! Source: definitions, as Gather and GatherElements of ONNX, but without negative indices.

use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl, with_nan};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{DType, MAX_RANK, Shape, len};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    pub axis: usize,
    /// Every line of x along the axis has its own indices; otherwise all lines have the same ones.
    pub elements: bool,
}

/// Elements added up before they are added to a sum; `PART` in the shader.
pub(super) const PART: usize = 64;

/// How indices belong to a tensor x `[outer, rows, inner]`, of which they choose rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub outer: usize,
    pub rows: usize,
    pub inner: usize,
    /// Indices per line.
    pub count: usize,
    /// Lines of indices: 1, or outer · inner.
    pub lines: usize,
    /// Distance between neighbours in a line of indices.
    pub stride: usize,
}

impl Lines {
    pub fn new(x: Shape, indices: Shape, axis: usize, elements: bool) -> Self {
        let (outer, inner) = (x[..axis].iter().product(), x[axis + 1..].iter().product());
        let (count, lines, stride) =
            if elements { (indices[axis], outer * inner, inner) } else { (len(&indices), 1, 1) };
        Self { outer, rows: x[axis], inner, count, lines, stride }
    }

    /// Returns the number of elements of x.
    fn len(&self) -> usize {
        self.outer * self.rows * self.inner
    }

    /// Calls `f` with every position in the tensor `[outer, count, inner]` that the indices have chosen, and its element of x; `None` for an
    /// index past the end.
    pub fn each(&self, indices: &[f64], mut f: impl FnMut(usize, Option<usize>)) {
        for at in 0..self.outer * self.count * self.inner {
            let (outer, j, inner) = (at / (self.count * self.inner), at / self.inner % self.count, at % self.inner);
            let line = (outer * self.inner + inner) % self.lines;
            let index = indices[(line / self.stride * self.count + j) * self.stride + line % self.stride] as usize;
            f(at, (index < self.rows).then(|| (outer * self.rows + index) * self.inner + inner));
        }
    }

    /// Returns the bound on the error of the sums of `terms` over each run of equal indices: for every element of x, the additions of a
    /// part and of the parts, and `more`, times the sum of absolute values, with `size` of x itself.
    pub fn bounds(&self, indices: &[f64], terms: &[f64], size: Vec<f64>, more: usize) -> Tolerance {
        let mut sums = size;
        let mut counts = vec![0; self.len()];
        self.each(indices, |at, to| {
            if let Some(to) = to {
                sums[to] += terms[at].abs();
                counts[to] += 1;
            }
        });
        let bound = |(sum, count): (f64, usize)| EPS * (count.min(PART) + count.div_ceil(PART) + more) as f64 * sum;
        Tolerance::Each(sums.into_iter().zip(counts).map(bound).collect())
    }

    /// Returns how many indices are ranked together: about √(10·count), where both halves of the work are equal.
    fn chunk(&self) -> usize {
        (10 * self.count).isqrt().max(1)
    }

    /// Returns the operations that the sums of runs take.
    pub fn flops(&self) -> usize {
        let chunk = self.chunk();
        let steps = chunk + self.count.div_ceil(chunk) * chunk.ilog2() as usize;
        2 * self.lines * self.count * steps + self.outer * self.count * self.inner + 8 * self.len()
    }

    /// Returns the launch of an entry for so many `threads`.
    pub fn launch(&self, threads: usize) -> Launch {
        let params = [
            ("threads", threads.into()),
            ("rows", self.rows.into()),
            ("inner", self.inner.into()),
            ("count", self.count.into()),
            ("lines", self.lines.into()),
            ("stride", self.stride.into()),
            ("chunk", self.chunk().into()),
        ];
        Launch::threads(threads, params)
    }

    /// Returns the work of a method whose passes are those of `shared/runs.wgsl`, with a thread per element of x in the last.
    pub fn sums(&self, call: &Call, caps: &Caps) -> Option<Work> {
        let work = call.work(caps, |entry| {
            let threads = match entry.rsplit_once('_').map(|(_, pass)| pass) {
                Some("1" | "2") => self.lines * self.count,
                Some("3") => self.lines * self.rows,
                _ => self.len(),
            };
            Some(self.launch(threads))
        })?;
        let all = self.lines * self.count;
        Some(work.scratch(vec![("t0", all), ("t1", all), ("t2", self.lines * self.rows)]))
    }
}

/// Checks that indices have the shape of x but along the axis.
pub(super) fn check_elements(x: Shape, indices: Shape, axis: usize) -> Result<(), ShapeError> {
    let is_same = |d: usize| d == axis || indices[d] == x[d];
    if indices.rank() == x.rank() && (0..x.rank()).all(is_same) {
        return Ok(());
    }
    Err(ShapeError::shape("indices", format!("{x:?} but for axis {axis}"), indices))
}

/// Returns the shape of what is chosen from x.
pub(super) fn chosen(x: Shape, indices: Shape, axis: usize, elements: bool) -> Result<Shape, ShapeError> {
    if axis >= x.rank() {
        return Err(ShapeError::value("axis", format!("0 to {}", x.rank() - 1), axis));
    }
    if elements {
        return check_elements(x, indices, axis).map(|()| indices);
    }
    let most = MAX_RANK + 1 - x.rank();
    Shape::new(&[&x[..axis], &indices[..], &x[axis + 1..]].concat())
        .ok_or_else(|| ShapeError::shape("indices", format!("at most {most} dimensions for x {x:?}"), indices))
}

impl Gather {
    fn lines(&self, io: &Io) -> Lines {
        Lines::new(io.x[0], io.x[1], self.axis, self.elements)
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "indices"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "indices" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("gather/plain" + "runs"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        chosen(x[0], x[1], self.axis, self.elements)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let moved = 2 * io.y_len() + io.x_len(1);
        match method {
            "forward" => Cost::new(0, moved),
            _ => Cost::new(self.lines(io).flops(), moved + io.x_len(0)),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.lines(io).each(&x[1], |to, from| y[to] = from.map_or(f64::NAN, |from| x[0][from]));
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.lines(io).each(&x[1], |at, to| {
            if let Some(to) = to {
                dx[0][to] += dy[at];
            }
        });
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("indices", "indices are data, not computed")]
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        match output {
            "y" => Tolerance::Each(vec![0.0; io.y_len()]),
            _ => self.lines(io).bounds(&at.x[1], at.dy, vec![0.0; io.x_len(0)], 0),
        }
    }
}

/// `shaders/gather/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Gather>()?, &call.io);
    let lines = op.lines(io);
    if call.method == "forward" { call.work(caps, |_| Some(lines.launch(io.y_len()))) } else { lines.sums(call, caps) }
}

/// Draws indices below the size of x's axis.
pub(super) fn below<const AXIS: usize>(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| rng.below(x[0][AXIS]) as f64).collect()
}

/// Draws indices of which some are not below the size of x's axis, and one is as large as an index can be.
pub(super) fn past_end<const AXIS: usize>(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    let index = |i| if i == 2 { f64::from(u32::MAX) } else { rng.below(x[0][AXIS] + 2) as f64 };
    (0..len(&x[k])).map(index).collect()
}

/// Draws few indices often, so that runs are long.
pub(super) fn few<const AXIS: usize>(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| (rng.below(3) * (x[0][AXIS] - 1) / 2) as f64).collect()
}

/// Returns the shapes of x and indices, axis, `elements` and values of indices of cases that cover borders.
pub(super) fn layouts() -> Vec<(Vec<Shape>, usize, bool, Fill)> {
    let of = |x: &[usize], indices: &[usize], axis, elements, fill: fn(&mut Rng, &[Shape], usize) -> Vec<f64>| {
        let shapes = [x, indices].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        (shapes.to_vec(), axis, elements, Fill::With(fill))
    };
    vec![
        of(&[1], &[1], 0, false, below::<0>),
        of(&[7], &[2, 3, 2, 1, 2, 2], 0, false, below::<0>),
        of(&[5, 3], &[4, 2], 0, false, below::<0>),
        of(&[2, 5, 3], &[17], 1, false, below::<1>),
        of(&[2, 3, 2, 2, 4, 3], &[5], 4, false, below::<4>),
        of(&[2, 3, 300], &[3], 2, false, below::<2>),
        // Several chunks of indices, and runs in several parts.
        of(&[9, 2], &[450], 0, false, few::<0>),
        of(&[300, 2], &[280], 0, false, below::<0>),
        of(&[4], &[1], 0, true, below::<0>),
        of(&[3, 5, 2], &[3, 9, 2], 1, true, below::<1>),
        of(&[2, 5], &[2, 1], 1, true, below::<1>),
        of(&[2, 3, 1, 2, 2, 3], &[2, 3, 1, 2, 5, 3], 4, true, below::<4>),
        of(&[2, 130], &[2, 300], 1, true, few::<1>),
        of(&[300, 3], &[70, 3], 0, true, below::<0>),
    ]
}

pub fn cases() -> Vec<Case> {
    let case =
        |(x, axis, elements, fill): (Vec<Shape>, _, _, _)| Case::new(Gather { axis, elements }, &x).fill(1, fill);
    let mut cases: Vec<Case> = layouts().into_iter().map(case).collect();
    let shapes = |x: [Shape; 2]| x.to_vec();
    let rough = |x, axis, elements, fill| case((shapes(x), axis, elements, Fill::With(fill))).rough();
    cases.extend([
        rough([[2, 5, 3].into(), [17].into()], 1, false, past_end::<1>),
        rough([[5, 3].into(), [8, 3].into()], 0, true, past_end::<0>),
        rough([[9, 5].into(), [17].into()], 0, false, below::<0>).fill(0, Fill::With(with_nan)),
        // Four sentences of 256 tokens.
        case((shapes([[8192, 64].into(), [4, 256].into()]), 0, false, Fill::With(below::<0>))).real(),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_onnx() {
        let shape = |x: &[usize], indices: &[usize], axis, elements| {
            let shapes = [x, indices].map(|sizes| Shape::new(sizes).unwrap());
            Gather { axis, elements }.shape(&shapes).map_err(|e| e.to_string())
        };
        assert_eq!(shape(&[2, 5, 3], &[4, 6], 1, false), Ok([2, 4, 6, 3].into()));
        assert_eq!(shape(&[2, 5, 3], &[2, 9, 3], 1, true), Ok([2, 9, 3].into()));
        assert_eq!(
            shape(&[2, 5, 3], &[2, 9, 2], 1, true),
            Err("indices must be [2, 5, 3] but for axis 1, got [2, 9, 2]".into())
        );
        assert_eq!(
            shape(&[2, 5, 3, 1], &[1, 1, 1, 1], 1, false),
            Err("indices must be at most 3 dimensions for x [2, 5, 3, 1], got [1, 1, 1, 1]".into())
        );
        assert!(shape(&[2, 5], &[1], 2, false).is_err());
    }

    #[test]
    fn an_index_past_the_end_is_nan_and_has_no_gradient() {
        let (x, indices) = (vec![1.0, 2.0, 3.0], vec![2.0, 3.0, 2.0, f64::from(u32::MAX)]);
        let io = Io { x: &[[3].into(), [4].into()], y: [4].into() };
        let op = Gather { axis: 0, elements: false };
        let (mut y, mut dx) = ([0.0; 4], [vec![0.0; 3], vec![0.0; 4]]);
        op.reference(&io, &[x.clone(), indices.clone()], &mut y);
        assert!(y[1].is_nan() && y[3].is_nan() && y[0] == 3.0 && y[2] == 3.0);
        op.reference_grad(&io, &[x, indices], &y, &[1.0, 10.0, 100.0, 1000.0], &mut dx);
        assert_eq!(dx[0], [0.0, 0.0, 101.0]);
    }
}
