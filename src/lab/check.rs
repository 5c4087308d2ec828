//! Is the gradient the derivative of the formula, and does the shader compute the formula?
//!
//! The first question needs no adapter: [`gradient`] compares `reference_grad` with central differences of `reference`,
//! both in f64, for the loss ⟨r, y⟩ with a random r (a plain sum would hide an upstream gradient that is read in the wrong order).
//! For the second, [`steps`] runs a graph on the adapter twice, each time with different words in uninitialised memory and past
//! the end of every buffer and texture, the second time with folded grids. Both runs must give the same bits. Then it compares
//! each step with its reference on the adapter's own inputs; none may differ by more than f32 arithmetic explains.
//! [`op`] asks both questions for an operation's cases and each of its shaders. It also checks the check: the same bounds must
//! refuse references of slightly wrong formulas.

use super::cases::CaseGraph;
use super::judge::{self, Call, References};
use crate::error::{Error, Result, ShapeError};
use crate::exec::{Device, GpuSession, Guard, op_of, parts_of, value_of};
use crate::graph::{Graph, NodeId};
use crate::layout::Layout;
use crate::ops::{self, Caps, Case, EPS, Io, Kernel, Op, Promise, Tolerance, Values, reference, reference_grad};
use crate::plan::{Options, Plan, Precision, Step, counts};
use crate::rng::Rng;
use crate::shader::Variable;
use crate::shader::reflect;
use crate::tensor::{SCALAR, Shape, Tensor, len, position};
use crate::weights::Weights;
use pollster::block_on;
use std::collections::{BTreeMap, HashMap};

/// Largest relative error that [`gradient`] may find: |analytic − numeric| / (1 + |numeric|).
pub const GRADIENT_LIMIT: f64 = 1e-6;

/// Step of the central differences.
const STEP: f64 = 1e-5;

/// Largest number of elements of one input to differentiate; a larger input is sampled at random positions.
const MAX_ELEMENTS: usize = 512;

/// The worst disagreement between `reference_grad` and differences of `reference`.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientReport {
    pub worst: f64,
    /// The input with the worst element.
    pub input: &'static str,
    pub position: Shape,
    pub analytic: f64,
    pub numeric: f64,
}

/// Differentiates `case` numerically and compares. Updates have no gradient and report 0.
///
/// # Errors
/// The operation refuses the case's shapes.
pub fn gradient(case: &Case, seed: u64) -> std::result::Result<GradientReport, ShapeError> {
    let op = &*case.op;
    let mut rng = Rng::new(seed);
    let y_shape = op.shape(&case.x)?;
    let io = Io { x: &case.x, y: y_shape };
    let mut report = GradientReport { worst: 0.0, input: "", position: SCALAR, analytic: 0.0, numeric: 0.0 };
    if op.outputs().is_empty() {
        return Ok(report);
    }
    let mut x = case.values(&mut rng);
    let r: Vec<f64> = (0..len(&y_shape)).map(|_| rng.uniform(-1.0, 1.0)).collect();
    let loss = |x: &[Vec<f64>]| -> f64 { reference(op, &io, x).iter().zip(&r).map(|(y, r)| y * r).sum() };
    let y = reference(op, &io, &x);
    let dx = reference_grad(op, &io, &x, &y, &r);
    for k in 0..x.len() {
        let input = op.inputs()[k];
        if op.no_grad().iter().any(|(name, _)| *name == input) {
            continue;
        }
        let mut elements = rng.permutation(x[k].len());
        elements.truncate(MAX_ELEMENTS);
        for i in elements {
            let keep = x[k][i];
            x[k][i] = keep + STEP;
            let up = loss(&x);
            x[k][i] = keep - STEP;
            let down = loss(&x);
            x[k][i] = keep;
            let numeric = (up - down) / (2.0 * STEP);
            let error = (dx[k][i] - numeric).abs() / (1.0 + numeric.abs());
            // A NaN must not pass as small.
            if error.is_nan() || error > report.worst {
                report = GradientReport {
                    worst: if error.is_nan() { f64::INFINITY } else { error },
                    input,
                    position: position(&case.x[k], i),
                    analytic: dx[k][i],
                    numeric,
                };
            }
        }
    }
    Ok(report)
}

/// How far one output of one step is from its reference.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The step's path.
    pub name: String,
    /// Shader file and method.
    pub entry: String,
    /// An output, `dx`, …, or an input that is overwritten.
    pub output: String,
    /// Where the error is largest relative to its bound.
    pub position: Shape,
    pub expected: f64,
    pub got: f32,
    /// The bound there: the smaller of [`Op::tolerance`]'s and [`Op::accuracy`]'s, or the kernel's own.
    pub allowed: f64,
    /// |got − expected| there; infinite for a NaN.
    pub error: f64,
    /// Root mean square of all errors.
    pub rms_error: f64,
    /// Its bound.
    pub rms_allowed: f64,
    /// Largest |expected| of the output: the error's scale.
    pub scale: f64,
    /// Slightly wrong formulas that these bounds do not refuse, if they were tried.
    pub passed: Vec<String>,
}

