// pointwise/unary_quads: y = f(x) on channel quads, for lavapipe. Twin: src/ops/pointwise/unary.rs, whose rows define
// `activated(x, slope)`, a slope times the function.
//
// entry     one thread computes  reads
// forward   y of four channels   x

override WG: u32 = 64u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;

// plane: pixels; quads: of a picture; f0, f1: the row's parameters.
struct P { threads: u32, plane: u32, quads: u32, channels: u32, f0: f32, f1: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var y: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    let map = quotient(k, p.plane);
    let quad = map - quotient(map, p.quads) * p.quads;
    // The function may not be 0 at 0, but channels past the last one are.
    let slope = select(T(0.0), T(1.0), quad * 4u + vec4(0u, 1u, 2u, 3u) < vec4(p.channels));
    textureStore(y, texel(k), activated(textureLoad(x, texel(k)), slope));
}
