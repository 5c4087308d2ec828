//! A fused 3×3 convolution by tiles in workgroup memory, for GPUs.

use super::layer::{Layer, Tile};
use crate::ops::{Call, Caps, Work};

/// `shaders/conv2d/conv3x3_tile.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let layer = Layer::new(call)?;
    if layer.window != [3, 3] || layer.stride != [1, 1] || layer.op.dilation != [1, 1] {
        return None;
    }
    // Whole channels, each with the rows above and below the tile.
    let tile = Tile::new(&layer, caps, 3, false, |rows, chunk| (chunk % 3 == 0).then_some(chunk / 3 * (rows + 2)))?;
    let channels = tile.chunk / 3;
    tile.serve(layer, call, caps, &[("CHANNELS", channels)])
}
