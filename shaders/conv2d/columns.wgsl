// conv2d/columns: gradients of conv2d for w and b if x has few channels, stride 1, for lavapipe. Twin: src/ops/conv2d/columns.rs.
//
// With one or two channels, three quarters or half of every texel of x is empty. So the values under all taps become the
// channels of a picture, c · taps + tap, and the gradient is that of a 1×1 filter.
//
// entry         one thread computes                                   reads   terms and their order
// backward_w_1  t0: four such values at a pixel of dy                 x       copies
// backward_w_2  t1: sums of AQ quads of o times BQ quads of these; or t0, dy  every eighth pixel of its walker, ascending
//               of only AQ quads of o
// backward_w_3  dw of one o and four values, or one db                t1      walkers, then lanes, ascending
//
// shared/correlate.wgsl explains the kernel and its costs; A is dy, B is t0.

// As in conv2d/quads.
const BIAS: u32 = 1u;

struct P {
    height: u32, width: u32, quads: u32, values: u32, area: u32, kernel_w: u32, x_pad_h: u32, x_pad_w: u32, x_replicate: u32,
    c_out: u32,
    a_height: u32, a_width: u32, b_height: u32, b_width: u32, a_quads: u32, b_quads: u32,
    pad_h: u32, pad_w: u32, replicate: u32,
    taps: u32, taps_w: u32, b_blocks: u32, units: u32, pixels: u32, walkers: u32, chunks: u32,
    batch: u32, step_n: u32, step_i: u32, step_j: u32,
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;
@group(0) @binding(5) var t0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var t0_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(7) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(8) var t1_read: texture_storage_2d<rgba32float, read>;

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(dy, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(t0_read, texel(k));
}

@compute @workgroup_size(64)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let plane = p.a_height * p.a_width;
    let map = thread / plane;
    let rest = thread - map * plane;
    let n = map / p.b_quads;
    let quad = map - n * p.b_quads;
    let i = rest / p.a_width;
    let j = rest - i * p.a_width;
    var values: vec4<f32>;
    // unroll
    for (var k = 0u; k < 4u; k++) {
        let number = quad * 4u + k;
        let c = number / p.area;
        let tap = number - c * p.area;
        let u = tap / p.kernel_w;
        let r = i + u - p.x_pad_h;               // Modulo 2³²: rows above the picture are past its end.
        let s = j + tap - u * p.kernel_w - p.x_pad_w;
        let is_real = number < p.values && ((r < p.height && s < p.width) || p.x_replicate != 0u);
        let row = select(min(r, p.height - 1u), 0u, i + u < p.x_pad_h);
        let column = select(min(s, p.width - 1u), 0u, j + tap - u * p.kernel_w < p.x_pad_w);
        let at = ((n * p.quads + min(c / 4u, p.quads - 1u)) * p.height + row) * p.width + column;
        values[k] = select(0.0, textureLoad(x, texel(at))[c % 4u], is_real);
    }
    textureStore(t0, texel(thread), values);
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
    if at.a >= p.c_out { return; }
    if at.is_bias {
        if at.b == p.b_blocks * BQ * 4u { db[at.a] = at.sum.x; }
        return;
    }
    // unroll
    for (var k = 0u; k < 4u; k++) {
        if at.b + k < p.values { dw[at.a * p.values + at.b + k] = at.sum[k]; }
    }
}
