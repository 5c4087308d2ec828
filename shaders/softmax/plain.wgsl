// softmax/plain: y = exp(x) / sum of exp(x) along an axis, or its logarithm. Twin: src/ops/softmax.rs.
//
// entry       LANES threads compute  reads  terms and their order
// forward     a line of y            x      shared/lines.wgsl
// backward_x  a line of dx           y, dy  the same

// The logarithm if it is 1.
override LOG: u32 = 0u;

// A line has `len` elements, `stride` apart.
struct P { lines: u32, len: u32, stride: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

fn first_of(line: u32) -> u32 {
    return line / p.stride * p.len * p.stride + line % p.stride;
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let first = first_of(min(at.line, p.lines - 1u));
    let all = log_sum(first, at.lane, local);
    if at.line >= p.lines { return; }
    let log_of_sum = log_of(all.sum);
    for (var k = at.lane; k < p.len; k += LANES) {
        let d = x[first + k * p.stride] - all.top;
        y[first + k * p.stride] = select(exp_of(d) / all.sum, d - log_of_sum, LOG == 1u);
    }
}

@compute @workgroup_size(WG)
fn backward_x(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let first = first_of(min(at.line, p.lines - 1u));
    // Of dy · y, or for the logarithm of dy.
    var sum = 0.0;
    var part = 0.0;
    var count = 0u;
    for (var k = at.lane; k < p.len; k += LANES) {
        let i = first + k * p.stride;
        part += dy[i] * select(y[i], 1.0, LOG == 1u);
        count += 1u;
        if count % PART == 0u {
            sum += part;
            part = 0.0;
        }
    }
    sum = sum_of(local, sum + part);
    if at.line >= p.lines { return; }
    for (var k = at.lane; k < p.len; k += LANES) {
        let i = first + k * p.stride;
        dx[i] = select(y[i] * (dy[i] - sum), dy[i] - exp_of(y[i]) * sum, LOG == 1u);
    }
}
