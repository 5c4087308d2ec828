// combine: shared by the shaders of fused convolutions that work on channel quads: what becomes of a value and that of z at the same
// place. COMBINE, of the includer: 0 nothing, 1 their sum, 2 their product, 3 `p.slope` times the value where z ≤ 0.

fn combined(value: vec4<f32>, at: vec2<u32>) -> vec4<f32> {
    if COMBINE == 0u { return value; }
    let other = textureLoad(z, at);
    if COMBINE == 1u { return value + other; }
    if COMBINE == 2u { return value * other; }
    return select(value, p.slope * value, other <= vec4(0.0));
}
