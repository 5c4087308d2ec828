//! Layouts of tensors in memory, independent of what computes them.

use crate::shape::{Shape, len};

/// The layout of a tensor in memory; the WGSL type of a variable determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `array<f32>`: `[N, C, H, W]`, row-major. A kernel that serves only multiples of four may declare `array<vec4<f32>>`.
    Rows,
    /// `texture_storage_2d<r32float, …>`: element k is the texel (k mod [`TEXELS_PER_ROW`], k / [`TEXELS_PER_ROW`]). An
    /// input, `y` or `dy` is declared `read`, and the plan copies it from its buffer into the texture; scratch is `read_write`.
    Texels,
    /// `texture_storage_2d<rgba32float, …>`: four channels per texel, `[N, ⌈C/4⌉, H, W, 4]` with texels numbered as in
    /// [`Layout::Texels`]; channels past C are 0. Inputs and `dy` are declared `read`, outputs `write`. Sizes of scratch are in
    /// texels. WGSL reads and writes this format through two variables, so `t1` with `write` and `t1_read` with `read`
    /// are one texture.
    Quads,
}

/// Width of the texture of a [`Layout::Texels`] or [`Layout::Quads`].
pub const TEXELS_PER_ROW: usize = 4096;

/// Maximum number of texels of such a texture: it has up to 8192 rows, which WebGPU guarantees.
pub const MAX_TEXELS: usize = TEXELS_PER_ROW * 8192;

/// Rows of texels that drivers allocate together: lavapipe rasterises blocks of 4 × 4.
pub(crate) const ROWS_PER_BLOCK: usize = 4;

/// Returns how many rows of texels a slot for `texels` takes: whole blocks, since drivers allocate these anyway, with at least one row to
/// spare, which its texture goes without. The texture then never has a power of two of rows: for such a height lavapipe compiles
/// every shader once more (Mesa 22.3.6, `lp_sampler_static_texture_state`).
pub(crate) fn rows_of_slot(texels: usize) -> usize {
    (texels.div_ceil(TEXELS_PER_ROW) + 1).next_multiple_of(ROWS_PER_BLOCK)
}

impl Layout {
    /// Returns the number of elements that a tensor takes in memory: values, or texels of four values.
    pub fn elements(self, shape: &Shape) -> usize {
        let [n, c, h, w] = shape.nchw();
        match self {
            Self::Quads => n * c.div_ceil(4) * h * w,
            _ => n * c * h * w,
        }
    }
}

/// Alignment of the members of a pack, in elements: the 256 bytes of WebGPU's minStorageBufferOffsetAlignment.
pub const PACK_ALIGN: usize = 64;

/// Returns the first element of each member of a pack, and the length of the pack.
pub(crate) fn pack_offsets(members: impl IntoIterator<Item = Shape>) -> (Vec<usize>, usize) {
    let mut total = 0;
    let offsets = members.into_iter().map(|shape| {
        let first = total;
        total += len(&shape).next_multiple_of(PACK_ALIGN);
        first
    });
    (offsets.collect(), total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_texture_has_a_power_of_two_of_rows() {
        for texels in (1..64).flat_map(|rows| [rows * TEXELS_PER_ROW - 1, rows * TEXELS_PER_ROW]) {
            let rows = rows_of_slot(texels) - 1;
            assert!(rows * TEXELS_PER_ROW >= texels && !rows.is_power_of_two(), "{rows} rows for {texels} texels");
        }
    }
}
