// product: shared by the kernels that compute A · Bᵀ for GPUs, where A and B are matrices of rows_a and rows_b rows of `terms`. With
// DIFFERENCES, a term is the square of a difference instead of a product.
//
// t0 and t1 are A and B by blocks of 64 · QUADS_A and 64 · QUADS_B rows, in vectors of a term of four rows: by matrix, block, term, vector,
// with zeros past the ends. 256 threads, 16 by 16, compute the results of a block of A and one of B, for a part of the terms. TERMS terms
// at a time, they copy both to workgroup memory, having read them into registers while the last ones were multiplied; with two quads on
// each side, four vectors feed 64 multiply-adds: 1 byte for each. t2 has the results by matrix, pair of blocks, part, row of A, rows of B.

const QUADS_A: u32 = 2u;
const QUADS_B: u32 = 2u;
const TERMS: u32 = 8u;
const DIFFERENCES: u32 = 0u;
// Vectors per term and tile, and per chunk of terms.
const WIDE_A: u32 = QUADS_A * 16u;
const WIDE_B: u32 = QUADS_B * 16u;
const CHUNK_A: u32 = TERMS * WIDE_A;
const CHUNK_B: u32 = TERMS * WIDE_B;
// Which each thread copies.
const COPIES_A: u32 = 1u;
const COPIES_B: u32 = 1u;
const RESULTS: u32 = QUADS_A * QUADS_B * 4u;

const LANES = vec4<u32>(0u, 1u, 2u, 3u);

var<workgroup> a_values: array<vec4<f32>, CHUNK_A>;
var<workgroup> b_values: array<vec4<f32>, CHUNK_B>;

// Four terms to copy: where they lie, and whether they exist.
struct Terms { at: vec4<u32>, real: vec4<bool> }

// Vector `k` of t0: terms of four rows of A.
fn terms_of_a(k: u32) -> Terms {
    let block = k / (CHUNK_A * p.chunks);
    let row = block % p.blocks_a * (WIDE_A * 4u) + k % WIDE_A * 4u + LANES;
    let term = k / WIDE_A % (p.chunks * TERMS);
    let first = block / p.blocks_a * (p.rows_a * p.terms) + min(term, p.terms - 1u) * p.a_step;
    return Terms(first + min(row, vec4(p.rows_a - 1u)) * p.a_row, (row < vec4(p.rows_a)) & vec4(term < p.terms));
}

// Vector `k` of t1: terms of four rows of B.
fn terms_of_b(k: u32) -> Terms {
    let block = k / (CHUNK_B * p.chunks);
    let row = block % p.blocks_b * (WIDE_B * 4u) + k % WIDE_B * 4u + LANES;
    let term = k / WIDE_B % (p.chunks * TERMS);
    let first = block / p.blocks_b * (p.rows_b * p.terms) + min(term, p.terms - 1u) * p.b_step;
    return Terms(first + min(row, vec4(p.rows_b - 1u)) * p.b_row, (row < vec4(p.rows_b)) & vec4(term < p.terms));
}

// Four results: row of A, first row of B, where they lie, and their sum.
struct Results { a: u32, b: u32, at: vec4<u32>, sum: vec4<f32> }

fn results(k: u32) -> Results {
    let tile = WIDE_A * 4u * WIDE_B;
    let pair = k / tile;
    let rest = k % tile;
    let matrix = pair / (p.blocks_a * p.blocks_b);
    let a = pair / p.blocks_b % p.blocks_a * (WIDE_A * 4u) + rest / WIDE_B;
    let b = (pair % p.blocks_b * WIDE_B + rest % WIDE_B) * 4u;
    var sum = vec4(0.0);
    for (var part = 0u; part < p.parts; part++) { sum += t2_read[(pair * p.parts + part) * tile + rest]; }
    return Results(a, b, matrix * p.rows_a * p.rows_b + a * p.y_row + (b + LANES) * p.y_step, sum);
}

