//! Rewrites a network when it is read, whatever the sizes of its inputs: constants are evaluated, scales and shifts of channels become a
//! part of the layer before them, and matrices that no adapter binds whole are split.

use super::array::Array;
use super::lower::{Attribute, Call, Known, Lowering, Node, Value};
use super::model::Model;
use crate::graph::Graph;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Elements of a matrix from which it is split by its columns: 32 MiB, a quarter of what every adapter of WebGPU binds.
const LARGE_MATRIX: usize = 8 << 20;

/// A factor and a summand for each output channel.
struct Affine {
    factors: Vec<f64>,
    summands: Vec<f64>,
}

/// The names of all values.
struct Names(HashSet<String>);

impl Names {
    /// Returns a name that no value has, like `name`.
    fn fresh(&mut self, name: &str) -> String {
        let fresh = (1..).map(|k| format!("{name}.{k}")).find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(fresh.clone());
        fresh
    }
}

impl Model {
    pub(super) fn simplified(mut self) -> Self {
        self.simplify();
        self
    }

    fn simplify(&mut self) {
        self.fold();
        let outputs = self.nodes.iter().flat_map(|node| &node.outputs);
        let mut names = Names(self.initializers.keys().chain(outputs).cloned().collect());
        self.absorb(&mut names);
        self.join_gates();
        self.split(&mut names);
        self.forget_unused();
    }

