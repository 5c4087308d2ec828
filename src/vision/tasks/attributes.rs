//! Labels faces with attributes: a crop of each face, a network's probabilities, and a threshold for each attribute.

#[cfg(feature = "cli")]
pub mod sheet;

use crate::error::{Error, Result};
use crate::exec::{Device, Network};
use crate::graph::Draft;
use crate::ops::resize::{Kernel, Resize};
use crate::tensor::Tensor;
use crate::vision::image::{Channel, Picture, Rect, resize_plane_u8};
use crate::vision::models::attributes as model;
use crate::vision::models::deepid2::SIZE;
use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Numbers of a face: three channels of [`SIZE`].
pub const PIXELS: usize = 3 * SIZE[0] * SIZE[1];

/// Width and height of CelebA's aligned pictures, whose proportions and framing the network expects: the eyes at 39 % and 61 % of the
/// width and 52 % of the height.
const ALIGNED: [f64; 2] = [178.0, 218.0];

/// Where a face detector's box lies in such a picture: the square root of its area, and how far its centre lies below that of the
/// picture. Medians of YuNet's boxes of 300 of them; they are 85.5 wide and 117.2 high.
const BOX: [f64; 2] = [100.1, 15.5];

/// The part of a picture that the network sees, in pixels. It may extend beyond the picture, whose border is then repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub left: i64,
    pub top: i64,
    pub width: usize,
    pub height: usize,
}

/// Largest side of a frame, in pixels.
const MOST: f64 = 32_768.0;

impl Frame {
    /// Returns the largest centred rectangle of the proportions of CelebA's aligned pictures.
    pub fn centred(picture: &Picture) -> Self {
        let [width, height] = [picture.width(), picture.height()];
        let part = |side: usize, of: f64, to: f64| ((side as f64 * of / to).round() as usize).max(1);
        let [wide, high] = if width as f64 * ALIGNED[1] > height as f64 * ALIGNED[0] {
            [part(height, ALIGNED[0], ALIGNED[1]).min(width), height]
        } else {
            [width, part(width, ALIGNED[1], ALIGNED[0]).min(height)]
        };
        Self { left: ((width - wide) / 2) as i64, top: ((height - high) / 2) as i64, width: wide, height: high }
    }

    /// Returns the frame of a face whose box from a detector, forehead to chin, is `[left, top, width, height]` in pixels.
    ///
    /// # Errors
    /// The box has no area or is not finite; it lies outside of `picture`, or its frame is larger than 32,768 pixels.
    pub fn of_box(picture: &Picture, [x, y, w, h]: [f64; 4]) -> Result<Self> {
        let wrong = |problem: &str| {
            let (width, height) = (picture.width(), picture.height());
            Error::Usage(format!("{}: the box {x},{y},{w},{h} {problem} {width} × {height}", picture.name()))
        };
        let is_finite = [x, y, w, h].iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0;
        let is_inside = x < picture.width() as f64 && y < picture.height() as f64 && x + w > 0.0 && y + h > 0.0;
        if !is_finite || !is_inside {
            return Err(wrong("has no part inside the picture of"));
        }
        let scale = (w * h).sqrt() / BOX[0];
        let [width, height] = ALIGNED.map(|side| (side * scale).max(1.0));
        if width.max(height) > MOST {
            return Err(wrong("is too large for the picture of"));
        }
        let [left, top] = [x + 0.5 * (w - width), y + 0.5 * (h - height) - BOX[1] * scale];
        let [width, height] = [width, height].map(|side| side.round() as usize);
        Ok(Self { left: left.round() as i64, top: top.round() as i64, width, height })
    }

