// cumulative_sum/plain: sums of the elements up to each position along an axis. Twin: src/ops/cumulative_sum.rs.
//
// entry         one thread computes                         reads   terms and their order
// forward_1     t0: the sum of a block of 64 elements       x       from the line's begin
// forward_2     t1: for each block of a line, the sum of    t0      from the line's begin
//               the blocks before it
// forward_3     y of a block                                x, t1   from the line's begin
// backward_x_1, backward_x_2, backward_x_3: the same for dy and dx, from the other end

override WG: u32 = 64u;
const BLOCK = 64u;

// A line has `len` elements, `stride` apart, and `blocks` blocks. reverse: begins at the last element. exclusive: leaves out the
// position itself. Both are 0 or 1.
struct P { threads: u32, len: u32, stride: u32, blocks: u32, reverse: u32, exclusive: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> t0: array<f32>;
@group(0) @binding(6) var<storage, read_write> t1: array<f32>;

// Element `step` of a line, from its begin.
fn element(line: u32, step: u32) -> u32 {
    let position = select(step, p.len - 1u - step, p.reverse == 1u);
    return (line / p.stride * p.len + position) * p.stride + line % p.stride;
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let first = thread % p.blocks * BLOCK;
    var sum = 0.0;
    for (var k = first; k < min(first + BLOCK, p.len); k++) {
        sum += x[element(thread / p.blocks, k)];
    }
    t0[thread] = sum;
}

// Writes the sums before each block of a line.
fn before(line: u32) {
    var sum = 0.0;
    for (var k = line * p.blocks; k < line * p.blocks + p.blocks; k++) {
        t1[k] = sum;
        sum += t0[k];
    }
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = g.x + g.y * groups.x * WG;
    if line >= p.threads { return; }
    before(line);
}

@compute @workgroup_size(WG)
fn forward_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let first = thread % p.blocks * BLOCK;
    var sum = 0.0;
    for (var k = first; k < min(first + BLOCK, p.len); k++) {
        let i = element(thread / p.blocks, k);
        let next = sum + x[i];
        y[i] = t1[thread] + select(next, sum, p.exclusive == 1u);
        sum = next;
    }
}

@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let first = thread % p.blocks * BLOCK;
    var sum = 0.0;
    for (var k = first; k < min(first + BLOCK, p.len); k++) {
        sum += dy[element(thread / p.blocks, k)];
    }
    t0[thread] = sum;
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = g.x + g.y * groups.x * WG;
    if line >= p.threads { return; }
    before(line);
}

@compute @workgroup_size(WG)
fn backward_x_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let first = thread % p.blocks * BLOCK;
    var sum = 0.0;
    for (var k = first; k < min(first + BLOCK, p.len); k++) {
        let i = element(thread / p.blocks, k);
        let next = sum + dy[i];
        dx[i] = t1[thread] + select(next, sum, p.exclusive == 1u);
        sum = next;
    }
}
