//! Trains the face hallucination in the order of its paper. For every level k: f_k on I_{k−1}; the common and the
//! high-frequency branch alone; both with the gate, end to end; then I_k of all faces, on which level k + 1 is trained.
//!
//! Each of these trainings is a run ([`crate::train::run`]) in its own folder under that of the whole run:
//!
//! | in the folder | what |
//! |---|---|
//! | `lineament-run.json` | marks the folder as that of a run ([`Folder`]); whoever trains in it holds its lock |
//! | `config.toml` | every choice |
//! | `prior.safetensors`, `prior_SIDE.png` | the E_k; the pictures show the map that they were cut from, then the channels |
//! | `level1/fitted.safetensors` | R_1 and the p_1 of the training faces |
//! | `level1/common/`, `level1/high_frequency/`, `level1/joint/` | the networks' runs |
//! | `ablation/NAME/level1/…` | those of the paper's ablation |
//! | `log.jsonl` | one line per finished part |
//! | `weights.safetensors` | everything, after each finished cascade |
//!
//! A part with a result is not made again, so that a stopped run continues where it was, to the same bits. Before the first
//! part, everything is opened and every part is rehearsed: its networks must have initial weights and its plan must fit.
//!
//! Aligned faces without landmarks may be added for the networks: f_k, fitted on the others, finds their p_k. No loss counts
//! the parts of the frame that their pictures do not show: results and targets are 0 there. Copies of the faces with landmarks,
//! each turned, scaled and shifted a little, keep the networks from memorising the faces. A level's results for the training
//! faces, on which the next level is trained, are then like those for new faces. If the copies are moved as far as the frames that
//! a detector gives, f_k is fitted on them too, and finds the similarity of p first.
//!
//! Not stated in the paper; we chose: p_k of a training face as found by an f_k that was fitted without it; the ablation's
//! networks start from the full cascade's branch of the level if it reads the same, else afresh.
//!
//! Both branches are trained together for a short time at a low rate: a tenth of the rate alone (tables 1 and 2) and, in the
//! released networks, for a fifth of the steps. Branches that are trained together for long memorise the same faces and leave
//! the gate nothing to choose.
//!
//! `parts` holds the order, `examples` the faces and what a step sees of them, `objective` the losses and learning rates,
//! `stages` the stages of a level.

mod examples;
mod objective;
mod parts;
mod stages;

use super::faces::{self, Copies, Faces, Movement};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::train::choices;
use crate::train::{Folder, Progress, run};
use crate::vision::models::cbn::cascade::{Cascade, Variant};
use crate::vision::models::cbn::network;
use crate::vision::models::cbn::shape::SHARE;
use crate::vision::tasks::hallucinate::faces::{Face, shape_model};
use crate::weights::Weights;
use examples::{Moved, Training};
use parts::{Place, places};
use serde::{Deserialize, Serialize};
use stages::Run;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every choice of a run, as stored in `config.toml` in its folder. Lists have one number per level; the last one also holds
/// for later levels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// One of [`network::PRESETS`].
    pub preset: String,
    /// Folder of faces, with their landmarks beside it in DIR.csv; must be set.
    pub data: PathBuf,
    /// What the manifest says about the data's terms.
    pub data_terms: String,
    /// Folder of aligned faces without landmarks, subfolders included; empty: none.
    pub more: PathBuf,
    /// Where the canonical frame lies in each of them: left, top, side in pixels.
    pub more_square: [f64; 3],
    pub seed: u64,
    /// Copies of each face with landmarks, turned, scaled and shifted a little, for the networks.
    pub jitter: usize,
    /// Standard deviations of the copies' movement as [`faces::Movement::new`] takes them. f_k is then fitted on the copies too,
    /// and the faces without landmarks are moved as well. All 0: the copies move by [`faces::Movement::JITTER`], and nothing else.
    pub moved: [f64; 3],
    /// Every `hold_out`-th face is held out for choosing between runs; 0: none.
    pub hold_out: usize,
    /// Initial weights of the networks: a cascade of the same preset, or empty. If the file has the ablation's rows of one
    /// branch alone, the full cascade's branches start from those, with a new gate; else each network starts from the one
    /// of the same name.
    pub init: PathBuf,
    /// Steps of each branch alone; may be 0 with `init`.
    pub pretrain: Vec<u64>,
    /// Steps end to end.
    pub joint: Vec<u64>,
    /// Faces per step.
    pub batch: Vec<usize>,
    /// Side of the part of a face that a step sees, in pixels of the level; at most the whole face.
    pub patch: Vec<usize>,
    /// Multiplies the preset's learning rates, which rise in the first twentieth of the steps and fall to 0 by half a
    /// cosine.
    pub lr: f64,
    /// Largest norm of the gradients; 0: never clip.
    pub clip: f32,
    /// Names of the [`Variant`]s to train after `full`.
    pub ablation: Vec<String>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

