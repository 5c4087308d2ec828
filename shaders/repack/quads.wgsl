// repack/quads: repack from rows to channel quads; channels past the last are 0. Twin: src/ops/repack.rs.
//
// entry    one thread computes          reads
// forward  a texel: one pixel, four c   x

override WG: u32 = 64u;

struct P { channels: u32, quads: u32, plane: u32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var y: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let map = quotient(i, p.plane);
    let n = quotient(map, p.quads);
    let c = (map - n * p.quads) * 4u;
    let k = (n * p.channels + c) * p.plane + i - map * p.plane;
    var value = vec4(x[k], 0.0, 0.0, 0.0);
    if c + 1u < p.channels { value.y = x[k + p.plane]; }
    if c + 2u < p.channels { value.z = x[k + 2u * p.plane]; }
    if c + 3u < p.channels { value.w = x[k + 3u * p.plane]; }
    textureStore(y, vec2(i & 4095u, i >> 12u), value);
}
