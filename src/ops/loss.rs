//! loss: a penalty on the elements of two tensors, as a mean or a sum, with an optional weight per element.
//!
//! y = scale · Σ m · ρ(a, b), where m = 1 without weights; [`Penalty`] defines ρ; scale = 1 for [`Reduction::Sum`], and 1 / the number
//! of elements for [`Reduction::Mean`], whatever the weights add up to.
//!
//! | name | shape       | meaning                                        |
//! |------|-------------|------------------------------------------------|
//! | a    | any shape   | prediction                                     |
//! | b    | as a        | target                                         |
//! | m    | as a        | weight of each element, 0 masks; if `weighted` |
//! | y    | `[1,1,1,1]` | loss                                           |
//!
//! Gradients: for a and b; m is data. The hinge has the derivative 0 where its penalty is 0. NaN in a or b makes y NaN.
//! Errors: the shape of b or m differs from a's; ε or δ is not positive and finite.
//! Numerics: an f32 sum in a fixed order, in two passes; the cross entropy neither overflows nor loses small penalties.
//! Source: squares without weights as in torch.nn.functional.mse_loss; Charbonnier et al. 1994, "Two deterministic
//! half-quadratic regularization algorithms for computed imaging", for super-resolution Lai et al. 2017, "Deep Laplacian
//! Pyramid Networks", section 3.2, with ε = 10⁻³; huber_loss and binary_cross_entropy_with_logits of torch.nn.functional; Cortes
//! and Vapnik 1995, "Support-vector networks", for the hinge.

use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, fours, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::rng::Rng;
use crate::tensor::{SCALAR, Shape, len};

/// The penalty ρ(a, b), for most of them on the difference d = a − b.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Penalty {
    /// d²; there is no ½.
    #[default]
    Square,
    /// √(d² + ε²), a smooth |d|.
    Charbonnier {
        /// The difference below which the penalty is approximately quadratic; above 0.
        eps: f32,
    },
    /// d²/2 where |d| is at most δ, else δ·(|d| − δ/2).
    Huber {
        /// The difference from which the penalty is linear; above 0.
        delta: f32,
    },
    /// max(0, 1 − a·b), where b is −1 or 1.
    Hinge,
    /// Cross entropy of the probability sigmoid(a) and the target b, in `[0, 1]`: max(a, 0) − a·b + log(1 + exp(−|a|)).
    BinaryCrossEntropy,
}

/// How the penalties are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their sum divided by the number of elements.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// The operation; the default is the plain mean of squares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loss {
    pub penalty: Penalty,
    pub reduction: Reduction,
    /// Takes a third input: the weight of each element.
    pub weighted: bool,
}

/// Maximum number of elements per partial sum.
const EACH: usize = 64;

