// resize/quads: the nearest pixel, for a whole number of outputs per pixel, on channel quads, for lavapipe. Twin: src/ops/resize.rs.
//
// entry     one thread computes  reads
// forward   y of four channels   x

override WG: u32 = 64u;

// times_i, times_j: rows and columns of y per pixel of x.
struct P { threads: u32, width: u32, out_height: u32, out_width: u32, times_i: u32, times_j: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var y: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    let row = quotient(k, p.out_width);
    // The rows of all planes follow each other in x as in y.
    let at = quotient(row, p.times_i) * p.width + quotient(k - row * p.out_width, p.times_j);
    textureStore(y, texel(k), textureLoad(x, texel(at)));
}
