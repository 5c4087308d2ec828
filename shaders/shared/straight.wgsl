// straight: shared by the shaders that convolve channel quads with every tap written out (conv2d/straight explains it).
// The including shader defines `source(k)`, texel k of the picture; `meets(u, v, q)`, whether output quad q has a weight at tap (u, v), which
// all have if SPREAD_BY is 1; and has its weights in t2: for each group KH · KW taps, KQ · KC input channels (DOT: KQ quads), OQ output quads.

var<workgroup> weights: array<vec4<f32>, FILL>;

// Copies the weights of a group to workgroup memory; LANES threads, COPIES texels each.
fn copy_weights(group: u32, lane: u32) {
    // unroll
    for (var k = 0u; k < COPIES; k++) {
        let at = lane + k * LANES;
        if at < FILL { weights[at] = textureLoad(t2_read, texel(group * FILL + at)); }
    }
    workgroupBarrier();
}

// Adds the products of a quad of channels at a tap to `sum`. A function of its own, because naga takes time in proportion to the square
// of a function's length, while the driver makes the same code of both.
fn add_quad(sum: ptr<function, array<vec4<f32>, OQ>>, part: vec4<f32>, u: u32, v: u32, k: u32) {
    let number = (u * KW + v) * KQ + k;
    // unroll
    for (var c = 0u; c < DOT; c++) { (*sum)[0] += vec4(dot(part, weights[number]), 0.0, 0.0, 0.0); }
    let first = number * (KC * OQ);
    // unroll
    for (var c = 0u; c < KC * SPREAD; c++) {
        // unroll
        for (var q = 0u; q < OQ; q++) {
            if SPREAD_BY == 1u || meets(u, v, q) { (*sum)[q] += weights[first + (c * OQ + q)] * part[c]; }
        }
    }
}

// Returns the sum over taps and channels of weights times the source, `size` (height, width) pixels, around pixel (i, j) of
// the KQ quads from texel `first`, whose first tap lies `pad` above and left of it: all (u, v, c) by u, v, c. Outside the picture the
// source is 0 or, with `replicate`, the nearest pixel.
fn straight(first: u32, i: u32, j: u32, size: vec2<u32>, pad: vec2<u32>, replicate: bool) -> array<vec4<f32>, OQ> {
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
    for (var u = 0u; u < KH; u++) {
        let r = i + u - pad.x;
        let in_column = r < size.x || replicate;
        let row = first + select(min(r, size.x - 1u), 0u, i + u < pad.x) * size.y;
        // unroll
        for (var v = 0u; v < KW; v++) {
            // unroll
            for (var k = 0u; k < KQ; k++) {
                let value = source(row + column[v] + k * plane);
                // Not `&&`, which would be a branch at every tap.
                let part = select(vec4(0.0), value, in_column & in_row[v]);
                add_quad(&sum, part, u, v, k);
            }
        }
    }
    return sum;
}
