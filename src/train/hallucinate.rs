//! Trains the face hallucination in the order of its paper: for every level k, f_k on I_{k−1}; the common and the
//! high-frequency branch alone; both with the gate, end to end; then I_k of all faces, on which level k + 1 is trained.
//!
//! Each of these trainings is a run ([`super::run`]) in a folder of its own under the run's:
//!
//! | in the folder | what |
//! |---|---|
//! | `config.toml` | every choice |
//! | `prior.safetensors`, `prior_SIDE.png` | the E_k; as pictures: the map that they were cut from, then the channels |
//! | `level1/fitted.safetensors` | R_1 and where it takes the training faces |
//! | `level1/common/`, `level1/high_frequency/`, `level1/joint/` | the networks' runs |
//! | `ablation/NAME/level1/…` | those of the paper's ablation |
//! | `log.jsonl` | a line a finished part |
//! | `weights.safetensors` | all of it, after each cascade that is finished |
//!
//! A part whose result is there is not made again, so that a run that was stopped continues where it was, to the same bits.
//!
//! Aligned faces without landmarks may be added for the networks: f_k, fitted on the others, finds their p_k. What of the frame
//! their pictures do not show no loss counts: results and targets are 0 there. Copies of the faces with landmarks, each turned,
//! scaled and shifted a little, keep the networks from learning the faces by heart, so that a level's results for the training
//! faces, on which the next one is trained, are like those for new faces.
//!
//! Not stated in the paper; we chose: p_k of a training face as found by an f_k that was fitted without it; the ablation's
//! networks begin at the full cascade's branch of the level where it reads the same, else anew.
//!
//! Both branches are trained together for a short time at a low rate: a tenth of the rate alone (tables 1 and 2), in the released
//! networks for a fifth of the steps. Branches that are trained together for long learn the same faces by heart, and the gate has
//! nothing to choose.

use super::faces::{self, Aligned, Faces};
use super::optimizer::{Decay, Group, Optimizer, Rule, Schedule, Step};
use super::run::{self, Folder, Hooks, Job, Progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::graph::{Graph, NodeId};
use crate::metrics::mean_landmark_error;
use crate::models::cbn::alignment::{self, Method};
use crate::models::cbn::bases::Bases;
use crate::models::cbn::cascade::{Alignment, Cascade, Fitted, Variant, weights_of};
use crate::models::cbn::descriptor::Descriptor;
use crate::models::cbn::network::{self, Correspondence, LevelConfig};
use crate::models::cbn::shape::{Point, SHARE, ShapeModel, Similarity};
use crate::ops::warp::{Border, Warp};
use crate::rng::Rng;
use crate::tasks::hallucinate::align::{Recipe, Regressor};
use crate::tasks::hallucinate::faces::{Face, resized, shape_model};
use crate::tasks::hallucinate::frame::mirrored_points;
use crate::tasks::hallucinate::{batches, priors, sheet};
use crate::tensor::Tensor;
use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Every choice of a run; what `config.toml` in its folder holds. Lists have a number a level; the last one holds for the
/// levels after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A name of [`network::PRESETS`].
    pub preset: String,
    /// Folder of faces, its landmarks beside it in DIR.csv; must be set.
    pub data: PathBuf,
    /// What the manifest says of the data's terms.
    pub data_terms: String,
    /// Folder of aligned faces without landmarks, with folders in it; empty: none.
    pub more: PathBuf,
    /// Where the canonical frame lies in each of them: left, top, side in pixels.
    pub more_square: [f64; 3],
    pub seed: u64,
    /// Copies of each face with landmarks that are turned, scaled and shifted a little, for the networks.
    pub jitter: usize,
    /// Weights of a cascade of the same preset at which the networks begin, or empty. The full cascade's branches begin at
    /// the rows that are such a branch alone, with a new gate, where the file has them; else all at the networks of the
    /// same name.
    pub init: PathBuf,
    /// Steps of each branch alone; with `init` they may be 0.
    pub pretrain: Vec<u64>,
    /// Steps end to end.
    pub joint: Vec<u64>,
    /// Faces a step.
    pub batch: Vec<usize>,
    /// Side of the part of a face that a step sees, in pixels of the level; the whole face where it is larger.
    pub patch: Vec<usize>,
    /// Multiplies the preset's learning rates, which rise in the first twentieth of the steps and fall to 0 by half a
    /// cosine.
    pub lr: f64,
    /// Largest norm of the gradients; 0: never clip.
    pub clip: f32,
    /// Names of [`Variant`]s but `full` to train after it.
    pub ablation: Vec<String>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: "small".into(),
            data: PathBuf::new(),
            data_terms: "not stated".into(),
            more: PathBuf::new(),
            more_square: [0.0; 3],
            seed: 1,
            jitter: 0,
            init: PathBuf::new(),
            pretrain: vec![1000, 600, 600],
            joint: vec![600, 300, 300],
            batch: vec![16, 8, 8],
            patch: vec![32, 64, 64],
            lr: 1.0,
            clip: 0.0,
            ablation: Vec::new(),
            checkpoint_every: 200,
        }
    }
}

impl Config {
    /// Reads a file as [`Config::save`] writes it; what it leaves out has its default.
    ///
    /// # Errors
    /// The file is missing or no such TOML, with the line.
    pub fn open(path: &Path) -> Result<Self> {
        run::open_choices(path)
    }

    /// Writes all choices as TOML.
    ///
    /// # Errors
    /// The file cannot be written; the seed is 2⁶³ or more.
    pub fn save(&self, path: &Path) -> Result<()> {
        run::save_choices(self, path)
    }

