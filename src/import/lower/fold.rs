//! What is evaluated when a network is built: shapes, and exact arithmetic on known integers.

use super::{Call, Lowered, Value, broadcast, held, problem};
use crate::import::array::{Array, Data, Kind, MAX_MADE_UP, count};

/// Returns whether the operator is evaluated here and nowhere else.
pub fn covers(op: &str) -> bool {
    matches!(
        op,
        "Shape"
            | "Size"
            | "Constant"
            | "ConstantOfShape"
            | "Range"
            | "EyeLike"
            | "NonZero"
            | "Unique"
            | "NonMaxSuppression"
    ) || matches!(op, "HannWindow" | "HammingWindow" | "BlackmanWindow")
        || matches!(op, "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitwiseNot")
}

/// Returns the outputs if the operator can be evaluated here; `is_known` says whether all of its inputs are known.
///
/// # Errors
/// The inputs do not fit the operator.
pub fn evaluate(call: &Call, is_known: bool) -> Lowered<Option<Vec<Value>>> {
    let one = |array: Array| Ok(Some(vec![array.into()]));
    match call.node.op.as_str() {
        "Shape" => {
            let dims = call.input(0)?.dims();
            let rank = dims.len() as i64;
            let at = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
            let (start, end) = (at(call.int("start", 0)?), at(call.int("end", rank)?));
            return one(Array::ints(dims[start..end.max(start)].iter().map(|&d| d as i64)));
        }
        "Size" => return one(Array::int(count(call.input(0)?.dims()).ok_or("the input is too large")? as i64)),
        "EyeLike" => return one(eye_like(call)?),
        _ if !is_known => return Ok(None),
        "Constant" => return one(constant(call)?),
        "ConstantOfShape" => return one(constant_of_shape(call)?),
        "Range" => return one(range(call)?),
        "HannWindow" | "HammingWindow" | "BlackmanWindow" => return one(window(call)?),
        _ => {}
    }
    if let Some(outputs) = super::selection::evaluate(call)? {
        return Ok(Some(outputs));
    }
    if let ("Pow", [Value::Known(base), Value::Known(exponent)]) = (call.node.op.as_str(), &call.inputs[..])
        && !base.array.kind().is_float()
        && exponent.array.kind().is_float()
    {
        return one(power(&base.array, &exponent.array)?);
    }
    let ints: Option<Vec<&Array>> = call.inputs.iter().map(Value::known).collect();
    let Some(inputs) = ints.filter(|all| !all.is_empty() && all.iter().all(|a| matches!(a.data(), Data::Int(_))))
    else {
        return Ok(None);
    };
    let kind = inputs[0].kind();
    let op = call.node.op.as_str();
    Ok(match op {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitShift" => {
            let [a, b] = inputs[..] else { return Err(problem(format!("has {} inputs, expected 2", inputs.len()))) };
            let f = two(call, kind)?;
            Some(vec![pairs(a, b, kind, |x, y| f(x, y).map(|v| kind.wrap(v)))?.into()])
        }
        "Sum" | "Min" | "Max" => {
            let mut all = inputs[0].clone();
            for other in &inputs[1..] {
                all = pairs(&all, other, kind, |x, y| {
                    Some(match op {
                        "Min" => x.min(y),
                        "Max" => x.max(y),
                        _ => kind.wrap(i128::from(x) + i128::from(y)),
                    })
                })?;
            }
            Some(vec![all.into()])
        }
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => {
            let [a, b] = inputs[..] else { return Err(problem(format!("has {} inputs, expected 2", inputs.len()))) };
            let holds = |x: i64, y: i64| match op {
                "Equal" => x == y,
                "Greater" => x > y,
                "GreaterOrEqual" => x >= y,
                "Less" => x < y,
                "LessOrEqual" => x <= y,
                "And" => x != 0 && y != 0,
                "Or" => x != 0 || y != 0,
                _ => (x != 0) != (y != 0),
            };
            Some(vec![pairs(a, b, Kind::Bool, |x, y| Some(holds(x, y).into()))?.into()])
        }
        "Neg" | "Abs" | "Sign" | "Not" | "BitwiseNot" | "Identity" | "Floor" | "Ceil" | "Round" => {
            let values = ints_of(inputs[0]).iter().map(|&v| {
                kind.wrap(match op {
                    "Neg" => -i128::from(v),
                    "Abs" => i128::from(v).abs(),
                    "Sign" => v.signum().into(),
                    "Not" => i128::from(v == 0),
                    "BitwiseNot" => (!v).into(),
                    _ => v.into(),
                })
            });
            Some(vec![Array::new(inputs[0].dims(), kind, Data::Int(values.collect()))?.into()])
        }
        "Cast" | "CastLike" => {
            call.ignore(&["saturate", "round_mode"]);
            let to = match op {
                "Cast" => call.maybe_int("to")?.and_then(|to| Kind::from_onnx(i32::try_from(to).ok()?)),
                _ => inputs.get(1).map(|like| like.kind()),
            };
            let Some(to) = to else { return Ok(None) };
            let array = if to.is_float() {
                Array::from_f64(inputs[0].dims(), to, &inputs[0].to_f64())?
            } else {
                let values = ints_of(inputs[0]).iter().map(|&v| to.wrap(v.into())).collect();
                Array::new(inputs[0].dims(), to, Data::Int(values))?
            };
            Some(vec![array.into()])
        }
        "Where" => {
            let [c, a, b] = inputs[..] else { return Err("expected 3 inputs".into()) };
            let kind = a.kind();
            // Both choices get the dimensions of all three.
            let a = pairs(&pairs(c, a, kind, |_, y| Some(y))?, b, kind, |x, _| Some(x))?;
            let c = pairs(c, &a, Kind::Bool, |x, _| Some(x))?;
            let b = pairs(&a, b, kind, |_, y| Some(y))?;
            let chosen =
                ints_of(&c).iter().zip(ints_of(&a)).zip(ints_of(&b)).map(|((&c, &a), &b)| if c != 0 { a } else { b });
            Some(vec![Array::new(a.dims(), kind, Data::Int(chosen.collect()))?.into()])
        }
        "ReduceSum" | "ReduceProd" | "ReduceMin" | "ReduceMax" => {
            let (axes, keep) = super::reductions::axes(call, inputs[0].dims().len())?;
            Some(vec![reduced(op, inputs[0], &axes, keep)?.into()])
        }
        _ => None,
    })
}

