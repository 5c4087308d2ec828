//! A network for inputs of any size, with a session for each combination of input shapes.

use super::compile::parameters;
use super::device::{Backend, Device};
use super::params::Params;
use super::session::Session;
use crate::error::{Error, Result};
use crate::graph::{Draft, Drafted, Given, Graph, Kind, Member, Node, NodeId};
use crate::tensor::{Shape, Tensor};
use crate::weights::Weights;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that a network's sessions may take together unless [`Network::set_budget`] says otherwise.
const BUDGET_BYTES: u64 = 256 << 20;

type Build = dyn Fn(&Draft) + Send + Sync;

/// A function of [`Var`](crate::Var)s with weights. Each combination of input shapes gets a session when it first occurs.
/// Sessions are kept until others need their memory; the least recently used one is dropped first. All sessions read one copy of
/// the weights. Clones are the same network.
///
/// ```
/// use lineament::prelude::*;
///
/// # fn main() -> Result<()> {
/// let device = Device::open(&Select::Cpu)?;
/// let network = device.network(Params::fresh(1), |g| {
///     let x = g.input("x").conv("conv1", 4, 3, Conv2d::same(3)).relu();
///     g.output("y", x.conv("conv2", 1, 3, Conv2d::same(3)) + g.input("x"));
/// });
/// for side in [5, 8] {
///     let y = network.run(&[("x", &Tensor::filled([1, 1, side, side], 0.5))])?;
///     assert_eq!(y["y"].shape(), [1, 1, side, side]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    device: Device,
    build: Arc<Build>,
    state: Mutex<State>,
    /// Blocking callers wait here for each other.
    turn: Arc<Mutex<()>>,
}

struct State {
    params: Params,
    cache: Cache,
    /// Names of the parameters and states that belong to the network's weights, as far as graphs have shown them.
    names: BTreeSet<String>,
}

/// A session and the names of what it fetches.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub session: Arc<Session>,
    pub names: Arc<[String]>,
    /// How many of the names, from the first on, are those of losses.
    pub losses: usize,
}

/// What a session is for: shapes and types of the inputs, and the names of fetched nodes; none for the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub given: Vec<Given>,
    pub fetch: Vec<String>,
}

/// Sessions, least recently used first, that take at most a budget of bytes together, or a single one of any size.
#[derive(Debug)]
pub(crate) struct Cache {
    budget_bytes: u64,
    kept: Vec<(Key, u64, Compiled)>,
}

impl Cache {
    pub fn new(budget_bytes: u64) -> Self {
        Self { budget_bytes, kept: Vec::new() }
    }

    /// Returns the session for `key`, and makes it the most recently used.
    pub fn get(&mut self, key: &Key) -> Option<Compiled> {
        let at = self.kept.iter().position(|(known, ..)| known == key)?;
        self.kept[at..].rotate_left(1);
        self.kept.last().map(|(.., compiled)| compiled.clone())
    }

    /// Adds a session that takes `bytes`.
    pub fn insert(&mut self, key: Key, bytes: u64, compiled: Compiled) {
        self.make_room(bytes);
        self.kept.push((key, bytes, compiled));
    }

    /// Drops the least recently used sessions until `bytes` more fit into the budget or no session is left.
    pub fn make_room(&mut self, bytes: u64) {
        let mut total = self.kept.iter().map(|(_, bytes, _)| bytes).sum::<u64>().saturating_add(bytes);
        while total > self.budget_bytes && !self.kept.is_empty() {
            total -= self.kept.remove(0).1;
        }
    }

    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// Returns the most recently used session.
    pub fn last(&self) -> Option<&Compiled> {
        self.kept.last().map(|(.., compiled)| compiled)
    }
}

/// Tensors by name, in the order in which the network names them.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    pub(crate) fn new(named: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        Self(named.into_iter().collect())
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// Removes and returns the tensor `name`.
    ///
    /// # Errors
    /// There is none of this name; the error lists the names.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        match self.0.iter().position(|(known, _)| known == name) {
            Some(k) => Ok(self.0.remove(k).1),
            None => Err(Error::graph(name, format!("is not among the outputs {:?}", self.names()))),
        }
    }

    /// Returns the only element of the scalar `name`, such as a loss; NaN if there is none.
    pub fn scalar(&self, name: &str) -> f32 {
        self.get(name).and_then(|tensor| tensor.elements::<f32>()?.first().copied()).unwrap_or(f32::NAN)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn names(&self) -> Vec<&str> {
        self.iter().map(|(name, _)| name).collect()
    }
}

impl std::ops::Index<&str> for Outputs {
    type Output = Tensor;
    /// # Panics
    /// Panics if there is no tensor of this name; see [`Outputs::get`].
    fn index(&self, name: &str) -> &Tensor {
        self.get(name).unwrap_or_else(|| panic!("{name:?} is not among the outputs {:?}", self.names()))
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Network").field("device", &self.0.device).field("kept", &self.kept()).finish_non_exhaustive()
    }
}

