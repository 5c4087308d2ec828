//! Training: a step is one plan of forward, backward and optimiser, all of whose state lives on the device.

#[cfg(feature = "cli")]
mod choices;
#[cfg(feature = "cli")]
mod curves;
#[cfg(feature = "cli")]
pub mod faces;
#[cfg(feature = "cli")]
mod folder;
#[cfg(feature = "cli")]
pub mod hallucinate;
#[cfg(feature = "cli")]
mod loader;
#[cfg(feature = "cli")]
mod log;
mod optimizer;
#[cfg(feature = "cli")]
mod patches;
#[cfg(feature = "cli")]
pub mod run;
#[cfg(feature = "cli")]
pub(crate) mod threads;
#[cfg(feature = "cli")]
pub mod upscale;

pub use optimizer::{Decay, Group, HYPER, Optimizer, Rule, Schedule, Step};
