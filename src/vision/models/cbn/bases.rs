//! The dense bases B(z): how every pixel z of the template moves with the landmarks' coefficients.
//!
//! Inside the mean face's Delaunay triangulation, B(z) is the barycentric mean of S(l) at the triangle's corners. It is
//! piecewise affine, so that landmarks and field agree at the landmarks. Outside the convex hull, a similarity basis continues
//! as a similarity, and a non-rigid basis keeps its value at the nearest point of the hull. The field is continuous, and what
//! surrounds the face moves with its edge.
//!
//! A template M_k of side s has its pixel (i, j) at the place ((j + ½)/s, (i + ½)/s) of the frame: pixels are areas, as in
//! MATLAB's imresize. Fields hold pixel indices, as [`crate::ops::warp`] reads them.
//! Source: Zhu et al. 2016, section 3.1 (B(z), one set of bases per level); the triangulation follows the active appearance
//! models of Cootes et al. and of Matthews and Baker.
//! Not stated in the paper: we chose all of the above in place of bases from dense 3-D scans.

use super::shape::{Point, SIMILARITY, ShapeModel, similarity_at};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Places and how they move: the field is z + B·p.
#[derive(Debug, Clone, PartialEq)]
pub struct Bases {
    /// `[1, 2, H, W]`: column, then row, in pixels of the level.
    pub z: Tensor,
    /// `[2, N, H, W]`: pixels per unit of p.
    pub b: Tensor,
}

impl Bases {
    /// Computes B_k(z) for every pixel of a template of `side` × `side`.
    ///
    /// # Errors
    /// The mean landmarks are collinear.
    pub fn dense(model: &ShapeModel, side: usize) -> Result<Self> {
        let mesh = Mesh::new(model.mean())?;
        let place = |k: usize| (k as f64 + 0.5) / side as f64;
        let places: Vec<Point> = (0..side * side).map(|q| [place(q % side), place(q / side)]).collect();
        let values: Vec<Vec<Point>> = places.iter().map(|&z| at(model, &mesh, z)).collect();
        Self::new(side, [side, side], &places, |k, q| values[q][k], model.len())
    }

    /// Computes S_k(l) for the places where descriptors are read: each of `offsets`, in pixels of the level, from every
    /// landmark x̄(l), moving with it. The shapes are `[1, 2, L, offsets]` and `[2, N, L, offsets]`.
    ///
    /// # Errors
    /// `offsets` is empty.
    pub fn landmarks(model: &ShapeModel, side: usize, offsets: &[Point]) -> Result<Self> {
        let s = side as f64;
        let places: Vec<Point> =
            model.mean().iter().flat_map(|m| offsets.iter().map(move |o| [m[0] + o[0] / s, m[1] + o[1] / s])).collect();
        let basis = |k: usize, q: usize| model.bases()[k][q / offsets.len()];
        Self::new(side, [model.mean().len(), offsets.len()], &places, basis, model.len())
    }

    /// Computes the similarity bases alone, at the pixels of a template of `side` × `side`, in pixels of a picture of
    /// `fine` × `fine`.
    ///
    /// # Errors
    /// `side` is 0.
    pub fn similarity(model: &ShapeModel, [side, fine]: [usize; 2]) -> Result<Self> {
        let place = |k: usize| (k as f64 + 0.5) / side as f64;
        let places: Vec<Point> = (0..side * side).map(|q| [place(q % side), place(q / side)]).collect();
        let values: Vec<[Point; SIMILARITY]> = places.iter().map(|&z| similarity_at(model.mean(), z)).collect();
        Self::new(fine, [side, side], &places, |k, q| values[q][k], SIMILARITY)
    }

    fn new(
        side: usize,
        [h, w]: [usize; 2],
        places: &[Point],
        basis: impl Fn(usize, usize) -> Point,
        count: usize,
    ) -> Result<Self> {
        let (s, plane) = (side as f64, h * w);
        let z = (0..2 * plane).map(|i| (places[i % plane][i / plane] * s - 0.5) as f32).collect();
        let b = (0..2 * count * plane)
            .map(|i| (basis(i / plane % count, i % plane)[i / plane / count] * s) as f32)
            .collect();
        Ok(Self { z: Tensor::new([1, 2, h, w], z)?, b: Tensor::new([2, count, h, w], b)? })
    }
}

