//! The runs that train the whole cascade, one after the other, and the weights of all of them in one file.

use super::run::{Config, Kind};
use crate::error::Result;
use crate::vision::models::bands::{BANDS, Stage};
use crate::weights::Weights;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A run of [`runs`].
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    pub config: Config,
    /// Which network of the cascade has its weights; `None` if another run only begins there.
    pub stage: Option<Stage>,
}

impl Run {
    /// Returns where the run writes its weights.
    pub fn weights(&self) -> PathBuf {
        self.folder.join("weights.safetensors")
    }
}

/// Returns the runs of a cascade in the folder `out`, in their order. Of `base`, data, terms and checkpoints count, and its steps and windows
/// are the most that a run has.
///
/// Each band learns to propose windows, again with what it took for faces, and then to judge them. The third begins where the second one
/// has begun. The networks of the third and the fourth see the same, reduced twice and four times, and are trained once.
pub fn runs(base: &Config, out: &Path) -> Vec<Run> {
    let mut all = Vec::new();
    let mut run = |band: usize, name: &str, stage: Option<Stage>, config: Config| {
        let folder = out.join(format!("band{band}-{name}"));
        let (steps, windows) = (config.steps.min(base.steps), config.windows.min(base.windows));
        let (data, data_terms) = (base.data.clone(), base.data_terms.clone());
        let checkpoint_every = base.checkpoint_every;
        let config = Config { band, data, data_terms, checkpoint_every, steps, windows, ..config };
        all.push(Run { folder, config, stage });
    };
    let weights = |band: usize, name: &str| Some(out.join(format!("band{band}-{name}/weights.safetensors")));
    let first_like = |band: usize| 1 + BANDS.iter().take_while(|b| b.at_input() != BANDS[band - 1].at_input()).count();
    for band in (1..=BANDS.len()).filter(|&band| first_like(band) == band) {
        let is_first = band <= 2;
        // The first band's patches are small.
        let config = Config { batch: if band == 1 { 128 } else { 64 }, ..Config::default() };
        if is_first {
            run(band, "begin", None, Config { seed: 1, steps: 3000, ..config.clone() });
        }
        let origin = if is_first { weights(band, "begin") } else { weights(2, "begin") };
        let again = Config {
            seed: 2,
            steps: if is_first { 1500 } else { 1000 },
            lr: 1e-3,
            windows: 100_000,
            init: origin.clone(),
            mistakes_of: origin,
            ..config.clone()
        };
        run(band, "proposals", Some(Stage::Propose), again);
        let judge = Config {
            stage: Kind::Judge,
            seed: 3,
            steps: if is_first { 3000 } else { 1500 },
            lr: if is_first { config.lr } else { 1e-3 },
            windows: if band == 1 { 200_000 } else { 100_000 },
            init: weights(band, "proposals"),
            mistakes_of: weights(band, "proposals"),
            ..config
        };
        run(band, "judgements", Some(Stage::Judge), judge);
    }
    all
}

/// Joins the weights of finished runs into those of a cascade. What all of their manifests say alike, its manifest says; what they do not,
/// it says of each.
///
/// # Errors
/// A file is missing or broken.
pub fn joined(runs: &[Run]) -> Result<Weights> {
    let (mut tensors, mut manifest) = (BTreeMap::new(), BTreeMap::new());
    let mut parts = Vec::new();
    for run in runs {
        let Some(stage) = run.stage else { continue };
        let weights = Weights::open(run.weights())?;
        let own = BANDS[run.config.band - 1].at_input();
        for (k, _) in BANDS.iter().enumerate().filter(|(_, band)| band.at_input() == own) {
            parts.push((stage.prefix(k + 1), weights.clone()));
        }
    }
    let mut measured = Vec::new();
    for (prefix, weights) in &parts {
        for (key, value) in weights.manifest() {
            let is_common = parts.iter().all(|(_, other)| other.manifest().get(key) == Some(value));
            manifest.insert(if is_common { key.clone() } else { format!("{prefix}{key}") }, value.clone());
        }
        tensors.extend(weights.tensors().iter().map(|(name, t)| (format!("{prefix}{name}"), t.clone())));
        let said = weights.manifest().get("measured").and_then(|text| text.split(';').next());
        measured.push(format!("{}: {}", prefix.trim_end_matches('.'), said.unwrap_or("not measured")));
    }
    manifest.insert("model".to_owned(), "faces".to_owned());
    manifest.insert("measured".to_owned(), measured.join("; "));
    Ok(Weights::new("the cascade", tensors, manifest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn every_run_begins_where_one_before_it_ends() {
        let base = Config { data: "faces".into(), steps: 2000, checkpoint_every: 7, ..Config::default() };
        let all = runs(&base, Path::new("out"));
        let parts: Vec<String> = all.iter().filter_map(|run| Some(run.stage?.prefix(run.config.band))).collect();
        let wanted = (1..=3).flat_map(|band| [Stage::Propose, Stage::Judge].map(|stage| stage.prefix(band)));
        assert_eq!(parts, wanted.collect::<Vec<_>>());
        for (k, run) in all.iter().enumerate() {
            run.config.check().unwrap();
            assert!(run.config.steps <= 2000 && run.config.checkpoint_every == 7);
            for origin in [&run.config.init, &run.config.mistakes_of].into_iter().flatten() {
                let of = all[..k].iter().find(|before| before.weights() == *origin).unwrap();
                assert_eq!(of.config.stage, Kind::Propose);
                // Band 3 begins with band 2's.
                assert!(
                    of.config.band == run.config.band || (of.config.band == 2 && run.config.stage == Kind::Propose)
                );
            }
        }
    }

    #[test]
    fn a_cascade_has_the_tensors_of_all_and_says_what_each_says() {
        let folder = tempfile::tempdir().unwrap();
        let all = runs(&Config::default(), folder.path());
        for run in all.iter().filter(|run| run.stage.is_some()) {
            std::fs::create_dir_all(&run.folder).unwrap();
            let mut weights = Weights::default();
            weights.insert("top1.b", Tensor::filled([1, 1, 1, 1], run.config.band as f32));
            for (key, value) in [("model", "x"), ("licence", "MIT"), ("seed", &run.config.seed.to_string())] {
                weights.set_manifest(key, value);
            }
            weights.set_manifest("measured", "99 % area; more");
            weights.save(run.weights()).unwrap();
        }
        let cascade = joined(&all).unwrap();
        assert_eq!(cascade.tensors().len(), 8);
        for band in [3, 4] {
            assert_eq!(cascade.get(&format!("band{band}.judgements.top1.b")).unwrap().data(), [3.0]);
        }
        let said = |key: &str| cascade.manifest().get(key).map(String::as_str);
        assert_eq!(
            (said("model"), said("licence"), said("band4.judgements.licence")),
            (Some("faces"), Some("MIT"), None)
        );
        assert_eq!((said("seed"), said("band4.judgements.seed")), (None, Some("3")));
        assert!(said("measured").unwrap().starts_with("band1.proposals: 99 % area; band1.judgements: 99 % area; "));
        std::fs::remove_file(all[1].weights()).unwrap();
        assert!(joined(&all).unwrap_err().to_string().contains("band1-proposals"));
    }
}
