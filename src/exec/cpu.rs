//! The references as a device: slow, in f64, and independent of any adapter.

use super::gpu::Resident;
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Node};
use crate::layout::pack_offsets;
use crate::ops::{Io, Op, reference_grad, reference_outputs};
use crate::plan::{Plan, Step};
use crate::tensor::{DType, Shape, Tensor, len};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum bytes of a plan. The references hold its f32 values as f64 and copy what an operation reads, so the process takes up to
/// four times as much.
pub const MEMORY_BYTES: u64 = 512 << 20;

/// A plan that `reference`, `reference_grad` and `reference_update` run. Values remain f64 between steps.
pub struct CpuSession {
    /// Parameters and constants by node.
    kept: Mutex<HashMap<usize, Vec<f64>>>,
    /// Where the parameters are that this session shares with others, if it does.
    resident: Option<Arc<Resident>>,
    /// The nodes of all parameters, with their names.
    parameters: Vec<(usize, String)>,
    /// The last step that uses each node's value.
    last_use: HashMap<usize, usize>,
}

/// Returns the operation of a step.
pub(crate) fn op_of<'a>(graph: &'a Graph, step: &Step) -> Result<&'a dyn Op> {
    let node = &graph.nodes()[step.node];
    let unfused = match &node.kind {
        Kind::Op(op) | Kind::Update(op) => Some(&**op),
        _ => None,
    };
    let op = if step.is_forward() { node.computed_by().map(|(op, _)| &**op) } else { unfused };
    op.ok_or_else(|| Error::plan(format!("{} is not an operation", step.name)))
}

/// Returns the nodes that hold the value of node `k`: the members if it is a pack, else what it is a reshape of, or itself.
fn holders(graph: &Graph, k: usize) -> Vec<usize> {
    let k = graph.unshaped(k);
    let node = &graph.nodes()[k];
    if matches!(node.kind, Kind::Pack) { node.inputs.clone() } else { vec![k] }
}

/// Returns the value of node `k`. The value of a pack consists of its members with zeros between them; a reshape has that of its input.
pub(crate) fn value_of(graph: &Graph, k: usize, get: impl Fn(usize) -> Result<Vec<f64>>) -> Result<Vec<f64>> {
    let k = graph.unshaped(k);
    let node = &graph.nodes()[k];
    if !matches!(node.kind, Kind::Pack) {
        return get(k);
    }
    let (firsts, total) = pack_offsets(node.inputs.iter().map(|&m| graph.nodes()[m].shape));
    let mut all = vec![0.0; total];
    for (&member, first) in node.inputs.iter().zip(firsts) {
        let part = get(member)?;
        all[first..first + part.len()].copy_from_slice(&part);
    }
    Ok(all)
}

/// Splits `value`, the new value of node `k`, among the nodes that hold it: the members if `k` is a pack, else `k` itself.
pub(crate) fn parts_of(graph: &Graph, k: usize, value: Vec<f64>) -> Vec<(usize, Vec<f64>)> {
    let node = &graph.nodes()[k];
    if !matches!(node.kind, Kind::Pack) {
        return vec![(k, value)];
    }
    let shapes = || node.inputs.iter().map(|&m| graph.nodes()[m].shape);
    let (firsts, _) = pack_offsets(shapes());
    let part = |((&m, shape), first): ((&usize, Shape), usize)| (m, value[first..first + len(&shape)].to_vec());
    node.inputs.iter().zip(shapes()).zip(firsts).map(part).collect()
}

/// Returns the node whose value the method beginning at step `first` reads as `dy`; `None` for a forward method. Considers all
/// passes, because the first one need not read `dy`.
fn dy_of(plan: &Plan, first: usize) -> Option<usize> {
    let binding = plan.passes(first).iter().flat_map(|s| &s.bindings).find(|b| b.variable == "dy")?;
    plan.values[binding.value].node
}

impl CpuSession {
    /// Creates a session with values for all parameters by node; those in `resident` replace them in every run if they are live.
    pub fn new(
        graph: &Graph,
        plan: &Plan,
        parameters: &HashMap<usize, Tensor>,
        resident: Option<&Arc<Resident>>,
    ) -> Result<Self> {
        let mut kept: HashMap<usize, Vec<f64>> = parameters.iter().map(|(&n, t)| (n, t.to_f64())).collect();
        for (index, node) in graph.nodes().iter().enumerate() {
            if let Kind::Constant(tensor) = &node.kind {
                kept.insert(index, tensor.to_f64());
            }
        }
        let mut last_use = HashMap::new();
        let mut uses = |node: usize, step: usize| {
            last_use.insert(node, step);
            last_use.extend(holders(graph, node).into_iter().map(|holder| (holder, step)));
        };
        for (i, step) in plan.steps.iter().enumerate() {
            graph.nodes()[step.node].inputs.iter().for_each(|&input| uses(input, i));
            uses(step.node, i);
            step.bindings.iter().filter_map(|b| plan.values[b.value].node).for_each(|node| uses(node, i));
        }
        plan.fetches.iter().filter_map(|&value| plan.values[value].node).for_each(|node| uses(node, usize::MAX));
        let resident = resident.filter(|resident| resident.is_live()).cloned();
        let parameters = parameters.keys().map(|&node| (node, graph.nodes()[node].name.clone())).collect();
        Ok(Self { kept: Mutex::new(kept), resident, parameters, last_use })
    }

