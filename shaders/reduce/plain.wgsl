// reduce/plain: y = scale · sum of x over some dimensions; scale is 1, or 1 / terms. Twin: src/ops/reduce.rs.
// The entries are in shared/sums.wgsl.

fn value(v: f32) -> f32 {
    return v;
}

fn result(sum: f32) -> f32 {
    return sum * p.scale;
}

fn slope(i: u32, element: u32) -> f32 {
    return p.scale;
}
