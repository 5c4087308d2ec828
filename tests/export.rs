//! Networks as ONNX files: every operation's cases in ONNX Runtime, if there is one, and what files say of sizes and names.
//!
//! `LINEAMENT_ORT_PYTHON=/path/to/python` names a Python that has onnxruntime and onnx; without it, files are made but not run.

#[path = "common/onnx.rs"]
mod onnx;

use lineament::graph::{Draft, Drafted, Given};
use lineament::import::array::Array;
use lineament::import::npy;
use lineament::import::onnx::{export, read};
use lineament::models::{self, SuperResolution};
use lineament::ops::{Case, Io, reference_outputs, registry};
use lineament::prelude::*;
use lineament::rng::Rng;
use onnx::proto;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Operations that exist only in training, and the planner's own.
const WITHOUT: [&str; 10] =
    ["adam", "clip", "cross_entropy", "dropout", "ema", "loss", "quintuplet", "repack", "sgd", "softmax_cross_entropy"];

/// Largest |ONNX Runtime − reference| / (1 + |reference|).
const LIMIT: f64 = 1e-5;

/// Runs NAME.onnx of a folder on NAME.in.K.npy, and writes the largest error against NAME.out.K.npy.
const SCRIPT: &str = r#"
import glob, os, sys
import numpy as np, onnx, onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 3
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.onnx"))):
    base = path[:-5]
    try:
        onnx.checker.check_model(path, full_check=True)
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feeds = {}
        for k, given in enumerate(session.get_inputs()):
            x = np.load(f"{base}.in.{given.name}.npy")
            feeds[given.name] = x.astype(np.int64) if given.type == "tensor(int64)" else x
        worst = 0.0
        for k, y in enumerate(session.run(None, feeds)):
            expected = np.load(f"{base}.out.{k}.npy").astype(np.float64)
            assert y.shape == expected.shape, f"output {k} is {y.shape}, expected {expected.shape}"
            same = (y == expected) | (np.isnan(y) & np.isnan(expected))
            error = np.where(same, 0.0, np.abs(y - expected) / (1.0 + np.abs(expected)))
            error = np.where(np.isnan(error), np.inf, error)
            worst = max(worst, float(error.max()))
        print(f"{os.path.basename(base)} {worst}")
    except Exception as e:
        print(f"{os.path.basename(base)} failed: {str(e).splitlines()[0]}")
"#;

/// Runs all models of `folder` in ONNX Runtime, and returns the lines of those that differ; `None` if there is no ONNX Runtime.
fn wrong_in_runtime(folder: &Path) -> Option<Vec<String>> {
    let Ok(python) = std::env::var("LINEAMENT_ORT_PYTHON") else {
        eprintln!("SKIPPED: LINEAMENT_ORT_PYTHON names no Python with onnxruntime, so no file was run");
        return None;
    };
    let ran = Command::new(&python).args(["-c", SCRIPT]).arg(folder).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{python}: {errors}");
    let is_right = |line: &str| line.rsplit(' ').next().unwrap().parse().is_ok_and(|error: f64| error <= LIMIT);
    let worst = text.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, f64::max);
    println!("{} files ran in ONNX Runtime; the largest error is {worst:.1e}", text.lines().count());
    assert!(text.lines().count() > 0);
    Some(text.lines().filter(|line| !is_right(line)).map(str::to_owned).collect())
}

fn save(folder: &Path, name: &str, model: &[u8], inputs: &[(&str, &Tensor)], outputs: &[Tensor]) {
    std::fs::write(folder.join(format!("{name}.onnx")), model).unwrap();
    for (input, tensor) in inputs {
        std::fs::write(folder.join(format!("{name}.in.{input}.npy")), npy::write(tensor)).unwrap();
    }
    for (k, tensor) in outputs.iter().enumerate() {
        std::fs::write(folder.join(format!("{name}.out.{k}.npy")), npy::write(tensor)).unwrap();
    }
}

