// linear/quads: linear by blocks of a matrix product, for lavapipe. Twin: src/ops/linear.rs.
//
// entry      one thread computes             reads     terms and their order
// forward_1  t2: a quad of a row of w        w         copies; runs once if w is constant
// forward_2  y of AM pictures, BM outputs    x, t2, b  quads of channels, then pixels, then the four channels; then b
//
// shared/rows.wgsl explains the block and its costs. t2 holds the rows of w in the order of x's quads.

struct P { rows_a: u32, rows_b: u32, quads: u32, channels: u32, plane: u32, depth: u32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var t2_read: texture_storage_2d<rgba32float, read>;

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(x, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(t2_read, texel(k));
}

fn term(of_a: vec4<f32>, of_b: f32) -> vec4<f32> {
    return of_a * of_b;
}

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let o = thread / p.quads;
    let k = thread - o * p.quads;
    let quad = k / p.plane;
    let c = quad * 4u + vec4(0u, 1u, 2u, 3u);
    let at = o * p.depth + min(c, vec4(p.channels - 1u)) * p.plane + (k - quad * p.plane);
    textureStore(t2, texel(thread), select(vec4(0.0), vec4(w[at.x], w[at.y], w[at.z], w[at.w]), c < vec4(p.channels)));
}

@compute @workgroup_size(LANES)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * LANES;
    let block = block_of(thread);
    if !block.is_real { return; }
    let sum = rows(block, thread);
    // unroll
    for (var k = 0u; k < BM; k++) {
        let bias = b[min(block.b + k, p.rows_b - 1u)];
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                y[(block.a + i) * p.rows_b + block.b + k] = sum[2u * k + i / 4u][i % 4u] + bias;
            }
        }
    }
}
