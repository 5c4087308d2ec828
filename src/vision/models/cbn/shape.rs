//! The shape model: landmarks x(l) = x̄(l) + S(l)·p, whose coefficients p also drive the dense field.
//!
//! Similarities align the shapes to their mean (generalised Procrustes analysis), and the principal components of what
//! remains are the non-rigid bases. The four bases before them span small similarities: scale, rotation, and the two shifts.
//! All bases are orthonormal over the landmarks, so that the p of a shape is S'·(x − x̄).
//!
//! Units: coordinates are fractions of the frame's side, from (0, 0) in its top left corner to (1, 1) in its bottom right
//! one. p has the same unit, times the square root of the number of landmarks that move.
//! Source: Matthews and Baker, "Active Appearance Models Revisited", IJCV 2004, sections 2.1 and 4.2; Zhu et al. 2016,
//! section 3.1 (4 similarity bases, "the rest non-rigid").
//! Not stated in the paper: we chose Procrustes and PCA of the 68 landmarks, with 98 % of the variance, in place of a 3-D
//! face set (BU-4DFE).

use super::linalg::principal_axes;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::weights::Weights;
use faer::Mat;
use std::collections::BTreeMap;

/// A landmark: column and row.
pub type Point = [f64; 2];

/// Number of bases that span similarities; they come first.
pub const SIMILARITY: usize = 4;

/// Share of the variance of aligned shapes that the non-rigid bases keep.
pub const SHARE: f64 = 0.98;

/// x ↦ (a·x − b·y + tx, b·x + a·y + ty): a rotation, a scale and a shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    pub a: f64,
    pub b: f64,
    pub shift: Point,
}

impl Similarity {
    /// Leaves every point where it is.
    pub const NONE: Self = Self { a: 1.0, b: 0.0, shift: [0.0; 2] };

    /// Returns the similarity that maps `from` to `to` with the least sum of squared distances.
    ///
    /// # Errors
    /// There are fewer than two points; the numbers of points differ; all points of `from` coincide.
    ///
    /// Source: Umeyama, "Least-squares estimation of transformation parameters", PAMI 1991, in two dimensions and without
    /// reflection.
    pub fn least_squares(from: &[Point], to: &[Point]) -> Result<Self> {
        let (f, t) = (centre(from), centre(to));
        let (mut a, mut b, mut square) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (x, y) = (p[0] - f[0], p[1] - f[1]);
            let (u, v) = (q[0] - t[0], q[1] - t[1]);
            a += x * u + y * v;
            b += x * v - y * u;
            square += x * x + y * y;
        }
        if from.len() != to.len() || !(square > 0.0 && square.is_finite()) {
            return Err(Error::Usage(format!(
                "a similarity needs at least two points in different places and as many targets, got {} and {}",
                from.len(),
                to.len()
            )));
        }
        (a, b) = (a / square, b / square);
        Ok(Self { a, b, shift: [t[0] - a * f[0] + b * f[1], t[1] - b * f[0] - a * f[1]] })
    }

    pub fn apply(&self, [x, y]: Point) -> Point {
        [self.a * x - self.b * y + self.shift[0], self.b * x + self.a * y + self.shift[1]]
    }

    /// Returns the composition: `first`, then this one.
    pub fn after(&self, first: &Self) -> Self {
        let [x, y] = first.shift;
        Self {
            a: self.a * first.a - self.b * first.b,
            b: self.b * first.a + self.a * first.b,
            shift: self.apply([x, y]),
        }
    }

    /// Returns the factor by which distances grow.
    pub fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    /// Returns the similarity that undoes this one. Its numbers are not finite if the scale is 0.
    pub fn inverse(&self) -> Self {
        let square = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / square, -self.b / square);
        let [x, y] = self.shift;
        Self { a, b, shift: [b * y - a * x, -b * x - a * y] }
    }
}

/// Returns the mean of `points`.
pub fn centre(points: &[Point]) -> Point {
    let n = points.len() as f64;
    [0, 1].map(|d| points.iter().map(|p| p[d]).sum::<f64>() / n)
}

/// Landmarks as a linear function of a few coefficients.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapeModel {
    mean: Vec<Point>,
    bases: Vec<Vec<Point>>,
    deviation: Vec<f64>,
}

