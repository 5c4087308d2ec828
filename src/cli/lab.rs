//! `lineament lab isa`.

mod worker;

use super::inspect::Size;
use super::out::{self, note, say};
use super::{bench, upscale};
use crate::error::{Error, Result};
use crate::exec::{Device, Select};
use crate::files::{self, Existing};
use crate::lab::isa::{self, Counts, Kernel, Row, Table};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use worker::Family;

#[derive(Subcommand)]
pub enum Command {
    /// Compile a plan's kernels for GPUs that are not there, and judge the machine code.
    Isa(Isa),
}

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:
  lineament lab isa layers
  lineament lab isa layers --kernel conv2d --family gfx1100,navi21
  lineament lab isa upscale --scale 3 --size 128x128
  lineament lab isa net.onnx --train --json
  lineament lab isa --wgsl mine.wgsl --set WG=128 --asm code/

Mesa's RADV compiles for AMD GPUs that are not there; it comes with lavapipe in mesa-vulkan-drivers. Kernels and constants are those \
that the planner chooses for a discrete GPU, and they are compiled like there. The columns are registers per thread (VGPR) and per wave \
(SGPR), registers spilled to memory, workgroup memory (LDS), waves per SIMD, the size of the code, and of the hottest loop: its \
instructions, multiply-adds among its vector operations (FMA), and the bytes of workgroup memory and of buffers per multiply-add. The \
roof is the part of the GPU that limits this loop, with an estimate of the multiply-adds that it allows (of peak). These are counts, not \
times: only a GPU can tell how fast a kernel is."
)]
pub struct Isa {
    #[command(subcommand)]
    task: Option<Task>,
    /// A network that others trained: an ONNX file, or an ncnn .param.
    #[arg(value_name = "NET", conflicts_with = "wgsl")]
    net: Option<PathBuf>,
    /// Pictures per run, instead of the file's batch.
    #[arg(long, value_name = "N", requires = "net")]
    batch: Option<usize>,
    /// Width and height of the input, instead of the file's.
    #[arg(long, value_name = "WxH", requires = "net")]
    size: Option<Size>,
    /// Also compile the network's backward pass and Adam.
    #[arg(long, requires = "net")]
    train: bool,
    /// Compile the entries of a WGSL file, as a built-in shader; if repeated, the texts are joined, and the first gives the name.
    #[arg(long, value_name = "FILE")]
    wgsl: Vec<PathBuf>,
    /// Set an `override` or a line `const NAME: u32 = …;` of the WGSL; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "wgsl", value_parser = parse_constant)]
    set: Vec<(String, f64)>,
    #[command(flatten)]
    how: How,
    /// Compile what the other side of standard input sends.
    #[arg(long, hide = true, exclusive = true)]
    worker: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Compile typical layers, each as a training step: forward and all gradients.
    Layers(Layers),
    /// Compile one window of an upscale.
    Upscale(Upscale),
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament lab isa layers\n  lineament lab isa layers --kernel conv2d --json --quiet"
)]
struct Layers {
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament lab isa upscale --scale 3 --size 128x128\n  lineament lab isa upscale --scale 2 --model srcnn"
)]
struct Upscale {
    #[command(flatten)]
    model: upscale::Model,
    /// Width and height of the network's input in pixels; a larger input is cut into windows.
    #[arg(long, default_value = "128x128", value_name = "WxH")]
    size: Size,
    #[command(flatten)]
    how: How,
}

/// Which kernels to compile for which GPUs, and what to keep.
#[derive(Args)]
struct How {
    /// GPUs to compile for, as RADV calls them: gfx1100 (RDNA 3), navi21 (RDNA 2), vega10 and others; several are separated by commas.
    #[arg(long, value_name = "GPU", default_value = "gfx1100", value_delimiter = ',', value_parser = parse_family)]
    family: Vec<String>,
    /// Only kernels whose name, such as conv2d/columns.forward, contains this.
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Plan for a GPU whose threads have N registers, 256 on most and 128 on Intel's.
    #[arg(long, value_name = "N")]
    registers: Option<usize>,
    /// Also write the machine code as files into this folder.
    #[arg(long, value_name = "DIR")]
    asm: Option<PathBuf>,
    /// Also write the kernels, with their constants, as HLSL into this folder, for compilers of other GPUs.
    #[arg(long, value_name = "DIR")]
    hlsl: Option<PathBuf>,
    /// Overwrite files that exist.
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

fn parse_family(text: &str) -> std::result::Result<String, String> {
    let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { Ok(text.to_owned()) } else { Err("expected names such as gfx1100,navi21".to_owned()) }
}

fn parse_constant(text: &str) -> std::result::Result<(String, f64), String> {
    let parsed = text.split_once('=').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    parsed
        .filter(|(_, value): &(_, f64)| value.is_finite())
        .ok_or_else(|| "expected NAME=VALUE such as WG=128".to_owned())
}

pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Isa(arguments) if arguments.worker => worker::serve(),
        Command::Isa(arguments) => isa(arguments),
    }
}

