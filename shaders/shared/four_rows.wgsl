// four_rows: what a filter of a single channel meets from four neighbouring columns of some rows, where widths are multiples of four.
// Twin: `Reach` of src/ops/conv2d/depthwise_fours.rs. The including shader binds x as array<vec4<f32>>; its P has height, pad_h and quads,
// the vectors in a row of x.

const KERNEL_H: u32 = 3u;
const KERNEL_W: u32 = 3u;
const TAPS: u32 = KERNEL_H * KERNEL_W;
const STRIDE_H: u32 = 1u;
const STRIDE_W: u32 = 1u;
const DILATION_H: u32 = 1u;
const DILATION_W: u32 = 1u;
const ROWS: u32 = 4u;
// Rows of x that a thread meets, and in each of them quads, of which BEFORE lie to the left of its own; it begins at value SHIFT of these.
const REACH_H: u32 = 6u;
const REACH: u32 = 3u;
const BEFORE: u32 = 1u;
const SHIFT: u32 = 3u;
const VALUES: u32 = REACH * 4u;
// The rows, from and to, and the quads, from BEFORE to, that lie in the picture for every thread.
const INSIDE_FROM: u32 = 1u;
const INSIDE_TO: u32 = 5u;
const QUADS_TO: u32 = 2u;

// The quads of a row that a thread meets: where they lie, 0 if outside the picture, and whether they lie in it.
struct Columns { at: array<u32, REACH>, real: array<bool, REACH> }

// Those of the columns in vector `left` of a row of y.
fn columns_of(left: u32) -> Columns {
    var columns: Columns;
    // unroll
    for (var k = 0u; k < REACH; k++) {
        let j = left * STRIDE_W + k - BEFORE;   // Modulo 2³²: left of the picture is past its end.
        columns.real[k] = (k >= BEFORE && k < QUADS_TO) || j < p.quads;
        columns.at[k] = select(0u, j, columns.real[k]);
    }
    return columns;
}

// The values there in row r of those that rows `top` to top + ROWS − 1 of y meet; `first` is the first vector of the channel of x.
fn row_of(columns: ptr<function, Columns>, first: u32, top: u32, r: u32) -> array<f32, VALUES> {
    let i = top * STRIDE_H - p.pad_h + r;
    let has_row = (r >= INSIDE_FROM && r < INSIDE_TO) || i < p.height;
    let start = first + select(0u, i, has_row) * p.quads;
    var v: array<f32, VALUES>;
    // unroll
    for (var k = 0u; k < REACH; k++) {
        let four = select(vec4(0.0), x[(*columns).at[k] + start], has_row && (*columns).real[k]);
        v[k * 4u] = four.x;
        v[k * 4u + 1u] = four.y;
        v[k * 4u + 2u] = four.z;
        v[k * 4u + 3u] = four.w;
    }
    return v;
}

// The four values that tap t of the filter meets.
fn four_at(v: ptr<function, array<f32, VALUES>>, t: u32) -> vec4<f32> {
    let at = SHIFT + t * DILATION_W;
    return vec4((*v)[at], (*v)[STRIDE_W + at], (*v)[2u * STRIDE_W + at], (*v)[3u * STRIDE_W + at]);
}
