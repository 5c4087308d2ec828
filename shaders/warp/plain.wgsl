// warp/plain: y = x sampled bilinearly at the positions f. Twin: src/ops/warp.rs.
//
// A "sample" is an output position (n, i, j); a "tap" is one of the four pixels around its position in x. `block` is
// up to 8 channels of a sample, so that positions and weights are computed once for all of them.
//
// entry         one thread computes              reads            note
// forward       y of one block                   x, f             4 terms per output, in tap order
// backward_f    both df of one sample            x, f, dy         4·C terms each, channel by channel in tap order
// backward_x_1  zeros in t0 and t1                                scratch starts with arbitrary contents
// backward_x_2  counts and maxima of one block   f, dy            into t1: how many terms each element of dx has, and
//                                                                 the largest |dy·weight| among them, as its bits
// backward_x_3  the fixed-point sums of a block  f, dy, t1        into t0: terms times the element's own power of two
// backward_x_4  one dx                           t0, t1           the sum as f32
//
// The image's gradient is a scatter. Integer addition and maximum do not depend on the order, so two runs give the same
// bits. The scale of an element with k terms, none larger than m < 2^E, is 2^(30 - ceil(log2 k) - E). Each rounded term is
// at most 2^30 / k + 1/2, so that no partial sum reaches 2^31 while k <= 2^30, which the operation's shape rule ensures.
//
// shared/bilinear.wgsl finds the taps.
//
// Trust: every index is clamped as an integer after the conversion, so no value of f, NaN included, reads out of range.

override WG: u32 = 64u;

const BLOCK: u32 = 8u;

struct P {
    channels: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    samples: u32, // N·Ho·Wo
    blocks: u32, // channels / 8, rounded up
    image_len: u32, // N·C·H·W
    scratch_len: u32, // N·(C + 1)·H·W, the length of t1
    clamped: u32, // 1: the border's pixels extend without end; 0: everything outside is zero
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> f: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> df: array<f32>;
// Sums in fixed point, one per element of x.
@group(0) @binding(7) var<storage, read_write> t0: array<atomic<i32>>;
// Bits of the largest term, one per element of x (the bits of non-negative floats are ordered as integers); then
// the number of terms, one per pixel [N,H,W], since it is the same for all channels.
@group(0) @binding(8) var<storage, read_write> t1: array<atomic<i32>>;

fn is_clamped() -> bool {
    return p.clamped != 0u;
}

// Number of samples per picture.
fn out_plane() -> u32 {
    return p.out_height * p.out_width;
}

// The work of thread t: block number b of sample q of picture n.
struct Work {
    n: u32,
    q: u32,
    first: u32, // channel
    end: u32, // channel after the last
}

fn work_of(t: u32) -> Work {
    let outer = t / out_plane();
    let n = outer / p.blocks;
    let first = (outer - n * p.blocks) * BLOCK;
    return Work(n, t - outer * out_plane(), first, min(first + BLOCK, p.channels));
}

fn sample_of(n: u32, q: u32) -> Sample {
    let column = f[(n * 2u) * out_plane() + q];
    let row = f[(n * 2u + 1u) * out_plane() + q];
    return sample_at(locate(row, p.height), locate(column, p.width));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.samples * p.blocks { return; }
    let work = work_of(t);
    let s = sample_of(work.n, work.q);
    for (var c = work.first; c < work.end; c++) {
        let channel = work.n * p.channels + c;
        let v = values_at(channel * p.height * p.width, s) * s.weight;
        y[channel * out_plane() + work.q] = v.x + v.y + v.z + v.w;
    }
}

@compute @workgroup_size(WG)
fn backward_f(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.samples { return; }
    let n = t / out_plane();
    let q = t - n * out_plane();
    let columns = locate(f[(n * 2u) * out_plane() + q], p.width);
    let rows = locate(f[(n * 2u + 1u) * out_plane() + q], p.height);
    let s = sample_at(rows, columns);
    var column_sum = 0.0;
    var row_sum = 0.0;
    for (var c = 0u; c < p.channels; c++) {
        let channel = n * p.channels + c;
        let v = values_at(channel * p.height * p.width, s);
        let d = dy[channel * out_plane() + q];
        column_sum += d * (rows.low_weight * (v.y - v.x) + rows.high_weight * (v.w - v.z));
        row_sum += d * (columns.low_weight * (v.z - v.x) + columns.high_weight * (v.w - v.y));
    }
    df[(n * 2u) * out_plane() + q] = column_sum * columns.slope;
    df[(n * 2u + 1u) * out_plane() + q] = row_sum * rows.slope;
}

@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i < p.image_len { atomicStore(&t0[i], 0); }
    if i < p.scratch_len { atomicStore(&t1[i], 0); }
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.samples * p.blocks { return; }
    let work = work_of(t);
    let s = sample_of(work.n, work.q);
    // A tap of weight 0 is not a term.
    if work.first == 0u {
        let counts = p.image_len + work.n * p.height * p.width;
        if s.weight.x > 0.0 { atomicAdd(&t1[counts + s.offset.x], 1); }
        if s.weight.y > 0.0 { atomicAdd(&t1[counts + s.offset.y], 1); }
        if s.weight.z > 0.0 { atomicAdd(&t1[counts + s.offset.z], 1); }
        if s.weight.w > 0.0 { atomicAdd(&t1[counts + s.offset.w], 1); }
    }
    for (var c = work.first; c < work.end; c++) {
        let channel = work.n * p.channels + c;
        let plane = channel * p.height * p.width;
        let term = bitcast<vec4<i32>>(s.weight * dy[channel * out_plane() + work.q]) & vec4(0x7fffffff);
        if s.weight.x > 0.0 { atomicMax(&t1[plane + s.offset.x], term.x); }
        if s.weight.y > 0.0 { atomicMax(&t1[plane + s.offset.y], term.y); }
        if s.weight.z > 0.0 { atomicMax(&t1[plane + s.offset.z], term.z); }
        if s.weight.w > 0.0 { atomicMax(&t1[plane + s.offset.w], term.w); }
    }
}

