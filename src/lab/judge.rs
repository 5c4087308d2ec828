//! Decides whether an output agrees with its reference, and provides references of slightly wrong formulas, which the same
//! bounds must refuse.
//!
//! An element's error must be within the smaller of the worst case derived for it ([`Op::tolerance`]) and a share of the output's
//! root mean square. The root mean square of all errors must be within a smaller share of it ([`Op::accuracy`]). A worst case
//! adds up absolute values, so that over many terms it would not notice whole missing channels. A bound that is NaN fails.

use crate::ops::{Accuracy, Io, Op, reference_grad, reference_outputs};
use crate::tensor::Shape;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// Subnormals may be flushed to zero.
const TINY: f64 = f32::MIN_POSITIVE as f64;

/// How far an output is from its reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The element whose error is largest relative to its bound.
    pub index: usize,
    /// |got − expected| there; infinite for an unexpected NaN.
    pub error: f64,
    /// The bound there; negative if it is NaN.
    pub allowed: f64,
    /// Root mean square of all errors.
    pub rms_error: f64,
    /// Its bound.
    pub rms_allowed: f64,
}

impl Verdict {
    pub fn is_ok(&self) -> bool {
        self.error <= self.allowed && self.rms_error <= self.rms_allowed
    }
}

/// Returns the root mean square; 0 if there are no values.
fn rms(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), v| (sum + v * v, count + 1));
    (sum / count.max(1) as f64).sqrt()
}

/// Compares `got` with `expected`, of the same length, given the worst case `worst` of each element. If a NaN is expected, any
/// NaN is right.
pub fn judge(expected: &[f64], got: &[f64], worst: &[f64], accuracy: Accuracy) -> Verdict {
    let scale = rms(expected.iter().copied().filter(|v| v.is_finite()));
    let mut verdict =
        Verdict { index: 0, error: 0.0, allowed: TINY, rms_error: 0.0, rms_allowed: accuracy.rms * scale + TINY };
    let error_of = |i: usize| match (expected[i], got[i]) {
        (e, g) if e == g || (e.is_nan() && g.is_nan()) => 0.0,
        (e, g) if (g - e).is_nan() => f64::INFINITY,
        (e, g) => (g - e).abs(),
    };
    let mut excess = -1.0;
    for (i, worst) in worst.iter().enumerate() {
        // If NaN is expected, the bound is NaN too.
        let worst = if expected[i].is_nan() { 0.0 } else { *worst };
        let error = error_of(i);
        let allowed = if worst.is_nan() { -1.0 } else { worst.min(accuracy.element * scale) + TINY };
        let this = if allowed < 0.0 { f64::INFINITY } else { error / allowed };
        if this > excess {
            excess = this;
            verdict = Verdict { index: i, error, allowed, ..verdict };
        }
    }
    verdict.rms_error = rms((0..expected.len()).map(error_of));
    verdict
}

/// Moves each of `got`, which were stored as f16, towards the value of `expected` by as much as storing may have moved it: one unit in
/// the last place, since WGSL leaves open which of two neighbours is stored. What remains is the error of the arithmetic.
pub fn excuse_rounding(expected: &[f64], got: &mut [f64]) {
    for (e, g) in expected.iter().zip(got) {
        let unit = |v: f64| (v.abs() / 1024.0).max(f64::from(half::f16::MIN_POSITIVE_SUBNORMAL));
        let error = *g - e;
        if error.abs() <= unit(*e) || (g.is_infinite() && e.abs() > f64::from(half::f16::MAX) && *e * *g > 0.0) {
            *g = *e;
        } else if error.is_finite() {
            *g -= error.signum() * unit(*e);
        }
    }
}

/// Results of one evaluation by name: outputs and the inputs that are overwritten, or gradients by their inputs.
pub type Outputs = BTreeMap<&'static str, Vec<f64>>;

/// The results of the formula, and those of slightly wrong formulas.
#[derive(Debug)]
pub struct Expected {
    pub right: Outputs,
    /// The formula on absolute values, the scale of [`crate::ops::Tolerance::Terms`].
    pub terms: Outputs,
    /// What is wrong, and its results.
    pub wrong: Vec<(String, Outputs)>,
}

/// References of one operation, kept while its shaders are compared on the same values.
pub struct References {
    /// Whether to evaluate wrong formulas too.
    has_wrong: bool,
    known: BTreeMap<u64, Rc<Expected>>,
}

/// The values of a method's call; `dy` is empty except for gradients.
#[derive(Debug, Clone)]
pub struct Call {
    pub x: Vec<Vec<f64>>,
    pub y: Vec<f64>,
    pub dy: Vec<f64>,
}

