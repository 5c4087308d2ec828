// cast/plain: y = x truncated to u32, within 0 to 2^32 - 1; 0 for NaN. Twin: src/ops/cast.rs.
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
    let value = x[i];
    // NaN fails the first comparison. 2^32 itself is the first f32 past the largest u32.
    y[i] = select(0u, select(0xffffffffu, u32(clamp(value, 0.0, 4294967040.0)), value < 4294967296.0), value > 0.0);
}
