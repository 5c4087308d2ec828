//! What the planner computes together with a convolution, and its plain kernel.

use super::Conv2d;
use crate::ops::{Call, Caps, EPS, Launch, Tolerance, Values, Work};

/// What is fused with a convolution of dilation 1 and one group: a slope per channel for negative results, then a
/// combination with another value. The planner makes it (src/plan/fuse.rs); gradients remain those of the operations that it
/// replaces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// Filters are stored as `[Ci,Co,Kh,Kw]` and rotated by 180°, and the pixels of x lie `stride` apart with zeros between them, as in
    /// the gradient of a convolution of that stride for its input. The outputs have stride 1.
    pub adjoint: bool,
    /// How the result is combined with `z`.
    pub combine: Combine,
    /// r: r² channels become a block of r × r pixels, as in pixel_shuffle; 1 leaves them.
    pub factor: usize,
}

impl Default for Fusion {
    /// Only the slope.
    fn default() -> Self {
        Self { adjoint: false, combine: Combine::Nothing, factor: 1 }
    }
}

/// How a convolution's result s is combined with a value z at the same place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Combine {
    /// s; z is not read.
    Nothing,
    /// s + z: a residual connection.
    Add,
    /// s · z: a gate.
    Multiply,
    /// s where z > 0, else this slope times s: the gradient of an activation with the result z.
    Mask(f32),
}

impl Combine {
    /// Returns `COMBINE` and `slope` for the shaders.
    pub(super) fn code(self) -> (u32, f32) {
        match self {
            Self::Nothing => (0, 0.0),
            Self::Add => (1, 0.0),
            Self::Multiply => (2, 0.0),
            Self::Mask(slope) => (3, slope),
        }
    }
    pub(super) fn of(self, s: f64, z: f64) -> f64 {
        match self {
            Self::Nothing => s,
            Self::Add => s + z,
            Self::Multiply => s * z,
            Self::Mask(slope) => {
                if z <= 0.0 {
                    f64::from(slope) * s
                } else {
                    s
                }
            }
        }
    }
}

impl Fusion {
    /// Returns where channel o, row i and column j of picture n of the convolution `[N,Co,Ho,Wo]` lie in y.
    pub(super) fn place(&self, [_, co, ho, wo]: [usize; 4], [n, o, i, j]: [usize; 4]) -> usize {
        let r = self.factor;
        let row = ((n * co + o) / (r * r) * ho + i) * r + o % (r * r) / r;
        (row * wo + j) * r + o % r
    }

    /// Returns the largest error of each element of y, given its largest error before z in `bounds`.
    pub(super) fn bounds(&self, mut bounds: Vec<f64>, at: &Values) -> Tolerance {
        for (k, bound) in bounds.iter_mut().enumerate() {
            // The error so far, as the combination propagates it, and one rounding of its result.
            let rounding = EPS * at.y[k].abs();
            match self.combine {
                Combine::Nothing => {}
                Combine::Add => *bound += EPS * *bound + rounding,
                Combine::Multiply => *bound = *bound * at.x[4][k].abs() * (1.0 + EPS) + rounding,
                Combine::Mask(slope) => *bound = *bound * f64::from(slope.abs()).max(1.0) * (1.0 + EPS) + rounding,
            }
        }
        Tolerance::Each(bounds)
    }
}

/// Returns k with |f_o(s + e) − f_o(s)| ≤ k · |e|; it also bounds a rounded product by a.
pub(super) fn slope_bound(at: &Values, o: usize) -> f64 {
    at.x[3][o].abs().max(1.0)
}

/// `shaders/conv2d/fused.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), op.sums(io).nchw(), io.x[1].nchw());
    let threads = io.y_len();
    let params = [
        ("batch", n.into()),
        ("c_in", ci.into()),
        ("c_out", co.into()),
        ("height", h.into()),
        ("width", w.into()),
        ("out_height", ho.into()),
        ("out_width", wo.into()),
        ("kernel_h", kh.into()),
        ("kernel_w", kw.into()),
        ("stride_h", op.out_stride()[0].into()),
        ("stride_w", op.out_stride()[1].into()),
        ("spread_h", op.spread()[0].into()),
        ("spread_w", op.spread()[1].into()),
        ("pad_h", op.padding[0].into()),
        ("pad_w", op.padding[1].into()),
        ("adjoint", u32::from(fusion.adjoint).into()),
        ("replicate", u32::from(op.replicate).into()),
        ("combine", fusion.combine.code().0.into()),
        ("slope", fusion.combine.code().1.into()),
        ("factor", fusion.factor.into()),
        ("threads", threads.into()),
    ];
    call.work(caps, |_| Some(Launch::threads(threads, params)))
}
