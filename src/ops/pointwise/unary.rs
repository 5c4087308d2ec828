//! pointwise: y = f(x), element by element. An operation is one row of the table below.
//!
//! | name | shape     | meaning |
//! |------|-----------|---------|
//! | x    | any shape | input   |
//! | y    | any shape | output  |
//!
//! Gradient: for x, dy·f'(x); backward reads dy, and those of x and y that the row's derivative names. NaN stays NaN in y.
//! Errors: a parameter of the row is not finite.
//! Numerics: each row states the error of its WGSL in units of 2⁻²³, from the accuracy of exp (3 + 2·|x| ULP), log (2⁻²¹ between 0.5
//! and 2, else 3 ULP), sqrt (4.5 ULP) and division (2.5 ULP).
//! Source: definitions and derivatives at kinks as in PyTorch; accuracy: WGSL specification, section "Floating Point Accuracy".

use super::special::{erf, erfc};
use super::{FLUSH, is_scalar, uses, with_shared};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::ops::{
    Call, Caps, Case, Cost, EPS, Family, Fill, Fusible, Io, Kernel, Launch, Op, Registered, Scalar, Source, Tolerance,
    Values, Work, fours,
};
use crate::rng::Rng;
use crate::tensor::{Shape, len};
use std::collections::BTreeMap;
use std::f64::consts::{FRAC_1_SQRT_2, PI};
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
    pub f: fn(f64, Parameters) -> f64,
    pub slope: fn(f64, Parameters) -> f64,
    /// Largest errors of the function and the derivative in WGSL at this x, in units of 2⁻²³.
    pub errors: fn(f64, Parameters) -> [f64; 2],
    /// The numbers at which the row is checked.
    pub domain: Domain,
    /// The names of its parameters, which are members of `p` in WGSL, and their defaults.
    pub parameters: &'static [(&'static str, f32)],
}

/// The values of a row's parameters, in the order of [`Row::parameters`]; the rest is 0.
pub type Parameters = [f64; 2];

/// Where a function is checked.
#[derive(Debug, Clone, Copy)]
pub struct Domain {
    /// From here to there.
    near: [f64; 2],
    /// Far from zero, where a plain exponential would overflow; `None` for what does so itself.
    far: Option<[f64; 2]>,
    /// Distance from zero, where the function has a kink or a pole.
    gap: f64,
}

const ALL: Domain = Domain { near: [-6.0, 3.0], far: Some([-300.0, 300.0]), gap: 1e-3 };
const OVERFLOWS: Domain = Domain { far: None, ..ALL };
const POSITIVE: Domain = Domain { near: [0.1, 3.0], far: Some([0.5, 300.0]), gap: 0.0 };
const POLE: Domain = Domain { gap: 0.5, ..ALL };

/// Declares the rows, and registers each with its cases.
macro_rules! rows {
    ($($name:ident $(($($parameter:ident = $default:expr),*))?: $about:literal,
        $wgsl:literal, $f:expr,
        $slope_wgsl:literal, $slope:expr,
        $errors:expr, $domain:expr;)*) => {
        /// Every function, in alphabetical order.
        pub const ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            about: $about,
            wgsl: $wgsl,
            slope_wgsl: $slope_wgsl,
            f: $f,
            slope: $slope,
            errors: $errors,
            domain: $domain,
            parameters: &[$($((stringify!($parameter), $default)),*)?],
        }),*];

        /// Returns one line of the registry per row.
        pub(super) fn registered() -> Vec<Registered> {
            vec![$(Registered { name: stringify!($name), cases: || cases_of(stringify!($name)) }),*]
        }
    };
}

