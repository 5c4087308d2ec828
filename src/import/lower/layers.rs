//! Convolutions, pools, normalisations and products of matrices.

use super::{Attribute, Call, Lower, Lowered, Lowering, Value, broadcast, check_exact, held, problem};
use crate::import::array::{Array, count};
use crate::ops::avg_pool2d::AvgPool2d;
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d::Conv2d;
use crate::ops::linear::Linear;
use crate::ops::matmul::Matmul;
use crate::ops::max_pool2d::MaxPool2d;
use crate::ops::normalize::{Normalize, Over};
use crate::ops::windows::Sliding;
use crate::tensor::Tensor;

pub fn find(op: &str) -> Option<Lower> {
    Some(match op {
        "Conv" => conv,
        "ConvTranspose" => conv_transpose,
        "MaxPool" | "AveragePool" | "LpPool" => pool,
        "GlobalMaxPool" | "GlobalAveragePool" | "GlobalLpPool" => global_pool,
        "BatchNormalization" => batch_norm,
        "InstanceNormalization" => instance_norm,
        "GroupNormalization" => group_norm,
        "LayerNormalization" => layer_norm,
        "RMSNormalization" => rms_norm,
        "MeanVarianceNormalization" => mean_variance_norm,
        "LpNormalization" => lp_norm,
        "LRN" => lrn,
        "MatMul" => matmul,
        "Gemm" => gemm,
        _ => return None,
    })
}

/// How windows lie on the last two axes: pairs are rows, then columns. A value with one spatial axis has one row.
struct Spatial {
    /// N, C, H, W.
    dims: [usize; 4],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Above, left, below, right.
    pads: [usize; 4],
    is_line: bool,
}

impl Spatial {
    /// Reads the attributes that Conv, ConvTranspose and the pools share; `pads` are those of `auto_pad` if that is given.
    fn new(call: &Call, dims: &[usize], kernel: &[usize]) -> Lowered<Self> {
        let is_line = match dims.len() {
            3 => true,
            4 => false,
            _ => return Err(problem(format!("expected [N, C, L] or [N, C, H, W], got {dims:?}"))),
        };
        if kernel.len() + 2 != dims.len() || kernel.contains(&0) {
            return Err(problem(format!("windows {kernel:?} do not fit {dims:?}")));
        }
        let spread = |values: &[usize], filler: usize| match values {
            [only] => [filler, *only],
            other => [other[0], other[1]],
        };
        let sizes = |name: &str, filler: usize| -> Lowered<[usize; 2]> {
            Ok(if is_line { spread(&call.sizes(name, [filler])?, filler) } else { call.sizes(name, [filler; 2])? })
        };
        let pads = if is_line {
            let [before, after] = call.sizes("pads", [0; 2])?;
            [0, before, 0, after]
        } else {
            call.sizes("pads", [0; 4])?
        };
        let nchw = if is_line { [dims[0], dims[1], 1, dims[2]] } else { [dims[0], dims[1], dims[2], dims[3]] };
        let (stride, dilation) = (sizes("strides", 1)?, sizes("dilations", 1)?);
        if stride.contains(&0) || dilation.contains(&0) {
            return Err("a stride or dilation is 0".into());
        }
        // So that no sum or product of them overflows.
        if let Some(large) = [kernel, &stride, &dilation, &pads].concat().into_iter().find(|&v| v > i32::MAX as usize) {
            return Err(problem(format!("a size, stride, dilation or pad of {large} is too large")));
        }
        Ok(Self { dims: nchw, kernel: spread(kernel, 1), stride, dilation, pads, is_line })
    }

    /// Pixels that a window reaches over.
    fn reach(&self, d: usize) -> usize {
        (self.kernel[d] - 1) * self.dilation[d] + 1
    }

    /// Replaces the pads as `auto_pad` says: SAME gives ⌈size / stride⌉ windows.
    fn pad_automatically(&mut self, mode: &str) -> Lowered<()> {
        match mode {
            "NOTSET" | "" => {}
            "VALID" => self.pads = [0; 4],
            "SAME_UPPER" | "SAME_LOWER" => {
                for d in 0..2 {
                    let size = self.dims[2 + d];
                    let windows = size.div_ceil(self.stride[d]);
                    let more = ((windows.max(1) - 1) * self.stride[d] + self.reach(d)).saturating_sub(size);
                    let less = more / 2;
                    let before = if mode == "SAME_UPPER" { less } else { more - less };
                    (self.pads[d], self.pads[2 + d]) = (before, more - before);
                }
            }
            other => return Err(problem(format!("auto_pad {other:?} is not covered"))),
        }
        Ok(())
    }

