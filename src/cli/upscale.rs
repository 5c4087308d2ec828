//! `lineament upscale`: which pictures become which files, and what is refused before any work.

mod pipeline;

use super::out::{self, note, say};
use super::{Common, progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::image::{Format, Picture, Size};
use crate::models::{SUPER_RESOLUTION, SuperResolution};
use crate::ops::resize::{Kernel, Resize};
use crate::tasks::upscale::Upscaler;
use crate::weights::{self, Weights};
use clap::Args;
use pipeline::Job;
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

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
    /// `model` for `scale` with the weights that come with lineament.
    pub fn shipped(model: &str, scale: usize) -> Self {
        Self { model: model.into(), scale, weights: None }
    }

    /// The network with its weights on `device`.
    pub fn open(&self, device: Device, tile: Option<usize>) -> Result<Upscaler> {
        let (model, weights) = self.parts()?;
        Upscaler::new(device, model, weights, tile)
    }

    fn parts(&self) -> Result<(SuperResolution, Weights)> {
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
        Ok((model, weights))
    }
}

/// Enlarge a picture, or every picture of a folder and of the folders in it.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament upscale photo.jpg photo_x3.png --scale 3\n  lineament upscale holiday/ holiday_x3/ --scale 3\n  lineament upscale frames/ big/ --scale 2 --format webp --self-check\n  lineament upscale scan.tif big.tif --scale 3 --vram 512M --device llvmpipe --json\n  lineament upscale cat.gif big.gif --scale 2\n\nThe extension of OUT names the format: png, jpg, webp, bmp, tif, gif. An animated GIF keeps its frames, delays and\nrepetitions, and must become one; a pixel of a GIF is transparent or not, and each frame has 256 colours. In a\nfolder each picture keeps its path, and its format without --format; other files are left alone, links to folders are not\nfollowed. Files are renamed into place when they are whole, and a folder's outputs that exist are skipped, so that the same\ncommand continues after an interruption or a kill. Inputs are never written over."
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
    /// Take the largest window whose plan needs at most this memory of the adapter: bytes, or a number with K, M or G.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, conflicts_with = "tile")]
    vram: Option<u64>,
    /// Format of the outputs in a folder.
    #[arg(long, value_parser = ["png", "jpg", "webp", "bmp", "tif", "gif"])]
    format: Option<String>,
    /// Write over outputs that exist; inputs are never written over.
    #[arg(long)]
    overwrite: bool,
    /// First compare a tile of the first picture with the f64 references, and write nothing where the adapter is wrong.
    #[arg(long)]
    self_check: bool,
    /// Also write a picture with the bicubic enlargement on the left and ours on the right.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// `4096`, `512M`, `1.5G`, `2GiB`: the letters stand for powers of 1024.
fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let fail = || format!("expected bytes such as 536870912, 512M or 2G, got {text:?}");
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(letters);
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(fail()),
    };
    let number: f64 = number.trim().parse().map_err(|_| fail())?;
    let bytes = number * f64::from(1_u32 << shift);
    // Up to 2^53 every whole number is exact.
    if (1.0..9e15).contains(&bytes) { Ok(bytes as u64) } else { Err(fail()) }
}

