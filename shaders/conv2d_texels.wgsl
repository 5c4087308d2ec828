// conv2d_texels: conv2d for adapters that load a texel much faster than an element of a buffer. Twin: src/ops/conv2d.rs.
// The first pass of each method copies what the second reads into textures: into t0 the picture with its padding, so
// that the second pass knows no borders; into t1 filters (backward_w: dy), four written channels a texel. The padding of
// backward_x also spreads dy by the stride, and its filters are turned by 180°.
//
// entry         one thread computes                          reads     terms and their order
// forward_1     t0: one pixel of 8 planes, or t1: a quad     x, w, b   copies
// forward_2     y: 8 rows of a column × OC channels          t0, t1    bias, then all (c, u, v) by c, v, u
// backward_x_1  t0: one pixel of 8 planes, or t1: a quad     dy, w     copies
// backward_x_2  dx: 8 rows of a column × OC channels         t0, t1    all (o, u, v) by o, v, u
// backward_w_1  t0: one pixel of 8 planes, or t1: 2 quads    x, dy     copies
// backward_w_2  t0: OC channels o × 8 of (c, u, v), or the   t0, t1    the walker's output pixels, each by n
//               bias of 4 o; one walker
// backward_w_3  one dw or db                                 t0        the walkers in order
// backward_x serves zero padding only.

override WG: u32 = 64u;
// Written channels of a block: 4 or 8.
override OC: u32 = 8u;
// Rows of taps are as far apart as rows of outputs: the next tap's rows are this tap's, moved up by one.
override SLIDING: bool = true;

