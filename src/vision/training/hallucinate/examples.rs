//! The faces of a run, and what a step sees of them.

use super::super::faces::{self, Aligned};
use super::parts::Part;
use crate::error::Result;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::vision::models::cbn::cascade::Variant;
use crate::vision::models::cbn::shape::{Point, ShapeModel, Similarity};
use crate::vision::tasks::hallucinate::faces::{Face, resized};
use crate::vision::tasks::hallucinate::frame::mirrored_points;

/// The faces of a run.
pub struct Training {
    /// With landmarks, each beside its mirror image.
    pub marked: Vec<Face>,
    /// Copies of these, those of a face and then those of its mirror image.
    pub moved: Vec<Moved>,
    /// Without landmarks.
    pub more: Option<Aligned>,
    /// Side of all planes.
    pub side: usize,
}

impl Training {
    pub fn len(&self) -> usize {
        self.whole() + self.more.as_ref().map_or(0, |more| more.luma.len())
    }

    /// Returns the number of faces that are shown whole.
    pub fn whole(&self) -> usize {
        self.marked.len() + self.moved.len()
    }

    /// Returns every face at another side: those with landmarks, their copies, then those without.
    pub fn at(&self, side: usize) -> Result<Vec<Vec<f32>>> {
        let marked = self.marked.iter().chain(self.moved.iter().map(|m| &m.face)).map(|f| f.at(side));
        let more = self.more.iter().flat_map(|more| &more.luma).map(|luma| resized(luma, self.side, side));
        marked.chain(more).collect()
    }

    /// Returns a plane of `side` × `side` for each face without landmarks: 1 where its picture shows the frame, else 0. `None` if
    /// there are no such faces.
    pub fn shown(&self, side: usize) -> Option<Vec<Vec<f32>>> {
        let more = self.more.as_ref()?;
        Some((0..more.luma.len()).map(|k| more.shown(k, side)).collect())
    }
}

/// A copy of a face, turned, scaled and shifted a little.
#[derive(Debug, Clone)]
pub struct Moved {
    pub face: Face,
    /// Index of the original among the faces with landmarks.
    pub of: usize,
    by: Similarity,
    /// Whether `face` was mirrored after it was moved.
    mirrored: bool,
}

impl Moved {
    /// Returns the copy of a face, and its mirror image as a copy of that face's mirror image.
    pub fn with_mirror(copy: faces::Moved) -> [Self; 2] {
        let faces::Moved { of, by, face } = copy;
        let mirrored = Self { face: face.mirrored(), of: 2 * of + 1, by, mirrored: true };
        [Self { face, of: 2 * of, by, mirrored: false }, mirrored]
    }

    /// Returns the copy's p_k: the coefficients in `found` of its original, moved as the copy was.
    pub fn p(&self, shape: &ShapeModel, found: &[Vec<f64>]) -> Vec<f64> {
        let move_all = |points: &[Point]| points.iter().map(|&x| self.by.apply(x)).collect::<Vec<_>>();
        let points = shape.landmarks(&found[self.of]);
        shape.coefficients(&match self.mirrored {
            true => mirrored_points(&move_all(&mirrored_points(&points))),
            false => move_all(&points),
        })
    }
}

/// A level's training faces: one plane per face, row by row.
pub struct Examples {
    pub side: usize,
    /// Number of leading faces that are shown whole.
    pub whole: usize,
    /// For each of the others: 1 where its picture shows the frame, else 0.
    pub shown: Option<Vec<Vec<f32>>>,
    /// ↑I_{k−1}.
    pub up: Vec<Vec<f32>>,
    /// The inverse of W_k: columns, then rows. Empty where no prior is read.
    pub w_inverse: Vec<Vec<f32>>,
    /// Î_k.
    pub hat: Vec<Vec<f32>>,
}

