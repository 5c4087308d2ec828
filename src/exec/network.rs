//! A network for inputs of any size: sessions by the shapes of the inputs.

use super::compile::parameters;
use super::device::Device;
use super::params::Params;
use super::session::Session;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::shape::Shape;
use std::sync::{Arc, Mutex, PoisonError};

/// Adds the network to a graph for inputs of these shapes, and returns what to fetch.
type Build = dyn Fn(&mut Graph, &[Shape]) -> Result<Vec<NodeId>> + Send + Sync;

/// A function from the shapes of its inputs to a graph, with weights. Each combination of shapes gets a session when it first comes;
/// sessions stay until others need their memory, the least recently used going first. All read one copy of the weights.
pub struct Network {
    device: Device,
    params: Params,
    build: Box<Build>,
    /// Bytes that the plans of all kept sessions may take together; a single one may take more.
    budget_bytes: u64,
    /// The least recently used first.
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    shapes: Vec<Shape>,
    bytes: u64,
    session: Arc<Session>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Network").field("device", &self.device).field("kept", &self.shapes()).finish_non_exhaustive()
    }
}

impl Device {
    /// A network with `weights`, whose sessions may take `budget_bytes` together. `build` gets the inputs' shapes in the order in which
    /// [`Network::run`] is given them.
    pub fn network(
        &self,
        weights: impl Into<Params>,
        budget_bytes: u64,
        build: impl Fn(&mut Graph, &[Shape]) -> Result<Vec<NodeId>> + Send + Sync + 'static,
    ) -> Network {
        Network {
            device: self.clone(),
            params: weights.into().into_shared(),
            build: Box::new(build),
            budget_bytes,
            kept: Mutex::default(),
        }
    }
}

impl Network {
    /// The session for inputs of these shapes: a kept one, or a new one for which others make room.
    ///
    /// # Errors
    /// Those of `build` and of [`Device::compile`].
    pub async fn session_async(&self, shapes: &[Shape]) -> Result<Arc<Session>> {
        if let Some(session) = self.known(shapes) {
            return Ok(session);
        }
        let mut graph = Graph::new();
        let fetches = (self.build)(&mut graph, shapes)?;
        let parameters = parameters(&graph, self.params.weights())?;
        let planned = self.device.planned(&graph, &fetches)?;
        let bytes = planned.plan.peak_bytes();
        // Its memory is free before the new one's is taken.
        self.make_room(bytes);
        let session = Arc::new(self.device.open_session(planned, &self.params, &parameters, None).await?);
        // Another thread may have made one meanwhile, and filled the memory.
        if let Some(known) = self.known(shapes) {
            return Ok(known);
        }
        self.make_room(bytes);
        let kept = Kept { shapes: shapes.to_vec(), bytes, session: session.clone() };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        Ok(session)
    }

    /// The shapes of kept sessions, the least recently used first.
    pub fn shapes(&self) -> Vec<Vec<Shape>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|kept| kept.shapes.clone()).collect()
    }

    /// Has sessions take at most `budget_bytes` together from now on.
    pub fn set_budget(&mut self, budget_bytes: u64) {
        self.budget_bytes = budget_bytes;
        self.make_room(0);
    }

    fn known(&self, shapes: &[Shape]) -> Option<Arc<Session>> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|kept| kept.shapes == shapes)?;
        all[at..].rotate_left(1);
        all.last().map(|kept| kept.session.clone())
    }

    /// Drops sessions until `bytes` more are within the budget, or none is left.
    fn make_room(&self, bytes: u64) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = all.iter().map(|kept| kept.bytes).sum::<u64>().saturating_add(bytes);
        while total > self.budget_bytes && !all.is_empty() {
            total -= all.remove(0).bytes;
        }
    }
}