/// Largest number of copies of each face.
const MAX_COPIES: usize = 1000;

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
            moved: [0.0; 3],
            hold_out: 0,
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
    /// Reads a file as written by [`Config::save`]; missing entries take their defaults.
    ///
    /// # Errors
    /// The file is missing or is not such TOML; the error names the line.
    pub fn open(path: &Path) -> Result<Self> {
        choices::open(path)
    }

    /// Writes all choices as TOML.
    ///
    /// # Errors
    /// The file cannot be written; the seed is 2⁶³ or more.
    pub fn save(&self, path: &Path) -> Result<()> {
        choices::save(self, path)
    }

    /// Returns how far frames move, or `None` if f_k is fitted in canonical frames only.
    fn movement(&self) -> Result<Option<Movement>> {
        Ok(Some(Movement::new(self.moved)?).filter(|_| self.moved != [0.0; 3]))
    }

    /// Checks the choices and returns the network's sizes and the variants of the cascade to train, in order.
    fn check(&self) -> Result<(network::Config, Vec<Variant>)> {
        let preset = network::Config::preset(&self.preset)?;
        let refuse = |problem: &str| Err(Error::Usage(problem.to_owned()));
        choices::check(&[("--data", &self.data), ("--more", &self.more), ("--init", &self.init)], self.seed)?;
        if let Some(steps) = self.pretrain.iter().chain(&self.joint).find(|&&steps| steps > run::MAX_STEPS) {
            let problem = format!("--pretrain and --joint must be at most {}, got {steps}", run::MAX_STEPS);
            return Err(Error::Usage(problem));
        }
        if self.jitter > MAX_COPIES {
            return Err(Error::Usage(format!("--jitter must be at most {MAX_COPIES} copies, got {}", self.jitter)));
        }
        if self.movement()?.is_some() && self.jitter == 0 {
            return refuse("--moved says how far the copies of --jitter move; give --jitter 1 or more");
        }
        if self.hold_out == 1 {
            return refuse("--hold-out 1 leaves no face to train on; give 2 or more, or 0 to hold out none");
        }
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
            return refuse("--clip must be above 0, or 0 to never clip");
        }
        if !self.more.as_os_str().is_empty() && !matches!(self.more_square, [.., side] if side > 0.0) {
            return refuse(
                "--more needs --more-square X,Y,SIDE, the place of the canonical frame in each of its pictures",
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

/// Returns the number of steps of a whole run.
///
/// # Errors
/// The choices are invalid.
pub fn steps(config: &Config) -> Result<u64> {
    let (preset, variants) = config.check()?;
    let all = places(preset.levels.len(), &variants);
    Ok(all.iter().flat_map(|place| place.parts(config).into_iter().map(|part| place.steps(config, part))).sum())
}

/// Callbacks of [`train`].
pub struct Observer<'a> {
    /// Receives messages for the user.
    pub tell: &'a mut dyn FnMut(&str),
    /// Called after every step with the part's name, the number of steps done in the whole run, and the step. Returning
    /// false stops the run after a checkpoint.
    pub step: &'a mut dyn FnMut(&str, u64, Progress) -> bool,
    /// Called with true when there are steps that would be lost if the process ended, and with false when they are saved.
    pub hold: &'a mut dyn FnMut(bool),
}

impl std::fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

/// Name of such a run in a folder's marker.
const KIND: &str = "hallucinate";

/// Locks the folder of a run: a new one, or with `resume` also one of a run that has begun.
///
/// # Errors
/// Those of [`Folder::create`] and [`Folder::resume`].
pub fn folder(path: &Path, resume: bool) -> Result<Folder> {
    // Versions that wrote no marker left their choices, and priors that name their data.
    let is_older = |path: &Path| {
        let prior = Weights::open(path.join("prior.safetensors"));
        Config::open(&path.join("config.toml")).is_ok()
            && prior.is_ok_and(|prior| prior.manifest().contains_key("data_sha256"))
    };
    if resume { Folder::resume(path, KIND, is_older) } else { Folder::create(path, KIND) }
}

/// Trains, or continues with `resume`, and returns the cascade of `preset` in one file with its manifest.
///
/// # Errors
/// The data is bad; the folder belongs to another run; a loss is not a number; the device or the disk fails;
/// [`Error::Interrupted`] if the observer stopped the run. The steps until then are saved.
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
    let part = if config.hold_out == 0 { faces::Part::All } else { faces::Part::Trained(config.hold_out) };
    let movement = config.movement()?;
    let copies = Copies { count: config.jitter, by: movement.unwrap_or(Movement::JITTER), seed: config.seed };
    let (Faces { faces: own, mut fingerprint, .. }, copies) = faces::open_moved(&config.data, part, top, copies)?;
    let more = match config.more.as_os_str().is_empty() {
        true => None,
        false => {
            let moved = movement.map(|by| (by, config.seed.wrapping_add(1)));
            Some(faces::aligned(&config.more, config.more_square, top, moved)?)
        }
    };
    if let Some(more) = &more {
        fingerprint = format!("{fingerprint}+{}", more.fingerprint);
    }
    let shape = shape_model(&own, SHARE)?;
    let marked: Vec<Face> = own.iter().flat_map(|f| [f.clone(), f.mirrored()]).collect();
    let mut counted = format!("{} faces and their mirror images", own.len());
    if config.jitter > 0 {
        counted += &format!(", {} jittered copies of each", config.jitter);
        if movement.is_some() {
            let [degrees, scale, shift] = config.moved;
            counted += &format!(", moved by {degrees} degrees, {scale} of scale and {shift} of the side");
        }
    }
    if config.hold_out > 0 {
        counted += &format!(", one in {} held out", config.hold_out);
    }
    if let Some(more) = &more {
        counted += &format!(", {} without landmarks", more.luma.len());
    }
    (observer.tell)(&format!("{counted}, {} bases", shape.len()));
    let init = if config.init.as_os_str().is_empty() { None } else { Some(Weights::open(&config.init)?) };
    let mut manifest = manifest(config, device, folder, &counted);
    // The manifest of the initial weights, which in turn holds that of their own initial weights.
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
        faces: Training { marked, moved: copies.into_iter().flat_map(Moved::with_mirror).collect(), more, side: top },
        observer,
        done: 0,
        cascade: Cascade { config: preset, shape, fitted: Vec::new() },
        init,
        weights: BTreeMap::new(),
        manifest,
    };
    let places = places(run.cascade.config.levels.len(), &variants);
    run.rehearse(&places)?;
    config.save(&folder.config())?;
    run.begin_log()?;
    run.all(&places).map_err(|error| match error {
        Error::Interrupted | Error::Stopped { .. } => error,
        error => {
            let kept = format!("finished parts are saved in {}; continue with --resume", folder.path().display());
            Error::Stopped { source: Box::new(error), kept }
        }
    })
}

