//! `lineament train`.

/// Sets those members of a configuration that flags are given for.
macro_rules! overlay {
    ($base:ident, $flags:ident: $($name:ident)*) => {
        $(if let Some(value) = &$flags.$name { $base.$name = value.clone(); })*
    };
}

mod attributes;
mod detect;
pub mod hallucinate;

use super::out::{self, note, say, shown};
use super::{Common, interrupt, progress};
use crate::error::{Error, Result};
use crate::train::{Folder, Progress};
use crate::vision::models::SuperResolution;
use crate::vision::tasks::upscale::Upscaler;
use crate::vision::training::upscale::{
    self as training, Config, GroupConfig, LossName, Observer, OptimizerName, ScheduleName,
};
use crate::weights::Weights;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Command {
    /// Train a super-resolution network on a folder of pictures.
    Upscale(Box<Arguments>),
    /// Train the face hallucination: alignment, priors and networks of every level, in the order of its paper.
    Hallucinate(Box<hallucinate::Arguments>),
    /// Train the network that labels faces with attributes, on CelebA or on faces of your own.
    Attributes(Box<attributes::Arguments>),
    /// Train the networks that find faces, all of them or one: of a band of face heights, and windows proposed or judged.
    Detect(Box<detect::Arguments>),
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament train upscale --data pictures/ --scale 3 --out runs/x3\n  lineament train upscale --out runs/x3 --resume --steps 60000\n  lineament train upscale --config runs/x3/config.toml --seed 2 --out runs/x3-seed2\n  lineament train upscale --data pictures/ --scale 2 --init runs/x3/weights.safetensors --group '*=0' --group 'deconv.*=1'\n\nOUT holds lineament-run.json (which marks it as the folder of a run), config.toml (every choice of the run), log.jsonl (a line per\nstep and per validation), last.safetensors (from which --resume continues, to the same bits), best.safetensors (from the best\nvalidation), weights.safetensors (after the last step) and curves.png. A folder with other files is rejected.\nFlags override the file. Ctrl-C saves a checkpoint and exits."
)]
pub struct Arguments {
    /// The run's folder: new or empty, or with --resume an existing run's. The default is runs/MODEL_xSCALE, with a number if that
    /// exists.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continue the run in OUT, with its choices.
    #[arg(long, requires = "out")]
    resume: bool,
    /// A file of choices, such as another run's config.toml.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Folder of training pictures.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Terms of use of the data, for the manifest.
    #[arg(long)]
    data_terms: Option<String>,
    /// 2, 3 or 4.
    #[arg(long)]
    scale: Option<usize>,
    /// fsrcnn, fsrcnn-s, srcnn, srcnn-9-3-5 or srcnn-9-5-5 [default: fsrcnn]
    #[arg(long)]
    model: Option<String>,
    /// Total steps, at most 10^9 [default: 30000]
    #[arg(long)]
    steps: Option<u64>,
    /// Patches per step [default: 16]
    #[arg(long)]
    batch: Option<usize>,
    /// Side of a patch in pixels of the small picture [default: 16]
    #[arg(long)]
    patch: Option<usize>,
    /// [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// [default: mse]
    #[arg(long, value_enum)]
    loss: Option<LossName>,
    /// Initial weights: he, he-prelu, xavier, gaussian:STD [default: as in the model's paper]
    #[arg(long)]
    initializer: Option<String>,
    /// Threads that decode and crop pictures: 1 to 256, or 0 for one per core [default: 0]
    #[arg(long)]
    threads: Option<usize>,
    /// Memory for decoded pictures; pictures that do not fit are decoded again for every patch [default: 1024]
    #[arg(long, value_name = "MIB")]
    cache_mib: Option<usize>,
    /// Steps between checkpoints [default: 500]
    #[arg(long)]
    checkpoint_every: Option<u64>,
    /// Folder of pictures to validate on; the manifest records the last result.
    #[arg(long, value_name = "DIR")]
    val: Option<PathBuf>,
    /// Steps between validations [default: only after the last step]
    #[arg(long)]
    val_every: Option<u64>,
    /// [default: adam]
    #[arg(long, value_enum)]
    optimizer: Option<OptimizerName>,
    /// Momentum of sgd [default: 0.9]
    #[arg(long)]
    momentum: Option<f32>,
    /// Weight decay of sgd (added to the gradient) and adamw (decoupled) [default: 0]
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Learning rate [default: 1e-3]
    #[arg(long)]
    lr: Option<f64>,
    /// How the learning rate falls [default: step]
    #[arg(long, value_enum)]
    schedule: Option<ScheduleName>,
    /// For step: factor on the learning rate after each step of --lr-steps [default: 0.5]
    #[arg(long)]
    lr_factor: Option<f64>,
    /// For step: steps after which --lr-factor applies.
    #[arg(long, value_delimiter = ',', value_name = "STEP,…")]
    lr_steps: Option<Vec<u64>>,
    /// For cosine: the learning rate of the last step [default: 0]
    #[arg(long)]
    lr_end: Option<f64>,
    /// Steps over which the learning rate rises from 0 [default: 0]
    #[arg(long)]
    warmup: Option<u64>,
    /// Scale gradients down to this norm if theirs is larger [default: never]
    #[arg(long)]
    clip: Option<f32>,
    /// Decay of a moving average of the weights, which is then validated and saved [default: none]
    #[arg(long)]
    ema: Option<f64>,
    /// Factors on the learning rate, and optionally the weight decay, of some parameters; 0 freezes them. Quote the *.
    #[arg(long, value_name = "PATTERN=LR[,DECAY]", value_parser = parse_group)]
    group: Vec<GroupConfig>,
    /// Start from these weights; tensors of a different shape are initialised anew.
    #[arg(long, value_name = "FILE.safetensors")]
    init: Option<PathBuf>,
    /// Parameters not to take from --init. Quote the *.
    #[arg(long, value_name = "PATTERN")]
    init_skip: Vec<String>,
    #[command(flatten)]
    common: Common,
}

