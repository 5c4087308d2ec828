//! Runs a cascade on a device: small faces in; large faces and the cascade's intermediate results out.

use super::batches::{narrowed, over_faces};
use super::faces::resized;
use super::frame::Frame;
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::graph::{Graph, NodeId};
use crate::vision::image::{Channel, Picture};
use crate::vision::metrics::{Region, psnr, ssim};
use crate::vision::models::cbn::cascade::{Cascade, Variant, weights_of};
use crate::vision::models::cbn::shape::Point;
use crate::weights::Weights;

/// A cascade of one variant, ready to run.
#[derive(Debug)]
pub struct Hallucinator {
    cascade: Cascade,
    session: Session,
    levels: usize,
    /// Number of coefficients p_k that a run fetches for each level; 0 if there is no f_k or p is given.
    bases: usize,
    has_details: bool,
}

/// A cascade's results for one face; planes row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Hallucinated {
    /// p_1 … p_K; empty if p was given or no f_k ran.
    pub p: Vec<Vec<f64>>,
    /// I_1 … I_K.
    pub i: Vec<Vec<f32>>,
    pub details: Option<Details>,
}

/// The intermediate results of the last level; those that a variant lacks are empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Details {
    /// ↑I_{K−1}.
    pub up: Vec<f32>,
    pub g_a: Vec<f32>,
    pub g_b: Vec<f32>,
    pub lambda: Vec<f32>,
    /// E^{W_K}, channel by channel.
    pub e_w: Vec<f32>,
}

/// What a run takes and returns besides the faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ask {
    /// Return the intermediate results of the last level.
    pub details: bool,
    /// Every run is given p, which stands in for all p_k.
    pub given_p: bool,
}

impl Hallucinator {
    /// Compiles the levels of `variant` for `batch` faces at a time; `weights` may hold more than the variant needs.
    ///
    /// # Errors
    /// The weights lack the variant; the device fails.
    pub fn new(
        device: &Device,
        cascade: &Cascade,
        weights: &Weights,
        variant: Variant,
        batch: usize,
        ask: Ask,
    ) -> Result<Self> {
        if !cascade.is_trained(weights, variant) {
            return Err(Error::weights(
                weights.name(),
                format!("holds no networks of the cascade {:?}; train them with --ablation", variant.name()),
            ));
        }
        let mut g = Graph::new();
        let batch = batch.max(1);
        let input_side = cascade.config.input_side;
        let i_0 = g.input("i_0", [batch, 1, input_side, input_side])?;
        let given = if ask.given_p { Some(g.input("p", [batch, cascade.shape.len(), 1, 1])?) } else { None };
        let stages = cascade.build(&mut g, i_0, variant, given)?;
        let finds_p = !ask.given_p && !matches!(variant, Variant::Common | Variant::Fixed);
        let mut fetches: Vec<NodeId> = stages.iter().map(|s| s.i).collect();
        if finds_p {
            fetches.extend(stages.iter().map(|s| s.p));
        }
        if let (Some(last), true) = (stages.last(), ask.details) {
            // A variant that lacks nodes fetches fewer; `run` tells by their number.
            fetches.push(last.up);
            fetches.extend([last.g_a, last.g_b, last.lambda, last.e_w].into_iter().flatten());
        }
        let session = device.compile(&g, &fetches, weights_of(&g, weights))?;
        let bases = if finds_p { cascade.shape.len() } else { 0 };
        let (cascade, levels) = (cascade.clone(), stages.len());
        Ok(Self { cascade, session, levels, bases, has_details: ask.details })
    }

    pub fn cascade(&self) -> &Cascade {
        &self.cascade
    }

