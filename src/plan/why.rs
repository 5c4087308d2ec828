//! Why a shader was chosen for a node: all candidates, with their estimates and measurements.

use super::Options;
use super::choices::{Choices, Outcome};
use super::select::{Selection, select, serving};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::layout::Layout;
use crate::ops::Io;
use crate::table::{self, Column};
use std::collections::BTreeSet;
use std::fmt;

/// A shader that could compute a node's value.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// File stem.
    pub stem: &'static str,
    /// The kernel's upper estimate in milliseconds.
    pub estimate_ms: f64,
    /// The layout of the result.
    pub layout: Layout,
    /// The measurement of this layer, or of the nearest one of another size.
    pub measured: Option<Outcome>,
    pub is_chosen: bool,
}

/// A choice, and the candidates it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// The node; for a gradient, followed by the gradient's name.
    pub name: String,
    /// In the planner's order of preference among equals.
    pub considered: Vec<Considered>,
    pub reason: &'static str,
}

/// Explains why the shaders of node `name` were chosen: those of its forward pass, and those of the gradients for its inputs if
/// `fetches` need them.
///
/// # Errors
/// Those of [`super::Plan::new`]; no step computes a node of that name.
pub fn why(graph: &Graph, fetches: &[NodeId], options: &Options, name: &str) -> Result<Vec<Why>> {
    let graph = &super::fuse::fuse(graph, fetches, options)?;
    let selection = select(graph, fetches, options, &BTreeSet::new())?;
    let nodes = graph.nodes();
    let computed = |index: &usize| selection.calls[*index].map(|call| nodes[call.node].name.as_str());
    let of_node = selection.chosen.keys().filter(|index| computed(index) == Some(name));
    let found = of_node.map(|&index| explain(graph, &selection, options, index)).collect::<Result<Vec<_>>>()?;
    if found.is_empty() {
        let mut names: Vec<&str> = selection.chosen.keys().filter_map(computed).collect();
        names.dedup();
        let problem = match graph.find(name) {
            Some(_) => "has no step of its own: it is given, not needed, or computed together with a later node",
            None => "is not a node of this network",
        };
        return Err(Error::graph(name, format!("{problem}; nodes with steps: {}", names.join(", "))));
    }
    Ok(found)
}

fn explain(graph: &Graph, selection: &Selection, options: &Options, index: usize) -> Result<Why> {
    let (Some(call), chosen) = (selection.calls[index], &selection.chosen[&index]) else {
        return Err(Error::plan("a node without an operation has a shader"));
    };
    let (x, y) = call.shapes(graph);
    let io = Io { x: &x, y };
    let choice = options.choices.and_then(|choices: &Choices| choices.choice(call.op, call.wanted(), &x));
    let written = call.wanted().map_or_else(|| "y".to_owned(), |input| format!("d{input}"));
    let mut considered = Vec::new();
    for served in serving(call.op, &io, call.wanted(), options)? {
        let stem = served.stem();
        considered.push(Considered {
            stem,
            estimate_ms: served.work.ns / 1e6,
            layout: served.shader.variable(&written).map_or(Layout::Rows, |v| v.layout),
            measured: choice.and_then(|c| c.candidates.iter().find(|c| c.stem == stem)).map(|c| c.outcome.clone()),
            is_chosen: stem == chosen.stem(),
        });
    }
    let own = considered.iter().find(|c| c.is_chosen).map_or(f64::INFINITY, |c| c.estimate_ms);
    let reason = match considered.len() {
        1 => "the only one that serves this call",
        _ if choice.is_some_and(|c| c.stem == chosen.stem()) => "measured to be the fastest",
        _ if considered.iter().any(|c| c.estimate_ms < own) => {
            "faster ones read channel quads, which no node before it writes; they gain less than repacking costs"
        }
        _ => "the fastest by estimate; `lineament tune` measures",
    };
    let name = &graph.nodes()[call.node].name;
    let name = if call.gradient.is_some() { format!("{name}.{written}") } else { name.clone() };
    Ok(Why { name, considered, reason })
}

impl Considered {
    /// Returns `rows`, `texels` or `quads`.
    pub fn layout_name(&self) -> &'static str {
        match self.layout {
            Layout::Rows => "rows",
            Layout::Texels => "texels",
            Layout::Quads => "quads",
        }
    }
}

