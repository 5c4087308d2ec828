//! Functions that `std` lacks, for the references.

use std::f64::consts::PI;

/// Returns the error function, to about 1e-15.
pub(super) fn erf(x: f64) -> f64 {
    if x.abs() > 2.5 {
        return if x > 0.0 { 1.0 - tail(x) } else { tail(-x) - 1.0 };
    }
    // 2/√π · exp(−x²) · Σ 2ⁿ·x²ⁿ⁺¹ / (1·3·…·(2n+1)), whose terms have one sign.
    let (mut term, mut sum) = (x, x);
    for n in 1..60 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Returns 1 − erf(x), with its digits where it is small.
pub(super) fn erfc(x: f64) -> f64 {
    if x > 2.5 { tail(x) } else { 1.0 - erf(x) }
}

/// Returns erfc(x) for x above 2.5: exp(−x²)/√π · 1/(x + ½/(x + 1/(x + 1½/(x + …)))).
fn tail(x: f64) -> f64 {
    let rest = (1..120).rev().fold(x, |rest, k| x + 0.5 * f64::from(k) / rest);
    (-x * x).exp() / (PI.sqrt() * rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abramowitz and Stegun 1964, tables 7.1 and 7.3, and W. J. Cody's values for the tail.
    #[test]
    fn known_values_are_met() {
        for (x, expected) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - expected).abs() < 1e-10 && (erf(-x) + expected).abs() < 1e-10, "{x}: {}", erf(x));
        }
        // Both formulas where they meet.
        assert!((tail(2.5) / (1.0 - erf(2.5)) - 1.0).abs() < 1e-11);
        assert!((erfc(5.0) / 1.537_459_794_428_035e-12 - 1.0).abs() < 1e-12, "{}", erfc(5.0));
        assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
    }
}
