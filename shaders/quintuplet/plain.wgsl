// quintuplet/plain: y = scale · sum over n, k of m[n,k] · max(0, g_k + D_k - D_(k+1)). Twin: src/ops/quintuplet.rs.
//
// entry         one thread computes                              reads     terms and their order
// forward_1     an anchor's loss                                 f, m      each distance by d, ascending; then the three hinges
// forward_2     one of 64 sums over every 64th anchor;           t0        count / 64, ascending, then 64, ascending
//               then y, by the first thread
// backward_f_1  the slopes of an anchor's four distances         f, m      each distance by d, ascending
// backward_f_2  one df                                           f, t0, dy an anchor: its four distances, ascending
//
// Rows n, count + n, 2 · count + n, … of f are the anchor n and its four partners; D_k is the squared distance from the anchor to
// partner k, counted from 0.

override WG: u32 = 64u;

struct P { count: u32, dimensions: u32, g0: f32, g1: f32, g2: f32, scale: f32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> f: array<f32>;
@group(0) @binding(2) var<storage, read> m: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> df: array<f32>;
@group(0) @binding(6) var<storage, read_write> t0: array<f32>;

fn distances(anchor: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var d = 0u; d < p.dimensions; d++) {
        let own = f[anchor * p.dimensions + d];
        var apart: vec4<f32>;
        for (var k = 0u; k < 4u; k++) {
            apart[k] = own - f[((k + 1u) * p.count + anchor) * p.dimensions + d];
        }
        sum += apart * apart;
    }
    return sum;
}

// The arguments of the three hinges.
fn arguments(anchor: u32) -> vec3<f32> {
    let far = distances(anchor);
    return vec3(p.g0, p.g1, p.g2) + far.xyz - far.yzw;
}

fn weights(anchor: u32) -> vec3<f32> {
    return vec3(m[anchor * 3u], m[anchor * 3u + 1u], m[anchor * 3u + 2u]);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let anchor = g.x + g.y * groups.x * WG;
    if anchor >= p.threads { return; }
    let h = arguments(anchor);
    let w = weights(anchor);
    var loss = 0.0;
    // A NaN is no positive number, and passes.
    if !(h.x <= 0.0) { loss += w.x * h.x; }
    if !(h.y <= 0.0) { loss += w.y * h.y; }
    if !(h.z <= 0.0) { loss += w.z * h.z; }
    t0[anchor] = loss;
}

@compute @workgroup_size(64)
fn forward_2(@builtin(local_invocation_index) lane: u32) {
    let sum = total(lane, p.count);
    if lane == 0u { y[0] = sum * p.scale; }
}

@compute @workgroup_size(WG)
fn backward_f_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let anchor = g.x + g.y * groups.x * WG;
    if anchor >= p.threads { return; }
    let h = arguments(anchor);
    let w = select(weights(anchor), vec3(0.0), h <= vec3(0.0));
    t0[4u * anchor] = w.x;
    t0[4u * anchor + 1u] = w.y - w.x;
    t0[4u * anchor + 2u] = w.z - w.y;
    t0[4u * anchor + 3u] = -w.z;
}

@compute @workgroup_size(WG)
fn backward_f_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let d = i % p.dimensions;
    let row = i / p.dimensions;
    let anchor = row % p.count;
    let own = f[anchor * p.dimensions + d];
    var sum = 0.0;
    for (var k = 0u; k < 4u; k++) {
        let partner = (k + 1u) * p.count + anchor;
        let term = t0[4u * anchor + k] * (own - f[partner * p.dimensions + d]);
        if row == anchor { sum += term; }
        if row == partner { sum -= term; }
    }
    df[i] = 2.0 * p.scale * dy[0] * sum;
}
