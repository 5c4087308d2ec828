//! The cascade: p_k, W_k and I_k in turn, from I_0 and p_0 = 0 to I_K.
//!
//! For k = 1 … K: p_k = p_{k−1} + f_k(I_{k−1}; p_{k−1}); W_k(z) = z + B_k(z)·p_k; I_k = ↑I_{k−1} + g_k(↑I_{k−1}; W_k).
//! Source: Zhu et al. 2016, section 3, equations 2 to 4.

use super::alignment::{self, Step};
use super::bases::Bases;
use super::descriptor::Descriptor;
use super::network::{self, Config, Correspondence};
use super::shape::ShapeModel;
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::ops::pointwise::binary;
use crate::tensor::Tensor;
use crate::weights::Weights;
use std::collections::BTreeMap;

/// A fitted f_k and the descriptor that it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Alignment {
    pub descriptor: Descriptor,
    pub step: Step,
}

/// What is fitted for one level before its networks are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The steps of f_k, of which each reads I_{k−1} where the one before it placed the landmarks. None leaves p unchanged; if
    /// every level has none, this is the fixed correspondence of the paper's ablation.
    pub alignment: Vec<Alignment>,
    /// E_k: `[1, C, side, side]`.
    pub prior: Tensor,
}

/// Everything about a cascade except the weights of its networks.
#[derive(Debug, Clone, PartialEq)]
pub struct Cascade {
    pub config: Config,
    pub shape: ShapeModel,
    /// One per level; fewer while later levels are not fitted yet.
    pub fitted: Vec<Fitted>,
}

/// The full cascade or a reduced one: the rows of the paper's ablation (Zhu et al. 2016, section 4.3).
///
/// All share the shape model, f_k and E_k; each has its own networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    Full,
    /// g_k = G_A: a plain cascade of networks.
    Common,
    /// g_k = G_B.
    HighFrequency,
    /// p_k = 0 at every level.
    Fixed,
    /// One level, from the input's side to the last level's side.
    Single,
}

impl Variant {
    pub const ALL: [Self; 5] = [Self::Full, Self::Common, Self::HighFrequency, Self::Fixed, Self::Single];

    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Common => "common",
            Self::HighFrequency => "high_frequency",
            Self::Fixed => "fixed",
            Self::Single => "single",
        }
    }

    /// Returns the variant `name`.
    ///
    /// # Errors
    /// `name` is unknown; the error lists the known names.
    pub fn named(name: &str) -> Result<Self> {
        let known = Self::ALL.map(Self::name);
        let found = Self::ALL.into_iter().find(|v| v.name() == name);
        found.ok_or_else(|| Error::Usage(format!("there is no variant {name:?}; there are {}", known.join(", "))))
    }

    /// Returns the prefix of the weights of level `k` (from 0).
    pub fn scope(self, k: usize) -> String {
        match self {
            Self::Full => format!("level{}", k + 1),
            _ => format!("ablation/{}/level{}", self.name(), k + 1),
        }
    }

    fn has_common(self) -> bool {
        self != Self::HighFrequency
    }
    fn has_high_frequency(self) -> bool {
        self != Self::Common
    }
}

/// Nodes of one level of a cascade; those that a variant lacks are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// p_k: `[N, bases, 1, 1]`.
    pub p: NodeId,
    /// ↑I_{k−1}.
    pub up: NodeId,
    /// E^{W_k}.
    pub e_w: Option<NodeId>,
    pub g_a: Option<NodeId>,
    pub g_b: Option<NodeId>,
    /// Λ.
    pub lambda: Option<NodeId>,
    /// I_k.
    pub i: NodeId,
}

