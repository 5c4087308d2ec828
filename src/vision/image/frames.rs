//! Decodes the pictures of a file one after another: the only one of a still picture, the frames of an animation with their
//! delays, the pages of a TIFF.

use super::canvas::{Canvas, Patch, Then};
use super::measure::{self, Look, Size};
use super::metadata::{self, Metadata};
use super::{Channels, Format, Picture, Rect, Samples, check_size};
use crate::error::{Error, Result};
use ::image::codecs::gif::GifDecoder;
use ::image::{AnimationDecoder, ImageDecoder};
use std::io::Cursor;

/// How often an animation plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plays {
    Once,
    /// Once, then this many more times.
    Again(u16),
    Forever,
}

impl Plays {
    /// Converts from the count of PNG and WebP, where 0 is forever.
    pub(super) fn of(count: u32) -> Self {
        match count {
            0 => Self::Forever,
            1 => Self::Once,
            n => Self::Again(u16::try_from(n - 1).unwrap_or(u16::MAX)),
        }
    }

    /// Undoes [`Plays::of`].
    pub(super) fn count(self) -> u32 {
        match self {
            Self::Once => 1,
            Self::Again(n) => u32::from(n) + 1,
            Self::Forever => 0,
        }
    }
}

/// How the pictures of a file relate to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// There is only one.
    Single,
    /// Pages of a document; they may differ in size, channels and depth.
    Pages,
    /// Frames of one size, 8 bit.
    Animation(Plays),
}

impl Sequence {
    /// Returns how often it plays, or `None` if it is not an animation.
    pub fn plays(self) -> Option<Plays> {
        match self {
            Self::Animation(plays) => Some(plays),
            Self::Single | Self::Pages => None,
        }
    }
}

/// A picture and how long it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub picture: Picture,
    /// Milliseconds; 0 if it is not part of an animation.
    pub delay_ms: u32,
}

/// The pictures of a file, decoded one after another.
pub struct Frames {
    name: String,
    count: usize,
    sequence: Sequence,
    /// Metadata of an animation; other pictures have their own.
    metadata: Metadata,
    rest: Rest,
}

enum Rest {
    Single(Option<Vec<u8>>),
    /// The file, the offsets of its pages, the index of the next page.
    Pages(Vec<u8>, Vec<u64>, usize),
    Gif(::image::Frames<'static>),
    Png(Box<Png>, Option<Vec<u8>>),
    WebP(super::webp::Frames, Option<Vec<u8>>),
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { name, count, sequence, .. } = self;
        f.debug_struct("Frames")
            .field("name", name)
            .field("count", count)
            .field("sequence", sequence)
            .finish_non_exhaustive()
    }
}

