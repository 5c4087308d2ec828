//! pointwise: y = f(a, b), element by element, with NumPy's broadcasting. An operation is one row of the table below.
//!
//! | name | shape                                                              | meaning |
//! |------|--------------------------------------------------------------------|---------|
//! | a    | any shape                                                          | input   |
//! | b    | any shape that agrees with a's in every dimension where neither is 1 | input |
//! | y    | the larger of the two in every dimension                           | output  |
//!
//! The shapes are aligned at their last dimension; missing ones count as 1.
//! Gradients: for both, dy times the row's derivative, summed over what was broadcast. Backward reads dy, and those of a, b and y
//! that the derivative names.
//! Errors: a dimension is larger than 1 in both and differs.
//! Numerics: each row states the error of its WGSL in units of 2⁻²³; sums are in a fixed order.
//! Source: definitions as in PyTorch.

use super::broadcast::{broadcast, each, members, padded, strides, terms as terms_of};
use super::{FLUSH, is_scalar, uses, with_shared};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::ops::{
    Call, Caps, Case, Cost, EPS, Family, Fill, Fusible, Io, Kernel, Launch, Op, Registered, Scalar, Source, Tolerance,
    Values, Work, fours, with_nan,
};
use crate::rng::Rng;
use crate::tensor::{Shape, len};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A function of two numbers.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// WGSL of the function at `a` and `b`, of type `T`.
    pub wgsl: &'static str,
    /// WGSL of its derivatives for `a` and `b`, where `r` is the function's value.
    pub slopes_wgsl: [&'static str; 2],
    pub f: fn(f64, f64) -> f64,
    pub slopes: [fn(f64, f64) -> f64; 2],
    /// Largest errors of the function and of both derivatives in WGSL, in units of 2⁻²³.
    pub errors: fn(f64, f64) -> [f64; 3],
    /// What the planner may fuse, if a and b have one shape.
    pub fusible: Option<Fusible>,
    /// The function takes only a above 0, except where b is whole.
    pub is_of_positive: bool,
}

/// Declares the rows: a function that returns each as an operation, and its line in the registry.
macro_rules! rows {
    ($($name:ident: $about:literal,
        $wgsl:literal, $f:expr,
        [$a_wgsl:literal, $b_wgsl:literal], [$a:expr, $b:expr],
        $errors:expr, $fusible:expr $(, $is_of_positive:literal)?;)*) => {
        $(
            #[doc = $about]
            pub fn $name() -> Binary {
                static ROW: Row = Row {
                    name: stringify!($name),
                    about: $about,
                    wgsl: $wgsl,
                    slopes_wgsl: [$a_wgsl, $b_wgsl],
                    f: $f,
                    slopes: [$a, $b],
                    errors: $errors,
                    fusible: $fusible,
                    is_of_positive: false $(|| $is_of_positive)?,
                };
                Binary(&ROW)
            }
        )*

        /// Returns every function, in alphabetical order.
        pub fn rows() -> Vec<&'static Row> {
            vec![$($name().0),*]
        }

        /// Returns a line of the registry for each row.
        pub(super) fn registered() -> Vec<Registered> {
            vec![$(Registered { name: stringify!($name), cases: || cases_of($name()) }),*]
        }
    };
}

