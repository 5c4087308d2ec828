//! Is the derivative the derivative of the formula, and does the shader compute the formula?
//!
//! The first question needs no adapter: [`gradient`] compares `reference_grad` with central differences of `reference`,
//! both in f64, for the loss ⟨r, y⟩ with a random r (a plain sum would hide an upstream gradient read in a wrong order).

use crate::ops::{Case, Io, Op};
use crate::rng::Rng;
use crate::tensor::{Shape, len, position};

/// Largest relative error that [`gradient`] may find: |analytic − numeric| / (1 + |numeric|).
pub const GRADIENT_LIMIT: f64 = 1e-6;

/// Step of the central differences.
const STEP: f64 = 1e-5;

/// Elements of one input that are differentiated at most; a larger input is sampled at random positions.
const MAX_ELEMENTS: usize = 512;

/// The worst disagreement between `reference_grad` and differences of `reference`.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientReport {
    pub worst: f64,
    /// Where: the input's name and the element.
    pub input: &'static str,
    pub position: Shape,
    pub analytic: f64,
    pub numeric: f64,
}

/// Differentiates `case` numerically and compares. Updates have no gradient and report 0.
///
/// # Errors
/// The operation refuses the case's shapes.
pub fn gradient(case: &Case, seed: u64) -> Result<GradientReport, crate::error::ShapeError> {
    let op = &*case.op;
    let mut rng = Rng::new(seed);
    let y_shape = op.shape(&case.x)?;
    let io = Io { x: &case.x, y: y_shape };
    let mut report = GradientReport { worst: 0.0, input: "", position: [0; 4], analytic: 0.0, numeric: 0.0 };
    if !op.updates().is_empty() {
        return Ok(report);
    }
    let mut x = case.values(&mut rng);
    let r: Vec<f64> = (0..len(&y_shape)).map(|_| rng.uniform(-1.0, 1.0)).collect();
    let loss = |x: &[Vec<f64>]| -> f64 { reference(op, &io, x).iter().zip(&r).map(|(y, r)| y * r).sum() };
    let y = reference(op, &io, &x);
    let dx = reference_grad(op, &io, &x, &y, &r);
    for k in 0..x.len() {
        let input = op.inputs()[k];
        if op.no_grad().iter().any(|(name, _)| *name == input) {
            continue;
        }
        let mut elements = rng.permutation(x[k].len());
        elements.truncate(MAX_ELEMENTS);
        for i in elements {
            let keep = x[k][i];
            x[k][i] = keep + STEP;
            let up = loss(&x);
            x[k][i] = keep - STEP;
            let down = loss(&x);
            x[k][i] = keep;
            let numeric = (up - down) / (2.0 * STEP);
            let error = (dx[k][i] - numeric).abs() / (1.0 + numeric.abs());
            // A NaN must not pass as small.
            if !(error <= report.worst) {
                report = GradientReport {
                    worst: if error.is_nan() { f64::INFINITY } else { error },
                    input,
                    position: position(&case.x[k], i),
                    analytic: dx[k][i],
                    numeric,
                };
            }
        }
    }
    Ok(report)
}

/// `op`'s output in f64.
pub fn reference(op: &dyn Op, io: &Io, x: &[Vec<f64>]) -> Vec<f64> {
    let mut y = vec![0.0; io.y_len()];
    op.reference(io, x, &mut y);
    y
}

/// `op`'s gradients for all inputs in f64; zeros where it has none.
pub fn reference_grad(op: &dyn Op, io: &Io, x: &[Vec<f64>], y: &[f64], dy: &[f64]) -> Vec<Vec<f64>> {
    let mut dx: Vec<Vec<f64>> = io.x.iter().map(|s| vec![0.0; len(s)]).collect();
    op.reference_grad(io, x, y, dy, &mut dx);
    dx
}
