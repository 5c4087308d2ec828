//! ONNX files: what they become, that they run, and how broken, foreign and hostile ones are refused.

mod common;
#[path = "common/onnx.rs"]
mod onnx;

use lineament::import::onnx::{InputSize, read, read_sized};
use lineament::plan::{Options, Plan};
use lineament::rng::Rng;
use lineament::{Device, Graph, Select, Tensor};
use onnx::proto::{Attribute, Model};
use onnx::{bytes, chain, int, ints, model, node, tensor, value};

/// Returns the names of nodes, each with that of its operation if it has one.
fn nodes(graph: &Graph) -> Vec<String> {
    let operation = |kind: &lineament::graph::Kind| match kind {
        lineament::graph::Kind::Op(op) => format!(" {}", op.name()),
        _ => String::new(),
    };
    graph.nodes().iter().map(|n| format!("{}{}", n.name, operation(&n.kind))).collect()
}

fn random(shape: [usize; 4]) -> Tensor {
    let mut rng = Rng::new(2);
    Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.uniform(-1.0, 1.0) as f32).collect()).unwrap()
}

fn message(model: &Model) -> String {
    read("a/net.onnx", &bytes(model), &mut Graph::new()).unwrap_err().to_string()
}

/// Returns a network with every attribute that is covered.
fn strided() -> Model {
    let mut rng = Rng::new(1);
    let attributes = vec![
        int("group", 2),
        ints("strides", &[2, 1]),
        ints("dilations", &[1, 2]),
        ints("pads", &[0, 4, 2, 2]),
        ints("kernel_shape", &[3, 5]),
    ];
    let mut floats = tensor(&mut rng, "1.weight", &[3, 6, 1, 1]);
    let raw = floats.raw_data.take().unwrap();
    floats.float_data = raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    model(
        vec![
            node("Conv", "/body/conv1", &["in", "0.weight"], "t1", attributes),
            node("Relu", "", &["t1"], "t2", vec![]),
            node("Conv", "/body/conv1", &["t2", "1.weight", "1.bias"], "t3", vec![]),
        ],
        vec![tensor(&mut rng, "0.weight", &[6, 2, 3, 5]), floats, tensor(&mut rng, "1.bias", &[3])],
        value("in", &[0, 4, 7, 6]),
        value("t3", &[0, 3, 4, 4]),
    )
}

#[test]
fn networks_become_nodes_with_the_files_names() {
    let mut g = Graph::new();
    let net = read("net.onnx", &bytes(&chain(&[2, 3, 1], 5)), &mut g).unwrap();
    assert_eq!(nodes(&g), ["x", "w0", "b0", "c0 conv2d", "r0 relu", "w1", "b1", "y conv2d"]);
    assert_eq!(net.input.0, "x");
    assert_eq!(g.shape(net.output).unwrap(), [1, 1, 5, 5]);

    let mut g = Graph::new();
    let net = g.within("net", |g| read("net.onnx", &bytes(&strided()), g)).unwrap();
    let expected = [
        "net/in",
        "net/0.weight",
        "net/body/conv1.b",
        "net/body/conv1 conv2d",
        "net/t2 relu",
        "net/1.weight",
        "net/1.bias",
        "net/body/conv1_2 conv2d",
    ];
    assert_eq!(nodes(&g), expected);
    assert_eq!(net.input.0, "net/in");
    assert_eq!(g.shape(net.output).unwrap(), [1, 3, 4, 4]);
    assert_eq!(net.weights.tensors().len(), 4);
    assert_eq!(net.weights.get("net/body/conv1.b").unwrap(), &Tensor::zeros([1, 6, 1, 1]));
}

/// Repeats the formula of ONNX's Conv independently.
#[test]
fn the_first_layer_is_what_onnx_says() {
    let mut file = strided();
    let network = file.graph.as_mut().unwrap();
    network.node.truncate(1);
    network.output[0].name = "t1".into();
    let mut g = Graph::new();
    let net = read("net.onnx", &bytes(&file), &mut g).unwrap();
    let (x, w) = (random([1, 4, 7, 6]), net.weights.get("0.weight").unwrap().clone());
    let session = Device::open(&Select::Cpu).unwrap().compile(&g, &[net.output], net.weights).unwrap();
    let y = session.run(&[("in", &x)]).unwrap().remove(0);
    assert_eq!(y.shape(), [1, 6, 4, 4]);
    for o in 0..6 {
        for i in 0..4 {
            for j in 0..4 {
                let mut sum = 0.0;
                for c in 0..2 {
                    for u in 0..3 {
                        for v in 0..5 {
                            let (row, column) = ((2 * i + u) as i64, (j + 2 * v) as i64 - 4);
                            if (0..7).contains(&row) && (0..6).contains(&column) {
                                let x = x.at([0, o / 3 * 2 + c, row as usize, column as usize]);
                                sum += f64::from(x) * f64::from(w.at([o, c, u, v]));
                            }
                        }
                    }
                }
                approx::assert_abs_diff_eq!(f64::from(y.at([0, o, i, j])), sum, epsilon = 1e-6);
            }
        }
    }
}

