//! `lineament reproduce cbn`: the table of the face hallucination, its contact sheet, ghosting, and time per level.

use super::super::Common;
use super::super::eval::hallucinate::measure;
use super::super::hallucinate::{Model, save};
use super::super::out::{self, say};
use super::median_ms;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::files::{self, Existing};
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::vision::image::Picture;
use crate::vision::metrics::Region;
use crate::vision::models::cbn::bases::Bases;
use crate::vision::models::cbn::cascade::{Cascade, Variant};
use crate::vision::models::cbn::network::{self, Config, Correspondence, PRESETS};
use crate::vision::tasks::hallucinate::faces::Face;
use crate::vision::tasks::hallucinate::hallucinator::{Ask, Hallucinator};
use crate::vision::tasks::hallucinate::sheet;
use crate::vision::training::faces;
use crate::weights::Weights;
use clap::Args;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament reproduce cbn --data ../shared/data/faces
  lineament reproduce cbn --data faces/ --out cbn/ --faces 20 --runs 1 --json

DATA holds helen68_testset_128 and its landmarks in helen68_testset_128.csv. Published values are from Zhu et al., ECCV 2016: HELEN \
with 5 pixels between the eyes (preset small-8px: 8), PSNR of the luminance over the face, and seconds per face and level on one core \
of an i7-4790. OUT receives sheet.png (a row per face), ghosting.png and table.md. The times of all presets are measured with seeded \
weights, which take as long as trained ones; run nothing else meanwhile.")]
pub struct Arguments {
    /// Folder that holds helen68_testset_128.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder for the pictures and the table.
    #[arg(long, value_name = "DIR", default_value = "reproduce/cbn")]
    out: PathBuf,
    /// Overwrite files that exist in that folder.
    #[arg(long)]
    overwrite: bool,
    /// Measure only the first FACES faces.
    #[arg(long)]
    faces: Option<usize>,
    /// Runs of each level; the median is printed. 0 prints no times.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    common: Common,
}

/// Rows of the contact sheet.
const SHOWN: usize = 8;

/// Returns the published PSNR in dB of a row (HELEN, 5 or 8 px between the eyes): Zhu et al. 2016, tables 3 and 4.
fn published(row: &str, input_side: usize) -> Option<f64> {
    Some(match (input_side, row) {
        (16, "bicubic") => 20.28,
        (16, "common") => 23.57,
        (16, "high_frequency") => 24.53,
        (16, "fixed") => 23.77, // 23.85 is PubFig's.
        (16, "single") => 21.83,
        (16, "full") => 25.09,
        (28, "bicubic") => 21.86,
        (28, "full") => 26.36,
        _ => return None,
    })
}

/// Published seconds of the levels on one core: Zhu et al. 2016, section 4.
const SECONDS: [f64; 4] = [0.13, 0.17, 0.69, 2.76];

