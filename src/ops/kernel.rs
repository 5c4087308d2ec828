//! Kernels: a WGSL file, and the function that says whether it serves a call, how it is launched and how long that takes.
//!
//! An operation is mathematics and lists its kernels ([`Op::kernels`]); everything about speed belongs to a kernel and lies in its
//! own pair of files. The planner asks each kernel for its [`Work`] and takes the one that is estimated, or was measured, to be
//! fastest.

use super::{Accuracy, Cost, Grid, Io, Op, Scalar, Tolerance, Values};
use std::any::Any;

/// A WGSL file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The path below `shaders/` without its extension, e.g. `relu/plain`.
    pub stem: &'static str,
    pub text: &'static str,
    /// Built-in shaders run without the driver's bounds checks: their launches prove the ranges, and tests guard them.
    pub(crate) trusted: bool,
}

impl Source {
    /// Creates the WGSL of a caller's own operation; it runs with all run-time checks.
    pub const fn new(stem: &'static str, text: &'static str) -> Self {
        Self { stem, text, trusted: false }
    }
    pub(crate) const fn built_in(stem: &'static str, text: &'static str) -> Self {
        Self { stem, text, trusted: true }
    }
}

/// Includes the built-in shader `shaders/<stem>.wgsl`; `+ "shared"` appends `shaders/shared/<shared>.wgsl`, which several shaders
/// have in common.
macro_rules! wgsl {
    ($stem:literal $(+ $shared:literal)*) => {
        $crate::ops::Source::built_in(
            $stem,
            concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl"))
                $(, "\n", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/shared/", $shared, ".wgsl")))*
            ),
        )
    };
}
pub(crate) use wgsl;

/// A kind of adapter that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPUs: tiles in workgroup memory, registers, many threads.
    Hardware,
    /// Processors, such as lavapipe: for eight lanes, a texel of a storage texture takes 5 ns to load, an element of a buffer 60 ns
    /// (Zen 3, Mesa 22.3.6), so kernels that copy what they read into textures are faster.
    Software,
    /// The references, for which nothing is written: they compute operations, not kernels.
    References,
}

/// The kind, limits and speed of an adapter. The defaults are WebGPU's guaranteed limits, which suffice for every plain kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Caps {
    pub family: Family,
    /// Size of the largest storage binding, and thus of the largest tensor.
    pub binding_bytes: u64,
    /// Memory for all tensors together.
    pub memory_bytes: u64,
    /// Maximum number of storage buffers that an entry binds.
    pub storage_buffers: usize,
    /// Maximum number of storage textures that an entry binds.
    pub storage_textures: usize,
    pub workgroups_per_dimension: u32,
    pub threads_per_workgroup: u32,
    pub workgroup_bytes: u32,
    /// Shaders can read and write f16.
    pub has_f16: bool,
    /// Most iterations of all loops of a thread together, for [`Launch::loops`].
    pub iterations: usize,
    /// Workgroups that keep the adapter busy, about four for each core: wgpu does not tell how many it has, so a GPU is taken to have 64.
    /// Work is divided more finely if there would be fewer.
    pub busy_workgroups: usize,
    /// Registers of 32 bits that a thread can have. Kernels that keep a block of results there take smaller blocks if there are few: what
    /// does not fit is kept in memory, and a large block that is read from there is slower than a small one.
    pub registers: usize,
    /// Conservative arithmetic rate of a plain kernel. Together with `bytes_per_second`, it keeps dispatches that were not measured
    /// within [`MAX_DISPATCH_MS`].
    pub flops_per_second: f64,
    /// Conservative rate at which a plain kernel reads and writes memory.
    pub bytes_per_second: f64,
}

/// Maximum planned time of a dispatch: desktop systems reset adapters that do not respond.
pub const MAX_DISPATCH_MS: f64 = 250.0;

/// [`Caps::flops_per_second`] if nothing is known: what plain kernels sustain on two cores under lavapipe (a training step of FSRCNN:
/// 4.6 GFLOP/s, 2026-11-24).
const PLAIN_FLOPS_PER_SECOND: f64 = 4e9;

/// [`Caps::bytes_per_second`] if nothing is known: under lavapipe, relu's gradient and Adam move 0.8 to 1 GB/s (2026-11-28).
const PLAIN_BYTES_PER_SECOND: f64 = 8e8;

impl Default for Caps {
    fn default() -> Self {
        Self {
            family: Family::Hardware,
            binding_bytes: 128 << 20,
            memory_bytes: 2 << 30,
            storage_buffers: 8,
            storage_textures: 4,
            workgroups_per_dimension: 65_535,
            threads_per_workgroup: 256,
            workgroup_bytes: 16_384,
            has_f16: false,
            iterations: usize::MAX,
            busy_workgroups: 256,
            registers: 256,
            flops_per_second: PLAIN_FLOPS_PER_SECOND,
            bytes_per_second: PLAIN_BYTES_PER_SECOND,
        }
    }
}

