//! An opened adapter: device and queue, what it reports about itself, errors as values.

use super::super::timing::Clock;
use crate::error::{Error, Result};
use crate::layout::{Layout, MAX_TEXELS, ROWS_PER_BLOCK, TEXELS_PER_ROW};
use crate::ops::Caps;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// No submission takes this long unless the driver hangs.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What an adapter reports about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterInfo {
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `webgpu`.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub kind: String,
    pub driver: String,
    pub subgroup_size: (u32, u32),
    pub has_timestamps: bool,
    pub caps: Caps,
}

/// An opened adapter.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub info: AdapterInfo,
    /// Nanoseconds per timestamp tick, if the adapter has timestamps.
    pub(super) timestamp_ns: Option<f32>,
    lost: Arc<Mutex<Option<String>>>,
    /// Bytes of tensors that were copied from the host.
    uploaded: AtomicU64,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Returns the process's connection to the drivers. It is never closed: a loader unloads the driver with its last instance, and a
/// thread that used the driver and ends afterwards may call code that is no longer there.
fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY,
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        })
    })
}

/// Intel's number as a vendor of PCI devices; Vulkan and DX12 tell it, Metal does not.
const INTEL: u32 = 0x8086;

fn describe(adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let is_cpu = info.device_type == wgpu::DeviceType::Cpu;
    let caps = if is_cpu { Caps::software() } else { Caps::hardware() };
    // Intel's threads have 128 registers of 32 bytes, and compute eight or more pixels at once.
    let registers = if info.vendor == INTEL && !is_cpu { 128 } else { caps.registers };
    let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned();
    // A browser need not tell what it runs on.
    let name = if info.name.is_empty() { "an adapter without a name".to_owned() } else { info.name };
    AdapterInfo {
        name,
        backend: info.backend.to_str().to_owned(),
        kind: format!("{:?}", info.device_type),
        driver,
        subgroup_size: (info.subgroup_min_size, info.subgroup_max_size),
        has_timestamps: adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY),
        caps: Caps {
            binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            storage_textures: limits.max_storage_textures_per_shader_stage as usize,
            has_f16: adapter.features().contains(wgpu::Features::SHADER_F16),
            workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            registers,
            ..caps
        },
    }
}

/// An adapter that can be opened.
pub struct Adapter {
    handle: wgpu::Adapter,
    pub info: AdapterInfo,
}

/// Returns all adapters, in the driver's order.
pub async fn adapters() -> Vec<Adapter> {
    let all = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
    all.into_iter().map(|handle| Adapter { info: describe(&handle), handle }).collect()
}

impl Gpu {
    /// Returns the bytes of tensors that were copied from the host so far.
    pub fn uploaded_bytes(&self) -> u64 {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// Copies `bytes` of a tensor to `offset` of `buffer`.
    pub(super) fn upload(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.count_uploaded(bytes.len());
        self.queue.write_buffer(buffer, offset, bytes);
    }

    pub(super) fn count_uploaded(&self, bytes: usize) {
        self.uploaded.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the bytes of all live allocations, if the backend reports them (Vulkan and DX12). Waits for uploads first, since
    /// until they end they hold a second copy of their data.
    pub fn allocated_bytes(&self) -> Option<u64> {
        self.wait(self.queue.submit([])).ok()?;
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// Opens an adapter.
    ///
    /// # Errors
    /// The adapter refuses.
    pub async fn open(adapter: Adapter) -> Result<Self> {
        let Adapter { handle: adapter, info } = adapter;
        let wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE | wgpu::Features::SHADER_F16;
        let features = adapter.features() & wanted;
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("lineament"),
                required_features: features,
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|e| {
                Error::device(format!("{} cannot be opened: {e}", info.name), "choose another one with --device")
            })?;
        let lost = Arc::new(Mutex::new(None));
        let remember = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            *remember.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{reason:?} {message}"));
        });
        let timestamp_ns = info.has_timestamps.then(|| queue.get_timestamp_period()).filter(|&ns| ns > 0.0);
        Ok(Self { device, queue, info, timestamp_ns, lost, uploaded: AtomicU64::new(0) })
    }

