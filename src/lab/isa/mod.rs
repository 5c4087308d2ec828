//! Judges the machine code of a plan's kernels for GPUs that are not there: registers, spills, workgroup memory, what the hottest loop
//! issues, and which part of the GPU limits it.
//!
//! Mesa's RADV compiles for any AMD GPU without having it ([`driver`]); [`listing`] reads what it compiled. Kernels, constants and
//! run-time checks are those that the engine would give to such a GPU. Counts are gates, not times: a kernel that spills, or copies
//! more than it multiplies, is slow on every GPU, but one with good counts is fast only on hardware that says so.

#[cfg(not(target_arch = "wasm32"))]
pub mod driver;
mod layers;
pub mod listing;

pub use layers::layers;
pub use listing::{Counts, Hot, Roof};

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::plan::fuse::fuse;
use crate::plan::{Caps, Options, Plan};
use crate::shader::{Spirv, Translated, translate, translate_text};
use crate::table::{self, Column};
use std::collections::BTreeMap;
use std::fmt;

/// A kernel with a launch's constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Shader and entry, e.g. `conv2d/columns.forward`.
    pub name: String,
    /// The launch's constants, e.g. `KH=3 KW=3`.
    pub constants: String,
    /// The layers or steps that use it, in order, each once.
    pub uses: Vec<String>,
    pub shader: Spirv,
    /// For compilers that begin with HLSL, or why there is none.
    pub hlsl: std::result::Result<String, String>,
}

/// What a driver says of a kernel that it compiled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compiled {
    /// Numbers by the names that the driver gives them, e.g. `VGPRs`.
    pub statistics: BTreeMap<String, f64>,
    /// The machine code, one instruction per line.
    pub assembly: String,
}

/// Plans `fetches` as for a discrete GPU: fused, with kernels of the hardware family, large bindings, and no measured choices.
/// `registers` is [`Caps::registers`], if it is not that of most GPUs.
///
/// # Errors
/// The graph cannot be planned.
pub fn plan(graph: &Graph, fetches: &[NodeId], registers: Option<usize>) -> Result<Plan> {
    let caps = Caps::hardware();
    let caps = Caps { binding_bytes: 2 << 30, registers: registers.unwrap_or(caps.registers), ..caps };
    let options = Options { caps, ..Options::default() };
    Plan::new(&fuse(graph, fetches, &options)?, fetches, &options)
}

/// Appends the kernels of `plan` that `kernels` lacks, and notes in the others that they are used. A use is called `layer`, or by the
/// step's path if that is `None`.
///
/// # Errors
/// A shader cannot be translated.
pub fn add_plan(kernels: &mut Vec<Kernel>, layer: Option<&str>, plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        let name = format!("{}.{}", step.stem(), step.entry);
        let constants: Vec<String> = step.overrides.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let constants = constants.join(" ");
        let index = match kernels.iter().position(|k| k.name == name && k.constants == constants) {
            Some(index) => index,
            None => {
                let Translated { spirv, hlsl } = translate(&step.source, &step.entry, &step.overrides)?;
                kernels.push(Kernel { name, constants, uses: Vec::new(), shader: spirv, hlsl });
                kernels.len() - 1
            }
        };
        let label = layer.unwrap_or(&step.name);
        let uses = &mut kernels[index].uses;
        if !uses.iter().any(|known| known == label) {
            uses.push(label.to_owned());
        }
    }
    Ok(())
}

/// Returns the entries of `text`, a WGSL file called `stem` that need not belong to an operation. It is compiled like a built-in
/// kernel, without run-time checks; each of `values` sets an `override` or a line `const NAME: u32 = …;`.
///
/// # Errors
/// The WGSL is invalid, uses more than group 0, or has no constant of such a name.
pub fn of_text(stem: &str, text: &str, values: &[(&str, f64)]) -> Result<Vec<Kernel>> {
    let constants: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let kernel = |Translated { spirv: shader, hlsl }: Translated| Kernel {
        name: format!("{stem}.{}", shader.entry),
        constants: constants.join(" "),
        uses: Vec::new(),
        shader,
        hlsl,
    };
    Ok(translate_text(stem, text, &values.to_vec())?.into_iter().map(kernel).collect())
}