rows! {
    add: "a + b",
        "a + b", |a, b| a + b,
        ["T(1.0)", "T(1.0)"], [|_, _| 1.0, |_, _| 1.0],
        |a, b| [(a + b).abs(), 0.0, 0.0], Some(Fusible::Sum);
    div: "a / b",
        "a / b", |a, b| a / b,
        ["T(1.0) / b", "-r / b"], [|_, b| 1.0 / b, |a, b| -a / (b * b)],
        |a, b| [2.5 * (a / b).abs(), 2.5 / b.abs(), 6.0 * (a / (b * b)).abs()], None;
    max: "the larger of a and b; a derivative of 1/2 each where they are equal",
        "select(select(a, b, b > a), b, is_nan(b))", |a: f64, b: f64| if b.is_nan() || b > a { b } else { a },
        ["select(select(T(0.0), T(1.0), a > b), T(0.5), a == b)", "select(select(T(0.0), T(1.0), b > a), T(0.5), a == b)"],
        [|a, b| above(a, b), |a, b| above(b, a)],
        |_, _| [0.0; 3], None;
    min: "the smaller of a and b; a derivative of 1/2 each where they are equal",
        "select(select(a, b, b < a), b, is_nan(b))", |a: f64, b: f64| if b.is_nan() || b < a { b } else { a },
        ["select(select(T(0.0), T(1.0), a < b), T(0.5), a == b)", "select(select(T(0.0), T(1.0), b < a), T(0.5), a == b)"],
        [|a, b| above(b, a), |a, b| above(a, b)],
        |_, _| [0.0; 3], None;
    mul: "a · b",
        "a * b", |a, b| a * b,
        ["b", "a"], [|_, b| b, |a, _| a],
        |a, b| [(a * b).abs(), 0.0, 0.0], Some(Fusible::Product);
    pow: "a to the power of b; 1 where b is 0, NaN where a is negative and b not whole; its derivative for b is 0 where a ≤ 0",
        "power(a, b)", power,
        ["select(b * power(a, b - T(1.0)), T(0.0), b == T(0.0))", "select(r * log(a), T(0.0), a <= T(0.0))"],
        [|a, b| if b == 0.0 { 0.0 } else { b * power(a, b - 1.0) }, |a, b| if a <= 0.0 { 0.0 } else { power(a, b) * a.ln() }],
        power_errors, None, true;
    sub: "a − b",
        "a - b", |a, b| a - b,
        ["T(1.0)", "T(-1.0)"], [|_, _| 1.0, |_, _| -1.0],
        |a, b| [(a - b).abs(), 0.0, 0.0], None;
}

/// Returns 1 where a > b, 1/2 where they are equal, else 0.
fn above(a: f64, b: f64) -> f64 {
    if a == b { 0.5 } else { f64::from(a > b) }
}

/// Returns a to the power of b, and NaN if either is, even where IEEE 754 gives 1.
fn power(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.powf(b) }
}

/// Returns the errors of exp2(b·log2(a)): log2's 2⁻²¹ or 3 ULP, the product's rounding, and exp2's 3 + 2·|exponent| ULP.
fn power_errors(a: f64, b: f64) -> [f64; 3] {
    let log = a.abs().log2().abs();
    let log_error = if log <= 1.0 { 4.0 } else { 3.0 * log };
    let relative = |b: f64| b.abs() * log_error + b.abs() * log + 3.0 + 2.0 * b.abs() * log;
    // The difference b − 1 is rounded too.
    let of_a = (b * power(a, b - 1.0)).abs() * (relative(b - 1.0) + (b - 1.0).abs() * log + 1.0);
    let of_b = power(a, b).abs() * (log_error + (relative(b) + 1.0) * a.abs().ln().abs());
    // Powers of 0 are exact, as are infinity and NaN.
    [relative(b) * power(a, b).abs(), of_a, of_b].map(|error| if error.is_finite() { error } else { 0.0 })
}

/// A row as an operation; it has no attributes.
#[derive(Clone, Copy)]
pub struct Binary(&'static Row);

impl Binary {
    /// Returns the function `name`, or `None` if the table has none of that name.
    pub fn named(name: &str) -> Option<Self> {
        rows().into_iter().find(|row| row.name == name).map(Self)
    }
}

impl std::fmt::Debug for Binary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

/// Returns the kernels of a row, whose texts are put together once: the templates, and the row's expressions.
fn kernels_of(name: &str) -> &'static [Kernel] {
    static KERNELS: OnceLock<BTreeMap<&'static str, Vec<Kernel>>> = OnceLock::new();
    let all = KERNELS.get_or_init(|| {
        let kernel = |row: &Row, suffix: &str, template: &str, serve| {
            let stem = format!("pointwise/{}{suffix}", row.name);
            Kernel::new(Source::built_in(stem.leak(), text_of(row, template).leak()), serve)
        };
        let kernels = |row: &'static Row| {
            let templates = [
                include_str!("../../../shaders/pointwise/binary.wgsl"),
                include_str!("../../../shaders/pointwise/binary_sums.wgsl"),
            ];
            let mut kernels = vec![kernel(row, "", templates[0], plain), kernel(row, "_sums", templates[1], sums)];
            if ![row.wgsl, row.slopes_wgsl[0], row.slopes_wgsl[1]].into_iter().any(is_scalar) {
                let template = include_str!("../../../shaders/pointwise/binary_fours.wgsl");
                kernels.push(kernel(row, "_fours", template, fours).only(Family::Hardware));
            }
            // Channels past the last one must stay 0.
            if (row.f)(0.0, 0.0) == 0.0 && !is_scalar(row.wgsl) {
                let template = include_str!("../../../shaders/pointwise/binary_quads.wgsl");
                let text = [template, include_str!("../../../shaders/shared/texels.wgsl"), &apply(row)].join("\n");
                let text = with_shared(text);
                let source = Source::built_in(format!("pointwise/{}_quads", row.name).leak(), text.leak());
                kernels.push(Kernel::new(source, quads).only(Family::Software));
            }
            (row.name, kernels)
        };
        rows().into_iter().map(kernels).collect()
    });
    all.get(name).map_or(&[], |kernels| &kernels[..])
}

