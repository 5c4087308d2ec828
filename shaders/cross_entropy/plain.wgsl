// cross_entropy/plain: y = scale · sum of (log of the sum of exp(x) over the classes - x at the label). Twin: src/ops/cross_entropy.rs.
//
// entry         LANES threads compute                               reads         terms and their order
// forward_1     a position's loss, t1                               x, t          classes: shared/lines.wgsl
// forward_2     (one thread) sums of 64 positions: t0, and how      t, t1         ascending
//               many of them count, t2
// forward_3     (64 threads) y, by the first                        t0, t2        sums / 64, ascending, then 64, ascending
// backward_x_1  a position's largest score and log of the sum, t1   x             as forward_1
// backward_x_2  (one thread) how many of 64 positions count, t2     t             ascending
// backward_x_3  (64 threads) how many count, t0                     t2            sums / 64, ascending, then 64, ascending
// backward_x_4  (one thread) one dx                                 x, t, dy, t0, t1
//
// A position is an element of t; its classes lie `stride` elements apart in x. It counts if its label is below `len`, the number of
// classes.

// blocks: of 64 positions. mean: 1 or 0.
struct P { positions: u32, len: u32, stride: u32, blocks: u32, mean: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> t: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> t0: array<f32>;
@group(0) @binding(7) var<storage, read_write> t1: array<f32>;
@group(0) @binding(8) var<storage, read_write> t2: array<f32>;

fn first_of(position: u32) -> u32 {
    return position / p.stride * p.len * p.stride + position % p.stride;
}

fn counts(position: u32) -> bool {
    return t[position] < p.len;
}

// How many positions of a block count; at most 64, which f32 holds exactly.
fn counted(block: u32) -> f32 {
    var count = 0.0;
    for (var k = block * 64u; k < min(block * 64u + 64u, p.positions); k++) {
        count += select(0.0, 1.0, counts(k));
    }
    return count;
}

// The factor of each position's loss: 1, or 1 / how many count, and 0 if there are none.
fn scale(count: f32) -> f32 {
    return select(1.0, select(1.0 / count, 0.0, count == 0.0), p.mean == 1u);
}

@compute @workgroup_size(WG)
fn forward_1(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let position = min(at.line, p.positions - 1u);
    let first = first_of(position);
    let all = log_sum(first, at.lane, local);
    if at.line < p.positions && at.lane == 0u {
        // The difference to the largest before the logarithm: large scores do not swallow a small loss.
        var loss = 0.0;
        if counts(position) { loss = all.top - x[first + t[position] * p.stride] + log_of(all.sum); }
        t1[position] = loss;
    }
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = g.x + g.y * groups.x * WG;
    if block >= p.blocks { return; }
    var sum = 0.0;
    for (var k = block * 64u; k < min(block * 64u + 64u, p.positions); k++) {
        sum += t1[k];
    }
    t0[block] = sum;
    t2[block] = counted(block);
}

fn sum_of_counts(local: u32) -> f32 {
    var count = 0.0;
    for (var k = local; k < p.blocks; k += 64u) {
        count += t2[k];
    }
    return sum_of(local, count);
}

@compute @workgroup_size(WG)
fn forward_3(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var k = local; k < p.blocks; k += 64u) {
        sum += t0[k];
    }
    sum = sum_of(local, sum);
    let count = sum_of_counts(local);
    if local == 0u { y[0] = sum * scale(count); }
}

@compute @workgroup_size(WG)
fn backward_x_1(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let position = min(at.line, p.positions - 1u);
    let all = log_sum(first_of(position), at.lane, local);
    if at.line < p.positions && at.lane == 0u {
        t1[2u * position] = all.top;
        t1[2u * position + 1u] = log_of(all.sum);
    }
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = g.x + g.y * groups.x * WG;
    if block >= p.blocks { return; }
    t2[block] = counted(block);
}

@compute @workgroup_size(WG)
fn backward_x_3(@builtin(local_invocation_index) local: u32) {
    let count = sum_of_counts(local);
    if local == 0u { t0[0] = count; }
}

@compute @workgroup_size(WG)
fn backward_x_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.positions * p.len { return; }
    let position = i / (p.len * p.stride) * p.stride + i % p.stride;
    var d = 0.0;
    if counts(position) {
        let truth = select(0.0, 1.0, i / p.stride % p.len == t[position]);
        let probability = exp_of(x[i] - t1[2u * position] - t1[2u * position + 1u]);
        d = scale(t0[0]) * dy[0] * (probability - truth);
    }
    dx[i] = d;
}
