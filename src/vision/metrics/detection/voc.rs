//! The evaluation of PASCAL VOC for one class: precision, recall and average precision; for AFW and CMU+MIT.
//!
//! Detections of all pictures come in the order of their scores; each belongs to the face of its picture that it overlaps most. If that
//! overlap is at least the limit, a face that is to be ignored drops the detection from all counts; another one is found, and what comes
//! later for it is a false alarm, like everything with a lower overlap. Overlaps are of continuous boxes. Of equal scores, the first
//! picture's come first, in the order in which they are given.
//!
//! Source: VOCevaldet.m and VOCap.m of PASCAL VOC 2012, whose boxes count whole pixels; those of AFW are not whole.

use super::{Curve, check, descending};
use crate::error::{Error, Result};
use crate::vision::boxes::{Bounds, Detection};

/// A face to find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    pub bounds: Bounds,
    /// Neither finding it nor missing it counts.
    pub is_ignored: bool,
}

/// A picture with its faces and what was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Picture {
    pub faces: Vec<Face>,
    /// Detections, in any order.
    pub found: Vec<Detection>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The number of faces that are not ignored.
    pub faces: usize,
    /// How many of these were found.
    pub found: usize,
    /// How many detections are false alarms.
    pub false_positives: usize,
    /// Precision and recall after each detection that counts.
    pub curve: Curve,
    /// The scores of these detections.
    pub thresholds: Vec<f64>,
    /// The area under the curve, 0 to 1.
    pub average_precision: f64,
}

impl Measured {
    /// Returns the share of the faces that all detections together find, 0 to 1.
    pub fn recall(&self) -> f64 {
        self.curve.recall.last().copied().unwrap_or(0.0)
    }

    /// Returns the share of the faces that are found before there are more than `most` false positives, 0 to 1.
    pub fn recall_at(&self, most: usize) -> f64 {
        let wrong = |k: usize| k + 1 - (self.curve.recall[k] * self.faces as f64).round() as usize;
        (0..self.thresholds.len()).take_while(|k| wrong(*k) <= most).last().map_or(0.0, |k| self.curve.recall[k])
    }

    /// Returns the share of all detections that are faces, 0 to 1; 0 if there are none.
    pub fn precision(&self) -> f64 {
        self.curve.precision.last().copied().unwrap_or(0.0)
    }
}