impl StepReport {
    pub fn is_ok(&self) -> bool {
        self.error <= self.allowed && self.rms_error <= self.rms_allowed
    }
    /// Returns the error in units of the output's largest value.
    pub fn relative(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.scale.max(f64::MIN_POSITIVE) }
    }
    /// Returns what to do about a failure.
    fn remedy(&self) -> &'static str {
        if self.got.is_nan() {
            "the device gives NaN: an element that no thread writes, 0/0, or a root or logarithm of a negative number"
        } else if self.error <= 1e3 * self.allowed && self.rms_error <= 1e3 * self.rms_allowed {
            "the shader is close to the reference: sum in parts, or avoid what cancels; if f32 cannot do better, state tolerance"
        } else {
            "the shader computes another formula than the reference; compare them at this element"
        }
    }
    /// Returns the failure as an error.
    pub fn to_error(&self) -> Error {
        let entry = format!("{} {}", self.entry, self.output);
        if self.error <= self.allowed {
            return Error::graph(
                &self.name,
                format!(
                    "{entry}: every element is within its bound, but the root mean square of the errors is {:.3e}, allowed {:.3e}",
                    self.rms_error, self.rms_allowed
                ),
            );
        }
        Error::Check {
            node: self.name.clone(),
            entry,
            index: format!("{:?}", self.position),
            expected: self.expected,
            got: self.got,
            allowed: self.allowed,
        }
    }
}

/// Number of rows into which the second of two runs folds its grids.
const FOLDED_ROWS: u32 = 3;

/// Runs the graph on an adapter and compares every step with its reference on the same inputs. `kernel` is used wherever it
/// can be.
///
/// # Errors
/// Those of planning and running; `device` is the CPU; words past the end of a buffer or texture were overwritten; two runs gave
/// different bits. A step that differs is not an error here: see [`StepReport::is_ok`].
pub fn steps(
    device: &Device,
    graph: &Graph,
    fetches: &[NodeId],
    weights: Weights,
    inputs: &[(&str, &Tensor)],
    kernel: Option<Kernel>,
) -> Result<Vec<StepReport>> {
    block_on(steps_with(device, graph, fetches, &weights, inputs, kernel, &mut References::new(false)))
}

async fn steps_with(
    device: &Device,
    graph: &Graph,
    fetches: &[NodeId],
    weights: &Weights,
    inputs: &[(&str, &Tensor)],
    kernel: Option<Kernel>,
    references: &mut References,
) -> Result<Vec<StepReport>> {
    let mut first: Option<Vec<Tensor>> = None;
    for (guard, fold_rows) in [(Guard::First, 1), (Guard::Second, FOLDED_ROWS)] {
        let (caps, precision) = (device.caps(), precision(device));
        let options = Options { caps, precision, kernel, keep_all: true, fold_rows, choices: None };
        let session = device.compile_with(graph, fetches, weights.clone(), &options, Some(guard)).await?;
        let Some(gpu) = session.on_adapter() else {
            return Err(Error::Usage("the references cannot be checked against themselves; choose an adapter".into()));
        };
        let plan = session.plan();
        let before = session.state_async().await?;
        session.run_async(inputs).await?;
        let broken = gpu.broken_guards(plan).await?;
        if let Some(&slot) = broken.first() {
            let name = plan.values.iter().find(|v| v.slot == slot).map_or("a slot", |v| &v.name);
            return Err(Error::graph(name, "a shader wrote past the end of this tensor"));
        }
        let got = read_all(gpu, plan).await?;
        let Some(first) = &first else {
            first = Some(got);
            continue;
        };
        for (value, (a, b)) in plan.values.iter().zip(first.iter().zip(&got)) {
            let differs = |(a, b): (&[u8], &[u8])| a != b;
            if let Some(i) = a.bytes().chunks(4).zip(b.bytes().chunks(4)).position(differs) {
                return Err(Error::graph(
                    &value.name,
                    format!(
                        "two runs on the same inputs gave different bits at {:?}, {:e} and {:e}: a shader does not write this \
                         element, reads uninitialised memory or past an end, depends on the shape of its grid, or has a data race",
                        position(&a.shape(), i),
                        a.to_f64()[i],
                        b.to_f64()[i]
                    ),
                ));
            }
        }
        let mut ran = Ran { graph: session.graph(), plan, caps: device.caps(), got: &got, values: HashMap::new() };
        return ran.compare_all(&before, references);
    }
    Ok(Vec::new())
}

/// A plan that has run: the values it left in memory, and those its steps read, by node.
struct Ran<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    caps: Caps,
    got: &'a [Tensor],
    values: HashMap<usize, Vec<f64>>,
}

