//! `lineament reproduce lmle`: attributes whose classes are of unequal size, by LMLE and by what it is compared with.

mod gender;

use super::super::Common;
use super::super::hallucinate::save;
use super::super::out::{self, note, say};
use super::super::{interrupt, progress};
use super::median_ms;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::files::{self, Existing};
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::vectors::{Classifier, Pca, Rule};
use crate::vision::image::Picture;
use crate::vision::metrics::Confusion;
use crate::vision::models::deepid2::FEATURES;
use crate::vision::training::attributes::chart::{self, Panel};
use crate::vision::training::attributes::data::{Faces, Part};
use crate::vision::training::attributes::linear::{self, Balance};
use crate::vision::training::attributes::metric::{self, Decision, Embedding};
use crate::vision::training::attributes::trunk::{self, Features};
use crate::weights::Weights;
use clap::Args;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
#[command(after_help = "Examples:
  lineament reproduce lmle --data ../shared/data/faces
  lineament reproduce lmle --data celeba/ --out lmle/ --seeds 1
  lineament reproduce lmle --data faces/ --validation --steps 200 --json
  lineament reproduce lmle --data ../shared/data/faces --lfw --out lmle-lfw/

DATA holds CelebA as it is distributed (img_align_celeba, list_attr_celeba.txt, list_eval_partition.txt; 100,000 faces train and 10,000 \
are judged, as in the paper), or celeba8k. For each seed a DeepID2 network learns all attributes at once; linear classifiers and the \
embeddings of LMLE and of triplets stand on its features. Published values are from Huang et al., CVPR 2016. Everything was chosen on \
the validation faces, on which --validation judges; the test faces are for a last look. OUT receives table.md, gain.png, embedding.png \
and the networks, trunk-*.safetensors, from which an interrupted run continues. With --lfw, DATA holds lfw112.tar and lfw_gender.csv, and \
OUT receives table.md and the networks. Run nothing else meanwhile: the last table has times.")]
pub struct Arguments {
    /// Folder of CelebA or of celeba8k.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder of further faces that train but do not judge: LFW with LFWA's attributes.
    #[arg(long, value_name = "DIR", conflicts_with = "lfw")]
    more: Option<PathBuf>,
    /// Folder for the table, the pictures and the networks.
    #[arg(long, value_name = "DIR", default_value = "reproduce/lmle")]
    out: PathBuf,
    /// Overwrite the table and the pictures if they exist.
    #[arg(long)]
    overwrite: bool,
    /// Number of repetitions, each from another seed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Steps of each network.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Steps of each embedding on the features of a network; linear classifiers, which learn longer, take twice as many.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    head_steps: u64,
    /// Judge gender on LFW instead, with women thinned to imbalance levels of 28, 40 and 48 %.
    #[arg(long)]
    lfw: bool,
    /// Judge on the validation faces: for choosing settings.
    #[arg(long)]
    validation: bool,
    #[command(flatten)]
    common: Common,
}

/// The rows of the table, in order. The last four are LMLE with one part left out.
const ROWS: [&str; 12] = [
    "multi-task",
    "multi-task, weighted",
    "softmax",
    "softmax, weighted",
    "softmax, under-sampling",
    "softmax, over-sampling",
    "triplet-kNN",
    "LMLE-kNN",
    "LMLE without quintuplets",
    "LMLE without re-clustering",
    "LMLE without balanced batches",
    "LMLE without clusters in kNN",
];
const SOFTMAX_WEIGHTED: usize = 3;
const TRIPLET: usize = 6;
const LMLE: usize = 7;

/// How LMLE decides, chosen on the validation faces, and the neighbours of a vote by samples.
const CLUSTERS: Decision = Decision::Clusters { cluster: 10_000, k: 20 };
const SAMPLES: Decision = Decision::Samples { k: 20 };

/// How often faces are embedded and clustered during a training.
const REFRESHES: u64 = 3;

/// Imbalance level from which an attribute counts as rare: |share of positive faces − 50 %|.
const RARE: f64 = 40.0;
/// Number of the most balanced attributes.
const BALANCED: usize = 10;

