// conv2d/conv3x3_tile: 3×3 filters by tiles in workgroup memory, for hardware GPUs. Twin: src/ops/conv2d/conv3x3_tile.rs.
//
// entry         one thread computes                               reads    terms and their order
// forward       y of 4 pixels in a row, 8 output channels         x, w, b  all (c, u, v) by c, u, v; bias
// backward_x    dx of 4 pixels in a row, 8 input channels         w, dy    all (o, u, v) by o, u, v
// backward_w_1  t0: 9 taps of one c and two o, of its walker's    x, dy    tiles walker, walker + walkers, …; rows, columns
//               tiles
// backward_w_2  one dw                                            t0       walkers, ascending
//
// An implicit matrix multiplication (Chetlur et al. 2014, "cuDNN"). forward: 256 threads compute 16 × 16 pixels of
// 32 channels. Four input channels at a time, they copy the 18 × 18 pixels around the tile (5.8 KB) and the filters (4.6 KB) to
// workgroup memory, so that a value read from memory serves 32 · 9 / 1.27 multiply-adds. Each thread keeps 32 sums in registers,
// and 12 loads from workgroup memory (6 pixels, 6 vectors of filters) feed 96 multiply-adds. backward_w_1: 128 threads, 32 × 8
// filters; a tile is 4 × 16 pixels of dy (8.2 KB) and the pixels of x around it (3.5 KB); 5 loads feed 18 multiply-adds.
// The sizes are for 16 KiB of workgroup memory and 64 registers. On an NVIDIA H100 the kernel reaches 10 to 29 % of the roof in
// the layers of FSRCNN (docs/profile.md): its sizes were chosen before an H100 was at hand.

// Channels copied at a time, and the stride of a row of the patch, which spreads rows over the memory's banks.
const CHUNK: u32 = 4u;
const STRIDE: u32 = 20u;
const PATCH: u32 = 18u * STRIDE;

