// filter_gradients: shared by the kernels for GPUs that compute the gradient of filters. The including shader defines `pixel(k)`, element k
// of what the filters meet in a convolution, x, and `slope(k)`, element k of the gradient of its result, dy.
//
// entry         one thread computes                                    reads   terms and their order
// backward_w_1  t0: OUT_EACH channels × 8 of (c, u, v), of a walker's  x, dy   the walker's pixels by n, i, j
//               pixels
//
// backward_w_2 is in shared/walkers.wgsl.
//
// dw = dy · xᵀ, where a column of x holds the taps of a pixel; the pixels are divided among walkers. 256 threads compute OUT channels ×
// TAPS taps. Eight pixels in a row at a time, they copy dy and x to workgroup memory, having read them into registers while the last
// eight were multiplied; with eight channels, a thread then takes 16 vectors of four pixels for 256 multiply-adds, 1 byte for each.

// Threads along channels and along taps: there are 256.
const OUT_LANES: u32 = 8u;
const TAP_LANES: u32 = 32u;
// Channels of a thread.
const OUT_EACH: u32 = 8u;
const OUT: u32 = OUT_LANES * OUT_EACH;
const TAPS: u32 = TAP_LANES * 8u;
// Vectors of two quads of pixels, and how many of them each thread copies.
const DY_QUADS: u32 = OUT * 2u;
const X_QUADS: u32 = TAPS * 2u;
const DY_COPIES: u32 = 1u;
const X_COPIES: u32 = 2u;
const REPLICATE: u32 = 0u;
// 1 if the width of dy is a multiple of 8.
const WHOLE: u32 = 0u;

