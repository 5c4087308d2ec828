//! Running plans: on an adapter (`gpu`), which is the only place that names `wgpu::`, and with the references (`cpu`).
//! What waits is `async`; `blocking` has the waiting face of it.

mod blocking;
mod compile;
mod cpu;
mod device;
mod gpu;
mod network;
mod params;
mod session;
pub mod timing;

pub use blocking::adapters;
pub use device::{Choose, Device, Select, adapters_async, default_adapter};
pub use gpu::AdapterInfo;
pub use network::Network;
pub use params::Params;
pub use session::Session;

pub(crate) use cpu::{op_of, parts_of, value_of};
pub(crate) use gpu::{GpuSession, Guard};

/// Devices and sessions may be shared between threads, but for a browser's, whose handles belong to one.
#[cfg(not(target_arch = "wasm32"))]
const _: () = {
    const fn is_shareable<T: Send + Sync>() {}
    is_shareable::<Device>();
    is_shareable::<Session>();
};
