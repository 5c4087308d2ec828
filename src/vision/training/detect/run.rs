//! Trains one network of a band: the one that proposes windows, or the one that judges them.

use super::arrangement;
use super::examples::{Example, Examples, Mistake, What};
use super::parts::{Labelled, areas};
use super::photos::Photos;
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Params};
use crate::graph::Draft;
use crate::ops::loss::{Loss, Penalty, Reduction};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::train::{Decay, Folder, Hooks, Job, Loader, Optimizer, Progress, Schedule, choices, run};
use crate::vision::metrics::roc_area;
use crate::vision::models::bands::{BANDS, Band, CLASSES};
use crate::vision::models::parts::{self, PARTS};
use crate::vision::training::curves;
use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which network is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The network of a band that proposes windows.
    #[default]
    Propose,
    /// The network of a band that judges windows and moves their sides.
    Judge,
    /// The networks of [`crate::vision::models::parts`], all at once.
    Parts,
}

/// Every choice of a run, as stored in `config.toml` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of photographs as [`Photos::open`] reads it; must be set.
    pub data: PathBuf,
    /// What the manifest says about the data's terms.
    pub data_terms: String,
    /// 1 to 4: faces from 10, 30, 120 or 240 pixels on. It does not count for parts.
    pub band: usize,
    pub stage: Kind,
    /// Weights to begin with; layers that they lack begin as new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Weights of the band's network that proposes, whose mistakes on backgrounds are shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mistakes_of: Option<PathBuf>,
    /// Windows of backgrounds in which mistakes are looked for.
    pub windows: usize,
    pub seed: u64,
    /// Total number of steps.
    pub steps: u64,
    /// Patches per step.
    pub batch: usize,
    /// The highest learning rate of AdamW; it rises in a twentieth of the steps, and falls to 0 by half a cosine.
    pub lr: f64,
    /// Steps between checkpoints, after which held-out photographs are judged.
    pub checkpoint_every: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            data_terms: "not stated".into(),
            band: 1,
            stage: Kind::Propose,
            init: None,
            mistakes_of: None,
            windows: 50_000,
            seed: 1,
            steps: 4000,
            batch: 128,
            lr: 2e-3,
            checkpoint_every: 500,
        }
    }
}

/// Most patches per step.
const MOST_PATCHES: usize = 1024;
/// Most windows in which mistakes are looked for.
const MOST_WINDOWS: usize = 10_000_000;

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

    /// Refuses choices that make no sense.
    ///
    /// # Errors
    /// A number is 0 or too large; a path cannot be written into the file.
    pub fn check(&self) -> Result<()> {
        let paths = [Some(("--data", &self.data)), self.init.as_ref().map(|path| ("--init", path))];
        let paths = paths.into_iter().chain([self.mistakes_of.as_ref().map(|path| ("--mistakes-of", path))]).flatten();
        choices::check(&paths.map(|(flag, path)| (flag, path.as_path())).collect::<Vec<_>>(), self.seed)?;
        if self.data.as_os_str().is_empty() {
            return Err(Error::Usage("a run needs --data, or a --config with data".into()));
        }
        self.band()?;
        if self.stage == Kind::Parts && self.mistakes_of.is_some() {
            return Err(Error::Usage("--mistakes-of is for the networks of bands; parts have no use for it".into()));
        }
        if !(1..=run::MAX_STEPS).contains(&self.steps) || self.checkpoint_every == 0 {
            let most = run::MAX_STEPS;
            return Err(Error::Usage(format!("--steps must be 1 to {most}, and --checkpoint-every at least 1")));
        }
        for (flag, value, most) in [("--batch", self.batch, MOST_PATCHES), ("--windows", self.windows, MOST_WINDOWS)] {
            if !(1..=most).contains(&value) {
                return Err(Error::Usage(format!("{flag} must be 1 to {most}, got {value}")));
            }
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Err(Error::Usage(format!("--lr must be above 0, got {}", self.lr)));
        }
        Ok(())
    }

    /// Returns the band at the size of its networks' input: patches are drawn as the networks see them.
    fn band(&self) -> Result<Band> {
        let bands = BANDS.len();
        let found = self.band.checked_sub(1).and_then(|index| BANDS.get(index)).map(Band::at_input);
        found.ok_or_else(|| Error::Usage(format!("--band must be 1 to {bands}, got {}", self.band)))
    }

    /// Returns what must agree between a checkpoint and the run that continues it.
    fn identity(&self, data: &str, start: [Option<&Weights>; 2]) -> Map<String, Value> {
        let Self { band, stage, windows, seed, steps, batch, lr, .. } = self;
        let [init, mistakes] = start.map(|weights| weights.and_then(|weights| weights.manifest().get("sha256")));
        let all = json!({
            "band": band, "stage": stage, "windows": windows, "seed": seed, "steps": steps, "batch": batch, "lr": lr, "data": data,
            "init": init, "mistakes_of": mistakes,
        });
        all.as_object().cloned().unwrap_or_default()
    }
}

