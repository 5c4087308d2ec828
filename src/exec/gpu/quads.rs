//! Channel quads on the host: what goes into and comes out of a texture of [`Layout::Quads`].

use crate::error::Result;
use crate::layout::{Layout, TEXELS_PER_ROW};
use crate::tensor::{Shape, Tensor, len};

/// Returns the texels of `tensor`, padded with zeros to whole rows of a texture.
pub fn pack(tensor: &Tensor) -> Vec<[f32; 4]> {
    let [_, c, h, w] = tensor.shape().nchw();
    let plane = h * w;
    let mut texels = vec![[0.0; 4]; Layout::Quads.elements(&tensor.shape()).next_multiple_of(TEXELS_PER_ROW)];
    for (map, values) in tensor.data().chunks_exact(plane).enumerate() {
        let (n, channel) = (map / c, map % c);
        let first = (n * c.div_ceil(4) + channel / 4) * plane;
        for (texel, &value) in texels[first..first + plane].iter_mut().zip(values) {
            texel[channel % 4] = value;
        }
    }
    texels
}

/// Returns the tensor of `shape` whose texels are at the start of `bytes`.
///
/// # Errors
/// None for a shape that a graph accepts.
pub fn unpack(shape: Shape, bytes: &[u8]) -> Result<Tensor> {
    let [_, c, h, w] = shape.nchw();
    let plane = h * w;
    let mut data = vec![0.0; len(&shape)];
    for (map, values) in data.chunks_exact_mut(plane).enumerate() {
        let (n, channel) = (map / c, map % c);
        let first = 16 * (n * c.div_ceil(4) + channel / 4) * plane;
        for (value, texel) in values.iter_mut().zip(bytes[first..].chunks_exact(16)) {
            let word = &texel[4 * (channel % 4)..][..4];
            *value = f32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        }
    }
    Tensor::new(shape, data)
}

#[cfg(test)]
mod tests {
    use super::{pack, unpack};
    use crate::tensor::Tensor;

    #[test]
    fn unpacking_undoes_packing_and_spare_channels_are_zero() {
        for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 4, 2, 3], [3, 9, 4, 5]] {
            let data = (1..=shape.iter().product::<usize>()).map(|i| i as f32).collect();
            let tensor = Tensor::new(shape, data).unwrap();
            let texels = pack(&tensor);
            assert_eq!(unpack(shape.into(), bytemuck::cast_slice(&texels)).unwrap(), tensor);
            let sum: f32 = texels.iter().flatten().sum();
            assert_eq!(sum, tensor.data().iter().sum::<f32>());
        }
    }
}
