//! pairwise_distance: squared Euclidean distances of all pairs of rows.
//!
//! `y[n,m] = Σ_d (a[n,d] − b[m,d])²`
//!
//! | name | shape       | meaning                          |
//! |------|-------------|----------------------------------|
//! | a    | `[N,D,1,1]` | vectors                          |
//! | b    | `[M,D,1,1]` | vectors                          |
//! | y    | `[N,M,1,1]` | squared distances, never below 0 |
//!
//! Gradients: `da[n,d]` = 2·Σ_m `dy[n,m]`·(`a[n,d]` − `b[m,d]`) and `db[m,d]` = 2·Σ_n `dy[n,m]`·(`b[m,d]` − `a[n,d]`).
//! Errors: a or b is not [·,D,1,1], or they differ in D.
//! Numerics: the differences are taken first, not ‖a‖² + ‖b‖² − 2a·b, which cancels for close pairs. No term
//! is negative, so y has a relative error of at most (D + 2)·2⁻²³.
//! Source: definition; as torch.cdist(a, b)².

use super::product::Product;
use super::{
    Call, Caps, Case, Cost, EPS, Family, Io, Kernel, Launch, Op, Tolerance, Values, Work, row_blocks, row_gain,
    row_launch, wgsl,
};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct PairwiseDistance;

impl Op for PairwiseDistance {
    fn name(&self) -> &'static str {
        "pairwise_distance"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("pairwise_distance/plain"), plain),
            Kernel::new(wgsl!("pairwise_distance/quads" + "rows" + "texels" + "bound"), quads).only(Family::Software),
            Kernel::new(wgsl!("pairwise_distance/tiles" + "product"), tiles).only(Family::Hardware),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, d, ah, aw] = x[0].nchw();
        let [m, bd, bh, bw] = x[1].nchw();
        if [ah, aw] != [1, 1] {
            return Err(ShapeError::shape("a", "[N, D, 1, 1]", x[0]));
        }
        if [bd, bh, bw] != [d, 1, 1] {
            return Err(ShapeError::shape("b", format!("[M, D={d}, 1, 1]"), x[1]));
        }
        Ok([n, m, 1, 1].into())
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        // A difference, a product and a sum for each of the N·M·D terms.
        let flops = 3 * io.y_len() * io.x[0][1];
        let gradient = match method {
            "backward_a" => io.x_len(0),
            "backward_b" => io.x_len(1),
            _ => 0,
        };
        Cost::new(flops, io.total_len() + gradient)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let ([n, d, ..], [m, ..]) = (io.x[0].nchw(), io.x[1].nchw());
        for i in 0..n {
            for j in 0..m {
                y[i * m + j] = (0..d).map(|k| (x[0][i * d + k] - x[1][j * d + k]).powi(2)).sum();
            }
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let ([n, d, ..], [m, ..]) = (io.x[0].nchw(), io.x[1].nchw());
        for i in 0..n {
            for j in 0..m {
                for k in 0..d {
                    let slope = 2.0 * dy[i * m + j] * (x[0][i * d + k] - x[1][j * d + k]);
                    dx[0][i * d + k] += slope;
                    dx[1][j * d + k] -= slope;
                }
            }
        }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let ([n, d, ..], [m, ..]) = (io.x[0].nchw(), io.x[1].nchw());
        if output == "y" {
            // Each term: one rounding of the difference, which the square doubles, and one of the square; then D − 1
            // roundings of the sum. No term is negative, so their sum is y itself.
            return Tolerance::Each(at.y.iter().map(|y| (d + 2) as f64 * EPS * y).collect());
        }
        // Each term: one rounding of the difference and one of the product; then the sum. The doubling is exact.
        let (rows, terms) = if output == "da" { (n, m) } else { (m, n) };
        let mut bound = vec![0.0; rows * d];
        for i in 0..n {
            for j in 0..m {
                for k in 0..d {
                    let row = if output == "da" { i } else { j };
                    bound[row * d + k] += 2.0 * (at.dy[i * m + j] * (at.x[0][i * d + k] - at.x[1][j * d + k])).abs();
                }
            }
        }
        Tolerance::Each(bound.iter().map(|sum| (terms + 1) as f64 * EPS * sum).collect())
    }
}

/// `shaders/pairwise_distance/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let ([n, d, ..], [m, ..]) = (call.io.x[0].nchw(), call.io.x[1].nchw());
    call.work(caps, |entry| {
        let (rows, columns, terms) = match entry {
            "backward_a" => (n, d, m),
            "backward_b" => (m, d, n),
            _ => (n, m, d),
        };
        let params = [("rows_a", n.into()), ("rows_b", m.into()), ("depth", d.into())];
        Some(Launch::threads(rows.div_ceil(4) * columns.div_ceil(4), params).loops(&[terms]))
    })
}

/// `shaders/pairwise_distance/quads.wgsl`.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let ([n, d, ..], [m, ..]) = (call.io.x[0].nchw(), call.io.x[1].nchw());
    let fits = call.io.x.iter().all(|x| Layout::Quads.elements(x) <= MAX_TEXELS);
    let params = [("rows_a", n.into()), ("rows_b", m.into()), ("quads", d.div_ceil(4).into())];
    let work = call.work(caps, |_| fits.then(|| row_launch(row_blocks(n, m), params)))?;
    Some(work.faster(row_gain(n, m)))
}

/// `shaders/pairwise_distance/tiles.wgsl`.
fn tiles(call: &Call, caps: &Caps) -> Option<Work> {
    let ([n, d, ..], [m, ..]) = (call.io.x[0].nchw(), call.io.x[1].nchw());
    let product = Product { matrices: [1; 3], rows_a: n, rows_b: m, terms: d, a: [d, 1], b: [d, 1], y: [m, 1] };
    let mut work = product.serve(call, caps, &[])?;
    work.passes.iter_mut().for_each(|launch| launch.overrides.push(("DIFFERENCES", 1.0)));
    Some(work)
}

pub fn cases() -> Vec<Case> {
    let case = |n: usize, m: usize, d: usize| Case::new(PairwiseDistance, &[[n, d, 1, 1], [m, d, 1, 1]]);
    vec![
        case(1, 1, 1),
        case(3, 7, 5),
        // Just past the 64 threads of a workgroup, 16 outputs each.
        case(5, 129, 2),
        case(257, 1, 3),
        case(4, 8, 33),
        // Several blocks on either side, and terms in parts.
        case(130, 70, 9),
        case(3, 5, 260),
        // Two past a block on every side.
        case(6, 6, 6),
        case(512, 512, 128).real(),
    ]
}
