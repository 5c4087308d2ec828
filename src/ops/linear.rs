//! linear: every output is a weighted sum of all values of a picture.
//!
//! `y[n,o] = b[o] + Σ_d w[o,d]·x[n,d], where d runs over the picture's D = C·H·W values in row-major order`
//!
//! | name | shape       | meaning                                           |
//! |------|-------------|---------------------------------------------------|
//! | x    | `[N,C,H,W]` | input, read as `[N,D]`; may itself be `[N,D,1,1]` |
//! | w    | `[O,D,1,1]` | weights, one row per output                       |
//! | b    | `[1,O,1,1]` | bias                                              |
//! | y    | `[N,O,1,1]` | output                                            |
//!
//! Gradients: for x, w and b. Backward reads x, w and dy.
//! Errors: w is not `[O,D,1,1]`, or b disagrees with it in O.
//! Numerics: f32 sum of D products and the bias; in any order, at most D + 1 roundings of |b| + Σ|w·x|.
//! Source: definition as in torch.nn.functional.linear after flatten(1).

use super::product::Product;
use super::{
    Call, Caps, Case, Cost, Family, Io, Kernel, Launch, Op, Tolerance, Values, Work, row_blocks, row_gain, row_launch,
    wgsl,
};
use crate::error::ShapeError;
use crate::layout::MAX_TEXELS;
use crate::tensor::Shape;

/// The operation; its inputs determine its sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear;

/// Invocations of a workgroup; `WG` in the shader.
const WORKGROUP: usize = 64;

/// Returns N, D and O.
fn sizes(io: &Io) -> [usize; 3] {
    [io.x[0][0], io.x[1][1], io.x[1][0]]
}

/// Returns the number of channel quads per picture of x.
fn row_quads(io: &Io) -> usize {
    let [_, c, h, w] = io.x[0].nchw();
    c.div_ceil(4) * h * w
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("linear/plain"), plain),
            Kernel::new(wgsl!("linear/tiles" + "product"), tiles).only(Family::Hardware),
            Kernel::new(wgsl!("linear/quads" + "rows" + "texels" + "bound"), quads).only(Family::Software),
            Kernel::new(wgsl!("linear/gradients" + "rows" + "texels" + "bound"), gradients).only(Family::Software),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, c, h, w] = x[0].nchw();
        let [outputs, ..] = x[1].nchw();
        let depth = c.checked_mul(h).and_then(|p| p.checked_mul(w));
        if depth.is_none_or(|d| x[1] != [outputs, d, 1, 1]) {
            let expected = depth.map_or_else(|| "[O, C·H·W, 1, 1]".into(), |d| format!("[O, C·H·W={d}, 1, 1]"));
            return Err(ShapeError::shape("w", expected, x[1]));
        }
        if x[2] != [1, outputs, 1, 1] {
            return Err(ShapeError::shape("b", format!("[1, O={outputs}, 1, 1]"), x[2]));
        }
        Ok([n, outputs, 1, 1].into())
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let [n, d, o] = sizes(io);
        match method {
            "forward" => Cost::new(2 * n * d * o, n * d + o * d + o + n * o),
            "backward_b" => Cost::new(n * o, n * o + o),
            _ => Cost::new(2 * n * d * o, n * d + o * d + n * o),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let [n, d, o] = sizes(io);
        for n in 0..n {
            for k in 0..o {
                y[n * o + k] = x[2][k] + (0..d).map(|i| x[1][k * d + i] * x[0][n * d + i]).sum::<f64>();
            }
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let [n, d, o] = sizes(io);
        for n in 0..n {
            for k in 0..o {
                let g = dy[n * o + k];
                for i in 0..d {
                    dx[0][n * d + i] += g * x[1][k * d + i];
                    dx[1][k * d + i] += g * x[0][n * d + i];
                }
                dx[2][k] += g;
            }
        }
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let [n, d, o] = sizes(io);
        // One product and the additions of all other terms.
        Tolerance::Terms(match output {
            "y" => d + 1,
            "dx" => o,
            _ => n,
        })
    }
}

/// `shaders/linear/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let [n, d, o] = sizes(&call.io);
    call.work(caps, |entry| {
        // Rows and columns of tiles: 8 outputs × 4 pictures, and 4 rows × 256 values of the depth.
        let (rows, columns, terms) = match entry {
            "forward" => (o.div_ceil(8), n.div_ceil(4), d.div_ceil(WORKGROUP) + WORKGROUP),
            "backward_x" => (n.div_ceil(4), d.div_ceil(4 * WORKGROUP), o),
            "backward_w" => (o.div_ceil(4), d.div_ceil(4 * WORKGROUP), n),
            _ => (o, 1, n),
        };
        let tiles = rows * columns;
        let params = [
            ("batch", n.into()),
            ("depth", d.into()),
            ("outputs", o.into()),
            ("tiles", tiles.into()),
            ("columns", columns.into()),
        ];
        let threads = if entry == "backward_b" { tiles } else { tiles * WORKGROUP };
        // The sums, and their rows.
        Some(Launch::threads(threads, params).loops(&[terms]).loops(&[4]))
    })
}

