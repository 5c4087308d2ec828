//! Tensors on the host: exactly four dimensions `[N, C, H, W]`, row-major, f32.

use crate::error::{Error, Result};
pub use crate::shape::{SCALAR, Shape, len, position};

/// A shape and its elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Vec<f32>,
}

impl Tensor {
    /// Takes `data` in row-major order.
    ///
    /// # Errors
    /// The number of elements is not the product of the shape.
    pub fn new(shape: Shape, data: Vec<f32>) -> Result<Self> {
        if len(&shape) != data.len() {
            return Err(Error::Usage(format!(
                "a tensor of shape {shape:?} has {} elements, got {}",
                len(&shape),
                data.len()
            )));
        }
        Ok(Self { shape, data })
    }
    /// All elements `value`.
    pub fn filled(shape: Shape, value: f32) -> Self {
        Self { shape, data: vec![value; len(&shape)] }
    }
    /// All elements zero.
    pub fn zeros(shape: Shape) -> Self {
        Self::filled(shape, 0.0)
    }
    /// `[1, 1, 1, 1]`.
    pub fn scalar(value: f32) -> Self {
        Self::filled(SCALAR, value)
    }
    pub fn shape(&self) -> Shape {
        self.shape
    }
    pub fn data(&self) -> &[f32] {
        &self.data
    }
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
    /// The element at `[n, c, i, j]`.
    ///
    /// # Panics
    /// The position lies outside the shape.
    pub fn at(&self, [n, c, i, j]: Shape) -> f32 {
        let [_, cs, h, w] = self.shape;
        self.data[((n * cs + c) * h + i) * w + j]
    }
}
