//! quintuplet: the triple-header hinge loss of LMLE, which keeps apart clusters within a class, and classes.
//!
//! `y = scale · Σ_n Σ_k m[n,k] · max(0, g_k + D_k − D_{k+1})`, `D_k = ‖f[n] − f[(k+1)·N + n]‖²`, k = 0, 1, 2
//!
//! with scale = 1/N for [`Reduction::Mean`], 1 for a sum.
//!
//! | name | shape        | meaning                                                              |
//! |------|--------------|----------------------------------------------------------------------|
//! | f    | `[5N,D,1,1]` | embeddings: N anchors, then as many of each of their four partners   |
//! | m    | `[N,3,1,1]`  | weights of the three hinges, 0 to leave one out                      |
//! | y    | `[1,1,1,1]`  | loss                                                                 |
//!
//! The partners are the farthest of the anchor's cluster, the nearest of its class's other clusters, the farthest of its class, and the
//! nearest of another class: D is to grow from each to the next by the margin g. A class of one cluster has no second partner; weights
//! (0, 0, 1) leave the third and fourth, which is the triplet loss.
//! Gradients: for f; m is data. At the kink of a hinge its slope is 0, as that of relu.
//! Errors: f is not five times as many rows as m; m does not have three weights per anchor.
//! Numerics: f32 sums in a fixed order.
//! Source: Huang, Li, Loy and Tang, "Learning Deep Representation for Imbalanced Classification", CVPR 2016, section 3.2; margins are
//! differences of squared distances, of embeddings of length 1 ([l2_normalize](super::l2_normalize)) there.

use super::loss::Reduction;
use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{SCALAR, Shape};

/// The operation; the default has the margins 0.01, 0.1 and 0.5 and is the mean over anchors.
#[derive(Debug, Clone, PartialEq)]
pub struct Quintuplet {
    /// g₁, g₂, g₃.
    pub margins: [f32; 3],
    pub reduction: Reduction,
}

impl Default for Quintuplet {
    fn default() -> Self {
        Self { margins: [0.01, 0.1, 0.5], reduction: Reduction::Mean }
    }
}

impl Quintuplet {
    fn scale(&self, io: &Io) -> f64 {
        match self.reduction {
            Reduction::Mean => 1.0 / io.x[1][0] as f64,
            Reduction::Sum => 1.0,
        }
    }

