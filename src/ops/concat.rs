//! concat: the channels of a, then those of b.
//!
//! `y[n,c,i,j] = a[n,c,i,j] for c < Ca, else b[n,c−Ca,i,j]`
//!
//! | name | shape           | meaning                    |
//! |------|-----------------|----------------------------|
//! | a    | `[N,Ca,H,W]`    | the first Ca channels of y |
//! | b    | `[N,Cb,H,W]`    | the last Cb channels of y  |
//! | y    | `[N,Ca+Cb,H,W]` | output                     |
//!
//! Gradients: the channels of dy that each input contributed.
//! Errors: a and b differ in more than the channels.
//! Numerics: exact.
//! Source: definition as in torch.cat(dim=1).

use super::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("concat/plain"), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, ca, h, w] = x[0].nchw();
        let [_, cb, _, _] = x[1].nchw();
        let both = ca.checked_add(cb);
        match both {
            Some(c) if x[1] == [n, cb, h, w] => Ok([n, c, h, w].into()),
            _ => Err(ShapeError::shape("b", format!("[N={n}, Cb, H={h}, W={w}] as a"), x[1])),
        }
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let moved = match method {
            "backward_a" => io.x_len(0),
            "backward_b" => io.x_len(1),
            _ => io.y_len(),
        };
        Cost::new(0, 2 * moved)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let n = io.y[0];
        let (image_a, image_b) = (io.x_len(0) / n, io.x_len(1) / n);
        for (n, y) in y.chunks_exact_mut(image_a + image_b).enumerate() {
            y[..image_a].copy_from_slice(&x[0][n * image_a..][..image_a]);
            y[image_a..].copy_from_slice(&x[1][n * image_b..][..image_b]);
        }
    }
    fn reference_grad(&self, io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let n = io.y[0];
        let (image_a, image_b) = (io.x_len(0) / n, io.x_len(1) / n);
        for (n, dy) in dy.chunks_exact(image_a + image_b).enumerate() {
            dx[0][n * image_a..][..image_a].copy_from_slice(&dy[..image_a]);
            dx[1][n * image_b..][..image_b].copy_from_slice(&dy[image_a..]);
        }
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// `shaders/concat/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    call.work(caps, |entry| {
        let n = io.y[0];
        let threads = match entry {
            "backward_a" => io.x_len(0),
            "backward_b" => io.x_len(1),
            _ => io.y_len(),
        };
        let params =
            [("threads", threads.into()), ("image_a", (io.x_len(0) / n).into()), ("image_b", (io.x_len(1) / n).into())];
        Some(Launch::threads(threads, params))
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(Concat, &[[1, 1, 1, 1], [1, 1, 1, 1]]),
        Case::new(Concat, &[[2, 3, 5, 7], [2, 2, 5, 7]]),
        Case::new(Concat, &[[1, 1, 1, 257], [1, 2, 1, 257]]),
        Case::new(Concat, &[[3, 1, 3, 2], [3, 5, 3, 2]]),
        Case::new(Concat, &[[1, 64, 48, 40], [1, 14, 48, 40]]).real(),
    ]
}
