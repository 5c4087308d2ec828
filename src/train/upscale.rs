//! Trains a super-resolution network: seeded patches, squared error, checkpoints that resume to the same bits.

use super::optimizer::{HYPER, Optimizer, Schedule};
use super::patches::Patches;
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::graph::{Graph, NodeId};
use crate::models::{Reads, SuperResolution};
use crate::ops::mse::Reduction;
use crate::weights::Weights;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Every choice of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// A name of [`crate::models::SUPER_RESOLUTION`].
    pub model: String,
    pub scale: usize,
    /// Folder of training pictures.
    pub data: PathBuf,
    /// Steps in all.
    pub steps: u64,
    /// Patches a step.
    pub batch: usize,
    /// Side of a patch in pixels of the small picture.
    pub patch: usize,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
}

impl Config {
    /// What must agree between a checkpoint and the run that continues it: all but the number of steps and how often
    /// it is saved.
    fn identity(&self) -> Value {
        json!({
            "model": self.model,
            "scale": self.scale,
            "batch": self.batch,
            "patch": self.patch,
            "optimizer": format!("{:?}", self.optimizer),
            "lr": self.schedule.lr,
            "lr_factor": self.schedule.factor,
            "lr_steps": self.schedule.steps,
            "seed": self.seed,
        })
    }
}

/// Where a run stands, given to the observer after every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    pub steps: u64,
    /// Mean squared error of the step's batch, luminance in 0..1.
    pub loss: f32,
    pub lr: f64,
    /// Wall time of the step.
    pub ms: f64,
}

impl Progress {
    /// 10·log₁₀(1 / loss), of the batch.
    pub fn psnr(&self) -> f64 {
        -10.0 * f64::from(self.loss).log10()
    }
}

/// Paths beside the weights file: `NAME.checkpoint`, `NAME.log.jsonl`.
pub fn beside(out: &Path, extension: &str) -> PathBuf {
    let mut name = out.file_stem().unwrap_or_default().to_os_string();
    name.push(extension);
    out.with_file_name(name)
}

/// The network, its loss and the updates of every parameter, as one plan: inputs `x`, `t` and [`HYPER`], output the loss.
fn step_graph(config: &Config, model: &SuperResolution) -> Result<(Graph, Vec<NodeId>)> {
    let mut g = Graph::new();
    let (side, ratio) = match model.reads {
        Reads::Small => (config.patch, config.scale),
        Reads::Enlarged => (config.patch * config.scale, 1),
    };
    let x = g.input("x", [config.batch, 1, side, side])?;
    let t = g.input("t", [config.batch, 1, side * ratio, side * ratio])?;
    let y = model.build(&mut g, x)?;
    let loss = g.mse(y, t, Reduction::Mean)?;
    let parameters = g.parameters();
    let gradients = crate::grad::backward(&mut g, loss, &parameters)?;
    let pairs: Vec<_> = parameters.into_iter().zip(gradients).collect();
    let mut fetches = vec![loss];
    fetches.extend(config.optimizer.updates(&mut g, &pairs)?);
    Ok((g, fetches))
}

/// Trains and returns the final weights, without a manifest. `observe` is called after every step and returns false to
/// stop: the run then saves a checkpoint and returns [`Error::Interrupted`].
///
/// Writes `NAME.log.jsonl` (a line a step: step, loss in full precision, psnr, lr, ms) and `NAME.checkpoint` beside `out`. With
/// `resume`, continues the checkpoint: the remaining losses are the same bits as without the interruption.
///
/// # Errors
/// Bad data, a checkpoint of another run, a loss that is no number (the last checkpoint stays), the device.
pub fn run(
    config: &Config,
    device: &Device,
    out: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Progress) -> bool,
) -> Result<Weights> {
    let model = SuperResolution::new(&config.model, config.scale)?;
    let (graph, fetches) = step_graph(config, &model)?;
    let checkpoint = beside(out, ".checkpoint");
    let log_path = beside(out, ".log.jsonl");
    let mut first = 1;
    let weights = if resume {
        let (weights, step) = open_checkpoint(&checkpoint, config)?;
        first = step + 1;
        weights
    } else {
        graph.initialize(config.seed)
    };
    let patches = Patches::load(&config.data, config.scale, model.reads, config.patch)?;
    let session = device.compile(&graph, &fetches, weights)?;
    let mut log = open_log(&log_path, first)?;
    for step in first..=config.steps {
        let begin = Instant::now();
        let (x, t) = patches.batch(config.batch, config.seed, step)?;
        let lr = config.schedule.at(step);
        let hyper = config.optimizer.hyper(lr, step);
        let loss = session.run(&[("x", &x), ("t", &t), (HYPER, &hyper)])?[0].data()[0];
        if !loss.is_finite() {
            return Err(Error::Usage(format!(
                "step {step}: the loss is {loss}; {} holds the last good state, continue it with a lower --lr",
                checkpoint.display()
            )));
        }
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        let progress = Progress { step, steps: config.steps, loss, lr, ms };
        let line = json!({ "step": step, "loss": loss, "psnr": progress.psnr(), "lr": lr, "ms": ms });
        log.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::io(&log_path, e))?;
        let go_on = observe(progress);
        if step % config.checkpoint_every.max(1) == 0 || step == config.steps || !go_on {
            save_checkpoint(&session, config, step, &checkpoint)?;
        }
        if !go_on && step < config.steps {
            return Err(Error::Interrupted);
        }
    }
    session.weights()
}

fn save_checkpoint(session: &Session, config: &Config, step: u64, path: &Path) -> Result<()> {
    let mut state = session.state()?;
    state.set_manifest("step", step.to_string());
    state.set_manifest("config", config.identity().to_string());
    state.save(path)
}

fn open_checkpoint(path: &Path, config: &Config) -> Result<(Weights, u64)> {
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
    let wanted = config.identity();
    for (key, value) in wanted.as_object().into_iter().flatten() {
        if saved.get(key) != Some(value) {
            let was = saved.get(key).unwrap_or(&Value::Null);
            return Err(fail(format!(
                "was made with {key} {was}, this run asks for {value}; give the same options or start anew"
            )));
        }
    }
    Ok((weights, step))
}

/// The log, cut back to the lines before step `first`.
fn open_log(path: &Path, first: u64) -> Result<File> {
    let mut kept = String::new();
    if first > 1 && path.exists() {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| Error::io(path, e))?;
            let step = serde_json::from_str::<Value>(&line).ok().and_then(|v| v["step"].as_u64());
            if step.is_some_and(|s| s < first) {
                kept += &line;
                kept.push('\n');
            }
        }
    }
    let mut file = File::create(path).map_err(|e| Error::io(path, e))?;
    file.write_all(kept.as_bytes()).map_err(|e| Error::io(path, e))?;
    Ok(file)
}
