// normal_of: the probability that a normal variable is below a, with its digits where it is small.

fn normal_of(a: T) -> T {
    let half = T(0.5) * erfc_of(abs(a) * T(0.7071067811865476));
    return select(half, T(1.0) - half, a > T(0.0));
}
