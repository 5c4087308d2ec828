//! Training. A step is one plan of forward pass, backward pass and optimiser, with all state on the device; runs resume bit for
//! bit. The caller decides what is trained, and on which data.

pub(crate) mod choices;
mod finite;
mod folder;
pub mod history;
pub mod loader;
mod log;
pub(crate) mod optimizer;
pub mod run;
pub(crate) mod threads;
mod training;

pub use folder::Folder;
pub use loader::Loader;
pub use optimizer::{Decay, Group, HYPER, Optimizer, Rule, Schedule, Step};
pub use run::{Hooks, Job, Progress, Validation};
pub use training::Training;
