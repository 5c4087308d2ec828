//! The command line, one file per command.
//!
//! Results go to stdout. Errors go to stderr as one line, with exit code 1, or 2 for wrong usage. `--json` prints one object
//! as the last line of stdout, after the text for people; with `--quiet`, stdout holds only the object.

mod attributes;
mod bench;
mod check;
mod completions;
mod convert;
mod detect;
mod devices;
mod dump;
mod eval;
mod hallucinate;
mod info;
mod inspect;
mod interrupt;
mod lab;
mod man;
mod models;
mod network;
mod ops;
mod out;
mod progress;
mod reproduce;
mod run;
mod train;
mod tune;
mod upscale;

use crate::error::Result;
use crate::exec::{Device, Select, adapters, default_adapter};
use crate::plan::Precision;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Instant;

/// Runs and trains convolutional networks on any adapter: Vulkan, Metal, DX12, WebGPU, or the processor.
#[derive(Parser)]
#[command(name = "lineament", version = VERSION.as_str(), max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Examples:
  lineament devices
  lineament upscale photo.jpg photo_x3.png --scale 3
  lineament check ops conv3x3
  lineament profile upscale --scale 3 --size 128x128

`lineament COMMAND --help` shows more. Tables fit the terminal's width; a pipe gets all columns.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print only errors and the object of --json.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Report what was chosen and why; give it twice for more detail.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// List the adapters, their limits, and which one is the default and why.
    Devices(devices::Arguments),
    /// Enlarge pictures: files, or all pictures in a folder.
    Upscale(upscale::Arguments),
    /// List the networks whose weights come with lineament.
    Models(models::Arguments),
    /// Reconstruct a large face from one of about 16 × 16 pixels.
    Hallucinate(hallucinate::Arguments),
    /// Find the faces in pictures.
    Detect(detect::Arguments),
    /// Label faces with attributes such as Smiling or Eyeglasses.
    Attributes(attributes::Arguments),
    /// Measure a model against ground truth.
    #[command(subcommand)]
    Eval(eval::Command),
    /// List the operations: inputs, shaders, gradients, cases.
    Ops(ops::Arguments),
    /// Check a network or the operations: adapter against reference, gradients, shaders.
    Check(check::Command),
    /// Print the plan of a task or network as a table: steps, slots, FLOP, bytes, peak memory.
    Plan(inspect::PlanCommand),
    /// Time every step of a task or network and compare it with the adapter's peak, or dump a shader.
    Profile(inspect::ProfileCommand),
    /// Judge kernels without running them.
    #[command(subcommand)]
    Lab(lab::Command),
    /// Write a network with its weights as an ONNX file.
    Convert(convert::Arguments),
    /// Describe a network from an ONNX or ncnn file, and say whether it can run.
    Info(info::Arguments),
    /// Run a network that others trained, from an ONNX or ncnn file.
    Run(run::Arguments),
    /// Time a network from an ONNX or ncnn file, forward or training, and compare its output.
    Bench(bench::Arguments),
    /// Measure which shader serves each layer of a network fastest on this adapter, and remember it.
    Tune(tune::Arguments),
    /// Train a network.
    #[command(subcommand)]
    Train(train::Command),
    /// Reproduce the papers' tables: measured values beside published ones.
    #[command(subcommand)]
    Reproduce(reproduce::Command),
    /// Print a script that completes commands and options in a shell.
    Completions(completions::Arguments),
    /// Write the manual as man pages.
    Man(man::Arguments),
}

/// Parses `N` finite numbers separated by commas.
fn finite<const N: usize>(text: &str) -> Option<[f64; N]> {
    let numbers = text.split(',').map(|v| v.trim().parse().ok().filter(|v: &f64| v.is_finite()));
    numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Options that many commands share.
#[derive(Args, Clone)]
struct Common {
    /// Adapter by name or index (see `lineament devices`), or `cpu` for the references.
    #[arg(long, short = 'g', value_name = "NAME|INDEX|cpu", value_parser = parse_device)]
    device: Option<Select>,
    /// Store weights and what lies between layers as f32, or as f16 at half of the memory: less exact, and for inference only.
    #[arg(long, value_name = "f32|f16", default_value = "f32", hide_default_value = true)]
    precision: Precision,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

fn parse_device(text: &str) -> std::result::Result<Select, String> {
    match text.trim() {
        "" => Err("expected part of an adapter's name, its index, or cpu; `lineament devices` lists them".to_owned()),
        text => Ok(text.parse().unwrap_or_default()),
    }
}

impl Common {
    fn open(&self) -> Result<Device> {
        let select = self.device.clone().unwrap_or_default();
        let device = Device::open(&select)?;
        if log::log_enabled!(log::Level::Info) {
            let why = match select {
                Select::Default => default_adapter(&adapters()).map_or("the only one", |(_, why)| why),
                _ => "--device asks for it",
            };
            log::info!("device: {}: {why}", device.describe());
        }
        tune::follow_environment(device.with_precision(self.precision)?)
    }
}

/// `0.1.0 (commit abc1234, wgpu 30.0.2)`, as found by build.rs; the binary was built from a checkout of this commit.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let (hash, rest) = env!("LINEAMENT_COMMIT").split_once('-').unwrap_or((env!("LINEAMENT_COMMIT"), ""));
    let commit = match (hash.get(..7).unwrap_or(hash), rest) {
        ("", _) => String::new(),
        (short, "") => format!("commit {short}, "),
        (short, rest) => format!("commit {short}-{rest}, "),
    };
    format!("{} ({commit}wgpu {})", env!("CARGO_PKG_VERSION"), env!("LINEAMENT_WGPU"))
});

