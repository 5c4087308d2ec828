// put: shared by the kernels of fused convolutions that write rows. The including shader defines Stored, the type of an element of y and
// z, and COMBINE: with z, 0 nothing, 1 sum, 2 product, 3 times `p.slope` where z ≤ 0.

fn put(at: u32, value: Stored) {
    if COMBINE == 0u { y[at] = value; }
    if COMBINE == 1u { y[at] = value + z[at]; }
    if COMBINE == 2u { y[at] = value * z[at]; }
    if COMBINE == 3u { y[at] = select(value, p.slope * value, z[at] <= Stored(0.0)); }
}