    /// The variants of the cascade to train, in order, and the network's sizes.
    fn check(&self) -> Result<(network::Config, Vec<Variant>)> {
        let preset = network::Config::preset(&self.preset)?;
        let refuse = |problem: &str| Err(Error::Usage(problem.to_owned()));
        let has_zero = |list: &[u64]| list.is_empty() || list.contains(&0);
        let sizes = |list: &[usize]| list.iter().map(|&v| v as u64).collect::<Vec<_>>();
        let lists = [self.joint.clone(), sizes(&self.batch), sizes(&self.patch)];
        if lists.iter().any(|list| has_zero(list)) || self.checkpoint_every == 0 {
            return refuse("--joint, --batch, --patch and --checkpoint-every must be at least 1");
        }
        if self.pretrain.is_empty() || self.init.as_os_str().is_empty() && has_zero(&self.pretrain) {
            return refuse("--pretrain must be at least 1, or 0 with --init");
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return refuse("--lr must be above 0");
        }
        if self.clip.is_nan() || self.clip < 0.0 {
            return refuse("--clip must be above 0, or 0 for never");
        }
        if !self.more.as_os_str().is_empty() && !matches!(self.more_square, [.., side] if side > 0.0) {
            return refuse(
                "--more needs --more-square X,Y,SIDE, where the canonical frame lies in each of its pictures",
            );
        }
        let mut variants = vec![Variant::Full];
        for name in &self.ablation {
            let variant = Variant::named(name)?;
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
        Ok((preset, variants))
    }
}

/// The entry of level `k` (from 0) in a list of [`Config`].
fn at<T: Copy>(list: &[T], k: usize) -> T {
    list[k.min(list.len() - 1)]
}

/// The part of the steps in which the learning rate rises: with the full rate from the first step, Adam can push all ReLUs of a
/// deep branch below 0 before its last layer has grown, and nothing ever moves again.
const WARMUP: u64 = 20;

/// One training of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// G_A by L_A.
    Common,
    /// G_B by L_B.
    HighFrequency,
    /// All networks of a variant by the joint loss; begins at the branches alone, or anew.
    Joint(Variant),
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Common => "common",
            Self::HighFrequency => "high_frequency",
            Self::Joint(_) => "joint",
        }
    }
}

/// Level `k` (from 0) of a variant.
#[derive(Debug, Clone, Copy)]
struct Place {
    variant: Variant,
    k: usize,
    /// Its sizes in the configuration: not `k` where a variant leaves levels out.
    level: usize,
}

impl Place {
    /// What is trained there, in order.
    fn parts(self, config: &Config) -> Vec<Part> {
        let joint = Part::Joint(self.variant);
        let parts = match self.variant {
            Variant::Full | Variant::Single => vec![Part::Common, Part::HighFrequency, joint],
            // The common branch is the full cascade's.
            Variant::Common => vec![joint],
            Variant::Fixed => vec![Part::HighFrequency, joint],
            // By the loss of the result from the first step: the other leaves free what no prior covers.
            Variant::HighFrequency => vec![joint],
        };
        parts.into_iter().filter(|&part| self.steps(config, part) > 0).collect()
    }

    /// Where the file that a run begins at may have this network of the place: in the first of these scopes that it has.
    fn origins(self, network: &str) -> Vec<Variant> {
        match (self.variant, network) {
            (Variant::Single, _) => vec![Variant::Single],
            (Variant::Fixed, "high_frequency") => vec![Variant::Fixed, Variant::HighFrequency, Variant::Full],
            (_, "common") => vec![Variant::Common, Variant::Full],
            (_, "high_frequency") => vec![Variant::HighFrequency, Variant::Full],
            (variant, _) => vec![variant],
        }
    }

    /// Which coefficients the variant reads at level `k`: `still`, which are 0, or those `found` by the full cascade.
    fn p<'a>(self, still: &'a [Vec<f64>], found: &'a [Vec<Vec<f64>>], k: usize) -> &'a [Vec<f64>] {
        if self.variant == Variant::Fixed { still } else { &found[k] }
    }

    fn steps(self, config: &Config, part: Part) -> u64 {
        let (alone, joint) = (at(&config.pretrain, self.level), at(&config.joint, self.level));
        match part {
            Part::Common | Part::HighFrequency => alone,
            // Trained by this loss from the first step to the last, as often as the branch of the row `common` is.
            Part::Joint(Variant::HighFrequency) => alone + joint,
            Part::Joint(_) => joint,
        }
    }
}

/// The places of all variants, in the order of the training.
fn places(levels: usize, variants: &[Variant]) -> Vec<Place> {
    let of = |&variant: &Variant| -> Vec<Place> {
        match variant {
            Variant::Single => vec![Place { variant, k: 0, level: levels - 1 }],
            _ => (0..levels).map(|k| Place { variant, k, level: k }).collect(),
        }
    };
    variants.iter().flat_map(of).collect()
}

/// All steps of a run.
///
/// # Errors
/// Choices that make no sense.
pub fn steps(config: &Config) -> Result<u64> {
    let (preset, variants) = config.check()?;
    let all = places(preset.levels.len(), &variants);
    Ok(all.iter().flat_map(|place| place.parts(config).into_iter().map(|part| place.steps(config, part))).sum())
}

/// What [`train`] tells of.
pub struct Observer<'a> {
    /// Lines for a person.
    pub tell: &'a mut dyn FnMut(&str),
    /// Called after every step with the part's name, the steps done of all, and the step; false stops the run after a
    /// checkpoint.
    pub step: &'a mut dyn FnMut(&str, u64, Progress) -> bool,
}

impl std::fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

