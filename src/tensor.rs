//! Tensors on the host: one to six dimensions, row-major, with elements of f32 or 32-bit integers.

use crate::error::{Error, Result};
pub use crate::shape::{MAX_RANK, SCALAR, Shape, len, position};

/// The type of a tensor's elements. Each takes four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DType {
    #[default]
    F32,
    I32,
    /// Labels and indices; a truth value is 0 or 1.
    U32,
}

impl DType {
    /// Returns its name in WGSL: `f32`, `i32` or `u32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::I32 => "i32",
            Self::U32 => "u32",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that a tensor's elements can have: `f32`, `i32` or `u32`.
pub trait Element: bytemuck::Pod {
    const DTYPE: DType;
    /// Wraps `values` as the elements of a tensor.
    fn wrap(values: Vec<Self>) -> Elements;
    /// Returns the values if they are of this type.
    fn slice(elements: &Elements) -> Option<&[Self]>;
}

macro_rules! elements {
    ($($type:ident $variant:ident)*) => {
        $(impl Element for $type {
            const DTYPE: DType = DType::$variant;
            fn wrap(values: Vec<Self>) -> Elements {
                Elements::$variant(values)
            }
            fn slice(elements: &Elements) -> Option<&[Self]> {
                if let Elements::$variant(values) = elements { Some(values) } else { None }
            }
        })*
    };
}

elements! { f32 F32 i32 I32 u32 U32 }

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    F32(Vec<f32>),
    I32(Vec<i32>),
    U32(Vec<u32>),
}

/// A shape and its elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    elements: Elements,
}

impl Tensor {
    /// Creates a tensor from `data` in row-major order.
    ///
    /// # Errors
    /// The number of elements is not the product of the shape.
    pub fn new<T: Element>(shape: impl Into<Shape>, data: Vec<T>) -> Result<Self> {
        let shape = shape.into();
        if len(&shape) != data.len() {
            return Err(Error::Usage(format!(
                "a tensor of shape {shape:?} has {} elements, got {}",
                len(&shape),
                data.len()
            )));
        }
        Ok(Self { shape, elements: T::wrap(data) })
    }
    /// Creates a tensor of f32 whose elements are all `value`.
    pub fn filled(shape: impl Into<Shape>, value: f32) -> Self {
        let shape = shape.into();
        Self { shape, elements: Elements::F32(vec![value; len(&shape)]) }
    }
    /// Creates a tensor of f32 whose elements are all zero.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        Self::filled(shape, 0.0)
    }
    /// Creates a tensor of shape `[1, 1, 1, 1]`.
    pub fn scalar(value: f32) -> Self {
        Self::filled(SCALAR, value)
    }
    /// Returns the same elements in another shape.
    ///
    /// # Errors
    /// The number of elements is not the product of `shape`.
    pub fn reshaped(self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if len(&shape) != len(&self.shape) {
            return Err(Error::Usage(format!("a tensor of shape {:?} cannot become one of {shape:?}", self.shape)));
        }
        Ok(Self { shape, ..self })
    }
    pub fn shape(&self) -> Shape {
        self.shape
    }
    pub fn dtype(&self) -> DType {
        match self.elements {
            Elements::F32(_) => DType::F32,
            Elements::I32(_) => DType::I32,
            Elements::U32(_) => DType::U32,
        }
    }
    /// Returns the elements of a tensor of f32.
    ///
    /// # Panics
    /// Panics if the tensor holds integers; see [`Tensor::dtype`] and [`Tensor::elements`].
    pub fn data(&self) -> &[f32] {
        self.elements().unwrap_or_else(|| panic!("a tensor of {} has no f32 elements", self.dtype()))
    }
    /// Returns the elements of a tensor of f32 for modification.
    ///
    /// # Panics
    /// As [`Tensor::data`].
    pub fn data_mut(&mut self) -> &mut [f32] {
        let dtype = self.dtype();
        match &mut self.elements {
            Elements::F32(values) => values,
            _ => panic!("a tensor of {dtype} has no f32 elements"),
        }
    }
    /// Converts a tensor of f32 into its elements.
    ///
    /// # Panics
    /// As [`Tensor::data`].
    pub fn into_data(self) -> Vec<f32> {
        let dtype = self.dtype();
        match self.elements {
            Elements::F32(values) => values,
            _ => panic!("a tensor of {dtype} has no f32 elements"),
        }
    }
    /// Returns the elements of a tensor of `T`; `None` if it holds another type.
    pub fn elements<T: Element>(&self) -> Option<&[T]> {
        T::slice(&self.elements)
    }
    /// Returns the element of a tensor of f32 at a position such as `[n, c, i, j]`.
    ///
    /// # Panics
    /// Panics if the position is outside the shape, or as [`Tensor::data`].
    pub fn at<const N: usize>(&self, position: [usize; N]) -> f32 {
        let index = position.iter().zip(&*self.shape).fold(0, |index, (at, size)| index * size + at);
        self.data()[index]
    }

    /// Returns the elements as they lie in memory, four bytes each.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.elements {
            Elements::F32(values) => bytemuck::cast_slice(values),
            Elements::I32(values) => bytemuck::cast_slice(values),
            Elements::U32(values) => bytemuck::cast_slice(values),
        }
    }

    /// Creates a tensor from bytes as [`Tensor::bytes`] returns them.
    pub(crate) fn from_bytes(shape: Shape, dtype: DType, bytes: &[u8]) -> Result<Self> {
        match dtype {
            DType::F32 => Self::new(shape, bytemuck::pod_collect_to_vec::<u8, f32>(bytes)),
            DType::I32 => Self::new(shape, bytemuck::pod_collect_to_vec::<u8, i32>(bytes)),
            DType::U32 => Self::new(shape, bytemuck::pod_collect_to_vec::<u8, u32>(bytes)),
        }
    }

    /// Returns the elements as f64, which represents each of them exactly.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        match &self.elements {
            Elements::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Elements::I32(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Elements::U32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        }
    }

    /// Creates a tensor of `values`, rounded to f32, or truncated to integers and clamped to their range.
    pub fn from_f64(shape: Shape, dtype: DType, values: &[f64]) -> Result<Self> {
        match dtype {
            DType::F32 => Self::new(shape, values.iter().map(|&v| v as f32).collect()),
            DType::I32 => Self::new(shape, values.iter().map(|&v| v as i32).collect()),
            DType::U32 => Self::new(shape, values.iter().map(|&v| v as u32).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_type_come_back_from_bytes_and_f64() {
        let all = [
            Tensor::new([3], vec![1.5_f32, -0.0, f32::MIN_POSITIVE]).unwrap(),
            Tensor::new([3], vec![i32::MIN, -1, i32::MAX]).unwrap(),
            Tensor::new([3], vec![0, 1, u32::MAX]).unwrap(),
        ];
        for tensor in all {
            let (shape, dtype) = (tensor.shape(), tensor.dtype());
            assert_eq!(Tensor::from_bytes(shape, dtype, tensor.bytes()).unwrap(), tensor);
            assert_eq!(Tensor::from_f64(shape, dtype, &tensor.to_f64()).unwrap(), tensor);
        }
        let labels = Tensor::new([2], vec![7_u32, 9]).unwrap();
        assert_eq!((labels.elements::<u32>(), labels.elements::<f32>()), (Some(&[7, 9][..]), None));
        assert!(Tensor::new([2, 2], vec![1_u32]).unwrap_err().to_string().contains("has 4 elements, got 1"));
    }
}
