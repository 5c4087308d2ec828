// conv_transpose2d_gemm: conv_transpose2d as matrix products with many sums a thread, then a gather. Twin: src/ops/conv_transpose2d.rs.
//
// entry         one thread computes                           reads  terms and their order
// forward_1     w · x of one tap (o, u, v) at 64 pixels       x, w   the c of a block, ascending: at most 56
//               (n, r, s), over one block of K channels, into t0
// forward_2     one y                                         b, t0  b, then blocks of channels, then u, v ascending:
//                                                                    blocks·ceil(Kh/stride)·ceil(Kw/stride)
// backward_x    K channels of dx at one pixel; Co = 1,        w, dy  u, v ascending: 81, with zeros outside the filter
//               filters up to 9 × 9
// backward_w_1  one tap's sums for K channels over 64 pixels, x, dy  pixels (n, r, s) ascending: 64
//               into t0
// backward_w_2  one dw                                        t0     `blocks` sums, ascending
// Channels, pixels and taps beyond the last add zeros. The operand that a thread's sums share lies in workgroup memory and
// is read at constant places, in straight code without a branch: lavapipe then reads one value for all lanes, at the cost
// of an arithmetic instruction, where a load from a buffer costs it as much as dozens. So there are calls in
// place of loops, and no thread returns before the sums are done. The barrier
// after them keeps LLVM from moving the sums into the loop over lanes that a store is.

override LANES: u32 = 96u; // Threads a workgroup, one a tap; a multiple of 16.
override K: u32 = 56u;     // Channels a block: a multiple of 8 up to 56.

