//! Networks and numbers that others made, and weights: ONNX files, NumPy arrays, safetensors.

pub mod npy;
pub mod onnx;
pub mod weights;
