// max_pool2d/quads: windows side by side, without padding, on channel quads, for lavapipe. Twin: src/ops/max_pool2d.rs.
//
// entry     one thread computes                        reads  note
// forward   y of four channels                         x      rows then columns of the window
// backward  dx of four channels of a window's pixels,  x, dy  the first maximum gets dy; NaN counts as larger than every number
//           or of pixels past the last window

override WG: u32 = 64u;
// Pixels per side of a window.
const K: u32 = 2u;

// cells_high, cells_wide: blocks of K × K pixels that cover the picture.
struct P {
    threads: u32, height: u32, width: u32, out_height: u32, out_width: u32, cells_high: u32, cells_wide: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(3) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(4) var dx: texture_storage_2d<rgba32float, write>;

// Tests the bits, since a compiler may assume that no number is NaN.
fn is_nan(v: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(v) & vec4(0x7FFFFFFFu)) > vec4(0x7F800000u);
}

fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(a, b, (b > a) | is_nan(b));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.out_width;
    let j = t - row * p.out_width;
    let plane = row / p.out_height;
    let first = (plane * p.height + (row - plane * p.out_height) * K) * p.width + j * K;
    var best = textureLoad(x, texel(first));
    // unroll
    for (var u = 0u; u < K; u++) {
        // unroll
        for (var v = 0u; v < K; v++) { best = larger(best, textureLoad(x, texel(first + u * p.width + v))); }
    }
    textureStore(y, texel(t), best);
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.cells_wide;
    let j = t - row * p.cells_wide;
    let plane = row / p.cells_high;
    let i = row - plane * p.cells_high;
    let is_window = i < p.out_height && j < p.out_width;
    var values: array<vec4<f32>, K * K>;
    // unroll
    for (var u = 0u; u < K; u++) {
        // unroll
        for (var v = 0u; v < K; v++) {
            let r = min(i * K + u, p.height - 1u);
            let s = min(j * K + v, p.width - 1u);
            values[u * K + v] = textureLoad(x, texel((plane * p.height + r) * p.width + s));
        }
    }
    var best = values[0];
    // unroll
    for (var k = 1u; k < K * K; k++) { best = larger(best, values[k]); }
    let at = (plane * p.out_height + min(i, p.out_height - 1u)) * p.out_width + min(j, p.out_width - 1u);
    let gradient = textureLoad(dy, texel(at));
    var found = vec4(!is_window);
    // unroll
    for (var u = 0u; u < K; u++) {
        // unroll
        for (var v = 0u; v < K; v++) {
            let value = values[u * K + v];
            let is_first = ((value == best) | (is_nan(value) & is_nan(best))) & !found;
            found = found | is_first;
            if i * K + u < p.height && j * K + v < p.width {
                let to = (plane * p.height + i * K + u) * p.width + j * K + v;
                textureStore(dx, texel(to), select(vec4(0.0), gradient, is_first));
            }
        }
    }
}
