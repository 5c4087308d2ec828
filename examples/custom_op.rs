//! An operation from outside the crate: each row divided by its root mean square, with its own WGSL in two passes, reference,
//! derivative and cases. It is checked like a built-in one, a small network is trained with it, and an ONNX file that has it as an
//! operator of its own domain is run.
//!
//! `cargo run --release --example custom_op`

use lineament::ShapeError;
use lineament::import::{array::Array, onnx};
use lineament::lab::check;
use lineament::ops::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Source, Work};
use lineament::prelude::*;

/// Root mean square normalization (Zhang and Sennrich 2019, eq. 4, without gains): y = x / r for each row of `[N, L]`, where
/// r = √(Σx²/L + ε). Its gradient is dx = (dy − y·Σ(dy·y)/L) / r.
#[derive(Debug, Clone)]
pub struct RmsNorm;

/// ε, which keeps a row of zeros from dividing by zero.
const EPSILON: f64 = 1e-6;

/// The numbered entries are passes, which run in this order. The first sums over each row and leaves the sums in scratch `t0` and `t1`;
/// the second has one thread per element. The names of all variables are the contract with the engine.
const WGSL: &str = "
override WG: u32 = 64u;

struct P { threads: u32, len: u32, epsilon: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> t0: array<f32>;
@group(0) @binding(6) var<storage, read_write> t1: array<f32>;

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = g.x + g.y * groups.x * WG;
    if row >= p.threads { return; }
    var squares = 0.0;
    for (var i = row * p.len; i < (row + 1u) * p.len; i++) { squares += x[i] * x[i]; }
    t0[row] = sqrt(squares / f32(p.len) + p.epsilon);
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    y[i] = x[i] / t0[i / p.len];
}

@compute @workgroup_size(WG)
fn backward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = g.x + g.y * groups.x * WG;
    if row >= p.threads { return; }
    var squares = 0.0;
    var products = 0.0;
    for (var i = row * p.len; i < (row + 1u) * p.len; i++) {
        squares += x[i] * x[i];
        products += dy[i] * x[i];
    }
    let r = sqrt(squares / f32(p.len) + p.epsilon);
    t0[row] = r;
    t1[row] = products / (r * r * f32(p.len));
}

@compute @workgroup_size(WG)
fn backward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    dx[i] = (dy[i] - x[i] * t1[i / p.len]) / t0[i / p.len];
}
";

/// Returns r and Σ(a·b)/L of a row.
fn sums(x: &[f64], dy: &[f64]) -> (f64, f64) {
    let mean = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / x.len() as f64;
    ((mean(x, x) + EPSILON).sqrt(), mean(dy, x))
}

impl Op for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(Source::new("rms_norm/plain", WGSL), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        if x[0].rank() == 2 { Ok(x[0]) } else { Err(ShapeError::shape("x", "[N, L]", x[0])) }
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(2 * tensors * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let len = io.y[1];
        for (x, y) in x[0].chunks(len).zip(y.chunks_mut(len)) {
            let (r, _) = sums(x, x);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x / r);
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let len = io.y[1];
        for ((x, dy), dx) in x[0].chunks(len).zip(dy.chunks(len)).zip(dx[0].chunks_mut(len)) {
            let (r, product) = sums(x, dy);
            dx.iter_mut().zip(x.iter().zip(dy)).for_each(|(dx, (x, dy))| *dx = (dy - x * product / (r * r)) / r);
        }
    }
    // How far the shader may be from the reference, `tolerance`, has a default that follows from the reference.
}

/// Serves every call: launches by entry, and the sizes of the scratch.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let [rows, len] = [call.io.y[0], call.io.y[1]];
    let work = call.work(caps, |entry| {
        let threads = if entry.ends_with("_1") { rows } else { rows * len };
        Some(Launch::threads(
            threads,
            [("threads", threads.into()), ("len", len.into()), ("epsilon", (EPSILON as f32).into())],
        ))
    })?;
    Some(work.scratch(vec![("t0", rows), ("t1", rows)]))
}

/// Sizes around that of a workgroup. A row of one number has a gradient of almost 0, the difference of two equal terms, which no f32
/// sum gives exactly; so the shortest row has two.
pub fn cases() -> Vec<Case> {
    [[1, 2], [3, 7], [70, 5], [2, 257], [5, 64]].map(|x| Case::new(RmsNorm, &[x])).into()
}

/// Two layers with the normalization between them.
fn network(g: &Draft) {
    let hidden = g.input("x").dense("hidden", 16).flatten();
    let y = g.add(RmsNorm, &[hidden]).reshape([hidden.shape()[0], 16, 1, 1]).dense("out", 1);
    g.output("y", y);
    g.loss("error", || y.mse(g.input("t"), Reduction::Mean));
}

/// Runs a file of two nodes, Relu(com.example.RmsNorm(x)), as `onnx.helper.make_node("RmsNorm", ["x"], ["r"], domain="com.example")` and
/// the like write it.
pub fn run_a_file(device: &Device, x: Array) -> Result<Array> {
    let mut model = onnx::read("rms_norm.onnx", include_bytes!("rms_norm.onnx"))?;
    // What the node's attributes say is in its third argument. An operator may consist of several operations and have several outputs.
    model.register("com.example.RmsNorm", |graph, inputs, _node| Ok(vec![graph.add(RmsNorm, inputs)?]));
    let given = [("x".to_owned(), x)];
    Ok(model.prepare(device, &given)?.run(&given)?.remove(0).1)
}

pub fn main() -> Result<()> {
    let device = Device::open(&Select::Default)?;
    println!("on {}", device.describe());
    let report = check::op(&RmsNorm, &cases(), Some(&device));
    println!("checked {} cases: {} failed", report.cases, report.failed());
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));

    // Learns the direction of points, regardless of their length.
    let mut rng = Rng::new(1);
    let points: Vec<f32> = (0..128).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
    let sines = points.chunks(2).map(|p| p[1] / p[0].hypot(p[1])).collect();
    let (x, t) = (Tensor::new([64, 2, 1, 1], points)?, Tensor::new([64, 1, 1, 1], sines)?);
    let mut training = device.network(Params::fresh(1), network).train(Optimizer::adam())?;
    let mut last = f32::NAN;
    for _ in 0..300 {
        last = training.step(0.01, &[("x", &x), ("t", &t)])?.scalar("error");
    }
    println!("loss {last:.2e}");
    assert!(last < 0.01, "the loss stays at {last}");

    let y = run_a_file(&device, Array::floats(&[1, 5], vec![1.0, -2.0, 3.0, -4.0, 5.0])?)?;
    println!("from a file: {:.3?}", y.to_f64());
    Ok(())
}
