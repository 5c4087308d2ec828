// axes: shared by the shaders of view: how axes of y walk those of x. They have shared/quotient.wgsl too.

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

struct Source { at: u32, is_inside: bool }

// The element of x that element i of y copies; if it is not inside, any number.
fn source_of(i: u32) -> Source {
    var found = Source(0u, true);
    var rest = i;
    // unroll
    for (var n = 0u; n < AXES; n++) {
        // The axes are in the order of y's.
        let k = AXES - 1u - n;
        let axis = axis_of(k);
        var before = 0u;
        if k > 0u { before = quotient(rest, axis.len); }
        let c = inside(axis.start + axis.step * i32(rest - before * axis.len), axis.size);
        rest = before;
        // A coordinate below zero is a huge number.
        found.is_inside = found.is_inside && u32(c) < axis.size;
        found.at += u32(c) * axis.stride;
    }
    return found;
}
