// softmax_cross_entropy/plain: y = scale · sum of t · (log of the sum of exp(x) over the channels - x). Twin: src/ops/softmax_cross_entropy.rs.
//
// entry         one thread computes                              reads     terms and their order
// forward_1     a position's loss                                x, t      channels, ascending
// forward_2     one of 64 sums over every 64th position;         t0        positions / 64, ascending, then 64, ascending
//               then y, by the first thread
// backward_x_1  a position's log of the sum and sum of targets   x, t      channels, ascending
// backward_x_2  one dx                                           x, t, dy
//
// A position is an n, a row and a column; its channels lie `plane` elements apart.

override WG: u32 = 64u;

struct P { positions: u32, channels: u32, plane: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> t: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> t0: array<f32>;

fn first_of(position: u32) -> u32 {
    return position / p.plane * p.channels * p.plane + position % p.plane;
}

fn log_sum(first: u32) -> f32 {
    var top = x[first];
    for (var k = 1u; k < p.channels; k++) {
        top = max(top, x[first + k * p.plane]);
    }
    var sum = 0.0;
    for (var k = 0u; k < p.channels; k++) {
        sum += exp_of(x[first + k * p.plane] - top);
    }
    return top + log_of(sum);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let position = g.x + g.y * groups.x * WG;
    if position >= p.positions { return; }
    let first = first_of(position);
    let all = log_sum(first);
    var loss = 0.0;
    for (var k = 0u; k < p.channels; k++) {
        let i = first + k * p.plane;
        loss += t[i] * (all - x[i]);
    }
    t0[position] = loss;
}

@compute @workgroup_size(64)
fn forward_2(@builtin(local_invocation_index) lane: u32) {
    let sum = total(lane, p.positions);
    if lane == 0u { y[0] = sum * p.scale; }
}

@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let position = g.x + g.y * groups.x * WG;
    if position >= p.positions { return; }
    let first = first_of(position);
    var weight = 0.0;
    for (var k = 0u; k < p.channels; k++) {
        weight += t[first + k * p.plane];
    }
    t0[2u * position] = log_sum(first);
    t0[2u * position + 1u] = weight;
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.positions * p.channels { return; }
    let position = i / (p.channels * p.plane) * p.plane + i % p.plane;
    let probability = exp_of(x[i] - t0[2u * position]);
    dx[i] = p.scale * dy[0] * (t0[2u * position + 1u] * probability - t[i]);
}