/// `shaders/linear/tiles.wgsl`: y = x · wᵀ, dx = dy · w, and dw = dyᵀ · x.
fn tiles(call: &Call, caps: &Caps) -> Option<Work> {
    let [n, d, o] = sizes(&call.io);
    let product = |[rows_a, rows_b, terms]: [usize; 3], a, b| {
        let product = Product { matrices: [1; 3], rows_a, rows_b, terms, a, b, y: [rows_b, 1] };
        product.serve(call, caps, &[])
    };
    match call.method {
        "forward" => product([n, o, d], [d, 1], [d, 1]),
        "backward_x" => product([n, d, o], [o, 1], [1, d]),
        "backward_w" => product([o, d, n], [1, o], [1, d]),
        _ => None,
    }
}

/// `shaders/linear/quads.wgsl`.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    let ([n, d, o], [_, c, h, w], quads) = (sizes(io), io.x[0].nchw(), row_quads(io));
    if (n * quads).max(o * quads) > MAX_TEXELS {
        return None;
    }
    let work = call.work(caps, |entry| {
        let is_copy = entry == "forward_1";
        let threads = if is_copy { o * quads } else { row_blocks(n, o) };
        let params = [
            ("rows_a", n.into()),
            ("rows_b", o.into()),
            ("quads", quads.into()),
            ("channels", c.into()),
            ("plane", (h * w).into()),
            ("depth", d.into()),
            ("threads", threads.into()),
        ];
        Some(if is_copy { Launch::threads(threads, params) } else { row_launch(threads, params) })
    })?;
    Some(work.scratch(vec![("t2", o * quads)]).faster(row_gain(n, o)))
}

/// `shaders/linear/gradients.wgsl`: dx = dy · w, and dw = dyᵀ · x.
fn gradients(call: &Call, caps: &Caps) -> Option<Work> {
    let [n, d, o] = sizes(&call.io);
    // Rows of A and terms of each, and the distances in dy between rows and between terms.
    let ([rows_a, terms], [row, step]) = match call.method {
        "backward_x" => ([n, o], [o, 1]),
        "backward_w" => ([o, n], [1, o]),
        _ => return None,
    };
    let quads = terms.div_ceil(4);
    if rows_a.max(d) * quads > MAX_TEXELS {
        return None;
    }
    let work = call.work(caps, |entry| {
        let is_copy = entry.ends_with("_1");
        let threads = if is_copy { (rows_a + d) * quads } else { row_blocks(rows_a, d) };
        let params = [
            ("rows_a", rows_a.into()),
            ("rows_b", d.into()),
            ("quads", quads.into()),
            ("terms", terms.into()),
            ("row", row.into()),
            ("step", step.into()),
            ("threads", threads.into()),
        ];
        Some(if is_copy { Launch::threads(threads, params) } else { row_launch(threads, params) })
    })?;
    let scratch = vec![("t1", rows_a * quads), ("t2", d * quads)];
    // The copies cost as much as a few terms.
    Some(work.scratch(scratch).faster(row_gain(rows_a, d) * terms as f64 / (terms + 4) as f64))
}

pub fn cases() -> Vec<Case> {
    let case = |x: [usize; 4], outputs| {
        let depth = x[1] * x[2] * x[3];
        Case::new(Linear, &[x, [outputs, depth, 1, 1], [1, outputs, 1, 1]])
    };
    vec![
        case([1, 1, 1, 1], 1),
        case([2, 3, 5, 7], 9),
        case([5, 65, 1, 1], 3),
        case([3, 1, 1, 257], 2),
        case([1, 2, 3, 3], 17),
        // The depth ends where the second and the third of a thread's values would begin.
        case([3, 128, 1, 1], 5),
        case([2, 3, 8, 8], 6),
        // Terms just past a quad, and a block of rows, in both gradients.
        case([9, 17, 1, 1], 5),
        case([5, 9, 1, 1], 9),
        case([16, 64, 3, 4], 136).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_when_weights_do_not_fit_is_refused() {
        let shape = |w, b| Linear.shape(&[[2, 3, 4, 5].into(), w, b]).map_err(|e| e.to_string());
        assert_eq!(shape([7, 60, 1, 1].into(), [1, 7, 1, 1].into()), Ok([2, 7, 1, 1].into()));
        assert_eq!(
            shape([7, 3, 4, 5].into(), [1, 7, 1, 1].into()),
            Err("w must be [O, C·H·W=60, 1, 1], got [7, 3, 4, 5]".into())
        );
        assert_eq!(
            shape([7, 60, 1, 1].into(), [7, 1, 1, 1].into()),
            Err("b must be [1, O=7, 1, 1], got [7, 1, 1, 1]".into())
        );
    }
}
