//! Layers whose meaning depends on the rank or the sizes of their inputs, as `ncnn.<kind>`: called when a network is added to a graph.
//!
//! Values have a leading 1 before ncnn's dimensions; attributes are ncnn's parameters by number. Source: `src/layer/*.cpp` of ncnn;
//! for `rife.Warp`, `src/warp.cpp` of <https://github.com/nihui/rife-ncnn-vulkan>.

use crate::import::array::{Array, count};
use crate::import::lower::{Attribute, Call, Lower, Lowered, Lowering, Value, held, problem};
use crate::ops::warp::{Border, Warp};

/// Most unequal parts of an axis in adaptive pooling; pyramids have up to 8.
const MAX_PARTS: usize = 32;

/// ncnn's number for "to the end", "as the input" or "in equal parts".
const REST: i64 = -233;

fn table(kind: &str) -> Option<Lower> {
    Some(match kind {
        "BinaryOp" => binary_op,
        "Crop" => crop,
        "ExpandDims" => expand_dims,
        "GroupNorm" | "InstanceNorm" => plain_norm,
        "InnerProduct" => inner_product,
        "Interp" => interp,
        "LayerNorm" => layer_norm,
        "MatMul" => matmul,
        "Normalize" => normalize,
        "Padding" => padding,
        "Permute" => permute,
        "Pooling" => pooling,
        "PReLU" => prelu,
        "Reduction" => reduction,
        "Reshape" => reshape,
        "RMSNorm" => rms_norm,
        "Scale" => scale,
        "ShuffleChannel" => shuffle_channel,
        "Slice" => slice,
        "Squeeze" => squeeze,
        "Tile" => tile,
        "rife.Warp" => warp,
        _ => return None,
    })
}

/// Returns the function that adds the layer `op`, or reports that it is not covered.
pub fn find(op: &str) -> Option<Lower> {
    let kind = op.strip_prefix("ncnn.")?;
    Some(table(kind).unwrap_or(refused))
}

pub fn covers(op: &str) -> bool {
    op.strip_prefix("ncnn.").is_some_and(|kind| table(kind).is_some())
}

fn refused(_: &mut Lowering, call: &Call) -> Lowered {
    Err(problem(call.text("reason", "this layer is not covered")?.to_owned()))
}

/// Returns ncnn's dimensions of a value: those without the batch.
fn own(x: &Value) -> &[usize] {
    x.dims().get(1..).unwrap_or_default()
}

/// Returns ncnn's rows and columns, 1 where there are none, and channels.
fn chw(x: &Value) -> Lowered<[usize; 3]> {
    match *own(x) {
        [w] => Ok([1, 1, w]),
        [h, w] => Ok([1, h, w]),
        [c, h, w] => Ok([c, h, w]),
        ref other => Err(problem(format!("expected [C, H, W], [H, W] or [W], got {other:?}"))),
    }
}

/// Returns dimensions with the batch.
fn batched(dims: &[usize]) -> Vec<usize> {
    [&[1], dims].concat()
}

fn size(value: i64, what: &str) -> Lowered<usize> {
    usize::try_from(value)
        .ok()
        .filter(|_| (1..1 << 32).contains(&value))
        .ok_or_else(|| problem(format!("{what} is {value}, expected at least 1")))
}

fn list(values: impl IntoIterator<Item = usize>) -> Value {
    Array::ints(values.into_iter().map(|v| v as i64)).into()
}

fn int_list(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|&v| v as i64).collect())
}

/// Returns the axes of a list, which count without the batch; negative ones from the end.
fn axes(given: &[i64], rank: usize) -> Lowered<Vec<usize>> {
    given.iter().map(|&axis| Call::axis(axis, rank)).collect()
}

