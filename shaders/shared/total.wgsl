// total: shared by the shaders that add up partial sums in t0 with one group of 64 threads.

var<workgroup> sums: array<f32, 64>;

// Returns t0[0] + … + t0[count − 1]: every 64th ascending, then the 64 sums ascending. Only thread 0 gets it, the others get 0.
fn total(lane: u32, count: u32) -> f32 {
    var sum = 0.0;
    for (var k = lane; k < count; k += 64u) {
        sum += t0[k];
    }
    sums[lane] = sum;
    workgroupBarrier();
    var all = 0.0;
    if lane == 0u {
        for (var k = 0u; k < 64u; k++) {
            all += sums[k];
        }
    }
    return all;
}
