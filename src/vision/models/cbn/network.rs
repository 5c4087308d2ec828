//! g_k, the gated bi-network, and the step of the cascade around it.
//!
//! | name | in the paper | what |
//! |---|---|---|
//! | `up` | ↑I_{k−1} | the level's input, enlarged bicubically by 2 |
//! | `w` | W_k(z) = z + B_k(z)·p_k | where each pixel of the template lies in the picture |
//! | `e_w` | E^{W_k} | the high-frequency prior, warped to the picture by W_k |
//! | `g_a` | G_A, common branch | reads ↑I_{k−1} |
//! | `g_b` | G_B, high-frequency branch | reads ↑I_{k−1} and E^{W_k} |
//! | `lambda` | Λ, gate network | reads G_A, G_B, ↑I_{k−1}, E^{W_k}; no sigmoid |
//! | `g` | g_k = (1 − Λ)·G_A + Λ·G_B | the residual |
//! | `i` | I_k = ↑I_{k−1} + g_k | the level's result |
//!
//! All convolutions are 3×3 with stride 1 and zero padding, with a ReLU after each but the last.
//! Source: Zhu et al. 2016, section 3.3, tables 1 and 2.
//! Not stated in the paper: we chose He's initial weights, small ones in the last layers, so that a new network leaves
//! ↑I_{k−1} nearly unchanged, and a gate that starts at ½.

use super::bases::Bases;
use crate::error::{Error, Result};
use crate::graph::{Graph, Init, NodeId};
use crate::ops::conv2d::Conv2d;
use crate::ops::gate::Gate;
use crate::ops::loss::Loss;
use crate::ops::resize::{Kernel, Resize};
use crate::ops::warp::{Border, Warp};
use crate::tensor::Tensor;
use crate::vision::models::{Padding, conv};

/// Rounds that find the inverse of W. Each scales the error by the steepest change of B·p from one pixel to the next.
const INVERSE_ROUNDS: usize = 4;

/// The networks of one level: the output channels of every layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelConfig {
    /// Side of I_k.
    pub side: usize,
    /// Each of the two branches, common and high-frequency.
    pub branch: Vec<usize>,
    pub gate: Vec<usize>,
    /// Learning rates in units of 1e-7: of each branch alone, of the branches end to end, of the gate.
    pub rates: [u32; 3],
    /// Share of these rates that the last layer of each network uses, in tenths.
    pub last_tenths: u32,
}

/// The cascade's sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Side of I_0. A face's eyes are 2/7 of it apart: 16 is the paper's input with 5 pixels between the eyes, 28 that with 8.
    pub input_side: usize,
    pub levels: Vec<LevelConfig>,
    /// C, channels of the prior.
    pub contours: usize,
}

/// Names that [`Config::preset`] accepts.
pub const PRESETS: [&str; 3] = ["paper", "small", "small-8px"];

fn layers(runs: &[(usize, usize)]) -> Vec<usize> {
    runs.iter().flat_map(|&(count, channels)| std::iter::repeat_n(channels, count)).collect()
}

impl Config {
    /// Returns the preset `name`.
    ///
    /// # Errors
    /// `name` is unknown; the error lists the known names.
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "paper" => Ok(Self::paper()),
            "small" => Ok(Self::small()),
            "small-8px" => Ok(Self::small_8px()),
            _ => Err(Error::Usage(format!("there is no preset {name:?}; there are {PRESETS:?}"))),
        }
    }

    /// Returns the sizes of tables 1 and 2: four levels, from 16 to 256.
    pub fn paper() -> Self {
        let gate = layers(&[(5, 64), (1, 1)]);
        let deep = layers(&[(4, 64), (16, 128), (3, 32), (1, 1)]);
        let shallow = layers(&[(4, 64), (4, 128), (3, 32), (1, 1)]);
        let level = |side, branch: &Vec<usize>, rates| LevelConfig {
            side,
            branch: branch.clone(),
            gate: gate.clone(),
            rates,
            last_tenths: 1,
        };
        let later = [100, 10, 100];
        Self {
            input_side: 16,
            levels: vec![
                level(32, &deep, [1000, 100, 1000]),
                level(64, &shallow, later),
                level(128, &shallow, later),
                level(256, &shallow, later),
            ],
            contours: 10,
        }
    }

    /// Returns three levels of the same form, from 16 to 128, narrow and shallow enough for two processor cores, with
    /// learning rates for Adam.
    pub fn small() -> Self {
        let levels = vec![small_level(32, 10, 32), small_level(64, 8, 16), small_level(128, 6, 12)];
        Self { input_side: 16, levels, contours: 10 }
    }

    /// Returns two levels like those of [`Config::small`], from 28 to 112.
    pub fn small_8px() -> Self {
        Self { input_side: 28, levels: vec![small_level(56, 10, 16), small_level(112, 8, 16)], contours: 10 }
    }

    /// Returns the side of I_K.
    pub fn side(&self) -> usize {
        self.side_before(self.levels.len())
    }

    /// Returns the side of I_{k−1}, which level `k` (from 0) reads.
    pub fn side_before(&self, k: usize) -> usize {
        if k == 0 { self.input_side } else { self.levels[k - 1].side }
    }
}

