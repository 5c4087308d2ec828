// concat/plain: the elements of a along an axis, then those of b. Twin: src/ops/concat.rs.
//
// entry       one thread computes  reads
// forward     one y                a or b
// backward_a  one da               dy
// backward_b  one db               dy
// y has run_a elements of a in a row, then run_b of b, and so on.

override WG: u32 = 64u;

// threads: of this entry.
struct P { threads: u32, run_a: u32, run_b: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let n = quotient(i, p.run_a + p.run_b);
    let within = i - n * (p.run_a + p.run_b);
    if within < p.run_a {
        y[i] = a[n * p.run_a + within];
    } else {
        y[i] = b[n * p.run_b + within - p.run_a];
    }
}

@compute @workgroup_size(WG)
fn backward_a(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    // Skips the earlier runs of b.
    da[i] = dy[i + i / p.run_a * p.run_b];
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    // Skips the earlier runs of a, which are one more.
    db[i] = dy[i + (i / p.run_b + 1u) * p.run_a];
}