impl ShapeModel {
    /// Fits a model to `shapes`, landmarks in the frame. The mean is moved by the similarity that maps its `anchors` (indices
    /// of landmarks, averaged in groups) to `places`.
    ///
    /// # Errors
    /// There are fewer than two shapes; their numbers of landmarks differ; a coordinate is not finite; a shape has no extent.
    pub fn fit(shapes: &[Vec<Point>], share: f64, anchors: &[&[usize]], places: &[Point]) -> Result<Self> {
        let landmarks = shapes.first().map_or(0, Vec::len);
        if shapes.len() < 2 || landmarks < 3 || shapes.iter().any(|s| s.len() != landmarks) {
            return Err(Error::Usage(format!(
                "a shape model needs two or more shapes of the same three or more landmarks, got {} of {landmarks}",
                shapes.len()
            )));
        }
        if shapes.iter().flatten().flatten().any(|v| !v.is_finite()) {
            return Err(Error::Usage("a shape model needs finite coordinates; check the file of landmarks".into()));
        }
        let mean = anchored(&procrustes_mean(shapes)?, anchors, places)?;
        let similarity = similarity_bases(&mean);
        let mut rows = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let align = Similarity::least_squares(shape, &mean)?;
            let mut rest: Vec<Point> =
                shape.iter().zip(&mean).map(|(&p, m)| std::array::from_fn(|d| align.apply(p)[d] - m[d])).collect();
            for basis in &similarity {
                let along = dot(basis, &rest);
                rest.iter_mut().zip(basis).for_each(|(r, b)| (0..2).for_each(|d| r[d] -= along * b[d]));
            }
            rows.push(rest);
        }
        let matrix = Mat::from_fn(rows.len(), 2 * landmarks, |i, j| rows[i][j / 2][j % 2]);
        let axes = principal_axes(&matrix, share)?;
        let mut bases = similarity;
        bases.extend(
            (0..axes.ncols()).map(|k| (0..landmarks).map(|l| [axes[(2 * l, k)], axes[(2 * l + 1, k)]]).collect()),
        );
        let mut model = Self { deviation: vec![0.0; bases.len()], mean, bases };
        for shape in shapes {
            let p = model.coefficients(shape);
            model.deviation.iter_mut().zip(p).for_each(|(d, p)| *d += p * p / shapes.len() as f64);
        }
        model.deviation.iter_mut().for_each(|d| *d = d.sqrt());
        Ok(model)
    }

    /// Returns x̄(l).
    pub fn mean(&self) -> &[Point] {
        &self.mean
    }
    /// Returns S(l), basis by basis.
    pub fn bases(&self) -> &[Vec<Point>] {
        &self.bases
    }
    /// Returns the root mean square of each coefficient over the training shapes as they lay in the frame.
    pub fn deviation(&self) -> &[f64] {
        &self.deviation
    }
    /// Returns the number of bases, N in the paper.
    pub fn len(&self) -> usize {
        self.bases.len()
    }
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty()
    }

    /// Returns x(l) = x̄(l) + S(l)·p.
    pub fn landmarks(&self, p: &[f64]) -> Vec<Point> {
        let mut x = self.mean.clone();
        for (basis, &p) in self.bases.iter().zip(p) {
            x.iter_mut().zip(basis).for_each(|(x, b)| (0..2).for_each(|d| x[d] += p * b[d]));
        }
        x
    }

    /// Returns the p whose landmarks are nearest to `x` in the least-squares sense.
    pub fn coefficients(&self, x: &[Point]) -> Vec<f64> {
        let rest: Vec<Point> = x.iter().zip(&self.mean).map(|(x, m)| std::array::from_fn(|d| x[d] - m[d])).collect();
        self.bases.iter().map(|b| dot(b, &rest)).collect()
    }

    /// Returns the model's numbers: `shape/mean` `[1,2,L,1]`, `shape/bases` `[2,N,L,1]`, `shape/deviation` `[1,N,1,1]`.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let (n, l) = (self.bases.len(), self.mean.len());
        let fill = |shape: [usize; 4], at: &dyn Fn(usize) -> f64| {
            let data = (0..shape.iter().product()).map(|i| at(i) as f32).collect();
            Tensor::new(shape, data).expect("one value per element")
        };
        BTreeMap::from([
            ("shape/mean".into(), fill([1, 2, l, 1], &|i| self.mean[i % l][i / l])),
            ("shape/bases".into(), fill([2, n, l, 1], &|i| self.bases[i / l % n][i % l][i / l / n])),
            ("shape/deviation".into(), fill([1, n, 1, 1], &|i| self.deviation[i])),
        ])
    }

    /// Undoes [`ShapeModel::tensors`].
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_weights(weights: &Weights) -> Result<Self> {
        let get = |name: &str| {
            weights.get(name).ok_or_else(|| {
                Error::weights(weights.name(), format!("lacks tensor {name:?}; is it another model's file?"))
            })
        };
        let (mean, bases, deviation) = (get("shape/mean")?, get("shape/bases")?, get("shape/deviation")?);
        let ([_, _, l, _], [_, n, ..]) = (mean.shape().nchw(), bases.shape().nchw());
        let expected = [[1, 2, l, 1], [2, n, l, 1], [1, n, 1, 1]];
        if [mean.shape(), bases.shape(), deviation.shape()] != expected {
            return Err(Error::weights(
                weights.name(),
                format!(
                    "shape/mean, shape/bases and shape/deviation must be {expected:?}; is it another model's file?"
                ),
            ));
        }
        let at = |t: &Tensor, i: usize| f64::from(t.data()[i]);
        Ok(Self {
            mean: (0..l).map(|k| [at(mean, k), at(mean, l + k)]).collect(),
            bases: (0..n)
                .map(|b| (0..l).map(|k| [at(bases, b * l + k), at(bases, (n + b) * l + k)]).collect())
                .collect(),
            deviation: (0..n).map(|i| at(deviation, i)).collect(),
        })
    }
}

