//! ncnn's files: every layer computes what ncnn computes, and the networks of others are read to their last byte.

mod common;

use lineament::import::array::Array;
use lineament::import::ncnn::{self, Net};
use lineament::rng::Rng;
use lineament::{Device, Graph, Select};
use serde_json::Value;
use std::fs;

/// Deviation that is allowed, relative to the RMS of ncnn's output. Both compute in f32.
const TOLERANCE: f64 = 1e-5;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn array(value: &Value) -> Array {
    let dims: Vec<usize> = value["shape"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
    Array::floats(&dims, numbers(&value["values"])).unwrap()
}

/// Returns what is wrong with a case of tests/golden_ncnn.json, if anything is.
fn problem(device: &Device, case: &Value) -> Option<String> {
    // A null is a tag, for f32.
    let bin = case["bin"].as_array().unwrap().iter().flat_map(|v| (v.as_f64().unwrap_or(0.0) as f32).to_le_bytes());
    let bin: Vec<u8> = bin.collect();
    let param = case["param"].as_str().unwrap();
    let inputs: Vec<(String, Array)> =
        case["inputs"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), array(value))).collect();
    let run = ncnn::read("case", param.as_bytes(), &bin).and_then(|model| model.prepare(device, &inputs)?.run(&inputs));
    let outputs = match run {
        Ok(outputs) => outputs,
        Err(error) => return Some(error.to_string()),
    };
    for (name, expected) in case["outputs"].as_object().unwrap() {
        let expected = array(expected);
        let Some((_, got)) = outputs.iter().find(|(known, _)| known == name) else {
            return Some(format!("lacks {name}"));
        };
        if got.dims() != expected.dims() {
            return Some(format!("{name} is {:?}, expected {:?}", got.dims(), expected.dims()));
        }
        let (got, expected) = (got.to_f64(), expected.to_f64());
        let rms = (expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64).sqrt();
        let worst = got
            .iter()
            .zip(&expected)
            .map(|(g, e)| (g - e).abs())
            .fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m });
        if worst.is_nan() || worst > TOLERANCE * rms {
            return Some(format!("{name} differs by {worst:e}, its RMS is {rms:e}: {got:?}, expected {expected:?}"));
        }
    }
    None
}

/// tools/golden_ncnn.py made the cases with ncnn itself.
#[test]
fn every_layer_computes_what_ncnn_computes() {
    let text = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_ncnn.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    assert!(cases.len() > 200);
    let device = Device::open(&Select::Cpu).unwrap();
    let mut found = Vec::new();
    for case in &cases {
        found.extend(problem(&device, case).map(|problem| format!("{}{problem}", case["param"].as_str().unwrap())));
        // The same with one wrong value must be noticed.
        let mut wrong = case.clone();
        let output = wrong["outputs"].as_object_mut().unwrap().values_mut().next().unwrap();
        let value = output["values"][0].as_f64().unwrap();
        output["values"][0] = (value + 0.01 * value.abs().max(1.0)).into();
        assert!(problem(&device, &wrong).is_some(), "{}", case["param"]);
    }
    assert!(found.is_empty(), "{} of {} cases:\n{}", found.len(), cases.len(), found.join("\n"));
}

/// Returns the only output of a network of one input `x`.
fn run(param: &[u8], inputs: &[(&str, Array)]) -> Array {
    let inputs: Vec<(String, Array)> = inputs.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect();
    let model = ncnn::read("a", param, &[]).unwrap();
    model.prepare(&Device::open(&Select::Cpu).unwrap(), &inputs).unwrap().run(&inputs).unwrap().remove(0).1
}

fn counted(dims: &[usize]) -> Array {
    Array::floats(dims, (0..dims.iter().product()).map(|v| v as f32).collect()).unwrap()
}

/// Wrong numbers in a network give an error or another network, never a panic.
#[test]
fn damaged_networks_never_panic() {
    let text = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_ncnn.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let mut rng = Rng::new(11);
    let mut added = 0;
    for case in &cases {
        let bin = case["bin"].as_array().unwrap().iter().flat_map(|v| (v.as_f64().unwrap_or(0.0) as f32).to_le_bytes());
        let bin: Vec<u8> = bin.collect();
        let dims: Vec<Vec<usize>> =
            case["inputs"].as_object().unwrap().values().map(|v| array(v).dims().to_vec()).collect();
        for _ in 0..60 {
            let mut param = case["param"].as_str().unwrap().as_bytes().to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(param.len());
                if param[at].is_ascii_digit() || rng.below(4) == 0 {
                    param[at] = b"0123456789-=,. "[rng.below(15)];
                }
            }
            let Ok(model) = ncnn::read("a", &param, &bin) else { continue };
            let dims: Vec<Vec<usize>> = if rng.below(4) == 0 { vec![vec![3]; dims.len()] } else { dims.clone() };
            added += usize::from(model.add(&mut Graph::new(), &dims).is_ok());
        }
    }
    assert!(added > 1000, "{added}");
}

