//! view: a strided copy: permuted axes, slices with steps, reversed axes, padding, repetition.
//!
//! `y[p] = x[c(p)]`: along axis s of x, `c = start[s] + step·p[k]` if axis k of y walks it, else `start[s]`
//!
//! | name | shape                 | meaning                                                    |
//! |------|-----------------------|------------------------------------------------------------|
//! | x    | any shape, f32 or u32 | input                                                      |
//! | y    | `len` of `axes`       | output; an axis of y that walks none of x repeats elements |
//!
//! [`Border`] says what lies outside x.
//! Gradient: for x; every element sums the dy that were read from it. Backward reads dy. An x of u32 has none.
//! Errors: an axis of x does not exist or is walked twice; y is empty; a coordinate is outside x that the border does not allow; the
//! elements have another type, or the constant is not one of them.
//! Numerics: y is exact; sums are in a fixed order, in two passes if they are long.
//! Kernel `view/once`: gradients in one pass if every sum is short.
//! Source: definitions, as Transpose, Slice, Pad, Expand and Gather with a scalar index of ONNX; the borders are those of
//! torch.nn.functional.pad.

use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, parts_of, wgsl,
    with_nan,
};
use crate::error::ShapeError;
use crate::tensor::{DType, MAX_RANK, Shape, len};

/// An axis of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The axis of x that it walks; `None` repeats what it would otherwise read once.
    pub source: Option<usize>,
    /// Positions on that axis from one element to the next; 0 repeats one.
    pub step: i64,
    /// Number of elements, at least 1.
    pub len: usize,
}

/// What lies outside x.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Border {
    /// Nothing may be read there.
    #[default]
    None,
    /// This value; for u32, a whole number.
    Constant(f32),
    /// The elements inside in reverse order, without the one at the border: `c b | a b c | b a`. At most one less than there are.
    Reflect,
    /// The nearest element inside.
    Edge,
}

/// The operation.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Where the first element of y lies, along each axis of x.
    pub start: Vec<i64>,
    /// The axes of y, one to six; each axis of x occurs at most once.
    pub axes: Vec<Axis>,
    pub border: Border,
    /// The type of the elements, f32 or u32.
    pub dtype: DType,
}

/// Bound of every coordinate, so that the shaders can double it.
const LIMIT: i64 = 1 << 30;

/// Returns an error unless `axis` is one of x's.
fn check_axis(x: Shape, axis: usize) -> Result<(), ShapeError> {
    if axis < x.rank() { Ok(()) } else { Err(ShapeError::value("axis", format!("0 to {}", x.rank() - 1), axis)) }
}

/// Views of x for the usual operations. Their errors name the argument that does not fit.
impl View {
    /// Creates a copy of x, of f32.
    pub fn of(x: Shape) -> Self {
        let axis = |(axis, &len)| Axis { source: Some(axis), step: 1, len };
        let axes = x.iter().enumerate().map(axis).collect();
        Self { start: vec![0; x.rank()], axes, border: Border::None, dtype: DType::F32 }
    }

