//! `lineament check ops`.

use super::out::{self, say};
use super::{Common, interrupt, progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::lab::{check, faults};
use crate::ops::{Kernel, Registered, registry};
use clap::{Args, Subcommand};
use serde_json::json;

#[derive(Subcommand)]
pub enum Command {
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
pub struct Arguments {
    /// Check only this operation, or the kernels whose files begin with this name.
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
                let is_named =
                    |kernel: &Kernel| kernel.stem().split('/').next_back().is_some_and(|k| k.starts_with(name));
                all.into_iter()
                    .filter(|kernel| kernel.stem() != format!("{}/plain", registered.name) && is_named(kernel))
                    .collect()
            }
            _ => all,
        }
    }
}

pub fn run(Command::Ops(arguments): &Command) -> Result<u8> {
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
