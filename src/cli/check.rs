//! `lineament check`: operations, or a network that others trained.

use super::network::{self, Given, MAX_RELATIVE_ERROR};
use super::out::{self, say};
use super::{Common, interrupt, progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::import::array::Array;
use crate::import::model::Model;
use crate::import::npy;
use crate::lab::check::StepReport;
use crate::lab::{check, faults};
use crate::ops::{Kernel, Registered, registry};
use crate::tensor::Tensor;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:
  lineament check net.onnx
  lineament check net.onnx --input x.npy --expect expected
  lineament check ops conv3x3

Every step of the network runs on the adapter and, from the same inputs, on the references in f64; what differs by more than f32 explains \
is listed, and the exit code is 1. --expect also compares the outputs with those of another program, DIR/NAME.npy, where characters of \
NAME outside of A-Za-z0-9_.- are _: an error above 1e-3 of an output's root mean square fails."
)]
pub struct Command {
    #[command(subcommand)]
    task: Option<Task>,
    /// A network that others trained: an ONNX file, or an ncnn .param.
    #[arg(value_name = "NET")]
    net: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
    /// Folder with the expected outputs.
    #[arg(long, value_name = "DIR", requires = "input")]
    expect: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand)]
enum Task {
    /// Check operations: derivatives against finite differences, shaders against limits, adapter against reference.
    Ops(Arguments),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament check ops
  lineament check ops conv3x3
  lineament check ops --device cpu  # gradients and shaders only
  lineament check ops relu --plant  # does the check notice faults?

The columns are the worst error of a derivative against finite differences (gradient), and the worst error of the adapter against the \
reference, relative to the largest value (adapter) and to the allowed error (of allowed). The exit code is 1 if any case failed.

--plant instead plants small faults in the shaders, one at a time (a comparison with the wrong boundary, a size or an index one too \
large, a missing barrier, a constant 1 % off), and lists the faults that the check does not notice.")]
struct Arguments {
    /// Check only this operation, or the kernels whose names begin with this one, such as gemm or conv2d/gemm.
    name: Option<String>,
    /// Plant faults in the shaders, and list those that the check does not catch.
    #[arg(long)]
    plant: bool,
    #[command(flatten)]
    common: Common,
}

impl Arguments {
    /// Returns the kernels of an operation to check: all of them if the operation is named or no name is given.
    fn wanted(&self, registered: &Registered) -> Vec<Kernel> {
        let all = registered.kernels();
        match self.name.as_deref() {
            Some(name) if name != registered.name => {
                let of_name = |stem: &str| stem.split_once('/').is_some_and(|(_, kernel)| kernel.starts_with(name));
                let is_named = |kernel: &Kernel| match name.contains('/') {
                    true => kernel.stem().starts_with(name),
                    false => kernel.stem() != format!("{}/plain", registered.name) && of_name(kernel.stem()),
                };
                all.into_iter().filter(is_named).collect()
            }
            _ => all,
        }
    }
}

pub fn run(command: &Command) -> Result<u8> {
    match (&command.task, &command.net) {
        (Some(Task::Ops(arguments)), _) => ops(arguments),
        (None, Some(net)) => network(command, net),
        (None, None) => Err(Error::Usage("check needs a network, or ops".into())),
    }
}

/// Compares each step of a network with its reference, and the outputs with those that are expected.
fn network(command: &Command, net: &Path) -> Result<u8> {
    let model = network::open(net)?;
    let given = command.given.tensors(&model, net)?;
    let device = command.common.open()?;
    let (mut failed, mut steps) = (0, Vec::new());
    if device.is_cpu() {
        say!("on {}: outputs only, without an adapter", device.describe());
    } else {
        say!("on {}", device.describe());
        steps = compare_steps(&model, &device, &given)?;
        say!("{:<40}{:<36}{:>10}{:>12}", "step", "shader", "error", "of allowed");
        for step in &steps {
            let verdict = if step.is_ok() { "" } else { "  FAILED" };
            let of_allowed = step.error / step.allowed.max(f64::MIN_POSITIVE);
            say!("{:<40}{:<36}{:>10.1e}{of_allowed:>12.2}{verdict}", step.name, step.entry, step.relative());
            if !step.is_ok() {
                out::error(&step.to_error());
                failed += 1;
            }
        }
    }
    let mut outputs = Vec::new();
    if let Some(folder) = &command.expect {
        for (name, got) in model.prepare(&device, &given)?.run(&given)? {
            let file = folder.join(network::file_name(&name));
            let expected = npy::open_array(&file)?;
            let problem = difference(&got, &expected);
            match &problem {
                Ok(error) => say!("output {name}: off by {error:.1e} of its root mean square"),
                Err(problem) => {
                    out::error(&Error::import(file.display().to_string(), format!("output {name:?} {problem}")));
                    failed += 1;
                }
            }
            outputs.push(json!({ "name": name, "error": problem.as_ref().ok(), "problem": problem.as_ref().err() }));
        }
    }
    say!("{} checked, {failed} failed", out::count(steps.len() + outputs.len(), "value"));
    if command.common.json {
        let steps: Vec<_> = steps
            .iter()
            .map(
                |step| json!({ "step": step.name, "shader": step.entry, "error": step.relative(), "ok": step.is_ok() }),
            )
            .collect();
        let net = out::path(net);
        out::json(
            &json!({ "net": net, "failed": failed, "steps": steps, "outputs": outputs, "device": device.describe() }),
        );
    }
    Ok(if failed == 0 { 0 } else { 1 })
}

fn compare_steps(model: &Model, device: &Device, given: &[(String, Array)]) -> Result<Vec<StepReport>> {
    let (graph, added) = model.for_inputs(given)?;
    let fetches = added.fetches();
    if fetches.is_empty() {
        return Ok(Vec::new());
    }
    let read = device.plan(&graph, &fetches)?.inputs;
    let mut inputs = Vec::new();
    for (name, path, _) in &added.inputs {
        if let Some((_, array)) = given.iter().find(|(known, _)| known == name)
            && read.iter().any(|(input, _)| input == path)
        {
            inputs.push((path.as_str(), array.tensor()?));
        }
    }
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(path, tensor)| (*path, tensor)).collect();
    check::steps(device, &graph, &fetches, added.weights, &inputs, None)
}

