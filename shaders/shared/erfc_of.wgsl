// erfc_of: 1 - erf(x) for x of 0 or more, with a relative error of 1.2e-7 and that of exp: Chebyshev's fit of Press et al.,
// "Numerical Recipes in C", 2nd edition, section 6.2.

fn erfc_of(x: T) -> T {
    let t = T(1.0) / (T(1.0) + T(0.5) * x);
    var sum = T(0.17087277);
    sum = sum * t + T(-0.82215223);
    sum = sum * t + T(1.48851587);
    sum = sum * t + T(-1.13520398);
    sum = sum * t + T(0.27886807);
    sum = sum * t + T(-0.18628806);
    sum = sum * t + T(0.09678418);
    sum = sum * t + T(0.37409196);
    sum = sum * t + T(1.00002368);
    sum = sum * t + T(-1.26551223);
    return t * exp(sum - x * x);
}
