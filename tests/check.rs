//! The checks find the faults planted in operations.

mod common;

use lineament::lab::check;
use lineament::ops::conv_transpose2d::ConvTranspose2d;
use lineament::ops::conv2d::Conv2d;
use lineament::ops::leaky_relu::LeakyRelu;
use lineament::ops::loss::Reduction;
use lineament::ops::pixel_shuffle::PixelShuffle;
use lineament::ops::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Source, Tolerance, Values, Work};
use lineament::rng::Rng;
use lineament::tensor::DType;
use lineament::{Device, Graph, Select, Shape, ShapeError, Tensor, Weights};

/// y = 2x, with one fault.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Double {
    Right,
    WrongForward,
    WrongBackward,
    WrongDerivative,
    WritesPastTheEnd,
    LeavesOneOut,
    DoesNotFold,
    WritesTheGuard,
    NoGradient,
    UnknownVariable,
    TooManyThreads,
}

macro_rules! wgsl {
    // With the right gradient.
    ($size:literal, $extra:literal, $forward:literal) => {
        wgsl!(
            $size,
            $extra,
            $forward,
            "@compute @workgroup_size(64)
            fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>) {
                let i = g.x + g.y * n.x * 64; if i >= p.len { return; } dx[i] = 2.0 * dy[i]; }"
        )
    };
    ($size:literal, $extra:literal, $forward:literal, $backward:literal) => {
        &[Kernel::new(
            Source::new(
                "double/plain",
                concat!(
                    "struct P { len: u32 }
                @group(0) @binding(0) var<uniform> p: P;
                @group(0) @binding(1) var<storage, read> x: array<f32>;
                @group(0) @binding(2) var<storage, read_write> y: array<f32>;
                @group(0) @binding(3) var<storage, read> dy: array<f32>;
                @group(0) @binding(4) var<storage, read_write> dx: array<f32>;
                ",
                    $extra,
                    "@compute @workgroup_size(",
                    $size,
                    ") fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>) {
                    let i = g.x + g.y * n.x * ",
                    $size,
                    "; if i >= p.len { return; } ",
                    $forward,
                    " }
                ",
                    $backward
                ),
            ),
            launch,
        )]
    };
}

const BACKWARD: &[Kernel] = wgsl!("64", "", "y[i] = 2.0 * x[i];");
const WRONG_FORWARD: &[Kernel] = wgsl!("64", "", "y[i] = 2.0001 * x[i];");
const WRONG_BACKWARD: &[Kernel] = wgsl!(
    "64",
    "",
    "y[i] = 2.0 * x[i];",
    "@compute @workgroup_size(64) fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>) {
        let i = g.x + g.y * n.x * 64; if i >= p.len { return; } dx[i] = 2.0 * dy[p.len - 1u - i]; }"
);
const PAST_THE_END: &[Kernel] = wgsl!("64", "", "y[i] = 2.0 * x[i]; if i == 0u { y[p.len] = 1.0; }");
const LEAVES_OUT: &[Kernel] = wgsl!("64", "", "if i + 1u < p.len || p.len == 1u { y[i] = 2.0 * x[i]; }");
const DOES_NOT_FOLD: &[Kernel] = wgsl!(
    "64",
    "",
    "y[i] = 2.0 * x[i];",
    "@compute @workgroup_size(64) fn backward(@builtin(global_invocation_id) g: vec3<u32>) {
        let i = g.x; if i >= p.len { return; } dx[i] = 2.0 * dy[i]; }"
);
/// The thread past the end reads the word after x and writes twice that after y.
const WRITES_THE_GUARD: &[Kernel] = wgsl!("64", "", "y[i] = 2.0 * x[i]; y[i + 1u] = 2.0 * x[i + 1u];");
const NO_GRADIENT: &[Kernel] = wgsl!("64", "", "y[i] = 2.0 * x[i];", "");
const UNKNOWN: &[Kernel] =
    wgsl!("64", "@group(0) @binding(5) var<storage, read> z: array<f32>;", "y[i] = 2.0 * x[i] + z[0];", "");
