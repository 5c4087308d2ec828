// bilinear: the four pixels around a position, for the shaders of warp. The including shader binds x as array<f32>, has height and width in
// P, and defines `is_clamped()`: whether the border's pixels extend without end; otherwise everything outside is zero.

// Bits of 2^24, above which f32 has no odd numbers, and of infinity.
const HUGE: u32 = 0x4b800000u;
const INFINITY: u32 = 0x7f800000u;

// Where a coordinate falls on an axis: the pixels at its floor and after it.
struct Axis {
    low: u32,
    high: u32,
    low_weight: f32, // 0 if the pixel does not count
    high_weight: f32,
    low_counts: bool,
    high_counts: bool,
    slope: f32, // 0 if the coordinate was clamped, else 1
}

fn locate(coordinate: f32, size: u32) -> Axis {
    let bits = bitcast<u32>(coordinate);
    var v = coordinate;
    if (bits & 0x7fffffffu) >= HUGE {
        // Positive numbers lie beyond the far end, negative ones and NaN before the near end. Comparing bits is correct
        // even if a compiler assumes that there is no NaN.
        v = select(-2.0, 16777216.0, bits <= INFINITY);
    }
    var slope = 1.0;
    if is_clamped() {
        let last = f32(size - 1u);
        slope = select(0.0, 1.0, v >= 0.0 && v <= last);
        v = clamp(v, 0.0, last);
    }
    let base = floor(v);
    let fraction = v - base;
    let low = i32(base);
    let high = low + 1;
    let end = i32(size);
    let low_counts = is_clamped() || (low >= 0 && low < end);
    let high_counts = is_clamped() || (high >= 0 && high < end);
    return Axis(
        u32(clamp(low, 0, end - 1)),
        u32(clamp(high, 0, end - 1)),
        select(0.0, 1.0 - fraction, low_counts),
        select(0.0, fraction, high_counts),
        low_counts,
        high_counts,
        slope,
    );
}

// The four taps of a sample, in the order (low, low), (low, high), (high, low), (high, high) of (row, column).
struct Sample {
    offset: vec4<u32>, // within a plane of x
    weight: vec4<f32>,
    counts: vec4<bool>,
}

fn sample_at(rows: Axis, columns: Axis) -> Sample {
    let low = rows.low * p.width;
    let high = rows.high * p.width;
    return Sample(
        vec4(low + columns.low, low + columns.high, high + columns.low, high + columns.high),
        vec4(
            rows.low_weight * columns.low_weight,
            rows.low_weight * columns.high_weight,
            rows.high_weight * columns.low_weight,
            rows.high_weight * columns.high_weight,
        ),
        vec4(
            rows.low_counts && columns.low_counts,
            rows.low_counts && columns.high_counts,
            rows.high_counts && columns.low_counts,
            rows.high_counts && columns.high_counts,
        ),
    );
}

// The taps' values; a tap that does not count is 0, whatever lies at its clamped offset.
fn values_at(plane: u32, s: Sample) -> vec4<f32> {
    let v = vec4(x[plane + s.offset.x], x[plane + s.offset.y], x[plane + s.offset.z], x[plane + s.offset.w]);
    return select(vec4(0.0), v, s.counts);
}
