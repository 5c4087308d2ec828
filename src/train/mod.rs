//! Training: a step is one plan of forward, backward and optimiser, all of whose state lives on the device.

mod optimizer;
#[cfg(feature = "cli")]
mod patches;
#[cfg(feature = "cli")]
pub mod upscale;

pub use optimizer::{HYPER, Optimizer, Schedule};