fn parse_group(text: &str) -> std::result::Result<GroupConfig, String> {
    let wrong = || format!("expected PATTERN=LR or PATTERN=LR,DECAY, such as 'deconv.*=0.1', got {text:?}");
    let (parameters, factors) = text.rsplit_once('=').ok_or_else(wrong)?;
    let mut factors = factors.split(',').map(|f| f.trim().parse::<f32>().map_err(|_| wrong()));
    let lr = factors.next().ok_or_else(wrong)??;
    let weight_decay = factors.next().unwrap_or(Ok(1.0))?;
    if factors.next().is_some() || parameters.is_empty() {
        return Err(wrong());
    }
    Ok(GroupConfig { parameters: parameters.to_owned(), lr, weight_decay })
}

/// Returns `base` overridden by the flags.
fn overlaid(mut base: Config, a: &Arguments) -> Config {
    overlay!(base, a: data data_terms scale model steps batch patch seed checkpoint_every val val_every optimizer momentum);
    overlay!(base, a: loss initializer threads cache_mib weight_decay lr schedule lr_factor lr_steps lr_end warmup clip ema init);
    if !a.group.is_empty() {
        base.group = a.group.clone();
    }
    if !a.init_skip.is_empty() {
        base.init_skip = a.init_skip.clone();
    }
    base
}

pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Upscale(a) => upscale(a),
        Command::Hallucinate(a) => hallucinate::run(a),
        Command::Attributes(a) => attributes::run(a),
        Command::Detect(a) => detect::run(a),
    }
}

/// Returns the choices that flags override: those of `file`, else those of the run that is `resumed` if it has any, else the default.
fn base<T: Default>(file: Option<&PathBuf>, resumed: Option<&PathBuf>, open: impl Fn(&Path) -> Result<T>) -> Result<T> {
    let own = resumed.map(|out| out.join("config.toml")).filter(|own| own.is_file());
    file.or(own.as_ref()).map_or_else(|| Ok(T::default()), |file| open(file))
}

