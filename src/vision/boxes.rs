//! Boxes of detected objects: how much two overlap, and which to keep of many around one object.
//!
//! Coordinates are pixels of the picture: x to the right, y down, and (0, 0) is the picture's corner, so that the first pixel reaches
//! from 0 to 1. All functions are of continuous boxes; protocols that count pixels have overlaps of
//! their own.

use super::image::{Picture, Rect};
use crate::error::{Error, Result};

/// A box with sides along the axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Left side.
    pub x: f64,
    /// Upper side.
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Bounds {
    pub fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { x, y, width, height }
    }

    /// Creates a box from its sides: left, top, right and bottom.
    pub fn of_sides([left, top, right, bottom]: [f64; 4]) -> Self {
        Self { x: left, y: top, width: right - left, height: bottom - top }
    }

    /// Returns left, top, right and bottom.
    pub fn sides(&self) -> [f64; 4] {
        [self.x, self.y, self.x + self.width, self.y + self.height]
    }

    /// Returns a box that is given as parts of this one's sides: left, top, width and height.
    pub fn part(&self, [x, y, width, height]: [f64; 4]) -> Self {
        Self::new(self.x + x * self.width, self.y + y * self.height, width * self.width, height * self.height)
    }

    /// Returns the centre, (x, y).
    pub fn centre(&self) -> [f64; 2] {
        [self.x + self.width / 2.0, self.y + self.height / 2.0]
    }

    /// Returns whether a place (x, y) lies in the box or on its border.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let [left, top, right, bottom] = self.sides();
        (left..=right).contains(&x) && (top..=bottom).contains(&y)
    }

    /// Returns the area, 0 if a side is not above 0.
    pub fn area(&self) -> f64 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Returns whether all four numbers are finite.
    pub fn is_finite(&self) -> bool {
        [self.x, self.y, self.width, self.height].iter().all(|v| v.is_finite())
    }

    /// Returns the area that both boxes cover; 0 if a number is not finite.
    pub fn common_area(&self, other: &Self) -> f64 {
        // The smaller of NaN and a number is the number.
        if !self.is_finite() || !other.is_finite() {
            return 0.0;
        }
        let ([left, top, right, bottom], [l, t, r, b]) = (self.sides(), other.sides());
        (right.min(r) - left.max(l)).max(0.0) * (bottom.min(b) - top.max(t)).max(0.0)
    }

    /// Returns the intersection over the union: the common area as a part of the area that the boxes cover together, 0 to 1. It is 0 if
    /// both are empty or a number is not finite.
    pub fn iou(&self, other: &Self) -> f64 {
        let common = self.common_area(other);
        part(common, self.area() + other.area() - common)
    }

    /// Returns the intersection over the smaller: the common area as a part of the smaller box, 0 to 1. A box within another has 1, no
    /// matter how much larger the other is. It is 0 if either is empty or a number is not finite.
    pub fn overlap_of_smaller(&self, other: &Self) -> f64 {
        part(self.common_area(other), self.area().min(other.area()))
    }

    /// Returns the part within a picture of `width` and `height`, or `None` if there is none.
    pub fn clipped(&self, width: usize, height: usize) -> Option<Self> {
        let [left, top, right, bottom] = self.sides();
        let sides = [left.max(0.0), top.max(0.0), right.min(width as f64), bottom.min(height as f64)];
        let clipped = Self::of_sides(sides);
        (self.is_finite() && clipped.width > 0.0 && clipped.height > 0.0).then_some(clipped)
    }

    /// Returns the box of the same centre with sides `factor` times as long.
    pub fn grown(&self, factor: f64) -> Self {
        let ([x, y], [width, height]) = (self.centre(), [factor * self.width, factor * self.height]);
        Self { x: x - width / 2.0, y: y - height / 2.0, width, height }
    }

    /// Returns the pixels that the box touches within `picture`, or `None` if it touches none.
    pub fn pixels(&self, picture: &Picture) -> Option<Rect> {
        let [left, top, right, bottom] = self.clipped(picture.width(), picture.height())?.sides();
        // Within the picture, so the conversions neither saturate nor wrap.
        let ([left, right], [top, bottom]) =
            ([left, right.ceil()].map(|v| v as usize), [top, bottom.ceil()].map(|v| v as usize));
        (right > left && bottom > top).then_some(Rect { top, left, height: bottom - top, width: right - left })
    }
}

