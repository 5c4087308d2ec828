//! Trains a super-resolution network on seeded patches.

use super::curves;
use super::patches::Patches;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::graph::{Graph, Kind, NodeId};
use crate::ops::loss::Reduction;
use crate::train::loader::{Loader, most_held};
use crate::train::optimizer::{Decay, Group, Optimizer, Rule, Schedule, fits};
use crate::train::{Folder, Hooks, Job, Progress, Validation, run};
use crate::train::{choices, threads};
use crate::vision::image::{Picture, folder};
use crate::vision::models::{Reads, SuperResolution};
use crate::vision::tasks::upscale::check_truth;
use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every choice of a run, as stored in `config.toml` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// One of [`crate::vision::models::SUPER_RESOLUTION`].
    pub model: String,
    /// 2, 3 or 4; must be set.
    pub scale: usize,
    /// Folder of training pictures; must be set.
    pub data: PathBuf,
    /// What the manifest says about the data's terms.
    pub data_terms: String,
    /// Folder of pictures to validate on; empty: none.
    pub val: PathBuf,
    /// Steps between validations; 0: only after the last step.
    pub val_every: u64,
    /// Total number of steps.
    pub steps: u64,
    /// Patches per step.
    pub batch: usize,
    /// Side of a patch in pixels of the small picture.
    pub patch: usize,
    pub seed: u64,
    pub loss: LossName,
    /// For `charbonnier`: the error, with luminance in 0..1, below which the loss is about quadratic.
    pub loss_eps: f32,
    /// How initial weights are drawn: empty for the paper's way, or the name of a [`crate::graph::Scheme`].
    pub initializer: String,
    /// Threads that decode and cut pictures, at most 256; 0: one per core.
    pub threads: usize,
    /// Memory for decoded pictures, in MiB; what does not fit is decoded again for every patch.
    pub cache_mib: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    pub optimizer: OptimizerName,
    /// For `sgd`.
    pub momentum: f32,
    /// For `adam` and `adamw`.
    pub beta1: f64,
    /// For `adam` and `adamw`.
    pub beta2: f64,
    /// For `adam` and `adamw`.
    pub eps: f32,
    /// Part of the gradient in `sgd`, separate from it in `adamw`; `adam` has none.
    pub weight_decay: f32,
    pub lr: f64,
    pub schedule: ScheduleName,
    /// For `step`: factor on the learning rate after each of `lr_steps`.
    pub lr_factor: f64,
    /// For `step`: the steps after which the learning rate changes.
    pub lr_steps: Vec<u64>,
    /// For `cosine`: the learning rate of the last step.
    pub lr_end: f64,
    /// Number of steps over which the learning rate rises from 0.
    pub warmup: u64,
    /// Largest norm of the gradients; 0: never clip.
    pub clip: f32,
    /// Decay of the moving average of the weights, which is then what is validated and saved; 0: none.
    pub ema: f64,
    /// Weights to start from; empty: none.
    pub init: PathBuf,
    /// Patterns of the parameters not to take from `init`.
    pub init_skip: Vec<String>,
    /// Groups of parameters with their own multipliers.
    pub group: Vec<GroupConfig>,
}

/// An optimiser by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum OptimizerName {
    Sgd,
    Adam,
    AdamW,
}

/// A loss by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum LossName {
    Mse,
    Charbonnier,
}

/// How the learning rate falls, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum ScheduleName {
    Constant,
    Step,
    Cosine,
}

/// [`Group`] as stored in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Pattern of names; `*` stands for any characters.
    pub parameters: String,
    /// Multiplies the learning rate; 0 freezes.
    pub lr: f32,
    /// Multiplies the weight decay.
    #[serde(default = "one")]
    pub weight_decay: f32,
}

fn one() -> f32 {
    1.0
}

/// Largest memory for decoded pictures, in MiB.
const MAX_CACHE_MIB: usize = 1 << 20;

/// Largest host memory for all batches made ahead together, in bytes.
const MAX_BATCHES_BYTES: u64 = 4 << 30;

