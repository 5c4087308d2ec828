//! `lineament reproduce`: the papers' tables, measured values beside published ones.

mod cbn;
mod faceness;
mod lmle;

use super::out::{self, say};
use super::upscale::Model;
use super::{Common, eval, interrupt};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::files::{self, Existing};
use crate::graph::Graph;
use crate::lab::profile::median;
use crate::vision::image::{Channels, Format, Picture, Samples};
use crate::vision::models::SuperResolution;
use crate::vision::models::shipped;
use crate::vision::tasks::upscale::Upscaler;
use clap::{Args, Subcommand, value_parser};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Subcommand)]
pub enum Command {
    /// SRCNN and FSRCNN: PSNR and SSIM on Set5, Set14 and BSD100, with the weights that come with lineament.
    Sr(SrArguments),
    /// FSRCNN compared with SRCNN 9-5-5: pictures per second, their ratio, time per pixel by size, predicted and allocated memory.
    Speed(SpeedArguments),
    /// CBN face hallucination: PSNR and SSIM of all rows of its ablation, landmark errors, contact sheet, time per level.
    Cbn(cbn::Arguments),
    /// Faceness: where parts of faces are seen, recall of the windows that they propose, covered faces, attributes of faces that are found.
    Faceness(faceness::Arguments),
    /// LMLE: balanced accuracy of face attributes beside class-weighted, resampled and triplet baselines, and each part's share.
    Lmle(lmle::Arguments),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament reproduce sr --data ../shared/data/sr
  lineament reproduce sr --data sr/ --sets set5 --out table.md --json

DATA holds a folder per set: set5, set14, bsd100_40. Scores are measured on luminance, with MATLAB's bicubic and without a border of \
SCALE pixels; SSIM as in Wang et al. 2004. Published values are from Dong et al., ECCV 2016 (FSRCNN, FSRCNN-s) and TPAMI 2016 (SRCNN \
9-1-5 on 91 images, Set5 x3). bsd100_40 holds 40 of BSD100's pictures, for which nothing was published.")]
pub struct SrArguments {
    /// Folder with one folder per set.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[arg(long, value_delimiter = ',', value_name = "SET,…", default_value = "set5,set14,bsd100_40")]
    sets: Vec<String>,
    /// Also write the table as Markdown into this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite a file that exists.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament reproduce speed --picture photo.png
  lineament reproduce speed --sizes 128,256,512 --json

End to end means decode, run and encode in memory, in one thread, after a warm-up run. SRCNN 9-5-5 has seeded weights, which take the \
same time as trained ones. Run nothing else meanwhile.")]
pub struct SpeedArguments {
    /// The picture for the end-to-end rate, of which the top left SIZE × SIZE pixels are used; otherwise a seeded picture.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    #[arg(long, default_value_t = 3)]
    scale: usize,
    /// Side of the picture for the end-to-end rate.
    #[arg(long, value_name = "PX", default_value_t = 256, value_parser = value_parser!(u16).range(SIDES))]
    size: u16,
    /// Sides of the pictures for the time per pixel.
    #[arg(long, value_delimiter = ',', value_name = "PX,…", default_value = "128,256,512,1024,2048", value_parser = value_parser!(u16).range(SIDES))]
    sizes: Vec<u16>,
    /// Runs of each measurement; the median is printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    #[command(flatten)]
    common: Common,
}

/// Allowed sides of measured pictures: 8192² enlarged by 4 takes 1 GiB, the limit for a picture.
const SIDES: std::ops::RangeInclusive<i64> = 1..=8192;

pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Sr(arguments) => sr(arguments),
        Command::Speed(arguments) => speed(arguments),
        Command::Cbn(arguments) => cbn::run(arguments),
        Command::Faceness(arguments) => faceness::run(arguments),
        Command::Lmle(arguments) => lmle::run(arguments),
    }
}

