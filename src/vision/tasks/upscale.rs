//! Enlarges pictures: luminance by a network, colour and alpha bicubically.
//!
//! In: any picture. Out: a picture `scale` times as wide and high, with the same channels, bits and ICC profile.
//! The network sees the luminance of ITU-R BT.601 as in MATLAB's rgb2ycbcr, in 0..1; Cb, Cr and alpha are enlarged by
//! MATLAB's bicubic (Dong et al., TPAMI 2016, section 4.2: "only the luminance channel is considered").
//! Larger pictures are processed in windows that overlap by the receptive field. The result does not depend on their size, bit
//! for bit, except if Winograd's tiles compute a layer (SRCNN 9-3-5 and 9-5-5 on a software adapter): then it does in the last
//! bits of f32.

mod chain;

pub use chain::{Canvas, Chain, Passage, Step, factors};

use super::windows::{Stretch, stretches};
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Params, Select, Session};
use crate::graph::{Given, Graph, NodeId};
use crate::ops::resize::{Kernel, Resize};
use crate::plan::Plan;
use crate::plan::why::Why;
use crate::tensor::Tensor;
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
    model: SuperResolution,
    /// Shared by windows of all sizes: there is one copy on the device.
    weights: Params,
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
    /// The part that the network reads, in pixels of its input.
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
        let tile_px = tile.unwrap_or(TILES[0]);
        let weights = Params::shared(weights);
        let of_model = model.clone();
        let network = device.network(weights.clone(), move |g| {
            g.output("y", g.graph(&[g.input("x")], |graph, x| of_model.build(graph, x[0])));
        });
        network.set_budget(KEPT_BYTES);
        let mut upscaler = Self { device, model, weights, tile: tile_px, memory_bytes: u64::MAX, network };
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
        let mut upscaler = Self::new(device, model, weights, Some(0))?;
        let (smallest, needed) = upscaler.smallest_window()?;
        if needed > bytes {
            return Err(Error::plan(format!(
                "the smallest window of {}, {smallest} × {smallest}, takes {needed} bytes, more than the {bytes} that are \
                 allowed; allow {needed} or more",
                upscaler.model.name
            )));
        }
        upscaler.fit(smallest, bytes)?;
        Ok(upscaler)
    }

    /// Returns the side of the smallest window that keeps anything, and its plan's peak in bytes.
    fn smallest_window(&self) -> Result<(usize, u64)> {
        let side = 2 * self.model.halo + 1;
        let (g, y) = self.graph(side, side)?;
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

    pub fn model(&self) -> &SuperResolution {
        &self.model
    }

    /// Builds the network for an input of `height` × `width`.
    fn graph(&self, height: usize, width: usize) -> Result<(Graph, NodeId)> {
        let mut g = Graph::new();
        let x = g.input("x", [1, 1, height, width])?;
        let y = self.model.build(&mut g, x)?;
        Ok((g, y))
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
        self.device.compile(&g, &[y], self.weights.clone())
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
        (stretches(height, self.tile, self.model.halo), stretches(width, self.tile, self.model.halo))
    }

    /// Returns the output pixels per input pixel, along each side.
    fn ratio(&self) -> usize {
        if self.model.reads == Reads::Small { self.model.scale } else { 1 }
    }

    /// Returns windows of `side` that cover a network input of `height` × `width`, row by row.
    fn cover(&self, height: usize, width: usize, side: usize) -> Vec<Window> {
        let [rows, columns] = [height, width].map(|n| stretches(n, side, self.model.halo));
        let r = self.ratio();
        let window = |row: &Stretch, column: &Stretch| {
            let kept = Rect {
                top: row.keep.0 * r,
                left: column.keep.0 * r,
                height: (row.keep.1 - row.keep.0) * r,
                width: (column.keep.1 - column.keep.0) * r,
            };
            Window {
                read: Rect { top: row.start, left: column.start, height: row.len, width: column.len },
                kept,
                inside: Rect { top: kept.top - row.start * r, left: kept.left - column.start * r, ..kept },
            }
        };
        rows.iter().flat_map(|row| columns.iter().map(move |column| window(row, column))).collect()
    }

    /// Returns the windows of a picture of `height` × `width`, all of one size. Their kept parts cover the result exactly once.
    pub fn windows_of(&self, height: usize, width: usize) -> Vec<Window> {
        let enlarged = if self.model.reads == Reads::Enlarged { self.model.scale } else { 1 };
        self.cover(height * enlarged, width * enlarged, self.tile)
    }

    /// Returns the network's input for `window` of `picture`: luminance in 0..1, `[1, 1, H, W]`.
    ///
    /// # Errors
    /// `window` reaches beyond the picture.
    pub fn read(&self, picture: &Picture, window: &Window) -> Result<Tensor> {
        let rect = window.read;
        match self.model.reads {
            Reads::Small => picture.luma(rect),
            Reads::Enlarged => {
                Tensor::new([1, 1, rect.height, rect.width], picture.resized_rect(Channel::Y, rect, &self.bicubic())?)
            }
        }
    }

    /// Like [`Upscaler::read`], but of a luminance plane `[1, 1, H, W]`.
    fn read_plane(&self, plane: &Tensor, window: &Window) -> Result<Tensor> {
        let ([_, _, height, width], rect) = (plane.shape().nchw(), window.read);
        match self.model.reads {
            Reads::Small => crop(plane, rect),
            Reads::Enlarged => {
                let data = resize_rect(plane.data(), 0, [height, width], rect, &self.bicubic());
                Tensor::new([1, 1, rect.height, rect.width], data)
            }
        }
    }

    /// Returns the bicubic enlargement by the network's scale.
    fn bicubic(&self) -> Resize {
        Resize::by(Kernel::Bicubic, self.model.scale as u32, 1)
    }

    /// Runs the network on the whole of one window: takes the result of [`Upscaler::read`], returns the output `[1, 1, H, W]`.
    ///
    /// # Errors
    /// The window does not fit the device; the device fails.
    pub fn run(&self, input: &Tensor) -> Result<Tensor> {
        let [_, _, height, width] = input.shape().nchw();
        Ok(self.session_for([height, width])?.run(&[("x", input)])?.swap_remove(0))
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
        self.network.session(&[Given::new("x", [1, 1, size[0], size[1]])])
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

    /// Computes the middle window of `picture` on the adapter, computes the tile in it whose luminance varies most with the f64
    /// references on the processor, and compares the two.
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
        let output = self.run(&input)?;
        let side = CHECKED_PX + 2 * self.model.halo;
        let mut best: Option<(f64, Window, Tensor)> = None;
        for tile in self.cover(window.read.height, window.read.width, side) {
            let part = crop(&input, tile.read)?;
            let contrast = variance(&part);
            if best.as_ref().is_none_or(|(most, ..)| contrast > *most) {
                best = Some((contrast, tile, part));
            }
        }
        let Some((_, tile, part)) = best else { return Ok(()) };
        let (g, y) = self.graph(tile.read.height, tile.read.width)?;
        let cpu = Device::open(&Select::Cpu)?.compile(&g, &[y], self.weights.clone())?;
        let expected = crop(&cpu.run(&[("x", &part)])?.swap_remove(0), tile.inside)?;
        agree(&expected, &crop(&output, tile.kept)?).map_err(|problem| {
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
        let scale = self.model.scale;
        let [small_h, small_w] = [truth.height() / scale, truth.width() / scale];
        let size @ [height, width] = [small_h * scale, small_w * scale];
        check_truth(truth, scale)?;
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

    /// Runs the network on a whole luminance plane: takes its input `[1, 1, H, W]`, returns its output.
    ///
    /// # Errors
    /// Those of [`Upscaler::session`].
    pub fn luma(&self, input: &Tensor) -> Result<Tensor> {
        let [_, _, height, width] = input.shape().nchw();
        let r = self.ratio();
        let windows = self.cover(height, width, self.tile);
        self.whole(&windows, [height * r, width * r], |window| crop(input, window.read))
    }

    /// Runs the network on all `windows` and returns its output of `[height, width]`; `read` returns the input for a window.
    fn whole(
        &self,
        windows: &[Window],
        [height, width]: [usize; 2],
        read: impl Fn(&Window) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut output = Tensor::zeros([1, 1, height, width]);
        for window in windows {
            window.paste(&self.run(&read(window)?)?, &mut output)?;
        }
        Ok(output)
    }
}

impl Window {
    /// Copies the kept part of `y`, the network's output for this window, to its place in the whole plane.
    fn paste(&self, y: &Tensor, plane: &mut Tensor) -> Result<()> {
        let ([_, _, _, width], rect) = (plane.shape().nchw(), self.kept);
        for (i, line) in crop(y, self.inside)?.data().chunks(rect.width).enumerate() {
            let at = (rect.top + i) * width + rect.left;
            plane.data_mut()[at..at + rect.width].copy_from_slice(line);
        }
        Ok(())
    }
}

/// Returns a black picture of the size to which `op` resizes `picture`, with its channels, bits, profile and metadata.
fn canvas(picture: &Picture, op: &Resize) -> Result<Picture> {
    let [width, height] = [(1, picture.width()), (0, picture.height())].map(|(k, n)| op.scale[k].size_of(n));
    let mut out = Picture::new(picture.name(), width, height, picture.channels(), picture.samples().bits())?;
    out.set_icc(picture.icc().map(<[u8]>::to_vec));
    out.set_metadata(picture.metadata().clone());
    Ok(out)
}

/// Writes the rectangle `rect` of an enlargement: luminance from `y`, colour and alpha from `picture` resized by `op`.
fn put(picture: &Picture, out: &mut Picture, rect: Rect, y: &[f32], op: &Resize) -> Result<()> {
    let resized = |channel| picture.resized_rect(channel, rect, op);
    if picture.channels().is_grey() {
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

/// Returns a rectangle of a `[1, 1, H, W]` tensor.
fn crop(tensor: &Tensor, rect: Rect) -> Result<Tensor> {
    let [_, _, _, width] = tensor.shape().nchw();
    let lines = tensor.data().chunks(width).skip(rect.top).take(rect.height);
    let data = lines.flat_map(|line| &line[rect.left..rect.left + rect.width]).copied().collect();
    Tensor::new([1, 1, rect.height, rect.width], data)
}

#[cfg(test)]
mod tests {
    use super::*;

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
