//! Patches of photographs: a part at a place, of a size and an angle, by itself or before a part of another one.

use crate::vision::boxes::Bounds;
use crate::vision::image::Picture;

/// A grey picture at full size, and halved again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Photo {
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq)]
struct Level {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// A level is not halved if a side would become shorter than this.
const SHORTEST: usize = 4;

impl Photo {
    /// Creates a photo from `width` × `height` grey levels, row by row.
    ///
    /// # Panics
    /// There are more or fewer pixels, or none.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert!(width > 0 && width.checked_mul(height) == Some(pixels.len()) && height > 0, "one grey level per pixel");
        let mut levels = vec![Level { width, height, pixels }];
        while let Some(last) = levels.last().filter(|last| last.width.min(last.height) >= 2 * SHORTEST) {
            let [width, height] = [last.width / 2, last.height / 2];
            let mean = |k: usize| {
                let first = k / width * 2 * last.width + k % width * 2;
                let four = [first, first + 1, first + last.width, first + last.width + 1];
                (four.iter().map(|&at| u32::from(last.pixels[at])).sum::<u32>() + 2) / 4
            };
            let pixels = (0..width * height).map(|k| mean(k) as u8).collect();
            levels.push(Level { width, height, pixels });
        }
        Self { levels }
    }

    /// Creates a photo from the luminance of a picture.
    pub fn of(picture: &Picture) -> Self {
        Self::new(picture.width(), picture.height(), picture.luma_u8())
    }

    pub fn width(&self) -> usize {
        self.levels[0].width
    }

    pub fn height(&self) -> usize {
        self.levels[0].height
    }

    /// Returns the width, height and pixels of the photo halved so many times, each pixel the mean of 2 × 2; `None` if it is too small.
    pub fn halved(&self, times: usize) -> Option<(usize, usize, &[u8])> {
        self.levels.get(times).map(|level| (level.width, level.height, &level.pixels[..]))
    }

    /// Returns the whole picture.
    pub fn whole(&self) -> Bounds {
        Bounds::new(0.0, 0.0, self.width() as f64, self.height() as f64)
    }
}

impl Level {
    /// Returns the grey level at a point in pixels of the level, between the nearest four pixels; beyond the border, that of the border.
    fn at(&self, [x, y]: [f64; 2]) -> f32 {
        let axis = |v: f64, size: usize| {
            let v = (v - 0.5).clamp(0.0, (size - 1) as f64);
            let first = v as usize;
            (first, (first + 1).min(size - 1), (v - first as f64) as f32)
        };
        let ((left, right, x), (top, bottom, y)) = (axis(x, self.width), axis(y, self.height));
        let grey = |row: usize, column: usize| f32::from(self.pixels[row * self.width + column]);
        let between = |a: f32, b: f32, part: f32| a + part * (b - a);
        between(between(grey(top, left), grey(top, right), x), between(grey(bottom, left), grey(bottom, right), x), y)
    }
}

/// How a photo lies in a patch: mirrored or not, then turned, resized, and moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// A point of the photo, in its pixels, and where it lies in the patch, in those of the patch.
    pub of: [f64; 2],
    pub at: [f64; 2],
    /// Pixels of the patch per pixel of the photo.
    pub scale: f64,
    /// In radians, clockwise.
    pub angle: f64,
    pub is_mirrored: bool,
}

impl View {
    /// Returns what point of the photo lies at a point of the patch.
    pub fn source(&self, [u, v]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = (self.angle.sin() / self.scale, self.angle.cos() / self.scale);
        let [u, v] = [u - self.at[0], v - self.at[1]];
        let [x, y] = [cos * u + sin * v, cos * v - sin * u];
        [self.of[0] + if self.is_mirrored { -x } else { x }, self.of[1] + y]
    }

    /// Returns where a point of the photo lies in the patch.
    pub fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [x, y] = [x - self.of[0], y - self.of[1]];
        let x = if self.is_mirrored { -x } else { x };
        let (sin, cos) = (self.angle.sin() * self.scale, self.angle.cos() * self.scale);
        [self.at[0] + cos * x - sin * y, self.at[1] + sin * x + cos * y]
    }

    /// Returns a box of the photo in the patch: its centre is moved, its sides are resized, but not turned.
    pub fn bounds(&self, bounds: &Bounds) -> Bounds {
        let ([x, y], [width, height]) =
            (self.place(bounds.centre()), [bounds.width, bounds.height].map(|v| v * self.scale));
        Bounds::new(x - width / 2.0, y - height / 2.0, width, height)
    }

    /// Returns the view that shows `to`, which has the proportions of `from`, where this one shows `from`.
    pub fn exchanged(&self, from: &Bounds, to: &Bounds) -> Self {
        let ratio = to.width / from.width;
        let of = [to.x + (self.of[0] - from.x) * ratio, to.y + (self.of[1] - from.y) * ratio];
        Self { of, scale: self.scale / ratio, ..*self }
    }
}

/// What is drawn: a part of a photo, through a view.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'p> {
    pub photo: &'p Photo,
    /// In pixels of the photo.
    pub part: Bounds,
    pub view: View,
    /// Factor on grey levels 0 to 1, and what is added.
    pub light: [f32; 2],
}

