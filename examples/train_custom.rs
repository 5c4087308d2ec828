//! Trains a classifier of its own: seven yes-or-no attributes of drawn pictures, with augmentation, a learning rate that falls,
//! validation, weights that are saved and opened again, and predictions for another batch size.
//!
//! `cargo run --release --example train_custom`

use lineament::prelude::*;

const SIDE: usize = 64;
const ATTRIBUTES: usize = 7;

/// The network: its input has any batch size. The loss is added only in training, which also gives the targets `t`.
fn classifier(g: &Draft) {
    let mut x = g.input("x");
    for (layer, channels) in [("conv1", 16), ("conv2", 32), ("conv3", 64)] {
        x = x.conv(layer, channels, 3, Conv2d::same(3)).relu().max_pool(2);
    }
    let logits = x.dense("head", ATTRIBUTES);
    g.output("logits", logits);
    g.loss("loss", || logits.bce_with_logits(g.input("t"), Reduction::Mean));
}

/// Draws a disc or a ring with noise, and says whether it is a ring, red, green, blue, large, left, high.
fn draw(rng: &mut Rng) -> (Vec<f32>, [bool; ATTRIBUTES]) {
    let (is_ring, colour, radius) = (rng.below(2) == 0, rng.below(3), rng.uniform(6.0, 20.0));
    let [row, column] = [0; 2].map(|_| rng.uniform(radius, SIDE as f64 - radius));
    let pixel = |k: usize| {
        let distance = ((k / SIDE % SIDE) as f64 - row).hypot((k % SIDE) as f64 - column);
        let is_inside = distance < radius && !(is_ring && distance < 0.6 * radius);
        let level = if k / SIDE / SIDE == colour { 0.9 } else { 0.3 };
        (if is_inside { level } else { 0.1 } + rng.uniform(-0.1, 0.1)) as f32
    };
    let [is_left, is_high] = [column, row].map(|k| k < SIDE as f64 / 2.0);
    let are = [is_ring, colour == 0, colour == 1, colour == 2, radius > 13.0, is_left, is_high];
    ((0..3 * SIDE * SIDE).map(pixel).collect(), are)
}

/// Draws a batch. With `augment`, half of the pictures are upside down, so that what was high is low.
fn batch(size: usize, seed: u64, augment: bool) -> Result<[Tensor; 2]> {
    let (mut rng, mut x, mut t) = (Rng::new(seed), Vec::new(), Vec::new());
    for _ in 0..size {
        let (mut pixels, mut are) = draw(&mut rng);
        if augment && rng.below(2) == 0 {
            pixels = pixels.chunks(SIDE * SIDE).flat_map(|plane| plane.chunks(SIDE).rev().flatten().copied()).collect();
            are[6] = !are[6];
        }
        x.extend(pixels);
        t.extend(are.map(f32::from));
    }
    Ok([Tensor::new([size, 3, SIDE, SIDE], x)?, Tensor::new([size, ATTRIBUTES, 1, 1], t)?])
}

/// Returns the share of attributes that the network gets right.
fn accuracy(network: &Network, [x, t]: &[Tensor; 2]) -> Result<f64> {
    let logits = network.run(&[("x", x)])?.take("logits")?;
    let right = logits.data().iter().zip(t.data()).filter(|(logit, t)| (**logit > 0.0) == (**t > 0.5)).count();
    Ok(right as f64 / t.data().len() as f64)
}

pub fn main() -> Result<()> {
    const STEPS: u64 = 40;
    let (device, held_out) = (Device::open(&Select::Default)?, batch(40, 0, false)?);
    let network = device.network(Params::fresh(1), classifier);
    let mut training = network.train(Optimizer::adamw(1e-4))?;
    let schedule = Schedule { lr: 4e-3, warmup: 5, decay: Decay::Cosine { end: 0.0, steps: STEPS } };
    let mut loader = Loader::new(2, 1, STEPS, |step| batch(16, step, true))?;
    for step in 1..=STEPS {
        let [x, t] = loader.take(step)?;
        let loss = training.step(schedule.at(step), &[("x", &x), ("t", &t)])?.scalar("loss");
        if step % 20 == 0 {
            println!("step {step}: loss {loss:.3}, {:.3} of held-out attributes right", accuracy(&network, &held_out)?);
        }
    }
    let path = std::env::temp_dir().join(format!("attributes-{}.safetensors", std::process::id()));
    training.weights()?.save(&path)?;
    let opened = device.network(Weights::open(&path)?, classifier);
    let right = accuracy(&opened, &batch(3, 9, false)?)?;
    println!("three more pictures: {right:.3} right on {}", device.describe());
    assert!(accuracy(&opened, &held_out)? > 0.8, "too few attributes are right");
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))
}
