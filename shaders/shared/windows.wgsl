// windows: where the windows of pools lie, shared by max_pool2d and avg_pool2d. Twin: src/ops/windows.rs, which ensures that every
// window has a pixel of the picture. The including shader's P has adaptive (0 or 1), and the members named below.

// An axis of the picture: `size` pixels and `count` windows of `kernel` pixels, `dilation` apart; the next window is `stride` further.
// before, behind: padding.
struct Axis { size: u32, count: u32, kernel: u32, stride: u32, dilation: u32, before: u32, behind: u32 }

fn rows() -> Axis {
    return Axis(p.height, p.out_height, p.kernel_h, p.stride_h, p.dilation_h, p.before_h, p.behind_h);
}

fn columns() -> Axis {
    return Axis(p.width, p.out_width, p.kernel_w, p.stride_w, p.dilation_w, p.before_w, p.behind_w);
}

// The pixels of a window in the picture: first, first + dilation, … before `end`; their number, and that of those in the picture or
// its padding.
struct Window { first: u32, end: u32, count: u32, padded: u32 }

fn window(axis: Axis, i: u32) -> Window {
    if p.adaptive == 1u {
        let first = i * axis.size / axis.count;
        let end = ((i + 1u) * axis.size + axis.count - 1u) / axis.count;
        return Window(first, end, end - first, end - first);
    }
    // Pixels that begin before a limit, counted from the window's begin.
    let begin = i * axis.stride;
    let round = axis.dilation - 1u;
    let skipped = (max(axis.before, begin) - begin + round) / axis.dilation;
    let inside = min(axis.kernel, (axis.before + axis.size - begin + round) / axis.dilation);
    let padded = min(axis.kernel, (axis.before + axis.size + axis.behind - begin + round) / axis.dilation);
    let first = begin + skipped * axis.dilation - axis.before;
    return Window(first, first + (inside - skipped) * axis.dilation, inside - skipped, padded);
}

// The first window that may have pixel r, and one past the last.
fn first_window(axis: Axis, r: u32) -> u32 {
    if p.adaptive == 1u { return r * axis.count / axis.size; }
    let reach = (axis.kernel - 1u) * axis.dilation + 1u;
    if r + axis.before < reach { return 0u; }
    return (r + axis.before - reach) / axis.stride + 1u;
}

fn end_window(axis: Axis, r: u32) -> u32 {
    if p.adaptive == 1u { return ((r + 1u) * axis.count + axis.size - 1u) / axis.size; }
    return min((r + axis.before) / axis.stride + 1u, axis.count);
}

// Whether one of these has pixel r.
fn has(axis: Axis, i: u32, r: u32) -> bool {
    return p.adaptive == 1u || (r + axis.before - i * axis.stride) % axis.dilation == 0u;
}
