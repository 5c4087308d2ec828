// erf_of: the error function: its series at 0 where |x| is below 1/2, so that small values keep their digits; else 1 - erfc_of(|x|).

fn erf_of(x: T) -> T {
    let z = min(x * x, T(0.25));
    var sum = T(1.0 / 9360.0);
    sum = sum * z - T(1.0 / 1320.0);
    sum = sum * z + T(1.0 / 216.0);
    sum = sum * z - T(1.0 / 42.0);
    sum = sum * z + T(1.0 / 10.0);
    sum = sum * z - T(1.0 / 3.0);
    sum = sum * z + T(1.0);
    return select(sign(x) * (T(1.0) - erfc_of(abs(x))), T(1.1283791670955126) * x * sum, abs(x) < T(0.5));
}
