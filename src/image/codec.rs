//! Picture files: which format, decoding with every check, encoding, and what is wrong with a file that is refused.

use super::animation::{self, GifWriter, Plays};
use super::{Channels, MAX_PICTURE_BYTES, Picture, Samples, check_size};
use crate::error::{Error, Result};
use ::image::codecs::{bmp, gif, jpeg, png, tiff, webp};
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat};
use std::io::{Cursor, Seek, Write};

/// Quality of written JPEG files, of 100.
const JPEG_QUALITY: u8 = 95;

/// A file format for pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
    WebP,
    Bmp,
    Tiff,
    Gif,
}

/// How large a picture is, as its file's header says.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: usize,
    pub height: usize,
    /// Pictures that an animated GIF shows; else 1.
    pub frames: usize,
    /// Of all samples of one of them, decoded.
    pub bytes: u64,
}

/// Name, extensions, longest side in pixels, whether it keeps alpha, 16 bit, an ICC profile.
struct Traits {
    name: &'static str,
    extensions: &'static [&'static str],
    max_side: u32,
    alpha: bool,
    deep: bool,
    icc: bool,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Png, Self::Jpeg, Self::WebP, Self::Bmp, Self::Tiff, Self::Gif];

    fn traits(self) -> Traits {
        let (name, extensions, max_side, [alpha, deep, icc]): (_, &'static [&'static str], _, _) = match self {
            Self::Png => ("PNG", &["png"], i32::MAX as u32, [true, true, true]),
            Self::Jpeg => ("JPEG", &["jpg", "jpeg"], 65_535, [false, false, true]),
            Self::WebP => ("WebP", &["webp"], 16_383, [true, false, true]),
            Self::Bmp => ("BMP", &["bmp"], i32::MAX as u32, [true, false, false]),
            Self::Tiff => ("TIFF", &["tif", "tiff"], u32::MAX, [true, true, true]),
            Self::Gif => ("GIF", &["gif"], 65_535, [true, false, false]),
        };
        Traits { name, extensions, max_side, alpha, deep, icc }
    }

    /// `PNG`, `JPEG`, `WebP`, `BMP`, `TIFF` or `GIF`.
    pub fn name(self) -> &'static str {
        self.traits().name
    }

    /// The format that a file name's extension promises.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Self::ALL.into_iter().find(|f| f.traits().extensions.iter().any(|e| extension.eq_ignore_ascii_case(e)))
    }

    /// The format that a file's first bytes show.
    pub fn of_content(bytes: &[u8]) -> Option<Self> {
        match ::image::guess_format(bytes).ok()? {
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::WebP => Some(Self::WebP),
            ImageFormat::Bmp => Some(Self::Bmp),
            ImageFormat::Tiff => Some(Self::Tiff),
            ImageFormat::Gif => Some(Self::Gif),
            _ => None,
        }
    }

    fn list(which: impl Fn(&Traits) -> bool) -> String {
        // A GIF keeps few of a picture's colours.
        let all = Self::ALL.iter().filter(|f| **f != Self::Gif).map(|f| f.traits());
        let names: Vec<&str> = all.filter(which).map(|t| t.name).collect();
        let (last, rest) = names.split_last().expect("every property has a format");
        if rest.is_empty() { (*last).into() } else { format!("{} or {last}", rest.join(", ")) }
    }
}
impl Picture {
    /// Decodes PNG, JPEG, WebP, BMP, TIFF or GIF; the content decides, not the name. Palettes and fewer than 8 bits become
    /// 8-bit samples, CMYK becomes RGB, the first frame of an animation is taken, and the EXIF orientation is applied.
    /// The ICC profile is kept where it is one for the decoded samples (a CMYK profile is not).
    ///
    /// # Errors
    /// `bytes` are empty, no picture, truncated, damaged, of samples other than 8 or 16 bit, or hold more than
    /// [`MAX_PICTURE_BYTES`] when decoded; the message names `name`, and the last is found before anything is allocated.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::image(name, "the file is empty; copy or download it again"));
        }
        let Some(format) = Format::of_content(bytes) else {
            return Err(Error::image(name, unknown_content(bytes, name)));
        };
        let kind = match Format::of_name(name) {
            Some(promised) if promised != format => {
                format!("{} file (by its content, though the name says {})", format.name(), promised.name())
            }
            _ => format!("{} file", format.name()),
        };
        let truncated =
            || Error::image(name, format!("this {kind} is truncated: it ends early; copy or download it again"));
        if ends_early(format, bytes) {
            return Err(truncated());
        }
        let fail = |e: ImageError| match e {
            e if is_end_of_file(&e) => truncated(),
            ImageError::Unsupported(e) => {
                Error::image(name, format!("{e}, which is not supported; convert it to an 8 or 16 bit PNG"))
            }
            ImageError::Limits(_) => Error::image(
                name,
                format!("decoding this {kind} would take too much memory; crop it or make it smaller first"),
            ),
            e => Error::image(name, format!("this {kind} is damaged: {e}; copy or download it again")),
        };
        let mut limits = ::image::Limits::no_limits();
        // Room for what a decoder needs besides the picture; the picture itself is checked below.
        limits.max_alloc = Some(2 * MAX_PICTURE_BYTES);
        let bytes = Cursor::new(bytes);
        let decoder: std::result::Result<Box<dyn ImageDecoder>, ImageError> = match format {
            Format::Png => png::PngDecoder::with_limits(bytes, limits.clone()).map(|d| Box::new(d) as _),
            Format::Jpeg => jpeg::JpegDecoder::new(bytes).map(|d| Box::new(d) as _),
            Format::WebP => webp::WebPDecoder::new(bytes).map(|d| Box::new(d) as _),
            Format::Bmp => bmp::BmpDecoder::new(bytes).map(|d| Box::new(d) as _),
            Format::Tiff => tiff::TiffDecoder::new(bytes).map(|d| Box::new(d) as _),
            Format::Gif => gif::GifDecoder::new(bytes).map(|d| Box::new(d) as _),
        };
        let mut decoder = decoder.map_err(fail)?;
        let (width, height) = decoder.dimensions();
        use ::image::ColorType as T;
        let (channels, bits) = match decoder.color_type() {
            T::L8 => (Channels::Grey, 8),
            T::La8 => (Channels::GreyAlpha, 8),
            T::Rgb8 => (Channels::Rgb, 8),
            T::Rgba8 => (Channels::Rgba, 8),
            T::L16 => (Channels::Grey, 16),
            T::La16 => (Channels::GreyAlpha, 16),
            T::Rgb16 => (Channels::Rgb, 16),
            T::Rgba16 => (Channels::Rgba, 16),
            other => {
                let problem =
                    format!("has samples of type {other:?}, expected 8 or 16 bit; convert it to a 16 bit PNG");
                return Err(Error::image(name, problem));
            }
        };
        check_size(name, width.into(), height.into(), channels, bits)?;
        let icc = decoder.icc_profile().map_err(fail)?.filter(|icc| profile_fits(icc, channels));
        let mut orientation = decoder.orientation().map_err(fail)?;
        if let (Orientation::NoTransforms, Ok(Some(exif))) = (orientation, decoder.exif_metadata()) {
            // Some writers put JPEG's prefix into the chunk of other formats.
            let found = exif.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk);
            orientation = found.unwrap_or(orientation);
        }
        // After the profile, for which the TIFF decoder has too little room under limits.
        decoder.set_limits(limits).map_err(fail)?;
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(fail)?;
        decoded.apply_orientation(orientation);
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let samples = match decoded {
            // A GIF says that it has alpha whether it has or not.
            DynamicImage::ImageRgba8(b) if format == Format::Gif => {
                return animation::picture(name, width, height, b.into_raw());
            }
            DynamicImage::ImageLuma8(b) => Samples::U8(b.into_raw()),
            DynamicImage::ImageLumaA8(b) => Samples::U8(b.into_raw()),
            DynamicImage::ImageRgb8(b) => Samples::U8(b.into_raw()),
            DynamicImage::ImageRgba8(b) => Samples::U8(b.into_raw()),
            DynamicImage::ImageLuma16(b) => Samples::U16(b.into_raw()),
            DynamicImage::ImageLumaA16(b) => Samples::U16(b.into_raw()),
            DynamicImage::ImageRgb16(b) => Samples::U16(b.into_raw()),
            DynamicImage::ImageRgba16(b) => Samples::U16(b.into_raw()),
            _ => unreachable!("the colour type was checked before decoding"),
        };
        Ok(Self { icc, ..Self::from_samples(name, width, height, channels, samples)? })
    }

    /// [`Picture::decode`] of a file.
    ///
    /// # Errors
    /// Those of [`Picture::decode`]; the file is missing, a folder, or cannot be read.
    #[cfg(feature = "cli")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::files::read(path, |file, problem| Error::Image { file, problem })?;
        Self::decode(&bytes, &path.display().to_string())
    }

    /// Width and height in pixels, without orientation, and the bytes of all samples, from a file's header alone (of a GIF, of
    /// all frames'); none
    /// where [`Picture::open`] would fail for a reason that the header shows.
    #[cfg(feature = "cli")]
    pub fn measure(path: impl AsRef<std::path::Path>) -> Option<Size> {
        let reader = ::image::ImageReader::open(path).ok()?.with_guessed_format().ok()?;
        if reader.format() == Some(ImageFormat::Gif) {
            let animation::Animated { width, height, frames, .. } = animation::look(reader.into_inner()).ok()?;
            return Some(Size { width, height, frames, bytes: 4 * (width * height) as u64 });
        }
        let decoder = reader.into_decoder().ok()?;
        let (width, height) = decoder.dimensions();
        Some(Size { width: width as usize, height: height as usize, frames: 1, bytes: decoder.total_bytes() })
    }

    /// The bytes of a file. JPEG has quality 95, WebP is lossless. JPEG, WebP and BMP hold 8 bit, to which 16-bit samples
    /// are rounded; TIFF and BMP have no grey with alpha, which becomes RGB with alpha. BMP has no ICC profile. GIF has neither,
    /// at most 256 colours, and pixels that are transparent or not.
    ///
    /// # Errors
    /// The format does not keep alpha, or not this size.
    pub fn encode(&self, format: Format) -> Result<Vec<u8>> {
        let mut out = Cursor::new(Vec::new());
        self.write(&mut out, format, &self.name)?;
        Ok(out.into_inner())
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

    fn write<W: Write + Seek>(&self, out: W, format: Format, name: &str) -> Result<()> {
        Self::check_encode(name, self.width, self.height, self.channels, format)?;
        let fail = |e: ImageError| match e {
            ImageError::IoError(e) => Error::io(name, e),
            e => Error::image(name, format!("cannot be written as {}: {e}", format.name())),
        };
        let traits = format.traits();
        let (mut channels, mut narrow, mut wide) = (self.channels, None, None);
        let widen = channels == Channels::GreyAlpha && matches!(format, Format::Tiff | Format::Bmp);
        match &self.samples {
            Samples::U16(v) if !traits.deep => {
                narrow = Some(v.iter().map(|&s| ((u32::from(s) + 128) / 257) as u8).collect::<Vec<u8>>());
            }
            _ => {}
        }
        if widen {
            channels = Channels::Rgba;
            match (&self.samples, &narrow) {
                (Samples::U16(v), None) => wide = Some(grey_to_rgb(v)),
                (_, Some(v)) => narrow = Some(grey_to_rgb(v)),
                (Samples::U8(v), None) => narrow = Some(grey_to_rgb(v)),
            }
        }
        let (bytes, bits): (&[u8], u32) = match (&self.samples, &narrow, &wide) {
            (_, _, Some(v)) => (bytemuck::cast_slice(v), 16),
            (_, Some(v), _) => (v, 8),
            (Samples::U8(v), ..) => (v, 8),
            (Samples::U16(v), ..) => (bytemuck::cast_slice(v), 16),
        };
        use ExtendedColorType as T;
        let color = match (channels, bits) {
            (Channels::Grey, 8) => T::L8,
            (Channels::GreyAlpha, 8) => T::La8,
            (Channels::Rgb, 8) => T::Rgb8,
            (Channels::Rgba, 8) => T::Rgba8,
            (Channels::Grey, _) => T::L16,
            (Channels::GreyAlpha, _) => T::La16,
            (Channels::Rgb, _) => T::Rgb16,
            (Channels::Rgba, _) => T::Rgba16,
        };
        let (width, height) = (self.width as u32, self.height as u32);
        let icc = self.icc.clone().filter(|icc| traits.icc && profile_fits(icc, channels));
        fn encode(
            mut encoder: impl ImageEncoder,
            icc: Option<Vec<u8>>,
            bytes: &[u8],
            [width, height]: [u32; 2],
            color: ExtendedColorType,
        ) -> std::result::Result<(), ImageError> {
            if let Some(icc) = icc {
                encoder.set_icc_profile(icc).map_err(ImageError::Unsupported)?;
            }
            encoder.write_image(bytes, width, height, color)
        }
        let mut out = out;
        let size = [width, height];
        match format {
            Format::Png => encode(png::PngEncoder::new(out), icc, bytes, size, color),
            Format::Jpeg => encode(jpeg::JpegEncoder::new_with_quality(out, JPEG_QUALITY), icc, bytes, size, color),
            Format::WebP => encode(webp::WebPEncoder::new_lossless(out), icc, bytes, size, color),
            Format::Bmp => encode(bmp::BmpEncoder::new(&mut out), None, bytes, size, color),
            Format::Tiff => encode(tiff::TiffEncoder::new(out), icc, bytes, size, color),
            Format::Gif => {
                let mut writer = GifWriter::new(out, name, self.width, self.height, Plays::Once)?;
                writer.frame(self, 0)?;
                return writer.finish().map(|_| ());
            }
        }
        .map_err(fail)
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
        let name = path.display().to_string();
        let format = Self::format_for(&name)?;
        Self::check_encode(&name, self.width, self.height, self.channels, format)?;
        crate::files::write_whole(path, crate::files::Existing::Replace, |out| self.write(out, format, &name))
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
}

fn grey_to_rgb<T: Copy>(samples: &[T]) -> Vec<T> {
    samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect()
}
/// Whether an ICC profile describes samples of these channels; its header's bytes 16..20 name the colour space.
fn profile_fits(icc: &[u8], channels: Channels) -> bool {
    icc.get(16..20) == Some(if channels.is_grey() { b"GRAY" } else { b"RGB " })
}

/// The message for a file that is none of the formats.
fn unknown_content(bytes: &[u8], name: &str) -> String {
    let ftyp = bytes.get(4..8) == Some(b"ftyp");
    let found = match bytes {
        b if ftyp && b.get(8..12).is_some_and(|b| b == b"avif" || b == b"avis") => "an AVIF picture",
        _ if ftyp => "a HEIC picture or a film",
        b if b.starts_with(b"\xFF\x0A") || b.starts_with(b"\0\0\0\x0CJXL ") => "a JPEG XL picture",
        b if b.starts_with(b"%PDF") => "a PDF",
        b if b.starts_with(b"8BPS") => "a Photoshop file",
        b if b.iter().take(256).all(|&c| c >= 32 || c.is_ascii_whitespace()) => "text",
        _ => "of an unknown kind",
    };
    let promise = match Format::of_name(name) {
        Some(format) => format!("is no {} file, though the name says so, nor any other of", format.name()),
        None => "is none of".into(),
    };
    format!("{promise} PNG, JPEG, WebP, BMP, TIFF and GIF: its content is {found}; convert it to PNG or JPEG first")
}

/// Whether the container says that bytes are missing at the end; decoders of JPEG and BMP would fill in grey.
fn ends_early(format: Format, bytes: &[u8]) -> bool {
    match format {
        Format::Jpeg => !jpeg_ends(bytes),
        Format::WebP => match bytes.get(4..8) {
            Some(size) => u64::from(u32::from_le_bytes(size.try_into().expect("four bytes"))) + 8 > bytes.len() as u64,
            None => true,
        },
        Format::Bmp => match bytes.get(2..6) {
            // Some writers leave the size 0.
            Some(size) => u32::from_le_bytes(size.try_into().expect("four bytes")) as usize > bytes.len(),
            None => true,
        },
        Format::Png | Format::Tiff | Format::Gif => false,
    }
}

/// Whether a JPEG's segments are followed by the end-of-image marker (ITU-T T.81, annex B); an embedded preview has one
/// of its own, inside a segment.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut i = 2;
    loop {
        // Entropy-coded data and fill bytes are skipped: in them 0xFF is followed by 0, a restart marker or 0xFF.
        let Some(skip) = bytes.get(i..).and_then(|rest| {
            rest.windows(2).position(|w| w[0] == 0xFF && !matches!(w[1], 0 | 0x01 | 0xD0..=0xD8 | 0xFF))
        }) else {
            return false;
        };
        i += skip + 2;
        if bytes[i - 1] == 0xD9 {
            return true;
        }
        let Some(length) = bytes.get(i..i + 2) else { return false };
        i += usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
}

/// Whether `e` was caused by an early end of the data.
fn is_end_of_file(e: &ImageError) -> bool {
    let ends = |e: &std::io::Error| e.kind() == std::io::ErrorKind::UnexpectedEof;
    if let ImageError::IoError(e) = e {
        return ends(e);
    }
    let mut cause = std::error::Error::source(e);
    while let Some(e) = cause {
        let gif_ends = matches!(e.downcast_ref(), Some(::gif::DecodingError::UnexpectedEof));
        if gif_ends || e.downcast_ref::<std::io::Error>().is_some_and(ends) {
            return true;
        }
        cause = e.source();
    }
    false
}