    /// Returns three planes of [`SIZE`] in grey levels: the frame is resized to the width, and the rows in the middle are taken.
    ///
    /// # Errors
    /// The frame lies outside of the picture.
    pub fn planes(&self, picture: &Picture) -> Result<Vec<u8>> {
        let [height, width] = SIZE;
        let from = [self.height, self.width];
        // 109 rows of 89 become 57 of 47.
        let rows = (self.height * width / self.width.max(1)).max(height);
        let op = Resize::to(Kernel::Bicubic, from, [rows, width])
            .map_err(|e| Error::image(picture.name(), e.to_string()))?;
        let inside = |first: i64, count: usize, all: usize| {
            let end = (first + count as i64).clamp(0, all as i64);
            let first = first.clamp(0, end);
            (first as usize, (end - first) as usize)
        };
        let ((left, wide), (top, high)) =
            (inside(self.left, self.width, picture.width()), inside(self.top, self.height, picture.height()));
        let rect = Rect { top, left, height: high, width: wide };
        if rect.area() == 0 {
            return Err(Error::Usage(format!("{}: the face lies outside of the picture", picture.name())));
        }
        let mut out = Vec::with_capacity(PIXELS);
        for channel in [Channel::Red, Channel::Green, Channel::Blue] {
            let plane = picture.plane(channel, rect)?;
            let nearest = |at: i64, first: usize, count: usize| (at - first as i64).clamp(0, count as i64 - 1) as usize;
            let mut whole = Vec::with_capacity(self.height * self.width);
            for row in 0..self.height as i64 {
                let row = &plane[nearest(self.top + row, top, high) * wide..][..wide];
                whole.extend(
                    (0..self.width as i64)
                        .map(|column| (row[nearest(self.left + column, left, wide)] * 255.0 + 0.5) as u8),
                );
            }
            let small = resize_plane_u8(&whole, from, &op)?;
            out.extend_from_slice(&small[(rows - height) / 2 * width..][..height * width]);
        }
        Ok(out)
    }
}

/// Returns a grey level of 0 to 255 as the network takes it, −2 to 2.
pub fn scaled(grey: f32) -> f32 {
    4.0 * (grey / 255.0 - 0.5)
}

/// What is known of an attribute that a network finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// CelebA's name, such as `Wearing_Hat`.
    pub name: String,
    /// Probability from which a face counts as having it: its share among the training faces, so that neither class is preferred.
    pub threshold: f64,
    /// Mean of the shares of the faces with and without it that were labelled so, in percent of the test faces.
    pub balanced_accuracy: f64,
}

/// A network that labels faces.
#[derive(Debug)]
pub struct Labeller {
    network: Network,
    attributes: Vec<Attribute>,
}

/// The manifest's key of the list of [`Attribute`].
pub const ATTRIBUTES: &str = "attributes";

/// Faces that the network sees at a time.
const AT_ONCE: usize = 64;

/// Returns what the manifest of weights says of the attributes; `name` is that of the weights, for messages.
///
/// # Errors
/// The weights are not those of `lineament train attributes`.
pub fn attributes(name: &str, manifest: &BTreeMap<String, String>) -> Result<Vec<Attribute>> {
    let fail = |problem: &str| Error::weights(name, format!("{problem}; give weights of train attributes"));
    let text = manifest.get(ATTRIBUTES).ok_or_else(|| fail("has no list of attributes in its manifest"))?;
    let list: Vec<Attribute> = serde_json::from_str(text).map_err(|e| fail(&format!("its attributes: {e}")))?;
    match list.is_empty() {
        true => Err(fail("names no attributes")),
        false => Ok(list),
    }
}

impl Labeller {
    /// Opens the network of `weights`.
    ///
    /// # Errors
    /// The weights are not those of `lineament train attributes`.
    pub fn new(device: &Device, weights: Weights) -> Result<Self> {
        let attributes = attributes(weights.name(), weights.manifest())?;
        let count = attributes.len();
        let network = device.network(weights, move |g: &Draft| {
            g.output("logits", model::logits(model::features(g.input("x")), count));
        });
        Ok(Self { network, attributes })
    }

    /// Returns the attributes, in the order of the probabilities.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Returns the logit of each attribute for each face, given as by [`Frame::planes`]: the mean of those of the face and of its mirror
    /// image.
    ///
    /// # Errors
    /// A face has another number of pixels; the device fails.
    pub fn logits(&self, faces: &[Vec<u8>]) -> Result<Vec<Vec<f32>>> {
        let count = self.attributes.len();
        let mut found = Vec::with_capacity(faces.len());
        for part in faces.chunks(AT_ONCE) {
            let mut x = Vec::with_capacity(2 * part.len() * PIXELS);
            for face in part {
                x.extend(face.iter().map(|grey| scaled((*grey).into())));
                let mirrored = face.chunks(SIZE[1]).flat_map(|row| row.iter().rev());
                x.extend(mirrored.map(|grey| scaled((*grey).into())));
            }
            let x = Tensor::new([2 * part.len(), 3, SIZE[0], SIZE[1]], x)?;
            let logits = self.network.run(&[("x", &x)])?.take("logits")?;
            found.extend(logits.data().chunks(2 * count).map(|both| {
                let (plain, mirrored) = both.split_at(count);
                plain.iter().zip(mirrored).map(|(a, b)| 0.5 * (a + b)).collect()
            }));
        }
        Ok(found)
    }

