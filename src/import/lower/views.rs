//! Operators that only move elements: views, joins, and elements by position.

use super::{Call, Computed, EXACT, Lower, Lowered, Lowering, Value, held, problem, shape};
use crate::import::array::{Array, Data, Kind, MAX_MADE_UP, count};
use crate::ops::gather::Gather;
use crate::ops::one_hot::OneHot;
use crate::ops::pixel_shuffle::PixelShuffle;
use crate::ops::scatter_add::ScatterAdd;
use crate::ops::view::{Axis, Border, View};
use crate::tensor::{MAX_RANK, Shape};

pub fn find(op: &str) -> Option<Lower> {
    Some(match op {
        "Identity" => identity,
        "Dropout" => dropout,
        "Reshape" => reshape,
        "Flatten" => flatten,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Transpose" => transpose,
        "Slice" => slice,
        "Split" => split,
        "Concat" => concat,
        "Expand" => expand,
        "Tile" => tile,
        "Pad" => pad,
        "DepthToSpace" => depth_to_space,
        "SpaceToDepth" => space_to_depth,
        "Gather" => gather,
        "GatherElements" => gather_elements,
        "GatherND" => gather_nd,
        "ScatterElements" | "Scatter" => scatter_elements,
        "ScatterND" => scatter_nd,
        "OneHot" => one_hot,
        "Trilu" => trilu,
        "Compress" => compress,
        "ReverseSequence" => reverse_sequence,
        "CenterCropPad" => center_crop_pad,
        _ => return None,
    })
}

/// The most updates of one place by a scatter: each is a few steps of the plan.
const MAX_ROUNDS: usize = 256;

/// Returns the shape that a view takes of dimensions: those of a scalar are `[1]`.
fn view_shape(dims: &[usize]) -> Lowered<Shape> {
    shape(dims)
}

/// Returns the number of elements of these dimensions, which may be more than those of the array only up to a limit.
fn made_up(from: &Array, dims: &[usize]) -> Lowered<usize> {
    let total = count(dims).filter(|&n| n <= from.len().max(MAX_MADE_UP));
    total.ok_or_else(|| problem(format!("{:?} becomes {dims:?}, which is too large", from.dims())))
}

