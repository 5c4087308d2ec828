//! Pictures: reading, writing, colour as the papers handle it, and access by rectangles.
//!
//! A [`Picture`] keeps the file's samples, 8 or 16 bit, in one buffer; planes of f32 exist only for the requested
//! rectangle. A 12,000 × 9,000 picture therefore takes 324 MB and no more.
//!
//! Planes hold values in 0..1 (0 is black, 1 the largest sample), row by row. Y, Cb and Cr follow ITU-R BT.601 in studio
//! range, as MATLAB's rgb2ycbcr does: Y lies in 16/255..235/255, Cb and Cr in 16/255..240/255. A grey picture is its own Y,
//! in 0..1, because the papers feed grey pictures to the networks unchanged.

use crate::error::{Error, Result};
use crate::ops::resize::{Kernel, Resize, taps_range};
use crate::tensor::Tensor;
use std::ops::Range;

mod canvas;
mod codec;
#[cfg(feature = "cli")]
pub(crate) mod drawing;
mod encode;
mod exif;
#[cfg(feature = "cli")]
pub(crate) mod folder;
mod frames;
mod measure;
mod metadata;
mod resample;
mod tiff;
mod webp;

pub use codec::Format;
pub use encode::{Encoding, FramesWriter};
pub use frames::{Frame, Frames, Plays, Sequence};
pub use measure::Size;
pub use metadata::{MAX_METADATA_BYTES, MAX_PROFILE_BYTES, MAX_XMP_BYTES, Metadata};
pub use resample::{Real, resize_plane, resize_plane_u8};
pub(crate) use resample::{resize_rect, rows_read};

use resample::{columns_first, cut, out_size, resample, whole_taps};

/// Largest size of a decoded picture, in bytes.
pub const MAX_PICTURE_BYTES: u64 = 1 << 30;

/// The samples of a pixel, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
}

impl Channels {
    /// Returns the number of samples per pixel.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba)
    }
    pub fn is_grey(self) -> bool {
        matches!(self, Self::Grey | Self::GreyAlpha)
    }
}

impl std::fmt::Display for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Grey => "grey",
            Self::GreyAlpha => "grey with alpha",
            Self::Rgb => "RGB",
            Self::Rgba => "RGB with alpha",
        })
    }
}

/// The samples of all pixels, row by row, with the channels of a pixel next to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// 8 bit, 0..255.
    U8(Vec<u8>),
    /// 16 bit, 0..65535.
    U16(Vec<u16>),
}

impl Samples {
    /// Returns the bits per sample, 8 or 16.
    pub fn bits(&self) -> u32 {
        match self {
            Self::U8(_) => 8,
            Self::U16(_) => 16,
        }
    }
    fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::U16(v) => v.len(),
        }
    }
    fn max(&self) -> f64 {
        match self {
            Self::U8(_) => 255.0,
            Self::U16(_) => 65535.0,
        }
    }
    fn at(&self, i: usize) -> f64 {
        match self {
            Self::U8(v) => f64::from(v[i]),
            Self::U16(v) => f64::from(v[i]),
        }
    }
    /// Stores a value in the samples' own range, rounded half up and clamped; NaN becomes 0.
    fn set(&mut self, i: usize, value: f64) {
        // A conversion to an integer type saturates.
        match self {
            Self::U8(v) => v[i] = (value + 0.5) as u8,
            Self::U16(v) => v[i] = (value + 0.5) as u16,
        }
    }
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Rect {
    /// Returns the number of pixels.
    pub fn area(&self) -> usize {
        self.height * self.width
    }
    fn rows(&self) -> Range<usize> {
        self.top..self.top + self.height
    }
    fn columns(&self) -> Range<usize> {
        self.left..self.left + self.width
    }
    fn is_within(&self, height: usize, width: usize) -> bool {
        self.top.checked_add(self.height).is_some_and(|end| end <= height)
            && self.left.checked_add(self.width).is_some_and(|end| end <= width)
    }
}

/// What a plane shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Luminance; in a grey picture the grey value itself.
    Y,
    /// Blue difference; 128/255 in a grey picture.
    Cb,
    /// Red difference; 128/255 in a grey picture.
    Cr,
    /// Red; in a grey picture the grey value, like green and blue.
    Red,
    Green,
    Blue,
    /// Opacity; 1 if the picture has no alpha channel.
    Alpha,
}