rows! {
    abs: "|a|; the derivative at 0 is 0",
        "abs(a)", |a, _| a.abs(),
        "select(select(a, T(1.0), a > T(0.0)), T(-1.0), a < T(0.0))", |a, _| if a == 0.0 { 0.0 } else { a.signum() },
        |_, _| [0.0, 0.0], ALL;
    atan: "the arc tangent, in radians",
        "arc_tangent(a)", |a, _| a.atan(),
        "T(1.0) / (a * a + T(1.0))", |a, _| 1.0 / (a * a + 1.0),
        // The fit and the division of the argument, of which each counts at most once, and the sum.
        |a, _| [6.0 * a.atan().abs(), 5.0 / (a * a + 1.0)], ALL;
    ceil: "the smallest integer that is not below a; its derivative is 0",
        "ceil(a)", |a, _| a.ceil(),
        "T(0.0)", |_, _| 0.0,
        |_, _| [0.0, 0.0], ALL;
    clamp(low = f32::MIN, high = f32::MAX): "low where a < low, high where a > high, else a; the derivative at both is 0",
        "select(select(a, p.high, a > p.high), p.low, a < p.low)",
        |a, [low, high]| if a < low { low } else if a > high { high } else { a },
        "select(T(0.0), T(1.0), (a > p.low) & (a < p.high))",
        |a, [low, high]| f64::from(a > low && a < high),
        |_, _| [0.0, 0.0], ALL;
    cos: "the cosine of a in radians; |a| up to 10,000",
        "sine(a, 1)", |a, _| a.cos(),
        "-sine(a, 0)", |a, _| -a.sin(),
        |_, _| [2.0, 2.0], ALL;
    elu(alpha = 1.0): "a where a > 0, else alpha · (exp(a) − 1)",
        "select(p.alpha * (with_nan(exp(a), a) - T(1.0)), a, a > T(0.0))",
        |a, [alpha, _]| if a > 0.0 { a } else { alpha * a.exp_m1() },
        "select(p.alpha * with_nan(exp(a), a), T(1.0), a > T(0.0))",
        |a, [alpha, _]| if a > 0.0 { 1.0 } else { alpha * a.exp() },
        |a, [alpha, _]| if a > 0.0 { [0.0, 0.0] } else { [exp_error(a) + 2.0, exp_error(a) + 1.0].map(|e| alpha.abs() * e) },
        ALL;
    erf: "the error function",
        "erf_of(a)", |a, _| erf(a),
        "T(1.1283791670955126) * with_nan(exp(-a * a), a)", |a, _| 2.0 / PI.sqrt() * (-a * a).exp(),
        |a, _| [
            if a.abs() < 0.5 { 5.0 * erf(a).abs() } else { erfc_error(a.abs()) + erf(a).abs() },
            1.13 * ((-a * a).exp() * (4.0 + 3.0 * a * a)),
        ], ALL;
    exp: "the exponential",
        "with_nan(exp(a), a)", |a, _| a.exp(),
        "r", |a, _| a.exp(),
        |a, _| [exp_error(a), exp_error(a)], OVERFLOWS;
    floor: "the largest integer that is not above a; its derivative is 0",
        "floor(a)", |a, _| a.floor(),
        "T(0.0)", |_, _| 0.0,
        |_, _| [0.0, 0.0], ALL;
    gelu: "a · Φ(a), where Φ is the normal distribution",
        "a * normal_of(a)", |a, _| a * normal(a),
        "normal_of(a) + T(0.3989422804014327) * a * exp(T(-0.5) * a * a)",
        |a, _| normal(a) + a * (-0.5 * a * a).exp() / (2.0 * PI).sqrt(),
        |a, _| {
            let density = 0.4 * a.abs() * (-0.5 * a * a).exp();
            let slope = (normal(a) + a * (-0.5 * a * a).exp() / (2.0 * PI).sqrt()).abs();
            [a.abs() * (normal_error(a) + normal(a)), normal_error(a) + density * (6.0 + 2.0 * a * a) + slope]
        }, ALL;
    gelu_tanh: "a/2 · (1 + tanh(√(2/π)·(a + 0.044715·a³))), an approximation of gelu",
        "a * logistic(T(1.5957691216057308) * a * (T(1.0) + T(0.044715) * a * a))",
        |a, _| a * sigmoid(gelu_argument(a)),
        "logistic(T(1.5957691216057308) * a * (T(1.0) + T(0.044715) * a * a)) * (T(1.0) + a * T(1.5957691216057308) \
        * (T(1.0) + T(0.134145) * a * a) * logistic(T(-1.5957691216057308) * a * (T(1.0) + T(0.044715) * a * a)))",
        |a, _| gelu_tanh_slope(a),
        |a, _| {
            let v = gelu_argument(a);
            let error = sigmoid_error(v) + 6.0 * v.abs() * sigmoid(v) * sigmoid(-v);
            let rest = a.abs() * 1.6 * (1.0 + 0.134_145 * a * a);
            let slope = error * (1.0 + rest * sigmoid(-v)) + sigmoid(v) * (rest * sigmoid(-v) * (15.0 + 8.0 * v.abs()) + 3.0);
            [a.abs() * (error + sigmoid(v)), slope + gelu_tanh_slope(a).abs()]
        }, ALL;
    hard_sigmoid(alpha = 1.0 / 6.0, beta = 0.5): "0 where alpha·a + beta < 0, 1 where it is > 1, else alpha·a + beta; the derivative at both \
        kinks is 0",
        "select(select(p.alpha * a + p.beta, T(1.0), p.alpha * a + p.beta > T(1.0)), T(0.0), p.alpha * a + p.beta < T(0.0))",
        |a, [alpha, beta]| (alpha * a + beta).clamp(0.0, 1.0),
        "select(T(0.0), p.alpha, (p.alpha * a + p.beta > T(0.0)) & (p.alpha * a + p.beta < T(1.0)))",
        |a, [alpha, beta]| if alpha * a + beta > 0.0 && alpha * a + beta < 1.0 { alpha } else { 0.0 },
        |a, [alpha, beta]| [(alpha * a).abs() + (alpha * a + beta).abs(), 0.0], ALL;
    hard_swish: "0 where a < −3, a where a > 3, else a · (a + 3)/6; the derivative is 0 at −3 and 1 at 3",
        "select(select(a * ((a + T(3.0)) / T(6.0)), a, a > T(3.0)), T(0.0), a < T(-3.0))",
        |a, _| if a < -3.0 { 0.0 } else if a > 3.0 { a } else { a * (a + 3.0) / 6.0 },
        "select(select(a / T(3.0) + T(0.5), T(1.0), a >= T(3.0)), T(0.0), a <= T(-3.0))",
        |a, _| if a <= -3.0 { 0.0 } else if a >= 3.0 { 1.0 } else { a / 3.0 + 0.5 },
        |a, _| if a.abs() > 3.0 { [0.0, 0.0] } else { [4.5 * (a * (a + 3.0) / 6.0).abs(), a.abs() + 1.5] }, ALL;
    log: "the natural logarithm; a is above 0",
        "with_nan(log(a), a)", |a, _| a.ln(),
        "T(1.0) / a", |a, _| 1.0 / a,
        |a, _| [if (0.5..=2.0).contains(&a) { 4.0 } else { 3.0 * a.ln().abs() }, 2.5 / a], POSITIVE;
    mish: "a · tanh(log(1 + exp(a)))",
        "a * tanh_softplus(a)", |a, _| a * tanh_softplus(a)[0],
        "tanh_softplus(a) + a * tanh_softplus_rest(a) * (T(1.0) + tanh_softplus(a)) * logistic(a)",
        |a, _| mish_slope(a),
        |a, _| {
            let [t, rest] = tanh_softplus(a);
            let relative = 12.0 + 2.0 * (3.0 + 2.0 * a.abs());
            let curve = a.abs() * rest * (1.0 + t) * sigmoid(a);
            // What is flushed to zero is multiplied by a.
            let flushed = a.abs() * FLUSH / EPS;
            let slope = t * relative + curve * (3.0 * relative + 4.0) + mish_slope(a).abs();
            [a.abs() * t * (relative + 1.0) + flushed, slope + 3.0 * flushed]
        }, ALL;
    neg: "−a",
        "-a", |a, _| -a,
        "T(-1.0)", |_, _| -1.0,
        |_, _| [0.0, 0.0], ALL;
    reciprocal: "1 / a",
        "T(1.0) / a", |a, _| 1.0 / a,
        "-r * r", |a, _| -1.0 / (a * a),
        |a, _| [2.5 / a.abs(), 6.0 / (a * a)], POLE;
    round: "the nearest integer, and the even one of two; its derivative is 0",
        "round(a)", |a, _| a.round_ties_even(),
        "T(0.0)", |_, _| 0.0,
        |_, _| [0.0, 0.0], ALL;
    sigmoid: "1 / (1 + exp(−a)), from exp(−|a|), which cannot overflow",
        "logistic(a)", |a, _| sigmoid(a),
        "r * (T(1.0) - r)", |a, _| sigmoid(a) * (1.0 - sigmoid(a)),
        |a, _| {
            let e = sigmoid_error(a);
            [e, e * (1.0 + EPS * e) + 2.0 * sigmoid(a) * (1.0 - sigmoid(a)) + EPS * e]
        }, ALL;
    sign: "−1, 0 or 1; its derivative is 0",
        "select(select(a, T(1.0), a > T(0.0)), T(-1.0), a < T(0.0))",
        |a, _| if a == 0.0 || a.is_nan() { a } else { a.signum() },
        "T(0.0)", |_, _| 0.0,
        |_, _| [0.0, 0.0], ALL;
    silu: "a · sigmoid(a), also called swish",
        "a / (T(1.0) + exp(-a))", |a, _| a * sigmoid(a),
        "(T(1.0) + a / (T(1.0) + exp(a))) / (T(1.0) + exp(-a))",
        |a, _| sigmoid(a) * (1.0 + a * (1.0 - sigmoid(a))),
        |a, _| [a.abs() * sigmoid_error(a) + 3.0 * a.abs(), 8.0 * (1.0 + a.abs()) * (1.0 + sigmoid_error(a))], ALL;
    sin: "the sine of a in radians; |a| up to 10,000",
        "sine(a, 0)", |a, _| a.sin(),
        "sine(a, 1)", |a, _| a.cos(),
        |_, _| [2.0, 2.0], ALL;
    softplus: "log(1 + exp(a))",
        "max(a, T(0.0)) + log1p(exp(-abs(a)))", |a, _| a.max(0.0) + (-a.abs()).exp().ln_1p(),
        "logistic(a)", |a, _| sigmoid(a),
        |a, _| {
            let log = (-a.abs()).exp().ln_1p();
            [(3.0 + 2.0 * a.abs() + 9.0) * log + a.max(0.0) + log, sigmoid_error(a)]
        }, ALL;
    sqrt: "the square root; a is not below 0",
        "sqrt(a)", |a, _| a.sqrt(),
        "T(0.5) / r", |a, _| 0.5 / a.sqrt(),
        |a, _| [4.5 * a.sqrt(), 3.75 / a.sqrt()], POSITIVE;
    tanh: "the hyperbolic tangent",
        "(T(1.0) - exp(T(-2.0) * abs(a))) / (T(1.0) + exp(T(-2.0) * abs(a))) * sign(a)", |a, _| a.tanh(),
        "T(4.0) * exp(T(-2.0) * abs(a)) / ((T(1.0) + exp(T(-2.0) * abs(a))) * (T(1.0) + exp(T(-2.0) * abs(a))))",
        |a, _| tanh_slope(a),
        // 1 − y² would be exact to 2⁻²³ only, however small it is.
        |a, _| [tanh_error(a), tanh_slope(a) * (10.0 + 3.0 * (3.0 + 4.0 * a.abs()))], ALL;
}

