// max_pool2d/plain: the largest value of each window. Twin: src/ops/max_pool2d.rs.
//
// entry     one thread computes  reads     note
// forward   one y                x         rows then columns of the window, in the picture
// backward  one dx               x, y, dy  sums the windows (i, j ascending) whose first maximum it is
// A window's maximum is the pixel that equals y: the first one in row order if there are several. NaN counts as larger than
// every number. shared/windows.wgsl says where the windows are.

override WG: u32 = 64u;
alias T = f32;

struct P {
    threads: u32, adaptive: u32,
    height: u32, out_height: u32, kernel_h: u32, stride_h: u32, dilation_h: u32, before_h: u32, behind_h: u32,
    width: u32, out_width: u32, kernel_w: u32, stride_w: u32, dilation_w: u32, before_w: u32, behind_w: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

fn is_same(a: f32, b: f32) -> bool {
    return a == b || (is_nan(a) && is_nan(b));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = g.x + g.y * groups.x * WG;
    if t >= p.threads { return; }
    let row = t / p.out_width;
    let plane = row / p.out_height;
    let high = window(rows(), row - plane * p.out_height);
    let wide = window(columns(), t - row * p.out_width);
    var best = x[(plane * p.height + high.first) * p.width + wide.first];
    for (var r = high.first; r < high.end; r += p.dilation_h) {
        let at = (plane * p.height + r) * p.width;
        for (var s = wide.first; s < wide.end; s += p.dilation_w) {
            let v = x[at + s];
            if v > best || is_nan(v) { best = v; }
        }
    }
    y[t] = best;
}

// Whether a pixel of window (i, j) before (r, s) in row order equals v.
fn has_earlier(plane: u32, i: u32, j: u32, r: u32, s: u32, v: f32) -> bool {
    let high = window(rows(), i);
    let wide = window(columns(), j);
    var found = false;
    for (var q = high.first; q <= r; q += p.dilation_h) {
        let at = (plane * p.height + q) * p.width;
        let stop = select(wide.end, s, q == r);
        for (var k = wide.first; k < stop; k += p.dilation_w) {
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
    let end_i = end_window(rows(), r);
    let end_j = end_window(columns(), s);
    var sum = 0.0;
    for (var i = first_window(rows(), r); i < end_i; i++) {
        for (var j = first_window(columns(), s); j < end_j; j++) {
            let k = (plane * p.out_height + i) * p.out_width + j;
            let is_in = has(rows(), i, r) && has(columns(), j, s);
            if is_in && is_same(y[k], v) && !has_earlier(plane, i, j, r, s, v) {
                sum += dy[k];
            }
        }
    }
    dx[t] = sum;
}
