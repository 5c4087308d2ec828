// logistic: 1 / (1 + exp(-a)), from exp(-abs(a)), which cannot overflow.

fn logistic(a: T) -> T {
    let e = exp(-abs(a));
    return select(e, T(1.0), a > T(0.0)) / (T(1.0) + e);
}
