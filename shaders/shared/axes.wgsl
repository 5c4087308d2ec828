// axes: shared by the shaders of view: how axes of y walk those of x, and which elements of y read an element of x.

override WG: u32 = 64u;
// Number of axes.
const AXES: u32 = 6u;

// border: 0 a constant, 1 the reflection, 2 the nearest element. parts: partial sums per element of dx. Starts and steps are signed.
struct P {
    threads: u32, parts: u32, border: u32, constant: f32,
    size_0: u32, stride_0: u32, len_0: u32, out_stride_0: u32, start_0: u32, step_0: u32,
    size_1: u32, stride_1: u32, len_1: u32, out_stride_1: u32, start_1: u32, step_1: u32,
    size_2: u32, stride_2: u32, len_2: u32, out_stride_2: u32, start_2: u32, step_2: u32,
    size_3: u32, stride_3: u32, len_3: u32, out_stride_3: u32, start_3: u32, step_3: u32,
    size_4: u32, stride_4: u32, len_4: u32, out_stride_4: u32, start_4: u32, step_4: u32,
    size_5: u32, stride_5: u32, len_5: u32, out_stride_5: u32, start_5: u32, step_5: u32,
}
@group(0) @binding(0) var<uniform> p: P;

// Position q of the axis of y, `len` elements `out_stride` apart, is coordinate start + step · q of that of x, `size` elements
// `stride` apart.
struct Axis { size: u32, stride: u32, len: u32, out_stride: u32, start: i32, step: i32 }

fn axis(size: u32, stride: u32, len: u32, out_stride: u32, start: u32, step: u32) -> Axis {
    return Axis(size, stride, len, out_stride, bitcast<i32>(start), bitcast<i32>(step));
}

fn axis_of(k: u32) -> Axis {
    switch k {
        case 0u: { return axis(p.size_0, p.stride_0, p.len_0, p.out_stride_0, p.start_0, p.step_0); }
        case 1u: { return axis(p.size_1, p.stride_1, p.len_1, p.out_stride_1, p.start_1, p.step_1); }
        case 2u: { return axis(p.size_2, p.stride_2, p.len_2, p.out_stride_2, p.start_2, p.step_2); }
        case 3u: { return axis(p.size_3, p.stride_3, p.len_3, p.out_stride_3, p.start_3, p.step_3); }
        case 4u: { return axis(p.size_4, p.stride_4, p.len_4, p.out_stride_4, p.start_4, p.step_4); }
        default: { return axis(p.size_5, p.stride_5, p.len_5, p.out_stride_5, p.start_5, p.step_5); }
    }
}

// The coordinate that is read for c; it is not below `size` if that is the constant.
fn inside(c: i32, size: u32) -> i32 {
    let last = i32(size) - 1;
    if p.border == 2u { return clamp(c, 0, last); }
    if p.border == 0u || abs(c) <= last { return select(c, abs(c), p.border == 1u); }
    return 2 * last - c;
}

// Positions first, first + 1, … of an axis of y.
struct Run { first: u32, count: u32 }

// The positions at coordinate c.
fn at_coordinate(a: Axis, c: i32) -> Run {
    let away = c - a.start;
    if a.step == 0 { return Run(0u, select(0u, a.len, away == 0)); }
    let position = away / a.step;
    let is_hit = position * a.step == away && position >= 0 && position < i32(a.len);
    return Run(u32(position), select(0u, 1u, is_hit));
}

// The positions at coordinates below 0, for any start and step.
fn below(start: i32, step: i32, len: u32) -> Run {
    if step == 0 { return Run(0u, select(0u, len, start < 0)); }
    if step > 0 { return Run(0u, min(u32((max(-start, 0) + step - 1) / step), len)); }
    let first = select(min(u32(start / -step) + 1u, len), 0u, start < 0);
    return Run(first, len - first);
}

// The positions that read a coordinate: directly, from below 0, and from past the end.
struct Readers { direct: Run, low: Run, high: Run }

fn readers_of(a: Axis, c: i32) -> Readers {
    let last = i32(a.size) - 1;
    var readers = Readers(at_coordinate(a, c), Run(0u, 0u), Run(0u, 0u));
    if p.border == 1u {
        if c != 0 { readers.low = at_coordinate(a, -c); }
        if c != last { readers.high = at_coordinate(a, 2 * last - c); }
    }
    if p.border == 2u {
        if c == 0 { readers.low = below(a.start, a.step, a.len); }
        if c == last { readers.high = below(last - a.start, -a.step, a.len); }
    }
    return readers;
}

fn count_of(r: Readers) -> u32 {
    return r.direct.count + r.low.count + r.high.count;
}

// Position t of those.
fn position_of(r: Readers, t: u32) -> u32 {
    if t < r.direct.count { return r.direct.first + t; }
    let behind = t - r.direct.count;
    if behind < r.low.count { return r.low.first + behind; }
    return r.high.first + behind - r.low.count;
}

// Every p.parts-th term of dx[i], from `part` on. The first axis runs fastest, each in the order direct, low, high.
fn sum_of(i: u32, part: u32) -> f32 {
    var readers: array<Readers, AXES>;
    var terms = 1u;
    // unroll
    for (var k = 0u; k < AXES; k++) {
        let a = axis_of(k);
        readers[k] = readers_of(a, i32(i / a.stride % a.size));
        terms *= count_of(readers[k]);
    }
    var sum = 0.0;
    for (var t = part; t < terms; t += p.parts) {
        var rest = t;
        var at = 0u;
        // unroll
        for (var k = 0u; k < AXES; k++) {
            let count = count_of(readers[k]);
            at += position_of(readers[k], rest % count) * axis_of(k).out_stride;
            rest /= count;
        }
        sum += dy[at];
    }
    return sum;
}