    /// Returns the probability of each attribute for each face, given as by [`Frame::planes`].
    ///
    /// # Errors
    /// Those of [`Labeller::logits`].
    pub fn label(&self, faces: &[Vec<u8>]) -> Result<Vec<Vec<f32>>> {
        let mut found = self.logits(faces)?;
        found.iter_mut().flatten().for_each(|logit| *logit = 1.0 / (1.0 + (-*logit).exp()));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::{Channels, Samples};

    /// A picture whose grey level is 10 at the left border and rises by 1 with each column, and by 40 in the lower half.
    fn ramp(width: usize, height: usize) -> Picture {
        let grey = |k: usize| (10 + k % width + if k / width >= height / 2 { 40 } else { 0 }) as u8;
        let samples = (0..width * height).flat_map(|k| [grey(k); 3]).collect();
        Picture::from_samples("ramp", width, height, Channels::Rgb, Samples::U8(samples)).unwrap()
    }

    #[test]
    fn frames_have_the_proportions_of_aligned_pictures() {
        let centred = |width, height| {
            let Frame { left, top, width, height } = Frame::centred(&ramp(width, height));
            [left, top, width as i64, height as i64]
        };
        assert_eq!(centred(89, 109), [0, 0, 89, 109]);
        assert_eq!(centred(178, 218), [0, 0, 178, 218]);
        assert_eq!(centred(150, 109), [30, 0, 89, 109]);
        assert_eq!(centred(89, 120), [0, 5, 89, 109]);
        assert_eq!(centred(1, 1), [0, 0, 1, 1]);
    }

    #[test]
    fn a_detectors_box_leads_to_the_frame() {
        let picture = ramp(178, 218);
        // The median box in an aligned picture, with its centre in the middle of the width.
        let frame = Frame::of_box(&picture, [89.0 - 42.75, 124.5 - 58.6, 85.5, 117.2]).unwrap();
        for (found, wanted) in [(frame.left, 0), (frame.top, 0), (frame.width as i64, 178), (frame.height as i64, 218)]
        {
            assert!((found - wanted).abs() <= 1, "{frame:?}");
        }
        // Half as large and elsewhere.
        let frame = Frame::of_box(&picture, [100.0, 50.0, 42.75, 58.6]).unwrap();
        assert_eq!([frame.width, frame.height], [89, 109]);
        assert_eq!([frame.left, frame.top], [77, 17]);
        for area in [[0.0, 0.0, 0.0, 5.0], [178.0, 0.0, 5.0, 5.0], [-9.0, 0.0, 9.0, 5.0], [0.0, f64::NAN, 9.0, 5.0]] {
            assert!(Frame::of_box(&picture, area).is_err(), "{area:?}");
        }
        let error = Frame::of_box(&picture, [0.0, 0.0, 1e6, 1e6]).unwrap_err().to_string();
        assert!(error.contains("ramp: the box 0,0,1000000,1000000 is too large"), "{error}");
    }

    #[test]
    fn what_lies_beyond_the_border_repeats_it() {
        let picture = ramp(94, 110);
        let planes = |left, top| Frame { left, top, width: 94, height: 110 }.planes(&picture).unwrap();
        let [whole, moved, lower] = [planes(0, 0), planes(-40, 0), planes(0, 60)];
        assert_eq!(whole.len(), PIXELS);
        let at = |planes: &[u8], row: usize, column: usize| planes[row * SIZE[1] + column];
        // Two columns become one.
        assert!(at(&whole, 3, 20).abs_diff(10 + 40) <= 1);
        assert!(at(&moved, 3, 40).abs_diff(at(&whole, 3, 20)) <= 1);
        assert!((0..18).all(|column| at(&moved, 3, column) == 10));
        assert!(at(&lower, 50, 20).abs_diff(10 + 40 + 40) <= 1);
        assert_eq!(at(&lower, 52, 20), at(&lower, 40, 20));
        assert!(Frame { left: 94, top: 0, width: 10, height: 12 }.planes(&picture).is_err());
        // A grey picture has three equal planes.
        let grey = Picture::from_samples("grey", 47, 55, Channels::Grey, Samples::U8(vec![77; 47 * 55])).unwrap();
        assert!(Frame::centred(&grey).planes(&grey).unwrap().iter().all(|v| *v == 77));
    }
}
