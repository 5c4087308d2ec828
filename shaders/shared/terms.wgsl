// terms: which elements a sum over some dimensions takes. The including shader's P has the sizes of the tensor that is summed, s1 to
// s5, and of the dimensions that are kept, k1 to k5, and summed over, r1 to r5; one of the two is 1.

// Element that is term t of the sum of element `element`.
fn term_of(element: u32, t: u32) -> u32 {
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
