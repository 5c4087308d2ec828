//! `lineament eval detect`.

use super::super::detect::Model;
use super::super::out::{self, note, say};
use super::super::{Common, finite, interrupt, progress};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::vision::boxes::Detection;
use crate::vision::image::{Picture, folder};
use crate::vision::metrics::detection::files::{self as formats, Table, WIDER_FILES};
use crate::vision::metrics::detection::{Curve, fddb, voc, wider};
use crate::vision::training::attributes::chart::{self, Panel};
use crate::vision::training::packed::{bytes, text};
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Numbers of false positives at which FDDB's recall is printed.
const LEVELS: [u64; 4] = [100, 500, 1000, 2000];
/// The same for tables of boxes.
const VOC_LEVELS: [usize; 4] = [5, 10, 30, 100];
/// Least score of what a network finds here, without --threshold: a curve needs the uncertain ones too.
const THRESHOLD: f64 = 0.02;
/// Width and height of a picture of a curve, in pixels.
const PANEL: [usize; 2] = [460, 340];
/// How many points a curve is drawn with.
const POINTS: usize = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// FDDB: discrete and continuous ROC over ellipses.
    Fddb,
    /// WIDER FACE: average precision, easy, medium and hard.
    Wider,
    /// PASCAL VOC: average precision; for AFW and CMU+MIT.
    Voc,
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament eval detect --protocol voc --data boxes.csv --pictures pictures/ --model yunet.onnx --iou 0.5
  lineament eval detect --protocol voc --data boxes.csv --detections found.csv --roc curve.png
  lineament eval detect --protocol fddb --data fddb/ --pictures originalPics/ --detections folds/
  lineament eval detect --protocol wider --data wider_gt/ --detections found/ --json

What is measured is read from --detections, or found in --pictures, with scores from 0.02 on unless --threshold says otherwise. \
--write keeps it.

fddb: DATA is a folder of FDDB-fold-NN-ellipseList.txt, or a table with the columns image, width, height, major, minor, angle, cx, cy. \
Detections are a text of all folds or a folder of such: a picture's name, how many there are, and for each x y w h score (or major minor angle \
x y score). Without sizes in DATA, those of --pictures are read, in which 2002/07/19/big/img_130 is that path or 2002_07_19_big_img_130, .jpg.

wider: DATA is a folder of wider_face_val.mat and wider_{easy,medium,hard}_val.mat. Detections are a folder of EVENT/PICTURE.txt.

voc: DATA is a table with the columns file (or image), x1, y1, x2, y2 (or x, y, w, h), and perhaps one that ends in ignore; detections are \
such a table with a score. Tables may be .gz. --only keeps the rows with a value in a column.")]
pub struct Arguments {
    /// How to measure.
    #[arg(long)]
    protocol: Protocol,
    /// The ground truth, in the protocol's files.
    #[arg(long, value_name = "FILE|DIR")]
    data: PathBuf,
    /// What was found, in the protocol's files.
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "model")]
    detections: Option<PathBuf>,
    /// The pictures in which faces are found, and for FDDB's sizes.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    #[command(flatten)]
    model: Model,
    /// Where the data's boxes lie in those of the network: left, top, width and height as parts of its sides. Data sets frame faces
    /// differently.
    #[arg(long, value_name = "X,Y,W,H", value_parser = parse_frame, allow_hyphen_values = true, conflicts_with = "detections")]
    frame: Option<[f64; 4]>,
    /// Use only the rows of a table that have this value in this column, such as half=dev; may be repeated.
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = parse_only)]
    only: Vec<(String, String)>,
    /// Least overlap of a detection with its face (voc); default 0.5.
    #[arg(long, value_name = "IOU")]
    iou: Option<f64>,
    /// Write the curve: .csv its numbers, or a picture.
    #[arg(long, value_name = "FILE")]
    roc: Option<PathBuf>,
    /// Write the detections in the protocol's format: a file, or a folder of files (wider).
    #[arg(long, value_name = "FILE|DIR")]
    write: Option<PathBuf>,
    /// Overwrite files that exist.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    common: Common,
}

