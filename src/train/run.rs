//! A run: its folder, its steps, its checkpoints. The caller decides what is trained, and on which data.
//!
//! | file in the folder | what |
//! |---|---|
//! | `lineament-run.json` | marks the folder as that of a run ([`Folder`]); whoever trains in it holds its lock |
//! | `config.toml` | every choice of the run |
//! | `log.jsonl` | one line per step: `step`, `loss` in full precision, `norm` of all gradients, `lr`, `ms`, `wait_ms`; one per validation: `step`, `val_…` |
//! | `last.safetensors` | parameters, moments and average after some step, from which a run resumes bit for bit |
//! | `best.safetensors` | the weights of the best validation |
//! | `weights.safetensors` | the weights after the last step |
//! | `curves.png` | loss and validation over the steps |
//!
//! Every file except the log is written under a temporary name and renamed; a log that ends in the middle of a line is repaired
//! when the run resumes. Whatever fails, the steps until then are saved first, as far as the disk and the device allow.

use super::choices;
use super::folder::Folder;
use super::history::History;
use super::log::Log;
use super::optimizer::Schedule;
use super::training::Training;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::tensor::Tensor;
use crate::weights::Weights;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;

/// How long to train, and what to keep of it.
#[derive(Debug)]
pub struct Job {
    pub schedule: Schedule,
    /// What must agree between a checkpoint and the run that continues it, by name; `data` is a checksum of the files.
    pub identity: Map<String, Value>,
    /// Manifest entries of the weights that are saved along the way.
    pub manifest: Vec<(String, String)>,
    /// Total number of steps.
    pub steps: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between validations; 0: none.
    pub val_every: u64,
}

impl Job {
    /// Creates a job of `steps` steps with a checkpoint after each twentieth of them, without validation.
    pub fn new(steps: u64, schedule: Schedule) -> Self {
        let checkpoint_every = (steps / 20).max(1);
        Self { schedule, identity: Map::new(), manifest: Vec::new(), steps, checkpoint_every, val_every: 0 }
    }
}

/// The progress of a run, passed to the observer after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    pub steps: u64,
    /// Sum of all losses of the step's batch, before its update.
    pub loss: f32,
    /// Euclidean norm of all gradients together, before any clipping.
    pub norm: f32,
    pub lr: f64,
    /// Wall time of the step, without validation and checkpoint.
    pub ms: f64,
    /// The part of `ms` in which the adapter waited for the batch.
    pub wait_ms: f64,
}

/// Named numbers of a validation. The first one decides which weights are the best; higher is better.
pub type Validation = Vec<(&'static str, f64)>;

/// The caller's part of a run.
pub struct Hooks<'a> {
    /// Returns the inputs of step k (from 1), which must always be the same for k.
    pub batch: &'a mut dyn FnMut(u64) -> Result<Vec<(&'static str, Tensor)>>,
    /// Measures what was learned so far, as by [`Training::averaged`] or [`Training::weights`].
    pub validate: &'a mut dyn FnMut(&Training) -> Result<Validation>,
    /// Called after every step. Returning false stops the run after a checkpoint, with [`Error::Interrupted`].
    pub observe: &'a mut dyn FnMut(Progress) -> bool,
    /// Called with true when there are steps that would be lost if the process ended, and with false when they are saved.
    pub hold: &'a mut dyn FnMut(bool),
    /// Draws the history so far to this file.
    pub draw: &'a dyn Fn(&History, &Path) -> Result<()>,
}

impl<'a> Hooks<'a> {
    /// Creates hooks that make batches and do nothing else.
    pub fn new(batch: &'a mut dyn FnMut(u64) -> Result<Vec<(&'static str, Tensor)>>) -> Self {
        // A closure that captures nothing takes no memory, so that nothing leaks.
        Self {
            batch,
            validate: Box::leak(Box::new(|_: &Training| Ok(Vec::new()))),
            observe: Box::leak(Box::new(|_| true)),
            hold: Box::leak(Box::new(|_| {})),
            draw: &|_, _| Ok(()),
        }
    }
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Training {
    /// Trains and returns the final weights; their manifest has only `time`.
    ///
    /// If the folder has a checkpoint, continues from it, so that the remaining losses equal those without the interruption bit for
    /// bit. Otherwise starts with the training's present state.
    ///
    /// # Errors
    /// The checkpoint belongs to another run; the step takes more memory than the device has; a loss or gradient is not a number,
    /// with the first layer whose value is not finite; the disk, the device or a hook fails. The steps until then are saved, and the
    /// message says how to continue.
    pub fn run(&mut self, job: &Job, folder: &Folder, hooks: &mut Hooks) -> Result<Weights> {
        let mut going = Going::begin(job, self, folder)?;
        match going.run_to_the_end(hooks) {
            Ok(weights) => Ok(weights),
            Err(error) => Err(going.failed(error, hooks)),
        }
    }
}

