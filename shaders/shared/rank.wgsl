// rank: which elements come first, shared by the shaders of top_k, whose `p.smallest` is 0 or 1.
// Elements are compared as integers, which a compiler that takes every number to be finite orders all the same.

// A number that is the larger the earlier the element comes: -0 equals 0, and a NaN is larger than infinity.
fn rank(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let size = bits & 0x7FFFFFFFu;
    var rank = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
    if size == 0u { rank = 0x80000000u; }
    if size > 0x7F800000u { rank = 0xFFFFFFFFu; }
    return select(rank, ~rank, p.smallest == 1u);
}
