//! Enlarges pictures: luminance by a network, colour and alpha bicubically.
//!
//! In: any picture. Out: one `scale` times as wide and high, with the same channels, bits and ICC profile.
//! The network sees the luminance of ITU-R BT.601 as MATLAB's rgb2ycbcr gives it, in 0..1; Cb, Cr and alpha are enlarged by
//! MATLAB's bicubic (Dong et al., TPAMI 2016, section 4.2: "only the luminance channel is considered").
//! Larger pictures go in windows that overlap by the receptive field; the result does not depend on their size, bit for bit,
//! but where Winograd's tiles serve a layer (SRCNN 9-3-5 and 9-5-5 on a software adapter): there it does in f32's last bits.

use super::windows::{Stretch, stretches};
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::graph::{Graph, NodeId};
use crate::image::{Channel, Picture, Rect, resize_plane};
use crate::metrics::{psnr, ssim};
use crate::models::{Reads, SuperResolution};
use crate::ops::resize::{Kernel, Resize};
use crate::plan::Plan;
use crate::tensor::Tensor;
use crate::weights::Weights;

/// Sides of a window to choose from where the caller names none: the largest whose plan fits the device is taken. On
/// lavapipe 288 takes a picture of 256² in one window (84 ms against 119 with 160), and 4000 × 3000 in the same time.
pub const TILES: [usize; 6] = [288, 160, 96, 64, 48, 32];

/// A super-resolution network with its weights on a device.
#[derive(Debug)]
pub struct Upscaler {
    device: Device,
    model: SuperResolution,
    weights: Weights,
    /// Side of a window in pixels of the network's input, halo included.
    tile: usize,
}

/// What a picture's enlargement took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Windows that the network ran on.
    pub tiles: usize,
}

/// How well a picture is restored: luminance, 8-bit levels, a border of `scale` pixels left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// In dB.
    pub psnr: f64,
    /// In 0..1.
    pub ssim: f64,
    /// Of the bicubic enlargement.
    pub bicubic_psnr: f64,
    pub bicubic_ssim: f64,
}

impl Upscaler {
    /// `tile` is the side of a window in pixels of the network's input, halo included; 0 runs every picture whole.
    ///
    /// # Errors
    /// The weights do not belong to `model`; no window fits the device.
    pub fn new(device: Device, model: SuperResolution, weights: Weights, tile: Option<usize>) -> Result<Self> {
        for (key, wanted) in [("model", model.name.clone()), ("scale", model.scale.to_string())] {
            if let Some(is) = weights.manifest().get(key)
                && *is != wanted
            {
                return Err(Error::weights(
                    weights.name(),
                    format!("holds {key} {is}, asked for {wanted}; give its --model and --scale, or other --weights"),
                ));
            }
        }
        let mut upscaler = Self { device, model, weights, tile: tile.unwrap_or(TILES[0]) };
        if tile == Some(0) {
            upscaler.tile = usize::MAX;
        }
        if tile.is_none() {
            for side in TILES {
                upscaler.tile = side;
                match upscaler.plan(side, side) {
                    Err(Error::Plan { .. }) if side != TILES[TILES.len() - 1] => {}
                    other => {
                        other?;
                        break;
                    }
                }
            }
        }
        Ok(upscaler)
    }

    pub fn model(&self) -> &SuperResolution {
        &self.model
    }

    /// The network for an input of `height` × `width`.
    fn graph(&self, height: usize, width: usize) -> Result<(Graph, NodeId)> {
        let mut g = Graph::new();
        let x = g.input("x", [1, 1, height, width])?;
        let y = self.model.build(&mut g, x)?;
        Ok((g, y))
    }

    /// The graph of [`Upscaler::session`], and its output.
    ///
    /// # Errors
    /// The network refuses the size.
    pub fn network(&self, height: usize, width: usize) -> Result<(Graph, NodeId)> {
        let (rows, columns) = self.windows(height, width);
        self.graph(rows[0].len, columns[0].len)
    }

    /// The session that runs one window of a network input of `height` × `width`.
    ///
    /// # Errors
    /// The window does not fit the device.
    pub fn session(&self, height: usize, width: usize) -> Result<Session> {
        let (rows, columns) = self.windows(height, width);
        let (g, y) = self.graph(rows[0].len, columns[0].len)?;
        self.device.compile(&g, &[y], self.weights.clone())
    }

    /// The plan of [`Upscaler::session`], without a device's memory.
    ///
    /// # Errors
    /// As [`Upscaler::session`].
    pub fn plan(&self, height: usize, width: usize) -> Result<Plan> {
        let (rows, columns) = self.windows(height, width);
        let (g, y) = self.graph(rows[0].len, columns[0].len)?;
        self.device.plan(&g, &[y])
    }

    fn windows(&self, height: usize, width: usize) -> (Vec<Stretch>, Vec<Stretch>) {
        (stretches(height, self.tile, self.model.halo), stretches(width, self.tile, self.model.halo))
    }

    /// Target pixels an input pixel.
    fn ratio(&self) -> usize {
        if self.model.reads == Reads::Small { self.model.scale } else { 1 }
    }

