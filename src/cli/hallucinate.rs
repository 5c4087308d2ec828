//! `lineament hallucinate`.

use super::out::{self, say};
use super::{Common, finite, interrupt};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::vision::image::{Channels, Picture, Rect};
use crate::vision::models::cbn::cascade::{Cascade, Variant};
use crate::vision::models::cbn::network::Config;
use crate::vision::models::cbn::shape::Point;
use crate::vision::models::shipped;
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
pub struct Model {
    /// Weights file from train hallucinate; without it, the weights that come with lineament.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub weights: Option<PathBuf>,
    /// Which shipped weights to use: small reads faces of 16 × 16 pixels (5 between the eyes), small-8px of 28 × 28 (8 between
    /// the eyes).
    #[arg(long, default_value = "small", value_parser = ["small", "small-8px"])]
    pub preset: String,
}

impl Model {
    /// Opens the cascade and all networks of the file.
    pub fn open(&self) -> Result<(Cascade, Weights)> {
        let file = match &self.weights {
            Some(file) => Weights::open(file)?,
            None => {
                let config = Config::preset(&self.preset)?;
                let (model, scale) = (format!("cbn-{}", self.preset), config.side() / config.input_side);
                shipped::open(&model, scale).ok_or_else(|| {
                    let remedy = "train them (lineament train hallucinate) or give --weights FILE";
                    Error::Usage(format!("no weights of {model} come with lineament; {remedy}"))
                })??
            }
        };
        Cascade::open(&file)
    }
}

/// Reconstruct a large face from one of about 16 × 16 pixels.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament hallucinate tiny.png face.png
  lineament hallucinate group.jpg face.png --box 310,84,22,22 --sheet sheet.png
  lineament hallucinate photo.jpg face.png --points photo.csv --json

Without --points or --box, the face must fill the picture's largest centred square, with the eyes at 36\u{a0}% and 64\u{a0}% of the width and \
29\u{a0}% of the height, and the mouth at 60\u{a0}% of the height. The face is first resized to 16 × 16 pixels (28 × 28 with small-8px), whatever \
its size in the picture; the result is its luminance.

The sheet shows the input, bicubic, four panels from the last level of the full network (its common branch, its high-frequency \
branch, its gate, its warped prior), the result, and the original if the picture has enough pixels. --json includes 68 landmarks in \
pixels of IN, as found by the last level.")]
pub struct Arguments {
    /// A picture with a face.
    input: PathBuf,
    /// The picture to write: png, jpg, webp, bmp, tif.
    output: PathBuf,
    /// 68 landmarks that locate the face: one line per picture, name,x1,y1,…,x68,y68 in pixels. The file's only line is used, or
    /// the line with IN's name.
    #[arg(long, value_name = "FILE.csv", conflicts_with = "area")]
    points: Option<PathBuf>,
    /// The face's square in pixels of IN; a rectangle stands for the square around it.
    #[arg(long = "box", value_name = "X,Y,W,H", value_parser = parse_box, allow_hyphen_values = true)]
    area: Option<Area>,
    /// Also write a contact sheet.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Overwrite outputs that exist.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    model: Model,
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

/// Returns the frame of the face in `picture`.
fn frame(a: &Arguments, picture: &Picture) -> Result<Frame> {
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
        return Frame::of_face(&face.points, size).map_err(|e| wrong(format!("the landmarks of {name}: {e}")));
    }
    let (width, height) = (size[1] as f64, size[0] as f64);
    let Some([x, y, w, h]) = a.area else {
        // The square lies within the picture.
        let side = width.min(height);
        return Frame::of_square([0.5 * (width - side), 0.5 * (height - side)], side);
    };
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
    Ok(frame)
}

/// Rejects, before any work, outputs that cannot be written or would destroy something.
fn check(a: &Arguments, existing: Existing) -> Result<()> {
    let refuse = |path: &Path, problem: &str| Err(Error::Usage(format!("{}: {problem}", path.display())));
    let input = a.input.canonicalize().ok();
    for output in [Some(&a.output), a.sheet.as_ref()].into_iter().flatten() {
        Picture::format_for(&output.display().to_string())?;
        if output.exists() && output.canonicalize().ok() == input {
            return refuse(output, "is the input; choose another output, because inputs are never overwritten");
        }
        files::check_output(output, existing)?;
    }
    // The folder is known to exist here.
    let place = |path: &Path| files::folder_of(path).canonicalize().ok().zip(path.file_name().map(OsStr::to_owned));
    if a.sheet.as_deref().map(place) == Some(place(&a.output)) {
        return refuse(&a.output, "is both the face and the sheet; give --sheet another file");
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
    check(a, existing)?;
    let picture = Picture::open(&a.input)?;
    let frame = frame(a, &picture)?;
    let (cascade, weights) = a.model.open()?;
    let device = a.common.open()?;
    let side = cascade.side();
    let (i_0, original) = input(&picture, &frame, &cascade)?;
    let ask = Ask { details: true, given_p: false };
    let hallucinator = Hallucinator::new(&device, &cascade, &weights, Variant::Full, 1, ask)?;
    interrupt::check()?;
    let begin = Instant::now();
    let face = hallucinator.run(std::slice::from_ref(&i_0), None)?.swap_remove(0);
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let plane = face.i.last().map(Vec::as_slice).unwrap_or_default();
    let mut result = Picture::new("face", side, side, Channels::Grey, 8)?;
    result.put_grey(Rect { top: 0, left: 0, height: side, width: side }, plane)?;
    save(&result, &a.output, existing)?;
    let (from, to) = (out::shown(&a.input), out::shown(&a.output));
    say!("{from} → {to}: {side} × {side} in {ms:.0} ms on {}", device.describe());
    if let Some(file) = &a.sheet {
        let row = sheet::panels(&i_0, &face, side, original.as_deref())?;
        let sheet = sheet::grid("sheet", side, &sheet::PANELS, &[row.iter().map(Vec::as_slice).collect()])?;
        save(&sheet, file, existing)?;
        say!("{}: {}", out::shown(file), sheet::names(row.len()));
    }
    if a.common.json {
        let to_picture = frame.to_frame.inverse();
        let found: Vec<Point> = face.p.last().map(|p| cascade.shape.landmarks(p)).unwrap_or_default();
        let found: Vec<Point> = found.into_iter().map(|p| to_picture.apply(p)).collect();
        let object = json!({
            "input": out::path(&a.input), "output": out::path(&a.output), "sheet": a.sheet.as_ref().map(out::path),
            "side": side, "ms": ms, "device": device.describe(), "landmarks": found,
        });
        out::json(&object);
    }
    Ok(0)
}
