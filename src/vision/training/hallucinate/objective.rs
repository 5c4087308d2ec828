//! A part's loss, its parameters' learning rates and the graph of a step.

use super::Config;
use super::parts::Part;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::ops::warp::{Border, Warp};
use crate::tensor::Tensor;
use crate::train::optimizer::{Group, Optimizer, Rule};
use crate::vision::models::cbn::cascade::Variant;
use crate::vision::models::cbn::network::{self, LevelConfig};

/// The learning rate rises over 1/`WARMUP` of the steps. At the full rate from the first step, Adam can push all ReLUs of a deep
/// branch below 0 before its last layer has grown, and then nothing ever moves again.
pub const WARMUP: u64 = 20;

/// Adds the networks of `part` and their loss, which it returns; `partial` says that some faces are not shown whole.
pub fn objective(
    g: &mut Graph,
    level: &LevelConfig,
    prior: &Tensor,
    [n, patch]: [usize; 2],
    part: Part,
    partial: bool,
) -> Result<NodeId> {
    let up = g.input("up", [n, 1, patch, patch])?;
    let hat = g.input("hat", [n, 1, patch, patch])?;
    let warped = |g: &mut Graph| -> Result<NodeId> {
        let w_inverse = g.input("w_inverse", [n, 2, patch, patch])?;
        let [_, c, h, w] = prior.shape().nchw();
        let data = std::iter::repeat_n(prior.data(), n).flatten().copied().collect();
        let e = g.constant("prior", Tensor::new([n, c, h, w], data)?)?;
        g.warp(e, w_inverse, Warp { border: Border::Zero })
    };
    let shown = if partial { Some(g.input("shown", [n, 1, patch, patch])?) } else { None };
    // Both sides that a loss compares are 0 where a face is not shown.
    let seen = |g: &mut Graph, x: NodeId| shown.map_or(Ok(x), |shown| g.times(x, shown));
    let (target, start) = (seen(g, hat)?, seen(g, up)?);
    match part {
        Part::Common => {
            let g_a = network::common(g, up, level)?;
            let g_a = seen(g, g_a)?;
            network::loss_a(g, target, start, g_a)
        }
        Part::HighFrequency => {
            let e_w = warped(g)?;
            let g_b = network::high_frequency(g, up, e_w, level)?;
            let g_b = seen(g, g_b)?;
            network::loss_b(g, target, start, g_b, e_w)
        }
        Part::Joint(variant) => {
            let residual = match variant {
                Variant::Common => network::common(g, up, level)?,
                Variant::HighFrequency => {
                    let e_w = warped(g)?;
                    network::high_frequency(g, up, e_w, level)?
                }
                Variant::Full | Variant::Fixed | Variant::Single => {
                    let e_w = warped(g)?;
                    network::bi_network(g, up, e_w, level)?.g
                }
            };
            let residual = seen(g, residual)?;
            let i = g.plus(start, residual)?;
            network::loss(g, target, i)
        }
    }
}

/// Returns the learning rate of a part, and its optimiser with the multipliers of the last layers and the gate.
pub fn rule(config: &Config, level: &LevelConfig, part: Part) -> (f64, Rule) {
    let [alone, together, gate] = level.rates.map(|r| f64::from(r) * 1e-7 * config.lr);
    let lr = match part {
        Part::Common | Part::HighFrequency => alone,
        Part::Joint(Variant::HighFrequency) => alone,
        Part::Joint(_) => together,
    };
    let last = f64::from(level.last_tenths) / 10.0;
    let mut groups = Vec::new();
    let mut add = |pattern: String, factor: f64| groups.push(Group { pattern, lr: factor as f32, weight_decay: 1.0 });
    let has = match part {
        Part::Common | Part::Joint(Variant::Common) => [true, false, false],
        Part::HighFrequency | Part::Joint(Variant::HighFrequency) => [false, true, false],
        Part::Joint(_) => [true, true, true],
    };
    for (name, has) in ["common", "high_frequency"].into_iter().zip(has) {
        if has {
            add(format!("{name}/conv{}.*", level.branch.len()), last);
        }
    }
    if has[2] {
        add(format!("gate/conv{}.*", level.gate.len()), last * gate / lr);
        add("gate/*".into(), gate / lr);
    }
    let clip = if config.clip == 0.0 { f32::INFINITY } else { config.clip };
    (lr, Rule { groups, clip, ..Rule::from(Optimizer::adam()) })
}

#[cfg(test)]
mod tests {
    use super::super::examples::Examples;
    use super::*;
    use crate::exec::{Device, Select};
    use crate::rng::Rng;
    use crate::train::optimizer::HYPER;

    #[test]
    fn no_loss_counts_what_a_picture_does_not_show() {
        let side = 6;
        let config = Config { preset: "small".into(), ..Config::default() };
        let level = LevelConfig { side, branch: vec![2, 1], gate: vec![2, 1], rates: [1, 1, 1], last_tenths: 1 };
        let mut rng = Rng::new(3);
        let mut plane = |channels: usize| (0..channels * side * side).map(|_| rng.unit() as f32).collect::<Vec<_>>();
        let prior = Tensor::new([1, 2, side, side], plane(2)).unwrap();
        let pixel = |q: usize| [(q % side) as f32, (q / side) as f32];
        let still: Vec<f32> = [0, 1].iter().flat_map(|&c| (0..side * side).map(move |q| pixel(q)[c])).collect();
        // The first face is shown whole, the second only in its upper half.
        let mut examples = Examples {
            side,
            whole: 1,
            shown: Some(vec![(0..side * side).map(|q| f32::from(q < side * side / 2)).collect()]),
            up: vec![plane(1), plane(1)],
            w_inverse: vec![still.clone(), still],
            hat: vec![plane(1), plane(1)],
        };
        let device = Device::open(&Select::Cpu).unwrap();
        let parts = [Part::Common, Part::HighFrequency].into_iter().chain(Variant::ALL.map(Part::Joint));
        for part in parts {
            let (_, rule) = rule(&config, &level, part);
            let mut graph = Graph::new();
            let loss = objective(&mut graph, &level, &prior, [4, side], part, true).unwrap();
            let step = rule.minimize(&mut graph, loss).unwrap();
            let losses = |examples: &Examples| {
                let batch = examples.batch([4, side], part, 1, 1).unwrap();
                let hyper = rule.hyper(1e-3, 1);
                let mut inputs: Vec<(&str, &Tensor)> = batch.iter().map(|(name, t)| (*name, t)).collect();
                inputs.push((HYPER, &hyper));
                let session = device.compile(&graph, &step.fetches, graph.initialize(1)).unwrap();
                session.run(&inputs).unwrap().iter().map(|t| t.data().to_vec()).collect::<Vec<_>>()
            };
            let was = losses(&examples);
            for (face, changes) in [(0, true), (1, false)] {
                examples.hat[face][side * side - 1] += 0.5;
                assert_eq!(losses(&examples) != was, changes, "{part:?}: a pixel of face {face}");
                examples.hat[face][side * side - 1] -= 0.5;
            }
            // What a network computes there does not count either.
            let shown = examples.shown.replace(vec![vec![0.0; side * side]]);
            let was = losses(&examples);
            examples.up[1][0] += 0.5;
            assert_eq!(losses(&examples), was, "{part:?}: a face of which nothing is shown");
            examples.up[1][0] -= 0.5;
            examples.shown = shown;
        }
    }
}
