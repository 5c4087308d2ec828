//! Pairs of small and large patches for super-resolution, seeded: batch k of a seed is the same everywhere.

use crate::error::{Error, Result};
use crate::image::{Picture, resize_plane};
use crate::models::Reads;
use crate::ops::resize::{Kernel, Resize};
use crate::rng::Rng;
use crate::tensor::Tensor;
use std::path::Path;

/// Each picture is used at these tenths of its size (FSRCNN, section 4.1, "data augmentation").
const SHRINKS: [u32; 5] = [10, 9, 8, 7, 6];

/// Luminance in 0..1, row-major.
struct Plane {
    width: usize,
    data: Vec<f32>,
}

struct Pair {
    /// What the network reads.
    input: Plane,
    /// What it should give.
    target: Plane,
    /// Positions of a patch's top left corner in `input`.
    positions: (usize, usize),
}

/// Pictures in memory, ready to be cut.
pub struct Patches {
    pairs: Vec<Pair>,
    /// Sums of the pairs' numbers of positions, so that every position is as likely.
    cumulative: Vec<usize>,
    patch: usize,
    /// Target pixels an input pixel.
    ratio: usize,
}

impl Patches {
    /// Reads every picture of `dir`, as the papers do: luminance as MATLAB's rgb2ycbcr gives it, cut to a multiple of
    /// `scale`, made small bicubically; `patch` is the side in pixels of the small picture.
    ///
    /// # Errors
    /// A file that is no picture; no picture is large enough for a patch.
    pub fn load(dir: &Path, scale: usize, reads: Reads, patch: usize) -> Result<Self> {
        let files = crate::files::pictures(dir)?;
        let mut pairs = Vec::new();
        for file in &files {
            let picture = Picture::open(file)?;
            let (width, height) = (picture.width(), picture.height());
            let luma: Vec<f32> = picture.luma_u8().into_iter().map(|y| f32::from(y) / 255.0).collect();
            for tenths in SHRINKS {
                let shrink = Resize::by(Kernel::Bicubic, tenths, 10);
                let [w, h] = [width, height].map(|n| shrink.scale[0].size_of(n));
                let (small_w, small_h) = (w / scale, h / scale);
                let (cut_w, cut_h) = (small_w * scale, small_h * scale);
                let side = if reads == Reads::Small { patch } else { patch * scale };
                if small_w < patch || small_h < patch {
                    continue;
                }
                let shrunk = resize_plane(&luma, [height, width], &shrink)?;
                let target: Vec<f32> = shrunk.chunks(w).take(cut_h).flat_map(|row| &row[..cut_w]).copied().collect();
                let small = resize_plane(&target, [cut_h, cut_w], &Resize::by(Kernel::Bicubic, 1, scale as u32))?;
                let (input, input_w, input_h) = match reads {
                    Reads::Small => (small, small_w, small_h),
                    Reads::Enlarged => {
                        let up = Resize::by(Kernel::Bicubic, scale as u32, 1);
                        (resize_plane(&small, [small_h, small_w], &up)?, cut_w, cut_h)
                    }
                };
                pairs.push(Pair {
                    input: Plane { width: input_w, data: input },
                    target: Plane { width: cut_w, data: target },
                    positions: (input_w - side + 1, input_h - side + 1),
                });
            }
        }
        if pairs.is_empty() {
            return Err(Error::Usage(format!(
                "{}: no picture has {} × {} pixels, which a patch of {patch} at scale {scale} needs",
                dir.display(),
                patch * scale,
                patch * scale
            )));
        }
        let mut sum = 0;
        let cumulative = pairs
            .iter()
            .map(|p| {
                sum += p.positions.0 * p.positions.1;
                sum
            })
            .collect();
        let (side, ratio) = if reads == Reads::Small { (patch, scale) } else { (patch * scale, 1) };
        Ok(Self { pairs, cumulative, patch: side, ratio })
    }

    /// Batch `step` of `seed`: inputs `[n, 1, p, p]` and targets `[n, 1, r·p, r·p]`, in one of the 8 orientations each.
    pub fn batch(&self, n: usize, seed: u64, step: u64) -> Result<(Tensor, Tensor)> {
        let mut rng = Rng::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(step));
        let (p, t) = (self.patch, self.patch * self.ratio);
        let (mut input, mut target) = (Vec::with_capacity(n * p * p), Vec::with_capacity(n * t * t));
        for _ in 0..n {
            let place = rng.below(*self.cumulative.last().expect("load refuses an empty set"));
            let index = self.cumulative.partition_point(|&sum| sum <= place);
            let pair = &self.pairs[index];
            let (column, row) = (rng.below(pair.positions.0), rng.below(pair.positions.1));
            let orientation = rng.below(8);
            cut(&pair.input, column, row, p, orientation, &mut input);
            cut(&pair.target, column * self.ratio, row * self.ratio, t, orientation, &mut target);
        }
        Ok((Tensor::new([n, 1, p, p], input)?, Tensor::new([n, 1, t, t], target)?))
    }
}

/// Appends a square of `plane`, mirrored and transposed as the three bits of `orientation` say.
fn cut(plane: &Plane, column: usize, row: usize, side: usize, orientation: usize, out: &mut Vec<f32>) {
    for i in 0..side {
        for j in 0..side {
            let (mut r, mut c) = if orientation & 4 != 0 { (j, i) } else { (i, j) };
            if orientation & 1 != 0 {
                r = side - 1 - r;
            }
            if orientation & 2 != 0 {
                c = side - 1 - c;
            }
            out.push(plane.data[(row + r) * plane.width + column + c]);
        }
    }
}
