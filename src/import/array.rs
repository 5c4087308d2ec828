//! Arrays as files hold them: any element type of ONNX and NumPy, any number of dimensions, none included, and sizes of 0.

use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, Tensor};

/// An element type of a file. A [`Tensor`] has fewer: see [`Kind::is_float`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    F32,
    F16,
    BF16,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

/// Each kind, its number in onnx.proto, its name there, its name in NumPy (none where NumPy has no such type), its bytes.
const KINDS: [(Kind, i32, &str, Option<&str>, usize); 13] = [
    (Kind::F32, 1, "float32", Some("<f4"), 4),
    (Kind::U8, 2, "uint8", Some("|u1"), 1),
    (Kind::I8, 3, "int8", Some("|i1"), 1),
    (Kind::U16, 4, "uint16", Some("<u2"), 2),
    (Kind::I16, 5, "int16", Some("<i2"), 2),
    (Kind::I32, 6, "int32", Some("<i4"), 4),
    (Kind::I64, 7, "int64", Some("<i8"), 8),
    (Kind::Bool, 9, "bool", Some("|b1"), 1),
    (Kind::F16, 10, "float16", Some("<f2"), 2),
    (Kind::F64, 11, "float64", Some("<f8"), 8),
    (Kind::U32, 12, "uint32", Some("<u4"), 4),
    (Kind::U64, 13, "uint64", Some("<u8"), 8),
    (Kind::BF16, 16, "bfloat16", None, 2),
];

impl Kind {
    fn row(self) -> (Self, i32, &'static str, Option<&'static str>, usize) {
        KINDS.into_iter().find(|(kind, ..)| *kind == self).unwrap_or(KINDS[0])
    }
    /// Returns the type that has this number in onnx.proto's `TensorProto.DataType`.
    pub fn from_onnx(number: i32) -> Option<Self> {
        KINDS.iter().find(|(_, known, ..)| *known == number).map(|(kind, ..)| *kind)
    }
    /// Returns the type that NumPy writes as `descr`, such as `<f4`.
    pub fn from_numpy(descr: &str) -> Option<Self> {
        KINDS.iter().find(|(.., name, _)| *name == Some(descr)).map(|(kind, ..)| *kind)
    }
    /// Returns NumPy's name. A bfloat16, which NumPy lacks, becomes a float32.
    pub fn numpy(self) -> &'static str {
        self.row().3.unwrap_or("<f4")
    }
    /// Returns the name, such as `int64`.
    pub fn name(self) -> &'static str {
        self.row().2
    }
    /// Returns the bytes of an element in a file.
    pub fn bytes(self) -> usize {
        self.row().4
    }
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16 | Self::F64)
    }
    /// Returns the smallest and the largest value of an integer type, or of a truth value.
    pub fn range(self) -> (i128, i128) {
        let signed = |bits: u32| (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
        match self {
            Self::I8 => signed(8),
            Self::I16 => signed(16),
            Self::I32 => signed(32),
            Self::U8 => (0, 255),
            Self::U16 => (0, 65_535),
            Self::U32 => (0, (1 << 32) - 1),
            Self::U64 => (0, (1 << 63) - 1),
            Self::Bool => (0, 1),
            Self::I64 | Self::F32 | Self::F16 | Self::BF16 | Self::F64 => signed(64),
        }
    }
    /// Returns an integer as this type holds it: the lowest bits, in two's complement. A truth value is 0 or 1.
    pub fn wrap(self, value: i128) -> i64 {
        if self == Self::Bool {
            return i64::from(value != 0);
        }
        let (low, high) = self.range();
        let all = high - low + 1;
        (low + (value.rem_euclid(all) - low).rem_euclid(all)) as i64
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The elements of an [`Array`]: every type of a file fits into one of these without loss.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// float32, float16 and bfloat16.
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Integers and truth values. A uint64 above 2⁶³ − 1 is refused.
    Int(Vec<i64>),
}

/// Dimensions, an element type and elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    dims: Vec<usize>,
    kind: Kind,
    data: Data,
}

