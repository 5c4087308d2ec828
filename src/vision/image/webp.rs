//! The container of WebP: its chunks, the frames of an animation, and files of several chunks, which the encoders of still
//! pictures do not write.
//!
//! Source: WebP Container Specification (RIFF), <https://developers.google.com/speed/webp/docs/riff_container>.

use super::canvas::{Canvas, Patch, Then};
use super::metadata::Beside;
use super::{Channels, Picture, Plays, Rect, Samples};
use crate::error::{Error, Result};
use ::image::codecs::webp::{WebPDecoder, WebPEncoder};
use ::image::{DynamicImage, ImageDecoder};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// Longest duration of a frame, in ms.
const MAX_MS: u32 = (1 << 24) - 1;

/// Returns the name and the data's place of every chunk in `range` of a file. Truncated chunks are left out.
pub(super) fn chunks<R: Read + Seek>(source: &mut R, range: Range<u64>) -> io::Result<Vec<([u8; 4], Range<u64>)>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at + 8 <= range.end {
        let mut header = [0; 8];
        source.seek(SeekFrom::Start(at))?;
        source.read_exact(&mut header)?;
        let [a, b, c, d, size @ ..] = header;
        let size = u64::from(u32::from_le_bytes(size));
        if at + 8 + size > range.end {
            break;
        }
        found.push(([a, b, c, d], at + 8..at + 8 + size));
        at += 8 + size + size % 2;
    }
    Ok(found)
}

/// The header of an animated WebP.
#[derive(Debug, Clone)]
pub(super) struct Animation {
    pub width: usize,
    pub height: usize,
    pub plays: Plays,
    /// Place of the data of each frame's chunk.
    pub frames: Vec<Range<u64>>,
}

impl Animation {
    /// Reads the header. Returns `None` for a still picture.
    pub fn read<R: Read + Seek>(source: &mut R) -> io::Result<Option<Self>> {
        let end = source.seek(SeekFrom::End(0))?;
        let chunks = chunks(source, 12..end)?;
        let mut data = |name: &[u8; 4], bytes: &mut [u8]| -> io::Result<bool> {
            let chunk = chunks.iter().find(|(n, r)| n == name && r.end - r.start >= bytes.len() as u64);
            let Some((_, range)) = chunk else { return Ok(false) };
            source.seek(SeekFrom::Start(range.start))?;
            source.read_exact(bytes)?;
            Ok(true)
        };
        let (mut header, mut animation) = ([0; 10], [0; 6]);
        // Bit 1 of the flags marks an animation.
        if !data(b"VP8X", &mut header)? || header[0] & 2 == 0 || !data(b"ANIM", &mut animation)? {
            return Ok(None);
        }
        let [width, height] = [4, 7].map(|at| u24(&header[at..]) as usize + 1);
        let plays = Plays::of(u16::from_le_bytes([animation[4], animation[5]]).into());
        let frames = chunks.into_iter().filter(|(name, _)| name == b"ANMF").map(|(_, range)| range).collect();
        Ok(Some(Self { width, height, plays, frames }))
    }
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) | u32::from(bytes[1]) << 8 | u32::from(bytes[2]) << 16
}

/// The frames of an animation one after another, composed on a canvas. The file's background colour is a hint that no viewer
/// follows, and is ignored.
pub(super) struct Frames {
    bytes: Vec<u8>,
    frames: std::vec::IntoIter<Range<u64>>,
    canvas: Canvas,
}

impl Frames {
    pub fn new(bytes: Vec<u8>, animation: Animation) -> Self {
        let canvas = Canvas::new(animation.width, animation.height);
        Self { bytes, frames: animation.frames.into_iter(), canvas }
    }

    pub fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    /// Draws the next frame and returns its duration in ms, or what is wrong with the file.
    pub fn next(&mut self) -> Option<std::result::Result<u32, String>> {
        let range = self.frames.next()?;
        Some(self.frame(range.start as usize..range.end as usize))
    }

    fn frame(&mut self, range: Range<usize>) -> std::result::Result<u32, String> {
        let data = self.bytes.get(range).filter(|data| data.len() > 16).ok_or("a frame is truncated")?;
        let [left, top] = [0, 3].map(|at| 2 * u24(&data[at..]) as usize);
        let [width, height] = [6, 9].map(|at| u24(&data[at..]) as usize + 1);
        let (ms, flags) = (u24(&data[12..]), data[15]);
        let rect = Rect { top, left, height, width };
        if !self.canvas.holds(rect) {
            return Err("a frame extends beyond the picture".into());
        }
        let still = still(&data[16..], [width, height]).ok_or("a frame holds no picture")?;
        let fail = |e: ::image::ImageError| e.to_string();
        let decoder = WebPDecoder::new(io::Cursor::new(still)).map_err(fail)?;
        // The still picture's header decides how much is allocated, so it must agree with the frame's.
        if decoder.dimensions() != (width as u32, height as u32) {
            return Err("a frame's size differs from its header".into());
        }
        let rgba = DynamicImage::from_decoder(decoder).map_err(fail)?.into_rgba8().into_raw();
        self.canvas.draw(&Patch {
            rgba,
            rect,
            blends: flags & 2 == 0,
            then: if flags & 1 == 1 { Then::Clear } else { Then::Stay },
        });
        Ok(ms)
    }
}

