//! What the planner computes together with a convolution, and its plain kernel.

use super::Conv2d;
use crate::ops::pointwise::Unary;
use crate::ops::{Call, Caps, EPS, Io, Kernel, Launch, Op, Scalar, Source, Tolerance, Values, Work};
use crate::tensor::position;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What is fused with a convolution: a slope per channel for negative results or another activation, then a
/// combination with another value. The planner makes it (src/plan/fuse.rs); gradients remain those of the operations that it
/// replaces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// Filters are stored as `[Ci,Co/G,Kh,Kw]` and rotated by 180°, and the pixels of x lie `stride` apart with zeros between them, as in
    /// the gradient of a convolution of that stride for its input. The outputs have stride 1.
    pub adjoint: bool,
    /// What follows the sum; `None` if it is a slope per channel.
    pub activation: Option<Unary>,
    /// How the result is combined with `z`.
    pub combine: Combine,
    /// r: r² channels become a block of r × r pixels, as in pixel_shuffle; 1 leaves them.
    pub factor: usize,
    /// Of every 2 × 2 pixels only the largest stays, as in max_pool2d. Such a fusion neither combines nor shuffles.
    pub pooled: bool,
}

impl Default for Fusion {
    /// Only the slope.
    fn default() -> Self {
        Self { adjoint: false, activation: None, combine: Combine::Nothing, factor: 1, pooled: false }
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

/// Returns `kernels` with `f` in the place of slopes; their texts are put together once for each function.
pub(super) fn kernels(kernels: &'static [Kernel], f: Unary) -> &'static [Kernel] {
    static OF: Mutex<BTreeMap<&'static str, &'static [Kernel]>> = Mutex::new(BTreeMap::new());
    let with = |kernel: &Kernel| {
        let slopes = include_str!("../../../shaders/shared/slopes.wgsl");
        let text = kernel.source.text.replace(slopes, &f.activation());
        let stem = format!("{}_{}", kernel.stem(), f.name());
        kernel.with_source(Source::built_in(stem.leak(), text.leak()))
    };
    let mut all = OF.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(f.name()).or_insert_with(|| Vec::leak(kernels.iter().map(with).collect()))
}

impl Fusion {
    /// Returns the members of `p` that hold the activation's parameters.
    pub(super) fn parameters(&self) -> [(&'static str, Scalar); 2] {
        let [f0, f1] = self.activation.map_or([0.0; 2], |f| f.values());
        [("f0", f0.into()), ("f1", f1.into())]
    }

    /// Returns where channel o, row i and column j of picture n of the convolution `[N,Co,Ho,Wo]` lie in y.
    pub(super) fn place(&self, [_, co, ho, wo]: [usize; 4], [n, o, i, j]: [usize; 4]) -> usize {
        if self.pooled {
            return ((n * co + o) * (ho / 2) + i / 2) * (wo / 2) + j / 2;
        }
        let r = self.factor;
        let row = ((n * co + o) / (r * r) * ho + i) * r + o % (r * r) / r;
        (row * wo + j) * r + o % r
    }

    /// Returns what becomes of the sum s of channel o, given the inputs `x`.
    pub(super) fn activated(&self, s: f64, x: &[Vec<f64>], o: usize) -> f64 {
        match self.activation {
            Some(f) => x[3][o] * f.f(s),
            None if s > 0.0 => s,
            None => x[3][o] * s,
        }
    }

    /// Returns the largest error of each element of y, given the largest error of the sum that it is made of in `errors`, which has the
    /// order of the sums.
    pub(super) fn bounds(&self, errors: Vec<f64>, op: &Conv2d, io: &Io, at: &Values) -> Tolerance {
        let (f, shape) = (self.activation.map(|f| (f, op.exact_sums(io, at.x))), op.sums(io));
        let mut bounds = vec![0.0; io.y_len()];
        for (index, error) in errors.into_iter().enumerate() {
            let place = position(&shape, index);
            let a = at.x[3][place[1]].abs();
            let k = self.place(shape.nchw(), place.nchw());
            let bound: &mut f64 = &mut bounds[k];
            let of_one = match &f {
                // Also bounds the rounding of the product with a.
                None => error * a.max(1.0),
                Some((f, sums)) => a * (f.error_at(sums[index], error) * (1.0 + EPS) + EPS * f.f(sums[index]).abs()),
            };
            // The largest of four is as wrong as the worst of them at most.
            *bound = if of_one.is_nan() { of_one } else { bound.max(of_one) };
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

/// `shaders/conv2d/fused.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), op.sums(io).nchw(), io.x[1].nchw());
    let threads = io.y_len();
    let side = if fusion.pooled { 2 } else { 1 };
    let params = [
        ("batch", n.into()),
        ("c_in", ci.into()),
        ("c_out", co.into()),
        ("in_group", (ci / op.groups).into()),
        ("out_group", (co / op.groups).into()),
        ("height", h.into()),
        ("width", w.into()),
        ("out_height", (ho / side).into()),
        ("out_width", (wo / side).into()),
        ("kernel_h", kh.into()),
        ("kernel_w", kw.into()),
        ("stride_h", op.out_stride()[0].into()),
        ("stride_w", op.out_stride()[1].into()),
        ("spread_h", op.spread()[0].into()),
        ("spread_w", op.spread()[1].into()),
        ("dilation_h", op.dilation[0].into()),
        ("dilation_w", op.dilation[1].into()),
        ("pad_h", op.padding[0].into()),
        ("pad_w", op.padding[1].into()),
        ("adjoint", u32::from(fusion.adjoint).into()),
        ("replicate", u32::from(op.replicate).into()),
        ("combine", fusion.combine.code().0.into()),
        ("slope", fusion.combine.code().1.into()),
        ("factor", fusion.factor.into()),
        ("side", side.into()),
        ("threads", threads.into()),
    ];
    let params = || params.into_iter().chain(fusion.parameters());
    call.work(caps, |_| Some(Launch::threads(threads, params())))
}
