// matmul/block: as plain, but a thread computes 4 × 4 elements, for which it loads 8 numbers per 16 products, not 32. Twin:
// src/ops/matmul.rs.
//
// entry    one thread computes  reads  terms and their order
// forward  4 × 4 y              a, b   depth, ascending, in parts of 64

override WG: u32 = 64u;
// Terms that are added to each other before their sum is: fewer roundings than in one long sum.
const PART = 64u;

// As in plain.wgsl; blocks_down and blocks_across: of 4 × 4 elements in a matrix of y.
struct P {
    threads: u32, rows: u32, columns: u32, depth: u32, a_row: u32, a_column: u32, b_row: u32, b_column: u32, is_same: u32,
    blocks_down: u32, blocks_across: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// Writes the part of a row that lies inside.
fn store(matrix: u32, row: u32, column: u32, values: vec4<f32>) {
    if row >= p.rows { return; }
    let first = (matrix * p.rows + row) * p.columns + column;
    for (var c = 0u; c < min(4u, p.columns - column); c++) {
        y[first + c] = values[c];
    }
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let matrix = thread / (p.blocks_down * p.blocks_across);
    let row = thread / p.blocks_across % p.blocks_down * 4u;
    let column = thread % p.blocks_across * 4u;
    let at = place(matrix);
    // Rows and columns past the end repeat the last.
    var from_a = vec4(at.x * p.rows * p.depth) + min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(p.rows - 1u)) * p.a_row;
    var from_b = vec4(at.y * p.columns * p.depth) + min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(p.columns - 1u)) * p.b_column;
    var sum = mat4x4<f32>();
    var part = mat4x4<f32>();
    for (var k = 0u; k < p.depth; k++) {
        if k % PART == 0u {
            sum += part;
            part = mat4x4<f32>();
        }
        let left = vec4(a[from_a.x], a[from_a.y], a[from_a.z], a[from_a.w]);
        let right = vec4(b[from_b.x], b[from_b.y], b[from_b.z], b[from_b.w]);
        part[0] += left.x * right;
        part[1] += left.y * right;
        part[2] += left.z * right;
        part[3] += left.w * right;
        from_a += p.a_column;
        from_b += p.b_row;
    }
    sum += part;
    store(matrix, row, column, sum[0]);
    store(matrix, row + 1u, column, sum[1]);
    store(matrix, row + 2u, column, sum[2]);
    store(matrix, row + 3u, column, sum[3]);
}
