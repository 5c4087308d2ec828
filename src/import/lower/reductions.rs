//! Sums, extremes, softmax and other operators along axes.

use super::{Call, Lower, Lowered, Lowering, Value, held, problem};
use crate::graph::NodeId;
use crate::import::array::{Array, Kind, count};
use crate::ops::cumulative_sum::CumulativeSum;
use crate::ops::extremum::Extremum;
use crate::ops::reduce::{Axes, Kind as Reduction, Reduce};
use crate::ops::softmax::Softmax;
use crate::ops::top_k::TopK;

pub fn find(op: &str) -> Option<Lower> {
    Some(match op {
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2" => reduce,
        "ReduceSumSquare" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceProd" => reduce,
        "ArgMax" | "ArgMin" => arg_extremum,
        "Softmax" | "LogSoftmax" => softmax,
        "Hardmax" => hardmax,
        "TopK" => top_k,
        "CumSum" => cumulative_sum,
        _ => return None,
    })
}

/// Returns the axes of a reduction and whether they are kept: all of them if none are given, and none if the node says so.
pub fn axes(call: &Call, rank: usize) -> Lowered<(Vec<usize>, bool)> {
    let keep = call.flag("keepdims", true)?;
    let is_noop = call.flag("noop_with_empty_axes", false)?;
    let given = match call.ints("axes")? {
        Some(axes) => Some(axes.to_vec()),
        None => call.known_ints(1, "axes")?,
    };
    let mut axes: Vec<usize> = match given.filter(|axes| !axes.is_empty()) {
        Some(axes) => axes.into_iter().map(|axis| Call::axis(axis, rank)).collect::<Lowered<_>>()?,
        None if is_noop => vec![],
        None => (0..rank).collect(),
    };
    axes.sort_unstable();
    axes.dedup();
    Ok((axes, keep))
}

/// Returns what is left of the dimensions.
fn left(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept = |(d, &n): (usize, &usize)| if axes.contains(&d) { keep.then_some(1) } else { Some(n) };
    dims.iter().enumerate().filter_map(kept).collect()
}

fn reduce(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let op = call.node.op.as_str();
    let (axes, keep) = axes(call, x.dims().len())?;
    let dims = left(x.dims(), &axes, keep);
    if count(x.dims()) == Some(0) {
        return empty(op, x, &dims);
    }
    if !x.kind().is_float() && !matches!(op, "ReduceMax" | "ReduceMin" | "ReduceSum") {
        return Err(problem(format!("reduces {} in a run; convert it to float32", x.kind())));
    }
    let id = lowering.f32(x)?;
    let terms: usize = axes.iter().map(|&axis| x.dims()[axis]).product();
    let y = lowering.reduced(op, id, &axes)?;
    let limit = if op == "ReduceSum" { x.limit() * terms as f64 } else { x.limit() };
    super::check_exact(x.kind(), limit)?;
    Ok(vec![lowering.integer(y, &dims, x.kind(), limit)?])
}

/// The value of a reduction of nothing.
fn empty(op: &str, x: &Value, dims: &[usize]) -> Lowered {
    let value = match op {
        "ReduceSum" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => 0.0,
        "ReduceProd" => 1.0,
        "ReduceMax" | "ReduceLogSum" | "ReduceLogSumExp" if x.kind().is_float() => f64::NEG_INFINITY,
        "ReduceMin" if x.kind().is_float() => f64::INFINITY,
        "ReduceMax" => x.kind().range().0 as f64,
        "ReduceMin" => x.kind().range().1 as f64,
        _ => return Err("the mean of nothing is not defined".into()),
    };
    let total = held(dims)?;
    Ok(vec![Array::from_f64(dims, x.kind(), &vec![value; total])?.into()])
}

impl Lowering<'_> {
    /// Returns a node reduced over axes, which are kept.
    fn reduced(&mut self, op: &str, x: NodeId, axes: &[usize]) -> Lowered<NodeId> {
        if axes.is_empty() {
            return Ok(match op {
                "ReduceL1" | "ReduceL2" => self.graph.pointwise(x, "abs")?,
                "ReduceSumSquare" => self.graph.binary(x, x, "mul")?,
                "ReduceLogSum" => self.graph.pointwise(x, "log")?,
                _ => x,
            });
        }
        let keep = Axes { axes: axes.to_vec(), keep: true };
        let with = |l: &mut Self, x: NodeId, kind: Reduction| -> Lowered<NodeId> {
            let axes = keep.clone();
            Ok(l.graph.add(Reduce { kind, axes }, &[x])?)
        };
        match op {
            "ReduceSum" => with(self, x, Reduction::Sum),
            "ReduceMean" => with(self, x, Reduction::Mean),
            "ReduceL2" => with(self, x, Reduction::L2),
            "ReduceL1" => {
                let a = self.graph.pointwise(x, "abs")?;
                with(self, a, Reduction::Sum)
            }
            "ReduceSumSquare" => {
                let square = self.graph.binary(x, x, "mul")?;
                with(self, square, Reduction::Sum)
            }
            "ReduceLogSum" => {
                let sum = with(self, x, Reduction::Sum)?;
                Ok(self.graph.pointwise(sum, "log")?)
            }
            // m + log Σ exp(x − m) with the maximum m.
            "ReduceLogSumExp" => {
                let (m, _) = self.graph.extremum(x, Extremum { largest: true, axes: keep.clone() })?;
                let rest = self.graph.binary(x, m, "sub")?;
                let e = self.graph.pointwise(rest, "exp")?;
                let sum = with(self, e, Reduction::Sum)?;
                let log = self.graph.pointwise(sum, "log")?;
                Ok(self.graph.binary(m, log, "add")?)
            }
            "ReduceMax" | "ReduceMin" => {
                Ok(self.graph.extremum(x, Extremum { largest: op == "ReduceMax", axes: keep.clone() })?.0)
            }
            _ => with(self, x, Reduction::Product),
        }
    }
}

