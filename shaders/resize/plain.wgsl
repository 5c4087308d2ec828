// resize/plain: y = Ai · x · Ajᵀ for every plane, with Ai and Aj the interpolation weights of rows and columns.
// Twin: src/ops/resize.rs.
//
// entry       one thread computes                    reads       sums
// forward_1   4 columns of one row of t0             x           taps_i products, input rows ascending
// forward_2   4 rows of one column of y              t0          taps_j products, input columns ascending
// backward_1  one t1: 1 / Σ weights of an output     -           taps_i or taps_j weights
// backward_2  4 rows of one column of t0             dy, t1      positions, then output columns, ascending
// backward_3  4 columns of one row of dx             t0, t1      positions, then output rows, ascending
//
// t0 is [planes, out_height, width], t1 is [out_height + out_width]. The 4 columns of a thread are a quarter of the width
// apart, so that neighbouring threads read neighbouring columns; the weights are evaluated once for all 4.
//
// All positions are exact integers. With scale = num / den, output o has its centre at input position A / D, where
// A = (2o + 1)·den − num and D = 2·num. The kernel's argument for input s is B / unit, where B = A − s·D and unit is
// D, or 2·den if antialiasing stretches the kernel of a shrinking resize; half is the kernel's half width in that unit.
// The lowest input with B < half is s = q + 1 − lift for q = (2o·den + start) / D, where start = den − num − half +
// lift·D and lift makes it positive; there B = (2o·den + start) mod D + half − D.
// Beyond the borders the axis is mirrored: input s stands for the positions k·len + s (k even) and k·len + len − 1 − s
// (k odd), k from −before to after. Or it is clamped: inputs 0 and len − 1 also stand for the `before` positions before
// them and the `after` positions after them. The ranges of outputs in backward contain exactly the outputs with
// −half ≤ B < half.

override WG: u32 = 64u;

const NEAREST: u32 = 0u;
const BILINEAR: u32 = 1u;
const CLAMP: u32 = 1u;

