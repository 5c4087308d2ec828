//! The adapter: the only file that names `wgpu::`.
//!
//! Everything that waits is `async`; on native, waiting polls the device with a timeout, in a browser the event loop
//! does. Allocation, compilation and submission run inside error scopes, so that a driver's complaint becomes a typed
//! error, and a lost device is remembered and reported by every later call.

use super::quads;
use super::timing::{Clock, Now, Phase, Run, Span};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind};
use crate::layout::{Layout, MAX_TEXELS, TEXELS_A_ROW};
use crate::ops::Source;
use crate::plan::{Hold, Limits, Plan, Slot, Step, Value};
use crate::rng::Rng;
use crate::shader::specialized;
use crate::tensor::{Shape, Tensor, len};
use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Words behind every buffer that a guarded session watches.
const GUARD_WORDS: usize = 64;
/// Rows behind every texture that it watches: the rows that drivers give together.
const GUARD_ROWS: u64 = 4;

/// What a guarded session puts behind every buffer and texture, and into memory that nobody has written yet: for checks. Two
/// sessions with different guards on the same inputs give the same bits unless a kernel reads what it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Unwritten memory is NaN.
    First,
    /// Unwritten memory is large numbers: `max` and comparisons drop a NaN.
    Second,
}

impl Guard {
    /// `count` words behind slot `slot`: large numbers and NaN in turns, none of which another slot has. What a kernel reads
    /// past the end of one tensor is not what lies past the end of the one that it writes.
    fn words(self, slot: usize, count: usize) -> Vec<u32> {
        let first = usize::from(self == Self::Second);
        let mut rng = Rng::new((slot as u64) << 1 | first as u64);
        let mut word = |i: usize| {
            let bits = rng.next_u64() as u32;
            if i % 2 == first { Self::large(bits) } else { 0x7FC0_0000 | bits & 0x003F_FFFF | 1 }
        };
        (0..count).map(&mut word).collect()
    }

    /// What `count` unwritten words of slot `slot` hold.
    fn fill(self, slot: usize, count: usize) -> Vec<u32> {
        let mut rng = Rng::new(slot as u64);
        match self {
            Self::First => vec![0x7FC0_DEAD; count],
            Self::Second => (0..count).map(|_| Self::large(rng.next_u64() as u32)).collect(),
        }
    }

    /// A number of 2^10 to 2^17 or the negative of one, of these bits.
    fn large(bits: u32) -> u32 {
        bits & 0x807F_FFFF | (127 + 10 + (bits >> 23) % 8) << 23
    }
}
/// Work of one submission, estimated: past it the driver's watchdog might reset the adapter.
const MAX_SUBMIT_MS: f64 = 1000.0;
/// No submission takes this long unless the driver hangs.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What one adapter says of itself.
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
    pub limits: Limits,
}

/// An opened adapter: device, queue, and the pipelines that its sessions share.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pub info: AdapterInfo,
    /// Nanoseconds a timestamp tick, where the adapter has timestamps.
    timestamp_ns: Option<f32>,
    modules: Mutex<HashMap<ModuleKey, Arc<wgpu::ShaderModule>>>,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    lost: Arc<Mutex<Option<String>>>,
}

/// Shader text, and the bits of the constants that it was specialized with.
type ModuleKey = (&'static str, Vec<(&'static str, u64)>);
/// Shader text, entry and overrides' bits.
type PipelineKey = (&'static str, String, Vec<(&'static str, u64)>);

/// Values of `override`s by name.
type Overrides = Vec<(&'static str, f64)>;

struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", &self.info).finish_non_exhaustive()
    }
}

/// The process's connection to the drivers. It is never closed: a loader unloads the driver with its last instance, and a thread
/// that used it and ends afterwards may call what is no longer there.
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

fn describe(adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let is_cpu = info.device_type == wgpu::DeviceType::Cpu;
    let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned();
    AdapterInfo {
        name: info.name,
        backend: info.backend.to_str().to_owned(),
        kind: format!("{:?}", info.device_type),
        driver,
        subgroup_size: (info.subgroup_min_size, info.subgroup_max_size),
        has_timestamps: adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY),
        limits: Limits {
            binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            // A software adapter has one heap of 2 GiB (lavapipe); a hardware one refuses by itself when it is full.
            memory_bytes: if is_cpu { 2 << 30 } else { u64::MAX },
            storage_textures: limits.max_storage_textures_per_shader_stage as usize,
            workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            // What plain shaders hold under lavapipe on two cores (a training step of FSRCNN: 4.6 GFLOP/s, 2026-11-24), and a
            // guess for hardware on the safe side of all but the slowest: an H100 holds a hundred times that (docs/profile.md).
            flops_per_second: if is_cpu { 4e9 } else { 5e10 },
            prefers_texels: is_cpu,
            ..Limits::default()
        },
    }
}

