//! The examples run unchanged.

#[path = "../examples/custom_op.rs"]
#[allow(dead_code)]
mod custom_op;

#[path = "../examples/imbalanced.rs"]
#[allow(dead_code)]
mod imbalanced;

#[path = "../examples/train_custom.rs"]
#[allow(dead_code)]
mod train_custom;

mod common;

use lineament::rng::Rng;
use lineament::vision::image::{Channels, Picture};
use std::path::Path;

#[test]
fn custom_op_is_checked_and_trains() {
    if common::device().is_some() {
        custom_op::main().unwrap();
    }
}

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
