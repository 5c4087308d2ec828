// conv2d/depthwise_rows: a fused convolution whose channels each have a filter of their own, for hardware GPUs. Twin:
// src/ops/conv2d/depthwise_rows.rs.
//
// entry    one thread computes              reads          terms and their order
// forward  y of ROWS rows and four columns  x, w, b, a, z  all (u, v) by u, v; bias; activation; z
//
// Bound by bytes: a thread loads each pixel that it meets once, and its columns' addresses and border mask serve all rows.

const KERNEL_H: u32 = 3u;
const KERNEL_W: u32 = 3u;
const STRIDE_H: u32 = 1u;
const STRIDE_W: u32 = 1u;
const DILATION_H: u32 = 1u;
const DILATION_W: u32 = 1u;
// Whether the taps are rotated by 180°.
const ADJOINT: u32 = 0u;
const ROWS: u32 = 4u;
// Rows and columns of x that a thread meets.
const REACH_H: u32 = 6u;
const REACH_W: u32 = 6u;
const REPLICATE: u32 = 0u;
// See shared/put.wgsl.
const COMBINE: u32 = 0u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;
alias Stored = f32;

struct P {
    c_in: u32, c_out: u32, height: u32, width: u32, out_height: u32, out_width: u32, pad_h: u32, pad_w: u32,
    out_group: u32,     // Channels of y for each of x.
    tiles_x: u32,       // Fours of columns per row.
    tiles: u32,         // Threads per channel.
    slope: f32, f0: f32, f1: f32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var<storage, read> z: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// Groups: 64 threads of a channel, channels, pictures.
@compute @workgroup_size(64)
fn forward(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let tile = g.x * 64u + lane;
    if tile >= p.tiles { return; }
    let top = tile / p.tiles_x * ROWS;
    let left = tile % p.tiles_x * 4u;
    let first = (g.z * p.c_in + g.y / p.out_group) * p.height * p.width;
    var columns: array<u32, REACH_W>;
    var has_column: array<bool, REACH_W>;
    // unroll
    for (var k = 0u; k < REACH_W; k++) {
        let j = left * STRIDE_W + k - p.pad_w;   // Modulo 2³²: left of the picture is past its end.
        columns[k] = first + nearest(vec4(j), p.width).x;
        has_column[k] = REPLICATE == 1u || j < p.width;
    }
    let above = top * STRIDE_H - p.pad_h;
    let filter_at = g.y * (KERNEL_H * KERNEL_W);
    var sums: array<vec4<f32>, ROWS>;
    // unroll
    for (var r = 0u; r < REACH_H; r++) {
        let i = above + r;
        let has_row = REPLICATE == 1u || i < p.height;
        let start = nearest(vec4(i), p.height).x * p.width;
        var v: array<f32, REACH_W>;
        // unroll
        for (var k = 0u; k < REACH_W; k++) { v[k] = select(0.0, x[columns[k] + start], has_row && has_column[k]); }
        // unroll
        for (var m = 0u; m < ROWS; m++) {
            // unroll
            for (var u = 0u; u < KERNEL_H; u++) {
                if r == m * STRIDE_H + u * DILATION_H {
                    // unroll
                    for (var t = 0u; t < KERNEL_W; t++) {
                        let at = t * DILATION_W;
                        let four = vec4(v[at], v[STRIDE_W + at], v[2u * STRIDE_W + at], v[3u * STRIDE_W + at]);
                        let tap = select(u * KERNEL_W + t, KERNEL_H * KERNEL_W - 1u - u * KERNEL_W - t, ADJOINT == 1u);
                        sums[m] += w[filter_at + tap] * four;
                    }
                }
            }
        }
    }
    let bias = b[g.y];
    let slope = vec4(a[g.y]);
    let rows = p.out_height - top;
    let count = p.out_width - left;
    var at = ((g.z * p.c_out + g.y) * p.out_height + top) * p.out_width + left;
    // unroll
    for (var m = 0u; m < ROWS; m++) {
        if m < rows {
            let value = activated(sums[m] + bias, slope);
            put(at, value.x);
            if count > 1u { put(at + 1u, value.y); }
            if count > 2u { put(at + 2u, value.z); }
            if count > 3u { put(at + 3u, value.w); }
        }
        at += p.out_width;
    }
}
