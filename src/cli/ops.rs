//! `lineament ops`.

use super::out::{self, say};
use crate::error::Result;
use crate::ops::registry;
use crate::plan::write_table;
use clap::Args;
use serde_json::json;

/// List the operations: inputs, shaders, gradients, cases.
#[derive(Args)]
#[command(after_help = "Examples:\n  lineament ops\n  lineament ops --json")]
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
        let mut shaders: Vec<&str> = cases.iter().flat_map(|c| c.op.shaders()).map(|s| s.stem).collect();
        shaders.sort_unstable();
        shaders.dedup();
        let gradients: Vec<&str> =
            op.inputs().iter().copied().filter(|i| !op.no_grad().iter().any(|(n, _)| n == i)).collect();
        rows.push([
            registered.name.to_owned(),
            op.inputs().join(" "),
            if op.updates().is_empty() { gradients.join(" ") } else { format!("updates {}", op.updates().join(" ")) },
            shaders.join(" "),
            cases.len().to_string(),
        ]);
        objects.push(json!({
            "name": registered.name, "inputs": op.inputs(), "gradients": gradients, "updates": op.updates(),
            "shaders": shaders, "cases": cases.len(),
        }));
    }
    if arguments.json {
        out::json(&json!({ "ops": objects }));
        return Ok(0);
    }
    let mut text = String::new();
    let titles = ["operation", "inputs", "gradients", "shaders", "cases"].map(String::from);
    write_table(&mut text, &titles, &rows, &[4]).expect("writing to a string does not fail");
    print!("{text}");
    say!("{} operations", rows.len());
    Ok(0)
}
