// conv2d/straight: a fused convolution with every tap written out, for small filters on lavapipe. Twin: src/ops/conv2d/straight.rs.
//
// entry      one thread computes              reads     terms and their order
// forward_1  t2: four filters at a tap (DOT:  w, b, a   copies; runs once if w is constant
//            four taps of the one filter),
//            or four biases, or four slopes
// forward_2  y: one pixel, OQ quads of o;     x, t2, z  all (u, v, c) by u, v, c; bias; activation; z
//            with PLACES as below, OQ / 4
// NaN counts as larger than every number.
//
// Costs that it is designed for (ns for eight lanes; Zen 3 at 3.2 GHz, Mesa 22.3.6): a load of a texel of four values 4,
// with its border mask 6; a store 60 or more; a word of workgroup memory at a constant address in straight-line code
// almost nothing; a multiply-add 0.16 to 0.37. So the weights go to workgroup memory once for up to 256 pixels, and at
// most 4,096 multiply-adds follow without a loop or branch, in parts. The fewer groups, the less often x is loaded.

// Rows and columns of x that a thread reads.
const KH: u32 = 1u;
const KW: u32 = 1u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;
// Quads of a filter's input channels, and how many channels of a quad are real: 4, or fewer if there is one quad.
const KQ: u32 = 1u;
const KC: u32 = 1u;
// Quads of output channels per group.
const OQ: u32 = 1u;
// 1 if there is one output channel: a texel of weights then holds four input channels.
const DOT: u32 = 0u;
// 1 without DOT, else 0.
const SPREAD: u32 = 1u;
const LANES: u32 = 64u;
// Texels of weights per group.
const FILL: u32 = 1u;
// Places, SIDE × SIDE: the sums that a thread makes for each of its channels, where some window rows and columns are no tap of a place.
// Row k of the window is tap k·SPREAD_BY + REST_H − a·STEP_H for place (a, b), if the filter has it.
// SIDE = SPREAD_BY = S > 1: the pixels of x lie S apart, with zeros between them. Place (a, b) is the output (i·S + a, j·S + b), and row
//   k that of row i + k − pad_h of x. The steps are 1.
// SIDE = 2, POOL = 1: y is the largest of the four results, each a step, the convolution's stride, from the next.
const SIDE: u32 = 1u;
const PLACES: u32 = SIDE * SIDE;
const POOL: u32 = 0u;
const SPREAD_BY: u32 = 1u;
const STEP_H: u32 = 1u;
const STEP_W: u32 = 1u;
const TAPS_H: u32 = 1u;
const TAPS_W: u32 = 1u;
const REST_H: u32 = 0u;
const REST_W: u32 = 0u;
// S, or r: channel c·r² + u·r + v goes to channel c, pixel (i·r + u, j·r + v). The four channels of a quad have the same (u, v)
// and four values of c, so that the quad stays one texel. LONE: there is one c, and a quad goes to four texels.
const FACTOR: u32 = 1u;
const LONE: u32 = 0u;
// See shared/combine.wgsl.
const COMBINE: u32 = 0u;

