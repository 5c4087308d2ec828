// concat/plain: the channels of a, then those of b. Twin: src/ops/concat.rs.
//
// entry       one thread computes  reads
// forward     one y                a or b
// backward_a  one da               dy
// backward_b  one db               dy
// Within one picture, the channels of a are the first image_a elements of y, those of b the remaining image_b.

override WG: u32 = 64u;

// threads: of this entry. image_a, image_b: elements of one picture, C·H·W.
struct P { threads: u32, image_a: u32, image_b: u32 }
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
    let n = i / (p.image_a + p.image_b);
    let within = i - n * (p.image_a + p.image_b);
    if within < p.image_a {
        y[i] = a[n * p.image_a + within];
    } else {
        y[i] = b[n * p.image_b + within - p.image_a];
    }
}

@compute @workgroup_size(WG)
fn backward_a(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    // Skips the channels of b in every earlier picture.
    da[i] = dy[i + i / p.image_a * p.image_b];
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    // Skips the channels of a in this picture and every earlier one.
    db[i] = dy[i + (i / p.image_b + 1u) * p.image_a];
}