fn small_level(side: usize, count: usize, channels: usize) -> LevelConfig {
    LevelConfig {
        side,
        branch: layers(&[(count, channels), (1, 1)]),
        gate: layers(&[(2, 8), (1, 1)]),
        rates: [20_000, 2_000, 20_000],
        last_tenths: 10,
    }
}

/// What a level knows about faces in advance.
#[derive(Debug, Clone, PartialEq)]
pub struct Correspondence {
    /// B_k(z) at the level's side.
    pub bases: Bases,
    /// E_k(z), `[1, C, side, side]`.
    pub prior: Tensor,
}

/// The field W and the prior that it warps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warped {
    /// `[N, 2, side, side]`: W_k(z), which warps a picture to the template.
    pub w: NodeId,
    /// `[N, 2, side, side]`: the inverse of W_k at every pixel, which warps the template to the picture.
    pub w_inverse: NodeId,
    /// `[N, C, side, side]`: E^{W_k}.
    pub e_w: NodeId,
}

/// Nodes of g_k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiNetwork {
    pub g_a: NodeId,
    pub g_b: NodeId,
    pub lambda: NodeId,
    pub g: NodeId,
}

/// Nodes of one step of the cascade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    pub up: NodeId,
    pub warped: Warped,
    pub net: BiNetwork,
    /// I_k.
    pub i: NodeId,
}

/// Repeats a constant `[1, C, H, W]` for each of `batch` pictures.
fn for_each_picture(g: &mut Graph, name: &str, one: &Tensor, batch: usize) -> Result<NodeId> {
    let [_, c, h, w] = one.shape().nchw();
    let data = std::iter::repeat_n(one.data(), batch).flatten().copied().collect();
    g.constant(name, Tensor::new([batch, c, h, w], data)?)
}

/// Adds W_k of the coefficients `p` `[N, bases, 1, 1]`, its inverse, and E^{W_k}. The inverse z of a pixel x solves
/// z = x − B(z)·p; the iteration starts at z = x − B(x)·p and substitutes z on the right. Gradients flow back to p.
///
/// # Errors
/// The shapes do not fit; a name is taken.
pub fn warped(g: &mut Graph, p: NodeId, known: &Correspondence) -> Result<Warped> {
    let [batch, n, ..] = g.shape(p)?.nchw();
    let z = g.constant("z", known.bases.z.clone())?;
    let b = g.constant("bases", known.bases.b.clone())?;
    let w = g.add_named("w", crate::ops::field::Field, &[z, b, p])?;
    let minus = g.constant("minus", Tensor::filled([batch, n, 1, 1], -1.0))?;
    let back = g.times(p, minus)?;
    let zero = g.constant("nowhere", Tensor::zeros(known.bases.z.shape()))?;
    let moved = g.field(zero, b, back)?;
    let here = for_each_picture(g, "here", &known.bases.z, batch)?;
    let mut w_inverse = g.plus(here, moved)?;
    for _ in 0..INVERSE_ROUNDS {
        let there = g.warp(moved, w_inverse, Warp { border: Border::Clamp })?;
        w_inverse = g.plus(here, there)?;
    }
    let e = for_each_picture(g, "prior", &known.prior, batch)?;
    let e_w = g.add_named("e_w", Warp { border: Border::Zero }, &[e, w_inverse])?;
    Ok(Warped { w, w_inverse, e_w })
}

