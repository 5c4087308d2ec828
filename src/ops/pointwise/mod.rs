//! Pointwise operations: rows of two tables, functions of one value ([`unary`]) and of two ([`binary`]).
//!
//! A row holds the function and its derivatives, each in WGSL and in f64, and the errors of the WGSL. A template in
//! `shaders/pointwise` leaves these functions open; both texts together are a kernel.

pub mod binary;
pub mod unary;

pub use binary::Binary;
pub use unary::Unary;

use super::Registered;

/// Returns a line of the registry for each row.
pub(super) fn registered() -> Vec<Registered> {
    [unary::registered(), binary::registered()].concat()
}

/// Returns the names of all rows.
pub fn names() -> impl Iterator<Item = &'static str> {
    unary::ROWS.iter().map(|row| row.name).chain(binary::rows().into_iter().map(|row| row.name))
}

/// Returns whether a WGSL expression names `variable`.
fn uses(expression: &str, variable: &str) -> bool {
    expression.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == variable)
}

/// Results below 2⁻¹²⁶ may be flushed to zero.
const FLUSH: f64 = 4.0 * f32::MIN_POSITIVE as f64;
