//! How well classes are found, where some may be rare.

use crate::error::{Error, Result};

/// How many of each class were taken for which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Row: the true class; column: the predicted one.
    counts: Vec<u64>,
}

impl Confusion {
    /// Counts the pairs of a true and a predicted class.
    ///
    /// # Errors
    /// The two differ in length; a class is not below `classes`.
    pub fn new(classes: usize, truth: &[usize], predicted: &[usize]) -> Result<Self> {
        if truth.len() != predicted.len() {
            return Err(Error::Usage(format!("{} true classes, but {} predicted ones", truth.len(), predicted.len())));
        }
        let mut counts = vec![0; classes * classes];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            if truth.max(predicted) >= classes {
                return Err(Error::Usage(format!("class {} is not below {classes}", truth.max(predicted))));
            }
            counts[truth * classes + predicted] += 1;
        }
        Ok(Self { classes, counts })
    }

    /// Returns how many of class `truth` were taken for class `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// Returns the share of all that were right; NaN if there are none.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|class| self.count(class, class)).sum();
        right as f64 / self.counts.iter().sum::<u64>() as f64
    }

    /// Returns the mean over classes of the share of each that was right: for two, (tp / P + tn / N) / 2. Classes of which there are
    /// none do not count; NaN if there are none at all.
    pub fn balanced_accuracy(&self) -> f64 {
        let rows = self.counts.chunks(self.classes.max(1)).enumerate();
        let shares: Vec<f64> = rows
            .map(|(class, row)| (row[class], row.iter().sum::<u64>()))
            .filter(|(_, all)| *all > 0)
            .map(|(right, all)| right as f64 / all as f64)
            .collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    }
}

/// Returns the area under the ROC curve: the probability that a positive one has a higher score than a negative one, where equal scores
/// count half; NaN if there are none of either, or a score is NaN.
///
/// # Errors
/// The two differ in length.
pub fn roc_area(scores: &[f64], is_positive: &[bool]) -> Result<f64> {
    if scores.len() != is_positive.len() {
        return Err(Error::Usage(format!("{} scores, but {} labels", scores.len(), is_positive.len())));
    }
    if scores.iter().any(|score| score.is_nan()) {
        return Ok(f64::NAN);
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut negatives, mut area) = (0.0, 0.0);
    for equal in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let positive = equal.iter().filter(|k| is_positive[**k]).count() as f64;
        let negative = equal.len() as f64 - positive;
        area += positive * (negatives + 0.5 * negative);
        negatives += negative;
    }
    Ok(area / (negatives * (scores.len() as f64 - negatives)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_class_counts_as_much_as_a_common_one() {
        let truth = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        let always = Confusion::new(2, &truth, &[0; 10]).unwrap();
        assert_eq!((always.accuracy(), always.balanced_accuracy()), (0.8, 0.5));
        let some = Confusion::new(3, &truth, &[0, 0, 0, 1, 0, 0, 0, 2, 1, 0]).unwrap();
        assert_eq!((some.accuracy(), some.balanced_accuracy()), (0.7, (0.75 + 0.5) / 2.0));
        assert_eq!((some.count(0, 1), some.count(1, 0), some.count(2, 2)), (1, 1, 0));
        assert!(Confusion::new(2, &[], &[]).unwrap().balanced_accuracy().is_nan());
        assert!(Confusion::new(2, &[0], &[2]).unwrap_err().to_string().contains("class 2 is not below 2"));
        assert!(Confusion::new(2, &[0], &[]).is_err());
    }

    #[test]
    fn the_roc_area_is_that_of_all_pairs() {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4, -1.0, 0.0, -0.0];
        let positive = [false, true, false, true, false, true, false, true];
        let mut pairs = Vec::new();
        for (k, _) in positive.iter().enumerate().filter(|(_, is_positive)| **is_positive) {
            for (other, _) in positive.iter().enumerate().filter(|(_, is_positive)| !**is_positive) {
                pairs.push(if scores[k] > scores[other] {
                    1.0
                } else if scores[k] == scores[other] {
                    0.5
                } else {
                    0.0
                });
            }
        }
        let all = pairs.iter().sum::<f64>() / pairs.len() as f64;
        assert_eq!(roc_area(&scores, &positive).unwrap(), all);
        assert!(roc_area(&[1.0], &[true]).unwrap().is_nan());
        assert!(roc_area(&[1.0, f64::NAN], &[true, false]).unwrap().is_nan());
        assert!(roc_area(&[1.0], &[]).is_err());
    }
}
