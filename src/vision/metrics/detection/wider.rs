//! The evaluation of WIDER FACE: average precision on its easy, medium and hard faces.
//!
//! Each subset keeps some faces of each picture and ignores the others; hard has the medium ones, and medium the easy ones. Scores are
//! brought to 0..1 over the whole submission. In a picture, detections come in the order of their scores; each belongs to the face that it
//! overlaps most. If that overlap is at least 0.5, a face that is ignored drops the detection from all counts; a kept one is found, and
//! what comes later for it is a false alarm, like everything with a lower overlap. Precision and recall are taken at 1,000 thresholds, over
//! all pictures together. A picture without faces or without detections adds nothing but its kept faces.
//!
//! Overlaps count whole pixels with both ends: a box `x, y, w, h` covers (w + 1) · (h + 1).
//!
//! Source: the evaluation in MATLAB of Yang et al. 2016, in the port by wondervictor.

use super::{Curve, check, descending};
use crate::error::{Error, Result};
use crate::vision::boxes::{Bounds, Detection};

/// How many thresholds there are.
const THRESHOLDS: usize = 1000;
/// From this overlap on, a detection belongs to a face.
const LEAST: f64 = 0.5;

/// The names of the subsets, in their order.
pub const SUBSETS: [&str; 3] = ["easy", "medium", "hard"];

/// A picture with its faces and what was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Picture {
    pub faces: Vec<Bounds>,
    /// The faces that each of the [`SUBSETS`] keeps: whether, for each face.
    pub kept: [Vec<bool>; 3],
    /// Detections, in any order.
    pub found: Vec<Detection>,
}

/// The result on a subset.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The number of kept faces.
    pub faces: usize,
    /// Precision and recall at each threshold.
    pub curve: Curve,
    /// The area under the curve, 0 to 1.
    pub average_precision: f64,
}

/// Returns the results on the easy, medium and hard faces.
///
/// # Errors
/// A subset has no face; a picture's flags are not as many as its faces; a score is NaN; a box is not finite.
pub fn measure(pictures: &[Picture]) -> Result<[Measured; 3]> {
    let [mut low, mut high] = [f64::INFINITY, f64::NEG_INFINITY];
    for (k, picture) in pictures.iter().enumerate() {
        let faces = picture.faces.len();
        if picture.kept.iter().any(|kept| kept.len() != faces) || !picture.faces.iter().all(Bounds::is_finite) {
            return Err(Error::Usage(format!(
                "picture {k}: expected finite boxes, and a flag for each of {faces} faces"
            )));
        }
        for (i, Detection { bounds: b, score, .. }) in picture.found.iter().enumerate() {
            check(k, i, *score, &[b.x, b.y, b.width, b.height, *score])?;
            [low, high] = [low.min(*score), high.max(*score)];
        }
    }
    // Equal scores are all the highest.
    let scaled = |score: f64| if high > low { (score - low) / (high - low) } else { 1.0 };
    let of = |subset: usize| {
        let faces: usize = pictures.iter().flat_map(|picture| &picture.kept[subset]).filter(|kept| **kept).count();
        if faces == 0 {
            let name = SUBSETS[subset];
            return Err(Error::Usage(format!(
                "wider: no face is {name}; check that the ground truth is of these pictures"
            )));
        }
        // Detections that count, and faces that are found, at each threshold.
        let (mut counted, mut matched) = (vec![0u64; THRESHOLDS], vec![0u64; THRESHOLDS]);
        for picture in pictures.iter().filter(|picture| !picture.faces.is_empty() && !picture.found.is_empty()) {
            picture.count(&picture.kept[subset], scaled, &mut counted, &mut matched);
        }
        let part = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let curve = Curve {
            recall: matched.iter().map(|m| part(*m, faces as u64)).collect(),
            precision: matched.iter().zip(&counted).map(|(m, c)| part(*m, *c)).collect(),
        };
        Ok(Measured { faces, average_precision: curve.average_precision(), curve })
    };
    Ok([of(0)?, of(1)?, of(2)?])
}

