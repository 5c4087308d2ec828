// conv2d/plane_gradients: the gradient of conv2d for w, plane by plane of the filters, for hardware GPUs, where widths are multiples of
// four. Twin: src/ops/conv2d/plane_gradients.rs.
//
// entry         one thread computes              reads      terms and their order
// backward_w_1  t0: a plane of a filter, of a    x, dy      the walker's blocks of ROWS rows of four columns, by row of x, row of dy,
//               walker's pixels                             column
//
// backward_w_2 is in shared/walkers.wgsl.
//
// For filters of few channels, or few filters, of which the tiles of conv2d/gradients would stay empty. Bound by bytes: a thread keeps the
// sums of all taps of a plane, and loads four pixels at a time.

struct P {
    c_in: u32, c_out: u32, height: u32, out_height: u32, pad_h: u32,
    quads: u32, out_quads: u32,   // Per row of x and of dy.
    in_group: u32, out_group: u32,
    row_blocks: u32,    // Of ROWS rows of a picture of dy.
    blocks: u32,        // Of all pictures.
    strips: u32,        // Walkers per vector of a row, which take every `strips`-th block.
    walkers: u32,       // strips · out_quads
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var<storage, read_write> t0: array<f32>;
@group(0) @binding(5) var<storage, read> t0_read: array<f32>;

// Groups: 64 walkers, planes of filters.
@compute @workgroup_size(64)
fn backward_w_1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    let walker = g.x * 64u + lane;
    if walker >= p.walkers { return; }
    let left = walker % p.out_quads;
    let o = g.y / p.in_group;
    let c = o / p.out_group * p.in_group + g.y % p.in_group;
    var columns = columns_of(left);
    var sums: array<f32, TAPS>;
    for (var block = walker / p.out_quads; block < p.blocks; block += p.strips) {
        let n = block / p.row_blocks;
        let top = (block - n * p.row_blocks) * ROWS;
        let first = (n * p.c_in + c) * p.height * p.quads;
        let at = ((n * p.c_out + o) * p.out_height + top) * p.out_quads + left;
        var d: array<vec4<f32>, ROWS>;
        // unroll
        for (var m = 0u; m < ROWS; m++) {
            let has = m == 0u || top + m < p.out_height;
            d[m] = select(vec4(0.0), dy[select(0u, at + m * p.out_quads, has)], has);
        }
        // unroll
        for (var r = 0u; r < REACH_H; r++) {
            var v = row_of(&columns, first, top, r);
            // unroll
            for (var m = 0u; m < ROWS; m++) {
                // unroll
                for (var u = 0u; u < KERNEL_H; u++) {
                    if r == m * STRIDE_H + u * DILATION_H {
                        // unroll
                        for (var t = 0u; t < KERNEL_W; t++) {
                            let four = four_at(&v, t);
                            sums[u * KERNEL_W + t] += d[m].x * four.x;
                            sums[u * KERNEL_W + t] += d[m].y * four.y;
                            sums[u * KERNEL_W + t] += d[m].z * four.z;
                            sums[u * KERNEL_W + t] += d[m].w * four.w;
                        }
                    }
                }
            }
        }
    }
    let to = walker * p.threads + g.y * TAPS;
    // unroll
    for (var k = 0u; k < TAPS; k++) { t0[to + k] = sums[k]; }
}
