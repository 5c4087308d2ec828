//! Embeddings of fixed features, one per attribute and all trained at once by quintuplets or triplets, and classes by neighbours in them.
//!
//! Source: Huang, Li, Loy and Tang, "Learning Deep Representation for Imbalanced Classification", CVPR 2016. Where the paper trains a
//! network per attribute, here one trunk serves all, and each attribute has an embedding of its own on its features.

use super::data::{Faces, Part};
use super::linear::classes;
use super::trunk::{Features, WEIGHT_DECAY, learn, schedule};
use crate::error::Result;
use crate::exec::{Device, Network, Params};
use crate::graph::{Draft, Init};
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::quintuplet::Quintuplet;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::train::{Loader, Optimizer};
use crate::vectors::{ClassClusters, Classifier, Quintuplets, Rule};
use crate::vision::models::deepid2::FEATURES;
use std::sync::Arc;

/// How the embeddings are trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    /// Dimensions of an embedding.
    pub dimensions: usize,
    /// Keeps clusters apart by all three hinges; else classes alone by the third, which is the triplet loss.
    pub is_quintuplet: bool,
    /// Draws as many anchors of one class as of the other.
    pub is_balanced: bool,
    /// Faces of a group; an anchor's partners are chosen in its group.
    pub group: usize,
    /// Training faces per cluster, as nearly as the sizes of the classes allow.
    pub cluster: usize,
    pub steps: u64,
    /// Steps after which faces are embedded and clustered anew.
    pub refresh: u64,
    /// The highest learning rate of AdamW.
    pub lr: f64,
    /// g₁, g₂, g₃ of the quintuplet loss.
    pub margins: [f32; 3],
    pub seed: u64,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            dimensions: 64,
            is_quintuplet: true,
            is_balanced: true,
            group: 6,
            cluster: 1000,
            steps: 400,
            refresh: 134,
            lr: 3e-3,
            margins: [0.01, 0.05, 1.0],
            seed: 1,
        }
    }
}

/// Groups of each attribute per step.
const GROUPS: usize = 8;

/// The embeddings of all faces, of one attribute after the other.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// `[faces, dimensions]` for each attribute.
    pub attributes: Vec<Tensor>,
}

fn network(device: &Device, attributes: usize, choices: Choices) -> Network {
    let Choices { dimensions, margins, .. } = choices;
    device.network(Params::fresh(choices.seed), move |g: &Draft| {
        let h = g.input("h");
        let w = g.param("w", [attributes, FEATURES, dimensions], Init::He { fan_in: FEATURES, slope: 1.0 });
        let b = g.param("b", [attributes, 1, dimensions], Init::Constant(0.0));
        let rows = attributes * h.shape().get(1).copied().unwrap_or(1);
        let f = (h.matmul(w) + b).reshape([rows, dimensions, 1, 1]).l2_normalize(L2Normalize::default());
        g.output("embedding", f);
        g.loss("loss", || {
            let chosen = f.reshape([rows, dimensions]).gather(g.input("partners"), 0);
            let count = chosen.shape()[0];
            let op = Quintuplet { margins, ..Quintuplet::default() };
            chosen.reshape([count, dimensions, 1, 1]).quintuplet(g.input("weights"), op)
        });
    })
}

/// Faces that are embedded at a time.
const AT_ONCE: usize = 1000;

/// Embeds features `[faces × 160]`.
fn embed(network: &Network, features: &[f32], attributes: usize, dimensions: usize) -> Result<Embedding> {
    let mut rows = vec![Vec::with_capacity(features.len() / FEATURES * dimensions); attributes];
    for part in features.chunks(AT_ONCE * FEATURES) {
        let h = Tensor::new([1, part.len() / FEATURES, FEATURES], part.to_vec())?;
        let found = network.run(&[("h", &h)])?.take("embedding")?;
        let own = found.data().chunks(part.len() / FEATURES * dimensions);
        rows.iter_mut().zip(own).for_each(|(rows, own)| rows.extend_from_slice(own));
    }
    let tensor = |rows: Vec<f32>| Tensor::new([rows.len() / dimensions, dimensions], rows);
    Ok(Embedding { attributes: rows.into_iter().map(tensor).collect::<Result<_>>()? })
}

/// What batches are made from, until the next refresh.
struct Table {
    faces: Arc<Faces>,
    features: Arc<Features>,
    classes: Vec<[Vec<usize>; 2]>,
    /// Vectors of the training faces and their clusters, for each attribute.
    vectors: Vec<Tensor>,
    clusters: Vec<Vec<usize>>,
    choices: Choices,
}

