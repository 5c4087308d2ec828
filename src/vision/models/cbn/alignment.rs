//! f_k: p_k = p_{k−1} + R_k·(φ(I_{k−1}; x_{k−1}(1..L)) − φ̄), one linear step from features to coefficients.
//!
//! R_k is fitted on faces whose p* is known, from disturbed starts p. Let Δ = p − p* and F = φ(p) − φ̄. The Jacobian is
//! J = argmin Σ‖F − J·Δ‖² (ridge). A holds the principal axes of φ at the true shapes: how faces differ in looks but not in
//! place. With P = I − A·A', R = −(J'PJ + prior)⁻¹·J'P.
//! [`Method::Direct`] is the soft form. If p is normal with spread Λ, and looks and noise have covariance Σ around φ̄, the most
//! probable p has R = −(J'Σ⁻¹J + Λ⁻¹)⁻¹·J'Σ⁻¹; the projection is the Σ that is infinite along A and equal everywhere else.
//! This R is the linear regression of p* − p on F (the two forms of the normal equations). At 16 × 16 pixels looks and places
//! lie in the same few directions, so that a hard projection removes the signal: examples/cbn_alignment.rs measures both.
//! Source: Tzimiropoulos, "Project-Out Cascaded Regression with an Application to Face Alignment", CVPR 2015, named by Zhu et
//! al. 2016, section 3.2. The steps are reconstructed from both papers.

use super::linalg::{principal_axes, solve_ridge};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::tensor::Tensor;
use faer::{Mat, MatRef};

/// A fitted step: p ← p + R·φ + b with b = −R·φ̄.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `[N, D, 1, 1]`.
    pub r: Tensor,
    /// `[1, N, 1, 1]`.
    pub b: Tensor,
}

/// How R is computed from the samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The project-out Gauss-Newton step. `energy` is the share of the appearance's sum of squares that A holds. `prior`
    /// is the weight of a feature's unexplained variance against the spread of the starts (0 in the paper).
    ProjectOut { energy: f64, prior: f64 },
    /// Ridge regression of p* − p on F: the supervised descent method (Xiong and De la Torre, CVPR 2013), with the ridge
    /// that is best for held-out faces.
    Direct,
}

/// Ridges to try, as shares of the mean square of a feature times the number of samples.
const RIDGES: [f64; 7] = [1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0];

/// Number of parts that the faces are split into; each is held out in turn.
pub const FOLDS: usize = 5;

/// The result of a regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub step: Step,
    /// With [`Method::Direct`], p* − p of each sample as found by a step that was fitted without the sample's part. It is as
    /// accurate as for new faces, so the next step must be fitted to it.
    pub held_out: Option<Mat<f64>>,
    /// The ridge that [`Method::Direct`] chose.
    pub ridge: f64,
}

/// Samples of one step, one per row.
#[derive(Debug)]
pub struct Samples {
    /// φ at the disturbed shapes.
    pub features: Mat<f64>,
    /// p − p*.
    pub offsets: Mat<f64>,
    /// φ at the true shapes.
    pub true_features: Mat<f64>,
    /// Which of the [`FOLDS`] parts each sample belongs to; all samples of a face and its mirror image share one part.
    pub part: Vec<usize>,
}

impl Samples {
    fn check(&self) -> Result<()> {
        let rows = [&self.features, &self.offsets, &self.true_features].map(Mat::nrows);
        if rows.contains(&0) || rows[0] != rows[1] || self.part.len() != rows[0] {
            return Err(Error::Usage(format!(
                "a regression needs one feature vector per offset and some at true shapes, got {rows:?}"
            )));
        }
        Ok(())
    }
}

impl Step {
    /// Fits R to `samples`.
    ///
    /// # Errors
    /// There are no samples; a number is not finite.
    pub fn fit(samples: &Samples, method: Method) -> Result<Fit> {
        samples.check()?;
        let m = samples.features.nrows();
        let mean = column_means(samples.true_features.as_ref());
        let centred = |x: &Mat<f64>| Mat::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] - mean[j]);
        let f = centred(&samples.features);
        let d = &samples.offsets;
        let (r, held_out, ridge) = match method {
            Method::Direct => {
                let (r, held_out, ridge) = ridge_regression(&f, d, &samples.part, &RIDGES)?;
                (r, Some(held_out), ridge)
            }
            Method::ProjectOut { energy, prior } => {
                let gram = d.transpose() * d;
                let right = d.transpose() * &f;
                // The ridge only keeps an unused coefficient from dividing by zero.
                let ridge = 1e-9 * trace(&gram);
                let j = solve_ridge(gram.clone(), ridge, right.as_ref())?;
                let a = principal_axes(&centred(&samples.true_features), energy)?;
                let pj = &j - (&j * &a) * a.transpose();
                let mut h = &pj * pj.transpose();
                if prior > 0.0 {
                    let rest = &f - d * &j;
                    let projected = &rest - (&rest * &a) * a.transpose();
                    let free = (projected.ncols() - a.ncols()).max(1) as f64;
                    let noise = projected.squared_norm_l2() / m as f64 / free;
                    for i in 0..h.nrows() {
                        h[(i, i)] += prior * noise * m as f64 / gram[(i, i)].max(f64::MIN_POSITIVE);
                    }
                }
                let ridge = 1e-12 * trace(&h);
                (-solve_ridge(h, ridge, pj.as_ref())?, None, 0.0)
            }
        };
        Ok(Fit { step: Self::new(&r, &mean)?, held_out, ridge })
    }

    /// p ← p + R·(φ − φ̄).
    fn new(r: &Mat<f64>, mean: &[f64]) -> Result<Self> {
        let (n, width) = (r.nrows(), r.ncols());
        let b = (0..n).map(|i| -(0..width).map(|j| r[(i, j)] * mean[j]).sum::<f64>() as f32).collect();
        let flat = (0..n * width).map(|e| r[(e / width, e % width)] as f32).collect();
        Ok(Self { r: Tensor::new([n, width, 1, 1], flat)?, b: Tensor::new([1, n, 1, 1], b)? })
    }
}

