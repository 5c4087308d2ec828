//! Tensors on the host: exactly four dimensions `[N, C, H, W]`, row-major, f32.

use crate::error::{Error, Result};

/// `[N, C, H, W]`; unused dimensions are 1. A bias is `[1, C, 1, 1]`, a matrix `[N, D, 1, 1]`, a scalar `[1, 1, 1, 1]`.
pub type Shape = [usize; 4];

/// The shape of a scalar, such as a loss.
pub const SCALAR: Shape = [1, 1, 1, 1];

/// Number of elements of a shape.
pub fn len(shape: &Shape) -> usize {
    shape.iter().product()
}

/// The position `[n, c, i, j]` of element `index` in row-major order.
pub fn position(shape: &Shape, index: usize) -> Shape {
    let [_, c, h, w] = *shape;
    [index / (c * h * w), index / (h * w) % c, index / w % h, index % w]
}

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
