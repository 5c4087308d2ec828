//! Finds the fastest shader for each layer on this adapter: measured, not guessed, and only among those that compute it
//! correctly.
//!
//! A layer is an operation with its attributes, its method (`forward`, or `d<input>` for a gradient) and its shapes. For each
//! layer of a graph with several candidate shaders, [`tune`] runs each candidate on seeded values against the f64 reference and
//! bans those that differ, with the reason. It then times the others in turn and keeps the fastest in [`Choices`], which plans
//! follow after [`Device::with_choices`](crate::Device::with_choices). Layers that were not measured follow the kernels'
//! estimates, as all do without choices. Nothing here reads files: [`store`] does, for the command line.

#[cfg(feature = "cli")]
pub mod store;

use super::check;
use super::clock::now_ms;
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::graph::{Graph, Init, Kind, NodeId};
use crate::ops::{Io, Kernel, Op};
pub use crate::plan::choices::{Candidate, Choice, Choices, Outcome, key};
use crate::plan::fuse::fuse;
use crate::plan::{Chosen, Options, Plan, WORTH_REPACKING, serving};
use crate::rng::Rng;
use crate::tensor::{DType, Shape, Tensor, len};
use crate::weights::Weights;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time limit of [`tune`], checked between layers.
pub const BUDGET: Duration = Duration::from_secs(2);

/// Largest number of candidates per layer: compiling each takes up to a second.
const MAX_CANDIDATES: usize = 3;
/// A kernel that is this many times slower by its estimate is not a candidate; one that is by its first warm run is not run again.
const MAX_SLOWER: f64 = 4.0;
/// Samples per candidate.
const MIN_SAMPLES: usize = 3;
const MAX_SAMPLES: usize = 8;
/// After this long a layer gets no more than [`MIN_SAMPLES`].
const LAYER_TIME: Duration = Duration::from_millis(250);
/// Within this factor the earlier kernel of [`Op::kernels`] wins, so that noise does not decide.
const SAME: f64 = 1.03;
/// Heights and widths that the check tries, largest first, until the naive reference is cheap enough.
const CHECKED_SIDES: [usize; 4] = [24, 16, 12, 8];
const MAX_CHECKED_FLOPS: u64 = 20_000_000;
/// Largest batch that the check keeps.
const CHECKED_BATCH: usize = 2;

/// Measures the layers of `fetches` on `device` for [`BUDGET`]. The references on the processor have nothing to choose.
///
/// # Errors
/// The graph cannot be planned; the device fails.
pub fn tune(device: &Device, graph: &Graph, fetches: &[NodeId]) -> Result<Choices> {
    tune_more(device, graph, fetches, &Choices::default(), Some(BUDGET))
}

/// Measures the layers of `fetches` that `known` lacks, costly ones first; without a `budget`, all of them.
///
/// # Errors
/// Those of [`tune`].
pub fn tune_more(
    device: &Device,
    graph: &Graph,
    fetches: &[NodeId],
    known: &Choices,
    budget: Option<Duration>,
) -> Result<Choices> {
    tune_each(device, graph, fetches, known, budget, &mut |_| Ok(true))
}

/// Like [`tune_more`], but also passes each layer's choice to `each` as soon as it is measured; `each` returns whether to
/// continue.
///
/// # Errors
/// Those of [`tune`] and of `each`.
pub fn tune_each(
    device: &Device,
    graph: &Graph,
    fetches: &[NodeId],
    known: &Choices,
    budget: Option<Duration>,
    each: &mut dyn FnMut(&Choices) -> Result<bool>,
) -> Result<Choices> {
    let started = Instant::now();
    let device = &device.without_choices();
    let mut found = Choices::default();
    let mut layers = layers(device, graph, fetches)?;
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.flops));
    for layer in layers {
        if budget.is_some_and(|budget| started.elapsed() >= budget) {
            break;
        }
        let is_known = |key: &String| known.layers.contains_key(key) || found.layers.contains_key(key);
        if !layer.keys.iter().all(is_known)
            && let Some(choice) = layer.measure(device)?
        {
            let measured = Choices { layers: layer.keys.into_iter().map(|key| (key, choice.clone())).collect() };
            let goes_on = each(&measured)?;
            found.extend(measured);
            if !goes_on {
                break;
            }
        }
    }
    Ok(found)
}