fn dot(a: &[Point], b: &[Point]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a[0] * b[0] + a[1] * b[1]).sum()
}

/// Returns the mean of the shapes after each is scaled, turned and shifted to fit it. It has size 1 and the rotation of the
/// first shape.
fn procrustes_mean(shapes: &[Vec<Point>]) -> Result<Vec<Point>> {
    let unit = |shape: &[Point]| {
        let c = centre(shape);
        let size = shape.iter().map(|p| (p[0] - c[0]).powi(2) + (p[1] - c[1]).powi(2)).sum::<f64>().sqrt();
        shape.iter().map(|p| [(p[0] - c[0]) / size, (p[1] - c[1]) / size]).collect::<Vec<_>>()
    };
    let mut mean = unit(&shapes[0]);
    // For faces, each round's error is about a thousandth of the previous one; twenty rounds exceed f64's precision.
    for _ in 0..20 {
        let mut sum = vec![[0.0; 2]; mean.len()];
        for shape in shapes {
            let align = Similarity::least_squares(shape, &mean)?;
            sum.iter_mut().zip(shape).for_each(|(s, &p)| (0..2).for_each(|d| s[d] += align.apply(p)[d]));
        }
        mean = unit(&sum);
    }
    Ok(mean)
}

/// Returns `shape` under the similarity that maps the centres of its groups `anchors` to `places`.
fn anchored(shape: &[Point], anchors: &[&[usize]], places: &[Point]) -> Result<Vec<Point>> {
    let align = Similarity::least_squares(&anchor_points(shape, anchors)?, places)?;
    Ok(shape.iter().map(|&p| align.apply(p)).collect())
}

/// Returns the centres of the groups `anchors` of landmarks.
///
/// # Errors
/// A group is empty or names a landmark that the shape lacks.
pub fn anchor_points(shape: &[Point], anchors: &[&[usize]]) -> Result<Vec<Point>> {
    let group = |indices: &&[usize]| -> Option<Point> {
        let points = indices.iter().map(|&i| shape.get(i).copied()).collect::<Option<Vec<_>>>()?;
        (!points.is_empty()).then(|| centre(&points))
    };
    anchors.iter().map(group).collect::<Option<_>>().ok_or_else(|| {
        Error::Usage(format!("the anchors {anchors:?} name landmarks beyond the {} of the shape", shape.len()))
    })
}

/// Returns orthonormal bases of small changes of scale, rotation and place about the centre.
fn similarity_bases(mean: &[Point]) -> Vec<Vec<Point>> {
    let c = centre(mean);
    let size = mean.iter().map(|p| (p[0] - c[0]).powi(2) + (p[1] - c[1]).powi(2)).sum::<f64>().sqrt();
    let shift = 1.0 / (mean.len() as f64).sqrt();
    let basis = |f: &dyn Fn(f64, f64) -> Point| mean.iter().map(|p| f(p[0] - c[0], p[1] - c[1])).collect();
    vec![
        basis(&|x, y| [x / size, y / size]),
        basis(&|x, y| [-y / size, x / size]),
        basis(&|_, _| [shift, 0.0]),
        basis(&|_, _| [0.0, shift]),
    ]
}

