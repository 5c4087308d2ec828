// concat/quads: the channels of a, a multiple of four, then those of b, on channel quads, for lavapipe. Twin: src/ops/concat.rs.
//
// entry     one thread computes  reads
// forward   y of four channels   a or b

override WG: u32 = 64u;

// run_a, run_b: texels of a picture.
struct P { threads: u32, run_a: u32, run_b: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    let n = quotient(k, p.run_a + p.run_b);
    let within = k - n * (p.run_a + p.run_b);
    let is_a = within < p.run_a;
    // Both are read, from a place that exists: a load costs less than a branch.
    let of_a = textureLoad(a, texel(n * p.run_a + min(within, p.run_a - 1u)));
    let of_b = textureLoad(b, texel(n * p.run_b + select(within - p.run_a, 0u, is_a)));
    textureStore(y, texel(k), select(of_b, of_a, is_a));
}
