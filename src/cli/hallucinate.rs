//! `lineament hallucinate`.

use super::out::{self, say};
use super::{Common, detect, finite, interrupt};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::vision::boxes::Detection;
use crate::vision::image::{Channels, Picture, Rect};
use crate::vision::models::cbn::cascade::{Cascade, Variant};
use crate::vision::models::cbn::shape::Point;
use crate::vision::models::shipped;
use crate::vision::tasks::detect::Detector;
use crate::vision::tasks::hallucinate::frame::Frame;
use crate::vision::tasks::hallucinate::hallucinator::{Ask, Hallucinator, input};
use crate::vision::tasks::hallucinate::sheet;
use crate::vision::training::faces::landmarks;
use crate::weights::Weights;
use clap::Args;
use serde_json::json;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A cascade by its weights.
#[derive(Args, Clone)]
#[group(id = "Cascade")]
pub struct Model {
    /// Weights file from train hallucinate; without it, the weights that come with lineament.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub weights: Option<PathBuf>,
    /// Which shipped weights to use: small reads faces of 16 × 16 pixels (5 between the eyes) in the frames that landmarks give,
    /// small-found in those of a face detector, small-8px faces of 28 × 28 (8 between the eyes); without it, small-found for faces that
    /// were found or lie in a --box, else small.
    #[arg(long, value_parser = ["small", "small-found", "small-8px"])]
    pub preset: Option<String>,
}

impl Model {
    /// Opens the cascade and all networks of the file, or of the weights that come with lineament: those of `preset` unless the user
    /// names others.
    pub fn open(&self, preset: &str) -> Result<(Cascade, Weights)> {
        let file = match &self.weights {
            Some(file) => Weights::open(file)?,
            None => {
                let model = format!("cbn-{}", self.preset.as_deref().unwrap_or(preset));
                let shipped = shipped::all().iter().find(|shipped| shipped.model == model);
                let lacks = || {
                    let remedy = "train them (lineament train hallucinate) or give --weights FILE";
                    Error::Usage(format!("no weights of {model} come with lineament; {remedy}"))
                };
                shipped.ok_or_else(lacks)?.open()?
            }
        };
        Cascade::open(&file)
    }
}

/// Reconstruct large faces from those of about 16 × 16 pixels in a picture.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament hallucinate group.jpg face.png
  lineament hallucinate group.jpg face.png --box 310,84,22,22 --sheet sheet.png
  lineament hallucinate photo.jpg face.png --points photo.csv --json
  lineament hallucinate tiny.png face.png --aligned

The faces are found as `lineament detect` finds them, unless --box, --points or --aligned says where one is. A single face is written to \
OUT; several are written to OUT_1 and so on, in reading order, each with its number before OUT's ending.

An aligned face fills the picture's largest centred square, with the eyes at 36\u{a0}% and 64\u{a0}% of the width and \
29\u{a0}% of the height, and the mouth at 60\u{a0}% of the height. Each face is first resized to 16 × 16 pixels (28 × 28 with small-8px), \
whatever its size in the picture; the result is its luminance.

The sheet has a row for each face: the input, bicubic, four panels from the last level of the full network (its common branch, its \
high-frequency branch, its gate, its warped prior), the result, and the original if the picture has enough pixels. --json includes 68 \
landmarks of each face in pixels of IN, as found by the last level.")]
pub struct Arguments {
    /// A picture with faces.
    input: PathBuf,
    /// The picture to write: png, jpg, webp, bmp, tif.
    output: PathBuf,
    /// 68 landmarks that locate the face: one line per picture, name,x1,y1,…,x68,y68 in pixels. The file's only line is used, or
    /// the line with IN's name.
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["area", "aligned"])]
    points: Option<PathBuf>,
    /// The face's square in pixels of IN; a rectangle stands for the square around it.
    #[arg(long = "box", value_name = "X,Y,W,H", value_parser = parse_box, allow_hyphen_values = true)]
    area: Option<Area>,
    /// The picture is one aligned face: nothing is searched.
    #[arg(long, conflicts_with = "area")]
    aligned: bool,
    /// Also write a contact sheet.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Overwrite outputs that exist.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    detector: detect::Model,
    #[command(flatten)]
    common: Common,
}

/// Left, top, width, height.
pub type Area = [f64; 4];

/// Parses a box with an area.
pub fn parse_box(text: &str) -> std::result::Result<Area, String> {
    let area = finite(text).filter(|[_, _, w, h]| *w > 0.0 && *h > 0.0);
    area.ok_or_else(|| format!("expected X,Y,W,H in pixels, such as 310,84,22,22, got {text:?}"))
}

