//! Networks as functions of `Var`s: any input shapes, named outputs, training with shared parameters.

use lineament::graph::{Draft, Drafted, Given};
use lineament::ops::dropout::Dropout;
use lineament::ops::softmax::Softmax;
use lineament::plan::{Options as PlanOptions, Plan};
use lineament::prelude::*;
use lineament::rng::Rng;
use lineament::train::{Folder, Hooks, Job, Progress, Training};

mod common;

/// The references, and the adapter if there is one.
fn devices() -> Vec<Device> {
    [Device::open(&Select::Cpu).ok(), common::device()].into_iter().flatten().collect()
}

fn noise(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut rng = Rng::new(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
    Tensor::new(shape, values).unwrap()
}

/// Two layers with a skip connection; its loss compares with `t`.
fn small(g: &Draft) {
    let x = g.input("x");
    let y = (x.conv("conv1", 5, 3, Conv2d::same(3)).relu().conv("conv2", 1, 3, Conv2d::same(3)) + x) * 0.5;
    g.output("y", y);
    g.loss("error", || y.mse(g.input("t"), Reduction::Mean));
}

/// Compares bits. On the references, which keep f64 between steps, weights that were f32 in between differ a little.
fn same(device: &Device, a: &[f32], b: &[f32]) -> bool {
    let allowed = if device.is_cpu() { 1e-6 } else { 0.0 };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= allowed)
}

#[test]
fn operations_are_named_after_the_layer_that_they_follow() {
    let given = [Given::new("x", [2, 3, 8, 8])];
    let drafted = Drafted::new(&given, false, |g| {
        let x = g.input("x").conv("conv1", 4, 3, Conv2d::same(3)).relu().max_pool(2);
        let y = g.within("head", || (x.conv("conv1", 4, 1, Conv2d::default()).relu() + 1.0).relu());
        g.output("y", y);
    })
    .unwrap();
    let names: Vec<&str> = drafted.graph.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "x",
            "conv1.w",
            "conv1.b",
            "conv1",
            "conv1.relu",
            "conv1.max_pool2d",
            "head/conv1.w",
            "head/conv1.b",
            "head/conv1",
            "head/conv1.relu",
            "head/conv1.constant",
            "head/conv1.add",
            "head/conv1.relu_2"
        ]
    );
}

#[test]
fn the_first_error_comes_out_with_its_line_and_node() {
    let draft = |build: fn(&Draft)| Drafted::new(&[Given::new("x", [1, 2, 4, 4])], true, build);
    let message = |build| draft(build).expect_err("a wrong network").to_string();
    let wrong = message(|g| {
        let x = g.input("x");
        let y = x.conv("conv1", 3, 3, Conv2d::same(3)) + x.channels(1, 2);
        // Nothing after the first error counts, not even another error.
        g.output("y", (y + g.input("z")).max_pool(0));
    });
    let line = line!() - 4;
    assert_eq!(wrong, format!("x.view: len must be 1 to 1 (of 2 from 1), got 2 (at tests/network.rs:{line}:60)"));
    assert!(message(|g| g.output("y", g.input("z"))).starts_with("z: this input was not given; given are [\"x\"]"));
    assert!(message(|_| ()).contains("has no outputs"));
    let twice = message(|g| {
        g.output("y", g.input("x"));
        g.output("y", g.input("x") + 1.0);
    });
    assert!(twice.starts_with("y: is the name of another output or loss"), "{twice}");
    // A value of another draft.
    let foreign = Drafted::new(&[Given::new("x", [1])], false, |a| {
        let inner = Drafted::new(&[Given::new("x", [1])], false, |b| {
            b.output("y", b.add(lineament::ops::relu::Relu, &[a.input("x")]))
        });
        assert!(inner.expect_err("a value of another draft").to_string().contains("belongs to another graph"));
        a.output("y", a.input("x"));
    });
    foreign.unwrap();
}

#[test]
fn values_combine_as_numbers_do() {
    let device = Device::open(&Select::Cpu).unwrap();
    let network = device.network(Params::fresh(1), |g| {
        let (a, b) = (g.input("a"), g.input("b"));
        g.output("sum", 1.0 - (a + b) / 2.0 * -a);
        g.output("larger", a.max(b).min(b.abs()) - b);
    });
    let (a, b) = (noise([2, 3], 1), noise([3], 2));
    let out = network.run(&[("a", &a), ("b", &b)]).unwrap();
    for i in 0..6 {
        let (a, b) = (a.data()[i], b.data()[i % 3]);
        let expected = [1.0 - (a + b) / 2.0 * -a, a.max(b).min(b.abs()) - b];
        for (name, expected) in ["sum", "larger"].into_iter().zip(expected) {
            assert!((out[name].data()[i] - expected).abs() < 1e-6, "{name}: {} {expected}", out[name].data()[i]);
        }
    }
}