    /// Returns dimensions as the file has them.
    fn own(&self, nchw: &[usize]) -> Vec<usize> {
        if self.is_line { vec![nchw[0], nchw[1], nchw[3]] } else { nchw.to_vec() }
    }
}

/// Returns the dimensions of filters with one row, if they have none.
fn filter_dims(w: &Value) -> Vec<usize> {
    match w.dims() {
        &[o, i, k] => vec![o, i, 1, k],
        dims => dims.to_vec(),
    }
}

fn groups(call: &Call) -> Lowered<usize> {
    usize::try_from(call.int("group", 1)?)
        .ok()
        .filter(|&g| g > 0)
        .ok_or_else(|| problem("group must be at least 1".into()))
}

fn check_kernel(call: &Call, kernel: &[usize]) -> Lowered<()> {
    match call.ints("kernel_shape")? {
        Some(given) if !given.iter().copied().eq(kernel.iter().map(|&k| k as i64)) => {
            Err(problem(format!("kernel_shape is {given:?}, the filters are {kernel:?}")))
        }
        _ => Ok(()),
    }
}

impl Lowering<'_> {
    /// Returns a bias of so many channels as `[1, C, 1, 1]`: zeros if there is none.
    fn bias(&mut self, b: &Value, channels: usize) -> Lowered<crate::graph::NodeId> {
        match b {
            Value::Absent => {
                held(&[channels])?;
                Ok(self.graph.add_constant("no_bias", Tensor::zeros([1, channels, 1, 1]))?)
            }
            b if b.dims() == [channels] => self.shaped(b, &[1, channels, 1, 1]),
            b => Err(problem(format!("the bias is {:?}, expected [{channels}]", b.dims()))),
        }
    }

    /// Returns zeros or ones of f32.
    fn filled(&mut self, dims: &[usize], value: f32) -> Lowered<crate::graph::NodeId> {
        held(dims)?;
        Ok(self.graph.add_constant("constant", Tensor::filled(super::shape(dims)?, value))?)
    }
}

