//! Graphs refuse mistakes when they are added, and reverse mode composes: checked end to end against differences.

mod common;

use expect_test::{Expect, expect};
use lineament::graph::grad;
use lineament::graph::grad::backward;
use lineament::graph::{Graph, Init, NodeId};
use lineament::ops::conv2d::Conv2d;
use lineament::ops::dropout::Dropout;
use lineament::ops::loss::Reduction;
use lineament::ops::one_hot::OneHot;
use lineament::ops::top_k::TopK;
use lineament::ops::view::Border;
use lineament::rng::Rng;
use lineament::tensor::DType;
use lineament::{Device, Select, Tensor, Weights};

fn message<T: std::fmt::Debug>(result: lineament::Result<T>, expected: Expect) {
    expected.assert_eq(&result.unwrap_err().to_string());
}

#[test]
fn shape_errors_name_node_input_and_remedy() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 64, 8, 8]).unwrap();
    let w = g.param("w", [64, 32, 3, 3], Init::Constant(0.0)).unwrap();
    let b = g.param("b", [1, 64, 1, 1], Init::Constant(0.0)).unwrap();
    let conv = g.within("level1", |g| g.conv3x3(x, w, b));
    message(conv, expect!["level1/conv2d: w must be [Co, Ci=64, Kh, Kw], got [64, 32, 3, 3]"]);
}

#[test]
fn misuse_is_refused() {
    let mut g = Graph::new();
    let mut other = Graph::new();
    let x = g.input("x", [1, 1, 2, 2]).unwrap();
    let foreign = other.input("x", [1, 1, 2, 2]).unwrap();
    message(g.relu(foreign), expect!["relu: node 0: belongs to another graph; pass nodes that this graph returned"]);
    message(g.input("x", [1, 1, 1, 1]), expect!["x: this name is taken; names are unique in a graph"]);
    message(g.input("e", [1, 0, 1, 1]), expect!["e: a tensor has 1 to 2^32 - 1 elements, got shape [1, 0, 1, 1]"]);
    let huge = [1, 1 << 20, 1 << 20, 1];
    message(g.input("h", huge), expect!["h: a tensor has 1 to 2^32 - 1 elements, got shape [1, 1048576, 1048576, 1]"]);
    let add = lineament::ops::pointwise::binary::add();
    message(g.add(add, &[x]), expect![[r#"add: add takes 2 inputs ["a", "b"], got 1"#]]);
    let y = g.relu(x).unwrap();
    message(grad::backward(&mut g, y, &[x]), expect!["relu: a loss must be [1, 1, 1, 1], got [1, 1, 2, 2]"]);
    let t = g.input("t", [1, 1, 2, 2]).unwrap();
    let loss = g.mse(t, t, Reduction::Sum).unwrap();
    message(
        grad::backward(&mut g, loss, &[x]),
        expect!["x: the loss loss does not depend on it, so it has no gradient"],
    );
}

#[test]
fn a_clone_knows_the_nodes_that_there_were_and_no_later_ones() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 1, 2, 2]).unwrap();
    let mut clone = g.clone();
    let relu = g.relu(x).unwrap();
    let sigmoid = clone.sigmoid(x).unwrap();
    assert_eq!((clone.find("x"), clone.find("sigmoid"), g.find("relu")), (Some(x), Some(sigmoid), Some(relu)));
    // Both are the second node of their graph.
    for (graph, foreign) in [(&clone, relu), (&g, sigmoid), (&g.clone(), sigmoid)] {
        message(graph.shape(foreign), expect!["node 1: belongs to another graph; pass nodes that this graph returned"]);
    }
    let again = g.clone().clone();
    assert_eq!(again.shape(relu).unwrap(), [1, 1, 2, 2]);
    let device = Device::open(&Select::Cpu).unwrap();
    assert!(device.compile(&clone, &[relu], Weights::default()).is_err());
    let value = Tensor::filled([1, 1, 2, 2], -1.0);
    let out = device.compile(&again, &[relu], Weights::default()).unwrap().run(&[("x", &value)]).unwrap();
    assert_eq!(out[0].data(), [0.0; 4]);
}