#[test]
fn labels_and_choices_are_integers() {
    for device in devices() {
        let network = device.network(Params::fresh(1), |g| {
            let (a, b) = (g.input("a"), g.input("b"));
            g.output("smaller", a.compare(b, "less").select(a, b));
            g.output("probabilities", a.softmax(Softmax { axis: 1, log: false }));
            g.output("loss", a.cross_entropy(g.input("labels"), Reduction::Sum));
        });
        let (a, b) = (noise([2, 3], 1), noise([3], 2));
        let labels = Tensor::new([2], vec![2_u32, 0]).unwrap();
        let out = network.run(&[("a", &a), ("b", &b), ("labels", &labels)]).unwrap();
        let mut loss = 0.0;
        for (row, label) in [2, 0].into_iter().enumerate() {
            let line = &out["probabilities"].data()[row * 3..][..3];
            assert!((line.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{line:?}");
            loss -= line[label].ln();
            for k in 0..3 {
                assert_eq!(out["smaller"].data()[row * 3 + k], a.data()[row * 3 + k].min(b.data()[k]));
            }
        }
        assert!((out.scalar("loss") - loss).abs() < 1e-5, "{} {loss}", out.scalar("loss"));
        let message = network.run(&[("a", &a), ("b", &b), ("labels", &a)]).expect_err("labels of f32").to_string();
        assert!(message.contains("must be u32"), "{message}");
    }
}

#[test]
fn any_value_is_fetched_by_its_path() {
    for device in devices() {
        let network = device.network(Params::fresh(1), small);
        let x = noise([1, 1, 6, 5], 3);
        let out = network.fetch(&["conv1.relu", "y"], &[("x", &x)]).unwrap();
        assert_eq!(out["conv1.relu"].shape(), [1, 5, 6, 5]);
        assert!(out["conv1.relu"].data().iter().all(|v| *v >= 0.0));
        assert_eq!(out["y"], network.run(&[("x", &x)]).unwrap()["y"]);
        let message = network.fetch(&["conv3"], &[("x", &x)]).expect_err("no such node").to_string();
        assert_eq!(message, "conv3: is neither an output, of which there are [\"y\"], nor the path of a node");
        let message = network.run(&[("x", &x), ("z", &x)]).expect_err("no such input").to_string();
        assert_eq!(message, "z: is given, but the network does not ask for it");
    }
}

#[test]
fn weights_go_up_once() {
    let Some(device) = common::device() else { return };
    let network = device.network(Params::fresh(3), |g| {
        let y = g.input("x").conv("conv1", 96, 3, Conv2d::same(3)).relu().conv("conv2", 96, 3, Conv2d::same(3));
        g.output("y", y);
    });
    assert!(network.weights().unwrap_err().to_string().contains("not drawn yet"));
    // Each session replaces the one before.
    network.set_budget(0);
    let mut deltas = Vec::new();
    for k in 0..6 {
        let x = noise([1, 1, 3 + k, 4], k as u64);
        let before = device.uploaded_bytes();
        network.run(&[("x", &x)]).unwrap();
        deltas.push(device.uploaded_bytes() - before - 4 * x.data().len() as u64);
    }
    let weights: usize = network.weights().unwrap().tensors().values().map(|w| 4 * w.data().len()).sum();
    // A session's own constants, such as a relu's slopes, are a few hundred bytes.
    assert!(deltas[0] >= weights as u64 && deltas[1..].iter().all(|d| *d < 2000), "{deltas:?} of {weights}");
}

#[test]
fn sessions_of_many_shapes_equal_fresh_ones_within_the_budget() {
    let Some(device) = common::device() else { return };
    let network = device.network(Params::fresh(3), small);
    let weights = {
        let drafted = network.draft(&[Given::new("x", [1, 1, 4, 4])], false).unwrap();
        drafted.graph.initialize(3)
    };
    let budget = 1 << 20;
    network.set_budget(budget);
    let mut rng = Rng::new(5);
    // What the driver holds beside the network: buffers are freed after the device has been asked.
    let mut most_allocated = 0;
    let before = device.allocated_bytes();
    for k in 0..100 {
        let shape = [1 + rng.below(3), 1, 3 + rng.below(9), 3 + rng.below(9)];
        let x = noise(shape, k);
        let out = network.run(&[("x", &x)]).unwrap();
        let drafted = network.draft(&[("x", &x).into()], false).unwrap();
        let fresh = device.compile(&drafted.graph, &[drafted.outputs[0].1], weights.clone()).unwrap();
        assert_eq!(out["y"], fresh.run(&[("x", &x)]).unwrap()[0], "{shape:?}");
        drop(fresh);
        let kept = network.kept();
        let bytes: u64 = kept
            .iter()
            .map(|given| {
                let drafted = network.draft(given, false).unwrap();
                device.plan(&drafted.graph, &[drafted.outputs[0].1]).unwrap().peak_bytes()
            })
            .sum();
        assert!(bytes <= budget || kept.len() == 1, "{} sessions take {bytes} bytes", kept.len());
        assert_eq!(kept.last().unwrap(), &[("x", &x).into()]);
        if let (Some(now), Some(before)) = (device.allocated_bytes(), before) {
            most_allocated = most_allocated.max(now.saturating_sub(before));
        }
    }
    println!("at most {most_allocated} bytes allocated with a budget of {budget}");
}

#[test]
fn a_network_runs_with_what_was_learned_at_any_batch_size() {
    for device in devices() {
        let network = device.network(Params::fresh(1), small);
        let (x, t, other) = (noise([2, 1, 6, 6], 1), noise([2, 1, 6, 6], 2), noise([3, 1, 4, 7], 3));
        let before = network.run(&[("x", &other)]).unwrap();
        let mut training = network.train(Optimizer::adam()).unwrap();
        assert_eq!(network.run(&[("x", &other)]).unwrap(), before, "{device:?}");
        let mut losses = Vec::new();
        for _ in 0..12 {
            let step = training.step(0.03, &[("x", &x), ("t", &t)]).unwrap();
            assert!(step.scalar("norm") > 0.0);
            losses.push(step.scalar("error"));
            // The network's own sessions are compiled once, and see every step.
            network.run(&[("x", &other)]).unwrap();
        }
        assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
        // Another batch size continues from the same parameters and moments.
        let half = (noise([1, 1, 6, 6], 4), noise([1, 1, 6, 6], 5));
        training.step(0.03, &[("x", &half.0), ("t", &half.1)]).unwrap();
        assert_eq!(training.steps(), 13);
        let learned = training.weights().unwrap();
        let fresh = device.network(learned, small).run(&[("x", &other)]).unwrap();
        assert!(same(&device, network.run(&[("x", &other)]).unwrap()["y"].data(), fresh["y"].data()));
        assert!(!same(&device, before["y"].data(), fresh["y"].data()));
        drop(training);
        assert!(same(&device, network.run(&[("x", &other)]).unwrap()["y"].data(), fresh["y"].data()));
    }
}

#[test]
fn frozen_parameters_stay_and_keep_their_moments() {
    for device in devices() {
        let (x, t) = (noise([2, 1, 5, 6], 1), noise([2, 1, 5, 6], 2));
        let run = |interrupted: bool| {
            let network = device.network(Params::fresh(1), small);
            let mut training = network.train(Optimizer::adam()).unwrap();
            let mut losses = Vec::new();
            for k in 0..6 {
                if interrupted && k == 3 {
                    training.freeze("conv1.*").unwrap();
                    training.unfreeze("conv1.*").unwrap();
                }
                losses.push(training.step(0.01, &[("x", &x), ("t", &t)]).unwrap().scalar("error"));
            }
            losses
        };
        assert!(same(&device, &run(false), &run(true)), "{device:?}: {:?} {:?}", run(false), run(true));

        let network = device.network(Params::fresh(1), small);
        let mut training = network.train(Optimizer::adam()).unwrap();
        training.step(0.01, &[("x", &x), ("t", &t)]).unwrap();
        let before = training.weights().unwrap();
        training.freeze("conv1.*").unwrap();
        training.step(0.01, &[("x", &x), ("t", &t)]).unwrap();
        let after = training.weights().unwrap();
        for (name, tensor) in before.tensors() {
            assert_eq!(after.get(name) == Some(tensor), name.starts_with("conv1"), "{name}");
        }
        let message = training.unfreeze("conv2.*").expect_err("not frozen").to_string();
        assert_eq!(message, "\"conv2.*\" is not frozen; frozen are [\"conv1.*\"]");
    }
}

#[test]
fn a_training_resumes_to_the_same_bits() {
    fn noisy(g: &Draft) {
        let x = g.input("x");
        let y = x.conv("conv1", 5, 3, Conv2d::same(3)).relu().dropout(Dropout { p: 0.4, seed: 2 });
        let y = y.conv("conv2", 1, 3, Conv2d::same(3));
        g.output("y", y);
        g.loss("error", || y.mse(g.input("t"), Reduction::Mean));
    }
    for device in devices() {
        let (x, t) = (noise([2, 1, 5, 6], 1), noise([2, 1, 5, 6], 2));
        let rule = Rule { ema: 0.9, ..Optimizer::adam().into() };
        let steps = |training: &mut lineament::train::Training| -> Vec<u32> {
            (0..3).map(|_| training.step(0.01, &[("x", &x), ("t", &t)]).unwrap().scalar("error").to_bits()).collect()
        };
        let network = device.network(Params::fresh(1), noisy);
        let mut training = network.train(rule.clone()).unwrap();
        steps(&mut training);
        let averages = training.weights().unwrap();
        let state = training.state().unwrap();
        assert_eq!(training.weights().unwrap(), averages);
        let (rest, end) = (steps(&mut training), training.weights().unwrap());
        let mut resumed = device.network(Params::fresh(9), noisy).train(rule.clone()).unwrap();
        resumed.resume(&state).unwrap();
        assert_eq!(resumed.steps(), 3);
        let at_once = resumed.weights().unwrap();
        assert!(averages.tensors().iter().all(|(name, tensor)| at_once.get(name) == Some(tensor)));
        assert_eq!(steps(&mut resumed), rest, "{device:?}");
        assert_eq!(resumed.weights().unwrap().tensors(), end.tensors());
        // What only training keeps is not part of the weights, which differ from the parameters by averaging.
        assert_eq!(end.tensors().keys().collect::<Vec<_>>(), ["conv1.b", "conv1.w", "conv2.b", "conv2.w"]);
        assert_ne!(end.get("conv2.w"), network.weights().unwrap().get("conv2.w"));
        device.network(end, noisy).run(&[("x", &x)]).unwrap();
    }
}

#[test]
fn running_statistics_belong_to_the_weights() {
    fn normalised(g: &Draft) {
        let y = g.input("x").conv("conv1", 3, 3, Conv2d::same(3)).batch_norm("norm").relu();
        g.output("y", y);
        g.loss("error", || y.mse(g.input("t"), Reduction::Mean));
    }
    for device in devices() {
        let (x, t) = (noise([4, 1, 6, 6], 1), noise([4, 3, 6, 6], 2));
        let network = device.network(Params::fresh(1), normalised);
        let mut training = network.train(Optimizer::adam()).unwrap();
        let loss = training.step(0.01, &[("x", &x), ("t", &t)]).unwrap().scalar("error");
        for _ in 0..20 {
            training.step(0.01, &[("x", &x), ("t", &t)]).unwrap();
        }
        let last = training.step(0.01, &[("x", &x), ("t", &t)]).unwrap();
        assert!(last.scalar("error") < loss);
        let weights = training.weights().unwrap();
        let names: Vec<&String> = weights.tensors().keys().collect();
        assert_eq!(names, ["conv1.b", "conv1.w", "norm.b", "norm.mean", "norm.variance", "norm.w"]);
        assert!(weights.get("norm.variance").unwrap().data().iter().all(|v| *v != 1.0));
        // One picture is enough for inference, which uses the running statistics.
        let one = noise([1, 1, 6, 6], 3);
        let opened = device.network(weights, normalised).run(&[("x", &one)]).unwrap();
        assert!(same(&device, network.run(&[("x", &one)]).unwrap()["y"].data(), opened["y"].data()));
        let outdated = device.network(Params::fresh(1), normalised).run(&[("x", &one)]).unwrap();
        assert!(!same(&device, outdated["y"].data(), opened["y"].data()));
    }
}

#[test]
fn several_losses_add_up() {
    for device in devices() {
        let train = |two: bool| {
            let network = device.network(Params::fresh(1), move |g| {
                let x = g.input("x");
                let y = x.conv("conv1", 1, 3, Conv2d::same(3));
                g.output("y", y);
                let a = || y.mse(g.input("t"), Reduction::Mean);
                let b = || y.charbonnier(x, 0.1) * 0.5;
                if two {
                    g.loss("a", a);
                    g.loss("b", b);
                } else {
                    g.loss("sum", || a() + b());
                }
            });
            let mut training = network.train(Optimizer::sgd(0.9)).unwrap();
            let (x, t) = (noise([1, 1, 5, 6], 1), noise([1, 1, 5, 6], 2));
            let step = training.step(0.1, &[("x", &x), ("t", &t)]).unwrap();
            (step, training.weights().unwrap())
        };
        let ((both, two), (sum, one)) = (train(true), train(false));
        assert!((both.scalar("a") + both.scalar("b") - sum.scalar("sum")).abs() < 1e-6);
        for (name, tensor) in two.tensors() {
            let same = tensor.data().iter().zip(one.get(name).unwrap().data()).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(same, "{name}");
        }
    }
}

#[test]
fn a_step_without_finite_gradients_changes_nothing_and_says_why() {
    for device in devices() {
        let network = device.network(Params::fresh(1), small);
        let mut training = network.train(Optimizer::adam()).unwrap();
        let (x, t) = (noise([2, 1, 6, 6], 1), noise([2, 1, 6, 6], 2));
        training.step(0.01, &[("x", &x), ("t", &t)]).unwrap();
        let before = training.weights().unwrap();
        let mut bad = t.data().to_vec();
        bad[7] = f32::NAN;
        let bad = Tensor::new(t.shape(), bad).unwrap();
        let message = training.step(0.01, &[("x", &x), ("t", &bad)]).expect_err("a NaN").to_string();
        assert_eq!(message, "step 2: the norm of the gradients is NaN; the input t is not finite; nothing was changed");
        assert_eq!(training.weights().unwrap(), before);
        assert_eq!(training.steps(), 1);
        training.step(0.01, &[("x", &x), ("t", &t)]).unwrap();
    }
}

#[test]
fn weights_may_be_missing_where_a_seed_says_so() {
    let device = Device::open(&Select::Cpu).unwrap();
    let x = noise([1, 1, 5, 5], 1);
    let whole = device.network(Params::fresh(4), small);
    let y = whole.run(&[("x", &x)]).unwrap();
    let all = whole.weights().unwrap();
    let mut part = Weights::default();
    part.insert("conv1.w", all.get("conv1.w").unwrap().clone());
    let strict = device.network(part.clone(), small).run(&[("x", &x)]).expect_err("a part").to_string();
    assert!(strict.contains("lacks tensor"), "{strict}");
    assert_eq!(device.network(Params::partial(part, 4), small).run(&[("x", &x)]).unwrap(), y);
}

/// Reshapes of inputs, parameters and computed values, one of them of another reshape, give what the same formula without them gives:
/// outputs, what is learned, and steps.
#[test]
fn reshapes_cost_no_step_and_pass_gradients() {
    let bent = |g: &Draft| {
        let w = g.param("w", [48], Init::Normal(0.3)).reshape([4, 3, 2, 2]);
        let b = g.param("b", [1, 4, 1, 1], Init::Constant(0.1));
        let x = g.input("x").reshape([2, 3, 6, 6]);
        let y = x.conv2d(w, b, Conv2d { stride: [2, 2], ..Conv2d::default() }).relu();
        let y = y.reshape([72]).reshape([2, 4, 9]).tanh().reshape([2, 4, 3, 3]) * y;
        g.output("flat", y.flatten());
        g.loss("loss", || y.mse(g.input("t"), Reduction::Mean));
    };
    let straight = |g: &Draft| {
        let w = g.param("w", [4, 3, 2, 2], Init::Normal(0.3));
        let b = g.param("b", [1, 4, 1, 1], Init::Constant(0.1));
        let y = g.input("x").conv2d(w, b, Conv2d { stride: [2, 2], ..Conv2d::default() }).relu();
        let y = y.tanh() * y;
        g.output("flat", y);
        g.loss("loss", || y.mse(g.input("t"), Reduction::Mean));
    };
    let (x, t) = (noise([2, 3, 6, 6], 1), noise([2, 4, 3, 3], 2));
    let flat = Tensor::new([216], x.data().to_vec()).unwrap();
    for device in devices() {
        let learn = |build: fn(&Draft), x: &Tensor| {
            let network = device.network(Params::fresh(3), build);
            let mut training = network.train(Optimizer::adam()).unwrap();
            for _ in 0..3 {
                training.step(0.01, &[("x", x), ("t", &t)]).unwrap();
            }
            let y = network.run(&[("x", x)]).unwrap().take("flat").unwrap();
            (training.weights().unwrap().get("w").unwrap().data().to_vec(), y)
        };
        let ((w, y), (wanted_w, wanted_y)) = (learn(bent, &flat), learn(straight, &x));
        assert_eq!(y.shape(), [2, 36]);
        assert_eq!((w, y.data()), (wanted_w, wanted_y.data()), "{}", device.describe());
    }
    let count = |build: fn(&Draft), shape: Shape| {
        let drafted = Drafted::new(&[Given::new("x", shape)], false, build).unwrap();
        Plan::new(&drafted.graph, &[drafted.outputs[0].1], &PlanOptions::default()).unwrap().steps.len()
    };
    assert_eq!(count(bent, [216].into()), count(straight, [2, 3, 6, 6].into()));
}

#[test]
fn a_reshape_to_another_number_of_elements_is_refused() {
    let wrong = Drafted::new(&[Given::new("x", [2, 3])], false, |g| g.output("y", g.input("x").reshape([7])));
    let message = wrong.map(drop).unwrap_err().to_string();
    assert!(message.starts_with("x.reshape: x has 6 elements, [2, 3]; as [7] it would have 7 (at tests/"), "{message}");
}

/// The averaged network reads what the steps average: after each of them it equals a network with the averaged weights, at another
/// batch size too, while the network itself runs with the parameters.
#[test]
fn averages_run_where_they_are_kept() {
    let rule = Rule { ema: 0.8, ..Rule::from(Optimizer::adam()) };
    for device in devices() {
        let network = device.network(Params::fresh(2), small);
        let mut training = network.train(rule.clone()).unwrap();
        let more = noise([3, 1, 7, 5], 9);
        let run = |network: &Network| network.run(&[("x", &more)]).unwrap().take("y").unwrap();
        assert_eq!(run(&training.averaged().unwrap()), run(&network), "there is no average before the first step");
        for k in 1..5 {
            let (x, t) = (noise([2, 1, 6, 6], k), noise([2, 1, 6, 6], k + 10));
            training.step(0.05, &[("x", &x), ("t", &t)]).unwrap();
            let averaged = run(&training.averaged().unwrap());
            let expected = run(&device.network(training.weights().unwrap(), small));
            assert_eq!(averaged, expected, "step {k} on {}", device.describe());
            // In the first step, the average is the parameter.
            assert_eq!(averaged == run(&network), k == 1, "step {k} on {}", device.describe());
        }
        let state = training.state().unwrap();
        training.freeze("conv1*").unwrap();
        training.step(0.05, &[("x", &noise([2, 1, 6, 6], 6)), ("t", &noise([2, 1, 6, 6], 7))]).unwrap();
        let expected = run(&device.network(training.weights().unwrap(), small));
        assert_eq!(run(&training.averaged().unwrap()), expected, "frozen, on {}", device.describe());
        training.resume(&state).unwrap();
        let expected = run(&device.network(training.weights().unwrap(), small));
        assert_eq!(run(&training.averaged().unwrap()), expected, "resumed, on {}", device.describe());
    }
}

/// A run of one's own network: interrupted and resumed it gives the same bits, and its folder holds what was learned.
#[test]
fn a_run_resumes_bit_for_bit_and_keeps_the_best() {
    let Some(device) = common::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let job = Job { checkpoint_every: 3, val_every: 4, ..Job::new(8, Schedule::constant(0.02)) };
    let run = |name: &str, until: u64| {
        let path = folder.path().join(name);
        let network = device.network(Params::fresh(5), |g| {
            let x = g.input("x");
            let y = x.conv("conv1", 3, 3, Conv2d::same(3)).relu().conv("conv2", 1, 3, Conv2d::same(3));
            g.loss("error", || y.mse(g.input("t"), Reduction::Mean));
            g.loss("size", || (y * y).mse(g.constant("zero", Tensor::zeros(y.shape())), Reduction::Mean) * 0.1);
            g.output("y", y);
        });
        let mut training = network.train(Rule { ema: 0.5, ..Rule::from(Optimizer::adam()) }).unwrap();
        let (x, t) = (noise([2, 1, 6, 6], 1), noise([2, 1, 6, 6], 2));
        let mut batch = |k: u64| Ok(vec![("x", noise([2, 1, 6, 6], k)), ("t", noise([2, 1, 6, 6], k + 100))]);
        let mut validate = |training: &Training| {
            let y = training.averaged()?.run(&[("x", &x)])?.take("y")?;
            let error: f64 = y.data().iter().zip(t.data()).map(|(y, t)| f64::from(y - t).powi(2)).sum();
            Ok(vec![("minus_error", -error)])
        };
        let mut observe = |p: Progress| p.step != until;
        let mut hooks = Hooks { validate: &mut validate, observe: &mut observe, ..Hooks::new(&mut batch) };
        let result = training.run(&job, &Folder::open(&path, "test").unwrap(), &mut hooks);
        (result.map(|weights| weights.tensors().clone()), path)
    };
    let whole = run("a", 99).0.unwrap();
    let (stopped, path) = run("b", 5);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    assert_eq!(run("b", 99).0.unwrap(), whole);
    let lines = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name).join("log.jsonl")).unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let kept =
            |line: serde_json::Value| (line["loss"].clone(), line["losses"].clone(), line["val_minus_error"].clone());
        text.lines().map(line).map(kept).collect::<Vec<_>>()
    };
    assert_eq!(lines("a"), lines("b"));
    assert_eq!(lines("a").len(), 8 + 2);
    let first = &lines("a")[0];
    let parts: Vec<f64> = ["error", "size"].iter().map(|name| first.1[name].as_f64().unwrap()).collect();
    assert!((parts[0] + parts[1] - first.0.as_f64().unwrap()).abs() < 1e-6, "{first:?}");
    let best = Weights::open(path.join("best.safetensors")).unwrap();
    assert!(best.manifest()["measured"].starts_with("minus_error -"), "{:?}", best.manifest());
    // The folder of another run is not touched.
    let other = Folder::open(&path, "other").map(drop).unwrap_err().to_string();
    assert!(other.contains("holds a run of `lineament train test`"), "{other}");
}