/// Returns the four similarity bases of a model with this mean at any place in the frame.
pub(super) fn similarity_at(mean: &[Point], [x, y]: Point) -> [Point; SIMILARITY] {
    let c = centre(mean);
    let size = mean.iter().map(|p| (p[0] - c[0]).powi(2) + (p[1] - c[1]).powi(2)).sum::<f64>().sqrt();
    let shift = 1.0 / (mean.len() as f64).sqrt();
    let (u, v) = ((x - c[0]) / size, (y - c[1]) / size);
    [[u, v], [-v, u], [shift, 0.0], [0.0, shift]]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A square, a diamond inside it, and its centre: nine landmarks.
    pub(crate) fn star() -> Vec<Point> {
        let mut points = vec![[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]];
        points.extend([[0.5, 0.25], [0.75, 0.5], [0.5, 0.75], [0.25, 0.5], [0.5, 0.5]]);
        points
    }

    /// Stars whose diamond is stretched along x and, less, along y, under random similarities.
    pub(crate) fn shapes(count: usize, seed: u64) -> Vec<Vec<Point>> {
        let mut rng = Rng::new(seed);
        let one = |_| {
            let (u, v) = (0.1 * rng.normal(), 0.05 * rng.normal());
            let (a, b) = (rng.uniform(0.8, 1.2), rng.uniform(-0.2, 0.2));
            let move_to = Similarity { a, b, shift: [0, 1].map(|_| rng.uniform(-0.2, 0.2)) };
            let bend = |(l, p): (usize, Point)| match l {
                5 => [p[0] + u, p[1]],
                7 => [p[0] - u, p[1]],
                4 => [p[0], p[1] + v],
                6 => [p[0], p[1] - v],
                _ => p,
            };
            star().into_iter().enumerate().map(|p| move_to.apply(bend(p))).collect()
        };
        (0..count).map(one).collect()
    }

    pub(crate) fn model() -> ShapeModel {
        ShapeModel::fit(&shapes(200, 1), SHARE, &[&[0], &[1], &[2], &[3]], &star()[..4]).unwrap()
    }

    #[test]
    fn similarity_is_found_again_and_undone() {
        let is = Similarity { a: 0.8, b: -0.3, shift: [0.2, 0.7] };
        let to: Vec<Point> = star().into_iter().map(|p| is.apply(p)).collect();
        let found = Similarity::least_squares(&star(), &to).unwrap();
        assert!((found.a - is.a).abs() < 1e-12 && (found.b - is.b).abs() < 1e-12);
        for p in star() {
            let back = found.inverse().apply(found.apply(p));
            assert!((back[0] - p[0]).abs() < 1e-12 && (back[1] - p[1]).abs() < 1e-12);
        }
        assert!(Similarity::least_squares(&[[1.0, 1.0]; 3], &[[0.0, 0.0]; 3]).is_err());
    }

    #[test]
    fn two_ways_to_bend_are_two_bases() {
        let model = model();
        assert_eq!(model.len(), SIMILARITY + 2);
        for (i, a) in model.bases().iter().enumerate() {
            for (j, b) in model.bases().iter().enumerate() {
                assert!((dot(a, b) - f64::from(u8::from(i == j))).abs() < 1e-9, "bases {i} and {j}");
            }
        }
    }

    #[test]
    fn a_shape_of_the_model_is_its_coefficients() {
        let model = model();
        let p: Vec<f64> = (0..model.len()).map(|k| 0.1 * (k as f64 - 2.0)).collect();
        let again = model.coefficients(&model.landmarks(&p));
        assert!(p.iter().zip(again).all(|(a, b)| (a - b).abs() < 1e-12));
        // For any shape it is the nearest: the remainder is orthogonal to every basis.
        let other = &shapes(1, 9)[0];
        let near = model.landmarks(&model.coefficients(other));
        let rest: Vec<Point> = other.iter().zip(&near).map(|(a, b)| [a[0] - b[0], a[1] - b[1]]).collect();
        assert!(model.bases().iter().all(|b| dot(b, &rest).abs() < 1e-12));
    }

    #[test]
    fn a_model_survives_its_file() {
        let model = model();
        let again = ShapeModel::from_weights(&Weights::from_tensors(model.tensors())).unwrap();
        let p: Vec<f64> = model.deviation().to_vec();
        for (a, b) in model.landmarks(&p).iter().zip(again.landmarks(&p)) {
            assert!((a[0] - b[0]).abs() < 1e-6 && (a[1] - b[1]).abs() < 1e-6);
        }
        let error = ShapeModel::from_weights(&Weights::from_tensors(BTreeMap::new())).unwrap_err().to_string();
        assert!(error.contains("lacks tensor \"shape/mean\""), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let anchors: &[&[usize]] = &[&[0], &[1]];
        let places = [[0.0, 0.0], [1.0, 0.0]];
        assert!(ShapeModel::fit(&shapes(1, 1), SHARE, anchors, &places).is_err());
        let mut broken = shapes(3, 1);
        broken[1][2][0] = f64::NAN;
        assert!(ShapeModel::fit(&broken, SHARE, anchors, &places).unwrap_err().to_string().contains("finite"));
        assert!(ShapeModel::fit(&shapes(3, 1), SHARE, &[&[0], &[77]], &places).is_err());
    }
}