/// The largest number of elements that operators may make up from a few numbers, such as ConstantOfShape or Expand: 1 GiB of float32.
/// The largest network that is known to do so has half as many. The fuzz targets reach a lower limit sooner.
pub const MAX_MADE_UP: usize = if cfg!(fuzzing) { 1 << 20 } else { 1 << 28 };

/// The largest number of dimensions of an [`Array`], as in NumPy.
pub const MAX_DIMENSIONS: usize = 64;

/// Returns the number of elements of these dimensions; `None` if it or a dimension does not fit into 32 bits.
pub fn count(dims: &[usize]) -> Option<usize> {
    // A size of 0 makes the whole empty, but what is computed from the others must not overflow.
    if dims.contains(&0) {
        return dims.iter().all(|&d| u32::try_from(d).is_ok()).then_some(0);
    }
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d).filter(|&n| u32::try_from(n).is_ok()))
}

impl Array {
    /// Creates an array of floating-point or integer elements, as `kind` demands.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions, of which there are at most [`MAX_DIMENSIONS`]; the data is not of this
    /// kind.
    pub fn new(dims: &[usize], kind: Kind, data: Data) -> Result<Self> {
        let (len, fits) = match &data {
            Data::F32(values) => (values.len(), matches!(kind, Kind::F32 | Kind::F16 | Kind::BF16)),
            Data::F64(values) => (values.len(), kind == Kind::F64),
            Data::Int(values) => (values.len(), !kind.is_float()),
        };
        if dims.len() > MAX_DIMENSIONS {
            return Err(Error::Usage(format!(
                "an array has {} dimensions, expected at most {MAX_DIMENSIONS}",
                dims.len()
            )));
        }
        if count(dims) != Some(len) || !fits {
            return Err(Error::Usage(format!("an array {dims:?} of {kind} cannot have these {len} elements")));
        }
        Ok(Self { dims: dims.to_vec(), kind, data })
    }

    /// Creates an array of float32.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions.
    pub fn floats(dims: &[usize], values: Vec<f32>) -> Result<Self> {
        Self::new(dims, Kind::F32, Data::F32(values))
    }

    /// Creates a float32 without dimensions.
    pub fn float(value: f32) -> Self {
        Self { dims: vec![], kind: Kind::F32, data: Data::F32(vec![value]) }
    }

    /// Creates a vector of int64.
    pub fn ints(values: impl IntoIterator<Item = i64>) -> Self {
        let values: Vec<i64> = values.into_iter().collect();
        Self { dims: vec![values.len()], kind: Kind::I64, data: Data::Int(values) }
    }

    /// Creates an int64 without dimensions.
    pub fn int(value: i64) -> Self {
        Self { dims: vec![], kind: Kind::I64, data: Data::Int(vec![value]) }
    }

