// conv2d/gemm_parts: conv2d/gemm for few pixels and many channels, whose sums are computed in parts so that there are enough groups, for
// hardware GPUs. Twin: src/ops/conv2d/gemm_parts.rs.
//
// entry      one thread computes                           reads        terms and their order
// forward_1  t0: a tap of four filters                     w            copies; runs once if w is constant
// forward_2  t1: a part of PIXELS in a row of 8 channels   x, t0        the part's (c, u, v) by c, u, v
// forward_3  y of four channels                            t1, b, a, z  parts, ascending; bias; activation; z

const SPLIT: u32 = 1u;

// By part, picture, quad of channels and pixel.
@group(0) @binding(9) var<storage, read_write> t1: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read> t1_read: array<vec4<f32>>;

fn store(part: u32, n: u32, quad: u32, i: u32, j: u32, sums: vec4<f32>) {
    if i >= p.grid_height || j >= p.grid_width { return; }
    let quads = p.groups * p.blocks * OUT_QUADS;
    t1[(((part * p.batch + n) * quads + quad) * p.grid_height + i) * p.grid_width + j] = sums;
}

@compute @workgroup_size(64)
fn forward_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * 64u;
    let quads = p.groups * p.blocks * OUT_QUADS;
    let all = p.batch * quads * p.grid_height * p.grid_width;
    if k >= all { return; }
    var sums = vec4(0.0);
    for (var part = 0u; part < p.parts; part++) { sums += t1_read[part * all + k]; }
    let row = k / p.grid_width;
    let map = row / p.grid_height;
    finish(map / quads, map % quads, row % p.grid_height, k % p.grid_width, sums);
}
