//! Writes picture files of one picture, of the frames of an animation or of pages, and defines what the formats keep.

use super::exif::{self, EXIF_DIRECTORY, Exif, GPS_DIRECTORY};
use super::metadata::{self, Beside};
use super::webp::{self, WebPWriter};
use super::{Channels, Format, Picture, Plays, Samples, Sequence};
use crate::error::{Error, Result};
use ::image::codecs::{bmp, jpeg};
use ::image::{ExtendedColorType, ImageEncoder, ImageError};
use std::borrow::Cow;
use std::io::{Cursor, Seek, SeekFrom, Write};
use tiff::encoder::{DirectoryEncoder, Rational, TiffEncoder, TiffKindStandard, TiffValue, colortype};
use tiff::tags::{ResolutionUnit, Tag, Type};

/// Default quality of JPEG files, out of 100.
const JPEG_QUALITY: u8 = 95;

/// Speed of the search for a palette: 1 is the best and slowest, 30 the fastest.
const PALETTE_SPEED: i32 = 10;

/// How pictures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    pub format: Format,
    /// From 1, the smallest file, to 100, the best picture. The default for JPEG is 95. WebP is lossless without a quality and
    /// lossy even at 100. The other formats ignore it.
    pub quality: Option<u8>,
    /// Omits EXIF, XMP and the resolution. The ICC profile stays, because the colours would change without it.
    pub strip: bool,
}

impl From<Format> for Encoding {
    fn from(format: Format) -> Self {
        Self { format, quality: None, strip: false }
    }
}

impl Picture {
    /// Encodes the picture as the bytes of a file. JPEG, and WebP with a quality, lose detail; see [`Encoding`]. JPEG, WebP and
    /// BMP hold 8 bit, to which 16-bit samples are rounded. TIFF and BMP have no grey with alpha, which becomes RGB with alpha,
    /// and lossy WebP has no grey. BMP has no ICC profile. GIF has neither, at most 256 colours, and pixels that are either
    /// transparent or not. For EXIF, XMP and the resolution, see [`Metadata`](super::Metadata).
    ///
    /// # Errors
    /// The format cannot hold alpha or this size; the quality is outside 1..=100.
    pub fn encode(&self, encoding: impl Into<Encoding>) -> Result<Vec<u8>> {
        let mut out = Cursor::new(Vec::new());
        self.write(&mut out, &self.name, &encoding.into())?;
        Ok(out.into_inner())
    }

    /// Writes the result of [`Picture::encode`]; `name` is that of the output, for messages.
    ///
    /// # Errors
    /// Those of [`Picture::encode`]; writing fails.
    pub fn write<W: Write + Seek>(&self, out: W, name: &str, encoding: &Encoding) -> Result<()> {
        let mut writer = FramesWriter::new(out, name, encoding, Sequence::Single, 1, self)?;
        writer.add(self, 0)?;
        writer.finish()
    }

    /// Checks that [`Picture::encode`] would accept such a picture; `name` is that of the output, for the message.
    ///
    /// # Errors
    /// The format cannot hold alpha or this size.
    pub fn check_encode(name: &str, width: usize, height: usize, channels: Channels, format: Format) -> Result<()> {
        let traits = format.traits();
        if channels.has_alpha() && !traits.alpha {
            let problem = format!(
                "{} has no alpha channel, and the picture has one; save it as {}",
                traits.name,
                Format::list(|t| t.alpha)
            );
            return Err(Error::image(name, problem));
        }
        if width.max(height) > traits.max_side as usize {
            let problem = format!(
                "{} holds at most {} pixels per side, got {width}x{height}; save it as {}",
                traits.name,
                traits.max_side,
                Format::list(|t| width.max(height) <= t.max_side as usize)
            );
            return Err(Error::image(name, problem));
        }
        Ok(())
    }

