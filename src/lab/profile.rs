//! Times every step and derives GFLOP/s, GB/s, the roof that limits it and its share; also the host's part and a trace.

use super::clock::now_ms;
use super::roof::{self, Measured, Roofs};
use crate::error::Result;
use crate::exec::timing::{Clock, Phase, Run};
use crate::exec::{Network, Session};
use crate::graph::Given;
use crate::ops::Cost;
use crate::plan::Plan;
use crate::table::{self, Column};
use crate::tensor::Tensor;
use serde_json::{Value, json};
use std::fmt;

/// One dispatch, or the copies to textures before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The step's path.
    pub name: String,
    /// Shader file and entry; for copies, what they copy.
    pub entry: String,
    /// Number of dispatches or copies.
    pub calls: usize,
    /// `None` for copies.
    pub workgroups: Option<[u32; 3]>,
    /// Whether it runs only when parameters change; it is then left out of totals.
    pub once: bool,
    /// Median over the runs; `None` if the timer is not trusted.
    pub ms: Option<f64>,
    /// The passes of a method share its cost in proportion to their times, so that all show the method's rate.
    pub cost: Cost,
}

impl Row {
    /// Returns 10⁹ floating-point operations per second.
    pub fn gflops(&self) -> Option<f64> {
        self.ms.map(|ms| rate(self.cost.flops, ms))
    }
    /// Returns 10⁹ bytes of compulsory traffic per second.
    pub fn gbps(&self) -> Option<f64> {
        self.ms.map(|ms| rate(self.cost.bytes, ms))
    }
    /// Returns the floating-point operations per byte of compulsory traffic.
    pub fn intensity(&self) -> f64 {
        if self.cost.bytes > 0 { self.cost.flops as f64 / self.cost.bytes as f64 } else { 0.0 }
    }
    /// Returns the roof that limits a step of this intensity, and the part of it that was reached.
    pub fn bound(&self, roofs: &Roofs) -> Option<(Roof, f64)> {
        Some(if self.intensity() < roofs.ridge() {
            (Roof::Memory, self.gbps()? / roofs.gbps)
        } else {
            (Roof::Compute, self.gflops()? / roofs.gflops)
        })
    }
}

/// What limits a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roof {
    /// Its FLOP/byte is at least [`Roofs::ridge`].
    Compute,
    /// Its FLOP/byte is below [`Roofs::ridge`].
    Memory,
}

impl Roof {
    /// Returns `compute` or `memory`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
        }
    }
}

fn rate(amount: u64, ms: f64) -> f64 {
    if ms > 0.0 { amount as f64 / ms / 1e6 } else { 0.0 }
}

/// Milliseconds of the host in timed runs, in which each step has its own pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Host {
    pub record_ms: f64,
    pub submit_ms: f64,
    pub wait_ms: f64,
}

/// One row per dispatch, and one for the copies before it.
#[derive(Debug, Clone)]
pub struct Profile {
    pub rows: Vec<Row>,
    /// All rows together, named `total`.
    pub total: Row,
    pub runs: usize,
    pub clock: Clock,
    /// Adapter, backend and driver.
    pub device: String,
    /// Why the timer is not trusted, if it is not; no row has a time then.
    pub unreliable: Option<String>,
    /// `None` for the references, or if the timer is not trusted.
    pub roofs: Option<Roofs>,
    /// Medians over the runs; `None` for the references.
    pub host: Option<Host>,
    /// The run with the median total, for the trace.
    run: Run,
}

/// Returns the middle value, or the mean of the two middle values; 0 if there are none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = [values.len().saturating_sub(1) / 2, values.len() / 2];
    middle.iter().filter_map(|&k| values.get(k)).sum::<f64>() / 2.0
}

