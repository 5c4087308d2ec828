//! `lineament train`.

use super::{Common, is_interrupted, progress};
use crate::error::{Error, Result};
use crate::tasks::upscale::Upscaler;
use crate::train::upscale::{Config, Progress, beside};
use crate::train::{Optimizer, Schedule};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Command {
    /// Train a super-resolution network on a folder of pictures.
    Upscale(Arguments),
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Adam,
    Sgd,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament train upscale --data pictures/ --scale 3 --out fsrcnn_x3.safetensors\n  lineament train upscale --data pictures/ --scale 3 --out fsrcnn_x3.safetensors --resume\n\nBeside OUT stand OUT's .log.jsonl (a line a step) and .checkpoint (what --resume continues, to the same bits).\nCtrl-C saves a checkpoint and leaves."
)]
pub struct Arguments {
    /// Folder of training pictures.
    #[arg(long)]
    data: PathBuf,
    /// 2, 3 or 4.
    #[arg(long)]
    scale: usize,
    /// The weights file to write.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value = "fsrcnn")]
    model: String,
    /// Continue the checkpoint beside OUT.
    #[arg(long)]
    resume: bool,
    /// Steps in all.
    #[arg(long, default_value_t = 30_000)]
    steps: u64,
    /// Patches a step.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Side of a patch in pixels of the small picture.
    #[arg(long, default_value_t = 16)]
    patch: usize,
    #[arg(long, value_enum, default_value = "adam")]
    optimizer: OptimizerName,
    /// Learning rate.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Multiply the learning rate by this ...
    #[arg(long, default_value_t = 0.5)]
    lr_factor: f64,
    /// ... after each of these steps.
    #[arg(long, value_delimiter = ',', value_name = "STEP,…")]
    lr_steps: Vec<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 500)]
    checkpoint_every: u64,
    /// Folder of pictures to measure the result on; the manifest keeps the number.
    #[arg(long)]
    val: Option<PathBuf>,
    /// What the manifest says of the data's terms.
    #[arg(long, default_value = "not stated")]
    data_terms: String,
    #[command(flatten)]
    common: Common,
}

pub fn run(Command::Upscale(a): &Command) -> Result<ExitCode> {
    if a.batch == 0 || a.patch == 0 || a.steps == 0 {
        return Err(Error::Usage("--batch, --patch and --steps must be at least 1".into()));
    }
    let folder = a.out.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        return Err(Error::Usage(format!("{}: the folder of --out does not exist; create it first", folder.display())));
    }
    let optimizer = match a.optimizer {
        OptimizerName::Adam => Optimizer::adam(),
        OptimizerName::Sgd => Optimizer::sgd(0.9),
    };
    let config = Config {
        model: a.model.clone(),
        scale: a.scale,
        data: a.data.clone(),
        steps: a.steps,
        batch: a.batch,
        patch: a.patch,
        optimizer,
        schedule: Schedule { lr: a.lr, factor: a.lr_factor, steps: a.lr_steps.clone() },
        seed: a.seed,
        checkpoint_every: a.checkpoint_every,
    };
    let device = a.common.open()?;
    eprintln!("training {} x{} on {}", a.model, a.scale, device.describe());
    let bar = progress::bar(a.steps, "steps");
    let mut loss = None;
    let mut observe = |p: Progress| {
        // A running mean over some 100 steps; a single batch's loss says little.
        let mean = loss.map_or(f64::from(p.loss), |mean: f64| 0.99 * mean + 0.01 * f64::from(p.loss));
        loss = Some(mean);
        bar.set_position(p.step);
        bar.set_message(format!("loss {mean:.6}, psnr {:.2} dB, lr {:.1e}", -10.0 * mean.log10(), p.lr));
        !is_interrupted()
    };
    let mut weights = crate::train::upscale::run(&config, &device, &a.out, a.resume, &mut observe)?;
    bar.finish();

    weights.set_manifest("model", &a.model);
    weights.set_manifest("scale", a.scale.to_string());
    weights.set_manifest("command", std::env::args().collect::<Vec<_>>().join(" "));
    weights.set_manifest("data", a.data.display().to_string());
    weights.set_manifest("data_terms", &a.data_terms);
    weights.set_manifest("seed", a.seed.to_string());
    weights.set_manifest("steps", a.steps.to_string());
    weights.set_manifest("commit", commit());
    weights.set_manifest("device", device.describe());
    weights.set_manifest("licence", "MIT OR Apache-2.0");
    let mut measured = None;
    if let Some(folder) = &a.val {
        let model = crate::models::SuperResolution::new(&a.model, a.scale)?;
        let upscaler = Upscaler::new(device, model, weights.clone(), None)?;
        let result = super::eval::measure(&upscaler, folder)?;
        weights.set_manifest(
            "measured",
            format!(
                "{:.3} dB PSNR, {:.4} SSIM on {} (luminance, border {})",
                result.psnr_y,
                result.ssim_y,
                folder.display(),
                a.scale
            ),
        );
        measured = Some(result);
    }
    weights.save(&a.out)?;
    let log = beside(&a.out, ".log.jsonl");
    println!("wrote {} (log: {})", a.out.display(), log.display());
    if let Some(m) = &measured {
        println!(
            "{:.3} dB PSNR, {:.4} SSIM on {} pictures (bicubic {:.3} dB)",
            m.psnr_y, m.ssim_y, m.images, m.bicubic_psnr_y
        );
    }
    if a.common.json {
        let object = json!({
            "out": a.out, "log": log, "steps": a.steps, "loss": loss,
            "psnr_y": measured.as_ref().map(|m| m.psnr_y), "ssim_y": measured.as_ref().map(|m| m.ssim_y),
        });
        println!("{object}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The commit of the working tree, where git tells; the version otherwise.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match git(&["rev-parse", "HEAD"]) {
        Some(hash) if git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| s.is_empty()) => hash,
        Some(hash) => format!("{hash} with local changes"),
        None => format!("lineament {}", env!("CARGO_PKG_VERSION")),
    }
}
