// with_nan: a function's value, or its argument where that is NaN, for functions of WGSL that need not pass it on (SwiftShader's exp and
// log do not). It tests the bits, since a compiler may assume that there is no NaN. The including shader defines `Bits`, u32 for each number
// of a `T`.

fn with_nan(value: T, a: T) -> T {
    // Without the sign, those of a NaN exceed those of infinity.
    return select(value, a, max(bitcast<Bits>(a) & Bits(0x7FFFFFFFu), Bits(0x7F800000u)) != Bits(0x7F800000u));
}