impl Caps {
    /// Returns WebGPU's guaranteed limits on a software adapter. Lavapipe has one heap of 2 GiB, and in the 65,535th iteration of a thread
    /// it leaves the loop, whatever its condition, and all that follow after their first (Mesa's `LP_MAX_TGSI_LOOP_ITERATIONS`).
    pub fn software() -> Self {
        Self { family: Family::Software, busy_workgroups: 8, iterations: 65_534, ..Self::default() }
    }
    /// Returns WebGPU's guaranteed limits on a GPU of unknown speed: rates that all but the slowest exceed (an H100 sustains a hundred
    /// times as much, docs/profile.md), and memory that ends where the driver refuses.
    pub fn hardware() -> Self {
        Self { memory_bytes: u64::MAX, flops_per_second: 5e10, bytes_per_second: 1e10, ..Self::default() }
    }
    /// Returns the limits of the references on the processor: any size and any time, up to `memory_bytes` for all tensors together.
    pub fn references(memory_bytes: u64) -> Self {
        Self {
            family: Family::References,
            binding_bytes: u64::MAX,
            memory_bytes,
            flops_per_second: f64::INFINITY,
            bytes_per_second: f64::INFINITY,
            ..Self::default()
        }
    }
    /// Returns `counts` as the workgroups of a dispatch; `None` if one is more than the adapter takes.
    pub fn workgroups(&self, counts: [usize; 3]) -> Option<[u32; 3]> {
        let is_within = |&count: &usize| u32::try_from(count).is_ok_and(|count| count <= self.workgroups_per_dimension);
        counts.iter().all(is_within).then(|| counts.map(|count| count as u32))
    }
    /// Whether a thread can keep `values` of 32 bits in registers, beside the 48 that compilers take for addresses and what they load early
    /// (from where Intel's begins to spill, for DG2 in Mesa 22.3).
    pub fn holds(&self, values: usize) -> bool {
        values + 48 <= self.registers
    }
    /// Returns a conservative estimate of the nanoseconds that a plain kernel takes for `cost`.
    pub fn plain_ns(&self, cost: Cost) -> f64 {
        1e9 * (cost.flops as f64 / self.flops_per_second).max(cost.bytes as f64 / self.bytes_per_second)
    }
}

/// What a kernel is asked to compute: a method of an operation on shapes.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    op: &'a dyn Op,
    /// `forward`, or the method of a gradient as the kernel's WGSL names it.
    pub method: &'a str,
    /// The entries of that method, in order.
    entries: &'a [&'a str],
    pub io: Io<'a>,
}

impl<'a> Call<'a> {
    pub fn new(op: &'a dyn Op, method: &'a str, entries: &'a [&'a str], io: Io<'a>) -> Self {
        Self { op, method, entries, io }
    }

    /// Returns the operation with its attributes; `None` if it is not a `T`, which no kernel of `T` serves.
    pub fn op<T: Op>(&self) -> Option<&'a T> {
        (self.op as &dyn Any).downcast_ref()
    }

    /// Returns work with the launch that `launch` gives for each entry of the method, and the estimate of a plain kernel; `None` if
    /// an entry has no launch.
    pub fn work(&self, caps: &Caps, launch: impl Fn(&str) -> Option<Launch>) -> Option<Work> {
        let passes: Option<Vec<Launch>> = self.entries.iter().map(|entry| launch(entry)).collect();
        let passes = passes.filter(|passes| !passes.is_empty())?;
        let ns = caps.plain_ns(self.op.cost(self.method, &self.io));
        Some(Work { passes, scratch: Vec::new(), blocks: 1, ns, promise: Promise::default() })
    }
}

