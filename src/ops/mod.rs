//! Operations: one file each, paired with `shaders/<operation>/plain.wgsl`, and one line in the list below.
//!
//! An operation states its formula (f64 [`Op::reference`]), the derivative ([`Op::reference_grad`]), the shapes it takes and what
//! it costs, and lists its [kernels](mod@kernel): each a WGSL file with a function that launches it. Everything else (bindings, which
//! values a backward pass needs, gradients checked against differences, GPU against reference, limits, cost columns) is derived
//! from these. Read `relu.rs` with `shaders/relu/plain.wgsl` first.

pub mod kernel;
pub mod pointwise;

use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{DType, Shape, len};
use kernel::wgsl;
pub use kernel::{Call, Caps, Family, Kernel, Launch, Promise, Source, Work};
use std::any::Any;
use std::sync::Arc;

/// Declares the operations' modules and the registry of their cases.
macro_rules! ops {
    ($($name:ident,)*) => {
        $(pub mod $name;)*

        /// Every built-in operation with its cases, in alphabetical order.
        pub fn registry() -> Vec<Registered> {
            let mut all = vec![$(Registered { name: stringify!($name), cases: $name::cases }),*];
            all.extend(pointwise::registered());
            all.sort_unstable_by_key(|registered| registered.name);
            all
        }
    };
}

ops! {
    adam,
    avg_pool2d,
    clip,
    concat,
    conv2d,
    conv_transpose2d,
    dropout,
    ema,
    field,
    gate,
    l2_normalize,
    leaky_relu,
    linear,
    loss,
    max_pool2d,
    one_hot,
    pairwise_distance,
    pixel_shuffle,
    prelu,
    relu,
    repack,
    resize,
    sgd,
    slice,
    softmax_cross_entropy,
    top_k,
    warp,
}

/// One line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Registered {
    /// The stem of `src/ops/<name>.rs` and the folder of its shaders, or the name of a row of `src/ops/pointwise`.
    pub name: &'static str,
    pub cases: fn() -> Vec<Case>,
}

/// The shapes of a call: inputs in the order of [`Op::inputs`], and the output.
#[derive(Debug, Clone, Copy)]
pub struct Io<'a> {
    pub x: &'a [Shape],
    pub y: Shape,
}

impl Io<'_> {
    /// Number of elements of input `i`.
    pub fn x_len(&self, i: usize) -> usize {
        len(&self.x[i])
    }
    /// Number of elements of the output.
    pub fn y_len(&self) -> usize {
        len(&self.y)
    }
    /// All elements of all inputs and the output.
    pub fn total_len(&self) -> usize {
        self.x.iter().map(len).sum::<usize>() + self.y_len()
    }
}

/// A member of the shader's uniform struct `p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    U32(u32),
    F32(f32),
}

impl From<u32> for Scalar {
    fn from(v: u32) -> Self {
        Self::U32(v)
    }
}
impl From<f32> for Scalar {
    fn from(v: f32) -> Self {
        Self::F32(v)
    }
}
impl From<usize> for Scalar {
    /// # Panics
    /// Above `u32::MAX`; the graph refuses tensors of that many elements before any launch.
    fn from(v: usize) -> Self {
        Self::U32(u32::try_from(v).expect("the graph refuses tensors of 2^32 elements"))
    }
}

/// How many invocations an entry needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// At least this many, numbered `g.x + g.y * groups.x * WG`; the engine divides by the workgroup size and folds
    /// past 65,535 groups into two dimensions, so the entry must return where the number is too large.
    Threads(usize),
    /// Exactly these workgroups.
    Groups([u32; 3]),
}

/// Work of one method: arithmetic, and compulsory memory traffic (each tensor once).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    pub flops: u64,
    pub bytes: u64,
}

impl Cost {
    /// `flops` operations over `floats` f32 values read or written.
    pub fn new(flops: usize, floats: usize) -> Self {
        Self { flops: flops as u64, bytes: 4 * floats as u64 }
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}

/// Values at which an operation is evaluated, for [`Op::tolerance`].
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    pub x: &'a [Vec<f64>],
    pub y: &'a [f64],
    pub dy: &'a [f64],
}

