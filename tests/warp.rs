//! warp at the positions that the random cases avoid: kinks, the far outside, infinities and NaN.

use lineament::exec::check;
use lineament::ops::warp::{Border, Warp};
use lineament::ops::{Case, Fill, Io, Op};
use lineament::rng::Rng;
use lineament::tensor::{Shape, len};
use lineament::{Device, Graph, Select, Tensor, Weights, grad};

const PICTURE: Shape = [1, 2, 3, 4];

/// Pixel centres of a picture of 3 × 4, its edges, and numbers that are no sensible position.
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

/// Every pair of [`COORDINATES`].
fn all_pairs(_: &mut Rng, _: &[Shape], _: usize) -> Vec<f64> {
    let k = COORDINATES.len();
    let column = (0..k * k).map(|q| f64::from(COORDINATES[q % k]));
    let row = (0..k * k).map(|q| f64::from(COORDINATES[q / k]));
    column.chain(row).collect()
}

fn sample(border: Border, column: f64, row: f64) -> f64 {
    let x = [[1, 1, 2, 3], [1, 2, 1, 1]];
    let io = Io { x: &x, y: [1; 4] };
    check::reference(&Warp { border }, &io, &[vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![column, row]])[0]
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
    let text = |f: Shape| Warp::default().shape(&[[2, 3, 4, 5], f]).map_err(|e| e.to_string()).unwrap_err();
    assert_eq!(text([2, 3, 4, 5]), "f must be [N=2, 2, Ho, Wo], got [2, 3, 4, 5]");
    assert_eq!(text([1, 2, 4, 5]), "f must be [N=2, 2, Ho, Wo], got [1, 2, 4, 5]");
    assert_eq!(
        text([2, 2, 1 << 15, 1 << 14]),
        "f must be of at most 268435456 positions a picture, got [2, 2, 32768, 16384]"
    );
    let wide = Warp::default().shape(&[[1, 1, 1, (1 << 24) + 1], [1, 2, 1, 1]]).map_err(|e| e.to_string());
    assert_eq!(wide.unwrap_err(), "x must be at most 16777216 pixels high and wide, got [1, 1, 1, 16777217]");
}

/// The adapter, or `None` after saying so; a failure where LINEAMENT_REQUIRE_GPU=1.
fn adapter() -> Option<Device> {
    match Device::open(&Select::Default) {
        Ok(device) if !device.is_cpu() => Some(device),
        other => {
            let required = std::env::var("LINEAMENT_REQUIRE_GPU").is_ok_and(|v| v == "1");
            assert!(!required, "LINEAMENT_REQUIRE_GPU=1, but no adapter opens: {other:?}");
            eprintln!("SKIPPED (no adapter)");
            None
        }
    }
}

#[test]
fn warp_at_any_position_agrees_with_the_reference_on_the_adapter() {
    let Some(device) = adapter() else { return };
    let k = COORDINATES.len();
    let cases = [Border::Zero, Border::Clamp].map(|border| {
        // `real` leaves the case out of the differences, which mean nothing at these kinks.
        Case::new(Warp { border }, &[PICTURE, [1, 2, k, k]]).fill(1, Fill::With(all_pairs)).real()
    });
    let report = check::op(&*cases[0].op, &cases, Some(&device));
    assert_eq!(report.failures, Vec::<String>::new());
}

/// dx of one sample a channel, whose dy are 2·`dy`.
fn image_gradient(device: &Device, dy: &[f32], position: [f32; 2]) -> Tensor {
    let mut g = Graph::new();
    let x_shape = [1, dy.len(), 3, 4];
    let x = g.input("x", x_shape).unwrap();
    let f = g.constant("f", Tensor::new([1, 2, 1, 1], position.to_vec()).unwrap()).unwrap();
    let y = g.warp(x, f, Warp::default()).unwrap();
    // With x = 0 this is the sum of the squares of `target`, whose derivative by y is −2·target.
    let target = Tensor::new([1, dy.len(), 1, 1], dy.iter().map(|v| -v).collect()).unwrap();
    let target = g.constant("target", target).unwrap();
    let loss = g.pairwise_distance(y, target).unwrap();
    let dx = grad::backward(&mut g, loss, &[x]).unwrap();
    let session = device.compile(&g, &dx, Weights::default()).unwrap();
    session.run(&[("x", &Tensor::zeros(x_shape))]).unwrap().remove(0)
}

#[test]
fn warp_gradients_of_any_size_keep_their_accuracy_beside_each_other() {
    let Some(device) = adapter() else { return };
    let dy = [1.0, 3e-12, -7e15, 2.5e-33, -1e37];
    let dx = image_gradient(&device, &dy, [1.25, 1.5]);
    for (c, dy) in dy.into_iter().enumerate() {
        for (i, j, weight) in [(1, 1, 0.375), (1, 2, 0.125), (2, 1, 0.375), (2, 2, 0.125)] {
            let (got, expected) = (f64::from(dx.at([0, c, i, j])), 2.0 * f64::from(dy) * weight);
            assert!(
                (got - expected).abs() <= 1e-6 * expected.abs(),
                "channel {c} [{i}, {j}]: {got:e}, not {expected:e}"
            );
        }
    }
    let touched = dx.data().iter().filter(|v| **v != 0.0).count();
    assert_eq!(touched, 4 * dy.len());
}

#[test]
fn warp_gradient_that_is_not_finite_stays_visible() {
    let Some(device) = adapter() else { return };
    let dx = image_gradient(&device, &[1.0, f32::INFINITY, f32::NAN], [1.25, 1.5]);
    assert_eq!(len(&dx.shape()), 36);
    for (c, finite) in [(0, true), (1, false), (2, false)] {
        assert_eq!(dx.at([0, c, 1, 1]).is_finite(), finite, "channel {c}");
        assert_eq!(dx.at([0, c, 0, 0]), 0.0, "channel {c}");
    }
}
