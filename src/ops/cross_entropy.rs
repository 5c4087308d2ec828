//! cross_entropy: −log of the probability that a softmax over the classes assigns to the label.
//!
//! y = scale · Σ over positions of (log Σ over k of exp(x_k) − x_t)
//!
//! | name | shape                             | meaning                                                    |
//! |------|-----------------------------------|------------------------------------------------------------|
//! | x    | `[N, C, …]`, two to six dimensions | scores of C classes for every position                    |
//! | t    | x's without axis 1, u32           | labels, the index of the true class of each position       |
//! | y    | `[1,1,1,1]`                       | loss                                                       |
//!
//! A label that is not below C marks a position that is ignored, as `ignore_index` does in PyTorch: it adds nothing, and the mean is
//! over the other positions. The mean of none is 0, where PyTorch gives NaN.
//! Gradients: for x; labels are data.
//! Errors: x has one dimension; t is not x without axis 1.
//! Numerics: the largest score is subtracted before exp; f32 sums in a fixed order.
//! Source: definition as in torch.nn.functional.cross_entropy with class indices.

use super::loss::Reduction;
use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, lanes_of, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{DType, SCALAR, Shape, len};

/// The operation; the default is the mean over the positions that count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrossEntropy {
    pub reduction: Reduction,
}

/// Elements of x between neighbouring classes of a position.
fn stride(io: &Io) -> usize {
    io.x[0][2..].iter().product()
}

/// Returns the indices in x of the classes of position `p`.
fn classes(io: &Io, p: usize) -> impl Iterator<Item = usize> + use<> {
    let (c, stride) = (io.x[0][1], stride(io));
    let first = p / stride * c * stride + p % stride;
    (0..c).map(move |k| first + k * stride)
}

/// Returns the largest score of position `p`, and log Σ exp(x − largest).
fn log_sum(io: &Io, x: &[f64], p: usize) -> (f64, f64) {
    let top = classes(io, p).map(|i| x[i]).fold(f64::NEG_INFINITY, f64::max);
    (top, classes(io, p).map(|i| (x[i] - top).exp()).sum::<f64>().ln())
}

/// Returns the largest f32 error of log Σ exp(x − largest), in units of 2⁻²³: each term has its argument's rounding and exp's
/// 3 + 2·|argument| ULP; then come the additions, and log's 2⁻²¹ or 3 ULP.
fn log_sum_error(io: &Io, x: &[f64], p: usize) -> f64 {
    let (top, log) = log_sum(io, x, p);
    let terms = || classes(io, p).map(|i| x[i] - top);
    let error: f64 = terms().map(|d| d.exp() * (3.0 + 3.0 * d.abs())).sum();
    error / log.exp() + additions(io) + 4.0 + 3.0 * log
}

/// Returns how many additions a term of a position's sum takes part in at most.
fn additions(io: &Io) -> f64 {
    let c = io.x[0][1];
    (c.div_ceil(lanes_of(c)).min(64) + c.div_ceil(64) + lanes_of(c)) as f64
}

impl CrossEntropy {
    fn scale(&self, io: &Io, t: &[f64]) -> f64 {
        let count = (0..t.len()).filter(|&p| counts(io, t, p)).count();
        match (self.reduction, count) {
            (Reduction::Sum, _) => 1.0,
            (Reduction::Mean, 0) => 0.0,
            (Reduction::Mean, _) => 1.0 / count as f64,
        }
    }
}

fn counts(io: &Io, t: &[f64], p: usize) -> bool {
    t[p] < io.x[0][1] as f64
}

