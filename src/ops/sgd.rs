//! sgd: one step of gradient descent with momentum on a parameter, in place.
//!
//! m ← momentum·m + (dw + decay·w);  w ← w − lr·m
//!
//! | name | shape       | meaning                                           |
//! |------|-------------|---------------------------------------------------|
//! | w    | `[N,C,H,W]` | parameter, overwritten                            |
//! | dw   | `[N,C,H,W]` | the loss's gradient for w                         |
//! | m    | `[N,C,H,W]` | velocity, overwritten; zero before the first step |
//! | h    | `[1,8,1,1]` | lr, momentum, decay, 5 unused: [`Sgd::hyper`]     |
//!
//! Gradients: none; a step of training is not differentiated.
//! Errors: dw or m has another shape than w; h is not `[1,8,1,1]`.
//! Numerics: a few roundings an element.
//! Source: torch.optim.SGD without dampening and Nesterov: lr is outside the velocity, the decay inside.

use super::{Case, Cost, EPS, Fill, Io, Launch, Op, Source, Tolerance, Values, shaders};
use crate::error::{Result, ShapeError};
use crate::graph::{Graph, NodeId};
use crate::tensor::{SCALAR, Shape};

/// The operation; what a schedule may change between steps is its input `h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sgd;

impl Sgd {
    /// The input `h` `[1,8,1,1]`: learning rate, momentum in [0, 1), and weight decay (½·decay·‖w‖² added to the loss).
    pub fn hyper(lr: f32, momentum: f32, weight_decay: f32) -> [f32; 8] {
        [lr, momentum, weight_decay, 0.0, 0.0, 0.0, 0.0, 0.0]
    }
}

impl Graph {
    /// Adds a step of gradient descent on the parameter `w` with the state `m`, the gradient `dw` and the input `h`
    /// `[1,8,1,1]` of [`Sgd::hyper`]. The node has no value.
    ///
    /// # Errors
    /// The shapes differ; `w` or `m` is neither a parameter nor a state.
    pub fn sgd(&mut self, w: NodeId, dw: NodeId, m: NodeId, h: NodeId) -> Result<NodeId> {
        self.update(Sgd, &[w, dw, m, h])
    }
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["w", "dw", "m", "h"]
    }
    fn shaders(&self) -> &'static [Source] {
        shaders!["sgd"]
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        for (&name, &shape) in self.inputs().iter().zip(&x[..3]) {
            if shape != x[0] {
                return Err(ShapeError::shape(name, format!("w's shape {:?}", x[0]), shape));
            }
        }
        if x[3] != [1, 8, 1, 1] {
            return Err(ShapeError::shape("h", "[1, 8, 1, 1]", x[3]));
        }
        Ok(SCALAR)
    }
    fn launch(&self, _stem: &str, _entry: &str, io: &Io) -> Option<Launch> {
        Some(Launch::threads(io.x_len(0), [("len", io.x_len(0).into())]))
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        // Three tensors read and two written.
        Cost::new(6 * io.x_len(0), 5 * io.x_len(0) + 8)
    }
    fn reference(&self, _io: &Io, _x: &[Vec<f64>], _y: &mut [f64]) {}
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const REASON: &str = "a step of training is not differentiated";
        &[("w", REASON), ("dw", REASON), ("m", REASON), ("h", REASON)]
    }
    fn updates(&self) -> &'static [&'static str] {
        &["w", "m"]
    }
    fn reference_update(&self, _io: &Io, x: &mut [Vec<f64>]) {
        let [w, dw, m, h] = x else { unreachable!("sgd has four inputs") };
        for k in 0..w.len() {
            m[k] = h[1] * m[k] + (dw[k] + h[2] * w[k]);
            w[k] -= h[0] * m[k];
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        let [w, dw, m, h] = at.x else { unreachable!("sgd has four inputs") };
        let bound = |k: usize| {
            // Each term of the velocity takes a product and two sums at most; the step one more product and the difference.
            let velocity = (h[1] * m[k]).abs() + dw[k].abs() + (h[2] * w[k]).abs();
            match output {
                "m" => 3.0 * EPS * velocity,
                _ => EPS * (5.0 * h[0] * velocity + w[k].abs()),
            }
        };
        Tolerance::Each((0..w.len()).map(bound).collect())
    }
}

pub fn cases() -> Vec<Case> {
    fn h(lr: f32, momentum: f32, decay: f32) -> Vec<f64> {
        Sgd::hyper(lr, momentum, decay).map(f64::from).into()
    }
    let case = |shape: Shape, fill| Case::new(Sgd, &[shape, shape, shape, [1, 8, 1, 1]]).fill(3, fill);
    let plain = Fill::With(|_, _, _| h(0.1, 0.0, 0.0));
    let momentum = Fill::With(|_, _, _| h(0.01, 0.9, 0.0));
    let decay = Fill::With(|_, _, _| h(0.01, 0.9, 0.1));
    vec![
        case([1, 1, 1, 1], plain),
        case([2, 3, 5, 7], momentum),
        case([1, 1, 1, 257], decay),
        case([5, 1, 13, 4], momentum),
        // FSRCNN's last layer.
        case([56, 1, 9, 9], decay).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_as_in_pytorch() {
        let s = [1, 1, 1, 1];
        let io = Io { x: &[s, s, s, [1, 8, 1, 1]], y: SCALAR };
        let mut x = [vec![1.0], vec![0.5], vec![0.0], vec![0.1, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]];
        Sgd.reference_update(&io, &mut x);
        assert!((x[0][0] - 0.95).abs() < 1e-12);
        // The velocity is now 0.9 · 0.5 + 0.5 = 0.95.
        Sgd.reference_update(&io, &mut x);
        assert!((x[0][0] - 0.855).abs() < 1e-12);
    }
}