    /// Creates an array from values of f64, which are rounded to `kind`; for integers, truncated and wrapped.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions.
    pub fn from_f64(dims: &[usize], kind: Kind, values: &[f64]) -> Result<Self> {
        let data = match kind {
            Kind::F64 => Data::F64(values.to_vec()),
            Kind::F32 => Data::F32(values.iter().map(|&v| v as f32).collect()),
            Kind::F16 => Data::F32(values.iter().map(|&v| half_from_bits(half_bits(v as f32))).collect()),
            Kind::BF16 => Data::F32(values.iter().map(|&v| bfloat_from_bits(bfloat_bits(v as f32))).collect()),
            _ => Data::Int(
                values
                    .iter()
                    .map(|&v| if kind == Kind::Bool { i64::from(v != 0.0) } else { kind.wrap(v as i128) })
                    .collect(),
            ),
        };
        Self::new(dims, kind, data)
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }
    pub fn kind(&self) -> Kind {
        self.kind
    }
    pub fn data(&self) -> &Data {
        &self.data
    }
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(values) => values.len(),
            Data::F64(values) => values.len(),
            Data::Int(values) => values.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the elements as f64; integers beyond 2⁵³ are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Data::F64(values) => values.clone(),
            Data::Int(values) => values.iter().map(|&v| v as f64).collect(),
        }
    }

    /// Returns the elements as integers; `None` if they are not.
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        if let Data::Int(values) = &self.data { Some(values.clone()) } else { None }
    }

    /// Returns the same elements with other dimensions.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Self> {
        Self::new(dims, self.kind, self.data.clone())
    }

    /// Returns an array of the elements at these positions, and of `fill` where there is none.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions, or larger than this array and [`MAX_MADE_UP`].
    pub(crate) fn take(&self, dims: &[usize], at: impl Iterator<Item = Option<usize>>, fill: f64) -> Result<Self> {
        if count(dims).is_none_or(|n| n > MAX_MADE_UP.max(self.len())) {
            return Err(Error::Usage(format!("a constant {dims:?} is too large")));
        }
        let data = match &self.data {
            Data::F32(values) => Data::F32(at.map(|at| at.map_or(fill as f32, |at| values[at])).collect()),
            Data::F64(values) => Data::F64(at.map(|at| at.map_or(fill, |at| values[at])).collect()),
            Data::Int(values) => Data::Int(at.map(|at| at.map_or(fill as i64, |at| values[at])).collect()),
        };
        Self::new(dims, self.kind, data)
    }

    /// Returns the elements as a tensor of f32: no dimension becomes `[1]`; a float64 is rounded.
    ///
    /// # Errors
    /// There are more than six dimensions, or no elements; an integer is too large for f32 to hold exactly.
    pub fn tensor(&self) -> Result<Tensor> {
        let dims = if self.dims.is_empty() { &[1][..] } else { &self.dims };
        let shape = Shape::new(dims).filter(|_| !self.is_empty()).ok_or_else(|| {
            Error::Usage(format!(
                "an array {:?} cannot be a tensor, which has elements and at most six dimensions",
                self.dims
            ))
        })?;
        let values = match &self.data {
            Data::F32(values) => values.clone(),
            Data::F64(values) => {
                if let Some(large) = values.iter().find(|v| v.is_finite() && !(**v as f32).is_finite()) {
                    return Err(Error::Usage(format!("{large:e} is too large to be computed with in float32")));
                }
                values.iter().map(|&v| v as f32).collect()
            }
            Data::Int(values) => {
                if let Some(large) = values.iter().find(|v| v.unsigned_abs() > 1 << 24) {
                    return Err(Error::Usage(format!(
                        "the integer {large} is too large to be computed with in float32"
                    )));
                }
                values.iter().map(|&v| v as f32).collect()
            }
        };
        Tensor::new(shape, values)
    }

    /// Returns the elements of a tensor as an array of `kind` with these dimensions.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions.
    pub fn from_tensor(tensor: &Tensor, dims: &[usize], kind: Kind) -> Result<Self> {
        match (tensor.dtype(), kind) {
            (DType::F32, Kind::F32) => Self::floats(dims, tensor.data().to_vec()),
            _ => Self::from_f64(dims, kind, &tensor.to_f64()),
        }
    }

    /// Reads elements as files store them: little-endian, one after the other.
    ///
    /// # Errors
    /// The number of bytes does not fit the dimensions and the kind.
    pub fn from_bytes(dims: &[usize], kind: Kind, bytes: &[u8]) -> Result<Self> {
        let size = kind.bytes();
        if count(dims).and_then(|n| n.checked_mul(size)) != Some(bytes.len()) {
            return Err(Error::Usage(format!("{} bytes are not those of {dims:?} elements of {kind}", bytes.len())));
        }
        fn each<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.chunks_exact(N).map(|b| f(b.try_into().unwrap_or([0; N]))).collect()
        }
        let data = match kind {
            Kind::F32 => Data::F32(each(bytes, f32::from_le_bytes)),
            Kind::F64 => Data::F64(each(bytes, f64::from_le_bytes)),
            Kind::F16 => Data::F32(each(bytes, |b| half_from_bits(u16::from_le_bytes(b)))),
            Kind::BF16 => Data::F32(each(bytes, |b| bfloat_from_bits(u16::from_le_bytes(b)))),
            Kind::I8 => Data::Int(each(bytes, |b| i8::from_le_bytes(b).into())),
            Kind::U8 => Data::Int(each(bytes, |b| u8::from_le_bytes(b).into())),
            Kind::Bool => Data::Int(each(bytes, |b: [u8; 1]| i64::from(b[0] != 0))),
            Kind::I16 => Data::Int(each(bytes, |b| i16::from_le_bytes(b).into())),
            Kind::U16 => Data::Int(each(bytes, |b| u16::from_le_bytes(b).into())),
            Kind::I32 => Data::Int(each(bytes, |b| i32::from_le_bytes(b).into())),
            Kind::U32 => Data::Int(each(bytes, |b| u32::from_le_bytes(b).into())),
            Kind::I64 => Data::Int(each(bytes, i64::from_le_bytes)),
            Kind::U64 => {
                let values: Option<Vec<i64>> =
                    each(bytes, |b| i64::try_from(u64::from_le_bytes(b)).ok()).into_iter().collect();
                Data::Int(values.ok_or_else(|| Error::Usage("a uint64 is above 2^63 - 1; convert it to int64".into()))?)
            }
        };
        Self::new(dims, kind, data)
    }

    /// Returns the elements as [`Array::from_bytes`] reads them.
    pub fn to_bytes(&self) -> Vec<u8> {
        fn all<T, const N: usize>(values: &[T], f: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
            values.iter().flat_map(f).collect()
        }
        match (&self.data, self.kind) {
            (Data::F64(values), _) => all(values, |v| v.to_le_bytes()),
            (Data::F32(values), Kind::F16) => all(values, |&v| half_bits(v).to_le_bytes()),
            (Data::F32(values), Kind::BF16) => all(values, |&v| bfloat_bits(v).to_le_bytes()),
            (Data::F32(values), _) => all(values, |v| v.to_le_bytes()),
            // Two's complement: the lowest bytes are those of the narrower type.
            (Data::Int(values), kind) => {
                values.iter().flat_map(|v| v.to_le_bytes().into_iter().take(kind.bytes())).collect()
            }
        }
    }
}