impl Lowering<'_> {
    /// Returns the same elements with other dimensions.
    pub fn redimensioned(&mut self, x: &Value, dims: &[usize]) -> Lowered<Value> {
        if count(dims).is_none() || count(dims) != count(x.dims()) {
            return Err(problem(format!("{:?} cannot be reshaped to {dims:?}", x.dims())));
        }
        match x {
            Value::Absent => Err("an input is missing".into()),
            Value::Known(known) if known.array.dims() == dims => Ok(x.clone()),
            Value::Known(known) if known.name.is_none() || !known.array.kind().is_float() => {
                Ok(known.array.reshaped(dims)?.into())
            }
            Value::Known(_) => {
                // A weight stays one, so that all sessions share it.
                let id = self.shaped(x, dims)?;
                self.float(id, dims, x.kind())
            }
            Value::Computed(computed) => {
                let id = self.reshape(computed.id, dims)?;
                Ok(Value::Computed(Computed { id, dims: dims.to_vec(), ..computed.clone() }))
            }
        }
    }

    /// Returns what a view of x takes.
    pub fn viewed(&mut self, x: &Value, view: View) -> Lowered<Value> {
        let from = view_shape(x.dims())?;
        let to = crate::ops::Op::shape(&view, &[from]).map_err(|e| problem(e.to_string()))?;
        if let Some(array) = x.known() {
            made_up(array, &to)?;
            let fill = if let Border::Constant(value) = view.border { f64::from(value) } else { 0.0 };
            let sources = view.sources(&crate::ops::Io { x: &[from], y: to });
            return Ok(array.take(&to, sources.into_iter(), fill)?.into());
        }
        let id = self.f32(x)?;
        let y = self.graph.add(view, &[id])?;
        self.integer(y, &to, x.kind(), x.limit())
    }

    /// Returns the axes in another order.
    pub fn permuted(&mut self, x: &Value, axes: &[usize]) -> Lowered<Value> {
        if axes.iter().copied().eq(0..x.dims().len()) {
            return Ok(x.clone());
        }
        let dims = x.dims();
        let moved: Vec<usize> = axes.iter().map(|&axis| dims.get(axis).copied().unwrap_or(0)).collect();
        let is_order_kept = axes.iter().filter(|&&axis| dims.get(axis).is_some_and(|&d| d > 1)).is_sorted();
        if count(dims) == Some(0) || (is_order_kept && axes.len() == dims.len()) {
            return self.redimensioned(x, &moved);
        }
        let view = View::permute(view_shape(dims)?, axes).map_err(|e| problem(e.to_string()))?;
        self.viewed(x, view)
    }

    /// Returns `len` positions of an axis from `start` on, `step` apart.
    pub fn sliced(&mut self, x: &Value, axis: usize, start: usize, step: i64, len: usize) -> Lowered<Value> {
        let mut dims = x.dims().to_vec();
        if start == 0 && step == 1 && len == dims[axis] {
            return Ok(x.clone());
        }
        dims[axis] = len;
        if count(&dims) == Some(0) {
            return self.empty(x, &dims);
        }
        let mut view = View::of(view_shape(x.dims())?);
        view.start[axis] = start as i64;
        (view.axes[axis].len, view.axes[axis].step) = (len, if len == 1 { 1 } else { step });
        self.viewed(x, view)
    }

    /// Returns a value without elements, of x's type.
    pub fn empty(&self, x: &Value, dims: &[usize]) -> Lowered<Value> {
        Ok(Array::from_f64(dims, x.kind(), &[])?.into())
    }

    /// Returns the values one after the other along an axis.
    pub fn joined(&mut self, parts: &[Value], axis: usize) -> Lowered<Value> {
        let first = parts.first().ok_or("has no inputs")?;
        let (kind, mut dims) = (first.kind(), first.dims().to_vec());
        *dims.get_mut(axis).ok_or_else(|| problem(format!("{kind} {:?} has no axis {axis}", first.dims())))? = 0;
        for part in parts {
            let own = part.dims();
            let fits = own.len() == dims.len() && (0..dims.len()).all(|d| d == axis || own[d] == dims[d]);
            if !fits || part.kind() != kind {
                let (a, b) = (first.dims(), part.kind());
                return Err(problem(format!("{kind} {a:?} and {b} {own:?} cannot be joined along axis {axis}")));
            }
            dims[axis] += own[axis];
        }
        let parts: Vec<&Value> = parts.iter().filter(|part| count(part.dims()) != Some(0)).collect();
        let arrays: Option<Vec<&Array>> = parts.iter().map(|part| part.known()).collect();
        if let Some(arrays) = arrays {
            return Ok(joined(&arrays, &dims, axis, kind)?.into());
        }
        let limit = parts.iter().map(|part| part.limit()).fold(0.0, f64::max);
        let ids: Vec<_> = parts.iter().map(|part| self.f32(part)).collect::<Lowered<_>>()?;
        let y = self.graph.concat_all(&ids, axis)?;
        self.integer(y, &dims, kind, limit)
    }

    /// Returns the elements along an axis at known positions, which are below its size.
    pub fn taken(&mut self, x: &Value, axis: usize, at: &[usize]) -> Lowered<Value> {
        let mut dims = x.dims().to_vec();
        dims[axis] = at.len();
        if count(&dims) == Some(0) {
            return self.empty(x, &dims);
        }
        // Positions at equal distances are a view.
        let step = at.get(1).map_or(1, |&second| second as i64 - at[0] as i64);
        let is_even = at.windows(2).all(|two| two[1] as i64 - two[0] as i64 == step);
        if is_even && step != 0 {
            return self.sliced(x, axis, at[0], step, at.len());
        }
        if let Some(array) = x.known() {
            let (size, inner) = (array.dims()[axis], array.dims()[axis + 1..].iter().product::<usize>());
            let total = made_up(array, &dims)?;
            let from = |i: usize| Some((i / inner / at.len() * size + at[i / inner % at.len()]) * inner + i % inner);
            return Ok(array.take(&dims, (0..total).map(from), 0.0)?.into());
        }
        let id = self.f32(x)?;
        let indices = self.u32(&Array::ints(at.iter().map(|&at| at as i64)).into())?;
        let y = self.graph.add(Gather { axis, elements: false }, &[id, indices])?;
        self.integer(y, &dims, x.kind(), x.limit())
    }

    /// Returns indices as u32, in which a negative number, which counts from the end of an axis, is replaced.
    fn indices(&mut self, indices: &Value, size: usize) -> Lowered<Value> {
        if let Some(array) = indices.known() {
            let at = positions(array, size)?;
            return Ok(Array::new(array.dims(), Kind::I64, Data::Int(at.iter().map(|&at| at as i64).collect()))?.into());
        }
        if size as f64 > EXACT {
            return Err(problem(format!("computed indices of an axis of {size} are not covered, at most 2^24")));
        }
        let id = self.f32(indices)?;
        let (zero, behind) = (self.scalar(0.0)?, self.by("add", id, size as f64)?);
        let is_negative = self.graph.compare(id, zero, "less")?;
        let id = self.graph.add(crate::ops::select::Select, &[is_negative, behind, id])?;
        self.integer(id, indices.dims(), Kind::I64, size as f64)
    }
}

fn joined(arrays: &[&Array], dims: &[usize], axis: usize, kind: Kind) -> Lowered<Array> {
    let inner: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    let lines = |array: &Array| array.dims()[axis] * inner;
    macro_rules! join {
        ($variant:ident) => {{
            let mut all = Vec::with_capacity(held(dims)?);
            for o in 0..outer {
                for array in arrays {
                    if let Data::$variant(values) = array.data() {
                        all.extend_from_slice(&values[o * lines(array)..(o + 1) * lines(array)]);
                    }
                }
            }
            Data::$variant(all)
        }};
    }
    let data = match kind {
        Kind::F64 => join!(F64),
        kind if kind.is_float() => join!(F32),
        _ => join!(Int),
    };
    Ok(Array::new(dims, kind, data)?)
}

