//! Values of pictures at positions between pixels that other values give, and boxes.
//!
//! Source: ONNX's Operators.md and its reference implementation, onnx/reference/ops/op_{grid_sample,affine_grid,roi_align}.py.

use super::{Call, Lower, Lowered, Lowering, Value, check_exact, problem};
use crate::import::array::{Array, Kind, count};

/// The largest number of weights that RoiAlign computes from its regions.
const MAX_WEIGHTS: usize = 1 << 26;

/// The largest number of weights in a bin of RoiAlign: each adds a gather, a product and a sum to the network. 32 × 32 samples.
const MAX_SAMPLES: usize = if cfg!(fuzzing) { 1 << 8 } else { 1 << 12 };

pub fn find(op: &str) -> Option<Lower> {
    Some(match op {
        "GridSample" => grid_sample,
        "AffineGrid" => affine_grid,
        "RoiAlign" => roi_align,
        _ => return None,
    })
}

/// What lies beyond the border.
#[derive(Clone, Copy, PartialEq)]
enum Beyond {
    Zeros,
    Border,
    Reflection,
}

/// An axis of the picture: its size, and from where to where it reaches.
struct Extent {
    size: f64,
    low: f64,
    high: f64,
}

/// Samples along one axis: positions from 0 to its size - 1, whether they lie inside, and weights.
struct Tap {
    at: Value,
    is_inside: Option<Value>,
    weight: Option<Value>,
}

impl Lowering<'_> {
    fn two(&mut self, op: &str, a: &Value, b: &Value) -> Lowered<Value> {
        self.apply(op, &[a.clone(), b.clone()], vec![])
    }

    fn with(&mut self, op: &str, a: &Value, b: f64) -> Lowered<Value> {
        self.two(op, a, &Value::from(b as f32))
    }

    /// Mirrors positions at both ends of an axis, again and again.
    fn reflected(&mut self, x: &Value, extent: &Extent) -> Lowered<Value> {
        let range = extent.high - extent.low;
        if range == 0.0 {
            return self.with("Mul", x, 0.0);
        }
        // A triangle of period 2·range.
        let rest = self.with("Sub", x, extent.low)?;
        let turns = self.with("Div", &rest, 2.0 * range)?;
        let turns = self.apply("Floor", &[turns], vec![])?;
        let turns = self.with("Mul", &turns, 2.0 * range)?;
        let rest = self.two("Sub", &rest, &turns)?;
        let back = self.two("Sub", &Value::from((2.0 * range) as f32), &rest)?;
        let rest = self.two("Min", &rest, &back)?;
        self.with("Add", &rest, extent.low)
    }

    fn clamped(&mut self, x: &Value, extent: &Extent) -> Lowered<Value> {
        self.apply("Clip", &[x.clone(), Value::from(0.0), Value::from((extent.size - 1.0) as f32)], vec![])
    }

    /// Returns the sample at whole positions.
    fn tap(&mut self, at: Value, weight: Option<Value>, extent: &Extent, beyond: Beyond) -> Lowered<Tap> {
        let mut is_inside = None;
        let mut inside = at.clone();
        match beyond {
            Beyond::Zeros => {
                let (above, below) =
                    (self.with("GreaterOrEqual", &at, 0.0)?, self.with("LessOrEqual", &at, extent.size - 1.0)?);
                is_inside = Some(self.two("And", &above, &below)?);
            }
            Beyond::Border => {}
            Beyond::Reflection => {
                inside = self.reflected(&at, extent)?;
                inside = self.apply("Round", &[inside], vec![])?;
            }
        }
        Ok(Tap { at: self.clamped(&inside, extent)?, is_inside, weight })
    }

    /// Returns the samples along one axis for positions `x`.
    fn taps_at(&mut self, x: Value, extent: &Extent, mode: &str, beyond: Beyond) -> Lowered<Vec<Tap>> {
        let mut x = if mode == "nearest" { self.apply("Round", &[x], vec![])? } else { x };
        match beyond {
            Beyond::Zeros => {}
            // Between the border and the centres of its pixels, positions stay.
            Beyond::Border => {
                let (below, above) = (self.with("Less", &x, extent.low)?, self.with("Greater", &x, extent.high)?);
                let is_outside = self.two("Or", &below, &above)?;
                let clamped = self.clamped(&x, extent)?;
                x = self.apply("Where", &[is_outside, clamped, x], vec![])?;
            }
            Beyond::Reflection => x = self.reflected(&x, extent)?,
        }
        if mode == "nearest" {
            return Ok(vec![self.tap(x, None, extent, beyond)?]);
        }
        let floor = self.apply("Floor", std::slice::from_ref(&x), vec![])?;
        let fraction = self.two("Sub", &x, &floor)?;
        let offsets: &[f64] = if mode == "linear" { &[0.0, 1.0] } else { &[-1.0, 0.0, 1.0, 2.0] };
        let mut taps = Vec::with_capacity(offsets.len());
        for &offset in offsets {
            let at = self.with("Add", &floor, offset)?;
            let distance = self.with("Sub", &fraction, offset)?;
            let distance = self.apply("Abs", &[distance], vec![])?;
            let weight = if mode == "linear" {
                self.two("Sub", &Value::from(1.0), &distance)?
            } else {
                self.keys(&distance, offset == 0.0 || offset == 1.0)?
            };
            taps.push(self.tap(at, Some(weight), extent, beyond)?);
        }
        Ok(taps)
    }

    /// Keys' cubic (1981) with -0.75, for distances below 1, or from 1 to 2.
    fn keys(&mut self, d: &Value, is_near: bool) -> Lowered<Value> {
        // As polynomials, in Horner's form.
        let coefficients = if is_near { [1.25, -2.25, 0.0, 1.0] } else { [-0.75, 3.75, -6.0, 3.0] };
        let mut y = Value::from(coefficients[0] as f32);
        for c in &coefficients[1..] {
            y = self.two("Mul", &y, d)?;
            y = self.with("Add", &y, *c)?;
        }
        Ok(y)
    }
}

