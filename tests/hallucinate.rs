//! The parts of face hallucination on real faces, and its largest network.

mod common;

use lineament::image::Picture;
use lineament::metrics::{landmark_error, psnr};
use lineament::models::cbn::alignment::Method;
use lineament::models::cbn::bases::Bases;
use lineament::models::cbn::cascade::{Cascade, Variant};
use lineament::models::cbn::descriptor::Descriptor;
use lineament::models::cbn::network::{Config, Correspondence, level};
use lineament::models::cbn::shape::{SHARE, SIMILARITY, ShapeModel, Similarity};
use lineament::models::shipped;
use lineament::tasks::detect::{self, Detector};
use lineament::tasks::hallucinate::align::{Recipe, Regressor};
use lineament::tasks::hallucinate::faces::{Face, resized, shape_model};
use lineament::tasks::hallucinate::frame::{Frame, MIRROR};
use lineament::tasks::hallucinate::hallucinator::{self, Ask, Hallucinator};
use lineament::tasks::hallucinate::{points, priors};
use lineament::{Graph, Tensor};
use std::fs;

/// Returns the first faces of a set, in the canonical frame.
fn faces(set: &str, count: usize) -> Option<Vec<Face>> {
    let folder = common::shared(&format!("data/faces/helen68_{set}set_128"))?;
    let text = fs::read_to_string(folder.with_extension("csv")).unwrap();
    let read = |face: points::Face| {
        let bytes = fs::read(folder.join(&face.name)).unwrap();
        let picture = Picture::decode(&bytes, &face.name).unwrap();
        Face::new(&picture, &face.points, &Frame::of_points(&face.points).unwrap(), 128).unwrap()
    };
    Some(points::parse(&text, set).unwrap().into_iter().take(count).map(read).collect())
}

fn mean_error(model: &ShapeModel, faces: &[Face], p: &[Vec<f64>]) -> f64 {
    let error = |(f, p): (&Face, &Vec<f64>)| landmark_error(&f.points, &model.landmarks(p)).unwrap();
    faces.iter().zip(p).map(error).sum::<f64>() / faces.len() as f64
}

#[test]
fn shapes_of_faces_are_few_numbers() {
    let (Some(train), Some(test)) = (faces("train", 870), faces("test", 165)) else { return };
    assert_eq!((train.len(), test.len()), (870, 165));
    let model = shape_model(&train, SHARE).unwrap();
    // About 30 numbers hold 98 % of what remains of 68 landmarks after similarities.
    assert!((20..=40).contains(&(model.len() - SIMILARITY)), "{}", model.len());
    let p: Vec<Vec<f64>> = test.iter().map(|f| model.coefficients(&f.points)).collect();
    let zero = vec![vec![0.0; model.len()]; test.len()];
    // Both as fractions of the distance between the eyes: measured 0.016 and 0.113.
    assert!(mean_error(&model, &test, &p) < 0.02 && mean_error(&model, &test, &zero) > 0.09);
    // The mean face is symmetric, because every face was seen with its mirror image.
    for (l, &m) in MIRROR.iter().enumerate() {
        let (a, b) = (model.mean()[l], model.mean()[m]);
        assert!((a[0] + b[0] - 1.0).abs() < 1e-3 && (a[1] - b[1]).abs() < 1e-3, "landmark {l}: {a:?} {b:?}");
    }
}

#[test]
fn landmarks_are_found_in_16_pixels_and_better_after_every_level() {
    let Some(device) = common::device() else { return };
    let (Some(train), Some(test)) = (faces("train", 120), faces("test", 60)) else { return };
    let model = shape_model(&train, SHARE).unwrap();
    let train: Vec<Face> = train.iter().flat_map(|f| [f.clone(), f.mirrored()]).collect();
    let shows: Vec<usize> = (0..train.len()).map(|k| k / 2).collect();
    let truth: Vec<Vec<f64>> = train.iter().map(|f| model.coefficients(&f.points)).collect();
    let recipe = Recipe { descriptor: Descriptor::default(), method: Method::Direct, starts: 1, spread: 1.0, seed: 1 };
    let mut p = vec![vec![0.0; model.len()]; train.len()];
    let mut q = vec![vec![0.0; model.len()]; test.len()];
    let mut errors = vec![mean_error(&model, &test, &q)];
    for side in [16, 32] {
        let see = |faces: &[Face]| -> Vec<Vec<f32>> {
            faces.iter().map(|f| resized(&f.at(16).unwrap(), 16, side).unwrap()).collect()
        };
        let (f, moved) = Regressor::fit(&device, &model, &see(&train), side, [&p, &truth], &shows, &recipe).unwrap();
        p = moved;
        q = f.apply(&device, &model, &see(&test), &q).unwrap();
        errors.push(mean_error(&model, &test, &q));
    }
    assert!(errors[1] < 0.9 * errors[0] && errors[2] < errors[1], "{errors:?}");
}