/// Two values of different ranks: the smaller one's axes are the first ones of the other, and a vector's is whichever fits.
fn binary_op(lowering: &mut Lowering, call: &Call) -> Lowered {
    let a = call.input(0)?.clone();
    let b = if call.int("1", 0)? == 0 { call.input(1)?.clone() } else { Value::from(call.float("2", 0.0)?) };
    call.ignore(&["2"]);
    let rank = own(&a).len().max(own(&b).len());
    let first = |x: &Value| x.dims().get(1).copied().unwrap_or(1);
    let mut expand = |x: &Value, other: &Value| -> Lowered<Value> {
        let dims = own(x);
        if dims.is_empty() || dims.len() == rank {
            return Ok(x.clone());
        }
        let mut wide = vec![1; rank];
        match *dims {
            [w] if w == first(other) => wide[0] = w,
            [w] => wide[rank - 1] = w,
            _ => wide[..dims.len()].copy_from_slice(dims),
        }
        lowering.redimensioned(x, &batched(&wide))
    };
    let (a, b) = (expand(&a, &b)?, expand(&b, &a)?);
    let (op, is_reversed) = match call.int("0", 0)? {
        0 => ("Add", false),
        1 => ("Sub", false),
        2 => ("Mul", false),
        3 | 15 => ("Div", false),
        4 => ("Max", false),
        5 => ("Min", false),
        6 => ("Pow", false),
        7 => ("Sub", true),
        8 | 16 => ("Div", true),
        9 => ("Pow", true),
        12 => ("Mod", false),
        13 => ("Mod", true),
        other => return Err(problem(format!("the function {other} is not covered"))),
    };
    let attributes = if op == "Mod" { vec![("fmod", Attribute::Int(1))] } else { vec![] };
    let inputs = if is_reversed { [b, a] } else { [a, b] };
    let y = lowering.apply(op, &inputs, attributes)?;
    Ok(vec![if matches!(call.int("0", 0)?, 15 | 16) { lowering.apply("Floor", &[y], vec![])? } else { y }])
}

/// A slice by offsets and sizes, by starts and ends, or to the size of a second value.
fn crop(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let dims = own(x).to_vec();
    let rank = dims.len();
    chw(x)?;
    if !call.text("19", "")?.is_empty() || !call.text("20", "")?.is_empty() || !call.text("21", "")?.is_empty() {
        return Err("expressions are not covered; convert the network with fixed sizes".into());
    }
    call.ignore(&["13", "14", "15"]);
    let mut ranges: Vec<(i64, i64)> = dims.iter().map(|&n| (0, n as i64)).collect();
    // Numbers of the offset, the size and the offset from the end, from the last axis to the first.
    let numbers = [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]];
    let mut given = Vec::new();
    for names in numbers {
        given.push([call.int(names[0], 0)?, call.int(names[1], 0)?, call.int(names[2], 0)?]);
    }
    let (starts, ends) = (call.ints("9")?.unwrap_or_default(), call.ints("10")?.unwrap_or_default());
    let along = call.ints("11")?.unwrap_or_default();
    if !starts.is_empty() && !ends.is_empty() {
        let along = if along.is_empty() { (0..rank).collect() } else { axes(along, rank)? };
        if starts.len() < along.len() || ends.len() < along.len() {
            return Err(problem(format!(
                "has {} starts and {} ends for {} axes",
                starts.len(),
                ends.len(),
                along.len()
            )));
        }
        for (k, axis) in along.into_iter().enumerate() {
            let n = dims[axis] as i64;
            let start = if starts[k] == REST { 0 } else { starts[k] };
            let end = if ends[k] == REST { n } else { ends[k] };
            ranges[axis] = (if start >= 0 { start } else { n + start }, n.min(if end > 0 { end } else { n + end }));
        }
    } else if given.iter().all(|[_, size, behind]| *size == 0 && *behind == 0) {
        let like = call.input(1)?;
        if given[0][0] == REST {
            return Err("offsets that are computed are not covered; convert the network with fixed ones".into());
        }
        let wanted = own(like);
        for (k, [offset, ..]) in given.into_iter().take(rank).enumerate() {
            let axis = rank - 1 - k;
            let n = wanted.len().checked_sub(k + 1).map(|at| wanted[at]);
            // Channels are kept if the other value has none.
            ranges[axis] = match n {
                Some(n) => (offset, offset.saturating_add(n as i64)),
                None if k == 2 => (offset, offset.saturating_add(dims[axis] as i64)),
                None => (offset, offset.saturating_add(1)),
            };
        }
    } else {
        for (k, [offset, size, behind]) in given.into_iter().take(rank).enumerate() {
            let axis = rank - 1 - k;
            let rest = (dims[axis] as i64).saturating_sub(offset).saturating_sub(behind);
            ranges[axis] = (offset, offset.saturating_add(if size == REST { rest } else { size.min(rest) }));
        }
    }
    if let Some(axis) =
        (0..rank).find(|&d| ranges[d].0 < 0 || ranges[d].1 > dims[d] as i64 || ranges[d].0 >= ranges[d].1)
    {
        let (start, end) = ranges[axis];
        return Err(problem(format!("takes {start} to {end} of axis {axis} of {dims:?}")));
    }
    let starts: Value = Array::ints(ranges.iter().map(|range| range.0)).into();
    let ends: Value = Array::ints(ranges.iter().map(|range| range.1)).into();
    Ok(vec![lowering.apply("Slice", &[x.clone(), starts, ends, list(1..=rank)], vec![])?])
}

