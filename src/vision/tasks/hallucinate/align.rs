//! Runs and fits f_k over many faces: features on the device, the regression on the host.

use super::batches::{narrowed, over_faces};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::graph::{Graph, Init};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::vision::models::cbn::alignment::{self, FOLDS, Method, Samples, Step};
use crate::vision::models::cbn::descriptor::Descriptor;
use crate::vision::models::cbn::shape::ShapeModel;
use crate::vision::models::cbn::upright;
use crate::weights::Weights;
use faer::Mat;
use std::collections::BTreeMap;

/// Faces per run of the session.
const BATCH: usize = 32;

/// How an f_k is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    pub descriptor: Descriptor,
    pub method: Method,
    /// Starts per face.
    pub starts: usize,
    /// Spread of the disturbed starts, as a multiple of the remaining error: the root mean square of p − p* over the faces,
    /// for each coefficient.
    pub spread: f64,
    /// Of the disturbed starts.
    pub seed: u64,
}

impl Recipe {
    /// Returns the coefficients `of` as a step from `p` sees them: in the upright frame of p, if it reads the picture there.
    fn enter(&self, model: &ShapeModel, p: &[f64], of: &[f64]) -> Vec<f64> {
        match self.descriptor.upright {
            Some(_) => upright::moved(model, of, &upright::similarity(model, p).inverse()),
            None => of.to_vec(),
        }
    }

    /// Undoes [`Recipe::enter`], as far as the bases hold a turned shape.
    fn leave(&self, model: &ShapeModel, p: &[f64], found: &[f64]) -> Vec<f64> {
        match self.descriptor.upright {
            Some(_) => upright::moved(model, found, &upright::similarity(model, p)),
            None => found.to_vec(),
        }
    }
}

/// A fitted step of f_k, which reads pictures of `side` × `side`.
#[derive(Debug, Clone, PartialEq)]
pub struct Regressor {
    pub descriptor: Descriptor,
    pub step: Step,
    pub side: usize,
}

impl Regressor {
    /// Fits a regressor that moves shapes like `p` to `truth` on `pictures` of `side` × `side`. All three have one entry per
    /// picture, and `faces` has the number of the face that it shows: mirror images and copies have the number of their original.
    /// Also returns where it moves `p`: with [`Method::Direct`], each picture by a step that was fitted without all pictures of
    /// its face, because the next regressor must see what it will meet on new faces.
    ///
    /// # Errors
    /// The numbers of pictures differ; the device fails; those of [`Step::fit`].
    pub fn fit(
        device: &Device,
        model: &ShapeModel,
        pictures: &[Vec<f32>],
        side: usize,
        [p, truth]: [&[Vec<f64>]; 2],
        faces: &[usize],
        recipe: &Recipe,
    ) -> Result<(Self, Vec<Vec<f64>>)> {
        let n = model.len();
        if [p.len(), truth.len(), faces.len()] != [pictures.len(); 3] {
            return Err(Error::Usage(format!(
                "{} pictures need as many starts, true coefficients and numbers of faces, got {}, {} and {}",
                pictures.len(),
                p.len(),
                truth.len(),
                faces.len()
            )));
        }
        let mut rest = vec![0.0; n];
        for (p, t) in p.iter().zip(truth) {
            (0..n).for_each(|k| rest[k] += (p[k] - t[k]).powi(2) / p.len() as f64);
        }
        let mut rng = Rng::new(recipe.seed);
        let mut features = Vec::new();
        let mut offsets = Vec::new();
        for start in 0..recipe.starts {
            // The first start is the faces' own p; the others are disturbed truths.
            let from: Vec<Vec<f64>> = if start == 0 {
                p.to_vec()
            } else {
                let disturb =
                    |t: &Vec<f64>| (0..n).map(|k| t[k] + recipe.spread * rest[k].sqrt() * rng.normal()).collect();
                truth.iter().map(disturb).collect()
            };
            features.extend(phi(device, model, &recipe.descriptor, pictures, side, &from)?);
            offsets.extend(from.iter().zip(truth).map(|(p, t)| {
                let [p, t] = [p, t].map(|of| recipe.enter(model, p, of));
                (0..n).map(|k| p[k] - t[k]).collect::<Vec<_>>()
            }));
        }
        let true_features = phi(device, model, &recipe.descriptor, pictures, side, truth)?;
        let width = recipe.descriptor.len(model.mean().len());
        let rows = |x: &[Vec<f32>]| Mat::from_fn(x.len(), width, |i, j| f64::from(x[i][j]));
        let samples = Samples {
            features: rows(&features),
            offsets: Mat::from_fn(offsets.len(), n, |i, j| offsets[i][j]),
            true_features: rows(&true_features),
            part: (0..offsets.len()).map(|row| faces[row % pictures.len()] % FOLDS).collect(),
        };
        let fit = Step::fit(&samples, recipe.method)?;
        let fitted = Self { descriptor: recipe.descriptor, step: fit.step, side };
        let moved = match fit.held_out {
            // The first start of each face comes first.
            Some(found) => {
                let moved = |(i, p): (usize, &Vec<f64>)| {
                    let q: Vec<f64> =
                        recipe.enter(model, p, p).iter().enumerate().map(|(k, q)| q + found[(i, k)]).collect();
                    recipe.leave(model, p, &q)
                };
                p.iter().enumerate().map(moved).collect()
            }
            None => fitted.apply(device, model, pictures, p)?,
        };
        Ok((fitted, moved))
    }

