//! A planned graph on a device: runs it, and reads and writes its weights.

use super::cpu::CpuSession;
use super::device::Device;
use super::gpu::{GpuSession, check_range};
use super::timing::{Clock, Now, Run, Span};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind};
use crate::layout::Layout;
use crate::plan::Plan;
use crate::tensor::Tensor;
use crate::weights::Weights;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A planned graph on a device, ready to run any number of times.
pub struct Session {
    device: Device,
    graph: Arc<Graph>,
    plan: Plan,
    running: Running,
    /// Other sessions may read the same parameters.
    is_shared: bool,
    /// Blocking callers wait here for each other.
    pub(super) turn: Mutex<()>,
}

pub(super) enum Running {
    Gpu(GpuSession),
    Cpu(CpuSession),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Session").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(device: Device, graph: Graph, plan: Plan, is_shared: bool, running: Running) -> Self {
        Self { device, graph: Arc::new(graph), plan, running, is_shared, turn: Mutex::default() }
    }

    /// Returns the plan, which prints as a table.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs the plan on inputs given by name, and returns the fetched tensors in the order of the nodes passed to
    /// [`Device::compile`], without updates.
    ///
    /// # Errors
    /// An input is missing, unknown, or of another shape or element type; another run is in progress; the device fails.
    pub async fn run_async(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let inputs = self.match_inputs(inputs)?;
        match &self.running {
            Running::Gpu(session) => session.run(&self.plan, &inputs).await,
            Running::Cpu(session) => session.run(&self.graph, &self.plan, &inputs, |_| {}),
        }
    }

    fn match_inputs<'t>(&self, inputs: &[(&str, &'t Tensor)]) -> Result<Vec<(usize, &'t Tensor)>> {
        for (name, _) in inputs {
            if !self.plan.inputs.iter().any(|(n, _)| n == name) {
                let known: Vec<&str> = self.plan.inputs.iter().map(|(n, _)| n.as_str()).collect();
                return Err(Error::graph(*name, format!("is not an input of this session; its inputs are {known:?}")));
            }
        }
        self.plan
            .inputs
            .iter()
            .map(|(name, value)| {
                let Some((_, tensor)) = inputs.iter().find(|(n, _)| n == name) else {
                    return Err(Error::graph(name, "this input was not given"));
                };
                let shape = self.plan.values[*value].shape;
                if tensor.shape() != shape {
                    return Err(Error::graph(name, format!("must be {shape:?}, got {:?}", tensor.shape())));
                }
                let dtype = self.plan.values[*value].dtype;
                if tensor.dtype() != dtype {
                    return Err(Error::graph(
                        name,
                        format!("must be a tensor of {dtype}, got one of {}", tensor.dtype()),
                    ));
                }
                Ok((*value, *tensor))
            })
            .collect()
    }

    /// Reads the current values of the trainable parameters that the plan uses.
    ///
    /// # Errors
    /// The device fails.
    pub async fn weights_async(&self) -> Result<Weights> {
        self.parameters_where(|trainable| trainable).await
    }

    /// Reads the current values of all parameters and states that the plan uses, which are what a checkpoint needs.
    ///
    /// # Errors
    /// The device fails.
    pub async fn state_async(&self) -> Result<Weights> {
        self.parameters_where(|_| true).await
    }

    async fn parameters_where(&self, wanted: impl Fn(bool) -> bool) -> Result<Weights> {
        let mut found = Vec::new();
        for value in &self.plan.values {
            let (Some(node), Layout::Rows) = (value.node, value.layout) else { continue };
            if let Kind::Param { trainable, .. } = self.graph.nodes()[node].kind
                && wanted(trainable)
            {
                found.push((value, node));
            }
        }
        let tensors = match &self.running {
            Running::Gpu(session) => session.read(&found.iter().map(|(value, _)| *value).collect::<Vec<_>>()).await?,
            Running::Cpu(session) => {
                session.read(&found.iter().map(|(value, node)| (*node, value.shape)).collect::<Vec<_>>())?
            }
        };
        let names = found.into_iter().map(|(value, _)| value.name.clone());
        Ok(Weights::from_tensors(names.zip(tensors).collect::<BTreeMap<_, _>>()))
    }

    /// Overwrites parameters and states by name, to continue from a checkpoint or to take over the values of another network.
    /// Overwrites nothing if there is an error.
    ///
    /// # Errors
    /// A name is not a parameter or state of the plan; a tensor has another shape or element type; the session was compiled with [`Params::shared`](super::Params).
    pub fn load(&self, weights: &Weights) -> Result<()> {
        if self.is_shared {
            return Err(Error::weights(
                weights.name(),
                "this session shares its parameters with others; compile it with Weights to change them",
            ));
        }
        let is_parameter = |node: &usize| matches!(self.graph.nodes()[*node].kind, Kind::Param { .. });
        let mut found = Vec::new();
        for (name, tensor) in weights.tensors() {
            let fail = |problem: String| Err(Error::weights(weights.name(), problem));
            let Some(value) = self.plan.values.iter().find(|v| v.name == *name) else {
                return fail(format!("has tensor {name:?}, which this session does not use"));
            };
            let Some(node) = value.node.filter(is_parameter) else {
                return fail(format!("has tensor {name:?}, which is not a parameter of this session"));
            };
            if value.shape != tensor.shape() {
                return fail(format!("tensor {name:?} is {:?}, expected {:?}", tensor.shape(), value.shape));
            }
            if value.dtype != tensor.dtype() {
                return fail(format!("tensor {name:?} holds {}, expected {}", tensor.dtype(), value.dtype));
            }
            check_range(value, tensor)?;
            found.push((value, node, tensor));
        }
        for (value, node, tensor) in found {
            match &self.running {
                Running::Gpu(session) => session.write(value, tensor),
                Running::Cpu(session) => session.write(node, tensor),
            }
        }
        Ok(())
    }

    /// Returns the clock that times its steps.
    pub(crate) fn clock(&self) -> Clock {
        match &self.running {
            Running::Gpu(session) => session.clock(),
            Running::Cpu(_) => Clock::Host,
        }
    }

    /// Runs the plan and measures every step; `now` is the clock for what the host does.
    ///
    /// # Errors
    /// As [`Session::run_async`].
    pub(crate) async fn timed_async(&self, inputs: &[(&str, &Tensor)], now: Now) -> Result<Run> {
        let matched = self.match_inputs(inputs)?;
        match &self.running {
            Running::Gpu(session) => session.time(&self.plan, &matched, now).await,
            Running::Cpu(session) => {
                let mut timed = Run::begin(now);
                let mut begin_ms = timed.now_ms();
                session.run(&self.graph, &self.plan, &matched, |_| {
                    let end_ms = timed.now_ms();
                    timed.spans.push(Span { begin_ms, ms: end_ms - begin_ms });
                    begin_ms = timed.now_ms();
                })?;
                Ok(timed)
            }
        }
    }

    /// Returns the part of the session on the adapter; `None` for the references.
    pub(crate) fn on_adapter(&self) -> Option<&GpuSession> {
        match &self.running {
            Running::Gpu(session) => Some(session),
            Running::Cpu(_) => None,
        }
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
}