/// Published balanced accuracy in percent of triplet-kNN, ANet and LMLE-kNN: Huang et al. 2016, table 1, by CelebA's names.
const PUBLISHED: [(&str, [u8; 3]); 40] = [
    ("Attractive", [83, 87, 88]),
    ("Mouth_Slightly_Open", [92, 96, 96]),
    ("Smiling", [92, 97, 99]),
    ("Wearing_Lipstick", [91, 95, 99]),
    ("High_Cheekbones", [86, 89, 92]),
    ("Male", [91, 99, 99]),
    ("Heavy_Makeup", [88, 96, 98]),
    ("Wavy_Hair", [77, 81, 83]),
    ("Oval_Face", [61, 67, 68]),
    ("Pointy_Nose", [61, 69, 72]),
    ("Arched_Eyebrows", [73, 76, 79]),
    ("Black_Hair", [82, 90, 92]),
    ("Big_Lips", [55, 57, 60]),
    ("Big_Nose", [68, 78, 80]),
    ("Young", [75, 84, 87]),
    ("Straight_Hair", [63, 69, 73]),
    ("Brown_Hair", [76, 83, 87]),
    ("Bags_Under_Eyes", [63, 70, 73]),
    ("Wearing_Earrings", [69, 83, 83]),
    ("No_Beard", [82, 93, 96]),
    ("Bangs", [81, 90, 98]),
    ("Blond_Hair", [81, 90, 99]),
    ("Bushy_Eyebrows", [68, 82, 82]),
    ("Wearing_Necklace", [50, 59, 59]),
    ("Narrow_Eyes", [47, 57, 59]),
    ("5_o_Clock_Shadow", [66, 81, 82]),
    ("Receding_Hairline", [60, 70, 76]),
    ("Wearing_Necktie", [73, 79, 90]),
    ("Eyeglasses", [82, 95, 98]),
    ("Rosy_Cheeks", [64, 76, 78]),
    ("Goatee", [73, 86, 95]),
    ("Chubby", [64, 70, 79]),
    ("Sideburns", [71, 79, 88]),
    ("Blurry", [43, 56, 59]),
    ("Wearing_Hat", [84, 90, 99]),
    ("Double_Chin", [60, 68, 74]),
    ("Pale_Skin", [63, 77, 80]),
    ("Gray_Hair", [72, 85, 91]),
    ("Mustache", [57, 61, 73]),
    ("Bald", [75, 73, 90]),
];

/// Published means over the 40 attributes of triplet-kNN, ANet and LMLE-kNN, and plain accuracies of the last two: the same table.
const PUBLISHED_MEANS: [(usize, &str, &str); 3] =
    [(0, "80.02 (ANet)", "87.24"), (TRIPLET, "72", "–"), (LMLE, "84.25", "90.35")];

/// Accuracies of one row and seed, as shares.
struct Scores {
    /// Balanced accuracy of each attribute.
    balanced: Vec<f64>,
    /// Plain accuracy over all attributes.
    plain: f64,
}

/// Compares what was found for the faces of a part with their labels.
fn scores(faces: &Faces, part: Part, found: &[bool]) -> Result<Scores> {
    let attributes = faces.attributes.len();
    let (mut balanced, mut plain) = (Vec::new(), 0.0);
    for a in 0..attributes {
        let truth: Vec<usize> = faces.part(part).map(|face| usize::from(faces.has(face, a))).collect();
        let own: Vec<usize> = found[a..].iter().step_by(attributes).map(|has| usize::from(*has)).collect();
        let confusion = Confusion::new(2, &truth, &own)?;
        balanced.push(confusion.balanced_accuracy());
        plain += confusion.accuracy() / attributes as f64;
    }
    Ok(Scores { balanced, plain })
}

/// Returns mean and sample deviation.
fn mean_and_deviation(values: &[f64]) -> [f64; 2] {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0).max(1.0);
    [mean, square.sqrt()]
}

/// Formats the mean over seeds, with the deviation if there are several.
fn with_deviation(values: &[f64]) -> String {
    let [mean, deviation] = mean_and_deviation(values);
    match values.len() {
        _ if mean.is_nan() => "–".to_owned(),
        1 => format!("{mean:.2}"),
        _ => format!("{mean:.2} ± {deviation:.2}"),
    }
}

/// What all seeds share.
struct Run<'a> {
    a: &'a Arguments,
    device: Device,
    faces: Arc<Faces>,
    part: Part,
    /// What tells this set's networks from others in the same folder.
    set: String,
}