struct P {
    in_group: u32, c_out: u32,   // Input channels of a filter; all output channels.
    height: u32, width: u32, out_height: u32, out_width: u32,
    grid_height: u32, grid_width: u32,   // Rows and columns of threads.
    stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32,
    adjoint: u32,            // w is [Ci,Co,Kh,Kw], and its taps are rotated by 180°.
    replicate: u32,
    quads_out: u32,          // Of the convolution.
    x_quads: u32,            // Of x.
    y_quads: u32,            // Of y.
    pixels: u32,             // Of the grid, all pictures.
    groups_out: u32,         // Groups of OQ quads.
    groups_in: u32,          // Groups of OQ quads that read the same quads of x.
    biases: u32,             // First texel of the biases in t2; the slopes follow.
    slope: f32,
    f0: f32, f1: f32,        // Of the activation.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var z: texture_storage_2d<rgba32float, read>;
@group(0) @binding(10) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(11) var t2_read: texture_storage_2d<rgba32float, read>;

fn source(k: u32) -> vec4<f32> {
    return textureLoad(x, texel(k));
}

fn filter_index(o: u32, c: u32, tap: u32) -> u32 {
    let area = TAPS_H * TAPS_W;
    return select((o * p.in_group + c) * area + tap, (c * p.c_out + o) * area + area - 1u - tap, p.adjoint != 0u);
}

// Channels of a quad of the convolution.
fn channels(quad: u32) -> vec4<u32> {
    let lane = vec4(0u, 1u, 2u, 3u);
    if LONE == 1u { return quad * 4u + lane; }
    if PLACES > 1u { return quad / PLACES * 4u + lane; }
    return (quad / (FACTOR * FACTOR) * 4u + lane) * (FACTOR * FACTOR) + quad % (FACTOR * FACTOR);
}

// Texel of y for pixel (i, j) of the convolution, a quad of y and number u·r + v.
fn place(n: u32, quad: u32, number: u32, i: u32, j: u32) -> vec2<u32> {
    let row = (n * p.y_quads + quad) * p.out_height + i * FACTOR + number / FACTOR;
    return texel(row * p.out_width + j * FACTOR + number % FACTOR);
}

// The tap of a filter at row u and column v of the window, for output quad q; TAPS_H · TAPS_W if it has none.
fn tap_of(u: u32, v: u32, q: u32) -> u32 {
    let number = q % PLACES;
    let row = u * SPREAD_BY + REST_H - number / SIDE * STEP_H;   // Modulo 2³²: rows above the filter are past its end.
    let column = v * SPREAD_BY + REST_W - number % SIDE * STEP_W;
    return select(TAPS_H * TAPS_W, row * TAPS_W + column, row < TAPS_H && column < TAPS_W);
}

fn meets(u: u32, v: u32, q: u32) -> bool {
    return tap_of(u, v, q) < TAPS_H * TAPS_W;
}

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let filters = p.groups_out * FILL;
    let lane = vec4(0u, 1u, 2u, 3u);
    if thread >= filters {
        let k = thread - filters;
        let all_quads = p.groups_out * OQ;
        let o = channels(k % all_quads);
        let at = min(o, vec4(p.c_out - 1u));
        var value = vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
        if k >= all_quads { value = vec4(a[at.x], a[at.y], a[at.z], a[at.w]); }
        textureStore(t2, texel(p.biases + k), select(vec4(0.0), value, o < vec4(p.c_out)));
        return;
    }
    var c: vec4<u32>;
    var o: vec4<u32>;
    var tap: u32;
    if DOT == 1u {
        tap = thread / KQ;
        c = thread % KQ * 4u + lane;
        o = vec4(0u);
    } else {
        let k = thread % FILL / OQ;
        tap = k / (KQ * KC);
        c = vec4(k % (KQ * KC));
        o = channels(thread / FILL * OQ + thread % OQ);
    }
    let at = tap_of(tap / KW, tap % KW, thread % OQ);
    let is_real = (o < vec4(p.c_out)) & (c < vec4(p.in_group)) & vec4(at < TAPS_H * TAPS_W);
    let oc = min(o, vec4(p.c_out - 1u));
    let cc = min(c, vec4(p.in_group - 1u));
    let real = min(at, TAPS_H * TAPS_W - 1u);
    let value = vec4(
        w[filter_index(oc.x, cc.x, real)], w[filter_index(oc.y, cc.y, real)],
        w[filter_index(oc.z, cc.z, real)], w[filter_index(oc.w, cc.w, real)],
    );
    // Dead filters of trained networks hold subnormal numbers, with which lavapipe takes up to twice as long; WGSL counts them as zeros.
    let is_small = abs(value) < vec4(1.17549435e-38);
    textureStore(t2, texel(thread), select(vec4(0.0), value, is_real & !is_small));
}

// Tests the bits, since a compiler may assume that no number is NaN.
fn is_nan(v: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(v) & vec4(0x7FFFFFFFu)) > vec4(0x7F800000u);
}

// Groups: output quads, LANES pixels.
@compute @workgroup_size(LANES)
fn forward_2(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let number = g.y * LANES + l.x;
    let pixel = min(number, p.pixels - 1u);
    let grid_plane = p.grid_height * p.grid_width;
    let n = quotient(pixel, grid_plane);
    let rest = pixel - n * grid_plane;
    let i = quotient(rest, p.grid_width);
    let j = rest - i * p.grid_width;
    let first = (n * p.x_quads + g.x / p.groups_in * KQ) * p.height * p.width;
    let sum = straight(g.x, l.x, first, i * p.stride_h, j * p.stride_w, vec2(p.height, p.width), vec2(p.pad_h, p.pad_w), p.replicate != 0u);
    var best: vec4<f32>;
    // unroll
    for (var q = 0u; q < OQ; q++) {
        let quad = g.x * OQ + q;
        let bias = textureLoad(t2_read, texel(p.biases + quad));
        let slope = textureLoad(t2_read, texel(p.biases + p.groups_out * OQ + quad));
        let total = sum[q] + bias;
        let result = activated(total, slope);
        let last = min(quad, p.quads_out - 1u);
        // The selects keep LLVM from moving the arithmetic into the store's loop over lanes.
        if POOL == 1u {
            best = select(best, result, vec4(q % PLACES == 0u) | (result > best) | is_nan(result));
            if q % PLACES == PLACES - 1u {
                let row = (n * p.y_quads + quad / PLACES) * p.out_height + i;
                if number < p.pixels && quad < p.quads_out {
                    textureStore(y, texel(row * p.out_width + j), select(vec4(0.0), best, number < p.pixels));
                }
            }
        } else if LONE == 1u {
            // unroll
            for (var k = 0u; k < 4u; k++) {
                let at = place(n, 0u, min(last * 4u + k, FACTOR * FACTOR - 1u), i, j);
                let value = combined(vec4(result[k], 0.0, 0.0, 0.0), at);
                if number < p.pixels && quad * 4u + k < p.c_out { textureStore(y, at, select(vec4(0.0), value, number < p.pixels)); }
            }
        } else {
            let which = last % (FACTOR * FACTOR);
            // Places below and to the right of the picture.
            let is_outside = SPREAD_BY > 1u && (i * FACTOR + which / FACTOR >= p.out_height || j * FACTOR + which % FACTOR >= p.out_width);
            let at = place(n, last / (FACTOR * FACTOR), which, i, j);
            let value = combined(result, at);
            if number < p.pixels && quad < p.quads_out && !is_outside { textureStore(y, at, select(vec4(0.0), value, number < p.pixels)); }
        }
    }
}
