// leaky_relu/plain: y = x where x > 0, else slope·x, element by element. Twin: src/ops/leaky_relu.rs.
//
// entry     one thread computes  reads   note (in units of T, as in shared/one.wgsl)
// forward   one y                x
// backward  one dx               x, dy   not y, which a negative slope makes positive on both sides
// At x = 0 the gradient is slope·dy, as in PyTorch.

override WG: u32 = 64u;

struct P { len: u32, slope: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<storage, read> dy: array<T>;
@group(0) @binding(4) var<storage, read_write> dx: array<T>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let v = x[i];
    y[i] = select(p.slope * v, v, v > T(0.0));
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let d = dy[i];
    dx[i] = select(p.slope * d, d, x[i] > T(0.0));
}
