// clip/plain: y[1] = the norm of x, y[0] = the factor that scales it down to the limit, 0 if not finite. Twin: src/ops/clip.rs.
//
// entry      one thread computes                                  reads  terms and their order
// forward_1  a partial sum of squares over every `threads`-th x   x      at most 64, ascending
// forward_2  one of 64 sums over every 64th partial sum;          t0     `threads` / 64, ascending, then 64, ascending
//            then y, by the first thread

override WG: u32 = 64u;

struct P { len: u32, threads: u32, limit: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> t0: array<f32>;

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * WG;
    if index >= p.threads { return; }
    var sum = 0.0;
    for (var k = index; k < p.len; k += p.threads) {
        sum += x[k] * x[k];
    }
    t0[index] = sum;
}

@compute @workgroup_size(64)
fn forward_2(@builtin(local_invocation_index) lane: u32) {
    let sum = total(lane, p.threads);
    if lane == 0u {
        let norm = sqrt(sum);
        var scale = 1.0;
        if norm > p.limit {
            scale = p.limit / norm;
        }
        // Tests the bits, since a compiler may assume that no number is NaN.
        if (bitcast<u32>(sum) & 0x7F800000u) == 0x7F800000u {
            scale = 0.0;
        }
        y[0] = scale;
        y[1] = norm;
    }
}