/// Returns the elements of an array of integers.
fn ints_of(array: &Array) -> &[i64] {
    if let Data::Int(values) = array.data() { values } else { &[] }
}

/// A function of two integers; none where the result is not defined.
type Two = dyn Fn(i64, i64) -> Option<i128>;

/// Returns the function of two integers that the operator is.
fn two(call: &Call, kind: Kind) -> Lowered<Box<Two>> {
    let towards_zero = call.node.op == "Mod" && call.flag("fmod", false)?;
    let to_left = call.node.op == "BitShift" && call.text("direction", "LEFT")? == "LEFT";
    let op = call.node.op.clone();
    let bits = 8 * kind.bytes() as i64;
    Ok(Box::new(move |x, y| {
        let (a, b) = (i128::from(x), i128::from(y));
        match op.as_str() {
            "Add" => Some(a + b),
            "Sub" => Some(a - b),
            "Mul" => Some(a * b),
            "Div" => a.checked_div(b),
            "Mod" if towards_zero => a.checked_rem(b),
            "Mod" => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
            "Pow" => a.checked_pow(u32::try_from(b).ok()?),
            "BitwiseAnd" => Some((x & y).into()),
            "BitwiseOr" => Some((x | y).into()),
            "BitwiseXor" => Some((x ^ y).into()),
            _ if !(0..bits).contains(&y) => Some(0),
            _ if to_left => Some(a << y),
            _ => Some(a >> y),
        }
    }))
}

