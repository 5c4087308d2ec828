// prelu/quads: prelu on channel quads. Twin: src/ops/prelu.rs.
//
// entry       one thread computes                                      reads     terms and their order
// forward     the y of a quad's map at t, t + lanes, t + 2 · lanes, …  x, a
// backward_1  the dx there, and its share of da into t0                x, a, dy  EACH, ascending
// backward_2  four da                                                  t0        pictures, then threads, ascending
// At x = 0 dx is a[c] · dy, as in PyTorch.

override WG: u32 = 64u;
// Texels per thread.
const EACH: u32 = 2u;

// A map has `plane` texels and is served by `lanes` threads; neighbouring threads take neighbouring texels.
struct P { n: u32, channels: u32, quads: u32, plane: u32, lanes: u32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(5) var dx: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var<storage, read_write> da: array<f32>;
@group(0) @binding(7) var t0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(8) var t0_read: texture_storage_2d<rgba32float, read>;

// The slopes of a quad; 0 past the last channel.
fn slopes(quad: u32) -> vec4<f32> {
    let c = quad * 4u + vec4(0u, 1u, 2u, 3u);
    let at = min(c, vec4(p.channels - 1u));
    return select(vec4(0.0), vec4(a[at.x], a[at.y], a[at.z], a[at.w]), c < vec4(p.channels));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.threads { return; }
    let map = index / p.lanes;
    let first = index - map * p.lanes;
    let slope = slopes(map % p.quads);
    // unroll
    for (var e = 0u; e < EACH; e++) {
        let k = first + e * p.lanes;
        if k < p.plane {
            let at = texel(map * p.plane + k);
            let value = textureLoad(x, at);
            textureStore(y, at, select(slope * value, value, value > vec4(0.0)));
        }
    }
}

@compute @workgroup_size(WG)
fn backward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.threads { return; }
    let map = index / p.lanes;
    let first = index - map * p.lanes;
    let slope = slopes(map % p.quads);
    var sum = vec4(0.0);
    // unroll
    for (var e = 0u; e < EACH; e++) {
        let k = first + e * p.lanes;
        if k < p.plane {
            let at = texel(map * p.plane + k);
            let value = textureLoad(x, at);
            let d = textureLoad(dy, at);
            textureStore(dx, at, select(slope * d, d, value > vec4(0.0)));
            sum += min(value, vec4(0.0)) * d;
        }
    }
    textureStore(t0, texel(index), sum);
}

@compute @workgroup_size(WG)
fn backward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let quad = g.x + g.y * groups.x * WG;
    if quad >= p.quads { return; }
    let pictures = bound(p.n, quad);
    let lanes = bound(p.lanes, quad);
    var sum = vec4(0.0);
    for (var n = 0u; n < pictures; n++) {
        for (var k = 0u; k < lanes; k++) {
            sum += textureLoad(t0_read, texel((n * p.quads + quad) * p.lanes + k));
        }
    }
    let c = quad * 4u;
    da[c] = sum.x;
    if c + 1u < p.channels { da[c + 1u] = sum.y; }
    if c + 2u < p.channels { da[c + 2u] = sum.z; }
    if c + 3u < p.channels { da[c + 3u] = sum.w; }
}