impl Profile {
    /// Computes medians over at least one of `runs` of `plan`. `measured` is the result of [`super::roof::measure`]; without it,
    /// for the references, there are neither roofs nor copies.
    pub(crate) fn new(plan: &Plan, runs: &[Run], clock: Clock, device: String, measured: Option<&Measured>) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let mut of_step = Vec::new();
        for step in &plan.steps {
            if measured.is_some() && !step.copies.is_empty() {
                let names: Vec<&str> = step.copies.iter().map(|(from, _)| plan.values[*from].name.as_str()).collect();
                let floats: usize =
                    step.copies.iter().map(|(from, _)| crate::tensor::len(&plan.values[*from].shape)).sum();
                rows.push(Row {
                    name: step.name.clone(),
                    entry: format!("copy to texels: {}", names.join(", ")),
                    calls: step.copies.len(),
                    workgroups: None,
                    once: false,
                    ms: None,
                    cost: Cost::new(0, 2 * floats),
                });
            }
            of_step.push(rows.len());
            rows.push(Row {
                name: step.name.clone(),
                entry: format!("{}.{}", step.stem(), step.entry),
                calls: 1,
                workgroups: Some(step.workgroups),
                once: step.once,
                ms: None,
                cost: step.cost,
            });
        }
        let backwards = runs.iter().flat_map(|r| &r.spans).any(|s| s.ms < 0.0);
        let unreliable = match measured {
            Some(Err(fault)) => Some(fault.clone()),
            _ if backwards => Some("its clock runs backwards: a step ended before it began".to_owned()),
            _ => None,
        };
        if unreliable.is_none() {
            for (i, row) in rows.iter_mut().enumerate() {
                row.ms = Some(median(runs.iter().map(|r| r.spans[i].ms).collect()));
            }
            let mut first = 0;
            while first < of_step.len() {
                let passes = plan.passes(first).len();
                let method = &of_step[first..first + passes];
                let cost = rows[method[0]].cost;
                let total: f64 = method.iter().filter(|&&r| !rows[r].once).filter_map(|&r| rows[r].ms).sum();
                for &r in method {
                    let share = if rows[r].once {
                        0.0
                    } else if total > 0.0 {
                        rows[r].ms.unwrap_or(0.0) / total
                    } else {
                        0.0
                    };
                    let part = |whole: u64| (whole as f64 * share).round() as u64;
                    rows[r].cost = Cost { flops: part(cost.flops), bytes: part(cost.bytes) };
                }
                first += passes;
            }
        }
        let mut total = Row {
            name: "total".into(),
            entry: String::new(),
            calls: rows.iter().map(|r| r.calls).sum(),
            workgroups: None,
            once: false,
            ms: unreliable.is_none().then(|| rows.iter().filter(|r| !r.once).filter_map(|r| r.ms).sum()),
            cost: Cost::default(),
        };
        for row in &rows {
            total.cost += row.cost;
        }
        let host_ms = |phase| median(runs.iter().map(|r| r.host_ms(phase)).collect());
        let host = measured.is_some().then(|| Host {
            record_ms: host_ms(Phase::Record),
            submit_ms: host_ms(Phase::Submit),
            wait_ms: host_ms(Phase::Wait),
        });
        let mut by_total: Vec<&Run> = runs.iter().collect();
        by_total.sort_by(|a, b| a.total_ms().total_cmp(&b.total_ms()));
        let run = by_total.get(runs.len() / 2).copied().cloned().unwrap_or_else(|| Run::begin(now_ms));
        let roofs = measured.and_then(|m| m.as_ref().ok()).copied().filter(|_| unreliable.is_none());
        Self { rows, total, runs: runs.len(), clock, device, unreliable, roofs, host, run }
    }

    /// Returns the sum over the rows, or `None` if the timer is not trusted.
    pub fn total_ms(&self) -> Option<f64> {
        self.total.ms
    }

    /// Returns the time of the longest dispatch, or `None` if the timer is not trusted.
    pub fn longest_ms(&self) -> Option<f64> {
        self.total.ms?;
        Some(self.rows.iter().filter(|r| r.workgroups.is_some()).filter_map(|r| r.ms).fold(0.0, f64::max))
    }

    /// Returns the share of `row` in the total, or `None` if the timer is not trusted.
    pub fn share(&self, row: &Row) -> Option<f64> {
        let total = self.total.ms?;
        Some(if total > 0.0 && !row.once { row.ms? / total } else { 0.0 })
    }

    /// Returns the rows with the blocks of each pass added up ([`Work::blocks`](crate::ops::Work::blocks)).
    pub fn passes(&self) -> Vec<Row> {
        let mut passes: Vec<Row> = Vec::new();
        for row in &self.rows {
            match passes.iter_mut().find(|p| p.name == row.name && p.entry == row.entry) {
                Some(pass) => {
                    pass.calls += row.calls;
                    pass.cost += row.cost;
                    pass.ms = pass.ms.zip(row.ms).map(|(a, b)| a + b);
                }
                None => passes.push(row.clone()),
            }
        }
        passes
    }

    /// Returns the run with the median total in Chrome's trace format, which Perfetto (ui.perfetto.dev) opens: one track for the
    /// adapter's steps and one for the host. Times are those of that run; each step also has the median over the runs. The two
    /// clocks have no common zero, so the adapter's first step is aligned with the start of the first submission, before which it
    /// cannot have begun. If the timer is not trusted, the adapter's track is empty.
    pub fn trace(&self) -> Value {
        const HOST: u32 = 1;
        const ADAPTER: u32 = 2;
        let name = |what: &str, tid: u32, name: &str| json!({"name": what, "ph": "M", "pid": 1, "tid": tid, "args": {"name": name}});
        let event = |name: &str, category: &str, tid: u32, begin_ms: f64, ms: f64, args: Value| {
            json!({
                "name": name, "cat": category, "ph": "X", "pid": 1, "tid": tid, "ts": begin_ms * 1e3, "dur": ms * 1e3,
                "args": args,
            })
        };
        let mut events = vec![
            name("process_name", HOST, &format!("lineament on {}", self.device)),
            name("thread_name", HOST, "host"),
            name("thread_name", ADAPTER, "adapter"),
        ];
        for (phase, span) in &self.run.host {
            events.push(event(phase.name(), "host", HOST, span.begin_ms, span.ms, json!({})));
        }
        let submitted =
            self.run.host.iter().find(|(phase, _)| *phase == Phase::Submit).map_or(0.0, |(_, s)| s.begin_ms);
        let first = self.run.spans.first().map_or(0.0, |s| s.begin_ms);
        for (row, span) in self.rows.iter().zip(&self.run.spans) {
            let Some(median_ms) = row.ms else { continue };
            let args = json!({
                "entry": row.entry, "calls": row.calls, "workgroups": row.workgroups, "flops": row.cost.flops,
                "bytes": row.cost.bytes, "gflops": rate(row.cost.flops, span.ms), "gbps": rate(row.cost.bytes, span.ms),
                "median_ms": median_ms,
            });
            let category = if row.workgroups.is_some() { "dispatch" } else { "copy" };
            events.push(event(&row.name, category, ADAPTER, span.begin_ms - first + submitted, span.ms, args));
        }
        json!({
            "traceEvents": events, "displayTimeUnit": "ms",
            "otherData": {
                "device": self.device, "clock": self.clock.name(), "unreliable": self.unreliable, "runs": self.runs,
                "alignment": "the adapter's first step is aligned with the start of the first submission",
            },
        })
    }
}

