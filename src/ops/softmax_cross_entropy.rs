//! softmax_cross_entropy: −log of the probability that a softmax over the channels assigns to the target.
//!
//! y = scale · Σ over n, h, w, c of t · (log Σ over k of exp(x_k) − x);  scale = 1 / (N·H·W) for [`Reduction::Mean`], 1 for a sum.
//!
//! | name | shape       | meaning                                       |
//! |------|-------------|-----------------------------------------------|
//! | x    | `[N,C,H,W]` | scores; a classifier has H = W = 1            |
//! | t    | `[N,C,H,W]` | targets, not negative: 1 for the true channel |
//! | y    | `[1,1,1,1]` | loss                                          |
//!
//! t holds probabilities: 1 for the class and 0 elsewhere, or smoothed ones. It need not sum to 1: a position is weighted
//! by the sum of its targets, and masked if they are all 0.
//! Gradients: for x; t is data.
//! Errors: t and x differ in shape.
//! Numerics: the largest score is subtracted before exp; f32 sums in a fixed order.
//! Source: definition; for H = W = 1 as torch.nn.functional.cross_entropy with class probabilities.

use super::loss::Reduction;
use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{SCALAR, Shape, len};

/// The operation; the default is the mean over positions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SoftmaxCrossEntropy {
    pub reduction: Reduction,
}

impl SoftmaxCrossEntropy {
    fn scale(&self, io: &Io) -> f64 {
        match self.reduction {
            Reduction::Mean => 1.0 / positions(io) as f64,
            Reduction::Sum => 1.0,
        }
    }
}

fn positions(io: &Io) -> usize {
    io.x_len(0) / io.x[0][1]
}

/// Returns the indices of the elements of position `p`, one per channel.
fn channels(io: &Io, p: usize) -> impl Iterator<Item = usize> + use<> {
    let [_, c, h, w] = io.x[0].nchw();
    let plane = h * w;
    let first = p / plane * c * plane + p % plane;
    (0..c).map(move |k| first + k * plane)
}

/// Returns log Σ exp(x) at position `p`.
fn log_sum(io: &Io, x: &[f64], p: usize) -> f64 {
    let top = channels(io, p).map(|i| x[i]).fold(f64::NEG_INFINITY, f64::max);
    top + channels(io, p).map(|i| (x[i] - top).exp()).sum::<f64>().ln()
}

/// Returns the largest f32 error of [`log_sum`]: each term of the sum has its argument's rounding and exp's 3 + 2·|argument| ULP;
/// then come the additions, log's 2⁻²¹ or 3 ULP, and the sum with the largest score.
fn log_sum_error(io: &Io, x: &[f64], p: usize) -> f64 {
    let top = channels(io, p).map(|i| x[i]).fold(f64::NEG_INFINITY, f64::max);
    let terms = || channels(io, p).map(|i| x[i] - top);
    let sum: f64 = terms().map(f64::exp).sum();
    let error: f64 = terms().map(|d| d.exp() * (3.0 + 4.0 * d.abs())).sum();
    let count = channels(io, p).count() as f64;
    EPS * (error / sum + count + 4.0 + 3.0 * sum.ln() + top.abs() + (top + sum.ln()).abs())
}

