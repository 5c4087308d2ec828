//! φ(I; x(1..L)): features around the landmarks, read where the current shape places them.
//!
//! DAISY-like: eight maps of the picture's gradient, one per direction, with negative parts clipped, smoothed by a Gaussian,
//! and sampled bilinearly at a landmark and at eight places on a ring around it. A landmark's 8 · 9 numbers form one vector
//! of length 1. Every operation has a gradient, so φ can be differentiated by the picture and by p.
//! Source: Tola, Lepetit, Fua, "DAISY: An Efficient Dense Descriptor Applied to Wide-Baseline Stereo", PAMI 2010, section 3.
//! Differs from it: one ring, and one normalisation per landmark instead of one per place.
//! Differs from Zhu et al. 2016: their f_k reads SIFT. Both are smoothed histograms of oriented gradients on a grid that
//! moves with the landmark.

use super::bases::Bases;
use super::shape::{Point, ShapeModel};
use super::upright;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::ops::conv2d::Conv2d;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::warp::{Border, Warp};
use crate::tensor::Tensor;

/// Directions of the gradient, and places on a ring.
const DIRECTIONS: usize = 8;

/// Where a landmark's descriptor reads, in pixels of its input picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Descriptor {
    /// Radius of the ring.
    pub radius: f64,
    /// Standard deviation of the Gaussian.
    pub sigma: f64,
    /// The side at which the picture is read in the upright frame of p; without it, the picture is read as it is.
    pub upright: Option<usize>,
}

impl Default for Descriptor {
    fn default() -> Self {
        Self { radius: 2.0, sigma: 1.0, upright: None }
    }
}

/// Side of the Gaussian's window.
const WINDOW: usize = 5;

impl Descriptor {
    /// Returns the places around a landmark, starting with the landmark itself.
    pub fn offsets(&self) -> Vec<Point> {
        let turn = |k: usize| std::f64::consts::TAU * k as f64 / DIRECTIONS as f64;
        let ring = (0..DIRECTIONS).map(|k| [self.radius * turn(k).cos(), self.radius * turn(k).sin()]);
        std::iter::once([0.0, 0.0]).chain(ring).collect()
    }

    /// Returns how many numbers describe a face with this number of `landmarks`.
    pub fn len(&self, landmarks: usize) -> usize {
        DIRECTIONS * self.offsets().len() * landmarks
    }

    /// Adds φ of the pictures `x` `[N, 1, side, side]` at the landmarks of `p` `[N, bases, 1, 1]`: `[N, 8, L, 9]`. Its
    /// constants are named `phi/…`. Also returns the coefficients that φ is read at, which a step adds to: `p`, or those of the
    /// same landmarks in the upright frame.
    ///
    /// # Errors
    /// The shapes do not fit; a name is taken.
    pub fn build(&self, g: &mut Graph, x: NodeId, p: NodeId, model: &ShapeModel) -> Result<[NodeId; 2]> {
        let (x, p) = match self.upright {
            Some(side) => (upright::picture(g, x, p, model, side)?, upright::enter(g, p, model)?),
            None => (x, p),
        };
        let [_, _, _, side] = g.shape(x)?.nchw();
        let places = Bases::landmarks(model, side, &self.offsets())?;
        let phi = g.within("phi", |g| {
            let w = g.constant("directions", directions())?;
            let zero = g.constant("directions.b", Tensor::zeros([1, DIRECTIONS, 1, 1]))?;
            let maps = g.conv2d(x, w, zero, Conv2d { replicate: true, ..Conv2d::same(3) })?;
            let maps = g.relu(maps)?;
            let gaussian = g.constant("gaussian", self.gaussian())?;
            let smooth = Conv2d { replicate: true, groups: DIRECTIONS, ..Conv2d::same(WINDOW) };
            let maps = g.conv2d(maps, gaussian, zero, smooth)?;
            let z = g.constant("z", places.z)?;
            let b = g.constant("bases", places.b)?;
            let at = g.field(z, b, p)?;
            let samples = g.warp(maps, at, Warp { border: Border::Clamp })?;
            // Gradients of luminance in 0..1; on flat cheeks, gradients below about one grey level are noise.
            g.l2_normalize(samples, L2Normalize { eps: 1e-2 })
        })?;
        Ok([phi, p])
    }

    /// Adds p_k from the coefficients that a step found: `found`, which are of the upright frame of `p` if φ was read there.
    ///
    /// # Errors
    /// The shapes do not fit; a name is taken.
    pub fn leave(&self, g: &mut Graph, found: NodeId, p: NodeId, model: &ShapeModel) -> Result<NodeId> {
        if self.upright.is_some() { upright::leave(g, found, p, model) } else { Ok(found) }
    }

    fn gaussian(&self) -> Tensor {
        let half = (WINDOW / 2) as f64;
        let raw: Vec<f64> = (0..WINDOW * WINDOW)
            .map(|k| {
                let (i, j) = ((k / WINDOW) as f64 - half, (k % WINDOW) as f64 - half);
                (-(i * i + j * j) / (2.0 * self.sigma * self.sigma)).exp()
            })
            .collect();
        let sum: f64 = raw.iter().sum();
        let filter = raw.iter().map(|v| (v / sum) as f32);
        let data = std::iter::repeat_n(filter, DIRECTIONS).flatten().collect();
        Tensor::new([DIRECTIONS, 1, WINDOW, WINDOW], data).expect("a window per direction")
    }
}

/// Returns Sobel's derivative filters, in grey levels per pixel, turned to each direction.
fn directions() -> Tensor {
    let smooth = [0.25, 0.5, 0.25];
    let step = [-0.5, 0.0, 0.5];
    let data = (0..DIRECTIONS * 9)
        .map(|e| {
            let (angle, i, j) = (std::f64::consts::TAU * (e / 9) as f64 / DIRECTIONS as f64, e % 9 / 3, e % 3);
            (angle.cos() * smooth[i] * step[j] + angle.sin() * step[i] * smooth[j]) as f32
        })
        .collect();
    Tensor::new([DIRECTIONS, 1, 3, 3], data).expect("a filter per direction")
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::model;
    use super::*;
    use crate::exec::{Device, Select};
    use crate::weights::Weights;

    #[test]
    fn a_ramp_points_one_way_everywhere() {
        let (model, side) = (model(), 24);
        let mut g = Graph::new();
        let x = g.input("x", [1, 1, side, side]).unwrap();
        let p = g.input("p", [1, model.len(), 1, 1]).unwrap();
        let [phi, _] = Descriptor::default().build(&mut g, x, p, &model).unwrap();
        assert_eq!(g.shape(phi).unwrap(), [1, 8, 9, 9]);
        assert_eq!(Descriptor::default().len(9), 8 * 9 * 9);
        let session = Device::open(&Select::Cpu).unwrap().compile(&g, &[phi], Weights::default()).unwrap();
        // Brighter downwards by 0.05 per pixel: direction 2 is the column (0, 1), and its neighbours see cos 45° of it.
        let ramp = (0..side * side).map(|q| 0.05 * (q / side) as f32).collect();
        let ramp = Tensor::new([1, 1, side, side], ramp).unwrap();
        let out = session.run(&[("x", &ramp), ("p", &Tensor::zeros([1, model.len(), 1, 1]))]).unwrap();
        let centre = |o: usize| out[0].at([0, o, 8, 0]);
        assert!(centre(2) > 0.1 && (centre(1) / centre(2) - 0.5f32.sqrt()).abs() < 1e-4);
        assert!(centre(6).abs() < 1e-6 && centre(0).abs() < 1e-6);
    }
}
