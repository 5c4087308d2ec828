// conv2d/plain: y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n,c',i·sh+u·dh−ph,j·sw+v·dw−pw]. Twin: src/ops/conv2d/plain.rs.
// c runs over the group's input channels, c' = group · in_group + c. Outside the picture x is 0 or, with
// `replicate`, the nearest pixel. s, d and p are stride, dilation and padding.
//
// entry         one thread computes                          reads     terms and their order
// forward       y: 8 rows of a column × OC channels          x, w, b   bias, then all (c, u, v) by c, v, u
// backward_x    dx: 8 rows of a column × OC channels, or     dy, w     by u, v, o
//               one border pixel, which collects the                   by u, v, i, j, o
//               taps that `replicate` moved to it
// backward_w_1  t0: OC channels o × 8 of (c, u, v), one      x, dy     the walker's output pixels, each by n
//               walker
// backward_w_2  one dw                                       t0        the walkers in order
// backward_b_1  t0: one o, one walker                        dy        by n, then every `walkers`-th pixel
// backward_b_2  one db                                       t0        the walkers in order
//
// A load costs far more than a multiplication, so a thread keeps a block of 8 × OC results in registers: sixteen loads
// feed sixty-four multiplications. Lanes run along columns. Taps outside the picture add w·0, and the order of the
// terms is the same everywhere, so an output's bits do not depend on where a tile cuts the picture.

override WG: u32 = 64u;
// Output channels per block (backward_x: input channels): 1 for depthwise, 4 or 8.
override OC: u32 = 8u;

