//! Functions of each element, or of pairs of elements with NumPy's broadcasting.

use super::{Call, Lower, Lowered, Lowering, Value, broadcast, check_exact, problem};
use crate::graph::NodeId;
use crate::import::array::{Array, Kind, count};
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::prelu::Prelu;
use crate::ops::relu::Relu;
use crate::ops::select::Select;
use crate::tensor::Tensor;

/// Operators that are functions of one value, and their names in `src/ops/pointwise/unary.rs`.
const UNARY: [(&str, &str); 19] = [
    ("Abs", "abs"),
    ("Atan", "atan"),
    ("Ceil", "ceil"),
    ("Cos", "cos"),
    ("Erf", "erf"),
    ("Exp", "exp"),
    ("Floor", "floor"),
    ("HardSwish", "hard_swish"),
    ("Log", "log"),
    ("Mish", "mish"),
    ("Neg", "neg"),
    ("Reciprocal", "reciprocal"),
    ("Round", "round"),
    ("Sigmoid", "sigmoid"),
    ("Sign", "sign"),
    ("Sin", "sin"),
    ("Softplus", "softplus"),
    ("Sqrt", "sqrt"),
    ("Tanh", "tanh"),
];

pub fn find(op: &str) -> Option<Lower> {
    if UNARY.iter().any(|(name, _)| *name == op) {
        return Some(simple);
    }
    Some(match op {
        "Relu" => relu,
        "LeakyRelu" => leaky_relu,
        "PRelu" => prelu,
        "Elu" => elu,
        "Selu" => selu,
        "Celu" => celu,
        "ThresholdedRelu" => thresholded_relu,
        "HardSigmoid" => hard_sigmoid,
        "Gelu" => gelu,
        "Swish" => swish,
        "Softsign" => softsign,
        "Shrink" => shrink,
        "Tan" | "Asin" | "Acos" | "Sinh" | "Cosh" | "Asinh" | "Acosh" | "Atanh" => composed,
        "Clip" => clip,
        "Add" | "Sub" | "Mul" | "Div" | "Mod" => arithmetic,
        "Pow" => pow,
        "Sum" | "Max" | "Min" | "Mean" => several,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => compare,
        "And" | "Or" | "Xor" => logic,
        "Not" => not,
        "Where" => select,
        "IsNaN" => is_nan,
        "IsInf" => is_inf,
        "Cast" => cast,
        "CastLike" => cast_like,
        _ => return None,
    })
}

/// Returns what a function of elements gives if there are none.
pub fn empty(call: &Call) -> Lowered<Option<Value>> {
    let op = call.node.op.as_str();
    let is_empty = |value: &Value| !matches!(value, Value::Absent) && count(value.dims()) == Some(0);
    if find(op).is_none() || matches!(op, "Clip" | "CastLike") || !call.inputs.iter().any(is_empty) {
        return Ok(None);
    }
    let mut dims = Vec::new();
    for input in &call.inputs {
        dims = broadcast(&dims, input.dims())?;
    }
    let kind = match op {
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "Not" | "IsNaN"
        | "IsInf" => Kind::Bool,
        "Cast" => cast_to(call)?,
        "Where" => call.input(1)?.kind(),
        _ => call.input(0)?.kind(),
    };
    Ok(Some(Array::from_f64(&dims, kind, &[])?.into()))
}

