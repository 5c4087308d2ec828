//! Reverse mode: appends gradient nodes to the same graph, and an `add` wherever a tensor feeds several consumers.

use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::tensor::{SCALAR, Tensor};
use std::collections::HashMap;

/// Appends the gradients of the scalar node `loss` with respect to each node of `wrt`, and returns them in that order.
///
/// # Errors
/// `loss` is not `[1, 1, 1, 1]` or does not depend on one of `wrt`; an operation on the path has no gradient (the error gives
/// the reason); a node belongs to another graph.
pub fn backward(graph: &mut Graph, loss: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>> {
    let node = graph.node(loss)?;
    if node.shape != SCALAR {
        return Err(Error::graph(&node.name, format!("a loss must be {SCALAR:?}, got {:?}", node.shape)));
    }
    for &id in wrt {
        graph.node(id)?;
    }
    let forward_len = loss.index + 1;
    let mut needed = vec![false; forward_len.max(wrt.iter().map(|id| id.index + 1).max().unwrap_or(0))];
    for &id in wrt {
        needed[id.index] = true;
    }
    for index in 0..forward_len {
        let node = &graph.nodes()[index];
        // A gradient node counts as needed, so that a loss made of gradients is rejected below and not differentiated in part.
        if matches!(node.kind, Kind::Grad { .. }) || node.inputs.iter().any(|&i| needed[i]) {
            needed[index] = true;
        }
    }

    let name = format!("{}.seed", graph.nodes()[loss.index].name);
    let seed = match graph.find(&name) {
        Some(id) => id,
        None => graph.constant(&name, Tensor::scalar(1.0))?,
    };
    let mut parts: HashMap<usize, Vec<NodeId>> = HashMap::from([(loss.index, vec![seed])]);
    let mut total: HashMap<usize, NodeId> = HashMap::new();
    for index in (0..forward_len).rev() {
        let Some(parts_here) = parts.remove(&index) else { continue };
        let mut dy = parts_here[0];
        for &part in &parts_here[1..] {
            dy = graph.plus(dy, part)?;
        }
        total.insert(index, dy);
        match graph.nodes()[index].kind {
            Kind::Op(_) => {}
            Kind::Reshape => {
                let input = graph.nodes()[index].inputs[0];
                if needed[input] {
                    let shape = graph.nodes()[input].shape;
                    let d = graph.reshape(dy, shape)?;
                    parts.entry(input).or_default().push(d);
                }
                continue;
            }
            Kind::Output { .. } if needed[index] => {
                let name = &graph.nodes()[index].name;
                return Err(Error::graph(name, "has no gradient: only the first output of an operation has one"));
            }
            Kind::Grad { .. } => {
                let name = &graph.nodes()[index].name;
                return Err(Error::graph(
                    name,
                    "a loss made of gradients needs second derivatives, which no operation has",
                ));
            }
            Kind::Pack if needed[index] => {
                return Err(Error::graph(
                    &graph.nodes()[index].name,
                    "a pack has no gradient; let the loss read its members",
                ));
            }
            _ => continue,
        }
        let inputs = graph.nodes()[index].inputs.clone();
        for (position, &input) in inputs.iter().enumerate() {
            if needed[input] {
                let d = graph.gradient(index, position, dy)?;
                parts.entry(input).or_default().push(d);
            }
        }
    }
    wrt.iter()
        .map(|id| {
            total.get(&id.index).copied().ok_or_else(|| {
                Error::graph(
                    &graph.nodes()[id.index].name,
                    format!("the loss {} does not depend on it, so it has no gradient", graph.nodes()[loss.index].name),
                )
            })
        })
        .collect()
}
