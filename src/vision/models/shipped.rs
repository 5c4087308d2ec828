//! The weights that come with lineament.

use crate::error::Result;
use crate::weights::Weights;
use std::collections::BTreeMap;

/// A weights file that comes with lineament.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    pub model: &'static str,
    /// Output pixels per input pixel along each side; 1 for a network whose output is not a picture.
    pub scale: usize,
    /// Contents of the file.
    pub bytes: &'static [u8],
}

impl Shipped {
    /// Parses the file.
    ///
    /// # Errors
    /// Those of [`Weights::from_bytes`].
    pub fn open(&self) -> Result<Weights> {
        Weights::from_bytes(&self.name(), self.bytes)
    }

    /// Returns the manifest without parsing the tensors.
    ///
    /// # Errors
    /// Those of [`Weights::manifest_of`].
    pub fn manifest(&self) -> Result<BTreeMap<String, String>> {
        Weights::manifest_of(&self.name(), self.bytes)
    }

    fn name(&self) -> String {
        format!("the shipped weights of {} x{}", self.model, self.scale)
    }
}

macro_rules! shipped_file {
    ($model:literal, $scale:literal, $name:literal) => {
        Shipped {
            model: $model,
            scale: $scale,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/weights/", $name, ".safetensors")),
        }
    };
}

static SHIPPED: [Shipped; 11] = [
    shipped_file!("fsrcnn", 2, "fsrcnn_x2"),
    shipped_file!("fsrcnn", 3, "fsrcnn_x3"),
    shipped_file!("fsrcnn", 4, "fsrcnn_x4"),
    shipped_file!("fsrcnn-s", 3, "fsrcnn-s_x3"),
    shipped_file!("srcnn", 3, "srcnn_x3"),
    shipped_file!("cbn-small", 8, "cbn-small"),
    shipped_file!("cbn-small-found", 8, "cbn-small-found"),
    shipped_file!("cbn-small-8px", 4, "cbn-small-8px"),
    shipped_file!("attributes", 1, "attributes"),
    shipped_file!("faces", 1, "faces"),
    shipped_file!("parts", 1, "parts"),
];

/// Returns the weights files that come with lineament.
pub fn all() -> &'static [Shipped] {
    &SHIPPED
}

/// Returns the weights that come with lineament for `model` at `scale`, if there are any.
pub fn open(model: &str, scale: usize) -> Option<Result<Weights>> {
    find(model, scale).map(Shipped::open)
}

/// Returns the weights file that comes with lineament for `model` at `scale`, if there is one.
pub fn find(model: &str, scale: usize) -> Option<&'static Shipped> {
    all().iter().find(|s| s.model == model && s.scale == scale)
}
