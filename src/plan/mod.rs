//! Turns a graph into steps over slots: order, variants, lifetimes, launches. Plain data that prints as a table.
//!
//! A [`Plan`] holds no handles: it is made and compared without an adapter, and both the adapter and the references
//! follow it. Its memory is exact: nothing else is allocated for tensors.

use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::layout::pack_offsets;
use crate::layout::{Layout, MAX_TEXELS, TEXELS_A_ROW};
use crate::ops::repack::Repack;
use crate::ops::{Cost, Grid, Io, Launch, Op, Scalar, Source};
use crate::ops::{is_scratch, scratch_of};
use crate::shader::{Entry, Shader, Variable, reflect};
use crate::table::{self, Column};
use crate::tensor::Shape;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

pub mod choices;
pub(crate) mod fuse;
mod verify;

pub use choices::Choices;
pub(crate) use verify::counts;

/// What the adapter allows. The default is WebGPU's, which every kernel must live within.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Largest storage binding, so largest tensor.
    pub binding_bytes: u64,
    /// Memory for all tensors together.
    pub memory_bytes: u64,
    /// Storage buffers that an entry binds at most.
    pub storage_buffers: usize,
    /// Storage textures that an entry binds at most.
    pub storage_textures: usize,
    pub workgroups_per_dimension: u32,
    pub threads_per_workgroup: u32,
    pub workgroup_bytes: u32,
    /// Arithmetic that the adapter surely does in a second; with it [`MAX_DISPATCH_MS`] bounds a dispatch.
    pub flops_per_second: f64,
    /// A texel costs much less to load than an element of a buffer, so that shaders which first copy what they read
    /// into textures gain: true of lavapipe, where it is 5 ns against 60 for eight lanes (Zen 3, Mesa 22.3.6).
    pub prefers_texels: bool,
}

/// No dispatch is planned to take longer: desktop systems reset adapters that do not answer.
pub const MAX_DISPATCH_MS: f64 = 250.0;

impl Default for Limits {
    fn default() -> Self {
        Self {
            binding_bytes: 128 << 20,
            memory_bytes: 2 << 30,
            storage_buffers: 8,
            storage_textures: 4,
            workgroups_per_dimension: 65_535,
            threads_per_workgroup: 256,
            workgroup_bytes: 16_384,
            flops_per_second: 4e9,
            prefers_texels: false,
        }
    }
}

impl Limits {
    /// Those of the references on the processor: any size and any time, up to `memory_bytes` for all tensors together.
    pub fn references(memory_bytes: u64) -> Self {
        Self { binding_bytes: u64::MAX, memory_bytes, flops_per_second: f64::INFINITY, ..Self::default() }
    }
    /// Milliseconds that `cost` takes at most on such an adapter.
    pub fn estimate_ms(&self, cost: Cost) -> f64 {
        cost.flops as f64 / self.flops_per_second * 1e3
    }
}

/// How to plan.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options<'a> {
    pub limits: Limits,
    /// Use this shader wherever it can serve, and plain ones elsewhere.
    pub variant: Option<&'a str>,
    /// Give every value memory of its own, so that all can be read after a run.
    pub keep_all: bool,
    /// Fold grids of threads into at least this many rows of workgroups, as only larger grids are otherwise: for checks.
    pub fold_rows: u32,
    /// What was measured to be fastest; where it names no shader that serves, and where `variant` is given, the fastest by
    /// [`Op::speed`] is taken.
    pub choices: Option<&'a Choices>,
}

/// What a slot holds over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Values of one run, one after the other.
    Reused,
    /// A parameter or constant, by its node's index: kept between runs.
    Node(usize),
    /// Values of one run in a texture of this layout, one after the other.
    Texture(Layout),
    /// Scratch that depends on parameters only, in this layout: kept until they change.
    Prepared(Layout),
    /// A pack and its members, whose gaps hold zeros; parameters are kept between runs.
    Pack { is_kept: bool },
}

impl Hold {
    /// How the slot's values lie.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Reused | Self::Node(_) | Self::Pack { .. } => Layout::Rows,
            Self::Texture(layout) | Self::Prepared(layout) => *layout,
        }
    }
}

/// One buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub bytes: u64,
    pub hold: Hold,
}

/// One tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub name: String,
    pub shape: Shape,
    /// The graph's node, where it is one, or a copy of one as texels; scratch and unwanted gradients are none.
    pub node: Option<usize>,
    pub slot: usize,
    /// Where in the slot it begins: 0 for all but the members of a pack.
    pub offset_bytes: u64,
    /// The value of the pack whose member it is.
    pub pack: Option<usize>,
    pub layout: Layout,
    /// First and last step that touches it; inputs begin at 0, fetched values end at the number of steps.
    pub life: (usize, usize),
    /// Scratch written by a step that runs once.
    pub is_prepared: bool,
}

