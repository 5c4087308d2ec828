//! Seeded pairs of small and large patches for super-resolution: batch k of a seed is the same on every machine and thread.

use crate::error::{Error, Result};
use crate::files;
use crate::ops::resize::{Kernel, Resize};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::train::threads;
use crate::vision::image::{Picture, resize_plane};
use crate::vision::models::{Reads, SuperResolution};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Each picture is used at these tenths of its size (FSRCNN, section 4.1, "data augmentation").
const SHRINKS: [u32; 5] = [10, 9, 8, 7, 6];

/// Luminance in 0..1, row-major.
struct Plane {
    width: usize,
    data: Vec<f32>,
}

/// The network's input from a picture at one of its sizes, and the output that it should produce.
struct Pair {
    input: Plane,
    target: Plane,
}

impl Pair {
    fn bytes(&self) -> usize {
        4 * (self.input.data.len() + self.target.data.len())
    }
}

/// A picture at one of its sizes.
struct Source {
    /// Index of the file.
    file: usize,
    tenths: u32,
    /// Number of positions of a patch's top left corner in the input: columns, rows.
    positions: (usize, usize),
    /// The planes, if they are kept in memory.
    kept: OnceLock<Arc<Pair>>,
}

/// A folder of pictures, from which patches are cut.
pub struct Patches {
    cutter: Cutter,
    /// Path, width and height.
    files: Vec<(PathBuf, usize, usize)>,
    sources: Vec<Source>,
    /// Running sums of the sources' numbers of positions, so that every position is equally likely.
    cumulative: Vec<usize>,
    fingerprint: String,
    /// Bytes of planes that may still be kept in memory.
    room: Mutex<usize>,
}

/// How pictures become planes and patches.
#[derive(Clone, Copy)]
struct Cutter {
    scale: usize,
    reads: Reads,
    /// Side of a patch in pixels of the small picture.
    small: usize,
    /// Pixels on each side that the target lacks.
    cut_px: usize,
}

impl Cutter {
    /// Returns the side of a patch in pixels of the input.
    fn side(&self) -> usize {
        if self.reads == Reads::Small { self.small } else { self.small * self.scale }
    }
    /// Returns the number of target pixels per input pixel, along each side.
    fn ratio(&self) -> usize {
        if self.reads == Reads::Small { self.scale } else { 1 }
    }

    /// Returns the width and height of the small picture made from a picture at `tenths` of its size.
    fn small_size(&self, size: [usize; 2], tenths: u32) -> [usize; 2] {
        let shrink = Resize::by(Kernel::Bicubic, tenths, 10);
        size.map(|n| shrink.scale[0].size_of(n) / self.scale)
    }

    /// Makes a pair as the papers do: luminance as in MATLAB's rgb2ycbcr, cut to a multiple of `scale`, shrunk bicubically.
    fn pair(&self, picture: &Picture, tenths: u32) -> Result<Pair> {
        let (width, height) = (picture.width(), picture.height());
        let luma: Vec<f32> = picture.luma_u8().into_iter().map(|y| f32::from(y) / 255.0).collect();
        let shrink = Resize::by(Kernel::Bicubic, tenths, 10);
        let w = shrink.scale[0].size_of(width);
        let [small_w, small_h] = self.small_size([width, height], tenths);
        let (cut_w, cut_h) = (small_w * self.scale, small_h * self.scale);
        let shrunk = resize_plane(&luma, [height, width], &shrink)?;
        let target: Vec<f32> = shrunk.chunks(w).take(cut_h).flat_map(|row| &row[..cut_w]).copied().collect();
        let small = resize_plane(&target, [cut_h, cut_w], &Resize::by(Kernel::Bicubic, 1, self.scale as u32))?;
        let input = match self.reads {
            Reads::Small => Plane { width: small_w, data: small },
            Reads::Enlarged => {
                let up = Resize::by(Kernel::Bicubic, self.scale as u32, 1);
                Plane { width: cut_w, data: resize_plane(&small, [small_h, small_w], &up)? }
            }
        };
        Ok(Pair { input, target: Plane { width: cut_w, data: target } })
    }
}

impl Patches {
    /// Scans every picture in `dir` on `threads` threads for patches to train `model`. `patch` is the side of a patch in pixels
    /// of the small picture and must exceed what the target loses. As many planes as fit into `memory_bytes` are kept; other
    /// pictures are decoded again for every patch cut from them.
    ///
    /// # Errors
    /// A file is not a picture; no picture is large enough for a patch.
    pub fn open(
        dir: &Path,
        model: &SuperResolution,
        patch: usize,
        memory_bytes: usize,
        threads: usize,
    ) -> Result<Self> {
        let paths = crate::vision::image::folder::pictures(dir)?;
        let scale = model.scale;
        let cutter = Cutter { scale, reads: model.reads, small: patch, cut_px: model.cut_px() };
        let looked = threads::over(threads, &paths, |path| look(path))?;
        let mut hash = Sha256::new();
        let (mut files, mut sources) = (Vec::new(), Vec::new());
        for (path, (sum, [width, height])) in paths.into_iter().zip(looked) {
            hash.update(sum);
            for tenths in SHRINKS {
                let [w, h] = cutter.small_size([width, height], tenths);
                if w < patch || h < patch {
                    continue;
                }
                let ratio = cutter.side() / patch;
                let positions = (w * ratio - cutter.side() + 1, h * ratio - cutter.side() + 1);
                sources.push(Source { file: files.len(), tenths, positions, kept: OnceLock::new() });
            }
            files.push((path, width, height));
        }
        if sources.is_empty() {
            return Err(Error::Usage(format!(
                "{}: no picture has the {} × {} pixels that a patch of {patch} at scale {scale} needs",
                dir.display(),
                patch * scale,
                patch * scale
            )));
        }
        let mut sum = 0;
        let count = |s: &Source| {
            sum += s.positions.0 * s.positions.1;
            sum
        };
        let cumulative = sources.iter().map(count).collect();
        let fingerprint = files::hex(&hash.finalize());
        Ok(Self { cutter, files, sources, cumulative, fingerprint, room: Mutex::new(memory_bytes) })
    }