impl Run<'_> {
    /// Returns the network of a seed, trained or from a run that was interrupted.
    fn trunk(&self, seed: u64, is_weighted: bool) -> Result<Weights> {
        let choices = trunk::Choices { seed, is_weighted, steps: self.a.steps, ..trunk::Choices::default() };
        let key = format!("{choices:?} {}", self.faces.fingerprint);
        let name = format!("trunk-{}{}{seed}.safetensors", self.set, if is_weighted { "weighted-" } else { "" });
        let path = self.a.out.join(name);
        if path.is_file() {
            let weights = Weights::open(&path)?;
            if weights.manifest().get("key") == Some(&key) {
                return Ok(weights);
            }
        }
        let bar = progress::bar(choices.steps, &format!("steps of network {seed}"));
        let trained = trunk::train(&self.device, &self.faces, &choices, &mut |loss| {
            bar.inc(1);
            bar.set_message(format!("loss {loss:.4}"));
            !interrupt::is_requested()
        });
        bar.finish_and_clear();
        let mut weights = trained?;
        weights.set_manifest("key", key);
        weights.save(&path)?;
        Ok(weights)
    }

    /// Trains what stands on the features of one network and returns the scores of [`ROWS`], with the embeddings of triplets and LMLE.
    fn seed(&self, seed: u64) -> Result<(Vec<Scores>, Arc<Features>, [Embedding; 2])> {
        let (device, faces) = (&self.device, &self.faces);
        let bar = progress::bar(ROWS.len() as u64, &format!("rows of seed {seed}"));
        let mut step = |_| !interrupt::is_requested();
        let asked = faces.part(self.part);
        let of_logits = |logits: &[f32]| {
            let attributes = faces.attributes.len();
            let own = &logits[asked.start * attributes..asked.end * attributes];
            scores(faces, self.part, &own.iter().map(|logit| *logit > 0.0).collect::<Vec<_>>())
        };
        let base = trunk::Choices::default().base;
        let [plain, weighted] = [false, true].map(|is_weighted| {
            bar.suspend(|| self.trunk(seed, is_weighted))
                .and_then(|weights| trunk::features(device, faces, base, weights, seed))
        });
        let (features, weighted) = (Arc::new(plain?), weighted?);
        let mut rows = vec![of_logits(&features.logits)?, of_logits(&weighted.logits)?];
        bar.inc(2);
        for how in [Balance::None, Balance::Weights, Balance::UnderSampling, Balance::OverSampling] {
            let choices = linear::Choices { how, steps: 2 * self.a.head_steps, seed };
            rows.push(of_logits(&linear::logits(device, faces, &features, &choices, &mut step)?)?);
            bar.inc(1);
        }
        let steps = self.a.head_steps;
        let lmle = metric::Choices { seed, steps, refresh: steps.div_ceil(REFRESHES), ..metric::Choices::default() };
        let triplet = metric::Choices { is_quintuplet: false, is_balanced: false, ..lmle };
        let mut embed = |choices: metric::Choices| metric::train(device, faces, &features, &choices, &mut step);
        let classify = |embedding: &Embedding, decision| {
            let found = metric::classify(device, faces, embedding, self.part, decision, seed)?;
            scores(faces, self.part, &found)
        };
        let embeddings = [embed(triplet)?, embed(lmle)?];
        rows.push(classify(&embeddings[0], SAMPLES)?);
        rows.push(classify(&embeddings[1], CLUSTERS)?);
        bar.inc(2);
        for choices in [
            metric::Choices { is_quintuplet: false, ..lmle },
            metric::Choices { refresh: lmle.steps, ..lmle },
            metric::Choices { is_balanced: false, ..lmle },
        ] {
            rows.push(classify(&embed(choices)?, CLUSTERS)?);
            bar.inc(1);
        }
        rows.push(classify(&embeddings[1], SAMPLES)?);
        bar.finish_and_clear();
        Ok((rows, features, embeddings))
    }
}

