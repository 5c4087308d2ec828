//! Networks and arrays that others made: ONNX files, NumPy arrays.

pub mod npy;
pub mod onnx;
