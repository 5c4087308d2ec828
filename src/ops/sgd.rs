//! sgd: one step of gradient descent with momentum on a parameter, in place.
//!
//! m ← momentum·m + (s·dw + q·decay·w);  w ← w − r·lr·m;  s = 0 leaves everything unchanged.
//!
//! | name | shape       | meaning                                                                |
//! |------|-------------|------------------------------------------------------------------------|
//! | w    | `[N,C,H,W]` | parameter, or a pack of parameters, overwritten                        |
//! | dw   | `[N,C,H,W]` | the loss's gradient for w                                              |
//! | m    | `[N,C,H,W]` | velocity, overwritten; zero before the first step                      |
//! | h    | `[1,8,1,1]` | lr, momentum, decay, 5 unused: [`Sgd::hyper`]                          |
//! | k    | `[1,2,1,B]` | r and q per 64 elements: factors of the learning rate and of the decay |
//! | s    | `[1,2,1,1]` | the factor of dw, and a value that is not read: [`super::clip`]        |
//!
//! Gradients: none; a step of training is not differentiated.
//! Errors: the shape of dw or m differs from w's; h, k or s does not have the shape above, where B = ⌈elements / 64⌉.
//! Numerics: a few roundings per element.
//! Source: torch.optim.SGD without dampening and Nesterov: lr is outside the velocity, the decay inside.

use super::adam::{check_factors, factors};
use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl};
use crate::error::ShapeError;
use crate::layout::PACK_ALIGN;
use crate::tensor::{SCALAR, Shape};

/// The operation; its input `h` holds what a schedule may change between steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sgd;

impl Sgd {
    /// Returns the input `h` `[1,8,1,1]`: learning rate, momentum in [0, 1), and weight decay (½·decay·‖w‖² added to the loss).
    pub fn hyper(lr: f32, momentum: f32, weight_decay: f32) -> [f32; 8] {
        [lr, momentum, weight_decay, 0.0, 0.0, 0.0, 0.0, 0.0]
    }
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["w", "dw", "m", "h", "k", "s"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("sgd/plain" + "one"), |call, caps| rows(call, caps, 1))];
        fours::with_sibling(KERNELS, |call, caps| rows(call, caps, 4))
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        for (&name, &shape) in self.inputs().iter().zip(&x[..3]) {
            if shape != x[0] {
                return Err(ShapeError::shape(name, format!("w's shape {:?}", x[0]), shape));
            }
        }
        check_factors(&x[3..], crate::tensor::len(&x[0]))?;
        Ok(SCALAR)
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        // Three tensors read and two written.
        Cost::new(9 * io.x_len(0), 5 * io.x_len(0) + 10 + io.x_len(4))
    }
    fn reference(&self, _io: &Io, _x: &[Vec<f64>], _y: &mut [f64]) {}
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const REASON: &str = "a step of training is not differentiated";
        &[("w", REASON), ("dw", REASON), ("m", REASON), ("h", REASON), ("k", REASON), ("s", REASON)]
    }
    fn outputs(&self) -> &'static [&'static str] {
        &[]
    }
    fn updates(&self) -> &'static [&'static str] {
        &["w", "m"]
    }
    fn reference_update(&self, _io: &Io, x: &mut [Vec<f64>]) {
        let [w, dw, m, h, k, s] = x else { unreachable!("sgd has six inputs") };
        if s[0] == 0.0 {
            return;
        }
        for i in 0..w.len() {
            let [lr, decay] = factors(h[0], h[2], k, i);
            m[i] = h[1] * m[i] + (dw[i] * s[0] + decay * w[i]);
            w[i] -= lr * m[i];
        }
    }
    fn tolerance(&self, output: &str, _io: &Io, at: &Values) -> Tolerance {
        let [w, dw, m, h, k, s] = at.x else { unreachable!("sgd has six inputs") };
        let bound = |i: usize| {
            let [lr, decay] = factors(h[0], h[2], k, i);
            // Each term of the velocity takes at most two products and two sums; the step adds two products and the difference.
            let velocity = (h[1] * m[i]).abs() + (dw[i] * s[0]).abs() + (decay * w[i]).abs();
            match output {
                "m" => 4.0 * EPS * velocity,
                _ => EPS * (7.0 * lr * velocity + w[i].abs()),
            }
        };
        Tolerance::Each((0..w.len()).map(bound).collect())
    }
}

/// `shaders/sgd/plain.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let (len, blocks) = (fours::units(call.io.x_len(0), width)?, call.io.x_len(4) / 2);
    let work = call.work(caps, |_| Some(Launch::threads(len, [("len", len.into()), ("blocks", blocks.into())])))?;
    Some(work.faster(fours::gain(width)))
}

pub fn cases() -> Vec<Case> {
    fn h(lr: f32, momentum: f32, decay: f32) -> Vec<f64> {
        Sgd::hyper(lr, momentum, decay).map(f64::from).into()
    }
    let case = |shape: [usize; 4], fill| {
        let blocks = crate::tensor::len(&shape.into()).div_ceil(PACK_ALIGN);
        Case::new(Sgd, &[shape, shape, shape, [1, 8, 1, 1], [1, 2, 1, blocks], [1, 2, 1, 1]])
            .fill(3, fill)
            .fill(4, Fill::Uniform { low: 0.1, high: 1.0, gap: 0.0 })
            .fill(5, Fill::Uniform { low: 0.1, high: 1.0, gap: 0.0 })
    };
    let plain = Fill::With(|_, _, _| h(0.1, 0.0, 0.0));
    let momentum = Fill::With(|_, _, _| h(0.01, 0.9, 0.0));
    let decay = Fill::With(|_, _, _| h(0.01, 0.9, 0.1));
    vec![
        case([1, 1, 1, 1], plain),
        case([2, 3, 5, 7], momentum),
        case([1, 1, 1, 257], decay),
        case([5, 1, 13, 4], momentum),
        // A gradient that is not finite: nothing changes.
        case([1, 3, 1, 64], decay).fill(5, Fill::With(|_, _, _| vec![0.0; 2])),
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
        let shapes = [s, s, s, [1, 8, 1, 1], [1, 2, 1, 1], [1, 2, 1, 1]].map(Shape::from);
        let io = Io { x: &shapes, y: SCALAR };
        let hyper = vec![0.1, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let mut x = [vec![1.0], vec![0.5], vec![0.0], hyper, vec![1.0; 2], vec![1.0; 2]];
        Sgd.reference_update(&io, &mut x);
        assert!((x[0][0] - 0.95).abs() < 1e-12);
        // The velocity is now 0.9 · 0.5 + 0.5 = 0.95.
        Sgd.reference_update(&io, &mut x);
        assert!((x[0][0] - 0.855).abs() < 1e-12);
    }
}
