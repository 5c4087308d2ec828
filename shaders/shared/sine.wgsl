// sine: sin(a + quarters · π/2) to about 2⁻²² up to |a| = 10,000. WGSL's own sin has an absolute error of 2⁻¹¹, and none is promised
// outside of [-π, π]. Source: reduction and polynomials of Moshier's Cephes, sinf.c and cosf.c.

fn sine(a: T, quarters: i32) -> T {
    let k = round(a * T(0.6366197723675814));
    // π/2 in three parts; the products with the first two are exact.
    let r = ((a - k * T(1.5703125)) - k * T(4.837512969970703e-4)) - k * T(7.54978995489188e-8);
    let z = r * r;
    let odd = ((T(-1.9515295891e-4) * z + T(8.3321608736e-3)) * z - T(1.6666654611e-1)) * z * r + r;
    let even = ((T(2.443315711809948e-5) * z - T(1.388731625493765e-3)) * z + T(4.166664568298827e-2)) * z * z
        - T(0.5) * z + T(1.0);
    let quadrant = i32(k) + quarters;
    let size = select(odd, even, (quadrant & 1) == 1);
    return select(size, -size, (quadrant & 2) == 2);
}