impl Lowering<'_> {
    /// Returns a scalar as a constant.
    pub fn scalar(&mut self, value: f64) -> Lowered<NodeId> {
        Ok(self.graph.add_constant("constant", Tensor::new([1], vec![value as f32])?)?)
    }

    /// Applies a function of two values to a node and a number.
    pub fn by(&mut self, name: &str, a: NodeId, value: f64) -> Lowered<NodeId> {
        let b = self.scalar(value)?;
        Ok(self.graph.binary(a, b, name)?)
    }

    /// Returns the two inputs of an operator so that NumPy broadcasts them as the operator does: before version 7, the second one lies
    /// along the axes of the first from a given one on, or along the last ones, and is repeated only if the node says so.
    fn operands(&mut self, call: &Call) -> Lowered<(Value, Value)> {
        let (a, b) = (call.input(0)?.clone(), call.input(1)?.clone());
        if call.opset >= 7 {
            return Ok((a, b));
        }
        call.ignore(&["consumed_inputs"]);
        let (rank, own) = (a.dims().len(), b.dims().to_vec());
        let axis = call.maybe_int("axis")?;
        if !call.flag("broadcast", false)? {
            return if a.dims() == own {
                Ok((a, b))
            } else {
                Err(problem(format!("{:?} and {own:?} differ", a.dims())))
            };
        }
        let axis = match axis {
            Some(axis) => Call::axis(axis, rank)?,
            None => rank.saturating_sub(own.len()),
        };
        let behind = rank
            .checked_sub(axis + own.len())
            .ok_or_else(|| problem(format!("{own:?} does not fit {:?}", a.dims())))?;
        let b = self.redimensioned(&b, &[own, vec![1; behind]].concat())?;
        Ok((a, b))
    }

    /// Returns the nodes of two values, and the dimensions to which they are broadcast.
    fn pair(&mut self, a: &Value, b: &Value) -> Lowered<(NodeId, NodeId, Vec<usize>)> {
        let dims = broadcast(a.dims(), b.dims())?;
        Ok((self.f32(a)?, self.f32(b)?, dims))
    }
}

/// A function of one value keeps its dimensions and type.
fn unary(lowering: &mut Lowering, call: &Call, f: impl FnOnce(&mut Lowering, NodeId) -> Lowered<NodeId>) -> Lowered {
    let x = call.input(0)?;
    let id = lowering.f32(x)?;
    let y = f(lowering, id)?;
    Ok(vec![lowering.integer(y, x.dims(), x.kind(), x.limit())?])
}

fn simple(lowering: &mut Lowering, call: &Call) -> Lowered {
    let name = UNARY.iter().find(|(op, _)| *op == call.node.op).map_or("", |(_, name)| name);
    unary(lowering, call, |l, x| Ok(l.graph.pointwise(x, name)?))
}

fn relu(lowering: &mut Lowering, call: &Call) -> Lowered {
    unary(lowering, call, |l, x| Ok(l.graph.add(Relu, &[x])?))
}

fn leaky_relu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let slope = call.float("alpha", 0.01)?;
    unary(lowering, call, |l, x| Ok(l.graph.add(LeakyRelu { slope }, &[x])?))
}

fn elu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let alpha = call.float("alpha", 1.0)?;
    unary(lowering, call, |l, x| Ok(l.graph.pointwise_with(x, "elu", &[alpha])?))
}

/// γ·elu(x).
fn selu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let alpha = call.float("alpha", 1.673_263_2)?;
    let gamma = call.float("gamma", 1.050_701)?;
    unary(lowering, call, |l, x| {
        let y = l.graph.pointwise_with(x, "elu", &[alpha])?;
        l.by("mul", y, gamma.into())
    })
}

/// α·elu(x/α) with elu's parameter 1.
fn celu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let alpha = f64::from(call.float("alpha", 1.0)?);
    unary(lowering, call, |l, x| {
        let y = l.by("div", x, alpha)?;
        let y = l.graph.pointwise_with(y, "elu", &[1.0])?;
        l.by("mul", y, alpha)
    })
}

fn thresholded_relu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let alpha = f64::from(call.float("alpha", 1.0)?);
    unary(lowering, call, |l, x| {
        let (alpha, zero) = (l.scalar(alpha)?, l.scalar(0.0)?);
        let c = l.graph.compare(x, alpha, "greater")?;
        Ok(l.graph.add(Select, &[c, x, zero])?)
    })
}

/// x ± bias where |x| is above lambd, else 0.
fn shrink(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (bias, lambd) = (f64::from(call.float("bias", 0.0)?), f64::from(call.float("lambd", 0.5)?));
    unary(lowering, call, |l, x| {
        let (low, high, zero) = (l.scalar(-lambd)?, l.scalar(lambd)?, l.scalar(0.0)?);
        let (below, above) = (l.graph.compare(x, low, "less")?, l.graph.compare(x, high, "greater")?);
        let (up, down) = (l.by("add", x, bias)?, l.by("sub", x, bias)?);
        let y = l.graph.add(Select, &[above, down, zero])?;
        Ok(l.graph.add(Select, &[below, up, y])?)
    })
}

