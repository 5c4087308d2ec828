//! NumPy's .npy arrays of little-endian numbers and truth values, as written by `numpy.save`.
//!
//! As a tensor, an array without dimensions is read as `[1]`.
//! Source: numpy.lib.format, versions 1.0, 2.0 and 3.0.

use super::array::{Array, Kind, MAX_DIMENSIONS, count};
use crate::error::{Error, Result};
use crate::tensor::{DType, MAX_RANK, Shape, Tensor};

/// The first bytes of a .npy file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Largest header in bytes. That of numbers has about a hundred.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Reads the bytes of a .npy file as a tensor; `name` is for messages.
///
/// # Errors
/// As [`read_array`]; the elements are not float32, int32 or uint32; there are more than six dimensions; there are no elements.
pub fn read(name: &str, bytes: &[u8]) -> Result<Tensor> {
    let fail = |problem: String| Error::import(name, problem);
    let array = read_array(name, bytes)?;
    let dtype = match array.kind() {
        Kind::F32 => DType::F32,
        Kind::I32 => DType::I32,
        Kind::U32 => DType::U32,
        kind => {
            return Err(fail(format!(
                "has elements of {kind}, expected float32, int32 or uint32; convert it with .astype(\"<f4\")"
            )));
        }
    };
    let dims = array.dims();
    let Some(shape) = Shape::new(if dims.is_empty() { &[1] } else { dims }) else {
        return Err(fail(format!("has {} dimensions, expected at most {MAX_RANK}; reshape it", dims.len())));
    };
    if array.is_empty() {
        return Err(fail(format!("is {dims:?}, expected 1 to 2^32 - 1 elements")));
    }
    Tensor::from_bytes(shape, dtype, &array.to_bytes())
}

/// Reads the bytes of a .npy file; `name` is for messages.
///
/// # Errors
/// It is not a .npy file, is truncated or too long; the elements are not little-endian numbers or truth values; there are more than
/// 2³² − 1 elements.
pub fn read_array(name: &str, bytes: &[u8]) -> Result<Array> {
    let fail = |problem: String| Error::import(name, problem);
    let truncated = || fail("the file ends within its header; copy or write it again".into());
    if bytes.get(..MAGIC.len()) != Some(MAGIC) {
        return Err(fail("is not a .npy file; write it with numpy.save".into()));
    }
    let (version, begin) = (*bytes.get(6).ok_or_else(truncated)?, if bytes.get(6) == Some(&1) { 10 } else { 12 });
    let len = match (version, bytes.get(8..begin)) {
        (1..=3, None) => return Err(truncated()),
        (1, Some(len)) => usize::from(u16::from_le_bytes([len[0], len[1]])),
        (2 | 3, Some(len)) => u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize,
        _ => return Err(fail(format!("is of version {version}, expected 1 to 3; write it with numpy.save"))),
    };
    if len > MAX_HEADER_BYTES {
        return Err(fail(format!(
            "its header claims {len} bytes, expected at most {MAX_HEADER_BYTES}; write it with numpy.save"
        )));
    }
    let end = begin.checked_add(len).ok_or_else(truncated)?;
    let header = String::from_utf8_lossy(bytes.get(begin..end).ok_or_else(truncated)?).into_owned();
    let broken = || fail(format!("its header {:?} is damaged; write it again", shortened(&header)));

    let text = header.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(broken)?;
    let (mut descr, mut columns_first, mut shape) = (None, None, None);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(broken)?;
        let value = after.trim_start().strip_prefix(':').ok_or_else(broken)?.trim_start();
        rest = match key {
            "descr" => {
                let (found, after) = quoted(value).ok_or_else(|| {
                    fail(format!("has several fields per element, expected numbers; header {:?}", shortened(&header)))
                })?;
                descr = Some(found);
                after
            }
            "fortran_order" => {
                let word = value.split([',', ' ']).next().unwrap_or_default();
                columns_first = Some(match word {
                    "True" => true,
                    "False" => false,
                    _ => return Err(broken()),
                });
                &value[word.len()..]
            }
            "shape" => {
                let (numbers, after) = value.strip_prefix('(').and_then(|v| v.split_once(')')).ok_or_else(broken)?;
                let numbers: Option<Vec<usize>> =
                    numbers.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().ok()).collect();
                shape = Some(numbers.ok_or_else(broken)?);
                after
            }
            _ => return Err(broken()),
        };
        rest = rest.trim_start().trim_start_matches(',').trim_start();
    }
    let (Some(descr), Some(columns_first), Some(shape)) = (descr, columns_first, shape) else { return Err(broken()) };
    let Some(kind) = Kind::from_numpy(descr) else {
        return Err(fail(format!(
            "has elements of type {:?}, expected little-endian numbers such as \"<f4\"; convert it with .astype(\"<f4\")",
            shortened(descr)
        )));
    };
    if shape.len() > MAX_DIMENSIONS {
        return Err(fail(format!("has {} dimensions, expected at most {MAX_DIMENSIONS}", shape.len())));
    }
    let Some(elements) = count(&shape) else {
        return Err(fail(format!("is {shape:?}, expected fewer than 2^32 elements")));
    };
    let data = &bytes[end..];
    if data.len() as u64 != kind.bytes() as u64 * elements as u64 {
        return Err(fail(format!(
            "is {shape:?} and needs {} bytes of elements, but has {}; copy or write it again",
            kind.bytes() as u64 * elements as u64,
            data.len()
        )));
    }
    let fail = |e: Error| Error::import(name, e.to_string());
    if !columns_first || elements == 0 {
        return Array::from_bytes(&shape, kind, data).map_err(fail);
    }
    // Columns first: the elements lie as those of the transpose.
    let flat = Array::from_bytes(&[elements], kind, data).map_err(fail)?;
    let at = |index: usize| {
        let (mut rest, mut at, mut stride) = (index, 0, elements);
        for &size in shape.iter().rev() {
            stride /= size;
            at += rest % size * stride;
            rest /= size;
        }
        Some(at)
    };
    flat.take(&shape, (0..elements).map(at), 0.0)
}

