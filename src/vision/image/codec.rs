//! Picture formats, and decoding with every check and a clear reason for each refused file.

use super::metadata::Metadata;
use super::{Channels, MAX_PICTURE_BYTES, Picture, Samples, Sequence, check_size, frames, measure, metadata};
use crate::error::{Error, Result};
use ::image::codecs::{bmp, gif, jpeg, png, tiff, webp};
use ::image::error::{UnsupportedError, UnsupportedErrorKind};
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat};
use std::io::Cursor;

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

/// Name, extensions, longest side in pixels, and whether the format keeps alpha, 16 bit and an ICC profile.
pub(super) struct Traits {
    pub name: &'static str,
    pub extensions: &'static [&'static str],
    pub max_side: u32,
    pub alpha: bool,
    pub deep: bool,
    pub icc: bool,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Png, Self::Jpeg, Self::WebP, Self::Bmp, Self::Tiff, Self::Gif];

    pub(super) fn traits(self) -> Traits {
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

    /// Returns `PNG`, `JPEG`, `WebP`, `BMP`, `TIFF` or `GIF`.
    pub fn name(self) -> &'static str {
        self.traits().name
    }

    /// Returns `png`, `jpg`, `webp`, `bmp`, `tif` or `gif`, the extension of new files.
    pub fn extension(self) -> &'static str {
        self.traits().extensions[0]
    }

    /// Returns the format that a file name's extension implies.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Self::of_extension(extension)
    }

    fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.traits().extensions.iter().any(|e| extension.eq_ignore_ascii_case(e)))
    }

    /// Returns whether a file of this format can hold a sequence of this kind.
    pub fn holds(self, sequence: Sequence) -> bool {
        match sequence {
            Sequence::Single => true,
            Sequence::Pages => self == Self::Tiff,
            Sequence::Animation(_) => matches!(self, Self::Png | Self::WebP | Self::Gif),
        }
    }

    /// Returns the format that a file's first bytes show.
    pub fn of_content(bytes: &[u8]) -> Option<Self> {
        // BigTIFF, for files that may exceed 4 GiB.
        if bytes.starts_with(b"II\x2B\0") || bytes.starts_with(b"MM\0\x2B") {
            return Some(Self::Tiff);
        }
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

    pub(super) fn list(which: impl Fn(&Traits) -> bool) -> String {
        // GIF is not offered because it keeps few colours.
        let all = Self::ALL.iter().filter(|f| **f != Self::Gif).map(|f| f.traits());
        let names: Vec<&str> = all.filter(which).map(|t| t.name).collect();
        let (last, rest) = names.split_last().expect("every property has a format");
        if rest.is_empty() { (*last).into() } else { format!("{} or {last}", rest.join(", ")) }
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    /// Parses one of the extensions, ignoring case; `jpg` and `jpeg` are the same.
    fn from_str(text: &str) -> Result<Self> {
        Self::of_extension(text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().flat_map(|f| f.traits().extensions).copied().collect();
            Error::Usage(format!("expected a picture format ({}), got {text:?}", known.join(", ")))
        })
    }
}

impl Picture {
    /// Decodes PNG, JPEG, WebP, BMP, TIFF or GIF; the content decides, not the name. Palettes and samples of fewer than 8 bits
    /// become 8-bit samples, CMYK becomes RGB, only the first frame of an animation is decoded, and the EXIF orientation is
    /// applied. The ICC profile is kept if it fits the decoded samples (a CMYK profile does not).
    ///
    /// # Errors
    /// `bytes` is empty, not a picture, truncated or damaged; the samples are not 8 or 16 bit; the decoded picture takes more
    /// than [`MAX_PICTURE_BYTES`], which is found before anything is allocated. The message names `name`.
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
            ImageError::Unsupported(e) => Error::image(
                name,
                format!("this {kind} cannot be read: {}; convert it to an 8 or 16 bit PNG", unsupported(&e)),
            ),
            ImageError::Limits(_) => Error::image(
                name,
                format!("decoding this {kind} would take too much memory; crop it or make it smaller first"),
            ),
            e => Error::image(name, format!("this {kind} is damaged: {}; copy or download it again", cause(&e))),
        };
        let mut limits = ::image::Limits::no_limits();
        // Leaves room for what a decoder needs besides the picture; the picture itself is checked below.
        limits.max_alloc = Some(2 * MAX_PICTURE_BYTES);
        let mut png_limits = limits.clone();
        png_limits.max_alloc = Some(measure::png_limit(bytes, 1));
        metadata::check(format, bytes, name)?;
        let mut metadata = Metadata::read(format, bytes);
        let tiff_profile = if format == Format::Tiff { metadata::tiff_profile(bytes) } else { None };
        let bytes = Cursor::new(bytes);
        let decoder: std::result::Result<Box<dyn ImageDecoder>, ImageError> = match format {
            Format::Png => png::PngDecoder::with_limits(bytes, png_limits).map(|d| Box::new(d) as _),
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
        let icc = match format {
            // The TIFF decoder takes 30 times a profile's bytes.
            Format::Tiff => tiff_profile,
            _ => decoder.icc_profile().map_err(fail)?,
        };
        let icc = icc.filter(|icc| profile_fits(icc, channels));
        let orientation = match decoder.orientation().map_err(fail)? {
            Orientation::NoTransforms => metadata.orientation().unwrap_or(Orientation::NoTransforms),
            orientation => orientation,
        };
        if orientation != Orientation::NoTransforms {
            metadata.make_upright();
        }
        decoder.set_limits(limits).map_err(fail)?;
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(fail)?;
        decoded.apply_orientation(orientation);
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let samples = match decoded {
            // The GIF decoder always reports alpha.
            DynamicImage::ImageRgba8(b) if format == Format::Gif => {
                return frames::picture(name, width, height, b.into_raw());
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
        Ok(Self { icc, metadata, ..Self::from_samples(name, width, height, channels, samples)? })
    }

    /// [`Picture::decode`] of a file.
    ///
    /// # Errors
    /// Those of [`Picture::decode`]; the file is missing, a folder, or cannot be read.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::files::read(path, |file, problem| Error::Image { file, problem })?;
        Self::decode(&bytes, &path.display().to_string())
    }
}

