// local_conv2d/rows: local_conv2d by blocks of a matrix product for each cell, for lavapipe. Twin: src/ops/local_conv2d.rs.
//
// entry         one thread computes                                  reads      terms and their order
// forward_1     t1: four values of a sample; t2: four of a filter    x, w       copies
// forward_2     y of AM samples, BM outputs                          t1, t2, b  values, ascending; then b
// backward_w_1  t1: four samples of an output; t2: four of a value   dy, x      copies
// backward_w_2  dw of AM outputs, BM values                          t1, t2     samples, ascending
// backward_x_1  t1: four outputs of a value; t2: four of a sample    w, dy      copies
// backward_x_2  t3: gradients of AM values of BM samples             t1, t2     outputs, ascending
// backward_x_3  one dx                                               t3         taps, row by row
//
// A cell has p.samples samples, which are its positions in all pictures, and p.depth values of each, which its filters read: channels,
// then taps row by row. shared/rows.wgsl explains the block and its costs.

// Sides of a filter and of a cell, and cells in a row of cells: constants, because a division by one costs a tenth.
override KERNEL: u32 = 3u;
override SIDE: u32 = 2u;
override ACROSS: u32 = 4u;

// As in plain.wgsl; rows_a and rows_b: of the matrices of a cell; terms: of a product, and quads: of four; of_a: quads of all matrices A;
// blocks: of a cell.
struct P {
    threads: u32, channels: u32, height: u32, width: u32, outputs: u32, rows: u32, columns: u32,
    depth: u32, samples: u32, rows_a: u32, rows_b: u32, terms: u32, quads: u32, of_a: u32, blocks: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(9) var t1_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(10) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(11) var t2_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(12) var t3: texture_storage_2d<rgba32float, write>;
@group(0) @binding(13) var t3_read: texture_storage_2d<rgba32float, read>;

fn a_load(k: u32) -> vec4<f32> {
    return textureLoad(t1_read, texel(k));
}

fn b_load(k: u32) -> vec4<f32> {
    return textureLoad(t2_read, texel(k));
}

fn term(of_a: vec4<f32>, of_b: f32) -> vec4<f32> {
    return of_a * of_b;
}

// A quad of A or of B: its cell, its row, and its terms, of which those past the end repeat the last.
struct Quad { cell: u32, row: u32, terms: vec4<u32>, is_real: vec4<bool> }

fn quad_of(number: u32, rows: u32) -> Quad {
    let row = number / p.quads;
    let cell = row / rows;
    let terms = (number - row * p.quads) * 4u + vec4(0u, 1u, 2u, 3u);
    return Quad(cell, row - cell * rows, min(terms, vec4(p.terms - 1u)), terms < vec4(p.terms));
}

fn store_a(number: u32, q: Quad, value: vec4<f32>) {
    textureStore(t1, texel(number), select(vec4(0.0), value, q.is_real));
}

fn store_b(number: u32, q: Quad, value: vec4<f32>) {
    textureStore(t2, texel(number), select(vec4(0.0), value, q.is_real));
}

// Picture, row and column in y of a sample.
fn position_of(cell: u32, sample: u32) -> vec3<u32> {
    let n = sample / (SIDE * SIDE);
    let rest = sample - n * SIDE * SIDE;
    let down = cell / ACROSS;
    let row = rest / SIDE;
    return vec3(n, down * SIDE + row, (cell - down * ACROSS) * SIDE + rest - row * SIDE);
}

// Where a value of a sample lies in x.
fn in_x(cell: u32, sample: u32, value: u32) -> u32 {
    let at = position_of(cell, sample);
    let taps = KERNEL * KERNEL;
    let c = value / taps;
    let tap = value - c * taps;
    let ky = tap / KERNEL;
    return ((at.x * p.channels + c) * p.height + at.y + ky) * p.width + at.z + tap - ky * KERNEL;
}

// Where an output of a sample lies in y.
fn in_y(cell: u32, sample: u32, output: u32) -> u32 {
    let at = position_of(cell, sample);
    return ((at.x * p.outputs + output) * p.rows + at.y) * p.columns + at.z;
}

fn in_w(cell: u32, output: u32, value: u32) -> u32 {
    return (cell * p.outputs + output) * p.depth + value;
}

fn block_in(cell: u32, thread: u32) -> Block {
    var block = block_of(thread - cell * p.blocks);
    block.from_a = cell * p.rows_a * p.quads;
    block.from_b = cell * p.rows_b * p.quads;
    return block;
}

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    if thread < p.of_a {
        let q = quad_of(thread, p.rows_a);
        store_a(thread, q, vec4(x[in_x(q.cell, q.row, q.terms.x)], x[in_x(q.cell, q.row, q.terms.y)], x[in_x(q.cell, q.row, q.terms.z)], x[in_x(q.cell, q.row, q.terms.w)]));
    } else {
        let q = quad_of(thread - p.of_a, p.rows_b);
        store_b(thread - p.of_a, q, vec4(w[in_w(q.cell, q.row, q.terms.x)], w[in_w(q.cell, q.row, q.terms.y)], w[in_w(q.cell, q.row, q.terms.z)], w[in_w(q.cell, q.row, q.terms.w)]));
    }
}

