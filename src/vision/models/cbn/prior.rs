//! E_k: where a face has fine detail, as C contours on the template.
//!
//! The magnitude of what bicubic enlargement lacks is warped to the template, averaged over all training faces, and cut into
//! C parts. Each part is one channel, in 0..1.
//! Source: Zhu et al. 2016, section 3.3 and figure 4: "average the magnitude of the residual maps over all training images",
//! "cluster the preliminary high-frequency map into C = 10 continuous contours".
//! Not stated in the paper; we chose: the strongest quarter of the map inside the face; k-means over the places (x, y)
//! weighted by the map, from starts spread as far apart as possible (k-means++ without randomness: each next start is the
//! place with the largest weighted distance); a Gaussian over each part; the same parts on every level. Training uses faces
//! and their mirror images, so the set of parts is symmetric: each has a mirrored partner or lies on the frame's midline.

use super::shape::Point;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// C in the paper.
pub const CONTOURS: usize = 10;

/// Share of the face's pixels, those of the largest magnitudes, that the contours cover.
const STRONGEST: f64 = 0.25;

/// The centres of the parts, as fractions of the frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Contours {
    pub centres: Vec<Point>,
}

impl Contours {
    /// Finds `count` parts of a map of `side` × `side`; only places where `inside` is true count. The parts are as
    /// mirror-symmetric as the map.
    ///
    /// # Errors
    /// There are fewer strong pixels than parts; the map has another size.
    pub fn find(map: &[f32], side: usize, inside: &[bool], count: usize) -> Result<Self> {
        let strong = strongest(map, side, inside)?;
        let places: Vec<(Point, f64)> =
            strong.iter().map(|&q| (place(q, side), f64::from(map[q]))).filter(|(_, w)| *w > 0.0).collect();
        if places.len() < count || count == 0 {
            return Err(Error::Usage(format!(
                "a map with {} strong pixels cannot give {count} contours; give more faces, or larger ones",
                places.len()
            )));
        }
        // Centres, and the index of each one's mirror image.
        let mut centres: Vec<Point> = Vec::with_capacity(count);
        let mut partner: Vec<usize> = Vec::with_capacity(count);
        while centres.len() < count {
            let far = |p: &(Point, f64)| p.1 * if centres.is_empty() { 1.0 } else { nearest(&centres, p.0).1 };
            let Some(&(next, _)) = places.iter().max_by(|a, b| far(a).total_cmp(&far(b))) else { break };
            let k = centres.len();
            // A start far enough from its mirror image makes two parts, a nearer one a single part in the middle.
            let is_apart = (next[0] - mirrored(next)[0]).abs() > MIDDLE;
            if is_apart && k + 2 <= count {
                centres.extend([next, mirrored(next)]);
                partner.extend([k + 1, k]);
            } else {
                centres.push([0.5, next[1]]);
                partner.push(k);
            }
        }
        // Lloyd's rounds end when no place changes its part; a hundred rounds are far more than a face needs.
        for _ in 0..100 {
            let mut sums = vec![[0.0; 3]; count];
            for &(p, weight) in &places {
                let sum = &mut sums[nearest(&centres, p).0];
                *sum = [sum[0] + weight * p[0], sum[1] + weight * p[1], sum[2] + weight];
            }
            let own: Vec<Point> = sums
                .iter()
                .zip(&centres)
                .map(|(s, c)| if s[2] > 0.0 { [s[0] / s[2], s[1] / s[2]] } else { *c })
                .collect();
            let with_mirror = |(c, &other): (&Point, &usize)| {
                let image = mirrored(own[other]);
                [0.5 * (c[0] + image[0]), 0.5 * (c[1] + image[1])]
            };
            let moved: Vec<Point> = own.iter().zip(&partner).map(with_mirror).collect();
            if moved == centres {
                break;
            }
            centres = moved;
        }
        centres.sort_by(|a, b| a[1].total_cmp(&b[1]).then(a[0].total_cmp(&b[0])));
        Ok(Self { centres })
    }

    /// Returns E, `[1, C, side, side]`: the map's strong pixels by part, smoothed by a Gaussian of 1/64 of the side. Each
    /// part's largest value is 1.
    ///
    /// # Errors
    /// The map has another size.
    pub fn channels(&self, map: &[f32], side: usize, inside: &[bool]) -> Result<Tensor> {
        let mut data = Vec::with_capacity(self.centres.len() * side * side);
        let strong = strongest(map, side, inside)?;
        for part in 0..self.centres.len() {
            let mut plane = vec![0.0f64; side * side];
            for &q in strong.iter().filter(|&&q| nearest(&self.centres, place(q, side)).0 == part) {
                plane[q] = f64::from(map[q]);
            }
            let plane = smoothed(&plane, side, side as f64 / 64.0);
            let largest = plane.iter().copied().fold(0.0, f64::max);
            let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
            data.extend(plane.iter().map(|v| (v * scale) as f32));
        }
        Tensor::new([1, self.centres.len(), side, side], data)
    }
}

/// Starts nearer to their mirror image than this fraction of the frame become one part in the middle.
const MIDDLE: f64 = 1.0 / 8.0;

/// Returns the same place in the mirror image.
fn mirrored([x, y]: Point) -> Point {
    [1.0 - x, y]
}

/// Returns the centre of pixel `q`, as fractions of the frame.
fn place(q: usize, side: usize) -> Point {
    [q % side, q / side].map(|v| (v as f64 + 0.5) / side as f64)
}

