//! Training. A step is one plan of forward pass, backward pass and optimiser, with all state on the device; runs resume bit for
//! bit. The caller decides what is trained, and on which data.

#[cfg(feature = "cli")]
pub(crate) mod choices;
mod finite;
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
mod training;

pub use optimizer::{Decay, Group, HYPER, Optimizer, Rule, Schedule, Step};
pub use training::Training;
