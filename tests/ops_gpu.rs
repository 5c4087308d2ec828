//! Every operation, case and shader on the adapter against the f64 reference, and the static checks of every shader.
//! One test per operation: `cargo test --test ops_gpu -- conv2d` reruns one.
//!
//! Without an adapter the device half is skipped with a message, or fails with LINEAMENT_REQUIRE_GPU=1.

use lineament::lab::check;
use lineament::ops::registry;
use lineament::{Device, Select};
use std::sync::Arc;

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
        .map(|registered| {
            let device = device.clone();
            libtest_mimic::Trial::test(registered.name, move || {
                let cases = (registered.cases)();
                let report = check::op(&*cases[0].op, &cases, device.as_ref().as_ref());
                println!(
                    "{}: {} cases, worst gradient {:.1e}, device {:.1e} of scale, {:.2} of allowed",
                    registered.name, report.cases, report.max_grad_error, report.max_gpu_error, report.max_of_allowed
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