impl Run<'_, '_> {
    /// Makes everything that does not exist yet, place by place.
    fn all(&mut self, places: &[Place]) -> Result<Weights> {
        let priors = self.priors()?;
        let i_0 = self.faces.at(self.cascade.config.input_side)?;
        let p_0 = vec![vec![0.0; self.cascade.shape.len()]; self.faces.len()];
        // p_k of the full cascade, for every variant except the fixed one.
        let mut p: Vec<Vec<Vec<f64>>> = Vec::new();
        let mut weights = Weights::default();
        // The input of level `reached` of the current variant, computed when an unfinished part needs it.
        let (mut before, mut reached) = (i_0.clone(), 0);
        for (index, &place) in places.iter().enumerate() {
            if place.k == 0 {
                before.clone_from(&i_0);
                reached = 0;
            }
            let is_full = place.variant == Variant::Full;
            if !self.is_made(place)? {
                for k in reached..place.k {
                    before = self.outputs(Place { k, level: k, ..place }, &before, place.p(&p_0, &p, k))?;
                }
                reached = place.k;
            }
            if is_full {
                let from = p.last().unwrap_or(&p_0);
                let found = self.align(place.k, &before, from, &priors[place.k])?;
                p.push(found);
            }
            self.networks(place, &before, place.p(&p_0, &p, place.k))?;
            // Save each complete cascade.
            if places.get(index + 1).is_none_or(|next| next.variant != place.variant) {
                weights = self.save()?;
            }
        }
        Ok(weights)
    }
}

/// Refuses to continue a run with choices other than those it began with.
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
    let compared = wanted.as_object().map_or(Ok(()), |wanted| choices::same(&entries(was), wanted));
    compared.map_err(|problem| Error::Usage(format!("{}: {problem}", file.display())))
}

/// Returns the manifest of every weights file of a run.
fn manifest(config: &Config, device: &Device, folder: &Folder, faces: &str) -> Vec<(String, String)> {
    let more = match config.more.as_os_str().is_empty() {
        true => String::new(),
        false => format!(" and {}", config.more.display()),
    };
    let list = |list: &[u64]| list.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let steps = format!("{} per branch alone, {} end to end, by level", list(&config.pretrain), list(&config.joint));
    let own = [
        ("model", "cbn"),
        ("preset", &config.preset),
        ("data", &format!("{}{more} ({faces})", config.data.display())),
        ("data_terms", &config.data_terms),
        ("seed", &config.seed.to_string()),
        ("steps", &steps),
    ];
    run::manifest(device, folder, &own)
}