/// One dispatch, described by names: the engine finds the offsets and sizes by reflection.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The value of every member of the shader's struct `P`, by name.
    pub params: Vec<(&'static str, Scalar)>,
    /// Values of `override` constants by name; the others keep their defaults.
    pub overrides: Vec<(&'static str, f64)>,
    pub grid: Grid,
    /// Iterations of all loops of a thread together; see [`Launch::loops`].
    pub iterations: usize,
}

impl Launch {
    /// Creates a launch of `threads` invocations without overrides.
    pub fn threads(threads: usize, params: impl IntoIterator<Item = (&'static str, Scalar)>) -> Self {
        Self {
            params: params.into_iter().collect(),
            overrides: Vec::new(),
            grid: Grid::Threads(threads),
            iterations: 0,
        }
    }
    /// Creates a launch of exactly these workgroups without overrides.
    pub fn groups(groups: [u32; 3], params: impl IntoIterator<Item = (&'static str, Scalar)>) -> Self {
        Self { params: params.into_iter().collect(), overrides: Vec::new(), grid: Grid::Groups(groups), iterations: 0 }
    }
    /// States how often the loops of a thread run at most, the outermost first, each within the one before. A kernel serves no call for
    /// which these are more than the adapter can do. Needed only where a size of the layer that has no other limit is a number of
    /// iterations.
    pub fn loops(self, nested: &[usize]) -> Self {
        // The test that ends a loop counts as well.
        let iterations =
            nested.iter().rev().fold(0usize, |inner, &times| times.saturating_mul(inner + 1).saturating_add(1));
        Self { iterations: self.iterations.saturating_add(iterations), ..self }
    }
    /// Sets an `override` constant.
    pub fn with(mut self, name: &'static str, value: usize) -> Self {
        self.overrides.push((name, value as f64));
        self
    }
    /// Sets several constants.
    pub fn with_all(self, constants: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        constants.into_iter().fold(self, |launch, (name, value)| launch.with(name, value))
    }
}

/// How a kernel serves a call.
#[derive(Debug, Clone)]
pub struct Work {
    /// One launch for each entry of the method, in order.
    pub passes: Vec<Launch>,
    /// Number of elements, four for a vector, or texels of a texture, of each scratch variable `t0` to `t3` that the passes use.
    pub scratch: Vec<(&'static str, usize)>,
    /// Number of blocks into which the work is divided. All passes of a block run before the next block begins, so that the data
    /// between passes stays in a cache. If there is more than one, the planner sets the member `block` of `P` to its number.
    pub blocks: usize,
    /// Estimated time of all blocks on the adapter, in nanoseconds. The planner takes the kernel with the lowest estimate, and
    /// bounds a dispatch by it.
    pub ns: f64,
    pub promise: Promise,
}

impl Work {
    /// Sets the sizes of scratch variables.
    pub fn scratch(self, scratch: Vec<(&'static str, usize)>) -> Self {
        Self { scratch, ..self }
    }
    /// Divides the work into `blocks`.
    pub fn blocks(self, blocks: usize) -> Self {
        Self { blocks, ..self }
    }
    /// Divides the estimate by `times`, a conservative speed-up over the plain kernel.
    pub fn faster(self, times: f64) -> Self {
        Self { ns: self.ns / times, ..self }
    }
    /// Sets the estimate by the kernel's own model: `ns` nanoseconds on an adapter where a plain kernel reaches 4 GFLOP/s, scaled to
    /// this adapter, but at most the estimate of a plain kernel.
    pub fn modelled(self, ns: f64, caps: &Caps) -> Self {
        let scaled = ns * PLAIN_FLOPS_PER_SECOND / caps.flops_per_second;
        Self { ns: scaled.min(self.ns), ..self }
    }
    /// Sets the accuracy of the results.
    pub fn promise(self, promise: Promise) -> Self {
        Self { promise, ..self }
    }
}

/// A function that bounds the errors of `output` when `op` is evaluated at the values `at`.
pub type ToleranceOf = fn(op: &dyn Op, output: &str, io: &Io, at: &Values) -> Option<Tolerance>;

/// The accuracy of a kernel whose arithmetic differs from that of the formula.
#[derive(Clone, Copy, Default)]
pub struct Promise {
    /// Replaces [`Op::accuracy`].
    pub accuracy: Option<Accuracy>,
    /// Replaces [`Op::tolerance`].
    pub tolerance: Option<ToleranceOf>,
}

impl std::fmt::Debug for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Promise").field("accuracy", &self.accuracy).finish_non_exhaustive()
    }
}

/// A WGSL file and the calls that it serves. The first kernel of an operation is the plain, readable one, which serves every call.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub source: Source,
    /// The adapters that it is written for; `None` for all. Checks run every kernel on every adapter.
    pub family: Option<Family>,
    serve: fn(&Call, &Caps) -> Option<Work>,
}

impl Kernel {
    /// Creates a kernel for adapters of both families; `serve` returns `None` for a call that the kernel does not serve.
    pub const fn new(source: Source, serve: fn(&Call, &Caps) -> Option<Work>) -> Self {
        Self { source, family: None, serve }
    }
    /// Restricts the kernel to adapters of `family`.
    pub const fn only(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }
    /// Returns the same kernel with another text, such as one with a fault.
    pub const fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }
    /// Returns how the kernel serves `call` on an adapter with `caps`; `None` if it does not.
    pub fn serve(&self, call: &Call, caps: &Caps) -> Option<Work> {
        let is_within = |work: &Work| work.passes.iter().all(|pass| pass.iterations <= caps.iterations);
        (self.serve)(call, caps).filter(is_within)
    }
    pub fn stem(&self) -> &'static str {
        self.source.stem
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Kernel").field("stem", &self.source.stem).field("family", &self.family).finish_non_exhaustive()
    }
}

impl PartialEq for Kernel {
    /// Compares source and family: functions have no identity.
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.family == other.family
    }
}
