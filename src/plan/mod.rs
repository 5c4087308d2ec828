//! Turns a graph into steps over slots: plain data that prints as a table.
//!
//! Passes follow each other, a file each: `fuse` computes neighbours together, `lower` says which methods a graph asks for,
//! `select` which shaders compute them in which layout, `schedule` in which order and with which launches, `memory` where
//! values lie; `verify` checks the result, `table` prints it.
//!
//! A [`Plan`] holds no handles: it is made and compared without an adapter, and both the adapter and the references
//! follow it. Its memory is exact: nothing else is allocated for tensors.

pub mod choices;
pub mod fuse;
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
use crate::layout::{Layout, ROWS_A_BLOCK, TEXELS_A_ROW};
use crate::ops::{Cost, FORWARD, Kernel, Source};
use crate::tensor::{DType, Shape};
use schedule::Scheduled;
use select::{Selection, select};
use std::collections::BTreeSet;

/// How to plan.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options<'a> {
    pub caps: Caps,
    /// Use this kernel wherever it serves, on adapters of any family, and plain ones elsewhere.
    pub kernel: Option<Kernel>,
    /// Give every value memory of its own, so that all can be read after a run.
    pub keep_all: bool,
    /// Fold grids of threads into at least this many rows of workgroups, as only larger grids are otherwise: for checks.
    pub fold_rows: u32,
    /// What was measured to be fastest. Where it names no kernel that serves, the one with the least estimate is taken.
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
    pub dtype: DType,
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
    /// Milliseconds that the dispatch takes at most, estimated for the adapter that was planned for.
    pub most_ms: f64,
}

impl Step {
    /// File stem of the shader.
    pub fn stem(&self) -> &'static str {
        self.source.stem
    }
    /// Part of a forward pass or an update, not of a gradient.
    pub fn is_forward(&self) -> bool {
        self.method == FORWARD
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

impl Plan {
    /// Plans the computation of `fetches`, among which may be updates.
    ///
    /// # Errors
    /// No kernel serves a node; a tensor, all tensors together or a dispatch do not fit `options.caps`, with the
    /// number; a foreign node.
    pub fn new(graph: &Graph, fetches: &[NodeId], options: &Options) -> Result<Self> {
        let selection = select(graph, fetches, options, &BTreeSet::new())?;
        let error = match Self::of(graph, fetches, &selection, options) {
            Err(e @ Error::Plan { .. }) if !selection.followed.is_empty() => e,
            planned => return planned,
        };
        // A choice made for one layer may need scratch for which this graph leaves no memory: the first without which the plan
        // fits is given up, or else all.
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
        let Scheduled { steps, mut values, inputs, returned } = schedule::schedule(graph, fetches, selection, options)?;
        let slots = memory::assign(graph, &mut values, &returned, options)?;
        memory::check_packs(&steps, &values)?;
        let plan = Self { steps, values, slots, inputs, fetches: returned, notes: selection.notes.clone() };
        if cfg!(debug_assertions) {
            plan.verify(&options.caps)?;
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

    /// The longest dispatch, estimated for the adapter that was planned for.
    pub fn longest_dispatch_ms(&self) -> f64 {
        self.steps.iter().map(|s| s.most_ms).fold(0.0, f64::max)
    }
}