/// Returns indices along an axis as positions: negative ones count from the end.
fn positions(indices: &Array, size: usize) -> Lowered<Vec<usize>> {
    let ints = indices.to_ints().ok_or("indices must be integers")?;
    let at =
        ints.iter().map(|&i| usize::try_from(if i < 0 { i + size as i64 } else { i }).ok().filter(|&at| at < size));
    at.collect::<Option<Vec<_>>>().ok_or_else(|| problem(format!("an index is outside of an axis of {size}")))
}

fn identity(_: &mut Lowering, call: &Call) -> Lowered {
    Ok(vec![call.input(0)?.clone()])
}

/// In inference, dropout changes nothing, and its mask is true everywhere.
fn dropout(_: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["ratio", "seed", "is_test"]);
    let trains =
        call.has(2) && call.known_ints(2, "training_mode")?.is_some_and(|mode| mode.first().is_some_and(|&v| v != 0));
    if trains && call.known_floats(1, "ratio")?.and_then(|ratio| ratio.first().copied()) != Some(0.0) {
        return Err("drops elements at random, as in training; export the network for inference".into());
    }
    let x = call.input(0)?;
    let mut outputs = vec![x.clone()];
    if call.node.outputs.len() > 1 {
        let kept = vec![1; held(x.dims())?];
        outputs.push(Array::new(x.dims(), Kind::Bool, Data::Int(kept))?.into());
    }
    Ok(outputs)
}

fn reshape(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let wanted = match call.ints("shape")? {
        Some(shape) if call.opset < 5 => shape.to_vec(),
        _ => call.known_ints(1, "shape")?.ok_or("has no shape")?,
    };
    let keeps_zeros = call.flag("allowzero", false)?;
    let mut dims = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (d, &size) in wanted.iter().enumerate() {
        dims.push(match size {
            0 if !keeps_zeros => {
                *x.dims().get(d).ok_or_else(|| problem(format!("the shape {wanted:?} does not fit {:?}", x.dims())))?
            }
            -1 if free.replace(d).is_none() => 1,
            size => usize::try_from(size).map_err(|_| problem(format!("the shape {wanted:?} is not valid")))?,
        });
    }
    if let Some(free) = free {
        let rest = count(&dims)
            .filter(|&n| n > 0)
            .ok_or_else(|| problem(format!("the shape {wanted:?} leaves no size for -1")))?;
        dims[free] = count(x.dims()).ok_or("the input is too large")? / rest;
    }
    Ok(vec![lowering.redimensioned(x, &dims)?])
}

fn flatten(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let (rank, axis) = (x.dims().len() as i64, call.int("axis", 1)?);
    let axis = if axis < 0 { axis + rank } else { axis };
    let axis = usize::try_from(axis).ok().filter(|&axis| axis <= x.dims().len()).ok_or("the axis does not exist")?;
    let (rows, columns) = x.dims().split_at(axis);
    Ok(vec![lowering.redimensioned(x, &[rows.iter().product(), columns.iter().product()])?])
}

/// Returns axes from input 1, or before opset 13 from the attribute.
fn given_axes(call: &Call) -> Lowered<Option<Vec<i64>>> {
    match call.ints("axes")? {
        Some(axes) => Ok(Some(axes.to_vec())),
        None => call.known_ints(1, "axes"),
    }
}

