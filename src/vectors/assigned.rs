//! Which centroid is nearest to each vector, round after round of k-means.
//!
//! Source: Ding et al. 2015, "Yinyang K-Means: A Drop-In Replacement of the Classic K-Means with Consistent Speedup": each vector has a
//! lower bound of its distances to a group of centroids, which holds until these have moved too far. Unlike there, a group is eight
//! centroids in order, whose distances a processor computes together, and includes the vector's own; groups by nearness or by movement
//! left no fewer distances to compute.

use super::{Neighbours, distance};
use crate::error::Result;
use crate::exec::Device;
use crate::tensor::Tensor;
use crate::threads::in_threads;

/// Centroids in a group.
const GROUP: usize = 8;
/// Numbers that any processor multiplies together. The sums of a group fill half of the registers of x86-64.
const LANES: usize = 4;
/// Vectors that are looked up in a group while it is in the cache.
const PART: usize = 32;

/// The nearest centroid of each vector. Bounds are in units of the frame.
pub struct Assigned<'a> {
    vectors: &'a Tensor,
    /// The number of the nearest centroid.
    pub labels: Vec<usize>,
    frame: Frame,
    /// The vectors in the frame, `[N, D / LANES, LANES]`.
    framed: Vec<[f32; LANES]>,
    /// What [`Frame::write`] returns for them.
    lengths: Vec<f32>,
    /// For each part of `PART` vectors `[groups, vectors]`: at most the distance to a centroid of the group when it was last computed,
    /// plus how far the group had moved by then.
    lower: Vec<f32>,
    /// For each group the sum over rounds of how far its centroids moved at most.
    moved: Vec<f64>,
}

impl<'a> Assigned<'a> {
    /// Prepares to assign `vectors` to centroids that start from `centroids`.
    pub fn new(vectors: &'a Tensor, centroids: &Tensor) -> Self {
        let [n, d] = [vectors.shape()[0], vectors.shape()[1]];
        let (columns, groups) = (d.div_ceil(LANES), centroids.shape()[0].div_ceil(GROUP));
        let frame = Frame::new(vectors, centroids);
        let (mut framed, mut lengths) = (vec![[0.0; LANES]; n * columns], vec![0.0; n]);
        let rows = vectors.data().chunks(PART * d).zip(framed.chunks_mut(PART * columns));
        in_threads(rows.zip(lengths.chunks_mut(PART)), |((rows, framed), lengths)| {
            for ((row, framed), length) in rows.chunks(d).zip(framed.chunks_mut(columns)).zip(lengths) {
                *length = frame.write(row, framed);
            }
        });
        let lower = vec![f32::NEG_INFINITY; n * groups];
        Self { vectors, labels: vec![0; n], frame, framed, lengths, lower, moved: vec![0.0; groups] }
    }

    /// Lets `device` look up all vectors, so that [`Assigned::update`] need only settle what is nearly as near as the nearest.
    ///
    /// # Errors
    /// The device fails.
    pub fn look_up(&mut self, device: &Device, centroids: &Tensor) -> Result<()> {
        let (groups, n) = (self.moved.len(), self.labels.len());
        let square = self.frame.unit * self.frame.unit;
        // An f32 distance is wrong by no more than this share, and the underflow of its terms.
        let d = self.vectors.shape()[1] as f64;
        let (share, underflow) = ((d + 2.0) * f64::from(f32::EPSILON), d * f64::from(f32::MIN_POSITIVE));
        Neighbours::new(device, centroids)?.each_distance(self.vectors, |number, distances| {
            let first = number / PART * PART;
            let size = (n - first).min(PART);
            let mut best = f32::INFINITY;
            for (group, of_group) in distances.chunks(GROUP).enumerate() {
                let mut least = f32::INFINITY;
                for (k, distance) in of_group.iter().enumerate() {
                    least = least.min(*distance);
                    if *distance < best {
                        (best, self.labels[number]) = (*distance, group * GROUP + k);
                    }
                }
                let least = (f64::from(least.min(f32::MAX)) / (1.0 + share) - underflow) / square;
                self.lower[first * groups + group * size + number % PART] = bound((least as f32).next_down(), 0.0);
            }
        })
    }

