//! What an adapter allows and does, as numbers.

use crate::ops::Cost;

/// What the adapter allows. The default is WebGPU's, which every kernel must live within.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
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
    /// Arithmetic that the adapter surely does in a second; with it [`MAX_DISPATCH_MS`] bounds a dispatch.
    pub flops_per_second: f64,
    /// A texel costs much less to load than an element of a buffer, so that shaders which first copy what they read
    /// into textures gain: true of lavapipe, where it is 5 ns against 60 for eight lanes (Zen 3, Mesa 22.3.6).
    pub prefers_texels: bool,
}

/// No dispatch is planned to take longer: desktop systems reset adapters that do not answer.
pub const MAX_DISPATCH_MS: f64 = 250.0;

impl Default for Limits {
    fn default() -> Self {
        Self {
            binding_bytes: 128 << 20,
            memory_bytes: 2 << 30,
            storage_buffers: 8,
            storage_textures: 4,
            workgroups_per_dimension: 65_535,
            threads_per_workgroup: 256,
            workgroup_bytes: 16_384,
            flops_per_second: 4e9,
            prefers_texels: false,
        }
    }
}

impl Limits {
    /// Those of the references on the processor: any size and any time, up to `memory_bytes` for all tensors together.
    pub fn references(memory_bytes: u64) -> Self {
        Self { binding_bytes: u64::MAX, memory_bytes, flops_per_second: f64::INFINITY, ..Self::default() }
    }
    /// Milliseconds that `cost` takes at most on such an adapter.
    pub fn estimate_ms(&self, cost: Cost) -> f64 {
        cost.flops as f64 / self.flops_per_second * 1e3
    }
}
