//! Reads the header of a picture file: how many pictures it holds, how large they are, and how much memory decoding takes.

use super::{Format, MAX_PICTURE_BYTES, Plays, Sequence, metadata, tiff, webp};
use std::io::{BufRead, Seek};

/// Sizes of the pictures of a file, according to its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width of the first picture in pixels, ignoring its orientation.
    pub width: usize,
    /// Height of the first picture in pixels, ignoring its orientation.
    pub height: usize,
    /// Number of frames of an animation or pages of a TIFF; else 1.
    pub frames: usize,
    pub sequence: Sequence,
    /// Pixels of all pictures together.
    pub pixels: u64,
    /// Bytes of the largest picture's decoded samples.
    pub bytes: u64,
    /// Bytes that reading and decoding it take besides: the file, the decoder's own pictures, the colour profile.
    pub working_bytes: u64,
}

/// The header of a file of several pictures.
#[derive(Debug)]
pub(super) struct Look {
    pub size: Size,
    pub kind: Kind,
}

/// How its pictures are found.
#[derive(Debug)]
pub(super) enum Kind {
    Gif,
    Png,
    WebP(webp::Animation),
    /// Offsets of their directories.
    Pages(Vec<u64>),
}

impl Look {
    fn animation(width: usize, height: usize, frames: usize, plays: Plays, kind: Kind) -> Self {
        let pixels = (width as u64).saturating_mul(height as u64);
        let size = Size {
            width,
            height,
            frames,
            sequence: Sequence::Animation(plays),
            pixels: pixels.saturating_mul(frames as u64),
            bytes: pixels.saturating_mul(4),
            working_bytes: 0,
        };
        Self { size, kind }
    }
}

/// Reads the header of `source`, a file of `format`, if it holds several pictures or its only picture is not the first. Returns
/// `None` if it holds one, or if its decoder will report what is wrong.
///
/// # Errors
/// The list of pictures is damaged.
pub(super) fn look<R: BufRead + Seek>(format: Format, mut source: R) -> Result<Option<Look>, String> {
    match format {
        Format::Gif => {
            let mut decoder = gif::DecodeOptions::new().read_info(source).map_err(|e| e.to_string())?;
            let mut count = 0;
            while decoder.next_frame_info().map_err(|e| e.to_string())?.is_some() {
                count += 1;
            }
            let plays = match decoder.repeat() {
                gif::Repeat::Finite(0) => Plays::Once,
                gif::Repeat::Finite(n) => Plays::Again(n),
                gif::Repeat::Infinite => Plays::Forever,
            };
            let [width, height] = [decoder.width(), decoder.height()].map(usize::from);
            Ok((count > 1).then(|| Look::animation(width, height, count, plays, Kind::Gif)))
        }
        Format::Png => {
            let Ok(png) = png_header(source) else { return Ok(None) };
            let info = png.info();
            let Some(control) = info.animation_control.filter(|c| c.num_frames > 1) else { return Ok(None) };
            let [width, height, count] = [info.width, info.height, control.num_frames].map(|n| n as usize);
            Ok(Some(Look::animation(width, height, count, Plays::of(control.num_plays), Kind::Png)))
        }
        Format::WebP => {
            let Ok(Some(animation)) = webp::Animation::read(&mut source) else { return Ok(None) };
            let webp::Animation { width, height, plays, ref frames } = animation;
            let count = frames.len();
            Ok((count > 1).then(|| Look::animation(width, height, count, plays, Kind::WebP(animation))))
        }
        Format::Tiff => {
            let Ok(mut tiff) = tiff::Tiff::new(source) else { return Ok(None) };
            // The decoder will report what is wrong with the first page.
            if tiff.directory(tiff.first()).is_err() {
                return Ok(None);
            }
            let pages = tiff.pages().map_err(|e| format!("its list of pages: {e}"))?;
            let Some(&first) = pages.first() else { return Ok(None) };
            if pages.len() == 1 && first.offset == tiff.first() {
                return Ok(None);
            }
            let size = Size {
                width: first.width as usize,
                height: first.height as usize,
                frames: pages.len(),
                sequence: if pages.len() > 1 { Sequence::Pages } else { Sequence::Single },
                pixels: pages.iter().fold(0, |n, p| n.saturating_add(p.width.saturating_mul(p.height))),
                bytes: pages.iter().map(|p| p.bytes).max().unwrap_or(0),
                working_bytes: 0,
            };
            Ok(Some(Look { size, kind: Kind::Pages(pages.iter().map(|p| p.offset).collect()) }))
        }
        Format::Jpeg | Format::Bmp => Ok(None),
    }
}

