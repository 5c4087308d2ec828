//! Sets of vectors: the nearest to others, clusters, principal components, classes by the nearest, and quintuplets to learn better vectors
//! from. All work on any device.

mod assigned;
mod class_clusters;
mod classifier;
mod k_means;
mod pca;
mod quintuplets;

pub use class_clusters::ClassClusters;
pub use classifier::{Classifier, Rule};
pub use k_means::{Clusters, KMeans};
pub use pca::Pca;
pub use quintuplets::Quintuplets;

use crate::error::{Error, Result};
use crate::exec::{Device, Network, Outputs};
use crate::graph::{Draft, Init};
use crate::ops::top_k::TopK;
use crate::tensor::Tensor;
use crate::weights::Weights;

/// Most distances that are on the device at a time: 64 MiB.
const MOST_DISTANCES: usize = 1 << 24;
/// Most vectors that are looked up at a time.
const MOST_AT_ONCE: usize = 4096;
/// Candidates beyond those that are wanted; more than these are seldom equally near within rounding.
const SPARE: usize = 2;

/// Vectors on a device, among which to find the nearest to others.
///
/// ```no_run
/// # fn main() -> lineament::Result<()> {
/// use lineament::prelude::*;
/// use lineament::vectors::Neighbours;
///
/// let device = Device::open(&Select::Default)?;
/// let known = Tensor::new([3, 2], vec![0.0, 0.0, 1.0, 0.0, 5.0, 5.0])?;
/// let nearest = Neighbours::new(&device, &known)?.nearest(&Tensor::new([1, 2], vec![0.9, 0.2])?, 2)?;
/// assert_eq!(nearest.of(0).map(|(index, _)| index).collect::<Vec<_>>(), [1, 0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Neighbours {
    device: Device,
    known: Tensor,
    /// The number of known vectors and of their dimensions.
    sizes: [usize; 2],
}

/// For each vector the nearest ones, in ascending order of distance, and of index where distances are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    k: usize,
    found: Vec<(u32, f64)>,
}

impl Nearest {
    /// Returns how many were found for each vector.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Returns the index and the squared Euclidean distance of those nearest to vector `n`.
    ///
    /// # Panics
    /// There are `n` vectors or fewer.
    pub fn of(&self, n: usize) -> impl Iterator<Item = (usize, f64)> {
        self.found[n * self.k..][..self.k].iter().map(|&(index, distance)| (index as usize, distance))
    }

    /// Returns the index and the squared Euclidean distance of the nearest one to each vector.
    pub fn first(&self) -> impl Iterator<Item = (usize, f64)> {
        self.found.iter().step_by(self.k).map(|&(index, distance)| (index as usize, distance))
    }
}

/// Returns the number of vectors and of their dimensions.
///
/// # Errors
/// `vectors` is not `[N, D]`, or holds a number that is not finite.
fn sizes(name: &str, vectors: &Tensor) -> Result<[usize; 2]> {
    let shape = vectors.shape();
    let matrix = <[usize; 2]>::try_from(&shape[..]).ok().filter(|[n, d]| *n > 0 && *d > 0);
    let Some([n, d]) = matrix else {
        return Err(Error::Usage(format!("{name} must be vectors [N, D], at least one, got {shape:?}")));
    };
    let Some(values) = vectors.elements::<f32>() else {
        return Err(Error::Usage(format!("{name} must hold f32, got {}", vectors.dtype())));
    };
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::Usage(format!(
            "{name} must be finite; vector {}, dimension {} is {}",
            at / d,
            at % d,
            values[at]
        ))),
        None => Ok([n, d]),
    }
}

/// Returns the squared distance of two vectors, to the accuracy of f64, in an order of its own that is always the same.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    // Eight sums that do not wait for each other.
    let mut sums = [0.0f64; 8];
    let (whole, rest) = (a.chunks_exact(8).zip(b.chunks_exact(8)), a.len() / 8 * 8);
    for (a, b) in whole {
        for k in 0..8 {
            let difference = f64::from(a[k]) - f64::from(b[k]);
            sums[k] += difference * difference;
        }
    }
    let last: f64 = a[rest..].iter().zip(&b[rest..]).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    sums.iter().sum::<f64>() + last
}

impl Neighbours {
    /// Searches among `known` `[M, D]`.
    ///
    /// # Errors
    /// `known` is not a matrix of finite f32.
    pub fn new(device: &Device, known: &Tensor) -> Result<Self> {
        Ok(Self { device: device.clone(), known: known.clone(), sizes: sizes("known", known)? })
    }