/// Returns the [`key`] of each layer of `fetches` that several shaders serve on `device`, in the order of the plan.
///
/// # Errors
/// The graph cannot be planned.
pub fn keys(device: &Device, graph: &Graph, fetches: &[NodeId]) -> Result<Vec<String>> {
    Ok(layers(&device.without_choices(), graph, fetches)?.into_iter().flat_map(|layer| layer.keys).collect())
}

/// A layer with at least two candidates.
struct Layer {
    /// The key of the forward pass, or one per gradient: gradients that one dispatch can write share a choice, because two choices
    /// would need two dispatches.
    keys: Vec<String>,
    op: Arc<dyn Op>,
    /// The inputs whose gradients are wanted; empty for the forward pass.
    gradients: Vec<usize>,
    x: Vec<Shape>,
    /// Whether each input is the same in every run, so that preparing it costs nothing.
    is_fixed: Vec<bool>,
    flops: u64,
    /// In the order of [`Op::kernels`].
    kernels: Vec<Kernel>,
}

/// A graph of one layer, and the inputs to run it on.
struct OneLayer {
    graph: Graph,
    fetches: Vec<NodeId>,
    weights: Weights,
    inputs: Vec<(String, Tensor)>,
}

impl OneLayer {
    /// Returns the inputs that `plan` reads.
    fn inputs(&self, plan: &Plan) -> Vec<(&str, &Tensor)> {
        let is_read = |name: &str| plan.inputs.iter().any(|(n, _)| n == name);
        self.inputs.iter().filter(|(name, _)| is_read(name)).map(|(name, tensor)| (name.as_str(), tensor)).collect()
    }
}

/// Returns the distinct layers of a plan that have something to choose.
fn layers(device: &Device, graph: &Graph, fetches: &[NodeId]) -> Result<Vec<Layer>> {
    let mut found: Vec<Layer> = Vec::new();
    if device.is_cpu() {
        return Ok(found);
    }
    let options = Options { caps: device.caps(), ..Options::default() };
    let graph = &fuse(graph, fetches, &options)?;
    let plan = Plan::new(graph, fetches, &options)?;
    let nodes = graph.nodes();
    for (index, step) in plan.steps.iter().enumerate().filter(|(_, s)| s.is_first_pass && !s.is_repack()) {
        let node = &nodes[step.node];
        let called = match &node.kind {
            _ if step.is_forward() => node.computed_by(),
            Kind::Op(op) => Some((op, &node.inputs[..])),
            _ => None,
        };
        // An update's shader works in place and has no alternative to compare with; valid indices are known to the graph only.
        let is_timed =
            |op: &Arc<dyn Op>| op.updates().is_empty() && op.inputs().iter().all(|name| op.dtype(name) == DType::F32);
        let Some((op, inputs)) = called.filter(|(op, _)| is_timed(op)) else { continue };
        let gradients: Vec<usize> = if step.is_forward() {
            Vec::new()
        } else {
            let written = plan
                .passes(index)
                .iter()
                .flat_map(|s| &s.bindings)
                .filter(|b| b.written && plan.values[b.value].node.is_some());
            let written: Vec<&str> = written.filter_map(|b| b.variable.strip_prefix('d')).collect();
            (0..op.inputs().len()).filter(|&k| written.contains(&op.inputs()[k])).collect()
        };
        let x: Vec<Shape> = inputs.iter().map(|&i| nodes[i].shape).collect();
        let is_fixed: Vec<bool> =
            inputs.iter().map(|&i| matches!(nodes[i].kind, Kind::Param { .. } | Kind::Constant(_))).collect();
        let io = Io { x: &x, y: node.shape };
        let names: Vec<Option<&str>> = match gradients[..] {
            [] if step.is_forward() => vec![None],
            _ => gradients.iter().map(|&k| Some(op.inputs()[k])).collect(),
        };
        let mut kernels: Option<Vec<Kernel>> = None;
        for &name in &names {
            let own = candidates(&**op, &io, name, &options)?;
            kernels =
                Some(kernels.map_or_else(|| own.clone(), |all| all.into_iter().filter(|k| own.contains(k)).collect()));
        }
        let keys: Vec<String> = names.iter().map(|&name| key(&**op, name, &x)).collect();
        let kernels = kernels.unwrap_or_default();
        if kernels.len() > 1 && found.iter().all(|layer| layer.keys != keys) {
            found.push(Layer { keys, op: op.clone(), gradients, x, is_fixed, flops: step.cost.flops, kernels });
        }
    }
    Ok(found)
}