/// Returns the normal distribution.
fn normal(a: f64) -> f64 {
    0.5 * erfc(-a * FRAC_1_SQRT_2)
}

/// Returns the error of `shaders/shared/erfc_of.wgsl`: 1 of the fit, 2.5 of t, to which the exponent is at most twice as sensitive, the
/// roundings of the exponent's sum and of x², exp's 3 + 2·|exponent| ULP, and a product.
fn erfc_error(x: f64) -> f64 {
    erfc(x) * (1.0 + 3.0 * 3.5 + 3.0 * (x * x + 2.0) + 3.0 + 2.0 * (x * x + 1.3))
}

/// Returns the error of `shaders/shared/normal_of.wgsl`.
fn normal_error(a: f64) -> f64 {
    // The argument's two roundings count 2·x² times.
    let tail = 0.5 * (erfc_error(a.abs() * FRAC_1_SQRT_2) + erfc(a.abs() * FRAC_1_SQRT_2) * (2.0 * a * a + 2.0));
    if a > 0.0 { tail + 1.0 } else { tail }
}

fn gelu_argument(a: f64) -> f64 {
    (8.0 / PI).sqrt() * a * (1.0 + 0.044_715 * a * a)
}

fn gelu_tanh_slope(a: f64) -> f64 {
    let v = gelu_argument(a);
    sigmoid(v) * (1.0 + a * (8.0 / PI).sqrt() * (1.0 + 0.134_145 * a * a) * sigmoid(-v))
}

