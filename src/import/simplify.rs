//! Rewrites a network when it is read, whatever the sizes of its inputs: constants are evaluated, scales and shifts of channels become a
//! part of the layer before them, and matrices that no adapter binds whole are split.

use super::array::Array;
use super::lower::{Attribute, Call, Known, Lowering, Node, Value};
use super::model::Model;
use crate::graph::Graph;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Elements of a matrix from which it is split by its columns: 32 MiB, a quarter of what every adapter of WebGPU binds.
const LARGE_MATRIX: usize = 8 << 20;

/// A factor and a summand for each output channel.
struct Affine {
    factors: Vec<f64>,
    summands: Vec<f64>,
}

impl Model {
    pub(super) fn simplify(&mut self) {
        self.fold();
        self.absorb();
        self.split();
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

    /// Returns a name that no value has, like `name`.
    fn fresh(&self, name: &str) -> String {
        let is_taken = |name: &str| {
            self.initializers.contains_key(name)
                || self.nodes.iter().any(|node| node.outputs.iter().any(|output| output == name))
        };
        (1..).map(|k| format!("{name}.{k}")).find(|name| !is_taken(name)).unwrap_or_default()
    }

    fn uses(&self) -> HashMap<&str, usize> {
        let mut uses = HashMap::new();
        let read = self.nodes.iter().flat_map(|node| &node.inputs);
        for name in read.chain(self.outputs.iter().map(|port| &port.name)) {
            *uses.entry(name.as_str()).or_insert(0) += 1;
        }
        uses
    }

    /// Multiplies filters and biases by what follows them: batch normalisation, or a factor or summand per channel.
    fn absorb(&mut self) {
        while let Some((layer, next, affine)) = self.absorbable() {
            let node = self.nodes[layer].clone();
            let (Some(w), Some(b)) = (self.scaled_filters(&node, &affine), self.scaled_bias(&node, &affine)) else {
                return;
            };
            let mut names = Vec::new();
            for (role, array) in
                [(&node.inputs[1], w), (node.inputs.get(2).filter(|b| !b.is_empty()).unwrap_or(&node.inputs[1]), b)]
            {
                let name = self.fresh(role);
                self.insert(&name, Arc::new(array));
                names.push(name);
            }
            let output = self.nodes[next].outputs[0].clone();
            let layer = &mut self.nodes[layer];
            layer.inputs.truncate(1);
            layer.inputs.extend(names);
            layer.outputs[0] = output;
            self.nodes.remove(next);
        }
    }

    /// Returns a layer, the node that alone reads its result, and what that does to each channel.
    fn absorbable(&self) -> Option<(usize, usize, Affine)> {
        let uses = self.uses();
        let made: BTreeMap<&str, usize> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| {
                matches!(node.op.as_str(), "Conv" | "ConvTranspose") && !self.operators.contains_key(&node.op)
            })
            .filter_map(|(k, node)| Some((node.outputs.first()?.as_str(), k)))
            .collect();
        self.nodes.iter().enumerate().find_map(|(next, node)| {
            let is_single = |name: &&String| uses.get(name.as_str()) == Some(&1) && made.contains_key(name.as_str());
            let from = node.inputs.iter().find(is_single)?;
            let layer = *made.get(from.as_str())?;
            let affine = self.affine(node, from, self.channels(&self.nodes[layer])?)?;
            (layer < next && node.outputs.iter().skip(1).all(String::is_empty)).then_some((layer, next, affine))
        })
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
            let eps =
                node.attributes.iter().find(|(name, _)| name == "epsilon").map_or(
                    Some(1e-5),
                    |(_, value)| match value {
                        Attribute::Float(eps) => Some(f64::from(*eps)),
                        _ => None,
                    },
                )?;
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

    /// Splits products with a large known matrix by its columns, and joins the results.
    fn split(&mut self) {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes) {
            match self.parts(&node) {
                Some(parts) => nodes.extend(parts),
                None => nodes.push(node),
            }
        }
        self.nodes = nodes;
    }

    fn parts(&mut self, node: &Node) -> Option<Vec<Node>> {
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
            let mut inputs = vec![node.inputs[0].clone(), self.fresh(&node.inputs[1])];
            self.insert(&inputs[1], Arc::new(part));
            if let Some(bias) = &bias {
                let part = bias.take(&[len], (begin..begin + len).map(Some), 0.0).ok()?;
                inputs.push(self.fresh(&node.inputs[2]));
                self.insert(&inputs[2], Arc::new(part));
            }
            let output = self.fresh(&format!("{}.{begin}", node.outputs[0]));
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
        let uses: std::collections::HashSet<String> = self.uses().into_keys().map(str::to_owned).collect();
        self.initializers.retain(|name, _| uses.contains(name));
    }
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
