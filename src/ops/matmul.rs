//! matmul: products of matrices, which lie in the last two dimensions; the others are broadcast as in NumPy.
//!
//! `y[…, i, j] = Σ_k a[…, i, k] · b[…, k, j]`
//!
//! | name | shape                                                     | meaning                |
//! |------|-----------------------------------------------------------|------------------------|
//! | a    | `[…, M, K]`, two to six dimensions; `[…, K, M]` if `transpose_a` | left matrices   |
//! | b    | `[…, K, N]`, two to six dimensions; `[…, N, K]` if `transpose_b` | right matrices  |
//! | y    | `[…, M, N]`                                               | products               |
//!
//! Gradients: for both, summed over what was broadcast. Backward reads dy and the other input.
//! Errors: an input has one dimension; K differs; a dimension before the last two is larger than 1 in both and differs.
//! Numerics: f32 sums in a fixed order, in parts of 64.
//! Source: definition, as MatMul of ONNX.

use super::pointwise::broadcast::{broadcast, each, members, padded, strides, terms};
use super::product::Product;
use super::{
    Call, Caps, Case, Cost, Family, Fill, Io, Kernel, Launch, Op, Promise, Scalar, Tolerance, Values, Work, row_blocks,
    row_gain, row_launch, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::layout::MAX_TEXELS;
use crate::tensor::{Shape, len};
use std::any::Any;

/// The operation; the default transposes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matmul {
    /// Takes the transpose of each matrix of a.
    pub transpose_a: bool,
    /// Takes the transpose of each matrix of b.
    pub transpose_b: bool,
}

/// The sizes of a product, and the distances between neighbours in the inputs.
struct Sizes {
    rows: usize,
    columns: usize,
    depth: usize,
    /// Between rows and between columns of a, and of b.
    a: [usize; 2],
    b: [usize; 2],
}

/// Returns the dimensions before the last two; `[1]` if there are none.
fn matrices(x: &Shape) -> Shape {
    Shape::new(&x[..x.rank() - 2]).unwrap_or([1].into())
}

impl Matmul {
    fn sizes(&self, io: &Io) -> Sizes {
        let last = |x: &Shape| (x[x.rank() - 2], x[x.rank() - 1]);
        let ((rows, columns), (high, wide), (_, width)) = (last(&io.y), last(&io.x[0]), last(&io.x[1]));
        let depth = if self.transpose_a { high } else { wide };
        let of = |is_transposed, width| if is_transposed { [1, width] } else { [width, 1] };
        Sizes { rows, columns, depth, a: of(self.transpose_a, wide), b: of(self.transpose_b, width) }
    }

    /// Calls `f` with the indices in y, a and b of every product's term.
    fn each(&self, io: &Io, mut f: impl FnMut(usize, usize, usize)) {
        let Sizes { rows, columns, depth, a, b } = self.sizes(io);
        let x = [matrices(&io.x[0]), matrices(&io.x[1])];
        each(&Io { x: &x, y: matrices(&io.y) }, |matrix, [of_a, of_b]| {
            for row in 0..rows {
                for column in 0..columns {
                    for k in 0..depth {
                        let from_a = of_a * rows * depth + row * a[0] + k * a[1];
                        let from_b = of_b * depth * columns + k * b[0] + column * b[1];
                        f((matrix * rows + row) * columns + column, from_a, from_b);
                    }
                }
            }
        });
    }

    /// Returns how many terms an element of a method's result is the sum of.
    fn terms(&self, method: &str, io: &Io) -> usize {
        let Sizes { rows, columns, depth, .. } = self.sizes(io);
        let uses = |k: usize| len(&matrices(&io.y)) / len(&matrices(&io.x[k]));
        match method {
            "forward" => depth,
            "backward_a" => uses(0) * columns,
            _ => uses(1) * rows,
        }
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("matmul/plain" + "broadcast" + "terms" + "quotient"), plain),
            Kernel::new(wgsl!("matmul/block" + "broadcast" + "quotient"), block),
            Kernel::new(wgsl!("matmul/tiles" + "product" + "broadcast" + "quotient"), tiles).only(Family::Hardware),
            Kernel::new(wgsl!("matmul/rows" + "broadcast" + "quotient" + "rows" + "texels" + "bound"), rows)
                .only(Family::Software),
        ];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        for (name, shape) in self.inputs().iter().zip(x) {
            if shape.rank() < 2 {
                return Err(ShapeError::shape(name, "two to six dimensions", *shape));
            }
        }
        let last = |x: &Shape, is_transposed: bool| {
            let [high, wide] = [x[x.rank() - 2], x[x.rank() - 1]];
            if is_transposed { [wide, high] } else { [high, wide] }
        };
        let ([rows, depth], [high, columns]) = (last(&x[0], self.transpose_a), last(&x[1], self.transpose_b));
        if high != depth {
            let expected =
                if self.transpose_b { format!("[..., N, K={depth}]") } else { format!("[..., K={depth}, N]") };
            return Err(ShapeError::shape("b", expected, x[1]));
        }
        // The same dimensions, with matrices that take part in broadcasting as one element.
        let ones = |shape: &Shape| {
            let sizes = [&shape[..shape.rank() - 2], &[1, 1]].concat();
            Shape::new(&sizes).unwrap_or(*shape)
        };
        let all = broadcast(self.inputs(), &[ones(&x[0]), ones(&x[1])])?;
        Ok(Shape::new(&[&all[..all.rank() - 2], &[rows, columns]].concat()).unwrap_or(all))
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(2 * io.y_len() * self.sizes(io).depth, io.total_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.each(io, |i, a, b| y[i] += x[0][a] * x[1][b]);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.each(io, |i, a, b| {
            dx[0][a] += dy[i] * x[1][b];
            dx[1][b] += dy[i] * x[0][a];
        });
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let terms = match output {
            "y" => self.terms("forward", io),
            "da" => self.terms("backward_a", io),
            _ => self.terms("backward_b", io),
        };
        // The product, the additions of a part, and those of the parts.
        Tolerance::Terms(1 + terms.min(64) + terms.div_ceil(64))
    }
}