#[test]
fn channels_are_shuffled_between_groups() {
    let device = Device::open(&Select::Cpu).unwrap();
    let network = device.network(Params::fresh(1), |g: &Draft| g.output("y", g.input("x").channel_shuffle(2)));
    let x = Tensor::new([1, 6, 1, 2], (0..12).map(|k| k as f32).collect()).unwrap();
    let y = network.run(&[("x", &x)]).unwrap().take("y").unwrap();
    assert_eq!(y.data(), [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]);
    let odd = Tensor::zeros([1, 5, 1, 2]);
    let error = network.run(&[("x", &odd)]).unwrap_err().to_string();
    assert!(error.starts_with("x: x must be [N, C, H, W] with C a multiple of groups=2, got [1, 5, 1, 2]"), "{error}");
}

#[test]
fn a_training_is_profiled_and_goes_on_as_if_it_had_not_been() {
    for device in devices() {
        let (x, t) = (noise([2, 1, 6, 5], 1), noise([2, 1, 6, 5], 2));
        let inputs = [("x", &x), ("t", &t)];
        let mut trainings = [false, true].map(|is_profiled| {
            let network = device.network(Params::fresh(3), small);
            let mut training = network.train(Optimizer::adam()).unwrap();
            training.step(1e-2, &inputs).unwrap();
            if is_profiled {
                let profile = training.profile(&inputs).unwrap();
                assert!(profile.rows.iter().any(|row| row.name.contains("conv1")), "{profile}");
                let rows = network.profile(&[("x", &x)]).unwrap().rows.len();
                assert!((1..profile.rows.len()).contains(&rows), "a step computes more than a run: {rows}");
            }
            training
        });
        let [a, b] = trainings.each_mut().map(|training| {
            training.step(1e-2, &inputs).unwrap();
            training.state().unwrap()
        });
        assert_eq!(a.manifest(), b.manifest());
        for (name, tensor) in a.tensors() {
            assert!(same(&device, tensor.data(), b.get(name).unwrap().data()), "{name}");
        }
    }
}