/// A level's training faces: planes a face, row by row.
struct Examples {
    side: usize,
    /// Faces that come first and are whole; of the others 1 where their pictures show the frame, else 0.
    whole: usize,
    shown: Option<Vec<f32>>,
    /// ↑I_{k−1}.
    up: Vec<Vec<f32>>,
    /// The inverse of W_k: columns, then rows. Empty where no prior is read.
    w_inverse: Vec<Vec<f32>>,
    /// Î_k.
    hat: Vec<Vec<f32>>,
}

impl Examples {
    /// The planes of the faces that were chosen.
    fn of<'a>(planes: &'a [Vec<f32>], chosen: &[[usize; 3]]) -> Vec<&'a [f32]> {
        chosen.iter().map(|&[face, ..]| &planes[face][..]).collect()
    }

    /// Batch `step` of `seed`: `n` faces, a square of `patch` pixels of each, and what `part` reads of it.
    fn batch(&self, [n, patch]: [usize; 2], part: Part, seed: u64, step: u64) -> Result<Vec<(&'static str, Tensor)>> {
        let mut rng = Rng::of_step(seed, step);
        let places = self.side - patch + 1;
        let chosen: Vec<[usize; 3]> =
            (0..n).map(|_| [rng.below(self.up.len()), rng.below(places), rng.below(places)]).collect();
        let cut = |planes: Vec<&[f32]>, channels: usize| {
            let mut data = Vec::with_capacity(n * channels * patch * patch);
            for (plane, &[_, row, column]) in planes.into_iter().zip(&chosen) {
                for line in (0..channels).flat_map(|c| (0..patch).map(move |i| c * self.side + row + i)) {
                    let first = line * self.side + column;
                    data.extend_from_slice(&plane[first..first + patch]);
                }
            }
            Tensor::new([n, channels, patch, patch], data)
        };
        let of = |planes| Self::of(planes, &chosen);
        let mut batch = vec![("up", cut(of(&self.up), 1)?), ("hat", cut(of(&self.hat), 1)?)];
        if !matches!(part, Part::Common | Part::Joint(Variant::Common)) {
            batch.push(("w_inverse", cut(of(&self.w_inverse), 2)?));
        }
        if let Some(shown) = &self.shown {
            let whole = vec![1.0; shown.len()];
            let of_face = |&[face, ..]: &[usize; 3]| if face < self.whole { &whole[..] } else { shown };
            batch.push(("shown", cut(chosen.iter().map(of_face).collect(), 1)?));
        }
        Ok(batch)
    }
}

/// The networks of `part`, their loss and the update of every parameter, as one plan; `partial` where not all faces are
/// shown whole.
fn step_graph(
    level: &LevelConfig,
    prior: &Tensor,
    [n, patch]: [usize; 2],
    part: Part,
    partial: bool,
    rule: &Rule,
) -> Result<(Graph, Step)> {
    let mut g = Graph::new();
    let up = g.input("up", [n, 1, patch, patch])?;
    let hat = g.input("hat", [n, 1, patch, patch])?;
    let warped = |g: &mut Graph| -> Result<NodeId> {
        let w_inverse = g.input("w_inverse", [n, 2, patch, patch])?;
        let [_, c, h, w] = prior.shape();
        let data = std::iter::repeat_n(prior.data(), n).flatten().copied().collect();
        let e = g.constant("prior", Tensor::new([n, c, h, w], data)?)?;
        g.warp(e, w_inverse, Warp { border: Border::Zero })
    };
    let shown = if partial { Some(g.input("shown", [n, 1, patch, patch])?) } else { None };
    // What a loss compares is 0 on both sides where a face is not shown.
    let seen = |g: &mut Graph, x: NodeId| shown.map_or(Ok(x), |shown| g.times(x, shown));
    let (target, start) = (seen(&mut g, hat)?, seen(&mut g, up)?);
    let loss = match part {
        Part::Common => {
            let g_a = network::common(&mut g, up, level)?;
            let g_a = seen(&mut g, g_a)?;
            network::loss_a(&mut g, target, start, g_a)?
        }
        Part::HighFrequency => {
            let e_w = warped(&mut g)?;
            let g_b = network::high_frequency(&mut g, up, e_w, level)?;
            let g_b = seen(&mut g, g_b)?;
            network::loss_b(&mut g, target, start, g_b, e_w)?
        }
        Part::Joint(variant) => {
            let residual = match variant {
                Variant::Common => network::common(&mut g, up, level)?,
                Variant::HighFrequency => {
                    let e_w = warped(&mut g)?;
                    network::high_frequency(&mut g, up, e_w, level)?
                }
                Variant::Full | Variant::Fixed | Variant::Single => {
                    let e_w = warped(&mut g)?;
                    network::bi_network(&mut g, up, e_w, level)?.g
                }
            };
            let residual = seen(&mut g, residual)?;
            let i = g.plus(start, residual)?;
            network::loss(&mut g, target, i)?
        }
    };
    let step = rule.minimize(&mut g, loss)?;
    Ok((g, step))
}

