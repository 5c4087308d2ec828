//! A plan on an adapter: its memory, commands and runs.

use super::adapter::{Gpu, words_per_texel};
use super::guard::{GUARD_BLOCKS, GUARD_WORDS, Guard};
use super::half::{check_range, decode, encode};
use super::pipelines::{Pipeline, Pipelines};
use super::quads;
use super::readback::copy_quads;
use super::resident::{Member, Place, Resident};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind};
use crate::layout::{Layout, TEXELS_PER_ROW};
use crate::plan::{Hold, Plan, Value};
use crate::tensor::{Tensor, len};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Maximum estimated time of one submission in milliseconds: after a longer one, the driver's watchdog might reset the adapter.
const MAX_SUBMIT_MS: f64 = 1000.0;

/// Alignment of a step's uniform block in bytes, from WebGPU's default limits.
const UNIFORM_ALIGN: usize = 256;

/// The memory of a slot.
pub(super) enum Memory {
    Buffer(Place),
    /// Channel quads, scratch between the passes of a method, or a copy of a buffer that is made before the step that reads it.
    Texture(wgpu::TextureView),
}

/// A plan on an adapter: one buffer or texture per slot and one bind group per step, all created once.
pub struct GpuSession {
    pub(super) gpu: Arc<Gpu>,
    pub(super) memory: Vec<Memory>,
    pub(super) commands: Vec<Command>,
    readback: Option<wgpu::Buffer>,
    pub(super) guard: Option<Guard>,
    /// The version of the parameters with which the steps that run once have run, plus 1; 0 if they have to run again.
    prepared: AtomicU64,
    /// The parameters that this session shares with others, and whether it overwrites some of them.
    resident: Option<(Arc<Resident>, bool)>,
    /// A run is in progress. Runs share the slots, so only one is allowed at a time.
    is_running: AtomicBool,
}

/// A copy of a value from the slot of a buffer to the slot of a texture.
pub(super) struct Copy {
    buffer: usize,
    offset: u64,
    texture: usize,
    elements: usize,
}

/// Held while a session runs.
pub(super) struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

pub(super) struct Command {
    pub(super) copies: Vec<Copy>,
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 3],
    estimate_ms: f64,
    /// Runs again only after a parameter was written.
    once: bool,
}

/// Returns whether a step writes a slot.
fn is_written(plan: &Plan, slot: usize) -> bool {
    plan.steps.iter().flat_map(|step| &step.bindings).any(|b| b.writable && plan.values[b.value].slot == slot)
}

/// Returns the parameters in `slot` that sessions share, each with its node. Unless the parameters are live, these are trainable and
/// not written.
fn shared_parameters<'g>(graph: &'g Graph, plan: &Plan, slot: usize, is_live: bool) -> Vec<(usize, Member<'g>)> {
    if !matches!(plan.slots[slot].hold, Hold::Node(_) | Hold::Pack { is_kept: true }) {
        return Vec::new();
    }
    let of_value = |value: &Value| {
        let node = value.node.filter(|_| value.slot == slot)?;
        match graph.nodes()[node].kind {
            Kind::Param { trainable, .. } if trainable || is_live => {
                let Value { shape, is_half, offset_bytes: offset, .. } = *value;
                Some((node, Member { name: &graph.nodes()[node].name, shape, is_half, offset }))
            }
            _ => None,
        }
    };
    let is_shared = is_live || !is_written(plan, slot);
    plan.values.iter().filter_map(of_value).filter(|_| is_shared).collect()
}

/// Creates the commands of a plan whose slots are `memory`, with their pipelines and bind groups.
///
/// # Errors
/// A marked loop of a shader cannot be unrolled.
fn commands(pipelines: &Pipelines, plan: &Plan, memory: &[Memory], guard_bytes: u64) -> Result<Vec<Command>> {
    let gpu = &pipelines.gpu;
    let mut uniforms: Vec<u8> = Vec::new();
    let mut offsets = Vec::new();
    for step in &plan.steps {
        uniforms.resize(uniforms.len().next_multiple_of(UNIFORM_ALIGN), 0);
        offsets.push(uniforms.len() as u64);
        uniforms.extend_from_slice(&step.params);
    }
    uniforms.resize(uniforms.len().next_multiple_of(UNIFORM_ALIGN).max(UNIFORM_ALIGN), 0);
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let uniform = gpu.buffer("uniforms", uniforms.len() as u64, usage);
    gpu.queue.write_buffer(&uniform, 0, &uniforms);

    let mut commands = Vec::with_capacity(plan.steps.len());
    for (step, &offset) in plan.steps.iter().zip(&offsets) {
        let pipeline = pipelines.pipeline(step)?;
        let mut entries = Vec::new();
        let bind = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) })
        };
        if !step.params.is_empty() {
            let resource = bind(&uniform, offset, step.params.len() as u64);
            entries.push(wgpu::BindGroupEntry { binding: 0, resource });
        }
        for b in &step.bindings {
            let value = &plan.values[b.value];
            // What lies within a pack is followed by other members, not by a guard.
            let guard_bytes = if value.within.is_none() { guard_bytes } else { 0 };
            let bytes = value.bytes() + guard_bytes;
            let resource = match &memory[value.slot] {
                Memory::Buffer(place) => bind(&place.buffer, place.offset + value.offset_bytes, bytes),
                Memory::Texture(view) => wgpu::BindingResource::TextureView(view),
            };
            entries.push(wgpu::BindGroupEntry { binding: b.binding, resource });
        }
        let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&step.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        let copy = |&(from, to): &(usize, usize)| {
            let [from, to] = [from, to].map(|v| &plan.values[v]);
            let elements = len(&from.shape);
            Copy { buffer: from.slot, offset: from.offset_bytes, texture: to.slot, elements }
        };
        commands.push(Command {
            copies: step.copies.iter().map(copy).collect(),
            pipeline,
            bind_group,
            workgroups: step.workgroups,
            estimate_ms: step.most_ms,
            once: step.once,
        });
    }
    Ok(commands)
}