/// Reads the header of a PNG without its texts and profile.
fn png_header<R: BufRead + Seek>(source: R) -> Result<png::Reader<R>, png::DecodingError> {
    let mut decoder = png::Decoder::new(source);
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.read_info()
}

impl super::Picture {
    /// Reads the header of a file. Returns `None` if [`super::Frames::open`] would fail for a reason that the header shows.
    pub fn measure(path: impl AsRef<std::path::Path>) -> Option<Size> {
        use ::image::ImageDecoder;
        use ::image::codecs::{bmp, gif, jpeg, tiff, webp};
        let mut source = ::image::ImageReader::open(path).ok()?.into_inner();
        let file_bytes = source.seek(std::io::SeekFrom::End(0)).ok()?;
        source.rewind().ok()?;
        let format = Format::of_content(source.fill_buf().ok()?)?;
        if let Some(Look { mut size, .. }) = look(format, &mut source).ok()? {
            // The canvas, the frame, what the frame covers, the row being read.
            let pictures = if size.sequence.plays().is_some() { 4 } else { 2 };
            size.working_bytes = size.bytes.saturating_mul(pictures).saturating_add(file_bytes);
            return Some(size);
        }
        source.rewind().ok()?;
        // The largest size of a packed profile.
        let profile = if format == Format::Png {
            file_bytes.saturating_mul(metadata::MAX_DEFLATE_RATIO).min(metadata::MAX_PROFILE_BYTES as u64)
        } else {
            0
        };
        let of = |decoder: Box<dyn ImageDecoder>| (decoder.dimensions(), decoder.total_bytes());
        let ((width, height), bytes) = match format {
            Format::Png => {
                let png = png_header(source).ok()?;
                (png.info().size(), png.output_buffer_size()? as u64)
            }
            Format::Jpeg => of(Box::new(jpeg::JpegDecoder::new(source).ok()?)),
            Format::WebP => of(Box::new(webp::WebPDecoder::new(source).ok()?)),
            Format::Bmp => of(Box::new(bmp::BmpDecoder::new(source).ok()?)),
            Format::Tiff => of(Box::new(tiff::TiffDecoder::new(source).ok()?)),
            Format::Gif => of(Box::new(gif::GifDecoder::new(source).ok()?)),
        };
        // The decoders of JPEG and TIFF hold the picture a second time, in coefficients or strips; so does applying the
        // orientation. The JPEG decoder also copies the file.
        let copies = if format == Format::Jpeg { 2 } else { 1 };
        Some(Size {
            width: width as usize,
            height: height as usize,
            frames: 1,
            sequence: Sequence::Single,
            pixels: u64::from(width) * u64::from(height),
            bytes,
            working_bytes: bytes.saturating_mul(2).saturating_add(copies * file_bytes).saturating_add(profile),
        })
    }
}

/// Returns the bytes that a PNG decoder may take besides the pictures, each of which reserves a row. Whatever
/// [`metadata::check`] accepts must fit.
pub(super) fn png_limit(bytes: &[u8], frames: usize) -> u64 {
    let width = bytes.get(16..20).map_or(0, |b| u32::from_be_bytes(b.try_into().expect("four bytes")));
    // For 16 bit and four channels.
    let row = u64::from(width) * 8;
    // Chunks grow by doubling, and are copied once.
    let beside = 3 * metadata::MAX_METADATA_BYTES as u64 + metadata::MAX_PROFILE_BYTES as u64;
    row.saturating_mul(frames as u64 + 2).saturating_add(beside).min(2 * MAX_PICTURE_BYTES)
}