#[test]
fn faces_in_moved_frames_are_found_by_steps_in_the_upright_frame() {
    let Some(device) = common::device() else { return };
    let (Some(train), Some(test)) = (faces("train", 120), faces("test", 60)) else { return };
    let model = shape_model(&train, SHARE).unwrap();
    // Turned by up to 18 degrees, one after the other.
    let turned = |k: usize, face: &Face| {
        let angle = (k as f64 * 0.7).sin() * 18f64.to_radians();
        let (a, b) = (angle.cos(), angle.sin());
        let by = Similarity { a, b, shift: [0.5 - 0.5 * a + 0.5 * b, 0.5 - 0.5 * b - 0.5 * a] };
        let frame = Frame { to_frame: by.after(&Frame::of_square([0.0; 2], 128.0).unwrap().to_frame) };
        let luma = frame.crop(&face.luma, [128; 2], 128).unwrap();
        Face { luma, side: 128, points: face.points.iter().map(|&x| by.apply(x)).collect() }
    };
    let turn = |faces: &[Face]| faces.iter().enumerate().map(|(k, f)| turned(k, f)).collect::<Vec<_>>();
    let test = turn(&test);
    let train: Vec<Face> = turn(&train).iter().flat_map(|f| [f.clone(), f.mirrored()]).collect();
    let shows: Vec<usize> = (0..train.len()).map(|k| k / 2).collect();
    let truth: Vec<Vec<f64>> = train.iter().map(|f| model.coefficients(&f.points)).collect();
    let see = |faces: &[Face]| -> Vec<Vec<f32>> { faces.iter().map(|f| f.at(16).unwrap()).collect() };
    let error_of = |steps: [Option<usize>; 2]| {
        let mut p = vec![vec![0.0; model.len()]; train.len()];
        let mut q = vec![vec![0.0; model.len()]; test.len()];
        for upright in steps {
            let descriptor = Descriptor { upright, ..Descriptor::default() };
            let recipe = Recipe { descriptor, method: Method::Direct, starts: 1, spread: 1.0, seed: 1 };
            let (f, moved) = Regressor::fit(&device, &model, &see(&train), 16, [&p, &truth], &shows, &recipe).unwrap();
            p = moved;
            q = f.apply(&device, &model, &see(&test), &q).unwrap();
        }
        mean_error(&model, &test, &q)
    };
    let (plain, upright) = (error_of([None, None]), error_of([None, Some(32)]));
    assert!(upright < 0.95 * plain, "{upright} {plain}");
}