const TOO_MANY: &[Kernel] = wgsl!("512", "", "y[i] = 2.0 * x[i];");

fn launch(call: &Call, caps: &Caps) -> Option<Work> {
    let len = call.io.y_len();
    call.work(caps, |_| Some(Launch::threads(len, [("len", len.into())])))
}

impl Op for Double {
    fn name(&self) -> &'static str {
        "double"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        match self {
            Self::Right | Self::WrongDerivative => BACKWARD,
            Self::WrongForward => WRONG_FORWARD,
            Self::WrongBackward => WRONG_BACKWARD,
            Self::WritesPastTheEnd => PAST_THE_END,
            Self::LeavesOneOut => LEAVES_OUT,
            Self::DoesNotFold => DOES_NOT_FOLD,
            Self::WritesTheGuard => WRITES_THE_GUARD,
            Self::NoGradient => NO_GRADIENT,
            Self::UnknownVariable => UNKNOWN,
            Self::TooManyThreads => TOO_MANY,
        }
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), 2 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, x) in y.iter_mut().zip(&x[0]) {
            *y = 2.0 * x;
        }
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let factor = if *self == Self::WrongDerivative { 2.00001 } else { 2.0 };
        for (dx, dy) in dx[0].iter_mut().zip(dy) {
            *dx = factor * dy;
        }
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(1)
    }
}

fn failures(op: Double, device: Option<&Device>) -> Vec<String> {
    let cases: Vec<Case> =
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 1, 65], [1, 2, 3, 4]].map(|x| Case::new(op, &[x])).into();
    check::op(&op, &cases, device).failures
}

fn finds(op: Double, device: Option<&Device>, part: &str) {
    let failures = failures(op, device);
    assert!(failures.iter().any(|f| f.contains(part)), "{op:?} should fail with {part:?}: {failures:?}");
    assert!(failures.iter().all(|f| f.contains("rerun") && f.contains("check::op(&op, &cases")), "{failures:?}");
}

#[test]
fn faults_are_found_without_an_adapter() {
    assert_eq!(failures(Double::Right, None), [""; 0]);
    finds(Double::WrongDerivative, None, "reference_grad dx");
    finds(Double::NoGradient, None, "input x has no gradient and no reason");
    finds(Double::UnknownVariable, None, "variable \"z\" is not one of");
    finds(Double::TooManyThreads, None, "workgroups of [512, 1, 1] threads, WebGPU guarantees 256");
}

#[test]
fn faults_are_found_on_the_adapter() {
    let Some(device) = common::device() else { return };
    assert_eq!(failures(Double::Right, Some(&device)), [""; 0]);
    finds(Double::WrongForward, Some(&device), "(double/plain.forward y) differs at");
    finds(Double::WrongBackward, Some(&device), "(double/plain.backward dx) differs at");
    finds(
        Double::LeavesOneOut,
        Some(&device),
        "y: two runs on the same inputs gave different bits at [1, 2, 4, 6], NaN and",
    );
    finds(Double::DoesNotFold, Some(&device), "gave different bits at");
    finds(Double::WritesTheGuard, Some(&device), "y: a shader wrote past the end of this tensor");
    finds(Double::WritesPastTheEnd, Some(&device), "y: a shader wrote past the end of this tensor");
}

#[test]
fn the_first_step_that_differs_is_named() {
    let Some(device) = common::device() else { return };
    let mut g = Graph::new();
    let x = g.input("x", [1, 2, 3, 4]).unwrap();
    let a = g.relu(x).unwrap();
    let b = g.add_named("faulty", Double::WrongForward, &[a]).unwrap();
    let c = g.relu(b).unwrap();
    let input = Tensor::filled([1, 2, 3, 4], 0.7);
    let steps = check::steps(&device, &g, &[c], Weights::default(), &[("x", &input)], None).unwrap();
    let wrong: Vec<&str> = steps.iter().filter(|s| !s.is_ok()).map(|s| s.name.as_str()).collect();
    assert_eq!(wrong, ["faulty"], "later steps are compared on the adapter's own inputs");
    let cpu = Device::open(&Select::Cpu).unwrap();
    let error = check::steps(&cpu, &g, &[c], Weights::default(), &[("x", &input)], None).unwrap_err().to_string();
    assert!(error.contains("cannot be checked against themselves"), "{error}");
}

