//! Examples for the networks of a band: patches with and without a face, and what the networks should say of them.
//!
//! The photographs of faces show little around them. Where a patch is larger than its photograph, a background fades in, and the seam
//! must not tell that there is a face. So half of the patches without a face have the same seam: a part of a background in the place,
//! of the size and with the fading of a photograph of a face. [`What`] says how a patch was made, so that results can be compared.

use super::photos::{Face, Photos};
use crate::rng::Rng;
use crate::vision::boxes::Bounds;
use crate::vision::models::bands::Band;
use crate::vision::patch::{Layer, Photo, View};
use std::f64::consts::LN_2;

/// How an example was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A face of the band in the middle.
    Face,
    /// A face that is off the middle, or of a size that other windows or bands find.
    Beside,
    /// A background.
    Background,
    /// A part of a background before another one, as faces are.
    Pasted,
    /// A window that a network took for a face.
    Hard,
}

/// A patch and what it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Luminance in −1 to 1, row by row.
    pub x: Vec<f32>,
    pub what: What,
    /// The face, in pixels of the patch, if it is in the middle.
    pub face: Option<Bounds>,
}

/// A window of a background that a network took for a face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mistake {
    /// Index in [`Photos::backgrounds`].
    pub background: usize,
    pub window: Bounds,
}

/// Shares of patches with a face in the middle, beside it, of a background, and pasted. If there are mistakes, half of the last two
/// shares are theirs.
const SHARES: [f64; 4] = [0.25, 0.2, 0.25, 0.3];

/// Largest angle of a face, in radians: the deviation of a normal distribution, which is cut off at two of them.
const ANGLE: f64 = 0.2;
/// Largest part of a photograph's edge that fades, as a part of the patch's side.
const FEATHER: [f64; 2] = [0.02, 0.15];
/// Smallest and largest factor on the contrast, and the largest brightness added, of a layer and of the patch.
const CONTRAST: [f64; 2] = [0.5, 1.3];
const BRIGHTNESS: f64 = 0.2;
/// Largest deviation of the noise of a pixel.
const NOISE: f64 = 0.03;
/// Least and largest height of a face in a window, and how far its middle is off the window's at most, as parts of the window's side. The
/// scale classes are up to 1.7 times as wide as the one before; half of a stride is up to a fifth of a window.
const SIZES: [f64; 2] = [0.65, 1.45];
const OFF_WINDOW: f64 = 0.25;
/// A face is beside the middle if it is off by at least this part of its height, or this many times smaller or larger than the band's, or
/// than those that windows are drawn around.
const OFF: f64 = 0.55;
const OTHER: f64 = 1.8;
const OTHER_IN_WINDOW: f64 = 1.3;

/// Draws square patches of photographs before others.
#[derive(Debug, Clone, Copy)]
pub struct Scenes<'p> {
    pub photos: &'p Photos,
    /// Of a patch, in pixels.
    pub side: usize,
}