/// Reads a model back, runs it on the references, and returns what differs from the expected outputs.
fn wrong_when_read_back(
    device: &Device,
    model: &[u8],
    inputs: &[(&str, &Tensor)],
    outputs: &[Tensor],
) -> Option<String> {
    let run = || -> Result<Vec<(String, Array)>> {
        let model = read("back", model)?;
        let given: Vec<(String, Array)> = model
            .inputs()
            .iter()
            .map(|port| {
                let (_, tensor) = inputs.iter().find(|(name, _)| *name == port.name).unwrap();
                Ok((port.name.clone(), Array::from_tensor(tensor, &tensor.shape(), port.kind)?))
            })
            .collect::<Result<_>>()?;
        model.prepare(device, &given)?.run(&given)
    };
    let got = match run() {
        Ok(got) => got,
        Err(e) => return Some(e.to_string()),
    };
    for ((name, got), expected) in got.iter().zip(outputs) {
        if got.dims() != &expected.shape()[..] {
            return Some(format!("{name} is {:?}, expected {:?}", got.dims(), expected.shape()));
        }
        let expected = Array::from_tensor(expected, &expected.shape(), got.kind()).unwrap().to_f64();
        for (got, expected) in got.to_f64().iter().zip(&expected) {
            let same = got == expected || (got.is_nan() && expected.is_nan());
            let error = (got - expected).abs() / (1.0 + expected.abs());
            if !same && (error.is_nan() || error > LIMIT) {
                return Some(format!("{name}: {got}, expected {expected}"));
            }
        }
    }
    (got.len() != outputs.len()).then(|| format!("{} outputs, expected {}", got.len(), outputs.len()))
}

/// Inputs by name.
type Inputs = Vec<(&'static str, Tensor)>;

/// Returns the case as a network whose inputs after the first are weights if `has_weights` is set.
fn network_of(case: &Case, values: &[Vec<f64>], has_weights: bool) -> Result<(Drafted, Weights, Inputs)> {
    let mut graph = lineament::Graph::new();
    let (mut ids, mut tensors, mut given) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (k, (&name, shape)) in case.op.inputs().iter().zip(&case.x).enumerate() {
        let dtype = case.op.dtype(name);
        let tensor = Tensor::from_f64(*shape, dtype, &values[k])?;
        let is_state = case.op.updates().contains(&name);
        if is_state || (has_weights && k > 0 && dtype == DType::F32) {
            ids.push(graph.param(name, *shape, Init::Constant(0.0))?);
            tensors.insert(name.to_owned(), tensor);
        } else {
            ids.push(graph.input_of(dtype, name, *shape)?);
            given.push((name, tensor));
        }
    }
    let y = graph.add_shared(case.op.clone(), &ids)?;
    let mut outputs = Vec::new();
    // Statistics that only a gradient needs have no form.
    for name in case.op.outputs().iter().filter(|name| !["mean", "rstd"].contains(name)) {
        outputs.push((format!("{name}_out"), graph.output(y, name)?));
    }
    Ok((Drafted { graph, outputs, losses: Vec::new() }, Weights::from_tensors(tensors), given))
}

#[test]
fn every_operation_is_that_of_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    let (mut written, mut past) = (0, 0);
    let device = Device::open(&Select::Cpu).unwrap();
    let mut wrong = Vec::new();
    for registered in registry() {
        for (index, case) in (registered.cases)().iter().enumerate().filter(|(_, case)| !case.real && !case.is_rough) {
            if case.op.outputs().is_empty() {
                refused.insert(registered.name, "an update".into());
                continue;
            }
            let values = case.values(&mut Rng::new(index as u64));
            // An index past the end adds nothing here, and is an error in ONNX Runtime.
            let is_past = |size: usize| values[1].iter().any(|&index| index >= size as f64);
            if ["gather", "scatter_add"].contains(&registered.name) && case.x[0].iter().any(|&size| is_past(size)) {
                past += 1;
                continue;
            }
            for has_weights in [false, true] {
                let (drafted, weights, given) = network_of(case, &values, has_weights).unwrap();
                let model = match export::write(&drafted, &weights) {
                    Ok(model) => model,
                    Err(e) => {
                        refused.insert(registered.name, e.to_string());
                        continue;
                    }
                };
                let io = Io { x: &case.x, y: case.op.shape(&case.x).unwrap() };
                let expected = reference_outputs(&*case.op, &io, &values);
                let shapes = drafted.outputs.iter().map(|(_, id)| drafted.graph.node(*id).unwrap());
                let outputs: Vec<Tensor> = shapes
                    .zip(&expected)
                    .map(|(node, values)| Tensor::from_f64(node.shape, node.dtype, values).unwrap())
                    .collect();
                let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (*name, tensor)).collect();
                let name = format!("{}-{index}-{}", registered.name, u8::from(has_weights));
                save(folder.path(), &name, &model, &inputs, &outputs);
                written += 1;
                wrong.extend(
                    wrong_when_read_back(&device, &model, &inputs, &outputs).map(|what| format!("{name}: {what}")),
                );
            }
        }
    }
    let reasons: Vec<&String> = refused.values().collect();
    let names: Vec<&str> = refused
        .keys()
        .copied()
        .filter(|name| !["avg_pool2d", "batch_norm", "conv2d", "max_pool2d", "warp"].contains(name))
        .collect();
    assert_eq!(names, WITHOUT, "{reasons:#?}");
    assert!(refused["batch_norm"].contains("statistics of the batch"), "{reasons:#?}");
    assert!(refused["warp"].contains("one row or column"), "{reasons:#?}");
    // The taps of a six-dimensional resample are a seventh dimension there.
    wrong.retain(|what| !(what.starts_with("resample-") && what.contains("has more than 6 dimensions")));
    assert!(
        wrong.is_empty(),
        "{} of {written} files do not come back: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(40)]
    );
    assert!(written > 300 && past < 40, "{written} files, {past} cases with indices past the end");
    if let Some(wrong) = wrong_in_runtime(folder.path()) {
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

fn classifier(g: &Draft) {
    let x = g.input("x").conv("conv1", 6, 3, Conv2d::same(3)).relu().batch_norm("norm").max_pool(2);
    let x = x.conv("conv2", 5, 3, Conv2d { stride: [2, 2], ..Conv2d::same(3) }).prelu("act").avg_pool(2);
    let scores = x.dense("head", 7);
    g.output("scores", scores);
    g.output("middle", x);
    g.loss("loss", || scores.bce_with_logits(g.input("t"), Reduction::Mean));
}

fn noise(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut rng = Rng::new(seed);
    Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.uniform(-1.0, 1.0) as f32).collect()).unwrap()
}