    /// Runs `network` on `vectors` in parts, and calls `found` with the numbers of each part and its outputs.
    fn in_parts(
        &self,
        network: &Network,
        vectors: &Tensor,
        mut found: impl FnMut(&[f32], Outputs) -> Result<()>,
    ) -> Result<()> {
        let [m, d] = self.sizes;
        let [_, dimensions] = sizes("vectors", vectors)?;
        if dimensions != d {
            return Err(Error::Usage(format!("vectors must have {d} dimensions as the known ones, got {dimensions}")));
        }
        let step = (MOST_DISTANCES / m).clamp(1, MOST_AT_ONCE);
        for part in vectors.data().chunks(step * d) {
            let input = Tensor::new([part.len() / d, d, 1, 1], part.to_vec())?;
            found(part, network.run(&[("vectors", &input)])?)?;
        }
        Ok(())
    }

    /// Calls `found` for each of `vectors` `[N, D]` with its number and its squared distances to all known vectors, in f32 as the
    /// device computes them.
    ///
    /// # Errors
    /// `vectors` has other dimensions or a number that is not finite; the device fails.
    pub fn each_distance(&self, vectors: &Tensor, mut found: impl FnMut(usize, &[f32])) -> Result<()> {
        let mut number = 0;
        self.in_parts(&self.network(None)?, vectors, |_, mut out| {
            for row in out.take("distances")?.data().chunks(self.sizes[0]) {
                found(number, row);
                number += 1;
            }
            Ok(())
        })
    }

    /// Finds the `k` nearest to each of `vectors` `[N, D]`. The device computes distances in f32 and selects a few more than k; those
    /// are compared in f64, and where that leaves a doubt, all are. So the result is exact, and the same on every device.
    ///
    /// # Errors
    /// `vectors` has other dimensions or a number that is not finite; `k` is 0 or larger than the set; the device fails.
    pub fn nearest(&self, vectors: &Tensor, k: usize) -> Result<Nearest> {
        let [m, d] = self.sizes;
        if !(1..=m).contains(&k) {
            return Err(Error::Usage(format!("k must be 1 to {m}, the number of known vectors, got {k}")));
        }
        let candidates = (k + SPARE).min(m);
        let mut found = Vec::new();
        self.in_parts(&self.network(Some(candidates))?, vectors, |part, mut out| {
            let (indices, distances) = (out.take("indices")?, out.take("distances")?);
            let indices = indices.elements::<u32>().unwrap_or_default();
            for (number, vector) in part.chunks(d).enumerate() {
                let range = number * candidates..(number + 1) * candidates;
                self.settle(vector, &indices[range.clone()], &distances.data()[range], k, &mut found);
            }
            Ok(())
        })?;
        Ok(Nearest { k, found })
    }

    /// Returns the network of all distances, or of the smallest and their indices.
    fn network(&self, candidates: Option<usize>) -> Result<Network> {
        let [m, d] = self.sizes;
        let mut weights = Weights::default();
        weights.insert("known", self.known.clone().reshaped([m, d, 1, 1])?);
        Ok(self.device.network(weights, move |g: &Draft| {
            let known = g.param("known", [m, d, 1, 1], Init::Constant(0.0));
            let mut distances = g.input("vectors").pairwise_distance(known);
            if let Some(k) = candidates {
                let (smallest, indices) = distances.top_k(TopK { k, axis: 1, largest: false });
                distances = smallest;
                g.output("indices", indices);
            }
            g.output("distances", distances);
        }))
    }

    /// Appends the exact `k` nearest to `vector`, given the nearest by `distances` in f32.
    fn settle(&self, vector: &[f32], indices: &[u32], distances: &[f32], k: usize, found: &mut Vec<(u32, f64)>) {
        let d = vector.len();
        let exact = |index: u32| (index, distance(vector, &self.known.data()[index as usize * d..][..d]));
        let order = |a: &(u32, f64), b: &(u32, f64)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
        let mut all: Vec<(u32, f64)> = indices.iter().map(|&index| exact(index)).collect();
        all.sort_unstable_by(order);
        // No other one is nearer than the last candidate by more than the rounding of an f32 distance, and the underflow of its terms.
        let last = f64::from(distances.last().copied().unwrap_or(f32::INFINITY).min(f32::MAX));
        let nearest_other =
            last / (1.0 + (d + 2) as f64 * f64::from(f32::EPSILON)) - d as f64 * f64::from(f32::MIN_POSITIVE);
        let count = self.sizes[0];
        if indices.len() < count && all[k - 1].1 >= nearest_other {
            all = (0..count as u32).map(exact).collect();
            all.sort_unstable_by(order);
        }
        found.extend(&all[..k]);
    }
}
