//! A network for inputs of any size, with a session for each combination of input shapes.

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

/// A function from the shapes of its inputs to a graph, with weights. Each combination of shapes gets a session when it first occurs.
/// Sessions are kept until others need their memory; the least recently used one is dropped first. All sessions read one copy of
/// the weights.
pub struct Network {
    device: Device,
    params: Params,
    build: Box<Build>,
    /// Bytes that the plans of all kept sessions may take together; a single session may take more.
    budget_bytes: u64,
    /// The kept sessions, least recently used first.
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
    /// Creates a network with `weights`, whose sessions may take `budget_bytes` together. `build` gets the shapes of the inputs in the
    /// order in which they are passed to [`Network::run`].
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
    /// Returns the session for inputs of these shapes: a kept one, or a new one for which others may be dropped.
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
        // Frees memory before the new session takes its own.
        self.make_room(bytes);
        let session = Arc::new(self.device.open_session(planned, &self.params, &parameters, None).await?);
        // Another thread may have made one in the meantime, and filled the memory.
        if let Some(known) = self.known(shapes) {
            return Ok(known);
        }
        self.make_room(bytes);
        let kept = Kept { shapes: shapes.to_vec(), bytes, session: session.clone() };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        Ok(session)
    }

    /// Returns the shapes of the kept sessions, least recently used first.
    pub fn shapes(&self) -> Vec<Vec<Shape>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|kept| kept.shapes.clone()).collect()
    }

    /// Limits the bytes that sessions take together to `budget_bytes` from now on.
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

    /// Drops the least recently used sessions until `bytes` more fit into the budget or no session is left.
    fn make_room(&self, bytes: u64) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = all.iter().map(|kept| kept.bytes).sum::<u64>().saturating_add(bytes);
        while total > self.budget_bytes && !all.is_empty() {
            total -= all.remove(0).bytes;
        }
    }
}