impl Device {
    /// Creates a network with `weights`. `build` is called for each combination of input shapes, and asks the [`Draft`] for its
    /// inputs by name.
    pub fn network(&self, weights: impl Into<Params>, build: impl Fn(&Draft) + Send + Sync + 'static) -> Network {
        Network::new(self.clone(), Arc::new(build), weights.into(), BTreeSet::new(), Arc::default())
    }
}

/// Returns the node of an output, or of a node by its path.
fn named(drafted: &Drafted, name: &str) -> Result<NodeId> {
    let output = drafted.outputs.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
    output.or_else(|| drafted.graph.find(name)).ok_or_else(|| {
        let outputs: Vec<&str> = drafted.outputs.iter().map(|(name, _)| name.as_str()).collect();
        let problem = format!("is neither an output, of which there are {outputs:?}, nor the path of a node");
        Error::graph(name, problem)
    })
}

impl Network {
    fn new(device: Device, build: Arc<Build>, params: Params, names: BTreeSet<String>, turn: Arc<Mutex<()>>) -> Self {
        let state = State { params: params.into_shared(), cache: Cache::new(BUDGET_BYTES), names };
        Self(Arc::new(Inner { device, build, state: Mutex::new(state), turn }))
    }

    /// Returns a network with the same function and other weights.
    pub fn with(&self, weights: impl Into<Params>) -> Self {
        let Inner { device, build, .. } = &*self.0;
        Self::new(device.clone(), build.clone(), weights.into(), BTreeSet::new(), Arc::default())
    }

    /// Returns the shape of a weight.
    pub(crate) fn shape_of(&self, name: &str) -> Option<Shape> {
        self.state().params.weights().get(name).map(Tensor::shape)
    }