fn hard_sigmoid(lowering: &mut Lowering, call: &Call) -> Lowered {
    let parameters = [call.float("alpha", 0.2)?, call.float("beta", 0.5)?];
    unary(lowering, call, |l, x| Ok(l.graph.pointwise_with(x, "hard_sigmoid", &parameters)?))
}

fn gelu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let name = match call.text("approximate", "none")? {
        "none" => "gelu",
        "tanh" => "gelu_tanh",
        other => return Err(problem(format!("approximate must be \"none\" or \"tanh\", got {other:?}"))),
    };
    unary(lowering, call, |l, x| Ok(l.graph.pointwise(x, name)?))
}

fn swish(lowering: &mut Lowering, call: &Call) -> Lowered {
    let alpha = f64::from(call.float("alpha", 1.0)?);
    unary(lowering, call, |l, x| {
        if alpha == 1.0 {
            return Ok(l.graph.pointwise(x, "silu")?);
        }
        let s = l.by("mul", x, alpha)?;
        let s = l.graph.pointwise(s, "sigmoid")?;
        Ok(l.graph.binary(x, s, "mul")?)
    })
}

/// x/(1 + |x|).
fn softsign(lowering: &mut Lowering, call: &Call) -> Lowered {
    unary(lowering, call, |l, x| {
        let a = l.graph.pointwise(x, "abs")?;
        let a = l.by("add", a, 1.0)?;
        Ok(l.graph.binary(x, a, "div")?)
    })
}

/// Functions that are few others, in forms that lose no digits near 0.
fn composed(lowering: &mut Lowering, call: &Call) -> Lowered {
    let op = call.node.op.as_str();
    unary(lowering, call, |l, x| match op {
        "Tan" => {
            let (s, c) = (l.graph.pointwise(x, "sin")?, l.graph.pointwise(x, "cos")?);
            Ok(l.graph.binary(s, c, "div")?)
        }
        // 2·atan(x/(1 + √(1 − x²))).
        "Asin" => {
            let one = l.scalar(1.0)?;
            let (above, below) = (l.graph.binary(one, x, "add")?, l.graph.binary(one, x, "sub")?);
            let square = l.graph.binary(above, below, "mul")?;
            let root = l.graph.pointwise(square, "sqrt")?;
            let root = l.by("add", root, 1.0)?;
            let half = l.graph.binary(x, root, "div")?;
            let half = l.graph.pointwise(half, "atan")?;
            l.by("mul", half, 2.0)
        }
        // 2·atan(√((1 − |x|)/(1 + |x|))), and π minus that for x below 0.
        "Acos" => {
            let (one, zero, pi) = (l.scalar(1.0)?, l.scalar(0.0)?, l.scalar(std::f64::consts::PI)?);
            let a = l.graph.pointwise(x, "abs")?;
            let (above, below) = (l.graph.binary(one, a, "add")?, l.graph.binary(one, a, "sub")?);
            let ratio = l.graph.binary(below, above, "div")?;
            let half = l.graph.pointwise(ratio, "sqrt")?;
            let half = l.graph.pointwise(half, "atan")?;
            let whole = l.by("mul", half, 2.0)?;
            let rest = l.graph.binary(pi, whole, "sub")?;
            let is_negative = l.graph.compare(x, zero, "less")?;
            Ok(l.graph.add(Select, &[is_negative, rest, whole])?)
        }
        // 2t/(1 − t²) with t = tanh(x/2).
        "Sinh" => {
            let t = l.by("mul", x, 0.5)?;
            let t = l.graph.pointwise(t, "tanh")?;
            let square = l.graph.binary(t, t, "mul")?;
            let one = l.scalar(1.0)?;
            let rest = l.graph.binary(one, square, "sub")?;
            let y = l.graph.binary(t, rest, "div")?;
            l.by("mul", y, 2.0)
        }
        "Cosh" => {
            let e = l.graph.pointwise(x, "exp")?;
            let back = l.graph.pointwise(e, "reciprocal")?;
            let sum = l.graph.binary(e, back, "add")?;
            l.by("mul", sum, 0.5)
        }
        // sign(x)·log(|x| + √(x² + 1)).
        "Asinh" => {
            let (sign, a) = (l.graph.pointwise(x, "sign")?, l.graph.pointwise(x, "abs")?);
            let square = l.graph.binary(x, x, "mul")?;
            let square = l.by("add", square, 1.0)?;
            let root = l.graph.pointwise(square, "sqrt")?;
            let sum = l.graph.binary(a, root, "add")?;
            let log = l.graph.pointwise(sum, "log")?;
            Ok(l.graph.binary(sign, log, "mul")?)
        }
        "Acosh" => {
            let square = l.graph.binary(x, x, "mul")?;
            let square = l.by("sub", square, 1.0)?;
            let root = l.graph.pointwise(square, "sqrt")?;
            let sum = l.graph.binary(x, root, "add")?;
            Ok(l.graph.pointwise(sum, "log")?)
        }
        // log((1 + x)/(1 − x))/2.
        _ => {
            let one = l.scalar(1.0)?;
            let (above, below) = (l.graph.binary(one, x, "add")?, l.graph.binary(one, x, "sub")?);
            let ratio = l.graph.binary(above, below, "div")?;
            let log = l.graph.pointwise(ratio, "log")?;
            l.by("mul", log, 0.5)
        }
    })
}

