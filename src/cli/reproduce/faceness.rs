//! `lineament reproduce faceness`: where parts are seen, which windows they propose, and what they find of covered faces.

use super::super::detect::{parts, weights};
use super::super::hallucinate::save;
use super::super::out::{self, say};
use super::super::{Common, interrupt, progress};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::files::{self, Existing};
use crate::vision::boxes::{Bounds, Detection};
use crate::vision::image::{Channels, Picture, Samples};
use crate::vision::metrics::Confusion;
use crate::vision::metrics::detection::files::Table;
use crate::vision::metrics::detection::voc::{self, Face};
use crate::vision::models::shipped;
use crate::vision::patch::Photo;
use crate::vision::tasks::attributes::{Frame, Labeller};
use crate::vision::tasks::detect::{Ask, Detector, Faceness, Order, Plan, partness};
use crate::vision::training::attributes::scenes::Scenes;
use crate::vision::training::packed::text;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament reproduce faceness --data ../shared/data/faces
  lineament reproduce faceness --data faces/ --pictures 20 --faces 0 --json

DATA holds afw640 and afw640_boxes.csv, and for attributes of found faces celeba8k and negatives. OUT receives partness.png, where the \
networks see hair, eyes, nose, mouth and beard in the first pictures, and table.md. Published numbers are from Yang et al., ICCV 2015: \
with faceness, EdgeBox needs 21, 47, 99 and 288 windows per picture for a recall of 75, 80, 85 and 90 % instead of 132, 214, 326 and 600.")]
pub struct Arguments {
    /// Folder that holds afw640.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder for the picture and the table.
    #[arg(long, value_name = "DIR", default_value = "reproduce/faceness")]
    out: PathBuf,
    /// Overwrite files that exist in that folder.
    #[arg(long)]
    overwrite: bool,
    /// Use only the first pictures.
    #[arg(long, value_name = "N")]
    pictures: Option<usize>,
    /// Faces whose attributes are found before backgrounds; 0 leaves that table out.
    #[arg(long, value_name = "N", default_value_t = 300)]
    faces: usize,
    /// Weights of the networks of parts, instead of those that come with lineament.
    #[arg(long, value_name = "FILE")]
    parts: Option<PathBuf>,
    /// Weights of a cascade, instead of those that come with lineament.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Where AFW's boxes, from the brows on, lie in ours: medians over its dev half.
const FRAME: [f64; 4] = [-0.044, 0.227, 1.088, 0.77];
/// Least IoU of a face that is found.
const IOU: f64 = 0.5;
/// Windows per picture.
const WINDOWS: [usize; 3] = [10, 50, 200];
/// Seeds of the order by chance.
const SEEDS: u64 = 5;
/// False positives at which recall is measured, and the least score of what counts.
const FALSE_POSITIVES: [usize; 3] = [5, 10, 30];
const THRESHOLD: f64 = 0.02;
/// Pictures whose maps are drawn.
const SHOWN: usize = 10;
/// What is covered, as parts of AFW's boxes: left, top, width and height.
const COVERED: [(&str, [f64; 4]); 3] =
    [("nothing", [0.0; 4]), ("eyes", [-0.1, 0.0, 1.2, 0.35]), ("mouth", [-0.1, 0.6, 1.2, 0.35])];

/// A picture in grey and its faces.
struct Known {
    picture: Picture,
    faces: Vec<Face>,
}

fn grey(picture: &Picture, pixels: Vec<u8>) -> Result<Picture> {
    Picture::from_samples(picture.name(), picture.width(), picture.height(), Channels::Grey, Samples::U8(pixels))
}

fn read(a: &Arguments) -> Result<Vec<Known>> {
    let (table, folder) = (a.data.join("afw640_boxes.csv"), a.data.join("afw640"));
    let content = text(&table)?;
    let truth = Table::read(&table.display().to_string(), &content, &[])?.faces()?;
    let most = a.pictures.unwrap_or(usize::MAX);
    let open = |(name, faces): (String, Vec<Face>)| {
        let picture = Picture::open(folder.join(&name))?;
        let pixels = picture.luma_u8();
        Ok(Known { picture: grey(&picture, pixels)?, faces })
    };
    truth.into_iter().take(most).map(open).collect()
}

/// Returns the shares of the faces that the first windows of each picture find.
fn recall(known: &[Known], proposals: &[Vec<Bounds>]) -> [f64; 3] {
    let count = known.iter().flat_map(|picture| &picture.faces).filter(|face| !face.is_ignored).count();
    WINDOWS.map(|most| {
        let found = known.iter().zip(proposals).flat_map(|(picture, windows)| {
            let windows = &windows[..most.min(windows.len())];
            let is_found = move |face: &&Face| windows.iter().any(|window| window.part(FRAME).iou(&face.bounds) >= IOU);
            picture.faces.iter().filter(|face| !face.is_ignored).filter(is_found)
        });
        found.count() as f64 / count.max(1) as f64
    })
}

/// Measures which windows show faces, in the order of faceness and by chance.
fn proposals(known: &[Known], faceness: &Faceness) -> Result<Vec<(String, [f64; 3])>> {
    let bar = progress::bar(known.len() as u64 * (1 + SEEDS), "pictures");
    let ranked = |order: Order| -> Result<[f64; 3]> {
        let mut all = Vec::new();
        for picture in known {
            interrupt::check()?;
            let found = faceness.proposals(&Photo::of(&picture.picture), 0.0, order, WINDOWS[WINDOWS.len() - 1])?;
            all.push(found.iter().map(|window| window.bounds).collect());
            bar.inc(1);
        }
        Ok(recall(known, &all))
    };
    let by_faceness = ranked(Order::Faceness)?;
    let mut by_chance = [0.0; 3];
    for seed in 0..SEEDS {
        let one = ranked(Order::Chance(seed))?;
        by_chance.iter_mut().zip(one).for_each(|(sum, v)| *sum += v / SEEDS as f64);
    }
    bar.finish_and_clear();
    Ok(vec![("faceness".into(), by_faceness), (format!("chance, mean of {SEEDS}"), by_chance)])
}

/// Returns the picture with a grey bar over a part of each face.
fn covered(picture: &Known, part: [f64; 4]) -> Result<Picture> {
    let (width, height) = (picture.picture.width(), picture.picture.height());
    let mut pixels = picture.picture.luma_u8();
    for face in &picture.faces {
        if let Some(rect) = face.bounds.part(part).pixels(&picture.picture) {
            for row in rect.top..(rect.top + rect.height).min(height) {
                pixels[row * width + rect.left..][..rect.width].fill(128);
            }
        }
    }
    grey(&picture.picture, pixels)
}

/// Measures what a detector finds in these pictures.
fn found(
    known: &[Known],
    pictures: &[Picture],
    detector: &mut Detector,
    bar: &indicatif::ProgressBar,
) -> Result<voc::Measured> {
    let ask = Ask { threshold: Some(THRESHOLD), ..Ask::default() };
    let mut all = Vec::new();
    for (known, picture) in known.iter().zip(pictures) {
        interrupt::check()?;
        let mut found = detector.find(picture, ask)?;
        found.iter_mut().for_each(|face| face.bounds = face.bounds.part(FRAME));
        all.push(voc::Picture { faces: known.faces.clone(), found });
        bar.inc(1);
    }
    voc::measure(&all, IOU)
}

/// Returns the face's box in a picture, or `None` if nothing was found.
type Find<'f> = dyn FnMut(&Picture) -> Result<Option<Bounds>> + 'f;

/// Measures attributes of faces before backgrounds: of the crops that are known, and of what is found, in these ways.
fn attributes(a: &Arguments, device: &Device, ways: &mut [(&str, &mut Find)]) -> Result<Vec<(String, f64, usize)>> {
    let scenes = Scenes::open(&a.data, a.faces, &mut |_| interrupt::check().is_ok())?;
    let none = || Error::Usage("no weights of attributes come with lineament".into());
    let labeller = Labeller::new(device, shipped::open("attributes", 1).ok_or_else(none)??)?;
    let bar = progress::bar((scenes.all.len() * ways.len()) as u64, "faces");
    let given = scenes.all.iter().map(|scene| Ok(Some(scene.frame.planes(&scene.picture)?)));
    let mut rows = vec![("given crops".to_owned(), given.collect::<Result<Vec<_>>>()?)];
    for (name, find) in ways {
        let mut crops = Vec::new();
        for scene in &scenes.all {
            interrupt::check()?;
            // A box beyond the picture shows no face.
            let frame = find(&scene.picture)?
                .and_then(|Bounds { x, y, width, height }| Frame::of_box(&scene.picture, [x, y, width, height]).ok());
            crops.push(frame.map(|frame| frame.planes(&scene.picture)).transpose()?);
            bar.inc(1);
        }
        rows.push((format!("found by {name}"), crops));
    }
    bar.finish_and_clear();
    rows.into_iter()
        .map(|(name, crops)| Ok((name, balanced(&scenes, &labeller, &crops)?, crops.iter().flatten().count())))
        .collect()
}

/// Returns the mean over attributes of their balanced accuracy; what was not found is wrong.
fn balanced(scenes: &Scenes, labeller: &Labeller, crops: &[Option<Vec<u8>>]) -> Result<f64> {
    let faces: Vec<Vec<u8>> = crops.iter().flatten().cloned().collect();
    let mut labels = labeller.label(&faces)?.into_iter();
    let mut pairs = vec![(Vec::new(), Vec::new()); labeller.attributes().len()];
    for (scene, crop) in scenes.all.iter().zip(crops) {
        let probabilities = if crop.is_some() { labels.next() } else { None };
        for (k, (attribute, (truths, all))) in labeller.attributes().iter().zip(&mut pairs).enumerate() {
            let at = scenes.attributes.iter().position(|name| *name == attribute.name);
            let Some(truth) = at.map(|at| scene.labels[at]) else { continue };
            let said = probabilities.as_ref().map_or(!truth, |p| f64::from(p[k]) >= attribute.threshold);
            truths.push(usize::from(truth));
            all.push(usize::from(said));
        }
    }
    let counts = pairs.iter().map(|(truths, all)| Confusion::new(2, truths, all)).collect::<Result<Vec<_>>>()?;
    let shares: Vec<f64> = counts.iter().map(Confusion::balanced_accuracy).filter(|share| !share.is_nan()).collect();
    Ok(shares.iter().sum::<f64>() / shares.len() as f64)
}

pub fn run(a: &Arguments) -> Result<u8> {
    let existing = Existing::overwrite(a.overwrite);
    let outputs = ["partness.png", "table.md"].map(|name| a.out.join(name));
    let known = read(a)?;
    std::fs::create_dir_all(&a.out).map_err(|e| Error::io(&a.out, e))?;
    for path in &outputs {
        files::check_output(path, existing)?;
    }
    let device = a.common.open()?;
    let (own, cascade) = (parts(a.parts.as_ref())?, weights(a.model.as_ref())?);
    let faceness = Faceness::new(&device, &own, &cascade)?;

    let shown: Vec<Picture> = known.iter().take(SHOWN).map(|picture| picture.picture.clone()).collect();
    save(&partness(&faceness, &shown)?, &outputs[0], existing)?;
    say!("wrote {}", out::shown(&outputs[0]));

    let rows = proposals(&known, &faceness)?;
    let mut table = format!(
        "| windows of AFW by | {} per picture | {} | {} |\n|---|---|---|---|\n",
        WINDOWS[0], WINDOWS[1], WINDOWS[2]
    );
    for (name, [few, more, most]) in &rows {
        table += &format!("| {name} | {few:.3} | {more:.3} | {most:.3} |\n");
    }
    say!("{table}");

    let mut detectors = [
        ("the cascade", Detector::cascade(&device, &cascade, Plan::Bands)?),
        ("parts", Detector::parts(&device, &own, &cascade)?),
    ];
    let [few, more, most] = FALSE_POSITIVES;
    let head = format!(
        "| covered | detector | AP | recall at {few} | {more} | {most} false positives |\n|---|---|---|---|---|---|\n"
    );
    table += &format!("\n{head}");
    let mut covers = Vec::new();
    let bar = progress::bar((known.len() * COVERED.len() * detectors.len()) as u64, "pictures");
    let mut lines = head;
    for (what, part) in COVERED {
        let pictures: Vec<Picture> = known.iter().map(|picture| covered(picture, part)).collect::<Result<_>>()?;
        for (name, detector) in &mut detectors {
            let m = found(&known, &pictures, detector, &bar)?;
            let [few, more, most] = FALSE_POSITIVES.map(|count| m.recall_at(count));
            let line = format!("| {what} | {name} | {:.3} | {few:.3} | {more:.3} | {most:.3} |\n", m.average_precision);
            lines += &line;
            covers.push(json!({
                "covered": what, "detector": name, "average_precision": m.average_precision,
                "false_positives": FALSE_POSITIVES, "recall": [few, more, most],
            }));
        }
    }
    bar.finish_and_clear();
    say!("{lines}");
    table += lines.split_once("|---|---|---|---|---|---|\n").map_or("", |(_, rows)| rows);

    let mut labels = Vec::new();
    if a.faces > 0 {
        let [(_, cascade), (_, parts)] = &mut detectors;
        let best = |found: Vec<Detection>| found.first().map(|face| face.bounds);
        let ask = Ask { threshold: Some(THRESHOLD), ..Ask::default() };
        let mut first = |picture: &Picture| {
            let found = faceness.proposals(&Photo::of(picture), 0.0, Order::Faceness, 1)?;
            Ok(found.first().map(|window| window.bounds))
        };
        let mut by_cascade = |picture: &Picture| Ok(best(cascade.find(picture, ask)?));
        let mut by_parts = |picture: &Picture| Ok(best(parts.find(picture, ask)?));
        let ways: &mut [(&str, &mut Find)] =
            &mut [("the cascade", &mut by_cascade), ("parts", &mut by_parts), ("parts, not judged", &mut first)];
        labels = attributes(a, &device, ways)?;
        let mut lines = "| faces | found | mean balanced accuracy of their attributes |\n|---|---|---|\n".to_owned();
        for (name, accuracy, count) in &labels {
            lines += &format!("| {name} | {count} | {:.2} % |\n", 100.0 * accuracy);
        }
        say!("{lines}");
        table += &format!("\n{lines}");
    }
    files::write_whole(&outputs[1], existing, |file| {
        file.write_all(table.as_bytes()).map_err(|e| Error::io(&outputs[1], e))
    })?;
    if a.common.json {
        out::json(&json!({
            "pictures": known.len(), "windows": WINDOWS,
            "recall": rows.iter().map(|(name, recall)| json!({ "order": name, "recall": recall })).collect::<Vec<Value>>(),
            "covered": covers,
            "attributes": labels.iter().map(|(name, accuracy, count)| json!({ "faces": name, "balanced_accuracy": accuracy, "found": count }))
                .collect::<Vec<Value>>(),
            "partness": out::path(&outputs[0]), "table": out::path(&outputs[1]), "device": device.describe(),
        }));
    }
    Ok(0)
}
