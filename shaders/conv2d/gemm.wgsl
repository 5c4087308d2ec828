// conv2d/gemm: a fused convolution as an implicit matrix product (Chetlur et al. 2014, "cuDNN"), for hardware GPUs. Twin:
// src/ops/conv2d/gemm.rs.
//
// entry      one thread computes                      reads           terms and their order
// forward_1  t0: a tap of four filters                w               copies; runs once if w is constant
// forward_2  y: PIXELS in a row of 8 output channels  x, t0, b, a, z  all (c, u, v) by c, u, v; bias; activation; z
//
// shared/gemm.wgsl has the tiles. `lineament lab isa layers` shows what RADV makes of them: with 8 pixels, 92 % (1 × 1) to 96 % (5 × 5)
// multiply-adds of the loop's vector instructions (gfx1100, Mesa 22.3.6). No GPU has timed it yet.

const SPLIT: u32 = 0u;

fn store(part: u32, n: u32, quad: u32, i: u32, j: u32, sums: vec4<f32>) {
    finish(n, quad, i, j, sums);
}
