//! The upright frame: where a face lies as the mean face does, without the similarity in p.
//!
//! A linear step from features to coefficients holds near one pose only. So later steps of f_k read the picture as the similarity W_s of
//! p shows it, find what is left there, and move it back: with W_s(y) = y + A·(y − c) + t about the centre c of the mean face, landmarks
//! x̄ + S·q in the upright frame are W_s(x̄ + S·q) in the picture.
//! Source: the composition of Matthews and Baker, "Active Appearance Models Revisited", IJCV 2004, section 4.2.
//! Differs from Zhu et al. 2016, whose f_k reads every face as it lies: trained on frames that a detector gives, it finds landmarks less
//! well there.

use super::bases::Bases;
use super::network;
use super::shape::{Point, SIMILARITY, ShapeModel, Similarity, centre};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::ops::warp::{Border, Warp};
use crate::tensor::Tensor;

/// Rounds that find q from p. Each scales the error by the size of A, about a fifth for a rotation of 10 degrees.
const ROUNDS: usize = 4;

/// Largest side of a picture in the upright frame.
pub const MOST_SIDE: usize = 512;

/// Returns W_s of the coefficients `p`.
pub fn similarity(model: &ShapeModel, p: &[f64]) -> Similarity {
    let ([x, y], size) = (centre(model.mean()), size(model));
    let shift = 1.0 / (model.mean().len() as f64).sqrt();
    let (a, b) = (1.0 + p[0] / size, p[1] / size);
    Similarity { a, b, shift: [x - a * x + b * y + p[2] * shift, y - b * x - a * y + p[3] * shift] }
}

/// Returns the coefficients of the landmarks of `p` after they are moved by `by`.
pub fn moved(model: &ShapeModel, p: &[f64], by: &Similarity) -> Vec<f64> {
    let points: Vec<Point> = model.landmarks(p).into_iter().map(|x| by.apply(x)).collect();
    model.coefficients(&points)
}

/// Returns the root of the summed squared distances of the mean landmarks from their centre.
fn size(model: &ShapeModel) -> f64 {
    let c = centre(model.mean());
    model.mean().iter().map(|m| (m[0] - c[0]).powi(2) + (m[1] - c[1]).powi(2)).sum::<f64>().sqrt()
}

/// Adds `x` times the matrix `w`, `rows` × `columns`, given by its elements.
fn times_matrix(
    g: &mut Graph,
    name: &str,
    x: NodeId,
    [rows, columns]: [usize; 2],
    at: impl Fn(usize, usize) -> f64,
) -> Result<NodeId> {
    let data = (0..rows * columns).map(|e| at(e / columns, e % columns) as f32).collect();
    let w = g.constant(name, Tensor::new([rows, columns, 1, 1], data)?)?;
    g.linear(x, w, None)
}

/// Returns an element of S'·J·S, which turns coefficients by a right angle.
fn turned(model: &ShapeModel, i: usize, j: usize) -> f64 {
    model.bases()[i].iter().zip(&model.bases()[j]).map(|(a, b)| a[1] * b[0] - a[0] * b[1]).sum()
}

/// Adds the picture `x` `[N, 1, s, s]` in the upright frame of p, `side` × `side`. Beyond its border, its pixels repeat.
///
/// # Errors
/// 2·`side` is not a multiple of s; a name is taken.
pub fn picture(g: &mut Graph, x: NodeId, p: NodeId, model: &ShapeModel, side: usize) -> Result<NodeId> {
    if !(1..=MOST_SIDE).contains(&side) {
        return Err(Error::Usage(format!("the side of an upright picture must be 1 to {MOST_SIDE}, got {side}")));
    }
    // Twice as fine as it is read, because the warp is bilinear.
    let fine = network::up(g, x, 2 * side)?;
    let s = times_matrix(g, "similarity", p, [SIMILARITY, model.len()], |i, j| f64::from(u8::from(i == j)))?;
    let bases = Bases::similarity(model, [side, 2 * side])?;
    let z = g.constant("upright.z", bases.z)?;
    let b = g.constant("upright.bases", bases.b)?;
    let w = g.field(z, b, s)?;
    g.warp(fine, w, Warp { border: Border::Clamp })
}

/// Adds A·x of coefficients `x`, times `sign`.
fn bent(g: &mut Graph, name: &str, x: NodeId, p: NodeId, model: &ShapeModel, sign: f64) -> Result<NodeId> {
    let (n, size) = (model.len(), size(model));
    g.within(name, |g| {
        let share = |k: usize| move |_: usize, j: usize| if j == k { sign / size } else { 0.0 };
        let (scale, angle) =
            (times_matrix(g, "scale", p, [n, n], share(0))?, times_matrix(g, "angle", p, [n, n], share(1))?);
        let turned = times_matrix(g, "turned", x, [n, n], |i, j| turned(model, i, j))?;
        let (scaled, turned) = (g.times(scale, x)?, g.times(angle, turned)?);
        g.plus(scaled, turned)
    })
}

