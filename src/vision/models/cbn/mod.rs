//! CBN: enlarges faces from 16 × 16 pixels, alternating with an estimate of where their parts lie.
//!
//! Source: Zhu, Liu, Loy, Tang, "Deep Cascaded Bi-Network for Face Hallucination", ECCV 2016 (arXiv 1607.05046).
//!
//! | in the paper | here |
//! |---|---|
//! | x̄(l), S(l), p: landmarks x(l) = x̄(l) + S(l)·p | [`shape::ShapeModel`] |
//! | B(z), W(z) = z + B(z)·p | [`bases::Bases`], [`crate::ops::field`] |
//! | φ, φ̄, R, f_k: p_k = p_{k−1} + R_k·(φ − φ̄) | [`descriptor::Descriptor`], [`alignment::Step`] |
//! | (not in the paper: the similarity of p undone for a step of f_k) | [`upright`] |
//! | I_0, I_k, p_k, K: the whole cascade | [`cascade::Cascade`] |
//! | E_k, C contours | [`prior::Contours`] |
//! | ↑, E^{W_k}, G_A, G_B, Λ, g_k, I_k, L_A, L_B | [`network`] |

pub mod alignment;
pub mod bases;
pub mod cascade;
pub mod descriptor;
pub mod linalg;
pub mod network;
pub mod prior;
pub mod shape;
pub mod upright;
