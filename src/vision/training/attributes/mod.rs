//! Attributes of faces: a trunk that learns all of them at once, and what classifies by its features.
//!
//! `data` reads the faces, `trunk` trains the shared network, `linear` and `metric` train what stands on its features: linear
//! classifiers, and embeddings by quintuplets or triplets.

pub mod chart;
pub mod data;
pub mod linear;
pub mod metric;
pub mod trunk;
