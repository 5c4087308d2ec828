//! adam: one step of Adam or AdamW on a parameter, in place.
//!
//! m ← β₁·m + (1 − β₁)·dw;  v ← β₂·v + (1 − β₂)·dw²;
//! w ← w − lr·(decay·w + m·c₁ / (√(v·c₂) + ε)),  c₁ = 1 / (1 − β₁ᵗ), c₂ = 1 / (1 − β₂ᵗ), t = 1, 2, … the step's number
//!
//! | name | shape       | meaning                                                                   |
//! |------|-------------|---------------------------------------------------------------------------|
//! | w    | `[N,C,H,W]` | parameter, overwritten                                                    |
//! | dw   | `[N,C,H,W]` | the loss's gradient for w                                                 |
//! | m    | `[N,C,H,W]` | mean of the gradient, overwritten; zero before the first step             |
//! | v    | `[N,C,H,W]` | mean of its square, not negative, overwritten; zero before the first step |
//! | h    | `[1,8,1,1]` | lr, β₁, β₂, ε, decay, c₁, c₂, unused: [`Adam::hyper`]                     |
//!
//! `decay` is decoupled from the gradient, as in AdamW; 0 gives Adam. It is multiplied by lr, as in PyTorch.
//! Gradients: none; a step of training is not differentiated.
//! Errors: dw, m or v has another shape than w; h is not `[1,8,1,1]`.
//! Numerics: a few roundings an element; ε is added outside the square root, as in the paper.
//! Source: Kingma and Ba 2015, "Adam", algorithm 1; Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization".

use super::{Case, Cost, EPS, Fill, Io, Launch, Op, Source, Tolerance, Values, shaders};
use crate::error::{Result, ShapeError};
use crate::graph::{Graph, NodeId};
use crate::tensor::{SCALAR, Shape};

/// The operation; what a schedule may change between steps is its input `h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adam;

/// Hyperparameters of [`Adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamHyper {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the gradient's mean, in [0, 1).
    pub beta1: f64,
    /// Decay of the mean of its square, in [0, 1).
    pub beta2: f64,
    /// Added to the root, above 0.
    pub eps: f32,
    /// Decoupled decay of the parameter; 0 for Adam.
    pub weight_decay: f32,
}

