//! `lineament train hallucinate`.

use super::super::out::{self, note, say, shown};
use super::super::{Common, finite, interrupt, progress};
use super::{Unsaved, base, explain};
use crate::error::{Error, Result};
use crate::train::Progress;
use crate::vision::models::cbn::network::PRESETS;
use crate::vision::training::faces::Movement;
use crate::vision::training::hallucinate::{Config, Observer, folder, steps, train};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament train hallucinate --data faces/train --preset small --out runs/faces\n  lineament train hallucinate --out runs/faces --resume\n  lineament train hallucinate --data faces/train --pretrain 1000,600 --joint 600,300 --ablation common,fixed --out runs/b\n  lineament train hallucinate --data faces/train --more lfw112 --more-square -5.7,16.4,123.3 --out runs/c\n  lineament train hallucinate --data faces/train --init runs/c/weights.safetensors --jitter 2 --lr 0.5 --joint 1000,600,400 --out runs/d\n\nDATA is a folder of pictures, with 68 landmarks per face beside it in DATA.csv: one line per picture, name,x1,y1,…,x68,y68 in pixels.\nEach level trains f_k, the common and the high-frequency branch, then both with the gate end to end, and computes its results for\nall faces, which the next level reads. Lists have one number per level; the last one also applies to all later levels.\nOUT holds lineament-run.json (which marks it as the folder of a run), config.toml, the priors as pictures, a folder for each part\nwith its own log.jsonl, checkpoint and curves.png, log.jsonl (a line per finished part) and weights.safetensors. A folder\nwith other files is rejected. Ctrl-C saves a checkpoint and exits."
)]
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
    /// Folder of faces; their landmarks lie beside it in DIR.csv.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Terms of use of the data, for the manifest.
    #[arg(long)]
    data_terms: Option<String>,
    /// Folder of further faces for the networks, aligned, without landmarks and all of one size; its subfolders are included.
    #[arg(long, value_name = "DIR")]
    more: Option<PathBuf>,
    /// Where the canonical frame lies in each picture of --more, in pixels; it may extend beyond the picture.
    #[arg(long, value_name = "X,Y,SIDE", value_parser = parse_square, allow_hyphen_values = true)]
    more_square: Option<Square>,
    /// Copies of each face of DATA, each rotated, scaled and shifted slightly, to reduce overfitting [default: 0]
    #[arg(long, value_name = "COPIES")]
    jitter: Option<usize>,
    /// Let the copies, f_k's among them, and the faces of --more lie as far off as in frames that a detector gives: standard
    /// deviations of angle (degrees), logarithm of the scale, and shift (parts of the side) [default: 2.9,0.04,0.02 for the
    /// copies, which f_k does not see]
    #[arg(long, value_name = "ANGLE,SCALE,SHIFT", value_parser = parse_moved)]
    moved: Option<Moved>,
    /// Hold out every K-th face of DATA for choices; `eval hallucinate --held-out K` measures on them [default: 0, none]
    #[arg(long, value_name = "K")]
    hold_out: Option<usize>,
    /// Start from the networks of a cascade of the same preset; the full one's branches start from the rows that were trained
    /// alone, if the file has them.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Sizes of the networks [default: small]
    #[arg(long, value_parser = PossibleValuesParser::new(PRESETS))]
    preset: Option<String>,
    /// [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Steps of each branch alone [default: 1000,600,600]
    #[arg(long, value_delimiter = ',', value_name = "STEPS,…")]
    pretrain: Option<Vec<u64>>,
    /// Steps end to end [default: 600,300,300]
    #[arg(long, value_delimiter = ',', value_name = "STEPS,…")]
    joint: Option<Vec<u64>>,
    /// Faces per step [default: 16,8,8]
    #[arg(long, value_delimiter = ',', value_name = "FACES,…")]
    batch: Option<Vec<usize>>,
    /// Side of the part of a face that a step sees [default: 32,64,64]
    #[arg(long, value_delimiter = ',', value_name = "PX,…")]
    patch: Option<Vec<usize>>,
    /// Factor on the preset's learning rates [default: 1]
    #[arg(long)]
    lr: Option<f64>,
    /// Scale gradients down to this norm if theirs is larger [default: never]
    #[arg(long)]
    clip: Option<f32>,
    /// Also train the rows of the paper's ablation: common, high_frequency, fixed, single.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    ablation: Option<Vec<String>>,
    /// Steps between checkpoints [default: 200]
    #[arg(long)]
    checkpoint_every: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Left, top, side.
#[derive(Debug, Clone, Copy)]
struct Square([f64; 3]);

fn parse_square(text: &str) -> std::result::Result<Square, String> {
    let square = finite(text).filter(|[_, _, side]| *side > 0.0).map(Square);
    square.ok_or_else(|| format!("expected X,Y,SIDE in pixels, such as -5.7,16.4,123.3, got {text:?}"))
}

/// Angle, scale, shift.
#[derive(Debug, Clone, Copy)]
pub struct Moved(pub [f64; 3]);

/// Parses the standard deviations of a movement.
pub fn parse_moved(text: &str) -> std::result::Result<Moved, String> {
    let numbers =
        finite(text).ok_or_else(|| format!("expected ANGLE,SCALE,SHIFT, such as 9,0.09,0.03, got {text:?}"))?;
    Movement::new(numbers).map(|_| Moved(numbers)).map_err(|e| e.to_string())
}

/// Returns `base` overridden by the flags.
fn overlaid(mut base: Config, a: &Arguments) -> Config {
    if let Some(Square(square)) = a.more_square {
        base.more_square = square;
    }
    if let Some(Moved(moved)) = a.moved {
        base.moved = moved;
    }
    overlay!(base, a: data data_terms more jitter hold_out init preset seed pretrain joint batch patch lr clip ablation checkpoint_every);
    base
}

pub fn run(a: &Arguments) -> Result<u8> {
    let config = overlaid(base(a.config.as_ref(), a.resume.then_some(&a.out), Config::open)?, a);
    if config.data.as_os_str().is_empty() {
        return Err(Error::Usage("a run needs --data, or a --config with data".into()));
    }
    let all = steps(&config)?;
    let folder = folder(&a.out, a.resume)?;
    let device = a.common.open()?;
    note!("training cbn {} on {} in {}", config.preset, device.describe(), shown(folder.path()));
    let bar = progress::bar(all, "steps");
    let mut step = |part: &str, done: u64, p: Progress| {
        bar.set_position(done);
        bar.set_message(format!("{part} {}/{}: loss {:.3e}, {:.0} ms", p.step, p.steps, p.loss, p.ms));
        !interrupt::is_requested()
    };
    let mut tell = |text: &str| bar.suspend(|| note!("{text}"));
    let mut hold = Unsaved::default();
    let mut observer = Observer { tell: &mut tell, step: &mut step, hold: &mut |is| hold.set(is) };
    let trained = train(&config, &device, &folder, a.resume, &mut observer);
    bar.finish_and_clear();
    let weights = trained.inspect_err(|e| explain(e, &folder, folder.log().exists()))?;
    let numbers: usize = weights.tensors().values().map(|t| t.data().len()).sum();
    say!("wrote {}: {numbers} numbers (log: {})", shown(folder.weights()), shown(folder.log()));
    if a.common.json {
        let object = json!({
            "out": out::path(folder.path()), "weights": out::path(folder.weights()), "log": out::path(folder.log()),
            "steps": all, "numbers": numbers,
        });
        out::json(&object);
    }
    Ok(0)
}
