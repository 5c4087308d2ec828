//! Operations: one file each, paired with `shaders/<operation>/plain.wgsl`, and one line in the list below.
//!
//! An operation states its formula ([`Op::reference`], in f64), its derivative ([`Op::reference_grad`]), the shapes that it accepts
//! and its cost, and lists its [kernels](mod@kernel), each a WGSL file with a function that launches it. Everything else is derived
//! from these: bindings, the values that a backward pass needs, the check of gradients against finite differences and of the GPU
//! against the reference, limits, cost columns. Read `relu.rs` with `shaders/relu/plain.wgsl` first.

mod fours;
pub mod kernel;
pub mod pointwise;
mod product;
mod sensitivity;
pub mod windows;

use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{DType, Shape, len};
use kernel::wgsl;
pub use kernel::{Call, Caps, Family, Kernel, Launch, Promise, Source, Work};
use std::any::Any;
use std::sync::Arc;

/// Declares the modules of the operations and the registry of their cases.
macro_rules! ops {
    ($($name:ident,)*) => {
        $(pub mod $name;)*

        /// Returns every built-in operation with its cases, in alphabetical order.
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
    batch_norm,
    cast,
    clip,
    concat,
    conv2d,
    conv_transpose2d,
    cross_entropy,
    cumulative_sum,
    dropout,
    ema,
    extremum,
    field,
    gate,
    gather,
    l2_normalize,
    leaky_relu,
    linear,
    local_conv2d,
    loss,
    matmul,
    max_pool2d,
    normalize,
    not,
    one_hot,
    pairwise_distance,
    pixel_shuffle,
    prelu,
    quintuplet,
    reduce,
    relu,
    repack,
    resample,
    resize,
    scatter_add,
    select,
    sgd,
    softmax,
    softmax_cross_entropy,
    top_k,
    view,
    warp,
}

/// An entry of the registry.
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
    /// Returns the number of elements of input `i`.
    pub fn x_len(&self, i: usize) -> usize {
        len(&self.x[i])
    }
    /// Returns the number of elements of the output.
    pub fn y_len(&self) -> usize {
        len(&self.y)
    }
    /// Returns the number of elements of all inputs and the output together.
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
    /// Panics if `v` is above `u32::MAX`; the graph rejects tensors of that many elements before any launch.
    fn from(v: usize) -> Self {
        Self::U32(u32::try_from(v).expect("the graph refuses tensors of 2^32 elements"))
    }
}

/// How many invocations an entry needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// At least this many, numbered `g.x + g.y * groups.x * WG`. The engine divides by the workgroup size and folds more than
    /// 65,535 groups into two dimensions, so the entry must return early if its number is too large.
    Threads(usize),
    /// Exactly these workgroups.
    Groups([u32; 3]),
}

/// Work of one method: arithmetic and compulsory memory traffic, in which each tensor counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    pub flops: u64,
    pub bytes: u64,
}

impl Cost {
    /// Creates the cost of `flops` operations with `floats` f32 values read or written.
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

/// The values at which an operation is evaluated, for [`Op::tolerance`].
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    pub x: &'a [Vec<f64>],
    pub y: &'a [f64],
    pub dy: &'a [f64],
}

/// The error that f32 arithmetic may make, derived from the number and size of the summed terms.
#[derive(Debug, Clone, PartialEq)]
pub enum Tolerance {
    /// K·2⁻²³·Σ|terms| for K rounded operations per element, where Σ|terms| is the reference run on absolute values.
    /// Valid for operations that are linear in each input. The factor is 2⁻²³, not 2⁻²⁴, because WGSL does not specify the rounding.
    Terms(usize),
    /// An absolute bound for every element.
    Each(Vec<f64>),
}

/// Maximum errors of an output in units of its root mean square. This second bound complements the worst case of [`Tolerance`],
/// which for sums of many terms is so wide that a whole wrong channel could hide in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Largest error of an element.
    pub element: f64,
    /// Root mean square of all errors.
    pub rms: f64,
}

impl Accuracy {
    /// For sums of products in any order.
    pub const DIRECT: Self = Self { element: 1e-4, rms: 2e-6 };
    /// For products of transformed operands, such as Winograd's, whose constants amplify the roundings before the last transform.
    pub const TRANSFORMED: Self = Self { element: 1e-4, rms: 1e-5 };
}