struct P {
    n: u32, ci: u32, co: u32, height: u32, width: u32, out_height: u32, out_width: u32, kernel_h: u32, kernel_w: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32,
    pixels: u32,  // N·H·W
    taps: u32,    // Co·Kh·Kw
    blocks: u32,  // Of channels in forward, of pixels in backward_w.
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> t0: array<f32>;

// x as [56 channels][16 quads of pixels]; in backward_x filters as [45 taps][14 quads of channels].
var<workgroup> tile: array<vec4<f32>, 896>;
// Of 64 pixels: the dy row and column under tap (0, 0), and its place in dy.
var<workgroup> under_i: array<u32, 64>;
var<workgroup> under_j: array<u32, 64>;
var<workgroup> under: array<u32, 64>;

// Eight sums: of pixels or of channels.
struct Eight { low: vec4<f32>, high: vec4<f32> }

// Where pixel q of channel c lies in x.
fn place(q: u32, c: u32) -> u32 {
    let plane = p.height * p.width;
    let n = q / plane;
    return (n * p.ci + c) * plane + q - n * plane;
}

// Copies 64 pixels of K channels of x into `tile`; zeros beyond the last. A thread copies one quad of every LANES / 16th channel.
fn fill(pixel: u32, channel: u32, lane: u32) {
    let plane = p.height * p.width;
    let first = lane / 16u;
    let q = pixel + lane % 16u * 4u;
    var at = vec4(place(q, channel + first), place(q + 1u, channel + first), place(q + 2u, channel + first),
        place(q + 3u, channel + first));
    let real = q + vec4(0u, 1u, 2u, 3u) < vec4(p.pixels);
    for (var c = first; c < K; c += LANES / 16u) {
        var value = vec4(0.0);
        if channel + c < p.ci {
            if real.x { value.x = x[at.x]; }
            if real.y { value.y = x[at.y]; }
            if real.z { value.z = x[at.z]; }
            if real.w { value.w = x[at.w]; }
        }
        tile[c * 16u + lane % 16u] = value;
        at += LANES / 16u * plane;
    }
}

// forward_1

// The next four filters at one tap; `at` is the place of the first of them, and then that of the next. Beyond the last
// channel `tile` has zeros, so any filter will do.
fn filters(at: ptr<function, u32>, last: u32) -> vec4<f32> {
    let b = min(*at + p.taps, last);
    let c = min(b + p.taps, last);
    let d = min(c + p.taps, last);
    let f = vec4(w[*at], w[b], w[c], w[d]);
    *at = min(d + p.taps, last);
    return f;
}

// Adds four channels at eight pixels, which lie in `tile` from `at` on.
fn add_4(sums: ptr<function, Eight>, f: vec4<f32>, at: u32) {
    (*sums).low += f.x * tile[at];
    (*sums).high += f.x * tile[at + 1u];
    (*sums).low += f.y * tile[at + 16u];
    (*sums).high += f.y * tile[at + 17u];
    (*sums).low += f.z * tile[at + 32u];
    (*sums).high += f.z * tile[at + 33u];
    (*sums).low += f.w * tile[at + 48u];
    (*sums).high += f.w * tile[at + 49u];
}

// All channels at the eight pixels from quad q on.
fn sum_8(f: ptr<function, array<vec4<f32>, 14>>, q: u32) -> Eight {
    var sums: Eight;
    add_4(&sums, (*f)[0], 0u + q);
    add_4(&sums, (*f)[1], 64u + q);
    if K > 8u {
        add_4(&sums, (*f)[2], 128u + q);
        add_4(&sums, (*f)[3], 192u + q);
    }
    if K > 16u {
        add_4(&sums, (*f)[4], 256u + q);
        add_4(&sums, (*f)[5], 320u + q);
    }
    if K > 24u {
        add_4(&sums, (*f)[6], 384u + q);
        add_4(&sums, (*f)[7], 448u + q);
    }
    if K > 32u {
        add_4(&sums, (*f)[8], 512u + q);
        add_4(&sums, (*f)[9], 576u + q);
    }
    if K > 40u {
        add_4(&sums, (*f)[10], 640u + q);
        add_4(&sums, (*f)[11], 704u + q);
    }
    if K > 48u {
        add_4(&sums, (*f)[12], 768u + q);
        add_4(&sums, (*f)[13], 832u + q);
    }
    return sums;
}

// Stores eight pixels from q on; `first` is the place of the first of them, and the next eight's is returned. Each place
// comes from the one before, or LLVM computes it anew, lane by lane, in the loop that a store is.
fn store_products(first: u32, q: u32, sums: Eight) -> u32 {
    var at = first;
    if q < p.pixels { t0[at] = sums.low.x; }
    at += p.taps;
    if q + 1u < p.pixels { t0[at] = sums.low.y; }
    at += p.taps;
    if q + 2u < p.pixels { t0[at] = sums.low.z; }
    at += p.taps;
    if q + 3u < p.pixels { t0[at] = sums.low.w; }
    at += p.taps;
    if q + 4u < p.pixels { t0[at] = sums.high.x; }
    at += p.taps;
    if q + 5u < p.pixels { t0[at] = sums.high.y; }
    at += p.taps;
    if q + 6u < p.pixels { t0[at] = sums.high.z; }
    at += p.taps;
    if q + 7u < p.pixels { t0[at] = sums.high.w; }
    at += p.taps;
    return at;
}

@compute @workgroup_size(LANES)
fn forward_1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let pixel = group.x * 64u;
    let channel = group.z * K;
    fill(pixel, channel, lane);
    workgroupBarrier();
    let tap = group.y * LANES + lane;
    let real_tap = min(tap, p.taps - 1u);
    let last = (p.ci - 1u) * p.taps + real_tap;
    var w_at = channel * p.taps + real_tap;
    var f: array<vec4<f32>, 14>;
    f[0] = filters(&w_at, last);
    f[1] = filters(&w_at, last);
    if K > 8u {
        f[2] = filters(&w_at, last);
        f[3] = filters(&w_at, last);
    }
    if K > 16u {
        f[4] = filters(&w_at, last);
        f[5] = filters(&w_at, last);
    }
    if K > 24u {
        f[6] = filters(&w_at, last);
        f[7] = filters(&w_at, last);
    }
    if K > 32u {
        f[8] = filters(&w_at, last);
        f[9] = filters(&w_at, last);
    }
    if K > 40u {
        f[10] = filters(&w_at, last);
        f[11] = filters(&w_at, last);
    }
    if K > 48u {
        f[12] = filters(&w_at, last);
        f[13] = filters(&w_at, last);
    }
    let sums0 = sum_8(&f, 0u);
    let sums1 = sum_8(&f, 2u);
    let sums2 = sum_8(&f, 4u);
    let sums3 = sum_8(&f, 6u);
    let sums4 = sum_8(&f, 8u);
    let sums5 = sum_8(&f, 10u);
    let sums6 = sum_8(&f, 12u);
    let sums7 = sum_8(&f, 14u);
    workgroupBarrier();
    if tap >= p.taps { return; }
    var at = (group.z * p.pixels + pixel) * p.taps + tap;
    at = store_products(at, pixel, sums0);
    at = store_products(at, pixel + 8u, sums1);
    at = store_products(at, pixel + 16u, sums2);
    at = store_products(at, pixel + 24u, sums3);
    at = store_products(at, pixel + 32u, sums4);
    at = store_products(at, pixel + 40u, sums5);
    at = store_products(at, pixel + 48u, sums6);
    at = store_products(at, pixel + 56u, sums7);
}

