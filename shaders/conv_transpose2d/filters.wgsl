// conv_transpose2d/filters: the gradient of conv_transpose2d for w on channel quads, for lavapipe. Twin: src/ops/conv_transpose2d.rs.
//
// entry         one thread computes                                 reads   terms and their order
// backward_w_1  t1: sums of AQ quads of c times BQ quads of o at    x, dy   every eighth pixel of its walker, ascending
//               TW taps
// backward_w_2  dw of one c and four o at a tap                     t1      walkers, then lanes, ascending
//
// shared/correlate.wgsl explains the kernel and its costs; A is x, B is dy.

// No unit sums only A.
const BIAS: u32 = 0u;

struct P {
    c_in: u32, c_out: u32,
    a_height: u32, a_width: u32, b_height: u32, b_width: u32, a_quads: u32, b_quads: u32,
    pad_h: u32, pad_w: u32, replicate: u32,
    taps: u32, taps_w: u32, b_blocks: u32, units: u32, pixels: u32, walkers: u32, chunks: u32,
    batch: u32, step_n: u32, step_i: u32, step_j: u32,
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var t1_read: texture_storage_2d<rgba32float, read>;

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(x, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(dy, texel(k));
}

@compute @workgroup_size(64)
fn backward_w_1(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    correlate(l.x, g.x);
}

@compute @workgroup_size(64)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let at = product(thread);
    if at.a >= p.c_in { return; }
    // unroll
    for (var k = 0u; k < 4u; k++) {
        if at.b + k < p.c_out { dw[(at.a * p.c_out + at.b + k) * p.taps + at.u * p.taps_w + at.v] = at.sum[k]; }
    }
}
