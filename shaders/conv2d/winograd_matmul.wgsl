// conv2d/winograd_matmul: a fused 3×3 convolution by Winograd's F(4×4, 3×3), for hardware GPUs. Twin: src/ops/conv2d/winograd_matmul.rs.
//
// Lavin and Gray 2016, section 4: y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for tiles of 4 × 4 outputs from 6 × 6 inputs, 36 products for 16 outputs
// instead of 144. They are 36 products of matrices, V · Uᵀ, one for each position in a tile: shared/product.wgsl computes them, with tiles
// as the rows of A, output channels as the rows of B and input channels as terms. The transforms are in shared/winograd6.wgsl.
//
// entry      one thread computes                        reads    terms and their order
// forward_1  t0: V at 36 positions of a tile, one c     x        6 rows, then 6 columns
// forward_2  t1: U at 36 positions, one c and one o     w        3 taps per side; runs once if w is constant
// forward_3  t2: 16 · QUADS_A · QUADS_B products M at   t0, t1   a part's c, ascending
//            a position
// forward_4  y: 4 × 4 pixels of one o                   t2, z    parts, 6 rows, then 6 columns; bias; activation; z
//
// The transforms are bound by bytes: neighbouring threads have neighbouring tiles, and in forward_4 eight channels of eight tiles.

const TILE: u32 = 4u;
const R: u32 = 3u;
// See shared/put.wgsl.
const COMBINE: u32 = 0u;
alias T = f32;
alias Bits = u32;
alias Stored = f32;

struct P {
    threads: u32, rows_a: u32, rows_b: u32, terms: u32, a_row: u32, a_step: u32, b_row: u32, b_step: u32, y_row: u32, y_step: u32,
    blocks_a: u32, blocks_b: u32,   // Per matrix.
    chunks: u32, parts: u32, each: u32,   // Chunks of terms, parts of them, and chunks per part.
    height: u32, width: u32, out_height: u32, out_width: u32, pad_h: u32, pad_w: u32,
    adjoint: u32,            // w is [Ci,Co,3,3], and its taps are rotated by 180°.
    replicate: u32,          // Outside the picture lies its nearest pixel, not 0.
    tiles_x: u32, tiles: u32, tiles_of_picture: u32,
    slope: f32, f0: f32, f1: f32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var<storage, read> z: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> t0: array<f32>;
@group(0) @binding(8) var<storage, read> t0_read: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> t1: array<f32>;
@group(0) @binding(10) var<storage, read> t1_read: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read_write> t2: array<vec4<f32>>;
@group(0) @binding(12) var<storage, read> t2_read: array<vec4<f32>>;

// Row or column k of `size`, or the nearest; numbers past 2³¹ are negative.
fn nearest_of(k: u32, size: u32) -> u32 {
    return select(min(k, size - 1u), 0u, k >= 0x80000000u);
}

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    // By block, term, row of the block.
    let rows = WIDE_A * 4u;
    let c = thread / rows % (p.chunks * TERMS);
    let number = thread / (rows * p.chunks * TERMS) * rows + thread % rows;
    let is_real = c < p.terms && number < p.tiles;
    let tile = tile_at(number);
    let plane = (tile.x * p.terms + min(c, p.terms - 1u)) * p.height * p.width;
    var column: array<T, 6>;
    var e: array<array<T, 6>, 6>;
    // unroll
    for (var s = 0u; s < 6u; s++) {
        let j = tile.z + s - p.pad_w;   // Modulo 2³²: left of the picture is past its end.
        let at = plane + nearest_of(j, p.width);
        // unroll
        for (var r = 0u; r < 6u; r++) {
            let i = tile.y + r - p.pad_h;
            let inside = (j < p.width && i < p.height) || p.replicate != 0u;
            column[r] = select(0.0, x[at + nearest_of(i, p.height) * p.width], inside);
        }
        e[s] = transform_input(column);
    }
    // unroll
    for (var r = 0u; r < 6u; r++) {
        // unroll
        for (var s = 0u; s < 6u; s++) { column[s] = e[s][r]; }
        let v = transform_input(column);
        // unroll
        for (var s = 0u; s < 6u; s++) { t0[(r * 6u + s) * p.threads + thread] = select(0.0, v[s], is_real); }
    }
}

@compute @workgroup_size(64)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let rows = WIDE_B * 4u;
    let term = thread / rows % (p.chunks * TERMS);
    let row = thread / (rows * p.chunks * TERMS) * rows + thread % rows;
    let is_real = term < p.terms && row < p.rows_b;
    let c = min(term, p.terms - 1u);
    let o = min(row, p.rows_b - 1u);
    let first = 9u * select(o * p.terms + c, c * p.rows_b + o, p.adjoint != 0u);
    var column: array<T, 5>;
    var e: array<array<T, 6>, 5>;
    // unroll
    for (var s = 0u; s < 3u; s++) {
        // unroll
        for (var r = 0u; r < 3u; r++) { column[r] = w[first + select(r * 3u + s, 8u - r * 3u - s, p.adjoint != 0u)]; }
        e[s] = transform_filter(column);
    }
    // unroll
    for (var r = 0u; r < 6u; r++) {
        let u = transform_filter(array(e[0][r], e[1][r], e[2][r], e[3][r], e[4][r]));
        // unroll
        for (var s = 0u; s < 6u; s++) { t1[(r * 6u + s) * p.threads + thread] = select(0.0, u[s], is_real); }
    }
}

@compute @workgroup_size(256)
fn forward_3(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    multiply(lane, g, g.z, g.z);
}

@compute @workgroup_size(64)
fn forward_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    // Eight channels of eight tiles, by pair of blocks, tiles, channels.
    let eight = thread / 64u;
    let pair = eight / (WIDE_A * WIDE_B / 4u);
    let row = eight / (WIDE_B / 2u) % (WIDE_A / 2u) * 8u + thread / 8u % 8u;
    let column = eight % (WIDE_B / 2u) * 8u + thread % 8u;
    let number = pair / p.blocks_b * (WIDE_A * 4u) + row;
    let o = pair % p.blocks_b * (WIDE_B * 4u) + column;
    if number >= p.tiles || o >= p.rows_b { return; }
    // By column of the tile, row of the tile.
    var products: array<array<T, 6>, 6>;
    let tile_size = WIDE_A * 4u * WIDE_B;
    let of_position = p.blocks_a * p.blocks_b * p.parts * tile_size;
    for (var part = 0u; part < p.parts; part++) {
        let at = (pair * p.parts + part) * tile_size + row * WIDE_B + column / 4u;
        // unroll
        for (var s = 0u; s < 6u; s++) {
            // unroll
            for (var r = 0u; r < 6u; r++) { products[s][r] += t2_read[at + (r * 6u + s) * of_position][column % 4u]; }
        }
    }
    var m: array<T, 6>;
    var e: array<array<T, 4>, 6>;
    // unroll
    for (var s = 0u; s < 6u; s++) { e[s] = transform_output(products[s]); }
    let tile = tile_at(number);
    let first = (tile.x * p.rows_b + o) * p.out_height;
    // unroll
    for (var r = 0u; r < 4u; r++) {
        // unroll
        for (var s = 0u; s < 6u; s++) { m[s] = e[s][r]; }
        let sums = transform_output(m);
        // unroll
        for (var s = 0u; s < 4u; s++) {
            if tile.y + r < p.out_height && tile.z + s < p.out_width {
                put((first + tile.y + r) * p.out_width + tile.z + s, activated(sums[s] + b[o], a[o]));
            }
        }
    }
}
