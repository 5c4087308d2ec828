// avg_pool2d/fours: four neighbouring windows at a time, for GPUs. Twin: src/ops/avg_pool2d.rs.
//
// entry     one thread computes  reads  summed terms, in order
// forward   four of y            x      the windows' rows, each the sum of its pixels; divided by K²
// backward  dx of four windows   dy     the windows lie side by side and cover x; dy / K²
// `reach` is in shared/window_rows.wgsl. The windows lie within the picture.

override WG: u32 = 64u;

struct P { threads: u32, height: u32, fours: u32, out_height: u32, out_fours: u32, before_h: u32, area: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let at = four_of(t);
    var sum: vec4<f32>;
    // unroll
    for (var r = 0u; r < K; r++) {
        let v = reach(at, r, 0.0);
        var part: vec4<f32>;
        // unroll
        for (var o = 0u; o < 4u; o++) {
            // unroll
            for (var s = 0u; s < K; s++) { part[o] += v[SHIFT + o * S + s]; }
        }
        sum += part;
    }
    y[t] = sum / p.area;
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let at = four_of(t);
    let d = dy[t] / p.area;
    var out: array<f32, VALUES>;
    // unroll
    for (var o = 0u; o < 4u; o++) {
        // unroll
        for (var s = 0u; s < S; s++) { out[o * S + s] = d[o]; }
    }
    // unroll
    for (var r = 0u; r < K; r++) {
        // unroll
        for (var k = 0u; k < QUADS; k++) {
            dx[(at.plane * p.height + at.top + r) * p.fours + at.q * QUADS + k] =
                vec4(out[k * 4u], out[k * 4u + 1u], out[k * 4u + 2u], out[k * 4u + 3u]);
        }
    }
}