impl Default for Config {
    fn default() -> Self {
        Self {
            model: "fsrcnn".into(),
            scale: 0,
            data: PathBuf::new(),
            data_terms: "not stated".into(),
            val: PathBuf::new(),
            val_every: 0,
            steps: 30_000,
            batch: 16,
            patch: 16,
            seed: 1,
            loss: LossName::Mse,
            loss_eps: 1e-3,
            initializer: String::new(),
            threads: 0,
            cache_mib: 1024,
            checkpoint_every: 500,
            optimizer: OptimizerName::Adam,
            momentum: 0.9,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            lr: 1e-3,
            schedule: ScheduleName::Step,
            lr_factor: 0.5,
            lr_steps: Vec::new(),
            lr_end: 0.0,
            warmup: 0,
            clip: 0.0,
            ema: 0.0,
            init: PathBuf::new(),
            init_skip: Vec::new(),
            group: Vec::new(),
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

    fn check(&self) -> Result<()> {
        let refuse = |problem: &str| Err(Error::Usage(problem.to_owned()));
        choices::check(&[("--data", &self.data), ("--val", &self.val), ("--init", &self.init)], self.seed)?;
        if self.steps > run::MAX_STEPS {
            return Err(Error::Usage(format!("--steps must be at most {}, got {}", run::MAX_STEPS, self.steps)));
        }
        if self.cache_mib > MAX_CACHE_MIB {
            return Err(Error::Usage(format!("--cache-mib must be at most {MAX_CACHE_MIB}, got {}", self.cache_mib)));
        }
        if self.batch == 0 || self.patch == 0 || self.steps == 0 || self.checkpoint_every == 0 {
            return refuse("--batch, --patch, --steps and --checkpoint-every must be at least 1");
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return refuse("--lr must be above 0");
        }
        if self.clip.is_nan() || self.clip < 0.0 {
            return refuse("--clip must be above 0, or 0 to never clip");
        }
        if self.weight_decay != 0.0 && self.optimizer == OptimizerName::Adam {
            return refuse("adam has no weight decay; use --optimizer adamw");
        }
        let is_factor = |v: f64| (0.0..1.0).contains(&v);
        if ![f64::from(self.momentum), self.beta1, self.beta2, self.ema].into_iter().all(is_factor) {
            return refuse("momentum, beta1, beta2 and ema must be at least 0 and below 1");
        }
        if self.group.iter().any(|g| !(g.lr.is_finite() && g.lr >= 0.0 && g.weight_decay.is_finite())) {
            return refuse("a group's multipliers must be finite numbers, that of the learning rate at least 0");
        }
        Ok(())
    }

    /// Refuses batches that together would take too much host memory, before any is allocated.
    fn check_batches(&self, threads: usize) -> Result<()> {
        // An input and a target per patch, no larger than the patch at full size.
        let side = self.patch.checked_mul(self.scale);
        let elements = side.and_then(|side| side.checked_mul(side)?.checked_mul(2)?.checked_mul(self.batch));
        let batch = elements.and_then(|n| (n as u64).checked_mul(4));
        let all = batch.and_then(|bytes| bytes.checked_mul(most_held(threads) as u64));
        if all.is_some_and(|bytes| bytes <= MAX_BATCHES_BYTES) {
            return Ok(());
        }
        let takes =
            all.map_or_else(|| "more bytes than can be counted".to_owned(), |b| format!("up to {} MiB", b >> 20));
        Err(Error::Usage(format!(
            "--batch {} of --patch {} with {threads} threads takes {takes} for batches made ahead, at most {} MiB are \
             allowed; give a smaller --batch or --patch, or fewer --threads",
            self.batch,
            self.patch,
            MAX_BATCHES_BYTES >> 20
        )))
    }

    /// Returns the optimiser, groups, clipping and moving average.
    pub fn rule(&self) -> Rule {
        let Self { momentum, beta1, beta2, eps, weight_decay, .. } = *self;
        let optimizer = match self.optimizer {
            OptimizerName::Sgd => Optimizer::Sgd { momentum, weight_decay },
            OptimizerName::Adam | OptimizerName::AdamW => Optimizer::Adam { beta1, beta2, eps, weight_decay },
        };
        let group = |g: &GroupConfig| Group { pattern: g.parameters.clone(), lr: g.lr, weight_decay: g.weight_decay };
        Rule {
            optimizer,
            groups: self.group.iter().map(group).collect(),
            clip: if self.clip == 0.0 { f32::INFINITY } else { self.clip },
            ema: self.ema,
        }
    }

    /// Returns the learning rate over the steps.
    pub fn schedule(&self) -> Schedule {
        let decay = match self.schedule {
            ScheduleName::Constant => Decay::Constant,
            ScheduleName::Step => Decay::Steps { factor: self.lr_factor, steps: self.lr_steps.clone() },
            ScheduleName::Cosine => Decay::Cosine { end: self.lr_end, steps: self.steps },
        };
        Schedule { lr: self.lr, warmup: self.warmup, decay }
    }

    /// Returns what must agree between a checkpoint and the run that continues it: everything that affects a loss, with
    /// the data's fingerprint in place of its path.
    fn identity(&self, data: &str) -> Map<String, Value> {
        let mut all = match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all,
            _ => Map::new(),
        };
        const FREE: [&str; 9] =
            ["data", "data_terms", "val", "val_every", "checkpoint_every", "init", "init_skip", "threads", "cache_mib"];
        all.retain(|key, _| !FREE.contains(&key.as_str()));
        if self.schedule != ScheduleName::Cosine {
            all.remove("steps");
        }
        all.insert("data".into(), json!(data));
        all
    }
}

/// Returns the network, its loss and the update of every parameter as one graph with inputs `x`, `t` and
/// [`crate::train::HYPER`].
fn objective(g: &mut Graph, config: &Config, model: &SuperResolution) -> Result<NodeId> {
    let (side, smallest) = match model.reads {
        Reads::Small => (config.patch, 1),
        Reads::Enlarged => (config.patch * config.scale, (2 * model.cut_px() + 1).div_ceil(config.scale)),
    };
    if config.patch < smallest {
        return Err(Error::Usage(format!(
            "--patch {} is too small: {} trains without padding, which leaves nothing of it; give {smallest} or more",
            config.patch, config.model
        )));
    }
    let x = g.input("x", [config.batch, 1, side, side])?;
    let y = model.build_for_training(g, x)?;
    let t = g.input("t", g.shape(y)?)?;
    match config.loss {
        LossName::Mse => g.mse(y, t, Reduction::Mean),
        LossName::Charbonnier => g.charbonnier(y, t, config.loss_eps),
    }
}

/// Returns the initial weights of a fresh run: the tensors of `init` that fit, else random ones from the seed. Also returns
/// the names that were initialised anew despite an `init`.
///
/// # Errors
/// A pattern of `init_skip` matches nothing; no tensor fits.
fn initial(config: &Config, graph: &Graph) -> Result<(Weights, Vec<String>)> {
    let fresh = match config.initializer.as_str() {
        "" => graph.initialize(config.seed),
        name => graph.initialize_by(name.parse()?, config.seed),
    };
    if config.init.as_os_str().is_empty() {
        return Ok((fresh, Vec::new()));
    }
    let given = Weights::open(&config.init)?;
    let mut tensors = fresh.tensors().clone();
    let mut anew = Vec::new();
    let names: Vec<&str> = graph
        .nodes()
        .iter()
        .filter(|n| matches!(n.kind, Kind::Param { trainable: true, .. }))
        .map(|n| n.name.as_str())
        .collect();
    if let Some(pattern) = config.init_skip.iter().find(|p| !names.iter().any(|name| fits(p, name))) {
        return Err(Error::Usage(format!(
            "--init-skip {pattern:?} matches no parameter; there are {}",
            names.join(", ")
        )));
    }
    for &name in &names {
        let skip = config.init_skip.iter().any(|pattern| fits(pattern, name));
        match given.get(name).filter(|t| !skip && fresh.get(name).is_some_and(|own| own.shape() == t.shape())) {
            Some(tensor) => drop(tensors.insert(name.to_owned(), tensor.clone())),
            None => anew.push(name.to_owned()),
        }
    }
    if anew.len() == names.len() {
        return Err(Error::weights(
            given.name(),
            format!("none of its tensors fits {}; is it another model's file?", config.model),
        ));
    }
    Ok((Weights::from_tensors(tensors), anew))
}

/// Callbacks of [`train`].
pub struct Observer<'a> {
    /// Receives messages for the user while the run is prepared.
    pub tell: &'a mut dyn FnMut(&str),
    /// Measures weights on [`Config::val`].
    pub validate: &'a mut dyn FnMut(&Weights) -> Result<Validation>,
    /// Called after every step. Returning false stops the run after a checkpoint.
    pub step: &'a mut dyn FnMut(Progress) -> bool,
    /// Called with true when there are steps that would be lost if the process ended, and with false when they are saved.
    pub hold: &'a mut dyn FnMut(bool),
}

