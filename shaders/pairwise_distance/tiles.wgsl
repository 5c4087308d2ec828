// pairwise_distance/tiles: pairwise_distance by tiles in workgroup memory, for hardware GPUs. Twin: src/ops/pairwise_distance.rs.
//
// entry      one thread computes               reads   terms and their order
// forward_1  t0: a term of four rows of a      a       copies; runs once if a is constant
// forward_2  t1: a term of four rows of b      b       copies; runs once if b is constant
// forward_3  t2: 16 · QUADS_A · QUADS_B sums   t0, t1  a part's, ascending
// forward_4  four y                            t2      parts, ascending
//
// shared/product.wgsl explains the tiles; A and B are a and b. A term takes two instructions: ‖a‖² + ‖b‖² − 2a·b would take one, but cancels
// for close pairs, whose distances src/vectors relies on.

// Term t of row r of A lies at r · a_row + t · a_step, and so on; result (r, c) at r · y_row + c · y_step.
struct P {
    threads: u32, rows_a: u32, rows_b: u32, terms: u32, a_row: u32, a_step: u32, b_row: u32, b_step: u32, y_row: u32, y_step: u32,
    blocks_a: u32, blocks_b: u32,   // Per matrix.
    chunks: u32, parts: u32, each: u32,   // Chunks of terms, parts of them, and chunks per part.
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> t0: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> t0_read: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> t1: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> t1_read: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> t2: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read> t2_read: array<vec4<f32>>;

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_a(thread);
    t0[thread] = select(vec4(0.0), vec4(a[terms.at.x], a[terms.at.y], a[terms.at.z], a[terms.at.w]), terms.real);
}

@compute @workgroup_size(64)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_b(thread);
    t1[thread] = select(vec4(0.0), vec4(b[terms.at.x], b[terms.at.y], b[terms.at.z], b[terms.at.w]), terms.real);
}

@compute @workgroup_size(256)
fn forward_3(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    multiply(lane, g, 0u, 0u);
}

@compute @workgroup_size(64)
fn forward_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let found = results(thread);
    if found.a >= p.rows_a { return; }
    // unroll
    for (var k = 0u; k < 4u; k++) { if found.b + k < p.rows_b { y[found.at[k]] = found.sum[k]; } }
}