    /// Returns what times this adapter's steps.
    pub fn clock(&self) -> Clock {
        if self.timestamp_ns.is_some() { Clock::Timestamps } else { Clock::Host }
    }

    pub(super) fn check_lost(&self) -> Result<()> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(Error::device(
                format!("{} was lost: {}", self.info.name, reason.trim()),
                "open it again; if it repeats, use a smaller input or another --device",
            )),
            None => Ok(()),
        }
    }

    /// Runs `work` and turns whatever the driver reports meanwhile into an error.
    pub(super) async fn scoped<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = work();
        let (internal, validation, memory) = (internal.pop(), validation.pop(), memory.pop());
        let failed = |e: &dyn std::fmt::Display, remedy: &str| Error::device(format!("{what}: {e}"), remedy);
        if let Some(e) = memory.await {
            return Err(failed(&e, "use a smaller input or batch"));
        }
        if let Some(e) = validation.await {
            return Err(failed(&e, "this is a bug in lineament or in the named shader; please report it"));
        }
        if let Some(e) = internal.await {
            return Err(failed(&e, "the driver failed; try another --device"));
        }
        self.check_lost()?;
        Ok(result)
    }

    /// Creates the texture of a slot of `bytes` without its spare row (`rows_of_slot`), plus `more` blocks of rows as far as WebGPU
    /// guarantees them.
    pub(super) fn texture(&self, bytes: u64, layout: Layout, more: u64) -> wgpu::TextureView {
        let (format, texel_bytes) = format_of(layout);
        let rows = bytes / (texel_bytes * TEXELS_PER_ROW as u64) + more * ROWS_PER_BLOCK as u64 - 1;
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("scratch"),
            size: wgpu::Extent3d {
                width: TEXELS_PER_ROW as u32,
                height: rows.min((MAX_TEXELS / TEXELS_PER_ROW) as u64) as u32,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        texture.create_view(&wgpu::TextureViewDescriptor::default())
    }

    pub(super) fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Waits for `submission` on native; in a browser the event loop completes it.
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(TIMEOUT) };
        self.device.poll(poll).map_err(|e| {
            Error::device(
                format!("{} did not finish within {} s: {e}", self.info.name, TIMEOUT.as_secs()),
                "use a smaller input, or another --device",
            )
        })?;
        self.check_lost()
    }

    /// Calls `read` with the bytes of `buffer`, which was created for reading.
    pub(super) async fn map<T>(&self, buffer: &wgpu::Buffer, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let state = Arc::new(Mutex::new((None, None::<Waker>)));
        let writer = state.clone();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            let mut state = writer.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = Some(result.is_ok());
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        });
        // On native this runs the callback; the submission that wrote the buffer has been waited for.
        let _ = self.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(TIMEOUT) });
        let mapped = MapFuture(state).await;
        self.check_lost()?;
        let failed =
            || Error::device(format!("the results of {} cannot be read back", self.info.name), "try another --device");
        if !mapped {
            return Err(failed());
        }
        let result = read(&buffer.get_mapped_range(..).map_err(|_| failed())?);
        buffer.unmap();
        Ok(result)
    }
}

struct MapFuture(Arc<Mutex<(Option<bool>, Option<Waker>)>>);

impl Future for MapFuture {
    type Output = bool;
    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<bool> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.0 {
            Some(ok) => Poll::Ready(ok),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Returns the words per texel.
pub(super) fn words_per_texel(layout: Layout) -> usize {
    (format_of(layout).1 / 4) as usize
}

/// Returns the format of a scratch texture, and its bytes per texel.
pub(super) fn format_of(layout: Layout) -> (wgpu::TextureFormat, u64) {
    match layout {
        Layout::Quads => (wgpu::TextureFormat::Rgba32Float, 16),
        _ => (wgpu::TextureFormat::R32Float, 4),
    }
}
