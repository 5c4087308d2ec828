//! batch_norm: subtracts the mean of each channel, divides by its standard deviation, scales and shifts.
//!
//! y = (x − mean)·rstd·w + b, where rstd = 1/√(variance + ε). In training, mean and biased variance are those of the channel in this
//! batch, and the running statistics move towards them: m += momentum·(mean − m), and v towards the unbiased variance. Otherwise
//! they are m and v.
//!
//! | name | shape                             | meaning                                              |
//! |------|-----------------------------------|------------------------------------------------------|
//! | x    | `[N, C, …]`, two to six dimensions | input                                               |
//! | w    | `[C]`                             | scale                                                |
//! | b    | `[C]`                             | shift                                                |
//! | m    | `[C]`                             | running mean, a state that the operation updates in training |
//! | v    | `[C]`                             | running variance, a state, not negative              |
//! | y    | as x                              | output                                               |
//! | mean | `[C]`, in training                | mean of this batch                                   |
//! | rstd | `[C]`, in training                | 1 / standard deviation of this batch                 |
//!
//! Gradients: for x, w and b; the running statistics have none.
//! Errors: w, b, m or v is not `[C]`; there is one value per channel in training; ε is not above 0; momentum is not in `[0, 1]`.
//! Numerics: the variance is that of the differences from the mean; f32 sums in a fixed order.
//! Source: Ioffe and Szegedy 2015; momentum and variances as in torch.nn.functional.batch_norm.

use super::normalize::{Lines, check_eps};
use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, parts_of, wgsl,
    with_nan,
};
use crate::error::ShapeError;
use crate::tensor::{Shape, len};

/// The operation.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Uses the statistics of this batch, and updates the running ones; otherwise uses the running ones.
    pub training: bool,
    /// How far the running statistics move towards those of a batch, from 0 to 1.
    pub momentum: f32,
    /// Added to the variance; above 0.
    pub eps: f32,
}

impl Default for BatchNorm {
    /// As in PyTorch, in training.
    fn default() -> Self {
        Self { training: true, momentum: 0.1, eps: 1e-5 }
    }
}

impl BatchNorm {
    fn lines(&self, x: Shape) -> Lines {
        let inner: usize = x[2..].iter().product();
        Lines { lines: x[1], len: len(&x) / x[1], run: inner, inner, params: x[1], eps: f64::from(self.eps) }
    }
    /// Returns 1/√(v + ε) of channel `k`.
    fn fixed(&self, x: &[Vec<f64>], k: usize) -> f64 {
        1.0 / (x[4][k] + f64::from(self.eps)).sqrt()
    }
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b", "m", "v"]
    }
    fn outputs(&self) -> &'static [&'static str] {
        if self.training { &["y", "mean", "rstd"] } else { &["y"] }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const TRAINING: &[Kernel] =
            &[Kernel::new(wgsl!("batch_norm/plain" + "standardize" + "scale_sums" + "lines"), plain)];
        const FIXED: &[Kernel] = &[Kernel::new(wgsl!("batch_norm/fixed" + "scale_sums"), fixed)];
        if self.training { TRAINING } else { FIXED }
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        check_eps(self.eps)?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(ShapeError::value("momentum", "0 to 1", self.momentum));
        }
        if x[0].rank() < 2 {
            return Err(ShapeError::shape("x", "[N, C, ...], two to six dimensions", x[0]));
        }
        if self.training && len(&x[0]) < 2 * x[0][1] {
            return Err(ShapeError::shape("x", "[N, C, ...] with more than one value per channel, in training", x[0]));
        }
        for (name, shape) in self.inputs().iter().zip(x).skip(1) {
            if *shape != [x[0][1]] {
                return Err(ShapeError::shape(name, format!("[C={}]", x[0][1]), *shape));
            }
        }
        Ok(x[0])
    }
    fn more_shapes(&self, x: &[Shape], _y: Shape) -> Vec<Shape> {
        vec![[x[0][1]].into(); self.outputs().len() - 1]
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        let flops = if self.training { 10 } else { 5 };
        Cost::new(flops * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let lines = self.lines(io.x[0]);
        if self.training {
            return lines.reference(x, y);
        }
        for (i, y) in y.iter_mut().enumerate() {
            let k = lines.parameter(i);
            *y = (x[0][i] - x[3][k]) * self.fixed(x, k) * x[1][k] + x[2][k];
        }
    }
    fn reference_more(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], more: &mut [Vec<f64>]) {
        if self.training {
            self.lines(io.x[0]).reference_more(x, more);
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let lines = self.lines(io.x[0]);
        if self.training {
            return lines.reference_grad(x, dy, dx);
        }
        for (i, dy) in dy.iter().enumerate() {
            let k = lines.parameter(i);
            dx[0][i] = dy * x[1][k] * self.fixed(x, k);
            dx[1][k] += dy * (x[0][i] - x[3][k]) * self.fixed(x, k);
            dx[2][k] += dy;
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("m", "running statistics are states, not weights"), ("v", "running statistics are states, not weights")]
    }
    fn updates(&self) -> &'static [&'static str] {
        if self.training { &["m", "v"] } else { &[] }
    }
    fn reference_update(&self, io: &Io, x: &mut [Vec<f64>]) {
        if !self.training {
            return;
        }
        let lines = self.lines(io.x[0]);
        let momentum = f64::from(self.momentum);
        for (k, [mean, variance, ..]) in lines.moments(&x[0]).into_iter().enumerate() {
            let unbiased = variance * lines.len as f64 / (lines.len - 1) as f64;
            x[3][k] = (1.0 - momentum) * x[3][k] + momentum * mean;
            x[4][k] = (1.0 - momentum) * x[4][k] + momentum * unbiased;
        }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let lines = self.lines(io.x[0]);
        let momentum = f64::from(self.momentum);
        if self.training {
            if !matches!(output, "m" | "v") {
                return lines.tolerance(output, at);
            }
            // The error of the batch's value; 1 − momentum, two products and the sum; for the variance a quotient and a product more.
            let bound = |(k, [mean, variance, mean_error, variance_error]): (usize, [f64; 4])| {
                if output == "m" {
                    momentum * mean_error + 4.0 * EPS * ((1.0 - momentum) * at.x[3][k].abs() + momentum * mean.abs())
                } else {
                    let unbiased = lines.len as f64 / (lines.len - 1) as f64;
                    let sum = (1.0 - momentum) * at.x[4][k].abs() + momentum * variance * unbiased;
                    momentum * variance_error * unbiased + 8.0 * EPS * sum
                }
            };
            return Tolerance::Each(lines.moments(&at.x[0]).into_iter().enumerate().map(bound).collect());
        }
        let terms = lines.terms();
        let parts = parts_of(terms, lines.params);
        let additions = (terms.div_ceil(parts) + parts) as f64;
        let mut bounds = vec![0.0; if matches!(output, "dw" | "db") { lines.params } else { io.y_len() }];
        for i in 0..io.y_len() {
            let k = lines.parameter(i);
            // The difference, half of the sum with ε, inverseSqrt's 2 ULP, and the product.
            let standard = ((at.x[0][i] - at.x[3][k]) * self.fixed(at.x, k)).abs();
            match output {
                "y" => bounds[i] = EPS * (6.5 * standard * at.x[1][k].abs() + at.x[2][k].abs()),
                "dx" => bounds[i] = EPS * 5.0 * (at.dy[i] * at.x[1][k]).abs() * self.fixed(at.x, k),
                "dw" => bounds[k] += EPS * (6.0 + additions) * at.dy[i].abs() * standard,
                _ => bounds[k] += EPS * additions * at.dy[i].abs(),
            }
        }
        Tolerance::Each(bounds)
    }
}

