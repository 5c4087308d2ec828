// conv2d/conv3x3_winograd: gradients of 3×3 filters for w and b by Winograd's F(4×4, 3×3), for lavapipe.
// Twin: src/ops/conv2d/conv3x3_winograd.rs.
//
// With y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for a tile of 4×4 outputs from 6×6 inputs d (Lavin and Gray 2016, section 4), the
// gradient for g is Gᵀ[Σ_tiles (Bᵀ d B) ⊙ (A dy Aᵀ)]G: at each of 36 positions a matrix product (output channels ×
// tiles) · (tiles × input channels), with a quarter of the direct gradient's multiplications.
//
// entry         one thread computes                          reads   terms and their order
// backward_w_1  t0: V at 36 positions of a tile, four c      x       six rows, then six columns
// backward_w_2  t1: D at 36 positions of a tile, four o      dy      four rows, then four columns
// backward_w_3  t2: the product at a position, 8 c × 8 o, of t0, t1  every eighth tile, ascending
//               every eighth tile; and the sums of D at the
//               position where D is the sum of the tile's dy
// backward_w_4  3×3 dw for a channel c and four o; or four db  t2      eight lanes, then the positions
//
// Costs (ns for eight lanes; Zen 3 at 3.2 GHz, Mesa 22.3.6): a load of a texel 4, a store 60 to 105, a multiply-add 0.16 to
// 0.37, and one select for every value carried around a loop. Lanes are tiles, so nothing is broadcast; 64 accumulators
// need four loads for 64 multiply-adds, and UNROLL chunks of tiles per iteration share its selects.

alias T = vec4<f32>;
// Taps of a filter and outputs of a tile, each per side.
const R: u32 = 3u;
const TILE: u32 = 4u;
// Chunks of eight tiles per iteration of backward_w_3.
const UNROLL: u32 = 4u;