    /// Returns the arguments of the hinges of anchor `n`.
    fn arguments(&self, [count, d]: [usize; 2], f: &[f64], n: usize) -> [f64; 3] {
        let row = |k: usize| &f[(k * count + n) * d..][..d];
        let far = |k: usize| row(0).iter().zip(row(k + 1)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        [0, 1, 2].map(|k| f64::from(self.margins[k]) + far(k) - far(k + 1))
    }
}

fn sizes(io: &Io) -> [usize; 2] {
    [io.x[1][0], io.x[0][1]]
}

impl Op for Quintuplet {
    fn name(&self) -> &'static str {
        "quintuplet"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["f", "m"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("quintuplet/plain" + "total"), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let ([rows, _, h, w], count) = (x[0].nchw(), x[1][0]);
        if [h, w] != [1, 1] {
            return Err(ShapeError::shape("f", "[5N, D, 1, 1]", x[0]));
        }
        if x[1] != [count, 3, 1, 1] || count.checked_mul(5) != Some(rows) {
            return Err(ShapeError::shape("m", format!("[N, 3, 1, 1] with 5N = {rows}, the rows of f"), x[1]));
        }
        Ok(SCALAR)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let ([count, d], floats) = (sizes(io), io.x_len(0) + io.x_len(1));
        // A difference, a product and a sum per dimension and partner; the gradient also a product and two sums for two rows.
        let flops = 12 * count * d + 12 * count;
        if method == "forward" { Cost::new(flops, floats + 1) } else { Cost::new(2 * flops, floats + io.x_len(0)) }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for n in 0..io.x[1][0] {
            let hinges = self.arguments(sizes(io), &x[0], n);
            for (k, hinge) in hinges.into_iter().enumerate().filter(|(_, hinge)| *hinge > 0.0 || hinge.is_nan()) {
                y[0] += self.scale(io) * x[1][3 * n + k] * hinge;
            }
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let [count, d] = sizes(io);
        for n in 0..count {
            let hinges = self.arguments([count, d], &x[0], n);
            for (k, _) in hinges.into_iter().enumerate().filter(|(_, hinge)| *hinge > 0.0 || hinge.is_nan()) {
                let slope = 2.0 * self.scale(io) * dy[0] * x[1][3 * n + k];
                for (partner, sign) in [(k + 1, 1.0), (k + 2, -1.0)] {
                    for e in 0..d {
                        let (a, b) = (n * d + e, (partner * count + n) * d + e);
                        let change = sign * slope * (x[0][a] - x[0][b]);
                        dx[0][a] += change;
                        dx[0][b] -= change;
                    }
                }
            }
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("m", "weights are data, not computed")]
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let [count, d] = sizes(io);
        let (f, m, scale) = (&at.x[0], &at.x[1], self.scale(io));
        let far = |n: usize, k: usize| -> f64 {
            (0..d).map(|e| (f[n * d + e] - f[((k + 1) * count + n) * d + e]).powi(2)).sum()
        };
        // A distance has the roundings of a difference, twice, of its square and of d additions; then come the hinge's two.
        let hinge = |n: usize, k: usize| {
            let (g, near, next) = (f64::from(self.margins[k]), far(n, k), far(n, k + 1));
            (g + near - next, EPS * (d as f64 + 5.0) * (g.abs() + near + next))
        };
        let all = (0..count).flat_map(|n| (0..3).map(move |k| (n, k)));
        if output == "y" {
            // The product with the weight, two additions of hinges, those of one lane and of 64 lanes, the scale and its rounding.
            let roundings = EPS * (5.0 + count.div_ceil(64) as f64 + 64.0);
            let bound = all.map(|(n, k)| {
                let (value, error) = hinge(n, k);
                m[3 * n + k].abs() * (error + roundings * value.max(0.0))
            });
            return Tolerance::Each(vec![scale * bound.sum::<f64>()]);
        }
        let mut bounds = vec![0.0; f.len()];
        for (n, k) in all {
            let (value, error) = hinge(n, k);
            // A hinge so near its kink that rounding decides may count or not; one that is exactly 0 does not.
            let share = if value == 0.0 || value < -error {
                0.0
            } else if value.abs() <= error {
                1.0
            } else {
                // The slopes' difference, that of two embeddings, their product, four additions, and three factors.
                10.0 * EPS
            };
            for (partner, e) in [k + 1, k + 2].into_iter().flat_map(|partner| (0..d).map(move |e| (partner, e))) {
                let (a, b) = (n * d + e, (partner * count + n) * d + e);
                let bound = share * 2.0 * scale * at.dy[0].abs() * m[3 * n + k].abs() * (f[a] - f[b]).abs();
                bounds[a] += bound;
                bounds[b] += bound;
            }
        }
        Tolerance::Each(bounds)
    }
}

/// `shaders/quintuplet/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Quintuplet>()?, &call.io);
    let [count, d] = sizes(io);
    let scratch = vec![("t0", if call.method == "forward" { count } else { 4 * count })];
    let work = call.work(caps, |entry| {
        let threads = if entry == "backward_f_2" { io.x_len(0) } else { count };
        let params = [
            ("count", count.into()),
            ("dimensions", d.into()),
            ("g0", op.margins[0].into()),
            ("g1", op.margins[1].into()),
            ("g2", op.margins[2].into()),
            ("scale", Scalar::F32(op.scale(io) as f32)),
            ("threads", threads.into()),
        ];
        Some(if entry == "forward_2" { Launch::groups([1, 1, 1], params) } else { Launch::threads(threads, params) })
    })?;
    Some(work.scratch(scratch))
}

pub fn cases() -> Vec<Case> {
    // Random embeddings, drawn again until no hinge is near its kink.
    fn smooth(op: &Quintuplet, rng: &mut Rng, shapes: &[Shape]) -> Vec<f64> {
        let [count, d] = [shapes[1][0], shapes[0][1]];
        let mut f: Vec<f64> = (0..5 * count * d).map(|_| rng.uniform(-1.0, 1.0)).collect();
        for n in 0..count {
            while op.arguments([count, d], &f, n).iter().any(|hinge| hinge.abs() < 0.02) {
                for (k, e) in (0..5).flat_map(|k| (0..d).map(move |e| (k, e))) {
                    f[(k * count + n) * d + e] = rng.uniform(-1.0, 1.0);
                }
            }
        }
        f
    }
    const WIDE: [f32; 3] = [0.25, 0.5, 1.0];
    fn of_default(rng: &mut Rng, shapes: &[Shape], _: usize) -> Vec<f64> {
        smooth(&Quintuplet::default(), rng, shapes)
    }
    fn of_wide(rng: &mut Rng, shapes: &[Shape], _: usize) -> Vec<f64> {
        smooth(&Quintuplet { margins: WIDE, reduction: Reduction::Sum }, rng, shapes)
    }
    // Whole numbers, so that about every third hinge lies exactly at its kink.
    fn kinks(rng: &mut Rng, shapes: &[Shape], _: usize) -> Vec<f64> {
        (0..shapes[0][0] * shapes[0][1]).map(|_| rng.below(2) as f64).collect()
    }
    fn masks(rng: &mut Rng, shapes: &[Shape], _: usize) -> Vec<f64> {
        (0..3 * shapes[1][0]).map(|_| rng.below(3) as f64 / 2.0).collect()
    }
    let case = |op: Quintuplet, count: usize, d: usize, f| {
        let shapes = [[5 * count, d, 1, 1], [count, 3, 1, 1]];
        Case::new(op, &shapes).fill(0, Fill::With(f)).fill(1, Fill::With(masks))
    };
    let wide = || Quintuplet { margins: WIDE, reduction: Reduction::Sum };
    let whole = || Quintuplet { margins: [1.0, 0.0, 2.0], reduction: Reduction::Mean };
    vec![
        case(Quintuplet::default(), 1, 1, of_default),
        case(Quintuplet::default(), 7, 5, of_default),
        case(wide(), 65, 3, of_wide),
        case(wide(), 2, 257, of_wide),
        case(whole(), 40, 4, kinks).rough(),
        // 40 anchors of 128 dimensions, as LMLE's batches.
        case(Quintuplet::default(), 40, 128, of_default).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hinges_that_are_violated_count() {
        let op = Quintuplet { margins: [0.0, 0.5, 1.0], reduction: Reduction::Sum };
        // Distances 4, 1, 1 and 9: hinges 3, 0.5 and -7.
        let f = vec![0.0, 2.0, 1.0, -1.0, 3.0];
        let loss = |m: [f64; 3]| {
            let (mut y, x) = ([0.0], [f.clone(), m.to_vec()]);
            op.reference(&Io { x: &[[5, 1, 1, 1].into(), [1, 3, 1, 1].into()], y: SCALAR }, &x, &mut y);
            y[0]
        };
        assert_eq!([loss([1.0; 3]), loss([0.0, 2.0, 1.0]), loss([0.0, 0.0, 1.0])], [3.5, 1.0, 0.0]);
    }
}
