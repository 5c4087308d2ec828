// avg_pool2d/plain: the mean of each window. Twin: src/ops/avg_pool2d.rs.
//
// entry     one thread computes  reads  summed terms, in order
// forward   one y                x      the window's rows, each the sum of its pixels; divided by the window's area
// backward  one dx               dy     dy / area of the windows that contain the pixel, i then j ascending
// shared/windows.wgsl says where the windows are.

override WG: u32 = 64u;

// count_pad: 1 if the area counts padding, else 0.
struct P {
    threads: u32, adaptive: u32, count_pad: u32,
    height: u32, out_height: u32, kernel_h: u32, stride_h: u32, dilation_h: u32, before_h: u32, behind_h: u32,
    width: u32, out_width: u32, kernel_w: u32, stride_w: u32, dilation_w: u32, before_w: u32, behind_w: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

fn length(along: Window) -> u32 {
    return select(along.count, along.padded, p.count_pad == 1u);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.out_width;
    let plane = row / p.out_height;
    let high = window(rows(), row - plane * p.out_height);
    let wide = window(columns(), t - row * p.out_width);
    var sum = 0.0;
    for (var r = high.first; r < high.end; r += p.dilation_h) {
        let at = (plane * p.height + r) * p.width;
        var part = 0.0;
        for (var s = wide.first; s < wide.end; s += p.dilation_w) {
            part += x[at + s];
        }
        sum += part;
    }
    y[t] = sum / f32(length(high) * length(wide));
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.width;
    let s = t - row * p.width;
    let plane = row / p.height;
    let r = row - plane * p.height;
    let end_i = end_window(rows(), r);
    let end_j = end_window(columns(), s);
    var sum = 0.0;
    for (var i = first_window(rows(), r); i < end_i; i++) {
        let high = length(window(rows(), i));
        var part = 0.0;
        for (var j = first_window(columns(), s); j < end_j; j++) {
            if has(rows(), i, r) && has(columns(), j, s) {
                let wide = length(window(columns(), j));
                part += dy[(plane * p.out_height + i) * p.out_width + j] / f32(high * wide);
            }
        }
        sum += part;
    }
    dx[t] = sum;
}
