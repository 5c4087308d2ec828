// straight: shared by the shaders that convolve channel quads with every tap written out (conv2d/straight explains it).
// The including shader defines `source(k)`, texel k of the picture; `meets(u, v, q)`, whether output quad q has a weight at tap (u, v), which
// all have if PLACES is 1; and has its weights in t2: for each group KH · KW taps, KQ · KC input channels (DOT: KQ quads), OQ output quads.

// Parts of the window, each of ROWS rows, and the texels of weights of a part. All lanes of a workgroup, eight at a time, run the code of
// a part before any run that of the next, so it comes from the instruction cache (32 KiB), at 20 bytes per clock instead of the second
// level's 12. A multiply and an add take 16 bytes, a load of a texel some 400; a barrier takes 320 clocks for eight lanes (Zen 5, Mesa
// 22.3.6).
const PARTS: u32 = 1u;
const ROWS: u32 = 1u;
const PART: u32 = 1u;
// Texels that each lane copies.
const COPIES: u32 = 1u;

var<workgroup> weights: array<vec4<f32>, PART>;

// Copies a group's weights of a part to workgroup memory; LANES threads, COPIES texels each.
fn copy_weights(group: u32, part: u32, lane: u32) {
    // unroll
    for (var k = 0u; k < COPIES; k++) {
        let at = lane + k * LANES;
        if at < PART { weights[at] = textureLoad(t2_read, texel((group * PARTS + part) * PART + at)); }
    }
    workgroupBarrier();
}

// Adds the products of texel `number` of a part, whose first window row is `row`, to `sum`. A function of its own, because naga takes
// time in proportion to the square of a function's length, while the driver makes the same code of both.
fn add_quad(sum: ptr<function, array<vec4<f32>, OQ>>, quad: vec4<f32>, row: u32, number: u32) {
    // unroll
    for (var c = 0u; c < DOT; c++) { (*sum)[0] += vec4(dot(quad, weights[number]), 0.0, 0.0, 0.0); }
    let first = number * (KC * OQ);
    // unroll
    for (var q = 0u; q < OQ; q++) {
        if PLACES == 1u || meets(row + number / (KW * KQ), number / KQ % KW, q) {
            // unroll
            for (var c = 0u; c < KC * SPREAD; c++) { (*sum)[q] += weights[first + (c * OQ + q)] * quad[c]; }
        }
    }
}

// Returns the sum over taps and channels of the weights of `group` times the source, `size` (height, width) pixels, around pixel (i, j) of
// the KQ quads from texel `first`, whose first tap lies `pad` above and left of it: all (u, v, c) by u, v, c. Outside the picture the
// source is 0 or, with `replicate`, the nearest pixel. All lanes of the workgroup call it.
fn straight(group: u32, lane: u32, first: u32, i: u32, j: u32, size: vec2<u32>, pad: vec2<u32>, replicate: bool) -> array<vec4<f32>, OQ> {
    let plane = size.x * size.y;
    var column: array<u32, KW>;
    var in_row: array<bool, KW>;
    // unroll
    for (var v = 0u; v < KW; v++) {
        let s = j + v - pad.y;   // Modulo 2³²: columns left of the picture are past its end.
        in_row[v] = s < size.y || replicate;
        column[v] = select(min(s, size.y - 1u), 0u, j + v < pad.y);
    }
    var sum: array<vec4<f32>, OQ>;
    // unroll
    for (var q = 0u; q < OQ; q++) { sum[q] = vec4(0.0); }
    // unroll
    for (var part = 0u; part < PARTS; part++) {
        if part > 0u { workgroupBarrier(); }
        copy_weights(group, part, lane);
        var quad: vec4<f32>;
        // unroll
        for (var r = 0u; r < ROWS; r++) {
            let u = part * ROWS + r;
            let s = i + u - pad.x;
            let in_column = s < size.x || replicate;
            let row = first + select(min(s, size.x - 1u), 0u, i + u < pad.x) * size.y;
            // unroll
            for (var v = 0u; v < KW; v++) {
                // unroll
                for (var k = 0u; k < KQ; k++) {
                    let value = source(row + column[v] + k * plane);
                    // Not `&&`, which would be a branch at every tap.
                    let next = select(vec4(0.0), value, in_column & in_row[v]);
                    // The next texel is under way while this one is multiplied. In a part that is much longer, LLVM would keep the
                    // products in memory and add them up at its end.
                    if r + v + k > 0u { add_quad(&sum, quad, part * ROWS, (r * KW + v) * KQ + k - 1u); }
                    quad = next;
                }
            }
        }
        add_quad(&sum, quad, part * ROWS, ROWS * KW * KQ - 1u);
    }
    return sum;
}
