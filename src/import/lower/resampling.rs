//! Resize and Upsample: interpolation along each axis by itself.
//!
//! Source: Resize of ONNX's Operators.md and its reference implementation, onnx/reference/ops/op_resize.py.

use super::{Call, Lower, Lowered, Lowering, Problem, Value, problem};
use crate::import::array::{Array, count};
use crate::ops::resize::{Border, Kernel, Ratio, Resize, Taps};

pub fn find(op: &str) -> Option<Lower> {
    Some(match op {
        "Resize" => resize,
        "Upsample" => upsample,
        _ => return None,
    })
}

/// How a value between pixels is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Nearest(Rounding),
    Linear,
    /// Keys' cubic with this coefficient.
    Cubic(f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

/// Where an output pixel lies in the input.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    TfHalfPixelForNn,
    AlignCorners,
    Asymmetric,
    /// A part of the axis, from and to these fractions of it.
    Crop([f64; 2]),
}

/// What all axes of a resize share.
#[derive(Debug, Clone, Copy)]
struct Manner {
    mode: Mode,
    antialias: bool,
    excludes_outside: bool,
}

impl Manner {
    /// Returns how many positions an output of an axis is the average of, or one or two less.
    fn most_taps(&self, scale: f64) -> f64 {
        let stretch = if self.antialias { scale.min(1.0) } else { 1.0 };
        match self.mode {
            Mode::Nearest(_) => 1.0,
            Mode::Linear => 2.0 / stretch,
            Mode::Cubic(_) => 4.0 / stretch,
        }
    }
}

/// The input positions and their weights for every output along an axis; `None` where the output lies outside of the input, and has the
/// extrapolated value.
type Sums = Vec<Option<Vec<(usize, f64)>>>;

/// One axis of a resize.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: usize,
    to: usize,
    scale: f64,
    coordinates: Coordinates,
}

impl Axis {
    /// Returns the position of output `o` in the input.
    fn position(&self, o: usize) -> f64 {
        let (x, last) = (o as f64, self.from as f64 - 1.0);
        let width = self.scale * self.from as f64;
        let half = (x + 0.5) / self.scale - 0.5;
        match self.coordinates {
            Coordinates::HalfPixel => half,
            Coordinates::PytorchHalfPixel => {
                if self.to > 1 {
                    half
                } else {
                    -0.5
                }
            }
            Coordinates::TfHalfPixelForNn => (x + 0.5) / self.scale,
            Coordinates::Asymmetric => x / self.scale,
            Coordinates::AlignCorners => {
                if width == 1.0 {
                    0.0
                } else {
                    x * last / (width - 1.0)
                }
            }
            Coordinates::HalfPixelSymmetric => {
                let center = self.from as f64 / 2.0;
                center * (1.0 - self.to as f64 / width) + half
            }
            Coordinates::Crop([begin, end]) if width == 1.0 => (begin + end) * last / 2.0,
            Coordinates::Crop([begin, end]) => begin * last + x * (end - begin) * last / (width - 1.0),
        }
    }

    fn taps(&self, manner: Manner) -> Sums {
        (0..self.to).map(|o| self.tap(self.position(o), manner)).collect()
    }

    fn tap(&self, at: f64, manner: Manner) -> Option<Vec<(usize, f64)>> {
        let last = self.from as f64 - 1.0;
        if matches!(self.coordinates, Coordinates::Crop(_)) && !(0.0..=last).contains(&at) {
            return None;
        }
        // The fraction is in (0, 1]: a position on a pixel lies at the end of the way to it.
        let floor = at.ceil() - 1.0;
        let fraction = at - floor;
        let stretch = if manner.antialias { self.scale.min(1.0) } else { 1.0 };
        let (first, weights): (f64, Vec<f64>) = match manner.mode {
            Mode::Nearest(rounding) => {
                let takes_next = match rounding {
                    _ if fraction == 1.0 => true,
                    Rounding::PreferFloor => fraction > 0.5,
                    Rounding::PreferCeil => fraction >= 0.5,
                    Rounding::Floor => false,
                    Rounding::Ceil => true,
                };
                (floor + f64::from(takes_next), vec![1.0])
            }
            Mode::Linear => {
                let first = (-1.0 / stretch).floor() + 1.0;
                let count = 2.0 - 2.0 * first;
                let weight = |k: f64| (1.0 - ((first + k - fraction) * stretch).abs()).clamp(0.0, 1.0);
                (floor + first, (0..count as usize).map(|k| weight(k as f64)).collect())
            }
            Mode::Cubic(a) => {
                let first = (-2.0 / stretch).floor() + 1.0;
                let count = 2.0 - 2.0 * first;
                let weight = |k: f64| cubic(a, (first + k - fraction) * stretch);
                (floor + first, (0..count as usize).map(|k| weight(k as f64)).collect())
            }
        };
        let is_inside = |k: usize| (0.0..=last).contains(&(first + k as f64));
        let kept = |k: usize, weight: f64| if manner.excludes_outside && !is_inside(k) { 0.0 } else { weight };
        let weights: Vec<f64> = weights.into_iter().enumerate().map(|(k, weight)| kept(k, weight)).collect();
        let sum: f64 = weights.iter().sum();
        // Beyond the border lies its pixel.
        let at = |k: usize| (first + k as f64).clamp(0.0, last) as usize;
        Some(weights.iter().enumerate().map(|(k, weight)| (at(k), weight / sum)).collect())
    }
}