fn expand_dims(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let given = call.ints("3")?.ok_or("has no axes")?;
    let rank = own(x).len() + given.len();
    let new = axes(given, rank)?;
    let mut rest = own(x).iter().copied();
    let dims: Vec<usize> = (0..rank).map(|d| if new.contains(&d) { 1 } else { rest.next().unwrap_or(1) }).collect();
    Ok(vec![lowering.redimensioned(x, &batched(&dims))?])
}

/// A matrix times a vector, or times each row of a matrix whose rows have the right length.
fn inner_product(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let &[outputs, inputs] = w.dims() else { return Err(problem(format!("expected a matrix, got {:?}", w.dims()))) };
    let rows = match *own(x) {
        [h, width] if width == inputs => Some(h),
        _ => None,
    };
    let total = count(x.dims()).unwrap_or(0);
    if rows.is_none() && total != inputs {
        return Err(problem(format!("takes {inputs} values, got {:?}", own(x))));
    }
    let flat = lowering.redimensioned(x, &[rows.unwrap_or(1), inputs])?;
    let mut all = vec![flat, w.clone()];
    all.extend(call.inputs.get(2).cloned());
    let y = lowering.apply("Gemm", &all, vec![("transB", Attribute::Int(1))])?;
    let dims = rows.map_or(vec![outputs], |rows| vec![rows, outputs]);
    Ok(vec![lowering.redimensioned(&y, &batched(&dims))?])
}

/// A normalisation without scale and bias.
fn plain_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let channels = own(x).first().copied().unwrap_or(1);
    let [scale, bias] = [1.0, 0.0].map(|value| Array::floats(&[channels], vec![value; channels]));
    let inputs = [x.clone(), scale?.into(), bias?.into()];
    if call.node.op == "ncnn.InstanceNorm" {
        call.ignore(&["0", "2"]);
        let eps = ("epsilon", Attribute::Float(call.float("1", 0.001)?));
        return Ok(vec![lowering.apply("InstanceNormalization", &inputs, vec![eps])?]);
    }
    call.ignore(&["1", "3"]);
    let attributes =
        vec![("epsilon", Attribute::Float(call.float("2", 0.001)?)), ("num_groups", Attribute::Int(call.int("0", 1)?))];
    Ok(vec![lowering.apply("GroupNormalization", &inputs, attributes)?])
}