/// Returns the bytes of a .npy file, version 1.0.
pub fn write(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
    };
    file(descr, &tensor.shape(), tensor.bytes())
}

/// Returns the bytes of a .npy file, version 1.0. A bfloat16 becomes a float32.
pub fn write_array(array: &Array) -> Vec<u8> {
    if array.kind() == Kind::BF16 {
        let values: Vec<u8> = array.to_f64().iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        return file("<f4", array.dims(), &values);
    }
    file(array.kind().numpy(), array.dims(), &array.to_bytes())
}

fn file(descr: &str, dims: &[usize], elements: &[u8]) -> Vec<u8> {
    // Python writes a one-element tuple as `(3,)`.
    let sizes: Vec<String> = dims.iter().map(usize::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    // The elements begin at a multiple of 64 bytes, after a newline.
    let begin = (10 + header.len() + 1).next_multiple_of(64);
    header += &" ".repeat(begin - 11 - header.len());
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0]].concat();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(elements);
    bytes
}

/// Reads a .npy file; see [`read`].
///
/// # Errors
/// Those of [`read`]; the file is missing, a folder, empty or cannot be read.
#[cfg(feature = "files")]
pub fn open(path: impl AsRef<std::path::Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let bytes = crate::files::read(path, |file, problem| Error::Import { file, problem })?;
    read(&path.display().to_string(), &bytes)
}

/// Reads a .npy file; see [`read_array`].
///
/// # Errors
/// Those of [`read_array`]; the file is missing, a folder, empty or cannot be read.
#[cfg(feature = "files")]
pub fn open_array(path: impl AsRef<std::path::Path>) -> Result<Array> {
    let path = path.as_ref();
    let bytes = crate::files::read(path, |file, problem| Error::Import { file, problem })?;
    read_array(&path.display().to_string(), &bytes)
}

/// Splits off a quoted text at the start.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    text[1..].split_once(quote)
}

