// normalize/plain: y = (x - mean) · rstd · w + b over contiguous lines of x. Twin: src/ops/normalize.rs.
// The entries are in shared/standardize.wgsl and shared/scale_sums.wgsl.

fn line_of(i: u32, index: u32) -> u32 {
    return i / p.run % p.lines;
}

fn note(line: u32, middle: f32, variance: f32) {}
