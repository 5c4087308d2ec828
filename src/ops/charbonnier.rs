//! charbonnier: a smooth absolute error, as a mean or a sum over all elements, with an optional weight an element.
//!
//! y = scale · Σ m · √((a − b)² + ε²), where m = 1 without weights; scale = 1 for [`Reduction::Sum`], and
//! 1 / (N·C·H·W) for [`Reduction::Mean`], whatever the weights add up to. A weight of 0 masks an element.
//!
//! | name | shape       | meaning                                    |
//! |------|-------------|--------------------------------------------|
//! | a    | `[N,C,H,W]` | prediction                                 |
//! | b    | `[N,C,H,W]` | target                                     |
//! | m    | `[N,C,H,W]` | weight of each element; only if `weighted` |
//! | y    | `[1,1,1,1]` | loss                                       |
//!
//! Gradients: for a and b; m is data.
//! Errors: b or m has another shape than a.
//! Numerics: an f32 sum in a fixed order, in two passes.
//! Source: Charbonnier et al. 1994, "Two deterministic half-quadratic regularization algorithms for computed imaging"; as a
//! loss of super-resolution: Lai et al. 2017, "Deep Laplacian Pyramid Networks", section 3.2, with ε = 10⁻³.

use super::mse::Reduction;
use super::{Case, Cost, EPS, Io, Launch, Op, Scalar, Source, Tolerance, Values, shaders};
use crate::error::{Result, ShapeError};
use crate::graph::{Graph, NodeId};
use crate::tensor::{SCALAR, Shape};

/// The operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Charbonnier {
    /// Half the error below which the loss is about quadratic; above 0.
    pub eps: f32,
    pub reduction: Reduction,
    /// Takes a third input: the weight of each element.
    pub weighted: bool,
}

impl Graph {
    /// Mean of the smooth absolute error between `a` and `b`, of one shape; `[1,1,1,1]`. `eps` above 0.
    ///
    /// # Errors
    /// `b` has another shape than `a`; `eps` is not above 0.
    pub fn charbonnier(&mut self, a: NodeId, b: NodeId, eps: f32) -> Result<NodeId> {
        self.add(Charbonnier { eps, reduction: Reduction::Mean, weighted: false }, &[a, b])
    }

    /// [`Graph::charbonnier`] with the weight `m` of each element. The mean is over all elements, whatever the weights are.
    ///
    /// # Errors
    /// `b` or `m` has another shape than `a`.
    pub fn charbonnier_weighted(&mut self, a: NodeId, b: NodeId, m: NodeId, eps: f32) -> Result<NodeId> {
        self.add(Charbonnier { eps, reduction: Reduction::Mean, weighted: true }, &[a, b, m])
    }
}

/// Elements that one partial sum covers at most.
const EACH: usize = 64;

impl Charbonnier {
    fn scale(&self, io: &Io) -> f64 {
        match self.reduction {
            Reduction::Mean => 1.0 / io.x_len(0) as f64,
            Reduction::Sum => 1.0,
        }
    }
    /// √(d² + ε²).
    fn root(&self, d: f64) -> f64 {
        (d * d + f64::from(self.eps).powi(2)).sqrt()
    }
    fn weight(&self, x: &[Vec<f64>], k: usize) -> f64 {
        if self.weighted { x[2][k] } else { 1.0 }
    }
}

impl Op for Charbonnier {
    fn name(&self) -> &'static str {
        "charbonnier"
    }
    fn inputs(&self) -> &'static [&'static str] {
        if self.weighted { &["a", "b", "m"] } else { &["a", "b"] }
    }
    fn shaders(&self) -> &'static [Source] {
        if self.weighted { shaders!["charbonnier_weighted"] } else { shaders!["charbonnier"] }
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        for (&name, &shape) in self.inputs().iter().zip(x) {
            if shape != x[0] {
                return Err(ShapeError::shape(name, format!("a's shape {:?}", x[0]), shape));
            }
        }
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(ShapeError::value("eps", "above 0", self.eps));
        }
        Ok(SCALAR)
    }
    fn launch(&self, _stem: &str, entry: &str, io: &Io) -> Option<Launch> {
        let len = io.x_len(0);
        let threads = len.div_ceil(EACH);
        let params = [
            ("len", len.into()),
            ("threads", threads.into()),
            ("scale", Scalar::F32(self.scale(io) as f32)),
            ("eps", Scalar::F32(self.eps)),
        ];
        Some(match entry {
            "forward_1" => Launch::threads(threads, params),
            "forward_2" => Launch::groups([1, 1, 1], params),
            _ => Launch::threads(len, params),
        })
    }
    fn scratch(&self, _stem: &str, method: &str, io: &Io) -> Vec<(&'static str, usize)> {
        if method == "forward" { vec![("t0", io.x_len(0).div_ceil(EACH))] } else { Vec::new() }
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let len = io.x_len(0);
        let factors = usize::from(self.weighted);
        let written = if method == "forward" { 1 } else { len + 1 };
        Cost::new((5 + factors) * len, self.inputs().len() * len + written)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let term = |k: usize| self.weight(x, k) * self.root(x[0][k] - x[1][k]);
        y[0] = (0..io.x_len(0)).map(term).sum::<f64>() * self.scale(io);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for k in 0..io.x_len(0) {
            let difference = x[0][k] - x[1][k];
            let d = self.scale(io) * self.weight(x, k) * difference / self.root(difference) * dy[0];
            dx[0][k] = d;
            dx[1][k] = -d;
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        if self.weighted { &[("m", "the weights of a loss are data, not computed")] } else { &[] }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let len = io.x_len(0);
        if output == "y" {
            // Under the root, which halves them: a - b twice, two squares, the sum; the root (WGSL: that of the inverse root
            // of 2 ULP, and a division), 3; then the weight, the additions of one thread, of one lane over the threads and
            // of the 64 lanes, the scale and its own rounding.
            let roundings = 9 + EACH + len.div_ceil(EACH).div_ceil(64) + 64;
            let term = |k: usize| self.weight(at.x, k).abs() * self.root(at.x[0][k] - at.x[1][k]);
            return Tolerance::Each(vec![roundings as f64 * EPS * self.scale(io) * (0..len).map(term).sum::<f64>()]);
        }
        // a - b, the root as above, the division of 2.5 ULP, the rounded scale and three products.
        let bound = |k: usize| {
            let difference = at.x[0][k] - at.x[1][k];
            let d = self.scale(io) * self.weight(at.x, k) * difference / self.root(difference) * at.dy[0];
            14.0 * EPS * d.abs()
        };
        Tolerance::Each((0..len).map(bound).collect())
    }
}

pub fn cases() -> Vec<Case> {
    let case = |x: Shape, reduction, weighted| {
        let op = Charbonnier { eps: 0.1, reduction, weighted };
        let inputs = vec![x; op.inputs().len()];
        Case::new(op, &inputs)
    };
    vec![
        case([1, 1, 1, 1], Reduction::Mean, false),
        case([2, 3, 5, 7], Reduction::Sum, false),
        case([1, 1, 1, 257], Reduction::Mean, false),
        case([1, 5, 13, 4], Reduction::Sum, true),
        case([2, 3, 5, 7], Reduction::Mean, true),
        case([1, 1, 1, 1], Reduction::Mean, true),
        case([1, 1, 66, 64], Reduction::Mean, false),
        // That of FSRCNN at scale 3 in training.
        case([16, 1, 48, 48], Reduction::Mean, false).real(),
    ]
}
