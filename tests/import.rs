//! ONNX files: what they become, that they run, and how broken, foreign and hostile ones are refused.

mod common;
#[path = "common/onnx.rs"]
mod onnx;

use lineament::graph::Kind as NodeKind;
use lineament::import::array::Array;
use lineament::import::model::{Added, InputSize};
use lineament::import::onnx::read;
use lineament::ops::conv2d::Conv2d;
use lineament::plan::{Options, Plan};
use lineament::rng::Rng;
use lineament::{Device, Graph, Result, Select, Tensor};
use onnx::proto::{Attribute, Model};
use onnx::{bytes, chain, float, int, ints, model, node, tensor, value};

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

/// Reads a file and adds its network to a graph, at the file's size or another.
fn add(bytes: &[u8], size: InputSize, graph: &mut Graph) -> Result<Added> {
    let model = read("a/net.onnx", bytes)?;
    let dims: Vec<Vec<usize>> = model.inputs().iter().map(|port| model.dims(port, size)).collect::<Result<_>>()?;
    model.add(graph, &dims)
}

fn message(model: &Model) -> String {
    add(&bytes(model), InputSize::default(), &mut Graph::new()).unwrap_err().to_string()
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
    let net = add(&bytes(&chain(&[2, 3, 1], 5)), InputSize::default(), &mut g).unwrap();
    let layer = |w: &str, b: &str, name: &str| {
        vec![w.to_owned(), b.to_owned(), format!("{name}.reshape"), format!("{name}.conv2d conv2d")]
    };
    let expected =
        [vec!["x".into()], layer("w0", "b0", "c0"), vec!["r0.relu relu".into()], layer("w1", "b1", "y")].concat();
    assert_eq!(nodes(&g), expected);
    assert_eq!((net.inputs[0].0.as_str(), net.inputs[0].1.as_str()), ("x", "x"));
    assert_eq!(g.shape(net.fetches()[0]).unwrap(), [1, 1, 5, 5]);

    let mut g = Graph::new();
    let net = g.within("net", |g| add(&bytes(&strided()), InputSize::default(), g)).unwrap();
    let expected = [
        "net/in",
        "net/0.weight",
        "net/body/conv1.no_bias",
        "net/body/conv1.conv2d conv2d",
        "net/t2.relu relu",
        "net/1.weight",
        "net/1.bias",
        "net/body/conv1_2.reshape",
        "net/body/conv1_2.conv2d conv2d",
    ];
    assert_eq!(nodes(&g), expected);
    assert_eq!((net.inputs[0].0.as_str(), net.inputs[0].1.as_str()), ("in", "net/in"));
    assert_eq!(g.shape(net.fetches()[0]).unwrap(), [1, 3, 4, 4]);
    assert_eq!(net.weights.tensors().keys().collect::<Vec<_>>(), ["net/0.weight", "net/1.bias", "net/1.weight"]);
}

