//! The protocols by which face detectors are judged, with the files that they read and write.
//!
//! - [`fddb`]: discrete and continuous ROC over ellipses, as masks of pixels.
//! - [`wider`]: average precision on the easy, medium and hard faces of WIDER FACE.
//! - [`voc`]: precision and recall as in PASCAL VOC; for AFW and CMU+MIT.
//!
//! Each is as its authors' evaluation does it, down to how pixels are counted: a box's IoU is continuous in one protocol, in pixels in
//! another, and a third draws masks. `tools/golden_detection.py` implements each a second time, and `tests/detection.rs` compares.

mod assignment;
pub mod fddb;
#[cfg(feature = "files")]
pub mod files;
mod mask;
#[cfg(feature = "files")]
mod mat;
pub mod voc;
pub mod wider;

use crate::error::{Error, Result};

/// Precision over recall, for one threshold after another, from the highest.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curve {
    pub recall: Vec<f64>,
    pub precision: Vec<f64>,
}

impl Curve {
    /// Returns the area under the curve, 0 to 1, where the precision at a recall is the best at this recall or a higher one.
    ///
    /// Source: VOCap.m of PASCAL VOC 2010 and later.
    pub fn average_precision(&self) -> f64 {
        let (mut area, mut best, mut right) = (0.0, 0.0f64, None);
        for (&recall, &precision) in self.recall.iter().zip(&self.precision).rev() {
            // The step from this recall to the next has the precision of the next, or of a later one.
            if let Some(right) = right {
                area += (right - recall) * best;
            }
            best = best.max(precision);
            right = Some(recall);
        }
        area + right.unwrap_or(0.0) * best
    }
}

/// Refuses scores that cannot be ordered, and boxes or other shapes that are not finite.
fn check(picture: usize, k: usize, score: f64, numbers: &[f64]) -> Result<()> {
    if !score.is_nan() && numbers.iter().all(|v| v.is_finite()) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "detection {k} of picture {picture}: expected a score and finite numbers, got {score} and {numbers:?}"
    )))
}

/// Orders scores from the highest; 0 equals -0. They have been checked not to be NaN.
fn descending(a: f64, b: f64) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_lies_under_the_best_precision_at_a_recall_or_higher() {
        let curve = |points: &[[f64; 2]]| Curve {
            recall: points.iter().map(|p| p[0]).collect(),
            precision: points.iter().map(|p| p[1]).collect(),
        };
        let area = |points: &[[f64; 2]]| curve(points).average_precision();
        assert_eq!(area(&[]), 0.0);
        assert_eq!(area(&[[0.5, 1.0]]), 0.5);
        // 1 up to 0.2, then 0.8 up to 0.6 although it was 0.5 at 0.4, then 0.25.
        let points = [[0.2, 1.0], [0.2, 0.5], [0.4, 0.5], [0.6, 0.8], [0.8, 0.25]];
        assert!((area(&points) - (0.2 + 0.4 * 0.8 + 0.2 * 0.25)).abs() < 1e-12);
        // A first false alarm lowers nothing if the precision is higher later.
        assert!((area(&[[0.0, 0.0], [1.0, 0.9]]) - 0.9).abs() < 1e-12);
    }
}
