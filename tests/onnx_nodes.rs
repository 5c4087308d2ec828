//! ONNX's own tests of what is easily got wrong (tests/onnx_nodes.json, made by `tools/onnx-tests --export`), on the adapter and on the
//! references. `tools/onnx-tests` runs all of them.

mod common;

use lineament::import::array::{Array, Data, Kind};
use lineament::import::onnx;
use lineament::{Device, Select};
use serde_json::Value;

/// Largest |ours − theirs|: this, and this part of theirs. Theirs were computed in float32 or float64, or rounded to float16.
const ABSOLUTE: f64 = 1e-6;
const RELATIVE: f64 = 1e-4;
/// Tests whose expected values were written by hand with four decimals, of which half a unit is the absolute bound.
const ROUNDED: [&str; 3] =
    ["test_averagepool_2d_ceil_last_window_starts_on_pad", "test_gridsample_bicubic", "test_roialign_aligned_true"];

struct Case {
    name: String,
    model: Vec<u8>,
    inputs: Vec<(String, Array)>,
    outputs: Vec<(String, Array)>,
}

impl Case {
    fn absolute(&self) -> f64 {
        if ROUNDED.contains(&self.name.as_str()) { 5.1e-5 } else { ABSOLUTE }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is no text"))
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn array(value: &Value) -> (String, Array) {
    let kinds = (1..=16).filter_map(Kind::from_onnx);
    let kind = kinds.into_iter().find(|kind| kind.name() == text(value, "dtype")).unwrap();
    let dims: Vec<usize> = value["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    (text(value, "name").to_owned(), Array::from_bytes(&dims, kind, &bytes(text(value, "data"))).unwrap())
}

fn cases() -> Vec<Case> {
    let file: Value = serde_json::from_str(include_str!("onnx_nodes.json")).unwrap();
    let all = |case: &Value, key: &str| case[key].as_array().unwrap().iter().map(array).collect();
    let case = |case: &Value| Case {
        name: text(case, "test").to_owned(),
        model: bytes(text(case, "model")),
        inputs: all(case, "inputs"),
        outputs: all(case, "outputs"),
    };
    file["cases"].as_array().unwrap().iter().map(case).collect()
}

/// Returns what is wrong with a result; `None` if nothing is.
fn difference(got: &Array, expected: &Array, absolute: f64) -> Option<String> {
    if (got.kind(), got.dims()) != (expected.kind(), expected.dims()) {
        let (kind, dims) = (expected.kind(), expected.dims());
        return Some(format!("is {} {:?}, expected {kind} {dims:?}", got.kind(), got.dims()));
    }
    // Integers beyond 2⁵³ are compared as integers.
    if let (Data::Int(got), Data::Int(expected)) = (got.data(), expected.data()) {
        return (got != expected).then(|| format!("is {got:?}, expected {expected:?}"));
    }
    let fits = |got: f64, expected: f64| {
        got == expected
            || (got.is_nan() && expected.is_nan())
            || (got - expected).abs() <= absolute + RELATIVE * expected.abs().min(f64::MAX)
    };
    let pairs = got.to_f64().into_iter().zip(expected.to_f64());
    let at = pairs.enumerate().find(|(_, (got, expected))| !fits(*got, *expected));
    at.map(|(i, (got, expected))| format!("element {i} is {got}, expected {expected}"))
}

fn run(case: &Case, device: &Device) -> Result<(), String> {
    let model = onnx::read(&case.name, &case.model).map_err(|e| e.to_string())?;
    let prepared = model.prepare(device, &case.inputs).map_err(|e| e.to_string())?;
    let outputs = prepared.run(&case.inputs).map_err(|e| e.to_string())?;
    assert_eq!(outputs.len(), case.outputs.len(), "{}", case.name);
    for ((name, got), (wanted, expected)) in outputs.iter().zip(&case.outputs) {
        assert_eq!(name, wanted);
        if let Some(problem) = difference(got, expected, case.absolute()) {
            return Err(format!("{name} {problem}"));
        }
    }
    Ok(())
}

fn run_all(device: &Device) {
    let cases = cases();
    assert!(cases.len() > 100);
    let failed = |case: &Case| run(case, device).err().map(|problem| format!("{}: {problem}", case.name));
    let failed: Vec<String> = cases.iter().filter_map(failed).collect();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn on_the_adapter() {
    if let Some(device) = common::device() {
        run_all(&device);
    }
}

#[test]
fn on_the_references() {
    run_all(&Device::open(&Select::Cpu).unwrap());
}

/// Every test notices an element that is wrong by a little, another type and other dimensions.
#[test]
fn what_is_slightly_wrong_is_noticed() {
    for case in cases() {
        for (name, expected) in &case.outputs {
            assert_eq!(difference(expected, expected, 0.0), None);
            let mut values = expected.to_f64();
            let is_usual = |v: f64| v.is_finite() && v.abs() < 1e30;
            let Some(last) = values.iter().rposition(|&v| is_usual(v)) else { continue };
            let v = values[last];
            values[last] = match expected.kind() {
                Kind::Bool => 1.0 - v,
                kind if kind.is_float() => v + 3.0 * case.absolute() + 2e-3 * v.abs(),
                _ => {
                    if v > 0.0 {
                        v - 1.0
                    } else {
                        v + 1.0
                    }
                }
            };
            let wrong = Array::from_f64(expected.dims(), expected.kind(), &values).unwrap();
            assert!(difference(&wrong, expected, case.absolute()).is_some(), "{}: {name}", case.name);
            let longer = [&[1], expected.dims()].concat();
            assert!(difference(&expected.reshaped(&longer).unwrap(), expected, 1.0).is_some());
            let kind = if expected.kind() == Kind::F32 { Kind::F64 } else { Kind::F32 };
            assert!(difference(&Array::from_f64(expected.dims(), kind, &values).unwrap(), expected, 1.0).is_some());
        }
    }
}
