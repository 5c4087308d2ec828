//! The applications built on the engine: pictures in, results out.

pub mod image;
pub mod metrics;
pub mod models;
pub mod tasks;
#[cfg(feature = "cli")]
pub mod training;
