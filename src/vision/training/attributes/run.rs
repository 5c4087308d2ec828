//! Trains the network that labels faces, and calibrates and measures it on faces that it was not trained on.

use super::calibration;
use super::data::{Faces, Part};
use super::trunk::{self, Base, Batches};
use crate::error::{Error, Result};
use crate::exec::{Device, Params};
use crate::train::{Folder, Hooks, Job, Loader, Optimizer, Progress, choices, run};
use crate::vision::metrics::{Confusion, roc_area};
use crate::vision::tasks::attributes::{ATTRIBUTES, Attribute, Labeller};
use crate::vision::training::curves;
use crate::weights::Weights;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every choice of a run, as stored in `config.toml` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of faces as [`Faces::open`] reads it; must be set.
    pub data: PathBuf,
    /// Folder of further training faces as [`Faces::lfwa`] reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<PathBuf>,
    /// What the manifest says about the data's terms.
    pub data_terms: String,
    pub seed: u64,
    /// Total number of steps.
    pub steps: u64,
    /// Faces per step.
    pub batch: usize,
    /// The highest learning rate of AdamW; it rises in a tenth of the steps, and falls to 0 by half a cosine.
    pub lr: f64,
    /// Steps between checkpoints, after which the validation faces are judged.
    pub checkpoint_every: u64,
}

impl Default for Config {
    fn default() -> Self {
        let trunk::Choices { steps, batch, lr, seed, .. } = trunk::Choices::default();
        let (data, data_terms) = (PathBuf::new(), "not stated".into());
        Self { data, more: None, data_terms, seed, steps, batch, lr, checkpoint_every: 200 }
    }
}

/// Most faces per step; they take 130 MB on the host, and batches are made ahead.
const MOST_FACES: usize = 4096;

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
    /// A number is 0 or too large.
    pub fn check(&self) -> Result<()> {
        let folders = [Some(("--data", &self.data)), self.more.as_ref().map(|more| ("--more", more))];
        choices::check(
            &folders.into_iter().flatten().map(|(flag, folder)| (flag, &**folder)).collect::<Vec<_>>(),
            self.seed,
        )?;
        if self.data.as_os_str().is_empty() {
            return Err(Error::Usage("a run needs --data, or a --config with data".into()));
        }
        if !(1..=run::MAX_STEPS).contains(&self.steps) || self.checkpoint_every == 0 {
            let most = run::MAX_STEPS;
            return Err(Error::Usage(format!("--steps must be 1 to {most}, and --checkpoint-every at least 1")));
        }
        if !(1..=MOST_FACES).contains(&self.batch) {
            return Err(Error::Usage(format!("--batch must be 1 to {MOST_FACES} faces, got {}", self.batch)));
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Err(Error::Usage(format!("--lr must be above 0, got {}", self.lr)));
        }
        Ok(())
    }

    fn choices(&self) -> trunk::Choices {
        let Self { seed, steps, batch, lr, .. } = *self;
        trunk::Choices { base: Base::Shared, seed, steps, batch, lr, is_weighted: false }
    }

    /// Returns what must agree between a checkpoint and the run that continues it.
    fn identity(&self, data: &str) -> Map<String, Value> {
        let Self { seed, steps, batch, lr, .. } = self;
        let all = json!({ "seed": seed, "steps": steps, "batch": batch, "lr": lr, "data": data });
        all.as_object().cloned().unwrap_or_default()
    }
}

/// AdamW's decay of weights.
const WEIGHT_DECAY: f32 = 1e-2;

/// Name of such a run in a folder's marker.
const KIND: &str = "attributes";

/// Locks the folder of a run: a new one, or with `resume` also one of a run that has begun.
///
/// # Errors
/// Those of [`Folder::create`] and [`Folder::open`].
pub fn folder(path: &Path, resume: bool) -> Result<Folder> {
    if resume { Folder::open(path, KIND) } else { Folder::create(path, KIND) }
}

/// Callbacks of [`train`].
pub struct Observer<'a> {
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

/// Trains on the training faces of `faces`, and returns the weights of a [`Labeller`]: logits are calibrated on the validation faces, and
/// the manifest says how well the test faces are labelled. Writes the files of [`crate::train::run`] to `folder`, except the final weights.
///
/// # Errors
/// A choice is refused; the folder belongs to another run; a loss is not a number; the device or the disk fails;
/// [`Error::Interrupted`] if the observer stopped the run. The steps until then are saved.
pub fn train(
    config: &Config,
    device: &Device,
    faces: &Arc<Faces>,
    folder: &Folder,
    observer: &mut Observer,
) -> Result<Weights> {
    config.check()?;
    let choices = config.choices();
    let attributes = faces.attributes.len();
    let network = trunk::network(device, attributes, choices.base, Params::fresh(choices.seed));
    let mut training = network.train(Optimizer::adamw(WEIGHT_DECAY))?;
    let identity = config.identity(&faces.fingerprint);
    if folder.last().exists() {
        run::check_checkpoint(folder, &identity)?;
    }
    config.save(&folder.config())?;
    let more = config.more.as_ref().map_or_else(String::new, |more| format!(" and {}", more.display()));
    let data = format!(
        "{}{more}: {} faces for training, {} for calibration, {} for the measured result",
        config.data.display(),
        faces.part(Part::Train).len(),
        faces.part(Part::Validation).len(),
        faces.part(Part::Test).len()
    );
    let own = [
        ("model", "attributes"),
        ("data", data.as_str()),
        ("data_terms", &config.data_terms),
        ("seed", &config.seed.to_string()),
        ("steps", &config.steps.to_string()),
    ];
    let job = Job {
        schedule: trunk::schedule(config.lr, config.steps),
        identity,
        manifest: run::manifest(device, folder, &own),
        steps: config.steps,
        checkpoint_every: config.checkpoint_every,
        val_every: config.checkpoint_every,
    };
    let batches = Batches::new(faces, &choices);
    let mut loader = None;
    let mut hooks = Hooks {
        batch: &mut |step| {
            let loader = match &mut loader {
                Some(loader) => loader,
                none => {
                    let batches = batches.clone();
                    none.insert(Loader::new(1, step, config.steps, move |step| batches.of(step))?)
                }
            };
            let [x, t, m] = loader.take(step)?;
            Ok(vec![("x", x), ("t", t), ("m", m)])
        },
        validate: &mut |training| {
            let logits = logits(device, faces, Part::Validation, training.weights()?)?;
            Ok(vec![("auc", area(faces, Part::Validation, &logits)?)])
        },
        observe: &mut *observer.step,
        hold: &mut *observer.hold,
        draw: &|history, path| curves::draw(history)?.save(path),
    };
    let mut weights = training.run(&job, folder, &mut hooks)?;
    for (key, value) in &job.manifest {
        weights.set_manifest(key, value);
    }
    calibrate(device, faces, &mut weights)?;
    measure(device, faces, &mut weights)?;
    Ok(weights)
}