impl Examples {
    /// Returns the planes of the chosen faces.
    fn of<'a>(planes: &'a [Vec<f32>], chosen: &[[usize; 3]]) -> Vec<&'a [f32]> {
        chosen.iter().map(|&[face, ..]| &planes[face][..]).collect()
    }

    /// Makes batch `step` of `seed`: what `part` reads of `n` faces, a square of side `patch` pixels of each.
    pub fn batch(
        &self,
        [n, patch]: [usize; 2],
        part: Part,
        seed: u64,
        step: u64,
    ) -> Result<Vec<(&'static str, Tensor)>> {
        let mut rng = Rng::of_step(seed, step);
        let places = self.side - patch + 1;
        let chosen: Vec<[usize; 3]> =
            (0..n).map(|_| [rng.below(self.up.len()), rng.below(places), rng.below(places)]).collect();
        let cut = |planes: Vec<&[f32]>, channels: usize| {
            let mut data = Vec::with_capacity(n * channels * patch * patch);
            for (plane, &[_, row, column]) in planes.into_iter().zip(&chosen) {
                for line in (0..channels).flat_map(|c| (0..patch).map(move |i| c * self.side + row + i)) {
                    let first = line * self.side + column;
                    data.extend_from_slice(&plane[first..first + patch]);
                }
            }
            Tensor::new([n, channels, patch, patch], data)
        };
        let of = |planes| Self::of(planes, &chosen);
        let mut batch = vec![("up", cut(of(&self.up), 1)?), ("hat", cut(of(&self.hat), 1)?)];
        if !matches!(part, Part::Common | Part::Joint(Variant::Common)) {
            batch.push(("w_inverse", cut(of(&self.w_inverse), 2)?));
        }
        if let Some(shown) = &self.shown {
            let whole = vec![1.0; self.side * self.side];
            let of_face =
                |&[face, ..]: &[usize; 3]| if face < self.whole { &whole[..] } else { &shown[face - self.whole][..] };
            batch.push(("shown", cut(chosen.iter().map(of_face).collect(), 1)?));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::tasks::hallucinate::faces::shape_model;

    #[test]
    fn a_step_sees_one_place_of_a_face_and_every_place_in_time() {
        let side = 8;
        // A pixel encodes its face and place: 100 per face, 10 per row, 1 per column.
        let planes: Vec<Vec<f32>> =
            (0..2).map(|face| (0..64).map(|q| (100 * face + 10 * (q / side) + q % side) as f32).collect()).collect();
        // Only the upper half of the second face is shown.
        let shown = Some(vec![(0..64).map(|q| f32::from(q < 32)).collect()]);
        let (up, hat) = (planes.clone(), planes);
        let examples = Examples { side, whole: 1, shown, up, w_inverse: Vec::new(), hat };
        let mut corners = Vec::new();
        for step in 1..800 {
            let batch = examples.batch([1, 4], Part::Common, 1, step).unwrap();
            let [up, hat, shown] = [0, 1, 2].map(|k| batch[k].1.data().iter().map(|v| *v as usize).collect::<Vec<_>>());
            assert_eq!(up, hat);
            let corner = up[0];
            assert!((0..16).all(|q| up[q] == corner + 10 * (q / 4) + q % 4), "{up:?}");
            assert!((0..16).all(|q| shown[q] == usize::from(up[q] < 140)), "{up:?} {shown:?}");
            corners.push(corner);
        }
        corners.sort_unstable();
        corners.dedup();
        assert_eq!(corners.len(), 2 * 25);
    }

    #[test]
    fn the_p_of_a_copy_lies_where_the_copy_does() {
        let mut rng = Rng::new(8);
        // A face is nearly its own mirror image.
        let half: Vec<Point> =
            (0..68).map(|k| [0.2 + 0.6 * (k % 8) as f64 / 7.0, 0.2 + 0.6 * (k / 8) as f64 / 8.0]).collect();
        let mean = half.iter().zip(mirrored_points(&half)).map(|(x, y)| [0, 1].map(|d| (x[d] + y[d]) / 2.0));
        let mean: Vec<Point> = mean.collect();
        let mut face = || {
            let points = mean.iter().map(|x| x.map(|v| v + 0.01 * rng.normal())).collect();
            Face { luma: vec![0.5; 16], side: 4, points }
        };
        let faces: Vec<Face> = (0..6).map(|_| face()).collect();
        let shape = shape_model(&faces, 1.0).unwrap();
        let found: Vec<Vec<f64>> =
            faces.iter().flat_map(|f| [f.clone(), f.mirrored()]).map(|f| shape.coefficients(&f.points)).collect();
        // Turned, larger and shifted to one side, so that mirroring and moving do not commute.
        let by = Similarity { a: 1.05, b: 0.08, shift: [0.05, -0.04] };
        let points = faces[2].points.iter().map(|&x| by.apply(x)).collect();
        let copy = faces::Moved { of: 2, by, face: Face { luma: vec![0.5; 16], side: 4, points } };
        let largest = |x: &[Point], y: &[Point]| {
            x.iter().zip(y).flat_map(|(x, y)| [x[0] - y[0], x[1] - y[1]]).fold(0.0, |m: f64, v| m.max(v.abs()))
        };
        for copy in Moved::with_mirror(copy) {
            let placed = shape.landmarks(&copy.p(&shape, &found));
            assert!(largest(&placed, &copy.face.points) < 0.01, "{}", largest(&placed, &copy.face.points));
            assert!(largest(&shape.landmarks(&found[copy.of]), &copy.face.points) > 0.05);
        }
    }
}