fn grid_sample(lowering: &mut Lowering, call: &Call) -> Lowered {
    let (x, grid) = (call.input(0)?, call.input(1)?);
    let (dims, places) = (x.dims().to_vec(), grid.dims().to_vec());
    let mode = match call.text("mode", "linear")? {
        "linear" | "bilinear" => "linear",
        "cubic" | "bicubic" => "cubic",
        "nearest" => "nearest",
        other => return Err(problem(format!("the mode {other:?} is not covered"))),
    };
    let beyond = match call.text("padding_mode", "zeros")? {
        "zeros" => Beyond::Zeros,
        "border" => Beyond::Border,
        "reflection" => Beyond::Reflection,
        other => return Err(problem(format!("padding_mode {other:?} is not covered"))),
    };
    let aligned = call.flag("align_corners", false)?;
    let rank = dims.len().saturating_sub(2);
    if rank == 0 || places.len() != dims.len() || places[0] != dims[0] || places[rank + 1] != rank {
        return Err(problem(format!("a grid {places:?} does not fit {dims:?}")));
    }
    let (n, c) = (dims[0], dims[1]);
    let total = count(&places[1..=rank]).ok_or("the grid is too large")?;
    let result = [&dims[..2], &places[1..=rank]].concat();
    if count(&result) == Some(0) || count(&dims) == Some(0) {
        return Ok(vec![lowering.empty(x, &result)?]);
    }
    let pixels = count(&dims[2..]).ok_or("the input is too large")?;
    check_exact(Kind::I64, pixels as f64)?;
    let flat = lowering.redimensioned(grid, &[n, total, rank])?;
    let mut axes = Vec::with_capacity(rank);
    for (d, &size) in dims[2..].iter().enumerate() {
        // The grid names the last axis first.
        let own = lowering.sliced(&flat, 2, rank - 1 - d, 1, 1)?;
        let own = lowering.redimensioned(&own, &[n, 1, total])?;
        let size = size as f64;
        let from_zero = lowering.with("Add", &own, 1.0)?;
        let (at, low, high) = if aligned {
            (lowering.with("Mul", &from_zero, (size - 1.0) / 2.0)?, 0.0, size - 1.0)
        } else {
            let at = lowering.with("Mul", &from_zero, size / 2.0)?;
            (lowering.with("Sub", &at, 0.5)?, -0.5, size - 0.5)
        };
        axes.push(lowering.taps_at(at, &Extent { size, low, high }, mode, beyond)?);
    }
    let rows = lowering.redimensioned(x, &[n, c, pixels])?;
    let rows = lowering.f32(&rows)?;
    let combinations: usize = axes.iter().map(Vec::len).product();
    let mut sum: Option<Value> = None;
    for k in 0..combinations {
        let (mut at, mut is_inside, mut weight): (Option<Value>, Option<Value>, Option<Value>) = (None, None, None);
        let mut rest = k;
        for (taps, &size) in axes.iter().zip(&dims[2..]) {
            let tap = &taps[rest % taps.len()];
            rest /= taps.len();
            at = Some(match at {
                None => tap.at.clone(),
                Some(at) => {
                    let row = lowering.with("Mul", &at, size as f64)?;
                    lowering.two("Add", &row, &tap.at)?
                }
            });
            for (all, own, op) in [(&mut is_inside, &tap.is_inside, "And"), (&mut weight, &tap.weight, "Mul")] {
                *all = match (all.take(), own) {
                    (Some(all), Some(own)) => Some(lowering.two(op, &all, own)?),
                    (all, own) => all.or_else(|| own.clone()),
                };
            }
        }
        let at = lowering.expanded(&at.ok_or("has no axes")?, &[n, c, total])?;
        let at = lowering.u32(&at)?;
        let taken = lowering.graph.gather_elements(rows, at, 2)?;
        let mut term = lowering.float(taken, &[n, c, total], x.kind())?;
        if let Some(is_inside) = is_inside {
            let zero: Value = Array::from_f64(&[], x.kind(), &[0.0])?.into();
            term = lowering.apply("Where", &[is_inside, term, zero], vec![])?;
        }
        if let Some(weight) = weight {
            term = lowering.two("Mul", &term, &weight)?;
        }
        sum = Some(match sum {
            None => term,
            Some(sum) => lowering.two("Add", &sum, &term)?,
        });
    }
    let sum = sum.ok_or("has no axes")?;
    Ok(vec![lowering.redimensioned(&sum, &result)?])
}

