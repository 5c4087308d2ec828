//! normalize: subtracts the mean of each line of elements, divides by their standard deviation, scales and shifts: layer, group and
//! instance normalisation.
//!
//! y = (x − mean)·rstd·w + b, where rstd = 1/√(variance + ε), with the mean and the biased variance of the element's line
//!
//! | name | shape                                              | meaning                         |
//! |------|----------------------------------------------------|---------------------------------|
//! | x    | any shape; `[N, C, …]` for groups                  | input                           |
//! | w    | x's shape from the first axis on; `[C]` for groups | scale                           |
//! | b    | as w                                               | shift                           |
//! | y    | as x                                               | output                          |
//! | mean | `[L]`, a number per line                           | mean of every line              |
//! | rstd | `[L]`                                              | 1 / standard deviation          |
//!
//! Gradients: for x, w and b; backward reads x, w, mean, rstd and dy. `mean` and `rstd` have none.
//! Errors: the axis does not exist; C is not a multiple of the groups; w or b does not fit; ε is not above 0.
//! Numerics: the variance is that of the differences from the mean; f32 sums in a fixed order.
//! Source: definitions as in torch.nn.functional.layer_norm, group_norm and instance_norm; Ba et al. 2016, Wu and He 2018, Ulyanov et
//! al. 2016.

use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, lanes_of, parts_of,
    wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::tensor::{Shape, len};

/// Which elements a mean and a variance are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// All axes from this one on: layer normalisation. Every element of a line has a scale of its own.
    AxesFrom(usize),
    /// So many groups of neighbouring channels, each with everything after axis 1. As many groups as channels are instance
    /// normalisation, one is layer normalisation with a scale per channel.
    Groups(usize),
}

/// The operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    pub over: Over,
    /// Added to the variance; above 0.
    pub eps: f32,
}

/// Where the lines of a standardised tensor lie, and which elements share a scale: the members of P in
/// `shaders/shared/standardize.wgsl`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub lines: usize,
    pub len: usize,
    pub run: usize,
    pub inner: usize,
    pub params: usize,
    pub eps: f64,
}

/// The statistics of a line, with the largest errors in f32.
struct Line {
    mean: f64,
    variance: f64,
    rstd: f64,
    mean_error: f64,
    variance_error: f64,
    /// Relative.
    rstd_error: f64,
}

impl Lines {
    fn element(&self, line: usize, t: usize) -> usize {
        (t / self.run * self.lines + line) * self.run + t % self.run
    }
    fn line(&self, i: usize) -> usize {
        i / self.run % self.lines
    }
    pub(super) fn parameter(&self, i: usize) -> usize {
        i / self.inner % self.params
    }
    /// Returns the number of elements per parameter.
    pub(super) fn terms(&self) -> usize {
        self.lines * self.len / self.params
    }

    /// Returns the statistics of every line.
    fn statistics(&self, x: &[f64]) -> Vec<Line> {
        let additions = self.additions();
        let of_line = |line: usize| {
            let values = || (0..self.len).map(|t| x[self.element(line, t)]);
            let len = self.len as f64;
            let mean = values().sum::<f64>() / len;
            let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / len;
            // The additions and the division; then the difference, which counts double, the square, and the same again.
            let mean_error = EPS * (additions + 2.5) * values().map(f64::abs).sum::<f64>() / len;
            let differences = values().map(|x| (x - mean).abs()).sum::<f64>() / len;
            let variance_error =
                EPS * (additions + 5.5) * variance + 2.0 * differences * mean_error + mean_error * mean_error;
            let all = variance + self.eps;
            // A root halves the relative error; inverseSqrt adds 2 ULP.
            let rstd_error = 0.5 * variance_error / all + 2.5 * EPS;
            Line { mean, variance, rstd: 1.0 / all.sqrt(), mean_error, variance_error, rstd_error }
        };
        (0..self.lines).map(of_line).collect()
    }

    fn additions(&self) -> f64 {
        let lanes = lanes_of(self.len);
        (self.len.div_ceil(lanes).min(64) + self.len.div_ceil(64 * lanes) + lanes) as f64
    }

    pub(super) fn reference(&self, x: &[Vec<f64>], y: &mut [f64]) {
        let lines = self.statistics(&x[0]);
        for (i, y) in y.iter_mut().enumerate() {
            let (line, k) = (&lines[self.line(i)], self.parameter(i));
            *y = (x[0][i] - line.mean) * line.rstd * x[1][k] + x[2][k];
        }
    }

    /// Evaluates the outputs `mean` and `rstd`.
    pub(super) fn reference_more(&self, x: &[Vec<f64>], more: &mut [Vec<f64>]) {
        for (k, line) in self.statistics(&x[0]).into_iter().enumerate() {
            [more[0][k], more[1][k]] = [line.mean, line.rstd];
        }
    }

    /// Returns the mean and the biased variance of every line, each with its largest error in f32.
    pub(super) fn moments(&self, x: &[f64]) -> Vec<[f64; 4]> {
        let moments = |line: Line| [line.mean, line.variance, line.mean_error, line.variance_error];
        self.statistics(x).into_iter().map(moments).collect()
    }