/// A kernel as compiled for one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// [`Kernel::name`], [`Kernel::constants`], [`Kernel::uses`].
    pub kernel: String,
    pub constants: String,
    pub uses: Vec<String>,
    /// Threads per workgroup.
    pub threads: u32,
    /// Vector registers per thread, and scalar registers per wave.
    pub vgprs: u32,
    pub sgprs: u32,
    /// Registers of either kind that did not fit and went to memory.
    pub spills: u32,
    /// Memory per wave for spills and private arrays.
    pub scratch_bytes: u32,
    /// Workgroup memory per workgroup.
    pub workgroup_bytes: u32,
    /// Waves that fit a SIMD at once, as limited by registers and workgroup memory.
    pub waves: u32,
    pub code_bytes: u32,
    pub hot: Hot,
    /// What limits the hottest loop, and the part of the peak of multiply-adds that it allows, as [`listing::roof`] estimates; `None`
    /// for a loop without multiply-adds.
    pub roof: Option<(Roof, f64)>,
}

impl Row {
    /// Judges `kernel` as RADV compiled it for `family`.
    ///
    /// # Errors
    /// The driver did not report a statistic, or no machine code.
    pub fn new(family: &str, kernel: &Kernel, compiled: &Compiled) -> Result<Self> {
        let lacks = |what: &str| {
            let problem = format!("the driver reports no {what} of {}", kernel.name);
            Error::device(
                problem,
                "use RADV of Mesa 22.3 or newer, built with its disassembler, as distributions build it",
            )
        };
        let statistic = |name: &str| match compiled.statistics.get(name) {
            Some(value) => Ok(*value as u32),
            None => Err(lacks(name)),
        };
        if compiled.assembly.trim().is_empty() {
            return Err(lacks("machine code"));
        }
        let hot = listing::hottest(&compiled.assembly);
        Ok(Self {
            kernel: kernel.name.clone(),
            constants: kernel.constants.clone(),
            uses: kernel.uses.clone(),
            threads: kernel.shader.threads,
            vgprs: statistic("VGPRs")?,
            sgprs: statistic("SGPRs")?,
            spills: statistic("Spilled VGPRs")? + statistic("Spilled SGPRs")?,
            scratch_bytes: statistic("Scratch size")?,
            workgroup_bytes: statistic("LDS size")?,
            waves: statistic("Subgroups per SIMD")?,
            code_bytes: statistic("Code size")?,
            hot,
            roof: listing::roof(&hot.counts, family),
        })
    }
}

/// The kernels as compiled for one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Table(pub Vec<Row>);

/// Formats a table with one line per kernel. A precision limits the width: `{table:.80}`.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".into());
        let percent = |part: f64| format!("{:.0}%", 100.0 * part);
        let cells = |row: &Row| {
            let counts = &row.hot.counts;
            let uses = match &row.uses[..] {
                [] => String::new(),
                [one] => one.clone(),
                [first, others @ ..] => format!("{first} +{}", others.len()),
            };
            [
                row.kernel.clone(),
                row.constants.clone(),
                uses,
                row.threads.to_string(),
                row.vgprs.to_string(),
                row.sgprs.to_string(),
                row.spills.to_string(),
                row.workgroup_bytes.to_string(),
                row.waves.to_string(),
                row.code_bytes.to_string(),
                counts.instructions.to_string(),
                or_dash(counts.multiply_add_share().map(percent)),
                or_dash(counts.workgroup_bytes_per_multiply_add().map(|bytes| format!("{bytes:.2}"))),
                or_dash(counts.global_bytes_per_multiply_add().map(|bytes| format!("{bytes:.2}"))),
                or_dash(row.roof.map(|(roof, _)| roof.name().into())),
                or_dash(row.roof.map(|(_, part)| percent(part))),
            ]
        };
        let columns = [
            Column::words("kernel", 0),
            Column::words("constants", 5),
            Column::words("for", 6),
            Column::numbers("threads", 8),
            Column::numbers("VGPR", 0),
            Column::numbers("SGPR", 7),
            Column::numbers("spills", 0),
            Column::numbers("LDS B", 4),
            Column::numbers("waves", 1),
            Column::numbers("code B", 4),
            Column::numbers("loop", 3),
            Column::numbers("FMA", 0),
            Column::numbers("LDS B/FMA", 1),
            Column::numbers("global B/FMA", 2),
            Column::words("roof", 1),
            Column::numbers("of peak", 0),
        ];
        let rows: Vec<_> = self.0.iter().map(cells).collect();
        let mut text = String::new();
        table::write(&mut text, &columns, &rows, f.precision().unwrap_or(usize::MAX))?;
        f.write_str(text.trim_end())
    }
}
