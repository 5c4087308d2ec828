// conv2d/gradients: the gradient of conv2d for w as an implicit matrix product, for hardware GPUs. Twin: src/ops/conv2d/gradients.rs.
// The entries are in shared/filter_gradients.wgsl.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;

fn pixel(k: u32) -> f32 {
    return x[k];
}

fn slope(k: u32) -> f32 {
    return dy[k];
}
