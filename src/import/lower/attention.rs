//! Attention: softmax(scale·Q·Kᵀ + mask)·V, for each head.
//!
//! Source: Attention of ONNX's Operators.md, versions 23 and 24.

use super::{Attribute, Call, Lower, Lowered, Lowering, Value, problem};
use crate::import::array::{Array, Kind, MAX_MADE_UP, count};

pub fn find(op: &str) -> Option<Lower> {
    (op == "Attention").then_some(attention)
}

/// Returns 0 where this holds, and −∞ elsewhere.
fn mask(dims: &[usize], holds: impl Fn(usize) -> bool) -> Lowered<Value> {
    let total = count(dims).filter(|&n| n <= MAX_MADE_UP).ok_or("the mask is too large")?;
    let values = (0..total).map(|i| if holds(i) { 0.0 } else { f32::NEG_INFINITY }).collect();
    Ok(Array::floats(dims, values)?.into())
}

impl Lowering<'_> {
    /// Returns `[N, H, L, D]` of `[N, L, H·D]`.
    fn heads(&mut self, x: &Value, count: Option<usize>) -> Lowered<Value> {
        let &[n, len, width] = x.dims() else { return Ok(x.clone()) };
        let heads = count.filter(|&heads| heads > 0 && width % heads == 0);
        let heads = heads.ok_or_else(|| problem(format!("{:?} does not split into its heads", x.dims())))?;
        let x = self.redimensioned(x, &[n, len, heads, width / heads])?;
        self.permuted(&x, &[0, 2, 1, 3])
    }

    fn sum(&mut self, a: Option<Value>, b: Value) -> Lowered<Option<Value>> {
        Ok(Some(match a {
            Some(a) => self.apply("Add", &[a, b], vec![])?,
            None => b,
        }))
    }
}

fn attention(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["softmax_precision"]);
    let size =
        |name: &str| -> Lowered<Option<usize>> { Ok(call.maybe_int(name)?.and_then(|n| usize::try_from(n).ok())) };
    let (q_heads, kv_heads) = (size("q_num_heads")?, size("kv_num_heads")?);
    let is_flat = call.input(0)?.dims().len() == 3;
    let q = lowering.heads(call.input(0)?, q_heads)?;
    let mut k = lowering.heads(call.input(1)?, kv_heads)?;
    let mut v = lowering.heads(call.input(2)?, kv_heads)?;
    if [&q, &k, &v].iter().any(|x| x.dims().len() != 4) {
        return Err(problem(format!("expected three or four dimensions, got {:?}", call.input(0)?.dims())));
    }
    let past = call.value(4).dims().get(2).copied().unwrap_or(0);
    for (own, i) in [(&mut k, 4), (&mut v, 5)] {
        if call.has(i) {
            *own = lowering.joined(&[call.value(i).clone(), own.clone()], 2)?;
        }
    }
    let present = [k.clone(), v.clone()];
    let (heads, own, depth) = (q.dims()[1], k.dims()[1], q.dims()[3]);
    let (rows, columns) = (q.dims()[2], k.dims()[2]);
    if own == 0 || heads % own != 0 || v.dims()[1] != own || k.dims()[3] != depth || v.dims()[2] != columns {
        return Err(problem(format!("{:?}, {:?} and {:?} do not fit", q.dims(), k.dims(), v.dims())));
    }
    if heads != own {
        // Several heads of Q share one of K and V.
        let at: Vec<usize> = (0..heads).map(|head| head / (heads / own)).collect();
        (k, v) = (lowering.taken(&k, 1, &at)?, lowering.taken(&v, 1, &at)?);
    }
    let mut bias = None;
    if call.has(3) {
        let mut given = call.value(3).clone();
        let is_choice = given.kind() == Kind::Bool;
        let last = given.dims().last().copied().unwrap_or(0);
        if let Some(more) = columns.checked_sub(last).filter(|&more| more > 0) {
            let mut around = vec![(0, 0); given.dims().len()];
            if let Some(last) = around.last_mut() {
                *last = (0, more as i64);
            }
            given = lowering.padded(&given, &around, "constant", if is_choice { 0.0 } else { f64::NEG_INFINITY })?;
        }
        if is_choice {
            given = lowering.apply("Where", &[given, Value::from(0.0), Value::from(f32::NEG_INFINITY)], vec![])?;
        }
        bias = lowering.sum(bias, given)?;
    }
    if call.flag("is_causal", false)? {
        let causal = mask(&[rows, columns], |i| i % columns <= i / columns + past)?;
        bias = lowering.sum(bias, causal)?;
    }
    if call.has(6) {
        let lens = call.known_ints(6, "lengths")?.unwrap_or_default();
        if lens.len() != q.dims()[0] {
            return Err(problem(format!("{} lengths do not fit {:?}", lens.len(), q.dims())));
        }
        let padding = mask(&[lens.len(), 1, 1, columns], |i| ((i % columns) as i64) < lens[i / columns])?;
        bias = lowering.sum(bias, padding)?;
    }
    let scale = call.maybe_float("scale")?.unwrap_or((depth as f32).powf(-0.5));
    let scale = Value::from(scale);
    let scaled = lowering.apply("Mul", &[q.clone(), scale], vec![])?;
    let turned = lowering.permuted(&k, &[0, 1, 3, 2])?;
    let mut scores = lowering.apply("MatMul", &[scaled, turned], vec![])?;
    let mut stages = vec![scores.clone()];
    if let Some(bias) = bias {
        scores = lowering.apply("Add", &[scores, bias], vec![])?;
    }
    stages.push(scores.clone());
    let cap = call.float("softcap", 0.0)?;
    if cap > 0.0 {
        let cap = Value::from(cap);
        scores = lowering.apply("Div", &[scores, cap.clone()], vec![])?;
        scores = lowering.apply("Tanh", &[scores], vec![])?;
        scores = lowering.apply("Mul", &[scores, cap], vec![])?;
    }
    stages.push(scores.clone());
    let weights = lowering.apply("Softmax", &[scores], vec![("axis", Attribute::Int(-1))])?;
    stages.push(weights.clone());
    let mut y = lowering.apply("MatMul", &[weights, v], vec![])?;
    if is_flat {
        let &[n, heads, len, depth] = y.dims() else { return Err("the result has no heads".into()) };
        y = lowering.permuted(&y, &[0, 2, 1, 3])?;
        y = lowering.redimensioned(&y, &[n, len, heads * depth])?;
    }
    let stage = usize::try_from(call.int("qk_matmul_output_mode", 0)?).ok().filter(|&stage| stage < stages.len());
    let stage = stages.swap_remove(stage.ok_or("qk_matmul_output_mode must be 0 to 3")?);
    let [k, v] = present;
    Ok(vec![y, k, v, stage])
}
