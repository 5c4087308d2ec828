//! Runs one case of an operation in its own session with a chosen kernel, for `benches/kernels.rs` to time.

use super::profile::Profile;
use crate::error::Result;
use crate::exec::{Device, Session};
use crate::graph::{Graph, Init, NodeId};
use crate::ops::{Case, Kernel};
use crate::plan::Options;
use crate::rng::Rng;
use crate::tensor::{Tensor, len};
use crate::weights::Weights;
use std::collections::BTreeMap;

/// A graph of one operation: its forward pass and all its gradients, or its update, with the inputs to run it on.
pub(super) struct CaseGraph {
    pub graph: Graph,
    pub fetches: Vec<NodeId>,
    /// The inputs that the operation overwrites.
    pub weights: Weights,
    pub inputs: Vec<(String, Tensor)>,
}

impl CaseGraph {
    /// Builds the graph of `case` with its seeded values.
    ///
    /// # Errors
    /// The operation refuses the case.
    pub fn new(case: &Case) -> Result<Self> {
        let op = &case.op;
        let mut graph = Graph::new();
        let mut rng = Rng::new(7);
        let (mut inputs, mut states, mut ids) = (Vec::new(), BTreeMap::new(), Vec::new());
        for ((&name, &shape), values) in op.inputs().iter().zip(&case.x).zip(case.values(&mut rng)) {
            let tensor = Tensor::from_f64(shape, op.dtype(name), &values)?;
            if op.updates().contains(&name) {
                ids.push(graph.state(name, shape, Init::Constant(0.0))?);
                states.insert(name.to_owned(), tensor);
            } else {
                ids.push(graph.input_of(op.dtype(name), name, shape)?);
                inputs.push((name.to_owned(), tensor));
            }
        }
        let mut fetches = Vec::new();
        if op.outputs().is_empty() {
            fetches.push(graph.update_op(op.clone(), &ids)?);
        } else {
            let y = graph.add_op("y".into(), op.clone(), &ids)?;
            let shape = graph.shape(y)?;
            for name in op.outputs() {
                fetches.push(graph.output(y, name)?);
            }
            let has_gradient = |k: &usize| !op.no_grad().iter().any(|(name, _)| *name == op.inputs()[*k]);
            let differentiable: Vec<usize> = (0..ids.len()).filter(has_gradient).collect();
            if !differentiable.is_empty() {
                let dy = graph.input("dy", shape)?;
                let values = (0..len(&shape)).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
                inputs.push(("dy".to_owned(), Tensor::new(shape, values)?));
                for k in differentiable {
                    fetches.push(graph.gradient(y.index, k, dy)?);
                }
            }
        }
        Ok(Self { graph, fetches, weights: Weights::from_tensors(states), inputs })
    }

    /// Returns the graph of the outputs alone; `None` if the operation overwrites inputs.
    pub fn without_gradients(mut self, case: &Case) -> Option<Self> {
        self.fetches.truncate(case.op.outputs().len());
        self.inputs.truncate(case.op.inputs().len());
        case.op.updates().is_empty().then_some(self)
    }

    /// Returns the inputs as a session takes them.
    pub fn feeds(&self) -> Vec<(&str, &Tensor)> {
        feeds(&self.inputs)
    }
}

fn feeds(inputs: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// An operation's forward pass and all its gradients, or its update, with the inputs to run them on.
#[derive(Debug)]
pub struct CaseSession {
    session: Session,
    inputs: Vec<(String, Tensor)>,
}

impl CaseSession {
    /// Compiles `case` on `device`, using `kernel` for each method that it serves and the plain kernel for the others.
    ///
    /// # Errors
    /// The case cannot be planned; the device fails.
    pub fn new(device: &Device, case: &Case, kernel: Kernel) -> Result<Self> {
        let CaseGraph { graph, fetches, weights, inputs } = CaseGraph::new(case)?;
        let options = Options { caps: device.caps(), kernel: Some(kernel), ..Options::default() };
        let session = pollster::block_on(device.compile_with(&graph, &fetches, weights, &options, None))?;
        Ok(Self { session, inputs })
    }

    /// Returns the milliseconds of every step: medians of `runs`, after one warm-up run.
    ///
    /// # Errors
    /// The device fails.
    pub fn profile(&self, runs: usize) -> Result<Profile> {
        self.session.profile_runs(&feeds(&self.inputs), runs)
    }
}
