//! A fused convolution as an implicit matrix product, for GPUs: any filter, stride and dilation.

use super::layer::{Layer, Tile};
use crate::ops::{Call, Caps, Work};

/// `shaders/conv2d/gemm.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    tiles(call, caps, false)
}

/// `shaders/shared/gemm.wgsl`, with sums in parts if `split`.
pub(super) fn tiles(call: &Call, caps: &Caps, split: bool) -> Option<Work> {
    let layer = Layer::new(call)?.flat();
    // Groups of few channels leave most of a tile empty.
    if layer.op.groups > 1 && layer.out_group < 8 {
        return None;
    }
    let tile = Tile::new(&layer, caps, 2, split, |rows, chunk| Some(chunk * rows))?;
    let constants = [
        ("WINDOW_H", layer.window[0]),
        ("WINDOW_W", layer.window[1]),
        ("STRIDE_W", layer.stride[1]),
        ("DILATION_W", layer.op.dilation[1]),
        ("STEP_C", tile.chunk / layer.window[0]),
        ("STEP_U", tile.chunk % layer.window[0]),
        ("REACH", tile.reach),
        ("WIDE", tile.wide),
    ];
    tile.serve(layer, call, caps, &constants)
}
