//! `lineament detect`.

use super::hallucinate::save;
use super::network;
use super::out::{self, say};
use super::{Common, interrupt, progress};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::vision::boxes::Detection;
use crate::vision::image::{Frames, Picture, folder};
use crate::vision::models::shipped;
use crate::vision::tasks::detect::{self as cascade, Ask, Detector, Reading, mark};
use crate::weights::Weights;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Returns the weights of a cascade: those in a file, or those that come with lineament.
pub fn weights(file: Option<&PathBuf>) -> Result<Weights> {
    let none =
        || Error::Usage("no cascade comes with lineament; give --model FILE, of `lineament train detect`".into());
    file.map_or_else(|| shipped::open("faces", 1).ok_or_else(none)?, Weights::open)
}

/// Returns the weights of the parts' networks: those in a file, or those that come with lineament.
pub fn parts(file: Option<&PathBuf>) -> Result<Weights> {
    let none = || {
        Error::Usage(
            "no networks of parts come with lineament; give --parts FILE, of `lineament train detect --stage parts`"
                .into(),
        )
    };
    file.map_or_else(|| shipped::open("parts", 1).ok_or_else(none)?, Weights::open)
}

/// How the networks of a cascade find faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Plan {
    /// Each band's networks look at the picture itself.
    #[default]
    Bands,
    /// Only the second band's networks, on the picture, three times as large, and a quarter as large: a single network with a pyramid.
    Pyramid,
    /// Faceness: the networks of parts propose windows, the second band's judges them.
    Parts,
}

impl Plan {
    /// Returns the plan of a cascade, if it is one.
    pub fn of_cascade(self) -> Option<cascade::Plan> {
        match self {
            Self::Bands => Some(cascade::Plan::Bands),
            Self::Pyramid => Some(cascade::Plan::Pyramid),
            Self::Parts => None,
        }
    }
}

/// What finds faces.
#[derive(Args, Clone, Default, PartialEq)]
pub struct Model {
    /// What finds faces, instead of the cascade that comes with lineament: an ONNX file, the .param of an ncnn network, or the weights of
    /// another cascade (.safetensors). A YuNet is known by its outputs.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// What any other network takes and what its outputs mean; see docs/detect.md.
    #[arg(long, value_name = "TOML", requires = "model")]
    pub reading: Option<PathBuf>,
    /// How the networks of a cascade find faces.
    #[arg(long, value_name = "PLAN", value_enum, default_value_t)]
    pub plan: Plan,
    /// Weights of the networks of parts, for --plan parts, instead of those that come with lineament.
    #[arg(long, value_name = "FILE")]
    pub parts: Option<PathBuf>,
    /// Least score of a face [default: the model's]
    #[arg(long, value_name = "T", value_parser = part)]
    pub threshold: Option<f64>,
    /// Largest IoU of two faces [default: the model's]
    #[arg(long, value_name = "IOU", value_parser = part)]
    pub overlap: Option<f64>,
    /// Leave out faces whose longer side is shorter.
    #[arg(long, value_name = "PX", value_parser = pixels)]
    pub min_size: Option<f64>,
}

fn part(text: &str) -> std::result::Result<f64, String> {
    let number = text.trim().parse().ok().filter(|v: &f64| (0.0..=1.0).contains(v));
    number.ok_or_else(|| format!("expected 0 to 1, got {text:?}"))
}

fn pixels(text: &str) -> std::result::Result<f64, String> {
    let number = text.trim().parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
    number.ok_or_else(|| format!("expected a number of pixels, such as 20, got {text:?}"))
}

impl Model {
    /// Opens the networks on a device.
    pub fn open(&self, common: &Common) -> Result<Detector> {
        let is_cascade = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "safetensors");
        if let Some(file) = self.model.as_ref().filter(|file| !is_cascade(file)) {
            return self.imported(file, common);
        }
        if self.reading.is_some() {
            return Err(Error::Usage("--reading is for imported networks; a cascade needs none".into()));
        }
        let (device, cascade) = (common.open()?, weights(self.model.as_ref())?);
        match self.plan.of_cascade() {
            Some(_) if self.parts.is_some() => Err(Error::Usage("--parts is for --plan parts".into())),
            Some(plan) => Detector::cascade(&device, &cascade, plan),
            None => Detector::parts(&device, &parts(self.parts.as_ref())?, &cascade),
        }
    }

    fn imported(&self, file: &Path, common: &Common) -> Result<Detector> {
        if self.plan != Plan::Bands || self.parts.is_some() {
            return Err(Error::Usage("--plan and --parts are for a cascade; leave them out".into()));
        }
        let reading = self.reading.as_ref().map(Reading::open).transpose()?;
        let model = network::open(file)?;
        Detector::new(&common.open()?, model, reading).map_err(|e| match e {
            Error::Usage(problem) => Error::import(file.display().to_string(), problem),
            other => other,
        })
    }

    pub fn ask(&self) -> Ask {
        Ask { threshold: self.threshold, overlap: self.overlap, min_size: self.min_size.unwrap_or(0.0) }
    }
}

/// Find the faces in pictures.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament detect group.jpg --model yunet.onnx
  lineament detect holiday/ --model yunet.onnx --draw marked/ --crop faces/
  lineament detect group.jpg --model rfb.onnx --reading rfb.toml --threshold 0.7 --json