impl Value {
    /// Bytes of its memory.
    pub fn bytes(&self) -> u64 {
        let elements = self.layout.elements(&self.shape);
        match self.layout {
            Layout::Rows => 4 * elements as u64,
            Layout::Texels => 4 * elements.next_multiple_of(TEXELS_A_ROW) as u64,
            Layout::Quads => 16 * elements.next_multiple_of(TEXELS_A_ROW) as u64,
        }
    }

    /// Slot, and the offset in it where there is one, for tables.
    fn place(&self) -> String {
        match self.offset_bytes {
            0 => self.slot.to_string(),
            offset => format!("{}+{offset}", self.slot),
        }
    }
}

impl Value {
    /// Bytes of its place in the readback buffer: whole texels, where alone a copy from a texture may begin.
    pub fn readback_bytes(&self) -> u64 {
        self.bytes().next_multiple_of(16)
    }
    /// Bytes of a slot for it. Textures have whole blocks of rows, as drivers give them anyway, so that the plan knows them.
    fn slot_bytes(&self) -> u64 {
        let block = (TEXELS_A_ROW * ROWS_A_BLOCK) as u64;
        match self.layout {
            Layout::Rows => self.bytes(),
            Layout::Texels => self.bytes().next_multiple_of(4 * block),
            Layout::Quads => self.bytes().next_multiple_of(16 * block),
        }
    }
}

/// A WGSL variable and the value bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub variable: String,
    pub binding: u32,
    pub value: usize,
    pub layout: Layout,
    /// Declared `read_write` in the shader.
    pub writable: bool,
    /// The entry writes it.
    pub written: bool,
}

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The node whose operation runs: for a gradient, the forward node.
    pub node: usize,
    /// Path for tables: the node's, with the method for a gradient.
    pub name: String,
    pub op: &'static str,
    pub source: Source,
    pub entry: String,
    pub method: String,
    /// The first pass of its method.
    pub is_first_pass: bool,
    /// Reads parameters only, so it runs again only when they change.
    pub once: bool,
    pub bindings: Vec<Binding>,
    /// Values to copy before it from their buffer to their texture, with the value that stands for the texture.
    pub copies: Vec<(usize, usize)>,
    /// The uniform block `p`, as bytes.
    pub params: Vec<u8>,
    pub overrides: Vec<(&'static str, f64)>,
    pub workgroups: [u32; 3],
    /// Work of the whole method, stated at its first pass.
    pub cost: Cost,
    /// Arithmetic of the dispatch, as a plain shader would need time for it, stated where `cost` is.
    pub effort: Cost,
}

impl Step {
    /// File stem of the shader.
    pub fn stem(&self) -> &'static str {
        self.source.stem
    }
    /// Put in by the planner between two layouts.
    pub fn is_repack(&self) -> bool {
        self.method == REPACK
    }
}

/// The method of the planner's own steps.
const REPACK: &str = "repack";

/// Steps in order, and the memory that they use.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub values: Vec<Value>,
    pub slots: Vec<Slot>,
    /// (input's name, value).
    pub inputs: Vec<(String, usize)>,
    /// Values to return, in the order asked for.
    pub fetches: Vec<usize>,
    /// What was asked for and could not be: measured choices that are not used, with the reason.
    pub notes: Vec<String>,
}

/// A method of a shader that serves a node.
pub(crate) struct Chosen {
    pub source: Source,
    shader: Arc<Shader>,
    method: String,
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

impl Plan {
    /// Plans the computation of `fetches`, among which may be updates.
    ///
    /// # Errors
    /// No shader serves a node; a tensor, all tensors together or a dispatch do not fit `options.limits`, with the
    /// number; a foreign node.
    pub fn new(graph: &Graph, fetches: &[NodeId], options: &Options) -> Result<Self> {
        let followed = RefCell::default();
        let error = match Self::build(graph, fetches, options, &BTreeSet::new(), &followed) {
            Err(e @ Error::Plan { .. }) if !followed.borrow().is_empty() => e,
            planned => return planned,
        };
        // A choice made for one layer may need scratch for which this graph leaves no memory: the first without which the plan
        // fits is given up, or else all.
        let followed = followed.into_inner();
        let one = followed.keys().map(|key| BTreeSet::from([key.clone()]));
        for given_up in one.chain([followed.keys().cloned().collect()]) {
            if let Ok(mut plan) = Self::build(graph, fetches, options, &given_up, &RefCell::default()) {
                let note =
                    |key| format!("{} was measured to be fastest for {key}, but is not used: {error}", followed[key]);
                plan.notes = given_up.iter().map(note).collect();
                return Ok(plan);
            }
        }
        Err(error)
    }

