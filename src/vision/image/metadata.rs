//! What picture files hold besides samples: EXIF, XMP, the resolution, the colour profile. Where each format stores them, and
//! their limits.

use super::codec::profile_fits;
use super::exif::{self, Exif};
use super::tiff::{self, Tiff};
use super::{Channels, Encoding, Format, Picture, webp};
use crate::error::{Error, Result};
use std::io::Cursor;

/// Largest colour profile in bytes, unpacked. Printer profiles, the largest ones, have about 2 MB.
pub const MAX_PROFILE_BYTES: usize = 16 << 20;
/// Largest XMP packet in bytes, unpacked.
pub const MAX_XMP_BYTES: usize = 16 << 20;
/// Largest total of what a PNG, JPEG or WebP holds besides samples, in bytes as stored in the file.
pub const MAX_METADATA_BYTES: usize = 64 << 20;

/// Largest factor by which deflated data can grow when unpacked.
pub(super) const MAX_DEFLATE_RATIO: u64 = 1032;

pub(super) const CM_PER_INCH: f64 = 2.54;
const METRES_PER_INCH: f64 = 0.0254;

/// The marker segments of a JPEG.
pub(super) const APP0: u8 = 0xE0;
pub(super) const APP1: u8 = 0xE1;
pub(super) const EXIF_PREFIX: &[u8] = b"Exif\0\0";
pub(super) const XMP_PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
pub(super) const PNG_XMP: &str = "XML:com.adobe.xmp";

/// Metadata of a picture. PNG, JPEG, WebP and TIFF files hold all of it, except that JPEG cannot hold EXIF or XMP of more than
/// 64 KB. BMP holds only the resolution, GIF nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// EXIF, starting with its byte order. If its orientation was applied to the samples, it no longer asks for it. Written
    /// files store their own size in it.
    pub exif: Option<Vec<u8>>,
    /// A packet of XMP.
    pub xmp: Option<Vec<u8>>,
    /// Pixels per inch, across and down. An enlargement keeps it and thus becomes larger in inches.
    pub density: Option<[f64; 2]>,
}

/// Returns `density` if it is plausible. Values close to a whole number are rounded to it, because formats round to metres and
/// centimetres.
pub(super) fn sensible(density: [f64; 2]) -> Option<[f64; 2]> {
    let round = |d: f64| if (d - d.round()).abs() < 0.02 { d.round() } else { d };
    density.iter().all(|d| (0.1..1e7).contains(d)).then(|| density.map(round))
}

impl Metadata {
    /// Reads the metadata of `bytes`, a file of `format` that [`check`] accepted. Damaged parts are left out.
    pub(super) fn read(format: Format, bytes: &[u8]) -> Self {
        let mut found = match format {
            Format::Png => Self::of_png(bytes),
            Format::Jpeg => Self::of_jpeg(bytes),
            Format::WebP => Self::of_webp(bytes),
            Format::Tiff => Self::of_tiff(bytes).unwrap_or_default(),
            Format::Bmp => Self { density: per_metre(bytes.get(38..46), u32::from_le_bytes), ..Self::default() },
            Format::Gif => Self::default(),
        };
        // Some writers put JPEG's prefix into the chunks of other formats.
        if let Some(exif) = found.exif.as_mut().filter(|exif| exif.starts_with(EXIF_PREFIX)) {
            exif.drain(..EXIF_PREFIX.len());
        }
        if let (None, Some(exif)) = (found.density, &found.exif)
            && let Ok(mut parts) = Tiff::new(Cursor::new(exif))
            && let first = parts.first()
            && let Ok((entries, _)) = parts.directory(first)
        {
            found.density = parts.density(&entries).unwrap_or(None);
        }
        found
    }

    fn of_png(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        for (kind, data) in png_chunks(bytes) {
            match kind {
                b"eXIf" => found.exif = Some(data.to_vec()),
                b"iTXt" => found.xmp = png_xmp(data).ok().flatten().or(found.xmp),
                // Unit 1 is the metre; 0 gives only the pixels' aspect ratio.
                b"pHYs" if data.get(8) == Some(&1) => found.density = per_metre(data.get(..8), u32::from_be_bytes),
                _ => {}
            }
        }
        found
    }

    fn of_jpeg(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        for (marker, data) in jpeg_segments(bytes) {
            match marker {
                APP0 if data.starts_with(b"JFIF\0") && data.len() >= 12 => {
                    let per_inch = match data[7] {
                        1 => 1.0,
                        2 => CM_PER_INCH,
                        _ => continue,
                    };
                    let density = [8, 10].map(|at| f64::from(u16::from_be_bytes([data[at], data[at + 1]])) * per_inch);
                    found.density = sensible(density);
                }
                APP1 if data.starts_with(EXIF_PREFIX) => found.exif = Some(data[EXIF_PREFIX.len()..].to_vec()),
                APP1 => found.xmp = data.strip_prefix(XMP_PREFIX).map(<[u8]>::to_vec).or(found.xmp),
                _ => {}
            }
        }
        found
    }

