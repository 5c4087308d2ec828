// penalty: shared by the shaders of `loss`. The including shader defines `weight(k)`, the weight of element k.
//
// entry       one thread computes                            reads         terms and their order
// forward_1   a partial sum over every `threads`-th element  a, b, m      at most 64, ascending
// forward_2   one of 64 sums over every 64th partial sum;    t0           `threads` / 64, ascending, then 64, ascending
//             then y, by the first thread
// backward_a  one da                                         a, b, m, dy
// backward_b  one db                                         a, b, m, dy

override WG: u32 = 64u;
alias T = f32;
// The penalty, as in src/ops/loss.rs.
const SQUARE = 0u;
const CHARBONNIER = 1u;
const HUBER = 2u;
const HINGE = 3u;
override KIND: u32 = 0u;

// size: ε or δ.
struct P { len: u32, threads: u32, scale: f32, size: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;
@group(0) @binding(7) var<storage, read_write> t0: array<f32>;

// ρ(u, v). Comparisons, not max, where a NaN must pass.
fn penalty(u: f32, v: f32) -> f32 {
    let d = u - v;
    if KIND == SQUARE { return d * d; }
    if KIND == CHARBONNIER { return sqrt(d * d + p.size * p.size); }
    if KIND == HUBER {
        let inner = min(abs(d), p.size);
        return inner * (abs(d) - 0.5 * inner);
    }
    if KIND == HINGE {
        let margin = 1.0 - u * v;
        return select(margin, 0.0, margin < 0.0);
    }
    return max(u, 0.0) - u * v + log1p(exp(-abs(u)));
}

// The derivatives of ρ(u, v) for u and v.
fn slopes(u: f32, v: f32) -> vec2<f32> {
    let d = u - v;
    if KIND == SQUARE { return vec2(2.0 * d, -2.0 * d); }
    if KIND == CHARBONNIER { return vec2(d, -d) / penalty(u, v); }
    if KIND == HUBER {
        let slope = select(d, sign(d) * p.size, abs(d) > p.size);
        return vec2(slope, -slope);
    }
    if KIND == HINGE { return select(vec2(-v, -u), vec2(0.0), 1.0 - u * v <= 0.0); }
    // sigmoid(u) - v, which keeps its digits where sigmoid(u) is close to 1.
    let e = exp(-abs(u));
    let rest = e / (1.0 + e);
    return vec2(select(rest - v, 1.0 - v - rest, u > 0.0), -u);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.threads { return; }
    var sum = 0.0;
    for (var k = index; k < p.len; k += p.threads) {
        sum += weight(k) * penalty(a[k], b[k]);
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
    da[i] = p.scale * dy[0] * weight(i) * slopes(a[i], b[i]).x;
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    db[i] = p.scale * dy[0] * weight(i) * slopes(a[i], b[i]).y;
}