/// Keys 1981.
fn cubic(a: f64, distance: f64) -> f64 {
    let d = distance.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

fn mode(call: &Call, nearest: Rounding) -> Lowered<Mode> {
    let rounding = match call.text("nearest_mode", "")? {
        "" => nearest,
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(problem(format!("nearest_mode {other:?} is not covered"))),
    };
    let coefficient = f64::from(call.float("cubic_coeff_a", -0.75)?);
    match call.text("mode", "nearest")? {
        "nearest" => Ok(Mode::Nearest(rounding)),
        "linear" | "bilinear" => Ok(Mode::Linear),
        "cubic" => Ok(Mode::Cubic(coefficient)),
        other => Err(problem(format!("the mode {other:?} is not covered"))),
    }
}

/// Returns the size that a scale gives.
fn scaled(size: usize, scale: f64) -> Lowered<usize> {
    let to = (size as f64 * scale).floor();
    if scale > 0.0 && (1.0..4_294_967_296.0).contains(&to) {
        Ok(to as usize)
    } else {
        Err(problem(format!("{size} pixels cannot be scaled by {scale}")))
    }
}

fn upsample(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let scales: Vec<f64> = match call.floats("scales")? {
        Some(scales) => scales.iter().map(|&v| f64::from(v)).collect(),
        None => call.known_floats(1, "scales")?.ok_or("has no scales")?,
    };
    let manner = Manner { mode: mode(call, Rounding::Floor)?, antialias: false, excludes_outside: false };
    by_scales(lowering, x, &scales, manner)
}

/// Resizes as the versions before 11 do.
fn by_scales(lowering: &mut Lowering, x: &Value, scales: &[f64], manner: Manner) -> Lowered {
    let dims = x.dims().to_vec();
    if scales.len() != dims.len() {
        return Err(problem(format!("has {} scales for {dims:?}", scales.len())));
    }
    let mut axes = Vec::with_capacity(dims.len());
    for (&from, &scale) in dims.iter().zip(scales) {
        axes.push(Axis { from, to: scaled(from, scale)?, scale, coordinates: Coordinates::Asymmetric });
    }
    Ok(vec![lowering.resampled(x, &axes, manner, 0.0)?])
}

fn resize(lowering: &mut Lowering, call: &Call) -> Lowered {
    let x = call.input(0)?;
    let dims = x.dims().to_vec();
    let rank = dims.len();
    if call.opset < 11 {
        let scales = call.known_floats(1, "scales")?.ok_or("has no scales")?;
        let manner = Manner { mode: mode(call, Rounding::Floor)?, antialias: false, excludes_outside: false };
        return by_scales(lowering, x, &scales, manner);
    }
    let manner = Manner {
        mode: mode(call, Rounding::PreferFloor)?,
        antialias: call.flag("antialias", false)?,
        excludes_outside: call.flag("exclude_outside", false)?,
    };
    let chosen: Vec<usize> = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|&axis| Call::axis(axis, rank)).collect::<Lowered<_>>()?,
        None => (0..rank).collect(),
    };
    let coordinates = match call.text("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::Crop([0.0, 1.0]),
        other => return Err(problem(format!("coordinate_transformation_mode {other:?} is not covered"))),
    };
    let policy = call.text("keep_aspect_ratio_policy", "stretch")?.to_owned();
    let extrapolated = f64::from(call.float("extrapolation_value", 0.0)?);
    let region = if matches!(coordinates, Coordinates::Crop(_)) {
        call.known_floats(1, "roi")?.unwrap_or_default()
    } else {
        vec![]
    };
    let scales = call.known_floats(2, "scales")?.filter(|scales| !scales.is_empty());
    let sizes = call.known_ints(3, "sizes")?.filter(|sizes| !sizes.is_empty());
    let given = scales.as_ref().map(Vec::len).or(sizes.as_ref().map(Vec::len)).ok_or("has neither scales nor sizes")?;
    if given != chosen.len() || (!region.is_empty() && region.len() != 2 * chosen.len()) {
        return Err(problem(format!("has {given} scales or sizes for {} axes", chosen.len())));
    }
    // Sizes that keep the aspect ratio are those of one scale.
    let shared = sizes.as_ref().filter(|_| policy != "stretch").map(|sizes| {
        let each = chosen.iter().zip(sizes).map(|(&axis, &size)| size as f64 / dims[axis] as f64);
        if policy == "not_larger" { each.fold(f64::INFINITY, f64::min) } else { each.fold(0.0, f64::max) }
    });
    let mut axes: Vec<Axis> =
        dims.iter().map(|&from| Axis { from, to: from, scale: 1.0, coordinates: Coordinates::Asymmetric }).collect();
    for (k, &axis) in chosen.iter().enumerate() {
        let from = dims[axis];
        let (to, scale) = match (&scales, &sizes, shared) {
            (Some(scales), ..) => (scaled(from, scales[k])?, scales[k]),
            (None, _, Some(scale)) => ((scale * from as f64 + 0.5).floor() as usize, scale),
            (None, sizes, None) => {
                let size = sizes.as_ref().map_or(0, |sizes| sizes[k]);
                let to = usize::try_from(size)
                    .ok()
                    .filter(|&n| n > 0)
                    .ok_or_else(|| problem(format!("the size {size} is not above 0")))?;
                (to, to as f64 / from as f64)
            }
        };
        let coordinates = match coordinates {
            Coordinates::Crop(_) if !region.is_empty() => Coordinates::Crop([region[k], region[chosen.len() + k]]),
            other => other,
        };
        axes[axis] = Axis { from, to, scale, coordinates };
    }
    Ok(vec![lowering.resampled(x, &axes, manner, extrapolated)?])
}