/// Returns the R of the regression −Δ ≈ R·F (a row per coefficient), −Δ as found for each sample without its part, and the ridge.
fn ridge_regression(f: &Mat<f64>, d: &Mat<f64>, part: &[usize], ridges: &[f64]) -> Result<(Mat<f64>, Mat<f64>, f64)> {
    let normal = Normal::new(f, d);
    let mut tried: Vec<Mat<f64>> = ridges.iter().map(|_| Mat::zeros(d.nrows(), d.ncols())).collect();
    for fold in 0..FOLDS {
        let rows = |is: bool| (0..d.nrows()).filter(|&i| (part[i] == fold) == is).collect::<Vec<_>>();
        let (out, kept) = (rows(true), rows(false));
        if out.is_empty() || kept.is_empty() {
            continue;
        }
        let answers = normal.answers([f, d], [&kept, &out], ridges)?;
        for (answer, found) in answers.into_iter().zip(&mut tried) {
            for (i, &row) in out.iter().enumerate() {
                (0..d.ncols()).for_each(|k| found[(row, k)] = -answer[(i, k)]);
            }
        }
    }
    let error = |found: &Mat<f64>| (found + d).squared_norm_l2();
    let best = (0..ridges.len()).min_by(|&a, &b| error(&tried[a]).total_cmp(&error(&tried[b]))).unwrap_or(0);
    let r = normal.solution(f, d, ridges[best])?;
    Ok((r, tried.swap_remove(best), ridges[best]))
}

/// The normal equations of a regression Δ ≈ F·X, in the form with fewer unknowns.
enum Normal {
    /// F·F': an unknown for each sample.
    Samples(Mat<f64>),
    /// F'·F and F'·Δ: an unknown for each feature.
    Features(Mat<f64>, Mat<f64>),
}

impl Normal {
    fn new(f: &Mat<f64>, d: &Mat<f64>) -> Self {
        match f.nrows() <= f.ncols() {
            true => Self::Samples(f * f.transpose()),
            false => Self::Features(f.transpose() * f, f.transpose() * d),
        }
    }

    /// Returns the mean square of a feature times the number of samples, the unit of a ridge.
    fn unit(&self, width: usize) -> f64 {
        let (Self::Samples(square) | Self::Features(square, _)) = self;
        trace(square) / width as f64
    }

    /// Returns Δ of the samples `out` as found from those `kept`, for every ridge.
    fn answers(&self, [f, d]: [&Mat<f64>; 2], [kept, out]: [&[usize]; 2], ridges: &[f64]) -> Result<Vec<Mat<f64>>> {
        let unit = self.unit(f.ncols());
        let rows = |x: &Mat<f64>, chosen: &[usize]| Mat::from_fn(chosen.len(), x.ncols(), |i, j| x[(chosen[i], j)]);
        let (square, right, left) = match self {
            Self::Samples(kernel) => {
                let across = Mat::from_fn(out.len(), kept.len(), |i, j| kernel[(out[i], kept[j])]);
                let inner = Mat::from_fn(kept.len(), kept.len(), |i, j| kernel[(kept[i], kept[j])]);
                (inner, rows(d, kept), across)
            }
            Self::Features(all, right) => {
                let (f, d) = (rows(f, out), rows(d, out));
                (all - f.transpose() * &f, right - f.transpose() * &d, f)
            }
        };
        let answer = |ridge: &f64| Ok(&left * solve_ridge(square.clone(), ridge * unit, right.as_ref())?);
        ridges.iter().map(answer).collect()
    }

    /// Returns −X'.
    fn solution(self, f: &Mat<f64>, d: &Mat<f64>, ridge: f64) -> Result<Mat<f64>> {
        let ridge = ridge * self.unit(f.ncols());
        Ok(match self {
            Self::Samples(kernel) => -(solve_ridge(kernel, ridge, d.as_ref())?.transpose() * f),
            Self::Features(square, right) => -solve_ridge(square, ridge, right.as_ref())?.transpose().to_owned(),
        })
    }
}

