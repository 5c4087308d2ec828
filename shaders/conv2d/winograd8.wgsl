// conv2d/winograd8: a fused convolution by Winograd's F(6×6, 3×3) and F(4×4, 5×5), for lavapipe. Twin: src/ops/conv2d/winograd.rs.
//
// 64 products per tile instead of 324 (5×5 filters: 400): fewer products, and fewer texels between the passes, per output
// than with six points (1.78 instead of 2.25; with 5×5 filters, 4 instead of 9), but larger rounding errors, and more
// waste if the picture's size is not a multiple of TILE. shared/winograd_layer.wgsl explains the entries, their order and
// their costs; the transforms are in shared/winograd8.wgsl.

alias T = vec4<f32>;
alias Bits = vec4<u32>;
// Points, taps of a filter and outputs of a tile, each per side.
const N: u32 = 8u;
const R: u32 = 3u;
const TILE: u32 = 6u;
// Output channels per group in forward_3; quads of input channels; lanes per group in forward_3.
const OC: u32 = 16u;
const KQ: u32 = 2u;
const LANES: u32 = 64u;
// Texels of weights per group, and how many each lane copies.
const FILL: u32 = KQ * OC;
const COPIES: u32 = 1u;
const OQ: u32 = 4u;
// See shared/combine.wgsl.
const COMBINE: u32 = 0u;