// In backward_x "in" is dy and "out" is dx.
struct P {
    batch: u32, c_in: u32, c_out: u32,
    height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32,
    pad_h: u32, pad_w: u32,         // Modulo 2³²: negative where backward_x cuts dy.
    spread_h: u32, spread_w: u32,   // Pixels from one row (column) of the read picture to the next; the others are 0.
    replicate: u32,
    padded_height: u32, padded_width: u32,
    in_group: u32, out_group: u32,
    row_blocks: u32, blocks: u32, taps: u32, tap_blocks: u32,
    quads: u32,                     // Of written channels in a group.
    copies: u32,                    // Threads that copy the picture.
    sums_at: u32,                   // Where in t0 the partial sums of backward_w begin.
    walkers: u32, threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<r32float, read>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var dy: texture_storage_2d<r32float, read>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> db: array<f32>;
@group(0) @binding(9) var t0: texture_storage_2d<r32float, read_write>;
@group(0) @binding(10) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(11) var t1_read: texture_storage_2d<rgba32float, read>;

const LANE = vec4<u32>(0u, 1u, 2u, 3u);
const NONE = 0xffffffffu;

// `count`, in a form that lavapipe does not see through. Where a loop ends at a member of a uniform block, Mesa (22.3)
// unrolls it for the value at hand, and compiles the shader anew in every dispatch: milliseconds each.
fn bound(count: u32, thread: u32) -> u32 {
    return min(count, thread | 0x80000000u);
}

fn x_load(k: u32) -> f32 {
    return textureLoad(x, vec2(k & 4095u, k >> 12u)).x;
}

fn dy_load(k: u32) -> f32 {
    return textureLoad(dy, vec2(k & 4095u, k >> 12u)).x;
}

fn t0_load(k: u32) -> f32 {
    return textureLoad(t0, vec2(k & 4095u, k >> 12u)).x;
}

fn t0_store(k: u32, value: f32) {
    textureStore(t0, vec2(k & 4095u, k >> 12u), vec4(value));
}

fn t1_load(k: u32) -> vec4<f32> {
    return textureLoad(t1_read, vec2(k & 4095u, k >> 12u));
}

fn t1_store(k: u32, value: vec4<f32>) {
    textureStore(t1, vec2(k & 4095u, k >> 12u), value);
}

fn t1_high(k: u32) -> vec4<f32> {
    if OC > 4u { return t1_load(k); }
    return vec4(0.0);
}

// Eight rows (backward_w: eight taps), each with channels 0–3 in a and 4–7 in h.
struct Block {
    a0: vec4<f32>, a1: vec4<f32>, a2: vec4<f32>, a3: vec4<f32>,
    a4: vec4<f32>, a5: vec4<f32>, a6: vec4<f32>, a7: vec4<f32>,
    h0: vec4<f32>, h1: vec4<f32>, h2: vec4<f32>, h3: vec4<f32>,
    h4: vec4<f32>, h5: vec4<f32>, h6: vec4<f32>, h7: vec4<f32>,
}

fn filled(low: vec4<f32>, high: vec4<f32>) -> Block {
    return Block(low, low, low, low, low, low, low, low, high, high, high, high, high, high, high, high);
}

// Eight factors times OC channels.
fn add_outer(a: ptr<function, Block>, r: array<f32, 8>, low: vec4<f32>, high: vec4<f32>) {
    (*a).a0 = fma(vec4(r[0]), low, (*a).a0);
    (*a).a1 = fma(vec4(r[1]), low, (*a).a1);
    (*a).a2 = fma(vec4(r[2]), low, (*a).a2);
    (*a).a3 = fma(vec4(r[3]), low, (*a).a3);
    (*a).a4 = fma(vec4(r[4]), low, (*a).a4);
    (*a).a5 = fma(vec4(r[5]), low, (*a).a5);
    (*a).a6 = fma(vec4(r[6]), low, (*a).a6);
    (*a).a7 = fma(vec4(r[7]), low, (*a).a7);
    if OC > 4u {
        (*a).h0 = fma(vec4(r[0]), high, (*a).h0);
        (*a).h1 = fma(vec4(r[1]), high, (*a).h1);
        (*a).h2 = fma(vec4(r[2]), high, (*a).h2);
        (*a).h3 = fma(vec4(r[3]), high, (*a).h3);
        (*a).h4 = fma(vec4(r[4]), high, (*a).h4);
        (*a).h5 = fma(vec4(r[5]), high, (*a).h5);
        (*a).h6 = fma(vec4(r[6]), high, (*a).h6);
        (*a).h7 = fma(vec4(r[7]), high, (*a).h7);
    }
}

// The row (column) of the picture that lies at `k` of the padded one, or NONE for zero.
fn source_of(k: u32, pad: u32, spread: u32, size: u32) -> u32 {
    let at = k - pad;
    if p.replicate != 0u { return u32(clamp(i32(at), 0, i32(size) - 1)); }
    // Below zero wraps to a huge number, so one comparison covers both edges.
    if at > (size - 1u) * spread { return NONE; }
    if spread == 1u { return at; }
    return select(NONE, at / spread, at % spread == 0u);
}

// What a copying thread does: `to` in the padded picture, `source` in the picture or NONE, and its first plane.
struct Copy { to: u32, source: u32, plane: u32 }

fn copy_of(thread: u32) -> Copy {
    let area = p.padded_height * p.padded_width;
    let to = thread % area;
    let r = source_of(to / p.padded_width, p.pad_h, p.spread_h, p.height);
    let s = source_of(to % p.padded_width, p.pad_w, p.spread_w, p.width);
    return Copy(to, select(r * p.width + s, NONE, r == NONE || s == NONE), thread / area * 8u);
}

fn copy_x(thread: u32) {
    let copy = copy_of(thread);
    let end = min(copy.plane + 8u, p.batch * p.c_in);
    for (var plane = copy.plane; plane < end; plane++) {
        var value = 0.0;
        if copy.source != NONE { value = x_load(plane * p.height * p.width + copy.source); }
        t0_store(plane * p.padded_height * p.padded_width + copy.to, value);
    }
}

// What a thread of the second passes works on; a block of channels never crosses groups.
struct Place { n: u32, group: u32, channel: u32, i: u32, j: u32 }

fn place(thread: u32) -> Place {
    let rest = thread / p.out_width;
    let above = rest / p.row_blocks;
    let groups = p.c_in / p.in_group;
    let block = above % (groups * p.blocks);
    return Place(
        above / (groups * p.blocks), block / p.blocks, block % p.blocks * OC,
        rest % p.row_blocks * 8u, thread % p.out_width,
    );
}

// The number of a block's first or second four channels; a second four that the group lacks repeats the last.
fn quad_of(at: Place, second: u32) -> u32 {
    return at.group * p.quads + min(at.channel / 4u + second, p.quads - 1u);
}

// Eight rows of a column; with SLIDING the last one is loaded tap by tap.
fn rows(base: u32, step: u32) -> array<f32, 8> {
    var last = 0.0;
    if !SLIDING { last = t0_load(base + 7u * step); }
    return array<f32, 8>(
        t0_load(base), t0_load(base + step), t0_load(base + 2u * step), t0_load(base + 3u * step),
        t0_load(base + 4u * step), t0_load(base + 5u * step), t0_load(base + 6u * step), last,
    );
}

// Rows past the last one of the picture read whatever follows; they are not written.
fn correlate(at: Place, begin: Block, thread: u32) -> Block {
    let low = quad_of(at, 0u) * p.taps;
    let high = quad_of(at, 1u) * p.taps;
    let plane = p.padded_height * p.padded_width;
    let corner = (at.n * p.c_in + at.group * p.in_group) * plane
        + at.i * p.stride_h * p.padded_width + at.j * p.stride_w;
    let step = p.stride_h * p.padded_width;
    let in_group = bound(p.in_group, thread);
    let kernel_h = bound(p.kernel_h, thread);
    let kernel_w = bound(p.kernel_w, thread);
    var a = begin;
    for (var c = 0u; c < in_group; c++) {
        for (var v = 0u; v < kernel_w; v++) {
            let tap = c * p.kernel_h * p.kernel_w + v;
            var low_at = low + tap;
            var high_at = high + tap;
            var base = corner + c * plane + v * p.dilation_w;
            var r: array<f32, 8>;
            if SLIDING { r = rows(base, step); }
            for (var u = 0u; u < kernel_h; u++) {
                if SLIDING { r[7] = t0_load(base + 7u * step); } else { r = rows(base, step); }
                add_outer(&a, r, t1_load(low_at), t1_high(high_at));
                if SLIDING {
                    r[0] = r[1];
                    r[1] = r[2];
                    r[2] = r[3];
                    r[3] = r[4];
                    r[4] = r[5];
                    r[5] = r[6];
                    r[6] = r[7];
                }
                low_at += p.kernel_w;
                high_at += p.kernel_w;
                base += p.dilation_h * p.padded_width;
            }
        }
    }
    return a;
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    if thread < p.copies {
        copy_x(thread);
        return;
    }
    // The filters, then the biases.
    let k = thread - p.copies;
    let quads = p.c_in / p.in_group * p.quads;
    let quad = select(k / p.taps, k - quads * p.taps, k >= quads * p.taps);
    let o = quad / p.quads * p.out_group + min(quad % p.quads * 4u + LANE, vec4(p.out_group - 1u));
    if k >= quads * p.taps {
        t1_store(k, vec4(b[o.x], b[o.y], b[o.z], b[o.w]));
    } else {
        let at = o * p.taps + vec4(k % p.taps);
        t1_store(k, vec4(w[at.x], w[at.y], w[at.z], w[at.w]));
    }
}

fn y_row(low: vec4<f32>, high: vec4<f32>, at: u32, count: u32, i: u32) {
    if i >= p.out_height { return; }
    let plane = p.out_height * p.out_width;
    let k = at + i * p.out_width;
    y[k] = low.x;
    if count > 1u { y[k + plane] = low.y; }
    if count > 2u { y[k + 2u * plane] = low.z; }
    if count > 3u { y[k + 3u * plane] = low.w; }
    if OC > 4u {
        if count > 4u { y[k + 4u * plane] = high.x; }
        if count > 5u { y[k + 5u * plane] = high.y; }
        if count > 6u { y[k + 6u * plane] = high.z; }
        if count > 7u { y[k + 7u * plane] = high.w; }
    }
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let at = place(thread);
    let biases = p.c_in / p.in_group * p.quads * p.taps;
    let a = correlate(at, filled(t1_load(biases + quad_of(at, 0u)), t1_high(biases + quad_of(at, 1u))), thread);
    let count = p.out_group - at.channel;
    let k = (at.n * p.c_out + at.group * p.out_group + at.channel) * p.out_height * p.out_width + at.j;
    y_row(a.a0, a.h0, k, count, at.i);
    y_row(a.a1, a.h1, k, count, at.i + 1u);
    y_row(a.a2, a.h2, k, count, at.i + 2u);
    y_row(a.a3, a.h3, k, count, at.i + 3u);
    y_row(a.a4, a.h4, k, count, at.i + 4u);
    y_row(a.a5, a.h5, k, count, at.i + 5u);
    y_row(a.a6, a.h6, k, count, at.i + 6u);
    y_row(a.a7, a.h7, k, count, at.i + 7u);
}

// Its filters are w[o,c,Kh−1−u,Kw−1−v], summed over o.
@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    if thread >= p.copies {
        let k = thread - p.copies;
        let quad = k / p.taps;
        let area = p.kernel_h * p.kernel_w;
        let tap = area - 1u - k % area;
        let o = quad / p.quads * p.in_group + k % p.taps / area;
        let c = min(quad % p.quads * 4u + LANE, vec4(p.out_group - 1u));
        let at = (o * p.out_group + c) * area + vec4(tap);
        t1_store(k, vec4(w[at.x], w[at.y], w[at.z], w[at.w]));
        return;
    }
    let copy = copy_of(thread);
    let end = min(copy.plane + 8u, p.batch * p.c_in);
    for (var plane = copy.plane; plane < end; plane++) {
        var value = 0.0;
        if copy.source != NONE { value = dy_load(plane * p.height * p.width + copy.source); }
        t0_store(plane * p.padded_height * p.padded_width + copy.to, value);
    }
}

