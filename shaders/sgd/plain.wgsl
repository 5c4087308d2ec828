// sgd/plain: one step of gradient descent with momentum on w, with its velocity m, in place. Twin: src/ops/sgd.rs.
//
// entry    one thread computes               reads              note
// forward  one element of w and m, in place  w, dw, m, h, k, s  h: lr, momentum, weight decay, 5 unused
//
// k holds the factors of lr, then those of the decay, one per 64 elements; s multiplies dw, and if it is 0, nothing is done. All but h, k
// and s are in units of T, as in shared/one.wgsl.

override WG: u32 = 64u;

struct P { len: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> w: array<T>;
@group(0) @binding(2) var<storage, read> dw: array<T>;
@group(0) @binding(3) var<storage, read_write> m: array<T>;
@group(0) @binding(4) var<storage, read> h: array<f32>;
@group(0) @binding(5) var<storage, read> k: array<f32>;
@group(0) @binding(6) var<storage, read> s: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // Read before the branch, where lavapipe reads one value for all lanes.
    let lr = h[0];
    let momentum = h[1];
    let decay = h[2];
    let scale = s[0];
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len || scale == 0.0 { return; }
    let block = i * WIDTH / 64u;
    let old = w[i];
    let velocity = momentum * m[i] + (dw[i] * scale + decay * k[p.blocks + block] * old);
    m[i] = velocity;
    w[i] = old - lr * k[block] * velocity;
}