fn squeeze(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = x.dims().len();
    let axes: Vec<usize> = match given_axes(call)? {
        Some(axes) => axes.into_iter().map(|axis| Call::axis(axis, rank)).collect::<Lowered<_>>()?,
        None => (0..rank).filter(|&d| x.dims()[d] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| x.dims()[axis] != 1) {
        return Err(problem(format!("axis {axis} of {:?} is not 1", x.dims())));
    }
    let dims: Vec<usize> = (0..rank).filter(|d| !axes.contains(d)).map(|d| x.dims()[d]).collect();
    Ok(vec![lowering.redimensioned(x, &dims)?])
}

fn unsqueeze(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let axes = given_axes(call)?.ok_or("has no axes")?;
    let rank = x.dims().len() + axes.len();
    let axes: Vec<usize> = axes.into_iter().map(|axis| Call::axis(axis, rank)).collect::<Lowered<_>>()?;
    let mut rest = x.dims().iter();
    let dims: Option<Vec<usize>> =
        (0..rank).map(|d| if axes.contains(&d) { Some(1) } else { rest.next().copied() }).collect();
    let dims = dims.ok_or("an axis occurs twice")?;
    Ok(vec![lowering.redimensioned(x, &dims)?])
}

fn transpose(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = x.dims().len();
    let axes: Vec<usize> = match call.ints("perm")? {
        Some(perm) => perm.iter().map(|&axis| Call::axis(axis, rank)).collect::<Lowered<_>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(problem(format!("perm {axes:?} does not fit {:?}", x.dims())));
    }
    Ok(vec![lowering.permuted(x, &axes)?])
}

fn slice(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = x.dims().len();
    let (starts, ends, axes, steps) = if call.opset < 10 {
        (
            call.ints("starts")?.map(<[i64]>::to_vec),
            call.ints("ends")?.map(<[i64]>::to_vec),
            call.ints("axes")?.map(<[i64]>::to_vec),
            None,
        )
    } else {
        (
            call.known_ints(1, "starts")?,
            call.known_ints(2, "ends")?,
            call.known_ints(3, "axes")?,
            call.known_ints(4, "steps")?,
        )
    };
    let (starts, ends) = (starts.ok_or("has no starts")?, ends.ok_or("has no ends")?);
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps have different lengths".into());
    }
    // All axes are one view, so that one step does it.
    let mut dims = x.dims().to_vec();
    let mut walks: Vec<(i64, i64)> = vec![(0, 1); rank];
    for (k, &axis) in axes.iter().enumerate() {
        let axis = Call::axis(axis, rank)?;
        let (size, step) = (x.dims()[axis] as i64, steps[k]);
        if step == 0 {
            return Err("a step is 0".into());
        }
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let inside = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(low, high.max(low));
        let (start, end) = (inside(starts[k]), inside(ends[k]));
        let distance = if step > 0 { end - start } else { start - end };
        dims[axis] = (distance.max(0) as u64).div_ceil(step.unsigned_abs()) as usize;
        walks[axis] = (start, if dims[axis] <= 1 { 1 } else { step });
    }
    if count(&dims) == Some(0) {
        return Ok(vec![lowering.empty(x, &dims)?]);
    }
    if dims == x.dims() && walks.iter().all(|&walk| walk == (0, 1)) {
        return Ok(vec![x.clone()]);
    }
    let mut view = View::of(view_shape(x.dims())?);
    for (axis, (start, step)) in walks.into_iter().enumerate() {
        view.start[axis] = start;
        view.axes[axis] = Axis { source: Some(axis), step, len: dims[axis] };
    }
    Ok(vec![lowering.viewed(x, view)?])
}

fn split(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let axis = Call::axis(call.int("axis", 0)?, x.dims().len())?;
    let size = x.dims()[axis];
    let parts = call.int("num_outputs", call.node.outputs.len() as i64)?;
    let parts = usize::try_from(parts).ok().filter(|&n| n > 0 && n <= call.node.outputs.len());
    let parts = parts.ok_or("num_outputs is not the number of its outputs")?;
    let given = match call.ints("split")? {
        Some(sizes) => Some(sizes.to_vec()),
        None => call.known_ints(1, "split")?,
    };
    let sizes: Vec<usize> = match given {
        Some(sizes) => {
            let sizes: Option<Vec<usize>> = sizes.iter().map(|&v| usize::try_from(v).ok()).collect();
            sizes.ok_or("a size is negative")?
        }
        // The last part is smaller if the axis does not divide.
        None => {
            let each = size.div_ceil(parts);
            (0..parts).map(|k| each.min(size.saturating_sub(k * each))).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)) != Some(size) {
        return Err(problem(format!("the parts {sizes:?} are not the {size} of axis {axis}")));
    }
    let mut start = 0;
    let mut outputs = Vec::with_capacity(sizes.len());
    for len in sizes {
        outputs.push(lowering.sliced(x, axis, start, 1, len)?);
        start += len;
    }
    Ok(outputs)
}

fn concat(lowering: &mut Lowering, call: &Call) -> Lowered {
    let rank = call.input(0)?.dims().len();
    if rank == 0 {
        return Err("scalars cannot be joined".into());
    }
    let axis = Call::axis(call.int("axis", 1)?, rank)?;
    Ok(vec![lowering.joined(&call.inputs, axis)?])
}

fn expand(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let wanted = call.known_ints(1, "shape")?.ok_or("has no shape")?;
    let wanted: Option<Vec<usize>> = wanted.iter().map(|&v| usize::try_from(v).ok()).collect();
    let dims = super::broadcast(x.dims(), &wanted.ok_or("a size is negative")?)?;
    Ok(vec![lowering.expanded(x, &dims)?])
}

impl Lowering<'_> {
    /// Returns x repeated to these dimensions, as NumPy broadcasts.
    pub fn expanded(&mut self, x: &Value, dims: &[usize]) -> Lowered<Value> {
        if dims == x.dims() {
            return Ok(x.clone());
        }
        if count(dims) == count(x.dims()) {
            return self.redimensioned(x, dims);
        }
        if count(dims) == Some(0) {
            return self.empty(x, dims);
        }
        let view = View::expand(view_shape(x.dims())?, shape(dims)?).map_err(|e| problem(e.to_string()))?;
        self.viewed(x, view)
    }
}

