//! [`Weights`] as safetensors files.
//!
//! The manifest is the file's string metadata. Lineament's own files have the keys `model`, `scale`, `command`, `data`,
//! `data_terms`, `seed`, `commit`, `device`, `measured`, `licence` and `sha256`. The last is the checksum, in hexadecimal, of all
//! bytes after the header. It is computed on saving and, if present, verified on opening.
//!
//! Shapes of one to six dimensions are kept; `[]` becomes `[1]`. A network that wants a bias `[1,C,1,1]` takes `[C]`, one that
//! wants a matrix `[O,I,1,1]` takes `[O,I]`.
//! Element types: F32; F16 and BF16 are widened exactly. Every value must be finite.

use crate::error::{Error, Result};
use crate::tensor::{DType, MAX_RANK, Shape, Tensor};
use crate::weights::Weights;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Largest header in bytes: names and shapes of about 60,000 tensors. Reading a header takes up to forty times its size.
const MAX_HEADER_BYTES: u64 = 8 << 20;

/// The manifest's key for the checksum.
const SHA256: &str = "sha256";

impl Weights {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// Those of [`Weights::from_bytes`]; the file is missing, a folder, empty or cannot be read.
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::files::read(path, |file, problem| Error::Weights { file, problem })?;
        Self::from_bytes(&path.display().to_string(), &bytes)
    }

    /// Reads only the manifest of the bytes of a safetensors file, which takes no time; nothing says that the tensors are whole.
    ///
    /// # Errors
    /// The file has no header of a safetensors file.
    pub fn manifest_of(name: &str, bytes: &[u8]) -> Result<BTreeMap<String, String>> {
        Ok(read_header(name, bytes)?.1)
    }

    /// Reads the bytes of a safetensors file; `name` is for messages.
    ///
    /// # Errors
    /// The file is not a safetensors file or is truncated; its header is too long; tensors overlap or do not fill the file; an
    /// element type is not F32, F16 or BF16; a shape has more than six dimensions, no elements or more than 2³² − 1; a value is NaN
    /// or infinite; the sha256 differs from the manifest's. Takes no more memory than twice the file and forty times its header.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let fail = |problem: String| Error::weights(name, problem);
        let (header, manifest) = read_header(name, bytes)?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| fail(diagnose(bytes, &e)))?;
        if let Some(expected) = manifest.get(SHA256) {
            let got = sha256(&bytes[8 + header..]);
            if !expected.eq_ignore_ascii_case(&got) {
                return Err(fail(format!(
                    "the tensors' sha256 is {got}, but the manifest says {expected}: the file was damaged or changed; \
                     download it again"
                )));
            }
        }
        let mut tensors = BTreeMap::new();
        for (tensor, view) in file.iter() {
            let shape = shape_of(view.shape()).map_err(|e| fail(format!("tensor {tensor:?} {e}")))?;
            let data = widened(view.dtype(), view.data()).ok_or_else(|| {
                fail(format!(
                    "tensor {tensor:?} has elements of type {:?}, expected F32, F16 or BF16; convert it to F32",
                    view.dtype()
                ))
            })?;
            let bad = data.iter().filter(|v| !v.is_finite()).count();
            if bad > 0 {
                return Err(fail(format!(
                    "tensor {tensor:?} has {bad} values of {} that are NaN or infinite; use the weights of a training \
                     that did not diverge",
                    data.len()
                )));
            }
            tensors.insert(tensor.to_owned(), Tensor::new(shape, data)?);
        }
        Ok(Self::new(name, tensors, manifest))
    }

    /// Returns the bytes of a safetensors file, always the same for the same weights and manifest.
    ///
    /// # Errors
    /// A tensor holds integers, a NaN or infinity, or is named `__metadata__`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut data = Vec::with_capacity(self.tensors().values().map(|t| t.bytes().len()).sum());
        let mut entries = Map::new();
        for (name, tensor) in self.tensors() {
            if tensor.dtype() != DType::F32 {
                let problem = format!("tensor {name:?} holds {}, weights are f32", tensor.dtype());
                return Err(Error::weights(self.name(), problem));
            }
            let bad = tensor.data().iter().filter(|v| !v.is_finite()).count();
            if bad > 0 || name == "__metadata__" {
                let problem = if bad > 0 {
                    format!("has {bad} values that are NaN or infinite, and such a file would be refused")
                } else {
                    "has a name that is reserved in safetensors files; rename it".into()
                };
                return Err(Error::weights(self.name(), format!("tensor {name:?} {problem}")));
            }
            let begin = data.len();
            data.extend(tensor.data().iter().flat_map(|v| v.to_le_bytes()));
            let entry =
                json!({ "dtype": "F32", "shape": tensor.shape().to_vec(), "data_offsets": [begin, data.len()] });
            entries.insert(name.clone(), entry);
        }
        // The crate's writer would order the manifest randomly, so that equal weights would give different files.
        let mut manifest = self.manifest().clone();
        manifest.insert(SHA256.into(), sha256(&data));
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!(manifest));
        header.extend(entries);
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(data);
        Ok(bytes)
    }

    /// Writes a safetensors file under a temporary name beside it, and then renames it.
    ///
    /// # Errors
    /// Those of [`Weights::to_bytes`]; the folder does not exist or cannot be written; the disk is full.
    #[cfg(feature = "files")]
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        use std::io::Write;
        let path = path.as_ref();
        let bytes = self.to_bytes()?;
        crate::files::write_whole(path, crate::files::Existing::Replace, |out| {
            out.write_all(&bytes).map_err(|e| Error::io(path, e))
        })
    }
}

