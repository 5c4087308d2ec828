// linear/plain: y[n,o] = b[o] + Σ_d w[o,d]·x[n,d]. Twin: src/ops/linear.rs.
//
// entry       one thread computes                     reads  summed terms, in order
// forward     a share of 8 outputs × 4 pictures of y  x,w,b  d = lane, lane + 64, …; then the 64 lanes; then b
// backward_x  4 dx of each of 4 pictures              w, dy  O, ascending
// backward_w  4 dw of each of 4 outputs               x, dy  N, ascending
// backward_b  one db                                  dy     N, ascending
// The lanes of a workgroup run along d, the one direction in which x, w, dx and dw are contiguous. Rows past the end
// repeat the last row and are not written.

const WG = 64u;

// batch: N. depth: D. outputs: O. tiles: workgroups (in backward_b, threads). columns: tiles side by side.
struct P { batch: u32, depth: u32, outputs: u32, tiles: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> db: array<f32>;

// partial[8·lane + k]: the lane's sum for output k of the tile, one component per picture.
var<workgroup> partial: array<vec4<f32>, 512>;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = group.x + group.y * groups.x;
    if tile >= p.tiles { return; }
    // The tiles of one set of outputs are consecutive, so that its part of w stays in the cache.
    let o = tile / p.columns * 8u;
    let n = tile % p.columns * 4u;
    let last_o = p.outputs - 1u;
    let w0 = o * p.depth;
    let w1 = min(o + 1u, last_o) * p.depth;
    let w2 = min(o + 2u, last_o) * p.depth;
    let w3 = min(o + 3u, last_o) * p.depth;
    let w4 = min(o + 4u, last_o) * p.depth;
    let w5 = min(o + 5u, last_o) * p.depth;
    let w6 = min(o + 6u, last_o) * p.depth;
    let w7 = min(o + 7u, last_o) * p.depth;
    let last_n = p.batch - 1u;
    let x0 = n * p.depth;
    let x1 = min(n + 1u, last_n) * p.depth;
    let x2 = min(n + 2u, last_n) * p.depth;
    let x3 = min(n + 3u, last_n) * p.depth;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    for (var d = lane; d < p.depth; d += WG) {
        let v = vec4<f32>(x[x0 + d], x[x1 + d], x[x2 + d], x[x3 + d]);
        s0 += w[w0 + d] * v;
        s1 += w[w1 + d] * v;
        s2 += w[w2 + d] * v;
        s3 += w[w3 + d] * v;
        s4 += w[w4 + d] * v;
        s5 += w[w5 + d] * v;
        s6 += w[w6 + d] * v;
        s7 += w[w7 + d] * v;
    }
    partial[lane * 8u] = s0;
    partial[lane * 8u + 1u] = s1;
    partial[lane * 8u + 2u] = s2;
    partial[lane * 8u + 3u] = s3;
    partial[lane * 8u + 4u] = s4;
    partial[lane * 8u + 5u] = s5;
    partial[lane * 8u + 6u] = s6;
    partial[lane * 8u + 7u] = s7;
    workgroupBarrier();
    if lane >= 8u || o + lane >= p.outputs { return; }
    var sum = vec4<f32>();
    for (var k = 0u; k < WG; k++) {
        sum += partial[k * 8u + lane];
    }
    sum += b[o + lane];
    let at = n * p.outputs + o + lane;
    y[at] = sum.x;
    if n + 1u < p.batch { y[at + p.outputs] = sum.y; }
    if n + 2u < p.batch { y[at + 2u * p.outputs] = sum.z; }
    if n + 3u < p.batch { y[at + 3u * p.outputs] = sum.w; }
}

@compute @workgroup_size(WG)
fn backward_x(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = group.x + group.y * groups.x;
    if tile >= p.tiles { return; }
    let n = tile / p.columns * 4u;
    let d = tile % p.columns * (4u * WG) + lane;
    let last_n = p.batch - 1u;
    let n1 = min(n + 1u, last_n) * p.outputs;
    let n2 = min(n + 2u, last_n) * p.outputs;
    let n3 = min(n + 3u, last_n) * p.outputs;
    let last_d = p.depth - 1u;
    let d0 = min(d, last_d);
    let d1 = min(d + WG, last_d);
    let d2 = min(d + 2u * WG, last_d);
    let d3 = min(d + 3u * WG, last_d);
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var o = 0u; o < p.outputs; o++) {
        let v = vec4<f32>(dy[n * p.outputs + o], dy[n1 + o], dy[n2 + o], dy[n3 + o]);
        let row = o * p.depth;
        s0 += w[row + d0] * v;
        s1 += w[row + d1] * v;
        s2 += w[row + d2] * v;
        s3 += w[row + d3] * v;
    }
    // Writes four sums for each picture of the tile that exists.
    let rows = min(4u, p.batch - n);
    for (var k = 0u; k < rows; k++) {
        let at = (n + k) * p.depth + d;
        if d < p.depth { dx[at] = s0[k]; }
        if d + WG < p.depth { dx[at + WG] = s1[k]; }
        if d + 2u * WG < p.depth { dx[at + 2u * WG] = s2[k]; }
        if d + 3u * WG < p.depth { dx[at + 3u * WG] = s3[k]; }
    }
}

@compute @workgroup_size(WG)
fn backward_w(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = group.x + group.y * groups.x;
    if tile >= p.tiles { return; }
    let o = tile / p.columns * 4u;
    let d = tile % p.columns * (4u * WG) + lane;
    let last_o = p.outputs - 1u;
    let o1 = min(o + 1u, last_o);
    let o2 = min(o + 2u, last_o);
    let o3 = min(o + 3u, last_o);
    let last_d = p.depth - 1u;
    let d0 = min(d, last_d);
    let d1 = min(d + WG, last_d);
    let d2 = min(d + 2u * WG, last_d);
    let d3 = min(d + 3u * WG, last_d);
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var n = 0u; n < p.batch; n++) {
        let from_n = n * p.outputs;
        let v = vec4<f32>(dy[from_n + o], dy[from_n + o1], dy[from_n + o2], dy[from_n + o3]);
        let row = n * p.depth;
        s0 += x[row + d0] * v;
        s1 += x[row + d1] * v;
        s2 += x[row + d2] * v;
        s3 += x[row + d3] * v;
    }
    let rows = min(4u, p.outputs - o);
    for (var k = 0u; k < rows; k++) {
        let at = (o + k) * p.depth + d;
        if d < p.depth { dw[at] = s0[k]; }
        if d + WG < p.depth { dw[at + WG] = s1[k]; }
        if d + 2u * WG < p.depth { dw[at + 2u * WG] = s2[k]; }
        if d + 3u * WG < p.depth { dw[at + 3u * WG] = s3[k]; }
    }
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = g.x + g.y * groups.x * WG;
    if o >= p.tiles { return; }
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        sum += dy[n * p.outputs + o];
    }
    db[o] = sum;
}
