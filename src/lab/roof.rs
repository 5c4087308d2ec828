//! Measures the limits of an adapter, arithmetic and memory traffic, and whether its timer can be trusted.
//!
//! Two operations that no network uses, each with a shader of its name, run through the same planner and the same timer
//! as the steps of a profile. They are checked like all others (`tests/profile.rs`).

use super::clock::now_ms;
use crate::error::{Error, Result, ShapeError};
use crate::exec::timing::{Run, Span};
use crate::exec::{Device, GpuSession, Session};
use crate::graph::Graph;
use crate::ops::kernel::wgsl;
use crate::ops::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work};
use crate::plan::Options;
use crate::tensor::Shape;
use crate::weights::Weights;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The highest rates observed on this adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofs {
    /// 10⁹ multiplications and additions per second.
    pub gflops: f64,
    /// 10⁹ bytes read or written per second, between buffers larger than the caches of most adapters. A step whose data
    /// stay in a cache may exceed this roof.
    pub gbps: f64,
    /// Which of two copies reached [`Roofs::gbps`]: `copy command` or `copy kernel`.
    pub copied_by: &'static str,
}

impl Roofs {
    /// Returns the FLOP/byte at which both roofs meet: a step below it is bound by memory, one above it by arithmetic.
    pub fn ridge(&self) -> f64 {
        self.gflops / self.gbps
    }
}

/// [`Roofs`], or why the timer that should measure them is not trusted.
pub type Measured = std::result::Result<Roofs, String>;

/// y\[i\] = Σ over r < `rounds` of the sum of v after 64 times v\[k\] ← v\[k\]/2 + v\[k + 1\] for k = 0 … 13, where v starts
/// as v\[k\] = x\[i\] + r + k, and v\[14\] is v\[0\].
#[derive(Debug, Clone, PartialEq)]
pub struct Chains {
    pub rounds: u32,
}

/// Independent chains per thread.
const CHAINS: usize = 14;
/// Links per chain.
const LINKS: usize = 64;

impl Op for Chains {
    fn name(&self) -> &'static str {
        "roof_chains"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("roof/chains" + "bound"), chains)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        // Each chain's first value and its term of the sum are additions too.
        let flops = (2 * LINKS as u64 + 2) * CHAINS as u64 * u64::from(self.rounds) * io.y_len() as u64;
        Cost { flops, ..Cost::new(0, 2 * io.y_len()) }
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, &x) in y.iter_mut().zip(&x[0]) {
            for round in 0..self.rounds {
                let mut v: [f64; CHAINS] = std::array::from_fn(|k| x + f64::from(round) + k as f64);
                for _ in 0..LINKS {
                    for k in 0..CHAINS {
                        v[k] = v[k] * 0.5 + v[(k + 1) % CHAINS];
                    }
                }
                *y += v.iter().sum::<f64>();
            }
        }
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "measures an adapter, is part of no network")]
    }
    /// Two roundings at the start, two per link (the halving is exact, but a compiler need not know), one to add to each sum.
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(2 + 2 * (LINKS + 1) + CHAINS + self.rounds as usize)
    }
}

/// `shaders/roof/chains.wgsl`.
fn chains(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, len) = (call.op::<Chains>()?, call.io.y_len());
    let params: [(_, Scalar); 3] = [("len", len.into()), ("rounds", op.rounds.into()), ("m", 0.5.into())];
    call.work(caps, |_| Some(Launch::threads(len, params)))
}

/// y = x.
#[derive(Debug, Clone, PartialEq)]
pub struct Copying;

impl Op for Copying {
    fn name(&self) -> &'static str {
        "roof_copy"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("roof/copy"), copy)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(0, 2 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.copy_from_slice(&x[0]);
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "measures an adapter, is part of no network")]
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// `shaders/roof/copy.wgsl`.
fn copy(call: &Call, caps: &Caps) -> Option<Work> {
    let len = call.io.y_len();
    let threads = len.div_ceil(4);
    let params = [("len", len.into()), ("threads", threads.into())];
    call.work(caps, |_| Some(Launch::threads(threads, params)))
}

/// Returns small cases of both operations, one list each.
pub fn cases() -> [Vec<Case>; 2] {
    const SHAPES: [[usize; 4]; 4] = [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 1, 257], [1, 1, 2, 1027]];
    [
        SHAPES.iter().zip([0, 1, 2, 5]).map(|(&x, rounds)| Case::new(Chains { rounds }, &[x])).collect(),
        SHAPES.iter().map(|&x| Case::new(Copying, &[x])).collect(),
    ]
}

/// Work of the self-test's second dispatch, as a multiple of the first's.
const TIMES_THE_WORK: u32 = 4;
/// Allowed time of four times the work, as a multiple of the first's: a dispatch has a fixed cost, and clock speeds change.
const RATIO: std::ops::RangeInclusive<f64> = 2.5..=6.0;

/// Returns why a timer that gave these times cannot be trusted, if so. Each run times a dispatch and then one with four times
/// the work. The shortest of each decides, because other programs only make them longer.
///
/// Without any run there is no fault.
pub fn timer_fault(runs: &[[Span; 2]]) -> Option<String> {
    for [small, large] in runs {
        // This also rejects NaN.
        let is_positive = small.ms > 0.0 && large.ms > 0.0;
        if !is_positive {
            return Some(format!(
                "a dispatch that computes took {:.3} ms by its clock, and one with four times the work {:.3} ms",
                small.ms, large.ms
            ));
        }
        if large.begin_ms < small.end_ms() {
            return Some(format!(
                "its clock runs backwards: a dispatch began {:.3} ms before the one before it ended",
                small.end_ms() - large.begin_ms
            ));
        }
    }
    let shortest = |which: usize| runs.iter().map(|r| r[which].ms).fold(f64::INFINITY, f64::min);
    let ratio = shortest(1) / shortest(0);
    // Without a run the ratio is NaN.
    if runs.is_empty() || RATIO.contains(&ratio) {
        return None;
    }
    Some(format!(
        "four times the work took {ratio:.2} times as long by its clock ({:.3} and {:.3} ms), expected {} to {}",
        shortest(0),
        shortest(1),
        RATIO.start(),
        RATIO.end()
    ))
}

