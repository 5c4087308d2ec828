//! Trains a custom network: two layers that separate three classes on the three arms of a spiral.
//!
//! `cargo run --release --example train_custom`

use lineament::graph::Init;
use lineament::ops::loss::Reduction;
use lineament::rng::Rng;
use lineament::train::{Decay, HYPER, Optimizer, Rule, Schedule};
use lineament::{Device, Graph, NodeId, Result, Select, Tensor};

const POINTS: usize = 96;

/// Adds `y = x·wᵀ + b` with its parameters.
fn dense(g: &mut Graph, name: &str, x: NodeId, inputs: usize, outputs: usize) -> Result<NodeId> {
    let w = g.param(&format!("{name}.w"), [outputs, inputs, 1, 1], Init::He { fan_in: inputs, slope: 0.0 })?;
    let b = g.param(&format!("{name}.b"), [1, outputs, 1, 1], Init::Constant(0.0))?;
    g.linear(x, w, b)
}

pub fn main() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", [POINTS, 2, 1, 1])?;
    let t = g.input("t", [POINTS, 3, 1, 1])?;
    let hidden = dense(&mut g, "hidden", x, 2, 32)?;
    let hidden = g.relu(hidden)?;
    let scores = dense(&mut g, "scores", hidden, 32, 3)?;
    let loss = g.softmax_cross_entropy(scores, t, Reduction::Mean)?;
    // The gradients, their norm, and one update of all parameters are in the same graph and so in one plan.
    let rule = Rule { clip: 1.0, ..Rule::from(Optimizer::adamw(1e-4)) };
    let schedule = Schedule { lr: 0.03, warmup: 10, decay: Decay::Cosine { end: 0.0, steps: 300 } };
    let step = rule.minimize(&mut g, loss)?;
    let device = Device::open(&Select::Default)?;
    let session = device.compile(&g, &step.fetches, g.initialize(1))?;

    let mut rng = Rng::new(1);
    let (mut points, mut targets, mut last) = (vec![], vec![], f32::NAN);
    for k in 0..POINTS {
        let (radius, arm) = (rng.uniform(0.2, 1.0), k % 3);
        let angle = 2.5 * radius + arm as f64 * std::f64::consts::TAU / 3.0;
        points.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
        targets.extend((0..3).map(|class| f32::from(class == arm)));
    }
    let (x, t) = (Tensor::new([POINTS, 2, 1, 1], points)?, Tensor::new([POINTS, 3, 1, 1], targets)?);
    for k in 1..=300 {
        let hyper = rule.hyper(schedule.at(k), k);
        last = session.run(&[("x", &x), ("t", &t), (HYPER, &hyper)])?[0].data()[0];
    }
    println!("cross entropy {last:.4} on {}", device.describe());
    assert!(last < 0.05, "the loss stays at {last}");
    session.weights()?.save(std::env::temp_dir().join("spiral.safetensors"))
}