impl GpuSession {
    /// Allocates memory, compiles the shaders and uploads every parameter that is not yet `resident`. A guarded session, which is for
    /// checks, fills memory before each run and watches the words after every buffer and texture.
    ///
    /// # Errors
    /// The adapter does not have enough memory or rejects a shader.
    pub async fn new(
        pipelines: &Pipelines,
        graph: &Graph,
        plan: &Plan,
        parameters: &HashMap<usize, Tensor>,
        resident: Option<&Arc<Resident>>,
        guard: Option<Guard>,
    ) -> Result<Self> {
        let gpu = &pipelines.gpu;
        gpu.check_lost()?;
        for value in &plan.values {
            value.node.and_then(|node| parameters.get(&node)).map_or(Ok(()), |tensor| check_range(value, tensor))?;
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let guard_bytes = if guard.is_some() { 4 * GUARD_WORDS as u64 } else { 0 };
        let guard_blocks = if guard.is_some() { GUARD_BLOCKS } else { 0 };
        let fetched = plan.readback_bytes();
        let is_live = resident.is_some_and(|resident| resident.is_live());
        let overwrites = (0..plan.slots.len())
            .any(|slot| is_live && is_written(plan, slot) && !shared_parameters(graph, plan, slot, true).is_empty());
        // A single error scope for everything that follows, because leaving a scope waits for the adapter.
        let what = format!("preparing {} steps in {} bytes", plan.steps.len(), plan.peak_bytes());
        // The slots whose parameter is resident, and thus uploaded.
        let mut is_uploaded = vec![false; plan.slots.len()];
        let prepare = || -> Result<_> {
            let mut memory = Vec::with_capacity(plan.slots.len());
            for (slot, s) in plan.slots.iter().enumerate() {
                let own = || gpu.buffer("slot", s.bytes + guard_bytes, usage);
                let shared = resident.filter(|_| guard.is_none()).map(|resident| {
                    let (nodes, members): (Vec<_>, Vec<_>) =
                        shared_parameters(graph, plan, slot, resident.is_live()).into_iter().unzip();
                    (resident, nodes, members)
                });
                memory.push(match (s.hold.layout(), shared) {
                    (Layout::Rows, Some((resident, nodes, members))) if !members.is_empty() => {
                        is_uploaded[slot] = true;
                        Memory::Buffer(resident.place(gpu, &members, || {
                            let buffer = own();
                            for (node, member) in nodes.iter().zip(&members) {
                                if let Some(tensor) = parameters.get(node) {
                                    gpu.upload(&buffer, member.offset, &encode(tensor, member.is_half));
                                }
                            }
                            buffer
                        }))
                    }
                    (Layout::Rows, _) => Memory::Buffer(Place { buffer: own(), offset: 0 }),
                    (layout, _) => Memory::Texture(gpu.texture(s.bytes, layout, guard_blocks)),
                });
            }
            let read_usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let readback = (fetched > 0).then(|| gpu.buffer("readback", fetched, read_usage));
            let commands = commands(pipelines, plan, &memory, guard_bytes)?;
            Ok((memory, readback, commands))
        };
        let compiled = pipelines.compile(&plan.steps);
        let prepared = match compiled {
            Ok(()) => gpu.scoped(&what, prepare).await,
            Err(error) => Err(error),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // A later session must not find what the driver rejected.
                plan.steps.iter().for_each(|step| pipelines.forget(step.source.text));
                return Err(error);
            }
        };
        let (memory, readback, commands) = prepared?;
        let session = Self {
            gpu: gpu.clone(),
            memory,
            commands,
            readback,
            guard,
            prepared: AtomicU64::new(0),
            resident: resident.filter(|_| guard.is_none()).map(|resident| (resident.clone(), overwrites)),
            is_running: AtomicBool::new(false),
        };
        for value in plan.values.iter().filter(|v| v.layout == Layout::Rows && !is_uploaded[v.slot]) {
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

    /// Returns the memory of a slot that is not a texture.
    pub(super) fn place(&self, slot: usize) -> &Place {
        match &self.memory[slot] {
            Memory::Buffer(place) => place,
            Memory::Texture(_) => {
                unreachable!("this slot is a texture, which nothing accesses as a buffer")
            }
        }
    }

    /// Writes `words` to the texels from `from` on: part of one row, or whole rows.
    pub(super) fn write_texels(&self, view: &wgpu::TextureView, layout: Layout, from: usize, words: &[u32]) {
        let texels = words.len() / words_per_texel(layout);
        if texels == 0 {
            return;
        }
        let (x, y) = (from % TEXELS_PER_ROW, from / TEXELS_PER_ROW);
        let (width, height) =
            if texels < TEXELS_PER_ROW { (texels, 1) } else { (TEXELS_PER_ROW, texels / TEXELS_PER_ROW) };
        self.gpu.queue.write_texture(
            wgpu::TexelCopyTextureInfo {
                origin: wgpu::Origin3d { x: x as u32, y: y as u32, z: 0 },
                ..view.texture().as_image_copy()
            },
            bytemuck::cast_slice(words),
            wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some((4 * words_per_texel(layout) * TEXELS_PER_ROW) as u32),
                rows_per_image: None,
            },
            wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
        );
    }

    /// Rejects a second run while one is in progress; [`crate::Session::run`] waits for its turn first.
    pub(super) fn take_turn(&self) -> Result<Turn<'_>> {
        if self.is_running.swap(true, Ordering::Acquire) {
            return Err(Error::Usage(
                "this session is running; await that run first, or create a second session".into(),
            ));
        }
        Ok(Turn(&self.is_running))
    }