// The logarithm of the scale of an element whose largest term has these bits and that has at most 2^headroom terms:
// -128 to 156. The largest term is below 2^((largest >> 23) - 126).
fn exponent(largest: i32, headroom: i32) -> i32 {
    return 156 - (largest >> 23u) - headroom;
}

// ceil(log2 k) for the number of terms k of a pixel; countLeadingZeros(0) is 32.
fn headroom_at(pixel: u32) -> i32 {
    return 32 - countLeadingZeros(atomicLoad(&t1[pixel]) - 1);
}

// v·2^e for |e| <= 156, in two steps since 2^156 is not an f32.
fn scaled(v: f32, e: i32) -> f32 {
    let half = e / 2;
    return v * power(half) * power(e - half);
}

fn power(e: i32) -> f32 {
    return bitcast<f32>((e + 127) << 23u);
}

fn add(element: u32, headroom: i32, term: f32) {
    let largest = atomicLoad(&t1[element]);
    // If a term is not finite, there is no scale, and backward_x_4 does not read the sum.
    if u32(largest) < INFINITY {
        atomicAdd(&t0[element], i32(round(scaled(term, exponent(largest, headroom)))));
    }
}

@compute @workgroup_size(WG)
fn backward_x_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.samples * p.blocks { return; }
    let work = work_of(t);
    let s = sample_of(work.n, work.q);
    let pixel = vec4(p.image_len + work.n * p.height * p.width) + s.offset;
    let headroom = vec4(headroom_at(pixel.x), headroom_at(pixel.y), headroom_at(pixel.z), headroom_at(pixel.w));
    for (var c = work.first; c < work.end; c++) {
        let channel = work.n * p.channels + c;
        let element = vec4(channel * p.height * p.width) + s.offset;
        let term = s.weight * dy[channel * out_plane() + work.q];
        if s.weight.x > 0.0 { add(element.x, headroom.x, term.x); }
        if s.weight.y > 0.0 { add(element.y, headroom.y, term.y); }
        if s.weight.z > 0.0 { add(element.z, headroom.z, term.z); }
        if s.weight.w > 0.0 { add(element.w, headroom.w, term.w); }
    }
}

@compute @workgroup_size(WG)
fn backward_x_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.image_len { return; }
    let largest = atomicLoad(&t1[i]);
    var value = 0.0;
    if u32(largest) >= INFINITY {
        // The term itself, infinite or NaN, so that a broken gradient stays visible.
        value = bitcast<f32>(largest);
    } else if largest > 0 {
        let plane = p.height * p.width;
        let outer = i / plane;
        let pixel = p.image_len + outer / p.channels * plane + (i - outer * plane);
        value = scaled(f32(atomicLoad(&t0[i])), -exponent(largest, headroom_at(pixel)));
    }
    dx[i] = value;
}
