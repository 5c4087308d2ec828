//! Training of the networks of [`super::models`]: data, objectives, runs.

pub mod attributes;
pub mod curves;
pub mod detect;
pub mod faces;
pub mod hallucinate;
pub mod packed;
mod patches;
pub mod upscale;
