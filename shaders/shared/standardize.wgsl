// standardize: shared by the shaders that subtract the mean of a line of elements, divide by their standard deviation, scale and
// shift: y = (x - mean) · rstd · w + b. The including shader defines `note(line, mean, variance)`, which one thread of each line calls,
// and `line_of(i, index)`, the line of element i with the parameter `index`.
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

fn standard(i: u32, index: u32) -> f32 {
    let line = line_of(i, index);
    return (x[i] - mean[line]) * rstd[line];
}

// Where a lane is: term t of its line, which is element i. It has the parameter k, and `run` and `inner` are its places in its run and
// among the elements that share the parameter.
struct Place { t: u32, i: u32, run: u32, k: u32, inner: u32 }

fn place(line: u32, t: u32) -> Place {
    let i = element(line, t);
    return Place(t, i, t % p.run, parameter(i), i % p.inner);
}

// LANES terms, as runs and what is left of one, and as parameters and what is left of one.
struct Step { runs: u32, run: u32, ks: u32, inner: u32 }

fn step() -> Step {
    // In a line of several runs, all have the parameter of the line.
    let ks = select(0u, LANES / p.inner, p.run == p.len);
    return Step(LANES / p.run, LANES % p.run, ks, select(0u, LANES % p.inner, p.run == p.len));
}

// Moves LANES terms on, without a division.
fn advance(at: ptr<function, Place>, by: Step) {
    (*at).t += LANES;
    (*at).i += (by.runs * p.lines) * p.run + by.run;
    (*at).run += by.run;
    if (*at).run >= p.run {
        (*at).run -= p.run;
        (*at).i += (p.lines - 1u) * p.run;
    }
    (*at).k += by.ks;
    (*at).inner += by.inner;
    if (*at).inner >= p.inner {
        (*at).inner -= p.inner;
        (*at).k += 1u;
    }
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let line = min(at.line, p.lines - 1u);
    let by = step();
    let first = place(line, at.lane);
    var sum = 0.0;
    var part = 0.0;
    var count = 0u;
    for (var q = first; q.t < p.len; advance(&q, by)) {
        part += x[q.i];
        count += 1u;
        if count % PART == 0u {
            sum += part;
            part = 0.0;
        }
    }
    let middle = sum_of(local, sum + part) / f32(p.len);
    sum = 0.0;
    part = 0.0;
    for (var q = first; q.t < p.len; advance(&q, by)) {
        let d = x[q.i] - middle;
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
    for (var q = first; q.t < p.len; advance(&q, by)) {
        y[q.i] = (x[q.i] - middle) * factor * w[q.k] + b[q.k];
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
    let by = step();
    let first = place(line, at.lane);
    let middle = mean[line];
    let factor = rstd[line];
    // Of dy · w, and of its product with the standardised x.
    var sum = vec2<f32>();
    var part = vec2<f32>();
    var count = 0u;
    for (var q = first; q.t < p.len; advance(&q, by)) {
        part += dy[q.i] * w[q.k] * vec2(1.0, (x[q.i] - middle) * factor);
        count += 1u;
        if count % PART == 0u {
            sum += part;
            part = vec2<f32>();
        }
    }
    let plain = sum_of(local, sum.x + part.x) / f32(p.len);
    let along = sum_of(local, sum.y + part.y) / f32(p.len);
    if at.line >= p.lines { return; }
    for (var q = first; q.t < p.len; advance(&q, by)) {
        dx[q.i] = factor * (dy[q.i] * w[q.k] - plain - (x[q.i] - middle) * factor * along);
    }
}