    /// Plans with the measured choices but those of the layers in `given_up`, and notes which were followed.
    fn build(
        graph: &Graph,
        fetches: &[NodeId],
        options: &Options,
        given_up: &BTreeSet<String>,
        followed: &RefCell<BTreeMap<String, String>>,
    ) -> Result<Self> {
        let mut builder = Builder {
            graph,
            options,
            given_up,
            followed,
            steps: Vec::new(),
            values: Vec::new(),
            of_node: HashMap::new(),
            texels: HashMap::new(),
            repacked: HashMap::new(),
            updated: vec![false; graph.nodes().len()],
        };
        for &id in fetches {
            graph.node(id)?;
        }
        if fetches.is_empty() {
            return Err(Error::plan("nothing to compute: pass at least one node"));
        }

        // What is needed, and by which shaders: backwards, since an entry's reads decide what a gradient needs.
        let nodes = graph.nodes();
        let mut needed = vec![false; nodes.len()];
        let mut chosen: BTreeMap<usize, Chosen> = BTreeMap::new();
        for &id in fetches {
            needed[id.index] = true;
        }
        for index in (0..nodes.len()).rev() {
            if !needed[index] {
                continue;
            }
            let node = &nodes[index];
            if let Some((op, inputs)) = node.computed_by() {
                for (&input, name) in inputs.iter().zip(op.inputs()) {
                    needed[input] = true;
                    if op.updates().contains(name) {
                        builder.updated[input] = true;
                        if matches!(nodes[input].kind, Kind::Pack) {
                            nodes[input].inputs.iter().for_each(|&member| builder.updated[member] = true);
                        }
                    }
                }
                chosen.insert(index, builder.choose(index, &**op, inputs, None)?);
                continue;
            }
            for &input in &node.inputs {
                needed[input] = true;
            }
            if let Kind::Grad { of, input } = &node.kind {
                let Kind::Op(op) = &nodes[*of].kind else {
                    return Err(Error::graph(&node.name, "is the gradient of no operation"));
                };
                let choice = builder.choose(*of, &**op, &nodes[*of].inputs, Some(op.inputs()[*input]))?;
                for pass in choice.shader.passes(&choice.method) {
                    for name in &pass.reads {
                        if scratch_of(name) == "y" {
                            needed[*of] = true;
                        } else if let Some(k) = op.inputs().iter().position(|i| i == name) {
                            needed[nodes[*of].inputs[k]] = true;
                        }
                    }
                }
                chosen.insert(index, choice);
            }
        }

        builder.keep_layouts(&needed, &mut chosen)?;

        let mut inputs = Vec::new();
        for index in (0..nodes.len()).filter(|&i| needed[i]) {
            match nodes[index].kind {
                Kind::Input => {
                    // Where every reader wants quads, the host packs them.
                    let layout =
                        if builder.is_read_as_quads(index, &needed, &chosen) { Layout::Quads } else { Layout::Rows };
                    inputs.push((nodes[index].name.clone(), builder.value_with(index, layout)));
                }
                Kind::Param { .. } | Kind::Constant(_) => {
                    builder.value_of(index);
                }
                _ => {}
            }
        }
        // Updates overwrite what others read, so they come last.
        let is_update = |i: &usize| matches!(nodes[*i].kind, Kind::Update(_));
        let order = (0..nodes.len()).filter(|i| needed[*i] && !is_update(i));
        for index in order.chain((0..nodes.len()).filter(|i| needed[*i] && is_update(i))) {
            if let Some((op, inputs)) = nodes[index].computed_by() {
                builder.emit(index, &**op, inputs, &chosen[&index], None)?;
                continue;
            }
            match &nodes[index].kind {
                Kind::Grad { of, input } if !builder.of_node.contains_key(&index) => {
                    let Kind::Op(op) = &nodes[*of].kind else { continue };
                    // One dispatch writes all gradients of its method that follow from one upstream gradient. What asks
                    // for one of them twice computes it twice.
                    let dy = nodes[index].inputs[0];
                    let mut wanted = BTreeMap::from([(op.inputs()[*input], index)]);
                    for (other, choice) in &chosen {
                        if let Kind::Grad { of: o, input } = nodes[*other].kind
                            && nodes[*other].fused.is_none()
                            && o == *of
                            && nodes[*other].inputs[0] == dy
                            && choice.method == chosen[&index].method
                            && choice.source.stem == chosen[&index].source.stem
                        {
                            wanted.entry(op.inputs()[input]).or_insert(*other);
                        }
                    }
                    builder.emit(*of, &**op, &nodes[*of].inputs, &chosen[&index], Some((dy, wanted)))?;
                }
                Kind::Pack => builder.pack(index)?,
                _ => {}
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
        let slots = builder.assign_slots(&returned)?;
        builder.check_packs()?;
        let plan =
            Self { steps: builder.steps, values: builder.values, slots, inputs, fetches: returned, notes: Vec::new() };
        if cfg!(debug_assertions) {
            plan.verify(&options.limits)?;
        }
        Ok(plan)
    }

    /// What the plan's tensors take on the device: bytes of all slots, and of the buffer through which the host reads what
    /// is fetched.
    pub fn peak_bytes(&self) -> u64 {
        self.slots.iter().map(|s| s.bytes).sum::<u64>() + self.readback_bytes()
    }

    /// The passes of the method whose first pass is step `first`.
    pub(crate) fn passes(&self, first: usize) -> &[Step] {
        let rest = self.steps[first + 1..].iter().take_while(|step| !step.is_first_pass).count();
        &self.steps[first..=first + rest]
    }

    /// Bytes of the buffer through which the host reads what is fetched.
    pub fn readback_bytes(&self) -> u64 {
        self.fetches.iter().map(|&v| self.values[v].readback_bytes()).sum()
    }

    /// Work of all steps.
    pub fn cost(&self) -> Cost {
        let mut total = Cost::default();
        for step in &self.steps {
            total += step.cost;
        }
        total
    }

    /// The longest dispatch, estimated for an adapter with `limits`.
    pub fn longest_dispatch_ms(&self, limits: &Limits) -> f64 {
        self.steps.iter().map(|s| limits.estimate_ms(s.effort)).fold(0.0, f64::max)
    }
}

/// The gradient wanted for a step: the node of `dy`, and the gradient node of each input.
type Wanted = (usize, BTreeMap<&'static str, usize>);

struct Builder<'a> {
    graph: &'a Graph,
    options: &'a Options<'a>,
    /// Layers, by [`choices::key`], whose measured choice is not followed.
    given_up: &'a BTreeSet<String>,
    /// The measured choices that were followed, by layer.
    followed: &'a RefCell<BTreeMap<String, String>>,
    steps: Vec<Step>,
    values: Vec<Value>,
    of_node: HashMap<usize, usize>,
    /// The latest copy as texels of each value.
    texels: HashMap<usize, usize>,
    /// The latest repack of each value into each layout.
    repacked: HashMap<(usize, Layout), usize>,
    /// Parameters that an update of this plan overwrites, by node.
    updated: Vec<bool>,
}

/// Rows of texels that drivers give together: lavapipe rasterises blocks of 4 × 4.
const ROWS_A_BLOCK: usize = 4;

/// Steps after which a copy in another layout is made anew: the memory of one kept for longer is worth more than the copy.
const STEPS_OF_A_COPY: usize = 8;

/// Speed of a shader, against a plain one, from which repacking its inputs is worth it.
pub(crate) const WORTH_REPACKING: f64 = 2.0;

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
    effort: Cost,
}

impl Builder<'_> {
    fn value_of(&mut self, node: usize) -> usize {
        self.value_with(node, Layout::Rows)
    }

