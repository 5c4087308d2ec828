//! `lineament upscale`.

use super::{Common, is_interrupted, progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::image::Picture;
use crate::models::{SUPER_RESOLUTION, SuperResolution};
use crate::ops::resize::{Kernel, Resize};
use crate::tasks::upscale::Upscaler;
use crate::weights::{self, Weights};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// A super-resolution network by name.
#[derive(Args, Clone)]
pub struct Model {
    /// Network: fsrcnn, fsrcnn-s, srcnn, srcnn-9-3-5, srcnn-9-5-5.
    #[arg(long, default_value = "fsrcnn")]
    pub model: String,
    /// How many times as wide and high: 2, 3 or 4.
    #[arg(long)]
    pub scale: usize,
    /// Weights file; without it, the weights that come with lineament.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
}

impl Model {
    /// The network with its weights on `device`.
    pub fn open(&self, device: Device, tile: Option<usize>) -> Result<Upscaler> {
        let model = SuperResolution::new(&self.model, self.scale)?;
        let weights = match &self.weights {
            Some(file) => Weights::open(file)?,
            None => weights::shipped(&self.model, self.scale).ok_or_else(|| {
                let there: Vec<String> = SUPER_RESOLUTION
                    .iter()
                    .flat_map(|m| (2..=4).map(move |s| (m, s)))
                    .filter(|(m, s)| weights::shipped(m, *s).is_some())
                    .map(|(m, s)| format!("{m} x{s}"))
                    .collect();
                Error::Usage(format!(
                    "no weights of {} for scale {} come with lineament (there are: {}); train them or give --weights FILE",
                    self.model,
                    self.scale,
                    there.join(", ")
                ))
            })??,
        };
        Upscaler::new(device, model, weights, tile)
    }
}

/// Enlarge a picture, or every picture of a folder.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament upscale photo.jpg photo_x3.png --scale 3\n  lineament upscale holiday/ holiday_x3/ --scale 3\n  lineament upscale scan.tif big.tif --scale 3 --tile 96 --device llvmpipe --json\n\nThe extension of OUT names the format: png, jpg, webp, bmp, tif. In a folder each picture keeps its name and format;\nother files are left alone. Files are renamed into place when they are whole."
)]
pub struct Arguments {
    /// A picture, or a folder of pictures.
    input: PathBuf,
    /// The picture to write, or a folder.
    output: PathBuf,
    #[command(flatten)]
    model: Model,
    /// Side of a window in pixels of the network's input; 0 runs every picture whole. The result does not depend on it.
    #[arg(long, value_name = "PX")]
    tile: Option<usize>,
    /// Write over outputs that exist.
    #[arg(long)]
    overwrite: bool,
    /// Also write a picture with the bicubic enlargement on the left and ours on the right.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What was written.
struct Written {
    width: usize,
    height: usize,
    tiles: usize,
    ms: f64,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let jobs = jobs(&arguments.input, &arguments.output)?;
    if arguments.compare.is_some() && jobs.len() != 1 {
        return Err(Error::Usage("--compare shows one picture; give one, not a folder".into()));
    }
    for (input, output) in &jobs {
        check_output(input, output, arguments.overwrite, !arguments.input.is_dir())?;
    }
    let device = arguments.common.open()?;
    let described = device.describe();
    let upscaler = arguments.model.open(device, arguments.tile)?;
    if arguments.input.is_dir() {
        std::fs::create_dir_all(&arguments.output).map_err(|e| Error::io(&arguments.output, e))?;
    }
    let (mut failed, mut last, mut pictures) = (0, None, Vec::new());
    for (input, output) in &jobs {
        match one(&upscaler, input, output, arguments.compare.as_deref()) {
            Ok(w) => {
                println!(
                    "{} → {}: {} × {} in {:.0} ms ({} tiles) on {described}",
                    input.display(),
                    output.display(),
                    w.width,
                    w.height,
                    w.ms,
                    w.tiles
                );
                pictures.push(json!({
                    "input": input, "output": output, "width": w.width, "height": w.height, "ms": w.ms, "tiles": w.tiles,
                }));
                last = Some(w);
            }
            // In a folder one broken file does not stop the others.
            Err(e) if jobs.len() > 1 && !matches!(e, Error::Interrupted | Error::Device { .. }) => {
                eprintln!("error: {e}");
                failed += 1;
            }
            Err(e) => return Err(e),
        }
    }
    if let Some(compare) = &arguments.compare {
        println!("bicubic beside ours: {}", compare.display());
    }
    if arguments.common.json {
        let object = match &last {
            Some(w) if jobs.len() == 1 => {
                json!({ "width": w.width, "height": w.height, "ms": w.ms, "device": described, "tiles": w.tiles })
            }
            _ => json!({ "pictures": pictures, "failed": failed, "device": described }),
        };
        println!("{object}");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Pairs of input and output files.
fn jobs(input: &Path, output: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if !input.is_dir() {
        let is_folder = output.is_dir();
        let target = match input.file_name() {
            Some(name) if is_folder => output.join(name),
            _ => output.to_owned(),
        };
        return Ok(vec![(input.to_owned(), target)]);
    }
    if output.is_file() {
        return Err(Error::Usage(format!("{}: is a file; for a folder of pictures give a folder", output.display())));
    }
    let pictures = crate::files::pictures(input)?;
    Ok(pictures
        .into_iter()
        .map(|p| {
            let target = output.join(p.file_name().unwrap_or_default());
            (p, target)
        })
        .collect())
}

/// Refuses before any work what would fail after it or destroy something.
fn check_output(input: &Path, output: &Path, overwrite: bool, is_single: bool) -> Result<()> {
    let name = output.display().to_string();
    let same = output.exists() && input.canonicalize().ok() == output.canonicalize().ok();
    if same {
        return Err(Error::Usage(format!("{name}: is the input; choose another output, inputs are never overwritten")));
    }
    if output.exists() && !overwrite {
        return Err(Error::Usage(format!("{name}: exists; give --overwrite or another output")));
    }
    Picture::format_for(&name)?;
    let folder = match output.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    // The folder of a folder's outputs is made; its parent must be there.
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() && (is_single || !parent.is_dir()) {
        return Err(Error::Usage(format!("{}: the folder does not exist; create it first", folder.display())));
    }
    Ok(())
}

fn one(upscaler: &Upscaler, input: &Path, output: &Path, compare: Option<&Path>) -> Result<Written> {
    let begin = Instant::now();
    let picture = Picture::open(input)?;
    let scale = upscaler.model().scale;
    let bar = progress::bar(((picture.width() * picture.height()) * scale * scale) as u64, "px");
    let mut advance = |done, _| {
        bar.set_position(done);
        !is_interrupted()
    };
    let (out, report) = upscaler.picture(&picture, &mut advance)?;
    bar.finish_and_clear();
    out.save(output)?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    if let Some(file) = compare {
        side_by_side(&picture, &out, scale)?.save(file)?;
    }
    Ok(Written { width: out.width(), height: out.height(), tiles: report.tiles, ms })
}

/// The bicubic enlargement on the left, `ours` on the right.
fn side_by_side(picture: &Picture, ours: &Picture, scale: usize) -> Result<Picture> {
    let bicubic = picture.resize(&Resize::by(Kernel::Bicubic, scale as u32, 1))?;
    let mut both = Picture::new("comparison", 2 * ours.width(), ours.height(), ours.channels(), ours.samples().bits())?;
    both.set_icc(ours.icc().map(<[u8]>::to_vec));
    both.paste(&bicubic, 0, 0)?;
    both.paste(ours, 0, ours.width())?;
    Ok(both)
}
