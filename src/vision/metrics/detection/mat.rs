//! Reads MATLAB's files of version 5, in which WIDER FACE keeps its ground truth: cells, texts and numbers.
//!
//! Source: MathWorks, MAT-File Format (Level 5).

use crate::error::{Error, Result};

/// The largest size of all variables together, in bytes.
const MOST_BYTES: usize = 1 << 28;
/// How deep cells may lie within cells.
const MOST_DEPTH: usize = 8;

/// The value of a variable or cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Column by column.
    Cells(Vec<Value>),
    Text(String),
    /// Rows, and the values column by column.
    Numbers(usize, Vec<f64>),
    /// Anything else, which is skipped.
    Other,
}

impl Value {
    pub fn cells(&self) -> Option<&[Self]> {
        if let Self::Cells(cells) = self { Some(cells) } else { None }
    }
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
    /// Returns the numbers of each row; of an empty array, none.
    pub fn rows(&self) -> Option<Vec<Vec<f64>>> {
        let Self::Numbers(rows, values) = self else { return None };
        Some((0..*rows).map(|i| values.iter().skip(i).step_by(*rows).copied().collect()).collect())
    }
}

/// Returns the variables of a file, by name.
///
/// # Errors
/// The file is of another version or byte order, truncated, damaged, or larger than 256 MiB when it is unpacked.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<(String, Value)>> {
    let fail = |problem: String| Error::import(file, problem);
    let rest = bytes.get(128..).filter(|_| bytes.starts_with(b"MATLAB 5.0"));
    let Some(mut rest) = rest else { return Err(fail("is no MATLAB file of version 5; save it with -v7".into())) };
    if bytes[126..128] != *b"IM" {
        return Err(fail("is in big-endian byte order, expected little-endian; save it on another machine".into()));
    }
    let (mut variables, mut left) = (Vec::new(), MOST_BYTES);
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let (kind, data, next) = element(rest).ok_or_else(|| fail(format!("ends within the variable at byte {at}")))?;
        rest = next;
        let unpacked;
        let (kind, data) = match kind {
            COMPRESSED => {
                unpacked = fdeflate::decompress_to_vec_bounded(data, left).map_err(|_| {
                    fail(format!("the variable at byte {at} is damaged, or larger than 256 MiB; copy the file again"))
                })?;
                left -= unpacked.len();
                let (kind, data, _) =
                    element(&unpacked).ok_or_else(|| fail(format!("the variable at byte {at} is damaged")))?;
                (kind, data)
            }
            _ => (kind, data),
        };
        if kind == MATRIX {
            let read = matrix(data, 0)
                .ok_or_else(|| fail(format!("the variable at byte {at} is damaged; copy the file again")))?;
            variables.push(read);
        }
    }
    Ok(variables)
}

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Splits off the first element: its type, its bytes, and what follows it.
fn element(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let tag = word(0)?;
    if tag >> 16 != 0 {
        // A small element: its size, its type, and up to four bytes.
        let size = (tag >> 16) as usize;
        return Some((tag & 0xffff, bytes.get(4..4 + size).filter(|_| size <= 4)?, bytes.get(8..)?));
    }
    let size = word(4)? as usize;
    let data = bytes.get(8..8usize.checked_add(size)?)?;
    // Only what is compressed is not padded; the last element may lack its padding.
    let end = if tag == COMPRESSED { size } else { size.next_multiple_of(8) };
    Some((tag, data, bytes.get(8 + end..).unwrap_or_default()))
}

/// Reads an array, with its name.
fn matrix(bytes: &[u8], depth: usize) -> Option<(String, Value)> {
    if bytes.is_empty() {
        return Some((String::new(), Value::Numbers(0, vec![])));
    }
    let (_, flags, rest) = element(bytes)?;
    let class = *flags.first()?;
    let (kind, dims, rest) = element(rest)?;
    let dims = numbers(kind, dims)?;
    let (_, name, mut rest) = element(rest)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let total: f64 = dims.iter().product();
    let value = match class {
        1 => {
            let mut cells = Vec::new();
            while !rest.is_empty() && (cells.len() as f64) < total {
                let (kind, data, next) = element(rest)?;
                if kind != MATRIX || depth == MOST_DEPTH {
                    return None;
                }
                cells.push(matrix(data, depth + 1)?.1);
                rest = next;
            }
            Value::Cells(cells).filter_total(total)?
        }
        4 => {
            let (kind, data, _) = element(rest)?;
            match kind {
                // UTF-8 and plain bytes.
                1 | 2 | 16 => Value::Text(String::from_utf8_lossy(data).into_owned()),
                4 | 17 => {
                    let units: Vec<u16> = data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
                    Value::Text(String::from_utf16_lossy(&units))
                }
                _ => return None,
            }
        }
        6..=15 => {
            let values = match rest.is_empty() {
                true => vec![],
                false => {
                    let (kind, data, _) = element(rest)?;
                    numbers(kind, data)?
                }
            };
            let rows = if values.is_empty() { 0 } else { *dims.first()? as usize };
            Value::Numbers(rows, values).filter_total(total)?
        }
        _ => Value::Other,
    };
    Some((name, value))
}

