//! `lineament eval hallucinate`.

use super::super::detect;
use super::super::hallucinate::Model;
use super::super::out::{self, say};
use super::super::train::hallucinate::{Moved, parse_moved};
use super::super::{Common, interrupt, progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::vision::image::Picture;
use crate::vision::metrics::mean_landmark_error;
use crate::vision::models::cbn::cascade::{Cascade, Variant};
use crate::vision::tasks::hallucinate::faces::{Face, resized};
use crate::vision::tasks::hallucinate::frame::{Apart, Frame, NOSE};
use crate::vision::tasks::hallucinate::hallucinator::{Ask, Hallucinator, Score};
use crate::vision::training::faces::{self, Copies, Faces, Movement, Part};
use crate::weights::Weights;
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Faces per run.
const BATCH: usize = 8;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament eval hallucinate --data faces/test --json
  lineament eval hallucinate --data faces/test --weights runs/faces/weights.safetensors
  lineament eval hallucinate --data faces/train --held-out 10 --weights runs/faces/weights.safetensors
  lineament eval hallucinate --data faces/test --moved 9,0.09,0.03
  lineament eval hallucinate --data faces/train --frames

DATA is a folder of pictures, with 68 landmarks per face beside it in DATA.csv. Each face is brought into the canonical frame, reduced \
to 16 × 16 pixels (28 × 28 for small-8px; bicubically, with antialiasing) and enlarged again. Scores are means over the faces, measured \
on luminance in 8-bit levels. The face region is the convex hull of the 68 landmarks, enlarged by a tenth. \"Full above it\" is the mean \
over the faces ± its standard error. The rows are bicubic, common or high-frequency branch alone, fixed correspondence (p = 0), a \
single level, and full. Rows whose networks the weights lack are null.

--moved measures a second time in frames that are turned, scaled and shifted at random, each face once. --frames measures no cascade: \
it tells how far the frames that the boxes of a face detector give lie from those of the landmarks, in the numbers that --moved takes.")]
pub struct Arguments {
    /// Folder of faces; their landmarks lie beside it in DIR.csv.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Measure only the faces that `train hallucinate --hold-out K` did not train on.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..))]
    held_out: Option<u32>,
    /// Measure only the first FACES faces.
    #[arg(long)]
    faces: Option<usize>,
    /// Also measure in moved frames: standard deviations of the angle (degrees), of the scale's logarithm, and of the shift (parts of
    /// the side).
    #[arg(long, value_name = "ANGLE,SCALE,SHIFT", value_parser = parse_moved)]
    moved: Option<Moved>,
    /// Of the movements.
    #[arg(long, default_value_t = 1, requires = "moved")]
    seed: u64,
    /// Measure the frames of a detector's boxes instead.
    #[arg(long, conflicts_with_all = ["moved", "weights", "preset"])]
    frames: bool,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    detector: detect::Model,
    #[command(flatten)]
    common: Common,
}

/// Measurements over the faces of a folder.
pub struct Measured {
    pub faces: usize,
    /// `bicubic`, then the variants' names in the order of the paper's table; `None` if the weights lack one.
    pub rows: Vec<(&'static str, Option<Row>)>,
    /// Landmark errors of the mean shape and of p_1, …, relative to the distance between the eyes.
    pub landmarks: Vec<f64>,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Means over the faces.
    pub mean: Score,
    /// [`Score::lead`] of the full cascade over this row.
    pub lead: Option<[f64; 2]>,
}

impl Row {
    /// Formats the lead of the full cascade for a table.
    pub fn lead_text(&self) -> String {
        match self.lead {
            Some([mean, error]) if error.is_finite() => format!("{mean:+.2} ± {error:.2}"),
            Some([mean, _]) => format!("{mean:+.2}"),
            None => "–".to_owned(),
        }
    }
}

/// The rows of the table, in its order.
const ROWS: [Variant; 5] = [Variant::Common, Variant::HighFrequency, Variant::Fixed, Variant::Single, Variant::Full];

/// Scores every variant that the weights hold.
pub fn measure(device: &Device, cascade: &Cascade, weights: &Weights, faces: &[Face]) -> Result<Measured> {
    let (side, input_side) = (cascade.side(), cascade.config.input_side);
    let i_0: Vec<Vec<f32>> = faces.iter().map(|f| f.at(input_side)).collect::<Result<_>>()?;
    let truth: Vec<Vec<f32>> = faces.iter().map(|f| f.at(side)).collect::<Result<_>>()?;
    let score = |k: usize, result: &[f32]| Score::new(&truth[k], result, side, &faces[k].points);
    let mean_error = |points: &dyn Fn(usize) -> Vec<[f64; 2]>| -> Result<f64> {
        mean_landmark_error(faces.iter().enumerate().map(|(k, f)| (&f.points[..], points(k))))
    };
    let bicubic: Vec<Score> =
        (0..faces.len()).map(|k| score(k, &resized(&i_0[k], input_side, side)?)).collect::<Result<_>>()?;
    let mut scored = vec![("bicubic", Some(bicubic))];
    let mut landmarks = vec![mean_error(&|_| cascade.shape.mean().to_vec())?];
    let trained: Vec<Variant> = ROWS.into_iter().filter(|v| cascade.is_trained(weights, *v)).collect();
    let bar = progress::bar((trained.len() * faces.len()) as u64, "faces");
    for variant in ROWS {
        if !trained.contains(&variant) {
            scored.push((variant.name(), None));
            continue;
        }
        let hallucinator = Hallucinator::new(device, cascade, weights, variant, BATCH, Ask::default())?;
        let (mut scores, mut p) = (Vec::new(), Vec::new());
        for (first, part) in (0..).step_by(BATCH).zip(i_0.chunks(BATCH)) {
            interrupt::check()?;
            for (k, face) in (first..).zip(hallucinator.run(part, None)?) {
                scores.push(score(k, face.i.last().map(Vec::as_slice).unwrap_or_default())?);
                p.push(face.p);
            }
            bar.inc(part.len() as u64);
        }
        scored.push((variant.name(), Some(scores)));
        if variant == Variant::Full {
            let levels = p.first().map_or(0, Vec::len);
            let errors = (0..levels).map(|level| mean_error(&|k| cascade.shape.landmarks(&p[k][level])));
            landmarks.extend(errors.collect::<Result<Vec<f64>>>()?);
        }
    }
    bar.finish_and_clear();
    let full = scored.iter().find(|(name, _)| *name == Variant::Full.name()).and_then(|(_, scores)| scores.clone());
    let row = |(name, scores): (&'static str, Option<Vec<Score>>)| {
        let lead = |own: &[Score]| full.as_ref().filter(|_| name != Variant::Full.name()).map(|f| Score::lead(f, own));
        (name, scores.map(|own| Row { mean: Score::mean(&own), lead: lead(&own) }))
    };
    let rows = scored.into_iter().map(row).collect();
    Ok(Measured { faces: faces.len(), rows, landmarks })
}

impl Measured {
    /// Returns the rows by name, and the landmark errors.
    pub fn json(&self) -> Map<String, Value> {
        let row = |Row { mean: s, lead }: &Row| {
            let [lead, error] = lead.map_or([None; 2], |lead| lead.map(Some));
            json!({
                "psnr_face": s.psnr_face, "ssim_face": s.ssim_face, "psnr": s.psnr, "ssim": s.ssim,
                "full_above": lead, "full_above_error": error,
            })
        };
        let mut object = Map::new();
        object.insert("faces".into(), json!(self.faces));
        for (name, score) in &self.rows {
            object.insert((*name).into(), score.as_ref().map_or(Value::Null, row));
        }
        object.insert("landmark_error".into(), json!(self.landmarks));
        object
    }
}

/// Prints the table of one set of frames.
fn print(measured: &Measured) {
    say!("| | PSNR face dB | full above it | SSIM face | PSNR dB | SSIM |\n|---|---|---|---|---|---|");
    for (name, row) in &measured.rows {
        match row {
            Some(row) => {
                let (s, lead) = (row.mean, row.lead_text());
                say!("| {name} | {:.2} | {lead} | {:.4} | {:.2} | {:.4} |", s.psnr_face, s.ssim_face, s.psnr, s.ssim);
            }
            None => say!("| {name} | – | – | – | – | – |"),
        }
    }
    let errors: Vec<String> = measured.landmarks.iter().map(|e| format!("{e:.4}")).collect();
    say!("landmark error / distance between the eyes, for the mean shape, p_1, …: {}", errors.join(", "));
}

pub fn run(a: &Arguments) -> Result<u8> {
    let part = a.held_out.map_or(Part::All, |k| Part::HeldOut(k as usize));
    if a.frames {
        return frames(a, part);
    }
    let (cascade, weights) = a.model.open("small")?;
    let Moved(movement) = a.moved.unwrap_or(Moved([0.0; 3]));
    let copies = Copies { count: usize::from(a.moved.is_some()), by: Movement::new(movement)?, seed: a.seed };
    let (Faces { mut faces, .. }, moved) = faces::open_moved(&a.data, part, cascade.side(), copies)?;
    let mut moved: Vec<Face> = moved.into_iter().map(|moved| moved.face).collect();
    for faces in [&mut faces, &mut moved] {
        faces.truncate(a.faces.unwrap_or(usize::MAX).max(1));
    }
    let device = a.common.open()?;
    let measured = measure(&device, &cascade, &weights, &faces)?;
    let (from, to) = (cascade.config.input_side, cascade.side());
    say!("{}, {from} × {from} → {to} × {to}:", out::count(measured.faces, "face"));
    print(&measured);
    let mut object = measured.json();
    if a.moved.is_some() {
        let measured = measure(&device, &cascade, &weights, &moved)?;
        let [degrees, scale, shift] = movement;
        say!(
            "\nin frames moved by {degrees}°, {scale} of the scale's logarithm, {shift} of the side, seed {}:",
            a.seed
        );
        print(&measured);
        let mut moved = measured.json();
        moved.insert("by".into(), json!({ "angle": degrees, "scale": scale, "shift": shift, "seed": a.seed }));
        object.insert("moved".into(), Value::Object(moved));
    }
    if a.common.json {
        object.insert("data".into(), out::path(&a.data));
        object.insert("device".into(), json!(device.describe()));
        out::json(&Value::Object(object));
    }
    Ok(0)
}

/// Measures how far the frames of a detector's boxes lie from those of the landmarks.
fn frames(a: &Arguments, part: Part) -> Result<u8> {
    let mut list = faces::listed(&a.data, part)?;
    list.truncate(a.faces.unwrap_or(usize::MAX).max(1));
    let mut detector = a.detector.open(&a.common)?;
    let bar = progress::bar(list.len() as u64, "faces");
    let mut apart = Vec::new();
    for face in &list {
        interrupt::check()?;
        let path = a.data.join(&face.name);
        let picture = Picture::open(&path)?;
        let truth = Frame::of_face(&face.points, [picture.height(), picture.width()])
            .map_err(|e| Error::image(path.display(), e.to_string()))?;
        // The picture may show other faces; this one's box has the tip of its nose in it.
        let found = detector.find(&picture, a.detector.ask())?;
        let nose = face.points[NOSE];
        if let Some(found) = found.iter().find(|found| found.bounds.contains(nose)) {
            apart.push(Frame::of_box(&found.bounds)?.apart(&truth));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if apart.is_empty() {
        let count = out::count(list.len(), "face");
        let remedy = "give another --model, or a lower --threshold";
        return Err(Error::Usage(format!("{}: found none of {count}; {remedy}", a.data.display())));
    }
    say!("{} of {} found; their frames lie off by", apart.len(), out::count(list.len(), "face"));
    say!("| | median | deviation | largest |\n|---|---|---|---|");
    let of = |key: &str, name: &str, number: fn(&Apart) -> f64| {
        let Spread { median, deviation, largest } = Spread::of(apart.iter().map(number).collect());
        say!("| {name} | {median:.4} | {deviation:.4} | {largest:.4} |");
        (key.to_owned(), json!({ "median": median, "deviation": deviation, "largest": largest }))
    };
    let mut object = Map::from_iter([
        of("angle", "angle, degrees", |apart| apart.angle.to_degrees()),
        of("scale", "logarithm of the scale", |apart| apart.scale),
        of("right", "shift to the right, of the side", |apart| apart.shift[0]),
        of("down", "shift down, of the side", |apart| apart.shift[1]),
    ]);
    if a.common.json {
        object.insert("faces".into(), json!(list.len()));
        object.insert("found".into(), json!(apart.len()));
        object.insert("data".into(), out::path(&a.data));
        object.insert("device".into(), json!(detector.device().describe()));
        out::json(&Value::Object(object));
    }
    Ok(0)
}

/// Numbers in brief.
struct Spread {
    median: f64,
    /// The root mean square.
    deviation: f64,
    /// The largest magnitude.
    largest: f64,
}

impl Spread {
    fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let (n, middle) = (numbers.len() as f64, numbers.len() / 2);
        let median = numbers.get(middle).map_or(f64::NAN, |upper| 0.5 * (upper + numbers[numbers.len() - 1 - middle]));
        let deviation = (numbers.iter().map(|v| v * v).sum::<f64>() / n).sqrt();
        Self { median, deviation, largest: numbers.iter().fold(f64::NAN, |most, v| most.max(v.abs())) }
    }
}
