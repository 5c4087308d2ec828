//! l2_normalize: scales vectors to length 1, one for each picture and row.
//!
//! `y[n,c,h,w] = x[n,c,h,w] / √(ε² + Σ_{c',w'} x[n,c',h,w']²)`
//!
//! | name | shape       | meaning                                                                           |
//! |------|-------------|-----------------------------------------------------------------------------------|
//! | x    | `[N,C,H,W]` | N·H vectors of C·W numbers: embeddings `[N,D,1,1]`, or descriptors of H landmarks |
//! | y    | `[N,C,H,W]` | the same directions                                                               |
//!
//! Gradient: dx = (dy − y·Σ dy·y) / s with s = √(ε² + Σ x²); backward reads x and dy.
//! Errors: ε is not above 0 or not finite.
//! Numerics: f32 sums of C·W squares in a fixed order. ε keeps a vector of zeros at zero, and bounds the gradient by 1/ε; a
//! vector whose squares overflow becomes zero.
//! Source: definition; ε² under the root as in the L2 blocks of Dalal and Triggs 2005, section 6.4.

use super::{Call, Caps, Case, Cost, EPS, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, lanes_of, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation.
#[derive(Debug, Clone, PartialEq)]
pub struct L2Normalize {
    /// ε, in units of x.
    pub eps: f32,
}

impl Default for L2Normalize {
    fn default() -> Self {
        Self { eps: 1e-6 }
    }
}

/// Returns the indices of the elements of vector `vector`.
fn elements(shape: Shape, vector: usize) -> impl Iterator<Item = usize> {
    let [_, c, h, w] = shape.nchw();
    let (n, row) = (vector / h, vector % h);
    (0..c * w).map(move |e| ((n * c + e / w) * h + row) * w + e % w)
}

impl L2Normalize {
    /// Returns s of every vector.
    fn lengths(&self, shape: Shape, x: &[f64]) -> Vec<f64> {
        let square = f64::from(self.eps * self.eps);
        let length = |v| (square + elements(shape, v).map(|i| x[i] * x[i]).sum::<f64>()).sqrt();
        (0..shape[0] * shape[2]).map(length).collect()
    }
}

impl Op for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("l2_normalize/plain" + "lines"), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return Err(ShapeError::value("eps", "above 0 and finite", self.eps));
        }
        Ok(x[0])
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let len = io.y_len();
        if method == "forward" { Cost::new(3 * len, 2 * len) } else { Cost::new(7 * len, 3 * len) }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for (vector, length) in self.lengths(io.y, &x[0]).into_iter().enumerate() {
            elements(io.y, vector).for_each(|i| y[i] = x[0][i] / length);
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for (vector, s) in self.lengths(io.y, &x[0]).into_iter().enumerate() {
            let along: f64 = elements(io.y, vector).map(|i| dy[i] * x[0][i]).sum::<f64>() / (s * s);
            elements(io.y, vector).for_each(|i| dx[0][i] = (dy[i] - x[0][i] * along) / s);
        }
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let [_, c, _, w] = io.y.nchw();
        // One product, the sums of a lane's share and of the lanes, and ε². A root halves the relative error and adds 4 of
        // its own (WGSL allows the error of 1/inverseSqrt); a division adds 3.
        let lanes = lanes_of(c * w);
        let sums = (c * w).div_ceil(lanes) + lanes + 2;
        let length = sums as f64 / 2.0 + 4.0;
        let mut allowed = vec![0.0; io.y_len()];
        for (vector, s) in self.lengths(io.y, &at.x[0]).into_iter().enumerate() {
            if output == "y" {
                elements(io.y, vector).for_each(|i| allowed[i] = EPS * (length + 3.0) * at.x[0][i].abs() / s);
                continue;
            }
            let along: f64 = elements(io.y, vector).map(|i| (at.dy[i] * at.x[0][i]).abs()).sum::<f64>() / (s * s);
            for i in elements(io.y, vector) {
                // `along` takes both sums and a division; then come a product, a difference and the division by s.
                let (x, dy) = (at.x[0][i].abs(), at.dy[i].abs());
                allowed[i] = EPS * ((length + 4.0) * dy + (2.0 * sums as f64 + length + 8.0) * x * along) / s;
            }
        }
        Tolerance::Each(allowed)
    }
}

/// `shaders/l2_normalize/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<L2Normalize>()?, &call.io);
    call.work(caps, |_| {
        let [n, c, h, w] = io.y.nchw();
        let params = [
            ("channels", c.into()),
            ("height", h.into()),
            ("width", w.into()),
            ("vectors", (n * h).into()),
            ("len", (c * w).into()),
            ("square", Scalar::F32(op.eps * op.eps)),
        ];
        let lanes = lanes_of(c * w);
        Some(Launch::threads(n * h * lanes, params).with("LANES", lanes))
    })
}

pub fn cases() -> Vec<Case> {
    let case = |eps, x: [usize; 4]| Case::new(L2Normalize { eps }, &[x]);
    vec![
        case(0.5, [1, 1, 1, 1]),
        case(1e-6, [2, 3, 5, 7]),
        case(0.1, [3, 65, 1, 1]),
        case(1e-3, [1, 2, 65, 1]),
        // The descriptors of 68 landmarks, and embeddings.
        case(1e-6, [16, 8, 68, 16]).real(),
        case(1e-6, [64, 128, 1, 1]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eps_that_bounds_nothing_is_refused() {
        for eps in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(L2Normalize { eps }.shape(&[[1, 2, 3, 4].into()]).is_err());
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let io = Io { x: &[[1, 2, 1, 1].into()], y: [1, 2, 1, 1].into() };
        let mut y = [1.0; 2];
        L2Normalize::default().reference(&io, &[vec![0.0; 2]], &mut y);
        assert_eq!(y, [0.0; 2]);
    }
}