/// Returns the values of all bases at a place in the frame.
fn at(model: &ShapeModel, mesh: &Mesh, z: Point) -> Vec<Point> {
    let mut values = similarity_at(model.mean(), z).to_vec();
    let corners = mesh.locate(z);
    values.extend(
        model.bases()[SIMILARITY..]
            .iter()
            .map(|basis| [0, 1].map(|d| corners.iter().map(|&(l, weight)| weight * basis[l][d]).sum())),
    );
    values
}

/// The triangulation of a mean shape.
#[derive(Debug, Clone)]
pub struct Mesh {
    points: Vec<Point>,
    triangles: Vec<[usize; 3]>,
    /// Landmarks around the convex hull, in order.
    hull: Vec<usize>,
}

impl Mesh {
    /// Computes the Delaunay triangulation of `points`.
    ///
    /// # Errors
    /// All points are collinear.
    pub fn new(points: &[Point]) -> Result<Self> {
        let own: Vec<delaunator::Point> = points.iter().map(|p| delaunator::Point { x: p[0], y: p[1] }).collect();
        let found = delaunator::triangulate(&own);
        if found.triangles.is_empty() {
            return Err(Error::Usage(format!(
                "the {} mean landmarks are collinear and have no triangulation; check the training shapes",
                points.len()
            )));
        }
        let triangles = found.triangles.chunks_exact(3).map(|t| [t[0], t[1], t[2]]).collect();
        Ok(Self { points: points.to_vec(), triangles, hull: found.hull })
    }

    pub fn triangles(&self) -> &[[usize; 3]] {
        &self.triangles
    }

    /// Returns the landmarks of the triangle that contains `z`, or of the nearest edge of the hull, with weights that sum
    /// to 1.
    fn locate(&self, z: Point) -> Vec<(usize, f64)> {
        for t in &self.triangles {
            let weights = barycentric(t.map(|l| self.points[l]), z);
            // A rounding error may put a point on an edge outside both its triangles.
            if weights.iter().all(|w| *w >= -1e-12) {
                return (0..3).map(|k| (t[k], weights[k])).collect();
            }
        }
        let edges = self.hull.iter().zip(self.hull.iter().cycle().skip(1));
        let nearest = |(&a, &b): (&usize, &usize)| {
            let (p, q) = (self.points[a], self.points[b]);
            let (u, v) = ([q[0] - p[0], q[1] - p[1]], [z[0] - p[0], z[1] - p[1]]);
            let t = ((u[0] * v[0] + u[1] * v[1]) / (u[0] * u[0] + u[1] * u[1])).clamp(0.0, 1.0);
            let distance = (v[0] - t * u[0]).hypot(v[1] - t * u[1]);
            (distance, vec![(a, 1.0 - t), (b, t)])
        };
        let first = edges.map(nearest).min_by(|a, b| a.0.total_cmp(&b.0));
        first.map(|(_, corners)| corners).expect("a hull has three edges or more")
    }
}

