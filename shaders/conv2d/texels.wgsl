// conv2d/texels: conv2d for adapters that load a texel much faster than an element of a buffer. Twin: src/ops/conv2d/texels.rs.
// The plan hands x and dy over as textures; the first pass of forward and backward_x lays the filters into the texture
// t1, four written channels a texel.
//
// entry         one thread computes                          reads     terms and their order
// forward_1     t1: four filters at one tap, or four biases  w, b      copies
// forward_2     y: 8 rows of a column × OC channels          x, t1     bias, then all (c, u, v) by c, v, u
// backward_x_1  t1: four filters at one tap, turned by 180°  w         copies
// backward_x_2  dx: 8 rows of a column × OC channels         dy, t1    all (o, u, v) by o, v, u from the last to the first
// backward_w_1  t0: OC channels o × 8 of (c, u, v), and      x, dy     the walker's output pixels, by n
//               their biases; one walker
// backward_w_2  one dw or db                                 t0        the walkers in order
// backward_x serves stride 1 and zero padding only.

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
    pad_h: u32, pad_w: u32,   // Modulo 2³²: negative where backward_x cuts dy.
    replicate: u32,
    in_group: u32, out_group: u32,
    row_blocks: u32, blocks: u32, taps: u32, tap_blocks: u32,
    quads: u32,               // Of written channels in a group.
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

fn x_load(k: u32) -> f32 {
    return textureLoad(x, vec2(k & 4095u, k >> 12u)).x;
}