impl Value {
    /// Returns the value if it has so many elements.
    fn filter_total(self, total: f64) -> Option<Self> {
        let len = match &self {
            Self::Cells(cells) => cells.len(),
            Self::Numbers(_, values) => values.len(),
            Self::Text(_) | Self::Other => return Some(self),
        };
        (len as f64 == total).then_some(self)
    }
}

/// Returns the numbers of an element.
fn numbers(kind: u32, data: &[u8]) -> Option<Vec<f64>> {
    macro_rules! all {
        ($kind:ty) => {{
            let (values, _) = data.as_chunks::<{ size_of::<$kind>() }>();
            values.iter().map(|bytes| <$kind>::from_le_bytes(*bytes) as f64).collect()
        }};
    }
    Some(match kind {
        1 => all!(i8),
        2 => all!(u8),
        3 => all!(i16),
        4 => all!(u16),
        5 => all!(i32),
        6 => all!(u32),
        7 => all!(f32),
        9 => all!(f64),
        12 => all!(i64),
        13 => all!(u64),
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An element with its tag and padding.
    fn packed(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut all = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        all.extend(data);
        all.resize(all.len().next_multiple_of(8), 0);
        all
    }

    fn array(name: &str, class: u8, dims: [i32; 2], content: &[u8]) -> Vec<u8> {
        let dims = dims.map(i32::to_le_bytes).concat();
        let parts =
            [packed(6, &[class, 0, 0, 0, 0, 0, 0, 0]), packed(5, &dims), packed(1, name.as_bytes()), content.to_vec()];
        packed(MATRIX, &parts.concat())
    }

    pub fn text(name: &str, text: &str) -> Vec<u8> {
        array(name, 4, [1, text.len() as i32], &packed(16, text.as_bytes()))
    }
    pub fn matrix_of(name: &str, rows: &[&[f64]]) -> Vec<u8> {
        let columns = rows.first().map_or(0, |row| row.len());
        let values = (0..columns).flat_map(|j| rows.iter().map(move |row| row[j].to_le_bytes()));
        array(name, 6, [rows.len() as i32, columns as i32], &packed(9, &values.flatten().collect::<Vec<u8>>()))
    }
    pub fn cells(name: &str, all: &[Vec<u8>]) -> Vec<u8> {
        array(name, 1, [all.len() as i32, 1], &all.concat())
    }
    pub fn file(variables: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
        bytes.resize(124, b' ');
        bytes.extend([0, 1, b'I', b'M']);
        for variable in variables {
            let stored = fdeflate::compress_to_vec(variable);
            bytes.extend([COMPRESSED.to_le_bytes(), (stored.len() as u32).to_le_bytes()].concat());
            bytes.extend(stored);
        }
        bytes
    }

    #[test]
    fn cells_texts_and_numbers_are_read() {
        let rows: [&[f64]; 2] = [&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.5]];
        let bytes = file(&[cells("a", &[text("", "Ü.jpg"), matrix_of("", &rows), matrix_of("", &[])]), text("b", "x")]);
        let variables = read("test.mat", &bytes).unwrap();
        assert_eq!(variables.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let cells = variables[0].1.cells().unwrap();
        assert_eq!(cells[1].rows().unwrap(), rows);
        assert_eq!(cells[2].rows().unwrap(), [] as [&[f64]; 0]);
        assert_eq!((cells.len(), variables[1].1.text()), (3, Some("x")));
        // Small elements: a name of one letter, and one number of one byte.
        let mut one = packed(6, &[9, 0, 0, 0, 0, 0, 0, 0]);
        one.extend(packed(5, &[1, 0, 0, 0, 1, 0, 0, 0]));
        one.extend([1, 0, 1, 0, b'n', 0, 0, 0, 2, 0, 1, 0, 200, 0, 0, 0]);
        assert_eq!(matrix(&one, 0).unwrap(), ("n".into(), Value::Numbers(1, vec![200.0])));
    }

    #[test]
    fn damaged_files_are_refused() {
        let bytes = file(&[cells("a", &[text("", "a.jpg"), matrix_of("", &[&[1.0, 2.0]])])]);
        for end in 0..bytes.len() {
            assert!(end == 128 || read("test.mat", &bytes[..end]).is_err(), "{end}");
        }
        // Every single byte of the unpacked variable, so that no damage makes it panic.
        let plain = [&bytes[..128], &cells("a", &[text("", "a.jpg"), matrix_of("", &[&[1.0, 2.0]])])].concat();
        for at in 128..plain.len() {
            for value in [0, 1, 15, 127, 128, 255] {
                let mut damaged = plain.clone();
                damaged[at] = value;
                let _ = read("test.mat", &damaged);
            }
        }
        let mut deep = matrix_of("", &[&[1.0]]);
        for _ in 0..20 {
            deep = cells("a", &[deep]);
        }
        assert!(read("test.mat", &file(&[deep])).is_err());
        for (at, byte) in [(126, b'M'), (0, b'm')] {
            let mut other = bytes.clone();
            other[at] = byte;
            assert!(read("test.mat", &other).is_err());
        }
    }
}
