//! Devices: choosing and opening an adapter, or the references.

use super::cpu;
use super::gpu::{self, AdapterInfo, Gpu, Pipelines};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::plan::{Caps, Choices, Precision};
use std::sync::Arc;

/// Which device to open. A demand, not a hint: there is no silent fallback.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Select {
    /// The best adapter: discrete, integrated, virtual, other, software, in this order.
    #[default]
    Default,
    /// The adapter at this position in [`adapters_async`].
    Index(usize),
    /// The first adapter whose name contains this, ignoring case.
    Name(String),
    /// The f64 references on the processor.
    Cpu,
}

impl std::str::FromStr for Select {
    type Err = std::convert::Infallible;
    /// Parses `cpu`, a number, or part of an adapter's name.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(index) => Self::Index(index),
            Err(_) if text.eq_ignore_ascii_case("cpu") => Self::Cpu,
            Err(_) => Self::Name(text.to_owned()),
        })
    }
}

/// Returns all adapters, in the driver's order.
pub async fn adapters_async() -> Vec<AdapterInfo> {
    gpu::adapters().await.into_iter().map(|a| a.info).collect()
}

/// Returns the adapter that [`Select::Default`] opens, and why.
pub fn default_adapter(adapters: &[AdapterInfo]) -> Option<(usize, &'static str)> {
    let ranks = [
        ("DiscreteGpu", "the first discrete GPU"),
        ("IntegratedGpu", "no discrete GPU, so the first integrated one"),
        ("VirtualGpu", "no physical GPU, so the first virtual one"),
        ("Other", "the first adapter of unknown kind"),
        ("Cpu", "no GPU, so the first software adapter"),
    ];
    ranks.iter().find_map(|(kind, why)| Some((adapters.iter().position(|a| a.kind == *kind)?, *why)))
}

/// An opened device; clones share it.
#[derive(Debug, Clone)]
pub struct Device {
    pub(super) backend: Backend,
    chooser: Option<Arc<dyn Choose>>,
    precision: Precision,
}