/// Returns the beginning of a text, for messages.
fn shortened(text: &str) -> String {
    text.trim().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A file of this version and header, with `elements` elements 0, 1, 2, …
    fn made_up(version: u8, header: &str, elements: usize) -> Vec<u8> {
        let mut bytes = [MAGIC, &[version, 0]].concat();
        if version == 1 {
            bytes.extend((header.len() as u16).to_le_bytes());
        } else {
            bytes.extend((header.len() as u32).to_le_bytes());
        }
        bytes.extend(header.as_bytes());
        bytes.extend((0..elements).flat_map(|v| (v as f32).to_le_bytes()));
        bytes
    }

    #[test]
    fn arrays_come_back() {
        let tensor = Tensor::new([2, 1, 3, 2], (0..12).map(|v| v as f32 / 8.0 - 1.0).collect()).unwrap();
        let bytes = write(&tensor);
        assert_eq!((bytes.len() - 48) % 64, 0, "the elements begin at a multiple of 64");
        assert_eq!(read("a.npy", &bytes).unwrap(), tensor);
        for tensor in
            [Tensor::new([3], vec![-7, 0, i32::MAX]).unwrap(), Tensor::new([1, 2], vec![0, u32::MAX]).unwrap()]
        {
            assert_eq!(read("a.npy", &write(&tensor)).unwrap(), tensor);
        }
    }

    #[test]
    fn all_versions_and_ranks_are_read() {
        let header = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}   \n");
        for version in 1..=3 {
            for (shape, sizes) in [
                ("()", &[1][..]),
                ("(3,)", &[3]),
                ("(2, 3)", &[2, 3]),
                ("(4,1,2)", &[4, 1, 2]),
                ("(1,1,1,1,1,2)", &[1, 1, 1, 1, 1, 2]),
            ] {
                let tensor = read("a.npy", &made_up(version, &header(shape), sizes.iter().product())).unwrap();
                assert_eq!(&*tensor.shape(), sizes);
                assert_eq!(*tensor.data().last().unwrap(), (tensor.data().len() - 1) as f32);
            }
        }
        let columns = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }";
        assert_eq!(read("a.npy", &made_up(1, columns, 6)).unwrap().data(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        let other_order = "{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}";
        assert_eq!(read("a.npy", &made_up(1, other_order, 2)).unwrap().shape(), [1, 2]);
    }

    #[test]
    fn other_arrays_are_refused_by_name() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n")
        };
        for (bytes, message) in [
            (b"\x89PNG\r\n\x1a\n".to_vec(), "is not a .npy file"),
            (made_up(1, &header("'<f8'", "False", "(2,)"), 4), "elements of float64, expected float32"),
            (made_up(1, &header("'>f4'", "False", "(2,)"), 2), "type \">f4\", expected little-endian"),
            (made_up(1, &header("[('a', '<f4')]", "False", "(2,)"), 2), "several fields"),
            (made_up(1, &header("'<f4'", "False", "(1, 1, 1, 1, 1, 1, 2)"), 2), "7 dimensions"),
            (made_up(1, &header("'<f4'", "False", "(0, 3)"), 0), "1 to 2^32 - 1 elements"),
            (made_up(2, &header("'<f4'", "False", "(99999999999, 99999999999)"), 0), "fewer than 2^32 elements"),
            (made_up(1, &header("'<f4'", "False", "(3,)"), 2), "12 bytes of elements, but has 8"),
            (made_up(1, &header("'<f4'", "Perhaps", "(2,)"), 2), "header"),
            (made_up(9, "", 0), "version 9"),
            (made_up(2, &" ".repeat(65_537), 0), "its header claims 65537 bytes, expected at most 65536"),
        ] {
            let error = read("a.npy", &bytes).unwrap_err().to_string();
            assert!(error.starts_with("a.npy: ") && error.contains(message), "{error:?} lacks {message:?}");
        }
    }

    #[test]
    fn damaged_files_never_panic() {
        let bytes = write(&Tensor::filled([1, 2, 3, 4], 0.5));
        for len in 0..bytes.len() {
            assert!(read("a.npy", &bytes[..len]).is_err(), "the first {len} bytes");
        }
        let mut rng = Rng::new(3);
        for _ in 0..20_000 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + rng.below(3) {
                damaged[rng.below(bytes.len() - 90)] = rng.below(256) as u8;
            }
            let _ = read("a.npy", &damaged);
        }
    }
}
