// conv2d/conv3x3_tile: a fused 3×3 convolution by tiles in workgroup memory, for hardware GPUs. Twin: src/ops/conv2d/conv3x3_tile.rs.
//
// entry      one thread computes                      reads           terms and their order
// forward_1  t0: a tap of four filters                w               copies; runs once if w is constant
// forward_2  y: PIXELS in a row of 8 output channels  x, t0, b, a, z  all (c, u, v) by c, u, v; bias; activation; z
//
// 256 threads compute ROWS × COLUMNS · PIXELS pixels of 8 · OUT_PAIRS channels. CHANNELS input channels at a time, they copy the pixels
// around the tile and the filters to workgroup memory, having read them into registers while the last channels were multiplied. Addresses
// and the border's mask do not change from one chunk to the next, so they are computed before the loop, which is one straight line. With 8
// pixels, 12 vectors from workgroup memory (12 pixels of a row, and 3 taps of 8 filters) feed 192 multiply-adds: 0.75 bytes for each with
// the copies. RADV compiles the loop to 97 % multiply-adds of its vector instructions, 120 registers and no spill (gfx1100, Mesa 22.3.6);
// no GPU has timed it yet.

const WINDOW_H: u32 = 3u;
const WINDOW_W: u32 = 3u;
// Input channels, and rows of filters, copied at a time.
const CHANNELS: u32 = 2u;
const CHUNK: u32 = CHANNELS * 3u;
// Quads of output channels of a group: 256 = ROWS · COLUMNS · OUT_PAIRS threads, each with two of these quads.
const OUT_PAIRS: u32 = 8u;
const OUT_QUADS: u32 = OUT_PAIRS * 2u;
const ROWS: u32 = 16u;
const COLUMNS: u32 = 2u;
// Quads of pixels of a thread.
const QUADS: u32 = 2u;
const PIXELS: u32 = QUADS * 4u;
const VALUES: u32 = PIXELS + 4u;
// Vectors per row, channel and chunk of the pixels around a tile, which begin one pixel to the left of it.
const WIDE: u32 = COLUMNS * QUADS + 1u;
const PLANE: u32 = ROWS * WIDE + WIDE + WIDE;
const PATCH: u32 = CHANNELS * PLANE;
const FILTERS: u32 = CHUNK * 3u * OUT_QUADS;
// How many of them each thread copies.
const PATCH_COPIES: u32 = 1u;
const FILTER_COPIES: u32 = 2u;
// See shared/put.wgsl and shared/layer.wgsl.
const COMBINE: u32 = 0u;
const FACTOR: u32 = 1u;
const REPLICATE: u32 = 0u;
alias T = vec4<f32>;
alias Bits = vec4<u32>;
alias Stored = f32;

// Groups: tiles, groups of output channels. Threads: pairs of quads of channels, rows, columns.
@compute @workgroup_size(256)
fn forward_2(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let n = g.x / p.tiles;
    let top = g.x % p.tiles / p.tiles_x * ROWS;
    let left = g.x % p.tiles_x * (COLUMNS * PIXELS);
    let pair = lane / (ROWS * COLUMNS) * 2u;
    let row = lane / COLUMNS % ROWS;
    let column = lane % COLUMNS;
    let plane = p.height * p.width;
    // The vectors that this thread copies: channel, pixels, and whether x has these.
    var channel: array<u32, PATCH_COPIES>;
    var start: array<u32, PATCH_COPIES>;
    var columns: array<vec4<u32>, PATCH_COPIES>;
    var inside: array<vec4<bool>, PATCH_COPIES>;
    var next: array<vec4<f32>, PATCH_COPIES>;
    let first = (n * p.c_in + g.y / p.blocks * p.in_group) * plane;
    // unroll
    for (var k = 0u; k < PATCH_COPIES; k++) {
        let at = min(lane + k * 256u, PATCH - 1u);
        channel[k] = at / PLANE;
        start[k] = channel[k] * plane;
        let i = top + at % PLANE / WIDE - p.pad_h;   // Modulo 2³²: above the picture is past its end.
        let j = left + at % WIDE * 4u + LANES - p.pad_w;
        columns[k] = first + nearest(vec4(i), p.height) * p.width + nearest(j, p.width);
        inside[k] = vec4(REPLICATE == 1u) | (vec4(i < p.height) & (j < vec4(p.width)));
        next[k] = of_channel(columns[k], inside[k], channel[k], start[k]);
    }
    var own: array<u32, FILTER_COPIES>;
    var next_filters: array<vec4<f32>, FILTER_COPIES>;
    var block = g.y * p.chunks * FILTERS;
    // unroll
    for (var k = 0u; k < FILTER_COPIES; k++) {
        own[k] = min(lane + k * 256u, FILTERS - 1u);
        next_filters[k] = t0_read[block + own[k]];
    }
    var low: array<vec4<f32>, PIXELS>;
    var high: array<vec4<f32>, PIXELS>;
    for (var chunk = 1u; chunk <= p.chunks; chunk++) {
        workgroupBarrier();
        // unroll
        for (var k = 0u; k < PATCH_COPIES; k++) { if k * 256u + 256u <= PATCH || lane + k * 256u < PATCH { patch_values[lane + k * 256u] = next[k]; } }
        // unroll
        for (var k = 0u; k < FILTER_COPIES; k++) { if k * 256u + 256u <= FILTERS || lane + k * 256u < FILTERS { filters[lane + k * 256u] = next_filters[k]; } }
        workgroupBarrier();
        if chunk < p.chunks {
            block += FILTERS;
            // unroll
            for (var k = 0u; k < PATCH_COPIES; k++) {
                channel[k] += CHANNELS;
                start[k] += CHANNELS * plane;
                next[k] = of_channel(columns[k], inside[k], channel[k], start[k]);
            }
            // unroll
            for (var k = 0u; k < FILTER_COPIES; k++) { next_filters[k] = t0_read[block + own[k]]; }
        }
        // unroll
        for (var ch = 0u; ch < CHANNELS; ch++) {
            // unroll
            for (var u = 0u; u < 3u; u++) {
                var v: array<f32, VALUES>;
                // unroll
                for (var q = 0u; q < QUADS + 1u; q++) {
                    let four = patch_values[ch * PLANE + (row + u) * WIDE + column * QUADS + q];
                    v[q * 4u] = four.x;
                    v[q * 4u + 1u] = four.y;
                    v[q * 4u + 2u] = four.z;
                    v[q * 4u + 3u] = four.w;
                }
                // unroll
                for (var t = 0u; t < 3u; t++) {
                    let l = filters[(ch * 9u + u * 3u + t) * OUT_QUADS + pair];
                    let h = filters[(ch * 9u + u * 3u + t) * OUT_QUADS + pair + 1u];
                    // unroll
                    for (var k = 0u; k < PIXELS; k++) {
                        low[k] += l * v[t + k];
                        high[k] += h * v[t + k];
                    }
                }
            }
        }
    }
    let quad = g.y * OUT_QUADS + pair;
    // unroll
    for (var k = 0u; k < PIXELS; k++) { finish(n, quad, top + row, left + column * PIXELS + k, low[k]); }
    // unroll
    for (var k = 0u; k < PIXELS; k++) { finish(n, quad + 1u, top + row, left + column * PIXELS + k, high[k]); }
}

// Four pixels of a channel, whose pixels begin at `start`; 0 outside the picture and past the last channel.
fn of_channel(columns: vec4<u32>, inside: vec4<bool>, channel: u32, start: u32) -> vec4<f32> {
    let has_channel = channel < p.in_group;
    return pixels(columns + select(0u, start, has_channel), inside & vec4(has_channel));
}
