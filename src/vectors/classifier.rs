//! Classes of vectors by those that are nearest.

use super::{Nearest, Neighbours};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::tensor::Tensor;

/// How the k nearest known vectors decide on a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The class that most of them have; among equals, that of the nearest.
    Vote,
    /// The class c for which the nearest one of another class is farthest beyond the farthest one of c:
    /// `argmax_c (min_{m not of c} D − max_{m of c} D)` with squared distances D; among equals, that of the nearest. If all have one
    /// class, that.
    /// Meant for centroids of clusters, several per class.
    /// Source: Huang, Li, Loy and Tang, "Learning Deep Representation for Imbalanced Classification", CVPR 2016, section 3.3.
    Margin,
}

/// Known vectors, each of a class.
#[derive(Debug)]
pub struct Classifier {
    neighbours: Neighbours,
    classes: Vec<usize>,
    k: usize,
    rule: Rule,
}

impl Classifier {
    /// Classifies by the `k` nearest of `known` `[M, D]`, which have these classes; by all of them if there are fewer.
    ///
    /// # Errors
    /// `known` is not a matrix of finite f32, or has not as many rows as there are classes; `k` is 0.
    pub fn new(device: &Device, known: &Tensor, classes: &[usize], k: usize, rule: Rule) -> Result<Self> {
        let neighbours = Neighbours::new(device, known)?;
        let count = known.shape()[0];
        if classes.len() != count {
            return Err(Error::Usage(format!(
                "classes must be {count}, one for each known vector, got {}",
                classes.len()
            )));
        }
        if k == 0 {
            return Err(Error::Usage("k must be at least 1, got 0".into()));
        }
        Ok(Self { neighbours, classes: classes.to_vec(), k: k.min(count), rule })
    }

    /// Returns the class of each of `vectors` `[N, D]`.
    ///
    /// # Errors
    /// Those of [`Neighbours::nearest`].
    pub fn classify(&self, vectors: &Tensor) -> Result<Vec<usize>> {
        let nearest = self.neighbours.nearest(vectors, self.k)?;
        Ok((0..vectors.shape()[0]).map(|n| self.class(&nearest, n)).collect())
    }

    fn class(&self, nearest: &Nearest, n: usize) -> usize {
        // In ascending order of distance.
        let found: Vec<(usize, f64)> = nearest.of(n).map(|(index, distance)| (self.classes[index], distance)).collect();
        let score = |class: usize| {
            let of_class = || found.iter().filter(move |(c, _)| *c == class);
            match self.rule {
                Rule::Vote => of_class().count() as f64,
                Rule::Margin => {
                    let next = found.iter().find(|(c, _)| *c != class).map_or(f64::INFINITY, |(_, distance)| *distance);
                    next - of_class().next_back().map_or(f64::INFINITY, |(_, distance)| *distance)
                }
            }
        };
        let mut best = (found[0].0, score(found[0].0));
        for &(class, _) in &found {
            let own = score(class);
            if own > best.1 {
                best = (class, own);
            }
        }
        best.0
    }
}