/// AdamW's decay of weights.
const WEIGHT_DECAY: f32 = 1e-3;

/// Factor on the squared errors of the boxes' sides. These are parts of a window, a hundredth when the logits' losses are a tenth; without
/// the factor the common layers are learned for the logits alone, and sides are off by a tenth of a window.
const BOX_WEIGHT: f32 = 32.0;

/// Name of such a run in a folder's marker.
const KIND: &str = "detect";

/// The parts of a run's steps up to which the networks of parts learn from plain patches alone, and from which on from none.
const PLAIN: [f64; 2] = [0.25, 0.6];

/// One of so many photographs is held out, to judge by.
const HELD_OUT: usize = 20;
/// Held-out patches that are judged.
const JUDGED: usize = 2048;
/// Patches that a network sees at a time, where it does not learn.
const AT_ONCE: usize = 256;
/// Probability from which a window of a background is a mistake.
const MISTAKE: f32 = 0.1;

/// Locks the folder of a run: a new one, or with `resume` also one of a run that has begun.
///
/// # Errors
/// Those of [`Folder::create`] and [`Folder::open`].
pub fn folder(path: &Path, resume: bool) -> Result<Folder> {
    if resume { Folder::open(path, KIND) } else { Folder::create(path, KIND) }
}

/// Returns a band's network for one of the two stages, with the outputs `face`, the logit of a face `[N, 1, H, W]`, and `scale`, those of
/// the scale classes `[N, 3, H, W]`, or `box` `[N, 4, 1, 1]`; or the networks of the parts, with outputs such as `hair_logits`
/// `[N, attributes, 1, 1]`.
pub fn network(device: &Device, kind: Kind, band: Band, weights: impl Into<Params>) -> Network {
    device.network(weights, move |g: &Draft| {
        let x = g.input("x");
        match kind {
            Kind::Propose => {
                let [face, scale] = band.proposals(x);
                g.output("face", face);
                g.output("scale", scale);
                g.loss("face_loss", || face.bce_with_logits(g.input("is_face"), Reduction::Mean));
                let entropy = Loss { penalty: Penalty::BinaryCrossEntropy, reduction: Reduction::Mean, weighted: true };
                g.loss("scale_loss", || g.add(entropy, &[scale, g.input("more"), g.input("weight")]));
            }
            Kind::Judge => {
                let [face, offsets] = band.judgements(x);
                g.output("face", face);
                g.output("box", offsets);
                g.loss("face_loss", || face.bce_with_logits(g.input("is_face"), Reduction::Mean));
                g.loss("box_loss", || offsets.mse_weighted(g.input("more"), g.input("weight"), Reduction::Mean));
            }
            Kind::Parts => {
                let responses = parts::responses(x, parts::Norm::Batch);
                g.output("maps", parts::partness(&responses));
                for (part, responses) in PARTS.iter().zip(responses) {
                    let logits = parts::logits(part, responses);
                    g.output(&format!("{}_logits", part.name), logits);
                    // The labels have the name of the part.
                    let loss = || logits.bce_with_logits(g.input(part.name), Reduction::Mean);
                    g.loss(&format!("{}_loss", part.name), loss);
                }
            }
        }
    })
}

/// Draws the examples of a stage.
fn example(examples: &Examples, kind: Kind, rng: &mut Rng) -> Example {
    if kind == Kind::Judge { examples.judgement(rng) } else { examples.proposal(rng) }
}

/// Returns what the second output should be for a face: where its sides lie, or which scale class it has.
fn wanted(band: &Band, kind: Kind, example: &Example) -> Option<Vec<f32>> {
    let face = example.face?;
    if kind == Kind::Judge {
        let side = band.side as f64;
        let [left, top, right, bottom] = face.sides();
        return Some([left, top, right - side, bottom - side].map(|v| (v / side) as f32).to_vec());
    }
    let class = band.class(face.height);
    Some((0..CLASSES).map(|k| if class == Some(k) { 1.0 } else { 0.0 }).collect())
}

