//! The examples run as they stand.

#[path = "../examples/custom_op.rs"]
#[allow(dead_code)]
mod custom_op;

mod common;

#[test]
fn custom_op_is_checked_and_trains() {
    if common::device().is_some() {
        custom_op::main().unwrap();
    }
}