fn dx_row(low: vec4<f32>, high: vec4<f32>, at: u32, count: u32, i: u32) {
    if i >= p.out_height { return; }
    let plane = p.out_height * p.out_width;
    let k = at + i * p.out_width;
    dx[k] = low.x;
    if count > 1u { dx[k + plane] = low.y; }
    if count > 2u { dx[k + 2u * plane] = low.z; }
    if count > 3u { dx[k + 3u * plane] = low.w; }
    if OC > 4u {
        if count > 4u { dx[k + 4u * plane] = high.x; }
        if count > 5u { dx[k + 5u * plane] = high.y; }
        if count > 6u { dx[k + 6u * plane] = high.z; }
        if count > 7u { dx[k + 7u * plane] = high.w; }
    }
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let at = place(thread);
    let a = correlate(at, filled(vec4(0.0), vec4(0.0)), thread);
    let count = p.out_group - at.channel;
    let k = (at.n * p.c_out + at.group * p.out_group + at.channel) * p.out_height * p.out_width + at.j;
    dx_row(a.a0, a.h0, k, count, at.i);
    dx_row(a.a1, a.h1, k, count, at.i + 1u);
    dx_row(a.a2, a.h2, k, count, at.i + 2u);
    dx_row(a.a3, a.h3, k, count, at.i + 3u);
    dx_row(a.a4, a.h4, k, count, at.i + 4u);
    dx_row(a.a5, a.h5, k, count, at.i + 5u);
    dx_row(a.a6, a.h6, k, count, at.i + 6u);
    dx_row(a.a7, a.h7, k, count, at.i + 7u);
}

