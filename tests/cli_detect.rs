//! `lineament detect` and `lineament eval detect` as people use them, with a network that finds white squares.

#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/onnx.rs"]
mod onnx;

use command::{Folder, lineament, text};
use lineament::import;
use lineament::prelude::*;
use lineament::tasks::detect::{Ask, Detector, Plan, Reading};
use lineament::vision::image::{Channels, Picture, Samples};
use lineament::vision::models::bands::{BANDS, Stage};
use lineament::vision::models::parts::{self, Arrangement, Norm, PARTS};
use lineament::vision::training::detect::recipe;
use lineament::vision::training::detect::run::Config;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;

fn run(folder: &Folder, arguments: &[&str]) -> Output {
    lineament().current_dir(folder.path(".")).args(arguments).output().unwrap()
}

/// Returns the JSON object of a command that must end with this code.
fn json(folder: &Folder, arguments: &[&str], code: i32) -> Value {
    let output = run(folder, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap()
}

fn error(folder: &Folder, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success() && !text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    text(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// Returns a black picture with white squares of 8 × 8 pixels at these cells, column and row.
fn squares(width: usize, height: usize, cells: &[[usize; 2]]) -> Picture {
    let is_white = |q: usize| cells.contains(&[q % width / 8, q / width / 8]);
    let samples = (0..3 * width * height).map(|k| if is_white(k / 3) { 255 } else { 0 }).collect();
    Picture::from_samples("squares", width, height, Channels::Rgb, Samples::U8(samples)).unwrap()
}

/// Returns a folder with the network and three pictures.
fn folder() -> Folder {
    let folder = Folder::new();
    fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::face_finder())).unwrap();
    fs::create_dir(folder.path("in")).unwrap();
    squares(61, 45, &[[3, 2], [0, 0]]).save(folder.path("in/a.png")).unwrap();
    squares(40, 40, &[]).save(folder.path("in/b.png")).unwrap();
    squares(64, 32, &[[7, 3]]).save(folder.path("in/c.png")).unwrap();
    folder
}

const MODEL: [&str; 2] = ["--model", "net.onnx"];

#[test]
fn faces_are_found_marked_and_cut_out() {
    let Some(device) = common::device() else { return };
    let folder = folder();
    let found = json(&folder, &[&["detect", "in", "--draw", "marked", "--crop", "faces"], &MODEL[..]].concat(), 0);
    let pictures = found["pictures"].as_array().unwrap();
    let names: Vec<&str> = pictures.iter().map(|p| p["input"].as_str().unwrap()).collect();
    assert_eq!(names, ["in/a.png", "in/b.png", "in/c.png"]);
    let counts: Vec<usize> = pictures.iter().map(|p| p["faces"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [2, 0, 1]);
    // As a call of the library finds them.
    let model = import::onnx::open(folder.path("net.onnx")).unwrap();
    let mut detector = Detector::new(&device, model, None).unwrap();
    let faces = detector.find(&Picture::open(folder.path("in/a.png")).unwrap(), Ask::default()).unwrap();
    for (face, object) in faces.iter().zip(pictures[0]["faces"].as_array().unwrap()) {
        let b = &face.bounds;
        assert_eq!(object["box"], json!([b.x, b.y, b.width, b.height]));
        assert_eq!((&object["score"], &object["points"]), (&json!(face.score), &json!(face.points)));
    }
    // Of equal scores the first place comes first.
    assert_eq!(faces[1].bounds.sides(), [24.0, 16.0, 32.0, 24.0]);
    assert_eq!(faces[1].points, [[24.0, 16.0], [28.0, 20.0], [32.0, 16.0], [24.0, 24.0], [32.0, 24.0]]);
    assert!(faces[1].score > 0.9999);
    // Files.
    assert_eq!(pictures[0]["draw"], "marked/a.png");
    assert_eq!(pictures[0]["faces"][1]["crop"], "faces/a_2.png");
    let crop = Picture::open(folder.path("faces/a_2.png")).unwrap();
    assert_eq!((crop.width(), crop.height()), (8, 8));
    assert!(crop.samples() == squares(8, 8, &[[0, 0]]).samples());
    let marked = Picture::open(folder.path("marked/a.png")).unwrap();
    let Samples::U8(samples) = marked.samples() else { panic!("8 bit") };
    assert_eq!(samples[3 * (16 * 61 + 28)..][..3], [0, 220, 0]);

    let detect = |more: &[&str], code| json(&folder, &[&["detect"], more, &MODEL].concat(), code);
    let count = |found: &Value| found["pictures"][0]["faces"].as_array().unwrap().len();
    assert_eq!(count(&detect(&["in/a.png", "--min-size", "9"], 0)), 0);
    assert_eq!(count(&detect(&["in/a.png", "--threshold", "1"], 0)), 0);
    // Existing files are kept, inputs always, and a broken file does not stop the others.
    assert!(
        error(&folder, &[&["detect", "in/a.png", "--draw", "marked"], &MODEL[..]].concat()).contains("--overwrite")
    );
    detect(&["in/a.png", "--draw", "marked", "--overwrite"], 0);
    let problem = error(&folder, &[&["detect", "in/a.png", "--draw", "in", "--overwrite"], &MODEL[..]].concat());
    assert!(problem.contains("is another picture of this run"), "{problem}");
    fs::write(folder.path("in/broken.png"), b"none").unwrap();
    let partly = detect(&["in"], 1);
    assert_eq!((partly["pictures"].as_array().unwrap().len(), partly["errors"].as_array().unwrap().len()), (3, 1));
}

/// Trains nothing: the runs of a cascade are finished, with weights by chance.
fn finished_runs(device: &Device, out: &Path) {
    for run in recipe::runs(&Config::default(), out) {
        let (band, stage) = (BANDS[run.config.band - 1].at_input(), run.stage.unwrap_or(Stage::Propose));
        let network = device.network(Params::fresh(run.config.band as u64), move |g: &Draft| {
            let x = g.input("x");
            let [face, more] = if stage == Stage::Propose { band.proposals(x) } else { band.judgements(x) };
            g.output("face", face);
            g.output("more", more);
        });
        network.run(&[("x", &Tensor::zeros([1, 1, band.side, band.side]))]).unwrap();
        let mut weights = network.weights().unwrap();
        weights.set_manifest("measured", "0 % area; by chance");
        fs::create_dir_all(&run.folder).unwrap();
        weights.save(run.weights()).unwrap();
    }
}

#[test]
fn the_networks_of_a_cascade_are_joined_and_find_faces() {
    let Some(device) = common::device() else { return };
    let folder = folder();
    finished_runs(&device, &folder.path("out"));
    let train = ["train", "detect", "--data", "data", "--out", "out"];
    assert!(error(&folder, &train).contains("out: is not empty"));
    assert!(
        error(&folder, &[&train[..], &["--resume", "--lr", "1"]].concat()).contains("--lr is for a single network")
    );
    let joined = json(&folder, &[&train[..], &["--resume"]].concat(), 0);
    assert!(joined["measured"].as_str().unwrap().contains("band4.judgements: 0 % area"), "{joined}");

    let cascade = ["--model", "out/faces.safetensors"];
    let detect = |more: &[&str]| json(&folder, &[&["detect", "in/a.png"], &cascade[..], more].concat(), 0);
    let weights = Weights::open(folder.path("out/faces.safetensors")).unwrap();
    for (plan, flags) in
        [(Plan::Bands, &["--threshold", "0"][..]), (Plan::Pyramid, &["--threshold", "0", "--plan", "pyramid"])]
    {
        let mut detector = Detector::cascade(&device, &weights, plan).unwrap();
        let ask = Ask { threshold: Some(0.0), ..Ask::default() };
        let faces = detector.find(&Picture::open(folder.path("in/a.png")).unwrap(), ask).unwrap();
        let found = detect(flags);
        let found = found["pictures"][0]["faces"].as_array().unwrap();
        assert!(!faces.is_empty() && faces.len() == found.len(), "{plan:?}");
        for (face, object) in faces.iter().zip(found) {
            assert_eq!((&json!(face.score), &json!(face.bounds.x)), (&object["score"], &object["box"][0]));
        }
    }
    let large = detect(&["--threshold", "0", "--min-size", "30"]);
    let large = large["pictures"][0]["faces"].as_array().unwrap();
    assert!(large.iter().all(|face| (2..4).any(|k| face["box"][k].as_f64().unwrap() >= 30.0)), "{large:?}");
    assert!(
        error(&folder, &[&["detect", "in/a.png", "--reading", "r.toml"], &cascade[..]].concat())
            .contains("a cascade needs none")
    );
    assert!(
        error(&folder, &[&["detect", "in/a.png", "--plan", "pyramid"], &MODEL[..]].concat())
            .contains("--plan and --parts are for")
    );
    let part = ["detect", "in/a.png", "--model", "out/band1-proposals/weights.safetensors"];
    assert!(error(&folder, &part).contains("it is not a whole cascade"));

    let profile = json(&folder, &[&["profile", "detect", "--size", "64x48", "--runs", "1"], &cascade[..]].concat(), 0);
    let names: Vec<&str> =
        profile["networks"].as_array().unwrap().iter().map(|n| n["network"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0], names[7]), (8, "band1.proposals", "band4.judgements"));
}

/// Weights of the networks of parts by chance, with an arrangement.
fn weights_of_parts(device: &Device) -> Weights {
    let network = device.network(Params::fresh(3), |g: &Draft| {
        let responses = parts::responses(g.input("x"), Norm::Batch);
        for (part, responses) in PARTS.iter().zip(responses) {
            g.output(part.name, parts::logits(part, responses));
        }
    });
    network.run(&[("x", &Tensor::zeros([1, 1, 32, 32]))]).unwrap();
    let mut weights = Weights::from_tensors(network.weights().unwrap().tensors().clone());
    let scales: Vec<(String, Tensor)> = weights
        .tensors()
        .iter()
        .filter(|(name, _)| name.ends_with(".norm.w"))
        .map(|(n, t)| (n.clone(), t.clone()))
        .collect();
    for (name, scale) in scales {
        // A fresh network has not counted anything yet.
        for (state, value) in [("mean", 0.0), ("variance", 1.0)] {
            weights.insert(name.replace(".norm.w", &format!(".norm.{state}")), Tensor::filled(scale.shape(), value));
        }
    }
    let logistic = [[1.0, 0.0]; 5];
    Arrangement { lambda: [0.35, 0.55, 0.65, 0.75, 0.85], floor: [0.1; 5], logistic }.write(&mut weights);
    weights
}

#[test]
fn parts_propose_what_the_cascade_judges() {
    let Some(device) = common::device() else { return };
    let folder = folder();
    finished_runs(&device, &folder.path("out"));
    run(&folder, &["train", "detect", "--data", "data", "--out", "out", "--resume"]);
    let (cascade, own) = (Weights::open(folder.path("out/faces.safetensors")).unwrap(), weights_of_parts(&device));
    own.save(folder.path("parts.safetensors")).unwrap();
    let files = ["--model", "out/faces.safetensors", "--parts", "parts.safetensors"];
    let by_parts = [&files[..], &["--plan", "parts"]].concat();

    let mut detector = Detector::parts(&device, &own, &cascade).unwrap();
    let ask = Ask { threshold: Some(0.0), ..Ask::default() };
    let faces = detector.find(&Picture::open(folder.path("in/a.png")).unwrap(), ask).unwrap();
    let found = json(&folder, &[&["detect", "in/a.png", "--threshold", "0"], &by_parts[..]].concat(), 0);
    let found = found["pictures"][0]["faces"].as_array().unwrap();
    assert!(!faces.is_empty() && faces.len() == found.len());
    for (face, object) in faces.iter().zip(found) {
        assert_eq!((&json!(face.score), &json!(face.bounds.x)), (&object["score"], &object["box"][0]));
    }
    assert!(error(&folder, &[&["detect", "in/a.png"], &files[..]].concat()).contains("--parts is for --plan parts"));
    let wrong = ["detect", "in/a.png", "--plan", "parts", "--parts", "out/faces.safetensors"];
    assert!(error(&folder, &wrong).contains("train detect --stage parts"));
    let profile = json(&folder, &[&["profile", "detect", "--size", "64x48", "--runs", "1"], &by_parts[..]].concat(), 0);
    let names: Vec<&str> =
        profile["networks"].as_array().unwrap().iter().map(|n| n["network"].as_str().unwrap()).collect();
    assert_eq!(names, ["parts ×2", "parts ×1", "parts ×0.5", "parts ×0.25", "parts ×0.125", "band2.judgements"]);

    // A picture with a face, and one whose attributes are known.
    for inside in ["data/afw640", "data/celeba8k", "data/negatives"] {
        fs::create_dir_all(folder.path(inside)).unwrap();
    }
    squares(61, 45, &[[3, 2]]).save(folder.path("data/afw640/a.png")).unwrap();
    let boxes = "file,x1,y1,x2,y2,ignore\na.png,8,8,40,40,0\n";
    fs::write(folder.path("data/afw640_boxes.csv"), boxes).unwrap();
    let lines: String = (1..=8).map(|k| format!("dev,{k}.png,{}\n", k % 2)).collect();
    fs::write(folder.path("data/celeba8k/attributes.csv"), format!("half,image,Smiling\n{lines}")).unwrap();
    for k in 1..=8 {
        squares(36, 44, &[[2, 2]]).save(folder.path(&format!("data/celeba8k/{k}.png"))).unwrap();
    }
    squares(61, 45, &[[6, 1]]).save(folder.path("data/negatives/n.png")).unwrap();
    let reproduce =
        [&["reproduce", "faceness", "--data", "data", "--out", "shown", "--faces", "1"], &files[..]].concat();
    let all = json(&folder, &reproduce, 0);
    let recalls: Vec<&Value> = all["recall"].as_array().unwrap().iter().map(|row| &row["recall"][2]).collect();
    assert!(recalls.len() == 2 && recalls.iter().all(|v| (0.0..=1.0).contains(&v.as_f64().unwrap())), "{all}");
    let covered: Vec<&str> =
        all["covered"].as_array().unwrap().iter().map(|row| row["covered"].as_str().unwrap()).collect();
    assert_eq!(covered, ["nothing", "nothing", "eyes", "eyes", "mouth", "mouth"]);
    let names: Vec<&str> = all["attributes"].as_array().unwrap().iter().map(|r| r["faces"].as_str().unwrap()).collect();
    assert_eq!(names, ["given crops", "found by the cascade", "found by parts", "found by parts, not judged"]);
    let sheet = Picture::open(folder.path("shown/partness.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (6 * 160, 16 + 160));
    assert!(fs::read_to_string(folder.path("shown/table.md")).unwrap().contains("| mouth | parts |"));
    assert!(error(&folder, &reproduce).contains("--overwrite"));
}

/// What a YuNet's outputs are, with a size for its input.
const READING: &str = "kind = 'priors'\nbgr = true\nstrides = [8, 16, 32]\noffset = 0\nvariances = [1, 1]\nthreshold = 0.6\n\
    scores = ['cls_8', 'cls_16', 'cls_32']\nobjects = ['obj_8', 'obj_16', 'obj_32']\nboxes = ['bbox_8', 'bbox_16', 'bbox_32']\n\
    points = ['kps_8', 'kps_16', 'kps_32']\n";

#[test]
fn pictures_are_fitted_into_inputs_of_a_size() {
    let Some(device) = common::device() else { return };
    let folder = folder();
    let find = |text: &str, picture: &Picture| {
        fs::write(folder.path("reading.toml"), text).unwrap();
        let reading = Reading::open(folder.path("reading.toml")).unwrap();
        let model = import::onnx::open(folder.path("net.onnx")).unwrap();
        Detector::new(&device, model, Some(reading)).unwrap().find(picture, Ask::default()).unwrap()
    };
    // Without a size, as what is known without a file.
    let picture = squares(61, 45, &[[3, 2], [0, 0]]);
    let model = import::onnx::open(folder.path("net.onnx")).unwrap();
    let known = Detector::new(&device, model, None).unwrap().find(&picture, Ask::default()).unwrap();
    assert_eq!((find(READING, &picture), known.len()), (known, 2));
    // 32 × 64 becomes 48 × 96, and the square 12 to 24, of which only the cell from 16 to 24 is all white.
    let sized = format!("{READING}size = [64, 96]\n");
    let found = find(&sized, &squares(32, 64, &[[1, 1]]));
    assert_eq!(found.len(), 1, "{found:?}");
    for (got, expected) in found[0].bounds.sides().into_iter().zip([32.0 / 3.0, 32.0 / 3.0, 16.0, 16.0]) {
        assert!((got - expected).abs() < 1e-9, "{found:?}");
    }
    // A picture that is larger than the input, and so flat that a side would have no pixel.
    assert_eq!(find(&sized, &squares(128, 192, &[])).len(), 0);
    assert_eq!(find(&sized, &squares(2000, 1, &[])).len(), 0);
}

/// One file has boxes, the other what they are computed from.
#[test]
fn two_exports_of_a_network_agree() {
    let files = ["version-RFB-320.onnx", "version-RFB-320_simplified.onnx"]
        .map(|name| common::shared(&format!("models/ultralight/{name}")));
    let (Some(device), [Some(corners), Some(priors)]) = (common::device(), files) else { return };
    let folder = folder();
    let start = "mean = [127]\nstd = [128]\nscores = ['scores']\nboxes = ['boxes']\n";
    let grids =
        "strides = [8, 16, 32, 64]\nmin_boxes = [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]\nclip = true\n";
    let picture = Picture::open(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/astronaut.png")).unwrap();
    let [a, b] =
        [(corners, format!("kind = 'corners'\n{start}")), (priors, format!("kind = 'priors'\n{start}{grids}"))].map(
            |(file, text)| {
                fs::write(folder.path("reading.toml"), text).unwrap();
                let reading = Reading::open(folder.path("reading.toml")).unwrap();
                let model = import::onnx::open(file).unwrap();
                Detector::new(&device, model, Some(reading)).unwrap().find(&picture, Ask::default()).unwrap()
            },
        );
    assert!(!a.is_empty() && a.len() == b.len() && a[0].score > 0.99, "{a:?} {b:?}");
    for (a, b) in a.iter().zip(&b) {
        let sides = a.bounds.sides().into_iter().zip(b.bounds.sides());
        assert!(
            sides.into_iter().all(|(a, b)| (a - b).abs() < 0.01) && (a.score - b.score).abs() < 1e-4,
            "{a:?} {b:?}"
        );
    }
}

#[test]
fn every_picture_of_an_animation_is_searched() {
    if common::device().is_none() {
        return;
    }
    let folder = folder();
    let file = folder.path("moving.gif");
    let mut bytes = Vec::new();
    {
        let mut encoder = gif_encoder(&mut bytes, 32, 32);
        for cells in [&[[1, 1]][..], &[], &[[2, 2], [0, 3]]] {
            let picture = squares(32, 32, cells);
            let Samples::U8(samples) = picture.samples() else { panic!("8 bit") };
            encoder.write_frame(&gif::Frame::from_rgb(32, 32, samples)).unwrap();
        }
    }
    fs::write(&file, bytes).unwrap();
    let found = json(&folder, &[&["detect", "moving.gif", "--crop", "faces"], &MODEL[..]].concat(), 0);
    let pictures = found["pictures"].as_array().unwrap();
    let counts: Vec<usize> = pictures.iter().map(|p| p["faces"].as_array().unwrap().len()).collect();
    assert_eq!((counts, pictures[2]["frame"].as_u64()), (vec![1, 0, 2], Some(3)));
    assert!(folder.path("faces/moving_0001_1.png").is_file() && folder.path("faces/moving_0003_2.png").is_file());
}

fn gif_encoder(bytes: &mut Vec<u8>, width: u16, height: u16) -> gif::Encoder<&mut Vec<u8>> {
    gif::Encoder::new(bytes, width, height, &[]).unwrap()
}

#[test]
fn what_was_found_is_measured_by_each_protocol() {
    if common::device().is_none() {
        return;
    }
    let folder = folder();
    // In a.png one of two is a face, c.png's is to be ignored, and in b.png one is missed.
    let table = "half,file,x,y,w,h,ignore\ndev,a.png,24,16,8,8,0\ndev,b.png,0,0,8,8,0\ndev,c.png,56,24,8,8,1\naside,d.png,0,0,8,8,0\n";
    fs::write(folder.path("boxes.csv"), table).unwrap();
    let voc = ["eval", "detect", "--protocol", "voc", "--data", "boxes.csv", "--only", "half=dev"];
    let with_model = [&voc[..], &MODEL, &["--pictures", "in"]].concat();
    let measured = json(&folder, &[&with_model[..], &["--write", "found.csv", "--roc", "roc.png"]].concat(), 0);
    let of = |name: &str| measured[name].as_f64().unwrap();
    assert_eq!((of("faces"), of("found"), of("false_positives")), (2.0, 1.0, 1.0));
    // Of equal scores the first place comes first: the corner, which is no face.
    assert_eq!((of("recall"), of("precision"), of("average_precision")), (0.5, 0.5, 0.25));
    assert!(Picture::open(folder.path("roc.png")).is_ok());
    let again = json(&folder, &[&voc[..], &["--detections", "found.csv", "--roc", "roc.csv"]].concat(), 0);
    assert_eq!(again["average_precision"], measured["average_precision"]);
    let roc = fs::read_to_string(folder.path("roc.csv")).unwrap();
    assert!(roc.starts_with("threshold,recall,precision\n") && roc.lines().count() == 3, "{roc}");
    let out = run(&folder, &[&voc[..], &["--detections", "found.csv"]].concat());
    assert!(text(&out.stdout).contains("| 0.2500 | 0.5000 | 0.5000 | 1 | 1 |"), "{}", text(&out.stdout));

    // Boxes in a corner of the faces' own have a quarter of them.
    let framed = |frame: &str| json(&folder, &[&with_model[..], &["--frame", frame, "--iou", "0.3"]].concat(), 0);
    assert_eq!(
        (framed("0,0,0.5,0.5")["found"].as_f64(), framed("-0.1,0,1.2,1")["found"].as_f64()),
        (Some(0.0), Some(1.0))
    );

    // FDDB: a disc of radius 4 covers most of a square.
    fs::create_dir(folder.path("folds")).unwrap();
    let list = "a\n1\n4 4 0 28 20 1\nb\n0\nc\n1\n4 4 0 20 20 1\n";
    fs::write(folder.path("folds/FDDB-fold-01-ellipseList.txt"), list).unwrap();
    let fddb = ["eval", "detect", "--protocol", "fddb", "--data", "folds", "--pictures", "in"];
    let measured = json(&folder, &[&fddb[..], &MODEL, &["--write", "fold.txt"]].concat(), 0);
    assert_eq!((measured["pictures"].as_u64(), measured["faces"].as_u64()), (Some(3), Some(2)));
    assert_eq!(measured["discrete_recall"]["100"], 0.5);
    let continuous = measured["continuous_recall"]["100"].as_f64().unwrap();
    assert!(continuous > 0.25 && continuous < 0.5, "{continuous}");
    let again = json(&folder, &[&fddb[..], &["--detections", "fold.txt", "--roc", "fddb.csv"]].concat(), 0);
    assert_eq!((&again["continuous_recall"], again["device"].is_null()), (&measured["continuous_recall"], true));
    // The same from a table with the sizes, without pictures.
    let table = "image,width,height,major,minor,angle,cx,cy\na,61,45,4,4,0,28,20\nc,64,32,4,4,0,20,20\n";
    fs::write(folder.path("ellipses.csv"), table).unwrap();
    let sized = ["eval", "detect", "--protocol", "fddb", "--data", "ellipses.csv", "--detections", "fold.txt"];
    assert_eq!(json(&folder, &sized, 0)["continuous_recall"], measured["continuous_recall"]);
}

#[test]
fn requests_that_cannot_be_are_refused() {
    let folder = folder();
    let fails = |line: &str, problem: &str| {
        let error = error(&folder, &line.split_whitespace().collect::<Vec<_>>());
        assert!(error.contains(problem), "{line}: {error}");
    };
    fs::write(folder.path("boxes.csv"), "file,x,y,w,h\na.png,24,16,8,8\n").unwrap();
    fs::write(folder.path("found.csv"), "file,x,y,w,h,score\nx.png,24,16,8,8,0.5\n").unwrap();
    fs::write(folder.path("broken.csv"), "file,x,y,w,h,score\na.png,24,16,8,8,high\n").unwrap();
    fails("detect", "required");
    fails("detect in/a.png --model net.onnx --threshold 2", "expected 0 to 1");
    fails("detect in/a.png --model none.onnx", "none.onnx");
    fs::write(folder.path("reading.toml"), "kind = 'corners'\nscores = ['s']\nboxes = ['b']\n").unwrap();
    fs::write(folder.path("wrong.toml"), "kind = 'corners'\nscore = ['s']\n").unwrap();
    fails("detect in/a.png --model net.onnx --reading wrong.toml", "wrong.toml:2:1: ");
    if common::device().is_some() {
        fails("detect in/a.png --model net.onnx --reading reading.toml", "net.onnx: the network has no output \"s\"");
    }
    let voc = "eval detect --protocol voc --data boxes.csv";
    fails(voc, "--detections");
    fails(&format!("{voc} --pictures in --model net.onnx --frame 0,0,1"), "expected X,Y,W,H");
    fails(&format!("{voc} --detections found.csv"), "no picture of the ground truth");
    fails(&format!("{voc} --detections broken.csv"), "broken.csv: line 2: expected a number for score");
    fs::write(folder.path("own.csv"), "file,x,y,w,h,score\na.png,24,16,8,8,0.5\n").unwrap();
    fails(&format!("{voc} --detections own.csv --iou 0"), "the least overlap");
    fails(&format!("{voc} --detections found.csv --only half"), "COLUMN=VALUE");
    fails(&format!("{voc} --detections found.csv --only half=dev"), "no column \"half\"");
    fails(&format!("{voc} --detections found.csv --roc curve.txt"), "curve.txt");
    fails("eval detect --protocol fddb --data in --detections found.csv", "FDDB-fold-NN-ellipseList.txt");
    fails("eval detect --protocol wider --data in --detections in", "wider_face_val.mat");
    fails("eval detect --protocol wider --data in --detections in --only half=dev", "--only is for tables");
    fails("eval detect --protocol wider --data in --detections in --iou 0.4", "--iou is for voc");
    fails("eval detect --protocol none --data in --detections in", "fddb");
}
