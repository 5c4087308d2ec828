// resample/fours: sums of weighted rows of x that a table chooses, four at a time. Twin: src/ops/resample.rs.
//
// entry    one thread computes                    reads          terms and their order
// forward  four y that have the same taps         x, indices, w  the taps of their output, in parts of 64
// The four are a quarter of the elements behind the axis apart, or a quarter of those before it, so that neighbouring threads read neighbours.

override WG: u32 = 64u;
const PART = 64u;

// width: threads per output. The four are `quarter` apart among `limit`, which are those before the axis if by_outer is 1, and x_step and
// y_step apart in x and y.
struct P {
    threads: u32, rows: u32, inner: u32, outputs: u32, taps: u32,
    width: u32, by_outer: u32, quarter: u32, limit: u32, x_step: u32, y_step: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> w: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let line = thread / p.width;
    let within = thread - line * p.width;
    let outer = line / p.outputs;
    let first = (line - outer * p.outputs) * p.taps;
    let end = first + p.taps;
    let position = select(within, outer, p.by_outer == 1u);
    let is_third = position + 2u * p.quarter < p.limit;
    let is_fourth = position + 3u * p.quarter < p.limit;
    // The second one exists, since `limit` is at least 4. A third or fourth that does not reads what the first one reads.
    let x0 = outer * p.rows * p.inner + within;
    let x1 = x0 + p.x_step;
    let x2 = select(x0, x0 + 2u * p.x_step, is_third);
    let x3 = select(x0, x0 + 3u * p.x_step, is_fourth);
    var sum = vec4<f32>(0.0);
    for (var begin = first; begin < end; begin += PART) {
        var part = vec4<f32>(0.0);
        for (var k = begin; k < min(begin + PART, end); k++) {
            let row = indices[k];
            let weight = w[k];
            if weight != 0.0 {
                if row < p.rows {
                    let at = row * p.inner;
                    part += weight * vec4(x[x0 + at], x[x1 + at], x[x2 + at], x[x3 + at]);
                } else {
                    // NaN; a front end refuses it as a constant.
                    part = vec4<f32>(bitcast<f32>(0x7FC00000u | (row & 1u)));
                }
            }
        }
        sum += part;
    }
    let to = line * p.inner + within;
    y[to] = sum.x;
    y[to + p.y_step] = sum.y;
    if is_third { y[to + 2u * p.y_step] = sum.z; }
    if is_fourth { y[to + 3u * p.y_step] = sum.w; }
}