@compute @workgroup_size(WG)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    if thread < p.copies {
        copy_x(thread);
        return;
    }
    // t1[n, quad, pixel], quads in the order of groups.
    let area = p.out_height * p.out_width;
    let pixel = (thread - p.copies) % area;
    let quads = p.c_in / p.in_group * p.quads;
    let begin = (thread - p.copies) / area * 2u;
    let end = min(begin + 2u, p.batch * quads);
    for (var k = begin; k < end; k++) {
        let quad = k % quads;
        let o = quad / p.quads * p.out_group + min(quad % p.quads * 4u + LANE, vec4(p.out_group - 1u));
        let at = (k / quads * p.c_out + o) * area + vec4(pixel);
        t1_store(k * area + pixel, vec4(dy_load(at.x), dy_load(at.y), dy_load(at.z), dy_load(at.w)));
    }
}

// Where the taps k of a filter lie in the padded picture, from an output's corner.
fn taps_at(k: vec4<u32>) -> vec4<u32> {
    let area = vec4(p.kernel_h * p.kernel_w);
    let clamped = min(k, vec4(p.taps - 1u));
    let c = clamped / area;
    let uv = clamped - c * area;
    let u = uv / vec4(p.kernel_w);
    let v = uv - u * p.kernel_w;
    return (c * p.padded_height + u * p.dilation_h) * p.padded_width + v * p.dilation_w;
}