struct P {
    c_in: u32, c_out: u32, height: u32, width: u32,
    tiles_x: u32,            // Tiles per row: of 16 × 16 pixels; in backward_w_1, of 4 × 16.
    tiles_of_picture: u32, tiles: u32, walkers: u32,
    in_blocks: u32,          // Of eight channels.
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
@group(0) @binding(8) var<storage, read_write> t0: array<f32>;

// forward, backward_x: pixels by channel, row, column; filters by channel, tap, four output channels.
var<workgroup> patch_values: array<f32, 1440>;
var<workgroup> filters: array<vec4<f32>, 288>;
// backward_w_1: 32 channels of 64 pixels of dy; 8 channels of 6 × 18 pixels of x.
var<workgroup> dy_values: array<f32, 2080>;
var<workgroup> x_values: array<f32, 864>;

// Where a tile begins: picture, row, column.
fn origin(tile: u32, rows: u32) -> vec3<u32> {
    let n = tile / p.tiles_of_picture;
    let rest = tile - n * p.tiles_of_picture;
    return vec3(n, rest / p.tiles_x * rows, rest % p.tiles_x * 16u);
}

// Index of pixel (i − 1, j − 1) of channel c, or 2³² − 1 outside the picture.
fn neighbour(n: u32, c: u32, channels: u32, i: u32, j: u32) -> u32 {
    let is_inside = c < channels && i >= 1u && i <= p.height && j >= 1u && j <= p.width;
    return select(0xFFFFFFFFu, ((n * channels + c) * p.height + i - 1u) * p.width + j - 1u, is_inside);
}

// Index of value k of the patch: CHUNK channels from `c` of the pixels around the tile at `at`.
fn patch_index(at: vec3<u32>, c: u32, channels: u32, k: u32) -> u32 {
    return neighbour(at.x, c + k / 324u, channels, at.y + k % 324u / 18u, at.z + k % 18u);
}

// Puts value k of the patch, read from `index`, into workgroup memory.
fn put(k: u32, index: u32, value: f32) {
    patch_values[k / 324u * PATCH + k % 324u / 18u * STRIDE + k % 18u] = select(value, 0.0, index == 0xFFFFFFFFu);
}

// w of output channel `o` for input channel `c` at a tap; with `adjoint`, `o` is a channel of x and `c` one of dy.
fn filter_at(o: u32, c: u32, tap: u32, adjoint: bool) -> f32 {
    if adjoint {
        let is_real = o < p.c_in && c < p.c_out;
        let value = w[select(0u, (c * p.c_in + o) * 9u + 8u - tap, is_real)];
        return select(0.0, value, is_real);
    }
    let is_real = o < p.c_out && c < p.c_in;
    let value = w[select(0u, (o * p.c_in + c) * 9u + tap, is_real)];
    return select(0.0, value, is_real);
}

// Copies the filters of CHUNK channels from `c` for 32 channels from `o` into workgroup memory.
fn copy_filters(lane: u32, o: u32, c: u32, adjoint: bool) {
    for (var k = lane; k < 288u; k += 256u) {
        let channel = c + k / 72u;
        let tap = k % 72u / 8u;
        let first = o + k % 8u * 4u;
        filters[k] = vec4(
            filter_at(first, channel, tap, adjoint), filter_at(first + 1u, channel, tap, adjoint),
            filter_at(first + 2u, channel, tap, adjoint), filter_at(first + 3u, channel, tap, adjoint),
        );
    }
}

struct Sums { low: array<vec4<f32>, 4>, high: array<vec4<f32>, 4> }

// Adds the products of the chunk in workgroup memory.
fn multiply(sums: Sums, row: u32, column: u32, quad: u32) -> Sums {
    var s = sums;
    for (var c = 0u; c < CHUNK; c++) {
        for (var u = 0u; u < 3u; u++) {
            let at = c * PATCH + (row + u) * STRIDE + column;
            var v: array<f32, 6>;
            for (var k = 0u; k < 6u; k++) { v[k] = patch_values[at + k]; }
            for (var t = 0u; t < 3u; t++) {
                let low = filters[(c * 9u + u * 3u + t) * 8u + quad];
                let high = filters[(c * 9u + u * 3u + t) * 8u + quad + 1u];
                for (var k = 0u; k < 4u; k++) {
                    s.low[k] += low * v[t + k];
                    s.high[k] += high * v[t + k];
                }
            }
        }
    }
    return s;
}

// The sum of pixel k and channel m of a thread.
fn sum_of(sums: Sums, k: u32, m: u32) -> f32 {
    return select(sums.high[k][m % 4u], sums.low[k][m % 4u], m < 4u);
}

// Groups: tiles, blocks of 32 output channels. Threads: 4 × 8 channels, 16 rows, 4 × 4 columns.
@compute @workgroup_size(256)
fn forward(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let at = origin(g.x, 16u);
    let row = lane % 64u / 4u;
    let column = lane % 4u * 4u;
    let quad = lane / 64u * 2u;
    let first = g.y * 32u;
    var sums: Sums;
    for (var c = 0u; c < p.c_in; c += CHUNK) {
        workgroupBarrier();
        for (var k = lane; k < CHUNK * 324u; k += 256u) {
            let index = patch_index(at, c, p.c_in, k);
            put(k, index, x[select(index, 0u, index == 0xFFFFFFFFu)]);
        }
        copy_filters(lane, first, c, false);
        workgroupBarrier();
        sums = multiply(sums, row, column, quad);
    }
    for (var k = 0u; k < 4u; k++) {
        let i = at.y + row;
        let j = at.z + column + k;
        if i >= p.height || j >= p.width { continue; }
        for (var m = 0u; m < 8u; m++) {
            let o = first + quad * 4u + m;
            if o >= p.c_out { break; }
            let sum = sum_of(sums, k, m);
            y[((at.x * p.c_out + o) * p.height + i) * p.width + j] = sum + b[o];
        }
    }
}

// As forward, of dy and the filters rotated by 180°.
@compute @workgroup_size(256)
fn backward_x(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let at = origin(g.x, 16u);
    let row = lane % 64u / 4u;
    let column = lane % 4u * 4u;
    let quad = lane / 64u * 2u;
    let first = g.y * 32u;
    var sums: Sums;
    for (var c = 0u; c < p.c_out; c += CHUNK) {
        workgroupBarrier();
        for (var k = lane; k < CHUNK * 324u; k += 256u) {
            let index = patch_index(at, c, p.c_out, k);
            put(k, index, dy[select(index, 0u, index == 0xFFFFFFFFu)]);
        }
        copy_filters(lane, first, c, true);
        workgroupBarrier();
        sums = multiply(sums, row, column, quad);
    }
    for (var k = 0u; k < 4u; k++) {
        let i = at.y + row;
        let j = at.z + column + k;
        if i >= p.height || j >= p.width { continue; }
        for (var m = 0u; m < 8u; m++) {
            let o = first + quad * 4u + m;
            if o >= p.c_in { break; }
            let sum = sum_of(sums, k, m);
            dx[((at.x * p.c_in + o) * p.height + i) * p.width + j] = sum;
        }
    }
}

// Groups: blocks of 32 output times 8 input channels, walkers. Threads: 16 pairs of output channels, 8 input channels.
@compute @workgroup_size(128)
fn backward_w_1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let first_out = g.x / p.in_blocks * 32u;
    let first_in = g.x % p.in_blocks * 8u;
    let pair = lane / 8u;
    let channel = lane % 8u;
    var low: array<f32, 9>;
    var high: array<f32, 9>;
    for (var tile = g.y; tile < p.tiles; tile += p.walkers) {
        let at = origin(tile, 4u);
        workgroupBarrier();
        for (var k = lane; k < 2048u; k += 128u) {
            let o = first_out + k / 64u;
            let i = at.y + k % 64u / 16u;
            let j = at.z + k % 16u;
            let is_real = o < p.c_out && i < p.height && j < p.width;
            let value = dy[select(0u, ((at.x * p.c_out + o) * p.height + i) * p.width + j, is_real)];
            dy_values[k / 64u * 65u + k % 64u] = select(0.0, value, is_real);
        }
        for (var k = lane; k < 864u; k += 128u) {
            let index = neighbour(at.x, first_in + k / 108u, p.c_in, at.y + k % 108u / 18u, at.z + k % 18u);
            let value = x[select(index, 0u, index == 0xFFFFFFFFu)];
            x_values[k] = select(value, 0.0, index == 0xFFFFFFFFu);
        }
        workgroupBarrier();
        for (var r = 0u; r < 4u; r++) {
            let from_x = channel * 108u + r * 18u;
            var left = vec3(x_values[from_x], x_values[from_x + 18u], x_values[from_x + 36u]);
            var middle = vec3(x_values[from_x + 1u], x_values[from_x + 19u], x_values[from_x + 37u]);
            for (var s = 0u; s < 16u; s++) {
                let right = vec3(x_values[from_x + s + 2u], x_values[from_x + s + 20u], x_values[from_x + s + 38u]);
                let d0 = dy_values[pair * 130u + r * 16u + s];
                let d1 = dy_values[pair * 130u + 65u + r * 16u + s];
                for (var u = 0u; u < 3u; u++) {
                    low[u * 3u] += d0 * left[u];
                    low[u * 3u + 1u] += d0 * middle[u];
                    low[u * 3u + 2u] += d0 * right[u];
                    high[u * 3u] += d1 * left[u];
                    high[u * 3u + 1u] += d1 * middle[u];
                    high[u * 3u + 2u] += d1 * right[u];
                }
                left = middle;
                middle = right;
            }
        }
    }
    let c = first_in + channel;
    let o = first_out + pair * 2u;
    let walker = g.y * p.c_out * p.c_in * 9u;
    for (var k = 0u; k < 9u; k++) {
        if c < p.c_in && o < p.c_out { t0[walker + (o * p.c_in + c) * 9u + k] = low[k]; }
        if c < p.c_in && o + 1u < p.c_out { t0[walker + ((o + 1u) * p.c_in + c) * 9u + k] = high[k]; }
    }
}

@compute @workgroup_size(64)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * 64u;
    if k >= p.threads { return; }
    var sum = 0.0;
    for (var walker = 0u; walker < p.walkers; walker++) { sum += t0[walker * p.threads + k]; }
    dw[k] = sum;
}
