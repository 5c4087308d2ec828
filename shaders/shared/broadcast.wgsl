// broadcast: where the elements of two inputs of different shapes meet. The including shader's P has the sizes of y s1 to s5 and the
// strides of a and b for its dimensions a0 to a5 and b0 to b5; is_same says that a and b have one shape. It has
// shared/quotient.wgsl too.

// Where a and b lie that belong to element i of y.
fn place(i: u32) -> vec2<u32> {
    if p.is_same == 1u { return vec2(i); }
    let i4 = quotient(i, p.s5);
    let i3 = quotient(i4, p.s4);
    let i2 = quotient(i3, p.s3);
    let i1 = quotient(i2, p.s2);
    let i0 = quotient(i1, p.s1);
    return i0 * vec2(p.a0, p.b0) + (i1 - i0 * p.s1) * vec2(p.a1, p.b1) + (i2 - i1 * p.s2) * vec2(p.a2, p.b2)
        + (i3 - i2 * p.s3) * vec2(p.a3, p.b3) + (i4 - i3 * p.s4) * vec2(p.a4, p.b4) + (i - i4 * p.s5) * vec2(p.a5, p.b5);
}
