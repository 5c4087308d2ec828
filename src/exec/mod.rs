//! Running plans: on an adapter (`gpu`), with the references (`cpu`), with both compared (`check`), timed (`profile`)
//! beside what the adapter can do at most (`roof`).

pub mod case;
pub mod check;
mod cpu;
pub mod faults;
mod gpu;
mod judge;
pub mod profile;
mod quads;
pub mod roof;

pub use gpu::AdapterInfo;

use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::plan::{Limits, Options, Plan};
use crate::shader::Layout;
use crate::tensor::Tensor;
use crate::tune::{Choices, Choose};
use crate::weights::Weights;
use cpu::CpuSession;
use gpu::{Gpu, GpuSession, Guard};
use profile::{Clock, Profile, Run, Span};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Which device to open. A demand, not a hint: nothing falls back in silence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Select {
    /// The best adapter: discrete, integrated, virtual, other, software, in this order.
    #[default]
    Default,
    /// By position in [`adapters`].
    Index(usize),
    /// The first whose name contains this, in any case.
    Name(String),
    /// The f64 references on the processor.
    Cpu,
}

impl std::str::FromStr for Select {
    type Err = std::convert::Infallible;
    /// `cpu`, a number, or a part of an adapter's name.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(index) => Self::Index(index),
            Err(_) if text.eq_ignore_ascii_case("cpu") => Self::Cpu,
            Err(_) => Self::Name(text.to_owned()),
        })
    }
}

/// All adapters, in the driver's order.
pub fn adapters() -> Vec<AdapterInfo> {
    pollster::block_on(gpu::adapters()).into_iter().map(|a| a.info).collect()
}

/// The adapter that [`Select::Default`] opens, and why.
pub fn default_adapter(adapters: &[AdapterInfo]) -> Option<(usize, &'static str)> {
    let ranks = [
        ("DiscreteGpu", "the first discrete GPU"),
        ("IntegratedGpu", "no discrete GPU, so the first integrated one"),
        ("VirtualGpu", "no GPU of its own, so the first virtual one"),
        ("Other", "the first adapter of unknown kind"),
        ("Cpu", "no GPU, so the first software adapter"),
    ];
    ranks.iter().find_map(|(kind, why)| Some((adapters.iter().position(|a| a.kind == *kind)?, *why)))
}

/// An opened device; clones share it.
#[derive(Debug, Clone)]
pub struct Device {
    backend: Backend,
    chooser: Option<Arc<dyn Choose>>,
}

#[derive(Debug, Clone)]
enum Backend {
    Gpu(Arc<Gpu>),
    Cpu,
}

impl Device {
    /// Opens a device and waits for it.
    ///
    /// # Errors
    /// No such adapter; the message lists what there is and what to install.
    pub fn open(select: &Select) -> Result<Self> {
        pollster::block_on(Self::open_async(select))
    }