/// Makes the inputs of a step.
fn batch(photos: &Photos, mistakes: &[Mistake], config: &Config, step: u64) -> Result<Vec<(&'static str, Tensor)>> {
    let mut rng = Rng::of_step(config.seed, step);
    if config.stage == Kind::Parts {
        let done = step as f64 / config.steps as f64;
        let plain = ((PLAIN[1] - done) / (PLAIN[1] - PLAIN[0])).clamp(0.0, 1.0);
        let (x, labels) = Labelled::new(photos)?.batch(config.batch, plain, &mut rng)?;
        let labels = PARTS.iter().zip(labels).map(|(part, labels)| (part.name, labels));
        return Ok([("x", x)].into_iter().chain(labels).collect());
    }
    let band = config.band()?;
    let examples = Examples { photos, band, mistakes };
    let more = if config.stage == Kind::Propose { CLASSES } else { 4 };
    let (mut x, mut is_face, mut values, mut weights) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..config.batch {
        let example = example(&examples, config.stage, &mut rng);
        is_face.push(if example.face.is_some() { 1.0 } else { 0.0 });
        // What is no face has neither a scale nor sides.
        let wanted = wanted(&band, config.stage, &example);
        let weight = if config.stage == Kind::Propose { 1.0 } else { BOX_WEIGHT };
        weights.extend(vec![if wanted.is_some() { weight } else { 0.0 }; more]);
        values.extend(wanted.unwrap_or_else(|| vec![0.0; more]));
        x.extend_from_slice(&example.x);
    }
    let of = |channels: usize, values: Vec<f32>| Tensor::new([config.batch, channels, 1, 1], values);
    Ok(vec![
        ("x", Tensor::new([config.batch, 1, band.side, band.side], x)?),
        ("is_face", of(1, is_face)?),
        ("more", of(more, values)?),
        ("weight", of(more, weights)?),
    ])
}

/// Returns the probability of a face for each of these patches.
fn probabilities(network: &Network, side: usize, patches: &[Vec<f32>]) -> Result<Vec<f32>> {
    let mut all = Vec::with_capacity(patches.len());
    for part in patches.chunks(AT_ONCE) {
        let x = Tensor::new([part.len(), 1, side, side], part.concat())?;
        let mut out = network.run(&[("x", &x)])?;
        all.extend(out.take("face")?.data().iter().map(|logit| 1.0 / (1.0 + (-logit).exp())));
    }
    Ok(all)
}

