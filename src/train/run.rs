//! A run: its folder, its steps, its checkpoints. What is trained on what is the caller's.
//!
//! | file in the folder | what |
//! |---|---|
//! | `config.toml` | every choice of the run |
//! | `log.jsonl` | a line a step: `step`, `loss` in full precision, `norm` of all gradients, `lr`, `ms`, `wait_ms`, what a validation gave |
//! | `last.safetensors` | parameters, moments and average after some step: what a resumed run continues, to the same bits |
//! | `best.safetensors` | the weights of the best validation |
//! | `weights.safetensors` | the weights after the last step |
//! | `curves.png` | loss and validation over the steps |
//!
//! Every file but the log is written beside its place and renamed; a log that is cut off in the middle of a line is mended
//! when the run is resumed.

use super::curves::{Curve, draw};
use super::optimizer::{HYPER, Rule, Schedule, Step};
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::graph::{Graph, Kind, NodeId};
use crate::tensor::Tensor;
use crate::weights::Weights;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The folder of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates the folder if need be.
    ///
    /// # Errors
    /// It is a file; it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Err(Error::Usage(format!("{}: is a file; --out names the folder of a run", path.display())));
        }
        std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        Ok(Self(path.to_owned()))
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }
    pub fn last(&self) -> PathBuf {
        self.0.join("last.safetensors")
    }
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }
    pub fn weights(&self) -> PathBuf {
        self.0.join("weights.safetensors")
    }
    pub fn curves(&self) -> PathBuf {
        self.0.join("curves.png")
    }
}

/// What is trained, and how long.
#[derive(Debug)]
pub struct Job {
    pub graph: Graph,
    pub step: Step,
    pub rule: Rule,
    pub schedule: Schedule,
    /// Where a run begins that is not resumed.
    pub initial: Weights,
    /// What must agree between a checkpoint and the run that continues it, by name; `data` is a checksum of the files.
    pub identity: Map<String, Value>,
    /// Entries of the manifest of the weights that are saved on the way.
    pub manifest: Vec<(String, String)>,
    /// Steps in all.
    pub steps: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between validations; 0: none.
    pub val_every: u64,
}

/// Where a run stands, given to the observer after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    pub steps: u64,
    /// Of the step's batch, before its update.
    pub loss: f32,
    /// Euclidean norm of all gradients together, before any clipping.
    pub norm: f32,
    pub lr: f64,
    /// Wall time of the step, without validation and checkpoint.
    pub ms: f64,
    /// The part of it in which the adapter waited for the batch.
    pub wait_ms: f64,
}

/// Named numbers of a validation; the first one decides which weights are the best, higher is better.
pub type Validation = Vec<(&'static str, f64)>;

/// What the caller gives to a run.
pub struct Hooks<'a> {
    /// The inputs of step k (from 1), which must be the same whenever it is asked for k.
    pub batch: &'a mut dyn FnMut(u64) -> Result<Vec<(&'static str, Tensor)>>,
    /// Measures weights.
    pub validate: &'a mut dyn FnMut(&Weights) -> Result<Validation>,
    /// Called after every step; false stops the run after a checkpoint, with [`Error::Interrupted`].
    pub observe: &'a mut dyn FnMut(Progress) -> bool,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// Trains and returns the final weights; their manifest has only `time`.