impl Penalty {
    /// Returns ρ(a, b).
    fn of(self, a: f64, b: f64) -> f64 {
        let d = a - b;
        match self {
            Self::Square => d * d,
            Self::Charbonnier { eps } => (d * d + f64::from(eps).powi(2)).sqrt(),
            Self::Huber { delta } if d.abs() > f64::from(delta) => {
                f64::from(delta) * (d.abs() - 0.5 * f64::from(delta))
            }
            Self::Huber { .. } => 0.5 * d * d,
            Self::Hinge if 1.0 - a * b < 0.0 => 0.0,
            Self::Hinge => 1.0 - a * b,
            Self::BinaryCrossEntropy => a.max(0.0) - a * b + (-a.abs()).exp().ln_1p(),
        }
    }
    /// Returns the derivatives of ρ for a and b.
    fn slopes(self, a: f64, b: f64) -> [f64; 2] {
        let d = a - b;
        let of_d = |slope: f64| [slope, -slope];
        match self {
            Self::Square => of_d(2.0 * d),
            Self::Charbonnier { .. } => of_d(d / self.of(a, b)),
            Self::Huber { delta } if d.abs() > f64::from(delta) => of_d(f64::from(delta).copysign(d)),
            Self::Huber { .. } => of_d(d),
            Self::Hinge if 1.0 - a * b <= 0.0 => [0.0; 2],
            Self::Hinge => [-b, -a],
            Self::BinaryCrossEntropy => [1.0 / (1.0 + (-a).exp()) - b, -a],
        }
    }
    /// Returns the largest error of ρ(a, b) in WGSL, in units of 2⁻²³.
    fn error(self, a: f64, b: f64) -> f64 {
        let value = self.of(a, b);
        match self {
            // a − b, which counts double, and the square.
            Self::Square => 3.0 * value,
            // Half of these, of the second square and of the sum, and 3 for the root (2 ULP of the inverse root, and a division).
            Self::Charbonnier { .. } => 6.0 * value,
            // The roundings of |d|, of the subtrahend and of the difference, each of at most twice the penalty, and a product.
            Self::Huber { .. } => 9.0 * value,
            Self::Hinge => (a * b).abs() + (1.0 - a * b).abs(),
            // The product, the difference, the exponential's 3 + 2·|a| ULP, log1p with its two divisions, and the sum.
            Self::BinaryCrossEntropy => {
                let difference = (a.max(0.0) - a * b).abs();
                (a * b).abs() + difference + (3.0 + 2.0 * a.abs() + 9.0) * (-a.abs()).exp().ln_1p() + value
            }
        }
    }
    /// Returns the largest errors of the derivatives in WGSL, in units of 2⁻²³.
    fn slope_errors(self, a: f64, b: f64) -> [f64; 2] {
        let slopes = self.slopes(a, b).map(f64::abs);
        match self {
            Self::Square | Self::Huber { .. } => slopes,
            // a − b, the root as above and the division of 2.5 ULP.
            Self::Charbonnier { .. } => slopes.map(|slope| 9.0 * slope),
            Self::Hinge => [0.0; 2],
            // The exponential's error, a sum and a division, of the part below 1/2; then the roundings of two differences.
            Self::BinaryCrossEntropy => {
                let rest = 1.0 / (1.0 + a.abs().exp());
                [rest * (7.5 + 2.0 * a.abs()) + (1.0 - b).abs() + slopes[0], 0.0]
            }
        }
    }
    /// Returns `KIND` of `shaders/shared/penalty.wgsl`, and `size` there.
    fn in_shader(self) -> (usize, f32) {
        match self {
            Self::Square => (0, 0.0),
            Self::Charbonnier { eps } => (1, eps),
            Self::Huber { delta } => (2, delta),
            Self::Hinge => (3, 0.0),
            Self::BinaryCrossEntropy => (4, 0.0),
        }
    }
}

impl Loss {
    fn scale(&self, io: &Io) -> f64 {
        match self.reduction {
            Reduction::Mean => 1.0 / io.x_len(0) as f64,
            Reduction::Sum => 1.0,
        }
    }
    fn weight(&self, x: &[Vec<f64>], k: usize) -> f64 {
        if self.weighted { x[2][k] } else { 1.0 }
    }
    /// Returns the factor of the penalty's derivatives in the gradients of element k.
    fn factor(&self, io: &Io, x: &[Vec<f64>], dy: &[f64], k: usize) -> f64 {
        self.scale(io) * self.weight(x, k) * dy[0]
    }
}