fn interp(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let [c, h, w] = chw(x)?;
    let rank = own(x).len();
    if !call.text("9", "")?.is_empty() {
        return Err("expressions are not covered; convert the network with fixed sizes".into());
    }
    // A vector is a picture of one pixel with as many channels.
    let (h, w) = if rank == 1 { (1, 1) } else { (h, w) };
    let scales = [call.float("1", 1.0)?, call.float("2", 1.0)?];
    let fixed = [call.int("3", 0)?, call.int("4", 0)?];
    let sizes = if call.int("5", 0)? != 0 {
        let [_, h, w] = chw(call.input(1)?)?;
        [h as i64, w as i64]
    } else if fixed.contains(&0) {
        // ncnn computes in f32 and truncates.
        [(h as f32 * scales[0]) as i64, (w as f32 * scales[1]) as i64]
    } else {
        fixed
    };
    let sizes = [size(sizes[0], "the height")?, size(sizes[1], "the width")?];
    let (align, mode) = (call.int("6", 0)? != 0, call.int("0", 0)?);
    if rank == 1 {
        let picture = lowering.redimensioned(x, &[1, own(x)[0], 1, 1])?;
        let wide = [1, own(x)[0], sizes[0], sizes[1]];
        return Ok(vec![lowering.apply("Expand", &[picture, list(wide)], vec![])?]);
    }
    // Of a matrix, only the columns are resized.
    let sizes = if rank == 2 { [h, sizes[1]] } else { sizes };
    let picture = lowering.redimensioned(x, &[1, c, h, w])?;
    let is_whole = sizes[0] % h == 0 && sizes[1] % w == 0;
    let y = match mode {
        1 if !is_whole => {
            let mut y = picture;
            for (k, (from, to)) in [h, w].into_iter().zip(sizes).enumerate() {
                let ratio =
                    if fixed[k] != 0 || call.int("5", 0)? != 0 { from as f32 / to as f32 } else { 1.0 / scales[k] };
                held(&[to])?;
                let at: Vec<usize> = (0..to).map(|o| ((o as f32 * ratio) as usize).min(from - 1)).collect();
                y = lowering.taken(&y, 2 + k, &at)?;
            }
            y
        }
        1..=3 => {
            let (mode, coordinates) = match (mode, align) {
                (1, _) => ("nearest", "asymmetric"),
                (2, false) => ("linear", "half_pixel"),
                (2, true) => ("linear", "align_corners"),
                (_, false) => ("cubic", "half_pixel"),
                (_, true) => ("cubic", "align_corners"),
            };
            let mut attributes = vec![
                ("mode", Attribute::Text(mode.into())),
                ("coordinate_transformation_mode", Attribute::Text(coordinates.into())),
            ];
            if mode == "nearest" {
                attributes.push(("nearest_mode", Attribute::Text("floor".into())));
            }
            // Where scales are given, the release of 2026-10 samples at their distance, even if the sizes are truncated.
            let scales = [if rank == 2 { 1.0 } else { scales[0] }, scales[1]];
            let is_scaled = call.int("5", 0)? == 0 && fixed.contains(&0) && !align;
            let are_sizes =
                [h, w].into_iter().zip(scales).map(|(n, scale)| (n as f64 * f64::from(scale)) as usize).eq(sizes);
            let [by_scale, by_size] = if is_scaled && are_sizes && mode != "nearest" {
                [Array::floats(&[4], vec![1.0, 1.0, scales[0], scales[1]])?.into(), Value::Absent]
            } else {
                [Value::Absent, list([1, c, sizes[0], sizes[1]])]
            };
            lowering.apply("Resize", &[picture, Value::Absent, by_scale, by_size], attributes)?
        }
        other => return Err(problem(format!("the kind of interpolation is {other}, expected 1 to 3"))),
    };
    let dims = if rank == 2 { vec![h, sizes[1]] } else { vec![c, sizes[0], sizes[1]] };
    Ok(vec![lowering.redimensioned(&y, &batched(&dims))?])
}

/// Returns the axis from which a normalisation of so many elements begins: the columns, or rows and columns.
fn normalised(x: &Value, len: i64) -> Lowered<usize> {
    let dims = x.dims();
    let (rank, len) = (dims.len(), size(len, "the number of elements")?);
    (1..rank).rev().take(2).find(|&axis| dims[axis..].iter().product::<usize>() == len).ok_or_else(|| {
        problem(format!(
            "normalises {len} elements, which are neither the columns nor the rows and columns of {:?}",
            own(x)
        ))
    })
}

fn layer_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let axis = normalised(x, call.int("0", 0)?)?;
    call.ignore(&["2"]);
    let mut inputs = vec![x.clone()];
    for k in 1..call.inputs.len() {
        inputs.push(lowering.redimensioned(call.input(k)?, &x.dims()[axis..])?);
    }
    let attributes =
        vec![("axis", Attribute::Int(axis as i64)), ("epsilon", Attribute::Float(call.float("1", 0.001)?))];
    Ok(vec![lowering.apply("LayerNormalization", &inputs, attributes)?])
}

fn rms_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let axis = normalised(x, call.int("0", 0)?)?;
    call.ignore(&["2"]);
    let scale = if call.has(1) { lowering.redimensioned(call.input(1)?, &x.dims()[axis..])? } else { Value::from(1.0) };
    let attributes =
        vec![("axis", Attribute::Int(axis as i64)), ("epsilon", Attribute::Float(call.float("1", 0.001)?))];
    Ok(vec![lowering.apply("RMSNormalization", &[x.clone(), scale], attributes)?])
}

fn matmul(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (a, mut b) = (call.input(0)?.clone(), call.input(1)?.clone());
    if own(&a).len() < 2 || own(&b).len() < 2 {
        return Err("products with vectors are not covered".into());
    }
    if call.int("0", 0)? != 0 {
        let rank = b.dims().len();
        let order: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
        b = lowering.permuted(&b, &order)?;
    }
    // The batches of the lower rank stand before its matrices.
    let rank = a.dims().len().max(b.dims().len());
    let mut expand = |x: &Value| -> Lowered<Value> {
        let dims: Vec<usize> = std::iter::repeat_n(1, rank - x.dims().len()).chain(x.dims().iter().copied()).collect();
        lowering.redimensioned(x, &dims)
    };
    let (a, b) = (expand(&a)?, expand(&b)?);
    Ok(vec![lowering.apply("MatMul", &[a, b], vec![])?])
}