/// Layers that others added to ncnn, by their definitions.
#[test]
fn layers_of_other_programs_are_computed() {
    let x = counted(&[2, 3, 4]);
    let param = b"7767517\n3 3\nInput i 0 1 x\nInput j 0 1 f\nrife.Warp w 2 1 x f y\n";
    // Half a column to the right and a row down; beyond the border lies its pixel.
    let flow = Array::floats(&[2, 3, 4], [vec![0.5; 12], vec![1.0; 12]].concat()).unwrap();
    let y = run(param, &[("x", x.clone()), ("f", flow)]).to_f64();
    for c in 0..2 {
        for i in 0..3 {
            for j in 0..4 {
                let row = (c * 12 + (i + 1).min(2) * 4) as f64;
                let column = (j as f64 + 0.5).min(3.0);
                assert_eq!(y[c * 12 + i * 4 + j], row + column, "{c} {i} {j}");
            }
        }
    }
    let x = counted(&[1, 2, 4]);
    let y = run(b"7767517\n2 2\nInput i 0 1 x\nYoloV5Focus f 1 1 x y\n", &[("x", x)]);
    assert_eq!(y.dims(), [4, 1, 2]);
    assert_eq!(y.to_f64(), [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
}

/// A binary file does not tell integers from floats.
#[test]
fn a_binary_network_computes_what_its_text_does() {
    let x = counted(&[1, 2, 3]);
    let text =
        "7767517\n3 3\nInput i 0 1 in0\nInterp r 1 1 in0 a 0=2 1=2.0 2=1.5\nBinaryOp b 1 1 a out0 0=2 1=1 2=0.25\n";
    let f = |v: f32| v.to_bits().cast_signed();
    let words = [
        &[7_767_517, 3, 3, 16, 0, 1, 0, -233][..],
        &[50, 1, 1, 0, 1, 0, 2, 1, f(2.0), 2, f(1.5), -233],
        &[40, 1, 1, 1, 2, 0, 2, 1, 1, 2, f(0.25), -233],
    ];
    let binary: Vec<u8> = words.concat().into_iter().flat_map(i32::to_le_bytes).collect();
    let y = run(text.as_bytes(), &[("in0", x.clone())]);
    assert_eq!(y.dims(), [1, 4, 4]);
    assert_eq!(run(&binary, &[("in0", x)]), y);
}

#[test]
fn inputs_and_outputs_are_declared() {
    let describe = |param: &str, bin: &[u8]| {
        let model = ncnn::read("a", param.as_bytes(), bin).unwrap();
        model
            .inputs()
            .iter()
            .chain(model.outputs())
            .map(|port| format!("{} {}", port.name, port.describe()))
            .collect::<Vec<_>>()
    };
    let input = |sizes: &str| describe(&format!("7767517\n2 2\nInput i 0 1 x {sizes}\nReLU r 1 1 x y\n"), &[]);
    assert_eq!(input("0=8 1=9 2=3"), ["x float32 [3, ?, ?]", "y float32 of any dimensions"]);
    assert_eq!(input("0=8 1=9")[0], "x float32 [9, 8]");
    assert_eq!(input("0=8")[0], "x float32 [8]");
    assert_eq!(input("")[0], "x float32 of any dimensions");
    // The first convolution tells the channels.
    let net = "7767517\n4 4\nInput i 0 1 x\nBinaryOp b 1 1 x u 0=1 1=1 2=0.5\nReLU r 1 1 u v\nConvolution c 1 1 v y 0=2 1=1 6=6\n";
    assert_eq!(describe(net, &[0; 28])[0], "x float32 [3, ?, ?]");
}

/// What cannot be run is reported together, with the reason.
#[test]
fn what_is_not_covered_is_reported_at_once() {
    let param = "7767517\n7 9\nInput in 0 1 x 0=4 1=4 2=2\nSplit s 1 3 x a b c\nLSTM l 1 1 a d 0=0\nYolov3DetectionOutput y 1 1 b e\n\
                 Reshape r 1 1 c f 6=\"0w,1h\"\nFoo g 1 1 f h 0=3\nConcat k 2 1 d h o 0=0\n";
    // The weights of an LSTM of no size cannot be read; another kind has none.
    let param = param.replace("LSTM l", "Spectrogram l");
    let model = ncnn::read("a", param.as_bytes(), &[]).unwrap();
    let device = Device::open(&Select::Cpu).unwrap();
    let x = [("x".to_owned(), Array::floats(&[2, 4, 4], vec![1.0; 32]).unwrap())];
    let error = model.prepare(&device, &x).unwrap_err().to_string();
    for part in [
        "ncnn.Spectrogram (\"l\" with 0 = 0): this layer is not covered",
        "ncnn.Yolov3DetectionOutput (\"y\" with reason",
        "cut the network before it",
        "ncnn.Reshape (\"r\" with 6 = \"0w,1h\"): expressions are not covered",
        "ncnn.Foo (\"g\" with 0 = 3): this",
    ] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

/// Networks in ../shared/models, with their counts of layers and of weights. The latter are sums over the .param.
const NETWORKS: [(&str, usize, usize); 5] = [
    ("sr/waifu2x_ncnn/scale2.0x_model", 8, 552_483),
    ("sr/waifu2x_ncnn/noise0_scale2.0x_model", 8, 552_483),
    ("sr/realesr_animevideov3_ncnn/realesr-animevideov3-x2", 41, 621_424),
    ("accept/mobilefacenet", 160, 1_022_848),
    ("accept/waifu2x_cunet_n1_2x", 59, 1_284_598),
];

fn weights(net: &Net) -> usize {
    net.layers.iter().flat_map(|layer| &layer.weights).map(Vec::len).sum()
}

#[test]
fn networks_of_others_are_read_to_their_last_byte() {
    let Some(models) = common::shared("models") else { return };
    for (name, layers, count) in NETWORKS {
        let [param, bin] = ["param", "bin"].map(|end| fs::read(models.join(format!("{name}.{end}"))).unwrap());
        let net = ncnn::parse(name, &param, &bin).unwrap();
        assert_eq!((net.layers.len(), weights(&net)), (layers, count), "{name}");
        assert_eq!(net.inputs().len(), 1, "{name}");
        assert_eq!(net.outputs().len(), 1, "{name}");
        assert_eq!(ncnn::load(models.join(format!("{name}.param"))).unwrap(), net);
        let short = ncnn::parse(name, &param, &bin[..bin.len() - 4]).unwrap_err().to_string();
        assert!(short.starts_with(name) && short.contains("the .bin ends after"), "{short}");
        let long = ncnn::parse(name, &param, &[&bin[..], &[0; 4]].concat()).unwrap_err().to_string();
        assert!(long.contains("4 bytes after the weights of the last layer"), "{long}");
    }
}

#[test]
fn files_are_found_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.param"), "7767517\n2 2\nInput in 0 1 a\nPReLU p 1 1 a b 0=2\n").unwrap();
    let error = ncnn::load(at("a.param")).unwrap_err().to_string();
    assert!(error.contains("a.bin: there is no such file"), "{error}");
    fs::write(at("a.bin"), [0u8; 4]).unwrap();
    let error = ncnn::load(at("a.param")).unwrap_err().to_string();
    assert!(error.contains("a.bin: PReLU \"p\": its weights need 8 bytes more, but the .bin ends after 4"), "{error}");
    fs::write(at("a.bin"), [0u8; 8]).unwrap();
    assert_eq!(ncnn::load(at("a.param")).unwrap().layers[1].weights, [[0.0, 0.0]]);
    let words = [7_767_517, 2, 2, 16, 0, 1, 0, -233, 23, 1, 1, 0, 1, 0, 2, -233];
    fs::write(at("a.param.bin"), words.map(i32::to_le_bytes).concat()).unwrap();
    assert_eq!(ncnn::load(at("a.param.bin")).unwrap().layers[1].weights, [[0.0, 0.0]]);
    // A network without weights needs no .bin.
    fs::write(at("b.param"), "7767517\n1 1\nInput in 0 1 a\n").unwrap();
    assert_eq!(ncnn::load(at("b.param")).unwrap().outputs(), ["a"]);
    assert!(ncnn::load(at("a.bin")).unwrap_err().to_string().contains("ends in .param or .param.bin"));
}