impl Scenes<'_> {
    fn any(&self, rng: &mut Rng) -> &Photo {
        &self.photos.backgrounds[rng.below(self.photos.backgrounds.len())]
    }

    /// Draws a part of any background over all of the patch.
    fn background(&self, rng: &mut Rng, patch: &mut [f32]) {
        let photo = self.any(rng);
        let view = self.window(&self.square(photo, rng), rng);
        Layer { photo, part: photo.whole(), view, light: light(CONTRAST, BRIGHTNESS, rng) }.draw(self.side, 0.0, patch);
    }

    /// Draws a part of a photo before a background.
    fn paste(&self, photo: &Photo, part: Bounds, view: View, rng: &mut Rng, patch: &mut [f32]) {
        self.background(rng, patch);
        let feather = self.side as f64 * rng.uniform(FEATHER[0], FEATHER[1]);
        Layer { photo, part, view, light: light(CONTRAST, BRIGHTNESS, rng) }.draw(self.side, feather, patch);
    }

    /// Draws a face before a background, and returns its box in the patch.
    fn face(&self, face: &Face, view: View, rng: &mut Rng, patch: &mut [f32]) -> Bounds {
        self.paste(&face.photo, face.photo.whole(), view, rng, patch);
        view.bounds(&face.bounds)
    }

    /// Draws a face of one of these heights before a background, all of it in the patch, as networks take it, and its box in the patch.
    pub(super) fn face_anywhere(&self, face: &Face, [low, high]: [f64; 2], rng: &mut Rng) -> (Vec<f32>, Bounds) {
        let height = rng.log_uniform(low, high);
        let at = [0; 2].map(|_| rng.uniform(height / 2.0, self.side as f64 - height / 2.0));
        let mut patch = vec![0.0; self.side * self.side];
        let bounds = self.face(face, view(face, height, at, rng), rng, &mut patch);
        (Self::finished(&patch, rng), bounds)
    }

    /// Draws a square of a photo.
    fn square(&self, photo: &Photo, rng: &mut Rng) -> Bounds {
        let most = photo.width().min(photo.height()) as f64;
        let least = (0.5 * self.side as f64).min(0.4 * most);
        let window = rng.log_uniform(least, most);
        let corner = [photo.width(), photo.height()].map(|side| rng.unit() * (side as f64 - window));
        Bounds::new(corner[0], corner[1], window, window)
    }

    /// Returns the view that shows a square of a photo over all of the patch, mirrored or not.
    fn window(&self, window: &Bounds, rng: &mut Rng) -> View {
        let side = self.side as f64;
        let scale = side / window.width;
        View { of: window.centre(), at: [side / 2.0; 2], scale, angle: 0.0, is_mirrored: rng.below(2) == 0 }
    }

    /// Returns a patch of grey levels 0 to 1 as networks take it, brighter or darker, and with noise.
    fn finished(patch: &[f32], rng: &mut Rng) -> Vec<f32> {
        let ([contrast, brightness], noise) = (light(CONTRAST, BRIGHTNESS, rng), NOISE * rng.unit());
        let x = patch.iter().map(|v| {
            let v = contrast * v + brightness + (noise * rng.normal()) as f32;
            2.0 * v.clamp(0.0, 1.0) - 1.0
        });
        x.collect()
    }
}

/// Draws examples.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'p> {
    pub photos: &'p Photos,
    pub band: Band,
    pub mistakes: &'p [Mistake],
}

impl Examples<'_> {
    /// Draws a patch for the network that proposes windows: a face lies in the middle up to half of the distance to the next window.
    pub fn proposal(&self, rng: &mut Rng) -> Example {
        let (side, jitter) = (self.band.side as f64, self.band.stride as f64 / 2.0);
        let [low, high] = [self.band.classes[0], self.band.classes[3]];
        self.draw([low / OTHER, high * OTHER], rng, &mut |rng| {
            let height = rng.log_uniform(low, high);
            let at = [0; 2].map(|_| side / 2.0 + rng.uniform(-jitter, jitter));
            (height, at)
        })
    }

    /// Draws a window around a face for the network that judges, at the network's size: off by as much as windows of the first stage may
    /// be, and of its scale class or a neighbouring one.
    pub fn judgement(&self, rng: &mut Rng) -> Example {
        let side = self.band.side as f64;
        let [low, high] = SIZES.map(|size| size * side);
        self.draw([low / OTHER_IN_WINDOW, high * OTHER_IN_WINDOW], rng, &mut |rng| {
            let height = rng.log_uniform(low, high);
            let at = [0; 2].map(|_| side / 2.0 + side * rng.uniform(-OFF_WINDOW, OFF_WINDOW));
            (height, at)
        })
    }

    /// Draws a patch; `face` gives the height and place of a face in the middle. Faces beside it may also be smaller or larger than
    /// `others`.
    fn draw(&self, others: [f64; 2], rng: &mut Rng, face: &mut dyn FnMut(&mut Rng) -> (f64, [f64; 2])) -> Example {
        let (side, scenes) = (self.band.side, self.scenes());
        let mut patch = vec![0.0; side * side];
        let kind = rng.unit();
        let end = |k: usize| SHARES[..=k].iter().sum::<f64>();
        let is_mistake = !self.mistakes.is_empty() && rng.below(2) == 0;
        let (what, bounds) = if kind < end(1) {
            let source = &self.photos.faces[rng.below(self.photos.faces.len())];
            let (height, at) = face(rng);
            let is_face = kind < end(0);
            let view = view(source, height, at, rng);
            let view = if is_face { view } else { beside(view, height, others, rng) };
            let bounds = scenes.face(source, view, rng, &mut patch);
            if is_face { (What::Face, Some(bounds)) } else { (What::Beside, None) }
        } else if is_mistake {
            let mistake = self.mistakes[rng.below(self.mistakes.len())];
            let grown = mistake.window.grown((0.1 * rng.normal()).exp());
            let view = scenes.window(&grown, rng);
            let photo = &self.photos.backgrounds[mistake.background];
            Layer { photo, part: photo.whole(), view, light: light(CONTRAST, BRIGHTNESS, rng) }
                .draw(side, 0.0, &mut patch);
            (What::Hard, None)
        } else if kind < end(2) {
            scenes.background(rng, &mut patch);
            (What::Background, None)
        } else {
            let like = &self.photos.faces[rng.below(self.photos.faces.len())];
            let (height, at) = face(rng);
            let view = view(like, height, at, rng);
            let view = if rng.below(2) == 0 { beside(view, height, others, rng) } else { view };
            let photo = scenes.any(rng);
            let (from, part) = (like.photo.whole(), part_like(&like.photo.whole(), photo, rng));
            scenes.paste(photo, part, view.exchanged(&from, &part), rng, &mut patch);
            (What::Pasted, None)
        };
        Example { x: Scenes::finished(&patch, rng), what, face: bounds }
    }

    fn scenes(&self) -> Scenes<'_> {
        Scenes { photos: self.photos, side: self.band.side }
    }

    /// Draws a window of any background, as it would be shown if it were a mistake, and what it shows.
    pub fn window_of_any(&self, rng: &mut Rng) -> (Mistake, Vec<f32>) {
        let background = rng.below(self.photos.backgrounds.len());
        let photo = &self.photos.backgrounds[background];
        let window = self.scenes().square(photo, rng);
        let view = View { is_mirrored: false, ..self.scenes().window(&window, rng) };
        let mut patch = vec![0.0; self.band.side * self.band.side];
        Layer { photo, part: photo.whole(), view, light: [1.0, 0.0] }.draw(self.band.side, 0.0, &mut patch);
        patch.iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
        (Mistake { background, window }, patch)
    }
}