impl Sizes {
    /// Returns the members of P of `shaders/shared/broadcast.wgsl`.
    fn places(io: &Io) -> Vec<(&'static str, Scalar)> {
        let (of_a, of_b) = (matrices(&io.x[0]), matrices(&io.x[1]));
        let of_y = members('s', padded(&matrices(&io.y)));
        let mut params = [of_y, members('a', strides(&of_a)), members('b', strides(&of_b))].concat();
        params.push(("is_same", u32::from(of_a == of_b).into()));
        params
    }

    /// Returns the members of P that plain and block have, for `threads` threads.
    fn params(&self, io: &Io, threads: usize) -> Vec<(&'static str, Scalar)> {
        let mut params = Self::places(io);
        params.extend([
            ("threads", threads.into()),
            ("rows", self.rows.into()),
            ("columns", self.columns.into()),
            ("depth", self.depth.into()),
            ("a_row", self.a[0].into()),
            ("a_column", self.a[1].into()),
            ("b_row", self.b[0].into()),
            ("b_column", self.b[1].into()),
        ]);
        params
    }
}

/// `shaders/matmul/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Matmul>()?, &call.io);
    let (of_a, of_b, of_y) = (matrices(&io.x[0]), matrices(&io.x[1]), matrices(&io.y));
    call.work(caps, |entry| {
        let (threads, kept) = match entry {
            "forward" => (io.y_len(), None),
            "backward_a" => (io.x_len(0), Some(&of_a)),
            _ => (io.x_len(1), Some(&of_b)),
        };
        let mut params = op.sizes(io).params(io, threads);
        params.extend(terms(kept, &of_y));
        let uses = kept.map_or(1, |kept| len(&of_y) / len(kept));
        params.push(("uses", uses.into()));
        Some(Launch::threads(threads, params).loops(&[uses, op.terms(entry, io) / uses]))
    })
}

/// `shaders/matmul/block.wgsl`: products of several rows and columns.
fn block(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Matmul>()?, &call.io);
    let sizes = op.sizes(io);
    let [down, across] = [sizes.rows, sizes.columns].map(|size| size.div_ceil(4));
    if call.method != "forward" || sizes.rows < 4 || sizes.columns < 4 {
        return None;
    }
    let threads = len(&matrices(&io.y)) * down * across;
    let work = call.work(caps, |_| {
        let mut params = sizes.params(io, threads);
        params.extend([("blocks_down", down.into()), ("blocks_across", across.into())]);
        Some(Launch::threads(threads, params).loops(&[sizes.depth]))
    })?;
    Some(work.faster(1.5))
}

/// Returns a method as the product A · Bᵀ, and which matrices A and B are: a (0), b (1), or those of the result (2). A gradient is one
/// product unless its matrix takes part in several: `None`.
fn product(call: &Call) -> Option<(Product, [usize; 2])> {
    let (op, io) = (call.op::<Matmul>()?, &call.io);
    let Sizes { rows, columns, depth, a, b } = op.sizes(io);
    let counts = [len(&matrices(&io.x[0])), len(&matrices(&io.x[1])), len(&matrices(&io.y))];
    let ([rows_a, rows_b, terms], of_a, of_b, y, which) = match call.method {
        "forward" => ([rows, columns, depth], a, [b[1], b[0]], [columns, 1], [0, 1]),
        "backward_a" if counts[0] == counts[2] => ([rows, depth, columns], [columns, 1], b, a, [2, 1]),
        "backward_b" if counts[1] == counts[2] => ([depth, columns, rows], [a[1], a[0]], [1, columns], b, [0, 2]),
        _ => return None,
    };
    let matrices = [counts[which[0]], counts[which[1]], counts[2]];
    Some((Product { matrices, rows_a, rows_b, terms, a: of_a, b: of_b, y }, which))
}

