//! What the fuzz targets do with bytes, and the replay of their corpus (tests/fuzz_corpus.rs) too: read them as each reader of files
//! does and, if they are a network, go on through its shapes, its plan and, if it is small, a run on the references.
//!
//! A find is a panic, a run out of memory or time, or an `assert!` here.

use lineament::import::array::{Array, Data};
use lineament::import::model::{InputSize, Model};
use lineament::import::{ncnn as ncnn_files, npy as npy_files, onnx as onnx_files};
use lineament::plan::{Options, Plan};
use lineament::{Device, Graph, Select, Weights};

/// Most elements of an input that is made up here. The shapes of larger ones are planned, but they get no values.
const MAX_INPUT: usize = 1 << 14;
/// Most elements of a graph, and floating-point operations, that are run: what the references do in milliseconds.
const MAX_ELEMENTS: u64 = 1 << 18;
const MAX_FLOPS: u64 = 1 << 20;
/// Most bytes of weights that are made up for a `.param`.
const MAX_WEIGHTS: usize = 1 << 16;
/// The size of a dimension that a network leaves open.
const OPEN: usize = 16;

/// Separates the `.param` from the `.bin` in a file of the corpus. Without it, the weights are zeros.
const BIN: &[u8] = b"\n#bin\n";

pub fn onnx(bytes: &[u8]) {
    if let Ok(model) = onnx_files::read("fuzz.onnx", bytes) {
        network(&model);
    }
}

pub fn ncnn(bytes: &[u8]) {
    let split = bytes.windows(BIN.len()).position(|part| part == BIN);
    let net = match split {
        Some(at) => ncnn_files::parse("fuzz.param", &bytes[..at], &bytes[at + BIN.len()..]),
        None => ncnn_files::parse("fuzz.param", bytes, &[]).or_else(|_| with_zeros(bytes)),
    };
    if let Ok(model) = net.and_then(|net| net.model("fuzz.param")) {
        network(&model);
    }
}

/// Reads a `.param` with as many zeros as it has weights.
fn with_zeros(param: &[u8]) -> lineament::Result<ncnn_files::Net> {
    ncnn_files::parse_param("fuzz.param", param)?;
    let zeros = [0; MAX_WEIGHTS];
    let parse = |len: usize| ncnn_files::parse("fuzz.param", param, &zeros[..len]);
    let is_enough = |len: usize| match parse(len) {
        Ok(_) => true,
        Err(error) => error.to_string().contains("bytes after the weights"),
    };
    // Every f32 takes four bytes, and other values are padded to so many.
    let (mut low, mut high) = (0, MAX_WEIGHTS / 4);
    while low < high {
        let middle = (low + high) / 2;
        if is_enough(4 * middle) { high = middle } else { low = middle + 1 }
    }
    parse(4 * low)
}

/// Plans a network for inputs of the file's sizes and of small ones, and runs it if it is small.
fn network(model: &Model) {
    let small = InputSize { batch: Some(1), height: Some(OPEN), width: Some(OPEN) };
    let mut seen = Vec::new();
    for size in [InputSize::default(), small] {
        let dims = model.inputs().iter().map(|port| model.dims(port, size)).collect::<lineament::Result<Vec<_>>>();
        let Some(dims) = dims.ok().filter(|dims| !seen.contains(dims)) else { continue };
        if run(model, &dims).is_none() {
            let mut graph = Graph::new();
            if let Ok(added) = model.add(&mut graph, &dims) {
                let _ = Plan::new(&graph, &added.fetches(), &Options::default());
            }
        }
        seen.push(dims);
    }
    let _ = model.weights().to_bytes();
}

/// Runs a network on made-up inputs; `None` if they or what it computes of them is large, or if it is refused.
fn run(model: &Model, dims: &[Vec<usize>]) -> Option<()> {
    let mut given = Vec::new();
    for (port, dims) in model.inputs().iter().zip(dims) {
        let total = dims.iter().try_fold(1usize, |total, &d| total.checked_mul(d)).filter(|&n| n <= MAX_INPUT)?;
        // Sizes, axes and indices are small numbers.
        let values: Vec<f64> = (0..total).map(|i| (i % 5) as f64).collect();
        given.push((port.name.clone(), Array::from_f64(dims, port.kind, &values).ok()?));
    }
    let (graph, _) = model.for_inputs(&given).ok()?;
    let elements = graph.nodes().iter().map(|node| node.shape.iter().product::<usize>() as u64).sum::<u64>();
    let device = Device::open(&Select::Cpu).ok()?;
    let prepared = Some(elements).filter(|&n| n <= MAX_ELEMENTS).and_then(|_| model.prepare(&device, &given).ok())?;
    if prepared.session().is_some_and(|session| session.plan().cost().flops > MAX_FLOPS) {
        return Some(());
    }
    for (name, array) in prepared.run(&given).ok()? {
        let again = npy_files::read_array(&name, &npy_files::write_array(&array));
        assert!(again.is_ok_and(|again| again.dims() == array.dims()), "{name} is not written as it is read");
    }
    Some(())
}

pub fn npy(bytes: &[u8]) {
    let _ = npy_files::read("fuzz.npy", bytes);
    let Ok(array) = npy_files::read_array("fuzz.npy", bytes) else { return };
    let again = npy_files::read_array("fuzz.npy", &npy_files::write_array(&array)).unwrap();
    assert_eq!((again.dims(), again.kind()), (array.dims(), array.kind()));
    match (again.data(), array.data()) {
        (Data::Int(again), Data::Int(values)) => assert_eq!(again, values),
        _ => assert_eq!(again.to_bytes(), array.to_bytes()),
    }
}

pub fn safetensors(bytes: &[u8]) {
    let _ = Weights::manifest_of("fuzz.safetensors", bytes);
    let Ok(weights) = Weights::from_bytes("fuzz.safetensors", bytes) else { return };
    let written = weights.to_bytes().unwrap();
    let again = Weights::from_bytes("fuzz.safetensors", &written).unwrap();
    assert_eq!(again.tensors(), weights.tensors());
    assert_eq!(again.to_bytes().unwrap(), written);
}
