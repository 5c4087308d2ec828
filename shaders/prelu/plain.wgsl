// prelu/plain: y = x where x > 0, else a[c] · x. Twin: src/ops/prelu.rs.
//
// entry       one thread computes                                      reads     terms and their order
// forward     the y of a map at t, t + lanes, t + 2 · lanes, ...       x, a
// backward_1  the dx there, and its share of da into t0                x, a, dy  plane / lanes, ascending
// backward_2  one da                                                   t0        pictures, then threads, ascending
// Elements of a map are in units of T, as in shared/one.wgsl. At x = 0 dx is a[c] · dy, as in PyTorch.

override WG: u32 = 64u;

// A map has `plane` elements and is served by `lanes` threads; neighbouring threads take neighbouring elements.
struct P { n: u32, channels: u32, plane: u32, lanes: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<storage, read> dy: array<T>;
@group(0) @binding(5) var<storage, read_write> dx: array<T>;
@group(0) @binding(6) var<storage, read_write> da: array<f32>;
@group(0) @binding(7) var<storage, read_write> t0: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    let map = index / p.lanes;
    if map >= p.n * p.channels { return; }
    let slope = a[map % p.channels];
    let end = (map + 1u) * p.plane;
    for (var k = map * p.plane + index - map * p.lanes; k < end; k += p.lanes) {
        let value = x[k];
        y[k] = select(slope * value, value, value > T(0.0));
    }
}

@compute @workgroup_size(WG)
fn backward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    let map = index / p.lanes;
    if map >= p.n * p.channels { return; }
    let slope = a[map % p.channels];
    let end = (map + 1u) * p.plane;
    var sum = T(0.0);
    for (var k = map * p.plane + index - map * p.lanes; k < end; k += p.lanes) {
        let value = x[k];
        let d = dy[k];
        dx[k] = select(slope * d, d, value > T(0.0));
        sum += min(value, T(0.0)) * d;
    }
    t0[index] = sum_of(sum);
}

@compute @workgroup_size(WG)
fn backward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let c = g.x + g.y * groups.x * WG;
    if c >= p.channels { return; }
    var sum = 0.0;
    for (var n = 0u; n < p.n; n++) {
        for (var k = 0u; k < p.lanes; k++) {
            sum += t0[(n * p.channels + c) * p.lanes + k];
        }
    }
    da[c] = sum;
}
