//! pointwise: y = f(x), element by element. An operation is one row of the table below.
//!
//! | name | shape     | meaning |
//! |------|-----------|---------|
//! | x    | any shape | input   |
//! | y    | any shape | output  |
//!
//! Gradient: for x, dy·f'(x); backward reads dy, and those of x and y that the row's derivative names.
//! Numerics: each row states the error of its WGSL in units of 2⁻²³, from the accuracy of exp (3 + 2·|x| ULP), log (2⁻²¹ between 0.5
//! and 2) and division (2.5 ULP).
//! Source: definitions as in PyTorch; accuracy: WGSL specification, section "Floating Point Accuracy".

use super::{FLUSH, uses};
use crate::error::ShapeError;
use crate::ops::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Registered, Source, Tolerance, Values, Work,
};
use crate::tensor::Shape;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A function of one number.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// WGSL of the function at `a`, of type `T`.
    pub wgsl: &'static str,
    /// WGSL of its derivative at `a`, where `r` is the function's value.
    pub slope_wgsl: &'static str,
    pub f: fn(f64) -> f64,
    pub slope: fn(f64) -> f64,
    /// Largest errors of the function and the derivative in WGSL at this x, in units of 2⁻²³.
    pub errors: fn(f64) -> [f64; 2],
}

/// Declares the rows, and registers each with its cases.
macro_rules! rows {
    ($($name:ident: $about:literal,
        $wgsl:literal, $f:expr,
        $slope_wgsl:literal, $slope:expr,
        $errors:expr;)*) => {
        /// Every function, in alphabetical order.
        pub const ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            about: $about,
            wgsl: $wgsl,
            slope_wgsl: $slope_wgsl,
            f: $f,
            slope: $slope,
            errors: $errors,
        }),*];

        /// Returns one line of the registry per row.
        pub(super) fn registered() -> Vec<Registered> {
            vec![$(Registered { name: stringify!($name), cases: || cases_of(stringify!($name)) }),*]
        }
    };
}

rows! {
    abs: "|a|; the derivative at 0 is 0",
        "abs(a)", f64::abs,
        "sign(a)", |a| if a == 0.0 { 0.0 } else { a.signum() },
        |_| [0.0, 0.0];
    elu: "a where a > 0, else exp(a) − 1",
        "select(exp(min(a, T(0.0))) - T(1.0), a, a > T(0.0))", |a| if a > 0.0 { a } else { a.exp_m1() },
        "select(exp(min(a, T(0.0))), T(1.0), a > T(0.0))", |a| a.min(0.0).exp(),
        |a| if a > 0.0 { [0.0, 0.0] } else { [exp_error(a) + 1.0, exp_error(a)] };
    exp: "the exponential",
        "exp(a)", f64::exp,
        "r", f64::exp,
        |a| [exp_error(a), exp_error(a)];
    sigmoid: "1 / (1 + exp(−a)), from exp(−|a|), which cannot overflow",
        "select(exp(-abs(a)), T(1.0), a >= T(0.0)) / (T(1.0) + exp(-abs(a)))", sigmoid,
        "r * (T(1.0) - r)", |a| sigmoid(a) * (1.0 - sigmoid(a)),
        |a| { let e = sigmoid_error(a); [e, e * (1.0 + EPS * e) + 2.0 * sigmoid(a) * (1.0 - sigmoid(a)) + EPS * e] };
    silu: "a · sigmoid(a), also called swish",
        "a / (T(1.0) + exp(-a))", |a| a * sigmoid(a),
        "(T(1.0) + a / (T(1.0) + exp(a))) / (T(1.0) + exp(-a))",
        |a| sigmoid(a) * (1.0 + a * (1.0 - sigmoid(a))),
        |a| [a.abs() * sigmoid_error(a) + 3.0 * a.abs(), 8.0 * (1.0 + a.abs()) * (1.0 + sigmoid_error(a))];
    softplus: "log(1 + exp(a))",
        "max(a, T(0.0)) + log(T(1.0) + exp(-abs(a)))", |a: f64| a.max(0.0) + (-a.abs()).exp().ln_1p(),
        "select(exp(-abs(a)), T(1.0), a >= T(0.0)) / (T(1.0) + exp(-abs(a)))", sigmoid,
        |a| [4.0 + exp_error(-a.abs()) + 1.0 + a.max(0.0) + 1.0, sigmoid_error(a)];
    tanh: "the hyperbolic tangent",
        "(T(1.0) - exp(T(-2.0) * abs(a))) / (T(1.0) + exp(T(-2.0) * abs(a))) * sign(a)", f64::tanh,
        "T(4.0) * exp(T(-2.0) * abs(a)) / ((T(1.0) + exp(T(-2.0) * abs(a))) * (T(1.0) + exp(T(-2.0) * abs(a))))",
        tanh_slope,
        // 1 − y² would be exact to 2⁻²³ only, however small it is.
        |a| [tanh_error(a), tanh_slope(a) * (10.0 + 3.0 * (3.0 + 4.0 * a.abs()))];
}

