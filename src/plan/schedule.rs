//! The pass that orders the steps, with their launches, the values that they bind, and what is copied or repacked between them.

use super::lower::Asked;
use super::select::{Chosen, Selection};
use super::verify::counts;
use super::{Binding, Options, REPACK, Step, Value};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::layout::{Layout, pack_offsets};
use crate::ops::kernel::MAX_DISPATCH_MS;
use crate::ops::repack::Repack;
use crate::ops::{Call, Cost, FORWARD, Grid, Io, Launch, Op, Scalar, Source, Work, is_scratch, output_of, scratch_of};
use crate::shader::{Entry, Shader, reflect};
use crate::tensor::{DType, Shape};
use std::collections::{BTreeMap, HashMap};

/// Steps in order, and values that have no memory yet.
pub(super) struct Scheduled {
    pub steps: Vec<Step>,
    pub values: Vec<Value>,
    /// Name and value of each input.
    pub inputs: Vec<(String, usize)>,
    /// Values to return, in the requested order.
    pub returned: Vec<usize>,
}

/// The gradients that a dispatch computes: the node of `dy`, and the gradient node of each wanted input.
type Wanted = (usize, BTreeMap<&'static str, usize>);

/// Number of steps for which a copy in another layout is kept. After that it is made again: its memory is worth more than the copy.
const STEPS_OF_A_COPY: usize = 8;

/// Orders what was selected.
///
/// # Errors
/// A dispatch exceeds `options.caps` (the error gives the number); a shader breaks its contract.
pub(super) fn schedule(
    graph: &Graph,
    fetches: &[NodeId],
    selection: &Selection,
    options: &Options,
) -> Result<Scheduled> {
    let mut builder = Builder {
        graph,
        options,
        selection,
        steps: Vec::new(),
        values: Vec::new(),
        of_node: HashMap::new(),
        texels: HashMap::new(),
        repacked: HashMap::new(),
    };
    let nodes = graph.nodes();
    let Selection { calls, needed, chosen, .. } = selection;
    let mut inputs = Vec::new();
    for index in (0..nodes.len()).filter(|&i| needed[i]) {
        match nodes[index].kind {
            Kind::Input => {
                // If every reader wants quads, the host packs them.
                let layout = if selection.is_read_as_quads(graph, index) { Layout::Quads } else { Layout::Rows };
                inputs.push((nodes[index].name.clone(), builder.value_with(index, layout)));
            }
            Kind::Param { .. } | Kind::Constant(_) => {
                builder.value_of(index);
            }
            _ => {}
        }
    }
    // Updates overwrite what other steps read, so they come last.
    let is_update = |i: &usize| matches!(nodes[*i].kind, Kind::Update(_));
    let order = (0..nodes.len()).filter(|i| needed[*i] && !is_update(i));
    for index in order.chain((0..nodes.len()).filter(|i| needed[*i] && is_update(i))) {
        match calls[index] {
            Some(call) => match call.gradient {
                None => builder.emit(&call, &chosen[&index], None)?,
                Some(_) if builder.of_node.contains_key(&index) => {}
                Some((_, dy)) => {
                    let wanted = wanted_with(index, selection);
                    builder.emit(&call, &chosen[&index], Some((dy, wanted)))?;
                }
            },
            None if matches!(nodes[index].kind, Kind::Pack) => builder.pack(index)?,
            None if matches!(nodes[index].kind, Kind::Reshape) => builder.reshape(index)?,
            None => {}
        }
    }
    let mut returned = Vec::new();
    for &id in fetches {
        if !matches!(nodes[id.index].kind, Kind::Update(_)) {
            // The host unpacks quads.
            let value = builder.value_of(id.index);
            builder.values[value].life.1 = builder.steps.len();
            returned.push(value);
        }
    }
    builder.extend_lives();
    Ok(Scheduled { steps: builder.steps, values: builder.values, inputs, returned })
}

/// Returns the gradients to compute together with that of node `index`: a dispatch writes all gradients of its method that follow
/// from one upstream gradient. A gradient that is asked for twice is computed twice.
fn wanted_with(index: usize, selection: &Selection) -> BTreeMap<&'static str, usize> {
    let Selection { calls, chosen, .. } = selection;
    let mut wanted = BTreeMap::new();
    let (Some(own), own_choice) = (calls[index], &chosen[&index]) else { return wanted };
    if let Some((input, _)) = own.gradient {
        wanted.insert(input, index);
    }
    for (&other, choice) in chosen {
        if let Some(call) = calls[other]
            && let Some((input, dy)) = call.gradient
            && call.node == own.node
            && own.gradient.is_some_and(|(_, own_dy)| own_dy == dy)
            && (&choice.method, choice.stem()) == (&own_choice.method, own_choice.stem())
        {
            wanted.entry(input).or_insert(other);
        }
    }
    wanted
}