/// Returns tanh(log(1 + exp(a))), and 1 minus it.
fn tanh_softplus(a: f64) -> [f64; 2] {
    let e = (-a.abs()).exp();
    if a > 0.0 {
        let all = 1.0 + 2.0 * e + 2.0 * e * e;
        [(1.0 + 2.0 * e) / all, 2.0 * e * e / all]
    } else {
        let all = 2.0 + 2.0 * e + e * e;
        [(2.0 * e + e * e) / all, 2.0 / all]
    }
}

fn mish_slope(a: f64) -> f64 {
    let [t, rest] = tanh_softplus(a);
    t + a * rest * (1.0 + t) * sigmoid(a)
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

/// A row as an operation, with the values of its parameters.
#[derive(Clone, Copy)]
pub struct Unary {
    row: &'static Row,
    parameters: [f32; 2],
}

impl Unary {
    /// Returns the function called `name`, with its parameters' defaults, or `None` if the table has no such row.
    pub fn named(name: &str) -> Option<Self> {
        let row = ROWS.iter().find(|row| row.name == name)?;
        let mut parameters = [0.0; 2];
        parameters.iter_mut().zip(row.parameters).for_each(|(value, (_, default))| *value = *default);
        Some(Self { row, parameters })
    }

    /// Returns the function called `name` with these values of its parameters, in the order of [`Row::parameters`]; `None` if the table
    /// has no such row, or the row another number of parameters.
    pub fn with(name: &str, parameters: &[f32]) -> Option<Self> {
        let mut op = Self::named(name)?;
        op.parameters.get_mut(..parameters.len())?.copy_from_slice(parameters);
        (op.row.parameters.len() == parameters.len()).then_some(op)
    }

    /// Returns the values of the parameters, 0 for those that the row lacks.
    pub fn values(&self) -> [f32; 2] {
        self.parameters
    }

    fn parameters(&self) -> Parameters {
        self.parameters.map(f64::from)
    }
    /// Returns the function at x.
    pub(in crate::ops) fn f(&self, x: f64) -> f64 {
        (self.row.f)(x, self.parameters())
    }
    /// Returns the largest error of the function in WGSL at a number that is at most `error` away from x.
    pub(in crate::ops) fn error_at(&self, x: f64, error: f64) -> f64 {
        let near = [x - error, x, x + error];
        let most = |f: &dyn Fn(f64) -> f64| near.iter().fold(0.0, |most: f64, &x| most.max(f(x)));
        // The derivative may be a little larger between these three.
        let steepest = most(&|x| self.slope(x).abs()) * 1.001;
        steepest * error + EPS * most(&|x| (self.row.errors)(x, self.parameters())[0]) + FLUSH
    }
    /// Returns WGSL that defines `activated(sum, slope)`, a slope times the function; the parameters are the members f0 and f1 of `p`.
    pub(in crate::ops) fn activation(&self) -> String {
        let mut function = self.row.wgsl.to_owned();
        for (k, (name, _)) in self.row.parameters.iter().enumerate() {
            function = function.replace(&format!("p.{name}"), &format!("T(p.f{k})"));
        }
        with_shared(format!("fn activated(a: T, slope: T) -> T {{\n    return slope * ({function});\n}}\n"))
    }
    /// Returns whether its WGSL takes four channels, and is finite at 0, the value of those past the last one.
    fn takes_quads(&self) -> bool {
        self.f(0.0).is_finite() && !is_scalar(self.row.wgsl)
    }
    fn slope(&self, x: f64) -> f64 {
        (self.row.slope)(x, self.parameters())
    }
}

impl std::fmt::Debug for Unary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.row.name)?;
        let values = self.row.parameters.iter().zip(self.parameters);
        let values: Vec<String> = values.map(|((name, _), value)| format!("{name} {value}")).collect();
        if values.is_empty() { Ok(()) } else { write!(f, "({})", values.join(", ")) }
    }
}