/// A slope per channel is the operation `prelu`; any other shape is max(x, 0) + slope·min(x, 0).
fn prelu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, slope) = (call.input(0)?, call.input(1)?);
    let dims = x.dims();
    // Before version 7, a vector has a slope for each channel.
    let column = [vec![slope.dims().first().copied().unwrap_or(1)], vec![1; dims.len().saturating_sub(2)]].concat();
    let slope = &if call.opset < 7 && slope.dims().len() == 1 {
        lowering.redimensioned(slope, &column)?
    } else {
        slope.clone()
    };
    let is_per_channel = dims.len() == 4 && slope.dims().len() == 3 && slope.dims() == [dims[1], 1, 1];
    let (a, s) = (lowering.f32(x)?, lowering.f32(slope)?);
    let y = if is_per_channel {
        let s = lowering.reshape(s, &[1, dims[1], 1, 1])?;
        lowering.graph.add(Prelu, &[a, s])?
    } else {
        if broadcast(dims, slope.dims())? != dims {
            return Err(problem(format!("the slope {:?} does not fit {dims:?}", slope.dims())));
        }
        let zero = lowering.scalar(0.0)?;
        let (above, below) = (lowering.graph.binary(a, zero, "max")?, lowering.graph.binary(a, zero, "min")?);
        let below = lowering.graph.binary(below, s, "mul")?;
        lowering.graph.binary(above, below, "add")?
    };
    Ok(vec![lowering.float(y, dims, x.kind())?])
}

fn clip(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let id = lowering.f32(x)?;
    let (mut bounds, mut computed) = ([None, None], [None, None]);
    if call.opset < 11 {
        bounds = [call.maybe_float("min")?.map(f64::from), call.maybe_float("max")?.map(f64::from)];
    } else {
        for k in 0..2 {
            match call.value(1 + k) {
                Value::Absent => {}
                Value::Known(known) => bounds[k] = known.array.to_f64().first().copied(),
                bound @ Value::Computed(_) => computed[k] = Some(lowering.f32(bound)?),
            }
        }
    }
    let mut y = id;
    // A bound of ±∞, or the largest f32, bounds nothing.
    let is_bound = |v: &f64| v.abs() < f64::from(f32::MAX);
    match bounds.map(|bound| bound.filter(is_bound)) {
        [Some(low), Some(high)] if low <= high => {
            y = lowering.graph.pointwise_with(y, "clamp", &[low as f32, high as f32])?
        }
        [low, high] => {
            if let Some(low) = low {
                y = lowering.by("max", y, low)?;
            }
            if let Some(high) = high {
                y = lowering.by("min", y, high)?;
            }
        }
    }
    for (bound, name) in computed.into_iter().zip(["max", "min"]) {
        if let Some(bound) = bound {
            y = lowering.graph.binary(y, bound, name)?;
        }
    }
    Ok(vec![lowering.integer(y, x.dims(), x.kind(), x.limit())?])
}

