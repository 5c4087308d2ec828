//! `lineament bench`: measures how fast a network runs or trains, from host memory to host memory, and how accurate it is.

use super::inspect::Size;
use super::network::{self, Given, MAX_RELATIVE_ERROR};
use super::out::{self, say};
use super::{Common, interrupt};
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::graph::{Graph, Kind, Node, NodeId};
use crate::import::array::Array;
use crate::import::lower::Value as Lowered;
use crate::import::model::{Added, InputSize, Model, Port};
use crate::import::npy;
use crate::lab::clock::ms_since;
use crate::lab::profile::median;
use crate::ops::Io;
use crate::ops::loss::Reduction;
use crate::rng::Rng;
use crate::tensor::{DType, Shape, Tensor, len};
use crate::train::{HYPER, Optimizer, Rule};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Minimum number of timed runs, and their minimum total time, without --runs.
const MIN_RUNS: usize = 5;
const MIN_SECONDS: f64 = 0.5;
/// Runs before the timed ones.
const WARM_UP: u64 = 2;
/// Adam's learning rate with --train.
const LEARNING_RATE: f64 = 1e-4;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament bench net.onnx
  lineament bench net.onnx --input x.npy --expect y.npy --json
  lineament bench net.onnx --train --batch 8 --size 32x32
  lineament bench net.onnx --profile

