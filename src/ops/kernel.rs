//! Kernels: a WGSL file, and the function that says whether it serves a call, how it is launched and what that takes.
//!
//! An operation is mathematics and lists its kernels ([`Op::kernels`]); everything about being fast belongs to a kernel and lies in
//! its own pair of files. The planner asks each for [`Work`] and takes what is estimated or was measured to be fastest.

use super::{Accuracy, Cost, Grid, Io, Op, Scalar, Tolerance, Values};
use std::any::Any;

/// A WGSL file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The path below `shaders/` without its extension, e.g. `relu/plain`.
    pub stem: &'static str,
    pub text: &'static str,
    /// Built-in shaders run without the driver's bounds checks: their launch proves the ranges and tests guard them.
    pub(crate) trusted: bool,
}

impl Source {
    /// WGSL of a caller's own operation; runs with all run-time checks on.
    pub const fn new(stem: &'static str, text: &'static str) -> Self {
        Self { stem, text, trusted: false }
    }
    pub(crate) const fn built_in(stem: &'static str, text: &'static str) -> Self {
        Self { stem, text, trusted: true }
    }
}

/// The built-in shader `shaders/<stem>.wgsl`; `+ "shared"` adds `shaders/shared/<shared>.wgsl`, what several have in common.
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

/// What kind of adapter kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPUs: tiles in workgroup memory, registers, many threads.
    Hardware,
    /// Processors, as lavapipe: a texel of a storage texture costs 5 ns to load, an element of a buffer 60 for eight lanes (Zen 3,
    /// Mesa 22.3.6), so that kernels which copy what they read into textures gain.
    Software,
}

/// What an adapter is, allows and does. The default is WebGPU's guaranteed minimum, within which every plain kernel lives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Caps {
    pub family: Family,
    /// Largest storage binding, so largest tensor.
    pub binding_bytes: u64,
    /// Memory for all tensors together.
    pub memory_bytes: u64,
    /// Storage buffers that an entry binds at most.
    pub storage_buffers: usize,
    /// Storage textures that an entry binds at most.
    pub storage_textures: usize,
    pub workgroups_per_dimension: u32,
    pub threads_per_workgroup: u32,
    pub workgroup_bytes: u32,
    /// Conservative arithmetic rate of a plain kernel; with the next it bounds a dispatch to [`MAX_DISPATCH_MS`] where nothing was
    /// measured.
    pub flops_per_second: f64,
    /// Conservative rate at which a plain kernel reads and writes memory.
    pub bytes_per_second: f64,
}

/// No dispatch is planned to take longer: desktop systems reset adapters that do not answer.
pub const MAX_DISPATCH_MS: f64 = 250.0;

/// [`Caps::flops_per_second`] where nothing is known: two cores under lavapipe.
const PLAIN_FLOPS_PER_SECOND: f64 = 4e9;

/// [`Caps::bytes_per_second`] likewise.
const PLAIN_BYTES_PER_SECOND: f64 = 1.5e9;

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
            flops_per_second: PLAIN_FLOPS_PER_SECOND,
            bytes_per_second: PLAIN_BYTES_PER_SECOND,
        }
    }
}

impl Caps {
    /// The minimum that WebGPU guarantees, on a software adapter.
    pub fn software() -> Self {
        Self { family: Family::Software, ..Self::default() }
    }
    /// Those of the references on the processor: any size and any time, up to `memory_bytes` for all tensors together.
    pub fn references(memory_bytes: u64) -> Self {
        Self {
            binding_bytes: u64::MAX,
            memory_bytes,
            flops_per_second: f64::INFINITY,
            bytes_per_second: f64::INFINITY,
            ..Self::default()
        }
    }
    /// Nanoseconds that a plain kernel takes at most for `cost`.
    pub fn plain_ns(&self, cost: Cost) -> f64 {
        1e9 * (cost.flops as f64 / self.flops_per_second).max(cost.bytes as f64 / self.bytes_per_second)
    }
}

/// What is asked of a kernel: a method of an operation on shapes.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    op: &'a dyn Op,
    /// `forward`, or that of a gradient, as the kernel's WGSL names it.
    pub method: &'a str,
    /// The entries of that method, in order.
    entries: &'a [&'a str],
    pub io: Io<'a>,
}

impl<'a> Call<'a> {
    pub fn new(op: &'a dyn Op, method: &'a str, entries: &'a [&'a str], io: Io<'a>) -> Self {
        Self { op, method, entries, io }
    }

    /// The operation with its attributes; `None` where it is another, which no kernel of `T` serves.
    pub fn op<T: Op>(&self) -> Option<&'a T> {
        (self.op as &dyn Any).downcast_ref()
    }

    /// One launch for each entry of the method, as `launch` has it; `None` where one has none. The estimate is a plain kernel's.
    pub fn work(&self, caps: &Caps, launch: impl Fn(&str) -> Option<Launch>) -> Option<Work> {
        let passes: Option<Vec<Launch>> = self.entries.iter().map(|entry| launch(entry)).collect();
        let passes = passes.filter(|passes| !passes.is_empty())?;
        let ns = caps.plain_ns(self.op.cost(self.method, &self.io));
        Some(Work { passes, scratch: Vec::new(), blocks: 1, ns, promise: Promise::default() })
    }
}

