// readers: shared by the shaders of view: which elements of y read an element of x, and the sum of their dy. They have shared/axes.wgsl too.

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
