//! Writing picture files: what the formats keep, and files of one picture, of the frames of an animation or of pages.

use super::codec::profile_fits;
use super::webp::{self, WebPWriter};
use super::{Channels, Format, Picture, Plays, Samples, Sequence};
use crate::error::{Error, Result};
use ::image::codecs::{bmp, jpeg};
use ::image::{ExtendedColorType, ImageEncoder, ImageError};
use std::borrow::Cow;
use std::io::{Cursor, Seek, Write};
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

/// Quality of JPEG files where none is asked for, of 100.
const JPEG_QUALITY: u8 = 95;

/// Of the search for a palette: 1 is the best and slowest, 30 the fastest.
const PALETTE_SPEED: i32 = 10;

/// How pictures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    pub format: Format,
    /// From 1, the smallest file, to 100, the best picture. JPEG has 95 without it. WebP is lossless without it, and loses
    /// even at 100. The other formats take no notice.
    pub quality: Option<u8>,
    /// Leaves out EXIF, XMP and the resolution. The ICC profile stays: without it, the colours would be others.
    pub strip: bool,
}

impl From<Format> for Encoding {
    fn from(format: Format) -> Self {
        Self { format, quality: None, strip: false }
    }
}

impl Picture {
    /// The bytes of a file. JPEG and WebP with a quality lose detail; see [`Encoding`]. JPEG, WebP and BMP hold 8 bit, to
    /// which 16-bit samples are rounded; TIFF and BMP have no grey with alpha, which becomes RGB with alpha, and WebP with
    /// loss has no grey. BMP has no ICC profile. GIF has neither, at most 256 colours, and pixels that are transparent or
    /// not.
    ///
    /// # Errors
    /// The format does not keep alpha, or not this size; a quality outside 1..=100.
    pub fn encode(&self, encoding: impl Into<Encoding>) -> Result<Vec<u8>> {
        let mut out = Cursor::new(Vec::new());
        self.write(&mut out, &self.name, &encoding.into())?;
        Ok(out.into_inner())
    }

    /// Writes what [`Picture::encode`] gives; `name` is the output's, for messages.
    ///
    /// # Errors
    /// Those of [`Picture::encode`]; writing fails.
    pub fn write<W: Write + Seek>(&self, out: W, name: &str, encoding: &Encoding) -> Result<()> {
        let mut writer = FramesWriter::new(out, name, encoding, Sequence::Single, 1, self)?;
        writer.add(self, 0)?;
        writer.finish()
    }

    /// Whether [`Picture::encode`] would refuse; `name` is the output's, for the message.
    ///
    /// # Errors
    /// The format does not keep alpha, or not this size.
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
                "{} holds at most {} pixels a side, got {width}x{height}; save it as {}",
                traits.name,
                traits.max_side,
                Format::list(|t| width.max(height) <= t.max_side as usize)
            );
            return Err(Error::image(name, problem));
        }
        Ok(())
    }

    /// Writes a file in the format that the extension names, first to a temporary file beside it, which is then renamed:
    /// there is never half a picture. See [`Picture::encode`] for what the formats keep.
    ///
    /// # Errors
    /// Another extension than png, jpg, jpeg, webp, bmp, tif, tiff, gif; those of [`Picture::encode`]; the folder does not
    /// exist or cannot be written, or the disk is full.
    #[cfg(feature = "cli")]
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let path = path.as_ref();
        let format = Self::format_for(&path.display().to_string())?;
        self.save_as(path, &format.into(), crate::files::Existing::Replace)
    }

    /// [`Picture::save`] with every choice, whatever the name of the file.
    ///
    /// # Errors
    /// Those of [`Picture::save`]; the file exists and must stay.
    #[cfg(feature = "cli")]
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

    /// The format that the output file `name` asks for.
    ///
    /// # Errors
    /// No or an unknown extension.
    pub fn format_for(name: &str) -> Result<Format> {
        Format::of_name(name).ok_or_else(|| {
            let extensions: Vec<&str> = Format::ALL.iter().flat_map(|f| f.traits().extensions).copied().collect();
            let problem =
                format!("the extension must name a format for the output; end the name in .{}", extensions.join(", ."));
            Error::image(name, problem)
        })
    }

    /// The picture in samples that files written as `encoding` hold, with what they keep beside them.
    fn fitted(&self, encoding: &Encoding) -> Cow<'_, Self> {
        let traits = encoding.format.traits();
        let is_lossy_webp = encoding.format == Format::WebP && encoding.quality.is_some();
        let channels = match (self.channels, encoding.format) {
            (Channels::GreyAlpha, Format::Tiff | Format::Bmp) => Channels::Rgba,
            (Channels::GreyAlpha, Format::WebP) if is_lossy_webp => Channels::Rgba,
            (Channels::Grey, Format::WebP) if is_lossy_webp => Channels::Rgb,
            (channels, _) => channels,
        };
        let keeps_icc = self.icc.as_ref().is_none_or(|icc| traits.icc && profile_fits(icc, channels));
        let narrows = self.samples.bits() > 8 && !traits.deep;
        if channels == self.channels && keeps_icc && !narrows {
            return Cow::Borrowed(self);
        }
        let samples = match &self.samples {
            Samples::U16(v) if narrows => Samples::U8(coloured(&narrow(v), self.channels, channels)),
            Samples::U16(v) => Samples::U16(coloured(v, self.channels, channels)),
            Samples::U8(v) => Samples::U8(coloured(v, self.channels, channels)),
        };
        let icc = self.icc.clone().filter(|_| keeps_icc);
        Cow::Owned(Self { width: self.width, height: self.height, channels, samples, icc, name: self.name.clone() })
    }

    /// Red, green, blue and alpha of every pixel in 8 bit, to which 16-bit samples are rounded.
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

