//! k-means: clusters of vectors around their means.
//!
//! Source: Lloyd 1982; the start by Arthur and Vassilvitskii 2007, "k-means++".

use super::{Neighbours, distance, sizes};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::rng::Rng;
use crate::tensor::Tensor;

/// How to cluster.
#[derive(Debug, Clone)]
pub struct KMeans {
    /// Number of clusters, 1 to the number of vectors.
    pub clusters: usize,
    /// Most rounds of assigning vectors and moving centroids.
    pub rounds: usize,
    /// Seed for the centroids to start from, which are drawn by k-means++.
    pub seed: u64,
    /// Centroids `[clusters, D]` to start from instead.
    pub start: Option<Tensor>,
}

impl KMeans {
    /// Creates the settings for at most 300 rounds from the seed 1.
    pub fn new(clusters: usize) -> Self {
        Self { clusters, rounds: 300, seed: 1, start: None }
    }
}

/// The result of k-means.
#[derive(Debug, Clone)]
pub struct Clusters {
    /// `[clusters, D]`
    pub centroids: Tensor,
    /// For each vector the number of its cluster, which has the nearest centroid.
    pub labels: Vec<usize>,
    /// The sum of the squared distances of all vectors to their centroids.
    pub inertia: f64,
    /// Rounds until no vector changed its cluster, or the most allowed.
    pub rounds: usize,
}

impl Clusters {
    /// Returns how many vectors each cluster has.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.centroids.shape()[0]];
        self.labels.iter().for_each(|&label| counts[label] += 1);
        counts
    }
}

impl KMeans {
    /// Clusters `vectors` `[N, D]`. The same vectors and settings give the same clusters on every device. A cluster that loses all of its
    /// vectors gets the one that is farthest from its centroid.
    ///
    /// # Errors
    /// `vectors` or `start` is not a matrix of finite f32 of fitting shape; the number of clusters or rounds is out of range; the
    /// device fails.
    pub fn run(&self, device: &Device, vectors: &Tensor) -> Result<Clusters> {
        let [n, d] = sizes("vectors", vectors)?;
        if !(1..=n).contains(&self.clusters) {
            return Err(Error::Usage(format!(
                "clusters must be 1 to {n}, the number of vectors, got {}",
                self.clusters
            )));
        }
        if self.rounds == 0 {
            return Err(Error::Usage("rounds must be at least 1, got 0".into()));
        }
        let mut centroids = match &self.start {
            None => self.spread(vectors)?,
            Some(start) if sizes("start", start)? == [self.clusters, d] => start.clone(),
            Some(start) => {
                let wanted = [self.clusters, d];
                return Err(Error::Usage(format!("start must be {wanted:?}, got {:?}", start.shape())));
            }
        };
        let mut assigned = Assigned::default();
        for round in 1.. {
            let has_changed = assigned.update(device, &centroids, vectors)?;
            if !has_changed || round == self.rounds {
                let inertia = assigned.distances(&centroids, vectors).iter().sum();
                return Ok(Clusters { centroids, labels: assigned.labels, inertia, rounds: round });
            }
            let means = self.means(vectors, &assigned, &centroids)?;
            assigned.follow(&centroids, &means);
            centroids = means;
        }
        unreachable!("the last round returns")
    }

    /// Draws centroids among the vectors, each with a probability in proportion to its squared distance to the nearest one before.
    fn spread(&self, vectors: &Tensor) -> Result<Tensor> {
        let d = vectors.shape()[1];
        let (rows, mut rng) = (vectors.data(), Rng::new(self.seed));
        let mut chosen = vec![rng.below(rows.len() / d)];
        let mut left = vec![f64::INFINITY; rows.len() / d];
        while chosen.len() < self.clusters {
            let last = &rows[chosen[chosen.len() - 1] * d..][..d];
            for (left, row) in left.iter_mut().zip(rows.chunks(d)) {
                *left = left.min(distance(row, last));
            }
            let mut rest = rng.unit() * left.iter().sum::<f64>();
            let mut reaches = |left: &f64| {
                rest -= left;
                *left > 0.0 && rest < 0.0
            };
            let drawn = left.iter().position(&mut reaches);
            // Rounding may leave a rest; and if every vector is a centroid already, any other one serves.
            let farthest = || (0..left.len()).max_by(|a, b| left[*a].total_cmp(&left[*b])).unwrap_or(0);
            chosen.push(drawn.unwrap_or_else(farthest));
        }
        let values = chosen.iter().flat_map(|&k| &rows[k * d..][..d]).copied().collect();
        Tensor::new([self.clusters, d], values)
    }

