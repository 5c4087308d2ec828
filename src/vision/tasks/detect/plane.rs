//! A picture's grey levels at the size that a network looks at.

use crate::error::{Error, Result};
use crate::ops::resize::{Kernel, Resize};
use crate::vision::image::resize_plane_u8;
use crate::vision::patch::Photo;

/// How many samples of an input a picture's pixel becomes along each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zoom {
    Enlarged(usize),
    /// Halved so many times.
    Halved(usize),
}

impl Zoom {
    pub fn factor(self) -> f64 {
        match self {
            Self::Enlarged(factor) => factor as f64,
            Self::Halved(times) => 0.5_f64.powi(times as i32),
        }
    }

    /// Returns how long a side of the picture becomes.
    pub fn of(self, side: usize) -> Option<usize> {
        match self {
            Self::Enlarged(factor) => side.checked_mul(factor),
            Self::Halved(times) => Some(side >> times),
        }
    }
}

/// Grey levels that a network looks at.
pub struct Plane {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u8>,
}

impl Plane {
    /// Returns the photo at a size, or `None` if it is too small to be reduced so much.
    pub fn of(photo: &Photo, zoom: Zoom) -> Result<Option<Self>> {
        let halvings = if let Zoom::Halved(times) = zoom { times } else { 0 };
        let Some((width, height, pixels)) = photo.halved(halvings) else { return Ok(None) };
        let Zoom::Enlarged(_) = zoom else { return Ok(Some(Self { width, height, pixels: pixels.to_vec() })) };
        let [Some(rows), Some(columns)] = [height, width].map(|side| zoom.of(side)) else {
            return Err(Error::Usage("the picture is too large".into()));
        };
        let op =
            Resize::to(Kernel::Bilinear, [height, width], [rows, columns]).map_err(|e| Error::Usage(e.to_string()))?;
        Ok(Some(Self { width: columns, height: rows, pixels: resize_plane_u8(pixels, [height, width], &op)? }))
    }

    /// Returns `height` × `width` samples in −1 to 1 from `top`, `left` on, which may lie outside; there, the border is repeated.
    pub fn samples(&self, [top, left]: [i64; 2], [height, width]: [usize; 2]) -> Vec<f32> {
        let within = |first: i64, k: usize, size: usize| (first + k as i64).clamp(0, size as i64 - 1) as usize;
        let mut samples = Vec::with_capacity(height * width);
        for y in 0..height {
            let row = &self.pixels[within(top, y, self.height) * self.width..][..self.width];
            samples.extend((0..width).map(|x| f32::from(row[within(left, x, self.width)]) * (2.0 / 255.0) - 1.0));
        }
        samples
    }
}