/// Adds ↑: `x` enlarged bicubically to `side`, a multiple of its own. The factor is 2 except in a cascade of a single level.
///
/// # Errors
/// `side` is not a multiple of the side of `x`; the node belongs to another graph.
pub fn up(g: &mut Graph, x: NodeId, side: usize) -> Result<NodeId> {
    let [.., own] = g.shape(x)?.nchw();
    if !side.is_multiple_of(own) {
        return Err(Error::Usage(format!("a level of side {side} cannot follow a picture of side {own}")));
    }
    g.resize(x, Resize::by(Kernel::Bicubic, (side / own) as u32, 1))
}

/// Adds the convolutions `channels`, named `scope/conv1`, …; `bias` is the initial bias of the last one.
fn convolutions(g: &mut Graph, scope: &str, mut x: NodeId, channels: &[usize], bias: f32) -> Result<NodeId> {
    g.within(scope, |g| {
        for (i, &out) in channels.iter().enumerate() {
            let [_, inputs, ..] = g.shape(x)?.nchw();
            let is_last = i + 1 == channels.len();
            let init = if is_last { Init::Normal(1e-3) } else { Init::He { fan_in: 9 * inputs, slope: 0.0 } };
            let name = format!("conv{}", i + 1);
            if is_last {
                let w = g.param(&format!("{name}.w"), [out, inputs, 3, 3], init)?;
                let b = g.param(&format!("{name}.b"), [1, out, 1, 1], Init::Constant(bias))?;
                x = g.add_named(&name, crate::ops::conv2d::Conv2d::same(3), &[x, w, b])?;
            } else {
                x = conv(g, &name, x, out, 3, init, Padding::Zero)?;
                x = g.relu(x)?;
            }
        }
        Ok(x)
    })
}

/// Adds G_A, the common branch on ↑I_{k−1}.
///
/// # Errors
/// A name is taken; the last layer does not have exactly one channel.
pub fn common(g: &mut Graph, up: NodeId, config: &LevelConfig) -> Result<NodeId> {
    convolutions(g, "common", up, &config.branch, 0.0)
}

/// Adds G_B, the high-frequency branch on ↑I_{k−1} and E^{W_k}.
///
/// # Errors
/// Those of [`common`].
pub fn high_frequency(g: &mut Graph, up: NodeId, e_w: NodeId, config: &LevelConfig) -> Result<NodeId> {
    let x = g.concat(up, e_w, 1)?;
    convolutions(g, "high_frequency", x, &config.branch, 0.0)
}

/// Adds g_k of ↑I_{k−1} and E^{W_k}.
///
/// # Errors
/// Those of [`common`].
pub fn bi_network(g: &mut Graph, up: NodeId, e_w: NodeId, config: &LevelConfig) -> Result<BiNetwork> {
    let g_a = common(g, up, config)?;
    let g_b = high_frequency(g, up, e_w, config)?;
    let seen = g.concat_all(&[g_a, g_b, up, e_w], 1)?;
    let lambda = convolutions(g, "gate", seen, &config.gate, 0.5)?;
    let gated = g.add_named("g", Gate, &[g_a, g_b, lambda])?;
    Ok(BiNetwork { g_a, g_b, lambda, g: gated })
}

/// Adds steps (2) and (3) of level k: I_k from I_{k−1} `[N, 1, side/2, side/2]` and p_k.
///
/// # Errors
/// Those of [`common`]; the level's side is not a multiple of that of I_{k−1}.
pub fn level(g: &mut Graph, before: NodeId, p: NodeId, config: &LevelConfig, known: &Correspondence) -> Result<Level> {
    let up = up(g, before, config.side)?;
    let warped = warped(g, p, known)?;
    let net = bi_network(g, up, warped.e_w, config)?;
    let i = g.add_named("i", crate::ops::pointwise::binary::add(), &[up, net.g])?;
    Ok(Level { up, warped, net, i })
}

