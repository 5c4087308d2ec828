//! Optimisers as update nodes, and the learning rate over time.

use crate::error::Result;
use crate::graph::{Graph, Init, NodeId};
use crate::ops::adam::{Adam, AdamHyper};
use crate::ops::sgd::Sgd;
use crate::tensor::Tensor;

/// Name of the input that holds the hyperparameters of a step.
pub const HYPER: &str = "hyper";

/// How parameters follow their gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// m ← μ·m + (g + λ·w); w ← w − lr·m.
    Sgd { momentum: f32, weight_decay: f32 },
    /// Kingma and Ba 2015, with AdamW's decoupled decay (Loshchilov and Hutter 2019).
    Adam { beta1: f64, beta2: f64, eps: f32, weight_decay: f32 },
}

impl Optimizer {
    /// Momentum without decay.
    pub fn sgd(momentum: f32) -> Self {
        Self::Sgd { momentum, weight_decay: 0.0 }
    }
    /// β₁ = 0.9, β₂ = 0.999, ε = 1e-8, no decay.
    pub fn adam() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }

    /// Adds the input [`HYPER`], moments `<parameter>.m` (and `.v`), and an update for each (parameter, gradient).
    /// Compile the returned nodes with the loss; give [`Optimizer::hyper`] at every run.
    ///
    /// # Errors
    /// A name is taken; a gradient has another shape than its parameter.
    pub fn updates(&self, g: &mut Graph, pairs: &[(NodeId, NodeId)]) -> Result<Vec<NodeId>> {
        let hyper = g.input(HYPER, [1, 8, 1, 1])?;
        let mut nodes = Vec::with_capacity(pairs.len());
        for &(w, dw) in pairs {
            let (name, shape) = (g.node(w)?.name.clone(), g.shape(w)?);
            let m = g.state(&format!("{name}.m"), shape, Init::Constant(0.0))?;
            nodes.push(match self {
                Self::Sgd { .. } => g.update(Sgd, &[w, dw, m, hyper])?,
                Self::Adam { .. } => {
                    let v = g.state(&format!("{name}.v"), shape, Init::Constant(0.0))?;
                    g.update(Adam, &[w, dw, m, v, hyper])?
                }
            });
        }
        Ok(nodes)
    }

    /// The hyperparameters of step `step` (from 1) with learning rate `lr`, in the order that the shaders read.
    pub fn hyper(&self, lr: f64, step: u64) -> Tensor {
        let values = match *self {
            Self::Sgd { momentum, weight_decay } => Sgd::hyper(lr as f32, momentum, weight_decay),
            Self::Adam { beta1, beta2, eps, weight_decay } => {
                Adam::hyper(&AdamHyper { lr: lr as f32, beta1, beta2, eps, weight_decay }, step)
            }
        };
        Tensor::new([1, 8, 1, 1], values.to_vec()).expect("an operation has eight hyperparameters")
    }
}

/// The learning rate: a base value, multiplied by `factor` at each of `steps`.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub lr: f64,
    pub factor: f64,
    pub steps: Vec<u64>,
}

impl Schedule {
    /// The rate of step `step` (from 1).
    pub fn at(&self, step: u64) -> f64 {
        let passed = self.steps.iter().filter(|&&s| step > s).count();
        self.lr * self.factor.powi(passed as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_falls_after_each_step() {
        let schedule = Schedule { lr: 1e-3, factor: 0.5, steps: vec![10, 20] };
        assert_eq!([10, 11, 20, 21].map(|s| schedule.at(s)), [1e-3, 5e-4, 5e-4, 2.5e-4]);
    }
}