/// Returns the length of the header of a safetensors file, and its manifest.
fn read_header(name: &str, bytes: &[u8]) -> Result<(usize, BTreeMap<String, String>)> {
    let fail = |problem: String| Error::weights(name, problem);
    if let Some(claimed) = bytes.first_chunk().map(|len| u64::from_le_bytes(*len)).filter(|n| *n > MAX_HEADER_BYTES) {
        let limit = MAX_HEADER_BYTES >> 20;
        return Err(fail(format!("the header claims {claimed} bytes, the limit is {limit} MiB: {NOT_SAFETENSORS}")));
    }
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| fail(diagnose(bytes, &e)))?;
    Ok((header, metadata.metadata().clone().unwrap_or_default().into_iter().collect()))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The shape of these sizes.
fn shape_of(sizes: &[usize]) -> std::result::Result<Shape, String> {
    check_len(sizes)?;
    Shape::new(if sizes.is_empty() { &[1] } else { sizes })
        .ok_or_else(|| format!("is {sizes:?}, expected at most {MAX_RANK} dimensions; reshape it"))
}

fn check_len(shape: &[usize]) -> std::result::Result<(), String> {
    match shape.iter().try_fold(1usize, |len, &d| len.checked_mul(d)) {
        Some(0) => Err(format!("is {shape:?} and has no elements; remove it")),
        Some(len) if u32::try_from(len).is_ok() => Ok(()),
        _ => Err(format!("is {shape:?} and has 2^32 elements or more; split it into smaller tensors")),
    }
}