/// Returns the attributes of windows over `[N, C, D, H, W]` for one axis, D, and for two, H and W.
fn planes(call: &Call) -> Lowered<[Vec<(&'static str, Attribute)>; 2]> {
    let mut both = [vec![], vec![]];
    for name in ["kernel_shape", "strides", "dilations", "pads"] {
        let Some(values) = call.ints(name)? else { continue };
        let (depth, plane) = match *values {
            [d, h, w] => (vec![d, 1], vec![h, w]),
            [d, h, w, behind, below, right] => (vec![d, 0, behind, 0], vec![h, w, below, right]),
            _ => return Err(problem(format!("the attribute {name}, {values:?}, does not fit three axes"))),
        };
        both[0].push((name, Attribute::Ints(depth)));
        both[1].push((name, Attribute::Ints(plane)));
    }
    for name in ["ceil_mode", "count_include_pad", "p", "auto_pad", "group"] {
        if let Some(value) = call.attribute(name) {
            both.iter_mut().for_each(|one| one.push((name, value.clone())));
        }
    }
    Ok(both)
}

/// Windows over three axes are one after the other: over H and W, then over D. All of the pools allow this.
fn pool_volume(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let &[n, c, d, h, w] = x.dims() else {
        return Err(problem(format!("expected [N, C, D, H, W], got {:?}", x.dims())));
    };
    let [depth, plane] = planes(call)?;
    let flat = lowering.redimensioned(x, &[n, c * d, h, w])?;
    let y = lowering.apply(&call.node.op, &[flat], plane)?;
    let (h, w) = (y.dims()[2], y.dims()[3]);
    let y = lowering.redimensioned(&y, &[n, c, d, h * w])?;
    let y = lowering.apply(&call.node.op, &[y], depth)?;
    let d = y.dims()[2];
    Ok(vec![lowering.redimensioned(&y, &[n, c, d, h, w])?])
}

/// A convolution of volumes is a sum of those of its planes.
fn conv_volume(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let (&[n, c, d, _, _], &[filters, depth, taps, kh, kw]) = (x.dims(), w.dims()) else {
        return Err(problem(format!("filters {:?} do not fit {:?}", w.dims(), x.dims())));
    };
    check_kernel(call, &[taps, kh, kw])?;
    let [along, mut plane] = planes(call)?;
    // The windows along D, as those of rows.
    let names = ["strides", "dilations", "pads", "auto_pad"];
    let attributes = along
        .iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let node = super::Node { op: "Conv".into(), attributes, ..Default::default() };
    let mut rows = Spatial::new(&Call::new(&node, vec![], call.opset), &[n, c, d, 1], &[taps, 1])?;
    rows.pad_automatically(call.text("auto_pad", "NOTSET")?)?;
    let (stride, dilation, before, after) = (rows.stride[0], rows.dilation[0], rows.pads[0], rows.pads[2]);
    let padded = d + before + after;
    let Some(places) = padded.checked_sub(rows.reach(0)).map(|rest| rest / stride + 1).filter(|_| taps > 0) else {
        return Err(problem(format!("a window over {} of {padded} planes does not fit", rows.reach(0))));
    };
    plane.retain(|(name, _)| *name != "kernel_shape");
    let around = [(0, 0), (0, 0), (before as i64, after as i64), (0, 0), (0, 0)];
    let x = lowering.padded(x, &around, "constant", 0.0)?;
    let mut sum: Option<Value> = None;
    for tap in 0..taps {
        let own = lowering.sliced(&x, 2, tap * dilation, stride as i64, places)?;
        let own = lowering.permuted(&own, &[0, 2, 1, 3, 4])?;
        let own = lowering.redimensioned(&own, &[n * places, c, x.dims()[3], x.dims()[4]])?;
        let filter = lowering.sliced(w, 2, tap, 1, 1)?;
        let filter = lowering.redimensioned(&filter, &[filters, depth, kh, kw])?;
        let mut inputs = vec![own, filter];
        inputs.extend((tap == 0 && call.has(2)).then(|| call.value(2).clone()));
        let y = lowering.apply("Conv", &inputs, plane.clone())?;
        sum = Some(match sum {
            None => y,
            Some(sum) => lowering.apply("Add", &[sum, y], vec![])?,
        });
    }
    let sum = sum.ok_or("has no filters")?;
    let (h, w) = (sum.dims()[2], sum.dims()[3]);
    let y = lowering.redimensioned(&sum, &[n, places, filters, h, w])?;
    Ok(vec![lowering.permuted(&y, &[0, 2, 1, 3, 4])?])
}

fn conv(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, w) = (call.input(0)?, call.input(1)?);
    if x.dims().len() == 5 {
        return conv_volume(lowering, call);
    }
    let filters = filter_dims(w);
    let kernel = w.dims().get(2..).unwrap_or_default();
    check_kernel(call, kernel)?;
    let mut spatial = Spatial::new(call, x.dims(), kernel)?;
    spatial.pad_automatically(call.text("auto_pad", "NOTSET")?)?;
    let groups = groups(call)?;
    let Spatial { stride, dilation, pads: padding, .. } = spatial;
    let (id, filter) = (lowering.shaped(x, &spatial.dims)?, lowering.shaped(w, &filters)?);
    let b = lowering.bias(call.value(2), filters[0])?;
    let op = Conv2d { stride, dilation, padding, groups, ..Conv2d::default() };
    let y = lowering.graph.add(op, &[id, filter, b])?;
    let dims = spatial.own(&lowering.graph.shape(y)?);
    Ok(vec![lowering.float(y, &dims, x.kind())?])
}

