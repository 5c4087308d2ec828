//! Turns a graph into steps over slots: plain data that prints as a table.
//!
//! Each pass has its own file, in this order: `fuse` combines neighbouring nodes, `lower` determines the methods that a graph asks
//! for, `select` the shaders that compute them and their layouts, `schedule` the order of the steps and their launches, `half` which
//! values are stored as f16, `memory` where they lie; `verify` checks the result, `table` prints it.
//!
//! A [`Plan`] holds no handles: it can be made and compared without an adapter, and both the adapter and the references
//! follow it. Its memory is exact: nothing else is allocated for tensors.

pub mod choices;
pub mod fuse;
mod half;
mod lower;
mod memory;
mod schedule;
mod select;
mod table;
mod verify;
pub mod why;

pub use crate::ops::kernel::{Caps, MAX_DISPATCH_MS};
pub use choices::Choices;
pub(crate) use select::{Chosen, WORTH_REPACKING, serving};
pub(crate) use verify::counts;

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::layout::{Layout, TEXELS_PER_ROW, rows_of_slot};
use crate::ops::{Cost, FORWARD, Kernel, Source};
use crate::tensor::{DType, Shape};
use schedule::Scheduled;
use select::{Selection, select};
use std::collections::BTreeSet;

/// How the values of a plan are stored. Shaders always compute in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    F32,
    /// Weights and intermediate values are stored as f16, at half of the memory and traffic; inputs, outputs, constants, textures and
    /// partial sums as f32. For inference alone: a gradient may be too small for f16.
    F16,
    /// As [`Precision::F16`], and inputs and outputs too, so that a check of one operation covers what its kernels read and write.
    AllF16,
}

impl std::str::FromStr for Precision {
    type Err = String;
    /// Parses `f32` or `f16`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err("expected f32 or f16".into()),
        }
    }
}

/// Options for planning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options<'a> {
    pub caps: Caps,
    pub precision: Precision,
    /// Use this kernel wherever it serves, regardless of its family, plain kernels elsewhere, and others where these do not serve either.
    pub kernel: Option<Kernel>,
    /// Give every value its own memory, so that all can be read after a run.
    pub keep_all: bool,
    /// Fold grids of threads into at least this many rows of workgroups, so that checks cover the folding of larger grids.
    pub fold_rows: u32,
    /// Measurements of which kernels are fastest. If they name no kernel that serves, the one with the lowest estimate is used.
    pub choices: Option<&'a Choices>,
}

/// What a slot holds over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Successive values of one run.
    Reused,
    /// The parameter or constant with this node index: kept between runs.
    Node(usize),
    /// Successive values of one run in a texture of this layout.
    Texture(Layout),
    /// Scratch that depends only on parameters, in this layout: kept until they change.
    Prepared(Layout),
    /// A pack and its members, with zeros in the gaps; kept between runs if the members are parameters.
    Pack { is_kept: bool },
}

impl Hold {
    /// Returns the layout of the slot's values.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Reused | Self::Node(_) | Self::Pack { .. } => Layout::Rows,
            Self::Texture(layout) | Self::Prepared(layout) => *layout,
        }
    }
}

/// One buffer or texture.
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
    pub dtype: DType,
    /// Each element, of f32, is stored as f16.
    pub is_half: bool,
    /// The node of the graph whose value, or a copy of it in another layout, this is; `None` for scratch and unwanted gradients.
    pub node: Option<usize>,
    pub slot: usize,
    /// Offset in the slot: 0 except for what lies within a pack.
    pub offset_bytes: u64,
    /// The value in whose memory this value lies: that of its pack, or what it is a reshape of.
    pub within: Option<usize>,
    pub layout: Layout,
    /// First and last step that uses it. The lives of inputs start at 0; those of fetched values end at the number of steps.
    pub life: (usize, usize),
    /// Scratch written by a step that runs once.
    pub is_prepared: bool,
}

impl Value {
    /// Returns the size of its memory in bytes.
    pub fn bytes(&self) -> u64 {
        let elements = self.layout.elements(&self.shape);
        match self.layout {
            Layout::Rows if self.is_half => (2 * elements as u64).next_multiple_of(4),
            Layout::Rows => 4 * elements as u64,
            Layout::Texels => 4 * elements.next_multiple_of(TEXELS_PER_ROW) as u64,
            Layout::Quads => 16 * elements.next_multiple_of(TEXELS_PER_ROW) as u64,
        }
    }

    /// Returns the slot and any offset in it, for tables.
    fn place(&self) -> String {
        match self.offset_bytes {
            0 => self.slot.to_string(),
            offset => format!("{}+{offset}", self.slot),
        }
    }
}

impl Value {
    /// Returns the bytes of its place in the readback buffer: whole texels, because a copy from a texture must begin at a multiple of
    /// a texel.
    pub fn readback_bytes(&self) -> u64 {
        self.bytes().next_multiple_of(16)
    }
    /// Returns the bytes of a slot for it.
    fn slot_bytes(&self) -> u64 {
        let texel_bytes = match self.layout {
            Layout::Rows => return self.bytes(),
            Layout::Texels => 4,
            Layout::Quads => 16,
        };
        (texel_bytes * TEXELS_PER_ROW * rows_of_slot(self.layout.elements(&self.shape))) as u64
    }
}

