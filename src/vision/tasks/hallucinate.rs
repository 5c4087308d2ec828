//! Enlarges faces of 16 × 16 or 28 × 28 pixels by the cascade of "Deep Cascaded Bi-Network for Face Hallucination".
//!
//! [`points`] reads landmarks, [`frame`] maps a face to the canonical frame in which the networks of
//! [`crate::vision::models::cbn`] see it, [`hallucinator`] runs them, and [`sheet`] shows their results.

pub mod align;
pub(crate) mod batches;
pub mod faces;
pub mod frame;
pub mod hallucinator;
pub mod points;
pub mod priors;
#[cfg(feature = "cli")]
pub mod sheet;
