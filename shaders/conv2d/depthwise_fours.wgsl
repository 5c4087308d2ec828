// conv2d/depthwise_fours: a fused convolution whose channels each have a filter of their own, for hardware GPUs, where widths are multiples
// of four. Twin: src/ops/conv2d/depthwise_fours.rs.
//
// entry    one thread computes              reads          terms and their order
// forward  y of ROWS rows and four columns  x, w, b, a, z  bias; all (u, v) by u, v; activation; z
//
// Bound by bytes: a thread loads four pixels at a time, each once, and its columns' addresses and border mask serve all rows.

const KERNEL_H: u32 = 3u;
const KERNEL_W: u32 = 3u;
const STRIDE_H: u32 = 1u;
const STRIDE_W: u32 = 1u;
const DILATION_H: u32 = 1u;
const DILATION_W: u32 = 1u;
// Whether the taps are rotated by 180°.
const ADJOINT: u32 = 0u;
const ROWS: u32 = 4u;
// Rows of x that a thread meets, and in each of them quads, of which BEFORE lie to the left of its own; it begins at value SHIFT of these.
const REACH_H: u32 = 6u;
const REACH: u32 = 3u;
const BEFORE: u32 = 1u;
const SHIFT: u32 = 3u;
const VALUES: u32 = REACH * 4u;
// The rows, from and to, and the quads, from BEFORE to, that lie in the picture for every thread.
const INSIDE_FROM: u32 = 1u;
const INSIDE_TO: u32 = 5u;
const QUADS_TO: u32 = 2u;
// See shared/put.wgsl.
const COMBINE: u32 = 0u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;
alias Stored = vec4<f32>;

struct P {
    c_in: u32, c_out: u32, height: u32, out_height: u32, pad_h: u32,
    quads: u32, out_quads: u32,   // Per row of x and of y.
    out_group: u32,     // Channels of y for each of x.
    tiles: u32,         // Threads per channel.
    slope: f32, f0: f32, f1: f32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

// Groups: 64 threads of a channel, channels, pictures.
@compute @workgroup_size(64)
fn forward(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let tile = g.x * 64u + lane;
    if tile >= p.tiles { return; }
    let top = tile / p.out_quads * ROWS;
    let left = tile % p.out_quads;
    let first = (g.z * p.c_in + g.y / p.out_group) * p.height * p.quads;
    var columns: array<u32, REACH>;
    var has_columns: array<bool, REACH>;
    // unroll
    for (var k = 0u; k < REACH; k++) {
        let j = left * STRIDE_W + k - BEFORE;   // Modulo 2³²: left of the picture is past its end.
        has_columns[k] = (k >= BEFORE && k < QUADS_TO) || j < p.quads;
        columns[k] = first + select(0u, j, has_columns[k]);
    }
    let above = top * STRIDE_H - p.pad_h;
    let filter_at = g.y * (KERNEL_H * KERNEL_W);
    var sums: array<vec4<f32>, ROWS>;
    // unroll
    for (var m = 0u; m < ROWS; m++) { sums[m] = vec4(b[g.y]); }
    // unroll
    for (var r = 0u; r < REACH_H; r++) {
        let i = above + r;
        let has_row = (r >= INSIDE_FROM && r < INSIDE_TO) || i < p.height;
        let start = select(0u, i, has_row) * p.quads;
        var v: array<f32, VALUES>;
        // unroll
        for (var k = 0u; k < REACH; k++) {
            let four = select(vec4(0.0), x[columns[k] + start], has_row && has_columns[k]);
            v[k * 4u] = four.x;
            v[k * 4u + 1u] = four.y;
            v[k * 4u + 2u] = four.z;
            v[k * 4u + 3u] = four.w;
        }
        // unroll
        for (var m = 0u; m < ROWS; m++) {
            // unroll
            for (var u = 0u; u < KERNEL_H; u++) {
                if r == m * STRIDE_H + u * DILATION_H {
                    // unroll
                    for (var t = 0u; t < KERNEL_W; t++) {
                        let at = SHIFT + t * DILATION_W;
                        let four = vec4(v[at], v[STRIDE_W + at], v[2u * STRIDE_W + at], v[3u * STRIDE_W + at]);
                        let tap = select(u * KERNEL_W + t, KERNEL_H * KERNEL_W - 1u - u * KERNEL_W - t, ADJOINT == 1u);
                        sums[m] += w[filter_at + tap] * four;
                    }
                }
            }
        }
    }
    let slope = vec4(a[g.y]);
    var at = ((g.z * p.c_out + g.y) * p.out_height + top) * p.out_quads + left;
    // unroll
    for (var m = 0u; m < ROWS; m++) {
        if top + m < p.out_height { put(at, activated(sums[m], slope)); }
        at += p.out_quads;
    }
}