/// `shaders/matmul/tiles.wgsl`.
fn tiles(call: &Call, caps: &Caps) -> Option<Work> {
    let (product, which) = product(call)?;
    let mut params = Sizes::places(&call.io);
    params.extend([("which_a", which[0].into()), ("which_b", which[1].into())]);
    let work = product.serve(call, caps, &params)?;
    Some(work.promise(Promise { tolerance: Some(of_one_sum), ..Promise::default() }))
}

/// Bounds the errors of a kernel that adds up all terms in one sum, or more.
fn of_one_sum(op: &dyn Op, output: &str, io: &Io, _at: &Values) -> Option<Tolerance> {
    let op = (op as &dyn Any).downcast_ref::<Matmul>()?;
    let method = match output {
        "y" => "forward",
        "da" => "backward_a",
        _ => "backward_b",
    };
    Some(Tolerance::Terms(1 + op.terms(method, io)))
}

/// `shaders/matmul/rows.wgsl`.
fn rows(call: &Call, caps: &Caps) -> Option<Work> {
    let (Product { matrices, rows_a, rows_b, terms, a: of_a, b: of_b, y: of_y }, which) = product(call)?;
    let (quads, blocks) = (terms.div_ceil(4), row_blocks(rows_a, rows_b));
    let texels = [matrices[0] * rows_a * quads, matrices[1] * rows_b * quads];
    if texels[0].max(texels[1]) > MAX_TEXELS {
        return None;
    }
    let work = call.work(caps, |entry| {
        let is_copy = entry.ends_with("_1");
        let threads = if is_copy { texels[0] + texels[1] } else { matrices[2] * blocks };
        let mut params = Sizes::places(&call.io);
        params.extend([
            ("threads", threads.into()),
            ("rows_a", rows_a.into()),
            ("rows_b", rows_b.into()),
            ("terms", terms.into()),
            ("quads", quads.into()),
            ("of_a", texels[0].into()),
            ("blocks", blocks.into()),
            ("a_row", of_a[0].into()),
            ("a_step", of_a[1].into()),
            ("b_row", of_b[0].into()),
            ("b_step", of_b[1].into()),
            ("y_row", of_y[0].into()),
            ("y_step", of_y[1].into()),
            ("which_a", which[0].into()),
            ("which_b", which[1].into()),
        ]);
        Some(if is_copy { Launch::threads(threads, params) } else { row_launch(threads, params) })
    })?;
    let scratch = vec![("t1", texels[0]), ("t2", texels[1])];
    // The copies cost as much as a few terms.
    Some(work.scratch(scratch).faster(row_gain(rows_a, rows_b) * terms as f64 / (terms + 4) as f64))
}

pub fn cases() -> Vec<Case> {
    let of = |a: &[usize], b: &[usize], [transpose_a, transpose_b]: [bool; 2]| {
        let shapes = [a, b].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        Case::new(Matmul { transpose_a, transpose_b }, &shapes)
    };
    let case = |a: &[usize], b: &[usize]| of(a, b, [false; 2]);
    vec![
        case(&[1, 1], &[1, 1]),
        case(&[5, 7], &[7, 3]),
        of(&[7, 5], &[7, 3], [true, false]),
        of(&[5, 7], &[3, 7], [false, true]),
        of(&[2, 7, 5], &[2, 3, 7], [true, true]),
        case(&[3, 150], &[150, 5]),
        case(&[17, 19], &[19, 23]),
        of(&[3, 70, 9], &[3, 70, 10], [true, false]),
        of(&[3, 9, 70], &[3, 10, 70], [false, true]),
        // Broadcast matrices, of either input and of both.
        case(&[2, 3, 4, 5], &[5, 6]),
        case(&[4, 5], &[3, 2, 5, 6]),
        case(&[2, 1, 3, 1, 4, 5], &[1, 5, 1, 2, 5, 3]),
        case(&[1, 5, 1, 2, 3, 4], &[2, 1, 3, 1, 4, 2]),
        case(&[2, 3, 2, 2, 3, 4], &[2, 3, 2, 2, 4, 5]),
        case(&[70, 3, 5], &[5, 4]),
        case(&[9, 5], &[5, 7]).fill(0, Fill::With(with_nan)).rough(),
        // A layer of a transformer, and its attention.
        case(&[4, 64, 256], &[256, 128]).real(),
        of(&[2, 8, 64, 32], &[2, 8, 64, 32], [false, true]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_numpy() {
        let shape =
            |a: &[usize], b: &[usize]| Matmul::default().shape(&[Shape::new(a).unwrap(), Shape::new(b).unwrap()]);
        assert_eq!(shape(&[8, 1, 2, 3], &[7, 3, 5]).unwrap(), [8, 7, 2, 5]);
        assert_eq!(shape(&[2, 3], &[3, 5]).unwrap(), [2, 5]);
        for (a, b) in [(&[3][..], &[3, 5][..]), (&[2, 3], &[2, 5]), (&[2, 2, 3], &[3, 3, 5])] {
            assert!(shape(a, b).is_err());
        }
    }
}