impl Layer<'_> {
    /// Draws over `patch`, `side` × `side` grey levels 0 to 1. From the edges of the part inwards, over `feather` pixels of the patch, it
    /// becomes opaque; with 0 it covers the patch, and its edge is repeated.
    pub fn draw(&self, side: usize, feather: f64, patch: &mut [f32]) {
        let halvings = (1.0 / self.view.scale).log2().round().max(0.0) as usize;
        let level = halvings.min(self.photo.levels.len() - 1);
        let (shrunk, level) = ((1_u64 << level) as f64, &self.photo.levels[level]);
        let [left, top, right, bottom] = self.part.sides();
        for (k, out) in patch.iter_mut().enumerate() {
            let [x, y] = self.view.source([(k % side) as f64 + 0.5, (k / side) as f64 + 0.5]);
            let inside = (x - left).min(right - x).min(y - top).min(bottom - y) * self.view.scale;
            let opacity = if feather > 0.0 { (inside / feather).clamp(0.0, 1.0) } else { 1.0 };
            if opacity > 0.0 {
                let opacity = (opacity * opacity * (3.0 - 2.0 * opacity)) as f32;
                let [x, y] = [x.clamp(left, right), y.clamp(top, bottom)];
                let grey = self.light[0] * level.at([x / shrunk, y / shrunk]) / 255.0 + self.light[1];
                *out += opacity * (grey - *out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 × 48 pixels, black but for a white rectangle.
    fn photo(white: [usize; 4]) -> Photo {
        let [left, top, right, bottom] = white;
        let is_white = |k: usize| (left..right).contains(&(k % 64)) && (top..bottom).contains(&(k / 64));
        Photo::new(64, 48, (0..64 * 48).map(|k| if is_white(k) { 255 } else { 0 }).collect())
    }

    fn drawn(photo: &Photo, view: View) -> Vec<f32> {
        let mut patch = vec![0.5; 40 * 40];
        Layer { photo, part: photo.whole(), view, light: [1.0, 0.0] }.draw(40, 0.0, &mut patch);
        patch
    }

    /// Returns the centre and the area of what is white, weighted by grey levels.
    fn white(patch: &[f32]) -> [f64; 3] {
        let sum = |f: &dyn Fn(usize) -> f64| patch.iter().enumerate().map(|(k, &v)| f64::from(v) * f(k)).sum::<f64>();
        let area = sum(&|_| 1.0);
        [sum(&|k| (k % 40) as f64 + 0.5) / area, sum(&|k| (k / 40) as f64 + 0.5) / area, area]
    }

    #[test]
    fn what_is_drawn_lies_where_the_view_says() {
        let photo = photo([20, 10, 30, 16]);
        let bounds = Bounds::new(20.0, 10.0, 10.0, 6.0);
        for (scale, angle, is_mirrored) in
            [(1.0, 0.0, false), (2.0, 0.0, true), (0.5, 0.3, false), (1.3, -0.6, true), (0.4, 1.5, true)]
        {
            let view = View { of: [27.0, 12.0], at: [18.0, 21.0], scale, angle, is_mirrored };
            let [x, y, area] = white(&drawn(&photo, view));
            let expected = view.bounds(&bounds);
            let [u, v] = expected.centre();
            assert!((x - u).abs() < 0.2 && (y - v).abs() < 0.2, "{view:?}: {x}, {y}, not {u}, {v}");
            assert!((area / expected.area() - 1.0).abs() < 0.05, "{view:?}: {area}, not {}", expected.area());
            let there = view.source(view.place([3.0, 40.0]));
            assert!((there[0] - 3.0).abs() < 1e-9 && (there[1] - 40.0).abs() < 1e-9, "{there:?}");
        }
        // A turn by 90° clockwise brings what lies to the right of a point below it.
        let view = View {
            of: [20.0, 13.0],
            at: [20.0, 20.0],
            scale: 1.0,
            angle: std::f64::consts::FRAC_PI_2,
            is_mirrored: false,
        };
        let [x, y, _] = white(&drawn(&photo, view));
        assert!((x - 20.0).abs() < 0.1 && (y - 25.0).abs() < 0.1, "{x}, {y}");
    }

    #[test]
    fn fine_detail_is_averaged_and_not_aliased() {
        let stripes = Photo::new(64, 64, (0..64 * 64).map(|k| if k % 2 == 0 { 255 } else { 0 }).collect());
        let view = View { of: [32.0, 32.0], at: [20.0, 20.0], scale: 0.25, angle: 0.0, is_mirrored: false };
        let patch = drawn(&stripes, view);
        assert!(patch.iter().all(|v| (v - 0.5).abs() < 0.02), "grey, not stripes");
    }

    #[test]
    fn a_part_fades_into_what_is_behind_it() {
        let photo = photo([0, 0, 64, 48]);
        let view = View { of: [32.0, 24.0], at: [20.0, 20.0], scale: 0.5, angle: 0.0, is_mirrored: false };
        let part = Bounds::new(12.0, 4.0, 40.0, 40.0);
        let mut patch = vec![0.25; 40 * 40];
        Layer { photo: &photo, part, view, light: [0.5, 0.1] }.draw(40, 4.0, &mut patch);
        // The part reaches from 10 to 30 in the patch; 4 pixels inside it is opaque.
        let at = |column: usize| patch[20 * 40 + column];
        assert!((0..10).chain(30..40).all(|k| at(k) == 0.25));
        assert!((14..26).all(|k| (at(k) - 0.6).abs() < 1e-6));
        assert!((10..13).all(|k| at(k) < at(k + 1)) && (26..29).all(|k| at(k) > at(k + 1)));
        // Another part of twice the size, seen twice as small, has the same edges.
        let large = Photo::new(128, 96, vec![255; 128 * 96]);
        let to = Bounds::new(24.0, 8.0, 80.0, 80.0);
        let mut other = vec![0.25; 40 * 40];
        Layer { photo: &large, part: to, view: view.exchanged(&part, &to), light: [0.5, 0.1] }
            .draw(40, 4.0, &mut other);
        assert!(patch.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