    /// Computes p_k of every face from its p_{k−1}.
    ///
    /// # Errors
    /// The numbers of faces differ; the device fails.
    pub fn apply(
        &self,
        device: &Device,
        model: &ShapeModel,
        pictures: &[Vec<f32>],
        p: &[Vec<f64>],
    ) -> Result<Vec<Vec<f64>>> {
        let weights = BTreeMap::from([("r".to_owned(), self.step.r.clone()), ("b".to_owned(), self.step.b.clone())]);
        let moved = run(device, model, &self.descriptor, pictures, self.side, p, Some(weights))?;
        Ok(moved.into_iter().map(|p| p.into_iter().map(f64::from).collect()).collect())
    }
}

/// Computes φ of every face at its p.
///
/// # Errors
/// Those of [`Regressor::apply`].
pub fn phi(
    device: &Device,
    model: &ShapeModel,
    descriptor: &Descriptor,
    pictures: &[Vec<f32>],
    side: usize,
    p: &[Vec<f64>],
) -> Result<Vec<Vec<f32>>> {
    run(device, model, descriptor, pictures, side, p, None)
}

/// Computes φ in batches, or p_k if the step's weights are given.
fn run(
    device: &Device,
    model: &ShapeModel,
    descriptor: &Descriptor,
    pictures: &[Vec<f32>],
    side: usize,
    p: &[Vec<f64>],
    step: Option<BTreeMap<String, Tensor>>,
) -> Result<Vec<Vec<f32>>> {
    if pictures.len() != p.len() || p.iter().any(|p| p.len() != model.len()) {
        return Err(Error::Usage(format!(
            "each of {} faces needs {} coefficients, got {} lists",
            pictures.len(),
            model.len(),
            p.len()
        )));
    }
    let (batch, n) = (BATCH.min(pictures.len().max(1)), model.len());
    let mut g = Graph::new();
    let x = g.input("x", [batch, 1, side, side])?;
    let c = g.input("p", [batch, n, 1, 1])?;
    let [mut out, q] = descriptor.build(&mut g, x, c, model)?;
    if step.is_some() {
        let r = g.param("r", [n, descriptor.len(model.mean().len()), 1, 1], Init::Constant(0.0))?;
        let b = g.param("b", [1, n, 1, 1], Init::Constant(0.0))?;
        let found = alignment::build(&mut g, out, q, r, b)?;
        out = descriptor.leave(&mut g, found, c, model)?;
    }
    let session = device.compile(&g, &[out], Weights::from_tensors(step.unwrap_or_default()))?;
    Ok(over_faces(&session, &[("x", pictures), ("p", &narrowed(p))])?.swap_remove(0))
}
