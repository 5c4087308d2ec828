// pointwise/compare: y = 1 where a predicate holds for a and b, else 0. Twin: src/ops/pointwise/compare.rs, whose rows define
// `holds(a, b)` and the type T of the inputs.
//
// entry    one thread computes  reads
// forward  one y                a, b

override WG: u32 = 64u;

// shared/broadcast.wgsl says what these are.
struct P {
    threads: u32, is_same: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<T>;
@group(0) @binding(2) var<storage, read> b: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let at = place(i);
    y[i] = select(0u, 1u, holds(a[at.x], b[at.y]));
}
