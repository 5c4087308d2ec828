// conv_transpose2d/gradients: the gradient of conv_transpose2d for w, for hardware GPUs: that of the convolution from y to x, where x and dy
// change places. Twin: src/ops/conv_transpose2d.rs. The entries are in shared/filter_gradients.wgsl.

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;

fn pixel(k: u32) -> f32 {
    return dy[k];
}

fn slope(k: u32) -> f32 {
    return x[k];
}
