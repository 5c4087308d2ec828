// sigmoid/plain: y = 1 / (1 + exp(-x)), element by element. Twin: src/ops/sigmoid.rs.
//
// entry     one thread computes  reads   note
// forward   one y                x       exp of -|x| only, so nothing overflows
// backward  one dx               y, dy   dx = dy·y·(1 - y), so the planner may free x

override WG: u32 = 64u;

struct P { len: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let v = x[i];
    // Below zero the fraction is expanded by exp(x): exp(x) / (1 + exp(x)).
    let e = exp(-abs(v));
    y[i] = select(e, 1.0, v >= 0.0) / (1.0 + e);
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let v = y[i];
    dx[i] = dy[i] * (v * (1.0 - v));
}