pub fn run(a: &Arguments) -> Result<u8> {
    if a.lfw {
        return gender::run(a);
    }
    let existing = Existing::overwrite(a.overwrite);
    std::fs::create_dir_all(&a.out).map_err(|e| Error::io(&a.out, e))?;
    let outputs = ["table.md", "gain.png", "embedding.png"].map(|name| a.out.join(name));
    outputs.iter().try_for_each(|path| files::check_output(path, existing))?;
    let device = a.common.open()?;
    let faces = Arc::new(progress::faces_and_more(&a.data, a.more.as_deref())?);
    let part = if a.validation { Part::Validation } else { Part::Test };
    say!("{} on {}", out::count(faces.part(Part::Test).end, "face"), device.describe());
    let run = Run { a, device, faces: faces.clone(), part, set: String::new() };
    let mut all: Vec<Vec<Scores>> = Vec::new();
    let mut last = None;
    for seed in 1..=a.seeds {
        let (rows, features, embeddings) = run.seed(seed)?;
        note!("seed {seed}: LMLE-kNN {:.2} % balanced", 100.0 * mean_and_deviation(&rows[LMLE].balanced)[0]);
        all.push(rows);
        last = Some((features, embeddings));
    }
    let groups = Groups::of(&faces);
    let mut table = format!("{}\n{}", overview(&all, &groups), details(&faces, &all, &groups));
    let (features, embeddings) = last.ok_or(Error::Interrupted)?;
    let rule = run.rule(&embeddings[1], &groups)?;
    let _ = write!(table, "\n{}", rule.text());
    say!("\n{table}");
    files::write_whole(&outputs[0], existing, |file| {
        file.write_all(table.as_bytes()).map_err(|e| Error::io(&outputs[0], e))
    })?;
    save(&gain(&all, &groups)?, &outputs[1], existing)?;
    save(&run.plane(&features, &embeddings, &groups)?, &outputs[2], existing)?;
    say!("wrote {}", outputs.iter().map(out::shown).collect::<Vec<_>>().join(", "));
    if a.common.json {
        let rows: Map<String, Value> =
            ROWS.iter().enumerate().map(|(k, row)| (row.to_string(), json_of(&all, k, &groups))).collect();
        let times: Vec<Value> =
            rule.times.iter().map(|[n, c, s]| json!({ "samples": n, "clusters_ms": c, "samples_ms": s })).collect();
        let object = json!({
            "data": out::path(&a.data), "fingerprint": faces.fingerprint, "judged": if a.validation { "validation" } else { "test" },
            "attributes": faces.attributes, "levels": groups.levels, "rows": rows, "agreement": rule.agreement,
            "knn": times, "files": outputs.iter().map(out::path).collect::<Vec<_>>(), "device": run.device.describe(),
        });
        out::json(&object);
    }
    Ok(0)
}

/// Clusters against samples in kNN.
struct Comparison {
    /// Share of decisions that are the same.
    agreement: f64,
    /// Samples, and the milliseconds of 1,000 decisions by clusters and by samples.
    times: Vec<[f64; 3]>,
}

impl Comparison {
    fn text(&self) -> String {
        let mut text = format!(
            "kNN by clusters decides as kNN by samples in {:.2} % of cases.\n\n| samples | by clusters ms | by samples ms |\n|---|---|---|\n",
            100.0 * self.agreement
        );
        for [samples, by_clusters, by_samples] in &self.times {
            let _ = writeln!(text, "| {samples} | {by_clusters:.1} | {by_samples:.1} |");
        }
        text
    }
}

/// Numbers of samples for the times, and vectors that are looked up among them.
const SAMPLE_COUNTS: [usize; 4] = [1000, 3000, 6000, 13_000];
const LOOKED_UP: usize = 1000;
const SAMPLES_PER_CLUSTER: usize = 200;

