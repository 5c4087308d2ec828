// direct: shared by the shaders of conv2d that keep a block of results in registers: 8 rows of a column (backward_w: 8 taps) times
// OC channels, as in shared/outer. The including shader defines OC, `x_load(k)` and `t0_store(k, value)`.

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

fn y_rows(sums: Block, at: u32, count: u32, i: u32) {
    var a = sums;
    let plane = p.out_height * p.out_width;
    // unroll
    for (var k = 0u; k < 8u; k++) {
        let row = at + (i + k) * p.out_width;
        if i + k < p.out_height {
            // unroll
            for (var c = 0u; c < 4u; c++) {
                if c < OC && c < count { y[row + c * plane] = a.low[k][c]; }
                if c + 4u < OC && c + 4u < count { y[row + (c + 4u) * plane] = a.high[k][c]; }
            }
        }
    }
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
    var l = low;
    var h = high;
    // unroll
    for (var c = 0u; c < 4u; c++) {
        if c < OC && c < count { t0_store(at + c * stride, l[c]); }
        if c + 4u < OC && c + 4u < count { t0_store(at + (c + 4u) * stride, h[c]); }
    }
}

fn t0_taps(sums: Block, at: u32, count: u32, tap: u32) {
    var a = sums;
    // unroll
    for (var k = 0u; k < 8u; k++) {
        if tap + k < p.taps { t0_channels(a.low[k], a.high[k], at + tap + k, p.taps, count); }
    }
}
