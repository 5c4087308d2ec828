// pairwise_distance/quads: pairwise_distance with the blocks of a matrix product, for lavapipe. Twin: src/ops/pairwise_distance.rs.
//
// entry    one thread computes     reads  terms and their order
// forward  y of AM rows n, BM of m a, b   D, in the order of d
//
// A block of a product (shared/rows.wgsl) whose terms are squared differences: one more instruction per term than
// ‖a‖² + ‖b‖² − 2a·b, which cancels for close pairs.

struct P { rows_a: u32, rows_b: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(a, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(b, texel(k));
}

fn term(of_a: vec4<f32>, of_b: f32) -> vec4<f32> {
    let difference = of_a - of_b;
    return difference * difference;
}

@compute @workgroup_size(LANES)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * LANES;
    let block = block_of(thread);
    if !block.is_real { return; }
    let sum = rows(block, thread);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                y[(block.a + i) * p.rows_b + block.b + k] = sum[2u * k + i / 4u][i % 4u];
            }
        }
    }
}