/// 2⁻²³, the unit of [`Tolerance`].
pub const EPS: f64 = 1.0 / 8_388_608.0;

/// A differentiable operation on tensors. Holds attributes only: no tensors, no device handles.
///
/// Names in WGSL are the contract: `p` (a uniform struct of u32 and f32), the names of the inputs and outputs, `dy`, `d<input>`,
/// scratch `t0` to `t3`. Entries that begin with `forward` write outputs; entries that begin with `backward` write `d…` variables.
/// A trailing number denotes a pass: `forward_1` and `forward_2` run in this order and together are the method `forward`.
pub trait Op: Any + std::fmt::Debug + Send + Sync {
    /// Returns the name, which tables show and after which the files of a built-in operation are named.
    fn name(&self) -> &'static str;

    /// Returns the names of the inputs, which are also the names of the WGSL variables.
    fn inputs(&self) -> &'static [&'static str];

    /// Returns the names of the outputs. The first is `y`, the only one with a gradient. An operation that only
    /// [updates](Op::updates) has no outputs.
    fn outputs(&self) -> &'static [&'static str] {
        &["y"]
    }

    /// Returns the element type of an input or output.
    fn dtype(&self, _name: &str) -> DType {
        DType::F32
    }

    /// Returns the optional inputs that this operation lacks. The shader still declares them: they are bound to any tensor of the
    /// same layout, and nothing read from them is used.
    fn absent(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the plain kernel, which serves every call, followed by the others, best first.
    fn kernels(&self) -> &'static [Kernel];

    /// Returns whether the operation accepts shapes of any rank. Otherwise the graph accepts only `[N, C, H, W]`.
    fn takes_any_rank(&self) -> bool {
        false
    }

    /// Returns the shape of `y`. This is the only place that rejects shapes and attributes.
    ///
    /// # Errors
    /// The shapes or attributes do not fit; the error names the input or attribute, what it must be, and what it is.
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError>;

    /// Returns the shapes of the outputs after `y`.
    fn more_shapes(&self, _x: &[Shape], y: Shape) -> Vec<Shape> {
        self.outputs().iter().skip(1).map(|_| y).collect()
    }

    /// Returns what the planner needs to know to fuse this operation with its neighbours; `None` if it cannot be fused.
    fn fusible(&self) -> Option<Fusible> {
        None
    }

    /// Returns the work of `method` (`forward`, `backward_x`, …), independent of the kernel.
    fn cost(&self, method: &str, io: &Io) -> Cost;

    /// Evaluates the formula naively in f64. `y` is zero on entry.
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]);

    /// Evaluates the outputs after `y` naively in f64. They are zero on entry.
    fn reference_more(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _more: &mut [Vec<f64>]) {}

    /// Evaluates the derivative naively in f64: `dx[i] += dy · ∂y/∂x[i]`. `dx` is zero on entry.
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]);

    /// Returns the inputs without a gradient, each with the reason.
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Returns the error that `output` may have against the reference. `output` is an output's name, `dx`, …, or the input's
    /// name for an update. By default it follows from how the formula reacts to inputs that are off by a few units in the last place.
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        sensitivity::tolerance(self, output, io, at)
    }

    /// Returns the bound on the error of `output` that holds in addition to [`Op::tolerance`].
    fn accuracy(&self, _output: &str) -> Accuracy {
        Accuracy::DIRECT
    }

    /// Returns the inputs that `forward` overwrites in place: an optimiser's parameters and moments, running statistics.
    /// They must be parameters or states, have no gradient, and are not read by a `backward` entry. If the operation also has
    /// outputs, no other operation may use them.
    fn updates(&self) -> &'static [&'static str] {
        &[]
    }

    /// Evaluates the new values of [`Op::updates`] naively in f64 and writes them over `x`.
    fn reference_update(&self, _io: &Io, _x: &mut [Vec<f64>]) {}
}

/// The method that computes outputs or updates. The names of gradient methods begin with `backward`.
pub const FORWARD: &str = "forward";

