//! Gender on LFW, with one class thinned to several levels of imbalance.

use super::{Arguments, LMLE, ROWS, Run, Scores, with_deviation};
use crate::cli::out::{self, note, say};
use crate::cli::progress;
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::vision::training::attributes::data::{Faces, Part};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

/// Imbalance levels in percent: |share − 50 %|. The first is about that of LFW itself.
const LEVELS: [f64; 3] = [28.0, 40.0, 48.0];

pub fn run(a: &Arguments) -> Result<u8> {
    let existing = Existing::overwrite(a.overwrite);
    std::fs::create_dir_all(&a.out).map_err(|e| Error::io(&a.out, e))?;
    let file = a.out.join("table.md");
    files::check_output(&file, existing)?;
    let device = a.common.open()?;
    let faces = progress::faces(|tell| Faces::lfw(&a.data, tell))?;
    let part = if a.validation { Part::Validation } else { Part::Test };
    say!("{} on {}", out::count(faces.part(Part::Test).end, "face"), device.describe());
    // For each level and seed the scores of the rows.
    let mut all: Vec<Vec<Vec<Scores>>> = Vec::new();
    for level in LEVELS {
        let mut seeds = Vec::new();
        for seed in 1..=a.seeds {
            let faces = Arc::new(faces.thinned(0, level, seed));
            let set = format!("lfw{level}-");
            let run = Run { a, device: device.clone(), faces, part, set };
            let (rows, ..) = run.seed(seed)?;
            note!("level {level}, seed {seed}: LMLE-kNN {:.2} % balanced", 100.0 * rows[LMLE].balanced[0]);
            seeds.push(rows);
        }
        all.push(seeds);
    }
    let table = table(&all);
    say!("\n{table}");
    files::write_whole(&file, existing, |out| out.write_all(table.as_bytes()).map_err(|e| Error::io(&file, e)))?;
    say!("wrote {}", out::shown(&file));
    if a.common.json {
        let of_row = |k: usize| {
            let balanced: Vec<Vec<f64>> =
                all.iter().map(|seeds| seeds.iter().map(|rows| rows[k].balanced[0]).collect()).collect();
            json!({ "row": ROWS[k], "balanced": balanced })
        };
        let rows: Vec<Value> = (0..ROWS.len()).map(of_row).collect();
        out::json(&json!({
            "data": out::path(&a.data), "fingerprint": faces.fingerprint, "levels": LEVELS, "rows": rows, "file": out::path(&file),
            "judged": if a.validation { "validation" } else { "test" }, "device": device.describe(),
        }));
    }
    Ok(0)
}

/// Returns the balanced accuracy of each row at each level, in percent.
fn table(all: &[Vec<Vec<Scores>>]) -> String {
    let mut table = String::from("| row, balanced % |");
    LEVELS.iter().for_each(|level| {
        let _ = write!(table, " level {level} |");
    });
    table += "\n|---|---|---|---|\n";
    for (k, row) in ROWS.iter().enumerate() {
        let _ = write!(table, "| {row} |");
        for seeds in all {
            let values: Vec<f64> = seeds.iter().map(|rows| 100.0 * rows[k].balanced[0]).collect();
            let _ = write!(table, " {} |", with_deviation(&values));
        }
        table.push('\n');
    }
    table
}