impl Session {
    /// Times every step in milliseconds: one warm-up run, then the median of `runs`. The first profile on an adapter also
    /// measures its [`roof::Roofs`] and tests its timer, which takes about half a second.
    ///
    /// # Errors
    /// Those of [`Session::run`].
    pub fn profile_runs(&self, inputs: &[(&str, &Tensor)], runs: usize) -> Result<Profile> {
        let device = self.device();
        let measured = if device.is_cpu() { None } else { Some(roof::measured(device)?) };
        let mut all = Vec::new();
        for run in 0..=runs.max(1) {
            let timed = self.timed(inputs, now_ms)?;
            if run > 0 {
                all.push(timed);
            }
        }
        Ok(Profile::new(self.plan(), &all, self.clock(), device.describe(), measured.as_ref()))
    }

    /// Calls [`Session::profile_runs`] with 5 runs.
    ///
    /// # Errors
    /// Those of [`Session::run`].
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<Profile> {
        self.profile_runs(inputs, 5)
    }
}

impl Network {
    /// Times every step of a run on `inputs`, as [`Session::profile`] does.
    ///
    /// # Errors
    /// Those of [`Network::run`].
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<Profile> {
        let given: Vec<Given> = inputs.iter().map(|&input| input.into()).collect();
        self.session(&given)?.profile(inputs)
    }
}