impl Op for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }
    fn inputs(&self) -> &'static [&'static str] {
        if self.weighted { &["a", "b", "m"] } else { &["a", "b"] }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const PLAIN: &[Kernel] =
            &[Kernel::new(wgsl!("loss/plain" + "penalty" + "log1p" + "total" + "one"), |call, caps| {
                rows(call, caps, 1)
            })];
        const WEIGHTED: &[Kernel] =
            &[Kernel::new(wgsl!("loss/weighted" + "penalty" + "log1p" + "total" + "one"), |call, caps| {
                rows(call, caps, 1)
            })];
        fours::with_sibling(if self.weighted { WEIGHTED } else { PLAIN }, |call, caps| rows(call, caps, 4))
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        for (&name, &shape) in self.inputs().iter().zip(x) {
            if shape != x[0] {
                return Err(ShapeError::shape(name, format!("a's shape {:?}", x[0]), shape));
            }
        }
        match self.penalty {
            Penalty::Charbonnier { eps: size } | Penalty::Huber { delta: size }
                if !(size.is_finite() && size > 0.0) =>
            {
                let name = if matches!(self.penalty, Penalty::Huber { .. }) { "delta" } else { "eps" };
                Err(ShapeError::value(name, "above 0 and finite", size))
            }
            _ => Ok(SCALAR),
        }
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let len = io.x_len(0);
        let each = match self.penalty {
            Penalty::Square => 3,
            Penalty::BinaryCrossEntropy => 25,
            _ => 5,
        };
        let written = if method == "forward" { 1 } else { len + 1 };
        Cost::new((each + usize::from(self.weighted)) * len, self.inputs().len() * len + written)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let term = |k: usize| self.weight(x, k) * self.penalty.of(x[0][k], x[1][k]);
        y[0] = (0..io.x_len(0)).map(term).sum::<f64>() * self.scale(io);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for k in 0..io.x_len(0) {
            let (factor, slopes) = (self.factor(io, x, dy, k), self.penalty.slopes(x[0][k], x[1][k]));
            [dx[0][k], dx[1][k]] = slopes.map(|slope| factor * slope);
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        if self.weighted { &[("m", "the weights of a loss are data, not computed")] } else { &[] }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let len = io.x_len(0);
        if output == "y" {
            // After the penalty come the weight, the additions of one thread, of one lane over the threads and of the 64 lanes, the
            // scale and its own rounding.
            let threads = len.div_ceil(EACH);
            let roundings = (3 + EACH.min(len) + threads.div_ceil(64) + threads.min(64)) as f64;
            let term = |k: usize| {
                let (a, b) = (at.x[0][k], at.x[1][k]);
                self.weight(at.x, k).abs() * (self.penalty.error(a, b) + roundings * self.penalty.of(a, b))
            };
            return Tolerance::Each(vec![EPS * self.scale(io) * (0..len).map(term).sum::<f64>()]);
        }
        let input = usize::from(output == "db");
        // After the derivative come the rounded scale and four products.
        let bound = |k: usize| {
            let (a, b) = (at.x[0][k], at.x[1][k]);
            let (slope, error) = (self.penalty.slopes(a, b)[input].abs(), self.penalty.slope_errors(a, b)[input]);
            EPS * self.factor(io, at.x, at.dy, k).abs() * (error + 5.0 * slope)
        };
        Tolerance::Each((0..len).map(bound).collect())
    }
}

/// `shaders/loss/plain.wgsl` and `weighted.wgsl`, for `width` numbers at a time.
fn rows(call: &Call, caps: &Caps, width: usize) -> Option<Work> {
    let (op, io) = (call.op::<Loss>()?, &call.io);
    let len = fours::units(io.x_len(0), width)?;
    let threads = io.x_len(0).div_ceil(EACH);
    let (kind, size) = op.penalty.in_shader();
    let params = [
        ("len", len.into()),
        ("threads", threads.into()),
        ("scale", Scalar::F32(op.scale(io) as f32)),
        ("size", Scalar::F32(size)),
    ];
    let work = call.work(caps, |entry| {
        Some(match entry {
            "forward_1" => Launch::threads(threads, params).with("KIND", kind),
            "forward_2" => Launch::groups([1, 1, 1], params),
            _ => Launch::threads(len, params).with("KIND", kind),
        })
    })?;
    Some(work.scratch(vec![("t0", threads)]).faster(fours::gain(width)))
}

/// −1 or 1.
fn signs(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    (0..len(&x[k])).map(|_| if rng.below(2) == 0 { -1.0 } else { 1.0 }).collect()
}

/// Confident scores for b, and then the truth: every penalty is small.
fn confident(rng: &mut Rng, x: &[Shape], k: usize) -> Vec<f64> {
    let score = |i: usize, size: f64| if i.is_multiple_of(3) { -size } else { size };
    let is_positive = |i: usize| if i.is_multiple_of(3) { 0.0 } else { 1.0 };
    (0..len(&x[k])).map(|i| if k == 0 { score(i, rng.uniform(9.0, 12.0)) } else { is_positive(i) }).collect()
}