    /// [`Device::open`] without waiting.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub async fn open_async(select: &Select) -> Result<Self> {
        if *select == Select::Cpu {
            return Ok(Self { backend: Backend::Cpu, chooser: None });
        }
        if let Select::Name(name) = select
            && name.trim().is_empty()
        {
            // Every adapter's name contains it.
            return Err(Error::device(
                format!("{name:?} is no part of an adapter's name"),
                "give one that `lineament devices` lists, its index, or cpu",
            ));
        }
        let mut handles = gpu::adapters().await;
        let adapters: Vec<AdapterInfo> = handles.iter().map(|a| a.info.clone()).collect();
        let names = || adapters.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
        if adapters.is_empty() {
            return Err(Error::device(
                "no adapter was found",
                "use --device cpu, or install a Vulkan driver (on Debian: apt-get install mesa-vulkan-drivers libvulkan1)",
            ));
        }
        let index = match select {
            Select::Index(index) if *index < adapters.len() => *index,
            Select::Index(index) => {
                return Err(Error::device(
                    format!("there is no adapter {index}; there are: {}", names()),
                    "choose one of them by name or index, or --device cpu",
                ));
            }
            Select::Name(name) => {
                let wanted = name.to_lowercase();
                adapters.iter().position(|a| a.name.to_lowercase().contains(&wanted)).ok_or_else(|| {
                    Error::device(
                        format!("no adapter's name contains {name:?}; there are: {}", names()),
                        "choose one of them by name or index, or --device cpu",
                    )
                })?
            }
            _ => default_adapter(&adapters).map_or(0, |(index, _)| index),
        };
        let gpu = Gpu::open(handles.swap_remove(index)).await?;
        Ok(Self { backend: Backend::Gpu(Arc::new(gpu)), chooser: None })
    }

    /// This device, whose plans follow `choices`. Without it every plan follows [`Op::speed`](crate::ops::Op::speed), the
    /// same on every run.
    pub fn with_choices(self, choices: Choices) -> Self {
        self.with_chooser(Arc::new(choices))
    }

    /// This device, which asks `chooser` before it plans.
    pub fn with_chooser(self, chooser: Arc<dyn Choose>) -> Self {
        Self { chooser: Some(chooser), ..self }
    }

    /// This device without choices.
    pub(crate) fn without_choices(&self) -> Self {
        Self { backend: self.backend.clone(), chooser: None }
    }

    fn choices(&self, graph: &Graph, fetches: &[NodeId]) -> Result<Option<Arc<Choices>>> {
        self.chooser.as_ref().map(|chooser| chooser.choices(self, graph, fetches)).transpose()
    }

    /// What the adapter says of itself; none for the references.
    pub fn info(&self) -> Option<&AdapterInfo> {
        match &self.backend {
            Backend::Gpu(gpu) => Some(&gpu.info),
            Backend::Cpu => None,
        }
    }

    /// True for the references on the processor.
    pub fn is_cpu(&self) -> bool {
        matches!(self.backend, Backend::Cpu)
    }

    /// Adapter, backend and driver, on one line.
    pub fn describe(&self) -> String {
        match &self.backend {
            Backend::Gpu(gpu) => format!("{} ({}, {})", gpu.info.name, gpu.info.backend, gpu.info.driver),
            Backend::Cpu => "cpu (f64 references)".into(),
        }
    }

    /// Bytes of memory that the driver's allocator gave for everything of this device, where the back end reports it.
    pub fn allocated_bytes(&self) -> Option<u64> {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.allocated_bytes(),
            Backend::Cpu => None,
        }
    }

    /// What the device allows; plans are made for it.
    pub fn limits(&self) -> Limits {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.info.limits,
            Backend::Cpu => Limits::references(cpu::MEMORY_BYTES),
        }
    }

    /// The plan that [`Device::compile`] follows.
    ///
    /// # Errors
    /// The graph cannot be planned.
    pub fn plan(&self, graph: &Graph, fetches: &[NodeId]) -> Result<Plan> {
        let choices = self.choices(graph, fetches)?;
        let options = Options { limits: self.limits(), choices: choices.as_deref(), ..Options::default() };
        Plan::new(&crate::fuse::fuse(graph, fetches, &options)?, fetches, &options)
    }

    /// Plans `fetches`, allocates, compiles the shaders and uploads `weights` once.
    ///
    /// # Errors
    /// The graph cannot be planned; a parameter is missing in `weights`, has another shape, or is not in the graph; the
    /// device fails.
    pub fn compile(&self, graph: &Graph, fetches: &[NodeId], weights: Weights) -> Result<Session> {
        pollster::block_on(self.compile_async(graph, fetches, weights))
    }

    /// [`Device::compile`] without waiting.
    ///
    /// # Errors
    /// As [`Device::compile`].
    pub async fn compile_async(&self, graph: &Graph, fetches: &[NodeId], weights: Weights) -> Result<Session> {
        let choices = self.choices(graph, fetches)?;
        let options = Options { limits: self.limits(), choices: choices.as_deref(), ..Options::default() };
        self.compile_with(graph, fetches, weights, &options, None).await
    }

    pub(crate) async fn compile_with(
        &self,
        graph: &Graph,
        fetches: &[NodeId],
        weights: Weights,
        options: &Options<'_>,
        guard: Option<Guard>,
    ) -> Result<Session> {
        let parameters = parameters(graph, &weights)?;
        let graph = &crate::fuse::fuse(graph, fetches, options)?;
        let plan = Plan::new(graph, fetches, options)?;
        #[cfg(feature = "cli")]
        plan.notes.iter().for_each(|note| log::warn!("{note}"));
        let running = match &self.backend {
            Backend::Gpu(gpu) => Running::Gpu(GpuSession::new(gpu, graph, &plan, &parameters, guard).await?),
            Backend::Cpu => Running::Cpu(CpuSession::new(graph, &plan, &parameters)?),
        };
        Ok(Session { device: self.clone(), graph: Arc::new(graph.clone()), plan, running, turn: Mutex::default() })
    }
}

