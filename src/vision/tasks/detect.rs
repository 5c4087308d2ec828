//! Finds faces, or other objects, in pictures.
//!
//! A [`Detector`] is the cascade that comes with lineament, or an imported network and a [`Reading`], which says what the network takes and
//! what its outputs mean. A YuNet is known by its outputs and needs none.
//!
//! ```no_run
//! use lineament::prelude::*;
//! use lineament::tasks::detect::{Ask, Detector};
//! use lineament::vision::image::Picture;
//!
//! # fn main() -> Result<()> {
//! let device = Device::open(&Select::Default)?;
//! let mut detector = Detector::faces(&device)?;
//! for face in detector.find(&Picture::open("group.jpg")?, Ask::default())? {
//!     println!("{:.2} at {:?}", face.score, face.bounds);
//! }
//! # Ok(())
//! # }
//! ```

mod cascade;
mod faceness;
mod imported;
mod judge;
mod marks;
#[cfg(feature = "cli")]
mod partness;
mod plane;
mod reading;

pub use cascade::{Cascade, Plan, Use};
pub use faceness::{Faceness, Order};
pub use judge::AT_ONCE;
pub use marks::mark;
#[cfg(feature = "cli")]
pub use partness::partness;
pub use reading::{Kind, Reading};

use crate::error::{Error, Result};
use crate::exec::Device;
use crate::import::model::Model;
use crate::vision::boxes::{Bounds, Detection, Overlap, suppress};
use crate::vision::image::Picture;
use crate::vision::models::shipped;
use crate::weights::Weights;
use imported::Imported;

/// How many boxes compete at most, the most certain; the others are dropped.
const MOST_BOXES: usize = 5000;

/// What to return of what a network finds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ask {
    /// The least score, 0 to 1; without it the reading's.
    pub threshold: Option<f64>,
    /// The largest IoU of two boxes; without it the reading's.
    pub overlap: Option<f64>,
    /// The least length of a box's longer side, in pixels of the picture.
    pub min_size: f64,
}

impl Ask {
    fn is_large(&self, bounds: &Bounds) -> bool {
        bounds.width.max(bounds.height) >= self.min_size
    }
}

/// Finds objects: the cascade of [`crate::vision::models::bands`] finds faces, an imported network whatever it was trained for.
#[derive(Debug)]
pub struct Detector {
    device: Device,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Cascade(Box<Cascade>),
    Parts(Box<Faceness>),
    Imported(Box<Imported>),
}

impl Detector {
    /// Creates a detector of an imported network. Without a reading, the network must be a YuNet.
    ///
    /// # Errors
    /// The network is no YuNet; it has several inputs, or one that is no picture; an output that the reading names is missing.
    pub fn new(device: &Device, model: Model, reading: Option<Reading>) -> Result<Self> {
        let source = Source::Imported(Box::new(Imported::new(device, model, reading)?));
        Ok(Self { device: device.clone(), source })
    }

    /// Creates a detector of faces: the cascade that comes with lineament.
    ///
    /// # Errors
    /// The device fails.
    pub fn faces(device: &Device) -> Result<Self> {
        let none = || Error::Usage("no cascade comes with lineament".into());
        Self::cascade(device, &shipped::open("faces", 1).ok_or_else(none)??, Plan::Bands)
    }

    /// Creates a detector of a cascade's weights, as `lineament train detect` writes them.
    ///
    /// # Errors
    /// The weights of a network are missing.
    pub fn cascade(device: &Device, weights: &Weights, plan: Plan) -> Result<Self> {
        let source = Source::Cascade(Box::new(Cascade::new(device, weights, plan)?));
        Ok(Self { device: device.clone(), source })
    }

    /// Creates a detector by parts of faces, of the weights of the parts' networks and of a cascade, whose second band judges what they propose.
    ///
    /// # Errors
    /// Weights are missing.
    pub fn parts(device: &Device, parts: &Weights, cascade: &Weights) -> Result<Self> {
        let source = Source::Parts(Box::new(Faceness::new(device, parts, cascade)?));
        Ok(Self { device: device.clone(), source })
    }

    /// Returns the device that the networks run on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the objects of a picture, the most certain first. Boxes may reach beyond the picture.
    ///
    /// # Errors
    /// The picture is too large for the network; an output is not what the reading says; the adapter fails.
    pub fn find(&mut self, picture: &Picture, ask: Ask) -> Result<Vec<Detection>> {
        let [threshold, overlap] = match &self.source {
            Source::Cascade(_) | Source::Parts(_) => [cascade::THRESHOLD, cascade::OVERLAP],
            Source::Imported(imported) => [imported.reading().threshold, imported.reading().overlap],
        };
        let threshold = ask.threshold.unwrap_or(threshold);
        let mut all = match &mut self.source {
            Source::Cascade(cascade) => cascade.find(picture, threshold, ask.min_size)?,
            Source::Parts(faceness) => faceness.find(picture, threshold, ask.min_size)?,
            Source::Imported(imported) => imported.find(picture, threshold)?,
        };
        all.retain(|found| ask.is_large(&found.bounds));
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(MOST_BOXES);
        let kept = |all: &[Detection], most, overlap| -> Result<Vec<Detection>> {
            Ok(suppress(all, most, overlap)?.into_iter().map(|k| all[k].clone()).collect())
        };
        let found = kept(&all, ask.overlap.unwrap_or(overlap), Overlap::Union)?;
        match &self.source {
            // A mouth or an eye can look like a small face in a large one.
            Source::Cascade(_) | Source::Parts(_) => kept(&found, cascade::INSIDE, Overlap::Smaller),
            Source::Imported(_) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_counts() {
        let ask = Ask { min_size: 20.0, ..Ask::default() };
        assert!(ask.is_large(&Bounds::new(0.0, 0.0, 5.0, 20.0)) && ask.is_large(&Bounds::new(0.0, 0.0, 20.0, 5.0)));
        assert!(!ask.is_large(&Bounds::new(0.0, 0.0, 19.9, 19.9)));
    }
}
