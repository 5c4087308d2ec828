//! Every operation, case and shader on the adapter against the f64 reference, and the static checks of every shader.
//! One test per operation: `cargo test --test ops_gpu -- conv2d` reruns one. An operation of many kernels has a second test for those that
//! are only for GPUs, `conv2d_for_gpus`, and some a third in which everything is stored as f16, `conv2d_in_f16`.
//!
//! Without an adapter the device half is skipped with a message, or fails with LINEAMENT_REQUIRE_GPU=1.

use lineament::lab::check;
use lineament::ops::{Family, Kernel, Registered, registry};
use lineament::plan::Precision;
use lineament::{Device, Select};
use std::sync::Arc;

/// Kernels that lavapipe compiles in a few minutes.
const MANY: usize = 20;

/// Operations whose kernels for all adapters and for GPUs are also checked in f16, each on the first case that it serves: between them,
/// they read and write one number and four, and keep repacked weights. `lineament check ops --precision f16` checks all on every case.
const IN_F16: [&str; 6] = ["batch_norm", "conv2d", "matmul", "max_pool2d", "sigmoid", "warp"];

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
    for registered in registry().into_iter().filter(|registered| IN_F16.contains(&registered.name)) {
        let device = device.clone();
        trials.push(libtest_mimic::Trial::test(format!("{}_in_f16", registered.name), move || {
            let Some(device) = device.as_ref().clone().filter(|device| device.caps().has_f16) else {
                eprintln!("SKIPPED: no adapter with f16");
                return Ok(());
            };
            let device = device.with_precision(Precision::F16).map_err(|e| e.to_string())?;
            let is_wanted = |kernel: &Kernel| kernel.family != Some(Family::Software);
            let kernels: Vec<Kernel> = registered.kernels().into_iter().filter(is_wanted).collect();
            let cases = (registered.cases)();
            let report = pollster::block_on(check::on_adapter_async(&*cases[0].op, &cases, &device, &kernels, 1));
            // An update is not for f16.
            if report.cases < kernels.len() / 2 {
                return Err(format!("{} of {} kernels served a case", report.cases, kernels.len()).into());
            }
            if report.failures.is_empty() { Ok(()) } else { Err(report.failures.join("\n").into()) }
        }));
    }
    trials.push(libtest_mimic::Trial::test("an_adapter_is_there_where_one_is_required", move || {
        if required && device.is_none() { Err("LINEAMENT_REQUIRE_GPU=1, but no adapter opens".into()) } else { Ok(()) }
    }));
    libtest_mimic::run(&args, trials).exit();
}