impl Table {
    /// Returns the features `[attributes, faces, 160]`, the partners and the weights of a step.
    fn batch(&self, step: u64) -> Result<[Tensor; 3]> {
        let Choices { group, is_balanced, is_quintuplet, seed, .. } = self.choices;
        let (mut rng, count) = (Rng::of_step(seed, step), self.faces.part(Part::Train).len());
        let (mut h, mut partners, mut weights) = (Vec::new(), vec![Vec::new(); 5], Vec::new());
        for (a, vectors) in self.vectors.iter().enumerate() {
            let d = vectors.shape()[1];
            for _ in 0..GROUPS {
                let members: Vec<usize> = (0..group)
                    .map(|number| match &self.classes[a][number % 2] {
                        class if is_balanced && !class.is_empty() => class[rng.below(class.len())],
                        _ => rng.below(count),
                    })
                    .collect();
                let first = h.len() / FEATURES;
                for &face in &members {
                    let look = &self.features.looks[rng.below(self.features.looks.len())];
                    h.extend_from_slice(&look[face * FEATURES..][..FEATURES]);
                }
                let rows = members.iter().flat_map(|&face| &vectors.data()[face * d..][..d]).copied().collect();
                let own = |of: &dyn Fn(usize) -> usize| members.iter().map(|&face| of(face)).collect::<Vec<_>>();
                let [classes, clusters] =
                    [own(&|face| usize::from(self.faces.has(face, a))), own(&|face| self.clusters[a][face])];
                let found = Quintuplets::among(&Tensor::new([group, d], rows)?, &classes, &clusters)?;
                for (anchor, four) in found.partners.iter().enumerate() {
                    partners[0].push((first + anchor) as u32);
                    (0..4).for_each(|k| partners[k + 1].push((first + four[k]) as u32));
                }
                let kept = if is_quintuplet { [1.0; 3] } else { [0.0, 0.0, 1.0] };
                weights.extend(found.weights.iter().flat_map(|w| [w[0] * kept[0], w[1] * kept[1], w[2] * kept[2]]));
            }
        }
        let attributes = self.vectors.len();
        let partners = partners.concat();
        Ok([
            Tensor::new([attributes, GROUPS * group, FEATURES], h)?,
            Tensor::new([partners.len()], partners)?,
            Tensor::new([weights.len() / 3, 3, 1, 1], weights)?,
        ])
    }
}

/// Trains the embeddings by the features of the training faces, and returns those of all faces.
///
/// # Errors
/// A gradient is not finite; `step` returned false ([`Error::Interrupted`](crate::Error::Interrupted)); the device fails.
pub fn train(
    device: &Device,
    faces: &Arc<Faces>,
    features: &Arc<Features>,
    choices: &Choices,
    step: &mut dyn FnMut(f32) -> bool,
) -> Result<Embedding> {
    let attributes = faces.attributes.len();
    let network = network(device, attributes, *choices);
    let mut training = network.train(Optimizer::adamw(WEIGHT_DECAY))?;
    let (classes, schedule) = (classes(faces), schedule(choices.lr, choices.steps));
    let train = faces.part(Part::Train).len();
    let mut first = 1;
    while first <= choices.steps {
        let vectors = match first {
            // The features themselves serve for the first clusters.
            1 => vec![Tensor::new([train, FEATURES], features.looks[0].clone())?; attributes],
            _ => embed(&network, &features.looks[0], attributes, choices.dimensions)?.attributes,
        };
        let last = (first + choices.refresh - 1).min(choices.steps);
        let clusters = match choices.is_quintuplet {
            true => (vectors.iter().enumerate())
                .map(|(a, vectors)| {
                    let own = of_training(faces, a);
                    Ok(ClassClusters::new(device, vectors, &own, choices.cluster, choices.seed)?.labels)
                })
                .collect::<Result<_>>()?,
            false => vec![vec![0; train]; attributes],
        };
        let (classes, choices) = (classes.clone(), *choices);
        let table = Table { faces: faces.clone(), features: features.clone(), classes, vectors, clusters, choices };
        let mut loader = Loader::new(1, first, last, move |step| table.batch(step))?;
        learn(&mut training, &mut loader, &schedule, first..=last, ["h", "partners", "weights"], step)?;
        first = last + 1;
    }
    embed(&network, &features.plain, attributes, choices.dimensions)
}

/// Returns the class of each training face: 1 if it has the attribute.
fn of_training(faces: &Faces, attribute: usize) -> Vec<usize> {
    faces.part(Part::Train).map(|face| usize::from(faces.has(face, attribute))).collect()
}

/// How classes are found in an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// By the margin rule among the `k` nearest centroids of clusters of about `cluster` training faces.
    Clusters { cluster: usize, k: usize },
    /// By vote of the `k` nearest training faces.
    Samples { k: usize },
}

/// Returns whether each face of `part` has each attribute, `[faces × attributes]`.
///
/// # Errors
/// The device fails.
pub fn classify(
    device: &Device,
    faces: &Faces,
    embedding: &Embedding,
    part: Part,
    decision: Decision,
    seed: u64,
) -> Result<Vec<bool>> {
    let (train, asked) = (faces.part(Part::Train).len(), faces.part(part));
    let mut found = vec![false; asked.len() * faces.attributes.len()];
    for (a, all) in embedding.attributes.iter().enumerate() {
        let d = all.shape()[1];
        let known = Tensor::new([train, d], all.data()[..train * d].to_vec())?;
        let own = of_training(faces, a);
        let classifier = match decision {
            Decision::Clusters { cluster: size, k } => {
                let ClassClusters { mut centroids, classes, .. } =
                    ClassClusters::new(device, &known, &own, size, seed)?;
                // Means of directions are directions again at length 1.
                for row in centroids.data_mut().chunks_mut(d) {
                    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
                    row.iter_mut().for_each(|v| *v /= length);
                }
                Classifier::new(device, &centroids, &classes, k, Rule::Margin)?
            }
            Decision::Samples { k } => Classifier::new(device, &known, &own, k, Rule::Vote)?,
        };
        let rows = all.data()[asked.start * d..asked.end * d].to_vec();
        let classes = classifier.classify(&Tensor::new([asked.len(), d], rows)?)?;
        classes.iter().enumerate().for_each(|(k, class)| found[k * faces.attributes.len() + a] = *class == 1);
    }
    Ok(found)
}