    /// Runs the plan, and calls `after` with the index of each step when it is done.
    ///
    /// # Errors
    /// The plan does not belong to the graph.
    pub fn run(
        &self,
        graph: &Graph,
        plan: &Plan,
        inputs: &[(usize, &Tensor)],
        mut after: impl FnMut(usize),
    ) -> Result<Vec<Tensor>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_shared(&mut kept);
        let mut overwritten = Vec::new();
        let mut values: HashMap<usize, Vec<f64>> = HashMap::new();
        for (value, tensor) in inputs {
            if let Some(node) = plan.values[*value].node {
                values.insert(node, tensor.to_f64());
            }
        }
        let nodes = graph.nodes();
        for (i, step) in plan.steps.iter().enumerate() {
            let op = op_of(graph, step)?;
            if step.is_first_pass {
                let node = &nodes[step.node];
                let shapes: Vec<Shape> = node.inputs.iter().map(|&k| nodes[k].shape).collect();
                let io = Io { x: &shapes, y: node.shape };
                let get_one = |k: usize| -> Result<Vec<f64>> {
                    let found = values.get(&k).or_else(|| kept.get(&k));
                    found.cloned().ok_or_else(|| Error::plan(format!("{} has no value yet", nodes[k].name)))
                };
                let get = |k: usize| value_of(graph, k, get_one);
                let mut x = node.inputs.iter().map(|&k| get(k)).collect::<Result<Vec<_>>>()?;
                if let Some(dy_node) = dy_of(plan, i) {
                    let y = get(step.node).unwrap_or_else(|_| vec![f64::NAN; io.y_len()]);
                    let dx = reference_grad(op, &io, &x, &y, &get(dy_node)?);
                    for pass in plan.passes(i) {
                        for b in pass.bindings.iter().filter(|b| b.written) {
                            let input = op.inputs().iter().position(|n| b.variable.strip_prefix('d') == Some(n));
                            if let (Some(k), Some(gradient)) = (input, plan.values[b.value].node) {
                                values.insert(gradient, dx[k].clone());
                            }
                        }
                    }
                } else {
                    let outputs = reference_outputs(op, &io, &x);
                    values.extend(outputs.into_iter().enumerate().map(|(k, output)| (step.node + k, output)));
                    let updated = |k: &usize| op.updates().contains(&op.inputs()[*k]);
                    if !op.outputs().is_empty() {
                        // Its gradient is taken at the values before they are overwritten.
                        values.extend((0..x.len()).filter(updated).map(|k| (node.inputs[k], x[k].clone())));
                    }
                    op.reference_update(&io, &mut x);
                    for k in (0..x.len()).filter(updated) {
                        let parts = parts_of(graph, node.inputs[k], std::mem::take(&mut x[k]));
                        overwritten.extend(parts.iter().map(|(part, _)| *part));
                        kept.extend(parts);
                    }
                }
            }
            values.retain(|node, _| self.last_use.get(node).is_some_and(|&last| last > i));
            after(i);
        }
        self.give_shared(graph, &kept, &overwritten)?;
        plan.fetches
            .iter()
            .map(|&v| {
                let value = &plan.values[v];
                let missing = || Error::plan(format!("{} was not computed", value.name));
                let get = |n: usize| kept.get(&n).or_else(|| values.get(&n)).cloned().ok_or_else(missing);
                Tensor::from_f64(value.shape, value.dtype, &value_of(graph, value.node.ok_or_else(missing)?, get)?)
            })
            .collect()
    }

    fn take_shared(&self, kept: &mut HashMap<usize, Vec<f64>>) {
        let Some(resident) = &self.resident else { return };
        let host = resident.host().lock().unwrap_or_else(PoisonError::into_inner);
        for (node, name) in &self.parameters {
            if let Some(tensor) = host.get(name) {
                kept.insert(*node, tensor.to_f64());
            }
        }
    }

    /// Gives the overwritten values of these nodes to the other sessions, as f32, which is what adapters keep.
    fn give_shared(&self, graph: &Graph, kept: &HashMap<usize, Vec<f64>>, overwritten: &[usize]) -> Result<()> {
        let Some(resident) = &self.resident else { return Ok(()) };
        let mut host = resident.host().lock().unwrap_or_else(PoisonError::into_inner);
        for &node in overwritten {
            let Node { name, shape, dtype, .. } = &graph.nodes()[node];
            host.insert(name.clone(), Tensor::from_f64(*shape, *dtype, &kept[&node])?);
        }
        Ok(())
    }

    /// Reads the current values of parameters.
    ///
    /// # Errors
    /// A node is not a parameter.
    pub fn read(&self, nodes: &[(usize, Shape)]) -> Result<Vec<Tensor>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_shared(&mut kept);
        nodes
            .iter()
            .map(|&(node, shape)| {
                let found = kept.get(&node).filter(|v| v.len() == len(&shape));
                let found = found.ok_or_else(|| Error::plan(format!("node {node} is not a parameter")))?;
                Tensor::from_f64(shape, DType::F32, found)
            })
            .collect()
    }

    /// Overwrites a parameter.
    pub fn write(&self, node: usize, tensor: &Tensor) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(node, tensor.to_f64());
    }
}