    pub(super) fn reference_grad(&self, x: &[Vec<f64>], dy: &[f64], dx: &mut [Vec<f64>]) {
        let lines = self.statistics(&x[0]);
        let standard = |i: usize| (x[0][i] - lines[self.line(i)].mean) * lines[self.line(i)].rstd;
        for (k, line) in lines.iter().enumerate() {
            let elements = || (0..self.len).map(|t| self.element(k, t));
            let scaled = |i: usize| dy[i] * x[1][self.parameter(i)];
            let plain: f64 = elements().map(scaled).sum::<f64>() / self.len as f64;
            let along: f64 = elements().map(|i| scaled(i) * standard(i)).sum::<f64>() / self.len as f64;
            elements().for_each(|i| dx[0][i] = line.rstd * (scaled(i) - plain - standard(i) * along));
        }
        for (i, dy) in dy.iter().enumerate() {
            dx[1][self.parameter(i)] += dy * standard(i);
            dx[2][self.parameter(i)] += dy;
        }
    }

    pub(super) fn tolerance(&self, output: &str, at: &Values) -> Tolerance {
        let lines = self.statistics(&at.x[0]);
        let x = &at.x[0];
        // The standardised element and its largest error.
        let standard = |i: usize| {
            let line = &lines[self.line(i)];
            let value = (x[i] - line.mean) * line.rstd;
            let error = (line.mean_error + EPS * (x[i] - line.mean).abs()) * line.rstd;
            (value, error + value.abs() * (line.rstd_error + EPS))
        };
        let terms = self.terms();
        let parts = parts_of(terms, self.params);
        let additions = (terms.div_ceil(parts) + parts) as f64;
        let mut bounds = vec![0.0; if matches!(output, "dw" | "db") { self.params } else { x.len() }];
        match output {
            "mean" => return Tolerance::Each(lines.iter().map(|line| line.mean_error).collect()),
            "rstd" => return Tolerance::Each(lines.iter().map(|line| line.rstd * line.rstd_error).collect()),
            "y" => {
                for (i, bound) in bounds.iter_mut().enumerate() {
                    let ((value, error), k) = (standard(i), self.parameter(i));
                    let product = (value * at.x[1][k]).abs();
                    *bound = error * at.x[1][k].abs() + EPS * (2.0 * product + at.x[2][k].abs());
                }
            }
            "dw" | "db" => {
                for (i, dy) in at.dy.iter().enumerate() {
                    let (value, error) = if output == "dw" { standard(i) } else { (1.0, 0.0) };
                    bounds[self.parameter(i)] += dy.abs() * (error + EPS * (additions + 1.0) * value.abs());
                }
            }
            _ => {
                for (k, line) in lines.iter().enumerate() {
                    let elements = || (0..self.len).map(|t| self.element(k, t));
                    let scaled = |i: usize| (at.dy[i] * at.x[1][self.parameter(i)]).abs();
                    let len = self.len as f64;
                    let (roundings, plain) =
                        (EPS * (self.additions() + 4.0), elements().map(scaled).sum::<f64>() / len);
                    let along: f64 = elements().map(|i| scaled(i) * standard(i).0.abs()).sum::<f64>() / len;
                    let along_error: f64 = elements().map(|i| scaled(i) * standard(i).1).sum::<f64>() / len;
                    for i in elements() {
                        let (value, error) = standard(i);
                        let size = scaled(i) + plain + value.abs() * along;
                        let sums =
                            roundings * (plain + value.abs() * along) + value.abs() * along_error + error * along;
                        bounds[i] = line.rstd * (sums + size * (4.0 * EPS + line.rstd_error));
                    }
                }
            }
        }
        Tolerance::Each(bounds)
    }

    /// Returns the work of `shaders/shared/standardize.wgsl` and `scale_sums.wgsl`.
    pub(super) fn work(&self, call: &Call, caps: &Caps, momentum: f32) -> Option<Work> {
        let parts = parts_of(self.terms(), self.params);
        let lanes = lanes_of(self.len);
        let work = call.work(caps, |entry| {
            let threads = match entry {
                "forward" | "backward_x" => self.lines * lanes,
                "backward_w_1" | "backward_b_1" => self.params * parts,
                _ => self.params,
            };
            let params = [
                ("threads", threads.into()),
                ("lines", self.lines.into()),
                ("len", self.len.into()),
                ("run", self.run.into()),
                ("inner", self.inner.into()),
                ("params", self.params.into()),
                ("terms", self.terms().into()),
                ("parts", parts.into()),
                ("eps", Scalar::F32(self.eps as f32)),
                ("momentum", Scalar::F32(momentum)),
            ];
            Some(Launch::threads(threads, params).with("LANES", lanes))
        })?;
        let has_sums = matches!(call.method, "backward_w" | "backward_b");
        Some(if has_sums { work.scratch(vec![("t0", self.params * parts)]) } else { work })
    }
}

