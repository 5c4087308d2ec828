//! The adapter's side: the only place that names `wgpu::`.
//!
//! Everything that waits is `async`: on native, waiting polls the device with a timeout; in a browser, the event loop does.
//! Allocation, compilation and submission run inside error scopes, so that a driver's complaint becomes a typed error. A lost
//! device is remembered and reported by every later call.

mod adapter;
mod guard;
mod half;
mod pipelines;
mod quads;
mod readback;
mod resident;
mod session;
mod timing;

pub use adapter::{AdapterInfo, Gpu, adapters};
pub use guard::Guard;
pub(crate) use half::check_range;
pub use pipelines::Pipelines;
pub use resident::Resident;
pub use session::GpuSession;
