//! The applications built on the engine: pictures in, results out.

#[cfg(feature = "vision")]
pub mod boxes;
pub mod image;
#[cfg(feature = "vision")]
pub mod metrics;
#[cfg(feature = "vision")]
pub mod models;
#[cfg(feature = "vision")]
pub mod patch;
#[cfg(feature = "vision")]
pub mod tasks;
#[cfg(feature = "cli")]
pub mod training;
