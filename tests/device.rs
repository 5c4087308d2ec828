//! What opening, filling and closing an adapter leaves behind in the process.

mod common;

use lineament::graph::{Draft, Drafted, Given, Init};
use lineament::ops::conv2d::Conv2d;
use lineament::ops::loss::Reduction;
use lineament::train::{HYPER, Optimizer, Rule};
use lineament::{Device, Graph, Network, Params, Select, Session, Tensor, Weights};
use std::collections::BTreeSet;

/// Returns the libraries that are loaded in this process, if the system tells.
fn libraries() -> BTreeSet<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.split_whitespace().filter(|word| word.contains(".so")).map(str::to_owned).collect()
}

/// A thread that used a driver may call it once more when it ends.
#[test]
fn the_driver_stays_when_its_last_device_is_closed() {
    let Some(device) = common::device() else { return };
    let open = libraries();
    if open.is_empty() {
        eprintln!("SKIPPED (no /proc/self/maps)");
        return;
    }
    drop(device);
    let gone: Vec<_> = open.difference(&libraries()).cloned().collect();
    assert!(gone.is_empty(), "unloaded: {gone:?}");
}

/// What the driver compiled is given back to another device, which computes the same; damaged data is ignored.
#[test]
fn what_was_compiled_serves_the_next_device() {
    let Some(first) = common::device() else { return };
    let (g, y) = {
        let mut g = Graph::new();
        let x = g.input("x", [3, 5]).unwrap();
        let y = g.pointwise(x, "tanh").unwrap();
        (g, y)
    };
    let run = |device: &Device| {
        let session = device.compile(&g, &[y], Weights::default()).unwrap();
        session.run(&[("x", &Tensor::filled([3, 5], 0.5))]).unwrap()
    };
    assert_eq!(first.compiled(), None, "nothing is kept for those who do not ask for it");
    // SAFETY: the data is what another device of this process gave, or nothing, or refused by its header.
    let opened = |data: Option<&[u8]>| unsafe {
        let device = Device::open(&Select::Default).unwrap();
        device.reuse_compiled(data);
        device
    };
    let second = opened(None);
    let expected = run(&second);
    let Some(data) = second.compiled() else {
        return println!("skipped: {} gives no compiled data", second.describe());
    };
    assert!(data.starts_with(b"WGPUPLCH"), "{} bytes", data.len());
    assert_eq!(run(&opened(Some(&data))), expected);
    assert_eq!(run(&opened(Some(&data[..data.len() / 2]))), expected);
    assert_eq!(run(&opened(Some(b"none"))), expected);
}

#[test]
fn allocated_bytes_are_the_plans_before_the_first_run() {
    let Some(device) = common::device() else { return };
    let Some(before) = device.allocated_bytes() else {
        eprintln!("SKIPPED (the back end does not report what it allocates)");
        return;
    };
    // A quarter of the memory is uploaded: x, c, y and the readback have the same size.
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 1, 256, 256]).unwrap();
    let c = graph.constant("c", Tensor::filled([1, 1, 256, 256], 2.0)).unwrap();
    let y = graph.times(x, c).unwrap();
    let session = device.compile(&graph, &[y], graph.initialize(1)).unwrap();
    let ratio = session.plan().peak_bytes() as f64 / (device.allocated_bytes().unwrap() - before) as f64;
    assert!((0.99..=1.01).contains(&ratio), "the plan predicts {ratio} of what is allocated");
}

/// Compiles two sizes of one network, w · x + w on maps, whose only parameter takes most of the memory.
fn two_sizes(device: &lineament::Device, params: &Params) -> Vec<(Session, Tensor)> {
    let session = |side: usize| {
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 1, side, side]).unwrap();
        let w = graph.param("w", [64, 1, 64, 64], Init::Constant(0.0)).unwrap();
        let b = graph.param("b", [1, 64, 1, 1], Init::Constant(0.0)).unwrap();
        let op = Conv2d { padding: [32; 4], ..Conv2d::default() };
        let y = graph.conv2d(x, w, b, op).unwrap();
        (device.compile(&graph, &[y], params.clone()).unwrap(), Tensor::filled([1, 1, side, side], 1.0))
    };
    [2, 3].map(session).into()
}