A face is printed with its score and its box: left, top, width × height in pixels of the picture as it is shown. Of GIFs and other files of several \
pictures, each is searched. --draw writes DIR/NAME.png with boxes and landmarks, --crop DIR/NAME_1.png and so on, a file for each face; of \
several pictures, NAME has their number.")]
pub struct Arguments {
    /// Pictures, or folders of pictures.
    #[arg(required = true, value_name = "IN")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    model: Model,
    /// Write the pictures with the faces marked into this folder.
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// Write each face into this folder.
    #[arg(long, value_name = "DIR")]
    crop: Option<PathBuf>,
    /// Overwrite files that exist.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    common: Common,
}

/// Where results are written.
struct Outputs<'a> {
    draw: Option<&'a Path>,
    crop: Option<&'a Path>,
    existing: Existing,
    /// The inputs, which are never overwritten, and what was written.
    taken: BTreeSet<PathBuf>,
}

impl Outputs<'_> {
    /// Writes a picture, unless this run has read or written that file.
    fn write(&mut self, picture: &Picture, folder: &Path, name: &str) -> Result<Value> {
        let path = folder.join(format!("{name}.png"));
        // A file that does not exist yet has no canonical path, but its folder has.
        let place = folder.canonicalize().map_err(|e| Error::io(folder, e))?.join(format!("{name}.png"));
        if !self.taken.insert(place) {
            let problem = "is another picture of this run; give pictures of one name one at a time";
            return Err(Error::Usage(format!("{}: {problem}", path.display())));
        }
        save(picture, &path, self.existing)?;
        Ok(out::path(&path))
    }

    /// Writes what is asked for of a picture, and adds the files to its object.
    fn results(&mut self, picture: &Picture, found: &[Detection], name: &str, object: &mut Value) -> Result<()> {
        if let Some(folder) = self.draw {
            object["draw"] = self.write(&mark(picture, found)?, folder, name)?;
        }
        if let Some(folder) = self.crop {
            for (k, face) in found.iter().enumerate() {
                // Faces beyond the picture leave nothing to write.
                if let Some(rect) = face.bounds.pixels(picture) {
                    object["faces"][k]["crop"] =
                        self.write(&picture.crop(rect)?, folder, &format!("{name}_{}", k + 1))?;
                }
            }
        }
        Ok(())
    }
}

/// Returns a face for programs.
fn object(face: &Detection) -> Value {
    let b = &face.bounds;
    json!({ "box": [b.x, b.y, b.width, b.height], "score": face.score, "points": face.points })
}

/// Finds the faces of all pictures in a file.
fn search(path: &Path, detector: &mut Detector, ask: Ask, outputs: &mut Outputs) -> Result<Vec<Value>> {
    let mut frames = Frames::open(path)?;
    let (count, mut results) = (frames.count(), Vec::new());
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    while let Some(frame) = frames.next_frame()? {
        interrupt::check()?;
        let (picture, number) = (frame.picture, results.len() + 1);
        let found = detector.find(&picture, ask)?;
        let mut result = json!({
            "input": out::path(path), "frame": (count > 1).then_some(number), "width": picture.width(), "height": picture.height(),
            "faces": found.iter().map(object).collect::<Vec<_>>(),
        });
        let name = if count > 1 { format!("{stem}_{number:04}") } else { stem.clone() };
        outputs.results(&picture, &found, &name, &mut result)?;
        let place = if count > 1 { format!(" picture {number}") } else { String::new() };
        say!("{}{place}: {}", out::shown(path), out::count(found.len(), "face"));
        for face in &found {
            let b = &face.bounds;
            say!("  {:.3} at {:.1},{:.1} {:.1} × {:.1}", face.score, b.x, b.y, b.width, b.height);
        }
        results.push(result);
    }
    Ok(results)
}

pub fn run(a: &Arguments) -> Result<u8> {
    let paths = folder::pictures_of(&a.inputs)?;
    let mut outputs = Outputs {
        draw: a.draw.as_deref(),
        crop: a.crop.as_deref(),
        existing: Existing::overwrite(a.overwrite),
        taken: paths.iter().filter_map(|path| path.canonicalize().ok()).collect(),
    };
    let mut detector = a.model.open(&a.common)?;
    for folder in [&a.draw, &a.crop].into_iter().flatten() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        // Only a write shows whether a folder can be written to.
        files::check_output(&folder.join("x.png"), Existing::Replace)?;
    }
    let begin = Instant::now();
    let bar = progress::bar(paths.len() as u64, "pictures");
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for path in &paths {
        interrupt::check()?;
        // A broken file does not stop the others.
        match bar.suspend(|| search(path, &mut detector, a.model.ask(), &mut outputs)) {
            Ok(found) => results.extend(found),
            Err(e @ Error::Interrupted) => return Err(e),
            Err(e) if paths.len() == 1 => return Err(e),
            Err(e) => {
                bar.suspend(|| out::error(&e));
                errors.push(json!({ "input": out::path(path), "error": out::one_line(&e.to_string()) }));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let failed = errors.len();
    if a.common.json {
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        out::json(&json!({ "pictures": results, "errors": errors, "ms": ms, "device": detector.device().describe() }));
    }
    Ok(if failed == 0 { 0 } else { 1 })
}