impl Ran<'_> {
    /// Compares every step's outputs with their references on the adapter's own inputs.
    fn compare_all(&mut self, before: &Weights, references: &mut References) -> Result<Vec<StepReport>> {
        // Updates overwrite parameters, so use the parameters from before the run as inputs.
        for (value, tensor) in self.plan.values.iter().zip(self.got) {
            if let (Some(node), Layout::Rows | Layout::Quads) = (value.node, value.layout) {
                self.values.insert(node, before.get(&value.name).unwrap_or(tensor).to_f64());
            }
        }
        let mut reports = Vec::new();
        for (index, step) in self.plan.steps.iter().enumerate().filter(|(_, s)| s.is_first_pass && !s.is_repack()) {
            self.compare(index, step, references, &mut reports)?;
            // Steps after an update read what it wrote. A gradient is taken at the values that its operation overwrote.
            let op = op_of(self.graph, step)?;
            if !op.outputs().is_empty() {
                continue;
            }
            for b in step.bindings.iter().filter(|b| op.updates().contains(&b.variable.as_str())) {
                if let Some(node) = self.plan.values[b.value].node {
                    self.values.extend(parts_of(self.graph, node, self.got[b.value].to_f64()));
                }
            }
        }
        Ok(reports)
    }

    fn compare(
        &self,
        index: usize,
        step: &Step,
        references: &mut References,
        reports: &mut Vec<StepReport>,
    ) -> Result<()> {
        let op = op_of(self.graph, step)?;
        let node = &self.graph.nodes()[step.node];
        let inputs = match node.computed_by() {
            Some((_, inputs)) if step.is_forward() => inputs,
            _ => &node.inputs,
        };
        let shapes: Vec<Shape> = inputs.iter().map(|&i| self.graph.nodes()[i].shape).collect();
        let io = Io { x: &shapes, y: node.shape };
        // A value that no step needed was not planned; nothing that depends on it is compared.
        let get = |i: usize| {
            let missing = || vec![f64::NAN; len(&self.graph.nodes()[i].shape)];
            let found = value_of(self.graph, i, |k| self.values.get(&k).cloned().ok_or_else(|| Error::plan("unused")));
            found.unwrap_or_else(|_| missing())
        };
        let bindings = || self.plan.passes(index).iter().flat_map(|s| &s.bindings);
        let dy: Vec<f64> = bindings()
            .find(|b| b.variable == "dy")
            .and_then(|b| self.plan.values[b.value].node)
            .map_or_else(Vec::new, get);
        let mut call = Call { x: inputs.iter().map(|&i| get(i)).collect(), y: Vec::new(), dy: Vec::new() };
        if !dy.is_empty() {
            // The device's own y if the shader reads it; otherwise all shaders of a case share one reference.
            let reads_y = bindings().any(|b| !b.written && crate::ops::scratch_of(&b.variable) == "y");
            call.y = if reads_y { get(step.node) } else { references.of(op, &io, &call).right["y"].clone() };
            call.dy = dy;
        }
        let expected = references.of(op, &io, &call);
        let y = if call.dy.is_empty() { expected.right.get("y").map_or(&[][..], |y| y) } else { &call.y };

        let mut outputs: BTreeMap<&str, usize> = BTreeMap::new();
        for b in bindings().filter(|b| b.written && !crate::ops::is_scratch(&b.variable)) {
            outputs.insert(&b.variable, b.value);
        }
        let promise = promise(op, step, &io, &self.caps);
        for (output, value) in outputs {
            let at = Values { x: &call.x, y, dy: &call.dy };
            let key = if step.is_forward() { output } else { output.strip_prefix('d').unwrap_or(output) };
            let (Some(right), Some(terms)) = (expected.right.get(key), expected.terms.get(key)) else { continue };
            let own = promise.tolerance.and_then(|tolerance| tolerance(op, output, &io, &at));
            let worst: Vec<f64> = match own.unwrap_or_else(|| op.tolerance(output, &io, &at)) {
                Tolerance::Terms(k) => terms.iter().map(|s| k as f64 * EPS * s.abs()).collect(),
                Tolerance::Each(bounds) => bounds,
            };
            let shape = self.plan.values[value].shape;
            let mut data = self.got[value].to_f64();
            if self.plan.values[value].is_half {
                judge::excuse_rounding(right, &mut data);
            }
            let data = &data[..];
            if right.len() != data.len() || worst.len() != data.len() {
                return Err(Error::graph(
                    &step.name,
                    format!("{output}: {} values, reference {}, bounds {}", data.len(), right.len(), worst.len()),
                ));
            }
            let accuracy = promise.accuracy.unwrap_or_else(|| op.accuracy(output));
            let verdict = judge::judge(right, data, &worst, accuracy);
            reports.push(StepReport {
                name: step.name.clone(),
                entry: format!("{}.{}", step.stem(), step.method),
                output: output.to_owned(),
                position: position(&shape, verdict.index),
                expected: right[verdict.index],
                got: data[verdict.index] as f32,
                allowed: verdict.allowed,
                error: verdict.error,
                rms_error: verdict.rms_error,
                rms_allowed: verdict.rms_allowed,
                scale: right.iter().fold(0.0, |m, v| v.abs().max(m)),
                passed: judge::let_pass(&expected, key, data, &worst, accuracy),
            });
        }
        Ok(())
    }
}

/// Returns how a check on `device` stores values: as its plans do, but also the ends of a graph of one operation.
fn precision(device: &Device) -> Precision {
    if device.precision() == Precision::F32 { Precision::F32 } else { Precision::AllF16 }
}