/// x·scale/√Σx², over a pixel's channels, a channel's pixels or both.
fn normalize(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let [c, h, w] = chw(x)?;
    let (spatial, channel) = (call.int("0", 0)? != 0, call.int("4", 1)? != 0);
    let eps = call.float("2", 0.0001)?;
    call.ignore(&["1", "3"]);
    let over: Vec<usize> = match (spatial, channel) {
        (true, true) => vec![1, 2, 3],
        (true, false) => vec![2, 3],
        (false, true) => vec![1],
        (false, false) => return Err("normalises neither over channels nor over pixels".into()),
    };
    let picture = lowering.redimensioned(x, &[1, c, h, w])?;
    let sum = lowering.apply("ReduceSumSquare", std::slice::from_ref(&picture), vec![("axes", int_list(&over))])?;
    let eps = Value::from(eps);
    let length = match call.int("9", 0)? {
        0 => {
            let sum = lowering.apply("Add", &[sum, eps], vec![])?;
            lowering.apply("Sqrt", &[sum], vec![])?
        }
        1 => {
            let root = lowering.apply("Sqrt", &[sum], vec![])?;
            lowering.apply("Max", &[root, eps], vec![])?
        }
        _ => {
            let sum = lowering.apply("Max", &[sum, eps], vec![])?;
            lowering.apply("Sqrt", &[sum], vec![])?
        }
    };
    let y = lowering.apply("Div", &[picture, length], vec![])?;
    let scale = call.input(1)?;
    let scale = lowering.redimensioned(scale, &[1, count(scale.dims()).unwrap_or(0), 1, 1])?;
    let y = lowering.apply("Mul", &[y, scale], vec![])?;
    Ok(vec![lowering.redimensioned(&y, x.dims())?])
}

fn padding(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = own(x).len();
    chw(x)?;
    if call.int("6", 0)? != 0 {
        return Err("a value per channel is not covered; convert the network with one value".into());
    }
    // Before and after the columns, the rows and the channels.
    let numbers = [["2", "3"], ["0", "1"], ["7", "8"]];
    let mut around = vec![(0, 0); rank + 1];
    for (k, [before, after]) in numbers.into_iter().enumerate() {
        let pads = (call.int(before, 0)?, call.int(after, 0)?);
        if k < rank {
            around[rank - k] = pads;
        }
    }
    if around.iter().any(|pads| pads.0 < 0 || pads.1 < 0) {
        return Err("a negative number of rows or columns is not covered".into());
    }
    let mode = match call.int("4", 0)? {
        0 => "constant",
        1 => "edge",
        2 => "reflect",
        other => return Err(problem(format!("the kind of padding is {other}, expected 0 to 2"))),
    };
    let pads = Array::ints(around.iter().map(|pads| pads.0).chain(around.iter().map(|pads| pads.1)));
    let inputs = [x.clone(), pads.into(), Value::from(call.float("5", 0.0)?)];
    Ok(vec![lowering.apply("Pad", &inputs, vec![("mode", Attribute::Text(mode.into()))])?])
}

fn permute(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    // Axes of the result in the order c, h, w; ncnn names them from the last to the first.
    let order: &[usize] = match (own(x).len(), call.int("0", 0)?) {
        (1, _) | (_, 0) => return Ok(vec![x.clone()]),
        (2, 1) => &[0, 2, 1],
        (3, 1) => &[0, 1, 3, 2],
        (3, 2) => &[0, 2, 1, 3],
        (3, 3) => &[0, 2, 3, 1],
        (3, 4) => &[0, 3, 1, 2],
        (3, 5) => &[0, 3, 2, 1],
        (_, other) => return Err(problem(format!("the order {other} of {:?} is not covered", own(x)))),
    };
    Ok(vec![lowering.permuted(x, order)?])
}

