//! Linear classifiers on fixed features, one per attribute and all trained at once: the ways to treat classes of unequal size that LMLE
//! is compared with.

use super::data::{Faces, Part};
use super::trunk::{Features, WEIGHT_DECAY, balance, learn, schedule, weighted_entropy};
use crate::error::Result;
use crate::exec::{Device, Params};
use crate::graph::{Draft, Init};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::train::{Loader, Optimizer};
use crate::vision::models::deepid2::FEATURES;
use std::sync::Arc;

/// How unequal classes are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Not at all.
    None,
    /// Each class weighs as much as the other.
    Weights,
    /// The larger class is thinned once to the size of the smaller; both are drawn alike.
    UnderSampling,
    /// Both classes are drawn alike, the smaller one repeatedly.
    OverSampling,
}

/// How classifiers are trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    pub how: Balance,
    pub steps: u64,
    pub seed: u64,
}

/// Faces per step and attribute.
const BATCH: usize = 128;
/// AdamW's highest learning rate.
const LR: f64 = 3e-3;

/// The training faces that have each attribute, and those that do not.
pub(super) fn classes(faces: &Faces) -> Vec<[Vec<usize>; 2]> {
    (0..faces.attributes.len())
        .map(|a| {
            let (with, without) = faces.part(Part::Train).partition(|&face| faces.has(face, a));
            [with, without]
        })
        .collect()
}

/// Trains by the features of the training faces, and returns the logits of all faces, `[faces × attributes]`.
///
/// # Errors
/// A gradient is not finite; `step` returned false ([`Error::Interrupted`](crate::Error::Interrupted)); the device fails.
pub fn logits(
    device: &Device,
    faces: &Arc<Faces>,
    features: &Arc<Features>,
    choices: &Choices,
    step: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<f32>> {
    let (attributes, Choices { how, steps, seed }) = (faces.attributes.len(), *choices);
    let network = device.network(Params::fresh(seed), move |g: &Draft| {
        let w = g.param("w", [attributes, FEATURES, 1], Init::He { fan_in: FEATURES, slope: 1.0 });
        let logits = g.input("h").matmul(w) + g.param("b", [attributes, 1, 1], Init::Constant(0.0));
        g.output("logits", logits);
        g.loss("loss", || weighted_entropy(g, logits));
    });
    let mut training = network.train(Optimizer::adamw(WEIGHT_DECAY))?;
    let (all, known, count) = (faces.clone(), features.clone(), faces.part(Part::Train).len());
    let mut pools = classes(faces);
    if how == Balance::UnderSampling {
        let mut rng = Rng::new(seed);
        for pool in &mut pools {
            let least = pool.iter().map(Vec::len).min().unwrap_or_default();
            for class in pool {
                *class = rng.permutation(class.len())[..least].iter().map(|&k| class[k]).collect();
            }
        }
    }
    let weights = match how {
        Balance::Weights => balance(&faces.rates()),
        _ => vec![[1.0; 2]; attributes],
    };
    let mut loader = Loader::new(1, 1, steps, move |step| {
        let mut rng = Rng::of_step(seed, step);
        let (mut h, mut t, mut m) = (Vec::with_capacity(attributes * BATCH * FEATURES), Vec::new(), Vec::new());
        for (a, pool) in pools.iter().enumerate() {
            for number in 0..BATCH {
                let class = &pool[number % 2];
                let face = match how {
                    Balance::UnderSampling | Balance::OverSampling if !class.is_empty() => {
                        class[rng.below(class.len())]
                    }
                    _ => rng.below(count),
                };
                let look = &known.looks[rng.below(known.looks.len())];
                h.extend_from_slice(&look[face * FEATURES..][..FEATURES]);
                let has = all.has(face, a);
                t.push(f32::from(u8::from(has)));
                m.push(weights[a][usize::from(!has)]);
            }
        }
        let of_labels = [attributes, BATCH, 1];
        Ok([Tensor::new([attributes, BATCH, FEATURES], h)?, Tensor::new(of_labels, t)?, Tensor::new(of_labels, m)?])
    })?;
    let schedule = schedule(LR, steps);
    learn(&mut training, &mut loader, &schedule, 1..=steps, ["h", "t", "m"], step)?;
    let h = Tensor::new([1, features.plain.len() / FEATURES, FEATURES], features.plain.clone())?;
    let found = network.run(&[("h", &h)])?.take("logits")?;
    let count = features.plain.len() / FEATURES;
    Ok((0..count).flat_map(|k| found.data()[k..].iter().step_by(count).copied()).collect())
}
