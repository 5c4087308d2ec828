//! The evaluation of FDDB: discrete and continuous ROC.
//!
//! Faces are ellipses. An overlap is the IoU of two masks, as they are drawn in the picture. At a threshold, the detections of a picture with
//! at least this score are paired with its faces, one to one, so that the sum of the overlaps is the largest. A pair counts 1 in the discrete
//! score if its overlap is above 0.5, and its overlap in the continuous score, even if that is below 0.5. False positives are the
//! detections without a pair above 0.5, in both. Counts are added over all pictures, and over all folds.
//!
//! Source: Jain and Learned-Miller 2010, and their evaluator in C++.

use super::assignment::Assignment;
use super::mask::{MOST, Mask};
use super::{check, descending};
use crate::error::{Error, Result};
use crate::vision::boxes::Bounds;

/// A face of FDDB, in pixels and radians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ellipse {
    /// Radius along the major axis.
    pub major: f64,
    pub minor: f64,
    /// Angle of the major axis, clockwise from the x axis as y points down.
    pub angle: f64,
    /// Centre, (x, y).
    pub centre: [f64; 2],
}

impl Ellipse {
    /// Returns the smallest box around the ellipse.
    pub fn bounds(&self) -> Bounds {
        let (sin, cos) = self.angle.sin_cos();
        let [w, h] = [(self.major * cos).hypot(self.minor * sin), (self.major * sin).hypot(self.minor * cos)];
        Bounds::new(self.centre[0] - w, self.centre[1] - h, 2.0 * w, 2.0 * h)
    }

    fn numbers(&self) -> [f64; 5] {
        [self.major, self.minor, self.angle, self.centre[0], self.centre[1]]
    }
}

/// The shape of a detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Region {
    Rectangle(Bounds),
    Ellipse(Ellipse),
}

impl Region {
    fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Rectangle(b) => vec![b.x, b.y, b.width, b.height],
            Self::Ellipse(e) => e.numbers().to_vec(),
        }
    }

    fn mask(&self, size: [usize; 2]) -> Mask {
        match self {
            Self::Rectangle(b) => Mask::rectangle(size, [b.x, b.y, b.width, b.height]),
            Self::Ellipse(e) => Mask::ellipse(size, e.numbers()),
        }
    }
}

/// Returns how much a detection overlaps a face in a picture of `size`, height and width: the common pixels of their masks as a part of all,
/// 0 to 1.
///
/// # Errors
/// A number is not finite, or beyond 131,072 pixels.
pub fn overlap(size: [usize; 2], face: &Ellipse, found: &Region) -> Result<f64> {
    Picture { size, faces: vec![*face], found: vec![(*found, 0.0)] }.check(0)?;
    Ok(Region::Ellipse(*face).mask(size).iou(&found.mask(size)))
}

/// A picture with its faces and what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Height and width: masks end at the picture's edge.
    pub size: [usize; 2],
    pub faces: Vec<Ellipse>,
    /// Detections with their scores, in any order.
    pub found: Vec<(Region, f64)>,
}

/// The counts at a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Detections with at least this score count.
    pub threshold: f64,
    pub false_positives: u64,
    /// The share of the faces that is found, 0 to 1.
    pub discrete: f64,
    /// The sum of the overlaps as a part of the number of faces, 0 to 1.
    pub continuous: f64,
}

/// Both ROC curves: a point for each score that occurs, from the highest.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    /// The number of faces.
    pub faces: usize,
    pub points: Vec<Point>,
}

impl Roc {
    /// Returns the discrete and the continuous recall at a number of false positives: each the highest at any threshold that has at most so
    /// many, and 0 if none has.
    pub fn recall(&self, false_positives: u64) -> [f64; 2] {
        let within = self.points.iter().filter(|point| point.false_positives <= false_positives);
        within.fold([0.0, 0.0], |[d, c], point| [d.max(point.discrete), c.max(point.continuous)])
    }
}

/// What a picture adds when the threshold falls to a score.
struct Change {
    score: f64,
    kept: i64,
    discrete: i64,
    continuous: f64,
}

