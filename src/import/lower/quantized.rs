//! Operators on integers that stand for numbers: value = (integer − zero point)·scale.
//!
//! They are computed in f32: products and sums are exact up to 2²⁴ ([`Computed::limit`](super::Computed::limit)); a larger sum, which
//! can only be converted to float, is rounded as that conversion does.
//!
//! Source: ONNX's Operators.md.

use super::{Attribute, Call, Lower, Lowered, Lowering, Value, problem};
use crate::import::array::{Array, Kind};

pub fn find(op: &str) -> Option<Lower> {
    Some(match op {
        "QuantizeLinear" => quantize,
        "DequantizeLinear" => dequantize,
        "DynamicQuantizeLinear" => quantize_dynamically,
        "ConvInteger" => conv_integer,
        "MatMulInteger" => matmul_integer,
        "QLinearConv" => conv,
        "QLinearMatMul" => matmul,
        _ => return None,
    })
}

fn kind_of(number: i64) -> Lowered<Kind> {
    i32::try_from(number)
        .ok()
        .and_then(Kind::from_onnx)
        .ok_or_else(|| problem(format!("the type {number} is not covered")))
}

impl Lowering<'_> {
    /// Returns a value as float32.
    fn single(&mut self, x: &Value) -> Lowered<Value> {
        self.apply("Cast", std::slice::from_ref(x), vec![("to", Attribute::Int(1))])
    }

    /// Returns integers less their zero point, as float32.
    fn centered(&mut self, x: &Value, zero: &Value) -> Lowered<Value> {
        let x = self.single(x)?;
        if matches!(zero, Value::Absent) || zero.known().is_some_and(|zero| zero.to_f64().iter().all(|&v| v == 0.0)) {
            return Ok(x);
        }
        let zero = self.single(zero)?;
        self.apply("Sub", &[x, zero], vec![])
    }

    /// Returns whole numbers of float32 as integers.
    fn tagged(&self, x: Value, kind: Kind, limit: f64) -> Lowered<Value> {
        Ok(match x {
            Value::Known(known) => Array::from_f64(known.array.dims(), kind, &known.array.to_f64())?.into(),
            Value::Computed(computed) => Value::Computed(super::Computed { kind, limit, ..computed }),
            Value::Absent => x,
        })
    }

    /// Rounds to the nearest integer, adds the zero point, and brings the sum within the type.
    fn saturated(&mut self, x: Value, zero: &Value, kind: Kind) -> Lowered<Value> {
        if kind.is_float() || kind.bytes() > 2 || kind == Kind::Bool {
            return Err(problem(format!("quantises to {kind}, expected integers of 8 or 16 bits")));
        }
        let mut y = self.apply("Round", &[x], vec![])?;
        if !matches!(zero, Value::Absent) {
            let zero = self.single(zero)?;
            y = self.apply("Add", &[y, zero], vec![])?;
        }
        let (low, high) = kind.range();
        let y = self.apply("Clip", &[y, Value::from(low as f32), Value::from(high as f32)], vec![])?;
        self.tagged(y, kind, (high as f64).max(-(low as f64)))
    }

    /// Returns a scale or zero point with dimensions that broadcast over `dims`: a scalar, one number for each position of an axis, or
    /// one for each block of that many positions.
    fn spread(&mut self, value: &Value, dims: &[usize], axis: i64, block: usize) -> Lowered<Value> {
        let own = value.dims().to_vec();
        if matches!(value, Value::Absent) || own.is_empty() {
            return Ok(value.clone());
        }
        if own.iter().product::<usize>() == 1 {
            return self.redimensioned(value, &[]);
        }
        let axis = Call::axis(axis, dims.len())?;
        if block == 0 {
            if own != [dims[axis]] {
                return Err(problem(format!("scales and zero points {own:?} do not fit axis {axis} of {dims:?}")));
            }
            let wide: Vec<usize> = (0..dims.len()).map(|d| if d == axis { dims[d] } else { 1 }).collect();
            return self.redimensioned(value, &wide);
        }
        let fits = own.len() == dims.len()
            && (0..dims.len()).all(|d| own[d] == if d == axis { dims[d].div_ceil(block) } else { dims[d] });
        if !fits {
            return Err(problem(format!(
                "scales and zero points {own:?} do not fit blocks of {block} of axis {axis} of {dims:?}"
            )));
        }
        let at: Vec<usize> = (0..dims[axis]).map(|i| i / block).collect();
        self.taken(value, axis, &at)
    }
}

