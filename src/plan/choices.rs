//! Which shader serves which layer: plain data that the planner follows, no matter who measured it.

use crate::ops::{FORWARD, Io, Op};
use crate::shape::Shape;
use std::collections::BTreeMap;

/// A layer that was not measured follows one whose height and width are within this factor of its own. Windows of pictures
/// have many sizes, and which shader is fastest changes little between them.
const NEAR: f64 = 2.0;

/// Which shader serves each measured layer. Plain data.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choices {
    /// By [`key`].
    pub layers: BTreeMap<String, Choice>,
}

/// What was measured of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// File stem of the shader to use.
    pub stem: String,
    /// All shaders that were compared, in the order of [`Op::kernels`].
    pub candidates: Vec<Candidate>,
}

impl Choice {
    /// Returns the milliseconds that the shader `stem` took, or `None` if it was not measured or is banned.
    pub fn ms(&self, stem: &str) -> Option<f64> {
        match self.candidates.iter().find(|candidate| candidate.stem == stem)?.outcome {
            Outcome::Ms(ms) => Some(ms),
            Outcome::Banned(_) => None,
        }
    }
}

/// A shader that was compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub stem: String,
    pub outcome: Outcome,
}

/// The result of comparing a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Milliseconds per run: the minimum on software adapters, where noise only adds time, otherwise the median.
    Ms(f64),
    /// Never used: its results differ from the reference, or it failed.
    Banned(String),
}

/// Returns the layer's name in [`Choices`]: operation, `forward` or `d<input>`, shapes of the inputs, attributes.
pub fn key(op: &dyn Op, gradient: Option<&str>, x: &[Shape]) -> String {
    let [begin, end] = around_shapes(op, gradient);
    format!("{begin}{x:?}{end}")
}

/// Returns what comes before and after the shapes in [`key`].
fn around_shapes(op: &dyn Op, gradient: Option<&str>) -> [String; 2] {
    let wanted = gradient.map_or_else(|| "forward".to_owned(), |input| format!("d{input}"));
    [format!("{} {wanted} ", op.name()), format!(" {op:?}")]
}

/// Returns the factor by which the maps of two layers differ in height or width, whichever is larger, or `None` if the layers
/// differ in anything but their sizes or by more than [`NEAR`]. Sizes may differ in the first input and, in proportion, in others.
fn distance(x: &[Shape], other: &[Shape]) -> Option<f64> {
    let is_spatial = |shape: &&Shape| shape.rank() == 4;
    let (&first, &other_first) = x.first().filter(is_spatial).zip(other.first().filter(is_spatial))?;
    let is_in_proportion = |(a, b): (&Shape, &Shape)| {
        a == b
            || (a.rank() == 4
                && b.rank() == 4
                && a[..2] == b[..2]
                && [2, 3].iter().all(|&k| a[k] * other_first[k] == b[k] * first[k]))
    };
    let ratio = |k: usize| (first[k] as f64 / other_first[k] as f64).max(other_first[k] as f64 / first[k] as f64);
    let is_same = x.len() == other.len() && x.iter().zip(other).all(is_in_proportion);
    Some(ratio(2).max(ratio(3))).filter(|far| is_same && *far <= NEAR)
}

/// Returns the shapes that a key lists.
fn shapes_of(text: &str) -> Option<Vec<Shape>> {
    serde_json::from_str::<Vec<Vec<usize>>>(text).ok()?.iter().map(|sizes| Shape::new(sizes)).collect()
}

impl Choices {
    /// Returns the shader for a layer, as [`Choices::choice`] does. It may not exist or may not serve the layer.
    pub fn stem(&self, op: &dyn Op, gradient: Option<&str>, x: &[Shape]) -> Option<&str> {
        self.choice(op, gradient, x).map(|choice| choice.stem.as_str())
    }

    /// Returns what was measured of a layer: at its own size, otherwise at the nearest size within a factor of two.
    pub fn choice(&self, op: &dyn Op, gradient: Option<&str>, x: &[Shape]) -> Option<&Choice> {
        self.measured(op, gradient, x).map(|(_, choice)| choice)
    }

    /// Returns what was measured of a layer, as [`Choices::choice`] does, and the factor for its times: the ratio of the layers' costs.
    pub fn scaled(&self, op: &dyn Op, gradient: Option<&str>, x: &[Shape]) -> Option<(&Choice, f64)> {
        let (shapes, choice) = self.measured(op, gradient, x)?;
        let flops = |x: &[Shape]| {
            let y = op.shape(x).ok()?;
            Some(op.cost(FORWARD, &Io { x, y }).flops as f64)
        };
        let factor = if shapes == x { 1.0 } else { flops(x)? / flops(&shapes)? };
        factor.is_finite().then_some((choice, factor))
    }

    /// Returns the layer that [`Choices::choice`] follows, with the shapes of its inputs.
    fn measured(&self, op: &dyn Op, gradient: Option<&str>, x: &[Shape]) -> Option<(Vec<Shape>, &Choice)> {
        if self.layers.is_empty() {
            return None;
        }
        if let Some(choice) = self.layers.get(&key(op, gradient, x)) {
            return Some((x.to_vec(), choice));
        }
        let [begin, end] = around_shapes(op, gradient);
        let alike = self.layers.range(begin.clone()..).take_while(|(key, _)| key.starts_with(&begin));
        let near = alike.filter_map(|(key, choice)| {
            let shapes = key.strip_prefix(&begin)?.strip_suffix(&end)?;
            let shapes = shapes_of(shapes)?;
            Some((distance(&shapes, x)?, shapes, choice))
        });
        near.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, shapes, choice)| (shapes, choice))
    }

    /// Adds the choices of `other`, which replace existing ones for the same layers.
    pub fn extend(&mut self, other: Self) {
        self.layers.extend(other.layers);
    }
}
