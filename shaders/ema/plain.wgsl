// ema/plain: e = d · e + (1 - d) · w, in place; d is the last of the hyperparameters h. Twin: src/ops/ema.rs.
//
// entry    one thread computes        reads
// forward  one element of e, in place  e, w, h
//
// e and w are in units of T, as in shared/one.wgsl.

override WG: u32 = 64u;

struct P { len: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> e: array<T>;
@group(0) @binding(2) var<storage, read> w: array<T>;
@group(0) @binding(3) var<storage, read> h: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // Read before the branch, where lavapipe reads one value for all lanes.
    let d = h[7];
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    e[i] = d * e[i] + (1.0 - d) * w[i];
}
