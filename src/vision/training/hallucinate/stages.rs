//! The stages of a level: E_k, f_k, the networks, I_k.

use super::super::curves;
use super::examples::{Examples, Training};
use super::objective::{WARMUP, objective, rule};
use super::parts::{Part, Place, at};
use super::{Config, Observer};
use crate::error::{Error, Result};
use crate::exec::{Device, Network};
use crate::graph::{Graph, NodeId};
use crate::tensor::Tensor;
use crate::train::choices;
use crate::train::history::History;
use crate::train::optimizer::{Decay, Schedule};
use crate::train::{Folder, Hooks, Job, Progress};
use crate::vision::metrics::mean_landmark_error;
use crate::vision::models::cbn::alignment::{self, Method};
use crate::vision::models::cbn::bases::Bases;
use crate::vision::models::cbn::cascade::{Alignment, Cascade, Fitted, Variant, weights_of};
use crate::vision::models::cbn::descriptor::Descriptor;
use crate::vision::models::cbn::network::{self, Correspondence, LevelConfig};
use crate::vision::tasks::hallucinate::align::{Recipe, Regressor};
use crate::vision::tasks::hallucinate::faces::Face;
use crate::vision::tasks::hallucinate::{batches, priors, sheet};
use crate::weights::Weights;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A run in progress.
pub struct Run<'a, 'b> {
    pub config: &'a Config,
    pub device: &'a Device,
    pub folder: &'a Folder,
    pub fingerprint: String,
    pub faces: Training,
    pub observer: &'a mut Observer<'b>,
    /// Number of steps of the finished parts.
    pub done: u64,
    pub cascade: Cascade,
    /// Initial weights of the networks, or some of them.
    pub init: Option<Weights>,
    pub weights: BTreeMap<String, Tensor>,
    pub manifest: Vec<(String, String)>,
}

/// Returns the name of a part of step `index` (from 0) in that file.
fn step_part(part: &str, index: usize) -> String {
    if index == 0 { part.to_owned() } else { format!("{part}{}", index + 1) }
}

/// Returns the name of the file of f_k and p_k, `k` from 0.
fn fitted_name(k: usize) -> String {
    format!("level{}/fitted.safetensors", k + 1)
}

