//! Reads the contents of slots back to the host.

use super::adapter::{Gpu, words_per_texel};
use super::half::decode;
use super::resident::Place;
use super::session::{GpuSession, Memory};
use crate::error::{Error, Result};
use crate::layout::{Layout, TEXELS_PER_ROW};
use crate::plan::Value;
use crate::tensor::{Shape, Tensor};

/// Returns the layout of channel quads in a buffer from `offset` on: rows of texels without gaps.
fn quads_layout(offset: u64) -> wgpu::TexelCopyBufferLayout {
    wgpu::TexelCopyBufferLayout { offset, bytes_per_row: Some(16 * TEXELS_PER_ROW as u32), rows_per_image: None }
}

/// Copies `bytes` of channel quads to `offset` of `buffer`.
pub(super) fn copy_quads(
    encoder: &mut wgpu::CommandEncoder,
    view: &wgpu::TextureView,
    buffer: &wgpu::Buffer,
    offset: u64,
    bytes: u64,
) {
    let height = (bytes / (16 * TEXELS_PER_ROW as u64)) as u32;
    let size = wgpu::Extent3d { width: TEXELS_PER_ROW as u32, height, depth_or_array_layers: 1 };
    let to = wgpu::TexelCopyBufferInfo { buffer, layout: quads_layout(offset) };
    encoder.copy_texture_to_buffer(view.texture().as_image_copy(), to, size);
}

impl Gpu {
    /// Reads `bytes` from a place.
    ///
    /// # Errors
    /// The adapter fails.
    pub(super) async fn copy_out(&self, place: &Place, bytes: u64) -> Result<Vec<u8>> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let (staging, submission) = self
            .scoped("reading back", || {
                let staging = self.buffer("staging", bytes, usage);
                let mut encoder = self.device.create_command_encoder(&Default::default());
                encoder.copy_buffer_to_buffer(&place.buffer, place.offset, &staging, 0, bytes);
                (staging, self.queue.submit([encoder.finish()]))
            })
            .await?;
        self.wait(submission)?;
        self.map(&staging, <[u8]>::to_vec).await
    }
}

impl GpuSession {
    /// Reads the tensors of `values`, whose layout is rows.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn read(&self, values: &[&Value]) -> Result<Vec<Tensor>> {
        let mut tensors = Vec::with_capacity(values.len());
        for value in values {
            let place = self.place(value.slot);
            let place = Place { offset: place.offset + value.offset_bytes, ..place.clone() };
            let bytes = self.gpu.copy_out(&place, value.bytes()).await?;
            tensors.push(decode(value.shape, value.dtype, value.is_half, &bytes)?);
        }
        Ok(tensors)
    }

    /// Reads the texels, each of four values, of a slot that holds a value of `shape` as channel quads.
    ///
    /// # Errors
    /// The slot is not a texture; the adapter fails.
    pub async fn read_quads(&self, slot: usize, shape: Shape) -> Result<Vec<[f32; 4]>> {
        let Memory::Texture(view) = &self.memory[slot] else {
            return Err(Error::plan(format!("slot {slot} is not a texture")));
        };
        let mut words = self.read_texture(view, Layout::Quads).await?;
        words.truncate(words_per_texel(Layout::Quads) * Layout::Quads.elements(&shape));
        Ok(bytemuck::cast_slice(&words).to_vec())
    }

    /// Reads all words of a texture.
    pub(super) async fn read_texture(&self, view: &wgpu::TextureView, layout: Layout) -> Result<Vec<u32>> {
        let row_bytes = (4 * words_per_texel(layout) * TEXELS_PER_ROW) as u32;
        let texture = view.texture();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let (staging, submission) = self
            .gpu
            .scoped("reading back", || {
                let staging = self.gpu.buffer("staging", u64::from(row_bytes) * u64::from(texture.height()), usage);
                let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                let layout =
                    wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row_bytes), rows_per_image: None };
                let to = wgpu::TexelCopyBufferInfo { buffer: &staging, layout };
                encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
                (staging, self.gpu.queue.submit([encoder.finish()]))
            })
            .await?;
        self.gpu.wait(submission)?;
        self.gpu.map(&staging, bytemuck::pod_collect_to_vec).await
    }
}
