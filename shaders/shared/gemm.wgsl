// gemm: shared by conv2d/gemm and conv2d/gemm_parts. The including shader defines SPLIT, 1 if a group takes one of several parts of the
// common dimension, and `store(part, n, quad, i, j, sums)`, which takes the sums of four channels of pixel (i, j); the quads of all groups
// of channels are numbered one after the other.
//
// The matrices' common dimension is cut into rows of filters (c, u). 256 threads compute ROWS × COLUMNS · PIXELS pixels of 8 · OUT_PAIRS
// channels. CHUNK rows at a time, they copy to workgroup memory the rows of pixels that these meet and the filters, having read them into
// registers while the last chunk was multiplied. A thread takes WINDOW_W taps of 8 filters and what its pixels reach in a row of x: for
// 1 × 1, 64 bytes for 64 multiply-adds; for 5 × 5, 0.7 bytes for each.

const WINDOW_H: u32 = 1u;
const WINDOW_W: u32 = 1u;
const STRIDE_W: u32 = 1u;
const DILATION_W: u32 = 1u;
// Rows of filters copied at a time, and how many channels and rows further that is: CHUNK = STEP_C · WINDOW_H + STEP_U.
const CHUNK: u32 = 8u;
const STEP_C: u32 = 8u;
const STEP_U: u32 = 0u;
// Pairs of quads of output channels: 256 = ROWS · COLUMNS · OUT_PAIRS threads, each with one of these pairs.
const OUT_PAIRS: u32 = 8u;
const OUT_QUADS: u32 = OUT_PAIRS * 2u;
const ROWS: u32 = 16u;
const COLUMNS: u32 = 2u;
// Quads of pixels of a thread, and quads of x that they reach in a row.
const QUADS: u32 = 2u;
const PIXELS: u32 = QUADS * 4u;
const REACH: u32 = 2u;
const VALUES: u32 = REACH * 4u;
// Quads of x in a row of the tile.
const WIDE: u32 = 4u;
const PLANE: u32 = ROWS * WIDE;
const PATCH: u32 = CHUNK * PLANE;
const FILTERS: u32 = CHUNK * WINDOW_W * OUT_QUADS;
// How many of them each thread copies.
const PATCH_COPIES: u32 = 2u;
const FILTER_COPIES: u32 = 1u;
// See shared/put.wgsl and shared/layer.wgsl.
const COMBINE: u32 = 0u;
const FACTOR: u32 = 1u;
const REPLICATE: u32 = 0u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;
alias Stored = f32;