impl Run<'_> {
    /// Compares kNN by clusters with kNN by samples: the decisions of LMLE, and times with random vectors, a cluster for every
    /// [`SAMPLES_PER_CLUSTER`] samples as in the paper.
    fn rule(&self, embedding: &Embedding, groups: &Groups) -> Result<Comparison> {
        let decide = |decision| metric::classify(&self.device, &self.faces, embedding, self.part, decision, 1);
        let [by_clusters, by_samples] = [decide(CLUSTERS)?, decide(SAMPLES)?];
        let same = by_clusters.iter().zip(&by_samples).filter(|(a, b)| a == b).count();
        let agreement = same as f64 / by_clusters.len() as f64;
        let (d, mut rng) = (embedding.attributes[groups.balanced[0]].shape()[1], Rng::new(1));
        let mut vectors = |n: usize| Tensor::new([n, d], (0..n * d).map(|_| rng.normal() as f32).collect::<Vec<f32>>());
        let asked = vectors(LOOKED_UP)?;
        let mut times = Vec::new();
        for n in SAMPLE_COUNTS {
            let mut ms = |known: usize, rule| -> Result<f64> {
                let classes: Vec<usize> = (0..known).map(|k| k % 2).collect();
                let classifier = Classifier::new(&self.device, &vectors(known)?, &classes, 20, rule)?;
                median_ms(3, || classifier.classify(&asked).map(|_| ()))
            };
            times.push([n as f64, ms(n / SAMPLES_PER_CLUSTER, Rule::Margin)?, ms(n, Rule::Vote)?]);
        }
        Ok(Comparison { agreement, times })
    }

    /// Draws the judged faces in two dimensions, by the rarest attribute that ten of them have: the network's features, and the
    /// embeddings by triplets and by quintuplets, each along its two principal components.
    fn plane(&self, features: &Features, embeddings: &[Embedding; 2], groups: &Groups) -> Result<Picture> {
        let (faces, part) = (&self.faces, self.faces.part(self.part));
        let count = |a: usize| part.clone().filter(|&face| faces.has(face, a)).count();
        let attribute = groups.rare.iter().rev().copied().find(|&a| count(a) >= 10).unwrap_or(groups.balanced[0]);
        let all = features.plain.len() / FEATURES;
        // Of length 1, as embeddings are; a feature that seldom fires would be all that one sees.
        let lengths =
            features.plain.chunks(FEATURES).map(|row| row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6));
        let directions =
            features.plain.chunks(FEATURES).zip(lengths).flat_map(|(row, length)| row.iter().map(move |v| v / length));
        let spaces = [
            ("features of the network", Tensor::new([all, FEATURES], directions.collect::<Vec<f32>>())?),
            ("triplets", embeddings[0].attributes[attribute].clone()),
            ("quintuplets", embeddings[1].attributes[attribute].clone()),
        ];
        let mut panels = Vec::new();
        for (name, vectors) in spaces {
            let d = vectors.shape()[1];
            let own = Tensor::new([part.len(), d], vectors.data()[part.start * d..part.end * d].to_vec())?;
            let flat = Pca::new(&self.device, &own, 2)?.transform(&own)?;
            let of = |wanted: bool| {
                let points =
                    flat.data().chunks(2).zip(part.clone()).filter(|(_, face)| faces.has(*face, attribute) == wanted);
                points.map(|(point, _)| [f64::from(point[0]), f64::from(point[1])]).collect::<Vec<_>>()
            };
            let title = format!("{}: {name}", faces.attributes[attribute].replace('_', " "));
            let series = vec![("without".to_owned(), of(false)), ("with".to_owned(), of(true))];
            panels.push(Panel { title, axes: None, series, has_zero: false });
        }
        chart::draw("embedding", &panels, [400, 400])
    }
}

/// Draws how much better LMLE is than the multi-task network and the weighted one, over the imbalance of attributes.
fn gain(all: &[Vec<Scores>], groups: &Groups) -> Result<Picture> {
    let mean =
        |row: usize, a: usize| all.iter().map(|rows| 100.0 * rows[row].balanced[a]).sum::<f64>() / all.len() as f64;
    let over =
        |row: usize| (0..groups.levels.len()).map(|a| [groups.levels[a], mean(LMLE, a) - mean(row, a)]).collect();
    let panel = |title: &str, row: usize| Panel {
        title: title.into(),
        axes: Some(["imbalance level".into(), "points of balanced accuracy".into()]),
        series: vec![(String::new(), Vec::new()), (String::new(), over(row))],
        has_zero: true,
    };
    let panels =
        [panel("LMLE-kNN over the multi-task network", 0), panel("LMLE-kNN over weighted softmax", SOFTMAX_WEIGHTED)];
    chart::draw("gain", &panels, [480, 360])
}

/// Returns the numbers of a row for programs, as shares.
fn json_of(all: &[Vec<Scores>], row: usize, groups: &Groups) -> Value {
    let every: Vec<usize> = (0..groups.levels.len()).collect();
    let of = |f: &dyn Fn(&Scores) -> f64| {
        let [mean, deviation] = mean_and_deviation(&all.iter().map(|rows| f(&rows[row])).collect::<Vec<_>>());
        json!({ "mean": mean, "deviation": deviation })
    };
    let attributes: Vec<f64> =
        every.iter().map(|&a| all.iter().map(|rows| rows[row].balanced[a]).sum::<f64>() / all.len() as f64).collect();
    json!({
        "balanced": of(&|s| share(&s.balanced, &every)), "rare": of(&|s| share(&s.balanced, &groups.rare)),
        "most_balanced": of(&|s| share(&s.balanced, &groups.balanced)), "plain": of(&|s| s.plain), "attributes": attributes,
    })
}

