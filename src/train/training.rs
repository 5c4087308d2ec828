//! Trains a [`Network`]: steps whose losses and outputs have names, at any batch size, while the network runs with what was learned.

use super::finite::first_not_finite;
use super::optimizer::{AVERAGE, Group, HYPER, Rule, Step};
use crate::error::{Error, Result};
use crate::exec::{Cache, Compiled, Key, Network, Outputs};
use crate::graph::{Given, Graph, Member, NodeId};
use crate::plan::Plan;
use crate::tensor::{Tensor, len};
use crate::weights::Weights;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Bytes that the sessions of a training may take together.
const BUDGET_BYTES: u64 = 4 << 30;

/// Names of the arenas that a rule keeps for each parameter: moments and average.
const ARENAS: [&str; 3] = ["optimizer/m", "optimizer/v", AVERAGE];

/// Moments and averages by arena and parameter.
type Parked = BTreeMap<(&'static str, String), Vec<f32>>;

/// A network in training. Each combination of input shapes gets a plan of its own for forward pass, backward pass and update; all of
/// them and the network's own sessions share one copy of the parameters on the device, so that [`Network::run`] always computes
/// with what was learned so far.
#[derive(Debug)]
pub struct Training {
    network: Network,
    rule: Rule,
    frozen: Vec<String>,
    steps: u64,
    cache: Cache,
    /// The parameters that the current sessions update, and their places in the arenas.
    members: Vec<Member>,
    /// Moments and averages for sessions to come, of parameters that the current sessions do not update.
    parked: Parked,
    /// The network with the averages in place of the parameters, once it was asked for.
    averaged: OnceLock<Network>,
}

/// A step's graph and what to fetch from it.
struct Prepared {
    graph: Graph,
    /// Names of the losses, then of the outputs.
    names: Vec<String>,
    losses: usize,
    fetches: Vec<NodeId>,
    members: Vec<Member>,
    total: NodeId,
}

impl Network {
    /// Begins to train the network by `rule`, from its current weights. The network's function must name at least one
    /// [loss](crate::Draft::loss).
    ///
    /// # Errors
    /// The device fails.
    pub fn train(&self, rule: impl Into<Rule>) -> Result<Training> {
        self.restart(pollster::block_on(self.known_weights_async())?);
        Ok(Training {
            network: self.clone(),
            rule: rule.into(),
            frozen: Vec::new(),
            steps: 0,
            cache: Cache::new(BUDGET_BYTES),
            members: Vec::new(),
            parked: BTreeMap::new(),
            averaged: OnceLock::new(),
        })
    }
}

impl Training {
    /// Returns the number of steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Performs a step with learning rate `lr` on these inputs, and returns its losses and outputs, all as they were before the
    /// update, and `norm`, the Euclidean norm of all gradients together before any clipping.
    ///
    /// # Errors
    /// A loss or a gradient is not finite: nothing was changed, and the message names the first value that is not. The network names
    /// no loss, or a loss is not a scalar; a loss does not depend on a parameter; those of [`Network::run`].
    pub fn step(&mut self, lr: f64, inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        Ok(self.step_and_losses(lr, inputs)?.0)
    }

    /// Performs a step as [`Training::step`] does, and also returns the names of its losses.
    pub(crate) fn step_and_losses(&mut self, lr: f64, inputs: &[(&str, &Tensor)]) -> Result<(Outputs, Vec<String>)> {
        let given: Vec<Given> = inputs.iter().map(|&input| input.into()).collect();
        let compiled = self.compiled(&given)?;
        let hyper = self.rule.hyper(lr, self.steps + 1);
        let mut all = inputs.to_vec();
        all.push((HYPER, &hyper));
        let turn = self.network.turn();
        let mut tensors = compiled.session.run(&all)?;
        drop(turn);
        let clip = tensors.pop().map_or([0.0; 2], |clip| [clip.data()[0], clip.data()[1]]);
        // The update skips a step without finite gradients, and says so by a factor of 0.
        if clip[0] == 0.0 {
            return Err(self.not_finite(&given, &all, clip[1]));
        }
        self.steps += 1;
        let norm = ("norm".to_owned(), Tensor::scalar(clip[1]));
        let losses = compiled.names[..compiled.losses].to_vec();
        Ok((Outputs::new(compiled.names.iter().cloned().zip(tensors).chain([norm])), losses))
    }

    fn not_finite(&self, given: &[Given], inputs: &[(&str, &Tensor)], norm: f32) -> Error {
        let first = self.prepare(given).and_then(|prepared| {
            let state = pollster::block_on(self.network.state_async())?;
            first_not_finite(&prepared.graph, prepared.total, self.network.device(), &state, inputs)
        });
        let first = first.unwrap_or_else(|e| format!("({e})"));
        let step = self.steps + 1;
        Error::NotFinite(format!("step {step}: the norm of the gradients is {norm}; {first}; nothing was changed"))
    }

    /// Leaves the parameters whose names match `pattern` unchanged from now on, where `*` stands for any characters. Their moments are
    /// kept for [`Training::unfreeze`].
    ///
    /// # Errors
    /// The device fails.
    pub fn freeze(&mut self, pattern: &str) -> Result<()> {
        self.park()?;
        self.frozen.push(pattern.to_owned());
        Ok(())
    }

    /// Trains the parameters again that [`Training::freeze`] excluded by the same pattern.
    ///
    /// # Errors
    /// Nothing was frozen by this pattern; the device fails.
    pub fn unfreeze(&mut self, pattern: &str) -> Result<()> {
        let Some(k) = self.frozen.iter().position(|frozen| frozen == pattern) else {
            return Err(Error::Usage(format!("{pattern:?} is not frozen; frozen are {:?}", self.frozen)));
        };
        self.park()?;
        self.frozen.remove(k);
        Ok(())
    }

    /// Returns everything that a later [`Training::resume`] needs: parameters, states, moments and averages.
    ///
    /// # Errors
    /// The device fails.
    pub fn state(&self) -> Result<Weights> {
        let (mut state, arenas) = self.read()?;
        for ((arena, name), values) in arenas {
            state.insert(format!("{arena}/{name}"), Tensor::new([values.len()], values)?);
        }
        state.set_manifest("step", self.steps.to_string());
        Ok(state)
    }

    /// Continues from a [`Training::state`]: the following steps equal those without the interruption bit for bit.
    ///
    /// # Errors
    /// The state has no number of steps, or was made by a version that kept moments in another form.
    pub fn resume(&mut self, state: &Weights) -> Result<()> {
        let steps = state.manifest().get("step").and_then(|step| step.parse().ok()).ok_or_else(|| {
            Error::weights(state.name(), "is not the state of a training: its manifest has no number of steps")
        })?;
        if let Some(arena) = ARENAS.into_iter().find(|arena| state.get(arena).is_some()) {
            let problem = format!("keeps {arena} as an older version did; begin anew with these weights");
            return Err(Error::weights(state.name(), problem));
        }
        let mut weights = Weights::new(state.name(), BTreeMap::new(), state.manifest().clone());
        let mut parked = BTreeMap::new();
        for (name, tensor) in state.tensors() {
            let of_arena = |arena: &&str| name.strip_prefix(arena).and_then(|rest| rest.strip_prefix('/'));
            match ARENAS.into_iter().find_map(|arena| Some((arena, of_arena(&arena)?))) {
                Some((arena, member)) => {
                    parked.insert((arena, member.to_owned()), tensor.data().to_vec());
                }
                None => weights.insert(name.clone(), tensor.clone()),
            }
        }
        self.network.restart(weights);
        self.cache.clear();
        self.averaged = OnceLock::new();
        (self.steps, self.parked) = (steps, parked);
        Ok(())
    }

    /// Returns the current weights: the moving averages if the rule keeps them, else the parameters themselves.
    ///
    /// # Errors
    /// The device fails.
    pub fn weights(&self) -> Result<Weights> {
        let mut weights = self.network.weights()?;
        if self.rule.ema > 0.0 {
            for ((_, name), values) in self.read()?.1.into_iter().filter(|((arena, _), _)| *arena == AVERAGE) {
                if let Some(shape) = weights.get(&name).map(Tensor::shape) {
                    weights.insert(name, Tensor::new(shape, values)?);
                }
            }
        }
        Ok(weights)
    }

    /// Returns the network with what is to be used of it: the moving averages in place of the parameters if the rule keeps them, else
    /// the network itself. On an adapter it reads the averages where the steps update them; on the references it is a copy of the
    /// present state. After [`Training::freeze`], [`Training::unfreeze`] and [`Training::resume`], ask for it again.
    ///
    /// # Errors
    /// The device fails.
    pub fn averaged(&self) -> Result<Network> {
        let is_on_device = self.cache.last().is_some();
        if self.rule.ema == 0.0 || (!is_on_device && self.parked.is_empty()) {
            return Ok(self.network.clone());
        }
        if !is_on_device || self.network.device().is_cpu() {
            return Ok(self.network.with(self.weights()?));
        }
        // Averages of frozen parameters, which no session keeps.
        let is_kept = |name: &str| self.members.iter().any(|member| member.name == name);
        let mut parked = BTreeMap::new();
        for ((arena, name), values) in &self.parked {
            if let Some(shape) = self.network.shape_of(name).filter(|_| *arena == AVERAGE && !is_kept(name)) {
                parked.insert(name.clone(), Tensor::new(shape, values.clone())?);
            }
        }
        Ok(self.averaged.get_or_init(|| self.network.beside(AVERAGE, &self.members, &parked)).clone())
    }

    /// Returns the plan of a step for these inputs, which tells its memory before any is allocated.
    ///
    /// # Errors
    /// The step does not fit the device; those of the function that builds the network.
    pub fn plan(&self, given: &[Given]) -> Result<Plan> {
        let Prepared { graph, fetches, .. } = self.prepare(given)?;
        self.network.device().plan(&graph, &fetches)
    }

    /// Times every step of the plan of a training step, as [`Session::profile`](crate::exec::Session::profile) does. The training is
    /// afterwards as it was.
    ///
    /// # Errors
    /// Those of [`Training::step`], except that numbers which are not finite are none.
    #[cfg(feature = "lab")]
    pub fn profile(&mut self, inputs: &[(&str, &Tensor)]) -> Result<crate::lab::profile::Profile> {
        let before = self.state()?;
        let compiled = self.compiled(&inputs.iter().map(|&input| input.into()).collect::<Vec<_>>())?;
        let hyper = self.rule.hyper(0.0, self.steps + 1);
        let mut all = inputs.to_vec();
        all.push((HYPER, &hyper));
        let profile = compiled.session.profile(&all);
        self.resume(&before)?;
        profile
    }

    /// Reads everything back from the device: parameters and states, and the arenas split among their parameters.
    fn read(&self) -> Result<(Weights, Parked)> {
        let state = pollster::block_on(self.network.state_async())?;
        let mut weights = Weights::new(state.name(), BTreeMap::new(), state.manifest().clone());
        let mut parked = self.parked.clone();
        for (name, tensor) in state.tensors() {
            let Some(arena) = ARENAS.into_iter().find(|arena| arena == name) else {
                weights.insert(name.clone(), tensor.clone());
                continue;
            };
            for member in &self.members {
                let part = tensor.data().get(member.first..member.first + len(&member.shape)).unwrap_or_default();
                parked.insert((arena, member.name.clone()), part.to_vec());
            }
        }
        Ok((weights, parked))
    }

    /// Moves everything from the device to the host, so that sessions for other parameters can take it up.
    fn park(&mut self) -> Result<()> {
        let (weights, parked) = self.read()?;
        self.parked = parked;
        self.network.restart(weights);
        self.cache.clear();
        self.averaged = OnceLock::new();
        Ok(())
    }

    /// Finds out which of the states belong to the weights, if no step has shown it, as in a run that is resumed after its last step.
    ///
    /// # Errors
    /// Those of [`Training::plan`].
    pub(super) fn learn(&self, inputs: &[(&str, &Tensor)]) -> Result<()> {
        let given: Vec<Given> = inputs.iter().map(|&input| input.into()).collect();
        let prepared = self.prepare(&given)?;
        self.learn_names(&prepared.graph, &given);
        Ok(())
    }

    fn learn_names(&self, graph: &Graph, given: &[Given]) {
        self.network.learn_names(graph, true);
        // The network without its losses shows which states belong to its weights.
        if let Ok(drafted) = self.network.draft_of(given, false) {
            self.network.learn_names(&drafted.graph, false);
        }
    }

    fn compiled(&mut self, given: &[Given]) -> Result<Compiled> {
        let key = Key { given: given.to_vec(), fetch: Vec::new() };
        if let Some(known) = self.cache.get(&key) {
            return Ok(known);
        }
        let prepared = self.prepare(given)?;
        self.learn_names(&prepared.graph, given);
        let mut more = Weights::default();
        for arena in ARENAS {
            let Some(shape) = prepared.graph.find(arena).and_then(|id| prepared.graph.shape(id).ok()) else { continue };
            let mut values = vec![0.0; len(&shape)];
            for member in &prepared.members {
                if let Some(part) = self.parked.get(&(arena, member.name.clone())) {
                    values[member.first..member.first + part.len()].copy_from_slice(part);
                }
            }
            more.insert(arena, Tensor::new(shape, values)?);
        }
        if self.cache.last().is_none() {
            // Their parameters lie apart, and not in the arena that this session creates.
            self.network.drop_sessions();
        }
        let cache = &mut self.cache;
        let open = self.network.open(&prepared.graph, &prepared.fetches, &more, |bytes| cache.make_room(bytes));
        let (bytes, session) = pollster::block_on(open)?;
        let compiled = Compiled { session: session.into(), names: prepared.names.into(), losses: prepared.losses };
        self.cache.insert(key, bytes, compiled.clone());
        self.members = prepared.members;
        Ok(compiled)
    }

    fn prepare(&self, given: &[Given]) -> Result<Prepared> {
        let drafted = self.network.draft(given, true)?;
        let mut graph = drafted.graph;
        let mut total: Option<NodeId> = None;
        for (_, loss) in &drafted.losses {
            total = Some(match total {
                Some(sum) => graph.plus(sum, *loss)?,
                None => *loss,
            });
        }
        let Some(total) = total else {
            return Err(Error::Usage("the network names no loss to train by; add one with Draft::loss".into()));
        };
        let mut rule = self.rule.clone();
        let frozen = self.frozen.iter().map(|pattern| Group { pattern: pattern.clone(), lr: 0.0, weight_decay: 0.0 });
        rule.groups = frozen.chain(rule.groups).collect();
        let Step { fetches: step, members } = rule.minimize(&mut graph, total)?;
        let losses = drafted.losses.len();
        let (names, mut fetches): (Vec<String>, Vec<NodeId>) =
            drafted.losses.into_iter().chain(drafted.outputs).unzip();
        // The factor and norm of the gradients, then the updates.
        fetches.extend(&step[1..]);
        Ok(Prepared { graph, names, losses, fetches, members, total })
    }
}
