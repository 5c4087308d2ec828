// conv2d/texels: conv2d for adapters that load a texel much faster than an element of a buffer. Twin: src/ops/conv2d/texels.rs.
// The plan passes x and dy as textures; the first pass of forward puts the filters into the texture t1, four written channels
// per texel. It serves strides, dilations and groups; dense layers have faster kernels.
//
// entry         one thread computes                          reads     terms and their order
// forward_1     t1: four filters at one tap, or four biases  w, b      copies
// forward_2     y: 8 rows of a column × OC channels          x, t1     bias, then all (c, u, v) by c, v, u
// backward_w_1  t0: OC channels o × 8 of (c, u, v), and      x, dy     the walker's output pixels, by n
//               their biases; one walker
// backward_w_2  one dw or db                                 t0        the walkers in order

override WG: u32 = 64u;
// Written channels per block: 4 or 8.
override OC: u32 = 8u;
// Whether rows of taps are as far apart as rows of outputs: the next tap's rows are then this tap's, moved up by one.
override SLIDING: bool = true;

struct P {
    batch: u32, c_in: u32, c_out: u32,
    height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32,
    pad_h: u32, pad_w: u32,
    replicate: u32,
    in_group: u32, out_group: u32,
    row_blocks: u32, blocks: u32, taps: u32, tap_blocks: u32,
    quads: u32,               // Of written channels, per group.
    walkers: u32, threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<r32float, read>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var dy: texture_storage_2d<r32float, read>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> db: array<f32>;
@group(0) @binding(9) var t0: texture_storage_2d<r32float, read_write>;
@group(0) @binding(10) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(11) var t1_read: texture_storage_2d<rgba32float, read>;

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

// The index of a block's first or second quad of channels; a second quad that the group lacks repeats the last.
fn quad_of(at: Place, second: u32) -> u32 {
    return at.group * p.quads + min(at.channel / 4u + second, p.quads - 1u);
}

// Eight rows of a column; with SLIDING the last one is loaded tap by tap.
fn x_rows(base: u32, row: i32, inside: bool) -> array<f32, 8> {
    var r: array<f32, 8>;
    // unroll
    for (var k = 0u; k < 8u; k++) {
        if k < 7u || !SLIDING { r[k] = x_at(base, row + i32(k) * i32(p.stride_h), inside); }
    }
    return r;
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
                    // unroll
                    for (var k = 0u; k < 7u; k++) { r[k] = r[k + 1u]; }
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
    let o = quad / p.quads * p.out_group + min(quad % p.quads * 4u + LOW, vec4(p.out_group - 1u));
    if k >= quads * p.taps {
        t1_store(k, vec4(b[o.x], b[o.y], b[o.z], b[o.w]));
    } else {
        let at = o * p.taps + vec4(k % p.taps);
        t1_store(k, vec4(w[at.x], w[at.y], w[at.z], w[at.w]));
    }
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let at = place(thread, p.out_width);
    let biases = p.c_in / p.in_group * p.quads * p.taps;
    let a = correlate_x(at, filled(t1_load(biases + quad_of(at, 0u)), t1_high(biases + quad_of(at, 1u))), thread);
    let count = p.out_group - at.channel;
    let k = (at.n * p.c_out + at.group * p.out_group + at.channel) * p.out_height * p.out_width + at.j;
    y_rows(a, k, count, at.i);
}

// x at `taps` of output pixel (i, j).
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

// t0 holds, for each walker, the gradients for all weights, then those for the biases.
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
    var low = (first + min(channel + LOW, last)) * out_plane;
    var high = (first + min(channel + HIGH, last)) * out_plane;
    let taps_low = taps_at(tap + LOW);
    let taps_high = taps_at(tap + HIGH);
    // Rows and columns from one of the walker's pixels to the next.
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
    t0_taps(a, at, count, tap);
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
