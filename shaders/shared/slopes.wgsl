// slopes: what fused convolutions make of a sum: itself, or a slope times it where it is not positive. With another activation
// src/ops/conv2d/fusion.rs writes a function of the same name.

fn activated(sum: T, slope: T) -> T {
    return select(slope * sum, sum, sum > T(0.0));
}