impl Default for AdamHyper {
    /// The values of the paper, without decay.
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl Adam {
    /// The input `h` `[1,8,1,1]` for step number `step`, which counts from 1. The corrections are computed in f64.
    pub fn hyper(hyper: &AdamHyper, step: u64) -> [f32; 8] {
        let AdamHyper { lr, beta1, beta2, eps, weight_decay } = *hyper;
        let correction = |beta: f64| (1.0 / (1.0 - beta.powf(step as f64))) as f32;
        [lr, beta1 as f32, beta2 as f32, eps, weight_decay, correction(beta1), correction(beta2), 0.0]
    }
}

impl Graph {
    /// Adds a step of Adam on the parameter `w` with the states `m` and `v`, the gradient `dw` and the input `h`
    /// `[1,8,1,1]` of [`Adam::hyper`]. The node has no value.
    ///
    /// # Errors
    /// The shapes differ; `w`, `m` or `v` is neither a parameter nor a state.
    pub fn adam(&mut self, w: NodeId, dw: NodeId, m: NodeId, v: NodeId, h: NodeId) -> Result<NodeId> {
        self.update(Adam, &[w, dw, m, v, h])
    }
}

impl Op for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["w", "dw", "m", "v", "h"]
    }
    fn shaders(&self) -> &'static [Source] {
        shaders!["adam"]
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        for (&name, &shape) in self.inputs().iter().zip(&x[..4]) {
            if shape != x[0] {
                return Err(ShapeError::shape(name, format!("w's shape {:?}", x[0]), shape));
            }
        }
        if x[4] != [1, 8, 1, 1] {
            return Err(ShapeError::shape("h", "[1, 8, 1, 1]", x[4]));
        }
        Ok(SCALAR)
    }
    fn launch(&self, _stem: &str, _entry: &str, io: &Io) -> Option<Launch> {
        Some(Launch::threads(io.x_len(0), [("len", io.x_len(0).into())]))
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        // Four tensors read and three written.
        Cost::new(15 * io.x_len(0), 7 * io.x_len(0) + 8)
    }
    fn reference(&self, _io: &Io, _x: &[Vec<f64>], _y: &mut [f64]) {}
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const REASON: &str = "a step of training is not differentiated";
        &[("w", REASON), ("dw", REASON), ("m", REASON), ("v", REASON), ("h", REASON)]
    }
    fn updates(&self) -> &'static [&'static str] {
        &["w", "m", "v"]
    }
    fn reference_update(&self, _io: &Io, x: &mut [Vec<f64>]) {
        let [w, dw, m, v, h] = x else { unreachable!("adam has five inputs") };
        let (lr, beta1, beta2, eps, decay) = (h[0], h[1], h[2], h[3], h[4]);
        for k in 0..w.len() {
            m[k] = beta1 * m[k] + (1.0 - beta1) * dw[k];
            v[k] = beta2 * v[k] + (1.0 - beta2) * dw[k].powi(2);
            let direction = m[k] * h[5] / ((v[k] * h[6]).sqrt() + eps);
            w[k] -= lr * (decay * w[k] + direction);
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        let [w, dw, m, v, h] = at.x else { unreachable!("adam has five inputs") };
        let bound = |k: usize| {
            // Σ|terms| of the new m; each takes the roundings of 1 - β₁, of a product and of the sum.
            let mean = (h[1] * m[k]).abs() + ((1.0 - h[1]) * dw[k]).abs();
            // All terms of the new v are positive: 1 - β₂, two products, the sum.
            let square = h[2] * v[k] + (1.0 - h[2]) * dw[k].powi(2);
            match output {
                "m" => 3.0 * EPS * mean,
                "v" => 4.0 * EPS * square,
                // The direction: 3 from m and 1 for c₁; half of 5 from v·c₂, 3 for the root (WGSL: that of the inverse
                // root of 2 ULP, and a division), 1 for ε; 3 for the division (WGSL: 2.5 ULP). Then the decay and its sum,
                // 2, the product with lr, 1, and the difference.
                _ => {
                    let direction = mean * h[5] / ((square * h[6]).sqrt() + h[3]);
                    let step = h[0] * ((h[4] * w[k]).abs() + direction);
                    EPS * (18.0 * step + w[k].abs())
                }
            }
        };
        Tolerance::Each((0..w.len()).map(bound).collect())
    }
}

pub fn cases() -> Vec<Case> {
    fn hyper(weight_decay: f32, step: u64) -> Vec<f64> {
        let hyper = AdamHyper { lr: 0.01, eps: 1e-6, weight_decay, ..AdamHyper::default() };
        Adam::hyper(&hyper, step).map(f64::from).into()
    }
    let case = |shape: Shape, h: Fill| {
        Case::new(Adam, &[shape, shape, shape, shape, [1, 8, 1, 1]])
            .fill(3, Fill::Uniform { low: 0.0, high: 1.0, gap: 0.0 })
            .fill(4, h)
    };
    let first = Fill::With(|_, _, _| hyper(0.0, 1));
    let later = Fill::With(|_, _, _| hyper(0.1, 1000));
    vec![
        case([1, 1, 1, 1], first),
        case([2, 3, 5, 7], later),
        case([1, 1, 1, 257], first),
        case([5, 1, 13, 4], later),
        // A new parameter: both moments are zero.
        case([2, 3, 3, 3], first)
            .fill(2, Fill::With(|_, x, i| vec![0.0; crate::tensor::len(&x[i])]))
            .fill(3, Fill::With(|_, x, i| vec![0.0; crate::tensor::len(&x[i])])),
        // FSRCNN's last layer.
        case([56, 1, 9, 9], later).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_moves_by_the_learning_rate() {
        let hyper = AdamHyper { lr: 0.1, ..AdamHyper::default() };
        let h = Adam::hyper(&hyper, 1).map(f64::from).to_vec();
        let mut x = [vec![1.0, 1.0], vec![0.3, -20.0], vec![0.0; 2], vec![0.0; 2], h];
        let s = [1, 2, 1, 1];
        Adam.reference_update(&Io { x: &[s, s, s, s, [1, 8, 1, 1]], y: SCALAR }, &mut x);
        assert!((x[0][0] - 0.9).abs() < 1e-6 && (x[0][1] - 1.1).abs() < 1e-6, "{:?}", x[0]);
    }
}