#[derive(Debug, Clone)]
pub(super) enum Backend {
    Gpu(Arc<Pipelines>),
    Cpu,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// There is no such adapter; the message lists the adapters, or what to install.
    pub async fn open_async(select: &Select) -> Result<Self> {
        if *select == Select::Cpu {
            return Ok(Self { backend: Backend::Cpu, chooser: None, precision: Precision::F32 });
        }
        if let Select::Name(name) = select
            && name.trim().is_empty()
        {
            // Every adapter's name contains the empty string.
            return Err(Error::device(
                format!("{name:?} is not part of an adapter's name"),
                "give a name that `lineament devices` lists, its index, or cpu",
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
                    format!("there is no adapter {index}; the adapters are: {}", names()),
                    "choose one of them by name or index, or --device cpu",
                ));
            }
            Select::Name(name) => {
                let wanted = name.to_lowercase();
                adapters.iter().position(|a| a.name.to_lowercase().contains(&wanted)).ok_or_else(|| {
                    Error::device(
                        format!("no adapter's name contains {name:?}; the adapters are: {}", names()),
                        "choose one of them by name or index, or --device cpu",
                    )
                })?
            }
            _ => default_adapter(&adapters).map_or(0, |(index, _)| index),
        };
        let gpu = Gpu::open(handles.swap_remove(index)).await?;
        Ok(Self { backend: Backend::Gpu(Arc::new(Pipelines::new(gpu))), chooser: None, precision: Precision::F32 })
    }

    /// Makes the driver use and extend `data`, which it compiled in an earlier process and [`Device::compiled`] returned there; pass
    /// `None` in the first process. Most desktop drivers keep what they compile by themselves; others, such as Android's, leave it
    /// to the application. Has no effect if the backend has no such cache (all but Vulkan) or after an earlier call.
    ///
    /// # Safety
    /// `data` must be unchanged and come from a place that only this program writes. Data of another adapter, driver or version is
    /// ignored.
    #[allow(unsafe_code)]
    pub unsafe fn reuse_compiled(&self, data: Option<&[u8]>) {
        if let Backend::Gpu(on) = &self.backend {
            // SAFETY: the caller keeps the contract of this function.
            unsafe { on.reuse(data) }
        }
    }

    /// Returns what the driver has compiled since [`Device::reuse_compiled`], together with the data passed to it; `None` if the
    /// backend keeps nothing.
    pub fn compiled(&self) -> Option<Vec<u8>> {
        match &self.backend {
            Backend::Gpu(on) => on.compiled(),
            Backend::Cpu => None,
        }
    }

    /// Drops what was compiled from the shader `text`, which will not be used again.
    pub(crate) fn forget(&self, text: &'static str) {
        if let Backend::Gpu(on) = &self.backend {
            on.forget(text);
        }
    }

    /// Returns this device with plans that follow `choices`. Without choices, plans follow the kernels' estimates.
    pub fn with_choices(self, choices: Choices) -> Self {
        self.with_chooser(Arc::new(choices))
    }

    /// Returns this device with a `chooser` that it asks before it plans.
    pub fn with_chooser(self, chooser: Arc<dyn Choose>) -> Self {
        Self { chooser: Some(chooser), ..self }
    }

    /// Returns this device without choices.
    pub(crate) fn without_choices(&self) -> Self {
        Self { backend: self.backend.clone(), chooser: None, precision: self.precision }
    }

    /// Returns this device with plans that store values in `precision`.
    ///
    /// # Errors
    /// The device has no f16.
    pub fn with_precision(self, precision: Precision) -> Result<Self> {
        if precision != Precision::F32 && !self.caps().has_f16 {
            return Err(Error::device(
                format!("{} has no f16", self.describe()),
                "use --precision f32, or another --device; `lineament devices` says which have f16",
            ));
        }
        Ok(Self { precision, ..self })
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(super) fn choices(&self, graph: &Graph, fetches: &[NodeId]) -> Result<Option<Arc<Choices>>> {
        self.chooser.as_ref().map(|chooser| chooser.choices(self, graph, fetches)).transpose()
    }

    /// Returns what the adapter reports about itself, or `None` for the references.
    pub fn info(&self) -> Option<&AdapterInfo> {
        match &self.backend {
            Backend::Gpu(on) => Some(&on.gpu.info),
            Backend::Cpu => None,
        }
    }

    /// Returns whether this device is the references on the processor.
    pub fn is_cpu(&self) -> bool {
        matches!(self.backend, Backend::Cpu)
    }

    /// Returns adapter, backend and driver on one line.
    pub fn describe(&self) -> String {
        match &self.backend {
            Backend::Gpu(on) => {
                let AdapterInfo { name, backend, driver, .. } = &on.gpu.info;
                let driver = if driver.is_empty() { String::new() } else { format!(", {driver}") };
                format!("{name} ({backend}{driver})")
            }
            Backend::Cpu => "cpu (f64 references)".into(),
        }
    }

    /// Returns the bytes that the driver has allocated for everything on this device, if the backend reports them.
    pub fn allocated_bytes(&self) -> Option<u64> {
        match &self.backend {
            Backend::Gpu(on) => on.gpu.allocated_bytes(),
            Backend::Cpu => None,
        }
    }

    /// Returns the bytes of inputs, parameters and constants that were copied to the device since it was opened; 0 for the references.
    pub fn uploaded_bytes(&self) -> u64 {
        match &self.backend {
            Backend::Gpu(on) => on.gpu.uploaded_bytes(),
            Backend::Cpu => 0,
        }
    }

    /// Returns the limits of the device, which plans respect.
    pub fn caps(&self) -> Caps {
        match &self.backend {
            Backend::Gpu(on) => on.gpu.info.caps,
            Backend::Cpu => Caps::references(cpu::MEMORY_BYTES),
        }
    }
}

/// Gives a device its choices before it plans a graph.
pub trait Choose: std::fmt::Debug + Send + Sync {
    /// Returns the choices for `graph`; an implementation may measure on `device` what it lacks.
    ///
    /// # Errors
    /// The graph cannot be planned; the device fails.
    fn choices(&self, device: &Device, graph: &Graph, fetches: &[NodeId]) -> Result<Arc<Choices>>;
}

impl Choose for Choices {
    fn choices(&self, _: &Device, _: &Graph, _: &[NodeId]) -> Result<Arc<Choices>> {
        Ok(Arc::new(self.clone()))
    }
}