fn conv_transpose(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let filters = filter_dims(w);
    let kernel = w.dims().get(2..).unwrap_or_default();
    check_kernel(call, kernel)?;
    let spatial = Spatial::new(call, x.dims(), kernel)?;
    let groups = groups(call)?;
    let pair = |name: &str| -> Lowered<Option<[usize; 2]>> {
        Ok(match call.ints(name)? {
            None => None,
            Some(_) if spatial.is_line => Some([usize::from(name == "output_shape"), call.sizes(name, [0])?[0]]),
            Some(_) => Some(call.sizes(name, [0; 2])?),
        })
    };
    let mut more = pair("output_padding")?.unwrap_or([0; 2]);
    let given = more;
    let whole = |d: usize| (spatial.dims[2 + d].max(1) - 1) * spatial.stride[d] + spatial.reach(d) + given[d];
    let mut pads = spatial.pads;
    let mode = call.text("auto_pad", "NOTSET")?;
    let wanted = match (pair("output_shape")?, mode) {
        (Some(wanted), _) if wanted.iter().chain(&more).all(|&v| v <= i32::MAX as usize) => Some(wanted),
        (Some(wanted), _) => {
            return Err(problem(format!("output_shape {wanted:?} or output_padding {more:?} is too large")));
        }
        (None, "SAME_UPPER" | "SAME_LOWER") => Some([0, 1].map(|d| spatial.dims[2 + d] * spatial.stride[d])),
        (None, "NOTSET" | "VALID") => None,
        (None, other) => return Err(problem(format!("auto_pad {other:?} is not covered"))),
    };
    if let Some(wanted) = wanted {
        for d in 0..2 {
            // What is not cut off lies behind the picture.
            let cut = whole(d).saturating_sub(wanted[d]);
            let less = cut / 2;
            let before = if mode == "SAME_UPPER" { less } else { cut - less };
            (pads[d], pads[2 + d]) = (before, cut - before);
        }
    }
    let mut sizes = [0; 2];
    for d in 0..2 {
        let cut = pads[d] + pads[2 + d];
        sizes[d] = whole(d)
            .checked_sub(cut)
            .filter(|&n| n > 0)
            .ok_or_else(|| problem(format!("pads {pads:?} leave nothing")))?;
    }
    if let Some(wanted) = wanted {
        // What reaches past the windows is the bias alone.
        for d in 0..2 {
            more[d] += wanted[d].saturating_sub(sizes[d]);
            sizes[d] = sizes[d].max(wanted[d]);
        }
    }
    let padding = [0, 1].map(|d| pads[d].min(pads[2 + d]));
    let (id, filter) = (lowering.shaped(x, &spatial.dims)?, lowering.shaped(w, &filters)?);
    let channels = filters[1].checked_mul(groups).ok_or_else(|| problem(format!("{groups} groups are too many")))?;
    let b = lowering.bias(call.value(2), channels)?;
    let op =
        ConvTranspose2d { stride: spatial.stride, padding, output_padding: more, dilation: spatial.dilation, groups };
    let mut y = lowering.graph.add(op, &[id, filter, b])?;
    // The operation cuts off as much at both edges; the rest is cut off here.
    for d in 0..2 {
        y = if lowering.graph.shape(y)?[2 + d] == sizes[d] {
            y
        } else {
            lowering.graph.narrow(y, 2 + d, pads[d] - padding[d], sizes[d])?
        };
    }
    let dims = spatial.own(&lowering.graph.shape(y)?);
    Ok(vec![lowering.float(y, &dims, x.kind())?])
}

fn pool(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let op = call.node.op.as_str();
    call.ignore(&["storage_order"]);
    if call.node.outputs.get(1).is_some_and(|name| !name.is_empty()) {
        return Err("the positions of the maxima are not covered".into());
    }
    if x.dims().len() == 5 {
        return pool_volume(lowering, call);
    }
    let kernel = call.ints("kernel_shape")?.ok_or("has no kernel_shape")?;
    let kernel: Option<Vec<usize>> = kernel.iter().map(|&k| usize::try_from(k).ok()).collect();
    let mut spatial = Spatial::new(call, x.dims(), &kernel.ok_or("kernel_shape is negative")?)?;
    let ceil = call.flag("ceil_mode", false)?;
    spatial.pad_automatically(call.text("auto_pad", "NOTSET")?)?;
    let Spatial { kernel, stride, dilation, pads: padding, .. } = spatial;
    let windows = Sliding { kernel, stride, dilation, padding, ceil };
    check_exact(x.kind(), x.limit())?;
    let id = lowering.shaped(x, &spatial.dims)?;
    let y = match op {
        "MaxPool" => lowering.graph.add(MaxPool2d::sliding(windows), &[id])?,
        "AveragePool" => {
            let count_include_pad = call.flag("count_include_pad", false)?;
            lowering.graph.add(AvgPool2d { count_include_pad, ..AvgPool2d::sliding(windows) }, &[id])?
        }
        _ => {
            let p = call.int("p", 2)? as f64;
            let powers = lowering.powers(id, p)?;
            let mean =
                lowering.graph.add(AvgPool2d { count_include_pad: true, ..AvgPool2d::sliding(windows) }, &[powers])?;
            let sum = lowering.by("mul", mean, (kernel[0] * kernel[1]) as f64)?;
            lowering.root(sum, p)?
        }
    };
    let dims = spatial.own(&lowering.graph.shape(y)?);
    Ok(vec![lowering.integer(y, &dims, x.kind(), x.limit())?])
}

