//! The pass that determines which nodes are needed, and which kernel computes each of them in which layout.

use super::lower::{Asked, lower};
use super::verify::counts;
use super::{Options, choices};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::layout::Layout;
use crate::ops::{Call, Caps, FORWARD, Io, Kernel, Op, Work, is_scratch, output_of};
use crate::shader::{Entry, Shader, Variable, reflect};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Minimum gain over the plain kernel for which it is worth repacking the inputs of a kernel.
pub(crate) const WORTH_REPACKING: f64 = 2.0;

/// A kernel that serves a node.
#[derive(Clone)]
pub(crate) struct Chosen {
    pub kernel: Kernel,
    pub shader: Arc<Shader>,
    pub method: String,
    pub work: Work,
    /// Estimated speed-up over the plain kernel.
    pub gain: f64,
    /// Time of all its dispatches in milliseconds, measured if possible, else estimated.
    pub most_ms: f64,
}

impl Chosen {
    pub fn stem(&self) -> &'static str {
        self.kernel.stem()
    }
    /// Returns whether its method writes the gradient for `input`.
    fn computes(&self, input: &str) -> bool {
        let gradient = format!("d{input}");
        self.shader.passes(&self.method).iter().any(|pass| pass.writes.contains(&gradient))
    }
    /// Returns whether it reads or writes tensors as channel quads.
    pub fn uses_quads(&self) -> bool {
        self.shader.variables.iter().any(|v| v.layout == Layout::Quads && !is_scratch(&v.name))
    }
}

/// Returns the kernels that serve `op`, or the gradient for its input `gradient`, under `options`: in the operation's order, with the
/// plain one last.
///
/// # Errors
/// The operation has no kernel; a shader breaks its contract.
pub(crate) fn serving(op: &dyn Op, io: &Io, gradient: Option<&str>, options: &Options) -> Result<Vec<Chosen>> {
    let Some((plain, others)) = op.kernels().split_first() else {
        return Err(Error::plan(format!("{} has no kernel", op.name())));
    };
    let candidates: Vec<Kernel> = match options.kernel {
        // Its text may differ from that of the kernel in the list.
        Some(wanted) if wanted.stem() == plain.stem() => vec![wanted],
        Some(wanted) => {
            let wanted = others.iter().any(|k| k.stem() == wanted.stem()).then_some(wanted);
            wanted.into_iter().chain([*plain]).collect()
        }
        None => {
            let is_of_family = |kernel: &&Kernel| kernel.family.is_none_or(|family| family == options.caps.family);
            others.iter().filter(is_of_family).chain([plain]).copied().collect()
        }
    };
    let measured = options.choices.and_then(|choices| choices.scaled(op, gradient, io.x));
    let mut found = Vec::new();
    for kernel in candidates {
        let shader = reflect(&kernel.source)?;
        shader.check_contract(op)?;
        let method = match gradient {
            None => Some(FORWARD),
            Some(input) => shader.gradient_method(input),
        };
        let Some(method) = method.map(str::to_owned) else { continue };
        let passes = shader.passes(&method);
        let is_within = |pass: &&Entry| {
            let used = |v: &&Variable| pass.reads.contains(&v.name) || pass.writes.contains(&v.name);
            let [buffers, textures] = counts(shader.variables.iter().filter(used).map(|v| v.layout));
            buffers <= options.caps.storage_buffers && textures <= options.caps.storage_textures
        };
        if kernel.stem() != plain.stem() && !passes.iter().all(is_within) {
            continue;
        }
        let entries: Vec<&str> = passes.iter().map(|pass| pass.name.as_str()).collect();
        let Some(work) = kernel.serve(&Call::new(op, &method, &entries, *io), &options.caps) else { continue };
        let gain = options.caps.plain_ns(op.cost(&method, io)) / work.ns;
        let measured_ms = measured.and_then(|(choice, factor)| Some(choice.ms(kernel.stem())? * factor));
        let most_ms = measured_ms.unwrap_or(work.ns / 1e6);
        found.push(Chosen { kernel, method, shader, work, gain: if gain.is_nan() { 1.0 } else { gain }, most_ms });
    }
    if found.is_empty() && options.kernel.is_some() {
        return serving(op, io, gradient, &Options { kernel: None, ..*options });
    }
    Ok(found)
}

/// The nodes to compute and the kernels that compute them.
pub(super) struct Selection<'g> {
    pub calls: Vec<Option<Asked<'g>>>,
    /// Whether each node is needed.
    pub needed: Vec<bool>,
    /// The kernel of every needed node that is computed.
    pub chosen: BTreeMap<usize, Chosen>,
    /// Whether each node is a parameter that an operation overwrites.
    pub updated: Vec<bool>,
    /// The measured choices that were followed, by [`choices::key`].
    pub followed: BTreeMap<String, String>,
    /// Measured choices that are not used, with the reason.
    pub notes: Vec<String>,
}

