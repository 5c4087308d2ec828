//! The canonical frame: a square in which eyes and mouth lie at fixed places.
//!
//! Places are fractions of the side. A picture's coordinates are in pixels, with (0, 0) in its top left corner, so that the
//! centre of pixel (i, j) is (j + ½, i + ½).
//! Source: the code released with Zhu et al. 2016 (zhusz/ECCV16-CBN): a window of 256 px, the least-squares similarity on eye
//! centres and mouth corners, bicubic. The eyes are 73.1 px apart there, 36.6 at 128, 4.57 at 16 ("5 px").

use crate::error::{Error, Result};
use crate::ops::resize::{Kernel, Resize};
use crate::vision::boxes::Bounds;
use crate::vision::image::resize_plane;
use crate::vision::models::cbn::shape::{Point, Similarity, anchor_points};

/// Landmarks of a face, in iBUG's order.
pub const LANDMARKS: usize = 68;

/// Groups of landmarks to align: the six of the left and the right eye (as seen in the picture), the left and the right corner
/// of the mouth.
pub const ANCHORS: [&[usize]; 4] = [&[36, 37, 38, 39, 40, 41], &[42, 43, 44, 45, 46, 47], &[48], &[54]];

/// Where the centres of the [`ANCHORS`] lie in the frame.
pub const PLACES: [Point; 4] = [[0.25 / 0.7, 0.2 / 0.7], [0.45 / 0.7, 0.2 / 0.7], [0.3743, 0.6], [0.6257, 0.6]];

/// The landmark on the tip of the nose.
pub const NOSE: usize = 30;

/// Where the frame lies in a box from forehead to chin: how far its centre is below the box's, and its side, both as parts of
/// the box's size, the geometric mean of its sides. These are medians over the faces that the detector found of 870 training
/// faces of HELEN; `lineament eval hallucinate --frames` measures them again.
const BELOW: f64 = 0.1553;
const SIDE: f64 = 1.3583;

/// For each landmark, the one that takes its place in the mirror image.
#[rustfmt::skip]
pub const MIRROR: [usize; LANDMARKS] = [
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, // jaw
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17, // brows
    27, 28, 29, 30, 35, 34, 33, 32, 31, // nose
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, // eyes
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65, // mouth
];

/// A face is at least `LEAST_PX` wide, and at most `MOST_SIDES` times the longer side of its picture. Anything else is a mistake,
/// such as fractions in place of pixels or another picture's landmarks.
const LEAST_PX: f64 = 1.0;
const MOST_SIDES: f64 = 4.0;

/// What is wrong with a frame: how a face in it is turned, scaled and shifted about the frame's centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Apart {
    /// In radians, from x to y.
    pub angle: f64,
    /// Natural logarithm.
    pub scale: f64,
    /// To the right and down, as fractions of the side.
    pub shift: Point,
}

/// A face's place in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Maps the picture's pixels to fractions of the frame's side.
    pub to_frame: Similarity,
}

impl Frame {
    /// Returns the frame of a face with 68 landmarks in pixels: eyes and mouth lie as near as possible to [`PLACES`].
    ///
    /// # Errors
    /// There are not 68 landmarks; eyes and mouth coincide or are not finite.
    pub fn of_points(points: &[Point]) -> Result<Self> {
        if points.len() != LANDMARKS {
            return Err(Error::Usage(format!("a face has {LANDMARKS} landmarks, got {}", points.len())));
        }
        let anchors = anchor_points(points, &ANCHORS)?;
        let to_frame = Similarity::least_squares(&anchors, &PLACES).map_err(|_| {
            Error::Usage("eyes and mouth lie in one place or at no finite one; check the landmarks".into())
        })?;
        Ok(Self { to_frame })
    }

    /// Returns [`Frame::of_points`] of a face in a picture of `[height, width]` pixels.
    ///
    /// # Errors
    /// Those of [`Frame::of_points`] and [`Frame::check`]; most landmarks lie outside the picture.
    pub fn of_face(points: &[Point], [height, width]: [usize; 2]) -> Result<Self> {
        let frame = Self::of_points(points)?;
        let is_inside = |p: &&Point| (0.0..=width as f64).contains(&p[0]) && (0.0..=height as f64).contains(&p[1]);
        let inside = points.iter().filter(is_inside).count();
        if 2 * inside < points.len() {
            return Err(Error::Usage(format!(
                "only {inside} of {LANDMARKS} landmarks lie in the picture of {width} × {height} pixels; give them in \
                 pixels, with (0, 0) in its top left corner"
            )));
        }
        frame.check([height, width])?;
        Ok(frame)
    }