impl Run<'_, '_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens the file `name` if it exists, and refuses it if it was made from other data.
    fn made(&self, name: &str) -> Result<Option<Weights>> {
        let path = self.path(name);
        if !path.is_file() {
            return Ok(None);
        }
        let weights = Weights::open(&path)?;
        if weights.manifest().get("data_sha256") != Some(&self.fingerprint) {
            let problem =
                "was made with other data: a file was added, changed or removed since; restore it or start anew";
            return Err(Error::weights(path.display().to_string(), problem));
        }
        Ok(Some(weights))
    }

    fn make(&self, name: &str, tensors: BTreeMap<String, Tensor>) -> Result<Weights> {
        let mut weights = Weights::from_tensors(tensors);
        weights.set_manifest("data_sha256", self.fingerprint.clone());
        weights.save(self.path(name))?;
        Ok(weights)
    }

    /// Creates the log, which marks that a run has begun.
    pub fn begin_log(&self) -> Result<()> {
        self.append_to_log("")
    }

    /// Appends a line to the log.
    fn log(&self, line: &Value) -> Result<()> {
        self.append_to_log(&format!("{line}\n"))
    }

    fn append_to_log(&self, text: &str) -> Result<()> {
        let path = self.folder.log();
        let io = |e| Error::io(&path, e);
        let mut file = std::fs::File::options().create(true).append(true).open(&path).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)
    }

    /// Prepares every part without training it.
    ///
    /// # Errors
    /// A network has no initial weights; a step takes more memory than there is.
    pub fn rehearse(&self, places: &[Place]) -> Result<()> {
        let config = &self.cascade.config;
        let mut shared = BTreeMap::new();
        for &place in places {
            let level = &config.levels[place.level];
            let size @ [n, _] = self.batch(place);
            // Each face has its own planes and its own copy of the prior.
            let planes = [n, level.side, level.side, 4 + config.contours];
            if planes.into_iter().try_fold(4usize, usize::checked_mul).is_none_or(|bytes| bytes > MAX_BATCH_BYTES) {
                return Err(Error::Usage(format!(
                    "--batch {n} of faces of {} pixels takes more than {} MiB; give fewer",
                    level.side,
                    MAX_BATCH_BYTES >> 20
                )));
            }
            // The values of a prior affect neither networks nor plans.
            let prior = Tensor::zeros([1, config.contours, level.side, level.side]);
            let common = self.shares_common(place).then(|| shared.get(&place.k).cloned()).flatten();
            let start = self.start(place, common);
            let mut known = BTreeMap::new();
            for (index, part) in place.parts(self.config).into_iter().enumerate() {
                let (_, rule) = rule(self.config, level, part);
                let mut graph = Graph::new();
                objective(&mut graph, level, &prior, size, part, self.faces.more.is_some())?;
                let initial = self.initial(place, index, &graph, [&known, &start])?;
                if !self.trained(place, part).is_file() {
                    let network = self.network(level, &prior, size, part, Weights::from_tensors(initial.clone()));
                    network.train(rule)?.plan(&[])?;
                }
                if place.variant == Variant::Full && part == Part::Common {
                    shared.insert(place.k, initial.clone());
                }
                known.extend(initial);
            }
        }
        Ok(())
    }

    /// Returns the E_k: those of the file, or new ones.
    pub fn priors(&mut self) -> Result<Vec<Tensor>> {
        let sides: Vec<usize> = self.cascade.config.levels.iter().map(|l| l.side).collect();
        let name = |side: usize| format!("prior_{side}");
        let weights = match self.made("prior.safetensors")? {
            Some(weights) => weights,
            None => {
                let (_, found) =
                    priors::fit(self.device, &self.cascade.shape, &self.faces.marked, &self.cascade.config)?;
                for prior in &found {
                    let largest = prior.map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
                    let map: Vec<f32> = prior.map.iter().map(|v| v / largest).collect();
                    let channels = prior.channels.data().chunks_exact(prior.side * prior.side);
                    let row: Vec<&[f32]> = std::iter::once(&map[..]).chain(channels).collect();
                    sheet::grid("prior", prior.side, &[], &[row])?
                        .save(self.path(&format!("{}.png", name(prior.side))))?;
                }
                self.make("prior.safetensors", found.into_iter().map(|p| (name(p.side), p.channels)).collect())?
            }
        };
        let lacks = || Error::weights(weights.name(), "lacks a level; remove it and resume");
        sides.iter().map(|&side| weights.get(&name(side)).cloned().ok_or_else(lacks)).collect()
    }

    /// Returns whether everything of `place` is made, so that its level's input need not be computed again.
    pub fn is_made(&self, place: Place) -> Result<bool> {
        let is_aligned = place.variant != Variant::Full || self.made(&fitted_name(place.k))?.is_some();
        Ok(is_aligned && place.parts(self.config).into_iter().all(|part| self.trained(place, part).is_file()))
    }

    /// Fits f_k on I_{k−1} `before` of the faces with landmarks, and returns p_k of all faces. For a face with landmarks, p_k
    /// comes from a step that was fitted without the face.
    pub fn align(&mut self, k: usize, before: &[Vec<f32>], p: &[Vec<f64>], prior: &Tensor) -> Result<Vec<Vec<f64>>> {
        let shape = &self.cascade.shape;
        let (n, name) = (shape.len(), fitted_name(k));
        let side = self.cascade.config.side_before(k);
        // Copies that are only jittered for the networks are placed like their originals.
        let fits_copies = self.config.movement()?.is_some();
        // The first step finds the similarity; those after it read the picture without it.
        let upright = |side| Descriptor { upright: Some(side), ..Descriptor::default() };
        let steps = match (fits_copies, k) {
            (false, _) => vec![Descriptor::default()],
            (true, 0) => vec![Descriptor::default(), upright(2 * side)],
            (true, _) => vec![upright(side)],
        };
        let weights = match self.made(&name)? {
            Some(weights) => weights,
            None => {
                self.folder.part(&format!("level{}", k + 1))?;
                let seed = self.config.seed.wrapping_add(k as u64);
                let recipe = |descriptor| Recipe { descriptor, method: Method::Direct, starts: 1, spread: 1.0, seed };
                let mut shown: Vec<(&Face, usize)> =
                    self.faces.marked.iter().enumerate().map(|(k, face)| (face, k / 2)).collect();
                if fits_copies {
                    shown.extend(self.faces.moved.iter().map(|copy| (&copy.face, copy.of / 2)));
                }
                let truth: Vec<Vec<f64>> = shown.iter().map(|(f, _)| shape.coefficients(&f.points)).collect();
                let (count, shows): (usize, Vec<usize>) = (shown.len(), shown.iter().map(|(_, of)| *of).collect());
                let (marked, whole) = (self.faces.marked.len(), self.faces.whole());
                let (mut found, mut rest) = (p[..count].to_vec(), p[whole..].to_vec());
                let mut tensors = BTreeMap::new();
                for (index, &descriptor) in steps.iter().enumerate() {
                    let seen = [&found[..], &truth[..]];
                    let (f, moved) =
                        Regressor::fit(self.device, shape, &before[..count], side, seen, &shows, &recipe(descriptor))?;
                    found = moved;
                    if !rest.is_empty() {
                        rest = f.apply(self.device, shape, &before[whole..], &rest)?;
                    }
                    let of = |range: Range<usize>| {
                        let points = |k: usize| (&shown[k].0.points[..], shape.landmarks(&found[k]));
                        mean_landmark_error(range.map(points))
                    };
                    let error = of(0..marked)?;
                    let mut line = json!({ "part": format!("level{}/f", k + 1), "landmark_error_left_out": error });
                    let mut text = format!("f_{}: landmark error {error:.4} on faces left out", k + 1);
                    if steps.len() > 1 {
                        line["step"] = json!(index + 1);
                        text = text.replacen(':', &format!(", step {}:", index + 1), 1);
                    }
                    if fits_copies {
                        let error = of(marked..count)?;
                        line["landmark_error_moved"] = json!(error);
                        text += &format!(", {error:.4} on their moved copies");
                    }
                    self.log(&line)?;
                    (self.observer.tell)(&text);
                    tensors.insert(step_part("r", index), f.step.r);
                    tensors.insert(step_part("b", index), f.step.b);
                }
                if !fits_copies {
                    found.extend(self.faces.moved.iter().map(|copy| copy.p(shape, &found)).collect::<Vec<_>>());
                }
                found.extend(rest);
                let flat = found.iter().flatten().map(|v| *v as f32).collect();
                tensors.insert("p".to_owned(), Tensor::new([found.len(), n, 1, 1], flat)?);
                self.make(&name, tensors)?
            }
        };
        let get = |part: &str| {
            let lacks = || Error::weights(weights.name(), format!("lacks {part}; remove it and resume"));
            weights.get(part).cloned().ok_or_else(lacks)
        };
        let found = get("p")?;
        let step = |(index, descriptor)| {
            let step = alignment::Step { r: get(&step_part("r", index))?, b: get(&step_part("b", index))? };
            Ok(Alignment { descriptor, step })
        };
        let alignment = steps.into_iter().enumerate().map(step).collect::<Result<_>>()?;
        self.cascade.fitted.push(Fitted { alignment, prior: prior.clone() });
        Ok(found.data().chunks_exact(n).map(|p| p.iter().map(|v| f64::from(*v)).collect()).collect())
    }

    /// Returns the faces as the networks of `place` see them.
    fn examples(&self, place: Place, before: &[Vec<f32>], p: &[Vec<f64>]) -> Result<Examples> {
        let side = self.cascade.config.levels[place.level].side;
        let reads_prior = place.variant != Variant::Common;
        let known = Correspondence {
            bases: Bases::dense(&self.cascade.shape, side)?,
            prior: self.cascade.fitted[place.level].prior.clone(),
        };
        let mut found = over_faces(self.device, before, p, &Weights::default(), |g, before, p| {
            let up = network::up(g, before, side)?;
            let mut fetches = vec![up];
            if reads_prior {
                fetches.push(network::warped(g, p, &known)?.w_inverse);
            }
            Ok(fetches)
        })?;
        let w_inverse = if reads_prior { found.swap_remove(1) } else { Vec::new() };
        let (whole, shown, hat) = (self.faces.whole(), self.faces.shown(side), self.faces.at(side)?);
        Ok(Examples { side, whole, shown, up: found.swap_remove(0), w_inverse, hat })
    }

    /// Trains the networks of `place` and adds them to the weights.
    pub fn networks(&mut self, place: Place, before: &[Vec<f32>], p: &[Vec<f64>]) -> Result<()> {
        let (mut prepared, mut branches) = (None, BTreeMap::new());
        for (index, part) in place.parts(self.config).into_iter().enumerate() {
            let folder = self.folder.part(&part_name(place, part))?;
            let identity = self.identity(place, part);
            let trained = match finished(&folder, &identity)? {
                Some(weights) => weights,
                None => {
                    let (start, examples) = match &mut prepared {
                        Some(made) => made,
                        none => {
                            let full = Place { variant: Variant::Full, ..place };
                            let common = match self.shares_common(place) {
                                true => Some(Weights::open(self.trained(full, Part::Common))?.tensors().clone()),
                                false => None,
                            };
                            none.insert((self.start(place, common), self.examples(place, before, p)?))
                        }
                    };
                    self.part(place, index, part, examples, [&branches, start], (&folder, identity))?
                }
            };
            self.done += place.steps(self.config, part);
            if matches!(part, Part::Joint(_)) {
                let scope = place.variant.scope(place.k);
                self.weights.extend(trained.tensors().iter().map(|(name, t)| (format!("{scope}/{name}"), t.clone())));
            } else {
                branches.extend(trained.tensors().clone());
            }
        }
        Ok(())
    }

    /// Trains part `index` of `place` in its folder. A network starts from the first of `known` that has it.
    fn part(
        &mut self,
        place: Place,
        index: usize,
        part: Part,
        examples: &Examples,
        known: [&BTreeMap<String, Tensor>; 2],
        (folder, identity): (&Folder, Map<String, Value>),
    ) -> Result<Weights> {
        let level = &self.cascade.config.levels[place.level];
        let prior = &self.cascade.fitted[place.level].prior;
        let (name, steps, size) = (part_name(place, part), place.steps(self.config, part), self.batch(place));
        let (lr, rule) = rule(self.config, level, part);
        let mut graph = Graph::new();
        objective(&mut graph, level, prior, size, part, self.faces.more.is_some())?;
        let seed = self.seed(place, index);
        let initial = Weights::from_tensors(self.initial(place, index, &graph, known)?);
        let mut training = self.network(level, prior, size, part, initial).train(rule)?;
        let job = Job {
            schedule: Schedule { lr, warmup: steps / WARMUP, decay: Decay::Cosine { end: 0.0, steps } },
            identity: identity.clone(),
            manifest: self.manifest.clone(),
            steps,
            checkpoint_every: self.config.checkpoint_every,
            val_every: 0,
        };
        let mut batch = |step| examples.batch(size, part, seed, step);
        let (mut loss, mut ms, done) = (0.0, 0.0, self.done);
        let observer = &mut *self.observer;
        let report = &mut *observer.step;
        let mut observe = |progress: Progress| {
            // The mean over about the last hundred steps.
            let share = (1.0 / progress.step as f64).max(0.01);
            loss += share * (f64::from(progress.loss) - loss);
            ms += progress.ms;
            report(&name, done + progress.step, progress)
        };
        let hold = &mut *observer.hold;
        let draw = |history: &History, path: &Path| curves::draw(history)?.save(path);
        let mut hooks = Hooks { observe: &mut observe, hold, draw: &draw, ..Hooks::new(&mut batch) };
        let mut weights = training.run(&job, folder, &mut hooks)?;
        weights.set_manifest("config", Value::Object(identity).to_string());
        weights.save(folder.weights())?;
        self.log(&json!({ "part": name, "steps": steps, "loss": loss, "ms": ms }))?;
        (self.observer.tell)(&format!("{name}: loss {loss:.3e} after {steps} steps, {:.0} s", ms / 1e3));
        Ok(weights)
    }

    /// Returns the networks of `part` and their loss, for training.
    fn network(&self, level: &LevelConfig, prior: &Tensor, size: [usize; 2], part: Part, initial: Weights) -> Network {
        let (level, prior, is_partial) = (level.clone(), prior.clone(), self.faces.more.is_some());
        self.device.network(initial, move |g| {
            g.loss("loss", || g.graph(&[], |graph, _| objective(graph, &level, &prior, size, part, is_partial)));
        })
    }

    /// Returns the seed of part `index` of `place`.
    fn seed(&self, place: Place, index: usize) -> u64 {
        self.config.seed.wrapping_mul(31).wrapping_add((10 * place.k + index) as u64)
    }

    /// Returns the initial weights of part `index` of `place`: each network's from the first of `known` that has it, else new.
    fn initial(
        &self,
        place: Place,
        index: usize,
        graph: &Graph,
        known: [&BTreeMap<String, Tensor>; 2],
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut initial = graph.initialize(self.seed(place, index)).tensors().clone();
        for (name, tensor) in &mut initial {
            match known.iter().find_map(|known| known.get(name)) {
                Some(known) if known.shape() == tensor.shape() => tensor.clone_from(known),
                // The moments belong to the training, not to the networks; a gate is learnt quickly.
                _ if self.init.is_none() || name.starts_with("optimizer/") || name.starts_with("gate/") => {}
                _ => {
                    let scope = place.variant.scope(place.k);
                    let problem = format!("lacks {scope}/{name} of {:?}", tensor.shape());
                    let remedy = "start from a cascade of the same preset";
                    let file = self.config.init.display().to_string();
                    return Err(Error::weights(file, format!("{problem}; {remedy}")));
                }
            }
        }
        Ok(initial)
    }

    /// Returns whether the networks of `place` start from the full cascade's common branch of the level.
    fn shares_common(&self, place: Place) -> bool {
        let full = Place { variant: Variant::Full, ..place };
        matches!(place.variant, Variant::Common | Variant::Fixed) && full.parts(self.config).contains(&Part::Common)
    }

    /// Returns the initial weights of `place` that are not new: those of the file of initial weights, and the branch `common`
    /// that its networks share.
    fn start(&self, place: Place, common: Option<BTreeMap<String, Tensor>>) -> BTreeMap<String, Tensor> {
        let mut start = BTreeMap::new();
        if let Some(init) = &self.init {
            let has = |variant: Variant| {
                let prefix = format!("{}/", variant.scope(place.k));
                init.tensors().keys().any(|name| name.starts_with(&prefix))
            };
            let has_rows = [Variant::Common, Variant::HighFrequency].into_iter().any(has);
            for network in ["common", "high_frequency", "gate"] {
                // A gate belongs to the branches that it was trained with.
                let is_new = network == "gate" && has_rows && place.variant != Variant::Single;
                let Some(origin) = place.origins(network).into_iter().find(|&v| has(v)).filter(|_| !is_new) else {
                    continue;
                };
                let (scope, prefix) = (format!("{}/", origin.scope(place.k)), format!("{network}/"));
                let own = init.tensors().iter().filter_map(|(name, t)| Some((name.strip_prefix(&scope)?, t)));
                start.extend(own.filter(|(name, _)| name.starts_with(&prefix)).map(|(n, t)| (n.to_owned(), t.clone())));
            }
        }
        start.extend(common.into_iter().flatten());
        start
    }

    /// Returns the number of faces per step at `place`, and the side of the part that a step sees of each.
    fn batch(&self, place: Place) -> [usize; 2] {
        let side = self.cascade.config.levels[place.level].side;
        [at(&self.config.batch, place.level), at(&self.config.patch, place.level).min(side)]
    }

    /// Returns the path of the networks of a finished part.
    fn trained(&self, place: Place, part: Part) -> PathBuf {
        self.path(&format!("{}/weights.safetensors", part_name(place, part)))
    }

    /// Returns what must agree between this run and a part that was trained or begun.
    fn identity(&self, place: Place, part: Part) -> Map<String, Value> {
        let level = &self.cascade.config.levels[place.level];
        let ([n, patch], (lr, _)) = (self.batch(place), rule(self.config, level, part));
        let init = self.init.as_ref().and_then(|init| init.manifest().get("sha256"));
        let numbers = json!({
            "data": self.fingerprint, "jitter": self.config.jitter, "init": init, "seed": self.config.seed,
            "steps": place.steps(self.config, part), "batch": n, "patch": patch, "lr": lr, "clip": self.config.clip,
            "branch": level.branch, "gate": level.gate, "side": level.side,
        });
        match numbers {
            Value::Object(mut identity) => {
                if self.config.moved != [0.0; 3] {
                    identity.insert("moved".into(), json!(self.config.moved));
                }
                identity
            }
            _ => Map::new(),
        }
    }

    /// Computes I_k of all faces.
    pub fn outputs(&self, place: Place, before: &[Vec<f32>], p: &[Vec<f64>]) -> Result<Vec<Vec<f32>>> {
        let weights = Weights::from_tensors(self.weights.clone());
        let mut found = over_faces(self.device, before, p, &weights, |g, before, p| {
            let scope = place.variant.scope(place.k);
            Ok(vec![g.within(&scope, |g| self.cascade.stage(g, before, p, place.variant, place.level))?.i])
        })?;
        Ok(found.swap_remove(0))
    }

    /// Saves everything that is trained so far.
    pub fn save(&self) -> Result<Weights> {
        let mut weights = self.cascade.save(&Weights::from_tensors(self.weights.clone()), &self.config.preset);
        for (key, value) in &self.manifest {
            weights.set_manifest(key, value);
        }
        weights.save(self.folder.weights())?;
        Ok(weights)
    }
}