/// Adds p_k = p_{k−1} + f_k of the features `phi`; the nodes `r` and `b` are R and b.
///
/// # Errors
/// The shapes do not fit; a node belongs to another graph.
pub fn build(g: &mut Graph, phi: NodeId, p: NodeId, r: NodeId, b: NodeId) -> Result<NodeId> {
    let step = g.linear(phi, r, b)?;
    g.plus(p, step)
}

fn column_means(x: MatRef<f64>) -> Vec<f64> {
    (0..x.ncols()).map(|j| (0..x.nrows()).map(|i| x[(i, j)]).sum::<f64>() / x.nrows() as f64).collect()
}

fn trace(x: &Mat<f64>) -> f64 {
    (0..x.nrows()).map(|i| x[(i, i)]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// 30 features that are linear in 3 coefficients p and in 10 numbers a of the face alone: φ = C·p + A·a + mean + noise.
    fn samples() -> Samples {
        let mut rng = Rng::new(5);
        let (d, n, m) = (30, 3, 400);
        let mut random = |r, c| Mat::from_fn(r, c, |_, _| rng.normal());
        let (c, a) = (random(n, d), random(10, d));
        let (offsets, looks, noise) = (random(m, n), random(m, 10), random(m, d));
        let appearance = 3.0 * &looks * &a + 0.01 * &noise + Mat::full(m, d, 0.7);
        let features = &offsets * &c + &appearance;
        let part = (0..m).map(|i| i % FOLDS).collect();
        Samples { features, offsets, true_features: appearance, part }
    }

    #[test]
    fn both_methods_find_the_way_back() {
        let samples = samples();
        for method in [Method::ProjectOut { energy: 0.999, prior: 0.0 }, Method::Direct] {
            let step = Step::fit(&samples, method).unwrap().step;
            for i in 0..20 {
                for k in 0..3 {
                    let moved: f64 =
                        (0..30).map(|j| f64::from(step.r.at([k, j, 0, 0])) * samples.features[(i, j)]).sum::<f64>()
                            + f64::from(step.b.at([0, k, 0, 0]));
                    assert!((samples.offsets[(i, k)] + moved).abs() < 0.05, "{method:?} sample {i}");
                }
            }
        }
    }

    #[test]
    fn without_projection_looks_are_taken_for_places() {
        // With A = {} the face's looks throw the step off, so it is the projection that makes it right.
        let samples = samples();
        let step = Step::fit(&samples, Method::ProjectOut { energy: 0.0, prior: 0.0 }).unwrap().step;
        let worst = (0..20)
            .map(|i| {
                let moved: f64 =
                    (0..30).map(|j| f64::from(step.r.at([0, j, 0, 0])) * samples.features[(i, j)]).sum::<f64>()
                        + f64::from(step.b.at([0, 0, 0, 0]));
                (samples.offsets[(i, 0)] + moved).abs()
            })
            .fold(0.0, f64::max);
        assert!(worst > 0.3, "{worst}");
    }

    #[test]
    fn a_part_left_out_is_answered_without_it() {
        let mut samples = samples();
        let answers = |s: &Samples| ridge_regression(&s.features, &s.offsets, &s.part, &[1e-4]).unwrap().1;
        let before = answers(&samples);
        assert!((0..400).all(|i| (before[(i, 0)] + samples.offsets[(i, 0)]).abs() < 0.3));
        // A part whose offsets are nonsense gets the same answers as before; those of the other parts change.
        (0..400).filter(|i| i % FOLDS == 1).for_each(|i| samples.offsets[(i, 0)] += 50.0);
        let after = answers(&samples);
        let largest = |k: usize| {
            let rows = (0..400).filter(|i| i % FOLDS == k);
            rows.map(|i| (after[(i, 0)] - before[(i, 0)]).abs()).fold(0.0, f64::max)
        };
        assert!(largest(1) < 1e-9 && largest(0) > 5.0, "{} {}", largest(1), largest(0));
    }

    #[test]
    fn both_forms_of_the_normal_equations_have_one_solution() {
        let samples = samples();
        let (f, d) = (&samples.features, &samples.offsets);
        let forms = [Normal::Samples(f * f.transpose()), Normal::Features(f.transpose() * f, f.transpose() * d)];
        let kept: Vec<usize> = (0..400).filter(|i| i % 4 > 0).collect();
        let out: Vec<usize> = (0..400).step_by(4).collect();
        let [one, other] = forms.map(|form| {
            let answers = form.answers([f, d], [&kept, &out], &[1e-3, 0.1]).unwrap();
            (answers, form.solution(f, d, 1e-2).unwrap())
        });
        let apart = |a: &Mat<f64>, b: &Mat<f64>| (a - b).norm_max() / a.norm_max();
        assert!(one.0.iter().zip(&other.0).all(|(a, b)| apart(a, b) < 1e-8));
        assert!(apart(&one.0[0], &one.0[1]) > 1e-3, "the ridge counts");
        assert!(apart(&one.1, &other.1) < 1e-8);
    }

    #[test]
    fn nothing_to_fit_is_refused() {
        let empty = |width| Mat::zeros(0, width);
        let none = Samples { features: empty(5), offsets: empty(2), true_features: empty(5), part: vec![] };
        assert!(Step::fit(&none, Method::Direct).is_err());
    }
}
