//! Values that are stored as f16, between the host's f32 and the device.

use crate::error::{Error, Result};
use crate::plan::Value;
use crate::shape::Shape;
use crate::tensor::{DType, Tensor, len};
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::borrow::Cow;

/// Returns what the device stores for `tensor`, in whole words of four bytes.
pub(super) fn encode(tensor: &Tensor, is_half: bool) -> Cow<'_, [u8]> {
    match tensor.elements::<f32>().filter(|_| is_half) {
        None => Cow::Borrowed(tensor.bytes()),
        Some(values) => {
            let mut stored = vec![f16::ZERO; values.len().next_multiple_of(2)];
            stored[..values.len()].convert_from_f32_slice(values);
            Cow::Owned(stored.iter().flat_map(|v| v.to_bits().to_ne_bytes()).collect())
        }
    }
}

/// Returns the tensor of which the device stores `bytes`.
///
/// # Errors
/// The number of bytes does not fit the shape.
pub(super) fn decode(shape: Shape, dtype: DType, is_half: bool, bytes: &[u8]) -> Result<Tensor> {
    if !is_half {
        return Tensor::from_bytes(shape, dtype, bytes);
    }
    let values =
        bytes.chunks_exact(2).take(len(&shape)).map(|b| f16::from_bits(u16::from_ne_bytes([b[0], b[1]])).to_f32());
    Tensor::new(shape, values.collect::<Vec<f32>>())
}

/// Rejects a weight that f16 cannot hold.
///
/// # Errors
/// An element of `tensor` is finite and would become infinite.
pub(crate) fn check_range(value: &Value, tensor: &Tensor) -> Result<()> {
    let Some(values) = tensor.elements::<f32>().filter(|_| value.is_half) else { return Ok(()) };
    match values.iter().find(|v| v.is_finite() && f16::from_f32(**v).is_infinite()) {
        None => Ok(()),
        Some(v) => Err(Error::graph(
            &value.name,
            format!("holds {v:e}, which f16 cannot; use --precision f32 (Precision::F32)"),
        )),
    }
}