#[test]
fn networks_run_on_the_adapter_as_on_the_references() {
    let Some(device) = common::device() else { return };
    for (file, size) in [
        (chain(&[1, 5, 8, 2], 9), InputSize::default()),
        (strided(), InputSize::default()),
        (strided(), InputSize { batch: Some(3), height: Some(11), width: Some(8) }),
    ] {
        let mut g = Graph::new();
        let net = read_sized("net.onnx", &bytes(&file), size, &mut g).unwrap();
        let x = random(g.shape(net.input.1).unwrap().nchw());
        let run = |device: &Device| {
            let session = device.compile(&g, &[net.output], net.weights.clone()).unwrap();
            session.run(&[(net.input.0.as_str(), &x)]).unwrap().remove(0)
        };
        let (got, expected) = (run(&device), run(&Device::open(&Select::Cpu).unwrap()));
        assert_eq!(got.shape(), expected.shape());
        for (got, expected) in got.data().iter().zip(expected.data()) {
            // Three layers sum at most 72 products below 1; f32 rounds each.
            approx::assert_abs_diff_eq!(got, expected, epsilon = 1e-4);
        }
    }
}

#[test]
fn what_is_not_covered_is_refused_by_name() {
    type Change = fn(&mut onnx::proto::Graph);
    let cases: Vec<(Change, &str)> = vec![
        (
            |g| g.node[1].op_type = "MaxPool".into(),
            "node \"r0\" (MaxPool): this operator is not covered; covered are Conv",
        ),
        (|g| g.node[1].domain = "com.foreign".into(), "node \"r0\" (com.foreign.Relu): this operator is not covered"),
        (|g| g.node[0].attribute[1] = ints("pads", &[-1, 0, -1, 0]), "pads is [-1, 0, -1, 0], expected 4 numbers"),
        (|g| g.node[0].attribute[1] = ints("strides", &[0, 1]), "stride must be"),
        (|g| g.node[0].attribute[1] = ints("dilations", &[1 << 60, 1]), "dilation must be"),
        (|g| g.node[0].attribute[1] = int("group", 3), "groups must"),
        (|g| g.node[0].attribute[1] = int("group", 0), "groups must"),
        (|g| g.node[0].attribute[0] = ints("kernel_shape", &[5, 5]), "kernel_shape is [5, 5], the filters are [3, 3]"),
        (|g| g.node[0].attribute[0].name = "magic".into(), "the attribute \"magic\" is unknown"),
        (|g| g.node[0].attribute[1].name = "kernel_shape".into(), "\"kernel_shape\" is given twice"),
        (
            |g| {
                let s = Some(b"SAME_UPPER".to_vec());
                g.node[0].attribute[1] = Attribute { name: "auto_pad".into(), s, ..Default::default() };
            },
            "auto_pad is \"SAME_UPPER\"",
        ),
        (|g| g.node[0].input[1] = "x".into(), "node \"c0\" (Conv): its filters \"x\" must be an initializer"),
        (|g| g.node[0].input.truncate(1), "has 1 inputs, expected 2..=3"),
        (|g| g.node[0].output.clear(), "has 0 outputs"),
        (|g| g.node[1].output[0] = "c0".into(), "its output \"c0\" must be a unique name"),
        (|g| g.node[0].input[0] = "r0".into(), "reads \"r0\", which is neither the input nor computed before it"),
        (|g| g.node[0].input[0] = "nowhere".into(), "reads \"nowhere\""),
        (|g| g.output[0].name = "x".into(), "output \"x\" is not computed by any node"),
        (|g| g.output.push(g.output[0].clone()), "has 2 outputs"),
        (|g| g.input.push(value("z", &[1])), "has 2 inputs [\"x\", \"z\"]"),
        (|g| g.input[0] = value("x", &[1, 2, 0, 5]), "dimension H of input \"x\" is \"any\", expected a number"),
        (|g| g.input[0] = value("x", &[1, 2, -4, 5]), "dimension H of input \"x\" is -4"),
        (|g| g.input[0] = value("x", &[2, 5, 5]), "has 3 dimensions"),
        (|g| g.input[0] = value("x", &[1, 2, 1 << 40, 1 << 40]), "2^32 - 1 elements"),
        (
            |g| g.input[0] = value("x", &[1, 7, 5, 5]),
            "node \"c0\" (Conv): w must be [Co, Ci=7, Kh, Kw], got [3, 2, 3, 3]",
        ),
        (|g| g.input[0].r#type = None, "input \"x\" is not a tensor"),
        (|g| g.initializer[0].data_type = 10, "its filters \"w0\" has elements of type 10, expected float32"),
        (|g| g.initializer[0].data_location = 1, "lie in another file"),
        (|g| g.initializer[0].dims = vec![3, 2, 9], "is [3, 2, 9], expected 4 dimensions"),
        (|g| g.initializer[0].dims = vec![3, 2, 3, -3], "is [3, 2, 3, -3], expected dimensions of at least 1"),
        (|g| g.initializer[0].dims = vec![1 << 62; 4], "has 54 values"),
        (|g| g.initializer[0].raw_data = Some(vec![0; 7]), "has 7 bytes, expected a multiple of 4"),
        (|g| g.initializer[0].raw_data = None, "has 0 values"),
        (
            |g| g.initializer[0].raw_data.as_mut().unwrap()[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            "1 values that are NaN",
        ),
        (|g| g.initializer[1].dims = vec![3, 1], "its bias \"b0\" is [3, 1], expected 1 dimensions"),
        (|g| g.initializer[1].name = "w0".into(), "has two initializers \"w0\""),
    ];
    for (change, expected) in cases {
        let mut file = chain(&[2, 3, 1], 5);
        change(file.graph.as_mut().unwrap());
        let message = message(&file);
        assert!(message.starts_with("a/net.onnx: ") && message.contains(expected), "{message:?} lacks {expected:?}");
    }
    let mut file = chain(&[1, 1], 3);
    file.opset_import.clear();
    assert!(message(&file).contains("names no version of ONNX's operators"));
}

/// An initializer that is also listed as an input, as in files before IR version 4, and one that two layers share.
#[test]
fn old_and_shared_initializers_are_read() {
    let mut file = chain(&[2, 2, 2], 5);
    let network = file.graph.as_mut().unwrap();
    network.input.insert(0, value("w0", &[2, 2, 3, 3]));
    network.node[2].input[1] = "w0".into();
    let mut g = Graph::new();
    let net = read("net.onnx", &bytes(&file), &mut g).unwrap();
    assert_eq!(net.weights.tensors().keys().collect::<Vec<_>>(), ["b0", "b1", "w0"]);
}

#[test]
fn a_refused_file_leaves_the_graph_as_it_was() {
    let mut g = Graph::new();
    g.input("r0", [1, 1, 1, 1]).unwrap();
    let error = read("net.onnx", &bytes(&chain(&[2, 3, 1], 5)), &mut g).unwrap_err().to_string();
    assert!(error.contains("node \"r0\" (Relu): this name is taken"), "{error}");
    assert_eq!(g.nodes().len(), 1);
}

/// Reads bytes that may be a network, and plans it.
fn try_all(bytes: &[u8]) -> bool {
    let mut g = Graph::new();
    let Ok(net) = read("net.onnx", bytes, &mut g) else { return false };
    Plan::new(&g, &[net.output], &Options::default()).is_ok()
}

#[test]
fn damaged_files_never_panic() {
    for file in [chain(&[1, 2, 1], 4), strided()] {
        let whole = bytes(&file);
        assert!(try_all(&whole));
        for len in 0..whole.len() {
            assert!(read("net.onnx", &whole[..len], &mut Graph::new()).is_err(), "the first {len} bytes");
        }
        let mut rng = Rng::new(9);
        let mut read_anyway = 0;
        for _ in 0..4000 {
            let mut damaged = whole.clone();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(damaged.len());
                damaged[at] = if rng.below(2) == 0 { damaged[at] ^ 1 << rng.below(8) } else { rng.below(256) as u8 };
            }
            read_anyway += usize::from(try_all(&damaged));
        }
        assert!(read_anyway > 0, "flipped bits of weights do not make a file unreadable");
    }
}

/// Colliding names cost no more than others.
#[test]
fn a_hundred_thousand_nodes_of_one_name_are_read() {
    let count = 100_000;
    let mut nodes = Vec::with_capacity(count);
    for i in 0..count {
        let x = if i == 0 { "x".into() } else { format!("r{i}") };
        nodes.push(node("Relu", "same", &[&x], &format!("r{}", i + 1), vec![]));
    }
    let file = model(nodes, vec![], value("x", &[1, 1, 2, 2]), value(&format!("r{count}"), &[1, 1, 2, 2]));
    let mut g = Graph::new();
    let net = read("net.onnx", &bytes(&file), &mut g).unwrap();
    assert_eq!(g.node(net.output).unwrap().name, format!("same_{count}"));
}