impl References {
    /// Creates references, with wrong formulas if `has_wrong` is set.
    pub fn new(has_wrong: bool) -> Self {
        Self { has_wrong, known: BTreeMap::new() }
    }

    /// Returns the outputs of `op` for `call`.
    pub fn of(&mut self, op: &dyn Op, io: &Io, call: &Call) -> Rc<Expected> {
        let mut hasher = DefaultHasher::new();
        format!("{op:?} {io:?}").hash(&mut hasher);
        for values in call.x.iter().chain([&call.y, &call.dy]) {
            values.len().hash(&mut hasher);
            values.iter().for_each(|v| v.to_bits().hash(&mut hasher));
        }
        let key = hasher.finish();
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let abs = |v: &[f64]| -> Vec<f64> { v.iter().map(|v| v.abs()).collect() };
        let positive = Call { x: call.x.iter().map(|v| abs(v)).collect(), y: abs(&call.y), dy: abs(&call.dy) };
        let right = evaluate(op, io, call);
        // An update does not sum terms: its bounds scale with what it writes.
        let terms = if op.updates().is_empty() {
            evaluate(op, io, &positive)
        } else {
            right.iter().map(|(name, values)| (*name, abs(values))).collect()
        };
        let wrong = if self.has_wrong { slightly_wrong(op, io, call) } else { Vec::new() };
        let expected = Rc::new(Expected { right, terms, wrong });
        self.known.insert(key, expected.clone());
        expected
    }
}

fn evaluate(op: &dyn Op, io: &Io, call: &Call) -> Outputs {
    let mut outputs = Outputs::new();
    if call.dy.is_empty() {
        outputs.extend(op.outputs().iter().copied().zip(reference_outputs(op, io, &call.x)));
        let mut x = call.x.clone();
        op.reference_update(io, &mut x);
        outputs.extend(op.inputs().iter().copied().zip(x).filter(|(name, _)| op.updates().contains(name)));
    } else {
        let dx = reference_grad(op, io, &call.x, &call.y, &call.dy);
        outputs.extend(op.inputs().iter().copied().zip(dx));
    }
    outputs
}

/// Evaluates, for each input, the formula without the input's channel of the largest values, and the formula with the input's
/// first channel shifted right by a pixel, or down if it is one pixel wide. For a filter, that is a tap that is off by one.
fn slightly_wrong(op: &dyn Op, io: &Io, call: &Call) -> Vec<(String, Outputs)> {
    let dy = (!call.dy.is_empty()).then_some(("dy", io.y));
    let operands = op.inputs().iter().copied().zip(io.x.iter().copied()).chain(dy);
    let mut wrong = Vec::new();
    for (k, (name, shape)) in operands.enumerate() {
        for (what, change) in [
            ("leaves out the largest channel of", without_largest_channel as fn(Shape, &[f64]) -> Option<Vec<f64>>),
            ("shifts by one pixel the first channel of", with_first_channel_shifted),
        ] {
            let values = call.x.get(k).unwrap_or(&call.dy);
            let Some(changed) = change(shape, values) else { continue };
            let mut call = call.clone();
            *call.x.get_mut(k).unwrap_or(&mut call.dy) = changed;
            wrong.push((format!("{what} {name}"), evaluate(op, io, &call)));
        }
    }
    wrong
}

fn without_largest_channel(shape: Shape, values: &[f64]) -> Option<Vec<f64>> {
    let [n, c, h, w] = shape.nchw();
    let plane = |n: usize, c_at: usize| (n * c + c_at) * h * w..(n * c + c_at + 1) * h * w;
    let size = |c: &usize| -> f64 { (0..n).flat_map(|n| &values[plane(n, *c)]).map(|v| v.abs()).sum() };
    let largest = (0..c).max_by(|a, b| size(a).total_cmp(&size(b)))?;
    let mut values = values.to_vec();
    (0..n).for_each(|n| values[plane(n, largest)].fill(0.0));
    (c > 1).then_some(values)
}

fn with_first_channel_shifted(shape: Shape, values: &[f64]) -> Option<Vec<f64>> {
    let [n, c, h, w] = shape.nchw();
    let mut values = values.to_vec();
    for n in 0..n {
        let plane = &mut values[n * c * h * w..][..h * w];
        match (w, h) {
            (1, 1) => return None,
            (1, _) => plane.rotate_right(1),
            _ => plane.chunks_exact_mut(w).for_each(|row| row.rotate_right(1)),
        }
    }
    Some(values)
}