struct P {
    c_in: u32, c_out: u32, in_group: u32, out_group: u32,
    height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32, dilation_h: u32, dilation_w: u32, pad_h: u32, pad_w: u32,
    taps: u32,          // in_group · kernel_h · kernel_w, the length of a filter.
    tap_blocks: u32,    // Of TAPS taps.
    blocks: u32,        // Of OUT channels per group.
    rows: u32,          // Of dy, all pictures.
    rows_each: u32,     // Per walker.
    walkers: u32,
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var<storage, read_write> t0: array<f32>;
@group(0) @binding(5) var<storage, read> t0_read: array<f32>;

var<workgroup> dy_values: array<vec4<f32>, DY_QUADS>;
var<workgroup> x_values: array<vec4<f32>, X_QUADS>;

// Four pixels of dy from column `j` of a row, whose column j lies at `at`; 0 past the row's end.
fn dy_four(at: u32, j: u32, is_real: bool) -> vec4<f32> {
    let has = (vec4(WHOLE == 1u) | (j + LANES < vec4(p.out_width))) & vec4(is_real);
    var k = select(vec4(0u), at + LANES, has);
    if WHOLE == 1u { k = select(0u, at, is_real) + LANES; }
    return select(vec4(0.0), vec4(slope(k.x), slope(k.y), slope(k.z), slope(k.w)), has);
}

// Pixels of row i and columns j + `steps` of x, with (i, j) at `at`, or the nearest ones; 0 outside the picture.
fn x_four(at: u32, i: u32, j: u32, steps: vec4<u32>, is_real: bool) -> vec4<f32> {
    let has_row = is_real && (REPLICATE == 1u || i < p.height);
    let has = (vec4(REPLICATE == 1u) | (j + steps < vec4(p.width))) & vec4(has_row);
    var k = at + steps;
    if REPLICATE == 1u { k = at + nearest(j + steps, p.width) - j + (nearest(vec4(i), p.height).x - i) * p.width; }
    k = select(vec4(0u), k, has);
    return select(vec4(0.0), vec4(pixel(k.x), pixel(k.y), pixel(k.z), pixel(k.w)), has);
}

// Groups: blocks of channels of a group and taps, walkers. Threads: channels, taps.
@compute @workgroup_size(256)
fn backward_w_1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let block = g.x / p.tap_blocks;
    let group = block / p.blocks;
    let first_out = block % p.blocks * OUT;
    let first_tap = g.x % p.tap_blocks * TAPS;
    let out_lane = lane / TAP_LANES;
    let tap_lane = lane % TAP_LANES;
    let plane = p.height * p.width;
    let out_plane = p.out_height * p.out_width;
    // The vectors that this thread copies: channel or tap, and quad of pixels.
    var dy_start: array<u32, DY_COPIES>;
    var dy_column: array<u32, DY_COPIES>;
    var has_channel: array<bool, DY_COPIES>;
    // unroll
    for (var k = 0u; k < DY_COPIES; k++) {
        let at = min(lane + k * 256u, DY_QUADS - 1u);
        let o = first_out + at % OUT;
        has_channel[k] = o < p.out_group;
        dy_column[k] = at / OUT * 4u;
        dy_start[k] = (group * p.out_group + min(o, p.out_group - 1u)) * out_plane + dy_column[k];
    }
    var x_start: array<u32, X_COPIES>;
    var x_row: array<u32, X_COPIES>;
    var x_column: array<u32, X_COPIES>;
    var has_tap: array<bool, X_COPIES>;
    let area = p.kernel_h * p.kernel_w;
    // unroll
    for (var k = 0u; k < X_COPIES; k++) {
        let at = min(lane + k * 256u, X_QUADS - 1u);
        let tap = min(first_tap + at % TAPS, p.taps - 1u);
        has_tap[k] = first_tap + at % TAPS < p.taps;
        x_row[k] = tap % area / p.kernel_w * p.dilation_h - p.pad_h;   // Modulo 2³²: above the picture is past its end.
        x_column[k] = at / TAPS * 4u * p.stride_w + tap % p.kernel_w * p.dilation_w - p.pad_w;
        x_start[k] = (group * p.in_group + tap / area) * plane + x_row[k] * p.width + x_column[k];
    }
    var sums: array<array<f32, 8>, OUT_EACH>;
    let begin = g.y * p.rows_each;
    let end = min(begin + p.rows_each, p.rows);
    var n = begin / p.out_height;
    var i = begin % p.out_height;
    var j = 0u;
    let steps = LANES * p.stride_w;
    // Where pixel (i, j) of dy lies, and the pixel of x at i · stride_h, j · stride_w.
    var dy_at = n * p.c_out * out_plane + i * p.out_width;
    var x_at = n * p.c_in * plane + i * p.stride_h * p.width;
    var next_dy: array<vec4<f32>, DY_COPIES>;
    var next_x: array<vec4<f32>, X_COPIES>;
    // unroll
    for (var k = 0u; k < DY_COPIES; k++) {
        next_dy[k] = dy_four(dy_at + dy_start[k], dy_column[k], has_channel[k]);
    }
    // unroll
    for (var k = 0u; k < X_COPIES; k++) {
        next_x[k] = x_four(x_at + x_start[k], i * p.stride_h + x_row[k], x_column[k], steps, has_tap[k]);
    }
    var row = begin;
    while row < end {
        workgroupBarrier();
        // unroll
        for (var k = 0u; k < DY_COPIES; k++) {
            if k * 256u + 256u <= DY_QUADS || lane + k * 256u < DY_QUADS { dy_values[lane + k * 256u] = next_dy[k]; }
        }
        // unroll
        for (var k = 0u; k < X_COPIES; k++) {
            if k * 256u + 256u <= X_QUADS || lane + k * 256u < X_QUADS { x_values[lane + k * 256u] = next_x[k]; }
        }
        workgroupBarrier();
        j += 8u;
        if j >= p.out_width {
            j = 0u;
            row += 1u;
            i += 1u;
            if i == p.out_height {
                i = 0u;
                n += 1u;
            }
        }
        if row < end {
            dy_at = n * p.c_out * out_plane + i * p.out_width + j;
            x_at = n * p.c_in * plane + i * p.stride_h * p.width + j * p.stride_w;
            // unroll
            for (var k = 0u; k < DY_COPIES; k++) {
                next_dy[k] = dy_four(dy_at + dy_start[k], j + dy_column[k], has_channel[k]);
            }
            // unroll
            for (var k = 0u; k < X_COPIES; k++) {
                next_x[k] = x_four(x_at + x_start[k], i * p.stride_h + x_row[k], j * p.stride_w + x_column[k], steps, has_tap[k]);
            }
        }
        // unroll
        for (var q = 0u; q < 2u; q++) {
            var d: array<vec4<f32>, OUT_EACH>;
            // unroll
            for (var m = 0u; m < OUT_EACH; m++) { d[m] = dy_values[q * OUT + out_lane * OUT_EACH + m]; }
            // unroll
            for (var t = 0u; t < 8u; t++) {
                let v = x_values[q * TAPS + tap_lane + t * TAP_LANES];
                // unroll
                for (var m = 0u; m < OUT_EACH; m++) {
                    sums[m][t] += d[m].x * v.x;
                    sums[m][t] += d[m].y * v.y;
                    sums[m][t] += d[m].z * v.z;
                    sums[m][t] += d[m].w * v.w;
                }
            }
        }
    }
    // unroll
    for (var m = 0u; m < OUT_EACH; m++) {
        let o = first_out + out_lane * OUT_EACH + m;
        // unroll
        for (var t = 0u; t < 8u; t++) {
            let tap = first_tap + tap_lane + t * TAP_LANES;
            if o < p.out_group && tap < p.taps { t0[(g.y * p.c_out + group * p.out_group + o) * p.taps + tap] = sums[m][t]; }
        }
    }
}