/// Values of all parameters by node: from `weights`; states that it lacks begin at their initial value.
fn parameters(graph: &Graph, weights: &Weights) -> Result<HashMap<usize, Tensor>> {
    let fail = |problem: String| Err(Error::weights(weights.name(), problem));
    for name in weights.tensors().keys() {
        let is_parameter =
            graph.find(name).is_some_and(|id| matches!(graph.nodes()[id.index].kind, Kind::Param { .. }));
        if !is_parameter {
            return fail(format!("has tensor {name:?}, which the network does not use; is it another model's file?"));
        }
    }
    let mut values = HashMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let Kind::Param { init, trainable } = node.kind else { continue };
        match weights.get(&node.name) {
            Some(tensor) if tensor.shape() == node.shape => {
                values.insert(index, tensor.clone());
            }
            Some(tensor) => {
                return fail(format!(
                    "tensor {:?} is {:?}, the network expects {:?}; is it another model's file?",
                    node.name,
                    tensor.shape(),
                    node.shape
                ));
            }
            None if trainable => {
                return fail(format!("lacks tensor {:?} {:?}; is it another model's file?", node.name, node.shape));
            }
            None => {
                values.insert(index, init.fill(node.shape, 0, &node.name));
            }
        }
    }
    Ok(values)
}

/// A planned graph on a device, ready to run as often as one likes.
pub struct Session {
    device: Device,
    graph: Arc<Graph>,
    plan: Plan,
    running: Running,
    /// Callers that block wait here for each other.
    turn: Mutex<()>,
}

