//! The losses and validations of a run so far, for its picture.

/// Largest number of points of a curve, so that its memory does not grow with the run.
const MAX_POINTS: usize = 1024;

/// Means of a value over equal stretches of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Steps per point.
    stretch: u64,
    /// Number of the stretch, sum and count.
    points: Vec<(u64, f64, u64)>,
}

impl Default for Curve {
    fn default() -> Self {
        Self { stretch: 1, points: Vec::new() }
    }
}

impl Curve {
    /// Adds the value of `step`, which counts from 1.
    pub fn push(&mut self, step: u64, value: f64) {
        self.add(step.saturating_sub(1) / self.stretch, value, 1);
        if self.points.len() > MAX_POINTS {
            self.stretch *= 2;
            for (stretch, sum, count) in std::mem::take(&mut self.points) {
                self.add(stretch / 2, sum, count);
            }
        }
    }

    fn add(&mut self, stretch: u64, sum: f64, count: u64) {
        match self.points.last_mut() {
            Some(last) if last.0 == stretch => {
                last.1 += sum;
                last.2 += count;
            }
            _ => self.points.push((stretch, sum, count)),
        }
    }

    /// Returns the middle of each stretch and its mean.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let middle = |stretch: u64| (stretch * self.stretch) as f64 + (self.stretch + 1) as f64 / 2.0;
        self.points.iter().map(|&(stretch, sum, count)| (middle(stretch), sum / count as f64)).collect()
    }
}

/// Losses and validations of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub loss: Curve,
    /// Name of the value that decides which validation is the best.
    pub criterion: String,
    /// Step and value of each validation.
    pub validations: Vec<(u64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_keeps_its_means_in_few_points() {
        let mut curve = Curve::default();
        for step in 1..=10_000 {
            curve.push(step, step as f64);
        }
        let points = curve.points();
        assert!(points.len() <= MAX_POINTS && points.len() > MAX_POINTS / 2, "{}", points.len());
        // The mean of a stretch of a straight line lies in its middle; the last stretch may be cut off.
        for (step, value) in &points[..points.len() - 1] {
            assert!((step - value).abs() < 1e-9, "{step} {value}");
        }
    }
}