fn part(common: f64, all: f64) -> f64 {
    // False for NaN.
    if all > 0.0 && all.is_finite() { common / all } else { 0.0 }
}

/// An object that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    pub bounds: Bounds,
    /// The higher, the more certain; of most networks 0 to 1.
    pub score: f64,
    /// Landmarks, (x, y), in the order of the network that found them; empty if it finds none.
    pub points: Vec<[f64; 2]>,
}

/// How the overlap of two boxes is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// [`Bounds::iou`].
    #[default]
    Union,
    /// [`Bounds::overlap_of_smaller`]: also removes boxes within others.
    Smaller,
}

impl Overlap {
    pub fn of(self, a: &Bounds, b: &Bounds) -> f64 {
        match self {
            Self::Union => a.iou(b),
            Self::Smaller => a.overlap_of_smaller(b),
        }
    }
}

/// Returns the indices of the detections to keep, the most certain first: one is dropped if it overlaps one that is kept by more than
/// `most`. Of equal scores, the first comes first.
///
/// # Errors
/// A score is NaN; a box is not finite.
pub fn suppress(detections: &[Detection], most: f64, overlap: Overlap) -> Result<Vec<usize>> {
    for (k, Detection { bounds, score, .. }) in detections.iter().enumerate() {
        if score.is_nan() || !bounds.is_finite() {
            let Bounds { x, y, width, height } = bounds;
            return Err(Error::Usage(format!(
                "detection {k}: expected a score and a finite box, got {score} at {x}, {y}, {width}, {height}; check the network that \
                 found it and how its outputs are read"
            )));
        }
    }
    let mut order: Vec<usize> = (0..detections.len()).collect();
    // Stable; -0 equals 0, unlike in a total order.
    order.sort_by(|a, b| detections[*b].score.partial_cmp(&detections[*a].score).unwrap_or(std::cmp::Ordering::Equal));
    let mut kept: Vec<usize> = Vec::new();
    for k in order {
        if kept.iter().all(|other| overlap.of(&detections[*other].bounds, &detections[k].bounds) <= most) {
            kept.push(k);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::Channels;

    fn bounds(x: f64, y: f64, width: f64, height: f64) -> Bounds {
        Bounds::new(x, y, width, height)
    }

    fn all(list: &[(Bounds, f64)]) -> Vec<Detection> {
        list.iter().map(|&(bounds, score)| Detection { bounds, score, points: vec![] }).collect()
    }

    #[test]
    fn overlaps_are_parts_of_continuous_areas() {
        let (a, b) = (bounds(0.0, 0.0, 4.0, 2.0), bounds(3.0, 1.0, 2.0, 3.0));
        assert_eq!(a.common_area(&b), 1.0);
        // 1 of 8 + 6 - 1; with pixels that count from 0 to 4 inclusive it would be 4 of 15 + 12 - 4.
        assert_eq!((a.iou(&b), b.iou(&a)), (1.0 / 13.0, 1.0 / 13.0));
        assert_eq!(a.overlap_of_smaller(&b), 1.0 / 6.0);
        assert_eq!((a.iou(&a), a.overlap_of_smaller(&bounds(1.0, 0.5, 1.0, 1.0))), (1.0, 1.0));
        // Boxes that only touch, empty ones, inside out ones, and ones of no number.
        for other in [bounds(4.0, 0.0, 1.0, 2.0), bounds(1.0, 1.0, 0.0, 1.0), bounds(3.0, 1.0, -2.0, -1.0)] {
            assert_eq!((a.iou(&other), a.overlap_of_smaller(&other)), (0.0, 0.0), "{other:?}");
        }
        for wrong in [f64::NAN, f64::INFINITY] {
            for other in [bounds(wrong, 0.0, 1.0, 1.0), bounds(0.0, 0.0, wrong, 1.0)] {
                assert_eq!((a.iou(&other), other.iou(&a), other.iou(&other)), (0.0, 0.0, 0.0), "{other:?}");
            }
        }
        assert_eq!(bounds(0.0, 0.0, 0.0, 0.0).iou(&bounds(0.0, 0.0, 0.0, 0.0)), 0.0);
        assert_eq!(Bounds::of_sides([1.0, 2.0, 4.0, 8.0]), bounds(1.0, 2.0, 3.0, 6.0));
        assert_eq!(bounds(1.0, 2.0, 3.0, 6.0).part([-0.5, 0.25, 2.0, 0.5]), bounds(-0.5, 3.5, 6.0, 3.0));
        assert_eq!(bounds(1.0, 2.0, 3.0, 6.0).grown(2.0), bounds(-0.5, -1.0, 6.0, 12.0));
    }

    #[test]
    fn boxes_end_at_the_pictures_edge() {
        assert_eq!(bounds(-1.0, 2.0, 4.0, 9.0).clipped(10, 5), Some(bounds(0.0, 2.0, 3.0, 3.0)));
        assert_eq!(bounds(1.0, 1.0, 2.0, 2.0).clipped(10, 5), Some(bounds(1.0, 1.0, 2.0, 2.0)));
        for outside in [bounds(-3.0, 0.0, 3.0, 3.0), bounds(10.0, 0.0, 3.0, 3.0), bounds(2.0, 2.0, 0.0, 1.0)] {
            assert_eq!(outside.clipped(10, 5), None);
        }
        assert_eq!(bounds(f64::NAN, 0.0, 3.0, 3.0).clipped(10, 5), None);
        let picture = Picture::new("test", 10, 5, Channels::Grey, 8).unwrap();
        assert_eq!(bounds(0.9, 1.0, 1.2, 100.0).pixels(&picture), Some(Rect { top: 1, left: 0, height: 4, width: 3 }));
        assert_eq!(bounds(-5.0, 0.0, 5.0, 5.0).pixels(&picture), None);
        assert_eq!(bounds(-1e300, -1e300, 2e300, 2e300).pixels(&picture), Some(picture.whole()));
    }

    #[test]
    fn the_most_certain_of_overlapping_boxes_stay() {
        // 1 and 2 overlap by 1/3; 3 lies within 0.
        let list = all(&[
            (bounds(20.0, 0.0, 10.0, 10.0), 0.5),
            (bounds(0.0, 0.0, 10.0, 10.0), 0.8),
            (bounds(5.0, 0.0, 10.0, 10.0), 0.9),
            (bounds(21.0, 1.0, 2.0, 2.0), 0.7),
        ]);
        assert_eq!(suppress(&list, 0.3, Overlap::Union).unwrap(), [2, 3, 0]);
        // An overlap that equals the limit is kept.
        assert_eq!(suppress(&list, 1.0 / 3.0, Overlap::Union).unwrap(), [2, 1, 3, 0]);
        assert_eq!(suppress(&list, 0.9, Overlap::Smaller).unwrap(), [2, 1, 3]);
        // Greedy: 1 removes 2, which therefore does not remove 3.
        let chain = all(&[
            (bounds(0.0, 0.0, 10.0, 10.0), 0.1),
            (bounds(4.0, 0.0, 10.0, 10.0), 0.9),
            (bounds(8.0, 0.0, 10.0, 10.0), 0.3),
            (bounds(12.0, 0.0, 10.0, 10.0), 0.2),
        ]);
        assert_eq!(suppress(&chain, 0.5, Overlap::Union).unwrap(), [1, 2, 3, 0]);
        assert_eq!(suppress(&chain, 0.4, Overlap::Union).unwrap(), [1, 3]);
        // Of equal scores the first, and 0 equals -0.
        let equal = all(&[
            (bounds(0.0, 0.0, 9.0, 9.0), -0.0),
            (bounds(1.0, 0.0, 9.0, 9.0), 0.0),
            (bounds(0.0, 1.0, 9.0, 9.0), 0.0),
        ]);
        assert_eq!(suppress(&equal, 0.5, Overlap::Union).unwrap(), [0]);
        assert_eq!(suppress(&[], 0.5, Overlap::Union).unwrap(), [] as [usize; 0]);
    }

    #[test]
    fn what_cannot_be_ordered_or_measured_is_refused() {
        let wrong = [
            (bounds(0.0, 0.0, 1.0, 1.0), f64::NAN),
            (bounds(f64::NAN, 0.0, 1.0, 1.0), 0.5),
            (bounds(0.0, 0.0, f64::INFINITY, 1.0), 0.5),
        ];
        for one in wrong {
            let list = all(&[(bounds(0.0, 0.0, 1.0, 1.0), 0.5), one]);
            assert!(suppress(&list, 0.5, Overlap::Union).unwrap_err().to_string().starts_with("detection 1: "));
        }
    }
}