struct Builder<'a> {
    graph: &'a Graph,
    options: &'a Options<'a>,
    selection: &'a Selection<'a>,
    steps: Vec<Step>,
    values: Vec<Value>,
    of_node: HashMap<usize, usize>,
    /// The latest copy of each value as texels.
    texels: HashMap<usize, usize>,
    /// The latest repack of each value into each layout.
    repacked: HashMap<(usize, Layout), usize>,
}

/// One pass of a method, with what it needs to become a step.
struct Pass<'a> {
    node: usize,
    name: &'a str,
    op: &'a dyn Op,
    source: Source,
    shader: &'a Shader,
    entry: &'a Entry,
    method: &'a str,
    launch: Launch,
    is_first: bool,
    once: bool,
    bindings: Vec<Binding>,
    copies: Vec<(usize, usize)>,
    cost: Cost,
    most_ms: f64,
}

impl Builder<'_> {
    fn value_of(&mut self, node: usize) -> usize {
        self.value_with(node, Layout::Rows)
    }

    /// Returns the value of `node`; a new one gets `layout`.
    fn value_with(&mut self, node: usize, layout: Layout) -> usize {
        if let Some(&value) = self.of_node.get(&node) {
            return value;
        }
        let n = &self.graph.nodes()[node];
        let value = self.new_value(n.name.clone(), n.shape, Some(node), layout);
        self.values[value].dtype = n.dtype;
        self.of_node.insert(node, value);
        value
    }

    fn new_value(&mut self, name: String, shape: Shape, node: Option<usize>, layout: Layout) -> usize {
        let now = self.steps.len();
        self.values.push(Value {
            name,
            shape,
            dtype: DType::F32,
            is_half: false,
            node,
            slot: usize::MAX,
            offset_bytes: 0,
            within: None,
            layout,
            life: (now, now),
            is_prepared: false,
        });
        self.values.len() - 1
    }

    /// Adds the value of a pack and places its members in it.
    fn pack(&mut self, node: usize) -> Result<()> {
        let members = self.graph.nodes()[node].inputs.clone();
        let (offsets, _) = pack_offsets(members.iter().map(|&m| self.graph.nodes()[m].shape));
        let mut values = Vec::with_capacity(members.len());
        for &member in &members {
            let value = self.value_of(member);
            values.push(self.in_layout(value, Layout::Rows)?);
        }
        let pack = self.value_of(node);
        for (value, first) in values.into_iter().zip(offsets) {
            let begin = self.values[value].life.0;
            self.values[pack].life.0 = self.values[pack].life.0.min(begin);
            self.values[value].within = Some(pack);
            self.values[value].offset_bytes = 4 * first as u64;
        }
        Ok(())
    }

    /// Adds the value of a reshape, which lies where its input lies.
    fn reshape(&mut self, node: usize) -> Result<()> {
        let input = self.value_of(self.graph.unshaped(node));
        let rows = self.in_layout(input, Layout::Rows)?;
        let value = self.value_of(node);
        self.values[value].within = Some(rows);
        Ok(())
    }

    /// Lets every value live at least as long as those that lie within it. Those come later in the list, except for members of packs,
    /// whose memory nothing else uses.
    fn extend_lives(&mut self) {
        for v in (0..self.values.len()).rev() {
            if let Some(whole) = self.values[v].within {
                let last = self.values[v].life.1;
                self.values[whole].life.1 = self.values[whole].life.1.max(last);
            }
        }
    }

    /// Returns the value that holds `value` in `layout` (rows or quads). Adds a step that repacks `value` if necessary.
    fn in_layout(&mut self, value: usize, layout: Layout) -> Result<usize> {
        if self.values[value].layout == layout {
            return Ok(value);
        }
        let now = self.steps.len();
        if let Some(&known) = self.repacked.get(&(value, layout))
            && now - self.values[known].life.1 <= STEPS_OF_A_COPY
        {
            return Ok(known);
        }
        let kernel = if layout == Layout::Quads { Repack::TO_QUADS } else { Repack::TO_ROWS };
        let shader = reflect(&kernel.source)?;
        let Value { name, shape, node, .. } = self.values[value].clone();
        let x = [shape];
        let io = Io { x: &x, y: shape };
        let word = if layout == Layout::Quads { "quads" } else { "rows" };
        let new = self.new_value(format!("{name} ({word})"), shape, node, layout);
        let passes = shader.passes(FORWARD);
        let work = kernel.serve(&Call::new(&Repack, FORWARD, &[FORWARD], io), &self.options.caps);
        let (Some(entry), Some(launch)) = (passes.first(), work.and_then(|work| work.passes.into_iter().next())) else {
            let problem = format!("{name} {shape:?} is too large for a texture; use a smaller input or batch");
            return Err(Error::plan(problem));
        };
        let bindings = shader
            .variables
            .iter()
            .map(|variable| Binding {
                variable: variable.name.clone(),
                binding: variable.binding,
                value: if variable.name == "y" { new } else { value },
                layout: variable.layout,
                is_half: false,
                writable: variable.writable,
                written: variable.name == "y",
            })
            .collect();
        let cost = Repack.cost(FORWARD, &io);
        self.push(Pass {
            node: node.unwrap_or(0),
            name: &format!("{name} ({word})"),
            op: &Repack,
            source: kernel.source,
            shader: &shader,
            entry,
            method: REPACK,
            launch,
            is_first: true,
            once: false,
            bindings,
            copies: Vec::new(),
            cost,
            most_ms: 0.0,
        })?;
        self.repacked.insert((value, layout), new);
        Ok(new)
    }

    /// Adds the steps of `call`: all passes of `chosen`. The dispatches of a gradient also write those of the other `wanted` inputs.
    fn emit(&mut self, call: &Asked, chosen: &Chosen, wanted: Option<Wanted>) -> Result<()> {
        let Asked { node, op, inputs, .. } = *call;
        let (x, y) = call.shapes(self.graph);
        let io = Io { x: &x, y };
        let node_name = self.graph.nodes()[node].name.clone();
        let (stem, method) = (chosen.stem(), chosen.method.as_str());
        let Work { ref scratch, blocks, .. } = chosen.work;
        let name = if wanted.is_some() { format!("{node_name}.{method}") } else { node_name };
        let passes = chosen.shader.passes(method);
        let layout_of = |name: &str| chosen.shader.variable(name).map_or(Layout::Rows, |v| v.layout);
        // Returns the node of the graph that a variable reads, or that the variable of an output writes.
        let node_of = |v: &str| -> Result<Option<usize>> {
            if let Some(k) = output_of(op, v) {
                return Ok(Some(node + k));
            }
            if v == "dy" {
                let (dy, _) = wanted.as_ref().ok_or_else(|| Error::plan(format!("{name}: forward reads dy")))?;
                return Ok(Some(*dy));
            }
            // An absent input is not used: the first input is bound instead.
            let is_absent = op.absent().contains(&v);
            Ok(op.inputs().iter().position(|i| *i == v).or(is_absent.then_some(0)).map(|k| inputs[k]))
        };

        // Provides everything that is read, in the layout in which it is read, before the first pass.
        let mut read: HashMap<&str, usize> = HashMap::new();
        for pass in &passes {
            for v in pass.reads.iter().filter(|v| !is_scratch(v)) {
                if let Some(source) = node_of(v)?
                    && !read.contains_key(v.as_str())
                    && !op.updates().contains(&v.as_str())
                {
                    let value = self.value_of(source);
                    let layout = if layout_of(v) == Layout::Quads { Layout::Quads } else { Layout::Rows };
                    read.insert(v, self.in_layout(value, layout)?);
                }
            }
        }
        let is_fixed = |n: usize| match self.graph.nodes()[self.graph.unshaped(n)].kind {
            Kind::Param { .. } => !self.selection.updated[self.graph.unshaped(n)],
            Kind::Constant(_) => true,
            _ => false,
        };
        // A pass that reads only parameters and constants, and is the only one to write its scratch, runs again only when they change.
        let mut once = Vec::new();
        for pass in &passes {
            let mut fixed = pass
                .writes
                .iter()
                .all(|v| is_scratch(v) && passes.iter().filter(|other| other.writes.contains(v)).count() == 1)
                && op.updates().is_empty();
            for v in &pass.reads {
                fixed &= !is_scratch(v) && node_of(v)?.is_some_and(is_fixed);
            }
            once.push(fixed);
        }

        let mut extra: HashMap<String, usize> = HashMap::new();
        let mut is_first = true;
        for block in 0..blocks {
            for ((pass, launch), &once) in passes.iter().zip(&chosen.work.passes).zip(&once) {
                if once && block > 0 {
                    continue;
                }
                let mut launch = launch.clone();
                for (member, value) in &mut launch.params {
                    if blocks > 1 && *member == "block" {
                        *value = Scalar::from(block);
                    }
                }
                let mut bindings = Vec::new();
                let mut copies = Vec::new();
                for variable in &chosen.shader.variables {
                    let written = pass.writes.contains(&variable.name);
                    if !written && !pass.reads.contains(&variable.name) {
                        continue;
                    }
                    let v = variable.name.as_str();
                    let value = if is_scratch(v) {
                        let v = scratch_of(v);
                        match extra.get(v) {
                            Some(&value) => value,
                            None => {
                                let Some((_, len)) = scratch.iter().find(|(n, _)| *n == v) else {
                                    return Err(Error::plan(format!(
                                        "{name}: {stem}.{method} uses {v}, but its kernel gives no size for it"
                                    )));
                                };
                                let shape = Shape::from([1, 1, 1, (*len).max(1)]);
                                let value = self.new_value(format!("{name}.{v}"), shape, None, variable.layout);
                                self.values[value].is_prepared = once;
                                extra.insert(v.to_owned(), value);
                                value
                            }
                        }
                    } else if let Some(&value) = read.get(v).filter(|_| !written) {
                        value
                    } else if let Some(source) = node_of(v)? {
                        self.value_with(source, variable.layout)
                    } else {
                        // A gradient: the value of the wanted node, or memory that nothing reads.
                        let input = &v[1..];
                        let node_wanted = wanted.as_ref().and_then(|(_, w)| w.get(input)).copied();
                        match (node_wanted, extra.get(v)) {
                            (Some(gradient), _) => self.value_with(gradient, variable.layout),
                            (None, Some(&value)) => value,
                            (None, None) => {
                                let k = op.inputs().iter().position(|i| *i == input).ok_or_else(|| {
                                    Error::plan(format!("{name}: {stem} writes {v}, which is not a gradient"))
                                })?;
                                let value = self.new_value(format!("{name}.{v}"), x[k], None, variable.layout);
                                extra.insert(v.to_owned(), value);
                                value
                            }
                        }
                    };
                    let now = self.steps.len();
                    let value = if variable.layout == Layout::Texels && !is_scratch(v) {
                        let known = self.texels.get(&value).copied();
                        known.filter(|&t| now - self.values[t].life.1 <= STEPS_OF_A_COPY).unwrap_or_else(|| {
                            let Value { name, shape, node, life, .. } = &mut self.values[value];
                            life.1 = life.1.max(now);
                            let (name, shape, node) = (format!("{name} (texels)"), *shape, *node);
                            let texels = self.new_value(name, shape, node, Layout::Texels);
                            self.texels.insert(value, texels);
                            copies.push((value, texels));
                            texels
                        })
                    } else {
                        value
                    };
                    bindings.push(Binding {
                        variable: variable.name.clone(),
                        binding: variable.binding,
                        value,
                        layout: variable.layout,
                        is_half: false,
                        writable: variable.writable,
                        written,
                    });
                }
                let cost = if is_first { op.cost(method, &io) } else { Cost::default() };
                self.push(Pass {
                    node,
                    name: &name,
                    op,
                    source: chosen.kernel.source,
                    shader: &chosen.shader,
                    entry: pass,
                    method,
                    launch,
                    is_first,
                    once,
                    bindings,
                    copies,
                    cost,
                    // Each pass of a block counts as if it did all the work of the block.
                    most_ms: if is_first || blocks > 1 { chosen.most_ms / blocks as f64 } else { 0.0 },
                })?;
                is_first = false;
            }
        }
        Ok(())
    }

    /// Adds a step after checking it against the adapter's limits.
    fn push(&mut self, pass: Pass) -> Result<()> {
        let Pass {
            node,
            name,
            op,
            source,
            shader,
            entry,
            method,
            launch,
            is_first,
            once,
            bindings,
            copies,
            cost,
            most_ms,
        } = pass;
        let stem = source.stem;
        let now = self.steps.len();
        for binding in &bindings {
            let life = &mut self.values[binding.value].life;
            life.1 = life.1.max(now);
        }
        let params = if entry.uses_params { shader.pack_params(&entry.name, &launch)? } else { Vec::new() };
        let size = shader.workgroup_size(&entry.name, &launch.overrides)?;
        let caps = &self.options.caps;
        let fail = |problem: String| Err(Error::plan(format!("{name} ({stem}.{}): {problem}", entry.name)));
        let threads: u32 = size.iter().product();
        if threads == 0 || threads > caps.threads_per_workgroup {
            return fail(format!("workgroups of {threads} threads, the adapter allows {}", caps.threads_per_workgroup));
        }
        let workgroup_bytes = shader.workgroup_bytes(&entry.name, &launch.overrides)?;
        if workgroup_bytes > caps.workgroup_bytes {
            return fail(format!(
                "{workgroup_bytes} bytes of workgroup memory, the adapter allows {}",
                caps.workgroup_bytes
            ));
        }
        let [buffers, textures] = counts(bindings.iter().map(|b| b.layout));
        if buffers > caps.storage_buffers {
            return fail(format!("{buffers} storage buffers, the adapter allows {}", caps.storage_buffers));
        }
        if textures > caps.storage_textures {
            return fail(format!("{textures} storage textures, the adapter allows {}", caps.storage_textures));
        }
        let workgroups = match launch.grid {
            Grid::Groups(groups) => groups,
            Grid::Threads(threads) => fold(threads, size[0], caps.workgroups_per_dimension, self.options.fold_rows)
                .ok_or_else(|| Error::plan(format!("{name}: {threads} threads are too many for one dispatch")))?,
        };
        if workgroups.iter().any(|&g| g == 0 || g > caps.workgroups_per_dimension) {
            return fail(format!(
                "{workgroups:?} workgroups, the adapter allows 1 to {} in a dimension",
                caps.workgroups_per_dimension
            ));
        }
        if most_ms > MAX_DISPATCH_MS {
            return fail(format!(
                "{:.2} GFLOP may take {most_ms:.0} ms on this adapter, a dispatch is limited to {MAX_DISPATCH_MS} ms; use a smaller input or batch",
                cost.flops as f64 / 1e9
            ));
        }
        self.steps.push(Step {
            node,
            name: name.to_owned(),
            op: op.name(),
            source,
            entry: entry.name.clone(),
            method: method.to_owned(),
            is_first_pass: is_first,
            once,
            bindings,
            copies,
            params,
            overrides: launch.overrides,
            workgroups,
            cost,
            most_ms,
        });
        Ok(())
    }
}

/// Returns the workgroups for `threads` invocations, folded into rows of at most `max` workgroups and into at least `rows` rows;
/// `None` if there are more than `max` rows.
fn fold(threads: usize, size: u32, max: u32, rows: u32) -> Option<[u32; 3]> {
    let groups = u32::try_from(threads.div_ceil(size as usize)).ok()?;
    let rows = groups.div_ceil(max).max(rows).max(1);
    (rows <= max).then(|| [groups.div_ceil(rows), rows, 1])
}