/// Chooses kernels for `fetches` and everything that they need. Follows measured choices except for the layers in `given_up`.
///
/// # Errors
/// No kernel serves a node; a node belongs to another graph; `fetches` is empty.
pub(super) fn select<'g>(
    graph: &'g Graph,
    fetches: &[NodeId],
    options: &Options,
    given_up: &BTreeSet<String>,
) -> Result<Selection<'g>> {
    for &id in fetches {
        graph.node(id)?;
    }
    if fetches.is_empty() {
        return Err(Error::plan("nothing to compute: pass at least one node"));
    }
    let nodes = graph.nodes();
    let mut selection = Selection {
        calls: lower(graph)?,
        needed: vec![false; nodes.len()],
        chosen: BTreeMap::new(),
        updated: vec![false; nodes.len()],
        followed: BTreeMap::new(),
        notes: Vec::new(),
    };
    for &id in fetches {
        selection.needed[id.index] = true;
    }
    // Goes backwards, because what an entry reads determines what a gradient needs.
    for index in (0..nodes.len()).rev() {
        if !selection.needed[index] {
            continue;
        }
        let Some(call) = selection.calls[index] else {
            nodes[index].inputs.iter().for_each(|&input| selection.needed[input] = true);
            continue;
        };
        let chosen = selection.choose(graph, options, given_up, &call, |_| true)?;
        match call.gradient {
            None => selection.need_inputs(graph, &call),
            Some((_, dy)) => {
                selection.needed[dy] = true;
                selection.need_reads(&call, &chosen);
            }
        }
        selection.chosen.insert(index, chosen);
    }
    selection.share_dispatches();
    selection.keep_layouts(graph, options, given_up)?;
    Ok(selection)
}

