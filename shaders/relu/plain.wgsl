// relu/plain: y = max(x, 0), element by element. Twin: src/ops/relu.rs.
//
// entry     one thread computes  reads   note (in units of T, as in shared/one.wgsl)
// forward   one y                x
// backward  one dx               y, dy   uses y, not x (y > 0 exactly where x > 0), so the planner may free x
// At x = 0 the gradient is 0, as in PyTorch. Uses comparisons, not max: NaN fails them and propagates.

override WG: u32 = 64u;

struct P { len: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<storage, read> dy: array<T>;
@group(0) @binding(4) var<storage, read_write> dx: array<T>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    y[i] = select(x[i], T(0.0), x[i] < T(0.0));
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    dx[i] = select(dy[i], T(0.0), y[i] <= T(0.0));
}
