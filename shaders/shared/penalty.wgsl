// penalty: shared by the shaders of `loss`. The including shader defines `weight(k)`, the weight of element k.
//
// entry       one thread computes                            reads         terms and their order
// forward_1   a partial sum over every `threads`-th element  a, b, m      at most 64, ascending
// forward_2   one of 64 sums over every 64th partial sum;    t0           `threads` / 64, ascending, then 64, ascending
//             then y, by the first thread
// backward_a  one da                                         a, b, m, dy
// backward_b  one db                                         a, b, m, dy

override WG: u32 = 64u;
// ρ(d) = d² if it is 1, sqrt(d² + eps²) if it is 0.
override SQUARE: u32 = 1u;

struct P { len: u32, threads: u32, scale: f32, eps: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;
@group(0) @binding(7) var<storage, read_write> t0: array<f32>;

// ρ(d).
fn penalty(d: f32) -> f32 {
    if SQUARE == 1u { return d * d; }
    return sqrt(d * d + p.eps * p.eps);
}

// ρ'(d).
fn slope(d: f32) -> f32 {
    if SQUARE == 1u { return 2.0 * d; }
    return d / penalty(d);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.threads { return; }
    var sum = 0.0;
    for (var k = index; k < p.len; k += p.threads) {
        sum += weight(k) * penalty(a[k] - b[k]);
    }
    t0[index] = sum;
}

@compute @workgroup_size(64)
fn forward_2(@builtin(local_invocation_index) lane: u32) {
    let sum = total(lane, p.threads);
    if lane == 0u { y[0] = sum * p.scale; }
}

@compute @workgroup_size(WG)
fn backward_a(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    da[i] = p.scale * dy[0] * weight(i) * slope(a[i] - b[i]);
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    db[i] = p.scale * dy[0] * weight(i) * slope(b[i] - a[i]);
}
