//! The examples run unchanged.

#[path = "../examples/custom_op.rs"]
#[allow(dead_code)]
mod custom_op;

#[path = "../examples/train_custom.rs"]
#[allow(dead_code)]
mod train_custom;

mod common;

#[test]
fn custom_op_is_checked_and_trains() {
    if common::device().is_some() {
        custom_op::main().unwrap();
    }
}

#[test]
fn a_network_of_ones_own_trains() {
    if common::device().is_some() {
        train_custom::main().unwrap();
    }
}
