//! How the networks of [`super::models`] are trained: their data, their objectives, their runs.

pub mod curves;
pub mod faces;
pub mod hallucinate;
mod patches;
pub mod upscale;