    /// Writes a file in the format that the extension names. The file is written under a temporary name beside it and then
    /// renamed, so that it is never incomplete. See [`Picture::encode`] for what the formats keep.
    ///
    /// # Errors
    /// The extension is not png, jpg, jpeg, webp, bmp, tif, tiff or gif; those of [`Picture::encode`]; the folder does not
    /// exist or cannot be written; the disk is full.
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let path = path.as_ref();
        let format = Self::format_for(&path.display().to_string())?;
        self.save_as(path, &format.into(), crate::files::Existing::Replace)
    }

    /// Like [`Picture::save`], but with an explicit encoding, whatever the name of the file.
    ///
    /// # Errors
    /// Those of [`Picture::save`]; the file exists and must be kept.
    pub(crate) fn save_as(
        &self,
        path: &std::path::Path,
        encoding: &Encoding,
        existing: crate::files::Existing,
    ) -> Result<()> {
        let name = path.display().to_string();
        Self::check_encode(&name, self.width, self.height, self.channels, encoding.format)?;
        crate::files::write_whole(path, existing, |out| self.write(out, &name, encoding))
    }

    /// Returns the format that the name of the output file implies.
    ///
    /// # Errors
    /// The extension is missing or unknown.
    pub fn format_for(name: &str) -> Result<Format> {
        Format::of_name(name).ok_or_else(|| {
            let extensions: Vec<&str> = Format::ALL.iter().flat_map(|f| f.traits().extensions).copied().collect();
            let problem =
                format!("the extension must name a format for the output; end the name in .{}", extensions.join(", ."));
            Error::image(name, problem)
        })
    }

    /// Converts the picture to samples that a file written as `encoding` can hold.
    fn fitted(&self, encoding: &Encoding) -> Cow<'_, Self> {
        let traits = encoding.format.traits();
        let is_lossy_webp = encoding.format == Format::WebP && encoding.quality.is_some();
        let channels = match (self.channels, encoding.format) {
            (Channels::GreyAlpha, Format::Tiff | Format::Bmp) => Channels::Rgba,
            (Channels::GreyAlpha, Format::WebP) if is_lossy_webp => Channels::Rgba,
            (Channels::Grey, Format::WebP) if is_lossy_webp => Channels::Rgb,
            (channels, _) => channels,
        };
        let narrows = self.samples.bits() > 8 && !traits.deep;
        if channels == self.channels && !narrows {
            return Cow::Borrowed(self);
        }
        let samples = match &self.samples {
            Samples::U16(v) if narrows => Samples::U8(coloured(&narrow(v), self.channels, channels)),
            Samples::U16(v) => Samples::U16(coloured(v, self.channels, channels)),
            Samples::U8(v) => Samples::U8(coloured(v, self.channels, channels)),
        };
        let (icc, metadata, name) = (self.icc.clone(), self.metadata.clone(), self.name.clone());
        Cow::Owned(Self { width: self.width, height: self.height, channels, samples, icc, metadata, name })
    }

    /// Returns red, green, blue and alpha of every pixel in 8 bit; 16-bit samples are rounded.
    fn rgba8(&self) -> Vec<u8> {
        match &self.samples {
            Samples::U8(v) => rgba8(v, self.channels),
            Samples::U16(v) => rgba8(&narrow(v), self.channels),
        }
    }
}

fn narrow(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|&s| ((u32::from(s) + 128) / 257) as u8).collect()
}

/// Converts grey samples to colours if `to` has colours and `from` does not.
fn coloured<T: Copy>(samples: &[T], from: Channels, to: Channels) -> Vec<T> {
    match (from, to) {
        (Channels::Grey, Channels::Rgb) => samples.iter().flat_map(|&s| [s; 3]).collect(),
        (Channels::GreyAlpha, Channels::Rgba) => {
            samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect()
        }
        _ => samples.to_vec(),
    }
}

/// Returns red, green, blue and alpha of every pixel.
pub(super) fn rgba8(samples: &[u8], channels: Channels) -> Vec<u8> {
    let pixel = |p: &[u8]| match *p {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, a, ..] => [r, g, b, a],
        [] => [0; 4],
    };
    samples.chunks_exact(channels.count()).flat_map(pixel).collect()
}

