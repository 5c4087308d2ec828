//! pointwise: y = 1 where a predicate holds for a and b, else 0, with NumPy's broadcasting. An operation is one row of the table below.
//!
//! | name | shape                                                              | meaning |
//! |------|--------------------------------------------------------------------|---------|
//! | a    | any shape, f32, or u32 for logic                                   | input   |
//! | b    | any shape that agrees with a's in every dimension where neither is 1, a's type | input |
//! | y    | the larger of the two in every dimension, u32                      | 1 or 0  |
//!
//! In logic, every u32 but 0 is true. A comparison with NaN does not hold.
//! Gradients: none; y is not differentiable.
//! Errors: a dimension is larger than 1 in both and differs.
//! Numerics: exact.
//! Source: definitions as in ONNX.

use super::binary::placement;
use super::broadcast::{broadcast, each};
use super::with_shared;
use crate::error::ShapeError;
use crate::ops::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Registered, Source, Tolerance, Values, Work};
use crate::rng::Rng;
use crate::tensor::{DType, Shape, len};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A predicate of two values.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// The type of the inputs.
    pub dtype: DType,
    /// WGSL of the predicate at `a` and `b`, of type `T`.
    pub wgsl: &'static str,
    pub holds: fn(f64, f64) -> bool,
}

/// Declares the rows, and registers each with its cases.
macro_rules! rows {
    ($($name:ident: $about:literal, $dtype:expr, $wgsl:literal, $holds:expr;)*) => {
        /// Every predicate, in alphabetical order.
        pub const ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            about: $about,
            dtype: $dtype,
            wgsl: $wgsl,
            holds: $holds,
        }),*];

        /// Returns one line of the registry per row.
        pub(super) fn registered() -> Vec<Registered> {
            vec![$(Registered { name: stringify!($name), cases: || cases_of(stringify!($name)) }),*]
        }
    };
}

rows! {
    and: "both are true", DType::U32, "a != 0u && b != 0u", |a, b| a != 0.0 && b != 0.0;
    equal: "a = b", DType::F32, "a == b && !is_nan(a) && !is_nan(b)", |a, b| a == b;
    greater: "a > b", DType::F32, "a > b && !is_nan(a) && !is_nan(b)", |a, b| a > b;
    greater_or_equal: "a ≥ b", DType::F32, "a >= b && !is_nan(a) && !is_nan(b)", |a, b| a >= b;
    less: "a < b", DType::F32, "a < b && !is_nan(a) && !is_nan(b)", |a, b| a < b;
    less_or_equal: "a ≤ b", DType::F32, "a <= b && !is_nan(a) && !is_nan(b)", |a, b| a <= b;
    or: "one of them or both are true", DType::U32, "a != 0u || b != 0u", |a, b| a != 0.0 || b != 0.0;
    xor: "exactly one of them is true", DType::U32, "(a != 0u) != (b != 0u)", |a, b| (a != 0.0) != (b != 0.0);
}

/// A row as an operation; it has no attributes.
#[derive(Clone, Copy)]
pub struct Compare(&'static Row);

impl Compare {
    /// Returns the predicate `name`, or `None` if the table has none of that name.
    pub fn named(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(Self)
    }
}

impl std::fmt::Debug for Compare {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl PartialEq for Compare {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

/// Returns the kernels of row `name`, whose texts are put together once: the template, and the row's predicate and type.
fn kernels_of(name: &str) -> &'static [Kernel] {
    static KERNELS: OnceLock<BTreeMap<&'static str, [Kernel; 1]>> = OnceLock::new();
    let all = KERNELS.get_or_init(|| {
        let template = include_str!("../../../shaders/pointwise/compare.wgsl");
        let place = include_str!("../../../shaders/shared/broadcast.wgsl");
        let kernel = |row: &Row| {
            let text = format!(
                "{template}\n{place}\nalias T = {};\n\nfn holds(a: T, b: T) -> bool {{\n    return {};\n}}\n",
                row.dtype, row.wgsl
            );
            let source = Source::built_in(format!("pointwise/{}", row.name).leak(), with_shared(text).leak());
            (row.name, [Kernel::new(source, plain)])
        };
        ROWS.iter().map(kernel).collect()
    });
    all.get(name).map_or(&[], |kernels| &kernels[..])
}

/// `shaders/pointwise/compare.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    call.work(caps, |_| {
        let mut params = placement(io);
        params.push(("threads", io.y_len().into()));
        params.push(("is_same", u32::from(io.x[0] == io.x[1]).into()));
        Some(Launch::threads(io.y_len(), params))
    })
}

impl Op for Compare {
    fn name(&self) -> &'static str {
        self.0.name
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "y" { DType::U32 } else { self.0.dtype }
    }
    fn kernels(&self) -> &'static [Kernel] {
        kernels_of(self.0.name)
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        broadcast(self.inputs(), x)
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), io.total_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        each(io, |i, [a, b]| y[i] = f64::from((self.0.holds)(x[0][a], x[1][b])));
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("a", "a truth value is not differentiable"), ("b", "a truth value is not differentiable")]
    }
    fn tolerance(&self, _output: &str, io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Each(vec![0.0; io.y_len()])
    }
}

/// Some of 0, 1, 2 and 3, so that many are equal.
fn few(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| rng.below(4) as f64).collect()
}

/// Numbers, both infinities and NaN.
fn special(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    let value = |of: usize| [-1.5, f64::INFINITY, 0.0, f64::NEG_INFINITY, 2.0, f64::NAN][of];
    (0..len(&x[k])).map(|_| value(rng.below(6))).collect()
}

fn cases_of(name: &str) -> Vec<Case> {
    let Some(op) = Compare::named(name) else { return Vec::new() };
    let case = |a: &[usize], b: &[usize]| {
        let shapes = [a, b].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        Case::new(op, &shapes).fill(0, Fill::With(few)).fill(1, Fill::With(few))
    };
    let mut cases = vec![
        case(&[1], &[1]),
        case(&[2, 3, 5, 7], &[2, 3, 5, 7]),
        case(&[257], &[1]),
        case(&[13, 1], &[1, 17]),
        case(&[2, 3, 4, 2, 3, 2], &[2, 3, 4, 2, 3, 2]),
        case(&[2, 1, 3, 1, 2, 1], &[1, 5, 1, 4, 1, 5]),
        case(&[1, 5, 1, 4, 1, 5], &[2, 1, 3, 1, 2, 1]),
        case(&[1, 64, 64, 64], &[1, 64, 64, 64]).real(),
    ];
    if op.0.dtype == DType::F32 {
        cases.push(case(&[3, 50], &[3, 50]).fill(0, Fill::With(special)).fill(1, Fill::With(special)).rough());
    }
    cases
}