#[test]
fn sessions_of_several_sizes_share_the_weights_on_the_device() {
    let Some(device) = common::device() else { return };
    let w = Tensor::new([64, 1, 64, 64], (0..64 * 64 * 64).map(|k| (k % 7) as f32).collect()).unwrap();
    let b = Tensor::filled([1, 64, 1, 1], 0.5);
    let weights = Weights::from_tensors([("w".to_owned(), w), ("b".to_owned(), b)].into());
    let weight_bytes = 4 * 64 * 64 * 64;
    let open = |params: Params| {
        let before = device.allocated_bytes();
        let sessions = two_sizes(&device, &params);
        let bytes = device.allocated_bytes().zip(before).map(|(after, before)| after - before);
        (sessions, bytes)
    };
    let (own, own_bytes) = open(weights.clone().into());
    let (shared, shared_bytes) = open(Params::shared(weights.clone()));
    for ((a, x), (b, _)) in own.iter().zip(&shared) {
        assert_eq!(a.run(&[("x", x)]).unwrap(), b.run(&[("x", x)]).unwrap());
        assert_eq!(b.weights().unwrap().tensors(), weights.tensors());
    }
    match own_bytes.zip(shared_bytes) {
        Some((own, shared)) => {
            let saved = own as f64 - shared as f64;
            assert!((saved / f64::from(weight_bytes) - 1.0).abs() < 0.05, "{own} and {shared}");
        }
        None => eprintln!("SKIPPED in part (the back end does not report what it allocates)"),
    }
    let refused = shared[0].0.load(&weights).unwrap_err().to_string();
    assert!(refused.contains("shares its parameters"), "{refused}");
    own[0].0.load(&weights).unwrap();
}

#[test]
fn a_training_that_was_given_shared_weights_leaves_them_as_they_are() {
    let Some(device) = common::device() else { return };
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 1, 1, 8]).unwrap();
    let w = graph.param("w", [1, 1, 1, 8], Init::Constant(0.0)).unwrap();
    let y = graph.times(x, w).unwrap();
    let infer = graph.clone();
    let loss = graph.mse(y, x, Reduction::Mean).unwrap();
    let rule = Rule::from(Optimizer::sgd(0.0));
    let step = rule.minimize(&mut graph, loss).unwrap();
    let weights = Weights::from_tensors([("w".to_owned(), Tensor::filled([1, 1, 1, 8], 3.0))].into());
    let params = Params::shared(weights);
    let reader = device.compile(&infer, &[y], params.clone()).unwrap();
    let trainer = device.compile(&graph, &step.fetches, params).unwrap();
    let one = Tensor::filled([1, 1, 1, 8], 1.0);
    let hyper = rule.hyper(0.1, 1);
    trainer.run(&[("x", &one), (HYPER, &hyper)]).unwrap();
    assert_ne!(trainer.weights().unwrap().get("w").unwrap().data()[0], 3.0);
    assert_eq!(reader.run(&[("x", &one)]).unwrap()[0].data(), [3.0; 8]);
}

#[test]
fn a_network_keeps_the_sessions_that_fit_its_budget() {
    let Some(device) = common::device() else { return };
    let build = |g: &Draft| g.output("y", g.input("x").conv("conv", 8, 3, Conv2d::same(3)));
    let input = |side: usize| Tensor::filled([1, 1, side, side], 0.5);
    let bytes = |side: usize| {
        let Drafted { graph, outputs, .. } =
            Drafted::new(&[Given::new("x", [1, 1, side, side])], false, build).unwrap();
        device.plan(&graph, &[outputs[0].1]).unwrap().peak_bytes()
    };
    let network = device.network(Params::fresh(3), build);
    network.set_budget(bytes(32) + bytes(48));
    let sides = |network: &Network| -> Vec<usize> { network.kept().iter().map(|given| given[0].shape[2]).collect() };
    let first = network.run(&[("x", &input(32))]).unwrap();
    network.run(&[("x", &input(48))]).unwrap();
    assert_eq!(sides(&network), [32, 48]);
    // The first one was used again, so it is the last to be evicted.
    assert_eq!(network.run(&[("x", &input(32))]).unwrap(), first);
    network.run(&[("x", &input(40))]).unwrap();
    assert_eq!(sides(&network), [32, 40]);
    // A session that exceeds the budget is kept alone.
    network.run(&[("x", &input(300))]).unwrap();
    assert_eq!(sides(&network), [300]);
    network.run(&[("x", &input(8))]).unwrap();
    assert_eq!(sides(&network), [8]);
    network.set_budget(0);
    assert!(network.kept().is_empty());
}
