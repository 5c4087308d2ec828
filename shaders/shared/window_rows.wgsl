// window_rows: what four neighbouring windows of a pool reach in a row of x, by fours. Twin: `fours` of src/ops/windows.rs. The including
// shader binds x as array<vec4<f32>>; its P has height and fours, the vectors in a row of x.

// Side of a window, and distance to the next.
const K: u32 = 2u;
const S: u32 = 2u;
// Vectors of x before the first window's, and the first window's place in what is read.
const LEFT: u32 = 0u;
const SHIFT: u32 = 0u;
const QUADS: u32 = 2u;
const VALUES: u32 = QUADS * 4u;
// 1: windows reach beyond the picture.
const EDGES: u32 = 0u;

// Row `r` of a plane, modulo 2³², from the first of the windows `q` · 4 to the last; outside the picture it is `outside`.
fn reach(plane: u32, r: u32, q: u32, outside: f32) -> array<f32, VALUES> {
    var v: array<f32, VALUES>;
    let start = (plane * p.height + min(r, p.height - 1u)) * p.fours;
    // unroll
    for (var k = 0u; k < QUADS; k++) {
        let at = q * S + k - LEFT;
        var four = x[start + min(at, p.fours - 1u)];
        if EDGES == 1u { four = select(vec4(outside), four, at < p.fours && r < p.height); }
        v[k * 4u] = four.x;
        v[k * 4u + 1u] = four.y;
        v[k * 4u + 2u] = four.z;
        v[k * 4u + 3u] = four.w;
    }
    return v;
}
