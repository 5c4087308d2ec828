//! Time of every step, and what it says: GFLOP/s, GB/s, share.

use crate::ops::Cost;
use crate::plan::{Plan, write_table};
use std::fmt;
use std::time::Instant;

/// What measured a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The adapter's timestamps around each dispatch.
    Timestamps,
    /// The host's clock around a submission a step: includes submitting and waiting.
    Host,
}

/// The moment, for [`ms_since`].
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since `begin`.
pub fn ms_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

/// One dispatch of a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The step's path.
    pub name: String,
    /// Shader file and entry.
    pub entry: String,
    /// Median over the runs.
    pub ms: f64,
    /// Of a method in several passes each has the share that its time is, so that all show the method's rate.
    pub cost: Cost,
}

impl Row {
    /// 10⁹ floating-point operations a second.
    pub fn gflops(&self) -> f64 {
        rate(self.cost.flops, self.ms)
    }
    /// 10⁹ bytes of compulsory traffic a second.
    pub fn gbps(&self) -> f64 {
        rate(self.cost.bytes, self.ms)
    }
}

fn rate(amount: u64, ms: f64) -> f64 {
    if ms > 0.0 { amount as f64 / ms / 1e6 } else { 0.0 }
}

/// A row a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub rows: Vec<Row>,
    pub runs: usize,
    pub clock: Clock,
    /// Adapter, backend and driver.
    pub device: String,
    /// Copies of buffers to textures between the steps, whose time is in no row.
    pub untimed_copies: usize,
}

impl Profile {
    /// Medians over `runs`, each with the milliseconds of every step of `plan`.
    pub(crate) fn new(plan: &Plan, runs: &[Vec<f64>], clock: Clock, device: String) -> Self {
        let mut rows: Vec<Row> = plan
            .steps
            .iter()
            .enumerate()
            .map(|(i, step)| {
                let mut times: Vec<f64> = runs.iter().map(|r| r[i]).collect();
                times.sort_by(f64::total_cmp);
                Row {
                    name: step.name.clone(),
                    entry: format!("{}.{}", step.stem, step.entry),
                    ms: times[times.len() / 2],
                    cost: step.cost,
                }
            })
            .collect();
        let mut first = 0;
        while first < rows.len() {
            let passes = 1 + plan.steps[first + 1..].iter().take_while(|s| !s.is_first_pass).count();
            let method = &mut rows[first..first + passes];
            let (cost, total) = (method[0].cost, method.iter().map(|r| r.ms).sum::<f64>());
            for row in method {
                let share = if total > 0.0 { row.ms / total } else { 0.0 };
                let part = |whole: u64| (whole as f64 * share).round() as u64;
                row.cost = Cost { flops: part(cost.flops), bytes: part(cost.bytes) };
            }
            first += passes;
        }
        let untimed_copies = plan.steps.iter().map(|s| s.copies.len()).sum();
        Self { rows, runs: runs.len(), clock, device, untimed_copies }
    }

    /// Sum over the steps.
    pub fn total_ms(&self) -> f64 {
        self.rows.iter().map(|r| r.ms).sum()
    }

    /// The longest dispatch.
    pub fn longest_ms(&self) -> f64 {
        self.rows.iter().map(|r| r.ms).fold(0.0, f64::max)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let total = self.total_ms();
        let cells = |row: &Row| {
            [
                row.name.clone(),
                row.entry.clone(),
                format!("{:.3}", row.ms),
                format!("{:.2}", row.gflops()),
                format!("{:.2}", row.gbps()),
                format!("{:.1}%", if total > 0.0 { row.ms / total * 100.0 } else { 0.0 }),
            ]
        };
        let rows: Vec<_> = self.rows.iter().map(cells).collect();
        let titles = ["node", "entry", "ms", "GFLOP/s", "GB/s", "share"].map(String::from);
        write_table(f, &titles, &rows, &[2, 3, 4, 5])?;
        let mut cost = Cost::default();
        for row in &self.rows {
            cost += row.cost;
        }
        let clock = match self.clock {
            Clock::Timestamps => "adapter timestamps",
            Clock::Host => "host clock, submission and waiting included",
        };
        write!(
            f,
            "total {total:.3} ms, {:.2} GFLOP/s, {:.2} GB/s, longest dispatch {:.3} ms; median of {} runs by {clock} on {}",
            rate(cost.flops, total),
            rate(cost.bytes, total),
            self.longest_ms(),
            self.runs,
            self.device
        )?;
        if self.untimed_copies > 0 {
            write!(f, "; {} copies to textures are not in the times", self.untimed_copies)?;
        }
        Ok(())
    }
}
