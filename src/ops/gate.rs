//! gate: y = (1 − g)·a + g·b, where g has a single channel or one per channel of a and b.
//!
//! | name | shape                      | meaning                       |
//! |------|----------------------------|-------------------------------|
//! | a    | `[N,C,H,W]`                | the value where g is 0        |
//! | b    | `[N,C,H,W]`                | the value where g is 1        |
//! | g    | `[N,1,H,W]` or `[N,C,H,W]` | the gate, usually in `[0, 1]` |
//! | y    | `[N,C,H,W]`                | output                        |
//!
//! Gradients: (1 − g)·dy for a, g·dy for b, (b − a)·dy for g, summed over the channels in ascending order if g has one.
//! Errors: a and b differ in shape; g differs in more than its channels, or has neither 1 nor C of them.
//! Numerics: three roundings of |1 − g|·|a| + |g|·|b|; dg: C + 2 roundings of Σ|b − a|·|dy|.
//! Source: the gated combination of Zhu, Liu, Loy, Tang, "Deep Cascaded Bi-Network for Face Hallucination", 2016,
//! section 3; any g is allowed here, not only a sigmoid's.

use super::{Call, Caps, Case, Cost, EPS, Io, Kernel, Launch, Op, Tolerance, Values, Work, fours, wgsl};
use crate::error::ShapeError;
use crate::tensor::{Shape, len};

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate;

/// Channels per thread of `forward`; `BLOCK` in the shader.
const BLOCK: usize = 8;

/// Returns the number of channels of a per channel of g.
fn span(io: &Io) -> usize {
    io.x[0][1] / io.x[2][1]
}

/// Returns the element of g for element `i` of a.
fn gate_index(io: &Io, i: usize) -> usize {
    let [_, _, h, w] = io.x[0].nchw();
    i / (h * w) / span(io) * (h * w) + i % (h * w)
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b", "g"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("gate/plain" + "one"), |call, caps| rows(call, caps, 1))];
        fours::with_sibling(KERNELS, |call, caps| rows(call, caps, 4))
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, c, h, w] = x[0].nchw();
        if x[1] != x[0] {
            return Err(ShapeError::shape("b", format!("a's shape {:?}", x[0]), x[1]));
        }
        if x[2] != x[0] && x[2] != [n, 1, h, w] {
            return Err(ShapeError::shape("g", format!("[N={n}, 1 or C={c}, H={h}, W={w}]"), x[2]));
        }
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let flops = match method {
            "backward_ab" => 2 * io.y_len(),
            _ => 3 * io.y_len(),
        };
        Cost::new(flops, 3 * io.y_len() + io.x_len(2))
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (i, y) in y.iter_mut().enumerate() {
            let g = x[2][gate_index(io, i)];
            *y = (1.0 - g) * x[0][i] + g * x[1][i];
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for (i, &dy) in dy.iter().enumerate() {
            let gate = gate_index(io, i);
            dx[0][i] = (1.0 - x[2][gate]) * dy;
            dx[1][i] = x[2][gate] * dy;
            dx[2][gate] += (x[1][i] - x[0][i]) * dy;
        }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        // Not `Terms`: 1 − |g| and |b| − |a| are not bounds. Each difference is rounded relative to its own size.
        let [a, b, g] = [&at.x[0], &at.x[1], &at.x[2]];
        let mut bound = vec![0.0; if output == "dg" { len(&io.x[2]) } else { io.y_len() }];
        for i in 0..io.y_len() {
            let gate = gate_index(io, i);
            let (open, closed) = (g[gate].abs(), (1.0 - g[gate]).abs());
            match output {
                // Difference, products, sum.
                "y" => bound[i] = 3.0 * EPS * (closed * a[i].abs() + open * b[i].abs()),
                "da" => bound[i] = 2.0 * EPS * closed * at.dy[i].abs(),
                "db" => bound[i] = EPS * open * at.dy[i].abs(),
                // Difference, product, and a sum of `span` terms.
                _ => bound[gate] += (span(io) + 2) as f64 * EPS * (b[i] - a[i]).abs() * at.dy[i].abs(),
            }
        }
        Tolerance::Each(bound)
    }
}

/// `shaders/gate/plain.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let io = &call.io;
    let plane = fours::units(io.y[2] * io.y[3], width)?;
    let work = call.work(caps, |entry| {
        let (gates, span) = (io.x_len(2) / width, span(io));
        let blocks = span.div_ceil(BLOCK);
        let threads = if entry == "backward_g" { gates } else { gates * blocks };
        let params =
            [("threads", threads.into()), ("plane", plane.into()), ("span", span.into()), ("blocks", blocks.into())];
        Some(Launch::threads(threads, params))
    })?;
    Some(work.faster(fours::gain(width)))
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(Gate, &[[1, 1, 1, 1]; 3]),
        Case::new(Gate, &[[2, 3, 5, 7]; 3]),
        Case::new(Gate, &[[2, 3, 5, 7], [2, 3, 5, 7], [2, 1, 5, 7]]),
        // One channel more than a block, and one element more than four workgroups.
        Case::new(Gate, &[[2, 9, 3, 4], [2, 9, 3, 4], [2, 1, 3, 4]]),
        Case::new(Gate, &[[1, 1, 1, 257]; 3]),
        Case::new(Gate, &[[1, 64, 32, 40], [1, 64, 32, 40], [1, 1, 32, 40]]).real(),
    ]
}