/// Returns the index in x of the score of position p's label.
fn truth(io: &Io, t: &[f64], p: usize) -> usize {
    let stride = stride(io);
    (p / stride * io.x[0][1] + t[p] as usize) * stride + p % stride
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "t"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "t" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] =
            &[Kernel::new(wgsl!("cross_entropy/plain" + "log_sum" + "lines" + "exp_of" + "with_nan"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if x[0].rank() < 2 {
            return Err(ShapeError::shape("x", "[N, C, ...], two to six dimensions", x[0]));
        }
        let mut sizes = x[0].to_vec();
        sizes.remove(1);
        if *x[1] != sizes[..] {
            return Err(ShapeError::shape("t", format!("{sizes:?}, which is x's shape without axis 1"), x[1]));
        }
        Ok(SCALAR)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let (len, positions) = (io.x_len(0), io.x_len(1));
        if method == "forward" {
            Cost::new(6 * len, len + positions + 1)
        } else {
            Cost::new(9 * len, 2 * len + positions + 1)
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let scale = self.scale(io, &x[1]);
        for p in (0..x[1].len()).filter(|&p| counts(io, &x[1], p)) {
            let (top, log) = log_sum(io, &x[0], p);
            y[0] += scale * (top - x[0][truth(io, &x[1], p)] + log);
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let factor = self.scale(io, &x[1]) * dy[0];
        for p in (0..x[1].len()).filter(|&p| counts(io, &x[1], p)) {
            let (top, log) = log_sum(io, &x[0], p);
            classes(io, p).for_each(|i| dx[0][i] = factor * (x[0][i] - top - log).exp());
            dx[0][truth(io, &x[1], p)] -= factor;
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("t", "labels are data, not computed")]
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let (x, t) = (&at.x[0], &at.x[1]);
        let scale = self.scale(io, t);
        let counted = (0..t.len()).filter(|&p| counts(io, t, p));
        if output == "y" {
            // Per position: the difference and the sum. Then come the additions of a block, of a lane and of the lanes, and the
            // scale with its division.
            let roundings = 2.0 + 64.0 + t.len().div_ceil(64 * 64) as f64 + 64.0 + 4.0;
            let position = |p: usize| {
                let (top, log) = log_sum(io, x, p);
                log_sum_error(io, x, p) + roundings * (top - x[truth(io, t, p)] + log)
            };
            return Tolerance::Each(vec![EPS * scale * counted.map(position).sum::<f64>()]);
        }
        let mut bounds = vec![0.0; x.len()];
        for p in counted {
            let (top, log) = log_sum(io, x, p);
            let error = log_sum_error(io, x, p);
            for i in classes(io, p) {
                let d = x[i] - top - log;
                // The argument's error becomes a relative error of exp, which adds 3 + 2·|argument| ULP; then come the
                // difference, and two factors with the scale's division.
                let truth = if i == truth(io, t, p) { 1.0 } else { 0.0 };
                let value = d.exp() * (error + 3.0 + 4.0 * d.abs() + log) + 7.0 * (d.exp() + truth);
                bounds[i] = EPS * scale * at.dy[0].abs() * value;
            }
        }
        Tolerance::Each(bounds)
    }
}

/// `shaders/cross_entropy/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<CrossEntropy>()?, &call.io);
    let (positions, classes) = (io.x_len(1), io.x[0][1]);
    let (blocks, lanes) = (positions.div_ceil(64), lanes_of(classes));
    let work = call.work(caps, |entry| {
        let params = [
            ("positions", positions.into()),
            ("len", classes.into()),
            ("stride", stride(io).into()),
            ("blocks", blocks.into()),
            ("mean", u32::from(op.reduction == Reduction::Mean).into()),
        ];
        Some(match entry {
            "forward_1" | "backward_x_1" => Launch::threads(positions * lanes, params).with("LANES", lanes),
            "forward_2" | "backward_x_2" => Launch::threads(blocks, params),
            "backward_x_4" => Launch::threads(io.x_len(0), params),
            _ => Launch::groups([1, 1, 1], params),
        })
    })?;
    let [sums, each] = if call.method == "forward" { [blocks, positions] } else { [1, 2 * positions] };
    Some(work.scratch(vec![("t0", sums), ("t1", each), ("t2", blocks)]))
}

pub fn cases() -> Vec<Case> {
    // One label in five is past the last class.
    fn labels(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
        (0..len(&x[k])).map(|i| if i % 5 == 3 { 1e9 } else { rng.below(x[0][1]) as f64 }).collect()
    }
    // The first index that is none.
    fn ignored(_: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
        vec![x[0][1] as f64; len(&x[k])]
    }
    let case = |x: &[usize], reduction| {
        let t = [&x[..1], &x[2..]].concat();
        let shapes = [x, &t].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        Case::new(CrossEntropy { reduction }, &shapes)
            .fill(0, Fill::Uniform { low: -6.0, high: 9.0, gap: 0.0 })
            .fill(1, Fill::With(labels))
    };
    let far = Fill::Uniform { low: -300.0, high: 300.0, gap: 0.0 };
    vec![
        case(&[1, 1], Reduction::Mean),
        case(&[3, 10], Reduction::Mean),
        case(&[2, 3, 5, 7], Reduction::Sum),
        case(&[2, 3, 2, 5, 2, 3], Reduction::Mean),
        case(&[2, 70, 3], Reduction::Mean),
        case(&[257, 5], Reduction::Mean),
        case(&[2, 129, 65], Reduction::Sum),
        case(&[1, 9000], Reduction::Sum),
        case(&[4300, 3], Reduction::Mean),
        case(&[7, 20], Reduction::Mean).fill(0, far),
        case(&[3, 4, 2], Reduction::Mean).fill(1, Fill::With(ignored)),
        case(&[3, 4, 2], Reduction::Sum).fill(1, Fill::With(ignored)),
        case(&[3, 4, 7], Reduction::Mean).fill(0, Fill::With(with_nan)).rough(),
        // A classifier of 1,000 classes, and labels of pixels.
        case(&[128, 1000], Reduction::Mean).real(),
        case(&[2, 19, 128, 128], Reduction::Mean).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_scores_do_not_overflow_and_ignored_labels_do_not_count() {
        let io = Io { x: &[[3, 2].into(), [3].into()], y: SCALAR };
        let x = [vec![1e4, 1e4 - 1.0, 5.0, 7.0, 1e4, 1e4 - 1.0], vec![1.0, 2.0, 0.0]];
        let mut y = [0.0];
        CrossEntropy::default().reference(&io, &x, &mut y);
        // log(1 + 1/e) for the likelier class, and 1 more for the other.
        assert!((y[0] - (1.0 + (-1f64).exp()).ln() - 0.5).abs() < 1e-9, "{}", y[0]);
    }

    #[test]
    fn labels_have_the_shape_of_x_without_its_classes() {
        let shape =
            |x: &[usize], t: &[usize]| CrossEntropy::default().shape(&[Shape::new(x).unwrap(), Shape::new(t).unwrap()]);
        assert_eq!(shape(&[2, 5, 3], &[2, 3]).unwrap(), SCALAR);
        for (x, t) in [(&[5][..], &[5][..]), (&[2, 5], &[5]), (&[2, 5, 3], &[2, 5, 3])] {
            assert!(shape(x, t).is_err());
        }
    }
}
