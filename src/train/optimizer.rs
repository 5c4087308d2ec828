//! Optimisers, which update all parameters at once, with groups, and the learning rate over time.

use crate::error::{Error, Result};
use crate::graph::{Graph, Init, Kind, Member, NodeId};
use crate::layout::PACK_ALIGN;
use crate::ops::adam::{Adam, AdamHyper};
use crate::ops::clip::Clip;
use crate::ops::ema::Ema;
use crate::ops::sgd::Sgd;
use crate::tensor::{Tensor, len};
use crate::weights::Weights;
use std::collections::BTreeMap;

/// Name of the input for the hyperparameters of a step.
pub const HYPER: &str = "hyper";

/// Name of the state that holds the average of the parameters.
pub(super) const AVERAGE: &str = "optimizer/average";

/// How parameters are updated from their gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// m ← μ·m + (g + λ·w); w ← w − lr·m.
    Sgd { momentum: f32, weight_decay: f32 },
    /// Kingma and Ba 2015, with AdamW's decoupled decay (Loshchilov and Hutter 2019).
    Adam { beta1: f64, beta2: f64, eps: f32, weight_decay: f32 },
}

impl Optimizer {
    /// Returns SGD with momentum and without decay.
    pub fn sgd(momentum: f32) -> Self {
        Self::Sgd { momentum, weight_decay: 0.0 }
    }
    /// Returns Adam with β₁ = 0.9, β₂ = 0.999, ε = 1e-8 and no decay.
    pub fn adam() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
    /// Returns [`Optimizer::adam`] with decoupled decay.
    pub fn adamw(weight_decay: f32) -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay }
    }
}

/// A group of parameters with its own multipliers.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Pattern of names, where `*` stands for any characters: `deconv.*`.
    pub pattern: String,
    /// Multiplies the learning rate. At 0 the parameters stay unchanged, and no gradient is computed for them.
    pub lr: f32,
    /// Multiplies the weight decay.
    pub weight_decay: f32,
}

/// An optimiser with optional groups, clipping and averaging.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub optimizer: Optimizer,
    /// The first group whose pattern matches a parameter applies to it; all other parameters have multipliers of 1.
    pub groups: Vec<Group>,
    /// Largest norm of all gradients together; larger gradients are scaled down to it. Infinity: never.
    pub clip: f32,
    /// Decay in (0, 1) of a moving average of the parameters, which is kept beside them; 0: none. In step t the decay is at
    /// most 1 − 1/t, so that the average starts as a mean.
    pub ema: f64,
}

/// The nodes of a training step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Nodes to compile: the loss; the gradients' factor and norm `[1,2,1,1]` of [`crate::ops::clip`]; the updates. A factor of
    /// 0 means that a gradient is not finite and that the step changed nothing.
    pub fetches: Vec<NodeId>,
    /// The parameters that the step changes, and their places in the arenas.
    pub members: Vec<Member>,
}

impl From<Optimizer> for Rule {
    fn from(optimizer: Optimizer) -> Self {
        Self { optimizer, groups: Vec::new(), clip: f32::INFINITY, ema: 0.0 }
    }
}

impl Rule {
    /// Adds everything that a step needs to lower `loss`: the gradients of all trainable parameters that no group freezes,
    /// their norm, and one update that changes all of them. Compile [`Step::fetches`], and pass [`Rule::hyper`] to every run.
    ///
    /// Parameters, gradients and moments lie in four buffers at the same offsets.
    ///
    /// # Errors
    /// A group matches no parameter; the loss does not depend on a parameter; a hyperparameter is out of range; [`HYPER`] or a
    /// name that begins with `optimizer/` is taken.
    pub fn minimize(&self, g: &mut Graph, loss: NodeId) -> Result<Step> {
        let mut parameters = g.parameters();
        for group in &self.groups {
            let names: Vec<&str> = parameters.iter().map(|&id| g.node(id).map_or("", |n| n.name.as_str())).collect();
            if !names.iter().any(|name| fits(&group.pattern, name)) {
                return Err(Error::Usage(format!(
                    "the group {:?} matches no parameter; there are {}",
                    group.pattern,
                    names.join(", ")
                )));
            }
        }
        parameters.retain(|&id| self.multipliers(&g.nodes()[id.index].name)[0] != 0.0);
        if parameters.is_empty() {
            return Err(Error::Usage(
                "every parameter is frozen; give at least one group a learning rate above 0".into(),
            ));
        }
        let gradients = crate::graph::grad::backward(g, loss, &parameters)?;
        let pairs: Vec<_> = parameters.into_iter().zip(gradients).collect();
        let (norm, updates, members) = self.update(g, &pairs)?;
        let mut fetches = vec![loss, norm];
        fetches.extend(updates);
        Ok(Step { fetches, members })
    }

