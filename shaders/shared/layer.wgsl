// layer: shared by conv2d's kernels for GPUs: bindings, filters in the order of their use, pixels, and what follows the sums. The
// including shader defines CHUNK, OUT_QUADS, WINDOW_H, WINDOW_W, PATCH, FILTERS, REPLICATE and FACTOR.
//
// The pixels of x may lie FACTOR = S apart, with zeros between them (`p.spread`). The layer then is a convolution of stride 1 whose S²
// channels for each of y lie at the pixels (i·S + a, j·S + b); row i·S + a meets row i + u − pad_h of x at tap u·S + rest_h − a of the
// filter, if it has that. Otherwise FACTOR is r: channel c·r² + a·r + b goes to channel c, pixel (i·r + a, j·r + b).

struct P {
    c_in: u32, c_out: u32, in_group: u32, out_group: u32,   // Of the convolution: with `spread`, c_out and out_group count pixels too.
    height: u32, width: u32, out_height: u32, out_width: u32,
    grid_height: u32, grid_width: u32,   // Of the convolution's pixels.
    stride_h: u32, dilation_h: u32, pad_h: u32, pad_w: u32,
    taps_h: u32, taps_w: u32, rest_h: u32, rest_w: u32,
    adjoint: u32,       // w is [Ci,Co/G,Kh,Kw], and its taps are rotated by 180°.
    spread: u32,
    batch: u32, groups: u32,   // Pictures; groups of channels.
    chunks: u32,
    blocks: u32,        // Of OUT_QUADS quads of channels per group of channels.
    parts: u32, each: u32,     // Of the chunks, and chunks of a part.
    tiles_x: u32,       // Tiles per row of tiles.
    tiles: u32,         // Tiles per picture.
    slope: f32, f0: f32, f1: f32,
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var<storage, read> z: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> t0: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> t0_read: array<vec4<f32>>;

var<workgroup> patch_values: array<vec4<f32>, PATCH>;
var<workgroup> filters: array<vec4<f32>, FILTERS>;

// t0: quads of filters by group of output channels, row (c, u), v, quad; 0 past the last channel and row.
@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let o = (thread / (p.chunks * FILTERS) % p.blocks * OUT_QUADS + thread % OUT_QUADS) * 4u + LANES;
    let v = thread / OUT_QUADS % WINDOW_W;
    let row = thread / (OUT_QUADS * WINDOW_W) % (p.chunks * CHUNK);
    let c = min(row / WINDOW_H, p.in_group - 1u);
    // The convolution's channel, and the place of its pixel.
    let square = select(1u, FACTOR * FACTOR, p.spread != 0u);
    let group = thread / (p.chunks * FILTERS * p.blocks);
    let own = min(o, vec4(p.out_group - 1u)) / square;   // Of the filters of a group.
    let filters_in_group = p.out_group / square;
    let place = o % square;
    let tap_u = row % WINDOW_H * select(1u, FACTOR, p.spread != 0u) + p.rest_h - place / FACTOR;   // Modulo 2³²: past the end.
    let tap_v = v * select(1u, FACTOR, p.spread != 0u) + p.rest_w - place % FACTOR;
    let area = p.taps_h * p.taps_w;
    let tap = min(tap_u * p.taps_w + tap_v, vec4(area - 1u));
    let there = (group * filters_in_group + own) * p.in_group + c;
    let back = (group * p.in_group + c) * filters_in_group + own;
    let at = select(there * area + tap, back * area + area - 1u - tap, vec4(p.adjoint != 0u));
    let value = vec4(w[at.x], w[at.y], w[at.z], w[at.w]);
    let has_tap = (tap_u < vec4(p.taps_h)) & (tap_v < vec4(p.taps_w));
    t0[thread] = select(vec4(0.0), value, has_tap & (o < vec4(p.out_group)) & vec4(row < p.in_group * WINDOW_H));
}

// Four pixels of x, 0 where `inside` is not.
fn pixels(at: vec4<u32>, inside: vec4<bool>) -> vec4<f32> {
    return select(vec4(0.0), vec4(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}

// Writes four channels of the convolution's pixel (i, j), where they exist; the quads of all groups are numbered one after the other.
fn finish(n: u32, quad: u32, i: u32, j: u32, sum: vec4<f32>) {
    if i >= p.grid_height || j >= p.grid_width { return; }
    let of_group = p.blocks * OUT_QUADS;
    let end = (quad / of_group + 1u) * p.out_group;
    let lanes = end - p.out_group + quad % of_group * 4u + LANES;
    let real = min(lanes, vec4(end - 1u)) / select(1u, FACTOR * FACTOR, p.spread != 0u);
    let total = sum + vec4(b[real.x], b[real.y], b[real.z], b[real.w]);
    let value = activated(total, vec4(a[real.x], a[real.y], a[real.z], a[real.w]));
    // unroll
    for (var k = 0u; k < 4u; k++) { if lanes[k] < end { shuffle(n, lanes[k], i, j, value[k]); } }
}

// Writes a channel of the convolution's pixel (i, j) to its place in y.
fn shuffle(n: u32, o: u32, i: u32, j: u32, value: f32) {
    if FACTOR == 1u {
        put(((n * p.c_out + o) * p.out_height + i) * p.out_width + j, value);
        return;
    }
    let row = i * FACTOR + o % (FACTOR * FACTOR) / FACTOR;
    let column = j * FACTOR + o % FACTOR;
    if row >= p.out_height || column >= p.out_width { return; }
    put(((n * p.c_out + o) / (FACTOR * FACTOR) * p.out_height + row) * p.out_width + column, value);
}