/// The largest number of positions that an integer or a known value is the average of; each is several operators.
const MAX_TAPS: usize = 512;

/// The longest axis for which weights are computed.
const MAX_AXIS: usize = 1 << 24;

/// The most positions in the averages of all outputs along an axis; each takes 16 bytes.
const MAX_TABLE: usize = 1 << 24;

impl Lowering<'_> {
    /// Returns x resized along each axis.
    fn resampled(&mut self, x: &Value, axes: &[Axis], manner: Manner, extrapolated: f64) -> Lowered<Value> {
        let dims: Vec<usize> = axes.iter().map(|axis| axis.to).collect();
        count(&dims).filter(|&n| n > 0 && count(x.dims()) != Some(0)).ok_or("the result is empty or too large")?;
        if let Some(op) = as_operation(axes, manner).filter(|_| matches!(x, Value::Computed(_))) {
            let id = self.f32(x)?;
            let y = self.graph.add(op, &[id])?;
            return self.integer(y, &dims, x.kind(), x.limit());
        }
        if let Some(axis) = axes.iter().find(|axis| axis.to.max(axis.from) > MAX_AXIS) {
            return Err(problem(format!(
                "an axis of {} becomes {}, at most {MAX_AXIS} are covered",
                axis.from, axis.to
            )));
        }
        if let Some(axis) = axes.iter().find(|axis| axis.to as f64 * manner.most_taps(axis.scale) > MAX_TABLE as f64) {
            return Err(problem(format!(
                "an axis of {} becomes {} by averages of {:.0} positions, at most {MAX_TABLE} positions are covered",
                axis.from,
                axis.to,
                manner.most_taps(axis.scale)
            )));
        }
        let mut y = x.clone();
        let mut outside: Option<Value> = None;
        for (d, axis) in axes.iter().enumerate() {
            let is_same =
                axis.from == axis.to && axis.scale == 1.0 && !matches!(axis.coordinates, Coordinates::Crop(_));
            if is_same && (!manner.antialias || axis.scale >= 1.0) {
                continue;
            }
            let taps = axis.taps(manner);
            y = self.interpolated(&y, d, &taps)?;
            if taps.iter().any(Option::is_none) {
                let mask = taps.iter().map(|taps| f64::from(taps.is_none())).collect::<Vec<_>>();
                let mask = Array::from_f64(&along(d, dims.len(), axis.to), crate::import::array::Kind::Bool, &mask)?;
                outside = Some(match outside {
                    None => mask.into(),
                    Some(other) => self.apply("Or", &[other, mask.into()], vec![])?,
                });
            }
        }
        match outside {
            None => Ok(y),
            Some(mask) => {
                let value: Value = Array::from_f64(&[], x.kind(), &[extrapolated])?.into();
                self.apply("Where", &[mask, value, y], vec![])
            }
        }
    }

    /// Returns the weighted sums of positions along an axis.
    fn interpolated(&mut self, x: &Value, axis: usize, taps: &Sums) -> Lowered<Value> {
        let most = taps.iter().flatten().map(Vec::len).max().unwrap_or(1);
        let tap = |o: usize, t: usize| taps[o].as_ref().and_then(|taps| taps.get(t)).copied().unwrap_or((0, 0.0));
        let outputs = taps.len();
        if most == 1 {
            let at: Vec<usize> = (0..outputs).map(|o| tap(o, 0).0).collect();
            return self.taken(x, axis, &at);
        }
        if matches!(x, Value::Computed(_)) && x.kind().is_float() {
            let all = (0..outputs).flat_map(|o| (0..most).map(move |t| (o, t)));
            let (indices, weights) = all.map(|(o, t)| tap(o, t)).map(|(at, weight)| (at as u32, weight)).unzip();
            let mut dims = x.dims().to_vec();
            let id = self.f32(x)?;
            let y = self.graph.resample(id, axis, &Taps { count: most, indices, weights })?;
            dims[axis] = outputs;
            return self.float(y, &dims, x.kind());
        }
        if most > MAX_TAPS {
            return Err(problem(format!(
                "averages {most} positions, at most {MAX_TAPS} are covered; resize in several steps"
            )));
        }
        let mut sum: Option<Value> = None;
        for t in 0..most {
            let (at, weights): (Vec<usize>, Vec<f64>) = (0..outputs).map(|o| tap(o, t)).unzip();
            if weights.iter().all(|&weight| weight == 0.0) {
                continue;
            }
            let term = self.taken(x, axis, &at)?;
            let weights: Value = Array::from_f64(&along(axis, x.dims().len(), outputs), x.kind(), &weights)?.into();
            let term = self.apply("Mul", &[term, weights], vec![])?;
            sum = Some(match sum {
                None => term,
                Some(sum) => self.apply("Add", &[sum, term], vec![])?,
            });
        }
        sum.ok_or_else(|| Problem::from("has no weights"))
    }
}

