//! What picks elements by their values, so that the size of the result depends on them: evaluated when a network is built.
//!
//! Source: NonMaxSuppression, NonZero and Unique of ONNX's Operators.md.

use super::{Call, Lowered, Value, problem};
use crate::import::array::{Array, Data, Kind, MAX_MADE_UP, count};

/// The most elements of which repetitions are sought: each is held with its place, in some 60 bytes.
const MAX_UNIQUE: usize = 1 << 22;

/// The most pairs of boxes that are compared: a few seconds' work, and a hundred times what a detector's outputs take.
const MAX_PAIRS: usize = if cfg!(fuzzing) { 1 << 22 } else { 1 << 30 };

/// Returns the outputs of an operator of this file, whose inputs are known; `None` for any other.
pub fn evaluate(call: &Call) -> Lowered<Option<Vec<Value>>> {
    match call.node.op.as_str() {
        "NonZero" => Ok(Some(vec![non_zero(call)?.into()])),
        "Unique" => unique(call).map(Some),
        "NonMaxSuppression" => Ok(Some(vec![non_max_suppression(call)?.into()])),
        _ => Ok(None),
    }
}

fn known<'a>(call: &'a Call, i: usize) -> Lowered<&'a Array> {
    call.input(i)?.known().ok_or_else(|| problem("its inputs must be known before a run".into()))
}

fn non_zero(call: &Call) -> Lowered<Array> {
    let x = known(call, 0)?;
    let dims = if x.dims().is_empty() { vec![1] } else { x.dims().to_vec() };
    let found: Vec<usize> = x.to_f64().iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, _)| i).collect();
    let total = count(&[found.len(), dims.len()]).filter(|&n| n <= MAX_MADE_UP).ok_or("the result is too large")?;
    let mut all = Vec::with_capacity(total);
    for d in 0..dims.len() {
        let inner: usize = dims[d + 1..].iter().map(|&n| n.max(1)).product();
        all.extend(found.iter().map(|&i| (i / inner % dims[d]) as i64));
    }
    Ok(Array::new(&[dims.len(), found.len()], Kind::I64, Data::Int(all))?)
}

/// Returns integers that are in the order of the elements, NaN last.
fn order(x: &Array) -> Vec<i64> {
    let of = |v: f64| {
        // −0 and 0 are equal, as are all NaNs.
        let bits = if v.is_nan() { f64::NAN } else { v + 0.0 }.to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    };
    match x.data() {
        Data::Int(values) => values.clone(),
        _ => x.to_f64().into_iter().map(of).collect(),
    }
}

/// Elements, or slices of an axis, without repetitions; where each first occurs, which of them each one is, and how often it occurs.
fn unique(call: &Call) -> Lowered {
    let x = known(call, 0)?;
    if x.is_empty() || x.len() > MAX_UNIQUE {
        return Err(problem(format!("{:?} has no elements, or more than {MAX_UNIQUE}", x.dims())));
    }
    let is_sorted = call.flag("sorted", true)?;
    let axis = call.maybe_int("axis")?;
    let dims = match axis {
        Some(_) => x.dims().to_vec(),
        None => vec![x.len()],
    };
    let axis = Call::axis(axis.unwrap_or(0), dims.len())?;
    let (size, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let outer: usize = dims[..axis].iter().product();
    let place = |o: usize, k: usize, i: usize| (o * size + k) * inner + i;
    let numbers = order(x);
    let slice = |k: usize| -> Vec<i64> {
        (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))).map(|(o, i)| numbers[place(o, k, i)]).collect()
    };
    let slices: Vec<Vec<i64>> = (0..size).map(slice).collect();
    let mut sorted: Vec<usize> = (0..size).collect();
    // Equal slices stay in the order in which they occur.
    sorted.sort_by(|&a, &b| slices[a].cmp(&slices[b]));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for k in sorted {
        match groups.last_mut() {
            Some(group) if slices[group[0]] == slices[k] => group.push(k),
            _ => groups.push(vec![k]),
        }
    }
    if !is_sorted {
        groups.sort_by_key(|group| group[0]);
    }
    let mut own = dims.clone();
    own[axis] = groups.len();
    let total = count(&own).ok_or("the input is too large")?;
    let at = |at: usize| Some(place(at / inner / groups.len(), groups[at / inner % groups.len()][0], at % inner));
    let y = x.take(&own, (0..total).map(at), 0.0)?;
    let mut inverse = vec![0; size];
    for (g, group) in groups.iter().enumerate() {
        group.iter().for_each(|&k| inverse[k] = g as i64);
    }
    let firsts = Array::ints(groups.iter().map(|group| group[0] as i64));
    Ok(vec![
        y.into(),
        firsts.into(),
        Array::ints(inverse).into(),
        Array::ints(groups.iter().map(|group| group.len() as i64)).into(),
    ])
}

