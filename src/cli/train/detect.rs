//! `lineament train detect`.

use super::super::out::{self, note, say, shown};
use super::super::{Common, interrupt, progress};
use super::{base, under_a_bar};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::train::Folder;
use crate::vision::training::detect::photos::Photos;
use crate::vision::training::detect::recipe;
use crate::vision::training::detect::run::{Config, Kind, Observer, Parted, folder, train};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageName {
    /// The network that proposes windows on the whole picture.
    Propose,
    /// The network that judges windows and moves their sides.
    Judge,
    /// The networks that learn parts of faces from attributes.
    Parts,
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament train detect --data ../shared/data/faces --out runs/faces
  lineament train detect --out runs/faces --data ../shared/data/faces --resume
  lineament train detect --data ../shared/data/faces --band 1 --out runs/band1
  lineament train detect --data ../shared/data/faces --band 1 --init runs/band1/weights.safetensors \\
    --mistakes-of runs/band1/weights.safetensors --out runs/band1b
  lineament train detect --data ../shared/data/faces --band 1 --stage judge --init runs/band1b/weights.safetensors \\
    --mistakes-of runs/band1b/weights.safetensors --out runs/band1c
  lineament train detect --out runs/band1 --resume
  lineament train detect --data ../shared/data/faces --stage parts --out runs/parts

Each of four bands of face heights, from 10, 30, 120 and 240 pixels on, has two networks (Yang et al., \"WIDER FACE\", CVPR 2016). Without \
--band, all are trained, each in a folder of its own below OUT, and OUT/faces.safetensors is the cascade; --resume goes on with the run that \
was stopped. --stage parts \
trains five networks that learn parts of faces from attributes alone (Yang et al., ICCV 2015). DATA \
holds lfw_whole (with lfw_fddb_same_photo.csv beside it: what FDDB shows too is left out), celeba8k, helen68_trainset_128 with its \
landmarks, or some of them, and negatives, pictures without faces.

The folder of a run holds lineament-run.json (which marks it as the folder of a run), config.toml (every choice of the run), log.jsonl (a line per step \
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
    /// Train one network, of this band of face heights, 1 to 4.
    #[arg(long)]
    band: Option<usize>,
    /// Which of the band's networks, or those of the parts [default: propose]
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
    /// Total steps; without --band, the most of each network [default: 4000]
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
            StageName::Propose => Kind::Propose,
            StageName::Judge => Kind::Judge,
            StageName::Parts => Kind::Parts,
        };
    }
    base.init = a.init.clone().or(base.init);
    base.mistakes_of = a.mistakes_of.clone().or(base.mistakes_of);
    base
}

/// Reads the photographs of a run.
fn photos(config: &Config) -> Result<Parted> {
    let bar = progress::bar(0, "photographs");
    let photos = Photos::open(&config.data, &mut |read| {
        bar.set_position(read as u64);
        !interrupt::is_requested()
    });
    bar.finish_and_clear();
    Parted::new(photos?)
}

/// Trains one network.
fn one(config: &Config, folder: &Folder, device: &Device, photos: &Parted, is_json: bool) -> Result<u8> {
    note!("training on {} in {}", device.describe(), shown(folder.path()));
    under_a_bar(folder, config.steps, is_json, |bar, step, hold| {
        let mut search = |seen: usize, all: usize| {
            bar.set_message(format!("mistakes in {seen} of {all} windows"));
            !interrupt::is_requested()
        };
        train(config, device, photos, folder, &mut Observer { step, hold, search: &mut search })
    })
}

/// Trains the networks of all bands, those that are not finished, and joins them.
fn whole(a: &Arguments) -> Result<u8> {
    let single: [(&str, bool); 6] = [
        ("--stage", a.stage.is_some()),
        ("--init", a.init.is_some()),
        ("--mistakes-of", a.mistakes_of.is_some()),
        ("--seed", a.seed.is_some()),
        ("--batch", a.batch.is_some()),
        ("--lr", a.lr.is_some()),
    ];
    if let Some((flag, _)) = single.iter().find(|(_, is_given)| *is_given) {
        return Err(Error::Usage(format!("{flag} is for a single network; give --band, or leave it out")));
    }
    // The recipe's numbers are within these.
    let most = Config { steps: u64::MAX, windows: usize::MAX, ..Config::default() };
    let base = overlaid(most, a);
    let runs = recipe::runs(&base, &a.out);
    runs.iter().try_for_each(|run| run.config.check())?;
    let cascade = a.out.join("faces.safetensors");
    let is_empty = std::fs::read_dir(&a.out).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !a.resume {
        let path = a.out.display();
        return Err(Error::Usage(format!(
            "{path}: is not empty; give a new folder, or --resume to go on with its runs"
        )));
    }
    let device = a.common.open()?;
    let mut read = None;
    for run in &runs {
        if run.weights().is_file() {
            note!("{}: is finished", shown(&run.folder));
            continue;
        }
        let folder = folder(&run.folder, a.resume && run.folder.is_dir())?;
        let photos = match &read {
            Some(photos) => photos,
            None => read.insert(photos(&run.config)?),
        };
        one(&run.config, &folder, &device, photos, false)?;
    }
    let weights = recipe::joined(&runs)?;
    weights.save(&cascade)?;
    say!("wrote {}: `lineament detect PICTURE --model {}`", shown(&cascade), shown(&cascade));
    if a.common.json {
        let measured = weights.manifest().get("measured");
        out::json(&json!({ "out": out::path(&a.out), "weights": out::path(&cascade), "measured": measured }));
    }
    Ok(0)
}

pub fn run(a: &Arguments) -> Result<u8> {
    let is_single = a.band.is_some() || a.config.is_some() || matches!(a.stage, Some(StageName::Parts));
    if !is_single && !a.out.join("config.toml").exists() {
        return whole(a);
    }
    let config = overlaid(base(a.config.as_ref(), a.resume.then_some(&a.out), Config::open)?, a);
    config.check()?;
    let folder = folder(&a.out, a.resume)?;
    let device = a.common.open()?;
    one(&config, &folder, &device, &photos(&config)?, a.common.json)
}