/// Measures detections; they belong to a face from an overlap of `iou` on.
///
/// # Errors
/// There is no face, or all are ignored; `iou` is not within 0..1; a score is NaN; a box is not finite.
pub fn measure(pictures: &[Picture], iou: f64) -> Result<Measured> {
    if !(iou > 0.0 && iou <= 1.0) {
        return Err(Error::Usage(format!("the least overlap must be above 0 and at most 1, such as 0.5, got {iou}")));
    }
    let faces = pictures.iter().flat_map(|picture| &picture.faces);
    let mut all: Vec<(usize, &Detection)> = Vec::new();
    for (k, picture) in pictures.iter().enumerate() {
        for (i, detection) in picture.found.iter().enumerate() {
            let b = &detection.bounds;
            check(k, i, detection.score, &[b.x, b.y, b.width, b.height])?;
            all.push((k, detection));
        }
    }
    if !faces.clone().all(|face| face.bounds.is_finite()) {
        return Err(Error::Usage("voc: expected faces with finite boxes".into()));
    }
    let count = faces.filter(|face| !face.is_ignored).count();
    if count == 0 {
        return Err(Error::Usage(
            "voc: the pictures have no faces that count, so that there is nothing to find".into(),
        ));
    }
    all.sort_by(|a, b| descending(a.1.score, b.1.score));
    let mut is_found: Vec<Vec<bool>> = pictures.iter().map(|picture| vec![false; picture.faces.len()]).collect();
    let (mut found, mut false_positives) = (0, 0);
    let (mut curve, mut thresholds) = (Curve::default(), Vec::new());
    for (k, detection) in all {
        let mut best = (0.0, None);
        for (i, face) in pictures[k].faces.iter().enumerate() {
            let overlap = detection.bounds.iou(&face.bounds);
            if overlap > best.0 {
                best = (overlap, Some(i));
            }
        }
        match best.1.filter(|_| best.0 >= iou) {
            Some(i) if pictures[k].faces[i].is_ignored => continue,
            Some(i) if !is_found[k][i] => {
                is_found[k][i] = true;
                found += 1;
            }
            _ => false_positives += 1,
        }
        curve.recall.push(f64::from(found) / count as f64);
        curve.precision.push(f64::from(found) / f64::from(found + false_positives));
        thresholds.push(detection.score);
    }
    let average_precision = curve.average_precision();
    let [found, false_positives] = [found, false_positives].map(|n: u32| n as usize);
    Ok(Measured { faces: count, found, false_positives, curve, thresholds, average_precision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_neither_found_nor_a_false_alarm() {
        let face = |x, is_ignored| Face { bounds: Bounds::new(x, 0.0, 10.0, 10.0), is_ignored };
        let at = |x, score| Detection { bounds: Bounds::new(x, 0.0, 10.0, 10.0), score, points: vec![] };
        let picture = Picture {
            faces: vec![face(0.0, false), face(20.0, true), face(40.0, false)],
            // The second one of the first face, two of the ignored one, and one of nothing.
            found: vec![at(1.0, 0.3), at(0.0, 0.9), at(20.0, 0.8), at(21.0, 0.7), at(70.0, 0.6)],
        };
        let got = measure(std::slice::from_ref(&picture), 0.5).unwrap();
        assert_eq!((got.faces, got.found, got.false_positives), (2, 1, 2));
        assert_eq!(got.curve, Curve { recall: vec![0.5; 3], precision: vec![1.0, 0.5, 1.0 / 3.0] });
        // One face is found before anything else, and never the other one.
        assert_eq!([0, 1, 5].map(|most| got.recall_at(most)), [0.5; 3]);
        assert_eq!((got.thresholds, got.average_precision), (vec![0.9, 0.6, 0.3], 0.5));
        // An overlap of exactly the limit is enough: 5 of 15.
        let shifted = Picture { faces: vec![face(0.0, false)], found: vec![at(5.0, 0.5)] };
        assert_eq!(measure(std::slice::from_ref(&shifted), 1.0 / 3.0).unwrap().found, 1);
        assert_eq!(measure(&[shifted], 0.34).unwrap().found, 0);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let bounds = Bounds::new(0.0, 0.0, 10.0, 10.0);
        let picture = |score, is_ignored| Picture {
            faces: vec![Face { bounds, is_ignored }],
            found: vec![Detection { bounds, score, points: vec![] }],
        };
        assert!(measure(&[picture(f64::NAN, false)], 0.5).is_err());
        assert!(measure(&[picture(0.5, true)], 0.5).unwrap_err().to_string().contains("no faces that count"));
        for iou in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(measure(&[picture(0.5, false)], iou).is_err());
        }
        let nothing = Picture { found: vec![], ..picture(0.5, false) };
        let none = measure(&[nothing], 0.5).unwrap();
        assert_eq!((none.recall(), none.precision(), none.average_precision), (0.0, 0.0, 0.0));
    }

    #[test]
    fn recall_is_that_before_one_false_alarm_too_many() {
        let bounds = |k: usize| Bounds::new(20.0 * k as f64, 0.0, 10.0, 10.0);
        let faces = (0..4).map(|k| Face { bounds: bounds(k), is_ignored: false }).collect();
        // Wrong, right, wrong, right, right, wrong.
        let places = [9, 0, 8, 1, 2, 7];
        let found = places.iter().enumerate();
        let found = found.map(|(k, at)| Detection { bounds: bounds(*at), score: 1.0 - 0.1 * k as f64, points: vec![] });
        let got = measure(&[Picture { faces, found: found.collect() }], 0.5).unwrap();
        assert_eq!([0, 1, 2, 3].map(|most| got.recall_at(most)), [0.0, 0.25, 0.75, 0.75]);
        let one = vec![Face { bounds: bounds(0), is_ignored: false }];
        let none = measure(&[Picture { faces: one, found: Vec::new() }], 0.5).unwrap();
        assert_eq!(none.recall_at(10), 0.0);
    }
}
