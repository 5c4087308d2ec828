//! Training: it learns, it repeats to the bit, it resumes to the bit, and it computes the losses that it always did.

mod common;

use lineament::image::{Channels, Picture, Samples};
use lineament::ops::mse::Reduction;
use lineament::rng::Rng;
use lineament::train::upscale::{Config, beside, run};
use lineament::train::{HYPER, Optimizer, Schedule};
use lineament::{Device, Error, Graph, Tensor, grad, models};
use std::path::Path;

/// Eight pictures of smooth waves, so that enlarging them can be learnt.
fn pictures(folder: &Path) {
    for k in 0..8 {
        let mut rng = Rng::new(k);
        let waves: Vec<[f64; 3]> =
            (0..4).map(|_| [rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5), rng.uniform(0.0, 6.0)]).collect();
        let value = |i: usize, j: usize| {
            let sum: f64 = waves.iter().map(|[a, b, c]| (a * i as f64 + b * j as f64 + c).sin()).sum();
            (127.5 + 30.0 * sum) as u8
        };
        let samples = (0..40 * 48).map(|p| value(p / 48, p % 48)).collect();
        let picture = Picture::from_samples("wave", 48, 40, Channels::Grey, Samples::U8(samples)).unwrap();
        picture.save(folder.join(format!("{k}.png"))).unwrap();
    }
}

fn config(data: &Path, steps: u64) -> Config {
    Config {
        model: "fsrcnn-s".into(),
        scale: 2,
        data: data.to_owned(),
        steps,
        batch: 2,
        patch: 8,
        optimizer: Optimizer::adam(),
        schedule: Schedule { lr: 1e-3, factor: 0.5, steps: vec![6] },
        seed: 3,
        checkpoint_every: 4,
    }
}

fn losses(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].to_string();
    text.lines().map(loss).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits_and_a_resumed_run_too() {
    let Some(device) = common::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    let out = |name: &str| folder.path().join(name);
    let whole = |name: &str| {
        let weights = run(&config(&data, 10), &device, &out(name), false, &mut |_| true).unwrap();
        (losses(&beside(&out(name), ".log.jsonl")), weights)
    };
    let (first, weights) = whole("a.safetensors");
    assert_eq!((first.clone(), weights.tensors().clone()), {
        let (losses, weights) = whole("b.safetensors");
        (losses, weights.tensors().clone())
    });

    // Stopped in step 6 by the user: the checkpoint is of step 6.
    let c = out("c.safetensors");
    let stopped = run(&config(&data, 10), &device, &c, false, &mut |p| p.step < 6);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let resumed = run(&config(&data, 10), &device, &c, true, &mut |_| true).unwrap();
    assert_eq!(losses(&beside(&c, ".log.jsonl")), first);
    assert_eq!(resumed.tensors(), weights.tensors());

    // Killed in step 7: the log is ahead of the checkpoint of step 4.
    let d = out("d.safetensors");
    let checkpoint = beside(&d, ".checkpoint");
    let saved = out("saved");
    let mut keep = |p: lineament::train::upscale::Progress| {
        if p.step == 5 {
            std::fs::copy(&checkpoint, &saved).unwrap();
        }
        p.step < 7
    };
    assert!(run(&config(&data, 10), &device, &d, false, &mut keep).is_err());
    std::fs::copy(&saved, &checkpoint).unwrap();
    run(&config(&data, 10), &device, &d, true, &mut |_| true).unwrap();
    assert_eq!(losses(&beside(&d, ".log.jsonl")), first);

    // Another run's checkpoint is refused.
    let other = Config { seed: 4, ..config(&data, 10) };
    let error = run(&other, &device, &d, true, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("d.checkpoint") && error.contains("was made with seed 3, this run asks for 4"), "{error}");
}

/// A step of fsrcnn-s x2 on eight fixed patches; returns the losses of `steps` steps.
fn fixed_run(device: &Device, steps: u64, optimizer: Optimizer, lr: f64) -> Vec<f32> {
    let mut g = Graph::new();
    let x = g.input("x", [8, 1, 6, 7]).unwrap();
    let t = g.input("t", [8, 1, 12, 14]).unwrap();
    let y = models::fsrcnn::build(&mut g, x, &models::fsrcnn::Config::small(2)).unwrap();
    let loss = g.mse(y, t, Reduction::Mean).unwrap();
    let parameters = g.parameters();
    let gradients = grad::backward(&mut g, loss, &parameters).unwrap();
    let pairs: Vec<_> = parameters.into_iter().zip(gradients).collect();
    let mut fetches = vec![loss];
    fetches.extend(optimizer.updates(&mut g, &pairs).unwrap());
    let session = device.compile(&g, &fetches, g.initialize(5)).unwrap();
    let mut rng = Rng::new(9);
    let mut draw = |shape: [usize; 4]| {
        Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.unit() as f32).collect()).unwrap()
    };
    let (x, t) = (draw([8, 1, 6, 7]), draw([8, 1, 12, 14]));
    let step = |k| session.run(&[("x", &x), ("t", &t), (HYPER, &optimizer.hyper(lr, k))]).unwrap()[0].data()[0];
    (1..=steps).map(step).collect()
}

#[test]
fn eight_pictures_are_learnt_by_heart() {
    let Some(device) = common::device() else { return };
    let losses = fixed_run(&device, 400, Optimizer::adam(), 5e-3);
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.2 * first, "{first} only fell to {last}");
}

/// The losses of the first ten steps, from the f64 references; f32 kernels follow them to a few parts in 10⁵.
#[test]
fn ten_losses_are_what_they_were() {
    for (optimizer, lr, expected) in [(Optimizer::adam(), 1e-3, ADAM), (Optimizer::sgd(0.9), 1e-2, SGD)] {
        let devices = [Some(Device::open(&lineament::Select::Cpu).unwrap()), common::device()];
        for device in devices.into_iter().flatten() {
            let losses = fixed_run(&device, 10, optimizer, lr);
            for (got, expected) in losses.iter().zip(expected) {
                assert!((got - expected).abs() <= 3e-5 * expected, "{} {optimizer:?}: {losses:?}", device.describe());
            }
        }
    }
}

const ADAM: [f32; 10] = [
    0.31605548, 0.25217813, 0.19305943, 0.14450249, 0.11626969, 0.11712237, 0.13706292, 0.14647669, 0.13935384,
    0.12448031,
];
const SGD: [f32; 10] = [
    0.31605548,
    0.28417137,
    0.23218527,
    0.17465457,
    0.12630066,
    0.101785414,
    0.10995687,
    0.13832723,
    0.15272428,
    0.13659623,
];
