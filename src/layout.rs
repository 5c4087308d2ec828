//! How tensors lie in memory, whoever computes them.

use crate::shape::{Shape, len};

/// How a tensor lies in memory; a variable's WGSL type says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `array<f32>`: `[N, C, H, W]`, row-major.
    Rows,
    /// `texture_storage_2d<r32float, …>`: element k is the texel (k mod [`TEXELS_A_ROW`], k / [`TEXELS_A_ROW`]). An
    /// input, `y` or `dy` is declared `read`, and the plan copies it there from its buffer; scratch is `read_write`.
    Texels,
    /// `texture_storage_2d<rgba32float, …>`: four channels per texel, `[N, ⌈C/4⌉, H, W, 4]` with texels numbered as in
    /// [`Layout::Texels`]; channels past C are 0. Inputs and `dy` are declared `read`, outputs `write`. Scratch counts
    /// texels; WGSL reads and writes this format through two variables, so `t1` with `write` and `t1_read` with `read`
    /// are one texture.
    Quads,
}

/// Width of the texture of a [`Layout::Texels`] or [`Layout::Quads`].
pub const TEXELS_A_ROW: usize = 4096;

/// Most elements of such a texture: rows up to WebGPU's guaranteed 8192.
pub const MAX_TEXELS: usize = TEXELS_A_ROW * 8192;

/// Rows of texels that drivers give together: lavapipe rasterises blocks of 4 × 4.
pub(crate) const ROWS_A_BLOCK: usize = 4;

impl Layout {
    /// Elements of memory for a tensor: values, or texels of four.
    pub fn elements(self, shape: &Shape) -> usize {
        let [n, c, h, w] = shape.nchw();
        match self {
            Self::Quads => n * c.div_ceil(4) * h * w,
            _ => n * c * h * w,
        }
    }
}

/// Elements to a multiple of which every member of a pack is aligned: the 256 bytes of WebGPU's
/// minStorageBufferOffsetAlignment.
pub const PACK_ALIGN: usize = 64;

/// First elements of a pack's members, and the pack's length.
pub(crate) fn pack_offsets(members: impl IntoIterator<Item = Shape>) -> (Vec<usize>, usize) {
    let mut total = 0;
    let offsets = members.into_iter().map(|shape| {
        let first = total;
        total += len(&shape).next_multiple_of(PACK_ALIGN);
        first
    });
    (offsets.collect(), total)
}