/// Returns the value of an IEEE half.
fn half_from_bits(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32()
}

/// Returns the nearest half; on a tie, the even one.
fn half_bits(value: f32) -> u16 {
    half::f16::from_f32(value).to_bits()
}

fn bfloat_from_bits(bits: u16) -> f32 {
    half::bf16::from_bits(bits).to_f32()
}

fn bfloat_bits(value: f32) -> u16 {
    half::bf16::from_f32(value).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_bytes() {
        for (kind, number, name, numpy, bytes) in KINDS {
            assert_eq!((Kind::from_onnx(number), kind.bytes()), (Some(kind), bytes), "{name}");
            assert!(numpy.is_none_or(|numpy| Kind::from_numpy(numpy) == Some(kind)));
            let values = if kind == Kind::Bool { [0.0, 1.0] } else { [3.0, 100.0] };
            let array = Array::from_f64(&[2, 1], kind, &values).unwrap();
            let bytes = array.to_bytes();
            assert_eq!(bytes.len(), 2 * kind.bytes());
            assert_eq!(Array::from_bytes(&[2, 1], kind, &bytes).unwrap(), array, "{name}");
            assert_eq!(array.to_f64(), values);
            assert!(Array::from_bytes(&[3], kind, &bytes).is_err());
        }
    }

    #[test]
    fn integers_wrap_as_their_types_do() {
        assert_eq!((Kind::U8.wrap(256), Kind::U8.wrap(-1), Kind::I8.wrap(128)), (0, 255, -128));
        assert_eq!((Kind::I64.wrap(1 << 63), Kind::U32.wrap(-1), Kind::Bool.wrap(7)), (i64::MIN, (1 << 32) - 1, 1));
        let negative = Array::from_f64(&[1], Kind::I16, &[-2.0]).unwrap();
        assert_eq!(negative.to_bytes(), (-2i16).to_le_bytes());
    }

    #[test]
    fn what_f32_cannot_hold_is_refused() {
        assert!(Array::int((1 << 24) + 1).tensor().is_err());
        assert_eq!(Array::int(1 << 24).tensor().unwrap().shape(), [1]);
        assert!(Array::ints([]).tensor().is_err());
        assert_eq!(count(&[0, u32::MAX as usize, u32::MAX as usize]), Some(0));
        assert_eq!(count(&[0, 1 << 32]), None);
        assert_eq!(count(&[1 << 16, 1 << 16]), None);
    }
}
