//! loss: a penalty on the differences between two tensors, as a mean or a sum, with an optional weight per element.
//!
//! y = scale · Σ m · ρ(a − b), where m = 1 without weights; ρ(d) = d² for [`Penalty::Square`] (there is no ½), √(d² + ε²) for
//! [`Penalty::Charbonnier`]; scale = 1 for [`Reduction::Sum`], and 1 / (N·C·H·W) for [`Reduction::Mean`], whatever the
//! weights add up to.
//!
//! | name | shape       | meaning                                        |
//! |------|-------------|------------------------------------------------|
//! | a    | `[N,C,H,W]` | prediction                                     |
//! | b    | `[N,C,H,W]` | target                                         |
//! | m    | `[N,C,H,W]` | weight of each element, 0 masks; if `weighted` |
//! | y    | `[1,1,1,1]` | loss                                           |
//!
//! Gradients: for a and b; m is data.
//! Errors: the shape of b or m differs from a's; ε is not positive and finite.
//! Numerics: an f32 sum in a fixed order, in two passes.
//! Source: squares without weights as in torch.nn.functional.mse_loss; Charbonnier et al. 1994, "Two deterministic
//! half-quadratic regularization algorithms for computed imaging", for super-resolution Lai et al. 2017, "Deep Laplacian
//! Pyramid Networks", section 3.2, with ε = 10⁻³.

use super::{Call, Caps, Case, Cost, EPS, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::{SCALAR, Shape};

/// The penalty ρ on a difference d.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Penalty {
    /// d².
    #[default]
    Square,
    /// √(d² + ε²), a smooth |d|.
    Charbonnier {
        /// The difference below which the penalty is approximately quadratic; above 0.
        eps: f32,
    },
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
    /// Returns ρ(d).
    fn of(self, d: f64) -> f64 {
        match self {
            Self::Square => d * d,
            Self::Charbonnier { eps } => (d * d + f64::from(eps).powi(2)).sqrt(),
        }
    }
    /// Returns ρ'(d).
    fn slope(self, d: f64) -> f64 {
        match self {
            Self::Square => 2.0 * d,
            Self::Charbonnier { .. } => d / self.of(d),
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
    /// Returns the gradient for element k of a; the one for b is its negative.
    fn gradient(&self, io: &Io, x: &[Vec<f64>], dy: &[f64], k: usize) -> f64 {
        self.scale(io) * self.weight(x, k) * self.penalty.slope(x[0][k] - x[1][k]) * dy[0]
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
        const PLAIN: &[Kernel] = &[Kernel::new(wgsl!("loss/plain" + "penalty" + "total"), plain)];
        const WEIGHTED: &[Kernel] = &[Kernel::new(wgsl!("loss/weighted" + "penalty" + "total"), plain)];
        if self.weighted { WEIGHTED } else { PLAIN }
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
            Penalty::Charbonnier { eps } if !(eps.is_finite() && eps > 0.0) => {
                Err(ShapeError::value("eps", "above 0 and finite", eps))
            }
            _ => Ok(SCALAR),
        }
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let len = io.x_len(0);
        let each = if self.penalty == Penalty::Square { 3 } else { 5 };
        let written = if method == "forward" { 1 } else { len + 1 };
        Cost::new((each + usize::from(self.weighted)) * len, self.inputs().len() * len + written)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let term = |k: usize| self.weight(x, k) * self.penalty.of(x[0][k] - x[1][k]);
        y[0] = (0..io.x_len(0)).map(term).sum::<f64>() * self.scale(io);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        dx[0].iter_mut().enumerate().for_each(|(k, d)| *d = self.gradient(io, x, dy, k));
        dx[1] = dx[0].iter().map(|d| -d).collect();
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        if self.weighted { &[("m", "the weights of a loss are data, not computed")] } else { &[] }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let len = io.x_len(0);
        // Roundings of the penalty: a - b, which counts double in the square, and the square; for Charbonnier, half of these,
        // of the second square and of the sum, and 3 for the root (WGSL: 2 ULP of the inverse root, and a division). Roundings
        // of its slope: a - b; for Charbonnier also the root as above and the division of 2.5 ULP.
        let (of_penalty, of_slope) = match self.penalty {
            Penalty::Square => (3, 1.0),
            Penalty::Charbonnier { .. } => (6, 9.0),
        };
        if output == "y" {
            // Then come the weight, the additions of one thread, of one lane over the threads and of the 64 lanes, the scale
            // and its own rounding.
            let roundings = of_penalty + 3 + EACH + len.div_ceil(EACH).div_ceil(64) + 64;
            let term = |k: usize| self.weight(at.x, k).abs() * self.penalty.of(at.x[0][k] - at.x[1][k]);
            return Tolerance::Each(vec![roundings as f64 * EPS * self.scale(io) * (0..len).map(term).sum::<f64>()]);
        }
        // Then come the rounded scale and four products.
        let bound = |k: usize| (of_slope + 5.0) * EPS * self.gradient(io, at.x, at.dy, k).abs();
        Tolerance::Each((0..len).map(bound).collect())
    }
}

/// `shaders/loss/plain.wgsl` and `weighted.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Loss>()?, &call.io);
    let len = io.x_len(0);
    let threads = len.div_ceil(EACH);
    let (square, eps) = match op.penalty {
        Penalty::Square => (1, 0.0),
        Penalty::Charbonnier { eps } => (0, eps),
    };
    let params = [
        ("len", len.into()),
        ("threads", threads.into()),
        ("scale", Scalar::F32(op.scale(io) as f32)),
        ("eps", Scalar::F32(eps)),
    ];
    let work = call.work(caps, |entry| {
        Some(match entry {
            "forward_1" => Launch::threads(threads, params).with("SQUARE", square),
            "forward_2" => Launch::groups([1, 1, 1], params),
            _ => Launch::threads(len, params).with("SQUARE", square),
        })
    })?;
    Some(work.scratch(vec![("t0", threads)]))
}

fn case_of<const N: usize>(x: [usize; N], penalty: Penalty) -> Case {
    Case::new(Loss { penalty, reduction: Reduction::Mean, weighted: false }, &[x, x])
}

pub fn cases() -> Vec<Case> {
    let case = |x: [usize; 4], reduction, weighted, penalty| {
        let op = Loss { penalty, reduction, weighted };
        let inputs = vec![x; op.inputs().len()];
        Case::new(op, &inputs)
    };
    let of = |penalty| {
        vec![
            case([1, 1, 1, 1], Reduction::Mean, false, penalty),
            case([2, 3, 5, 7], Reduction::Sum, false, penalty),
            case([1, 1, 1, 257], Reduction::Mean, false, penalty),
            case([1, 5, 13, 4], Reduction::Sum, true, penalty),
            case([2, 3, 5, 7], Reduction::Mean, true, penalty),
            case([1, 1, 1, 1], Reduction::Mean, true, penalty),
            case([1, 1, 66, 64], Reduction::Mean, false, penalty),
            case([1, 1, 66, 64], Reduction::Mean, true, penalty),
            // Any rank.
            case_of([7, 30], penalty),
            case_of([2, 3, 2, 3, 2, 3], penalty),
            // The loss of FSRCNN at scale 3 in training.
            case([16, 1, 48, 48], Reduction::Mean, false, penalty).real(),
        ]
    };
    [of(Penalty::Square), of(Penalty::Charbonnier { eps: 0.1 })].concat()
}
