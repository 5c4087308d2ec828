// power: a to the power of b. WGSL's pow has no value for negative a.

fn power(a: T, b: T) -> T {
    if is_nan(a) || is_nan(b) { return a + b; }
    if b == T(0.0) { return T(1.0); }
    // Infinity, which no constant may be, where b is negative.
    if a == T(0.0) { return select(T(0.0), bitcast<T>(0x7F800000u | (bitcast<u32>(a) & 1u)), b < T(0.0)); }
    let size = exp2(b * log2(abs(a)));
    if a > T(0.0) { return size; }
    // Not-a-number unless b is whole.
    if floor(b) != b { return bitcast<T>(0x7FC00000u | (bitcast<u32>(b) & 1u)); }
    return select(size, -size, floor(T(0.5) * b) != T(0.5) * b);
}