/// An adapter that can be opened.
pub struct Adapter {
    handle: wgpu::Adapter,
    pub info: AdapterInfo,
}

/// All adapters, in the driver's order.
pub async fn adapters() -> Vec<Adapter> {
    let all = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
    all.into_iter().map(|handle| Adapter { info: describe(&handle), handle }).collect()
}

impl Gpu {
    /// Bytes of all live allocations, where the back end reports them (Vulkan and DX12). Uploads end first: until then they
    /// hold what they upload a second time.
    pub fn allocated_bytes(&self) -> Option<u64> {
        self.wait(self.queue.submit([])).ok()?;
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// Opens an adapter.
    ///
    /// # Errors
    /// It refuses.
    pub async fn open(adapter: Adapter) -> Result<Self> {
        let Adapter { handle: adapter, info } = adapter;
        let features = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("lineament"),
                required_features: features,
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|e| {
                Error::device(format!("{} does not open: {e}", info.name), "choose another one with --device")
            })?;
        let lost = Arc::new(Mutex::new(None));
        let remember = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            *remember.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{reason:?} {message}"));
        });
        let timestamp_ns = info.has_timestamps.then(|| queue.get_timestamp_period()).filter(|&ns| ns > 0.0);
        Ok(Self { device, queue, info, timestamp_ns, modules: Mutex::default(), pipelines: Mutex::default(), lost })
    }

    /// What times this adapter's steps.
    pub fn clock(&self) -> Clock {
        if self.timestamp_ns.is_some() { Clock::Timestamps } else { Clock::Host }
    }

    fn check_lost(&self) -> Result<()> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(Error::device(
                format!("{} was lost: {}", self.info.name, reason.trim()),
                "open it again; if it repeats, use a smaller input or another --device",
            )),
            None => Ok(()),
        }
    }

    /// Runs `work` and turns what the driver reports meanwhile into an error.
    async fn scoped<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T> {
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
            return Err(failed(&e, "this is a bug in lineament or in the shader named; please report it"));
        }
        if let Some(e) = internal.await {
            return Err(failed(&e, "the driver failed; try another --device"));
        }
        self.check_lost()?;
        Ok(result)
    }

    /// The module of `source` under these values, and those of them that are overrides.
    fn module(&self, source: &Source, values: &[(&'static str, f64)]) -> Result<(Arc<wgpu::ShaderModule>, Overrides)> {
        let (text, rest) = match specialized(source.stem, source.text, values)? {
            Some((text, rest)) => (Cow::Owned(text), rest),
            None => (Cow::Borrowed(source.text), values.to_vec()),
        };
        let fixed = values.iter().filter(|v| !rest.contains(v)).map(|(n, v)| (*n, v.to_bits())).collect();
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let descriptor =
                wgpu::ShaderModuleDescriptor { label: Some(source.stem), source: wgpu::ShaderSource::Wgsl(text) };
            Arc::new(if source.trusted {
                // SAFETY: built-in shaders index within the ranges that their launches prove, and the guarded checks
                // of tests/ops_gpu.rs watch the words behind every buffer.
                #[allow(unsafe_code)]
                unsafe {
                    self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
                }
            } else {
                self.device.create_shader_module(descriptor)
            })
        };
        Ok((modules.entry((source.text, fixed)).or_insert_with(make).clone(), rest))
    }

    async fn pipeline(&self, step: &Step) -> Result<Arc<Pipeline>> {
        let source = &step.source;
        let overrides = step.overrides.iter().map(|(n, v)| (*n, v.to_bits())).collect();
        let key: PipelineKey = (source.text, step.entry.clone(), overrides);
        let known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(pipeline) = known {
            return Ok(pipeline);
        }
        let mut entries = Vec::new();
        let buffer = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        if !step.params.is_empty() {
            entries.push(buffer(0, wgpu::BufferBindingType::Uniform));
        }
        for b in &step.bindings {
            entries.push(match b.layout {
                Layout::Rows => buffer(b.binding, wgpu::BufferBindingType::Storage { read_only: !b.writable }),
                Layout::Texels | Layout::Quads => wgpu::BindGroupLayoutEntry {
                    binding: b.binding,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::StorageTexture {
                        access: match (b.layout, b.writable) {
                            (Layout::Quads, true) => wgpu::StorageTextureAccess::WriteOnly,
                            (_, false) => wgpu::StorageTextureAccess::ReadOnly,
                            (_, true) => wgpu::StorageTextureAccess::ReadWrite,
                        },
                        format: format_of(b.layout).0,
                        view_dimension: wgpu::TextureViewDimension::D2,
                    },
                    count: None,
                },
            });
        }
        let label = format!("{}.{}", step.stem(), step.entry);
        let pipeline: Result<_> = self
            .scoped(&format!("compiling {label}"), || {
                let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some(&label),
                    entries: &entries,
                });
                let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(&label),
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: 0,
                });
                let (module, constants) = self.module(source, &step.overrides)?;
                let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&label),
                    layout: Some(&pipeline_layout),
                    module: &module,
                    entry_point: Some(&step.entry),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: &constants,
                        zero_initialize_workgroup_memory: !source.trusted,
                    },
                    cache: None,
                });
                Ok(Arc::new(Pipeline { pipeline, layout }))
            })
            .await?;
        let pipeline = pipeline?;
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// A texture for `bytes` of `layout`, and `more` rows behind them as far as the adapter allows.
    fn texture(&self, bytes: u64, layout: Layout, more: u64) -> wgpu::TextureView {
        let (format, texel_bytes) = format_of(layout);
        let row_bytes = texel_bytes * TEXELS_A_ROW as u64;
        let most = bytes.div_ceil(row_bytes).max((MAX_TEXELS / TEXELS_A_ROW) as u64);
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("scratch"),
            size: wgpu::Extent3d {
                width: TEXELS_A_ROW as u32,
                height: (bytes.div_ceil(row_bytes) + more).min(most) as u32,
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

    fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Waits for `submission` on native; in a browser the event loop completes it.
    fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(TIMEOUT) };
        self.device.poll(poll).map_err(|e| {
            Error::device(
                format!("{} did not finish within {} s: {e}", self.info.name, TIMEOUT.as_secs()),
                "use a smaller input, or another --device",
            )
        })?;
        self.check_lost()
    }

    /// What `read` makes of the bytes of `buffer`, which was created for reading.
    async fn map<T>(&self, buffer: &wgpu::Buffer, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
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
            || Error::device(format!("{} does not give its results back", self.info.name), "try another --device");
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

/// Words of a texel.
fn words_a_texel(layout: Layout) -> usize {
    (format_of(layout).1 / 4) as usize
}

/// The format of a texture of scratch, and bytes a texel.
fn format_of(layout: Layout) -> (wgpu::TextureFormat, u64) {
    match layout {
        Layout::Quads => (wgpu::TextureFormat::Rgba32Float, 16),
        _ => (wgpu::TextureFormat::R32Float, 4),
    }
}

/// How channel quads lie in a buffer from `offset`: rows of texels without gaps.
fn quads_layout(offset: u64) -> wgpu::TexelCopyBufferLayout {
    wgpu::TexelCopyBufferLayout { offset, bytes_per_row: Some(16 * TEXELS_A_ROW as u32), rows_per_image: None }
}

/// Copies `bytes` of channel quads to `offset` of `buffer`.
fn copy_quads(
    encoder: &mut wgpu::CommandEncoder,
    view: &wgpu::TextureView,
    buffer: &wgpu::Buffer,
    offset: u64,
    bytes: u64,
) {
    let height = (bytes / (16 * TEXELS_A_ROW as u64)) as u32;
    let size = wgpu::Extent3d { width: TEXELS_A_ROW as u32, height, depth_or_array_layers: 1 };
    let to = wgpu::TexelCopyBufferInfo { buffer, layout: quads_layout(offset) };
    encoder.copy_texture_to_buffer(view.texture().as_image_copy(), to, size);
}

/// What a slot lies in.
enum Memory {
    Buffer(wgpu::Buffer),
    /// Scratch between the passes of a step, or a copy of a buffer, made before the step that reads it.
    Texture(wgpu::TextureView),
}

/// A plan on an adapter: one buffer or texture a slot, one bind group a step, made once.
pub struct GpuSession {
    gpu: Arc<Gpu>,
    memory: Vec<Memory>,
    commands: Vec<Command>,
    readback: Option<wgpu::Buffer>,
    guard: Option<Guard>,
    /// The steps that run once have run on the parameters as they are.
    is_prepared: AtomicBool,
    /// One run at a time: runs share the slots.
    is_running: AtomicBool,
}

/// Where to copy a value from and to, in slots, and how many elements.
struct Copy {
    buffer: usize,
    offset: u64,
    texture: usize,
    elements: usize,
}

/// Held while a session runs.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct Command {
    copies: Vec<Copy>,
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 3],
    estimate_ms: f64,
    /// Runs again only when a parameter was written.
    once: bool,
}