    /// Takes a shader that reads rows in place of one that reads quads, where no value that it reads comes as quads and it
    /// gains less than [`WORTH_REPACKING`]: a chain of operations stays in one layout.
    fn keep_layouts(&self, needed: &[bool], chosen: &mut BTreeMap<usize, Chosen>) -> Result<()> {
        let nodes = self.graph.nodes();
        let mut is_quads = vec![false; nodes.len()];
        for index in (0..nodes.len()).filter(|&i| needed[i]) {
            let (op, inputs, gradient, dy) = match (nodes[index].computed_by(), &nodes[index].kind) {
                (Some((op, inputs)), _) => (op, inputs, None, None),
                (None, Kind::Grad { of, input }) => match &nodes[*of].kind {
                    Kind::Op(op) => {
                        (op, &nodes[*of].inputs[..], Some(op.inputs()[*input]), Some(nodes[index].inputs[0]))
                    }
                    _ => continue,
                },
                _ => continue,
            };
            let Some(choice) = chosen.get(&index) else { continue };
            let node = if let Kind::Grad { of, .. } = nodes[index].kind { of } else { index };
            let (x, y) = self.shapes(node, inputs);
            let slow = op.speed(choice.source.stem, &Io { x: &x, y }) < WORTH_REPACKING;
            let reads_quads = inputs.iter().chain(&dy).any(|&i| is_quads[i]) || (gradient.is_some() && is_quads[node]);
            if slow && choice.uses_quads() && !reads_quads && self.options.variant.is_none() {
                let rows = self.choose_among(node, &**op, inputs, gradient, |shader| !shader.uses_texels())?;
                chosen.insert(index, rows);
            }
            let choice = &chosen[&index];
            let written = gradient.map_or_else(|| "y".to_owned(), |input| format!("d{input}"));
            is_quads[index] = choice.shader.variable(&written).is_some_and(|v| v.layout == Layout::Quads);
        }
        Ok(())
    }

