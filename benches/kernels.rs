//! Times every operation on its real layers: forward and gradients, with every kernel that serves them.
//!
//!     cargo bench --bench kernels                  # all, on the default adapter
//!     cargo bench --bench kernels -- conv3x3       # operations and kernels whose name contains conv3x3
//!     LINEAMENT_DEVICE=0 cargo bench --bench kernels
//!
//! The cases are those that the tests mark `real()`. `--test` runs each once.

use lineament::lab::cases::CaseSession;
use lineament::ops::registry;
use lineament::{Device, Result, Select};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runs = if arguments.iter().any(|a| a == "--test") { 1 } else { 5 };
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let select = std::env::var("LINEAMENT_DEVICE").map_or(Select::Default, |d| d.parse().unwrap_or_default());
    let device = Device::open(&select)?;
    for operation in registry() {
        for case in (operation.cases)().into_iter().filter(|c| c.real) {
            for &kernel in case.op.kernels() {
                let is_wanted = |w: &&String| operation.name.contains(w.as_str()) || kernel.stem().contains(w.as_str());
                if !wanted.is_empty() && !wanted.iter().any(is_wanted) {
                    continue;
                }
                let title = format!("{:?} x={:?} by {}", case.op, case.x, kernel.stem());
                match CaseSession::new(&device, &case, kernel).and_then(|session| session.profile(runs)) {
                    Ok(profile) => {
                        // If the kernel serves no method here, the profile is only of the plain one.
                        let prefix = format!("{}.", kernel.stem());
                        if profile.rows.iter().any(|row| row.entry.starts_with(&prefix)) {
                            println!("{title}\n{profile}\n");
                        }
                    }
                    Err(e) => println!("{title}\nnot timed: {e}\n"),
                }
            }
        }
    }
    Ok(())
}
