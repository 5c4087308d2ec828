//! The error of landmarks.

use crate::error::{Error, Result};

/// Returns the mean distance of `found` from `truth`, divided by the distance between the true eyes' centres. A centre is the
/// mean of the eye's six landmarks (36 to 41 and 42 to 47 of 68, from 0). 0.05 is five hundredths of that distance.
///
/// Lower is better. Both lists may use any unit, as long as it is the same.
///
/// # Errors
/// A list does not have 68 landmarks; the eyes coincide.
///
/// Source: the measure of 300-W papers in its inter-pupil form, as in Ren et al. 2014 and Zhu et al. 2015 (not the distance
/// between the outer corners, which is about 1.4 times as long).
pub fn landmark_error(truth: &[[f64; 2]], found: &[[f64; 2]]) -> Result<f64> {
    if truth.len() != 68 || found.len() != 68 {
        return Err(Error::Usage(format!(
            "landmark_error: both faces must have 68 landmarks, got {} and {}",
            truth.len(),
            found.len()
        )));
    }
    let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let eye = |first: usize| [0, 1].map(|d| truth[first..first + 6].iter().map(|p| p[d]).sum::<f64>() / 6.0);
    let eyes = distance(eye(36), eye(42));
    if !(eyes > 0.0 && eyes.is_finite()) {
        return Err(Error::Usage(format!("landmark_error: the true eyes are {eyes} apart; check the landmarks")));
    }
    Ok(truth.iter().zip(found).map(|(&a, &b)| distance(a, b)).sum::<f64>() / 68.0 / eyes)
}

/// Returns the mean of [`landmark_error`] over pairs of true and found landmarks, or 0 if there are none.
///
/// # Errors
/// Those of [`landmark_error`].
pub fn mean_landmark_error<'a>(pairs: impl Iterator<Item = (&'a [[f64; 2]], Vec<[f64; 2]>)>) -> Result<f64> {
    let errors = pairs.map(|(truth, found)| landmark_error(truth, &found)).collect::<Result<Vec<_>>>()?;
    Ok(errors.iter().sum::<f64>() / errors.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_in_distances_of_the_eyes() {
        let mut truth: Vec<[f64; 2]> = (0..68).map(|k| [f64::from(k), 0.0]).collect();
        truth[36..42].fill([10.0, 5.0]);
        truth[42..48].fill([40.0, 45.0]);
        let found: Vec<[f64; 2]> = truth.iter().map(|p| [p[0] + 3.0, p[1] - 4.0]).collect();
        assert!((landmark_error(&truth, &found).unwrap() - 0.1).abs() < 1e-12);
        assert!(landmark_error(&truth, &found[..5]).is_err());
        assert!(landmark_error(&[[1.0, 1.0]; 68], &[[1.0, 1.0]; 68]).is_err());
    }
}