/// Returns the file of a still picture made from the chunks `data` of a frame.
fn still(data: &[u8], [width, height]: [usize; 2]) -> Option<Vec<u8>> {
    let mut out = io::Cursor::new(Vec::new());
    let mut writer = Writer::new(&mut out).ok()?;
    let parts: Vec<_> = parts(data).collect();
    if parts.iter().any(|(name, _)| name == b"ALPH") {
        writer.chunk(b"VP8X", &[&header(ALPHA, width, height)]).ok()?;
    }
    for (name, part) in &parts {
        writer.chunk(name, &[part]).ok()?;
    }
    writer.finish(None, None).ok()?;
    (!parts.is_empty()).then(|| out.into_inner())
}

/// Returns those chunks in `data` that hold the picture itself.
fn parts(data: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let all = chunks(&mut io::Cursor::new(data), 0..data.len() as u64).unwrap_or_default();
    let own = |name: &[u8; 4]| matches!(name, b"ALPH" | b"VP8 " | b"VP8L");
    all.into_iter().filter(move |(name, _)| own(name)).map(|(name, r)| (name, &data[r.start as usize..r.end as usize]))
}

const ALPHA: u8 = 0b1_0000;
const ANIMATED: u8 = 0b10;
const XMP: u8 = 0b100;
const EXIF: u8 = 0b1000;
const ICC: u8 = 0b10_0000;

/// Returns the data of the chunk VP8X.
fn header(flags: u8, width: usize, height: usize) -> [u8; 10] {
    let ([w0, w1, w2, _], [h0, h1, h2, _]) = (le(width - 1), le(height - 1));
    [flags, 0, 0, 0, w0, w1, w2, h0, h1, h2]
}

fn le(n: usize) -> [u8; 4] {
    (n as u32).to_le_bytes()
}

/// Writes a file chunk by chunk.
struct Writer<W> {
    out: W,
    /// Start of the file in `out`.
    start: u64,
}

impl<W: Write + Seek> Writer<W> {
    fn new(mut out: W) -> io::Result<Self> {
        let start = out.stream_position()?;
        out.write_all(b"RIFF\0\0\0\0WEBP")?;
        Ok(Self { out, start })
    }

    /// Writes a chunk whose data is `parts`, one after another.
    fn chunk(&mut self, name: &[u8; 4], parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        self.out.write_all(name)?;
        self.out.write_all(&u32::try_from(len).map_err(|_| too_large())?.to_le_bytes())?;
        for part in parts {
            self.out.write_all(part)?;
        }
        if len % 2 == 1 { self.out.write_all(&[0]) } else { Ok(()) }
    }

    /// Writes the chunks before the picture's own, for a file that has other chunks too.
    fn extended(&mut self, flags: u8, [width, height]: [usize; 2], beside: &Beside) -> io::Result<()> {
        let has = |is: bool, flag: u8| if is { flag } else { 0 };
        let beside_flags =
            has(beside.icc.is_some(), ICC) | has(beside.exif.is_some(), EXIF) | has(beside.xmp.is_some(), XMP);
        self.chunk(b"VP8X", &[&header(flags | beside_flags, width, height)])?;
        beside.icc.map_or(Ok(()), |icc| self.chunk(b"ICCP", &[icc]))
    }

    /// Writes the chunks after the picture, and the file's length.
    fn finish(&mut self, exif: Option<&[u8]>, xmp: Option<&[u8]>) -> io::Result<()> {
        exif.map_or(Ok(()), |exif| self.chunk(b"EXIF", &[exif]))?;
        xmp.map_or(Ok(()), |xmp| self.chunk(b"XMP ", &[xmp]))?;
        let end = self.out.stream_position()?;
        let len = u32::try_from(end - self.start - 8).map_err(|_| too_large())?;
        self.out.seek(SeekFrom::Start(self.start + 4))?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.seek(SeekFrom::Start(end))?;
        Ok(())
    }
}

fn too_large() -> io::Error {
    io::Error::other("the file would be larger than 4 GiB, the limit of WebP; choose another format")
}

