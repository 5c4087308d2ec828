// linear/tiles: linear by tiles in workgroup memory, for hardware GPUs; a gradient is a product of matrices as well. Twin:
// src/ops/linear.rs.
//
// entry       one thread computes               reads  terms and their order
// forward_1   t0: a term of four rows of A      x      copies
// forward_2   t1: a term of four rows of B      w      copies; runs once if w is constant
// forward_3   t2: 16 · QUADS_A · QUADS_B sums   t0, t1 a part's, ascending
// forward_4   four y                            t2, b  parts, ascending; bias
// backward_x  the same for dx, without bias     dy, w  the same
// backward_w  the same for dw, without bias     dy, x  the same
//
// shared/product.wgsl explains the product. The result is A · Bᵀ.

// Term t of row r of A lies at r · a_row + t · a_step, and so on; result (r, c) at r · y_row + c · y_step.
struct P {
    threads: u32, rows_a: u32, rows_b: u32, terms: u32, a_row: u32, a_step: u32, b_row: u32, b_step: u32, y_row: u32, y_step: u32,
    blocks_a: u32, blocks_b: u32,   // Per matrix.
    chunks: u32, parts: u32, each: u32,   // Chunks of terms, parts of them, and chunks per part.
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> t0: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read> t0_read: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> t1: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read> t1_read: array<vec4<f32>>;
@group(0) @binding(12) var<storage, read_write> t2: array<vec4<f32>>;
@group(0) @binding(13) var<storage, read> t2_read: array<vec4<f32>>;

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_a(thread);
    t0[thread] = select(vec4(0.0), vec4(x[terms.at.x], x[terms.at.y], x[terms.at.z], x[terms.at.w]), terms.real);
}

@compute @workgroup_size(64)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_b(thread);
    t1[thread] = select(vec4(0.0), vec4(w[terms.at.x], w[terms.at.y], w[terms.at.z], w[terms.at.w]), terms.real);
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
    for (var k = 0u; k < 4u; k++) { if found.b + k < p.rows_b { y[found.at[k]] = found.sum[k] + b[found.b + k]; } }
}

@compute @workgroup_size(64)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_a(thread);
    t0[thread] = select(vec4(0.0), vec4(dy[terms.at.x], dy[terms.at.y], dy[terms.at.z], dy[terms.at.w]), terms.real);
}

@compute @workgroup_size(64)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_b(thread);
    t1[thread] = select(vec4(0.0), vec4(w[terms.at.x], w[terms.at.y], w[terms.at.z], w[terms.at.w]), terms.real);
}

@compute @workgroup_size(256)
fn backward_x_3(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    multiply(lane, g, 0u, 0u);
}

@compute @workgroup_size(64)
fn backward_x_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let found = results(thread);
    if found.a >= p.rows_a { return; }
    // unroll
    for (var k = 0u; k < 4u; k++) { if found.b + k < p.rows_b { dx[found.at[k]] = found.sum[k]; } }
}

@compute @workgroup_size(64)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_a(thread);
    t0[thread] = select(vec4(0.0), vec4(dy[terms.at.x], dy[terms.at.y], dy[terms.at.z], dy[terms.at.w]), terms.real);
}

@compute @workgroup_size(64)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let terms = terms_of_b(thread);
    t1[thread] = select(vec4(0.0), vec4(x[terms.at.x], x[terms.at.y], x[terms.at.z], x[terms.at.w]), terms.real);
}

@compute @workgroup_size(256)
fn backward_w_3(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) g: vec3<u32>) {
    multiply(lane, g, 0u, 0u);
}

@compute @workgroup_size(64)
fn backward_w_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let found = results(thread);
    if found.a >= p.rows_a { return; }
    // unroll
    for (var k = 0u; k < 4u; k++) { if found.b + k < p.rows_b { dw[found.at[k]] = found.sum[k]; } }
}