/// `shaders/batch_norm/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let op = call.op::<BatchNorm>()?;
    op.lines(call.io.x[0]).work(call, caps, op.momentum)
}

/// `shaders/batch_norm/fixed.wgsl`.
fn fixed(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<BatchNorm>()?, &call.io);
    let lines = op.lines(io.x[0]);
    let parts = parts_of(lines.terms(), lines.params);
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "forward" | "backward_x" => io.y_len(),
            "backward_w_1" | "backward_b_1" => lines.params * parts,
            _ => lines.params,
        };
        let params = [
            ("threads", threads.into()),
            ("inner", lines.inner.into()),
            ("params", lines.params.into()),
            ("terms", lines.terms().into()),
            ("parts", parts.into()),
            ("eps", Scalar::F32(op.eps)),
        ];
        Some(Launch::threads(threads, params))
    })?;
    let has_sums = matches!(call.method, "backward_w" | "backward_b");
    Some(if has_sums { work.scratch(vec![("t0", lines.params * parts)]) } else { work })
}

pub fn cases() -> Vec<Case> {
    let of = |training| {
        let case = |x: &[usize], momentum| {
            let op = BatchNorm { training, momentum, eps: 1e-3 };
            let shapes = [x, &x[1..2], &x[1..2], &x[1..2], &x[1..2]];
            let shapes = shapes.map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
            Case::new(op, &shapes).fill(4, Fill::Uniform { low: 0.3, high: 2.0, gap: 0.0 })
        };
        vec![
            case(&[5, 2], 0.1),
            case(&[7, 3], 0.25),
            case(&[2, 3, 5, 7], 0.1),
            case(&[2, 3, 2, 5, 2, 3], 1.0),
            case(&[1, 70, 13], 0.5),
            case(&[300, 2], 0.0),
            case(&[2, 3, 70, 65], 0.1),
            case(&[1, 3, 257], 0.1),
            case(&[1, 1, 40], 0.1),
            case(&[3, 5, 4], 0.1).fill(0, Fill::With(with_nan)).rough(),
            // A layer of a residual network.
            case(&[8, 64, 32, 32], 0.1).real(),
        ]
    };
    [true, false].into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_move_as_in_pytorch() {
        let io = Io { x: &[[3, 1].into(), [1].into(), [1].into(), [1].into(), [1].into()], y: [3, 1].into() };
        let mut x = [vec![1.0, 2.0, 6.0], vec![1.0], vec![0.0], vec![5.0], vec![2.0]];
        BatchNorm { momentum: 0.25, ..BatchNorm::default() }.reference_update(&io, &mut x);
        // Mean 3, unbiased variance 7.
        assert_eq!((x[3][0], x[4][0]), (4.5, 3.25));
    }

    #[test]
    fn one_value_has_no_variance() {
        let shape = |training, x: [usize; 2]| {
            let channels = [x[1]].into();
            let shapes = [x.into(), channels, channels, channels, channels];
            BatchNorm { training, ..BatchNorm::default() }.shape(&shapes)
        };
        assert!(shape(true, [1, 3]).is_err());
        assert!(shape(false, [1, 3]).is_ok() && shape(true, [2, 3]).is_ok());
    }
}
