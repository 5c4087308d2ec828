//! The pictures of a file one after another: a still picture's one, an animated GIF's frames with their delays.

use super::{Channels, Format, Picture, Samples, check_size};
use crate::error::{Error, Result};
use ::image::codecs::gif::GifDecoder;
use ::image::{AnimationDecoder, ImageDecoder};
use std::borrow::Cow;
use std::io::{Cursor, Write};

/// Of the search for a palette: 1 is the best and slowest, 30 the fastest.
const PALETTE_SPEED: i32 = 10;

/// How often an animation plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plays {
    Once,
    /// Once, then again as often as this.
    Again(u16),
    Forever,
}

/// A picture and how long it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub picture: Picture,
    /// Hundredths of a second, as GIF counts; 0 for a still picture.
    pub delay: u16,
}

/// What a GIF says of all its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Animated {
    pub width: usize,
    pub height: usize,
    pub frames: usize,
    pub plays: Plays,
}

/// Counts the frames of a GIF without keeping them.
pub(super) fn look(bytes: impl std::io::Read) -> std::result::Result<Animated, gif::DecodingError> {
    let mut decoder = gif::DecodeOptions::new().read_info(bytes)?;
    let mut frames = 0;
    while decoder.next_frame_info()?.is_some() {
        frames += 1;
    }
    let plays = match decoder.repeat() {
        gif::Repeat::Finite(0) => Plays::Once,
        gif::Repeat::Finite(n) => Plays::Again(n),
        gif::Repeat::Infinite => Plays::Forever,
    };
    Ok(Animated { width: decoder.width().into(), height: decoder.height().into(), frames, plays })
}

/// The pictures of a file, decoded one after another.
pub struct Frames {
    name: String,
    animated: Option<Animated>,
    rest: Rest,
}

enum Rest {
    Still(Option<Vec<u8>>),
    Animated(::image::Frames<'static>),
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Frames").field("name", &self.name).field("animated", &self.animated).finish_non_exhaustive()
    }
}

impl Frames {
    /// `bytes` of any file that [`Picture::decode`] takes. A GIF of several frames gives all of them, each as a whole
    /// picture: RGB, with alpha (0 or 255) where a pixel is transparent. Any other file gives one.
    ///
    /// # Errors
    /// A GIF that is damaged, truncated or too large; what [`Picture::decode`] refuses comes with the picture.
    pub fn decode(bytes: Vec<u8>, name: &str) -> Result<Self> {
        let still = |bytes| Self { name: name.into(), animated: None, rest: Rest::Still(Some(bytes)) };
        if Format::of_content(&bytes) != Some(Format::Gif) {
            return Ok(still(bytes));
        }
        let animated = look(bytes.as_slice()).map_err(|e| broken(name, &e))?;
        if animated.frames < 2 {
            return Ok(still(bytes));
        }
        let decoder = GifDecoder::new(Cursor::new(bytes)).map_err(|e| broken(name, &e))?;
        let (width, height) = decoder.dimensions();
        check_size(name, width.into(), height.into(), Channels::Rgba, 8)?;
        Ok(Self { name: name.into(), animated: Some(animated), rest: Rest::Animated(decoder.into_frames()) })
    }

    /// [`Frames::decode`] of a file.
    ///
    /// # Errors
    /// Those of [`Frames::decode`]; the file is missing, a folder, or cannot be read.
    #[cfg(feature = "cli")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::files::read(path, |file, problem| Error::Image { file, problem })?;
        Self::decode(bytes, &path.display().to_string())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.animated.map_or(1, |a| a.frames)
    }

    /// How often they play; none for a still picture.
    pub fn plays(&self) -> Option<Plays> {
        self.animated.map(|a| a.plays)
    }

    /// The next one; none after the last.
    ///
    /// # Errors
    /// Those of [`Picture::decode`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        match &mut self.rest {
            Rest::Still(bytes) => {
                let Some(bytes) = bytes.take() else { return Ok(None) };
                Ok(Some(Frame { picture: Picture::decode(&bytes, &self.name)?, delay: 0 }))
            }
            Rest::Animated(frames) => {
                let Some(frame) = frames.next() else { return Ok(None) };
                let frame = frame.map_err(|e| broken(&self.name, &e))?;
                let (numerator, denominator) = frame.delay().numer_denom_ms();
                let delay = (numerator / denominator.max(1) / 10).min(u16::MAX.into()) as u16;
                let buffer = frame.into_buffer();
                let (width, height) = (buffer.width() as usize, buffer.height() as usize);
                Ok(Some(Frame { picture: picture(&self.name, width, height, buffer.into_raw())?, delay }))
            }
        }
    }
}

fn broken(name: &str, problem: &dyn std::fmt::Display) -> Error {
    Error::image(name, format!("this GIF file is damaged or truncated: {problem}; copy or download it again"))
}