/// Adds q, the coefficients of p's landmarks in the upright frame: their similarity is 0.
///
/// # Errors
/// The shapes do not fit; a name is taken.
pub fn enter(g: &mut Graph, p: NodeId, model: &ShapeModel) -> Result<NodeId> {
    let n = model.len();
    let is_shape = |i: usize, j: usize| f64::from(u8::from(i == j && i >= SIMILARITY));
    let shape = times_matrix(g, "shape", p, [n, n], is_shape)?;
    let mut q = shape;
    for round in 0..ROUNDS {
        let back = bent(g, &format!("round{}", round + 1), q, p, model, -1.0)?;
        q = g.plus(shape, back)?;
    }
    Ok(q)
}

/// Adds the coefficients of the landmarks x̄ + S·q of the upright frame of p in the picture.
///
/// # Errors
/// The shapes do not fit; a name is taken.
pub fn leave(g: &mut Graph, q: NodeId, p: NodeId, model: &ShapeModel) -> Result<NodeId> {
    let n = model.len();
    let is_similarity = |i: usize, j: usize| f64::from(u8::from(i == j && i < SIMILARITY));
    let s = times_matrix(g, "back", p, [n, n], is_similarity)?;
    let bent = bent(g, "bent", q, p, model, 1.0)?;
    let sum = g.plus(s, q)?;
    g.plus(sum, bent)
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::model;
    use super::*;
    use crate::exec::{Device, Select};
    use crate::weights::Weights;

    /// A turn of 17 degrees, a scale of 0.9, a shift, and a bend of the shape.
    fn bent_star() -> (ShapeModel, [Vec<f64>; 2], Similarity) {
        let model = model();
        let is = Similarity { a: 0.86, b: 0.26, shift: [0.17, -0.05] };
        let mut q = vec![0.0; model.len()];
        (q[4], q[5]) = (0.06, -0.04);
        let p = moved(&model, &q, &is);
        (model, [p, q], is)
    }

    #[test]
    fn the_similarity_of_coefficients_is_what_moved_the_shape() {
        let (model, [p, _], is) = bent_star();
        let found = similarity(&model, &p);
        for [x, y] in [[0.0, 0.0], [1.0, 0.0], [0.3, 0.8]] {
            let ([a, b], [c, d]) = (found.apply([x, y]), is.apply([x, y]));
            assert!((a - c).abs() < 1e-9 && (b - d).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn what_enters_the_upright_frame_leaves_it_unchanged() {
        let (model, [p, upright], _) = bent_star();
        let n = model.len();
        let mut g = Graph::new();
        let input = g.input("p", [1, n, 1, 1]).unwrap();
        let q = enter(&mut g, input, &model).unwrap();
        let again = leave(&mut g, q, input, &model).unwrap();
        let session = Device::open(&Select::Cpu).unwrap().compile(&g, &[q, again], Weights::default()).unwrap();
        let narrow = Tensor::new([1, n, 1, 1], p.iter().map(|v| *v as f32).collect()).unwrap();
        let out = session.run(&[("p", &narrow)]).unwrap();
        let largest = |tensor: &Tensor, wanted: &[f64]| {
            tensor.data().iter().zip(wanted).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
        };
        assert!(largest(&out[0], &upright) < 1e-3, "{:?} {upright:?}", out[0].data());
        assert!(largest(&out[1], &p) < 1e-3, "{:?} {p:?}", out[1].data());
    }

    #[test]
    fn a_turned_ramp_is_upright_again() {
        let (model, [p, _], is) = bent_star();
        let (n, side) = (model.len(), 24);
        let mut g = Graph::new();
        let x = g.input("x", [1, 1, side / 2, side / 2]).unwrap();
        let input = g.input("p", [1, n, 1, 1]).unwrap();
        let upright = picture(&mut g, x, input, &model, side).unwrap();
        let session = Device::open(&Select::Cpu).unwrap().compile(&g, &[upright], Weights::default()).unwrap();
        // The picture's brightness is a place's column in the upright frame.
        let back = is.inverse();
        let place = |q: usize, side: usize| [q % side, q / side].map(|v| (v as f64 + 0.5) / side as f64);
        let ramp = (0..side * side / 4).map(|q| back.apply(place(q, side / 2))[0] as f32).collect();
        let ramp = Tensor::new([1, 1, side / 2, side / 2], ramp).unwrap();
        let narrow = Tensor::new([1, n, 1, 1], p.iter().map(|v| *v as f32).collect()).unwrap();
        let out = session.run(&[("x", &ramp), ("p", &narrow)]).unwrap();
        for q in (0..side * side).filter(|q| (8..16).contains(&(q / side)) && (8..16).contains(&(q % side))) {
            let wanted = place(q, side)[0];
            assert!((f64::from(out[0].data()[q]) - wanted).abs() < 2e-3, "{q}: {} {wanted}", out[0].data()[q]);
        }
    }
}