/// θ times the homogeneous coordinates of all pixels.
fn affine_grid(lowering: &mut Lowering, call: &Call) -> Lowered {
    let theta = call.input(0)?;
    let aligned = call.flag("align_corners", false)?;
    let size = call.known_ints(1, "size")?.ok_or("has no size")?;
    let sizes: Option<Vec<usize>> = size.iter().skip(2).map(|&n| usize::try_from(n).ok().filter(|&n| n > 0)).collect();
    let sizes = sizes
        .filter(|sizes| matches!(sizes.len(), 2 | 3))
        .ok_or_else(|| problem(format!("the size {size:?} is no picture's")))?;
    let rank = sizes.len();
    let &[n, rows, columns] = theta.dims() else {
        return Err(problem(format!("expected matrices, got {:?}", theta.dims())));
    };
    if [rows, columns] != [rank, rank + 1] || usize::try_from(size[0]) != Ok(n) {
        return Err(problem(format!("theta {:?} does not fit the size {size:?}", theta.dims())));
    }
    let total = count(&sizes).filter(|&n| n <= MAX_WEIGHTS).ok_or("the grid is too large")?;
    let mut values = Vec::with_capacity((rank + 1) * total);
    // The last axis comes first.
    for d in (0..rank).rev() {
        let (own, inner) = (sizes[d], sizes[d + 1..].iter().product::<usize>());
        let place = |i: usize| {
            let i = (i / inner % own) as f64;
            if aligned {
                if own == 1 { -1.0 } else { 2.0 * i / (own as f64 - 1.0) - 1.0 }
            } else {
                (2.0 * i + 1.0) / own as f64 - 1.0
            }
        };
        values.extend((0..total).map(place));
    }
    values.extend(std::iter::repeat_n(1.0, total));
    let places: Value = Array::from_f64(&[rank + 1, total], theta.kind(), &values)?.into();
    let grid = lowering.two("MatMul", theta, &places)?;
    let grid = lowering.permuted(&grid, &[0, 2, 1])?;
    Ok(vec![lowering.redimensioned(&grid, &[&[n], &sizes[..], &[rank]].concat())?])
}

/// The four pixels around a position, and their weights: none outside of the picture.
fn around(y: f64, x: f64, [height, width]: [usize; 2]) -> [(usize, f64); 4] {
    if y < -1.0 || y > height as f64 || x < -1.0 || x > width as f64 || !(x + y).is_finite() {
        return [(0, 0.0); 4];
    }
    let split = |at: f64, size: usize| {
        let at = at.max(0.0).min(size as f64 - 1.0);
        let low = at.floor() as usize;
        (low, (low + 1).min(size - 1), at - at.floor())
    };
    let ((top, bottom, down), (left, right, across)) = (split(y, height), split(x, width));
    let at = |row: usize, column: usize| row * width + column;
    [
        (at(top, left), (1.0 - down) * (1.0 - across)),
        (at(top, right), (1.0 - down) * across),
        (at(bottom, left), down * (1.0 - across)),
        (at(bottom, right), down * across),
    ]
}