struct P {
    c_in: u32, c_out: u32, height: u32, width: u32,
    quads_in: u32, quads_out: u32,
    tiles_x: u32, tiles: u32, tiles_of_picture: u32,
    chunks: u32,              // Of eight tiles; a multiple of UNROLL.
    in_blocks: u32, out_blocks: u32,   // Of eight channels.
    v_stride: u32, d_stride: u32,      // Texels from one position to the next in t0 and t1.
    biases: u32,              // First texel of the sums of D in t2.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;
@group(0) @binding(5) var t0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var t0_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(7) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(8) var t1_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(9) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(10) var t2_read: texture_storage_2d<rgba32float, read>;

// Lanes: eight tiles, then quads of channels.
@compute @workgroup_size(64)
fn backward_w_1(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let q = min(g.x * 8u + l.x / 8u, p.quads_in - 1u);
    let number = g.y * 8u + l.x % 8u;
    let tile = tile_at(number);
    let top = i32(tile.y) - 1;
    let left = i32(tile.z) - 1;
    let plane = (tile.x * p.quads_in + q) * p.height * p.width;
    var column: array<T, 6>;
    var e: array<array<T, 6>, 6>;
    // unroll
    for (var s = 0u; s < 6u; s++) {
        let j = left + i32(s);
        let in_row = j >= 0 && j < i32(p.width);
        let at = plane + u32(clamp(j, 0, i32(p.width) - 1));
        // unroll
        for (var r = 0u; r < 6u; r++) {
            let i = top + i32(r);
            let value = textureLoad(x, texel(at + u32(clamp(i, 0, i32(p.height) - 1)) * p.width));
            column[r] = select(vec4(0.0), value, in_row && i >= 0 && i < i32(p.height));
        }
        e[s] = transform_input(column);
    }
    let at = (q * p.chunks + g.y) * 8u + l.x % 8u;
    // unroll
    for (var r = 0u; r < 6u; r++) {
        let v = transform_input(array(e[0][r], e[1][r], e[2][r], e[3][r], e[4][r], e[5][r]));
        // unroll
        for (var s = 0u; s < 6u; s++) {
            textureStore(t0, texel(at + (r * 6u + s) * p.v_stride), stored(v[s], number));
        }
    }
}

// A · d.
fn transform_gradient(d: array<T, 4>) -> array<T, 6> {
    let even = d[0] + d[2];
    let odd = d[1] + d[3];
    let far_even = d[0] + 4.0 * d[2];
    let far_odd = 2.0 * d[1] + 8.0 * d[3];
    return array(d[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, d[3]);
}

// Lanes: eight tiles, then quads of channels.
@compute @workgroup_size(64)
fn backward_w_2(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let q = min(g.x * 8u + l.x / 8u, p.quads_out - 1u);
    let number = g.y * 8u + l.x % 8u;
    let tile = tile_at(number);
    let plane = (tile.x * p.quads_out + q) * p.height * p.width;
    var column: array<T, 4>;
    var e: array<array<T, 6>, 4>;
    // unroll
    for (var s = 0u; s < 4u; s++) {
        let j = tile.z + s;
        // unroll
        for (var r = 0u; r < 4u; r++) {
            let i = tile.y + r;
            let value = textureLoad(dy, texel(plane + min(i, p.height - 1u) * p.width + min(j, p.width - 1u)));
            column[r] = select(vec4(0.0), value, i < p.height && j < p.width);
        }
        e[s] = transform_gradient(column);
    }
    let at = (q * p.chunks + g.y) * 8u + l.x % 8u;
    // unroll
    for (var r = 0u; r < 6u; r++) {
        let d = transform_gradient(array(e[0][r], e[1][r], e[2][r], e[3][r]));
        // unroll
        for (var s = 0u; s < 6u; s++) {
            textureStore(t1, texel(at + (r * 6u + s) * p.d_stride), stored(d[s], number));
        }
    }
}

// Lanes: eight tiles, then blocks of 8 × 8 channels. Groups: eight such blocks, position.
@compute @workgroup_size(64)
fn backward_w_3(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let block = min(g.x * 8u + l.x / 8u, p.in_blocks * p.out_blocks - 1u);
    let lane = l.x % 8u;
    let out_block = block / p.in_blocks;
    let in_block = block - out_block * p.in_blocks;
    let v0 = g.y * p.v_stride + in_block * 2u * p.chunks * 8u + lane;
    let v1 = g.y * p.v_stride + min(in_block * 2u + 1u, p.quads_in - 1u) * p.chunks * 8u + lane;
    let d0 = g.y * p.d_stride + out_block * 2u * p.chunks * 8u + lane;
    let d1 = g.y * p.d_stride + min(out_block * 2u + 1u, p.quads_out - 1u) * p.chunks * 8u + lane;
    var a: array<T, 18>;
    // unroll
    for (var k = 0u; k < 18u; k++) { a[k] = vec4(0.0); }
    let end = bound(p.chunks, l.x) * 8u;
    for (var chunk = 0u; chunk < end; chunk += UNROLL * 8u) {
        // unroll
        for (var u = 0u; u < UNROLL; u++) {
            let low = textureLoad(t0_read, texel(v0 + chunk + u * 8u));
            let high = textureLoad(t0_read, texel(v1 + chunk + u * 8u));
            let left = textureLoad(t1_read, texel(d0 + chunk + u * 8u));
            let right = textureLoad(t1_read, texel(d1 + chunk + u * 8u));
            // unroll
            for (var c = 0u; c < 4u; c++) {
                a[2u * c] += low[c] * left;
                a[2u * c + 1u] += low[c] * right;
                a[8u + 2u * c] += high[c] * left;
                a[9u + 2u * c] += high[c] * right;
            }
            a[16] += left;
            a[17] += right;
        }
    }
    let first = (g.y * p.in_blocks * p.out_blocks + block) * 128u + lane;
    // unroll
    for (var k = 0u; k < 16u; k++) { textureStore(t2, texel(first + k * 8u), a[k]); }
    // At the second row and column of A, which are all ones, D is the sum of the tile.
    if g.y == 7u && in_block == 0u {
        textureStore(t2, texel(p.biases + out_block * 16u + lane), a[16]);
        textureStore(t2, texel(p.biases + out_block * 16u + 8u + lane), a[17]);
    }
}

// Gᵀ · m.
fn transform_product(m: array<T, 6>) -> array<T, 3> {
    let sum = m[1] + m[2];
    let difference = m[1] - m[2];
    let far_sum = m[3] + m[4];
    let far_difference = m[3] - m[4];
    return array(
        0.25 * m[0] - sum / 6.0 + far_sum / 24.0,
        far_difference / 12.0 - difference / 6.0,
        far_sum / 6.0 - sum / 6.0 + m[5],
    );
}

fn sum_of_lanes(first: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    // unroll
    for (var lane = 0u; lane < 8u; lane++) { sum += textureLoad(t2_read, texel(first + lane)); }
    return sum;
}

@compute @workgroup_size(64)
fn backward_w_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let filters = p.c_in * p.quads_out;
    if thread >= filters {
        let quad = thread - filters;
        var sum = sum_of_lanes(p.biases + quad * 8u);
        // unroll
        for (var m = 0u; m < 4u; m++) {
            if quad * 4u + m < p.c_out { db[quad * 4u + m] = sum[m]; }
        }
        return;
    }
    let quad = thread / p.c_in;
    let c = thread - quad * p.c_in;
    let block = quad / 2u * p.in_blocks + c / 8u;
    let first = block * 128u + (c % 8u * 2u + quad % 2u) * 8u;
    let stride = p.in_blocks * p.out_blocks * 128u;
    var column: array<T, 6>;
    var e: array<array<T, 3>, 6>;
    // unroll
    for (var s = 0u; s < 6u; s++) {
        // unroll
        for (var r = 0u; r < 6u; r++) { column[r] = sum_of_lanes(first + (r * 6u + s) * stride); }
        e[s] = transform_product(column);
    }
    let o = quad * 4u;
    // unroll
    for (var u = 0u; u < 3u; u++) {
        var row = transform_product(array(e[0][u], e[1][u], e[2][u], e[3][u], e[4][u], e[5][u]));
        // unroll
        for (var v = 0u; v < 3u; v++) {
            let k = (o * p.c_in + c) * 9u + u * 3u + v;
            // unroll
            for (var m = 0u; m < 4u; m++) {
                if o + m < p.c_out { dw[k + p.c_in * 9u * m] = row[v][m]; }
            }
        }
    }
}
