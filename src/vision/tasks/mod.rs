//! Pictures in, results out: each task prepares an input, runs a network, and finishes its output.

pub mod attributes;
pub mod detect;
pub mod hallucinate;
pub mod upscale;
mod windows;
