// max_pool2d/fours: four neighbouring windows at a time, for GPUs. Twin: src/ops/max_pool2d.rs.
//
// entry     one thread computes     reads     note
// forward   four of y               x         rows then columns of the windows
// backward  dx of four windows      x, y, dy  the windows lie side by side and cover x; to the first maximum in row order
// A window's maximum is the pixel that equals y. NaN counts as larger than every number. `reach` is in shared/window_rows.wgsl.

override WG: u32 = 64u;
alias T = f32;

struct P { threads: u32, height: u32, fours: u32, out_height: u32, out_fours: u32, before_h: u32, lowest: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

fn larger(best: f32, v: f32) -> f32 {
    return select(best, v, v > best || is_nan(v));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let at = four_of(t);
    var best: array<f32, 4>;
    // unroll
    for (var r = 0u; r < K; r++) {
        let v = reach(at, r, p.lowest);
        // unroll
        for (var o = 0u; o < 4u; o++) {
            // unroll
            for (var s = 0u; s < K; s++) {
                if r + s == 0u { best[o] = v[SHIFT + o * S]; } else { best[o] = larger(best[o], v[SHIFT + o * S + s]); }
            }
        }
    }
    y[t] = vec4(best[0], best[1], best[2], best[3]);
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let at = four_of(t);
    let most = y[t];
    let d = dy[t];
    var is_nans: array<bool, 4>;
    // unroll
    for (var o = 0u; o < 4u; o++) { is_nans[o] = is_nan(most[o]); }
    var found: array<bool, 4>;
    // unroll
    for (var r = 0u; r < K; r++) {
        let v = reach(at, r, p.lowest);
        var out: array<f32, VALUES>;
        // unroll
        for (var o = 0u; o < 4u; o++) {
            // unroll
            for (var s = 0u; s < K; s++) {
                let is_largest = v[o * S + s] == most[o] || (is_nans[o] && is_nan(v[o * S + s]));
                out[o * S + s] = select(0.0, d[o], is_largest && !found[o]);
                found[o] = found[o] || is_largest;
            }
        }
        // unroll
        for (var k = 0u; k < QUADS; k++) {
            dx[(at.plane * p.height + at.top + r) * p.fours + at.q * QUADS + k] =
                vec4(out[k * 4u], out[k * 4u + 1u], out[k * 4u + 2u], out[k * 4u + 3u]);
        }
    }
}
