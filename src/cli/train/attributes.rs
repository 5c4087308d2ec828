//! `lineament train attributes`.

use super::super::out::{note, shown};
use super::super::{Common, progress};
use super::{base, under_a_bar};
use crate::error::Result;
use crate::vision::training::attributes::run::{Config, Observer, folder, train};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament train attributes --data celeba/ --steps 4000 --out runs/attributes
  lineament train attributes --data celeba/ --more lfwa/ --out runs/both
  lineament train attributes --out runs/attributes --resume
  lineament attributes face.jpg --weights runs/attributes/weights.safetensors

DATA holds CelebA as it is distributed (img_align_celeba, list_attr_celeba.txt, list_eval_partition.txt), or celeba8k, or attributes.csv \
with the header half,image,NAME,… and lines dev,FILE,0,1,… and the pictures beside it, all framed alike. Of n faces in attributes.csv the \
last eighth measures the result, the eighth before it calibrates scores, and the others train. --more adds LFW's deep-funneled pictures \
with LFWA's attributes: attributes.csv with lines dev,PERSON/FILE,0,1,…, and the pictures in folders or in lfw128.tar.gz. These labels \
are thresholded scores of classifiers, so they train only.

OUT holds lineament-run.json (which marks it as the folder of a run), config.toml (every choice of the run), log.jsonl (a line per step \
and per validation), last.safetensors (from which --resume continues, to the same bits), best.safetensors (from the best validation, not \
calibrated), weights.safetensors (after the last step) and curves.png. Ctrl-C saves a checkpoint and exits.")]
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
    /// Folder of faces with attributes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of further faces that train but do not judge: LFW with LFWA's attributes.
    #[arg(long, value_name = "DIR")]
    more: Option<PathBuf>,
    /// Terms of use of the data, for the manifest.
    #[arg(long)]
    data_terms: Option<String>,
    /// [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Total steps [default: 1000]
    #[arg(long)]
    steps: Option<u64>,
    /// Faces per step [default: 64]
    #[arg(long)]
    batch: Option<usize>,
    /// Highest learning rate [default: 2e-3]
    #[arg(long)]
    lr: Option<f64>,
    /// Steps between checkpoints, after each of which the validation faces are judged [default: 200]
    #[arg(long)]
    checkpoint_every: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Returns `base` overridden by the flags.
fn overlaid(mut base: Config, a: &Arguments) -> Config {
    overlay!(base, a: data data_terms seed steps batch lr checkpoint_every);
    base.more = a.more.clone().or(base.more);
    base
}

pub fn run(a: &Arguments) -> Result<u8> {
    let config = overlaid(base(a.config.as_ref(), a.resume.then_some(&a.out), Config::open)?, a);
    config.check()?;
    let folder = folder(&a.out, a.resume)?;
    let device = a.common.open()?;
    let faces = Arc::new(progress::faces_and_more(&config.data, config.more.as_deref())?);
    note!("training on {} in {}", device.describe(), shown(folder.path()));
    under_a_bar(&folder, config.steps, a.common.json, |_, step, hold| {
        train(&config, &device, &faces, &folder, &mut Observer { step, hold })
    })
}