/// Returns WGSL of the function.
fn apply(row: &Row) -> String {
    format!("fn apply(a: T, b: T) -> T {{\n    return {};\n}}\n", row.wgsl)
}

/// Returns `template` with the functions that it leaves open. A derivative loads only the values that it names, so that the planner
/// may free the rest.
fn text_of(row: &Row, template: &str) -> String {
    let mut text = [template, &apply(row)].join("\n");
    if uses(template, "place") {
        text += include_str!("../../../shaders/shared/broadcast.wgsl");
        text += include_str!("../../../shaders/shared/terms.wgsl");
    }
    for (input, slope) in ["a", "b"].into_iter().zip(row.slopes_wgsl) {
        let argument = |variable, load| if uses(slope, variable) { load } else { "T()" };
        let loads =
            [("a", "a[at.x]"), ("b", "b[at.y]"), ("r", "y[i]")].map(|(variable, load)| argument(variable, load));
        text += &format!(
            "\nfn slope_for_{input}(a: T, b: T, r: T) -> T {{\n    return {slope};\n}}\n\nfn slope_{input}(i: u32, at: vec2<u32>) \
             -> T {{\n    return slope_for_{input}({});\n}}\n",
            loads.join(", ")
        );
    }
    with_shared(text)
}

/// Returns how many elements of y an element of input `k` takes part in.
fn terms(io: &Io, k: usize) -> usize {
    io.y_len() / io.x_len(k)
}

/// Returns the input whose gradient an entry computes, if it is one of a gradient.
fn input_of(entry: &str) -> Option<usize> {
    match entry.strip_prefix("backward_")?.chars().next()? {
        'a' => Some(0),
        _ => Some(1),
    }
}

/// Returns the members of P that both templates have, and `more`.
fn params<'p>(
    io: &Io,
    entry: &str,
    more: impl IntoIterator<Item = (&'static str, Scalar)> + 'p,
) -> Vec<(&'static str, Scalar)> {
    let is_same = u32::from(io.x[0] == io.x[1]);
    let mut all = placement(io);
    all.extend(terms_of(input_of(entry).map(|k| &io.x[k]), &io.y));
    all.push(("is_same", is_same.into()));
    all.extend(more);
    all
}

/// Returns the members of P that `shared/broadcast.wgsl` reads, but for is_same.
pub(super) fn placement(io: &Io) -> Vec<(&'static str, Scalar)> {
    let of = |k: usize, prefix| members(prefix, strides(&io.x[k]));
    [members('s', padded(&io.y)), of(0, 'a'), of(1, 'b')].concat()
}

/// `shaders/pointwise/binary.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    call.work(caps, |entry| {
        let (threads, terms) = input_of(entry).map_or((io.y_len(), 1), |k| (io.x_len(k), terms(io, k)));
        let more = [("threads", threads.into()), ("terms", terms.into())];
        Some(Launch::threads(threads, params(io, entry, more)))
    })
}

