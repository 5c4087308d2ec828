//! Shader modules and pipelines of an adapter, created once and shared by its sessions.

use super::adapter::{Gpu, format_of};
use crate::error::Result;
use crate::layout::Layout;
use crate::plan::Step;
use crate::shader::{specialized, with_half};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Shader text, the arrays that are stored as f16, and the bits of the constants that it is specialized with.
type ModuleKey = (&'static str, Vec<String>, Vec<(&'static str, u64)>);
/// Shader text, the arrays that are stored as f16, entry, and the bits of the overrides.
type PipelineKey = (&'static str, Vec<String>, String, Vec<(&'static str, u64)>);

/// Values of `override`s by name.
type Overrides = Vec<(&'static str, f64)>;

pub struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// The compiled shaders of an adapter.
pub struct Pipelines {
    pub gpu: Arc<Gpu>,
    /// What the driver compiled in earlier processes, and in this one.
    cache: OnceLock<wgpu::PipelineCache>,
    /// A module that several threads ask for is made by one of them.
    modules: Mutex<HashMap<ModuleKey, Arc<OnceLock<wgpu::ShaderModule>>>>,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
}

fn key_of(step: &Step) -> PipelineKey {
    let overrides = step.overrides.iter().map(|(n, v)| (*n, v.to_bits())).collect();
    (step.source.text, step.half(), step.entry.clone(), overrides)
}

impl std::fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Pipelines").field("gpu", &self.gpu).finish_non_exhaustive()
    }
}

impl Pipelines {
    /// Creates an empty cache.
    pub fn new(gpu: Gpu) -> Self {
        Self { gpu: Arc::new(gpu), cache: OnceLock::new(), modules: Mutex::default(), pipelines: Mutex::default() }
    }

    /// Makes the driver use and extend what it compiled before; `data` is what [`Pipelines::compiled`] returned, or nothing.
    ///
    /// # Safety
    /// `data` must be what [`Pipelines::compiled`] returned: wgpu rejects data of another adapter, driver or version, but the driver
    /// runs whatever the rest contains.
    #[allow(unsafe_code)]
    pub unsafe fn reuse(&self, data: Option<&[u8]>) {
        if self.gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            let descriptor = wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
            // SAFETY: the caller keeps the contract of this function.
            self.cache.get_or_init(|| unsafe { self.gpu.device.create_pipeline_cache(&descriptor) });
        }
    }

    /// Returns what the driver has compiled so far, if the backend can tell and [`Pipelines::reuse`] was called.
    pub fn compiled(&self) -> Option<Vec<u8>> {
        self.cache.get()?.get_data()
    }

    /// Drops what was compiled from the shader `text`; sessions keep what they use.
    pub fn forget(&self, text: &'static str) {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| key.0 != text);
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| key.0 != text);
    }

    /// Returns the module of a step's shader for its values, and the values that are overrides.
    fn module(&self, step: &Step) -> Result<(wgpu::ShaderModule, Overrides)> {
        let (Step { source, overrides: values, .. }, half) = (step, step.half());
        let (mut text, rest) = match specialized(source.stem, source.text, values)? {
            Some((text, rest)) => (Cow::Owned(text), rest),
            None => (Cow::Borrowed(source.text), values.to_vec()),
        };
        if !half.is_empty() {
            text = Cow::Owned(with_half(source.stem, &text, &half)?);
        }
        let fixed = values.iter().filter(|v| !rest.contains(v)).map(|(n, v)| (*n, v.to_bits())).collect();
        let make = || {
            let descriptor =
                wgpu::ShaderModuleDescriptor { label: Some(source.stem), source: wgpu::ShaderSource::Wgsl(text) };
            if source.trusted {
                // SAFETY: built-in shaders index within the ranges that their launches prove, and the guarded checks
                // of tests/ops_gpu.rs watch the words after every buffer.
                #[allow(unsafe_code)]
                unsafe {
                    self.gpu.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
                }
            } else {
                self.gpu.device.create_shader_module(descriptor)
            }
        };
        let place = {
            let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
            modules.entry((source.text, half, fixed)).or_default().clone()
        };
        Ok((place.get_or_init(make).clone(), rest))
    }

    /// Compiles the pipelines of these steps that are new, in as many threads as the machine runs at once. Where there is only one,
    /// [`Pipelines::pipeline`] compiles each when it is needed.
    ///
    /// # Errors
    /// As [`Pipelines::pipeline`]; the driver rejects a shader. What was compiled must then be forgotten.
    #[cfg(not(target_family = "wasm"))]
    pub fn compile(&self, steps: &[Step]) -> Result<()> {
        use crate::threads::{are_several, in_threads};
        if !are_several() {
            return Ok(());
        }
        let mut new: Vec<&Step> = Vec::new();
        let mut keys = std::collections::HashSet::new();
        let known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        for step in steps {
            let key = key_of(step);
            if !known.contains_key(&key) && keys.insert(key) {
                new.push(step);
            }
        }
        drop(known);
        let failure = Mutex::new(None);
        in_threads(new.into_iter(), |step| {
            // Error scopes belong to the thread that opens them.
            let what = format!("compiling {}.{}", step.stem(), step.entry);
            let compiled = pollster::block_on(self.gpu.scoped(&what, || self.pipeline(step).map(|_| ())));
            if let Err(error) = compiled.and_then(|compiled| compiled) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// A browser has one thread.
    #[cfg(target_family = "wasm")]
    pub fn compile(&self, _steps: &[Step]) -> Result<()> {
        Ok(())
    }

    /// Returns the pipeline of a step, compiled if it is new.
    ///
    /// # Errors
    /// A marked loop cannot be unrolled, or an array not stored as f16. The caller's error scope reports what the driver rejects.
    pub fn pipeline(&self, step: &Step) -> Result<Arc<Pipeline>> {
        let key = key_of(step);
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
        let layout = self
            .gpu
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let pipeline_layout = self.gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let (module, constants) = self.module(step)?;
        let pipeline = self.gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(&step.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: !step.source.trusted,
            },
            cache: self.cache.get(),
        });
        let pipeline = Arc::new(Pipeline { pipeline, layout });
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).insert(key, pipeline.clone());
        Ok(pipeline)
    }
}
