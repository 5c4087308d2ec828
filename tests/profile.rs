//! The profile: the roofs' kernels, the timer's self-test, and the profile of a small training step.

mod common;

use lineament::exec::timing::{Clock, Span};
use lineament::lab::check;
use lineament::lab::roof::{self, timer_fault};
use lineament::models::fsrcnn;
use lineament::{Device, Graph, Select, Tensor};

#[test]
fn the_kernels_of_the_roofs_are_checked_as_operations_are() {
    let device = common::device();
    for cases in roof::cases() {
        let report = check::op(&*cases[0].op, &cases, device.as_ref());
        assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
        assert!(report.cases > cases.len(), "every case and the shader was checked");
    }
}

fn pair(begin_ms: f64, small: f64, gap: f64, large: f64) -> [Span; 2] {
    [Span { begin_ms, ms: small }, Span { begin_ms: begin_ms + small + gap, ms: large }]
}

#[test]
fn a_timer_is_believed_where_four_times_the_work_takes_about_four_times_as_long() {
    assert_eq!(timer_fault(&[]), None, "nothing was measured");
    assert_eq!(timer_fault(&[pair(0.0, 8.0, 0.1, 32.0)]), None);
    // Another program took the processor during one run; the best of each counts.
    assert_eq!(timer_fault(&[pair(0.0, 40.0, 0.1, 33.0), pair(0.0, 8.0, 0.1, 90.0)]), None);
    assert_eq!(timer_fault(&[pair(5.0, 8.0, 0.0, 20.0)]), None, "a fixed cost is not a fault");
}

#[test]
fn a_timer_is_not_believed_that_is_wrong() {
    let because = |runs: &[[Span; 2]], why: &str| {
        let fault = timer_fault(runs).expect("this timer is wrong");
        assert!(fault.contains(why), "{fault}");
    };
    because(
        &[pair(0.0, 8.0, 0.1, 8.1)],
        "took 1.01 times as long by its clock (8.000 and 8.100 ms), expected 2.5 to 6",
    );
    because(&[pair(0.0, 1.0, 0.1, 16.0)], "took 16.00 times");
    because(&[pair(0.0, 0.0, 0.0, 0.0)], "took 0.000 ms by its clock");
    because(&[pair(0.0, 8.0, 0.1, 32.0), pair(0.0, -8.0, 0.1, 32.0)], "took -8.000 ms");
    because(&[pair(0.0, 8.0, -1.0, 32.0)], "backwards");
    because(&[pair(0.0, f64::NAN, 0.0, 32.0)], "NaN");
}

fn network() -> (Graph, lineament::NodeId) {
    let mut g = Graph::new();
    let x = g.input("x", [1, 1, 12, 10]).unwrap();
    let y = fsrcnn::build(&mut g, x, &fsrcnn::Config::paper(3)).unwrap();
    (g, y)
}

#[test]
fn every_row_of_a_profile_has_its_roof_and_none_is_dropped() {
    let Some(device) = common::device() else { return };
    let (g, y) = network();
    let session = device.compile(&g, &[y], g.initialize(1)).unwrap();
    let profile = session.profile_runs(&[("x", &Tensor::filled([1, 1, 12, 10], 0.5))], 3).unwrap();
    let plan = session.plan();
    let copies: usize = plan.steps.iter().map(|s| s.copies.len()).sum();
    assert_eq!(profile.total.calls, plan.steps.len() + copies);
    assert_eq!(profile.rows.iter().filter(|r| r.workgroups.is_some()).count(), plan.steps.len());
    let host = profile.host.expect("an adapter has a host");
    assert!(host.record_ms > 0.0 && host.submit_ms > 0.0 && host.wait_ms > 0.0, "{host:?}");
    let text = profile.to_string();
    let Some(roofs) = profile.roofs else {
        assert!(profile.unreliable.is_some() && text.contains("unreliable here"), "{text}");
        assert!(profile.rows.iter().all(|r| r.ms.is_none()));
        return;
    };
    assert!(roofs.gflops > 0.1 && roofs.gbps > 0.1, "{roofs:?}");
    for row in &profile.rows {
        let (_, part) = row.bound(&roofs).unwrap();
        assert!(row.ms.unwrap() >= 0.0 && part.is_finite(), "{row:?}");
    }
    // Steps that run only when parameters change are shown but left out of the total.
    let sum: f64 = profile.rows.iter().filter(|r| !r.once).filter_map(|r| r.ms).sum();
    let has_once = plan.steps.iter().any(|step| step.once);
    // Software adapters repack filters; an H100 did not.
    assert!(has_once || device.info().is_some_and(|adapter| adapter.kind != "Cpu"));
    assert_eq!([profile.rows.iter().any(|r| r.once), text.contains("once")], [has_once; 2], "{text}");
    assert!((profile.total_ms().unwrap() - sum).abs() < 1e-9);
    assert!(text.contains("roofs measured here") && text.contains("host: record"), "{text}");
}

#[test]
fn the_references_have_times_but_neither_roofs_nor_copies() {
    let device = Device::open(&Select::Cpu).unwrap();
    let (g, y) = network();
    let session = device.compile(&g, &[y], g.initialize(1)).unwrap();
    let profile = session.profile_runs(&[("x", &Tensor::filled([1, 1, 12, 10], 0.5))], 1).unwrap();
    assert_eq!(profile.rows.len(), session.plan().steps.len());
    assert!(profile.roofs.is_none() && profile.host.is_none() && profile.unreliable.is_none());
    assert!(profile.clock == Clock::Host && profile.total_ms().unwrap() > 0.0);
}