impl Lowering<'_> {
    /// |x|ᵖ.
    fn powers(&mut self, x: crate::graph::NodeId, p: f64) -> Lowered<crate::graph::NodeId> {
        if p == 2.0 {
            return Ok(self.graph.binary(x, x, "mul")?);
        }
        let x = self.graph.pointwise(x, "abs")?;
        if p == 1.0 { Ok(x) } else { self.by("pow", x, p) }
    }

    /// The p-th root.
    fn root(&mut self, x: crate::graph::NodeId, p: f64) -> Lowered<crate::graph::NodeId> {
        match p {
            1.0 => Ok(x),
            2.0 => Ok(self.graph.pointwise(x, "sqrt")?),
            p => self.by("pow", x, 1.0 / p),
        }
    }
}

fn global_pool(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let dims = x.dims();
    if dims.len() < 3 {
        return Err(problem(format!("expected [N, C, …], got {dims:?}")));
    }
    let axes = Attribute::Ints((2..dims.len() as i64).collect());
    let op = match call.node.op.as_str() {
        "GlobalMaxPool" => "ReduceMax",
        "GlobalAveragePool" if dims.len() == 4 => {
            let id = lowering.f32(x)?;
            let y = lowering.graph.add(AvgPool2d::global(), &[id])?;
            return Ok(vec![lowering.plain(y, x.kind())?]);
        }
        "GlobalAveragePool" => "ReduceMean",
        _ => {
            let p = call.int("p", 2)? as f64;
            let id = lowering.f32(x)?;
            let powers = lowering.powers(id, p)?;
            let powers = lowering.float(powers, dims, x.kind())?;
            let sum = lowering.apply("ReduceSum", &[powers], vec![("axes", axes)])?;
            let id = lowering.f32(&sum)?;
            let y = lowering.root(id, p)?;
            return Ok(vec![lowering.float(y, sum.dims(), x.kind())?]);
        }
    };
    Ok(vec![lowering.apply(op, std::slice::from_ref(x), vec![("axes", axes)])?])
}

/// Returns a vector per channel of `dims` `[N, C, …]` with the dimensions that broadcast over it.
fn per_channel(dims: &[usize]) -> Vec<usize> {
    let mut own = vec![1; dims.len().saturating_sub(1).max(1)];
    own[0] = dims.get(1).copied().unwrap_or(1);
    own
}

/// With the running statistics, which are known: y = a·x + b with a = scale/√(variance + ε).
fn batch_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["spatial", "is_test", "consumed_inputs"]);
    let (trains, momentum) = (call.flag("training_mode", false)?, call.float("momentum", 0.9)?);
    if !trains && call.node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
        return Err("the statistics of a batch as outputs are for training; export the network for inference".into());
    }
    let x = call.input(0)?;
    let eps = f64::from(call.float("epsilon", 1e-5)?);
    let channels = x.dims().get(1).copied().unwrap_or(1);
    if (1..5).any(|i| call.value(i).dims() != [channels]) {
        return Err(problem(format!("scale, bias, mean and variance must be [{channels}]")));
    }
    let wide = per_channel(x.dims());
    if trains {
        return batch_statistics(lowering, call, eps as f32, momentum);
    }
    let known: Option<Vec<Vec<f64>>> = (1..5).map(|i| call.value(i).known().map(Array::to_f64)).collect();
    let id = lowering.f32(x)?;
    let (a, b) = match known {
        Some(known) => {
            let a: Vec<f64> = (0..channels).map(|c| known[0][c] / (known[3][c] + eps).sqrt()).collect();
            let b: Vec<f32> = (0..channels).map(|c| (known[1][c] - known[2][c] * a[c]) as f32).collect();
            let a = a.into_iter().map(|v| v as f32).collect();
            let [a, b] = [a, b].map(|values| Array::floats(&wide, values));
            (lowering.f32(&a?.into())?, lowering.f32(&b?.into())?)
        }
        None => {
            let [w, b, mean, variance] = [1, 2, 3, 4].map(|i| lowering.shaped(call.value(i), &wide));
            let variance = lowering.by("add", variance?, eps)?;
            let deviation = lowering.graph.pointwise(variance, "sqrt")?;
            let a = lowering.graph.binary(w?, deviation, "div")?;
            let moved = lowering.graph.binary(mean?, a, "mul")?;
            (a, lowering.graph.binary(b?, moved, "sub")?)
        }
    };
    let y = lowering.graph.binary(id, a, "mul")?;
    let y = lowering.graph.binary(y, b, "add")?;
    Ok(vec![lowering.float(y, x.dims(), x.kind())?])
}