/// Returns the method of an entry: `backward_w` for `backward_w_2`, `forward` for `forward`.
pub fn method_of(entry: &str) -> &str {
    match entry.rsplit_once('_') {
        Some((head, pass)) if !pass.is_empty() && pass.bytes().all(|b| b.is_ascii_digit()) => head,
        _ => entry,
    }
}

/// Returns whether `name` is scratch, which is memory between the passes of one method: `t0` to `t3`, or a name under which a
/// pass reads them.
pub fn is_scratch(name: &str) -> bool {
    matches!(scratch_of(name), "t0" | "t1" | "t2" | "t3")
}

/// Returns the variable that a `_read` variable reads: `t1` for `t1_read`, and `y` for `y_read` in a shader that writes and reads y
/// as channel quads.
pub fn scratch_of(name: &str) -> &str {
    name.strip_suffix("_read").unwrap_or(name)
}

/// Returns which output of `op` a shader's variable is, if it is one.
pub fn output_of(op: &dyn Op, variable: &str) -> Option<usize> {
    op.outputs().iter().position(|output| *output == scratch_of(variable))
}

/// Evaluates the first output of `op` in f64.
pub fn reference(op: &dyn Op, io: &Io, x: &[Vec<f64>]) -> Vec<f64> {
    let mut y = vec![0.0; io.y_len()];
    op.reference(io, x, &mut y);
    y
}

/// Evaluates all outputs of `op` in f64.
pub fn reference_outputs(op: &dyn Op, io: &Io, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    if op.outputs().is_empty() {
        return Vec::new();
    }
    let y = reference(op, io, x);
    let mut more: Vec<Vec<f64>> = op.more_shapes(io.x, io.y).iter().map(|shape| vec![0.0; len(shape)]).collect();
    op.reference_more(io, x, &y, &mut more);
    std::iter::once(y).chain(more).collect()
}

/// Evaluates the gradients of `op` for all inputs in f64; zeros for inputs without a gradient.
pub fn reference_grad(op: &dyn Op, io: &Io, x: &[Vec<f64>], y: &[f64], dy: &[f64]) -> Vec<Vec<f64>> {
    let mut dx: Vec<Vec<f64>> = io.x.iter().map(|s| vec![0.0; len(s)]).collect();
    op.reference_grad(io, x, y, dy, &mut dx);
    dx
}

impl Registered {
    /// Returns the kernels of all cases, each once.
    pub fn kernels(&self) -> Vec<Kernel> {
        kernels_of(&(self.cases)())
    }
}

/// Returns the kernels of `cases`, each once. Cases may differ in kernels because an attribute may choose between them.
pub fn kernels_of(cases: &[Case]) -> Vec<Kernel> {
    let mut all: Vec<Kernel> = Vec::new();
    for kernel in cases.iter().flat_map(|case| case.op.kernels()) {
        if !all.contains(kernel) {
            all.push(*kernel);
        }
    }
    all
}

/// Returns every kernel of the built-in operations, in alphabetical order of their stems.
pub fn kernels() -> Vec<Kernel> {
    let mut all: Vec<Kernel> = registry().iter().flat_map(Registered::kernels).collect();
    all.sort_unstable_by_key(Kernel::stem);
    all
}

/// Returns the built-in kernel `stem`.
pub fn kernel(stem: &str) -> Option<Kernel> {
    kernels().into_iter().find(|kernel| kernel.stem() == stem)
}

/// Returns the number of threads of `shared/rows.wgsl` for `a` rows of A and `b` rows of B.
fn row_blocks(a: usize, b: usize) -> usize {
    a.div_ceil(8) * b.div_ceil(8)
}

