//! lineament: runs and trains convolutional networks on any adapter that wgpu reaches.

pub mod error;
pub mod exec;
#[cfg(feature = "cli")]
mod files;
pub mod grad;
pub mod graph;
pub mod image;
pub mod metrics;
pub mod ops;
pub mod plan;
pub mod rng;
pub mod shader;
pub mod tensor;
pub mod weights;

pub use crate::image::Picture;
pub use error::{Error, Result};
pub use exec::{Device, Select, Session};
pub use graph::{Graph, NodeId};
pub use tensor::{Shape, Tensor};
pub use weights::Weights;