/// Every axis that is repeated becomes two, of which the first is expanded; if there are too many then, one axis after the other.
fn tile(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let repeats = call.known_ints(1, "repeats")?.ok_or("has no repeats")?;
    let repeats: Option<Vec<usize>> = repeats.iter().map(|&v| usize::try_from(v).ok()).collect();
    let repeats =
        repeats.filter(|all| all.len() == x.dims().len()).ok_or("there must be one count of at least 0 per axis")?;
    let dims: Vec<usize> = x.dims().iter().zip(&repeats).map(|(size, n)| size.saturating_mul(*n)).collect();
    if count(&dims) == Some(0) {
        return Ok(vec![lowering.empty(x, &dims)?]);
    }
    let mut y = x.clone();
    for (axis, &n) in repeats.iter().enumerate().filter(|(_, n)| **n > 1) {
        let own = y.dims().to_vec();
        let (outer, inner): (usize, usize) = (own[..axis].iter().product(), own[axis..].iter().product());
        let once = lowering.redimensioned(&y, &[outer, 1, inner])?;
        let all = lowering.expanded(&once, &[outer, n, inner])?;
        let mut to = own;
        to[axis] *= n;
        y = lowering.redimensioned(&all, &to)?;
    }
    Ok(vec![y])
}

fn pad(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = x.dims().len();
    let mode = call.text("mode", "constant")?.to_owned();
    let (pads, value, axes) = if call.opset < 11 {
        let name = if call.opset < 2 { "paddings" } else { "pads" };
        (call.ints(name)?.map(<[i64]>::to_vec), call.float("value", 0.0)?.into(), None)
    } else {
        let value = call.known_floats(2, "value")?.and_then(|values| values.first().copied()).unwrap_or(0.0);
        (call.known_ints(1, "pads")?, value, call.known_ints(3, "axes")?)
    };
    let pads = pads.ok_or("has no pads")?;
    let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(problem(format!("has {} pads for {} axes", pads.len(), axes.len())));
    }
    let mut around = vec![(0i64, 0i64); rank];
    for (k, &axis) in axes.iter().enumerate() {
        around[Call::axis(axis, rank)?] = (pads[k], pads[axes.len() + k]);
    }
    Ok(vec![lowering.padded(x, &around, &mode, value)?])
}

/// The largest number of elements before or after an axis: no tensor holds more.
const MAX_PAD: u64 = u32::MAX as u64;

impl Lowering<'_> {
    /// Returns x with so many elements before and after each axis; negative numbers cut off.
    pub fn padded(&mut self, x: &Value, around: &[(i64, i64)], mode: &str, value: f64) -> Lowered<Value> {
        let mut x = x.clone();
        if let Some((before, after)) = around.iter().find(|(b, a)| [b, a].iter().any(|v| v.unsigned_abs() > MAX_PAD)) {
            return Err(problem(format!("pads of {before} and {after} are too large")));
        }
        // What is cut off goes first, as in ONNX Runtime.
        for (axis, &(before, after)) in around.iter().enumerate() {
            let (cut, cut_after) = (before.saturating_neg().max(0) as usize, after.saturating_neg().max(0) as usize);
            let len = x.dims()[axis]
                .checked_sub(cut)
                .and_then(|n| n.checked_sub(cut_after))
                .ok_or("a negative pad is too large")?;
            x = self.sliced(&x, axis, cut, 1, len)?;
        }
        let pads: Vec<(usize, usize)> = around.iter().map(|&(b, a)| (b.max(0) as usize, a.max(0) as usize)).collect();
        if pads.iter().all(|&pad| pad == (0, 0)) {
            return Ok(x);
        }
        let border = match mode {
            "constant" => Border::Constant(value as f32),
            "reflect" => Border::Reflect,
            "edge" => Border::Edge,
            "wrap" => {
                for (axis, &(before, after)) in pads.iter().enumerate().filter(|(_, pad)| **pad != (0, 0)) {
                    let size = x.dims()[axis] as i64;
                    count(&[x.dims()[axis], before + after])
                        .filter(|&n| n <= MAX_MADE_UP)
                        .ok_or("the pads are too large")?;
                    let at = (-(before as i64)..size + after as i64).map(|i| i.rem_euclid(size) as usize);
                    x = self.taken(&x, axis, &at.collect::<Vec<_>>())?;
                }
                return Ok(x);
            }
            other => return Err(problem(format!("the mode {other:?} is not covered"))),
        };
        if mode == "constant" && count(x.dims()) == Some(0) {
            let dims: Vec<usize> = x.dims().iter().zip(&pads).map(|(n, (b, a))| n + b + a).collect();
            let total = held(&dims)?;
            return Ok(Array::from_f64(&dims, x.kind(), &vec![value; total])?.into());
        }
        let limit = x.limit().max(if x.kind().is_float() { f64::INFINITY } else { value.abs() });
        let view = View::pad(view_shape(x.dims())?, &pads, border).map_err(|e| problem(e.to_string()))?;
        let mut y = self.viewed(&x, view)?;
        if let Value::Computed(computed) = &mut y {
            computed.limit = limit;
        }
        Ok(y)
    }
}

