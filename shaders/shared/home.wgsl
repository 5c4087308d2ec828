// home: which sum an element belongs to, the inverse of shared/terms.wgsl. P has p.elements, the number of sums, too.

struct Home { element: u32, term: u32 }

// Element i of the tensor that is summed is this term of the sum of this element.
fn home_of(i: u32) -> Home {
    var rest = i;
    var element = rest % p.s5 % p.k5;
    var term = rest % p.s5 % p.r5;
    var kept = p.k5;
    var summed = p.r5;
    rest /= p.s5;
    element += rest % p.s4 % p.k4 * kept;
    term += rest % p.s4 % p.r4 * summed;
    kept *= p.k4;
    summed *= p.r4;
    rest /= p.s4;
    element += rest % p.s3 % p.k3 * kept;
    term += rest % p.s3 % p.r3 * summed;
    kept *= p.k3;
    summed *= p.r3;
    rest /= p.s3;
    element += rest % p.s2 % p.k2 * kept;
    term += rest % p.s2 % p.r2 * summed;
    kept *= p.k2;
    summed *= p.r2;
    rest /= p.s2;
    element += rest % p.s1 % p.k1 * kept;
    term += rest % p.s1 % p.r1 * summed;
    kept *= p.k1;
    summed *= p.r1;
    rest /= p.s1;
    // The first dimension is summed over if the others make up all sums.
    if kept == p.elements { return Home(element, term + rest * summed); }
    return Home(element + rest * kept, term);
}
