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

pub use super::folder::Folder;

use super::choices;
use super::finite::first_not_finite;
use super::history::History;
use super::log::Log;
use super::optimizer::{HYPER, Rule, Schedule, Step};
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::weights::Weights;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;

/// What is trained, and for how long.
#[derive(Debug)]
pub struct Job {
    pub graph: Graph,
    pub step: Step,
    pub rule: Rule,
    pub schedule: Schedule,
    /// Initial weights of a fresh run.
    pub initial: Weights,
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

/// The progress of a run, passed to the observer after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    pub steps: u64,
    /// Loss of the step's batch, before its update.
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
    /// Measures weights.
    pub validate: &'a mut dyn FnMut(&Weights) -> Result<Validation>,
    /// Called after every step. Returning false stops the run after a checkpoint, with [`Error::Interrupted`].
    pub observe: &'a mut dyn FnMut(Progress) -> bool,
    /// Called with true when there are steps that would be lost if the process ended, and with false when they are saved.
    pub hold: &'a mut dyn FnMut(bool),
    /// Draws the history so far to this file.
    pub draw: &'a dyn Fn(&History, &Path) -> Result<()>,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// Trains and returns the final weights; their manifest has only `time`.
///
/// With `resume`, continues from the folder's checkpoint, so that the remaining losses equal those without the interruption bit
/// for bit. If there is no checkpoint yet, starts anew.
///
/// # Errors
/// The checkpoint belongs to another run; the step takes more memory than the device has; a loss or gradient is not a number,
/// with the first layer whose value is not finite; the disk, the device or a hook fails. The steps until then are saved, and the
/// message says how to continue.
pub fn run(job: &Job, device: &Device, folder: &Folder, resume: bool, hooks: &mut Hooks) -> Result<Weights> {
    let mut going = Going::begin(job, device, folder, resume)?;
    match going.run_to_the_end(hooks) {
        Ok(weights) => Ok(weights),
        Err(error) => Err(going.failed(error, hooks)),
    }
}

/// Largest number of steps of a run.
pub const MAX_STEPS: u64 = 1_000_000_000;

/// Refuses a step that takes more memory than the device allows, before any is allocated.
///
/// # Errors
/// The step does not fit; the device cannot run it at all.
pub fn check_memory(device: &Device, graph: &Graph, step: &Step) -> Result<()> {
    device.plan(graph, &step.fetches).map(drop)
}

/// A run in progress.
struct Going<'a> {
    job: &'a Job,
    device: &'a Device,
    folder: &'a Folder,
    session: Session,
    log: Log,
    best: Option<f64>,
    /// Step of the session's state.
    done: u64,
    /// Step of the checkpoint; 0: there is none.
    saved: u64,
}

impl<'a> Going<'a> {
    fn begin(job: &'a Job, device: &'a Device, folder: &'a Folder, resume: bool) -> Result<Self> {
        let (mut weights, mut done, mut best) = (job.initial.clone(), 0, None);
        if resume && folder.last().exists() {
            (weights, done, best) = open_checkpoint(&folder.last(), &job.identity)?;
        }
        let session = device.compile(&job.graph, &job.step.fetches, weights)?;
        let log = Log::open(&folder.log(), done + 1)?;
        // The checkpoint of a step is made before its validation.
        let best = log.best().into_iter().chain(best).reduce(f64::max);
        Ok(Self { job, device, folder, session, log, best, done, saved: done })
    }

