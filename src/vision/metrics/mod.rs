//! The papers' metrics, computed as the papers compute them.

pub mod classes;
pub mod detection;
pub mod landmarks;
pub mod psnr;
pub mod region;
pub mod ssim;

pub use classes::{Confusion, roc_area};
pub use landmarks::{landmark_error, mean_landmark_error};
pub use psnr::psnr;
pub use region::Region;
pub use ssim::{WINDOW as SSIM_WINDOW, ssim};

use crate::error::{Error, Result};

/// Returns `plane` without `shave` pixels at each border, rounded to whole grey levels 0..255.
fn rounded(plane: &[f32], size: [usize; 2], shave: usize) -> Vec<f64> {
    let [height, width] = size;
    let mut out = Vec::with_capacity((height - 2 * shave) * (width - 2 * shave));
    for row in plane.chunks_exact(width).take(height - shave).skip(shave) {
        // A conversion to u8 saturates, as MATLAB's does.
        out.extend(row[shave..width - shave].iter().map(|v| f64::from((v * 255.0 + 0.5) as u8)));
    }
    out
}

/// Refuses planes of another size, and pictures with fewer than `least` pixels per side between the borders.
fn check(
    metric: &str,
    reference: &[f32],
    result: &[f32],
    [height, width]: [usize; 2],
    shave: usize,
    least: usize,
) -> Result<()> {
    let len = height.checked_mul(width);
    for (name, plane) in [("reference", reference), ("result", result)] {
        if len != Some(plane.len()) {
            let got = plane.len();
            return Err(Error::Usage(format!("{metric}: the {name} must have {height}x{width} values, got {got}")));
        }
    }
    if shave.checked_mul(2).and_then(|s| s.checked_add(least)).is_none_or(|s| s > height.min(width)) {
        return Err(Error::Usage(format!(
            "{metric}: without a border of {shave} px a picture of height {height} and width {width} has less than \
             {least}x{least} px; measure larger pictures"
        )));
    }
    Ok(())
}
