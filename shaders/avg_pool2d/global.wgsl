// avg_pool2d/global: the mean of a whole plane, for the global form. Twin: src/ops/avg_pool2d.rs.
//
// entry    one workgroup computes  reads  summed terms, in order
// forward  one y                   x      lane l sums pixels l, l + 64, …; then pairs of lanes 32, 16, …, 1 apart
// The gradient is that of avg_pool2d/plain.

const WG = 64u;

// planes: N·C. pixels: per plane, H·W.
struct P { planes: u32, pixels: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = group.x + group.y * groups.x;
    if plane >= p.planes { return; }
    var sum = 0.0;
    for (var k = lane; k < p.pixels; k += WG) {
        sum += x[plane * p.pixels + k];
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var apart = WG / 2u; apart > 0u; apart /= 2u) {
        if lane < apart {
            partial[lane] += partial[lane + apart];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        y[plane] = partial[0] / f32(p.pixels);
    }
}