@compute @workgroup_size(64)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let cell = thread / p.blocks;
    let block = block_in(cell, thread);
    let sum = rows(block, thread);
    // unroll
    for (var k = 0u; k < BM; k++) {
        let bias = b[cell * p.outputs + min(block.b + k, p.rows_b - 1u)];
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                y[in_y(cell, block.a + i, block.b + k)] = sum[2u * k + i / 4u][i % 4u] + bias;
            }
        }
    }
}

@compute @workgroup_size(64)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    if thread < p.of_a {
        let q = quad_of(thread, p.rows_a);
        store_a(thread, q, vec4(dy[in_y(q.cell, q.terms.x, q.row)], dy[in_y(q.cell, q.terms.y, q.row)], dy[in_y(q.cell, q.terms.z, q.row)], dy[in_y(q.cell, q.terms.w, q.row)]));
    } else {
        let q = quad_of(thread - p.of_a, p.rows_b);
        store_b(thread - p.of_a, q, vec4(x[in_x(q.cell, q.terms.x, q.row)], x[in_x(q.cell, q.terms.y, q.row)], x[in_x(q.cell, q.terms.z, q.row)], x[in_x(q.cell, q.terms.w, q.row)]));
    }
}

@compute @workgroup_size(64)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let cell = thread / p.blocks;
    let block = block_in(cell, thread);
    let sum = rows(block, thread);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var i = 0u; i < AM; i++) {
            if block.a + i < p.rows_a && block.b + k < p.rows_b {
                dw[in_w(cell, block.a + i, block.b + k)] = sum[2u * k + i / 4u][i % 4u];
            }
        }
    }
}

@compute @workgroup_size(64)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    if thread < p.of_a {
        let q = quad_of(thread, p.rows_a);
        store_a(thread, q, vec4(w[in_w(q.cell, q.terms.x, q.row)], w[in_w(q.cell, q.terms.y, q.row)], w[in_w(q.cell, q.terms.z, q.row)], w[in_w(q.cell, q.terms.w, q.row)]));
    } else {
        let q = quad_of(thread - p.of_a, p.rows_b);
        store_b(thread - p.of_a, q, vec4(dy[in_y(q.cell, q.row, q.terms.x)], dy[in_y(q.cell, q.row, q.terms.y)], dy[in_y(q.cell, q.row, q.terms.z)], dy[in_y(q.cell, q.row, q.terms.w)]));
    }
}

@compute @workgroup_size(64)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let cell = thread / p.blocks;
    let block = block_in(cell, thread);
    let sum = rows(block, thread);
    // unroll
    for (var k = 0u; k < BM; k++) {
        // unroll
        for (var h = 0u; h < 2u; h++) {
            if block.a + 4u * h < p.rows_a && block.b + k < p.rows_b {
                let quad = (cell * p.samples + block.b + k) * ((p.depth + 3u) / 4u) + block.a / 4u + h;
                textureStore(t3, texel(quad), sum[2u * k + h]);
            }
        }
    }
}

@compute @workgroup_size(64)
fn backward_x_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * 64u;
    if i >= p.threads { return; }
    let column = i % p.width;
    let row = i / p.width % p.height;
    let c = i / (p.width * p.height) % p.channels;
    let n = i / (p.width * p.height * p.channels);
    var value = c * KERNEL * KERNEL;
    var sum = 0.0;
    for (var ky = 0u; ky < KERNEL; ky++) {
        for (var kx = 0u; kx < KERNEL; kx++) {
            if row >= ky && column >= kx && row - ky < p.rows && column - kx < p.columns {
                let down = (row - ky) / SIDE;
                let across = (column - kx) / SIDE;
                let position = (row - ky - down * SIDE) * SIDE + column - kx - across * SIDE;
                let sample = (down * ACROSS + across) * p.samples + n * SIDE * SIDE + position;
                sum += textureLoad(t3_read, texel(sample * ((p.depth + 3u) / 4u) + value / 4u))[value % 4u];
            }
            value += 1u;
        }
    }
    dx[i] = sum;
}
