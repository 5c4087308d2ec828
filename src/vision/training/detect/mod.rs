//! Training of face detectors.

pub mod examples;
pub mod patch;
pub mod photos;
pub mod run;