/// One dispatch, in names: the engine finds the offsets and sizes by reflection.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Every member of the shader's struct `P`, by name.
    pub params: Vec<(&'static str, Scalar)>,
    /// `override` constants, by name; the others keep their defaults.
    pub overrides: Vec<(&'static str, f64)>,
    pub grid: Grid,
}

impl Launch {
    /// A launch of `threads` invocations without overrides.
    pub fn threads(threads: usize, params: impl IntoIterator<Item = (&'static str, Scalar)>) -> Self {
        Self { params: params.into_iter().collect(), overrides: Vec::new(), grid: Grid::Threads(threads) }
    }
    /// A launch of exactly these workgroups, without overrides.
    pub fn groups(groups: [u32; 3], params: impl IntoIterator<Item = (&'static str, Scalar)>) -> Self {
        Self { params: params.into_iter().collect(), overrides: Vec::new(), grid: Grid::Groups(groups) }
    }
    /// Sets an `override` constant.
    pub fn with(mut self, name: &'static str, value: usize) -> Self {
        self.overrides.push((name, value as f64));
        self
    }
}

/// How a kernel serves a call.
#[derive(Debug, Clone)]
pub struct Work {
    /// One launch for each entry of the method, in order.
    pub passes: Vec<Launch>,
    /// Elements (texels where it is a texture) of the variables `t0` to `t3` that lie between the passes.
    pub scratch: Vec<(&'static str, usize)>,
    /// Into how many blocks the work is cut, each done by all passes before the next begins, so that what lies between the passes
    /// stays in a cache. The planner counts them in the member `block` of `P`.
    pub blocks: usize,
    /// Estimated time on the adapter in nanoseconds, of all blocks: the planner takes the kernel with the least, and bounds a
    /// dispatch by it.
    pub ns: f64,
    pub promise: Promise,
}

impl Work {
    /// Sets the sizes of scratch variables.
    pub fn scratch(self, scratch: Vec<(&'static str, usize)>) -> Self {
        Self { scratch, ..self }
    }
    /// Cuts the work into `blocks`.
    pub fn blocks(self, blocks: usize) -> Self {
        Self { blocks, ..self }
    }
    /// The estimate of a kernel that is surely `times` as fast as a plain one.
    pub fn faster(self, times: f64) -> Self {
        Self { ns: self.ns / times, ..self }
    }
    /// The estimate of a kernel with a model of its own: nanoseconds where a plain kernel does 4 GFLOP/s, but none slower than that.
    pub fn modelled(self, ns: f64, caps: &Caps) -> Self {
        let scaled = ns * PLAIN_FLOPS_PER_SECOND / caps.flops_per_second;
        Self { ns: scaled.min(self.ns), ..self }
    }
    /// Sets how exact the results are.
    pub fn promise(self, promise: Promise) -> Self {
        Self { promise, ..self }
    }
}

/// A bound on errors: of `output`, where the operation is evaluated at these values.
pub type ToleranceOf = fn(op: &dyn Op, output: &str, io: &Io, at: &Values) -> Option<Tolerance>;

/// How exact a kernel's results are, where its arithmetic is another than the formula's.
#[derive(Clone, Copy, Default)]
pub struct Promise {
    /// In place of [`Op::accuracy`].
    pub accuracy: Option<Accuracy>,
    /// In place of [`Op::tolerance`].
    pub tolerance: Option<ToleranceOf>,
}

impl std::fmt::Debug for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Promise").field("accuracy", &self.accuracy).finish_non_exhaustive()
    }
}

/// A WGSL file and where it serves. The first one of an operation is the plain, readable one, which serves every call.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub source: Source,
    /// The adapters that it is written for; all where there is none. Checks run every kernel on every adapter.
    pub family: Option<Family>,
    serve: fn(&Call, &Caps) -> Option<Work>,
}

impl Kernel {
    /// A kernel for adapters of both families; `serve` gives `None` where it does not serve a call.
    pub const fn new(source: Source, serve: fn(&Call, &Caps) -> Option<Work>) -> Self {
        Self { source, family: None, serve }
    }
    /// One for adapters of `family` only.
    pub const fn only(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }
    /// The same kernel with another text, such as one with a fault.
    pub const fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }
    /// How it serves `call` on an adapter with `caps`.
    pub fn serve(&self, call: &Call, caps: &Caps) -> Option<Work> {
        (self.serve)(call, caps)
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
    /// By text: functions have no identity.
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.family == other.family
    }
}