    /// Refuses a face that is far too small or large for a picture of `[height, width]` pixels.
    ///
    /// # Errors
    /// It is; the error gives its width in pixels.
    pub fn check(&self, [height, width]: [usize; 2]) -> Result<()> {
        let (side, most) = (1.0 / self.to_frame.scale(), MOST_SIDES * height.max(width) as f64);
        if (LEAST_PX..=most).contains(&side) {
            return Ok(());
        }
        let side = if (0.01..1e6).contains(&side) { format!("{side:.2}") } else { format!("{side:.0e}") };
        Err(Error::Usage(format!(
            "the face would be {side} pixels wide, expected {LEAST_PX} to {most} in a picture of {width} × {height}; give its \
             place in pixels of the picture"
        )))
    }

    /// Returns the frame that is a square of the picture: left, top, side, in pixels.
    ///
    /// # Errors
    /// The side is not above 0; a number is not finite.
    pub fn of_square([left, top]: Point, side: f64) -> Result<Self> {
        if !(side > 0.0 && side.is_finite() && left.is_finite() && top.is_finite()) {
            return Err(Error::Usage(format!(
                "a face's box must have a side above 0 px, got {side} px at {left},{top}"
            )));
        }
        Ok(Self { to_frame: Similarity { a: 1.0 / side, b: 0.0, shift: [-left / side, -top / side] } })
    }

    /// Returns the upright frame of a face in the box that a detector gives, forehead to chin.
    ///
    /// # Errors
    /// A side of the box is not above 0; a number is not finite.
    pub fn of_box(bounds: &Bounds) -> Result<Self> {
        let ([x, y], size) = (bounds.centre(), bounds.area().sqrt());
        let side = SIDE * size;
        Self::of_square([x - 0.5 * side, y + BELOW * size - 0.5 * side], side)
    }

    /// Returns how far a face in this frame lies from where it does in its true frame.
    pub fn apart(&self, truth: &Self) -> Apart {
        let by = self.to_frame.after(&truth.to_frame.inverse());
        let [x, y] = by.apply([0.5; 2]);
        Apart { angle: by.b.atan2(by.a), scale: by.scale().ln(), shift: [x - 0.5, y - 0.5] }
    }

    /// Converts points of the picture to fractions of the frame.
    pub fn points(&self, points: &[Point]) -> Vec<Point> {
        points.iter().map(|&p| self.to_frame.apply(p)).collect()
    }

    /// Samples the plane `[height, width]` of a picture in this frame, `side` × `side`. If the frame has fewer pixels than the
    /// picture, the plane is first shrunk with antialiasing; it is then sampled bicubically. Beyond the picture, its border
    /// pixels repeat.
    ///
    /// # Errors
    /// The plane has another size; a pixel of the frame is larger or smaller than the picture's by a factor of 2¹⁶.
    pub fn crop(&self, plane: &[f32], [height, width]: [usize; 2], side: usize) -> Result<Vec<f32>> {
        let to_picture = self.to_frame.inverse();
        let step = to_picture.scale() / side as f64;
        if !(1.0 / 65_536.0..65_536.0).contains(&step) {
            return Err(Error::Usage(format!(
                "a pixel of the face would be {step:e} px of the picture; check its points"
            )));
        }
        if height.checked_mul(width) != Some(plane.len()) || plane.is_empty() {
            return Err(Error::Usage(format!(
                "a plane of {height}x{width} needs as many numbers, got {}",
                plane.len()
            )));
        }
        let size = [height, width].map(|s| ((s as f64 / step).round() as usize).clamp(1, s));
        let op = Resize::to(Kernel::Bicubic, [height, width], size)
            .map_err(|source| Error::Shape { node: "crop".into(), source })?;
        let shrunk = if step > 1.0 { resize_plane(plane, [height, width], &op)? } else { plane.to_vec() };
        let [h, w] = if step > 1.0 { size } else { [height, width] };
        let ratio = [w as f64 / width as f64, h as f64 / height as f64];
        let mut out = Vec::with_capacity(side * side);
        for i in 0..side {
            for j in 0..side {
                let place = [(j as f64 + 0.5) / side as f64, (i as f64 + 0.5) / side as f64];
                let [x, y] = to_picture.apply(place);
                out.push(bicubic(&shrunk, [h, w], [x * ratio[0] - 0.5, y * ratio[1] - 0.5]));
            }
        }
        Ok(out)
    }
}