@compute @workgroup_size(64)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * 64u;
    if index >= p.n * p.co * p.out_height * p.out_width { return; }
    let row = index / p.out_width;
    let map = row / p.out_height;
    let n = map / p.co;
    let o = map - n * p.co;
    let i = row - map * p.out_height + p.padding_h;
    let j = index - row * p.out_width + p.padding_w;
    let r_first = i / p.stride_h;
    let s_first = j / p.stride_w;
    let u_first = i - r_first * p.stride_h;
    let v_first = j - s_first * p.stride_w;
    var first = ((n * p.height + r_first) * p.width + s_first) * p.taps + (o * p.kernel_h + u_first) * p.kernel_w + v_first;
    var sum = b[o];
    for (var block = 0u; block < p.blocks; block++) {
        // Rows above the picture, and with them places, wrap to huge numbers.
        var r = r_first;
        var row_at = first;
        for (var u = u_first; u < p.kernel_h; u += p.stride_h) {
            if r < p.height {
                var s = s_first;
                var at = row_at;
                for (var v = v_first; v < p.kernel_w; v += p.stride_w) {
                    if s < p.width {
                        sum += t0[at];
                    }
                    s -= 1u;
                    at += p.stride_w - p.taps;
                }
            }
            r -= 1u;
            row_at += p.stride_h * p.kernel_w - p.width * p.taps;
        }
        first += p.pixels * p.taps;
    }
    y[index] = sum;
}

// backward_x

// Copies five rows of K filters into `tile`, from row `u` on; zeros beyond the last.
fn fill_rows(channel: u32, u: u32, lane: u32) {
    for (var k = lane; k < 45u * (K / 4u); k += 256u) {
        let tap = k / (K / 4u);
        let quad = k % (K / 4u);
        let row = u + tap / 9u;
        let v = tap % 9u;
        let c = channel + 4u * quad;
        let at = c * p.taps + row * p.kernel_w + v;
        var value = vec4(0.0);
        if row < p.kernel_h && v < p.kernel_w {
            if c < p.ci { value.x = w[at]; }
            if c + 1u < p.ci { value.y = w[at + p.taps]; }
            if c + 2u < p.ci { value.z = w[at + 2u * p.taps]; }
            if c + 3u < p.ci { value.w = w[at + 3u * p.taps]; }
        }
        tile[tap * 14u + quad] = value;
    }
}

// Nine neighbours in a row of dy.
struct Nine { a: vec4<f32>, b: vec4<f32>, c: f32 }

// Adds a filter row of four channels, which lies in `tile` from `at` on.
fn add_9(sum: vec4<f32>, d: Nine, at: u32) -> vec4<f32> {
    var s = sum;
    s += d.a.x * tile[at];
    s += d.a.y * tile[at + 14u];
    s += d.a.z * tile[at + 28u];
    s += d.a.w * tile[at + 42u];
    s += d.b.x * tile[at + 56u];
    s += d.b.y * tile[at + 70u];
    s += d.b.z * tile[at + 84u];
    s += d.b.w * tile[at + 98u];
    s += d.c * tile[at + 112u];
    return s;
}

// dy at (i, j), and zero outside; `at` is its place.
fn dy_at(i: u32, j: u32, at: u32) -> f32 {
    let inside = i < p.out_height && j < p.out_width;
    return select(0.0, dy[select(0u, at, inside)], inside);
}

