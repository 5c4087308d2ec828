//! Fits the shape model, f_k and the high-frequency priors of the face hallucination, and measures f_k.
//!
//! `cargo run --release --example cbn_alignment -- FACES OUT`, where FACES holds helen68_trainset_128 and helen68_testset_128,
//! with a .csv of landmarks beside each, and OUT is a folder for pictures of the priors.

use lineament::image::{Channels, Format, Rect};
use lineament::metrics::mean_landmark_error;
use lineament::models::cbn::alignment::Method;
use lineament::models::cbn::descriptor::Descriptor;
use lineament::models::cbn::network::Config;
use lineament::models::cbn::shape::{SHARE, SIMILARITY, ShapeModel};
use lineament::tasks::hallucinate::align::{Recipe, Regressor};
use lineament::tasks::hallucinate::faces::{Face, resized, shape_model};
use lineament::tasks::hallucinate::frame::Frame;
use lineament::tasks::hallucinate::{points, priors};
use lineament::{Device, Error, Picture, Result, Select};
use std::path::Path;

/// Side of a face.
const SIDE: usize = 128;

fn load(folder: &Path) -> Result<Vec<Face>> {
    let list = folder.with_extension("csv");
    let text = std::fs::read_to_string(&list).map_err(|e| Error::io(&list, e))?;
    let read = |face: points::Face| {
        let path = folder.join(&face.name);
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let picture = Picture::decode(&bytes, &path.display().to_string())?;
        Face::new(&picture, &face.points, &Frame::of_points(&face.points)?, SIDE)
    };
    points::parse(&text, &list.display().to_string())?.into_iter().map(read).collect()
}

/// Returns the input of level k: I_0, enlarged bicubically instead of by the networks.
fn seen(faces: &[Face], level: usize) -> Result<Vec<Vec<f32>>> {
    let enlarge = |face: &Face| {
        let config = Config::small();
        let mut plane = face.at(config.input_side)?;
        for k in 1..level {
            plane = resized(&plane, config.side_before(k - 1), config.side_before(k))?;
        }
        Ok(plane)
    };
    faces.iter().map(enlarge).collect()
}

fn mean_error(model: &ShapeModel, faces: &[Face], p: &[Vec<f64>]) -> Result<f64> {
    mean_landmark_error(faces.iter().zip(p).map(|(f, p)| (&f.points[..], model.landmarks(p))))
}

/// Writes planes in 0..1 side by side.
fn write_row(path: &Path, side: usize, planes: &[&[f32]]) -> Result<()> {
    let name = path.display().to_string();
    let mut picture = Picture::new(&name, side * planes.len(), side, Channels::Grey, 8)?;
    for (k, plane) in planes.iter().enumerate() {
        picture.put_grey(Rect { top: 0, left: k * side, height: side, width: side }, plane)?;
    }
    std::fs::write(path, picture.encode(Format::Png)?).map_err(|e| Error::io(path, e))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [faces, out] = &arguments[..] else {
        return Err(Error::Usage("expected two arguments: the folder of the faces and one for the pictures".into()));
    };
    let device = Device::open(&Select::Default)?;
    let own = load(&Path::new(faces).join("helen68_trainset_128"))?;
    let test = load(&Path::new(faces).join("helen68_testset_128"))?;
    let model = shape_model(&own, SHARE)?;
    let train: Vec<Face> = own.iter().flat_map(|f| [f.clone(), f.mirrored()]).collect();
    let shows: Vec<usize> = (0..train.len()).map(|k| k / 2).collect();
    let truth: Vec<Vec<f64>> = train.iter().map(|f| model.coefficients(&f.points)).collect();
    let true_test: Vec<Vec<f64>> = test.iter().map(|f| model.coefficients(&f.points)).collect();
    println!(
        "{} training faces, {} test faces, {SIMILARITY} + {} bases",
        own.len(),
        test.len(),
        model.len() - SIMILARITY
    );

    println!("\n| landmarks | error / distance between the eyes |\n|---|---|");
    let (mut p, mut q) = (vec![vec![0.0; model.len()]; train.len()], vec![vec![0.0; model.len()]; test.len()]);
    println!("| mean shape | {:.4} |", mean_error(&model, &test, &q)?);
    let recipe = Recipe { descriptor: Descriptor::default(), method: Method::Direct, starts: 1, spread: 1.0, seed: 1 };
    for level in 1..=3 {
        let side = Config::small().side_before(level - 1);
        let (shown, unknown) = (seen(&train, level)?, seen(&test, level)?);
        if level == 1 {
            let hard = Recipe { method: Method::ProjectOut { energy: 0.98, prior: 0.0 }, ..recipe };
            let (f, _) = Regressor::fit(&device, &model, &shown, side, [&p, &truth], &shows, &hard)?;
            let found = f.apply(&device, &model, &unknown, &q)?;
            println!("| p_1 by a hard projection | {:.4} |", mean_error(&model, &test, &found)?);
        }
        let (f, moved) = Regressor::fit(&device, &model, &shown, side, [&p, &truth], &shows, &recipe)?;
        p = moved;
        q = f.apply(&device, &model, &unknown, &q)?;
        println!("| p_{level}, from {side} × {side} | {:.4} |", mean_error(&model, &test, &q)?);
    }
    println!("| the model's best fit | {:.4} |", mean_error(&model, &test, &true_test)?);

    let (_, found) = priors::fit(&device, &model, &train, &Config::small())?;
    for prior in &found {
        let largest = prior.map.iter().copied().fold(0.0, f32::max);
        let map: Vec<f32> = prior.map.iter().map(|v| v / largest).collect();
        let mut row = vec![&map[..]];
        row.extend(prior.channels.data().chunks_exact(prior.side * prior.side));
        let path = Path::new(out).join(format!("prior_{}.png", prior.side));
        write_row(&path, prior.side, &row)?;
        println!("{}: the map (largest {largest:.4}), then E's {} channels", path.display(), row.len() - 1);
    }
    Ok(())
}
