//! Reads networks and NumPy arrays from other programs, and reads and writes weights as safetensors.

pub mod array;
pub mod lower;
pub mod model;
pub mod ncnn;
pub mod npy;
pub mod onnx;
mod simplify;
pub mod weights;