impl Cascade {
    /// Adds all fitted levels to `g`, with names and parameters under [`Variant::scope`]: `level1/`, `level2/`, … for the
    /// full cascade. `i_0` is `[N, 1, s, s]`, where s is the configuration's input side, with luminance in 0..1. If `given`
    /// is set, `[N, bases, 1, 1]`, it stands in for every p_k.
    ///
    /// # Errors
    /// `i_0` has another size; a fitted part does not fit the configuration; a name is taken.
    pub fn build(&self, g: &mut Graph, i_0: NodeId, variant: Variant, given: Option<NodeId>) -> Result<Vec<Stage>> {
        let batch = g.shape(i_0)?[0];
        let mut p = match given {
            Some(p) => p,
            None => g.constant("p_0", Tensor::zeros([batch, self.shape.len(), 1, 1]))?,
        };
        let mut before = i_0;
        let mut stages = Vec::new();
        for (k, level) in self.levels(variant).into_iter().enumerate() {
            let stage = g.within(&variant.scope(k), |g| {
                if let (Some(f), None, true) = (self.fitted.get(k), given, variant != Variant::Fixed) {
                    p = self.align(g, before, p, &f.alignment)?;
                }
                self.stage(g, before, p, variant, level)
            })?;
            before = stage.i;
            stages.push(stage);
        }
        Ok(stages)
    }

    /// Returns the fitted levels that a variant goes through, counted from 0.
    pub fn levels(&self, variant: Variant) -> Vec<usize> {
        let count = self.fitted.len().min(self.config.levels.len());
        match variant {
            Variant::Single => (0..count).rev().take(1).collect(),
            _ => (0..count).collect(),
        }
    }

    /// Adds steps (2) and (3): I_k at the side of level `level` (from 0), from I_{k−1} `before` and p_k `p`.
    ///
    /// # Errors
    /// Those of [`Cascade::build`]; the level is not fitted.
    pub fn stage(&self, g: &mut Graph, before: NodeId, p: NodeId, variant: Variant, level: usize) -> Result<Stage> {
        let (Some(config), Some(fitted)) = (self.config.levels.get(level), self.fitted.get(level)) else {
            return Err(Error::Usage(format!("level {} is not fitted", level + 1)));
        };
        let up = network::up(g, before, config.side)?;
        let e_w = if variant.has_high_frequency() {
            let known = Correspondence { bases: Bases::dense(&self.shape, config.side)?, prior: fitted.prior.clone() };
            Some(network::warped(g, p, &known)?.e_w)
        } else {
            None
        };
        let nothing = Stage { p, up, e_w, g_a: None, g_b: None, lambda: None, i: up };
        network_of(g, up, e_w, config, variant, nothing)
    }

    /// Returns whether `weights` holds the networks of `variant`.
    pub fn is_trained(&self, weights: &Weights, variant: Variant) -> bool {
        let levels = self.levels(variant);
        let has = |k: usize| weights.tensors().keys().any(|n| n.starts_with(&format!("{}/", variant.scope(k))));
        !levels.is_empty() && (0..levels.len()).all(has)
    }

    /// Adds step (1) alone: p_k from I_{k−1} `before` and p_{k−1} `p`, by the steps `f` of f_k.
    ///
    /// # Errors
    /// Those of [`Cascade::build`].
    pub fn align(&self, g: &mut Graph, before: NodeId, mut p: NodeId, f: &[Alignment]) -> Result<NodeId> {
        for (index, f) in f.iter().enumerate() {
            let step = |g: &mut Graph| {
                let [phi, q] = f.descriptor.build(g, before, p, &self.shape)?;
                let r = g.constant("r", f.step.r.clone())?;
                let b = g.constant("r.b", f.step.b.clone())?;
                let found = alignment::build(g, phi, q, r, b)?;
                f.descriptor.leave(g, found, p, &self.shape)
            };
            p = if index == 0 { step(g)? } else { g.within(&format!("step{}", index + 1), step)? };
        }
        Ok(p)
    }

