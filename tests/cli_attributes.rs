//! `lineament train attributes` and `lineament attributes` as people use them.

#[path = "common/attributes.rs"]
mod attributes;
#[path = "common/command.rs"]
mod command;
mod common;

use attributes::attribute_folder;
use command::{Folder, lineament, noise, text};
use lineament::vision::image::{Channels, Picture, Samples};
use lineament::{Tensor, Weights};
use serde_json::Value;
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

#[test]
fn a_network_is_trained_calibrated_and_labels_faces() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    attribute_folder(&folder.path("data"), 40);
    let train = ["train", "attributes", "--out", "run", "--data", "data", "--steps", "3", "--batch", "4"];
    let trained = json(&folder, &train, 0);
    assert!(trained["measured"].as_str().unwrap().contains("means of 3 attributes, 5 test faces"), "{trained}");
    for file in
        ["config.toml", "log.jsonl", "last.safetensors", "best.safetensors", "weights.safetensors", "curves.png"]
    {
        assert!(folder.path("run").join(file).is_file(), "{file}");
    }
    let weights = Weights::open(folder.path("run/weights.safetensors")).unwrap();
    let said = |key: &str| weights.manifest()[key].as_str();
    assert_eq!((said("model"), said("seed"), said("data_terms")), ("attributes", "1", "not stated"));
    assert!(said("data").contains("30 faces for training, 5 for calibration, 5 for the measured result"));
    // A finished run is measured again, with the same result.
    let again = json(&folder, &["train", "attributes", "--out", "run", "--resume"], 0);
    assert_eq!(again["measured"], trained["measured"]);
    assert!(error(&folder, &train).contains("holds a run already"));
    assert!(error(&folder, &["train", "attributes", "--out", "run", "--resume", "--lr", "1"]).contains("lr"));
    assert!(error(&folder, &["train", "attributes", "--out", "other"]).contains("needs --data"));
    let problem = error(&folder, &["train", "attributes", "--out", "other", "--data", "data", "--batch", "99999999"]);
    assert!(problem.contains("--batch must be 1 to 4096 faces, got 99999999"), "{problem}");
    assert!(error(&folder, &["train", "attributes", "--out", "other", "--data", "none"]).contains("none"));

    let with = ["--weights", "run/weights.safetensors"];
    let boxed = |more: &[&str]| json(&folder, &[&["attributes"], more, &with].concat(), 0);
    let label = |more: &[&str]| boxed(&[more, &["--aligned"]].concat());
    let labelled = label(&["data/000000.png", "data/000001.png", "--draw", "labels.png"]);
    let faces = labelled["faces"].as_array().unwrap();
    assert_eq!((faces.len(), faces[1]["input"].as_str()), (2, Some("data/000001.png")));
    assert!(labelled["caution"].as_str().unwrap().contains("decide nothing about a person"));
    let names: Vec<&str> =
        faces[0]["attributes"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Smiling", "Bald", "Male"]);
    assert!(folder.path("labels.png").is_file());
    assert_ne!(faces[0]["attributes"], faces[1]["attributes"]);
    // A face and its mirror image are labelled alike, and a whole folder as its pictures one by one.
    let face = Picture::open(folder.path("data/000001.png")).unwrap();
    let Samples::U8(samples) = face.samples() else { panic!("8 bit") };
    let mirrored = samples.chunks(3 * 89).flat_map(|row| row.chunks(3).rev().flatten().copied()).collect();
    let mirrored = Picture::from_samples("mirrored", 89, 109, Channels::Rgb, Samples::U8(mirrored)).unwrap();
    mirrored.save(folder.path("mirrored.png")).unwrap();
    for (own, other) in (faces[1]["attributes"].as_array().unwrap().iter())
        .zip(label(&["mirrored.png"])["faces"][0]["attributes"].as_array().unwrap())
    {
        let [own, other] = [own, other].map(|attribute| attribute["score"].as_f64().unwrap());
        assert!((own - other).abs() < 1e-3, "{own} {other}");
    }
    let all = label(&["data"]);
    assert_eq!(all["faces"].as_array().unwrap().len(), 40);
    assert_eq!(all["faces"][1]["attributes"], faces[1]["attributes"]);
    // Thresholds move labels, not scores.
    let of = |object: &Value, k: usize, key: &str| object["faces"][0]["attributes"][k][key].clone();
    for (thresholds, wanted) in [
        (["--threshold", "0", "--threshold", "male=1"], [true, true, false]),
        (["--threshold", "smiling=0", "--threshold", "1"], [true, false, false]),
    ] {
        let moved = label(&[&["data/000000.png"][..], &thresholds].concat());
        assert_eq!([0, 1, 2].map(|k| of(&moved, k, "present")), wanted.map(Value::Bool));
        assert_eq!([0, 1, 2].map(|k| of(&moved, k, "score")), [0, 1, 2].map(|k| of(&labelled, k, "score")));
    }
    let boxed = boxed(&["data/000000.png", "--box", "20,30,43,58", "--box", "25,33,40,50"]);
    assert_eq!(boxed["faces"][1]["box"], serde_json::json!([25.0, 33.0, 40.0, 50.0]));
    assert_ne!(boxed["faces"][0]["frame"], boxed["faces"][1]["frame"]);
    let listed = json(&folder, &[&["attributes", "--list"][..], &with].concat(), 0);
    assert_eq!(listed["attributes"].as_array().unwrap().len(), 3);
}

#[test]
fn wrong_requests_are_refused_and_a_broken_picture_does_not_stop_the_others() {
    if common::device().is_none() {
        return;
    }
    let folder = Folder::new();
    attribute_folder(&folder.path("data"), 16);
    json(&folder, &["train", "attributes", "--out", "run", "--data", "data", "--steps", "1", "--batch", "2"], 0);
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["attributes", "--weights", "run/weights.safetensors"], more].concat()
    }
    noise(&folder.path("a.png"), 60, 70);
    std::fs::write(folder.path("broken.png"), b"no picture").unwrap();
    let labelled = json(&folder, &with(&["broken.png", "a.png", "--aligned"]), 1);
    assert_eq!(labelled["faces"].as_array().unwrap().len(), 1);
    assert!(labelled["errors"][0]["error"].as_str().unwrap().contains("broken.png"));
    for (arguments, problem) in [
        (&["none.png"][..], "none.png"),
        (&["a.png", "--threshold", "Hairy=0.5"], "there is no such attribute; there are Smiling, Bald, Male"),
        (&["a.png", "--box", "100,0,9,9"], "has no part inside the picture of 60 × 70"),
        (&["a.png", "data", "--box", "0,0,9,9"], "--box is for one picture, got 17"),
        (&["a.png", "--draw", "a.png"], "is an input; choose another file"),
        (&["a.png", "--draw", "labels.xyz"], "labels.xyz"),
        (&["a.png", "--draw", "run/curves.png"], "--overwrite"),
    ] {
        let error = error(&folder, &with(arguments));
        assert!(error.contains(problem), "{arguments:?}: {error}");
    }
    assert!(error(&folder, &with(&["a.png", "--threshold", "1.5"])).contains("P of 0 to 1"));
    Weights::from_tensors([("conv1.w".to_owned(), Tensor::zeros([24, 3, 3, 3]))].into())
        .save(folder.path("w.safetensors"))
        .unwrap();
    let problem = error(&folder, &["attributes", "a.png", "--weights", "w.safetensors"]);
    assert!(problem.contains("w.safetensors") && problem.contains("train attributes"), "{problem}");
}
