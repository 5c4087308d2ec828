//! The linear algebra that fitting needs, on top of faer.

use crate::error::{Error, Result};
use faer::linalg::solvers::Solve;
use faer::{Mat, MatRef, Side};

/// Returns orthonormal directions, as columns, that hold `share` of the sum of squares of the rows of `x`, largest first.
/// The mean is not subtracted.
///
/// # Errors
/// The eigenvalues were not found because `x` holds numbers that are not finite.
pub fn principal_axes(x: &Mat<f64>, share: f64) -> Result<Mat<f64>> {
    // The smaller of X'X and XX', which have the same positive eigenvalues.
    let is_wide = x.ncols() > x.nrows();
    let gram = if is_wide { x * x.transpose() } else { x.transpose() * x };
    let eigen = gram.self_adjoint_eigen(Side::Lower).map_err(|_| not_finite())?;
    let values = eigen.S().column_vector();
    let n = values.nrows();
    let total: f64 = values.iter().map(|v| v.max(0.0)).sum();
    let mut kept = 0;
    let mut sum = 0.0;
    while kept < n && sum < share * total {
        sum += values[n - 1 - kept].max(0.0);
        kept += 1;
    }
    let axes = Mat::from_fn(n, kept, |i, k| eigen.U()[(i, n - 1 - k)]);
    if !is_wide {
        return Ok(axes);
    }
    let mut axes = x.transpose() * axes;
    for k in 0..kept {
        let length = values[n - 1 - k].sqrt();
        axes.col_mut(k).iter_mut().for_each(|v| *v /= length);
    }
    Ok(axes)
}

/// Solves (`a` + `ridge`·I)·X = `b` for a symmetric, positive semidefinite `a`.
///
/// # Errors
/// The sum is not positive definite.
pub fn solve_ridge(mut a: Mat<f64>, ridge: f64, b: MatRef<f64>) -> Result<Mat<f64>> {
    for i in 0..a.nrows() {
        a[(i, i)] += ridge;
    }
    Ok(a.llt(Side::Lower).map_err(|_| not_finite())?.solve(b))
}

fn not_finite() -> Error {
    Error::Usage(
        "a fit met numbers that are not finite, or the data leave unknowns undetermined; give more data".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_the_same_from_either_side() {
        // Rank 2 in four dimensions: 3·e₀ and 1·(e₁ + e₂)/√2, which hold 90 % and 10 %.
        let rows = [[3.0, 0.0, 0.0, 0.0], [0.0, 0.5f64.sqrt(), 0.5f64.sqrt(), 0.0]];
        let wide = Mat::from_fn(2, 4, |i, j| rows[i][j]);
        let tall = Mat::from_fn(20, 4, |i, j| rows[i % 2][j]);
        for x in [&wide, &tall] {
            assert_eq!(principal_axes(x, 0.89).unwrap().ncols(), 1);
            let axes = principal_axes(x, 0.99).unwrap();
            assert_eq!(axes.ncols(), 2);
            assert!((axes[(0, 0)].abs() - 1.0).abs() < 1e-12);
            assert!((axes[(1, 1)].abs() - 0.5f64.sqrt()).abs() < 1e-12);
        }
    }

    #[test]
    fn ridge_is_on_the_diagonal() {
        let a = Mat::from_fn(2, 2, |i, j| if i == j { 3.0 } else { 1.0 });
        let b = Mat::from_fn(2, 1, |i, _| [5.0, 5.0][i]);
        let x = solve_ridge(a, 1.0, b.as_ref()).unwrap();
        assert!((x[(0, 0)] - 1.0).abs() < 1e-12 && (x[(1, 0)] - 1.0).abs() < 1e-12);
    }
}
