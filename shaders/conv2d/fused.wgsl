// conv2d/fused: convolution with any stride, groups, an activation, a combination with z. Twin: src/ops/conv2d/fusion.rs.
//
// entry    one thread computes  reads          terms and their order
// forward  one y                x, w, b, a, z  bias, then all (c, u, v) by c, u, v; `activated` (shared/slopes.wgsl); z
// NaN counts as larger than every number.

override WG: u32 = 64u;
alias T = f32;
alias Bits = u32;

struct P {
    batch: u32, c_in: u32, c_out: u32, in_group: u32, out_group: u32, height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32,
    spread_h: u32, spread_w: u32,   // From one pixel of x to the next; zeros lie between.
    dilation_h: u32, dilation_w: u32,
    adjoint: u32,   // w is [Ci,Co/G,Kh,Kw], and its taps are rotated by 180°.
    replicate: u32, // Outside the picture lies its nearest pixel, not 0.
    combine: u32,   // With z: 0 nothing, 1 sum, 2 product, 3 times `slope` where z ≤ 0.
    slope: f32,
    factor: u32,    // r: channel c·r² + u·r + v goes to channel c, pixel (i·r + u, j·r + v).
    f0: f32, f1: f32,   // Of the activation.
    side: u32,      // y is the largest of side × side pixels: 1 or 2.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var<storage, read> z: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// Returns the result of map n · c_out + o at row i and column j, before it is pooled.
fn result(map: u32, i: u32, j: u32) -> f32 {
    let o = map % p.c_out;
    let area = p.kernel_h * p.kernel_w;
    var sum = b[o];
    for (var c = 0u; c < p.in_group; c++) {
        let channel = o / p.out_group * p.in_group + c;
        let plane = (map / p.c_out * p.c_in + channel) * p.height * p.width;
        let first = select(o * p.in_group + c, channel * p.out_group + o % p.out_group, p.adjoint != 0u) * area;
        for (var u = 0u; u < p.kernel_h; u++) {
            for (var v = 0u; v < p.kernel_w; v++) {
                let down = i * p.stride_h + u * p.dilation_h;
                let along = j * p.stride_w + v * p.dilation_w;
                let row = down - p.pad_h;   // Modulo 2³²: rows above the picture are past its end.
                let column = along - p.pad_w;
                let is_pixel = row % p.spread_h == 0u && column % p.spread_w == 0u;
                let is_inside = row / p.spread_h < p.height && column / p.spread_w < p.width;
                if (is_pixel && is_inside) || p.replicate != 0u {
                    let r = select(min(row / p.spread_h, p.height - 1u), 0u, down < p.pad_h);
                    let s = select(min(column / p.spread_w, p.width - 1u), 0u, along < p.pad_w);
                    let tap = select(u * p.kernel_w + v, area - 1u - u * p.kernel_w - v, p.adjoint != 0u);
                    sum += w[first + tap] * x[plane + r * p.width + s];
                }
            }
        }
    }
    return activated(sum, a[o]);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let j = thread % p.out_width;
    let i = thread / p.out_width % p.out_height;
    let map = thread / (p.out_width * p.out_height);
    var value = result(map, i * p.side, j * p.side);
    for (var k = 1u; k < p.side * p.side; k++) {
        let other = result(map, i * p.side + k / p.side, j * p.side + k % p.side);
        value = select(value, other, other > value || is_nan(other));
    }
    let r = p.factor;
    let rest = map % p.c_out % (r * r);
    let row = map / (r * r) * p.out_height * r + i * r + rest / r;   // p.c_out is a multiple of r².
    let at = row * p.out_width * r + j * r + rest % r;
    if p.combine == 0u {
        y[at] = value;
        return;
    }
    let other = z[at];
    let masked = select(p.slope * value, value, other > 0.0);
    y[at] = select(select(masked, value * other, p.combine == 2u), value + other, p.combine == 1u);
}
