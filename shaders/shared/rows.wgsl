// rows: shared by the shaders that combine every row of A with every row of B, in channel quads:
//
//   y[n, m] = Σ_d term(A[n, d], B[m, d])   by d
//
// The including shader defines `a_load(k)` and `b_load(k)`, texel k of A and of B (texel row · p.quads + q holds
// d = 4q .. 4q + 3, 0 past the end: term(0, 0) must be 0), `term`, and p.rows_a, p.rows_b and p.quads. A thread takes AM rows
// of A and BM of B.
//
// Costs that it is designed for (instructions for eight lanes, Zen 3 under Mesa 22.3.6): a texel 48, a multiply-add 2 and, for
// every four of them, a load and a store of their sum, which does not stay in a register. AM + BM texels feed 4 · AM · BM
// multiply-adds: with 8 and 8, 768 and 640 instructions. Matrices of a few rows do not fill larger blocks.

const AM: u32 = 8u;
const BM: u32 = 8u;
const SUMS: u32 = 16u;
// Threads of a workgroup, which one processor runs: fewer where there are few blocks, so that every processor gets some.
const LANES: u32 = 64u;

// a, b: the first rows; from_a, from_b: the texels before the matrices.
struct Block { a: u32, b: u32, is_real: bool, from_a: u32, from_b: u32 }

// First rows of thread `thread`; neighbours take neighbouring rows of B.
fn block_of(thread: u32) -> Block {
    let columns = (p.rows_b + BM - 1u) / BM;
    let a = thread / columns;
    return Block(a * AM, (thread - a * columns) * BM, a * AM < p.rows_a, 0u, 0u);
}

// Returns the sums of a block: sum 2k + h is for row block.b + k of B and the four rows of A from block.a + 4h. Rows past the
// end repeat the last.
fn rows(block: Block, thread: u32) -> array<vec4<f32>, SUMS> {
    return rows_between(block, 0u, p.quads, thread);
}

// Returns the same for the quads from `first` to before `end`.
fn rows_between(block: Block, first: u32, end: u32, thread: u32) -> array<vec4<f32>, SUMS> {
    var a: array<u32, AM>;
    var b: array<u32, BM>;
    var sum: array<vec4<f32>, SUMS>;
    // unroll
    for (var k = 0u; k < AM; k++) { a[k] = block.from_a + min(block.a + k, p.rows_a - 1u) * p.quads; }
    // unroll
    for (var k = 0u; k < BM; k++) {
        b[k] = block.from_b + min(block.b + k, p.rows_b - 1u) * p.quads;
        sum[2u * k] = vec4(0.0);
        sum[2u * k + 1u] = vec4(0.0);
    }
    let last = bound(end, thread);
    for (var q = first; q < last; q++) {
        var v: array<vec4<f32>, AM>;
        // unroll
        for (var k = 0u; k < AM; k++) { v[k] = a_load(a[k] + q); }
        // unroll
        for (var k = 0u; k < BM; k++) {
            let w = b_load(b[k] + q);
            // unroll
            for (var h = 0u; h < 2u; h++) {
                // unroll
                for (var c = 0u; c < 4u; c++) {
                    sum[2u * k + h] += term(vec4(v[4u * h][c], v[4u * h + 1u][c], v[4u * h + 2u][c], v[4u * h + 3u][c]), w[c]);
                }
            }
        }
    }
    return sum;
}