impl Op for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "t"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] =
            &[Kernel::new(wgsl!("softmax_cross_entropy/plain" + "total" + "exp_of" + "with_nan"), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if x[1] != x[0] {
            return Err(ShapeError::shape("t", format!("x's shape {:?}", x[0]), x[1]));
        }
        Ok(SCALAR)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let len = io.x_len(0);
        if method == "forward" { Cost::new(6 * len, 2 * len + 1) } else { Cost::new(9 * len, 3 * len + 1) }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for p in 0..positions(io) {
            let log_sum = log_sum(io, &x[0], p);
            y[0] += self.scale(io) * channels(io, p).map(|i| x[1][i] * (log_sum - x[0][i])).sum::<f64>();
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for p in 0..positions(io) {
            let log_sum = log_sum(io, &x[0], p);
            let weight: f64 = channels(io, p).map(|i| x[1][i]).sum();
            for i in channels(io, p) {
                dx[0][i] = self.scale(io) * dy[0] * (weight * (x[0][i] - log_sum).exp() - x[1][i]);
            }
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("t", "targets are data, not computed")]
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let (x, t) = (&at.x[0], &at.x[1]);
        let c = io.x[0][1] as f64;
        if output == "y" {
            // Per position: the difference, the product, one addition per channel. Then come one lane's and the 64 lanes'
            // additions, the scale and its own rounding.
            let roundings = c + 2.0 + positions(io).div_ceil(64) as f64 + 64.0 + 2.0;
            let position = |p: usize| {
                let (log_sum, error) = (log_sum(io, x, p), log_sum_error(io, x, p));
                let terms = channels(io, p).map(|i| t[i].abs() * (error + EPS * roundings * (log_sum - x[i]).abs()));
                terms.sum::<f64>()
            };
            return Tolerance::Each(vec![self.scale(io) * (0..positions(io)).map(position).sum::<f64>()]);
        }
        let mut bounds = vec![0.0; x.len()];
        for p in 0..positions(io) {
            let (log_sum, error) = (log_sum(io, x, p), log_sum_error(io, x, p));
            let weight: f64 = channels(io, p).map(|i| t[i].abs()).sum();
            for i in channels(io, p) {
                let d = x[i] - log_sum;
                // The argument's error becomes a relative error of exp, which adds 3 + 2·|argument| ULP; then come the
                // weight's additions, the product, the difference, and two factors with the scale's rounding.
                let relative = error + EPS * (3.0 + 3.0 * d.abs() + c + 1.0);
                let terms = weight * d.exp() + t[i].abs();
                bounds[i] = self.scale(io) * at.dy[0].abs() * (weight * d.exp() * relative + 5.0 * EPS * terms);
            }
        }
        Tolerance::Each(bounds)
    }
}

/// `shaders/softmax_cross_entropy/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<SoftmaxCrossEntropy>()?, &call.io);
    let scratch = vec![("t0", if call.method == "forward" { positions(io) } else { 2 * positions(io) })];
    let work = call.work(caps, |entry| {
        let [_, c, h, w] = io.x[0].nchw();
        let params = [
            ("positions", positions(io).into()),
            ("channels", c.into()),
            ("plane", (h * w).into()),
            ("scale", Scalar::F32(op.scale(io) as f32)),
        ];
        Some(match entry {
            "forward_2" => Launch::groups([1, 1, 1], params),
            "backward_x_2" => Launch::threads(io.x_len(0), params),
            // The maximum, the sum, and the products.
            _ => Launch::threads(positions(io), params).loops(&[c]).loops(&[c]).loops(&[c]),
        })
    })?;
    Some(work.scratch(scratch))
}

pub fn cases() -> Vec<Case> {
    fn one_hot(rng: &mut Rng, shapes: &[Shape], _: usize) -> Vec<f64> {
        let [n, c, h, w] = shapes[0].nchw();
        let mut t = vec![0.0; len(&shapes[0])];
        for p in 0..n * h * w {
            t[(p / (h * w) * c + rng.below(c)) * h * w + p % (h * w)] = 1.0;
        }
        t
    }
    // Targets that do not sum to 1, with some positions masked.
    fn weighted(rng: &mut Rng, shapes: &[Shape], i: usize) -> Vec<f64> {
        let weights: Vec<f64> = (0..3).map(|k| f64::from(k) * rng.uniform(0.2, 1.0)).collect();
        let [_, c, h, w] = shapes[0].nchw();
        let plane = h * w;
        let position = |k: usize| k / (c * plane) * plane + k % plane;
        one_hot(rng, shapes, i).iter().enumerate().map(|(k, t)| t * weights[position(k) % 3]).collect()
    }
    let case = |x: [usize; 4], reduction, targets| {
        Case::new(SoftmaxCrossEntropy { reduction }, &[x, x])
            .fill(0, Fill::Uniform { low: -6.0, high: 9.0, gap: 0.0 })
            .fill(1, targets)
    };
    let smooth = Fill::Uniform { low: 0.0, high: 1.0, gap: 0.0 };
    vec![
        case([1, 1, 1, 1], Reduction::Mean, smooth),
        case([3, 10, 1, 1], Reduction::Mean, Fill::With(one_hot)),
        case([2, 3, 5, 7], Reduction::Sum, smooth),
        case([2, 5, 13, 4], Reduction::Mean, Fill::With(weighted)),
        case([1, 257, 1, 1], Reduction::Sum, Fill::With(one_hot)),
        case([65, 2, 1, 1], Reduction::Mean, Fill::With(weighted)),
        case([3, 4, 5, 2], Reduction::Mean, smooth).fill(0, Fill::With(with_nan)).rough(),
        // A classifier of 1,000 classes.
        case([128, 1000, 1, 1], Reduction::Mean, Fill::With(one_hot)).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_scores_do_not_overflow() {
        let shape = [1, 2, 1, 1];
        let mut y = [0.0];
        let x = [vec![1e4, 1e4 - 1.0], vec![0.0, 1.0]];
        SoftmaxCrossEntropy::default().reference(&Io { x: &[shape.into(), shape.into()], y: SCALAR }, &x, &mut y);
        // log(1 + e) of the two scores' difference, 1.
        assert!((y[0] - (1.0 + (-1f64).exp()).ln() - 1.0).abs() < 1e-9, "{}", y[0]);
    }
}