fn pooling(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let [c, h, w] = chw(x)?;
    let picture = lowering.redimensioned(x, &[1, c, h, w])?;
    let is_max = match call.int("0", 0)? {
        0 => true,
        1 => false,
        other => return Err(problem(format!("the kind of pooling is {other}, expected 0 or 1"))),
    };
    let columns = ["1", "2", "3", "14"];
    let [kernel_w, stride_w, left, right] =
        [call.int("1", 0)?, call.int("2", 1)?, call.int("3", 0)?, call.int("14", call.int("3", 0)?)?];
    let [kernel_h, stride_h, top] = [call.int("11", kernel_w)?, call.int("12", stride_w)?, call.int("13", left)?];
    let bottom = call.int("15", top)?;
    let (mode, counts_pads) = (call.int("5", 0)?, call.int("6", 0)? != 0);
    let (is_adaptive, out_w) = (call.int("7", 0)? != 0, call.int("8", 0)?);
    let out_h = call.int("18", out_w)?;
    call.ignore(&columns);
    if call.int("4", 0)? != 0 {
        let op = if is_max { "GlobalMaxPool" } else { "GlobalAveragePool" };
        let y = lowering.apply(op, &[picture], vec![])?;
        return Ok(vec![lowering.redimensioned(&y, &[1, c])?]);
    }
    if is_adaptive {
        let rows = if out_h == REST { h } else { size(out_h, "the number of rows")? };
        let columns = if out_w == REST { w } else { size(out_w, "the number of columns")? };
        let y = adaptive(lowering, &picture, 2, rows, is_max)?;
        return Ok(vec![adaptive(lowering, &y, 3, columns, is_max)?]);
    }
    let sizes = [h, w];
    let kernel = [size(kernel_h, "the height of a window")?, size(kernel_w, "the width of a window")?];
    let stride = [size(stride_h, "the stride")?, size(stride_w, "the stride")?];
    let mut pads = [top, left, bottom, right];
    let mut includes = counts_pads;
    match mode {
        0 | 1 if pads.iter().any(|&pad| !(0..1 << 31).contains(&pad)) => {
            return Err(problem(format!("the pads {pads:?} are not covered")));
        }
        // So many that every pixel lies in a window.
        0 => {
            for d in 0..2 {
                let rest = sizes[d] as i64 + pads[d] + pads[2 + d] - kernel[d] as i64;
                let stride = stride[d] as i64;
                pads[2 + d] += (stride - rest.max(0) % stride) % stride;
            }
        }
        1 => {}
        2 | 3 => {
            // ncnn counts these pads, whatever the file says.
            if pads != [0; 4] {
                return Err(problem(format!("the pads {pads:?} with SAME padding are not covered")));
            }
            includes = true;
            for d in 0..2 {
                let more = (kernel[d] + (sizes[d] - 1) / stride[d] * stride[d]).saturating_sub(sizes[d]) as i64;
                let before = if mode == 2 { more / 2 } else { more - more / 2 };
                (pads[d], pads[2 + d]) = (before, more - before);
            }
        }
        other => return Err(problem(format!("the kind of padding is {other}, expected 0 to 3"))),
    }
    let mut attributes = vec![
        ("kernel_shape", int_list(&kernel)),
        ("strides", int_list(&stride)),
        ("pads", Attribute::Ints(pads.to_vec())),
    ];
    let op = if is_max { "MaxPool" } else { "AveragePool" };
    if !is_max {
        attributes.push(("count_include_pad", Attribute::Int(includes.into())));
    }
    Ok(vec![lowering.apply(op, &[picture], attributes)?])
}

/// Divides an axis into parts that may overlap by one, and takes the largest value or the mean of each.
fn adaptive(lowering: &mut Lowering, x: &Value, axis: usize, to: usize, is_max: bool) -> Lowered<Value> {
    let from = x.dims()[axis];
    if from == to {
        return Ok(x.clone());
    }
    let op = if is_max { "ReduceMax" } else { "ReduceMean" };
    let mut parts = Vec::new();
    if from.is_multiple_of(to) {
        let len = from / to;
        let (mut kernel, op) = ([1, 1], if is_max { "MaxPool" } else { "AveragePool" });
        kernel[axis - 2] = len;
        return lowering.apply(
            op,
            std::slice::from_ref(x),
            vec![("kernel_shape", int_list(&kernel)), ("strides", int_list(&kernel))],
        );
    }
    // Each part is two nodes of the graph.
    if to > MAX_PARTS {
        return Err(problem(format!("{to} unequal parts of an axis of {from} are not covered, at most {MAX_PARTS}")));
    }
    for i in 0..to {
        let (start, end) = (from * i / to, (from * (i + 1)).div_ceil(to));
        let part = lowering.sliced(x, axis, start, 1, end - start)?;
        parts.push(lowering.apply(op, &[part], vec![("axes", int_list(&[axis]))])?);
    }
    lowering.joined(&parts, axis)
}