/// Returns the accuracy that the step's kernel promises.
fn promise(op: &dyn Op, step: &Step, io: &Io, caps: &Caps) -> Promise {
    let kernel = op.kernels().iter().find(|kernel| kernel.stem() == step.stem());
    let work = kernel.and_then(|kernel| kernel.serve(&ops::Call::new(op, &step.method, &[&step.entry], *io), caps));
    work.map_or_else(Promise::default, |work| work.promise)
}

async fn read_all(gpu: &GpuSession, plan: &Plan) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::with_capacity(plan.values.len());
    for value in &plan.values {
        tensors.push(match (value.layout, value.node) {
            (Layout::Rows, _) => gpu.read(&[value]).await?.remove(0),
            (Layout::Quads, Some(_)) => {
                from_quads(&value.name, value.shape, &gpu.read_quads(value.slot, value.shape).await?)?
            }
            // Copies and scratch are judged by what the last pass makes of them.
            _ => Tensor::zeros([1; 4]),
        });
    }
    Ok(tensors)
}

/// Converts channel quads to a tensor.
///
/// # Errors
/// A channel past the last is not 0; kernels rely on zeros there.
fn from_quads(name: &str, shape: Shape, texels: &[[f32; 4]]) -> Result<Tensor> {
    let [n, c, h, w] = shape.nchw();
    let (quads, plane) = (c.div_ceil(4), h * w);
    let mut data = vec![0.0; len(&shape)];
    for (k, texel) in texels.iter().enumerate() {
        let (map, pixel) = (k / plane, k % plane);
        for (i, &value) in texel.iter().enumerate() {
            let channel = map % quads * 4 + i;
            if channel < c {
                data[(map / quads * c + channel) * plane + pixel] = value;
            } else if value != 0.0 {
                return Err(Error::graph(
                    name,
                    format!("channel {channel} past the {c} of {shape:?} is {value}, not 0"),
                ));
            }
        }
    }
    debug_assert_eq!(texels.len(), n * quads * plane);
    Tensor::new(shape, data)
}

/// The result of [`op`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OpReport {
    /// Number of (case, shader) pairs, gradient checks of small cases, and static checks of shaders.
    pub cases: usize,
    /// Each failure with the command that reproduces it.
    pub failures: Vec<String>,
    /// Worst |analytic − numeric| / (1 + |numeric|).
    pub max_grad_error: f64,
    /// Worst |device − reference| over the output's largest value; 0 without an adapter.
    pub max_gpu_error: f64,
    /// Worst ratio of an error to its bound, of an element or of the root mean square.
    pub max_of_allowed: f64,
}

impl OpReport {
    /// Returns the number of failures.
    pub fn failed(&self) -> usize {
        self.failures.len()
    }
    fn fail(&mut self, message: String) {
        self.failures.push(message);
    }
    /// Checks each of `kernels` on a case on an adapter, and returns those that serve it.
    async fn add(
        &mut self,
        device: &Device,
        op: &dyn Op,
        case: &Case,
        index: usize,
        kernels: &[Kernel],
    ) -> Vec<Kernel> {
        let mut served = Vec::new();
        let (title, rerun) = (title(case, index), rerun(op, Some(index)));
        let mut references = References::new(true);
        for &kernel in case.op.kernels().iter().filter(|kernel| kernels.contains(kernel)) {
            match case_on_adapter(device, case, kernel, &mut references).await {
                Ok(None) => continue,
                Ok(Some(steps)) => steps.iter().for_each(|step| self.add_step(step, &title, &rerun)),
                Err(e) => self.fail(format!("{title} ({}): {e}; {rerun}", kernel.stem())),
            }
            self.cases += 1;
            served.push(kernel);
        }
        served
    }
    fn add_step(&mut self, step: &StepReport, title: &str, rerun: &str) {
        self.max_gpu_error = self.max_gpu_error.max(step.relative());
        let of_allowed = (step.error / step.allowed).max(step.rms_error / step.rms_allowed);
        self.max_of_allowed = self.max_of_allowed.max(of_allowed);
        for what in &step.passed {
            self.fail(format!(
                "{title}: the bounds of {} {} would accept a formula that {what}; make tolerance tighter, or give the case \
                 larger inputs; {rerun}",
                step.entry, step.output
            ));
        }
        if !step.is_ok() {
            self.fail(format!("{title}: {}; {}; {rerun}", step.to_error(), step.remedy()));
        }
    }
}

/// Calls [`op_by`] with all kernels of the operation.
pub fn op(op: &dyn Op, cases: &[Case], device: Option<&Device>) -> OpReport {
    op_by(op, cases, device, &ops::kernels_of(cases))
}