// Adds a filter row, which lies in `tile` from `tap` on, at the row of dy that begins with (i, j) at `at`.
fn add_row(sums: ptr<function, array<vec4<f32>, 14>>, i: u32, j: u32, at: u32, tap: u32) {
    let d = Nine(
        vec4(dy_at(i, j, at), dy_at(i, j + 1u, at + 1u), dy_at(i, j + 2u, at + 2u), dy_at(i, j + 3u, at + 3u)),
        vec4(dy_at(i, j + 4u, at + 4u), dy_at(i, j + 5u, at + 5u), dy_at(i, j + 6u, at + 6u), dy_at(i, j + 7u, at + 7u)),
        dy_at(i, j + 8u, at + 8u),
    );
    let t = tap * 14u;
    (*sums)[0] = add_9((*sums)[0], d, t);
    (*sums)[1] = add_9((*sums)[1], d, t + 1u);
    if K > 8u {
        (*sums)[2] = add_9((*sums)[2], d, t + 2u);
        (*sums)[3] = add_9((*sums)[3], d, t + 3u);
    }
    if K > 16u {
        (*sums)[4] = add_9((*sums)[4], d, t + 4u);
        (*sums)[5] = add_9((*sums)[5], d, t + 5u);
    }
    if K > 24u {
        (*sums)[6] = add_9((*sums)[6], d, t + 6u);
        (*sums)[7] = add_9((*sums)[7], d, t + 7u);
    }
    if K > 32u {
        (*sums)[8] = add_9((*sums)[8], d, t + 8u);
        (*sums)[9] = add_9((*sums)[9], d, t + 9u);
    }
    if K > 40u {
        (*sums)[10] = add_9((*sums)[10], d, t + 10u);
        (*sums)[11] = add_9((*sums)[11], d, t + 11u);
    }
    if K > 48u {
        (*sums)[12] = add_9((*sums)[12], d, t + 12u);
        (*sums)[13] = add_9((*sums)[13], d, t + 13u);
    }
}

// Stores four channels from c on; `first` is the place of the first of them, and the next four's is returned.
fn store_4(sums: vec4<f32>, first: u32, c: u32) -> u32 {
    let plane = p.height * p.width;
    var at = first;
    if c < p.ci { dx[at] = sums.x; }
    at += plane;
    if c + 1u < p.ci { dx[at] = sums.y; }
    at += plane;
    if c + 2u < p.ci { dx[at] = sums.z; }
    at += plane;
    if c + 3u < p.ci { dx[at] = sums.w; }
    return at + plane;
}

@compute @workgroup_size(256)
fn backward_x(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let channel = group.y * K;
    let q = min(group.x * 256u + lane, p.pixels - 1u);
    let row = q / p.width;
    let n = row / p.height;
    let i = (row - n * p.height) * p.stride_h - p.padding_h;
    let j = (q - row * p.width) * p.stride_w - p.padding_w;
    let at = (n * p.out_height + i) * p.out_width + j;
    let width = p.out_width;
    var sums: array<vec4<f32>, 14>;
    fill_rows(channel, 0u, lane);
    workgroupBarrier();
    add_row(&sums, i, j, at, 0u);
    add_row(&sums, i + 1u, j, at + width, 9u);
    add_row(&sums, i + 2u, j, at + 2u * width, 18u);
    add_row(&sums, i + 3u, j, at + 3u * width, 27u);
    add_row(&sums, i + 4u, j, at + 4u * width, 36u);
    workgroupBarrier();
    fill_rows(channel, 5u, lane);
    workgroupBarrier();
    add_row(&sums, i + 5u, j, at + 5u * width, 0u);
    add_row(&sums, i + 6u, j, at + 6u * width, 9u);
    add_row(&sums, i + 7u, j, at + 7u * width, 18u);
    add_row(&sums, i + 8u, j, at + 8u * width, 27u);
    workgroupBarrier();
    if group.x * 256u + lane >= p.pixels { return; }
    var to = place(q, channel);
    to = store_4(sums[0], to, channel);
    to = store_4(sums[1], to, channel + 4u);
    if K > 8u {
        to = store_4(sums[2], to, channel + 8u);
        to = store_4(sums[3], to, channel + 12u);
    }
    if K > 16u {
        to = store_4(sums[4], to, channel + 16u);
        to = store_4(sums[5], to, channel + 20u);
    }
    if K > 24u {
        to = store_4(sums[6], to, channel + 24u);
        to = store_4(sums[7], to, channel + 28u);
    }
    if K > 32u {
        to = store_4(sums[8], to, channel + 32u);
        to = store_4(sums[9], to, channel + 36u);
    }
    if K > 40u {
        to = store_4(sums[10], to, channel + 40u);
        to = store_4(sums[11], to, channel + 44u);
    }
    if K > 48u {
        to = store_4(sums[12], to, channel + 48u);
        to = store_4(sums[13], to, channel + 52u);
    }
}

