// pointwise/binary_fours: y = f(a, b) for a and b of one shape, four elements at a time, for GPUs. Twin: src/ops/pointwise/binary.rs,
// whose rows define `apply(a, b)`, `slope_a(i, at)` and `slope_b(i, at)`.
//
// entry       one thread computes  reads
// forward     four y               a, b
// backward_a  four da              dy, and those of a, b, y that the slope names
// backward_b  four db              the same

override WG: u32 = 64u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;

struct P { threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<T>;
@group(0) @binding(2) var<storage, read> b: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<storage, read> dy: array<T>;
@group(0) @binding(5) var<storage, read_write> da: array<T>;
@group(0) @binding(6) var<storage, read_write> db: array<T>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    y[i] = apply(a[i], b[i]);
}

@compute @workgroup_size(WG)
fn backward_a(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    da[i] = dy[i] * slope_a(i, vec2(i));
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    db[i] = dy[i] * slope_b(i, vec2(i));
}
