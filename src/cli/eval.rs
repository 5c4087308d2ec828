//! `lineament eval`.

pub mod detect;
pub mod hallucinate;

use super::out::{self, say};
use super::upscale::Model;
use super::{Common, interrupt, progress};
use crate::error::Result;
use crate::table::shortened;
use crate::vision::image::Picture;
use crate::vision::tasks::upscale::{Score, Upscaler};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Command {
    /// Measure PSNR and SSIM of a super-resolution network on a folder of pictures, by the papers' protocol.
    Upscale(Arguments),
    /// Measure PSNR and SSIM of the face hallucination and its ablation on faces with landmarks.
    Hallucinate(hallucinate::Arguments),
    /// Measure what finds faces by the protocols of FDDB, WIDER FACE and PASCAL VOC.
    Detect(Box<detect::Arguments>),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament eval upscale --model fsrcnn --scale 3 --hr set5/
  lineament eval upscale --scale 3 --hr set5/ --weights mine.safetensors --json

Each picture is reduced bicubically (as by MATLAB's imresize), enlarged again, and compared with the original on luminance, without \
a border of SCALE pixels.")]
pub struct Arguments {
    #[command(flatten)]
    model: Model,
    /// Folder of ground-truth pictures.
    #[arg(long)]
    hr: PathBuf,
    /// Side of a window in pixels of the network's input; 0 processes every picture whole.
    #[arg(long)]
    tile: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// Means over a folder.
#[derive(Clone, Copy)]
pub struct Measured {
    pub images: usize,
    pub psnr_y: f64,
    pub ssim_y: f64,
    pub bicubic_psnr_y: f64,
    pub bicubic_ssim_y: f64,
}

/// Returns means over the pictures of `folder`.
pub fn scores(upscaler: &Upscaler, folder: &Path) -> Result<Measured> {
    measure(upscaler, folder, |_, _| {})
}

/// Scores every picture of `folder` and prints a line per picture.
fn measure_and_print(upscaler: &Upscaler, folder: &Path) -> Result<Measured> {
    measure(upscaler, folder, |name, score| {
        // 28 characters leave room for the numbers in 80 columns.
        let name = if out::width() < 1000 { shortened(name, 28) } else { name.to_owned() };
        say!(
            "{name:<28} {:6.3} dB  {:.4}   bicubic {:6.3} dB  {:.4}",
            score.psnr,
            score.ssim,
            score.bicubic_psnr,
            score.bicubic_ssim
        );
    })
}

fn measure(upscaler: &Upscaler, folder: &Path, each: impl Fn(&str, &Score)) -> Result<Measured> {
    let files = crate::vision::image::folder::pictures(folder)?;
    let bar = progress::bar(files.len() as u64, "pictures");
    let mut scores: Vec<Score> = Vec::new();
    for file in &files {
        interrupt::check()?;
        let score = upscaler.score(&Picture::open(file)?)?;
        bar.suspend(|| each(&out::shown(file.file_name().unwrap_or_default()), &score));
        scores.push(score);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mean = |f: fn(&Score) -> f64| scores.iter().map(f).sum::<f64>() / scores.len() as f64;
    Ok(Measured {
        images: scores.len(),
        psnr_y: mean(|s| s.psnr),
        ssim_y: mean(|s| s.ssim),
        bicubic_psnr_y: mean(|s| s.bicubic_psnr),
        bicubic_ssim_y: mean(|s| s.bicubic_ssim),
    })
}

pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Upscale(arguments) => upscale(arguments),
        Command::Hallucinate(arguments) => hallucinate::run(arguments),
        Command::Detect(arguments) => detect::run(arguments),
    }
}

fn upscale(arguments: &Arguments) -> Result<u8> {
    let device = arguments.common.open()?;
    let described = device.describe();
    let upscaler = arguments.model.open(device, arguments.tile)?;
    let m = measure_and_print(&upscaler, &arguments.hr)?;
    let (model, scale) = (upscaler.name(), upscaler.scale());
    say!(
        "mean of {}, {} x{}: {:.3} dB PSNR, {:.4} SSIM; bicubic {:.3} dB, {:.4} (luminance, border {})",
        out::count(m.images, "picture"),
        model,
        scale,
        m.psnr_y,
        m.ssim_y,
        m.bicubic_psnr_y,
        m.bicubic_ssim_y,
        scale
    );
    if arguments.common.json {
        let object = json!({
            "hr": out::path(&arguments.hr), "images": m.images, "psnr_y": m.psnr_y, "ssim_y": m.ssim_y, "bicubic_psnr_y": m.bicubic_psnr_y,
            "bicubic_ssim_y": m.bicubic_ssim_y, "model": model, "scale": scale, "device": described,
        });
        out::json(&object);
    }
    Ok(0)
}