fn layout(call: &Call) -> Lowered<(i64, usize)> {
    let block = usize::try_from(call.int("block_size", 0)?).map_err(|_| problem("block_size is negative".into()))?;
    Ok((call.int("axis", 1)?, block))
}

fn quantize(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["saturate", "precision"]);
    let x = call.input(0)?;
    let (axis, block) = layout(call)?;
    let kind = match (call.value(2), call.int("output_dtype", 0)?) {
        (Value::Absent, 0) => Kind::U8,
        (Value::Absent, number) => kind_of(number)?,
        (zero, _) => zero.kind(),
    };
    let scale = lowering.spread(call.input(1)?, x.dims(), axis, block)?;
    let zero = lowering.spread(call.value(2), x.dims(), axis, block)?;
    let (x, scale) = (lowering.single(x)?, lowering.single(&scale)?);
    let y = lowering.apply("Div", &[x, scale], vec![])?;
    Ok(vec![lowering.saturated(y, &zero, kind)?])
}

fn dequantize(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, scale) = (call.input(0)?, call.input(1)?);
    let (axis, block) = layout(call)?;
    let kind = match call.int("output_dtype", 0)? {
        0 => scale.kind(),
        number => kind_of(number)?,
    };
    let zero = lowering.spread(call.value(2), x.dims(), axis, block)?;
    let scale = lowering.spread(scale, x.dims(), axis, block)?;
    let (x, scale) = (lowering.centered(x, &zero)?, lowering.single(&scale)?);
    let y = lowering.apply("Mul", &[x, scale], vec![])?;
    Ok(vec![lowering.converted(&y, kind)?])
}

/// The range of the values, with 0 in it, becomes 0 to 255.
fn quantize_dynamically(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let zero = Value::from(0.0);
    let extreme = |lowering: &mut Lowering, reduction: &str, op: &str| -> Lowered<Value> {
        let all = lowering.apply(reduction, std::slice::from_ref(x), vec![("keepdims", Attribute::Int(0))])?;
        lowering.apply(op, &[all, zero.clone()], vec![])
    };
    let (high, low) = (extreme(lowering, "ReduceMax", "Max")?, extreme(lowering, "ReduceMin", "Min")?);
    let range = lowering.apply("Sub", &[high, low.clone()], vec![])?;
    let is_nothing = lowering.apply("Equal", &[range.clone(), zero.clone()], vec![])?;
    let range = lowering.apply("Where", &[is_nothing, Value::from(1.0), range], vec![])?;
    let scale = lowering.apply("Div", &[range, Value::from(255.0)], vec![])?;
    let start = lowering.apply("Div", &[low, scale.clone()], vec![])?;
    let start = lowering.apply("Neg", &[start], vec![])?;
    let point = lowering.saturated(start, &Value::Absent, Kind::U8)?;
    let y = lowering.apply("Div", &[x.clone(), scale.clone()], vec![])?;
    let y = lowering.saturated(y, &point, Kind::U8)?;
    Ok(vec![y, scale, point])
}

/// Returns a bound of sums of products of x and w, of which each result has `terms`.
fn bound(x: f64, w: f64, terms: usize) -> f64 {
    x * w * terms as f64
}

/// Returns a value per output channel of filters `dims`, as it broadcasts over them.
fn per_filter(lowering: &mut Lowering, value: &Value, dims: &[usize]) -> Lowered<Value> {
    lowering.spread(value, dims, 0, 0)
}