/// Averages or maxima of samples in the bins of known regions.
fn roi_align(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let &[n, c, h, w] = x.dims() else { return Err(problem(format!("expected [N, C, H, W], got {:?}", x.dims()))) };
    let regions = call.known_floats(1, "regions")?.ok_or("has no regions")?;
    let batches = call.known_ints(2, "batch indices")?.ok_or("has no batch indices")?;
    let size = |name: &str| -> Lowered<usize> {
        usize::try_from(call.int(name, 1)?)
            .ok()
            .filter(|n| (1..=4096).contains(n))
            .ok_or_else(|| problem(format!("{name} must be 1 to 4096")))
    };
    let [rows, columns] = [size("output_height")?, size("output_width")?];
    let scale = f64::from(call.float("spatial_scale", 1.0)?);
    let ratio = call.int("sampling_ratio", 0)?;
    let is_half = match call
        .text("coordinate_transformation_mode", if call.opset < 16 { "output_half_pixel" } else { "half_pixel" })?
    {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(problem(format!("coordinate_transformation_mode {other:?} is not covered"))),
    };
    let is_mean = match call.text("mode", "avg")? {
        "avg" => true,
        "max" => false,
        other => return Err(problem(format!("the mode {other:?} is not covered"))),
    };
    if regions.len() != 4 * batches.len() || batches.iter().any(|&b| usize::try_from(b).ok().is_none_or(|b| b >= n)) {
        return Err(problem(format!(
            "{} regions do not fit {} batch indices of {n} pictures",
            regions.len() / 4,
            batches.len()
        )));
    }
    let result = [batches.len(), c, rows, columns];
    if count(&[batches.len(), rows, columns]).is_none_or(|n| n > MAX_WEIGHTS) {
        return Err(problem(format!("{} regions of {rows} × {columns} bins are too large", batches.len())));
    }
    if count(&result) == Some(0) || count(x.dims()) == Some(0) {
        return Ok(vec![lowering.empty(x, &result)?]);
    }
    let mut taps: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut weights = 0;
    for (region, &batch) in regions.chunks_exact(4).zip(&batches) {
        let offset = if is_half { 0.5 } else { 0.0 };
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|k| region[k] * scale - offset);
        let (mut width, mut height) = (right - left, bottom - top);
        if !is_half {
            (width, height) = (width.max(1.0), height.max(1.0));
        }
        let (tall, wide) = (height / rows as f64, width / columns as f64);
        let samples = |bin: f64| if ratio > 0 { ratio as f64 } else { bin.ceil().max(0.0) };
        let (down, across) = (samples(tall), samples(wide));
        let total = down * across;
        let needed = 4.0 * total * (rows * columns) as f64;
        if needed.is_nan() || needed > (MAX_WEIGHTS - weights) as f64 || 4.0 * total > MAX_SAMPLES as f64 {
            return Err(problem(format!("regions with {total} samples in each bin are too large")));
        }
        weights += 4 * total as usize * rows * columns;
        for bin in 0..rows * columns {
            let (row, column) = ((bin / columns) as f64, (bin % columns) as f64);
            let mut own = Vec::with_capacity(4 * total as usize);
            for k in 0..total as usize {
                let (i, j) = (k / across as usize, k % across as usize);
                let y = top + row * tall + (i as f64 + 0.5) * tall / down;
                let x = left + column * wide + (j as f64 + 0.5) * wide / across;
                let first = batch as usize * h * w;
                own.extend(
                    around(y, x, [h, w])
                        .map(|(at, weight)| (first + at, if is_mean { weight / total } else { weight })),
                );
            }
            taps.push(own);
        }
    }
    let most = taps.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let pixels = lowering.permuted(x, &[0, 2, 3, 1])?;
    let pixels = lowering.redimensioned(&pixels, &[n * h * w, c])?;
    let mut y: Option<Value> = None;
    for t in 0..most {
        // A bin with fewer samples repeats its first one, or adds nothing.
        let own = |taps: &Vec<(usize, f64)>| match taps.get(t).or(taps.first()).copied().unwrap_or((0, 0.0)) {
            (at, weight) if t < taps.len() || !is_mean => (at, weight),
            (at, _) => (at, 0.0),
        };
        let (at, weights): (Vec<usize>, Vec<f64>) = taps.iter().map(own).unzip();
        let taken = lowering.taken(&pixels, 0, &at)?;
        let weights: Value = Array::from_f64(&[weights.len(), 1], x.kind(), &weights)?.into();
        let term = lowering.two("Mul", &taken, &weights)?;
        y = Some(match y {
            None => term,
            Some(y) => lowering.two(if is_mean { "Add" } else { "Max" }, &y, &term)?,
        });
    }
    let y = y.ok_or("has no samples")?;
    let y = lowering.redimensioned(&y, &[batches.len(), rows, columns, c])?;
    Ok(vec![lowering.permuted(&y, &[0, 3, 1, 2])?])
}
