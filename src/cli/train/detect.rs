//! `lineament train detect`.

use super::super::out::{note, shown};
use super::super::{Common, interrupt, progress};
use super::{base, under_a_bar};
use crate::error::Result;
use crate::vision::training::detect::photos::Photos;
use crate::vision::training::detect::run::{Config, Observer, Stage, folder, train};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageName {
    /// The network that proposes windows on the whole picture.
    Propose,
    /// The network that judges windows and moves their sides.
    Judge,
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament train detect --data ../shared/data/faces --band 1 --out runs/band1
  lineament train detect --data ../shared/data/faces --band 1 --init runs/band1/weights.safetensors \\
    --mistakes-of runs/band1/weights.safetensors --out runs/band1b
  lineament train detect --data ../shared/data/faces --band 1 --stage judge --init runs/band1b/weights.safetensors \\
    --mistakes-of runs/band1b/weights.safetensors --out runs/band1c
  lineament train detect --out runs/band1 --resume

Each of four bands of face heights, from 10, 30, 120 and 240 pixels on, has two networks (Yang et al., \"WIDER FACE\", CVPR 2016). DATA \
holds lfw_whole (with lfw_fddb_same_photo.csv beside it: what FDDB shows too is left out), celeba8k, helen68_trainset_128 with its \
landmarks, or some of them, and negatives, pictures without faces.

OUT holds lineament-run.json (which marks it as the folder of a run), config.toml (every choice of the run), log.jsonl (a line per step \
and per validation), last.safetensors (from which --resume continues, to the same bits), best.safetensors (from the best validation), \
weights.safetensors (after the last step) and curves.png. Ctrl-C saves a checkpoint and exits.")]
pub struct Arguments {
    /// The run's folder: new or empty, or with --resume an existing run's.
    #[arg(long)]
    out: PathBuf,
    /// Continue the run in OUT, with its choices.
    #[arg(long)]
    resume: bool,
    /// A file of choices, such as another run's config.toml.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Folder of photographs of faces and of pictures without.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Terms of use of the data, for the manifest.
    #[arg(long)]
    data_terms: Option<String>,
    /// Band of face heights, 1 to 4 [default: 1]
    #[arg(long)]
    band: Option<usize>,
    /// Which of the band's networks [default: propose]
    #[arg(long)]
    stage: Option<StageName>,
    /// Weights to begin with; layers that they lack begin as new ones.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Weights of the band's network that proposes, whose mistakes are shown again.
    #[arg(long, value_name = "FILE")]
    mistakes_of: Option<PathBuf>,
    /// Windows in which mistakes are looked for [default: 50000]
    #[arg(long)]
    windows: Option<usize>,
    /// [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Total steps [default: 4000]
    #[arg(long)]
    steps: Option<u64>,
    /// Patches per step [default: 128]
    #[arg(long)]
    batch: Option<usize>,
    /// Highest learning rate [default: 2e-3]
    #[arg(long)]
    lr: Option<f64>,
    /// Steps between checkpoints, after each of which held-out patches are judged [default: 500]
    #[arg(long)]
    checkpoint_every: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Returns `base` overridden by the flags.
fn overlaid(mut base: Config, a: &Arguments) -> Config {
    overlay!(base, a: data data_terms band windows seed steps batch lr checkpoint_every);
    if let Some(stage) = a.stage {
        base.stage = match stage {
            StageName::Propose => Stage::Propose,
            StageName::Judge => Stage::Judge,
        };
    }
    base.init = a.init.clone().or(base.init);
    base.mistakes_of = a.mistakes_of.clone().or(base.mistakes_of);
    base
}

pub fn run(a: &Arguments) -> Result<u8> {
    let config = overlaid(base(a.config.as_ref(), a.resume.then_some(&a.out), Config::open)?, a);
    config.check()?;
    let folder = folder(&a.out, a.resume)?;
    let device = a.common.open()?;
    let photos = {
        let bar = progress::bar(0, "photographs");
        let photos = Photos::open(&config.data, &mut |read| {
            bar.set_position(read as u64);
            !interrupt::is_requested()
        });
        bar.finish_and_clear();
        photos?
    };
    note!("training on {} in {}", device.describe(), shown(folder.path()));
    under_a_bar(&folder, config.steps, a.common.json, |bar, step, hold| {
        let mut search = |seen: usize, all: usize| {
            bar.set_message(format!("mistakes in {seen} of {all} windows"));
            !interrupt::is_requested()
        };
        train(&config, &device, photos, &folder, &mut Observer { step, hold, search: &mut search })
    })
}