struct P {
    planes: u32, height: u32, width: u32, out_height: u32, out_width: u32, kernel: u32, border: u32,
    num_i: u32, den_i: u32, start_i: u32, lift_i: u32, shift_i: u32,
    half_i: u32, unit_i: u32, taps_i: u32, before_i: u32, after_i: u32,
    num_j: u32, den_j: u32, start_j: u32, lift_j: u32, shift_j: u32,
    half_j: u32, unit_j: u32, taps_j: u32, before_j: u32, after_j: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> t0: array<f32>;
@group(0) @binding(6) var<storage, read_write> t1: array<f32>;

// The kernel at b / unit, for |b| ≤ half. The factors (1 − a), (2 − a), (a − 1) come from exact integers, so that every
// weight has a small relative error, even near the kernel's zeros.
fn weight(b: i32, unit: u32) -> f32 {
    if p.kernel == NEAREST { return 1.0; }
    let a = u32(abs(b));
    let scale = 1.0 / f32(unit);
    let rest = f32(i32(unit) - i32(a)) * scale;
    if p.kernel == BILINEAR { return rest; }
    let n = f32(a) * scale;
    let far = f32(2u * unit - a) * scale;
    return select(0.5 * rest * (far * far), rest * (1.0 + n - 1.5 * n * n), a <= unit);
}

// 1 / norm, and exactly 1 for the nearest neighbour.
fn reciprocal(norm: f32) -> f32 {
    return select(1.0 / norm, 1.0, p.kernel == NEAREST);
}

// Input index of position s, which is m in the period [0, 2·len) of the mirrored axis.
fn input_at(s: i32, m: u32, len: u32) -> u32 {
    if p.border == CLAMP { return u32(clamp(s, 0, i32(len) - 1)); }
    return select(2u * len - 1u - m, m, m < len);
}

// The k-th position of input s, and the lowest and highest k.
fn position(k: i32, s: u32, len: u32) -> i32 {
    if p.border == CLAMP { return i32(s) + k; }
    return k * i32(len) + i32(select(s, len - 1u - s, (k & 1) != 0));
}
fn lowest(before: u32, s: u32) -> i32 {
    return select(-i32(before), 0, p.border == CLAMP && s != 0u);
}
fn highest(after: u32, s: u32, len: u32) -> i32 {
    return select(i32(after), 0, p.border == CLAMP && s != len - 1u);
}

// The number of outputs with 2o·den ≤ v.
fn outputs_up_to(v: i32, den: u32) -> u32 {
    return select(u32(max(v, 0)) / (2u * den) + 1u, 0u, v < 0);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let quarter = (p.width + 3u) / 4u;
    let id = g.x + g.y * groups.x * WG;
    if id >= p.planes * p.out_height * quarter { return; }
    let row = id / quarter;
    let plane = row / p.out_height;
    let i = row - plane * p.out_height;
    let j0 = id - row * quarter;
    let j1 = min(j0 + quarter, p.width - 1u);
    let j2 = min(j0 + 2u * quarter, p.width - 1u);
    let j3 = min(j0 + 3u * quarter, p.width - 1u);
    let step = 2u * p.num_i;
    let a = 2u * i * p.den_i + p.start_i;
    let q = a / step;
    var b = i32(a - q * step + p.half_i) - i32(step);
    var m = (q + p.shift_i) % (2u * p.height);
    var s = i32(q) + 1 - i32(p.lift_i);
    var sum = vec4<f32>(0.0);
    var norm = 0.0;
    for (var t = 0u; t < p.taps_i && b >= -i32(p.half_i); t++) {
        let w = weight(b, p.unit_i);
        let base = (plane * p.height + input_at(s, m, p.height)) * p.width;
        sum += w * vec4(x[base + j0], x[base + j1], x[base + j2], x[base + j3]);
        norm += w;
        b -= i32(step);
        m = select(m + 1u, 0u, m + 1u == 2u * p.height);
        s += 1;
    }
    sum *= reciprocal(norm);
    let base = row * p.width;
    t0[base + j0] = sum.x;
    if j0 + quarter < p.width { t0[base + j1] = sum.y; }
    if j0 + 2u * quarter < p.width { t0[base + j2] = sum.z; }
    if j0 + 3u * quarter < p.width { t0[base + j3] = sum.w; }
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let rows = p.planes * p.out_height;
    let id = g.x + g.y * groups.x * WG;
    if id >= (rows + 3u) / 4u * p.out_width { return; }
    let block = id / p.out_width;
    let j = id - block * p.out_width;
    let i0 = block * 4u;
    let i1 = min(i0 + 1u, rows - 1u);
    let i2 = min(i0 + 2u, rows - 1u);
    let i3 = min(i0 + 3u, rows - 1u);
    let step = 2u * p.num_j;
    let a = 2u * j * p.den_j + p.start_j;
    let q = a / step;
    var b = i32(a - q * step + p.half_j) - i32(step);
    var m = (q + p.shift_j) % (2u * p.width);
    var s = i32(q) + 1 - i32(p.lift_j);
    var sum = vec4<f32>(0.0);
    var norm = 0.0;
    for (var t = 0u; t < p.taps_j && b >= -i32(p.half_j); t++) {
        let w = weight(b, p.unit_j);
        let c = input_at(s, m, p.width);
        sum += w * vec4(t0[i0 * p.width + c], t0[i1 * p.width + c], t0[i2 * p.width + c], t0[i3 * p.width + c]);
        norm += w;
        b -= i32(step);
        m = select(m + 1u, 0u, m + 1u == 2u * p.width);
        s += 1;
    }
    sum *= reciprocal(norm);
    y[i0 * p.out_width + j] = sum.x;
    if i0 + 1u < rows { y[i1 * p.out_width + j] = sum.y; }
    if i0 + 2u < rows { y[i2 * p.out_width + j] = sum.z; }
    if i0 + 3u < rows { y[i3 * p.out_width + j] = sum.w; }
}

@compute @workgroup_size(WG)
fn backward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = g.x + g.y * groups.x * WG;
    if id >= p.out_height + p.out_width { return; }
    let column = id >= p.out_height;
    let o = select(id, id - p.out_height, column);
    let step = 2u * select(p.num_i, p.num_j, column);
    let half = select(p.half_i, p.half_j, column);
    let unit = select(p.unit_i, p.unit_j, column);
    let taps = select(p.taps_i, p.taps_j, column);
    let a = 2u * o * select(p.den_i, p.den_j, column) + select(p.start_i, p.start_j, column);
    var b = i32(a % step + half) - i32(step);
    var norm = 0.0;
    for (var t = 0u; t < taps && b >= -i32(half); t++) {
        norm += weight(b, unit);
        b -= i32(step);
    }
    t1[id] = reciprocal(norm);
}

