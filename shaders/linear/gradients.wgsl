// linear/gradients: gradients of linear for x and w by blocks of a matrix product, for lavapipe. Twin: src/ops/linear.rs.
//
// entry         one thread computes                      reads    terms and their order
// backward_x_1  t1: four o of a picture of dy;           dy, w    copies
//               t2: four o of a column of w
// backward_x_2  dx of AM pictures, BM columns            t1, t2   all o, ascending
// backward_w_1  t1: four n of a column of dy;            dy, x    copies
//               t2: four n of a column of x
// backward_w_2  dw of AM outputs, BM columns             t1, t2   all n, ascending
//
// shared/rows.wgsl explains the block and its costs.

// A's row r, term k is dy[r · row + k · step]; B's is w or x[k · rows_b + r].
struct P { rows_a: u32, rows_b: u32, quads: u32, terms: u32, row: u32, step: u32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;
@group(0) @binding(6) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(7) var t1_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(8) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(9) var t2_read: texture_storage_2d<rgba32float, read>;

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(t1_read, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(t2_read, texel(k));
}

fn term(of_a: vec4<f32>, of_b: f32) -> vec4<f32> {
    return of_a * of_b;
}

// The terms of quad number `thread` of A, or of B, that exist.
fn terms_of(thread: u32) -> vec4<u32> {
    return thread % p.quads * 4u + vec4(0u, 1u, 2u, 3u);
}

fn store_a(thread: u32) {
    let k = terms_of(thread);
    let at = thread / p.quads * p.row + min(k, vec4(p.terms - 1u)) * p.step;
    let value = vec4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
    textureStore(t1, texel(thread), select(vec4(0.0), value, k < vec4(p.terms)));
}

// Where quad number `thread` of B lies in w or x.
fn b_at(thread: u32) -> vec4<u32> {
    return min(terms_of(thread), vec4(p.terms - 1u)) * p.rows_b + thread / p.quads;
}

fn store_b(thread: u32, value: vec4<f32>) {
    textureStore(t2, texel(thread), select(vec4(0.0), value, terms_of(thread) < vec4(p.terms)));
}

@compute @workgroup_size(64)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let of_a = p.rows_a * p.quads;
    if thread < of_a {
        store_a(thread);
    } else {
        let at = b_at(thread - of_a);
        store_b(thread - of_a, vec4(w[at.x], w[at.y], w[at.z], w[at.w]));
    }
}

@compute @workgroup_size(64)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let of_a = p.rows_a * p.quads;
    if thread < of_a {
        store_a(thread);
    } else {
        let at = b_at(thread - of_a);
        store_b(thread - of_a, vec4(x[at.x], x[at.y], x[at.z], x[at.w]));
    }
}

@compute @workgroup_size(LANES)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * LANES;
    let block = block_of(thread);
    if !block.is_real { return; }
    let sum = rows(block, thread);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                dx[(block.a + i) * p.rows_b + block.b + k] = sum[2u * k + i / 4u][i % 4u];
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * LANES;
    let block = block_of(thread);
    if !block.is_real { return; }
    let sum = rows(block, thread);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                dw[(block.a + i) * p.rows_b + block.b + k] = sum[2u * k + i / 4u][i % 4u];
            }
        }
    }
}
