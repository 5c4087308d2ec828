// conv2d/depthwise: a fused convolution whose channels each have a filter of their own, on channel quads, for lavapipe.
// Twin: src/ops/conv2d/depthwise.rs.
//
// entry      one thread computes                             reads     terms and their order
// forward_1  t2: four channels at a tap, or their biases     w, b, a   copies; runs once if w is constant
//            or slopes
// forward_2  y: ROWS pixels of a column, four channels       x, t2, z  all (u, v) by u, v; bias; activation; z
//
// conv2d/straight has the costs. Here loads outweigh products: the rows of x that several rows of y read are loaded once.

const KH: u32 = 3u;
const KW: u32 = 3u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;
const ROWS: u32 = 1u;
const STRIDE_H: u32 = 1u;
// Rows of x that a thread reads.
const SPAN: u32 = 3u;
const LANES: u32 = 64u;
// Texels of weights of a quad, its bias and slopes among them, and how many each lane copies.
const FILL: u32 = 11u;
const COPIES: u32 = 1u;
// See shared/combine.wgsl.
const COMBINE: u32 = 0u;

struct P {
    c_out: u32, height: u32, width: u32, out_height: u32, out_width: u32,
    stride_w: u32, pad_h: u32, pad_w: u32,
    replicate: u32,
    quads: u32,
    blocks: u32,   // Of ROWS pixels, in a picture.
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

var<workgroup> weights: array<vec4<f32>, FILL>;

// A quad's taps, biases and slopes.
@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let o = thread / FILL * 4u + vec4(0u, 1u, 2u, 3u);
    let at = min(o, vec4(p.c_out - 1u));
    let k = thread % FILL;
    var value: vec4<f32>;
    if k < KH * KW {
        let tap = at * KH * KW + k;
        value = vec4(w[tap.x], w[tap.y], w[tap.z], w[tap.w]);
    } else if k == KH * KW {
        value = vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
    } else {
        value = vec4(a[at.x], a[at.y], a[at.z], a[at.w]);
    }
    textureStore(t2, texel(thread), select(vec4(0.0), value, o < vec4(p.c_out)));
}

// Groups: quads of all pictures, LANES blocks.
@compute @workgroup_size(LANES)
fn forward_2(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let quad = g.x % p.quads;
    // unroll
    for (var k = 0u; k < COPIES; k++) {
        let at = l.x + k * LANES;
        if at < FILL { weights[at] = textureLoad(t2_read, texel(quad * FILL + at)); }
    }
    workgroupBarrier();
    let number = g.y * LANES + l.x;
    let block = min(number, p.blocks - 1u);
    let high = quotient(block, p.out_width);
    let j = block - high * p.out_width;
    let i = high * ROWS;
    var column: array<u32, KW>;
    var in_row: array<bool, KW>;
    // unroll
    for (var v = 0u; v < KW; v++) {
        let s = j * p.stride_w + v - p.pad_w;   // Modulo 2³²: columns left of the picture are past its end.
        in_row[v] = s < p.width || p.replicate != 0u;
        column[v] = select(min(s, p.width - 1u), 0u, j * p.stride_w + v < p.pad_w);
    }
    var sum: array<vec4<f32>, ROWS>;
    // unroll
    for (var r = 0u; r < ROWS; r++) { sum[r] = vec4(0.0); }
    // unroll
    for (var t = 0u; t < SPAN; t++) {
        let s = i * STRIDE_H + t - p.pad_h;
        let in_column = s < p.height || p.replicate != 0u;
        let row = (g.x * p.height + select(min(s, p.height - 1u), 0u, i * STRIDE_H + t < p.pad_h)) * p.width;
        // unroll
        for (var v = 0u; v < KW; v++) {
            let part = select(vec4(0.0), textureLoad(x, texel(row + column[v])), in_column & in_row[v]);
            // unroll
            for (var r = 0u; r < ROWS; r++) {
                // unroll
                for (var u = 0u; u < KH; u++) {
                    if t == r * STRIDE_H + u { sum[r] += weights[u * KW + v] * part; }
                }
            }
        }
    }
    // unroll
    for (var r = 0u; r < ROWS; r++) {
        let at = texel((g.x * p.out_height + min(i + r, p.out_height - 1u)) * p.out_width + j);
        let result = combined(activated(sum[r] + weights[KH * KW], weights[KH * KW + 1u]), at);
        let is_real = number < p.blocks && i + r < p.out_height;
        // The select keeps LLVM from moving the arithmetic into the store's loop over lanes.
        if is_real { textureStore(y, at, select(vec4(0.0), result, is_real)); }
    }
}