/// Formats a number for messages, briefly even if it is large.
fn short(v: f64) -> String {
    if v.abs() < 1e7 { v.to_string() } else { format!("{v:e}") }
}

/// A face to reconstruct.
struct Found {
    frame: Frame,
    /// As the detector found it.
    detection: Option<Detection>,
}

/// Returns where the face of `picture` is, or `None` if the arguments do not tell.
fn given(a: &Arguments, picture: &Picture) -> Result<Option<Frame>> {
    let size = [picture.height(), picture.width()];
    if let Some(file) = &a.points {
        let list = landmarks(file)?;
        let name = a.input.file_name().unwrap_or_default().to_string_lossy();
        let found = match &list[..] {
            [one] => Some(one),
            all => all.iter().find(|f| f.name == name),
        };
        let wrong = |problem: String| Error::import(file.display().to_string(), problem);
        let face = found.ok_or_else(|| wrong(format!("has no line for {name}; add one")))?;
        let frame = Frame::of_face(&face.points, size).map_err(|e| wrong(format!("the landmarks of {name}: {e}")));
        return frame.map(Some);
    }
    let (width, height) = (size[1] as f64, size[0] as f64);
    if a.aligned {
        // The square lies within the picture.
        let side = width.min(height);
        return Frame::of_square([0.5 * (width - side), 0.5 * (height - side)], side).map(Some);
    }
    let Some([x, y, w, h]) = a.area else { return Ok(None) };
    let wrong = |problem: &str| {
        let [x, y, w, h] = [x, y, w, h].map(short);
        Error::Usage(format!("{}: --box {x},{y},{w},{h}: {problem}", a.input.display()))
    };
    if x + w <= 0.0 || y + h <= 0.0 || x >= width || y >= height {
        return Err(wrong(&format!(
            "lies outside of the picture, which has {width} × {height} pixels; give a box inside it"
        )));
    }
    // The box lies within the square.
    let side = w.max(h);
    let frame = Frame::of_square([x + 0.5 * (w - side), y + 0.5 * (h - side)], side)?;
    frame.check(size).map_err(|e| wrong(&e.to_string()))?;
    Ok(Some(frame))
}

/// Finds the faces of `picture`, in reading order.
fn found(a: &Arguments, picture: &Picture, detector: &mut Detector) -> Result<Vec<Found>> {
    let mut found = detector.find(picture, a.detector.ask())?;
    // A face outside of the picture has no pixels.
    found.retain(|face| face.bounds.pixels(picture).is_some());
    if found.is_empty() {
        return Err(Error::Usage(format!(
            "{}: no face found; give a lower --threshold, the face's --box, or --aligned if the picture is one",
            a.input.display()
        )));
    }
    found.sort_by(|a, b| a.bounds.y.total_cmp(&b.bounds.y).then(a.bounds.x.total_cmp(&b.bounds.x)));
    let size = [picture.height(), picture.width()];
    let of = |detection: Detection| {
        let frame = Frame::of_box(&detection.bounds)?;
        frame.check(size).map_err(|e| Error::image(a.input.display(), e.to_string()))?;
        Ok(Found { frame, detection: Some(detection) })
    };
    found.into_iter().map(of).collect()
}

/// Returns the path of face `k` (from 0) of `count`.
fn numbered(output: &Path, k: usize, count: usize) -> PathBuf {
    if count == 1 {
        return output.to_owned();
    }
    let mut name = output.file_stem().unwrap_or_default().to_owned();
    name.push(format!("_{}", k + 1));
    if let Some(ending) = output.extension() {
        name.push(".");
        name.push(ending);
    }
    output.with_file_name(name)
}

/// Rejects, before any work, a file for a face or the sheet that cannot be written or would destroy something.
fn check(a: &Arguments, output: &Path, existing: Existing) -> Result<()> {
    let refuse = |problem: &str| Err(Error::Usage(format!("{}: {problem}", output.display())));
    Picture::format_for(&output.display().to_string())?;
    if output.exists() && output.canonicalize().ok() == a.input.canonicalize().ok() {
        return refuse("is the input; choose another output, because inputs are never overwritten");
    }
    files::check_output(output, existing)
}