fn parse_only(text: &str) -> std::result::Result<(String, String), String> {
    let pair = text.split_once('=').map(|(column, value)| (column.trim().to_owned(), value.trim().to_owned()));
    pair.ok_or_else(|| format!("expected COLUMN=VALUE, such as half=dev, got {text:?}"))
}

fn parse_frame(text: &str) -> std::result::Result<[f64; 4], String> {
    let frame = finite(text).filter(|[_, _, width, height]| *width > 0.0 && *height > 0.0);
    frame.ok_or_else(|| format!("expected X,Y,W,H in parts of a box, such as 0,0.2,1,0.8, got {text:?}"))
}

/// Returns the files of a folder whose names the test accepts, by name.
fn listed(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_file() && path.file_name().is_some_and(|name| is_wanted(&name.to_string_lossy())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The pictures of a folder by the names that protocols have for them.
struct Pictures {
    folder: PathBuf,
    /// By the path below the folder, and by name, with `/` as `_`, and without extension.
    all: BTreeMap<String, PathBuf>,
}

impl Pictures {
    fn open(folder: &Path) -> Result<Self> {
        let mut all = BTreeMap::new();
        for path in folder::pictures_below(folder, Path::new(""))? {
            let below = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for name in [below, name] {
                all.entry(Self::key(&name)).or_insert_with(|| path.clone());
            }
        }
        Ok(Self { folder: folder.to_owned(), all })
    }

    /// A name without extension; `2002/07/19/big/img_130` may be a file `2002_07_19_big_img_130.jpg`.
    fn key(name: &str) -> String {
        let is_extension = |ending: &&str| crate::vision::image::Format::of_name(&format!("a.{ending}")).is_some();
        let stem = name.rsplit_once('.').filter(|(_, ending)| is_extension(ending)).map_or(name, |(stem, _)| stem);
        stem.replace('/', "_")
    }

    fn find(&self, name: &str) -> Result<&Path> {
        self.all.get(&Self::key(name)).map(PathBuf::as_path).ok_or_else(|| {
            let folder = self.folder.display();
            Error::Usage(format!(
                "{folder}: has no picture {name}, which the ground truth has; give the folder that has it, or ground truth without it"
            ))
        })
    }
}

/// What was measured.
struct Measured {
    /// Lines of the table.
    table: Vec<String>,
    object: Value,
    /// Header and rows of the curve.
    csv: String,
    panels: Vec<Panel>,
}

/// The result of a protocol.
struct Done {
    measured: Measured,
    /// The detections in the protocol's format: the files of a folder by their paths, or one file without a path.
    written: Vec<(PathBuf, String)>,
    /// What a network ran on.
    device: Option<String>,
}

/// Finds faces in pictures, by the names of the ground truth.
fn find(a: &Arguments, names: &[String]) -> Result<Option<(Vec<Vec<Detection>>, String)>> {
    if a.detections.is_some() {
        return Ok(None);
    }
    let folder = a.pictures.as_deref().ok_or_else(|| {
        Error::Usage("give --pictures DIR, in which faces are found, or --detections with what was found".into())
    })?;
    let pictures = Pictures::open(folder)?;
    let mut detector = a.model.open(&a.common)?;
    // Before the work: every picture is there.
    let paths: Vec<&Path> = names.iter().map(|name| pictures.find(name)).collect::<Result<_>>()?;
    let mut ask = a.model.ask();
    ask.threshold = ask.threshold.or(Some(THRESHOLD));
    let bar = progress::bar(paths.len() as u64, "pictures");
    let mut all = Vec::new();
    for path in paths {
        interrupt::check()?;
        let mut found = detector.find(&Picture::open(path)?, ask)?;
        if let Some(frame) = a.frame {
            found.iter_mut().for_each(|face| face.bounds = face.bounds.part(frame));
        }
        all.push(found);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Some((all, detector.device().describe())))
}

/// Says which pictures only one side has.
fn compare<'a>(truth: impl Iterator<Item = &'a str>, found: impl Iterator<Item = &'a str>) -> Result<()> {
    let (truth, found): (BTreeSet<&str>, BTreeSet<&str>) = (truth.collect(), found.collect());
    let (more, without) = (found.difference(&truth).count(), truth.difference(&found).count());
    if !truth.is_empty() && without == truth.len() {
        let example = found.iter().next().map_or(String::new(), |name| format!(", which are as {name:?}"));
        let wanted = truth.iter().next().copied().unwrap_or_default();
        return Err(Error::Usage(format!(
            "no picture of the ground truth, such as {wanted:?}, is in the detections{example}"
        )));
    }
    if more > 0 {
        note!("{} of the detections not in the ground truth: not counted", out::count(more, "picture"));
    }
    if without > 0 {
        note!("{} of the ground truth not in the detections: nothing was found there", out::count(without, "picture"));
    }
    Ok(())
}

/// Returns points along a curve, evenly by the distance on the paper.
fn along(points: &[[f64; 2]], spans: [f64; 2]) -> Vec<[f64; 2]> {
    let length = |a: [f64; 2], b: [f64; 2]| ((a[0] - b[0]) / spans[0]).hypot((a[1] - b[1]) / spans[1]);
    let total: f64 = points.windows(2).map(|p| length(p[0], p[1])).sum();
    let mut all = points.first().copied().into_iter().collect::<Vec<_>>();
    for p in points.windows(2) {
        let steps = (length(p[0], p[1]) / total.max(1e-9) * POINTS as f64).ceil().min(POINTS as f64) as usize;
        all.extend((1..=steps).map(|k| [0, 1].map(|d| p[0][d] + (p[1][d] - p[0][d]) * k as f64 / steps as f64)));
    }
    all
}

fn panel(title: &str, axes: [&str; 2], series: &[(&str, Vec<[f64; 2]>)], spans: [f64; 2]) -> Panel {
    let series = series.iter().map(|(name, points)| ((*name).to_owned(), along(points, spans))).collect();
    Panel { title: title.to_owned(), axes: Some(axes.map(str::to_owned)), series, has_zero: true }
}

fn precision_recall(curve: &Curve) -> Vec<[f64; 2]> {
    curve
        .recall
        .iter()
        .zip(&curve.precision)
        .filter(|(_, precision)| **precision > 0.0)
        .map(|(r, p)| [*r, *p])
        .collect()
}

/// A picture of FDDB with its name.
type Named = (String, fddb::Picture);

/// Reads FDDB's ground truth.
fn fddb_truth(a: &Arguments) -> Result<Vec<Named>> {
    let file = a.data.display().to_string();
    if !a.data.is_dir() {
        let text = text(&a.data)?;
        let all = Table::read(&file, &text, &a.only)?.ellipses()?;
        let picture = |(name, (size, faces))| (name, fddb::Picture { size, faces, found: vec![] });
        return Ok(all.into_iter().map(picture).collect());
    }
    if !a.only.is_empty() {
        return Err(Error::Usage("--only is for tables; of a folder, all lists of ellipses are read".into()));
    }
    let lists = listed(&a.data, |name| name.starts_with("FDDB-fold-") && name.ends_with("-ellipseList.txt"))?;
    if lists.is_empty() {
        return Err(Error::Usage(format!("{file}: has no FDDB-fold-NN-ellipseList.txt; give the folder FDDB-folds")));
    }
    let folder = a.pictures.as_deref().ok_or_else(|| {
        Error::Usage(
            "FDDB's lists do not say how large the pictures are; give --pictures DIR, or a table with width and height"
                .into(),
        )
    })?;
    let (pictures, mut all) = (Pictures::open(folder)?, Vec::new());
    for list in lists {
        for (name, faces) in formats::fddb_ellipses(&list.display().to_string(), &text(&list)?)? {
            let path = pictures.find(&name)?;
            let size = Picture::measure(path);
            let size =
                size.ok_or_else(|| Error::image(path.display(), "has no size that can be read; copy it again"))?;
            all.push((name, fddb::Picture { size: [size.height, size.width], faces, found: vec![] }));
        }
    }
    Ok(all)
}

/// Reads files of a folder, or the one file.
fn texts(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() { listed(path, |name| name.ends_with(".txt")) } else { Ok(vec![path.to_owned()]) }
}

fn measure_fddb(a: &Arguments) -> Result<Done> {
    let mut truth = fddb_truth(a)?;
    let names: Vec<String> = truth.iter().map(|(name, _)| name.clone()).collect();
    let mut device = None;
    if let Some((all, on)) = find(a, &names)? {
        device = Some(on);
        for ((_, picture), found) in truth.iter_mut().zip(all) {
            picture.found = found.iter().map(|d| (fddb::Region::Rectangle(d.bounds), d.score)).collect();
        }
    } else if let Some(path) = &a.detections {
        let mut all = BTreeMap::new();
        for file in texts(path)? {
            let name = file.display().to_string();
            for (picture, found) in formats::fddb_detections(&name, &text(&file)?)? {
                if all.insert(picture.clone(), found).is_some() {
                    return Err(Error::import(
                        name,
                        format!("picture {picture} comes twice; give one list of each fold"),
                    ));
                }
            }
        }
        compare(names.iter().map(String::as_str), all.keys().map(String::as_str))?;
        for (name, picture) in &mut truth {
            picture.found = all.remove(name).unwrap_or_default();
        }
    }
    let written = formats::write_fddb(truth.iter().map(|(name, picture)| (name.as_str(), &picture.found[..])));
    let pictures: Vec<fddb::Picture> = truth.into_iter().map(|(_, picture)| picture).collect();
    let roc = fddb::roc(&pictures)?;
    let mut table =
        vec![format!("FDDB, {} of {}", out::count(roc.faces, "face"), out::count(pictures.len(), "picture"))];
    table.push("| false positives | discrete recall | continuous recall |\n|---|---|---|".into());
    let recall = LEVELS.map(|level| (level, roc.recall(level)));
    table.extend(recall.iter().map(|(level, [d, c])| format!("| {level} | {d:.4} | {c:.4} |")));
    let of = |k: usize| -> Value {
        recall.iter().map(|(level, both)| (level.to_string(), json!(both[k]))).collect::<serde_json::Map<_, _>>().into()
    };
    let object = json!({
        "protocol": "fddb", "pictures": pictures.len(), "faces": roc.faces, "discrete_recall": of(0), "continuous_recall": of(1),
    });
    let mut csv = "threshold,false_positives,discrete,continuous\n".to_owned();
    for p in &roc.points {
        let _ = writeln!(csv, "{},{},{},{}", p.threshold, p.false_positives, p.discrete, p.continuous);
    }
    let most = LEVELS[LEVELS.len() - 1] as f64;
    let curve = |value: fn(&fddb::Point) -> f64| -> Vec<[f64; 2]> {
        let points = roc.points.iter().map(|p| [p.false_positives as f64, value(p)]);
        points.filter(|p| p[0] <= most).collect()
    };
    let series = [("continuous", curve(|p| p.continuous)), ("discrete", curve(|p| p.discrete))];
    let panels = vec![panel("FDDB", ["false positives", "recall"], &series, [most, 1.0])];
    Ok(Done { measured: Measured { table, object, csv, panels }, written: vec![(PathBuf::new(), written)], device })
}

fn measure_wider(a: &Arguments) -> Result<Done> {
    let mut all = Vec::new();
    for name in WIDER_FILES {
        all.push(bytes(&a.data.join(name))?);
    }
    let mut truth = formats::wider_truth([&all[0], &all[1], &all[2], &all[3]])?;
    let names: Vec<String> = truth.iter().map(|p| format!("{}/{}", p.event, p.name)).collect();
    let mut device = None;
    if let Some((all, on)) = find(a, &names)? {
        device = Some(on);
        for (picture, found) in truth.iter_mut().zip(all) {
            picture.picture.found = found;
        }
    } else if let Some(folder) = &a.detections {
        let mut found = BTreeMap::new();
        let events: BTreeSet<&str> = truth.iter().map(|p| p.event.as_str()).collect();
        for event in events {
            if folder.join(event).is_dir() {
                for file in listed(&folder.join(event), |name| name.ends_with(".txt"))? {
                    interrupt::check()?;
                    // The file's name decides, as in the evaluation in MATLAB.
                    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    let (_, detections) = formats::wider_detections(&file.display().to_string(), &text(&file)?)?;
                    found.insert(format!("{event}/{stem}"), detections);
                }
            }
        }
        compare(names.iter().map(String::as_str), found.keys().map(String::as_str))?;
        for (picture, name) in truth.iter_mut().zip(&names) {
            picture.picture.found = found.remove(name).unwrap_or_default();
        }
    }
    let mut written = Vec::new();
    for p in truth.iter().filter(|_| a.write.is_some()) {
        // What a file calls an event or a picture leads nowhere else.
        if [&p.event, &p.name].iter().any(|part| part.contains(['/', '\\']) || part.starts_with('.') || part.is_empty())
        {
            let problem = format!("{}/{}: is no name of a file; check the ground truth", p.event, p.name);
            return Err(Error::Usage(problem));
        }
        let text = formats::write_wider(&format!("{}/{}.jpg", p.event, p.name), &p.picture.found);
        written.push((Path::new(&p.event).join(format!("{}.txt", p.name)), text));
    }
    let pictures: Vec<wider::Picture> = truth.into_iter().map(|p| p.picture).collect();
    let measured = wider::measure(&pictures)?;
    let mut table = vec![format!("WIDER FACE val, {}", out::count(pictures.len(), "picture"))];
    table.push("| faces | number | AP |\n|---|---|---|".into());
    let rows = wider::SUBSETS.iter().zip(&measured);
    table.extend(rows.clone().map(|(name, m)| format!("| {name} | {} | {:.4} |", m.faces, m.average_precision)));
    let subset = |(name, m): (&&str, &wider::Measured)| {
        ((*name).to_owned(), json!({ "faces": m.faces, "average_precision": m.average_precision }))
    };
    let subsets: serde_json::Map<String, Value> = rows.clone().map(subset).collect();
    let object = json!({ "protocol": "wider", "pictures": pictures.len(), "subsets": subsets });
    let mut csv = "subset,recall,precision\n".to_owned();
    for (name, m) in rows.clone() {
        for (recall, precision) in m.curve.recall.iter().zip(&m.curve.precision) {
            let _ = writeln!(csv, "{name},{recall},{precision}");
        }
    }
    let series: Vec<(&str, Vec<[f64; 2]>)> = rows.map(|(name, m)| (*name, precision_recall(&m.curve))).collect();
    let panels = vec![panel("WIDER FACE val", ["recall", "precision"], &series, [1.0, 1.0])];
    Ok(Done { measured: Measured { table, object, csv, panels }, written, device })
}

fn measure_voc(a: &Arguments) -> Result<Done> {
    let content = text(&a.data)?;
    let truth = Table::read(&a.data.display().to_string(), &content, &a.only)?.faces()?;
    let names: Vec<String> = truth.keys().cloned().collect();
    let mut device = None;
    let mut found: BTreeMap<String, Vec<Detection>> = BTreeMap::new();
    if let Some((all, on)) = find(a, &names)? {
        device = Some(on);
        found = names.iter().cloned().zip(all).collect();
    } else if let Some(path) = &a.detections {
        let content = text(path)?;
        found = Table::read(&path.display().to_string(), &content, &[])?.detections()?;
        compare(names.iter().map(String::as_str), found.keys().map(String::as_str))?;
    }
    let written = formats::write_table(found.iter().map(|(name, all)| (name.as_str(), &all[..])));
    let picture = |(name, faces)| voc::Picture { faces, found: found.remove(&name).unwrap_or_default() };
    let pictures: Vec<voc::Picture> = truth.into_iter().map(picture).collect();
    let iou = a.iou.unwrap_or(0.5);
    let m = voc::measure(&pictures, iou)?;
    let recalls = VOC_LEVELS.map(|most| (most, m.recall_at(most)));
    let table = vec![
        format!("VOC at IoU {iou}, {} of {}", out::count(m.faces, "face"), out::count(pictures.len(), "picture")),
        "| AP | recall | precision | found | false positives |\n|---|---|---|---|---|".into(),
        format!(
            "| {:.4} | {:.4} | {:.4} | {} | {} |",
            m.average_precision,
            m.recall(),
            m.precision(),
            m.found,
            m.false_positives
        ),
        String::new(),
        recalls.iter().fold("| false positives |".to_owned(), |line, (most, _)| format!("{line} {most} |")),
        format!("|---|{}", "---|".repeat(recalls.len())),
        recalls.iter().fold("| recall |".to_owned(), |line, (_, recall)| format!("{line} {recall:.4} |")),
    ];
    let object = json!({
        "recall_at": recalls,
        "protocol": "voc", "iou": iou, "pictures": pictures.len(), "faces": m.faces, "average_precision": m.average_precision,
        "recall": m.recall(), "precision": m.precision(), "found": m.found, "false_positives": m.false_positives,
    });
    let mut csv = "threshold,recall,precision\n".to_owned();
    for ((threshold, recall), precision) in m.thresholds.iter().zip(&m.curve.recall).zip(&m.curve.precision) {
        let _ = writeln!(csv, "{threshold},{recall},{precision}");
    }
    let series = [("", precision_recall(&m.curve))];
    let panels = vec![panel(&format!("IoU {iou}"), ["recall", "precision"], &series, [1.0, 1.0])];
    Ok(Done { measured: Measured { table, object, csv, panels }, written: vec![(PathBuf::new(), written)], device })
}

fn write(path: &Path, text: &str, existing: Existing) -> Result<()> {
    files::write_whole(path, existing, |file| file.write_all(text.as_bytes()).map_err(|e| Error::io(path, e)))
}

pub fn run(a: &Arguments) -> Result<u8> {
    let existing = Existing::overwrite(a.overwrite);
    if a.iou.is_some() && a.protocol != Protocol::Voc {
        return Err(Error::Usage("--iou is for voc; the other protocols have an overlap of their own".into()));
    }
    if !a.only.is_empty() && a.protocol == Protocol::Wider {
        return Err(Error::Usage("--only is for tables; WIDER FACE is measured as a whole".into()));
    }
    let is_csv = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    if let Some(path) = &a.roc {
        if !is_csv(path) {
            Picture::format_for(&path.display().to_string())?;
        }
        files::check_output(path, existing)?;
    }
    if let Some(path) = a.write.as_ref().filter(|_| a.protocol != Protocol::Wider) {
        files::check_output(path, existing)?;
    }
    let Done { measured, written, device } = match a.protocol {
        Protocol::Fddb => measure_fddb(a)?,
        Protocol::Wider => measure_wider(a)?,
        Protocol::Voc => measure_voc(a)?,
    };
    for (place, (below, text)) in a.write.iter().flat_map(|place| written.iter().map(move |file| (place, file))) {
        interrupt::check()?;
        // Joined with nothing, a path would end in a slash.
        let path = if below.as_os_str().is_empty() { place.clone() } else { place.join(below) };
        if a.protocol == Protocol::Wider {
            let folder = files::folder_of(&path);
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        write(&path, text, existing)?;
    }
    measured.table.iter().for_each(|line| say!("{line}"));
    if let Some(path) = &a.roc {
        match is_csv(path) {
            true => write(path, &measured.csv, existing)?,
            false => super::super::hallucinate::save(&chart::draw("curve", &measured.panels, PANEL)?, path, existing)?,
        }
    }
    for path in [&a.write, &a.roc].into_iter().flatten() {
        say!("wrote {}", out::shown(path));
    }
    if a.common.json {
        let mut object = measured.object;
        object["data"] = out::path(&a.data);
        object["detections"] = a.detections.as_ref().map_or(Value::Null, out::path);
        object["model"] = a.model.model.as_ref().map_or(Value::Null, out::path);
        object["device"] = json!(device);
        out::json(&object);
    }
    Ok(0)
}