/// Returns the view in which a face has this height and place.
pub(super) fn view(face: &Face, height: f64, at: [f64; 2], rng: &mut Rng) -> View {
    let angle = ANGLE * rng.normal().clamp(-2.0, 2.0);
    View { of: face.bounds.centre(), at, scale: height / face.bounds.height, angle, is_mirrored: rng.below(2) == 0 }
}

/// Moves a face off the middle, or shrinks or enlarges it to at most or at least these heights, up to twice as far.
fn beside(view: View, height: f64, [small, large]: [f64; 2], rng: &mut Rng) -> View {
    match rng.below(3) {
        0 => {
            let far = height * rng.uniform(OFF, 2.0 * OFF);
            let turn = rng.uniform(0.0, std::f64::consts::TAU);
            let at = [view.at[0] + far * turn.cos(), view.at[1] + far * turn.sin()];
            View { at, ..view }
        }
        1 => {
            let wanted = large * (LN_2 * rng.unit()).exp();
            View { scale: view.scale * wanted / height, ..view }
        }
        _ => {
            let wanted = small / (LN_2 * rng.unit()).exp();
            View { scale: view.scale * wanted / height, ..view }
        }
    }
}

/// Returns a part of `photo` of the proportions of `like`.
fn part_like(like: &Bounds, photo: &Photo, rng: &mut Rng) -> Bounds {
    let most = (photo.width() as f64 / like.width).min(photo.height() as f64 / like.height);
    let ratio = most * rng.uniform(0.4, 1.0);
    let [width, height] = [like.width * ratio, like.height * ratio];
    let [x, y] = [photo.width() as f64 - width, photo.height() as f64 - height].map(|room| rng.unit() * room.max(0.0));
    Bounds::new(x, y, width, height)
}

