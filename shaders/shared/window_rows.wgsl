// window_rows: what four neighbouring windows of a pool reach in a row of x, by fours. Twin: `fours` of src/ops/windows.rs. The including
// shader binds x as array<vec4<f32>>; its P has height and fours, the vectors in a row of x, out_height and out_fours, and before_h.

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

// Four windows of y: their plane, their first row of x, modulo 2³², and which vector of their row they are.
struct Four { plane: u32, top: u32, q: u32 }

fn four_of(t: u32) -> Four {
    let row = t / p.out_fours;
    let plane = row / p.out_height;
    return Four(plane, (row - plane * p.out_height) * S - p.before_h, t - row * p.out_fours);
}

// Their row `u` of x, from the first of the windows to the last; outside the picture it is `outside`.
fn reach(four: Four, u: u32, outside: f32) -> array<f32, VALUES> {
    var v: array<f32, VALUES>;
    let r = four.top + u;
    let start = (four.plane * p.height + min(r, p.height - 1u)) * p.fours;
    // unroll
    for (var k = 0u; k < QUADS; k++) {
        let at = four.q * S + k - LEFT;
        var read = x[start + min(at, p.fours - 1u)];
        if EDGES == 1u { read = select(vec4(outside), read, at < p.fours && r < p.height); }
        v[k * 4u] = read.x;
        v[k * 4u + 1u] = read.y;
        v[k * 4u + 2u] = read.z;
        v[k * 4u + 3u] = read.w;
    }
    return v;
}