/// Joins the lines of each paragraph in the text after a help's options, so that the terminal can wrap them. Indented examples and
/// the heading above them keep their lines.
fn joined(text: &str) -> String {
    let is_line = |line: &str| line.is_empty() || line.starts_with(' ');
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut().filter(|last| !is_line(line) && !is_line(last) && !last.ends_with(':')) {
            Some(paragraph) => *paragraph += &format!(" {line}"),
            None => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// Returns the definition of all commands and options.
fn definition() -> clap::Command {
    fn finished(command: clap::Command) -> clap::Command {
        // Options that take a value accept negative numbers, so that the error for a wrong one names the actual problem.
        let option = |arg: clap::Arg| {
            let takes = arg.get_action().takes_values() && !arg.is_positional();
            if takes { arg.allow_negative_numbers(true) } else { arg }
        };
        let help = command.get_after_help().map(|text| joined(&text.to_string()));
        command.after_help(help.unwrap_or_default()).mut_args(option).mut_subcommands(finished)
    }
    finished(Cli::command())
}

/// Parses the command line, runs the command, and reports the result. `exit_now` ends the process without running destructors
/// of objects that other threads still use.
pub fn run(exit_now: interrupt::ExitNow) -> ExitCode {
    let started = Instant::now();
    let parsed = definition().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(e) => return out::wrong_usage(&e, asks_for_json()).into(),
    };
    out::set(cli.quiet, asks_for_json(), cli.verbose);
    interrupt::install(exit_now);
    out::end(command(cli.command, started)).into()
}

/// Returns whether `--json` is among the arguments; every command that supports it declares its own flag.
fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

fn command(command: Command, started: Instant) -> Result<u8> {
    match command {
        Command::Devices(a) => devices::run(&a),
        Command::Upscale(a) => upscale::run(&a),
        Command::Models(a) => models::run(&a),
        Command::Hallucinate(a) => hallucinate::run(&a),
        Command::Detect(a) => detect::run(&a),
        Command::Attributes(a) => attributes::run(&a),
        Command::Eval(c) => eval::run(&c),
        Command::Ops(a) => ops::run(&a),
        Command::Check(c) => check::run(&c),
        Command::Plan(c) => inspect::plan(&c),
        Command::Profile(c) => inspect::profile(&c),
        Command::Lab(c) => lab::run(&c),
        Command::Info(a) => info::run(&a),
        Command::Run(a) => run::run(&a),
        Command::Bench(a) => bench::run(&a, started),
        Command::Tune(a) => tune::run(&a),
        Command::Convert(c) => convert::run(&c),
        Command::Train(c) => train::run(&c),
        Command::Reproduce(c) => reproduce::run(&c),
        Command::Completions(a) => completions::run(&a),
        Command::Man(a) => man::run(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns every command's name and help.
    fn helps(width: usize) -> Vec<(String, String)> {
        fn all(mut command: clap::Command, width: usize, found: &mut Vec<(String, String)>) {
            command = command.term_width(width);
            let help = command.render_long_help().to_string();
            found.push((command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned(), help));
            command.get_subcommands().filter(|c| c.get_name() != "help").for_each(|c| all(c.clone(), width, found));
        }
        let mut command = definition();
        command.build();
        let mut found = Vec::new();
        all(command, width, &mut found);
        found
    }

    #[test]
    fn every_help_has_examples_that_are_lines_and_paragraphs_that_fill_the_width() {
        let width = 80;
        let wide: Vec<(String, String)> = helps(2000);
        assert!(wide.len() > 20 && wide.iter().any(|(name, _)| name == "lineament reproduce speed"));
        for ((name, help), (_, wide)) in helps(width).iter().zip(&wide) {
            // Usage lines are not wrapped, and an example is one line at any width.
            let usage = help.lines().filter(|line| !line.starts_with("Usage:"));
            let over: Vec<&str> = usage.filter(|line| line.chars().count() > width).collect();
            assert!(over.is_empty(), "{name}: {over:#?}");
            let Some((_, after)) = wide.split_once("Examples:\n") else {
                assert!(wide.contains("Commands:"), "{name} has no examples");
                continue;
            };
            for pair in after.lines().collect::<Vec<_>>().windows(2) {
                let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
                assert!(!(is_prose(pair[0]) && is_prose(pair[1])), "{name}: broken off: {pair:#?}");
            }
        }
    }

    #[test]
    fn paragraphs_become_lines_and_examples_stay() {
        let text = "Examples:\n  a\n  b\n\nOne\nparagraph.\n\nAnother.";
        assert_eq!(joined(text), "Examples:\n  a\n  b\n\nOne paragraph.\n\nAnother.");
        assert_eq!(joined(&joined(text)), joined(text));
    }

    #[test]
    fn options_are_defined_without_contradictions() {
        definition().debug_assert();
    }
}
