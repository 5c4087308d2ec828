// outer: blocks of results in registers, shared by the shaders of conv2d that add outer products to them. The including shader
// defines OC, the number of channels of a block, at most 8.

const LOW = vec4<u32>(0u, 1u, 2u, 3u);
const HIGH = vec4<u32>(4u, 5u, 6u, 7u);

// Eight rows (backward_w: eight taps), each with channels 0–3 in low and 4–7 in high.
struct Block { low: array<vec4<f32>, 8>, high: array<vec4<f32>, 8> }

fn filled(low: vec4<f32>, high: vec4<f32>) -> Block {
    var a: Block;
    // unroll
    for (var k = 0u; k < 8u; k++) {
        a.low[k] = low;
        a.high[k] = high;
    }
    return a;
}

// Eight factors times OC channels.
fn add_outer(a: ptr<function, Block>, factors: array<f32, 8>, low: vec4<f32>, high: vec4<f32>) {
    var r = factors;
    // unroll
    for (var k = 0u; k < 8u; k++) {
        (*a).low[k] = fma(vec4(r[k]), low, (*a).low[k]);
        if OC > 4u { (*a).high[k] = fma(vec4(r[k]), high, (*a).high[k]); }
    }
}