/// Returns which of `expected.wrong`, and of an `output` with one element 1 % too large, these bounds do not refuse. For a sound
/// check there are none.
pub fn let_pass(expected: &Expected, output: &str, got: &[f64], worst: &[f64], accuracy: Accuracy) -> Vec<String> {
    let Some(right) = expected.right.get(output) else { return Vec::new() };
    let mut passed = Vec::new();
    let mut try_one = |what: &str, wrong: &[f64]| {
        // A change on which the output does not depend cannot be noticed.
        let scale = rms(right.iter().copied());
        let differs = right.iter().zip(wrong).any(|(r, w)| (r - w).abs() > 1e-9 * scale);
        if differs && judge(wrong, got, worst, accuracy).is_ok() {
            passed.push(what.to_owned());
        }
    };
    for (what, outputs) in &expected.wrong {
        try_one(what, &outputs[output]);
    }
    let largest = (0..right.len()).max_by(|&i, &j| right[i].abs().total_cmp(&right[j].abs()));
    if let Some(i) = largest.filter(|&i| right[i].is_finite()) {
        let mut wrong = right.clone();
        wrong[i] *= 1.01;
        try_one("has one element 1 % too large", &wrong);
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCURACY: Accuracy = Accuracy::DIRECT;

    #[test]
    fn every_bound_refuses_something_that_the_others_take() {
        let expected: Vec<f64> = (0..1000).map(|i| f64::from(i % 7) - 2.0).collect();
        let exact: Vec<f64> = expected.iter().map(|&v| f64::from(v as f32)).collect();
        let wide = vec![1.0; 1000];
        assert!(judge(&expected, &exact, &wide, ACCURACY).is_ok());
        // One element within its worst case of 1, but not within 1e-4 of the output's scale.
        let mut one = exact.clone();
        one[5] += 1e-3;
        assert_eq!(judge(&expected, &one, &wide, ACCURACY).index, 5);
        assert!(!judge(&expected, &one, &wide, ACCURACY).is_ok());
        // Within both, but not within the worst case.
        let mut close = exact.clone();
        close[8] += 1e-5;
        assert!(judge(&expected, &close, &wide, ACCURACY).is_ok());
        assert!(!judge(&expected, &close, &[1e-6; 1000], ACCURACY).is_ok());
        // Every element within both, but all of them off.
        let all: Vec<f64> = exact.iter().map(|v| v + 2e-5).collect();
        let verdict = judge(&expected, &all, &wide, ACCURACY);
        assert!(verdict.error <= verdict.allowed && !verdict.is_ok(), "{verdict:?}");
    }

    #[test]
    fn what_f16_rounds_is_excused_and_no_more() {
        let expected = [1.0, 1000.3, -2049.0, 1e-7, 7e4, -7e4, 0.1];
        let mut got: Vec<f64> = expected.iter().map(|v| half::f16::from_f64(*v).to_f64()).collect();
        assert_ne!(got, expected);
        excuse_rounding(&expected, &mut got);
        assert_eq!(got, expected);
        // Two units off, the wrong infinity, and a NaN.
        let mut wrong = [1.0 + 2.0 / 1024.0, f64::NEG_INFINITY, f64::NAN];
        excuse_rounding(&[1.0, 7e4, 1.0], &mut wrong);
        assert!((wrong[0] - 1.0 - 1.0 / 1024.0).abs() < 1e-12 && wrong[1] < 0.0 && wrong[2].is_nan(), "{wrong:?}");
    }

    #[test]
    fn bounds_that_are_no_numbers_fail_and_nan_is_right_where_it_is_expected() {
        assert!(!judge(&[1.0, 2.0], &[1.0, 2.0], &[1.0, f64::NAN], ACCURACY).is_ok());
        assert!(!judge(&[1.0, 2.0], &[1.0, f64::NAN], &[1.0; 2], ACCURACY).is_ok());
        assert!(!judge(&[1.0, f64::NAN], &[1.0, 2.0], &[1.0; 2], ACCURACY).is_ok());
        assert!(judge(&[1.0, f64::NAN], &[1.0, f64::NAN], &[1.0, f64::NAN], ACCURACY).is_ok());
        assert!(judge(&[f64::INFINITY], &[f64::INFINITY], &[1.0], ACCURACY).is_ok());
    }

    #[test]
    fn wrong_formulas_differ_in_one_channel() {
        let values: Vec<f64> = (1..=12).map(f64::from).collect();
        let out = without_largest_channel([1, 2, 2, 3].into(), &values).unwrap();
        assert_eq!(out, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let shifted = with_first_channel_shifted([1, 2, 2, 3].into(), &values).unwrap();
        assert_eq!(shifted, [3.0, 1.0, 2.0, 6.0, 4.0, 5.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]);
        assert!(without_largest_channel([2, 1, 2, 3].into(), &values).is_none());
        assert!(with_first_channel_shifted([12, 1, 1, 1].into(), &values).is_none());
    }
}
