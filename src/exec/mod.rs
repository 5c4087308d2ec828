//! Runs plans on an adapter (`gpu`, the only place that names `wgpu::`) or with the references (`cpu`). Functions that wait are
//! `async`; `blocking` has their blocking counterparts.

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
pub(crate) use network::{Cache, Compiled, Key};
pub use network::{Network, Outputs};
pub use params::Params;
pub use session::Session;

pub(crate) use cpu::{op_of, parts_of, value_of};
pub(crate) use gpu::{GpuSession, Guard};

/// Devices and sessions can be shared between threads, except in a browser, where handles belong to one thread.
#[cfg(not(target_arch = "wasm32"))]
const _: () = {
    const fn is_shareable<T: Send + Sync>() {}
    is_shareable::<Device>();
    is_shareable::<Session>();
};
