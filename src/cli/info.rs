//! `lineament info`: what a network is, and whether it can run.

use super::Common;
use super::network;
use super::out::{self, say};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::graph::Graph;
use crate::import::model::{InputSize, Model, Port};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::inspect::Size;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament info net.onnx
  lineament info net.onnx --size 640x480
  lineament info net.onnx --batch 8 --json

Operators that depend on no input are evaluated when the file is read, and batch normalisation becomes a part of the convolution \
before it: the table counts what is left. FLOP and memory are those of one run at the given size, as `lineament run` plans it. The \
exit code is 1 if the network cannot run; the message then lists every operator that is in the way.")]
pub struct Arguments {
    /// The network: an ONNX file, or the .param of an ncnn network with its .bin beside it.
    #[arg(value_name = "NET")]
    net: PathBuf,
    /// Pictures per run, instead of the file's batch.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Width and height of the input, instead of the file's.
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    #[command(flatten)]
    common: Common,
}

/// What a run at a certain size takes.
struct Run {
    dims: Vec<Vec<usize>>,
    flops: u64,
    bytes: u64,
    steps: usize,
    peak_bytes: u64,
    outputs: Vec<Vec<usize>>,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let model = network::open(&arguments.net)?;
    let size = InputSize {
        batch: arguments.batch,
        height: arguments.size.map(|s| s.height),
        width: arguments.size.map(|s| s.width),
    };
    let device = arguments.common.open()?;
    let planned = plan(&model, size, &device);
    let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
    for node in model.nodes() {
        *operators.entry(&node.op).or_default() += 1;
    }
    say!("{}", out::shown(&arguments.net));
    for (key, value) in model.metadata() {
        say!("{key:<18}{}", out::one_line(value));
    }
    for (what, ports) in [("input", model.inputs()), ("output", model.outputs())] {
        for port in ports {
            say!("{what:<18}{} {}", port.name, port.describe());
        }
    }
    say!("{:<18}{}", "parameters", model.parameters());
    let counted: Vec<String> = operators.iter().map(|(op, count)| format!("{op} {count}")).collect();
    say!("{:<18}{}", "operators", counted.join(", "));
    let mut object = json!({
        "net": out::path(&arguments.net), "inputs": ports(model.inputs()), "outputs": ports(model.outputs()),
        "parameters": model.parameters(), "operators": operators, "device": device.describe(),
        "metadata": model.metadata().iter().map(|(key, value)| json!([key, value])).collect::<Vec<_>>(), "run": Value::Null,
        "problem": Value::Null,
    });
    let mut code = 0;
    match planned {
        Ok(run) => {
            let sizes: Vec<String> = run.dims.iter().map(|dims| format!("{dims:?}")).collect();
            say!("{:<18}{}", "at", sizes.join(", "));
            say!(
                "{:<18}{:.3} GFLOP, {:.1} MB read and written, {}",
                "a run",
                run.flops as f64 / 1e9,
                run.bytes as f64 / 1e6,
                out::count(run.steps, "step")
            );
            say!(
                "{:<18}{:.2} MB ({} bytes) for tensors on {}",
                "peak memory",
                run.peak_bytes as f64 / 1e6,
                run.peak_bytes,
                device.describe()
            );
            object["run"] = json!({
                "inputs": run.dims, "outputs": run.outputs, "flops": run.flops, "bytes": run.bytes, "steps": run.steps,
                "peak_bytes": run.peak_bytes,
            });
        }
        // A size that is not known is no fault of the network.
        Err(error) if model.inputs().iter().any(|port| model.dims(port, size).is_err()) => {
            say!("{:<18}{}", "a run", out::one_line(&error.to_string()));
            object["problem"] = json!(error.to_string());
        }
        Err(error) => {
            out::error(&error);
            object["problem"] = json!(error.to_string());
            code = 1;
        }
    }
    if arguments.common.json {
        out::json(&object);
    }
    Ok(code)
}

fn ports(ports: &[Port]) -> Vec<Value> {
    let dims = |port: &Port| port.dims.as_ref().map(|dims| dims.iter().map(ToString::to_string).collect::<Vec<_>>());
    ports.iter().map(|port| json!({ "name": port.name, "dtype": port.kind.name(), "shape": dims(port) })).collect()
}

fn plan(model: &Model, size: InputSize, device: &Device) -> Result<Run> {
    let dims: Vec<Vec<usize>> = model.inputs().iter().map(|port| model.dims(port, size)).collect::<Result<_>>()?;
    let mut graph = Graph::new();
    let added = model.add(&mut graph, &dims)?;
    let outputs = added.outputs.iter().map(|output| output.value.dims().to_vec()).collect();
    let fetches = added.fetches();
    if fetches.is_empty() {
        return Err(Error::Usage("the network's outputs are constants".into()));
    }
    let plan = device.plan(&graph, &fetches)?;
    let cost = plan.cost();
    Ok(Run {
        dims,
        flops: cost.flops,
        bytes: cost.bytes,
        steps: plan.steps.len(),
        peak_bytes: plan.peak_bytes(),
        outputs,
    })
}
