// winograd8: shared by the Winograd shaders of eight points per side: 0, ±1, ±2, ±½, ∞ (Lavin and Gray 2016, section 4; the
// matrices as Winograd's construction gives them). B is the same for every number of taps R and outputs TILE = 9 − R; G
// and A are the points' powers; for ±½, a factor of 32 moves from G to A. The including shader defines R and TILE.

// G · g; taps past R are 0.
fn transform_filter(g: array<T, 5>) -> array<T, 8> {
    let even = (g[0] + g[2] + g[4]) / -4.5;
    let odd = (g[1] + g[3]) / -4.5;
    let far_even = (g[0] + 4.0 * g[2] + 16.0 * g[4]) / 90.0;
    let far_odd = (2.0 * g[1] + 8.0 * g[3]) / 90.0;
    let near_even = (g[0] + 0.25 * g[2] + 0.0625 * g[4]) / 45.0;
    let near_odd = (0.5 * g[1] + 0.125 * g[3]) / 45.0;
    return array(
        g[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, near_even + near_odd, near_even - near_odd, g[R - 1u],
    );
}

// Bᵀ · d.
fn transform_input(d: array<T, 8>) -> array<T, 8> {
    let even = d[2] - 4.25 * d[4] + d[6];
    let odd = d[1] - 4.25 * d[3] + d[5];
    let far_even = 0.25 * d[2] - 1.25 * d[4] + d[6];
    let far_odd = 0.5 * d[1] - 2.5 * d[3] + 2.0 * d[5];
    let near_even = 4.0 * d[2] - 5.0 * d[4] + d[6];
    let near_odd = 2.0 * d[1] - 2.5 * d[3] + 0.5 * d[5];
    return array(
        d[0] - d[6] + 5.25 * (d[4] - d[2]), even + odd, even - odd, far_even + far_odd, far_even - far_odd,
        near_even + near_odd, near_even - near_odd, d[7] - d[1] + 5.25 * (d[3] - d[5]),
    );
}

// Aᵀ · m, its first TILE rows.
fn transform_output(m: array<T, 8>) -> array<T, 6> {
    let s1 = m[1] + m[2];
    let d1 = m[1] - m[2];
    let s2 = m[3] + m[4];
    let d2 = m[3] - m[4];
    let s3 = m[5] + m[6];
    let d3 = m[5] - m[6];
    // The point ∞ belongs to the last row.
    return array(
        m[0] + s1 + s2 + 32.0 * s3, d1 + 2.0 * d2 + 16.0 * d3, s1 + 4.0 * s2 + 8.0 * s3,
        d1 + 8.0 * d2 + 4.0 * d3 + select(vec4(0.0), m[7], TILE == 4u), s1 + 16.0 * s2 + 2.0 * s3, d1 + 32.0 * d2 + d3 + m[7],
    );
}