/// Returns the largest difference of two arrays in units of the second one's root mean square, or why they do not agree.
fn difference(got: &Array, expected: &Array) -> std::result::Result<f64, String> {
    if (got.dims(), got.kind()) != (expected.dims(), expected.kind()) {
        let (a, b) = (got.kind(), expected.kind());
        return Err(format!("is {a} {:?}, expected {b} {:?}", got.dims(), expected.dims()));
    }
    let (got, expected) = (got.to_f64(), expected.to_f64());
    let rms = (expected.iter().map(|v| v * v).sum::<f64>() / expected.len().max(1) as f64).sqrt();
    let errors =
        got.iter().zip(&expected).map(|(a, b)| if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() });
    let worst = errors.fold(0.0, |worst: f64, e| if e.is_nan() { f64::INFINITY } else { worst.max(e) });
    let error = if worst == 0.0 { 0.0 } else { worst / rms };
    if error <= MAX_RELATIVE_ERROR {
        Ok(error)
    } else {
        Err(format!("is off by {error:.1e} of its root mean square, allowed: {MAX_RELATIVE_ERROR:.0e}"))
    }
}

/// Checks operations by their cases.
fn ops(arguments: &Arguments) -> Result<u8> {
    let all = registry();
    let is_wanted = |registered: &Registered| !arguments.wanted(registered).is_empty();
    if let Some(name) = &arguments.name
        && !all.iter().any(is_wanted)
    {
        let names: Vec<&str> = all.iter().map(|r| r.name).collect();
        return Err(Error::Usage(format!("there is no operation {name:?}; there are {}", names.join(", "))));
    }
    let device = arguments.common.open()?;
    if arguments.plant {
        return plant(arguments, &device);
    }
    if device.is_cpu() {
        say!("on {}: gradients and shaders only, without an adapter", device.describe());
    } else {
        say!("on {}", device.describe());
    }
    say!("{:<22}{:>6}{:>10}{:>10}{:>12}", "operation", "cases", "gradient", "adapter", "of allowed");
    let (mut cases, mut failed, mut objects) = (0, 0, Vec::new());
    for registered in all.iter().filter(|registered| is_wanted(registered)) {
        interrupt::check()?;
        let op_cases = (registered.cases)();
        let report = check::op_by(&*op_cases[0].op, &op_cases, Some(&device), &arguments.wanted(registered));
        let verdict = if report.failed() == 0 { "ok".to_owned() } else { format!("{} FAILED", report.failed()) };
        let (gradient, adapter) = (format!("{:.1e}", report.max_grad_error), format!("{:.1e}", report.max_gpu_error));
        let of_allowed = format!("{:.2}", report.max_of_allowed);
        say!("{:<22}{:>6}{gradient:>10}{adapter:>10}{of_allowed:>12}  {verdict}", registered.name, report.cases);
        for failure in &report.failures {
            out::error(&Error::Usage(format!("{}: {failure}", registered.name)));
        }
        cases += report.cases;
        failed += report.failed();
        objects.push(json!({
            "name": registered.name, "cases": report.cases, "failed": report.failed(),
            "max_grad_error": report.max_grad_error, "max_gpu_error": report.max_gpu_error,
            "max_of_allowed": report.max_of_allowed, "failures": report.failures,
        }));
    }
    say!("{}, {failed} failed", out::count(cases, "case"));
    if arguments.common.json {
        let object = json!({ "cases": cases, "failed": failed, "ops": objects, "device": device.describe() });
        out::json(&object);
    }
    Ok(if failed == 0 { 0 } else { 1 })
}