/// Largest number of steps of a run.
pub const MAX_STEPS: u64 = 1_000_000_000;

/// A run in progress.
struct Going<'a> {
    job: &'a Job,
    training: &'a mut Training,
    folder: &'a Folder,
    log: Log,
    best: Option<f64>,
    /// Step of the training's state that is worth keeping.
    done: u64,
    /// Step of the checkpoint; 0: there is none.
    saved: u64,
}

impl<'a> Going<'a> {
    fn begin(job: &'a Job, training: &'a mut Training, folder: &'a Folder) -> Result<Self> {
        let (mut best, mut saved) = (None, 0);
        if folder.last().exists() {
            let state;
            (state, saved, best) = open_checkpoint(&folder.last(), &job.identity)?;
            training.resume(&state)?;
        }
        let done = training.steps();
        let log = Log::open(&folder.log(), done + 1)?;
        // The checkpoint of a step is made before its validation.
        let best = log.best().into_iter().chain(best).reduce(f64::max);
        Ok(Self { job, training, folder, log, best, done, saved })
    }

    fn run_to_the_end(&mut self, hooks: &mut Hooks) -> Result<Weights> {
        let job = self.job;
        if self.done > 0 {
            let batch = (hooks.batch)(self.done.min(job.steps))?;
            self.training.learn(&batch.iter().map(|(name, tensor)| (*name, tensor)).collect::<Vec<_>>())?;
        }
        if self.is_validated(self.done) && !self.log.has_validation(self.done) {
            self.validate(hooks)?;
        }
        while self.done < job.steps {
            let progress = self.step(hooks)?;
            let step = self.done;
            let goes_on = (hooks.observe)(progress) || step == job.steps;
            if step.is_multiple_of(job.checkpoint_every.max(1))
                || step == job.steps
                || self.is_validated(step)
                || !goes_on
            {
                self.save(hooks)?;
                if goes_on && self.is_validated(step) {
                    self.validate(hooks)?;
                }
                (hooks.draw)(&self.log.history, &self.folder.curves())?;
            }
            if !goes_on {
                return Err(Error::Interrupted);
            }
        }
        let mut weights = self.weights()?;
        weights.set_manifest("time", format!("{:.0} s for all steps", self.log.ms / 1e3));
        Ok(weights)
    }

    /// Performs the next step and writes it to the log.
    fn step(&mut self, hooks: &mut Hooks) -> Result<Progress> {
        let (job, step) = (self.job, self.done + 1);
        let begin = Instant::now();
        let batch = (hooks.batch)(step)?;
        let wait_ms = begin.elapsed().as_secs_f64() * 1e3;
        let lr = job.schedule.at(step);
        let inputs: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let (outputs, losses) = self.training.step_and_losses(lr, &inputs)?;
        let losses: Vec<(&str, f32)> = losses.iter().map(|name| (name.as_str(), outputs.scalar(name))).collect();
        let (loss, norm) = (losses.iter().map(|(_, loss)| loss).sum::<f32>(), outputs.scalar("norm"));
        if !loss.is_finite() {
            return Err(Error::NotFinite(format!("step {step}: the loss is {loss}, but its gradients are finite")));
        }
        self.done = step;
        (hooks.hold)(true);
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        let mut line = json!({ "step": step, "loss": loss, "norm": norm, "lr": lr, "ms": ms, "wait_ms": wait_ms });
        if losses.len() > 1 {
            line["losses"] = losses.iter().map(|(name, loss)| ((*name).to_owned(), json!(loss))).collect();
        }
        self.log.write(&line)?;
        Ok(Progress { step, steps: job.steps, loss, norm, lr, ms, wait_ms })
    }

    fn is_validated(&self, step: u64) -> bool {
        let every = self.job.val_every;
        step > 0 && every > 0 && (step.is_multiple_of(every) || step == self.job.steps)
    }

    /// Measures the weights, and saves them if they are the best so far.
    fn validate(&mut self, hooks: &mut Hooks) -> Result<()> {
        let numbers = (hooks.validate)(self.training)?;
        if let Some(&(name, value)) = numbers.first()
            && self.best.is_none_or(|best| value > best)
        {
            self.best = Some(value);
            let mut weights = self.weights()?;
            for (key, value) in &self.job.manifest {
                weights.set_manifest(key, value);
            }
            weights.set_manifest("steps", self.done.to_string());
            weights.set_manifest("measured", format!("{name} {value:.4} in validation"));
            weights.save(self.folder.best())?;
        }
        let mut line = json!({ "step": self.done });
        for (name, value) in &numbers {
            line[format!("val_{name}")] = json!(value);
        }
        self.log.write(&line)
    }

