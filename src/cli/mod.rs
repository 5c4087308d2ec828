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
mod interrupt;
mod ops;
mod out;
mod progress;
mod reproduce;
mod train;
mod tune;
mod upscale;

use crate::error::Result;
use crate::exec::{Device, Select};
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;
use std::time::Instant;

/// Runs and trains convolutional networks on any adapter: Vulkan, Metal, DX12, WebGPU, or the processor.
#[derive(Parser)]
#[command(name = "lineament", version, long_version = LONG_VERSION, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Examples:\n  lineament devices\n  lineament upscale photo.jpg photo_x3.png --scale 3\n  lineament check ops conv3x3\n  lineament profile upscale --scale 3 --size 128x128\n\n`lineament COMMAND --help` shows more."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print nothing but errors and what --json prints.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say what was chosen and why; twice: more of it.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
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

/// Commit of the checkout that this binary was built from, and wgpu's version, as build.rs found them.
const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\ncommit ", env!("LINEAMENT_COMMIT"), "\nwgpu ", env!("LINEAMENT_WGPU"));

/// Parses the command line, runs the command, and reports. `exit_now` ends the process without running what other threads
/// still use.
pub fn run(exit_now: interrupt::ExitNow) -> ExitCode {
    let started = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return out::wrong_usage(&e, asks_for_json()).into(),
    };
    out::set(cli.quiet, asks_for_json(), cli.verbose);
    interrupt::install(exit_now);
    out::end(command(cli.command, started)).into()
}

/// Whether `--json` stands among the arguments; every command that knows it takes it as a flag of its own.
fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

fn command(command: Command, started: Instant) -> Result<u8> {
    match command {
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
    }
}