/// Returns both ROC curves over all pictures.
///
/// # Errors
/// There is no face; a score is NaN; a number is not finite, or beyond 131,072 pixels.
pub fn roc(pictures: &[Picture]) -> Result<Roc> {
    let mut changes: Vec<Change> = Vec::new();
    for (k, picture) in pictures.iter().enumerate() {
        picture.check(k)?;
        picture.changes(&mut changes);
    }
    let faces: usize = pictures.iter().map(|picture| picture.faces.len()).sum();
    if faces == 0 {
        return Err(Error::Usage("fddb: the pictures have no faces, so that there is nothing to find".into()));
    }
    changes.sort_by(|a, b| descending(a.score, b.score));
    let (mut kept, mut discrete, mut continuous) = (0, 0, 0.0);
    let mut points = Vec::new();
    for equal in changes.chunk_by(|a, b| a.score == b.score) {
        for change in equal {
            kept += change.kept;
            discrete += change.discrete;
            continuous += change.continuous;
        }
        points.push(Point {
            threshold: equal[0].score,
            false_positives: (kept - discrete).max(0) as u64,
            discrete: discrete as f64 / faces as f64,
            continuous: continuous / faces as f64,
        });
    }
    Ok(Roc { faces, points })
}

impl Picture {
    fn check(&self, picture: usize) -> Result<()> {
        for (k, (region, score)) in self.found.iter().enumerate() {
            check(picture, k, *score, &region.numbers())?;
        }
        let found = self.found.iter().map(|(region, _)| region.numbers());
        let faces = self.faces.iter().map(|face| face.numbers().to_vec());
        match found.chain(faces).find(|numbers| !numbers.iter().all(|v| v.abs() <= MOST)) {
            Some(numbers) => {
                let problem = format!("picture {picture}: expected numbers of at most {MOST} pixels, got {numbers:?}");
                Err(Error::Usage(problem))
            }
            None => Ok(()),
        }
    }

    /// Adds the changes at each score.
    fn changes(&self, changes: &mut Vec<Change>) {
        let faces: Vec<Mask> = self.faces.iter().map(|face| Mask::ellipse(self.size, face.numbers())).collect();
        let mut found: Vec<&(Region, f64)> = self.found.iter().collect();
        found.sort_by(|a, b| descending(a.1, b.1));
        let mut assignment = Assignment::new(faces.len());
        let (mut discrete, mut continuous) = (0, 0.0);
        for equal in found.chunk_by(|a, b| a.1 == b.1) {
            for (region, _) in equal {
                let mask = region.mask(self.size);
                assignment.add(faces.iter().map(|face| face.iou(&mask)).collect());
            }
            let new = assignment.matched().filter(|overlap| *overlap > 0.5).count() as i64;
            let sum: f64 = assignment.matched().sum();
            changes.push(Change {
                score: equal[0].1,
                kept: equal.len() as i64,
                discrete: new - discrete,
                continuous: sum - continuous,
            });
            (discrete, continuous) = (new, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipse_has_its_box() {
        let ellipse = Ellipse { major: 20.0, minor: 10.0, angle: std::f64::consts::FRAC_PI_2, centre: [50.0, 60.0] };
        let [left, top, right, bottom] = ellipse.bounds().sides();
        for (got, expected) in [left, top, right, bottom].into_iter().zip([40.0, 40.0, 60.0, 80.0]) {
            assert!((got - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let face = Ellipse { major: 20.0, minor: 10.0, angle: 1.0, centre: [50.0, 60.0] };
        let rectangle = |x| Region::Rectangle(Bounds::new(x, 0.0, 10.0, 10.0));
        let picture = |found| Picture { size: [100, 100], faces: vec![face], found };
        assert!(roc(&[picture(vec![])]).unwrap().points.is_empty());
        for found in [vec![(rectangle(0.0), f64::NAN)], vec![(rectangle(f64::NAN), 1.0)], vec![(rectangle(2e5), 1.0)]] {
            assert!(roc(&[picture(found)]).is_err());
        }
        let huge = Picture { faces: vec![Ellipse { major: 1e9, ..face }], ..picture(vec![]) };
        assert!(roc(&[huge]).unwrap_err().to_string().contains("131072"));
        assert!(roc(&[Picture { faces: vec![], ..picture(vec![]) }]).is_err());
    }
}