/// Applies `f` to each pair of integers, with NumPy's broadcasting.
fn pairs(a: &Array, b: &Array, kind: Kind, f: impl Fn(i64, i64) -> Option<i64>) -> Lowered<Array> {
    let dims = broadcast(a.dims(), b.dims())?;
    let total = count(&dims).filter(|&n| n <= MAX_MADE_UP).ok_or("the result is too large")?;
    let (x, y) = (ints_of(a), ints_of(b));
    let (at_a, at_b) = (strides(a.dims(), &dims), strides(b.dims(), &dims));
    let values: Option<Vec<i64>> =
        (0..total).map(|i| f(x[offset(i, &dims, &at_a)], y[offset(i, &dims, &at_b)])).collect();
    let values = values.ok_or("divides by 0, or a power is not an integer of its type")?;
    Ok(Array::new(&dims, kind, Data::Int(values))?)
}

/// Returns the stride of each of `dims` in an array that is broadcast to them.
fn strides(own: &[usize], dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; dims.len()];
    let mut stride = 1;
    for d in (0..own.len()).rev() {
        strides[d + dims.len() - own.len()] = if own[d] == 1 { 0 } else { stride };
        stride *= own[d];
    }
    strides
}

fn offset(index: usize, dims: &[usize], strides: &[usize]) -> usize {
    let mut rest = index;
    let mut offset = 0;
    for d in (0..dims.len()).rev() {
        offset += rest % dims[d] * strides[d];
        rest /= dims[d];
    }
    offset
}

/// Powers of integers, truncated to their type.
fn power(base: &Array, exponent: &Array) -> Lowered<Array> {
    let dims = broadcast(base.dims(), exponent.dims())?;
    let total = held(&dims)?;
    let (x, y) = (base.to_f64(), exponent.to_f64());
    let (at_x, at_y) = (strides(base.dims(), &dims), strides(exponent.dims(), &dims));
    let values: Vec<f64> = (0..total).map(|i| x[offset(i, &dims, &at_x)].powf(y[offset(i, &dims, &at_y)])).collect();
    Ok(Array::from_f64(&dims, base.kind(), &values)?)
}

fn reduced(op: &str, x: &Array, axes: &[usize], keep: bool) -> Lowered<Array> {
    let kept: Vec<usize> = x.dims().iter().enumerate().map(|(d, &n)| if axes.contains(&d) { 1 } else { n }).collect();
    let mut all: Vec<Option<i128>> = vec![None; held(&kept)?];
    let at = strides(&kept, x.dims());
    for (i, &v) in ints_of(x).iter().enumerate() {
        let so_far = &mut all[offset(i, x.dims(), &at)];
        let v = i128::from(v);
        *so_far = Some(match (*so_far, op) {
            (None, _) => v,
            (Some(r), "ReduceSum") => r + v,
            (Some(r), "ReduceProd") => i128::from(x.kind().wrap(r * v)),
            (Some(r), "ReduceMin") => r.min(v),
            (Some(r), _) => r.max(v),
        });
    }
    let empty = i128::from(op == "ReduceProd");
    let values = all.into_iter().map(|v| x.kind().wrap(v.unwrap_or(empty))).collect();
    let dims: Vec<usize> =
        if keep { kept } else { (0..kept.len()).filter(|d| !axes.contains(d)).map(|d| kept[d]).collect() };
    Ok(Array::new(&dims, x.kind(), Data::Int(values))?)
}

fn constant(call: &Call) -> Lowered<Array> {
    if let Some(array) = call.tensor("value")? {
        return Ok((**array).clone());
    }
    if let Some(value) = call.maybe_float("value_float")? {
        return Ok(Array::float(value));
    }
    if let Some(values) = call.floats("value_floats")? {
        return Ok(Array::floats(&[values.len()], values.to_vec())?);
    }
    if let Some(value) = call.maybe_int("value_int")? {
        return Ok(Array::int(value));
    }
    match call.ints("value_ints")? {
        Some(values) => Ok(Array::ints(values.iter().copied())),
        None => Err("has no numbers; texts and sparse tensors are not covered".into()),
    }
}

