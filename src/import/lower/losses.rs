//! Losses of classes, for networks that were exported with theirs.
//!
//! Source: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss of ONNX's Operators.md.

use super::{Attribute, Call, Lower, Lowered, Lowering, Value, problem};
use crate::import::array::{Array, count};

pub fn find(op: &str) -> Option<Lower> {
    Some(match op {
        "NegativeLogLikelihoodLoss" => likelihood,
        "SoftmaxCrossEntropyLoss" => cross_entropy,
        _ => return None,
    })
}

fn likelihood(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?.clone();
    Ok(vec![loss(lowering, call, &x)?])
}

fn cross_entropy(lowering: &mut Lowering, call: &Call) -> Lowered {
    let logs = lowering.apply("LogSoftmax", std::slice::from_ref(call.input(0)?), vec![("axis", Attribute::Int(1))])?;
    Ok(vec![loss(lowering, call, &logs)?, logs])
}

/// Minus the logarithms of the targets' probabilities, times their weights.
fn loss(lowering: &mut Lowering, call: &Call, logs: &Value) -> Lowered<Value> {
    let target = call.input(1)?;
    let (dims, places) = (logs.dims().to_vec(), target.dims().to_vec());
    let kind = logs.kind();
    let &[n, classes, ..] = &dims[..] else { return Err(problem(format!("expected [N, C, …], got {dims:?}"))) };
    if [&dims[..1], &dims[2..]].concat() != places || count(&dims) == Some(0) {
        return Err(problem(format!("targets {places:?} do not fit {dims:?}")));
    }
    let inner: usize = places[1..].iter().product();
    let mut target = lowering.redimensioned(target, &[n, 1, inner])?;
    let number = |value: f64| -> Lowered<Value> { Ok(Array::from_f64(&[], kind, &[value])?.into()) };
    let mut weights = lowering.expanded(&number(1.0)?, &[n, 1, inner])?;
    let ignored = call.maybe_int("ignore_index")?;
    let mut is_ignored = None;
    if let Some(ignored) = ignored {
        let like = |value: i64| -> Lowered<Value> { Ok(Array::from_f64(&[], target.kind(), &[value as f64])?.into()) };
        let (ignored, zero) = (like(ignored)?, like(0)?);
        let mask = lowering.apply("Equal", &[target.clone(), ignored], vec![])?;
        target = lowering.apply("Where", &[mask.clone(), zero, target], vec![])?;
        is_ignored = Some(mask);
    }
    if call.has(2) {
        if call.value(2).dims() != [classes] {
            return Err(problem(format!("the weights are {:?}, expected [{classes}]", call.value(2).dims())));
        }
        weights = lowering.apply("Gather", &[call.value(2).clone(), target.clone()], vec![])?;
    }
    if let Some(mask) = is_ignored {
        weights = lowering.apply("Where", &[mask, number(0.0)?, weights], vec![])?;
    }
    let rows = lowering.redimensioned(logs, &[n, classes, inner])?;
    let own = lowering.apply("GatherElements", &[rows, target], vec![("axis", Attribute::Int(1))])?;
    let own = lowering.apply("Neg", &[own], vec![])?;
    let losses = lowering.apply("Mul", &[own, weights.clone()], vec![])?;
    let sum =
        |lowering: &mut Lowering, x: Value| lowering.apply("ReduceSum", &[x], vec![("keepdims", Attribute::Int(0))]);
    match call.text("reduction", "mean")? {
        "none" => lowering.redimensioned(&losses, &places),
        "sum" => sum(lowering, losses),
        "mean" => {
            let (sum, weight) = (sum(lowering, losses)?, sum(lowering, weights)?);
            lowering.apply("Div", &[sum, weight], vec![])
        }
        other => Err(problem(format!("the reduction {other:?} is not covered"))),
    }
}