/// Threads of the chains: 512 workgroups of 64, 2 vectors per scheduler of a large GPU, which fourteen chains keep busy. There
/// are no more because lavapipe takes 1 µs to start a workgroup.
const THREADS: usize = 1 << 15;
/// Target time of a dispatch of the chains: long compared with its fixed cost, short enough that some run is not interrupted
/// on a busy machine.
const CHAINS_MS: f64 = 4.0;
/// Runs of the chains, each of two dispatches, and how many more if the timer is not trusted: on a busy machine it may take a
/// while to see each dispatch undisturbed.
const CHAINS_RUNS: usize = 16;
const MORE_RUNS: usize = 32;
/// Bytes of each of the two buffers of the copy.
const COPY_BYTES: u64 = 64 << 20;
/// Runs of each copy; the best counts.
const COPY_RUNS: usize = 4;

/// Returns the result of [`measure`], measured once per process and adapter.
///
/// # Errors
/// The adapter fails.
pub(super) fn measured(device: &Device) -> Result<Measured> {
    static KNOWN: Mutex<BTreeMap<String, Measured>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let adapter = device.describe();
    if let Some(measured) = known.get(&adapter) {
        return Ok(measured.clone());
    }
    let measured = pollster::block_on(measure(device))?;
    known.insert(adapter, measured.clone());
    Ok(measured)
}

/// Measures both roofs and tests the timer, in less than a second on anything that computes.
///
/// # Errors
/// The adapter fails.
async fn measure(device: &Device) -> Result<Measured> {
    let mut rounds = 16;
    let chains = Prepared::new(device, THREADS, &[Chains { rounds }]).await?;
    // The first run also compiles and pays for fresh memory.
    chains.time().await?;
    let ms = chains.time().await?.spans[0].ms;
    if ms > 0.0 {
        rounds = (f64::from(rounds) * CHAINS_MS / ms).clamp(1.0, f64::from(1 << 22)) as u32;
    }
    let both = [Chains { rounds }, Chains { rounds: TIMES_THE_WORK * rounds }];
    let chains = Prepared::new(device, THREADS, &both).await?;
    chains.time().await?;
    let mut runs = Vec::new();
    while runs.len() < CHAINS_RUNS || (runs.len() < CHAINS_RUNS + MORE_RUNS && timer_fault(&runs).is_some()) {
        let spans = chains.time().await?.spans;
        runs.push([spans[0], spans[1]]);
    }
    if let Some(fault) = timer_fault(&runs) {
        return Ok(Err(fault));
    }
    let rate = |which: usize| {
        let flops = chains.session.plan().steps[which].cost.flops as f64;
        runs.iter().map(|r| flops / r[which].ms / 1e6).fold(0.0, f64::max)
    };
    let gflops = rate(0).max(rate(1));
    drop(chains);

    let bytes = COPY_BYTES.min(device.caps().binding_bytes);
    let copy = Prepared::new(device, (bytes / 4) as usize, &[Copying]).await?;
    let plan = copy.session.plan();
    let (from, to) = (plan.values[plan.inputs[0].1].slot, plan.values[plan.fetches[0]].slot);
    let (mut by_kernel, mut by_command) = (f64::INFINITY, f64::INFINITY);
    for run in 0..=COPY_RUNS {
        let (kernel, command) = (copy.time().await?, copy.adapter()?.time_copy(from, to, bytes, now_ms).await?);
        if run > 0 {
            by_kernel = by_kernel.min(kernel.spans[0].ms);
            by_command = by_command.min(command.spans[0].ms);
        }
    }
    if by_kernel <= 0.0 || by_command <= 0.0 {
        return Ok(Err(format!("copies of {bytes} bytes took {by_kernel:.3} and {by_command:.3} ms by its clock")));
    }
    let (ms, copied_by) =
        if by_kernel < by_command { (by_kernel, "copy kernel") } else { (by_command, "copy command") };
    Ok(Ok(Roofs { gflops, gbps: 2.0 * bytes as f64 / ms / 1e6, copied_by }))
}

/// Operations of one input each, ready to be timed on zeros.
struct Prepared {
    session: Session,
}

impl Prepared {
    async fn new<O: Op + Clone + 'static>(device: &Device, elements: usize, ops: &[O]) -> Result<Self> {
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 1, 1, elements])?;
        let fetches = ops.iter().map(|op| graph.add(op.clone(), &[x])).collect::<Result<Vec<_>>>()?;
        // The chains must run at their full length, not bounded by the adapter's assumed speed.
        let caps = Caps { flops_per_second: f64::INFINITY, bytes_per_second: f64::INFINITY, ..device.caps() };
        let options = Options { caps, ..Options::default() };
        Ok(Self { session: device.compile_with(&graph, &fetches, Weights::default(), &options, None).await? })
    }

    fn adapter(&self) -> Result<&GpuSession> {
        self.session.on_adapter().ok_or_else(|| Error::Usage("the references have no roofs".into()))
    }

    async fn time(&self) -> Result<Run> {
        self.adapter()?.time(self.session.plan(), &[], now_ms).await
    }
}
