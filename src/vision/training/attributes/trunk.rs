//! The multi-task network: DeepID2's features and one output per attribute, and the features of all faces.

use super::data::{Faces, Look, Part};
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Params};
use crate::graph::{Draft, Var};
use crate::ops::loss::{Loss, Penalty, Reduction};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::train::{Decay, Loader, Optimizer, Schedule, Training};
use crate::vision::models::attributes;
use crate::vision::models::deepid2::{self, FEATURES, SIZE};
use crate::weights::Weights;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What makes the features of a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// [`deepid2`].
    DeepId2,
    /// [`attributes`].
    Shared,
}

/// How the network is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    pub base: Base,
    pub steps: u64,
    /// Faces per step.
    pub batch: usize,
    /// The highest learning rate of AdamW; it rises in a tenth of the steps, and falls to 0 by half a cosine.
    pub lr: f64,
    /// Weighs classes by the inverse of their share, so that both classes of an attribute count alike.
    pub is_weighted: bool,
    pub seed: u64,
}

impl Default for Choices {
    fn default() -> Self {
        Self { base: Base::DeepId2, steps: 1000, batch: 64, lr: 2e-3, is_weighted: false, seed: 1 }
    }
}

/// AdamW's decay of weights, λ of the paper's λ‖W‖².
pub(super) const WEIGHT_DECAY: f32 = 1e-4;

/// Returns the learning rate over the steps of a training.
pub(super) fn schedule(lr: f64, steps: u64) -> Schedule {
    Schedule { lr, warmup: steps / 10, decay: Decay::Cosine { end: 0.0, steps } }
}

/// Adds the network of `x` `[N, 3, 55, 47]` with the outputs `features` `[N, 160, 1, 1]` and `logits` `[N, attributes, 1, 1]`.
fn build(g: &Draft, attributes: usize, base: Base) {
    let x = g.input("x");
    let features = match base {
        Base::DeepId2 => deepid2::features(x, 0.5),
        Base::Shared => attributes::features(x),
    };
    let logits = attributes::logits(features, attributes);
    g.output("features", features);
    g.output("logits", logits);
    g.loss("loss", || weighted_entropy(g, logits));
}

/// Adds the mean cross entropy of logits and the input `t`, weighted by the input `m`.
pub(super) fn weighted_entropy<'d>(g: &'d Draft, logits: Var<'d>) -> Var<'d> {
    let entropy = Loss { penalty: Penalty::BinaryCrossEntropy, reduction: Reduction::Mean, weighted: true };
    g.add(entropy, &[logits, g.input("t"), g.input("m")])
}

/// Makes the steps `numbers` with the loader's batches, whose tensors are the inputs `names`. `step` is called after each with its
/// loss, and ends the training by false.
pub(super) fn learn(
    training: &mut Training,
    loader: &mut Loader<[Tensor; 3]>,
    schedule: &Schedule,
    numbers: RangeInclusive<u64>,
    names: [&str; 3],
    step: &mut dyn FnMut(f32) -> bool,
) -> Result<()> {
    for number in numbers {
        let batch = loader.take(number)?;
        let inputs = [0, 1, 2].map(|k| (names[k], &batch[k]));
        if !step(training.step(schedule.at(number), &inputs)?.scalar("loss")) {
            return Err(Error::Interrupted);
        }
    }
    Ok(())
}

/// Returns the network of these weights for as many attributes.
pub fn network(device: &Device, attributes: usize, base: Base, weights: impl Into<Params>) -> Network {
    device.network(weights, move |g: &Draft| build(g, attributes, base))
}

/// Returns the weight of a positive and of a negative face for each attribute, with which both classes count alike and the mean is 1.
pub(super) fn balance(rates: &[f64]) -> Vec<[f32; 2]> {
    // A class without faces has no weight to matter.
    rates.iter().map(|rate| [0.5 / rate.max(1e-9), 0.5 / (1.0 - rate).max(1e-9)].map(|v| v as f32)).collect()
}

/// Batches of training faces in random forms.
#[derive(Debug, Clone)]
pub(super) struct Batches {
    faces: Arc<Faces>,
    batch: usize,
    seed: u64,
    /// The weight of a positive and of a negative face for each attribute.
    weights: Vec<[f32; 2]>,
    look: fn(&mut Rng) -> Look,
}

impl Batches {
    pub fn new(faces: &Arc<Faces>, choices: &Choices) -> Self {
        let weights = match choices.is_weighted {
            true => balance(&faces.rates()),
            false => vec![[1.0; 2]; faces.attributes.len()],
        };
        let look = match choices.base {
            Base::DeepId2 => Look::random,
            Base::Shared => Look::wide,
        };
        Self { faces: faces.clone(), batch: choices.batch, seed: choices.seed, weights, look }
    }

