//! If, with a condition that is known when the network is built: the nodes of the branch take its place.

use super::{Attribute, Call, Known, Lower, Lowered, Lowering, Node, Value, problem};
use std::collections::{HashMap, HashSet};

/// A branch. It may read the values of the graph around it, which are among the inputs of its node.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// What its node gives it, as that of a loop does; a branch has none.
    pub inputs: Vec<String>,
    pub nodes: Vec<Node>,
    pub initializers: Vec<(String, Known)>,
    pub outputs: Vec<String>,
}

impl Branch {
    /// Returns the names that it reads from the graph around it.
    pub fn captured(&self) -> Vec<String> {
        let mut own: HashSet<&str> = self.initializers.iter().map(|(name, _)| name.as_str()).collect();
        own.extend(self.inputs.iter().map(String::as_str));
        let mut captured = Vec::new();
        let outputs = Node { inputs: self.outputs.clone(), ..Node::default() };
        for node in self.nodes.iter().chain([&outputs]) {
            captured
                .extend(node.inputs.iter().filter(|name| !name.is_empty() && !own.contains(name.as_str())).cloned());
            own.extend(node.outputs.iter().map(String::as_str));
        }
        captured.sort_unstable();
        captured.dedup();
        captured
    }
}

pub fn find(op: &str) -> Option<Lower> {
    (op == "If").then_some(choose)
}

fn choose(lowering: &mut Lowering, call: &Call) -> Lowered {
    let condition = call.known_ints(0, "condition")?.and_then(|c| c.first().copied()).ok_or("has no condition")?;
    call.ignore(&["then_branch", "else_branch"]);
    let name = if condition != 0 { "then_branch" } else { "else_branch" };
    let Some(Attribute::Branch(branch)) = call.attribute(name) else { return Err(problem(format!("has no {name}"))) };
    let mut values: HashMap<&str, Value> =
        call.node.inputs.iter().map(String::as_str).zip(call.inputs.iter().cloned()).skip(1).collect();
    values.extend(branch.initializers.iter().map(|(name, known)| (name.as_str(), Value::Known(known.clone()))));
    let read = |values: &HashMap<&str, Value>, name: &str| -> Lowered<Value> {
        values.get(name).cloned().ok_or_else(|| problem(format!("its branch reads {name:?}, which nothing computes")))
    };
    for node in &branch.nodes {
        let inputs: Vec<Value> = node
            .inputs
            .iter()
            .map(|name| if name.is_empty() { Ok(Value::Absent) } else { read(&values, name) })
            .collect::<Lowered<_>>()?;
        let outputs = lowering.call(&Call::new(node, inputs, call.opset)).map_err(|mut inner| {
            inner.text = format!("in its {name}, {} ({:?}): {}", node.op, node.label(), inner.text);
            inner
        })?;
        values.extend(node.outputs.iter().map(String::as_str).zip(outputs).filter(|(name, _)| !name.is_empty()));
    }
    branch.outputs.iter().map(|name| read(&values, name)).collect()
}
