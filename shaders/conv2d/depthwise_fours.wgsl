// conv2d/depthwise_fours: a fused convolution whose channels each have a filter of their own, for hardware GPUs, where widths are multiples
// of four. Twin: src/ops/conv2d/depthwise_fours.rs.
//
// entry    one thread computes              reads          terms and their order
// forward  y of ROWS rows and four columns  x, w, b, a, z  bias; all (u, v) by u, v; activation; z
//
// Bound by bytes: a thread loads four pixels at a time, each once, and its columns' addresses and border mask serve all rows.

// Whether the taps are rotated by 180°.
const ADJOINT: u32 = 0u;
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
    var columns = columns_of(left);
    let filter_at = g.y * TAPS;
    var sums: array<vec4<f32>, ROWS>;
    // unroll
    for (var m = 0u; m < ROWS; m++) { sums[m] = vec4(b[g.y]); }
    // unroll
    for (var r = 0u; r < REACH_H; r++) {
        var v = row_of(&columns, first, top, r);
        // unroll
        for (var m = 0u; m < ROWS; m++) {
            // unroll
            for (var u = 0u; u < KERNEL_H; u++) {
                if r == m * STRIDE_H + u * DILATION_H {
                    // unroll
                    for (var t = 0u; t < KERNEL_W; t++) {
                        let tap = select(u * KERNEL_W + t, TAPS - 1u - u * KERNEL_W - t, ADJOINT == 1u);
                        sums[m] += w[filter_at + tap] * four_at(&v, t);
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