/// Writes a file of one or more pictures, one after another.
pub struct FramesWriter<W: Write + Seek> {
    name: String,
    encoding: Encoding,
    size: [usize; 2],
    /// Number of pictures still to come.
    left: usize,
    to: To<W>,
}

enum To<W: Write + Seek> {
    /// Written completely with its first picture.
    Single(W),
    Gif(gif::Encoder<W>, Clock),
    Png(png::Writer<W>),
    WebP(WebPWriter<W>),
    Tiff(TiffEncoder<W>),
}

impl<W: Write + Seek> std::fmt::Debug for FramesWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { name, encoding, size, left, .. } = self;
        f.debug_struct("FramesWriter")
            .field("name", name)
            .field("encoding", encoding)
            .field("size", size)
            .field("left", left)
            .finish_non_exhaustive()
    }
}

impl<W: Write + Seek> FramesWriter<W> {
    /// Begins a file of `count` pictures. `first`, which is not added yet, defines the size of an animation, its colour profile
    /// and its metadata. `name` is that of the output, for messages. A GIF has a palette of 256 colours per frame and counts
    /// delays in hundredths of a second; the next delay makes up for rounding.
    ///
    /// # Errors
    /// The format cannot hold such a sequence or this size; the quality is outside 1..=100; writing fails.
    pub fn new(
        out: W,
        name: &str,
        encoding: &Encoding,
        sequence: Sequence,
        count: usize,
        first: &Picture,
    ) -> Result<Self> {
        let format = encoding.format;
        if !format.holds(sequence) {
            let problem = format!("a {} file holds one picture; choose another format for {count}", format.name());
            return Err(Error::image(name, problem));
        }
        if encoding.quality.is_some_and(|q| !(1..=100).contains(&q)) {
            return Err(Error::Usage("the quality must lie in 1..=100".into()));
        }
        let size = [first.width(), first.height()];
        // Later frames of an animation may have alpha.
        Picture::check_encode(name, size[0], size[1], first.channels(), format)?;
        let channels = if let Sequence::Animation(_) = sequence { Channels::Rgba } else { first.channels() };
        let beside = Beside::of(first, encoding, channels);
        let fail = |e| failed(name, format, e);
        let to = match (format, sequence) {
            (Format::Tiff, _) => To::Tiff(TiffEncoder::new(out).map_err(|e| fail(e.into()))?),
            (Format::Gif, _) => {
                let [width, height] = size.map(|n| n as u16);
                let mut encoder = gif::Encoder::new(out, width, height, &[]).map_err(|e| fail(e.into()))?;
                let repeat = match sequence {
                    Sequence::Animation(Plays::Again(n)) => Some(gif::Repeat::Finite(n)),
                    Sequence::Animation(Plays::Forever) => Some(gif::Repeat::Infinite),
                    _ => None,
                };
                repeat.map_or(Ok(()), |repeat| encoder.set_repeat(repeat)).map_err(|e| fail(e.into()))?;
                To::Gif(encoder, Clock::default())
            }
            (Format::Png, Sequence::Animation(plays)) => {
                let mut encoder = png_encoder(out, size, &beside).map_err(|e| fail(e.into()))?;
                // A later frame may have alpha.
                encoder.set_color(png::ColorType::Rgba);
                encoder.set_depth(png::BitDepth::Eight);
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                encoder.set_animated(count, plays.count()).map_err(|e| fail(e.into()))?;
                To::Png(encoder.write_header().map_err(|e| fail(e.into()))?)
            }
            (Format::WebP, Sequence::Animation(plays)) => {
                To::WebP(WebPWriter::new(out, name, encoding.quality, plays, size, beside)?)
            }
            _ => To::Single(out),
        };
        Ok(Self { name: name.into(), encoding: *encoding, size, left: count, to })
    }