pub fn run(a: &Arguments) -> Result<u8> {
    let is_folder = a.input.is_dir();
    let targets = targets(a)?;
    if a.compare.is_some() && targets.len() != 1 {
        return Err(Error::Usage("--compare shows one picture; give one, not a folder".into()));
    }
    check_targets(a, &targets)?;
    let (mut jobs, mut skipped, mut failed) = (Vec::new(), 0_usize, 0_usize);
    for (input, output) in &targets {
        let input_size = Picture::measure(input);
        let enlarged = |n: u64| n.saturating_mul((a.model.scale * a.model.scale) as u64);
        let pixels_of = |s: Size| s.pixels;
        let pixels = input_size.map_or(0, |s| enlarged(pixels_of(s)));
        if a.compare.is_some() && input_size.is_some_and(|s| s.frames > 1) {
            return Err(Error::Usage(format!("{}: holds several pictures; --compare shows one", input.display())));
        }
        if output.exists() && !a.overwrite {
            let is_ours = input_size.is_none() || Picture::measure(output).is_some_and(|s| pixels_of(s) == pixels);
            if is_ours {
                skipped += 1;
            } else {
                note!(
                    "error: {}: exists, but is not {} enlarged {} times; give --overwrite or another OUT",
                    output.display(),
                    input.display(),
                    a.model.scale
                );
                failed += 1;
            }
            continue;
        }
        // Of an animation, the frame in each queue and in each hand.
        let on_their_way = |s: Size| s.frames.min(4) as u64;
        let of = |s: Size| s.bytes.saturating_add(enlarged(s.bytes)).saturating_mul(on_their_way(s));
        let bytes = input_size.map_or(0, |s| of(s).saturating_add(s.working_bytes));
        jobs.push(Job { input: input.clone(), output: output.clone(), pixels, bytes });
    }
    let device = a.common.open()?;
    let described = device.describe();
    let upscaler = match a.vram {
        Some(bytes) => {
            let (model, weights) = a.model.parts()?;
            Upscaler::within(device, model, weights, bytes)?
        }
        None => a.model.open(device, a.tile)?,
    };
    let folders: BTreeSet<&Path> = targets.iter().filter_map(|(_, output)| output.parent()).collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        crate::files::remove_stale(folder);
        if is_folder {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
    }
    if a.self_check {
        // A picture that cannot be read is reported below.
        if let Some(first) = jobs.iter().find_map(|job| Picture::open(&job.input).ok()) {
            upscaler.self_check(&first)?;
            say!("self-check: a tile of {} is what the references give", first.name());
        }
    }
    let bar = progress::bar(jobs.iter().map(|job| job.pixels).sum(), "px");
    let (mut last, mut pictures, mut all_frames) = (None, Vec::new(), 0);
    let mut report = |job: &Job, result: Result<pipeline::Written>| {
        match result {
            Ok(w) => {
                let (input, output) = (&job.input, &job.output);
                bar.suspend(|| {
                    let frames = if w.frames > 1 { format!("{} frames of ", w.frames) } else { String::new() };
                    say!(
                        "{} → {}: {frames}{} × {} in {:.0} ms ({} tiles) on {described}",
                        input.display(),
                        output.display(),
                        w.width,
                        w.height,
                        w.ms,
                        w.tiles
                    );
                });
                all_frames += w.frames;
                pictures.push(json!({
                    "input": input, "output": output, "width": w.width, "height": w.height, "frames": w.frames,
                    "ms": w.ms, "tiles": w.tiles,
                }));
                last = Some(w);
            }
            // In a folder one broken file does not stop the others.
            Err(e) if targets.len() > 1 && !matches!(e, Error::Interrupted | Error::Device { .. }) => {
                bar.suspend(|| out::error(&e));
                failed += 1;
            }
            Err(e) => return Err(e),
        }
        bar.set_message(format!("{} of {} pictures", pictures.len() + failed, jobs.len()));
        Ok(())
    };
    let waited = pipeline::run(&upscaler, &jobs, a.compare.as_deref(), &|px| bar.inc(px), &mut report);
    let seconds = bar.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let waited = waited?;
    if let Some(compare) = &a.compare {
        say!("bicubic beside ours: {}", compare.display());
    }
    if skipped > 0 {
        say!("skipped {skipped} pictures whose outputs exist; --overwrite writes them again");
    }
    if all_frames > 1 {
        say!("the adapter waited {:.0} % of {seconds:.1} s for files", 100.0 * waited);
    }
    if a.common.json {
        let mut object = match &last {
            Some(w) if targets.len() == 1 => {
                json!({
                    "width": w.width, "height": w.height, "frames": w.frames, "ms": w.ms, "device": described,
                    "tiles": w.tiles,
                })
            }
            _ => json!({ "pictures": pictures, "failed": failed, "device": described }),
        };
        object["skipped"] = json!(skipped);
        object["waited_share"] = json!(waited);
        out::json(&object);
    }
    Ok(if failed == 0 { 0 } else { 1 })
}

/// Pairs of input and output files, in order.
fn targets(a: &Arguments) -> Result<Vec<(PathBuf, PathBuf)>> {
    let (input, output) = (&a.input, &a.output);
    let named = |path: PathBuf| a.format.as_ref().map_or_else(|| path.clone(), |f| path.with_extension(f));
    if !input.is_dir() {
        let target = match input.file_name() {
            Some(name) if output.is_dir() => named(output.join(name)),
            _ => output.to_owned(),
        };
        return Ok(vec![(input.to_owned(), target)]);
    }
    if output.is_file() {
        return Err(Error::Usage(format!("{}: is a file; for a folder of pictures give a folder", output.display())));
    }
    if output.exists() && output.canonicalize().ok() == input.canonicalize().ok() {
        return Err(Error::Usage(format!("{}: is the input; choose another folder for the outputs", output.display())));
    }
    let pictures = crate::files::pictures_below(input, output)?;
    let target = |path: PathBuf| {
        let below = path.strip_prefix(input).unwrap_or(&path);
        let target = named(output.join(below));
        (path, target)
    };
    Ok(pictures.into_iter().map(target).collect())
}

/// Refuses before any work what would fail after it or destroy something.
fn check_targets(a: &Arguments, targets: &[(PathBuf, PathBuf)]) -> Result<()> {
    let is_folder = a.input.is_dir();
    let inputs: HashSet<PathBuf> = targets.iter().filter_map(|(input, _)| input.canonicalize().ok()).collect();
    let is_input = |path: &Path| path.canonicalize().is_ok_and(|path| inputs.contains(&path));
    let refuse = |path: &Path, problem: &str| Err(Error::Usage(format!("{}: {problem}", path.display())));
    let mut made: HashMap<&Path, &Path> = HashMap::new();
    for (input, output) in targets {
        if is_input(output) {
            return refuse(output, "is the input; choose another output, inputs are never overwritten");
        }
        if let Some(other) = made.insert(output, input) {
            return refuse(
                input,
                &format!("and {} would both become {}; rename one of them", other.display(), output.display()),
            );
        }
        if !is_folder && output.exists() && !a.overwrite {
            return refuse(output, "exists; give --overwrite or another output");
        }
        let format = Picture::format_for(&output.display().to_string())?;
        if let Some(wanted) = &a.format
            && Format::of_name(&format!(".{wanted}")) != Some(format)
        {
            return refuse(output, &format!("names another format than --format {wanted}; leave --format out"));
        }
    }
    // The folder of a folder's outputs is made; its parent must be there.
    let folder = if is_folder { &a.output } else { &targets[0].1 };
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() && !parent.is_dir() {
        return refuse(parent, "the folder does not exist; create it first");
    }
    if let Some(compare) = &a.compare {
        if is_input(compare) || targets.iter().any(|(_, output)| output == compare) {
            return refuse(compare, "is the input or the output; choose another file for the comparison");
        }
        if compare.exists() && !a.overwrite {
            return refuse(compare, "exists; give --overwrite or another file for the comparison");
        }
        Picture::format_for(&compare.display().to_string())?;
    }
    Ok(())
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