/// The one of `sorted` that is nearest to `at`.
fn nearest(sorted: &[usize], at: usize) -> Option<usize> {
    let behind = sorted.partition_point(|&k| k < at);
    let near = [behind.checked_sub(1), Some(behind)].into_iter().flatten().filter_map(|k| sorted.get(k));
    near.copied().min_by_key(|k| k.abs_diff(at))
}

/// RGBA of which alpha is 0 or 255, without it where all is opaque. Transparent pixels get the colour of an opaque one nearby,
/// so that an enlargement mixes no black into an edge.
pub(super) fn picture(name: &str, width: usize, height: usize, mut rgba: Vec<u8>) -> Result<Picture> {
    if rgba.chunks_exact(4).all(|pixel| pixel[3] == 255) {
        let rgb = rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        return Picture::from_samples(name, width, height, Channels::Rgb, Samples::U8(rgb));
    }
    let mut rows = Vec::new();
    for (i, row) in rgba.chunks_exact_mut(4 * width).enumerate() {
        let opaque: Vec<usize> = (0..width).filter(|j| row[4 * j + 3] != 0).collect();
        for j in 0..width {
            if let Some(k) = nearest(&opaque, j) {
                row.copy_within(4 * k..4 * k + 3, 4 * j);
            }
        }
        if !opaque.is_empty() {
            rows.push(i);
        }
    }
    for i in (0..height).filter(|i| rows.binary_search(i).is_err()) {
        let Some(from) = nearest(&rows, i) else { break };
        for j in 0..width {
            let at = 4 * (from * width + j);
            rgba.copy_within(at..at + 3, 4 * (i * width + j));
        }
    }
    Picture::from_samples(name, width, height, Channels::Rgba, Samples::U8(rgba))
}

/// Writes a GIF frame by frame, each with its own palette of at most 256 colours.
pub struct GifWriter<W: Write> {
    name: String,
    encoder: gif::Encoder<W>,
}

impl<W: Write> std::fmt::Debug for GifWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("GifWriter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<W: Write> GifWriter<W> {
    /// `name` is the output's, for messages.
    ///
    /// # Errors
    /// A side of more than 65,535 pixels; writing fails.
    pub fn new(out: W, name: &str, width: usize, height: usize, plays: Plays) -> Result<Self> {
        Picture::check_encode(name, width, height, Channels::Rgb, Format::Gif)?;
        let fail = |e| failed(name, e);
        let mut encoder = gif::Encoder::new(out, width as u16, height as u16, &[]).map_err(fail)?;
        match plays {
            Plays::Once => {}
            Plays::Again(n) => encoder.set_repeat(gif::Repeat::Finite(n)).map_err(fail)?,
            Plays::Forever => encoder.set_repeat(gif::Repeat::Infinite).map_err(fail)?,
        }
        Ok(Self { name: name.into(), encoder })
    }

    /// Adds a frame of the size that [`GifWriter::new`] was given. What is less than half opaque becomes transparent, all else
    /// opaque; `delay` counts hundredths of a second.
    ///
    /// # Errors
    /// Writing fails.
    pub fn frame(&mut self, picture: &Picture, delay: u16) -> Result<()> {
        let mut rgba = picture.rgba8();
        for pixel in rgba.chunks_exact_mut(4) {
            let alpha = if pixel[3] < 128 { [0; 4] } else { [pixel[0], pixel[1], pixel[2], 255] };
            pixel.copy_from_slice(&alpha);
        }
        let (width, height) = (picture.width() as u16, picture.height() as u16);
        let mut frame = gif::Frame::from_rgba_speed(width, height, &mut rgba, PALETTE_SPEED);
        frame.delay = delay;
        // Every frame is whole, and must not show what was below its transparent pixels.
        frame.dispose = gif::DisposalMethod::Background;
        self.encoder.write_frame(&frame).map_err(|e| failed(&self.name, e))
    }

    /// Ends the file and gives back what it was written to.
    ///
    /// # Errors
    /// Writing fails.
    pub fn finish(self) -> Result<W> {
        self.encoder.into_inner().map_err(|e| failed(&self.name, e))
    }
}

fn failed(name: &str, error: gif::EncodingError) -> Error {
    match error {
        gif::EncodingError::Io(e) => Error::io(name, e),
        e => Error::image(name, format!("cannot be written as GIF: {e}")),
    }
}

impl Picture {
    /// Red, green, blue and alpha of every pixel in 8 bit, to which 16-bit samples are rounded.
    fn rgba8(&self) -> Vec<u8> {
        let samples: Cow<[u8]> = match &self.samples {
            Samples::U8(v) => v.into(),
            Samples::U16(v) => v.iter().map(|&s| ((u32::from(s) + 128) / 257) as u8).collect(),
        };
        let pixel = |p: &[u8]| match *p {
            [grey] => [grey, grey, grey, 255],
            [grey, alpha] => [grey, grey, grey, alpha],
            [r, g, b] => [r, g, b, 255],
            [r, g, b, a, ..] => [r, g, b, a],
            [] => [0; 4],
        };
        samples.chunks_exact(self.channels.count()).flat_map(pixel).collect()
    }
}