/// Writes a still picture, lossless if there is no `quality`.
pub(super) fn write_still<W: Write + Seek>(
    out: W,
    name: &str,
    quality: Option<u8>,
    picture: &Picture,
    beside: &Beside,
) -> Result<()> {
    let fail = |e| Error::io(name, e);
    let still = encode(picture, quality, name)?;
    let parts: Vec<_> = parts(still.get(12..).unwrap_or_default()).collect();
    let has_alpha = match parts[..] {
        [(_, data)] if parts[0].0 == *b"VP8L" => data.get(4).is_some_and(|b| b & 0x10 != 0),
        _ => parts.iter().any(|(name, _)| name == b"ALPH"),
    };
    let mut writer = Writer::new(out).map_err(fail)?;
    let flags = if has_alpha { ALPHA } else { 0 };
    if parts.len() > 1 || beside.icc.is_some() || beside.exif.is_some() || beside.xmp.is_some() {
        writer.extended(flags, [picture.width(), picture.height()], beside).map_err(fail)?;
    }
    parts.into_iter().try_for_each(|(name, part)| writer.chunk(&name, &[part])).map_err(fail)?;
    writer.finish(beside.exif.as_deref(), beside.xmp).map_err(fail)
}

/// Writes an animation frame by frame, each frame complete.
pub(super) struct WebPWriter<W> {
    name: String,
    quality: Option<u8>,
    /// Written at the end, as is `xmp`.
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    writer: Writer<W>,
}

impl<W: Write + Seek> WebPWriter<W> {
    /// Begins an animation with frames of `size`, width and height.
    pub fn new(
        out: W,
        name: &str,
        quality: Option<u8>,
        plays: Plays,
        size: [usize; 2],
        beside: Beside,
    ) -> Result<Self> {
        let fail = |e| Error::io(name, e);
        let mut writer = Writer::new(out).map_err(fail)?;
        // It is not known yet whether a frame has alpha; the flag is allowed even if none has.
        writer.extended(ALPHA | ANIMATED, size, &beside).map_err(fail)?;
        let plays = u16::try_from(plays.count()).unwrap_or(u16::MAX);
        writer.chunk(b"ANIM", &[&[0; 4], &plays.to_le_bytes()]).map_err(fail)?;
        let Beside { exif, xmp, .. } = beside;
        Ok(Self { name: name.into(), quality, exif, xmp: xmp.map(<[u8]>::to_vec), writer })
    }

    /// Adds a frame, which must have the size of the first.
    pub fn add(&mut self, picture: &Picture, delay_ms: u32) -> Result<()> {
        let still = encode(picture, self.quality, &self.name)?;
        let mut inner = io::Cursor::new(Vec::new());
        for (name, part) in parts(still.get(12..).unwrap_or_default()) {
            // Writing to memory cannot fail.
            let _ = Writer { out: &mut inner, start: 0 }.chunk(&name, &[part]);
        }
        let [w, h] = [picture.width(), picture.height()].map(|n| le(n - 1));
        let ms = le(delay_ms.min(MAX_MS) as usize);
        // At (0, 0), replacing what was there.
        let mut frame = [0; 16];
        frame[6..9].copy_from_slice(&w[..3]);
        frame[9..12].copy_from_slice(&h[..3]);
        frame[12..15].copy_from_slice(&ms[..3]);
        frame[15] = 0b10;
        let name = &self.name;
        self.writer.chunk(b"ANMF", &[&frame, inner.get_ref()]).map_err(|e| Error::io(name, e))
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<()> {
        self.writer.finish(self.exif.as_deref(), self.xmp.as_deref()).map_err(|e| Error::io(&self.name, e))
    }
}

/// Encodes a still picture as a file.
fn encode(picture: &Picture, quality: Option<u8>, name: &str) -> Result<Vec<u8>> {
    let [width, height] = [picture.width(), picture.height()].map(|n| n as u32);
    let Samples::U8(samples) = picture.samples() else { unreachable!("the picture was made to fit WebP") };
    let Some(quality) = quality else {
        use ::image::ExtendedColorType as T;
        let color = match picture.channels() {
            Channels::Grey => T::L8,
            Channels::GreyAlpha => T::La8,
            Channels::Rgb => T::Rgb8,
            Channels::Rgba => T::Rgba8,
        };
        let mut out = Vec::new();
        return match WebPEncoder::new_lossless(&mut out).encode(samples, width, height, color) {
            Ok(()) => Ok(out),
            Err(e) => Err(Error::image(name, format!("cannot be written as WebP: {e}"))),
        };
    };
    encode_lossy(samples, [width, height], picture.channels(), quality, name)
}

fn encode_lossy(
    samples: &[u8],
    [width, height]: [u32; 2],
    channels: Channels,
    quality: u8,
    name: &str,
) -> Result<Vec<u8>> {
    use ::webp::{Encoder, PixelLayout};
    let layout = match channels {
        Channels::Rgba => PixelLayout::Rgba,
        Channels::Rgb => PixelLayout::Rgb,
        _ => unreachable!("the picture was made to fit WebP with loss"),
    };
    match Encoder::new(samples, layout, width, height).encode_simple(false, quality.into()) {
        Ok(out) => Ok(out.to_vec()),
        Err(e) => Err(Error::image(name, format!("cannot be written as lossy WebP: {e:?}"))),
    }
}