/// Rejects a face's file that is the sheet's too. The folders of both exist.
fn check_apart(a: &Arguments, output: &Path) -> Result<()> {
    let place = |path: &Path| files::folder_of(path).canonicalize().ok().zip(path.file_name().map(OsStr::to_owned));
    if a.sheet.as_deref().map(place) == Some(place(output)) {
        let problem = "is both the face and the sheet; give --sheet another file";
        return Err(Error::Usage(format!("{}: {problem}", output.display())));
    }
    Ok(())
}

/// Writes a picture in the format that the name of `path` specifies.
pub fn save(picture: &Picture, path: &Path, existing: Existing) -> Result<()> {
    let bytes = picture.encode(Picture::format_for(&path.display().to_string())?)?;
    files::write_whole(path, existing, |file| file.write_all(&bytes).map_err(|e| Error::io(path, e)))
}

pub fn run(a: &Arguments) -> Result<u8> {
    let existing = Existing::overwrite(a.overwrite);
    [Some(&a.output), a.sheet.as_ref()].into_iter().flatten().try_for_each(|output| check(a, output, existing))?;
    check_apart(a, &a.output)?;
    let picture = Picture::open(&a.input)?;
    let given = given(a, &picture)?;
    if given.is_some() && a.detector != detect::Model::default() {
        return Err(Error::Usage(
            "--box, --points or --aligned says where the face is; leave out the options of a detector".into(),
        ));
    }
    let is_upright = a.aligned || a.points.is_some();
    let (cascade, weights) = a.model.open(if is_upright { "small" } else { "small-found" })?;
    let (device, faces) = match given {
        Some(frame) => (a.common.open()?, vec![Found { frame, detection: None }]),
        None => {
            let mut detector = a.detector.open(&a.common)?;
            let faces = found(a, &picture, &mut detector)?;
            (detector.device().clone(), faces)
        }
    };
    let outputs: Vec<PathBuf> = (0..faces.len()).map(|k| numbered(&a.output, k, faces.len())).collect();
    outputs.iter().try_for_each(|output| check(a, output, existing).and_then(|()| check_apart(a, output)))?;
    let side = cascade.side();
    let ask = Ask { details: true, given_p: false };
    let hallucinator = Hallucinator::new(&device, &cascade, &weights, Variant::Full, 1, ask)?;
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    for (found, output) in faces.iter().zip(&outputs) {
        interrupt::check()?;
        let (i_0, original) = input(&picture, &found.frame, &cascade)?;
        let begin = Instant::now();
        let face = hallucinator.run(std::slice::from_ref(&i_0), None)?.swap_remove(0);
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        let plane = face.i.last().map(Vec::as_slice).unwrap_or_default();
        let mut result = Picture::new("face", side, side, Channels::Grey, 8)?;
        result.put_grey(Rect { top: 0, left: 0, height: side, width: side }, plane)?;
        save(&result, output, existing)?;
        let place = found.detection.as_ref().map(|Detection { bounds: b, score, .. }| {
            format!(" {:.1},{:.1},{:.1},{:.1} ({score:.2})", b.x, b.y, b.width, b.height)
        });
        let (from, to, place) = (out::shown(&a.input), out::shown(output), place.unwrap_or_default());
        say!("{from}{place} → {to}: {side} × {side} in {ms:.0} ms on {}", device.describe());
        if a.sheet.is_some() {
            rows.push(sheet::panels(&i_0, &face, side, original.as_deref())?);
        }
        let to_picture = found.frame.to_frame.inverse();
        let landmarks: Vec<Point> = face.p.last().map(|p| cascade.shape.landmarks(p)).unwrap_or_default();
        let landmarks: Vec<Point> = landmarks.into_iter().map(|p| to_picture.apply(p)).collect();
        let bounds = found.detection.as_ref().map(|face| face.bounds);
        objects.push(json!({
            "output": out::path(output), "box": bounds.map(|b| [b.x, b.y, b.width, b.height]),
            "score": found.detection.as_ref().map(|face| face.score), "ms": ms, "landmarks": landmarks,
        }));
    }
    if let Some(file) = &a.sheet {
        let planes: Vec<Vec<&[f32]>> = rows.iter().map(|row| row.iter().map(Vec::as_slice).collect()).collect();
        save(&sheet::grid("sheet", side, &sheet::PANELS, &planes)?, file, existing)?;
        say!("{}: {}", out::shown(file), sheet::names(rows.iter().map(Vec::len).max().unwrap_or(0)));
    }
    if a.common.json {
        out::json(&json!({
            "input": out::path(&a.input), "faces": objects, "sheet": a.sheet.as_ref().map(out::path), "side": side,
            "device": device.describe(),
        }));
    }
    Ok(0)
}