/// The learning rate of a part, and its optimiser with the multipliers of the last layers and the gate.
fn rule(config: &Config, level: &LevelConfig, part: Part) -> (f64, Rule) {
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

/// A copy of a face, turned, scaled and shifted a little.
#[derive(Debug, Clone)]
struct Moved {
    face: Face,
    /// Place of the face that it is a copy of among those with landmarks.
    of: usize,
    by: Similarity,
    /// Whether `face` was mirrored after it was moved.
    mirrored: bool,
}

impl Moved {
    /// The copy of a face, and its mirror image as one of that face's.
    fn with_mirror(copy: faces::Jittered) -> [Self; 2] {
        let faces::Jittered { of, by, face } = copy;
        let mirrored = Self { face: face.mirrored(), of: 2 * of + 1, by, mirrored: true };
        [Self { face, of: 2 * of, by, mirrored: false }, mirrored]
    }

    /// p_k, which goes with the face: what was found for the face that it is a copy of, `found`, moved as it was.
    fn p(&self, shape: &ShapeModel, found: &[Vec<f64>]) -> Vec<f64> {
        let move_all = |points: &[Point]| points.iter().map(|&x| self.by.apply(x)).collect::<Vec<_>>();
        let points = shape.landmarks(&found[self.of]);
        shape.coefficients(&match self.mirrored {
            true => mirrored_points(&move_all(&mirrored_points(&points))),
            false => move_all(&points),
        })
    }
}

/// The faces of a run.
struct Training {
    /// With landmarks, each beside its mirror image.
    marked: Vec<Face>,
    /// Copies of these.
    jittered: Vec<Moved>,
    /// Without.
    more: Option<Aligned>,
    /// Side of the planes of both.
    side: usize,
}

impl Training {
    fn len(&self) -> usize {
        self.whole() + self.more.as_ref().map_or(0, |more| more.luma.len())
    }

    /// Faces that are shown whole.
    fn whole(&self) -> usize {
        self.marked.len() + self.jittered.len()
    }

    /// Every face at another side, those with landmarks first, then their copies.
    fn at(&self, side: usize) -> Result<Vec<Vec<f32>>> {
        let marked = self.marked.iter().chain(self.jittered.iter().map(|j| &j.face)).map(|f| f.at(side));
        let more = self.more.iter().flat_map(|more| &more.luma).map(|luma| resized(luma, self.side, side));
        marked.chain(more).collect()
    }

    /// Of the faces without landmarks, 1 where their pictures show the frame at a level of `side`, else 0; `None`: no such
    /// faces.
    fn shown(&self, side: usize) -> Option<Vec<f32>> {
        let more = self.more.as_ref()?;
        let inside = |part: &Range<f64>, k: usize| {
            let (first, last) = (k as f64 / side as f64, (k + 1) as f64 / side as f64);
            part.start <= first && last <= part.end
        };
        let [rows, columns] = &more.seen;
        Some((0..side * side).map(|q| f32::from(inside(rows, q / side) && inside(columns, q % side))).collect())
    }
}

/// A run while it goes on.
struct Run<'a, 'b> {
    config: &'a Config,
    device: &'a Device,
    folder: &'a Folder,
    fingerprint: String,
    faces: Training,
    observer: &'a mut Observer<'b>,
    /// Steps of the parts that are finished.
    done: u64,
    cascade: Cascade,
    /// Where the networks begin.
    init: Option<Weights>,
    weights: BTreeMap<String, Tensor>,
    manifest: Vec<(String, String)>,
}

/// Trains, or goes on with `resume`, and returns the cascade of `preset` in one file with its manifest.
///
/// # Errors
/// Bad data, a folder of another run, a loss that is no number, the device, the disk; [`Error::Interrupted`] where the observer
/// stopped it.
pub fn train(
    config: &Config,
    device: &Device,
    folder: &Folder,
    resume: bool,
    observer: &mut Observer,
) -> Result<Weights> {
    let (preset, variants) = config.check()?;
    let top = preset.side();
    if resume && folder.config().is_file() {
        same_choices(&Config::open(&folder.config())?, config, &folder.config())?;
    }
    let (Faces { faces: own, mut fingerprint, .. }, copies) =
        faces::open_jittered(&config.data, top, config.jitter, config.seed)?;
    let more = match config.more.as_os_str().is_empty() {
        true => None,
        false => Some(faces::aligned(&config.more, config.more_square, top)?),
    };
    if let Some(more) = &more {
        fingerprint = format!("{fingerprint}+{}", more.fingerprint);
    }
    config.save(&folder.config())?;
    let shape = shape_model(&own, SHARE)?;
    let marked: Vec<Face> = own.iter().flat_map(|f| [f.clone(), f.mirrored()]).collect();
    let mut counted = format!("{} faces and their mirror images", own.len());
    if config.jitter > 0 {
        counted += &format!(", {} jittered copies of each", config.jitter);
    }
    if let Some(more) = &more {
        counted += &format!(", {} without landmarks", more.luma.len());
    }
    (observer.tell)(&format!("{counted}, {} bases", shape.len()));
    let init = if config.init.as_os_str().is_empty() { None } else { Some(Weights::open(&config.init)?) };
    let mut manifest = manifest(config, device, &counted);
    // Where the networks began, how those were made, and where they began.
    for (key, value) in init.iter().flat_map(Weights::manifest) {
        let what = key.trim_start_matches("init_");
        if ["command", "commit", "data", "device", "seed", "sha256", "steps"].contains(&what) {
            manifest.push((format!("init_{key}"), value.clone()));
        }
    }
    let mut run = Run {
        config,
        device,
        folder,
        fingerprint,
        faces: Training {
            marked,
            jittered: copies.into_iter().flat_map(Moved::with_mirror).collect(),
            more,
            side: top,
        },
        observer,
        done: 0,
        cascade: Cascade { config: preset, shape, fitted: Vec::new() },
        init,
        weights: BTreeMap::new(),
        manifest,
    };
    let priors = run.priors()?;
    let i_0 = run.faces.at(run.cascade.config.input_side)?;
    let p_0 = vec![vec![0.0; run.cascade.shape.len()]; run.faces.len()];
    // p_k of the full cascade, for every variant but the fixed one.
    let mut p: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut weights = Weights::default();
    let places = places(priors.len(), &variants);
    // What level `reached` of the variant at hand reads: made when a part that is not finished asks for it.
    let (mut before, mut reached) = (i_0.clone(), 0);
    for (index, &place) in places.iter().enumerate() {
        if place.k == 0 {
            before.clone_from(&i_0);
            reached = 0;
        }
        let is_full = place.variant == Variant::Full;
        if (is_full && run.made(&fitted_name(place.k))?.is_none())
            || !place.parts(config).into_iter().all(|part| run.trained(place, part).is_file())
        {
            for k in reached..place.k {
                before = run.outputs(Place { k, level: k, ..place }, &before, place.p(&p_0, &p, k))?;
            }
            reached = place.k;
        }
        if is_full {
            let from = p.last().unwrap_or(&p_0);
            let found = run.align(place.k, &before, from, &priors[place.k])?;
            p.push(found);
        }
        run.networks(place, &before, place.p(&p_0, &p, place.k))?;
        // A cascade that is whole is written.
        if places.get(index + 1).is_none_or(|next| next.variant != place.variant) {
            weights = run.save()?;
        }
    }
    Ok(weights)
}

/// The file of f_k and p_k, `k` from 0.
fn fitted_name(k: usize) -> String {
    format!("level{}/fitted.safetensors", k + 1)
}

/// Refuses to go on with other choices than a run began with.
fn same_choices(was: &Config, is: &Config, file: &Path) -> Result<()> {
    let free = |c: &Config| Config {
        data: PathBuf::new(),
        init: PathBuf::new(),
        data_terms: String::new(),
        more: PathBuf::new(),
        checkpoint_every: 1,
        ablation: Vec::new(),
        ..c.clone()
    };
    let entries = |c: &Config| serde_json::to_value(free(c)).unwrap_or_default();
    let wanted = entries(is);
    let compared = wanted.as_object().map_or(Ok(()), |wanted| run::same_choices(&entries(was), wanted));
    compared.map_err(|problem| Error::Usage(format!("{}: {problem}", file.display())))
}

impl Run<'_, '_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `name` if it was made from this data.
    fn made(&self, name: &str) -> Result<Option<Weights>> {
        let path = self.path(name);
        if !path.is_file() {
            return Ok(None);
        }
        let weights = Weights::open(&path)?;
        if weights.manifest().get("data_sha256") != Some(&self.fingerprint) {
            let problem =
                "was made with other data: a file was added, changed or removed since; put it back or start anew";
            return Err(Error::weights(path.display().to_string(), problem));
        }
        Ok(Some(weights))
    }

    fn make(&self, name: &str, tensors: BTreeMap<String, Tensor>) -> Result<Weights> {
        let mut weights = Weights::from_tensors(tensors);
        weights.set_manifest("data_sha256", self.fingerprint.clone());
        weights.save(self.path(name))?;
        Ok(weights)
    }

    /// A line of the log.
    fn log(&self, line: &Value) -> Result<()> {
        let path = self.folder.log();
        let io = |e| Error::io(&path, e);
        let mut file = std::fs::File::options().create(true).append(true).open(&path).map_err(io)?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(io)
    }

    /// The E_k.
    fn priors(&mut self) -> Result<Vec<Tensor>> {
        let sides: Vec<usize> = self.cascade.config.levels.iter().map(|l| l.side).collect();
        let name = |side: usize| format!("prior_{side}");
        let weights = match self.made("prior.safetensors")? {
            Some(weights) => weights,
            None => {
                let (_, found) =
                    priors::fit(self.device, &self.cascade.shape, &self.faces.marked, &self.cascade.config)?;
                for prior in &found {
                    let largest = prior.map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
                    let map: Vec<f32> = prior.map.iter().map(|v| v / largest).collect();
                    let channels = prior.channels.data().chunks_exact(prior.side * prior.side);
                    let row: Vec<&[f32]> = std::iter::once(&map[..]).chain(channels).collect();
                    sheet::grid("prior", prior.side, &[], &[row])?
                        .save(self.path(&format!("{}.png", name(prior.side))))?;
                }
                self.make("prior.safetensors", found.into_iter().map(|p| (name(p.side), p.channels)).collect())?
            }
        };
        let lacks = || Error::weights(weights.name(), "lacks a level; remove it and resume");
        sides.iter().map(|&side| weights.get(&name(side)).cloned().ok_or_else(lacks)).collect()
    }

    /// f_k, fitted on I_{k−1} `before` of the faces with landmarks; returns p_k of all, of those by a step fitted without the
    /// face.
    fn align(&mut self, k: usize, before: &[Vec<f32>], p: &[Vec<f64>], prior: &Tensor) -> Result<Vec<Vec<f64>>> {
        let shape = &self.cascade.shape;
        let (n, name) = (shape.len(), fitted_name(k));
        let recipe = Recipe { descriptor: Descriptor::default(), method: Method::Direct, starts: 1, spread: 1.0 };
        let side = self.cascade.config.side_before(k);
        let weights = match self.made(&name)? {
            Some(weights) => weights,
            None => {
                Folder::create(&self.path(&format!("level{}", k + 1)))?;
                let seed = self.config.seed.wrapping_add(k as u64);
                let marked = &self.faces.marked;
                let truth: Vec<Vec<f64>> = marked.iter().map(|f| shape.coefficients(&f.points)).collect();
                let (seen, unmarked) = (&before[..marked.len()], &before[self.faces.whole()..]);
                let (from, from_unmarked) = (&p[..marked.len()], &p[self.faces.whole()..]);
                let (f, mut moved) = Regressor::fit(self.device, shape, seen, side, [from, &truth], &recipe, seed)?;
                let error =
                    mean_landmark_error(marked.iter().zip(&moved).map(|(f, p)| (&f.points[..], shape.landmarks(p))))?;
                moved.extend(self.faces.jittered.iter().map(|copy| copy.p(shape, &moved)).collect::<Vec<_>>());
                if !unmarked.is_empty() {
                    moved.extend(f.apply(self.device, shape, unmarked, from_unmarked)?);
                }
                let flat = moved.iter().flatten().map(|v| *v as f32).collect();
                let tensors = BTreeMap::from([
                    ("r".to_owned(), f.step.r),
                    ("b".to_owned(), f.step.b),
                    ("p".to_owned(), Tensor::new([moved.len(), n, 1, 1], flat)?),
                ]);
                self.log(&json!({ "part": format!("level{}/f", k + 1), "landmark_error_left_out": error }))?;
                (self.observer.tell)(&format!("f_{}: landmark error {error:.4} on faces left out", k + 1));
                self.make(&name, tensors)?
            }
        };
        let get = |part: &str| {
            let lacks = || Error::weights(weights.name(), format!("lacks {part}; remove it and resume"));
            weights.get(part).cloned().ok_or_else(lacks)
        };
        let found = get("p")?;
        let step = alignment::Step { r: get("r")?, b: get("b")? };
        let alignment = Some(Alignment { descriptor: recipe.descriptor, step });
        self.cascade.fitted.push(Fitted { alignment, prior: prior.clone() });
        Ok(found.data().chunks_exact(n).map(|p| p.iter().map(|v| f64::from(*v)).collect()).collect())
    }

    /// The faces as the networks of `place` see them.
    fn examples(&self, place: Place, before: &[Vec<f32>], p: &[Vec<f64>]) -> Result<Examples> {
        let side = self.cascade.config.levels[place.level].side;
        let reads_prior = place.variant != Variant::Common;
        let known = Correspondence {
            bases: Bases::dense(&self.cascade.shape, side)?,
            prior: self.cascade.fitted[place.level].prior.clone(),
        };
        let mut found = over_faces(self.device, before, p, &Weights::default(), |g, before, p| {
            let up = network::up(g, before, side)?;
            let mut fetches = vec![up];
            if reads_prior {
                fetches.push(network::warped(g, p, &known)?.w_inverse);
            }
            Ok(fetches)
        })?;
        let w_inverse = if reads_prior { found.swap_remove(1) } else { Vec::new() };
        let (whole, shown, hat) = (self.faces.whole(), self.faces.shown(side), self.faces.at(side)?);
        Ok(Examples { side, whole, shown, up: found.swap_remove(0), w_inverse, hat })
    }

    /// Trains the networks of `place` and adds them to the weights.
    fn networks(&mut self, place: Place, before: &[Vec<f32>], p: &[Vec<f64>]) -> Result<()> {
        let level = self.cascade.config.levels[place.level].clone();
        let prior = self.cascade.fitted[place.level].prior.clone();
        let scope = place.variant.scope(place.k);
        let [n, patch] = self.batch(place);
        let mut examples = None;
        let mut start = self.start(place)?;
        for (index, part) in place.parts(self.config).into_iter().enumerate() {
            let (lr, rule) = rule(self.config, &level, part);
            let steps = place.steps(self.config, part);
            let name = format!("{scope}/{}", part.name());
            let folder = Folder::create(&self.path(&name))?;
            let identity = self.identity(place, part);
            let trained = match finished(&folder, &identity)? {
                Some(weights) => weights,
                None => {
                    let partial = self.faces.more.is_some();
                    let (graph, step) = step_graph(&level, &prior, [n, patch], part, partial, &rule)?;
                    let seed = self.config.seed.wrapping_mul(31).wrapping_add((10 * place.k + index) as u64);
                    let mut initial = graph.initialize(seed).tensors().clone();
                    for (name, tensor) in &mut initial {
                        match start.get(name) {
                            Some(known) if known.shape() == tensor.shape() => tensor.clone_from(known),
                            // A training keeps its moments beside the networks; a gate is soon learnt.
                            _ if self.init.is_none() || name.starts_with("optimizer/") || name.starts_with("gate/") => {
                            }
                            _ => {
                                let problem = format!("lacks {scope}/{name} of {:?}", tensor.shape());
                                let file = self.config.init.display().to_string();
                                return Err(Error::weights(
                                    file,
                                    format!("{problem}; begin at a cascade of the same preset"),
                                ));
                            }
                        }
                    }
                    if examples.is_none() {
                        examples = Some(self.examples(place, before, p)?);
                    }
                    let Some(examples) = &examples else { continue };
                    let job = Job {
                        graph,
                        step,
                        rule,
                        schedule: Schedule { lr, warmup: steps / WARMUP, decay: Decay::Cosine { end: 0.0, steps } },
                        initial: Weights::from_tensors(initial),
                        identity: identity.clone(),
                        manifest: self.manifest.clone(),
                        steps,
                        checkpoint_every: self.config.checkpoint_every,
                        val_every: 0,
                    };
                    let mut batch = |step| examples.batch([n, patch], part, seed, step);
                    let (mut loss, mut ms, done) = (0.0, 0.0, self.done);
                    let observer = &mut *self.observer;
                    let mut observe = |progress: Progress| {
                        // The mean over the last hundred steps or so.
                        let share = (1.0 / progress.step as f64).max(0.01);
                        loss += share * (f64::from(progress.loss) - loss);
                        ms += progress.ms;
                        (observer.step)(&name, done + progress.step, progress)
                    };
                    let mut validate = |_: &Weights| Ok(Vec::new());
                    let mut hooks = Hooks { batch: &mut batch, validate: &mut validate, observe: &mut observe };
                    let mut weights = run::run(&job, self.device, &folder, true, &mut hooks)?;
                    weights.set_manifest("config", Value::Object(identity).to_string());
                    weights.save(folder.weights())?;
                    self.log(&json!({ "part": name, "steps": steps, "loss": loss, "ms": ms }))?;
                    (self.observer.tell)(&format!("{name}: loss {loss:.3e} after {steps} steps, {:.0} s", ms / 1e3));
                    weights
                }
            };
            self.done += steps;
            start.extend(trained.tensors().clone());
            if matches!(part, Part::Joint(_)) {
                let named = trained.tensors().iter().map(|(name, t)| (format!("{scope}/{name}"), t.clone()));
                self.weights.extend(named);
            }
        }
        Ok(())
    }

    /// Where the networks of `place` begin, as far as they do not begin anew.
    fn start(&self, place: Place) -> Result<BTreeMap<String, Tensor>> {
        let mut start = BTreeMap::new();
        if let Some(init) = &self.init {
            let has = |variant: Variant| {
                let prefix = format!("{}/", variant.scope(place.k));
                init.tensors().keys().any(|name| name.starts_with(&prefix))
            };
            let has_rows = [Variant::Common, Variant::HighFrequency].into_iter().any(has);
            for network in ["common", "high_frequency", "gate"] {
                // A gate belongs to the branches that it was trained with.
                let is_new = network == "gate" && has_rows && place.variant != Variant::Single;
                let Some(origin) = place.origins(network).into_iter().find(|&v| has(v)).filter(|_| !is_new) else {
                    continue;
                };
                let (scope, prefix) = (format!("{}/", origin.scope(place.k)), format!("{network}/"));
                let own = init.tensors().iter().filter_map(|(name, t)| Some((name.strip_prefix(&scope)?, t)));
                start.extend(own.filter(|(name, _)| name.starts_with(&prefix)).map(|(n, t)| (n.to_owned(), t.clone())));
            }
        }
        let full = Place { variant: Variant::Full, ..place };
        let shares = matches!(place.variant, Variant::Common | Variant::Fixed);
        if shares && full.parts(self.config).contains(&Part::Common) {
            start.extend(Weights::open(self.trained(full, Part::Common))?.tensors().clone());
        }
        Ok(start)
    }

    /// Faces a step at `place`, and the side of what it sees of each.
    fn batch(&self, place: Place) -> [usize; 2] {
        let side = self.cascade.config.levels[place.level].side;
        [at(&self.config.batch, place.level), at(&self.config.patch, place.level).min(side)]
    }

    /// Where the networks of a finished part lie.
    fn trained(&self, place: Place, part: Part) -> PathBuf {
        self.path(&format!("{}/{}/weights.safetensors", place.variant.scope(place.k), part.name()))
    }

    /// What must agree between a part that was trained, or begun, and this run.
    fn identity(&self, place: Place, part: Part) -> Map<String, Value> {
        let level = &self.cascade.config.levels[place.level];
        let ([n, patch], (lr, _)) = (self.batch(place), rule(self.config, level, part));
        let init = self.init.as_ref().and_then(|init| init.manifest().get("sha256"));
        let numbers = json!({
            "data": self.fingerprint, "jitter": self.config.jitter, "init": init, "seed": self.config.seed,
            "steps": place.steps(self.config, part), "batch": n, "patch": patch, "lr": lr, "clip": self.config.clip,
            "branch": level.branch, "gate": level.gate, "side": level.side,
        });
        match numbers {
            Value::Object(identity) => identity,
            _ => Map::new(),
        }
    }

    /// I_k of all faces.
    fn outputs(&self, place: Place, before: &[Vec<f32>], p: &[Vec<f64>]) -> Result<Vec<Vec<f32>>> {
        let weights = Weights::from_tensors(self.weights.clone());
        let mut found = over_faces(self.device, before, p, &weights, |g, before, p| {
            let scope = place.variant.scope(place.k);
            Ok(vec![g.within(&scope, |g| self.cascade.stage(g, before, p, place.variant, place.level))?.i])
        })?;
        Ok(found.swap_remove(0))
    }

    /// Writes what is trained.
    fn save(&self) -> Result<Weights> {
        let mut weights = self.cascade.save(&Weights::from_tensors(self.weights.clone()), &self.config.preset);
        for (key, value) in &self.manifest {
            weights.set_manifest(key, value);
        }
        weights.save(self.folder.weights())?;
        Ok(weights)
    }
}