fn prelu(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, slope) = (call.input(0)?, call.input(1)?);
    call.ignore(&["0"]);
    let n = count(slope.dims()).unwrap_or(0);
    // One slope for all, or one per channel, which is the first axis.
    let mut dims = vec![1; own(x).len()];
    if let Some(first) = dims.first_mut() {
        *first = n;
    }
    let slope = lowering.redimensioned(slope, &dims)?;
    Ok(vec![lowering.apply("PRelu", &[x.clone(), slope], vec![])?])
}

fn reduction(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = own(x).len();
    let given = call.ints("3")?.unwrap_or_default();
    if call.int("5", 0)? == 0 && !given.is_empty() {
        return Err("is in the form of before 2020, whose axes are not reliable; convert the network again".into());
    }
    let all = call.int("1", 1)? != 0 || rank == 1;
    let over: Vec<usize> =
        if all { (1..=rank).collect() } else { axes(given, rank)?.into_iter().map(|axis| axis + 1).collect() };
    let keep = call.int("4", 0)? != 0;
    let op = match call.int("0", 0)? {
        0 => "ReduceSum",
        1 | 7 => "ReduceL1",
        2 => "ReduceSumSquare",
        3 => "ReduceMean",
        4 => "ReduceMax",
        5 => "ReduceMin",
        6 => "ReduceProd",
        8 => "ReduceL2",
        9 => "ReduceLogSum",
        10 => "ReduceLogSumExp",
        other => return Err(problem(format!("the function {other} is not covered"))),
    };
    let kept: Vec<usize> = (1..=rank)
        .filter(|axis| keep || !over.contains(axis))
        .map(|axis| if over.contains(&axis) { 1 } else { x.dims()[axis] })
        .collect();
    let mut y = x.clone();
    if !over.is_empty() {
        y = lowering.apply(op, &[y], vec![("axes", int_list(&over))])?;
    }
    let coefficient = call.float("2", 1.0)?;
    if coefficient != 1.0 {
        let coefficient = Value::from(coefficient);
        y = lowering.apply("Mul", &[y, coefficient], vec![])?;
    }
    let dims = if kept.is_empty() { vec![1] } else { kept };
    Ok(vec![lowering.redimensioned(&y, &batched(&dims))?])
}

fn reshape(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    if !call.text("6", "")?.is_empty() {
        return Err("expressions are not covered; convert the network with fixed sizes".into());
    }
    let [c, h, w] = chw(x)?;
    let [wanted_w, wanted_h, wanted_d, wanted_c] =
        [call.int("0", REST)?, call.int("1", REST)?, call.int("11", REST)?, call.int("2", REST)?];
    if wanted_d != REST {
        return Err("four dimensions are not covered".into());
    }
    let wanted: Vec<(i64, usize)> = match [wanted_c, wanted_h, wanted_w] {
        [_, _, REST] => return Err("has no size".into()),
        [_, REST, w_] => vec![(w_, w)],
        [REST, h_, w_] => vec![(h_, h), (w_, w)],
        [c_, h_, w_] => vec![(c_, c), (h_, h), (w_, w)],
    };
    let total = count(x.dims()).unwrap_or(0);
    let known = wanted.iter().filter(|(n, _)| *n != -1).try_fold(1usize, |product, &(n, own)| {
        let n = if n == 0 { own } else { usize::try_from(n).ok()? };
        product.checked_mul(n)
    });
    let known = known.filter(|&n| n > 0).ok_or("a size is negative or too large")?;
    let dims: Vec<usize> = wanted
        .iter()
        .map(|&(n, own)| match n {
            0 => own,
            -1 => total / known,
            n => n as usize,
        })
        .collect();
    Ok(vec![lowering.redimensioned(x, &batched(&dims))?])
}

/// A second value scales the channels of the first.
fn scale(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, s) = (call.input(0)?, call.input(1)?);
    call.ignore(&["0", "1"]);
    let mut dims = vec![1; own(x).len()];
    if let Some(first) = dims.first_mut() {
        *first = count(s.dims()).unwrap_or(0);
    }
    let s = lowering.redimensioned(s, &batched(&dims))?;
    Ok(vec![lowering.apply("Mul", &[x.clone(), s], vec![])?])
}