/// Brings an integer result within its type, as two's complement does, if its type is narrow enough for f32 to hold.
fn wrapped(lowering: &mut Lowering, y: NodeId, kind: Kind, limit: f64) -> Lowered<(NodeId, f64)> {
    let (low, high) = kind.range();
    let (low, high) = (low as f64, high as f64);
    check_exact(kind, limit)?;
    if kind.is_float() || (limit <= high && (low < 0.0 || limit == 0.0)) {
        return Ok((y, limit));
    }
    if high > super::EXACT {
        return Ok((y, limit));
    }
    // y − (high − low + 1)·⌊(y − low)/(high − low + 1)⌋; all of it is exact.
    let size = high - low + 1.0;
    let turns = lowering.by("sub", y, low)?;
    let turns = lowering.by("mul", turns, 1.0 / size)?;
    let turns = lowering.graph.pointwise(turns, "floor")?;
    let turns = lowering.by("mul", turns, size)?;
    Ok((lowering.graph.binary(y, turns, "sub")?, high.max(-low)))
}

fn truncated(lowering: &mut Lowering, x: NodeId) -> Lowered<NodeId> {
    let (sign, size) = (lowering.graph.pointwise(x, "sign")?, lowering.graph.pointwise(x, "abs")?);
    let size = lowering.graph.pointwise(size, "floor")?;
    Ok(lowering.graph.binary(sign, size, "mul")?)
}

/// Returns the quotient of integers, rounded towards zero.
fn quotient(lowering: &mut Lowering, x: NodeId, y: NodeId) -> Lowered<NodeId> {
    let sign = [lowering.graph.pointwise(x, "sign")?, lowering.graph.pointwise(y, "sign")?];
    let sign = lowering.graph.binary(sign[0], sign[1], "mul")?;
    let (x, y) = (lowering.graph.pointwise(x, "abs")?, lowering.graph.pointwise(y, "abs")?);
    let size = lowering.graph.binary(x, y, "div")?;
    let size = lowering.graph.pointwise(size, "floor")?;
    // WGSL's division may be off by a little, and the floor by one: then the rest is not in 0..y.
    let product = lowering.graph.binary(size, y, "mul")?;
    let rest = lowering.graph.binary(x, product, "sub")?;
    let (zero, one) = (lowering.scalar(0.0)?, lowering.scalar(1.0)?);
    let is_low = lowering.graph.compare(rest, y, "greater_or_equal")?;
    let is_high = lowering.graph.compare(rest, zero, "less")?;
    let up = lowering.graph.add(Select, &[is_low, one, zero])?;
    let down = lowering.graph.add(Select, &[is_high, one, zero])?;
    let size = lowering.graph.binary(size, up, "add")?;
    let size = lowering.graph.binary(size, down, "sub")?;
    Ok(lowering.graph.binary(sign, size, "mul")?)
}

