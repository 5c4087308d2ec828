//! The pass that determines which methods of operations the nodes of a graph ask for.

use crate::error::{Error, Result};
use crate::graph::{Graph, Kind};
use crate::ops::Op;
use crate::tensor::Shape;

/// The method of an operation that computes a node's value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'g> {
    /// The node whose operation it is; for a gradient, the forward node.
    pub node: usize,
    pub op: &'g dyn Op,
    /// Indices of the input nodes.
    pub inputs: &'g [usize],
    /// The input whose gradient is wanted, and the node of the upstream gradient.
    pub gradient: Option<(&'static str, usize)>,
}

impl Asked<'_> {
    /// Returns the shapes of the inputs and of the output.
    pub fn shapes(&self, graph: &Graph) -> (Vec<Shape>, Shape) {
        let nodes = graph.nodes();
        (self.inputs.iter().map(|&i| nodes[i].shape).collect(), nodes[self.node].shape)
    }

    /// Returns the input whose gradient is wanted.
    pub fn wanted(&self) -> Option<&'static str> {
        self.gradient.map(|(input, _)| input)
    }
}

/// Returns the method that computes each node of `graph`; `None` for inputs, parameters, constants, packs and further outputs.
///
/// # Errors
/// A node is the gradient of a node that is not an operation.
pub(super) fn lower(graph: &Graph) -> Result<Vec<Option<Asked<'_>>>> {
    let nodes = graph.nodes();
    nodes
        .iter()
        .enumerate()
        .map(|(index, node)| match (node.computed_by(), &node.kind) {
            (Some((op, inputs)), _) => Ok(Some(Asked { node: index, op: &**op, inputs, gradient: None })),
            (None, &Kind::Grad { of, input }) => match &nodes[of].kind {
                Kind::Op(op) => {
                    let gradient = Some((op.inputs()[input], node.inputs[0]));
                    Ok(Some(Asked { node: of, op: &**op, inputs: &nodes[of].inputs, gradient }))
                }
                _ => Err(Error::graph(&node.name, "is the gradient of a node that is not an operation")),
            },
            _ => Ok(None),
        })
        .collect()
}