    fn of_webp(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        for (name, range) in webp::chunks(&mut Cursor::new(bytes), 12..bytes.len() as u64).unwrap_or_default() {
            let data = || Some(bytes[range.start as usize..range.end as usize].to_vec());
            match &name {
                b"EXIF" => found.exif = data(),
                b"XMP " => found.xmp = data(),
                _ => {}
            }
        }
        found
    }

    fn of_tiff(bytes: &[u8]) -> std::io::Result<Self> {
        let mut parts = Tiff::new(Cursor::new(bytes))?;
        let first = parts.first();
        let (entries, _) = parts.directory(first)?;
        let density = parts.density(&entries)?;
        let xmp = match entries.iter().find(|e| e.tag == tiff::XMP) {
            Some(entry) => parts.value(entry, MAX_XMP_BYTES as u64)?,
            None => None,
        };
        let exif = Exif::read(&mut parts, first).ok().filter(|exif| !exif.is_empty()).map(|exif| exif.to_bytes());
        Ok(Self { exif, xmp, density })
    }

    /// Returns the orientation of the samples according to EXIF, or `None` if they are upright.
    pub(super) fn orientation(&self) -> Option<::image::metadata::Orientation> {
        self.exif.as_deref().and_then(exif::orientation)
    }

    /// Marks the samples as upright in EXIF and XMP.
    pub(super) fn make_upright(&mut self) {
        if let Some(exif) = &mut self.exif {
            exif::make_upright(exif);
        }
        let Some(xmp) = &mut self.xmp else { return };
        for name in [&b"tiff:Orientation=\""[..], b"tiff:Orientation='", b"<tiff:Orientation>"] {
            let found = xmp.windows(name.len() + 2).position(|w| {
                w.starts_with(name) && (b'2'..=b'8').contains(&w[name.len()]) && !w[name.len() + 1].is_ascii_digit()
            });
            if let Some(at) = found {
                xmp[at + name.len()] = b'1';
            }
        }
    }
}

/// What a file stores beside a picture's samples.
#[derive(Debug, Default)]
pub(super) struct Beside<'a> {
    pub icc: Option<&'a [u8]>,
    pub exif: Option<Vec<u8>>,
    pub xmp: Option<&'a [u8]>,
    pub density: Option<[f64; 2]>,
}

impl<'a> Beside<'a> {
    /// Returns what to store for `picture` in a file of `encoding` that holds it in `channels`.
    pub fn of(picture: &'a Picture, encoding: &Encoding, channels: Channels) -> Self {
        let icc = picture.icc().filter(|icc| encoding.format.traits().icc && profile_fits(icc, channels));
        if encoding.strip {
            return Self { icc, ..Self::default() };
        }
        let Metadata { exif, xmp, density } = &picture.metadata;
        let exif = exif.as_ref().map(|exif| exif::with_size(exif, [picture.width(), picture.height()]));
        Self { icc, exif, xmp: xmp.as_deref(), density: *density }
    }
}

/// Converts two whole numbers of pixels per metre to pixels per inch.
fn per_metre(bytes: Option<&[u8]>, number: fn([u8; 4]) -> u32) -> Option<[f64; 2]> {
    let (numbers, _) = bytes?.as_chunks::<4>();
    sensible([*numbers.first()?, *numbers.get(1)?].map(|n| f64::from(number(n)) * METRES_PER_INCH))
}

/// Converts pixels per inch to pixels per metre.
pub(super) fn in_metres(density: [f64; 2]) -> [u32; 2] {
    density.map(|d| (d / METRES_PER_INCH).round() as u32)
}

/// Returns the colour profile of a TIFF.
pub(super) fn tiff_profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut parts = Tiff::new(Cursor::new(bytes)).ok()?;
    let first = parts.first();
    let (entries, _) = parts.directory(first).ok()?;
    let entry = entries.iter().find(|e| e.tag == tiff::ICC_PROFILE)?;
    parts.value(entry, MAX_PROFILE_BYTES as u64).ok()?
}