    /// Runs the network over an input of `height` × `width` pixels, window by window: `read` gives a window of the
    /// input, `write` takes the part of the output to keep and where it belongs. Returns the number of windows.
    fn for_each_window(
        &self,
        height: usize,
        width: usize,
        mut read: impl FnMut(Rect) -> Result<Tensor>,
        mut write: impl FnMut(Rect, Tensor) -> Result<()>,
    ) -> Result<usize> {
        let (rows, columns) = self.windows(height, width);
        let session = self.session(height, width)?;
        let r = self.ratio();
        for row in &rows {
            for column in &columns {
                let input = read(Rect { top: row.start, left: column.start, height: row.len, width: column.len })?;
                let output = session.run(&[("x", &input)])?.swap_remove(0);
                let kept = Rect {
                    top: row.keep.0 * r,
                    left: column.keep.0 * r,
                    height: (row.keep.1 - row.keep.0) * r,
                    width: (column.keep.1 - column.keep.0) * r,
                };
                let inside = Rect { top: kept.top - row.start * r, left: kept.left - column.start * r, ..kept };
                write(kept, crop(&output, inside)?)?;
            }
        }
        Ok(rows.len() * columns.len())
    }

    /// Enlarges a picture. `progress(done, all)` is called with output pixels after every window and returns false to
    /// stop.
    ///
    /// # Errors
    /// [`Error::Interrupted`] where `progress` asks for it; the result is too large for a picture; the device fails.
    pub fn picture(&self, picture: &Picture, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<(Picture, Report)> {
        let scale = self.model.scale;
        let (height, width) = (picture.height() * scale, picture.width() * scale);
        let mut out = Picture::new(picture.name(), width, height, picture.channels(), picture.samples().bits())?;
        out.set_icc(picture.icc().map(<[u8]>::to_vec));
        let bicubic = |channel, rect| picture.bicubic_rect(channel, rect, scale as u32);
        let (input_height, input_width) = match self.model.reads {
            Reads::Small => (picture.height(), picture.width()),
            Reads::Enlarged => (height, width),
        };
        let (mut done, all) = (0, (height * width) as u64);
        let tiles = self.for_each_window(
            input_height,
            input_width,
            |rect| match self.model.reads {
                Reads::Small => picture.luma(rect),
                Reads::Enlarged => Tensor::new([1, 1, rect.height, rect.width], bicubic(Channel::Y, rect)?),
            },
            |rect, y| {
                if picture.channels().is_grey() {
                    out.put_grey(rect, y.data())?;
                } else {
                    out.put_ycbcr(rect, y.data(), &bicubic(Channel::Cb, rect)?, &bicubic(Channel::Cr, rect)?)?;
                }
                if picture.channels().has_alpha() {
                    out.put_alpha(rect, &bicubic(Channel::Alpha, rect)?)?;
                }
                done += rect.area() as u64;
                if progress(done, all) { Ok(()) } else { Err(Error::Interrupted) }
            },
        )?;
        Ok((out, Report { tiles }))
    }

    /// The papers' protocol: the luminance of `truth` (8 bit) is cut to a multiple of the scale, made small bicubically,
    /// enlarged again, and compared.
    ///
    /// Source: Demo_SR.m of the code of SRCNN (Dong et al., TPAMI 2016).
    ///
    /// # Errors
    /// The picture is too small; the device fails.
    pub fn score(&self, truth: &Picture) -> Result<Score> {
        let scale = self.model.scale;
        let [small_h, small_w] = [truth.height() / scale, truth.width() / scale];
        let size @ [height, width] = [small_h * scale, small_w * scale];
        if small_h == 0 || small_w == 0 {
            return Err(Error::image(truth.name(), format!("has fewer than {scale} pixels a side")));
        }
        let luma = truth.luma_u8();
        let rows = luma.chunks(truth.width()).take(height);
        let expected: Vec<f32> = rows.flat_map(|row| &row[..width]).map(|&y| f32::from(y) / 255.0).collect();
        let small = resize_plane(&expected, size, &Resize::by(Kernel::Bicubic, 1, scale as u32))?;
        let bicubic = resize_plane(&small, [small_h, small_w], &Resize::by(Kernel::Bicubic, scale as u32, 1))?;
        let input = match self.model.reads {
            Reads::Small => Tensor::new([1, 1, small_h, small_w], small)?,
            Reads::Enlarged => Tensor::new([1, 1, height, width], bicubic.clone())?,
        };
        let output = self.luma(&input)?;
        Ok(Score {
            psnr: psnr(&expected, output.data(), size, scale)?,
            ssim: ssim(&expected, output.data(), size, scale)?,
            bicubic_psnr: psnr(&expected, &bicubic, size, scale)?,
            bicubic_ssim: ssim(&expected, &bicubic, size, scale)?,
        })
    }

    /// The network on a whole luminance plane: `[1, 1, H, W]` of what it reads → its output.
    ///
    /// # Errors
    /// As [`Upscaler::session`].
    pub fn luma(&self, input: &Tensor) -> Result<Tensor> {
        let [_, _, height, width] = input.shape();
        let r = self.ratio();
        let mut output = Tensor::zeros([1, 1, height * r, width * r]);
        self.for_each_window(
            height,
            width,
            |rect| crop(input, rect),
            |rect, part| {
                for (i, line) in part.data().chunks(rect.width).enumerate() {
                    let at = (rect.top + i) * width * r + rect.left;
                    output.data_mut()[at..at + rect.width].copy_from_slice(line);
                }
                Ok(())
            },
        )?;
        Ok(output)
    }
}

/// A rectangle of a `[1, 1, H, W]` tensor.
fn crop(tensor: &Tensor, rect: Rect) -> Result<Tensor> {
    let [_, _, _, width] = tensor.shape();
    let lines = tensor.data().chunks(width).skip(rect.top).take(rect.height);
    let data = lines.flat_map(|line| &line[rect.left..rect.left + rect.width]).copied().collect();
    Tensor::new([1, 1, rect.height, rect.width], data)
}