fn dy_load(k: u32) -> f32 {
    return textureLoad(dy, vec2(k & 4095u, k >> 12u)).x;
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

// x of a column at a row that may lie outside.
fn x_at(base: u32, row: i32, inside: bool) -> f32 {
    let r = clamp(row, 0, i32(p.height) - 1);
    return select(0.0, x_load(base + u32(r) * p.width), inside && (p.replicate != 0u || r == row));
}

// Eight rows of a column; with SLIDING the last one is loaded tap by tap.
fn x_rows(base: u32, row: i32, inside: bool) -> array<f32, 8> {
    let step = i32(p.stride_h);
    var last = 0.0;
    if !SLIDING { last = x_at(base, row + 7 * step, inside); }
    return array<f32, 8>(
        x_at(base, row, inside), x_at(base, row + step, inside),
        x_at(base, row + 2 * step, inside), x_at(base, row + 3 * step, inside),
        x_at(base, row + 4 * step, inside), x_at(base, row + 5 * step, inside),
        x_at(base, row + 6 * step, inside), last,
    );
}

fn correlate_x(at: Place, begin: Block, thread: u32) -> Block {
    let low = quad_of(at, 0u) * p.taps;
    let high = quad_of(at, 1u) * p.taps;
    let plane = p.height * p.width;
    let top = i32(at.i * p.stride_h) - i32(p.pad_h);
    let in_group = bound(p.in_group, thread);
    let kernel_h = bound(p.kernel_h, thread);
    let kernel_w = bound(p.kernel_w, thread);
    var a = begin;
    for (var c = 0u; c < in_group; c++) {
        for (var v = 0u; v < kernel_w; v++) {
            let column = i32(at.j * p.stride_w + v * p.dilation_w) - i32(p.pad_w);
            let s = clamp(column, 0, i32(p.width) - 1);
            let inside = p.replicate != 0u || s == column;
            let base = (at.n * p.c_in + at.group * p.in_group + c) * plane + u32(s);
            var low_at = low + c * p.kernel_h * p.kernel_w + v;
            var high_at = high + c * p.kernel_h * p.kernel_w + v;
            var row = top;
            var r: array<f32, 8>;
            if SLIDING { r = x_rows(base, row, inside); }
            for (var u = 0u; u < kernel_h; u++) {
                if SLIDING {
                    r[7] = x_at(base, row + 7 * i32(p.stride_h), inside);
                } else {
                    r = x_rows(base, row, inside);
                }
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
                row += i32(p.dilation_h);
            }
        }
    }
    return a;
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    // The filters, then the biases.
    let k = thread;
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
    let a = correlate_x(at, filled(t1_load(biases + quad_of(at, 0u)), t1_high(biases + quad_of(at, 1u))), thread);
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

// t1 holds w[o,c,Kh−1−u,Kw−1−v], to be summed over o.
@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    let quad = k / p.taps;
    let area = p.kernel_h * p.kernel_w;
    let tap = area - 1u - k % area;
    let o = quad / p.quads * p.in_group + k % p.taps / area;
    let c = min(quad % p.quads * 4u + LANE, vec4(p.out_group - 1u));
    let at = (o * p.out_group + c) * area + vec4(tap);
    t1_store(k, vec4(w[at.x], w[at.y], w[at.z], w[at.w]));
}

// dy of a column at a row that may lie outside.
fn dy_at(base: u32, row: i32, inside: bool) -> f32 {
    let r = clamp(row, 0, i32(p.height) - 1);
    return select(0.0, dy_load(base + u32(r) * p.width), inside && (p.replicate != 0u || r == row));
}

// Eight rows of a column; with SLIDING the last one is loaded tap by tap.
fn dy_rows(base: u32, row: i32, inside: bool) -> array<f32, 8> {
    let step = i32(p.stride_h);
    var last = 0.0;
    if !SLIDING { last = dy_at(base, row + 7 * step, inside); }
    return array<f32, 8>(
        dy_at(base, row, inside), dy_at(base, row + step, inside),
        dy_at(base, row + 2 * step, inside), dy_at(base, row + 3 * step, inside),
        dy_at(base, row + 4 * step, inside), dy_at(base, row + 5 * step, inside),
        dy_at(base, row + 6 * step, inside), last,
    );
}

fn correlate_dy(at: Place, begin: Block, thread: u32) -> Block {
    let low = quad_of(at, 0u) * p.taps;
    let high = quad_of(at, 1u) * p.taps;
    let plane = p.height * p.width;
    let top = i32(at.i * p.stride_h) - i32(p.pad_h);
    let in_group = bound(p.in_group, thread);
    let kernel_h = bound(p.kernel_h, thread);
    let kernel_w = bound(p.kernel_w, thread);
    var a = begin;
    for (var c = 0u; c < in_group; c++) {
        for (var v = 0u; v < kernel_w; v++) {
            let column = i32(at.j * p.stride_w + v * p.dilation_w) - i32(p.pad_w);
            let s = clamp(column, 0, i32(p.width) - 1);
            let inside = p.replicate != 0u || s == column;
            let base = (at.n * p.c_in + at.group * p.in_group + c) * plane + u32(s);
            var low_at = low + c * p.kernel_h * p.kernel_w + v;
            var high_at = high + c * p.kernel_h * p.kernel_w + v;
            var row = top;
            var r: array<f32, 8>;
            if SLIDING { r = dy_rows(base, row, inside); }
            for (var u = 0u; u < kernel_h; u++) {
                if SLIDING {
                    r[7] = dy_at(base, row + 7 * i32(p.stride_h), inside);
                } else {
                    r = dy_rows(base, row, inside);
                }
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
                row += i32(p.dilation_h);
            }
        }
    }
    return a;
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
    let a = correlate_dy(at, filled(vec4(0.0), vec4(0.0)), thread);
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

// Four taps of a filter: channel, row and column offsets in x.
struct Taps { plane: vec4<u32>, row: vec4<i32>, column: vec4<i32> }

fn taps_at(k: vec4<u32>) -> Taps {
    let area = vec4(p.kernel_h * p.kernel_w);
    let clamped = min(k, vec4(p.taps - 1u));
    let c = clamped / area;
    let uv = clamped - c * area;
    let u = uv / vec4(p.kernel_w);
    let v = uv - u * p.kernel_w;
    return Taps(
        c * (p.height * p.width),
        vec4<i32>(u * p.dilation_h) - vec4(i32(p.pad_h)),
        vec4<i32>(v * p.dilation_w) - vec4(i32(p.pad_w)),
    );
}

// x at those taps of output pixel (i, j).
fn x_four(taps: Taps, base: u32, i: u32, j: u32) -> vec4<f32> {
    let row = taps.row + vec4(i32(i * p.stride_h));
    let column = taps.column + vec4(i32(j * p.stride_w));
    let r = clamp(row, vec4(0), vec4(i32(p.height) - 1));
    let s = clamp(column, vec4(0), vec4(i32(p.width) - 1));
    let at = taps.plane + vec4(base) + vec4<u32>(r) * p.width + vec4<u32>(s);
    let inside = vec4(p.replicate != 0u) | ((r == row) & (s == column));
    return select(vec4(0.0), vec4(x_load(at.x), x_load(at.y), x_load(at.z), x_load(at.w)), inside);
}

fn dy_four(at: vec4<u32>) -> vec4<f32> {
    return vec4(dy_load(at.x), dy_load(at.y), dy_load(at.z), dy_load(at.w));
}

fn dy_high(at: vec4<u32>) -> vec4<f32> {
    if OC > 4u { return dy_four(at); }
    return vec4(0.0);
}

fn t0_channels(low: vec4<f32>, high: vec4<f32>, at: u32, stride: u32, count: u32) {
    t0_store(at, low.x);
    if count > 1u { t0_store(at + stride, low.y); }
    if count > 2u { t0_store(at + 2u * stride, low.z); }
    if count > 3u { t0_store(at + 3u * stride, low.w); }
    if OC > 4u {
        if count > 4u { t0_store(at + 4u * stride, high.x); }
        if count > 5u { t0_store(at + 5u * stride, high.y); }
        if count > 6u { t0_store(at + 6u * stride, high.z); }
        if count > 7u { t0_store(at + 7u * stride, high.w); }
    }
}

fn t0_tap(low: vec4<f32>, high: vec4<f32>, at: u32, count: u32, k: u32) {
    if k >= p.taps { return; }
    t0_channels(low, high, at + k, p.taps, count);
}

// t0 takes for each walker the gradients for all weights, then those for the biases.
@compute @workgroup_size(WG)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let walker = thread % p.walkers;
    let block = thread / p.walkers;
    let tap = block % p.tap_blocks * 8u;
    let channels = block / p.tap_blocks;
    let group = channels / p.blocks;
    let channel = channels % p.blocks * OC;
    let out_plane = p.out_height * p.out_width;
    let first = group * p.out_group;
    let last = vec4(p.out_group - 1u);
    var low = (first + min(channel + LANE, last)) * out_plane;
    var high = (first + min(channel + 4u + LANE, last)) * out_plane;
    let taps_low = taps_at(tap + LANE);
    let taps_high = taps_at(tap + 4u + LANE);
    // From one of the walker's pixels to the next: so many rows and columns.
    let rows = p.walkers / p.out_width;
    let columns = p.walkers % p.out_width;
    let batch = bound(p.batch, thread);
    var x_base = group * p.in_group * p.height * p.width;
    var bias_low = vec4(0.0);
    var bias_high = vec4(0.0);
    var a = filled(vec4(0.0), vec4(0.0));
    for (var n = 0u; n < batch; n++) {
        var i = walker / p.out_width;
        var j = walker % p.out_width;
        for (var pixel = walker; pixel < out_plane; pixel += p.walkers) {
            let l = x_four(taps_low, x_base, i, j);
            let h = x_four(taps_high, x_base, i, j);
            let d_low = dy_four(low + vec4(pixel));
            let d_high = dy_high(high + vec4(pixel));
            add_outer(&a, array<f32, 8>(l.x, l.y, l.z, l.w, h.x, h.y, h.z, h.w), d_low, d_high);
            bias_low += d_low;
            bias_high += d_high;
            j += columns;
            let carry = j >= p.out_width;
            i += rows + select(0u, 1u, carry);
            j -= select(0u, p.out_width, carry);
        }
        x_base += p.c_in * p.height * p.width;
        low += vec4(p.c_out * out_plane);
        high += vec4(p.c_out * out_plane);
    }
    let count = p.out_group - channel;
    let sums = walker * (p.c_out * p.taps + p.c_out);
    if tap == 0u {
        t0_channels(bias_low, bias_high, sums + p.c_out * p.taps + first + channel, 1u, count);
    }
    let at = sums + (first + channel) * p.taps;
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
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    var sum = 0.0;
    let walkers = bound(p.walkers, k);
    for (var walker = 0u; walker < walkers; walker++) {
        let at = walker * p.threads + k;
        sum += textureLoad(t0, vec2(at & 4095u, at >> 12u)).x;
    }
    let weights = p.c_out * p.taps;
    if k < weights { dw[k] = sum; } else { db[k - weights] = sum; }
}
