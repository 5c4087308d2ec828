// top_k/plain: the k largest or smallest elements of each line along an axis, and their positions. Twin: src/ops/top_k.rs.
//
// entry       one thread computes                   reads        steps and their order
// forward     the y and indices of one line         x            k passes over the line, ascending
// backward_x  one dx                                indices, dy  the line's k outputs, ascending
// shared/rank.wgsl says which element comes first.

override WG: u32 = 64u;

// A line has `len` elements, `stride` apart; `smallest` is 0 or 1.
struct P { threads: u32, len: u32, stride: u32, k: u32, smallest: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = g.x + g.y * groups.x * WG;
    if line >= p.threads { return; }
    let from_x = line / p.stride * p.len * p.stride + line % p.stride;
    let to = line / p.stride * p.k * p.stride + line % p.stride;
    // The element that was taken last.
    var last_rank = 0u;
    var last = 0u;
    for (var j = 0u; j < p.k; j++) {
        var best_rank = 0u;
        var best = p.len;
        for (var i = 0u; i < p.len; i++) {
            let own = rank(x[from_x + i * p.stride]);
            let is_left = j == 0u || own < last_rank || (own == last_rank && i > last);
            if is_left && (best == p.len || own > best_rank) {
                best_rank = own;
                best = i;
            }
        }
        y[to + j * p.stride] = x[from_x + best * p.stride];
        indices[to + j * p.stride] = best;
        last_rank = best_rank;
        last = best;
    }
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.threads { return; }
    let position = index / p.stride % p.len;
    let first = index / (p.len * p.stride) * p.k * p.stride + index % p.stride;
    var d = 0.0;
    for (var j = 0u; j < p.k; j++) {
        if indices[first + j * p.stride] == position {
            d = dy[first + j * p.stride];
        }
    }
    dx[index] = d;
}
