//! Pointwise operations: rows of three tables, functions of one value ([`unary`]) and of two ([`binary`]), and comparisons
//! ([`compare`]).
//!
//! A row holds the function and its derivatives, each in WGSL and in f64, and the errors of the WGSL. A template in
//! `shaders/pointwise` leaves these functions open; both texts together are a kernel.

pub mod binary;
pub(in crate::ops) mod broadcast;
pub mod compare;
mod special;
pub mod unary;

pub use binary::Binary;
pub use compare::Compare;
pub use unary::Unary;

use super::Registered;

/// Returns a line of the registry for each row.
pub(super) fn registered() -> Vec<Registered> {
    [unary::registered(), binary::registered(), compare::registered()].concat()
}

/// Returns the names of all rows.
pub fn names() -> impl Iterator<Item = &'static str> {
    let unary = unary::ROWS.iter().map(|row| row.name);
    unary.chain(binary::rows().into_iter().map(|row| row.name)).chain(compare::ROWS.iter().map(|row| row.name))
}

/// Returns whether a WGSL expression names `variable`.
fn uses(expression: &str, variable: &str) -> bool {
    expression.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == variable)
}

/// Returns whether a WGSL expression names a function that takes one number only, not four channels.
fn is_scalar(expression: &str) -> bool {
    ["sine", "is_nan", "power"].iter().any(|name| uses(expression, name))
}

/// Results below 2⁻¹²⁶ may be flushed to zero.
const FLUSH: f64 = 4.0 * f32::MIN_POSITIVE as f64;

/// Functions that rows name, and that others of them name, each with its text.
const SHARED: [(&str, &str); 13] = [
    ("arc_tangent", include_str!("../../../shaders/shared/arc_tangent.wgsl")),
    ("erf_of", include_str!("../../../shaders/shared/erf_of.wgsl")),
    ("normal_of", include_str!("../../../shaders/shared/normal_of.wgsl")),
    ("erfc_of", include_str!("../../../shaders/shared/erfc_of.wgsl")),
    ("log1p", include_str!("../../../shaders/shared/log1p.wgsl")),
    ("logistic", include_str!("../../../shaders/shared/logistic.wgsl")),
    ("sine", include_str!("../../../shaders/shared/sine.wgsl")),
    ("quotient", include_str!("../../../shaders/shared/quotient.wgsl")),
    ("tanh_softplus", include_str!("../../../shaders/shared/tanh_softplus.wgsl")),
    ("power", include_str!("../../../shaders/shared/power.wgsl")),
    ("is_nan", include_str!("../../../shaders/shared/is_nan.wgsl")),
    ("with_nan", include_str!("../../../shaders/shared/with_nan.wgsl")),
    ("tanh_softplus_rest", include_str!("../../../shaders/shared/tanh_softplus_rest.wgsl")),
];

/// Appends the shared functions that `text` names.
fn with_shared(mut text: String) -> String {
    for (name, shared) in SHARED {
        if uses(&text, name) {
            text += &format!("\n{shared}");
        }
    }
    text
}