fn isa(arguments: &Isa) -> Result<u8> {
    match (&arguments.task, &arguments.net) {
        (Some(Task::Layers(layers)), _) => print(&layers.how, isa::layers(layers.how.registers)?),
        (Some(Task::Upscale(window)), _) => {
            // The network is only planned, so that no adapter is needed.
            let upscaler = window.model.open(Device::open(&Select::Cpu)?, None)?;
            let (graph, y) = upscaler.network(window.size.height, window.size.width)?;
            let mut kernels = Vec::new();
            isa::add_plan(&mut kernels, None, &isa::plan(&graph, &[y], window.how.registers)?)?;
            print(&window.how, kernels)
        }
        (None, Some(net)) => {
            let (graph, fetches) = bench::network(net, arguments.batch, arguments.size, arguments.train)?;
            let mut kernels = Vec::new();
            isa::add_plan(&mut kernels, None, &isa::plan(&graph, &fetches, arguments.how.registers)?)?;
            print(&arguments.how, kernels)
        }
        (None, None) if arguments.how.registers.is_some() => {
            Err(Error::Usage("a WGSL file is compiled as it is; leave --registers out".into()))
        }
        (None, None) => match arguments.wgsl.first() {
            Some(first) => print(&arguments.how, of_files(first, arguments)?),
            None => Err(Error::Usage("lab isa needs layers, a task such as upscale, a network, or --wgsl FILE".into())),
        },
    }
}

/// Returns the entries of the joined WGSL files.
fn of_files(first: &Path, arguments: &Isa) -> Result<Vec<Kernel>> {
    let mut text = String::new();
    for path in &arguments.wgsl {
        text += &std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        text.push('\n');
    }
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    let values: Vec<(&str, f64)> = arguments.set.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    isa::of_text(&stem, &text, &values).map_err(|e| match e {
        Error::Shader { entry, problem, .. } => {
            let of_entry = if entry.is_empty() { String::new() } else { format!("{entry}: ") };
            Error::import(first.display().to_string(), of_entry + &problem)
        }
        other => other,
    })
}

/// The kernels as compiled for one GPU.
struct Judged {
    family: String,
    /// As in [`Family`].
    device: String,
    driver: String,
    rows: Vec<Row>,
    /// Why a kernel has no row, each beginning with its name.
    failures: Vec<String>,
}

/// Compiles the kernels that `how` asks for, and prints a table for each GPU. The exit code is 1 if one does not compile.
fn print(how: &How, mut kernels: Vec<Kernel>) -> Result<u8> {
    if let Some(part) = &how.kernel {
        let names: Vec<String> = kernels.iter().map(|k| k.name.clone()).collect();
        kernels.retain(|k| k.name.contains(part.as_str()));
        if kernels.is_empty() {
            return Err(Error::Usage(format!("no kernel's name contains {part:?}; there are {}", names.join(", "))));
        }
    }
    let existing = Existing::overwrite(how.overwrite);
    let path = |folder: &PathBuf, family: &str, kernel: &Kernel| folder.join(file_name(kernel, Some(family), "s"));
    let mut written = match &how.hlsl {
        Some(folder) => write_hlsl(folder, &kernels, existing)?,
        None => Vec::new(),
    };
    if let Some(folder) = &how.asm {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        for (family, kernel) in how.family.iter().flat_map(|family| kernels.iter().map(move |kernel| (family, kernel)))
        {
            files::check_output(&path(folder, family, kernel), existing)?;
        }
    }
    let mut judged = Vec::new();
    for Family { family, device, driver, results } in worker::compile(&how.family, &kernels)? {
        let mut one = Judged { family, device, driver, rows: Vec::new(), failures: Vec::new() };
        for (kernel, result) in kernels.iter().zip(results) {
            if let (Some(folder), Ok(compiled)) = (&how.asm, &result) {
                let path = path(folder, &one.family, kernel);
                let text = compiled.assembly.as_bytes();
                files::write_whole(&path, existing, |file| file.write_all(text).map_err(|e| Error::io(&path, e)))?;
                written.push(out::path(&path));
            }
            let row = result.and_then(|compiled| Row::new(&one.family, kernel, &compiled).map_err(|e| e.to_string()));
            match row {
                Ok(row) => one.rows.push(row),
                Err(problem) => {
                    let name = [kernel.name.as_str(), kernel.constants.as_str()].join(" ");
                    one.failures.push(format!("{}: {problem}", name.trim_end()));
                }
            }
        }
        judged.push(one);
    }
    for (k, one) in judged.iter().enumerate() {
        let gap = if k > 0 { "\n" } else { "" };
        let Judged { family, device, driver, .. } = one;
        say!("{gap}{family}: {device}, {driver}\n{:.width$}", Table(one.rows.clone()), width = out::width());
        for failure in &one.failures {
            out::error(&Error::device(format!("{}: {failure}", one.family), "the other kernels are not affected"));
        }
    }
    for (what, folder) in [("machine code", &how.asm), ("HLSL", &how.hlsl)] {
        if let Some(folder) = folder {
            note!("{what} of {} in {}", out::count(kernels.len(), "kernel"), out::shown(folder));
        }
    }
    if how.json {
        let families: Vec<Value> = judged.iter().map(object).collect();
        out::json(&json!({ "families": families, "files": written }));
    }
    Ok(u8::from(judged.iter().any(|one| !one.failures.is_empty())))
}