    /// Adds the next picture. In a GIF, pixels that are less than half opaque become transparent and all others opaque.
    ///
    /// # Errors
    /// There are more pictures than announced; a frame's size differs from that of the first; writing fails.
    pub fn add(&mut self, picture: &Picture, delay_ms: u32) -> Result<()> {
        let (name, format) = (&self.name, self.encoding.format);
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Error::image(name, "more pictures were added than announced; announce as many as there are")
        })?;
        let fail = |e| failed(name, format, e);
        let [width, height] = [picture.width(), picture.height()];
        if !matches!(self.to, To::Tiff(_)) && [width, height] != self.size {
            let [w, h] = self.size;
            return Err(Error::image(name, format!("a frame has {width}x{height} pixels, expected {w}x{h}")));
        }
        Picture::check_encode(name, width, height, picture.channels(), format)?;
        match &mut self.to {
            To::Single(out) => {
                let picture = picture.fitted(&self.encoding);
                let beside = Beside::of(&picture, &self.encoding, picture.channels);
                write_single(out, name, &picture, &beside, &self.encoding)
            }
            To::Gif(encoder, clock) => {
                let mut rgba = picture.rgba8();
                for pixel in rgba.chunks_exact_mut(4) {
                    let alpha = if pixel[3] < 128 { [0; 4] } else { [pixel[0], pixel[1], pixel[2], 255] };
                    pixel.copy_from_slice(&alpha);
                }
                let mut frame = gif::Frame::from_rgba_speed(width as u16, height as u16, &mut rgba, PALETTE_SPEED);
                frame.delay = clock.hundredths(delay_ms);
                // Every frame is complete and must not show the previous one through its transparent pixels.
                frame.dispose = gif::DisposalMethod::Background;
                encoder.write_frame(&frame).map_err(|e| fail(e.into()))
            }
            To::Png(writer) => {
                let (numerator, denominator) = seconds(delay_ms);
                let written = writer.set_frame_delay(numerator, denominator);
                written.and_then(|()| writer.write_image_data(&picture.rgba8())).map_err(|e| fail(e.into()))
            }
            To::WebP(writer) => writer.add(&picture.fitted(&self.encoding), delay_ms),
            To::Tiff(encoder) => {
                let picture = picture.fitted(&self.encoding);
                let beside = Beside::of(&picture, &self.encoding, picture.channels);
                write_page(encoder, &picture, &beside).map_err(|e| fail(e.into()))
            }
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// There were fewer pictures than announced; writing fails.
    pub fn finish(self) -> Result<()> {
        let (name, format) = (&self.name, self.encoding.format);
        if self.left > 0 {
            let problem = format!("{} fewer pictures were added than announced; the source is damaged", self.left);
            return Err(Error::image(name, problem));
        }
        let fail = |e| failed(name, format, e);
        match self.to {
            To::Single(_) | To::Tiff(_) => Ok(()),
            To::Gif(encoder, _) => encoder.into_inner().map(drop).map_err(|e| fail(e.into())),
            To::Png(writer) => writer.finish().map_err(|e| fail(e.into())),
            To::WebP(writer) => writer.finish(),
        }
    }
}

/// Rounds delays such that their sum stays correct.
#[derive(Default)]
struct Clock {
    due_ms: u64,
    shown: u64,
}

impl Clock {
    /// Returns a delay in hundredths of a second, at least 1 if it is not 0.
    fn hundredths(&mut self, delay_ms: u32) -> u16 {
        self.due_ms += u64::from(delay_ms);
        let due = (self.due_ms + 5) / 10;
        let delay = due.saturating_sub(self.shown).max(u64::from(delay_ms > 0)).min(u16::MAX.into());
        self.shown = (self.shown + delay).max(due);
        delay as u16
    }
}

/// Returns a delay as a fraction of seconds, as PNG stores it: exact up to 65,535 ms, then in hundredths, then in seconds.
fn seconds(ms: u32) -> (u16, u16) {
    for per_second in [1000, 100, 1] {
        let step = 1000 / per_second;
        // Half up.
        let count = ms / step + u32::from(ms % step >= step.div_ceil(2));
        if let Ok(count) = u16::try_from(count) {
            return (count, per_second as u16);
        }
    }
    (u16::MAX, 1)
}

/// What went wrong while writing.
enum Failure {
    Io(std::io::Error),
    Other(String),
}