/// Returns the kernels worth comparing: those with the lowest estimates, and the plain one only if there is just one other. There
/// are none if the layout decides: for a kernel that gains little, the layout of its neighbours matters more, which the planner
/// knows but a single layer does not show.
fn candidates(op: &dyn Op, io: &Io, gradient: Option<&str>, options: &Options) -> Result<Vec<Kernel>> {
    let mut serving = serving(op, io, gradient, options)?;
    if serving.iter().any(Chosen::uses_quads) && serving.iter().all(|chosen| chosen.gain < WORTH_REPACKING) {
        return Ok(Vec::new());
    }
    if serving.len() > 2 {
        // The plain kernel comes last.
        serving.pop();
    }
    serving.sort_by(|a, b| a.work.ns.total_cmp(&b.work.ns));
    let best_ns = serving.first().map_or(0.0, |chosen| chosen.work.ns);
    serving.retain(|chosen| chosen.work.ns <= best_ns * MAX_SLOWER);
    serving.truncate(MAX_CANDIDATES);
    Ok(op.kernels().iter().filter(|k| serving.iter().any(|chosen| chosen.kernel == **k)).copied().collect())
}

/// Returns the milliseconds that one run of `session` spends on the adapter, without the steps that run once and without testing
/// the timer. Returns `None` if its clock gives an impossible time.
fn time_once(session: &Session, inputs: &[(&str, &Tensor)]) -> Result<Option<f64>> {
    let run = session.timed(inputs, now_ms)?;
    let mut spans = run.spans.iter();
    let mut total_ms = 0.0;
    for step in &session.plan().steps {
        // Copies to textures have their own row.
        let rows = 1 + usize::from(!step.copies.is_empty());
        for span in spans.by_ref().take(rows).filter(|_| !step.once) {
            if span.ms.is_nan() || span.ms < 0.0 {
                return Ok(None);
            }
            total_ms += span.ms;
        }
    }
    Ok((total_ms > 0.0).then_some(total_ms))
}