impl Selection<'_> {
    /// Marks all inputs of a forward pass as needed, and those that it overwrites, including members of packs, as updated.
    fn need_inputs(&mut self, graph: &Graph, call: &Asked) {
        for (&input, name) in call.inputs.iter().zip(call.op.inputs()) {
            self.needed[input] = true;
            if call.op.updates().contains(name) {
                self.updated[input] = true;
                let node = &graph.nodes()[input];
                if matches!(node.kind, Kind::Pack) {
                    node.inputs.iter().for_each(|&member| self.updated[member] = true);
                }
            }
        }
    }

    /// Marks what the passes of a gradient read as needed.
    fn need_reads(&mut self, call: &Asked, chosen: &Chosen) {
        for name in chosen.shader.passes(&chosen.method).iter().flat_map(|pass| &pass.reads) {
            if let Some(k) = output_of(call.op, name) {
                self.needed[call.node + k] = true;
            } else if let Some(k) = call.op.inputs().iter().position(|i| i == name) {
                self.needed[call.inputs[k]] = true;
            }
        }
    }

    /// Chooses the kernel for `call` among those whose shaders `may` be used: the requested one, else the measured choice, else the one
    /// with the lowest estimate; among equal estimates, the first in the operation's list.
    fn choose(
        &mut self,
        graph: &Graph,
        options: &Options,
        given_up: &BTreeSet<String>,
        call: &Asked,
        may: impl Fn(&Shader) -> bool,
    ) -> Result<Chosen> {
        let (op, gradient) = (call.op, call.wanted());
        let (x, y) = call.shapes(graph);
        let io = Io { x: &x, y };
        let key = || choices::key(op, gradient, &x);
        let measured = options.choices.and_then(|choices| choices.stem(op, gradient, &x));
        let measured = measured.filter(|_| given_up.is_empty() || !given_up.contains(&key()));
        let mut best: Option<Chosen> = None;
        for chosen in serving(op, &io, gradient, options)? {
            if !may(&chosen.shader) {
                continue;
            }
            let stem = chosen.stem();
            if measured == Some(stem) {
                self.followed.insert(key(), stem.to_owned());
            }
            if options.kernel.is_some() || measured == Some(stem) {
                best = Some(chosen);
                break;
            }
            if best.as_ref().is_none_or(|best| chosen.work.ns < best.work.ns) {
                best = Some(chosen);
            }
        }
        let name = &graph.nodes()[call.node].name;
        let Some(chosen) = best else {
            let endless = Options { caps: Caps { iterations: usize::MAX, ..options.caps }, ..*options };
            let why = match serving(op, &io, gradient, &endless)?.is_empty() {
                true => "",
                false => {
                    "; this adapter leaves loops as long as theirs too early (lavapipe after 65,535 iterations): use another"
                }
            };
            return Err(Error::plan(match gradient {
                Some(input) => {
                    format!("no kernel of {} computes d{input} for {name} with inputs {x:?}{why}", op.name())
                }
                None => format!("no kernel of {} serves {name} with inputs {x:?}{why}", op.name()),
            }));
        };
        if let Some(stem) = measured.filter(|stem| options.kernel.is_none() && *stem != chosen.stem()) {
            let note = format!("{stem} was measured to be fastest for {}, but does not serve {name} here", key());
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(chosen)
    }

    /// Takes a gradient from a dispatch that already computes it along with another gradient of the same operation. If each of two
    /// dispatches computes both, the faster one is used.
    fn share_dispatches(&mut self) {
        let gradients: Vec<usize> = self.chosen.keys().copied().filter(|&i| self.wanted(i).is_some()).collect();
        for &index in &gradients {
            let Some((node, dy, own)) = self.wanted(index) else { continue };
            let mut best: Option<&Chosen> = None;
            for &other in gradients.iter().filter(|&&other| other != index) {
                let Some(theirs) = self.wanted(other).filter(|w| (w.0, w.1) == (node, dy)).map(|w| w.2) else {
                    continue;
                };
                let (mine, other) = (&self.chosen[&index], &self.chosen[&other]);
                let is_less = !mine.computes(theirs) || other.work.ns < mine.work.ns;
                if other.computes(own) && is_less && best.is_none_or(|best| other.work.ns < best.work.ns) {
                    best = Some(other);
                }
            }
            if let Some(shared) = best.cloned() {
                self.chosen.insert(index, shared);
            }
        }
    }

    /// Returns the operation's node, the upstream gradient and the input of the gradient at `index`.
    fn wanted(&self, index: usize) -> Option<(usize, usize, &'static str)> {
        let call = self.calls[index]?;
        call.gradient.map(|(input, dy)| (call.node, dy, input))
    }

    /// Replaces a kernel that uses quads by one that uses only rows if no value that it reads is stored as quads and its gain is
    /// below [`WORTH_REPACKING`], so that a chain of operations stays in one layout.
    fn keep_layouts(&mut self, graph: &Graph, options: &Options, given_up: &BTreeSet<String>) -> Result<()> {
        let mut is_quads = vec![false; self.calls.len()];
        for index in (0..self.calls.len()).filter(|&i| self.chosen.contains_key(&i)).collect::<Vec<_>>() {
            let Some(call) = self.calls[index] else { continue };
            let choice = &self.chosen[&index];
            let is_slow = choice.gain < WORTH_REPACKING;
            let dy = call.gradient.map(|(_, dy)| dy);
            let reads_quads =
                call.inputs.iter().chain(&dy).any(|&i| is_quads[i]) || (dy.is_some() && is_quads[call.node]);
            if is_slow && choice.uses_quads() && !reads_quads && options.kernel.is_none() {
                let rows = self.choose(graph, options, given_up, &call, |shader| !shader.uses_texels())?;
                self.chosen.insert(index, rows);
            }
            let written = call.wanted().map_or_else(|| "y".to_owned(), |input| format!("d{input}"));
            let variable = self.chosen[&index].shader.variable(&written);
            is_quads[index] = variable.is_some_and(|v| v.layout == Layout::Quads);
        }
        Ok(())
    }

    /// Returns whether some step reads `node`, and every such step declares it as channel quads.
    pub fn is_read_as_quads(&self, graph: &Graph, node: usize) -> bool {
        let is_reshape = |other: usize| matches!(graph.nodes()[other].kind, Kind::Reshape);
        let reads = |other: usize| self.needed[other] && graph.nodes()[other].inputs == [node];
        if (node + 1..self.needed.len()).any(|other| is_reshape(other) && reads(other)) {
            return false;
        }
        let mut found = false;
        for (&reader, choice) in &self.chosen {
            let Some(call) = self.calls[reader] else { continue };
            for v in choice.shader.passes(&choice.method).iter().flat_map(|pass| &pass.reads) {
                let is_this = call.op.inputs().iter().zip(call.inputs).any(|(name, &i)| name == v && i == node)
                    || (v == "dy" && call.gradient.is_some_and(|(_, dy)| dy == node));
                if is_this {
                    found = true;
                    if choice.shader.variable(v).is_none_or(|v| v.layout != Layout::Quads) {
                        return false;
                    }
                }
            }
        }
        found
    }
}