/// The error that f32 arithmetic may make, derived from the number and size of the summed terms.
#[derive(Debug, Clone, PartialEq)]
pub enum Tolerance {
    /// K·2⁻²³·Σ|terms| for K rounded operations per element, where Σ|terms| is the reference run on absolute values:
    /// right for operations that are linear in each input. 2⁻²³ and not 2⁻²⁴ since WGSL leaves the rounding open.
    Terms(usize),
    /// An absolute bound for every element.
    Each(Vec<f64>),
}

/// How exact an output is, in units of its root mean square: a second bound beside [`Tolerance`]'s worst case, in which over many
/// terms a whole channel may hide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Largest error of an element.
    pub element: f64,
    /// Root mean square of all errors.
    pub rms: f64,
}

impl Accuracy {
    /// Sums of products, in any order.
    pub const DIRECT: Self = Self { element: 1e-4, rms: 2e-6 };
    /// Products of transformed operands, as Winograd's, whose constants enlarge the roundings before the last transform.
    pub const TRANSFORMED: Self = Self { element: 1e-4, rms: 1e-5 };
}

/// 2⁻²³, the unit of [`Tolerance`].
pub const EPS: f64 = 1.0 / 8_388_608.0;

/// A differentiable operation on tensors. Attributes only: never tensors, never device handles.
///
/// Names in WGSL are the contract: `p` (uniform struct of u32/f32), the inputs' and outputs' names, `dy`, `d<input>`, scratch
/// `t0` to `t3`. Entries that begin with `forward` write outputs; entries that begin with `backward` write `d…` variables.
/// A last digit is a pass: `forward_1`, `forward_2` follow each other, and together are the method `forward`.
pub trait Op: Any + std::fmt::Debug + Send + Sync {
    /// The name in tables, and of the files of a built-in operation.
    fn name(&self) -> &'static str;

    /// Names of the inputs, as the WGSL variables are called.
    fn inputs(&self) -> &'static [&'static str];

    /// Names of the outputs. The first is `y`, the only one with a gradient; an operation that only [updates](Op::updates) has none.
    fn outputs(&self) -> &'static [&'static str] {
        &["y"]
    }

    /// The type of the elements of an input or output.
    fn dtype(&self, _name: &str) -> DType {
        DType::F32
    }

    /// Inputs that such an operation may have and this one has not: a shader declares them, is bound to anything of the same layout
    /// there, and uses nothing that it reads from it.
    fn absent(&self) -> &'static [&'static str] {
        &[]
    }

    /// The plain kernel, which serves every call, then others, best first among them.
    fn kernels(&self) -> &'static [Kernel];

    /// It takes shapes of any rank; others take `[N, C, H, W]`, which the graph sees to.
    fn takes_any_rank(&self) -> bool {
        false
    }

    /// The shape of `y`: the only place that rejects shapes and attributes.
    ///
    /// # Errors
    /// Names the input, what it must be, and what came.
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError>;

    /// Shapes of the outputs after `y`.
    fn more_shapes(&self, _x: &[Shape], y: Shape) -> Vec<Shape> {
        self.outputs().iter().skip(1).map(|_| y).collect()
    }

    /// What the planner may fuse with its neighbours.
    fn fusible(&self) -> Option<Fusible> {
        None
    }

    /// Work of `method` (`forward`, `backward_x`, …), whatever the kernel.
    fn cost(&self, method: &str, io: &Io) -> Cost;

    /// The formula, naive, in f64. `y` is zero on entry.
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]);

    /// The outputs after `y`, naive, in f64; zeros on entry.
    fn reference_more(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _more: &mut [Vec<f64>]) {}

    /// Its derivative, naive, in f64: `dx[i] += dy · ∂y/∂x[i]`. `dx` is zero on entry.
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]);

    /// Inputs without a gradient, each with the reason.
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Error allowed to `output` (an output's name, `dx`, …; for an update, the input's name) against the reference.
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance;

    /// How exact `output` is beside [`Op::tolerance`].
    fn accuracy(&self, _output: &str) -> Accuracy {
        Accuracy::DIRECT
    }

    /// Inputs that `forward` overwrites in place: an optimiser's parameters and moments, running statistics. They must be parameters
    /// or states, have no gradient, and no `backward` entry reads them. Where the operation has outputs too, no other may use them.
    fn updates(&self) -> &'static [&'static str] {
        &[]
    }

    /// The new values of [`Op::updates`], naive, in f64, written over `x`.
    fn reference_update(&self, _io: &Io, _x: &mut [Vec<f64>]) {}
}