#[test]
fn the_detectors_box_frames_the_shipped_photograph() {
    let Some(device) = common::device() else { return };
    let picture = Picture::open(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/astronaut.png")).unwrap();
    let found = Detector::faces(&device).unwrap().find(&picture, detect::Ask::default()).unwrap();
    assert_eq!(found.len(), 1);
    // The square that docs/faces.md gives for it.
    let apart = Frame::of_box(&found[0].bounds).unwrap().apart(&Frame::of_square([147.0, 57.0], 155.0).unwrap());
    let [x, y] = apart.shift;
    assert!(apart.scale.abs() < 0.2 && x.abs() < 0.1 && y.abs() < 0.1 && apart.angle == 0.0, "{apart:?}");
}

#[test]
fn detail_lies_at_eyes_nose_and_mouth() {
    let Some(device) = common::device() else { return };
    let Some(train) = faces("train", 40) else { return };
    let model = shape_model(&train, SHARE).unwrap();
    let config = Config { levels: Config::small().levels[..2].to_vec(), ..Config::small() };
    let (parts, found) = priors::fit(&device, &model, &train, &config).unwrap();
    assert_eq!((parts.centres.len(), found.len()), (10, 2));
    let prior = &found[1];
    let at = |[x, y]: [f64; 2]| (y * 64.0) as usize * 64 + (x * 64.0) as usize;
    // Landmark 66 lies between the lips, 2 and 14 beside the cheeks; halfway to the nose (30) there is skin.
    let skin = |l: usize| [0, 1].map(|d| 0.5 * (model.mean()[l][d] + model.mean()[30][d]));
    let (lips, cheek) = (prior.map[at(model.mean()[66])], prior.map[at(skin(2))].max(prior.map[at(skin(14))]));
    assert!(lips > 2.0 * cheek, "{lips} {cheek}");
    let channels = prior.channels.data();
    assert!(channels.iter().all(|v| (0.0..=1.0).contains(v)));
    assert!(channels.chunks_exact(64 * 64).all(|c| c.iter().copied().fold(0.0, f32::max) == 1.0));
}

#[test]
fn the_papers_fourth_level_runs_untrained() {
    let Some(device) = common::device() else { return };
    let config = Config::paper();
    let square: Vec<[f64; 2]> = vec![[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8], [0.5, 0.45]];
    let shapes: Vec<Vec<[f64; 2]>> =
        (0..8).map(|k| square.iter().map(|p| [p[0] + 0.02 * f64::from(k) * p[1] * p[1], p[1]]).collect()).collect();
    let model = ShapeModel::fit(&shapes, SHARE, &[&[0], &[1]], &square[..2]).unwrap();
    let last = &config.levels[3];
    let bases = Bases::dense(&model, last.side).unwrap();
    let known = Correspondence { bases, prior: Tensor::filled([1, config.contours, last.side, last.side], 0.5) };
    let mut g = Graph::new();
    let before = g.input("before", [1, 1, 128, 128]).unwrap();
    let p = g.input("p", [1, model.len(), 1, 1]).unwrap();
    let built = g.within("level4", |g| level(g, before, p, last, &known)).unwrap();
    assert!(g.find("level4/high_frequency/conv12").is_some() && g.find("level4/gate/conv6").is_some());
    let session = device.compile(&g, &[built.i, built.up, built.net.lambda], g.initialize(1)).unwrap();
    let picture = (0..128 * 128).map(|q| 0.5 + 0.4 * ((q % 128) as f32 / 9.0).sin()).collect();
    let picture = Tensor::new([1, 1, 128, 128], picture).unwrap();
    let out = session.run(&[("before", &picture), ("p", &Tensor::zeros([1, model.len(), 1, 1]))]).unwrap();
    assert_eq!(out[0].shape(), [1, 1, 256, 256]);
    // A new network leaves the enlarged picture nearly unchanged, with its gate halfway.
    let change = out[0].data().iter().zip(out[1].data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(change > 0.0 && change < 0.1, "{change}");
    assert!(out[2].data().iter().all(|v| (v - 0.5).abs() < 0.3));
}

#[test]
fn the_shipped_cascades_beat_bicubic_on_the_shipped_photograph() {
    let Some(device) = common::device() else { return };
    let picture = Picture::open(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/astronaut.png")).unwrap();
    let frame = Frame::of_square([147.0, 57.0], 155.0).unwrap();
    for (model, scale) in [("cbn-small", 8), ("cbn-small-found", 8), ("cbn-small-8px", 4)] {
        let (cascade, weights) = Cascade::open(&shipped::open(model, scale).unwrap().unwrap()).unwrap();
        let (i_0, original) = hallucinator::input(&picture, &frame, &cascade).unwrap();
        let (truth, side) = (original.unwrap(), cascade.side());
        let full = Hallucinator::new(&device, &cascade, &weights, Variant::Full, 1, Ask::default()).unwrap();
        let face = full.run(std::slice::from_ref(&i_0), None).unwrap().swap_remove(0);
        let of = |result: &[f32]| psnr(&truth, result, [side; 2], 0).unwrap();
        let bicubic = of(&resized(&i_0, cascade.config.input_side, side).unwrap());
        let ours = of(face.i.last().unwrap());
        assert!(ours > bicubic + 1.0, "{model}: {ours:.2} dB, bicubic {bicubic:.2} dB");
    }
}
