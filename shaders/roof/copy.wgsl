// roof/copy: y = x, as fast as a shader moves memory. Twin: src/lab/roof.rs.
//
// entry    one thread computes  reads  note
// forward  four y               x      `threads` apart, so that neighbours access neighbouring words and four loads are in flight

override WG: u32 = 64u;

struct P { len: u32, threads: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i0 = g.x + g.y * groups.x * WG;
    if i0 >= p.threads { return; }
    let i1 = i0 + p.threads;
    let i2 = i1 + p.threads;
    let i3 = i2 + p.threads;
    if i3 < p.len {
        let a = x[i0];
        let b = x[i1];
        let c = x[i2];
        let d = x[i3];
        y[i0] = a;
        y[i1] = b;
        y[i2] = c;
        y[i3] = d;
        return;
    }
    y[i0] = x[i0];
    if i1 < p.len { y[i1] = x[i1]; }
    if i2 < p.len { y[i2] = x[i2]; }
}