/// `shaders/pointwise/binary_sums.wgsl`: gradients of few elements that are sums of many terms.
fn sums(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    let k = input_of(call.method)?;
    let (elements, terms) = (io.x_len(k), terms(io, k));
    let parts = terms.isqrt();
    if terms < 64 || elements > 4096 {
        return None;
    }
    let work = call.work(caps, |entry| {
        let threads = if entry.ends_with("_1") { elements * parts } else { elements };
        let more = [("threads", threads.into()), ("terms", terms.into()), ("parts", parts.into())];
        Some(Launch::threads(threads, params(io, entry, more)))
    })?;
    // A plain thread sums all terms of its element by itself.
    Some(work.scratch(vec![("t0", elements * parts)]).faster(4.0))
}

/// `shaders/pointwise/binary_fours.wgsl`: nothing is broadcast.
fn fours(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    let threads = fours::units(io.y_len(), 4).filter(|_| io.x[0] == io.x[1])?;
    let work = call.work(caps, |_| Some(Launch::threads(threads, [("threads", threads.into())])))?;
    Some(work.faster(fours::gain(4)))
}

/// `shaders/pointwise/binary_quads.wgsl`: a and b have y's shape, or a pixel per channel.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let (io, texels) = (&call.io, Layout::Quads.elements(&call.io.y));
    let [n, c, h, w] = io.y.nchw();
    let pixels = |k: usize| match io.x[k] {
        x if x == io.y => Some(1),
        x if x == [n, c, 1, 1] => Some(h * w),
        _ => None,
    };
    let (a, b) = (pixels(0)?, pixels(1)?);
    let params = [("threads", texels.into()), ("a_pixels", a.into()), ("b_pixels", b.into())];
    let work = call.work(caps, |_| (texels <= MAX_TEXELS).then(|| Launch::threads(texels, params)))?;
    Some(work.faster(1.5))
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        self.0.name
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        kernels_of(self.0.name)
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        broadcast(self.inputs(), x)
    }
    fn fusible(&self) -> Option<Fusible> {
        self.0.fusible
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let flops = if method == "forward" { 1 } else { 2 };
        Cost::new(flops * io.y_len(), io.total_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        each(io, |i, [a, b]| y[i] = (self.0.f)(x[0][a], x[1][b]));
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        each(io, |i, [a, b]| {
            dx[0][a] += dy[i] * (self.0.slopes[0])(x[0][a], x[1][b]);
            dx[1][b] += dy[i] * (self.0.slopes[1])(x[0][a], x[1][b]);
        });
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let k = match output {
            "y" => {
                let mut allowed = vec![0.0; io.y_len()];
                each(io, |i, [a, b]| allowed[i] = EPS * (self.0.errors)(at.x[0][a], at.x[1][b])[0] + FLUSH);
                return Tolerance::Each(allowed);
            }
            "da" => 0,
            _ => 1,
        };
        // The derivative's error, the product's rounding, and those of the sums, at most as many as there are terms.
        let additions = if terms(io, k) > 1 { terms(io, k) as f64 + 1.0 } else { 0.0 };
        let mut allowed = vec![FLUSH; io.x_len(k)];
        each(io, |i, [a, b]| {
            let (u, v) = (at.x[0][a], at.x[1][b]);
            let (slope, error) = ((self.0.slopes[k])(u, v).abs(), (self.0.errors)(u, v)[k + 1]);
            allowed[[a, b][k]] += at.dy[i].abs() * (EPS * (error + (1.0 + additions) * slope) + FLUSH);
        });
        Tolerance::Each(allowed)
    }
}

/// Multiples of 1/64 from -1 to 2.
fn whole(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| (rng.below(192) as f64 - 64.0) / 64.0).collect()
}

/// Halfway between those of [`whole`], so that no two values are equal, and at least 1/2 away from 0, for quotients.
fn halves(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    let size = |rng: &mut Rng| (rng.below(96) as f64 + 32.5) / 64.0;
    (0..len(&x[k])).map(|_| if rng.below(3) == 0 { -size(rng) } else { size(rng) }).collect()
}

/// From -3 to 3, among them 0.
fn small(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| rng.below(7) as f64 - 3.0).collect()
}

