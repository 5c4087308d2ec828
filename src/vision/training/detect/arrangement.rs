//! Learns where parts lie in a face, and what follows from it, from windows that show faces and others.
//!
//! Source: Yang et al., "From Facial Parts Responses to Face Detection: A Deep Learning Approach", ICCV 2015, section 3.2: of ten values
//! of λ, that with which a part's ratio tells the windows apart best has the largest posterior.

use super::examples::Scenes;
use super::photos::Photos;
use crate::error::Result;
use crate::exec::Network;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::vision::boxes::Bounds;
use crate::vision::metrics::roc_area;
use crate::vision::models::parts::{Arrangement, HEIGHTS, Integral, PARTS, STRIDE, templates};

/// Values of λ.
const LAMBDAS: [f64; 10] = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95];
/// Pictures with a face that windows are taken from, and their side in pixels.
const SCENES: usize = 400;
const SIDE: usize = 192;
/// Least IoU of a window that shows the face, largest of one that does not, and most of the latter per picture.
const SHOWS: f64 = 0.5;
const SHOWS_NOT: f64 = 0.3;
const OTHERS: usize = 30;
/// What a region is compared with has at least this part of the mean response in a head that is seen.
const FLOOR: f64 = 0.1;
/// Steps of Newton's method, and a weight on squares of the two numbers that it looks for, so that they stay finite.
const NEWTON: usize = 25;
const PRIOR: f64 = 1e-4;

/// Windows of a picture: their parts' sums, and which show its face.
struct Scene {
    integral: Integral,
    windows: Vec<(Bounds, bool)>,
}

/// Draws pictures with a face, and windows in them.
fn scenes(maps: &Network, photos: &Photos, count: usize, rng: &mut Rng) -> Result<Vec<Scene>> {
    let (scenes, places) = (Scenes { photos, side: SIDE }, SIDE / STRIDE);
    let all = templates([places; 2]);
    let one = |_| {
        let face = &photos.faces[rng.below(photos.faces.len())];
        let (x, bounds) = scenes.face_anywhere(face, HEIGHTS, rng);
        let x = Tensor::new([1, 1, SIDE, SIDE], x)?;
        let found = maps.run(&[("x", &x)])?.take("maps")?;
        let mut windows = Vec::new();
        let mut others = Vec::new();
        for window in &all {
            let iou = window.iou(&bounds);
            if iou >= SHOWS {
                windows.push((*window, true));
            } else if iou < SHOWS_NOT {
                others.push((*window, false));
            }
        }
        let order = rng.permutation(others.len());
        windows.extend(order.into_iter().take(OTHERS).map(|k| others[k]));
        Ok(Scene { integral: Integral::new(found.data(), [places; 2]), windows })
    };
    (0..count).map(one).collect()
}

