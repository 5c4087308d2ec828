// dropout/plain: y = x · mask · scale, with a mask drawn for each run. Twin: src/ops/dropout.rs.
//
// entry       one thread computes  reads
// forward_1   one y and its mask   x, count
// forward_2   the next count       count
// backward_x  one dx               dy, mask

override WG: u32 = 64u;

// seed: already mixed. An element is dropped where its draw is below `threshold`.
struct P { len: u32, seed: u32, threshold: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> count: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> mask: array<u32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;

fn mixed(bits: u32) -> u32 {
    var v = (bits ^ (bits >> 16u)) * 0x7FEB352Du;
    v = (v ^ (v >> 15u)) * 0x846CA68Bu;
    return v ^ (v >> 16u);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.len { return; }
    let draw = mixed(index ^ mixed(u32(count[0]) ^ p.seed));
    let is_kept = select(0u, 1u, draw >= p.threshold);
    mask[index] = is_kept;
    // A product, so that a NaN stays one.
    y[index] = x[index] * (f32(is_kept) * p.scale);
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    if g.x + g.y * groups.x * WG >= 1u { return; }
    let next = count[0] + 1.0;
    count[0] = select(next, 0.0, next >= 16777216.0);
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.len { return; }
    dx[index] = dy[index] * (f32(mask[index]) * p.scale);
}
