//! `lineament attributes`.

use super::hallucinate::{Area, parse_box, save};
use super::out::{self, note, say};
use super::{Common, interrupt, progress};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::vision::boxes::{Bounds, Detection};
use crate::vision::image::{Picture, folder};
use crate::vision::models::shipped::{self, Shipped};
use crate::vision::tasks::attributes::sheet::{self, Labelled};
use crate::vision::tasks::attributes::{Attribute, Frame, Labeller, attributes};
use crate::vision::tasks::detect::{Ask, Detector};
use crate::weights::Weights;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Label faces with attributes such as Smiling or Eyeglasses.
#[derive(Args)]
#[command(after_help = HELP.as_str())]
pub struct Arguments {
    /// Pictures with faces, or folders of such pictures.
    #[arg(required_unless_present = "list", value_name = "IN")]
    inputs: Vec<PathBuf>,
    /// A face's box in pixels, forehead to chin, as a detector gives it; repeat it for several faces of one picture.
    #[arg(long = "box", value_name = "X,Y,W,H", value_parser = parse_box, allow_hyphen_values = true)]
    boxes: Vec<Area>,
    /// Every picture is a face as CelebA's aligned pictures are: nothing is searched.
    #[arg(long, conflicts_with = "boxes")]
    aligned: bool,
    /// Score from which a face has an attribute; P is for all of them.
    #[arg(long, value_name = "P|NAME=P", value_parser = parse_threshold)]
    threshold: Vec<(Option<String>, f64)>,
    /// Write a picture of the faces with their labels.
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
    /// Overwrite the picture if it exists.
    #[arg(long)]
    overwrite: bool,
    /// List the attributes with their thresholds, and what each was measured at.
    #[arg(long, conflicts_with = "inputs")]
    list: bool,
    /// Weights of train attributes, instead of those that come with lineament.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What labels are not.
const CAUTION: &str = "A label is a guess from pixels at what people said of photographs of celebrities. It does not tell who someone \
is, how someone feels, lives or identifies, or how healthy someone is; decide nothing about a person by it.";

static HELP: LazyLock<String> = LazyLock::new(|| {
    let mut text = format!(
        "Examples:
  lineament attributes group.jpg
  lineament attributes holiday/ --draw labels.png
  lineament attributes celeba/ --aligned
  lineament attributes group.jpg --box 310,84,52,70 --box 420,90,50,66 --json
  lineament attributes face.jpg --threshold 0.5 --threshold Bald=0.2
  lineament attributes --list

The faces are found as `lineament detect` finds them, unless --box or --aligned says where they are. In an aligned picture, the face lies \
in the largest centred rectangle of 178:218 with the eyes at 39 % and 61 % of the width and 52 % of the height.

A score is the probability that a face has the attribute, if faces are as in CelebA. By default a face has it if the score is at least \
the attribute's share there, so that rare ones are found as surely as common ones, at the price of false alarms; with --threshold 0.5, \
what is likelier than not.

{CAUTION}

"
    );
    // Every command's help is made when any command starts, so this reads no tensors.
    if let Some(Ok(manifest)) = shipped::find(MODEL, SCALE).map(Shipped::manifest)
        && let Ok(list) = attributes(MODEL, &manifest)
    {
        text += "Thresholds of the weights that come with lineament, and balanced accuracy in percent (the mean of what is right with and \
                 without the attribute) on faces that they were not trained on:\n";
        for row in list.chunks(2) {
            let cell = |a: &Attribute| format!("{:<20} {:>5.3} {:>6.1}", a.name, a.threshold, a.balanced_accuracy);
            let _ = writeln!(text, "  {}", row.iter().map(cell).collect::<Vec<_>>().join("    "));
        }
    }
    text
});

/// The shipped network's name, and the scale under which it is listed.
const MODEL: &str = "attributes";
const SCALE: usize = 1;

fn parse_threshold(text: &str) -> std::result::Result<(Option<String>, f64), String> {
    let (name, number) = match text.rsplit_once('=') {
        Some((name, number)) => (Some(name.to_owned()), number),
        None => (None, text),
    };
    let number = number.trim().parse().ok().filter(|p: &f64| (0.0..=1.0).contains(p));
    let number =
        number.ok_or_else(|| format!("expected P or NAME=P with P of 0 to 1, such as Bald=0.2, got {text:?}"))?;
    Ok((name, number))
}

/// Returns the threshold of each attribute.
fn thresholds(list: &[Attribute], given: &[(Option<String>, f64)]) -> Result<Vec<f64>> {
    let mut all: Vec<f64> = list.iter().map(|a| a.threshold).collect();
    // What is given for all of them comes first, wherever it stands.
    for (_, p) in given.iter().filter(|(name, _)| name.is_none()) {
        all.fill(*p);
    }
    for (name, p) in given.iter().filter_map(|(name, p)| Some((name.as_ref()?, p))) {
        let is_named = |a: &Attribute| a.name.eq_ignore_ascii_case(&name.replace(' ', "_"));
        let at = list.iter().position(is_named).ok_or_else(|| {
            let known = list.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::Usage(format!("--threshold {name}={p}: there is no such attribute; there are {known}"))
        })?;
        all[at] = *p;
    }
    Ok(all)
}

/// A face of a picture.
struct Face {
    area: Option<Area>,
    frame: Frame,
    planes: Vec<u8>,
}

/// Where the faces of pictures are.
enum Places<'a> {
    Given(&'a [Area]),
    Aligned,
    Found(Box<Detector>),
}

impl Places<'_> {
    /// Cuts the faces out of a picture.
    fn faces(&mut self, path: &Path) -> Result<Vec<Face>> {
        let picture = Picture::open(path)?;
        let of_box = |area: &Area| Ok((Some(*area), Frame::of_box(&picture, *area)?));
        let frames: Vec<(Option<Area>, Frame)> = match self {
            Self::Given(boxes) => boxes.iter().map(of_box).collect::<Result<_>>()?,
            Self::Aligned => vec![(None, Frame::centred(&picture))],
            Self::Found(detector) => {
                let found = detector.find(&picture, Ask::default())?;
                // Boxes may reach beyond the picture, but a face outside of it cannot be labelled.
                let inside = found.iter().filter(|face| face.bounds.pixels(&picture).is_some());
                let area = |face: &Detection| {
                    let Bounds { x, y, width, height } = face.bounds;
                    [x, y, width, height]
                };
                inside.map(|face| of_box(&area(face))).collect::<Result<_>>()?
            }
        };
        frames.into_iter().map(|(area, frame)| Ok(Face { area, frame, planes: frame.planes(&picture)? })).collect()
    }
}

