//! Every operation, case and shader on the adapter against the f64 reference, and the static checks of every shader.
//! One test per operation: `cargo test --test ops_gpu -- conv2d` reruns one. An operation of many kernels has a second test for those that
//! are only for GPUs, `conv2d_for_gpus`.
//!
//! Without an adapter the device half is skipped with a message, or fails with LINEAMENT_REQUIRE_GPU=1.

use lineament::lab::check;
use lineament::ops::{Family, Kernel, Registered, registry};
use lineament::{Device, Select};
use std::sync::Arc;

/// Kernels that lavapipe compiles in a few minutes.
const MANY: usize = 20;

/// Returns the kernels of an operation by the name of their test.
fn tests_of(registered: &Registered) -> Vec<(String, Vec<Kernel>)> {
    let all = registered.kernels();
    if all.len() < MANY {
        return vec![(registered.name.to_owned(), all)];
    }
    let (own, others) = all.into_iter().partition(|kernel| kernel.family == Some(Family::Hardware));
    vec![(registered.name.to_owned(), others), (format!("{}_for_gpus", registered.name), own)]
}

fn main() {
    let args = libtest_mimic::Arguments::from_args();
    let device = if args.list { None } else { Device::open(&Select::Default).map_err(|e| eprintln!("{e}")).ok() };
    let required = std::env::var("LINEAMENT_REQUIRE_GPU").is_ok_and(|v| v == "1");
    if device.is_none() && !args.list {
        eprintln!("SKIPPED (no adapter): device half of ops_gpu");
    }
    let device = Arc::new(device);
    let mut trials: Vec<_> = registry()
        .into_iter()
        .flat_map(|registered| {
            tests_of(&registered).into_iter().map(move |(name, kernels)| (registered, name, kernels))
        })
        .map(|(registered, name, kernels)| {
            let device = device.clone();
            libtest_mimic::Trial::test(name.clone(), move || {
                let cases = (registered.cases)();
                let report = check::op_by(&*cases[0].op, &cases, device.as_ref().as_ref(), &kernels);
                println!(
                    "{name}: {} cases, worst gradient {:.1e}, device {:.1e} of scale, {:.2} of allowed",
                    report.cases, report.max_grad_error, report.max_gpu_error, report.max_of_allowed
                );
                if report.failures.is_empty() { Ok(()) } else { Err(report.failures.join("\n").into()) }
            })
        })
        .collect();
    trials.push(libtest_mimic::Trial::test("an_adapter_is_there_where_one_is_required", move || {
        if required && device.is_none() { Err("LINEAMENT_REQUIRE_GPU=1, but no adapter opens".into()) } else { Ok(()) }
    }));
    libtest_mimic::run(&args, trials).exit();
}
