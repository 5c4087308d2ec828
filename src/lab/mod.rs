//! Judges kernels and plans: checks against references, profiles compared with the adapter's limits, measured choices, machine code.
//! The engine does not depend on this module.

pub mod cases;
pub mod check;
pub mod clock;
pub mod faults;
#[cfg(feature = "isa")]
pub mod isa;
mod judge;
pub mod profile;
pub mod roof;
pub mod tune;