    /// Returns the inputs `x`, `t` and `m` of a step.
    pub fn of(&self, step: u64) -> Result<[Tensor; 3]> {
        let (batch, count) = (self.batch, self.faces.part(Part::Train).len());
        let mut rng = Rng::of_step(self.seed, step);
        let (mut x, mut t, mut m) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..batch {
            let face = rng.below(count);
            self.faces.write(face, (self.look)(&mut rng), &mut x);
            for (attribute, [positive, negative]) in self.weights.iter().enumerate() {
                let has = self.faces.has(face, attribute);
                t.push(f32::from(u8::from(has)));
                m.push(if has { *positive } else { *negative });
            }
        }
        let of_labels = [batch, self.weights.len(), 1, 1];
        Ok([Tensor::new([batch, 3, SIZE[0], SIZE[1]], x)?, Tensor::new(of_labels, t)?, Tensor::new(of_labels, m)?])
    }
}

/// Trains the network; `step` is called after each step with its loss, and ends the training by false.
///
/// # Errors
/// A gradient is not finite; `step` returned false ([`Error::Interrupted`]); the device fails.
pub fn train(
    device: &Device,
    faces: &Arc<Faces>,
    choices: &Choices,
    step: &mut dyn FnMut(f32) -> bool,
) -> Result<Weights> {
    let attributes = faces.attributes.len();
    let network = network(device, attributes, choices.base, Params::fresh(choices.seed));
    let mut training = network.train(Optimizer::adamw(WEIGHT_DECAY))?;
    let batches = Batches::new(faces, choices);
    let mut loader = Loader::new(1, 1, choices.steps, move |step| batches.of(step))?;
    let schedule = schedule(choices.lr, choices.steps);
    learn(&mut training, &mut loader, &schedule, 1..=choices.steps, ["x", "t", "m"], step)?;
    training.weights()
}

/// What the network makes of all faces.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Features of the training faces in several forms, each `[faces × 160]`; over all of them each feature has mean 0 and deviation 1.
    /// The first form is the face as it is.
    pub looks: Vec<Vec<f32>>,
    /// Features of all faces as they are, on the same scale.
    pub plain: Vec<f32>,
    /// `[faces × attributes]`: logits of all faces as they are.
    pub logits: Vec<f32>,
}

/// Forms in which training faces are seen: as they are, mirrored, and as many at random.
const LOOKS: usize = 4;
/// Faces that the network sees at a time.
const AT_ONCE: usize = 250;

/// Runs the network of `weights` on all faces.
///
/// # Errors
/// The weights do not fit; the device fails.
pub fn features(device: &Device, faces: &Faces, base: Base, weights: Weights, seed: u64) -> Result<Features> {
    let network = network(device, faces.attributes.len(), base, weights);
    let run = |numbers: std::ops::Range<usize>, look: &mut dyn FnMut() -> Look| -> Result<[Vec<f32>; 2]> {
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for first in numbers.clone().step_by(AT_ONCE) {
            let part = first..(first + AT_ONCE).min(numbers.end);
            let mut x = Vec::new();
            part.clone().for_each(|face| faces.write(face, look(), &mut x));
            let x = Tensor::new([part.len(), 3, SIZE[0], SIZE[1]], x)?;
            let mut out = network.run(&[("x", &x)])?;
            features.extend_from_slice(out.take("features")?.data());
            logits.extend_from_slice(out.take("logits")?.data());
        }
        Ok([features, logits])
    };
    let (train, all) = (faces.part(Part::Train), 0..faces.part(Part::Test).end);
    let [mut plain, logits] = run(all, &mut Look::default)?;
    let mut looks = vec![plain[..train.len() * FEATURES].to_vec()];
    let mut rng = Rng::new(seed);
    for number in 1..LOOKS {
        let mut look = || match number {
            1 => Look { is_mirrored: true, ..Look::default() },
            _ => Look::random(&mut rng),
        };
        looks.push(run(train.clone(), &mut look)?[0].clone());
    }
    let count = (LOOKS * train.len()) as f64;
    for feature in 0..FEATURES {
        let values = || looks.iter().flat_map(|look| look[feature..].iter().step_by(FEATURES)).map(|v| f64::from(*v));
        let mean = values().sum::<f64>() / count;
        let deviation = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
        // A feature that never fires stays 0.
        let scale = if deviation > 1e-6 { 1.0 / deviation } else { 0.0 };
        for list in looks.iter_mut().chain([&mut plain]) {
            list[feature..].iter_mut().step_by(FEATURES).for_each(|v| *v = ((f64::from(*v) - mean) * scale) as f32);
        }
    }
    Ok(Features { looks, plain, logits })
}
