//! Weights that several sessions read.

use super::gpu::Resident;
use crate::graph::Member;
use crate::tensor::Tensor;
use crate::weights::Weights;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Weights for sessions of any device. Sessions compiled with clones of [`Params::shared`] read one copy on the device, which
/// the first of them uploads.
#[derive(Debug, Clone)]
pub struct Params {
    weights: Arc<Weights>,
    resident: Option<Arc<Resident>>,
    /// The seed from which trainable parameters that the weights lack are initialized; otherwise these are an error.
    seed: Option<u64>,
}

impl Params {
    /// Creates weights whose copy on a device is shared. A session that overwrites some of them, as in training, has its own copies
    /// of these. [`Session::load`](super::Session::load) is not available for sessions with shared weights.
    pub fn shared(weights: Weights) -> Self {
        Self { resident: Some(Arc::default()), ..weights.into() }
    }

    /// Creates weights that are all drawn by their [`Init`](crate::graph::Init), as [`Graph::initialize`](crate::Graph::initialize)
    /// draws them.
    pub fn fresh(seed: u64) -> Self {
        Self::partial(Weights::default(), seed)
    }

    /// Creates weights of which some may be missing; these are drawn as by [`Params::fresh`].
    pub fn partial(weights: Weights, seed: u64) -> Self {
        Self { seed: Some(seed), ..weights.into() }
    }

    /// Returns the same weights, shared.
    pub(super) fn into_shared(self) -> Self {
        Self { resident: self.resident.or_else(|| Some(Arc::default())), ..self }
    }

    /// Returns `weights` for sessions that also share what they overwrite.
    pub(super) fn live(&self, weights: Weights) -> Self {
        Self { weights: Arc::new(weights), resident: Some(Arc::new(Resident::live())), seed: self.seed }
    }

    /// Returns the same weights, except that those of `members` are read at their places in the parameter `arena`, and
    /// `others` replace those of their names.
    pub(super) fn beside(&self, arena: &str, members: &[Member], others: &BTreeMap<String, Tensor>) -> Self {
        let beside = |resident: &Arc<Resident>| Arc::new(resident.beside(arena, members, others.keys()));
        let resident = self.resident.as_ref().map(beside);
        Self { resident, ..self.with(self.weights.and(others.clone())) }
    }

    /// Returns other weights with the same copies on devices.
    pub(super) fn with(&self, weights: Weights) -> Self {
        Self { weights: Arc::new(weights), ..self.clone() }
    }

    /// Returns new weights that are uploaded again, and shared as before.
    pub(super) fn replaced(&self, weights: Weights) -> Self {
        let is_live = self.resident.as_ref().is_some_and(|resident| resident.is_live());
        if is_live { self.live(weights) } else { Self { seed: self.seed, ..Self::shared(weights) } }
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(super) fn resident(&self) -> Option<&Arc<Resident>> {
        self.resident.as_ref()
    }

    pub(super) fn seed(&self) -> Option<u64> {
        self.seed
    }
}

/// Weights that are not shared: every session has its own copy.
impl From<Weights> for Params {
    fn from(weights: Weights) -> Self {
        Self { weights: Arc::new(weights), resident: None, seed: None }
    }
}