/// Looks for windows of backgrounds that a network which proposes takes for faces. `step` is told how many of how many windows were seen.
///
/// # Errors
/// The weights do not fit; the device fails; `step` returned false ([`Error::Interrupted`]).
pub fn mistakes(
    device: &Device,
    photos: &Photos,
    config: &Config,
    weights: Weights,
    step: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<Mistake>> {
    let band = config.band()?;
    let network = network(device, Kind::Propose, band, weights);
    let examples = Examples { photos, band, mistakes: &[] };
    let (mut rng, mut found) = (Rng::new(config.seed), Vec::new());
    for first in (0..config.windows).step_by(AT_ONCE) {
        let count = AT_ONCE.min(config.windows - first);
        let (windows, patches): (Vec<Mistake>, Vec<Vec<f32>>) =
            (0..count).map(|_| examples.window_of_any(&mut rng)).unzip();
        let all = probabilities(&network, band.side, &patches)?;
        found.extend(windows.into_iter().zip(all).filter(|(_, p)| *p > MISTAKE).map(|(window, _)| window));
        if !step(first + count, config.windows) {
            return Err(Error::Interrupted);
        }
    }
    Ok(found)
}

/// What held-out patches say of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Numbers for the log by name.
    pub values: Vec<(&'static str, f64)>,
    /// The same for a manifest.
    pub text: String,
}

fn measure(network: &Network, photos: &Photos, config: &Config) -> Result<Measured> {
    if config.stage == Kind::Parts {
        measure_parts(network, photos, config)
    } else {
        measure_band(network, photos, config)
    }
}

/// Measures the area under the ROC curve of faces against all else, and which parts of faces beside the middle, of backgrounds, and of
/// pasted backgrounds have a probability above that which 95 % of the faces have. That of pasted ones tells whether the network goes by
/// their seams, which faces have too.
fn measure_band(network: &Network, photos: &Photos, config: &Config) -> Result<Measured> {
    let band = config.band()?;
    let examples = Examples { photos, band, mistakes: &[] };
    let mut rng = Rng::new(config.seed);
    let all: Vec<Example> = (0..JUDGED).map(|_| example(&examples, config.stage, &mut rng)).collect();
    let (kinds, patches): (Vec<What>, Vec<Vec<f32>>) = all.into_iter().map(|e| (e.what, e.x)).unzip();
    let scores: Vec<f64> = probabilities(network, band.side, &patches)?.into_iter().map(f64::from).collect();
    let of = |what: What| kinds.iter().zip(&scores).filter(move |(kind, _)| **kind == what).map(|(_, score)| *score);
    let mut faces: Vec<f64> = of(What::Face).collect();
    faces.sort_by(f64::total_cmp);
    let limit = faces.get(faces.len() / 20).copied().unwrap_or(f64::NAN);
    let [beside, background, pasted] = [What::Beside, What::Background, What::Pasted].map(|what| {
        let all: Vec<f64> = of(what).collect();
        all.iter().filter(|score| **score >= limit).count() as f64 / all.len().max(1) as f64
    });
    let is_face: Vec<bool> = kinds.iter().map(|what| *what == What::Face).collect();
    let area = roc_area(&scores, &is_face)?;
    let text = format!(
        "{:.2} % area under the ROC curve of {JUDGED} held-out patches; where 95 % of the faces pass, so do {:.1} % of the backgrounds, \
         {:.1} % of those pasted as faces are, {:.1} % of the faces beside the middle",
        100.0 * area,
        100.0 * background,
        100.0 * pasted,
        100.0 * beside
    );
    let values = vec![("auc", area), ("beside", beside), ("background", background), ("pasted", pasted)];
    Ok(Measured { values, text })
}

/// Measures the area under the ROC curves of each part's attributes.
fn measure_parts(network: &Network, photos: &Photos, config: &Config) -> Result<Measured> {
    let (labelled, mut rng) = (Labelled::new(photos)?, Rng::new(config.seed));
    let (mut logits, mut truth): ([Vec<f32>; 5], [Vec<f32>; 5]) = Default::default();
    for _ in 0..JUDGED / AT_ONCE {
        let (x, labels) = labelled.batch(AT_ONCE, 0.0, &mut rng)?;
        let mut out = network.run(&[("x", &x)])?;
        for (k, part) in PARTS.iter().enumerate() {
            logits[k].extend_from_slice(out.take(&format!("{}_logits", part.name))?.data());
            truth[k].extend_from_slice(labels[k].data());
        }
    }
    let areas = areas(&logits, &truth)?;
    let values: Vec<(&'static str, f64)> = PARTS.iter().map(|part| part.name).zip(areas).collect();
    let said: Vec<String> = values.iter().map(|(name, area)| format!("{name} {:.1}", 100.0 * area)).collect();
    let text = format!(
        "area under the ROC curves of {JUDGED} held-out patches, mean of the attributes in %: {}",
        said.join(", ")
    );
    Ok(Measured { values, text })
}

/// Callbacks of [`train`].
pub struct Observer<'a> {
    /// Called after every step. Returning false stops the run after a checkpoint.
    pub step: &'a mut dyn FnMut(Progress) -> bool,
    /// Called with true when there are steps that would be lost if the process ended, and with false when they are saved.
    pub hold: &'a mut dyn FnMut(bool),
    /// Told how many of how many windows were searched for mistakes; false ends the run before its first step.
    pub search: &'a mut dyn FnMut(usize, usize) -> bool,
}

impl std::fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

/// Photographs to learn from, and others to judge by.
#[derive(Debug, Clone)]
pub struct Parted {
    pub learn: Arc<Photos>,
    pub judge: Photos,
}

impl Parted {
    /// Holds out one in twenty.
    ///
    /// # Errors
    /// There are fewer than twenty faces or pictures without.
    pub fn new(photos: Photos) -> Result<Self> {
        let (learn, judge) = photos.parted(HELD_OUT)?;
        Ok(Self { learn: Arc::new(learn), judge })
    }
}

/// Trains on photographs and returns the weights, whose manifest says what the held-out ones showed.
/// Writes the files of [`crate::train::run`] to `folder`, except the final weights.
///
/// # Errors
/// A choice is refused; the folder belongs to another run; weights to begin with are
/// missing or do not fit; a loss is not a number; the device or the disk fails; [`Error::Interrupted`] if the observer stopped the run.
/// The steps until then are saved.
pub fn train(
    config: &Config,
    device: &Device,
    photos: &Parted,
    folder: &Folder,
    observer: &mut Observer,
) -> Result<Weights> {
    config.check()?;
    let open = |path: &Option<PathBuf>| path.as_ref().map(Weights::open).transpose();
    let (init, teacher) = (open(&config.init)?, open(&config.mistakes_of)?);
    let Parted { learn, judge } = photos;
    let identity = config.identity(&learn.fingerprint, [init.as_ref(), teacher.as_ref()]);
    if folder.last().exists() {
        run::check_checkpoint(folder, &identity)?;
    }
    config.save(&folder.config())?;
    let data = format!(
        "{}: {} faces, {} pictures without",
        learn.sources.join(", "),
        learn.faces.len() + judge.faces.len(),
        learn.backgrounds.len() + judge.backgrounds.len()
    );
    let mistakes = match teacher {
        Some(weights) => mistakes(device, learn, config, weights, &mut *observer.search)?,
        None => Vec::new(),
    };
    // The last layers of the band's other network have no use.
    let others: &[&str] = match config.stage {
        Kind::Propose => &["verdict.", "box."],
        Kind::Judge => &["face.", "scale."],
        Kind::Parts => &[],
    };
    let kept = |name: &str| (!others.iter().any(|other| name.starts_with(other))).then(|| name.to_owned());
    let params = match init {
        Some(weights) => Params::partial(weights.renamed(kept)?, config.seed),
        None => Params::fresh(config.seed),
    };
    let network = network(device, config.stage, config.band()?, params);
    let mut training = network.train(Optimizer::adamw(WEIGHT_DECAY))?;
    let name = match config.stage {
        Kind::Propose => format!("band{} proposals", config.band),
        Kind::Judge => format!("band{} judgements", config.band),
        Kind::Parts => "parts".to_owned(),
    };
    let own = [
        ("model", name.as_str()),
        ("data", data.as_str()),
        ("data_terms", &config.data_terms),
        ("seed", &config.seed.to_string()),
        ("steps", &config.steps.to_string()),
        ("mistakes", &mistakes.len().to_string()),
    ];
    let decay = Decay::Cosine { end: 0.0, steps: config.steps };
    let job = Job {
        schedule: Schedule { lr: config.lr, warmup: config.steps / 20, decay },
        identity,
        manifest: run::manifest(device, folder, &own),
        steps: config.steps,
        checkpoint_every: config.checkpoint_every,
        val_every: config.checkpoint_every,
    };
    let mistakes = Arc::new(mistakes);
    let mut loader = None;
    let mut hooks = Hooks {
        batch: &mut |step| {
            let loader = match &mut loader {
                Some(loader) => loader,
                none => {
                    let (photos, mistakes, config) = (learn.clone(), mistakes.clone(), config.clone());
                    none.insert(Loader::new(1, step, config.steps, move |step| {
                        batch(&photos, &mistakes, &config, step)
                    })?)
                }
            };
            loader.take(step)
        },
        validate: &mut |training| Ok(measure(&training.averaged()?, judge, config)?.values),
        observe: &mut *observer.step,
        hold: &mut *observer.hold,
        draw: &|history, path| curves::draw(history)?.save(path),
    };
    let mut weights = training.run(&job, folder, &mut hooks)?;
    for (key, value) in &job.manifest {
        weights.set_manifest(key, value);
    }
    let network = training.averaged()?;
    let mut text = measure(&network, judge, config)?.text;
    if config.stage == Kind::Parts {
        let learned = arrangement::learn(&network, learn, config.seed)?;
        let (faceness, of_parts) = arrangement::measure(&network, &learned, judge, config.seed)?;
        learned.write(&mut weights);
        let said: Vec<String> =
            PARTS.iter().zip(of_parts).map(|(part, area)| format!("{} {:.1}", part.name, 100.0 * area)).collect();
        text = format!(
            "{text}; of windows around faces and others: faceness {:.1}, {}",
            100.0 * faceness,
            said.join(", ")
        );
    }
    weights.set_manifest("measured", text);
    Ok(weights)
}
