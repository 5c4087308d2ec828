// repack/rows: repack from channel quads to rows. Twin: src/ops/repack.rs.
//
// entry    one thread computes          reads
// forward  y of one pixel and four c    x

override WG: u32 = 64u;

struct P { channels: u32, quads: u32, plane: u32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let map = quotient(i, p.plane);
    let n = quotient(map, p.quads);
    let c = (map - n * p.quads) * 4u;
    let k = (n * p.channels + c) * p.plane + i - map * p.plane;
    let value = textureLoad(x, vec2(i & 4095u, i >> 12u));
    y[k] = value.x;
    if c + 1u < p.channels { y[k + p.plane] = value.y; }
    if c + 2u < p.channels { y[k + 2u * p.plane] = value.z; }
    if c + 3u < p.channels { y[k + 3u * p.plane] = value.w; }
}
