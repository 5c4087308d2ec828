//! Enlarges pictures: luminance by a network, colour and alpha bicubically; or red, green and blue by a network, and alpha bicubically.
//!
//! In: any picture. Out: a picture `scale` times as wide and high, with the same channels, bits and ICC profile.
//! A network of one channel sees the luminance of ITU-R BT.601 as in MATLAB's rgb2ycbcr, in 0..1; Cb, Cr and alpha are enlarged by
//! MATLAB's bicubic (Dong et al., TPAMI 2016, section 4.2: "only the luminance channel is considered"). One of three channels sees red,
//! green and blue in 0..1, as in waifu2x-ncnn-vulkan and realesrgan-ncnn-vulkan.
//! Larger pictures are processed in windows that overlap by the receptive field. The result does not depend on their size, bit
//! for bit, except if Winograd's tiles compute a layer (SRCNN 9-3-5 and 9-5-5 and most networks of others on a software adapter): then it
//! does in the last bits of f32. A network that reaches everywhere, such as one with squeeze and excitation, depends on the windows
//! ([`Traits::is_exact`]).
//! What a network's output lacks at the borders is made up for by mirroring the picture there, without the border pixel itself.

mod chain;
mod enlarger;
mod reach;

pub use chain::{Canvas, Chain, Passage, Step, factors};
pub use enlarger::{Enlarger, MAX_HALO_PX, Traits};

use super::windows::Stretch;
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Select, Session};
use crate::graph::{Graph, NodeId};
use crate::ops::resize::{Kernel, Resize};
use crate::plan::Plan;
use crate::plan::why::Why;
use crate::tensor::{Shape, Tensor};
use crate::vision::image::{Channel, Picture, Rect, resize_plane, resize_rect};
use crate::vision::metrics::{SSIM_WINDOW, psnr, ssim};
use crate::vision::models::{Reads, SuperResolution};
use crate::weights::Weights;
use std::sync::Arc;

/// Default sides of a window: the largest whose plan fits the device is used. On lavapipe, 288 takes a picture of 256² in one
/// window (84 ms against 119 with 160), and 4000 × 3000 in the same time as 160.
pub const TILES: [usize; 6] = [288, 160, 96, 64, 48, 32];

/// Side of the largest window that [`Upscaler::within`] tries.
const LARGEST_PX: usize = 1 << 15;

/// Side of the tile that [`Upscaler::self_check`] computes with the references, in pixels of the network's input without the
/// halo: about ten million multiply-adds, a fraction of a second in f64.
const CHECKED_PX: usize = 16;

/// Largest allowed error of a checked tile, in units of the reference's root mean square, as in `lineament bench --expect`.
const MAX_RELATIVE_ERROR: f64 = 1e-3;

/// Memory limit for the sessions of several window sizes together, in bytes: about ten of the usual size.
const KEPT_BYTES: u64 = 256 << 20;

/// A super-resolution network with its weights on a device.
#[derive(Debug)]
pub struct Upscaler {
    device: Device,
    enlarger: Enlarger,
    /// Side of a window in pixels of the network's input, halo included.
    tile: usize,
    /// Largest plan, in bytes.
    memory_bytes: u64,
    /// The sessions, by the size of a window.
    network: Network,
}

/// A part of a picture that the network runs on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The part that the network reads, in pixels of its input with the margins that its output lacks.
    pub read: Rect,
    /// The part that is kept, in pixels of the result.
    pub kept: Rect,
    /// The part that is kept, in pixels of the network's output for this window.
    inside: Rect,
}

/// Statistics of a picture's enlargement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Number of windows on which the networks ran.
    pub tiles: usize,
}

