//! Measured choices: plans follow them and ignore bad ones, and tuned plans compute the same.

mod common;

use lineament::exec::Device;
use lineament::graph::{Graph, Init, NodeId};
use lineament::lab::tune::{Choice, Choices, key, tune, tune_more};
use lineament::ops::Family;
use lineament::ops::conv2d::{Conv2d, Fusion};
use lineament::ops::loss::Reduction;
use lineament::plan::{Caps, Options, Plan};
use lineament::rng::Rng;
use lineament::tensor::len;
use lineament::{Tensor, Weights};
use std::time::Duration;

const X: [usize; 4] = [1, 8, 12, 16];

/// Builds one convolution and its activation.
fn network() -> (Graph, NodeId) {
    let mut g = Graph::new();
    let x = g.input("x", X).unwrap();
    let w = g.param("w", [8, 8, 3, 3], Init::Constant(0.1)).unwrap();
    let b = g.param("b", [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
    let y = g.conv2d(x, w, b, Conv2d { padding: [1; 4], ..Conv2d::default() }).unwrap();
    let y = g.relu(y).unwrap();
    (g, y)
}

fn stems(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|s| s.stem()).collect()
}

/// Returns choices of `stem` for every layer in `keys`.
fn choices(keys: &[String], stem: &str) -> Choices {
    let choice = Choice { stem: stem.into(), candidates: vec![] };
    Choices { layers: keys.iter().map(|key| (key.clone(), choice.clone())).collect() }
}

#[test]
fn plans_follow_choices_and_ignore_those_that_do_not_serve() {
    let (g, y) = network();
    let op = Conv2d { padding: [1; 4], ..Conv2d::default() };
    let keys = [key(&op, None, &[X.into(), [8, 8, 3, 3].into(), [1, 8, 1, 1].into()])];
    // Without texels nothing is fused, so the convolution is its own layer.
    let plan = |choices: Option<&Choices>| {
        Plan::new(&g, &[y], &Options { caps: Caps::default(), choices, ..Options::default() }).unwrap()
    };
    let rule = plan(None);
    for stem in ["no_such_shader", "relu/plain", "conv2d/texels", ""] {
        let mut planned = plan(Some(&choices(&keys, stem)));
        let notes = std::mem::take(&mut planned.notes);
        assert!(planned == rule, "{stem:?} does not serve here");
        assert!(notes.len() == 1 && notes[0].ends_with("does not serve conv2d here"), "{notes:?}");
    }
    assert!(plan(Some(&Choices::default())) == rule);

    // With texels the fused layer has several shaders, and each can be chosen.
    let fused = Conv2d { fusion: Some(Fusion::default()), ..Conv2d::same(3) };
    let mut g = Graph::new();
    let x = g.input("x", X).unwrap();
    let w = g.param("w", [8, 8, 3, 3], Init::Constant(0.1)).unwrap();
    let b = g.param("b", [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
    let y = g.add(fused.clone(), &[x, w, b, b]).unwrap();
    let keys = [key(&fused, None, &[X.into(), [8, 8, 3, 3].into(), [1, 8, 1, 1].into(), [1, 8, 1, 1].into()])];
    let caps = Caps::software();
    let plan =
        |choices: Option<&Choices>| Plan::new(&g, &[y], &Options { caps, choices, ..Options::default() }).unwrap();
    for stem in ["conv2d/fused", "conv2d/winograd", "conv2d/winograd8", "conv2d/straight"] {
        let chosen = choices(&keys, stem);
        let followed = plan(Some(&chosen));
        assert!(stems(&followed).contains(&stem), "{:?}", stems(&followed));
        assert_eq!(followed, plan(Some(&chosen)), "the same choices, the same plan");
    }
    let imagined = plan(Some(&choices(&keys, "conv2d/imagined")));
    assert!(imagined.steps == plan(None).steps && imagined.notes.len() == 1, "{:?}", imagined.notes);
    assert_eq!(plan(Some(&choices(&["another layer".into()], "conv2d/fused"))), plan(None));

    // A choice that takes more memory than there is gives way, and the plan says so; the other layer's choice is followed.
    let w1 = g.param("w1", [8, 8, 1, 1], Init::Constant(0.1)).unwrap();
    let one = Conv2d { fusion: Some(Fusion::default()), ..Conv2d::default() };
    let y = g.add(one.clone(), &[y, w1, b, b]).unwrap();
    let mut both = choices(&keys, "conv2d/winograd8");
    let other = key(&one, None, &[X.into(), [8, 8, 1, 1].into(), [1, 8, 1, 1].into(), [1, 8, 1, 1].into()]);
    both.extend(choices(&[other], "conv2d/fused"));
    let plan_within = |memory_bytes: u64, choices: &Choices| {
        let caps = Caps { memory_bytes, ..caps };
        Plan::new(&g, &[y], &Options { caps, choices: Some(choices), ..Options::default() }).unwrap()
    };
    let wide = plan_within(u64::MAX, &both);
    assert!(wide.notes.is_empty() && stems(&wide).contains(&"conv2d/winograd8"), "{wide}");
    both.layers.remove(&keys[0]);
    let without = plan_within(u64::MAX, &both).peak_bytes();
    both.extend(choices(&keys, "conv2d/winograd8"));
    assert!(without < wide.peak_bytes(), "{without} and {}", wide.peak_bytes());
    let narrow = plan_within(without, &both);
    assert!(stems(&narrow).contains(&"conv2d/fused") && !stems(&narrow).contains(&"conv2d/winograd8"), "{narrow}");
    assert_eq!(narrow.notes.len(), 1, "{:?}", narrow.notes);
    let note = format!("conv2d/winograd8 was measured to be fastest for {}, but is not used: ", keys[0]);
    assert!(narrow.notes[0].starts_with(&note) && narrow.to_string().ends_with(&narrow.notes[0]), "{narrow}");
}

fn run(device: &Device) -> Tensor {
    let (g, y) = network();
    let mut rng = Rng::new(3);
    let mut tensor = |shape: [usize; 4]| {
        Tensor::new(shape, (0..len(&shape.into())).map(|_| rng.uniform(-1.0, 1.0) as f32).collect()).unwrap()
    };
    let (x, w, b) = (tensor(X), tensor([8, 8, 3, 3]), tensor([1, 8, 1, 1]));
    let weights = Weights::from_tensors([("w".to_owned(), w), ("b".to_owned(), b)].into());
    device.compile(&g, &[y], weights).unwrap().run(&[("x", &x)]).unwrap().remove(0)
}

#[test]
fn what_tuning_finds_exists_and_computes_the_same() {
    let Some(device) = common::device() else { return };
    let (g, y) = network();
    let found = tune(&device, &g, &[y]).unwrap();
    for (key, choice) in &found.layers {
        assert!(key.contains(choice.stem.split('/').next().unwrap()), "{key}: {}", choice.stem);
        assert!(choice.candidates.len() <= 3 && choice.candidates.iter().any(|c| c.stem == choice.stem), "{choice:?}");
    }
    // lavapipe fuses the two, and has two shaders for that.
    assert!(found.layers.len() == 1 || device.caps().family == Family::Hardware, "{found:?}");
    let rule = run(&device);
    let tuned = device.clone().with_choices(found.clone());
    assert_eq!(tuned.plan(&g, &[y]).unwrap(), tuned.plan(&g, &[y]).unwrap());
    for (a, b) in run(&tuned).data().iter().zip(rule.data()) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
    // Whatever is chosen, the values are the same.
    for stem in ["conv2d/fused", "conv2d/winograd", "conv2d/winograd8", "conv2d/straight"] {
        let keys: Vec<String> = found.layers.keys().cloned().collect();
        let device = device.clone().with_choices(choices(&keys, stem));
        assert!(keys.is_empty() || stems(&device.plan(&g, &[y]).unwrap()).contains(&stem), "{stem} is followed");
        for (a, b) in run(&device).data().iter().zip(rule.data()) {
            assert!((a - b).abs() < 1e-4, "{stem}: {a} and {b}");
        }
    }
    assert_eq!(tune_more(&device, &g, &[y], &found, None).unwrap(), Choices::default(), "nothing is left");
    let no_time = tune_more(&device, &g, &[y], &Choices::default(), Some(Duration::ZERO)).unwrap();
    assert_eq!(no_time, Choices::default(), "without time nothing is measured");
}

#[test]
fn gradients_of_one_dispatch_get_one_choice() {
    let Some(device) = common::device() else { return };
    let mut g = Graph::new();
    let x = g.input("x", X).unwrap();
    let t = g.input("t", X).unwrap();
    let w = g.param("w", [8, 8, 3, 3], Init::Constant(0.1)).unwrap();
    let b = g.param("b", [1, 8, 1, 1], Init::Constant(0.0)).unwrap();
    let y = g.add(lineament::ops::conv2d::Conv2d::same(3), &[x, w, b]).unwrap();
    let loss = g.mse(y, t, Reduction::Mean).unwrap();
    let gradients = lineament::graph::grad::backward(&mut g, loss, &[w, b]).unwrap();
    // Without a budget, because a busy machine would spend it on the first layer.
    let found = tune_more(&device, &g, &gradients, &Choices::default(), None).unwrap();
    let choice = |wanted: &str| found.layers.iter().find(|(key, _)| key.contains(wanted)).map(|(_, choice)| choice);
    assert_eq!(choice(" dw "), choice(" db "));
    assert!(choice(" dw ").is_some() || device.caps().family == Family::Hardware, "{found:?}");
}

#[test]
fn the_references_have_nothing_to_choose() {
    let (g, y) = network();
    let cpu = Device::open(&lineament::Select::Cpu).unwrap();
    assert_eq!(tune(&cpu, &g, &[y]).unwrap(), Choices::default());
}