///
/// With `resume`, continues the folder's checkpoint, so that the remaining losses are the same bits as without the
/// interruption; where there is none yet, begins anew.
///
/// # Errors
/// A checkpoint of another run; a loss or a gradient that is no number, with the first layer whose value is none; the
/// disk, the device, the hooks. The last checkpoint stays whole.
pub fn run(job: &Job, device: &Device, folder: &Folder, resume: bool, hooks: &mut Hooks) -> Result<Weights> {
    let mut best: Option<f64> = None;
    let mut first = 1;
    let mut weights = job.initial.clone();
    if resume && folder.last().exists() {
        let (state, step, reached) = open_checkpoint(&folder.last(), &job.identity)?;
        (weights, first, best) = (state, step + 1, reached);
    }
    let session = device.compile(&job.graph, &job.step.fetches, weights)?;
    let mut log = Log::open(&folder.log(), first)?;
    for step in first..=job.steps {
        let begin = Instant::now();
        let batch = match (hooks.batch)(step) {
            Ok(batch) => batch,
            Err(error) => {
                if step > first {
                    save_checkpoint(&session, &job.identity, step - 1, best, &folder.last())?;
                }
                return Err(error);
            }
        };
        let wait_ms = begin.elapsed().as_secs_f64() * 1e3;
        let lr = job.schedule.at(step);
        let hyper = job.rule.hyper(lr, step);
        let mut inputs: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (*name, tensor)).collect();
        inputs.push((HYPER, &hyper));
        let outputs = session.run(&inputs)?;
        let (loss, factor, norm) = (outputs[0].data()[0], outputs[1].data()[0], outputs[1].data()[1]);
        if !loss.is_finite() || factor == 0.0 {
            let what = if loss.is_finite() { "the norm of the gradients" } else { "the loss" };
            let value = if loss.is_finite() { norm } else { loss };
            let state = session.state()?;
            let first = first_not_finite(job, device, &state, &inputs).unwrap_or_else(|e| format!("({e})"));
            let keep = if folder.last().exists() {
                format!("{} holds the last good state; resume it", folder.last().display())
            } else {
                "no checkpoint was due yet; start anew".to_owned()
            };
            return Err(Error::Usage(format!(
                "step {step}: {what} is {value}; {first}; {keep} with a lower --lr, with --clip, or with other data"
            )));
        }
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        let mut line = json!({ "step": step, "loss": loss, "norm": norm, "lr": lr, "ms": ms, "wait_ms": wait_ms });
        if job.val_every > 0 && (step % job.val_every == 0 || step == job.steps) {
            let mut weights = job.step.weights(&job.graph, &session.state()?)?;
            let numbers = (hooks.validate)(&weights)?;
            for (name, value) in &numbers {
                line[format!("val_{name}")] = json!(value);
            }
            if let Some(&(name, value)) = numbers.first()
                && best.is_none_or(|best| value > best)
            {
                best = Some(value);
                for (key, value) in &job.manifest {
                    weights.set_manifest(key, value);
                }
                weights.set_manifest("steps", step.to_string());
                weights.set_manifest("measured", format!("{name} {value:.4} in validation"));
                weights.save(folder.best())?;
            }
        }
        log.write(&line)?;
        let go_on = (hooks.observe)(Progress { step, steps: job.steps, loss, norm, lr, ms, wait_ms });
        if step % job.checkpoint_every.max(1) == 0 || step == job.steps || !go_on {
            save_checkpoint(&session, &job.identity, step, best, &folder.last())?;
            log.draw(&folder.curves())?;
        }
        if !go_on && step < job.steps {
            return Err(Error::Interrupted);
        }
    }
    let mut weights = job.step.weights(&job.graph, &session.state()?)?;
    weights.set_manifest("time", format!("{:.0} s for all steps", log.ms / 1e3));
    Ok(weights)
}

/// Refuses what was made with other choices than `wanted`, and says which. One that `saved` lacks was no choice yet when it was
/// made.
pub(super) fn same_choices(saved: &Value, wanted: &Map<String, Value>) -> std::result::Result<(), String> {
    let other = wanted.iter().find_map(|(key, value)| Some((key, saved.get(key).filter(|was| *was != value)?, value)));
    match other {
        Some((key, ..)) if key == "data" => {
            let remedy = "put it back or start anew";
            Err(format!("was made with other data: a file was added, changed or removed since; {remedy}"))
        }
        Some((key, was, value)) => {
            Err(format!("was made with {key} {was}, this run asks for {value}; give the same options or start anew"))
        }
        None => Ok(()),
    }
}

/// Reads the choices of a run as [`save_choices`] writes them.
pub(super) fn open_choices<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    toml::from_str(&text).map_err(|e| Error::Usage(format!("{}: {}", path.display(), e.to_string().trim())))
}