impl PartialEq for Unary {
    fn eq(&self, other: &Self) -> bool {
        self.row.name == other.row.name && self.parameters == other.parameters
    }
}

/// Returns the kernels of row `name`. Each row's text is assembled once, from the template and the row's expressions.
fn kernels_of(name: &str) -> &'static [Kernel] {
    static KERNELS: OnceLock<BTreeMap<&'static str, Vec<Kernel>>> = OnceLock::new();
    let all = KERNELS.get_or_init(|| {
        let kernels = |row: &'static Row| {
            let source = Source::built_in(format!("pointwise/{}", row.name).leak(), text_of(row).leak());
            let mut kernels = vec![Kernel::new(source, |call, caps| rows(call, caps, 1))];
            if !is_scalar(row.wgsl) && !is_scalar(row.slope_wgsl) {
                let text = fours::text_of(source.text);
                let source = Source::built_in(format!("pointwise/{}_fours", row.name).leak(), text.leak());
                kernels.push(Kernel::new(source, |call, caps| rows(call, caps, 4)).only(Family::Hardware));
            }
            if let Some(op) = Unary::named(row.name).filter(Unary::takes_quads) {
                let template = include_str!("../../../shaders/pointwise/unary_quads.wgsl");
                let texels = include_str!("../../../shaders/shared/texels.wgsl");
                let quotient = include_str!("../../../shaders/shared/quotient.wgsl");
                let text = [template, texels, quotient, &op.activation()].join("\n");
                let source = Source::built_in(format!("pointwise/{}_quads", row.name).leak(), text.leak());
                kernels.push(Kernel::new(source, quads).only(Family::Software));
            }
            (row.name, kernels)
        };
        ROWS.iter().map(kernels).collect()
    });
    all.get(name).map_or(&[], |kernels| &kernels[..])
}