    /// Overwrites a value that is kept between runs, which is a parameter or constant.
    pub fn write(&self, value: &Value, tensor: &Tensor) {
        self.prepared.store(0, Ordering::Release);
        self.write_value(value, tensor);
    }

    fn write_value(&self, value: &Value, tensor: &Tensor) {
        match &self.memory[value.slot] {
            Memory::Buffer(place) => {
                let bytes = encode(tensor, value.is_half);
                self.gpu.upload(&place.buffer, place.offset + value.offset_bytes, &bytes);
            }
            Memory::Texture(view) => {
                self.gpu.count_uploaded(tensor.bytes().len());
                self.write_texels(view, Layout::Quads, 0, bytemuck::cast_slice(&quads::pack(tensor)));
            }
        }
    }

    /// Uploads `inputs`, pairs of a value and its tensor, runs all steps, and returns the fetched values.
    ///
    /// # Errors
    /// The adapter fails or does not respond in time.
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
                    _ => decode(value.shape, value.dtype, value.is_half, head),
                }?);
                rest = tail;
            }
            Ok(outputs)
        };
        self.gpu.map(readback, read).await?
    }

    pub(super) fn upload(&self, plan: &Plan, inputs: &[(usize, &Tensor)]) {
        if let Some(guard) = self.guard {
            self.fill_unwritten(plan, guard);
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
        let version = self.resident.as_ref().map_or(0, |(resident, _)| resident.version());
        let is_prepared = self.prepared.swap(version + 1, Ordering::AcqRel) == version + 1;
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
        self.tell_overwritten();
        if let Some(readback) = &self.readback {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            let mut offset = 0;
            for &value in &plan.fetches {
                let value = &plan.values[value];
                let bytes = value.bytes();
                match &self.memory[value.slot] {
                    Memory::Buffer(place) => {
                        let from = place.offset + value.offset_bytes;
                        encoder.copy_buffer_to_buffer(&place.buffer, from, readback, offset, bytes);
                    }
                    Memory::Texture(view) => copy_quads(&mut encoder, view, readback, offset, bytes),
                }
                offset += value.readback_bytes();
            }
            submissions.push(self.gpu.queue.submit([encoder.finish()]));
        }
        submissions
    }

    /// Tells the sessions that share parameters with this one that it has overwritten some, if it does.
    pub(super) fn tell_overwritten(&self) {
        if let Some((resident, true)) = &self.resident {
            // What runs once in this session does not depend on what it overwrites.
            self.prepared.store(resident.overwritten() + 1, Ordering::Release);
        }
    }

    /// Copies what `command` reads as texels: full rows, then the rest.
    pub(super) fn copy(&self, encoder: &mut wgpu::CommandEncoder, command: &Command) {
        for copy in &command.copies {
            let (rows, rest) = (copy.elements / TEXELS_PER_ROW, copy.elements % TEXELS_PER_ROW);
            let Memory::Texture(texture) = &self.memory[copy.texture] else {
                unreachable!("the slot of a copy as texels is a texture")
            };
            for (row, width, height) in [(0, TEXELS_PER_ROW, rows), (rows, rest, 1)] {
                if width * height == 0 {
                    continue;
                }
                let bytes_per_row = 4 * TEXELS_PER_ROW as u32;
                encoder.copy_buffer_to_texture(
                    wgpu::TexelCopyBufferInfo {
                        buffer: &self.place(copy.buffer).buffer,
                        layout: wgpu::TexelCopyBufferLayout {
                            offset: self.place(copy.buffer).offset
                                + copy.offset
                                + row as u64 * u64::from(bytes_per_row),
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
}

impl Command {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass) {
        let [x, y, z] = self.workgroups;
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}
