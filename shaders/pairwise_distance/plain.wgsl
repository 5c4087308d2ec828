// pairwise_distance/plain: y[n,m] = Σ_d (a[n,d] − b[m,d])². Twin: src/ops/pairwise_distance.rs.
//
// entry       one thread computes                reads     terms and order
// forward     y of 4 rows n and 4 columns m      a, b      D, in the order of d
// backward_a  da of 4 rows n and 4 columns d     a, b, dy  M, in the order of m
// backward_b  db of 4 rows m and 4 columns d     a, b, dy  N, in the order of n
//
// A thread's rows are consecutive; its columns lie a quarter of the width apart, so that neighbouring threads access
// neighbouring elements. Rows and columns past the end repeat the last one and are not written.

override WG: u32 = 64u;

struct P {
    rows_a: u32, // N
    rows_b: u32, // M
    depth: u32, // D
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;

// The 4x4 block of thread t in a matrix of this many rows and columns.
struct Block {
    row: vec4<u32>,
    column: vec4<u32>,
    inside: bool,
}

fn block_of(t: u32, rows: u32, columns: u32) -> Block {
    let step = (columns + 3u) / 4u;
    let outer = t / step;
    return Block(
        vec4(outer * 4u) + vec4(0u, 1u, 2u, 3u),
        vec4(t - outer * step) + vec4(0u, 1u, 2u, 3u) * step,
        outer * 4u < rows,
    );
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(g.x + g.y * groups.x * WG, p.rows_a, p.rows_b);
    if !block.inside { return; }
    var at_a = min(block.row, vec4(p.rows_a - 1u)) * p.depth;
    var at_b = min(block.column, vec4(p.rows_b - 1u)) * p.depth;
    var y0 = vec4(0.0);
    var y1 = vec4(0.0);
    var y2 = vec4(0.0);
    var y3 = vec4(0.0);
    for (var d = 0u; d < p.depth; d++) {
        let vb = vec4(b[at_b.x], b[at_b.y], b[at_b.z], b[at_b.w]);
        let d0 = a[at_a.x] - vb;
        let d1 = a[at_a.y] - vb;
        let d2 = a[at_a.z] - vb;
        let d3 = a[at_a.w] - vb;
        y0 += d0 * d0;
        y1 += d1 * d1;
        y2 += d2 * d2;
        y3 += d3 * d3;
        at_a += 1u;
        at_b += 1u;
    }
    write_y(block.row.x, block.column, y0);
    write_y(block.row.y, block.column, y1);
    write_y(block.row.z, block.column, y2);
    write_y(block.row.w, block.column, y3);
}

fn write_y(n: u32, m: vec4<u32>, v: vec4<f32>) {
    if n >= p.rows_a { return; }
    let row = n * p.rows_b;
    if m.x < p.rows_b { y[row + m.x] = v.x; }
    if m.y < p.rows_b { y[row + m.y] = v.y; }
    if m.z < p.rows_b { y[row + m.z] = v.z; }
    if m.w < p.rows_b { y[row + m.w] = v.w; }
}

@compute @workgroup_size(WG)
fn backward_a(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(g.x + g.y * groups.x * WG, p.rows_a, p.depth);
    if !block.inside { return; }
    let row = min(block.row, vec4(p.rows_a - 1u));
    let column = min(block.column, vec4(p.depth - 1u));
    let v0 = row_of_a(row.x, column);
    let v1 = row_of_a(row.y, column);
    let v2 = row_of_a(row.z, column);
    let v3 = row_of_a(row.w, column);
    var at_dy = row * p.rows_b;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var m = 0u; m < p.rows_b; m++) {
        let vb = row_of_b(m, column);
        s0 += dy[at_dy.x] * (v0 - vb);
        s1 += dy[at_dy.y] * (v1 - vb);
        s2 += dy[at_dy.z] * (v2 - vb);
        s3 += dy[at_dy.w] * (v3 - vb);
        at_dy += 1u;
    }
    write_da(block.row.x, block.column, s0 + s0);
    write_da(block.row.y, block.column, s1 + s1);
    write_da(block.row.z, block.column, s2 + s2);
    write_da(block.row.w, block.column, s3 + s3);
}

fn row_of_a(n: u32, d: vec4<u32>) -> vec4<f32> {
    let row = n * p.depth;
    return vec4(a[row + d.x], a[row + d.y], a[row + d.z], a[row + d.w]);
}

fn row_of_b(m: u32, d: vec4<u32>) -> vec4<f32> {
    let row = m * p.depth;
    return vec4(b[row + d.x], b[row + d.y], b[row + d.z], b[row + d.w]);
}

fn write_da(n: u32, d: vec4<u32>, v: vec4<f32>) {
    if n >= p.rows_a { return; }
    let row = n * p.depth;
    if d.x < p.depth { da[row + d.x] = v.x; }
    if d.y < p.depth { da[row + d.y] = v.y; }
    if d.z < p.depth { da[row + d.z] = v.z; }
    if d.w < p.depth { da[row + d.w] = v.w; }
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = block_of(g.x + g.y * groups.x * WG, p.rows_b, p.depth);
    if !block.inside { return; }
    let row = min(block.row, vec4(p.rows_b - 1u));
    let column = min(block.column, vec4(p.depth - 1u));
    let v0 = row_of_b(row.x, column);
    let v1 = row_of_b(row.y, column);
    let v2 = row_of_b(row.z, column);
    let v3 = row_of_b(row.w, column);
    var at_dy = row;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var n = 0u; n < p.rows_a; n++) {
        let va = row_of_a(n, column);
        s0 += dy[at_dy.x] * (v0 - va);
        s1 += dy[at_dy.y] * (v1 - va);
        s2 += dy[at_dy.z] * (v2 - va);
        s3 += dy[at_dy.w] * (v3 - va);
        at_dy += p.rows_b;
    }
    write_db(block.row.x, block.column, s0 + s0);
    write_db(block.row.y, block.column, s1 + s1);
    write_db(block.row.z, block.column, s2 + s2);
    write_db(block.row.w, block.column, s3 + s3);
}

fn write_db(m: u32, d: vec4<u32>, v: vec4<f32>) {
    if m >= p.rows_b { return; }
    let row = m * p.depth;
    if d.x < p.depth { db[row + d.x] = v.x; }
    if d.y < p.depth { db[row + d.y] = v.y; }
    if d.z < p.depth { db[row + d.z] = v.z; }
    if d.w < p.depth { db[row + d.w] = v.w; }
}