#[test]
fn a_missing_gradient_gives_its_reason() {
    let mut g = Graph::new();
    let a = g.input("a", [1, 1, 2, 2]).unwrap();
    let m = g.input("m", [1, 1, 2, 2]).unwrap();
    let loss = g.mse_weighted(a, a, m, Reduction::Sum).unwrap();
    let error = grad::backward(&mut g, loss, &[m]).unwrap_err().to_string();
    assert!(error.starts_with("loss: loss has no gradient for m: "), "{error}");
}

/// Checks `loss(g, [inputs])` against central differences on the references; relative 1e-3, because values pass as f32.
fn differences(shapes: &[[usize; 4]], loss: impl Fn(&mut Graph, &[NodeId]) -> NodeId) {
    let device = Device::open(&Select::Cpu).unwrap();
    let mut g = Graph::new();
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
    let inputs: Vec<NodeId> = names.iter().zip(shapes).map(|(n, &s)| g.input(n, s).unwrap()).collect();
    let loss = loss(&mut g, &inputs);
    let gradients = grad::backward(&mut g, loss, &inputs).unwrap();
    let mut fetches = vec![loss];
    fetches.extend(gradients);
    let session = device.compile(&g, &fetches, Weights::default()).unwrap();
    let mut rng = Rng::new(3);
    let mut values: Vec<Tensor> = shapes
        .iter()
        .map(|&s| Tensor::new(s, (0..s.iter().product()).map(|_| rng.uniform(-1.0, 2.0) as f32).collect()).unwrap())
        .collect();
    let run =
        |values: &[Tensor]| session.run(&names.iter().map(String::as_str).zip(values).collect::<Vec<_>>()).unwrap();
    let analytic = run(&values);
    for k in 0..shapes.len() {
        for i in 0..values[k].data().len() {
            let keep = values[k].data()[i];
            let h = 1.0 / 256.0;
            values[k].data_mut()[i] = keep + h;
            let up = run(&values)[0].data()[0];
            values[k].data_mut()[i] = keep - h;
            let down = run(&values)[0].data()[0];
            values[k].data_mut()[i] = keep;
            let numeric = f64::from(up - down) / f64::from(2.0 * h);
            let got = f64::from(analytic[1 + k].data()[i]);
            assert!((got - numeric).abs() <= 2e-3 * (1.0 + numeric.abs()), "input {k} element {i}: {got} {numeric}");
        }
    }
}

#[test]
fn fan_out_sums_gradients() {
    differences(&[[1, 2, 2, 3]], |g, x| {
        let square = g.times(x[0], x[0]).unwrap();
        let sum = g.plus(square, x[0]).unwrap();
        let zero = g.constant("zero", Tensor::zeros([1, 2, 2, 3])).unwrap();
        g.mse(sum, zero, Reduction::Mean).unwrap()
    });
}

#[test]
fn a_convolution_used_twice_and_an_unused_branch() {
    differences(&[[1, 2, 4, 3], [2, 2, 3, 3], [1, 2, 1, 1]], |g, x| {
        let once = g.conv3x3(x[0], x[1], x[2]).unwrap();
        let twice = g.conv3x3(once, x[1], x[2]).unwrap();
        let op = Conv2d { stride: [2, 1], ..Conv2d::same(3) };
        g.conv2d(once, x[1], x[2], op).unwrap();
        g.mse(twice, x[0], Reduction::Sum).unwrap()
    });
}