fn center_crop_pad(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = x.dims().len();
    let wanted = call.known_ints(1, "shape")?.ok_or("has no shape")?;
    let axes = call.ints("axes")?.map_or_else(|| (0..rank as i64).collect(), <[i64]>::to_vec);
    let mut around = vec![(0, 0); rank];
    for (&axis, &size) in axes.iter().zip(&wanted) {
        let axis = Call::axis(axis, rank)?;
        let more = size.max(0) - x.dims()[axis] as i64;
        // The smaller half lies before, whether it is added or cut off.
        let before = more / 2;
        around[axis] = (before, more - before);
    }
    Ok(vec![lowering.padded(x, &around, "constant", 0.0)?])
}

/// The largest block of pixels: its square fits, and no picture has more channels.
const MAX_BLOCK: usize = 1 << 15;

fn nchw(x: &Value) -> Lowered<[usize; 4]> {
    x.dims().try_into().map_err(|_| problem(format!("expected [N, C, H, W], got {:?}", x.dims())))
}

fn depth_to_space(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let [n, c, h, w] = nchw(x)?;
    let b = call.int("blocksize", 0)?.max(0) as usize;
    if !(1..=MAX_BLOCK).contains(&b) || c % (b * b) != 0 {
        return Err(problem(format!("{c} channels do not split into blocks of {b} × {b}")));
    }
    let (c, mode) = (c / (b * b), call.text("mode", "DCR")?);
    if mode == "CRD" && matches!(x, Value::Computed(_)) && x.kind().is_float() {
        let id = lowering.f32(x)?;
        let y = lowering.graph.add(PixelShuffle { factor: b }, &[id])?;
        return Ok(vec![lowering.plain(y, x.kind())?]);
    }
    let (split, axes) = match mode {
        "DCR" => ([n, b, b, c, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, c, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(problem(format!("the mode {other:?} is not covered"))),
    };
    let y = lowering.redimensioned(x, &split)?;
    let y = lowering.permuted(&y, &axes)?;
    Ok(vec![lowering.redimensioned(&y, &[n, c, h * b, w * b])?])
}

fn space_to_depth(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let [n, c, h, w] = nchw(x)?;
    let b = call.int("blocksize", 0)?.max(0) as usize;
    if !(1..=MAX_BLOCK).contains(&b) || h % b != 0 || w % b != 0 {
        return Err(problem(format!("{h} × {w} pixels do not split into blocks of {b} × {b}")));
    }
    let y = lowering.redimensioned(x, &[n, c, h / b, b, w / b, b])?;
    let y = lowering.permuted(&y, &[0, 3, 5, 1, 2, 4])?;
    Ok(vec![lowering.redimensioned(&y, &[n, c * b * b, h / b, w / b])?])
}

fn gather(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let axis = Call::axis(call.int("axis", 0)?, x.dims().len())?;
    let dims = [&x.dims()[..axis], indices.dims(), &x.dims()[axis + 1..]].concat();
    if let Some(array) = indices.known() {
        let at = positions(array, x.dims()[axis])?;
        let y = lowering.taken(x, axis, &at)?;
        return Ok(vec![lowering.redimensioned(&y, &dims)?]);
    }
    let at = lowering.indices(indices, x.dims()[axis])?;
    let (id, at) = (lowering.f32(x)?, lowering.u32(&at)?);
    let y = lowering.graph.add(Gather { axis, elements: false }, &[id, at])?;
    Ok(vec![lowering.integer(y, &dims, x.kind(), x.limit())?])
}

fn gather_elements(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let axis = Call::axis(call.int("axis", 0)?, x.dims().len())?;
    let at = lowering.indices(indices, x.dims()[axis])?;
    let (id, at) = (lowering.f32(x)?, lowering.u32(&at)?);
    let y = lowering.graph.gather_elements(id, at, axis)?;
    Ok(vec![lowering.integer(y, indices.dims(), x.kind(), x.limit())?])
}

/// Returns the position in the first `indices.dims().last()` axes, after `batch` ones, to which each known index vector points.
fn flat(indices: &Array, dims: &[usize]) -> Lowered<Vec<usize>> {
    let depth = indices.dims().last().copied().ok_or("the indices have no dimensions")?;
    if depth == 0 || depth > dims.len() {
        return Err(problem(format!("index vectors of {depth} do not fit {dims:?}")));
    }
    let ints = indices.to_ints().ok_or("indices must be integers")?;
    let at = |vector: &[i64]| {
        vector.iter().zip(dims).try_fold(0usize, |at, (&i, &size)| {
            let i = usize::try_from(if i < 0 { i + size as i64 } else { i }).ok().filter(|&i| i < size)?;
            Some(at * size + i)
        })
    };
    let all: Option<Vec<usize>> = ints.chunks_exact(depth).map(at).collect();
    all.ok_or_else(|| problem(format!("an index is outside of {dims:?}")))
}

fn gather_nd(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let batch = call.int("batch_dims", 0)?.max(0) as usize;
    let Some(array) = indices.known() else { return Err("indices that are computed in a run are not covered".into()) };
    let (dims, shape) = (x.dims().to_vec(), array.dims().to_vec());
    let depth = shape.last().copied().ok_or("the indices have no dimensions")?;
    if batch + depth > dims.len() || batch >= shape.len() || dims[..batch] != shape[..batch] {
        return Err(problem(format!("indices {shape:?} do not fit {dims:?}")));
    }
    let inner = &dims[batch + depth..];
    let at = flat(array, &dims[batch..])?;
    let (outer, range): (usize, usize) = (dims[..batch].iter().product(), dims[batch..batch + depth].iter().product());
    let each = at.len() / outer.max(1);
    // Batches become part of the position.
    let at: Vec<usize> = at.iter().enumerate().map(|(i, &at)| i / each.max(1) * range + at).collect();
    let flat = lowering.redimensioned(x, &[outer * range, inner.iter().product()])?;
    let y = lowering.taken(&flat, 0, &at)?;
    let dims = [&shape[..shape.len() - 1], inner].concat();
    Ok(vec![lowering.redimensioned(&y, &dims)?])
}

/// Adds updates at known or computed positions; replacing is adding the difference, where no position occurs twice.
fn scatter_elements(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let axis = Call::axis(call.int("axis", 0)?, x.dims().len())?;
    let (dims, sizes) = (x.dims().to_vec(), indices.dims());
    if sizes.len() != dims.len() || sizes.iter().zip(&dims).enumerate().any(|(d, (a, b))| d != axis && a > b) {
        return Err(problem(format!("indices {sizes:?} do not fit {dims:?} with axis {axis}")));
    }
    let reduction = call.text("reduction", "none")?.to_owned();
    if reduction != "add" {
        let Some(array) = indices.known() else {
            return Err(problem(format!("the reduction {reduction:?} with computed indices is not covered")));
        };
        let at = positions(array, dims[axis])?;
        let inner: Vec<usize> = array.dims().to_vec();
        let place = |i: usize, at: usize| {
            let (mut rest, mut position, mut stride) = (i, 0, 1);
            for d in (0..inner.len()).rev() {
                let coordinate = rest % inner[d];
                rest /= inner[d];
                position += stride * if d == axis { at } else { coordinate };
                stride *= dims[d];
            }
            position
        };
        let places: Vec<usize> = at.iter().enumerate().map(|(i, &at)| place(i, at)).collect();
        return Ok(vec![lowering.replaced(x, &places, updates, &reduction, 1)?]);
    }
    if sizes.iter().zip(&dims).enumerate().any(|(d, (a, b))| d != axis && a != b) {
        return Err(problem(format!("indices {sizes:?} that do not cover {dims:?} are not covered")));
    }
    let at = lowering.indices(indices, dims[axis])?;
    let (id, at, u) = (lowering.f32(x)?, lowering.u32(&at)?, lowering.f32(updates)?);
    let y = lowering.graph.add(ScatterAdd { axis, elements: true }, &[id, at, u])?;
    Ok(vec![lowering.integer(y, &dims, x.kind(), f64::INFINITY)?])
}

fn scatter_nd(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let Some(array) = indices.known() else { return Err("indices that are computed in a run are not covered".into()) };
    let depth = array.dims().last().copied().ok_or("the indices have no dimensions")?;
    let at = flat(array, x.dims())?;
    let inner = x.dims()[depth..].iter().product();
    let reduction = call.text("reduction", "none")?.to_owned();
    Ok(vec![lowering.replaced(x, &at, updates, &reduction, inner)?])
}

impl Lowering<'_> {
    /// Returns x as rows of `inner` elements, of which those at `places` are combined with the rows of `updates`.
    fn replaced(
        &mut self,
        x: &Value,
        places: &[usize],
        updates: &Value,
        reduction: &str,
        inner: usize,
    ) -> Lowered<Value> {
        let (dims, inner) = (x.dims().to_vec(), inner.max(1));
        if count(&dims) == Some(0) {
            return Ok(x.clone());
        }
        let rows = held(&dims)? / inner;
        let updates = self.redimensioned(updates, &[places.len(), inner])?;
        let mut all = self.redimensioned(x, &[rows, inner])?;
        // Updates of the same row are applied one after the other: each round has every row once.
        let mut left: Vec<usize> = (0..places.len()).collect();
        let mut rounds = 0;
        while !left.is_empty() {
            rounds += 1;
            if rounds > MAX_ROUNDS {
                return Err(problem(format!("more than {MAX_ROUNDS} updates of one place are not covered")));
            }
            let mut source = vec![None; rows];
            left.retain(|&k| match source[places[k]] {
                None => {
                    source[places[k]] = Some(k);
                    false
                }
                Some(_) => true,
            });
            let changed: Vec<usize> = (0..rows).filter(|&row| source[row].is_some()).collect();
            let used: Vec<usize> = changed.iter().filter_map(|&row| source[row]).collect();
            let new = self.taken(&updates, 0, &used)?;
            let new = match reduction {
                "none" => new,
                "add" | "mul" | "max" | "min" => {
                    let old = self.taken(&all, 0, &changed)?;
                    let op = match reduction {
                        "add" => "Add",
                        "mul" => "Mul",
                        "max" => "Max",
                        _ => "Min",
                    };
                    self.apply(op, &[old, new], vec![])?
                }
                other => return Err(problem(format!("the reduction {other:?} is not covered"))),
            };
            // The changed rows follow all others, and every row is taken from where it is.
            let both = self.joined(&[all, new], 0)?;
            let mut at: Vec<usize> = (0..rows).collect();
            for (k, &row) in changed.iter().enumerate() {
                at[row] = rows + k;
            }
            all = self.taken(&both, 0, &at)?;
        }
        self.redimensioned(&all, &dims)
    }
}

fn one_hot(lowering: &mut Lowering, call: &Call) -> Lowered {
    let indices = call.input(0)?;
    let depth = call.known_floats(1, "depth")?.and_then(|d| d.first().copied()).ok_or("has no depth")?;
    let values = call.known_floats(2, "values")?.ok_or("has no values")?;
    let &[off, on] = &values[..] else { return Err("values must be two numbers".into()) };
    if !(1.0..=65_536.0).contains(&depth) || indices.dims().len() >= MAX_RANK {
        return Err(problem(format!("a depth of {depth} over {:?} is not covered", indices.dims())));
    }
    let classes = depth as usize;
    let axis = Call::axis(call.int("axis", -1)?, indices.dims().len() + 1)?;
    let at = match indices.known() {
        // What is outside has no place: it becomes an index past the last one.
        Some(array) => {
            let ints = array.to_f64().into_iter().map(|i| {
                let i = if i < 0.0 { i + depth } else { i };
                if (0.0..depth).contains(&i) { i as i64 } else { classes as i64 }
            });
            Array::new(array.dims(), Kind::I64, Data::Int(ints.collect()))?.into()
        }
        None => lowering.indices(indices, classes)?,
    };
    let id = lowering.u32(&at)?;
    let y = lowering.graph.add(OneHot { classes, axis }, &[id])?;
    let mut dims = indices.dims().to_vec();
    dims.insert(axis, classes);
    let y = lowering.by("mul", y, on - off)?;
    let y = if off == 0.0 { y } else { lowering.by("add", y, off)? };
    Ok(vec![lowering.integer(y, &dims, call.input(2)?.kind(), on.abs().max(off.abs()))?])
}

fn trilu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let upper = call.flag("upper", true)?;
    let k = call.known_ints(1, "diagonal")?.and_then(|k| k.first().copied()).unwrap_or(0);
    let dims = x.dims().to_vec();
    let &[.., rows, columns] = &dims[..] else { return Err(problem(format!("expected matrices, got {dims:?}"))) };
    let total = held(&[rows, columns])?;
    if count(&dims) == Some(0) {
        return Ok(vec![x.clone()]);
    }
    let keeps = |i: usize| {
        let distance = (i % columns) as i64 - (i / columns) as i64;
        i64::from(if upper { distance >= k } else { distance <= k })
    };
    let mask: Value = Array::new(&[rows, columns], Kind::Bool, Data::Int((0..total).map(keeps).collect()))?.into();
    let zero: Value = Array::from_f64(&[], x.kind(), &[0.0])?.into();
    Ok(vec![lowering.apply("Where", &[mask, x.clone(), zero], vec![])?])
}