    /// Creates a view whose axis k is x's axis `axes[k]`.
    ///
    /// # Errors
    /// `axes` does not have every axis of x once.
    pub fn permute(x: Shape, axes: &[usize]) -> Result<Self, ShapeError> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.rank()) {
            let expected = format!("0 to {} in any order, each once", x.rank() - 1);
            return Err(ShapeError::value("axes", expected, format!("{axes:?}")));
        }
        let same = Self::of(x);
        Ok(Self { axes: axes.iter().map(|&axis| same.axes[axis]).collect(), ..same })
    }

    /// Creates a view of the positions `start`, `start + step`, … before `stop` on an axis. As in NumPy and ONNX, negative numbers
    /// count from the end, and what lies outside x is cut off: a negative step from `i64::MAX` to `i64::MIN` takes all.
    ///
    /// # Errors
    /// There is no such axis; the step is 0; nothing is left.
    pub fn slice(x: Shape, axis: usize, start: i64, stop: i64, step: i64) -> Result<Self, ShapeError> {
        check_axis(x, axis)?;
        if step == 0 {
            return Err(ShapeError::value("step", "other than 0", step));
        }
        let size = x[axis] as i64;
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let inside = |at: i64| if at < 0 { at.saturating_add(size) } else { at }.clamp(low, high);
        let (start, stop) = (inside(start), inside(stop));
        let count = if step > 0 { stop - start } else { start - stop };
        if count <= 0 {
            let expected = format!("behind the start {start} in the direction of the step {step}");
            return Err(ShapeError::value("stop", expected, stop));
        }
        let mut view = Self::of(x);
        view.start[axis] = start;
        view.axes[axis].len = (count as u64).div_ceil(step.unsigned_abs()) as usize;
        view.axes[axis].step = if view.axes[axis].len == 1 { 1 } else { step };
        Ok(view)
    }

    /// Creates a view of `len` positions on an axis, from `start` on.
    ///
    /// # Errors
    /// There is no such axis; the range is empty or reaches past its end.
    pub fn narrow(x: Shape, axis: usize, start: usize, len: usize) -> Result<Self, ShapeError> {
        check_axis(x, axis)?;
        let size = x[axis];
        if start >= size {
            return Err(ShapeError::value("start", format!("below {size}, the axis's size"), start));
        }
        if len == 0 || len > size - start {
            let most = size - start;
            return Err(ShapeError::value("len", format!("1 to {most} (of {size} from {start})"), len));
        }
        Self::slice(x, axis, start as i64, (start + len) as i64, 1)
    }

    /// Creates a view of one position on an axis, which the result lacks, unless it is the only one.
    ///
    /// # Errors
    /// There is no such axis or position.
    pub fn index(x: Shape, axis: usize, position: usize) -> Result<Self, ShapeError> {
        let mut view = Self::narrow(x, axis, position, 1)?;
        if x.rank() > 1 {
            view.axes.remove(axis);
        }
        Ok(view)
    }

    /// Creates a view with an axis in reverse order.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn flip(x: Shape, axis: usize) -> Result<Self, ShapeError> {
        Self::slice(x, axis, i64::MAX, i64::MIN, -1)
    }

    /// Creates a view with `pads[k]` = (before, after) elements around axis k.
    ///
    /// # Errors
    /// There is not one pair for each axis; a pad is above 2^30. [`Op::shape`] rejects pads that the border does not allow.
    pub fn pad(x: Shape, pads: &[(usize, usize)], border: Border) -> Result<Self, ShapeError> {
        if pads.len() != x.rank() {
            return Err(ShapeError::value("pads", format!("{} pairs, one for each axis", x.rank()), pads.len()));
        }
        let mut view = Self { border, ..Self::of(x) };
        for (axis, &(before, after)) in pads.iter().enumerate() {
            if before.max(after) as i64 > LIMIT {
                return Err(ShapeError::value("pads", "at most 2^30", before.max(after)));
            }
            view.start[axis] = -(before as i64);
            view.axes[axis].len += before + after;
        }
        Ok(view)
    }

    /// Creates a view in which axes of size 1 are repeated, as in NumPy: x's axes are the last ones of `y`.
    ///
    /// # Errors
    /// x has more axes than `y`; a size of x is neither 1 nor that of `y`.
    pub fn expand(x: Shape, y: Shape) -> Result<Self, ShapeError> {
        let Some(before) = y.rank().checked_sub(x.rank()) else {
            return Err(ShapeError::shape("shape", format!("one of at least {} dimensions", x.rank()), y));
        };
        if x.iter().zip(&y[before..]).any(|(x, y)| x != y && *x != 1) {
            return Err(ShapeError::shape("shape", format!("{x:?} with other sizes where it is 1"), y));
        }
        let axis = |(axis, &len): (usize, &usize)| {
            let source = axis.checked_sub(before);
            Axis { source, step: i64::from(source.is_some_and(|axis| x[axis] > 1)), len }
        };
        Ok(Self { axes: y.iter().enumerate().map(axis).collect(), ..Self::of(x) })
    }
}