/// Checks everything about an operation that can be checked: derivatives against differences; shaders against the
/// contract, WebGPU's default limits and naga's translators; and, if the device is not the CPU, each of `kernels` on every case.
pub fn op_by(op: &dyn Op, cases: &[Case], device: Option<&Device>, kernels: &[Kernel]) -> OpReport {
    let mut report = OpReport::default();
    for kernel in kernels {
        report.cases += 1;
        if let Err(e) = shader(op, cases, kernel.stem()) {
            report.fail(format!("{e}; {}", rerun(op, None)));
        }
    }
    for (index, case) in cases.iter().enumerate().filter(|(_, c)| !c.real && !c.is_rough) {
        let rerun = rerun(op, Some(index));
        report.cases += 1;
        match gradient(case, 7) {
            Ok(g) => {
                report.max_grad_error = report.max_grad_error.max(g.worst);
                if g.worst > GRADIENT_LIMIT {
                    report.fail(format!(
                        "{}: reference_grad d{} at {:?} is {:e}, differences of reference give {:e}; one of the two is \
                         wrong, or an input lies at a kink (keep it away with Case::gap); {rerun}",
                        title(case, index),
                        g.input,
                        g.position,
                        g.analytic,
                        g.numeric
                    ));
                }
            }
            Err(e) => report.fail(format!("{}: {e}; {rerun}", title(case, index))),
        }
    }
    if let Some(device) = device.filter(|d| !d.is_cpu()) {
        for (index, case) in cases.iter().enumerate() {
            block_on(report.add(device, op, case, index, kernels));
        }
    }
    report
}

/// Checks each of `kernels` on an adapter, on the first `most` cases that it serves: the part of [`op_by`] that no other machine can do.
pub async fn on_adapter_async(
    op: &dyn Op,
    cases: &[Case],
    device: &Device,
    kernels: &[Kernel],
    most: usize,
) -> OpReport {
    let mut report = OpReport::default();
    let mut served: Vec<Kernel> = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let is_open = |kernel: &&Kernel| served.iter().filter(|known| known == kernel).count() < most;
        let open: Vec<Kernel> = kernels.iter().filter(is_open).copied().collect();
        served.extend(report.add(device, op, case, index, &open).await);
    }
    report
}

/// Returns how to check again, or to check a case alone.
fn rerun(op: &dyn Op, case: Option<usize>) -> String {
    match case {
        _ if ops::registry().iter().any(|registered| registered.name == op.name()) => {
            format!("rerun: lineament check ops {}", op.name())
        }
        Some(case) => format!("rerun it alone: check::op(&op, &cases[{case}..={case}], Some(&device))"),
        None => "rerun: check::op(&op, &cases, None)".to_owned(),
    }
}

/// Returns what identifies a case in messages: the operation, its attributes if it has any, and the shapes of its inputs.
fn title(case: &Case, index: usize) -> String {
    let (name, attributes) = (case.op.name(), format!("{:?}", case.op));
    let attributes = match attributes.split_once(['{', '(']) {
        Some((_, rest)) => format!(" ({})", rest.trim_end_matches(['}', ')', ' ']).trim()),
        None => String::new(),
    };
    let shapes: Vec<String> = case.op.inputs().iter().zip(&case.x).map(|(x, shape)| format!("{x} {shape:?}")).collect();
    format!("{name}{attributes}, case {index} with {}", shapes.join(", "))
}

/// Runs one case with one kernel. Returns `None` if the kernel does not serve the case.
pub(super) async fn case_on_adapter(
    device: &Device,
    case: &Case,
    kernel: Kernel,
    references: &mut References,
) -> Result<Option<Vec<StepReport>>> {
    let stem = kernel.stem();
    let mut one = CaseGraph::new(case)?;
    if device.precision() != Precision::F32 {
        match one.without_gradients(case) {
            Some(forward) => one = forward,
            None => return Ok(None),
        }
    }
    // A kernel that serves neither forward nor backward here would only test the plain shader again.
    let options = Options { caps: device.caps(), kernel: Some(kernel), keep_all: true, ..Options::default() };
    let plan = Plan::new(&one.graph, &one.fetches, &options)?;
    if !plan.steps.iter().any(|s| s.stem() == stem) {
        return Ok(None);
    }
    let all =
        steps_with(device, &one.graph, &one.fetches, &one.weights, &one.feeds(), Some(kernel), references).await?;
    Ok(Some(all.into_iter().filter(|s| s.entry.split('.').next() == Some(stem)).collect()))
}

