//! Pairs of rows and columns whose weights have the largest sum, where rows come one after another.

/// Below this, sums count as equal: the weights are fractions of pixels, whose sums differ by more.
const EQUAL: f64 = 1e-12;

/// The best assignment of the rows so far: no row and no column is in two pairs.
///
/// Each row that comes is added along the path of changes that gains most, so the sum is the largest at every time, as by the Hungarian
/// method (Kuhn 1955) from the start, at the price of one row.
#[derive(Debug)]
pub(super) struct Assignment {
    /// The weights of each row, 0 or more; 0 pairs nothing.
    weights: Vec<Vec<f64>>,
    /// The row of each column.
    pairs: Vec<Option<usize>>,
}

impl Assignment {
    pub fn new(columns: usize) -> Self {
        Self { weights: Vec::new(), pairs: vec![None; columns] }
    }

    /// Adds a row with a weight for each column.
    pub fn add(&mut self, weights: Vec<f64>) {
        let row = self.weights.len();
        self.weights.push(weights);
        let columns = self.pairs.len();
        // The largest gain if a column is taken from its row, which then has none, and the column that this column's new row had before.
        let (mut gain, mut before): (Vec<f64>, Vec<Option<usize>>) =
            (vec![f64::NEG_INFINITY; columns], vec![None; columns]);
        let mut open: Vec<usize> = Vec::new();
        for (column, &weight) in self.weights[row].iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            gain[column] = weight;
            open.push(column);
        }
        // No path visits a column twice, so that many rounds are enough.
        for _ in 0..columns {
            let mut next = Vec::new();
            for &from in &open {
                let Some(owner) = self.pairs[from] else { continue };
                for (to, &weight) in self.weights[owner].iter().enumerate() {
                    let sum = gain[from] - self.weights[owner][from] + weight;
                    if to != from && weight > 0.0 && sum > gain[to] + EQUAL {
                        (gain[to], before[to]) = (sum, Some(from));
                        next.push(to);
                    }
                }
            }
            next.sort_unstable();
            next.dedup();
            open = next;
            if open.is_empty() {
                break;
            }
        }
        // The row that loses its column in the end loses its weight.
        let lost = |column: usize| self.pairs[column].map_or(0.0, |owner| self.weights[owner][column]);
        let mut best = (EQUAL, None);
        for (column, gain) in gain.iter().enumerate() {
            let total = gain - lost(column);
            if total > best.0 {
                best = (total, Some(column));
            }
        }
        // Each column of the path goes to the row of the one before it.
        let mut at = best.1;
        while let Some(column) = at {
            self.pairs[column] = Some(before[column].and_then(|from| self.pairs[from]).unwrap_or(row));
            at = before[column];
        }
    }

    /// Returns the weights of the pairs, in the order of columns.
    pub fn matched(&self) -> impl Iterator<Item = f64> + '_ {
        self.pairs.iter().enumerate().filter_map(|(column, row)| Some(self.weights[(*row)?][column]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Returns the largest sum by trying every assignment.
    fn best(weights: &[Vec<f64>], taken: u32) -> f64 {
        let Some((first, rest)) = weights.split_first() else { return 0.0 };
        let columns = (0..first.len()).filter(|c| taken & (1 << c) == 0 && first[*c] > 0.0);
        columns.map(|c| first[c] + best(rest, taken | (1 << c))).fold(best(rest, taken), f64::max)
    }

    #[test]
    fn the_sum_is_the_largest_after_every_row() {
        let mut rng = Rng::new(1);
        for case in 0..300 {
            let columns = 1 + case % 5;
            let mut assignment = Assignment::new(columns);
            let mut rows: Vec<Vec<f64>> = Vec::new();
            for _ in 0..7 {
                // Eighths, so that many sums are equal, and a third of them 0.
                let weight = |_| ((rng.unit() * 12.0).floor() - 4.0).max(0.0) / 8.0;
                rows.push((0..columns).map(weight).collect());
                assignment.add(rows[rows.len() - 1].clone());
                let sum: f64 = assignment.matched().sum();
                assert!((sum - best(&rows, 0)).abs() < 1e-9, "{rows:?}: {sum}");
                let pairs: Vec<usize> = assignment.pairs.iter().flatten().copied().collect();
                let mut once = pairs.clone();
                once.sort_unstable();
                once.dedup();
                assert_eq!(once.len(), pairs.len(), "a row has two columns: {pairs:?}");
            }
        }
    }

    #[test]
    fn a_row_gives_way_where_taking_the_best_first_does_not() {
        let mut assignment = Assignment::new(2);
        assignment.add(vec![0.9, 0.8]);
        assignment.add(vec![0.7, 0.0]);
        // Not 0.9 and nothing.
        assert_eq!(assignment.matched().collect::<Vec<_>>(), [0.7, 0.8]);
        // The sum decides, not the number of pairs.
        let mut assignment = Assignment::new(2);
        assignment.add(vec![0.9, 0.1]);
        assignment.add(vec![0.2, 0.0]);
        assert_eq!(assignment.matched().collect::<Vec<_>>(), [0.9]);
    }
}
