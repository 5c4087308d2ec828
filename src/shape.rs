//! Shapes: exactly four dimensions `[N, C, H, W]`, row-major.

/// `[N, C, H, W]`; unused dimensions are 1. A bias is `[1, C, 1, 1]`, a matrix `[N, D, 1, 1]`, a scalar `[1, 1, 1, 1]`.
pub type Shape = [usize; 4];

/// The shape of a scalar, such as a loss.
pub const SCALAR: Shape = [1, 1, 1, 1];

/// Number of elements of a shape.
pub fn len(shape: &Shape) -> usize {
    shape.iter().product()
}

/// The position `[n, c, i, j]` of element `index` in row-major order.
pub fn position(shape: &Shape, index: usize) -> Shape {
    let [_, c, h, w] = *shape;
    [index / (c * h * w), index / (h * w) % c, index / w % h, index % w]
}
