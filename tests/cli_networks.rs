//! The commands that take networks of other programs: run, info, check, plan, profile.

#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/onnx.rs"]
mod onnx;

use command::{Folder, json, run, text};
use lineament::import::array::{Array, Data, Kind};
use lineament::import::npy;
use lineament::rng::Rng;

/// Returns the error of a command that must fail.
fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success() && !text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    text(&output.stderr)
}

/// Writes a network whose second input, int64, is the shape of its first output; the second output is a copy of the first input.
fn reshaping(folder: &Folder) -> String {
    let mut net = onnx::model(
        vec![
            onnx::node("Relu", "r", &["x"], "r", vec![]),
            onnx::node("Reshape", "s", &["r", "shape"], "y/1:0", vec![]),
        ],
        vec![],
        onnx::value("x", &[2, 6]),
        onnx::value("y/1:0", &[0, 0]),
    );
    let graph = net.graph.as_mut().unwrap();
    let mut shape = onnx::value("shape", &[2]);
    shape.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = 7;
    graph.input.push(shape);
    graph.output.push(onnx::value("x", &[2, 6]));
    std::fs::write(folder.path("reshape.onnx"), onnx::bytes(&net)).unwrap();
    folder.text("reshape.onnx")
}

/// The options that choose the references where there is no adapter.
fn device() -> Vec<&'static str> {
    if common::device().is_some() { vec![] } else { vec!["--device", "cpu"] }
}

#[test]
fn run_writes_outputs_with_the_files_types_and_names() {
    let folder = Folder::new();
    let net = reshaping(&folder);
    let x = Array::floats(&[2, 6], (0..12).map(|v| v as f32 - 5.0).collect()).unwrap();
    std::fs::write(folder.path("x.npy"), npy::write_array(&x)).unwrap();
    let shape = Array::new(&[2], Kind::I64, Data::Int(vec![4, -1])).unwrap();
    std::fs::write(folder.path("s.npy"), npy::write_array(&shape)).unwrap();
    let (x_file, s_file, out) = (folder.text("x.npy"), folder.text("s.npy"), folder.text("results"));
    let inputs = [format!("x={x_file}"), format!("shape={s_file}")];
    let arguments =
        ["run", &net, "--input", &inputs[0], "--input", &inputs[1], "--output", &out, "--top", "2", "--json"];
    let report = json(&[&arguments[..], &device()].concat());
    assert_eq!(report["outputs"][0]["shape"], serde_json::json!([4, 3]));
    assert_eq!(report["outputs"][0]["top"][0], serde_json::json!({ "index": 11, "value": 6.0 }));
    let y = npy::open_array(folder.path("results/y_1_0.npy")).unwrap();
    let expected: Vec<f64> = x.to_f64().into_iter().map(|v| v.max(0.0)).collect();
    assert_eq!((y.dims(), y.to_f64()), (&[4, 3][..], expected));
    assert_eq!(npy::open_array(folder.path("results/x.npy")).unwrap(), x, "an output that is an input");

    let error = fails(&["run", &net, "--input", &x_file]);
    assert!(error.contains("names no input, expected NAME=FILE; its inputs are [\"x\", \"shape\"]"), "{error}");
    let error = fails(&["run", &net, "--input", &inputs[0], "--input", &inputs[0]]);
    assert!(error.contains("input \"x\" is given twice"), "{error}");
    let wrong = format!("shape={x_file}");
    let error = fails(&[&["run", &net, "--input", &wrong][..], &device()].concat());
    assert!(error.contains("input \"shape\" is int64 [2], got float32 [2, 6]"), "{error}");
}

#[test]
fn info_says_what_a_network_is_and_what_is_in_its_way() {
    let folder = Folder::new();
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::chain(&[2, 8, 3], 12))).unwrap();
    let net = folder.text("net.onnx");
    let report = json(&[&["info", &net, "--json"][..], &device()].concat());
    assert_eq!(report["parameters"], 2 * 8 * 9 + 8 + 8 * 3 * 9 + 3);
    assert_eq!(report["operators"], serde_json::json!({ "Conv": 2, "Relu": 1 }));
    assert_eq!(
        report["inputs"][0],
        serde_json::json!({ "name": "x", "dtype": "float32", "shape": ["1", "2", "12", "12"] })
    );
    assert_eq!(report["run"]["outputs"], serde_json::json!([[1, 3, 12, 12]]));
    assert!(report["run"]["flops"].as_u64().unwrap() >= 2 * 144 * (2 * 8 + 8 * 3) * 9);
    let larger = json(&[&["info", &net, "--size", "24x20", "--batch", "2", "--json"][..], &device()].concat());
    assert_eq!(larger["run"]["outputs"], serde_json::json!([[2, 3, 20, 24]]));

    let mut strange = onnx::chain(&[2, 8, 3], 12);
    strange.graph.as_mut().unwrap().node[1].op_type = "Strange".into();
    std::fs::write(folder.path("strange.onnx"), onnx::bytes(&strange)).unwrap();
    let strange = folder.text("strange.onnx");
    let output = run(&[&["info", &strange, "--json"][..], &device()].concat());
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("1 of 3 nodes cannot be run") && stderr.contains("Strange (\"r0\")"), "{stderr}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"Strange\":1"));
}

#[test]
fn check_compares_every_step_and_the_outputs() {
    let folder = Folder::new();
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::chain(&[2, 8, 3], 12))).unwrap();
    let mut rng = Rng::new(4);
    let x = Array::floats(&[1, 2, 12, 12], (0..288).map(|_| rng.unit() as f32).collect()).unwrap();
    std::fs::write(folder.path("x.npy"), npy::write_array(&x)).unwrap();
    let (net, x, out) = (folder.text("net.onnx"), folder.text("x.npy"), folder.text("expected"));
    assert!(run(&["run", &net, "--input", &x, "--output", &out, "--device", "cpu"]).status.success());
    let all = [&["check", &net, "--input", &x, "--expect", &out, "--json"][..], &device()].concat();
    let report = json(&all);
    assert_eq!(report["failed"], 0);
    assert!(report["outputs"][0]["error"].as_f64().unwrap() < 1e-5, "{report}");
    if common::device().is_some() {
        assert!(report["steps"].as_array().unwrap().len() >= 2, "{report}");
    }
    let file = folder.path("expected/y.npy");
    let mut y = npy::open(&file).unwrap();
    y.data_mut()[7] += 1.0;
    std::fs::write(&file, npy::write(&y)).unwrap();
    let output = run(&all);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("of its root mean square, allowed: 1e-3"));
}

#[test]
fn plan_and_profile_take_any_network() {
    let folder = Folder::new();
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::chain(&[2, 8, 3], 12))).unwrap();
    let net = folder.text("net.onnx");
    let plan = json(&[&["plan", &net, "--size", "16x10", "--json"][..], &device()].concat());
    assert!(plan["peak_bytes"].as_u64().unwrap() > 0);
    assert_eq!(plan["steps"].as_array().unwrap().last().unwrap()["node"], "net/y.conv2d");
    if common::device().is_some() {
        let why = json(&["plan", &net, "--why", "net/y.conv2d", "--json"]);
        assert!(why["why"].as_array().is_some_and(|all| !all.is_empty()), "{why}");
        let profile = json(&["profile", &net, "--runs", "2", "--json"]);
        assert!(profile["rows"].as_array().unwrap().len() >= 2);
    }
    assert_eq!(run(&["plan", "--size", "16x10"]).status.code(), Some(2), "--size needs a network");
    assert_eq!(run(&["profile", &net, "--shader", "relu"]).status.code(), Some(2));
}