enum Running {
    Gpu(GpuSession),
    Cpu(CpuSession),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Session").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Session {
    /// The plan; it prints as a table.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// One run: every input by name, the fetched tensors back in the order of `compile`'s nodes, updates left out.
    ///
    /// # Errors
    /// An input is missing, unknown or of another shape; the device fails.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        pollster::block_on(self.run_async(inputs))
    }

    /// [`Session::run`] without waiting; one run of a session at a time.
    ///
    /// # Errors
    /// As [`Session::run`]; another run is in progress.
    pub async fn run_async(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let inputs = self.match_inputs(inputs)?;
        match &self.running {
            Running::Gpu(session) => session.run(&self.plan, &inputs).await,
            Running::Cpu(session) => session.run(&self.graph, &self.plan, &inputs, |_| {}),
        }
    }

    fn match_inputs<'t>(&self, inputs: &[(&str, &'t Tensor)]) -> Result<Vec<(usize, &'t Tensor)>> {
        for (name, _) in inputs {
            if !self.plan.inputs.iter().any(|(n, _)| n == name) {
                let known: Vec<&str> = self.plan.inputs.iter().map(|(n, _)| n.as_str()).collect();
                return Err(Error::graph(*name, format!("is no input of this session; its inputs are {known:?}")));
            }
        }
        self.plan
            .inputs
            .iter()
            .map(|(name, value)| {
                let Some((_, tensor)) = inputs.iter().find(|(n, _)| n == name) else {
                    return Err(Error::graph(name, "this input was not given"));
                };
                let shape = self.plan.values[*value].shape;
                if tensor.shape() != shape {
                    return Err(Error::graph(name, format!("must be {shape:?}, got {:?}", tensor.shape())));
                }
                Ok((*value, *tensor))
            })
            .collect()
    }

    /// Current values of the trainable parameters that the plan uses.
    ///
    /// # Errors
    /// The device fails.
    pub fn weights(&self) -> Result<Weights> {
        self.parameters_where(|trainable| trainable)
    }

    /// Current values of all parameters and states that the plan uses: what a checkpoint needs.
    ///
    /// # Errors
    /// The device fails.
    pub fn state(&self) -> Result<Weights> {
        self.parameters_where(|_| true)
    }

    fn parameters_where(&self, wanted: impl Fn(bool) -> bool) -> Result<Weights> {
        let mut found = Vec::new();
        for value in &self.plan.values {
            let (Some(node), Layout::Rows) = (value.node, value.layout) else { continue };
            if let Kind::Param { trainable, .. } = self.graph.nodes()[node].kind
                && wanted(trainable)
            {
                found.push((value, node));
            }
        }
        let tensors = match &self.running {
            Running::Gpu(session) => {
                pollster::block_on(session.read(&found.iter().map(|(value, _)| *value).collect::<Vec<_>>()))?
            }
            Running::Cpu(session) => {
                session.read(&found.iter().map(|(value, node)| (*node, value.shape)).collect::<Vec<_>>())?
            }
        };
        let names = found.into_iter().map(|(value, _)| value.name.clone());
        Ok(Weights::from_tensors(names.zip(tensors).collect::<BTreeMap<_, _>>()))
    }

    /// Overwrites parameters and states by name: continues from a checkpoint, or takes another network's values.
    ///
    /// # Errors
    /// A name that the plan does not use, or another shape.
    pub fn load(&self, weights: &Weights) -> Result<()> {
        for (name, tensor) in weights.tensors() {
            let fail = |problem: String| Err(Error::weights(weights.name(), problem));
            let Some(value) = self.plan.values.iter().find(|v| v.name == *name) else {
                return fail(format!("has tensor {name:?}, which this session does not use"));
            };
            if value.shape != tensor.shape() {
                return fail(format!("tensor {name:?} is {:?}, expected {:?}", tensor.shape(), value.shape));
            }
            match (&self.running, value.node) {
                (Running::Gpu(session), _) => session.write(value, tensor),
                (Running::Cpu(session), Some(node)) => session.write(node, tensor),
                (Running::Cpu(_), None) => return fail(format!("tensor {name:?} is no parameter")),
            }
        }
        Ok(())
    }

    /// Milliseconds that one run spends on the adapter, without the steps that run once and without any test of the timer;
    /// none where its clock gives no time that can be. For [`crate::tune`].
    pub(crate) fn time_once(&self, inputs: &[(&str, &Tensor)]) -> Result<Option<f64>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let matched = self.match_inputs(inputs)?;
        let Running::Gpu(session) = &self.running else { return Ok(None) };
        let run = pollster::block_on(session.time(&self.plan, &matched))?;
        let mut spans = run.spans.iter();
        let mut total_ms = 0.0;
        for step in &self.plan.steps {
            // Copies to textures have a row of their own.
            let rows = 1 + usize::from(!step.copies.is_empty());
            for span in spans.by_ref().take(rows).filter(|_| !step.once) {
                if span.ms.is_nan() || span.ms < 0.0 {
                    return Ok(None);
                }
                total_ms += span.ms;
            }
        }
        Ok((total_ms > 0.0).then_some(total_ms))
    }

    /// Milliseconds of every step: one run to warm up, then the median of `runs`. The first profile on a device also
    /// measures its [`roof::Roofs`] and tests its timer, which takes about half a second.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile_runs(&self, inputs: &[(&str, &Tensor)], runs: usize) -> Result<Profile> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let matched = self.match_inputs(inputs)?;
        let (clock, measured) = match &self.device.backend {
            Backend::Gpu(gpu) => (gpu.clock(), Some(roof::measured(gpu)?)),
            Backend::Cpu => (Clock::Host, None),
        };
        let mut all = Vec::new();
        for run in 0..=runs.max(1) {
            let timed = match &self.running {
                Running::Gpu(session) => pollster::block_on(session.time(&self.plan, &matched))?,
                Running::Cpu(session) => {
                    let mut timed = Run::begin();
                    let mut begin_ms = timed.now_ms();
                    session.run(&self.graph, &self.plan, &matched, |_| {
                        let end_ms = timed.now_ms();
                        timed.spans.push(Span { begin_ms, ms: end_ms - begin_ms });
                        begin_ms = timed.now_ms();
                    })?;
                    timed
                }
            };
            if run > 0 {
                all.push(timed);
            }
        }
        Ok(Profile::new(&self.plan, &all, clock, self.device.describe(), measured.as_ref()))
    }

    /// [`Session::profile_runs`] with 5 runs.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<Profile> {
        self.profile_runs(inputs, 5)
    }
}

/// Devices and sessions may be shared between threads, but for a browser's, whose handles belong to one.
#[cfg(not(target_arch = "wasm32"))]
const _: () = {
    const fn is_shareable<T: Send + Sync>() {}
    is_shareable::<Device>();
    is_shareable::<Session>();
};
