// conv2d/strided: gradients of conv2d for x with any stride and groups, for lavapipe. Twin: src/ops/conv2d/strided.rs.
//
// Pixels of x at distances of the stride form a phase. Pixel a + stride · k of phase a meets tap u in output k + (a + pad − u) / stride,
// so the taps of a phase are every stride-th one, and each is a correlation with dy.
//
// entry         one thread computes                            reads   terms and their order
// backward_x_1  t1: filters of four input channels at a tap    w       copies
// backward_x_2  dx: 8 rows of a phase × OC channels            dy, t1  by o, v, u, where u and v are the phase's taps

override WG: u32 = 64u;
// Input channels per block: 4 or 8.
override OC: u32 = 8u;

struct P {
    c_in: u32, c_out: u32,
    height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32,
    in_group: u32, out_group: u32,
    rows: u32, columns: u32,     // Rows and columns of a phase.
    row_blocks: u32, blocks: u32,
    quads: u32,                  // Of input channels, per group.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var dy: texture_storage_2d<r32float, read>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(4) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var t1_read: texture_storage_2d<rgba32float, read>;

@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let area = p.kernel_h * p.kernel_w;
    let tap = thread % area;
    let o = thread / area % p.out_group;
    let quad = thread / area / p.out_group;
    let group = quad / p.quads;
    let c = min(quad % p.quads * 4u + LOW, vec4(p.in_group - 1u));
    let at = ((group * p.out_group + o) * p.in_group + c) * area + tap;
    textureStore(t1, texel(thread), vec4(w[at.x], w[at.y], w[at.z], w[at.w]));
}

fn high_filters(k: u32) -> vec4<f32> {
    if OC > 4u { return textureLoad(t1_read, texel(k)); }
    return vec4(0.0);
}

// dy of a column at a row that may lie outside the picture.
fn dy_at(base: u32, row: i32, inside: bool) -> f32 {
    let r = clamp(row, 0, i32(p.out_height) - 1);
    return select(0.0, textureLoad(dy, texel(base + u32(r) * p.out_width)).x, inside && r == row);
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let column = thread % p.columns;
    let above = thread / p.columns;
    let row = above % p.row_blocks * 8u;
    let phase = above / p.row_blocks % (p.stride_h * p.stride_w);
    let outer = above / p.row_blocks / (p.stride_h * p.stride_w);
    let all_blocks = p.c_in / p.in_group * p.blocks;
    let n = outer / all_blocks;
    let block = outer % all_blocks;
    let group = block / p.blocks;
    let channel = block % p.blocks * OC;
    let phase_h = phase / p.stride_w;
    let phase_w = phase % p.stride_w;
    let first_u = (phase_h + p.pad_h) % p.stride_h;
    let first_v = (phase_w + p.pad_w) % p.stride_w;
    let top = i32(row) + i32((phase_h + p.pad_h) / p.stride_h);
    let left = i32(column) + i32((phase_w + p.pad_w) / p.stride_w);
    let area = p.kernel_h * p.kernel_w;
    let low_quad = group * p.quads + channel / 4u;
    let high_quad = group * p.quads + min(channel / 4u + 1u, p.quads - 1u);
    let out_group = bound(p.out_group, thread);
    let kernel_h = bound(p.kernel_h, thread);
    let kernel_w = bound(p.kernel_w, thread);
    var a = filled(vec4(0.0), vec4(0.0));
    for (var o = 0u; o < out_group; o++) {
        let plane = (n * p.c_out + group * p.out_group + o) * p.out_height * p.out_width;
        var j = left;
        for (var v = first_v; v < kernel_w; v += p.stride_w) {
            let s = clamp(j, 0, i32(p.out_width) - 1);
            let base = plane + u32(s);
            var i = top;
            // The rows below row i; each tap moves them down by one and adds row i.
            var r: array<f32, 8>;
            // unroll
            for (var k = 0u; k < 7u; k++) { r[k] = dy_at(base, i + i32(k) + 1, s == j); }
            for (var u = first_u; u < kernel_h; u += p.stride_h) {
                // unroll
                for (var k = 0u; k < 7u; k++) { r[7u - k] = r[6u - k]; }
                r[0] = dy_at(base, i, s == j);
                let tap = o * area + u * p.kernel_w + v;
                let low = textureLoad(t1_read, texel(low_quad * p.out_group * area + tap));
                add_outer(&a, r, low, high_filters(high_quad * p.out_group * area + tap));
                i -= 1;
            }
            j -= 1;
        }
    }
    let count = p.in_group - channel;
    let picture = (n * p.c_in + group * p.in_group + channel) * p.height;
    let to_column = phase_w + column * p.stride_w;
    // unroll
    for (var k = 0u; k < 8u; k++) {
        let to_row = phase_h + (row + k) * p.stride_h;
        if to_row < p.height && to_column < p.width {
            let to = (picture + to_row) * p.width + to_column;
            // unroll
            for (var c = 0u; c < 4u; c++) {
                if c < count { dx[to + c * p.height * p.width] = a.low[k][c]; }
                if c + 4u < OC && c + 4u < count { dx[to + (c + 4u) * p.height * p.width] = a.high[k][c]; }
            }
        }
    }
}
