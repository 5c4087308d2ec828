//! Peak signal-to-noise ratio, as the super-resolution papers report it.

use crate::error::Result;

/// Returns the PSNR in dB: 20·log10(255 / RMSE).
///
/// `reference` and `result` are planes of `[height, width]`, row by row, in 0..1: the luminance of
/// [`crate::Picture::luma`], in MATLAB's studio range for colour pictures, or any other single channel. Both are multiplied
/// by 255, rounded half up to whole numbers and clamped to 0..255 before the comparison, because the papers compare uint8
/// pictures. `shave` pixels at each of the four borders are left out; in the papers this is the magnification factor. The
/// picture should have been cropped to a multiple of the factor before it was shrunk ("modcrop").
///
/// Higher is better; equal pictures give infinity. The mean is over one picture; over several, the papers average the dB.
///
/// # Errors
/// The length of a plane is not height · width; nothing is left between the borders.
///
/// Source: compute_psnr.m and Demo_SR.m of the code of SRCNN (Dong et al., TPAMI 2016).
pub fn psnr(reference: &[f32], result: &[f32], size: [usize; 2], shave: usize) -> Result<f64> {
    super::check("psnr", reference, result, size, shave, 1)?;
    let a = super::rounded(reference, size, shave);
    let b = super::rounded(result, size, shave);
    let mean: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / a.len() as f64;
    Ok(20.0 * (255.0 / mean.sqrt()).log10())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::metrics::ssim::tests::{SIZE, planes};

    #[test]
    fn psnr_is_scikit_images() {
        let (a, b) = planes();
        // skimage 0.26.0: peak_signal_noise_ratio(a, b, data_range=255), of the whole and of a[3:-3, 3:-3].
        assert!((psnr(&a, &b, SIZE, 0).unwrap() - 22.5450262635).abs() < 1e-9);
        assert!((psnr(&a, &b, SIZE, 3).unwrap() - 23.1912299103).abs() < 1e-9);
    }

    #[test]
    fn equal_pictures_are_infinitely_good() {
        assert_eq!(psnr(&[0.5, 0.2], &[0.5, 0.2], [1, 2], 0).unwrap(), f64::INFINITY);
        // Half a grey level is rounded away.
        assert_eq!(psnr(&[0.5, 0.2], &[0.5004, 0.2], [1, 2], 0).unwrap(), f64::INFINITY);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(
            psnr(&[0.0; 6], &[0.0; 5], [2, 3], 0).unwrap_err().to_string(),
            "psnr: the result must have 2x3 values, got 5"
        );
        assert_eq!(
            psnr(&[0.0; 6], &[0.0; 6], [2, 3], 1).unwrap_err().to_string(),
            "psnr: without a border of 1 px a picture of height 2 and width 3 has less than 1x1 px; measure larger pictures"
        );
        assert!(psnr(&[], &[], [usize::MAX, 2], usize::MAX).is_err());
    }
}