/// Returns the published PSNR in dB of a model, scale and set: Dong et al., ECCV 2016, table 4 (training on 91 images), and
/// TPAMI 2016, section 4.1 for SRCNN 9-1-5.
fn published(model: &str, scale: usize, set: &str) -> Option<f64> {
    Some(match (model, scale, set) {
        ("fsrcnn", 2, "set5") => 36.94,
        ("fsrcnn", 3, "set5") => 33.06,
        ("fsrcnn", 4, "set5") => 30.55,
        ("fsrcnn", 2, "set14") => 32.54,
        ("fsrcnn", 3, "set14") => 29.37,
        ("fsrcnn", 4, "set14") => 27.50,
        ("fsrcnn-s", 2, "set5") => 36.53,
        ("fsrcnn-s", 3, "set5") => 32.55,
        ("fsrcnn-s", 4, "set5") => 30.04,
        ("fsrcnn-s", 2, "set14") => 32.22,
        ("fsrcnn-s", 3, "set14") => 29.08,
        ("fsrcnn-s", 4, "set14") => 27.12,
        ("srcnn", 3, "set5") => 32.39,
        _ => return None,
    })
}

fn sr(arguments: &SrArguments) -> Result<u8> {
    let existing = Existing::overwrite(arguments.overwrite);
    if let Some(out) = &arguments.out {
        files::check_output(out, existing)?;
    }
    for set in &arguments.sets {
        let folder = arguments.data.join(set);
        if !folder.is_dir() {
            return Err(Error::Usage(format!(
                "{}: is not a folder; give --data a folder that contains {}",
                folder.display(),
                arguments.sets.join(", ")
            )));
        }
    }
    let device = arguments.common.open()?;
    let mut table = String::from(
        "| model | set | PSNR dB | published | SSIM | bicubic PSNR dB | bicubic SSIM |\n|---|---|---|---|---|---|---|\n",
    );
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    for (name, scale) in ["fsrcnn", "fsrcnn-s", "srcnn"].into_iter().flat_map(|m| (2..=4).map(move |s| (m, s))) {
        if shipped::open(name, scale).is_none() {
            missing.push(format!("{name} x{scale}"));
            continue;
        }
        let upscaler = Model::shipped(name, scale).open(device.clone(), None)?;
        for set in &arguments.sets {
            let m = eval::scores(&upscaler, &arguments.data.join(set))?;
            let paper = published(name, scale, set);
            let _ = writeln!(
                table,
                "| {name} x{scale} | {set} | {:.2} | {} | {:.4} | {:.2} | {:.4} |",
                m.psnr_y,
                paper.map_or_else(|| "–".to_owned(), |p| format!("{p:.2}")),
                m.ssim_y,
                m.bicubic_psnr_y,
                m.bicubic_ssim_y
            );
            rows.push(json!({
                "model": name, "scale": scale, "set": set, "images": m.images, "psnr": m.psnr_y, "published": paper,
                "ssim": m.ssim_y, "bicubic_psnr": m.bicubic_psnr_y, "bicubic_ssim": m.bicubic_ssim_y,
            }));
        }
    }
    say!("\n{table}");
    if !missing.is_empty() {
        say!("no weights come with lineament for: {}", missing.join(", "));
    }
    if let Some(path) = &arguments.out {
        files::write_whole(path, existing, |file| file.write_all(table.as_bytes()).map_err(|e| Error::io(path, e)))?;
        say!("wrote {}", out::shown(path));
    }
    if arguments.common.json {
        let object = json!({
            "data": out::path(&arguments.data), "out": arguments.out.as_ref().map(out::path), "device": device.describe(),
            "rows": rows, "missing": missing,
        });
        out::json(&object);
    }
    Ok(0)
}