/// Plants faults in every shader of the requested operations.
fn plant(arguments: &Arguments, device: &Device) -> Result<u8> {
    if device.is_cpu() {
        return Err(Error::Usage("--plant runs changed shaders on an adapter; choose one with --device".into()));
    }
    say!("on {}", device.describe());
    say!("{:<26}{:>8}{:>8}", "shader", "planted", "caught");
    let (mut planted, mut caught, mut objects) = (0, 0, Vec::new());
    for registered in &registry() {
        let cases = (registered.cases)();
        for stem in arguments.wanted(registered).iter().map(Kernel::stem) {
            let bar = progress::bar(0, "faults");
            let harvest = faults::harvest(device, &cases, stem, &mut |done, all| {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                interrupt::check()
            })?;
            bar.finish_and_clear();
            let all = harvest.caught + harvest.survived.len();
            say!("{stem:<26}{all:>8}{:>8}", harvest.caught);
            for fault in &harvest.survived {
                say!("  shaders/{stem}.wgsl:{}: {}", fault.line, fault.what);
            }
            planted += all;
            caught += harvest.caught;
            let survived = harvest.survived.iter().map(|f| json!({ "line": f.line, "what": f.what }));
            objects.push(json!({ "shader": stem, "planted": all, "survived": survived.collect::<Vec<_>>() }));
        }
    }
    let percent = 100.0 * caught as f64 / f64::from(planted.max(1) as u32);
    say!("{caught} of {} caught ({percent:.1} %)", out::count(planted, "fault"));
    if arguments.common.json {
        out::json(&json!({ "planted": planted, "caught": caught, "shaders": objects, "device": device.describe() }));
    }
    Ok(if caught == planted { 0 } else { 1 })
}
