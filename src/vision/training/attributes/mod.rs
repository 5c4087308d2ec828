//! Attributes of faces: a trunk that learns all of them at once, and what classifies by its features.
//!
//! `data` reads the faces, `trunk` has the shared network, `linear` and `metric` train what stands on its features: linear classifiers, and
//! embeddings by quintuplets or triplets. `run` trains the network that labels faces, and `calibration` turns its logits into
//! probabilities.

pub mod calibration;
pub mod chart;
pub mod data;
pub mod linear;
pub mod metric;
pub mod run;
pub mod scenes;
pub mod trunk;
