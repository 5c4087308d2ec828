//! local_conv2d: a convolution whose filters are shared only within cells of the output.
//!
//! `y[n,o,i,j] = b[k·O + o] + Σ_{c,u,v} w[k·O + o, c, u, v] · x[n, c, i + u, j + v]`, k = the cell of (i, j)
//!
//! | name | shape                 | meaning                                                        |
//! |------|-----------------------|----------------------------------------------------------------|
//! | x    | `[N,C,H,W]`           | input                                                          |
//! | w    | `[cells·O,C,K,K]`     | filters of K × K taps, those of one cell after the other       |
//! | b    | `[1,cells·O,1,1]`     | biases                                                         |
//! | y    | `[N,O,H−K+1,W−K+1]`   | output, divided into cells of `side` × `side` positions, which are counted row by row |
//!
//! A side of 1 gives every position filters of its own; a cell as large as the output makes a convolution.
//! Gradients: for x, w and b.
//! Errors: the filters are not square or larger than x; cells do not divide the output; w and b disagree with their number.
//! Numerics: f32 sums in any order; at most as many roundings as there are terms and a bias.
//! Source: Sun, Wang and Tang, "Hybrid Deep Learning for Face Verification", ICCV 2013, section 3.2.

use super::{
    Call, Caps, Case, Cost, Family, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, row_blocks,
    row_gain, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::layout::MAX_TEXELS;
use crate::tensor::Shape;

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConv2d {
    /// Rows and columns of a cell.
    pub side: usize,
}

/// Sizes that shaders and the reference use.
struct Sizes {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    outputs: usize,
    /// Of y.
    rows: usize,
    columns: usize,
    kernel: usize,
    side: usize,
    /// Cells in a row of cells.
    across: usize,
    cells: usize,
    /// Values that a filter reads.
    depth: usize,
    /// Positions of a cell in all pictures.
    samples: usize,
}

impl LocalConv2d {
    fn sizes(&self, io: &Io) -> Sizes {
        let ([batch, channels, height, width], [_, outputs, rows, columns]) = (io.x[0].nchw(), io.y.nchw());
        let (kernel, side) = (io.x[1][2], self.side);
        let across = columns / side;
        let cells = rows / side * across;
        let (depth, samples) = (channels * kernel * kernel, batch * side * side);
        Sizes { batch, channels, height, width, outputs, rows, columns, kernel, side, across, cells, depth, samples }
    }

    /// Calls `f` with the indices in y, x, w and b of every product's term.
    fn each(&self, io: &Io, mut f: impl FnMut(usize, usize, usize, usize)) {
        let s = self.sizes(io);
        for n in 0..s.batch {
            for (row, column) in (0..s.rows).flat_map(|row| (0..s.columns).map(move |column| (row, column))) {
                let cell = row / s.side * s.across + column / s.side;
                for o in 0..s.outputs {
                    let filter = cell * s.outputs + o;
                    let y = ((n * s.outputs + o) * s.rows + row) * s.columns + column;
                    for value in 0..s.depth {
                        let (c, tap) = (value / (s.kernel * s.kernel), value % (s.kernel * s.kernel));
                        let (i, j) = (row + tap / s.kernel, column + tap % s.kernel);
                        let x = ((n * s.channels + c) * s.height + i) * s.width + j;
                        f(y, x, filter * s.depth + value, filter);
                    }
                }
            }
        }
    }
}

impl Op for LocalConv2d {
    fn name(&self) -> &'static str {
        "local_conv2d"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("local_conv2d/plain"), plain),
            Kernel::new(wgsl!("local_conv2d/rows" + "rows" + "texels" + "bound"), rows).only(Family::Software),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let ([n, channels, height, width], [filters, depth, kernel, wide]) = (x[0].nchw(), x[1].nchw());
        let fits = kernel == wide && kernel <= height.min(width) && depth == channels;
        if !fits {
            let expected = format!("[cells·O, C={channels}, K, K] with K at most {}", height.min(width));
            return Err(ShapeError::shape("w", expected, x[1]));
        }
        let (rows, columns) = (height - kernel + 1, width - kernel + 1);
        if self.side == 0 || rows % self.side != 0 || columns % self.side != 0 {
            let expected = format!("a divisor of the output's {rows} rows and {columns} columns");
            return Err(ShapeError::value("side", &expected, self.side.to_string()));
        }
        let cells = rows / self.side * (columns / self.side);
        if filters % cells != 0 {
            return Err(ShapeError::shape("w", format!("[cells={cells} · O, C, K, K]"), x[1]));
        }
        if x[2] != [1, filters, 1, 1] {
            return Err(ShapeError::shape("b", format!("[1, cells·O={filters}, 1, 1]"), x[2]));
        }
        Ok([n, filters / cells, rows, columns].into())
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let (products, [x, w, b]) = (2 * io.y_len() * self.sizes(io).depth, [0, 1, 2].map(|k| io.x_len(k)));
        match method {
            "forward" => Cost::new(products, x + w + b + io.y_len()),
            "backward_b" => Cost::new(io.y_len(), io.y_len() + b),
            _ => Cost::new(products, x + w + io.y_len()),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let s = self.sizes(io);
        self.each(io, |i, from_x, from_w, filter| {
            if from_w % s.depth == 0 {
                y[i] = x[2][filter];
            }
            y[i] += x[0][from_x] * x[1][from_w];
        });
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let s = self.sizes(io);
        self.each(io, |i, from_x, from_w, filter| {
            dx[0][from_x] += dy[i] * x[1][from_w];
            dx[1][from_w] += dy[i] * x[0][from_x];
            if from_w % s.depth == 0 {
                dx[2][filter] += dy[i];
            }
        });
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let s = self.sizes(io);
        Tolerance::Terms(match output {
            "y" => s.depth + 1,
            "dx" => s.kernel * s.kernel * s.outputs,
            _ => s.samples,
        })
    }
}