/// Checks a shader without an adapter: it must keep the contract and WebGPU's default limits on every case that it serves, have
/// every gradient or a reason, and translate to SPIR-V, MSL, HLSL, GLSL and WGSL.
///
/// # Errors
/// The first violation, with file and entry.
pub fn shader(op: &dyn Op, cases: &[Case], stem: &str) -> Result<()> {
    let fail =
        |entry: &str, problem: String| Err(Error::Shader { file: stem.to_owned(), entry: entry.to_owned(), problem });
    let mut serves = false;
    let mut translated: Vec<String> = Vec::new();
    for case in cases {
        let Some(position) = case.op.kernels().iter().position(|kernel| kernel.stem() == stem) else { continue };
        let kernel = case.op.kernels()[position];
        let shader = reflect(&kernel.source)?;
        shader.check_contract(&*case.op)?;
        let y = case.op.shape(&case.x).map_err(|source| Error::Shape { node: op.name().into(), source })?;
        let io = Io { x: &case.x, y };
        if position == 0 && !case.op.outputs().is_empty() {
            for input in case.op.inputs() {
                let reason = case.op.no_grad().iter().any(|(name, _)| name == input);
                if reason == shader.gradient_method(input).is_some() {
                    let problem = if reason {
                        "has a gradient and a reason for having none"
                    } else {
                        "has no gradient and no reason"
                    };
                    return fail("backward", format!("input {input} {problem}"));
                }
            }
        }
        for entry in &shader.entries {
            let entries = [entry.name.as_str()];
            let call = ops::Call::new(&*case.op, entry.method(), &entries, io);
            let Some(launch) = kernel.serve(&call, &Caps::default()).and_then(|work| work.passes.into_iter().next())
            else {
                continue;
            };
            serves = true;
            let used = |v: &&Variable| entry.reads.contains(&v.name) || entry.writes.contains(&v.name);
            let [buffers, textures] = counts(shader.variables.iter().filter(used).map(|v| v.layout));
            if buffers > 8 {
                return fail(&entry.name, format!("uses {buffers} storage buffers, WebGPU guarantees 8"));
            }
            // Other kernels may use more, because the planner skips them on adapters with fewer.
            if textures > 4 && position == 0 {
                return fail(&entry.name, format!("uses {textures} storage textures, WebGPU guarantees 4"));
            }
            let workgroup_bytes = shader.workgroup_bytes(&entry.name, &launch.overrides)?;
            if workgroup_bytes > 16_384 {
                return fail(
                    &entry.name,
                    format!("uses {workgroup_bytes} bytes of workgroup memory, WebGPU guarantees 16384"),
                );
            }
            let size = shader.workgroup_size(&entry.name, &launch.overrides)?;
            if size.iter().product::<u32>() > 256 || size[2] > 64 {
                return fail(&entry.name, format!("workgroups of {size:?} threads, WebGPU guarantees 256"));
            }
            shader.pack_params(&entry.name, &launch)?;
            if !translated.contains(&entry.name) {
                shader.translate(&entry.name, &launch.overrides)?;
                translated.push(entry.name.clone());
            }
        }
    }
    if !serves {
        return fail("", "serves none of the operation's cases".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Select;
    use crate::graph::{Init, grad};
    use crate::ops::Fill;
    use crate::ops::avg_pool2d::AvgPool2d;
    use crate::ops::conv_transpose2d::ConvTranspose2d;
    use crate::ops::conv2d::Conv2d;
    use crate::ops::linear::Linear;
    use crate::ops::loss::Reduction;
    use crate::ops::matmul::Matmul;
    use crate::ops::max_pool2d::MaxPool2d;
    use crate::ops::pairwise_distance::PairwiseDistance;
    use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
    use crate::ops::top_k::TopK;
    use std::collections::BTreeSet;

    fn adapter() -> Option<Device> {
        match Device::open(&Select::Default) {
            Ok(device) => Some(device),
            Err(e) if std::env::var("LINEAMENT_REQUIRE_GPU").is_ok_and(|v| v == "1") => panic!("{e}"),
            Err(e) => {
                eprintln!("SKIPPED: {e}");
                None
            }
        }
    }

    /// Lavapipe leaves loops after 65,535 iterations of a thread, and continues with what it has.
    #[test]
    fn longer_loops_than_the_adapter_runs_are_refused() {
        let Some(device) = adapter() else { return };
        // The largest pixel is the last one.
        fn ascending(_: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
            (0..len(&x[k])).map(|i| i as f64).collect()
        }
        // Products of the sides are 65,536 or more, or are with what the ends of inner loops take.
        let long = [
            Case::new(TopK { k: 22, axis: 1, largest: false }, &[[9, 6000]]),
            Case::new(AvgPool2d::new(256, 256), &[[1, 2, 256, 257]]),
            Case::new(MaxPool2d::new(256, 256), &[[1, 2, 256, 257]]).fill(0, Fill::With(ascending)),
            Case::new(Linear, &[[65_600, 5, 1, 1], [3, 5, 1, 1], [1, 3, 1, 1]]),
            Case::new(Linear, &[[2, 3, 1, 1], [65_600, 3, 1, 1], [1, 65_600, 1, 1]]),
            Case::new(Matmul { transpose_a: false, transpose_b: false }, &[[5, 65_600], [65_600, 6]]),
            Case::new(Matmul { transpose_a: false, transpose_b: false }, &[[65_600, 3], [3, 2]]),
            Case::new(PairwiseDistance, &[[2, 65_600, 1, 1], [3, 65_600, 1, 1]]),
            Case::new(PairwiseDistance, &[[2, 3, 1, 1], [65_600, 3, 1, 1]]),
            Case::new(SoftmaxCrossEntropy { reduction: Reduction::Mean }, &[[2, 22_000, 1, 1], [2, 22_000, 1, 1]]),
            Case::new(Conv2d::same(1), &[[1, 14_000, 2, 2], [2, 14_000, 1, 1], [1, 2, 1, 1]]),
            Case::new(Conv2d { stride: [2, 2], ..Conv2d::same(3) }, &[[1, 2, 3, 3], [9000, 2, 3, 3], [1, 9000, 1, 1]]),
            Case::new(ConvTranspose2d::default(), &[[1, 14_000, 2, 2], [14_000, 2, 1, 1], [1, 2, 1, 1]]),
        ];
        // And the longest that plain kernels take, of one loop and of two.
        let longest = [
            ("forward", Case::new(PairwiseDistance, &[[2, 65_533, 1, 1], [3, 65_533, 1, 1]])),
            ("backward_b", Case::new(Linear, &[[65_528, 2, 1, 1], [3, 2, 1, 1], [1, 3, 1, 1]])),
        ];
        for case in long.iter().chain(longest.iter().map(|(_, case)| case)) {
            for &kernel in case.op.kernels() {
                let name = format!("{} by {}", case.op.name(), kernel.stem());
                match block_on(case_on_adapter(&device, case, kernel, &mut References::new(false))) {
                    Ok(steps) => {
                        for step in steps.unwrap_or_default() {
                            assert!(step.error <= 1e-4 * step.scale, "{name}: {step:?}");
                        }
                    }
                    Err(e) => assert!(e.to_string().contains("leaves loops as long as theirs"), "{name}: {e}"),
                }
            }
        }
        for (method, Case { op, x, .. }) in &longest {
            let io = Io { x, y: op.shape(x).unwrap() };
            let entries = [*method];
            let call = ops::Call::new(&**op, method, &entries, io);
            assert!(op.kernels()[0].serve(&call, &Caps::software()).is_some(), "{method} of {}", op.name());
        }
    }

    #[test]
    fn a_network_in_f16_is_off_by_what_f16_rounds() {
        let Some(device) = adapter().filter(|device| device.caps().has_f16) else {
            return eprintln!("SKIPPED: the adapter has no f16");
        };
        let mut rng = Rng::new(5);
        let mut random = |shape: Shape| {
            let values = (0..len(&shape)).map(|_| rng.uniform(-0.2, 0.2) as f32).collect();
            Tensor::new(shape, values).unwrap()
        };
        let mut g = Graph::new();
        let image = random([1, 3, 18, 20].into());
        let x = g.input("x", image.shape()).unwrap();
        let mut weights = BTreeMap::new();
        let mut layer = |g: &mut Graph, name: &str, shape: [usize; 4], bias: usize| {
            weights.insert(format!("{name}.w"), random(shape.into()));
            weights.insert(format!("{name}.b"), random([1, bias, 1, 1].into()));
            [("w", shape), ("b", [1, bias, 1, 1])]
                .map(|(part, shape)| g.param(&format!("{name}.{part}"), shape, Init::Constant(0.0)).unwrap())
        };
        let [w, b] = layer(&mut g, "first", [32, 3, 3, 3], 32);
        let y = g.conv2d(x, w, b, Conv2d::same(3)).unwrap();
        let y = g.relu(y).unwrap();
        let [w, b] = layer(&mut g, "second", [32, 32, 3, 3], 32);
        let y = g.conv2d(y, w, b, Conv2d { stride: [2, 2], ..Conv2d::same(3) }).unwrap();
        let y = g.pointwise(y, "silu").unwrap();
        // An odd number of elements, in which the last word of f16 is half used.
        let y = g.reshape(y, [1, 32 * 9 * 10, 1, 1]).unwrap();
        let [w, b] = layer(&mut g, "third", [3, 32 * 9 * 10, 1, 1], 3);
        let y = g.linear(y, w, b).unwrap();
        let wide = Weights::from_tensors(weights.clone());
        let caps = Caps { storage_textures: device.caps().storage_textures, has_f16: true, ..Caps::hardware() };
        let run = |precision: Precision, weights: &Weights| {
            let options = Options { caps, precision, ..Options::default() };
            let session = block_on(device.compile_with(&g, &[y], weights.clone(), &options, None))?;
            Ok::<_, Error>((session.run(&[("x", &image)])?.remove(0), session.weights()?, session.plan().peak_bytes()))
        };
        let [full, half] = [Precision::F32, Precision::F16].map(|precision| run(precision, &wide).unwrap());
        let most = full.0.data().iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let worst = full.0.data().iter().zip(half.0.data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst > 1e-6 * most && worst < 3e-3 * most, "{worst} of {most}");
        assert!((half.2 as f64) < 0.6 * full.2 as f64, "{} of {} bytes", half.2, full.2);
        for (name, tensor) in wide.tensors() {
            let rounded: Vec<f32> = tensor.data().iter().map(|&v| half::f16::from_f32(v).to_f32()).collect();
            assert_eq!(half.1.get(name).unwrap().data(), rounded, "{name}");
        }
        // What f16 cannot hold is refused before it becomes infinite.
        weights.insert("third.b".into(), Tensor::filled([1, 3, 1, 1], 7e4));
        let error = run(Precision::F16, &Weights::from_tensors(weights)).unwrap_err().to_string();
        assert!(error.contains("third.b") && error.contains("7e4"), "{error}");
    }

    /// Other tests run whole graphs as the adapter at hand is planned for; without a GPU, that is never the plan for one.
    #[test]
    fn a_plan_for_gpus_gives_what_the_references_give() {
        let Some(device) = adapter() else { return };
        let mut rng = Rng::new(3);
        let mut random = |shape: Shape| {
            let values = (0..len(&shape)).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
            Tensor::new(shape, values).unwrap()
        };
        let mut g = Graph::new();
        // Enough channels, also of a group, for the kernels of blocks.
        const C: usize = 32;
        let image = random([2, C, 12, 16].into());
        let mut y = g.input("x", image.shape()).unwrap();
        // Opposite sides are not padded alike, so that none can be taken for another, and less than filters reach, which fusion needs.
        let layers = [
            Conv2d { padding: [2, 0, 1, 1], ..Conv2d::default() },
            Conv2d { dilation: [2, 1], padding: [1, 0, 3, 2], ..Conv2d::default() },
            Conv2d { groups: 2, padding: [0, 1, 2, 2], ..Conv2d::default() },
            Conv2d { groups: C, ..Conv2d::same(5) },
            Conv2d { stride: [2, 1], padding: [2, 1, 0, 2], ..Conv2d::default() },
            Conv2d { stride: [2, 2], groups: C, ..Conv2d::same(3) },
        ];
        let up = ConvTranspose2d { stride: [2, 2], padding: [1, 2], groups: 2, ..ConvTranspose2d::default() };
        let (mut wanted, mut weights) = (Vec::new(), BTreeMap::new());
        let mut parameter = |g: &mut Graph, name: String, shape: [usize; 4]| {
            let id = g.param(&name, shape, Init::Constant(0.0)).unwrap();
            weights.insert(name, random(shape.into()));
            wanted.push(id);
            id
        };
        for (k, op) in layers.into_iter().enumerate() {
            let side = if op.padding == [2; 4] { 5 } else { 3 };
            let w = parameter(&mut g, format!("w{k}"), [C, C / op.groups, side, side]);
            let b = parameter(&mut g, format!("b{k}"), [1, C, 1, 1]);
            y = g.conv2d(y, w, b, op).unwrap();
            y = if k % 2 == 0 { g.relu(y).unwrap() } else { g.pointwise(y, "silu").unwrap() };
        }
        let (w, b) = (parameter(&mut g, "up.w".into(), [C, 3, 4, 4]), parameter(&mut g, "up.b".into(), [1, 6, 1, 1]));
        y = g.conv_transpose2d(y, w, b, up).unwrap();
        let apart = ConvTranspose2d { dilation: [2, 2], padding: [2, 1], ..ConvTranspose2d::default() };
        let (w, b) =
            (parameter(&mut g, "apart.w".into(), [6, 5, 3, 3]), parameter(&mut g, "apart.b".into(), [1, 5, 1, 1]));
        y = g.conv_transpose2d(y, w, b, apart).unwrap();
        let target = g.constant("target", random(g.shape(y).unwrap())).unwrap();
        let loss = g.mse(y, target, Reduction::Mean).unwrap();
        let mut fetches = vec![y, loss];
        fetches.extend(grad::backward(&mut g, loss, &wanted).unwrap());
        let weights = Weights::from_tensors(weights);
        let references = Device::open(&Select::Cpu).unwrap().compile(&g, &fetches, weights.clone()).unwrap();
        let inputs = [("x", &image)];
        let right = references.run(&inputs).unwrap();
        // As many registers as most GPUs have, and as few as Intel's.
        for registers in [256, 128] {
            let caps = Caps { storage_textures: device.caps().storage_textures, registers, ..Caps::hardware() };
            let options = Options { caps, ..Options::default() };
            let session = block_on(device.compile_with(&g, &fetches, weights.clone(), &options, None)).unwrap();
            let steps = &session.plan().steps;
            let kernels: Vec<&str> = steps.iter().map(Step::stem).collect();
            for stem in ["conv2d/conv3x3_tile", "conv2d/gemm", "conv2d/depthwise_fours", "loss/fours"] {
                assert!(kernels.iter().any(|k| k.starts_with(stem)), "{stem}: {kernels:?}");
            }
            let is_fused = |step: &&Step| step.name.ends_with(".dx") && step.stem() != "conv2d/plain";
            let gradients: BTreeSet<&str> = steps.iter().filter(is_fused).map(|step| step.name.as_str()).collect();
            assert!(gradients.len() >= 5, "{gradients:?}");
            let mut blocks = steps.iter().flat_map(|s| &s.overrides).filter(|o| ["QUADS", "OUT_EACH"].contains(&o.0));
            let small = |(name, size): &(&str, f64)| *size == if *name == "QUADS" { 1.0 } else { 4.0 };
            assert!(registers == 256 || blocks.all(small), "{steps:?}");
            for (ours, right) in session.run(&inputs).unwrap().iter().zip(&right) {
                let most = right.data().iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let worst = ours.data().iter().zip(right.data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(most > 0.0 && worst <= 1e-5 * most, "{worst} of {most} in {:?}", right.shape());
            }
        }
    }
}
