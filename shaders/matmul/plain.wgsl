// matmul/plain: y = a · b for matrices in the last two dimensions, with the others broadcast. Twin: src/ops/matmul.rs.
//
// entry       one thread computes  reads   terms and their order
// forward     one y                a, b    depth, ascending, in parts of 64
// backward_a  one da               b, dy   the y matrices that it takes part in, then columns, ascending, in parts of 64
// backward_b  one db               a, dy   the same, then rows

override WG: u32 = 64u;
// Terms that are added to each other before their sum is: fewer roundings than in one long sum.
const PART = 64u;

// y is rows × columns, a has `depth` columns and b as many rows, a_row: distance in a between rows, and so on. uses: y matrices per
// matrix of a or b in its gradient. shared/broadcast.wgsl and shared/terms.wgsl say what is_same to r5 are, of matrices.
struct P {
    threads: u32, rows: u32, columns: u32, depth: u32, a_row: u32, a_column: u32, b_row: u32, b_column: u32, uses: u32, is_same: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
    k1: u32, k2: u32, k3: u32, k4: u32, k5: u32,
    r1: u32, r2: u32, r3: u32, r4: u32, r5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let at = place(i / (p.rows * p.columns));
    var from_a = at.x * p.rows * p.depth + i / p.columns % p.rows * p.a_row;
    var from_b = at.y * p.columns * p.depth + i % p.columns * p.b_column;
    var sum = 0.0;
    var part = 0.0;
    for (var k = 0u; k < p.depth; k++) {
        if k % PART == 0u {
            sum += part;
            part = 0.0;
        }
        part += a[from_a] * b[from_b];
        from_a += p.a_column;
        from_b += p.b_row;
    }
    y[i] = sum + part;
}

@compute @workgroup_size(WG)
fn backward_a(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let rest = i % (p.rows * p.depth);
    // One of the distances is 1; division by the other, or by 1, gives rows and columns all the same.
    let row = rest / p.a_row % p.rows;
    let k = rest / p.a_column % p.depth;
    var sum = 0.0;
    var part = 0.0;
    var count = 0u;
    for (var t = 0u; t < p.uses; t++) {
        let matrix = term_of(i / (p.rows * p.depth), t);
        let from_dy = (matrix * p.rows + row) * p.columns;
        let from_b = place(matrix).y * p.columns * p.depth + k * p.b_row;
        for (var c = 0u; c < p.columns; c++) {
            part += dy[from_dy + c] * b[from_b + c * p.b_column];
            count += 1u;
            if count % PART == 0u {
                sum += part;
                part = 0.0;
            }
        }
    }
    da[i] = sum + part;
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let rest = i % (p.columns * p.depth);
    let k = rest / p.b_row % p.depth;
    let column = rest / p.b_column % p.columns;
    var sum = 0.0;
    var part = 0.0;
    var count = 0u;
    for (var t = 0u; t < p.uses; t++) {
        let matrix = term_of(i / (p.columns * p.depth), t);
        let from_dy = matrix * p.rows * p.columns + column;
        let from_a = place(matrix).x * p.rows * p.depth + k * p.a_column;
        for (var r = 0u; r < p.rows; r++) {
            part += dy[from_dy + r * p.columns] * a[from_a + r * p.a_row];
            count += 1u;
            if count % PART == 0u {
                sum += part;
                part = 0.0;
            }
        }
    }
    db[i] = sum + part;
}