/// What the shaders know of an axis: that of x with `size` elements `stride` apart is walked by that of y with `len` elements
/// `out_stride` apart.
#[derive(Debug, Clone, Copy)]
struct Lane {
    size: usize,
    stride: usize,
    len: usize,
    out_stride: usize,
    start: i64,
    step: i64,
}

/// A lane that changes nothing.
const STILL: Lane = Lane { size: 1, stride: 1, len: 1, out_stride: 1, start: 0, step: 0 };

/// Returns the distance between neighbours along each axis.
fn strides(shape: &Shape) -> Vec<usize> {
    (0..shape.rank()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

impl Lane {
    /// Returns the first and the last coordinate, in any order.
    fn ends(&self) -> [i64; 2] {
        [self.start, self.start + self.step * (self.len as i64 - 1)]
    }

    /// Returns a bound on the number of positions of y that read the same coordinate.
    fn readers(&self, border: Border) -> usize {
        let is_inside = self.ends().iter().all(|c| (0..self.size as i64).contains(c));
        match border {
            _ if self.step == 0 => self.len,
            Border::Reflect if !is_inside => 3.min(self.len),
            Border::Edge if !is_inside && self.size == 1 => self.len,
            Border::Edge if !is_inside => {
                // The number of coordinates up to 0, then that of those from the last on.
                let up_to_0 = |start: i64, step: i64| match (step > 0, start > 0) {
                    (true, true) => 0,
                    (true, false) => (self.len as i64).min(-start / step + 1),
                    (false, _) => (self.len as i64 - (start.max(0) - step - 1) / -step).max(0),
                };
                let last = self.size as i64 - 1;
                up_to_0(self.start, self.step).max(up_to_0(last - self.start, -self.step)).max(1) as usize
            }
            _ => 1,
        }
    }

    /// Returns this lane and the next one as a single lane; `None` if they are not neighbours both in x and in y.
    fn merged(&self, next: &Self, border: Border) -> Option<Self> {
        let is_whole = next.start == 0 && next.step == 1 && next.len == next.size;
        let is_next = self.stride == next.stride * next.size && self.out_stride == next.out_stride * next.len;
        let is_inside = self.ends().iter().all(|c| (0..self.size as i64).contains(c));
        let is_blank = matches!(border, Border::None | Border::Constant(_));
        let is_small = (self.size * next.size).max(self.len * next.len) as i64 <= LIMIT;
        let start = self.start * next.size as i64;
        let is_near = start.abs() <= LIMIT;
        (is_whole && is_next && self.step == 1 && (is_inside || is_blank) && is_small && is_near).then_some(Self {
            size: self.size * next.size,
            stride: next.stride,
            len: self.len * next.len,
            out_stride: next.out_stride,
            start,
            step: 1,
        })
    }
}

impl View {
    /// Returns one to six lanes, in the order of y's axes: each axis of x and of y is in one of them, unless it has one element.
    fn lanes(&self, io: &Io) -> Vec<Lane> {
        let (x, of_x, of_y) = (&io.x[0], strides(&io.x[0]), strides(&io.y));
        let is_walked = |axis: &usize| self.axes.iter().any(|a| a.source == Some(*axis));
        // An axis of x that is not walked stays at its start, while one of y that walks none repeats that.
        let mut fixed = (0..x.rank()).filter(|axis| !is_walked(axis) && (x[*axis] > 1 || self.start[*axis] != 0));
        let source = |axis: usize| Lane { size: x[axis], stride: of_x[axis], start: self.start[axis], ..STILL };
        let mut all: Vec<Lane> = Vec::new();
        for (axis, out_stride) in self.axes.iter().zip(of_y) {
            let (lane, step) = match axis.source {
                Some(k) => (source(k), axis.step),
                None => (fixed.next().map_or(STILL, source), 0),
            };
            all.push(Lane { len: axis.len, out_stride, step, ..lane });
        }
        all.extend(fixed.map(source));
        let mut lanes: Vec<Lane> = Vec::new();
        for lane in all.into_iter().filter(|lane| lane.size > 1 || lane.len > 1 || lane.start != 0) {
            match lanes.last().and_then(|last| last.merged(&lane, self.border)) {
                Some(both) => *lanes.last_mut().expect("it was merged") = both,
                None => lanes.push(lane),
            }
        }
        if lanes.is_empty() {
            lanes.push(STILL);
        }
        lanes
    }

    /// Returns a bound on the number of terms of each sum of the gradient.
    fn terms(&self, io: &Io) -> usize {
        self.lanes(io).iter().map(|lane| lane.readers(self.border)).product()
    }

    /// Returns the coordinate inside an axis of x of `size` elements; `None` if there is none.
    fn inside(&self, c: i64, size: usize) -> Option<usize> {
        let last = size as i64 - 1;
        let at = match self.border {
            Border::None | Border::Constant(_) => c,
            Border::Reflect if c < 0 => -c,
            Border::Reflect if c > last => 2 * last - c,
            Border::Reflect => c,
            Border::Edge => c.clamp(0, last),
        };
        (0..=last).contains(&at).then_some(at as usize)
    }

    /// Returns, for every element of y, the element of x that it copies; `None` where it is the constant.
    pub(crate) fn sources(&self, io: &Io) -> Vec<Option<usize>> {
        let of_x = strides(&io.x[0]);
        let source = |i: usize| {
            let mut c = self.start.clone();
            for (axis, position) in self.axes.iter().zip(crate::tensor::position(&io.y, i).iter()) {
                if let Some(k) = axis.source {
                    c[k] += axis.step * *position as i64;
                }
            }
            let inside = (0..c.len()).map(|axis| Some(self.inside(c[axis], io.x[0][axis])? * of_x[axis]));
            inside.sum()
        };
        (0..io.y_len()).map(source).collect()
    }

    /// Returns the launch of an entry.
    fn launch(&self, io: &Io, threads: usize, parts: usize) -> Launch {
        const NAMES: [[&str; 6]; MAX_RANK] = [
            ["size_0", "stride_0", "len_0", "out_stride_0", "start_0", "step_0"],
            ["size_1", "stride_1", "len_1", "out_stride_1", "start_1", "step_1"],
            ["size_2", "stride_2", "len_2", "out_stride_2", "start_2", "step_2"],
            ["size_3", "stride_3", "len_3", "out_stride_3", "start_3", "step_3"],
            ["size_4", "stride_4", "len_4", "out_stride_4", "start_4", "step_4"],
            ["size_5", "stride_5", "len_5", "out_stride_5", "start_5", "step_5"],
        ];
        let lanes = self.lanes(io);
        // Negative numbers travel in two's complement; `LIMIT` bounds them.
        let signed = |v: i64| Scalar::U32(v as i32 as u32);
        let mut params: Vec<(&'static str, Scalar)> = Vec::new();
        for (names, lane) in NAMES.iter().zip(lanes.iter().chain(std::iter::repeat(&STILL))) {
            let values = [lane.size, lane.stride, lane.len, lane.out_stride].map(Scalar::from);
            params.extend(names.iter().copied().zip(values));
            params.extend([(names[4], signed(lane.start)), (names[5], signed(lane.step))]);
        }
        let (border, constant) = match self.border {
            Border::None => (0u32, 0.0),
            Border::Constant(value) => (0, value),
            Border::Reflect => (1, 0.0),
            Border::Edge => (2, 0.0),
        };
        params.extend([
            ("threads", threads.into()),
            ("parts", parts.into()),
            ("border", border.into()),
            ("constant", constant.into()),
        ]);
        Launch::threads(threads, params).with("AXES", lanes.len())
    }
}

impl Op for View {
    fn name(&self) -> &'static str {
        "view"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn dtype(&self, _name: &str) -> DType {
        self.dtype
    }
    fn kernels(&self) -> &'static [Kernel] {
        const INTEGERS: &[Kernel] = &[Kernel::new(wgsl!("view/integers" + "axes" + "quotient"), plain)];
        const FLOATS: &[Kernel] = &[
            Kernel::new(wgsl!("view/plain" + "axes" + "readers" + "quotient"), plain),
            Kernel::new(wgsl!("view/once" + "axes" + "readers" + "quotient"), once),
        ];
        if self.dtype == DType::U32 { INTEGERS } else { FLOATS }
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let x = x[0];
        let is_integer = |value: f32| (0.0..4_294_967_296.0).contains(&value) && value.fract() == 0.0;
        match (self.dtype, self.border) {
            (DType::I32, _) => return Err(ShapeError::value("x", "f32 or u32", self.dtype)),
            (DType::U32, Border::Constant(value)) if !is_integer(value) => {
                return Err(ShapeError::value("border", "a whole number from 0 to 2^32 - 1 around u32", value));
            }
            _ => {}
        }
        if self.start.len() != x.rank() {
            return Err(ShapeError::value(
                "start",
                format!("{} positions, one for each axis of x", x.rank()),
                self.start.len(),
            ));
        }
        let sizes: Vec<usize> = self.axes.iter().map(|axis| axis.len).collect();
        let Some(y) = Shape::new(&sizes).filter(|_| sizes.iter().all(|len| (1..=LIMIT as usize).contains(len))) else {
            return Err(ShapeError::value("axes", "one to six, each of 1 to 2^30 elements", format!("{sizes:?}")));
        };
        if let Some(size) = x.iter().find(|size| **size as i64 > LIMIT) {
            return Err(ShapeError::value("x", "at most 2^30 elements along each axis", size));
        }
        let mut steps = vec![(0, 1); x.rank()];
        for (k, axis) in self.axes.iter().enumerate() {
            let Some(source) = axis.source else { continue };
            if source >= x.rank() || self.axes[..k].iter().any(|a| a.source == axis.source) {
                let expected = format!("axes of x, 0 to {}, each at most once", x.rank() - 1);
                return Err(ShapeError::value("axes", expected, format!("axis {source}")));
            }
            steps[source] = (axis.step, axis.len);
        }
        for (axis, ((step, count), &first)) in steps.into_iter().zip(&self.start).enumerate() {
            let size = x[axis] as i64;
            let (low, high) = match self.border {
                Border::None => (0, size - 1),
                Border::Reflect => (1 - size, 2 * (size - 1)),
                Border::Constant(_) | Border::Edge => (-LIMIT, LIMIT),
            };
            let last = step.checked_mul(count as i64 - 1).and_then(|way| way.checked_add(first));
            let fits = |c: i64| (low..=high.min(LIMIT)).contains(&c) && c >= -LIMIT;
            if !fits(first) || !last.is_some_and(fits) || !(-LIMIT..=LIMIT).contains(&step) {
                let expected = format!("positions {low} to {high} on axis {axis} of x");
                let got = last.map_or_else(|| "more".to_owned(), |last| format!("{first} to {last}"));
                return Err(ShapeError::value("view", expected, got));
            }
        }
        Ok(y)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let written = if method == "forward" { io.y_len() } else { io.x_len(0) };
        Cost::new(0, io.y_len() + written)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let constant = if let Border::Constant(value) = self.border { f64::from(value) } else { 0.0 };
        for (y, source) in y.iter_mut().zip(self.sources(io)) {
            *y = source.map_or(constant, |at| x[0][at]);
        }
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for (dy, source) in dy.iter().zip(self.sources(io)) {
            if let Some(at) = source {
                dx[0][at] += dy;
            }
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        if self.dtype == DType::U32 { &[("x", "an integer is not differentiable")] } else { &[] }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        if output == "y" {
            return Tolerance::Each(vec![0.0; io.y_len()]);
        }
        let terms = self.terms(io);
        let parts = parts_of(terms, io.x_len(0));
        // The additions of a part and of the parts; a single term is exact.
        let additions = if terms == 1 { 0.0 } else { (terms.div_ceil(parts) + parts) as f64 };
        let dy: Vec<f64> = at.dy.iter().map(|dy| dy.abs()).collect();
        let mut sums = [vec![0.0; len(&io.x[0])]];
        self.reference_grad(io, &[], &[], &dy, &mut sums);
        Tolerance::Each(sums[0].iter().map(|sum| EPS * additions * sum).collect())
    }
}

/// `shaders/view/plain.wgsl` and `integers.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<View>()?, &call.io);
    let parts = parts_of(op.terms(io), io.x_len(0));
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "forward" => io.y_len(),
            "backward_x_1" => io.x_len(0) * parts,
            _ => io.x_len(0),
        };
        Some(op.launch(io, threads, parts))
    })?;
    Some(if call.method == "forward" { work } else { work.scratch(vec![("t0", io.x_len(0) * parts)]) })
}