/// With the statistics of the batch, whose running means are the second and third output.
fn batch_statistics(lowering: &mut Lowering, call: &Call, eps: f32, momentum: f32) -> Lowered {
    let x = call.input(0)?;
    let (wide, channels) = (per_channel(x.dims()), call.value(1).dims().to_vec());
    let axes: Vec<i64> = (0..x.dims().len() as i64).filter(|&axis| axis != 1).collect();
    let [mean, variance, rest] = lowering.moments(x, &axes)?;
    let deviation = lowering.apply("Add", &[variance.clone(), Value::from(eps)], vec![])?;
    let deviation = lowering.apply("Sqrt", &[deviation], vec![])?;
    let mut y = lowering.apply("Div", &[rest, deviation], vec![])?;
    for (i, op) in [(1, "Mul"), (2, "Add")] {
        let value = lowering.redimensioned(call.value(i), &wide)?;
        y = lowering.apply(op, &[y, value], vec![])?;
    }
    let mut outputs = vec![y];
    for (i, own) in [(3, mean), (4, variance)] {
        let own = lowering.redimensioned(&own, &channels)?;
        let own = lowering.apply("Mul", &[own, Value::from(1.0 - momentum)], vec![])?;
        let running = lowering.apply("Mul", &[call.value(i).clone(), Value::from(momentum)], vec![])?;
        outputs.push(lowering.apply("Add", &[running, own], vec![])?);
    }
    Ok(outputs)
}

impl Lowering<'_> {
    /// Returns the mean and the variance over axes, which stay as 1, and the differences from the mean.
    fn moments(&mut self, x: &Value, axes: &[i64]) -> Lowered<[Value; 3]> {
        let axes = Attribute::Ints(axes.to_vec());
        let mean = self.apply("ReduceMean", std::slice::from_ref(x), vec![("axes", axes.clone())])?;
        let rest = self.apply("Sub", &[x.clone(), mean.clone()], vec![])?;
        let square = self.apply("Mul", &[rest.clone(), rest.clone()], vec![])?;
        let variance = self.apply("ReduceMean", &[square], vec![("axes", axes)])?;
        Ok([mean, variance, rest])
    }
}

fn instance_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let eps = call.float("epsilon", 1e-5)?;
    let channels = x.dims().get(1).copied().unwrap_or(1);
    let (id, w, b) = (lowering.f32(x)?, lowering.f32(call.input(1)?)?, lowering.f32(call.input(2)?)?);
    let y = lowering.graph.add(Normalize { over: Over::Groups(channels), eps }, &[id, w, b])?;
    Ok(vec![lowering.float(y, x.dims(), x.kind())?])
}

/// Before version 21, scale and bias are those of a group.
fn group_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["stash_type"]);
    let x = call.input(0)?;
    let eps = call.float("epsilon", 1e-5)?;
    let channels = x.dims().get(1).copied().unwrap_or(1);
    let groups = call.int("num_groups", 0)?.max(0) as usize;
    if groups == 0 || channels % groups != 0 {
        return Err(problem(format!("{channels} channels do not split into {groups} groups")));
    }
    let mut scales = Vec::new();
    for i in 1..3 {
        let mut scale = call.input(i)?.clone();
        if scale.dims() == [groups] && groups != channels {
            let column = lowering.redimensioned(&scale, &[groups, 1])?;
            let wide = lowering.expanded(&column, &[groups, channels / groups])?;
            scale = lowering.redimensioned(&wide, &[channels])?;
        }
        scales.push(lowering.f32(&scale)?);
    }
    let id = lowering.f32(x)?;
    let y = lowering.graph.add(Normalize { over: Over::Groups(groups), eps }, &[id, scales[0], scales[1]])?;
    Ok(vec![lowering.float(y, x.dims(), x.kind())?])
}

