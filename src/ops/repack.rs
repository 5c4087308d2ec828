//! repack: y = x; its kernels differ in how x and y lie in memory.
//!
//! `y[n,c,i,j] = x[n,c,i,j]`
//!
//! The planner inserts it where a value's layout is not the one that the next shader declares.
//!
//! Gradient: dx = dy. Errors: none. Numerics: exact.

use super::{Call, Caps, Case, Cost, Family, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Repack;

impl Repack {
    /// Writes channel quads; `shaders/repack/quads.wgsl`.
    pub const TO_QUADS: Kernel = Kernel::new(wgsl!("repack/quads" + "quotient"), quads).only(Family::Software);
    /// Reads channel quads; `shaders/repack/rows.wgsl`.
    pub const TO_ROWS: Kernel = Kernel::new(wgsl!("repack/rows" + "quotient"), quads).only(Family::Software);
}

impl Op for Repack {
    fn name(&self) -> &'static str {
        "repack"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("repack/plain"), plain), Repack::TO_QUADS, Repack::TO_ROWS];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        Ok(x[0])
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(0, 2 * io.y_len())
    }
    fn reference(&self, _io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y.copy_from_slice(&x[0]);
    }
    fn reference_grad(&self, _io: &Io, _x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        dx[0].copy_from_slice(dy);
    }
    fn tolerance(&self, _output: &str, _io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Terms(0)
    }
}

/// `shaders/repack/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    launch(call, caps, call.io.y_len())
}

/// `shaders/repack/quads.wgsl` and `rows.wgsl`: one thread per texel.
fn quads(call: &Call, caps: &Caps) -> Option<Work> {
    launch(call, caps, Layout::Quads.elements(&call.io.y)).filter(|_| Layout::Quads.elements(&call.io.y) <= MAX_TEXELS)
}

fn launch(call: &Call, caps: &Caps, threads: usize) -> Option<Work> {
    let [_, c, h, w] = call.io.y.nchw();
    let params = [
        ("channels", c.into()),
        ("quads", c.div_ceil(4).into()),
        ("plane", (h * w).into()),
        ("threads", threads.into()),
    ];
    call.work(caps, |_| Some(Launch::threads(threads, params)))
}

pub fn cases() -> Vec<Case> {
    [[1, 1, 1, 1], [2, 3, 5, 7], [1, 4, 1, 257], [2, 6, 3, 4], [1, 9, 13, 4]]
        .map(|x| Case::new(Repack, &[x]))
        .into_iter()
        .chain([Case::new(Repack, &[[1, 64, 64, 64]]).real()])
        .collect()
}