// backward_w_1

// dy of four pixels under tap (u, v), which lies `behind` the one under (0, 0).
fn under_4(u: u32, v: u32, behind: u32, q: u32) -> vec4<f32> {
    return vec4(
        dy_at(under_i[q] + u, under_j[q] + v, under[q] + behind),
        dy_at(under_i[q + 1u] + u, under_j[q + 1u] + v, under[q + 1u] + behind),
        dy_at(under_i[q + 2u] + u, under_j[q + 2u] + v, under[q + 2u] + behind),
        dy_at(under_i[q + 3u] + u, under_j[q + 3u] + v, under[q + 3u] + behind),
    );
}

// Adds four pixels of eight channels, which lie in `tile` from `at` on.
fn add_8(sums: ptr<function, Eight>, d: vec4<f32>, at: u32) {
    let a = tile[at];
    let b = tile[at + 16u];
    let c = tile[at + 32u];
    let e = tile[at + 48u];
    let f = tile[at + 64u];
    let g = tile[at + 80u];
    let h = tile[at + 96u];
    let k = tile[at + 112u];
    (*sums).low += d.x * vec4(a.x, b.x, c.x, e.x);
    (*sums).high += d.x * vec4(f.x, g.x, h.x, k.x);
    (*sums).low += d.y * vec4(a.y, b.y, c.y, e.y);
    (*sums).high += d.y * vec4(f.y, g.y, h.y, k.y);
    (*sums).low += d.z * vec4(a.z, b.z, c.z, e.z);
    (*sums).high += d.z * vec4(f.z, g.z, h.z, k.z);
    (*sums).low += d.w * vec4(a.w, b.w, c.w, e.w);
    (*sums).high += d.w * vec4(f.w, g.w, h.w, k.w);
}

// All pixels of the eight channels from `c` on.
fn sum_pixels(d: ptr<function, array<vec4<f32>, 16>>, c: u32) -> Eight {
    var sums: Eight;
    let at = c * 16u;
    add_8(&sums, (*d)[0], at);
    add_8(&sums, (*d)[1], at + 1u);
    add_8(&sums, (*d)[2], at + 2u);
    add_8(&sums, (*d)[3], at + 3u);
    add_8(&sums, (*d)[4], at + 4u);
    add_8(&sums, (*d)[5], at + 5u);
    add_8(&sums, (*d)[6], at + 6u);
    add_8(&sums, (*d)[7], at + 7u);
    add_8(&sums, (*d)[8], at + 8u);
    add_8(&sums, (*d)[9], at + 9u);
    add_8(&sums, (*d)[10], at + 10u);
    add_8(&sums, (*d)[11], at + 11u);
    add_8(&sums, (*d)[12], at + 12u);
    add_8(&sums, (*d)[13], at + 13u);
    add_8(&sums, (*d)[14], at + 14u);
    add_8(&sums, (*d)[15], at + 15u);
    return sums;
}