    /// Returns the mean of each cluster.
    fn means(&self, vectors: &Tensor, assigned: &Assigned, centroids: &Tensor) -> Result<Tensor> {
        let d = vectors.shape()[1];
        let mut labels = assigned.labels.clone();
        let mut counts = vec![0usize; self.clusters];
        labels.iter().for_each(|label| counts[*label] += 1);
        if counts.contains(&0) {
            let distances = assigned.distances(centroids, vectors);
            let mut by_distance: Vec<usize> = (0..labels.len()).collect();
            by_distance.sort_by(|a, b| distances[*b].total_cmp(&distances[*a]));
            let mut farthest = by_distance.into_iter();
            for empty in 0..self.clusters {
                while counts[empty] == 0 {
                    // There are at least as many vectors as clusters, so some cluster has two.
                    let Some(k) = farthest.next() else { break };
                    if counts[labels[k]] > 1 {
                        counts[labels[k]] -= 1;
                        (labels[k], counts[empty]) = (empty, 1);
                    }
                }
            }
        }
        let mut sums = vec![0.0f64; self.clusters * d];
        for (row, &label) in vectors.data().chunks(d).zip(&labels) {
            sums[label * d..][..d].iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let mean = |(k, sum): (usize, f64)| (sum / counts[k / d] as f64) as f32;
        Tensor::new([self.clusters, d], sums.into_iter().enumerate().map(mean).collect::<Vec<f32>>())
    }
}

/// Which centroid is nearest to each vector, and bounds that show for most that it stays the nearest when centroids move.
///
/// Source: Hamerly 2010, "Making k-means even faster".
#[derive(Default)]
struct Assigned {
    labels: Vec<usize>,
    /// At least the distance to the own centroid, and at most that to any other.
    upper: Vec<f64>,
    lower: Vec<f64>,
}

/// Relative margin for the rounding of bounds, far above that of a few hundred sums in f64.
const MARGIN: f64 = 1e-9;

impl Assigned {
    /// Finds the nearest of `centroids` for those vectors whose bounds leave a doubt. Returns whether any label changed.
    fn update(&mut self, device: &Device, centroids: &Tensor, vectors: &Tensor) -> Result<bool> {
        let [n, d] = [vectors.shape()[0], vectors.shape()[1]];
        let is_first = self.labels.is_empty();
        if is_first {
            (self.labels, self.upper, self.lower) = (vec![0; n], vec![f64::INFINITY; n], vec![0.0; n]);
        }
        let mut doubtful = Vec::new();
        for (k, row) in vectors.data().chunks(d).enumerate() {
            let is_settled = |upper: f64| upper * (1.0 + MARGIN) < self.lower[k];
            if !is_first && !is_settled(self.upper[k]) {
                self.upper[k] = distance(row, &centroids.data()[self.labels[k] * d..][..d]).sqrt();
            }
            if is_first || !is_settled(self.upper[k]) {
                doubtful.push(k);
            }
        }
        if doubtful.is_empty() {
            return Ok(false);
        }
        let neighbours = Neighbours::new(device, centroids)?;
        let count = centroids.shape()[0].min(2);
        let nearest = match doubtful.len() == n {
            true => neighbours.nearest(vectors, count)?,
            false => {
                let rows = doubtful.iter().flat_map(|&k| &vectors.data()[k * d..][..d]).copied().collect::<Vec<f32>>();
                neighbours.nearest(&Tensor::new([doubtful.len(), d], rows)?, count)?
            }
        };
        let mut has_changed = is_first;
        for (number, &k) in doubtful.iter().enumerate() {
            let mut found = nearest.of(number);
            if let Some((label, own)) = found.next() {
                has_changed |= label != self.labels[k];
                let other = found.next().map_or(f64::INFINITY, |(_, other)| other.sqrt());
                (self.labels[k], self.upper[k], self.lower[k]) = (label, own.sqrt(), other);
            }
        }
        Ok(has_changed)
    }

    /// Widens the bounds by how far the centroids move.
    fn follow(&mut self, before: &Tensor, after: &Tensor) {
        let d = before.shape()[1];
        let rows = before.data().chunks(d).zip(after.data().chunks(d));
        let moved: Vec<f64> = rows.map(|(a, b)| distance(a, b).sqrt()).collect();
        // The farthest that any centroid moved, and any but that one.
        let farthest = (0..moved.len()).fold(0, |most, k| if moved[k] > moved[most] { k } else { most });
        let others = moved.iter().enumerate().filter(|(k, _)| *k != farthest).map(|(_, m)| *m).fold(0.0, f64::max);
        for ((label, upper), lower) in self.labels.iter().zip(&mut self.upper).zip(&mut self.lower) {
            *upper += moved[*label];
            *lower -= (1.0 + MARGIN) * if *label == farthest { others } else { moved[farthest] };
        }
    }

    /// Returns the squared distance of each vector to its centroid.
    fn distances(&self, centroids: &Tensor, vectors: &Tensor) -> Vec<f64> {
        let d = vectors.shape()[1];
        let own = |(row, label): (&[f32], &usize)| distance(row, &centroids.data()[label * d..][..d]);
        vectors.data().chunks(d).zip(&self.labels).map(own).collect()
    }
}