/// Returns the logistic function of `x` that fits the truth best, as a factor and what is added, and the logarithm of its posterior. Both
/// kinds weigh the same.
fn logistic(x: &[f64], is_true: &[bool]) -> ([f64; 2], f64) {
    let share = |kind: bool| is_true.iter().filter(|is| **is == kind).count().max(1) as f64;
    let weights = [0.5 / share(false), 0.5 / share(true)];
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let deviation = (x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / x.len() as f64).sqrt().max(1e-12);
    let (mut a, mut b) = (0.0, 0.0);
    for _ in 0..NEWTON {
        let (mut gradient, mut hessian) = ([-PRIOR * a, -PRIOR * b], [PRIOR, 0.0, PRIOR]);
        for (v, is) in x.iter().zip(is_true) {
            let (v, w) = ((v - mean) / deviation, weights[usize::from(*is)]);
            let p = 1.0 / (1.0 + (-(a * v + b)).exp());
            let error = w * (if *is { 1.0 } else { 0.0 } - p);
            gradient = [gradient[0] + error * v, gradient[1] + error];
            let curve = w * p * (1.0 - p);
            hessian = [hessian[0] + curve * v * v, hessian[1] + curve * v, hessian[2] + curve];
        }
        let determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
        a += (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant;
        b += (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant;
    }
    let likelihood = x.iter().zip(is_true).map(|(v, is)| {
        let logit = a * (v - mean) / deviation + b;
        let signed = if *is { logit } else { -logit };
        // The logarithm of the probability, which does not overflow.
        weights[usize::from(*is)] * (signed.min(0.0) - (-signed.abs()).exp().ln_1p())
    });
    let posterior = likelihood.sum::<f64>() - PRIOR * (a * a + b * b) / 2.0;
    ([a / deviation, b - a * mean / deviation], posterior)
}

/// Learns the arrangement of the parts from windows of photographs; `maps` has the output `maps`, that of
/// [`crate::vision::models::parts::partness`].
///
/// # Errors
/// The device fails.
pub fn learn(maps: &Network, photos: &Photos, seed: u64) -> Result<Arrangement> {
    let scenes = scenes(maps, photos, SCENES, &mut Rng::new(seed))?;
    let windows: Vec<(&Integral, &Bounds)> =
        scenes.iter().flat_map(|scene| scene.windows.iter().map(|(window, _)| (&scene.integral, window))).collect();
    let is_face: Vec<bool> = scenes.iter().flat_map(|scene| scene.windows.iter().map(|(_, is)| *is)).collect();
    let mut learned = Arrangement { lambda: [0.0; 5], floor: [0.0; 5], logistic: [[0.0; 2]; 5] };
    for part in 0..PARTS.len() {
        let means =
            windows.iter().zip(&is_face).filter(|(_, is)| **is).map(|((integral, face), _)| integral.mean(part, face));
        let (sum, count) = means.fold((0.0, 0), |(sum, count), mean| (sum + mean, count + 1));
        let floor = (FLOOR * sum / count.max(1) as f64).max(f64::from(f32::MIN_POSITIVE));
        let fits = LAMBDAS.map(|lambda| {
            let ratios: Vec<f64> =
                windows.iter().map(|(integral, face)| integral.ratio(part, face, lambda, floor)).collect();
            (lambda, logistic(&ratios, &is_face))
        });
        let best = fits.into_iter().max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        if let Some((lambda, (line, _))) = best {
            (learned.lambda[part], learned.floor[part], learned.logistic[part]) = (lambda, floor, line);
        }
    }
    Ok(learned)
}

/// What windows of held-out photographs say: areas under the ROC curves of faceness and of each part's ratio.
///
/// # Errors
/// The device fails.
pub fn measure(maps: &Network, arrangement: &Arrangement, photos: &Photos, seed: u64) -> Result<(f64, [f64; 5])> {
    let scenes = scenes(maps, photos, SCENES / 2, &mut Rng::new(seed))?;
    let (mut all, mut is_face) = (Vec::new(), Vec::new());
    for scene in &scenes {
        for (window, is) in &scene.windows {
            let ratio = |k: usize| scene.integral.ratio(k, window, arrangement.lambda[k], arrangement.floor[k]);
            all.push([0, 1, 2, 3, 4].map(ratio));
            is_face.push(*is);
        }
    }
    let area = |score: &dyn Fn(&[f64; 5]) -> f64| roc_area(&all.iter().map(score).collect::<Vec<f64>>(), &is_face);
    let mut parts = [0.0; 5];
    for (k, part) in parts.iter_mut().enumerate() {
        *part = area(&|ratios| ratios[k])?;
    }
    Ok((area(&|ratios| arrangement.faceness(*ratios))?, parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Device, Params, Select};
    use crate::graph::Draft;
    use crate::vision::patch::Photo;
    use crate::vision::training::detect::photos::Face;

    #[test]
    fn a_logistic_function_is_that_of_which_the_truth_was_drawn() {
        let mut rng = Rng::new(4);
        let x: Vec<f64> = (0..20_000).map(|_| 5.0 + 2.0 * rng.normal()).collect();
        // Both kinds are as frequent.
        let is_true: Vec<bool> = x.iter().map(|v| rng.unit() < 1.0 / (1.0 + (-1.5 * (v - 5.0)).exp())).collect();
        let ([a, b], likelihood) = logistic(&x, &is_true);
        assert!((a - 1.5).abs() < 0.1 && (b + 7.5).abs() < 0.5, "{a} {b}");
        // One kind thinned to a tenth weighs as much, so that nothing changes.
        let few: Vec<usize> = (0..x.len()).filter(|&k| is_true[k] || k % 10 == 0).collect();
        let ([c, d], _) = logistic(
            &few.iter().map(|&k| x[k]).collect::<Vec<_>>(),
            &few.iter().map(|&k| is_true[k]).collect::<Vec<_>>(),
        );
        assert!((c - 1.5).abs() < 0.15 && (d + 7.5).abs() < 0.8, "{c} {d}");
        // What says nothing has the likelihood of a coin, and what says all has nearly none to lose.
        let noise: Vec<f64> = x.iter().map(|_| rng.normal()).collect();
        assert!((logistic(&noise, &is_true).1 + std::f64::consts::LN_2).abs() < 1e-3);
        assert!(likelihood > -std::f64::consts::LN_2 + 0.2, "{likelihood}");
        let apart: Vec<f64> = is_true.iter().map(|is| if *is { 1.0 } else { 0.0 }).collect();
        let (line, likelihood) = logistic(&apart, &is_true);
        assert!(likelihood > -0.05 && line.iter().all(|v| v.is_finite()), "{line:?} {likelihood}");
    }

    #[test]
    fn lambda_says_where_a_part_is_seen() {
        // A face is a white band in black, whose middle lies 0.55 below the top of the head, before grey.
        let (head, face) = (Bounds::new(20.0, 10.0, 60.0, 80.0), Bounds::new(30.0, 31.333, 40.0, 53.333));
        let is_white = |k: usize| {
            ((k / 100) as f64 + 0.5 - (head.y + 0.55 * head.height)).abs() < 5.0 && (20..80).contains(&(k % 100))
        };
        let pixels = (0..100 * 100).map(|k| if is_white(k) { 255 } else { 0 }).collect();
        let face = Face { photo: Photo::new(100, 100, pixels), bounds: face, labels: Vec::new() };
        let backgrounds = vec![Photo::new(100, 100, vec![64; 10_000])];
        let photos = Photos {
            faces: vec![face],
            attributes: Vec::new(),
            backgrounds,
            sources: Vec::new(),
            fingerprint: String::new(),
        };
        // Every part sees what is white.
        let maps = Device::open(&Select::Cpu).unwrap().network(Params::fresh(1), |g: &Draft| {
            let bright = g.input("x").relu().avg_pool(STRIDE);
            g.output("maps", bright.concat(&[bright; 4], 1));
        });
        let learned = learn(&maps, &photos, 1).unwrap();
        for (k, part) in PARTS.iter().enumerate().filter(|(k, _)| (1..4).contains(k)) {
            assert!((learned.lambda[k] - 0.55).abs() < 0.01, "{}: {learned:?}", part.name);
            assert!(learned.logistic[k][0] > 0.0 && learned.floor[k] > 0.0, "{learned:?}");
        }
        // The strip above must hold the band, and the one below begin before it.
        assert!(learned.lambda[0] > 0.5 && learned.lambda[4] < 0.6, "{learned:?}");
        let (faceness, parts) = measure(&maps, &learned, &photos, 2).unwrap();
        assert!(faceness > 0.9 && parts.iter().all(|area| *area > 0.8), "{faceness} {parts:?}");
        let upside_down = Arrangement { lambda: learned.lambda.map(|v| 1.0 - v), ..learned };
        assert!(measure(&maps, &upside_down, &photos, 2).unwrap().1[1] < parts[1], "eyes elsewhere");
    }
}