fn arithmetic(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (a, b) = &lowering.operands(call)?;
    let kind = a.kind();
    let op = call.node.op.as_str();
    let (m, n) = (a.limit(), b.limit());
    let limit = match op {
        "Add" | "Sub" => m + n,
        "Mul" => m * n,
        "Div" => m,
        _ => n,
    };
    if !kind.is_float() {
        check_exact(kind, m)?;
        check_exact(kind, n)?;
        if op == "Sub" && kind.range().0 == 0 && kind.range().1 > super::EXACT as i128 {
            return Err(problem(format!(
                "differences of {kind} in a run are not covered; convert the inputs to int32"
            )));
        }
    }
    let (x, y, dims) = lowering.pair(a, b)?;
    let result = match op {
        "Add" => lowering.graph.binary(x, y, "add")?,
        "Sub" => lowering.graph.binary(x, y, "sub")?,
        "Mul" => lowering.graph.binary(x, y, "mul")?,
        "Div" if kind.is_float() => lowering.graph.binary(x, y, "div")?,
        "Div" => quotient(lowering, x, y)?,
        // x − y·q for the quotient q towards zero; plus y if the rest has another sign than y and is not 0.
        _ if !kind.is_float() => {
            let whole = quotient(lowering, x, y)?;
            let whole = lowering.graph.binary(whole, y, "mul")?;
            let rest = lowering.graph.binary(x, whole, "sub")?;
            if call.flag("fmod", false)? {
                rest
            } else {
                let (zero, moved) = (lowering.scalar(0.0)?, lowering.graph.binary(rest, y, "add")?);
                let product = lowering.graph.binary(rest, y, "mul")?;
                let differs = lowering.graph.compare(product, zero, "less")?;
                lowering.graph.add(Select, &[differs, moved, rest])?
            }
        }
        _ => {
            let ratio = lowering.graph.binary(x, y, "div")?;
            let is_towards_zero = call.flag("fmod", false)?;
            let whole =
                if is_towards_zero { truncated(lowering, ratio)? } else { lowering.graph.pointwise(ratio, "floor")? };
            let whole = lowering.graph.binary(whole, y, "mul")?;
            lowering.graph.binary(x, whole, "sub")?
        }
    };
    let (result, limit) = wrapped(lowering, result, kind, limit)?;
    Ok(vec![lowering.integer(result, &dims, kind, limit)?])
}

fn pow(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (a, b) = &lowering.operands(call)?;
    if !a.kind().is_float() {
        let is_base_known = a.known().is_some();
        call.known_floats(usize::from(is_base_known), if is_base_known { "exponents" } else { "bases" })?;
        return Err(problem(format!("powers of {} are not covered", a.kind())));
    }
    let dims = broadcast(a.dims(), b.dims())?;
    let x = lowering.f32(a)?;
    let exponent = b.known().filter(|b| b.len() == 1).and_then(|b| b.to_f64().first().copied());
    let y = match exponent {
        Some(2.0) => lowering.graph.binary(x, x, "mul")?,
        Some(0.5) => lowering.graph.pointwise(x, "sqrt")?,
        _ => {
            let y = lowering.f32(b)?;
            lowering.graph.binary(x, y, "pow")?
        }
    };
    Ok(vec![lowering.float(y, &dims, a.kind())?])
}

/// Sum, mean, maximum or minimum of any number of values.
fn several(lowering: &mut Lowering, call: &Call) -> Lowered {
    let op = call.node.op.as_str();
    let name = match op {
        "Max" => "max",
        "Min" => "min",
        _ => "add",
    };
    let first = call.input(0)?;
    let kind = first.kind();
    let mut y = lowering.f32(first)?;
    let mut dims = first.dims().to_vec();
    let mut limit = first.limit();
    for other in &call.inputs[1..] {
        dims = broadcast(&dims, other.dims())?;
        let other_id = lowering.f32(other)?;
        y = lowering.graph.binary(y, other_id, name)?;
        limit = if name == "add" { limit + other.limit() } else { limit.max(other.limit()) };
    }
    check_exact(kind, limit)?;
    if op == "Mean" {
        y = lowering.by("mul", y, 1.0 / call.inputs.len() as f64)?;
    }
    Ok(vec![lowering.integer(y, &dims, kind, limit)?])
}

fn compare(lowering: &mut Lowering, call: &Call) -> Lowered {
    let name = match call.node.op.as_str() {
        "Equal" => "equal",
        "Greater" => "greater",
        "GreaterOrEqual" => "greater_or_equal",
        "Less" => "less",
        _ => "less_or_equal",
    };
    let (a, b) = &lowering.operands(call)?;
    check_exact(a.kind(), a.limit())?;
    check_exact(b.kind(), b.limit())?;
    let (x, y, dims) = lowering.pair(a, b)?;
    let y = lowering.graph.compare(x, y, name)?;
    Ok(vec![lowering.integer(y, &dims, Kind::Bool, 1.0)?])
}

