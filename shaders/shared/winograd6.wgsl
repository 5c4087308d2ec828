// winograd6: shared by the Winograd shaders of six points per side: 0, ±1, ±2, ∞ (Lavin and Gray 2016, section 4.2). B is the
// same for every number of taps R and outputs TILE = 7 − R; G and A are the points' powers. The including shader defines R,
// TILE and T, the type of a value.

// G · g; taps past R are 0.
fn transform_filter(g: array<T, 5>) -> array<T, 6> {
    let even = g[0] + g[2] + g[4];
    let odd = g[1] + g[3];
    let far_even = g[0] + 4.0 * g[2] + 16.0 * g[4];
    let far_odd = 2.0 * g[1] + 8.0 * g[3];
    return array(
        0.25 * g[0], (even + odd) / -6.0, (even - odd) / -6.0, (far_even + far_odd) / 24.0, (far_even - far_odd) / 24.0, g[R - 1u],
    );
}

// Bᵀ · d.
fn transform_input(d: array<T, 6>) -> array<T, 6> {
    let even = d[4] - 4.0 * d[2];
    let odd = d[3] - 4.0 * d[1];
    let near = d[4] - d[2];
    let twice = 2.0 * (d[3] - d[1]);
    return array(4.0 * d[0] - 5.0 * d[2] + d[4], even + odd, even - odd, near + twice, near - twice, 4.0 * d[1] - 5.0 * d[3] + d[5]);
}

// Aᵀ · m, its first TILE rows.
fn transform_output(m: array<T, 6>) -> array<T, 4> {
    let s1 = m[1] + m[2];
    let d1 = m[1] - m[2];
    let s2 = m[3] + m[4];
    let d2 = m[3] - m[4];
    // The point ∞ belongs to the last row.
    return array(m[0] + s1 + s2, d1 + 2.0 * d2 + select(T(0.0), m[5], TILE == 2u), s1 + 4.0 * s2, d1 + 8.0 * d2 + m[5]);
}