// The product of a pair of blocks (g.x), a part (g.y) and a matrix of the result (g.z); a and b: which matrices of A and B it takes.
fn multiply(lane: u32, g: vec3<u32>, a: u32, b: u32) {
    let first = g.y * p.each;
    let pair = g.z * p.blocks_a * p.blocks_b + g.x;
    product(
        lane,
        ((a * p.blocks_a + g.x / p.blocks_b) * p.chunks + first) * CHUNK_A,
        ((b * p.blocks_b + g.x % p.blocks_b) * p.chunks + first) * CHUNK_B,
        min(p.each, p.chunks - first),
        (pair * p.parts + g.y) * (WIDE_A * 4u * WIDE_B),
    );
}

fn term(l: f32, r: vec4<f32>) -> vec4<f32> {
    if DIFFERENCES == 1u { return (l - r) * (l - r); }
    return l * r;
}

// Adds up `chunks` chunks from vector `a` of t0 and `b` of t1, and writes the tile's results to t2 from vector `to`: by row of the tile.
fn product(lane: u32, a: u32, b: u32, chunks: u32, to: u32) {
    let row = lane / 16u;
    let column = lane % 16u;
    var at_a = a + lane;
    var at_b = b + lane;
    var next_a: array<vec4<f32>, COPIES_A>;
    var next_b: array<vec4<f32>, COPIES_B>;
    // unroll
    for (var k = 0u; k < COPIES_A; k++) { if k * 256u + 256u <= CHUNK_A || lane + k * 256u < CHUNK_A { next_a[k] = t0_read[at_a + k * 256u]; } }
    // unroll
    for (var k = 0u; k < COPIES_B; k++) { if k * 256u + 256u <= CHUNK_B || lane + k * 256u < CHUNK_B { next_b[k] = t1_read[at_b + k * 256u]; } }
    var sums: array<vec4<f32>, RESULTS>;
    for (var chunk = 1u; chunk <= chunks; chunk++) {
        workgroupBarrier();
        // unroll
        for (var k = 0u; k < COPIES_A; k++) { if k * 256u + 256u <= CHUNK_A || lane + k * 256u < CHUNK_A { a_values[lane + k * 256u] = next_a[k]; } }
        // unroll
        for (var k = 0u; k < COPIES_B; k++) { if k * 256u + 256u <= CHUNK_B || lane + k * 256u < CHUNK_B { b_values[lane + k * 256u] = next_b[k]; } }
        workgroupBarrier();
        if chunk < chunks {
            at_a += CHUNK_A;
            at_b += CHUNK_B;
            // unroll
            for (var k = 0u; k < COPIES_A; k++) { if k * 256u + 256u <= CHUNK_A || lane + k * 256u < CHUNK_A { next_a[k] = t0_read[at_a + k * 256u]; } }
            // unroll
            for (var k = 0u; k < COPIES_B; k++) { if k * 256u + 256u <= CHUNK_B || lane + k * 256u < CHUNK_B { next_b[k] = t1_read[at_b + k * 256u]; } }
        }
        // unroll
        for (var t = 0u; t < TERMS; t++) {
            var r: array<vec4<f32>, QUADS_B>;
            // unroll
            for (var q = 0u; q < QUADS_B; q++) { r[q] = b_values[t * WIDE_B + q * 16u + column]; }
            // unroll
            for (var m = 0u; m < QUADS_A; m++) {
                let l = a_values[t * WIDE_A + m * 16u + row];
                // unroll
                for (var q = 0u; q < QUADS_B; q++) {
                    sums[(m * QUADS_B + q) * 4u] += term(l.x, r[q]);
                    sums[(m * QUADS_B + q) * 4u + 1u] += term(l.y, r[q]);
                    sums[(m * QUADS_B + q) * 4u + 2u] += term(l.z, r[q]);
                    sums[(m * QUADS_B + q) * 4u + 3u] += term(l.w, r[q]);
                }
            }
        }
    }
    // unroll
    for (var m = 0u; m < QUADS_A; m++) {
        // unroll
        for (var q = 0u; q < QUADS_B; q++) {
            // unroll
            for (var k = 0u; k < 4u; k++) {
                t2[to + ((m * 16u + row) * 4u + k) * WIDE_B + q * 16u + column] = sums[(m * QUADS_B + q) * 4u + k];
            }
        }
    }
}
