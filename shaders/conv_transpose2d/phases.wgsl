// conv_transpose2d/phases: conv_transpose2d to one channel, stride by stride, for lavapipe. Twin: src/ops/conv_transpose2d.rs.
//
// An output at S·i + r (0 ≤ r < S) meets the taps φ + S·t, φ = (r + padding) mod S, at inputs i + δ − t, δ = ⌊(r + padding) / S⌋.
// Rows with equal δ read the same inputs, and so do columns: the S² phases fall into at most four such sets, and up to
// PH phases of a set are the channels of one straight-line convolution.
//
// entry      one thread computes                          reads   terms and their order
// forward_1  t2: a tap of four input channels for a phase w       copies; runs once if w is constant
// forward_2  up to PH y around an input pixel             x, t2   bias, then all (t, t', c) by t, t', c
//
// conv2d/straight explains the costs that it is designed for.

const S: u32 = 1u;
// Taps of a phase per side: ⌈Kh / S⌉.
const TAPS: u32 = 1u;
const KQ: u32 = 1u;
// Phases per group.
const PH: u32 = 4u;
const LANES: u32 = 64u;
// Texels of weights per group, and how many each lane copies.
const FILL: u32 = 4u;
const COPIES: u32 = 1u;

struct P {
    c_in: u32, height: u32, width: u32, out_height: u32, out_width: u32,
    kernel: u32, padding: u32,
    first_run: u32,          // Phases per side before δ grows; 0 if it does not.
    grid_height: u32, grid_width: u32,   // ⌈out / S⌉
    pixels: u32,             // Of the grid, all pictures.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var t2_read: texture_storage_2d<rgba32float, read>;

var<workgroup> weights: array<vec4<f32>, FILL>;

// PH phases: first row and column and number of rows and columns of their set, and the first phase within the set.
struct Group { row: u32, rows: u32, column: u32, columns: u32, first: u32 }

fn group_of(number: u32) -> Group {
    var rest = number;
    var found = Group(0u, S, 0u, S, 0u);
    for (var which = 0u; which < 4u; which++) {
        let below = which / 2u == 1u;
        let right = which % 2u == 1u;
        let rows = select(p.first_run, S - p.first_run, below);
        let columns = select(p.first_run, S - p.first_run, right);
        let groups = (rows * columns + PH - 1u) / PH;
        if rest < groups {
            found = Group(select(0u, p.first_run, below), rows, select(0u, p.first_run, right), columns, rest * PH);
            rest = 0xFFFFFFFFu;
        } else if rest != 0xFFFFFFFFu {
            rest -= groups;
        }
    }
    return found;
}

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let group = group_of(thread / FILL);
    let phase = group.first + thread % PH;
    let k = thread % FILL / PH;
    let c = k % KQ * 4u + vec4(0u, 1u, 2u, 3u);
    let tap = k / KQ;
    let u = (group.row + phase / group.columns + p.padding) % S + S * (tap / TAPS);
    let v = (group.column + phase % group.columns + p.padding) % S + S * (tap % TAPS);
    let is_tap = phase < group.rows * group.columns && u < p.kernel && v < p.kernel;
    let at = select(vec4(0u), (min(c, vec4(p.c_in - 1u)) * p.kernel + u) * p.kernel + v, vec4(is_tap));
    let value = vec4(w[at.x], w[at.y], w[at.z], w[at.w]);
    textureStore(t2, texel(thread), select(vec4(0.0), value, vec4(is_tap) & (c < vec4(p.c_in))));
}

// Groups: PH phases, LANES pixels.
@compute @workgroup_size(LANES)
fn forward_2(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let first = g.x * FILL;
    // unroll
    for (var k = 0u; k < COPIES; k++) {
        let at = l.x + k * LANES;
        if at < FILL { weights[at] = textureLoad(t2_read, texel(first + at)); }
    }
    workgroupBarrier();
    let group = group_of(g.x);
    let number = g.y * LANES + l.x;
    let pixel = min(number, p.pixels - 1u);
    let grid = p.grid_height * p.grid_width;
    let n = pixel / grid;
    let rest = pixel - n * grid;
    let i = rest / p.grid_width;
    let j = rest - i * p.grid_width;
    let plane = p.height * p.width;
    // Modulo 2³²: rows above the picture are past its end.
    let row = i + (group.row + p.padding) / S;
    let column = j + (group.column + p.padding) / S;
    var sum: array<f32, PH>;
    // unroll
    for (var k = 0u; k < PH; k++) { sum[k] = b[0]; }
    // unroll
    for (var t = 0u; t < TAPS; t++) {
        let r = row - t;
        let at = n * KQ * plane + min(r, p.height - 1u) * p.width;
        // unroll
        for (var s = 0u; s < TAPS; s++) {
            let c = column - s;
            let inside = r < p.height && c < p.width;
            // unroll
            for (var q = 0u; q < KQ; q++) {
                let value = textureLoad(x, texel(at + min(c, p.width - 1u) + q * plane));
                let part = select(vec4(0.0), value, inside);
                // unroll
                for (var k = 0u; k < PH; k++) {
                    sum[k] += dot(weights[((t * TAPS + s) * KQ + q) * PH + k], part);
                }
            }
        }
    }
    // unroll
    for (var k = 0u; k < PH; k++) {
        let phase = group.first + k;
        let out_row = i * S + group.row + phase / group.columns;
        let out_column = j * S + group.column + phase % group.columns;
        let is_real = phase < group.rows * group.columns && out_row < p.out_height && out_column < p.out_width;
        if number < p.pixels && is_real {
            y[(n * p.out_height + out_row) * p.out_width + out_column] = select(0.0, sum[k], number < p.pixels);
        }
    }
}
