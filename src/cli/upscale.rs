//! `lineament upscale`: arguments, the pictures left to do, and the report.

mod networks;
mod pipeline;
mod targets;

use super::out::{self, note, say};
use super::{Common, progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::files::Existing;
use crate::ops::resize::{Ratio, Resize};
use crate::vision::image::{Encoding, Format, Picture, Sequence, Size};
use crate::vision::models::SuperResolution;
use crate::vision::models::shipped;
use crate::vision::tasks::upscale::Upscaler;
use crate::weights::Weights;
use clap::Args;
use pipeline::{Job, Threads, Work, Written};
use serde_json::{Value, json};
use std::path::PathBuf;
use targets::{Asked, Ending, Input, Output, Target, Targets};

/// A super-resolution network by name.
#[derive(Args, Clone)]
pub struct Model {
    /// Network: fsrcnn, fsrcnn-s, srcnn, srcnn-9-3-5, srcnn-9-5-5.
    #[arg(long, default_value = "fsrcnn")]
    pub model: String,
    /// Output pixels per input pixel, along each side: 2, 3 or 4.
    #[arg(long, value_parser = parse_factor)]
    pub scale: usize,
    /// Weights file; without it, the weights that come with lineament.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
}

fn parse_factor(text: &str) -> std::result::Result<usize, String> {
    text.parse().map_err(|_| "expected 2, 3 or 4".to_owned())
}

impl Model {
    /// Returns `model` for `scale` with the weights that come with lineament.
    pub fn shipped(model: &str, scale: usize) -> Self {
        Self { model: model.into(), scale, weights: None }
    }

    /// Opens the network with its weights on `device`.
    pub fn open(&self, device: Device, tile: Option<usize>) -> Result<Upscaler> {
        let model = SuperResolution::new(&self.model, self.scale)?;
        let weights = match &self.weights {
            Some(file) => Weights::open(file)?,
            None => shipped::open(&self.model, self.scale)
                .ok_or_else(|| networks::lacks(&self.model, Some(&self.scale.to_string())))??,
        };
        Upscaler::new(device, model, weights, tile)
    }
}

/// Enlarge pictures: files, or all pictures in a folder and its subfolders.
#[derive(Args)]
#[command(override_usage = "lineament upscale [OPTIONS] IN... OUT\n       lineament upscale [OPTIONS] -i IN -o OUT")]
#[command(after_help = "Examples:
  lineament upscale photo.jpg photo_x3.png --scale 3
  lineament upscale -i photo.jpg -o larger.webp -s 2.5
  lineament upscale holiday/ holiday_x3/ --scale 3
  lineament upscale a.png b.png scans/ big/ --scale 2 --format webp
  lineament upscale frames/ big/ --scale 2 --self-check
  lineament upscale scan.tif big.tif --scale 3 --vram 512M --device llvmpipe --json
  lineament upscale cat.gif big.webp --scale 2 --quality 80
  lineament upscale photo.jpg large.png --model net.onnx
  lineament upscale drawing.png large.png --model net.param --scale 4
  lineament upscale - - --scale 2 < small.png > large.png

A network enlarges by 2, 3 or 4. For any other scale, one or more networks run in sequence, with the smallest product that is \
at least the scale, and a bicubic step reduces the result to the exact size.

--model takes networks of other programs too, which read and make luminance (1 channel) or red, green and blue (3 channels) in 0..1. Their \
scale, their borders and how windows must overlap are found from the network.

The extension of OUT sets the format: png, jpg, webp, bmp, tif, gif. An animated GIF, PNG or WebP keeps its frames, delays \
and repetitions and must be written as one of these three; a TIFF with several pages must be written as a TIFF. In a GIF, a \
pixel is either transparent or opaque, and each frame has 256 colours.

In a folder, each picture keeps its path, and its format unless --format is given; with several inputs, a folder keeps its \
name too. Other files are ignored, and links to folders are not followed. If pictures would get the same name under --format, \
each keeps its own extension in the name: a.png.webp and a.jpg.webp. Files are renamed into place when they are complete, and \
outputs that exist in a folder are skipped, so that the same command continues after an interruption or a kill. Inputs are \
never overwritten.")]
pub struct Arguments {
    /// Pictures or folders of pictures, and last the picture or the folder to write; - is standard input or output.
    #[arg(value_name = "IN... OUT", required_unless_present = "input")]
    paths: Vec<PathBuf>,
    /// A picture or a folder, as IN; may be given several times.
    #[arg(long, short, value_name = "IN")]
    input: Vec<PathBuf>,
    /// The picture or the folder to write, in place of OUT.
    #[arg(long, short, value_name = "OUT")]
    output: Option<PathBuf>,
    #[command(flatten)]
    networks: networks::Wanted,
    /// Side of a window in pixels of the network's input; 0 processes every picture whole. The result does not depend on it, unless a
    /// network of another program reaches further than windows overlap, which is said.
    #[arg(long, short, value_name = "PX", value_parser = parse_tile)]
    tile: Option<usize>,
    /// Use the largest window whose plan needs at most this much adapter memory: bytes, or a number with K, M or G.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, conflicts_with = "tile")]
    vram: Option<u64>,
    /// Number of threads that read, and of threads that write, 1 to 256; or READ:COMPUTE:WRITE, such as 1:2:2, where COMPUTE
    /// has no effect because one adapter computes. The results do not depend on it.
    #[arg(long, short = 'j', value_name = "N", value_parser = parse_threads)]
    threads: Option<Threads>,
    /// Format of the outputs in a folder and of standard output: png, jpg, jpeg, webp, bmp, tif, tiff, gif.
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<Ending>,
    /// Quality of JPEG and WebP, 1 to 100; the default is 95 for JPEG and lossless for WebP.
    #[arg(long, value_name = "1..100", value_parser = parse_quality)]
    quality: Option<u8>,
    /// Omit EXIF, XMP and the resolution; the colour profile is kept.
    #[arg(long)]
    strip: bool,
    /// Overwrite outputs that exist; inputs are never overwritten.
    #[arg(long)]
    overwrite: bool,
    /// First compare a tile of the first picture with the f64 references, and write nothing if the adapter is wrong.
    #[arg(long)]
    self_check: bool,
    /// Also write a picture with the bicubic enlargement on the left and ours on the right.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Parses `4096`, `512M`, `1.5G` or `2GiB`; the letters stand for powers of 1024.
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

fn parse_tile(text: &str) -> std::result::Result<usize, String> {
    text.parse().map_err(|_| "expected pixels, such as 256, or 0 for the whole picture".to_owned())
}

fn parse_quality(text: &str) -> std::result::Result<u8, String> {
    let quality = text.parse().ok().filter(|quality| (1..=100).contains(quality));
    quality.ok_or_else(|| "expected 1 (smallest file) to 100 (best picture)".into())
}

fn parse_threads(text: &str) -> std::result::Result<Threads, String> {
    let number = |text: &str| text.parse().ok().filter(|n| (1..=256).contains(n));
    let numbers = text.split(':').map(number).collect::<Option<Vec<usize>>>();
    match numbers.as_deref() {
        Some(&[n]) => Ok(Threads { read: n, write: n }),
        Some(&[read, _, write]) => Ok(Threads { read, write }),
        _ => Err("expected 1 to 256 threads, such as 4, or three such numbers, such as 1:2:2".into()),
    }
}

impl Arguments {
    /// Returns the inputs and the output.
    fn paths(&self) -> std::result::Result<(Vec<PathBuf>, PathBuf), clap::Error> {
        let mut inputs = self.input.clone();
        let mut paths = self.paths.clone();
        let output = self.output.clone().or_else(|| paths.pop());
        inputs.append(&mut paths);
        match output {
            Some(output) if !inputs.is_empty() => Ok((inputs, output)),
            _ => Err(clap::Error::raw(
                clap::error::ErrorKind::MissingRequiredArgument,
                "expected a picture or a folder to read and one to write: IN OUT, or -i IN -o OUT",
            )),
        }
    }

    /// Returns how to write files of `format`.
    fn encoding(&self, format: Format) -> Encoding {
        Encoding { format, quality: self.quality, strip: self.strip }
    }
}

/// The results of all pictures, for `--json`.
#[derive(Default)]
struct Report {
    pictures: Vec<Value>,
    errors: Vec<Value>,
    existing: Vec<Value>,
    frames: usize,
}

impl Report {
    /// Records and prints a written picture; `how` ends the line.
    fn add(&mut self, job: &Job, w: &Written, how: &str) {
        let frames = match w.sequence {
            Sequence::Single => String::new(),
            Sequence::Animation(_) => format!("{} of ", out::count(w.frames, "frame")),
            Sequence::Pages => format!("{} from ", out::count(w.frames, "page")),
        };
        say!(
            "{} → {}: {frames}{} × {}, {}, {}{how}",
            job.input.shown(),
            job.output.shown(),
            w.width,
            w.height,
            out::duration(w.ms / 1e3),
            out::count(w.tiles, "tile")
        );
        self.frames += w.frames;
        self.pictures.push(json!({
            "input": job.input.json(), "output": job.output.json(), "width": w.width, "height": w.height,
            "frames": w.frames, "ms": w.ms, "tiles": w.tiles,
        }));
    }

    fn fail(&mut self, input: &Input, e: &Error) {
        out::error(e);
        self.errors.push(json!({ "input": input.json(), "error": out::one_line(&e.to_string()) }));
    }
}

pub fn run(a: &Arguments) -> Result<u8> {
    let (inputs, output) = match a.paths() {
        Ok(paths) => paths,
        Err(e) => return Ok(out::wrong_usage(&e, a.common.json)),
    };
    if targets::is_dash(&output) {
        if a.common.json {
            return Err(Error::Usage(
                "standard output cannot take both the picture and --json; leave --json out, or give a file as OUT instead of -"
                    .into(),
            ));
        }
        out::stdout_is_data();
    }
    let networks = a.networks.choose()?;
    let scale = networks.scale;
    let existing = Existing::overwrite(a.overwrite);
    let asked =
        Asked { inputs: &inputs, output: &output, ending: a.format.as_ref(), existing, compare: a.compare.as_deref() };
    let targets = asked.targets()?;
    let mut report = Report::default();
    let jobs = jobs(a, &targets, scale, &mut report)?;
    let device = a.common.open()?;
    let described = device.describe();
    let chain = networks.open(&device, a.tile, a.vram)?;
    let made_by = networks::described(&chain);
    targets.prepare_folders()?;
    if a.self_check {
        // A picture that cannot be read is reported below.
        let first =
            jobs.iter().find_map(|job| job.input.open().and_then(|mut frames| frames.next_frame()).ok().flatten());
        if let Some(first) = first {
            chain.self_check(&first.picture)?;
            say!("self-check: a tile of {} agrees with the references", out::shown(first.picture.name()));
        }
    }
    if !jobs.is_empty() {
        note!("{made_by} on {described}");
        if let Some(caution) = networks::caution(&chain) {
            note!("{caution}");
        }
    }
    let bar = progress::bar(jobs.iter().map(|job| job.pixels).sum(), "px");
    let how = chain.rest().map_or_else(String::new, |_| format!(" ({made_by})"));
    let mut done = 0;
    let mut take = |job: &Job, result: Result<Written>| {
        match result {
            Ok(written) => bar.suspend(|| report.add(job, &written, &how)),
            Err(e @ (Error::Interrupted | Error::Device { .. })) => return Err(e),
            // A broken file does not stop the others.
            Err(e) => bar.suspend(|| report.fail(&job.input, &e)),
        }
        done += 1;
        bar.set_message(format!("{done} of {}", out::count(jobs.len(), "picture")));
        Ok(())
    };
    let work = Work {
        chain: &chain,
        existing,
        compare: a.compare.as_deref(),
        threads: a.threads.unwrap_or_else(Threads::of_machine),
    };
    let waited = pipeline::run(&work, &jobs, &|px| bar.inc(px), &mut take);
    let seconds = bar.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let waited = waited?;
    if let (Some(compare), false) = (&a.compare, report.pictures.is_empty()) {
        say!("bicubic beside ours: {}", out::shown(compare));
    }
    if !report.existing.is_empty() {
        let count = out::count(report.existing.len(), "picture");
        say!("skipped {count} whose output exists; --overwrite replaces existing outputs");
    }
    if report.pictures.len() > 1 {
        say!("{} in {}", out::count(report.pictures.len(), "picture"), out::duration(seconds));
    }
    if report.frames > 1 && seconds >= WORTH_SAYING_S && waited >= WORTH_SAYING_SHARE {
        note!("the adapter waited for files to be read or written for {:.0} % of the time", 100.0 * waited);
    }
    let failed = report.errors.len();
    if a.common.json {
        let rest = chain.rest().map(|rest| rest.as_f64());
        let stages: Vec<usize> = chain.stages().iter().map(Upscaler::scale).collect();
        out::json(&json!({
            "pictures": report.pictures, "errors": report.errors, "failed": failed, "skipped": report.existing.len(),
            "existing": report.existing, "device": described, "model": chain.first().name(),
            "channels": chain.channels(), "exact": chain.first().traits().is_exact, "scale": scale.as_f64(), "stages": stages, "bicubic": rest, "waited_share": waited,
        }));
    }
    Ok(if failed == 0 { 0 } else { 1 })
}

/// Minimum duration in seconds and waited share for which a remark on the adapter's waiting time is useful.
const WORTH_SAYING_S: f64 = 5.0;
const WORTH_SAYING_SHARE: f64 = 0.25;

/// Returns the pictures that are left to do. Pictures that count as done, and outputs that are in the way, go to `report`.
fn jobs(a: &Arguments, targets: &Targets, scale: Ratio, report: &mut Report) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for target in &targets.all {
        let size = target.input.measure();
        if let (Some(_), Some(Size { frames: 2.., .. })) = (&a.compare, size) {
            let problem = "holds several pictures; --compare shows one";
            return Err(Error::Usage(format!("{}: {problem}", target.input.name())));
        }
        let result = size.map(|size| enlarged(size, scale));
        match &target.output {
            Output::File(path) if targets.is_folder && !a.overwrite && path.symlink_metadata().is_ok() => {
                // Half of an animation, or a picture at another scale, does not count as done.
                let is_alike = |size: Size| Picture::measure(path).is_some_and(|other| is_same(size, other));
                if result.is_none_or(is_alike) {
                    report.existing.push(json!({ "input": target.input.json(), "output": target.output.json() }));
                } else {
                    let problem = format!(
                        "exists, but is not {} enlarged {} times; give --overwrite or another OUT",
                        target.input.name(),
                        networks::shown(scale)
                    );
                    report.fail(&target.input, &Error::Usage(format!("{}: {problem}", target.output.name())));
                }
            }
            _ => jobs.push(job(target, a.encoding(target.format), size, result)),
        }
    }
    Ok(jobs)
}

/// Returns the enlarged size of a file of `size`; an estimate for pages that differ in size.
fn enlarged(size: Size, scale: Ratio) -> Size {
    let [width, height] = [size.width, size.height].map(|n| scale.size_of(n));
    let times = (width as f64 * height as f64) / (size.width as f64 * size.height as f64).max(1.0);
    let larger = |n: u64| (n as f64 * times).round() as u64;
    Size { width, height, pixels: larger(size.pixels), bytes: larger(size.bytes), ..size }
}

/// Returns whether two files hold the same number of pictures of the same size; width and height may be swapped.
fn is_same(a: Size, b: Size) -> bool {
    let sides = |size: Size| (size.width.min(size.height), size.width.max(size.height));
    sides(a) == sides(b) && a.frames == b.frames
}

fn job(target: &Target, encoding: Encoding, size: Option<Size>, result: Option<Size>) -> Job {
    // Of several pictures, at most one is in each queue and each thread.
    let on_their_way = |size: Size| size.bytes.saturating_mul(size.frames.min(4) as u64);
    let bytes = [size, result].into_iter().flatten().map(on_their_way).fold(0, u64::saturating_add);
    let bytes = size.map_or(bytes, |size| bytes.saturating_add(size.working_bytes));
    if let Some(Size { width, height, frames, .. }) = size {
        log::debug!("{}: {width} × {height}, {} to {encoding:?}", target.input.name(), out::count(frames, "picture"));
    }
    Job {
        input: target.input.clone(),
        output: target.output.clone(),
        encoding,
        pixels: result.map_or(0, |size| size.pixels),
        bytes,
    }
}

/// Returns the bicubic enlargement on the left and `ours` on the right.
fn side_by_side(picture: &Picture, ours: &Picture, op: &Resize) -> Result<Picture> {
    let bicubic = picture.resize(op)?;
    let mut both = Picture::new("comparison", 2 * ours.width(), ours.height(), ours.channels(), ours.samples().bits())?;
    both.set_icc(ours.icc().map(<[u8]>::to_vec));
    both.paste(&bicubic, 0, 0)?;
    both.paste(ours, 0, ours.width())?;
    Ok(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_bounded() {
        assert_eq!(parse_threads("4"), Ok(Threads { read: 4, write: 4 }));
        assert_eq!(parse_threads("1:2:3"), Ok(Threads { read: 1, write: 3 }));
        for text in ["0", "257", "100000", "18446744073709551615", "-1", "1:2", "1:2:0", "1:2:3:4", "", "x"] {
            assert!(parse_threads(text).unwrap_err().contains("1 to 256"), "{text}");
        }
    }
}