    /// Finds the nearest of `centroids` to each vector, and the first of several equally near.
    pub fn update(&mut self, centroids: &Tensor) {
        let d = centroids.shape()[1];
        let columns = d.div_ceil(LANES);
        let unit = self.frame.unit;
        let groups = Groups::new(&self.frame, centroids);
        let moved: Vec<f32> = self.moved.iter().map(|moved| *moved as f32).collect();
        let exact = |row: &[f32], label: usize| distance(row, &centroids.data()[label * d..][..d]);
        let vectors = self.vectors.data().chunks(PART * d).zip(self.framed.chunks(PART * columns));
        let bounds = self.lengths.chunks(PART).zip(self.lower.chunks_mut(PART * moved.len()));
        let parts = self.labels.chunks_mut(PART).zip(vectors).zip(bounds);
        in_threads(parts, |((labels, (rows, framed)), (lengths, lower))| {
            let mut best = [Best::default(); PART];
            for ((best, row), label) in best.iter_mut().zip(rows.chunks(d)).zip(&*labels) {
                *best = Best::new(*label, exact(row, *label), unit);
            }
            let values = groups.values.chunks(columns).zip(&groups.lengths);
            let groups = values.zip(&moved).zip(lower.chunks_mut(labels.len())).enumerate();
            for (group, (((values, group_lengths), moved), lower)) in groups {
                // Which vectors a group is open for is beyond prediction, so no branch asks.
                let (mut open, mut count) = ([0; PART], 0);
                for (number, (lower, best)) in lower.iter().zip(&best).enumerate() {
                    open[count] = number;
                    count += usize::from(*lower <= best.reach + moved);
                }
                for &number in &open[..count] {
                    let products = products(&framed[number * columns..][..columns], values);
                    let squares = squares(&products, group_lengths, lengths[number]);
                    let least = squares.into_iter().fold(f32::INFINITY, |a, b| if a < b { a } else { b });
                    lower[number] = bound(least, *moved);
                    let best = &mut best[number];
                    if least > best.square {
                        continue;
                    }
                    for (square, label) in squares.into_iter().zip(group * GROUP..) {
                        if square <= best.square && label != best.label {
                            let found = exact(&rows[number * d..][..d], label);
                            if found < best.distance || found == best.distance && label < best.label {
                                *best = Best::new(label, found, unit);
                            }
                        }
                    }
                }
            }
            labels.iter_mut().zip(&best).for_each(|(label, best)| *label = best.label);
        });
    }

    /// Widens the bounds by how far the centroids move.
    pub fn follow(&mut self, before: &Tensor, after: &Tensor) {
        let d = before.shape()[1];
        let groups = before.data().chunks(GROUP * d).zip(after.data().chunks(GROUP * d));
        for (moved, (before, after)) in self.moved.iter_mut().zip(groups) {
            let rows = before.chunks(d).zip(after.chunks(d));
            *moved += rows.map(|(a, b)| distance(a, b)).fold(0.0, f64::max).sqrt() / self.frame.unit;
        }
    }

    /// Returns the squared distance of each vector to its centroid.
    pub fn distances(&self, centroids: &Tensor) -> Vec<f64> {
        let d = centroids.shape()[1];
        let own = |(row, label): (&[f32], &usize)| distance(row, &centroids.data()[label * d..][..d]);
        self.vectors.data().chunks(d).zip(&self.labels).map(own).collect()
    }
}

/// The nearest centroid of a vector so far.
#[derive(Clone, Copy, Default)]
struct Best {
    label: usize,
    /// The squared distance.
    distance: f64,
    /// At least the squared distance, in units of the frame.
    square: f32,
    /// The distance in these units, rounded.
    reach: f32,
}

impl Best {
    fn new(label: usize, distance: f64, unit: f64) -> Self {
        let square = distance / (unit * unit);
        Self { label, distance, square: (square as f32).next_up(), reach: square.sqrt() as f32 }
    }
}

/// Returns a bound such that no centroid of the group is as near as `reach` while `reach` plus how far the group has moved, rounded, is
/// below it. `least` is at most the squared distance now, and `moved` how far the group has moved by now.
///
/// Each side rounds at most four numbers and a sum of them, by half of EPSILON each; MIN_POSITIVE covers underflow.
fn bound(least: f32, moved: f32) -> f32 {
    (least.max(0.0).sqrt() + moved) * (1.0 - 4.0 * f32::EPSILON) - f32::MIN_POSITIVE
}

/// Where f32 resolves vectors best: from their mean, in units of the largest difference. So products lose no digits to a mean far from
/// zero, and no square overflows.
struct Frame {
    mean: Vec<f64>,
    unit: f64,
}

