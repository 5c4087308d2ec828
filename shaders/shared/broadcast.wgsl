// broadcast: where the elements of two inputs of different shapes meet. The including shader's P has the sizes of y s1 to s5, the
// strides of a and b for its dimensions a0 to a5 and b0 to b5, and in a gradient the sizes of the dimensions that are kept, k1 to k5,
// and summed over, r1 to r5; is_same says that a and b have one shape.

fn is_nan(value: T) -> bool {
    // By its bits, since a compiler may take every number to be one.
    return (bitcast<u32>(value) & 0x7FFFFFFFu) > 0x7F800000u;
}

// Where a and b lie that belong to element i of y.
fn place(i: u32) -> vec2<u32> {
    if p.is_same == 1u { return vec2(i); }
    let i4 = i / p.s5;
    let i3 = i4 / p.s4;
    let i2 = i3 / p.s3;
    let i1 = i2 / p.s2;
    let i0 = i1 / p.s1;
    return i0 * vec2(p.a0, p.b0) + (i1 - i0 * p.s1) * vec2(p.a1, p.b1) + (i2 - i1 * p.s2) * vec2(p.a2, p.b2)
        + (i3 - i2 * p.s3) * vec2(p.a3, p.b3) + (i4 - i3 * p.s4) * vec2(p.a4, p.b4) + (i - i4 * p.s5) * vec2(p.a5, p.b5);
}

// Element of y that is term t of the gradient of element `element`.
fn term(element: u32, t: u32) -> u32 {
    if p.is_same == 1u { return element; }
    var kept = element;
    var summed = t;
    var i = kept % p.k5 + summed % p.r5;
    var stride = p.s5;
    kept /= p.k5;
    summed /= p.r5;
    i += (kept % p.k4 + summed % p.r4) * stride;
    stride *= p.s4;
    kept /= p.k4;
    summed /= p.r4;
    i += (kept % p.k3 + summed % p.r3) * stride;
    stride *= p.s3;
    kept /= p.k3;
    summed /= p.r3;
    i += (kept % p.k2 + summed % p.r2) * stride;
    stride *= p.s2;
    kept /= p.k2;
    summed /= p.r2;
    i += (kept % p.k1 + summed % p.r1) * stride;
    return i + (kept / p.k1 + summed / p.r1) * stride * p.s1;
}
