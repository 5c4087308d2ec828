//! warp at positions that the random cases avoid: kinks, far outside, infinities and NaN.

mod common;

use lineament::graph::grad;
use lineament::lab::check;
use lineament::ops::warp::{Border, Warp};
use lineament::ops::{Case, EPS, Fill, Io, Op, reference};
use lineament::rng::Rng;
use lineament::tensor::Shape;
use lineament::{Device, Graph, Tensor, Weights};

const PICTURE: [usize; 4] = [1, 2, 3, 4];

/// Pixel centres of a picture of 3 × 4, its edges, and numbers that are not sensible positions.
const COORDINATES: [f32; 20] = [
    0.0,
    -0.0,
    1.0,
    2.0,
    3.0,
    -1.0,
    4.0,
    2.999_999_8,
    -1e-30,
    1e-40,
    16_777_215.0,
    16_777_216.0,
    -16_777_216.0,
    2_147_483_648.0,
    1e30,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// Returns every pair of [`COORDINATES`].
fn all_pairs(_: &mut Rng, _: &[Shape], _: usize) -> Vec<f64> {
    let k = COORDINATES.len();
    let column = (0..k * k).map(|q| f64::from(COORDINATES[q % k]));
    let row = (0..k * k).map(|q| f64::from(COORDINATES[q / k]));
    column.chain(row).collect()
}

fn sample(border: Border, column: f64, row: f64) -> f64 {
    let x = [[1, 1, 2, 3], [1, 2, 1, 1]];
    let io = Io { x: &x.map(Into::into), y: [1; 4].into() };
    reference(&Warp { border }, &io, &[vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![column, row]])[0]
}

#[test]
fn warp_at_a_pixel_centre_is_the_pixel() {
    assert_eq!(sample(Border::Zero, 0.0, 0.0), 1.0);
    assert_eq!(sample(Border::Zero, 2.0, 1.0), 6.0);
    assert_eq!(sample(Border::Clamp, 1.0, 1.0), 5.0);
}

#[test]
fn warp_takes_the_column_from_channel_0() {
    assert_eq!(sample(Border::Zero, 1.5, 0.0), 2.5);
    assert_eq!(sample(Border::Zero, 0.0, 0.5), 2.5);
}

#[test]
fn warp_outside_with_zero_border_fades_to_zero_within_a_pixel() {
    assert_eq!(sample(Border::Zero, -0.25, 0.0), 0.75);
    assert_eq!(sample(Border::Zero, 2.75, 1.0), 1.5);
    for far in [-1.0, 3.0, 1e30, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert_eq!(sample(Border::Zero, far, 0.0), 0.0, "column {far}");
        assert_eq!(sample(Border::Zero, 0.0, far), 0.0, "row {far}");
    }
}

#[test]
fn warp_outside_with_clamp_border_is_the_edge() {
    for (far, expected) in [(-7.5, 1.0), (f64::NEG_INFINITY, 1.0), (f64::NAN, 1.0), (7.5, 3.0), (f64::INFINITY, 3.0)] {
        assert_eq!(sample(Border::Clamp, far, 0.0), expected, "column {far}");
    }
    assert_eq!(sample(Border::Clamp, 0.0, f64::INFINITY), 4.0);
}

#[test]
fn warp_refuses_a_field_of_another_shape() {
    let text = |f: Shape| Warp::default().shape(&[[2, 3, 4, 5].into(), f]).map_err(|e| e.to_string()).unwrap_err();
    assert_eq!(text([2, 3, 4, 5].into()), "f must be [N=2, 2, Ho, Wo], got [2, 3, 4, 5]");
    assert_eq!(text([1, 2, 4, 5].into()), "f must be [N=2, 2, Ho, Wo], got [1, 2, 4, 5]");
    assert_eq!(
        text([2, 2, 1 << 15, 1 << 14].into()),
        "f must be of at most 268435456 positions per picture, got [2, 2, 32768, 16384]"
    );
    let wide =
        Warp::default().shape(&[[1, 1, 1, (1 << 24) + 1].into(), [1, 2, 1, 1].into()]).map_err(|e| e.to_string());
    assert_eq!(wide.unwrap_err(), "x must be at most 16777216 pixels high and wide, got [1, 1, 1, 16777217]");
}

#[test]
fn warp_at_any_position_agrees_with_the_reference_on_the_adapter() {
    let Some(device) = common::device() else { return };
    let k = COORDINATES.len();
    let cases = [Border::Zero, Border::Clamp].map(|border| {
        // `real` leaves the case out of the gradient check, whose differences mean nothing at these kinks.
        Case::new(Warp { border }, &[PICTURE, [1, 2, k, k]]).fill(1, Fill::With(all_pairs)).real()
    });
    let report = check::op(&*cases[0].op, &cases, Some(&device));
    assert_eq!(report.failures, Vec::<String>::new());
}

/// Returns dx of one-channel pictures of 3 × 4 zeros, all sampled at `positions` (columns, then rows) with the gradient `dy`.
fn image_gradient(device: &Device, dy: &[f32], positions: &[f32]) -> Tensor {
    let mut g = Graph::new();
    let x = g.constant("x", Tensor::zeros([1, 1, 3, 4])).unwrap();
    let f = g.constant("f", Tensor::new([1, 2, 1, dy.len()], positions.to_vec()).unwrap()).unwrap();
    let y = g.warp(x, f, Warp::default()).unwrap();
    // The derivative of the sum of y · w by y is w, exactly.
    let w = g.constant("w", Tensor::new([1, 1, 1, dy.len()], dy.to_vec()).unwrap()).unwrap();
    let product = g.times(y, w).unwrap();
    let ones = g.constant("ones", Tensor::filled([1, dy.len(), 1, 1], 1.0)).unwrap();
    let b = g.constant("b", Tensor::scalar(0.0)).unwrap();
    let loss = g.linear(product, ones, b).unwrap();
    let dx = grad::backward(&mut g, loss, &[x]).unwrap();
    let session = device.compile(&g, &dx, Weights::default()).unwrap();
    session.run(&[]).unwrap().remove(0)
}

#[test]
fn warp_gradients_keep_their_accuracy_beside_larger_ones() {
    let Some(device) = common::device() else { return };
    let dy = [3e-12, -7e15, 2.5e-33, -1e37];
    // Each sample has its own pixel between those of others.
    let dx = image_gradient(&device, &dy, &[0.0, 1.0, 2.25, 0.0, 0.0, 0.0, 0.5, 2.0]);
    let expected = [[3e-12, -7e15, 0.375 * 2.5e-33, 0.125 * 2.5e-33], [0.0, 0.0, 0.375 * 2.5e-33, 0.125 * 2.5e-33]];
    for (i, row) in expected.into_iter().enumerate() {
        for (j, expected) in row.into_iter().enumerate() {
            let got = f64::from(dx.at([0, 0, i, j]));
            assert!((got - expected).abs() <= 1e-6 * expected.abs(), "[{i}, {j}]: {got:e}");
        }
    }
    assert_eq!(dx.data()[8..], [-1e37, 0.0, 0.0, 0.0]);
}

#[test]
fn warp_gradient_of_very_many_equal_terms_does_not_overflow() {
    let Some(device) = common::device() else { return };
    // The largest possible sum of k terms: all are as large as the largest, which lies just below a power of two.
    for k in [1usize, 2, 3, 64, 65, 4_099] {
        for largest in [1.999_999_9_f32, -1.0, 3e-38] {
            let dx = image_gradient(&device, &vec![largest; k], &[vec![1.0; k], vec![2.0; k]].concat());
            let (got, expected) = (f64::from(dx.at([0, 0, 2, 1])), k as f64 * f64::from(largest));
            // The bound of the header: k²·m·2⁻²⁹, and one rounding.
            let allowed = (k * k) as f64 * f64::from(largest).abs() * 2f64.powi(-29) + EPS * expected.abs();
            assert!((got - expected).abs() <= allowed, "{k} terms of {largest}: {got:e}, not {expected:e}");
        }
    }
}

#[test]
fn warp_gradient_that_is_not_finite_stays_visible() {
    let Some(device) = common::device() else { return };
    for broken in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let dx = image_gradient(&device, &[broken, 1.0, 2.0], &[0.0, 0.0, 3.0, 0.0, 0.0, 2.0]);
        assert!(!dx.at([0, 0, 0, 0]).is_finite(), "{broken}");
        assert_eq!(dx.data()[1..], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0], "{broken}");
    }
}
