//! Reads ONNX networks and NumPy arrays from other programs, and reads and writes weights as safetensors.

pub mod npy;
pub mod onnx;
pub mod weights;
