// scatter_add/plain: y = x, with u added to the rows that indices choose. Twin: src/ops/scatter_add.rs.
//
// entry       one thread computes      reads                  terms and their order
// forward_1   t0: the place of one     indices
//             index in its chunk
// forward_2   t1: its place in all     indices, t0
// forward_3   t2: where a row's run    indices, t1
//             begins
// forward_4   one y                    x, indices, t1, t2, u  x, and the row's run, in parts of 64
// backward_x  one dx                   dy
// backward_u  one du                   indices, dy
// shared/runs.wgsl has the first four.

// Of shared/runs.wgsl.
struct P { threads: u32, rows: u32, inner: u32, count: u32, lines: u32, stride: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> u: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> du: array<f32>;
@group(0) @binding(8) var<storage, read_write> t0: array<u32>;
@group(0) @binding(9) var<storage, read_write> t1: array<u32>;
@group(0) @binding(10) var<storage, read_write> t2: array<u32>;

fn term(at: u32) -> f32 {
    return u[at];
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    place_in_chunk(thread);
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    place(thread);
}

@compute @workgroup_size(WG)
fn forward_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    find_run(thread);
}

@compute @workgroup_size(WG)
fn forward_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    y[i] = x[i] + run_sum(i);
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    dx[i] = dy[i];
}

@compute @workgroup_size(WG)
fn backward_u(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let from_y = chosen(i);
    var d = 0.0;
    if from_y.is_inside { d = dy[from_y.at]; }
    du[i] = d;
}
