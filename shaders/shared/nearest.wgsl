// nearest: shared by the kernels for GPUs that read pixels past a picture's border. Numbers past 2³¹ are negative.

const LANES = vec4<u32>(0u, 1u, 2u, 3u);

// The nearest of `size` rows or columns.
fn nearest(k: vec4<u32>, size: u32) -> vec4<u32> {
    return select(min(k, vec4(size - 1u)), vec4(0u), k >= vec4(0x80000000u));
}
