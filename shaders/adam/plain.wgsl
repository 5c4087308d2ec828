// adam/plain: one step of Adam or AdamW on w, with its moments m and v, in place. Twin: src/ops/adam.rs.
//
// entry    one thread computes                  reads           note
// forward  one element of w, m and v, in place  w, dw, m, v, h  h: lr, beta1, beta2, eps, weight decay, 1 / (1 - beta1^t),
//                                               k, s            1 / (1 - beta2^t), unused
//
// k holds the factors of lr, then those of the decay, one per 64 elements; s multiplies dw, and if it is 0, nothing is done. All but h, k
// and s are in units of T, as in shared/one.wgsl.

override WG: u32 = 64u;

struct P { len: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> w: array<T>;
@group(0) @binding(2) var<storage, read> dw: array<T>;
@group(0) @binding(3) var<storage, read_write> m: array<T>;
@group(0) @binding(4) var<storage, read_write> v: array<T>;
@group(0) @binding(5) var<storage, read> h: array<f32>;
@group(0) @binding(6) var<storage, read> k: array<f32>;
@group(0) @binding(7) var<storage, read> s: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // Read before the branch, where lavapipe reads one value for all lanes.
    let lr = h[0];
    let beta1 = h[1];
    let beta2 = h[2];
    let eps = h[3];
    let decay = h[4];
    let correction1 = h[5];
    let correction2 = h[6];
    let scale = s[0];
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len || scale == 0.0 { return; }
    let block = i * WIDTH / 64u;
    let d = dw[i] * scale;
    let mean = beta1 * m[i] + (1.0 - beta1) * d;
    let square = beta2 * v[i] + (1.0 - beta2) * d * d;
    m[i] = mean;
    v[i] = square;
    let old = w[i];
    let direction = mean * correction1 / (sqrt(square * correction2) + eps);
    w[i] = old - lr * k[block] * (decay * k[p.blocks + block] * old + direction);
}