impl Layer {
    /// Checks and times the candidates. Returns `None` if nothing could be timed.
    fn measure(&self, device: &Device) -> Result<Option<Choice>> {
        let mut outcomes: Vec<Option<Outcome>> = Vec::new();
        let mut running: Vec<(usize, Session)> = Vec::new();
        let full = self.alone(&self.x)?;
        for (index, &kernel) in self.kernels.iter().enumerate() {
            outcomes.push(None);
            match self.fault(device, kernel)? {
                Some(fault) => outcomes[index] = Some(Outcome::Banned(fault)),
                None => {
                    let options = Options { caps: device.caps(), kernel: Some(kernel), ..Options::default() };
                    let weights = full.weights.clone();
                    let compiled = device.compile_with(&full.graph, &full.fetches, weights, &options, None);
                    match pollster::block_on(compiled) {
                        Ok(session) => running.push((index, session)),
                        // It exceeds the adapter's limits at this size, so it is not an option.
                        Err(Error::Plan { .. }) => {}
                        Err(e) => return Err(e),
                    }
                }
            }
        }
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); running.len()];
        // The first run of each pays for fresh memory and, on lavapipe, for compiling; the second shows which are too slow.
        for (_, session) in &running {
            time_once(session, &full.inputs(session.plan()))?;
        }
        let mut first = Vec::new();
        for (_, session) in &running {
            first.push(time_once(session, &full.inputs(session.plan()))?);
        }
        let best = first.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let is_slow: Vec<bool> = first.iter().map(|ms| ms.is_some_and(|ms| ms > best * MAX_SLOWER)).collect();
        for (samples, (ms, is_slow)) in samples.iter_mut().zip(first.iter().zip(&is_slow)) {
            samples.extend(ms.filter(|_| *is_slow));
        }
        let started = Instant::now();
        for round in 0..MAX_SAMPLES {
            if round >= MIN_SAMPLES && started.elapsed() >= LAYER_TIME {
                break;
            }
            let racing = running.iter().zip(&mut samples).zip(&is_slow).filter(|(_, is_slow)| !**is_slow);
            for (((_, session), samples), _) in racing {
                samples.extend(time_once(session, &full.inputs(session.plan()))?);
            }
        }
        let is_software = device.info().is_some_and(|info| info.kind == "Cpu");
        for ((index, _), samples) in running.iter().zip(samples) {
            outcomes[*index] = score(samples, is_software).map(Outcome::Ms);
        }
        let candidates: Vec<Candidate> = self
            .kernels
            .iter()
            .zip(outcomes)
            .filter_map(|(kernel, outcome)| Some(Candidate { stem: kernel.stem().to_owned(), outcome: outcome? }))
            .collect();
        let is_any_banned = candidates.iter().any(|c| matches!(c.outcome, Outcome::Banned(_)));
        // If all others are wrong, the plain kernel remains, against which the tests check the others.
        let plain = self.op.kernels().first().map(Kernel::stem).filter(|_| is_any_banned);
        let stem = pick(&candidates).or(plain).map(str::to_owned);
        Ok(stem.map(|stem| Choice { stem, candidates }))
    }

    /// Returns why `kernel` must not be used, if so: on a smaller layer with the same channels, it differs from the reference by
    /// more than f32 explains, writes past a buffer, or is not reproducible.
    fn fault(&self, device: &Device, kernel: Kernel) -> Result<Option<String>> {
        let stem = kernel.stem();
        for x in self.smaller() {
            let one = self.alone(&x)?;
            let options = Options { caps: device.caps(), kernel: Some(kernel), ..Options::default() };
            let weights = one.weights.clone();
            let checked = Plan::new(&one.graph, &one.fetches, &options).and_then(|plan| {
                check::steps(device, &one.graph, &one.fetches, weights, &one.inputs(&plan), Some(kernel))
            });
            let reports = match checked {
                Ok(reports) => reports,
                Err(e @ Error::Device { .. }) => return Err(e),
                Err(e) => return Ok(Some(e.to_string())),
            };
            let mut own = reports.iter().filter(|r| r.entry.split('.').next() == Some(stem)).peekable();
            // A shader may serve the whole layer but not this part of it.
            if own.peek().is_some() {
                return Ok(own.find(|r| !r.is_ok()).map(|r| r.to_error().to_string()));
            }
        }
        Ok(Some(format!("{stem} could not be checked on any size of this layer")))
    }

    /// Returns the shapes to check on: cut in height, width and batch, cheap ones first, the layer's own last.
    fn smaller(&self) -> Vec<Vec<Shape>> {
        let batch = self.x.first().map_or(1, |s| s[0]);
        let cut = |side: usize| -> Vec<Shape> {
            let shapes = self.x.iter().zip(&self.is_fixed).map(|(&shape, is_fixed)| {
                if shape.rank() != 4 {
                    return shape;
                }
                let [n, c, h, w] = shape.nchw();
                let n = if !is_fixed && n == batch { n.min(CHECKED_BATCH) } else { n };
                [n, c, h.min(side), w.min(side)].into()
            });
            shapes.collect()
        };
        let cost = |x: &[Shape]| self.op.shape(x).ok().map(|y| self.op.cost("forward", &Io { x, y }).flops);
        let mut tried: Vec<Vec<Shape>> = CHECKED_SIDES.into_iter().map(cut).filter(|x| cost(x).is_some()).collect();
        let (mut order, costly): (Vec<_>, Vec<_>) =
            tried.drain(..).partition(|x| cost(x).is_some_and(|flops| flops <= MAX_CHECKED_FLOPS));
        order.extend(costly.into_iter().rev());
        order.push(self.x.clone());
        order.dedup();
        order
    }

    /// Builds the layer with inputs of the shapes `x` in its own graph, with seeded values in `[-1, 2)`.
    fn alone(&self, x: &[Shape]) -> Result<OneLayer> {
        let mut rng = Rng::new(7);
        // A prime number, so that no row or channel repeats another.
        let some: Vec<f32> = (0..4093).map(|_| rng.uniform(-1.0, 2.0) as f32).collect();
        let values = |shape: Shape, first: usize| {
            Tensor::new(shape, some.iter().cycle().skip(first * 97).take(len(&shape)).copied().collect())
        };
        let mut graph = Graph::new();
        let (mut inputs, mut weights, mut ids) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (k, (&name, &shape)) in self.op.inputs().iter().zip(x).enumerate() {
            let tensor = values(shape, k)?;
            if self.is_fixed[k] {
                ids.push(graph.param(name, shape, Init::Constant(0.0))?);
                weights.insert(name.to_owned(), tensor);
            } else {
                ids.push(graph.input(name, shape)?);
                inputs.push((name.to_owned(), tensor));
            }
        }
        let y = graph.add_op("y".into(), self.op.clone(), &ids)?;
        let mut fetches = vec![y];
        if !self.gradients.is_empty() {
            let shape = graph.shape(y)?;
            let dy = graph.input("dy", shape)?;
            inputs.push(("dy".to_owned(), values(shape, x.len())?));
            let gradients = self.gradients.iter().map(|&k| graph.gradient(y.index, k, dy));
            fetches = gradients.collect::<Result<Vec<_>>>()?;
        }
        Ok(OneLayer { graph, fetches, weights: Weights::from_tensors(weights), inputs })
    }
}