/// How a channel's value is computed from a pixel's samples.
#[derive(Debug, Clone, Copy)]
enum Recipe {
    Constant(f64),
    Sample(usize),
    /// A row of [`YCBCR`].
    Mix(usize),
}

/// Rows of [`rgb_to_ycbcr`]: results in 0..255 for r, g, b in 0..1.
const YCBCR: [[f64; 3]; 3] = [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]];
const OFFSET: [f64; 3] = [16.0, 128.0, 128.0];
const RGB: [[f64; 3]; 3] = inverse(YCBCR);

const fn inverse(m: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let mut out = [[0.0; 3]; 3];
    let mut i = 0;
    while i < 3 {
        let mut j = 0;
        while j < 3 {
            let (a, b, c, d) = ((j + 1) % 3, (j + 2) % 3, (i + 1) % 3, (i + 2) % 3);
            out[i][j] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
            j += 1;
        }
        i += 1;
    }
    let determinant = m[0][0] * out[0][0] + m[0][1] * out[1][0] + m[0][2] * out[2][0];
    let mut i = 0;
    while i < 9 {
        out[i / 3][i % 3] /= determinant;
        i += 1;
    }
    out
}

/// Converts r, g, b to Y, Cb, Cr, both in 0..1. Black is `[16, 128, 128] / 255`, white `[235, 128, 128] / 255`.
///
/// Source: ITU-R BT.601 as in MATLAB's rgb2ycbcr for floating-point input. For values in 0..255, divide by 255 first.
pub fn rgb_to_ycbcr(rgb: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|k| (YCBCR[k][0] * rgb[0] + YCBCR[k][1] * rgb[1] + YCBCR[k][2] * rgb[2] + OFFSET[k]) / 255.0)
}

/// Undoes [`rgb_to_ycbcr`]. Results outside 0..1 are colours that RGB lacks; they are not clamped here.
pub fn ycbcr_to_rgb(ycbcr: [f64; 3]) -> [f64; 3] {
    let d: [f64; 3] = std::array::from_fn(|k| 255.0 * ycbcr[k] - OFFSET[k]);
    std::array::from_fn(|k| RGB[k][0] * d[0] + RGB[k][1] * d[1] + RGB[k][2] * d[2])
}

/// A picture with the samples of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: Channels,
    samples: Samples,
    icc: Option<Vec<u8>>,
    metadata: Metadata,
    name: String,
}

impl Picture {
    /// Creates a black (and, with alpha, transparent) picture with 8 or 16 `bits` per sample.
    ///
    /// # Errors
    /// A side is 0; the picture takes more than [`MAX_PICTURE_BYTES`].
    pub fn new(name: &str, width: usize, height: usize, channels: Channels, bits: u32) -> Result<Self> {
        check_size(name, width as u64, height as u64, channels, bits)?;
        let len = width * height * channels.count();
        let samples = if bits == 16 { Samples::U16(vec![0; len]) } else { Samples::U8(vec![0; len]) };
        Ok(Self { width, height, channels, samples, icc: None, metadata: Metadata::default(), name: name.into() })
    }

    /// Creates a picture from samples in the order of [`Samples`].
    ///
    /// # Errors
    /// The number of samples is not width · height · channels; those of [`Picture::new`].
    pub fn from_samples(name: &str, width: usize, height: usize, channels: Channels, samples: Samples) -> Result<Self> {
        check_size(name, width as u64, height as u64, channels, samples.bits())?;
        if samples.len() != width * height * channels.count() {
            let expected = width * height * channels.count();
            let problem =
                format!("a {width}x{height} {channels} picture has {expected} samples, got {}", samples.len());
            return Err(Error::image(name, problem));
        }
        Ok(Self { width, height, channels, samples, icc: None, metadata: Metadata::default(), name: name.into() })
    }

