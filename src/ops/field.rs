//! field: positions that depend linearly on a few coefficients, W(z) = z + B(z)·p of the face models.
//!
//! `y[n,d,i,j] = z[0,d,i,j] + Σ_k b[d,k,i,j] · c[n,k]`
//!
//! | name | shape       | meaning                                                                        |
//! |------|-------------|--------------------------------------------------------------------------------|
//! | z    | `[1,2,H,W]` | positions where c is 0: channel 0 the column (x), channel 1 the row (y)        |
//! | b    | `[2,K,H,W]` | the bases B(z): what one unit of coefficient k adds to each position           |
//! | c    | `[N,K,1,1]` | the coefficients, p in the papers; `p` is the struct of scalars in our shaders |
//! | y    | `[N,2,H,W]` | positions in the order that [`super::warp`] reads                              |
//!
//! The H × W places may be the pixels of a dense field, or landmarks in any arrangement.
//!
//! Gradients: for z, b and c.
//! Errors: z is not `[1,2,H,W]`; b is not `[2,K,H,W]`; c is not `[N,K,1,1]`.
//! Numerics: f32 sums of K terms and z; the gradients are sums of 2·H·W terms for c, and of N terms for b and z.
//! Source: Zhu, Liu, Loy, Tang, "Deep Cascaded Bi-Network for Face Hallucination", 2016, section 3.1.

use super::{Call, Caps, Case, Cost, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Field;

/// Invocations of a workgroup; `WG` in the shader.
const WORKGROUP: usize = 64;

/// Pictures per thread.
const BLOCK: usize = 4;

/// Returns N, K and H·W.
fn sizes(io: &Io) -> [usize; 3] {
    [io.y[0], io.x[1][1], io.y[2] * io.y[3]]
}

/// Calls `each(element of y, of z, of b, of c)` for every product.
fn for_each_term(io: &Io, mut each: impl FnMut(usize, usize, usize, usize)) {
    let [batch, bases, plane] = sizes(io);
    for n in 0..batch {
        for row in 0..2 * plane {
            for k in 0..bases {
                each(n * 2 * plane + row, row, (row / plane * bases + k) * plane + row % plane, n * bases + k);
            }
        }
    }
}

impl Op for Field {
    fn name(&self) -> &'static str {
        "field"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["z", "b", "c"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("field/plain"), plain)];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [one, two, h, w] = x[0].nchw();
        let [_, bases, ..] = x[1].nchw();
        let [n, ..] = x[2].nchw();
        if [one, two] != [1, 2] {
            return Err(ShapeError::shape("z", "[1, 2, H, W]", x[0]));
        }
        if x[1] != [2, bases, h, w] {
            return Err(ShapeError::shape("b", format!("[2, K, H={h}, W={w}]"), x[1]));
        }
        if x[2] != [n, bases, 1, 1] {
            return Err(ShapeError::shape("c", format!("[N, K={bases}, 1, 1]"), x[2]));
        }
        Ok([n, 2, h, w].into())
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        let [batch, bases, plane] = sizes(io);
        let (z, b, c, y) = (2 * plane, 2 * bases * plane, batch * bases, batch * 2 * plane);
        match method {
            "forward" => Cost::new(2 * bases * y + y, z + b + c + y),
            "backward_z" => Cost::new(y, y + z),
            _ => Cost::new(2 * bases * y, b + c + y),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        for_each_term(io, |y_at, _, b, c| y[y_at] += x[1][b] * x[2][c]);
        let rows = x[0].len();
        for (i, y) in y.iter_mut().enumerate() {
            *y += x[0][i % rows];
        }
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        for_each_term(io, |y, _, b, c| {
            dx[1][b] += x[2][c] * dy[y];
            dx[2][c] += x[1][b] * dy[y];
        });
        let rows = x[0].len();
        for (i, dy) in dy.iter().enumerate() {
            dx[0][i % rows] += dy;
        }
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let [batch, bases, plane] = sizes(io);
        // One product and the additions of all other terms; for c, those of a lane's share, then of the lanes.
        Tolerance::Terms(match output {
            "y" => bases + 1,
            "dc" => (2 * plane).div_ceil(WORKGROUP) + WORKGROUP,
            _ => batch,
        })
    }
}

/// `shaders/field/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    call.work(caps, |entry| {
        let [batch, bases, plane] = sizes(io);
        let blocks = batch.div_ceil(BLOCK);
        let threads = match entry {
            "forward" => blocks * 2 * plane,
            "backward_c" => blocks * bases,
            "backward_b" => 2 * bases * plane,
            _ => 2 * plane,
        };
        let params = [
            ("batch", batch.into()),
            ("bases", bases.into()),
            ("plane", plane.into()),
            ("rows", (2 * plane).into()),
            ("threads", threads.into()),
        ];
        Some(Launch::threads(if entry == "backward_c" { threads * WORKGROUP } else { threads }, params))
    })
}

pub fn cases() -> Vec<Case> {
    let case = |[n, k, h, w]: [usize; 4]| Case::new(Field, &[[1, 2, h, w], [2, k, h, w], [n, k, 1, 1]]);
    vec![
        case([1, 1, 1, 1]),
        case([2, 3, 5, 7]),
        case([5, 4, 1, 33]),
        case([3, 2, 13, 5]),
        // The field of a cascade, and the places of 68 landmarks' descriptors.
        case([4, 28, 64, 64]).real(),
        case([16, 28, 68, 16]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_when_bases_or_coefficients_do_not_fit_is_refused() {
        let shape = |z, b, c| Field.shape(&[z, b, c]).map_err(|e| e.to_string());
        assert_eq!(shape([1, 2, 4, 5].into(), [2, 3, 4, 5].into(), [7, 3, 1, 1].into()), Ok([7, 2, 4, 5].into()));
        assert!(
            shape([2, 2, 4, 5].into(), [2, 3, 4, 5].into(), [7, 3, 1, 1].into()).unwrap_err().starts_with("z must be")
        );
        assert!(
            shape([1, 2, 4, 5].into(), [3, 3, 4, 5].into(), [7, 3, 1, 1].into()).unwrap_err().starts_with("b must be")
        );
        assert!(
            shape([1, 2, 4, 5].into(), [2, 3, 4, 5].into(), [7, 4, 1, 1].into()).unwrap_err().starts_with("c must be")
        );
    }
}
