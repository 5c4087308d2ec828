// matmul/rows: matmul by blocks of 8 × 8, for lavapipe; a gradient of a matrix is a product as well. Twin: src/ops/matmul.rs.
//
// entry         one thread computes                          reads  terms and their order
// forward_1     t1, t2: four terms of a row of A, or of B    a, b   copies
// forward_2     y of AM rows, BM columns                     t1, t2 ascending, in parts of 64
// backward_a_1  the same                                     dy, b  copies
// backward_a_2  da of AM rows, BM columns                    t1, t2 the same
// backward_b_1  the same                                     a, dy  copies
// backward_b_2  db of AM rows, BM columns                    t1, t2 the same
//
// shared/rows.wgsl explains the block and its costs. The result is A · Bᵀ for matrices A of rows_a and B of rows_b rows of `terms`.

// Quads of terms that are added to each other before their sum is: 64 terms, for fewer roundings than in one long sum.
const PART = 16u;

// Term t of row r of A lies at r · a_row + t · a_step in its matrix, and so on; result (r, c) at r · y_row + c · y_step. of_a: quads of
// all matrices of A; blocks: of a matrix of the result. which_a, which_b: whether A and B are a, b (0, 1) or as the result (2).
struct P {
    threads: u32, rows_a: u32, rows_b: u32, terms: u32, quads: u32, of_a: u32, blocks: u32,
    a_row: u32, a_step: u32, b_row: u32, b_step: u32, y_row: u32, y_step: u32, which_a: u32, which_b: u32, is_same: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;
@group(0) @binding(7) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(8) var t1_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(9) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(10) var t2_read: texture_storage_2d<rgba32float, read>;

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(t1_read, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(t2_read, texel(k));
}

fn term(of_a: vec4<f32>, of_b: f32) -> vec4<f32> {
    return of_a * of_b;
}

// The terms of quad q of the rows of A or B.
fn terms_of(q: u32) -> vec4<u32> {
    return q % p.quads * 4u + vec4(0u, 1u, 2u, 3u);
}

// Where the terms of quad q of A lie, and of B; those past the end repeat the last.
fn a_at(q: u32) -> vec4<u32> {
    let row = q / p.quads;
    let matrix = row / p.rows_a;
    return matrix * (p.rows_a * p.terms) + (row - matrix * p.rows_a) * p.a_row + min(terms_of(q), vec4(p.terms - 1u)) * p.a_step;
}

fn b_at(q: u32) -> vec4<u32> {
    let row = q / p.quads;
    let matrix = row / p.rows_b;
    return matrix * (p.rows_b * p.terms) + (row - matrix * p.rows_b) * p.b_row + min(terms_of(q), vec4(p.terms - 1u)) * p.b_step;
}

fn store_a(q: u32, value: vec4<f32>) {
    textureStore(t1, texel(q), select(vec4(0.0), value, terms_of(q) < vec4(p.terms)));
}

fn store_b(q: u32, value: vec4<f32>) {
    textureStore(t2, texel(q), select(vec4(0.0), value, terms_of(q) < vec4(p.terms)));
}

fn block_in(thread: u32) -> Block {
    let matrix = thread / p.blocks;
    var block = block_of(thread - matrix * p.blocks);
    let of_inputs = place(matrix);
    let places = vec3(of_inputs, matrix);
    block.from_a = places[p.which_a] * p.rows_a * p.quads;
    block.from_b = places[p.which_b] * p.rows_b * p.quads;
    return block;
}

fn sums(block: Block, thread: u32) -> array<vec4<f32>, SUMS> {
    var all: array<vec4<f32>, SUMS>;
    let last = bound(p.quads, thread);
    for (var q = 0u; q < last; q += PART) {
        let part = rows_between(block, q, min(q + PART, last), thread);
        // unroll
        for (var k = 0u; k < SUMS; k++) { all[k] += part[k]; }
    }
    return all;
}

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    if thread < p.of_a {
        let at = a_at(thread);
        store_a(thread, vec4(a[at.x], a[at.y], a[at.z], a[at.w]));
    } else {
        let at = b_at(thread - p.of_a);
        store_b(thread - p.of_a, vec4(b[at.x], b[at.y], b[at.z], b[at.w]));
    }
}

@compute @workgroup_size(LANES)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * LANES;
    if thread >= p.threads { return; }
    let block = block_in(thread);
    let sum = sums(block, thread);
    let first = thread / p.blocks * (p.rows_a * p.rows_b);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                y[first + (block.a + i) * p.y_row + (block.b + k) * p.y_step] = sum[2u * k + i / 4u][i % 4u];
            }
        }
    }
}

@compute @workgroup_size(64)
fn backward_a_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    if thread < p.of_a {
        let at = a_at(thread);
        store_a(thread, vec4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]));
    } else {
        let at = b_at(thread - p.of_a);
        store_b(thread - p.of_a, vec4(b[at.x], b[at.y], b[at.z], b[at.w]));
    }
}

@compute @workgroup_size(LANES)
fn backward_a_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * LANES;
    if thread >= p.threads { return; }
    let block = block_in(thread);
    let sum = sums(block, thread);
    let first = thread / p.blocks * (p.rows_a * p.rows_b);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                da[first + (block.a + i) * p.y_row + (block.b + k) * p.y_step] = sum[2u * k + i / 4u][i % 4u];
            }
        }
    }
}

@compute @workgroup_size(64)
fn backward_b_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    if thread < p.of_a {
        let at = a_at(thread);
        store_a(thread, vec4(a[at.x], a[at.y], a[at.z], a[at.w]));
    } else {
        let at = b_at(thread - p.of_a);
        store_b(thread - p.of_a, vec4(dy[at.x], dy[at.y], dy[at.z], dy[at.w]));
    }
}

@compute @workgroup_size(LANES)
fn backward_b_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * LANES;
    if thread >= p.threads { return; }
    let block = block_in(thread);
    let sum = sums(block, thread);
    let first = thread / p.blocks * (p.rows_a * p.rows_b);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                db[first + (block.a + i) * p.y_row + (block.b + k) * p.y_step] = sum[2u * k + i / 4u][i % 4u];
            }
        }
    }
}
