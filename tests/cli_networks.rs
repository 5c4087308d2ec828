//! The commands that take networks of other programs: run, info, check, plan, profile.

#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/onnx.rs"]
mod onnx;

use command::{Folder, json, noise, ok, run, text};
use lineament::image::{Channel, Channels, Picture, Samples};
use lineament::import::array::{Array, Data, Kind};
use lineament::import::npy;
use lineament::ops::resize::{Kernel, Resize};
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

/// Writes a network that returns its input `x` of an ONNX element type and these dimensions, of which 0 are free.
fn identity(folder: &Folder, name: &str, elements: i32, dims: &[i64]) -> String {
    let mut net = onnx::model(
        vec![onnx::node("Identity", "i", &["x"], "y", vec![])],
        vec![],
        onnx::value("x", dims),
        onnx::value("y", dims),
    );
    let graph = net.graph.as_mut().unwrap();
    for port in graph.input.iter_mut().chain(&mut graph.output) {
        port.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = elements;
    }
    std::fs::write(folder.path(name), onnx::bytes(&net)).unwrap();
    folder.text(name)
}

/// What the network of [`identity`] got is what it returns.
#[test]
fn pictures_become_what_the_input_takes() {
    let folder = Folder::new();
    noise(&folder.path("a.png"), 6, 5);
    let picture = Picture::open(folder.path("a.png")).unwrap();
    let Samples::U8(samples) = picture.samples().clone() else { panic!() };
    let sample = |c: usize, i: usize| f64::from(samples[3 * i + c]);
    let (a, out) = (folder.text("a.png"), folder.text("out"));
    let got = |net: &str, options: &[&str]| {
        ok(&[&["run", net, "--input", &a, "--output", &out, "--device", "cpu"], options].concat());
        npy::open_array(folder.path("out/y.npy")).unwrap()
    };
    let is_near = |array: &Array, dims: &[usize], expected: &dyn Fn(usize) -> f64| {
        assert_eq!(array.dims(), dims);
        for (i, got) in array.to_f64().into_iter().enumerate() {
            assert!(
                (got - expected(i)).abs() <= 1e-6 * expected(i).abs().max(1.0),
                "{i}: {got}, expected {}",
                expected(i)
            );
        }
    };

    let planar = identity(&folder, "planar.onnx", 1, &[1, 3, 5, 6]);
    is_near(&got(&planar, &[]), &[1, 3, 5, 6], &|i| sample(i / 30, i % 30) / 255.0);
    let mean = [123.7, 116.3, 103.5];
    is_near(&got(&planar, &["--mean", "123.7,116.3,103.5", "--std", "2"]), &[1, 3, 5, 6], &|i| {
        (sample(i / 30, i % 30) - mean[i / 30]) / 2.0
    });
    // The numbers stay those of red, green and blue.
    is_near(&got(&planar, &["--mean", "123.7,116.3,103.5", "--std", "1", "--bgr"]), &[1, 3, 5, 6], &|i| {
        sample(2 - i / 30, i % 30) - mean[2 - i / 30]
    });
    let interleaved = identity(&folder, "interleaved.onnx", 2, &[1, 5, 6, 3]);
    let bytes = got(&interleaved, &[]);
    assert_eq!((bytes.kind(), bytes.dims()), (Kind::U8, &[1, 5, 6, 3][..]));
    assert!(bytes.to_f64().iter().zip(&samples).all(|(got, expected)| *got == f64::from(*expected)));
    let grey = |i: usize| (0.299 * sample(0, i) + 0.587 * sample(1, i) + 0.114 * sample(2, i)) / 255.0;
    is_near(&got(&identity(&folder, "grey.onnx", 1, &[0, 1, 0, 0]), &[]), &[1, 1, 5, 6], &grey);
    let opaque = got(&identity(&folder, "opaque.onnx", 1, &[1, 4, 5, 6]), &["--std", "1"]);
    is_near(&opaque, &[1, 4, 5, 6], &|i| if i < 90 { sample(i / 30, i % 30) } else { 255.0 });

    // A fixed size is that of the input, unless another one is given; a free one is the picture's.
    let shrunk = Resize::to(Kernel::Bilinear, [5, 6], [2, 3]).unwrap();
    let shrunk: Vec<f32> = [Channel::Red, Channel::Green, Channel::Blue]
        .into_iter()
        .flat_map(|channel| {
            let rect = lineament::image::Rect { top: 0, left: 0, height: 2, width: 3 };
            picture.resized_rect(channel, rect, &shrunk).unwrap()
        })
        .collect();
    let small = identity(&folder, "small.onnx", 1, &[2, 3, 2, 3]);
    is_near(&got(&small, &[]), &[2, 3, 2, 3], &|i| shrunk[i % 18].into());
    is_near(&got(&planar, &["--size", "3x2"]), &[1, 3, 2, 3], &|i| shrunk[i].into());
    is_near(&got(&identity(&folder, "free.onnx", 1, &[1, 3, 0, 0]), &[]), &[1, 3, 5, 6], &|i| {
        sample(i / 30, i % 30) / 255.0
    });
    let resized = run(&["run", &small, "--input", &a, "--device", "cpu", "-v"]);
    assert!(
        text(&resized.stderr).contains("a.png: 6x5 resized to 3x2, bilinearly with antialiasing"),
        "{}",
        text(&resized.stderr)
    );

    let flat = identity(&folder, "flat.onnx", 1, &[2, 6]);
    let pair = identity(&folder, "pair.onnx", 1, &[1, 2, 5, 6]);
    let whole = identity(&folder, "whole.onnx", 7, &[1, 3, 5, 6]);
    std::fs::write(folder.path("a.txt"), "no picture").unwrap();
    let other = folder.text("a.txt");
    for (net, input, options, expected) in [
        (&flat, &a, &[][..], "a.png: is a picture, but input \"x\", float32 [2, 6], is none; give a .npy array"),
        (&pair, &a, &[], "float32 [1, 2, 5, 6], has other channels than the 1, 3 or 4 of pictures"),
        (&whole, &a, &[], "int64 [1, 3, 5, 6], has neither floats nor uint8"),
        (&interleaved, &a, &["--std", "1"], "takes the samples as they are; leave out --mean and --std"),
        (&planar, &a, &["--mean", "1,2,3,4"], "--mean has 4 numbers, input \"x\" has 3 channels"),
        (&planar, &a, &["--size", "1048576x1048576"], "would become [1, 3, 1048576, 1048576]"),
        (&planar, &other, &[], "a.txt: is neither a .npy array nor a picture"),
    ] {
        let error = fails(&[&["run", net, "--input", input, "--device", "cpu"], options].concat());
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
    for (option, value) in [("--std", "0"), ("--std", "1,2"), ("--mean", "red")] {
        assert_eq!(run(&["run", &planar, "--input", &a, option, value]).status.code(), Some(2), "{option} {value}");
    }
    // The same in the other commands.
    for command in ["bench", "check"] {
        let ok = run(&[command, &small, "--input", &a, "--std", "1", "--device", "cpu"]);
        assert!(ok.status.success(), "{command}: {}", text(&ok.stderr));
        assert!(fails(&[command, &pair, "--input", &a, "--device", "cpu"]).contains("has other channels"), "{command}");
    }
    Picture::from_samples("g", 2, 1, Channels::GreyAlpha, Samples::U8(vec![10, 0, 200, 9]))
        .unwrap()
        .save(folder.path("a.png"))
        .unwrap();
    is_near(&got(&identity(&folder, "free.onnx", 1, &[1, 3, 0, 0]), &["--std", "1"]), &[1, 3, 1, 2], &|i| {
        [10.0, 200.0][i % 2]
    });
}

/// An input that a small file claims to be huge is not made up.
#[test]
fn inputs_of_any_size_are_not_made_up() {
    let folder = Folder::new();
    let net = identity(&folder, "huge.onnx", 1, &[1, 3, 30_000, 30_000]);
    for command in ["run", "check"] {
        let error = fails(&[command, &net, "--device", "cpu"]);
        assert!(error.contains("input \"x\" [1, 3, 30000, 30000] is too large to be made up"), "{command}: {error}");
    }
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
fn a_network_in_f16_is_checked_measured_and_refused_where_there_is_none() {
    let folder = Folder::new();
    std::fs::write(folder.path("net.onnx"), onnx::bytes(&onnx::chain(&[2, 8, 3], 12))).unwrap();
    let net = folder.text("net.onnx");
    let error = fails(&["run", &net, "--precision", "f16", "--device", "cpu"]);
    assert!(error.contains("cpu (f64 references) has no f16") && error.contains("--precision f32"), "{error}");
    assert_eq!(run(&["run", &net, "--precision", "f8"]).status.code(), Some(2));
    assert!(fails(&["tune", &net, "--precision", "f16"]).contains("measured on f32"));
    if common::device().is_some_and(|device| device.caps().has_f16) {
        let report = json(&["check", &net, "--precision", "f16", "--json"]);
        assert_eq!(report["failed"], 0);
        let bytes = |precision: &str| json(&["plan", &net, "--precision", precision, "--json"])["peak_bytes"].as_u64();
        assert!(bytes("f16") < bytes("f32"));
        assert!(fails(&["bench", &net, "--train", "--precision", "f16"]).contains("training needs --precision f32"));

        // An index past 2,048 is a number that f16 does not have.
        let attributes = vec![onnx::int("axis", 1), onnx::int("keepdims", 1)];
        let (largest, twice) = (onnx::node("ArgMax", "m", &["x"], "m", attributes), ["m", "m"]);
        let nodes = vec![
            largest,
            onnx::node("Add", "a", &twice, "s", vec![]),
            onnx::node("Add", "b", &["s", "m"], "y", vec![]),
        ];
        let mut net = onnx::model(nodes, vec![], onnx::value("x", &[1, 4000]), onnx::value("y", &[1, 1]));
        let y = &mut net.graph.as_mut().unwrap().output[0];
        y.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = 7;
        std::fs::write(folder.path("index.onnx"), onnx::bytes(&net)).unwrap();
        let x = Array::floats(&[1, 4000], (0..4000).map(|k| if k == 3001 { 1.0 } else { 0.0 }).collect()).unwrap();
        std::fs::write(folder.path("x.npy"), npy::write_array(&x)).unwrap();
        let [net, x, out] = ["index.onnx", "x.npy", "out"].map(|name| folder.text(name));
        assert!(run(&["run", &net, "--input", &x, "--output", &out, "--precision", "f16"]).status.success());
        assert_eq!(npy::open_array(folder.path("out/y.npy")).unwrap().to_f64(), [9003.0]);
    }
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