fn layer_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["stash_type"]);
    let x = call.input(0)?;
    let axis = Call::axis(call.int("axis", -1)?, x.dims().len())?;
    let eps = call.float("epsilon", 1e-5)?;
    let mut statistics = Vec::new();
    if call.node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
        let axes: Vec<i64> = (axis as i64..x.dims().len() as i64).collect();
        let [mean, variance, _] = lowering.moments(x, &axes)?;
        let sum = lowering.apply("Add", &[variance, Value::from(eps)], vec![])?;
        let deviation = lowering.apply("Sqrt", &[sum], vec![])?;
        statistics = vec![mean, lowering.apply("Reciprocal", &[deviation], vec![])?];
    }
    let last = &x.dims()[axis..];
    let mut scale = |i: usize, default: f32| -> Lowered<crate::graph::NodeId> {
        match call.value(i) {
            Value::Absent => lowering.filled(last, default),
            value => {
                let wide = lowering.expanded(value, &broadcast(last, value.dims())?)?;
                lowering.shaped(&wide, last)
            }
        }
    };
    let (w, b) = (scale(1, 1.0)?, scale(2, 0.0)?);
    let id = lowering.f32(x)?;
    let y = lowering.graph.add(Normalize { over: Over::AxesFrom(axis), eps }, &[id, w, b])?;
    let y = lowering.float(y, x.dims(), x.kind())?;
    Ok([vec![y], statistics].concat())
}

/// x·scale/√(mean of x² + ε).
fn rms_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    call.ignore(&["stash_type"]);
    let (x, scale) = (call.input(0)?, call.input(1)?);
    let rank = x.dims().len();
    let axis = Call::axis(call.int("axis", -1)?, rank)?;
    let eps = f64::from(call.float("epsilon", 1e-5)?);
    let axes = Attribute::Ints((axis as i64..rank as i64).collect());
    let square = lowering.apply("Mul", &[x.clone(), x.clone()], vec![])?;
    let mean = lowering.apply("ReduceMean", &[square], vec![("axes", axes)])?;
    let eps = Value::from(eps as f32);
    let mean = lowering.apply("Add", &[mean, eps], vec![])?;
    let root = lowering.apply("Sqrt", &[mean], vec![])?;
    let y = lowering.apply("Div", &[x.clone(), root], vec![])?;
    Ok(vec![lowering.apply("Mul", &[y, scale.clone()], vec![])?])
}

/// (x − mean)/(deviation + 10⁻⁹), as ONNX defines it.
fn mean_variance_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let axes = call.ints("axes")?.map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let [_, variance, rest] = lowering.moments(x, &axes)?;
    let deviation = lowering.apply("Sqrt", &[variance], vec![])?;
    let eps = Value::from(1e-9);
    let deviation = lowering.apply("Add", &[deviation, eps], vec![])?;
    Ok(vec![lowering.apply("Div", &[rest, deviation], vec![])?])
}

fn lp_norm(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let op = match call.int("p", 2)? {
        1 => "ReduceL1",
        2 => "ReduceL2",
        p => return Err(problem(format!("p is {p}, expected 1 or 2"))),
    };
    let axis = Call::axis(call.int("axis", -1)?, x.dims().len())?;
    let length = lowering.apply(op, std::slice::from_ref(x), vec![("axes", Attribute::Ints(vec![axis as i64]))])?;
    // What has no length stays 0.
    let zero = Value::from(0.0);
    let one = Value::from(1.0);
    let is_zero = lowering.apply("Equal", &[length.clone(), zero], vec![])?;
    let length = lowering.apply("Where", &[is_zero, one, length], vec![])?;
    Ok(vec![lowering.apply("Div", &[x.clone(), length], vec![])?])
}

/// y = x/(k + α/size·Σ x²)^β, with the sum over `size` neighbouring channels: an average over windows of channels.
fn lrn(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let (alpha, beta) = (f64::from(call.float("alpha", 1e-4)?), f64::from(call.float("beta", 0.75)?));
    let bias = f64::from(call.float("bias", 1.0)?);
    let size =
        usize::try_from(call.int("size", 0)?).ok().filter(|&n| n > 0).ok_or("the attribute size must be at least 1")?;
    let dims = x.dims();
    let &[n, c, ..] = dims else { return Err(problem(format!("expected [N, C, …], got {dims:?}"))) };
    let inner: usize = dims[2..].iter().product();
    let id = lowering.shaped(x, &[n, 1, c, inner])?;
    let square = lowering.graph.binary(id, id, "mul")?;
    let before = (size - 1) / 2;
    let windows = Sliding { kernel: [size, 1], padding: [before, 0, size - 1 - before, 0], ..Sliding::square(1, 1) };
    let mean = lowering.graph.add(AvgPool2d { count_include_pad: true, ..AvgPool2d::sliding(windows) }, &[square])?;
    let scaled = lowering.by("mul", mean, alpha)?;
    let scaled = lowering.by("add", scaled, bias)?;
    let power = lowering.by("pow", scaled, beta)?;
    let y = lowering.graph.binary(id, power, "div")?;
    Ok(vec![lowering.float(y, dims, x.kind())?])
}

