// pointwise/unary: y = f(x), element by element. Twin: src/ops/pointwise/unary.rs, whose rows define `apply(a)`, `slope(i)` and
// `P`, the number of elements `len` and the row's parameters.
//
// entry     one thread computes  reads (in units of T, as in shared/one.wgsl)
// forward   one y                x
// backward  one dx               dy, and those of x and y that the row's derivative names

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<storage, read> dy: array<T>;
@group(0) @binding(4) var<storage, read_write> dx: array<T>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    y[i] = apply(x[i]);
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    dx[i] = dy[i] * slope(i);
}
