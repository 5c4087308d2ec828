//! Parameters on adapters, shared by sessions.

use super::adapter::Gpu;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers by the name of their parameter.
type Buffers = BTreeMap<String, wgpu::Buffer>;

/// The buffers of parameters on each adapter to which they were uploaded.
#[derive(Default)]
pub struct Resident(Mutex<Vec<(Arc<Gpu>, Buffers)>>);

impl std::fmt::Debug for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Resident").finish_non_exhaustive()
    }
}

impl Resident {
    /// Returns the buffer of parameter `name` on `gpu`. If there is none yet, `make` creates it and uploads the value before any
    /// other session can see it.
    pub(super) fn buffer(&self, gpu: &Arc<Gpu>, name: &str, make: impl FnOnce() -> wgpu::Buffer) -> wgpu::Buffer {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|(on, _)| Arc::ptr_eq(on, gpu));
        let at = known.unwrap_or_else(|| {
            all.push((gpu.clone(), BTreeMap::new()));
            all.len() - 1
        });
        all[at].1.entry(name.to_owned()).or_insert_with(make).clone()
    }
}