/// Returns the template `shaders/pointwise/unary.wgsl`, completed with the row's functions, its parameters, and the shared functions
/// that it names. The derivative loads only what it names, so that the planner may free the rest.
fn text_of(row: &Row) -> String {
    let template = include_str!("../../../shaders/pointwise/unary.wgsl");
    let one = include_str!("../../../shaders/shared/one.wgsl");
    let a = if uses(row.slope_wgsl, "a") { "    let a = x[i];\n" } else { "" };
    let r = if uses(row.slope_wgsl, "r") { "    let r = y[i];\n" } else { "" };
    // A parameter is one number, whatever T is.
    let spread = |wgsl: &str| {
        let names = row.parameters.iter().map(|(name, _)| format!("p.{name}"));
        names.fold(wgsl.to_owned(), |wgsl, name| wgsl.replace(&name, &format!("T({name})")))
    };
    let parameters: String = row.parameters.iter().map(|(name, _)| format!(", {name}: f32")).collect();
    let text = format!(
        "{template}\n{one}\nstruct P {{ len: u32{parameters} }}\n\nfn apply(a: T) -> T {{\n    return {};\n}}\n\nfn slope(i: u32) -> T {{\n{a}{r}    \
         return {};\n}}\n",
        spread(row.wgsl),
        spread(row.slope_wgsl)
    );
    with_shared(text)
}

/// `shaders/pointwise/unary.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let (op, len) = (call.op::<Unary>()?, fours::units(call.io.y_len(), width)?);
    let work = call.work(caps, |_| {
        let values = op.row.parameters.iter().zip(op.parameters);
        let values = values.map(|((name, _), value)| (*name, Scalar::F32(value)));
        Some(Launch::threads(len, [("len", len.into())].into_iter().chain(values)))
    })?;
    Some(work.faster(fours::gain(width)))
}

