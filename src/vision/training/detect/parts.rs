//! Examples for the networks of [`crate::vision::models::parts`]: a face somewhere in a patch, and which attributes it has.

use super::examples::{Scenes, light, view};
use super::photos::Photos;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::vision::metrics::roc_area;
use crate::vision::models::parts::{HEIGHTS, PARTS, SIDE};
use crate::vision::patch::{Layer, View};

/// Heights of faces in plain patches, how far they are off the middle at most, in pixels, and factors on their grey levels and what is added.
const PLAIN: [f64; 2] = [52.0, 64.0];
const OFF_MIDDLE: f64 = 10.0;
const CONTRAST: [f64; 2] = [0.8, 1.2];
const BRIGHTNESS: f64 = 0.08;

/// Faces with labels, and which of their labels belong to each part.
#[derive(Debug)]
pub struct Labelled<'p> {
    photos: &'p Photos,
    /// Indices in [`Photos::faces`].
    faces: Vec<usize>,
    /// Of each part, indices of its attributes.
    attributes: [Vec<usize>; 5],
}

impl<'p> Labelled<'p> {
    /// Finds the faces that have labels.
    ///
    /// # Errors
    /// There are none; an attribute is missing.
    pub fn new(photos: &'p Photos) -> Result<Self> {
        let faces: Vec<usize> = (0..photos.faces.len()).filter(|&k| !photos.faces[k].labels.is_empty()).collect();
        if faces.is_empty() {
            let problem = "no face has labels: the data need celeba8k with its attributes.csv.gz";
            return Err(Error::Usage(problem.into()));
        }
        let mut attributes: [Vec<usize>; 5] = Default::default();
        for (part, own) in PARTS.iter().zip(&mut attributes) {
            for name in part.attributes {
                let at = photos.attributes.iter().position(|known| known == name);
                own.push(at.ok_or_else(|| Error::Usage(format!("the faces have no attribute {name}")))?);
            }
        }
        Ok(Self { photos, faces, attributes })
    }

    /// Draws the inputs of a step: patches `x` `[N, 1, 96, 96]`, and for each part the labels of its attributes `[N, attributes, 1, 1]`. The
    /// share `plain` of the patches shows a face in the middle of nothing but its photograph; in the others, it lies anywhere before a
    /// background. From the latter alone, the networks learn nothing for hundreds of steps.
    pub fn batch(&self, count: usize, plain: f64, rng: &mut Rng) -> Result<(Tensor, Vec<Tensor>)> {
        let scenes = Scenes { photos: self.photos, side: SIDE };
        let (mut x, mut labels) = (Vec::new(), vec![Vec::new(); PARTS.len()]);
        for _ in 0..count {
            let face = &self.photos.faces[self.faces[rng.below(self.faces.len())]];
            if rng.unit() < plain {
                let mut patch = vec![0.0; SIDE * SIDE];
                let height = rng.uniform(PLAIN[0], PLAIN[1]);
                let at = [0; 2].map(|_| SIDE as f64 / 2.0 + rng.uniform(-OFF_MIDDLE, OFF_MIDDLE));
                let view = View { angle: 0.0, ..view(face, height, at, rng) };
                let light = light(CONTRAST, BRIGHTNESS, rng);
                Layer { photo: &face.photo, part: face.photo.whole(), view, light }.draw(SIDE, 0.0, &mut patch);
                x.extend(patch.iter().map(|v| 2.0 * v - 1.0));
            } else {
                x.extend(scenes.face_anywhere(face, HEIGHTS, rng).0);
            }
            for (own, indices) in labels.iter_mut().zip(&self.attributes) {
                own.extend(indices.iter().map(|&k| if face.labels[k] { 1.0 } else { 0.0 }));
            }
        }
        let labels = labels.into_iter().zip(&PARTS);
        let labels = labels.map(|(own, part)| Tensor::new([count, part.attributes.len(), 1, 1], own));
        Ok((Tensor::new([count, 1, SIDE, SIDE], x)?, labels.collect::<Result<_>>()?))
    }
}

