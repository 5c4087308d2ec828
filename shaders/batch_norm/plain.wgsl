// batch_norm/plain: y = (x - mean) · rstd · w + b over every channel, and the running statistics m and v. Twin: src/ops/batch_norm.rs.
// The entries are in shared/standardize.wgsl, where a line is a channel, and shared/scale_sums.wgsl.

@group(0) @binding(12) var<storage, read_write> m: array<f32>;
@group(0) @binding(13) var<storage, read_write> v: array<f32>;

// A line is a channel, which has one parameter.
fn line_of(i: u32, index: u32) -> u32 {
    return index;
}

fn note(line: u32, middle: f32, variance: f32) {
    m[line] = (1.0 - p.momentum) * m[line] + p.momentum * middle;
    // The estimate without bias.
    v[line] = (1.0 - p.momentum) * v[line] + p.momentum * (variance * (f32(p.len) / f32(p.len - 1u)));
}
