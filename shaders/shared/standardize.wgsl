// standardize: shared by the shaders that subtract the mean of a line of elements, divide by their standard deviation, scale and
// shift: y = (x - mean) · rstd · w + b. The including shader defines `note(line, mean, variance)`, which one thread of each line calls.
//
// entry       LANES threads compute           reads                     terms and their order
// forward     a line of y, its mean and rstd  x, w, b                   shared/lines.wgsl
// backward_x  a line of dx                    x, w, mean, rstd, dy      the same
//
// Element t of line l is (t / run · lines + l) · run + t % run, where a line has `len` elements.

struct P {
    threads: u32, lines: u32, len: u32, run: u32, inner: u32, params: u32, terms: u32, parts: u32, eps: f32, momentum: f32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(7) var<storage, read> dy: array<f32>;
@group(0) @binding(8) var<storage, read_write> dx: array<f32>;
@group(0) @binding(9) var<storage, read_write> dw: array<f32>;
@group(0) @binding(10) var<storage, read_write> db: array<f32>;
@group(0) @binding(11) var<storage, read_write> t0: array<f32>;

fn element(line: u32, t: u32) -> u32 {
    return (t / p.run * p.lines + line) * p.run + t % p.run;
}

fn standard(i: u32) -> f32 {
    let line = i / p.run % p.lines;
    return (x[i] - mean[line]) * rstd[line];
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let line = min(at.line, p.lines - 1u);
    var sum = 0.0;
    var part = 0.0;
    var count = 0u;
    for (var t = at.lane; t < p.len; t += LANES) {
        part += x[element(line, t)];
        count += 1u;
        if count % PART == 0u {
            sum += part;
            part = 0.0;
        }
    }
    let middle = sum_of(local, sum + part) / f32(p.len);
    sum = 0.0;
    part = 0.0;
    for (var t = at.lane; t < p.len; t += LANES) {
        let d = x[element(line, t)] - middle;
        part += d * d;
        count += 1u;
        if count % PART == 0u {
            sum += part;
            part = 0.0;
        }
    }
    let variance = sum_of(local, sum + part) / f32(p.len);
    if at.line >= p.lines { return; }
    let factor = inverseSqrt(variance + p.eps);
    if at.lane == 0u {
        mean[line] = middle;
        rstd[line] = factor;
        note(line, middle, variance);
    }
    for (var t = at.lane; t < p.len; t += LANES) {
        let i = element(line, t);
        y[i] = (x[i] - middle) * factor * w[parameter(i)] + b[parameter(i)];
    }
}

@compute @workgroup_size(WG)
fn backward_x(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let line = min(at.line, p.lines - 1u);
    // Of dy · w, and of its product with the standardised x.
    var sum = vec2<f32>();
    var part = vec2<f32>();
    var count = 0u;
    for (var t = at.lane; t < p.len; t += LANES) {
        let i = element(line, t);
        part += dy[i] * w[parameter(i)] * vec2(1.0, standard(i));
        count += 1u;
        if count % PART == 0u {
            sum += part;
            part = vec2<f32>();
        }
    }
    let plain = sum_of(local, sum.x + part.x) / f32(p.len);
    let along = sum_of(local, sum.y + part.y) / f32(p.len);
    if at.line >= p.lines { return; }
    for (var t = at.lane; t < p.len; t += LANES) {
        let i = element(line, t);
        dx[i] = rstd[line] * (dy[i] * w[parameter(i)] - plain - standard(i) * along);
    }
}