impl std::fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

/// Name of such a run in a folder's marker.
const KIND: &str = "upscale";

/// Locks the folder of a run: a new one, or with `resume` also one of a run that has begun.
///
/// # Errors
/// Those of [`Folder::create`] and [`Folder::resume`].
pub fn folder(path: &Path, resume: bool) -> Result<Folder> {
    // Versions that wrote no marker left their choices, and a checkpoint that holds its configuration.
    let is_older = |path: &Path| {
        let last = Weights::open(path.join("last.safetensors"));
        Config::open(&path.join("config.toml")).is_ok() && last.is_ok_and(|last| last.manifest().contains_key("config"))
    };
    if resume { Folder::resume(path, KIND, is_older) } else { Folder::create(path, KIND) }
}

/// Trains and returns the final weights, with the manifest that every weights file of a run has. Writes the files of
/// [`crate::train::run`] to `folder`, except the final weights, to whose manifest the caller may add.
///
/// Everything that the run reads is opened and checked before the first step, and before anything in `folder` changes.
///
/// # Errors
/// The data is bad; the checkpoint belongs to another run; a loss is not a number; the device or the disk fails. The steps until
/// then are saved.
pub fn train(
    config: &Config,
    device: &Device,
    folder: &Folder,
    resume: bool,
    observer: &mut Observer,
) -> Result<Weights> {
    config.check()?;
    let threads = threads::count(config.threads)?;
    let model = SuperResolution::new(&config.model, config.scale)?;
    config.check_batches(threads)?;
    let mut graph = Graph::new();
    objective(&mut graph, config, &model)?;
    let is_resumed = resume && folder.last().exists();
    let (initial, anew) = if is_resumed { (Weights::default(), Vec::new()) } else { initial(config, &graph)? };
    let own = (config.clone(), model.clone());
    let network = device.network(initial, move |g| {
        g.loss("loss", || g.graph(&[], |graph, _| objective(graph, &own.0, &own.1)));
    });
    let mut training = network.train(config.rule())?;
    training.plan(&[])?;
    if !config.val.as_os_str().is_empty() {
        check_validation(config, threads)?;
    }
    check_folder("--data", &config.data)?;
    let patches = Patches::open(&config.data, &model, config.patch, config.cache_mib.saturating_mul(1 << 20), threads)?;
    let identity = config.identity(patches.fingerprint());
    if is_resumed {
        run::check_checkpoint(folder, &identity)?;
    }
    if !anew.is_empty() {
        (observer.tell)(&format!("initialised anew: {}", anew.join(", ")));
    }
    if resume && !is_resumed {
        (observer.tell)(&format!("{}: no checkpoint yet, starting anew", folder.path().display()));
    }
    config.save(&folder.config())?;
    let job = Job {
        schedule: config.schedule(),
        identity,
        manifest: manifest(config, device, folder),
        steps: config.steps,
        checkpoint_every: config.checkpoint_every,
        val_every: match (config.val.as_os_str().is_empty(), config.val_every) {
            (true, _) => 0,
            (false, 0) => config.steps,
            (false, every) => every,
        },
    };
    let (n, seed) = (config.batch, config.seed);
    let patches = Arc::new(patches);
    let mut loader = None;
    let mut batch = |step| {
        let loader = match &mut loader {
            Some(loader) => loader,
            none => {
                let patches = patches.clone();
                let make = move |step| patches.batch(n, seed, step);
                none.insert(Loader::new(threads, step, config.steps, make)?)
            }
        };
        let (x, t) = loader.take(step)?;
        Ok(vec![("x", x), ("t", t)])
    };
    let validate = &mut *observer.validate;
    let mut hooks = Hooks {
        batch: &mut batch,
        validate: &mut |training| validate(&training.weights()?),
        observe: &mut *observer.step,
        hold: &mut *observer.hold,
        draw: &|history, path| curves::draw(history)?.save(path),
    };
    let mut weights = training.run(&job, folder, &mut hooks)?;
    for (key, value) in &job.manifest {
        weights.set_manifest(key, value);
    }
    Ok(weights)
}

fn check_folder(option: &str, path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let problem = if path.exists() { "is not a folder" } else { "there is no such folder" };
    Err(Error::Usage(format!("{option} {}: {problem}; give a folder of pictures", path.display())))
}

/// Decodes every validation picture: each must be valid and large enough to be compared.
fn check_validation(config: &Config, threads: usize) -> Result<()> {
    check_folder("--val", &config.val)?;
    let pictures = folder::pictures(&config.val)?;
    threads::over(threads, &pictures, |path| check_truth(&Picture::open(path)?, config.scale))?;
    Ok(())
}

/// Returns the manifest of every weights file of a run.
fn manifest(config: &Config, device: &Device, folder: &Folder) -> Vec<(String, String)> {
    let own = [
        ("model", config.model.as_str()),
        ("scale", &config.scale.to_string()),
        ("data", &config.data.display().to_string()),
        ("data_terms", &config.data_terms),
        ("seed", &config.seed.to_string()),
        ("steps", &config.steps.to_string()),
        ("init", &config.init.display().to_string()),
    ];
    run::manifest(device, folder, &own)
}