/// Returns the dimensions of a model's inputs, then of its outputs, as text.
fn sizes(model: &[u8]) -> Vec<String> {
    let graph = proto::Model::decode(model).unwrap().graph.unwrap();
    let text = |value: &proto::ValueInfo| {
        let shape = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().shape.as_ref().unwrap();
        let dims = shape.dim.iter().map(|d| d.dim_param.clone().unwrap_or_else(|| d.dim_value.unwrap().to_string()));
        format!("{} {}", value.name, dims.collect::<Vec<_>>().join("x"))
    };
    graph.input.iter().chain(&graph.output).map(text).collect()
}

#[test]
fn networks_run_elsewhere_at_the_sizes_that_they_leave_open() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open(&Select::Cpu).unwrap();
    let network = device.network(Params::fresh(3), classifier);
    let (x, t) = (noise([2, 3, 16, 20], 1), noise([2, 7, 1, 1], 2));
    network.train(Optimizer::adam()).unwrap().step(0.01, &[("x", &x), ("t", &t)]).unwrap();
    let model = network.to_onnx(&[("x", &x).into()]).unwrap();
    // The fully connected layer fixes the picture's size, but not the batch's.
    assert_eq!(sizes(&model), ["x Nx3x16x20", "scores Nx7x1x1", "middle Nx5x2x2"]);
    let x = noise([5, 3, 16, 20], 4);
    let y = network.run(&[("x", &x)]).unwrap();
    save(folder.path(), "classifier", &model, &[("x", &x)], &[y["scores"].clone(), y["middle"].clone()]);

    let fsrcnn = SuperResolution::new("fsrcnn", 3).unwrap();
    let weights = models::shipped::open("fsrcnn", 3).unwrap().unwrap();
    let network = device.network(weights, move |g: &Draft| {
        g.output("y", g.graph(&[g.input("x")], |graph, x| fsrcnn.build(graph, x[0])));
    });
    let model = network.to_onnx(&[Given::new("x", [1, 1, 8, 8])]).unwrap();
    assert_eq!(sizes(&model), ["x Nx1xHxW", "y Nx1xy.2xy.3"]);
    let manifest = proto::Model::decode(&model[..]).unwrap().metadata_props;
    assert!(manifest.iter().any(|entry| entry.key == "model" && entry.value == "fsrcnn"), "{manifest:?}");
    let x = noise([2, 1, 9, 13], 5);
    save(folder.path(), "fsrcnn", &model, &[("x", &x)], &[network.run(&[("x", &x)]).unwrap().take("y").unwrap()]);
    if let Some(wrong) = wrong_in_runtime(folder.path()) {
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// What is written can be read back, as far as the reader covers it.
#[test]
fn a_chain_of_convolutions_comes_back_as_it_was() {
    let device = Device::open(&Select::Cpu).unwrap();
    let build = |g: &Draft| {
        let x = g.input("x").conv("a", 4, 3, Conv2d { groups: 2, dilation: [2, 1], ..Conv2d::same(3) }).relu();
        g.output("y", x.conv("b", 3, 5, Conv2d { stride: [2, 1], ..Conv2d::same(5) }));
    };
    let network = device.network(Params::fresh(6), build);
    let x = noise([1, 4, 9, 8], 7);
    let y = network.run(&[("x", &x)]).unwrap().take("y").unwrap();
    let model = network.to_onnx(&[("x", &x).into()]).unwrap();
    let mut graph = lineament::Graph::new();
    let read = lineament::import::onnx::read("back", &model).unwrap().add(&mut graph, &[vec![1, 4, 9, 8]]).unwrap();
    let session = device.compile(&graph, &read.fetches(), read.weights).unwrap();
    assert_eq!(session.run(&[("x", &x)]).unwrap()[0].data(), y.data());
}

#[test]
fn what_has_no_form_is_refused_with_its_node() {
    let device = Device::open(&Select::Cpu).unwrap();
    let network = device.network(Params::fresh(6), |g: &Draft| {
        let x = g.input("x");
        g.output("error", x.relu().mse(x, Reduction::Mean));
    });
    let error = network.to_onnx(&[Given::new("x", [1, 1, 2, 2])]).unwrap_err().to_string();
    assert_eq!(error, "x.loss: loss has no form in ONNX's opset 17; leave it out of the outputs");
}

/// The weights that come with lineament, as the command writes them, against the references.
#[test]
fn the_shipped_networks_run_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open(&Select::Cpu).unwrap();
    for name in ["fsrcnn-s_x3", "srcnn_x3", "cbn-small", "cbn-small-8px"] {
        let path = folder.path().join(format!("{name}.onnx"));
        let command = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lineament"));
            command.args(["convert", name]).arg(&path).args(more).output().unwrap()
        };
        assert!(command(&[]).status.success());
        let refused = String::from_utf8(command(&[]).stderr).unwrap();
        assert!(refused.contains("--overwrite"), "{refused}");
        let again = command(&["--overwrite", "--json"]);
        let said: serde_json::Value =
            serde_json::from_str(String::from_utf8(again.stdout).unwrap().lines().last().unwrap()).unwrap();
        assert_eq!(said["bytes"], std::fs::metadata(&path).unwrap().len());

        let mut graph = lineament::Graph::new();
        let mut input = |side: usize| {
            // Luminance in the middle of the range, with some texture.
            let texture = noise([side * side], 9).data().iter().map(|v| 0.5 + 0.3 * v).collect();
            let x = Tensor::new([1, 1, side, side], texture).unwrap();
            (graph.input("x", x.shape()).unwrap(), x)
        };
        let (y, weights, x) = if name.starts_with("cbn") {
            let file = models::shipped::all().iter().find(|shipped| shipped.model == name).unwrap().open().unwrap();
            let (cascade, weights) = models::cbn::cascade::Cascade::open(&file).unwrap();
            let (id, x) = input(cascade.config.side_before(0));
            let stages = cascade.build(&mut graph, id, models::cbn::cascade::Variant::Full, None).unwrap();
            (stages.last().unwrap().i, models::cbn::cascade::weights_of(&graph, &weights), x)
        } else {
            let (model, scale) = name.split_once("_x").unwrap();
            let scale = scale.parse().unwrap();
            let (id, x) = input(9);
            let network = SuperResolution::new(model, scale).unwrap();
            (network.build(&mut graph, id).unwrap(), models::shipped::open(model, scale).unwrap().unwrap(), x)
        };
        let session = device.compile(&graph, &[y], weights).unwrap();
        let expected = session.run(&[("x", &x)]).unwrap();
        std::fs::write(folder.path().join(format!("{name}.in.x.npy")), npy::write(&x)).unwrap();
        std::fs::write(folder.path().join(format!("{name}.out.0.npy")), npy::write(&expected[0])).unwrap();
    }
    if let Some(wrong) = wrong_in_runtime(folder.path()) {
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
