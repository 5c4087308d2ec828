// cast/plain: y = x as an integer, rounded towards zero and clamped to the range of u32. Twin: src/ops/cast.rs.
//
// entry    one thread computes  reads
// forward  one y                x

override WG: u32 = 64u;

struct P { len: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    // Positive numbers in their order, 1 at 3F800000, 2³² at 4F800000, infinity at 7F800000; then NaNs, then negative numbers.
    let bits = bitcast<u32>(x[i]);
    if bits < 0x3F800000u || bits > 0x7F800000u {
        y[i] = 0u;
    } else if bits >= 0x4F800000u {
        y[i] = 0xFFFFFFFFu;
    } else {
        y[i] = u32(x[i]);
    }
}