/// The weights of a part that was trained to its end.
fn finished(folder: &Folder, identity: &Map<String, Value>) -> Result<Option<Weights>> {
    let path = folder.weights();
    if !path.is_file() {
        return Ok(None);
    }
    let weights = Weights::open(&path)?;
    let saved = weights.manifest().get("config").and_then(|text| serde_json::from_str::<Value>(text).ok());
    let compared = match saved {
        Some(saved) => run::same_choices(&saved, identity),
        None => Err("does not say what it was trained with; remove it and resume".into()),
    };
    compared.map_err(|problem| Error::weights(path.display().to_string(), problem))?;
    Ok(Some(weights))
}

/// Faces that one run takes.
const BATCH: usize = 16;

/// The nodes that `build` makes of the pictures `before` and coefficients `p`, for every face.
fn over_faces(
    device: &Device,
    before: &[Vec<f32>],
    p: &[Vec<f64>],
    weights: &Weights,
    build: impl FnOnce(&mut Graph, NodeId, NodeId) -> Result<Vec<NodeId>>,
) -> Result<Vec<Vec<Vec<f32>>>> {
    let (Some(first), Some(bases)) = (before.first(), p.first().map(Vec::len)) else { return Ok(Vec::new()) };
    let side = first.len().isqrt();
    let mut g = Graph::new();
    let x = g.input("before", [BATCH, 1, side, side])?;
    let c = g.input("p", [BATCH, bases, 1, 1])?;
    let fetches = build(&mut g, x, c)?;
    let session = device.compile(&g, &fetches, weights_of(&g, weights))?;
    batches::over_faces(&session, &[("before", before), ("p", &batches::narrowed(p))])
}