/// `shaders/pointwise/unary_quads.wgsl`.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Unary>()?, &call.io);
    let ([_, c, h, w], texels) = (io.y.nchw(), Layout::Quads.elements(&io.y));
    let [f0, f1] = op.parameters;
    let params = [
        ("threads", texels.into()),
        ("plane", (h * w).into()),
        ("quads", c.div_ceil(4).into()),
        ("channels", c.into()),
        ("f0", f0.into()),
        ("f1", f1.into()),
    ];
    let work = call.work(caps, |_| (texels <= MAX_TEXELS).then(|| Launch::threads(texels, params)))?;
    Some(work.faster(1.5))
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        self.row.name
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        kernels_of(self.row.name)
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        for ((name, _), value) in self.row.parameters.iter().zip(self.parameters) {
            if !value.is_finite() {
                return Err(ShapeError::value(name, "finite", value));
            }
        }
        Ok(x[0])
    }
    fn fusible(&self) -> Option<Fusible> {
        // The reference of a layer that ends in a jump could differ by all of it, however small the error of the sum.
        let jumps = self.row.slope_wgsl == "T(0.0)";
        (self.takes_quads() && !jumps).then_some(Fusible::Activation(*self))
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let tensors = if method == "forward" { 2 } else { 3 };
        Cost::new(4 * io.y_len(), tensors * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (y, &x) in y.iter_mut().zip(&x[0]) {
            *y = self.f(x);
        }
    }
    fn reference_grad(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for ((dx, &x), &dy) in dx[0].iter_mut().zip(&x[0]).zip(dy) {
            *dx = dy * self.slope(x);
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        let bound = |(i, &x): (usize, &f64)| {
            let [f, slope] = (self.row.errors)(x, self.parameters());
            match output {
                "y" => EPS * f + FLUSH,
                // Plus the rounding of the product.
                _ => at.dy[i].abs() * EPS * (slope + self.slope(x).abs()) + FLUSH * (1.0 + at.dy[i].abs()),
            }
        };
        Tolerance::Each(at.x[0].iter().enumerate().map(bound).collect())
    }
}

/// NaN, and positive values, which every function takes.
fn nan_and_positive(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|i| if i % 7 == 3 { f64::NAN } else { rng.uniform(0.5, 2.0) }).collect()
}

/// Multiples of 1/2 from -4 to 4, among which are ties and kinks, and the numbers next to them.
fn halves(_: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|i| (i % 17) as f64 / 2.0 - 4.0 + [0.0, 0.002, -0.002][i / 17 % 3]).collect()
}

fn cases_of(name: &str) -> Vec<Case> {
    let Some(op) = Unary::named(name) else { return Vec::new() };
    let Domain { near: [low, high], far, gap } = op.row.domain;
    let near = Fill::Uniform { low, high, gap };
    let case = |op: Unary, x: &[usize]| {
        let shape = Shape::new(x).expect("a case has one to six dimensions");
        Case::new(op, &[shape]).fill(0, near)
    };
    let mut cases = vec![
        case(op, &[1, 1, 1, 1]),
        case(op, &[2, 3, 5, 7]),
        case(op, &[257]),
        case(op, &[2, 3, 2, 5, 2, 3]),
        // One more than a workgroup's fours.
        case(op, &[260]),
        case(op, &[3, 50]).fill(0, Fill::With(nan_and_positive)).rough(),
        case(op, &[1, 64, 64, 64]).real(),
    ];
    if low < 0.0 && gap < 0.5 {
        cases.push(case(op, &[51]).fill(0, Fill::With(halves)).rough());
    }
    if let Some([low, high]) = far {
        cases.push(case(op, &[1, 5, 13, 4]).fill(0, Fill::Uniform { low, high, gap }));
    }
    // Other values of the parameters.
    if !op.row.parameters.is_empty() {
        for [first, second] in [[-1.5, 2.0], [0.25, 0.5]] {
            let op = Unary { parameters: [first, second], ..op };
            cases.push(case(op, &[300]));
            cases.push(case(op, &[51]).fill(0, Fill::With(halves)).rough());
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_part_of_the_operation() {
        let op = Unary::with("clamp", &[-1.0, 2.5]).unwrap();
        assert_eq!(format!("{op:?} {:?}", Unary::named("abs").unwrap()), "clamp(low -1, high 2.5) abs");
        assert_ne!(op, Unary::named("clamp").unwrap());
        assert!(Unary::with("clamp", &[1.0]).is_none() && Unary::with("abs", &[1.0; 3]).is_none());
        let infinite = Unary::with("elu", &[f32::INFINITY]).unwrap().shape(&[[2].into()]).unwrap_err().to_string();
        assert_eq!(infinite, "alpha must be finite, got inf");
    }
}
