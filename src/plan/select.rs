//! The pass that chooses: which nodes are needed, and which shader computes each of them in which layout.

use super::lower::{Call, lower};
use super::verify::counts;
use super::{Options, choices};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::layout::Layout;
use crate::ops::{Io, Op, Source, is_scratch, scratch_of};
use crate::shader::{Entry, Shader, Variable, reflect};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Speed of a shader, against a plain one, from which repacking its inputs is worth it.
pub(crate) const WORTH_REPACKING: f64 = 2.0;

/// A method of a shader that serves a node.
pub(crate) struct Chosen {
    pub source: Source,
    pub shader: Arc<Shader>,
    pub method: String,
}

impl Chosen {
    /// It reads or writes tensors as channel quads.
    pub fn uses_quads(&self) -> bool {
        self.shader.variables.iter().any(|v| v.layout == Layout::Quads && !is_scratch(&v.name))
    }
}

/// The shaders that launch for `op`, or for the gradient of its input `gradient`, on adapters as `options` say: variants
/// in the operation's order, then the plain one.
///
/// # Errors
/// The operation has no shader; one breaks its contract.
pub(crate) fn serving(op: &dyn Op, io: &Io, gradient: Option<&str>, options: &Options) -> Result<Vec<Chosen>> {
    let Some((plain, variants)) = op.shaders().split_first() else {
        return Err(Error::plan(format!("{} has no shader", op.name())));
    };
    let is_wanted = |source: &&Source| options.variant.is_none_or(|stem| source.stem == stem);
    let mut found = Vec::new();
    for source in variants.iter().filter(is_wanted).chain([plain]) {
        let shader = reflect(source)?;
        shader.check_contract(op)?;
        // Two families: textures are for software adapters, tiles in workgroup memory for hardware.
        let is_other_family =
            if options.limits.prefers_texels { source.stem.ends_with("_tile") } else { shader.uses_texels() };
        if is_other_family && options.variant.is_none() {
            continue;
        }
        let method = match gradient {
            None => Some("forward"),
            Some(input) => shader.gradient_method(input),
        };
        let Some(method) = method.map(str::to_owned) else { continue };
        let passes = shader.passes(&method);
        let is_within = |pass: &&Entry| {
            let used = |v: &&Variable| pass.reads.contains(&v.name) || pass.writes.contains(&v.name);
            let [buffers, textures] = counts(shader.variables.iter().filter(used).map(|v| v.layout));
            buffers <= options.limits.storage_buffers && textures <= options.limits.storage_textures
        };
        let is_plain = source.stem == plain.stem;
        if !passes.is_empty()
            && (is_plain || passes.iter().all(is_within))
            && passes.iter().all(|p| op.launch(source.stem, &p.name, io).is_some())
        {
            found.push(Chosen { source: *source, method, shader });
        }
    }
    Ok(found)
}

/// What is computed, and by which shaders.
pub(super) struct Selection<'g> {
    pub calls: Vec<Option<Call<'g>>>,
    /// By node.
    pub needed: Vec<bool>,
    /// The shader of every needed node that is computed.
    pub chosen: BTreeMap<usize, Chosen>,
    /// Parameters that an update overwrites, by node.
    pub updated: Vec<bool>,
    /// The measured choices that were followed, by [`choices::key`].
    pub followed: BTreeMap<String, String>,
    /// Measured choices that are not used, with the reason.
    pub notes: Vec<String>,
}

/// Chooses for `fetches` and what they need. Measured choices are followed but for those of the layers in `given_up`.
///
/// # Errors
/// No shader serves a node; a foreign node; nothing to compute.
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
    // Backwards, since an entry's reads decide what a gradient needs.
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
    selection.keep_layouts(graph, options, given_up)?;
    Ok(selection)
}