/// Returns the weights of a triangle's corners at `z`.
fn barycentric([a, b, c]: [Point; 3], z: Point) -> [f64; 3] {
    let cross = |p: Point, q: Point, r: Point| (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
    let whole = cross(a, b, c);
    [cross(z, b, c) / whole, cross(a, z, c) / whole, cross(a, b, z) / whole]
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::model;
    use super::*;

    fn value(bases: &Bases, k: usize, [i, j]: [usize; 2]) -> Point {
        [0, 1].map(|d| f64::from(bases.b.at([d, k, i, j])))
    }

    #[test]
    fn field_and_landmarks_agree() {
        // The star's mean landmarks do not lie on pixel centres (0.1·10 − ½), so compare by `at`.
        let model = model();
        let mesh = Mesh::new(model.mean()).unwrap();
        for (l, &m) in model.mean().iter().enumerate() {
            for (k, value) in at(&model, &mesh, m).iter().enumerate() {
                let basis = model.bases()[k][l];
                assert!((value[0] - basis[0]).abs() < 1e-9 && (value[1] - basis[1]).abs() < 1e-9, "{l} {k}");
            }
        }
    }

    #[test]
    fn bases_are_affine_within_a_triangle_and_continuous_everywhere() {
        let model = model();
        let mesh = Mesh::new(model.mean()).unwrap();
        for t in mesh.triangles() {
            let corners = t.map(|l| model.mean()[l]);
            let middle = super::super::shape::centre(&corners);
            for (k, value) in at(&model, &mesh, middle).iter().enumerate() {
                let mean = super::super::shape::centre(&t.map(|l| model.bases()[k][l]));
                assert!((value[0] - mean[0]).abs() < 1e-9 && (value[1] - mean[1]).abs() < 1e-9);
            }
        }
        // Steps of 1/1000 of the frame across hull and borders change no basis by more than the steepest triangle does.
        for line in [0.03, 0.31, 0.5, 0.77] {
            let along: Vec<Vec<Point>> = (0..1000).map(|t| at(&model, &mesh, [f64::from(t) / 1000.0, line])).collect();
            for pair in along.windows(2) {
                for (a, b) in pair[0].iter().zip(&pair[1]) {
                    assert!((a[0] - b[0]).abs() < 1e-2 && (a[1] - b[1]).abs() < 1e-2, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn similarity_is_the_same_everywhere() {
        // The p of a pure rotation and shift moves a corner of the frame like any landmark.
        let model = model();
        let side = 12;
        let bases = Bases::dense(&model, side).unwrap();
        let c = super::super::shape::centre(model.mean());
        let size = model.mean().iter().map(|m| (m[0] - c[0]).powi(2) + (m[1] - c[1]).powi(2)).sum::<f64>().sqrt();
        let place = 0.5 / side as f64;
        let turn = value(&bases, 1, [0, 0]);
        assert!((turn[0] - side as f64 * (c[1] - place) / size).abs() < 1e-5);
        assert!((turn[1] - side as f64 * (place - c[0]) / size).abs() < 1e-5);
        assert!((value(&bases, 2, [0, 0])[0] - side as f64 / 3.0).abs() < 1e-5);
    }

    #[test]
    fn levels_see_the_same_field() {
        let model = model();
        let (small, large) = (Bases::dense(&model, 8).unwrap(), Bases::dense(&model, 24).unwrap());
        // Pixel (i, j) of the small template lies on pixel (3·i + 1, 3·j + 1) of the large one.
        for k in 0..model.len() {
            for i in 0..8 {
                let (a, b) = (value(&small, k, [i, 5]), value(&large, k, [3 * i + 1, 16]));
                assert!((3.0 * a[0] - b[0]).abs() < 1e-5 && (3.0 * a[1] - b[1]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn places_move_with_their_landmark() {
        let model = model();
        let bases = Bases::landmarks(&model, 16, &[[0.0, 0.0], [2.0, -1.0]]).unwrap();
        assert_eq!([bases.z.shape(), bases.b.shape()], [[1, 2, 9, 2], [2, 6, 9, 2]]);
        let (at, beside) = (bases.z.at([0, 0, 4, 0]), bases.z.at([0, 0, 4, 1]));
        assert!((f64::from(at) - (16.0 * model.mean()[4][0] - 0.5)).abs() < 1e-5 && (beside - at - 2.0).abs() < 1e-5);
        assert_eq!(value(&bases, 5, [4, 0]), value(&bases, 5, [4, 1]));
    }

    #[test]
    fn a_line_has_no_mesh() {
        let line: Vec<Point> = (0..5).map(|k| [f64::from(k), 2.0 * f64::from(k)]).collect();
        assert!(Mesh::new(&line).is_err());
    }
}