    /// Gathers everything into one file: the shape model, what is fitted for each level, and the networks' `weights` with
    /// their manifest. `preset` is one of [`super::network::PRESETS`].
    pub fn save(&self, weights: &Weights, preset: &str) -> Weights {
        let mut tensors: BTreeMap<String, Tensor> = weights.tensors().clone();
        tensors.extend(self.shape.tensors());
        for (k, fitted) in self.fitted.iter().enumerate() {
            let name = |part: &str| format!("level{}/{part}", k + 1);
            tensors.insert(name("prior"), fitted.prior.clone());
            for (index, f) in fitted.alignment.iter().enumerate() {
                let name = |part: &str| name(&format!("{}/{part}", step_name(index)));
                let mut sight = vec![f.descriptor.radius as f32, f.descriptor.sigma as f32];
                sight.extend(f.descriptor.upright.map(|side| side as f32));
                let sight = Tensor::new([1, sight.len(), 1, 1], sight).expect("as many numbers");
                tensors.insert(name("descriptor"), sight);
                tensors.insert(name("r"), f.step.r.clone());
                tensors.insert(name("b"), f.step.b.clone());
            }
        }
        let mut all = Weights::from_tensors(tensors);
        for (key, value) in weights.manifest() {
            all.set_manifest(key, value.clone());
        }
        all.set_manifest("preset", preset.to_owned());
        all
    }

    /// Undoes [`Cascade::save`]: returns the cascade and the networks' weights.
    ///
    /// # Errors
    /// The manifest names no preset; a part is missing or has another shape.
    pub fn open(file: &Weights) -> Result<(Self, Weights)> {
        let fail = |problem: String| Error::weights(file.name(), problem);
        let preset = file.manifest().get("preset").ok_or_else(|| {
            fail("names no preset in its manifest; give weights made by lineament train hallucinate".into())
        })?;
        let (config, shape) = (Config::preset(preset)?, ShapeModel::from_weights(file)?);
        let mut rest: BTreeMap<String, Tensor> = file
            .tensors()
            .iter()
            .filter(|(n, _)| !n.starts_with("shape/"))
            .map(|(n, t)| (n.clone(), t.clone()))
            .collect();
        let mut fitted = Vec::new();
        for (k, level) in config.levels.iter().enumerate() {
            let name = |part: &str| format!("level{}/{part}", k + 1);
            let Some(prior) = rest.remove(&name("prior")) else { break };
            let expected = [1, config.contours, level.side, level.side];
            if prior.shape() != expected {
                let problem = format!("{} is {:?}, expected {expected:?}", name("prior"), prior.shape());
                return Err(fail(problem));
            }
            let mut alignment = Vec::new();
            loop {
                let step = step_name(alignment.len());
                let parts = ["descriptor", "r", "b"].map(|part| rest.remove(&name(&format!("{step}/{part}"))));
                match parts {
                    [None, None, None] => break,
                    [Some(sight), Some(r), Some(b)] if matches!(sight.data(), [_, _] | [_, _, _]) => {
                        let [radius, sigma] = [0, 1].map(|i| f64::from(sight.data()[i]));
                        // A cast saturates, and building the step refuses sides that do not fit.
                        let upright = sight.data().get(2).map(|side| *side as usize);
                        let descriptor = Descriptor { radius, sigma, upright };
                        let n = shape.len();
                        let expected = [[n, descriptor.len(shape.mean().len()), 1, 1], [1, n, 1, 1]];
                        if [r.shape(), b.shape()] != expected {
                            let is = [r.shape(), b.shape()];
                            let step = name(&format!("{step}/r"));
                            return Err(fail(format!("{step} and b are {is:?}, expected {expected:?}")));
                        }
                        alignment.push(Alignment { descriptor, step: Step { r, b } });
                    }
                    _ => return Err(fail(format!("lacks a part of {}; save it again", name(&step)))),
                }
            }
            fitted.push(Fitted { alignment, prior });
        }
        if let Some(left) = rest.keys().find(|n| n.contains("/alignment")) {
            let next = format!("level{}/", fitted.len() + 1);
            let lacks = if left.starts_with(&next) { next + "prior" } else { "the step before it".to_owned() };
            return Err(fail(format!("has {left:?} but lacks {lacks}; save it again")));
        }
        let mut weights = Weights::from_tensors(rest);
        for (key, value) in file.manifest() {
            weights.set_manifest(key, value.clone());
        }
        Ok((Self { config, shape, fitted }, weights))
    }