    /// Returns the SHA-256 of all files' checksums, in order. It identifies the data independently of its location.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Makes batch `step` of `seed`: inputs `[n, 1, p, p]` and targets `[n, 1, r·p − 2·cut, r·p − 2·cut]`, each pair in one of
    /// the 8 orientations.
    ///
    /// # Errors
    /// A picture can no longer be read or has changed its size.
    pub fn batch(&self, n: usize, seed: u64, step: u64) -> Result<(Tensor, Tensor)> {
        let mut rng = Rng::of_step(seed, step);
        let (ratio, cut_px) = (self.cutter.ratio(), self.cutter.cut_px);
        let (p, t) = (self.cutter.side(), self.cutter.side() * ratio - 2 * cut_px);
        let (mut input, mut target) = (Vec::with_capacity(n * p * p), Vec::with_capacity(n * t * t));
        for _ in 0..n {
            let place = rng.below(*self.cumulative.last().expect("open refuses an empty set"));
            let source = &self.sources[self.cumulative.partition_point(|&sum| sum <= place)];
            let pair = self.pair(source)?;
            let (column, row) = (rng.below(source.positions.0), rng.below(source.positions.1));
            let orientation = rng.below(8);
            cut(&pair.input, column, row, p, orientation, &mut input);
            cut(&pair.target, column * ratio + cut_px, row * ratio + cut_px, t, orientation, &mut target);
        }
        Ok((Tensor::new([n, 1, p, p], input)?, Tensor::new([n, 1, t, t], target)?))
    }

    fn pair(&self, source: &Source) -> Result<Arc<Pair>> {
        if let Some(pair) = source.kept.get() {
            return Ok(pair.clone());
        }
        let (path, width, height) = &self.files[source.file];
        let picture = Picture::open(path)?;
        if [picture.width(), picture.height()] != [*width, *height] {
            return Err(Error::image(
                path.display(),
                format!(
                    "was {width} × {height} when the run began and is now {} × {}; restore it and resume",
                    picture.width(),
                    picture.height()
                ),
            ));
        }
        let pair = Arc::new(self.cutter.pair(&picture, source.tenths)?);
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have kept it meanwhile.
        if pair.bytes() <= *room && source.kept.set(pair.clone()).is_ok() {
            *room -= pair.bytes();
        }
        Ok(pair)
    }
}

/// The checksum of a file, and the width and height of its picture.
type Look = (Vec<u8>, [usize; 2]);

fn look(path: &Path) -> Result<Look> {
    let bytes = crate::files::read(path, |file, problem| Error::Image { file, problem })?;
    let picture = Picture::decode(&bytes, &path.display().to_string())?;
    Ok((Sha256::digest(&bytes).to_vec(), [picture.width(), picture.height()]))
}

/// Appends a square of `plane`, mirrored and transposed according to the three bits of `orientation`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::{Channels, Samples};

    #[test]
    fn a_cut_target_is_the_middle_of_the_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(1);
        let noise = Samples::U8((0..60 * 70).map(|_| rng.below(256) as u8).collect());
        let picture = Picture::from_samples("noise", 60, 70, Channels::Grey, noise).unwrap();
        picture.save(folder.path().join("a.png")).unwrap();
        let model = SuperResolution::new("srcnn", 3).unwrap();
        let mut patches = Patches::open(folder.path(), &model, 7, 1 << 20, 1).unwrap();
        let (n, side, cut) = (16, 21, 6);
        let (x, middle) = patches.batch(n, 1, 1).unwrap();
        patches.cutter.cut_px = 0;
        let (same, whole) = patches.batch(n, 1, 1).unwrap();
        assert_eq!(x.shape(), [n, 1, side, side]);
        assert_eq!(x, same);
        assert_eq!(middle.shape(), [n, 1, side - 2 * cut, side - 2 * cut]);
        let rows = whole.data().chunks(side).enumerate().filter(|(row, _)| (cut..side - cut).contains(&(row % side)));
        let inner: Vec<f32> = rows.flat_map(|(_, row)| row[cut..side - cut].to_vec()).collect();
        assert_eq!(middle.data(), inner);
    }
}