/// Returns dimensions of 1 but for one axis.
fn along(axis: usize, rank: usize, size: usize) -> Vec<usize> {
    (0..rank).map(|d| if d == axis { size } else { 1 }).collect()
}

/// Returns the operation `resize` that does the same to `[N, C, H, W]`, if there is one.
fn as_operation(axes: &[Axis], manner: Manner) -> Option<Resize> {
    let &[n, c, h, w] = axes else { return None };
    let is_whole = [n, c].iter().all(|axis| axis.from == axis.to && axis.scale == 1.0);
    if !is_whole || manner.excludes_outside || manner.antialias {
        return None;
    }
    let mut scale = [Ratio { num: 1, den: 1 }; 2];
    for (k, axis) in [h, w].into_iter().enumerate() {
        // The scale must be the quotient of the sizes, exactly.
        let (num, den) = (u32::try_from(axis.to).ok()?, u32::try_from(axis.from).ok()?);
        if (axis.scale * f64::from(den) - f64::from(num)).abs() > 1e-9 {
            return None;
        }
        scale[k] = Ratio { num, den };
    }
    let enlarges = |axis: &Axis| axis.to.is_multiple_of(axis.from);
    let kernel = match manner.mode {
        // An enlargement by a whole number repeats each pixel, whatever the rounding.
        Mode::Nearest(Rounding::Floor)
            if [h, w].iter().all(|a| enlarges(a) && a.coordinates == Coordinates::Asymmetric) =>
        {
            Kernel::Nearest
        }
        Mode::Nearest(Rounding::PreferFloor | Rounding::PreferCeil)
            if [h, w].iter().all(|a| enlarges(a) && a.coordinates == Coordinates::HalfPixel) =>
        {
            Kernel::Nearest
        }
        Mode::Linear
            if [h, w].iter().all(|a| {
                matches!(a.coordinates, Coordinates::HalfPixel | Coordinates::PytorchHalfPixel) && a.to > 1
            }) =>
        {
            Kernel::Bilinear
        }
        _ => return None,
    };
    Some(Resize { kernel, antialias: false, border: Border::Clamp, scale, size: Some([h.to, w.to]) })
}
