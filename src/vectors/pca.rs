//! Principal components of a set of vectors.
//!
//! Source: subspace iteration with a Rayleigh quotient, as in Halko, Martinsson and Tropp 2011, "Finding structure with randomness",
//! section 4.5: the matrix is only multiplied by a few columns, so that its number of dimensions may be large.

use super::sizes;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::graph::{Draft, Init};
use crate::ops::matmul::Matmul;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::weights::Weights;

/// The directions in which a set of vectors varies most.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// The mean vector.
    pub mean: Vec<f64>,
    /// `[k, D]`: orthogonal directions of length 1, in descending order of variance. The largest element of each is positive.
    pub components: Tensor,
    /// The variance along each direction, over N.
    pub variances: Vec<f64>,
}

/// Columns beyond those that are wanted: the more there are, the fewer rounds it takes.
const SPARE: usize = 8;
/// Most rounds, and the relative change of a variance below which the rounds end.
const ROUNDS: usize = 200;
const ACCURACY: f64 = 1e-6;

impl Pca {
    /// Finds the first `k` components of `vectors` `[N, D]`; the device multiplies, in f32.
    ///
    /// # Errors
    /// `vectors` is not a matrix of finite f32; `k` is 0, or larger than N or D; the device fails.
    pub fn new(device: &Device, vectors: &Tensor, k: usize) -> Result<Self> {
        let [n, d] = sizes("vectors", vectors)?;
        if !(1..=n.min(d)).contains(&k) {
            return Err(Error::Usage(format!("k must be 1 to {}, the smaller of N and D, got {k}", n.min(d))));
        }
        let mut mean = vec![0.0; d];
        for row in vectors.data().chunks(d) {
            mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v) / n as f64);
        }
        let centred =
            vectors.data().chunks(d).flat_map(|row| row.iter().zip(&mean).map(|(v, m)| (f64::from(*v) - m) as f32));
        let mut weights = Weights::default();
        weights.insert("x", Tensor::new([n, d], centred.collect::<Vec<f32>>())?);
        let network = device.network(weights, move |g: &Draft| {
            let x = g.param("x", [n, d], Init::Constant(0.0));
            let along = x.matmul(g.input("q"));
            g.output("y", x.matmul_with(along, Matmul { transpose_a: true, transpose_b: false }));
        });
        let width = (k + SPARE).min(d);
        let mut rng = Rng::new(1);
        // Rows of q are the columns that are multiplied.
        let mut q: Vec<Vec<f64>> = (0..width).map(|_| (0..d).map(|_| rng.normal()).collect()).collect();
        orthonormalize(&mut q, &mut rng);
        let mut variances = vec![0.0; width];
        for _ in 0..ROUNDS {
            let columns = (0..d).flat_map(|i| q.iter().map(move |row| row[i] as f32)).collect::<Vec<f32>>();
            let y = network.run(&[("q", &Tensor::new([d, width], columns)?)])?.take("y")?;
            let image: Vec<Vec<f64>> =
                (0..width).map(|c| y.data()[c..].iter().step_by(width).map(|v| f64::from(*v)).collect()).collect();
            let square = q.iter().map(|a| image.iter().map(|b| dot(a, b) / n as f64).collect()).collect();
            let (values, rotation) = eigen(square);
            let change = values[..k].iter().zip(&variances).map(|(new, old)| (new - old).abs()).fold(0.0, f64::max);
            let has_settled = change <= ACCURACY * values[0].max(f64::MIN_POSITIVE);
            variances = values;
            q = rotated(if has_settled { &q } else { &image }, &rotation);
            orthonormalize(&mut q, &mut rng);
            if has_settled {
                break;
            }
        }
        let mut components = Vec::with_capacity(k * d);
        for row in &q[..k] {
            let largest = row.iter().fold(0.0f64, |most, v| if v.abs() > most.abs() { *v } else { most });
            components.extend(row.iter().map(|v| (v * largest.signum()) as f32));
        }
        variances.truncate(k);
        variances.iter_mut().for_each(|variance| *variance = variance.max(0.0));
        Ok(Self { mean, components: Tensor::new([k, d], components)?, variances })
    }

    /// Returns the coordinates `[N, k]` of `vectors` `[N, D]` along the components, from the mean.
    ///
    /// # Errors
    /// `vectors` has other dimensions or a number that is not finite.
    pub fn transform(&self, vectors: &Tensor) -> Result<Tensor> {
        let ([n, d], k) = (sizes("vectors", vectors)?, self.variances.len());
        if d != self.mean.len() {
            let wanted = self.mean.len();
            return Err(Error::Usage(format!("vectors must have {wanted} dimensions as the components, got {d}")));
        }
        let mut out = Vec::with_capacity(n * k);
        for row in vectors.data().chunks(d) {
            let centred: Vec<f64> = row.iter().zip(&self.mean).map(|(v, m)| f64::from(*v) - m).collect();
            let along = |axis: &[f32]| axis.iter().zip(&centred).map(|(a, v)| f64::from(*a) * v).sum::<f64>() as f32;
            out.extend(self.components.data().chunks(d).map(along));
        }
        Tensor::new([n, k], out)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Returns the sums of `rows` weighted by the columns of `rotation`.
fn rotated(rows: &[Vec<f64>], rotation: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..rows.len())
        .map(|c| {
            let mut sum = vec![0.0; rows[0].len()];
            for (row, weights) in rows.iter().zip(rotation) {
                sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += weights[c] * v);
            }
            sum
        })
        .collect()
}

/// Makes rows orthogonal and of length 1, in order; a row that depends on those before it is drawn anew.
fn orthonormalize(rows: &mut [Vec<f64>], rng: &mut Rng) {
    for k in 0..rows.len() {
        let (done, rest) = rows.split_at_mut(k);
        let mut before = dot(&rest[0], &rest[0]).sqrt();
        loop {
            // Twice is enough (Kahan and Parlett).
            for _ in 0..2 {
                for other in done.iter() {
                    let along = dot(&rest[0], other);
                    rest[0].iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
                }
            }
            let length = dot(&rest[0], &rest[0]).sqrt();
            if length > 1e-10 * before && length > 0.0 {
                rest[0].iter_mut().for_each(|v| *v /= length);
                break;
            }
            rest[0].iter_mut().for_each(|v| *v = rng.normal());
            before = dot(&rest[0], &rest[0]).sqrt();
        }
    }
}

/// Returns the eigenvalues of a symmetric matrix in descending order, and its eigenvectors as columns, by Jacobi's rotations.
fn eigen(of: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = of.len();
    let mut v: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    // The two halves differ by the rounding of f32.
    let mut a: Vec<Vec<f64>> =
        (0..n).map(|i| of[i].iter().zip(&of).map(|(v, row)| 0.5 * (v + row[i])).collect()).collect();
    let scale = a.iter().flatten().map(|v| v * v).sum::<f64>();
    for _sweep in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j] * a[i][j]).sum();
        if off <= 1e-30 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                // The smaller of the two angles; f64's signum of 0 is 1.
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in a.iter_mut().chain(&mut v) {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (of_p, of_q) in above[p].iter_mut().zip(&mut below[0]) {
                    (*of_p, *of_q) = (c * *of_p - s * *of_q, s * *of_p + c * *of_q);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| a[*j][*j].total_cmp(&a[*i][*i]));
    let values = order.iter().map(|&i| a[i][i]).collect();
    (values, v.iter().map(|row| order.iter().map(|&i| row[i]).collect()).collect())
}
