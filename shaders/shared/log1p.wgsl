// log1p: log(1 + e) for e from 0 to 1, to a few units in the last place even where e is tiny: 2 artanh(s) by its series in
// s = e / (2 + e), which is at most 1/3. The first term left out is below 2e-9 of the sum.

fn log1p(e: T) -> T {
    let s = e / (T(2.0) + e);
    let z = s * s;
    var sum = T(1.0 / 15.0);
    sum = sum * z + T(1.0 / 13.0);
    sum = sum * z + T(1.0 / 11.0);
    sum = sum * z + T(1.0 / 9.0);
    sum = sum * z + T(1.0 / 7.0);
    sum = sum * z + T(1.0 / 5.0);
    sum = sum * z + T(1.0 / 3.0);
    sum = sum * z + T(1.0);
    return T(2.0) * s * sum;
}
