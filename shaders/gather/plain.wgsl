// gather/plain: rows of x that indices choose. Twin: src/ops/gather.rs.
//
// entry         one thread computes      reads                    terms and their order
// forward       one y                    x, indices
// backward_x_1  t0: the place of one     indices
//               index in its chunk
// backward_x_2  t1: its place in all     indices, t0
// backward_x_3  t2: where a row's run    indices, t1
//               begins
// backward_x_4  one dx                   indices, t1, t2, dy      the row's run, in parts of 64
// shared/runs.wgsl has the last four.

// Of shared/runs.wgsl.
struct P { threads: u32, rows: u32, inner: u32, count: u32, lines: u32, stride: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> t0: array<u32>;
@group(0) @binding(7) var<storage, read_write> t1: array<u32>;
@group(0) @binding(8) var<storage, read_write> t2: array<u32>;

fn term(at: u32) -> f32 {
    return dy[at];
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let from_x = chosen(i);
    if from_x.is_inside {
        y[i] = x[from_x.at];
    } else {
        // NaN; a front end refuses it as a constant.
        y[i] = bitcast<f32>(0x7FC00000u | (from_x.at & 1u));
    }
}

@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    place_in_chunk(thread);
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    place(thread);
}

@compute @workgroup_size(WG)
fn backward_x_3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    find_run(thread);
}

@compute @workgroup_size(WG)
fn backward_x_4(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    dx[i] = run_sum(i);
}