/// Adds L_A = ‖Î_k − ↑I_{k−1} − G_A‖², averaged over the pixels.
///
/// # Errors
/// The shapes do not fit.
pub fn loss_a(g: &mut Graph, hat: NodeId, up: NodeId, g_a: NodeId) -> Result<NodeId> {
    let result = g.plus(up, g_a)?;
    g.add_named("loss_a", Loss::default(), &[result, hat])
}

/// Adds L_B = Σ_c ‖(E^{W_k})_c ∘ (Î_k − ↑I_{k−1} − G_B)‖², divided by the number of pixels, which judges G_B only where the
/// prior is high. The weight of a pixel is Σ_c (E^{W_k})_c²; no gradient flows through it.
///
/// # Errors
/// The shapes do not fit.
pub fn loss_b(g: &mut Graph, hat: NodeId, up: NodeId, g_b: NodeId, e_w: NodeId) -> Result<NodeId> {
    let [_, c, ..] = g.shape(e_w)?.nchw();
    let squares = g.times(e_w, e_w)?;
    let one = g.constant("mask.w", Tensor::filled([1, c, 1, 1], 1.0))?;
    let zero = g.constant("mask.b", Tensor::zeros([1, 1, 1, 1]))?;
    let mask = g.conv2d(squares, one, zero, Conv2d::default())?;
    let result = g.plus(up, g_b)?;
    g.add_named("loss_b", Loss { weighted: true, ..Loss::default() }, &[result, hat, mask])
}