fn compress(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let condition = call.known_ints(1, "condition")?.ok_or("has no condition")?;
    let at: Vec<usize> = condition.iter().enumerate().filter(|(_, c)| **c != 0).map(|(i, _)| i).collect();
    let (x, axis) = match call.maybe_int("axis")? {
        Some(axis) => (x.clone(), Call::axis(axis, x.dims().len())?),
        None => (lowering.redimensioned(x, &[count(x.dims()).ok_or("the input is too large")?])?, 0),
    };
    if at.last().is_some_and(|&last| last >= x.dims()[axis]) {
        return Err("the condition is longer than the axis".into());
    }
    Ok(vec![lowering.taken(&x, axis, &at)?])
}

fn reverse_sequence(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let lengths = call.known_ints(1, "lengths")?.ok_or("has no lengths")?;
    let rank = x.dims().len();
    let (batch, time) = (Call::axis(call.int("batch_axis", 1)?, rank)?, Call::axis(call.int("time_axis", 0)?, rank)?);
    if lengths.len() != x.dims()[batch] || batch == time {
        return Err(problem(format!("{} lengths do not fit {:?}", lengths.len(), x.dims())));
    }
    held(&x.dims()[time..=time])?;
    let mut parts = Vec::with_capacity(lengths.len());
    for (k, &len) in lengths.iter().enumerate() {
        let (len, size) = (usize::try_from(len).unwrap_or(usize::MAX), x.dims()[time]);
        if len > size {
            return Err(problem(format!("a length of {len} is more than {size}")));
        }
        let at: Vec<usize> = (0..len).rev().chain(len..size).collect();
        let part = lowering.sliced(x, batch, k, 1, 1)?;
        parts.push(lowering.taken(&part, time, &at)?);
    }
    Ok(vec![lowering.joined(&parts, batch)?])
}