fn cases_of(op: Binary) -> Vec<Case> {
    let of_a = if op.0.is_of_positive { Fill::Uniform { low: 0.3, high: 2.0, gap: 0.0 } } else { Fill::With(whole) };
    let case = |a: &[usize], b: &[usize]| {
        let shapes = [a, b].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        Case::new(op, &shapes).fill(0, of_a).fill(1, Fill::With(halves))
    };
    let mut cases = vec![
        case(&[1, 1, 1, 1], &[1, 1, 1, 1]),
        case(&[2, 3, 5, 7], &[2, 3, 5, 7]),
        case(&[2, 3, 4, 2, 3, 2], &[2, 3, 4, 2, 3, 2]),
        // A bias per channel, a mask for all channels, a scalar; vectors that meet in a table; each broadcast along another.
        case(&[2, 3, 5, 7], &[3, 1, 1]),
        case(&[2, 1, 5, 7], &[2, 3, 5, 7]),
        // A factor per picture and channel.
        case(&[2, 6, 5, 7], &[2, 6, 1, 1]),
        case(&[2, 6, 1, 1], &[2, 6, 3, 1]),
        case(&[257], &[1]),
        case(&[1], &[2, 3, 5]),
        case(&[13, 1], &[1, 17]),
        case(&[4, 1, 3, 1, 2], &[5, 1, 7, 1]),
        case(&[2, 1, 3, 1, 2, 1], &[1, 5, 1, 4, 1, 5]),
        case(&[1, 5, 1, 4, 1, 5], &[2, 1, 3, 1, 2, 1]),
        // Sums of many terms, in parts.
        case(&[3, 2, 17, 19], &[2, 1, 1]),
        case(&[5, 1, 1], &[2, 5, 9, 11]),
        case(&[3, 30, 2, 1, 1, 2], &[1, 1, 2, 1, 1, 2]),
        case(&[3, 50], &[3, 50]).fill(0, Fill::With(with_nan)).rough(),
        case(&[3, 50], &[3, 50]).fill(1, Fill::With(with_nan)).rough(),
        case(&[1, 64, 64, 64], &[1, 64, 64, 64]).real(),
        case(&[8, 64, 32, 32], &[64, 1, 1]).real(),
    ];
    if op.0.is_of_positive {
        // Negative a with whole b and with others, and zeros of both.
        let case = case(&[3, 50], &[3, 50]).fill(0, Fill::With(small)).rough();
        cases.extend([case.clone().fill(1, Fill::With(small)), case]);
        let broadcast = |a: &[usize], b: &[usize]| {
            let shapes = [a, b].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
            Case::new(op, &shapes).fill(0, Fill::With(small)).fill(1, Fill::With(small)).rough()
        };
        cases.extend([broadcast(&[5, 1, 1], &[2, 5, 9, 11]), broadcast(&[2, 5, 9, 11], &[5, 1, 1])]);
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_broadcast_as_in_numpy() {
        let shape = |a: &[usize], b: &[usize]| add().shape(&[Shape::new(a).unwrap(), Shape::new(b).unwrap()]);
        for (a, b, y) in [
            (&[2, 3][..], &[3][..], &[2, 3][..]),
            (&[1], &[4, 1, 2], &[4, 1, 2]),
            (&[8, 1, 6, 1], &[7, 1, 5], &[8, 7, 6, 5]),
        ] {
            assert_eq!(&*shape(a, b).unwrap(), y);
            assert_eq!(&*shape(b, a).unwrap(), y);
        }
        let error = shape(&[2, 3], &[2]).unwrap_err().to_string();
        assert_eq!(error, "b must be a's shape [2, 3], or 1 where they differ, got [2]");
    }

    #[test]
    fn equal_values_share_the_gradient_and_nan_wins() {
        let io = Io { x: &[[3].into(), [3].into()], y: [3].into() };
        let x = [vec![1.0, 2.0, f64::NAN], vec![1.0, f64::NAN, 2.0]];
        for op in [max(), min()] {
            let mut y = [0.0; 3];
            op.reference(&io, &x, &mut y);
            assert!(y[0] == 1.0 && y[1].is_nan() && y[2].is_nan());
            let mut dx = [vec![0.0; 3], vec![0.0; 3]];
            op.reference_grad(&io, &x, &y, &[1.0; 3], &mut dx);
            assert_eq!([dx[0][0], dx[1][0]], [0.5, 0.5]);
        }
    }
}