A run is a whole forward pass (with --train: forward, backward and Adam on the mean squared error), from tensors in host memory \
to tensors in host memory, after two warm-up runs. GFLOP/s are effective: the operations of the direct convolutions (with \
--train: three times as many) over the median time.")]
pub struct Arguments {
    /// The network: an ONNX file, or the .param of an ncnn network with its .bin beside it.
    #[arg(value_name = "NET")]
    net: PathBuf,
    #[command(flatten)]
    given: Given,
    /// The expected first output; an error above 1e-3 of its root mean square gives exit code 1.
    #[arg(long, value_name = "Y.npy", requires = "input", conflicts_with = "train")]
    expect: Option<PathBuf>,
    /// Time training steps towards a seeded random target.
    #[arg(long)]
    train: bool,
    /// Also time every step: ms, GFLOP/s, GB/s and the share of the roof that limits it.
    #[arg(long)]
    profile: bool,
    /// Runs to time; otherwise at least 5 runs and half a second.
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// A forward pass or a training step, ready to run.
struct Work {
    session: Session,
    inputs: Vec<(String, Tensor)>,
    /// Floating-point operations of the direct convolutions in a run.
    conv_flops: u64,
}

/// Times of the runs.
struct Times {
    /// From the start of the process to the first output.
    first_ms: f64,
    /// In ascending order.
    each_ms: Vec<f64>,
}

impl Times {
    fn median_ms(&self) -> f64 {
        median(self.each_ms.clone())
    }
}

pub fn run(arguments: &Arguments, started: Instant) -> Result<u8> {
    for (option, value) in [("--runs", arguments.runs), ("--batch", arguments.given.batch)] {
        if value == Some(0) {
            return Err(Error::Usage(format!("{option} must be at least 1")));
        }
    }
    let model = network::open(&arguments.net)?;
    let size = arguments.given.input_size();
    let files = arguments.given.files(&model, &arguments.net)?;
    let given = arguments.given.arrays(&model, &arguments.net)?;
    let (graph, net) = add(&model, size, &given)?;
    let first = net.fetches().first().map(|&id| graph.shape(id)).transpose()?;
    let expected = match (&arguments.expect, first) {
        (Some(path), Some(shape)) => Some(expected(path, shape)?),
        (Some(path), None) => {
            return Err(Error::import(path.display().to_string(), "the network's output is a constant"));
        }
        (None, _) => None,
    };
    let device = arguments.common.open()?;
    // A device has memory of its own, such as half a megabyte of zeros.
    let before = device.allocated_bytes();
    let train = arguments.train;
    let given = Inputs { model: &model, given };
    let mut work = if train { training(&device, graph, net, &given)? } else { forward(&device, &graph, net, &given)? };

    let (mut max_error, mut losses) = (0f64, Vec::new());
    let times = work.time(arguments.runs, started, |outputs| {
        if arguments.train {
            losses.push(outputs[0].data()[0]);
        }
        if let Some(expected) = &expected {
            max_error = max_error.max(max_abs_error(&outputs[0], expected));
        }
    })?;

    let plan = work.session.plan();
    let now = work.session.device().allocated_bytes();
    let allocated = now.zip(before).map(|(now, before)| now.saturating_sub(before));
    let (median_ms, min_ms) = (times.median_ms(), times.each_ms[0]);
    let mut rows = vec![
        ("network", out::shown(&arguments.net)),
        ("device", work.session.device().describe()),
        (
            "median",
            format!("{median_ms:.2} ms of {}", out::count(times.each_ms.len(), if train { "step" } else { "run" })),
        ),
        ("fastest", format!("{min_ms:.2} ms")),
        ("effective", format!("{:.1} GFLOP/s", work.gflops(median_ms))),
        ("first output", format!("{:.0} ms after the start of the process", times.first_ms)),
        ("memory", memory(plan.peak_bytes(), allocated)),
    ];
    let mut object = json!({
        "net": out::path(&arguments.net), "input": files.first().map(|(_, file)| out::path(file)),
        "expect": arguments.expect.as_ref().map(out::path), "device": work.session.device().describe(),
        "runs": times.each_ms.len(), "median_ms": median_ms, "min_ms": min_ms, "gflops": work.gflops(median_ms),
        "first_run_ms": times.first_ms, "peak_bytes": plan.peak_bytes(), "allocated_bytes": allocated, "max_abs_err": Value::Null,
    });
    if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
        rows.push(("loss", format!("{first} at first, {last} after {}", out::count(losses.len(), "step"))));
        object["loss_first"] = json!(first);
        object["loss_last"] = json!(last);
    }
    if arguments.profile {
        let inputs: Vec<(&str, &Tensor)> = work.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        say!("{:.width$}\n", work.session.profile(&inputs)?, width = out::width());
    }
    let rms = expected.as_ref().map(rms);
    if let Some(rms) = rms {
        rows.push(("largest error", format!("{max_error:.2e} of an output of root mean square {rms:.2e}")));
        object["max_abs_err"] = json!(max_error);
        object["rms"] = json!(rms);
    }
    for (name, text) in rows {
        say!("{name:<14}{text}");
    }
    if arguments.common.json {
        out::json(&object);
    }
    if let (Some(rms), Some(path)) = (rms, &arguments.expect) {
        let allowed = MAX_RELATIVE_ERROR * rms;
        // False for NaN too.
        let is_right = max_error <= allowed;
        if !is_right {
            // The report for --json has been printed, and remains the only object.
            out::error(&Error::import(
                path.display().to_string(),
                format!(
                    "the output is off by {max_error:.2e}, allowed: {allowed:.2e} (1e-3 of the root mean square); \
                     check that --input and --expect belong to {}, then run `lineament check ops`",
                    arguments.net.display()
                ),
            ));
            return Ok(1);
        }
    }
    Ok(0)
}

/// Adds the network to a new graph, for the inputs that are given and for others of the file's size or another.
fn add(model: &Model, size: InputSize, given: &[(String, Array)]) -> Result<(Graph, Added)> {
    let dims = |port: &Port| match given.iter().find(|(name, _)| *name == port.name) {
        Some((_, array)) => Ok(array.dims().to_vec()),
        None => model.dims(port, size),
    };
    let dims: Vec<Vec<usize>> = model.inputs().iter().map(dims).collect::<Result<_>>()?;
    let mut graph = Graph::new();
    // Within a scope, so that no name in the file collides with a name of the training.
    let net = graph.within("net", |g| model.add(g, &dims))?;
    if net.fetches().is_empty() {
        return Err(Error::Usage("the network's outputs are constants, so there is nothing to run".into()));
    }
    Ok((graph, net))
}

