//! EXIF: a TIFF structure without samples, beside a picture of another format or among the tags of a TIFF.
//!
//! Source: CIPA DC-008 (Exif 2.32), sections 4.5 and 4.6.

use super::tiff::{self, Entry, Tiff, type_len};
use ::image::metadata::Orientation;
use std::io::{self, Cursor, Read, Seek};

/// Largest value that is kept, in bytes; a maker's note has at most about 100 KB.
const MAX_VALUE_BYTES: u64 = 1 << 20;

/// Tags of the first directory that point to other directories.
pub(super) const EXIF_DIRECTORY: u16 = 34665;
pub(super) const GPS_DIRECTORY: u16 = 34853;

const PIXEL_X_DIMENSION: u16 = 0xA002;
const PIXEL_Y_DIMENSION: u16 = 0xA003;
/// Tag of the EXIF directory that points to a directory about compatibility.
const INTEROPERABILITY: u16 = 0xA005;

/// Tags of a TIFF's page that describe the picture and not how its samples are stored: names, maker, program, dates,
/// people, rights, resolution, rating and those that Windows adds.
const DESCRIPTIVE: [u16; 20] = [
    269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095,
];

/// Returns the orientation of the samples according to `exif`, or `None` if it is missing or upright.
pub(super) fn orientation(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(exif).filter(|o| *o != Orientation::NoTransforms)
}

/// Marks the samples as upright in `exif`, and unlinks the thumbnail, which is not.
pub(super) fn make_upright(exif: &mut [u8]) {
    if Orientation::remove_from_exif_chunk(exif).is_some()
        && let Ok(mut parts) = Tiff::new(Cursor::new(&*exif))
        && let first = parts.first()
        && let Ok((entries, _)) = parts.directory(first)
    {
        // After the count and the entries.
        let at = first as usize + 2 + 12 * entries.len();
        exif[at..at + 4].fill(0);
    }
}

/// Returns `exif` with its tags of the picture's size set to `size`, width and height.
pub(super) fn with_size(exif: &[u8], size: [usize; 2]) -> Vec<u8> {
    let mut out = exif.to_vec();
    // EXIF that is too broken to have these tags needs no change.
    let _ = set_size(exif, &mut out, size);
    out
}

fn set_size(exif: &[u8], out: &mut [u8], size: [usize; 2]) -> io::Result<()> {
    let mut parts = Tiff::new(Cursor::new(exif))?;
    if parts.is_big_tiff() {
        return Ok(());
    }
    let is_big_endian = parts.is_big_endian();
    let first = parts.first();
    let (main, _) = parts.directory(first)?;
    let mut all = main.clone();
    if let Some(at) = parts.number(&main, EXIF_DIRECTORY)? {
        all.extend(parts.directory(at)?.0);
    }
    for entry in &all {
        let n = match entry.tag {
            tiff::IMAGE_WIDTH | PIXEL_X_DIMENSION => size[0],
            tiff::IMAGE_LENGTH | PIXEL_Y_DIMENSION => size[1],
            _ => continue,
        };
        // A SHORT or LONG in the entry itself becomes a LONG, which holds any size.
        if entry.count == 1 && matches!(entry.kind, 3 | 4) {
            let at = entry.field as usize;
            let [kind, value] = [4, n as u32].map(|n| if is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() });
            out[at - 6..at - 4].copy_from_slice(if is_big_endian { &kind[2..] } else { &kind[..2] });
            out[at..at + 4].copy_from_slice(&value);
        }
    }
    Ok(())
}

/// A tag with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub tag: u16,
    /// Number of its type.
    pub kind: u16,
    pub count: u32,
    /// In the byte order of the file.
    pub bytes: Vec<u8>,
}

/// The contents of EXIF, by directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exif {
    pub is_big_endian: bool,
    /// The picture's own tags, without the pointers to the other directories.
    pub main: Vec<Value>,
    pub exif: Vec<Value>,
    pub gps: Vec<Value>,
}

impl Exif {
    /// Reads the page of a TIFF, or the first directory of EXIF, at `offset`.
    pub fn read<R: Read + Seek>(parts: &mut Tiff<R>, offset: u64) -> io::Result<Self> {
        let (entries, _) = parts.directory(offset)?;
        let main = values(parts, &entries, |tag| DESCRIPTIVE.contains(&tag))?;
        let mut below = |tag| -> io::Result<Vec<Value>> {
            let Some(at) = parts.number(&entries, tag)? else { return Ok(Vec::new()) };
            let (entries, _) = parts.directory(at)?;
            values(parts, &entries, |tag| tag != INTEROPERABILITY)
        };
        let (exif, gps) = (below(EXIF_DIRECTORY)?, below(GPS_DIRECTORY)?);
        Ok(Self { is_big_endian: parts.is_big_endian(), main, exif, gps })
    }

