//! ema: an exponential moving average of a parameter, in place.
//!
//! e ← d·e + (1 − d)·w
//!
//! | name | shape       | meaning                                                     |
//! |------|-------------|-------------------------------------------------------------|
//! | e    | `[N,C,H,W]` | average, overwritten                                        |
//! | w    | `[N,C,H,W]` | parameter, or a pack of parameters, after the step's update |
//! | h    | `[1,8,1,1]` | an optimiser's hyperparameters; the last is d in [0, 1)     |
//!
//! With d = 0 in the first step, e starts as w.
//! Gradients: none; a step of training is not differentiated.
//! Errors: w and e differ in shape; h is not `[1,8,1,1]`.
//! Numerics: four roundings per element.
//! Source: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the exponential form as in
//! section 7.2 of the Adam paper.

use super::{Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl};
use crate::error::ShapeError;
use crate::tensor::{SCALAR, Shape};

/// The operation; the decay is its input `h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ema;

impl Op for Ema {
    fn name(&self) -> &'static str {
        "ema"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["e", "w", "h"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("ema/plain" + "one"), |call, caps| rows(call, caps, 1))];
        fours::with_sibling(KERNELS, |call, caps| rows(call, caps, 4))
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if x[1] != x[0] {
            return Err(ShapeError::shape("w", format!("e's shape {:?}", x[0]), x[1]));
        }
        if x[2] != [1, 8, 1, 1] {
            return Err(ShapeError::shape("h", "[1, 8, 1, 1]", x[2]));
        }
        Ok(SCALAR)
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(4 * io.x_len(0), 3 * io.x_len(0) + 8)
    }
    fn reference(&self, _io: &Io, _x: &[Vec<f64>], _y: &mut [f64]) {}
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], _dy: &[f64], _dx: &mut [Vec<f64>]) {}
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const REASON: &str = "a step of training is not differentiated";
        &[("e", REASON), ("w", REASON), ("h", REASON)]
    }
    fn outputs(&self) -> &'static [&'static str] {
        &[]
    }
    fn updates(&self) -> &'static [&'static str] {
        &["e"]
    }
    fn reference_update(&self, _io: &Io, x: &mut [Vec<f64>]) {
        let [e, w, h] = x else { unreachable!("ema has three inputs") };
        for (e, w) in e.iter_mut().zip(w) {
            *e = h[7] * *e + (1.0 - h[7]) * *w;
        }
    }
    fn tolerance(&self, _output: &str, _io: &Io, at: &Values) -> Tolerance {
        let [e, w, h] = at.x else { unreachable!("ema has three inputs") };
        // 1 - d, two products, the sum.
        let bound = |k: usize| 3.0 * EPS * ((h[7] * e[k]).abs() + ((1.0 - h[7]) * w[k]).abs());
        Tolerance::Each((0..e.len()).map(bound).collect())
    }
}

/// `shaders/ema/plain.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let len = fours::units(call.io.x_len(0), width)?;
    call.work(caps, |_| Some(Launch::threads(len, [("len", len.into())]))).map(|work| work.faster(fours::gain(width)))
}

pub fn cases() -> Vec<Case> {
    let case = |shape: [usize; 4], h| Case::new(Ema, &[shape, shape, [1, 8, 1, 1]]).fill(2, h);
    let first = Fill::With(|_, _, _| vec![0.0; 8]);
    let later = Fill::With(|_, _, _| [vec![9.0; 7], vec![0.999]].concat());
    vec![
        case([1, 1, 1, 1], first),
        case([2, 3, 5, 7], later),
        case([1, 1, 1, 257], first),
        case([5, 1, 13, 4], later),
        // The parameters of FSRCNN.
        case([1, 1, 1, 12_992], later).real(),
    ]
}