/// Returns dimensions that are given as integers.
fn dims_of(values: &[i64]) -> Lowered<Vec<usize>> {
    let dims: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
    dims.filter(|dims| count(dims).is_some_and(|n| n <= MAX_MADE_UP))
        .ok_or_else(|| problem(format!("the shape {values:?} is negative or too large")))
}

fn constant_of_shape(call: &Call) -> Lowered<Array> {
    let dims = dims_of(&call.known_ints(0, "shape")?.ok_or("has no shape")?)?;
    let total = count(&dims).unwrap_or(0);
    match call.tensor("value")? {
        None => Ok(Array::floats(&dims, vec![0.0; total])?),
        Some(value) if value.len() == 1 => Ok(value.take(&dims, (0..total).map(|_| Some(0)), 0.0)?),
        Some(value) => Err(problem(format!("the attribute value must have one element, got {:?}", value.dims()))),
    }
}

fn range(call: &Call) -> Lowered<Array> {
    let kind = call.input(0)?.kind();
    let mut numbers = [0.0; 3];
    for (k, number) in numbers.iter_mut().enumerate() {
        let values = call.known_floats(k, "bounds")?.unwrap_or_default();
        *number = *values.first().ok_or("expected start, limit and delta")?;
    }
    let [start, limit, delta] = numbers;
    let steps = ((limit - start) / delta).ceil().max(0.0);
    if steps.is_nan() || steps > MAX_MADE_UP as f64 {
        return Err(problem(format!("a range of {steps} elements is too large")));
    }
    let values: Vec<f64> = (0..steps as usize).map(|i| start + i as f64 * delta).collect();
    Ok(Array::from_f64(&[values.len()], kind, &values)?)
}

fn eye_like(call: &Call) -> Lowered<Array> {
    let like = call.input(0)?;
    let &[rows, columns] = like.dims() else {
        return Err(problem(format!("expected a matrix, got {:?}", like.dims())));
    };
    let k = call.int("k", 0)?;
    let kind = match call.maybe_int("dtype")? {
        None => like.kind(),
        Some(number) => i32::try_from(number).ok().and_then(Kind::from_onnx).ok_or("the type is not covered")?,
    };
    let total = count(&[rows, columns]).filter(|&n| n <= MAX_MADE_UP).ok_or("the matrix is too large")?;
    let is_on = |i: usize| (i % columns.max(1)) as i64 - (i / columns.max(1)) as i64 == k;
    let values: Vec<f64> = (0..total).map(|i| f64::from(is_on(i))).collect();
    Ok(Array::from_f64(&[rows, columns], kind, &values)?)
}

/// Weights of a spectrum's window: cosines of its position.
fn window(call: &Call) -> Lowered<Array> {
    let size = call.known_ints(0, "size")?.and_then(|size| size.first().copied()).ok_or("has no size")?;
    let size = usize::try_from(size)
        .ok()
        .filter(|&n| n <= MAX_MADE_UP)
        .ok_or_else(|| problem(format!("the size {size} is not valid")))?;
    let kind = i32::try_from(call.int("output_datatype", 1)?)
        .ok()
        .and_then(Kind::from_onnx)
        .ok_or("the type is not covered")?;
    let period = if call.flag("periodic", true)? { size as f64 } else { size as f64 - 1.0 };
    let [a, b, c] = match call.node.op.as_str() {
        "HannWindow" => [0.5, 0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, 21.0 / 46.0, 0.0],
        _ => [0.42, 0.5, 0.08],
    };
    let weight = |i: usize| {
        let angle = std::f64::consts::TAU * i as f64 / period;
        a - b * angle.cos() + c * (2.0 * angle).cos()
    };
    let values: Vec<f64> = (0..size).map(weight).collect();
    Ok(Array::from_f64(&[size], kind, &values)?)
}
