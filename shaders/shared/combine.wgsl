// combine: shared by the shaders of fused convolutions that work on channel quads: combines a value with that of z at the same
// place. The including shader defines COMBINE: 0 ignores z, 1 is the sum, 2 the product, 3 `p.slope` times the value where z ≤ 0.

fn combined(value: vec4<f32>, at: vec2<u32>) -> vec4<f32> {
    if COMBINE == 0u { return value; }
    let other = textureLoad(z, at);
    if COMBINE == 1u { return value + other; }
    if COMBINE == 2u { return value * other; }
    return select(value, p.slope * value, other <= vec4(0.0));
}
