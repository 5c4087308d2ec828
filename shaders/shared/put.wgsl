// put: shared by the kernels of fused convolutions that write rows. The including shader defines COMBINE: with z, 0 nothing, 1 sum, 2
// product, 3 times `p.slope` where z ≤ 0.

fn put(at: u32, value: f32) {
    if COMBINE == 0u { y[at] = value; }
    if COMBINE == 1u { y[at] = value + z[at]; }
    if COMBINE == 2u { y[at] = value * z[at]; }
    if COMBINE == 3u { y[at] = select(value, p.slope * value, z[at] <= 0.0); }
}