fn t0_tap(low: vec4<f32>, high: vec4<f32>, at: u32, count: u32, k: u32) {
    if k >= p.taps { return; }
    t0_store(at + k, low.x);
    if count > 1u { t0_store(at + k + p.taps, low.y); }
    if count > 2u { t0_store(at + k + 2u * p.taps, low.z); }
    if count > 3u { t0_store(at + k + 3u * p.taps, low.w); }
    if OC > 4u {
        if count > 4u { t0_store(at + k + 4u * p.taps, high.x); }
        if count > 5u { t0_store(at + k + 5u * p.taps, high.y); }
        if count > 6u { t0_store(at + k + 6u * p.taps, high.z); }
        if count > 7u { t0_store(at + k + 7u * p.taps, high.w); }
    }
}

// Behind the picture t0 takes for each walker the gradients for all weights, then those for the biases.
@compute @workgroup_size(WG)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let walker = thread % p.walkers;
    let batch = bound(p.batch, thread);
    let block = thread / p.walkers;
    let plane = p.padded_height * p.padded_width;
    let out_plane = p.out_height * p.out_width;
    let quads = p.c_in / p.in_group * p.quads;
    let sums = p.sums_at + walker * (p.c_out * p.taps + p.c_out);
    let weight_blocks = p.c_in / p.in_group * p.blocks * p.tap_blocks;
    if block >= weight_blocks {
        let quad = block - weight_blocks;
        var sum = vec4(0.0);
        for (var pixel = walker; pixel < out_plane; pixel += p.walkers) {
            for (var n = 0u; n < batch; n++) {
                sum += t1_load((n * quads + quad) * out_plane + pixel);
            }
        }
        let o = quad % p.quads * 4u;
        let at = sums + p.c_out * p.taps + quad / p.quads * p.out_group + o;
        t0_store(at, sum.x);
        if o + 1u < p.out_group { t0_store(at + 1u, sum.y); }
        if o + 2u < p.out_group { t0_store(at + 2u, sum.z); }
        if o + 3u < p.out_group { t0_store(at + 3u, sum.w); }
        return;
    }
    let tap = block % p.tap_blocks * 8u;
    let channels = block / p.tap_blocks;
    let group = channels / p.blocks;
    let channel = channels % p.blocks * OC;
    let low = (group * p.quads + channel / 4u) * out_plane;
    let high = (group * p.quads + min(channel / 4u + 1u, p.quads - 1u)) * out_plane;
    let taps_low = taps_at(tap + LANE) + vec4(group * p.in_group * plane);
    let taps_high = taps_at(tap + 4u + LANE) + vec4(group * p.in_group * plane);
    var a = filled(vec4(0.0), vec4(0.0));
    for (var pixel = walker; pixel < out_plane; pixel += p.walkers) {
        var x_base = pixel / p.out_width * p.stride_h * p.padded_width + pixel % p.out_width * p.stride_w;
        var dy_base = pixel;
        for (var n = 0u; n < batch; n++) {
            let l = taps_low + vec4(x_base);
            let h = taps_high + vec4(x_base);
            let r = array<f32, 8>(
                t0_load(l.x), t0_load(l.y), t0_load(l.z), t0_load(l.w),
                t0_load(h.x), t0_load(h.y), t0_load(h.z), t0_load(h.w),
            );
            add_outer(&a, r, t1_load(low + dy_base), t1_high(high + dy_base));
            x_base += p.c_in * plane;
            dy_base += quads * out_plane;
        }
    }
    let count = p.out_group - channel;
    let at = sums + (group * p.out_group + channel) * p.taps;
    t0_tap(a.a0, a.h0, at, count, tap);
    t0_tap(a.a1, a.h1, at, count, tap + 1u);
    t0_tap(a.a2, a.h2, at, count, tap + 2u);
    t0_tap(a.a3, a.h3, at, count, tap + 3u);
    t0_tap(a.a4, a.h4, at, count, tap + 4u);
    t0_tap(a.a5, a.h5, at, count, tap + 5u);
    t0_tap(a.a6, a.h6, at, count, tap + 6u);
    t0_tap(a.a7, a.h7, at, count, tap + 7u);
}

@compute @workgroup_size(WG)
fn backward_w_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    var sum = 0.0;
    let walkers = bound(p.walkers, k);
    for (var walker = 0u; walker < walkers; walker++) {
        sum += t0_load(p.sums_at + walker * p.threads + k);
    }
    let weights = p.c_out * p.taps;
    if k < weights { dw[k] = sum; } else { db[k - weights] = sum; }
}
