//! adam: one step of Adam or AdamW on a parameter, in place.
//!
//! m ← β₁·m + (1 − β₁)·dw;  v ← β₂·v + (1 − β₂)·dw²;
//! w ← w − r·lr·(q·decay·w + m·c₁ / (√(v·c₂) + ε)),  c₁ = 1 / (1 − β₁ᵗ), c₂ = 1 / (1 − β₂ᵗ), t = 1, 2, … the step's number
//! where dw is first multiplied by s; s = 0 leaves everything unchanged.
//!
//! | name | shape       | meaning                                                                   |
//! |------|-------------|---------------------------------------------------------------------------|
//! | w    | `[N,C,H,W]` | parameter, or a pack of parameters, overwritten                           |
//! | dw   | `[N,C,H,W]` | the loss's gradient for w                                                 |
//! | m    | `[N,C,H,W]` | mean of the gradient, overwritten; zero before the first step             |
//! | v    | `[N,C,H,W]` | mean of its square, not negative, overwritten; zero before the first step |
//! | h    | `[1,8,1,1]` | lr, β₁, β₂, ε, decay, c₁, c₂, unused: [`Adam::hyper`]                     |
//! | k    | `[1,2,1,B]` | r and q per 64 elements: factors of the learning rate and of the decay    |
//! | s    | `[1,2,1,1]` | the factor of dw, and a value that is not read: [`super::clip`]           |
//!
//! `decay` is decoupled from the gradient, as in AdamW; 0 gives Adam. It is multiplied by lr, as in PyTorch.
//! Gradients: none; a step of training is not differentiated.
//! Errors: the shape of dw, m or v differs from w's; h, k or s does not have the shape above, where B = ⌈elements / 64⌉.
//! Numerics: a few roundings per element; ε is added outside the square root, as in the paper.
//! Source: Kingma and Ba 2015, "Adam", algorithm 1; Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization".

use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl};
use crate::error::ShapeError;
use crate::layout::PACK_ALIGN;
use crate::tensor::{SCALAR, Shape};

/// The operation; its input `h` holds what a schedule may change between steps.
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
    /// Added to the square root; above 0.
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
    /// Returns the input `h` `[1,8,1,1]` for step number `step`, which counts from 1. The corrections are computed in f64.
    pub fn hyper(hyper: &AdamHyper, step: u64) -> [f32; 8] {
        let AdamHyper { lr, beta1, beta2, eps, weight_decay } = *hyper;
        let correction = |beta: f64| (1.0 / (1.0 - beta.powf(step as f64))) as f32;
        [lr, beta1 as f32, beta2 as f32, eps, weight_decay, correction(beta1), correction(beta2), 0.0]
    }
}

/// Checks the inputs h, k and s of an optimiser on `len` elements.
pub(super) fn check_factors(x: &[Shape], len: usize) -> Result<(), ShapeError> {
    let blocks = len.div_ceil(PACK_ALIGN);
    for ((name, wanted), &got) in
        [("h", [1, 8, 1, 1]), ("k", [1, 2, 1, blocks]), ("s", [1, 2, 1, 1])].into_iter().zip(x)
    {
        if got != wanted {
            return Err(ShapeError::shape(name, format!("{wanted:?}"), got));
        }
    }
    Ok(())
}

/// Returns the learning rate and decay of element `i`, with the factors of its block applied.
pub(super) fn factors(lr: f64, decay: f64, k: &[f64], i: usize) -> [f64; 2] {
    let block = i / PACK_ALIGN;
    [lr * k[block], decay * k[k.len() / 2 + block]]
}