    /// Returns a network with the same function that reads `members` at their places in the state `arena`, has `others` for itself, and
    /// reads all other weights where this network has them.
    pub(crate) fn beside(&self, arena: &str, members: &[Member], others: &BTreeMap<String, Tensor>) -> Self {
        let Inner { device, build, turn, .. } = &*self.0;
        let state = self.state();
        let params = state.params.beside(arena, members, others);
        Self::new(device.clone(), build.clone(), params, state.names.clone(), turn.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Returns the network's graph for these inputs.
    ///
    /// # Errors
    /// The first error of the function that builds the network.
    pub fn draft(&self, given: &[Given], is_training: bool) -> Result<Drafted> {
        let drafted = self.draft_of(given, is_training)?;
        match given.iter().find(|given| drafted.graph.find(&given.name).is_none()) {
            Some(unused) => Err(Error::graph(&unused.name, "is given, but the network does not ask for it")),
            None => Ok(drafted),
        }
    }

    /// Returns the network's graph for those of these inputs for which it asks.
    pub(crate) fn draft_of(&self, given: &[Given], is_training: bool) -> Result<Drafted> {
        Drafted::new(given, is_training, &*self.0.build)
    }

    /// Returns the session for inputs of these shapes: a kept one, or a new one for which others may be dropped. It fetches the
    /// outputs in their order.
    ///
    /// # Errors
    /// Those of the function that builds the network, and of [`Device::compile`].
    pub async fn session_async(&self, given: &[Given]) -> Result<Arc<Session>> {
        Ok(self.compiled(Key { given: given.to_vec(), fetch: Vec::new() }).await?.session)
    }

    async fn compiled(&self, key: Key) -> Result<Compiled> {
        if let Some(known) = self.state().cache.get(&key) {
            return Ok(known);
        }
        let drafted = self.draft(&key.given, false)?;
        let (names, fetches): (Vec<String>, Vec<NodeId>) = if key.fetch.is_empty() {
            drafted.outputs.iter().cloned().unzip()
        } else {
            let ids: Result<Vec<NodeId>> = key.fetch.iter().map(|name| named(&drafted, name)).collect();
            (key.fetch.clone(), ids?)
        };
        self.learn_names(&drafted.graph, false);
        // Frees memory before the new session takes its own.
        let make_room = |bytes| self.state().cache.make_room(bytes);
        let (bytes, session) = self.open(&drafted.graph, &fetches, &Weights::default(), make_room).await?;
        let mut state = self.state();
        // Another thread may have made one in the meantime, and filled the memory.
        if let Some(known) = state.cache.get(&key) {
            return Ok(known);
        }
        let compiled = Compiled { session: Arc::new(session), names: names.into(), losses: 0 };
        state.cache.insert(key, bytes, compiled.clone());
        Ok(compiled)
    }

    /// Opens a session of `graph` with the network's weights and `more`, and returns its bytes too, with which `before` is called
    /// before the session takes its memory.
    ///
    /// # Errors
    /// As [`Device::compile`].
    pub(crate) async fn open(
        &self,
        graph: &Graph,
        fetches: &[NodeId],
        more: &Weights,
        before: impl FnOnce(u64),
    ) -> Result<(u64, Session)> {
        let mut params = self.state().params.clone();
        if !more.tensors().is_empty() {
            params = params.with(params.weights().and(more.tensors().clone()));
        }
        let parameters = parameters(graph, &params)?;
        self.keep_drawn(graph, &parameters);
        let planned = self.0.device.planned(graph, fetches)?;
        let bytes = planned.plan.peak_bytes();
        before(bytes);
        Ok((bytes, self.0.device.open_session(planned, &params, &parameters, None).await?))
    }

    /// Adds the trainable parameters that were drawn by a seed to the weights.
    fn keep_drawn(&self, graph: &Graph, parameters: &HashMap<usize, Tensor>) {
        let mut state = self.state();
        let known = state.params.weights().tensors();
        let mut drawn = BTreeMap::new();
        for (node, tensor) in parameters {
            let Node { name, kind, .. } = &graph.nodes()[*node];
            if matches!(kind, Kind::Param { trainable: true, .. }) && !known.contains_key(name) {
                drawn.insert(name.clone(), tensor.clone());
            }
        }
        if !drawn.is_empty() {
            state.params = state.params.with(state.params.weights().and(drawn));
        }
    }

    /// Takes note of the parameters of `graph` that belong to the network's weights. The states of a graph for training, such as the
    /// number of its runs, do not.
    pub(crate) fn learn_names(&self, graph: &Graph, is_training: bool) {
        let belongs = |kind: &Kind| matches!(kind, Kind::Param { trainable, .. } if *trainable || !is_training);
        let names = graph.nodes().iter().filter(|node| belongs(&node.kind)).map(|node| node.name.clone());
        self.state().names.extend(names);
    }

    pub(crate) fn drop_sessions(&self) {
        self.state().cache.clear();
    }

    /// Drops all sessions and starts with `weights` again, which sessions share from now on even if they overwrite them.
    pub(crate) fn restart(&self, weights: Weights) {
        let mut state = self.state();
        state.cache.clear();
        state.params = state.params.live(weights);
    }

    /// Returns the current weights, including what was learned since the network was created.
    ///
    /// # Errors
    /// All of them are still to be drawn, because their shapes are known only when the network is first given inputs; the device fails.
    pub async fn weights_async(&self) -> Result<Weights> {
        let weights = self.known_weights_async().await?;
        if weights.tensors().is_empty() && self.state().names.is_empty() && self.state().params.seed().is_some() {
            return Err(Error::Usage(
                "the network's weights are not drawn yet; run it once, on inputs of any shape".into(),
            ));
        }
        Ok(weights)
    }

    /// Returns the current weights, without those that are still to be drawn.
    pub(crate) async fn known_weights_async(&self) -> Result<Weights> {
        let all = self.state_async().await?;
        let state = self.state();
        // Before any graph was built, nothing is known of what the weights hold.
        let belongs = |name: &String| state.names.contains(name) || state.names.is_empty();
        let tensors: BTreeMap<String, Tensor> = all
            .tensors()
            .iter()
            .filter(|(name, _)| belongs(name) && !name.starts_with("optimizer/"))
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect();
        Ok(Weights::new(all.name(), tensors, all.manifest().clone()))
    }

    /// Returns the weights and everything else that sessions keep between runs.
    pub(crate) async fn state_async(&self) -> Result<Weights> {
        let params = self.state().params.clone();
        let gpu = match &self.0.device.backend {
            Backend::Gpu(on) => Some(&on.gpu),
            Backend::Cpu => None,
        };
        match params.resident() {
            Some(resident) => Ok(params.weights().and(resident.read(gpu).await?)),
            None => Ok(params.weights().clone()),
        }
    }

    /// Replaces the weights, and drops all sessions.
    pub fn load(&self, weights: Weights) {
        let mut state = self.state();
        state.cache.clear();
        state.params = state.params.replaced(weights);
    }

    /// Runs the network on inputs of any shapes that it accepts, and returns its outputs by name.
    ///
    /// # Errors
    /// As [`Network::session_async`] and [`Session::run_async`].
    pub async fn run_async(&self, inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        self.fetch_async(&[], inputs).await
    }

    /// Runs the network and returns the outputs and nodes `names`: an output by its name, any other value by its path, such as
    /// `conv3.relu`.
    ///
    /// # Errors
    /// As [`Network::run_async`]; there is neither an output nor a node of a name.
    pub async fn fetch_async(&self, names: &[&str], inputs: &[(&str, &Tensor)]) -> Result<Outputs> {
        let given = inputs.iter().map(|&input| input.into()).collect();
        let fetch = names.iter().map(|&name| name.to_owned()).collect();
        let compiled = self.compiled(Key { given, fetch }).await?;
        let tensors = compiled.session.run_async(inputs).await?;
        Ok(Outputs::new(compiled.names.iter().cloned().zip(tensors)))
    }

    /// Returns the inputs of the kept sessions, least recently used first.
    pub fn kept(&self) -> Vec<Vec<Given>> {
        self.state().cache.kept.iter().map(|(key, ..)| key.given.clone()).collect()
    }

    /// Limits the bytes that the sessions take together to `budget_bytes` from now on. A single session may take more.
    pub fn set_budget(&self, budget_bytes: u64) {
        let mut state = self.state();
        state.cache.budget_bytes = budget_bytes;
        state.cache.make_room(0);
    }

    /// Waits until no other blocking call runs.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
