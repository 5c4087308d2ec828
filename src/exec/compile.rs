//! Turns a graph into a session: plans it, compiles its shaders and uploads its weights.

use super::cpu::CpuSession;
use super::device::{Backend, Device};
use super::gpu::{GpuSession, Guard};
use super::params::Params;
use super::session::{Running, Session};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::plan::fuse::fuse;
use crate::plan::why::{Why, why};
use crate::plan::{Choices, Options, Plan};
use crate::tensor::{Shape, Tensor};
use std::collections::HashMap;

impl Device {
    /// Returns the plan that [`Device::compile`] follows.
    ///
    /// # Errors
    /// The graph cannot be planned.
    pub fn plan(&self, graph: &Graph, fetches: &[NodeId]) -> Result<Plan> {
        Ok(self.planned(graph, fetches)?.plan)
    }

    /// Returns the graph as fused for this device, and its plan.
    pub(super) fn planned(&self, graph: &Graph, fetches: &[NodeId]) -> Result<Planned> {
        let choices = self.choices(graph, fetches)?;
        Planned::new(graph, fetches, &self.options(choices.as_deref()))
    }

    fn options<'a>(&self, choices: Option<&'a Choices>) -> Options<'a> {
        Options { caps: self.caps(), precision: self.precision(), choices, ..Options::default() }
    }

    /// Explains why [`Device::plan`] chose the shaders of node `name`.
    ///
    /// # Errors
    /// As [`Device::plan`]; no step computes a node of that name.
    pub fn why(&self, graph: &Graph, fetches: &[NodeId], name: &str) -> Result<Vec<Why>> {
        let choices = self.choices(graph, fetches)?;
        why(graph, fetches, &self.options(choices.as_deref()), name)
    }

    /// Plans `fetches`, allocates memory, compiles the shaders and uploads `weights`. Weights that are [`Params::shared`] are uploaded
    /// once for all sessions.
    ///
    /// # Errors
    /// The graph cannot be planned; a parameter is missing in `weights`, has another shape or element type, or is not in the graph;
    /// the device fails.
    pub async fn compile_async(
        &self,
        graph: &Graph,
        fetches: &[NodeId],
        weights: impl Into<Params>,
    ) -> Result<Session> {
        let params = weights.into();
        let parameters = parameters(graph, &params)?;
        self.open_session(self.planned(graph, fetches)?, &params, &parameters, None).await
    }

    pub(crate) async fn compile_with(
        &self,
        graph: &Graph,
        fetches: &[NodeId],
        weights: impl Into<Params>,
        options: &Options<'_>,
        guard: Option<Guard>,
    ) -> Result<Session> {
        let params = weights.into();
        let parameters = parameters(graph, &params)?;
        self.open_session(Planned::new(graph, fetches, options)?, &params, &parameters, guard).await
    }

    /// Opens a session for a graph that was planned for this device, with values by node from [`parameters`].
    pub(super) async fn open_session(
        &self,
        Planned { graph, plan }: Planned,
        params: &Params,
        parameters: &HashMap<usize, Tensor>,
        guard: Option<Guard>,
    ) -> Result<Session> {
        #[cfg(feature = "cli")]
        plan.notes.iter().for_each(|note| log::warn!("{note}"));
        let running = match &self.backend {
            Backend::Gpu(on) => {
                Running::Gpu(GpuSession::new(on, &graph, &plan, parameters, params.resident(), guard).await?)
            }
            Backend::Cpu => Running::Cpu(CpuSession::new(&graph, &plan, parameters, params.resident())?),
        };
        Ok(Session::new(self.clone(), graph, plan, params.resident().is_some(), running))
    }
}

/// A graph as fused for an adapter, and its plan.
pub(super) struct Planned {
    pub graph: Graph,
    pub plan: Plan,
}

impl Planned {
    fn new(graph: &Graph, fetches: &[NodeId], options: &Options) -> Result<Self> {
        let graph = fuse(graph, fetches, options)?;
        let plan = Plan::new(&graph, fetches, options)?;
        Ok(Self { graph, plan })
    }
}

/// Returns whether `saved` is a short form of `wanted`: other programs save a bias `[1, C, 1, 1]` as `[C]`, and a matrix
/// `[O, I, 1, 1]` as `[O, I]`.
fn is_short_for(saved: Shape, wanted: Shape) -> bool {
    match *saved {
        [c] => wanted == [1, c, 1, 1],
        [o, i] => wanted == [o, i, 1, 1],
        _ => false,
    }
}

/// Returns the values of all parameters by node, taken from the weights of `params`. States that these lack start at their initial
/// value. The state of an optimiser, as in a checkpoint, need not be used.
pub(super) fn parameters(graph: &Graph, params: &Params) -> Result<HashMap<usize, Tensor>> {
    let weights = params.weights();
    let fail = |problem: String| Err(Error::weights(weights.name(), problem));
    for name in weights.tensors().keys().filter(|name| !name.starts_with("optimizer/")) {
        let is_parameter =
            graph.find(name).is_some_and(|id| matches!(graph.nodes()[id.index].kind, Kind::Param { .. }));
        if !is_parameter {
            return fail(format!("has tensor {name:?}, which the network does not use; is it another model's file?"));
        }
    }
    let mut values = HashMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let Kind::Param { init, trainable } = node.kind else { continue };
        match weights.get(&node.name) {
            Some(tensor) if tensor.dtype() != node.dtype => {
                return fail(format!(
                    "tensor {:?} holds {}, the network expects {}",
                    node.name,
                    tensor.dtype(),
                    node.dtype
                ));
            }
            Some(tensor) if tensor.shape() == node.shape || is_short_for(tensor.shape(), node.shape) => {
                values.insert(index, tensor.clone().reshaped(node.shape)?);
            }
            Some(tensor) => {
                return fail(format!(
                    "tensor {:?} is {:?}, the network expects {:?}; is it another model's file?",
                    node.name,
                    tensor.shape(),
                    node.shape
                ));
            }
            None if trainable && params.seed().is_none() => {
                return fail(format!("lacks tensor {:?} {:?}; is it another model's file?", node.name, node.shape));
            }
            None => {
                let seed = params.seed().filter(|_| trainable).unwrap_or(0);
                values.insert(index, init.fill(node.shape, seed, &node.name));
            }
        }
    }
    Ok(values)
}