/// Formats a table of the steps and a summary. A precision limits the width: `{profile:.80}`.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let cells = |row: &Row| {
            let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".into());
            let bound = self.roofs.and_then(|roofs| row.bound(&roofs));
            [
                row.name.clone(),
                row.entry.clone(),
                row.calls.to_string(),
                row.ms.map_or_else(|| "unreliable here".into(), |ms| format!("{ms:.3}")),
                or_dash(row.gflops().map(|v| format!("{v:.2}"))),
                or_dash(row.gbps().map(|v| format!("{v:.2}"))),
                format!("{:.1}", row.intensity()),
                or_dash(bound.map(|(roof, _)| roof.name().into())),
                or_dash(bound.map(|(_, part)| format!("{:.1}%", part * 100.0))),
                if row.once { "once".into() } else { or_dash(self.share(row).map(|v| format!("{:.1}%", v * 100.0))) },
            ]
        };
        let rows: Vec<_> = self.passes().iter().chain([&self.total]).map(cells).collect();
        let columns = [
            Column::words("node", 0),
            Column::words("entry", 0),
            Column::numbers("calls", 5),
            Column::numbers("ms", 0),
            Column::numbers("GFLOP/s", 2),
            Column::numbers("GB/s", 3),
            Column::numbers("FLOP/byte", 4),
            Column::words("roof", 1),
            Column::numbers("of roof", 0),
            Column::numbers("share", 0),
        ];
        let width = f.precision().unwrap_or(usize::MAX);
        table::write(f, &columns, &rows, width)?;
        if let Some(roofs) = &self.roofs {
            writeln!(
                f,
                "roofs measured here: {:.1} GFLOP/s (multiply-add chains), {:.1} GB/s ({}); they meet at {:.1} FLOP/byte",
                roofs.gflops,
                roofs.gbps,
                roofs.copied_by,
                roofs.ridge()
            )?;
        }
        if let Some(host) = &self.host {
            writeln!(
                f,
                "host: record {:.3} ms, submit {:.3} ms, wait {:.3} ms",
                host.record_ms, host.submit_ms, host.wait_ms
            )?;
        }
        let clock = match self.clock {
            Clock::Timestamps => "adapter timestamps",
            Clock::Host => "host clock, including submission and waiting",
        };
        match (&self.unreliable, self.longest_ms()) {
            (Some(why), _) => write!(f, "unreliable here: {why}; by {clock} on {}", self.device),
            (None, longest) => {
                let runs = if self.runs == 1 { "one run".to_owned() } else { format!("medians of {} runs", self.runs) };
                let longest = longest.unwrap_or(0.0);
                write!(f, "longest dispatch {longest:.3} ms; {runs} by {clock} on {}", self.device)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::timing::Span;
    use crate::graph::Graph;
    use crate::plan::Options;

    fn plan() -> Plan {
        let mut g = Graph::new();
        let x = g.input("x", [1, 1, 8, 8]).unwrap();
        let y = g.relu(x).unwrap();
        let z = g.sigmoid(y).unwrap();
        Plan::new(&g, &[z], &Options::default()).unwrap()
    }

    fn run(ms: [f64; 2]) -> Run {
        let mut run = Run::begin(now_ms);
        run.spans = vec![Span { begin_ms: 7.0, ms: ms[0] }, Span { begin_ms: 7.0 + ms[0] + 0.5, ms: ms[1] }];
        run.host = [(Phase::Record, 0.0), (Phase::Submit, 1.0), (Phase::Wait, 2.0)]
            .map(|(phase, begin_ms)| (phase, Span { begin_ms, ms: 1.0 }))
            .to_vec();
        run
    }

    const ROOFS: Roofs = Roofs { gflops: 100.0, gbps: 10.0, copied_by: "copy kernel" };

    #[test]
    fn medians_roofs_and_the_trace_agree() {
        let runs = [run([1.0, 4.0]), run([3.0, 1.0]), run([2.0, 4.0])];
        let profile = Profile::new(&plan(), &runs, Clock::Timestamps, "a device".into(), Some(&Ok(ROOFS)));
        let ms: Vec<_> = profile.rows.iter().map(|r| r.ms.unwrap()).collect();
        assert_eq!((ms, profile.total_ms(), profile.longest_ms()), (vec![2.0, 4.0], Some(6.0), Some(4.0)));
        // relu: one operation and 8 bytes per element, so far left of the ridge at 10 FLOP/byte.
        let (roof, part) = profile.rows[0].bound(&ROOFS).unwrap();
        assert_eq!(roof, Roof::Memory);
        assert!((part - 64.0 * 8.0 / 2.0 / 1e6 / 10.0).abs() < 1e-12);
        let trace = profile.trace();
        let steps: Vec<&Value> =
            trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["cat"] == "dispatch").collect();
        // The first run has the median total; its first step is aligned with the submission, 1 ms after the start of the run.
        assert_eq!((steps[0]["ts"].as_f64(), steps[0]["dur"].as_f64()), (Some(1000.0), Some(1000.0)));
        assert_eq!((steps[1]["ts"].as_f64(), steps[1]["dur"].as_f64()), (Some(2500.0), Some(4000.0)));
    }

    #[test]
    fn a_timer_that_is_not_believed_gives_no_time_anywhere() {
        let fault = Measured::Err("four times the work took 1.00 times as long".into());
        let backwards = [run([1.0, -1.0])];
        for (runs, measured) in [(&[run([1.0, 1.0])], &fault), (&backwards, &Ok(ROOFS))] {
            let profile = Profile::new(&plan(), runs, Clock::Timestamps, "a device".into(), Some(measured));
            assert!(profile.unreliable.is_some() && profile.roofs.is_none() && profile.total_ms().is_none());
            assert!(profile.rows.iter().all(|r| r.ms.is_none() && r.gflops().is_none() && profile.share(r).is_none()));
            let text = profile.to_string();
            // Two rows, the total, and the reason.
            assert_eq!(text.matches("unreliable here").count(), 4, "{text}");
            assert!(text.contains("unreliable here: "), "{text}");
            let trace = profile.trace();
            let categories = trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X");
            assert!(categories.map(|e| e["cat"].as_str()).all(|c| c == Some("host")), "{trace}");
        }
    }
}