#[test]
fn what_rides_along_with_convolutions_gives_what_the_operations_give() {
    let Some(device) = common::device() else { return };
    let mut g = Graph::new();
    let mut rng = lineament::rng::Rng::new(7);
    let mut random = |shape: Shape| {
        let values = (0..shape.iter().product()).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
        Tensor::new(shape, values).unwrap()
    };
    let image = random([2, 5, 9, 13].into());
    let x = g.input("x", image.shape()).unwrap();
    let (mut parameters, mut transposed) = (Vec::new(), Vec::new());
    let mut layer = |g: &mut Graph, x, sides: usize, op: Conv2d| {
        let k = parameters.len();
        let w = g.constant(&format!("w{k}"), random([5, 5, sides, sides].into())).unwrap();
        let b = g.constant(&format!("b{k}"), random([1, 5, 1, 1].into())).unwrap();
        parameters.push(w);
        g.conv2d(x, w, b, op).unwrap()
    };
    let y = layer(&mut g, x, 3, Conv2d::same(3));
    let y = g.relu(y).unwrap();
    let y = layer(&mut g, y, 1, Conv2d::default());
    let residual = g.plus(x, y).unwrap();
    let y = layer(&mut g, residual, 5, Conv2d::same(5));
    let y = g.leaky_relu(y, LeakyRelu { slope: 0.1 }).unwrap();
    let y = g.times(y, residual).unwrap();
    // Strides, of which the first reads every pixel, the second not the last column, the third all but the last two rows.
    let small = layer(&mut g, y, 3, Conv2d { stride: [2, 2], ..Conv2d::same(3) });
    let small = g.leaky_relu(small, LeakyRelu { slope: 0.25 }).unwrap();
    let small = layer(&mut g, small, 2, Conv2d { stride: [2, 2], padding: [1, 0, 0, 0], ..Conv2d::default() });
    let small = g.relu(small).unwrap();
    let small = layer(&mut g, small, 1, Conv2d { stride: [3, 3], ..Conv2d::default() });
    let w = g.constant("w", random([20, 5, 3, 3].into())).unwrap();
    let b = g.constant("b", random([1, 20, 1, 1].into())).unwrap();
    let large = g.conv2d(y, w, b, Conv2d { padding: [1; 4], ..Conv2d::default() }).unwrap();
    let large = g.pixel_shuffle(large, PixelShuffle { factor: 2 }).unwrap();
    // Transposed: one output that no tap reaches below and to the right, then one with every pixel covered twice.
    let mut wide = residual;
    for (k, op) in [
        ConvTranspose2d { stride: [2, 2], padding: [0, 1], output_padding: [1, 1], ..ConvTranspose2d::default() },
        ConvTranspose2d { padding: [1, 1], ..ConvTranspose2d::default() },
    ]
    .into_iter()
    .enumerate()
    {
        let w = g.constant(&format!("v{k}"), random([5, 5, 3, 3].into())).unwrap();
        let b = g.constant(&format!("c{k}"), random([1, 5, 1, 1].into())).unwrap();
        transposed.push(w);
        wide = g.conv_transpose2d(wide, w, b, op).unwrap();
        wide = g.relu(wide).unwrap();
    }
    let loss = g.mse(y, x, Reduction::Mean).unwrap();
    let wide_target = g.constant("wide", random(g.shape(wide).unwrap())).unwrap();
    let wide_loss = g.mse(wide, wide_target, Reduction::Mean).unwrap();
    let loss = g.plus(loss, wide_loss).unwrap();
    let small_target = g.constant("small", random(g.shape(small).unwrap())).unwrap();
    let small_loss = g.mse(small, small_target, Reduction::Mean).unwrap();
    let loss = g.plus(loss, small_loss).unwrap();
    let mut fetches = vec![large, y, loss];
    parameters.extend(transposed);
    fetches.extend(lineament::graph::grad::backward(&mut g, loss, &parameters).unwrap());
    for fetches in [&fetches[..1], &fetches[1..2], &fetches[..]] {
        let run =
            |device: &Device| device.compile(&g, fetches, Weights::default()).unwrap().run(&[("x", &image)]).unwrap();
        let references = run(&Device::open(&Select::Cpu).unwrap());
        for (ours, reference) in run(&device).iter().zip(&references) {
            let most = reference.data().iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (a, b) in ours.data().iter().zip(reference.data()) {
                assert!((a - b).abs() <= 1e-4 * most, "{a} {b} of {most}");
            }
        }
    }
}