fn cases_of(penalty: Penalty) -> Vec<Case> {
    let case = |x: &[usize], reduction, weighted| {
        let op = Loss { penalty, reduction, weighted };
        let shape = Shape::new(x).expect("a case has one to six dimensions");
        let case = Case::new(op.clone(), &vec![shape; op.inputs().len()]);
        match penalty {
            Penalty::Hinge => case.fill(1, Fill::With(signs)),
            Penalty::BinaryCrossEntropy => case
                .fill(0, Fill::Uniform { low: -6.0, high: 9.0, gap: 1e-3 })
                .fill(1, Fill::Uniform { low: 0.0, high: 1.0, gap: 0.0 }),
            _ => case,
        }
    };
    vec![
        case(&[1, 1, 1, 1], Reduction::Mean, false),
        case(&[2, 3, 5, 7], Reduction::Sum, false),
        case(&[1, 1, 1, 257], Reduction::Mean, false),
        case(&[1, 5, 13, 4], Reduction::Sum, true),
        case(&[2, 3, 5, 7], Reduction::Mean, true),
        case(&[1, 1, 1, 1], Reduction::Mean, true),
        case(&[1, 1, 66, 64], Reduction::Mean, false),
        case(&[1, 1, 66, 64], Reduction::Mean, true),
        // Any rank.
        case(&[7, 30], Reduction::Mean, false),
        case(&[2, 3, 2, 3, 2, 3], Reduction::Mean, false),
        case(&[37], Reduction::Sum, true),
        case(&[3, 5], Reduction::Mean, false).fill(0, Fill::With(with_nan)).rough(),
        // The loss of FSRCNN at scale 3 in training.
        case(&[16, 1, 48, 48], Reduction::Mean, false).real(),
    ]
}

pub fn cases() -> Vec<Case> {
    let far = Fill::Uniform { low: -300.0, high: 300.0, gap: 1e-3 };
    let (hinge, entropy) = (Penalty::Hinge, Penalty::BinaryCrossEntropy);
    let of = |penalty| Loss { penalty, ..Loss::default() };
    let mut cases: Vec<Case> =
        [Penalty::Square, Penalty::Charbonnier { eps: 0.1 }, Penalty::Huber { delta: 0.75 }, hinge, entropy]
            .into_iter()
            .flat_map(cases_of)
            .collect();
    cases.extend([
        Case::new(of(entropy), &[[5, 40], [5, 40]])
            .fill(0, far)
            .fill(1, Fill::Uniform { low: 0.0, high: 1.0, gap: 0.0 }),
        Case::new(of(entropy), &[[5, 40], [5, 40]]).fill(0, Fill::With(confident)).fill(1, Fill::With(confident)),
        // Scores near 0, where log(1 + exp(−|a|)) is largest.
        Case::new(of(entropy), &[[1], [1]]).fill(0, Fill::Uniform { low: 1e-3, high: 2e-3, gap: 0.0 }),
        Case::new(Loss { weighted: true, ..of(entropy) }, &[[1]; 3])
            .fill(0, Fill::Uniform { low: 1e-3, high: 2e-3, gap: 0.0 }),
        // Margins that are exactly met.
        Case::new(of(hinge), &[[9], [9]]).fill(0, Fill::With(signs)).fill(1, Fill::With(signs)).rough(),
        Case::new(Loss { weighted: true, ..of(hinge) }, &[[9]; 3])
            .fill(0, Fill::With(signs))
            .fill(1, Fill::With(signs))
            .rough(),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_are_none_are_refused() {
        for size in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            for penalty in [Penalty::Charbonnier { eps: size }, Penalty::Huber { delta: size }] {
                let op = Loss { penalty, ..Loss::default() };
                assert!(op.shape(&[[2, 3].into(), [2, 3].into()]).is_err());
            }
        }
    }
}
