// warp/fours: warp/plain for GPUs, four neighbouring samples at a time. Twin: src/ops/warp.rs.
//
// entry       one thread computes                              reads     terms and their order
// forward     y of four samples, up to 8 channels              x, f      4 per output, in tap order
// backward_f  both df of four samples                          x, f, dy  4·C each, channel by channel in tap order
//
// Pixels of x are read one by one, wherever the positions are; everything else is read and written by fours. The channels are the same for a
// whole workgroup, so that a tap's place in a plane is computed once. shared/bilinear.wgsl finds the taps.

override WG: u32 = 64u;

const BLOCK: u32 = 8u;
const CLAMPED: u32 = 0u;

struct P {
    channels: u32,
    height: u32,
    width: u32,
    fours: u32, // Of samples per picture.
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> f: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> df: array<vec4<f32>>;

fn is_clamped() -> bool {
    return CLAMPED == 1u;
}

// Groups: samples, blocks of channels, pictures.
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let q = g.x;
    if q >= p.fours { return; }
    let column = f[group.z * 2u * p.fours + q];
    let row = f[(group.z * 2u + 1u) * p.fours + q];
    var s: array<Sample, 4>;
    // unroll
    for (var k = 0u; k < 4u; k++) { s[k] = sample_at(locate(row[k], p.height), locate(column[k], p.width)); }
    let end = min((group.y + 1u) * BLOCK, p.channels);
    for (var c = group.y * BLOCK; c < end; c++) {
        let channel = group.z * p.channels + c;
        let plane = channel * p.height * p.width;
        var sum: vec4<f32>;
        // unroll
        for (var k = 0u; k < 4u; k++) {
            let v = values_at(plane, s[k]) * s[k].weight;
            sum[k] = v.x + v.y + v.z + v.w;
        }
        y[channel * p.fours + q] = sum;
    }
}

// Groups: samples, one, pictures.
@compute @workgroup_size(WG)
fn backward_f(@builtin(global_invocation_id) g: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let q = g.x;
    if q >= p.fours { return; }
    let n = group.z;
    let at_columns = f[n * 2u * p.fours + q];
    let at_rows = f[(n * 2u + 1u) * p.fours + q];
    var columns: array<Axis, 4>;
    var rows: array<Axis, 4>;
    var s: array<Sample, 4>;
    // unroll
    for (var k = 0u; k < 4u; k++) {
        columns[k] = locate(at_columns[k], p.width);
        rows[k] = locate(at_rows[k], p.height);
        s[k] = sample_at(rows[k], columns[k]);
    }
    var column_sum: vec4<f32>;
    var row_sum: vec4<f32>;
    for (var c = 0u; c < p.channels; c++) {
        let channel = n * p.channels + c;
        let plane = channel * p.height * p.width;
        let d = dy[channel * p.fours + q];
        // unroll
        for (var k = 0u; k < 4u; k++) {
            let v = values_at(plane, s[k]);
            column_sum[k] += d[k] * (rows[k].low_weight * (v.y - v.x) + rows[k].high_weight * (v.w - v.z));
            row_sum[k] += d[k] * (columns[k].low_weight * (v.z - v.x) + columns[k].high_weight * (v.w - v.y));
        }
    }
    // unroll
    for (var k = 0u; k < 4u; k++) {
        column_sum[k] *= columns[k].slope;
        row_sum[k] *= rows[k].slope;
    }
    df[n * 2u * p.fours + q] = column_sum;
    df[(n * 2u + 1u) * p.fours + q] = row_sum;
}
