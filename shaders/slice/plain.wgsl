// slice/plain: channels start … start + len - 1 of x. Twin: src/ops/slice.rs.
//
// entry     one thread computes  reads
// forward   one y                x
// backward  one dx               dy      0 outside the slice
// Within one picture, the slice consists of the elements skip … skip + taken - 1.

override WG: u32 = 64u;

// threads: of this entry. image: elements of one picture of x. skip: elements before the slice. taken: elements in it.
struct P { threads: u32, image: u32, skip: u32, taken: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    y[i] = x[i + i / p.taken * (p.image - p.taken) + p.skip];
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let n = i / p.image;
    // Before the slice this wraps below zero to a huge number, so one comparison covers both ends.
    let within = i - n * p.image - p.skip;
    var d = 0.0;
    if within < p.taken {
        d = dy[n * p.taken + within];
    }
    dx[i] = d;
}