    /// Returns the current weights, without the manifest of those with which the training began.
    fn weights(&self) -> Result<Weights> {
        Ok(Weights::from_tensors(self.training.weights()?.tensors().clone()))
    }

    /// Saves a checkpoint.
    fn save(&mut self, hooks: &mut Hooks) -> Result<()> {
        if self.saved < self.done {
            save_checkpoint(self.training, &self.job.identity, self.done, self.best, &self.folder.last())?;
            self.saved = self.done;
            (hooks.hold)(false);
        }
        Ok(())
    }

    /// Saves what was done before `error`, and adds to the error how to continue.
    fn failed(&mut self, error: Error, hooks: &mut Hooks) -> Error {
        // An update that followed from a loss that is not finite must not be saved.
        let is_good = self.training.steps() == self.done;
        let lost = self.done - self.saved;
        let saving = if is_good { self.save(hooks) } else { Ok(()) };
        if matches!(error, Error::Interrupted | Error::Stopped { .. }) {
            return saving.err().unwrap_or(error);
        }
        let last = self.folder.last().display().to_string();
        let unsaved = match &saving {
            Err(e) => format!("steps {} to {} could not be saved ({e}); ", self.done - lost + 1, self.done),
            Ok(()) => String::new(),
        };
        let kept = match (&error, self.saved) {
            (Error::NotFinite(_), saved) => {
                let remedy = "with a lower --lr, with --clip, or with other data";
                match saved {
                    0 => format!("no step is saved; start anew {remedy}"),
                    _ => format!("{last} holds the last good state; start a new run from it with --init, {remedy}"),
                }
            }
            (_, 0) if saving.is_ok() => return error,
            (_, 0) => return Error::Stopped { source: error.into(), kept: unsaved.trim_end_matches("; ").into() },
            (_, step) => format!("step {step} is saved in {last}; continue with --resume"),
        };
        Error::Stopped { source: error.into(), kept: unsaved + &kept }
    }
}

/// Refuses to continue the folder's checkpoint with choices other than those it was made with.
///
/// # Errors
/// The choices differ; the checkpoint is broken.
pub(crate) fn check_checkpoint(folder: &Folder, identity: &Map<String, Value>) -> Result<()> {
    open_checkpoint(&folder.last(), identity).map(drop)
}

fn save_checkpoint(
    training: &Training,
    identity: &Map<String, Value>,
    step: u64,
    best: Option<f64>,
    path: &Path,
) -> Result<()> {
    let mut state = Weights::from_tensors(training.state()?.tensors().clone());
    state.set_manifest("step", step.to_string());
    state.set_manifest("config", json!(identity).to_string());
    if let Some(best) = best {
        // The shortest text that reads back as the same number.
        state.set_manifest("best", best.to_string());
    }
    state.save(path)
}

/// Returns parameters and states, their step, and the best validation until then.
fn open_checkpoint(path: &Path, wanted: &Map<String, Value>) -> Result<(Weights, u64, Option<f64>)> {
    let weights = Weights::open(path)?;
    let fail = |problem: String| Error::weights(path.display().to_string(), problem);
    let entry = |key: &str| {
        weights
            .manifest()
            .get(key)
            .cloned()
            .ok_or_else(|| fail(format!("is not a checkpoint: its manifest lacks {key:?}")))
    };
    let step = entry("step")?.parse().map_err(|_| fail("is not a checkpoint: its step is not a number".into()))?;
    let saved: Value =
        serde_json::from_str(&entry("config")?).map_err(|e| fail(format!("its config is broken: {e}")))?;
    choices::same(&saved, wanted).map_err(fail)?;
    let best = weights.manifest().get("best").and_then(|best| best.parse().ok());
    Ok((weights, step, best))
}

/// Returns the manifest of every weights file of a run: how it was made, and the caller's `own` entries that are not empty.
pub(crate) fn manifest(device: &Device, folder: &Folder, own: &[(&str, &str)]) -> Vec<(String, String)> {
    let (command, commit, device) = (command(), commit(), device.describe());
    let made = [
        ("command", command.as_str()),
        ("commit", &commit),
        ("run", folder.id()),
        ("device", &device),
        ("licence", "MIT OR Apache-2.0"),
    ];
    let all = made.iter().chain(own).filter(|(_, value)| !value.is_empty());
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Returns the commit that this library was built from, with "-modified" if its sources differed, or the version if there was no
/// commit.
fn commit() -> String {
    match env!("LINEAMENT_COMMIT") {
        "" => format!("lineament {}", env!("CARGO_PKG_VERSION")),
        commit => commit.to_owned(),
    }
}

/// Returns the command line, as far as it is text.
fn command() -> String {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