    /// Returns the multipliers of the learning rate and the weight decay of a parameter.
    fn multipliers(&self, name: &str) -> [f32; 2] {
        let group = self.groups.iter().find(|group| fits(&group.pattern, name));
        group.map_or([1.0, 1.0], |group| [group.lr, group.weight_decay])
    }

    fn update(&self, g: &mut Graph, pairs: &[(NodeId, NodeId)]) -> Result<(NodeId, Vec<NodeId>, Vec<Member>)> {
        if !(0.0..1.0).contains(&self.ema) {
            return Err(Error::Usage(format!(
                "the decay of the average must be at least 0 and below 1, got {}",
                self.ema
            )));
        }
        for (&(w, dw), _) in pairs.iter().zip(0..) {
            if g.shape(w)? != g.shape(dw)? {
                let name = &g.node(w)?.name;
                return Err(Error::graph(
                    name,
                    format!("is {:?}, but its gradient is {:?}", g.shape(w)?, g.shape(dw)?),
                ));
            }
        }
        let hyper = g.input(HYPER, [1, 8, 1, 1])?;
        g.within("optimizer", |g| {
            let w = g.pack("parameters", &pairs.iter().map(|p| p.0).collect::<Vec<_>>())?;
            let dw = g.pack("gradients", &pairs.iter().map(|p| p.1).collect::<Vec<_>>())?;
            let (shape, members) = (g.shape(w)?, g.members(w)?);
            let multipliers: Vec<[f32; 2]> = members
                .iter()
                .flat_map(|m| vec![self.multipliers(&m.name); len(&m.shape).div_ceil(PACK_ALIGN)])
                .collect();
            let factors = (0..2).flat_map(|k| multipliers.iter().map(move |m| m[k])).collect();
            let factors = g.constant("factors", Tensor::new([1, 2, 1, multipliers.len()], factors)?)?;
            let norm = g.add_named("clip", Clip { limit: self.clip }, &[dw])?;
            let m = g.state("m", shape, Init::Constant(0.0))?;
            let mut updates = vec![match self.optimizer {
                Optimizer::Sgd { .. } => g.update(Sgd, &[w, dw, m, hyper, factors, norm])?,
                Optimizer::Adam { .. } => {
                    let v = g.state("v", shape, Init::Constant(0.0))?;
                    g.update(Adam, &[w, dw, m, v, hyper, factors, norm])?
                }
            }];
            if self.ema > 0.0 {
                let average = g.state("average", shape, Init::Constant(0.0))?;
                updates.push(g.update(Ema, &[average, w, hyper])?);
            }
            Ok((norm, updates, members))
        })
    }

    /// Returns the hyperparameters of step `step` (from 1) with learning rate `lr`, in the order in which the shaders read them.
    pub fn hyper(&self, lr: f64, step: u64) -> Tensor {
        let mut values = match self.optimizer {
            Optimizer::Sgd { momentum, weight_decay } => Sgd::hyper(lr as f32, momentum, weight_decay),
            Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
                Adam::hyper(&AdamHyper { lr: lr as f32, beta1, beta2, eps, weight_decay }, step)
            }
        };
        values[7] = self.ema.min(1.0 - 1.0 / step.max(1) as f64) as f32;
        Tensor::new([1, 8, 1, 1], values.to_vec()).expect("an operation has eight hyperparameters")
    }
}