impl Frames {
    /// Opens the `bytes` of any file that [`Picture::decode`] accepts. An animated GIF, PNG or WebP yields all its frames, each as
    /// a complete picture: RGB in 8 bit, with alpha if a pixel is not opaque. An animated PNG's default picture, for viewers
    /// without animation, is left out unless it is a frame. A TIFF yields all its pages, without thumbnails and masks. Any other
    /// file yields one picture.
    ///
    /// # Errors
    /// An animation or a list of pages is damaged, truncated or too large. The errors of [`Picture::decode`] come with each
    /// picture.
    pub fn decode(mut bytes: Vec<u8>, name: &str) -> Result<Self> {
        let format = Format::of_content(&bytes);
        let look = format.map_or(Ok(None), |format| measure::look(format, Cursor::new(&bytes)));
        let look = look.map_err(|e| match format {
            Some(format) => broken(format, name, &e),
            None => Error::image(name, e),
        })?;
        let single = |bytes| Rest::Single(Some(bytes));
        let Some(look) = look else {
            return Ok(Self {
                name: name.into(),
                count: 1,
                sequence: Sequence::Single,
                metadata: Metadata::default(),
                rest: single(bytes),
            });
        };
        let Look { size: Size { width, height, frames: count, sequence, .. }, kind } = look;
        let mut metadata = Metadata::default();
        if let (Sequence::Animation(_), Some(format)) = (sequence, format) {
            check_size(name, width as u64, height as u64, Channels::Rgba, 8)?;
            // Frames that are cut off would silently be missing.
            if super::codec::ends_early(format, &bytes) {
                return Err(broken(format, name, &"it ends early"));
            }
            metadata::check(format, &bytes, name)?;
            metadata = Metadata::read(format, &bytes);
        }
        let fits = |icc: &Vec<u8>| super::codec::profile_fits(icc, Channels::Rgb);
        let rest = match kind {
            measure::Kind::Pages(offsets) if count == 1 => {
                // The first directory of the file may belong to a thumbnail.
                super::tiff::begin_with(&mut bytes, offsets[0]);
                single(bytes)
            }
            measure::Kind::Pages(offsets) => Rest::Pages(bytes, offsets, 0),
            measure::Kind::Gif => {
                let decoder = GifDecoder::new(Cursor::new(bytes)).map_err(|e| broken(Format::Gif, name, &e))?;
                Rest::Gif(decoder.into_frames())
            }
            measure::Kind::Png => {
                let png = Png::new(bytes, count).map_err(|e| broken(Format::Png, name, &e))?;
                let icc = png.reader.info().icc_profile.as_ref().map(|icc| icc.to_vec()).filter(fits);
                Rest::Png(Box::new(png), icc)
            }
            measure::Kind::WebP(animation) => {
                let mut decoder = ::image::codecs::webp::WebPDecoder::new(Cursor::new(bytes.as_slice()))
                    .map_err(|e| broken(Format::WebP, name, &e))?;
                let icc = decoder.icc_profile().map_err(|e| broken(Format::WebP, name, &e))?.filter(fits);
                Rest::WebP(super::webp::Frames::new(bytes, animation), icc)
            }
        };
        Ok(Self { name: name.into(), count, sequence, metadata, rest })
    }

    /// [`Frames::decode`] of a file.
    ///
    /// # Errors
    /// Those of [`Frames::decode`]; the file is missing, a folder, or cannot be read.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::files::read(path, |file, problem| Error::Image { file, problem })?;
        Self::decode(bytes, &path.display().to_string())
    }

    /// Returns the number of pictures.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Returns how often they play, or `None` if they are not an animation.
    pub fn plays(&self) -> Option<Plays> {
        self.sequence.plays()
    }

    /// Checks that files of `format` can hold all pictures.
    ///
    /// # Errors
    /// They cannot; the message says which formats can.
    pub fn check_format(&self, format: Format) -> Result<()> {
        if format.holds(self.sequence) {
            return Ok(());
        }
        let (count, shows) = (self.count, format.name());
        Err(Error::image(
            &self.name,
            match self.sequence {
                Sequence::Pages => format!(
                    "has {count} pages, and {shows} holds one; choose TIFF for the output (.tif), or split it into single \
                     pages first"
                ),
                _ => format!(
                    "is an animation of {count} frames, and {shows} shows one picture; choose GIF, PNG or WebP for the \
                     output (.gif, .png, .webp)"
                ),
            },
        ))
    }

    /// Decodes the next picture. Returns `None` after the last.
    ///
    /// # Errors
    /// Those of [`Picture::decode`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let (name, size) = (&self.name, |canvas: &Canvas| [canvas.width(), canvas.height()]);
        let (rgba, [width, height], delay_ms, icc) = match &mut self.rest {
            Rest::Single(bytes) => {
                let Some(bytes) = bytes.take() else { return Ok(None) };
                return Ok(Some(Frame { picture: Picture::decode(&bytes, name)?, delay_ms: 0 }));
            }
            Rest::Pages(bytes, offsets, next) => {
                let Some(&offset) = offsets.get(*next) else { return Ok(None) };
                *next += 1;
                super::tiff::begin_with(bytes, offset);
                let picture = Picture::decode(bytes, &format!("{name}, page {next}"))?;
                return Ok(Some(Frame { picture, delay_ms: 0 }));
            }
            Rest::Gif(frames) => {
                let Some(frame) = frames.next() else { return Ok(None) };
                let frame = frame.map_err(|e| broken(Format::Gif, name, &e))?;
                let (ms, of) = frame.delay().numer_denom_ms();
                let buffer = frame.into_buffer();
                let size = [buffer.width() as usize, buffer.height() as usize];
                (buffer.into_raw(), size, ms / of.max(1), None)
            }
            Rest::Png(png, icc) => {
                let Some(frame) = png.next() else { return Ok(None) };
                let ms = frame.map_err(|e| broken(Format::Png, name, &e))?;
                (png.canvas.rgba().to_vec(), size(&png.canvas), ms, icc.clone())
            }
            Rest::WebP(frames, icc) => {
                let Some(frame) = frames.next() else { return Ok(None) };
                let ms = frame.map_err(|e| broken(Format::WebP, name, &e))?;
                (frames.canvas().rgba().to_vec(), size(frames.canvas()), ms, icc.clone())
            }
        };
        let mut picture = picture(name, width, height, rgba)?;
        picture.set_icc(icc);
        picture.set_metadata(self.metadata.clone());
        Ok(Some(Frame { picture, delay_ms }))
    }
}