/// `shaders/view/once.wgsl`.
fn once(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<View>()?, &call.io);
    let is_short = parts_of(op.terms(io), io.x_len(0)) == 1;
    let work = call.work(caps, |_| is_short.then(|| op.launch(io, io.x_len(0), 1)))?;
    Some(work.faster(1.5))
}

pub fn cases() -> Vec<Case> {
    let shape = |sizes: &[usize]| Shape::new(sizes).expect("a case has one to six dimensions");
    let case = |x: &[usize], view: Result<View, ShapeError>| Case::new(view.expect("a case is valid"), &[shape(x)]);
    let permute = |x: &[usize], axes: &[usize]| case(x, View::permute(shape(x), axes));
    let slice = |x: &[usize], axis, start, stop, step| case(x, View::slice(shape(x), axis, start, stop, step));
    let pad = |x: &[usize], pads: &[(usize, usize)], border| case(x, View::pad(shape(x), pads, border));
    let expand = |x: &[usize], y: &[usize]| case(x, View::expand(shape(x), shape(y)));
    let axis = |source, step, len| Axis { source, step, len };
    let own = |x: &[usize], start: &[i64], axes: &[Axis], border| {
        case(x, Ok(View { start: start.to_vec(), axes: axes.to_vec(), border, dtype: DType::F32 }))
    };
    let constant = Border::Constant(-0.75);
    let integers = |x: &[usize], view: Result<View, ShapeError>| {
        let any = Fill::With(|rng, x, k| (0..len(&x[k])).map(|_| rng.below(1 << 31) as f64).collect());
        case(x, view.map(|view| View { dtype: DType::U32, ..view })).fill(0, any)
    };
    vec![
        case(&[1], Ok(View::of([1].into()))),
        permute(&[257, 2], &[1, 0]),
        permute(&[2, 3, 5, 7], &[0, 2, 3, 1]),
        permute(&[2, 3, 4, 2, 3, 5], &[5, 2, 0, 4, 1, 3]),
        slice(&[2, 4, 5, 7], 1, 1, 3, 1),
        slice(&[3, 7, 2], 1, -1, i64::MIN, -3),
        slice(&[300], 0, 3, 290, 7),
        case(&[2, 3, 5], View::index([2, 3, 5].into(), 1, 2)),
        case(&[5], View::index([5].into(), 0, 4)),
        case(&[2, 3, 2, 2, 2, 129], View::flip([2, 3, 2, 2, 2, 129].into(), 5)),
        pad(&[2, 3, 4, 5], &[(0, 0), (1, 0), (2, 3), (0, 7)], constant),
        pad(&[2, 3, 4, 5], &[(0, 1), (2, 2), (3, 0), (1, 4)], Border::Reflect),
        pad(&[2, 1, 3, 5], &[(0, 0), (1, 2), (0, 3), (4, 0)], Border::Edge),
        // Long sums at the corners.
        pad(&[3, 2], &[(70, 90), (3, 2)], Border::Edge),
        pad(&[2, 2, 2, 2, 2, 2], &[(1, 0), (0, 1), (1, 1), (0, 1), (1, 0), (1, 1)], Border::Reflect),
        expand(&[3, 1, 5], &[2, 3, 4, 5]),
        expand(&[1], &[70, 65]),
        expand(&[1, 3, 1, 2, 1, 2], &[2, 3, 4, 2, 3, 2]),
        // Many sums, of many terms each.
        expand(&[4100], &[65, 4100]),
        // Every step, start and border at once; an axis of y repeats a position of x that another axis of it leaves out.
        own(&[5, 4, 7], &[6, 2, 3], &[axis(Some(2), -2, 4), axis(None, 9, 3), axis(Some(0), 1, 2)], Border::Reflect),
        own(&[5, 4, 7], &[6, -2, 9], &[axis(Some(2), -4, 5), axis(Some(0), -3, 4)], Border::Edge),
        own(&[5, 4, 7], &[6, 2, 9], &[axis(Some(2), -4, 5), axis(Some(0), -3, 4)], constant),
        own(&[5, 4, 7], &[-1, 2, -6], &[axis(Some(2), 3, 6), axis(Some(0), 0, 3)], Border::Edge),
        own(&[5, 4], &[8, 2], &[axis(Some(1), 1, 2), axis(Some(0), 0, 3)], Border::Edge),
        own(&[3, 4], &[-2, 3], &[axis(Some(1), -1, 4), axis(Some(0), 2, 3)], constant),
        // Repeated positions at the border, and walks that begin there.
        own(&[4, 3], &[0, -1], &[axis(Some(0), 0, 3), axis(Some(1), 1, 5)], Border::Edge),
        own(&[4, 3], &[3, 0], &[axis(Some(0), 0, 3), axis(Some(1), -1, 3)], Border::Edge),
        own(&[4, 3], &[3, 2], &[axis(Some(1), 2, 3), axis(Some(0), -2, 4)], Border::Edge),
        // The begin of each axis.
        own(&[2, 3, 2, 3, 2, 3], &[0; 6], &[0, 1, 2, 3, 4, 5].map(|k| axis(Some(k), 1, 1 + k % 2)), Border::None),
        permute(&[3, 50], &[1, 0]).fill(0, Fill::With(with_nan)).rough(),
        slice(&[1, 64, 48, 40], 1, 16, 48, 1).real(),
        integers(&[257, 2], View::permute(shape(&[257, 2]), &[1, 0])),
        integers(&[2, 3, 4, 2, 3, 5], View::permute(shape(&[2, 3, 4, 2, 3, 5]), &[5, 2, 0, 4, 1, 3])),
        integers(&[3, 7, 2], View::slice(shape(&[3, 7, 2]), 1, -1, i64::MIN, -3)),
        integers(&[2, 3, 4], View::pad(shape(&[2, 3, 4]), &[(1, 0), (2, 3), (0, 7)], Border::Constant(3e9))),
        integers(&[2, 3, 4], View::pad(shape(&[2, 3, 4]), &[(1, 0), (2, 2), (3, 1)], Border::Reflect)),
        integers(
            &[2; 6],
            View::pad(shape(&[2; 6]), &[(1, 0), (0, 1), (1, 1), (0, 1), (1, 0), (1, 1)], Border::Reflect),
        ),
        integers(&[2, 1, 5], View::pad(shape(&[2, 1, 5]), &[(0, 1), (2, 2), (3, 1)], Border::Edge)),
        // The heads of an attention, and a picture's border.
        permute(&[4, 128, 8, 32], &[0, 2, 1, 3]).real(),
        pad(&[2, 16, 63, 65], &[(0, 0), (0, 0), (3, 3), (3, 3)], Border::Reflect).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_those_of_numpy() {
        let x: Vec<f64> = (0..7).map(f64::from).collect();
        let take = |start, stop, step| {
            let op = View::slice([7].into(), 0, start, stop, step).map_err(|e| e.to_string())?;
            let y = op.shape(&[[7].into()]).map_err(|e| e.to_string())?;
            Ok::<_, String>(crate::ops::reference(&op, &Io { x: &[[7].into()], y }, std::slice::from_ref(&x)))
        };
        assert_eq!(take(1, -1, 2).unwrap(), [1.0, 3.0, 5.0]);
        assert_eq!(take(-2, i64::MAX, 1).unwrap(), [5.0, 6.0]);
        assert_eq!(take(i64::MAX, i64::MIN, -3).unwrap(), [6.0, 3.0, 0.0]);
        assert_eq!(take(5, 1, -2).unwrap(), [5.0, 3.0]);
        assert_eq!(take(i64::MIN, 2, i64::MAX).unwrap(), [0.0]);
        assert_eq!(take(4, 2, 1).unwrap_err(), "stop must be behind the start 4 in the direction of the step 1, got 2");
        assert_eq!(take(4, 2, 0).unwrap_err(), "step must be other than 0, got 0");
    }

    #[test]
    fn what_lies_outside_is_refused_unless_the_border_allows_it() {
        let shape = |before, border| {
            let x = Shape::from([3, 4]);
            View::pad(x, &[(before, 0), (0, 1)], border).and_then(|view| view.shape(&[x])).map_err(|e| e.to_string())
        };
        assert_eq!(shape(2, Border::Reflect), Ok([5, 5].into()));
        assert_eq!(shape(3, Border::Reflect), Err("view must be positions -2 to 4 on axis 0 of x, got -3 to 2".into()));
        assert_eq!(shape(30, Border::Edge), Ok([33, 5].into()));
        assert!(shape(0, Border::None).is_err());
        let integers = |value, dtype| {
            let x = Shape::from([3, 4]);
            let view = View::pad(x, &[(1, 0), (0, 1)], Border::Constant(value)).expect("two pairs");
            View { dtype, ..view }.shape(&[x]).map_err(|e| e.to_string())
        };
        assert_eq!(integers(3.0, DType::U32), Ok([4, 5].into()));
        for value in [-1.0, 0.5, 4_294_967_296.0, f32::NAN] {
            assert!(integers(value, DType::U32).unwrap_err().starts_with("border must be a whole number"), "{value}");
        }
        assert_eq!(integers(0.0, DType::I32), Err("x must be f32 or u32, got i32".into()));
        let twice = View { axes: vec![Axis { source: Some(0), step: 1, len: 3 }; 2], ..View::of([3, 4].into()) };
        assert!(twice.shape(&[[3, 4].into()]).is_err());
    }

    #[test]
    fn neighbouring_axes_are_walked_as_one() {
        let lanes = |op: &View, x: Shape| op.lanes(&Io { x: &[x], y: op.shape(&[x]).expect("fits") }).len();
        let x = Shape::from([2, 4, 5, 7]);
        assert_eq!(lanes(&View::of(x), x), 1);
        assert_eq!(lanes(&View::narrow(x, 1, 1, 2).expect("fits"), x), 2);
        assert_eq!(lanes(&View::permute(x, &[2, 3, 0, 1]).expect("fits"), x), 2);
        assert_eq!(lanes(&View::pad(x, &[(1, 0); 4], Border::Reflect).expect("fits"), x), 4);
    }
}