/// The method that computes outputs or updates; gradients are those that begin with `backward`.
pub const FORWARD: &str = "forward";

/// `backward_w` for `backward_w_2`, `forward` for `forward`.
pub fn method_of(entry: &str) -> &str {
    match entry.rsplit_once('_') {
        Some((head, pass)) if !pass.is_empty() && pass.bytes().all(|b| b.is_ascii_digit()) => head,
        _ => entry,
    }
}

/// `t0` to `t3`, or the name under which a pass reads them: memory between the passes of one method.
pub fn is_scratch(name: &str) -> bool {
    matches!(scratch_of(name), "t0" | "t1" | "t2" | "t3")
}

/// The variable that `t1_read` reads: `t1`; so for `y_read`, where a shader writes and reads channel quads.
pub fn scratch_of(name: &str) -> &str {
    name.strip_suffix("_read").unwrap_or(name)
}

/// `op`'s first output in f64.
pub fn reference(op: &dyn Op, io: &Io, x: &[Vec<f64>]) -> Vec<f64> {
    let mut y = vec![0.0; io.y_len()];
    op.reference(io, x, &mut y);
    y
}

/// All of `op`'s outputs in f64.
pub fn reference_outputs(op: &dyn Op, io: &Io, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    if op.outputs().is_empty() {
        return Vec::new();
    }
    let y = reference(op, io, x);
    let mut more: Vec<Vec<f64>> = op.more_shapes(io.x, io.y).iter().map(|shape| vec![0.0; len(shape)]).collect();
    op.reference_more(io, x, &y, &mut more);
    std::iter::once(y).chain(more).collect()
}

/// `op`'s gradients for all inputs in f64; zeros where it has none.
pub fn reference_grad(op: &dyn Op, io: &Io, x: &[Vec<f64>], y: &[f64], dy: &[f64]) -> Vec<Vec<f64>> {
    let mut dx: Vec<Vec<f64>> = io.x.iter().map(|s| vec![0.0; len(s)]).collect();
    op.reference_grad(io, x, y, dy, &mut dx);
    dx
}

impl Registered {
    /// The kernels of all cases, each once.
    pub fn kernels(&self) -> Vec<Kernel> {
        kernels_of(&(self.cases)())
    }
}

/// The kernels of `cases`, each once: an attribute may choose between them.
pub fn kernels_of(cases: &[Case]) -> Vec<Kernel> {
    let mut all: Vec<Kernel> = Vec::new();
    for kernel in cases.iter().flat_map(|case| case.op.kernels()) {
        if !all.contains(kernel) {
            all.push(*kernel);
        }
    }
    all
}

/// Every kernel of the built-in operations, in alphabetical order of their stems.
pub fn kernels() -> Vec<Kernel> {
    let mut all: Vec<Kernel> = registry().iter().flat_map(Registered::kernels).collect();
    all.sort_unstable_by_key(Kernel::stem);
    all
}

/// The built-in kernel `stem`.
pub fn kernel(stem: &str) -> Option<Kernel> {
    kernels().into_iter().find(|kernel| kernel.stem() == stem)
}

/// Threads of `shared/rows.wgsl` for `a` rows of A and `b` of B.
fn row_blocks(a: usize, b: usize) -> usize {
    a.div_ceil(8) * b.div_ceil(8)
}

/// How many times as fast as a plain kernel one of `shared/rows.wgsl` surely is: less where its blocks of 8 × 8 rows reach past the
/// end; even for one row of A it is faster (136 rows of B, 1,024 terms: 0.3 ms against 1.2).
fn row_gain(a: usize, b: usize) -> f64 {
    (4.0 * (a * b) as f64 / (64 * row_blocks(a, b)) as f64).max(1.25)
}

