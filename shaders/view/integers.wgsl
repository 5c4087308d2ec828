// view/integers: a strided copy of u32 with a border. Twin: src/ops/view.rs.
//
// entry    one thread computes  reads
// forward  one y                x

@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let from_x = source_of(i);
    if from_x.is_inside {
        y[i] = x[from_x.at];
    } else {
        y[i] = u32(p.constant);
    }
}
