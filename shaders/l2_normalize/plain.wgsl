// l2_normalize/plain: y[n,c,h,w] = x[n,c,h,w] / √(ε² + Σ_{c,w} x²). Twin: src/ops/l2_normalize.rs.
//
// entry       one workgroup computes       reads  summed terms, in order
// forward     one vector (n, h) of y       x      element = lane, lane + 64, …; then the 64 lanes
// backward_x  one vector (n, h) of dx      x, dy  the same; dx = dy / s − x·(Σ dy·x) / s³ with s = √(ε² + Σ x²)
// Element e of a vector lies at channel e / W, column e % W.

const WG = 64u;

// channels, height, width: C, H, W. vectors: N·H. len: C·W. square: ε².
struct P { channels: u32, height: u32, width: u32, vectors: u32, len: u32, square: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

// A lane's sums: of x², and of dy·x.
var<workgroup> partial: array<vec2<f32>, WG>;

fn offset(vector: u32, e: u32) -> u32 {
    let n = vector / p.height;
    let c = e / p.width;
    return ((n * p.channels + c) * p.height + vector - n * p.height) * p.width + e - c * p.width;
}

fn total() -> vec2<f32> {
    var sum = vec2<f32>();
    for (var l = 0u; l < WG; l++) {
        sum += partial[l];
    }
    return sum;
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let vector = group.x + group.y * groups.x;
    if vector >= p.vectors { return; }
    var sum = 0.0;
    for (var e = lane; e < p.len; e += WG) {
        let v = x[offset(vector, e)];
        sum += v * v;
    }
    partial[lane] = vec2(sum, 0.0);
    workgroupBarrier();
    let length = sqrt(p.square + total().x);
    for (var e = lane; e < p.len; e += WG) {
        let at = offset(vector, e);
        y[at] = x[at] / length;
    }
}

@compute @workgroup_size(WG)
fn backward_x(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let vector = group.x + group.y * groups.x;
    if vector >= p.vectors { return; }
    var sum = vec2<f32>();
    for (var e = lane; e < p.len; e += WG) {
        let at = offset(vector, e);
        sum += x[at] * vec2(x[at], dy[at]);
    }
    partial[lane] = sum;
    workgroupBarrier();
    let sums = total();
    let square = p.square + sums.x;
    let length = sqrt(square);
    let along = sums.y / square;
    for (var e = lane; e < p.len; e += WG) {
        let at = offset(vector, e);
        dx[at] = (dy[at] - x[at] * along) / length;
    }
}
