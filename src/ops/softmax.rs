//! softmax: positive numbers along an axis that add up to 1, y = exp(x) / Σ exp(x), or their logarithms, y = x − log Σ exp(x).
//!
//! | name | shape     | meaning                                       |
//! |------|-----------|-----------------------------------------------|
//! | x    | any shape | scores                                        |
//! | y    | as x      | probabilities along the axis, or logarithms of them |
//!
//! Gradient: for x; backward reads y and dy.
//! Errors: the axis does not exist.
//! Numerics: the largest score is subtracted before exp; f32 sums in a fixed order. A NaN makes its whole line NaN.
//! Source: definitions as in torch.nn.functional.softmax and log_softmax.

use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, lanes_of, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Softmax {
    pub axis: usize,
    /// Computes the logarithm of the probabilities.
    pub log: bool,
}

impl Softmax {
    /// Returns the number of elements on the axis and the distance between neighbours there.
    fn line(&self, x: Shape) -> (usize, usize) {
        (x[self.axis], x[self.axis + 1..].iter().product())
    }

    /// Returns the indices of the elements of each line.
    fn lines(&self, io: &Io) -> impl Iterator<Item = Vec<usize>> + use<> {
        let (len, stride) = self.line(io.x[0]);
        let first = move |line: usize| line / stride * len * stride + line % stride;
        (0..io.x_len(0) / len).map(move |line| (0..len).map(|k| first(line) + k * stride).collect())
    }

    /// Returns how many additions a term of a line's sum takes part in at most.
    fn additions(&self, io: &Io) -> f64 {
        let (len, _) = self.line(io.x[0]);
        let lanes = lanes_of(len);
        (len.div_ceil(lanes).min(64) + len.div_ceil(64 * lanes) + lanes) as f64
    }
}

/// Returns the largest x of a line, and Σ exp(x − largest).
fn sum_of(line: &[usize], x: &[f64]) -> (f64, f64) {
    let top = line.iter().map(|&i| x[i]).fold(f64::NEG_INFINITY, f64::max);
    (top, line.iter().map(|&i| (x[i] - top).exp()).sum())
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] =
            &[Kernel::new(wgsl!("softmax/plain" + "log_sum" + "lines" + "exp_of" + "with_nan"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if self.axis >= x[0].rank() {
            return Err(ShapeError::value("axis", format!("0 to {}", x[0].rank() - 1), self.axis));
        }
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(8 * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for line in self.lines(io) {
            let (top, sum) = sum_of(&line, &x[0]);
            for i in line {
                let d = x[0][i] - top;
                y[i] = if self.log { d - sum.ln() } else { d.exp() / sum };
            }
        }
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for line in self.lines(io) {
            let sum: f64 = line.iter().map(|&i| if self.log { dy[i] } else { dy[i] * y[i] }).sum();
            for i in line {
                dx[0][i] = if self.log { dy[i] - y[i].exp() * sum } else { y[i] * (dy[i] - sum) };
            }
        }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let additions = self.additions(io);
        let mut bounds = vec![0.0; io.y_len()];
        for line in self.lines(io) {
            if output == "dx" {
                let terms: f64 =
                    line.iter().map(|&i| (if self.log { at.dy[i] } else { at.dy[i] * at.y[i] }).abs()).sum();
                for i in line {
                    // The factor of the sum; then come a product, a difference, and for the logarithm exp's 3 + 2·|argument| ULP.
                    let (factor, error) =
                        if self.log { (at.y[i].exp(), 3.0 + 2.0 * at.y[i].abs()) } else { (at.y[i].abs(), 1.0) };
                    let dy = at.dy[i].abs() * if self.log { 1.0 } else { 2.0 * factor };
                    bounds[i] = EPS * (factor * terms * (additions + error + 3.0) + dy);
                }
                continue;
            }
            let (top, sum) = sum_of(&line, &at.x[0]);
            // Each term has its argument's rounding and exp's 3 + 2·|argument| ULP; then come the additions.
            let of_terms: f64 = line.iter().map(|&i| at.x[0][i] - top).map(|d| d.exp() * (3.0 - 3.0 * d)).sum();
            let error = of_terms / sum + additions;
            for i in line {
                let d = at.x[0][i] - top;
                bounds[i] = if self.log {
                    // The difference, log's 2⁻²¹ or 3 ULP, and the second difference.
                    EPS * (d.abs() + error + 4.0 + 3.0 * sum.ln() + (d - sum.ln()).abs())
                } else {
                    EPS * d.exp() / sum * (3.0 - 3.0 * d + error + 2.5) + 2.0 * f64::from(f32::MIN_POSITIVE)
                };
            }
        }
        Tolerance::Each(bounds)
    }
}

/// `shaders/softmax/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Softmax>()?, &call.io);
    let (len, stride) = op.line(io.x[0]);
    let (lines, lanes) = (io.x_len(0) / len, lanes_of(len));
    call.work(caps, |_| {
        let params = [("lines", lines.into()), ("len", len.into()), ("stride", stride.into())];
        Some(Launch::threads(lines * lanes, params).with("LANES", lanes).with("LOG", usize::from(op.log)))
    })
}

pub fn cases() -> Vec<Case> {
    let of = |log| {
        let case = |x: &[usize], axis| {
            let shape = Shape::new(x).expect("a case has one to six dimensions");
            Case::new(Softmax { axis, log }, &[shape]).fill(0, Fill::Uniform { low: -6.0, high: 3.0, gap: 0.0 })
        };
        let far = Fill::Uniform { low: -300.0, high: 300.0, gap: 0.0 };
        vec![
            case(&[1], 0),
            case(&[5, 7], 1),
            case(&[2, 3, 5, 7], 1),
            case(&[2, 3, 4, 2, 3, 5], 2),
            case(&[17, 3, 1, 2], 0),
            case(&[257, 5], 1),
            case(&[3, 130], 1),
            case(&[2, 600, 3], 1),
            case(&[9000], 0),
            case(&[7, 20], 1).fill(0, far),
            case(&[3, 5, 9], 2).fill(0, Fill::With(with_nan)).rough(),
            // The attention of a transformer.
            case(&[2, 8, 128, 128], 3).real(),
        ]
    };
    [false, true].into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_that_does_not_exist_is_refused() {
        assert!(Softmax { axis: 2, log: false }.shape(&[[2, 3].into()]).is_err());
    }
}