/// Convolves as Conv does, with this call's attributes.
fn convolved(lowering: &mut Lowering, call: &Call, x: Value, w: Value) -> Lowered<Value> {
    let attributes: Vec<(&str, Attribute)> =
        call.node.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let names: Vec<&str> = attributes.iter().map(|(name, _)| *name).collect();
    call.ignore(&names);
    lowering.apply("Conv", &[x, w], attributes)
}

fn conv_integer(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let terms = w.dims().iter().skip(1).product();
    let limit = bound(x.limit() + call.value(2).limit(), w.limit() + call.value(3).limit(), terms);
    let zero = per_filter(lowering, call.value(3), w.dims())?;
    let (x, w) = (lowering.centered(x, call.value(2))?, lowering.centered(w, &zero)?);
    let y = convolved(lowering, call, x, w)?;
    Ok(vec![lowering.tagged(y, Kind::I32, limit)?])
}

/// Returns a scale or zero point of the rows of a matrix as a column.
fn per_row(lowering: &mut Lowering, value: &Value) -> Lowered<Value> {
    match *value.dims() {
        [rows] if rows > 1 => lowering.redimensioned(value, &[rows, 1]),
        _ => Ok(value.clone()),
    }
}

fn matmul_integer(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let terms = a.dims().last().copied().unwrap_or(1);
    let limit = bound(a.limit() + call.value(2).limit(), b.limit() + call.value(3).limit(), terms);
    let zero = per_row(lowering, call.value(2))?;
    let (a, b) = (lowering.centered(a, &zero)?, lowering.centered(b, call.value(3))?);
    let y = lowering.apply("MatMul", &[a, b], vec![])?;
    Ok(vec![lowering.tagged(y, Kind::I32, limit)?])
}

/// Multiplies sums by a·b/y, the scales of what was multiplied and of the result.
fn rescaled(lowering: &mut Lowering, sums: Value, [a, b, y]: [&Value; 3], zero: &Value) -> Lowered<Value> {
    let (a, b, y) = (lowering.single(a)?, lowering.single(b)?, lowering.single(y)?);
    let scale = lowering.apply("Mul", &[a, b], vec![])?;
    let scale = lowering.apply("Div", &[scale, y], vec![])?;
    let scaled = lowering.apply("Mul", &[sums, scale], vec![])?;
    let kind = zero.kind();
    lowering.saturated(scaled, zero, kind)
}

fn conv(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, w) = (call.input(0)?, call.input(3)?);
    let (zero, scale) = (per_filter(lowering, call.input(5)?, w.dims())?, call.input(4)?);
    let filters = w.dims().first().copied().unwrap_or(1);
    let (x, w) = (lowering.centered(x, call.input(2)?)?, lowering.centered(w, &zero)?);
    let mut sums = convolved(lowering, call, x, w)?;
    let column: Vec<usize> = (0..sums.dims().len()).map(|d| if d == 1 { filters } else { 1 }).collect();
    if call.has(8) {
        let bias = lowering.redimensioned(call.value(8), &column)?;
        let bias = lowering.single(&bias)?;
        sums = lowering.apply("Add", &[sums, bias], vec![])?;
    }
    let dims = sums.dims().to_vec();
    let scale = lowering.spread(scale, &dims, 1, 0)?;
    Ok(vec![rescaled(lowering, sums, [call.input(1)?, &scale, call.input(6)?], call.input(7)?)?])
}

fn matmul(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (a, b) = (call.input(0)?, call.input(3)?);
    let (scale, zero) = (per_row(lowering, call.input(1)?)?, per_row(lowering, call.input(2)?)?);
    let (a, b) = (lowering.centered(a, &zero)?, lowering.centered(b, call.input(5)?)?);
    let sums = lowering.apply("MatMul", &[a, b], vec![])?;
    Ok(vec![rescaled(lowering, sums, [&scale, call.input(4)?, call.input(6)?], call.input(7)?)?])
}
