//! k-means: clusters of vectors around their means.
//!
//! Source: Lloyd 1982; the start by Arthur and Vassilvitskii 2007, "k-means++".

use super::assigned::Assigned;
use super::{distance, sizes};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::ops::Family;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::threads::in_threads;

/// Vectors whose distances to a centroid a thread computes at a time.
const PART: usize = 256;

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
    /// Clusters `vectors` `[N, D]`. The same vectors and settings give the same clusters on every device: a GPU looks up all vectors once,
    /// and the processor follows those that may change, or looks up all where the device is the processor. A cluster that loses all of its
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
        let mut assigned = Assigned::new(vectors, &centroids);
        if device.info().is_some_and(|info| info.caps.family == Family::Hardware) {
            assigned.look_up(device, &centroids)?;
        }
        let mut members = Vec::new();
        for round in 1.. {
            let before = assigned.labels.clone();
            assigned.update(&centroids);
            let is_settled = round > 1 && assigned.labels == before;
            if is_settled || round == self.rounds {
                let inertia = assigned.distances(&centroids).iter().sum();
                return Ok(Clusters { centroids, labels: assigned.labels, inertia, rounds: round });
            }
            let means = self.means(vectors, &assigned, &centroids, &mut members)?;
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
            in_threads(left.chunks_mut(PART).zip(rows.chunks(PART * d)), |(left, rows)| {
                for (left, row) in left.iter_mut().zip(rows.chunks(d)) {
                    *left = left.min(distance(row, last));
                }
            });
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

    /// Returns the mean of each cluster. `members` are the labels of which `centroids` are the means, none at first; they become those of the
    /// result.
    fn means(
        &self,
        vectors: &Tensor,
        assigned: &Assigned,
        centroids: &Tensor,
        members: &mut Vec<usize>,
    ) -> Result<Tensor> {
        let d = vectors.shape()[1];
        let mut labels = assigned.labels.clone();
        let mut counts = vec![0usize; self.clusters];
        labels.iter().for_each(|label| counts[*label] += 1);
        if counts.contains(&0) {
            let distances = assigned.distances(centroids);
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
        // A cluster that neither lost nor got a vector keeps its mean.
        let mut is_new = vec![members.is_empty(); self.clusters];
        for (before, after) in members.iter().zip(&labels).filter(|(before, after)| before != after) {
            (is_new[*before], is_new[*after]) = (true, true);
        }
        let mut sums = vec![0.0f64; self.clusters * d];
        for (row, &label) in vectors.data().chunks(d).zip(&labels).filter(|(_, label)| is_new[**label]) {
            sums[label * d..][..d].iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        *members = labels;
        let mut means = centroids.data().to_vec();
        for (k, (mean, sum)) in means.chunks_mut(d).zip(sums.chunks(d)).enumerate().filter(|(k, _)| is_new[*k]) {
            mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean = (sum / counts[k] as f64) as f32);
        }
        Tensor::new([self.clusters, d], means)
    }
}
