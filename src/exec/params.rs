//! Weights that several sessions read.

use super::gpu::Resident;
use crate::weights::Weights;
use std::sync::Arc;

/// Weights for sessions of any device. Sessions compiled with clones of [`Params::shared`] read one copy on the device, which
/// the first of them uploads.
#[derive(Debug, Clone)]
pub struct Params {
    weights: Arc<Weights>,
    resident: Option<Arc<Resident>>,
}

impl Params {
    /// Creates weights whose copy on a device is shared. A session that overwrites some of them, as in training, has its own copies
    /// of these. [`Session::load`](super::Session::load) is not available for sessions with shared weights.
    pub fn shared(weights: Weights) -> Self {
        Self { weights: Arc::new(weights), resident: Some(Arc::default()) }
    }

    /// Returns the same weights, shared.
    pub(super) fn into_shared(self) -> Self {
        Self { resident: self.resident.or_else(|| Some(Arc::default())), ..self }
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(super) fn resident(&self) -> Option<&Resident> {
        self.resident.as_deref()
    }
}

/// Weights that are not shared: every session has its own copy.
impl From<Weights> for Params {
    fn from(weights: Weights) -> Self {
        Self { weights: Arc::new(weights), resident: None }
    }
}