fn widened(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let halves = || data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match dtype {
        Dtype::F32 => Some(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F16 => Some(halves().map(from_f16).collect()),
        Dtype::BF16 => Some(halves().map(|b| f32::from_bits(u32::from(b) << 16)).collect()),
        _ => None,
    }
}

/// Converts IEEE 754 binary16 to binary32 exactly.
pub(super) fn from_f16(bits: u16) -> f32 {
    let fraction = f32::from(bits & 0x3FF);
    let magnitude = match i32::from(bits >> 10 & 0x1F) {
        0 => fraction * 2f32.powi(-24),
        31 if bits & 0x3FF == 0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The problem and remedy for files that are not safetensors files.
const NOT_SAFETENSORS: &str =
    "this is not a safetensors file; give a .safetensors file from lineament or convert the weights";

/// Explains what is wrong with a file that the safetensors crate refused, naming the tensor if there is one.
fn diagnose(bytes: &[u8], error: &safetensors::SafeTensorError) -> String {
    use safetensors::SafeTensorError as E;
    let header_len = match bytes.first_chunk::<8>() {
        Some(len) => u64::from_le_bytes(*len),
        None => return format!("only {} bytes: {NOT_SAFETENSORS}", bytes.len()),
    };
    match error {
        E::InvalidHeaderLength if bytes.get(8) == Some(&b'{') => {
            return format!(
                "the header has {header_len} bytes, the file ends after {}: it is truncated; copy or download it again",
                bytes.len()
            );
        }
        E::InvalidHeaderLength | E::InvalidHeader(_) => return format!("{error}: {NOT_SAFETENSORS}"),
        _ => {}
    }
    let header = bytes.get(8..(header_len as usize).saturating_add(8)).unwrap_or_default();
    let data_len = (bytes.len() - 8 - header.len()) as u64;
    let Ok(Value::Object(entries)) = serde_json::from_slice(header) else {
        return format!("{error}: {NOT_SAFETENSORS}");
    };
    let mut ranges = Vec::new();
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let numbers =
            |key: &str| -> Option<Vec<u64>> { entry.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
        let (Some(shape), Some(range)) = (numbers("shape"), numbers("data_offsets")) else {
            return format!("tensor {name:?} has no valid shape and data_offsets; save the file again");
        };
        let [begin, end] = range[..] else {
            return format!("tensor {name:?} has data_offsets {range:?}, expected two numbers; save the file again");
        };
        let sides: Vec<usize> = shape.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
        if let Err(problem) = check_len(&sides) {
            return format!("tensor {name:?} {problem}");
        }
        if end > data_len {
            return format!(
                "tensor {name:?} ends at byte {end} of the data, of which there are {data_len}: the file is truncated \
                 or damaged; copy or download it again"
            );
        }
        let width = match entry.get("dtype").and_then(Value::as_str) {
            Some("F64" | "I64" | "U64") => Some(8),
            Some("F32" | "I32" | "U32") => Some(4),
            Some("F16" | "BF16" | "I16" | "U16") => Some(2),
            Some("I8" | "U8" | "BOOL") => Some(1),
            _ => None,
        };
        let len = sides.iter().map(|&d| d as u64).product::<u64>();
        match width {
            None => {
                return format!(
                    "tensor {name:?} has elements of type {}, expected F32, F16 or BF16; convert it to F32",
                    entry.get("dtype").unwrap_or(&Value::Null)
                );
            }
            Some(width) if begin > end || end - begin != width * len => {
                return format!(
                    "tensor {name:?} {shape:?} needs {} bytes, its data_offsets are {range:?}; save the file again",
                    width * len
                );
            }
            Some(_) => ranges.push((begin, end, name)),
        }
    }
    ranges.sort();
    let mut filled = 0;
    for (begin, end, name) in ranges {
        if begin < filled {
            return format!("tensor {name:?} overlaps the one before it in the file; save the file again");
        }
        if begin > filled {
            return format!("{} bytes before tensor {name:?} belong to no tensor; save the file again", begin - filled);
        }
        filled = end;
    }
    if filled < data_len {
        return format!("{} bytes at the end belong to no tensor; save the file again", data_len - filled);
    }
    format!("{error}; save the file again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        let cases = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x0001, 5.960_464_5e-8),
            (0x03FF, 1023.0 / 16_777_216.0),
            (0x0400, 6.103_515_6e-5),
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7BFF, 65504.0),
            (0x7C00, f32::INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(from_f16(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(from_f16(0x7C01).is_nan());
        assert_eq!(widened(Dtype::BF16, &[0x80, 0x3F, 0x20, 0xC1]).unwrap(), [1.0, -10.0]);
    }
}
