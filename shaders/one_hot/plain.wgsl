// one_hot/plain: y = 1 where the index x is the position along the axis, else 0. Twin: src/ops/one_hot.rs.
//
// entry    one thread computes  reads
// forward  one y                x

override WG: u32 = 64u;

// inner: the number of indices that follow each other behind the axis.
struct P { len: u32, classes: u32, inner: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.len { return; }
    let outer = index / (p.classes * p.inner);
    y[index] = select(0.0, 1.0, x[outer * p.inner + index % p.inner] == index / p.inner % p.classes);
}
