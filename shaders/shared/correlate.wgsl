// correlate: shared by the shaders of filter gradients: sums over pixels of products of two pictures in channel quads,
//
//   Σ_{n,i,j} A[n, a, i, j] · B[n, b, i·s + u·d − pad_h, j·s' + v·d' − pad_w]   for every channel a, channel b and tap (u, v),
//
// with stride s, s' and dilation d, d', where B is 0 outside the picture (with p.replicate, its border). The including shader defines `a_load(k)` and `b_load(k)`,
// texel k of A and of B, scratch t1, and these members of P:
//   a_height, a_width, b_height, b_width, a_quads, b_quads, pad_h, pad_w, replicate
//   taps, taps_w                  of a filter, and of one of its rows
//   b_blocks, units               blocks of BQ quads of B; (blocks of AQ quads of A) · (b_blocks · taps / TW + BIAS)
//   pixels                        of A, all pictures
//   walkers, chunks               walks of eight lanes per unit, and chunks of eight pixels per walk, a multiple of UNROLL
//   batch, step_n, step_i, step_j pictures; eight pixels further, in pictures, rows and columns
//
// A lane takes every eighth pixel of its walker, so nothing is broadcast. Instructions for eight lanes on a Zen 3 under Mesa
// 22.3.6: 48 for a texel, about 60 for the place, 2.2 for a multiply-add, whose sum does not stay in one of 16 registers. So
// AQ + TW · BQ texels feed 16 · AQ · TW · BQ multiply-adds, as many as the first-level cache has room for sums. The UNROLL chunks of
// an iteration share the loop's selects, and each sum is loaded and stored once for all of them.

// Quads per block of A and of B; taps side by side, which divide taps_w; sums per thread, four values each; chunks per iteration,
// and their texels.
const AQ: u32 = 2u;
const BQ: u32 = 2u;
const TW: u32 = 1u;
const SUMS: u32 = AQ * BQ * TW * 4u;
const UNROLL: u32 = 2u;
const LEFTS: u32 = UNROLL * AQ;
const RIGHTS: u32 = UNROLL * BQ * TW;
// Pixels of B from one pixel of A to the next, and from one tap to the next.
const STRIDE_H: u32 = 1u;
const STRIDE_W: u32 = 1u;
const DILATION_H: u32 = 1u;
const DILATION_W: u32 = 1u;

struct Place { n: u32, i: u32, j: u32 }

// The place eight pixels further.
fn advance(at: Place) -> Place {
    let j = at.j + p.step_j;
    let is_past_row = j >= p.a_width;
    let i = at.i + p.step_i + select(0u, 1u, is_past_row);
    let is_past_picture = i >= p.a_height;
    return Place(
        at.n + p.step_n + select(0u, 1u, is_past_picture),
        select(i, i - p.a_height, is_past_picture),
        select(j, j - p.a_width, is_past_row),
    );
}