fn shuffle_channel(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let [c, h, w] = chw(x)?;
    let groups = size(call.int("0", 1)?, "the number of groups")?;
    if !c.is_multiple_of(groups) {
        return Err(problem(format!("{c} channels do not split into {groups} groups")));
    }
    let groups = if call.int("1", 0)? != 0 { c / groups } else { groups };
    let split = lowering.redimensioned(x, &[1, groups, c / groups, h * w])?;
    let shuffled = lowering.permuted(&split, &[0, 2, 1, 3])?;
    Ok(vec![lowering.redimensioned(&shuffled, x.dims())?])
}

fn slice(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let axis = 1 + Call::axis(call.int("1", 0)?, own(x).len())?;
    let n = x.dims()[axis];
    let (slices, indices) = (call.ints("0")?.unwrap_or_default(), call.ints("2")?.unwrap_or_default());
    let parts = call.node.outputs.len();
    let mut start = 0;
    let mut outputs = Vec::new();
    for k in 0..parts {
        let rest = (n - start) as i64;
        let len = if !indices.is_empty() {
            match indices.get(k) {
                Some(&index) if k + 1 < parts => (if index < 0 { n as i64 + index } else { index }) - start as i64,
                _ => rest,
            }
        } else {
            match slices.get(k) {
                None => return Err(problem(format!("has {} sizes for {parts} parts", slices.len()))),
                Some(&REST) => rest / (parts - k) as i64,
                Some(&len) => len,
            }
        };
        let len = usize::try_from(len).ok().filter(|&len| len > 0 && len <= n - start);
        let len = len.ok_or_else(|| problem(format!("part {k} of {n} does not fit")))?;
        outputs.push(lowering.sliced(x, axis, start, 1, len)?);
        start += len;
    }
    Ok(outputs)
}

fn squeeze(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let dims = own(x);
    let rank = dims.len();
    chw(x)?;
    call.ignore(&["11"]);
    let named = [call.int("0", 0)? != 0, call.int("1", 0)? != 0, call.int("2", 0)? != 0];
    let gone = match call.ints("3")? {
        Some(given) if !given.is_empty() => axes(given, rank)?,
        _ => (0..rank).filter(|&d| named[rank - 1 - d]).collect(),
    };
    let kept: Vec<usize> = (0..rank).filter(|d| dims[*d] != 1 || !gone.contains(d)).map(|d| dims[d]).collect();
    let dims = if kept.is_empty() { vec![1] } else { kept };
    Ok(vec![lowering.redimensioned(x, &batched(&dims))?])
}

fn tile(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let rank = own(x).len();
    let mut repeats = vec![1; rank + 1];
    match call.ints("2")?.filter(|given| !given.is_empty()) {
        Some(given) if given.len() == rank => {
            for (k, &n) in given.iter().enumerate() {
                repeats[1 + k] = size(n, "a number of repeats")?;
            }
        }
        Some(given) => return Err(problem(format!("{given:?} repeats of {:?} are not covered", own(x)))),
        None => repeats[1 + Call::axis(call.int("0", 0)?, rank)?] = size(call.int("1", 1)?, "the number of repeats")?,
    }
    Ok(vec![lowering.apply("Tile", &[x.clone(), list(repeats)], vec![])?])
}

/// Samples a picture where a flow in pixels leads from each pixel.
fn warp(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, flow) = (call.input(0)?, call.input(1)?);
    let [_, h, w] = chw(x)?;
    if flow.dims() != [1, 2, h, w] {
        return Err(problem(format!("the flow is {:?}, expected [2, {h}, {w}]", own(flow))));
    }
    let grid = [(w, [1, 1, 1, w]), (h, [1, 1, h, 1])];
    let mut positions = Vec::new();
    for (k, (n, dims)) in grid.into_iter().enumerate() {
        held(&dims)?;
        let own: Value = Array::floats(&dims, (0..n).map(|v| v as f32).collect())?.into();
        let part = lowering.sliced(flow, 1, k, 1, 1)?;
        positions.push(lowering.apply("Add", &[part, own], vec![])?);
    }
    let positions = lowering.joined(&positions, 1)?;
    let ids = [lowering.f32(x)?, lowering.f32(&positions)?];
    let y = lowering.graph.add(Warp { border: Border::Clamp }, &ids)?;
    Ok(vec![lowering.plain(y, x.kind())?])
}
