//! The command line, one file a command.
//!
//! Results go to stdout, errors as one line to stderr with exit code 1, wrong usage with exit code 2; `--json` prints one
//! object as the last line of stdout.

mod bench;
mod check;
mod devices;
mod dump;
mod eval;
mod hallucinate;
mod inspect;
mod ops;
mod progress;
mod reproduce;
mod train;
mod tune;
mod upscale;

use crate::error::{Error, Result};
use crate::exec::{Device, Select};
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Runs and trains convolutional networks on any adapter: Vulkan, Metal, DX12, WebGPU, or the processor.
#[derive(Parser)]
#[command(name = "lineament", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Examples:\n  lineament devices\n  lineament upscale photo.jpg photo_x3.png --scale 3\n  lineament check ops conv3x3\n  lineament profile upscale --scale 3 --size 128x128\n\n`lineament COMMAND --help` shows more."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the adapters, their limits, and which one is the default and why.
    Devices(devices::Arguments),
    /// Enlarge a picture, or every picture of a folder.
    Upscale(upscale::Arguments),
    /// Draw a large face from one of about 16 × 16 pixels.
    Hallucinate(hallucinate::Arguments),
    /// Measure a model against ground truth.
    #[command(subcommand)]
    Eval(eval::Command),
    /// List the operations: inputs, shaders, gradients, cases.
    Ops(ops::Arguments),
    /// Check operations: gradients, shaders, adapter against reference.
    #[command(subcommand)]
    Check(check::Command),
    /// Print the plan of a task as a table: steps, slots, FLOP, bytes, peak memory.
    #[command(subcommand)]
    Plan(inspect::PlanCommand),
    /// Time every step of a task and compare it with what the adapter can do; or dump a shader.
    Profile(inspect::ProfileCommand),
    /// Time a network from an ONNX file, forward or training, and compare its output.
    Bench(bench::Arguments),
    /// Measure which shader serves each layer of a network fastest on this adapter, and remember it.
    Tune(tune::Arguments),
    /// Train a network.
    #[command(subcommand)]
    Train(train::Command),
    /// The papers' tables: measured beside published.
    #[command(subcommand)]
    Reproduce(reproduce::Command),
}

/// As many finite numbers as `N`, with commas between.
fn finite<const N: usize>(text: &str) -> Option<[f64; N]> {
    let numbers = text.split(',').map(|v| v.trim().parse().ok().filter(|v: &f64| v.is_finite()));
    numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Options that many commands share.
#[derive(Args, Clone)]
struct Common {
    /// Adapter by name or index (see `lineament devices`), or `cpu` for the references.
    #[arg(long, value_name = "NAME|INDEX|cpu")]
    device: Option<String>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

impl Common {
    fn open(&self) -> Result<Device> {
        let select = self.device.as_deref().map_or(Select::Default, |d| d.parse().unwrap_or_default());
        tune::follow_environment(Device::open(&select)?)
    }
}

/// Set by Ctrl-C; long work looks at it between two pieces.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// True once the user has pressed Ctrl-C.
fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Parses the command line, runs the command, and reports.
pub fn run() -> ExitCode {
    let started = Instant::now();
    let cli = Cli::parse();
    // A second Ctrl-C ends the process at once; files are only ever renamed into place.
    let handler = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    if let Err(e) = handler {
        eprintln!("warning: Ctrl-C will end the process at once: {e}");
    }
    let result = match cli.command {
        Command::Devices(a) => devices::run(&a),
        Command::Upscale(a) => upscale::run(&a),
        Command::Hallucinate(a) => hallucinate::run(&a),
        Command::Eval(c) => eval::run(&c),
        Command::Ops(a) => ops::run(&a),
        Command::Check(c) => check::run(&c),
        Command::Plan(c) => inspect::plan(&c),
        Command::Profile(c) => inspect::profile(&c),
        Command::Bench(a) => bench::run(&a, started),
        Command::Tune(a) => tune::run(&a),
        Command::Train(c) => train::run(&c),
        Command::Reproduce(c) => reproduce::run(&c),
    };
    match result {
        Ok(code) => code,
        Err(Error::Interrupted) => {
            eprintln!("{}", Error::Interrupted);
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
