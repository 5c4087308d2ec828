//! Blocking counterparts of `async` functions, for native programs: a function such as `adapters` waits for `adapters_async`.

use super::device::{Device, Select, adapters_async};
use super::gpu::AdapterInfo;
use super::network::{Network, Outputs};
use super::params::Params;
use super::session::Session;
use super::timing::{Now, Run};
use crate::error::Result;
use crate::graph::{Given, Graph, NodeId};
use crate::tensor::Tensor;
use crate::weights::Weights;
use pollster::block_on;
use std::sync::{Arc, PoisonError};

/// Returns all adapters, in the driver's order.
pub fn adapters() -> Vec<AdapterInfo> {
    block_on(adapters_async())
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// There is no such adapter; the message lists the adapters, or what to install.
    pub fn open(select: &Select) -> Result<Self> {
        block_on(Self::open_async(select))
    }

    /// Plans `fetches`, allocates memory, compiles the shaders and uploads `weights`. Weights that are [`Params::shared`] are uploaded
    /// once for all sessions.
    ///
    /// # Errors
    /// The graph cannot be planned; a parameter is missing in `weights`, has another shape or element type, or is not in the graph;
    /// the device fails.
    pub fn compile(&self, graph: &Graph, fetches: &[NodeId], weights: impl Into<Params>) -> Result<Session> {
        block_on(self.compile_async(graph, fetches, weights))
    }
}

impl Network {
    /// Returns the session for inputs of these shapes: a kept one, or a new one for which others may be dropped. It fetches the
    /// outputs in their order.
    ///
    /// # Errors
    /// Those of the function that builds the network, and of [`Device::compile`].
    pub fn session(&self, given: &[Given]) -> Result<Arc<Session>> {
        block_on(self.session_async(given))
    }

    /// Runs the network on inputs of any shapes that it accepts, and returns its outputs by name. Threads wait for each other.
    ///
    /// # Errors
    /// As [`Network::session`] and [`Session::run`].
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        let _turn = self.turn();
        block_on(self.run_async(inputs))
    }

    /// Runs the network and returns the outputs and nodes `names`: an output by its name, any other value by its path, such as
    /// `conv3.relu`. Threads wait for each other.
    ///
    /// # Errors
    /// As [`Network::run`]; there is neither an output nor a node of a name.
    pub fn fetch(&self, names: &[&str], inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        let _turn = self.turn();
        block_on(self.fetch_async(names, inputs))
    }

    /// Returns the current weights, including what was learned since the network was created.
    ///
    /// # Errors
    /// The device fails.
    pub fn weights(&self) -> Result<Weights> {
        let _turn = self.turn();
        block_on(self.weights_async())
    }
}

impl Session {
    /// Runs the plan on inputs given by name, and returns the fetched tensors in the order of the nodes passed to
    /// [`Device::compile`], without updates. Threads wait for each other.
    ///
    /// # Errors
    /// An input is missing, unknown, or of another shape or element type; the device fails.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        block_on(self.run_async(inputs))
    }

    /// Runs the plan and measures every step; `now` is the clock for what the host does.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(crate) fn timed(&self, inputs: &[(&str, &Tensor)], now: Now) -> Result<Run> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        block_on(self.timed_async(inputs, now))
    }

    /// Reads the current values of the trainable parameters that the plan uses.
    ///
    /// # Errors
    /// The device fails.
    pub fn weights(&self) -> Result<Weights> {
        block_on(self.weights_async())
    }

    /// Reads the current values of all parameters and states that the plan uses, which are what a checkpoint needs.
    ///
    /// # Errors
    /// The device fails.
    pub fn state(&self) -> Result<Weights> {
        block_on(self.state_async())
    }
}