/// Checks a value that is added to variances.
///
/// # Errors
/// It is not above 0 and finite.
pub(super) fn check_eps(eps: f32) -> Result<(), ShapeError> {
    if eps > 0.0 && eps.is_finite() { Ok(()) } else { Err(ShapeError::value("eps", "above 0 and finite", eps)) }
}

impl Normalize {
    fn lines(&self, x: Shape) -> Lines {
        let eps = f64::from(self.eps);
        match self.over {
            Over::AxesFrom(first) => {
                let line: usize = x[first..].iter().product();
                Lines { lines: len(&x) / line, len: line, run: line, inner: 1, params: line, eps }
            }
            Over::Groups(groups) => {
                let (lines, inner) = (x[0] * groups, x[2..].iter().product());
                let line = len(&x) / lines;
                Lines { lines, len: line, run: line, inner, params: x[1], eps }
            }
        }
    }
}

impl Op for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b"]
    }
    fn outputs(&self) -> &'static [&'static str] {
        &["y", "mean", "rstd"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] =
            &[Kernel::new(wgsl!("normalize/plain" + "standardize" + "scale_sums" + "lines"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        check_eps(self.eps)?;
        let rank = x[0].rank();
        let scale = match self.over {
            Over::AxesFrom(first) if first >= rank => {
                return Err(ShapeError::value("axis", format!("0 to {}", rank - 1), first));
            }
            Over::AxesFrom(first) => x[0][first..].to_vec(),
            Over::Groups(_) if rank < 2 => {
                return Err(ShapeError::shape("x", "[N, C, ...], two to six dimensions", x[0]));
            }
            Over::Groups(groups) if groups == 0 || !x[0][1].is_multiple_of(groups) => {
                return Err(ShapeError::value(
                    "groups",
                    format!("a divisor of {}, the number of channels", x[0][1]),
                    groups,
                ));
            }
            Over::Groups(_) => vec![x[0][1]],
        };
        for (k, name) in ["w", "b"].into_iter().enumerate() {
            if *x[k + 1] != scale[..] {
                return Err(ShapeError::shape(name, format!("{scale:?}"), x[k + 1]));
            }
        }
        Ok(x[0])
    }
    fn more_shapes(&self, x: &[Shape], _y: Shape) -> Vec<Shape> {
        vec![[self.lines(x[0]).lines].into(); 2]
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(10 * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        self.lines(io.x[0]).reference(x, y);
    }
    fn reference_more(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], more: &mut [Vec<f64>]) {
        self.lines(io.x[0]).reference_more(x, more);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        self.lines(io.x[0]).reference_grad(x, dy, dx);
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        self.lines(io.x[0]).tolerance(output, at)
    }
}

/// `shaders/normalize/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let op = call.op::<Normalize>()?;
    op.lines(call.io.x[0]).work(call, caps, 0.0)
}

pub fn cases() -> Vec<Case> {
    let case = |x: &[usize], over| {
        let scale = match over {
            Over::AxesFrom(first) => x[first..].to_vec(),
            Over::Groups(_) => vec![x[1]],
        };
        let shapes = [x, &scale, &scale].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        Case::new(Normalize { over, eps: 1e-3 }, &shapes)
    };
    vec![
        case(&[1], Over::AxesFrom(0)),
        case(&[3, 10], Over::AxesFrom(1)),
        case(&[2, 3, 5, 7], Over::AxesFrom(2)),
        case(&[2, 3, 2, 5, 2, 3], Over::AxesFrom(3)),
        case(&[257], Over::AxesFrom(0)),
        case(&[150, 9], Over::AxesFrom(1)),
        case(&[3, 700], Over::AxesFrom(1)),
        case(&[5, 6], Over::Groups(2)),
        case(&[2, 6, 5, 7], Over::Groups(3)),
        case(&[2, 5, 3, 3], Over::Groups(5)),
        case(&[2, 4, 2, 3, 2, 3], Over::Groups(1)),
        case(&[70, 3, 13], Over::Groups(1)),
        case(&[1, 2, 100, 90], Over::Groups(2)),
        case(&[3, 6, 5], Over::Groups(2)).fill(0, Fill::With(with_nan)).rough(),
        // A transformer's tokens, and the pictures of a diffusion network.
        case(&[4, 128, 256], Over::AxesFrom(2)).real(),
        case(&[2, 32, 64, 64], Over::Groups(8)).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let shape = |over, eps, w: &[usize]| {
            let w = Shape::new(w).unwrap();
            Normalize { over, eps }.shape(&[[2, 6, 5].into(), w, w])
        };
        assert_eq!(shape(Over::AxesFrom(1), 1e-5, &[6, 5]).unwrap(), [2, 6, 5]);
        assert_eq!(shape(Over::Groups(3), 1e-5, &[6]).unwrap(), [2, 6, 5]);
        for (over, eps, w) in [
            (Over::AxesFrom(3), 1e-5, &[5][..]),
            (Over::AxesFrom(2), 0.0, &[5]),
            (Over::AxesFrom(1), 1e-5, &[5]),
            (Over::Groups(4), 1e-5, &[6]),
            (Over::Groups(0), 1e-5, &[6]),
        ] {
            assert!(shape(over, eps, w).is_err());
        }
    }
}
