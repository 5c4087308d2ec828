// view/plain: a strided copy with a border. Twin: src/ops/view.rs.
//
// entry         one thread computes          reads  terms and their order
// forward       one y                        x
// backward_x_1  t0: a part of the sum of dx  dy     part, part + parts, … of the order of shared/readers.wgsl
// backward_x_2  one dx                       t0     parts, ascending

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> t0: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let from_x = source_of(i);
    if from_x.is_inside {
        y[i] = x[from_x.at];
    } else {
        y[i] = p.constant;
    }
}

@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    t0[thread] = sum_of(thread / p.parts, thread % p.parts);
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    var sum = 0.0;
    for (var k = i * p.parts; k < i * p.parts + p.parts; k++) {
        sum += t0[k];
    }
    dx[i] = sum;
}