    /// Parses EXIF as stored beside a picture of another format. Returns `None` if it is damaged.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = Tiff::new(Cursor::new(bytes)).ok()?;
        let first = parts.first();
        Self::read(&mut parts, first).ok()
    }

    /// Returns whether there is nothing but a resolution, which every format stores by itself.
    pub fn is_empty(&self) -> bool {
        let resolution = [tiff::X_RESOLUTION, tiff::Y_RESOLUTION, tiff::RESOLUTION_UNIT];
        self.exif.is_empty() && self.gps.is_empty() && self.main.iter().all(|v| resolution.contains(&v.tag))
    }

    /// Undoes [`Exif::of_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out: Vec<u8> =
            if self.is_big_endian { b"MM\0\x2A\0\0\0\x08".into() } else { b"II\x2A\0\x08\0\0\0".into() };
        let mut main = self.main.clone();
        let pointer = |tag| Value { tag, kind: 4, count: 1, bytes: vec![0; 4] };
        for (tag, values) in [(EXIF_DIRECTORY, &self.exif), (GPS_DIRECTORY, &self.gps)] {
            if !values.is_empty() {
                main.push(pointer(tag));
            }
        }
        let fields = self.append(&mut out, &main);
        for (tag, values) in [(EXIF_DIRECTORY, &self.exif), (GPS_DIRECTORY, &self.gps)] {
            if let Some((_, field)) = fields.iter().find(|(t, _)| *t == tag) {
                let here = self.long(out.len());
                out[*field..*field + 4].copy_from_slice(&here);
                self.append(&mut out, values);
            }
        }
        out
    }

    /// Appends a directory and its values to `out`. Returns the tags and the places of the entries' fields.
    fn append(&self, out: &mut Vec<u8>, values: &[Value]) -> Vec<(u16, usize)> {
        let mut values: Vec<&Value> = values.iter().collect();
        values.sort_by_key(|v| v.tag);
        let begin = out.len();
        // First the entries, then the values that do not fit into them.
        out.extend(self.short(values.len()));
        out.resize(begin + 2 + 12 * values.len() + 4, 0);
        let mut fields = Vec::new();
        for (i, value) in values.into_iter().enumerate() {
            let at = begin + 2 + 12 * i;
            out[at..at + 2].copy_from_slice(&self.short(value.tag.into()));
            out[at + 2..at + 4].copy_from_slice(&self.short(value.kind.into()));
            out[at + 4..at + 8].copy_from_slice(&self.long(value.count as usize));
            let len = value.bytes.len();
            if len <= 4 {
                out[at + 8..at + 8 + len].copy_from_slice(&value.bytes);
            } else {
                let here = self.long(out.len());
                out[at + 8..at + 12].copy_from_slice(&here);
                out.extend(&value.bytes);
                // Offsets are even.
                out.resize(out.len().next_multiple_of(2), 0);
            }
            fields.push((value.tag, at + 8));
        }
        fields
    }

    fn short(&self, n: usize) -> [u8; 2] {
        let n = n as u16;
        if self.is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    fn long(&self, n: usize) -> [u8; 4] {
        let n = n as u32;
        if self.is_big_endian { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    /// Returns the bytes of `value` in native order.
    pub fn native(&self, value: &Value) -> Vec<u8> {
        let mut bytes = value.bytes.clone();
        // A rational is two numbers of four bytes.
        let len = match value.kind {
            5 | 10 => 4,
            kind => type_len(kind).unwrap_or(1) as usize,
        };
        if self.is_big_endian != cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(len).for_each(<[u8]>::reverse);
        }
        bytes
    }
}

/// Reads the values of `entries` with wanted tags. Values that are too long or of types specific to BigTIFF are left out.
fn values<R: Read + Seek>(
    parts: &mut Tiff<R>,
    entries: &[Entry],
    is_wanted: impl Fn(u16) -> bool,
) -> io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for entry in entries.iter().filter(|e| is_wanted(e.tag) && e.kind <= 13) {
        if let Some(bytes) = parts.value(entry, MAX_VALUE_BYTES)? {
            found.push(Value { tag: entry.tag, kind: entry.kind, count: entry.count as u32, bytes });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u16, kind: u16, bytes: &[u8]) -> Value {
        let count = bytes.len() as u32 / type_len(kind).unwrap() as u32;
        Value { tag, kind, count, bytes: bytes.into() }
    }

    #[test]
    fn written_and_read_again_it_is_the_same() {
        for is_big_endian in [false, true] {
            let exif = Exif {
                is_big_endian,
                main: vec![value(271, 2, b"Maker\0"), value(282, 5, &[7; 8]), value(306, 2, b"abc\0")],
                exif: vec![value(0x9003, 2, b"2024:01:02 03:04:05\0"), value(0xA002, 3, &[1, 2])],
                gps: vec![value(1, 2, b"N\0"), value(2, 5, &[5; 24])],
            };
            let bytes = exif.to_bytes();
            assert_eq!(Exif::of_bytes(&bytes).unwrap(), exif);
            assert!(!exif.is_empty());
            // The size tag becomes a LONG in the same place.
            let sized = with_size(&bytes, [70_000, 5]);
            let again = Exif::of_bytes(&sized).unwrap();
            let expected = 70_000_u32;
            let expected = if is_big_endian { expected.to_be_bytes() } else { expected.to_le_bytes() };
            assert_eq!(again.exif[1], Value { tag: 0xA002, kind: 4, count: 1, bytes: expected.into() });
            assert_eq!((again.main, again.gps), (exif.main, exif.gps));
        }
    }

    #[test]
    fn damage_changes_nothing_and_ends() {
        let exif = Exif { exif: vec![value(0xA002, 3, &[1, 2])], ..Exif::default() }.to_bytes();
        for at in 0..exif.len() {
            for byte in [0, 1, 0x7F, 0xFF] {
                let mut damaged = exif.clone();
                damaged[at] = byte;
                assert_eq!(with_size(&damaged, [9, 9]).len(), damaged.len());
                make_upright(&mut damaged);
            }
            with_size(&exif[..at], [9, 9]);
            make_upright(&mut exif[..at].to_vec());
        }
    }
}