/// Returns the median time of `runs` calls of `work` in milliseconds, after one warm-up call.
fn median_ms(runs: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut times = Vec::new();
    for _ in 0..runs.max(1) {
        interrupt::check()?;
        let begin = Instant::now();
        work()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

/// Returns the network `name` on `device` with the weights that come with lineament, or seeded ones if there are none.
fn upscaler(device: &Device, name: &str, scale: usize) -> Result<Upscaler> {
    if shipped::open(name, scale).is_some() {
        return Model::shipped(name, scale).open(device.clone(), None);
    }
    let model = SuperResolution::new(name, scale)?;
    let mut g = Graph::new();
    let x = g.input("x", [1, 1, 32, 32])?;
    model.build(&mut g, x)?;
    Upscaler::new(device.clone(), model, g.initialize(1), None)
}

/// Returns a grey picture of `size` × `size` pixels: the top left of `file`, or a seeded pattern.
fn picture(file: Option<&Path>, size: usize) -> Result<Picture> {
    let Some(file) = file else {
        let mut rng = crate::rng::Rng::new(1);
        return Picture::from_samples(
            "seeded",
            size,
            size,
            Channels::Grey,
            Samples::U8((0..size * size).map(|_| rng.below(256) as u8).collect()),
        );
    };
    let picture = Picture::open(file)?;
    if picture.width() < size || picture.height() < size {
        return Err(Error::Usage(format!(
            "{}: has {} × {} pixels; --size asks for {size}",
            file.display(),
            picture.width(),
            picture.height()
        )));
    }
    let luma = picture.luma_u8();
    let rows = luma.chunks(picture.width()).take(size);
    Picture::from_samples(
        "cut",
        size,
        size,
        Channels::Grey,
        Samples::U8(rows.flat_map(|row| row[..size].to_vec()).collect()),
    )
}

fn speed(arguments: &SpeedArguments) -> Result<u8> {
    let device = arguments.common.open()?;
    let (scale, size) = (arguments.scale, usize::from(arguments.size));
    say!("on {}", device.describe());
    let input = picture(arguments.picture.as_deref(), size)?.encode(Format::Png)?;
    interrupt::check()?;

    let mut rates: Vec<(&str, f64)> = Vec::new();
    say!("\n| model | {size} × {size} to x{scale}, end to end | pictures per second |\n|---|---|---|");
    for name in ["fsrcnn", "fsrcnn-s", "srcnn-9-5-5"] {
        let upscaler = upscaler(&device, name, scale)?;
        let ms = median_ms(arguments.runs, || {
            let decoded = Picture::decode(&input, "in.png")?;
            let (out, _) = upscaler.picture(&decoded, &mut |_, _| !interrupt::is_requested())?;
            out.encode(Format::Png).map(drop)
        })?;
        say!("| {name} | {ms:.1} ms | {:.2} |", 1e3 / ms);
        rates.push((name, ms));
    }
    let ratio = rates[2].1 / rates[0].1;
    say!(
        "\nFSRCNN is {ratio:.1} times as fast as SRCNN 9-5-5\n(Dong et al. 2016, table 3, against SRCNN-Ex: 41.3 times fewer operations)"
    );

    let fsrcnn = upscaler(&device, "fsrcnn", scale)?;
    say!(
        "\nFSRCNN x{scale}:\n| input | ms | ns per pixel | ratio to the first | MB predicted | MB allocated | predicted / allocated |\n|---|---|---|---|---|---|---|"
    );
    let mut sizes: Vec<Value> = Vec::new();
    let mut first = None;
    for side in arguments.sizes.iter().map(|&side| usize::from(side)) {
        let picture = picture(None, side)?;
        let before = device.allocated_bytes().unwrap_or(0);
        let session = fsrcnn.session(side, side)?;
        let predicted = session.plan().peak_bytes();
        let allocated = device.allocated_bytes().map(|now| now - before);
        drop(session);
        let ms =
            median_ms(arguments.runs, || fsrcnn.picture(&picture, &mut |_, _| !interrupt::is_requested()).map(|_| ()))?;
        let ns = ms * 1e6 / (side * side) as f64;
        let to_first = ns / *first.get_or_insert(ns);
        let of = allocated.map(|a| predicted as f64 / a as f64);
        let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
        say!(
            "| {side} × {side} | {ms:.1} | {ns:.0} | {to_first:.2} | {:.2} | {} | {} |",
            predicted as f64 / 1e6,
            text(allocated.map(|a| a as f64 / 1e6)),
            text(of)
        );
        sizes.push(json!({
            "side": side, "ms": ms, "ns_per_pixel": ns, "to_smallest": to_first, "predicted_bytes": predicted,
            "allocated_bytes": allocated,
        }));
    }
    if arguments.common.json {
        let picture = arguments.picture.as_ref().map(out::path);
        let models: Vec<Value> = rates
            .iter()
            .map(|(name, ms)| json!({ "model": name, "ms": ms, "pictures_per_second": 1e3 / ms }))
            .collect();
        let object = json!({
            "picture": picture, "device": device.describe(), "models": models, "srcnn_over_fsrcnn": ratio, "sizes": sizes,
        });
        out::json(&object);
    }
    Ok(0)
}