/// The array `path` of float32; `[H, W]` where `[1, 1, H, W]` is wanted becomes that, as NumPy broadcasts.
fn array(path: &Path, wanted: Shape) -> Result<Tensor> {
    let array = npy::open(path)?;
    if array.dtype() != DType::F32 {
        let problem = format!("has elements of {}, expected float32; convert it with .astype(\"<f4\")", array.dtype());
        return Err(Error::import(path.display().to_string(), problem));
    }
    let shape = array.shape();
    let is_tail = wanted.ends_with(&shape) && wanted[..wanted.rank() - shape.rank()].iter().all(|&size| size == 1);
    if is_tail { array.reshaped(wanted) } else { Ok(array) }
}

fn expected(path: &Path, shape: Shape) -> Result<Tensor> {
    let y = array(path, shape)?;
    if y.shape() == shape {
        return Ok(y);
    }
    Err(Error::import(
        path.display().to_string(),
        format!("is {:?}, the network's output is {shape:?}; give the output for this --input", y.shape()),
    ))
}

/// Returns a seeded target, uniform in 0..1. Call it after the device has accepted the plan: until then, a file may claim any size.
fn target(shape: Shape) -> Result<Tensor> {
    let mut rng = Rng::new(2);
    Tensor::new(shape, (0..len(&shape)).map(|_| rng.unit() as f32).collect())
}

/// The inputs that are given, and how the others are made up.
struct Inputs<'a> {
    model: &'a Model,
    given: Vec<(String, Array)>,
}

impl Inputs<'_> {
    /// Returns the tensors that the session reads, by path. Call it after the device has accepted the plan.
    fn tensors(&self, graph: &Graph, net: &Added, session: &Session) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for (k, (name, path, id)) in net.inputs.iter().enumerate() {
            if !session.plan().inputs.iter().any(|(input, _)| input == path) {
                continue;
            }
            let shape = graph.shape(*id)?;
            let given = self.given.iter().find(|(known, _)| known == name).map(|(_, array)| array.tensor());
            let port = self.model.inputs().iter().find(|port| port.name == *name);
            let tensor = match (given, port) {
                (Some(tensor), _) => tensor?,
                (None, Some(port)) => network::random(1 + 2 * k as u64, port, &shape)?.tensor()?,
                (None, None) => continue,
            };
            all.push((path.clone(), tensor.reshaped(shape)?));
        }
        Ok(all)
    }
}

fn forward(device: &Device, graph: &Graph, net: Added, given: &Inputs) -> Result<Work> {
    let session = device.compile(graph, &net.fetches(), net.weights.clone())?;
    let inputs = given.tensors(graph, &net, &session)?;
    Ok(Work { session, inputs, conv_flops: conv_flops(graph) })
}

/// Returns the graph of the network `net` as this command runs it, and the nodes to fetch.
pub fn network(net: &Path, batch: Option<usize>, size: Option<Size>, train: bool) -> Result<(Graph, Vec<NodeId>)> {
    let size = InputSize { batch, height: size.map(|s| s.height), width: size.map(|s| s.width) };
    let (mut graph, net) = add(&network::open(net)?, size, &[])?;
    let fetches = if train { training_step(&mut graph, &net)? } else { net.fetches() };
    Ok((graph, fetches))
}

/// Returns a session of the network `net`.
pub fn session(net: &Path, batch: Option<usize>, size: Option<Size>, common: &Common) -> Result<Session> {
    let size = InputSize { batch, height: size.map(|s| s.height), width: size.map(|s| s.width) };
    let (graph, net) = add(&network::open(net)?, size, &[])?;
    common.open()?.compile(&graph, &net.fetches(), net.weights)
}

/// Adds backward and Adam; the loss is the mean squared error of the first output against the input `target`.
fn training_step(graph: &mut Graph, net: &Added) -> Result<Vec<NodeId>> {
    let is_float = |value: &Lowered| matches!(value, Lowered::Computed(computed) if computed.kind.is_float());
    let first = net.outputs.iter().find(|output| is_float(&output.value));
    let Some(Lowered::Computed(output)) = first.map(|output| &output.value) else {
        return Err(Error::Usage("the network has no output of floats, so it cannot be trained".into()));
    };
    let target = graph.input("target", graph.shape(output.id)?)?;
    let loss = graph.mse(output.id, target, Reduction::Mean)?;
    Ok(Rule::from(Optimizer::adam()).minimize(graph, loss)?.fetches)
}