/// Returns the logits of the faces of a part, as a [`Labeller`] of these weights finds them, for each attribute.
fn logits(device: &Device, faces: &Faces, part: Part, mut weights: Weights) -> Result<Vec<Vec<f64>>> {
    let unknown = |name: &String| Attribute { name: name.clone(), threshold: 0.5, balanced_accuracy: 0.0 };
    set(&mut weights, &faces.attributes.iter().map(unknown).collect::<Vec<_>>());
    let labeller = Labeller::new(device, weights)?;
    let planes: Vec<Vec<u8>> = faces.part(part).map(|face| faces.planes(face).to_vec()).collect();
    let rows = labeller.logits(&planes)?;
    Ok((0..faces.attributes.len()).map(|a| rows.iter().map(|row| f64::from(row[a])).collect()).collect())
}

fn set(weights: &mut Weights, attributes: &[Attribute]) {
    weights.set_manifest(ATTRIBUTES, json!(attributes).to_string());
}

/// Returns which faces of a part have an attribute.
fn having(faces: &Faces, part: Part, attribute: usize) -> Vec<bool> {
    faces.part(part).map(|face| faces.has(face, attribute)).collect()
}

/// Returns the mean over attributes of the area under the ROC curve. An attribute that all or none of the faces have does not count.
fn area(faces: &Faces, part: Part, logits: &[Vec<f64>]) -> Result<f64> {
    let areas = (logits.iter().enumerate())
        .map(|(a, own)| roc_area(own, &having(faces, part, a)))
        .collect::<Result<Vec<_>>>()?;
    let areas: Vec<f64> = areas.into_iter().filter(|area| area.is_finite()).collect();
    Ok(areas.iter().sum::<f64>() / areas.len().max(1) as f64)
}

/// Replaces the last layer by one whose logits are calibrated on the validation faces.
fn calibrate(device: &Device, faces: &Faces, weights: &mut Weights) -> Result<()> {
    let all = logits(device, faces, Part::Validation, weights.clone())?;
    for (name, is_bias) in [("attributes.w", false), ("attributes.b", true)] {
        let Some(mut tensor) = weights.get(name).cloned() else {
            return Err(Error::weights(weights.name(), format!("has no {name}")));
        };
        let size = tensor.data().len() / all.len();
        for (a, (row, own)) in tensor.data_mut().chunks_mut(size).zip(&all).enumerate() {
            let [scale, offset] = calibration::fit(own, &having(faces, Part::Validation, a));
            let offset = if is_bias { offset } else { 0.0 };
            row.iter_mut().for_each(|v| *v = (scale * f64::from(*v) + offset) as f32);
        }
        weights.insert(name, tensor);
    }
    Ok(())
}

/// Writes thresholds and what the test faces say of the weights to the manifest.
fn measure(device: &Device, faces: &Faces, weights: &mut Weights) -> Result<()> {
    let all = logits(device, faces, Part::Test, weights.clone())?;
    let (mut attributes, mut plain) = (Vec::new(), 0.0);
    for (a, (own, rate)) in all.iter().zip(faces.rates()).enumerate() {
        let threshold = ((rate * 1e3).round() / 1e3).clamp(0.001, 0.999);
        let limit = (threshold / (1.0 - threshold)).ln();
        let truth: Vec<usize> = having(faces, Part::Test, a).into_iter().map(usize::from).collect();
        let found = |limit: f64| own.iter().map(|logit| usize::from(*logit >= limit)).collect::<Vec<_>>();
        let balanced = 100.0 * Confusion::new(2, &truth, &found(limit))?.balanced_accuracy();
        plain += 100.0 * Confusion::new(2, &truth, &found(0.0))?.accuracy() / all.len() as f64;
        attributes.push(Attribute {
            name: faces.attributes[a].clone(),
            threshold,
            balanced_accuracy: (balanced * 10.0).round() / 10.0,
        });
    }
    let mean = attributes.iter().map(|a| a.balanced_accuracy).sum::<f64>() / attributes.len() as f64;
    let area = 100.0 * area(faces, Part::Test, &all)?;
    let count = faces.part(Part::Test).len();
    set(weights, &attributes);
    weights.set_manifest(
        "measured",
        format!(
            "{mean:.1} % balanced accuracy at the thresholds, {plain:.1} % accuracy at 0.5, {area:.1} % area under ROC curves (means of \
             {} attributes, {count} test faces)",
            attributes.len()
        ),
    );
    Ok(())
}