    pub fn width(&self) -> usize {
        self.width
    }
    pub fn height(&self) -> usize {
        self.height
    }
    pub fn channels(&self) -> Channels {
        self.channels
    }
    pub fn samples(&self) -> &Samples {
        &self.samples
    }
    /// Returns the embedded colour profile as stored in the file.
    pub fn icc(&self) -> Option<&[u8]> {
        self.icc.as_deref()
    }
    pub fn set_icc(&mut self, icc: Option<Vec<u8>>) {
        self.icc = icc;
    }
    /// Returns EXIF, XMP and resolution.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    pub fn set_metadata(&mut self, metadata: Metadata) {
        self.metadata = metadata;
    }
    /// Returns where the picture came from, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Returns the rectangle of the whole picture.
    pub fn whole(&self) -> Rect {
        Rect { top: 0, left: 0, height: self.height, width: self.width }
    }

    /// Returns one channel of a rectangle, in 0..1, row by row.
    ///
    /// # Errors
    /// The rectangle extends beyond the picture.
    pub fn plane(&self, channel: Channel, rect: Rect) -> Result<Vec<f32>> {
        self.check_rect(rect, self.height, self.width)?;
        let recipe = self.recipe(channel);
        let mut plane = Vec::with_capacity(rect.area());
        for i in rect.rows() {
            plane.extend(rect.columns().map(|j| self.value(recipe, i * self.width + j) as f32));
        }
        Ok(plane)
    }

    fn recipe(&self, channel: Channel) -> Recipe {
        let grey = self.channels.is_grey();
        match channel {
            Channel::Alpha if self.channels.has_alpha() => Recipe::Sample(self.channels.count() - 1),
            Channel::Alpha => Recipe::Constant(1.0),
            Channel::Cb | Channel::Cr if grey => Recipe::Constant(128.0 / 255.0),
            _ if grey => Recipe::Sample(0),
            Channel::Red => Recipe::Sample(0),
            Channel::Green => Recipe::Sample(1),
            Channel::Blue => Recipe::Sample(2),
            Channel::Y => Recipe::Mix(0),
            Channel::Cb => Recipe::Mix(1),
            Channel::Cr => Recipe::Mix(2),
        }
    }

    /// Returns a channel of one pixel, in 0..1.
    fn value(&self, recipe: Recipe, pixel: usize) -> f64 {
        let at = pixel * self.channels.count();
        match recipe {
            Recipe::Constant(value) => value,
            Recipe::Sample(k) => self.samples.at(at + k) / self.samples.max(),
            Recipe::Mix(row) => {
                let [r, g, b] = [0, 1, 2].map(|k| self.samples.at(at + k));
                let sum = YCBCR[row][0] * r + YCBCR[row][1] * g + YCBCR[row][2] * b;
                (sum / self.samples.max() + OFFSET[row]) / 255.0
            }
        }
    }

    /// Returns the luminance of a rectangle, in 0..1, as `[1, 1, height, width]`.
    ///
    /// # Errors
    /// The rectangle extends beyond the picture.
    pub fn luma(&self, rect: Rect) -> Result<Tensor> {
        Tensor::new([1, 1, rect.height, rect.width], self.plane(Channel::Y, rect)?)
    }

    /// Returns the luminance of the whole picture, rounded to 8 bit as MATLAB's rgb2ycbcr does for uint8. The papers measure this.
    pub fn luma_u8(&self) -> Vec<u8> {
        let recipe = self.recipe(Channel::Y);
        (0..self.width * self.height).map(|pixel| (self.value(recipe, pixel) * 255.0 + 0.5) as u8).collect()
    }

    /// Returns the rectangle `rect` of this picture's `channel` resized by `op`, in 0..1 except for overshoot. It equals the
    /// same rectangle of the whole result bit for bit, because every sample is summed in the same order from the same table.
    ///
    /// # Errors
    /// `op` refuses the size; `rect` extends beyond the result.
    pub fn resized_rect(&self, channel: Channel, rect: Rect, op: &Resize) -> Result<Vec<f32>> {
        let [out_height, out_width] = out_size(op, [self.height, self.width])?;
        self.check_rect(rect, out_height, out_width)?;
        let mut rows = taps_range(op, 0, self.height, rect.rows());
        let mut columns = taps_range(op, 1, self.width, rect.columns());
        let (top, height) = cut(&mut rows);
        let (left, width) = cut(&mut columns);
        let source = self.plane(channel, Rect { top, left, height, width })?;
        Ok(resample(&source, width, &rows, &columns, columns_first(op), |v| v))
    }

    /// Returns the rectangle `rect` of `channel` enlarged bicubically by `scale`; see [`Picture::resized_rect`].
    ///
    /// # Errors
    /// Those of [`Picture::resized_rect`].
    pub fn bicubic_rect(&self, channel: Channel, rect: Rect, scale: u32) -> Result<Vec<f32>> {
        self.resized_rect(channel, rect, &Resize::by(Kernel::Bicubic, scale, 1))
    }

    /// Resizes all channels and rounds to the samples' own depth after each of the two passes, as imresize does for uint8
    /// and uint16.
    ///
    /// # Errors
    /// `op` refuses the size; the result is too large.
    pub fn resize(&self, op: &Resize) -> Result<Self> {
        let [height, width] = out_size(op, [self.height, self.width])?;
        let mut out = Self::new(&self.name, width, height, self.channels, self.samples.bits())?;
        let count = self.channels.count();
        let [rows, columns] = whole_taps(op, [self.height, self.width], [height, width]);
        let max = self.samples.max();
        for k in 0..count {
            let plane: Vec<f32> =
                (0..self.width * self.height).map(|i| self.samples.at(i * count + k) as f32).collect();
            let resized =
                resample(&plane, self.width, &rows, &columns, columns_first(op), |v| (v + 0.5).floor().clamp(0.0, max));
            for (i, v) in resized.into_iter().enumerate() {
                out.samples.set(i * count + k, v.into());
            }
        }
        out.icc.clone_from(&self.icc);
        out.metadata.clone_from(&self.metadata);
        Ok(out)
    }

    /// Returns a copy of a rectangle.
    ///
    /// # Errors
    /// The rectangle is empty or extends beyond the picture.
    pub fn crop(&self, rect: Rect) -> Result<Self> {
        self.check_rect(rect, self.height, self.width)?;
        let count = self.channels.count();
        let mut out = Self::new(&self.name, rect.width, rect.height, self.channels, self.samples.bits())?;
        for i in 0..rect.height {
            let from = ((rect.top + i) * self.width + rect.left) * count;
            let (from, to) = (from..from + rect.width * count, i * rect.width * count..(i + 1) * rect.width * count);
            match (&self.samples, &mut out.samples) {
                (Samples::U8(a), Samples::U8(b)) => b[to].copy_from_slice(&a[from]),
                (Samples::U16(a), Samples::U16(b)) => b[to].copy_from_slice(&a[from]),
                _ => unreachable!("both have the same depth"),
            }
        }
        out.icc.clone_from(&self.icc);
        out.metadata.clone_from(&self.metadata);
        Ok(out)
    }

    /// Copies `other` into this picture, with its top left corner at (`top`, `left`).
    ///
    /// # Errors
    /// `other` extends beyond this picture; the pictures differ in channels or depth.
    pub fn paste(&mut self, other: &Self, top: usize, left: usize) -> Result<()> {
        let rect = Rect { top, left, ..other.whole() };
        self.check_rect(rect, self.height, self.width)?;
        if self.channels != other.channels {
            return Err(Error::image(&self.name, "cannot take a picture with other channels"));
        }
        let line = other.width * self.channels.count();
        for i in 0..other.height {
            let at = ((top + i) * self.width + left) * self.channels.count();
            match (&mut self.samples, &other.samples) {
                (Samples::U8(a), Samples::U8(b)) => a[at..at + line].copy_from_slice(&b[i * line..(i + 1) * line]),
                (Samples::U16(a), Samples::U16(b)) => a[at..at + line].copy_from_slice(&b[i * line..(i + 1) * line]),
                _ => return Err(Error::image(&self.name, "cannot take a picture of another depth")),
            }
        }
        Ok(())
    }

    /// Writes a rectangle of an RGB picture from planes in 0..1, rounded half up and clamped.
    ///
    /// # Errors
    /// The rectangle extends beyond the picture; a plane has another size; the picture is grey.
    pub fn put_ycbcr(&mut self, rect: Rect, y: &[f32], cb: &[f32], cr: &[f32]) -> Result<()> {
        if self.channels.is_grey() {
            return Err(Error::image(&self.name, "the picture is grey and has no colours; use put_grey"));
        }
        self.check_planes(rect, &[y, cb, cr])?;
        let max = self.samples.max();
        self.each_pixel(rect, |samples, at, i| {
            let rgb = ycbcr_to_rgb([y[i], cb[i], cr[i]].map(f64::from));
            for (k, v) in rgb.into_iter().enumerate() {
                samples.set(at + k, v * max);
            }
        });
        Ok(())
    }

    /// Writes a rectangle from planes of red, green and blue in 0..1, rounded half up and clamped; a grey picture gets their mean.
    ///
    /// # Errors
    /// The rectangle extends beyond the picture; a plane has another size.
    pub fn put_rgb(&mut self, rect: Rect, planes: [&[f32]; 3]) -> Result<()> {
        self.check_planes(rect, &planes)?;
        let (max, is_grey) = (self.samples.max(), self.channels.is_grey());
        self.each_pixel(rect, |samples, at, i| {
            let rgb = planes.map(|plane| f64::from(plane[i]));
            if is_grey {
                return samples.set(at, rgb.iter().sum::<f64>() / 3.0 * max);
            }
            for (k, v) in rgb.into_iter().enumerate() {
                samples.set(at + k, v * max);
            }
        });
        Ok(())
    }

    /// Writes a rectangle of a grey picture from a plane in 0..1, rounded half up and clamped.
    ///
    /// # Errors
    /// The rectangle extends beyond the picture; the plane has another size; the picture has colours.
    pub fn put_grey(&mut self, rect: Rect, grey: &[f32]) -> Result<()> {
        if !self.channels.is_grey() {
            return Err(Error::image(&self.name, "the picture has colours; use put_ycbcr"));
        }
        self.check_planes(rect, &[grey])?;
        let max = self.samples.max();
        self.each_pixel(rect, |samples, at, i| samples.set(at, f64::from(grey[i]) * max));
        Ok(())
    }

    /// Writes the alpha channel of a rectangle from a plane in 0..1, rounded half up and clamped.
    ///
    /// # Errors
    /// The rectangle extends beyond the picture; the plane has another size; the picture has no alpha.
    pub fn put_alpha(&mut self, rect: Rect, alpha: &[f32]) -> Result<()> {
        if !self.channels.has_alpha() {
            return Err(Error::image(&self.name, "the picture has no alpha channel"));
        }
        self.check_planes(rect, &[alpha])?;
        let (max, last) = (self.samples.max(), self.channels.count() - 1);
        self.each_pixel(rect, |samples, at, i| samples.set(at + last, f64::from(alpha[i]) * max));
        Ok(())
    }

    /// Calls `f(samples, first sample of the pixel, index in the rectangle)`.
    fn each_pixel(&mut self, rect: Rect, mut f: impl FnMut(&mut Samples, usize, usize)) {
        for i in 0..rect.height {
            for j in 0..rect.width {
                let at = ((rect.top + i) * self.width + rect.left + j) * self.channels.count();
                f(&mut self.samples, at, i * rect.width + j);
            }
        }
    }

    fn check_rect(&self, rect: Rect, height: usize, width: usize) -> Result<()> {
        if rect.is_within(height, width) {
            return Ok(());
        }
        Err(Error::image(&self.name, format!("{rect:?} reaches beyond the {width}x{height} pixels")))
    }

    fn check_planes(&self, rect: Rect, planes: &[&[f32]]) -> Result<()> {
        self.check_rect(rect, self.height, self.width)?;
        match planes.iter().find(|p| p.len() != rect.area()) {
            Some(p) => Err(Error::image(&self.name, format!("a plane of {rect:?} has the wrong length {}", p.len()))),
            None => Ok(()),
        }
    }
}

fn check_size(name: &str, width: u64, height: u64, channels: Channels, bits: u32) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::image(name, format!("a picture must have at least 1x1 pixels, got {width}x{height}")));
    }
    let bytes = u128::from(width) * u128::from(height) * (channels.count() as u128) * u128::from(bits / 8);
    if bytes > u128::from(MAX_PICTURE_BYTES) {
        let problem = format!(
            "{width}x{height} pixels, {channels}, {bits} bit, would take {:.1} GiB of memory, the limit is {} GiB; crop \
             it, make it smaller, or cut it into parts first",
            bytes as f64 / f64::from(1 << 30),
            MAX_PICTURE_BYTES >> 30
        );
        return Err(Error::image(name, problem));
    }
    Ok(())
}
