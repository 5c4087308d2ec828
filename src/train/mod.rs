//! Training: a step is one plan of forward, backward and optimiser, all of whose state lives on the device; runs that
//! resume to the bit. What is trained, and on which data, is the caller's.

#[cfg(feature = "cli")]
pub(crate) mod choices;
#[cfg(feature = "cli")]
mod folder;
#[cfg(feature = "cli")]
pub mod history;
#[cfg(feature = "cli")]
pub(crate) mod loader;
#[cfg(feature = "cli")]
mod log;
pub(crate) mod optimizer;
#[cfg(feature = "cli")]
pub mod run;
#[cfg(feature = "cli")]
pub(crate) mod threads;

pub use optimizer::{Decay, Group, HYPER, Optimizer, Rule, Schedule, Step};