struct P {
    batch: u32, c_in: u32, c_out: u32,
    height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    dilation_h: u32, dilation_w: u32, pad_h: u32, pad_w: u32,
    replicate: u32,
    in_group: u32,     // Input channels per group.
    out_group: u32,    // Output channels per group.
    row_blocks: u32,   // Blocks of 8 rows of the written picture.
    blocks: u32,       // Blocks of OC channels per group.
    taps: u32,         // in_group · kernel_h · kernel_w, the length of a filter.
    tap_blocks: u32,   // ⌈taps / 8⌉
    border: u32,       // Pixels of the border of x, each with its own thread in backward_x; 0 without `replicate`.
    border_threads: u32,
    walkers: u32,      // Partial sums per gradient of a weight or bias.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> db: array<f32>;
@group(0) @binding(9) var<storage, read_write> t0: array<f32>;

fn x_load(k: u32) -> f32 {
    return x[k];
}

fn t0_store(k: u32, value: f32) {
    t0[k] = value;
}

// Four weights; one if a block has one channel.
fn w_four(at: vec4<u32>) -> vec4<f32> {
    if OC == 1u { return vec4(w[at.x]); }
    return vec4(w[at.x], w[at.y], w[at.z], w[at.w]);
}

fn w_high(at: vec4<u32>) -> vec4<f32> {
    if OC > 4u { return vec4(w[at.x], w[at.y], w[at.z], w[at.w]); }
    return vec4(0.0);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let at = place(thread, p.out_width);
    let first = at.group * p.out_group;
    let last = vec4(p.out_group - 1u);
    let low = first + min(at.channel + LOW, last);
    let high = first + min(at.channel + HIGH, last);
    let plane = p.height * p.width;
    let top = i32(at.i * p.stride_h) - i32(p.pad_h);
    let step = i32(p.stride_h);
    // If taps are as far apart as outputs, the next tap's rows are this tap's, moved up by one.
    let sliding = p.stride_h == p.dilation_h;
    var a = filled(vec4(b[low.x], b[low.y], b[low.z], b[low.w]), vec4(b[high.x], b[high.y], b[high.z], b[high.w]));
    for (var c = 0u; c < p.in_group; c++) {
        for (var v = 0u; v < p.kernel_w; v++) {
            let column = i32(at.j * p.stride_w + v * p.dilation_w) - i32(p.pad_w);
            let s = clamp(column, 0, i32(p.width) - 1);
            let inside = p.replicate != 0u || s == column;
            let base = (at.n * p.c_in + at.group * p.in_group + c) * plane + u32(s);
            let tap = c * p.kernel_h * p.kernel_w + v;
            var low_at = low * p.taps + vec4(tap);
            var high_at = high * p.taps + vec4(tap);
            var r: array<f32, 8>;
            for (var u = 0u; u < p.kernel_h; u++) {
                let row = top + i32(u * p.dilation_h);
                let fresh = u == 0u || !sliding;
                // unroll
                for (var k = 0u; k < 7u; k++) {
                    if fresh { r[k] = x_at(base, row + i32(k) * step, inside); } else { r[k] = r[k + 1u]; }
                }
                r[7] = x_at(base, row + 7 * step, inside);
                add_outer(&a, r, w_four(low_at), w_high(high_at));
                low_at += vec4(p.kernel_w);
                high_at += vec4(p.kernel_w);
            }
        }
    }
    let count = p.out_group - at.channel;
    let k = (at.n * p.c_out + first + at.channel) * p.out_height * p.out_width + at.j;
    y_rows(a, k, count, at.i);
}

const NONE = 0xffffffffu;

// The output index whose tap lies exactly `distance` input pixels from that output's first tap, or NONE.
fn output_of(distance: i32, stride: u32, count: u32) -> u32 {
    var q = u32(max(distance, 0));
    var exact = distance >= 0;
    if stride > 1u {
        let whole = q / stride;
        exact = exact && whole * stride == q;
        q = whole;
    }
    return select(NONE, q, exact && q < count);
}

fn dy_at(base: u32, i: u32) -> f32 {
    return select(0.0, dy[base + min(i, p.out_height - 1u) * p.out_width], i != NONE);
}

fn is_border(i: u32, j: u32) -> bool {
    return i == 0u || i + 1u == p.height || j == 0u || j + 1u == p.width;
}

fn dx_rows(sums: Block, at: u32, count: u32, i: u32, j: u32) {
    var a = sums;
    let plane = p.height * p.width;
    // unroll
    for (var k = 0u; k < 8u; k++) {
        let to = at + (i + k) * p.width + j;
        if i + k < p.height && !(p.replicate != 0u && is_border(i + k, j)) {
            // unroll
            for (var c = 0u; c < 4u; c++) {
                if c < OC && c < count { dx[to + c * plane] = a.low[k][c]; }
                if c + 4u < OC && c + 4u < count { dx[to + (c + 4u) * plane] = a.high[k][c]; }
            }
        }
    }
}

// The first and last output whose tap at `offset` from that output's first tap reads input index r, after
// clamping to 0 … size − 1; empty if last < first.
fn outputs_of(r: u32, offset: i32, stride: u32, size: u32, count: u32) -> vec2<i32> {
    let distance = i32(r) - offset;
    let step = i32(stride);
    var first = (max(distance, 0) + step - 1) / step;
    var last = select(-1, max(distance, 0) / step, distance >= 0);
    if r == 0u { first = 0; }
    if r + 1u == size { last = i32(count) - 1; }
    return vec2(first, min(last, i32(count) - 1));
}

// Pixel number `k` of the border: top row, bottom row, then the sides.
fn border_pixel(k: u32) -> vec2<u32> {
    let flat = p.width * min(p.height, 2u);
    if k < flat { return vec2(k / p.width * (p.height - 1u), k % p.width); }
    let sides = min(p.width, 2u);
    return vec2(1u + (k - flat) / sides, (k - flat) % sides * (p.width - 1u));
}

// dx of one border pixel with `replicate`: each tap that was clamped to it adds its share.
fn border_gradient(thread: u32) {
    let pixel = border_pixel(thread % p.border);
    let channel = thread / p.border % p.c_in;
    let n = thread / p.border / p.c_in;
    let group = channel / p.in_group;
    let plane = p.out_height * p.out_width;
    let base = (n * p.c_out + group * p.out_group) * plane;
    let first_tap = (group * p.out_group * p.in_group + channel % p.in_group) * p.kernel_h * p.kernel_w;
    var sum = 0.0;
    for (var u = 0u; u < p.kernel_h; u++) {
        let is = outputs_of(pixel.x, i32(u * p.dilation_h) - i32(p.pad_h), p.stride_h, p.height, p.out_height);
        for (var v = 0u; v < p.kernel_w; v++) {
            let js = outputs_of(pixel.y, i32(v * p.dilation_w) - i32(p.pad_w), p.stride_w, p.width, p.out_width);
            let tap = first_tap + u * p.kernel_w + v;
            for (var i = is.x; i <= is.y; i++) {
                for (var j = js.x; j <= js.y; j++) {
                    let at = base + u32(i) * p.out_width + u32(j);
                    for (var o = 0u; o < p.out_group; o++) {
                        sum = fma(w[tap + o * p.taps], dy[at + o * plane], sum);
                    }
                }
            }
        }
    }
    dx[((n * p.c_in + channel) * p.height + pixel.x) * p.width + pixel.y] = sum;
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    if thread < p.border_threads {
        border_gradient(thread);
        return;
    }
    let at = place(thread - p.border_threads, p.width);
    let last = vec4(p.in_group - 1u);
    let area = p.kernel_h * p.kernel_w;
    let first_o = at.group * p.out_group;
    let low = min(at.channel + LOW, last) * area + vec4(first_o * p.taps);
    let high = min(at.channel + HIGH, last) * area + vec4(first_o * p.taps);
    let plane = p.out_height * p.out_width;
    let dy_group = (at.n * p.c_out + first_o) * plane;
    var a = filled(vec4(0.0), vec4(0.0));
    for (var u = 0u; u < p.kernel_h; u++) {
        let distance = i32(at.i) - (i32(u * p.dilation_h) - i32(p.pad_h));
        // Where each of the eight rows takes its part from, and NONE if none of them takes any.
        var rows: array<u32, 8>;
        var any = NONE;
        // unroll
        for (var k = 0u; k < 8u; k++) {
            rows[k] = output_of(distance + i32(k), p.stride_h, p.out_height);
            any = min(any, rows[k]);
        }
        for (var v = 0u; v < p.kernel_w; v++) {
            let j = output_of(i32(at.j) - (i32(v * p.dilation_w) - i32(p.pad_w)), p.stride_w, p.out_width);
            let end = select(p.out_group, 0u, any == NONE || j == NONE);
            var base = dy_group + j;
            var low_at = low + vec4(u * p.kernel_w + v);
            var high_at = high + vec4(u * p.kernel_w + v);
            for (var o = 0u; o < end; o++) {
                var r: array<f32, 8>;
                // unroll
                for (var k = 0u; k < 8u; k++) { r[k] = dy_at(base, rows[k]); }
                add_outer(&a, r, w_four(low_at), w_high(high_at));
                base += plane;
                low_at += vec4(p.taps);
                high_at += vec4(p.taps);
            }
        }
    }
    let count = p.in_group - at.channel;
    let k = (at.n * p.c_in + at.group * p.in_group + at.channel) * p.height * p.width;
    dx_rows(a, k, count, at.i, at.j);
}

fn dy_four(at: vec4<u32>) -> vec4<f32> {
    if OC == 1u { return vec4(dy[at.x]); }
    return vec4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
}

fn dy_high(at: vec4<u32>) -> vec4<f32> {
    if OC > 4u { return vec4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]); }
    return vec4(0.0);
}

