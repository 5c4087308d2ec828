//! Clusters of each class by itself, as quintuplets and the margin rule need them.

use super::{KMeans, sizes};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::tensor::Tensor;

/// Clusters of vectors, each within a class.
#[derive(Debug, Clone)]
pub struct ClassClusters {
    /// `[clusters, D]`: the means of the clusters.
    pub centroids: Tensor,
    /// The class of each cluster.
    pub classes: Vec<usize>,
    /// The number of each vector's cluster.
    pub labels: Vec<usize>,
}

/// Rounds of k-means; more change few labels.
const ROUNDS: usize = 10;

impl ClassClusters {
    /// Clusters those of `vectors` `[N, D]` that have the same class, about `size` in a cluster. A class with fewer is one cluster.
    ///
    /// Source: Huang, Li, Loy and Tang, "Learning Deep Representation for Imbalanced Classification", CVPR 2016, section 3.1.
    ///
    /// # Errors
    /// `vectors` is not a matrix of finite f32; classes are not one for each; `size` is 0; the device fails.
    pub fn new(device: &Device, vectors: &Tensor, classes: &[usize], size: usize, seed: u64) -> Result<Self> {
        let [n, d] = sizes("vectors", vectors)?;
        if classes.len() != n || size == 0 {
            let got = classes.len();
            return Err(Error::Usage(format!("classes must be {n}, one for each vector, got {got}; size at least 1")));
        }
        let mut names: Vec<usize> = classes.to_vec();
        names.sort_unstable();
        names.dedup();
        let (mut centroids, mut of, mut labels) = (Vec::new(), Vec::new(), vec![0; n]);
        for class in names {
            let members: Vec<usize> = (0..n).filter(|&k| classes[k] == class).collect();
            let rows = members.iter().flat_map(|&k| &vectors.data()[k * d..][..d]).copied().collect::<Vec<f32>>();
            let clusters = ((members.len() + size / 2) / size).clamp(1, members.len());
            let found = KMeans { rounds: ROUNDS, seed, ..KMeans::new(clusters) }
                .run(device, &Tensor::new([members.len(), d], rows)?)?;
            members.iter().zip(&found.labels).for_each(|(&k, label)| labels[k] = of.len() + label);
            centroids.extend_from_slice(found.centroids.data());
            of.extend(std::iter::repeat_n(class, clusters));
        }
        Ok(Self { centroids: Tensor::new([of.len(), d], centroids)?, classes: of, labels })
    }
}