/// Writes the choices of a run as TOML.
pub(super) fn save_choices(choices: &impl Serialize, path: &Path) -> Result<()> {
    let text = toml::to_string(choices).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
    crate::files::write_whole(path, crate::files::Existing::Replace, |out| {
        out.write_all(text.as_bytes()).map_err(|e| Error::io(path, e))
    })
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

/// Parameters and states, the step that they are of, and the best validation until then.
fn open_checkpoint(path: &Path, wanted: &Map<String, Value>) -> Result<(Weights, u64, Option<f64>)> {
    let weights = Weights::open(path)?;
    let fail = |problem: String| Error::weights(path.display().to_string(), problem);
    let entry = |key: &str| {
        weights
            .manifest()
            .get(key)
            .cloned()
            .ok_or_else(|| fail(format!("is no checkpoint: its manifest lacks {key:?}")))
    };
    let step = entry("step")?.parse().map_err(|_| fail("is no checkpoint: its step is no number".into()))?;
    let saved: Value =
        serde_json::from_str(&entry("config")?).map_err(|e| fail(format!("its config is broken: {e}")))?;
    same_choices(&saved, wanted).map_err(fail)?;
    let best = weights.manifest().get("best").and_then(|best| best.parse().ok());
    Ok((weights, step, best))
}

/// The log and what its picture needs.
struct Log {
    path: PathBuf,
    file: File,
    loss: Curve,
    /// Of all steps.
    ms: f64,
    validations: Vec<(u64, f64)>,
    /// The name of what is drawn of a validation.
    criterion: String,
}

impl Log {
    /// The log, cut back to the lines before step `first`.
    fn open(path: &Path, first: u64) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut log = Self {
            path: path.to_owned(),
            file: File::options().create(true).append(true).open(path).map_err(io)?,
            loss: Curve::default(),
            ms: 0.0,
            validations: Vec::new(),
            criterion: String::new(),
        };
        let mut kept = Vec::new();
        for line in BufReader::new(File::open(path).map_err(io)?).split(b'\n') {
            let line = line.map_err(io)?;
            let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
            if value["step"].as_u64().is_some_and(|step| step < first) {
                log.note(&value);
                kept.extend(line);
                kept.push(b'\n');
            }
        }
        crate::files::write_whole(path, crate::files::Existing::Replace, |out| out.write_all(&kept).map_err(io))?;
        log.file = File::options().append(true).open(path).map_err(io)?;
        Ok(log)
    }

    fn note(&mut self, line: &Value) {
        let Some(step) = line["step"].as_u64() else { return };
        self.ms += line["ms"].as_f64().unwrap_or_default();
        if let Some(loss) = line["loss"].as_f64() {
            self.loss.push(step, loss);
        }
        let validation = line.as_object().into_iter().flatten().find(|(key, _)| key.starts_with("val_"));
        if let Some((key, value)) = validation
            && let Some(value) = value.as_f64()
        {
            self.criterion = key.trim_start_matches("val_").to_owned();
            self.validations.push((step, value));
        }
    }

    fn write(&mut self, line: &Value) -> Result<()> {
        self.note(line);
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::io(&self.path, e))
    }

    fn draw(&self, path: &Path) -> Result<()> {
        let validations = self.validations.iter().map(|&(step, value)| (step as f64, value)).collect();
        draw(self.loss.points(), (&self.criterion, validations))?.save(path)
    }
}

/// Which value is the first that is not finite, in the order of the computation: a parameter, an input, a layer, a gradient.
fn first_not_finite(job: &Job, device: &Device, state: &Weights, inputs: &[(&str, &Tensor)]) -> Result<String> {
    let is_bad = |tensor: &Tensor| tensor.data().iter().any(|v| !v.is_finite());
    if let Some((name, _)) = state.tensors().iter().find(|(_, tensor)| is_bad(tensor)) {
        return Ok(format!("the parameter {name} is not finite"));
    }
    if let Some((name, _)) = inputs.iter().find(|(_, tensor)| is_bad(tensor)) {
        return Ok(format!("the input {name} is not finite"));
    }
    let all = |wanted: fn(&Kind) -> bool| -> Result<Option<String>> {
        let nodes = job.graph.nodes();
        let of_loss =
            |index: &usize| *index <= job.step.fetches[0].index || matches!(nodes[*index].kind, Kind::Grad { .. });
        let fetches: Vec<NodeId> = (0..nodes.len())
            .filter(|index| wanted(&nodes[*index].kind) && of_loss(index))
            .filter_map(|index| job.graph.find(&nodes[index].name))
            .collect();
        let session = device.compile(&job.graph, &fetches, state.clone())?;
        let known: Vec<(&str, &Tensor)> = inputs
            .iter()
            .filter(|(name, _)| session.plan().inputs.iter().any(|(input, _)| input == name))
            .copied()
            .collect();
        let values = session.run(&known)?;
        let found = fetches.iter().zip(&values).find(|(_, tensor)| is_bad(tensor));
        Ok(found.map(|(id, _)| nodes[id.index].name.clone()))
    };
    if let Some(name) = all(|kind| matches!(kind, Kind::Op(_)))? {
        return Ok(format!("the first layer whose value is not finite is {name}"));
    }
    Ok(match all(|kind| matches!(kind, Kind::Grad { .. }))? {
        Some(name) => format!("the first gradient that is not finite is {name}"),
        None => "every layer's value and gradient is finite, their squares are too large for a sum".to_owned(),
    })
}

/// The commit that this library was built from, "-modified" where its sources differed; its version where there was none.
pub(super) fn commit() -> String {
    match env!("LINEAMENT_COMMIT") {
        "" => format!("lineament {}", env!("CARGO_PKG_VERSION")),
        commit => commit.to_owned(),
    }
}

/// The command line, as far as it is text.
pub(super) fn command() -> String {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