/// Draws a factor on grey levels in a range, and what is added, `brightness` at most beside what keeps the middle.
pub(super) fn light([low, high]: [f64; 2], brightness: f64, rng: &mut Rng) -> [f32; 2] {
    let contrast = rng.uniform(low, high);
    [contrast, 0.5 * (1.0 - contrast) + rng.uniform(-brightness, brightness)].map(|v| v as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::models::bands::BANDS;

    /// Faces are white discs in black pictures, backgrounds are grey.
    fn photos() -> Photos {
        let is_white = |k: usize| ((k % 80) as f64 - 39.5).hypot((k / 80) as f64 - 49.5) < 20.0;
        let pixels = (0..80 * 100).map(|k| if is_white(k) { 255 } else { 0 }).collect();
        let face = Face {
            photo: Photo::new(80, 100, pixels),
            bounds: Bounds::new(20.0, 30.0, 40.0, 40.0),
            labels: Vec::new(),
        };
        let backgrounds = vec![Photo::new(200, 150, vec![128; 200 * 150])];
        let (attributes, sources) = (Vec::new(), Vec::new());
        Photos { faces: vec![face], attributes, backgrounds, sources, fingerprint: String::new() }
    }

    #[test]
    fn faces_lie_in_the_middle_and_nowhere_else() {
        let photos = photos();
        for band in BANDS.iter().take(2) {
            let examples = Examples { photos: &photos, band: *band, mistakes: &[] };
            let mut rng = Rng::new(1);
            let mut counts = std::collections::BTreeMap::new();
            for _ in 0..400 {
                let example = examples.proposal(&mut rng);
                assert_eq!(example.x.len(), band.side * band.side);
                assert!(example.x.iter().all(|v| (-1.0..=1.0).contains(v)));
                *counts.entry(format!("{:?}", example.what)).or_insert(0) += 1;
                assert_eq!(example.face.is_some(), example.what == What::Face);
                let Some(face) = example.face else { continue };
                assert!(band.class(face.height).is_some(), "{face:?}");
                let far = face.centre().map(|v| (v - band.side as f64 / 2.0).abs());
                assert!(far.iter().all(|far| *far <= band.stride as f64 / 2.0), "{face:?}");
                // The disc is brighter than what surrounds it.
                let mean = |inside: bool| {
                    let [x, y] = face.centre();
                    let radius = |k: usize| ((k % band.side) as f64 + 0.5 - x).hypot((k / band.side) as f64 + 0.5 - y);
                    let ring = if inside { 0.0..0.4 } else { 0.6..0.8 };
                    let at = (0..band.side * band.side).filter(|&k| ring.contains(&(radius(k) / face.height)));
                    let values: Vec<f32> = at.map(|k| example.x[k]).collect();
                    (!values.is_empty()).then(|| values.iter().sum::<f32>() / values.len() as f32)
                };
                if let (Some(inside), Some(around)) = (mean(true), mean(false)) {
                    assert!(inside > around + 0.2, "{face:?}: {inside} {around}");
                }
            }
            for (what, share) in [("Face", 100), ("Beside", 80), ("Background", 100), ("Pasted", 120)] {
                assert!((share - 40..=share + 40).contains(&counts[what]), "{what}: {}", counts[what]);
            }
        }
    }

    #[test]
    fn windows_around_faces_overlap_them() {
        let photos = photos();
        let examples = Examples { photos: &photos, band: BANDS[1], mistakes: &[] };
        let (mut rng, mut worst, mut shares) = (Rng::new(2), 1.0_f64, 0.0);
        let side = BANDS[1].side as f64;
        let mut count = 0;
        for face in (0..600).filter_map(|_| examples.judgement(&mut rng).face) {
            let iou = face.iou(&Bounds::new(0.0, 0.0, side, side));
            (worst, shares, count) = (worst.min(iou), shares + iou, count + 1);
        }
        assert!(
            count > 100 && worst > 0.2 && shares / f64::from(count) > 0.5,
            "{worst} {} {count}",
            shares / f64::from(count)
        );
    }

    #[test]
    fn mistakes_are_shown_again() {
        let mut photos = photos();
        // Only the window of the mistake is white.
        let is_white = |k: usize| (40..100).contains(&(k % 200)) && (30..90).contains(&(k / 200));
        photos.backgrounds.push(Photo::new(
            200,
            150,
            (0..200 * 150).map(|k| if is_white(k) { 250 } else { 0 }).collect(),
        ));
        let mistakes = [Mistake { background: 1, window: Bounds::new(40.0, 30.0, 60.0, 60.0) }];
        let examples = Examples { photos: &photos, band: BANDS[0], mistakes: &mistakes };
        let mut rng = Rng::new(3);
        let hard: Vec<Example> =
            (0..400).map(|_| examples.proposal(&mut rng)).filter(|e| e.what == What::Hard).collect();
        assert!((60..160).contains(&hard.len()), "{}", hard.len());
        let mean = |e: &Example| e.x.iter().sum::<f32>() / e.x.len() as f32;
        let bright = hard.iter().filter(|e| mean(e) > 0.0).count();
        assert!(bright * 10 > hard.len() * 9, "{bright} of {}", hard.len());
    }
}
