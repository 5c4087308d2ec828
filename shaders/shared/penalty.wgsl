// penalty: shared by the shaders of `loss`. a, b and m are in units of T, as in shared/one.wgsl.
// The including shader defines `weight(k)`, the weight of element k.
//
// entry       one thread computes                            reads         terms and their order
// forward_1   a partial sum over every `threads`-th element  a, b, m      at most 64, ascending
// forward_2   one of 64 sums over every 64th partial sum;    t0           `threads` / 64, ascending, then 64, ascending
//             then y, by the first thread
// backward_a  one da                                         a, b, m, dy
// backward_b  one db                                         a, b, m, dy

override WG: u32 = 64u;
// The penalty, as in src/ops/loss.rs.
const SQUARE = 0u;
const CHARBONNIER = 1u;
const HUBER = 2u;
const HINGE = 3u;
override KIND: u32 = 0u;

// size: ε or δ.
struct P { len: u32, threads: u32, scale: f32, size: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<T>;
@group(0) @binding(2) var<storage, read> b: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<T>;
@group(0) @binding(6) var<storage, read_write> db: array<T>;
@group(0) @binding(7) var<storage, read_write> t0: array<f32>;

// ρ(u, v). Comparisons, not max, where a NaN must pass.
fn penalty(u: T, v: T) -> T {
    let d = u - v;
    if KIND == SQUARE { return d * d; }
    if KIND == CHARBONNIER { return sqrt(d * d + p.size * p.size); }
    if KIND == HUBER {
        let inner = min(abs(d), T(p.size));
        return inner * (abs(d) - 0.5 * inner);
    }
    if KIND == HINGE {
        let margin = 1.0 - u * v;
        return select(margin, T(0.0), margin < T(0.0));
    }
    return max(u, T(0.0)) - u * v + log1p(exp(-abs(u)));
}

struct Slopes { u: T, v: T }

// The derivatives of ρ(u, v) for u and v.
fn slopes(u: T, v: T) -> Slopes {
    let d = u - v;
    if KIND == SQUARE { return Slopes(2.0 * d, -2.0 * d); }
    if KIND == CHARBONNIER { return Slopes(d / penalty(u, v), -d / penalty(u, v)); }
    if KIND == HUBER {
        let slope = select(d, sign(d) * p.size, abs(d) > T(p.size));
        return Slopes(slope, -slope);
    }
    if KIND == HINGE {
        let is_met = 1.0 - u * v <= T(0.0);
        return Slopes(select(-v, T(0.0), is_met), select(-u, T(0.0), is_met));
    }
    // sigmoid(u) - v, which keeps its digits where sigmoid(u) is close to 1.
    let e = exp(-abs(u));
    let rest = e / (1.0 + e);
    return Slopes(select(rest - v, 1.0 - v - rest, u > T(0.0)), -u);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.threads { return; }
    var sum = T(0.0);
    for (var k = index; k < p.len; k += p.threads) {
        sum += weight(k) * penalty(a[k], b[k]);
    }
    t0[index] = sum_of(sum);
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
    da[i] = p.scale * dy[0] * weight(i) * slopes(a[i], b[i]).u;
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    db[i] = p.scale * dy[0] * weight(i) * slopes(a[i], b[i]).v;
}