/// Adds the joint loss ‖Î_k − ↑I_{k−1} − g_k‖² = ‖Î_k − I_k‖², averaged over the pixels.
///
/// # Errors
/// The shapes do not fit.
pub fn loss(g: &mut Graph, hat: NodeId, i: NodeId) -> Result<NodeId> {
    g.add_named("loss", Loss::default(), &[i, hat])
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::model;
    use super::*;
    use crate::exec::{Device, Select};
    use crate::rng::Rng;
    use crate::weights::Weights;

    const SIDE: usize = 12;

    fn toy() -> (LevelConfig, Correspondence) {
        let config =
            LevelConfig { side: SIDE, branch: vec![4, 3, 1], gate: vec![4, 1], rates: [1, 1, 1], last_tenths: 1 };
        let bases = Bases::dense(&model(), SIDE).unwrap();
        // Two smooth bumps.
        let bump = |e: usize| {
            let (c, i, j) = (e / SIDE / SIDE, e / SIDE % SIDE, e % SIDE);
            let (di, dj) = (i as f64 - 4.0, j as f64 - if c == 0 { 3.5 } else { 7.5 });
            (-(di * di + dj * dj) / 6.0).exp() as f32
        };
        let prior = Tensor::new([1, 2, SIDE, SIDE], (0..2 * SIDE * SIDE).map(bump).collect()).unwrap();
        (config, Correspondence { bases, prior })
    }

    fn random(rng: &mut Rng, shape: crate::tensor::Shape, low: f64, high: f64) -> Tensor {
        let data = (0..crate::tensor::len(&shape)).map(|_| rng.uniform(low, high) as f32).collect();
        Tensor::new(shape, data).unwrap()
    }

    #[test]
    fn a_whole_level_has_the_gradient_of_its_differences() {
        let (config, known) = toy();
        let mut rng = Rng::new(11);
        let n = model().len();
        let mut g = Graph::new();
        let before = g.input("before", [2, 1, SIDE / 2, SIDE / 2]).unwrap();
        let p = g.input("p", [2, n, 1, 1]).unwrap();
        let hat = g.input("hat", [2, 1, SIDE, SIDE]).unwrap();
        let level = level(&mut g, before, p, &config, &known).unwrap();
        let joint = loss(&mut g, hat, level.i).unwrap();
        // Parameters and the level's inputs: p acts through the field, its inverse and the warped prior.
        let mut wrt = g.parameters();
        wrt.extend([p, before]);
        let gradients = crate::graph::grad::backward(&mut g, joint, &wrt).unwrap();
        let mut fetches = vec![joint];
        fetches.extend(&gradients);
        let device = Device::open(&Select::Cpu).unwrap();
        // Weights of ordinary size in every layer, so that a small initial last layer makes no gradient small.
        let start = g.initialize(3);
        let parameters: std::collections::BTreeMap<String, Tensor> =
            start.tensors().iter().map(|(name, t)| (name.clone(), random(&mut rng, t.shape(), -0.25, 0.3))).collect();
        let mut inputs = [
            random(&mut rng, [2, 1, SIDE / 2, SIDE / 2].into(), 0.0, 1.0),
            random(&mut rng, [2, n, 1, 1].into(), -0.08, 0.08),
            random(&mut rng, [2, 1, SIDE, SIDE].into(), 0.0, 1.0),
        ];
        let at = |parameters: &std::collections::BTreeMap<String, Tensor>, inputs: &[Tensor; 3], all: bool| {
            let fetched = if all { &fetches[..] } else { &[level.i] };
            let session = device.compile(&g, fetched, Weights::from_tensors(parameters.clone())).unwrap();
            let given = [("before", &inputs[0]), ("p", &inputs[1]), ("hat", &inputs[2])];
            session.run(if all { &given[..] } else { &given[..2] }).unwrap()
        };
        let analytic = at(&parameters, &inputs, true);
        let names: Vec<String> = wrt.iter().map(|&id| g.node(id).unwrap().name.clone()).collect();
        let (mut compared, mut kinks) = (0, 0);
        for (k, name) in names.iter().enumerate() {
            let len = analytic[1 + k].data().len();
            let elements = rng.permutation(len).into_iter().take(6);
            for e in elements {
                let mut loss_at = |step: f32| {
                    let mut parameters = parameters.clone();
                    let tensor = match name.as_str() {
                        "p" => &mut inputs[1],
                        "before" => &mut inputs[0],
                        _ => parameters.get_mut(name).unwrap(),
                    };
                    let keep = tensor.data()[e];
                    tensor.data_mut()[e] = keep + step;
                    // The step that f32 actually made.
                    let made = f64::from(tensor.data()[e]) - f64::from(keep);
                    // The loss of I_k in f64: rounding to f32 would hide the effect of small steps.
                    let i = &at(&parameters, &inputs, false)[0];
                    let squares = i.data().iter().zip(inputs[2].data());
                    let loss: f64 = squares.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                    let loss = loss / i.data().len() as f64;
                    match name.as_str() {
                        "p" => inputs[1].data_mut()[e] = keep,
                        "before" => inputs[0].data_mut()[e] = keep,
                        _ => {}
                    }
                    (loss, made)
                };
                let mut slope = |h: f32| {
                    let ((up, a), (down, b)) = (loss_at(h), loss_at(-h));
                    (up - down) / (a - b)
                };
                let (wide, narrow) = (slope(1.0 / 4096.0), slope(1.0 / 8192.0));
                // A ReLU or a tap of the warp that switches between the two steps makes them disagree.
                let size = 1e-2 + narrow.abs();
                if (wide - narrow).abs() > 3e-3 * size {
                    kinks += 1;
                    continue;
                }
                compared += 1;
                let got = f64::from(analytic[1 + k].data()[e]);
                assert!((got - narrow).abs() <= 5e-3 * size, "{name} element {e}: {got} against {narrow} ({wide})");
            }
        }
        assert!(compared >= 60 && kinks * 4 <= compared, "{compared} compared, {kinks} at kinks");
    }

    #[test]
    fn high_frequency_loss_counts_where_the_prior_is() {
        let mut g = Graph::new();
        let shape = [1, 1, 2, 2];
        let ids: Vec<NodeId> = ["hat", "up", "g_b"].iter().map(|n| g.input(n, shape).unwrap()).collect();
        let e_w = g.input("e_w", [1, 2, 2, 2]).unwrap();
        let loss = loss_b(&mut g, ids[0], ids[1], ids[2], e_w).unwrap();
        let session = Device::open(&Select::Cpu).unwrap().compile(&g, &[loss], Weights::default()).unwrap();
        let t = |v: &[f32]| Tensor::new([1, v.len() / 4, 2, 2], v.to_vec()).unwrap();
        let inputs =
            [t(&[1.0; 4]), t(&[0.5; 4]), t(&[0.25, 0.5, 0.0, 0.0]), t(&[1.0, 1.0, 0.5, 0.0, 2.0, 0.0, 0.5, 0.0])];
        let run = session.run(&[("hat", &inputs[0]), ("up", &inputs[1]), ("g_b", &inputs[2]), ("e_w", &inputs[3])]);
        // Residuals 0.25, 0, 0.5, 0.5; Σ_c E² 5, 1, 0.5, 0.
        let expected = (0.0625 * 5.0 + 0.25 * 0.5) / 4.0;
        assert!((run.unwrap()[0].data()[0] - expected).abs() < 1e-6);
    }

    #[test]
    fn prior_goes_with_the_face_and_comes_back() {
        let (_, known) = toy();
        let model = model();
        let mut g = Graph::new();
        let p = g.input("p", [1, model.len(), 1, 1]).unwrap();
        let x = g.input("x", [1, 2, SIDE, SIDE]).unwrap();
        let warped = warped(&mut g, p, &known).unwrap();
        let back = g.warp(x, warped.w, Warp { border: Border::Clamp }).unwrap();
        let round = g.warp(warped.w_inverse, warped.w, Warp { border: Border::Clamp }).unwrap();
        let session =
            Device::open(&Select::Cpu).unwrap().compile(&g, &[warped.e_w, back, round], Weights::default()).unwrap();
        // Everything two pixels to the right: basis 2 is a shift of 12 px · 1/3 per unit.
        let mut shift = Tensor::zeros([1, model.len(), 1, 1]);
        shift.data_mut()[2] = 0.5;
        let e = known.prior.clone();
        let out = session.run(&[("p", &shift), ("x", &e)]).unwrap();
        for (i, j) in [(4, 5), (3, 6), (5, 7)] {
            assert!((out[0].at([0, 0, i, j]) - e.at([0, 0, i, j - 2])).abs() < 1e-5);
            assert!((out[1].at([0, 0, i, j]) - e.at([0, 0, i, j + 2])).abs() < 1e-5);
        }
        // Under a bent face the inverse undoes W inside the picture to a twentieth of a pixel; all three are sampled.
        let mut bent = Tensor::zeros([1, model.len(), 1, 1]);
        bent.data_mut().copy_from_slice(&[0.05, 0.05, 0.1, -0.1, 0.05, -0.04]);
        let out = session.run(&[("p", &bent), ("x", &e)]).unwrap();
        for i in 3..SIDE - 3 {
            for j in 3..SIDE - 3 {
                let z = [out[2].at([0, 0, i, j]), out[2].at([0, 1, i, j])];
                assert!((z[0] - j as f32).abs() < 0.05 && (z[1] - i as f32).abs() < 0.05, "{i} {j} {z:?}");
            }
        }
    }

    #[test]
    fn sizes_are_the_papers() {
        let count = |f: &dyn Fn(&mut Graph) -> NodeId| {
            let mut g = Graph::new();
            f(&mut g);
            let weights = g.initialize(0);
            weights.tensors().values().map(|t| t.data().len()).sum::<usize>()
        };
        let paper = Config::paper();
        let input = |g: &mut Graph, name: &str, c| g.input(name, [1, c, 8, 8]).unwrap();
        for (level, millions) in [(0, 2.455), (1, 0.684), (3, 0.684)] {
            let weights = count(&|g| {
                let x = input(g, "up", 1);
                common(g, x, &paper.levels[level]).unwrap()
            });
            assert!((weights as f64 / 1e6 - millions).abs() < 6e-4, "level {level}: {weights}");
        }
        let depth: Vec<[usize; 2]> = paper.levels.iter().map(|l| [l.branch.len(), l.gate.len()]).collect();
        assert_eq!(depth, [[24, 6], [12, 6], [12, 6], [12, 6]]);
        assert!(Config::preset("large").unwrap_err().to_string().contains("\"paper\", \"small\""));
        for (preset, sides) in
            [("paper", &[16, 32, 64, 128, 256][..]), ("small", &[16, 32, 64, 128]), ("small-8px", &[28, 56, 112])]
        {
            let config = Config::preset(preset).unwrap();
            let all: Vec<usize> = (0..=config.levels.len()).map(|k| config.side_before(k)).collect();
            assert_eq!(all, sides, "{preset}");
        }
    }
}