/// Refuses a file whose metadata would take too much memory, before a decoder unpacks it, or whose palette or header has a
/// size that a decoder would misread.
///
/// # Errors
/// [`MAX_PROFILE_BYTES`], [`MAX_XMP_BYTES`] or [`MAX_METADATA_BYTES`] is exceeded; a PNG's palette does not have 1 to 256
/// colours; the header of an extended WebP does not have 10 bytes.
pub(super) fn check(format: Format, bytes: &[u8], name: &str) -> Result<()> {
    let refuse = |what: &str, limit: usize| {
        let problem = format!(
            "its {what} takes more than {} MiB; remove it with an image editor, or convert the file first",
            limit >> 20
        );
        Err(Error::image(name, problem))
    };
    let (profile, xmp, all) = ("colour profile", "XMP metadata", "metadata");
    let mut total = 0_usize;
    match format {
        Format::Png => {
            for (kind, data) in png_chunks(bytes) {
                match kind {
                    b"IDAT" | b"fdAT" => continue,
                    // The decoder would index past its own table.
                    b"PLTE" if data.len() % 3 != 0 || data.len() > 3 * 256 => {
                        let problem =
                            format!("its palette of {} bytes does not hold 1 to 256 colours of three", data.len());
                        return Err(Error::image(name, problem));
                    }
                    b"iCCP" if unpacks_beyond(png_profile(data), MAX_PROFILE_BYTES) => {
                        return refuse(profile, MAX_PROFILE_BYTES);
                    }
                    b"iTXt" if png_xmp(data).is_err() => return refuse(xmp, MAX_XMP_BYTES),
                    _ => total = total.saturating_add(data.len()),
                }
            }
        }
        Format::Jpeg => total = jpeg_segments(bytes).map(|(_, data)| data.len()).sum(),
        Format::WebP => {
            for (chunk, range) in webp::chunks(&mut Cursor::new(bytes), 12..bytes.len() as u64).unwrap_or_default() {
                let len = (range.end - range.start) as usize;
                match &chunk {
                    b"ICCP" if len > MAX_PROFILE_BYTES => return refuse(profile, MAX_PROFILE_BYTES),
                    b"XMP " if len > MAX_XMP_BYTES => return refuse(xmp, MAX_XMP_BYTES),
                    // The decoder would read the picture's size from the bytes that follow.
                    b"VP8X" if len != 10 => {
                        let problem =
                            format!("its header VP8X has {len} bytes, expected 10; copy or download it again");
                        return Err(Error::image(name, problem));
                    }
                    b"VP8 " | b"VP8L" | b"ALPH" | b"ANMF" => {}
                    _ => total = total.saturating_add(len),
                }
            }
        }
        Format::Tiff => {
            let place = |tag| {
                let mut parts = Tiff::new(Cursor::new(bytes)).ok()?;
                let first = parts.first();
                let (entries, _) = parts.directory(first).ok()?;
                let (_, len) = parts.place(entries.iter().find(|e| e.tag == tag)?).ok()??;
                Some(len)
            };
            if place(tiff::ICC_PROFILE).is_some_and(|len| len > MAX_PROFILE_BYTES as u64) {
                return refuse(profile, MAX_PROFILE_BYTES);
            }
            if place(tiff::XMP).is_some_and(|len| len > MAX_XMP_BYTES as u64) {
                return refuse(xmp, MAX_XMP_BYTES);
            }
        }
        Format::Bmp | Format::Gif => {}
    }
    if total > MAX_METADATA_BYTES { refuse(all, MAX_METADATA_BYTES) } else { Ok(()) }
}

/// Returns the packed data of a PNG's profile, which follows its name and the compression method.
fn png_profile(chunk: &[u8]) -> &[u8] {
    let name = chunk.iter().position(|&b| b == 0).unwrap_or(chunk.len());
    chunk.get(name + 2..).unwrap_or_default()
}

fn unpacks_beyond(packed: &[u8], limit: usize) -> bool {
    use fdeflate::BoundedDecompressionError as E;
    matches!(fdeflate::decompress_to_vec_bounded(packed, limit), Err(E::OutputTooLarge { .. }))
}

/// Returns the XMP packet of a PNG's text chunk, or `None` if the text is damaged or not XMP.
///
/// # Errors
/// It is larger than [`MAX_XMP_BYTES`].
fn png_xmp(chunk: &[u8]) -> std::result::Result<Option<Vec<u8>>, ()> {
    use fdeflate::BoundedDecompressionError as E;
    // The keyword; whether and how the text is packed; a language; the keyword in that language.
    let Some([packed, _, rest @ ..]) = chunk.strip_prefix(PNG_XMP.as_bytes()).and_then(|c| c.strip_prefix(b"\0"))
    else {
        return Ok(None);
    };
    let mut parts = rest.splitn(3, |&b| b == 0);
    let Some(text) = parts.nth(2) else { return Ok(None) };
    if *packed == 0 {
        return if text.len() > MAX_XMP_BYTES { Err(()) } else { Ok(Some(text.to_vec())) };
    }
    match fdeflate::decompress_to_vec_bounded(text, MAX_XMP_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(E::OutputTooLarge { .. }) => Err(()),
        Err(E::DecompressionError { .. }) => Ok(None),
    }
}

/// Returns the kind and the data of every complete chunk of a PNG.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let (data, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        // Skip the checksum.
        rest = after.get(4..)?;
        Some((kind, data))
    })
}

/// Returns the marker and the data of every segment of a JPEG before its samples.
pub(super) fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            // Fill bytes may precede a marker.
            let at = rest.iter().position(|&b| b != 0xFF)?;
            let marker = *rest.get(at).filter(|_| at > 0)?;
            rest = &rest[at + 1..];
            match marker {
                // Without data: restart markers, the start.
                0x01 | 0xD0..=0xD8 => {}
                // The scan, the end.
                0xDA | 0xD9 => return None,
                _ => {
                    let (len, _) = rest.split_first_chunk::<2>()?;
                    let (segment, after) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
                    rest = after;
                    return Some((marker, segment.get(2..)?));
                }
            }
        }
    })
}