pub fn run(a: &Arguments) -> Result<u8> {
    let weights = match &a.weights {
        Some(file) => Weights::open(file)?,
        None => shipped::open(MODEL, SCALE).ok_or_else(|| {
            Error::Usage(
                "no weights of attributes come with lineament; give --weights FILE (lineament train attributes)".into(),
            )
        })??,
    };
    let list = attributes(weights.name(), weights.manifest())?;
    let limits = thresholds(&list, &a.threshold)?;
    if a.list {
        return Ok(table(a, &weights, &list, &limits));
    }
    let existing = Existing::overwrite(a.overwrite);
    let paths = folder::pictures_of(&a.inputs)?;
    if !a.boxes.is_empty() && paths.len() != 1 {
        return Err(Error::Usage(format!("--box is for one picture, got {}; give one at a time", paths.len())));
    }
    if let Some(draw) = &a.draw {
        Picture::format_for(&draw.display().to_string())?;
        if paths.iter().any(|path| path.canonicalize().ok().is_some_and(|path| draw.canonicalize().ok() == Some(path)))
        {
            let problem = "is an input; choose another file, because inputs are never overwritten";
            return Err(Error::Usage(format!("--draw {}: {problem}", draw.display())));
        }
        files::check_output(draw, existing)?;
    }
    let device = a.common.open()?;
    let labeller = Labeller::new(&device, weights)?;
    let mut places = match &a.boxes[..] {
        _ if a.aligned => Places::Aligned,
        [] => Places::Found(Box::new(Detector::faces(&device)?)),
        boxes => Places::Given(boxes),
    };
    let bar = progress::bar(paths.len() as u64, "pictures");
    let (mut labelled, mut errors): (Vec<Labelled>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut results = Vec::new();
    for path in &paths {
        interrupt::check()?;
        // A broken file does not stop the others.
        match places.faces(path) {
            Ok(found) => {
                if found.is_empty() {
                    bar.suspend(|| say!("{}: no face found", out::shown(path)));
                }
                let planes: Vec<Vec<u8>> = found.iter().map(|face| face.planes.clone()).collect();
                for (face, scores) in found.into_iter().zip(labeller.label(&planes)?) {
                    bar.suspend(|| say!("{}", line(path, &face, &list, &scores, &limits)));
                    results.push(object(path, &face, &list, &scores, &limits));
                    if a.draw.is_some() {
                        labelled.push(Labelled { planes: face.planes, scores });
                    }
                }
            }
            Err(e) if paths.len() == 1 => return Err(e),
            Err(e) => {
                bar.suspend(|| out::error(&e));
                errors.push(json!({ "input": out::path(path), "error": out::one_line(&e.to_string()) }));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(draw) = a.draw.as_ref().filter(|_| !labelled.is_empty()) {
        save(&sheet::draw(&list, &limits, &labelled)?, draw, existing)?;
        say!("wrote {}", out::shown(draw));
    }
    note!("{CAUTION}");
    let failed = errors.len();
    if a.common.json {
        let draw = a.draw.as_ref().filter(|_| !labelled.is_empty()).map(out::path);
        out::json(&json!({
            "faces": results, "errors": errors, "draw": draw, "device": device.describe(), "caution": CAUTION,
        }));
    }
    Ok(if failed == 0 { 0 } else { 1 })
}

/// Prints the attributes with their thresholds and accuracies.
fn table(a: &Arguments, weights: &Weights, list: &[Attribute], limits: &[f64]) -> u8 {
    say!("{:<20} {:>9} {:>19}", "attribute", "threshold", "balanced accuracy %");
    for (attribute, limit) in list.iter().zip(limits) {
        say!("{:<20} {limit:>9.3} {:>19.1}", attribute.name, attribute.balanced_accuracy);
    }
    let measured = weights.manifest().get("measured").map_or("", String::as_str);
    say!("\n{measured}\n{CAUTION}");
    if a.common.json {
        let list: Vec<Value> = (list.iter().zip(limits))
            .map(|(a, limit)| json!({ "name": a.name, "threshold": limit, "balanced_accuracy": a.balanced_accuracy }))
            .collect();
        out::json(&json!({ "attributes": list, "measured": measured, "caution": CAUTION }));
    }
    0
}

/// Returns a face's attributes, the likeliest first.
fn line(path: &Path, face: &Face, list: &[Attribute], scores: &[f32], limits: &[f64]) -> String {
    let mut text = out::shown(path);
    if let Some([x, y, w, h]) = face.area {
        // As --box takes them.
        let [x, y, w, h] = [x, y, w, h].map(|v| (10.0 * v).round() / 10.0);
        let _ = write!(text, " {x},{y},{w},{h}");
    }
    let named: Vec<String> =
        sheet::present(scores, limits).into_iter().map(|k| format!("{} {:.2}", list[k].name, scores[k])).collect();
    let _ = write!(text, ": {}", if named.is_empty() { "none".to_owned() } else { named.join(", ") });
    text
}

fn object(path: &Path, face: &Face, list: &[Attribute], scores: &[f32], limits: &[f64]) -> Value {
    let attributes: Vec<Value> = (list.iter().zip(scores).zip(limits))
        .map(|((a, score), limit)| json!({ "name": a.name, "score": score, "threshold": limit, "present": f64::from(*score) >= *limit }))
        .collect();
    let Frame { left, top, width, height } = face.frame;
    json!({
        "input": out::path(path), "box": face.area, "frame": [left, top, width as i64, height as i64], "attributes": attributes,
    })
}
