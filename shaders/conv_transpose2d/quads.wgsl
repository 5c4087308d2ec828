// conv_transpose2d/quads: gradients of conv_transpose2d from one channel, stride by stride, for lavapipe.
// Twin: src/ops/conv_transpose2d.rs.
//
// With the S² phases of dy as channels, dy'[r, r'][i, j] = dy[S·i + r, S·j + r'], the tap u of an input pixel i meets
// dy at S·i + u − padding = S·(i + δ) + r, δ = ⌊(u − padding) / S⌋. So both gradients are those of a convolution with stride 1
// over KH × KW values of δ, the first of which is −pad.
//
// entry         one thread computes                          reads     terms and their order
// backward_x_1  t0: four phases of dy at a pixel             dy        copies
// backward_x_2  t2: filters of a tap and phase for four c    w         copies
// backward_x_3  dx: one pixel, OQ quads of c                 t0, t2    all (δ, δ', phase), ascending
// backward_w_1  t0, as backward_x_1                          dy
// backward_w_2  t1: sums of AQ quads of c times BQ quads of  x, t0     every eighth pixel of its walker, ascending
//               phases at a tap
// backward_w_3  dw of one c at a tap of four phases          t1        walkers, then lanes, ascending
//
// shared/straight.wgsl, conv2d/straight and shared/correlate.wgsl explain the kernels and their costs.

const S: u32 = 1u;
const KH: u32 = 1u;
const KW: u32 = 1u;
// Quads of phases, and how many channels of a quad are real; output quads per group.
const KQ: u32 = 1u;
const KC: u32 = 1u;
const OQ: u32 = 1u;
const DOT: u32 = 0u;
const EACH: u32 = 0u;
const SPREAD: u32 = 1u;
const PLACES: u32 = 1u;
const LANES: u32 = 64u;
const FILL: u32 = 1u;
// No unit sums only A.
const BIAS: u32 = 0u;

struct P {
    c_in: u32, out_height: u32, out_width: u32, kernel: u32, padding: u32,
    a_height: u32, a_width: u32, b_height: u32, b_width: u32, a_quads: u32, b_quads: u32,
    pad_h: u32, pad_w: u32, replicate: u32,
    taps: u32, taps_w: u32, b_blocks: u32, units: u32, pixels: u32, walkers: u32, chunks: u32,
    batch: u32, step_n: u32, step_i: u32, step_j: u32,
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var dx: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;
@group(0) @binding(6) var t0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(7) var t0_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(8) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(9) var t1_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(10) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(11) var t2_read: texture_storage_2d<rgba32float, read>;

fn source(k: u32) -> vec4<f32> {
    return textureLoad(t0_read, texel(k));
}

fn meets(u: u32, v: u32, q: u32) -> bool {
    return true;
}

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(x, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(t0_read, texel(k));
}

fn pack(thread: u32) {
    if thread >= p.threads { return; }
    let b_plane = p.b_height * p.b_width;
    let map = thread / b_plane;
    let rest = thread - map * b_plane;
    let n = map / p.b_quads;
    let quad = map - n * p.b_quads;
    let i = rest / p.b_width;
    let j = rest - i * p.b_width;
    var value: vec4<f32>;
    // unroll
    for (var k = 0u; k < 4u; k++) {
        let phase = quad * 4u + k;
        let r = i * S + phase / S;
        let s = j * S + phase % S;
        let is_real = phase < S * S && r < p.out_height && s < p.out_width;
        let at = (n * p.out_height + min(r, p.out_height - 1u)) * p.out_width + min(s, p.out_width - 1u);
        value[k] = select(0.0, dy[at], is_real);
    }
    textureStore(t0, texel(thread), value);
}

@compute @workgroup_size(64)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    pack(g.x + g.y * groups.x * 64u);
}

@compute @workgroup_size(64)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    pack(g.x + g.y * groups.x * 64u);
}

// The row or column of w for a phase's tap; p.kernel or more if there is none.
fn tap_of(delta: u32, pad: u32, phase: u32) -> u32 {
    // Modulo 2³²: taps above the filter are past its end.
    return (delta - pad) * S + phase + p.padding;
}

@compute @workgroup_size(64)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let k = thread % FILL / OQ;
    let phase = k % (KQ * KC);
    let tap = k / (KQ * KC);
    let c = (thread / FILL * OQ + thread % OQ) * 4u + vec4(0u, 1u, 2u, 3u);
    let u = tap_of(tap / KW, p.pad_h, phase / S);
    let v = tap_of(tap % KW, p.pad_w, phase % S);
    let is_real = (c < vec4(p.c_in)) & vec4(phase < S * S && u < p.kernel && v < p.kernel);
    let at = (min(c, vec4(p.c_in - 1u)) * p.kernel + min(u, p.kernel - 1u)) * p.kernel + min(v, p.kernel - 1u);
    textureStore(t2, texel(thread), select(vec4(0.0), vec4(w[at.x], w[at.y], w[at.z], w[at.w]), is_real));
}

// Groups: quads of c, LANES pixels.
@compute @workgroup_size(LANES)
fn backward_x_3(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let number = g.y * LANES + l.x;
    let pixel = min(number, p.pixels - 1u);
    let plane = p.a_height * p.a_width;
    let n = pixel / plane;
    let rest = pixel - n * plane;
    let i = rest / p.a_width;
    let sum = straight(g.x, l.x, n * KQ * p.b_height * p.b_width, i, rest - i * p.a_width, vec2(p.b_height, p.b_width), vec2(p.pad_h, p.pad_w), false);
    // unroll
    for (var q = 0u; q < OQ; q++) {
        let quad = g.x * OQ + q;
        if number < p.pixels && quad < p.a_quads {
            // The select keeps LLVM from moving the arithmetic into the store's loop over lanes.
            textureStore(dx, texel((n * p.a_quads + quad) * plane + rest), select(vec4(0.0), sum[q], number < p.pixels));
        }
    }
}

@compute @workgroup_size(64)
fn backward_w_2(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    correlate(l.x, g.x);
}

@compute @workgroup_size(64)
fn backward_w_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let at = product(thread);
    if at.a >= p.c_in { return; }
    // unroll
    for (var k = 0u; k < 4u; k++) {
        let phase = at.b + k;
        let u = tap_of(at.u, p.pad_h, phase / S);
        let v = tap_of(at.v, p.pad_w, phase % S);
        if phase < S * S && u < p.kernel && v < p.kernel { dw[(at.a * p.kernel + u) * p.kernel + v] = at.sum[k]; }
    }
}