    fn run_to_the_end(&mut self, hooks: &mut Hooks) -> Result<Weights> {
        let job = self.job;
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
        let mut weights = job.step.weights(&job.graph, &self.session.state()?)?;
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
        let hyper = job.rule.hyper(lr, step);
        let mut inputs: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (*name, tensor)).collect();
        inputs.push((HYPER, &hyper));
        let outputs = self.session.run(&inputs)?;
        let (loss, factor, norm) = (outputs[0].data()[0], outputs[1].data()[0], outputs[1].data()[1]);
        if !loss.is_finite() || factor == 0.0 {
            return Err(self.not_finite(step, [loss, factor, norm], &inputs, hooks));
        }
        self.done = step;
        (hooks.hold)(true);
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        self.log.write(&json!({ "step": step, "loss": loss, "norm": norm, "lr": lr, "ms": ms, "wait_ms": wait_ms }))?;
        Ok(Progress { step, steps: job.steps, loss, norm, lr, ms, wait_ms })
    }

    fn is_validated(&self, step: u64) -> bool {
        let every = self.job.val_every;
        step > 0 && every > 0 && (step.is_multiple_of(every) || step == self.job.steps)
    }

    /// Measures the weights, and saves them if they are the best so far.
    fn validate(&mut self, hooks: &mut Hooks) -> Result<()> {
        let mut weights = self.job.step.weights(&self.job.graph, &self.session.state()?)?;
        let numbers = (hooks.validate)(&weights)?;
        if let Some(&(name, value)) = numbers.first()
            && self.best.is_none_or(|best| value > best)
        {
            self.best = Some(value);
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

    /// Saves a checkpoint of the session's state.
    fn save(&mut self, hooks: &mut Hooks) -> Result<()> {
        if self.saved < self.done {
            save_checkpoint(&self.session, &self.job.identity, self.done, self.best, &self.folder.last())?;
            self.saved = self.done;
            (hooks.hold)(false);
        }
        Ok(())
    }

    /// Saves what was done before `error`, and adds to the error how to continue.
    fn failed(&mut self, error: Error, hooks: &mut Hooks) -> Error {
        let saving = self.save(hooks);
        if matches!(error, Error::Interrupted | Error::Stopped { .. }) {
            return saving.err().unwrap_or(error);
        }
        let last = self.folder.last().display().to_string();
        let kept = match (saving, self.saved) {
            (Ok(()), 0) => return error,
            (Ok(()), step) => format!("step {step} is saved in {last}; continue with --resume"),
            (Err(e), 0) => format!("steps 1 to {} could not be saved ({e})", self.done),
            (Err(e), step) => {
                let lost = format!("steps {} to {} could not be saved ({e})", step + 1, self.done);
                format!("{lost}; step {step} is saved in {last}; continue with --resume")
            }
        };
        Error::Stopped { source: Box::new(error), kept }
    }

    /// Explains why `step` has no finite loss or gradient. If the factor is 0, the update was skipped, so that the state before it
    /// still exists.
    fn not_finite(
        &mut self,
        step: u64,
        [loss, factor, norm]: [f32; 3],
        inputs: &[(&str, &Tensor)],
        hooks: &mut Hooks,
    ) -> Error {
        let (what, value) = if loss.is_finite() { ("the norm of the gradients", norm) } else { ("the loss", loss) };
        let state = self.session.state();
        let (graph, loss) = (&self.job.graph, self.job.step.fetches[0]);
        let first = state.and_then(|state| first_not_finite(graph, loss, self.device, &state, inputs));
        let first = first.unwrap_or_else(|e| format!("({e})"));
        let error = Error::Usage(format!("step {step}: {what} is {value}; {first}"));
        let mut saving = Ok(());
        if factor == 0.0 {
            saving = self.save(hooks);
        }
        // What is lost now must not be saved later, because it may not be finite.
        let lost = self.done - self.saved;
        self.done = self.saved;
        let remedy = "with a lower --lr, with --clip, or with other data";
        let mut kept = match self.saved {
            0 => format!("no step is saved; start anew {remedy}"),
            _ => {
                let last = self.folder.last().display().to_string();
                format!("{last} holds the last good state; start a new run from it with --init, {remedy}")
            }
        };
        if let Err(e) = saving {
            kept = format!("{lost} steps before it could not be saved ({e}); {kept}");
        }
        Error::Stopped { source: Box::new(error), kept }
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
    session: &Session,
    identity: &Map<String, Value>,
    step: u64,
    best: Option<f64>,
    path: &Path,
) -> Result<()> {
    let mut state = session.state()?;
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

/// Returns the commit that this library was built from, with "-modified" if its sources differed, or the version if there was no
/// commit.
pub(crate) fn commit() -> String {
    match env!("LINEAMENT_COMMIT") {
        "" => format!("lineament {}", env!("CARGO_PKG_VERSION")),
        commit => commit.to_owned(),
    }
}

/// Returns the command line, as far as it is text.
pub(crate) fn command() -> String {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
