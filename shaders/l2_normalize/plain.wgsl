// l2_normalize/plain: y[n,c,h,w] = x[n,c,h,w] / √(ε² + Σ_{c,w} x²). Twin: src/ops/l2_normalize.rs.
//
// entry       LANES threads compute        reads  summed terms, in order
// forward     one vector (n, h) of y       x      element = lane, lane + LANES, …; then the lanes
// backward_x  one vector (n, h) of dx      x, dy  the same; dx = dy / s − x·(Σ dy·x) / s³ with s = √(ε² + Σ x²)
// Element e of a vector lies at channel e / W, column e % W. shared/lines.wgsl explains the lanes; a vector is a line.

// channels, height, width: C, H, W. vectors: N·H. len: C·W. square: ε².
struct P { channels: u32, height: u32, width: u32, vectors: u32, len: u32, square: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

fn offset(vector: u32, e: u32) -> u32 {
    let n = vector / p.height;
    let c = e / p.width;
    return ((n * p.channels + c) * p.height + vector - n * p.height) * p.width + e - c * p.width;
}

// Where the elements of a lane end: nowhere, if its line is past the last.
fn end_of(line: u32) -> u32 {
    return select(0u, p.len, line < p.vectors);
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let end = end_of(at.line);
    var sum = 0.0;
    for (var e = at.lane; e < end; e += LANES) {
        let v = x[offset(at.line, e)];
        sum += v * v;
    }
    let length = sqrt(p.square + sum_of(local, sum));
    for (var e = at.lane; e < end; e += LANES) {
        let i = offset(at.line, e);
        y[i] = x[i] / length;
    }
}

@compute @workgroup_size(WG)
fn backward_x(
    @builtin(global_invocation_id) g: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = lane_of(g, groups);
    let end = end_of(at.line);
    var sum = vec2<f32>();
    for (var e = at.lane; e < end; e += LANES) {
        let i = offset(at.line, e);
        sum += x[i] * vec2(x[i], dy[i]);
    }
    let square = p.square + sum_of(local, sum.x);
    let length = sqrt(square);
    let along = sum_of(local, sum.y) / square;
    for (var e = at.lane; e < end; e += LANES) {
        let i = offset(at.line, e);
        dx[i] = (dy[i] - x[i] * along) / length;
    }
}
