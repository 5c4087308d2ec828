//! A fused convolution of few pixels and many channels as an implicit matrix product in parts, for GPUs.

use super::gemm;
use crate::ops::{Call, Caps, Work};

/// `shaders/conv2d/gemm_parts.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    gemm::tiles(call, caps, true)
}