// Groups: eight walks, all units in turn; lanes: eight pixels, then walks.
fn correlate(lane: u32, group: u32) {
    let walk = min(group * 8u + lane / 8u, p.units * p.walkers - 1u);
    let walker = walk / p.units;
    let unit = walk - walker * p.units;
    let of_a = p.b_blocks * (p.taps / TW) + BIAS;
    let a_block = unit / of_a;
    let rest = unit - a_block * of_a;
    let b_block = rest / (p.taps / TW);
    let is_bias = b_block == p.b_blocks;
    let tap = (rest - b_block * (p.taps / TW)) * TW;
    let u = tap / p.taps_w;
    let v = tap - u * p.taps_w;
    let a_plane = p.a_height * p.a_width;
    let b_plane = p.b_height * p.b_width;
    let begin = walker * p.chunks * 8u + lane % 8u;
    let n = begin / a_plane;
    let i = (begin - n * a_plane) / p.a_width;
    var at = Place(n, i, begin - n * a_plane - i * p.a_width);
    var number = begin;
    var sum: array<vec4<f32>, SUMS>;
    // unroll
    for (var k = 0u; k < SUMS; k++) { sum[k] = vec4(0.0); }
    let chunks = bound(p.chunks, lane);
    for (var chunk = 0u; chunk < chunks; chunk += UNROLL) {
        var left: array<vec4<f32>, LEFTS>;
        var right: array<vec4<f32>, RIGHTS>;
        // unroll
        for (var c = 0u; c < UNROLL; c++) {
            let is_real = number < p.pixels;
            let n = min(at.n, p.batch - 1u);
            let below = at.i * STRIDE_H + u * DILATION_H;
            let r = below - p.pad_h;         // Modulo 2³²: rows above the picture are past its end.
            // With replicate, a row above the picture counts as the first.
            let row = select(min(r, p.b_height - 1u), 0u, below < p.pad_h);
            // unroll
            for (var q = 0u; q < AQ; q++) {
                let quad = min(a_block * AQ + q, p.a_quads - 1u);
                left[c * AQ + q] = a_load((n * p.a_quads + quad) * a_plane + at.i * p.a_width + at.j);
            }
            // unroll
            for (var t = 0u; t < TW; t++) {
                let right_of = at.j * STRIDE_W + (v + t) * DILATION_W;
                let s = right_of - p.pad_w;
                // `&&` and `||` would be branches.
                let is_inside = is_real & (((r < p.b_height) & (s < p.b_width)) | (p.replicate != 0u) | is_bias);
                let column = select(min(s, p.b_width - 1u), 0u, right_of < p.pad_w);
                // unroll
                for (var q = 0u; q < BQ; q++) {
                    let quad = min(b_block * BQ + q, p.b_quads - 1u);
                    let value = b_load((n * p.b_quads + quad) * b_plane + row * p.b_width + column);
                    right[(c * TW + t) * BQ + q] = select(vec4(0.0), select(value, vec4(1.0), is_bias), is_inside);
                }
            }
            at = advance(at);
            number += 8u;
        }
        // unroll
        for (var a = 0u; a < AQ; a++) {
            // unroll
            for (var k = 0u; k < 4u; k++) {
                // unroll
                for (var b = 0u; b < TW * BQ; b++) {
                    // unroll
                    for (var c = 0u; c < UNROLL; c++) {
                        sum[(a * 4u + k) * (TW * BQ) + b] += left[c * AQ + a][k] * right[c * (TW * BQ) + b];
                    }
                }
            }
        }
    }
    let first = (unit * p.walkers + walker) * SUMS * 8u + lane % 8u;
    // unroll
    for (var k = 0u; k < SUMS; k++) { textureStore(t1, texel(first + k * 8u), sum[k]); }
}

// The result of `correlate` for a channel of A and four of B: first channel of B, tap, and the sum over lanes and walkers.
struct Product { a: u32, b: u32, u: u32, v: u32, is_bias: bool, sum: vec4<f32> }

// Thread `thread` of units · SUMS.
fn product(thread: u32) -> Product {
    let unit = thread / SUMS;
    let k = thread - unit * SUMS;
    let of_a = p.b_blocks * (p.taps / TW) + BIAS;
    let a_block = unit / of_a;
    let rest = unit - a_block * of_a;
    let b_block = rest / (p.taps / TW);
    let tap = (rest - b_block * (p.taps / TW)) * TW;
    let u = tap / p.taps_w;
    let walkers = bound(p.walkers, thread);
    var sum = vec4(0.0);
    for (var walker = 0u; walker < walkers; walker++) {
        // unroll
        for (var lane = 0u; lane < 8u; lane++) {
            sum += textureLoad(t1_read, texel(((unit * p.walkers + walker) * SUMS + k) * 8u + lane));
        }
    }
    let a = a_block * AQ * 4u + k / (TW * BQ);
    let is_bias = b_block == p.b_blocks;
    // The sums of A stand once for each quad and tap.
    let b = b_block * BQ + select(k % BQ, k % (TW * BQ), is_bias);
    return Product(a, b * 4u, u, tap - u * p.taps_w + k / BQ % TW, is_bias, sum);
}
