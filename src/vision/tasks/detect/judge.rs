//! The second stage of a cascade: a network that says whether windows show faces, and where in them.

use crate::error::Result;
use crate::exec::Network;
use crate::tensor::Tensor;
use crate::vision::boxes::Bounds;
use crate::vision::patch::{Layer, Photo, View};

/// Windows that are judged at a time.
pub const AT_ONCE: usize = 16;
/// Least side of a box that is judged once more, in pixels.
pub const LEAST: f64 = 1.0;

/// A window that may show a face, and the logit of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub bounds: Bounds,
    pub logit: f64,
}

/// A network that judges windows.
#[derive(Debug)]
pub struct Judge {
    pub network: Network,
    /// Of the network's input.
    pub side: usize,
}

/// Returns the probability of a logit.
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Returns the square around a box with the same middle.
pub fn square(bounds: &Bounds) -> Bounds {
    let ([x, y], side) = (bounds.centre(), bounds.width.max(bounds.height));
    Bounds::new(x - side / 2.0, y - side / 2.0, side, side)
}

impl Judge {
    /// Returns what each of the windows shows: a face's box, and the logit of that there is one.
    pub fn judged(&self, photo: &Photo, windows: &[Bounds]) -> Result<Vec<Window>> {
        let side = self.side;
        let mut found = Vec::with_capacity(windows.len());
        for windows in windows.chunks(AT_ONCE) {
            // Two sizes of batches, so that two plans suffice.
            let count = if windows.len() <= AT_ONCE / 4 { AT_ONCE / 4 } else { AT_ONCE };
            let mut x = vec![0.0; count * side * side];
            for (window, patch) in windows.iter().zip(x.chunks_mut(side * side)) {
                let scale = side as f64 / window.width;
                let view =
                    View { of: window.centre(), at: [side as f64 / 2.0; 2], scale, angle: 0.0, is_mirrored: false };
                Layer { photo, part: photo.whole(), view, light: [1.0, 0.0] }.draw(side, 0.0, patch);
                patch.iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
            }
            let mut out = self.network.run(&[("x", &Tensor::new([count, 1, side, side], x)?)])?;
            let (face, offsets) = (out.take("face")?, out.take("box")?);
            for ((window, logit), offsets) in windows.iter().zip(face.data()).zip(offsets.data().chunks(4)) {
                let sides = window.sides();
                let moved = [0, 1, 2, 3].map(|k| sides[k] + f64::from(offsets[k]) * window.width);
                found.push(Window { bounds: Bounds::of_sides(moved), logit: (*logit).into() });
            }
        }
        Ok(found)
    }

    /// Returns the faces that windows show, by the windows' indices. What is found in a window with a logit that `is_likely` accepts is judged
    /// once more in the square around it; boxes and logits are the means of both.
    pub fn twice(
        &self,
        photo: &Photo,
        windows: &[Bounds],
        is_likely: &dyn Fn(f64) -> bool,
    ) -> Result<Vec<(usize, Window)>> {
        let first = self.judged(photo, windows)?.into_iter().enumerate();
        let again: Vec<(usize, Window)> = first
            .filter(|(_, face)| is_likely(face.logit) && face.bounds.width.min(face.bounds.height) >= LEAST)
            .collect();
        let squares: Vec<Bounds> = again.iter().map(|(_, face)| square(&face.bounds)).collect();
        let second = self.judged(photo, &squares)?;
        let mean = |((k, a), b): ((usize, Window), Window)| {
            let (of_a, of_b) = (a.bounds.sides(), b.bounds.sides());
            let bounds = Bounds::of_sides([0, 1, 2, 3].map(|k| (of_a[k] + of_b[k]) / 2.0));
            (k, Window { bounds, logit: (a.logit + b.logit) / 2.0 })
        };
        Ok(again.into_iter().zip(second).map(mean).collect())
    }
}
