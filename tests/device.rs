//! What opening, filling and closing an adapter leaves in the process.

mod common;

use lineament::{Graph, Tensor};
use std::collections::BTreeSet;

/// Libraries that lie in this process's memory, where the system tells.
fn libraries() -> BTreeSet<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.split_whitespace().filter(|word| word.contains(".so")).map(str::to_owned).collect()
}

/// A thread that used a driver may call it once more as it ends.
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

#[test]
fn allocated_bytes_are_the_plans_before_the_first_run() {
    let Some(device) = common::device() else { return };
    let Some(before) = device.allocated_bytes() else {
        eprintln!("SKIPPED (the back end does not report what it allocates)");
        return;
    };
    // What is uploaded is a quarter of all: x, c, y and what is read back are of one size.
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 1, 256, 256]).unwrap();
    let c = graph.constant("c", Tensor::filled([1, 1, 256, 256], 2.0)).unwrap();
    let y = graph.times(x, c).unwrap();
    let session = device.compile(&graph, &[y], graph.initialize(1)).unwrap();
    let ratio = session.plan().peak_bytes() as f64 / (device.allocated_bytes().unwrap() - before) as f64;
    assert!((0.99..=1.01).contains(&ratio), "the plan predicts {ratio} of what is allocated");
}