pub fn run(a: &Arguments) -> Result<u8> {
    let (cascade, weights) = a.model.open("small")?;
    let folder = a.data.join("helen68_testset_128");
    let mut faces = faces::open(&folder, faces::Part::All, cascade.side())?.faces;
    faces.truncate(a.faces.unwrap_or(usize::MAX).max(1));
    let existing = Existing::overwrite(a.overwrite);
    std::fs::create_dir_all(&a.out).map_err(|e| Error::io(&a.out, e))?;
    let outputs = ["sheet.png", "ghosting.png", "table.md"].map(|name| a.out.join(name));
    outputs.iter().try_for_each(|path| files::check_output(path, existing))?;
    let [sheet_file, ghosting_file, table_file] = &outputs;
    let device = a.common.open()?;
    say!("on {}", device.describe());

    let measured = measure(&device, &cascade, &weights, &faces)?;
    let mut table = String::from(
        "| row | PSNR face dB | published | full above it | SSIM face | PSNR dB | SSIM |\n|---|---|---|---|---|---|---|\n",
    );
    for (name, row) in &measured.rows {
        let paper = published(name, cascade.config.input_side).map_or_else(|| "–".to_owned(), |p| format!("{p:.2}"));
        let _ = match row {
            Some(row) => {
                let (s, lead) = (row.mean, row.lead_text());
                writeln!(
                    table,
                    "| {name} | {:.2} | {paper} | {lead} | {:.4} | {:.2} | {:.4} |",
                    s.psnr_face, s.ssim_face, s.psnr, s.ssim
                )
            }
            None => writeln!(table, "| {name} | not trained | {paper} | | | | |"),
        };
    }
    let _ = write!(table, "\n| landmarks | error / distance between the eyes |\n|---|---|\n");
    for (k, error) in measured.landmarks.iter().enumerate() {
        let name = if k == 0 { "mean shape".to_owned() } else { format!("p_{k}") };
        let _ = writeln!(table, "| {name} | {error:.4} |");
    }
    say!("\n{} of {}\n\n{table}", out::count(measured.faces, "face"), out::shown(&folder));

    let (ghost, picture) = ghosting(&device, &cascade, &weights, &faces[0])?;
    save(&picture, ghosting_file, existing)?;
    let text = format!(
        "ghosting: contrast of the face region for a grey input, in grey levels: {:.2} with a face's field, {:.2} without a prior\n",
        ghost[0], ghost[1]
    );
    say!("{text}");
    table += &format!("\n{text}");

    let shown: Vec<Vec<f32>> =
        faces.iter().take(SHOWN).map(|f| f.at(cascade.config.input_side)).collect::<Result<_>>()?;
    let ask = Ask { details: true, given_p: false };
    let found = Hallucinator::new(&device, &cascade, &weights, Variant::Full, 1, ask)?.run(&shown, None)?;
    let rows: Vec<Vec<Vec<f32>>> = found
        .iter()
        .zip(&shown)
        .zip(&faces)
        .map(|((face, i_0), original)| sheet::panels(i_0, face, cascade.side(), Some(&original.luma)))
        .collect::<Result<_>>()?;
    let planes: Vec<Vec<&[f32]>> = rows.iter().map(|row| row.iter().map(Vec::as_slice).collect()).collect();
    save(&sheet::grid("sheet", cascade.side(), &sheet::PANELS, &planes)?, sheet_file, existing)?;
    say!("{}: {}", out::shown(sheet_file), sheet::names(sheet::PANELS.len()));

    let mut times = Map::new();
    if a.runs > 0 {
        let mut text = String::from("\n| level | published s, one core |");
        for preset in PRESETS {
            let _ = write!(text, " {preset} ms |");
        }
        text += &format!("\n|---|---|{}\n", "---|".repeat(PRESETS.len()));
        let mut columns = Vec::new();
        for preset in PRESETS {
            let config = Config::preset(preset)?;
            let ms: Vec<f64> = (0..config.levels.len())
                .map(|k| level_ms(&device, &cascade, &config, k, a.runs))
                .collect::<Result<_>>()?;
            times.insert(preset.into(), json!(ms));
            columns.push((config, ms));
        }
        for (k, seconds) in SECONDS.iter().enumerate() {
            let _ = write!(text, "| {} | {seconds} |", k + 1);
            for (config, ms) in &columns {
                let _ = match config.levels.get(k).zip(ms.get(k)) {
                    Some((level, ms)) => write!(text, " {ms:.1} (to {}²) |", level.side),
                    None => write!(text, " – |"),
                };
            }
            text.push('\n');
        }
        say!("{text}");
        table += &text;
    }
    files::write_whole(table_file, existing, |file| {
        file.write_all(table.as_bytes()).map_err(|e| Error::io(table_file, e))
    })?;
    say!("wrote {}", out::shown(table_file));
    if a.common.json {
        let mut object = measured.json();
        object.insert("ghosting".into(), json!({ "with_field": ghost[0], "without_prior": ghost[1] }));
        object.insert("level_ms".into(), Value::Object(times));
        object.insert("data".into(), out::path(&a.data));
        object.insert("files".into(), outputs.iter().map(out::path).collect());
        object.insert("device".into(), json!(device.describe()));
        out::json(&Value::Object(object));
    }
    Ok(0)
}