/// A WGSL variable and the value bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub variable: String,
    pub binding: u32,
    pub value: usize,
    pub layout: Layout,
    /// The value is stored as f16; the shader declares f32.
    pub is_half: bool,
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
    /// Path for tables: that of the node, followed by the method for a gradient.
    pub name: String,
    pub op: &'static str,
    pub source: Source,
    pub entry: String,
    pub method: String,
    /// Is the first pass of its method.
    pub is_first_pass: bool,
    /// Reads only parameters and constants, so it runs again only when a parameter changes.
    pub once: bool,
    pub bindings: Vec<Binding>,
    /// Values to copy from their buffers into textures before this step, each with the value that represents the texture.
    pub copies: Vec<(usize, usize)>,
    /// The uniform block `p`, as bytes.
    pub params: Vec<u8>,
    pub overrides: Vec<(&'static str, f64)>,
    pub workgroups: [u32; 3],
    /// Work of the whole method at its first pass, zero at the others.
    pub cost: Cost,
    /// Upper bound on the time of the dispatch in milliseconds, measured or estimated for the adapter of the plan.
    pub most_ms: f64,
}

impl Step {
    /// Returns the variables whose values are stored as f16.
    pub(crate) fn half(&self) -> Vec<String> {
        self.bindings.iter().filter(|b| b.is_half).map(|b| b.variable.clone()).collect()
    }
    /// Returns the file stem of the shader.
    pub fn stem(&self) -> &'static str {
        self.source.stem
    }
    /// Returns whether the step is part of a forward pass or an update, not of a gradient.
    pub fn is_forward(&self) -> bool {
        self.method == FORWARD
    }
    /// Returns whether the planner inserted the step to convert between layouts.
    pub fn is_repack(&self) -> bool {
        self.method == REPACK
    }
}

/// The method of steps that the planner inserts.
const REPACK: &str = "repack";

/// Steps in order, and the memory that they use.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub values: Vec<Value>,
    pub slots: Vec<Slot>,
    /// Name and value of each input.
    pub inputs: Vec<(String, usize)>,
    /// Values to return, in the requested order.
    pub fetches: Vec<usize>,
    /// Requests that could not be met: measured choices that are not used, with the reason.
    pub notes: Vec<String>,
}

impl Plan {
    /// Plans the computation of `fetches`, which may include updates.
    ///
    /// # Errors
    /// No kernel serves a node; a tensor, all tensors together or a dispatch exceed `options.caps` (the error gives the number);
    /// a node belongs to another graph.
    pub fn new(graph: &Graph, fetches: &[NodeId], options: &Options) -> Result<Self> {
        let selection = select(graph, fetches, options, &BTreeSet::new())?;
        let error = match Self::of(graph, fetches, &selection, options) {
            Err(e @ Error::Plan { .. }) if !selection.followed.is_empty() => e,
            planned => return planned,
        };
        // A choice that was measured for one layer alone may need scratch that does not fit next to the rest of this graph. Gives up
        // the first choice without which the plan fits or, if there is none, all of them.
        let followed = &selection.followed;
        let one = followed.keys().map(|key| BTreeSet::from([key.clone()]));
        for given_up in one.chain([followed.keys().cloned().collect()]) {
            let selection = select(graph, fetches, options, &given_up)?;
            if let Ok(mut plan) = Self::of(graph, fetches, &selection, options) {
                let note =
                    |key| format!("{} was measured to be fastest for {key}, but is not used: {error}", followed[key]);
                plan.notes.extend(given_up.iter().map(note));
                return Ok(plan);
            }
        }
        Err(error)
    }

    fn of(graph: &Graph, fetches: &[NodeId], selection: &Selection, options: &Options) -> Result<Self> {
        let mut scheduled = schedule::schedule(graph, fetches, selection, options)?;
        half::store(graph, &mut scheduled, options)?;
        let Scheduled { steps, mut values, inputs, returned } = scheduled;
        let slots = memory::assign(graph, &mut values, &returned, options)?;
        memory::check_packs(&steps, &values)?;
        let plan = Self { steps, values, slots, inputs, fetches: returned, notes: selection.notes.clone() };
        if cfg!(debug_assertions) {
            plan.verify(&options.caps)?;
        }
        Ok(plan)
    }

    /// Returns the bytes that the plan's tensors take on the device: those of all slots and of the readback buffer.
    pub fn peak_bytes(&self) -> u64 {
        self.slots.iter().map(|s| s.bytes).sum::<u64>() + self.readback_bytes()
    }

    /// Returns the passes of the method whose first pass is step `first`.
    pub(crate) fn passes(&self, first: usize) -> &[Step] {
        let rest = self.steps[first + 1..].iter().take_while(|step| !step.is_first_pass).count();
        &self.steps[first..=first + rest]
    }

    /// Returns the bytes of the buffer through which the host reads fetched values.
    pub fn readback_bytes(&self) -> u64 {
        self.fetches.iter().map(|&v| self.values[v].readback_bytes()).sum()
    }

    /// Returns the total work of all steps.
    pub fn cost(&self) -> Cost {
        let mut total = Cost::default();
        for step in &self.steps {
            total += step.cost;
        }
        total
    }

    /// Returns the longest bound on a dispatch in milliseconds, measured or estimated for the adapter of the plan.
    pub fn longest_dispatch_ms(&self) -> f64 {
        self.steps.iter().map(|s| s.most_ms).fold(0.0, f64::max)
    }
}
