// pointwise/binary_quads: y = f(a, b) on channel quads, for lavapipe. Twin: src/ops/pointwise/binary.rs, whose rows define
// `apply(a, b)`, which is 0 at (0, 0).
//
// entry     one thread computes  reads
// forward   y of four channels   a, b

override WG: u32 = 64u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;

// a_pixels, b_pixels: how many pixels of y share one of a and of b: 1, or all of a picture.
struct P { threads: u32, a_pixels: u32, b_pixels: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    textureStore(y, texel(k), apply(textureLoad(a, texel(quotient(k, p.a_pixels))), textureLoad(b, texel(quotient(k, p.b_pixels)))));
}