/// Returns a launch of `shared/rows.wgsl` for so many blocks.
fn row_launch(blocks: usize, params: impl IntoIterator<Item = (&'static str, Scalar)>) -> Launch {
    Launch::threads(blocks, params).with("LANES", if blocks < 512 { 8 } else { 64 })
}

/// Returns a conservative speed-up of a kernel of `shared/rows.wgsl` over the plain kernel. It is lower if the blocks of 8 × 8 rows
/// reach past the end; even with one row of A the kernel is faster (136 rows of B, 1,024 terms: 0.3 ms instead of 1.2 ms).
fn row_gain(a: usize, b: usize) -> f64 {
    (4.0 * (a * b) as f64 / (64 * row_blocks(a, b)) as f64).max(1.25)
}

/// Returns how many threads of `shared/lines.wgsl` take a line of `len` elements together: a power of two up to 64, so that each has
/// about eight elements.
fn lanes_of(len: usize) -> usize {
    len.div_ceil(8).next_power_of_two().min(64)
}

/// Returns into how many partial sums a sum of `terms` is divided that there are `elements` of: enough for short sums, and one if there
/// are enough elements for many threads and not many terms.
fn parts_of(terms: usize, elements: usize) -> usize {
    if terms < 64 || (elements > 4096 && terms < 4096) { 1 } else { terms.isqrt() }
}

/// The role of an operation in the planner's fusion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fusible {
    /// A convolution of x with w and b, with this stride and dilation and so many groups, padded above, to the left, below and to the
    /// right, with zeros or by `replicate`.
    Convolution { stride: [usize; 2], dilation: [usize; 2], padding: [usize; 4], replicate: bool, groups: usize },
    /// A transposed convolution of x with w and b, with this stride and dilation and so many groups, that cuts off this padding.
    Transposed { stride: [usize; 2], dilation: [usize; 2], padding: [usize; 2], groups: usize },
    /// x if it is positive, else this slope times x.
    Slope(f32),
    /// x if it is positive, else the input `a` times x, where `a` is a slope per channel.
    Slopes,
    /// This function of x, which is finite at 0.
    Activation(pointwise::Unary),
    /// The sum of its two inputs, which the planner fuses if they have one shape; so the next.
    Sum,
    /// The product of its two inputs.
    Product,
    /// The largest of every 2 × 2 pixels, without those that no square has.
    Pool,
    /// For this r, every r² channels become a block of r × r pixels, in the order of pixel_shuffle.
    Shuffle(usize),
}

/// How a case fills an input.
#[derive(Clone, Copy)]
pub enum Fill {
    /// Uniform in `[low, high)`, but at least `gap` away from zero, where an operation may have a kink.
    Uniform { low: f64, high: f64, gap: f64 },
    /// By a function of the operation, which gets the shapes of all inputs and the index of this one.
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

/// An example of an operation, used by the gradient check, the GPU check, the cost table and the benchmarks.
#[derive(Debug, Clone)]
pub struct Case {
    pub op: Arc<dyn Op>,
    pub x: Vec<Shape>,
    pub fill: Vec<Fill>,
    /// Has the size of a real layer: timed by the benchmarks, and left out of the gradient check, which differentiates every
    /// element.
    pub real: bool,
    /// Has values at a kink or NaNs, where finite differences say nothing about the derivative.
    pub is_rough: bool,
}

/// Draws values uniformly from `[-1, 2)`, but makes every seventh one `value`.
fn with_some(value: f64, rng: &mut Rng, shape: &Shape) -> Vec<f64> {
    (0..len(shape)).map(|i| if i % 7 == 3 { value } else { rng.uniform(-1.0, 2.0) }).collect()
}

/// Calls [`with_some`] for zeros.
fn with_zeros(rng: &mut Rng, x: &[Shape], input: usize) -> Vec<f64> {
    with_some(0.0, rng, &x[input])
}

/// Calls [`with_some`] for NaNs.
fn with_nan(rng: &mut Rng, x: &[Shape], input: usize) -> Vec<f64> {
    with_some(f64::NAN, rng, &x[input])
}

impl Case {
    /// Creates a case whose inputs are signed and not centred: uniform in `[-1, 2)`.
    pub fn new(op: impl Op + 'static, x: &[impl Into<Shape> + Copy]) -> Self {
        let fill = vec![Fill::Uniform { low: -1.0, high: 2.0, gap: 0.0 }; x.len()];
        Self { op: Arc::new(op), x: x.iter().map(|&x| x.into()).collect(), fill, real: false, is_rough: false }
    }
    /// Sets how input `i` is filled.
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
    /// Marks the case as having the size of a real layer.
    pub fn real(mut self) -> Self {
        self.real = true;
        self
    }
    /// Leaves the case out of the gradient check.
    pub fn rough(mut self) -> Self {
        self.is_rough = true;
        self
    }
    /// Returns the values of the inputs, each of which f32 represents exactly.
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