fn arg_extremum(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = x.dims().len();
    let axis = Call::axis(call.int("axis", 0)?, rank)?;
    let keep = call.flag("keepdims", true)?;
    let largest = call.node.op == "ArgMax";
    let dims = left(x.dims(), &[axis], keep);
    let size = x.dims().get(axis).copied().unwrap_or(1);
    let takes_last = call.flag("select_last_index", false)?;
    let source = if takes_last && size > 1 { lowering.sliced(x, axis, size - 1, -1, size)? } else { x.clone() };
    let id = lowering.f32(&source)?;
    let (_, indices) =
        lowering.graph.extremum(id, Extremum { largest, axes: Axes { axes: vec![axis], keep: true } })?;
    let y = lowering.integer(indices, &dims, Kind::I64, size as f64)?;
    if !takes_last || size <= 1 {
        return Ok(vec![y]);
    }
    let last: Value = Array::int(size as i64 - 1).into();
    Ok(vec![lowering.apply("Sub", &[last, y], vec![])?])
}

/// Returns the dimensions and the axis along which probabilities lie. Before version 13, all axes from the given one on are one.
fn distribution(call: &Call, dims: &[usize]) -> Lowered<(Vec<usize>, usize)> {
    let is_old = call.opset < 13;
    let axis = Call::axis(call.int("axis", if is_old { 1 } else { -1 })?, dims.len())?;
    let (rows, columns) = dims.split_at(axis);
    Ok(if is_old && columns.len() > 1 {
        (vec![rows.iter().product(), columns.iter().product()], 1)
    } else {
        (dims.to_vec(), axis)
    })
}

fn softmax(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let log = call.node.op == "LogSoftmax";
    let (seen, along) = distribution(call, x.dims())?;
    let id = lowering.shaped(x, &seen)?;
    let y = lowering.graph.add(Softmax { axis: along, log }, &[id])?;
    Ok(vec![lowering.float(y, x.dims(), x.kind())?])
}

/// 1 at the first maximum, 0 elsewhere.
fn hardmax(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let (seen, along) = distribution(call, x.dims())?;
    let id = lowering.shaped(x, &seen)?;
    let (_, at) =
        lowering.graph.extremum(id, Extremum { largest: true, axes: Axes { axes: vec![along], keep: false } })?;
    let y = lowering.graph.add(crate::ops::one_hot::OneHot { classes: seen[along], axis: along }, &[at])?;
    Ok(vec![lowering.float(y, x.dims(), x.kind())?])
}

fn top_k(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["sorted"]);
    let x = call.input(0)?;
    let k = match call.maybe_int("k")? {
        Some(k) => k,
        None => call.known_ints(1, "k")?.and_then(|k| k.first().copied()).ok_or("has no k")?,
    };
    let axis = Call::axis(call.int("axis", -1)?, x.dims().len())?;
    let largest = call.flag("largest", true)?;
    let size = x.dims()[axis];
    let k = usize::try_from(k)
        .ok()
        .filter(|&k| k <= size)
        .ok_or_else(|| problem(format!("k is {k}, expected 0 to {size}")))?;
    let mut dims = x.dims().to_vec();
    dims[axis] = k;
    if k == 0 {
        return Ok(vec![lowering.empty(x, &dims)?, Array::from_f64(&dims, Kind::I64, &[])?.into()]);
    }
    super::check_exact(x.kind(), x.limit())?;
    let id = lowering.f32(x)?;
    let y = lowering.graph.add(TopK { k, axis, largest }, &[id])?;
    let indices = lowering.graph.output(y, "indices")?;
    Ok(vec![
        lowering.integer(y, &dims, x.kind(), x.limit())?,
        lowering.integer(indices, &dims, Kind::I64, size as f64)?,
    ])
}

fn cumulative_sum(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let axis = call.known_ints(1, "axis")?.and_then(|axis| axis.first().copied()).ok_or("has no axis")?;
    let axis = Call::axis(axis, x.dims().len())?;
    let (exclusive, reverse) = (call.flag("exclusive", false)?, call.flag("reverse", false)?);
    let limit = x.limit() * x.dims()[axis] as f64;
    super::check_exact(x.kind(), limit)?;
    let id = lowering.f32(x)?;
    let y = lowering.graph.add(CumulativeSum { axis, exclusive, reverse }, &[id])?;
    Ok(vec![lowering.integer(y, x.dims(), x.kind(), limit)?])
}
