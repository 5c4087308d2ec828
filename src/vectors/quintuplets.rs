//! Quintuplets: an anchor and four partners, by whose distances an embedding learns to keep clusters and classes apart.
//!
//! Source: Huang, Li, Loy and Tang, "Learning Deep Representation for Imbalanced Classification", CVPR 2016, section 3.1.

use super::{Neighbours, distance, sizes};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::tensor::Tensor;

/// For each vector as an anchor, the partners and weights that [`quintuplet`](mod@crate::ops::quintuplet) takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Quintuplets {
    /// The farthest of the anchor's cluster, the nearest of its class's other clusters, the farthest of its class, and the nearest of
    /// another class. Where there is no such vector, the anchor itself.
    pub partners: Vec<[usize; 4]>,
    /// Weights of the three hinges: 0 where a partner is missing, else 1.
    pub weights: Vec<[f32; 3]>,
}

impl Quintuplets {
    /// Finds the partners of each of `vectors` `[N, D]` among the others. `clusters` are numbers of clusters, each within a class: vectors
    /// of different classes count as different clusters whatever their numbers. Of equal distances the lower index counts.
    ///
    /// # Errors
    /// `vectors` is not a matrix of finite f32; classes or clusters are not one for each; the device fails.
    pub fn new(device: &Device, vectors: &Tensor, classes: &[usize], clusters: &[usize]) -> Result<Self> {
        let mut all = Self::checked(vectors, classes, clusters)?;
        Neighbours::new(device, vectors)?
            .each_distance(vectors, |anchor, distances| all.choose(anchor, distances, classes, clusters))?;
        Ok(all)
    }

    /// Does as [`Quintuplets::new`] without a device, which is faster for up to a few hundred vectors, such as a random group of a set. The
    /// partners in a group are less extreme than those among all vectors, which may be mislabelled and make an embedding collapse.
    ///
    /// # Errors
    /// Those of [`Quintuplets::new`].
    pub fn among(vectors: &Tensor, classes: &[usize], clusters: &[usize]) -> Result<Self> {
        let mut all = Self::checked(vectors, classes, clusters)?;
        let rows: Vec<&[f32]> = vectors.data().chunks(vectors.shape()[1]).collect();
        for (anchor, row) in rows.iter().enumerate() {
            let distances: Vec<f32> = rows.iter().map(|other| distance(row, other) as f32).collect();
            all.choose(anchor, &distances, classes, clusters);
        }
        Ok(all)
    }

    /// Returns an empty list for these vectors.
    fn checked(vectors: &Tensor, classes: &[usize], clusters: &[usize]) -> Result<Self> {
        let [n, _] = sizes("vectors", vectors)?;
        for (name, numbers) in [("classes", classes), ("clusters", clusters)] {
            if numbers.len() != n {
                let problem = format!("{name} must be {n}, one for each vector, got {}", numbers.len());
                return Err(Error::Usage(problem));
            }
        }
        Ok(Self { partners: Vec::with_capacity(n), weights: Vec::with_capacity(n) })
    }

    /// Appends the partners of `anchor` by its distances to all vectors.
    fn choose(&mut self, anchor: usize, distances: &[f32], classes: &[usize], clusters: &[usize]) {
        let mut found: [Option<usize>; 4] = [None; 4];
        for (other, distance) in distances.iter().enumerate().filter(|(other, _)| *other != anchor) {
            let mut keep = |which: usize, is_better: fn(&f32, &f32) -> bool| {
                if found[which].is_none_or(|best| is_better(distance, &distances[best])) {
                    found[which] = Some(other);
                }
            };
            if classes[other] != classes[anchor] {
                keep(3, f32::lt);
                continue;
            }
            keep(2, f32::gt);
            if clusters[other] == clusters[anchor] {
                keep(0, f32::gt);
            } else {
                keep(1, f32::lt);
            }
        }
        let hinge = |k: usize| f32::from(u8::from(found[k].is_some() && found[k + 1].is_some()));
        self.weights.push([hinge(0), hinge(1), hinge(2)]);
        self.partners.push(found.map(|partner| partner.unwrap_or(anchor)));
    }

    /// Returns the rows of a batch of these anchors in the order that [`quintuplet`](mod@crate::ops::quintuplet) takes: the anchors, then
    /// the partners of each kind; and the weights `[N, 3, 1, 1]`.
    ///
    /// # Errors
    /// An anchor is not the index of a vector; there are none.
    pub fn batch(&self, anchors: &[usize]) -> Result<(Vec<usize>, Tensor)> {
        if let Some(wrong) = anchors.iter().find(|anchor| **anchor >= self.partners.len()) {
            let count = self.partners.len();
            return Err(Error::Usage(format!("anchors must be below {count}, the number of vectors, got {wrong}")));
        }
        let partners = (0..4).flat_map(|k| anchors.iter().map(move |anchor| self.partners[*anchor][k]));
        let rows = anchors.iter().copied().chain(partners).collect();
        let weights = anchors.iter().flat_map(|anchor| self.weights[*anchor]).collect::<Vec<f32>>();
        Ok((rows, Tensor::new([anchors.len(), 3, 1, 1], weights)?))
    }
}