fn upscale(a: &Arguments) -> Result<u8> {
    let config = overlaid(base(a.config.as_ref(), a.out.as_ref().filter(|_| a.resume), Config::open)?, a);
    if config.data.as_os_str().is_empty() || config.scale == 0 {
        return Err(Error::Usage("a run needs --data and --scale, or a --config with data and scale".into()));
    }
    let model = SuperResolution::new(&config.model, config.scale)?;
    let folder = training::folder(&a.out.clone().unwrap_or_else(|| free_name(&config)), a.resume)?;
    let device = a.common.open()?;
    let has_validation = !config.val.as_os_str().is_empty();
    if has_validation {
        // Fails if the network to validate does not fit the device.
        Upscaler::new(device.clone(), model.clone(), Weights::default(), None)?;
    }
    note!("training {} x{} on {} in {}", config.model, config.scale, device.describe(), shown(folder.path()));
    let bar = progress::bar(config.steps, "steps");
    let mut mean = None;
    let (mut all_ms, mut wait_ms) = (0.0, 0.0);
    let mut step = |p: Progress| {
        // A running mean over about 100 steps; a single batch's loss says little.
        let now = mean.map_or(f64::from(p.loss), |mean: f64| 0.99 * mean + 0.01 * f64::from(p.loss));
        mean = Some(now);
        all_ms += p.ms;
        wait_ms += p.wait_ms;
        bar.set_position(p.step);
        bar.set_message(format!("loss {now:.6}, {:.2} dB, norm {:.1e}, lr {:.1e}", -10.0 * now.log10(), p.norm, p.lr));
        !interrupt::is_requested()
    };
    let measure = |weights: &Weights| {
        let upscaler = Upscaler::new(device.clone(), model.clone(), weights.clone(), None)?;
        // The progress bar for the pictures replaces the one for the steps.
        bar.suspend(|| super::eval::scores(&upscaler, &config.val))
    };
    let mut measured = None;
    let mut validate = |weights: &Weights| {
        let scores = measure(weights)?;
        measured = Some(scores);
        bar.suspend(|| note!("validation: {:.3} dB PSNR, {:.4} SSIM", scores.psnr_y, scores.ssim_y));
        Ok(vec![("psnr", scores.psnr_y), ("ssim", scores.ssim_y)])
    };
    let mut tell = |text: &str| bar.suspend(|| note!("{text}"));
    let mut hold = Unsaved::default();
    let trained = training::train(
        &config,
        &device,
        &folder,
        a.resume,
        &mut Observer { tell: &mut tell, validate: &mut validate, step: &mut step, hold: &mut |is| hold.set(is) },
    );
    bar.finish_and_clear();
    let mut weights = trained.inspect_err(|e| explain(e, &folder, folder.last().exists()))?;
    let waited = (all_ms > 0.0).then(|| wait_ms / all_ms);
    if let Some(waited) = waited.filter(|&waited| all_ms > 1e3 && waited > 0.1) {
        let remedy = "more --threads or --cache-mib may help";
        note!("the adapter waited for pictures {:.0} % of {:.0} s; {remedy}", 100.0 * waited, all_ms / 1e3);
    }

    let mut finish = || -> Result<()> {
        // A finished run that is resumed takes no steps.
        if has_validation && measured.is_none() {
            measured = Some(measure(&weights)?);
        }
        if let Some(m) = &measured {
            let (val, scale) = (config.val.display(), config.scale);
            let text = format!("{:.3} dB PSNR, {:.4} SSIM on {val} (luminance, border {scale})", m.psnr_y, m.ssim_y);
            weights.set_manifest("measured", text);
        }
        weights.save(folder.weights())
    };
    finish().map_err(|error| match error {
        Error::Interrupted => error,
        error => {
            let kept = format!("the last step is saved in {}; continue with --resume", folder.last().display());
            Error::Stopped { source: Box::new(error), kept }
        }
    })?;
    say!("wrote {} (log: {})", shown(folder.weights()), shown(folder.log()));
    if let Some(m) = &measured {
        say!(
            "{:.3} dB PSNR, {:.4} SSIM on {} pictures (bicubic {:.3} dB)",
            m.psnr_y,
            m.ssim_y,
            m.images,
            m.bicubic_psnr_y
        );
    }
    if a.common.json {
        let object = json!({
            "out": out::path(folder.path()), "weights": out::path(folder.weights()), "log": out::path(folder.log()),
            "steps": config.steps, "loss": mean, "psnr_y": measured.as_ref().map(|m| m.psnr_y),
            "ssim_y": measured.as_ref().map(|m| m.ssim_y), "waited": waited,
        });
        out::json(&object);
    }
    Ok(0)
}

/// Work that must be finished even after a signal: steps without a checkpoint yet.
#[derive(Default)]
struct Unsaved(Option<interrupt::Finishing>);

impl Unsaved {
    fn set(&mut self, is_unsaved: bool) {
        if is_unsaved != self.0.is_some() {
            self.0 = is_unsaved.then(|| interrupt::Finishing::new("a step and its checkpoint"));
        }
    }
}

/// Tells the user how to continue a run that they stopped.
fn explain(error: &Error, folder: &Folder, has_begun: bool) {
    if matches!(error, Error::Interrupted) && has_begun {
        note!("the run is saved in {}; continue with --resume", shown(folder.path()));
    }
}

/// Returns runs/MODEL_xSCALE, or the first of runs/MODEL_xSCALE-2, … that does not exist.
fn free_name(config: &Config) -> PathBuf {
    let name = format!("{}_x{}", config.model, config.scale);
    let numbered = |k: usize| Path::new("runs").join(if k == 1 { name.clone() } else { format!("{name}-{k}") });
    (1..).map(numbered).find(|path| !path.exists()).unwrap_or_default()
}

/// Trains under a bar of the steps, then saves the weights and says what their manifest does. `train` is given the bar, what to call after
/// each step, and what to call when there are steps to lose.
fn under_a_bar(
    folder: &Folder,
    steps: u64,
    is_json: bool,
    train: impl FnOnce(&ProgressBar, &mut dyn FnMut(Progress) -> bool, &mut dyn FnMut(bool)) -> Result<Weights>,
) -> Result<u8> {
    let bar = progress::bar(steps, "steps");
    let mut mean = None;
    let mut step = |p: Progress| {
        let now = mean.map_or(f64::from(p.loss), |mean: f64| 0.98 * mean + 0.02 * f64::from(p.loss));
        mean = Some(now);
        bar.set_position(p.step);
        bar.set_message(format!("loss {now:.4}, {:.0} ms", p.ms));
        !interrupt::is_requested()
    };
    let mut hold = Unsaved::default();
    let trained = train(&bar, &mut step, &mut |is| hold.set(is));
    bar.finish_and_clear();
    let weights = trained.inspect_err(|e| explain(e, folder, folder.last().exists()))?;
    weights.save(folder.weights())?;
    let measured = weights.manifest().get("measured").map_or("", String::as_str);
    say!("wrote {} (log: {})\n{measured}", shown(folder.weights()), shown(folder.log()));
    if is_json {
        let object = json!({
            "out": out::path(folder.path()), "weights": out::path(folder.weights()), "log": out::path(folder.log()),
            "steps": steps, "loss": mean, "measured": measured,
        });
        out::json(&object);
    }
    Ok(0)
}
