//! An operation from outside the crate, with its own WGSL, reference, derivative and cases. It is checked like a built-in
//! one, and a small network is trained with it.
//!
//! `cargo run --release --example custom_op`

use lineament::graph::Init;
use lineament::lab::check;
use lineament::ops::{
    Call, Caps, Case, Cost, EPS, Io, Kernel, Launch, Op, Source, Tolerance, Values, Work, loss::Reduction,
};
use lineament::rng::Rng;
use lineament::train::{HYPER, Optimizer, Rule};
use lineament::{Device, Graph, Result, Select, Shape, ShapeError, Tensor};

/// softsign: y = x / (1 + |x|), Bergstra et al. 2009; dy/dx = 1 / (1 + |x|)².
#[derive(Debug, Clone)]
pub struct Softsign;

const WGSL: &str = "
override WG: u32 = 64u;

struct P { len: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    y[i] = x[i] / (1.0 + abs(x[i]));
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let d = 1.0 + abs(x[i]);
    dx[i] = dy[i] / (d * d);
}
";

impl Op for Softsign {
    fn name(&self) -> &'static str {
        "softsign"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(Source::new("softsign/plain", WGSL), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(3 * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, x) in y.iter_mut().zip(&x[0]) {
            *y = x / (1.0 + x.abs());
        }
    }
    fn reference_grad(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for ((dx, x), dy) in dx[0].iter_mut().zip(&x[0]).zip(dy) {
            *dx = dy / (1.0 + x.abs()).powi(2);
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        // One rounded sum and a division accurate to 2.5 ULP (WGSL, accuracy of expressions); backward squares the sum.
        Tolerance::Each(if output == "y" {
            at.y.iter().map(|y| 4.0 * EPS * y.abs()).collect()
        } else {
            at.dy.iter().zip(&at.x[0]).map(|(dy, x)| 6.0 * EPS * (dy / (1.0 + x.abs()).powi(2)).abs()).collect()
        })
    }
}

/// Serves every call with one thread per element.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let len = call.io.y_len();
    call.work(caps, |_entry| Some(Launch::threads(len, [("len", len.into())])))
}

/// Returns cases whose inputs stay away from the kink of |x| at zero.
pub fn cases() -> Vec<Case> {
    [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 1, 257], [1, 5, 13, 4]].map(|x| Case::new(Softsign, &[x]).gap(1e-3)).into()
}

pub fn main() -> Result<()> {
    let device = Device::open(&Select::Default)?;
    println!("on {}", device.describe());
    let report = check::op(&Softsign, &cases(), Some(&device));
    println!("checked {} cases: {} failed", report.cases, report.failed());
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));

    // Fits y = softsign(a·u + b·v) to points with a = 2 and b = −1, using the operation's own gradient.
    let mut g = Graph::new();
    let x = g.input("x", [64, 2, 1, 1])?;
    let t = g.input("t", [64, 1, 1, 1])?;
    let w = g.param("w", [1, 2, 1, 1], Init::Constant(0.1))?;
    let b = g.param("b", [1, 1, 1, 1], Init::Constant(0.0))?;
    let z = g.linear(x, w, b)?;
    let y = g.add(Softsign, &[z])?;
    let loss = g.mse(y, t, Reduction::Mean)?;
    let rule = Rule::from(Optimizer::adam());
    let step = rule.minimize(&mut g, loss)?;
    let session = device.compile(&g, &step.fetches, g.initialize(1))?;

    let mut rng = Rng::new(1);
    let points: Vec<f32> = (0..128).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
    let softsign = |z: f32| z / (1.0 + z.abs());
    let targets = points.chunks(2).map(|p| softsign(2.0 * p[0] - p[1])).collect();
    let (x, t) = (Tensor::new([64, 2, 1, 1], points)?, Tensor::new([64, 1, 1, 1], targets)?);
    let mut last = f32::NAN;
    for step in 1..=300 {
        last = session.run(&[("x", &x), ("t", &t), (HYPER, &rule.hyper(0.05, step))])?[0].data()[0];
    }
    let weights = session.weights()?;
    println!("loss {last:.2e}, w = {:?}", weights.get("w").map(Tensor::data));
    assert!(last < 1e-4, "the loss stays at {last}");
    Ok(())
}
