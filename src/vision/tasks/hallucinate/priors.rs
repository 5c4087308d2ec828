//! Fits the high-frequency priors E_k of a cascade to faces with landmarks.

use super::batches::{narrowed, over_faces};
use super::faces::{Face, resized};
use super::frame::mirrored_plane;
use crate::error::Result;
use crate::exec::Device;
use crate::graph::Graph;
use crate::ops::warp::{Border, Warp};
use crate::tensor::Tensor;
use crate::vision::metrics::Region;
use crate::vision::models::cbn::bases::Bases;
use crate::vision::models::cbn::network::Config;
use crate::vision::models::cbn::prior::Contours;
use crate::vision::models::cbn::shape::ShapeModel;
use crate::weights::Weights;

/// Faces per run of the session.
const BATCH: usize = 16;

/// The prior of one level and the map from which it was cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    pub side: usize,
    /// Mean magnitude of Î_k − bicubic(I_0) on the template, in grey levels of 0..1, row by row.
    pub map: Vec<f32>,
    /// E_k: `[1, C, side, side]` in 0..1.
    pub channels: Tensor,
}

/// Fits the priors of the levels of `config`, with the parts found on the largest level. The priors are mirror-symmetric, as if
/// every face had been seen with its mirror image.
///
/// # Errors
/// There are no faces or no levels; the device fails.
pub fn fit(device: &Device, model: &ShapeModel, faces: &[Face], config: &Config) -> Result<(Contours, Vec<Prior>)> {
    let symmetric = |side: usize| -> Result<Vec<f32>> {
        let map = mean_magnitude(device, model, faces, [config.input_side, side])?;
        Ok(map.iter().zip(mirrored_plane(&map, side)).map(|(a, b)| 0.5 * (a + b)).collect())
    };
    let sides: Vec<usize> = config.levels.iter().map(|l| l.side).collect();
    let maps = sides.iter().map(|&side| symmetric(side)).collect::<Result<Vec<_>>>()?;
    let inside = |side: usize| -> Result<Vec<bool>> {
        let mean: Vec<_> = model.mean().iter().map(|m| m.map(|v| v * side as f64)).collect();
        let region = Region::face(&mean, [side; 2])?;
        let inside = region.pixels();
        Ok((0..side * side).map(|q| inside[q] && inside[q / side * side + side - 1 - q % side]).collect())
    };
    let largest = (0..sides.len())
        .max_by_key(|&k| sides[k])
        .ok_or_else(|| crate::error::Error::Usage("priors need at least one level; give its side".into()))?;
    let parts = Contours::find(&maps[largest], sides[largest], &inside(sides[largest])?, config.contours)?;
    let mut priors = Vec::with_capacity(sides.len());
    for (map, side) in maps.into_iter().zip(sides) {
        let channels = parts.channels(&map, side, &inside(side)?)?;
        priors.push(Prior { side, map, channels });
    }
    Ok((parts, priors))
}

/// Returns |Î − bicubic(I_0)|, warped to the template by W of each face's true p and averaged over the faces; 0 if there are
/// no faces.
///
/// # Errors
/// The mean landmarks are collinear; a side is 0; the device fails.
pub fn mean_magnitude(
    device: &Device,
    model: &ShapeModel,
    faces: &[Face],
    [input_side, side]: [usize; 2],
) -> Result<Vec<f32>> {
    let (batch, n) = (BATCH, model.len());
    let bases = Bases::dense(model, side)?;
    let mut g = Graph::new();
    let x = g.input("x", [batch, 1, side, side])?;
    let p = g.input("p", [batch, n, 1, 1])?;
    let z = g.constant("z", bases.z)?;
    let b = g.constant("bases", bases.b)?;
    let w = g.field(z, b, p)?;
    let y = g.warp(x, w, Warp { border: Border::Clamp })?;
    let session = device.compile(&g, &[y], Weights::default())?;
    let mut sum = vec![0.0f64; side * side];
    for faces in faces.chunks(batch) {
        let (mut x, mut p): (Vec<Vec<f32>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
        for face in faces {
            let hat = face.at(side)?;
            let bicubic = resized(&face.at(input_side)?, input_side, side)?;
            x.push(hat.iter().zip(bicubic).map(|(a, b)| (a - b).abs()).collect());
            p.push(model.coefficients(&face.points));
        }
        let found = over_faces(&session, &[("x", &x), ("p", &narrowed(&p))])?;
        for (q, v) in found[0].iter().flatten().enumerate() {
            sum[q % (side * side)] += f64::from(*v);
        }
    }
    Ok(sum.into_iter().map(|v| (v / faces.len().max(1) as f64) as f32).collect())
}
