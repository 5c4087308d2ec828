//! NumPy's broadcasting: shapes are aligned at their last dimension, missing dimensions count as 1, and a dimension of size 1 is
//! repeated as often as the other shapes ask for.

use crate::error::ShapeError;
use crate::ops::{Io, Scalar};
use crate::tensor::{MAX_RANK, Shape};

/// Returns a shape's sizes with ones before them.
pub(in crate::ops) fn padded(shape: &Shape) -> [usize; MAX_RANK] {
    let mut sizes = [1; MAX_RANK];
    sizes[MAX_RANK - shape.rank()..].copy_from_slice(shape);
    sizes
}

/// Returns the distance in `shape` between elements that are neighbours along each dimension of y; 0 along one that is broadcast.
pub(in crate::ops) fn strides(shape: &Shape) -> [usize; MAX_RANK] {
    let sizes = padded(shape);
    let mut stride = 1;
    let mut strides = [0; MAX_RANK];
    for d in (0..MAX_RANK).rev() {
        if sizes[d] > 1 {
            strides[d] = stride;
        }
        stride *= sizes[d];
    }
    strides
}

/// Returns the shape of y for inputs of these names and shapes.
///
/// # Errors
/// A dimension is larger than 1 in two inputs and differs.
pub(in crate::ops) fn broadcast(names: &[&'static str], x: &[Shape]) -> Result<Shape, ShapeError> {
    let mut y = x[0];
    for (k, shape) in x.iter().enumerate().skip(1) {
        let (before, sizes) = (padded(&y), padded(shape));
        let mut both = [1; MAX_RANK];
        for d in 0..MAX_RANK {
            both[d] = before[d].max(sizes[d]);
            if before[d].min(sizes[d]) != 1 && before[d] != sizes[d] {
                let of = if k == 1 { format!("{}'s shape", names[0]) } else { "the others' shape".to_owned() };
                return Err(ShapeError::shape(names[k], format!("{of} {y:?}, or 1 where they differ"), *shape));
            }
        }
        let rank = y.rank().max(shape.rank());
        y = Shape::new(&both[MAX_RANK - rank..]).unwrap_or(y);
    }
    Ok(y)
}

/// Calls `f` with every index in y and those in the first K inputs that belong to it.
pub(in crate::ops) fn each<const K: usize>(io: &Io, mut f: impl FnMut(usize, [usize; K])) {
    let (sizes, strides): (_, [_; K]) = (padded(&io.y), std::array::from_fn(|k| strides(&io.x[k])));
    for i in 0..io.y_len() {
        let (mut rest, mut at) = (i, [0; K]);
        for d in (0..MAX_RANK).rev() {
            let position = rest % sizes[d];
            at.iter_mut().zip(&strides).for_each(|(at, strides)| *at += position * strides[d]);
            rest /= sizes[d];
        }
        f(i, at);
    }
}

/// Returns members of P named after `prefix` and the dimension: the strides of an input (a, b or c), or sizes, of y or what has its
/// rank (s), of what a gradient or a reduction keeps (k), and of what it sums over (r). No shader divides by the first size.
pub(in crate::ops) fn members(prefix: char, values: [usize; MAX_RANK]) -> Vec<(&'static str, Scalar)> {
    let names = match prefix {
        's' => ["s0", "s1", "s2", "s3", "s4", "s5"],
        'a' => ["a0", "a1", "a2", "a3", "a4", "a5"],
        'b' => ["b0", "b1", "b2", "b3", "b4", "b5"],
        'c' => ["c0", "c1", "c2", "c3", "c4", "c5"],
        'k' => ["k0", "k1", "k2", "k3", "k4", "k5"],
        _ => ["r0", "r1", "r2", "r3", "r4", "r5"],
    };
    let is_stride = matches!(prefix, 'a' | 'b' | 'c');
    names.into_iter().zip(values.map(Scalar::from)).skip(usize::from(!is_stride)).collect()
}

/// Returns the members of P that `shared/terms.wgsl` reads for the sums over what input `shape` has one of and y several.
pub(in crate::ops) fn terms(shape: Option<&Shape>, y: &Shape) -> Vec<(&'static str, Scalar)> {
    let (mut kept, mut summed) = ([1; MAX_RANK], [1; MAX_RANK]);
    if let Some(shape) = shape {
        kept = padded(shape);
        let sizes = padded(y);
        summed = std::array::from_fn(|d| sizes[d] / kept[d]);
    }
    [members('k', kept), members('r', summed)].concat()
}