/// Returns the index of the nearest centre and its squared distance.
fn nearest(centres: &[Point], p: Point) -> (usize, f64) {
    let distance = |c: &Point| (c[0] - p[0]).powi(2) + (c[1] - p[1]).powi(2);
    let all = centres.iter().map(distance).enumerate();
    all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::INFINITY))
}

/// Returns the pixels inside that belong to the strongest share, in order of place.
fn strongest(map: &[f32], side: usize, inside: &[bool]) -> Result<Vec<usize>> {
    if map.len() != side * side || inside.len() != map.len() {
        return Err(Error::Usage(format!(
            "a map of side {side} needs a value and a mark per pixel, got {} values and {} marks",
            map.len(),
            inside.len()
        )));
    }
    let mut order: Vec<usize> = (0..map.len()).filter(|&q| inside[q]).collect();
    order.sort_by(|&a, &b| map[b].total_cmp(&map[a]).then(a.cmp(&b)));
    // An even number, so that every pixel keeps its mirror image.
    order.truncate(2 * (0.5 * STRONGEST * order.len() as f64).ceil() as usize);
    order.sort_unstable();
    Ok(order)
}

/// Smooths a plane by a Gaussian of standard deviation `sigma` pixels, with zeros beyond the border.
fn smoothed(plane: &[f64], side: usize, sigma: f64) -> Vec<f64> {
    let radius = (3.0 * sigma).ceil() as i64;
    let taps: Vec<f64> = (-radius..=radius).map(|d| (-(d * d) as f64 / (2.0 * sigma * sigma)).exp()).collect();
    let along = |plane: &[f64], at: &dyn Fn(usize, i64) -> Option<usize>| -> Vec<f64> {
        let value = |q: usize| {
            let terms = taps.iter().enumerate().map(|(k, t)| at(q, k as i64 - radius).map_or(0.0, |i| t * plane[i]));
            terms.sum::<f64>()
        };
        (0..plane.len()).map(value).collect()
    };
    let within = |v: i64| (0..side as i64).contains(&v);
    let rows = along(plane, &|q, d| {
        let j = (q % side) as i64 + d;
        within(j).then(|| q / side * side + j as usize)
    });
    along(&rows, &|q, d| {
        let i = (q / side) as i64 + d;
        within(i).then(|| i as usize * side + q % side)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three short strokes on a plane of 32 × 32, symmetric about its midline.
    fn strokes() -> Vec<f32> {
        let mut map = vec![0.01f32; 32 * 32];
        for k in 0..6 {
            map[5 * 32 + 4 + k] = 1.0;
            map[5 * 32 + 22 + k] = 1.0;
            map[26 * 32 + 13 + k] = 0.8;
        }
        map
    }

    #[test]
    fn strokes_are_parts() {
        // The strokes' 18 pixels are a quarter of the 72 that are marked.
        let map = strokes();
        let inside: Vec<bool> =
            (0..1024).map(|q| map[q] > 0.1 || (10..13).contains(&(q / 32)) && q % 32 < 18).collect();
        let found = Contours::find(&map, 32, &inside, 3).unwrap();
        let expected = [[7.0, 5.5], [25.0, 5.5], [16.0, 26.5]];
        for (c, e) in found.centres.iter().zip(expected) {
            assert!((c[0] * 32.0 - e[0]).abs() < 1e-6 && (c[1] * 32.0 - e[1]).abs() < 1e-6, "{c:?}");
        }
        let e = found.channels(&map, 32, &inside).unwrap();
        assert_eq!(e.shape(), [1, 3, 32, 32]);
        for (c, [x, y]) in expected.into_iter().enumerate() {
            let here = e.at([0, c, y as usize, x as usize]);
            assert!(here > 0.95, "{here}");
            assert!((0..3).filter(|&d| d != c).all(|d| e.at([0, d, y as usize, x as usize]) < 1e-3));
        }
    }

    #[test]
    fn parts_are_their_own_mirror_image() {
        // Blobs at odd places, with their mirror image added.
        let at = |q: usize| {
            let (i, j) = ((q / 32) as f64, (q % 32) as f64);
            let blob = |y: f64, x: f64, s: f64| (-((i - y).powi(2) + (j - x).powi(2)) / s).exp();
            (blob(7.3, 6.1, 9.0) + 0.8 * blob(13.0, 9.7, 5.0) + 0.7 * blob(25.2, 13.9, 14.0)) as f32
        };
        let map: Vec<f32> = (0..1024).map(|q| at(q) + at(q / 32 * 32 + 31 - q % 32)).collect();
        for count in [2, 5, 6, 10] {
            let parts = Contours::find(&map, 32, &[true; 1024], count).unwrap();
            let e = parts.channels(&map, 32, &[true; 1024]).unwrap();
            assert_eq!(parts.centres.len(), count);
            for c in 0..count {
                let is_mirror = |d: usize| {
                    (0..1024).all(|q| {
                        let (i, j) = (q / 32, q % 32);
                        (e.at([0, c, i, j]) - e.at([0, d, i, 31 - j])).abs() < 1e-5
                    })
                };
                assert!((0..count).any(is_mirror), "{count} parts, part {c}: {:?}", parts.centres);
            }
        }
    }

    #[test]
    fn too_little_to_cluster_is_refused() {
        let inside: Vec<bool> = (0..1024).map(|q| q < 8).collect();
        assert!(Contours::find(&strokes(), 32, &inside, 3).unwrap_err().to_string().contains("2 strong pixels"));
        assert!(Contours::find(&strokes(), 31, &inside, 3).is_err());
    }
}
