//! mse: squared error, as a mean or a sum over all elements, with an optional weight an element.
//!
//! y = scale · Σ m · (a − b)², where m = 1 without weights; scale = 1 for [`Reduction::Sum`] (there is no ½), and
//! 1 / (N·C·H·W) for [`Reduction::Mean`], whatever the weights add up to.
//!
//! | name | shape       | meaning                                        |
//! |------|-------------|------------------------------------------------|
//! | a    | `[N,C,H,W]` | prediction                                     |
//! | b    | `[N,C,H,W]` | target                                         |
//! | m    | `[N,C,H,W]` | weight of each element, 0 masks; if `weighted` |
//! | y    | `[1,1,1,1]` | loss                                           |
//!
//! Gradients: for a and b; m is data.
//! Errors: b or m has another shape than a.
//! Numerics: an f32 sum in a fixed order, in two passes.
//! Source: definition; without weights as in torch.nn.functional.mse_loss.

use super::{Case, Cost, EPS, Io, Launch, Op, Scalar, Source, Tolerance, Values, shaders};
use crate::error::{Result, ShapeError};
use crate::graph::{Graph, NodeId};
use crate::tensor::{SCALAR, Shape};

/// What becomes of the squared errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their sum divided by the number of elements.
    #[default]
    Mean,
    /// Their sum, without a factor of ½.
    Sum,
}

/// The operation; the default is the plain mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mse {
    pub reduction: Reduction,
    /// Takes a third input: the weight of each element.
    pub weighted: bool,
}

impl Graph {
    /// Squared error between `a` and `b`, of one shape; `[1,1,1,1]`.
    ///
    /// # Errors
    /// `b` has another shape than `a`.
    pub fn mse(&mut self, a: NodeId, b: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(Mse { reduction, weighted: false }, &[a, b])
    }

    /// [`Graph::mse`] with the weight `m` of each element. The mean is over all elements, whatever the weights are.
    ///
    /// # Errors
    /// `b` or `m` has another shape than `a`.
    pub fn mse_weighted(&mut self, a: NodeId, b: NodeId, m: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.add(Mse { reduction, weighted: true }, &[a, b, m])
    }
}

/// Elements that one partial sum covers at most.
const EACH: usize = 64;

impl Mse {
    fn scale(&self, io: &Io) -> f64 {
        match self.reduction {
            Reduction::Mean => 1.0 / io.x_len(0) as f64,
            Reduction::Sum => 1.0,
        }
    }
    fn weight(&self, x: &[Vec<f64>], k: usize) -> f64 {
        if self.weighted { x[2][k] } else { 1.0 }
    }
}

impl Op for Mse {
    fn name(&self) -> &'static str {
        "mse"
    }
    fn inputs(&self) -> &'static [&'static str] {
        if self.weighted { &["a", "b", "m"] } else { &["a", "b"] }
    }
    fn shaders(&self) -> &'static [Source] {
        if self.weighted { shaders!["mse_weighted"] } else { shaders!["mse"] }
    }
    fn shape(&self, x: &[Shape]) -> std::result::Result<Shape, ShapeError> {
        for (&name, &shape) in self.inputs().iter().zip(x) {
            if shape != x[0] {
                return Err(ShapeError::shape(name, format!("a's shape {:?}", x[0]), shape));
            }
        }
        Ok(SCALAR)
    }
    fn launch(&self, _stem: &str, entry: &str, io: &Io) -> Option<Launch> {
        let len = io.x_len(0);
        let threads = len.div_ceil(EACH);
        let params = [("len", len.into()), ("threads", threads.into()), ("scale", Scalar::F32(self.scale(io) as f32))];
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
        Cost::new((3 + factors) * len, self.inputs().len() * len + written)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        y[0] = (0..io.x_len(0)).map(|k| self.weight(x, k) * (x[0][k] - x[1][k]).powi(2)).sum::<f64>() * self.scale(io);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for k in 0..io.x_len(0) {
            let d = 2.0 * self.scale(io) * self.weight(x, k) * (x[0][k] - x[1][k]) * dy[0];
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
            // Two roundings of a - b count double in the square; then the square, the weight, the additions of one
            // thread, of one lane over the threads and of the 64 lanes, the scale and its own rounding.
            let roundings = 6 + EACH + len.div_ceil(EACH).div_ceil(64) + 64;
            let terms: f64 = (0..len).map(|k| self.weight(at.x, k).abs() * (at.x[0][k] - at.x[1][k]).powi(2)).sum();
            return Tolerance::Each(vec![roundings as f64 * EPS * self.scale(io) * terms]);
        }
        // a - b, the rounded scale and three products.
        let bound = |k: usize| {
            let d = 2.0 * self.scale(io) * self.weight(at.x, k) * (at.x[0][k] - at.x[1][k]) * at.dy[0];
            6.0 * EPS * d.abs()
        };
        Tolerance::Each((0..len).map(bound).collect())
    }
}

pub fn cases() -> Vec<Case> {
    let case = |x: Shape, reduction, weighted| {
        let op = Mse { reduction, weighted };
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
        // The loss of FSRCNN at scale 3 in training.
        case([16, 1, 48, 48], Reduction::Mean, false).real(),
    ]
}
