//! Draws what was found.

use crate::error::Result;
use crate::vision::boxes::Detection;
use crate::vision::image::{Channel, Channels, Picture, Samples};

const BOX: [u8; 3] = [0, 220, 0];
const POINT: [u8; 3] = [230, 0, 0];

/// Returns the picture in RGB, 8 bit, with boxes in green and landmarks in red, as far as they lie in it.
///
/// # Errors
/// The picture is too large.
pub fn mark(picture: &Picture, found: &[Detection]) -> Result<Picture> {
    let [height, width] = [picture.height(), picture.width()];
    let mut pixels = vec![0; 3 * height * width];
    for (k, channel) in [Channel::Red, Channel::Green, Channel::Blue].into_iter().enumerate() {
        let plane = picture.plane(channel, picture.whole())?;
        pixels.iter_mut().skip(k).step_by(3).zip(plane).for_each(|(to, from)| *to = (255.0 * from + 0.5) as u8);
    }
    let thick = 1 + height.max(width) as i64 / 400;
    // Fills the pixels from a corner to the opposite one. A conversion to an integer saturates, and no sum with a saturated one overflows.
    let mut fill = |[left, top]: [i64; 2], [right, bottom]: [i64; 2], color: [u8; 3]| {
        for y in top.max(0)..bottom.min(height as i64) {
            for x in left.max(0)..right.min(width as i64) {
                pixels[3 * (y as usize * width + x as usize)..][..3].copy_from_slice(&color);
            }
        }
    };
    let whole = |v: f64| v.round().clamp(-1e9, 1e9) as i64;
    for Detection { bounds, points, .. } in found {
        let [left, top, right, bottom] = bounds.sides().map(whole);
        for ([left, top], [right, bottom]) in [
            ([left, top], [right, top]),
            ([left, bottom], [right, bottom]),
            ([left, top], [left, bottom]),
            ([right, top], [right, bottom]),
        ] {
            fill([left, top], [right + thick, bottom + thick], BOX);
        }
        // Small enough for small faces. A conversion to an integer saturates.
        let reach = thick.min((bounds.width.min(bounds.height) / 30.0) as i64);
        for point in points {
            let [x, y] = point.map(whole);
            fill([x - reach, y - reach], [x + reach + 1, y + reach + 1], POINT);
        }
    }
    Picture::from_samples(picture.name(), width, height, Channels::Rgb, Samples::U8(pixels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::boxes::Bounds;

    #[test]
    fn boxes_are_frames_and_points_are_squares() {
        let picture = Picture::new("grey", 40, 30, Channels::Grey, 16).unwrap();
        let detection = |bounds, points| Detection { bounds, score: 1.0, points };
        let found = [
            detection(Bounds::new(5.0, 6.0, 20.0, 10.0), vec![[15.2, 10.9]]),
            detection(Bounds::new(0.0, 0.0, 40.0, 50.0), vec![[33.0, 22.0]]),
            // Far outside, and beyond all numbers.
            detection(Bounds::new(-1e300, 0.0, 2e300, f64::MAX), vec![[f64::MAX, f64::MIN]]),
        ];
        let marked = mark(&picture, &found).unwrap();
        let Samples::U8(samples) = marked.samples() else { panic!() };
        let at = |x: usize, y: usize| [0, 1, 2].map(|k| samples[3 * (40 * y + x) + k]);
        assert_eq!([at(5, 6), at(25, 16), at(12, 6), at(5, 12), at(25, 7)], [BOX; 5]);
        assert_eq!([at(15, 11), at(32, 21), at(34, 23)], [POINT; 3]);
        assert_eq!([at(4, 6), at(27, 17), at(12, 8), at(16, 11), at(31, 22)], [[0; 3]; 5]);
        // The second one's upper side crosses the picture.
        assert_eq!(at(0, 0), BOX);
    }
}
