// quotient: a / b for integers, exact for b up to 2³⁰. Processors divide integers one lane after another, and GPUs in dozens of
// instructions; this takes a dozen for all lanes.

fn quotient(a: u32, b: u32) -> u32 {
    let inverse = 1.0 / f32(b);
    // Off by at most 2⁻²¹ of itself and 1, so that what remains is a signed number.
    var q = u32(min(f32(a) * inverse, 4294967040.0));
    q += bitcast<u32>(i32(floor(f32(bitcast<i32>(a - q * b)) * inverse)));
    let rest = bitcast<i32>(a - q * b);
    return q + select(0u, 1u, rest >= i32(b)) - select(0u, 1u, rest < 0);
}