/// Formats a table of what was considered; a precision sets its maximum width.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let rows: Vec<[String; 5]> = self
            .considered
            .iter()
            .map(|c| {
                let estimate = if c.estimate_ms.is_finite() && c.estimate_ms > 0.0 {
                    format!("{:.3}", c.estimate_ms)
                } else {
                    "-".into()
                };
                let measured = match &c.measured {
                    Some(Outcome::Ms(ms)) => format!("{ms:.3}"),
                    Some(Outcome::Banned(_)) => "wrong".into(),
                    None => "-".into(),
                };
                let mark = if c.is_chosen { "chosen" } else { "" };
                [c.stem.into(), c.layout_name().into(), estimate, measured, mark.into()]
            })
            .collect();
        let columns = [
            Column::words("shader", 0),
            Column::words("result in", 1),
            Column::numbers("at most ms", 0),
            Column::numbers("measured ms", 0),
            Column::words("", 0),
        ];
        let width = f.precision().unwrap_or(usize::MAX);
        writeln!(f, "{}: {}", self.name, self.reason)?;
        table::write(f, &columns, &rows, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Init, grad};
    use crate::ops::conv2d::{Conv2d, Fusion};
    use crate::plan::choices::{Candidate, Choice, key};
    use crate::plan::{Caps, Plan};
    use std::collections::BTreeMap;

    #[test]
    fn what_is_explained_is_what_is_planned() {
        let mut g = Graph::new();
        let x = g.input("x", [1, 8, 16, 16]).unwrap();
        let w = g.param("w", [8, 8, 3, 3], Init::Constant(0.1)).unwrap();
        let b = g.param("b", [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
        let y = g.add_named("c", Conv2d::same(3), &[x, w, b]).unwrap();
        let loss = g.mse(y, x, crate::ops::loss::Reduction::Mean).unwrap();
        let dw = grad::backward(&mut g, loss, &[w]).unwrap()[0];
        let hardware = Caps::default();
        let stem_of = |plan: &Plan, name: &str| plan.steps.iter().find(|s| s.name == name).unwrap().stem();
        for caps in [hardware, Caps::software()] {
            let options = Options { caps, ..Options::default() };
            let plan =
                Plan::new(&crate::plan::fuse::fuse(&g, &[y, dw], &options).unwrap(), &[y, dw], &options).unwrap();
            let all = why(&g, &[y, dw], &options, "c").unwrap();
            let chosen = |why: &Why| why.considered.iter().find(|c| c.is_chosen).unwrap().stem;
            let names: Vec<&str> = all.iter().map(|why| why.name.as_str()).collect();
            assert_eq!(names, ["c", "c.dw"]);
            assert_eq!(chosen(&all[0]), stem_of(&plan, "c"));
            assert_eq!(chosen(&all[1]), stem_of(&plan, "c.backward_w"));
        }
        // What was measured is shown, and wins over the estimate.
        let shapes = [[1, 8, 16, 16], [8, 8, 3, 3], [1, 8, 1, 1], [1, 8, 1, 1]];
        let candidates = [("conv2d/fused", 1.0), ("conv2d/conv3x3_tile", 2.0)]
            .map(|(stem, ms)| Candidate { stem: stem.into(), outcome: Outcome::Ms(ms) });
        let choice = Choice { stem: "conv2d/fused".into(), candidates: candidates.to_vec() };
        let op = Conv2d { fusion: Some(Fusion::default()), ..Conv2d::same(3) };
        let choices = Choices { layers: BTreeMap::from([(key(&op, None, &shapes.map(Into::into)), choice)]) };
        let options = Options { caps: hardware, choices: Some(&choices), ..Options::default() };
        let measured = &why(&g, &[y], &options, "c").unwrap()[0];
        let plain = measured.considered.iter().find(|c| c.is_chosen).unwrap();
        assert_eq!((plain.stem, &plain.measured), ("conv2d/fused", &Some(Outcome::Ms(1.0))));
        assert_eq!(measured.reason, "measured to be the fastest");
        let without = &why(&g, &[y], &Options { caps: hardware, ..Options::default() }, "c").unwrap()[0];
        assert!(without.considered.iter().any(|c| c.is_chosen && c.stem != "conv2d/fused"), "{without}");

        for (name, problem) in [("nothing", "is not a node"), ("w", "no step of its own")] {
            let error = why(&g, &[y], &options, name).unwrap_err().to_string();
            assert!(error.contains(problem) && error.ends_with("nodes with steps: c"), "{error}");
        }
    }
}