/// What an operation is to the planner's fusion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fusible {
    /// A convolution of x with w and b, stride 1, one group, padded by these rows and columns, zero or `replicate`.
    Convolution { padding: [usize; 2], replicate: bool },
    /// x where it is positive, else this slope times x.
    Slope(f32),
    /// x where it is positive, else the input `a` times x, a slope per channel.
    Slopes,
    /// The sum of its two inputs, which the planner fuses if they have one shape; so the next.
    Sum,
    /// The product of its two inputs.
    Product,
    /// Blocks of this many channels, squared, become pixels, as pixel_shuffle orders them.
    Shuffle(usize),
}

/// How a case fills an input.
#[derive(Clone, Copy)]
pub enum Fill {
    /// Uniform in `[low, high)`, but at least `gap` away from zero, where an operation may have a kink.
    Uniform { low: f64, high: f64, gap: f64 },
    /// The operation's own way; gets the shapes of all inputs and the index of this one.
    With(fn(&mut Rng, &[Shape], usize) -> Vec<f64>),
}

impl std::fmt::Debug for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Uniform { low, high, gap } => write!(f, "[{low}, {high}) gap {gap}"),
            Self::With(_) => write!(f, "own"),
        }
    }
}

/// One example of an operation: feeds the gradient check, the GPU check, the cost table and the benchmarks.
#[derive(Debug, Clone)]
pub struct Case {
    pub op: Arc<dyn Op>,
    pub x: Vec<Shape>,
    pub fill: Vec<Fill>,
    /// A real layer's size: timed by the benchmarks, and left out of the gradient check, which differentiates every element.
    pub real: bool,
    /// Differences say nothing of the derivative here: values at a kink, or no numbers.
    pub is_rough: bool,
}

/// Uniform in `[-1, 2)`, but every seventh value is `value`.
fn with_some(value: f64, rng: &mut Rng, shape: &Shape) -> Vec<f64> {
    (0..len(shape)).map(|i| if i % 7 == 3 { value } else { rng.uniform(-1.0, 2.0) }).collect()
}

/// [`with_some`] zeros.
fn with_zeros(rng: &mut Rng, x: &[Shape], input: usize) -> Vec<f64> {
    with_some(0.0, rng, &x[input])
}

/// [`with_some`] NaNs.
fn with_nan(rng: &mut Rng, x: &[Shape], input: usize) -> Vec<f64> {
    with_some(f64::NAN, rng, &x[input])
}

impl Case {
    /// Inputs signed and not centred: uniform in `[-1, 2)`.
    pub fn new(op: impl Op + 'static, x: &[impl Into<Shape> + Copy]) -> Self {
        let fill = vec![Fill::Uniform { low: -1.0, high: 2.0, gap: 0.0 }; x.len()];
        Self { op: Arc::new(op), x: x.iter().map(|&x| x.into()).collect(), fill, real: false, is_rough: false }
    }
    /// Fills input `i` another way.
    pub fn fill(mut self, i: usize, fill: Fill) -> Self {
        self.fill[i] = fill;
        self
    }
    /// Keeps every input at least `gap` away from zero.
    pub fn gap(mut self, gap: f64) -> Self {
        for fill in &mut self.fill {
            if let Fill::Uniform { gap: g, .. } = fill {
                *g = gap;
            }
        }
        self
    }
    /// Marks a real layer's size.
    pub fn real(mut self) -> Self {
        self.real = true;
        self
    }
    /// Leaves the case out of the gradient check.
    pub fn rough(mut self) -> Self {
        self.is_rough = true;
        self
    }
    /// The inputs' values, each exactly an f32.
    pub fn values(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        let mut all = Vec::with_capacity(self.x.len());
        for (i, fill) in self.fill.iter().enumerate() {
            let values: Vec<f64> = match *fill {
                Fill::Uniform { low, high, gap } => (0..len(&self.x[i]))
                    .map(|_| {
                        loop {
                            let v = rng.uniform(low, high);
                            if v.abs() >= gap {
                                break v;
                            }
                        }
                    })
                    .collect(),
                Fill::With(f) => f(rng, &self.x, i),
            };
            all.push(values.into_iter().map(|v| f64::from(v as f32)).collect());
        }
        all
    }
}