/// Constant grey input of the released code's sanity test.
const GREY: f32 = 1.0 / 3.0;

/// Reconstructs a constant grey input with the true field of `face`, and again with E = 0. Returns the standard deviations of both
/// over the face region in grey levels, and a picture: the face's own result, then both, then both with ten times the contrast.
fn ghosting(device: &Device, cascade: &Cascade, weights: &Weights, face: &Face) -> Result<([f64; 2], Picture)> {
    let side = cascade.side();
    let p = vec![cascade.shape.coefficients(&face.points)];
    let grey = vec![vec![GREY; cascade.config.input_side.pow(2)]];
    let mut blank = cascade.clone();
    for fitted in &mut blank.fitted {
        fitted.prior = Tensor::zeros(fitted.prior.shape());
    }
    let draw = |cascade: &Cascade, i_0: &[Vec<f32>]| -> Result<Vec<f32>> {
        let ask = Ask { details: false, given_p: true };
        let mut found = Hallucinator::new(device, cascade, weights, Variant::Full, 1, ask)?.run(i_0, Some(&p))?;
        Ok(found.swap_remove(0).i.pop().unwrap_or_default())
    };
    let [own, with, without] =
        [draw(cascade, &[face.at(cascade.config.input_side)?])?, draw(cascade, &grey)?, draw(&blank, &grey)?];
    let titles = ["CBN", "grey, field", "grey, no prior", "field, x10", "no prior, x10"];
    let ten_times = |plane: &[f32]| plane.iter().map(|v| GREY + 10.0 * (v - GREY)).collect::<Vec<_>>();
    let (with_more, without_more) = (ten_times(&with), ten_times(&without));
    let row = vec![&own[..], &with, &without, &with_more, &without_more];
    let picture = sheet::grid("ghosting", side, &titles, &[row])?;
    let pixels: Vec<[f64; 2]> = face.points.iter().map(|p| p.map(|v| v * side as f64)).collect();
    let region = Region::face(&pixels, [side; 2])?;
    let contrast = |plane: &[f32]| {
        let inside: Vec<f64> =
            plane.iter().zip(region.pixels()).filter(|(_, is)| **is).map(|(v, _)| f64::from(*v) * 255.0).collect();
        let mean = inside.iter().sum::<f64>() / inside.len() as f64;
        (inside.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / inside.len() as f64).sqrt()
    };
    Ok(([contrast(&with), contrast(&without)], picture))
}

/// Measures the milliseconds of level `k` (from 0) of `config` for one face, with seeded networks: f_k, field, prior and networks.
fn level_ms(device: &Device, cascade: &Cascade, config: &Config, k: usize, runs: usize) -> Result<f64> {
    let level = &config.levels[k];
    let known = Correspondence {
        bases: Bases::dense(&cascade.shape, level.side)?,
        prior: Tensor::filled([1, config.contours, level.side, level.side], 0.5),
    };
    let mut g = Graph::new();
    let before = g.input("before", [1, 1, level.side / 2, level.side / 2])?;
    let p = g.input("p", [1, cascade.shape.len(), 1, 1])?;
    // The last fitted f_k stands in for levels that were never fitted; all take equally long at the same side.
    let fitted = cascade.fitted.get(k).or(cascade.fitted.last());
    let p_k = cascade.align(&mut g, before, p, fitted.map_or(&[], |f| &f.alignment[..]))?;
    let built = network::level(&mut g, before, p_k, level, &known)?;
    let session = device.compile(&g, &[built.i], g.initialize(1))?;
    let side = level.side / 2;
    let picture = (0..side * side).map(|q| 0.5 + 0.4 * ((q % side) as f32 / 5.0).sin()).collect();
    let picture = Tensor::new([1, 1, side, side], picture)?;
    let zero = Tensor::zeros([1, cascade.shape.len(), 1, 1]);
    median_ms(runs, || session.run(&[("before", &picture), ("p", &zero)]).map(|_| ()))
}
