//! Reads the chained directories of a TIFF file: its pages and the bytes of its tags. EXIF is such a file too, embedded in
//! another.
//!
//! Decoding a page is up to the codec; this module reads only what stands beside the samples. Source: TIFF 6.0, section 2;
//! BigTIFF as libtiff writes it.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};

/// Largest number of entries of a directory; real ones have fewer than 100.
const MAX_ENTRIES: u64 = 4096;
/// Largest number of pages of a file.
const MAX_PAGES: usize = 65_535;

pub(super) const IMAGE_WIDTH: u16 = 256;
pub(super) const IMAGE_LENGTH: u16 = 257;
pub(super) const X_RESOLUTION: u16 = 282;
pub(super) const Y_RESOLUTION: u16 = 283;
pub(super) const RESOLUTION_UNIT: u16 = 296;
pub(super) const XMP: u16 = 700;
pub(super) const ICC_PROFILE: u16 = 34675;
const BITS_PER_SAMPLE: u16 = 258;
const SAMPLES_PER_PIXEL: u16 = 277;
const NEW_SUBFILE_TYPE: u16 = 254;

/// A directory entry: a tag and the place of its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub tag: u16,
    pub kind: u16,
    pub count: u64,
    /// Offset of the entry's field, which holds the value, or the value's offset if the value is longer.
    pub field: u64,
}

/// A picture of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// Offset of its directory.
    pub offset: u64,
    pub width: u64,
    pub height: u64,
    /// Bytes of its samples.
    pub bytes: u64,
}

/// A file whose header has been read.
#[derive(Debug)]
pub(super) struct Tiff<R> {
    source: R,
    is_big_endian: bool,
    is_big_tiff: bool,
    first: u64,
}