/// Returns one number for the samples, or `None` if there are none.
fn score(mut samples: Vec<f64>, is_software: bool) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let which = if is_software { 0 } else { samples.len() / 2 };
    samples.get(which).copied()
}

/// Returns the first candidate that is nearly as fast as the fastest.
fn pick(candidates: &[Candidate]) -> Option<&str> {
    let ms = |c: &Candidate| match c.outcome {
        Outcome::Ms(ms) => Some(ms),
        Outcome::Banned(_) => None,
    };
    let best = candidates.iter().filter_map(ms).fold(f64::INFINITY, f64::min);
    candidates.iter().find(|c| ms(c).is_some_and(|ms| ms <= best * SAME)).map(|c| c.stem.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(stem: &str, outcome: Outcome) -> Candidate {
        Candidate { stem: stem.into(), outcome }
    }

    #[test]
    fn the_fastest_right_one_is_picked_and_noise_does_not_decide() {
        let (a, b) = (candidate("a", Outcome::Ms(1.02)), candidate("b", Outcome::Ms(1.0)));
        assert_eq!(pick(&[a.clone(), b.clone()]), Some("a"), "2 % are noise");
        assert_eq!(pick(&[candidate("a", Outcome::Ms(1.04)), b]), Some("b"));
        let banned = candidate("c", Outcome::Banned("differs".into()));
        assert_eq!(pick(&[banned.clone(), a]), Some("a"));
        assert_eq!(pick(&[banned]), None);
    }

    #[test]
    fn a_layer_of_another_size_follows_the_nearest_that_was_measured() {
        use crate::ops::conv2d::Conv2d;
        let x = |h: usize, w: usize| [[1, 8, h, w], [8, 8, 3, 3], [1, 8, 1, 1]].map(Shape::from);
        let chosen = |stem: &str| Choice { stem: stem.into(), candidates: vec![] };
        let layers = [(x(160, 160), "small"), (x(288, 288), "large")];
        let choices =
            Choices { layers: layers.iter().map(|(x, stem)| (key(&Conv2d::same(3), None, x), chosen(stem))).collect() };
        let stem = |x: &[Shape]| choices.stem(&Conv2d::same(3), None, x);
        assert_eq!(stem(&x(288, 288)), Some("large"));
        assert_eq!(
            [stem(&x(276, 284)), stem(&x(157, 170)), stem(&x(200, 284))],
            [Some("large"), Some("small"), Some("large")]
        );
        assert_eq!((stem(&x(80, 80)), stem(&x(79, 80)), stem(&x(576, 577))), (Some("small"), None, None));
        // Another batch, other channels, other filters, a gradient: other layers.
        let [_, w, b] = x(1, 1);
        assert_eq!(stem(&[[2, 8, 288, 288].into(), w, b]), None);
        assert_eq!(stem(&[[1, 8, 288, 288].into(), [9, 8, 3, 3].into(), [1, 9, 1, 1].into()]), None);
        assert_eq!(stem(&[[1, 8, 288, 288].into(), [8, 8, 5, 5].into(), [1, 8, 1, 1].into()]), None);
        assert_eq!(choices.stem(&Conv2d::same(3), Some("x"), &x(288, 288)), None);
    }

    #[test]
    fn noise_only_adds_on_software_adapters() {
        assert_eq!(score(vec![3.0, 1.0, 2.0], true), Some(1.0));
        assert_eq!(score(vec![3.0, 1.0, 2.0], false), Some(2.0));
        assert_eq!(score(vec![], true), None);
    }
}
