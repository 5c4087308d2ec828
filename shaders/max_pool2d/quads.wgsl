// max_pool2d/quads: square windows that touch or overlap, on channel quads, for lavapipe. Twin: src/ops/max_pool2d.rs.
//
// entry     one thread computes                  reads  note
// forward   y of four channels                   x      rows then columns of the window
// backward  dx of four channels of S × S pixels  x, dy  sums the windows (i, j ascending) whose first maximum a pixel is
// NaN counts as larger than every number.

override WG: u32 = 64u;
// Pixels per side of a window, and from one window to the next.
const K: u32 = 2u;
const S: u32 = 2u;
// Windows per axis that have pixels of a block of S × S, but for one: ⌈K / S⌉ − 1; and their number.
const MORE: u32 = 0u;
const M: u32 = MORE + 1u;
// Pixels per side of what those windows cover.
const SIDE: u32 = MORE * S + K;

// before_h, before_w: padding. cells_high, cells_wide: blocks that cover the picture and the padding before it.
struct P {
    threads: u32, height: u32, width: u32, out_height: u32, out_width: u32, before_h: u32, before_w: u32, cells_high: u32,
    cells_wide: u32,
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

fn is_inside(r: i32, size: u32) -> bool {
    return (r >= 0) & (r < i32(size));   // `&&` would be a branch.
}

// Loads the pixel of the picture that is nearest to (r, s). Of a window's pixels in the padding, that is another of its pixels.
fn nearest(plane: u32, r: i32, s: i32) -> vec4<f32> {
    let row = plane * p.height + u32(clamp(r, 0, i32(p.height) - 1));
    return textureLoad(x, texel(row * p.width + u32(clamp(s, 0, i32(p.width) - 1))));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.out_width;
    let plane = row / p.out_height;
    let top = i32((row - plane * p.out_height) * S) - i32(p.before_h);
    let left = i32((t - row * p.out_width) * S) - i32(p.before_w);
    var best = nearest(plane, top, left);
    // unroll
    for (var u = 0u; u < K; u++) {
        // unroll
        for (var v = 0u; v < K; v++) { best = larger(best, nearest(plane, top + i32(u), left + i32(v))); }
    }
    textureStore(y, texel(t), best);
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.cells_wide;
    let b = t - row * p.cells_wide;
    let plane = row / p.cells_high;
    let a = row - plane * p.cells_high;
    // The first pixel of the first window, and that of the block.
    let top = i32(a * S) - i32(p.before_h + MORE * S);
    let left = i32(b * S) - i32(p.before_w + MORE * S);
    let first_row = top + i32(MORE * S);
    let first_column = left + i32(MORE * S);
    var values: array<vec4<f32>, SIDE * SIDE>;
    // unroll
    for (var u = 0u; u < SIDE; u++) {
        // unroll
        for (var v = 0u; v < SIDE; v++) { values[u * SIDE + v] = nearest(plane, top + i32(u), left + i32(v)); }
    }
    var sums: array<vec4<f32>, S * S>;
    // unroll
    for (var m = 0u; m < M; m++) {
        // unroll
        for (var n = 0u; n < M; n++) {
            // Those before the first one wrap, and are too large as well.
            let i = a + m - MORE;
            let j = b + n - MORE;
            let is_window = i < p.out_height && j < p.out_width;
            let at = (plane * p.out_height + min(i, p.out_height - 1u)) * p.out_width + min(j, p.out_width - 1u);
            let gradient = textureLoad(dy, texel(at));
            var best = values[m * S * SIDE + n * S];
            // unroll
            for (var u = 0u; u < K; u++) {
                // unroll
                for (var v = 0u; v < K; v++) { best = larger(best, values[(m * S + u) * SIDE + n * S + v]); }
            }
            var found = vec4(!is_window);
            // unroll
            for (var u = 0u; u < K; u++) {
                // unroll
                for (var v = 0u; v < K; v++) {
                    // Pixels behind the picture repeat some that came before.
                    let is_in = (top + i32(m * S + u) >= 0) & (left + i32(n * S + v) >= 0);
                    let value = values[(m * S + u) * SIDE + n * S + v];
                    let is_first = ((value == best) | (is_nan(value) & is_nan(best))) & !found & vec4(is_in);
                    found = found | is_first;
                    // Others have their own blocks.
                    if m * S + u >= MORE * S && m * S + u < MORE * S + S && n * S + v >= MORE * S && n * S + v < MORE * S + S {
                        let to = (max(m * S + u, MORE * S) - MORE * S) * S + max(n * S + v, MORE * S) - MORE * S;
                        sums[min(to, S * S - 1u)] += select(vec4(0.0), gradient, is_first);
                    }
                }
            }
        }
    }
    // unroll
    for (var u = 0u; u < S; u++) {
        // unroll
        for (var v = 0u; v < S; v++) {
            let r = first_row + i32(u);
            let s = first_column + i32(v);
            if is_inside(r, p.height) & is_inside(s, p.width) {
                textureStore(dx, texel((plane * p.height + u32(r)) * p.width + u32(s)), sums[u * S + v]);
            }
        }
    }
}