/// Grey samples as colours, where `to` has some and `from` none.
fn coloured<T: Copy>(samples: &[T], from: Channels, to: Channels) -> Vec<T> {
    match (from, to) {
        (Channels::Grey, Channels::Rgb) => samples.iter().flat_map(|&s| [s; 3]).collect(),
        (Channels::GreyAlpha, Channels::Rgba) => {
            samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect()
        }
        _ => samples.to_vec(),
    }
}

/// Red, green, blue and alpha of every pixel.
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

/// Writes a file of one or several pictures, one after another.
pub struct FramesWriter<W: Write + Seek> {
    name: String,
    encoding: Encoding,
    size: [usize; 2],
    /// Pictures that are still to come.
    left: usize,
    to: To<W>,
}

enum To<W: Write + Seek> {
    /// Whole with its first picture.
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
    /// Begins a file of `count` pictures; `first`, which is not added yet, gives the size of an animation, its colour profile
    /// and what is known of it. `name` is the output's, for messages. A GIF has a palette of 256 colours per frame, and counts
    /// delays in hundredths of a second; what a delay loses by that, the next one makes up for.
    ///
    /// # Errors
    /// The format does not hold such a sequence, or not this size; a quality outside 1..=100; writing fails.
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
        // Animations are checked with alpha, which a later frame may have.
        Picture::check_encode(name, size[0], size[1], first.channels(), format)?;
        let first = first.fitted(encoding);
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
                let mut encoder = png_encoder(out, &first).map_err(|e| fail(e.into()))?;
                // A later frame may have alpha.
                encoder.set_color(png::ColorType::Rgba);
                encoder.set_depth(png::BitDepth::Eight);
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                encoder.set_animated(count, plays.count()).map_err(|e| fail(e.into()))?;
                To::Png(encoder.write_header().map_err(|e| fail(e.into()))?)
            }
            (Format::WebP, Sequence::Animation(plays)) => {
                To::WebP(WebPWriter::new(out, name, encoding.quality, plays, &first)?)
            }
            _ => To::Single(out),
        };
        Ok(Self { name: name.into(), encoding: *encoding, size, left: count, to })
    }

    /// Adds the next picture. In a GIF, what is less than half opaque becomes transparent, all else opaque.
    ///
    /// # Errors
    /// There are more than were announced; a frame of another size than the first; writing fails.
    pub fn add(&mut self, picture: &Picture, delay_ms: u32) -> Result<()> {
        let (name, format) = (&self.name, self.encoding.format);
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Error::image(name, "more pictures came than were announced; announce as many as there are")
        })?;
        let fail = |e| failed(name, format, e);
        let [width, height] = [picture.width(), picture.height()];
        if !matches!(self.to, To::Tiff(_)) && [width, height] != self.size {
            let [w, h] = self.size;
            return Err(Error::image(name, format!("a frame has {width}x{height} pixels, expected {w}x{h}")));
        }
        Picture::check_encode(name, width, height, picture.channels(), format)?;
        match &mut self.to {
            To::Single(out) => write_single(out, name, &picture.fitted(&self.encoding), &self.encoding),
            To::Gif(encoder, clock) => {
                let mut rgba = picture.rgba8();
                for pixel in rgba.chunks_exact_mut(4) {
                    let alpha = if pixel[3] < 128 { [0; 4] } else { [pixel[0], pixel[1], pixel[2], 255] };
                    pixel.copy_from_slice(&alpha);
                }
                let mut frame = gif::Frame::from_rgba_speed(width as u16, height as u16, &mut rgba, PALETTE_SPEED);
                frame.delay = clock.hundredths(delay_ms);
                // Every frame is whole, and must not show what was below its transparent pixels.
                frame.dispose = gif::DisposalMethod::Background;
                encoder.write_frame(&frame).map_err(|e| fail(e.into()))
            }
            To::Png(writer) => {
                let (numerator, denominator) = seconds(delay_ms);
                let written = writer.set_frame_delay(numerator, denominator);
                written.and_then(|()| writer.write_image_data(&picture.rgba8())).map_err(|e| fail(e.into()))
            }
            To::WebP(writer) => writer.add(&picture.fitted(&self.encoding), delay_ms),
            To::Tiff(encoder) => write_page(encoder, &picture.fitted(&self.encoding)).map_err(|e| fail(e.into())),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Fewer pictures came than were announced; writing fails.
    pub fn finish(self) -> Result<()> {
        let (name, format) = (&self.name, self.encoding.format);
        if self.left > 0 {
            let problem = format!("{} pictures less came than were announced; the source is damaged", self.left);
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

/// Rounds delays so that their sum stays right.
#[derive(Default)]
struct Clock {
    due_ms: u64,
    shown: u64,
}

impl Clock {
    /// A delay in hundredths of a second; 1 at least where it is not 0.
    fn hundredths(&mut self, delay_ms: u32) -> u16 {
        self.due_ms += u64::from(delay_ms);
        let due = (self.due_ms + 5) / 10;
        let delay = due.saturating_sub(self.shown).max(u64::from(delay_ms > 0)).min(u16::MAX.into());
        self.shown = (self.shown + delay).max(due);
        delay as u16
    }
}

/// A delay as PNG has it, in seconds: exact up to 65,535 ms, then to hundredths and whole seconds.
fn seconds(ms: u32) -> (u16, u16) {
    for per_second in [1000, 100, 1] {
        let step = 1000 / per_second;
        if let Ok(count) = u16::try_from((ms + step / 2) / step) {
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
                Self::Other("the file would have more than 4 GiB; choose another format, or split it first".into())
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

/// A file of the one `picture`, which fits the format.
fn write_single<W: Write + Seek>(out: &mut W, name: &str, picture: &Picture, encoding: &Encoding) -> Result<()> {
    let [width, height] = [picture.width() as u32, picture.height() as u32];
    let eight = || match &picture.samples {
        Samples::U8(v) => v.as_slice(),
        Samples::U16(_) => unreachable!("the picture was made to fit the format"),
    };
    let written: std::result::Result<(), Failure> = match encoding.format {
        Format::Png => write_png(out, picture).map_err(Failure::from),
        Format::Jpeg => {
            let quality = encoding.quality.unwrap_or(JPEG_QUALITY);
            let mut encoder = jpeg::JpegEncoder::new_with_quality(out, quality);
            let icc = picture.icc.clone().map_or(Ok(()), |icc| encoder.set_icc_profile(icc));
            icc.map_err(ImageError::Unsupported)
                .and_then(|()| encoder.write_image(eight(), width, height, color(picture.channels)))
                .map_err(Failure::from)
        }
        Format::Bmp => {
            let encoder = bmp::BmpEncoder::new(out);
            encoder.write_image(eight(), width, height, color(picture.channels)).map_err(Failure::from)
        }
        Format::WebP => return webp::write_still(out, name, encoding.quality, picture),
        Format::Tiff | Format::Gif => unreachable!("these are written as sequences"),
    };
    written.map_err(|e| failed(name, encoding.format, e))
}

fn color(channels: Channels) -> ExtendedColorType {
    match channels {
        Channels::Grey => ExtendedColorType::L8,
        Channels::GreyAlpha => ExtendedColorType::La8,
        Channels::Rgb => ExtendedColorType::Rgb8,
        Channels::Rgba => ExtendedColorType::Rgba8,
    }
}

/// An encoder with what is written of `picture` beside its samples.
fn png_encoder<W: Write>(out: W, picture: &Picture) -> std::result::Result<png::Encoder<'_, W>, png::EncodingError> {
    let mut info = png::Info::with_size(picture.width() as u32, picture.height() as u32);
    info.icc_profile = picture.icc().map(Cow::Borrowed);
    let mut encoder = png::Encoder::with_info(out, info)?;
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Adaptive);
    Ok(encoder)
}

fn write_png<W: Write>(out: W, picture: &Picture) -> std::result::Result<(), png::EncodingError> {
    let mut encoder = png_encoder(out, picture)?;
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
fn write_page<W: Write + Seek>(encoder: &mut TiffEncoder<W>, picture: &Picture) -> tiff::TiffResult<()> {
    fn page<C: colortype::ColorType, W: Write + Seek>(
        encoder: &mut TiffEncoder<W>,
        picture: &Picture,
        samples: &[C::Inner],
    ) -> tiff::TiffResult<()>
    where
        [C::Inner]: tiff::encoder::TiffValue,
    {
        let mut page = encoder.new_image::<C>(picture.width() as u32, picture.height() as u32)?;
        if let Some(icc) = picture.icc() {
            page.encoder().write_tag(Tag::IccProfile, icc)?;
        }
        page.write_data(samples)
    }
    use colortype::{Gray8, Gray16, RGB8, RGB16, RGBA8, RGBA16};
    match (picture.channels, &picture.samples) {
        (Channels::Grey, Samples::U8(v)) => page::<Gray8, _>(encoder, picture, v),
        (Channels::Grey, Samples::U16(v)) => page::<Gray16, _>(encoder, picture, v),
        (Channels::Rgb, Samples::U8(v)) => page::<RGB8, _>(encoder, picture, v),
        (Channels::Rgb, Samples::U16(v)) => page::<RGB16, _>(encoder, picture, v),
        (Channels::Rgba, Samples::U8(v)) => page::<RGBA8, _>(encoder, picture, v),
        (Channels::Rgba, Samples::U16(v)) => page::<RGBA16, _>(encoder, picture, v),
        (Channels::GreyAlpha, _) => unreachable!("the picture was made to fit TIFF"),
    }
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