#[test]
fn weights_that_do_not_fit_are_refused_with_file_tensor_and_remedy() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 1, 4, 4]).unwrap();
    let w = g.param("w", [2, 1, 3, 3], Init::Constant(0.0)).unwrap();
    let b = g.param("b", [1, 2, 1, 1], Init::Constant(0.0)).unwrap();
    let y = g.conv3x3(x, w, b).unwrap();
    let device = Device::open(&Select::Cpu).unwrap();
    let compile = |change: fn(&mut std::collections::BTreeMap<String, Tensor>)| {
        let mut tensors = g.initialize(0).tensors().clone();
        change(&mut tensors);
        device.compile(&g, &[y], Weights::from_tensors(tensors))
    };
    message(
        compile(|t| drop(t.remove("b"))),
        expect![[r#"weights: lacks tensor "b" [1, 2, 1, 1]; is it another model's file?"#]],
    );
    message(
        compile(|t| drop(t.insert("c".into(), Tensor::scalar(0.0)))),
        expect![[r#"weights: has tensor "c", which the network does not use; is it another model's file?"#]],
    );
    message(
        compile(|t| drop(t.insert("w".into(), Tensor::zeros([2, 1, 5, 5])))),
        expect![[
            r#"weights: tensor "w" is [2, 1, 5, 5], the network expects [2, 1, 3, 3]; is it another model's file?"#
        ]],
    );
    let session = compile(|_| ()).unwrap();
    message(session.run(&[]), expect!["x: this input was not given"]);
    let wrong = Tensor::scalar(0.0);
    message(session.run(&[("x", &wrong)]), expect!["x: must be [1, 1, 4, 4], got [1, 1, 1, 1]"]);
    message(session.run(&[("z", &wrong)]), expect![[r#"z: is not an input of this session; its inputs are ["x"]"#]]);
}

/// Builds a network of two layers and their activations with two losses. `wanted` lists, for each loss, the parameters whose
/// gradients are taken.
fn two_losses(wanted: [&[usize]; 2]) -> (Graph, Vec<NodeId>) {
    let mut g = Graph::new();
    let x = g.input("x", [2, 8, 12, 9]).unwrap();
    let targets = [g.input("t", [2, 8, 12, 9]).unwrap(), g.input("u", [2, 8, 12, 9]).unwrap()];
    let (mut y, mut parameters) = (x, Vec::new());
    for k in 0..2 {
        let he = Init::He { fan_in: 72, slope: 0.0 };
        let w = g.param(&format!("w{k}"), [8, 8, 3, 3], he).unwrap();
        let b = g.param(&format!("b{k}"), [1, 8, 1, 1], Init::Constant(0.1)).unwrap();
        y = g.conv3x3(y, w, b).unwrap();
        y = g.relu(y).unwrap();
        parameters.extend([w, b]);
    }
    let (mse, other) = (g.mse(y, targets[0], Reduction::Mean).unwrap(), g.charbonnier(y, targets[1], 0.5).unwrap());
    let mut fetches = Vec::new();
    for (loss, wanted) in [mse, other].into_iter().zip(wanted) {
        let wrt: Vec<NodeId> = wanted.iter().map(|&k| parameters[k]).collect();
        if !wrt.is_empty() {
            fetches.push(loss);
            fetches.extend(grad::backward(&mut g, loss, &wrt).unwrap());
        }
    }
    (g, fetches)
}

#[test]
fn gradients_of_two_losses_are_those_of_either_alone() {
    let mut rng = Rng::new(5);
    let mut draw = || Tensor::new([2, 8, 12, 9], (0..1728).map(|_| rng.uniform(-1.0, 1.0) as f32).collect()).unwrap();
    let inputs = [("x", draw()), ("t", draw()), ("u", draw())];
    for device in [Some(Device::open(&Select::Cpu).unwrap()), common::device()].into_iter().flatten() {
        let run = |wanted: [&[usize]; 2]| {
            let (g, fetches) = two_losses(wanted);
            let session = device.compile(&g, &fetches, g.initialize(1)).unwrap();
            let read = |name: &str| session.plan().inputs.iter().any(|(n, _)| n == name);
            let given: Vec<(&str, &Tensor)> = inputs.iter().filter(|(n, _)| read(n)).map(|(n, t)| (*n, t)).collect();
            (session.plan().clone(), session.run(&given).unwrap())
        };
        for [first, second] in [[&[0, 1, 2, 3][..], &[0, 1, 2, 3][..]], [&[0, 2], &[3, 0]], [&[1], &[2]]] {
            let alone = [run([first, &[]]).1, run([&[], second]).1].concat();
            let (plan, _) = run([first, second]);
            for _ in 0..3 {
                let (again, both) = run([first, second]);
                assert!(again == plan, "equal graphs have equal plans");
                assert_eq!(both.len(), alone.len());
                for (k, (both, alone)) in both.iter().zip(&alone).enumerate() {
                    let largest = alone.data().iter().fold(0f32, |m, v| m.max(v.abs()));
                    let differ = both.data().iter().zip(alone.data()).position(|(a, b)| (a - b).abs() > 1e-6 * largest);
                    assert!(largest > 0.0);
                    assert_eq!(differ, None, "value {k} of {first:?} and {second:?} on {}", device.describe());
                }
            }
        }
    }
}

#[test]
fn the_gradient_of_one_loss_may_be_asked_for_twice() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 2, 4, 3]).unwrap();
    let zero = g.constant("zero", Tensor::zeros([1, 2, 4, 3])).unwrap();
    let loss = g.mse(x, zero, Reduction::Sum).unwrap();
    let fetches = [grad::backward(&mut g, loss, &[x]).unwrap()[0], grad::backward(&mut g, loss, &[x]).unwrap()[0]];
    let value = Tensor::filled([1, 2, 4, 3], 0.5);
    for device in [Some(Device::open(&Select::Cpu).unwrap()), common::device()].into_iter().flatten() {
        let session = device.compile(&g, &fetches, Weights::default()).unwrap();
        for gradient in session.run(&[("x", &value)]).unwrap() {
            assert_eq!(gradient.data(), [1.0; 24]);
        }
    }
}

#[test]
fn pointwise_operations_take_any_rank_and_spatial_ones_four() {
    let mut g = Graph::new();
    let x = g.input("x", [5, 3, 7]).unwrap();
    let y = g.relu(x).unwrap();
    let y = g.times(y, x).unwrap();
    assert_eq!(g.shape(y).unwrap(), [5, 3, 7]);
    let w = g.input("w", [2, 3, 1, 1]).unwrap();
    let b = g.input("b", [1, 2, 1, 1]).unwrap();
    let error = g.conv2d(y, w, b, lineament::ops::conv2d::Conv2d::default()).unwrap_err().to_string();
    assert_eq!(error, "conv2d: x must be [N, C, H, W], got [5, 3, 7]");
    let loss = g.mse(y, x, lineament::ops::loss::Reduction::Sum).unwrap();
    // y = x² for x > 0, so that such x contribute (x² − x)² to the loss, and the others (0 − x)².
    let data: Vec<f32> = (0..105).map(|k| (k % 9) as f32 / 4.0 - 1.0).collect();
    let expected: f32 = data.iter().map(|&v| if v > 0.0 { v * v - v } else { v }).map(|v| v * v).sum();
    let x = Tensor::new([5, 3, 7], data).unwrap();
    let device = lineament::Device::open(&lineament::Select::Cpu).unwrap();
    let got = device.compile(&g, &[loss], lineament::Weights::default()).unwrap().run(&[("x", &x)]).unwrap();
    assert!((got[0].data()[0] - expected).abs() < 1e-4, "{got:?} and {expected}");
}

/// The references and the adapter, if there is one.
fn devices() -> Vec<Device> {
    [Some(Device::open(&Select::Cpu).unwrap()), common::device()].into_iter().flatten().collect()
}

#[test]
fn labels_are_integers_from_the_input_to_the_loss() {
    let mut g = Graph::new();
    let x = g.input("x", [3, 4, 1, 1]).unwrap();
    let labels = g.input_of(DType::U32, "labels", [3, 1, 1]).unwrap();
    let targets = g.one_hot(labels, OneHot { classes: 4, axis: 1 }).unwrap();
    let loss = g.softmax_cross_entropy(x, targets, Reduction::Sum).unwrap();
    let dx = backward(&mut g, loss, &[x]).unwrap()[0];
    let refused = [
        g.one_hot(x, OneHot { classes: 4, axis: 1 }).unwrap_err(),
        g.relu(labels).unwrap_err(),
        backward(&mut g, loss, &[labels]).unwrap_err(),
    ];
    let expected = [
        "one_hot_2: x must be u32, got x, which is f32",
        "relu: x must be f32, got labels, which is u32",
        "softmax_cross_entropy: softmax_cross_entropy has no gradient for t: targets are data, not computed",
    ];
    assert_eq!(refused.map(|e| e.to_string()), expected);
    let scores = Tensor::filled([3, 4, 1, 1], 0.5);
    // The last one names no class, so that nothing is lost there.
    let given = Tensor::new([3, 1, 1], vec![2_u32, 0, 9]).unwrap();
    for device in devices() {
        let session = device.compile(&g, &[loss, dx, targets], Weights::default()).unwrap();
        let got = session.run(&[("x", &scores), ("labels", &given)]).unwrap();
        assert_eq!(got[2].data(), [0., 0., 1., 0., 1., 0., 0., 0., 0., 0., 0., 0.]);
        assert!((got[0].data()[0] - 2.0 * 4_f32.ln()).abs() < 1e-5, "{got:?}");
        let dx = [0.25, 0.25, -0.75, 0.25, -0.75, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0];
        assert!(got[1].data().iter().zip(dx).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        let floats = Tensor::filled([3, 1, 1], 2.0);
        let error = session.run(&[("x", &scores), ("labels", &floats)]).unwrap_err().to_string();
        assert_eq!(error, "labels: must be a tensor of u32, got one of f32");
    }
}

#[test]
fn an_operation_has_outputs_by_name_each_of_its_own_type() {
    let mut g = Graph::new();
    let x = g.input("x", [2, 5]).unwrap();
    let (y, indices) = g.top_k(x, TopK { k: 2, axis: 1, largest: true }).unwrap();
    assert_eq!((g.shape(indices).unwrap(), g.node(indices).unwrap().name.as_str()), ([2, 2].into(), "top_k.indices"));
    assert_eq!(g.output(y, "y").unwrap(), y);
    let error = g.output(y, "places").unwrap_err().to_string();
    assert_eq!(error, "top_k: top_k has outputs [\"y\", \"indices\"], not \"places\"");
    assert!(g.output(x, "y").unwrap_err().to_string().contains("is not an operation"));
    let zeros = g.constant("zeros", Tensor::zeros([2, 2])).unwrap();
    let loss = g.mse(y, zeros, Reduction::Sum).unwrap();
    let dx = backward(&mut g, loss, &[x]).unwrap()[0];
    let value = Tensor::new([2, 5], vec![1.0, 7.0, 3.0, 7.0, 2.0, -1.0, -2.0, -3.0, -4.0, -0.5]).unwrap();
    for device in devices() {
        let session = device.compile(&g, &[indices, y, dx], Weights::default()).unwrap();
        let got = session.run(&[("x", &value)]).unwrap();
        assert_eq!(got[0].elements::<u32>(), Some(&[1, 3, 4, 0][..]));
        assert_eq!(got[1].data(), [7.0, 7.0, -0.5, -1.0]);
        assert_eq!(got[2].data(), [0.0, 14.0, 0.0, 14.0, 0.0, -2.0, 0.0, 0.0, 0.0, -1.0]);
        // Nobody needs to ask for the first output to get another.
        let session = device.compile(&g, &[indices], Weights::default()).unwrap();
        assert_eq!(session.run(&[("x", &value)]).unwrap()[0], got[0]);
    }
}

#[test]
fn dropout_counts_its_runs_and_its_gradient_has_the_mask_of_its_run() {
    let mut g = Graph::new();
    let x = g.input("x", [64]).unwrap();
    let y = g.dropout(x, Dropout { p: 0.5, seed: 3 }).unwrap();
    let mask = g.output(y, "mask").unwrap();
    let zeros = g.constant("zeros", Tensor::zeros([64])).unwrap();
    let loss = g.mse(y, zeros, Reduction::Sum).unwrap();
    let dx = backward(&mut g, loss, &[x]).unwrap()[0];
    let count = g.find("dropout.count").unwrap();
    let error = g.plus(count, count).unwrap_err().to_string();
    assert_eq!(error, "add: dropout.count is overwritten by dropout, which alone may use it");
    let used = g.state("used", [1], Init::Constant(0.0)).unwrap();
    g.relu(used).unwrap();
    let error = g.add(Dropout { p: 0.5, seed: 4 }, &[x, used]).unwrap_err().to_string();
    assert!(error.contains("overwrites input count, used, which relu uses"), "{error}");
    let error = g.add(Dropout { p: 0.5, seed: 4 }, &[x, x]).unwrap_err().to_string();
    assert!(error.contains("count must be [1]"), "{error}");

    let ones = Tensor::filled([64], 1.0);
    let mut of_devices = Vec::new();
    for device in devices() {
        let session = device.compile(&g, &[y, mask, dx, count], Weights::default()).unwrap();
        let runs: Vec<Vec<Tensor>> = (0..3).map(|_| session.run(&[("x", &ones)]).unwrap()).collect();
        for (k, run) in runs.iter().enumerate() {
            let mask: Vec<f32> = run[1].elements::<u32>().unwrap().iter().map(|&m| m as f32).collect();
            assert!(run[0].data().iter().zip(&mask).all(|(y, m)| *y == 2.0 * m));
            // y² has the slope 2·y·2 where an element is kept.
            assert!(run[2].data().iter().zip(&mask).all(|(dx, m)| *dx == 8.0 * m));
            assert_eq!(run[3].data(), [k as f32 + 1.0], "a fetched state is the new one");
        }
        assert!(runs[0][1] != runs[1][1] && runs[1][1] != runs[2][1]);
        // A session that begins where another stopped goes on with the next mask.
        let later = device.compile(&g, &[y, mask, dx, count], Weights::default()).unwrap();
        later.run(&[("x", &ones)]).unwrap();
        let state = Weights::from_bytes("state", &later.state().unwrap().to_bytes().unwrap()).unwrap();
        let resumed = device.compile(&g, &[y, mask, dx, count], state).unwrap();
        assert_eq!(resumed.run(&[("x", &ones)]).unwrap(), runs[1]);
        of_devices.push(runs);
    }
    assert!(of_devices.iter().all(|runs| *runs == of_devices[0]), "the same bits on every device");
}

#[test]
fn elements_change_their_type_and_back() {
    let mut g = Graph::new();
    let labels = g.input_of(DType::U32, "labels", [4]).unwrap();
    let x = g.cast(labels, DType::F32).unwrap();
    let back = g.cast(x, DType::U32).unwrap();
    assert_eq!(g.cast(x, DType::F32).unwrap(), x, "it has this type");
    let signed = g.input_of(DType::I32, "signed", [4]).unwrap();
    let error = |e: lineament::Error| e.to_string();
    assert_eq!(g.cast(x, DType::I32).map_err(error).unwrap_err(), "cast_3: to must be f32 or u32, got i32");
    assert_eq!(
        g.cast(signed, DType::U32).map_err(error).unwrap_err(),
        "cast_3: x must be f32, got signed, which is i32"
    );
    let given = Tensor::new([4], vec![0, 7, (1 << 24) + 1, u32::MAX]).unwrap();
    for device in devices() {
        let session = device.compile(&g, &[x, back], Weights::default()).unwrap();
        let got = session.run(&[("labels", &given)]).unwrap();
        let (x, back) = (got[0].data(), got[1].elements::<u32>().unwrap());
        assert_eq!((x[0], x[1], x[3]), (0.0, 7.0, 4_294_967_296.0));
        // WGSL leaves the rounding open.
        assert!((f64::from(x[2]) - 16_777_217.0).abs() <= 1.0, "{x:?}");
        assert_eq!((back[0], back[1], back[3]), (0, 7, u32::MAX));
    }
}

#[test]
fn integers_are_copied_and_joined_as_they_are() {
    let mut g = Graph::new();
    let labels = g.input_of(DType::U32, "labels", [2, 3]).unwrap();
    let turned = g.transpose(labels, 0, 1).unwrap();
    let padded = g.pad(turned, &[(0, 0), (0, 1)], Border::Constant(9.0)).unwrap();
    let all = g.concat(turned, padded, 1).unwrap();
    let x = g.input("x", [3, 2]).unwrap();
    let error = |e: lineament::Error| e.to_string();
    assert_eq!(g.concat(all, x, 1).map_err(error).unwrap_err(), "concat_2: b must be u32, got x, which is f32");
    let signed = g.input_of(DType::I32, "signed", [2]).unwrap();
    assert_eq!(g.flip(signed, 0).map_err(error).unwrap_err(), "view_3: x must be f32 or u32, got i32");
    assert_eq!(g.concat(signed, signed, 0).map_err(error).unwrap_err(), "concat_2: a must be f32 or u32, got i32");
    // Numbers that f32 cannot represent, and the bits of a NaN.
    let most = u32::MAX;
    let given = Tensor::new([2, 3], vec![16_777_217, most, 1, 0x7F80_0001, 5, 6]).unwrap();
    for device in devices() {
        let session = device.compile(&g, &[all], Weights::default()).unwrap();
        let got = session.run(&[("labels", &given)]).unwrap();
        let wanted = [16_777_217, 0x7F80_0001, 16_777_217, 0x7F80_0001, 9, most, 5, most, 5, 9, 1, 6, 1, 6, 9];
        assert_eq!(got[0].elements::<u32>(), Some(&wanted[..]));
    }
}
