//! Finds the first value that is not finite.

use crate::error::Result;
use crate::exec::Device;
use crate::graph::{Graph, Kind, NodeId};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// Names the first value that is not finite, in the order of computation: a parameter, an input, a layer up to `loss`, a gradient.
///
/// # Errors
/// Those of [`Device::compile`].
pub fn first_not_finite(
    graph: &Graph,
    loss: NodeId,
    device: &Device,
    state: &Weights,
    inputs: &[(&str, &Tensor)],
) -> Result<String> {
    let is_bad = |tensor: &Tensor| tensor.elements::<f32>().is_some_and(|all| all.iter().any(|v| !v.is_finite()));
    if let Some((name, _)) = state.tensors().iter().find(|(_, tensor)| is_bad(tensor)) {
        return Ok(format!("the parameter {name} is not finite"));
    }
    if let Some((name, _)) = inputs.iter().find(|(_, tensor)| is_bad(tensor)) {
        return Ok(format!("the input {name} is not finite"));
    }
    let all = |wanted: fn(&Kind) -> bool| -> Result<Option<String>> {
        let nodes = graph.nodes();
        let of_loss = |index: &usize| *index <= loss.index || matches!(nodes[*index].kind, Kind::Grad { .. });
        let fetches: Vec<NodeId> = (0..nodes.len())
            .filter(|index| wanted(&nodes[*index].kind) && of_loss(index))
            .filter_map(|index| graph.find(&nodes[index].name))
            .collect();
        let session = device.compile(graph, &fetches, state.clone())?;
        let known: Vec<(&str, &Tensor)> = inputs
            .iter()
            .filter(|(name, _)| session.plan().inputs.iter().any(|(input, _)| input == name))
            .copied()
            .collect();
        let values = session.run(&known)?;
        let found = fetches.iter().zip(&values).find(|(_, tensor)| is_bad(tensor));
        Ok(found.map(|(id, _)| nodes[id.index].name.clone()))
    };
    if let Some(name) = all(|kind| matches!(kind, Kind::Op(_)))? {
        return Ok(format!("the first layer whose value is not finite is {name}"));
    }
    Ok(match all(|kind| matches!(kind, Kind::Grad { .. }))? {
        Some(name) => format!("the first gradient that is not finite is {name}"),
        None => "every layer's value and gradient is finite, but the sum of their squares is too large".to_owned(),
    })
}