    /// Returns the side of I_K, that of the last fitted level.
    pub fn side(&self) -> usize {
        self.config.side_before(self.fitted.len().min(self.config.levels.len()))
    }
}

/// Returns the name of step `index` (from 0) of an f_k in a file.
pub fn step_name(index: usize) -> String {
    if index == 0 { "alignment".to_owned() } else { format!("alignment{}", index + 1) }
}

/// Adds the networks of a variant on ↑I_{k−1} and E^{W_k}, and I_k.
fn network_of(
    g: &mut Graph,
    up: NodeId,
    e_w: Option<NodeId>,
    config: &network::LevelConfig,
    variant: Variant,
    mut stage: Stage,
) -> Result<Stage> {
    let residual = match e_w {
        Some(e_w) if variant.has_common() => {
            let net = network::bi_network(g, up, e_w, config)?;
            (stage.g_a, stage.g_b, stage.lambda) = (Some(net.g_a), Some(net.g_b), Some(net.lambda));
            net.g
        }
        Some(e_w) => *stage.g_b.insert(network::high_frequency(g, up, e_w, config)?),
        None => *stage.g_a.insert(network::common(g, up, config)?),
    };
    stage.i = g.add_named("i", binary::add(), &[up, residual])?;
    Ok(stage)
}

/// Returns the part of `weights` that the parameters of `g` need, with the manifest: a file holds networks of several variants.
pub fn weights_of(g: &Graph, weights: &Weights) -> Weights {
    let is_parameter = |name: &str| {
        g.find(name).and_then(|id| g.node(id).ok()).is_some_and(|node| matches!(node.kind, Kind::Param { .. }))
    };
    let own = weights.tensors().iter().filter(|(name, _)| is_parameter(name));
    let mut part = Weights::from_tensors(own.map(|(name, tensor)| (name.clone(), tensor.clone())).collect());
    for (key, value) in weights.manifest() {
        part.set_manifest(key, value.clone());
    }
    part
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::model;
    use super::*;
    use crate::exec::{Device, Select};
    use crate::rng::Rng;

    /// Two levels of the preset `small` on stars of nine landmarks, an f_k that moves p by what it sees, and a bump as prior.
    fn cascade() -> Cascade {
        let (config, shape) = (Config::small(), model());
        let mut rng = Rng::new(2);
        let descriptor = Descriptor { radius: 1.5, sigma: 0.75, upright: None };
        let (n, width) = (shape.len(), descriptor.len(shape.mean().len()));
        let mut random = |shape, size: f64| {
            let data = (0..crate::tensor::len(&shape)).map(|_| (size * rng.normal()) as f32).collect();
            Tensor::new(shape, data).unwrap()
        };
        let mut fitted = Vec::new();
        for (level, steps) in config.levels[..2].iter().zip([2, 1]) {
            let mut step = || Step { r: random([n, width, 1, 1].into(), 1e-3), b: random([1, n, 1, 1].into(), 1e-2) };
            let sight = |k: usize| Descriptor { upright: Some(level.side).filter(|_| k > 0), ..descriptor };
            let alignment = (0..steps).map(|k| Alignment { descriptor: sight(k), step: step() }).collect();
            let bump = |e: usize| {
                let (i, j) = (e / level.side % level.side, e % level.side);
                (i * j % 7) as f32 / 7.0
            };
            let prior = (0..config.contours * level.side * level.side).map(bump).collect();
            let prior = Tensor::new([1, config.contours, level.side, level.side], prior).unwrap();
            fitted.push(Fitted { alignment, prior });
        }
        Cascade { config, shape, fitted }
    }

    fn run(cascade: &Cascade, weights: Option<Weights>) -> (Vec<Tensor>, Weights) {
        let mut g = Graph::new();
        let i_0 = g.input("i_0", [1, 1, 16, 16]).unwrap();
        let stages = cascade.build(&mut g, i_0, Variant::Full, None).unwrap();
        let fetches: Vec<NodeId> = stages.iter().flat_map(|s| [s.p, s.i]).collect();
        let weights = weights.unwrap_or_else(|| g.initialize(4));
        let session = Device::open(&Select::Cpu).unwrap().compile(&g, &fetches, weights.clone()).unwrap();
        let face = (0..256).map(|q| 0.5 + 0.3 * (q as f32 * 0.37).sin()).collect();
        let face = Tensor::new([1, 1, 16, 16], face).unwrap();
        (session.run(&[("i_0", &face)]).unwrap(), weights)
    }

    #[test]
    fn one_file_holds_a_cascade() {
        let cascade = cascade();
        assert_eq!(cascade.side(), 64);
        let (out, weights) = run(&cascade, None);
        assert_eq!(
            out.iter().map(Tensor::shape).collect::<Vec<_>>()[1..],
            [[1, 1, 32, 32], [1, 6, 1, 1], [1, 1, 64, 64]]
        );
        let (again, own) = Cascade::open(&cascade.save(&weights, "small")).unwrap();
        assert_eq!(again.fitted, cascade.fitted);
        assert_eq!(own.tensors(), weights.tensors());
        let (twice, _) = run(&again, Some(own));
        let apart =
            |a: &Tensor, b: &Tensor| a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The shape model was rounded to f32.
        assert!(out.iter().zip(&twice).all(|(a, b)| apart(a, b) < 1e-4));
        // p carries over from level to level, and stays 0 without f_k.
        assert!(out[0].data() != out[2].data() && out[0].data().iter().any(|p| p.abs() > 1e-3));
        // Every step of level 1 counts.
        let mut short = cascade.clone();
        short.fitted[0].alignment.pop();
        assert!(apart(&run(&short, Some(weights.clone())).0[0], &out[0]) > 1e-3);
        let mut fixed = cascade;
        fixed.fitted.iter_mut().for_each(|f| f.alignment.clear());
        let (still, _) = run(&fixed, Some(weights));
        assert!(still[2].data().iter().all(|p| *p == 0.0) && apart(&still[3], &out[3]) > 1e-6);
    }

    #[test]
    fn broken_files_are_refused() {
        let cascade = cascade();
        let whole = cascade.save(&Weights::default(), "small");
        let without = |name: &str| {
            let mut tensors = whole.tensors().clone();
            tensors.remove(name).unwrap();
            let mut file = Weights::from_tensors(tensors);
            file.set_manifest("preset", "small".to_owned());
            Cascade::open(&file).map(|(c, _)| c.fitted.len()).map_err(|e| e.to_string())
        };
        assert!(without("level2/prior").unwrap_err().contains("lacks level2/prior"));
        assert!(without("level1/alignment2/r").unwrap_err().contains("lacks a part of level1/alignment2"));
        assert!(without("level1/alignment/b").unwrap_err().contains("lacks a part of level1/alignment"));
        assert!(without("shape/mean").unwrap_err().contains("shape/mean"));
        let mut tensors = whole.tensors().clone();
        tensors.retain(|name, _| !name.starts_with("level1/alignment/"));
        let mut file = Weights::from_tensors(tensors);
        file.set_manifest("preset", "small".to_owned());
        assert!(Cascade::open(&file).unwrap_err().to_string().contains("but lacks the step before it"));
        let anonymous = Weights::from_tensors(whole.tensors().clone());
        assert!(Cascade::open(&anonymous).unwrap_err().to_string().contains("names no preset"));
    }
}