impl Sizes {
    /// Returns the members of P that both shaders have.
    fn params(&self, threads: usize) -> Vec<(&'static str, Scalar)> {
        vec![
            ("threads", threads.into()),
            ("channels", self.channels.into()),
            ("height", self.height.into()),
            ("width", self.width.into()),
            ("outputs", self.outputs.into()),
            ("rows", self.rows.into()),
            ("columns", self.columns.into()),
        ]
    }
}

/// `shaders/local_conv2d/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<LocalConv2d>()?, &call.io);
    let s = op.sizes(io);
    call.work(caps, |entry| {
        let threads = match entry {
            "forward" => io.y_len(),
            "backward_x" => io.x_len(0),
            "backward_w" => io.x_len(1),
            _ => io.x_len(2),
        };
        let mut params = s.params(threads);
        params.extend([
            ("batch", s.batch.into()),
            ("kernel", s.kernel.into()),
            ("side", s.side.into()),
            ("across", s.across.into()),
        ]);
        let loops: &[usize] = match entry {
            "forward" => &[s.channels, s.kernel, s.kernel],
            "backward_x" => &[s.kernel, s.kernel, s.outputs],
            _ => &[s.batch, s.side * s.side],
        };
        Some(Launch::threads(threads, params).loops(loops))
    })
}

/// `shaders/local_conv2d/rows.wgsl`.
fn rows(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<LocalConv2d>()?, &call.io);
    let s = op.sizes(io);
    let [rows_a, rows_b, terms] = match call.method {
        "forward" => [s.samples, s.outputs, s.depth],
        "backward_w" => [s.outputs, s.depth, s.samples],
        "backward_x" => [s.depth, s.samples, s.outputs],
        _ => return None,
    };
    let (quads, blocks) = (terms.div_ceil(4), row_blocks(rows_a, rows_b));
    let of_values = if call.method == "backward_x" { s.cells * s.samples * s.depth.div_ceil(4) } else { 0 };
    let [of_a, of_b] = [rows_a, rows_b].map(|rows| s.cells * rows * quads);
    if of_a.max(of_b).max(of_values) > MAX_TEXELS {
        return None;
    }
    let work = call.work(caps, |entry| {
        let threads = match entry.as_bytes().last() {
            Some(b'1') => of_a + of_b,
            Some(b'2') => s.cells * blocks,
            _ => io.x_len(0),
        };
        let mut params = s.params(threads);
        params.extend([
            ("depth", s.depth.into()),
            ("samples", s.samples.into()),
            ("rows_a", rows_a.into()),
            ("rows_b", rows_b.into()),
            ("terms", terms.into()),
            ("quads", quads.into()),
            ("of_a", of_a.into()),
            ("blocks", blocks.into()),
        ]);
        let launch = Launch::threads(threads, params);
        Some(launch.with("KERNEL", s.kernel).with("SIDE", s.side).with("ACROSS", s.across))
    })?;
    let mut scratch = vec![("t1", of_a), ("t2", of_b)];
    if of_values > 0 {
        scratch.push(("t3", of_values));
    }
    Some(work.scratch(scratch).faster(row_gain(rows_a, rows_b) * terms as f64 / (terms + 4) as f64))
}

pub fn cases() -> Vec<Case> {
    let case = |[n, c, h, w]: [usize; 4], outputs: usize, kernel: usize, side: usize| {
        let cells = (h - kernel + 1) / side * ((w - kernel + 1) / side);
        Case::new(
            LocalConv2d { side },
            &[[n, c, h, w], [cells * outputs, c, kernel, kernel], [1, cells * outputs, 1, 1]],
        )
    };
    vec![
        case([1, 1, 1, 1], 1, 1, 1),
        case([2, 3, 5, 4], 2, 2, 1),
        // Cells of several positions, more cells down than across.
        case([2, 3, 8, 6], 5, 3, 2),
        case([3, 2, 5, 8], 4, 3, 3),
        // Just past a block of outputs, of samples and of values.
        case([5, 3, 4, 4], 9, 2, 3),
        // One cell: a convolution.
        case([2, 3, 6, 6], 3, 3, 4),
        case([2, 2, 4, 5], 3, 2, 1).fill(0, Fill::With(with_nan)).rough(),
        // DeepID2's third and fourth layer.
        case([8, 40, 12, 10], 60, 3, 2).real(),
        case([8, 60, 5, 4], 80, 2, 1).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_cells_that_do_not_fit_are_refused() {
        let shape = |side, w: [usize; 4], b: usize| {
            let shapes = [[2, 3, 8, 6].into(), w.into(), [1, b, 1, 1].into()];
            LocalConv2d { side }.shape(&shapes).map_err(|e| e.to_string())
        };
        assert_eq!(shape(2, [30, 3, 3, 3], 30), Ok([2, 5, 6, 4].into()));
        for (side, w, b, word) in [
            (2, [30, 3, 3, 2], 30, "K, K"),
            (2, [30, 3, 7, 7], 30, "at most 6"),
            (2, [30, 4, 3, 3], 30, "C=3"),
            (4, [30, 3, 3, 3], 30, "6 rows and 4 columns"),
            (0, [30, 3, 3, 3], 30, "divisor"),
            (2, [31, 3, 3, 3], 31, "cells=6"),
            (2, [30, 3, 3, 3], 5, "cells·O=30"),
        ] {
            let problem = shape(side, w, b).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
