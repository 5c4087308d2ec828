// direct: shared by the shaders of conv2d that keep a block of results in registers: 8 rows of a column (backward_w: 8 taps) times
// OC channels. The including shader defines OC, `x_load(k)` and `t0_store(k, value)`.

const LOW = vec4<u32>(0u, 1u, 2u, 3u);
const HIGH = vec4<u32>(4u, 5u, 6u, 7u);

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

// What a thread of forward and backward_x works on; a block of channels never crosses groups.
struct Place { n: u32, group: u32, channel: u32, i: u32, j: u32 }

fn place(thread: u32, width: u32) -> Place {
    let rest = thread / width;
    let above = rest / p.row_blocks;
    let groups = p.c_in / p.in_group;
    let block = above % (groups * p.blocks);
    return Place(
        above / (groups * p.blocks), block / p.blocks, block % p.blocks * OC,
        rest % p.row_blocks * 8u, thread % width,
    );
}

// x of a column at a row that may lie outside the picture.
fn x_at(base: u32, row: i32, inside: bool) -> f32 {
    let r = clamp(row, 0, i32(p.height) - 1);
    return select(0.0, x_load(base + u32(r) * p.width), inside && (p.replicate != 0u || r == row));
}

fn y_row(low: vec4<f32>, high: vec4<f32>, at: u32, count: u32, i: u32) {
    if i >= p.out_height { return; }
    let plane = p.out_height * p.out_width;
    let k = at + i * p.out_width;
    y[k] = low.x;
    if OC > 1u {
        if count > 1u { y[k + plane] = low.y; }
        if count > 2u { y[k + 2u * plane] = low.z; }
        if count > 3u { y[k + 3u * plane] = low.w; }
    }
    if OC > 4u {
        if count > 4u { y[k + 4u * plane] = high.x; }
        if count > 5u { y[k + 5u * plane] = high.y; }
        if count > 6u { y[k + 6u * plane] = high.z; }
        if count > 7u { y[k + 7u * plane] = high.w; }
    }
}

fn y_rows(a: Block, at: u32, count: u32, i: u32) {
    y_row(a.a0, a.h0, at, count, i);
    y_row(a.a1, a.h1, at, count, i + 1u);
    y_row(a.a2, a.h2, at, count, i + 2u);
    y_row(a.a3, a.h3, at, count, i + 3u);
    y_row(a.a4, a.h4, at, count, i + 4u);
    y_row(a.a5, a.h5, at, count, i + 5u);
    y_row(a.a6, a.h6, at, count, i + 6u);
    y_row(a.a7, a.h7, at, count, i + 7u);
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

fn t0_channels(low: vec4<f32>, high: vec4<f32>, at: u32, stride: u32, count: u32) {
    t0_store(at, low.x);
    if OC > 1u {
        if count > 1u { t0_store(at + stride, low.y); }
        if count > 2u { t0_store(at + 2u * stride, low.z); }
        if count > 3u { t0_store(at + 3u * stride, low.w); }
    }
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

fn t0_taps(a: Block, at: u32, count: u32, k: u32) {
    t0_tap(a.a0, a.h0, at, count, k);
    t0_tap(a.a1, a.h1, at, count, k + 1u);
    t0_tap(a.a2, a.h2, at, count, k + 2u);
    t0_tap(a.a3, a.h3, at, count, k + 3u);
    t0_tap(a.a4, a.h4, at, count, k + 4u);
    t0_tap(a.a5, a.h5, at, count, k + 5u);
    t0_tap(a.a6, a.h6, at, count, k + 6u);
    t0_tap(a.a7, a.h7, at, count, k + 7u);
}