@compute @workgroup_size(WG)
fn backward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let rows = p.planes * p.out_height;
    let id = g.x + g.y * groups.x * WG;
    if id >= (rows + 3u) / 4u * p.width { return; }
    let block = id / p.width;
    let s = id - block * p.width;
    let i0 = block * 4u;
    let i1 = min(i0 + 1u, rows - 1u);
    let i2 = min(i0 + 2u, rows - 1u);
    let i3 = min(i0 + 3u, rows - 1u);
    var sum = vec4<f32>(0.0);
    for (var k = lowest(p.before_j, s); k <= highest(p.after_j, s, p.width); k++) {
        let at = position(k, s, p.width) * i32(2u * p.num_j);
        let v = at + i32(p.num_j) - i32(p.den_j) - 1;
        let begin = outputs_up_to(v - i32(p.half_j), p.den_j);
        let end = min(outputs_up_to(v + i32(p.half_j), p.den_j), p.out_width);
        for (var j = begin; j < end; j++) {
            let b = i32((2u * j + 1u) * p.den_j) - i32(p.num_j) - at;
            let w = weight(b, p.unit_j) * t1[p.out_height + j];
            sum += w * vec4(dy[i0 * p.out_width + j], dy[i1 * p.out_width + j], dy[i2 * p.out_width + j],
                dy[i3 * p.out_width + j]);
        }
    }
    t0[i0 * p.width + s] = sum.x;
    if i0 + 1u < rows { t0[i1 * p.width + s] = sum.y; }
    if i0 + 2u < rows { t0[i2 * p.width + s] = sum.z; }
    if i0 + 3u < rows { t0[i3 * p.width + s] = sum.w; }
}

@compute @workgroup_size(WG)
fn backward_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let quarter = (p.width + 3u) / 4u;
    let id = g.x + g.y * groups.x * WG;
    if id >= p.planes * p.height * quarter { return; }
    let row = id / quarter;
    let plane = row / p.height;
    let s = row - plane * p.height;
    let j0 = id - row * quarter;
    let j1 = min(j0 + quarter, p.width - 1u);
    let j2 = min(j0 + 2u * quarter, p.width - 1u);
    let j3 = min(j0 + 3u * quarter, p.width - 1u);
    var sum = vec4<f32>(0.0);
    for (var k = lowest(p.before_i, s); k <= highest(p.after_i, s, p.height); k++) {
        let at = position(k, s, p.height) * i32(2u * p.num_i);
        let v = at + i32(p.num_i) - i32(p.den_i) - 1;
        let begin = outputs_up_to(v - i32(p.half_i), p.den_i);
        let end = min(outputs_up_to(v + i32(p.half_i), p.den_i), p.out_height);
        for (var i = begin; i < end; i++) {
            let b = i32((2u * i + 1u) * p.den_i) - i32(p.num_i) - at;
            let w = weight(b, p.unit_i) * t1[i];
            let base = (plane * p.out_height + i) * p.width;
            sum += w * vec4(t0[base + j0], t0[base + j1], t0[base + j2], t0[base + j3]);
        }
    }
    let base = row * p.width;
    dx[base + j0] = sum.x;
    if j0 + quarter < p.width { dx[base + j1] = sum.y; }
    if j0 + 2u * quarter < p.width { dx[base + j2] = sum.z; }
    if j0 + 3u * quarter < p.width { dx[base + j3] = sum.w; }
}
