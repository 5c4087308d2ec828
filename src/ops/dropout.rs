//! dropout: sets each element to zero with probability p and scales the others by 1/(1 − p); every run drops different elements.
//!
//! `y = x · mask / (1 − p)`, with the mask drawn from `seed`, `count` and the element's index; then `count` is increased by 1.
//!
//! | name  | shape     | meaning                                                                   |
//! |-------|-----------|---------------------------------------------------------------------------|
//! | x     | any       | input                                                                     |
//! | count | `[1]`     | number of runs before this one, a state that the operation itself updates |
//! | y     | as x      | output, with the same expected value as x                                 |
//! | mask  | as x, u32 | 1 if an element is kept, else 0                                           |
//!
//! The same seed and count give the same mask on every device. Leave the operation out for inference.
//! Gradient: for x; backward reads mask and dy.
//! Errors: p is not in `[0, 1)`; count is not `[1]`.
//! Numerics: one product; count is exact, and wraps to 0 after 2²⁴ runs.
//! Source: Srivastava et al. 2014, section 4, scaled during training; the mixing function is lowbias32 of Wellons,
//! "Prospecting for Hash Functions", 2018.

use super::{Call, Caps, Case, Cost, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::{DType, Shape};

/// The operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// Probability that an element is dropped.
    pub p: f32,
    pub seed: u32,
}

/// Number of runs after which `count` wraps to 0: an f32 counts no further.
const MAX_COUNT: f64 = 16_777_216.0;

/// Mixes the bits of `v` as the shader does.
fn mixed(mut v: u32) -> u32 {
    v = (v ^ (v >> 16)).wrapping_mul(0x7FEB_352D);
    v = (v ^ (v >> 15)).wrapping_mul(0x846C_A68B);
    v ^ (v >> 16)
}

impl Dropout {
    /// Returns the threshold below which a draw drops its element.
    fn threshold(&self) -> u32 {
        (f64::from(self.p) * 4_294_967_296.0) as u32
    }
    /// Returns the factor of a kept element.
    fn scale(&self) -> f32 {
        (1.0 / (1.0 - f64::from(self.p))) as f32
    }
    fn is_kept(&self, count: f64, index: usize) -> bool {
        mixed(index as u32 ^ mixed(count as u32 ^ mixed(self.seed))) >= self.threshold()
    }
    /// Returns the factor of element `index`.
    fn factor(&self, x: &[Vec<f64>], index: usize) -> f64 {
        if self.is_kept(x[1][0], index) { f64::from(self.scale()) } else { 0.0 }
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "count"]
    }
    fn outputs(&self) -> &'static [&'static str] {
        &["y", "mask"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "mask" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("dropout/plain"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(ShapeError::value("p", "at least 0 and below 1", self.p));
        }
        if x[1] != [1] {
            return Err(ShapeError::shape("count", "[1]", x[1]));
        }
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        if method == "forward" {
            Cost::new(12 * io.y_len(), 3 * io.y_len())
        } else {
            Cost::new(io.y_len(), 3 * io.y_len())
        }
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.iter_mut().enumerate().for_each(|(i, y)| *y = x[0][i] * self.factor(x, i));
    }
    fn reference_more(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], more: &mut [Vec<f64>]) {
        more[0].iter_mut().enumerate().for_each(|(i, mask)| *mask = f64::from(self.is_kept(x[1][0], i)));
    }
    fn reference_grad(&self, _io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        dx[0].iter_mut().enumerate().for_each(|(i, dx)| *dx = dy[i] * self.factor(x, i));
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("count", "a counter is not differentiable")]
    }
    fn updates(&self) -> &'static [&'static str] {
        &["count"]
    }
    fn reference_update(&self, _io: &Io, x: &mut [Vec<f64>]) {
        x[1][0] = (x[1][0] + 1.0) % MAX_COUNT;
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let product = |values: &[f64]| {
            let bound = |(i, v): (usize, &f64)| super::EPS * (v * self.factor(at.x, i)).abs();
            Tolerance::Each(values.iter().enumerate().map(bound).collect())
        };
        match output {
            "y" => product(&at.x[0]),
            "dx" => product(at.dy),
            "mask" => Tolerance::Each(vec![0.0; io.y_len()]),
            _ => Tolerance::Each(vec![0.0]),
        }
    }
}

/// `shaders/dropout/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Dropout>()?, &call.io);
    call.work(caps, |entry| {
        let threads = if entry == "forward_2" { 1 } else { io.y_len() };
        let params = [
            ("len", io.y_len().into()),
            ("seed", mixed(op.seed).into()),
            ("threshold", op.threshold().into()),
            ("scale", Scalar::F32(op.scale())),
        ];
        Some(Launch::threads(threads, params))
    })
}

pub fn cases() -> Vec<Case> {
    let case = |p, seed, x: &[usize]| {
        let shape = Shape::new(x).expect("a case has one to six dimensions");
        Case::new(Dropout { p, seed }, &[shape, [1].into()]).fill(1, Fill::With(|_, _, _| vec![7.0]))
    };
    vec![
        case(0.0, 1, &[1]),
        case(0.5, 2, &[2, 3, 5, 7]),
        case(0.9, u32::MAX, &[257]),
        // The last count.
        case(0.25, 3, &[2, 3, 2, 5, 2, 3]).fill(1, Fill::With(|_, _, _| vec![MAX_COUNT - 1.0])),
        // The hidden layer of a classifier.
        case(0.5, 4, &[256, 512]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within 4σ for 100,000 draws; masks of different counts or seeds agree on p² + (1 − p)² of the elements.
    #[test]
    fn the_share_that_is_kept_is_right_and_masks_are_independent() {
        const N: usize = 100_000;
        let mask =
            |p: f32, seed, count: f64| -> Vec<bool> { (0..N).map(|i| Dropout { p, seed }.is_kept(count, i)).collect() };
        let is_near = |share: f64, expected: f64| {
            (share - expected).abs() < 4.0 * (expected * (1.0 - expected) / N as f64).sqrt()
        };
        for p in [0.1_f32, 0.5, 0.75] {
            let kept = 1.0 - f64::from(p);
            let first = mask(p, 1, 0.0);
            let share = |mask: &[bool]| mask.iter().filter(|kept| **kept).count() as f64 / N as f64;
            assert!(is_near(share(&first), kept), "{p}: {}", share(&first));
            assert!(!is_near(share(&first), kept + 0.01));
            let agree = f64::from(p) * f64::from(p) + kept * kept;
            for other in [mask(p, 1, 1.0), mask(p, 2, 0.0), mask(p, 2, 1.0)] {
                let same: Vec<bool> = first.iter().zip(&other).map(|(a, b)| a == b).collect();
                assert!(is_near(share(&same), agree), "{p}: {}", share(&same));
            }
            // Neighbours are independent too.
            let same: Vec<bool> = first.iter().zip(&first[1..]).map(|(a, b)| a == b).collect();
            assert!(is_near(share(&same), agree), "{p}: {}", share(&same));
        }
    }

    #[test]
    fn probabilities_and_counters_that_are_none_are_refused() {
        let shape = |p, count: &[usize]| Dropout { p, seed: 0 }.shape(&[[2, 3].into(), Shape::new(count).unwrap()]);
        assert_eq!(shape(0.0, &[1]).unwrap(), [2, 3]);
        for (p, count) in [(1.0, &[1][..]), (-0.1, &[1]), (f32::NAN, &[1]), (0.5, &[2]), (0.5, &[1, 1])] {
            assert!(shape(p, count).is_err());
        }
    }
}
