//! The examples run unchanged.

#[path = "../examples/custom_op.rs"]
#[allow(dead_code)]
mod custom_op;

#[path = "../examples/find_faces.rs"]
#[allow(dead_code)]
mod find_faces;

#[path = "../examples/imbalanced.rs"]
#[allow(dead_code)]
mod imbalanced;

#[path = "../examples/train_custom.rs"]
#[allow(dead_code)]
mod train_custom;

mod common;

use lineament::import::{array::Array, onnx};
use lineament::rng::Rng;
use lineament::tasks::detect::mark;
use lineament::vision::boxes::Bounds;
use lineament::vision::image::{Channels, Picture, Rect, Samples};
use lineament::{Device, Select};
use std::path::Path;

#[test]
fn custom_op_is_checked_and_trains() {
    if common::device().is_some() {
        custom_op::main().unwrap();
    }
}

#[test]
fn an_operator_of_ones_own_runs_from_a_file() {
    let x = [3.0f64, -1.0, 0.5, 2.0, -4.0, 0.0, 1.0, 0.0, 0.0, 2.0];
    let rows = Array::from_f64(&[2, 5], lineament::import::array::Kind::F32, &x).unwrap();
    let y = custom_op::run_a_file(&Device::open(&Select::Cpu).unwrap(), rows).unwrap();
    let expected = x.chunks(5).flat_map(|row| {
        let rms = (row.iter().map(|v| v * v).sum::<f64>() / 5.0).sqrt();
        row.iter().map(move |v| (v / rms).max(0.0))
    });
    assert_eq!(y.dims(), [2, 5]);
    for (got, expected) in y.to_f64().into_iter().zip(expected) {
        approx::assert_relative_eq!(got, expected, max_relative = 1e-5);
    }
}

/// YuNet's box of the same face reaches from 178.5 to 269 and from 64.6 to 175.8.
#[test]
fn the_shipped_cascade_finds_the_face_that_others_find() {
    let Some(device) = common::device() else { return };
    let picture = Picture::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/astronaut.png")).unwrap();
    let faces = find_faces::find(&device, None, &picture).unwrap();
    let [face] = &faces[..] else { panic!("{faces:?}") };
    let yunet = Bounds::of_sides([178.5, 64.6, 269.0, 175.8]);
    assert!(face.score > 0.9 && face.bounds.iou(&yunet) > 0.6, "{face:?}");
}

/// The numbers are those of OpenCV 5.0.0, `cv2.FaceDetectorYN.create(network, "", size, 0.6, 0.3)`, for the same files.
#[test]
fn faces_are_found_where_opencv_finds_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let network = common::shared("models/yunet/yunet_n_dynamic.onnx");
    let (Some(device), Some(network)) = (common::device(), network) else { return };
    let model = onnx::open(network).unwrap();
    let picture = Picture::open(root.join("assets/astronaut.png")).unwrap();
    // A part whose sides are no multiples of the network's cells.
    let part = picture.crop(Rect { top: 20, left: 70, height: 430, width: 351 }).unwrap();
    for (picture, score, expected) in [(&picture, 0.93563, &WHOLE), (&part, 0.94175, &PART)] {
        let faces = find_faces::find(&device, Some(model.clone()), picture).unwrap();
        let [face] = &faces[..] else { panic!("{faces:?}") };
        let bounds = [face.bounds.x, face.bounds.y, face.bounds.width, face.bounds.height];
        let got = bounds.iter().chain(face.points.as_flattened());
        for (got, expected) in got.zip(expected) {
            approx::assert_abs_diff_eq!(*got, *expected, epsilon = 0.01);
        }
        approx::assert_abs_diff_eq!(face.score, score, epsilon = 1e-4);
        let marked = mark(picture, &faces).unwrap();
        let corner = bounds.map(|v| v.round() as usize);
        let Samples::U8(samples) = marked.samples() else { panic!() };
        assert_eq!(samples[3 * (corner[1] * picture.width() + corner[0])..][..3], [0, 220, 0]);
        assert_eq!((marked.width(), marked.height()), (picture.width(), picture.height()));
    }
}

/// Left, top, width, height, and five landmarks.
const WHOLE: [f64; 14] = [
    178.11292, 64.95203, 91.36104, 111.414696, 203.35107, 103.620926, 247.52103, 104.44775, 224.10403, 127.688805,
    203.96225, 143.13747, 242.91315, 143.67188,
];
const PART: [f64; 14] = [
    109.6817, 36.77578, 93.86181, 120.94481, 132.47545, 81.66663, 177.48657, 83.39375, 152.08804, 107.17868, 132.17642,
    124.132355, 171.62769, 125.693634,
];

#[test]
fn a_network_of_ones_own_trains() {
    if common::device().is_some() {
        train_custom::main().unwrap();
    }
}

/// Draws `count` discs, or rings, into a folder.
fn draw(folder: &Path, count: usize, is_ring: bool) {
    std::fs::create_dir_all(folder).unwrap();
    let mut rng = Rng::new(count as u64);
    for number in 0..count {
        let (radius, light) = (rng.uniform(6.0, 14.0), rng.uniform(0.3, 1.0));
        let [row, column] = [0; 2].map(|_| rng.uniform(radius, 32.0 - radius));
        let grey: Vec<f32> = (0..32 * 32)
            .map(|k| {
                let distance = (f64::from(k / 32) - row).hypot(f64::from(k % 32) - column);
                let is_inside = distance < radius && !(is_ring && distance < 0.75 * radius);
                (if is_inside { light } else { 0.1 } + rng.uniform(-0.1, 0.1)) as f32
            })
            .collect();
        let mut picture = Picture::new("drawn", 32, 32, Channels::Grey, 8).unwrap();
        picture.put_grey(picture.whole(), &grey).unwrap();
        picture.save(folder.join(format!("{number:04}.png"))).unwrap();
    }
}

#[test]
fn a_rare_class_of_ones_own_is_learned() {
    let Some(device) = common::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [discs, rings] = ["discs", "rings"].map(|name| folder.path().join(name));
    draw(&discs, 240, false);
    draw(&rings, 40, true);
    let pictures = [imbalanced::read(&discs, 0).unwrap(), imbalanced::read(&rings, 1).unwrap()].concat();
    let accuracy = imbalanced::learn(&device, &pictures, 400).unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
    // Labels that say nothing of the pictures are not learned.
    let nonsense: Vec<_> =
        pictures.iter().enumerate().map(|(k, (x, _))| (x.clone(), usize::from(k / 4 % 11 == 0))).collect();
    let accuracy = imbalanced::learn(&device, &nonsense, 40).unwrap();
    assert!(accuracy < 0.75, "{accuracy}");
}
