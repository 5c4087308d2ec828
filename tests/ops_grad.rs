//! Every derivative against central differences in f64; no adapter. One test per operation:
//! `cargo test --test ops_grad -- relu` reruns one.

use lineament::lab::check;
use lineament::ops::registry;

fn main() {
    let args = libtest_mimic::Arguments::from_args();
    let trials = registry()
        .into_iter()
        .map(|registered| {
            libtest_mimic::Trial::test(registered.name, move || {
                let cases = (registered.cases)();
                let small: Vec<_> = cases.iter().filter(|c| !c.real && !c.is_rough).collect();
                if small.len() < 4 {
                    return Err(format!("{} has {} small cases, needs at least 4", registered.name, small.len()).into());
                }
                let mut failures = String::new();
                for (index, case) in small.iter().enumerate() {
                    let report = check::gradient(case, 7).map_err(|e| format!("case {index}: {e}"))?;
                    if report.worst > check::GRADIENT_LIMIT {
                        failures += &format!(
                            "\n{} case {index} {:?} x={:?}: {report:?}; rerun: cargo test --test ops_grad -- {}",
                            registered.name, case.op, case.x, registered.name
                        );
                    }
                }
                if failures.is_empty() { Ok(()) } else { Err(failures.into()) }
            })
        })
        .collect();
    libtest_mimic::run(&args, trials).exit();
}
