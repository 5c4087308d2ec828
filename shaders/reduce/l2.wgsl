// reduce/l2: y = root of the sum of x² over some dimensions. Twin: src/ops/reduce.rs.
// The entries are in shared/sums.wgsl; backward reads x and y too. At 0 the derivative is 0, as in PyTorch.

fn value(v: f32) -> f32 {
    return v * v;
}

fn result(sum: f32) -> f32 {
    return sqrt(sum) * p.scale;
}

fn slope(i: u32, element: u32) -> f32 {
    return select(x[i] / y[element], 0.0, y[element] == 0.0);
}
