//! Turns logits into probabilities: each attribute's logit is scaled and shifted to fit faces that the network was not trained on.
//!
//! Source: Platt 1999, "Probabilistic outputs for support vector machines"; the regularised Newton method of Lin, Lin and Weng 2007, "A
//! note on Platt's probabilistic outputs for support vector machines".

/// Scale and offset of a logit.
pub type Line = [f64; 2];

/// Most steps of Newton's method; it takes about five.
const ROUNDS: usize = 100;
/// What keeps the Hessian invertible.
const RIDGE: f64 = 1e-12;

/// Returns the line with which the sigmoid of the scaled `logits` has the smallest cross entropy to `has`. A logit that says nothing, or
/// the opposite, gets the scale 0, and so everyone the share of those who have the attribute.
pub fn fit(logits: &[f64], has: &[bool]) -> Line {
    let positive = has.iter().filter(|has| **has).count() as f64;
    let negative = has.len() as f64 - positive;
    // Not quite 1 and 0, as if one more face of the other class had been seen (Platt, section 2.2).
    let targets = [1.0 / (negative + 2.0), (positive + 1.0) / (positive + 2.0)];
    let pairs = || logits.iter().zip(has).map(|(z, has)| (*z, targets[usize::from(*has)]));
    let loss = |[a, b]: Line| pairs().map(|(z, t)| softplus(a * z + b) - t * (a * z + b)).sum::<f64>();
    let mut line = [0.0, ((positive + 1.0) / (negative + 1.0)).ln()];
    let constant = line;
    let mut best = loss(line);
    for _ in 0..ROUNDS {
        let (mut g, mut h) = ([0.0; 2], [RIDGE, 0.0, RIDGE]);
        for (z, t) in pairs() {
            let p = 1.0 / (1.0 + (-(line[0] * z + line[1])).exp());
            let (error, curvature) = (p - t, p * (1.0 - p));
            g = [g[0] + error * z, g[1] + error];
            h = [h[0] + curvature * z * z, h[1] + curvature * z, h[2] + curvature];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        // Halved until it descends.
        let shorter = (0..40).map(|k| 0.5f64.powi(k)).find_map(|part| {
            let next = [line[0] - part * step[0], line[1] - part * step[1]];
            let value = loss(next);
            (value < best).then_some((next, value))
        });
        let Some((next, value)) = shorter else { break };
        let has_settled = best - value < 1e-12 * best.abs();
        (line, best) = (next, value);
        if has_settled {
            break;
        }
    }
    if line[0] > 0.0 { line } else { constant }
}

/// Returns ln(1 + eˣ).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn sigmoid(z: f64) -> f64 {
        1.0 / (1.0 + (-z).exp())
    }

    #[test]
    fn the_line_that_made_the_labels_is_found() {
        let mut rng = Rng::new(1);
        let logits: Vec<f64> = (0..20_000).map(|_| 4.0 * rng.normal()).collect();
        for [scale, offset] in [[0.5, -2.0], [2.0, 1.0], [1.0, -4.0]] {
            let has: Vec<bool> = logits.iter().map(|z| rng.unit() < sigmoid(scale * z + offset)).collect();
            let [a, b] = fit(&logits, &has);
            assert!((a / scale - 1.0).abs() < 0.1 && (b - offset).abs() < 0.2, "{a} {b} for {scale} {offset}");
            // The share that is found is the share that is there: the gradient by the offset is 0, up to Platt's targets.
            let found = logits.iter().map(|z| sigmoid(a * z + b)).sum::<f64>() / 20_000.0;
            let there = has.iter().filter(|has| **has).count() as f64 / 20_000.0;
            assert!((found - there).abs() < 2e-4, "{found} {there}");
        }
    }

    #[test]
    fn logits_that_say_nothing_get_the_share() {
        let mut rng = Rng::new(2);
        let logits: Vec<f64> = (0..1000).map(|_| rng.normal()).collect();
        let share = |[a, b]: Line| (a, (1000.0 * sigmoid(b)).round());
        assert_eq!(share(fit(&logits, &vec![false; 1000])), (0.0, 1.0));
        // The opposite of what is so.
        let has: Vec<bool> = logits.iter().map(|z| *z < -0.5).collect();
        let count = has.iter().filter(|has| **has).count() as f64;
        let (a, found) = share(fit(&logits, &has));
        assert!(a == 0.0 && (found - count).abs() <= 1.0, "{a} {found} {count}");
        // Separable logits keep a finite scale.
        let [a, _] = fit(&[-1.0, -2.0, 1.0, 2.0], &[false, false, true, true]);
        assert!(a.is_finite() && a > 0.0 && a < 10.0, "{a}");
        assert!(fit(&[3.0; 10], &[true; 10])[1].is_finite());
    }
}
