// view/once: the gradient of a strided copy, for short sums. Twin: src/ops/view.rs.
//
// entry       one thread computes  reads  terms and their order
// backward_x  one dx               dy     that of shared/readers.wgsl

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    dx[i] = sum_of(i, 0u);
}
