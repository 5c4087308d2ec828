//! The protocols of face detection against numbers from another implementation (tests/golden_detection.json, made by
//! tools/golden_detection.py), and against what it gives with one choice made wrongly.
#![cfg(feature = "vision")]

use lineament::vision::boxes::{Bounds, Detection};
use lineament::vision::metrics::detection::fddb::{self, Ellipse, Region};
use lineament::vision::metrics::detection::{voc, wider};
use serde_json::Value;

/// How closely the implementations must agree, and how far a wrong choice must be away.
const EQUAL: f64 = 1e-6;
const APART: f64 = 1e-4;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_detection.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn lists(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn size(value: &Value) -> [usize; 2] {
    numbers(value).iter().map(|v| *v as usize).collect::<Vec<_>>().try_into().unwrap()
}

fn bounds(n: &[f64]) -> Bounds {
    Bounds::new(n[0], n[1], n[2], n[3])
}

fn ellipse(n: &[f64]) -> Ellipse {
    Ellipse { major: n[0], minor: n[1], angle: n[2], centre: [n[3], n[4]] }
}

fn region(n: &[f64]) -> Region {
    if n.len() == 4 { Region::Rectangle(bounds(n)) } else { Region::Ellipse(ellipse(n)) }
}

fn detections(value: &Value) -> Vec<Detection> {
    lists(value).iter().map(|n| Detection { bounds: bounds(n), score: n[4], points: vec![] }).collect()
}

/// Panics if any of the numbers differs.
fn assert_equal(what: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= EQUAL, "{what}, number {k}: {got}, expected {expected}");
    }
}

/// Panics if what a wrong choice gives is not told apart.
fn assert_apart(wrong: &Value, got: &[f64]) {
    let wrong = wrong.as_object().unwrap();
    assert!(wrong.len() > 5);
    for (name, value) in wrong {
        let flat = |value: &Value| if value.is_array() { numbers(value) } else { vec![value.as_f64().unwrap()] };
        let numbers: Vec<f64> = match value.as_array() {
            Some(all) => all.iter().flat_map(flat).collect(),
            None => flat(value),
        };
        assert_eq!(numbers.len(), got.len(), "{name}");
        let distance = numbers.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(distance > APART, "{name} would not be noticed: {distance}");
    }
}

#[test]
fn masks_overlap_as_opencv_draws_them() {
    let golden = golden();
    let pairs = golden["overlaps"].as_array().unwrap();
    let mut between = 0;
    for pair in pairs {
        let (face, other) = (ellipse(&numbers(&pair[1])), region(&numbers(&pair[2])));
        let (got, expected) = (fddb::overlap(size(&pair[0]), &face, &other).unwrap(), pair[3].as_f64().unwrap());
        assert!((got - expected).abs() < 1e-12, "{pair}: {got}");
        between += usize::from(expected > 0.0 && expected < 1.0);
    }
    assert!(between > 150, "{between} of {}", pairs.len());
}

#[test]
fn fddb_agrees_and_refuses_what_looks_alike() {
    let golden = &golden()["fddb"];
    let picture = |p: &Value| fddb::Picture {
        size: size(&p["size"]),
        faces: lists(&p["faces"]).iter().map(|n| ellipse(n)).collect(),
        found: lists(&p["found"]).iter().map(|n| (region(&n[..n.len() - 1]), n[n.len() - 1])).collect(),
    };
    let pictures: Vec<fddb::Picture> = golden["pictures"].as_array().unwrap().iter().map(picture).collect();
    let roc = fddb::roc(&pictures).unwrap();
    let rows = lists(&golden["roc"]);
    assert_eq!(roc.points.len(), rows.len());
    for (point, row) in roc.points.iter().zip(&rows) {
        let got = [point.threshold, point.false_positives as f64, point.discrete, point.continuous];
        assert_equal("roc", &got, row);
    }
    let at = |roc: &fddb::Roc| -> Vec<f64> {
        numbers(&golden["levels"]).iter().flat_map(|level| roc.recall(*level as u64)).collect()
    };
    let got = at(&roc);
    assert_equal("recall", &got, &lists(&golden["recall"]).concat());
    let wrong = golden["wrong"].as_object().unwrap();
    let flat: serde_json::Map<String, Value> =
        wrong.iter().map(|(name, value)| (name.clone(), lists(value).concat().into())).collect();
    assert_apart(&Value::Object(flat), &got);
    // Folds one after another are all folds together, in any order.
    let mut reversed = pictures;
    reversed.reverse();
    assert_equal("reversed", &at(&fddb::roc(&reversed).unwrap()), &got);
}

#[test]
fn wider_agrees_and_refuses_what_looks_alike() {
    let golden = &golden()["wider"];
    let picture = |p: &Value| {
        let kept = lists(&p["kept"]).iter().map(|all| all.iter().map(|v| *v != 0.0).collect()).collect::<Vec<_>>();
        wider::Picture {
            faces: lists(&p["faces"]).iter().map(|n| bounds(n)).collect(),
            kept: kept.try_into().unwrap(),
            found: detections(&p["found"]),
        }
    };
    let pictures: Vec<wider::Picture> = golden["pictures"].as_array().unwrap().iter().map(picture).collect();
    let measured = wider::measure(&pictures).unwrap();
    let ap: Vec<f64> = measured.iter().map(|m| m.average_precision).collect();
    assert_equal("ap", &ap, &numbers(&golden["ap"]));
    for (measured, curve) in measured.iter().zip(golden["curve"].as_array().unwrap()) {
        for row in lists(curve) {
            let t = row[0] as usize;
            assert_equal("curve", &[measured.curve.recall[t], measured.curve.precision[t]], &row[1..]);
        }
    }
    assert_apart(&golden["wrong"], &ap);
}

#[test]
fn voc_agrees_and_refuses_what_looks_alike() {
    let golden = &golden()["voc"];
    let picture = |p: &Value| voc::Picture {
        faces: lists(&p["faces"]).iter().map(|n| voc::Face { bounds: bounds(n), is_ignored: n[4] != 0.0 }).collect(),
        found: detections(&p["found"]),
    };
    let pictures: Vec<voc::Picture> = golden["pictures"].as_array().unwrap().iter().map(picture).collect();
    let measured = voc::measure(&pictures, 0.5).unwrap();
    assert_equal("ap", &[measured.average_precision], &[golden["ap"].as_f64().unwrap()]);
    assert_equal("recall", &measured.curve.recall, &numbers(&golden["recall"]));
    assert_equal("precision", &measured.curve.precision, &numbers(&golden["precision"]));
    let counts = [measured.faces, measured.found, measured.false_positives].map(|n| n as f64);
    assert_equal("counts", &counts, &numbers(&golden["counts"]));
    let at = voc::measure(&pictures, 0.4).unwrap();
    assert_equal("ap at 0.4", &[at.average_precision], &[golden["ap_at_0.4"].as_f64().unwrap()]);
    assert_apart(&golden["wrong"], &[measured.average_precision]);
}
