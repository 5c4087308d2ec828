//! `lineament check ops`.

use super::out::{self, say};
use super::{Common, interrupt};
use crate::error::{Error, Result};
use crate::exec::check;
use crate::ops::registry;
use clap::{Args, Subcommand};
use serde_json::json;

#[derive(Subcommand)]
pub enum Command {
    /// Check operations: derivatives against differences, shaders against limits, adapter against reference.
    Ops(Arguments),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament check ops
  lineament check ops conv3x3
  lineament check ops --device cpu  # gradients and shaders only

Columns: the worst error of a derivative against differences; the worst error of the adapter against the reference, over the \
largest value, and over the error that f32 explains. Exit code 1 where any case failed.")]
pub struct Arguments {
    /// Check this operation only.
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub fn run(Command::Ops(arguments): &Command) -> Result<u8> {
    let all = registry();
    if let Some(name) = &arguments.name
        && !all.iter().any(|r| r.name == name)
    {
        let names: Vec<&str> = all.iter().map(|r| r.name).collect();
        return Err(Error::Usage(format!("there is no operation {name:?}; there are {}", names.join(", "))));
    }
    let device = arguments.common.open()?;
    if device.is_cpu() {
        say!("on {}: gradients and shaders only, no adapter is compared", device.describe());
    } else {
        say!("on {}", device.describe());
    }
    say!("{:<22}{:>6}{:>10}{:>10}{:>12}", "operation", "cases", "gradient", "adapter", "of allowed");
    let (mut cases, mut failed, mut objects) = (0, 0, Vec::new());
    for registered in all.iter().filter(|r| arguments.name.as_deref().is_none_or(|n| n == r.name)) {
        interrupt::check()?;
        let op_cases = (registered.cases)();
        let report = check::op(&*op_cases[0].op, &op_cases, Some(&device));
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