fn broken(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

impl<R: Read + Seek> Tiff<R> {
    pub fn new(mut source: R) -> io::Result<Self> {
        let mut start = [0; 4];
        source.seek(SeekFrom::Start(0))?;
        source.read_exact(&mut start)?;
        let (is_big_endian, is_big_tiff) = match &start {
            b"II\x2A\0" => (false, false),
            b"MM\0\x2A" => (true, false),
            b"II\x2B\0" => (false, true),
            b"MM\0\x2B" => (true, true),
            _ => return Err(broken("the header of a TIFF file is missing")),
        };
        let mut tiff = Self { source, is_big_endian, is_big_tiff, first: 0 };
        tiff.first = if is_big_tiff { tiff.at(8, 8)? } else { tiff.at(4, 4)? };
        Ok(tiff)
    }

    pub fn is_big_tiff(&self) -> bool {
        self.is_big_tiff
    }

    pub fn is_big_endian(&self) -> bool {
        self.is_big_endian
    }

    /// Returns the offset of the first directory.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of bytes of an offset.
    fn word(&self) -> u64 {
        if self.is_big_tiff { 8 } else { 4 }
    }

    /// Returns the unsigned number in `bytes`, of which there are at most eight.
    fn unsigned(&self, bytes: &[u8]) -> u64 {
        let add = |n, &b: &u8| n << 8 | u64::from(b);
        if self.is_big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    }

    /// Reads the unsigned number of `len` bytes at `offset`.
    fn at(&mut self, offset: u64, len: u64) -> io::Result<u64> {
        let bytes = self.read(offset, len)?;
        Ok(self.unsigned(&bytes))
    }

    fn read(&mut self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.source.seek(SeekFrom::Start(offset))?;
        self.source.by_ref().take(len).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    /// Reads the entries of the directory at `offset`, and the offset of the next directory, 0 after the last.
    pub fn directory(&mut self, offset: u64) -> io::Result<(Vec<Entry>, u64)> {
        let count_len = if self.is_big_tiff { 8 } else { 2 };
        let count = self.at(offset, count_len)?;
        if count > MAX_ENTRIES {
            return Err(broken("a directory has too many entries"));
        }
        let word = self.word() as usize;
        let entry_len = 4 + 2 * word;
        let begin = offset + count_len;
        let bytes = self.read(begin, count * entry_len as u64 + word as u64)?;
        let (all, next) = bytes.split_at(bytes.len() - word);
        let entry = |(i, bytes): (usize, &[u8])| Entry {
            tag: self.unsigned(&bytes[..2]) as u16,
            kind: self.unsigned(&bytes[2..4]) as u16,
            count: self.unsigned(&bytes[4..4 + word]),
            field: begin + (i * entry_len + 4 + word) as u64,
        };
        Ok((all.chunks_exact(entry_len).enumerate().map(entry).collect(), self.unsigned(next)))
    }

    /// Returns where the value of `entry` begins and its length in bytes, or `None` if TIFF has no such type.
    pub fn place(&mut self, entry: &Entry) -> io::Result<Option<(u64, u64)>> {
        let Some(len) = type_len(entry.kind).and_then(|len| entry.count.checked_mul(len)) else { return Ok(None) };
        let at = if len <= self.word() { entry.field } else { self.at(entry.field, self.word())? };
        Ok(Some((at, len)))
    }

    /// Reads the first number of a tag's value, of type SHORT, LONG, IFD or LONG8.
    pub fn number(&mut self, entries: &[Entry], tag: u16) -> io::Result<Option<u64>> {
        let is_number = |e: &&Entry| e.tag == tag && matches!(e.kind, 3 | 4 | 13 | 16) && e.count > 0;
        let Some(entry) = entries.iter().find(is_number) else { return Ok(None) };
        let Some((at, _)) = self.place(entry)? else { return Ok(None) };
        self.at(at, type_len(entry.kind).unwrap_or(2)).map(Some)
    }

    /// Reads the bytes of the value of `entry`. Returns `None` if it is longer than `limit` or TIFF has no such type.
    pub fn value(&mut self, entry: &Entry, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match self.place(entry)?.filter(|(_, len)| *len <= limit) {
            Some((at, len)) => self.read(at, len).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the pixels per inch, across and down, from the tags of a directory.
    pub fn density(&mut self, entries: &[Entry]) -> io::Result<Option<[f64; 2]>> {
        let per_inch = match self.number(entries, RESOLUTION_UNIT)? {
            None | Some(2) => 1.0,
            Some(3) => super::metadata::CM_PER_INCH,
            Some(_) => return Ok(None),
        };
        let mut density = [0.0; 2];
        for (value, tag) in density.iter_mut().zip([X_RESOLUTION, Y_RESOLUTION]) {
            // A RATIONAL.
            let Some(entry) = entries.iter().find(|e| e.tag == tag && e.kind == 5 && e.count == 1) else {
                return Ok(None);
            };
            let Some(bytes) = self.value(entry, 8)? else { return Ok(None) };
            *value = self.unsigned(&bytes[..4]) as f64 / self.unsigned(&bytes[4..]) as f64 * per_inch;
        }
        Ok(super::metadata::sensible(density))
    }

    /// Reads the pages in order. Thumbnails and masks of a page (NewSubfileType, bits 0 and 2) do not count, unless there is
    /// nothing else.
    pub fn pages(&mut self) -> io::Result<Vec<Page>> {
        let (mut pages, mut seen, mut first, mut next) = (Vec::new(), BTreeSet::new(), None, self.first);
        while next != 0 && seen.insert(next) {
            if seen.len() > MAX_PAGES {
                return Err(broken("it has more than 65535 pages"));
            }
            let (entries, after) = self.directory(next)?;
            let mut number = |tag| self.number(&entries, tag);
            let [width, height] = [number(IMAGE_WIDTH)?, number(IMAGE_LENGTH)?].map(|n| n.unwrap_or(0));
            let samples = number(SAMPLES_PER_PIXEL)?.unwrap_or(1).saturating_mul(width).saturating_mul(height);
            let bytes = samples.saturating_mul(number(BITS_PER_SAMPLE)?.unwrap_or(1).div_ceil(8));
            let page = Page { offset: next, width, height, bytes };
            if number(NEW_SUBFILE_TYPE)?.unwrap_or(0) & 0b101 == 0 {
                pages.push(page);
            }
            first = first.or(Some(page));
            next = after;
        }
        if pages.is_empty() {
            pages.extend(first);
        }
        Ok(pages)
    }
}

/// Makes the page at `offset` the first of the file `bytes`, which [`Tiff::new`] accepted.
pub(super) fn begin_with(bytes: &mut [u8], offset: u64) {
    let is_big_tiff = bytes[2..4].contains(&0x2B);
    let is_big_endian = bytes[0] == b'M';
    let (at, len) = if is_big_tiff { (8, 8) } else { (4, 4) };
    let order = if is_big_endian { offset.to_be_bytes() } else { offset.to_le_bytes() };
    bytes[at..at + len].copy_from_slice(if is_big_endian { &order[8 - len..] } else { &order[..len] });
}

/// Returns the size of a value of type `kind`, in bytes.
pub(super) fn type_len(kind: u16) -> Option<u64> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => return None,
    })
}
