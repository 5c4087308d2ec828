//! Structural similarity.

use crate::error::Result;

/// Side of the Gaussian window in pixels.
pub const WINDOW: usize = 11;
/// Standard deviation of the window in pixels.
const SIGMA: f64 = 1.5;
/// (K1·L)² and (K2·L)² with K1 = 0.01, K2 = 0.03 and L = 255.
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// Returns the mean SSIM of two pictures, in −1..1.
///
/// SSIM(a, b) = (2·µa·µb + C1)(2·σab + C2) / ((µa² + µb² + C1)(σa² + σb² + C2)) at every position of an 11×11 Gaussian
/// window with σ = 1.5 px, normalised to sum 1, that lies wholly within the picture ("valid": the 5 px at each border have no
/// value of their own), averaged over these positions. Variances are those of the window itself (divided by n, not by
/// n − 1). C1 = (0.01·255)², C2 = (0.03·255)².
///
/// `reference` and `result` are planes of `[height, width]`, row by row, in 0..1. As in [`super::psnr()`], they are first
/// rounded to whole grey levels 0..255 and lose `shave` pixels at each border. Higher is better; equal pictures give 1.
///
/// Equals the authors' ssim_index.m (without its later automatic downsampling) and scikit-image's
/// `structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)`, whose mean
/// also leaves out 5 px at each border.
///
/// # Errors
/// The length of a plane is not height · width; fewer than 11×11 px are left between the borders.
///
/// Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
/// IEEE TIP 2004, section III.
pub fn ssim(reference: &[f32], result: &[f32], size: [usize; 2], shave: usize) -> Result<f64> {
    let map = map(reference, result, size, shave)?;
    Ok(map.iter().sum::<f64>() / map.len() as f64)
}

/// Returns the [`ssim`] at every position of the window, row by row. The centre of the first lies 5 px within the borders.
pub(super) fn map(reference: &[f32], result: &[f32], size: [usize; 2], shave: usize) -> Result<Vec<f64>> {
    super::check("ssim", reference, result, size, shave, WINDOW)?;
    let a = super::rounded(reference, size, shave);
    let b = super::rounded(result, size, shave);
    let [height, width] = size.map(|s| s - 2 * shave);
    let window = gaussian();
    // Weighted column sums of a, b, a², b² and ab over the window's eleven rows; one strip at a time saves memory.
    let mut strip = vec![[0.0f64; 5]; width];
    let mut map = Vec::with_capacity((height - WINDOW + 1) * (width - WINDOW + 1));
    for top in 0..=height - WINDOW {
        strip.fill([0.0; 5]);
        for (u, weight) in window.iter().enumerate() {
            let row = (top + u) * width..(top + u + 1) * width;
            for ((sums, &a), &b) in strip.iter_mut().zip(&a[row.clone()]).zip(&b[row]) {
                for (sum, value) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                    *sum += weight * value;
                }
            }
        }
        for columns in strip.windows(WINDOW) {
            let mut moments = [0.0; 5];
            for (weight, sums) in window.iter().zip(columns) {
                for (moment, sum) in moments.iter_mut().zip(sums) {
                    *moment += weight * sum;
                }
            }
            let [mean_a, mean_b, aa, bb, ab] = moments;
            let (square_a, square_b, product) = (mean_a * mean_a, mean_b * mean_b, mean_a * mean_b);
            let above = (2.0 * product + C1) * (2.0 * (ab - product) + C2);
            map.push(above / ((square_a + square_b + C1) * (aa - square_a + bb - square_b + C2)));
        }
    }
    Ok(map)
}

/// Returns one axis of the window, which is separable.
fn gaussian() -> [f64; WINDOW] {
    let middle = (WINDOW / 2) as f64;
    let raw: [f64; WINDOW] = std::array::from_fn(|k| (-(k as f64 - middle).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let sum: f64 = raw.iter().sum();
    raw.map(|v| v / sum)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const SIZE: [usize; 2] = [37, 29];

    /// Two pictures from a formula that works alike in Python:
    /// a = 40 + (5·i + 3·j) % 160, b = clip(a + (7·i + 13·j) % 31 − 15 + i·j // 20, 0, 255).
    pub(crate) fn planes() -> (Vec<f32>, Vec<f32>) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for i in 0..SIZE[0] as i32 {
            for j in 0..SIZE[1] as i32 {
                let v = 40 + (5 * i + 3 * j) % 160;
                a.push(v as f32 / 255.0);
                b.push((v + (7 * i + 13 * j) % 31 - 15 + i * j / 20).clamp(0, 255) as f32 / 255.0);
            }
        }
        (a, b)
    }

    #[test]
    fn ssim_is_scikit_images() {
        let (a, b) = planes();
        // skimage 0.26.0, with the arguments in the documentation above, of the whole and of a[3:-3, 3:-3].
        assert!((ssim(&a, &b, SIZE, 0).unwrap() - 0.8059107565239978).abs() < 1e-9);
        assert!((ssim(&a, &b, SIZE, 3).unwrap() - 0.823179713315071).abs() < 1e-9);
    }

    #[test]
    fn ssim_of_equal_pictures_is_one() {
        let (a, _) = planes();
        assert!((ssim(&a, &a, SIZE, 0).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn ssim_needs_a_whole_window() {
        let (a, b) = planes();
        assert!(ssim(&a, &b, SIZE, 9).is_ok());
        assert_eq!(
            ssim(&a, &b, SIZE, 10).unwrap_err().to_string(),
            "ssim: without a border of 10 px a picture of height 37 and width 29 has less than 11x11 px; measure larger \
             pictures"
        );
    }
}