impl Picture {
    /// Adds this picture's counts at each threshold.
    fn count(&self, kept: &[bool], scaled: impl Fn(f64) -> f64, counted: &mut [u64], matched: &mut [u64]) {
        let mut found: Vec<&Detection> = self.found.iter().collect();
        found.sort_by(|a, b| descending(a.score, b.score));
        let mut is_found = vec![false; kept.len()];
        // After each detection: its score, and the counts so far.
        let (mut counts, mut matches) = (0, 0);
        let mut after: Vec<(f64, u64, u64)> = Vec::with_capacity(found.len());
        for detection in found {
            // Of equal overlaps the first.
            let mut best = (0.0, 0);
            for (k, face) in self.faces.iter().enumerate() {
                let overlap = overlap(&detection.bounds, face);
                if overlap > best.0 {
                    best = (overlap, k);
                }
            }
            let (overlap, face) = best;
            let is_matched = overlap >= LEAST;
            if !is_matched || kept[face] {
                counts += 1;
            }
            if is_matched && kept[face] && !is_found[face] {
                is_found[face] = true;
                matches += 1;
            }
            after.push((scaled(detection.score), counts, matches));
        }
        for t in 0..THRESHOLDS {
            let threshold = 1.0 - (t + 1) as f64 / THRESHOLDS as f64;
            let number = after.partition_point(|(score, ..)| *score >= threshold);
            if let Some((_, counts, matches)) = number.checked_sub(1).and_then(|k| after.get(k)) {
                counted[t] += counts;
                matched[t] += matches;
            }
        }
    }
}

/// Returns the IoU of two boxes of whole pixels.
fn overlap(a: &Bounds, b: &Bounds) -> f64 {
    let whole = |b: &Bounds| Bounds { width: b.width + 1.0, height: b.height + 1.0, ..*b };
    whole(a).iou(&whole(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(scores: &[f64]) -> Picture {
        let face = Bounds::new(10.0, 10.0, 20.0, 20.0);
        let found = |score: &f64| Detection { bounds: face, score: *score, points: vec![] };
        Picture {
            faces: vec![face],
            kept: [vec![true], vec![true], vec![true]],
            found: scores.iter().map(found).collect(),
        }
    }

    #[test]
    fn one_face_that_is_found_first_is_perfect() {
        for scores in [&[0.9][..], &[0.9, 0.1], &[-3.0, -9.0], &[7.0, 7.0]] {
            let [easy, ..] = measure(&[picture(scores)]).unwrap();
            let expected = if scores == [7.0, 7.0] { 0.5 } else { 1.0 };
            assert_eq!((easy.faces, easy.average_precision), (1, expected), "{scores:?}");
        }
        // The false alarm is more certain than the face of another picture.
        let stray = Detection { bounds: Bounds::new(100.0, 0.0, 9.0, 9.0), score: 0.95, points: vec![] };
        let with_stray = Picture { found: vec![stray], ..picture(&[]) };
        assert_eq!(measure(&[picture(&[0.9]), with_stray.clone()]).unwrap()[0].average_precision, 0.25);
        // Of pictures without faces, detections do not count.
        let without = Picture { faces: vec![], kept: Default::default(), ..with_stray };
        assert_eq!(measure(&[picture(&[0.9]), without]).unwrap()[0].average_precision, 1.0);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert!(measure(&[picture(&[f64::NAN])]).is_err() && measure(&[picture(&[f64::INFINITY])]).is_err());
        assert!(measure(&[Picture { kept: Default::default(), ..picture(&[0.5]) }]).is_err());
        let none = Picture { kept: [vec![true], vec![true], vec![false]], ..picture(&[0.5]) };
        assert!(measure(&[none]).unwrap_err().to_string().contains("no face is hard"));
        assert!(measure(&[]).is_err());
    }
}