/// Returns whether an ICC profile describes samples of these channels. Bytes 16..20 of its header name the colour space.
pub(super) fn profile_fits(icc: &[u8], channels: Channels) -> bool {
    icc.get(16..20) == Some(if channels.is_grey() { b"GRAY" } else { b"RGB " })
}

/// Returns the message for a file in an unknown format.
fn unknown_content(bytes: &[u8], name: &str) -> String {
    let ftyp = bytes.get(4..8) == Some(b"ftyp");
    let found = match bytes {
        b if ftyp && b.get(8..12).is_some_and(|b| b == b"avif" || b == b"avis") => "an AVIF picture",
        _ if ftyp => "a HEIC picture or a film",
        b if b.starts_with(b"\xFF\x0A") || b.starts_with(b"\0\0\0\x0CJXL ") => "a JPEG XL picture",
        b if b.starts_with(b"%PDF") => "a PDF",
        b if b.starts_with(b"8BPS") => "a Photoshop file",
        b if b.iter().take(256).all(|&c| c >= 32 || c.is_ascii_whitespace()) => "text",
        _ => "a file of an unknown kind",
    };
    let all = "PNG, JPEG, WebP, BMP, TIFF or GIF";
    let expected = match Format::of_name(name) {
        Some(format) => format!("a {} file, as the name says, or another picture ({all})", format.name()),
        None => format!("a picture ({all})"),
    };
    format!("expected {expected}, got {found}; convert it to PNG or JPEG first")
}

/// Describes what a decoder does not support.
fn unsupported(e: &UnsupportedError) -> String {
    match e.kind() {
        UnsupportedErrorKind::Color(ExtendedColorType::Unknown(bits)) => {
            format!("samples of {bits} bits per pixel are not supported")
        }
        UnsupportedErrorKind::Color(color) => format!("samples of type {color:?} are not supported"),
        UnsupportedErrorKind::GenericFeature(feature) => one_line(&feature),
        _ => one_line(e),
    }
}

/// Describes what is wrong with a file, without the decoder's introduction.
fn cause(e: &ImageError) -> String {
    plain(&std::error::Error::source(e).map_or_else(|| e.to_string(), ToString::to_string))
}

/// Shortens a decoder's message about a damaged file to one line, without introductions and dumps of its own values.
pub(super) fn plain(text: &str) -> String {
    // The JPEG decoder prints strings escaped, as in source code.
    let text = one_line(&text).replace("\\n", " ").replace("\\\"", "'");
    let mut text = text.trim_matches('"');
    text = text.rsplit_once("Reason:").map_or(text, |(_, reason)| reason.trim());
    text = text.strip_prefix("Error decoding huffman values: ").unwrap_or(text);
    // The PNG decoder prints everything it knows about a chunk; the name is enough.
    let mut out = String::new();
    while let Some((before, chunk)) = text.split_once("ChunkType { type: ") {
        let (name, after) =
            (chunk.split(',').next().unwrap_or(""), chunk.split_once(" }").map_or("", |(_, after)| after));
        out = out + before + name;
        text = after;
    }
    (out + text).trim_end_matches('.').to_owned()
}

/// Returns whether the container shows that bytes are missing at the end; the JPEG and BMP decoders would fill in grey.
pub(super) fn ends_early(format: Format, bytes: &[u8]) -> bool {
    match format {
        Format::Jpeg => !jpeg_ends(bytes),
        Format::WebP => match bytes.get(4..8) {
            Some(size) => u64::from(u32::from_le_bytes(size.try_into().expect("four bytes"))) + 8 > bytes.len() as u64,
            None => true,
        },
        Format::Bmp => match bytes.get(2..6) {
            // Some writers leave the size at 0.
            Some(size) => u32::from_le_bytes(size.try_into().expect("four bytes")) as usize > bytes.len(),
            None => true,
        },
        Format::Png | Format::Tiff | Format::Gif => false,
    }
}

/// Returns whether a JPEG's segments end with the end-of-image marker (ITU-T T.81, annex B). An embedded preview has its own
/// marker inside a segment.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut i = 2;
    loop {
        // Skip entropy-coded data and fill bytes, in which 0xFF is followed by 0, a restart marker or 0xFF.
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

/// Returns the text of `problem` on one line, without a full stop at its end.
fn one_line(problem: &dyn std::fmt::Display) -> String {
    let text = problem.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

/// Returns whether `e` was caused by an early end of the data.
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