// Groups: tiles, groups of output channels, parts. Threads: pairs of quads of channels, rows, columns.
@compute @workgroup_size(256)
fn forward_2(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let n = g.x / p.tiles;
    let top = g.x % p.tiles / p.tiles_x * ROWS;
    let left = g.x % p.tiles_x * (COLUMNS * PIXELS);
    let pair = lane / (ROWS * COLUMNS) * 2u;
    let row = lane / COLUMNS % ROWS;
    let column = lane % COLUMNS;
    let plane = p.height * p.width;
    // Chunks of rows of filters: all, or those of a part.
    let begin = select(0u, g.z * p.each, SPLIT == 1u);
    let end = select(p.chunks, min(begin + p.each, p.chunks), SPLIT == 1u);
    // The vectors that this thread copies: channel, row of the filter, row of x and where it begins, columns, and whether x has these.
    var channel: array<u32, PATCH_COPIES>;
    var tap: array<u32, PATCH_COPIES>;
    var i: array<u32, PATCH_COPIES>;
    var start: array<u32, PATCH_COPIES>;
    var columns: array<vec4<u32>, PATCH_COPIES>;
    var has_columns: array<vec4<bool>, PATCH_COPIES>;
    var next: array<vec4<f32>, PATCH_COPIES>;
    let first = (n * p.c_in + g.y / p.blocks * p.in_group) * plane;
    // unroll
    for (var k = 0u; k < PATCH_COPIES; k++) {
        let at = min(lane + k * 256u, PATCH - 1u);
        let filter_row = begin * CHUNK + at / PLANE;
        channel[k] = filter_row / WINDOW_H;
        tap[k] = filter_row % WINDOW_H;
        i[k] = (top + at / WIDE % ROWS) * p.stride_h + tap[k] * p.dilation_h - p.pad_h;   // Modulo 2³²: above the picture is past its end.
        start[k] = channel[k] * plane + i[k] * p.width;
        let j = left * STRIDE_W + at % WIDE * 4u + LANES - p.pad_w;
        columns[k] = first + nearest(j, p.width);
        has_columns[k] = vec4(REPLICATE == 1u) | (j < vec4(p.width));
        next[k] = row_of(columns[k], has_columns[k], channel[k], i[k], start[k]);
    }
    var own: array<u32, FILTER_COPIES>;
    var next_filters: array<vec4<f32>, FILTER_COPIES>;
    var block = (g.y * p.chunks + begin) * FILTERS;
    // unroll
    for (var k = 0u; k < FILTER_COPIES; k++) {
        own[k] = min(lane + k * 256u, FILTERS - 1u);
        next_filters[k] = t0_read[block + own[k]];
    }
    // To the next chunk's row of x, within a channel and into the next one. Modulo 2³².
    let down = STEP_U * p.dilation_h;
    let up = down - WINDOW_H * p.dilation_h;
    var low: array<vec4<f32>, PIXELS>;
    var high: array<vec4<f32>, PIXELS>;
    for (var chunk = begin + 1u; chunk <= end; chunk++) {
        workgroupBarrier();
        // unroll
        for (var k = 0u; k < PATCH_COPIES; k++) { if k * 256u + 256u <= PATCH || lane + k * 256u < PATCH { patch_values[lane + k * 256u] = next[k]; } }
        // unroll
        for (var k = 0u; k < FILTER_COPIES; k++) { if k * 256u + 256u <= FILTERS || lane + k * 256u < FILTERS { filters[lane + k * 256u] = next_filters[k]; } }
        workgroupBarrier();
        if chunk < end {
            block += FILTERS;
            // unroll
            for (var k = 0u; k < PATCH_COPIES; k++) {
                channel[k] += STEP_C;
                start[k] += STEP_C * plane;
                if STEP_U > 0u {
                    let is_past = tap[k] + STEP_U >= WINDOW_H;
                    tap[k] = select(tap[k] + STEP_U, tap[k] + STEP_U - WINDOW_H, is_past);
                    i[k] += select(down, up, is_past);
                    start[k] += select(down * p.width, up * p.width + plane, is_past);
                    channel[k] += select(0u, 1u, is_past);
                }
                next[k] = row_of(columns[k], has_columns[k], channel[k], i[k], start[k]);
            }
            // unroll
            for (var k = 0u; k < FILTER_COPIES; k++) { next_filters[k] = t0_read[block + own[k]]; }
        }
        // unroll
        for (var r = 0u; r < CHUNK; r++) {
            var v: array<f32, VALUES>;
            // unroll
            for (var q = 0u; q < REACH; q++) {
                let four = patch_values[r * PLANE + row * WIDE + column * (QUADS * STRIDE_W) + q];
                v[q * 4u] = four.x;
                v[q * 4u + 1u] = four.y;
                v[q * 4u + 2u] = four.z;
                v[q * 4u + 3u] = four.w;
            }
            // unroll
            for (var t = 0u; t < WINDOW_W; t++) {
                let l = filters[(r * WINDOW_W + t) * OUT_QUADS + pair];
                let h = filters[(r * WINDOW_W + t) * OUT_QUADS + pair + 1u];
                // unroll
                for (var k = 0u; k < PIXELS; k++) {
                    low[k] += l * v[t * DILATION_W + k * STRIDE_W];
                    high[k] += h * v[t * DILATION_W + k * STRIDE_W];
                }
            }
        }
    }
    let quad = g.y * OUT_QUADS + pair;
    // unroll
    for (var k = 0u; k < PIXELS; k++) { store(g.z, n, quad, top + row, left + column * PIXELS + k, low[k]); }
    // unroll
    for (var k = 0u; k < PIXELS; k++) { store(g.z, n, quad + 1u, top + row, left + column * PIXELS + k, high[k]); }
}

// Four pixels of row `i`, which begins at `start`, of a channel; 0 outside the picture and past the last channel.
fn row_of(columns: vec4<u32>, has_columns: vec4<bool>, channel: u32, i: u32, start: u32) -> vec4<f32> {
    let has_row = channel < p.in_group && (REPLICATE == 1u || i < p.height);
    var row = start;
    if REPLICATE == 1u { row += (nearest(vec4(i), p.height).x - i) * p.width; }
    return pixels(columns + select(0u, row, has_row), has_columns & vec4(has_row));
}