/// Returns the name of a part: its folder under that of the run, and its name in the log.
fn part_name(place: Place, part: Part) -> String {
    format!("{}/{}", place.variant.scope(place.k), part.name())
}

/// Opens the weights of a part, or returns `None` if the part is not finished.
fn finished(folder: &Folder, identity: &Map<String, Value>) -> Result<Option<Weights>> {
    let path = folder.weights();
    if !path.is_file() {
        return Ok(None);
    }
    let weights = Weights::open(&path)?;
    let saved = weights.manifest().get("config").and_then(|text| serde_json::from_str::<Value>(text).ok());
    let compared = match saved {
        Some(saved) => choices::same(&saved, identity),
        None => Err("does not say what it was trained with; remove it and resume".into()),
    };
    compared.map_err(|problem| Error::weights(path.display().to_string(), problem))?;
    Ok(Some(weights))
}

/// Largest batch of a step, in bytes.
const MAX_BATCH_BYTES: usize = 1 << 30;

/// Faces per run of the session.
const BATCH: usize = 16;

/// Computes, for every face, the nodes that `build` makes of the pictures `before` and the coefficients `p`.
fn over_faces(
    device: &Device,
    before: &[Vec<f32>],
    p: &[Vec<f64>],
    weights: &Weights,
    build: impl FnOnce(&mut Graph, NodeId, NodeId) -> Result<Vec<NodeId>>,
) -> Result<Vec<Vec<Vec<f32>>>> {
    let (Some(first), Some(bases)) = (before.first(), p.first().map(Vec::len)) else { return Ok(Vec::new()) };
    let side = first.len().isqrt();
    let mut g = Graph::new();
    let x = g.input("before", [BATCH, 1, side, side])?;
    let c = g.input("p", [BATCH, bases, 1, 1])?;
    let fetches = build(&mut g, x, c)?;
    let session = device.compile(&g, &fetches, weights_of(&g, weights))?;
    batches::over_faces(&session, &[("before", before), ("p", &batches::narrowed(p))])
}
