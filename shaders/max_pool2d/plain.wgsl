// max_pool2d/plain: the largest value of each window of kernel × kernel pixels. Twin: src/ops/max_pool2d.rs.
//
// entry     one thread computes  reads     note
// forward   one y                x         rows then columns of the window, clipped to the image
// backward  one dx               x, y, dy  sums the windows (i, j ascending) whose first maximum it is
// A window's maximum is the pixel that equals y: the first one in row order if there are several. NaN counts as larger than
// every number.
// Padding is at most half the kernel, so every window has a pixel.

override WG: u32 = 64u;
alias T = f32;

struct P {
    threads: u32, height: u32, width: u32, out_height: u32, out_width: u32, kernel: u32, stride: u32, padding: u32
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

// First pixel of window i, and one past its last, inside the image of `size` pixels.
fn begin(i: u32) -> u32 {
    return max(i * p.stride, p.padding) - p.padding;
}
fn end(i: u32, size: u32) -> u32 {
    return min(i * p.stride + p.kernel - p.padding, size);
}

// First window that contains pixel r, and one past the last of the `count` windows; if they are equal, there is none.
fn first_window(r: u32) -> u32 {
    if r + p.padding < p.kernel { return 0u; }
    return (r + p.padding - p.kernel) / p.stride + 1u;
}
fn end_window(r: u32, count: u32) -> u32 {
    return min((r + p.padding) / p.stride + 1u, count);
}

fn is_same(a: f32, b: f32) -> bool {
    return a == b || (is_nan(a) && is_nan(b));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.out_width;
    let j = t - row * p.out_width;
    let plane = row / p.out_height;
    let i = row - plane * p.out_height;
    let bottom = end(i, p.height);
    let left = begin(j);
    let right = end(j, p.width);
    var best = x[(plane * p.height + begin(i)) * p.width + left];
    for (var r = begin(i); r < bottom; r++) {
        let at = (plane * p.height + r) * p.width;
        for (var s = left; s < right; s++) {
            let v = x[at + s];
            if v > best || is_nan(v) { best = v; }
        }
    }
    y[t] = best;
}

// Whether a pixel of window (i, j) before (r, s) in row order equals v.
fn has_earlier(plane: u32, i: u32, j: u32, r: u32, s: u32, v: f32) -> bool {
    let left = begin(j);
    let right = end(j, p.width);
    var found = false;
    for (var q = begin(i); q <= r; q++) {
        let at = (plane * p.height + q) * p.width;
        let stop = select(right, s, q == r);
        for (var k = left; k < stop; k++) {
            found = found | is_same(x[at + k], v);
        }
    }
    return found;
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.width;
    let s = t - row * p.width;
    let plane = row / p.height;
    let r = row - plane * p.height;
    let v = x[t];
    let end_i = end_window(r, p.out_height);
    let end_j = end_window(s, p.out_width);
    var sum = 0.0;
    for (var i = first_window(r); i < end_i; i++) {
        for (var j = first_window(s); j < end_j; j++) {
            let k = (plane * p.out_height + i) * p.out_width + j;
            if is_same(y[k], v) && !has_earlier(plane, i, j, r, s, v) {
                sum += dy[k];
            }
        }
    }
    dx[t] = sum;
}
