// tanh_softplus: tanh(log(1 + exp(a))) with its digits where it is small; nothing overflows.

fn tanh_softplus(a: T) -> T {
    let e = exp(-abs(a));
    let large = (T(1.0) + T(2.0) * e) / (T(1.0) + T(2.0) * e + T(2.0) * e * e);
    let small = (T(2.0) * e + e * e) / (T(2.0) + T(2.0) * e + e * e);
    return select(small, large, a > T(0.0));
}
