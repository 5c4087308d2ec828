//! `lineament ops`.

use super::out::{self, say};
use crate::error::{Error, Result};
use crate::ops::{Kernel, registry};
use crate::table::{self, Column};
use clap::Args;
use serde_json::json;

/// List the operations: inputs, shaders, gradients, cases.
#[derive(Args)]
#[command(after_help = "Examples:\n  lineament ops\n  lineament ops --json --quiet")]
pub struct Arguments {
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let mut rows = Vec::new();
    let mut objects = Vec::new();
    for registered in registry() {
        let cases = (registered.cases)();
        let op = &cases[0].op;
        let mut shaders: Vec<&str> = cases.iter().flat_map(|c| c.op.kernels()).map(Kernel::stem).collect();
        shaders.sort_unstable();
        shaders.dedup();
        let has_gradient = |input: &&str| !op.no_grad().iter().any(|(n, _)| n == input) && !op.outputs().is_empty();
        let gradients: Vec<&str> = op.inputs().iter().copied().filter(has_gradient).collect();
        let updates = op.updates().iter().map(|name| format!("updates {name}"));
        rows.push([
            registered.name.to_owned(),
            op.inputs().join(" "),
            op.outputs().join(" "),
            gradients.iter().map(|name| (*name).to_owned()).chain(updates).collect::<Vec<_>>().join(" "),
            shaders.join(" "),
            cases.len().to_string(),
        ]);
        objects.push(json!({
            "name": registered.name, "inputs": op.inputs(), "outputs": op.outputs(), "gradients": gradients,
            "updates": op.updates(), "shaders": shaders, "cases": cases.len(),
        }));
    }
    let columns = [
        Column::words("operation", 0),
        Column::words("inputs", 0),
        Column::words("outputs", 1),
        Column::words("gradients", 0),
        Column::words("shaders", 2),
        Column::numbers("cases", 0),
    ];
    let mut text = String::new();
    table::write(&mut text, &columns, &rows, out::width()).map_err(|e| Error::Usage(e.to_string()))?;
    say!("{text}{} operations", rows.len());
    if arguments.json {
        out::json(&json!({ "ops": objects }));
    }
    Ok(0)
}