impl Frame {
    fn new(vectors: &Tensor, centroids: &Tensor) -> Self {
        let [n, d] = [vectors.shape()[0], vectors.shape()[1]];
        let mut mean = vec![0.0; d];
        for row in vectors.data().chunks(d) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= n as f64);
        let mut most = vec![0.0f64; d];
        for row in vectors.data().chunks(d).chain(centroids.data().chunks(d)) {
            for ((most, value), mean) in most.iter_mut().zip(row).zip(&mean) {
                *most = most.max((f64::from(*value) - mean).abs());
            }
        }
        let unit = most.into_iter().fold(0.0, f64::max);
        Self { mean, unit: if unit > 0.0 { unit } else { 1.0 } }
    }

    /// Writes `row` in the frame. Returns its squared length there less what rounding may add to a squared distance.
    fn write(&self, row: &[f32], framed: &mut [[f32; LANES]]) -> f32 {
        let mut length = 0.0;
        for ((value, mean), framed) in row.iter().zip(&self.mean).zip(framed.as_flattened_mut()) {
            *framed = ((f64::from(*value) - mean) / self.unit) as f32;
            length += f64::from(*framed) * f64::from(*framed);
        }
        let d = row.len();
        (length * (1.0 - margin(d)) - d as f64 * f64::from(f32::MIN_POSITIVE)) as f32
    }
}

/// Returns how much rounding may add to a squared distance |a|² + |c|² − 2a·c in f32, relative to |a|² + |c|². Underflow comes on top.
///
/// In units of half of EPSILON: 4 for a and c themselves, as (|a| + |c|)² ≤ 2(|a|² + |c|²); 1 for their lengths; 1 for each product and
/// each sum it goes through, as 2|a||c| ≤ |a|² + |c|²; 4 for the last two sums; 1 for what is computed in f64. The quotient covers their
/// products: Higham 2002, "Accuracy and Stability of Numerical Algorithms", lemma 3.1.
fn margin(d: usize) -> f64 {
    let products = d.div_ceil(LANES) + LANES.ilog2() as usize;
    let rounding = (4 + 1 + products + 4 + 1) as f64 * f64::from(f32::EPSILON) / 2.0;
    rounding / (1.0 - rounding).max(f64::MIN_POSITIVE)
}

/// Centroids in groups.
struct Groups {
    /// The centroids in the frame, `[groups, D / LANES, GROUP, LANES]`.
    values: Vec<[[f32; LANES]; GROUP]>,
    /// What [`Frame::write`] returns for them, and infinity where there are no more.
    lengths: Vec<[f32; GROUP]>,
}

impl Groups {
    fn new(frame: &Frame, centroids: &Tensor) -> Self {
        let [count, d] = [centroids.shape()[0], centroids.shape()[1]];
        let (columns, groups) = (d.div_ceil(LANES), count.div_ceil(GROUP));
        let mut values = vec![[[0.0; LANES]; GROUP]; groups * columns];
        let mut lengths = vec![[f32::INFINITY; GROUP]; groups];
        let mut framed = vec![[0.0; LANES]; columns];
        for (k, row) in centroids.data().chunks(d).enumerate() {
            lengths[k / GROUP][k % GROUP] = frame.write(row, &mut framed);
            let values = &mut values[k / GROUP * columns..][..columns];
            values.iter_mut().zip(&framed).for_each(|(to, from)| to[k % GROUP] = *from);
        }
        Self { values, lengths }
    }
}

/// Returns the product of a vector with each centroid of a group, as sums over every fourth number.
///
/// Not inlined, or the compiler arranges the loop for what follows it, and shuffles numbers before each product.
#[inline(never)]
fn products(framed: &[[f32; LANES]], values: &[[[f32; LANES]; GROUP]]) -> [[f32; LANES]; GROUP] {
    let mut sums = [[0.0; LANES]; GROUP];
    for (x, centroids) in framed.iter().zip(values) {
        for (sums, c) in sums.iter_mut().zip(centroids) {
            for i in 0..LANES {
                sums[i] += x[i] * c[i];
            }
        }
    }
    sums
}