/// How well a picture is restored, measured on luminance in 8-bit levels without a border of `scale` pixels.
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
    /// Creates an upscaler. `tile` is the side of a window in pixels of the network's input, halo included. 0 runs every picture
    /// whole; `None` chooses the largest of [`TILES`] that fits the device.
    ///
    /// # Errors
    /// The weights do not belong to `model`; no window fits the device.
    pub fn new(device: Device, model: SuperResolution, weights: Weights, tile: Option<usize>) -> Result<Self> {
        Self::open(device, Enlarger::new(model, weights)?, tile)
    }

    /// Like [`Upscaler::new`], for a network of this or another project.
    ///
    /// # Errors
    /// No window fits the device.
    pub fn open(device: Device, enlarger: Enlarger, tile: Option<usize>) -> Result<Self> {
        let tile_px = tile.unwrap_or(TILES[0]);
        let network = enlarger.network(&device);
        network.set_budget(KEPT_BYTES);
        let mut upscaler = Self { device, enlarger, tile: tile_px, memory_bytes: u64::MAX, network };
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

    /// Like [`Upscaler::new`], but with the largest window whose plan's exact peak is at most `bytes`. A picture whose plan
    /// would take more is refused.
    ///
    /// # Errors
    /// Not even the smallest window fits; the error gives its plan's bytes. Those of [`Upscaler::new`].
    pub fn within(device: Device, model: SuperResolution, weights: Weights, bytes: u64) -> Result<Self> {
        Self::open_within(device, Enlarger::new(model, weights)?, bytes)
    }

    /// Like [`Upscaler::within`], for a network of this or another project.
    ///
    /// # Errors
    /// Those of [`Upscaler::within`].
    pub fn open_within(device: Device, enlarger: Enlarger, bytes: u64) -> Result<Self> {
        let mut upscaler = Self::open(device, enlarger, Some(0))?;
        let (smallest, needed) = upscaler.smallest_window()?;
        if needed > bytes {
            return Err(Error::plan(format!(
                "the smallest window of {}, {smallest} × {smallest}, takes {needed} bytes, more than the {bytes} that are \
                 allowed; allow {needed} or more",
                upscaler.name()
            )));
        }
        upscaler.fit(smallest, bytes)?;
        Ok(upscaler)
    }

    /// Returns the side of the smallest window that keeps anything, and its plan's peak in bytes.
    fn smallest_window(&self) -> Result<(usize, u64)> {
        let side = self.traits().least();
        let [height, width] = self.traits().fixed.unwrap_or([side; 2]);
        let (g, y) = self.graph(height, width)?;
        Ok((side, self.device.plan(&g, &[y])?.peak_bytes()))
    }

    /// Chooses the largest window, of side `smallest` or more, whose plan's peak is at most `bytes`, and refuses larger plans
    /// from then on.
    fn fit(&mut self, smallest: usize, bytes: u64) -> Result<()> {
        let mut fits = |side| {
            self.tile = side;
            match self.plan(side, side) {
                Ok(plan) => Ok(plan.peak_bytes() <= bytes),
                Err(Error::Plan { .. }) => Ok(false),
                Err(e) => Err(e),
            }
        };
        // Peaks grow with the side, so the largest side that fits lies between one that does and one that does not.
        let (mut fitting, mut too_large) = (smallest, 2 * smallest);
        while too_large <= LARGEST_PX && fits(too_large)? {
            (fitting, too_large) = (too_large, 2 * too_large);
        }
        while too_large - fitting > 1 {
            let middle = fitting.midpoint(too_large);
            if fits(middle)? { fitting = middle } else { too_large = middle }
        }
        self.tile = fitting;
        self.memory_bytes = bytes;
        self.network.set_budget(bytes.min(KEPT_BYTES));
        Ok(())
    }

    /// Returns the side of a window in pixels of the network's input, halo included; `usize::MAX` if pictures run whole.
    pub fn tile(&self) -> usize {
        self.tile
    }

    /// Returns how the network enlarges.
    pub fn traits(&self) -> &Traits {
        &self.enlarger.traits
    }

    pub fn name(&self) -> &str {
        &self.traits().name
    }

    /// Returns the output pixels per pixel of a picture, along each side.
    pub fn scale(&self) -> usize {
        self.traits().scale
    }

    /// Builds the network for an input of `height` × `width`.
    fn graph(&self, height: usize, width: usize) -> Result<(Graph, NodeId)> {
        let drafted = self.network.draft(&[self.enlarger.given(height, width)], false)?;
        match drafted.outputs.first() {
            Some((_, y)) => Ok((drafted.graph, *y)),
            None => Err(Error::graph(self.name(), "has no output")),
        }
    }

    /// Returns the graph of [`Upscaler::session`] and its output.
    ///
    /// # Errors
    /// The network refuses the size.
    pub fn network(&self, height: usize, width: usize) -> Result<(Graph, NodeId)> {
        let (rows, columns) = self.windows(height, width);
        self.graph(rows[0].len, columns[0].len)
    }

    /// Compiles a session that runs one window of a network input of `height` × `width`.
    ///
    /// # Errors
    /// The window does not fit the device.
    pub fn session(&self, height: usize, width: usize) -> Result<Session> {
        let (rows, columns) = self.windows(height, width);
        let (g, y) = self.graph(rows[0].len, columns[0].len)?;
        self.device.compile(&g, &[y], self.enlarger.weights().clone())
    }

    /// Returns the plan of [`Upscaler::session`] without allocating device memory.
    ///
    /// # Errors
    /// Those of [`Upscaler::session`].
    pub fn plan(&self, height: usize, width: usize) -> Result<Plan> {
        let (rows, columns) = self.windows(height, width);
        let (g, y) = self.graph(rows[0].len, columns[0].len)?;
        self.device.plan(&g, &[y])
    }

    /// Explains why node `name` of [`Upscaler::plan`] is computed by its shaders.
    ///
    /// # Errors
    /// Those of [`Upscaler::session`]; no step computes a node of that name.
    pub fn why(&self, height: usize, width: usize, name: &str) -> Result<Vec<Why>> {
        let (rows, columns) = self.windows(height, width);
        let (g, y) = self.graph(rows[0].len, columns[0].len)?;
        self.device.why(&g, &[y], name)
    }

    fn windows(&self, height: usize, width: usize) -> (Vec<Stretch>, Vec<Stretch>) {
        (self.traits().stretches(height, 0, self.tile), self.traits().stretches(width, 1, self.tile))
    }

    /// Returns the windows of a picture of `height` × `width`, all of one size. Their kept parts cover the result exactly once.
    pub fn windows_of(&self, height: usize, width: usize) -> Vec<Window> {
        let enlarged = if self.traits().reads == Reads::Enlarged { self.scale() } else { 1 };
        self.traits().cover(height * enlarged, width * enlarged, self.tile)
    }

    /// Returns the network's input for `window` of `picture`, `[1, C, H, W]` in 0..1: luminance, or red, green and blue.
    ///
    /// # Errors
    /// `window` reaches beyond the picture and its margins.
    pub fn read(&self, picture: &Picture, window: &Window) -> Result<Tensor> {
        let (rect, channels) = (window.read, self.traits().channels);
        if self.traits().reads == Reads::Enlarged {
            let data = picture.resized_rect(Channel::Y, rect, &self.bicubic())?;
            return Tensor::new([1, 1, rect.height, rect.width], data);
        }
        let named: &[Channel] =
            if channels == 1 { &[Channel::Y] } else { &[Channel::Red, Channel::Green, Channel::Blue] };
        let mirrored = Mirrored::new(rect, self.traits().margins()[0], [picture.height(), picture.width()]);
        let mut data = Vec::with_capacity(channels * rect.area());
        for &channel in named {
            let plane = picture.plane(channel, mirrored.source)?;
            mirrored.copy(&plane, mirrored.source.width, &mut data);
        }
        Tensor::new([1, channels, rect.height, rect.width], data)
    }

    /// Like [`Upscaler::read`], but of planes `[1, C, H, W]`.
    fn read_plane(&self, plane: &Tensor, window: &Window) -> Result<Tensor> {
        let ([_, _, height, width], rect) = (plane.shape().nchw(), window.read);
        match self.traits().reads {
            Reads::Small => self.part(plane, window),
            Reads::Enlarged => {
                let data = resize_rect(plane.data(), 0, [height, width], rect, &self.bicubic());
                Tensor::new([1, 1, rect.height, rect.width], data)
            }
        }
    }

    /// Returns the part of the network's input `[1, C, H, W]` that a window reads.
    fn part(&self, input: &Tensor, window: &Window) -> Result<Tensor> {
        let ([_, channels, height, width], rect) = (input.shape().nchw(), window.read);
        let mirrored = Mirrored::new(rect, self.traits().margins()[0], [height, width]);
        let source = crop(input, mirrored.source)?;
        let mut data = Vec::with_capacity(channels * rect.area());
        for plane in source.data().chunks(mirrored.source.area()) {
            mirrored.copy(plane, mirrored.source.width, &mut data);
        }
        Tensor::new([1, channels, rect.height, rect.width], data)
    }

    /// Returns the bicubic enlargement by the network's scale.
    fn bicubic(&self) -> Resize {
        Resize::by(Kernel::Bicubic, self.scale() as u32, 1)
    }

    /// Runs the network on the whole of one window: takes the result of [`Upscaler::read`], returns the output `[1, C, H, W]`.
    ///
    /// # Errors
    /// The window does not fit the device; the device fails.
    pub fn run(&self, input: &Tensor) -> Result<Tensor> {
        let [_, _, height, width] = input.shape().nchw();
        self.run_in(&*self.session_for([height, width])?, input)
    }

    /// Runs a session of the network, whose own shapes may lack the batch.
    fn run_in(&self, session: &Session, input: &Tensor) -> Result<Tensor> {
        let [_, _, height, width] = input.shape().nchw();
        let given = self.enlarger.given(height, width);
        let reshaped = if given.shape == input.shape() { None } else { Some(input.clone().reshaped(given.shape)?) };
        let mut outputs = session.run(&[(&given.name, reshaped.as_ref().unwrap_or(input))])?;
        let Some(output) = outputs.pop() else { return Err(Error::graph(self.name(), "has no output")) };
        let whole: Shape = output.shape().nchw().into();
        output.reshaped(whole)
    }

    fn session_for(&self, size: [usize; 2]) -> Result<Arc<Session>> {
        if self.memory_bytes < u64::MAX {
            let (g, y) = self.graph(size[0], size[1])?;
            let needed = self.device.plan(&g, &[y])?.peak_bytes();
            if needed > self.memory_bytes {
                return Err(Error::plan(format!(
                    "a window of {} × {} takes {needed} bytes, more than the {} that are allowed; allow {needed} or more",
                    size[0], size[1], self.memory_bytes
                )));
            }
        }
        self.network.session(&[self.enlarger.given(size[0], size[1])])
    }

    /// Enlarges a picture. `progress(done, all)` is called with numbers of output pixels after every window. Returning false
    /// stops.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `progress` returned false; the result is too large for a picture; the device fails.
    pub fn picture(&self, picture: &Picture, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<(Picture, Report)> {
        let op = self.bicubic();
        let mut out = canvas(picture, &op)?;
        let windows = self.windows_of(picture.height(), picture.width());
        let (mut done, all) = (0, out.whole().area() as u64);
        for window in &windows {
            let y = self.run(&self.read(picture, window)?)?;
            put(picture, &mut out, window.kept, crop(&y, window.inside)?.data(), &op)?;
            done += window.kept.area() as u64;
            if !progress(done, all) {
                return Err(Error::Interrupted);
            }
        }
        Ok((out, Report { tiles: windows.len() }))
    }

    /// Computes the middle window of `picture` on the adapter, computes the tile in it that varies most with the f64
    /// references on the processor, and compares the two. If the network reaches further, the adapter computes that tile alone too.
    ///
    /// # Errors
    /// [`Error::Device`] if the adapter's tile is wrong, or black or constant while the reference's is not. The device is the
    /// references themselves; the device fails.
    pub fn self_check(&self, picture: &Picture) -> Result<()> {
        let size = [picture.height(), picture.width()];
        self.check_window(picture.name(), size, |window| self.read(picture, window))
    }

    /// [`Upscaler::self_check`] for a picture of `[height, width]`; `read` returns the network's input for a window.
    fn check_window(
        &self,
        name: &str,
        [height, width]: [usize; 2],
        read: impl Fn(&Window) -> Result<Tensor>,
    ) -> Result<()> {
        if self.device.is_cpu() {
            return Err(Error::Usage(
                "the references cannot be checked against themselves; choose an adapter for the self-check".into(),
            ));
        }
        let windows = self.windows_of(height, width);
        let window = &windows[windows.len() / 2];
        let input = read(window)?;
        let traits = self.traits();
        let output = if traits.is_exact { Some(self.run(&input)?) } else { None };
        let side = CHECKED_PX + 2 * traits.halo;
        let [margin, behind] = traits.margins();
        let [height, width] = [window.read.height, window.read.width].map(|n| n - margin - behind);
        let mut best: Option<(f64, Window, Tensor)> = None;
        for tile in traits.cover(height, width, side) {
            let part = crop(&input, tile.read)?;
            let contrast = variance(&part);
            if best.as_ref().is_none_or(|(most, ..)| contrast > *most) {
                best = Some((contrast, tile, part));
            }
        }
        let Some((_, tile, part)) = best else { return Ok(()) };
        let (g, y) = self.graph(tile.read.height, tile.read.width)?;
        let cpu = Device::open(&Select::Cpu)?.compile(&g, &[y], self.enlarger.weights().clone())?;
        let expected = crop(&self.run_in(&cpu, &part)?, tile.inside)?;
        let got = match &output {
            Some(output) => crop(output, traits.placed(tile.kept))?,
            None => crop(&self.run(&part)?, tile.inside)?,
        };
        agree(&expected, &got).map_err(|problem| {
            Error::device(
                format!("{name}: {} computes this picture wrongly: {problem}", self.device.describe()),
                "update its driver, choose another --device (see `lineament devices`), or use --device cpu",
            )
        })
    }

    /// Scores by the papers' protocol: the luminance of `truth` (8 bit) is cut to a multiple of the scale, shrunk bicubically,
    /// enlarged again, and compared.
    ///
    /// Source: Demo_SR.m of the code of SRCNN (Dong et al., TPAMI 2016).
    ///
    /// # Errors
    /// The picture is too small; the device fails.
    pub fn score(&self, truth: &Picture) -> Result<Score> {
        let scale = self.scale();
        let [small_h, small_w] = [truth.height() / scale, truth.width() / scale];
        let size @ [height, width] = [small_h * scale, small_w * scale];
        check_truth(truth, scale)?;
        let luma = truth.luma_u8();
        let rows = luma.chunks(truth.width()).take(height);
        let expected: Vec<f32> = rows.flat_map(|row| &row[..width]).map(|&y| f32::from(y) / 255.0).collect();
        let small = resize_plane(&expected, size, &Resize::by(Kernel::Bicubic, 1, scale as u32))?;
        let bicubic = resize_plane(&small, [small_h, small_w], &Resize::by(Kernel::Bicubic, scale as u32, 1))?;
        let input = match self.traits().reads {
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

    /// Runs the network on whole planes, luminance or red, green and blue: takes its input `[1, C, H, W]`, returns its output.
    ///
    /// # Errors
    /// The input has other channels; those of [`Upscaler::session`].
    pub fn luma(&self, input: &Tensor) -> Result<Tensor> {
        let [n, c, height, width] = input.shape().nchw();
        if [n, c] != [1, self.traits().channels] {
            let (name, expected) = (self.name(), self.traits().channels);
            return Err(Error::graph(name, format!("takes [1, {expected}, H, W], got {}", input.shape())));
        }
        let r = self.traits().ratio();
        let windows = self.traits().cover(height, width, self.tile);
        self.whole(&windows, [height * r, width * r], |window| self.part(input, window))
    }

    /// Runs the network on all `windows` and returns its output of `[height, width]`; `read` returns the input for a window.
    fn whole(
        &self,
        windows: &[Window],
        [height, width]: [usize; 2],
        read: impl Fn(&Window) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut output = Tensor::zeros([1, self.traits().channels, height, width]);
        for window in windows {
            window.paste(&self.run(&read(window)?)?, &mut output)?;
        }
        Ok(output)
    }
}

impl Window {
    /// Copies the kept part of `y`, the network's output for this window, to its place in the whole planes.
    fn paste(&self, y: &Tensor, planes: &mut Tensor) -> Result<()> {
        let ([_, _, height, width], rect) = (planes.shape().nchw(), self.kept);
        for (i, line) in crop(y, self.inside)?.data().chunks(rect.width).enumerate() {
            let (plane, row) = (i / rect.height, rect.top + i % rect.height);
            let at = (plane * height + row) * width + rect.left;
            planes.data_mut()[at..at + rect.width].copy_from_slice(line);
        }
        Ok(())
    }
}

/// Which pixels of a picture a rectangle reads that may extend beyond its borders, where it is mirrored.
struct Mirrored {
    /// The part of the picture that has all of them.
    source: Rect,
    /// Rows and columns of that part.
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl Mirrored {
    /// `margin` pixels lie before the first of `size` pixels, along each side.
    fn new(rect: Rect, margin: usize, [height, width]: [usize; 2]) -> Self {
        let inside = |start: usize, len: usize, n: usize| -> Vec<usize> {
            (start..start + len).map(|at| mirrored(at as i64 - margin as i64, n)).collect()
        };
        let (mut rows, mut columns) = (inside(rect.top, rect.height, height), inside(rect.left, rect.width, width));
        let cut = |all: &mut Vec<usize>| {
            let (low, high) = (all.iter().min().copied().unwrap_or(0), all.iter().max().copied().unwrap_or(0));
            all.iter_mut().for_each(|at| *at -= low);
            (low, high + 1 - low)
        };
        let ((top, height), (left, width)) = (cut(&mut rows), cut(&mut columns));
        Self { source: Rect { top, left, height, width }, rows, columns }
    }

    /// Appends the rectangle of a plane, of which `source` holds the part, `width` wide.
    fn copy(&self, source: &[f32], width: usize, to: &mut Vec<f32>) {
        let is_plain = self.columns.iter().copied().eq(0..width);
        for &row in &self.rows {
            let line = &source[row * width..(row + 1) * width];
            match is_plain {
                true => to.extend_from_slice(line),
                false => to.extend(self.columns.iter().map(|&column| line[column])),
            }
        }
    }
}

/// Returns the pixel of `n` that lies at a place beyond the border, in the picture's mirror image without the border pixel itself.
fn mirrored(at: i64, n: usize) -> usize {
    let last = n as i64 - 1;
    let period = (2 * last).max(1);
    let at = at.rem_euclid(period);
    at.min(period - at).min(last) as usize
}

/// Returns a black picture of the size to which `op` resizes `picture`, with its channels, bits, profile and metadata.
fn canvas(picture: &Picture, op: &Resize) -> Result<Picture> {
    let [width, height] = [(1, picture.width()), (0, picture.height())].map(|(k, n)| op.scale[k].size_of(n));
    let mut out = Picture::new(picture.name(), width, height, picture.channels(), picture.samples().bits())?;
    out.set_icc(picture.icc().map(<[u8]>::to_vec));
    out.set_metadata(picture.metadata().clone());
    Ok(out)
}

/// Writes the rectangle `rect` of an enlargement: luminance from the plane `y`, or colours from its three planes, and the rest from
/// `picture` resized by `op`.
fn put(picture: &Picture, out: &mut Picture, rect: Rect, y: &[f32], op: &Resize) -> Result<()> {
    let resized = |channel| picture.resized_rect(channel, rect, op);
    let area = rect.area();
    if y.len() == 3 * area {
        out.put_rgb(rect, [&y[..area], &y[area..2 * area], &y[2 * area..]])?;
    } else if picture.channels().is_grey() {
        out.put_grey(rect, y)?;
    } else {
        out.put_ycbcr(rect, y, &resized(Channel::Cb)?, &resized(Channel::Cr)?)?;
    }
    if picture.channels().has_alpha() {
        out.put_alpha(rect, &resized(Channel::Alpha)?)?;
    }
    Ok(())
}

/// Refuses a picture that is too small for [`Upscaler::score`] at `scale`.
///
/// # Errors
/// It is; the error gives the smallest size that would do.
pub fn check_truth(truth: &Picture, scale: usize) -> Result<()> {
    let smallest = (SSIM_WINDOW.div_ceil(scale) + 2) * scale;
    let [width, height] = [truth.width(), truth.height()];
    if width.min(height) >= smallest {
        return Ok(());
    }
    let problem = format!(
        "has {width} × {height} pixels, a comparison at scale {scale} needs {smallest} × {smallest} or more; take it out of \
         the folder"
    );
    Err(Error::image(truth.name(), problem))
}

/// Checks that `got` equals `expected` up to what f32 arithmetic explains; else says what is wrong.
fn agree(expected: &Tensor, got: &Tensor) -> std::result::Result<(), String> {
    let is_constant = |t: &Tensor, within: f64| {
        let first = f64::from(t.data()[0]);
        t.data().iter().all(|&v| (f64::from(v) - first).abs() <= within)
    };
    let squares: f64 = expected.data().iter().map(|&v| f64::from(v).powi(2)).sum();
    let allowed = MAX_RELATIVE_ERROR * (squares / expected.data().len() as f64).sqrt();
    let pairs = || expected.data().iter().zip(got.data()).map(|(&e, &g)| (f64::from(e), f64::from(g)));
    // A NaN is never within the tolerance.
    let is_right = |(e, g): (f64, f64)| (g - e).abs() <= allowed;
    if allowed.is_finite() && pairs().all(is_right) {
        return Ok(());
    }
    // A NaN becomes black.
    let is_black = got.data().iter().all(|&v| v.is_nan() || v <= 0.0);
    if is_black && expected.data().iter().any(|&v| f64::from(v) > allowed) {
        return Err("a tile is black, but the references on the processor give a picture".into());
    }
    if is_constant(got, 0.0) && !is_constant(expected, allowed) {
        let value = got.data()[0];
        return Err(format!("a tile is {value} everywhere, but the references on the processor give a picture"));
    }
    let wrong = pairs().filter(|&p| !is_right(p)).count();
    let (e, g) = pairs().find(|&p| !is_right(p)).map_or((0.0, 0.0), |(e, g)| (e as f32, g as f32));
    let all = expected.data().len();
    Err(format!(
        "{wrong} of a tile's {all} values are wrong, the first is {g} in place of {e} (allowed ±{allowed:.1e})"
    ))
}

/// Returns the mean squared distance from the mean.
fn variance(tensor: &Tensor) -> f64 {
    let n = tensor.data().len() as f64;
    let mean = tensor.data().iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    tensor.data().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n
}

/// Returns a rectangle of all planes of a `[1, C, H, W]` tensor.
fn crop(tensor: &Tensor, rect: Rect) -> Result<Tensor> {
    let [_, channels, height, width] = tensor.shape().nchw();
    let lines = |plane: &'_ [f32]| -> Vec<f32> {
        let lines = plane.chunks(width).skip(rect.top).take(rect.height);
        lines.flat_map(|line| &line[rect.left..rect.left + rect.width]).copied().collect()
    };
    let data = tensor.data().chunks(height * width).flat_map(lines).collect();
    Tensor::new([1, channels, rect.height, rect.width], data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_mirrored_without_its_border_pixel() {
        let of = |n: usize| (-4..n as i64 + 4).map(|at| mirrored(at, n)).collect::<Vec<_>>();
        assert_eq!(of(4), [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(of(2), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(of(1), [0; 9]);
    }

    #[test]
    fn a_tile_agrees_only_where_every_value_does() {
        let tensor = |values: [f32; 4]| Tensor::new([1, 1, 2, 2], values.to_vec()).unwrap();
        let expected = tensor([0.1, 0.9, 0.5, 0.3]);
        assert_eq!(agree(&expected, &tensor([0.1, 0.9002, 0.5, 0.2998])), Ok(()));
        for (got, problem) in [
            ([0.1, 0.9, 0.5, 0.31], "1 of a tile's 4 values are wrong, the first is 0.31"),
            ([0.1, f32::NAN, 0.5, 0.3], "the first is NaN in place of 0.9"),
            ([0.0, f32::NAN, -1.0, 0.0], "a tile is black"),
            ([0.4; 4], "a tile is 0.4 everywhere"),
        ] {
            let error = agree(&expected, &tensor(got)).unwrap_err();
            assert!(error.contains(problem), "{error:?} lacks {problem:?}");
        }
        // A picture that is black or constant may be so.
        assert_eq!(agree(&tensor([0.0; 4]), &tensor([0.0; 4])), Ok(()));
        assert_eq!(agree(&tensor([0.5; 4]), &tensor([0.5001; 4])), Ok(()));
        assert!(agree(&tensor([0.0; 4]), &tensor([0.0, 0.0, 0.1, 0.0])).is_err());
        assert!(agree(&tensor([f32::INFINITY; 4]), &tensor([0.5; 4])).is_err());
    }
}