impl GpuSession {
    /// Allocates, compiles and uploads `parameter(node)` for every parameter. A guarded session fills memory before each run
    /// and watches words behind every buffer and texture: for checks.
    ///
    /// # Errors
    /// The adapter has not enough memory or refuses a shader.
    pub async fn new(
        gpu: &Arc<Gpu>,
        graph: &Graph,
        plan: &Plan,
        parameters: &HashMap<usize, Tensor>,
        guard: Option<Guard>,
    ) -> Result<Self> {
        gpu.check_lost()?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let guard_bytes = if guard.is_some() { 4 * GUARD_WORDS as u64 } else { 0 };
        let guard_rows = if guard.is_some() { GUARD_ROWS } else { 0 };
        let fetched = plan.readback_bytes();
        let what = format!("allocating {} bytes", plan.peak_bytes());
        let (memory, readback) = gpu
            .scoped(&what, || {
                let memory = |s: &Slot| match s.hold.layout() {
                    Layout::Rows => Memory::Buffer(gpu.buffer("slot", s.bytes + guard_bytes, usage)),
                    layout => Memory::Texture(gpu.texture(s.bytes, layout, guard_rows)),
                };
                let memory: Vec<_> = plan.slots.iter().map(memory).collect();
                let read_usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                (memory, (fetched > 0).then(|| gpu.buffer("readback", fetched, read_usage)))
            })
            .await?;

        let align = 256;
        let mut uniforms: Vec<u8> = Vec::new();
        let mut offsets = Vec::new();
        for step in &plan.steps {
            uniforms.resize(uniforms.len().next_multiple_of(align), 0);
            offsets.push(uniforms.len() as u64);
            uniforms.extend_from_slice(&step.params);
        }
        uniforms.resize(uniforms.len().next_multiple_of(align).max(align), 0);
        let uniform = gpu
            .scoped("allocating uniforms", || {
                let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
                let uniform = gpu.buffer("uniforms", uniforms.len() as u64, usage);
                gpu.queue.write_buffer(&uniform, 0, &uniforms);
                uniform
            })
            .await?;

        let mut commands = Vec::with_capacity(plan.steps.len());
        for (step, &offset) in plan.steps.iter().zip(&offsets) {
            let pipeline = gpu.pipeline(step).await?;
            let mut entries = Vec::new();
            let bind = |buffer, offset, size| {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: std::num::NonZeroU64::new(size),
                })
            };
            if !step.params.is_empty() {
                let resource = bind(&uniform, offset, step.params.len() as u64);
                entries.push(wgpu::BindGroupEntry { binding: 0, resource });
            }
            for b in &step.bindings {
                let value = &plan.values[b.value];
                // Behind a pack's member lie other members.
                let guard_bytes = if value.pack.is_none() { guard_bytes } else { 0 };
                let bytes = 4 * len(&value.shape) as u64 + guard_bytes;
                let resource = match &memory[value.slot] {
                    Memory::Buffer(buffer) => bind(buffer, value.offset_bytes, bytes),
                    Memory::Texture(view) => wgpu::BindingResource::TextureView(view),
                };
                entries.push(wgpu::BindGroupEntry { binding: b.binding, resource });
            }
            let bind_group = gpu
                .scoped(&step.name, || {
                    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&step.name),
                        layout: &pipeline.layout,
                        entries: &entries,
                    })
                })
                .await?;
            let estimate_ms = gpu.info.limits.estimate_ms(step.effort);
            let copy = |&(from, to): &(usize, usize)| {
                let [from, to] = [from, to].map(|v| &plan.values[v]);
                let elements = len(&from.shape);
                Copy { buffer: from.slot, offset: from.offset_bytes, texture: to.slot, elements }
            };
            let copies = step.copies.iter().map(copy).collect();
            let (workgroups, once) = (step.workgroups, step.once);
            commands.push(Command { copies, pipeline, bind_group, workgroups, estimate_ms, once });
        }
        let session = Self {
            gpu: gpu.clone(),
            memory,
            commands,
            readback,
            guard,
            is_prepared: AtomicBool::new(false),
            is_running: AtomicBool::new(false),
        };
        for value in plan.values.iter().filter(|v| v.layout == Layout::Rows) {
            let Some(node) = value.node else { continue };
            let tensor = match &graph.nodes()[node].kind {
                Kind::Constant(tensor) => tensor,
                Kind::Param { .. } => {
                    parameters.get(&node).ok_or_else(|| Error::graph(&graph.nodes()[node].name, "has no value"))?
                }
                _ => continue,
            };
            session.write(value, tensor);
        }
        Ok(session)
    }

    /// The buffer of a slot that is no texture.
    fn buffer(&self, slot: usize) -> &wgpu::Buffer {
        match &self.memory[slot] {
            Memory::Buffer(buffer) => buffer,
            Memory::Texture(_) => {
                unreachable!("textures hold scratch and copies, and no one reads or writes them from here")
            }
        }
    }

    /// Writes the words that are watched: behind every buffer, and behind the last texel of every texture's value.
    fn write_guards(&self, plan: &Plan, guard: Guard) {
        for (slot, s) in plan.slots.iter().enumerate() {
            if let Memory::Buffer(buffer) = &self.memory[slot] {
                let words = guard.words(slot, GUARD_WORDS);
                self.gpu.queue.write_buffer(buffer, s.bytes, bytemuck::cast_slice(&words));
            }
        }
        for (value, view) in self.textures(plan) {
            let words = words_a_texel(value.layout);
            let used = value.layout.elements(&value.shape);
            let total = (view.texture().height() as usize) * TEXELS_A_ROW;
            let all = guard.words(value.slot, (total - used) * words);
            // The rest of a row that the value ends in, then whole rows.
            let rest = (used.next_multiple_of(TEXELS_A_ROW) - used) * words;
            for (from, words) in [(used, &all[..rest]), (used.next_multiple_of(TEXELS_A_ROW), &all[rest..])] {
                self.write_texels(view, value.layout, from, words);
            }
        }
    }

    /// Writes `words` to the texels from `from` on: a part of one row, or whole ones.
    fn write_texels(&self, view: &wgpu::TextureView, layout: Layout, from: usize, words: &[u32]) {
        let texels = words.len() / words_a_texel(layout);
        if texels == 0 {
            return;
        }
        let (x, y) = (from % TEXELS_A_ROW, from / TEXELS_A_ROW);
        let (width, height) = if texels < TEXELS_A_ROW { (texels, 1) } else { (TEXELS_A_ROW, texels / TEXELS_A_ROW) };
        self.gpu.queue.write_texture(
            wgpu::TexelCopyTextureInfo {
                origin: wgpu::Origin3d { x: x as u32, y: y as u32, z: 0 },
                ..view.texture().as_image_copy()
            },
            bytemuck::cast_slice(words),
            wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some((4 * words_a_texel(layout) * TEXELS_A_ROW) as u32),
                rows_per_image: None,
            },
            wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
        );
    }

    /// The values that lie in textures, each with its texture.
    fn textures<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (&'a Value, &'a wgpu::TextureView)> {
        plan.values.iter().filter_map(|value| match &self.memory[value.slot] {
            Memory::Texture(view) => Some((value, view)),
            Memory::Buffer(_) => None,
        })
    }

    /// What times its steps.
    pub fn clock(&self) -> Clock {
        self.gpu.clock()
    }

    /// Refuses a second run while one is in progress; [`super::Session::run`] waits for its turn before.
    fn take_turn(&self) -> Result<Turn<'_>> {
        if self.is_running.swap(true, Ordering::Acquire) {
            return Err(Error::Usage("this session is running; await that run first, or make a second session".into()));
        }
        Ok(Turn(&self.is_running))
    }

    /// Overwrites a value that is kept between runs: a parameter.
    pub fn write(&self, value: &Value, tensor: &Tensor) {
        self.is_prepared.store(false, Ordering::Release);
        self.write_value(value, tensor);
    }

    fn write_value(&self, value: &Value, tensor: &Tensor) {
        match &self.memory[value.slot] {
            Memory::Buffer(buffer) => {
                self.gpu.queue.write_buffer(buffer, value.offset_bytes, bytemuck::cast_slice(tensor.data()));
            }
            Memory::Texture(view) => {
                self.write_texels(view, Layout::Quads, 0, bytemuck::cast_slice(&quads::pack(tensor)));
            }
        }
    }

    /// Feeds `inputs` (value, tensor), runs all steps, and returns the fetched values.
    ///
    /// # Errors
    /// The adapter fails or does not answer in time.
    pub async fn run(&self, plan: &Plan, inputs: &[(usize, &Tensor)]) -> Result<Vec<Tensor>> {
        let _turn = self.take_turn()?;
        self.gpu.check_lost()?;
        let submissions = self.gpu.scoped("submitting", || self.submit(plan, inputs)).await?;
        for submission in submissions {
            self.gpu.wait(submission)?;
        }
        let Some(readback) = &self.readback else { return Ok(Vec::new()) };
        let read = |bytes: &[u8]| {
            let mut rest = bytes;
            let mut outputs = Vec::with_capacity(plan.fetches.len());
            for &value in &plan.fetches {
                let value = &plan.values[value];
                let (place, tail) = rest.split_at(value.readback_bytes() as usize);
                let head = &place[..value.bytes() as usize];
                outputs.push(match value.layout {
                    Layout::Quads => quads::unpack(value.shape, head),
                    _ => Tensor::new(value.shape, bytemuck::pod_collect_to_vec(head)),
                }?);
                rest = tail;
            }
            Ok(outputs)
        };
        self.gpu.map(readback, read).await?
    }

    fn upload(&self, plan: &Plan, inputs: &[(usize, &Tensor)]) {
        if let Some(guard) = self.guard {
            for (slot, s) in plan.slots.iter().enumerate() {
                if s.hold == Hold::Reused {
                    let words = guard.fill(slot, (s.bytes / 4) as usize);
                    self.gpu.queue.write_buffer(self.buffer(slot), 0, bytemuck::cast_slice(&words));
                }
            }
            for (value, view) in self.textures(plan).filter(|(value, _)| !value.is_prepared) {
                let words = guard.fill(value.slot, value.bytes() as usize / 4);
                self.write_texels(view, value.layout, 0, &words);
            }
            // The gaps of a pack stay zero.
            let is_computed = |v: &&Value| plan.slots[v.slot].hold == Hold::Pack { is_kept: false };
            for value in plan.values.iter().filter(|v| v.pack.is_some()).filter(is_computed) {
                let words = guard.fill(value.slot, len(&value.shape));
                let buffer = self.buffer(value.slot);
                self.gpu.queue.write_buffer(buffer, value.offset_bytes, bytemuck::cast_slice(&words));
            }
        }
        for (value, tensor) in inputs {
            self.write_value(&plan.values[*value], tensor);
        }
        if let Some(guard) = self.guard {
            self.write_guards(plan, guard);
        }
    }

    fn submit(&self, plan: &Plan, inputs: &[(usize, &Tensor)]) -> Vec<wgpu::SubmissionIndex> {
        self.upload(plan, inputs);
        let mut submissions = Vec::new();
        let is_prepared = self.is_prepared.swap(true, Ordering::AcqRel);
        let commands: Vec<&Command> = self.commands.iter().filter(|c| !(c.once && is_prepared)).collect();
        let mut first = 0;
        while first < commands.len() {
            let mut total = 0.0;
            let mut last = first;
            while last < commands.len() && (last == first || total + commands[last].estimate_ms < MAX_SUBMIT_MS) {
                total += commands[last].estimate_ms;
                last += 1;
            }
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            while first < last {
                self.copy(&mut encoder, commands[first]);
                let mut pass = encoder.begin_compute_pass(&Default::default());
                commands[first].record(&mut pass);
                first += 1;
                while first < last && commands[first].copies.is_empty() {
                    commands[first].record(&mut pass);
                    first += 1;
                }
            }
            submissions.push(self.gpu.queue.submit([encoder.finish()]));
        }
        if let Some(readback) = &self.readback {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            let mut offset = 0;
            for &value in &plan.fetches {
                let value = &plan.values[value];
                let bytes = value.bytes();
                match &self.memory[value.slot] {
                    Memory::Buffer(buffer) => {
                        encoder.copy_buffer_to_buffer(buffer, value.offset_bytes, readback, offset, bytes);
                    }
                    Memory::Texture(view) => copy_quads(&mut encoder, view, readback, offset, bytes),
                }
                offset += value.readback_bytes();
            }
            submissions.push(self.gpu.queue.submit([encoder.finish()]));
        }
        submissions
    }

    /// Copies what `command` reads as texels: full rows, then the rest.
    fn copy(&self, encoder: &mut wgpu::CommandEncoder, command: &Command) {
        for copy in &command.copies {
            let (rows, rest) = (copy.elements / TEXELS_A_ROW, copy.elements % TEXELS_A_ROW);
            let Memory::Texture(texture) = &self.memory[copy.texture] else {
                unreachable!("a copy as texels has a texture's slot")
            };
            for (row, width, height) in [(0, TEXELS_A_ROW, rows), (rows, rest, 1)] {
                if width * height == 0 {
                    continue;
                }
                let bytes_per_row = 4 * TEXELS_A_ROW as u32;
                encoder.copy_buffer_to_texture(
                    wgpu::TexelCopyBufferInfo {
                        buffer: self.buffer(copy.buffer),
                        layout: wgpu::TexelCopyBufferLayout {
                            offset: copy.offset + row as u64 * u64::from(bytes_per_row),
                            bytes_per_row: Some(bytes_per_row),
                            rows_per_image: None,
                        },
                    },
                    wgpu::TexelCopyTextureInfo {
                        texture: texture.texture(),
                        mip_level: 0,
                        origin: wgpu::Origin3d { x: 0, y: row as u32, z: 0 },
                        aspect: wgpu::TextureAspect::All,
                    },
                    wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
                );
            }
        }
    }

    /// The tensors of `values`, which lie in rows.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn read(&self, values: &[&Value]) -> Result<Vec<Tensor>> {
        let mut tensors = Vec::with_capacity(values.len());
        for value in values {
            let bytes = self.copy_out(value.slot, value.offset_bytes, 4 * len(&value.shape) as u64).await?;
            tensors.push(Tensor::new(value.shape, bytemuck::pod_collect_to_vec(&bytes))?);
        }
        Ok(tensors)
    }

    /// The texels of a slot that holds a value of `shape` as channel quads, four values each.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn read_quads(&self, slot: usize, shape: Shape) -> Result<Vec<[f32; 4]>> {
        let Memory::Texture(view) = &self.memory[slot] else {
            return Err(Error::plan(format!("slot {slot} is no texture")));
        };
        let mut words = self.read_texture(view, Layout::Quads).await?;
        words.truncate(words_a_texel(Layout::Quads) * Layout::Quads.elements(&shape));
        Ok(bytemuck::cast_slice(&words).to_vec())
    }

    async fn copy_out(&self, slot: usize, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let (staging, submission) = self
            .gpu
            .scoped("reading back", || {
                let staging = self.gpu.buffer("staging", bytes, usage);
                let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                encoder.copy_buffer_to_buffer(self.buffer(slot), offset, &staging, 0, bytes);
                (staging, self.gpu.queue.submit([encoder.finish()]))
            })
            .await?;
        self.gpu.wait(submission)?;
        self.gpu.map(&staging, <[u8]>::to_vec).await
    }

    /// Slots of a guarded session whose guard words were written, after a run.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn broken_guards(&self, plan: &Plan) -> Result<Vec<usize>> {
        let Some(guard) = self.guard else { return Ok(Vec::new()) };
        let mut broken = Vec::new();
        for (slot, s) in plan.slots.iter().enumerate().filter(|(_, s)| s.hold.layout() == Layout::Rows) {
            let bytes = self.copy_out(slot, s.bytes, 4 * GUARD_WORDS as u64).await?;
            if bytemuck::pod_collect_to_vec::<u8, u32>(&bytes) != guard.words(slot, GUARD_WORDS) {
                broken.push(slot);
            }
        }
        for (value, view) in self.textures(plan) {
            let words = words_a_texel(value.layout);
            let used = value.layout.elements(&value.shape);
            let all = self.read_texture(view, value.layout).await?;
            if all[used * words..] != guard.words(value.slot, all.len() - used * words) {
                broken.push(value.slot);
            }
        }
        Ok(broken)
    }

    /// All words of a texture.
    async fn read_texture(&self, view: &wgpu::TextureView, layout: Layout) -> Result<Vec<u32>> {
        let row_bytes = (4 * words_a_texel(layout) * TEXELS_A_ROW) as u32;
        let texture = view.texture();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let (staging, submission) = self
            .gpu
            .scoped("reading back", || {
                let staging = self.gpu.buffer("staging", u64::from(row_bytes) * u64::from(texture.height()), usage);
                let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                let layout =
                    wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row_bytes), rows_per_image: None };
                let to = wgpu::TexelCopyBufferInfo { buffer: &staging, layout };
                encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
                (staging, self.gpu.queue.submit([encoder.finish()]))
            })
            .await?;
        self.gpu.wait(submission)?;
        self.gpu.map(&staging, bytemuck::pod_collect_to_vec).await
    }

    /// One run with the time of every step and of the copies before it, in order: timestamps where the adapter has them,
    /// else host time around a submission each. Inputs that are not given keep their values.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn time(&self, plan: &Plan, inputs: &[(usize, &Tensor)], now: Now) -> Result<Run> {
        let _turn = self.take_turn()?;
        self.gpu.scoped("uploading", || self.upload(plan, inputs)).await?;
        let timed = self.commands.iter().flat_map(|command| {
            let copies = (!command.copies.is_empty()).then_some(Timed::Copies(command));
            copies.into_iter().chain([Timed::Dispatch(command)])
        });
        self.time_all(&timed.collect::<Vec<_>>(), now).await
    }

    /// The time of copying the first `bytes` of one buffer's slot to another's, by the adapter's command for that.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn time_copy(&self, from: usize, to: usize, bytes: u64, now: Now) -> Result<Run> {
        let _turn = self.take_turn()?;
        self.time_all(&[Timed::Buffer { from, to, bytes }], now).await
    }

    async fn time_all(&self, timed: &[Timed<'_>], now: Now) -> Result<Run> {
        // What is uploaded goes ahead, so that its time is in no row.
        let uploaded = self.gpu.scoped("uploading", || self.gpu.queue.submit([])).await?;
        self.gpu.wait(uploaded)?;
        match self.gpu.timestamp_ns {
            Some(ns) => self.time_by_timestamps(timed, ns, now).await,
            None => self.time_by_host(timed, now).await,
        }
    }

    async fn time_by_timestamps(&self, timed: &[Timed<'_>], tick_ns: f32, now: Now) -> Result<Run> {
        // Metal keeps at most 4096 samples in a set; small sets are safe everywhere.
        const SPANS_PER_SET: usize = 256;
        let mut run = Run::begin(now);
        let mut zero = None;
        for timed in timed.chunks(SPANS_PER_SET) {
            let n = 2 * timed.len() as u32;
            let bytes = 8 * u64::from(n);
            let (set, resolved, readback) = self
                .gpu
                .scoped("allocating timestamps", || {
                    let set = self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                        label: None,
                        ty: wgpu::QueryType::Timestamp,
                        count: n,
                    });
                    let resolve_usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
                    let read_usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                    let buffer = |usage| self.gpu.buffer("timestamps", bytes, usage);
                    (set, buffer(resolve_usage), buffer(read_usage))
                })
                .await?;
            let begin_ms = run.now_ms();
            let recorded = self
                .gpu
                .scoped("recording", || {
                    let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                    for (i, timed) in timed.iter().enumerate() {
                        self.record_timed(&mut encoder, timed, Some((&set, 2 * i as u32)));
                    }
                    encoder.resolve_query_set(&set, 0..n, &resolved, 0);
                    encoder.copy_buffer_to_buffer(&resolved, 0, &readback, 0, bytes);
                    encoder.finish()
                })
                .await?;
            run.spent(Phase::Record, begin_ms);
            self.submit_timed(&mut run, recorded).await?;
            let ticks: Vec<u64> = self.gpu.map(&readback, bytemuck::pod_collect_to_vec).await?;
            let zero = *zero.get_or_insert(ticks[0]);
            // As signed numbers, so that a clock that runs backwards is seen.
            let ms = |from: u64, to: u64| to.wrapping_sub(from) as i64 as f64 * f64::from(tick_ns) / 1e6;
            run.spans.extend(ticks.chunks(2).map(|t| Span { begin_ms: ms(zero, t[0]), ms: ms(t[0], t[1]) }));
        }
        Ok(run)
    }

    async fn time_by_host(&self, timed: &[Timed<'_>], now: Now) -> Result<Run> {
        let mut run = Run::begin(now);
        for timed in timed {
            let begin_ms = run.now_ms();
            let recorded = self
                .gpu
                .scoped("recording", || {
                    let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                    self.record_timed(&mut encoder, timed, None);
                    encoder.finish()
                })
                .await?;
            run.spent(Phase::Record, begin_ms);
            let begin_ms = run.now_ms();
            self.submit_timed(&mut run, recorded).await?;
            run.spans.push(Span { begin_ms, ms: run.now_ms() - begin_ms });
        }
        Ok(run)
    }

    async fn submit_timed(&self, run: &mut Run, recorded: wgpu::CommandBuffer) -> Result<()> {
        let begin_ms = run.now_ms();
        let submission = self.gpu.scoped("submitting", || self.gpu.queue.submit([recorded])).await?;
        run.spent(Phase::Submit, begin_ms);
        let begin_ms = run.now_ms();
        self.gpu.wait(submission)?;
        run.spent(Phase::Wait, begin_ms);
        Ok(())
    }

    /// Records `timed` between the timestamps `first` and `first + 1` of a set.
    fn record_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        timed: &Timed<'_>,
        stamps: Option<(&wgpu::QuerySet, u32)>,
    ) {
        let writes = |first: bool, last: bool| {
            stamps.map(|(query_set, index)| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: first.then_some(index),
                end_of_pass_write_index: last.then_some(index + 1),
            })
        };
        let pass = |timestamp_writes| wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        if let Timed::Dispatch(command) = timed {
            command.record(&mut encoder.begin_compute_pass(&pass(writes(true, true))));
            return;
        }
        // A copy is no pass: empty ones beside it hold its timestamps.
        if stamps.is_some() {
            drop(encoder.begin_compute_pass(&pass(writes(true, false))));
        }
        match timed {
            Timed::Copies(command) => self.copy(encoder, command),
            Timed::Buffer { from, to, bytes } => {
                encoder.copy_buffer_to_buffer(self.buffer(*from), 0, self.buffer(*to), 0, *bytes);
            }
            Timed::Dispatch(_) => {}
        }
        if stamps.is_some() {
            drop(encoder.begin_compute_pass(&pass(writes(false, true))));
        }
    }
}

/// What one time is of.
enum Timed<'a> {
    /// The copies to textures before a step.
    Copies(&'a Command),
    Dispatch(&'a Command),
    /// A copy from slot to slot.
    Buffer {
        from: usize,
        to: usize,
        bytes: u64,
    },
}

impl Command {
    fn record(&self, pass: &mut wgpu::ComputePass) {
        let [x, y, z] = self.workgroups;
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}
