//! Shapes: one to six dimensions, row-major.

use std::fmt;
use std::ops::Deref;

/// Maximum number of dimensions of a shape.
pub const MAX_RANK: usize = 6;

/// One to six dimensions, row-major. Prints as `[1, 3, 224, 224]` and dereferences to a slice of sizes.
///
/// Spatial operations take `[N, C, H, W]`: for them, a bias is `[1, C, 1, 1]` and a scalar is `[1, 1, 1, 1]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    rank: u8,
    /// Sizes past the rank are 0.
    sizes: [usize; MAX_RANK],
}

/// The shape of a scalar, such as a loss.
pub const SCALAR: Shape = Shape { rank: 4, sizes: [1, 1, 1, 1, 0, 0] };

impl Shape {
    /// Creates a shape of these sizes; `None` if there are none or more than six.
    pub fn new(sizes: &[usize]) -> Option<Self> {
        let mut shape = Self { rank: sizes.len() as u8, sizes: [0; MAX_RANK] };
        shape.sizes.get_mut(..sizes.len())?.copy_from_slice(sizes);
        (!sizes.is_empty()).then_some(shape)
    }

    /// Returns the number of dimensions, 1 to 6.
    pub fn rank(&self) -> usize {
        self.rank.into()
    }

    /// Returns the shape as `[N, C, H, W]`. Fewer than four dimensions are preceded by ones; if there are more, N is the product of
    /// the first ones.
    pub fn nchw(&self) -> [usize; 4] {
        let mut four = [1; 4];
        let (rest, last) = self.split_at(self.rank().saturating_sub(4));
        four[4 - last.len()..].copy_from_slice(last);
        four[0] *= rest.iter().product::<usize>();
        four
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.sizes[..self.rank()]
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        const { assert!(N >= 1 && N <= MAX_RANK, "a shape has one to six dimensions") };
        let mut shape = Self { rank: N as u8, sizes: [0; MAX_RANK] };
        shape.sizes[..N].copy_from_slice(&sizes);
        shape
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<Shape> for [usize; N] {
    fn eq(&self, other: &Shape) -> bool {
        *self == **other
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Returns the number of elements of a shape.
pub fn len(shape: &Shape) -> usize {
    shape.iter().product()
}

/// Returns the position, such as `[n, c, i, j]`, of element `index` in row-major order.
pub fn position(shape: &Shape, index: usize) -> Shape {
    let mut position = *shape;
    let mut rest = index;
    for k in (0..shape.rank()).rev() {
        position.sizes[k] = rest % shape[k].max(1);
        rest /= shape[k].max(1);
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_every_rank_are_slices_of_their_sizes() {
        let shape = Shape::from([2, 3, 5]);
        assert_eq!((shape.rank(), len(&shape), &shape[1..]), (3, 30, &[3, 5][..]));
        assert_eq!(format!("{shape:?} {shape}"), "[2, 3, 5] [2, 3, 5]");
        assert!(shape == [2, 3, 5] && shape != [2, 3, 5, 1] && shape != Shape::from([1, 2, 3, 5]));
        assert_eq!(position(&shape, 23), [1, 1, 3]);
        assert_eq!((Shape::new(&[]), Shape::new(&[1; 7])), (None, None));
        assert_eq!(Shape::new(&[7; 6]).unwrap().rank(), 6);
    }

    #[test]
    fn four_dimensions_stand_for_others() {
        assert_eq!(Shape::from([4, 5]).nchw(), [1, 1, 4, 5]);
        assert_eq!(Shape::from([2, 3, 4, 5]).nchw(), [2, 3, 4, 5]);
        assert_eq!(Shape::from([7, 1, 2, 3, 4, 5]).nchw(), [14, 3, 4, 5]);
    }
}