impl Op for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["w", "dw", "m", "v", "h", "k", "s"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("adam/plain" + "one"), |call, caps| rows(call, caps, 1))];
        fours::with_sibling(KERNELS, |call, caps| rows(call, caps, 4))
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        for (&name, &shape) in self.inputs().iter().zip(&x[..4]) {
            if shape != x[0] {
                return Err(ShapeError::shape(name, format!("w's shape {:?}", x[0]), shape));
            }
        }
        check_factors(&x[4..], crate::tensor::len(&x[0]))?;
        Ok(SCALAR)
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        // Four tensors read and three written.
        Cost::new(18 * io.x_len(0), 7 * io.x_len(0) + 10 + io.x_len(5))
    }
    fn reference(&self, _io: &Io, _x: &[Vec<f64>], _y: &mut [f64]) {}
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const REASON: &str = "a step of training is not differentiated";
        &[("w", REASON), ("dw", REASON), ("m", REASON), ("v", REASON), ("h", REASON), ("k", REASON), ("s", REASON)]
    }
    fn outputs(&self) -> &'static [&'static str] {
        &[]
    }
    fn updates(&self) -> &'static [&'static str] {
        &["w", "m", "v"]
    }
    fn reference_update(&self, _io: &Io, x: &mut [Vec<f64>]) {
        let [w, dw, m, v, h, k, s] = x else { unreachable!("adam has seven inputs") };
        let (beta1, beta2, eps) = (h[1], h[2], h[3]);
        if s[0] == 0.0 {
            return;
        }
        for i in 0..w.len() {
            let [lr, decay] = factors(h[0], h[4], k, i);
            let d = dw[i] * s[0];
            m[i] = beta1 * m[i] + (1.0 - beta1) * d;
            v[i] = beta2 * v[i] + (1.0 - beta2) * d.powi(2);
            let direction = m[i] * h[5] / ((v[i] * h[6]).sqrt() + eps);
            w[i] -= lr * (decay * w[i] + direction);
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        let [w, dw, m, v, h, k, s] = at.x else { unreachable!("adam has seven inputs") };
        let bound = |i: usize| {
            let [lr, decay] = factors(h[0], h[4], k, i);
            let d = dw[i] * s[0];
            // Σ|terms| of the new m; each has the roundings of s·dw, of 1 - β₁, of a product and of the sum.
            let mean = (h[1] * m[i]).abs() + ((1.0 - h[1]) * d).abs();
            // No term of the new v is negative: s·dw twice, 1 - β₂, two products, the sum.
            let square = h[2] * v[i] + (1.0 - h[2]) * d.powi(2);
            match output {
                "m" => 4.0 * EPS * mean,
                "v" => 6.0 * EPS * square,
                // The direction: 4 from m and 1 for c₁; half of 7 from v·c₂, 3 for the root (WGSL: 2 ULP of the inverse
                // root, and a division), 1 for ε; 3 for the division (WGSL: 2.5 ULP). Then 3 for the decay, its factor
                // and their sum, 2 for the product with lr and its factor, and the difference.
                _ => {
                    let direction = mean * h[5] / ((square * h[6]).sqrt() + h[3]);
                    let step = lr * ((decay * w[i]).abs() + direction);
                    EPS * (22.0 * step + w[i].abs())
                }
            }
        };
        Tolerance::Each((0..w.len()).map(bound).collect())
    }
}

/// `shaders/adam/plain.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let (len, blocks) = (fours::units(call.io.x_len(0), width)?, call.io.x_len(5) / 2);
    let work = call.work(caps, |_| Some(Launch::threads(len, [("len", len.into()), ("blocks", blocks.into())])))?;
    Some(work.faster(fours::gain(width)))
}

pub fn cases() -> Vec<Case> {
    fn hyper(weight_decay: f32, step: u64) -> Vec<f64> {
        let hyper = AdamHyper { lr: 0.01, eps: 1e-6, weight_decay, ..AdamHyper::default() };
        Adam::hyper(&hyper, step).map(f64::from).into()
    }
    let case = |shape: [usize; 4], h: Fill| {
        let blocks = crate::tensor::len(&shape.into()).div_ceil(PACK_ALIGN);
        Case::new(Adam, &[shape, shape, shape, shape, [1, 8, 1, 1], [1, 2, 1, blocks], [1, 2, 1, 1]])
            .fill(3, Fill::Uniform { low: 0.0, high: 1.0, gap: 0.0 })
            .fill(4, h)
            .fill(5, Fill::Uniform { low: 0.1, high: 1.0, gap: 0.0 })
            .fill(6, Fill::Uniform { low: 0.1, high: 1.0, gap: 0.0 })
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
        // A gradient that is not finite: nothing changes.
        case([1, 3, 1, 64], later).fill(6, Fill::With(|_, _, _| vec![0.0; 2])),
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
        let mut x = [vec![1.0, 1.0], vec![0.3, -20.0], vec![0.0; 2], vec![0.0; 2], h, vec![1.0; 2], vec![1.0; 2]];
        let s = [1, 2, 1, 1];
        let shapes = [s, s, s, s, [1, 8, 1, 1], s, s].map(Shape::from);
        Adam.reference_update(&Io { x: &shapes, y: SCALAR }, &mut x);
        assert!((x[0][0] - 0.9).abs() < 1e-6 && (x[0][1] - 1.1).abs() < 1e-6, "{:?}", x[0]);
    }
}