fn tanh_slope(a: f64) -> f64 {
    let e = (-2.0 * a.abs()).exp();
    4.0 * e / ((1.0 + e) * (1.0 + e))
}

fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + (-a).exp())
}

/// Returns the error of WGSL's exp.
fn exp_error(a: f64) -> f64 {
    (3.0 + 2.0 * a.abs()) * a.exp()
}

/// Returns the error of a quotient by 1 + exp(−|a|): that of the exponential, of the sum and of the division.
fn sigmoid_error(a: f64) -> f64 {
    sigmoid(a) * (3.5 + (1.0 - sigmoid(a)) * (3.0 + 2.0 * a.abs()))
}

/// Returns the error of WGSL's tanh: the exponential's error and a rounding each for numerator and denominator, then 2.5 ULP for
/// the quotient and one product.
fn tanh_error(a: f64) -> f64 {
    2.0 * (exp_error(-2.0 * a.abs()) + 1.0) + 3.5 * a.tanh().abs()
}

/// A row as an operation; it has no attributes.
#[derive(Clone, Copy)]
pub struct Unary(&'static Row);

impl Unary {
    /// Returns the function called `name`, or `None` if the table has no such row.
    pub fn named(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(Self)
    }
}

impl std::fmt::Debug for Unary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl PartialEq for Unary {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

/// Returns the kernels of row `name`. Each row's text is assembled once, from the template and the row's expressions.
fn kernels_of(name: &str) -> &'static [Kernel] {
    static KERNELS: OnceLock<BTreeMap<&'static str, [Kernel; 1]>> = OnceLock::new();
    let all = KERNELS.get_or_init(|| {
        let kernel = |row: &Row| {
            let source = Source::built_in(format!("pointwise/{}", row.name).leak(), text_of(row).leak());
            (row.name, [Kernel::new(source, plain)])
        };
        ROWS.iter().map(kernel).collect()
    });
    all.get(name).map_or(&[], |kernels| &kernels[..])
}

/// Returns the template `shaders/pointwise/unary.wgsl`, completed with the row's functions. The derivative loads only what it
/// names, so that the planner may free the rest.
fn text_of(row: &Row) -> String {
    let template = include_str!("../../../shaders/pointwise/unary.wgsl");
    let a = if uses(row.slope_wgsl, "a") { "    let a = x[i];\n" } else { "" };
    let r = if uses(row.slope_wgsl, "r") { "    let r = y[i];\n" } else { "" };
    format!(
        "{template}\nfn apply(a: T) -> T {{\n    return {};\n}}\n\nfn slope(i: u32) -> T {{\n{a}{r}    return {};\n}}\n",
        row.wgsl, row.slope_wgsl
    )
}

fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let len = call.io.y_len();
    call.work(caps, |_| Some(Launch::threads(len, [("len", len.into())])))
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        self.0.name
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        kernels_of(self.0.name)
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(4 * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, &x) in y.iter_mut().zip(&x[0]) {
            *y = (self.0.f)(x);
        }
    }
    fn reference_grad(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for ((dx, &x), &dy) in dx[0].iter_mut().zip(&x[0]).zip(dy) {
            *dx = dy * (self.0.slope)(x);
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        let bound = |(i, &x): (usize, &f64)| {
            let [f, slope] = (self.0.errors)(x);
            match output {
                "y" => EPS * f + FLUSH,
                // Plus the rounding of the product.
                _ => at.dy[i].abs() * EPS * (slope + (self.0.slope)(x).abs()) + FLUSH * (1.0 + at.dy[i].abs()),
            }
        };
        Tolerance::Each(at.x[0].iter().enumerate().map(bound).collect())
    }
}

fn cases_of(name: &str) -> Vec<Case> {
    let Some(op) = Unary::named(name) else { return Vec::new() };
    let wide = Fill::Uniform { low: -6.0, high: 3.0, gap: 1e-3 };
    // Far from zero a plain exponential would overflow; what does so itself has no such case.
    let far = Fill::Uniform { low: -300.0, high: 200.0, gap: 1e-3 };
    let is_finite = [-300.0, 200.0].iter().all(|&a| (op.0.f)(a).abs() < f64::from(f32::MAX));
    let mut cases = vec![
        Case::new(op, &[[1, 1, 1, 1]]).gap(1e-3),
        Case::new(op, &[[2, 3, 5, 7]]).gap(1e-3),
        Case::new(op, &[[257]]).fill(0, wide),
        Case::new(op, &[[2, 3, 2, 5, 2, 3]]).fill(0, wide),
        Case::new(op, &[[1, 64, 64, 64]]).gap(1e-3).real(),
    ];
    if is_finite {
        cases.push(Case::new(op, &[[1, 5, 13, 4]]).fill(0, far));
    }
    cases
}