/// y = ⌊a / b⌋ by `shaders/shared/quotient.wgsl`, or with another text in its place.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quotient(&'static [Kernel]);

macro_rules! quotient {
    ($stem:literal, $function:expr) => {
        &[Kernel::new(
            Source::new(
                $stem,
                concat!(
                    "struct P { len: u32 }
                @group(0) @binding(0) var<uniform> p: P;
                @group(0) @binding(1) var<storage, read> a: array<u32>;
                @group(0) @binding(2) var<storage, read> b: array<u32>;
                @group(0) @binding(3) var<storage, read_write> y: array<u32>;
                @compute @workgroup_size(64)
                fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>) {
                    let i = g.x + g.y * n.x * 64; if i >= p.len { return; } y[i] = quotient(a[i], b[i]); }
                ",
                    $function
                ),
            ),
            launch,
        )]
    };
}

const QUOTIENT: &[Kernel] = quotient!("quotient/plain", include_str!("../shaders/shared/quotient.wgsl"));
/// Without the corrections.
const UNCORRECTED: &[Kernel] =
    quotient!("quotient/uncorrected", "fn quotient(a: u32, b: u32) -> u32 { return u32(f32(a) * (1.0 / f32(b))); }");
/// Without the first of them.
const ONE_CORRECTION: &[Kernel] = quotient!(
    "quotient/once",
    "fn quotient(a: u32, b: u32) -> u32 {
        let q = u32(min(f32(a) * (1.0 / f32(b)), 4294967040.0));
        let rest = bitcast<i32>(a - q * b);
        return q + select(0u, 1u, rest >= i32(b)) - select(0u, 1u, rest < 0); }"
);

impl Op for Quotient {
    fn name(&self) -> &'static str {
        "quotient"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn dtype(&self, _name: &str) -> DType {
        DType::U32
    }
    fn kernels(&self) -> &'static [Kernel] {
        self.0
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), 3 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.iter_mut().zip(x[0].iter().zip(&x[1])).for_each(|(y, (a, b))| *y = (*a as u64 / *b as u64) as f64);
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("a", "an integer"), ("b", "an integer")]
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// Divisors of all sizes up to 2³⁰.
fn divisor(i: usize) -> u32 {
    let bits = (i / 97 % 31) as u32;
    (1_u32 << bits).saturating_sub((i % 3) as u32).max(1)
}

#[test]
fn quotients_of_integers_are_exact() {
    let Some(device) = common::device() else { return };
    let any = |rng: &mut Rng, _: &[Shape], k: usize| -> Vec<f64> {
        let values = (0..6014).map(|i| {
            let b = divisor(i);
            // Of any size; multiples of the divisor, and what lies before and behind them.
            let a = (rng.below(1 << 32) >> (i % 33).min(31)) as u32;
            let a = if i % 5 < 2 { a } else { (a / b * b).wrapping_add((i % 5) as u32).wrapping_sub(3) };
            f64::from(if k == 0 { a } else { b })
        });
        values.collect()
    };
    let failures = |kernels| {
        let case = Case::new(Quotient(kernels), &[[6014], [6014]]).fill(0, Fill::With(any)).fill(1, Fill::With(any));
        check::op(&Quotient(kernels), &[case], Some(&device)).failures
    };
    assert_eq!(failures(QUOTIENT), [""; 0]);
    assert!(!failures(UNCORRECTED).is_empty() && !failures(ONE_CORRECTION).is_empty());
}