fn logic(lowering: &mut Lowering, call: &Call) -> Lowered {
    let name = match call.node.op.as_str() {
        "And" => "and",
        "Or" => "or",
        _ => "xor",
    };
    let (a, b) = &lowering.operands(call)?;
    let dims = broadcast(a.dims(), b.dims())?;
    let (x, y) = (lowering.u32(a)?, lowering.u32(b)?);
    let y = lowering.graph.compare(x, y, name)?;
    Ok(vec![lowering.integer(y, &dims, Kind::Bool, 1.0)?])
}

fn not(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let id = lowering.u32(x)?;
    let y = lowering.graph.not(id)?;
    Ok(vec![lowering.integer(y, x.dims(), Kind::Bool, 1.0)?])
}

fn select(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (c, a, b) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let dims = broadcast(&broadcast(c.dims(), a.dims())?, b.dims())?;
    let (c, x, y) = (lowering.u32(c)?, lowering.f32(a)?, lowering.f32(b)?);
    let y = lowering.graph.add(Select, &[c, x, y])?;
    Ok(vec![lowering.integer(y, &dims, a.kind(), a.limit().max(b.limit()))?])
}

fn is_nan(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let id = lowering.f32(x)?;
    let same = lowering.graph.compare(id, id, "equal")?;
    let y = lowering.graph.not(same)?;
    Ok(vec![lowering.integer(y, x.dims(), Kind::Bool, 1.0)?])
}

fn is_inf(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let id = lowering.f32(x)?;
    let (negative, positive) = (call.flag("detect_negative", true)?, call.flag("detect_positive", true)?);
    let largest = f64::from(f32::MAX);
    let (low, high) = (lowering.scalar(-largest)?, lowering.scalar(largest)?);
    let below = lowering.graph.compare(id, low, "less")?;
    let above = lowering.graph.compare(id, high, "greater")?;
    let y = match (negative, positive) {
        (true, true) => lowering.graph.compare(below, above, "or")?,
        (true, false) => below,
        (false, true) => above,
        (false, false) => lowering.graph.compare(below, above, "and")?,
    };
    Ok(vec![lowering.integer(y, x.dims(), Kind::Bool, 1.0)?])
}

fn cast(lowering: &mut Lowering, call: &Call) -> Lowered {
    Ok(vec![lowering.converted(call.input(0)?, cast_to(call)?)?])
}

fn cast_to(call: &Call) -> Lowered<Kind> {
    call.ignore(&["saturate", "round_mode"]);
    let to = call.maybe_int("to")?.ok_or("the attribute to is missing")?;
    i32::try_from(to).ok().and_then(Kind::from_onnx).ok_or_else(|| problem(format!("the type {to} is not covered")))
}

fn cast_like(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["saturate", "round_mode"]);
    let kind = call.input(1)?.kind();
    Ok(vec![lowering.converted(call.input(0)?, kind)?])
}

impl Lowering<'_> {
    /// Converts a value to another type: floats are truncated towards zero.
    pub fn converted(&mut self, x: &Value, kind: Kind) -> Lowered<Value> {
        let (from, dims) = (x.kind(), x.dims().to_vec());
        if kind == from {
            return Ok(x.clone());
        }
        let id = self.f32(x)?;
        match kind {
            // Half precision is computed in float32, and rounded where the network returns it.
            // An integer that f32 does not hold was rounded to it before.
            _ if kind.is_float() => self.float(id, &dims, kind),
            Kind::Bool => {
                let zero = self.scalar(0.0)?;
                let y = self.graph.compare(id, zero, "equal")?;
                let y = self.graph.not(y)?;
                self.integer(y, &dims, kind, 1.0)
            }
            _ if from.is_float() => {
                // What lies outside the type's range is undefined.
                let y = truncated(self, id)?;
                let (low, high) = kind.range();
                self.integer(y, &dims, kind, (high as f64).max(-(low as f64)))
            }
            _ => {
                check_exact(from, x.limit())?;
                let (y, limit) = wrapped(self, id, kind, x.limit())?;
                self.integer(y, &dims, kind, limit)
            }
        }
    }
}