fn failed(name: &str, format: Format, failure: Failure) -> Error {
    match failure {
        Failure::Io(e) => Error::io(name, e),
        Failure::Other(e) => Error::image(name, format!("cannot be written as {}: {e}", format.name())),
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<gif::EncodingError> for Failure {
    fn from(e: gif::EncodingError) -> Self {
        match e {
            gif::EncodingError::Io(e) => Self::Io(e),
            e => Self::Other(e.to_string()),
        }
    }
}

impl From<png::EncodingError> for Failure {
    fn from(e: png::EncodingError) -> Self {
        match e {
            png::EncodingError::IoError(e) => Self::Io(e),
            e => Self::Other(e.to_string()),
        }
    }
}

impl From<tiff::TiffError> for Failure {
    fn from(e: tiff::TiffError) -> Self {
        match e {
            tiff::TiffError::IoError(e) => Self::Io(e),
            tiff::TiffError::IntSizeError => {
                Self::Other("the file would be larger than 4 GiB; choose another format, or split it first".into())
            }
            e => Self::Other(e.to_string()),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(e: ImageError) -> Self {
        match e {
            ImageError::IoError(e) => Self::Io(e),
            e => Self::Other(e.to_string()),
        }
    }
}

/// Writes a file of one `picture`, which must fit the format.
fn write_single<W: Write + Seek>(
    out: &mut W,
    name: &str,
    picture: &Picture,
    beside: &Beside,
    encoding: &Encoding,
) -> Result<()> {
    let written = match encoding.format {
        Format::Png => write_png(out, picture, beside).map_err(Failure::from),
        Format::Jpeg => write_jpeg(out, picture, beside, encoding.quality.unwrap_or(JPEG_QUALITY)),
        Format::Bmp => write_bmp(out, picture, beside),
        Format::WebP => return webp::write_still(out, name, encoding.quality, picture, beside),
        Format::Tiff | Format::Gif => unreachable!("these are written as sequences"),
    };
    written.map_err(|e| failed(name, encoding.format, e))
}

/// Returns the samples of a picture that was converted for an 8-bit format.
fn eight(picture: &Picture) -> &[u8] {
    match &picture.samples {
        Samples::U8(v) => v,
        Samples::U16(_) => unreachable!("the picture was made to fit the format"),
    }
}

fn write_jpeg<W: Write>(
    mut out: W,
    picture: &Picture,
    beside: &Beside,
    quality: u8,
) -> std::result::Result<(), Failure> {
    // A segment holds 65,533 bytes.
    const MAX_SEGMENT_BYTES: usize = u16::MAX as usize - 2;
    let fits = |prefix: &[u8], data: &[u8]| prefix.len() + data.len() <= MAX_SEGMENT_BYTES;
    let xmp = beside.xmp.filter(|xmp| fits(metadata::XMP_PREFIX, xmp));
    let [width, height] = [picture.width() as u32, picture.height() as u32];
    let mut file = Vec::new();
    let mut encoder = jpeg::JpegEncoder::new_with_quality(&mut file, quality);
    if let Some(density) = beside.density {
        let [x, y] = density.map(|d| d.round().clamp(1.0, u16::MAX.into()) as u16);
        encoder.set_pixel_density(jpeg::PixelDensity { density: (x, y), unit: jpeg::PixelDensityUnit::Inches });
    }
    if let Some(icc) = beside.icc {
        encoder.set_icc_profile(icc.to_vec()).map_err(ImageError::Unsupported)?;
    }
    if let Some(exif) = beside.exif.as_ref().filter(|exif| fits(metadata::EXIF_PREFIX, exif)) {
        encoder.set_exif_metadata(exif.clone()).map_err(ImageError::Unsupported)?;
    }
    encoder.write_image(eight(picture), width, height, color(picture.channels))?;
    // The encoder writes no XMP, which belongs after the start and the segments of JFIF and EXIF.
    let mut at = 2;
    while let Some([0xFF, metadata::APP0 | metadata::APP1, a, b]) = file.get(at..at + 4) {
        at += 2 + usize::from(u16::from_be_bytes([*a, *b]));
    }
    let (head, rest) = file.split_at(at.min(file.len()));
    out.write_all(head)?;
    if let Some(xmp) = xmp {
        let len = (2 + metadata::XMP_PREFIX.len() + xmp.len()) as u16;
        out.write_all(&[0xFF, metadata::APP1])?;
        out.write_all(&len.to_be_bytes())?;
        out.write_all(metadata::XMP_PREFIX)?;
        out.write_all(xmp)?;
    }
    out.write_all(rest)?;
    Ok(())
}

fn write_bmp<W: Write + Seek>(out: &mut W, picture: &Picture, beside: &Beside) -> std::result::Result<(), Failure> {
    let start = out.stream_position()?;
    let [width, height] = [picture.width() as u32, picture.height() as u32];
    bmp::BmpEncoder::new(out).write_image(eight(picture), width, height, color(picture.channels))?;
    if let Some(density) = beside.density {
        // The encoder leaves the pixels per metre at byte 38 (BITMAPINFOHEADER) at 0.
        let end = out.stream_position()?;
        out.seek(SeekFrom::Start(start + 38))?;
        for n in metadata::in_metres(density) {
            out.write_all(&n.to_le_bytes())?;
        }
        out.seek(SeekFrom::Start(end))?;
    }
    Ok(())
}

fn color(channels: Channels) -> ExtendedColorType {
    match channels {
        Channels::Grey => ExtendedColorType::L8,
        Channels::GreyAlpha => ExtendedColorType::La8,
        Channels::Rgb => ExtendedColorType::Rgb8,
        Channels::Rgba => ExtendedColorType::Rgba8,
    }
}

/// Returns an encoder that also writes what belongs beside the samples.
fn png_encoder<'a, W: Write>(
    out: W,
    [width, height]: [usize; 2],
    beside: &'a Beside,
) -> std::result::Result<png::Encoder<'a, W>, png::EncodingError> {
    let mut info = png::Info::with_size(width as u32, height as u32);
    info.icc_profile = beside.icc.map(Cow::Borrowed);
    info.exif_metadata = beside.exif.as_deref().map(Cow::Borrowed);
    let mut encoder = png::Encoder::with_info(out, info)?;
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Adaptive);
    encoder.set_pixel_dims(beside.density.map(|density| {
        let [xppu, yppu] = metadata::in_metres(density);
        png::PixelDimensions { xppu, yppu, unit: png::Unit::Meter }
    }));
    if let Some(xmp) = beside.xmp.and_then(|xmp| std::str::from_utf8(xmp).ok()) {
        encoder.add_itxt_chunk(metadata::PNG_XMP.into(), xmp.into())?;
    }
    Ok(encoder)
}

fn write_png<W: Write>(out: W, picture: &Picture, beside: &Beside) -> std::result::Result<(), png::EncodingError> {
    let mut encoder = png_encoder(out, [picture.width(), picture.height()], beside)?;
    encoder.set_color(match picture.channels {
        Channels::Grey => png::ColorType::Grayscale,
        Channels::GreyAlpha => png::ColorType::GrayscaleAlpha,
        Channels::Rgb => png::ColorType::Rgb,
        Channels::Rgba => png::ColorType::Rgba,
    });
    let depth = if picture.samples.bits() == 16 { png::BitDepth::Sixteen } else { png::BitDepth::Eight };
    encoder.set_depth(depth);
    let mut writer = encoder.write_header()?;
    match &picture.samples {
        Samples::U8(v) => writer.write_image_data(v)?,
        Samples::U16(v) => {
            let bytes: Vec<u8> = v.iter().flat_map(|s| s.to_be_bytes()).collect();
            writer.write_image_data(&bytes)?;
        }
    }
    writer.finish()
}

/// Adds a page.
fn write_page<W: Write + Seek>(
    encoder: &mut TiffEncoder<W>,
    picture: &Picture,
    beside: &Beside,
) -> tiff::TiffResult<()> {
    use colortype::{Gray8, Gray16, RGB8, RGB16, RGBA8, RGBA16};
    match (picture.channels, &picture.samples) {
        (Channels::Grey, Samples::U8(v)) => write_page_of::<Gray8, _>(encoder, picture, beside, v),
        (Channels::Grey, Samples::U16(v)) => write_page_of::<Gray16, _>(encoder, picture, beside, v),
        (Channels::Rgb, Samples::U8(v)) => write_page_of::<RGB8, _>(encoder, picture, beside, v),
        (Channels::Rgb, Samples::U16(v)) => write_page_of::<RGB16, _>(encoder, picture, beside, v),
        (Channels::Rgba, Samples::U8(v)) => write_page_of::<RGBA8, _>(encoder, picture, beside, v),
        (Channels::Rgba, Samples::U16(v)) => write_page_of::<RGBA16, _>(encoder, picture, beside, v),
        (Channels::GreyAlpha, _) => unreachable!("the picture was made to fit TIFF"),
    }
}

fn write_page_of<C: colortype::ColorType, W: Write + Seek>(
    encoder: &mut TiffEncoder<W>,
    picture: &Picture,
    beside: &Beside,
    samples: &[C::Inner],
) -> tiff::TiffResult<()>
where
    [C::Inner]: TiffValue,
{
    let exif = beside.exif.as_deref().and_then(Exif::of_bytes).unwrap_or_default();
    let mut pointers = Vec::new();
    for (tag, values) in [(EXIF_DIRECTORY, &exif.exif), (GPS_DIRECTORY, &exif.gps)] {
        if !values.is_empty() {
            let mut directory = encoder.extra_directory()?;
            write_values(&mut directory, &exif, values)?;
            pointers.push((tag, directory.finish_with_offsets()?.offset));
        }
    }
    let mut page = encoder.new_image::<C>(picture.width() as u32, picture.height() as u32)?;
    let tags = page.encoder();
    write_values(tags, &exif, &exif.main)?;
    for (tag, offset) in pointers {
        tags.write_tag(Tag::from_u16_exhaustive(tag), offset)?;
    }
    if let Some(icc) = beside.icc {
        tags.write_tag(Tag::IccProfile, icc)?;
    }
    if let Some(xmp) = beside.xmp {
        tags.write_tag(Tag::from_u16_exhaustive(super::tiff::XMP), xmp)?;
    }
    if let Some([x, y]) = beside.density {
        // Accurate to a thousandth.
        let rational = |d: f64| match d.fract() == 0.0 {
            true => Rational { n: d as u32, d: 1 },
            false => Rational { n: (d * 1000.0).round().min(u32::MAX.into()) as u32, d: 1000 },
        };
        tags.write_tag(Tag::XResolution, rational(x))?;
        tags.write_tag(Tag::YResolution, rational(y))?;
        tags.write_tag(Tag::ResolutionUnit, ResolutionUnit::Inch)?;
    }
    page.write_data(samples)
}

fn write_values<W: Write + Seek>(
    directory: &mut DirectoryEncoder<W, TiffKindStandard>,
    exif: &Exif,
    values: &[exif::Value],
) -> tiff::TiffResult<()> {
    for value in values {
        let Some(kind) = Type::from_u16(value.kind) else { continue };
        let entry = directory.write_entry_bytes(kind, &exif.native(value))?;
        directory.extend_from(&[(Tag::from_u16_exhaustive(value.tag), entry)].into_iter().collect());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_exact_or_their_sum_is() {
        assert_eq!([0, 1, 33, 65_535].map(seconds), [(0, 1000), (1, 1000), (33, 1000), (65_535, 1000)]);
        assert_eq!(
            [65_536, 655_350, 655_360, u32::MAX].map(seconds),
            [(6554, 100), (65_535, 100), (655, 1), (65_535, 1)]
        );
        let mut clock = Clock::default();
        let shown: u64 = (0..300).map(|_| u64::from(clock.hundredths(33))).sum();
        assert_eq!(shown, 990);
        let mut clock = Clock::default();
        assert_eq!([0, 2, 70, 1_000_000, 50].map(|ms| clock.hundredths(ms)), [0, 1, 6, 65_535, 5]);
    }
}