    /// Evaluates the nodes that depend on no input; their outputs become initializers.
    fn fold(&mut self) {
        let mut graph = Graph::new();
        let mut lowering = Lowering::new(&mut graph);
        let mut kept = Vec::new();
        for node in std::mem::take(&mut self.nodes) {
            let known: Option<Vec<Value>> = node
                .inputs
                .iter()
                .map(|name| match self.initializers.get(name) {
                    _ if name.is_empty() => Some(Value::Absent),
                    known => known.map(|known| Value::Known(known.clone())),
                })
                .collect();
            let outputs = known.filter(|_| !self.operators.contains_key(&node.op)).and_then(|inputs| {
                lowering.call(&Call::new(&node, inputs, self.opset)).ok().filter(|all| all.len() >= node.outputs.len())
            });
            // What cannot be evaluated is reported when the network is added.
            let Some(outputs) = outputs.filter(|all| all.iter().all(|value| value.known().is_some())) else {
                kept.push(node);
                continue;
            };
            for (name, value) in node.outputs.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
                if let Value::Known(known) = value {
                    self.insert(name, known.array);
                }
            }
        }
        self.nodes = kept;
    }

    /// Adds an initializer; one of floats is a parameter.
    fn insert(&mut self, name: &str, array: Arc<Array>) {
        let parameter = array.kind().is_float().then(|| super::lower::clean(name));
        self.initializers.insert(name.to_owned(), Known { array, name: parameter });
    }

    fn uses(&self) -> HashMap<&str, usize> {
        let mut uses = HashMap::new();
        let read = self.nodes.iter().flat_map(|node| &node.inputs);
        for name in read.chain(self.outputs.iter().map(|port| &port.name)) {
            *uses.entry(name.as_str()).or_insert(0) += 1;
        }
        uses
    }

    /// Multiplies filters and biases by what follows them: batch normalisation, or a factor or summand per channel. A layer takes the name of
    /// what it absorbed, so that it can absorb what follows that too.
    fn absorb(&mut self, names: &mut Names) {
        let uses: HashMap<String, usize> =
            self.uses().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        // Convolutions whose result is read once, by its name.
        let mut made: HashMap<String, usize> = HashMap::new();
        let mut kept: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes) {
            let from = node.inputs.iter().find_map(|name| Some((name, *made.get(name)?)));
            let absorbed =
                from.and_then(|(name, layer)| Some((layer, self.absorbed(&kept[layer], &node, name, names)?)));
            let is_layer =
                matches!(node.op.as_str(), "Conv" | "ConvTranspose") && !self.operators.contains_key(&node.op);
            let (layer, output) = match absorbed {
                Some((layer, inputs)) => {
                    kept[layer].inputs.truncate(1);
                    kept[layer].inputs.extend(inputs);
                    kept[layer].outputs.clone_from(&node.outputs);
                    (Some(layer), node.outputs.into_iter().next())
                }
                None => {
                    let output = node.outputs.first().cloned();
                    kept.push(node);
                    (is_layer.then_some(kept.len() - 1), output)
                }
            };
            if let (Some(layer), Some(output)) = (layer, output.filter(|output| uses.get(output) == Some(&1))) {
                made.insert(output, layer);
            }
        }
        self.nodes = kept;
    }

    /// Adds the filters and the bias with which a layer also does what `next`, which reads its result `from`, does, and returns their
    /// names; `None` if there are none.
    fn absorbed(&mut self, layer: &Node, next: &Node, from: &str, names: &mut Names) -> Option<[String; 2]> {
        let affine = self.affine(next, from, self.channels(layer)?)?;
        if next.outputs.iter().skip(1).any(|name| !name.is_empty()) {
            return None;
        }
        let (w, b) = (self.scaled_filters(layer, &affine)?, self.scaled_bias(layer, &affine)?);
        let roles = [&layer.inputs[1], layer.inputs.get(2).filter(|b| !b.is_empty()).unwrap_or(&layer.inputs[1])];
        let mut add = |role: &str, array: Array| {
            let name = names.fresh(role);
            self.insert(&name, Arc::new(array));
            name
        };
        Some([add(roles[0], w), add(roles[1], b)])
    }

    /// Returns the output channels of a convolution with known filters and bias.
    fn channels(&self, node: &Node) -> Option<usize> {
        let w = &self.initializers.get(node.inputs.get(1)?)?.array;
        let has_known_bias = node.inputs.get(2).is_none_or(|b| b.is_empty() || self.initializers.contains_key(b));
        let is_grouped = node.attributes.iter().any(|(name, value)| name == "group" && *value != Attribute::Int(1));
        match node.op.as_str() {
            _ if !has_known_bias || w.dims().len() != 4 || !w.kind().is_float() => None,
            "Conv" => Some(w.dims()[0]),
            _ if is_grouped => None,
            _ => Some(w.dims()[1]),
        }
    }

    /// Returns what a node does to each of so many channels of `from`, if that is all that it does.
    fn affine(&self, node: &Node, from: &str, channels: usize) -> Option<Affine> {
        if self.operators.contains_key(&node.op) {
            return None;
        }
        let known = |i: usize| Some(self.initializers.get(node.inputs.get(i)?)?.array.clone());
        let is_first = node.inputs.first().is_some_and(|first| first == from);
        if node.op == "BatchNormalization" {
            let statistics: Option<Vec<Vec<f64>>> =
                (1..5).map(|i| known(i).filter(|v| v.dims() == [channels]).map(|v| v.to_f64())).collect();
            let is_training =
                node.attributes.iter().any(|(name, value)| name == "training_mode" && *value != Attribute::Int(0));
            let eps = float(node, "epsilon", 1e-5)?;
            let [scale, bias, mean, variance] = statistics.filter(|_| is_first && !is_training)?.try_into().ok()?;
            let factors: Vec<f64> =
                scale.iter().zip(&variance).map(|(scale, variance)| scale / (variance + eps).sqrt()).collect();
            let summands = (0..channels).map(|c| bias[c] - mean[c] * factors[c]).collect();
            return Some(Affine { factors, summands });
        }
        let is_old = self.opset < 7 || !node.attributes.is_empty();
        if !matches!(node.op.as_str(), "Mul" | "Add" | "Sub" | "Div") || is_old || node.inputs.len() != 2 {
            return None;
        }
        if !is_first && matches!(node.op.as_str(), "Sub" | "Div") {
            return None;
        }
        let other = known(usize::from(is_first)).filter(|other| other.kind().is_float())?;
        let values = per_channel(&other, channels)?;
        let (one, zero) = (vec![1.0; channels], vec![0.0; channels]);
        Some(match node.op.as_str() {
            "Mul" => Affine { factors: values, summands: zero },
            "Div" if values.contains(&0.0) => return None,
            "Div" => Affine { factors: values.iter().map(|v| 1.0 / v).collect(), summands: zero },
            "Add" => Affine { factors: one, summands: values },
            _ => Affine { factors: one, summands: values.iter().map(|v| -v).collect() },
        })
    }

    fn scaled_filters(&self, node: &Node, affine: &Affine) -> Option<Array> {
        let w = &self.initializers.get(&node.inputs[1])?.array;
        let dims = w.dims();
        let taps: usize = dims[2..].iter().product();
        let channel = |i: usize| if node.op == "Conv" { i / (taps * dims[1]) } else { i / taps % dims[1] };
        let values: Vec<f64> = w.to_f64().iter().enumerate().map(|(i, v)| v * affine.factors[channel(i)]).collect();
        Array::from_f64(dims, w.kind(), &values).ok()
    }

    fn scaled_bias(&self, node: &Node, affine: &Affine) -> Option<Array> {
        let channels = affine.factors.len();
        let b = node.inputs.get(2).filter(|b| !b.is_empty()).map(|b| self.initializers.get(b));
        let b = match b {
            Some(known) => known?.array.to_f64(),
            None => vec![0.0; channels],
        };
        let values: Vec<f64> =
            (0..channels).map(|c| b.get(c).map_or(0.0, |b| b * affine.factors[c] + affine.summands[c])).collect();
        Array::from_f64(&[channels], self.initializers.get(&node.inputs[1])?.array.kind(), &values).ok()
    }

    /// Makes one function of x times a gate of x, such as its sigmoid, so that the layer before can compute it too.
    fn join_gates(&mut self) {
        let uses = self.uses();
        let gate = |node: &Node| {
            let ([x], [output]) = (&node.inputs[..], &node.outputs[..]) else { return None };
            let joined = match node.op.as_str() {
                "Sigmoid" => "Swish",
                "HardSigmoid" if is_of_hard_swish(node) => "HardSwish",
                _ => return None,
            };
            let is_known = [&node.op, joined, "Mul"].iter().all(|op| !self.operators.contains_key(*op));
            (is_known && uses.get(output.as_str()) == Some(&1)).then(|| (output.clone(), (x.clone(), joined)))
        };
        let gates: HashMap<String, (String, &str)> = self.nodes.iter().filter_map(gate).collect();
        let mut joined = HashSet::new();
        for node in self.nodes.iter_mut().filter(|node| node.op == "Mul" && node.inputs.len() == 2) {
            for k in 0..2 {
                let Some((x, op)) = gates.get(&node.inputs[k]).filter(|(x, _)| *x == node.inputs[1 - k]) else {
                    continue;
                };
                joined.insert(std::mem::take(&mut node.inputs[k]));
                node.op = (*op).to_owned();
                node.inputs = vec![x.clone()];
                node.attributes.clear();
                break;
            }
        }
        self.nodes.retain(|node| !node.outputs.first().is_some_and(|output| joined.contains(output)));
    }

    /// Splits products with a large known matrix by its columns, and joins the results.
    fn split(&mut self, names: &mut Names) {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes) {
            match self.parts(&node, names) {
                Some(parts) => nodes.extend(parts),
                None => nodes.push(node),
            }
        }
        self.nodes = nodes;
    }

    fn parts(&mut self, node: &Node, names: &mut Names) -> Option<Vec<Node>> {
        if !matches!(node.op.as_str(), "Gemm" | "MatMul") || self.operators.contains_key(&node.op) {
            return None;
        }
        let w = self.initializers.get(node.inputs.get(1)?)?.array.clone();
        let &[h, width] = w.dims() else { return None };
        if h * width <= LARGE_MATRIX || !w.kind().is_float() {
            return None;
        }
        let is_transposed = node.attributes.iter().any(|(name, value)| name == "transB" && *value != Attribute::Int(0));
        let columns = if is_transposed { h } else { width };
        let bias = match node.inputs.get(2).filter(|b| !b.is_empty()) {
            Some(b) => Some(self.initializers.get(b).map(|b| b.array.clone()).filter(|b| b.dims() == [columns])?),
            None => None,
        };
        let count = (h * width).div_ceil(LARGE_MATRIX).min(columns);
        let each = columns.div_ceil(count);
        let (mut nodes, mut results) = (Vec::new(), Vec::new());
        for begin in (0..columns).step_by(each) {
            let len = each.min(columns - begin);
            let (dims, part): ([usize; 2], Vec<usize>) = if is_transposed {
                ([len, width], (begin * width..(begin + len) * width).collect())
            } else {
                ([h, len], (0..h).flat_map(|row| row * width + begin..row * width + begin + len).collect())
            };
            let part = w.take(&dims, part.into_iter().map(Some), 0.0).ok()?;
            let mut inputs = vec![node.inputs[0].clone(), names.fresh(&node.inputs[1])];
            self.insert(&inputs[1], Arc::new(part));
            if let Some(bias) = &bias {
                let part = bias.take(&[len], (begin..begin + len).map(Some), 0.0).ok()?;
                inputs.push(names.fresh(&node.inputs[2]));
                self.insert(&inputs[2], Arc::new(part));
            }
            let output = names.fresh(&format!("{}.{begin}", node.outputs[0]));
            results.push(output.clone());
            let name = format!("{}.{begin}", node.label());
            nodes.push(Node { name, inputs, outputs: vec![output], ..node.clone() });
        }
        let axis = Attribute::Int(-1);
        nodes.push(Node {
            op: "Concat".into(),
            name: node.name.clone(),
            inputs: results,
            outputs: node.outputs.clone(),
            attributes: vec![("axis".into(), axis)],
        });
        Some(nodes)
    }

    /// Drops initializers that nothing reads, as those that became others.
    fn forget_unused(&mut self) {
        let uses: HashSet<String> = self.uses().into_keys().map(str::to_owned).collect();
        self.initializers.retain(|name, _| uses.contains(name));
    }
}

/// Returns a float among a node's attributes, or what it is if it is not given; `None` if it is none.
fn float(node: &Node, name: &str, default: f64) -> Option<f64> {
    match node.attributes.iter().find(|(key, _)| key == name) {
        None => Some(default),
        Some((_, Attribute::Float(value))) => Some(f64::from(*value)),
        Some(_) => None,
    }
}

/// Returns whether a node of HardSigmoid is clamp(x/6 + 1/2, 0, 1).
fn is_of_hard_swish(node: &Node) -> bool {
    let is_near = |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 1e-6);
    is_near(float(node, "alpha", 0.2), 1.0 / 6.0) && is_near(float(node, "beta", 0.5), 0.5)
}

/// Returns a value for each of so many channels of `[N, C, …]`, if the array has one: a scalar, or one whose only axis other than 1 is
/// that of the channels, with one or two behind it.
fn per_channel(array: &Array, channels: usize) -> Option<Vec<f64>> {
    let values = array.to_f64();
    if values.len() == 1 && array.dims().len() <= 4 {
        return Some(vec![values[0]; channels]);
    }
    let fits = match *array.dims() {
        [c, 1, 1] | [1, c, 1, 1] => c == channels,
        _ => false,
    };
    fits.then_some(values)
}
