// conv_transpose2d/plain: y[n,o,i,j] = b[o] + sum over c of o's group and the taps d·u ≡ i + padding (mod stride) of w[c,o,u,v] ·
// x[n,c,r,s], r = (i + padding - d·u) / stride, columns likewise, for the dilation d. Twin: src/ops/conv_transpose2d.rs.
//
// entry         one thread computes                 reads    terms and their order
// forward       one y                               x, w, b  b, then c, u, v ascending
// backward_x    one dx                              w, dy    o, u, v ascending: Co/G·Kh·Kw
// backward_w_1  one filter tap's sum over `rows`    x, dy    rows of the batch (N·H of them), then columns, ascending
//               rows of the batch, into t0
// backward_w_2  one dw                              t0       `chunks` sums, ascending
// backward_b_1  one channel's sum over `part`       dy       elements ascending
//               elements of one picture, into t0
// backward_b_2  one db                              t0       pictures, then parts, ascending
// Taps that fall outside the picture are skipped. An index below zero wraps to a huge number, so that one comparison
// covers both edges.

override WG: u32 = 64u;

struct P {
    n: u32, ci: u32, co: u32, height: u32, width: u32, out_height: u32, out_width: u32, kernel_h: u32, kernel_w: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    // Channels per group.
    in_group: u32, out_group: u32,
    // The greatest common divisor of stride and dilation; both divided by it; the inverse of the latter modulo the former.
    common_h: u32, common_w: u32, step_h: u32, step_w: u32, apart_h: u32, apart_w: u32, inverse_h: u32, inverse_w: u32,
    // backward_w: rows per chunk, chunks; backward_b: elements per part, parts per picture.
    rows: u32, chunks: u32, part: u32, parts: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> db: array<f32>;
@group(0) @binding(9) var<storage, read_write> t0: array<f32>;

// The first tap that meets output row `i`, counted with the padding, and its input row; further ones are `step` taps and `apart` rows
// on. If there is none, the tap is past every filter; a row below zero is a huge number.
fn first_tap(i: u32, stride: u32, dilation: u32, divisor: u32, step: u32, inverse: u32) -> vec2<u32> {
    let phase = i % stride;
    if phase % divisor != 0u { return vec2(0xFFFFFFFFu, 0u); }
    let tap = phase / divisor * inverse % step;
    return vec2(tap, u32((i32(i) - i32(tap * dilation)) / i32(stride)));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.n * p.co * p.out_height * p.out_width { return; }
    let j = index % p.out_width + p.padding_w;
    let row = index / p.out_width;
    let i = row % p.out_height + p.padding_h;
    let map = row / p.out_height;
    let o = map % p.co;
    let n = map / p.co;
    let rows = first_tap(i, p.stride_h, p.dilation_h, p.common_h, p.step_h, p.inverse_h);
    let columns = first_tap(j, p.stride_w, p.dilation_w, p.common_w, p.step_w, p.inverse_w);
    let taps = p.kernel_h * p.kernel_w;
    let plane = p.height * p.width;
    let c_first = o / p.out_group * p.in_group;
    var x_map = (n * p.ci + c_first) * plane;
    var w_map = (c_first * p.out_group + o % p.out_group) * taps;
    var sum = b[o];
    for (var c = 0u; c < p.in_group; c++) {
        var r = rows.y;
        for (var u = rows.x; u < p.kernel_h; u += p.step_h) {
            if r < p.height {
                let x_row = x_map + r * p.width;
                let w_row = w_map + u * p.kernel_w;
                var s = columns.y;
                for (var v = columns.x; v < p.kernel_w; v += p.step_w) {
                    if s < p.width {
                        sum += w[w_row + v] * x[x_row + s];
                    }
                    s -= p.apart_w;
                }
            }
            r -= p.apart_h;
        }
        x_map += plane;
        w_map += p.out_group * taps;
    }
    y[index] = sum;
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.n * p.ci * p.height * p.width { return; }
    let s = index % p.width;
    let row = index / p.width;
    let r = row % p.height;
    let map = row / p.height;
    let c = map % p.ci;
    let n = map / p.ci;
    let i_first = r * p.stride_h - p.padding_h;
    let j_first = s * p.stride_w - p.padding_w;
    let out_plane = p.out_height * p.out_width;
    var tap = c * p.out_group * p.kernel_h * p.kernel_w;
    var dy_map = (n * p.co + c / p.in_group * p.out_group) * out_plane;
    var sum = 0.0;
    for (var o = 0u; o < p.out_group; o++) {
        for (var u = 0u; u < p.kernel_h; u++) {
            let i = i_first + u * p.dilation_h;
            if i < p.out_height {
                let dy_row = dy_map + i * p.out_width;
                for (var v = 0u; v < p.kernel_w; v++) {
                    let j = j_first + v * p.dilation_w;
                    if j < p.out_width {
                        sum += w[tap + v] * dy[dy_row + j];
                    }
                }
            }
            tap += p.kernel_w;
        }
        dy_map += out_plane;
    }
    dx[index] = sum;
}

@compute @workgroup_size(WG)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    let filters = p.ci * p.out_group * p.kernel_h * p.kernel_w;
    if index >= filters * p.chunks { return; }
    let tap = index % filters;
    let chunk = index / filters;
    let v = tap % p.kernel_w;
    let u = tap / p.kernel_w % p.kernel_h;
    let map = tap / (p.kernel_w * p.kernel_h);
    let c = map / p.out_group;
    let o = c / p.in_group * p.out_group + map % p.out_group;
    let q_end = min((chunk + 1u) * p.rows, p.n * p.height);
    var sum = 0.0;
    for (var q = chunk * p.rows; q < q_end; q++) {
        let n = q / p.height;
        let r = q - n * p.height;
        let i = r * p.stride_h + u * p.dilation_h - p.padding_h;
        if i < p.out_height {
            let x_row = ((n * p.ci + c) * p.height + r) * p.width;
            let dy_row = ((n * p.co + o) * p.out_height + i) * p.out_width;
            var j = v * p.dilation_w - p.padding_w;
            for (var s = 0u; s < p.width; s++) {
                if j < p.out_width {
                    sum += x[x_row + s] * dy[dy_row + j];
                }
                j += p.stride_w;
            }
        }
    }
    t0[index] = sum;
}

@compute @workgroup_size(WG)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    let filters = p.ci * p.out_group * p.kernel_h * p.kernel_w;
    if index >= filters { return; }
    var sum = 0.0;
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        sum += t0[chunk * filters + index];
    }
    dw[index] = sum;
}

@compute @workgroup_size(WG)
fn backward_b_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.n * p.co * p.parts { return; }
    let map = index / p.parts;
    let plane = p.out_height * p.out_width;
    let first = (index - map * p.parts) * p.part;
    let end = map * plane + min(first + p.part, plane);
    var sum = 0.0;
    for (var k = map * plane + first; k < end; k++) {
        sum += dy[k];
    }
    t0[index] = sum;
}

@compute @workgroup_size(WG)
fn backward_b_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = g.x + g.y * groups.x * WG;
    if o >= p.co { return; }
    var sum = 0.0;
    for (var n = 0u; n < p.n; n++) {
        for (var k = 0u; k < p.parts; k++) {
            sum += t0[(n * p.co + o) * p.parts + k];
        }
    }
    db[o] = sum;
}
