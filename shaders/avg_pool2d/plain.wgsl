// avg_pool2d/plain: the mean of each window. Twin: src/ops/avg_pool2d.rs.
//
// entry     one thread computes  reads  summed terms, in order
// forward   one y                x      the window's pixels, rows then columns; divided by the window's area
// backward  one dx               dy     dy / area of the windows that contain the pixel, i then j ascending
// Padding is at most half the kernel, so every window has a pixel.

override WG: u32 = 64u;

// kernel_height × kernel_width: the window; in the global form, the image. area: divisor of every window; 0 divides by
// the number of the window's pixels inside the image.
struct P {
    threads: u32, height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_height: u32, kernel_width: u32, stride: u32, padding: u32, area: u32
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
fn end(i: u32, kernel: u32, size: u32) -> u32 {
    return min(i * p.stride + kernel - p.padding, size);
}

// First window that contains pixel r, and one past the last of the `count` windows; if they are equal, there is none.
fn first_window(r: u32, kernel: u32) -> u32 {
    if r + p.padding < kernel { return 0u; }
    return (r + p.padding - kernel) / p.stride + 1u;
}
fn end_window(r: u32, count: u32) -> u32 {
    return min((r + p.padding) / p.stride + 1u, count);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.out_width;
    let j = t - row * p.out_width;
    let plane = row / p.out_height;
    let i = row - plane * p.out_height;
    let top = begin(i);
    let bottom = end(i, p.kernel_height, p.height);
    let left = begin(j);
    let right = end(j, p.kernel_width, p.width);
    var sum = 0.0;
    for (var r = top; r < bottom; r++) {
        let at = (plane * p.height + r) * p.width;
        for (var s = left; s < right; s++) {
            sum += x[at + s];
        }
    }
    y[t] = sum / f32(select(p.area, (bottom - top) * (right - left), p.area == 0u));
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.width;
    let s = t - row * p.width;
    let plane = row / p.height;
    let r = row - plane * p.height;
    let end_i = end_window(r, p.out_height);
    let end_j = end_window(s, p.out_width);
    var sum = 0.0;
    for (var i = first_window(r, p.kernel_height); i < end_i; i++) {
        let high = end(i, p.kernel_height, p.height) - begin(i);
        for (var j = first_window(s, p.kernel_width); j < end_j; j++) {
            let wide = end(j, p.kernel_width, p.width) - begin(j);
            let d = dy[(plane * p.out_height + i) * p.out_width + j];
            sum += d / f32(select(p.area, high * wide, p.area == 0u));
        }
    }
    dx[t] = sum;
}