impl Selection<'_> {
    /// A forward pass needs all its inputs; an update overwrites some, and the members of packs among them.
    fn need_inputs(&mut self, graph: &Graph, call: &Call) {
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

    /// A gradient needs what its passes read.
    fn need_reads(&mut self, call: &Call, chosen: &Chosen) {
        for name in chosen.shader.passes(&chosen.method).iter().flat_map(|pass| &pass.reads) {
            if scratch_of(name) == "y" {
                self.needed[call.node] = true;
            } else if let Some(k) = call.op.inputs().iter().position(|i| i == name) {
                self.needed[call.inputs[k]] = true;
            }
        }
    }

    /// The shader and method for `call` among those that `may`: the wanted variant, else the measured choice, else of those
    /// that launch the fastest, variants before the plain shader.
    fn choose(
        &mut self,
        graph: &Graph,
        options: &Options,
        given_up: &BTreeSet<String>,
        call: &Call,
        may: impl Fn(&Shader) -> bool,
    ) -> Result<Chosen> {
        let (op, gradient) = (call.op, call.wanted());
        let (x, y) = call.shapes(graph);
        let io = Io { x: &x, y };
        let key = || choices::key(op, gradient, &x);
        let measured = options.choices.and_then(|choices| choices.stem(op, gradient, &x));
        let measured = measured.filter(|_| given_up.is_empty() || !given_up.contains(&key()));
        let mut best: Option<(f64, Chosen)> = None;
        for chosen in serving(op, &io, gradient, options)? {
            if !may(&chosen.shader) {
                continue;
            }
            let stem = chosen.source.stem;
            if measured == Some(stem) {
                self.followed.insert(key(), stem.to_owned());
            }
            if options.variant.is_some() || measured == Some(stem) {
                best = Some((f64::INFINITY, chosen));
                break;
            }
            let speed = op.speed(stem, &io);
            if best.as_ref().is_none_or(|(fastest, _)| speed > *fastest) {
                best = Some((speed, chosen));
            }
        }
        let name = &graph.nodes()[call.node].name;
        let chosen = best.map(|(_, chosen)| chosen).ok_or_else(|| {
            Error::plan(match gradient {
                Some(input) => format!("no shader of {} computes d{input} for {name} with inputs {x:?}", op.name()),
                None => format!("no shader of {} serves {name} with inputs {x:?}", op.name()),
            })
        })?;
        if let Some(stem) = measured.filter(|stem| options.variant.is_none() && *stem != chosen.source.stem) {
            let note = format!("{stem} was measured to be fastest for {}, but does not serve {name} here", key());
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(chosen)
    }

    /// Takes a shader that reads rows in place of one that reads quads, where no value that it reads comes as quads and it
    /// gains less than [`WORTH_REPACKING`]: a chain of operations stays in one layout.
    fn keep_layouts(&mut self, graph: &Graph, options: &Options, given_up: &BTreeSet<String>) -> Result<()> {
        let mut is_quads = vec![false; self.calls.len()];
        for index in (0..self.calls.len()).filter(|&i| self.chosen.contains_key(&i)).collect::<Vec<_>>() {
            let Some(call) = self.calls[index] else { continue };
            let choice = &self.chosen[&index];
            let (x, y) = call.shapes(graph);
            let slow = call.op.speed(choice.source.stem, &Io { x: &x, y }) < WORTH_REPACKING;
            let dy = call.gradient.map(|(_, dy)| dy);
            let reads_quads =
                call.inputs.iter().chain(&dy).any(|&i| is_quads[i]) || (dy.is_some() && is_quads[call.node]);
            if slow && choice.uses_quads() && !reads_quads && options.variant.is_none() {
                let rows = self.choose(graph, options, given_up, &call, |shader| !shader.uses_texels())?;
                self.chosen.insert(index, rows);
            }
            let written = call.wanted().map_or_else(|| "y".to_owned(), |input| format!("d{input}"));
            let variable = self.chosen[&index].shader.variable(&written);
            is_quads[index] = variable.is_some_and(|v| v.layout == Layout::Quads);
        }
        Ok(())
    }

    /// Every step that reads `node` declares it as channel quads, and there is one.
    pub fn is_read_as_quads(&self, node: usize) -> bool {
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