/// Compiles forward, backward and Adam as one plan, towards a random target.
fn training(device: &Device, mut graph: Graph, net: Added, given: &Inputs) -> Result<Work> {
    let fetches = training_step(&mut graph, &net)?;
    let session = device.compile(&graph, &fetches, net.weights.clone())?;
    let hyper = Rule::from(Optimizer::adam()).hyper(LEARNING_RATE, 1);
    let mut inputs = given.tensors(&graph, &net, &session)?;
    let shape = graph.find("target").map(|id| graph.shape(id)).transpose()?.unwrap_or(crate::tensor::SCALAR);
    inputs.extend([("target".to_owned(), target(shape)?), (HYPER.to_owned(), hyper)]);
    // The gradients for the filters and for the input cost as much as the forward pass each.
    Ok(Work { session, inputs, conv_flops: 3 * conv_flops(&graph) })
}

/// Counts the operations of all convolutions of the graph in the forward pass, computed directly: 2·Ci·Co·Kh·Kw per pixel.
fn conv_flops(graph: &Graph) -> u64 {
    let nodes = graph.nodes();
    let flops = |node: &Node| match &node.kind {
        Kind::Op(op) if op.name() == "conv2d" => {
            let x: Vec<Shape> = node.inputs.iter().map(|&i| nodes[i].shape).collect();
            op.cost("forward", &Io { x: &x, y: node.shape }).flops
        }
        _ => 0,
    };
    nodes.iter().map(flops).sum()
}

impl Work {
    fn gflops(&self, ms: f64) -> f64 {
        self.conv_flops as f64 / ms / 1e6
    }

    /// Times runs after two warm-up runs; `look` sees the outputs of all runs, outside the measured time.
    fn time(&mut self, runs: Option<usize>, started: Instant, mut look: impl FnMut(&[Tensor])) -> Result<Times> {
        let mut times = Times { first_ms: 0.0, each_ms: Vec::new() };
        let mut total_ms = 0.0;
        for step in 1.. {
            let is_enough = match runs {
                Some(runs) => times.each_ms.len() >= runs,
                None => times.each_ms.len() >= MIN_RUNS && total_ms >= 1e3 * MIN_SECONDS,
            };
            if is_enough {
                break;
            }
            if interrupt::is_requested() {
                return Err(Error::Interrupted);
            }
            // Adam's bias correction depends on the step.
            if let Some((_, hyper)) = self.inputs.iter_mut().find(|(name, _)| name == HYPER) {
                *hyper = Rule::from(Optimizer::adam()).hyper(LEARNING_RATE, step);
            }
            let inputs: Vec<(&str, &Tensor)> = self.inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
            let begin = Instant::now();
            let outputs = self.session.run(&inputs)?;
            let ms = ms_since(begin);
            if step == 1 {
                times.first_ms = ms_since(started);
            }
            if step > WARM_UP {
                times.each_ms.push(ms);
                total_ms += ms;
            }
            look(&outputs);
        }
        times.each_ms.sort_by(f64::total_cmp);
        Ok(times)
    }
}

/// Describes the memory that the plan predicted and that the driver's allocator gave.
fn memory(predicted: u64, allocated: Option<u64>) -> String {
    let of = |allocated: u64| {
        format!(
            ", {:.2} MB allocated (predicted / allocated: {:.3})",
            allocated as f64 / 1e6,
            predicted as f64 / allocated as f64
        )
    };
    format!(
        "{:.2} MB for tensors predicted ({predicted} bytes){}",
        predicted as f64 / 1e6,
        allocated.map_or_else(String::new, of)
    )
}

/// Returns the largest difference of two elements, or infinity if one is NaN.
fn max_abs_error(got: &Tensor, expected: &Tensor) -> f64 {
    let error = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).abs();
    let worst = |m: f64, e: f64| if e.is_nan() { f64::INFINITY } else { m.max(e) };
    got.data().iter().zip(expected.data()).map(error).fold(0.0, worst)
}

/// Returns the root mean square.
fn rms(tensor: &Tensor) -> f64 {
    let squares: f64 = tensor.data().iter().map(|&v| f64::from(v).powi(2)).sum();
    (squares / tensor.data().len() as f64).sqrt()
}