// Stores eight channels from c on, as `store_products` does pixels.
fn store_partials(first: u32, c: u32, sums: Eight) -> u32 {
    var at = first;
    if c < p.ci { t0[at] = sums.low.x; }
    at += p.taps;
    if c + 1u < p.ci { t0[at] = sums.low.y; }
    at += p.taps;
    if c + 2u < p.ci { t0[at] = sums.low.z; }
    at += p.taps;
    if c + 3u < p.ci { t0[at] = sums.low.w; }
    at += p.taps;
    if c + 4u < p.ci { t0[at] = sums.high.x; }
    at += p.taps;
    if c + 5u < p.ci { t0[at] = sums.high.y; }
    at += p.taps;
    if c + 6u < p.ci { t0[at] = sums.high.z; }
    at += p.taps;
    if c + 7u < p.ci { t0[at] = sums.high.w; }
    at += p.taps;
    return at;
}

@compute @workgroup_size(LANES)
fn backward_w_1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let pixel = group.x * 64u;
    let channel = group.z * K;
    let out_plane = p.out_height * p.out_width;
    fill(pixel, channel, lane);
    for (var k = lane; k < 64u; k += LANES) {
        let q = pixel + k;
        let row = q / p.width;
        let n = row / p.height;
        let i = (row - n * p.height) * p.stride_h - p.padding_h;
        let j = (q - row * p.width) * p.stride_w - p.padding_w;
        // No tap of a pixel beyond the last is inside.
        under_i[k] = select(p.out_height, i, q < p.pixels);
        under_j[k] = j;
        under[k] = n * p.co * out_plane + i * p.out_width + j;
    }
    workgroupBarrier();
    let tap = group.y * LANES + lane;
    let real_tap = min(tap, p.taps - 1u);
    let u_row = real_tap / p.kernel_w;
    let v = real_tap - u_row * p.kernel_w;
    let o = u_row / p.kernel_h;
    let u = u_row - o * p.kernel_h;
    let behind = o * out_plane + u * p.out_width + v;
    var d: array<vec4<f32>, 16>;
    d[0] = under_4(u, v, behind, 0u);
    d[1] = under_4(u, v, behind, 4u);
    d[2] = under_4(u, v, behind, 8u);
    d[3] = under_4(u, v, behind, 12u);
    d[4] = under_4(u, v, behind, 16u);
    d[5] = under_4(u, v, behind, 20u);
    d[6] = under_4(u, v, behind, 24u);
    d[7] = under_4(u, v, behind, 28u);
    d[8] = under_4(u, v, behind, 32u);
    d[9] = under_4(u, v, behind, 36u);
    d[10] = under_4(u, v, behind, 40u);
    d[11] = under_4(u, v, behind, 44u);
    d[12] = under_4(u, v, behind, 48u);
    d[13] = under_4(u, v, behind, 52u);
    d[14] = under_4(u, v, behind, 56u);
    d[15] = under_4(u, v, behind, 60u);
    var sums0 = sum_pixels(&d, 0u);
    var sums1: Eight;
    if K > 8u { sums1 = sum_pixels(&d, 8u); }
    var sums2: Eight;
    if K > 16u { sums2 = sum_pixels(&d, 16u); }
    var sums3: Eight;
    if K > 24u { sums3 = sum_pixels(&d, 24u); }
    var sums4: Eight;
    if K > 32u { sums4 = sum_pixels(&d, 32u); }
    var sums5: Eight;
    if K > 40u { sums5 = sum_pixels(&d, 40u); }
    var sums6: Eight;
    if K > 48u { sums6 = sum_pixels(&d, 48u); }
    workgroupBarrier();
    if tap >= p.taps { return; }
    var at = (group.x * p.ci + channel) * p.taps + tap;
    at = store_partials(at, channel, sums0);
    if K > 8u { at = store_partials(at, channel + 8u, sums1); }
    if K > 16u { at = store_partials(at, channel + 16u, sums2); }
    if K > 24u { at = store_partials(at, channel + 24u, sums3); }
    if K > 32u { at = store_partials(at, channel + 32u, sums4); }
    if K > 40u { at = store_partials(at, channel + 40u, sums5); }
    if K > 48u { at = store_partials(at, channel + 48u, sums6); }
}

@compute @workgroup_size(64)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * 64u;
    let filters = p.ci * p.taps;
    if index >= filters { return; }
    var sum = 0.0;
    var at = index;
    for (var block = 0u; block < p.blocks; block++) {
        sum += t0[at];
        at += filters;
    }
    dw[index] = sum;
}