/// Writes each kernel as HLSL, and returns the files.
///
/// # Errors
/// A kernel cannot be written as HLSL, or a file exists and must not be replaced; then nothing is written.
fn write_hlsl(folder: &Path, kernels: &[Kernel], existing: Existing) -> Result<Vec<Value>> {
    let mut texts = Vec::new();
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    for kernel in kernels {
        let text = kernel.hlsl.as_ref().map_err(|problem| Error::Shader {
            file: kernel.name.clone(),
            entry: kernel.shader.entry.clone(),
            problem: format!("HLSL: {problem}"),
        })?;
        let path = folder.join(file_name(kernel, None, "hlsl"));
        files::check_output(&path, existing)?;
        texts.push((path, text));
    }
    let mut written = Vec::new();
    for (path, text) in texts {
        files::write_whole(&path, existing, |file| file.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e)))?;
        written.push(out::path(&path));
    }
    Ok(written)
}

/// Returns the name of a file for a kernel's code.
fn file_name(kernel: &Kernel, family: Option<&str>, extension: &str) -> String {
    let name = [&kernel.name, &kernel.constants, family.unwrap_or_default(), extension].join(" ");
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-=".contains(c) { c } else { '_' };
    name.split_whitespace().collect::<Vec<_>>().join(".").chars().map(plain).collect()
}

/// Returns everything in a table as JSON, with all counts of the hottest loops; unknown values are null.
fn object(one: &Judged) -> Value {
    let row = |r: &Row| {
        let c @ Counts { instructions, vector, operations, multiply_adds, .. } = &r.hot.counts;
        json!({
            "kernel": r.kernel, "constants": r.constants, "for": r.uses, "threads": r.threads, "vgprs": r.vgprs, "sgprs": r.sgprs,
            "spills": r.spills, "scratch_bytes": r.scratch_bytes, "workgroup_bytes": r.workgroup_bytes, "waves": r.waves,
            "code_bytes": r.code_bytes,
            "loop": {
                "depth": r.hot.depth, "instructions": instructions, "vector": vector, "operations": operations,
                "multiply_adds": multiply_adds, "quarter_rate": c.quarter_rate, "workgroup_bytes": c.workgroup_bytes,
                "workgroup_accesses": c.workgroup_accesses, "global_bytes": c.global_bytes, "global_accesses": c.global_accesses,
                "scalar_loads": c.scalar_loads, "branches": c.branches, "barriers": c.barriers,
            },
            "fma": c.multiply_add_share(), "workgroup_bytes_per_fma": c.workgroup_bytes_per_multiply_add(),
            "global_bytes_per_fma": c.global_bytes_per_multiply_add(), "roof": r.roof.map(|(roof, _)| roof.name()),
            "of_peak": r.roof.map(|(_, part)| part),
        })
    };
    json!({
        "family": one.family, "device": one.device, "driver": one.driver, "kernels": one.rows.iter().map(row).collect::<Vec<_>>(), "failed": one.failures,
    })
}
