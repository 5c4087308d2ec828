// walkers: shared by the kernels for GPUs whose gradient of filters is first summed over each walker's pixels.
//
// entry         one thread computes  reads  terms and their order
// backward_w_2  one dw               t0     walkers, ascending

@compute @workgroup_size(64)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * 64u;
    if k >= p.threads { return; }
    var sum = 0.0;
    for (var walker = 0u; walker < p.walkers; walker++) { sum += t0_read[walker * p.threads + k]; }
    dw[k] = sum;
}
