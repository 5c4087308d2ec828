// field/plain: y[n,d,q] = z[d,q] + Σ_k b[d,k,q]·c[n,k]. Twin: src/ops/field.rs.
//
// q = (i, j) is a place; a "row" is d·H·W + q, the index of an element of z, and of y within one picture.
//
// entry       one thread computes                  reads    summed terms, in order
// forward     one row of 4 pictures of y           z, b, c  K, ascending; z last
// backward_c  a share of one dc of 4 pictures      b, dy    row = lane, lane + 64, …; then the 64 lanes
// backward_b  one db                               c, dy    N, ascending
// backward_z  one dz                               dy       N, ascending
// The bases are the largest tensor, so a thread reads each element of b once for four pictures. Pictures past the end
// repeat the last one and are not written.

const WG = 64u;

// batch: N. bases: K. plane: H·W. rows: 2·H·W. threads: those with work; in backward_c, workgroups.
struct P { batch: u32, bases: u32, plane: u32, rows: u32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dz: array<f32>;
@group(0) @binding(7) var<storage, read_write> db: array<f32>;
@group(0) @binding(8) var<storage, read_write> dc: array<f32>;

// A lane's sum, one component per picture.
var<workgroup> partial: array<vec4<f32>, WG>;

// Offsets of four pictures, starting at n, in a tensor of `stride` elements per picture.
fn four(n: u32, stride: u32) -> vec4<u32> {
    return min(vec4(n, n + 1u, n + 2u, n + 3u), vec4(p.batch - 1u)) * stride;
}

// The offset in b of basis 0 at a row; the next basis is p.plane further.
fn basis_at(row: u32) -> u32 {
    let d = row / p.plane;
    return d * p.bases * p.plane + row - d * p.plane;
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let n = t / p.rows * 4u;
    let row = t % p.rows;
    let at = four(n, p.bases);
    var basis = basis_at(row);
    var sum = vec4<f32>();
    for (var k = 0u; k < p.bases; k++) {
        sum += b[basis] * vec4(c[at.x + k], c[at.y + k], c[at.z + k], c[at.w + k]);
        basis += p.plane;
    }
    sum += z[row];
    let pictures = min(4u, p.batch - n);
    for (var m = 0u; m < pictures; m++) {
        y[(n + m) * p.rows + row] = sum[m];
    }
}

@compute @workgroup_size(WG)
fn backward_c(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let t = group.x + group.y * groups.x;
    if t >= p.threads { return; }
    let n = t / p.bases * 4u;
    let k = t % p.bases;
    let at = four(n, p.rows);
    var sum = vec4<f32>();
    for (var row = lane; row < p.rows; row += WG) {
        sum += b[basis_at(row) + k * p.plane] * vec4(dy[at.x + row], dy[at.y + row], dy[at.z + row], dy[at.w + row]);
    }
    partial[lane] = sum;
    workgroupBarrier();
    if lane >= min(4u, p.batch - n) { return; }
    var total = 0.0;
    for (var l = 0u; l < WG; l++) {
        total += partial[l][lane];
    }
    dc[(n + lane) * p.bases + k] = total;
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let outer = t / p.plane;
    let k = outer % p.bases;
    let row = outer / p.bases * p.plane + t % p.plane;
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        sum += c[n * p.bases + k] * dy[n * p.rows + row];
    }
    db[t] = sum;
}

@compute @workgroup_size(WG)
fn backward_z(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = g.x + g.y * groups.x * WG;
    if row >= p.threads { return; }
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        sum += dy[n * p.rows + row];
    }
    dz[row] = sum;
}