    /// Every step that reads `node` declares it as channel quads, and there is one.
    fn is_read_as_quads(&self, node: usize, needed: &[bool], chosen: &BTreeMap<usize, Chosen>) -> bool {
        let nodes = self.graph.nodes();
        let mut found = false;
        for (&reader, choice) in chosen.iter().filter(|(reader, _)| needed[**reader]) {
            let (op, inputs, dy) = match (nodes[reader].computed_by(), &nodes[reader].kind) {
                (Some((op, inputs)), _) => (op, inputs, None),
                (None, Kind::Grad { of, .. }) => match &nodes[*of].kind {
                    Kind::Op(op) => (op, &nodes[*of].inputs[..], Some(nodes[reader].inputs[0])),
                    _ => continue,
                },
                _ => continue,
            };
            for v in choice.shader.passes(&choice.method).iter().flat_map(|pass| &pass.reads) {
                let is_this = op.inputs().iter().zip(inputs).any(|(name, &i)| name == v && i == node)
                    || (v == "dy" && dy == Some(node));
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

    /// The value of `node`, which lies in `layout` if it is new.
    fn value_with(&mut self, node: usize, layout: Layout) -> usize {
        if let Some(&value) = self.of_node.get(&node) {
            return value;
        }
        let n = &self.graph.nodes()[node];
        let value = self.new_value(n.name.clone(), n.shape, Some(node), layout);
        self.of_node.insert(node, value);
        value
    }

    fn new_value(&mut self, name: String, shape: Shape, node: Option<usize>, layout: Layout) -> usize {
        let now = self.steps.len();
        self.values.push(Value {
            name,
            shape,
            node,
            slot: usize::MAX,
            offset_bytes: 0,
            pack: None,
            layout,
            life: (now, now),
            is_prepared: false,
        });
        self.values.len() - 1
    }

    /// The value of a pack, and its members put into it.
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
            self.values[value].pack = Some(pack);
            self.values[value].offset_bytes = 4 * first as u64;
        }
        Ok(())
    }

    /// Refuses a dispatch that reads one member of a pack and writes another: a buffer is either read or written.
    fn check_packs(&self) -> Result<()> {
        for step in &self.steps {
            for b in step.bindings.iter().filter(|b| b.writable) {
                let Some(pack) = self.values[b.value].pack else { continue };
                let other = |o: &&Binding| !o.writable && (o.value == pack || self.values[o.value].pack == Some(pack));
                if let Some(read) = step.bindings.iter().find(other) {
                    return Err(Error::plan(format!(
                        "{} reads {} and writes {}, members of one pack; leave one of them out of it",
                        step.name, self.values[read.value].name, self.values[b.value].name
                    )));
                }
            }
        }
        Ok(())
    }

    fn shapes(&self, node: usize, inputs: &[usize]) -> (Vec<Shape>, Shape) {
        let nodes = self.graph.nodes();
        (inputs.iter().map(|&i| nodes[i].shape).collect(), nodes[node].shape)
    }

    /// The shader and method for `op` of `inputs`, or for the gradient of its input `gradient`: the wanted variant, else the
    /// measured choice, else of those that launch the fastest, variants before the plain shader.
    fn choose(&self, node: usize, op: &dyn Op, inputs: &[usize], gradient: Option<&str>) -> Result<Chosen> {
        self.choose_among(node, op, inputs, gradient, |_| true)
    }

    fn choose_among(
        &self,
        node: usize,
        op: &dyn Op,
        inputs: &[usize],
        gradient: Option<&str>,
        may: impl Fn(&Shader) -> bool,
    ) -> Result<Chosen> {
        let (x, y) = self.shapes(node, inputs);
        let io = Io { x: &x, y };
        let key = || choices::key(op, gradient, &x);
        let measured = self.options.choices.and_then(|choices| choices.stem(op, gradient, &x));
        let measured = measured.filter(|_| self.given_up.is_empty() || !self.given_up.contains(&key()));
        let mut best: Option<(f64, Chosen)> = None;
        for chosen in serving(op, &io, gradient, self.options)? {
            if !may(&chosen.shader) {
                continue;
            }
            let stem = chosen.source.stem;
            if measured == Some(stem) {
                self.followed.borrow_mut().insert(key(), stem.to_owned());
            }
            if self.options.variant.is_some() || measured == Some(stem) {
                best = Some((f64::INFINITY, chosen));
                break;
            }
            let speed = op.speed(chosen.source.stem, &io);
            if best.as_ref().is_none_or(|(fastest, _)| speed > *fastest) {
                best = Some((speed, chosen));
            }
        }
        let name = &self.graph.nodes()[node].name;
        best.map(|(_, chosen)| chosen).ok_or_else(|| {
            Error::plan(match gradient {
                Some(input) => format!("no shader of {} computes d{input} for {name} with inputs {x:?}", op.name()),
                None => format!("no shader of {} serves {name} with inputs {x:?}", op.name()),
            })
        })
    }

    /// The value that holds `value` in `layout` (rows or quads), repacked by a step where it does not itself.
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
        let stem = if layout == Layout::Quads { "repack_quads" } else { "repack_rows" };
        let source = Repack.shaders().iter().find(|s| s.stem == stem).copied();
        let source = source.ok_or_else(|| Error::plan(format!("there is no {stem}")))?;
        let shader = reflect(&source)?;
        let Value { name, shape, node, .. } = self.values[value].clone();
        let x = [shape];
        let io = Io { x: &x, y: shape };
        let word = if layout == Layout::Quads { "quads" } else { "rows" };
        let new = self.new_value(format!("{name} ({word})"), shape, node, layout);
        let entry = shader.entry("forward").ok_or_else(|| Error::plan(format!("{stem} has no forward")))?;
        let launch = Repack.launch(stem, "forward", &io).ok_or_else(|| {
            Error::plan(format!("{name} {shape:?} is too large for a texture; use a smaller input or batch"))
        })?;
        let bindings = shader
            .variables
            .iter()
            .map(|variable| Binding {
                variable: variable.name.clone(),
                binding: variable.binding,
                value: if variable.name == "y" { new } else { value },
                layout: variable.layout,
                writable: variable.writable,
                written: variable.name == "y",
            })
            .collect();
        let cost = Repack.cost("forward", &io);
        self.push(Pass {
            node: node.unwrap_or(0),
            name: &format!("{name} ({word})"),
            op: &Repack,
            source,
            shader: &shader,
            entry,
            method: REPACK,
            launch,
            is_first: true,
            once: false,
            bindings,
            copies: Vec::new(),
            cost,
            effort: cost,
        })?;
        self.repacked.insert((value, layout), new);
        Ok(new)
    }

