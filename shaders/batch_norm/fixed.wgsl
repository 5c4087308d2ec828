// batch_norm/fixed: y = (x - m) / root of (v + eps) · w + b, with the statistics of earlier batches. Twin: src/ops/batch_norm.rs.
//
// entry       one thread computes  reads
// forward     one y                x, w, b, m, v
// backward_x  one dx               w, v, dy
// The entries for w and b are in shared/scale_sums.wgsl.

override WG: u32 = 64u;

struct P { threads: u32, inner: u32, params: u32, terms: u32, parts: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> m: array<f32>;
@group(0) @binding(5) var<storage, read> v: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read> dy: array<f32>;
@group(0) @binding(8) var<storage, read_write> dx: array<f32>;
@group(0) @binding(9) var<storage, read_write> dw: array<f32>;
@group(0) @binding(10) var<storage, read_write> db: array<f32>;
@group(0) @binding(11) var<storage, read_write> t0: array<f32>;

fn standard(i: u32, index: u32) -> f32 {
    return (x[i] - m[index]) * inverseSqrt(v[index] + p.eps);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let k = parameter(i);
    y[i] = standard(i, k) * w[k] + b[k];
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let k = parameter(i);
    dx[i] = dy[i] * (w[k] * inverseSqrt(v[k] + p.eps));
}