/// Returns the area under the ROC curve of each part, the mean over its attributes, given logits and labels of faces. Attributes that all or
/// none of the faces have are left out; NaN if that are all.
///
/// # Errors
/// A logit is NaN.
pub fn areas(logits: &[Vec<f32>; 5], labels: &[Vec<f32>; 5]) -> Result<[f64; 5]> {
    let mut areas = [0.0; 5];
    for (k, part) in PARTS.iter().enumerate() {
        let (count, mut all) = (part.attributes.len(), Vec::new());
        for a in 0..count {
            let of = |values: &[f32]| values.iter().skip(a).step_by(count).copied().collect::<Vec<f32>>();
            let truth: Vec<bool> = of(&labels[k]).into_iter().map(|v| v > 0.5).collect();
            if truth.contains(&true) && truth.contains(&false) {
                let scores: Vec<f64> = of(&logits[k]).into_iter().map(f64::from).collect();
                all.push(roc_area(&scores, &truth)?);
            }
        }
        areas[k] = all.iter().sum::<f64>() / all.len() as f64;
    }
    Ok(areas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::boxes::Bounds;
    use crate::vision::patch::Photo;
    use crate::vision::training::detect::photos::Face;

    /// Two faces, a white and a black disc on grey; the white one has all attributes, and a third one has no labels.
    fn photos() -> Photos {
        let attributes: Vec<String> =
            PARTS.iter().rev().flat_map(|part| part.attributes).map(|a| (*a).to_owned()).collect();
        let face = |grey: u8, labels: Vec<bool>| {
            // A small disc in a photo that fills every patch.
            let is_in = |k: usize| ((k % 400) as f64 - 199.5).hypot((k / 400) as f64 - 199.5) < 6.0;
            let pixels = (0..400 * 400).map(|k| if is_in(k) { grey } else { 128 }).collect();
            Face { photo: Photo::new(400, 400, pixels), bounds: Bounds::new(185.0, 185.0, 30.0, 30.0), labels }
        };
        let count = attributes.len();
        let faces = vec![face(255, vec![true; count]), face(128, Vec::new()), face(0, vec![false; count])];
        let backgrounds = vec![Photo::new(100, 100, vec![128; 10_000])];
        Photos { faces, attributes, backgrounds, sources: Vec::new(), fingerprint: String::new() }
    }

    #[test]
    fn patches_show_the_face_whose_labels_they_have() {
        let photos = photos();
        let labelled = Labelled::new(&photos).unwrap();
        let (x, labels) = labelled.batch(60, 0.0, &mut Rng::new(3)).unwrap();
        assert_eq!((x.shape(), labels.len()), ([60, 1, SIDE, SIDE].into(), 5));
        let mut seen = [0, 0];
        for k in 0..60 {
            let patch = &x.data()[k * SIDE * SIDE..][..SIDE * SIDE];
            let mut sorted = patch.to_vec();
            sorted.sort_by(f32::total_cmp);
            let [low, middle, high] = [0, 1, 2].map(|q| sorted[q * (sorted.len() - 1) / 2]);
            let is_white = high - middle > middle - low;
            for (own, part) in labels.iter().zip(&PARTS) {
                let own = &own.data()[k * part.attributes.len()..][..part.attributes.len()];
                assert!(own.iter().all(|v| (*v == 1.0) == is_white), "{k}: {low} {middle} {high} {own:?}");
            }
            seen[usize::from(is_white)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 15), "{seen:?}");
    }

    #[test]
    fn areas_are_means_over_a_parts_attributes() {
        // Of two faces with and two without, in the order of the logits but for the nose, where one of four pairs is wrong.
        let logits =
            PARTS.map(|part| (0..4).flat_map(|face| vec![face as f32; part.attributes.len()]).collect::<Vec<f32>>());
        let mut labels = PARTS.map(|part| {
            (0..4).flat_map(|face| vec![if face > 1 { 1.0 } else { 0.0 }; part.attributes.len()]).collect::<Vec<f32>>()
        });
        let nose = PARTS.iter().position(|part| part.name == "nose").unwrap();
        labels[nose] = vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let found = areas(&logits, &labels).unwrap();
        // The second attribute of the nose, which no face has, does not count.
        assert_eq!(found.map(|area| (area * 100.0).round()), [100.0, 100.0, 75.0, 100.0, 100.0]);
        assert!(areas(&logits, &PARTS.map(|part| vec![0.0; 4 * part.attributes.len()])).unwrap()[0].is_nan());
    }

    #[test]
    fn faces_without_labels_are_refused() {
        let mut photos = photos();
        photos.attributes[0] = "Moustache".into();
        assert!(Labelled::new(&photos).unwrap_err().to_string().contains("the faces have no attribute "));
        photos.faces.iter_mut().for_each(|face| face.labels.clear());
        assert!(Labelled::new(&photos).unwrap_err().to_string().contains("attributes.csv.gz"));
    }
}