/// Returns the lower and the upper end on each axis of a box.
fn ends(corners: &[f64], is_centered: bool) -> [[f64; 2]; 2] {
    let &[a, b, c, d] = corners else { return [[0.0; 2]; 2] };
    if is_centered {
        [[a - c / 2.0, a + c / 2.0], [b - d / 2.0, b + d / 2.0]]
    } else {
        [[a.min(c), a.max(c)], [b.min(d), b.max(d)]]
    }
}

/// Returns the common area of two boxes as a part of that of both together.
fn overlap(a: [[f64; 2]; 2], b: [[f64; 2]; 2]) -> f64 {
    let area = |x: [[f64; 2]; 2]| (x[0][1] - x[0][0]) * (x[1][1] - x[1][0]);
    let length = |d: usize| (a[d][1].min(b[d][1]) - a[d][0].max(b[d][0])).max(0.0);
    let common = length(0) * length(1);
    if common <= 0.0 || area(a) <= 0.0 || area(b) <= 0.0 { 0.0 } else { common / (area(a) + area(b) - common) }
}

/// The best boxes of each class that overlap none of those before them by more than a threshold.
fn non_max_suppression(call: &Call) -> Lowered<Array> {
    let (boxes, scores) = (known(call, 0)?, known(call, 1)?);
    let (&[n, m, 4], &[pictures, classes, others]) = (boxes.dims(), scores.dims()) else {
        return Err(problem(format!(
            "expected boxes [N, M, 4] and scores [N, C, M], got {:?} and {:?}",
            boxes.dims(),
            scores.dims()
        )));
    };
    if [pictures, others] != [n, m] {
        return Err(problem(format!("scores {:?} do not fit boxes {:?}", scores.dims(), boxes.dims())));
    }
    let is_centered = call.flag("center_point_box", false)?;
    let most = call.known_ints(2, "number of boxes")?.and_then(|v| v.first().copied()).unwrap_or(0).max(0) as usize;
    let threshold = call.known_floats(3, "threshold")?.and_then(|v| v.first().copied()).unwrap_or(0.0);
    let least = call.known_floats(4, "threshold")?.and_then(|v| v.first().copied());
    let (boxes, scores) = (boxes.to_f64(), scores.to_f64());
    let mut chosen = Vec::new();
    let mut pairs = 0usize;
    for (picture, class) in (0..n).flat_map(|n| (0..classes).map(move |c| (n, c))) {
        let own = &scores[(picture * classes + class) * m..][..m];
        let mut candidates: Vec<usize> = (0..m).filter(|&k| least.is_none_or(|least| own[k] > least)).collect();
        candidates.sort_by(|&a, &b| own[b].total_cmp(&own[a]).then(a.cmp(&b)));
        let mut kept: Vec<[[f64; 2]; 2]> = Vec::new();
        for k in candidates {
            if kept.len() >= most {
                break;
            }
            pairs += kept.len();
            if pairs > MAX_PAIRS {
                return Err("has too many boxes; raise its score threshold, or lower its number of boxes".into());
            }
            let candidate = ends(&boxes[(picture * m + k) * 4..][..4], is_centered);
            if kept.iter().all(|&other| overlap(candidate, other) <= threshold) {
                kept.push(candidate);
                chosen.extend([picture as i64, class as i64, k as i64]);
            }
        }
    }
    Ok(Array::new(&[chosen.len() / 3, 3], Kind::I64, Data::Int(chosen))?)
}