/// Returns at most the squared distance to each centroid of a group, from the [`products`] and what [`Frame::write`] returned.
fn squares(products: &[[f32; LANES]; GROUP], lengths: &[f32; GROUP], length: f32) -> [f32; GROUP] {
    std::array::from_fn(|k| {
        let [a, b, c, d] = products[k];
        lengths[k] - 2.0 * ((a + b) + (c + d)) + length
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Vectors around few places, so that many are near each other.
    fn clouds(n: usize, d: usize, [centre, spread]: [f64; 2], seed: u64) -> Tensor {
        let mut rng = Rng::new(seed);
        let places: Vec<f64> = (0..5 * d).map(|_| rng.normal()).collect();
        let mut values = Vec::with_capacity(n * d);
        for _ in 0..n {
            let place = rng.below(5) * d;
            values.extend((0..d).map(|i| (centre + spread * (places[place + i] + 0.1 * rng.normal())) as f32));
        }
        Tensor::new([n, d], values).unwrap()
    }

    fn first(vectors: &Tensor, count: usize) -> Tensor {
        let d = vectors.shape()[1];
        Tensor::new([count, d], vectors.data()[..count * d].to_vec()).unwrap()
    }

    const FRAMES: [[f64; 2]; 6] = [[0.0, 1.0], [1e3, 1.0], [1e3, 1e-3], [0.0, 1e37], [0.0, 1e-38], [1e-42, 1e-43]];

    /// The largest share of the margin, and the smallest, by which rounding makes any squared distance too large.
    fn shares(frame: &Frame, vectors: &Tensor, centroids: &Tensor) -> [f64; 2] {
        let d = vectors.shape()[1];
        let groups = Groups::new(frame, centroids);
        let (mut framed, columns) = (vec![[0.0; LANES]; d.div_ceil(LANES)], d.div_ceil(LANES));
        let mut shares = [f64::NEG_INFINITY, f64::INFINITY];
        for row in vectors.data().chunks(d) {
            let length = frame.write(row, &mut framed);
            for (k, centroid) in centroids.data().chunks(d).enumerate() {
                let values = &groups.values[k / GROUP * columns..][..columns];
                let lengths = &groups.lengths[k / GROUP];
                let found = f64::from(squares(&products(&framed, values), lengths, length)[k % GROUP]);
                let exact = distance(row, centroid) / frame.unit / frame.unit;
                let allowed =
                    margin(d) * f64::from(length + lengths[k % GROUP]) + d as f64 * f64::from(f32::MIN_POSITIVE);
                let share = (found - exact) / allowed.max(f64::MIN_POSITIVE) + 1.0;
                shares = [shares[0].max(share), shares[1].min(share)];
                assert!(found <= exact, "{found} is more than {exact}: {d} dimensions");
            }
        }
        shares
    }

    #[test]
    fn a_squared_distance_is_never_above_the_exact_one() {
        for frame in FRAMES {
            for d in [1, 2, 3, 4, 5, 8, 31, 128] {
                let vectors = clouds(60, d, frame, d as u64);
                let centroids = first(&vectors, 19);
                let whole = Frame::new(&vectors, &centroids);
                assert!(whole.unit <= 10.0 * frame[1], "the mean is left out");
                let [most, least] = shares(&whole, &vectors, &centroids);
                assert!(most <= 1.0 && least > -3.0, "{d} dimensions, {frame:?}: {most} {least}");
            }
        }
    }

    #[test]
    fn a_squared_distance_that_underflows_is_not_above_the_exact_one() {
        let frame = Frame { mean: vec![0.0; 9], unit: 1.0 };
        for power in 15..30 {
            let vectors = clouds(60, 9, [0.0, 0.1f64.powi(power)], 2);
            shares(&frame, &vectors, &first(&vectors, 19));
        }
    }

    #[test]
    fn the_margin_is_not_much_more_than_rounding_takes() {
        // Each product is just below half of what the sum resolves in the end, so nearly all sums round down.
        let d = 4096;
        let vectors = Tensor::filled([1, d], 1.0);
        let frame = Frame { mean: vec![0.0; d], unit: 1.0 };
        let most = (1..40)
            .map(|k| {
                let centroids = Tensor::filled([1, d], 1.0 + k as f32 * f32::EPSILON * 8.0 - f32::EPSILON);
                shares(&frame, &vectors, &centroids)[0]
            })
            .fold(0.0, f64::max);
        assert!((0.1..1.0).contains(&most), "{most}");
    }

    /// Runs rounds as k-means does, and checks every bound in each. Returns the share of groups that were computed in each.
    fn check(device: Option<&Device>, vectors: &Tensor, count: usize, rounds: usize, seed: u64) -> Vec<f64> {
        let [n, d] = [vectors.shape()[0], vectors.shape()[1]];
        let mut rng = Rng::new(seed);
        let mut centroids = first(vectors, count);
        let mut assigned = Assigned::new(vectors, &centroids);
        let groups = assigned.moved.len();
        let mut shares = Vec::new();
        if let Some(device) = device {
            assigned.look_up(device, &centroids).unwrap();
        }
        for round in 0..rounds {
            let before = assigned.lower.clone();
            assigned.update(&centroids);
            let computed = before.iter().zip(&assigned.lower).filter(|(before, after)| before != after).count();
            shares.push(computed as f64 / before.len() as f64);
            for (number, row) in vectors.data().chunks(d).enumerate() {
                let exact: Vec<f64> = centroids.data().chunks(d).map(|c| distance(row, c)).collect();
                let nearest = (0..count).fold(0, |best, k| if exact[k] < exact[best] { k } else { best });
                assert_eq!(assigned.labels[number], nearest, "vector {number} in round {round}");
                let (part, size) = (number / PART, (n - number / PART * PART).min(PART));
                for (group, of_group) in exact.chunks(GROUP).enumerate() {
                    let lower = assigned.lower[(part * PART * groups) + group * size + number % PART];
                    let least = of_group.iter().copied().fold(f64::INFINITY, f64::min).sqrt() / assigned.frame.unit;
                    let moved = assigned.moved[group];
                    assert!(f64::from(lower) <= least + moved, "{lower} {least} {moved}: round {round}");
                }
            }
            // Some centroids stay, most move a little, and now and then one jumps to a vector.
            let mut moved = centroids.data().to_vec();
            for (k, centroid) in moved.chunks_mut(d).enumerate() {
                let target = vectors.data().chunks(d).nth(rng.below(n)).unwrap_or_default();
                let step = [0.0, 1e-4, 1e-3, 1e-2][rng.below(4)] + f64::from(u8::from(k == round));
                for (value, target) in centroid.iter_mut().zip(target) {
                    *value = (f64::from(*value) * (1.0 - step) + f64::from(*target) * step) as f32;
                }
            }
            let after = Tensor::new([count, d], moved).unwrap();
            assigned.follow(&centroids, &after);
            centroids = after;
        }
        shares
    }

    #[test]
    fn bounds_hold_while_centroids_move_and_save_most_distances() {
        for (k, frame) in FRAMES.into_iter().enumerate() {
            for (n, d, count) in [(67, 3, 20), (40, 1, 40), (33, 17, 1), (100, 8, 9)] {
                check(None, &clouds(n, d, frame, 1), count, 12, k as u64);
            }
        }
        let shares = check(None, &clouds(300, 16, [0.0, 1.0], 3), 160, 12, 1);
        assert!(shares[0] == 1.0 && shares[4..].iter().all(|share| *share < 0.7), "{shares:?}");
    }

    #[test]
    fn the_look_up_of_a_device_bounds_what_is_left() {
        let device = Device::open(&crate::exec::Select::Cpu).unwrap();
        for (k, frame) in FRAMES.into_iter().enumerate() {
            for (n, d, count) in [(67, 3, 20), (33, 17, 1)] {
                check(Some(&device), &clouds(n, d, frame, 1), count, 2, k as u64);
            }
        }
        let shares = check(Some(&device), &clouds(300, 16, [0.0, 1.0], 3), 160, 2, 1);
        assert!(shares[0] < 0.2, "{shares:?}");
    }

    #[test]
    fn a_bound_lies_below_both_sides_of_the_comparison_however_these_round() {
        let mut rng = Rng::new(9);
        for _ in 0..200_000 {
            let scale = 10f64.powf(rng.uniform(-45.0, 3.0));
            let least = (scale * scale * rng.unit()) as f32;
            let distance = f64::from(least).sqrt();
            let [before, after] = [(); 2].map(|()| scale * rng.unit());
            // The exact distance was `distance`, and the group has moved by `after` since: what is nearer than the rest may not be skipped.
            let reach = (distance - after) * (1.0 + 1e-9);
            if reach > 0.0 {
                let lower = bound(least, before as f32);
                assert!(lower <= reach as f32 + (before + after) as f32, "{distance} {before} {after}");
            }
        }
    }
}