// Where output pixel (i, j) reads `taps`, and whether the picture has them.
struct Reads { at: vec4<u32>, inside: vec4<bool> }

fn reads_at(taps: Taps, i: u32, j: u32) -> Reads {
    let row = taps.row + vec4(i32(i * p.stride_h));
    let column = taps.column + vec4(i32(j * p.stride_w));
    let r = clamp(row, vec4(0), vec4(i32(p.height) - 1));
    let s = clamp(column, vec4(0), vec4(i32(p.width) - 1));
    return Reads(
        taps.plane + vec4<u32>(r) * p.width + vec4<u32>(s),
        vec4(p.replicate != 0u) | ((r == row) & (s == column)),
    );
}

fn x_four(at: vec4<u32>, inside: vec4<bool>) -> vec4<f32> {
    return select(vec4(0.0), vec4(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}

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
    let plane = p.height * p.width;
    let out_plane = p.out_height * p.out_width;
    let first = group * p.out_group;
    let last = vec4(p.out_group - 1u);
    let low = (first + min(channel + LOW, last)) * out_plane;
    let high = (first + min(channel + HIGH, last)) * out_plane;
    let taps_low = taps_at(tap + LOW);
    let taps_high = taps_at(tap + HIGH);
    var a = filled(vec4(0.0), vec4(0.0));
    for (var pixel = walker; pixel < out_plane; pixel += p.walkers) {
        let reads_low = reads_at(taps_low, pixel / p.out_width, pixel % p.out_width);
        let reads_high = reads_at(taps_high, pixel / p.out_width, pixel % p.out_width);
        var x_base = group * p.in_group * plane;
        var dy_base = pixel;
        for (var n = 0u; n < p.batch; n++) {
            let xl = x_four(reads_low.at + vec4(x_base), reads_low.inside);
            let xh = x_four(reads_high.at + vec4(x_base), reads_high.inside);
            add_outer(&a, array<f32, 8>(xl.x, xl.y, xl.z, xl.w, xh.x, xh.y, xh.z, xh.w),
                dy_four(low + vec4(dy_base)), dy_high(high + vec4(dy_base)));
            x_base += p.c_in * plane;
            dy_base += p.c_out * out_plane;
        }
    }
    let count = p.out_group - channel;
    let at = (walker * p.c_out + first + channel) * p.taps;
    t0_taps(a, at, count, tap);
}

@compute @workgroup_size(WG)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    var sum = 0.0;
    for (var walker = 0u; walker < p.walkers; walker++) {
        sum += t0[walker * p.threads + k];
    }
    dw[k] = sum;
}

@compute @workgroup_size(WG)
fn backward_b_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let walker = thread % p.walkers;
    let o = thread / p.walkers;
    let plane = p.out_height * p.out_width;
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        let base = (n * p.c_out + o) * plane;
        for (var pixel = walker; pixel < plane; pixel += p.walkers) {
            sum += dy[base + pixel];
        }
    }
    t0[walker * p.c_out + o] = sum;
}

@compute @workgroup_size(WG)
fn backward_b_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = g.x + g.y * groups.x * WG;
    if o >= p.threads { return; }
    var sum = 0.0;
    for (var walker = 0u; walker < p.walkers; walker++) {
        sum += t0[walker * p.c_out + o];
    }
    db[o] = sum;
}
