//! Training of face detectors.

pub mod arrangement;
pub mod examples;
pub mod parts;
pub mod photos;
pub mod recipe;
pub mod run;
