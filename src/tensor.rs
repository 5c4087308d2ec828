//! Tensors on the host: one to six dimensions, row-major, f32.

use crate::error::{Error, Result};
pub use crate::shape::{MAX_RANK, SCALAR, Shape, len, position};

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
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Self> {
        let shape = shape.into();
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
    pub fn filled(shape: impl Into<Shape>, value: f32) -> Self {
        let shape = shape.into();
        Self { shape, data: vec![value; len(&shape)] }
    }
    /// All elements zero.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
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
    /// The element at a position, such as `[n, c, i, j]`.
    ///
    /// # Panics
    /// The position lies outside the shape.
    pub fn at<const N: usize>(&self, position: [usize; N]) -> f32 {
        let index = position.iter().zip(&*self.shape).fold(0, |index, (at, size)| index * size + at);
        self.data[index]
    }
}