impl Step {
    /// Returns the trainable parameters of `g` in `state` ([`crate::exec::Session::state`]): their moving averages if the rule
    /// keeps them, else their current values.
    ///
    /// # Errors
    /// `state` is not that of this step's session.
    pub fn weights(&self, g: &Graph, state: &Weights) -> Result<Weights> {
        let mut tensors = BTreeMap::new();
        for node in g.nodes().iter().filter(|n| matches!(n.kind, Kind::Param { trainable: true, .. })) {
            // A parameter that the loss does not use has no memory in the session.
            if let Some(tensor) = state.get(&node.name) {
                tensors.insert(node.name.clone(), tensor.clone());
            }
        }
        if let Some(average) = state.get(AVERAGE) {
            for member in &self.members {
                let values = average.data().get(member.first..member.first + len(&member.shape)).unwrap_or_default();
                tensors.insert(member.name.clone(), Tensor::new(member.shape, values.to_vec())?);
            }
        }
        Ok(Weights::from_tensors(tensors))
    }
}

/// Returns whether `name` matches `pattern`, where `*` stands for any characters.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = pattern.rsplit_once('*').map(|(_, last)| last) else { return rest.is_empty() };
    let middle: Vec<&str> = parts.collect();
    for part in &middle[..middle.len() - 1] {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The learning rate over the steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub lr: f64,
    /// Number of steps over which the rate rises linearly to its value; 0: none.
    pub warmup: u64,
    pub decay: Decay,
}

/// How a learning rate falls.
#[derive(Debug, Clone, PartialEq)]
pub enum Decay {
    Constant,
    /// Multiplied by `factor` after each of `steps`.
    Steps {
        factor: f64,
        steps: Vec<u64>,
    },
    /// Falls by half a cosine from `lr` to `end`, reached in step `steps` (Loshchilov and Hutter 2017, eq. 5, one cycle).
    Cosine {
        end: f64,
        steps: u64,
    },
}

impl Schedule {
    /// Returns a schedule with the same rate at every step.
    pub fn constant(lr: f64) -> Self {
        Self { lr, warmup: 0, decay: Decay::Constant }
    }

    /// Returns the rate of step `step` (from 1).
    pub fn at(&self, step: u64) -> f64 {
        let rate = match &self.decay {
            Decay::Constant => self.lr,
            Decay::Steps { factor, steps } => {
                let passed = steps.iter().filter(|&&s| step > s).count();
                self.lr * factor.powi(passed as i32)
            }
            Decay::Cosine { end, steps } => {
                let done = step.saturating_sub(self.warmup) as f64 / steps.saturating_sub(self.warmup).max(1) as f64;
                end + (self.lr - end) * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
        };
        if step < self.warmup { rate * step as f64 / self.warmup as f64 } else { rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_falls_after_each_step() {
        let decay = Decay::Steps { factor: 0.5, steps: vec![10, 20] };
        let schedule = Schedule { lr: 1e-3, warmup: 0, decay };
        assert_eq!([10, 11, 20, 21].map(|s| schedule.at(s)), [1e-3, 5e-4, 5e-4, 2.5e-4]);
    }

    #[test]
    fn cosine_rises_and_falls() {
        let schedule = Schedule { lr: 1.0, warmup: 10, decay: Decay::Cosine { end: 0.2, steps: 110 } };
        let expected = [(1, 0.1), (5, 0.5), (10, 1.0), (60, 0.6), (110, 0.2), (200, 0.2)];
        for (step, rate) in expected {
            assert!((schedule.at(step) - rate).abs() < 1e-12, "step {step}: {}", schedule.at(step));
        }
    }

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name, expected) in [
            ("deconv.w", "deconv.w", true),
            ("deconv.w", "deconv.wide", false),
            ("deconv.*", "deconv.b", true),
            ("*.b", "map1.b", true),
            ("*.b", "map1.bias", false),
            ("map*.*", "map12.w", true),
            ("*", "anything", true),
            ("a*a", "a", false),
            ("*map*w", "x/map1.w", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