    /// Runs the cascade on every `i_0`, luminance in 0..1, with the coefficients `p` of each face if [`Ask::given_p`] is set.
    ///
    /// # Errors
    /// A face has another size; p is missing; the device fails.
    pub fn run(&self, i_0: &[Vec<f32>], p: Option<&[Vec<f64>]>) -> Result<Vec<Hallucinated>> {
        let p = p.map(narrowed);
        let mut inputs = vec![("i_0", i_0)];
        inputs.extend(p.as_ref().map(|p| ("p", &p[..])));
        let mut found = over_faces(&self.session, &inputs)?;
        let steps = if self.bases > 0 { self.levels } else { 0 };
        let at = self.levels + steps;
        let is_full = found.len() == at + 5;
        let faces = (0..i_0.len()).map(|k| {
            let mut of =
                |index: usize| found.get_mut(index).map(|rows| std::mem::take(&mut rows[k])).unwrap_or_default();
            let i = (0..self.levels).map(&mut of).collect();
            let p = (self.levels..at).map(|index| of(index).into_iter().map(f64::from).collect()).collect();
            let details = self.has_details.then(|| match is_full {
                true => Details { up: of(at), g_a: of(at + 1), g_b: of(at + 2), lambda: of(at + 3), e_w: of(at + 4) },
                false => Details { up: of(at), ..Details::default() },
            });
            Hallucinated { p, i, details }
        });
        Ok(faces.collect())
    }
}

/// Returns I_0 of a face in a picture, and the face itself at the cascade's side if the picture has enough pixels for it.
///
/// # Errors
/// Those of [`Frame::crop`].
pub fn input(picture: &Picture, frame: &Frame, cascade: &Cascade) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
    let (input_side, side) = (cascade.config.input_side, cascade.side());
    let plane = picture.plane(Channel::Y, picture.whole())?;
    let size = [picture.height(), picture.width()];
    // Width of the frame in pixels of the picture; a face of half the side is worth comparing with.
    let pixels = frame.to_frame.inverse().scale();
    if 2.0 * pixels < side as f64 {
        return Ok((frame.crop(&plane, size, input_side)?, None));
    }
    let face = frame.crop(&plane, size, side)?;
    Ok((resized(&face, side, input_side)?, Some(face)))
}

/// How close a result is to the true face.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// PSNR in dB over the face region ([`Region::face`]), and SSIM there.
    pub psnr_face: f64,
    pub ssim_face: f64,
    /// Over all pixels.
    pub psnr: f64,
    pub ssim: f64,
}

impl Score {
    /// Scores `result` against `truth`, planes of `side` × `side` in 0..1, with landmarks as fractions of the side.
    ///
    /// # Errors
    /// A plane has another size; the picture shows no face.
    pub fn new(truth: &[f32], result: &[f32], side: usize, points: &[Point]) -> Result<Self> {
        let pixels: Vec<Point> = points.iter().map(|p| p.map(|v| v * side as f64)).collect();
        let region = Region::face(&pixels, [side; 2])?;
        Ok(Self {
            psnr_face: region.psnr(truth, result)?,
            ssim_face: region.ssim(truth, result)?,
            psnr: psnr(truth, result, [side; 2], 0)?,
            ssim: ssim(truth, result, [side; 2], 0)?,
        })
    }

    /// Returns how many dB one row of results leads another over the face region of the same faces: the mean over the faces
    /// and its standard error, which is NaN for a single face.
    pub fn lead(of: &[Self], over: &[Self]) -> [f64; 2] {
        let n = of.len().min(over.len()) as f64;
        let leads = || of.iter().zip(over).map(|(x, y)| x.psnr_face - y.psnr_face);
        let mean = leads().sum::<f64>() / n;
        [mean, (leads().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (n * (n - 1.0))).sqrt()]
    }

    /// Returns the mean of `scores`.
    pub fn mean(scores: &[Self]) -> Self {
        let n = scores.len().max(1) as f64;
        let of = |f: fn(&Self) -> f64| scores.iter().map(f).sum::<f64>() / n;
        Self {
            psnr_face: of(|s| s.psnr_face),
            ssim_face: of(|s| s.ssim_face),
            psnr: of(|s| s.psnr),
            ssim: of(|s| s.ssim),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_of_a_row_is_the_mean_over_the_faces_with_its_standard_error() {
        let row =
            |psnr: &[f64]| psnr.iter().map(|&psnr_face| Score { psnr_face, ..Score::default() }).collect::<Vec<_>>();
        assert_eq!(Score::lead(&row(&[31.0, 23.0]), &row(&[30.0, 21.0])), [1.5, 0.5]);
        let [mean, error] = Score::lead(&row(&[31.0]), &row(&[33.0]));
        assert!(mean == -2.0 && error.is_nan());
    }
}
