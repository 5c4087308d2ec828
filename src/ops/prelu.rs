//! prelu: y = x where x > 0, else `a[c]` · x, with a learned slope per channel.
//!
//! | name | shape       | meaning                   |
//! |------|-------------|---------------------------|
//! | x    | `[N,C,H,W]` | input                     |
//! | a    | `[1,C,1,1]` | slope for negative inputs |
//! | y    | `[N,C,H,W]` | output                    |
//!
//! Gradients: for x and a, in one pass over x and dy. At x = 0 the gradient for x is `a[c]` · dy, as in PyTorch.
//! Errors: a is not `[1, C, 1, 1]`.
//! Numerics: one rounding; da is an f32 sum in a fixed order, in two passes.
//! Source: He, Zhang, Ren and Sun 2015, "Delving Deep into Rectifiers", equations 1, 10 and 11.

use super::{
    Call, Caps, Case, Cost, EPS, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl, with_zeros,
};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prelu;

/// Returns the number of threads per map and the maximum number of elements per thread: few in small maps, so that there are
/// enough threads; more in large maps, so that there are few partial sums.
fn split(io: &Io) -> (usize, usize) {
    let plane = io.y[2] * io.y[3];
    let each = if plane <= 4096 { 16 } else { 64 };
    (plane.div_ceil(each), each)
}

/// Texels per thread of `prelu/quads`.
const EACH: usize = 8;

/// Returns the number of threads per map of `prelu/quads`.
fn quads_lanes(io: &Io) -> usize {
    (io.y[2] * io.y[3]).div_ceil(EACH)
}

fn launch_quads(entry: &str, io: &Io) -> Option<Launch> {
    let [n, c, h, w] = io.y.nchw();
    if Layout::Quads.elements(&io.y) > MAX_TEXELS {
        return None;
    }
    let (quads, lanes) = (c.div_ceil(4), quads_lanes(io));
    let threads = if entry == "backward_2" { quads } else { n * quads * lanes };
    let params = [
        ("n", n.into()),
        ("channels", c.into()),
        ("quads", quads.into()),
        ("plane", (h * w).into()),
        ("lanes", lanes.into()),
        ("threads", threads.into()),
    ];
    Some(Launch::threads(threads, params).with("EACH", EACH))
}

impl Op for Prelu {
    fn name(&self) -> &'static str {
        "prelu"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "a"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("prelu/plain" + "one"), |call, caps| rows(call, caps, 1)),
            Kernel::new(wgsl!("prelu/quads" + "texels" + "bound"), quads).only(Family::Software),
        ];
        fours::with_sibling(KERNELS, |call, caps| rows(call, caps, 4))
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [_, c, _, _] = x[0].nchw();
        if x[1] != [1, c, 1, 1] {
            return Err(ShapeError::shape("a", format!("[1, C={c}, 1, 1]"), x[1]));
        }
        Ok(x[0])
    }
    fn fusible(&self) -> Option<super::Fusible> {
        Some(super::Fusible::Slopes)
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        match method {
            "forward" => Cost::new(io.y_len(), 2 * io.y_len() + io.x_len(1)),
            _ => Cost::new(3 * io.y_len(), 3 * io.y_len() + 2 * io.x_len(1)),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (k, (y, &value)) in y.iter_mut().zip(&x[0]).enumerate() {
            *y = if value > 0.0 { value } else { x[1][channel(io, k)] * value };
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for (k, (&value, &dy)) in x[0].iter().zip(dy).enumerate() {
            let c = channel(io, k);
            if value > 0.0 {
                dx[0][k] = dy;
            } else {
                dx[0][k] = x[1][c] * dy;
                dx[1][c] += value * dy;
            }
        }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        // y and dx: one product where x is not positive, exact elsewhere. da: each product has one rounding and takes part
        // in the additions of its thread's `each` elements and of all threads' sums.
        let scaled = |values: &[f64]| {
            let bound = |(k, v): (usize, &f64)| EPS * (at.x[1][channel(io, k)] * v).abs();
            Tolerance::Each(values.iter().enumerate().map(bound).collect())
        };
        match output {
            "y" => scaled(&at.x[0]),
            "dx" => scaled(at.dy),
            _ => {
                let (lanes, each) = split(io);
                let mut terms = vec![0.0; io.y[1]];
                for (k, (value, dy)) in at.x[0].iter().zip(at.dy).enumerate() {
                    terms[channel(io, k)] += (value.min(0.0) * dy).abs();
                }
                let roundings = (1 + each + io.y[0] * lanes) as f64;
                Tolerance::Each(terms.into_iter().map(|t| roundings * EPS * t).collect())
            }
        }
    }
}

/// `shaders/prelu/plain.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let io = &call.io;
    let ([n, c, h, w], (lanes, _)) = (io.y.nchw(), split(io));
    let plane = fours::units(h * w, width)?;
    let work = call.work(caps, |entry| {
        let threads = if entry == "backward_2" { c } else { n * c * lanes };
        let params = [("n", n.into()), ("channels", c.into()), ("plane", plane.into()), ("lanes", lanes.into())];
        Some(Launch::threads(threads, params))
    })?;
    Some(work.scratch(vec![("t0", n * c * lanes)]).faster(fours::gain(width)))
}

/// `shaders/prelu/quads.wgsl`: pays off as relu's does.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    let work = call.work(caps, |entry| launch_quads(entry, io))?;
    Some(work.scratch(vec![("t0", io.y[0] * io.y[1].div_ceil(4) * quads_lanes(io))]).faster(1.5))
}

/// Returns the channel of element `k`.
fn channel(io: &Io, k: usize) -> usize {
    let [_, c, h, w] = io.y.nchw();
    k / (h * w) % c
}

pub fn cases() -> Vec<Case> {
    [[1, 1, 1, 1], [2, 3, 5, 7], [1, 1, 1, 257], [3, 5, 13, 4], [2, 2, 65, 64]]
        .map(|x| Case::new(Prelu, &[x, [1, x[1], 1, 1]]).gap(1e-3))
        .into_iter()
        // At 0 the gradient is that of the sloped side.
        .chain([Case::new(Prelu, &[[2, 5, 3, 7], [1, 5, 1, 1]]).fill(0, Fill::With(with_zeros)).rough()])
        // FSRCNN's first layer in training (Dong et al. 2016, section 3.2).
        .chain([Case::new(Prelu, &[[16, 56, 16, 16], [1, 56, 1, 1]]).gap(1e-3).real()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_at_zero_is_the_slope() {
        let io = Io { x: &[[1, 1, 1, 1]; 2].map(Into::into), y: [1, 1, 1, 1].into() };
        let mut dx = [vec![0.0], vec![0.0]];
        Prelu.reference_grad(&io, &[vec![0.0], vec![0.25]], &[0.0], &[2.0], &mut dx);
        assert_eq!(dx, [[0.5], [0.0]]);
    }
}