/// An animated PNG, whose frames are converted to 8 bit.
struct Png {
    reader: png::Reader<Cursor<Vec<u8>>>,
    canvas: Canvas,
    left: usize,
    /// Whether the first picture of the file is not a frame and is still to come.
    has_stand_in: bool,
}

impl Png {
    fn new(bytes: Vec<u8>, frames: usize) -> std::result::Result<Self, String> {
        let limit = measure::png_limit(&bytes, frames) as usize;
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: limit });
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
        decoder.set_ignore_text_chunk(true);
        let reader = decoder.read_info().map_err(|e| e.to_string())?;
        let info = reader.info();
        let canvas = Canvas::new(info.width as usize, info.height as usize);
        let has_stand_in = info.frame_control.is_none();
        Ok(Self { reader, canvas, left: frames, has_stand_in })
    }

    /// Draws the next frame and returns its duration in ms.
    fn next(&mut self) -> Option<std::result::Result<u32, String>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.draw().map_err(|e| e.to_string()))
    }

    fn draw(&mut self) -> std::result::Result<u32, png::DecodingError> {
        if std::mem::take(&mut self.has_stand_in) {
            self.reader.next_frame_info()?;
        }
        let mut samples = vec![0; self.reader.output_buffer_size().unwrap_or(0)];
        let out = self.reader.next_frame(&mut samples)?;
        let (width, height) = (out.width as usize, out.height as usize);
        samples.truncate(out.buffer_size());
        let channels = match out.color_type {
            png::ColorType::Grayscale => Channels::Grey,
            png::ColorType::GrayscaleAlpha => Channels::GreyAlpha,
            png::ColorType::Rgba => Channels::Rgba,
            png::ColorType::Rgb | png::ColorType::Indexed => Channels::Rgb,
        };
        let rgba = super::encode::rgba8(&samples, channels);
        let control = self.reader.info().frame_control.unwrap_or_default();
        let rect = Rect { top: control.y_offset as usize, left: control.x_offset as usize, height, width };
        if !self.canvas.holds(rect) || rgba.len() != 4 * rect.area() {
            let problem = "a frame extends beyond the picture";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, problem).into());
        }
        self.canvas.draw(&Patch {
            rgba,
            rect,
            blends: control.blend_op == png::BlendOp::Over,
            then: match control.dispose_op {
                png::DisposeOp::None => Then::Stay,
                png::DisposeOp::Background => Then::Clear,
                png::DisposeOp::Previous => Then::Restore,
            },
        });
        // A denominator of 0 means 100.
        let den = if control.delay_den == 0 { 100 } else { u32::from(control.delay_den) };
        Ok((1000 * u32::from(control.delay_num) + den / 2) / den)
    }
}

fn broken(format: Format, name: &str, problem: &dyn std::fmt::Display) -> Error {
    let problem = super::codec::plain(&problem.to_string());
    Error::image(
        name,
        format!("this {} file is damaged or truncated: {problem}; copy or download it again", format.name()),
    )
}

/// Returns the element of `sorted` nearest to `at`.
fn nearest(sorted: &[usize], at: usize) -> Option<usize> {
    let behind = sorted.partition_point(|&k| k < at);
    let near = [behind.checked_sub(1), Some(behind)].into_iter().flatten().filter_map(|k| sorted.get(k));
    near.copied().min_by_key(|k| k.abs_diff(at))
}

/// Creates a picture from RGBA, without alpha if everything is opaque. Fully transparent pixels get the colour of a visible one
/// nearby, so that an enlargement mixes no black into an edge.
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
