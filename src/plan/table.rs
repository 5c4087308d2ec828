//! Formats a plan as a table.

use super::{Binding, Plan};
use crate::table::{self, Column};
use std::fmt;

/// Formats a table of the steps; a precision sets its maximum width: `{plan:.80}`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let rows: Vec<[String; 7]> = self
            .steps
            .iter()
            .enumerate()
            .map(|(i, step)| {
                let part = |written: bool| -> Vec<&Binding> {
                    step.bindings.iter().filter(|b| b.written == written).collect()
                };
                let reads = part(false)
                    .iter()
                    .map(|b| format!("{}:{}", b.variable, self.values[b.value].place()))
                    .collect::<Vec<_>>();
                let writes = part(true)
                    .iter()
                    .map(|b| {
                        let value = &self.values[b.value];
                        let sizes: Vec<String> = value.shape.iter().map(usize::to_string).collect();
                        format!("{}:{} [{}]", b.variable, value.place(), sizes.join(","))
                    })
                    .collect::<Vec<_>>();
                [
                    i.to_string(),
                    step.name.clone(),
                    format!("{}.{}", step.stem(), step.entry),
                    reads.join(" "),
                    writes.join(" "),
                    format!("{:.2}", step.cost.flops as f64 / 1e6),
                    format!("{:.1}", step.cost.bytes as f64 / 1e3),
                ]
            })
            .collect();
        let columns = [
            Column::numbers("step", 0),
            Column::words("node", 0),
            Column::words("entry", 0),
            Column::words("reads (variable:slot)", 2),
            Column::words("writes", 1),
            Column::numbers("MFLOP", 0),
            Column::numbers("kB", 0),
        ];
        let width = f.precision().unwrap_or(usize::MAX);
        table::write(f, &columns, &rows, width)?;
        let cost = self.cost();
        write!(
            f,
            "total {} steps, {:.2} MFLOP, {:.2} MB traffic, {} slots, {:.2} MB peak ({} bytes)",
            self.steps.len(),
            cost.flops as f64 / 1e6,
            cost.bytes as f64 / 1e6,
            self.slots.len(),
            self.peak_bytes() as f64 / 1e6,
            self.peak_bytes()
        )?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}
