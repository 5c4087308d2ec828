//! Faces in the canonical frame, and the cascade's inputs made from them.

use super::frame::{self, Frame};
use crate::error::{Error, Result};
use crate::ops::resize::{Kernel, Resize};
use crate::vision::image::{Channel, Picture, resize_plane};
use crate::vision::models::cbn::shape::{Point, ShapeModel};

/// A face as the cascade sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    /// Luminance in 0..1, `side` × `side`, row by row.
    pub luma: Vec<f32>,
    pub side: usize,
    /// 68 landmarks as fractions of the frame.
    pub points: Vec<Point>,
}

impl Face {
    /// Takes the luminance of `picture` and the landmarks `points` (in pixels of the picture) into `frame`.
    ///
    /// # Errors
    /// Those of [`Frame::crop`].
    pub fn new(picture: &Picture, points: &[Point], frame: &Frame, side: usize) -> Result<Self> {
        let plane = picture.plane(Channel::Y, picture.whole())?;
        let luma = frame.crop(&plane, [picture.height(), picture.width()], side)?;
        Ok(Self { luma, side, points: frame.points(points) })
    }

    /// Returns the mirror image.
    pub fn mirrored(&self) -> Self {
        let luma = frame::mirrored_plane(&self.luma, self.side);
        Self { luma, side: self.side, points: frame::mirrored_points(&self.points) }
    }

    /// Returns the face at another side, by MATLAB's bicubic with antialiasing when shrinking: Î_k at a level's side, I_0 at
    /// the input's side.
    ///
    /// # Errors
    /// `side` is 0.
    pub fn at(&self, side: usize) -> Result<Vec<f32>> {
        resized(&self.luma, self.side, side)
    }
}

/// Resizes a square plane of side `from` bicubically to side `to`; with `to` = 2·`from`, this is the paper's ↑.
///
/// # Errors
/// The plane has another size, or a side is 0.
pub fn resized(plane: &[f32], from: usize, to: usize) -> Result<Vec<f32>> {
    let op = Resize::to(Kernel::Bicubic, [from; 2], [to; 2])
        .map_err(|source| Error::Shape { node: "face".into(), source })?;
    resize_plane(plane, [from; 2], &op)
}

/// Fits the shape model to these faces and their mirror images; its mean lies in the canonical frame.
///
/// # Errors
/// Those of [`ShapeModel::fit`].
pub fn shape_model(faces: &[Face], share: f64) -> Result<ShapeModel> {
    let both = |f: &Face| [f.points.clone(), frame::mirrored_points(&f.points)];
    let shapes: Vec<Vec<Point>> = faces.iter().flat_map(both).collect();
    ShapeModel::fit(&shapes, share, &frame::ANCHORS, &frame::PLACES)
}