fn matmul(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if !a.kind().is_float() {
        return Err(problem(format!("products of matrices of {} are not covered", a.kind())));
    }
    let (m, n) = (a.dims(), b.dims());
    if m.is_empty() || n.is_empty() {
        return Err("a scalar is no matrix".into());
    }
    // A vector on the left is a row, one on the right a column.
    let left = if m.len() == 1 { vec![1, m[0]] } else { m.to_vec() };
    let right = if n.len() == 1 { vec![n[0], 1] } else { n.to_vec() };
    let mut dims = broadcast(&left[..left.len() - 2], &right[..right.len() - 2])?;
    if left[left.len() - 1] != right[right.len() - 2] {
        return Err(problem(format!("{m:?} and {n:?} do not fit")));
    }
    if m.len() > 1 {
        dims.push(left[left.len() - 2]);
    }
    if n.len() > 1 {
        dims.push(right[right.len() - 1]);
    }
    if count(&dims) == Some(0) || count(m) == Some(0) {
        let zeros = vec![0.0; held(&dims)?];
        return Ok(vec![Array::from_f64(&dims, a.kind(), &zeros)?.into()]);
    }
    let (x, y) = (lowering.shaped(a, &left)?, lowering.shaped(b, &right)?);
    let y = lowering.graph.matmul(x, y, Matmul::default())?;
    Ok(vec![lowering.float(y, &dims, a.kind())?])
}

/// α·A·B + β·C, either transposed.
fn gemm(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let (alpha, beta) = (f64::from(call.float("alpha", 1.0)?), f64::from(call.float("beta", 1.0)?));
    let (transpose_a, transpose_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    call.ignore(&["broadcast"]);
    let (&[ah, aw], &[bh, bw]) = (a.dims(), b.dims()) else {
        return Err(problem(format!("expected matrices, got {:?} and {:?}", a.dims(), b.dims())));
    };
    if !a.kind().is_float() {
        return Err(problem(format!("products of matrices of {} are not covered", a.kind())));
    }
    let (rows, depth) = if transpose_a { (aw, ah) } else { (ah, aw) };
    let (inner, columns) = if transpose_b { (bw, bh) } else { (bh, bw) };
    if depth != inner {
        return Err(problem(format!("{:?} and {:?} do not fit", a.dims(), b.dims())));
    }
    let dims = [rows, columns];
    let c = call.value(2);
    let (x, y) = (lowering.f32(a)?, lowering.f32(b)?);
    // A fully connected layer.
    if !transpose_a && transpose_b && alpha == 1.0 && beta == 1.0 && (!call.has(2) || c.dims() == [columns]) {
        let (x, w) = (lowering.reshape(x, &[rows, depth, 1, 1])?, lowering.reshape(y, &[columns, depth, 1, 1])?);
        let b = lowering.bias(c, columns)?;
        let y = lowering.graph.add(Linear, &[x, w, b])?;
        return Ok(vec![lowering.float(y, &dims, a.kind())?]);
    }
    let mut y = lowering.graph.matmul(x, y, Matmul { transpose_a, transpose_b })?;
    if alpha != 1.0 {
        y = lowering.by("mul", y, alpha)?;
    }
    if call.has(2) && beta != 0.0 {
        if broadcast(c.dims(), &dims)? != dims {
            return Err(problem(format!("C is {:?}, which does not fit {dims:?}", c.dims())));
        }
        let mut id = lowering.f32(c)?;
        if beta != 1.0 {
            id = lowering.by("mul", id, beta)?;
        }
        y = lowering.graph.binary(y, id, "add")?;
    }
    Ok(vec![lowering.float(y, &dims, a.kind())?])
}