    fn emit(
        &mut self,
        node: usize,
        op: &dyn Op,
        inputs: &[usize],
        chosen: &Chosen,
        wanted: Option<Wanted>,
    ) -> Result<()> {
        let (x, y) = self.shapes(node, inputs);
        let io = Io { x: &x, y };
        let node_name = self.graph.nodes()[node].name.clone();
        let (stem, method) = (chosen.source.stem, chosen.method.as_str());
        let name = if wanted.is_some() { format!("{node_name}.{method}") } else { node_name };
        let scratch_lens = op.scratch(stem, method, &io);
        let passes = chosen.shader.passes(method);
        let layout_of = |name: &str| chosen.shader.variable(name).map_or(Layout::Rows, |v| v.layout);
        // The graph's node that a variable reads.
        let node_of = |v: &str| -> Result<Option<usize>> {
            if scratch_of(v) == "y" {
                return Ok(Some(node));
            }
            if v == "dy" {
                let (dy, _) = wanted.as_ref().ok_or_else(|| Error::plan(format!("{name}: forward reads dy")))?;
                return Ok(Some(*dy));
            }
            Ok(op.inputs().iter().position(|i| *i == v).map(|k| inputs[k]))
        };

        // Everything that is read, in the layout in which it is read, before the first pass.
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
        let is_fixed = |n: usize| match self.graph.nodes()[n].kind {
            Kind::Param { .. } => !self.updated[n],
            Kind::Constant(_) => true,
            _ => false,
        };
        // A pass that reads parameters only and alone writes its scratch need not run again before they change.
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

        let blocks = op.blocks(stem, method, &io).max(1);
        let mut extra: HashMap<String, usize> = HashMap::new();
        let mut is_first = true;
        for block in 0..blocks {
            for (pass, &once) in passes.iter().zip(&once) {
                if once && block > 0 {
                    continue;
                }
                let mut launch = op
                    .launch(stem, &pass.name, &io)
                    .ok_or_else(|| Error::plan(format!("{name}: {stem}.{} does not launch", pass.name)))?;
                for (member, value) in &mut launch.params {
                    if *member == "block" {
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
                                let Some((_, len)) = scratch_lens.iter().find(|(n, _)| *n == v) else {
                                    return Err(Error::plan(format!(
                                        "{name}: {stem}.{method} uses {v} but Op::scratch gives no size"
                                    )));
                                };
                                let shape = [1, 1, 1, (*len).max(1)];
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
                        // A gradient: the wanted node, or memory that nobody reads.
                        let input = &v[1..];
                        let node_wanted = wanted.as_ref().and_then(|(_, w)| w.get(input)).copied();
                        match (node_wanted, extra.get(v)) {
                            (Some(gradient), _) => self.value_with(gradient, variable.layout),
                            (None, Some(&value)) => value,
                            (None, None) => {
                                let k = op.inputs().iter().position(|i| *i == input).ok_or_else(|| {
                                    Error::plan(format!("{name}: {stem} writes {v}, which is no gradient"))
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
                        writable: variable.writable,
                        written,
                    });
                }
                let total = op.cost(method, &io);
                let cost = if is_first { total } else { Cost::default() };
                // The plan does not know which pass does the work, so each counts as if it did.
                let speed = op.speed(stem, &io).max(1.0);
                let effort = Cost { flops: (total.flops as f64 / blocks as f64 / speed) as u64, bytes: total.bytes };
                self.push(Pass {
                    node,
                    name: &name,
                    op,
                    source: chosen.source,
                    shader: &chosen.shader,
                    entry: pass,
                    method,
                    launch,
                    is_first,
                    once,
                    bindings,
                    copies,
                    cost,
                    effort: if is_first || blocks > 1 { effort } else { Cost::default() },
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
            effort,
        } = pass;
        let stem = source.stem;
        let now = self.steps.len();
        for binding in &bindings {
            let life = &mut self.values[binding.value].life;
            life.1 = life.1.max(now);
        }
        let params = if entry.uses_params { shader.pack_params(&entry.name, &launch)? } else { Vec::new() };
        let size = shader.workgroup_size(&entry.name, &launch.overrides)?;
        let limits = &self.options.limits;
        let fail = |problem: String| Err(Error::plan(format!("{name} ({stem}.{}): {problem}", entry.name)));
        let threads: u32 = size.iter().product();
        if threads == 0 || threads > limits.threads_per_workgroup {
            return fail(format!(
                "workgroups of {threads} threads, the adapter allows {}",
                limits.threads_per_workgroup
            ));
        }
        let workgroup_bytes = shader.workgroup_bytes(&entry.name, &launch.overrides)?;
        if workgroup_bytes > limits.workgroup_bytes {
            return fail(format!(
                "{workgroup_bytes} bytes of workgroup memory, the adapter allows {}",
                limits.workgroup_bytes
            ));
        }
        let [buffers, textures] = counts(bindings.iter().map(|b| b.layout));
        if buffers > limits.storage_buffers {
            return fail(format!("{buffers} storage buffers, the adapter allows {}", limits.storage_buffers));
        }
        if textures > limits.storage_textures {
            return fail(format!("{textures} storage textures, the adapter allows {}", limits.storage_textures));
        }
        let workgroups = match launch.grid {
            Grid::Groups(groups) => groups,
            Grid::Threads(threads) => {
                fold(threads, size[0], limits.workgroups_per_dimension, self.options.fold_rows)
                    .ok_or_else(|| Error::plan(format!("{name}: {threads} threads are too many for one dispatch")))?
            }
        };
        if workgroups.iter().any(|&g| g == 0 || g > limits.workgroups_per_dimension) {
            return fail(format!(
                "{workgroups:?} workgroups, the adapter allows 1 to {} in a dimension",
                limits.workgroups_per_dimension
            ));
        }
        let ms = limits.estimate_ms(effort);
        if ms > MAX_DISPATCH_MS {
            return fail(format!(
                "{:.2} GFLOP may take {ms:.0} ms on this adapter, a dispatch is held under {MAX_DISPATCH_MS} ms; use a smaller input or batch",
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
            effort,
        });
        Ok(())
    }

    /// Memory for every value: parameters and constants alone, the rest by first fit in order of falling size, where
    /// two values share a slot only if their lives do not overlap.
    fn assign_slots(&mut self, returned: &[usize]) -> Result<Vec<Slot>> {
        let limits = &self.options.limits;
        let mut slots: Vec<Slot> = Vec::new();
        let mut tenants: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.retain(|&v| self.values[v].pack.is_none());
        order.sort_by_key(|&v| (std::cmp::Reverse(self.values[v].bytes()), v));
        for v in order {
            let value = &mut self.values[v];
            let elements = value.layout.elements(&value.shape);
            let is_texture = value.layout != Layout::Rows;
            if is_texture && elements > MAX_TEXELS {
                return Err(Error::plan(format!(
                    "{} takes {elements} texels, a texture has at most {MAX_TEXELS}; use a smaller input or batch",
                    value.name
                )));
            }
            let bytes = value.slot_bytes();
            if !is_texture && bytes > limits.binding_bytes {
                return Err(Error::plan(format!(
                    "{} {:?} takes {bytes} bytes, the adapter binds at most {}; use a smaller input or batch",
                    value.name, value.shape, limits.binding_bytes
                )));
            }
            let is_kept = |n: &usize| matches!(self.graph.nodes()[*n].kind, Kind::Param { .. } | Kind::Constant(_));
            let kept = value.node.filter(|n| !is_texture && is_kept(n));
            let pack = value.node.map(|n| &self.graph.nodes()[n]).filter(|n| matches!(n.kind, Kind::Pack));
            let life = value.life;
            let free = |t: &Vec<(usize, usize)>| t.iter().all(|&(first, last)| last < life.0 || life.1 < first);
            let hold = match (kept, pack) {
                (Some(node), _) => Hold::Node(node),
                (_, Some(pack)) => Hold::Pack { is_kept: is_kept(&pack.inputs[0]) },
                _ if value.is_prepared => Hold::Prepared(value.layout),
                _ if is_texture => Hold::Texture(value.layout),
                _ => Hold::Reused,
            };
            let shared = (kept.is_none() && pack.is_none() && !value.is_prepared && !self.options.keep_all)
                .then(|| (0..slots.len()).find(|&s| slots[s].hold == hold && free(&tenants[s])))
                .flatten();
            value.slot = shared.unwrap_or_else(|| {
                slots.push(Slot { bytes, hold });
                tenants.push(Vec::new());
                slots.len() - 1
            });
            tenants[value.slot].push(life);
        }
        for v in 0..self.values.len() {
            if let Some(pack) = self.values[v].pack {
                self.values[v].slot = self.values[pack].slot;
            }
        }
        let read: u64 = returned.iter().map(|&v| self.values[v].readback_bytes()).sum();
        let total = slots.iter().map(|s| s.bytes).sum::<u64>() + read;
        if total > limits.memory_bytes {
            return Err(Error::plan(format!(
                "needs {total} bytes for tensors, the device allows {}; use a smaller input or batch",
                limits.memory_bytes
            )));
        }
        Ok(slots)
    }
}

/// Workgroups for `threads` invocations, folded to two dimensions past `max`, or to `rows` if these are more; `None` past max².
fn fold(threads: usize, size: u32, max: u32, rows: u32) -> Option<[u32; 3]> {
    let groups = u32::try_from(threads.div_ceil(size as usize)).ok()?;
    let rows = groups.div_ceil(max).max(rows).max(1);
    (rows <= max).then(|| [groups.div_ceil(rows), rows, 1])
}

/// A table of the steps; a precision is its greatest width: `{plan:.80}`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let rows: Vec<[String; 7]> = self
            .steps
            .iter()
            .enumerate()
            .map(|(i, step)| {
                let part = |written: bool| -> Vec<&Binding> {
                    step.bindings.iter().filter(|b| b.written == written).collect()
                };
                let reads = part(false)
                    .iter()
                    .map(|b| format!("{}:{}", b.variable, self.values[b.value].place()))
                    .collect::<Vec<_>>();
                let writes = part(true)
                    .iter()
                    .map(|b| {
                        let [n, c, h, w] = self.values[b.value].shape;
                        format!("{}:{} [{n},{c},{h},{w}]", b.variable, self.values[b.value].place())
                    })
                    .collect::<Vec<_>>();
                [
                    i.to_string(),
                    step.name.clone(),
                    format!("{}.{}", step.stem(), step.entry),
                    reads.join(" "),
                    writes.join(" "),
                    format!("{:.2}", step.cost.flops as f64 / 1e6),
                    format!("{:.1}", step.cost.bytes as f64 / 1e3),
                ]
            })
            .collect();
        let columns = [
            Column::numbers("step", 0),
            Column::words("node", 0),
            Column::words("entry", 0),
            Column::words("reads (variable:slot)", 2),
            Column::words("writes", 1),
            Column::numbers("MFLOP", 0),
            Column::numbers("kB", 0),
        ];
        let width = f.precision().unwrap_or(usize::MAX);
        table::write(f, &columns, &rows, width)?;
        let cost = self.cost();
        write!(
            f,
            "total {} steps, {:.2} MFLOP, {:.2} MB traffic, {} slots, {:.2} MB peak ({} bytes)",
            self.steps.len(),
            cost.flops as f64 / 1e6,
            cost.bytes as f64 / 1e6,
            self.slots.len(),
            self.peak_bytes() as f64 / 1e6,
            self.peak_bytes()
        )?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}