/// Repeats the formula of ONNX's Conv independently.
#[test]
fn the_first_layer_is_what_onnx_says() {
    let mut file = strided();
    let network = file.graph.as_mut().unwrap();
    network.node.truncate(1);
    network.output[0].name = "t1".into();
    let mut g = Graph::new();
    let net = add(&bytes(&file), InputSize::default(), &mut g).unwrap();
    let (x, w) = (random([1, 4, 7, 6]), net.weights.get("0.weight").unwrap().clone());
    let session = Device::open(&Select::Cpu).unwrap().compile(&g, &net.fetches(), net.weights).unwrap();
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
        let net = add(&bytes(&file), size, &mut g).unwrap();
        let x = random(g.shape(net.inputs[0].2).unwrap().nchw());
        let run = |device: &Device| {
            let session = device.compile(&g, &net.fetches(), net.weights.clone()).unwrap();
            session.run(&[(net.inputs[0].1.as_str(), &x)]).unwrap().remove(0)
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
            |g| g.node[1].op_type = "Unheard".into(),
            "1 of 3 nodes cannot be run\n  Unheard (\"r0\"): this operator is not covered",
        ),
        (|g| g.node[1].op_type = "LSTM".into(), "LSTM (\"r0\"): this operator is not covered; recurrent layers"),
        (|g| g.node[1].domain = "com.foreign".into(), "com.foreign.Relu (\"r0\"): this operator is not covered"),
        (
            |g| {
                g.node.iter_mut().for_each(|node| node.op_type = "Unheard".into());
                g.node[1].attribute = vec![int("mode", 7)];
                g.node[2].op_type = "Other".into();
            },
            "3 of 3 nodes cannot be run\n  Unheard (\"c0\" with kernel_shape = [3, 3], pads = [1, 1, 1, 1] and 1 more): \
             this operator is not covered\n  Other (\"y\"",
        ),
        (|g| g.node[0].attribute[1] = ints("pads", &[-1, 0, -1, 0]), "the attribute pads must be 4 integers"),
        (|g| g.node[0].attribute[1] = ints("strides", &[0, 1]), "a stride or dilation is 0"),
        (|g| g.node[0].attribute[1] = ints("dilations", &[1 << 60, 1]), "1152921504606846976 is too large"),
        (|g| g.node[0].attribute[1] = int("group", 3), "groups must"),
        (|g| g.node[0].attribute[1] = int("group", 0), "group must be at least 1"),
        (|g| g.node[0].attribute[1] = int("pads", 1), "the attribute pads must be integers, got 1"),
        (|g| g.node[0].attribute[0] = ints("kernel_shape", &[5, 5]), "kernel_shape is [5, 5], the filters are [3, 3]"),
        (|g| g.node[0].attribute[0].name = "magic".into(), "the attribute magic ([3, 3]) is not covered"),
        (|g| g.node[1].attribute = vec![int("magic", 7)], "the attribute magic (7) is not covered"),
        (|g| g.node[0].attribute[1].name = "kernel_shape".into(), "the attribute \"kernel_shape\" is given twice"),
        (
            |g| {
                let s = Some(b"SAME_AGAIN".to_vec());
                g.node[0].attribute[1] = Attribute { name: "auto_pad".into(), s, ..Default::default() };
            },
            "auto_pad \"SAME_AGAIN\" is not covered",
        ),
        (|g| g.node[0].input.truncate(1), "input 1 is missing"),
        (|g| g.node[2].output.clear(), "output \"y\" is not computed by any node"),
        (|g| g.node[1].output[0] = "c0".into(), "its output \"c0\" must be a unique name"),
        (|g| g.node[0].input[0] = "r0".into(), "reads \"r0\", which nothing before it computes"),
        (|g| g.node[0].input[0] = "nowhere".into(), "reads \"nowhere\""),
        (|g| g.output[0].name = "nothing".into(), "output \"nothing\" is not computed by any node"),
        (|g| g.output.clear(), "has no outputs"),
        (|g| g.input[0] = value("x", &[1, 2, 0, 5]), "dimension H of input \"x\", float32 [1, 2, any, 5], is \"any\""),
        (|g| g.input[0] = value("x", &[2, 5]), "expected [N, C, L] or [N, C, H, W], got [2, 5]"),
        (|g| g.input[0] = value("x", &[1, 2, 1 << 40, 1 << 40]), "2^32 - 1"),
        (
            |g| g.input[0] = value("x", &[1, 7, 5, 5]),
            "Conv (\"c0\" with kernel_shape = [3, 3], pads = [1, 1, 1, 1]): w must be",
        ),
        (|g| g.input[0].r#type = None, "input \"x\" is not a tensor"),
        (|g| g.initializer[0].data_type = 8, "initializer \"w0\" has elements of type string, which is not covered"),
        (|g| g.initializer[0].data_type = 10, "initializer \"w0\" is [3, 2, 3, 3] of float16 and has 216 values"),
        (|g| g.initializer[0].data_location = 1, "lies in another file, but not where"),
        (|g| g.initializer[0].dims = vec![3, 2, 9], "kernel_shape is [3, 3], the filters are [9]"),
        (|g| g.initializer[0].dims = vec![3, 2, 3, -3], "is [3, 2, 3, -3], expected sizes of at least 0"),
        (|g| g.initializer[0].dims = vec![1 << 62; 4], "fewer than 2^32 elements"),
        (|g| g.initializer[0].raw_data = Some(vec![0; 7]), "has 7 values or bytes"),
        (|g| g.initializer[0].raw_data = None, "has 0 values or bytes"),
        (|g| g.initializer[1].dims = vec![3, 1], "the bias is [3, 1], expected [3]"),
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
    let net = add(&bytes(&file), InputSize::default(), &mut Graph::new()).unwrap();
    assert_eq!(net.weights.tensors().keys().collect::<Vec<_>>(), ["b0", "b1", "w0"]);
}

#[test]
fn a_refused_file_leaves_the_graph_as_it_was() {
    let mut g = Graph::new();
    g.input("x", [1, 1, 1, 1]).unwrap();
    let error = add(&bytes(&chain(&[2, 3, 1], 5)), InputSize::default(), &mut g).unwrap_err().to_string();
    assert!(error.contains("this name is taken"), "{error}");
    assert_eq!(g.nodes().len(), 1);
}

/// Reads bytes that may be a network, and plans it.
fn try_all(bytes: &[u8]) -> bool {
    let mut g = Graph::new();
    let Ok(net) = add(bytes, InputSize::default(), &mut g) else { return false };
    Plan::new(&g, &net.fetches(), &Options::default()).is_ok()
}

#[test]
fn damaged_files_never_panic() {
    for file in [chain(&[1, 2, 1], 4), strided()] {
        let whole = bytes(&file);
        assert!(try_all(&whole));
        for len in 0..whole.len() {
            assert!(!try_all(&whole[..len]), "the first {len} bytes");
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
    let net = add(&bytes(&file), InputSize::default(), &mut g).unwrap();
    assert_eq!(g.node(net.fetches()[0]).unwrap().name, format!("same_{count}.relu"));
}

#[test]
fn a_value_times_its_gate_is_one_function() {
    let operators = |alpha: f32, gate: &str, product: [&str; 2], outputs: &[&str]| {
        let attributes = if gate == "HardSigmoid" { vec![float("alpha", alpha), float("beta", 0.5)] } else { vec![] };
        let nodes = vec![node(gate, "g", &["x"], "g", attributes), node("Mul", "y", &product, "y", vec![])];
        let mut model = model(nodes, vec![], value("x", &[2, 5]), value("y", &[2, 5]));
        outputs.iter().for_each(|name| model.graph.as_mut().unwrap().output.push(value(name, &[2, 5])));
        let x: Vec<f64> = (0..10).map(|i| f64::from(i) - 5.0).collect();
        let x = Array::from_f64(&[2, 5], lineament::import::array::Kind::F32, &x).unwrap();
        let y = run(&model, &[("x", x.clone())]).unwrap().to_f64();
        for (y, x) in y.iter().zip(x.to_f64()) {
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            let gate = if gate == "Sigmoid" { sigmoid } else { (f64::from(alpha) * x + 0.5).clamp(0.0, 1.0) };
            let other = if product[0] == product[1] { gate } else { x };
            approx::assert_relative_eq!(*y, gate * other, max_relative = 1e-6, epsilon = 1e-6);
        }
        let read = read("net.onnx", &bytes(&model)).unwrap();
        read.nodes().iter().map(|node| node.op.clone()).collect::<Vec<_>>()
    };
    assert_eq!(operators(0.0, "Sigmoid", ["x", "g"], &[]), ["Swish"]);
    assert_eq!(operators(0.0, "Sigmoid", ["g", "x"], &[]), ["Swish"]);
    assert_eq!(operators(1.0 / 6.0, "HardSigmoid", ["x", "g"], &[]), ["HardSwish"]);
    // Another slope, a gate that is an output too, a product of two gates.
    assert_eq!(operators(0.2, "HardSigmoid", ["x", "g"], &[]), ["HardSigmoid", "Mul"]);
    assert_eq!(operators(0.0, "Sigmoid", ["x", "g"], &["g"]), ["Sigmoid", "Mul"]);
    assert_eq!(operators(0.0, "Sigmoid", ["g", "g"], &[]), ["Sigmoid", "Mul"]);
}

/// The fuzzer found that CumSum took axis 0 of a scalar for one.
#[test]
fn a_scalar_has_no_axes() {
    for op in [
        "ArgMax",
        "CumSum",
        "Gather",
        "GatherElements",
        "LpNormalization",
        "LayerNormalization",
        "ReduceMax",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "TopK",
    ] {
        let mut net =
            model(vec![node(op, "n", &["x", "i", "i", "i"], "y", vec![])], vec![], value("x", &[]), value("y", &[]));
        let graph = net.graph.as_mut().unwrap();
        match op {
            "ArgMax" | "LpNormalization" | "LayerNormalization" | "Softmax" | "Split" => {
                graph.node[0].input.truncate(1);
                graph.node[0].attribute = vec![int("axis", 0)];
            }
            "Slice" => {}
            _ => graph.node[0].input.truncate(2),
        }
        let zero = Some(0i64.to_le_bytes().to_vec());
        graph.initializer = vec![onnx::proto::Tensor {
            dims: vec![1],
            data_type: 7,
            name: "i".into(),
            raw_data: zero,
            ..Default::default()
        }];
        let text = message(&net);
        assert!(text.contains("does not exist in 0 dimensions"), "{op}: {text}");
    }
}

/// Whatever a file has many of, it is refused in a few lines and seconds.
#[test]
fn many_problems_are_reported_in_few_lines() {
    let count = 200_000;
    let mut nodes: Vec<_> =
        (0..count).map(|i| node(&format!("Unheard{i}"), "", &["x"], &format!("y{i}"), vec![])).collect();
    let all: Vec<String> = (0..count).map(|i| format!("y{i}")).collect();
    nodes.push(node("Sum", "", &all.iter().map(String::as_str).collect::<Vec<_>>(), "y", vec![]));
    let begin = std::time::Instant::now();
    let text = message(&model(nodes, vec![], value("x", &[1]), value("y", &[1])));
    assert!(
        text.contains("200000 of 200001 nodes cannot be run") && text.contains("and 199970 other problems"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 32);
    let attributes = (0..count).map(|i| int(&format!("a{i}"), 1)).collect();
    let text =
        message(&model(vec![node("Relu", "", &["x"], "y", attributes)], vec![], value("x", &[1]), value("y", &[1])));
    assert!(text.contains("the attribute a0 (1) is not covered"), "{text}");
    // Both took minutes.
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
    let mut file = chain(&[1, 1], 3);
    file.graph.as_mut().unwrap().input = vec![value("x", &[1, 1, 3, 3]); 5000];
    assert!(message(&file).contains("has more than 4096 inputs or outputs"));
}

/// Returns a network of one node with two inputs `a` and `b`, whose second one is an initializer if `known` says so.
fn pair(operator: &str, dims: &[i64], attributes: Vec<Attribute>) -> Model {
    let mut model =
        model(vec![node(operator, "n", &["a", "b"], "y", attributes)], vec![], value("a", dims), value("y", dims));
    model.graph.as_mut().unwrap().input.push(value("b", dims));
    model
}

/// Runs a network on the references and on the adapter, if there is one, and returns the first output.
fn run_within(tolerance: f64, model: &Model, given: &[(&str, Array)]) -> Result<Array> {
    let model = read("net.onnx", &bytes(model))?;
    let given: Vec<(String, Array)> = given.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect();
    let on = |device: &Device| Ok::<_, lineament::Error>(model.prepare(device, &given)?.run(&given)?.remove(0).1);
    let expected = on(&Device::open(&Select::Cpu)?)?;
    if let Some(device) = common::device() {
        let got = on(&device)?;
        assert_eq!((got.dims(), got.kind()), (expected.dims(), expected.kind()));
        for (got, expected) in got.to_f64().iter().zip(expected.to_f64()) {
            approx::assert_relative_eq!(*got, expected, max_relative = 1e-5, epsilon = tolerance);
        }
    }
    Ok(expected)
}

fn run(model: &Model, given: &[(&str, Array)]) -> Result<Array> {
    run_within(1e-6, model, given)
}

#[test]
fn batch_normalisation_and_factors_become_a_part_of_the_convolution() {
    let mut rng = Rng::new(7);
    let mut initializers = vec![tensor(&mut rng, "w", &[3, 2, 3, 3])];
    for name in ["scale", "bias", "mean", "factor"] {
        initializers.push(tensor(&mut rng, name, if name == "factor" { &[3, 1, 1] } else { &[3] }));
    }
    let mut variance = tensor(&mut rng, "variance", &[3]);
    variance.raw_data = Some([0.5f32, 1.5, 2.5].iter().flat_map(|v| v.to_le_bytes()).collect());
    initializers.push(variance);
    let nodes = |is_split: bool| {
        let mut nodes = vec![
            node("Conv", "c", &["x", "w"], "c", vec![]),
            node("BatchNormalization", "n", &["c", "scale", "bias", "mean", "variance"], "n", vec![]),
            node("Mul", "m", &["factor", "n"], "m", vec![]),
            node("Sub", "y", &["m", "factor"], "y", vec![]),
        ];
        if is_split {
            // A second reader of each value keeps the nodes apart.
            for name in ["c", "n", "m"] {
                nodes.push(node("Relu", "", &[name], &format!("r{name}"), vec![]));
            }
        }
        nodes
    };
    let whole = model(nodes(false), initializers.clone(), value("x", &[1, 2, 5, 4]), value("y", &[1, 3, 3, 2]));
    let mut apart = model(nodes(true), initializers, value("x", &[1, 2, 5, 4]), value("y", &[1, 3, 3, 2]));
    for name in ["rc", "rn", "rm"] {
        apart.graph.as_mut().unwrap().output.push(value(name, &[1, 3, 3, 2]));
    }
    assert_eq!(read("net.onnx", &bytes(&whole)).unwrap().nodes().len(), 1);
    assert_eq!(read("net.onnx", &bytes(&apart)).unwrap().nodes().len(), 7);
    let x = Array::from_tensor(&random([1, 2, 5, 4]), &[1, 2, 5, 4], lineament::import::array::Kind::F32).unwrap();
    let [whole, apart] = [whole, apart].map(|net| run(&net, &[("x", x.clone())]).unwrap().to_f64());
    for (a, b) in whole.iter().zip(&apart) {
        approx::assert_relative_eq!(*a, *b, max_relative = 1e-5, epsilon = 1e-5);
    }
}

#[test]
fn large_matrices_are_split_by_their_columns() {
    let (rows, columns) = (4100, 2050);
    let floats = |values: Vec<f32>| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let element = |r: usize, c: usize| ((r * 31 + c * 17) % 101) as f32 / 101.0 - 0.5;
    for transposed in [0, 1] {
        let mut rng = Rng::new(1);
        let dims = if transposed == 1 { [columns, rows] } else { [rows, columns] };
        let mut w = tensor(&mut rng, "w", &[1]);
        w.dims = dims.map(|d| d as i64).to_vec();
        let at =
            |i: usize| if transposed == 1 { element(i % rows, i / rows) } else { element(i / columns, i % columns) };
        w.raw_data = Some(floats((0..rows * columns).map(at).collect()));
        let b = tensor(&mut rng, "b", &[columns as i64]);
        let bias: Vec<f64> = b
            .raw_data
            .as_ref()
            .unwrap()
            .chunks_exact(4)
            .map(|v| f32::from_le_bytes(v.try_into().unwrap()).into())
            .collect();
        let net = model(
            vec![node("Gemm", "n", &["x", "w", "b"], "y", vec![int("transB", transposed)])],
            vec![w, b],
            value("x", &[1, rows as i64]),
            value("y", &[1, columns as i64]),
        );
        let x: Vec<f32> = (0..rows).map(|r| (r % 7) as f32 - 3.0).collect();
        // Sums of 4,100 products of at most 1.5.
        let y = run_within(1e-3, &net, &[("x", Array::floats(&[1, rows], x.clone()).unwrap())]).unwrap();
        assert_eq!(y.dims(), [1, columns]);
        for c in [0, 1, columns / 2 - 1, columns / 2, columns - 1] {
            let sum: f64 = (0..rows).map(|r| f64::from(x[r]) * f64::from(element(r, c))).sum();
            approx::assert_abs_diff_eq!(y.to_f64()[c], sum + bias[c], epsilon = 2e-3);
        }
        let parts = read("net.onnx", &bytes(&net)).unwrap();
        assert_eq!(parts.nodes().iter().map(|n| n.op.as_str()).collect::<Vec<_>>(), ["Gemm", "Gemm", "Concat"]);
    }
}

/// Integers that f32 might not hold are refused where they are computed in a run, and exact where they are known.
#[test]
fn integers_are_exact_or_refused() {
    use lineament::import::array::{Data, Kind};
    let of = |kind: i32, dims: &[i64]| {
        let mut model = pair("Mul", dims, vec![]);
        let network = model.graph.as_mut().unwrap();
        for port in network.input.iter_mut().chain(&mut network.output) {
            port.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = kind;
        }
        model
    };
    let array = |kind: Kind, values: &[i64]| Array::new(&[values.len()], kind, Data::Int(values.to_vec())).unwrap();
    let ints = run(&of(7, &[2]), &[("a", array(Kind::I64, &[1 << 40, -3])), ("b", array(Kind::I64, &[3, 1 << 33]))]);
    assert_eq!(ints.unwrap().to_ints().unwrap(), [3 << 40, -3 << 33]);
    let bytes_ = run(&of(2, &[3]), &[("a", array(Kind::U8, &[200, 16, 255])), ("b", array(Kind::U8, &[2, 16, 255]))]);
    assert_eq!(bytes_.unwrap().to_ints().unwrap(), [144, 0, 1], "modulo 256");
    let model = read("net.onnx", &bytes(&of(6, &[2]))).unwrap();
    let error = model.add(&mut Graph::new(), &[vec![2], vec![2]]).unwrap_err().to_string();
    assert!(error.contains("computes with int32 in a run, where only integers up to 2^24 are exact"), "{error}");
}

#[test]
fn an_operator_of_ones_own_takes_the_place_of_a_refusal() {
    let mut net = read(
        "net.onnx",
        &bytes(&model(
            vec![node("Twice", "n", &["x"], "t", vec![]), node("Relu", "r", &["t"], "y", vec![])],
            vec![],
            value("x", &[1, 1, 2, 2]),
            value("y", &[1, 1, 2, 2]),
        )),
    )
    .unwrap();
    let given = [("x".to_owned(), Array::floats(&[1, 1, 2, 2], vec![-1.0, 2.0, 3.0, -4.0]).unwrap())];
    let device = Device::open(&Select::Cpu).unwrap();
    let error = net.prepare(&device, &given).unwrap_err().to_string();
    assert!(error.contains("Twice (\"n\"): this operator is not covered"), "{error}");
    net.register("Twice", |g, x, node| {
        assert_eq!((node.name.as_str(), x.len()), ("n", 1));
        Ok(vec![g.plus(x[0], x[0])?])
    });
    assert_eq!(net.prepare(&device, &given).unwrap().run(&given).unwrap()[0].1.to_f64(), [0.0, 4.0, 6.0, 0.0]);
}

/// A network of any size reads one copy of its weights, and other weights can take their place.
#[test]
fn a_network_runs_inputs_of_any_size() {
    let device = Device::open(&Select::Cpu).unwrap();
    let network = read("net.onnx", &bytes(&chain(&[1, 3, 1], 5))).unwrap().network(&device);
    let error = network.run(&[("x", &Tensor::zeros([7, 5]))]).unwrap_err().to_string();
    assert!(error.contains("input \"x\" is float32 [1, 1, 5, 5], got float32 [7, 5]"), "{error}");
    let mut file = chain(&[1, 3, 1], 5);
    file.graph.as_mut().unwrap().input[0] = value("x", &[0, 1, 0, 0]);
    let network = read("net.onnx", &bytes(&file)).unwrap().network(&device);
    for (h, w) in [(5, 5), (7, 4)] {
        let y = network.run(&[("x", &Tensor::filled([2, 1, h, w], 0.5))]).unwrap();
        assert_eq!(y["y"].shape(), [2, 1, h, w]);
    }
    assert_eq!(network.weights().unwrap().tensors().keys().collect::<Vec<_>>(), ["b0", "b1", "w0", "w1"]);
}

/// Values in other files are read from the network's own folder, and from nowhere else.
#[test]
fn values_outside_of_the_file_lie_in_its_folder() {
    use onnx::proto::Entry;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut file = chain(&[1, 1], 3);
    let w = &mut file.graph.as_mut().unwrap().initializer[0];
    let values = w.raw_data.take().unwrap();
    let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into() };
    w.data_location = 1;
    std::fs::create_dir(path("net")).unwrap();
    std::fs::write(path("net/weights.bin"), [&[0; 8][..], &values].concat()).unwrap();
    std::fs::write(path("secret.bin"), &values).unwrap();
    let mut open = |location: &str, offset: &str| {
        let w = &mut file.graph.as_mut().unwrap().initializer[0];
        w.external_data = vec![entry("location", location), entry("offset", offset)];
        std::fs::write(path("net/net.onnx"), bytes(&file)).unwrap();
        lineament::import::onnx::open(path("net/net.onnx")).map_err(|e| e.to_string())
    };
    assert!(open("weights.bin", "8").is_ok());
    assert!(open("./weights.bin", "8").is_ok());
    let refused = |result: std::result::Result<_, String>, expected: &str| {
        let error: String = result.map(|_: lineament::import::model::Model| ()).unwrap_err();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    };
    refused(open("weights.bin", "9"), "has 35 bytes from 9 on, expected 36");
    refused(open("weights.bin", "99"), "fewer than 99");
    refused(open("missing.bin", "0"), "does not exist");
    refused(open("../secret.bin", "0"), "not a path within its own folder");
    let absolute = path("secret.bin").to_str().unwrap().to_owned();
    refused(open(&absolute, "0"), "not a path within its own folder");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(path("secret.bin"), path("net/link.bin")).unwrap();
        refused(open("link.bin", "0"), "leads out of its own folder");
    }
}

/// A small file cannot make up large constants.
#[test]
fn constants_that_a_file_makes_up_are_limited() {
    let mut rng = Rng::new(1);
    let mut shape = tensor(&mut rng, "shape", &[3]);
    shape.data_type = 7;
    shape.raw_data = Some([1024i64, 1024, 1024].iter().flat_map(|v| v.to_le_bytes()).collect());
    let net = model(
        vec![node("ConstantOfShape", "n", &["shape"], "c", vec![]), node("Add", "a", &["x", "c"], "y", vec![])],
        vec![shape],
        value("x", &[1]),
        value("y", &[1]),
    );
    assert!(message(&net).contains("the shape [1024, 1024, 1024] is negative or too large"), "{}", message(&net));
}

/// Nor can it read such constants again and again, nor give them so many dimensions that what is made of these is large.
#[test]
fn the_time_that_constants_take_is_limited() {
    let ints = |name: &str, values: &[i64]| onnx::proto::Tensor {
        dims: vec![values.len() as i64],
        data_type: 7,
        name: name.into(),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        ..Default::default()
    };
    // Reading 2^23 elements 512 times is 2^32 steps, of which the reader and the graph may take as many each.
    let made = |last: Vec<_>| {
        let mut nodes = vec![node("ConstantOfShape", "", &["shape"], "c", vec![])];
        nodes.extend((0..1100).map(|i| node("Size", "", &["c"], &format!("s{i}"), vec![])));
        message(&model([nodes, last].concat(), vec![ints("shape", &[1 << 23])], value("x", &[1]), value("y", &[1])))
    };
    let all: Vec<String> = (0..1100).map(|i| format!("s{i}")).collect();
    let text = made(vec![node("Max", "", &all.iter().map(String::as_str).collect::<Vec<_>>(), "y", vec![])]);
    assert!(
        text.contains("77 of 590 nodes")
            && text.contains("more): evaluating what does not depend on the inputs takes too long"),
        "{text}"
    );
    let text = made(vec![node("Unique", "u", &["c"], "y", vec![])]);
    assert!(text.contains("Unique (\"u\"): [8388608] has no elements, or more than 4194304"), "{text}");

    let mut deep = vec![1; 80];
    deep[79] = 4;
    let nodes = vec![node("ConstantOfShape", "c", &["shape"], "c", vec![]), node("NonZero", "n", &["c"], "y", vec![])];
    let text = message(&model(nodes, vec![ints("shape", &deep)], value("x", &[1]), value("y", &[1])));
    assert!(text.contains("has 80 dimensions, expected at most 64"), "{text}");
}

/// The operation that a node became.
#[test]
fn a_conv_of_one_axis_is_one_of_one_row() {
    let mut rng = Rng::new(3);
    let net = model(
        vec![node("Conv", "c", &["x", "w"], "y", vec![ints("pads", &[2, 1]), ints("strides", &[2])])],
        vec![tensor(&mut rng, "w", &[4, 3, 5])],
        value("x", &[2, 3, 9]),
        value("y", &[2, 4, 4]),
    );
    let mut g = Graph::new();
    add(&bytes(&net), InputSize::default(), &mut g).unwrap();
    let op = g.nodes().iter().find_map(|node| match &node.kind {
        NodeKind::Op(op) => (&**op as &dyn std::any::Any).downcast_ref::<Conv2d>().cloned(),
        _ => None,
    });
    assert_eq!(op, Some(Conv2d { stride: [1, 2], padding: [0, 2, 0, 1], ..Conv2d::default() }));
    let x = Array::floats(&[2, 3, 9], (0..54).map(|v| v as f32 / 54.0).collect()).unwrap();
    assert_eq!(run(&net, &[("x", x)]).unwrap().dims(), [2, 4, 4]);
}
