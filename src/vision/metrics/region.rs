//! PSNR and SSIM over part of a picture, such as the face.

use super::ssim::WINDOW;
use crate::error::{Error, Result};

/// The pixels to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    size: [usize; 2],
    inside: Vec<bool>,
}

impl Region {
    /// Returns the face region: the pixels of a picture of `size` (height, width) whose centre lies within the convex hull of
    /// the landmarks (column, row, in pixels; (0, 0) is the picture's corner), enlarged by a tenth about their mean.
    ///
    /// # Errors
    /// No pixel lies within the hull.
    pub fn face(points: &[[f64; 2]], size: [usize; 2]) -> Result<Self> {
        let n = points.len() as f64;
        let mean = [0, 1].map(|d| points.iter().map(|p| p[d]).sum::<f64>() / n);
        let grown = points.iter().map(|p| [0, 1].map(|d| mean[d] + 1.1 * (p[d] - mean[d]))).collect();
        let hull = convex_hull(grown);
        let is_inside = |x: f64, y: f64| {
            let edges = hull.iter().zip(hull.iter().cycle().skip(1));
            hull.len() > 2 && edges.into_iter().all(|(&p, &q)| cross(p, q, [x, y]) >= 0.0)
        };
        let [height, width] = size;
        let inside: Vec<bool> =
            (0..height * width).map(|q| is_inside((q % width) as f64 + 0.5, (q / width) as f64 + 0.5)).collect();
        if !inside.contains(&true) {
            return Err(Error::Usage(format!(
                "the hull of {} landmarks holds no pixel of a picture of {height}x{width}; check that they are in pixels",
                points.len()
            )));
        }
        Ok(Self { size, inside })
    }

    /// Returns whether each pixel belongs to the region, row by row.
    pub fn pixels(&self) -> &[bool] {
        &self.inside
    }

    /// Returns [`super::psnr()`] over the region.
    ///
    /// # Errors
    /// A plane does not have the region's size.
    pub fn psnr(&self, reference: &[f32], result: &[f32]) -> Result<f64> {
        super::check("psnr", reference, result, self.size, 0, 1)?;
        let (a, b) = (super::rounded(reference, self.size, 0), super::rounded(result, self.size, 0));
        let squares = a.iter().zip(&b).zip(&self.inside).filter(|(_, is)| **is).map(|((a, b), _)| (a - b) * (a - b));
        let count = self.inside.iter().filter(|is| **is).count();
        Ok(20.0 * (255.0 / (squares.sum::<f64>() / count as f64).sqrt()).log10())
    }

    /// Returns [`super::ssim()`] averaged over the windows whose centre lies in the region.
    ///
    /// # Errors
    /// A plane does not have the region's size; no window has its centre in the region.
    pub fn ssim(&self, reference: &[f32], result: &[f32]) -> Result<f64> {
        let map = super::ssim::map(reference, result, self.size, 0)?;
        let (width, edge) = (self.size[1], WINDOW / 2);
        let columns = width - WINDOW + 1;
        let centre = |k: usize| (k / columns + edge) * width + k % columns + edge;
        let values: Vec<f64> =
            map.iter().enumerate().filter(|(k, _)| self.inside[centre(*k)]).map(|(_, v)| *v).collect();
        if values.is_empty() {
            return Err(Error::Usage(
                "ssim: the face lies within 5 px of the picture's border; measure larger pictures".into(),
            ));
        }
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }
}

/// Returns a positive number if p, q, r turn from the x axis towards the y axis.
fn cross(p: [f64; 2], q: [f64; 2], r: [f64; 2]) -> f64 {
    (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
}

/// Returns the corners of the convex hull, in the direction of a positive [`cross`] (Andrew's monotone chain).
fn convex_hull(mut points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let mut hull: Vec<[f64; 2]> = Vec::new();
    let mut half = |points: &mut dyn Iterator<Item = &[f64; 2]>| {
        let start = hull.len();
        for &p in points {
            while hull.len() >= start + 2 && cross(hull[hull.len() - 2], hull[hull.len() - 1], p) <= 0.0 {
                hull.pop();
            }
            hull.push(p);
        }
        hull.pop();
    };
    half(&mut points.iter());
    half(&mut points.iter().rev());
    hull
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::metrics::ssim::tests::{SIZE, planes};
    use crate::vision::metrics::{psnr, ssim};

    #[test]
    fn a_region_of_everything_measures_the_picture() {
        let (a, b) = planes();
        let [h, w] = SIZE.map(|s| s as f64);
        let all = Region::face(&[[0.0, 0.0], [w, 0.0], [w, h], [0.0, h], [w / 2.0, h / 2.0]], SIZE).unwrap();
        assert!(all.pixels().iter().all(|is| *is));
        assert!((all.psnr(&a, &b).unwrap() - psnr(&a, &b, SIZE, 0).unwrap()).abs() < 1e-12);
        assert!((all.ssim(&a, &b).unwrap() - ssim(&a, &b, SIZE, 0).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn the_hull_is_grown_by_a_tenth() {
        // A square of 20 px around (20, 20): 22 px, from 9 to 31, so 22 pixels per side.
        let square = [[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0], [20.0, 12.0], [20.0, 28.0]];
        let region = Region::face(&square, [40, 50]).unwrap();
        assert_eq!(region.pixels().iter().filter(|is| **is).count(), 22 * 22);
        assert!(region.pixels()[9 * 50 + 9] && !region.pixels()[8 * 50 + 9] && region.pixels()[30 * 50 + 30]);
    }

    #[test]
    fn only_the_region_counts() {
        let square = [[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]];
        let region = Region::face(&square, [40, 50]).unwrap();
        let a = vec![0.5f32; 2000];
        let b: Vec<f32> = region.pixels().iter().map(|is| if *is { 0.5 + 10.0 / 255.0 } else { 0.0 }).collect();
        assert!((region.psnr(&a, &b).unwrap() - 20.0 * 25.5f64.log10()).abs() < 1e-9);
        assert!(Region::face(&[[0.1, 0.1], [0.2, 0.1], [0.1, 0.2]], [40, 50]).is_err());
        assert!(Region::face(&[], [40, 50]).is_err());
    }
}