/// Attributes by their imbalance.
struct Groups {
    levels: Vec<f64>,
    rare: Vec<usize>,
    balanced: Vec<usize>,
}

impl Groups {
    fn of(faces: &Faces) -> Self {
        let levels: Vec<f64> = faces.rates().iter().map(|rate| (100.0 * rate - 50.0).abs()).collect();
        let mut order: Vec<usize> = (0..levels.len()).collect();
        order.sort_by(|a, b| levels[*a].total_cmp(&levels[*b]));
        let rare = order.iter().copied().filter(|&a| levels[a] >= RARE).collect();
        Self { rare, balanced: order.into_iter().take(BALANCED).collect(), levels }
    }
}

fn share(values: &[f64], of: &[usize]) -> f64 {
    of.iter().map(|&a| values[a]).sum::<f64>() / of.len() as f64
}

/// Returns the table of means over attributes, in percent.
fn overview(all: &[Vec<Scores>], groups: &Groups) -> String {
    let mut table = format!(
        "| row | balanced % | published | {} rare | {BALANCED} balanced | plain % | published |\n|---|---|---|---|---|---|---|\n",
        groups.rare.len()
    );
    let every: Vec<usize> = (0..groups.levels.len()).collect();
    for (k, row) in ROWS.iter().enumerate() {
        let text = |f: &dyn Fn(&Scores) -> f64| {
            let values: Vec<f64> = all.iter().map(|rows| 100.0 * f(&rows[k])).collect();
            with_deviation(&values)
        };
        let published = PUBLISHED_MEANS.iter().find(|(row, ..)| *row == k);
        let _ = writeln!(
            table,
            "| {row} | {} | {} | {} | {} | {} | {} |",
            text(&|s| share(&s.balanced, &every)),
            published.map_or("–", |p| p.1),
            text(&|s| share(&s.balanced, &groups.rare)),
            text(&|s| share(&s.balanced, &groups.balanced)),
            text(&|s| s.plain),
            published.map_or("–", |p| p.2),
        );
    }
    table
}

/// Returns the table per attribute, in the order of imbalance, with means over the seeds.
fn details(faces: &Faces, all: &[Vec<Scores>], groups: &Groups) -> String {
    let mut table = String::from(
        "| attribute | level | triplet-kNN | multi-task | softmax, weighted | LMLE-kNN | published: triplet, ANet, LMLE |\n|---|---|---|---|---|---|---|\n",
    );
    let mut order: Vec<usize> = (0..groups.levels.len()).collect();
    order.sort_by(|a, b| groups.levels[*a].total_cmp(&groups.levels[*b]));
    for a in order {
        let name = &faces.attributes[a];
        let mean = |row: usize| all.iter().map(|rows| 100.0 * rows[row].balanced[a]).sum::<f64>() / all.len() as f64;
        let published = PUBLISHED.iter().find(|(known, _)| known == name);
        let published = published.map_or_else(|| "–".into(), |(_, [t, n, l])| format!("{t}, {n}, {l}"));
        let [triplet, network, weighted, lmle] = [TRIPLET, 0, SOFTMAX_WEIGHTED, LMLE].map(mean);
        let _ = writeln!(
            table,
            "| {} | {:.0} | {triplet:.1} | {network:.1} | {weighted:.1} | {lmle:.1} | {published} |",
            name.replace('_', " "),
            groups.levels[a]
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_those_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 2.0, 3.0]), [2.0, 1.0]);
        assert_eq!(mean_and_deviation(&[5.0]), [5.0, 0.0]);
    }

    #[test]
    fn the_published_table_agrees_with_its_published_means() {
        let mean = |k: usize| PUBLISHED.iter().map(|(_, row)| f64::from(row[k])).sum::<f64>() / 40.0;
        // 72 is rounded, the others have their decimals in the paper.
        assert!((mean(0) - 72.0).abs() <= 0.5, "{}", mean(0));
        assert!((mean(1) - 80.02).abs() <= 0.5, "{}", mean(1));
        assert!((mean(2) - 84.25).abs() <= 0.5, "{}", mean(2));
    }
}
