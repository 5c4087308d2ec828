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
        let mut labels = Vec::new();
        for round in 1.. {
            let nearest: Vec<(usize, f64)> =
                Neighbours::new(device, &centroids)?.nearest(vectors, 1)?.first().collect();
            let before = std::mem::replace(&mut labels, nearest.iter().map(|(label, _)| *label).collect());
            if labels == before || round == self.rounds {
                let inertia = nearest.iter().map(|(_, distance)| distance).sum();
                return Ok(Clusters { centroids, labels, inertia, rounds: round });
            }
            centroids = self.means(vectors, &nearest)?;
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
    fn means(&self, vectors: &Tensor, nearest: &[(usize, f64)]) -> Result<Tensor> {
        let d = vectors.shape()[1];
        let mut counts = vec![0usize; self.clusters];
        nearest.iter().for_each(|(label, _)| counts[*label] += 1);
        let mut labels: Vec<usize> = nearest.iter().map(|(label, _)| *label).collect();
        let mut by_distance: Vec<usize> = (0..nearest.len()).collect();
        by_distance.sort_by(|a, b| nearest[*b].1.total_cmp(&nearest[*a].1));
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
        let mut sums = vec![0.0f64; self.clusters * d];
        for (row, &label) in vectors.data().chunks(d).zip(&labels) {
            sums[label * d..][..d].iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let mean = |(k, sum): (usize, f64)| (sum / counts[k / d] as f64) as f32;
        Tensor::new([self.clusters, d], sums.into_iter().enumerate().map(mean).collect::<Vec<f32>>())
    }
}