/// What every weights file of a run says.
fn manifest(config: &Config, device: &Device, faces: &str) -> Vec<(String, String)> {
    let more = match config.more.as_os_str().is_empty() {
        true => String::new(),
        false => format!(" and {}", config.more.display()),
    };
    let list = |list: &[u64]| list.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    [
        ("model", "cbn".to_owned()),
        ("preset", config.preset.clone()),
        ("command", std::env::args().collect::<Vec<_>>().join(" ")),
        ("data", format!("{}{more} ({faces})", config.data.display())),
        ("data_terms", config.data_terms.clone()),
        ("seed", config.seed.to_string()),
        ("steps", format!("{} a branch alone, {} end to end, by level", list(&config.pretrain), list(&config.joint))),
        ("commit", run::commit()),
        ("device", device.describe()),
        ("licence", "MIT OR Apache-2.0".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::optimizer::HYPER;
    use super::*;
    use crate::exec::Select;

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
        // The first face is whole, the second one shown in its upper half.
        let mut examples = Examples {
            side,
            whole: 1,
            shown: Some((0..side * side).map(|q| f32::from(q < side * side / 2)).collect()),
            up: vec![plane(1), plane(1)],
            w_inverse: vec![still.clone(), still],
            hat: vec![plane(1), plane(1)],
        };
        let device = Device::open(&Select::Cpu).unwrap();
        let parts = [Part::Common, Part::HighFrequency].into_iter().chain(Variant::ALL.map(Part::Joint));
        for part in parts {
            let (_, rule) = rule(&config, &level, part);
            let (graph, step) = step_graph(&level, &prior, [4, side], part, true, &rule).unwrap();
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
            // Nor what a network makes there of what it reads.
            let shown = examples.shown.replace(vec![0.0; side * side]);
            let was = losses(&examples);
            examples.up[1][0] += 0.5;
            assert_eq!(losses(&examples), was, "{part:?}: a face of which nothing is shown");
            examples.up[1][0] -= 0.5;
            examples.shown = shown;
        }
    }

    #[test]
    fn a_step_sees_one_place_of_a_face_and_every_place_in_time() {
        let side = 8;
        // A pixel says whose it is, and where: 100 a face, 10 a row, 1 a column.
        let planes: Vec<Vec<f32>> =
            (0..2).map(|face| (0..64).map(|q| (100 * face + 10 * (q / side) + q % side) as f32).collect()).collect();
        // Of the second face the upper half is shown.
        let shown = Some((0..64).map(|q| f32::from(q < 32)).collect());
        let (up, hat) = (planes.clone(), planes);
        let examples = Examples { side, whole: 1, shown, up, w_inverse: Vec::new(), hat };
        let mut corners = Vec::new();
        for step in 1..800 {
            let batch = examples.batch([1, 4], Part::Common, 1, step).unwrap();
            let [up, hat, shown] = [0, 1, 2].map(|k| batch[k].1.data().iter().map(|v| *v as usize).collect::<Vec<_>>());
            assert_eq!(up, hat);
            let corner = up[0];
            assert!((0..16).all(|q| up[q] == corner + 10 * (q / 4) + q % 4), "{up:?}");
            assert!((0..16).all(|q| shown[q] == usize::from(up[q] < 140)), "{up:?} {shown:?}");
            corners.push(corner);
        }
        corners.sort_unstable();
        corners.dedup();
        assert_eq!(corners.len(), 2 * 25);
    }

    #[test]
    fn the_p_of_a_copy_lies_where_the_copy_does() {
        let mut rng = Rng::new(8);
        // A face is nearly its own mirror image.
        let half: Vec<Point> =
            (0..68).map(|k| [0.2 + 0.6 * (k % 8) as f64 / 7.0, 0.2 + 0.6 * (k / 8) as f64 / 8.0]).collect();
        let mean = half.iter().zip(mirrored_points(&half)).map(|(x, y)| [0, 1].map(|d| (x[d] + y[d]) / 2.0));
        let mean: Vec<Point> = mean.collect();
        let mut face = || {
            let points = mean.iter().map(|x| x.map(|v| v + 0.01 * rng.normal())).collect();
            Face { luma: vec![0.5; 16], side: 4, points }
        };
        let faces: Vec<Face> = (0..6).map(|_| face()).collect();
        let shape = shape_model(&faces, 1.0).unwrap();
        let found: Vec<Vec<f64>> =
            faces.iter().flat_map(|f| [f.clone(), f.mirrored()]).map(|f| shape.coefficients(&f.points)).collect();
        // Turned, larger and shifted to one side: a mirror image that is moved the same way is another one.
        let by = Similarity { a: 1.05, b: 0.08, shift: [0.05, -0.04] };
        let points = faces[2].points.iter().map(|&x| by.apply(x)).collect();
        let copy = faces::Jittered { of: 2, by, face: Face { luma: vec![0.5; 16], side: 4, points } };
        let largest = |x: &[Point], y: &[Point]| {
            x.iter().zip(y).flat_map(|(x, y)| [x[0] - y[0], x[1] - y[1]]).fold(0.0, |m: f64, v| m.max(v.abs()))
        };
        for copy in Moved::with_mirror(copy) {
            let placed = shape.landmarks(&copy.p(&shape, &found));
            assert!(largest(&placed, &copy.face.points) < 0.01, "{}", largest(&placed, &copy.face.points));
            assert!(largest(&shape.landmarks(&found[copy.of]), &copy.face.points) > 0.05);
        }
    }
}