/// Samples the plane at a place in pixel indices (column, row).
fn bicubic(plane: &[f32], [h, w]: [usize; 2], [x, y]: Point) -> f32 {
    let taps = |v: f64, size: usize| {
        let v = v.clamp(-4.0, size as f64 + 4.0);
        let base = v.floor() as i64 - 1;
        std::array::from_fn::<(usize, f64), 4, _>(|k| {
            let index = base + k as i64;
            (index.clamp(0, size as i64 - 1) as usize, Kernel::Bicubic.at(v - index as f64))
        })
    };
    let (rows, columns) = (taps(y, h), taps(x, w));
    let mut sum = 0.0;
    for (i, a) in rows {
        for (j, b) in columns {
            sum += a * b * f64::from(plane[i * w + j]);
        }
    }
    sum as f32
}

/// Returns the landmarks of the mirror image, in the frame.
pub fn mirrored_points(points: &[Point]) -> Vec<Point> {
    MIRROR.iter().filter_map(|&l| points.get(l)).map(|p| [1.0 - p[0], p[1]]).collect()
}

/// Returns the mirror image of a plane of `width` columns.
pub fn mirrored_plane(plane: &[f32], width: usize) -> Vec<f32> {
    plane.chunks_exact(width).flat_map(|row| row.iter().rev().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_undoes_itself() {
        for (l, &m) in MIRROR.iter().enumerate() {
            assert_eq!(MIRROR[m], l);
        }
        let points: Vec<Point> = (0..LANDMARKS).map(|k| [0.01 * k as f64, 0.3]).collect();
        let twice = mirrored_points(&mirrored_points(&points));
        assert!(points.iter().zip(twice).all(|(a, b)| (a[0] - b[0]).abs() < 1e-12));
        assert_eq!(mirrored_plane(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    }

    #[test]
    fn the_whole_picture_as_a_frame_is_the_picture() {
        let plane: Vec<f32> = (0..64).map(|k| ((k * 37) % 61) as f32 / 61.0).collect();
        let same = Frame::of_square([0.0, 0.0], 8.0).unwrap().crop(&plane, [8, 8], 8).unwrap();
        assert!(plane.iter().zip(same).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn eyes_and_mouth_come_to_their_places() {
        // A face whose anchors are a turned, enlarged image of the places.
        let turn = Similarity { a: 150.0, b: 40.0, shift: [12.0, 9.0] };
        let mut points = vec![[0.0, 0.0]; LANDMARKS];
        for (group, place) in ANCHORS.iter().zip(PLACES) {
            group.iter().for_each(|&l| points[l] = turn.apply(place));
        }
        let frame = Frame::of_points(&points).unwrap();
        for (group, place) in ANCHORS.iter().zip(PLACES) {
            let [x, y] = frame.to_frame.apply(points[group[0]]);
            assert!((x - place[0]).abs() < 1e-9 && (y - place[1]).abs() < 1e-9);
        }
        // A ramp along x is a ramp in the frame too, but tilted.
        let plane: Vec<f32> = (0..300 * 300).map(|q| (q % 300) as f32 / 300.0).collect();
        let crop = frame.crop(&plane, [300, 300], 64).unwrap();
        let at = |i: usize, j: usize| turn.apply([(j as f64 + 0.5) / 64.0, (i as f64 + 0.5) / 64.0])[0];
        for (i, j) in [(20, 20), (30, 50), (40, 31)] {
            assert!((f64::from(crop[i * 64 + j]) - (at(i, j) - 0.5) / 300.0).abs() < 1e-4);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Frame::of_points(&[[1.0, 1.0]; LANDMARKS]).is_err());
        assert!(Frame::of_points(&[[1.0, 1.0]; 5]).unwrap_err().to_string().contains("68 landmarks, got 5"));
        assert!(Frame::of_square([0.0, 0.0], 0.0).is_err());
        let spread = |scale: f64, shift: f64| -> Vec<Point> {
            (0..LANDMARKS).map(|l| [shift + scale * (l % 9) as f64, shift + scale * (l / 9) as f64]).collect()
        };
        let of_face = |scale, shift| Frame::of_face(&spread(scale, shift), [60, 80]).map_err(|e| e.to_string());
        assert!(of_face(6.0, 4.0).is_ok());
        for (scale, shift, message) in [
            (6.0, 500.0, "only 0 of 68 landmarks lie in the picture of 80 × 60 pixels"),
            (6.0, -47.0, "of 68 landmarks lie in the picture"),
            (0.0, 30.0, "eyes and mouth lie in one place"),
            (1e-3, 30.0, "pixels wide, expected 1 to 320 in a picture of 80 × 60"),
            (1e-300, 30.0, "eyes and mouth lie in one place"),
            (1e300, 30.0, "eyes and mouth lie in one place or at no finite one"),
        ] {
            let error = of_face(scale, shift).unwrap_err();
            assert!(error.contains(message), "{scale} {shift}: {error}");
        }
        for side in [1e30, 1e300, 0.5] {
            assert!(Frame::of_square([0.0, 0.0], side).unwrap().check([60, 80]).is_err(), "{side}");
        }
        let frame = Frame::of_square([0.0, 0.0], 1e9).unwrap();
        assert!(frame.crop(&[0.0; 4], [2, 2], 8).is_err());
    }

    #[test]
    fn a_moved_frame_lies_apart_by_its_movement() {
        let truth = Frame::of_square([12.0, 7.0], 40.0).unwrap();
        // A face that is turned by 0.2, larger by a tenth and 0.05 of the side too far right about the frame's centre.
        let (a, b) = (1.1 * 0.2f64.cos(), 1.1 * 0.2f64.sin());
        let by = Similarity { a, b, shift: [0.5 - 0.5 * a + 0.5 * b + 0.05, 0.5 - 0.5 * b - 0.5 * a] };
        let apart = Frame { to_frame: by.after(&truth.to_frame) }.apart(&truth);
        let Apart { angle, scale, shift: [x, y] } = apart;
        assert!((angle - 0.2).abs() < 1e-9 && (scale - 1.1f64.ln()).abs() < 1e-9, "{apart:?}");
        assert!((x - 0.05).abs() < 1e-9 && y.abs() < 1e-9, "{apart:?}");
    }

    #[test]
    fn the_frame_of_a_box_moves_and_grows_with_it() {
        let of = |x, y, width, height| Frame::of_box(&Bounds::new(x, y, width, height)).unwrap();
        let frame = of(10.0, 20.0, 30.0, 40.0);
        let corner = |frame: &Frame, place| frame.to_frame.inverse().apply(place);
        let ([left, top], [right, bottom]) = (corner(&frame, [0.0; 2]), corner(&frame, [1.0; 2]));
        assert!((left + right - 50.0).abs() < 1e-9, "the centre of the box");
        assert!((right - left - 1.3583 * 1200f64.sqrt()).abs() < 1e-9 && (bottom - top - (right - left)).abs() < 1e-9);
        // Eyes lie above the middle of a box from forehead to chin, so the frame's centre lies below it.
        assert!((40.0..50.0).contains(&(0.5 * (top + bottom))), "{top} {bottom}");
        let twice = of(20.0, 40.0, 60.0, 80.0);
        let [x, y] = corner(&twice, [0.3, 0.8]);
        let [u, v] = corner(&frame, [0.3, 0.8]);
        assert!((x - 2.0 * u).abs() < 1e-9 && (y - 2.0 * v).abs() < 1e-9);
        assert!(Frame::of_box(&Bounds::new(0.0, 0.0, 0.0, 4.0)).is_err());
        assert!(Frame::of_box(&Bounds::new(f64::NAN, 0.0, 3.0, 4.0)).is_err());
    }
}
